"""Premiums of swaps that came to nothing although nobody locked for them: asked back until the provider has answered.

It promises that a provider which was away while its premium became final is asked about it once it is there again, and
that asking ends: after his answer, or after an hour. What he owes he returns by himself when he is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.ports import Outcome
from bridge.refusals import BridgeCode
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from clearspan.bridging.journal.book import OpenSwap

__all__ = ["AskingBack"]

_AGAIN_NS: Final = 30 * NS_PER_S
_TRIES_MAX: Final = 120
_KEPT_MAX: Final = 10_000
_CAME_TO_NOTHING: Final = frozenset({Outcome.REFUNDED, Outcome.ABANDONED, Outcome.KEPT})


@dataclass(slots=True)
class _Row:
    swap: OpenSwap
    due_at: int
    tries: int = 0


class AskingBack:
    """The premiums of one payer that nobody has earned. Use from one event loop."""

    def __init__(self) -> None:
        """Begin with none."""
        self._rows: dict[bytes, _Row] = {}

    def __len__(self) -> int:
        """Count the premiums that are asked back."""
        return len(self._rows)

    def ended(self, swap: OpenSwap, outcome: Outcome, now: int) -> None:
        """Take the end of a swap: a premium that was paid, and whose provider accepted nothing, is asked back."""
        unearned = swap.is_payer and swap.premium and not swap.legs[1].record and not swap.terms.legs[1].foreign
        if unearned and outcome in _CAME_TO_NOTHING and len(self._rows) < _KEPT_MAX:
            self._rows[swap.party] = _Row(swap, now + NS_PER_S)

    def due(self, now: int) -> list[tuple[OpenSwap, int]]:
        """Return the questions that are due, each swap with its first provider's leg."""
        found = []
        for party, row in tuple(self._rows.items()):
            if now < row.due_at:
                continue
            row.due_at, row.tries = now + _AGAIN_NS, row.tries + 1
            if row.tries > _TRIES_MAX:
                del self._rows[party]
            else:
                found.append((row.swap, 1))
        return found

    def answered(self, swap: OpenSwap, code: int) -> bool:
        """Take the provider's answer; say whether he has said that the premium went back."""
        if code != BridgeCode.PROVIDER_REFUSED:
            return False
        return self._rows.pop(swap.party, None) is not None
