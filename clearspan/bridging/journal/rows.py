"""The journal's rows of swaps: entries and notes under the number of the side that they belong to, and its names.

It promises that the rows of one side lie together, that sides which begin together lie side by side, so that a commit
touches few pages, and that a name leads to the side that bears it. A number is given when a side begins and stays.

Keys are big-endian. ``swaps``: number u64, then 0 and the entry's number u32, or 1 (2 for a note whose data stand in
``shared`` under their SHA-256), leg u8, kind u8. ``names``: "p" and a party, "h" and a hashlock, "u" and a UETR, to a
number. ``open``: the numbers of sides that have begun and not finished. ``apart``: notes of parties that began nothing,
by party, leg and kind.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from bridge.journal import decode_entry
from bridge.ports import EntryKind
from engine.refusals import EncodingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import lmdb

    from bridge.ports import Entry
    from engine.lmdb_file import LmdbFile

    Row = tuple[bytes, bytes]

__all__ = ["Names", "Note", "SwapRows", "Taken"]

_NUMBER: Final = struct.Struct(">Q")
_ENTRY_KEY: Final = struct.Struct(">QBI")
_NOTE_KEY: Final = struct.Struct(">QBBB")
_APART_KEY: Final = struct.Struct(">32sBB")
_ENTRY: Final = 0
_NOTE: Final = 1
_SHARED: Final = 2
_PARTY: Final = b"p"
_HASHLOCK: Final = b"h"
_UETR: Final = b"u"
_NUMBERS_KEPT_MAX: Final = 65_536
_SHARED_KEPT_MAX: Final = 4_096


class Note(NamedTuple):
    """What is kept beside a party's entries, by leg and kind; a later one replaces it.

    ``shared`` says that the notes of many swaps say the same, such as a quote: its data are kept once for all of them.
    """

    party: bytes
    leg: int
    kind: int
    data: bytes
    shared: bool = False


class Names(NamedTuple):
    """By what else a party's side of a swap is found: the UETR and the hashlock.

    ``is_payer`` says that the swap was begun here: of several under one UETR the newest of these is found by it.
    """

    party: bytes
    uetr: bytes
    hashlock: bytes
    is_payer: bool = False


@dataclass(slots=True)
class Taken:
    """What a commit makes known to this process once it is durable: numbers of parties, what is kept for many."""

    next_number: int
    numbers: dict[bytes, int] = field(default_factory=dict)
    shared: set[bytes] = field(default_factory=set)


class SwapRows:
    """Rows in ``file``. ``put`` in one thread; what reads may be called from any."""

    def __init__(self, file: LmdbFile) -> None:
        """Open or create. Raises DiskFull, StoreFailed."""
        self._file = file
        self._swaps = file.named(b"swaps")
        self._open = file.named(b"open")
        self._names = file.named(b"names")
        self._shared = file.named(b"shared")
        self._apart = file.named(b"apart")
        self._numbers: dict[bytes, int] = {}
        """Numbers of parties that were met not long ago; all of them stand in the file."""
        self._known_shared: set[bytes] = set()
        with file.begin() as txn, txn.cursor(self._swaps) as cursor:
            self._next = _NUMBER.unpack_from(bytes(cursor.key()))[0] + 1 if cursor.last() else 1

    # Writing.

    def put(
        self,
        txn: lmdb.Transaction[bytes],
        entries: Iterable[tuple[Entry, bytes]],
        notes: Iterable[Note],
        names: Iterable[Names],
    ) -> Taken:
        """Write entries with their bytes, notes and names; hand what this returns to `took` when it is durable."""
        taken = Taken(self._next)
        rows: dict[bytes, bytes] = {}
        begun: list[Row] = []
        finished: list[bytes] = []
        known, key_of = self._numbers, _ENTRY_KEY.pack
        for entry, data in entries:
            party, place = entry.party, entry.number
            number = known.get(party) or self._number_of(txn, party, taken) or _give_number(party, taken)
            rows[key_of(number, _ENTRY, place)] = data
            if place == 0:
                begun.append((_NUMBER.pack(number), b""))
            elif entry.kind is EntryKind.FINISHED:
                finished.append(_NUMBER.pack(number))
        apart = self._put_notes(txn, notes, rows, taken)
        for database, found in ((self._swaps, rows), (self._apart, apart)):
            if found:
                _put_all(txn, database, sorted(found.items()))
        if begun:
            _put_all(txn, self._open, begun)
        for key in finished:
            txn.delete(key, db=self._open)
        self._put_names(txn, names, taken)
        return taken

    def took(self, taken: Taken) -> None:
        """Take that what was put is durable."""
        self._next = taken.next_number
        if len(self._numbers) >= _NUMBERS_KEPT_MAX:
            self._numbers.clear()
        self._numbers.update(taken.numbers)
        if len(self._known_shared) >= _SHARED_KEPT_MAX:
            self._known_shared.clear()
        self._known_shared |= taken.shared

    def _put_notes(
        self, txn: lmdb.Transaction[bytes], notes: Iterable[Note], rows: dict[bytes, bytes], taken: Taken
    ) -> dict[bytes, bytes]:
        """Add the rows of notes; return those of parties that began nothing."""
        apart: dict[bytes, bytes] = {}
        known = self._numbers
        for party, leg, kind, data, shared in notes:
            number = known.get(party) or self._number_of(txn, party, taken)
            if not number:
                apart[_APART_KEY.pack(party, leg, kind)] = data
            elif shared:
                rows[_NOTE_KEY.pack(number, _SHARED, leg, kind)] = self._share(txn, data, taken)
            else:
                rows[_NOTE_KEY.pack(number, _NOTE, leg, kind)] = data
        return apart

    def _share(self, txn: lmdb.Transaction[bytes], data: bytes, taken: Taken) -> bytes:
        name = hashlib.sha256(data).digest()
        if name not in self._known_shared and name not in taken.shared:
            txn.put(name, data, db=self._shared, overwrite=False)
            taken.shared.add(name)
        return name

    def _put_names(self, txn: lmdb.Transaction[bytes], names: Iterable[Names], taken: Taken) -> None:
        """Write names: a hash leads to the first side under it, a UETR to the newest that was begun here."""
        first: list[Row] = []
        newest: dict[bytes, bytes] = {}
        for party, uetr, hashlock, is_payer in names:
            number = _NUMBER.pack(self._number_of(txn, party, taken) or _give_number(party, taken))
            first.append((_HASHLOCK + hashlock, number))
            if is_payer:
                newest[_UETR + uetr] = number
            else:
                first.append((_UETR + uetr, number))
        first += [(_PARTY + party, _NUMBER.pack(number)) for party, number in taken.numbers.items()]
        if newest:
            _put_all(txn, self._names, sorted(newest.items()))
        if first:
            # In the order of their keys; of two under one key the one that came first stays first.
            first.sort(key=_key_of)
            _put_all(txn, self._names, first, overwrite=False)

    def _number_of(self, txn: lmdb.Transaction[bytes], party: bytes, taken: Taken | None = None) -> int:
        """Return a party's number, 0 where it has none."""
        found = (taken.numbers.get(party) if taken is not None else None) or self._numbers.get(party)
        if found is not None:
            return found
        data = txn.get(_PARTY + party, db=self._names)
        return 0 if data is None else int(_NUMBER.unpack(data)[0])

    # Reading.

    def restore(self) -> Iterator[Entry]:
        """Yield the entries of every side that has not finished, in the order in which they began.

        Raises EncodingError for an entry that is not as it was written.
        """
        with self._file.begin() as txn:
            for key in [bytes(key) for key, _ in txn.cursor(self._open)]:
                yield from self._entries(txn, key)

    def entries_of(self, party: bytes) -> list[Entry]:
        """Return all entries of a party's side, none for one that is unknown. Raises EncodingError."""
        with self._file.begin() as txn:
            number = self._number_of(txn, party)
            return list(self._entries(txn, _NUMBER.pack(number))) if number else []

    def notes_of(self, party: bytes) -> list[Note]:
        """Return the notes of a party's side, by leg and kind. Raises EncodingError for one kept for many that is not.

        A side that was refused first and began later has notes of both times.
        """
        found: list[Note] = []
        with self._file.begin() as txn:
            for key, data in self._from(txn, self._apart, party):
                _, leg, kind = _APART_KEY.unpack(key)
                found.append(Note(party, leg, kind, data))
            number = self._number_of(txn, party)
            for tag in (_NOTE, _SHARED) if number else ():
                for key, data in self._from(txn, self._swaps, _NUMBER.pack(number) + bytes((tag,))):
                    _, _, leg, kind = _NOTE_KEY.unpack(key)
                    is_shared = tag == _SHARED
                    found.append(Note(party, leg, kind, self._read_shared(txn, data) if is_shared else data, is_shared))
        return sorted(found, key=_place_of)

    def party_of(self, *, uetr: bytes = b"", hashlock: bytes = b"") -> bytes | None:
        """Return the side that has this name; of several under one UETR the newest that was begun here."""
        with self._file.begin() as txn:
            return self._named(txn, _UETR + uetr if uetr else _HASHLOCK + hashlock)

    def parties_under(self, uetrs: Iterable[bytes]) -> dict[bytes, bytes | None]:
        """Return what `party_of` says of each of these UETRs."""
        with self._file.begin() as txn:
            return {uetr: self._named(txn, _UETR + uetr) for uetr in uetrs}

    def known_hashes(self, hashlocks: Iterable[bytes]) -> frozenset[bytes]:
        """Return those of these hashlocks under which a side was begun or accepted here."""
        with self._file.begin() as txn:
            found = [each for each in hashlocks if txn.get(_HASHLOCK + each, db=self._names) is not None]
        return frozenset(found)

    def first_known(self, parties: Iterable[bytes]) -> bytes | None:
        """Return the first of these parties whose side was begun or accepted here."""
        with self._file.begin() as txn:
            return next((each for each in parties if self._number_of(txn, each)), None)

    def newest(self, limit: int, before: int = 0) -> tuple[list[bytes], int]:
        """Return up to ``limit`` parties, the newest first, below a number (0: the end), and the number to go on."""
        found: list[bytes] = []
        number = min(before or self._next, self._next)
        with self._file.begin() as txn:
            while number > 1 and len(found) < limit:
                number -= 1
                party = self._begun_by(txn, number)
                if party is not None:
                    found.append(party)
        return found, number if number > 1 else 0

    def _entries(self, txn: lmdb.Transaction[bytes], number: bytes) -> Iterator[Entry]:
        for _, data in self._from(txn, self._swaps, number + bytes((_ENTRY,))):
            yield decode_entry(data)

    @staticmethod
    def _from(txn: lmdb.Transaction[bytes], database: lmdb._Database, start: bytes) -> Iterator[Row]:
        """Yield the rows whose key begins with this."""
        with txn.cursor(database) as cursor:
            more = cursor.set_range(start)
            while more and bytes(cursor.key()).startswith(start):
                yield bytes(cursor.key()), bytes(cursor.value())
                more = cursor.next()

    def _read_shared(self, txn: lmdb.Transaction[bytes], name: bytes) -> bytes:
        data = txn.get(name, db=self._shared)
        if data is None or hashlib.sha256(data).digest() != name:
            raise EncodingError("note that is kept for many", name.hex(), "the digest of what is kept")
        return bytes(data)

    def _named(self, txn: lmdb.Transaction[bytes], name: bytes) -> bytes | None:
        data = txn.get(name, db=self._names)
        return None if data is None else self._begun_by(txn, _NUMBER.unpack(data)[0])

    def _begun_by(self, txn: lmdb.Transaction[bytes], number: int) -> bytes | None:
        """Return the party whose side has this number."""
        data = txn.get(_ENTRY_KEY.pack(number, _ENTRY, 0), db=self._swaps)
        return None if data is None else decode_entry(bytes(data)).party


def _give_number(party: bytes, taken: Taken) -> int:
    number = taken.numbers[party] = taken.next_number
    taken.next_number += 1
    return number


def _key_of(row: Row) -> bytes:
    return row[0]


def _place_of(note: Note) -> tuple[int, int]:
    return note.leg, note.kind


def _put_all(
    txn: lmdb.Transaction[bytes], database: lmdb._Database, rows: Sequence[Row], *, overwrite: bool = True
) -> None:
    """Write rows with one call; a later one replaces an earlier one, or none replaces any."""
    with txn.cursor(database) as cursor:
        cursor.putmulti(rows, overwrite=overwrite)
