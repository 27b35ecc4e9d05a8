"""A bridge against its counterparties, its disk and its own past: what each could do to money, and that it cannot."""

from __future__ import annotations

import asyncio
import os

from bridge.desk_book import Tier
from bridge.ports import Outcome, Timing
from bridge.refusals import BridgeCode
from bridge.watcher import Watcher
from clearspan.bridging import process
from clearspan.bridging.chains.opening import RelayPast
from clearspan.bridging.chains.served import Chains
from clearspan.bridging.journal.store import JOURNAL_FOLDER, JournalStore
from clearspan.bridging.lines.relay import FinalBlock
from clearspan.bridging.market.corridors import Corridors
from clearspan.bridging.settings.offers import OfferedAccount, OfferedPair, Offers, render_offers
from clearspan.v1 import bridge_pb2
from engine.data_directory import DataDirectory
from engine.record import Transfer
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, PAYER, S, account, document
from tests.behaviour.bridging_world import World, hops, play, refused
from tests.behaviour.fakes import until

EFFECT = 60


class Announced:
    """A document that the relay announced: in effect from a height on that a new process has not heard of."""

    def __init__(self, papers) -> None:
        self.papers = papers

    def __getattr__(self, name: str):
        return getattr(self.papers, name)

    def record(self, effect: int):
        return self.papers.record(EFFECT * effect)


async def until_ended(world) -> None:
    """Let time pass until no swap runs."""
    for _ in range(6):
        world.time_passes(15)
        await asyncio.sleep(0.03)  # the engines' own ticks
        await world.run()
        if not any(map(len, (engine.book for engine in world.engines.values()))):
            return
    raise AssertionError([swap.timeline for engine in world.engines.values() for swap in engine.book])


# What a restart knows.


def test_a_bridge_stands_again_under_a_corridor_that_the_relay_announced(tmp_path) -> None:
    """What was in effect when a swap was written down is in effect at once after a restart, before any block."""

    async def body(world) -> None:
        world.height = EFFECT
        world.time_passes(0)
        swap = world.bridge().begin(world.order())
        await world.run(hold_back=True)
        for participant in (PAYER, FIRST):
            await world.close(participant)
            engine = world.open(participant)
            assert engine.corridors.height >= EFFECT
            assert [each.swap for each in engine.book] == [swap.swap]

    play(tmp_path, body, tuple(map(Announced, hops())))


def test_a_bridge_stands_again_without_the_document_of_a_running_swap(tmp_path) -> None:
    """A file that is lost costs what was not begun yet: nothing is locked and no secret shown; claims and refunds go on."""

    async def body(world) -> None:
        revealed = world.bridge().begin(world.order(1_000))
        await world.run()
        assert revealed.outcome is Outcome.SETTLED
        known = world.bridge().begin(world.order(1_000, uetr=b"b" * 16))
        await world.run(hold_back=True)
        assert world.reveals
        world.silent = True
        waiting = world.bridge().begin(world.order(1_000, uetr=b"c" * 16))
        await world.run(hold_back=True)
        world.silent, papers, world.documents = False, world.documents, ()
        for participant in (PAYER, FIRST):
            await world.close(participant)
            world.open(participant)
        assert len(world.engines[PAYER].book) == 2
        await world.run()
        assert world.engines[PAYER].book.find(known.swap).outcome is Outcome.SETTLED
        assert world.engines[PAYER].book.find(waiting.swap).preimage == b""
        # Its lock never came to the ledger: that it never will is known some time after its timelock.
        world.end_locks(None)
        world.time_passes(100)
        await until_ended(world)
        assert world.engines[PAYER].book.find(waiting.swap).outcome is Outcome.ABANDONED and papers
        assert world.balances[HKD, account(FIRST, HKD)] < 10**12
        assert sum(value for (ledger, _), value in world.balances.items() if ledger == HKD) == world.total[HKD]

    play(tmp_path, body)


def test_a_corridor_that_cannot_be_written_is_not_forgotten(tmp_path, monkeypatch) -> None:
    """On a full disk it is in effect all the same, its block counts as unread, and the file comes with a later block."""
    announced = document().record(7)

    async def body(world) -> None:
        engine = world.engines[PAYER]
        engine.corridors.book = type(engine.corridors.book)()
        full = [True]
        save = Corridors._save

        def failing(self, corridor) -> None:
            if full[0]:
                raise OSError(28, "no space left on device")
            save(self, corridor)

        monkeypatch.setattr(Corridors, "_save", failing)
        engine.on_block(FinalBlock(9, world.now, (), (announced,)))
        assert engine.corridors.between(document().source_ledger, HKD).version == 1
        engine.on_block(FinalBlock(256, world.now, ()))
        await engine.committed()
        assert engine.store.relay_height < 9 and not list(engine.corridors._folder.glob("*.json"))
        full[0] = False
        engine.on_block(FinalBlock(512, world.now, ()))
        await engine.committed()
        assert engine.store.relay_height == 512
        assert len(Corridors(engine.corridors._folder).book.all_in_effect(9)) == 1

    play(tmp_path, body)


