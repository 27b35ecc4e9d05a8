"""One leg of a swap as its chain's adapter shows it: what is ordered, what is seen, and what an adapter promises.

The machines of the bridge know a foreign chain through ``LegAdapter`` alone. The contract of the port:

* ``lock``, ``claim`` and ``refund`` hand a wish to the chain and return; ``find`` alone says what became of it.
  Each may be asked any number of times: what is done already is not done twice.
* ``claim`` accepts a preimage of exactly ``PREIMAGE_BYTES`` that fits the hashlock, and only before the timelock;
  ``refund`` only from the timelock on; both by the clock of that chain, the time of its newest block. A claim pays
  the payee that the lock names, whoever asks for it.
* What ``find`` shows may be taken back by the chain until the state is one of ``FINAL_STATES``. An adapter sends its
  own transactions again when the chain drops them.
* ``LegUnavailable`` says nothing about the wish: ask again. ``LegRefused`` says that asking again is useless as
  long as the chain stands as it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Protocol, runtime_checkable

import msgspec

__all__ = [
    "FINAL_STATES",
    "HASHLOCK_BYTES",
    "LOCK_ID_BYTES",
    "PREIMAGE_BYTES",
    "ChainClock",
    "ExpectingAdapter",
    "HashFunction",
    "LegAdapter",
    "LegCode",
    "LegError",
    "LegRefused",
    "LegUnavailable",
    "LockOrder",
    "LockState",
    "LockView",
]

LOCK_ID_BYTES = 32
HASHLOCK_BYTES = 32
# Chains bound a preimage differently; one length on both legs closes the gap between the bounds.
PREIMAGE_BYTES = 32
_U64_END = 1 << 64
_U128_END = 1 << 128


class HashFunction(IntEnum):
    """Which function turns a preimage into a hashlock; the numbers of ``engine.types.HashFunction``."""

    SHA256 = 1
    SM3 = 2


class LockState(IntEnum):
    """Where a lock stands. From ``FINAL`` on the lock itself is final; the others may be taken back."""

    ABSENT = 0
    """The chain shows no such lock."""
    SEEN = 1
    """There, in a block that is not final."""
    FINAL = 2
    """There for good, neither claimed nor refunded."""
    CLAIMED = 3
    """A claim is in a block that is not final; the preimage is known all the same."""
    CLAIMED_FINAL = 4
    REFUNDED = 5
    """A refund is in a block that is not final."""
    REFUNDED_FINAL = 6
    REFUSED = 7
    """The chain refused the lock, or shows under its id what the order does not say; ``reason`` tells."""


FINAL_STATES = frozenset({LockState.FINAL, LockState.CLAIMED_FINAL, LockState.REFUNDED_FINAL})


class LegCode(StrEnum):
    """Why an adapter refuses; a word that stays."""

    MALFORMED = "malformed"
    HASH_FUNCTION_UNSUPPORTED = "hash_function_unsupported"
    ASSET_UNKNOWN = "asset_unknown"
    PREIMAGE_LENGTH = "preimage_length"
    PREIMAGE_MISMATCH = "preimage_mismatch"
    TERMS_DIFFER = "terms_differ"
    TIMELOCK_PASSED = "timelock_passed"
    """The lock would be born refundable."""
    TOO_EARLY = "too_early"
    """A refund before the timelock."""
    TOO_LATE = "too_late"
    """A claim at or after the timelock."""
    LOCK_UNKNOWN = "lock_unknown"
    LOCK_ENDED = "lock_ended"
    """Claimed where a refund is asked, or refunded where a claim is."""
    BALANCE = "balance"
    FEE_CAP = "fee_cap"
    """What the chain asks for a transaction exceeds what the operator allows."""
    NOT_OURS = "not_ours"
    """The order's payer is not the account this adapter signs for."""
    CHAIN_REFUSED = "chain_refused"
    """The chain said no in words of its own, kept in the text."""


class LegError(Exception):
    """Root of what an adapter raises."""


