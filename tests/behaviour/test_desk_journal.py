"""The desk's journal (QUOTE-19, QUOTE-30): a snapshot takes the place of what came before it, whenever the process ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bridge.desk import QuoteRequest, Wanted
from bridge.desk_book import Tier, is_snapshot
from bridge.leg import HashFunction
from clearspan.bridging.journal import store as store_module
from clearspan.bridging.journal.store import JournalStore, Written
from clearspan.bridging.market import desk as desk_module
from clearspan.bridging.market.desk import ProviderDesk
from clearspan.bridging.settings.offers import OfferedAccount, OfferedPair, Offers
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, NOW, PAYER, S, account, document
from tests.behaviour.test_desk import contents

OFFERS = Offers(
    tuple(OfferedAccount(each, account(FIRST, each), 7, 10**12) for each in (CNY, HKD)),
    (OfferedPair(CNY, HKD, (Tier(1, 109, 100),)),),
)
PAPER = document(premium_volatility_ppb=0, quote_s=1)


def provider() -> ProviderDesk:
    keys = SimpleNamespace(domain_of=int, sign=lambda *_: bytes(64))
    network = SimpleNamespace(hash_suite=1, hash=bytes(32))
    return ProviderDesk(network, FIRST, keys, SimpleNamespace(between=lambda *_: PAPER), OFFERS)


def party(number: int) -> bytes:
    return number.to_bytes(32, "big")


def work(made: ProviderDesk, first: int, last: int, *, open_ones: int = 3) -> None:
    """Draw and end swaps; every so often one stays open, and quotes expire as time goes on."""
    for number in range(first, last):
        now = NOW + number * S // 50
        made.release(now)
        quote = made.quote(QuoteRequest(PAYER, 1_000, False, 30), CNY, HKD, now).quote
        made.draw(quote, party(number), Wanted(PAYER, 500, HashFunction.SHA256, 30, now, onward=number % 3))
        if number % 50 >= open_ones:
            made.end(party(number), claimed=number % 2 == 0)


@pytest.fixture
def small(monkeypatch) -> None:
    """Snapshots after few entries, and few rows taken away at once, so that many ends lie in between."""
    monkeypatch.setattr(desk_module, "_SNAPSHOT_LEAST", 400)
    monkeypatch.setattr(desk_module, "_SNAPSHOT_FACTOR", 1)
    monkeypatch.setattr(store_module, "_DESK_PRUNED_AT_ONCE", 20)


def opened(path) -> JournalStore:
    return JournalStore(path / "bridge", 1 << 26)


def restored(store: JournalStore) -> ProviderDesk:
    made = provider()
    made.restore(store.desk_entries())
    return made


async def keep(store: JournalStore, made: ProviderDesk) -> bool:
    """Write what is to be written; say whether a snapshot was among it."""
    entries = made.take_entries()
    await store.append(Written(desk=entries))
    return any(map(is_snapshot, entries))


def rows(store: JournalStore) -> list[bytes]:
    """All that lies in the table, whether it counts or not."""
    with store._file.begin() as txn, txn.cursor(store._desk) as cursor:
        return [bytes(value) for _, value in cursor]


def test_the_desk_is_the_same_whenever_the_process_ends(tmp_path, small) -> None:
    """After every commit, also between a snapshot and the last row that it replaced: the desk is made again as it was."""

    async def body() -> None:
        store, made = opened(tmp_path), provider()
        made.post(OFFERS, NOW)
        snapshots = interrupted = 0
        for step in range(120):
            work(made, step * 5, step * 5 + 5)
            snapshots += await keep(store, made)
            interrupted += any(is_snapshot(row) for row in rows(store)[1:])
            # Nothing is read that a snapshot has replaced, and the snapshot itself is never taken away.
            read = list(store.desk_entries())
            assert is_snapshot(read[0]) == bool(snapshots) and not any(map(is_snapshot, read[1:]))
            # What a SIGKILL leaves is what was committed: another process finds it so.
            store.close()
            store = opened(tmp_path)
            again = restored(store)
            assert contents(again.desk) == contents(made.desk)
            if step % 4 == 3:
                made = again  # and goes on from it
        assert snapshots >= 3 and interrupted > snapshots, "most ends came before the last row was taken away"
        assert len(rows(store)) < 1_000, "what has ended is gone"
        store.close()

    asyncio.run(body())


def test_a_snapshot_is_one_commit_or_none(tmp_path, small, monkeypatch) -> None:
    """A commit that fails in the midst of a snapshot leaves the entries before it, and nothing of it."""

    async def body() -> None:
        store, made = opened(tmp_path), provider()
        made.post(OFFERS, NOW)
        work(made, 0, 15)
        await keep(store, made)
        before = contents(restored(store).desk)
        work(made, 15, 240)
        with monkeypatch.context() as broken:

            def prune(*_) -> int:
                raise OSError("the power goes out")

            broken.setattr(store, "_prune_desk", prune)
            entries = made.take_entries()
            assert any(is_snapshot(each) for each in entries)
            with pytest.raises(OSError, match="power"):
                await store.append(Written(desk=entries))
        store.close()
        store = opened(tmp_path)
        assert contents(restored(store).desk) == before
        assert not any(is_snapshot(each) for each in rows(store))
        store.close()

    asyncio.run(body())


def test_a_draw_whose_swap_has_ended_is_ended_at_the_start() -> None:
    """A swap's end and its draw's are two commits: between them a kill leaves a draw that nobody would end."""
    made = provider()
    made.post(OFFERS, NOW)
    work(made, 0, 3)
    assert set(made.desk.book.draws) == {party(0), party(1), party(2)}
    made.take_entries()
    made.settle({party(0): True, party(1): False, party(2): None}.get)
    assert set(made.desk.book.draws) == {party(2)} and len(made.take_entries()) == 2
    assert made.desk.inventory(CNY) == 10**12 + 500 + 1, "one was claimed; the other's premium onward was spent"


def test_a_ledger_that_a_running_desk_did_not_know_gets_its_inventory() -> None:
    """An account added to the file later is promised from; what the desk knows already moves with its swaps alone."""
    made = provider()
    made.post(replace(OFFERS, accounts=OFFERS.accounts[:1]), NOW)
    known, added = (each.ledger for each in OFFERS.accounts[:2])
    made.desk.set_inventory(known, 7)
    made.post(OFFERS, NOW)
    assert made.desk.inventory(known) == 7
    assert made.desk.inventory(added) == OFFERS.accounts[1].inventory > 0
