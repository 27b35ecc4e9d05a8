"""The check of a log before it is opened, run in a child process: damage is named, and never ends the caller.

A page of a damaged file can send a reader of mapped memory anywhere; the child that dies of it is the finding. What
the child found comes back as one JSON object and is raised as the exception that it names.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.errors import LogCorrupt, LogDamaged, LogFailed, LogGap, LogRolledBack, TornTail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Anchor", "LogReport", "check_log", "raise_finding"]

_KINDS: Final = {kind.kind: kind for kind in (LogCorrupt, LogGap, LogRolledBack, TornTail)}
_ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Anchor:
    """A record known from elsewhere: record ``number`` of ``shard`` has this hash."""

    shard: int
    number: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class LogReport:
    """What a sound log holds: the last number of each shard, and how many records and bytes of them were hashed."""

    numbers: Mapping[int, int]
    records: int
    bytes: int
    pages: int


def check_log(
    path: Path, *, suite: int, genesis_hash: bytes, anchors: Sequence[Anchor] = (), full: bool = False
) -> LogReport:
    """Check the log in a folder from its anchors on (``full``: from record 1) and report on it.

    Raises LogCorrupt, LogGap, TornTail or LogRolledBack; LogFailed when the check itself could not run.
    """
    command = [sys.executable, "-P", "-m", "engine.probe", str(path)]
    command += ["--suite", str(suite), "--genesis", genesis_hash.hex()]
    for anchor in anchors:
        command += ["--anchor", f"{anchor.shard}:{anchor.number}:{anchor.hash.hex()}"]
    if full:
        command.append("--full")
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)  # noqa: S603 - our own module
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise LogCorrupt(str(path), f"page structure: its reader was ended by {name}")
    try:
        report = json.loads(done.stdout)
    except ValueError as error:
        raise LogFailed(str(path), f"the check could not run: {done.stderr.decode(errors='replace')[-500:]}") from error
    if report["finding"] is not None:
        raise_finding(str(path), report["finding"])
    numbers = {int(shard): number for shard, number in report["numbers"].items()}
    return LogReport(numbers, report["records"], report["bytes"], report["pages"])


def raise_finding(path: str, finding: Mapping[str, object]) -> None:
    """Raise what a probe found as the exception that it names."""
    kind = _KINDS.get(str(finding["kind"]), LogDamaged)
    places = {key: finding[key] for key in ("shard", "number", "offset")}
    raise kind(
        path,
        str(finding["what"]),
        found=str(finding["found"]),
        expected=str(finding["expected"]),
        **{key: value for key, value in places.items() if isinstance(value, int)},
    )
