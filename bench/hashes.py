"""Rows hashed and trees built a second, one core: every variant of the kernels forced, and peers, in the same run."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from bench.kernels import VARIANTS, Kernels
from bench.machine import commit, machine
from bench.peers import hash_peers
from bench.timing import TARGET_NS, Measured, take_turns
from bench.work import HASH_SUITES, hash_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.timing import Contender

__all__ = ["HASH_LOADS", "HashLoad", "run_hash"]

_SCHEMA: Final = 1
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class HashLoad:
    """So many rows of one length under one suite; what: rows, each by itself, or merkle, a tree over them as leaves."""

    suite: str
    what: str
    count: int
    row_bytes: int

    @property
    def name(self) -> str:
        """The name under which the report has it."""
        return f"{self.suite}_{self.what}_{self.row_bytes}"


# 64 bytes: what peers quote. 192: a record with its prefix. The trees have as many leaves as the largest batch.
HASH_LOADS: Final = tuple(
    HashLoad(suite, what, 8_192, row_bytes)
    for suite in HASH_SUITES
    for what, row_bytes in (("rows", 64), ("rows", 192), ("merkle", 192))
)


def run_hash(
    runs: int, note: Callable[[str], None], *, count: int | None = None, target_ns: int = TARGET_NS
) -> dict[str, Any]:
    """Measure all loads and return the report as one JSON object; count: other than the loads' own, for a small size.

    Raises RuntimeError when variants or peers come to different digests.
    """
    loads = [HashLoad(load.suite, load.what, count or load.count, load.row_bytes) for load in HASH_LOADS]
    figures: dict[str, Any] = {}
    outcome = hashlib.sha256()
    with Kernels() as kernels:
        for load in loads:
            note(f"{load.name}: {load.count:,} rows")
            figures[load.name], digest = _measured(kernels, load, runs, target_ns)
            outcome.update(digest)
    return {
        "schema": _SCHEMA,
        "scenario": "hash",
        "parameters": {"runs": runs, "loads": [asdict(load) for load in loads], "threads": 1},
        "commit": commit(),
        "machine": machine(),
        "runs": {name: figure.pop("runs") for name, figure in figures.items()},
        "spread": {name: figure.pop("spread") for name, figure in figures.items()},
        "outcome_hash": outcome.hexdigest(),
        **{f"{name}_per_s": figure["rows_per_s"] for name, figure in figures.items()},
        "hashes": figures,
    }


def _measured(kernels: Kernels, load: HashLoad, runs: int, target_ns: int) -> tuple[dict[str, Any], bytes]:
    task = {"task": "hash", "suite": load.suite, "what": load.what, "row_bytes": load.row_bytes}
    outcomes = {name: process.outcome(task, load.count) for name, process in kernels.processes.items()}
    if len(set(outcomes.values())) != 1:
        raise RuntimeError(f"the variants disagree about {load.name}")
    ours: list[Contender] = [process.contender(name, task, load.count) for name, process in kernels.processes.items()]
    peers, missing = hash_peers(load.suite, hash_rows(load.count, load.row_bytes), load.row_bytes)
    if load.what != "rows":
        peers, missing = [], {}
    measured = take_turns([*ours, *peers], runs, target_ns)
    used = measured[kernels.used]
    rates = [turn.per_s for turn in used.turns]
    figure: dict[str, Any] = {
        "rows_per_s": used.per_s,
        "wall_rows_per_s": used.wall_per_s,
        "mib_per_s": used.per_s * load.row_bytes // _MIB,
        "variants": {
            name: {**measured[name].report("rows_per_s"), "ratio": used.ratio_to(measured[name])}
            if name in measured
            else {"missing": "not in this build or not on this CPU"}
            for name in VARIANTS
        },
        "peers": {peer.name: _peer(used, measured[peer.name]) for peer in peers}
        | {name: {"missing": reason} for name, reason in missing.items()},
        "runs": [round(rate) for rate in rates],
        "spread": {"rows_per_s_min": round(min(rates)), "rows_per_s_max": round(max(rates))},
    }
    return figure, next(iter(outcomes.values()))


def _peer(used: Measured, peer: Measured) -> dict[str, Any]:
    return {**peer.report("rows_per_s"), "ratio": used.ratio_to(peer)}
