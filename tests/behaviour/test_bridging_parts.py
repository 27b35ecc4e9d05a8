"""Parts of the bridge's process that need no process: journal, files, legs by their digests."""

from __future__ import annotations

import asyncio

import pytest

from bridge.desk_book import Tier
from bridge.ports import Entry, EntryKind
from bridge.rates import Rate
from clearspan.bridging.journal.book import LegPart, LegRecord, OpenSwap, SwapBook
from clearspan.bridging.journal.store import JournalStore, Names, Note, Written
from clearspan.bridging.market.corridors import Corridors, corridor_file, read_folder
from clearspan.bridging.settings.config import BRIDGE
from clearspan.bridging.settings.directory import BridgeDirectory, BridgeEntry, BridgeKey, render_bridges
from clearspan.bridging.settings.offers import OfferedAccount, OfferedPair, Offers, read_offers, render_offers
from clearspan.errors import ConfigError
from engine.governance import Corridor
from engine.prefix import record_digest
from engine.record import Transfer, derived_claim, derived_refund
from engine.types import TransferFlag, TransferKind

MAP_BYTES = 1 << 28


def party(number: int) -> bytes:
    return number.to_bytes(32, "big")


def begun(number: int) -> Entry:
    return Entry(EntryKind.BEGUN, party(number), 0, 5, bytes(64))


def finished(number: int) -> Entry:
    return Entry(EntryKind.FINISHED, party(number), 1, 6, b"\1\0\0")


def written(number: int) -> Written:
    names = Names(party(number), number.to_bytes(16, "big"), party(number)[::-1])
    return Written([begun(number)], [Note(party(number), 1, 1, b"note")], [names], [b"desk%d" % number], number)


def test_what_was_appended_is_there_after_a_restart(tmp_path):
    """Goal: entries, notes, names, desk and relay height survive. Method: append, close, open, read."""

    async def work():
        store = JournalStore(tmp_path / "bridge", MAP_BYTES)
        await asyncio.gather(*(store.append(written(number)) for number in range(1, 201)))
        await store.append(Written([finished(7)]))
        assert store.commits < 20, "entries of many swaps share a sync"
        store.close()

    asyncio.run(work())
    store = JournalStore(tmp_path / "bridge", MAP_BYTES)
    restored = list(store.restore())
    assert [entry.party for entry in restored] == [party(each) for each in range(1, 201) if each != 7]
    assert [entry.kind for entry in store.entries_of(party(7))] == [EntryKind.BEGUN, EntryKind.FINISHED]
    assert store.notes_of(party(3)) == [Note(party(3), 1, 1, b"note")]
    assert store.named(uetr=(3).to_bytes(16, "big")) == party(3)
    assert store.named(hashlock=party(3)[::-1]) == party(3)
    assert len(list(store.desk_entries())) == 200
    assert store.relay_height == 200
    newest, place = store.newest(3)
    older, end = store.newest(500, place)
    assert (len(newest), len(older), end) == (3, 197, 0)
    assert set(newest) | set(older) == {party(each) for each in range(1, 201)}
    store.close()


def test_the_relay_height_never_goes_back(tmp_path):
    """Goal: a late batch does not undo a position. Method: heights out of order."""

    async def work():
        store = JournalStore(tmp_path / "bridge", MAP_BYTES)
        for height in (5, 9, 0, 7):
            await store.append(Written([], [Note(party(height), 0, 1, b"x")], [], [], height))
        assert store.relay_height == 9
        store.close()

    asyncio.run(work())


def test_offers_are_read_as_they_were_written(tmp_path):
    """Goal: one account number on two ledgers keeps two keys. Method: render, read, ask."""
    offers = Offers(
        (OfferedAccount(156, 1 << 96, 7, 100), OfferedAccount(344, 1 << 96, 9)),
        (OfferedPair(156, 344, (Tier(1, 27, 25), Tier(1000, 11, 10))),),
    )
    path = tmp_path / "offers.toml"
    path.write_text(render_offers(offers), encoding="utf-8")
    found = read_offers(path)
    assert found == offers
    assert (found.key_of(156, 1 << 96), found.key_of(344, 1 << 96), found.key_of(156, 5)) == (7, 9, 0)
    assert read_offers(tmp_path / "missing.toml") == Offers()
    assert found.pairs[0].tiers[0].rate == Rate.of(27, 25)


