"""What one seed is: the ledgers and legs of its swaps, who is malicious and how, and which faults come when.

A plan keeps within what the margins are made for, or goes beyond them. Within, nobody whose watcher keeps its rules may
lose, on no chain; beyond, a foreign leg may cost whoever was away for too long, but our own ledgers never disagree.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Final

from bridge.leg import HashFunction
from bridge.margins import Margins, SideMargins
from bridge.ports import Timing
from clearspan.simulation.bridge.papers import ENVELOPE_VILLAINS, Closing, Papers, draw_closings, draw_papers
from clearspan.simulation.bridge.rules import Deal, Measure, Threshold, draw_deal, draw_measures, draw_thresholds
from clearspan.simulation.bridge.situations import SITUATIONS, situation
from engine.types import NS_PER_S

__all__ = ["CHAIN", "MARGINS", "TIMING", "VILLAINS_OF_PAYERS", "VILLAINS_OF_PROVIDERS", "Plan"]

CHAIN: Final = "chain"
_S: Final = NS_PER_S
_MS: Final = 1_000_000

TIMING: Final = Timing(retry_ns=2 * _S, poll_ns=2 * _S, look_ns=4 * _S)
MARGINS: Final = Margins(
    home=SideMargins(finality_ns=6 * _S, watching_ns=6 * _S, submission_ns=10 * _S),
    foreign={CHAIN: SideMargins(finality_ns=14 * _S, watching_ns=8 * _S, submission_ns=12 * _S)},
    skew_ns=1 * _S,
    failover_ns=10 * _S,
    stall_ns=10 * _S,
)

VILLAINS_OF_PAYERS: Final = (
    "never_reveals",
    "last_tick",
    "reveals_early",
    "reveals_late",
    "reuses_hash",
    "bad_preimages",
    "other_hash_function",
    "locks_less",
    "short_timelock",
    "small_margin",
    "duplicate_ids",
    "exhausts_quote",
    "asks_unlocked",
    "lock_vanishes",
    "shares_quote",
    "pays_no_premium",
    "pays_too_little",
    "alters_quote",
    "asks_too_much",
    "asks_after_expiry",
    *ENVELOPE_VILLAINS,
)
VILLAINS_OF_PROVIDERS: Final = (
    "never_locks",
    "locks_less",
    "locks_short",
    "locks_late",
    "refuses",
    "other_hash_function",
    "never_claims",
    "spends_lock_id",
    "lock_vanishes",
    "reads_pool",
)


_FOREIGN_ONLY: Final = ("lock_vanishes", "spends_lock_id", "reads_pool")
_TURNS: Final = 66
"""Villains and situations take turns by seed, and the last turn is a quiet one: few seeds in a row meet all of them."""
_SECOND: Final = 0xD0E5
_THIRD: Final = 0x9A7E


@dataclass(frozen=True, slots=True)
class Plan:
    """One seed's course. Instants are nanoseconds after the start; parties are numbered by the leg they lock."""

    seed: int
    ledgers: int
    foreign: str
    function: HashFunction
    swaps: int
    spare_ns: int
    beyond: bool
    villains: dict[int, str]
    crashes: dict[int, list[tuple[int, int]]]
    losses: float
    doubled: float
    delay_ns: int
    skews: dict[str, int]
    relay_stalls: list[tuple[int, int]]
    chain_stalls: list[tuple[int, int]]
    partitions: list[tuple[int, str, int, int]]
    reorgs: list[tuple[int, int, bool]]
    lags: dict[int, int]
    liars: dict[int, str]
    downs: list[tuple[int, int, int]] = field(default_factory=list)
    deal: Deal = field(default_factory=Deal)
    thresholds: dict[int, Threshold] = field(default_factory=dict)
    measures: list[Measure] = field(default_factory=list)
    papers: Papers = field(default_factory=Papers)
    closings: list[Closing] = field(default_factory=list)

    @property
    def legs(self) -> int:
        """How many legs a swap has."""
        return self.ledgers + (self.foreign != "")

    @property
    def quiet(self) -> bool:
        """Whether nothing at all goes wrong."""
        faults = (
            self.villains,
            self.crashes,
            self.losses,
            self.relay_stalls,
            self.chain_stalls,
            self.partitions,
            self.reorgs,
            any(self.lags.values()),
            self.liars,
            self.downs,
            self.thresholds,
            self.measures,
            self.closings,
            self.papers.holds,
            self.deal.shared,
        )
        return not any(faults)

    @classmethod
    def of(cls, seed: int) -> Plan:
        """Draw a seed's plan."""
        draw = random.Random(seed)  # noqa: S311 - a simulation wants its chance again, not secrecy
        turn = seed % _TURNS
        foreign = draw.choice(("", "", "first", "last"))
        ledgers = draw.randint(1, 3) if foreign else draw.randint(2, 4)
        party, name = _villain(draw, turn)
        if name in _FOREIGN_ONLY:
            foreign, ledgers = "last" if party else "first", min(ledgers, 3)
        legs = ledgers + (foreign != "")
        villains = (
            {}
            if not name
            else {0 if not party else legs - 1 if name in _FOREIGN_ONLY else draw.randrange(1, legs): name}
        )
        # What deals and rules are has its own chance, and so have papers, so that none's draws move another's.
        second = random.Random(seed ^ _SECOND)  # noqa: S311 - as above
        third = random.Random(seed ^ _THIRD)  # noqa: S311 - as above
        malicious = "" if party else name
        calm = turn == _TURNS - 1
        ours = range(int(foreign == "first"), legs - int(foreign == "last"))
        beyond = draw.random() < 0.25 and not calm
        plan = cls(
            seed=seed,
            ledgers=ledgers,
            foreign=foreign,
            function=draw.choice((HashFunction.SHA256, HashFunction.SHA256, HashFunction.SM3)),
            swaps=draw.choice((1, 1, 2)),
            spare_ns=draw.choice((0, 0, 5 * _S, 40 * _S)),
            beyond=beyond,
            villains=villains,
            crashes={} if calm else _crashes(draw, legs, beyond),
            losses=0.0 if calm else draw.choice((0.0, 0.05, 0.3)),
            doubled=0.0 if calm else draw.choice((0.0, 0.2)),
            delay_ns=draw.choice((50, 400, 900)) * _MS,
            skews=_skews(draw, legs, ledgers, beyond),
            relay_stalls=[] if calm else _spells(draw, 0.3, 60 if beyond else 8, 2 if beyond else 1),
            chain_stalls=[] if calm or not foreign else _spells(draw, 0.3, 60 if beyond else 4, 1),
            partitions=[] if calm else _partitions(draw, legs, ledgers, beyond),
            reorgs=_reorgs(draw) if foreign and not calm else [],
            lags={} if calm else {index: draw.choice((0, 0, 3, 30, 90)) * _S for index in range(ledgers)},
            liars={} if calm else _liars(draw, ledgers),
            downs=[] if calm else _downs(draw, ledgers),
            deal=draw_deal(second, name, premiums=foreign != "first"),
            thresholds={} if calm else draw_thresholds(second, ledgers),
            measures=[] if calm else draw_measures(second, seed, ledgers, first=int(foreign == "first")),
            papers=draw_papers(third, seed, malicious, is_calm=calm),
            closings=[] if calm else draw_closings(third, seed, ours, legs, malicious),
        )
        at = turn - len(VILLAINS_OF_PAYERS) - len(VILLAINS_OF_PROVIDERS)
        return replace(plan, **situation(SITUATIONS[at], ledgers)) if 0 <= at < len(SITUATIONS) else plan