class LegUnavailable(LegError):  # noqa: N818 - named as what it is
    """The chain cannot be reached or does not answer within bounds; ``text`` says what was tried."""

    def __init__(self, text: str) -> None:
        """Keep the text."""
        super().__init__(text)
        self.text = text


class LegRefused(LegError):  # noqa: N818 - named as what it is
    """A wish that cannot be granted as the chain stands."""

    def __init__(self, code: LegCode, text: str) -> None:
        """Keep the word and the explanation."""
        super().__init__(f"{code.value}: {text}")
        self.code = code
        self.text = text


class LockOrder(msgspec.Struct, frozen=True, gc=False):
    """What a leg is to lock; two equal orders are one wish.

    ``lock_id`` is the idempotency key (the digest of the leg's terms). ``payer``, ``payee`` and ``asset`` are
    written as the chain writes them: 32 hexadecimal digits for an account of ours, an address on an EVM chain. An
    empty ``asset`` is the chain's native coin. ``timelock_ns`` is nanoseconds since 1970 by the clock of that chain.
    Raises LegRefused with code malformed for a length or number outside its field.
    """

    lock_id: bytes
    payer: str
    payee: str
    amount: int
    hash_function: HashFunction
    hashlock: bytes
    timelock_ns: int
    asset: str

    def __post_init__(self) -> None:
        """Check the shape; whether the chain can do it is the adapter's to say."""
        if len(self.lock_id) != LOCK_ID_BYTES:
            raise LegRefused(LegCode.MALFORMED, f"a lock id of {len(self.lock_id)} bytes, not {LOCK_ID_BYTES}")
        if len(self.hashlock) != HASHLOCK_BYTES:
            raise LegRefused(LegCode.MALFORMED, f"a hashlock of {len(self.hashlock)} bytes, not {HASHLOCK_BYTES}")
        if not 0 < self.amount < _U128_END:
            raise LegRefused(LegCode.MALFORMED, f"an amount of {self.amount}, outside 1 to 2^128 - 1")
        if not 0 < self.timelock_ns < _U64_END:
            raise LegRefused(LegCode.MALFORMED, f"a timelock of {self.timelock_ns}, outside 1 to 2^64 - 1")
        if not self.payer or not self.payee:
            raise LegRefused(LegCode.MALFORMED, "payer and payee must be named")


class LockView(msgspec.Struct, frozen=True, gc=False):
    """What the chain shows of one lock; ``order`` is what stands there, which may differ from what was asked.

    ``preimage`` is set from CLAIMED on; ``height`` is the block of the newest event shown (0 when absent);
    ``reason`` explains REFUSED and is empty otherwise.
    """

    state: LockState
    order: LockOrder | None
    preimage: bytes | None
    height: int
    reason: str


@dataclass(frozen=True, slots=True)
class ChainClock:
    """The chain's newest block (its time in nanoseconds, its height) and the newest height that is final."""

    time_ns: int
    height: int
    final_height: int


@runtime_checkable
class LegAdapter(Protocol):
    """A chain as the bridge uses it; the module's docstring is the contract, ``bridge.conformance`` the test."""

    async def lock(self, order: LockOrder) -> None:
        """Have the payer lock what the order says."""
        ...

    async def find(self, lock_id: bytes) -> LockView:
        """Show the lock; never refuses."""
        ...

    async def claim(self, lock_id: bytes, preimage: bytes) -> None:
        """End the lock in favour of its payee."""
        ...

    async def refund(self, lock_id: bytes) -> None:
        """End the lock in favour of its payer."""
        ...

    async def clock(self) -> ChainClock:
        """Say what time it is on that chain."""
        ...


@runtime_checkable
class ExpectingAdapter(LegAdapter, Protocol):
    """An adapter on a chain where strangers may use our lock id for locks of their own.

    Who waits for another party's lock calls ``expect`` first; ``find`` then shows the lock that is exactly that
    order, however many others carry its id. Without it, and with several to choose from, ``find`` answers REFUSED.
    """

    def expect(self, order: LockOrder) -> None:
        """Remember the order that ``find(order.lock_id)`` is to look for."""
        ...
