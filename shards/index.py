"""Where a record stands in the log, by a 64-bit key: sorted segments merged in tiers.

An index of transfers by digest and by account must take hundreds of thousands of entries a second without a Python
step for each, so entries arrive as numpy columns, are sorted and merged as such, and are searched by bisection. It
promises candidates, not answers: two keys may share 64 bits, so the reader checks each candidate in the log. It is
rebuildable from the log and holds nothing that the log does not: one that cannot be trusted is thrown away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import lmdb
import numpy as np

from engine.data_directory import sync_folder
from engine.errors import DiskFull
from engine.lmdb_examine import examine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["ENTRY", "SegmentIndex", "entries"]

ENTRY = np.dtype([("key", "<u8"), ("shard", "<u4"), ("number", "<u8"), ("row", "<u4")])
_ROW: Final = np.dtype((np.void, ENTRY.itemsize))
# Entries held in memory before they become a segment: small enough to sort in a few milliseconds, large
# enough that a segment is a worthwhile write.
_TABLE_ENTRIES_MAX: Final = 1 << 16
# Segments of one tier before they are merged into the next: a lookup bisects at most this many a tier.
_TIER_WIDTH: Final = 4
# A segment is one value of LMDB, which ends at 4 GiB: larger ones are left side by side.
_SEGMENT_ENTRIES_MAX: Final = 1 << 26
_KEY_BYTES: Final = 8
# With less than this free a write that failed is taken for one that found no room: a merge of segments is its size.
_ROOM_BYTES_MIN: Final = 64 << 20
# The index never takes the last of a disk: a start needs a little.
_LEFT_BYTES_MIN: Final = 512 << 10
# Address space, not memory and not disk.
_MAP_BYTES_MAX: Final = 1 << 40
_META_KEY: Final = b"position"
# Names the boot of the machine that writes, or says that all was synced: what was not may be anything after a power
# cut.
_MARK_FILE: Final = "WRITER"
_MARK_CLEAN: Final = b"clean\n"
_BOOT_FILE: Final = Path("/proc/sys/kernel/random/boot_id")


class _Segment(NamedTuple):
    """Entries in order of their keys, and the keys by themselves: a column of their own is bisected without a copy."""

    keys: NDArray[np.uint64]
    entries: NDArray[np.void]

    @classmethod
    def view(cls, value: memoryview) -> _Segment:
        """View a stored segment where it lies."""
        count = len(value) // (_KEY_BYTES + ENTRY.itemsize)
        keys = np.frombuffer(value, dtype="<u8", count=count)
        return cls(keys, np.frombuffer(value, dtype=ENTRY, count=count, offset=count * _KEY_BYTES))

    def encode(self) -> bytes:
        """Return the keys, then the entries."""
        return self.keys.tobytes() + self.entries.tobytes()


def _segment(entries: NDArray[np.void]) -> _Segment:
    """Sort entries by key."""
    ordered = entries[np.argsort(entries["key"], kind="stable")]
    return _Segment(np.ascontiguousarray(ordered["key"]), ordered)


class _Table:
    """Entries in memory as they came; sorted when first searched, for what is never asked for need not be."""

    __slots__ = ("_sorted", "entries")

    def __init__(self, entries: NDArray[np.void]) -> None:
        self.entries = entries
        self._sorted: _Segment | None = None

    @property
    def segment(self) -> _Segment:
        """The same in order of their keys."""
        if self._sorted is None:
            self._sorted = _segment(self.entries)
        return self._sorted


def _joined(parts: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """Concatenate entries; as plain rows, for NumPy compares the fields of structures one by one."""
    rows = [np.ascontiguousarray(part).view(_ROW) for part in parts]
    return np.concatenate(rows).view(ENTRY) if rows else np.empty(0, dtype=ENTRY)


class SegmentIndex:
    """Entries (key u64 → shard, number, row), persistent in one LMDB environment, appended in log order.

    Not thread-safe: one caller at a time. ``positions`` says up to which log number of each shard the stored segments
    reach; what came later is appended again by whoever replays the log's tail.
    """

    def __init__(self, path: Path, name: str, map_bytes_max: int = _MAP_BYTES_MAX) -> None:
        """Open or create; what is not sound, or was not synced before a power cut, begins anew. Raises DiskFull."""
        self._path = path
        self._folder = path / name
        self._map_bytes_max = map_bytes_max
        self._begin()
        try:
            path.mkdir(parents=True, exist_ok=True)
            if not _trusted(self._folder):
                shutil.rmtree(self._folder, ignore_errors=True)
            try:
                self._open()
            except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError):
                shutil.rmtree(self._folder, ignore_errors=True)
                self._open()
        except (lmdb.DiskError, lmdb.MapFullError, OSError) as error:
            raise self._full() from error

    def _begin(self) -> None:
        self._tables: list[_Table] = []
        self._table_entries = 0
        self._flush_at = _TABLE_ENTRIES_MAX
        self._pending_positions: dict[int, int] = {}
        self._segments: dict[tuple[int, int], _Segment] = {}
        self._reader: lmdb.Transaction | None = None
        self._next_sequence = 1
        self.positions: dict[int, int] = {}

    def _open(self) -> None:
        self._folder.mkdir(exist_ok=True)
        _mark(self._folder, _boot())
        # Rebuildable, so it does not wait for the disk: sync is the log's business.
        self._environment = lmdb.open(
            str(self._folder), map_size=self._map_bytes_max, sync=False, metasync=False, max_dbs=2
        )
        try:
            self._segments_db = self._environment.open_db(b"segments")
            self._meta_db = self._environment.open_db(b"meta")
            self._load()
        except BaseException:
            self._environment.close()
            raise

    def reached(self, shard: int) -> int:
        """Return the log number up to which a shard is indexed, in memory or stored; 0 for nothing."""
        return self._pending_positions.get(shard, self.positions.get(shard, 0))

    def append(self, entries: NDArray[np.void], shard: int, number: int) -> None:
        """Add one log record's entries; ``number`` is the log number that the index then reaches for that shard.

        Raises DiskFull when there was no room to store what had gathered; all of it is still in memory and found.
        """
        self._pending_positions[shard] = number
        if len(entries):
            self._tables.append(_Table(entries))
            self._table_entries += len(entries)
            # Tables of records of one transfer each would be as many as entries; pairs of like size become one, so that
            # a search looks at a few.
            while len(self._tables) > 1 and len(self._tables[-2].entries) <= 2 * len(self._tables[-1].entries):
                last = self._tables.pop()
                self._tables[-1] = _Table(_joined([self._tables[-1].entries, last.entries]))
        if self._table_entries >= self._flush_at:
            self.flush()

    def find(self, key: int, shard: int | None = None) -> NDArray[np.void]:
        """Return the entries under the key, of one shard if named, by (shard, number, row), each once; copies."""
        wanted = np.uint64(key)
        found = []
        for segment in self._searched():
            left = int(np.searchsorted(segment.keys, wanted))
            if left < len(segment.keys) and segment.keys[left] == wanted:
                found.append(segment.entries[left : int(np.searchsorted(segment.keys, wanted, side="right"))])
        hits = _joined(found)
        if shard is not None:
            hits = hits[hits["shard"] == shard]
        return _ordered(hits)

    def find_many(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.void]]:
        """Return the entries under n keys, and for each the position of its key; copies, some perhaps twice.

        Each table and segment is gone through once for all keys, which is what makes thousands of them cheap.
        """
        positions, hits = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=ENTRY)]
        for segment in self._searched():
            left = np.searchsorted(segment.keys, keys)
            counts = np.searchsorted(segment.keys, keys, side="right") - left
            rows = np.flatnonzero(counts)
            runs = counts[rows]
            within = np.arange(int(runs.sum())) - np.repeat(np.cumsum(runs) - runs, runs)
            positions.append(np.repeat(rows, runs))
            hits.append(segment.entries[np.repeat(left[rows], runs) + within])
        return np.concatenate(positions), _joined(hits)

    def _searched(self) -> Iterator[_Segment]:
        """Yield what is searched: tables in memory, then stored segments."""
        for table in self._tables:
            yield table.segment
        yield from self._segments.values()

    def flush(self) -> None:
        """Turn what is in memory into a segment, merge tiers that are full, remember how far the index reaches.

        Raises DiskFull with nothing stored and nothing forgotten; it is tried again when as much again has gathered.
        """
        try:
            self._store()
        except (lmdb.Error, OSError) as error:
            if not self._found_no_room(error):
                raise
            self._flush_at = 2 * max(self._table_entries, _TABLE_ENTRIES_MAX)
            raise self._full() from error
        else:
            self._tables = []
            self._table_entries = 0
            self._flush_at = _TABLE_ENTRIES_MAX
            self._pending_positions = {}
        finally:
            # What a failed store has merged in memory is undone with it.
            self._load()

    def _store(self) -> None:
        if shutil.disk_usage(self._path).free < _LEFT_BYTES_MIN + 4 * self._table_entries * (
            _KEY_BYTES + ENTRY.itemsize
        ):
            raise OSError(errno.ENOSPC, "what is left is the log's")
        with self._environment.begin(write=True) as transaction:
            if self._tables:
                self._write(transaction, 0, _joined([table.entries for table in self._tables]))
                self._merge(transaction)
            for shard, number in self._pending_positions.items():
                transaction.put(_META_KEY + struct.pack(">I", shard), struct.pack("<Q", number), db=self._meta_db)

    def reset(self) -> None:
        """Forget everything, as if the index had never been. Raises DiskFull."""
        self._shut()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._begin()
        try:
            self._open()
        except (lmdb.DiskError, lmdb.MapFullError, OSError) as error:
            raise self._full() from error

    def close(self) -> None:
        """Store what there is room for, and close; what is not stored is indexed again from the log."""
        with contextlib.suppress(DiskFull):
            self.flush()
        with contextlib.suppress(lmdb.Error, OSError):
            self._environment.sync(True)
            _mark(self._folder, _MARK_CLEAN)
        self._shut()

    def _shut(self) -> None:
        self._segments = {}
        if self._reader is not None:
            self._reader.abort()
            self._reader = None
        self._environment.close()

    def _load(self) -> None:
        """View the segments where they lie: one read transaction holds the pages until the next flush."""
        previous = self._reader
        self._reader = self._environment.begin(buffers=True)
        self._segments = {}
        for key, value in self._reader.cursor(db=self._segments_db):
            tier, sequence = struct.unpack(">II", key)
            self._segments[tier, sequence] = _Segment.view(value)
            self._next_sequence = max(self._next_sequence, sequence + 1)
        for key, value in self._reader.cursor(db=self._meta_db):
            self.positions[struct.unpack(">I", bytes(key)[len(_META_KEY) :])[0]] = struct.unpack("<Q", value)[0]
        if previous is not None:
            previous.abort()

    def _write(self, transaction: lmdb.Transaction, tier: int, entries: NDArray[np.void]) -> None:
        segment = _segment(entries)
        name = (tier, self._next_sequence)
        self._next_sequence += 1
        self._segments[name] = segment
        transaction.put(struct.pack(">II", *name), segment.encode(), db=self._segments_db)

    def _merge(self, transaction: lmdb.Transaction) -> None:
        tier = 0
        while True:
            names = sorted(name for name in self._segments if name[0] == tier)
            if len(names) < _TIER_WIDTH or sum(len(self._segments[name].keys) for name in names) > _SEGMENT_ENTRIES_MAX:
                return
            merged = _joined([self._segments.pop(name).entries for name in names])
            for name in names:
                transaction.delete(struct.pack(">II", *name), db=self._segments_db)
            self._write(transaction, tier + 1, merged)
            tier += 1

    def _found_no_room(self, error: lmdb.Error | OSError) -> bool:
        if isinstance(error, (lmdb.DiskError, lmdb.MapFullError, OSError)):
            return True
        # The last write before a disk is full is a short one, which LMDB takes for a failing disk.
        return error.code == errno.EIO and shutil.disk_usage(self._path).free < _ROOM_BYTES_MIN

    def _full(self) -> DiskFull:
        free = shutil.disk_usage(self._path if self._path.exists() else self._path.parent).free
        return DiskFull(str(self._path), free)


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


def _ordered(hits: NDArray[np.void]) -> NDArray[np.void]:
    """Sort the entries of one key by (shard, number, row) and drop those that were indexed twice."""
    ordered = hits[np.lexsort((hits["row"], hits["number"], hits["shard"]))]
    again = np.ones(len(ordered), dtype=bool)
    again[1:] = (ordered[1:]["row"] != ordered[:-1]["row"]) | (ordered[1:]["number"] != ordered[:-1]["number"])
    again[1:] |= ordered[1:]["shard"] != ordered[:-1]["shard"]
    return ordered[again]


def _trusted(folder: Path) -> bool:
    """Whether what lies there was synced, or written since this machine started and looks whole."""
    try:
        mark = (folder / _MARK_FILE).read_bytes()
    except OSError:
        return False
    if not mark or mark not in {_MARK_CLEAN, _boot()}:
        return False
    return not examine(folder, walk=False).finding


def _boot() -> bytes:
    """Return what names this boot of the machine; nothing where the system does not say, which is never trusted."""
    try:
        return _BOOT_FILE.read_bytes()
    except OSError:
        return b""


def _mark(folder: Path, content: bytes) -> None:
    """Write the mark durably: it must never say more than is true."""
    path = folder / _MARK_FILE
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(folder)
