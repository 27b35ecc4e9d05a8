"""The adapter against a real node: reorganisations, a node that dies, gas that soars, transactions that stick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from eth_utils.crypto import keccak
from msgspec.structs import replace

from bridge.evm.adapter import EvmLeg
from bridge.evm.book import FileBook
from bridge.evm.contract import call_claim, call_lock
from bridge.evm.deploy import deploy
from bridge.evm.fees import FeePolicy
from bridge.evm.reading import Finality
from bridge.evm.rpc import Endpoint, RpcLimits
from bridge.leg import HashFunction, LegCode, LegRefused, LegUnavailable, LockState, LockView
from tests.evm.node import AnvilNode
from tests.evm.world import PAYEE, PAYER, SECOND, STRANGER, EvmWorld, secret

GWEI = 10**9
DEPTHS = [1, 2, 7, 64]
CLAIMED = (LockState.CLAIMED, LockState.CLAIMED_FINAL)


def run(world: EvmWorld, story: Callable[[], Coroutine[None, None, None]]) -> None:
    async def whole() -> None:
        try:
            await story()
        finally:
            await world.close()

    asyncio.run(whole())


async def until(world: EvmWorld, leg: EvmLeg, lock_id: bytes, *states: LockState, blocks: int = 160) -> LockView:
    for _ in range(blocks):
        view = await leg.find(lock_id)
        if view.state in states:
            return view
        world.node.mine()
    raise AssertionError(view)


def reorganise(world: EvmWorld, depth: int) -> None:
    world.node("anvil_reorg", depth, [])


def base_fee(world: EvmWorld, wei: int) -> None:
    """Set what the next block asks for a unit of gas."""
    world.node("anvil_setNextBlockBaseFeePerGas", hex(wei))


def nonce_of(world: EvmWorld, address: str) -> int:
    return int(world.node("eth_getTransactionCount", address, "latest"), 16)


@pytest.mark.parametrize(
    "depth", [pytest.param(depth, marks=() if depth in DEPTHS else pytest.mark.nightly) for depth in range(1, 65)]
)
def test_reorganisation_of_lock_and_claim(depth: int, world: EvmWorld) -> None:
    """Up to the finality depth a lock and a claim that history loses are made again, once, and become final."""

    async def story() -> None:
        finality = Finality(depth=64)
        payer, payee = world.leg(PAYER, finality=finality), world.leg(PAYEE, finality=finality)
        order = world.order(lock_s=6_000)
        before = world.balance(PAYEE.address)
        await payer.lock(order)
        world.node.mine(depth)
        assert (await payer.find(order.lock_id)).state is LockState.SEEN
        reorganise(world, depth)
        assert (await payer.find(order.lock_id)).state is LockState.ABSENT
        view = await until(world, payer, order.lock_id, LockState.SEEN)
        await until(world, payer, order.lock_id, LockState.FINAL)
        assert payer.counts.sent_again >= 1 and world.balance(world.contract) == order.amount
        await payee.claim(order.lock_id, secret("one"))
        world.node.mine(depth)
        view = await payee.find(order.lock_id)
        assert view.state is LockState.CLAIMED and view.preimage == secret("one")
        reorganise(world, depth)
        assert (await payee.find(order.lock_id)).state is LockState.FINAL
        await until(world, payee, order.lock_id, LockState.CLAIMED_FINAL)
        gas_paid = before + order.amount - world.balance(PAYEE.address)
        assert 0 < gas_paid < 200_000 * 100 * GWEI and world.balance(world.contract) == 0
        await payee.tend()
        await payer.tend()
        assert not FileBook(world.folder / f"{PAYEE.address}.json").read()
        assert nonce_of(world, PAYEE.address) == nonce_of(world, PAYER.address) == 1, "each sent one transaction"

    run(world, story)


@pytest.mark.parametrize("depth", DEPTHS)
def test_reorganisation_that_keeps_the_lock(depth: int, world: EvmWorld) -> None:
    """History may also be rewritten with our transaction in another block: nothing is sent twice."""

    async def story() -> None:
        leg = world.leg(finality=Finality(depth=64))
        order = world.order(lock_s=6_000)
        await leg.lock(order)
        world.node.mine(depth)
        raw = "0x" + FileBook(world.folder / f"{PAYER.address}.json").read()[0].attempts[-1].raw.hex()
        world.node("anvil_reorg", depth, [[raw, depth - 1]])
        view = await leg.find(order.lock_id)
        assert view.state is LockState.SEEN and view.height == world.node.head()[0]
        await until(world, leg, order.lock_id, LockState.FINAL)
        assert leg.counts.sent == 1 and nonce_of(world, PAYER.address) == 1

    run(world, story)


def test_refund_lost_after_restart_is_sent_again(world: EvmWorld) -> None:
    """A new adapter with the old book goes on with what the old one had out, asked by nobody."""

    async def story() -> None:
        leg = world.leg()
        order = world.order()
        await leg.lock(order)
        await until(world, leg, order.lock_id, LockState.FINAL)
        world.node.mine(at=order.timelock_ns // SECOND)
        await leg.refund(order.lock_id)
        world.node.mine()
        reorganise(world, 1)
        leg = world.leg()
        await leg.tend()
        world.node.mine()
        assert (await leg.find(order.lock_id)).state is LockState.REFUNDED

    run(world, story)


def test_node_killed_and_back_with_its_chain(world: EvmWorld) -> None:
    """SIGKILL while a lock waits in the node's pool: it comes back without its pool, and the lock is made once."""

    async def story() -> None:
        leg = world.leg()
        order = world.order()
        world.node.keep()
        await leg.lock(order)
        world.node.kill()
        for wish in (leg.find(order.lock_id), leg.clock(), leg.lock(order), leg.refund(order.lock_id)):
            with pytest.raises(LegUnavailable, match="cannot be reached"):
                await wish
        world.node.start()
        assert (await leg.find(order.lock_id)).state is LockState.ABSENT
        await until(world, leg, order.lock_id, LockState.FINAL)
        await leg.claim(order.lock_id, secret("one"))
        await until(world, leg, order.lock_id, LockState.CLAIMED)
        world.node.keep()
        world.node.kill()
        world.node.start()
        view = await until(world, leg, order.lock_id, LockState.CLAIMED_FINAL)
        assert view.preimage == secret("one") and nonce_of(world, PAYER.address) == 2

    run(world, story)


