"""Signatures verified a second, one core: every variant of the kernels forced in turn, and the peers, in the same run.

All contenders take turns over the same batch of 192-byte messages, so that whatever else the machine does hits all of
them; figures are items a second of CPU time, medians over the turns, and ratios are taken turn by turn. Keys are
registered, tables built and hints made before the clock starts. With hints a batch is what a follower sees: the hints
come from the first verifier, and nothing vouches for them.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.kernels import VARIANTS, Kernels
from bench.machine import commit, machine
from bench.peers import verify_peers
from bench.signed import MESSAGE_BYTES, SignedItems, spoiled_positions
from bench.timing import TARGET_NS, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.timing import Contender, Measured

__all__ = ["SCHEMA", "TABLE_MIB", "VerifyLoad", "run_verify", "task_of"]

SCHEMA: Final = 1
_UNIT: Final = "verifies_per_s"
TABLE_MIB: Final = 64


@dataclass(frozen=True, slots=True)
class VerifyLoad:
    """A batch to verify.

    keys: registered keys, used in turn; bad: how many signatures are spoiled, spread evenly; table_mib: what the tables
    of keys may take, 64 MiB being a registry's own limit.
    """

    scheme: str
    keys: int = 64
    batch: int = 4_096
    bad: int = 0
    hint: bool = False
    table_mib: int = TABLE_MIB

    def parameters(self) -> dict[str, Any]:
        """Return what decides the load, for the report."""
        return {**asdict(self), "message_bytes": MESSAGE_BYTES, "threads": 1}

    def expected(self) -> bytes:
        """Return the verdicts that this load must get."""
        verdicts = bytearray(b"\x01" * self.batch)
        for position in spoiled_positions(self.batch, self.bad):
            verdicts[position] = 0
        return bytes(verdicts)


def run_verify(
    load: VerifyLoad,
    runs: int,
    note: Callable[[str], None],
    *,
    compared: bool = True,
    target_ns: int = TARGET_NS,
) -> dict[str, Any]:
    """Measure a load and return the report as one JSON object.

    compared: False leaves out the other variants and the peers. Raises UnknownSuite for a scheme that this build does
    not have, and RuntimeError when a variant's verdicts are not the right ones.
    """
    with tempfile.TemporaryDirectory(prefix="clearspan-bench-") as folder:
        note(f"signing {load.batch:,} messages with {load.keys:,} keys")
        items = SignedItems.make(load.scheme, load.keys, load.batch, load.bad)
        path = Path(folder) / "items.npz"
        items.save(path)
        with Kernels(VARIANTS if compared else ()) as kernels:
            contenders = _ours(kernels, load, str(path))
            _check(kernels, load, str(path))
            peers, missing, agree = _peers(load, items) if compared else ([], {}, {})
            note("taking turns: " + ", ".join(each.name for each in (*contenders, *peers)))
            measured = take_turns([*contenders, *peers], runs, target_ns)
            available = tuple(kernels.processes)
    return _report(load, measured, available, {peer.name: agree[peer.name] for peer in peers}, missing, compared)


def task_of(path: str, *, bad: bool = False, hint: bool = False, table_mib: int = TABLE_MIB) -> dict[str, Any]:
    """Return the request for a batch in a file, as bench.work takes it."""
    return {"task": "verify", "file": path, "bad": bad, "hint": hint, "table_mib": table_mib}


def _ours(kernels: Kernels, load: VerifyLoad, path: str) -> list[Contender]:
    """Return the variant in use first, then what it is compared with."""
    asked = task_of(path, bad=load.bad > 0, hint=load.hint, table_mib=load.table_mib)
    contenders = [kernels.best.contender("ours", asked, load.batch)]
    if load.bad:
        contenders.append(kernels.best.contender("clean", {**asked, "bad": False}, load.batch))
    if load.hint:
        contenders.append(kernels.best.contender("no hint", {**asked, "hint": False}, load.batch))
    return contenders + [
        process.contender(f"variant {variant}", asked, load.batch)
        for variant, process in kernels.processes.items()
        if variant != kernels.used
    ]


def _check(kernels: Kernels, load: VerifyLoad, path: str) -> None:
    """Hold every variant's verdicts against what was spoiled."""
    asked = task_of(path, bad=load.bad > 0, hint=load.hint, table_mib=load.table_mib)
    for variant, process in kernels.processes.items():
        if process.outcome(asked, load.batch) != load.expected():
            raise RuntimeError(f"the verdicts of {variant} are wrong")


def _peers(load: VerifyLoad, items: SignedItems) -> tuple[list[Contender], dict[str, str], dict[str, bool]]:
    contenders, missing, verdicts = verify_peers(items)
    expected = load.expected()
    return contenders, missing, {name: each == expected[: len(each)] for name, each in verdicts.items()}


def _report(  # noqa: PLR0917
    load: VerifyLoad,
    measured: dict[str, Measured],
    available: tuple[str, ...],
    agree: dict[str, bool],
    missing: dict[str, str],
    compared: bool,
) -> dict[str, Any]:
    ours = measured["ours"]
    rates = [turn.per_s for turn in ours.turns]
    used = machine()["kernel"]
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "scenario": "verify",
        "parameters": {**load.parameters(), "runs": len(ours.turns), "kernel": used},
        "commit": commit(),
        "machine": machine(),
        "runs": [
            {_UNIT: round(turn.per_s), f"wall_{_UNIT}": round(turn.wall_per_s), "items": turn.items}
            for turn in ours.turns
        ],
        "spread": {
            f"{_UNIT}_min": round(min(rates)),
            f"{_UNIT}_max": round(max(rates)),
            f"{_UNIT}_relative": round((max(rates) - min(rates)) / statistics.median(rates), 4),
        },
        "outcome_hash": hashlib.sha256(load.expected()).hexdigest(),
        _UNIT: ours.per_s,
        f"wall_{_UNIT}": ours.wall_per_s,
        "verify_us": round(1e6 / ours.per_s, 3),
    }
    if load.bad:
        clean = measured["clean"]
        report |= {f"clean_{_UNIT}": clean.per_s, "times_a_clean_batch": clean.ratio_to(ours)}
    if load.hint:
        plain = measured["no hint"]
        report |= {f"no_hint_{_UNIT}": plain.per_s, "times_without_hint": ours.ratio_to(plain)}
    if compared:
        report["variants"] = _variants(measured, available, used)
        report["peers"] = _compared(measured, agree, missing)
    return report


def _variants(measured: dict[str, Measured], available: tuple[str, ...], used: str) -> dict[str, Any]:
    """Return each variant forced: its figures, or that it is not to be had here."""
    ours = measured["ours"]
    variants: dict[str, Any] = {}
    for name in VARIANTS:
        if name not in available:
            variants[name] = {"missing": "not in this build or not on this CPU"}
            continue
        each = ours if name == used else measured[f"variant {name}"]
        variants[name] = {**each.report(_UNIT), "ratio": ours.ratio_to(each), "used": name == used}
    return variants


def _compared(measured: dict[str, Measured], agree: dict[str, bool], missing: dict[str, str]) -> dict[str, Any]:
    """Return each peer: its figures, how many times as fast ours is, and whether it gave the same verdicts."""
    ours = measured["ours"]
    found: dict[str, Any] = {
        name: {
            **measured[name].report(_UNIT),
            "ratio": ours.ratio_to(measured[name]),
            "items": measured[name].turns[0].items,
            "same_verdicts": agreed,
        }
        for name, agreed in agree.items()
    }
    return found | {name: {"missing": reason} for name, reason in missing.items()}
