"""The long sweeps, one after another until the minutes are spent; prints what each covered.

python -m tests.nightly --minutes 30
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Sweep:
    """One part of the night: a name, its share of the minutes, and how it is run."""

    name: str
    share: int
    command: tuple[str, ...]


SKIPPED = 77  # what a sweep ends with that lacks a tool
PYTEST = (sys.executable, "-m", "pytest", "-q", "--nightly", "--timeout", "3600")
SWEEPS = (
    Sweep("model against kernel", 6, (*PYTEST, "tests/model")),
    Sweep("crash and corruption", 8, (*PYTEST, "tests/crash")),
    Sweep("simulation of shards and swaps", 5, (*PYTEST, "tests/simulation", "--ignore-glob=*test_relay*")),
    Sweep("simulation of relays", 8, (sys.executable, "-m", "tests.simulation.relay_night", "--seconds", "{budget_s}")),
    Sweep("one height, every run", 2, (*PYTEST, "tests/simulation/test_relay_small_model.py")),
    Sweep("relays broken on purpose", 3, (*PYTEST, "tests/simulation/test_relay.py", "-k", "broken_core")),
    Sweep("vectors and kernels", 4, (*PYTEST, "tests/native", "tests/vectors")),
    Sweep("a million signatures", 4, (sys.executable, "-m", "tests.native.sweep", "--items", "1000000")),
    Sweep("fuzz of the kernels", 4, (sys.executable, "-m", "tests.fuzz.kernels.fuzz", "--seconds", "120")),
    Sweep("fuzz", 4, (*PYTEST, "tests/fuzz")),
    Sweep("chains that are not ours", 3, (*PYTEST, "tests/evm")),
    Sweep("behaviour", 2, (*PYTEST, "tests/behaviour")),
    Sweep("end to end", 3, (*PYTEST, "tests/e2e")),
)


def main() -> int:
    """Run every sweep with its share of the time; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=30)
    minutes = parser.parse_args().minutes
    total = sum(sweep.share for sweep in SWEEPS)
    failed = []
    for sweep in SWEEPS:
        budget_s = minutes * 60 * sweep.share // total
        started = time.monotonic()
        print(f"== {sweep.name}: at most {budget_s} s", flush=True)
        try:
            # A sweep that is told its budget ends by itself and says what it covered.
            command = [word.format(budget_s=budget_s * 9 // 10) for word in sweep.command]
            code = subprocess.run(command, cwd=ROOT, timeout=budget_s, check=False).returncode
        except subprocess.TimeoutExpired:
            # A sweep that fills its share has covered what it printed; it is no failure.
            code = 0
            print(f"== {sweep.name}: its share of the time is spent", flush=True)
        took_s = round(time.monotonic() - started)
        if code == SKIPPED:
            print(f"== {sweep.name}: skipped", flush=True)
            continue
        print(f"== {sweep.name}: {'failed' if code else 'passed'} in {took_s} s", flush=True)
        if code:
            failed.append(sweep.name)
    print("nightly:", "all passed" if not failed else f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
