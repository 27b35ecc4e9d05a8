"""The logs of one node's shards in one LMDB environment: one synced transaction makes a round durable on all of them.

Opening checks the file in a child process first (``engine.log_check``), so that a damaged one is named and never takes
this process with it. One thread at a time appends; any thread reads, from a snapshot that a writer does not disturb.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Final

from engine.errors import LogFailed
from engine.lmdb_file import LmdbFile, value_pages
from engine.lmdb_layout import (
    LAST_FILE,
    TIPS_NAME,
    decode_tip,
    encode_last,
    encode_tip,
    number_key,
    shard_key,
    shard_name,
    shard_of_name,
)
from engine.log import EMPTY_TIP, LogPlace, Tip, chained, encode_record, fenced_tip, next_tip
from engine.log_check import Anchor, check_log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import lmdb

    from engine.log import Log, LogRecord

__all__ = ["MAP_BYTES_MAX", "Anchor", "LmdbStore"]

# Address space, not memory and not disk: a tebibyte is a thousand days of a busy shard's log.
MAP_BYTES_MAX: Final = 1 << 40
# A domain has at most 256 shards, and the tips have one database.
_NAMED_MAX: Final = 260
# A reader holds no snapshot while its caller works: it takes copies of one record first, then of up to so many bytes.
_READ_BYTES_MAX: Final = 8 * 1024 * 1024
_READ_COUNT_MAX: Final = 64


class LmdbStore:
    """The logs in the folder ``path``, all of one network.

    ``anchors`` are records that are known from elsewhere (a checkpoint, a signed header): each must stand in the log,
    and the check at the opening begins there instead of at record 1.
    """

    def __init__(
        self,
        path: Path,
        map_bytes_max: int = MAP_BYTES_MAX,
        *,
        suite: int,
        genesis_hash: bytes,
        anchors: Sequence[Anchor] = (),
        full_check: bool = False,
    ) -> None:
        """Check, then open; the caller holds the data directory's lock.

        Raises LogDamaged (TornTail, LogGap, LogCorrupt, LogRolledBack) with nothing changed, DiskFull, LogFailed.
        """
        self.path = path
        self.suite = suite
        self.genesis_hash = genesis_hash
        check_log(path, suite=suite, genesis_hash=genesis_hash, anchors=anchors, full=full_check)
        self._file = LmdbFile(path, map_bytes_max=map_bytes_max, named_max=_NAMED_MAX, failure=LogFailed)
        # One append at a time: who looks at the tip must be the one who writes behind it.
        self._append_lock = threading.Lock()
        self._last = -1
        try:
            self._tips_database = self._file.named(TIPS_NAME)
            self._databases: dict[int, lmdb._Database] = {}
            for name in self._file.names():
                shard = shard_of_name(name)
                if shard is not None:
                    self._databases[shard] = self._file.named(name)
            self._tips = self._read_tips()
            self._last = os.open(path / LAST_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._note_last()
        except BaseException:
            self.close()
            raise

    def log(self, shard: int) -> Log:
        """Return one shard's log."""
        return _LmdbLog(self, shard)

    def append_many(self, appends: Mapping[int, tuple[Sequence[LogRecord], int]], epoch: int) -> None:
        """Append to several shards, (records, number of the first) for each, in one synced transaction.

        Raises Fenced, AppendInvalid or DiskFull with nothing written, LogFailed when the outcome is unknown.
        """
        with self._append_lock:
            self._file.check_usable()
            tips = {
                shard: next_tip(self.tip(shard), self.place(shard), records, expected_number, epoch)
                for shard, (records, expected_number) in appends.items()
            }
            # The databases stand before the transaction begins: a handle made inside one would die with it.
            values = [
                (self._database(shard), number_key(record.number), encode_record(record))
                for shard, (records, _) in appends.items()
                for record in records
            ]

            def put(txn: lmdb.Transaction[bytes]) -> None:
                for database, key, value in values:
                    txn.put(key, value, append=True, overwrite=False, db=database)
                self._put_tips(txn, tips)

            self._file.write(put, pages=sum(value_pages(len(value)) for _, _, value in values))
            self._tips.update(tips)
            self._note_last()

    def fence(self, epoch: int) -> None:
        """Fence the logs of all shards that have one here in one synced transaction; raises Fenced."""
        self.fence_shards(tuple(self._tips), epoch)

    def fence_shards(self, shards: Sequence[int], epoch: int) -> None:
        """Fence some shards' logs, also ones without records yet."""
        with self._append_lock:
            self._file.check_usable()
            tips = {shard: fenced_tip(self.tip(shard), shard, epoch) for shard in shards}
            if tips:
                self._file.write(lambda txn: self._put_tips(txn, tips), pages=1)
                self._tips.update(tips)

    def epoch(self) -> int:
        """Return the highest epoch that any shard's log is fenced at; 0 when nobody has written."""
        return max((tip.fence for tip in self._tips.values()), default=0)

    def shards(self) -> tuple[int, ...]:
        """Return the shards that have a log here, ascending."""
        return tuple(sorted(self._tips))

    def used_bytes(self) -> int:
        """Return what the log takes on the disk."""
        return self._file.used_bytes()

    def free_bytes(self) -> int:
        """Return what the disk has left."""
        return self._file.free_bytes()

    def room_bytes(self) -> int:
        """Return what may still be written: what the disk has left, or less where the largest size is nearer."""
        return self._file.room_bytes()

    def close(self) -> None:
        """Close the files. Safe to call twice."""
        self._file.close()
        if self._last >= 0:
            os.close(self._last)
            self._last = -1

    def tip(self, shard: int) -> Tip:
        """Return where a shard's log ends."""
        return self._tips.get(shard, EMPTY_TIP)

    def place(self, shard: int) -> LogPlace:
        """Say whose log a shard's is."""
        return LogPlace(self.suite, self.genesis_hash, shard, str(self.path))

    def records(self, shard: int, from_number: int) -> Iterator[LogRecord]:
        """Yield a shard's records from a number on, checked one against the other."""
        self._file.check_usable()
        start, tip = max(1, from_number), self.tip(shard)
        if start > tip.number or shard not in self._databases:
            return iter(())
        with self._file.begin() as txn:
            before = txn.get(number_key(start - 1), db=self._databases[shard])
        values = self._values(self._databases[shard], start, tip.number)
        return chained(self.place(shard), values, from_number=start, before=before, tip=tip)

    def _values(self, database: lmdb._Database, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        count_max = 1
        while start <= end:
            chunk: list[tuple[int, bytes]] = []
            size = 0
            with self._file.begin() as txn, txn.cursor(database) as cursor:
                found = cursor.set_range(number_key(start))
                while found and len(chunk) < count_max and size < _READ_BYTES_MAX:
                    key, value = cursor.item()
                    chunk.append((int.from_bytes(key, "big"), value))
                    size += len(value)
                    found = cursor.next()
            chunk = [one for one in chunk if one[0] <= end]
            if not chunk:
                return
            yield from chunk
            start = chunk[-1][0] + 1
            count_max = min(4 * count_max, _READ_COUNT_MAX)

    def _database(self, shard: int) -> lmdb._Database:
        found = self._databases.get(shard)
        if found is None:
            found = self._databases[shard] = self._file.named(shard_name(shard))
        return found

    def _read_tips(self) -> dict[int, Tip]:
        tips = {}
        with self._file.begin() as txn, txn.cursor(self._tips_database) as cursor:
            for key, value in cursor:
                shard = int.from_bytes(key, "big")
                tips[shard] = decode_tip(value, self.suite, shard, str(self.path))
        return tips

    def _put_tips(self, txn: lmdb.Transaction[bytes], tips: Mapping[int, Tip]) -> None:
        for shard, tip in tips.items():
            txn.put(shard_key(shard), encode_tip(tip, self.suite, shard), db=self._tips_database)

    def _note_last(self) -> None:
        """Repeat the tips beside the data file, unsynced: a witness against old copies, not a part of the commit."""
        try:
            os.pwrite(self._last, encode_last(self._tips, self.suite), 0)
        except OSError:
            # The records are durable, and an older LAST is as true as it was.
            return


class _LmdbLog:
    """One shard of an LmdbStore."""

    def __init__(self, store: LmdbStore, shard: int) -> None:
        self._store = store
        self._shard = shard

    def append(self, records: Sequence[LogRecord], expected_number: int, epoch: int) -> int:
        self._store.append_many({self._shard: (records, expected_number)}, epoch)
        return self._store.tip(self._shard).number

    def read(self, from_number: int) -> Iterator[LogRecord]:
        return self._store.records(self._shard, from_number)

    def last(self) -> tuple[int, bytes]:
        tip = self._store.tip(self._shard)
        return tip.number, tip.hash

    def fence(self, epoch: int) -> None:
        self._store.fence_shards((self._shard,), epoch)