def test_node_back_with_an_older_chain(world: EvmWorld) -> None:
    """A node that lost its newest blocks is a reorganisation like any other."""

    async def story() -> None:
        leg = world.leg()
        order = world.order()
        world.node.keep()
        await leg.lock(order)
        world.node.mine(2)
        assert (await leg.find(order.lock_id)).state is LockState.SEEN
        world.node.kill()
        world.node.start()
        assert (await leg.find(order.lock_id)).state is LockState.ABSENT
        await until(world, leg, order.lock_id, LockState.FINAL)
        assert world.balance(world.contract) == order.amount

    run(world, story)


def test_adapter_killed_between_book_and_node(world: EvmWorld) -> None:
    """What is in the book and never reached a node is sent by the next adapter under the same nonce."""

    async def story() -> None:
        order = world.order()
        leg = world.leg()
        world.node.keep()
        await leg.clock()
        broadcast = leg._nodes.broadcast

        async def die(raw: bytes) -> str:
            raise asyncio.CancelledError

        leg._nodes.broadcast = die
        with pytest.raises(asyncio.CancelledError):
            await leg.lock(order)
        leg._nodes.broadcast = broadcast
        leg = world.leg()
        await leg.lock(order)
        await until(world, leg, order.lock_id, LockState.FINAL)
        assert leg.counts.sent == 0 and leg.counts.sent_again == 1 and nonce_of(world, PAYER.address) == 1

    run(world, story)


