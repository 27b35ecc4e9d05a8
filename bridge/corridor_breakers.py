"""Breakers of corridors: slow, hold or stop what would begin there, with reason and end, under two signatures.

It promises that only two different keys of supervisors or operators set or clear one, that each notice counts once and
in order, and that a breaker ends by itself. It never touches what has begun: a claim, a refund and a reveal do not ask.
Breakers of accounts, participants and ledgers are ledger state (docs/spec/03).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from bridge.refusals import BridgeCode, BridgeRefused
from engine.prefix import PrefixType, signing_prefix
from engine.refusals import EncodingError
from engine.types import NS_PER_S, SIGNATURE_BYTES, U16_MAX, U32_MAX, U64_MAX, BreakerGrade, Role
from native.signatures import PUBLIC_KEY_BYTES, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from engine.parties import Key

__all__ = ["NOTICE_BYTES", "SIGNED_NOTICE_BYTES", "BreakerNotice", "CorridorBreakers", "SignedNotice"]

NOTICE_BYTES: Final = 64
SIGNERS: Final = 2
BREAKERS_MAX: Final = 256
"""One for each corridor that the relay keeps."""
_VERSION: Final = 1
_CLEAR: Final = 0
_NOTICE: Final = struct.Struct("<HHHHII16sQQQQ")  # the last is zero
_SIGNER: Final = struct.Struct("<II64s")
SIGNED_NOTICE_BYTES: Final = NOTICE_BYTES + SIGNERS * _SIGNER.size
_ROLES: Final = (Role.SUPERVISOR, Role.OPERATOR)
assert (_NOTICE.size, _SIGNER.size) == (NOTICE_BYTES, 72)


@dataclass(frozen=True, slots=True)
class BreakerNotice:
    """One corridor's breaker from ``set_at`` until before ``expires_at``; without a grade it clears what stands.

    ``rate`` is how many swaps a second may begin under slow, 0 otherwise. ``reason`` is a number of the operator's
    list, not 0. ``sequence`` grows with every notice about a corridor. Raises EncodingError.
    """

    corridor_id: bytes
    grade: BreakerGrade | None
    reason: int
    rate: int
    sequence: int
    set_at: int
    expires_at: int

    def __post_init__(self) -> None:
        """Check every field."""
        if len(self.corridor_id) != 16 or not any(self.corridor_id):
            raise EncodingError("corridor id", self.corridor_id.hex(), "16 bytes that are not zero")
        if not 0 < self.reason <= U16_MAX or not 0 < self.sequence <= U64_MAX:
            raise EncodingError("breaker reason and sequence", (self.reason, self.sequence), "from 1 on")
        if not 0 < self.set_at < self.expires_at <= U64_MAX:
            raise EncodingError("breaker instants", (self.set_at, self.expires_at), "an end after the beginning")
        if (self.grade is BreakerGrade.SLOW) != (self.rate > 0) or self.rate > U32_MAX:
            raise EncodingError("breaker rate", self.rate, "a rate for slow, and 0 otherwise")

    def encode(self) -> bytes:
        """Return the 64 bytes."""
        return _NOTICE.pack(
            _VERSION,
            _CLEAR if self.grade is None else self.grade,
            self.reason,
            0,
            self.rate,
            0,
            self.corridor_id,
            self.sequence,
            self.set_at,
            self.expires_at,
            0,
        )

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a notice from exactly its bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes != NOTICE_BYTES:
            raise EncodingError("breaker bytes", view.nbytes, NOTICE_BYTES)
        version, grade, reason, zero, rate, more, corridor_id, sequence, set_at, expires_at, last = _NOTICE.unpack(view)
        if version != _VERSION or zero or more or last:
            raise EncodingError("breaker version and padding", (version, zero, more, last), f"{_VERSION} and zeros")
        try:
            found = None if grade == _CLEAR else BreakerGrade(grade)
        except ValueError as error:
            raise EncodingError("breaker grade", grade, "0 to 3") from error
        return cls(corridor_id, found, reason, rate, sequence, set_at, expires_at)

    def message(self, suite: int, genesis_hash: bytes) -> bytes:
        """Return what both sign: T(corridor) || the 64 bytes."""
        return signing_prefix(suite, PrefixType.CORRIDOR, genesis_hash) + self.encode()


@dataclass(frozen=True, slots=True)
class SignedNotice:
    """A notice and two (key id, signature), key ids ascending."""

    notice: BreakerNotice
    signatures: tuple[tuple[int, bytes], tuple[int, bytes]]

    def encode(self) -> bytes:
        """Return 208 bytes."""
        if any(len(signature) != SIGNATURE_BYTES for _, signature in self.signatures):
            raise EncodingError("breaker signature bytes", "another length", SIGNATURE_BYTES)
        rows = b"".join(_SIGNER.pack(key_id, 0, signature) for key_id, signature in self.signatures)
        return self.notice.encode() + rows

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 208 bytes; raises EncodingError. Whether the signatures hold is not asked."""
        view = memoryview(data).cast("B")
        if view.nbytes != SIGNED_NOTICE_BYTES:
            raise EncodingError("signed breaker bytes", view.nbytes, SIGNED_NOTICE_BYTES)
        (first, zero, one), (second, more, other) = _SIGNER.iter_unpack(view[NOTICE_BYTES:])
        if zero or more or first >= second:
            raise EncodingError("breaker signers", (first, second, zero, more), "two key ids, ascending, and zeros")
        return cls(BreakerNotice.decode(view[:NOTICE_BYTES]), ((first, one), (second, other)))

    def verify(self, suite: int, genesis_hash: bytes, key_of: Callable[[int], Key | None], now: int) -> None:
        """Demand two different keys of supervisors or operators, in force; raises BridgeRefused (approval_required)."""
        message = self.notice.message(suite, genesis_hash)
        if self.signatures[0][0] == self.signatures[1][0]:
            raise BridgeRefused(BridgeCode.APPROVAL_REQUIRED, "a breaker needs two keys, and this is one")
        for key_id, signature in self.signatures:
            key = key_of(key_id)
            if key is None or key.role not in _ROLES or not key.in_force(now):
                raise BridgeRefused(BridgeCode.APPROVAL_REQUIRED, f"key {key_id} sets no breaker now")
            public_key = key.public_key[: PUBLIC_KEY_BYTES[key.suite]]
            if len(signature) != SIGNATURE_BYTES or not verify(key.suite, public_key, signature, message):
                raise BridgeRefused(BridgeCode.APPROVAL_REQUIRED, f"the signature does not hold under key {key_id}")


