"""The road between the machines and the world: events in, entries to the disk, then what they ask for, in batches.

It promises the one order that everything rests on: what a machine wrote down is durable before anything that follows
leaves this process. Tasks of many swaps are gathered while a commit runs and go on together, so a swap costs no task
and no timer of its own. What a swap may do is its machine's to say (`bridge.watcher`).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from bridge.ports import (
    AcceptanceRefused,
    Accepted,
    EntryKind,
    Journal,
    Timing,
)
from bridge.refusals import BridgeCode, bridge_meaning
from bridge.terms import SwapTerms, hashlocks_of
from bridge.watcher import Watcher
from clearspan.bridging.chains.served import Chains
from clearspan.bridging.journal.alarms import ALARM_ROWS
from clearspan.bridging.journal.book import NoteKind, OpenSwap, SwapBook
from clearspan.bridging.journal.past import Past
from clearspan.bridging.journal.store import Names, Note, Written
from clearspan.bridging.lines.beside import BesideBook, due_of_payer
from clearspan.bridging.lines.legs import OurLegs
from clearspan.bridging.market.premiums import Premiums
from clearspan.bridging.rules.compliance import Compliance
from clearspan.bridging.swaps.acting import Acting
from clearspan.bridging.swaps.chain_legs import ChainLegs, ChainSightings
from clearspan.bridging.swaps.gathering import Gathering
from clearspan.bridging.swaps.looking import LOOKS_AT_ONCE, Looking
from clearspan.bridging.swaps.restoring import Restoring, open_swap_of
from clearspan.bridging.swaps.sightings import Sightings
from clearspan.bridging.swaps.telling import Telling
from engine.codes import CodeClass
from engine.prefix import PrefixType, signing_prefix
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from bridge.leg import LockView
    from bridge.ports import Action, Entry, Event
    from bridge.refusals import BridgeMeaning
    from bridge.routes import Plan
    from clearspan.bridging.journal.store import JournalStore
    from clearspan.bridging.lines.ledgers import LedgerPort, LockAnswer
    from clearspan.bridging.lines.relay import FinalBlock, RelayPort
    from clearspan.bridging.market.corridors import Corridors
    from clearspan.bridging.market.desk import ProviderDesk
    from clearspan.bridging.settings.keys import BridgeKeys
    from clearspan.bridging.swaps.asking import AcceptedLeg, Asking
    from clearspan.client.decisions import FinalDecision
    from engine.genesis import Genesis

    Task = tuple[bytes, Action]

__all__ = ["BridgeEngine"]

_TICK_S: Final = 0.01
_HEIGHT_EVERY: Final = 256
_log = structlog.get_logger("clearspan.bridging")


class BridgeEngine:
    """One participant's swaps. Use from one event loop: ``attach``, ``restore``, ``start``, at the end ``stop``."""

    def __init__(
        self,
        genesis: Genesis,
        participant: int,
        store: JournalStore,
        *,
        corridors: Corridors,
        keys: BridgeKeys,
        desk: ProviderDesk | None = None,
        compliance: Compliance | None = None,
        timing: Timing | None = None,
        swaps_open_max: int = 200_000,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """Put it together; nothing happens before ``start``."""
        self.genesis, self.participant = genesis, participant
        self.store, self.corridors, self.keys, self.desk = store, corridors, keys, desk
        # What the journal's swaps began under is in effect before the first block is heard: heights only grow.
        corridors.height = max(corridors.height, store.relay_height)
        self.now = now
        self.compliance = compliance or Compliance(genesis, participant, corridors)
        suite = genesis.hash_suite
        self.watcher = Watcher(suite, corridors.margins_of, timing or Timing(), swaps_max=swaps_open_max)
        self.book = SwapBook(suite, signing_prefix(suite, PrefixType.TRANSFER, genesis.hash), swaps_open_max)
        self.past = Past(store, self.book, suite)
        self._gathering = Gathering()
        self.telling = Telling(now, self._gathering.wake)
        self.fault: BaseException | None = None
        self.at_step: Callable[[str, EntryKind], None] | None = None
        """Told of each entry when it is written and again when what follows it was done; tests end the process here."""
        self.legs = OurLegs(genesis, self.book, keys, self._gathering.wake)
        self.beside = BesideBook(genesis, keys.key_of, self.legs.windows)
        self.premiums = Premiums((genesis, participant), self.legs, self.beside, store, now)
        self._sightings = Sightings(self.book, self.beside, self.premiums, self.telling)
        self._looking = Looking(self.book, self.legs, self.on_final, self._on_look, now=now, alarm=self.telling.alarm)
        self.acting = Acting(
            self.book,
            self.legs,
            self._gathering,
            beside=self.beside,
            compliance=self.compliance,
            desk=desk,
            telling=self.telling,
            now=now,
        )
        self.chains = Chains()
        self.demand_relay_read: Callable[[], None] = lambda: None
        """Demands that the relay is read up to where it stood at the start. Raises BridgeRefused (relay_not_read)."""
        self._asking: Asking | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def attach(
        self,
        ledgers: Iterable[LedgerPort],
        relay: RelayPort,
        asking: Asking,
        chains: Chains | None = None,
    ) -> None:
        """Take the lines to the world; ``chains`` are those on which legs are served that are not ours."""
        self.legs.attach(ledgers, self._looking.look)
        self.chains = chains or Chains()
        self.chains.attach(ChainSightings(self.book, self.watcher, self._gathering, self.telling, self.now))
        line = ChainLegs(self.chains)
        self.acting.attach(relay, asking, {each.name: line for each in self.chains})
        self.demand_relay_read = relay.demand_read
        self._asking = asking

    def restore_desk(self) -> bool:
        """Make the provider's desk again from the journal; say whether it is a new one."""
        return self.desk is not None and not self.desk.restore(self.store.desk_entries())

    def restore(self) -> int:
        """Make every open swap again from the journal; return how many. Raises EncodingError for one that is broken."""
        self.telling.alarms.restore(self.store.kept(ALARM_ROWS))
        tasks = self.watcher.restore(self.store.restore(), self.now())
        restoring = Restoring(self.store, self.watcher, self.book, self.legs, self._restore_route)
        heard = restoring.swaps()
        self._gathering.take(tasks + self.watcher.on(heard, self.now()))
        self.beside.restore(self.store.beside(), restoring.was_claimed, self.now())
        if self.desk is not None:
            self.desk.settle(restoring.was_claimed)
        for swap in self.book:
            swap.premium = self.premiums.paid_by(swap.party)
        return len(self.book)

    def _restore_route(self, swap: OpenSwap, data: bytes) -> None:
        if self._asking is not None:
            self._asking.restore_route(swap, data)

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        for work in (self._write_and_act, self._tick, *([self._looking.work] * LOOKS_AT_ONCE)):
            self._tasks.append(loop.create_task(self._guarded(work), name=f"bridge-{work.__name__}"))

    async def stop(self) -> None:
        """End between two commits; what was not acted on is in the journal."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.premiums.stop()

    # Swaps begin.

    def begin(
        self,
        terms: SwapTerms,
        salt: bytes,
        quotes: tuple[bytes, ...],
        providers: tuple[int, ...],
        *,
        travel_rule: bytes = b"",
        plan: Plan | None = None,
    ) -> OpenSwap:
        """Begin a swap as its payer; `committed` says when it is durable. Raises BridgeRefused with nothing done."""
        self.legs.demand_lines(terms, range(len(terms.legs)))
        if terms.foreign_leg >= 0:
            self.chains.demand_legs(terms, terms.orders(self.genesis.hash_suite), 0)
        tasks = self.watcher.begin(terms, salt, self.now())
        swap = self._opened(tasks[0][0])
        swap.quotes, swap.providers, swap.travel_rule = quotes, providers, travel_rule
        if plan is not None:
            self.beside.plan(due_of_payer(swap.party, terms, plan))
        if travel_rule:
            self._gathering.note([Note(swap.party, 0, NoteKind.TRAVEL_RULE, travel_rule)])
        self._gathering.note([Note(swap.party, 0, NoteKind.ROUTE, b"".join(quotes), shared=True)])
        self._gathering.take(tasks)
        return swap

    def accept(
        self,
        terms: SwapTerms,
        own_leg: int,
        incoming: bytes,
        shard: int,
        height: int,
        *,
        known: Collection[bytes] | None = None,
    ) -> OpenSwap | None:
        """Accept a swap as the provider of a leg; ``incoming`` is the lock record of the leg before.

        ``known`` as in `Past.demand_unknown`. None where it runs already. Raises BridgeRefused with nothing done.
        """
        self._demand_place(terms, own_leg, known)
        tasks = self.watcher.accept(terms, own_leg, self.now())
        if not tasks:
            return None
        party = tasks[0][0]
        swap = self._opened(party)
        if not terms.legs[own_leg - 1].foreign:
            self.legs.await_lock(swap, own_leg - 1, incoming)
            leg = swap.legs[own_leg - 1]
            leg.shard, leg.height = shard, height
            self.legs.look_if_passed(swap, own_leg - 1)
            self._gathering.note([Note(party, own_leg - 1, NoteKind.LEG, leg.note())])
        self._gathering.take(tasks)
        return swap

    def demand_acceptable(self, terms: SwapTerms, own_leg: int) -> None:
        """Demand that ``accept`` would accept now: asked before anybody pays for it. Raises BridgeRefused."""
        self._demand_place(terms, own_leg)
        self.watcher.demand_acceptable(terms, own_leg, self.now())

    def _demand_place(self, terms: SwapTerms, own_leg: int, known: Collection[bytes] | None = None) -> None:
        self.past.demand_unknown(terms, own_leg, known)
        self.book.demand_room(terms, own_leg)
        self.legs.demand_lines(terms, (own_leg - 1, own_leg))
        if terms.foreign_leg >= 0:
            self.chains.demand_legs(terms, terms.orders(self.genesis.hash_suite), own_leg)

    async def committed(self) -> None:
        """Return when everything that was taken so far is durable. Raises what the journal raised."""
        if self.fault is not None:
            raise self.fault
        await self._gathering.committed()

    def _opened(self, party: bytes) -> OpenSwap:
        machine = self.watcher.machine(party)
        assert machine is not None
        swap = open_swap_of(machine, self.now())
        swap.looked_at = swap.began_at
        self.book.add(swap)
        terms = machine.terms
        self._gathering.batch.names.append(Names(party, terms.uetr, terms.hashlock, is_payer=swap.is_payer))
        return swap

    # What comes from outside.

    def on_block(self, block: FinalBlock) -> None:
        """Take a final relay block."""
        self.corridors.take(block.corridors, block.height)
        tasks = self.watcher.relay_block(block.height, block.time, block.preimages, self.now())
        if self.corridors.is_saved:
            self._gathering.batch.relay_height = block.height
        learned = [part for preimage in block.preimages for part in self._learn(preimage, block)]
        self.legs.expect(learned, look_back=True)
        if tasks or learned or block.height % _HEIGHT_EVERY == 0:
            self._gathering.take(tasks)

    def _learn(self, preimage: bytes, block: FinalBlock) -> list[tuple[int, bytes]]:
        """Take a secret that is public now; return the claims that it makes of the locks that are known."""
        found: list[tuple[int, bytes]] = []
        for function, hashlock in hashlocks_of(preimage):
            for swap in self.book.with_hashlock(hashlock):
                if swap.terms.hash_function != function:
                    continue
                found += self.legs.know_preimage(swap, preimage)
                note = Note(swap.party, 0, NoteKind.PREIMAGE, block.height.to_bytes(8, "little") + preimage)
                self._gathering.note([note])
                text = "The secret stands in a final relay block: every leg is claimed by it."
                self.telling.say(swap, "revealed", text)
        return found

    def on_answers(self, domain: int, answers: Sequence[LockAnswer]) -> None:
        """Take what a node answered to locks."""
        del domain
        views, beside = self._sightings.of_answers(answers)
        if beside:
            self._gathering.wake()
        self._gathering.take(self.watcher.seen(views, self.now()))

    def on_final(self, domain: int, decisions: Sequence[FinalDecision]) -> None:
        """Take decisions that are final and were verified."""
        del domain
        now = self.now()
        views, beside = self._sightings.of_final(decisions, now)
        if beside:
            self._gathering.wake()
        self._gathering.take(self.watcher.seen(views, now))

    def _on_look(self, lock_id: bytes, view: LockView) -> None:
        self._gathering.take(self.watcher.seen([(lock_id, view)], self.now()))

    def on_accepted(self, legs: Sequence[AcceptedLeg]) -> None:
        """Take what the providers of these legs answered, many swaps at once."""
        now = self.now()
        expected: list[tuple[int, bytes]] = []
        notes: list[Note] = []
        heard: list[tuple[bytes, Event]] = []
        for swap, leg, record, premium in legs:
            if swap.outcome is not None:
                continue
            if premium and swap.premiums.get(leg + 1) != premium:
                swap.premiums[leg + 1] = premium
                notes.append(Note(swap.party, leg + 1, NoteKind.PREMIUM, premium))
            foreign = swap.terms.legs[leg].foreign
            fresh = [] if foreign else self.legs.know_lock(swap, leg, record)
            if foreign or fresh:
                self.telling.say(swap, "leg_accepted", f"The provider of leg {leg} has accepted and locks.", now)
            if fresh:
                expected += fresh
                notes.append(Note(swap.party, leg, NoteKind.LEG, swap.legs[leg].note()))
                if not swap.looked_at:
                    # After a restart: it may have become final before this process watched.
                    self.acting.line(swap, leg).look(swap, leg)
            heard.append((swap.party, Accepted(leg, swap.orders[leg].lock_id)))
        self.legs.expect(expected, look_back=True)
        self._gathering.note(notes)
        self._gathering.take(self.watcher.on(heard, now))

    def on_not_accepted(self, swap: OpenSwap, leg: int, code: int, text: str) -> None:
        """Take a provider's refusal."""
        meaning = _meaning_of(code)
        if meaning is None or meaning.code_class is CodeClass.NO:
            self.telling.say(swap, "leg_not_accepted", f"The provider of leg {leg} refuses: {text}")
        if swap.outcome is not None:
            if self.acting.asking_back.answered(swap, code):
                self.telling.say(swap, "premium_back", "The provider has returned the premium.")
            return
        if code == BridgeCode.PREMIUM_OWED and leg == 1:
            self.acting.pay_premium(swap)
        code = code if meaning is not None else int(BridgeCode.PROVIDER_REFUSED)
        self._gathering.take(self.watcher.on([(swap.party, AcceptanceRefused(leg, code, text))], self.now()))

    # The one loop that writes and acts.

    async def _write_and_act(self) -> None:
        while True:
            await self._gathering.something()
            self.legs.look_back()
            batch = self._gathering.hand_over()
            entries = [task[1].entry for task in batch.tasks if type(task[1]) is Journal]
            desk = self.desk.take_entries() if self.desk is not None else []
            cases = self.compliance.take_entries()
            beside, sendings = self.beside.take_written(), self.beside.take_sendings()
            notes = batch.notes + self.beside.take_notes() + self.acting.last_notes(entries)
            kept = self.compliance.take_kept() + self.telling.alarms.take_kept()
            written = Written(entries, notes, batch.names, desk, batch.relay_height, cases, beside, kept)
            try:
                await self.store.append(written)
            except BaseException as error:
                batch.done(error)
                raise
            self._at_steps("written", entries)
            self.acting.do(batch.tasks)
            self.legs.send(sendings)
            self.beside.left(sendings, self.now())
            self._at_steps("acted", entries)
            batch.done()

    def _at_steps(self, stage: str, entries: Sequence[Entry]) -> None:
        if self.at_step is not None:
            for entry in entries:
                self.at_step(stage, entry.kind)

    # Time.

    async def _tick(self) -> None:
        """Wake machines whose time has come."""
        release_at = 0
        while True:
            await asyncio.sleep(_TICK_S)
            now, wake = self.now(), self.watcher.wake_ns
            if wake is not None and wake <= now:
                self._gathering.take(self.watcher.tick(now))
            if now >= release_at:
                release_at = now + NS_PER_S
                if self.desk is not None:
                    self.desk.release(now)
                self.telling.call_out(self.compliance.tick(now))
                self.legs.send(self.beside.tick(now))
                if self._asking is not None:
                    self._asking.ask(self.acting.asking_back.due(now))

    async def _guarded(self, work: Callable[[], object]) -> None:
        """Run a loop; what it fails with is kept as the fault of the whole, and ends the process."""
        try:
            await work()  # type: ignore[misc]
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.fault = self.fault or error
            _log.error("bridge_failed", work=getattr(work, "__name__", ""), error=type(error).__name__, exc_info=error)
            raise

    async def failed(self) -> None:
        """Return when a loop has failed; raises its fault."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()


def _meaning_of(code: int) -> BridgeMeaning | None:
    try:
        return bridge_meaning(code)
    except ValueError:
        return None
