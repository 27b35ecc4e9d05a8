"""What a seed means: how large the network is, who lies and how, what is restored, what the members decide.

Kinds rotate with the seed, so that any run of seeds meets all of them; everything else is drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import TYPE_CHECKING, Final

from clearspan.simulation.relay.timeline import MS
from engine.types import NS_PER_S, HashSuite, SigningSuite

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CHANGES", "LIES", "RESTORES", "Mode", "Plan", "fault_max", "is_quorum", "make_plan"]


@unique
class Mode(Enum):
    """What a run is about."""

    LIARS = "liars"
    RESTORED = "restored"
    FORK = "fork"
    CARTEL = "cartel"


LIES: Final = (
    "double_proposal",
    "double_vote",
    "silent_leader",
    "subset_leader",
    "withheld_data",
    "amnesia",
    "denied_certificate",
    "hidden_certificate",
    "old_set_votes",
    "forged_certificate",
    "overlong_certificate",
    "lying_sync_peer",
    "lying_status",
    "wrong_place",
    "wrong_network",
    "mutated_bytes",
    "old_messages",
    "twins",
    "false_clock",
    "false_statement",
    "invalid_proposal",
    "forged_evidence",
    "invalid_offers",
)
"""Classes of liars; how each is done stands in ``liars`` and ``forgers``."""

RESTORES: Final = (
    "old_votes",
    "old_votes_said",
    "lost_votes",
    "damaged_votes",
    "lost_all_said",
    "old_all_said",
    "old_chain",
)
"""Which old copy a member comes back with. ``_said``: its operator says so, because nothing else could tell.

With damaged votes it does not start until its operator has put them aside and says so.
"""

CHANGES: Final = ("none", "rotate", "add", "remove", "reweigh")
"""How the set of validators changes while the run goes on."""

_CYCLE: Final = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. ``lies`` by member; ``restored`` is the member that comes back with an old copy, None for none."""

    seed: int
    mode: Mode
    powers: tuple[int, ...]
    suites: tuple[int, ...]
    hash_suite: int
    lies: dict[int, tuple[str, ...]] = field(default_factory=dict)
    restored: int | None = None
    restore_kind: str = ""
    change: str = "none"
    base_height: int = 0
    faults_ns: int = 4 * NS_PER_S
    interval_ns: int = 60 * MS
    disk_ns: int = 0
    skew_ns: int = 0

    @property
    def count(self) -> int:
        """How many members the first set has."""
        return len(self.powers)

    @property
    def fault_max(self) -> int:
        """F of the first set."""
        return fault_max(self.powers)

    @property
    def settle_ns(self) -> int:
        """How long after the faults all honest members have to be five heights further: the bound of this simulation.

        One view at its longest may be running, and each liar may lead one more of those; then five heights, of which
        each costs at most the views of all liars; then what catching up may take: three answers of two seconds that
        never come from each liar, and the pause before peers that stalled are asked again.
        """
        liars = len(self.lies)
        views = 8 * (1 + liars) + 5 * ((1 << liars) - 1) // 2
        return (views + 12 + 6 * liars) * NS_PER_S


def fault_max(powers: Sequence[int]) -> int:
    """F for these powers, by the law and not by the program under test."""
    return (sum(powers) - 1) // 3


def is_quorum(powers: Sequence[int], members: Sequence[int]) -> bool:
    """Say whether members are a quorum, by the law and not by the program under test."""
    return 3 * sum(powers[each] for each in frozenset(members)) > 2 * sum(powers)