# The same again.


def test_an_order_that_is_sent_again_is_not_paid_again(tmp_path) -> None:
    """While it runs, after it settled, and after a restart; what was refunded may be ordered again under its UETR."""

    async def body(world) -> None:
        order = world.order(1_000)
        first = world.bridge().begin(order)
        assert first.swap.hex() in refused(BridgeCode.DUPLICATE_SWAP, world.bridge().begin, order).text
        await world.run()
        assert first.outcome is Outcome.SETTLED
        paid = world.balances[HKD, account(31, HKD)]
        for _ in range(2):
            error = refused(BridgeCode.DUPLICATE_SWAP, world.bridge().begin, order)
            assert first.swap.hex() in error.text
            await world.close(PAYER)
            world.open(PAYER)
        await world.run()
        assert world.balances[HKD, account(31, HKD)] == paid
        again = world.order(1_000, uetr=b"b" * 16)
        held = world.bridge().begin(again)
        await world.run(hold_back=True)
        world.reveals.clear()
        world.end_locks(None)
        world.time_passes(90)
        await world.run()
        assert held.outcome is Outcome.REFUNDED
        await world.close(PAYER)
        world.open(PAYER)
        # The provider's side of somebody else's swap under the same UETR changes nothing for ours.
        second = world.bridge().begin(world.order(1_000, uetr=b"b" * 16))
        await world.run()
        assert second.outcome is Outcome.SETTLED
        refused(BridgeCode.DUPLICATE_SWAP, world.bridge().begin, world.order(1_000, uetr=b"b" * 16))
        assert world.engines[PAYER].store.named(uetr=b"b" * 16) == second.party

    play(tmp_path, body)


# What leaves, and when.


def test_nothing_leaves_while_the_disk_takes_nothing(tmp_path) -> None:
    """However long a commit waits, what it holds is not sent: not at first and not as a repetition."""

    async def body(world) -> None:
        sent: list[Transfer] = []
        payer = world.engines[PAYER]
        swap = world.bridge().begin(world.order(10_007))
        open_disk = asyncio.Event()
        append = payer.store.append

        async def waiting(written) -> None:
            if written.beside and any(data is not None for _, data in written.beside):
                await open_disk.wait()
            await append(written)

        def submit(line, digest, record):
            sent.append(Transfer.decode(record))
            World.submit(world, line, digest, record)

        world.submit = submit
        payer.store.append = waiting
        for _ in range(3):
            await asyncio.sleep(0.02)  # the engine's own ticks
            world.now += 6 * S
        assert sent == []
        open_disk.set()
        await world.run()
        assert sent and swap.legs[0].record == sent[0].encode()

    play(tmp_path, body, hops(premium_volatility_ppb=9_000_000))


def test_a_premium_is_sent_again_only_when_it_is_durable(tmp_path) -> None:
    """The premium of a swap that locked already: its row is being written for longer than the pause between sendings."""

    async def body(world) -> None:
        payer, sent = world.engines[PAYER], []
        world.bridge().begin(world.order(10_007))
        open_disk, full = asyncio.Event(), []
        append = payer.store.append

        async def waiting(written) -> None:
            if any(
                data is not None and data[0] == 1 and int.from_bytes(data[16:24], "little")
                for _, data in written.beside
            ):
                full.append(written)
                await open_disk.wait()
            await append(written)

        def submit(line, digest, record):
            transfer = Transfer.decode(record)
            if not transfer.until and transfer.debit_account == account(PAYER, 1):
                sent.append(transfer)
            World.submit(world, line, digest, record)

        world.submit, payer.store.append = submit, waiting
        running = asyncio.create_task(world.run())
        await until(lambda: full)
        for _ in range(4):
            world.now += 6 * S
            await asyncio.sleep(0.03)  # the engine's own ticks
        assert sent == []
        open_disk.set()
        await running
        assert len(sent) == 1

    play(tmp_path, body, hops(premium_volatility_ppb=9_000_000))


# A provider's file of rates.


