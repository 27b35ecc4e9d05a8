"""What a seed's payers must show and who looks at it: travel-rule data, names on a list, breakers of corridors.

All of it is drawn with the plan, by a chance of its own; who acts on it stands in ``envelopes``, ``officers``,
``closings`` and ``gate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final

from clearspan.simulation.bridge.rules import Phase
from engine.types import NS_PER_S, BreakerGrade

if TYPE_CHECKING:
    import random

__all__ = [
    "ENVELOPE_VILLAINS",
    "FAULTS_OF_ENVELOPES",
    "Closing",
    "Papers",
    "Ruling",
    "Spoilt",
    "draw_closings",
    "draw_papers",
]

_S: Final = NS_PER_S


@unique
class Spoilt(StrEnum):
    """What is wrong with the envelopes that somebody brings."""

    NOT = ""
    MISSING = "missing"
    CHANGED = "changed"
    """A byte is another one than when it was sealed and named."""
    OVERSIZED = "oversized"
    ELSEWHERE = "elsewhere"
    """Sealed for supervisors of another corridor."""
    SWAPPED = "swapped"
    """Those of two hops stand in each other's place."""


FAULTS_OF_ENVELOPES: Final = tuple(each for each in Spoilt if each)
ENVELOPE_VILLAINS: Final = {
    "hides_envelope": Spoilt.MISSING,
    "forges_envelope": Spoilt.NOT,
    "oversizes_envelope": Spoilt.OVERSIZED,
    "seals_elsewhere": Spoilt.ELSEWHERE,
}
"""Payers who begin without asking themselves what they would have been refused for; a forger changes what he shows."""


@unique
class Ruling(StrEnum):
    """What officers do about a case."""

    RELEASE = "release"
    REJECT = "reject"
    OBJECT = "object"
    """The second one objects and takes it over; then it is released."""
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Papers:
    """What is asked before a seed's swaps begin, and how its bridges read the relay after a restart.

    ``travel_from`` is the amount from which a corridor asks for travel-rule data (0: none does), ``first_try`` what is
    wrong with those that are brought first. ``listed`` is whose name is like one on the list, ``margin`` how much more
    than its score a corridor lets pass (0 holds it, 1 does not). Officers have ``hold_ns`` and take ``delay_ns``.
    ``list_grows`` puts every name on the list once the secret is shown; ``again`` sends an order that runs once more.
    ``catch_up`` is how many blocks a bridge that came back reads at once.
    """

    travel_from: int = 0
    first_try: Spoilt = Spoilt.NOT
    screens: bool = False
    listed: str = ""
    margin: int = 0
    ruling: Ruling = Ruling.RELEASE
    hold_ns: int = 60 * _S
    delay_ns: int = 2 * _S
    list_grows: bool = False
    again: bool = False
    catch_up: int = 3

    @property
    def holds(self) -> bool:
        """Whether screening makes cases of this seed's orders."""
        return self.screens and bool(self.listed) and not self.margin


@dataclass(frozen=True, slots=True)
class Closing:
    """A breaker of the corridor of hop ``hop``, decided on ledger ``index``; cleared after ``clears_ns`` (0: never)."""

    hop: int
    index: int
    grade: BreakerGrade
    phase: Phase
    lasts_ns: int
    clears_ns: int = 0


_RULINGS: Final = (Ruling.RELEASE, Ruling.REJECT, Ruling.OBJECT, Ruling.NOTHING)
_CLOSINGS: Final = tuple((grade, phase) for grade in BreakerGrade for phase in Phase)


def draw_papers(draw: random.Random, seed: int, villain: str, *, is_calm: bool) -> Papers:
    """Draw what is asked; what is wrong and how cases end take turns by seed, so that few seeds in a row meet all.

    ``villain`` is the payer's, if he is one: who is malicious is to be refused for that, and not to wait for officers.
    """
    asks = draw.random() < 0.6 or villain in ENVELOPE_VILLAINS
    screens = not villain and not is_calm and draw.random() < 0.8
    return Papers(
        travel_from=(1 if villain in ENVELOPE_VILLAINS else draw.choice((1, 1, 900))) if asks else 0,
        first_try=(
            FAULTS_OF_ENVELOPES[seed % len(FAULTS_OF_ENVELOPES)]
            if asks and not villain and draw.random() < 0.7
            else Spoilt.NOT
        ),
        screens=screens,
        listed=draw.choice(("payer", "payee", "payee", "")) if screens else "",
        margin=int(draw.random() < 0.15),
        ruling=_RULINGS[seed % len(_RULINGS)] if draw.random() < 0.7 else Ruling.RELEASE,
        hold_ns=draw.choice((10, 20, 60)) * _S,
        delay_ns=draw.choice((0, 2, 2, 8)) * _S,
        list_grows=draw.random() < 0.5,
        again=draw.random() < 0.5,
        catch_up=draw.choice((1, 2, 5)),
    )


def draw_closings(draw: random.Random, seed: int, ours: range, legs: int, villain: str) -> list[Closing]:
    """Draw breakers of corridors; ``ours`` are the legs on our ledgers.

    Of a seed whose payer is a ``villain`` only those that come once the secret is shown: he is to be met.
    """
    if draw.random() > 0.7:
        return []
    found = []
    for turn in range(draw.choice((1, 2))):
        grade, phase = _CLOSINGS[(seed + turn) % len(_CLOSINGS)]
        hop = draw.randrange(1, legs)
        # Only a ledger of the corridor decides about it; where a side is a chain, the other one.
        index = draw.choice([leg - ours.start for leg in (hop - 1, hop) if leg in ours])
        lasts_ns = draw.choice((12, 25, 60)) * _S
        found.append(Closing(hop, index, grade, phase, lasts_ns, draw.choice((0, 0, lasts_ns // 2))))
    kept = [each for each in found if not villain or each.phase is Phase.REVEALED]
    # Of two that one ledger decides in one instant, alike but for their end, whichever is heard first counts.
    return list({(each.hop, each.index): each for each in kept}.values())