def make_plan(seed: int) -> Plan:
    """Return the plan of a seed."""
    chance = random.Random(f"plan {seed}")  # noqa: S311 - a simulation wants its chance again, not secrecy
    turn, place = divmod(seed, _CYCLE)
    if place == 0:
        return _fork_plan(seed, chance, Mode.CARTEL if turn % 4 == 0 else Mode.FORK)
    count = chance.choices((4, 7, 10), (16, 4, 1))[0]
    powers = _powers(chance, count)
    restored_run = place in (1, 2)
    restored = chance.randrange(count) if restored_run else None
    lies: dict[int, tuple[str, ...]] = {}
    liars_max = 0 if restored_run and count == 4 else chance.choice((1, 2, 3))
    number = turn * (_CYCLE - 3) + place - 3
    change = CHANGES[(turn + place) % len(CHANGES)]
    if change == "remove" and chance.random() < 0.3:
        # A small set can let a member go only where nobody of it lies.
        liars_max = 0
    near = 1024 - chance.randrange(3, 12)
    base_height = chance.choice((0, near) if change == "add" else (0, 0, 0, near))
    # Who has to begin at a checkpoint meets somebody who lies about it.
    newcomer = bool(base_height) and change == "add"
    for index in chance.sample(range(count), count):
        others = [each for each in range(count) if each != index and each not in lies and each != restored]
        if index == restored or len(lies) == liars_max or not is_quorum(powers, others):
            continue
        if sum(powers[each] for each in (*lies, index)) <= fault_max(powers):
            first = LIES[number % len(LIES)] if not lies else chance.choice(LIES)
            more = chance.sample(LIES, chance.choice((0, 0, 1, 2)))
            # The lie that agreement is all about stands beside the others now and then.
            more += ["hidden_certificate"] if chance.random() < 0.3 else []
            more += ["lying_sync_peer"] if newcomer else []
            lies[index] = tuple(dict.fromkeys((first, *more)))
    return Plan(
        seed,
        Mode.RESTORED if restored_run else Mode.LIARS,
        powers,
        _suites(chance, count),
        chance.choice((HashSuite.SHA256,) * 4 + (HashSuite.SM3,)),
        lies=lies,
        restored=restored,
        restore_kind=RESTORES[(turn * 2 + place - 1) % len(RESTORES)] if restored_run else "",
        change=change,
        base_height=base_height,
        faults_ns=chance.choice((2, 2, 3, 3, 3, 4, 4, 8)) * NS_PER_S,
        interval_ns=chance.choice((60, 100, 150)) * MS,
        disk_ns=chance.choice((0, 0, 2 * MS, 20 * MS)),
        skew_ns=chance.choice((0, 50 * MS, NS_PER_S)),
    )


def _fork_plan(seed: int, chance: random.Random, mode: Mode) -> Plan:
    """More than F lie: as twins, or (a cartel) with a quorum that certifies what the rules refuse."""
    count = chance.choice((4, 4, 7))
    powers = _powers(chance, count)
    liars: list[int] = []
    for index in chance.sample(range(count), count):
        honest = [each for each in range(count) if each not in liars and each != index]
        enough = is_quorum(powers, liars) if mode is Mode.CARTEL else _third(powers, liars)
        if not enough and len(honest) >= (1 if mode is Mode.CARTEL else 2):
            liars.append(index)
    return Plan(
        seed,
        mode,
        powers,
        _suites(chance, count),
        HashSuite.SHA256,
        lies=dict.fromkeys(liars, ("cartel" if mode is Mode.CARTEL else "twins",)),
        faults_ns=(2 if mode is Mode.CARTEL else 8) * NS_PER_S,
    )


def _third(powers: Sequence[int], members: Sequence[int]) -> bool:
    return sum(powers[each] for each in members) > fault_max(powers)


def _powers(chance: random.Random, count: int) -> tuple[int, ...]:
    """Draw powers that make a set: nobody above F, and no third of them a quorum (RELAY-3)."""
    if chance.random() < 0.65:
        return (1,) * count
    while True:
        powers = tuple(chance.randint(1, 5) for _ in range(count))
        strongest = sorted(range(count), key=lambda each: -powers[each])
        if max(powers) <= fault_max(powers) and not is_quorum(powers, strongest[: count // 3]):
            return powers


def _suites(chance: random.Random, count: int) -> tuple[int, ...]:
    if chance.random() < 0.7:
        return (int(SigningSuite.ED25519),) * count
    return tuple(int(chance.choice((SigningSuite.ED25519, SigningSuite.SM2))) for _ in range(count))
