"""The bridge's journal on the disk: entries of swaps, what others said of their legs, how far the relay was followed.

It promises that what `append` returned from is on the disk, that entries of one swap come back in the order of their
numbers, and that the relay height moves in the same commit as the entries that were made of what lies before it. One
thread writes; whoever comes while a commit runs waits for the next one, which takes all of them with one sync.
"""

from __future__ import annotations

import asyncio
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from bridge.desk_book import is_snapshot
from bridge.journal import decode_entry, encode_entry, entry_key
from bridge.ports import EntryKind
from engine.errors import DiskFull
from engine.lmdb_file import LmdbFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import lmdb

    from bridge.ports import Entry

__all__ = ["JOURNAL_FOLDER", "JournalStore", "Names", "Note", "Written"]

JOURNAL_FOLDER: Final = "bridge"
"""Where a bridge's data directory keeps its journal."""
_NUMBER: Final = struct.Struct(">Q")
_NOTE: Final = struct.Struct(">32sBB")
_FORMAT_MARK: Final = b"format"
_FORMAT: Final = b"CSBJ\x01\x00"
_RELAY_MARK: Final = b"relay"
_COUNT_MARK: Final = b"count"
_DESK_MARK: Final = b"desk"
_DESK_PRUNED_AT_ONCE: Final = 4_096
_DISK_POLL_S: Final = 0.5
_PAGE_SHARE_BYTES: Final = 2_048
_log = structlog.get_logger("clearspan.bridging")


class Note(NamedTuple):
    """What is kept beside a party's entries, by leg and kind; a later one replaces it."""

    party: bytes
    leg: int
    kind: int
    data: bytes


class Names(NamedTuple):
    """By what else a party's side of a swap is found: the terms' digest, the UETR, the hashlock.

    ``is_payer`` says that the swap was begun here: of several under one UETR the newest of these is found by it.
    """

    party: bytes
    swap: bytes
    uetr: bytes
    hashlock: bytes
    is_payer: bool = False


class Written(NamedTuple):
    """What one commit holds; ``desk`` are entries of the provider's desk, ``cases`` those of its cases, in order.

    ``beside`` are transfers beside swaps by their key; None takes one away.
    """

    entries: Sequence[Entry] = ()
    notes: Sequence[Note] = ()
    names: Sequence[Names] = ()
    desk: Sequence[bytes] = ()
    relay_height: int = 0
    """All that relay blocks up to here led to is written by now."""
    cases: Sequence[bytes] = ()
    beside: Sequence[tuple[bytes, bytes | None]] = ()
    kept: Sequence[tuple[bytes, bytes | None]] = ()
    """Outcomes of screening, alarms and breakers of corridors by their key; None takes one away."""


@dataclass(slots=True)
class _Waiting:
    written: Written
    done: asyncio.Future[None]