def _villain(draw: random.Random, turn: int) -> tuple[int, str]:
    """Return whose turn it is among the seeds: 0 and a payer's name, 1 and a provider's, or nobody's."""
    if turn < len(VILLAINS_OF_PAYERS):
        return 0, VILLAINS_OF_PAYERS[turn]
    turn -= len(VILLAINS_OF_PAYERS)
    if turn < len(VILLAINS_OF_PROVIDERS):
        return 1, VILLAINS_OF_PROVIDERS[turn]
    return (0, "last_tick") if draw.random() < 0.2 else (0, "")


def _crashes(draw: random.Random, legs: int, beyond: bool) -> dict[int, list[tuple[int, int]]]:
    """Which party dies before which of its steps, and for how long."""
    found: dict[int, list[tuple[int, int]]] = {}
    for party in range(legs):
        if draw.random() < 0.5:
            count = draw.randint(1, 4) if beyond else 1
            longest = 120 if beyond else 6
            found[party] = [(draw.randint(0, 14), draw.randint(0, longest * 1000) * _MS) for _ in range(count)]
    return found


def _skews(draw: random.Random, legs: int, ledgers: int, beyond: bool) -> dict[str, int]:
    half = 500 * _MS
    names = [*(f"party:{party}" for party in range(legs)), *(f"place:{index}" for index in range(ledgers))]
    skews = {name: draw.randint(-half, half) for name in (*names, "relay", CHAIN)}
    if beyond and draw.random() < 0.5:
        skews[draw.choice(names)] = draw.choice((-1, 1)) * draw.randint(1, 90) * _S
    return skews


def _spells(draw: random.Random, chance: float, longest_s: int, count: int) -> list[tuple[int, int]]:
    if draw.random() > chance:
        return []
    return [(draw.randint(0, 90) * _S, draw.randint(1, longest_s) * _S) for _ in range(count)]


def _partitions(draw: random.Random, legs: int, ledgers: int, beyond: bool) -> list[tuple[int, str, int, int]]:
    if draw.random() > 0.4:
        return []
    others = [*(f"place:{index}" for index in range(ledgers)), "relay", CHAIN, "party"]
    longest = 90 if beyond else 3
    return [
        (draw.randrange(legs), draw.choice(others), draw.randint(0, 60) * _S, draw.randint(1, longest) * _S)
        for _ in range(draw.randint(1, 3) if beyond else 1)
    ]


def _reorgs(draw: random.Random) -> list[tuple[int, int, bool]]:
    """When the foreign chain undoes how many blocks, and whether it forgets what stood in them."""
    return [
        (draw.randint(2, 160) * _S, draw.randint(1, 2), draw.random() < 0.5) for _ in range(draw.choice((0, 1, 3, 40)))
    ]


def _liars(draw: random.Random, ledgers: int) -> dict[int, str]:
    if draw.random() > 0.25:
        return {}
    return {draw.randrange(ledgers): draw.choice(("forges", "denies"))}


def _downs(draw: random.Random, ledgers: int) -> list[tuple[int, int, int]]:
    if draw.random() > 0.25:
        return []
    return [(draw.randrange(ledgers), draw.randint(0, 40) * _S, draw.randint(1, 60) * _S)]
