"""Random batches of every suite against single items, until so many items are through; resumes from any turn of a seed.

    python -m tests.native.sweep --items 1000000 [--seed 7] [--first-turn 0] [--variants avx512ifma,avx2,scalar]

Turn t of seed s is always the same batch: a suite, a size, keys, and a share of items bent in one of many ways. Each batch
is asked for without hints and with hints, of which some are bent as well. Bent items are asked for alone, a few of them of
the plain twin too; honest ones are good. The first difference ends the run and names its turn.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from native import kernel, signatures
from native.twins import ed25519, p256, sm2
from tests.native.test_signature_batches import SUITES, Batch, bend_anyhow

__all__ = ["main", "turn"]

ROOT: Final = Path(__file__).resolve().parents[2]
TWINS: Final = {1: ed25519, 2: sm2, 3: p256}
SIZES: Final = (2, 9, 40, 130, 300, 700, 2100, 4096)
SHARES: Final = (0.0005, 0.01, 0.1, 0.5, 1)
TURNS_EACH: Final = 64  # of one variant before the next one's
REPORT_S: Final = 20


def turn(seed: int, number: int) -> tuple[int, int]:
    """Run one turn; returns how many items it had and how many of them were bent."""
    generator = random.Random(f"{seed} {number}")
    suite = 1 + number % 3
    batch = Batch(suite, generator.choice(SIZES), generator.choice((1, 4, 60)), label=f"sweep {seed} {number}")
    share = generator.choice(SHARES)
    bent = [index for index in range(batch.count) if generator.random() < share]
    for index in bent:
        bend_anyhow(batch, index, generator)
    expected = [index for index in bent if not _alone(batch, index)]
    if bent and number % 4 == 0:
        index = bent[generator.randrange(len(bent))]
        key = batch.keys.public_key(batch.key_of[index])
        twin = TWINS[suite].verify(key, batch.signature(index), batch.message(index))
        assert twin is (index not in expected), f"the twin differs: seed {seed}, turn {number}, item {index}"
    for hinted in (False, True):
        found = batch.bad(hinted=hinted, keep=False)
        assert found == expected, (
            f"seed {seed}, turn {number}, hinted {hinted}: {sorted(set(found) ^ set(expected))[:9]}"
        )
    return batch.count, len(bent)


def _alone(batch: Batch, index: int) -> bool:
    key = batch.keys.public_key(batch.key_of[index])
    return signatures.verify(batch.suite, key, batch.signature(index), batch.message(index))


def _run_here(seed: int, first: int, turns: int) -> None:
    counted: dict[str, list[int]] = {name: [0, 0] for name in SUITES.values()}
    for number in range(first, first + turns):
        items, bent = turn(seed, number)
        counted[SUITES[1 + number % 3]][0] += items
        counted[SUITES[1 + number % 3]][1] += bent
    print(*(f"{items} {bent}" for items, bent in counted.values()))


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line: the variants by turns, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first-turn", type=int, default=0)
    parser.add_argument("--variants", default=",".join(reversed(kernel.VARIANTS)))
    parser.add_argument("--turns-here", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.turns_here:
        _run_here(options.seed, options.first_turn, options.turns_here)
        return 0
    seed = options.seed or random.SystemRandom().randrange(1, 2**31)
    variants, number, total, bent, told = options.variants.split(","), options.first_turn, 0, 0, time.monotonic()
    per_suite = [[0, 0] for _ in SUITES]
    # The portable kernels are slow: they get a share of the turns, not of the time.
    shares = {"scalar": TURNS_EACH // 8, "avx2": TURNS_EACH // 4}
    print(f"sweep: seed {seed}, from turn {number}, variants {', '.join(variants)}", flush=True)
    while total < options.items:
        for variant in variants:
            turns = shares.get(variant, TURNS_EACH)
            command = [sys.executable, "-m", "tests.native.sweep", "--seed", str(seed), "--first-turn", str(number)]
            ran = subprocess.run(
                [*command, "--turns-here", str(turns)],
                cwd=ROOT,
                env={**os.environ, kernel.VARIABLE: variant},
                capture_output=True,
                text=True,
                check=False,
            )
            if "KernelUnavailable" in ran.stderr:
                continue
            if ran.returncode:
                print(f"sweep: variant {variant}\n{ran.stderr[-2000:]}")
                return 1
            numbers = [int(word) for word in ran.stdout.split()]
            for at, counts in enumerate(per_suite):
                counts[0] += numbers[2 * at]
                counts[1] += numbers[2 * at + 1]
            number += turns
        total, bent = sum(counts[0] for counts in per_suite), sum(counts[1] for counts in per_suite)
        if time.monotonic() - told > REPORT_S or total >= options.items:
            told = time.monotonic()
            each = ", ".join(
                f"{name} {counts[0]} ({counts[1]})" for name, counts in zip(SUITES.values(), per_suite, strict=True)
            )
            print(f"sweep: {total} items, {bent} of them bent, next turn {number}: {each}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