class JournalStore:
    """The folder ``path``. Use from one event loop; ``restore`` and ``entries_of`` may be called before it runs."""

    def __init__(self, path: Path, map_bytes_max: int) -> None:
        """Open or create. Raises DiskFull, StoreFailed, ValueError for a folder of another format."""
        self._file = LmdbFile(path, map_bytes_max=map_bytes_max, named_max=12)
        self._entries = self._file.named(b"entries")
        self._open = self._file.named(b"open")
        self._notes = self._file.named(b"notes")
        self._names = self._file.named(b"names")
        self._desk = self._file.named(b"desk")
        self._order = self._file.named(b"order")
        self._cases = self._file.named(b"cases")
        self._beside = self._file.named(b"beside")
        self._kept = self._file.named(b"kept")
        self._marks = self._file.named(b"marks")
        with self._file.begin() as txn:
            found = txn.get(_FORMAT_MARK, db=self._marks)
        if found not in (None, _FORMAT):
            message = f"{path} is a journal of another format"
            raise ValueError(message)
        if found is None:
            self._file.write(lambda txn: txn.put(_FORMAT_MARK, _FORMAT, db=self._marks), pages=1)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: list[_Waiting] = []
        self._pump: asyncio.Task[None] | None = None
        self._next_order = self._count()
        self._next_desk = self._row_count(self._desk)
        self._desk_from = self._mark(_DESK_MARK)
        """The first row of the desk that counts, a snapshot's or 0; rows before it are taken away little by little."""
        self._desk_first = self._first_row(self._desk)
        self._next_case = self._row_count(self._cases)
        self.relay_height = self._relay_height()
        self.commits = 0
        self.disk_full = False

    # Writing.

    async def append(self, written: Written) -> None:
        """Return when this is on the disk; while it is full this waits. Raises StoreFailed for good."""
        if not any(written):
            return
        loop = asyncio.get_running_loop()
        waiting = _Waiting(written, loop.create_future())
        self._waiting.append(waiting)
        if self._pump is None or self._pump.done():
            self._pump = loop.create_task(self._write_all(), name="journal")
        await waiting.done

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            taken, self._waiting = self._waiting, []
            written = [each.written for each in taken]
            try:
                await loop.run_in_executor(self._writer, self._write, written)
            except DiskFull as error:
                if not self.disk_full:
                    _log.error("disk_full", path=error.path, free_bytes=error.free_bytes)
                self.disk_full = True
                self._waiting = taken + self._waiting
                await asyncio.sleep(_DISK_POLL_S)
                continue
            except BaseException as error:  # noqa: BLE001 - whoever waits hears of it; nothing is acted on any more
                for each in taken:
                    if not each.done.done():
                        each.done.set_exception(error)
                continue
            self.disk_full = False
            self.commits += 1
            for each in taken:
                if not each.done.done():
                    each.done.set_result(None)

    def _write(self, written: Sequence[Written]) -> None:
        relay_height = max(self.relay_height, *(part.relay_height for part in written))
        entries = [(each, entry_key(each), encode_entry(each)) for part in written for each in part.entries]
        notes = [note for part in written for note in part.notes]
        names = [each for part in written for each in part.names]
        desk = [entry for part in written for entry in part.desk]
        cases = [entry for part in written for entry in part.cases]
        beside = [row for part in written for row in part.beside]
        kept = [row for part in written for row in part.kept]
        order = place = case = desk_from = desk_first = 0

        def put(txn: lmdb.Transaction[bytes]) -> None:
            nonlocal order, place, case, desk_from, desk_first
            order, place, case = self._next_order, self._next_desk, self._next_case
            desk_from = self._desk_from
            self._put_all(txn, self._entries, [(key, value) for _, key, value in entries])
            for entry, _, _ in entries:
                if entry.number == 0 and txn.put(entry.party, _NUMBER.pack(order), db=self._open, overwrite=False):
                    txn.put(_NUMBER.pack(order), entry.party, db=self._order, append=True)
                    order += 1
                if entry.kind is EntryKind.FINISHED:
                    txn.delete(entry.party, db=self._open)
            rows = [(_NOTE.pack(party, leg, kind), data) for party, leg, kind, data in notes]
            self._put_all(txn, self._notes, rows)
            for each in names:
                for mark, name in ((b"s", each.swap), (b"u", each.uetr), (b"h", each.hashlock)):
                    txn.put(mark + name, each.party, db=self._names, overwrite=mark == b"u" and each.is_payer)
            for row in desk:
                if is_snapshot(row):
                    desk_from = place
                    txn.put(_DESK_MARK, _NUMBER.pack(place), db=self._marks)
                txn.put(_NUMBER.pack(place), row, db=self._desk, append=True)
                place += 1
            # Twice as many as were added, so that a busy desk too is caught up with.
            desk_first = self._prune_desk(txn, desk_from, _DESK_PRUNED_AT_ONCE + 2 * len(desk))
            for row in cases:
                txn.put(_NUMBER.pack(case), row, db=self._cases, append=True)
                case += 1
            for key, data in beside:
                if data is None:
                    txn.delete(key, db=self._beside)
                else:
                    txn.put(key, data, db=self._beside)
            for key, data in kept:
                if data is None:
                    txn.delete(key, db=self._kept)
                else:
                    txn.put(key, data, db=self._kept)
            txn.put(_COUNT_MARK, _NUMBER.pack(order), db=self._marks)
            txn.put(_RELAY_MARK, _NUMBER.pack(relay_height), db=self._marks)

        size = sum(len(value) + 96 for _, _, value in entries) + sum(len(note.data) + 80 for note in notes)
        size += 256 * len(names) + sum(len(each) + 32 for each in (*desk, *cases)) + 256 * len(beside)
        size += sum(len(key) + len(data or b"") + 32 for key, data in kept)
        count = len(entries) + len(notes) + 3 * len(names) + len(desk) + len(cases) + len(beside) + len(kept)
        self._file.write(put, pages=8 + 2 * (size // _PAGE_SHARE_BYTES) + count // 4)
        self._next_order, self._next_desk, self._next_case = order, place, case
        self._desk_from, self._desk_first = desk_from, desk_first
        self.relay_height = relay_height

    @staticmethod
    def _put_all(txn: lmdb.Transaction[bytes], database: lmdb._Database, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Write rows with one call; a later one replaces an earlier one."""
        if rows:
            with txn.cursor(database) as cursor:
                cursor.putmulti(rows)

    # Reading.

    def restore(self) -> Iterator[Entry]:
        """Yield the entries of every party's side that has not finished, in the order of their keys.

        Raises EncodingError for an entry that is not as it was written.
        """
        with self._file.begin() as txn:
            for party in [bytes(key) for key, _ in txn.cursor(self._open)]:
                yield from self._read(txn, party)

    def desk_entries(self) -> Iterator[bytes]:
        """Yield the entries of the provider's desk, in order, from the last snapshot on."""
        with self._file.begin() as txn, txn.cursor(self._desk) as cursor:
            more = cursor.set_range(_NUMBER.pack(self._desk_from))
            while more:
                yield bytes(cursor.value())
                more = cursor.next()

    def case_entries(self) -> Iterator[bytes]:
        """Yield the entries of cases, in order."""
        with self._file.begin() as txn, txn.cursor(self._cases) as cursor:
            for _, value in cursor:
                yield bytes(value)

    def beside(self) -> list[tuple[bytes, bytes]]:
        """Return the transfers beside swaps that are not answered yet, by key."""
        with self._file.begin() as txn, txn.cursor(self._beside) as cursor:
            return [(bytes(key), bytes(value)) for key, value in cursor]

    def kept(self, start: bytes, limit: int = 1 << 40, before: bytes = b"") -> list[tuple[bytes, bytes]]:
        """Return the newest rows whose key begins with this, by key; at most so many, below the key ``before``."""
        found: list[tuple[bytes, bytes]] = []
        with self._file.begin() as txn, txn.cursor(self._kept) as cursor:
            # What stands before the key, or before the end of all that begins so.
            end = before or start + b"\xff" * 64
            more = cursor.prev() if cursor.set_range(end) else cursor.last()
            while more and len(found) < limit and bytes(cursor.key()).startswith(start):
                found.append((bytes(cursor.key()), bytes(cursor.value())))
                more = cursor.prev()
        return found[::-1]

    def entries_of(self, party: bytes) -> list[Entry]:
        """Return all entries of a party's side, none for one that is unknown."""
        with self._file.begin() as txn:
            return list(self._read(txn, party))

    def notes_of(self, party: bytes) -> list[Note]:
        """Return the notes of a party's side, by leg and kind."""
        found = []
        with self._file.begin() as txn, txn.cursor(self._notes) as cursor:
            more = cursor.set_range(party)
            while more and bytes(cursor.key()).startswith(party):
                its_party, leg, kind = _NOTE.unpack(bytes(cursor.key()))
                found.append(Note(its_party, leg, kind, bytes(cursor.value())))
                more = cursor.next()
        return found

    def named(self, *, swap: bytes = b"", uetr: bytes = b"", hashlock: bytes = b"") -> bytes | None:
        """Return the party's side that has this name; of several under one UETR the newest that was begun here."""
        key = b"s" + swap if swap else b"u" + uetr if uetr else b"h" + hashlock
        with self._file.begin() as txn:
            found = txn.get(key, db=self._names)
        return None if found is None else bytes(found)

    def named_under(self, uetrs: Iterable[bytes]) -> dict[bytes, bytes | None]:
        """Return what `named` says of each of these UETRs."""
        with self._file.begin() as txn:
            found = {uetr: txn.get(b"u" + uetr, db=self._names) for uetr in uetrs}
        return {uetr: None if party is None else bytes(party) for uetr, party in found.items()}

    def knows_hash(self, hashlock: bytes) -> bool:
        """Say whether any swap under this hash was begun or accepted here: without one, nothing of it is written."""
        with self._file.begin() as txn:
            return txn.get(b"h" + hashlock, db=self._names) is not None

    def newest(self, limit: int, before: int = 0) -> tuple[list[bytes], int]:
        """Return up to ``limit`` parties, the newest first, below a place (0: the end), and the place to go on."""
        found: list[bytes] = []
        place = before
        with self._file.begin() as txn, txn.cursor(self._order) as cursor:
            # What stands before the place, or at the end where nothing stands at or after it.
            more = cursor.prev() if before and cursor.set_range(_NUMBER.pack(before)) else cursor.last()
            while more and len(found) < limit:
                (place,) = _NUMBER.unpack(cursor.key())
                found.append(bytes(cursor.value()))
                more = cursor.prev()
        return found, place if more else 0

    @property
    def free_bytes(self) -> int:
        """What may still be written."""
        return self._file.room_bytes()

    def close(self) -> None:
        """Close; what was appended is on the disk. Safe to call twice."""
        self._writer.shutdown(wait=True)
        self._file.close()

    def _read(self, txn: lmdb.Transaction[bytes], party: bytes) -> Iterator[Entry]:
        with txn.cursor(self._entries) as cursor:
            more = cursor.set_range(party)
            while more and bytes(cursor.key()).startswith(party):
                yield decode_entry(bytes(cursor.value()))
                more = cursor.next()

    def _prune_desk(self, txn: lmdb.Transaction[bytes], desk_from: int, at_once: int) -> int:
        """Take away some rows that a snapshot has replaced; return the first that is left."""
        first = self._desk_first
        if first >= desk_from:
            return first
        with txn.cursor(self._desk) as cursor:
            more = cursor.first()
            for _ in range(at_once):
                if not more:
                    break
                first = _NUMBER.unpack(bytes(cursor.key()))[0]
                if first >= desk_from:
                    break
                more = cursor.delete()
        return int(first)

    def _relay_height(self) -> int:
        return self._mark(_RELAY_MARK)

    def _mark(self, name: bytes) -> int:
        with self._file.begin() as txn:
            found = txn.get(name, db=self._marks)
        return 0 if found is None else _NUMBER.unpack(found)[0]

    def _first_row(self, rows: lmdb._Database) -> int:
        with self._file.begin() as txn, txn.cursor(rows) as cursor:
            return _NUMBER.unpack(bytes(cursor.key()))[0] if cursor.first() else 0

    def _count(self) -> int:
        with self._file.begin() as txn:
            found = txn.get(_COUNT_MARK, db=self._marks)
        return 1 if found is None else _NUMBER.unpack(found)[0]

    def _row_count(self, rows: lmdb._Database) -> int:
        with self._file.begin() as txn, txn.cursor(rows) as cursor:
            return _NUMBER.unpack(bytes(cursor.key()))[0] + 1 if cursor.last() else 1
