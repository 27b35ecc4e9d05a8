"""The calls about what is final, on the wire: who may have a receipt, how long a call waits, and what it says meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from clearspan.client import RetryPolicy
from clearspan.client.asynchronous import AsyncClient
from clearspan.errors import Refused, VerificationFailed
from clearspan.roles import PeerRole
from clearspan.v1 import clearspan_pb2
from engine.record import ordinary_account_id
from engine.refusals import ProofRefused
from tests.behaviour import fakes


@dataclass
class Reached:
    height: int = 0
    last_number: int = 0


@dataclass
class ShardStands:
    final: Reached = field(default_factory=Reached)
    verified: Reached = field(default_factory=Reached)


@dataclass
class Standing:
    height: int = 9
    time: int = 1_000
    consumed: int = 8
    set_id: int = 1
    following: str = "91"
    shards: dict = field(default_factory=lambda: {fakes.SHARD: ShardStands(Reached(2, 6), Reached(1, 4))})


class FakeFinality:
    """Answers with bytes that are no receipt, after so many asks, and notes what was asked."""

    def __init__(self) -> None:
        self.standing = Standing()
        self.asked: list = []
        self.after = 0
        self.failure: BaseException | None = None

    async def receipt(self, digest, form, *, wait_s=0.0, verified=False):
        return await self._answer(("receipt", digest, form.name, verified), wait_s)

    async def balance(self, account, *, wait_s, verified=False):
        return await self._answer(("balance", account, verified), wait_s)

    def set_changes(self, after):
        return []

    async def _answer(self, asked, wait_s):
        self.asked.append((*asked, wait_s))
        if self.failure is not None:
            raise self.failure
        return b"receipt" if len(self.asked) > self.after else None


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


async def with_client(tmp_path, role, work, *, finality=True):
    node = fakes.FakeNode()
    node.finality = FakeFinality() if finality else None
    async with fakes.edge(tmp_path, node=node) as edge:
        policy = RetryPolicy(deadline_s=5.0, attempt_s=5.0)
        async with AsyncClient(edge.target, edge.files(role), policy=policy) as client:
            return await work(client, node)


def test_what_the_node_says_the_client_does_not_believe(tmp_path) -> None:
    async def work(client, node):
        with pytest.raises(VerificationFailed):
            await client.receipt(bytes(32), wait_s=1.0, payee=True)
        (asked,) = node.finality.asked
        assert asked[:4] == ("receipt", bytes(32), "PAYEE", False)
        assert 0 < asked[4] <= 1.0

    run(with_client(tmp_path, PeerRole.READER, work))


def test_a_client_asks_again_until_its_own_time_is_over(tmp_path) -> None:
    async def work(client, node):
        node.finality.after = 2
        with pytest.raises(VerificationFailed):
            await client.receipt(bytes(32), wait_s=2.0, verified=True)
        assert [each[3] for each in node.finality.asked] == [True, True, True]
        node.finality.after = 100
        with pytest.raises(Refused, match="not_found"):
            await client.receipt(bytes(32), wait_s=0.0)

    run(with_client(tmp_path, PeerRole.CLEARING_HOUSE, work))


def test_a_decision_that_proves_no_payment_is_not_found(tmp_path) -> None:
    async def work(client, node):
        node.finality.failure = ProofRefused("form", "code 2 is no proof of payment")
        with pytest.raises(Refused, match="no proof of payment"):
            await client.receipt(bytes(32), payee=True, wait_s=0.0)

    run(with_client(tmp_path, PeerRole.BANK, work))


@pytest.mark.parametrize(
    ("role", "owner", "allowed"),
    [
        (PeerRole.BANK, fakes.BANK, True),
        (PeerRole.BANK, fakes.OTHER_BANK, False),
        (PeerRole.OPERATOR, fakes.BANK, True),
        (PeerRole.SUPERVISOR, fakes.BANK, False),
        (PeerRole.CLEARING_HOUSE, fakes.BANK, False),
        (PeerRole.READER, fakes.BANK, False),
    ],
)
def test_a_balance_is_its_holder_s(tmp_path, role, owner, allowed) -> None:
    async def work(client, node):
        account = ordinary_account_id(owner, 1)
        with pytest.raises(VerificationFailed if allowed else Refused, match=None if allowed else "role_refused"):
            await client.balance_receipt(account, wait_s=0.5)
        assert bool(node.finality.asked) is allowed

    run(with_client(tmp_path, role, work))


def test_a_node_without_validators_says_so(tmp_path) -> None:
    async def work(client, node):
        with pytest.raises(Refused, match="no line to validators"):
            await client.receipt(bytes(32), wait_s=0.0)
        status = await client.status()
        assert status.relay is None and status.shards[0].final_height == 0

    run(with_client(tmp_path, PeerRole.READER, work, finality=False))


def test_status_and_rows_say_how_final_they_are(tmp_path) -> None:
    async def work(client, node):
        record = fakes.transfer(1, fakes.bank_account(), fakes.bank_account(2)).encode()
        node.entries = [fakes.Entry(record, bytes([number]) * 32, 1, 5, fakes.SHARD, number, 0) for number in (4, 6, 7)]
        views = await client.transfers([bytes([number]) * 32 for number in (4, 6, 7)])
        assert [each.durability for each in views] == ["verified", "final", "synced"]
        status = await client.status()
        assert (status.shards[0].final_height, status.shards[0].verified_height) == (2, 1)
        assert (status.relay.height, status.relay.consumed_height, status.relay.following) == (9, 8, "91")

    run(with_client(tmp_path, PeerRole.OPERATOR, work))


@pytest.mark.parametrize(
    "request_",
    [
        clearspan_pb2.GetReceiptRequest(version=1, domain=1, digest=bytes(31)),
        clearspan_pb2.GetReceiptRequest(version=1, domain=1, digest=bytes(32), form=7),
        clearspan_pb2.GetReceiptRequest(version=1, domain=1, digest=bytes(32), least=clearspan_pb2.DURABILITY_SYNCED),
    ],
    ids=["digest", "form", "least"],
)
def test_what_makes_no_sense_is_refused(tmp_path, request_) -> None:
    async def work(client, node):
        with pytest.raises(Refused, match="batch_malformed"):
            await client._drive(
                client._core.call("GetReceipt", request_.SerializeToString(), clearspan_pb2.GetReceiptReply)
            )
        assert not node.finality.asked

    run(with_client(tmp_path, PeerRole.READER, work))
