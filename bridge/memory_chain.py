"""A simulated chain with locks: blocks, finality by depth, reorganisations, stalls and a clock of its own.

Sans-IO and deterministic: time comes with each block, chance with the caller. It keeps the rules of SEMANTICS 7 for a
chain that is not ours: a claim is valid in a block whose time is before the timelock and a refund from then on, both
by the block's own time; a claim pays the payee in the lock whoever sends it; locks are told apart by all their
fields, so a stranger who uses a lock id first takes nothing from its owner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from bridge.leg import PREIMAGE_BYTES, ChainClock, HashFunction, LegCode, LockOrder, LockState, LockView
from engine.invariants import invariant
from native.hashing import digest

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ChainBlock",
    "ChainRules",
    "ClaimWish",
    "LockWish",
    "MemoryChain",
    "RefundWish",
    "ReorganisationTooDeep",
    "Wish",
    "preimage_fits",
]


class ReorganisationTooDeep(ValueError):  # noqa: N818 - named as what it is
    """A reorganisation of ``depth`` blocks where only ``deepest`` are not final."""

    def __init__(self, depth: int, deepest: int) -> None:
        """Keep both depths."""
        super().__init__(f"a reorganisation of {depth} blocks, and only {deepest} are not final")
        self.depth = depth
        self.deepest = deepest


@dataclass(frozen=True, slots=True)
class ChainRules:
    """What this chain is like. ``finality_depth`` blocks above a block make it final.

    ``skew_ns`` is added to the time handed to ``produce`` (a chain whose clock is wrong); ``pool_max`` bounds the
    wishes that wait and ``history_max`` the blocks that can be undone.
    """

    finality_depth: int = 2
    skew_ns: int = 0
    hash_functions: frozenset[HashFunction] = frozenset({HashFunction.SHA256})
    pool_max: int = 100_000
    history_max: int = 256


@dataclass(frozen=True, slots=True)
class LockWish:
    """Move the order's amount from its payer into a lock."""

    order: LockOrder


@dataclass(frozen=True, slots=True)
class ClaimWish:
    """End a lock by its preimage; any length may be tried."""

    order: LockOrder
    preimage: bytes


@dataclass(frozen=True, slots=True)
class RefundWish:
    """End a lock by its timelock."""

    order: LockOrder


Wish: TypeAlias = LockWish | ClaimWish | RefundWish


@dataclass(frozen=True, slots=True)
class ChainBlock:
    """One block: each wish beside the code that refused it (None when done)."""

    height: int
    time_ns: int
    wishes: tuple[tuple[Wish, LegCode | None], ...]


@dataclass(frozen=True, slots=True)
class _Held:
    """One lock of the chain; ``ended_at`` is 0 while it is open, ``preimage`` None when it was refunded."""

    height: int
    ended_at: int = 0
    preimage: bytes | None = None


@dataclass(slots=True)
class _Undo:
    """What a block replaced, newest last."""

    balances: list[tuple[tuple[str, str], int]] = field(default_factory=list)
    held: list[tuple[LockOrder, _Held | None]] = field(default_factory=list)


def preimage_fits(hash_function: HashFunction, hashlock: bytes, preimage: bytes) -> bool:
    """Whether a preimage of exactly 32 bytes opens the hashlock; any other length never does."""
    return len(preimage) == PREIMAGE_BYTES and digest(int(hash_function), preimage) == hashlock


