"""The journal's rows: sides by the order in which they begin, names, notes that many share, formats that are refused."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import closing

import pytest

from bridge.journal import encode_entry, finished_body
from bridge.ports import Entry, EntryKind, Outcome
from bridge.terms import leg_digest
from clearspan.bridging.journal import rows
from clearspan.bridging.journal.past import Past
from clearspan.bridging.journal.store import JournalStore, Names, Note, Written
from engine.errors import DiskFull, FormatMismatch
from engine.lmdb_file import LmdbFile
from engine.refusals import EncodingError

MAP_BYTES = 1 << 28


def party(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(4, "big")).digest()


def hashlock(number: int) -> bytes:
    return party(number)[::-1]


def uetr(number: int) -> bytes:
    return number.to_bytes(16, "big")


def begun(number: int, *, is_payer: bool = True, of: int | None = None, under: int | None = None) -> Written:
    """A side that begins; ``of`` is whose hashlock it has, ``under`` whose UETR, if another's."""
    names = Names(
        party(number),
        uetr(number if under is None else under),
        hashlock(number if of is None else of),
        is_payer=is_payer,
    )
    return Written([Entry(EntryKind.BEGUN, party(number), 0, number, bytes(400))], (), [names])


def entry(number: int, at: int, kind: EntryKind, body: bytes) -> Written:
    return Written([Entry(kind, party(number), at, 9, body)])


def finished(number: int, at: int = 1) -> Written:
    return entry(number, at, EntryKind.FINISHED, finished_body(Outcome.SETTLED, 0))


def opened(folder) -> JournalStore:
    return JournalStore(folder / "bridge", MAP_BYTES)


def append(store: JournalStore, *commits: Written) -> None:
    async def work() -> None:
        for each in commits:
            await store.append(each)

    asyncio.run(work())


def test_sides_come_back_in_the_order_in_which_they_began(tmp_path) -> None:
    """Whatever their names are, and whether this process or the one before began them."""
    with closing(opened(tmp_path)) as store:
        append(store, *(begun(number) for number in range(40)), finished(7))
    with closing(opened(tmp_path)) as store:
        append(store, *(begun(number) for number in range(40, 50)), finished(3), finished(41))
        open_ones = [number for number in range(50) if number not in (3, 7, 41)]
        assert [each.party for each in store.restore()] == [party(number) for number in open_ones]
        assert [each.kind for each in store.entries_of(party(41))] == [EntryKind.BEGUN, EntryKind.FINISHED]
        pages, place = [], 0
        while True:
            found, place = store.newest(20, place)
            pages.append(found)
            if not place:
                break
        assert sum(pages, []) == [party(number) for number in reversed(range(50))]
        assert store.newest(5, 2**63) == store.newest(5), "a place beyond the end is the end"


def test_entries_of_one_side_stay_in_order_among_those_of_others(tmp_path) -> None:
    with closing(opened(tmp_path)) as store:
        append(store, begun(1), begun(2), entry(2, 1, EntryKind.ASKING, b"\1"), entry(1, 1, EntryKind.ASKING, b"\1"))
        many = [entry(1, at, EntryKind.CLAIMING, b"\1") for at in range(2, 300)]
        append(store, *many)
        assert [each.number for each in store.entries_of(party(1))] == list(range(300))
        assert [each.number for each in store.restore()] == [*range(300), 0, 1]
        assert not store.entries_of(party(3))


