"""The simulated chain behind the leg port: what a foreign chain's adapter does, without a chain.

Everything that one adapter remembers is lost with it, as in a process that dies; the chain and its pool go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.leg import PREIMAGE_BYTES, LegCode, LegRefused, LegUnavailable, LockState, LockView
from bridge.memory_chain import (
    ChainBlock,
    ChainRules,
    ClaimWish,
    LockWish,
    MemoryChain,
    RefundWish,
    ReorganisationTooDeep,
    Wish,
    preimage_fits,
)

if TYPE_CHECKING:
    from bridge.leg import ChainClock, LockOrder

__all__ = [
    "ChainBlock",
    "ChainRules",
    "ClaimWish",
    "LockWish",
    "MemoryChain",
    "MemoryLeg",
    "RefundWish",
    "ReorganisationTooDeep",
]

_OPEN = (LockState.SEEN, LockState.FINAL)
_CLAIMED = (LockState.CLAIMED, LockState.CLAIMED_FINAL)
_REFUNDED = (LockState.REFUNDED, LockState.REFUNDED_FINAL)


class MemoryLeg:
    """An adapter on a MemoryChain for one payer (or, with none given, for whoever an order names).

    ``reachable`` set to False makes every call raise LegUnavailable, as a node that is down does.
    """

    def __init__(self, chain: MemoryChain, payer: str | None = None) -> None:
        """Begin with no memory of earlier wishes."""
        self.reachable = True
        self._chain = chain
        self._payer = payer
        self._expected: dict[bytes, LockOrder] = {}
        self._sent: dict[bytes, list[Wish]] = {}

    def expect(self, order: LockOrder) -> None:
        """Look for exactly this order under its id from now on."""
        self._expected[order.lock_id] = order

    async def lock(self, order: LockOrder) -> None:
        """Have the payer lock; refuses at once what the chain would refuse as it stands."""
        self._reach()
        if self._payer is not None and order.payer != self._payer:
            raise LegRefused(LegCode.NOT_OURS, f"this adapter acts for {self._payer}, not for {order.payer}")
        if order.hash_function not in self._chain.rules.hash_functions:
            raise LegRefused(LegCode.HASH_FUNCTION_UNSUPPORTED, f"{order.hash_function.name} is not known there")
        known = (*self._chain.orders(order.lock_id), *self._orders_sent(order.lock_id))
        if any(other.payer == order.payer and other != order for other in known):
            raise LegRefused(LegCode.TERMS_DIFFER, "this payer's lock with the same id says otherwise")
        self.expect(order)
        wish = LockWish(order)
        if self._chain.view(order).state is not LockState.ABSENT or self._chain.waits(wish):
            self._remember(wish)
            return
        if self._chain.clock().time_ns >= order.timelock_ns:
            raise LegRefused(LegCode.TIMELOCK_PASSED, "the lock would be born refundable")
        if self._chain.balance(order.payer, order.asset) < order.amount:
            raise LegRefused(LegCode.BALANCE, f"{order.payer} holds less than {order.amount}")
        self._send(wish)

    async def find(self, lock_id: bytes) -> LockView:
        """Show the lock, and send again what the chain has dropped of this adapter's wishes."""
        self._reach()
        for wish in self._sent.get(lock_id, ()):
            if self._due(wish):
                self._chain.submit(wish)
        return self._view(lock_id)

    async def claim(self, lock_id: bytes, preimage: bytes) -> None:
        """Claim for the payee; refuses a preimage that cannot fit and a claim that cannot come in time."""
        self._reach()
        if len(preimage) != PREIMAGE_BYTES:
            raise LegRefused(LegCode.PREIMAGE_LENGTH, f"{len(preimage)} bytes, not {PREIMAGE_BYTES}")
        view, order = self._standing(lock_id)
        if not preimage_fits(order.hash_function, order.hashlock, preimage):
            raise LegRefused(LegCode.PREIMAGE_MISMATCH, "the preimage does not open the hashlock")
        wish = ClaimWish(order, preimage)
        if view.state in _CLAIMED:
            self._remember(wish)
            return
        if view.state in _REFUNDED:
            raise LegRefused(LegCode.LOCK_ENDED, "the lock has been refunded")
        if self._chain.clock().time_ns >= order.timelock_ns:
            raise LegRefused(LegCode.TOO_LATE, "the timelock has passed")
        self._send(wish)

    async def refund(self, lock_id: bytes) -> None:
        """Refund to the payer; refuses before the timelock."""
        self._reach()
        view, order = self._standing(lock_id)
        wish = RefundWish(order)
        if view.state in _REFUNDED:
            self._remember(wish)
            return
        if view.state in _CLAIMED:
            raise LegRefused(LegCode.LOCK_ENDED, "the lock has been claimed")
        if self._chain.clock().time_ns < order.timelock_ns:
            raise LegRefused(LegCode.TOO_EARLY, "the timelock has not passed")
        self._send(wish)

    async def clock(self) -> ChainClock:
        """Say what time it is on the chain."""
        self._reach()
        return self._chain.clock()

    def _reach(self) -> None:
        if not self.reachable:
            raise LegUnavailable("the simulated node does not answer")

    def _standing(self, lock_id: bytes) -> tuple[LockView, LockOrder]:
        view = self._view(lock_id)
        if view.order is None:
            raise LegRefused(LegCode.LOCK_UNKNOWN, view.reason or "the chain shows no such lock")
        return view, view.order

    def _view(self, lock_id: bytes) -> LockView:
        expected = self._expected.get(lock_id)
        there = self._chain.orders(lock_id)
        if expected is not None:
            view = self._chain.view(expected)
            others = len(there) - (view.order is not None)
            return view if not others or view.order else _absent(f"{others} other locks carry this id")
        if len(there) > 1:
            return LockView(LockState.REFUSED, None, None, 0, f"{len(there)} locks carry this id: expect one of them")
        return self._chain.view(there[0]) if there else _absent("")

    def _send(self, wish: Wish) -> None:
        self._remember(wish)
        if not self._chain.submit(wish) and not self._chain.waits(wish):
            raise LegUnavailable("the simulated chain's pool is full")

    def _due(self, wish: Wish) -> bool:
        """Whether the chain, as it stands, lacks what this adapter wished and could still grant it."""
        state = self._chain.view(wish.order).state
        late = self._chain.clock().time_ns >= wish.order.timelock_ns
        if isinstance(wish, LockWish):
            return state is LockState.ABSENT and not late
        return state in _OPEN and late is isinstance(wish, RefundWish)

    def _remember(self, wish: Wish) -> None:
        sent = self._sent.setdefault(wish.order.lock_id, [])
        if wish not in sent:
            sent.append(wish)

    def _orders_sent(self, lock_id: bytes) -> tuple[LockOrder, ...]:
        return tuple(wish.order for wish in self._sent.get(lock_id, ()) if isinstance(wish, LockWish))


def _absent(reason: str) -> LockView:
    return LockView(LockState.ABSENT, None, None, 0, reason)
