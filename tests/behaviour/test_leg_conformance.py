"""The conformance kit passes on the simulated chain, and fails on chains and adapters that break a rule."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from msgspec import structs

from bridge.conformance import CHECKS, run_checks
from bridge.leg import ExpectingAdapter, HashFunction, LegAdapter, LegCode, LegRefused, LockOrder, LockState, LockView
from bridge.memory_chain import ChainRules, ClaimWish, LockWish, MemoryChain, RefundWish, ReorganisationTooDeep
from bridge.memory_leg import MemoryLeg
from engine.refusals import InvariantBroken
from native.hashing import digest

SECOND = 1_000_000_000


class MemoryRig:
    """The simulated chain as a rig; subclasses break it."""

    payer, payee, stranger, asset = "payer", "payee", "stranger", "coin"
    hash_function = HashFunction.SHA256
    tick_ns = 1
    chain_class = MemoryChain
    leg_class = MemoryLeg

    def __init__(self, finality_depth: int = 2) -> None:
        self.finality_depth = finality_depth
        self.chain = self.chain_class(ChainRules(finality_depth=finality_depth))
        self.chain.endow(self.payer, 100_000, self.asset)
        self.chain.endow(self.stranger, 100_000, self.asset)
        self.legs: list[MemoryLeg] = []

    def _leg(self, account: str) -> MemoryLeg:
        self.legs.append(self.leg_class(self.chain, account))
        return self.legs[-1]

    async def adapter(self) -> LegAdapter:
        return self._leg(self.payer)

    async def adapter_of(self, account: str) -> LegAdapter:
        return self._leg(account)

    async def advance(self, blocks: int) -> None:
        for _ in range(blocks):
            await self.block_at(self.chain.clock().time_ns + SECOND)

    async def block_at(self, time_ns: int) -> None:
        self.chain.produce(time_ns)
        self.chain.check_invariants()

    async def reorganise(self, depth: int) -> None:
        times = [self.chain.clock().time_ns + step for step in range(depth)]
        self.chain.reorganise(depth, forget=True)
        for time_ns in times:
            self.chain.produce(time_ns)

    async def stop(self) -> None:
        for leg in self.legs:
            leg.reachable = False

    async def start(self) -> None:
        for leg in self.legs:
            leg.reachable = True

    async def balance(self, account: str) -> int:
        return self.chain.balance(account, self.asset)

    async def force_claim(self, order: LockOrder, preimage: bytes) -> bool:
        return self._force(ClaimWish(order, preimage))

    async def force_refund(self, order: LockOrder) -> bool:
        return self._force(RefundWish(order))

    def _force(self, wish: ClaimWish | RefundWish) -> bool:
        self.chain.submit(wish)
        block = self.chain.produce(self.chain.clock().time_ns + 1)
        return dict(block.wishes)[wish] is None


def factory_of(rig_class: type[MemoryRig], *arguments: int):
    @asynccontextmanager
    async def factory():
        rig = rig_class(*arguments)
        yield rig
        rig.chain.check_invariants()

    return factory


@pytest.mark.parametrize("finality_depth", [0, 1, 2, 64])
@pytest.mark.parametrize("check", CHECKS)
def test_simulated_chain_conforms(check: str, finality_depth: int) -> None:
    async def run() -> None:
        async with factory_of(MemoryRig, finality_depth)() as rig:
            await CHECKS[check](rig)

    asyncio.run(run())


def test_run_checks_reports_every_check() -> None:
    verdicts = asyncio.run(run_checks(factory_of(MemoryRig)))
    assert [verdict.check for verdict in verdicts] == list(CHECKS)
    assert not [verdict for verdict in verdicts if verdict.failure]


def test_the_port_is_what_the_adapter_has() -> None:
    leg = MemoryLeg(MemoryChain())
    assert isinstance(leg, LegAdapter) and isinstance(leg, ExpectingAdapter)


# Chains and adapters that break one rule each, and the checks that must see it.


class ClaimsLate(MemoryChain):
    def _apply(self, wish, height, time_ns, undo):
        if isinstance(wish, ClaimWish):
            return super()._apply(wish, height, min(time_ns, wish.order.timelock_ns - 1), undo)
        return super()._apply(wish, height, time_ns, undo)


class RefundsEarly(MemoryChain):
    def _apply(self, wish, height, time_ns, undo):
        if isinstance(wish, RefundWish):
            return super()._apply(wish, height, max(time_ns, wish.order.timelock_ns), undo)
        return super()._apply(wish, height, time_ns, undo)


class RefundsOneTickEarly(MemoryLeg):
    async def refund(self, lock_id):
        try:
            await super().refund(lock_id)
        except LegRefused as refusal:
            if refusal.code is not LegCode.TOO_EARLY:
                raise


class PaysTheStranger(MemoryChain):
    def _move(self, account, asset, amount, undo):
        super()._move("stranger" if account == "payee" else account, asset, amount, undo)


class TakesAnyPreimage(MemoryChain):
    def _apply(self, wish, height, time_ns, undo):
        if isinstance(wish, ClaimWish) and wish.order in self._held and not self._held[wish.order].ended_at:
            order = wish.order
            held = replace(self._held[order], ended_at=height, preimage=wish.preimage)
            self._replace(order, held, undo)
            self._move(order.payee, order.asset, order.amount, undo)
            return None
        return super()._apply(wish, height, time_ns, undo)


class FinalAtOnce(MemoryChain):
    def view(self, order):
        view = super().view(order)
        return structs.replace(view, state=LockState.FINAL) if view.state is LockState.SEEN else view


class NeverSendsAgain(MemoryLeg):
    def _due(self, wish):
        return False


class ForgetsTerms(MemoryLeg):
    async def lock(self, order):
        self._send(LockWish(order))


class GuessesTheLock(MemoryLeg):
    def _view(self, lock_id):
        there = self._chain.orders(lock_id)
        return self._chain.view(there[0]) if there else LockView(LockState.ABSENT, None, None, 0, "")


class AlwaysThere(MemoryLeg):
    def _reach(self):
        return None


class HidesThePreimage(MemoryLeg):
    async def find(self, lock_id):
        return structs.replace(await super().find(lock_id), preimage=None)


BROKEN = {
    ClaimsLate: {"late_claim", "claim_included_too_late"},
    RefundsEarly: {"early_refund"},
    PaysTheStranger: {"anyone_claims_for_the_payee", "claim_ends_a_lock", "claim_lost_to_a_reorganisation"},
    TakesAnyPreimage: {"wrong_preimage", "preimage_lengths", "late_claim", "claim_included_too_late"},
    FinalAtOnce: {"lock_becomes_final", "lock_lost_to_a_reorganisation"},
    RefundsOneTickEarly: {"early_refund"},
    NeverSendsAgain: {
        "lock_lost_to_a_reorganisation", "claim_lost_to_a_reorganisation", "refund_lost_to_a_reorganisation",
    },
    ForgetsTerms: {"same_id_other_terms", "impossible_orders", "other_hash_function", "payer_fixed"},
    GuessesTheLock: {"id_taken_by_a_stranger"},
    AlwaysThere: {"silent_node"},
    HidesThePreimage: {"anyone_claims_for_the_payee", "restart_finds_and_claims"},
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_kit_sees_a_broken_rule(broken: type) -> None:
    """Each broken chain or adapter fails at least the checks of its rule; a kit that passes all proves nothing."""

    class Rig(MemoryRig):
        chain_class = broken if issubclass(broken, MemoryChain) else MemoryChain
        leg_class = broken if issubclass(broken, MemoryLeg) else MemoryLeg

    @asynccontextmanager
    async def factory():
        yield Rig()

    failed = {verdict.check for verdict in asyncio.run(run_checks(factory)) if verdict.failure}
    assert failed >= BROKEN[broken], failed


# The simulated chain by itself.


def order_of(chain: MemoryChain, number: int, **changes) -> LockOrder:
    order = LockOrder(
        digest(1, b"%d" % number), "payer", "payee", 10 + number, HashFunction.SHA256,
        digest(1, digest(1, b"secret %d" % number)), chain.clock().time_ns + 100 * SECOND, "",
    )  # fmt: skip
    return structs.replace(order, **changes)


@pytest.mark.parametrize("depth", [1, 2, 7, 64])
def test_reorganisation_restores_exactly_what_was(depth: int) -> None:
    """Blocks undone and made anew of the same wishes lead to the same chain; empty ones to the state before."""
    chain = MemoryChain(ChainRules(finality_depth=64))
    chain.endow("payer", 100_000)
    orders = [order_of(chain, number) for number in range(depth)]
    before = (chain.balance("payer"), chain.clock())
    for number, order in enumerate(orders):
        chain.submit(LockWish(order))
        if number % 2:
            chain.submit(ClaimWish(orders[number - 1], digest(1, b"secret %d" % (number - 1))))
        chain.produce(chain.clock().time_ns + SECOND)
        chain.check_invariants()
    after = (chain.balance("payer"), chain.balance("payee"), [chain.view(order).state for order in orders])
    chain.reorganise(depth)
    chain.check_invariants()
    assert (chain.balance("payer"), chain.clock()) == before and chain.balance("payee") == 0
    assert [chain.view(order).state for order in orders] == [LockState.ABSENT] * depth
    for _ in range(2):
        chain.produce(chain.clock().time_ns + SECOND)
    assert (chain.balance("payer"), chain.balance("payee"), [chain.view(order).state for order in orders]) == after


def test_final_blocks_are_not_undone() -> None:
    chain = MemoryChain(ChainRules(finality_depth=3))
    for _ in range(10):
        chain.produce(chain.clock().time_ns + SECOND)
    with pytest.raises(ReorganisationTooDeep) as caught:
        chain.reorganise(4)
    assert (caught.value.depth, caught.value.deepest) == (4, 3)
    chain.reorganise(3)
    assert chain.clock().final_height == 7 == chain.clock().height
    chain.reorganise(2, beyond_final=True)
    assert chain.clock().height == 5


def test_stall_skew_and_censorship() -> None:
    chain = MemoryChain(ChainRules(skew_ns=-5 * SECOND))
    chain.endow("payer", 100)
    order = order_of(chain, 1)
    chain.submit(LockWish(order))
    chain.stall()
    assert chain.produce(100 * SECOND) is None and chain.waits(LockWish(order))
    chain.resume()
    chain.produce(50 * SECOND, censored=lambda wish: isinstance(wish, LockWish))
    assert chain.clock().time_ns == 45 * SECOND and chain.waiting() == (LockWish(order),)
    chain.produce(20 * SECOND)
    assert chain.clock().time_ns == 45 * SECOND + 1, "time never goes back"
    assert chain.view(order).state is LockState.SEEN


def test_history_and_pool_are_bounded() -> None:
    chain = MemoryChain(ChainRules(finality_depth=1, history_max=8, pool_max=2))
    for _ in range(100):
        chain.produce(chain.clock().time_ns + SECOND)
    with pytest.raises(ReorganisationTooDeep):
        chain.reorganise(9, beyond_final=True)
    wishes = [LockWish(order_of(chain, number)) for number in range(3)]
    assert [chain.submit(wish) for wish in wishes] == [True, True, False]
    assert not chain.submit(wishes[0])
    chain.drop(wishes[0])
    assert chain.submit(wishes[2])


def test_lost_value_is_seen() -> None:
    chain = MemoryChain()
    chain.endow("payer", 100)
    chain._balances["payer", ""] -= 1
    with pytest.raises(InvariantBroken):
        chain.check_invariants()


@pytest.mark.parametrize(
    "change",
    [
        {"lock_id": b"short"}, {"hashlock": b"p" * 31}, {"hashlock": b"p" * 33}, {"amount": 0}, {"amount": 1 << 128},
        {"timelock_ns": 0}, {"timelock_ns": 1 << 64}, {"payer": ""}, {"payee": ""},
    ],
    ids=str,
)  # fmt: skip
def test_order_out_of_shape_is_refused(change: dict) -> None:
    with pytest.raises(LegRefused) as caught:
        order_of(MemoryChain(), 1, **change)
    assert caught.value.code is LegCode.MALFORMED