def test_many_locks_at_once_get_nonces_of_their_own(world: EvmWorld) -> None:
    async def story() -> None:
        leg = world.leg()
        orders = [world.order(f"swap {number}") for number in range(24)]
        await asyncio.gather(*(leg.lock(order) for order in orders))
        assert [one.nonce for one in FileBook(world.folder / f"{PAYER.address}.json").read()] == list(range(24))
        world.node.mine(4)
        views = await asyncio.gather(*(leg.find(order.lock_id) for order in orders))
        assert {view.state for view in views} == {LockState.FINAL}
        await asyncio.gather(
            *(leg.claim(order.lock_id, secret(f"swap {number}")) for number, order in enumerate(orders))
        )
        world.node.mine(4)
        views = await asyncio.gather(*(leg.find(order.lock_id) for order in orders))
        assert {view.state for view in views} == {LockState.CLAIMED_FINAL} and world.balance(world.contract) == 0

    run(world, story)


def test_stuck_transaction_is_replaced(world: EvmWorld) -> None:
    """The base fee leaps over the offer: after some blocks a better offer takes the same nonce and gets in."""

    async def story() -> None:
        fees = FeePolicy(stuck_blocks=2)
        leg = world.leg(fees=fees)
        order = world.order()
        await leg.lock(order)
        first = FileBook(world.folder / f"{PAYER.address}.json").read()[0].attempts[-1]
        for _ in range(4):
            base_fee(world, 5 * first.offer.max_fee)
            world.node.mine()
            assert (await leg.find(order.lock_id)).state in {LockState.ABSENT, LockState.SEEN}
        out = FileBook(world.folder / f"{PAYER.address}.json").read()[0]
        assert leg.counts.replaced >= 1 and len(out.attempts) >= 2 and out.nonce == 0
        assert out.attempts[-1].offer.max_fee >= 5 * first.offer.max_fee
        assert out.attempts[-1].offer.priority_fee * 100 >= first.offer.priority_fee * 113
        await until(world, leg, order.lock_id, LockState.FINAL)
        assert nonce_of(world, PAYER.address) == 1 and world.balance(world.contract) == order.amount

    run(world, story)


def test_gas_above_the_cap(world: EvmWorld) -> None:
    """Above the cap no lock is sent and none is bettered; a claim goes on under its own cap, and calm heals the rest."""

    async def story() -> None:
        fees = FeePolicy(cap=20 * GWEI, claim_cap=500 * GWEI, stuck_blocks=1)
        payer, payee = world.leg(fees=fees), world.leg(PAYEE, fees=fees)
        locked = world.order("locked")
        await payer.lock(locked)
        await until(world, payer, locked.lock_id, LockState.FINAL)
        waiting, late = world.order("waiting"), world.order("late")
        await payer.lock(waiting)
        for _ in range(3):
            base_fee(world, 100 * GWEI)
            world.node.mine()
            await payer.find(waiting.lock_id)
        with pytest.raises(LegRefused) as caught:
            await payer.lock(late)
        assert caught.value.code is LegCode.FEE_CAP
        assert (await payer.find(waiting.lock_id)).state is LockState.ABSENT and payer.counts.held_by_cap >= 1
        await payee.claim(locked.lock_id, secret("locked"))
        base_fee(world, 100 * GWEI)
        world.node.mine()
        assert (await payee.find(locked.lock_id)).state is LockState.CLAIMED
        base_fee(world, GWEI)
        world.node.mine()
        await until(world, payer, waiting.lock_id, LockState.FINAL)
        await payer.lock(late)
        await until(world, payer, late.lock_id, LockState.FINAL)

    run(world, story)


def test_claim_is_not_held_back_by_a_capped_lock(world: EvmWorld) -> None:
    """A lock of the same key is stuck under its cap, and the claim has the next nonce: both get in at the claim's cap."""

    async def story() -> None:
        fees = FeePolicy(cap=20 * GWEI, claim_cap=500 * GWEI, stuck_blocks=1)
        leg = world.leg(fees=fees)
        locked, stuck = world.order("locked"), world.order("stuck")
        await leg.lock(locked)
        await until(world, leg, locked.lock_id, LockState.FINAL)
        await leg.lock(stuck)
        for _ in range(2):
            base_fee(world, 100 * GWEI)
            world.node.mine()
            await leg.find(stuck.lock_id)
        await leg.claim(locked.lock_id, secret("locked"))
        for _ in range(3):
            base_fee(world, 100 * GWEI)
            world.node.mine()
            view = await leg.find(locked.lock_id)
        assert view.state in CLAIMED and (await leg.find(stuck.lock_id)).state is not LockState.ABSENT

    run(world, story)


