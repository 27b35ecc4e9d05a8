"""What a process does whose kernels are forced to one variant: work through a task, time it, answer in a line of JSON.

    CLEARSPAN_KERNEL=scalar python -m bench.work

The first line of output names the variant. Each line of input is a task's parameters with `items` and `passes`; with
passes 0 the answer is the outcome, in hex, instead of a time. The first pass over a task is not timed: keys are
registered, tables built and hints made in it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bench.signed import SCHEMES, SignedItems
from bench.timing import timed
from native import hashing
from native.signatures import KeyRegistry, kernel_variant, verify_batch

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HASH_SUITES", "HashTask", "VerifyTask", "main"]

HASH_SUITES: Final = {"sha256": hashing.SUITE_SHA256, "sm3": hashing.SUITE_SM3}
_HINT_BYTES: Final = 32
# More than a registry waits for before it makes a table.
_USES_MAX: Final = 128


class VerifyTask:
    """The first items of a batch, verified in one call, with a registry of its own that holds the keys it needs.

    bad: with the spoiled signatures. hint: with the hints that a first pass over the same signatures wrote.
    table_mib: what the tables of keys may take.
    """

    def __init__(self, items: SignedItems, count: int, *, bad: bool, hint: bool, table_mib: int) -> None:
        """Register the keys, use them until they have their tables, verify once, keep the hints."""
        suite = SCHEMES[items.scheme]
        self._registry = KeyRegistry(table_bytes_max=table_mib << 20)
        indexes = np.array([self._registry.register(suite, key) for key in items.public_keys[:count]], np.uint32)
        self._indexes = indexes[items.key_numbers()[:count]]
        self._signatures = np.ascontiguousarray((items.spoiled if bad else items.signatures)[:count])
        self._messages = np.ascontiguousarray(items.messages[:count])
        self._out = np.zeros(count, np.uint8)
        self._hints = np.zeros((count, _HINT_BYTES), np.uint8) if hint else None
        if KeyRegistry.table_bytes_per_key(suite):
            self._make_tables(min(count, len(indexes)))
        if self._hints is None:
            self.run()
        else:
            self._verify(hints_out=self._hints)

    def _make_tables(self, distinct: int) -> None:
        """Use each key alike until tables were made and no more are: a registry waits until a key is used often."""
        columns = [column[:distinct] for column in (self._indexes, self._signatures, self._messages, self._out)]
        for _ in range(_USES_MAX):
            before = self._registry.tables()
            verify_batch(self._registry, *columns)
            if before == self._registry.tables() > 0:
                return

    def run(self) -> None:
        """Verify the whole batch."""
        if self._hints is None:
            self._verify()
        else:
            self._verify(hints=self._hints)

    def _verify(self, **hints: Any) -> None:
        verify_batch(self._registry, self._indexes, self._signatures, self._messages, self._out, **hints)

    def outcome(self) -> bytes:
        """Return the verdicts, one byte each."""
        return self._out.tobytes()


class HashTask:
    """So many rows hashed in one call, or, with what `merkle`, a tree over as many leaves."""

    def __init__(self, suite: str, what: str, count: int, row_bytes: int) -> None:
        """Make the rows."""
        self._rows = hash_rows(count, row_bytes)
        self._suite, self._what, self._stride = HASH_SUITES[suite], what, row_bytes
        self._digest = b""
        self.run()

    def run(self) -> None:
        """Hash once."""
        if self._what == "rows":
            self._digest = hashing.digest_rows(self._suite, self._rows, self._stride)
        else:
            leaves = hashing.leaf_hash_rows(self._suite, self._rows, self._stride)
            self._digest = hashing.merkle_root(self._suite, leaves)

    def outcome(self) -> bytes:
        """Return the digests, or the root."""
        return self._digest


def hash_rows(count: int, row_bytes: int) -> bytes:
    """Return rows to hash, the same on every machine."""
    return hashlib.shake_256(b"clearspan bench rows").digest(count * row_bytes)


def main() -> int:
    """Answer until the input ends."""
    print(json.dumps({"variant": kernel_variant()}), flush=True)
    desk = _Desk()
    for line in sys.stdin:
        request = json.loads(line)
        passes = request.pop("passes")
        task = desk.task(request)
        if passes == 0:
            answer: dict[str, Any] = {"outcome": task.outcome().hex()}
        else:
            timing = timed(task.run, request["items"], passes)
            answer = {"cpu_ns": timing.cpu_ns, "wall_ns": timing.wall_ns}
        print(json.dumps(answer), flush=True)
    return 0


class _Desk:
    """The tasks over the file at hand; those of another one go when it comes."""

    def __init__(self) -> None:
        self._file = ""
        self._items: SignedItems | None = None
        self._tasks: dict[str, VerifyTask | HashTask] = {}

    def task(self, request: Mapping[str, Any]) -> VerifyTask | HashTask:
        """Return the task of a request, made when it is first asked for."""
        if request["task"] == "verify" and request["file"] != self._file:
            self._file, self._tasks = request["file"], {}
            self._items = SignedItems.load(Path(self._file))
        name = json.dumps(request, sort_keys=True)
        if name not in self._tasks:
            self._tasks[name] = self._made(request)
        return self._tasks[name]

    def _made(self, request: Mapping[str, Any]) -> VerifyTask | HashTask:
        if request["task"] == "hash":
            return HashTask(request["suite"], request["what"], request["items"], request["row_bytes"])
        assert self._items is not None
        modes = {name: request[name] for name in ("bad", "hint", "table_mib")}
        return VerifyTask(self._items, request["items"], **modes)


if __name__ == "__main__":
    sys.exit(main())
