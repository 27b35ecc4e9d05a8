"""Breakers of corridors: slow, hold or stop what would begin there, with reason and end, as a ledger has decided them.

It promises that each decision counts once and in order, of each domain by itself, that of several the strictest counts,
and that a breaker ends by itself. It never touches what has begun: a claim, a refund and a reveal do not ask.
Who may set or clear one is asked by the ledger (06): two keys of supervisors or operators, in force when it decides.
That a ledger decided what a notice says is its caller's to prove. Other breakers are ledger state (docs/spec/03).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from bridge.refusals import BridgeCode, BridgeRefused
from engine.refusals import EncodingError
from engine.types import NS_PER_S, U16_MAX, U32_MAX, U64_MAX, AdminType, BreakerGrade, BreakerSubject

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from engine.admin import AdminRequest

__all__ = ["NOTICE_BYTES", "BreakerNotice", "CorridorBreakers", "notice_of"]

NOTICE_BYTES: Final = 64
BREAKERS_MAX: Final = 256
"""One for each corridor that the relay keeps."""
_VERSION: Final = 1
_CLEAR: Final = 0
_NOTICE: Final = struct.Struct("<HHHHII16sQQQQ")  # the last is zero
_CORRIDOR_BYTES: Final = 16
assert _NOTICE.size == NOTICE_BYTES


@dataclass(frozen=True, slots=True)
class BreakerNotice:
    """What one domain's ledgers decided of one corridor; without a grade it clears what that domain had set.

    ``rate`` is how many swaps a second may begin under slow, 0 otherwise. ``reason`` is a number of the operator's
    list, not 0. ``set_at`` is the decision's instant by that ledger, ``expires_at`` the end (0 of one that clears), ns;
    ``relay_height`` that of the block under which the decision is final. Raises EncodingError.
    """

    corridor_id: bytes
    domain: int
    grade: BreakerGrade | None
    reason: int
    rate: int
    set_at: int
    expires_at: int
    relay_height: int = 0

    def __post_init__(self) -> None:
        """Check every field."""
        if len(self.corridor_id) != _CORRIDOR_BYTES or not any(self.corridor_id):
            raise EncodingError("corridor id", self.corridor_id.hex(), "16 bytes that are not zero")
        if not 0 < self.reason <= U16_MAX or not 0 < self.domain <= U32_MAX:
            raise EncodingError("breaker reason and domain", (self.reason, self.domain), "from 1 on")
        ends = self.set_at < self.expires_at <= U64_MAX if self.grade is not None else self.expires_at == 0
        if not 0 < self.set_at <= U64_MAX or not ends:
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
            self.domain,
            self.corridor_id,
            self.set_at,
            self.expires_at,
            self.relay_height,
            0,
        )

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a notice from exactly its bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes != NOTICE_BYTES:
            raise EncodingError("breaker bytes", view.nbytes, NOTICE_BYTES)
        version, grade, reason, zero, rate, domain, corridor_id, set_at, expires_at, height, last = _NOTICE.unpack(view)
        if version != _VERSION or zero or last:
            raise EncodingError("breaker version and padding", (version, zero, last), f"{_VERSION} and zeros")
        try:
            found = None if grade == _CLEAR else BreakerGrade(grade)
        except ValueError as error:
            raise EncodingError("breaker grade", grade, "0 to 3") from error
        return cls(corridor_id, domain, found, reason, rate, set_at, expires_at, height)

    @property
    def strictness(self) -> tuple[int, int]:
        """What orders grades: clear, slow (a lower rate is stricter), hold, stop."""
        return (_CLEAR if self.grade is None else int(self.grade), -self.rate)

    @property
    def text(self) -> str:
        """What stands, for a person."""
        what = "clear" if self.grade is None else self.grade.name.lower()
        return f"{what} on corridor {self.corridor_id.hex()}, reason {self.reason}, until {self.expires_at}"


def notice_of(request: AdminRequest, domain: int, decided_at: int, relay_height: int = 0) -> BreakerNotice:
    """Return what a request says that a domain's ledgers decided at an instant, final under a relay block.

    Raises BridgeRefused (terms_malformed) for a request of another type or about something else than a corridor.
    """
    kinds = (AdminType.BREAKER_SET, AdminType.BREAKER_CLEAR)
    if request.type not in kinds or request.role != BreakerSubject.CORRIDOR:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"{request.type_name} sets no breaker of a corridor")
    clears = request.type == AdminType.BREAKER_CLEAR
    try:
        return BreakerNotice(
            request.subject.to_bytes(_CORRIDOR_BYTES, "big"),
            domain,
            None if clears else BreakerGrade(request.suite),
            request.reason,
            request.limit_a,
            decided_at,
            request.limit_b,
            relay_height,
        )
    except (EncodingError, ValueError) as error:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, str(error)) from error


class CorridorBreakers:
    """The breakers that stand, by corridor and domain; a notice is given in once it is proved."""

    def __init__(self) -> None:
        """Stand without any."""
        self._notices: dict[bytes, dict[int, BreakerNotice]] = {}
        self._begun: dict[bytes, tuple[int, int]] = {}

    def apply(self, notice: BreakerNotice) -> bool:
        """Take a proved notice; False when it, or a later one of that domain about this corridor, is known already.

        Of two that one instant decided the stricter one counts, then the longer one, so that all who hear them in any
        order hold the same. Raises BridgeRefused (limits_exceeded) for one corridor more than the relay keeps.
        """
        of_corridor = self._notices.get(notice.corridor_id, {})
        known = of_corridor.get(notice.domain)
        if known is not None and _order(notice) <= _order(known):
            return False
        if not of_corridor and len(self._notices) >= BREAKERS_MAX:
            raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, f"breakers of {BREAKERS_MAX} corridors are known")
        self._notices.setdefault(notice.corridor_id, {})[notice.domain] = notice
        return True

    def standing(self, corridor_id: bytes, now: int) -> BreakerNotice | None:
        """Return the strictest breaker that stands on a corridor at an instant."""
        notices = self._notices.get(corridor_id)
        if not notices:
            return None
        found = (each for each in notices.values() if _stands(each, now))
        return max(found, key=lambda each: each.strictness, default=None)

    def begin(self, corridor_id: bytes, now: int) -> bool:
        """Ask as ``demand`` does for one swap that begins, and count it."""
        is_held = self.demand(corridor_id, now)
        self.count(corridor_id, now)
        return is_held

    def demand(self, corridor_id: bytes, now: int) -> bool:
        """Ask for one swap that would begin: False to go on, True to hold it for people.

        Raises BridgeRefused: corridor_closed under stop, limits_exceeded when slow has let as many begin in this second
        as its rate says. Nothing is counted: what is refused after all takes nobody's place.
        """
        notice = self.standing(corridor_id, now)
        if notice is None:
            return False
        if notice.grade is BreakerGrade.STOP:
            raise BridgeRefused(BridgeCode.CORRIDOR_CLOSED, f"a breaker stops: {notice.text}")
        if notice.grade is BreakerGrade.SLOW:
            _, count = self._second(corridor_id, now)
            if count >= notice.rate:
                raise BridgeRefused(
                    BridgeCode.LIMITS_EXCEEDED, f"a breaker slows: {notice.rate} a second; {notice.text}"
                )
        return notice.grade is BreakerGrade.HOLD

    def count(self, corridor_id: bytes, now: int) -> None:
        """Count one swap that begins where a breaker slows."""
        notice = self.standing(corridor_id, now)
        if notice is not None and notice.grade is BreakerGrade.SLOW:
            second, count = self._second(corridor_id, now)
            self._begun[corridor_id] = second, count + 1

    def _second(self, corridor_id: bytes, now: int) -> tuple[int, int]:
        """Return the second that counts, and how many began in it; a clock that goes back opens no old one."""
        second, count = self._begun.get(corridor_id, (0, 0))
        current = max(second, now // NS_PER_S)
        return current, count if current == second else 0

    def all_standing(self, now: int) -> tuple[BreakerNotice, ...]:
        """Return every breaker that stands, by corridor and domain."""
        rows = (self._notices[corridor_id] for corridor_id in sorted(self._notices))
        return tuple(each for row in rows for _, each in sorted(row.items()) if _stands(each, now))


def _order(notice: BreakerNotice) -> tuple[int, tuple[int, int], int, int]:
    return notice.set_at, notice.strictness, notice.expires_at, notice.reason


def _stands(notice: BreakerNotice, now: int) -> bool:
    return notice.grade is not None and now < notice.expires_at
