"""The road between the machines and the world: events in, entries to the disk, then what they ask for, in batches.

It promises the one order that everything rests on: what a machine wrote down is durable before anything that follows
leaves this process. Tasks of many swaps are gathered while a commit runs and go on together, so a swap costs no task
and no timer of its own. What a swap may do is its machine's to say (`bridge.watcher`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from bridge.journal import read_finished
from bridge.leg import HashFunction, LockState, LockView
from bridge.ports import (
    HELD,
    AcceptanceRefused,
    Accepted,
    Alarm,
    AskAcceptance,
    EntryKind,
    Finished,
    Journal,
    Lock,
    Look,
    Outcome,
    Reveal,
    Revealed,
    Timing,
)
from bridge.refusals import BridgeCode, BridgeRefused, bridge_meaning
from bridge.terms import hash_preimage
from bridge.watcher import Watcher
from clearspan.bridging.beside import BesideBook, Due, due_of_payer
from clearspan.bridging.book import LegPart, LegRecord, LegState, Moment, NoteKind, OpenSwap, SwapBook, moment_of
from clearspan.bridging.compliance import Compliance
from clearspan.bridging.store import Names, Note, Written
from clearspan.client.decisions import FinalDecision
from clearspan.errors import ClientError
from engine.codes import LEAVES, MEANINGS, CodeClass, ResultCode, code_name
from engine.prefix import PrefixType, signing_prefix
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bridge.ports import Action, Entry, Event
    from bridge.refusals import BridgeMeaning
    from bridge.routes import Plan
    from bridge.terms import SwapTerms
    from clearspan.bridging.asking import Asking
    from clearspan.bridging.beside import Sending
    from clearspan.bridging.corridors import Corridors
    from clearspan.bridging.desk import ProviderDesk
    from clearspan.bridging.keys import BridgeKeys
    from clearspan.bridging.ledgers import LedgerPort, LockAnswer
    from clearspan.bridging.relay import FinalBlock, RelayPort
    from clearspan.bridging.store import JournalStore
    from engine.genesis import Genesis

    Task = tuple[bytes, Action]

__all__ = ["BridgeEngine", "Progress"]

_ALARMS_KEPT_MAX: Final = 16
_LOOKS_AT_ONCE: Final = 8
_TICK_S: Final = 0.01
# Blocks tell of every leg by themselves; a node is asked where a swap has stood still for longer than they take.
_LOOK_AFTER_NS: Final = 8 * NS_PER_S
_HEIGHT_EVERY: Final = 256
_CODES: Final = frozenset(ResultCode)
_HELD: Final = frozenset(code for code in ResultCode if code.name in {"HELD", "LOCK_HELD"})
_CLAIMED: Final = frozenset({Outcome.SETTLED, Outcome.LOST})
_ARRIVALS: Final = frozenset({ResultCode.CREDITED, ResultCode.CREDITED_TO_SUSPENSE, ResultCode.RETURNED})
_log = structlog.get_logger("clearspan.bridging")


class Progress(NamedTuple):
    """One line of one swap's timeline as it is written; ``outcome`` is set with the last."""

    swap: OpenSwap
    moment: Moment
    outcome: Outcome | None