def test_claim_is_not_held_back_by_a_lock_that_cannot_be_paid(world: EvmWorld) -> None:
    """The coin of a lock is gone before it is included: its nonce is used up without it, and the claim gets in."""

    async def story() -> None:
        leg = world.leg(fees=FeePolicy(stuck_blocks=1))
        locked, dear = world.order("locked"), world.order("dear", amount=10**18)
        await leg.lock(locked)
        await until(world, leg, locked.lock_id, LockState.FINAL)
        await leg.lock(dear)
        world.node("anvil_setBalance", PAYER.address, hex(10**17))
        await leg.claim(locked.lock_id, secret("locked"))
        await until(world, leg, locked.lock_id, LockState.CLAIMED_FINAL, blocks=12)
        assert leg.counts.voided == 1 and (await leg.find(dear.lock_id)).state is LockState.ABSENT
        world.node("anvil_setBalance", PAYER.address, hex(10**19))
        await until(world, leg, dear.lock_id, LockState.FINAL)

    run(world, story)


def test_nonce_used_by_another_process(world: EvmWorld) -> None:
    """Another transaction takes our nonce: the lock is sent anew under the next one, and stands once."""

    async def story() -> None:
        leg = world.leg()
        order = world.order()
        await leg.lock(order)
        world.node("anvil_dropAllTransactions")
        world.node.transact(PAYER.address, STRANGER.address, b"", 1)
        await until(world, leg, order.lock_id, LockState.FINAL)
        assert nonce_of(world, PAYER.address) == 2 and world.balance(world.contract) == order.amount

    run(world, story)


