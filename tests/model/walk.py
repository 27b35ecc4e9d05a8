"""Seeded walks: long random plays of model and machine side by side, as many as there is time for.

    python -m tests.model.walk --seeds 0:200 --steps 60

A walk that finds a difference prints its seed and writes the script of what was done, which runs by itself.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from native.codes import ResultCode as Code
from tests.model.adapter import Equal
from tests.model.domain import ModelDomain
from tests.model.log_record import HEAD_BYTES
from tests.model.play import GENESES, Play

if TYPE_CHECKING:
    from tests.model.machine_subject import MachineSubject

__all__ = ["SeededChooser", "agree_after", "walk"]

SCRIPT_HEAD = """from tests.model.adapter import make_subject
from tests.model.record import Transfer
from tests.model.stage import Stage

"""


class SeededChooser:
    """Choices of a generator with a seed, the plain ones a little more often."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, count: int) -> int:
        return self._random.randrange(count) if count > 1 else 0


def script_of(play: Play) -> str:
    """A program that does again what was done, without any choices."""
    return SCRIPT_HEAD + "\n".join(play.script) + "\n"


def agree_after(play: Play) -> None:
    """At the end of a play: value is conserved, and both replay each machine's log to the same headers."""
    play.conserved()
    domain = ModelDomain(_equal(play, 0).model.shard.genesis)
    for index, subject in enumerate(play.stage.shards):
        subject.seal(play.stage.now)
        machine = _equal(play, index).machine
        for raw in machine.log:
            domain.replay(raw)
        assert domain.headers[machine.number] == machine.headers, "replay by the model gives the same headers"
        assert domain.shards[machine.number].state_root() == machine.state_root()
        _machine_replays(machine)
    assert domain.broken_invariants() == []


def _equal(play: Play, index: int) -> Equal:
    subject = play.stage.shards[index]
    assert isinstance(subject, Equal)
    return subject


def _machine_replays(machine: MachineSubject) -> None:
    """The machine's own replay of its log (LOG-3)."""
    from engine.log_record import decode_record
    from engine.machine import ShardMachine

    again = ShardMachine(machine.genesis, machine.number)
    for raw in machine.log:
        assert len(raw) >= HEAD_BYTES
        again.apply(decode_record(raw, suite=machine.genesis.hash_suite, genesis_hash=machine.genesis.hash))
    assert again.state_root() == machine.state_root(), "replay by the machine gives the same root"


def walk(seed: int, steps: int, *, over_shards: bool = False, rules: bool = False) -> Play:
    """One play of a seed; raises what the first difference raises, with the seed and the script's place in its notes."""
    play = Play(SeededChooser(seed), genesis=GENESES[seed % len(GENESES)], over_shards=over_shards, rules=rules)
    try:
        for _ in range(steps):
            play.step()
        agree_after(play)
    except BaseException as error:
        path = Path(f"walk-{seed}.script.log")
        path.write_text(script_of(play))
        how = f"--seeds {seed}:{seed + 1} --steps {steps}{' --over-shards' * over_shards}{' --rules' * rules}"
        error.add_note(f"again: python -m tests.model.walk {how}; script: {path}")
        raise
    return play


def main(arguments: list[str] | None = None) -> int:
    """Walk a range of seeds; print how often each code was answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:50", help="first:end")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--over-shards", action="store_true", help="with runs over both shards")
    parser.add_argument("--rules", action="store_true", help="with quotes, thresholds, breakers, tiers and holds")
    options = parser.parse_args(arguments)
    first, end = map(int, options.seeds.split(":"))
    codes: dict[int, int] = {}
    started = time.monotonic()
    for seed in range(first, end):
        play = walk(seed, options.steps, over_shards=options.over_shards, rules=options.rules)
        for code, count in play.codes.items():
            codes[code] = codes.get(code, 0) + count
    took_s = time.monotonic() - started
    for code in sorted(codes):
        print(f"{codes[code]:8d} {Code(code).name.lower()}")
    print(f"{end - first} walks of {options.steps} steps, {sum(codes.values())} answers, {took_s:.1f} s: all equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