class CorridorBreakers:
    """The breakers that stand, by corridor; notices are given in after ``SignedNotice.verify``."""

    def __init__(self) -> None:
        """Stand without any."""
        self._notices: dict[bytes, BreakerNotice] = {}
        self._begun: dict[bytes, tuple[int, int]] = {}

    def apply(self, notice: BreakerNotice) -> bool:
        """Take a verified notice; False when it, or a later one about this corridor, is known already.

        Raises BridgeRefused (limits_exceeded) for one corridor more than the relay keeps.
        """
        known = self._notices.get(notice.corridor_id)
        if known is not None and notice.sequence <= known.sequence:
            return False
        if known is None and len(self._notices) >= BREAKERS_MAX:
            raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, f"breakers of {BREAKERS_MAX} corridors are known")
        self._notices[notice.corridor_id] = notice
        return True

    def standing(self, corridor_id: bytes, now: int) -> BreakerNotice | None:
        """Return the breaker that stands on a corridor at an instant."""
        notice = self._notices.get(corridor_id)
        if notice is None or notice.grade is None or not notice.set_at <= now < notice.expires_at:
            return None
        return notice

    def begin(self, corridor_id: bytes, now: int) -> bool:
        """Ask for one swap that would begin: False to go on, True to hold it for people.

        Raises BridgeRefused: corridor_closed under stop, limits_exceeded when slow has let as many begin in this second
        as its rate says. What begins is counted.
        """
        notice = self.standing(corridor_id, now)
        if notice is None:
            return False
        named = f"corridor {corridor_id.hex()}, reason {notice.reason}, until {notice.expires_at}"
        if notice.grade is BreakerGrade.STOP:
            raise BridgeRefused(BridgeCode.CORRIDOR_CLOSED, f"a breaker stops {named}")
        if notice.grade is BreakerGrade.SLOW:
            second, count = self._begun.get(corridor_id, (0, 0))
            current = max(second, now // NS_PER_S)  # a clock that goes back opens no old second
            count = count if current == second else 0
            if count >= notice.rate:
                raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, f"a breaker slows {named}: {notice.rate} a second")
            self._begun[corridor_id] = (current, count + 1)
        return notice.grade is BreakerGrade.HOLD

    def all_standing(self, now: int) -> tuple[BreakerNotice, ...]:
        """Return the breakers that stand, by corridor."""
        found = (self.standing(corridor_id, now) for corridor_id in sorted(self._notices))
        return tuple(notice for notice in found if notice is not None)
