"""The rate of each scheme against batch size and number of keys, with and without hints: the data of the chart."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.kernels import Kernels
from bench.machine import commit, machine
from bench.signed import SCHEMES, SignedItems
from bench.timing import take_turns
from bench.verify import task_of
from native.errors import UnknownSuite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["BATCHES", "KEYS", "run_sweep"]

_SCHEMA: Final = 1
BATCHES: Final = (8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096)
KEYS: Final = (1, 64, 4_096)
_TARGET_NS: Final = 15_000_000


def run_sweep(
    note: Callable[[str], None],
    *,
    schemes: Iterable[str] = tuple(SCHEMES),
    batches: Sequence[int] = BATCHES,
    keys: Sequence[int] = KEYS,
    runs: int = 5,
    target_ns: int = _TARGET_NS,
) -> dict[str, Any]:
    """Measure every point with the variant in use; a scheme that this build does not have gives no points.

    Each point: scheme, hint, keys, batch and verifies_per_s. A batch below the number of keys has a key for each item.
    """
    points: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="clearspan-bench-") as folder, Kernels(()) as kernels:
        for scheme in schemes:
            for count in keys:
                note(f"{scheme}, {count:,} keys")
                path = Path(folder) / f"{scheme}-{count}.npz"
                try:
                    SignedItems.make(scheme, count, max(batches)).save(path)
                except UnknownSuite:
                    continue
                for hint in (False, True):
                    task = task_of(str(path), hint=hint)
                    contenders = [kernels.best.contender(str(batch), task, batch) for batch in batches]
                    measured = take_turns(contenders, runs, target_ns)
                    points += [
                        {"scheme": scheme, "hint": hint, "keys": count, "batch": batch}
                        | {"verifies_per_s": measured[str(batch)].per_s}
                        for batch in batches
                    ]
        used = kernels.used
    return {
        "schema": _SCHEMA,
        "scenario": "verify-sweep",
        "parameters": {"kernel": used, "runs": runs, "batches": list(batches), "keys": list(keys)},
        "commit": commit(),
        "machine": machine(),
        "points": points,
    }
