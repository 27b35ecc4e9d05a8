"""Where a record stands in the log, by a 64-bit key: sorted segments merged in tiers.

An index of transfers by digest and by account must take hundreds of thousands of entries a second without a Python
step for each, so entries arrive as numpy columns, are sorted and merged as such, and are searched by bisection. It
promises candidates, not answers: two keys may share 64 bits, so the reader checks each candidate in the log. It is
rebuildable from the log and holds nothing that the log does not.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
from typing import TYPE_CHECKING

import lmdb
import numpy as np

from engine.errors import DiskFull

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ENTRY", "SegmentIndex", "entries"]

ENTRY = np.dtype([("key", "<u8"), ("shard", "<u4"), ("number", "<u8"), ("row", "<u4")])
# Entries held in memory before they become a segment: small enough to sort in a few milliseconds, large
# enough that a segment is a worthwhile write.
_TABLE_ENTRIES_MAX = 1 << 16
# Segments of one tier before they are merged into the next: a lookup bisects at most this many a tier.
_TIER_WIDTH = 4
_META_KEY = b"position"
_KEY_MAX = (1 << 64) - 1


class SegmentIndex:
    """Entries (key u64 → shard, number, row), persistent in one LMDB environment, appended in log order.

    Not thread-safe: one thread appends and searches. ``positions`` says up to which log number of each shard the
    stored segments reach; what came later is appended again by whoever replays the log's tail.
    """

    def __init__(self, path: Path, name: str, map_bytes_max: int = 1 << 36) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        # Rebuildable, so it does not wait for the disk: sync is the log's business.
        self._environment = lmdb.open(str(path / name), map_size=map_bytes_max, sync=False, metasync=False, max_dbs=2)
        self._segments_db = self._environment.open_db(b"segments")
        self._meta_db = self._environment.open_db(b"meta")
        self._tables: list[NDArray[np.void]] = []
        self._table_entries = 0
        self._pending_positions: dict[int, int] = {}
        self._segments: dict[tuple[int, int], NDArray[np.void]] = {}
        self._reader: lmdb.Transaction | None = None
        self._next_sequence = 1
        self.positions: dict[int, int] = {}
        self._load()

    def append(self, entries: NDArray[np.void], shard: int, number: int) -> None:
        """Add one log record's entries; ``number`` is the log number that the index then reaches for that shard."""
        self._pending_positions[shard] = number
        if len(entries):
            self._tables.append(entries)
            self._table_entries += len(entries)
        if self._table_entries >= _TABLE_ENTRIES_MAX:
            self.flush()

    def find(self, key: int) -> NDArray[np.void]:
        """Return the entries under the key in order of (shard, number, row), each once."""
        wanted = np.uint64(key)
        found = [table[table["key"] == wanted] for table in self._tables]
        for segment in self._segments.values():
            left, right = (
                np.searchsorted(segment["key"], [wanted, wanted + np.uint64(1)])
                if key < _KEY_MAX
                else (
                    np.searchsorted(segment["key"], wanted),
                    len(segment),
                )
            )
            found.append(segment[left:right])
        hits = np.concatenate(found) if found else np.empty(0, dtype=ENTRY)
        return np.unique(hits)

    def flush(self) -> None:
        """Turn what is in memory into a segment, merge tiers that are full, remember how far the index reaches.

        Raises DiskFull with nothing stored and nothing forgotten.
        """
        try:
            self._store()
        except (lmdb.DiskError, lmdb.MapFullError, OSError) as error:
            raise DiskFull(str(self._path), shutil.disk_usage(self._path).free) from error
        else:
            self._tables = []
            self._table_entries = 0
            self._pending_positions = {}
        finally:
            # What a failed store has merged in memory is undone with it.
            self._load()

    def _store(self) -> None:
        with self._environment.begin(write=True) as transaction:
            if self._tables:
                self._write(transaction, 0, np.concatenate(self._tables))
                self._merge(transaction)
            for shard, number in self._pending_positions.items():
                transaction.put(_META_KEY + struct.pack(">I", shard), struct.pack("<Q", number), db=self._meta_db)

    def close(self) -> None:
        """Store what there is room for, and close; what is not stored is indexed again from the log."""
        with contextlib.suppress(DiskFull):
            self.flush()
        self._segments = {}
        if self._reader is not None:
            self._reader.abort()
        self._environment.close()

    def _load(self) -> None:
        """View the segments where they lie: one read transaction holds the pages until the next flush."""
        previous = self._reader
        self._reader = self._environment.begin(buffers=True)
        self._segments = {}
        for key, value in self._reader.cursor(db=self._segments_db):
            tier, sequence = struct.unpack(">II", key)
            self._segments[tier, sequence] = np.frombuffer(value, dtype=ENTRY)
            self._next_sequence = max(self._next_sequence, sequence + 1)
        for key, value in self._reader.cursor(db=self._meta_db):
            self.positions[struct.unpack(">I", bytes(key)[len(_META_KEY) :])[0]] = struct.unpack("<Q", value)[0]
        if previous is not None:
            previous.abort()

    def _write(self, transaction: lmdb.Transaction, tier: int, entries: NDArray[np.void]) -> None:
        ordered = entries[np.argsort(entries["key"], kind="stable")]
        name = (tier, self._next_sequence)
        self._next_sequence += 1
        self._segments[name] = ordered
        transaction.put(struct.pack(">II", *name), ordered.tobytes(), db=self._segments_db)

    def _merge(self, transaction: lmdb.Transaction) -> None:
        tier = 0
        while True:
            names = sorted(name for name in self._segments if name[0] == tier)
            if len(names) < _TIER_WIDTH:
                return
            merged = np.concatenate([self._segments.pop(name) for name in names])
            for name in names:
                transaction.delete(struct.pack(">II", *name), db=self._segments_db)
            self._write(transaction, tier + 1, merged)
            tier += 1


def entries(
    keys: NDArray[np.uint64], shard: int, number: int, rows: NDArray[np.uint32] | Iterable[int]
) -> NDArray[np.void]:
    """Build the entries of one log record: one key and one row each."""
    out = np.empty(len(keys), dtype=ENTRY)
    out["key"] = keys
    out["shard"] = shard
    out["number"] = number
    out["row"] = rows
    return out
