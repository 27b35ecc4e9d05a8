"""Swaps with a real EVM chain and real processes: a ledger, four validators, two bridges, a node of the chain."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass

import pytest

import bridge.evm  # noqa: F401 - before any test imports what lifts the recursion limit
from bridge.evm.contract import artifact
from bridge.foreign_asset import FOREIGN_LEDGER_FIRST, ForeignAccount, ForeignAsset
from bridge.rates import Rate
from clearspan.bridging.chains.config import ChainSection
from clearspan.bridging.chains.key import ChainKey
from clearspan.bridging.staging.banks import Bank, Bridges, StagedMargins, register_banks
from clearspan.bridging.staging.chains import chain_corridors, offer_on_chain, put_chain
from clearspan.bridging.staging.folder import bridge_tls_name, put_corridors
from clearspan.client.bridge import BridgeClient
from clearspan.cluster import Cluster
from clearspan.errors import Refused, Unreachable
from clearspan.iso20022 import format_account
from clearspan.pki import TlsFiles
from clearspan.v1 import bridge_pb2
from tests.e2e.support import client_of, cut, program, small_network
from tests.evm import toolchain
from tests.evm.node import AnvilNode

pytestmark = pytest.mark.timeout(300)

CNY, ETH, CHAIN = 156, FOREIGN_LEDGER_FIRST + 1, "anvil"
ETHER, GWEI = 10**18, 10**9
# 20,000 CNY buy one ether, 19,900 are paid for one.
WEI_PER_FEN = ETHER // 2_000_000
PROVIDER = Bank(
    5001, "PROVIDER", (CNY,), rates={(CNY, ETH): Rate.of(WEI_PER_FEN, 1), (ETH, CNY): Rate.of(1_990_000, ETHER)}
)
PAYER = Bank(6001, "PAYER", (CNY,))
PAYEE = Bank(7001, "PAYEE", (CNY,), funds=0)
HOME = StagedMargins(finality_ms=700, watching_ms=100, submission_ms=200, skew_ms=200, failover_ms=3_000, stall_ms=300)
AWAY = StagedMargins(finality_ms=2_200, watching_ms=300, submission_ms=1_200)
LOCK_S, SHORT_S = 45, 13
FEN = 10_000
PATIENCE_S = 90.0
PAID = "0x" + "a7" * 20


@dataclass
class Scene:
    """A cluster with bridges and a chain, and a client of the payer's."""

    cluster: Cluster
    bridges: Bridges
    node: AnvilNode
    keys: dict[int, ChainKey]

    def client(self, participant: int = PAYER.number) -> BridgeClient:
        folder = self.cluster.network.path / "tls"
        name = bridge_tls_name(participant)
        tls = TlsFiles(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")
        return BridgeClient(self.bridges.address(participant).target, tls, timeout_s=20.0)

    def fen(self, bank: Bank) -> int:
        """What a bank's account has on the ledger."""

        async def work():
            async with client_of(self.cluster, "operator-cny", 1) as client:
                (found,) = await client.accounts([bank.account])
                return found.account.credits_posted - found.account.debits_posted

        return asyncio.run(work())

    def wei(self, address: str) -> int:
        return int(self.node("eth_getBalance", address, "latest"), 16)


def stand(node: AnvilNode, keys: list[ChainKey]) -> tuple[str, int]:
    """Fund the keys and bring the contract to the chain; return its address and block."""
    for key in keys:
        node("anvil_setBalance", key.address, hex(1_000 * ETHER))
    sender = node("eth_accounts")[0]
    name = node(
        "eth_sendTransaction", {"from": sender, "data": "0x" + artifact().bytecode.hex(), "gas": hex(3_000_000)}
    )
    node("evm_mine")
    receipt = node("eth_getTransactionReceipt", name)
    return receipt["contractAddress"], int(receipt["blockNumber"], 16)


@pytest.fixture(scope="module")
def scene(tmp_path_factory, request):
    binary = toolchain.anvil()
    if binary is None:
        message = f"npm's @foundry-rs/anvil is missing: run {toolchain.INSTALL}"
        pytest.fail(message) if request.config.getoption("--require-tools") else pytest.skip(message)
    folder = tmp_path_factory.mktemp("chain")
    node = AnvilNode(binary, folder / "node.state", block_s=1)
    try:
        keys = {bank.number: ChainKey.create() for bank in (PROVIDER, PAYER)}
        contract, block = stand(node, list(keys.values()))
        network = small_network(folder / "network", shards=1, lock_min_s=2)
        with cut(Cluster(network, validators=4)) as cluster:
            asyncio.run(register_banks(network, [PROVIDER, PAYER, PAYEE]))
            account = ForeignAccount(PROVIDER.number, keys[PROVIDER.number].address)
            asset = ForeignAsset(ETH, CHAIN, "", "ETH", 18, (account,))
            documents = chain_corridors(network, CNY, asset, home=HOME, chain=AWAY, lock_s=LOCK_S)
            put_corridors(network, [each.record(0) for each in documents])
            bridges = Bridges(
                network, [PROVIDER, PAYER], ("--chains-file", "chains.toml"), finality="final", retry_ms=500
            )
            bridges.found()
            for number, key in keys.items():
                section = ChainSection(
                    name=CHAIN, chain_id=31337, contract=contract, endpoints=(node.url,), key="keys/chain.key",
                    first_block=block, finality_depth=1, poll_ms=200, head_age_s_max=15, stuck_blocks=2,
                )  # fmt: skip
                put_chain(network, number, section, key)
            offer_on_chain(network, PROVIDER.number, asset, 500 * ETHER, {})
            try:
                bridges.start()
                yield Scene(cluster, bridges, node, keys)
            finally:
                bridges.stop()
    finally:
        node.close()


def wide(value: int) -> bytes:
    return value.to_bytes(16, "little")


async def begun(scene: Scene, *, from_chain: bool, amount: int = 0, lock_s: int = 0, paid: str = PAID):
    """Ask for the way and begin a swap; return the answer and the order."""
    ends = {"credit_account": wide(PAYEE.account)} if from_chain else {"debit_account": wide(PAYER.account)}
    ends |= {} if from_chain else {"chain_account": paid}
    amount = amount or (ETHER // 100 if from_chain else FEN)
    async with scene.client() as client, asyncio.timeout(20):
        while True:
            found = await client.find_route(
                bridge_pb2.FindRouteRequest(
                    version=1, source_ledger=ETH if from_chain else CNY, target_ledger=CNY if from_chain else ETH,
                    amount=wide(amount), exact=bridge_pb2.EXACT_SEND, lock_s=max(lock_s, LOCK_S), **ends,
                )
            )  # fmt: skip
            assert not found.refusal.code, found.refusal.text
            order = bridge_pb2.SwapOrder(
                uetr=uuid.uuid4().bytes, amount=found.sent, exact=bridge_pb2.EXACT_SEND, quotes=found.quotes,
                lock_s=lock_s, **ends,
            )  # fmt: skip
            try:
                (answer,) = await client.run([order])
            except (Unreachable, Refused):
                return None, order
            if answer.refusal.name != "foreign_chain_unavailable":
                return answer, order
            await asyncio.sleep(0.1)


async def ended(scene: Scene, uetr: bytes, participant: int = PAYER.number) -> bridge_pb2.SwapView:
    """Wait until a bridge, which may be down for a while, says that a swap has ended."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                async with scene.client(participant) as client:
                    while True:
                        view = await client.swap(uetr=uetr)
                        if view.outcome:
                            return view
                        await asyncio.sleep(0.1)
            except (Unreachable, Refused, KeyError):
                await asyncio.sleep(0.1)


async def until(ask, holds) -> None:
    """Ask a bridge again and again until its answer is as wanted."""
    async with asyncio.timeout(30):
        while True:
            if holds(await ask()):
                return
            await asyncio.sleep(0.05)


def story(view: bridge_pb2.SwapView) -> list[tuple[str, str]]:
    return [(each.what, each.text) for each in view.timeline]


def test_swaps_settle_both_ways_side_by_side_and_say_so(scene, clearspan):
    """Goal: both legs or none with a real chain. Method: a swap to it by command, one from it by call; both books, words."""
    network = str(scene.cluster.network.path)
    before = scene.fen(PAYER), scene.fen(PAYEE), scene.wei(PAID)
    ends = ("--source", "CNY", "--target", "ETH", "--from", format_account(PAYER.account), "--to", PAID)

    async def work():
        answer, order = await begun(scene, from_chain=True)
        assert not answer.refusal.code, answer.refusal.text
        ran = asyncio.to_thread(program, "swap", "run", *ends, "--send", "100.00", "--network", network, "--json")
        return await asyncio.gather(ran, ended(scene, order.uetr))

    ran, back = asyncio.run(work())
    assert ran.returncode == 0, ran.stderr
    out = json.loads(ran.stdout)
    assert (out["outcome"], back.outcome) == ("claimed", "claimed"), (out["timeline"], story(back))
    assert scene.fen(PAYER) == before[0] - FEN
    assert scene.fen(PAYEE) == before[1] + 19_900
    assert scene.wei(PAID) == before[2] + FEN * WEI_PER_FEN
    far = out["legs"][1]
    assert (far["chain"], far["to"], far["amount"]["text"]) == (CHAIN, PAID, "0.005000000000000000 ETH")
    assert {"leg_seen", "leg_final", "leg_claimed"} <= {each["what"] for each in out["timeline"]}
    assert back.legs[0].debit_name == scene.keys[PAYER.number].address
    shown = clearspan("swap", "show", out["uetr"], "--network", network)
    assert f"claimed on chain {CHAIN}, and that is final" in shown.out
    stood = clearspan("bridge", "status", "--network", network, "--json").json["bridges"]
    chains = {each["participant"]: each["chains"][0] for each in stood}
    assert {number: each["account"] for number, each in chains.items()} == {
        number: key.address for number, key in scene.keys.items()
    }
    assert all(each["height"] > 0 and not each["fault"] and each["head_age_s"] < 15 for each in chains.values())


def test_without_its_provider_each_lock_comes_back(scene):
    """Goal: nobody's money stays locked, here or there. Method: the provider is killed once it has quoted."""
    fen, account = scene.fen(PAYER), scene.keys[PAYER.number].address

    async def work():
        out, back = [await begun(scene, from_chain=each, lock_s=SHORT_S) for each in (False, True)]
        scene.bridges.kill(PROVIDER.number, 9)
        assert not out[0].refusal.code and not back[0].refusal.code
        return await asyncio.gather(*(ended(scene, order.uetr) for _, order in (out, back)))

    wei = scene.wei(account)
    try:
        out, back = asyncio.run(work())
    finally:
        scene.bridges.restart(PROVIDER.number)
    assert (out.outcome, back.outcome) == ("refunded", "refunded"), (story(out), story(back))
    assert "revealing" not in [what for what, _ in story(out) + story(back)]
    assert scene.fen(PAYER) == fen
    assert wei - ETHER // 1_000 < scene.wei(account) <= wei, "but for what the chain took for its work"
    assert "refunding" in [what for what, _ in story(back)]


# Where each side is killed, of a swap to the chain and of one from it.
SOME_DEATHS = [(True, "acted:locking", "written:claiming")]
OTHER_DEATHS = [
    (False, "written:revealing", "acted:locking"),
    (False, "written:begun", "written:accepted"),
    (False, "acted:locking", "written:locking"),
    (False, "written:asking", "written:learned"),
    (False, "acted:revealing", "acted:claiming"),
    (False, "written:finished", "written:finished"),
    (True, "written:locking", "written:accepted"),
    (True, "written:asking", "written:locking"),
    (True, "written:revealing", "acted:locking"),
    (True, "acted:revealing", "written:learned"),
    (True, "written:finished", "acted:claiming"),
]


@pytest.mark.parametrize(
    ("from_chain", "payer_at", "provider_at"),
    [*SOME_DEATHS, *(pytest.param(*each, marks=pytest.mark.nightly) for each in OTHER_DEATHS)],
)
def test_both_bridges_are_killed_and_the_swap_ends_the_same_way(scene, from_chain, payer_at, provider_at):
    """Goal: both legs or none, whoever dies when. Method: SIGKILL of each at its step, a restart, both sides' books."""
    bridges = scene.bridges
    for who, step in ((PAYER.number, payer_at), (PROVIDER.number, provider_at)):
        bridges.extra[who] = ("--die-at", step)
        bridges.restart(who)
        bridges.extra.pop(who)
    before = scene.fen(PAYER), scene.fen(PAYEE), scene.fen(PROVIDER), scene.wei(PAID)

    async def work():
        """Begin, bring each back as it dies, and wait for both ends."""
        answer, order = await begun(scene, from_chain=from_chain)
        assert answer is None or not answer.refusal.code, answer.refusal.text
        waiting = asyncio.ensure_future(
            asyncio.gather(*(ended(scene, order.uetr, each) for each in (PAYER.number, PROVIDER.number)))
        )
        down = {PAYER.number, PROVIDER.number}
        while not waiting.done() or down:
            for who in tuple(down):
                if not bridges.is_running(who):
                    down.discard(who)
                    bridges.restart(who)  # from this thread: a child ends with the thread that started it
            await asyncio.sleep(0.05)
            if waiting.done() and down:
                break
        return waiting.result()

    mine, theirs = asyncio.run(work())
    assert (mine.outcome, theirs.outcome) == ("claimed", "claimed"), (story(mine), story(theirs))
    assert [before[0] - scene.fen(PAYER), scene.fen(PAYEE) - before[1], scene.fen(PROVIDER) - before[2]] == (
        [0, 19_900, -19_900] if from_chain else [FEN, 0, FEN]
    )
    assert scene.wei(PAID) - before[3] == (0 if from_chain else FEN * WEI_PER_FEN)


def test_the_chains_node_dies_and_comes_back(scene):
    """Goal: a node that is away costs time only. Method: SIGKILL while the locks stand, its state again on the port."""
    before = scene.wei(PAID)

    async def work():
        answer, order = await begun(scene, from_chain=False)
        assert not answer.refusal.code, answer.refusal.text
        async with scene.client() as client:
            await until(lambda: client.swap(uetr=order.uetr), lambda view: view.legs[1].state in {"sent", "final"})
        scene.node.keep()
        scene.node.kill()
        async with scene.client() as client:
            await until(client.status, lambda status: status.chains[0].fault)
        scene.node.start()
        return await ended(scene, order.uetr)

    view = asyncio.run(work())
    assert view.outcome == "claimed", story(view)
    assert scene.wei(PAID) == before + FEN * WEI_PER_FEN


@pytest.mark.nightly
@pytest.mark.parametrize("from_chain", [False, True])
def test_a_chain_that_takes_back_blocks_and_grows_dear(scene, from_chain):
    """Goal: what is not final may go, and a stuck transaction is bettered. Method: reorganisations, a fee of the tenfold."""
    before = scene.wei(PAID), scene.fen(PAYEE)

    async def work():
        answer, order = await begun(scene, from_chain=from_chain)
        assert not answer.refusal.code, answer.refusal.text
        waiting = asyncio.ensure_future(ended(scene, order.uetr))
        number = 0
        while not waiting.done():
            await asyncio.sleep(0.5)
            number += 1
            if number in (5, 11, 17):
                scene.node("anvil_reorg", 1, [])
            if number in (3, 9):
                fee = int(scene.node("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)
                scene.node("anvil_setNextBlockBaseFeePerGas", hex(10 * fee + GWEI))
        return waiting.result()

    view = asyncio.run(work())
    assert view.outcome == "claimed", story(view)
    assert (scene.wei(PAID) - before[0], scene.fen(PAYEE) - before[1]) == (
        (0, 19_900) if from_chain else (FEN * WEI_PER_FEN, 0)
    )