class MemoryChain:
    """The chain: ``submit`` wishes, ``produce`` blocks, ``view`` locks; ``reorganise`` and ``stall`` to hurt it."""

    def __init__(self, rules: ChainRules | None = None, genesis_ns: int = 1_000_000_000) -> None:
        """Begin at height 0 with a block of the given time and nothing on any account."""
        self.rules = rules or ChainRules()
        self.stalled = False
        self._blocks = [ChainBlock(0, genesis_ns, ())]
        self._undo: list[_Undo] = [_Undo()]
        self._pool: dict[Wish, None] = {}
        self._balances: dict[tuple[str, str], int] = {}
        self._supply: dict[str, int] = {}
        self._held: dict[LockOrder, _Held] = {}
        self._orders: dict[bytes, list[LockOrder]] = {}
        self._final_height = 0

    # What is asked of it.

    def endow(self, account: str, amount: int, asset: str = "") -> None:
        """Bring new units into being on an account; part of the genesis and never undone."""
        self._balances[account, asset] = self.balance(account, asset) + amount
        self._supply[asset] = self._supply.get(asset, 0) + amount

    def submit(self, wish: Wish) -> bool:
        """Let a wish wait for a block; False when it waits already or the pool is full."""
        if wish in self._pool or len(self._pool) >= self.rules.pool_max:
            return False
        self._pool[wish] = None
        return True

    def drop(self, wish: Wish) -> None:
        """Forget a waiting wish, as a pool under pressure does."""
        self._pool.pop(wish, None)

    def produce(self, now_ns: int, censored: Callable[[Wish], bool] | None = None) -> ChainBlock | None:
        """Make the next block of all waiting wishes but the censored ones; None while the chain is stalled.

        The block's time is ``now_ns`` plus the chain's skew, and always later than its parent's.
        """
        if self.stalled:
            return None
        height = self._blocks[-1].height + 1
        time_ns = max(now_ns + self.rules.skew_ns, self._blocks[-1].time_ns + 1)
        undo = _Undo()
        chosen = [wish for wish in self._pool if censored is None or not censored(wish)]
        for wish in chosen:
            del self._pool[wish]
        done = tuple((wish, self._apply(wish, height, time_ns, undo)) for wish in chosen)
        block = ChainBlock(height, time_ns, done)
        self._blocks.append(block)
        self._undo.append(undo)
        self._final_height = max(self._final_height, height - self.rules.finality_depth)
        excess = len(self._blocks) - self.rules.history_max - 1
        if excess > 0:
            del self._blocks[:excess]
            del self._undo[:excess]
        return block

    def reorganise(self, depth: int, *, forget: bool = False, beyond_final: bool = False) -> tuple[Wish, ...]:
        """Undo the newest ``depth`` blocks; return their wishes, which wait again unless ``forget``.

        Raises ReorganisationTooDeep when a final block or the oldest kept one would go; ``beyond_final`` allows
        the former, for tests of what happens when a chain breaks its word.
        """
        deepest = len(self._blocks) - 1
        if not beyond_final:
            deepest = min(deepest, self._blocks[-1].height - self._final_height)
        if not 0 <= depth <= deepest:
            raise ReorganisationTooDeep(depth, deepest)
        undone: list[Wish] = []
        for _ in range(depth):
            block, undo = self._blocks.pop(), self._undo.pop()
            self._revert(undo)
            undone[:0] = [wish for wish, _ in block.wishes]
        if not forget:
            waiting = dict.fromkeys(undone)
            waiting.update(self._pool)
            self._pool = waiting
        return tuple(undone)

    def stall(self) -> None:
        """Make no more blocks until ``resume``."""
        self.stalled = True

    def resume(self) -> None:
        """Make blocks again."""
        self.stalled = False

    # What it shows.

    def clock(self) -> ChainClock:
        """Newest block's time and height, and the newest final height."""
        head = self._blocks[-1]
        return ChainClock(head.time_ns, head.height, self._final_height)

    def balance(self, account: str, asset: str = "") -> int:
        """Units on an account, locks not counted."""
        return self._balances.get((account, asset), 0)

    def waits(self, wish: Wish) -> bool:
        """Whether a wish waits for a block."""
        return wish in self._pool

    def waiting(self) -> tuple[Wish, ...]:
        """All that waits, oldest first: what a front-runner reads."""
        return tuple(self._pool)

    def orders(self, lock_id: bytes) -> tuple[LockOrder, ...]:
        """Every lock on the chain that carries this id, oldest first."""
        return tuple(self._orders.get(lock_id, ()))

    def view(self, order: LockOrder) -> LockView:
        """Show exactly this lock."""
        held = self._held.get(order)
        if held is None:
            return LockView(LockState.ABSENT, None, None, 0, "")
        if not held.ended_at:
            state = LockState.FINAL if held.height <= self._final_height else LockState.SEEN
            return LockView(state, order, None, held.height, "")
        final = held.ended_at <= self._final_height
        if held.preimage is None:
            state = LockState.REFUNDED_FINAL if final else LockState.REFUNDED
        else:
            state = LockState.CLAIMED_FINAL if final else LockState.CLAIMED
        return LockView(state, order, held.preimage, held.ended_at, "")

    def check_invariants(self) -> None:
        """Hold the sums: what was brought into being is on accounts or in open locks, asset by asset."""
        found = dict.fromkeys(self._supply, 0)
        for (_, asset), amount in self._balances.items():
            invariant(amount >= 0, "no account of the chain is overdrawn", asset=asset, amount=amount)
            found[asset] = found.get(asset, 0) + amount
        for order, held in self._held.items():
            if not held.ended_at:
                found[order.asset] = found.get(order.asset, 0) + order.amount
        invariant(found == self._supply, "the chain conserves value", found=found, supply=self._supply)

    # How it decides.

    def _apply(self, wish: Wish, height: int, time_ns: int, undo: _Undo) -> LegCode | None:
        """Do one wish or say why not; a refusal touches nothing."""
        held = self._held.get(wish.order)
        if isinstance(wish, LockWish):
            return self._lock(wish.order, held, height, time_ns, undo)
        if held is None:
            return LegCode.LOCK_UNKNOWN
        order = wish.order
        if isinstance(wish, ClaimWish):
            if len(wish.preimage) != PREIMAGE_BYTES:
                return LegCode.PREIMAGE_LENGTH
            if not preimage_fits(order.hash_function, order.hashlock, wish.preimage):
                return LegCode.PREIMAGE_MISMATCH
        if held.ended_at:
            return LegCode.LOCK_ENDED
        if isinstance(wish, ClaimWish):
            if time_ns >= order.timelock_ns:
                return LegCode.TOO_LATE
            self._replace(order, _Held(held.height, height, wish.preimage), undo)
            self._move(order.payee, order.asset, order.amount, undo)
            return None
        if time_ns < order.timelock_ns:
            return LegCode.TOO_EARLY
        self._replace(order, _Held(held.height, height), undo)
        self._move(order.payer, order.asset, order.amount, undo)
        return None

    def _lock(self, order: LockOrder, held: _Held | None, height: int, time_ns: int, undo: _Undo) -> LegCode | None:
        if held is not None:
            return None
        if order.hash_function not in self.rules.hash_functions:
            return LegCode.HASH_FUNCTION_UNSUPPORTED
        if time_ns >= order.timelock_ns:
            return LegCode.TIMELOCK_PASSED
        if self.balance(order.payer, order.asset) < order.amount:
            return LegCode.BALANCE
        self._move(order.payer, order.asset, -order.amount, undo)
        self._replace(order, _Held(height), undo)
        self._orders.setdefault(order.lock_id, []).append(order)
        return None

    def _move(self, account: str, asset: str, amount: int, undo: _Undo) -> None:
        before = self.balance(account, asset)
        undo.balances.append(((account, asset), before))
        self._balances[account, asset] = before + amount

    def _replace(self, order: LockOrder, held: _Held, undo: _Undo) -> None:
        undo.held.append((order, self._held.get(order)))
        self._held[order] = held

    def _revert(self, undo: _Undo) -> None:
        for key, before in reversed(undo.balances):
            self._balances[key] = before
        for order, was in reversed(undo.held):
            if was is not None:
                self._held[order] = was
                continue
            del self._held[order]
            carriers = self._orders[order.lock_id]
            carriers.remove(order)
            if not carriers:
                del self._orders[order.lock_id]
