"""Times contenders in turns, so that a busy minute of the machine hits all of them; knows nothing of what they do.

Every figure rests on the CPU time of the one thread that did the work; the wall clock stands beside it, and where the
two differ much the machine was busy.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["TARGET_NS", "Contender", "Measured", "Timing", "take_turns", "timed"]

# A turn long enough to drown the clock and the pipe, short enough that a busy second hits every contender.
TARGET_NS: Final = 60_000_000
_TRIED_ITEMS: Final = 8
_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Timing:
    """What some items took, in ns: CPU of the thread that did the work, and the wall clock."""

    items: int
    cpu_ns: int
    wall_ns: int

    @property
    def per_s(self) -> float:
        """Items a second of CPU time."""
        return self.items * _NS_PER_S / max(1, self.cpu_ns)

    @property
    def wall_per_s(self) -> float:
        """Items a second by the wall clock."""
        return self.items * _NS_PER_S / max(1, self.wall_ns)


@dataclass(frozen=True, slots=True)
class Contender:
    """Whoever does the work: ``run(items, passes)`` works through the first items so many times and times it.

    divisible: the items are worked off one by one, so that a slow contender may be timed on a few of them; a batch
    verifier is always timed on the whole batch.
    """

    name: str
    items: int
    run: Callable[[int, int], Timing]
    divisible: bool = False

    def sized(self, target_ns: int) -> tuple[int, int]:
        """Return how many items and how many passes over them take about so long; runs once to warm up."""
        items = min(_TRIED_ITEMS, self.items) if self.divisible else self.items
        self.run(items, 1)
        each_ns = max(1, self.run(items, 1).cpu_ns // items)
        if self.divisible:
            items = max(1, min(self.items, target_ns // each_ns))
        return items, max(1, target_ns // (each_ns * items))


@dataclass(slots=True)
class Measured:
    """The turns of one contender, in the order in which they were taken."""

    name: str
    turns: list[Timing] = field(default_factory=list)

    @property
    def per_s(self) -> int:
        """Median over the turns, items a second of CPU time."""
        return round(statistics.median(turn.per_s for turn in self.turns))

    @property
    def wall_per_s(self) -> int:
        """Median over the turns, items a second by the wall clock."""
        return round(statistics.median(turn.wall_per_s for turn in self.turns))

    def ratio_to(self, other: Measured) -> float:
        """Return how many times as fast as another this is: the median over turns taken side by side."""
        pairs = zip(self.turns, other.turns, strict=True)
        return round(statistics.median(mine.per_s / theirs.per_s for mine, theirs in pairs), 3)

    def report(self, unit: str) -> dict[str, Any]:
        """Return the figures, under names that end in the unit."""
        rates = [turn.per_s for turn in self.turns]
        return {
            unit: self.per_s,
            f"wall_{unit}": self.wall_per_s,
            f"{unit}_min": round(min(rates)),
            f"{unit}_max": round(max(rates)),
        }


def take_turns(contenders: Sequence[Contender], runs: int, target_ns: int = TARGET_NS) -> dict[str, Measured]:
    """Let each contender work for about target_ns, one after the other, and that so many times."""
    sizes = [contender.sized(target_ns) for contender in contenders]
    measured = {contender.name: Measured(contender.name) for contender in contenders}
    for _ in range(runs):
        for contender, (items, passes) in zip(contenders, sizes, strict=True):
            measured[contender.name].turns.append(contender.run(items, passes))
    return measured


def timed(work: Callable[[], object], items: int, passes: int) -> Timing:
    """Do the work so many times in this thread; items: those of one pass."""
    wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
    for _ in range(passes):
        work()
    return Timing(items * passes, time.thread_time_ns() - cpu, time.perf_counter_ns() - wall)
