"""What a corridor's daily limits have left: sums by corridor, local day and payer, taken before a swap begins.

It promises that the sums of a day never exceed the document's limits, that what did not settle can be given back, and
bounded memory: the current day of each corridor alone is kept. Each bridge counts what it has seen itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bridge.calendar import day_of
from bridge.refusals import BridgeCode, BridgeRefused

if TYPE_CHECKING:
    from bridge.corridor import CorridorDocument

__all__ = ["CorridorUsage", "Taken"]

PARTICIPANTS_MAX: Final = 100_000
"""Payers counted on one corridor in one day; the next one waits for the next day."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one swap took from the limits of a corridor, so that it can be given back."""

    corridor_id: bytes
    day: int
    participant: int
    amount: int


@dataclass(slots=True)
class _Day:
    day: int
    total: int = 0
    by_participant: dict[int, int] = field(default_factory=dict)


class CorridorUsage:
    """The sums of today for every corridor; a day never goes back, so an old clock cannot open an old day again."""

    def __init__(self) -> None:
        self._days: dict[bytes, _Day] = {}

    def take(self, document: CorridorDocument, participant: int, amount: int, now_ns: int) -> Taken:
        """Count a payment, or raise BridgeRefused (corridor_limit_exceeded) and count nothing."""
        document.demand_payment(amount)
        limits = document.limits
        today = self._day(document.id_bytes, day_of(now_ns, limits.day_zone))
        used = today.by_participant.get(participant, 0)
        day_most, participant_most = document.day_bounds
        for what, sum_, most in (("the day", today.total, day_most), ("", used, participant_most)):
            if sum_ + amount > most:
                whose = what or f"participant {participant}'s day"
                raise BridgeRefused(
                    BridgeCode.CORRIDOR_LIMIT_EXCEEDED,
                    f"{amount} on corridor {document.id}: {whose} has {most - sum_} of {most} left",
                )
        if participant not in today.by_participant and len(today.by_participant) >= PARTICIPANTS_MAX:
            raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, f"corridor {document.id} counts {PARTICIPANTS_MAX} payers")
        today.total += amount
        today.by_participant[participant] = used + amount
        return Taken(document.id_bytes, today.day, participant, amount)

    def give_back(self, taken: Taken) -> None:
        """Uncount what did not settle; of a day that is over nothing is left to give back."""
        today = self._days.get(taken.corridor_id)
        if today is None or today.day != taken.day:
            return
        today.total -= taken.amount
        left = today.by_participant[taken.participant] - taken.amount
        if left:
            today.by_participant[taken.participant] = left
        else:
            del today.by_participant[taken.participant]

    def restore(self, taken: Taken) -> None:
        """Count again what the journal says was taken, without asking the limits."""
        today = self._day(taken.corridor_id, taken.day)
        if today.day != taken.day:
            return
        today.total += taken.amount
        today.by_participant[taken.participant] = today.by_participant.get(taken.participant, 0) + taken.amount

    def used(self, corridor_id: bytes, participant: int) -> tuple[int, int]:
        """Return the corridor's and the participant's sums of its current day."""
        today = self._days.get(corridor_id)
        return (0, 0) if today is None else (today.total, today.by_participant.get(participant, 0))

    def _day(self, corridor_id: bytes, day: int) -> _Day:
        today = self._days.get(corridor_id)
        if today is None or today.day < day:
            today = self._days[corridor_id] = _Day(day)
        return today