def test_a_hash_leads_to_its_first_side_and_a_uetr_to_the_newest_begun_here(tmp_path) -> None:
    with closing(opened(tmp_path)) as store:
        append(store, begun(1), begun(2, is_payer=False, of=1, under=1), begun(3, of=1, under=1))
        assert store.named(hashlock=hashlock(1)) == party(1)
        assert store.named(uetr=uetr(1)) == party(3)
        append(store, begun(4, is_payer=False, under=1))
        assert store.named(uetr=uetr(1)) == party(3), "a side that was accepted takes the name of none that was begun"
        assert store.named_under([uetr(1), uetr(9)]) == {uetr(1): party(3), uetr(9): None}
        assert store.known_hashes([hashlock(1), hashlock(4), hashlock(9)]) == {hashlock(1), hashlock(4)}
        assert store.first_known([party(8), party(4), party(1)]) == party(4)
        assert store.first_known([party(8)]) is None and store.named(hashlock=hashlock(9)) is None
    with closing(opened(tmp_path)) as store:
        assert store.named(uetr=uetr(1)) == party(3) and store.named(hashlock=hashlock(1)) == party(1)


def test_a_side_is_found_by_its_swap_whatever_its_leg_is(tmp_path) -> None:
    """The journal has no name for a swap's digest: its sides follow from it."""
    swap = party(77)
    side = leg_digest(1, swap, 3)
    with closing(opened(tmp_path)) as store:
        names = Names(side, uetr(5), hashlock(5))
        append(store, Written([Entry(EntryKind.ACCEPTED, side, 0, 1, bytes(40))], (), [names]))
        past = Past(store, None, 1)
        assert past.party_of(swap) == past.find(swap, b"") == past.find(b"", uetr(5)) == side
        assert past.party_of(party(78)) is None


def test_what_many_notes_say_is_kept_once(tmp_path) -> None:
    """A quote is that of a hundred swaps. Method: the file's rows, and every note read back."""
    route, other = b"q" * 320, b"r" * 320
    with closing(opened(tmp_path)) as store:
        notes = [Note(party(number), 0, 2, other if number == 5 else route, shared=True) for number in range(20)]
        append(store, *(begun(number) for number in range(20)), Written([], notes))
    with closing(opened(tmp_path)) as store:
        append(store, begun(20), Written([], [Note(party(20), 0, 2, route, shared=True), Note(party(20), 1, 1, b"x")]))
        assert store.notes_of(party(4)) == [Note(party(4), 0, 2, route, shared=True)]
        assert [note.data for note in store.notes_of(party(5))] == [other]
        assert [note.data for note in store.notes_of(party(20))] == [route, b"x"]
    with closing(LmdbFile(tmp_path / "bridge", map_bytes_max=MAP_BYTES, named_max=12)) as file:
        shared = file.named(b"shared")
        with file.begin() as txn:
            assert txn.stat(shared)["entries"] == 2
        name = hashlib.sha256(route).digest()
        file.write(lambda txn: txn.put(name, b"s" * 320, db=shared), pages=1)
    with closing(opened(tmp_path)) as store:
        assert [note.data for note in store.notes_of(party(5))] == [other]
        with pytest.raises(EncodingError):
            store.notes_of(party(4))


def test_a_later_note_replaces_an_earlier_one_also_within_a_commit(tmp_path) -> None:
    with closing(opened(tmp_path)) as store:
        first, second = Note(party(1), 1, 1, b"first"), Note(party(1), 1, 1, b"second")
        append(store, begun(1), Written([], [first, second]))
        assert store.notes_of(party(1)) == [second]
        append(store, finished(1), Written([], [first]))
        assert store.notes_of(party(1)) == [first], "also of a side that has ended"


def test_notes_of_a_party_that_began_nothing_are_kept_apart(tmp_path) -> None:
    """A premium that went back is a note of a swap that was refused; one that begins later has both."""
    back, leg = Note(party(1), 255, 4, b"back"), Note(party(1), 0, 1, b"leg")
    with closing(opened(tmp_path)) as store:
        append(store, Written([], [back]))
        assert store.notes_of(party(1)) == [back] and not store.entries_of(party(1))
        assert store.newest(5) == ([], 0) and not list(store.restore())
        append(store, begun(1)._replace(notes=[leg]))
        assert store.notes_of(party(1)) == [leg, back]