def test_a_broken_file_of_rates_is_mended_while_the_bridge_runs(tmp_path, monkeypatch) -> None:
    """Tiers out of order leave every rate in force and do not end the reading; a pair that is taken out is withdrawn."""
    monkeypatch.setattr(process, "_OFFERS_S", 0.01)
    path, stamp = tmp_path / "offers.toml", [10**18]

    async def body(world) -> None:
        engine, desk = world.engines[FIRST], world.desks[FIRST]
        accounts = tuple(OfferedAccount(each, account(FIRST, each), 7, 10**12) for each in (CNY, HKD))

        async def write(*pairs: OfferedPair) -> None:
            path.write_text(render_offers(Offers(accounts, pairs)), encoding="utf-8")
            stamp[0] += 10**9
            os.utime(path, ns=(stamp[0], stamp[0]))
            await asyncio.sleep(0.1)

        await write(OfferedPair(CNY, HKD, (Tier(1, 1097, 1000),)))
        following = asyncio.create_task(process._follow_offers(path, desk, engine))
        await asyncio.sleep(0.05)
        out_of_order = OfferedPair(HKD, CNY, (Tier(5, 2, 1), Tier(5, 3, 1)))
        await write(OfferedPair(CNY, HKD, (Tier(1, 5, 1),)), out_of_order)
        assert not following.done() and desk.desk.posted(world.now) == {(CNY, HKD)}
        assert desk.desk.book.rates[CNY, HKD].tiers == (Tier(1, 1097, 1000),)
        await write(OfferedPair(HKD, CNY, (Tier(1, 2, 1),)))
        assert desk.desk.posted(world.now) == {(HKD, CNY)}
        refused(BridgeCode.NO_ROUTE, world.quotes)
        following.cancel()

    play(tmp_path, body)


def test_the_secrets_of_open_swaps_are_for_their_owner_alone(tmp_path) -> None:
    """The journal holds salts: whoever reads one shows the secret while only the payer has locked."""
    with DataDirectory(tmp_path / "data", kind="bridge", genesis_hash=b"g" * 32) as directory:
        store = JournalStore(directory.path / JOURNAL_FOLDER, 1 << 24)
        store.close()
        assert (directory.path / JOURNAL_FOLDER).stat().st_mode & 0o077 == 0


def test_others_leave_room_for_what_this_participant_pays(tmp_path) -> None:
    """An accepted swap has locked nothing yet: of so many the half is theirs, and the half of that one payer's."""

    async def body(world) -> None:
        engine = world.engines[FIRST]
        engine.book._swaps_max = 8
        world.silent = True
        for number in range(4):
            world.bridge().begin(world.order(100, uetr=bytes([number]) * 16))
        asked = [
            bridge_pb2.Acceptance(
                terms=swap.terms.encode(), leg=1, quote=swap.quotes[0], lock_record=lock_of(world, swap)
            )
            for swap in world.engines[PAYER].book
        ]
        waiting = asyncio.create_task(world.accepting[FIRST].accept(asked, PAYER))
        await until(lambda: len(engine.book) == 2)
        draws = dict(world.desks[FIRST].desk.book.draws)
        answers = world.accepting[FIRST]._tried(asked, PAYER)
        assert [getattr(each, "code", None) for each in answers] == [None, None, *[BridgeCode.LIMITS_EXCEEDED] * 2]
        assert world.desks[FIRST].desk.book.draws == draws
        world.silent = False
        world.time_passes(100)
        await world.run()
        assert not engine.book._accepted and not engine.book._of_payer and len(engine.book) == 0
        waiting.cancel()

    play(tmp_path, body)


def lock_of(world, swap) -> bytes:
    machine = world.engines[PAYER].watcher.machine(swap.party)
    return world.engines[PAYER].legs.own_record(swap, machine.locking_at_ns)


def test_a_secret_that_was_out_before_a_restart_serves_nobody(tmp_path) -> None:
    """With it the provider's lock is claimed on a ledger that lags behind the relay, and what pays him never is."""
    heard: list[int] = []

    async def body(world) -> None:
        swap = world.bridge().begin(world.order())
        await world.run()
        provider = RelayPast(tmp_path, Chains(), provides=True)
        provider.listening(lambda block: heard.append(block.height))(FinalBlock(9, world.now, (swap.preimage,)))
        provider.close()
        again = RelayPast(tmp_path, Chains(), provides=True)
        assert heard == [9] and again.height(7) == 7 and not again.is_whole
        fresh = Watcher(1, world.engines[FIRST].corridors.margins_of, Timing())
        again.teach(fresh, world.now)
        again.close()
        refused(BridgeCode.ALREADY_REVEALED, fresh.accept, swap.terms, 1, world.now)
        # Chains are added later: what was not read from the beginning is not taken for the whole.
        assert RelayPast(tmp_path, (None,)).height(9) == 0

    play(tmp_path, body)