def test_claim_included_in_vain_is_told(world: EvmWorld) -> None:
    """A claim that was included after the timelock leaves the lock to be refunded, and is not sent again."""

    async def story() -> None:
        leg = world.leg()
        order = world.order()
        await leg.lock(order)
        await until(world, leg, order.lock_id, LockState.FINAL)
        await leg.claim(order.lock_id, secret("one"))
        world.node.mine(at=order.timelock_ns // SECOND)
        world.node.mine(4)
        await leg.find(order.lock_id)
        assert leg.counts.reverted == 1
        await leg.refund(order.lock_id)
        await until(world, leg, order.lock_id, LockState.REFUNDED_FINAL)
        assert nonce_of(world, PAYER.address) == 3

    run(world, story)


def test_lock_included_in_vain_is_refused(world: EvmWorld) -> None:
    """A lock included only after its own timelock reverts; find tells so once that is final."""

    async def story() -> None:
        leg = world.leg()
        order = world.order(lock_s=100)
        await leg.lock(order)
        world.node.mine(at=order.timelock_ns // SECOND)
        world.node.mine(4)
        view = await leg.find(order.lock_id)
        assert view.state is LockState.ABSENT and leg.counts.reverted == 1
        with pytest.raises(LegRefused) as caught:
            await leg.lock(order)
        assert caught.value.code is LegCode.TIMELOCK_PASSED

    run(world, story)


def test_finalized_tag(world: EvmWorld) -> None:
    """With the chain's own tag a lock is final when the tag has passed it, whatever the depth says."""

    async def story() -> None:
        leg = world.leg(finality=Finality(depth=0, tag=True))
        order = world.order(lock_s=6_000)
        await leg.lock(order)
        await until(world, leg, order.lock_id, LockState.SEEN)
        world.node.mine(20)
        assert (await leg.find(order.lock_id)).state is LockState.SEEN
        view = await until(world, leg, order.lock_id, LockState.FINAL)
        tag = int(world.node("eth_getBlockByNumber", "finalized", False)["number"], 16)
        assert view.height <= tag == (await leg.clock()).final_height

    run(world, story)


def test_second_node_takes_over(world: EvmWorld, anvil: Path) -> None:
    """The first node dies: reads and transactions go to the second, which has the same chain."""
    world.node.keep()
    second = AnvilNode(anvil, world.folder / "node.state")
    world.extra_endpoints = (Endpoint(second.url),)

    async def story() -> None:
        leg = world.leg()
        order = world.order()
        world.node.kill()
        await leg.lock(order)
        second.mine(4)
        assert (await leg.find(order.lock_id)).state is LockState.FINAL
        world.node.start()
        second.kill()
        assert (await leg.find(order.lock_id)).state is LockState.ABSENT, "the first one is behind"

    try:
        run(world, story)
    finally:
        second.close()


def test_transactions_go_to_every_node(world: EvmWorld, anvil: Path) -> None:
    world.node.keep()
    second = AnvilNode(anvil, world.folder / "node.state")
    world.extra_endpoints = (Endpoint(second.url),)

    async def story() -> None:
        order = world.order()
        leg = world.leg(agreement=2)
        await leg.lock(order)
        assert all(len(node("txpool_content")["pending"]) == 1 for node in (world.node, second))
        world.node.mine(4)
        view = await leg.find(order.lock_id)
        assert (view.state, view.reason) == (LockState.SEEN, "too few nodes show it"), "only one node has the block"
        second.mine(4)
        assert (await leg.find(order.lock_id)).state is LockState.FINAL

    try:
        run(world, story)
    finally:
        second.close()


def test_other_chain_or_contract_is_not_used(world: EvmWorld) -> None:
    async def story() -> None:
        with pytest.raises(LegUnavailable, match="of chain 31337, not 1"):
            await world.leg(chain_id=1).clock()
        with pytest.raises(LegUnavailable, match="another contract"):
            await world.leg(contract=STRANGER.address).clock()
        with pytest.raises(LegUnavailable, match="began with another block"):
            await world.leg(genesis=b"g" * 32).clock()
        genesis = bytes.fromhex(world.node("eth_getBlockByNumber", "0x0", False)["hash"][2:])
        assert (await world.leg(genesis=genesis).clock()).height == world.node.head()[0]

    run(world, story)


def test_node_that_comes_back_as_another_is_examined(world: EvmWorld, anvil: Path) -> None:
    """On the same address another chain answers, without our contract: nothing of it is believed."""
    port = world.node.port

    async def story() -> None:
        leg = world.leg()
        order = world.order()
        await leg.lock(order)
        await until(world, leg, order.lock_id, LockState.FINAL)
        world.node.kill()
        other = AnvilNode(anvil, port=port)
        try:
            with pytest.raises(LegUnavailable, match="another contract"):
                await leg.find(order.lock_id)
        finally:
            other.close()

    run(world, story)


def test_restart_without_a_book_asks_the_pool(world: EvmWorld) -> None:
    """Even an adapter that forgot everything sends no second lock while the first one waits in the node's pool."""

    async def story() -> None:
        order = world.order()
        await world.leg(book=False).lock(order)
        leg = world.leg(book=False)
        await leg.lock(order)
        assert leg.counts.sent == 0
        await until(world, leg, order.lock_id, LockState.FINAL)
        assert nonce_of(world, PAYER.address) == 1

    run(world, story)


def test_a_strangers_cheap_claim_holds_nothing_back(world: EvmWorld) -> None:
    """Somebody's claim waits in the pool and offers too little to get in: ours is sent all the same."""

    async def story() -> None:
        payer, payee = world.leg(), world.leg(PAYEE)
        order = world.order()
        await payer.lock(order)
        await until(world, payer, order.lock_id, LockState.FINAL)
        cheap = {
            "from": STRANGER.address,
            "to": world.contract,
            "gas": "0x4c4b40",
            "maxFeePerGas": hex(2 * GWEI),
            "maxPriorityFeePerGas": "0x0",
        }
        world.node("eth_sendTransaction", {**cheap, "data": "0x" + call_claim(world.terms(order), secret("one")).hex()})
        await payee.claim(order.lock_id, secret("one"))
        assert payee.counts.sent == 1
        await until(world, payee, order.lock_id, LockState.CLAIMED_FINAL)

    run(world, story)


def test_lost_transaction_keeps_its_nonce(world: EvmWorld) -> None:
    """The node forgets its pool between two locks: the second takes the next nonce, and both are made."""

    async def story() -> None:
        leg = world.leg()
        first, second = world.order("first"), world.order("second")
        await leg.lock(first)
        world.node("anvil_dropAllTransactions")
        await leg.lock(second)
        assert [one.nonce for one in FileBook(world.folder / f"{PAYER.address}.json").read()] == [0, 1]
        await until(world, leg, first.lock_id, LockState.FINAL)
        await until(world, leg, second.lock_id, LockState.FINAL)
        assert nonce_of(world, PAYER.address) == 2

    run(world, story)


def test_lock_that_reverted_is_told_and_may_be_asked_again(world: EvmWorld, tokens: dict[str, bytes]) -> None:
    """The payer's tokens are gone when the lock is included: find says why, sends nothing, until lock is asked anew."""

    async def story() -> None:
        token = world.deploy(tokens["PlainToken"])
        world.mint(token, PAYER.address, 5_000)
        leg = world.leg()
        order = world.order(token=token)
        await leg.lock(order)
        slot = "0x" + keccak(bytes(12) + bytes.fromhex(PAYER.address[2:]) + bytes(32)).hex()
        world.node("anvil_setStorageAt", token, slot, "0x" + "00" * 32)
        world.node.mine(5)
        view = await leg.find(order.lock_id)
        assert (view.state, view.reason) == (LockState.REFUSED, "the lock was included and reverted")
        world.node("anvil_setStorageAt", token, slot, "0x" + "00" * 30 + "1388")
        assert (await leg.find(order.lock_id)).state is LockState.REFUSED and leg.counts.sent == 1
        await leg.lock(order)
        await until(world, leg, order.lock_id, LockState.FINAL)
        assert leg.counts.sent == 2

    run(world, story)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"timelock_ns": 1_700_001_000 * SECOND + 1}, LegCode.MALFORMED),
        ({"payee": "payee"}, LegCode.MALFORMED),
        ({"payee": PAYEE.address[2:]}, LegCode.MALFORMED),
        ({"payee": PAYEE.address.swapcase().replace("0X", "0x")}, LegCode.MALFORMED),
        ({"asset": "coin"}, LegCode.MALFORMED),
        ({"asset": "0x" + "00" * 20}, LegCode.ASSET_UNKNOWN),
        ({"asset": STRANGER.address}, LegCode.ASSET_UNKNOWN),
        ({"hash_function": HashFunction.SM3}, LegCode.HASH_FUNCTION_UNSUPPORTED),
        ({"payer": STRANGER.address}, LegCode.NOT_OURS),
        ({"amount": 10**30}, LegCode.BALANCE),
    ],
    ids=str,
)
def test_orders_that_the_chain_cannot_say(world: EvmWorld, change: dict, code: LegCode) -> None:
    async def story() -> None:
        leg = world.leg()
        with pytest.raises(LegRefused) as caught:
            await leg.lock(replace(world.order(), **change))
        assert caught.value.code is code
        await leg.lock(world.order())  # the id was not burnt by the refusal

    run(world, story)