def test_a_commit_that_failed_leaves_no_number_behind(tmp_path) -> None:
    """The disk was full: the same rows are written later, and nothing of the first attempt counts."""
    with closing(opened(tmp_path)) as store:
        append(store, begun(1))
        write, tries = store._file.write, []

        def full_once(action, *, pages: int) -> None:
            def then_full(txn) -> None:
                action(txn)
                if len(tries) == 1:
                    raise DiskFull("bridge", 0)

            tries.append(pages)
            write(then_full, pages=pages)

        store._file.write = full_once
        append(store, begun(2)._replace(notes=[Note(party(2), 0, 2, b"q" * 320, shared=True)]))
        assert len(tries) == 2
        append(store, begun(3))
    with closing(opened(tmp_path)) as store:
        assert [each.party for each in store.restore()] == [party(1), party(2), party(3)]
        assert [each.party for each in store.entries_of(party(2))] == [party(2)]
        assert store.newest(9)[0] == [party(3), party(2), party(1)]
        assert [note.data for note in store.notes_of(party(2))] == [b"q" * 320]


def test_a_row_that_is_not_as_it_was_written_is_refused(tmp_path) -> None:
    with closing(opened(tmp_path)) as store:
        append(store, begun(1), begun(2))
    with closing(LmdbFile(tmp_path / "bridge", map_bytes_max=MAP_BYTES, named_max=12)) as file:
        rows = file.named(b"swaps")
        wrong = bytearray(encode_entry(begun(2).entries[0]))
        wrong[70] ^= 1
        key = (2).to_bytes(8, "big") + bytes(5)
        with file.begin() as txn:
            assert txn.get(key, db=rows) is not None
        file.write(lambda txn: txn.put(key, bytes(wrong), db=rows), pages=1)
    with closing(opened(tmp_path)) as store:
        assert store.entries_of(party(1))
        for read in (lambda: store.entries_of(party(2)), lambda: list(store.restore()), lambda: store.newest(1)):
            with pytest.raises(EncodingError):
                read()


def test_a_journal_of_another_format_is_refused_and_left_alone(tmp_path) -> None:
    """The older one keyed its rows otherwise: what runs there would not be found, so it is not opened at all."""
    with closing(LmdbFile(tmp_path / "bridge", map_bytes_max=MAP_BYTES, named_max=12)) as file:
        marks = file.named(b"marks")
        file.write(lambda txn: txn.put(b"format", b"CSBJ\x01\x00", db=marks), pages=1)
        before = sorted(file.names())
    with pytest.raises(FormatMismatch, match=r"end its swaps.*4353424a0100.*4353424a0200"):
        opened(tmp_path)
    with closing(LmdbFile(tmp_path / "bridge", map_bytes_max=MAP_BYTES, named_max=12)) as file:
        assert sorted(file.names()) == before


def test_what_is_remembered_of_numbers_and_shared_data_is_bounded(tmp_path, monkeypatch) -> None:
    """Memory holds those of late; the file knows the others. Method: room for two of each."""
    monkeypatch.setattr(rows, "_NUMBERS_KEPT_MAX", 2)
    monkeypatch.setattr(rows, "_SHARED_KEPT_MAX", 2)
    with closing(opened(tmp_path)) as store:
        for number in range(9):
            note = Note(party(number), 0, 2, b"%03d" % (number % 4) * 99, shared=True)
            append(store, begun(number)._replace(notes=[note]))
        append(store, *(finished(number) for number in range(0, 9, 2)))
        assert len(store._swaps._numbers) <= 2 and len(store._swaps._known_shared) <= 2
        assert [each.party for each in store.restore()] == [party(number) for number in range(1, 9, 2)]
        assert [note.data for note in store.notes_of(party(6))] == [b"002" * 99]
        assert [len(store.entries_of(party(number))) for number in range(9)] == [2, 1, 2, 1, 2, 1, 2, 1, 2]