@pytest.mark.parametrize(
    "text",
    [
        "format = 2",
        "format = 1\n[[account]]\nledger = 1",
        'format = 1\n[[pair]]\nsource=1\ntarget=2\nvalid_s=1\ntiers=["x"]',
    ],
)
def test_offers_that_say_nothing_clear_are_refused(tmp_path, text):
    """Goal: a mistyped file never quotes. Method: each kind of mistake, with its place named."""
    path = tmp_path / "offers.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="offers"):
        read_offers(path)


def test_bridges_are_found_and_a_broken_file_changes_nothing(tmp_path):
    """Goal: peers survive a bad edit. Method: a good file, a new entry, a broken one."""
    path = tmp_path / "bridges.toml"
    one = BridgeEntry(5001, "5001", "127.0.0.1", 7431, provides=True, keys=(BridgeKey(1, 17, 1, bytes(range(32))),))
    path.write_text(render_bridges([one]), encoding="utf-8")
    directory = BridgeDirectory(path)
    assert directory.target(5001) == "127.0.0.1:7431"
    key = directory.entry(5001).signing_key(17)
    assert (key.participant, key.public_key[:32]) == (5001, bytes(range(32)))
    assert directory.entry(5001).signing_key(18) is None
    path.write_text(render_bridges([one, BridgeEntry(6001, "6001", "127.0.0.1", 0, provides=False)]), encoding="utf-8")
    assert directory.refresh()
    assert directory.target(6001) is None, "its port is chosen at its start"
    path.write_text("format = 1\n[[bridge]]\n", encoding="utf-8")
    assert not directory.refresh()
    assert {each.participant for each in directory.entries} == {5001, 6001}


def test_a_corridor_that_is_none_is_left_out(tmp_path):
    """Goal: a damaged file in the folder stops nothing. Method: bytes that are no document."""
    record = Corridor(bytes(15) + b"\1", 1, 5, b"{}")
    (tmp_path / corridor_file(record)).write_bytes(record.document)
    (tmp_path / "notes.txt").write_text("not ours", encoding="utf-8")
    assert list(read_folder(tmp_path)) == []
    corridors = Corridors(tmp_path)
    corridors.take([record], 9)
    assert corridors.height == 9
    assert corridors.book.all_in_effect(9) == ()


@pytest.mark.parametrize("sm3", [False, True])
def test_digests_of_claims_and_refunds_are_those_of_the_ledger(sm3):
    """Goal: what is waited for is what the ledger derives. Method: the bytes of the book against the engine's records."""
    flags = TransferKind.LOCK | (TransferFlag.HASH_IS_SM3 if sm3 else 0)
    lock = Transfer(
        id=5, debit_account=1 << 96, credit_account=2 << 96, amount=7, ledger=156, key_id=9, expires_at=10**18,
        valid_for_s=60, user_data=11, until=2 * 10**18, code=3, flags=int(flags), binding=b"h" * 32,
    )  # fmt: skip
    prefix, preimage = b"T" * 32, b"p" * 32
    book = SwapBook(1, prefix)
    swap = OpenSwap(party(1), party(2), 0, None, (), [LegRecord()], 0, preimage=preimage)
    record = lock.encode()
    own = record_digest(1, prefix, record)
    claim = record_digest(1, prefix, derived_claim(1, lock, own, preimage).encode())
    refund = record_digest(1, prefix, derived_refund(1, lock, own).encode())
    assert book.know_lock(swap, 0, record) == [own, refund, claim]
    assert [book.whose(each)[2] for each in (own, claim, refund)] == [LegPart.LOCK, LegPart.CLAIM, LegPart.REFUND]
    assert book.know_lock(swap, 0, record) == []


def test_a_leg_note_gives_back_what_was_seen():
    """Goal: a restart knows where a foreign party's lock stood. Method: the note's bytes, both ways."""
    leg = LegRecord(record=bytes(range(160)), shard=257, height=9, final_at=11, ended_at=12, end=b"e" * 32)
    found = LegRecord()
    found.read_note(leg.note())
    assert (found.record, found.shard, found.height, found.end) == (leg.record, 257, 9, b"e" * 32)


def test_settings_are_written_and_read_back():
    """Goal: every key has a place in the file. Method: render and parse."""
    config = BRIDGE.parse(b'format = 1\n[bridge]\ngenesis = "g"\nparticipant = 5\n', "bridge.toml")
    assert BRIDGE.parse(BRIDGE.render(config).encode(), "bridge.toml") == config
    with pytest.raises(ConfigError, match="unknown key"):
        BRIDGE.parse(b'format = 1\n[bridge]\ngenesis = "g"\nparticipant = 5\ncolour = 1\n', "bridge.toml")
