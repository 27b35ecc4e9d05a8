"""A night of networks: python -m tests.simulation.relay_night --seeds 100000 --seconds 28800 --processes 2

Seeds follow one another from the commit's own number, in as many processes as are named, until they are done or the
time is spent. It prints what they covered, and each failing seed with the line that shows it again; 1 if one failed or
if a class of faults, lies, refusals or states stayed unreached.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from clearspan.simulation.relay import RelaySimulationFailed, Tally, simulate_relay

ROOT = Path(__file__).resolve().parent.parent.parent
CHUNK = 50


def first_seed() -> int:
    """Return a number from the commit, so that every change meets other seeds and anyone can run them again."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(asked.stdout[:8] or "0", 16)


def run(seeds: range) -> tuple[Tally, list[str]]:
    """Run some seeds; return what they reached, and what failed."""
    tally, failed = Tally(), []
    for seed in seeds:
        try:
            tally.add(simulate_relay(seed))
        except RelaySimulationFailed as failure:
            failed.append(f"seed {seed}: {failure}")
        except Exception as error:  # noqa: BLE001 - a breakdown is a finding, too
            failed.append(f"seed {seed}: {type(error).__name__}: {error}")
    return tally, failed


def sweep(seeds: range, seconds: float, processes: int) -> tuple[Tally, list[str]]:
    """Run seeds side by side until they are done or the time is spent; chunks under way are finished."""
    whole, failed = Tally(), []
    chunks = (range(at, min(at + CHUNK, seeds.stop)) for at in range(seeds.start, seeds.stop, CHUNK))
    end = time.monotonic() + seconds
    with ProcessPoolExecutor(processes) as pool:
        running: set[Future[tuple[Tally, list[str]]]] = set()
        while True:
            while len(running) < processes and time.monotonic() < end and (chunk := next(chunks, None)) is not None:
                running.add(pool.submit(run, chunk))
            if not running:
                return whole, failed
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                tally, its_failed = each.result()
                whole.join(tally)
                failed += its_failed
                for line in its_failed:
                    print(line, flush=True)


def main() -> int:
    """Run the night."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100_000, help="how many")
    parser.add_argument("--first", type=int, default=None, help="the first; else from the commit")
    parser.add_argument("--seconds", type=float, default=8 * 3600.0)
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()
    first = first_seed() if chosen.first is None else chosen.first
    begun = time.monotonic()
    tally, failed = sweep(range(first, first + chosen.seeds), chosen.seconds, chosen.processes)
    took = time.monotonic() - begun
    print(
        f"{tally.seeds} seeds from {first} passed, {len(failed)} failed, in {took:.0f} s: {tally.seeds / took:.1f} a second"
    )
    print(f"{tally.heights} heights, {tally.messages} messages, members {dict(sorted(tally.sizes.items()))}")
    print(f"longest way back {tally.settled_ns_max / 1e9:.1f} s, at most {tally.settled_share_max:.2f} of its bound")
    for name, counts in (("faults", tally.faults), ("lies", tally.lies), ("states", tally.states)):
        print(f"{name}: " + ", ".join(f"{each} {count}" for each, count in sorted(counts.items())))
    for name, counts in (("refused", tally.refused), ("dropped", tally.dropped)):
        print(f"{name}: " + ", ".join(f"{each} {count}" for each, count in sorted(counts.items())))
    print("unreached: " + (", ".join(tally.unreached) or "nothing"))
    return 1 if failed or tally.unreached else 0


if __name__ == "__main__":
    sys.exit(main())