def test_addresses_in_any_writing_are_one(world: EvmWorld) -> None:
    """Lower case or checksummed, an address is the same; the order comes back as the caller wrote it."""

    async def story() -> None:
        leg = world.leg()
        order = world.order(payee=PAYEE.address.lower())
        await leg.lock(order)
        await leg.lock(order)
        view = await until(world, leg, order.lock_id, LockState.FINAL)
        assert view.order == order

    run(world, story)


def test_token_needs_an_allowance_once(world: EvmWorld, tokens: dict[str, bytes]) -> None:
    async def story() -> None:
        token = world.deploy(tokens["PlainToken"])
        world.mint(token, PAYER.address, 10_000)
        leg = world.leg()
        await leg.approve(token, 500)
        world.node.mine()
        order = world.order(token=token)
        with pytest.raises(LegRefused) as caught:
            await leg.lock(order)
        assert caught.value.code is LegCode.BALANCE
        await leg.approve(token, 5_000)
        world.node.mine()
        await leg.lock(order)
        await until(world, leg, order.lock_id, LockState.FINAL)
        assert world.balance(world.contract, token) == order.amount

    run(world, story)


def test_restart_searches_a_span_at_a_time(world: EvmWorld) -> None:
    """A new adapter finds an old lock in bounded searches, and says so when it lies before the lookback."""

    async def story() -> None:
        order = world.order(lock_s=6_000)
        leg = world.leg()
        await leg.lock(order)
        world.node.mine(60)
        limits = RpcLimits(search_blocks_max=7)
        fresh = world.leg(limits=limits)
        view = await fresh.find(order.lock_id)
        assert view.state is LockState.FINAL and view.order == order
        short = world.leg(limits=limits, lookback_blocks=20)
        assert (await short.find(order.lock_id)).state is LockState.ABSENT, "unnamed, nothing shows that it is older"
        short.expect(order)
        with pytest.raises(LegUnavailable, match="no events"):
            await short.find(order.lock_id)

    run(world, story)


