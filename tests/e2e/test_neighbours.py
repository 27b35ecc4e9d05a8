"""A domain on two nodes: what one shard owes a shard on another node arrives over the wire, with proof, once."""

from __future__ import annotations

import asyncio
import shutil
import socket
from dataclasses import dataclass, replace

import grpc
import numpy as np
import pytest

from clearspan.administration import AdminDesk, MemberPlan
from clearspan.children import ChildFailed, Children
from clearspan.client import AsyncClient, RetryPolicy
from clearspan.cluster import Validators, issuer_of, operator_of
from clearspan.neighbour_link import NeighbourLine
from clearspan.signer import Signer
from engine.record import ordinary_account_id
from engine.types import Role
from native.codes import ResultCode as Code
from shards.neighbours import CreditsWanted
from shards.slots import SlotMap
from tests.e2e.relay_support import PATIENCE_S, tls_of
from tests.e2e.support import small_network

FIRST, SECOND = 256, 257
FUNDS = 10_000


class NodeFailed(ChildFailed):
    def __init__(self, shard, reason, log, exit_code=5):
        super().__init__(f"node of shard {shard}", reason, log, exit_code)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class TwoNodes:
    """Both nodes of domain 1, one shard each, as child processes."""

    def __init__(self, network):
        self.network = network
        self.ports = {FIRST: free_port(), SECOND: free_port()}
        self.folders = {FIRST: network.path / "nodes" / "cny", SECOND: network.path / "nodes" / "cny-second"}
        shutil.copytree(self.folders[FIRST], self.folders[SECOND])
        self.children = Children(self.command, lambda shard: self.folders[shard] / "node.log", NodeFailed)

    def command(self, shard):
        other = SECOND if shard == FIRST else FIRST
        return [
            "node", "run", "--config", str(self.folders[shard] / "node.toml"), "--node-port", str(self.ports[shard]),
            "--shards-served", str(shard), "--shards-neighbours", f"127.0.0.1:{self.ports[other]}",
        ]  # fmt: skip

    def client(self, shard, speaker):
        return AsyncClient(
            f"127.0.0.1:{self.ports[shard]}",
            tls_of(self.network, speaker),
            genesis_hash=self.network.genesis.hash,
            policy=RetryPolicy(deadline_s=20.0, attempt_s=20.0, pause_first_s=1000.0),
        )


@dataclass
class BothClients:
    """Sends each request to both nodes and returns, of each, the answer of the node that has its shard."""

    first: AsyncClient
    second: AsyncClient

    async def administer(self, columns):
        return self._merged(await self.first.administer(columns), await self.second.administer(columns))

    async def submit(self, columns):
        return self._merged(await self.first.submit(columns), await self.second.submit(columns))

    @staticmethod
    def _merged(one, other):
        away = one.answers == Code.SHARD_AWAY
        assert not (away & (other.answers == Code.SHARD_AWAY)).any()
        answers = np.where(away, other.answers, one.answers)
        return replace(one, answers=answers, times=np.where(away, other.times, one.times))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    network = small_network(tmp_path_factory.mktemp("neighbours") / "network")
    running = TwoNodes(network)
    with Validators(network, 4):
        running.children.start((FIRST, SECOND))
        try:
            yield running
        finally:
            running.children.stop()


@pytest.fixture(scope="module")
def accounts(nodes):
    """A member with a funded account on each shard: (its ring, its key id, account of the first, of the second)."""

    async def work():
        network = nodes.network
        keys = network.load_keys(1, operator_of(1))
        shard_of = SlotMap.of(network.genesis, 1).shard_of
        async with (
            nodes.client(FIRST, "operator-cny") as one,
            nodes.client(SECOND, "operator-cny") as two,
            nodes.client(FIRST, "issuer-cny") as three,
            nodes.client(SECOND, "issuer-cny") as four,
        ):
            desk = AdminDesk(BothClients(one, two), network.genesis, 1, keys)
            issuer, member = await desk.add_members(
                [MemberPlan(issuer_of(1), "ISSUER", issuer=True), MemberPlan(1001, "BANK")]
            )
            await desk.open_issuer_account(issuer)
            found = {}
            for serial in range(1, 64):
                account = ordinary_account_id(1001, serial)
                found.setdefault(shard_of(account.to_bytes(16, "little")), account)
            chosen = [found[FIRST], found[SECOND]]
            await desk.open_many([(member, account) for account in chosen])
            money = AdminDesk(BothClients(three, four), network.genesis, 1, keys)
            await money.issue(issuer, [(account, FUNDS) for account in chosen])
        return member.ring, member.signers(Role.ACCOUNT)[0].key_id, *chosen

    return asyncio.run(work())


