"""How soon the simulation sees each core that was broken on purpose: python -m tests.simulation.relay_mutations.

Seeds run one after the other; each time one fails the count begins again, so that the figures are of many waits.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clearspan.simulation.relay import RelaySimulationFailed, simulate_relay
from tests.simulation.relay_mutants import LIVENESS, SAFETY, broken

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FIRST = 1000


@dataclass(slots=True)
class Waits:
    """What was measured of one mutant. ``waits`` are seeds up to and with the one that saw it."""

    name: str
    seeds: int = 0
    waits: list[int] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def row(self) -> str:
        """Return a row of the table."""
        name, words = self.name.replace("_", " "), ""
        if not self.waits:
            return f"| {name} | not in {self.seeds} | | |"
        words = ", ".join(f"{what} ({times})" for what, times in self.seen.most_common(2))
        return f"| {name} | {statistics.median(self.waits):g} | {max(self.waits)} | {words} |"


def measure(mutant: Callable[[Any], None], catches: int, seeds_max: int, seconds: float) -> Waits:
    """Run seeds until so many failed, or the bound is reached."""
    found, last = Waits(mutant.__name__), 0
    end = time.process_time() + seconds
    with broken(mutant):
        while len(found.waits) < catches and found.seeds < seeds_max and time.process_time() < end:
            seed = FIRST + found.seeds
            found.seeds += 1
            what = fate_of(seed)
            if what:
                found.waits.append(found.seeds - last)
                found.seen[what] += 1
                last = found.seeds
    return found


def fate_of(seed: int) -> str:
    """Run a seed; return what was seen, in words without its numbers, or nothing."""
    try:
        simulate_relay(seed)
    except RelaySimulationFailed as failure:
        words = failure.what.split(":")[0].split(" by ")[0]
        return " ".join(each for each in words.split() if not any(letter.isdigit() for letter in each))
    except Exception as error:  # noqa: BLE001 - a core that is broken may also break down
        return type(error).__name__
    return ""


def main() -> None:
    """Measure the chosen mutants, or all, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants with one of these in their names")
    parser.add_argument("--catches", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=60)
    chosen = parser.parse_args()
    for mutant in (*SAFETY, *LIVENESS):
        if not chosen.words or any(word in mutant.__name__ for word in chosen.words):
            print(measure(mutant, chosen.catches, chosen.seeds, chosen.seconds).row(), flush=True)


if __name__ == "__main__":
    main()
