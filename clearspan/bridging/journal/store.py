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
from bridge.journal import encode_entry
from clearspan.bridging.journal.rows import Names, Note, SwapRows
from engine.errors import DiskFull, FormatMismatch
from engine.lmdb_file import LmdbFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import lmdb

    from bridge.ports import Entry
    from clearspan.bridging.journal.rows import Taken

__all__ = ["JOURNAL_FOLDER", "JournalStore", "Names", "Note", "Written"]

JOURNAL_FOLDER: Final = "bridge"
"""Where a bridge's data directory keeps its journal."""
_NUMBER: Final = struct.Struct(">Q")
_FORMAT_MARK: Final = b"format"
_FORMAT: Final = b"CSBJ\x02\x00"
_RELAY_MARK: Final = b"relay"
_DESK_MARK: Final = b"desk"
_DESK_PRUNED_AT_ONCE: Final = 4_096
_DISK_POLL_S: Final = 0.5
_PAGE_SHARE_BYTES: Final = 2_048
_log = structlog.get_logger("clearspan.bridging")


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
        """Open or create. Raises DiskFull, StoreFailed, FormatMismatch for a folder of another format."""
        self._file = LmdbFile(path, map_bytes_max=map_bytes_max, named_max=12)
        self._marks = self._file.named(b"marks")
        try:
            self._demand_format()
        except FormatMismatch:
            self._file.close()
            raise
        self._swaps = SwapRows(self._file)
        self._desk = self._file.named(b"desk")
        self._cases = self._file.named(b"cases")
        self._beside = self._file.named(b"beside")
        self._kept = self._file.named(b"kept")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: list[_Waiting] = []
        self._pump: asyncio.Task[None] | None = None
        self._next_desk = self._row_count(self._desk)
        self._desk_from = self._mark(_DESK_MARK)
        """The first row of the desk that counts, a snapshot's or 0; rows before it are taken away little by little."""
        self._desk_first = self._first_row(self._desk)
        self._next_case = self._row_count(self._cases)
        self.relay_height = self._mark(_RELAY_MARK)
        self.commits = 0
        self.disk_full = False

    def _demand_format(self) -> None:
        """Demand a journal of this format, or a new one, which is marked."""
        with self._file.begin() as txn:
            found = txn.get(_FORMAT_MARK, db=self._marks)
        if found is None:
            self._file.write(lambda txn: txn.put(_FORMAT_MARK, _FORMAT, db=self._marks), pages=1)
        elif bytes(found) != _FORMAT:
            field = "journal (let the version that wrote it end its swaps, then begin in a new folder): its format"
            raise FormatMismatch(str(self._file.folder), field, bytes(found).hex(), _FORMAT.hex())

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
        entries = [(each, encode_entry(each)) for part in written for each in part.entries]
        notes = [note for part in written for note in part.notes]
        names = [each for part in written for each in part.names]
        desk = [entry for part in written for entry in part.desk]
        cases = [entry for part in written for entry in part.cases]
        beside = [row for part in written for row in part.beside]
        kept = [row for part in written for row in part.kept]
        place = case = desk_from = desk_first = 0
        taken: Taken | None = None

        def put(txn: lmdb.Transaction[bytes]) -> None:
            nonlocal taken, place, case, desk_from, desk_first
            place, case, desk_from = self._next_desk, self._next_case, self._desk_from
            taken = self._swaps.put(txn, entries, notes, names)
            if desk:
                snapshots = [at for at, row in enumerate(desk, place) if is_snapshot(row)]
                if snapshots:
                    desk_from = snapshots[-1]
                    txn.put(_DESK_MARK, _NUMBER.pack(desk_from), db=self._marks)
                with txn.cursor(self._desk) as cursor:
                    cursor.putmulti([(_NUMBER.pack(at), row) for at, row in enumerate(desk, place)], append=True)
                place += len(desk)
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
            if relay_height > self.relay_height:
                txn.put(_RELAY_MARK, _NUMBER.pack(relay_height), db=self._marks)

        size = sum([len(value) for _, value in entries]) + sum([len(note.data) for note in notes])
        size += 256 * len(names) + sum(map(len, desk)) + sum(map(len, cases)) + 256 * len(beside)
        size += sum(len(key) + len(data or b"") for key, data in kept)
        count = len(entries) + len(notes) + 3 * len(names) + len(desk) + len(cases) + len(beside) + len(kept)
        size += 64 * count
        self._file.write(put, pages=8 + 2 * (size // _PAGE_SHARE_BYTES) + count // 4)
        if taken is not None:
            self._swaps.took(taken)
        self._next_desk, self._next_case = place, case
        self._desk_from, self._desk_first = desk_from, desk_first
        self.relay_height = relay_height

    # Reading.

    def restore(self) -> Iterator[Entry]:
        """Yield the entries of every party's side that has not finished, in the order in which they began.

        Raises EncodingError for an entry that is not as it was written.
        """
        return self._swaps.restore()

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
        return self._swaps.entries_of(party)

    def notes_of(self, party: bytes) -> list[Note]:
        """Return the notes of a party's side, by leg and kind."""
        return self._swaps.notes_of(party)

    def named(self, *, uetr: bytes = b"", hashlock: bytes = b"") -> bytes | None:
        """Return the party's side that has this name; of several under one UETR the newest that was begun here."""
        return self._swaps.party_of(uetr=uetr, hashlock=hashlock)

    def named_under(self, uetrs: Iterable[bytes]) -> dict[bytes, bytes | None]:
        """Return what `named` says of each of these UETRs."""
        return self._swaps.parties_under(uetrs)

    def known_hashes(self, hashlocks: Iterable[bytes]) -> frozenset[bytes]:
        """Return those under which a swap was begun or accepted here: of any other nothing is written."""
        return self._swaps.known_hashes(hashlocks)

    def first_known(self, parties: Iterable[bytes]) -> bytes | None:
        """Return the first of these that began or accepted a swap here."""
        return self._swaps.first_known(parties)

    def newest(self, limit: int, before: int = 0) -> tuple[list[bytes], int]:
        """Return up to ``limit`` parties, the newest first, below a place (0: the end), and the place to go on."""
        return self._swaps.newest(limit, before)

    @property
    def free_bytes(self) -> int:
        """What may still be written."""
        return self._file.room_bytes()

    def close(self) -> None:
        """Close; what was appended is on the disk. Safe to call twice."""
        self._writer.shutdown(wait=True)
        self._file.close()

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

    def _mark(self, name: bytes) -> int:
        with self._file.begin() as txn:
            found = txn.get(name, db=self._marks)
        return 0 if found is None else _NUMBER.unpack(found)[0]

    def _first_row(self, rows: lmdb._Database) -> int:
        with self._file.begin() as txn, txn.cursor(rows) as cursor:
            return _NUMBER.unpack(bytes(cursor.key()))[0] if cursor.first() else 0

    def _row_count(self, rows: lmdb._Database) -> int:
        with self._file.begin() as txn, txn.cursor(rows) as cursor:
            return _NUMBER.unpack(bytes(cursor.key()))[0] + 1 if cursor.last() else 1