def payment(nodes, ring, key_id, payer, payee, count, amount):
    signer = Signer(nodes.network.genesis, ring)
    return signer.sign(
        1,
        [
            signer.transfer(debit_account=payer, credit_account=payee, amount=amount, ledger=156, key_id=key_id)
            for _ in range(count)
        ],
    )


async def balance(client, account):
    found = (await client.accounts([account]))[0].account
    return found.credits_posted - found.debits_posted


async def reaches(client, account, amount):
    async with asyncio.timeout(PATIENCE_S):
        while await balance(client, account) != amount:  # noqa: ASYNC110 - it is another process that is waited for
            await asyncio.sleep(0.02)


def test_money_crosses_between_nodes_and_survives_their_death(nodes, accounts):
    ring, key_id, here, there = accounts

    async def work():
        async with nodes.client(FIRST, "operator-cny") as one, nodes.client(SECOND, "operator-cny") as two:
            # The issuer's account is on one of them, so the other's funds crossed already.
            await reaches(one, here, FUNDS)
            await reaches(two, there, FUNDS)
        async with nodes.client(FIRST, "clearing-house") as carrier:
            sent = await carrier.submit(payment(nodes, ring, key_id, here, there, 50, 3))
            assert (sent.codes == Code.CREATED_IN_TRANSIT).all()
            elsewhere = await carrier.submit(payment(nodes, ring, key_id, there, here, 1, 3))
            assert (np.asarray(elsewhere.answers) == Code.SHARD_AWAY).all()
        async with nodes.client(SECOND, "operator-cny") as two:
            await reaches(two, there, FUNDS + 150)
        # The neighbour is away while more is sent; it gets it after its restart, and nothing twice.
        nodes.children.kill(SECOND)
        async with nodes.client(FIRST, "clearing-house") as carrier:
            assert (await carrier.submit(payment(nodes, ring, key_id, here, there, 20, 5))).settled.all()
        nodes.children.restart(SECOND)
        async with nodes.client(SECOND, "operator-cny") as two:
            await reaches(two, there, FUNDS + 250)
        nodes.children.kill(FIRST)
        nodes.children.restart(FIRST)
        async with nodes.client(FIRST, "operator-cny") as one, nodes.client(SECOND, "operator-cny") as two:
            assert (await balance(one, here), await balance(two, there)) == (FUNDS - 250, FUNDS + 250)

    asyncio.run(work())


def test_only_an_operator_asks_and_only_of_shards_that_are_there(nodes, accounts):
    async def ask(speaker, source, sequence=1, height=1):
        line = NeighbourLine(f"127.0.0.1:{nodes.ports[FIRST]}", 1, tls_of(nodes.network, speaker))
        try:
            return await line.outgoing_since(CreditsWanted(source, SECOND, sequence, height))
        except grpc.aio.AioRpcError as error:
            return error.code()
        finally:
            await line.close()

    async def work():
        assert await ask("clearing-house", FIRST) is grpc.StatusCode.PERMISSION_DENIED
        assert await ask("operator-cny", SECOND) is grpc.StatusCode.NOT_FOUND
        assert await ask("operator-cny", FIRST, sequence=0) is grpc.StatusCode.INVALID_ARGUMENT
        assert await ask("operator-cny", FIRST, sequence=10**9) is None
        assert await ask("operator-cny", FIRST, height=10**9) is None
        found = await ask("operator-cny", FIRST, height=1)
        assert found is None or found.source == FIRST

    asyncio.run(work())
