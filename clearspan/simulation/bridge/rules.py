"""What a seed's deals cost and which rules of supervisors they meet: amounts, premiums, thresholds, measures.

All of it is drawn with the plan; who acts on it stands in ``supervisors`` and ``dealing``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import TYPE_CHECKING, Final

from bridge.rates import Rounding
from engine.types import NS_PER_S

if TYPE_CHECKING:
    import random

__all__ = ["Deal", "Kind", "Measure", "Phase", "Threshold", "Verdict", "draw_deal", "draw_measures", "draw_thresholds"]

_S: Final = NS_PER_S
_RATES: Final = ((1, 1), (7, 10), (103, 100), (5, 3))


@dataclass(frozen=True, slots=True)
class Deal:
    """How the swaps of a seed are priced: what the payer gives or the payee gets, and what providers ask.

    ``rates`` by hop (1 to 1 where the chain is on a side); fees are flat plus millionths; ``volatility_ppb`` makes
    premiums; ``quote_s`` is how long quotes stand; ``shared`` lets the second swap draw on the quotes of the first,
    which do not suffice for both; ``open_taker`` has quotes for anybody.
    """

    amount: int = 1_000
    is_target: bool = False
    rates: tuple[tuple[int, int], ...] = _RATES
    rounding: Rounding = Rounding.DOWN
    fee: tuple[int, int] = (0, 0)
    volatility_ppb: int = 0
    quote_s: int = 120
    shared: bool = False
    open_taker: bool = False


@unique
class Verdict(StrEnum):
    """What supervisors do about a held transfer."""

    RELEASE = "release"
    REJECT = "reject"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Threshold:
    """What is held on a ledger, for how long at most, and what supervisors decide how long after they see it (ns)."""

    amount: int
    hold_ns: int
    verdict: Verdict
    delay_ns: int


@unique
class Phase(StrEnum):
    """When a measure is taken: before the first lock, between the locks, or once the secret is shown."""

    BEFORE = "before"
    BETWEEN = "between"
    REVEALED = "revealed"


@unique
class Kind(StrEnum):
    """What a measure is: a breaker's grade, or what else should stop transfers that begin."""

    SLOW = "slow"
    HOLD = "hold"
    STOP = "stop"
    FREEZE = "freeze"
    LIMIT = "limit"
    TIER = "tier"


_TURNS: Final = tuple((kind, phase) for kind in Kind for phase in Phase)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure on ledger ``index``, about bank ``bank``, for so long (ns).

    ``subject``: a breaker stands on the account (1), the participant (2), the ledger (3); a tier holds what is too
    large (1), refuses (2), or holds what is too much for a day (3).
    """

    index: int
    kind: Kind
    phase: Phase
    subject: int
    bank: int
    lasts_ns: int


def draw_deal(draw: random.Random, villain: str, *, premiums: bool) -> Deal:
    """Draw what swaps cost; where a chain that knows no transfers beside locks comes first, there are no premiums."""
    shared = draw.random() < 0.15
    return Deal(
        amount=draw.randint(500, 5_000),
        is_target=draw.random() < 0.5,
        rates=tuple(draw.choice(_RATES) for _ in range(4)),
        rounding=draw.choice(tuple(Rounding)),
        fee=draw.choice(((0, 0), (3, 0), (1, 4_000))),
        volatility_ppb=draw.choice((0, 10_000_000, 60_000_000)) if premiums else 0,
        quote_s=draw.choice((20, 120, 120, 120)),
        shared=shared or villain == "shares_quote",
        open_taker=draw.random() < 0.3,
    )


def draw_thresholds(draw: random.Random, ledgers: int) -> dict[int, Threshold]:
    """Draw on which ledgers what is held."""
    if draw.random() > 0.35:
        return {}
    return {
        draw.randrange(ledgers): Threshold(
            amount=draw.choice((1, 400, 2_000)),
            hold_ns=draw.choice((15, 60, 300)) * _S,
            verdict=draw.choice((Verdict.RELEASE, Verdict.RELEASE, Verdict.REJECT, Verdict.NOTHING)),
            delay_ns=draw.choice((0, 2, 6, 20, 90)) * _S,
        )
    }


def draw_measures(draw: random.Random, seed: int, ledgers: int, *, first: int) -> list[Measure]:
    """Draw what else supervisors do, and when; ``first`` is the leg of the first ledger of ours.

    Kinds and moments take turns by seed, so that few seeds in a row meet all of them; half of the seeds have none.
    """
    if seed // len(_TURNS) % 2:
        return []
    kinds = tuple(Kind)
    turns = [_TURNS[seed % len(_TURNS)], (kinds[seed // 3 % len(kinds)], Phase.REVEALED)]
    if seed % 3 == 0:
        turns.append((kinds[seed // 5 % len(kinds)], Phase.BETWEEN))
    measures = []
    for turn, (kind, phase) in enumerate(turns):
        index = draw.randrange(ledgers)
        measures.append(
            Measure(
                index=index,
                kind=kind,
                phase=phase,
                subject=1 + (seed + turn) % 3,
                # Whoever pays or is paid there: a measure on anybody else would meet nothing.
                bank=first + index + draw.randint(0, 1),
                lasts_ns=draw.choice((3, 12, 60)) * _S,
            )
        )
    return measures