def test_strangers_cannot_bury_a_lock(world: EvmWorld) -> None:
    """However many locks carry our id, ours is made, found and claimed; only unnamed search gives up."""

    async def story() -> None:
        order = world.order()
        stranger = world.leg(STRANGER)
        for number in range(1, 6):
            squatter = replace(order, payer=STRANGER.address, payee=STRANGER.address, amount=number)
            stranger.forget(order.lock_id)
            with_terms = world.terms(squatter)
            data, value = call_lock(with_terms)
            world.node.transact(STRANGER.address, world.contract, data, value)
        limits = RpcLimits(events_max=3)
        leg = world.leg(limits=limits)
        await leg.lock(order)
        await until(world, leg, order.lock_id, LockState.FINAL)
        payee = world.leg(PAYEE, limits=limits)
        with pytest.raises(LegUnavailable, match="more than 3 events"):
            await payee.find(order.lock_id)
        payee.expect(order)
        await payee.claim(order.lock_id, secret("one"))
        await until(world, payee, order.lock_id, LockState.CLAIMED_FINAL)

    run(world, story)


@pytest.mark.parametrize("rules", ["istanbul", "berlin", "london", "paris"])
def test_chains_of_older_rules(anvil: Path, tmp_path: Path, rules: str) -> None:
    """The contract runs on older machines, and where blocks have no base fee the older form of transaction is sent."""
    node = AnvilNode(anvil, tmp_path / "node.state", rules=rules)
    world = EvmWorld(node, tmp_path)
    world.set_up()

    async def story() -> None:
        payer, payee = world.leg(fees=FeePolicy(stuck_blocks=1)), world.leg(PAYEE)
        order = world.order()
        await payer.lock(order)
        out = FileBook(tmp_path / f"{PAYER.address}.json").read()[0]
        assert out.dynamic is (rules in {"london", "paris"}) is (out.attempts[0].raw[0] == 2)
        node("anvil_dropAllTransactions")
        await until(world, payer, order.lock_id, LockState.FINAL)
        await payee.claim(order.lock_id, secret("one"))
        await until(world, payee, order.lock_id, LockState.CLAIMED_FINAL)

    try:
        run(world, story)
    finally:
        node.close()


def test_deploy(world: EvmWorld) -> None:
    """The helper brings the contract to a chain, and an adapter works with what it returns."""

    async def story() -> None:
        task = asyncio.create_task(deploy(Endpoint(world.node.url), 31337, PAYER, wait_s=20))
        for _ in range(1_000):
            await asyncio.sleep(0.01)
            if world.node("txpool_status")["pending"] != "0x0":
                break
        world.node.mine()
        deployment = await task
        assert deployment.block == world.node.head()[0] and 500_000 < deployment.gas < 1_500_000
        leg = world.leg(contract=deployment.contract, first_block=deployment.block)
        assert (await leg.clock()).height == deployment.block
        with pytest.raises(LegRefused, match="of chain 31337"):
            await deploy(Endpoint(world.node.url), 5, PAYER)

    run(world, story)