@dataclass(slots=True)
class _Batch:
    """What came together since the last commit began."""

    tasks: list[Task] = field(default_factory=list)
    names: list[Names] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    relay_height: int = 0


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
        self.now = now
        self.compliance = compliance or Compliance(genesis, participant, corridors)
        suite = genesis.hash_suite
        self.timing = timing or Timing()
        self.watcher = Watcher(suite, corridors.margins_of, self.timing, swaps_max=swaps_open_max)
        self.book = SwapBook(suite, signing_prefix(suite, PrefixType.TRANSFER, genesis.hash))
        self.alarms: deque[str] = deque(maxlen=_ALARMS_KEPT_MAX)
        self.listeners: set[Callable[[Progress], None]] = set()
        self.fault: BaseException | None = None
        self.on_finished: Callable[[OpenSwap], None] = lambda _: None
        self.at_step: Callable[[str, EntryKind], None] | None = None
        """Told of each entry when it is written and again when what follows it was done; tests end the process here."""
        self._domains = {each.ledger: domain.domain for domain in genesis.domains for each in domain.ledgers}
        self._windows = {each.ledger: each.window_s for domain in genesis.domains for each in domain.ledgers}
        self.beside = BesideBook(genesis, keys.key_of, self._windows)
        self._ledgers: dict[int, LedgerPort] = {}
        self._relay: RelayPort | None = None
        self._asking: Asking | None = None
        self._batch = _Batch()
        self._came = asyncio.Event()
        self._behind: dict[int, list[bytes]] = {}
        self._locking: dict[bytes, asyncio.Future[None]] = {}
        self._looks: dict[tuple[bytes, int], None] = {}
        self._look_came = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def attach(self, ledgers: Iterable[LedgerPort], relay: RelayPort, asking: Asking) -> None:
        """Take the lines to the world."""
        self._ledgers = {each.domain: each for each in ledgers}
        self._relay, self._asking = relay, asking

    def restore_desk(self) -> bool:
        """Make the provider's desk again from the journal; say whether it is a new one."""
        return self.desk is not None and not self.desk.restore(self.store.desk_entries())

    def restore(self) -> int:
        """Make every open swap again from the journal; return how many. Raises EncodingError for one that is broken."""
        tasks = self.watcher.restore(self.store.restore(), self.now())
        heard: list[tuple[bytes, Event]] = []
        for machine in tuple(self.watcher.machines()):
            swap = OpenSwap(
                machine.party,
                machine.swap,
                machine.own_leg,
                machine.terms,
                machine.orders,
                [LegRecord() for _ in machine.orders],
                machine.terms.created_at,
            )
            self.book.add(swap)
            swap.timeline = [moment_of(entry) for entry in self.store.entries_of(machine.party)]
            heard += self._restore_notes(swap)
            if machine.locking_at_ns and not swap.legs[machine.own_leg].record:
                self._expect(self._know_lock(swap, machine.own_leg, self._own_record(swap, machine.locking_at_ns)))
            if machine.preimage is not None:
                self._expect(self._domain_digests(swap, self.book.know_preimage(swap, machine.preimage)))
        self._take(tasks + self.watcher.on(heard, self.now()))
        self.beside.restore(self.store.beside(), self._was_claimed, self.now())
        return len(self.book)

    def _was_claimed(self, party: bytes) -> bool | None:
        """Say whether a party's own leg was claimed, None while its swap runs."""
        if self.book.get(party) is not None:
            return None
        entries = self.store.entries_of(party)
        ended = bool(entries) and entries[-1].kind is EntryKind.FINISHED
        return ended and read_finished(entries[-1].body)[0] in _CLAIMED

    def _restore_notes(self, swap: OpenSwap) -> list[tuple[bytes, Event]]:
        """Take back what was kept beside the entries; return what the machine must hear of it."""
        revealed: list[tuple[bytes, Event]] = []
        for note in self.store.notes_of(swap.party):
            if note.kind == NoteKind.LEG:
                leg = LegRecord()
                leg.read_note(note.data)
                self._expect(self._know_lock(swap, note.leg, leg.record))
                swap.legs[note.leg].shard, swap.legs[note.leg].height = leg.shard, leg.height
            elif note.kind == NoteKind.PREIMAGE:
                height, preimage = int.from_bytes(note.data[:8], "little"), note.data[8:]
                revealed.append((swap.party, Revealed(preimage, height, 0)))
                self._expect(self._domain_digests(swap, self.book.know_preimage(swap, preimage)))
            elif note.kind == NoteKind.ROUTE and self._asking is not None:
                self._asking.restore_route(swap, note.data)
            elif note.kind == NoteKind.TRAVEL_RULE:
                swap.travel_rule = note.data
        return revealed

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        for work in (self._write_and_act, self._tick, *([self._look_around] * _LOOKS_AT_ONCE)):
            self._tasks.append(loop.create_task(self._guarded(work), name=f"bridge-{work.__name__}"))

    async def stop(self) -> None:
        """End between two commits; what was not acted on is in the journal."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

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
        tasks = self.watcher.begin(terms, salt, self.now())
        swap = self._opened(tasks[0][0])
        swap.quotes, swap.providers, swap.travel_rule = quotes, providers, travel_rule
        if plan is not None:
            self.beside.plan(due_of_payer(swap.party, terms, plan))
        if travel_rule:
            self._batch.notes.append(Note(swap.party, 0, NoteKind.TRAVEL_RULE, travel_rule))
        self._batch.notes.append(Note(swap.party, 0, NoteKind.ROUTE, b"".join(quotes)))
        self._take(tasks)
        return swap

    def accept(self, terms: SwapTerms, own_leg: int, incoming: bytes, shard: int, height: int) -> OpenSwap | None:
        """Accept a swap as the provider of a leg; ``incoming`` is the lock record of the leg before.

        None where it runs already. Raises BridgeRefused with nothing done.
        """
        known = self.store.named(hashlock=terms.hashlock)
        tasks = self.watcher.accept(terms, own_leg, self.now())
        if not tasks:
            return None
        party = tasks[0][0]
        if known not in (None, party):
            # Another swap had this hash, before a restart of this process.
            raise BridgeRefused(BridgeCode.HASH_REUSED, terms.hashlock.hex())
        swap = self._opened(party)
        self._expect(self._know_lock(swap, own_leg - 1, incoming), look_back=True)
        leg = swap.legs[own_leg - 1]
        leg.shard, leg.height = shard, height
        self._batch.notes.append(Note(party, own_leg - 1, NoteKind.LEG, leg.note()))
        self._take(tasks)
        return swap

    async def committed(self) -> None:
        """Return when everything that was taken so far is durable. Raises what the journal raised."""
        if self.fault is not None:
            raise self.fault
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batch.waiters.append(waiter)
        self._came.set()
        await waiter

    async def locking(self, party: bytes, seconds: float) -> None:
        """Return when a party's own lock is on its way, when it has ended, or after so long."""
        swap = self.book.get(party)
        if swap is None or swap.legs[swap.own_leg].record:
            return
        waiter = self._locking.setdefault(party, asyncio.get_running_loop().create_future())
        await asyncio.wait([waiter], timeout=seconds)

    def _opened(self, party: bytes) -> OpenSwap:
        machine = self.watcher.machine(party)
        assert machine is not None
        swap = OpenSwap(
            party,
            machine.swap,
            machine.own_leg,
            machine.terms,
            machine.orders,
            [LegRecord() for _ in machine.orders],
            self.now(),
        )
        swap.looked_at = swap.began_at
        self.book.add(swap)
        self._batch.names.append(Names(party, machine.swap, machine.terms.uetr, machine.terms.hashlock))
        return swap

    # What comes from outside.

    def on_block(self, block: FinalBlock) -> None:
        """Take a final relay block."""
        self.corridors.take(block.corridors, block.height)
        tasks = self.watcher.relay_block(block.height, block.time, block.preimages, self.now())
        self._batch.relay_height = block.height
        learned = [part for preimage in block.preimages for part in self._learn(preimage, block)]
        self._expect(learned, look_back=True)
        if tasks or learned or block.height % _HEIGHT_EVERY == 0:
            self._take(tasks)

    def _learn(self, preimage: bytes, block: FinalBlock) -> list[tuple[int, bytes]]:
        """Take a secret that is public now; return the claims that it makes of the locks that are known."""
        found: list[tuple[int, bytes]] = []
        for function in HashFunction:
            for swap in self.book.with_hashlock(hash_preimage(function, preimage)):
                if swap.terms.hash_function != function:
                    continue
                found += self._domain_digests(swap, self.book.know_preimage(swap, preimage))
                note = Note(swap.party, 0, NoteKind.PREIMAGE, block.height.to_bytes(8, "little") + preimage)
                self._batch.notes.append(note)
                self._say(swap, "revealed", "The secret stands in a final relay block: every leg is claimed by it.")
        return found

    def on_answers(self, domain: int, answers: Sequence[LockAnswer]) -> None:
        """Take what a node answered to locks: a lock that stands there is seen, and is final when its block is."""
        del domain
        views: list[tuple[bytes, LockView]] = []
        for digest, code, first_code in answers:
            found = self.book.whose(digest)
            if found is None:
                text = self.beside.on_answer(digest, first_code or code)
                self._call_out([text] if text else [])
                self._came.set()
                continue
            swap, leg, _ = found
            order, told = swap.orders[leg], first_code or code
            if told in _HELD:
                swap.legs[leg].state = LegState.HELD
                views.append((order.lock_id, LockView(LockState.SEEN, order, None, 0, HELD)))
            elif told == ResultCode.CREATED:
                if swap.legs[leg].state == LegState.WAITING:
                    swap.legs[leg].state = LegState.SENT
                views.append((order.lock_id, LockView(LockState.SEEN, order, None, 0, "")))
            else:
                self._on_refusal(swap, leg, told, views)
        self._take(self.watcher.seen(views, self.now()))

    def _on_refusal(self, swap: OpenSwap, leg: int, code: int, views: list[tuple[bytes, LockView]]) -> None:
        """Count a "no" at once where it has no leaf; one with a leaf counts when that is final, an open one never."""
        meaning = MEANINGS.get(ResultCode(code)) if code in _CODES else None
        self._say(swap, "lock_refused", f"The ledger refused the lock of leg {leg}: {code_name(code)}.")
        if meaning is not None and meaning.code_class is CodeClass.NO and ResultCode(code) not in LEAVES:
            view = LockView(LockState.REFUSED, None, None, 0, code_name(code))
            views.append((swap.orders[leg].lock_id, view))

    def on_final(self, domain: int, decisions: Sequence[FinalDecision]) -> None:
        """Take decisions that are final and were verified."""
        del domain
        now = self.now()
        views: list[tuple[bytes, LockView]] = []
        for decision in decisions:
            found = self.book.whose(decision.digest)
            if found is None or decision.code in _ARRIVALS:
                self.beside.on_final(decision.digest, decision.code)
                self._came.set()
                continue
            swap, leg, part = found
            view = self._view_of(swap, leg, part, decision, now)
            if view is not None:
                views.append((swap.orders[leg].lock_id, view))
        self._take(self.watcher.seen(views, now))

    def _view_of(self, swap: OpenSwap, leg: int, part: LegPart, decision: FinalDecision, now: int) -> LockView | None:
        known, order = swap.legs[leg], swap.orders[leg]
        height = decision.relay_height
        if part is LegPart.CLAIM:
            known.state, known.ended_at, known.end = LegState.CLAIMED, now, known.claim
            self._say(swap, "leg_claimed", f"Leg {leg} is claimed, and that is final.", now)
            return LockView(LockState.CLAIMED_FINAL, order, swap.preimage, height, "")
        if part is LegPart.REFUND:
            known.state, known.ended_at, known.end = LegState.REFUNDED, now, known.refund
            self._say(swap, "leg_refunded", f"Leg {leg} was refunded, and that is final.", now)
            return LockView(LockState.REFUNDED_FINAL, order, None, height, "")
        if decision.code in _HELD:
            known.state = LegState.HELD
            self._say(swap, "leg_held", f"Leg {leg} is held: it waits for a decision of the supervisors.", now)
            return LockView(LockState.SEEN, order, None, height, HELD)
        if decision.code != ResultCode.CREATED:
            if known.state in (LegState.FINAL, LegState.CLAIMED, LegState.REFUNDED):
                return None
            known.state = LegState.REFUSED
            return LockView(LockState.REFUSED, None, None, height, code_name(decision.code))
        if known.state in (LegState.CLAIMED, LegState.REFUNDED):
            return None
        known.state, known.final_at = LegState.FINAL, known.final_at or now
        known.shard, known.height = decision.shard, decision.height
        self._say(swap, "leg_final", f"Leg {leg} is locked, and that is final.", now)
        return LockView(LockState.FINAL, order, None, height, "")

    def on_accepted(self, swap: OpenSwap, leg: int, record: bytes) -> None:
        """Take a provider's lock record of a leg, which was compared with the terms."""
        if swap.outcome is not None:
            return
        fresh = self._know_lock(swap, leg, record)
        if fresh:
            self._expect(fresh, look_back=True)
            self._batch.notes.append(Note(swap.party, leg, NoteKind.LEG, swap.legs[leg].note()))
            self._say(swap, "leg_accepted", f"The provider of leg {leg} has accepted and locks.")
            if not swap.looked_at:
                # After a restart: it may have become final before this process watched.
                self._look(swap, leg)
        self._take(self.watcher.on([(swap.party, Accepted(leg, swap.orders[leg].lock_id))], self.now()))

    def on_not_accepted(self, swap: OpenSwap, leg: int, code: int, text: str) -> None:
        """Take a provider's refusal."""
        meaning = _meaning_of(code)
        if meaning is None or meaning.code_class is CodeClass.NO:
            self._say(swap, "leg_not_accepted", f"The provider of leg {leg} refuses: {text}")
        code = code if meaning is not None else int(BridgeCode.PROVIDER_REFUSED)
        self._take(self.watcher.on([(swap.party, AcceptanceRefused(leg, code, text))], self.now()))

    # The one loop that writes and acts.

    def _take(self, tasks: list[Task]) -> None:
        self._batch.tasks += tasks
        self._came.set()

    async def _write_and_act(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            self._look_back()
            batch, self._batch = self._batch, _Batch()
            entries = [task[1].entry for task in batch.tasks if type(task[1]) is Journal]
            desk = self.desk.take_entries() if self.desk is not None else []
            cases = self.compliance.take_entries()
            beside, sendings = self.beside.take_written(), self.beside.take_sendings()
            notes = batch.notes + self.beside.take_notes()
            written = Written(entries, notes, batch.names, desk, batch.relay_height, cases, beside)
            try:
                await self.store.append(written)
            except BaseException as error:
                for waiter in batch.waiters:
                    if not waiter.done():
                        waiter.set_exception(error)
                raise
            self._at_steps("written", entries)
            self._act(batch.tasks)
            self._send(sendings)
            self._at_steps("acted", entries)
            for waiter in batch.waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _at_steps(self, stage: str, entries: Sequence[Entry]) -> None:
        if self.at_step is not None:
            for entry in entries:
                self.at_step(stage, entry.kind)

    def _act(self, tasks: Sequence[Task]) -> None:
        """Do what the tasks of a durable batch ask for, of each swap in order."""
        expects: list[tuple[int, bytes]] = []
        claims: list[tuple[int, bytes]] = []
        locks: list[tuple[int, bytes, bytes]] = []
        reveals: list[bytes] = []
        asks: list[tuple[OpenSwap, int]] = []
        for party, action in tasks:
            swap = self.book.get(party)
            if swap is None:
                continue
            kind = type(action)
            if kind is Journal:
                entry = action.entry  # type: ignore[union-attr]  # the exact type was just compared
                if entry.kind is EntryKind.FINISHED:
                    swap.outcome, swap.code = read_finished(entry.body)
                elif entry.kind in (EntryKind.LEARNED, EntryKind.REVEALING):
                    claims += self._domain_digests(swap, self.book.know_preimage(swap, entry.body))
                self._tell(swap, moment_of(entry))
            elif kind is Lock:
                record = self._own_record(swap, action.signed_at_ns)  # type: ignore[union-attr]
                expects += self._know_lock(swap, swap.own_leg, record)
                locks.append((self._domain_of(swap, swap.own_leg), swap.legs[swap.own_leg].digest, record))
                self._wake_locking(party)
            elif kind is AskAcceptance:
                asks.append((swap, action.leg))  # type: ignore[union-attr]
                self._pay_premium(swap)
            elif kind is Reveal:
                reveals.append(action.preimage)  # type: ignore[union-attr]
            elif kind is Look:
                self._look(swap, action.leg)  # type: ignore[union-attr]
            elif kind is Alarm:
                self._alarm(swap, action)  # type: ignore[arg-type]
            elif kind is Finished:
                self._finish(swap, action)  # type: ignore[arg-type]
        self._expect(expects)
        self._expect(claims, look_back=True)
        for domain, digest, record in locks:
            self._ledgers[domain].lock(digest, record)
        if reveals and self._relay is not None:
            self._relay.reveal(reveals)
        if asks and self._asking is not None:
            self._asking.ask(asks)

    def _finish(self, swap: OpenSwap, action: Finished) -> None:
        now = self.now()
        if self.desk is not None and not swap.is_payer:
            self.desk.end(swap.party, claimed=action.outcome in _CLAIMED)
        self.compliance.ended(swap.party, action.outcome)
        self.beside.end(swap.party, now, claimed=action.outcome in _CLAIMED)
        forgotten = self.book.end(swap, action.outcome, action.code, now)
        for port in self._ledgers.values():
            port.watch.forget(forgotten)
        for leg in swap.legs:
            # Legs between the first and the last end by the same reveal or timelock, seen here or not.
            if leg.record and not leg.end:
                leg.end = {Outcome.SETTLED: leg.claim, Outcome.REFUNDED: leg.refund}.get(action.outcome, b"")
        notes = [Note(swap.party, index, NoteKind.LEG, leg.note()) for index, leg in enumerate(swap.legs) if leg.record]
        self._batch.notes += notes
        self._came.set()
        self._wake_locking(swap.party)
        self.on_finished(swap)

    # Transfers beside the locks.

    def _pay_premium(self, swap: OpenSwap) -> None:
        """Pay for the option as it is taken: from now on a provider may lock, and the payer may walk away."""
        if not swap.premium:
            paid = self.beside.start(swap.party, Due.ASKED, self.now())
            swap.premium = paid[0] if paid else b""
            if paid:
                self._came.set()

    def demand_premium(self, ledger: int, record: bytes) -> None:
        """Demand that a premium is final; until then it is watched for. Raises BridgeRefused (leg_not_final)."""
        found, _ = self.beside.premium(record)
        self._expect([(self._domains[ledger], found)], look_back=True)
        if not self.beside.premium(record)[1]:
            raise BridgeRefused(BridgeCode.LEG_NOT_FINAL, "the premium is not final here yet")

    def _send(self, sendings: Iterable[Sending]) -> None:
        for each in sendings:
            self._ledgers[self._domains[each.ledger]].lock(each.digest, each.record)

    def _wake_locking(self, party: bytes) -> None:
        waiter = self._locking.pop(party, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # Parts.

    def _own_record(self, swap: OpenSwap, signed_at_ns: int) -> bytes:
        """Return the record that locks the own leg: the same bytes for the same instant."""
        leg = swap.terms.legs[swap.own_leg]
        return swap.terms.lock_record(
            swap.own_leg,
            self.genesis.hash_suite,
            key_id=self.keys.key_of(leg.ledger, leg.debit_id),
            now_ns=signed_at_ns,
            window_s=self._windows[leg.ledger],
            swap=swap.swap,
        ).encode()

    def _domain_of(self, swap: OpenSwap, leg: int) -> int:
        return self._domains[swap.terms.legs[leg].ledger]

    def _know_lock(self, swap: OpenSwap, leg: int, record: bytes) -> list[tuple[int, bytes]]:
        domain = self._domain_of(swap, leg)
        return [(domain, digest) for digest in self.book.know_lock(swap, leg, record)]

    def _domain_digests(self, swap: OpenSwap, digests: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        return [(self._domain_of(swap, leg), digest) for leg, digest in digests]

    def _expect(self, digests: Sequence[tuple[int, bytes]], *, look_back: bool = False) -> None:
        by_domain: dict[int, list[bytes]] = {}
        for domain, digest in digests:
            by_domain.setdefault(domain, []).append(digest)
        for domain, wanted in by_domain.items():
            self._ledgers[domain].watch.expect(wanted)
            if look_back:
                # Many swaps come together: what recent blocks say of all of them is asked for once.
                self._behind.setdefault(domain, []).extend(wanted)
                self._came.set()

    def _look_back(self) -> None:
        behind, self._behind = self._behind, {}
        for domain, wanted in behind.items():
            self._ledgers[domain].watch.expect(wanted, look_back=True)

    def _say(self, swap: OpenSwap, what: str, text: str, at: int = 0) -> None:
        self._tell(swap, Moment(at or self.now(), what, text))

    def _tell(self, swap: OpenSwap, moment: Moment) -> None:
        swap.timeline.append(moment)
        if self.listeners:
            progress = Progress(swap, moment, swap.outcome)
            for listener in tuple(self.listeners):
                listener(progress)

    def _alarm(self, swap: OpenSwap, action: Alarm) -> None:
        self.alarms.append(f"{swap.swap.hex()[:16]} {action.kind.value}: {action.text}")
        _log.warning("alarm", swap=swap.swap.hex(), kind=action.kind.value, reason=action.text)
        self._say(swap, action.kind.value, f"Alarm: {action.text}.")

    def _call_out(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.alarms.append(text)
            _log.warning("alarm", kind="case", reason=text)

    # Time, and looking around.

    async def _tick(self) -> None:
        """Wake machines whose time has come."""
        release_at = 0
        while True:
            await asyncio.sleep(_TICK_S)
            now, wake = self.now(), self.watcher.wake_ns
            if wake is not None and wake <= now:
                self._take(self.watcher.tick(now))
            if now >= release_at:
                release_at = now + NS_PER_S
                if self.desk is not None:
                    self.desk.release(now)
                self._call_out(self.compliance.tick(now))
                self._send(self.beside.tick(now))

    def _look(self, swap: OpenSwap, leg: int) -> None:
        """Have a node asked about a leg, but for what blocks have told or would have told by now."""
        now = self.now()
        if swap.legs[leg].digest and now >= swap.looked_at + _LOOK_AFTER_NS:
            swap.looked_at = now if leg == len(swap.legs) - 1 else swap.looked_at
            self._looks[swap.party, leg] = None
            self._look_came.set()

    async def _look_around(self) -> None:
        """Ask nodes for receipts of what machines want to know and blocks did not tell, one leg at a time."""
        while True:
            while not self._looks:
                self._look_came.clear()
                await self._look_came.wait()
            party, leg = next(iter(self._looks))
            del self._looks[party, leg]
            swap = self.book.get(party)
            if swap is not None and swap.legs[leg].digest:
                await self._look_at(swap, leg)

    async def _look_at(self, swap: OpenSwap, leg: int) -> None:
        port = self._ledgers[self._domain_of(swap, leg)]
        known = swap.legs[leg]
        for digest in (known.digest, known.claim, known.refund):
            if not digest:
                continue
            try:
                receipt = await port.client.receipt(digest, wait_s=0.0, verified=port.verified)
            except ClientError:
                continue
            found, anchored = receipt.finding.decision, receipt.finding.anchorage
            decision = FinalDecision(
                digest,
                found.code,
                found.time,
                anchored.shard,
                anchored.height,
                anchored.relay_height,
                anchored.relay_time,
            )
            self.on_final(port.domain, [decision])

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
