"""A participant's process in the simulation: the real watcher, a journal that alone survives, and a hand that acts.

Actions are taken one by one, and before any of them the process may die. What it then knows is its journal, the relay's
blocks from the first on, and what it is told when it looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.journal import decode_entry, encode_entry, read_finished
from bridge.leg import LockState, LockView
from bridge.memory_chain import ClaimWish, LockWish, RefundWish
from bridge.ports import (
    AcceptanceRefused,
    Accepted,
    Alarm,
    AskAcceptance,
    ClaimForeign,
    EntryKind,
    Finished,
    Journal,
    Lock,
    LockSeen,
    Look,
    RefundForeign,
    Reveal,
)
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.watcher import Watcher
from clearspan.simulation.bridge.plan import CHAIN, MARGINS, TIMING

if TYPE_CHECKING:
    from bridge.leg import ChainClock
    from bridge.ports import Action, Event
    from bridge.terms import SwapTerms
    from bridge.watcher import Task
    from clearspan.simulation.bridge.scene import Scene

__all__ = ["WINDOW_S", "Party"]

_CLAIMING = (EntryKind.REVEALING, EntryKind.CLAIMING, EntryKind.LEARNED)
_WRITTEN_FIRST: dict[type, tuple[EntryKind, ...]] = {
    Lock: (EntryKind.LOCKING,),
    AskAcceptance: (EntryKind.ASKING,),
    Reveal: _CLAIMING,
    ClaimForeign: _CLAIMING,
    RefundForeign: (EntryKind.REFUNDING,),
}
WINDOW_S = 60
"""How long a signed lock is valid: the ledgers' window."""


class Party:
    """The participant that locks leg ``index``: the payer at 0, the provider of that leg above."""

    def __init__(self, scene: Scene, index: int, crashes: list[tuple[int, int]]) -> None:
        self.scene = scene
        self.index = index
        self.name = f"party:{index}"
        self.villain = ""
        self.journal: list[bytes] = []
        self.watcher: Watcher | None = self._new_watcher()
        self.quote_left = 10_000
        self.ends: dict[bytes, Finished] = {}
        self.steps = 0
        self._written: dict[bytes, list[EntryKind]] = {}
        self._crashes = sorted(crashes)
        self._cursor = 0
        self._tick_at = 0
        self._life = 0

    def _new_watcher(self) -> Watcher:
        return Watcher(self.scene.suite, lambda _: MARGINS, TIMING)

    @property
    def clock(self) -> int:
        """What this process's clock reads."""
        return self.scene.now + self.scene.plan.skews.get(self.name, 0)

    # Living and dying.

    def crash(self, down_ns: int) -> None:
        """Die now; come back from the journal after a while."""
        self.scene.reach("crash")
        self.watcher = None
        self._life += 1
        self.scene.after(down_ns, self.restart)

    def restart(self) -> None:
        """Come back: everything that was only in memory is gone."""
        entries = sorted((decode_entry(data) for data in self.journal), key=lambda entry: (entry.party, entry.number))
        self.watcher = self._new_watcher()
        self._cursor = 0
        self._tick_at = 0
        clock = self.scene.chain_clock()
        if clock is not None and self.scene.linked(self, CHAIN):
            self.watcher.chain_clock(CHAIN, clock, self.clock)
        self.scene.reach("restart")
        for entry in entries:
            if entry.kind is EntryKind.FINISHED and entry.party not in self.ends:
                self._finished(entry.party, Finished(*read_finished(entry.body)))
        self.do(self.watcher.restore(entries, self.clock))
        self.hear_relay()

    # What reaches it.

    def open(self, terms: SwapTerms, salt: bytes, secret: bytes, number: int) -> None:
        """Begin a swap as its payer."""
        del secret, number
        if self.watcher is None:
            return
        self.scene.add_swap(terms)
        try:
            self.do(self.watcher.begin(terms, salt, self.clock))
        except BridgeRefused as refused:
            self.scene.refused(refused.code)

    def hear_relay(self) -> None:
        """Read the relay's blocks from where we stand."""
        if self.watcher is None or not self.scene.linked(self, "relay"):
            return
        tasks: list[Task] = []
        for block in self.scene.relay.blocks[self._cursor :]:
            header = block.header
            tasks += self.watcher.relay_block(header.height, header.time, block.preimages(), self.clock)
            self._cursor = header.height
        self.do(tasks)

    def hear_chain(self, clock: ChainClock) -> None:
        """Hear of a foreign block."""
        if self.watcher is not None:
            self.watcher.chain_clock(CHAIN, clock, self.clock)

    def tell(self, party: bytes, event: Event) -> None:
        """Hear an event of one swap."""
        if self.watcher is not None:
            self.do(self.watcher.on([(party, event)], self.clock))

    def see(self, lock_id: bytes, view: LockView) -> None:
        """Hear how a lock stands, unasked."""
        if self.watcher is not None:
            self.do(self.watcher.seen([(lock_id, view)], self.clock))

    def tick(self) -> None:
        """Wake."""
        if self.watcher is not None:
            self._tick_at = 0
            self.do(self.watcher.tick(self.clock))

    def asked(self, terms: SwapTerms, leg: int, answer_to: Party, party: bytes) -> None:
        """Accept a swap or refuse it, and answer when that is durable."""
        if self.watcher is None:
            return
        answer: Event = Accepted(leg, b"")
        life = self._life
        try:
            self._check_desk(terms, leg)
            tasks = self.watcher.accept(terms, leg, self.clock)
            if tasks:
                self.quote_left -= terms.legs[leg].amount
            self.do(tasks)
            if self._life != life:
                return
        except BridgeRefused as refused:
            self.scene.refused(refused.code)
            answer = AcceptanceRefused(leg, refused.code, refused.text)
        self.scene.send(self, answer_to.name, lambda: answer_to.tell(party, answer))

    def _check_desk(self, terms: SwapTerms, leg: int) -> None:
        """Refuse what the desk refuses before the machine is asked."""
        if self.villain == "refuses":
            raise BridgeRefused(BridgeCode.PROVIDER_REFUSED, "not today", leg=leg)
        if terms.legs[leg].amount > self.quote_left:
            raise BridgeRefused(BridgeCode.QUOTE_EXHAUSTED, f"{self.quote_left} are left", leg=leg)

    # What it does.

    def do(self, tasks: list[Task]) -> None:
        """Take actions in order; die before the one that the plan says."""
        life = self._life
        for party, action in tasks:
            if self._crashes and self.steps >= self._crashes[0][0]:
                self.crash(self._crashes.pop(0)[1])
            if self._life != life:
                return
            self.steps += 1
            self._check_written(party, action)
            self.act(party, action)
        self._set_tick()

    def _set_tick(self) -> None:
        if self.watcher is None or self.watcher.wake_ns is None:
            return
        wake = max(self.watcher.wake_ns - self.clock, 0) + self.scene.now
        if self._tick_at and self._tick_at <= wake:
            return
        self._tick_at = wake
        life = self._life
        self.scene.at(wake, lambda: self.tick() if self._life == life and self._tick_at == wake else None)

    def _check_written(self, party: bytes, action: Action) -> None:
        """Hold that what leaves was written before."""
        kinds = _WRITTEN_FIRST.get(type(action))
        if kinds and not any(kind in kinds for kind in self._written.get(party, ())):
            self.scene.checks.fail(f"{self.name} acts before it writes: {type(action).__name__}")

    def act(self, party: bytes, action: Action) -> None:
        """Do one thing."""
        scene = self.scene
        if isinstance(action, Journal):
            self.journal.append(encode_entry(action.entry))
            self._written.setdefault(party, []).append(action.entry.kind)
        elif isinstance(action, Finished):
            self._finished(party, action)
        elif isinstance(action, Alarm):
            scene.reach(f"alarm_{action.kind.value}")
        elif isinstance(action, Lock):
            self.lock(party, action)
        elif isinstance(action, AskAcceptance):
            self.ask(party, action)
        elif isinstance(action, Look):
            self.look(party, action)
        elif isinstance(action, Reveal):
            self.reveal(party, action)
        elif isinstance(action, ClaimForeign):
            order = scene.orders(party)[action.leg]
            scene.send(self, CHAIN, lambda: scene.wish(ClaimWish(order, action.preimage)))
        elif isinstance(action, RefundForeign):
            order = scene.orders(party)[action.leg]
            scene.send(self, CHAIN, lambda: scene.wish(RefundWish(order)))

    def _finished(self, party: bytes, end: Finished) -> None:
        self.ends[party] = end
        self.scene.reach(end.outcome.name.lower())

    def lock(self, party: bytes, action: Lock) -> None:
        """Send our lock where it belongs."""
        scene, terms = self.scene, self.scene.terms(party)
        if terms.legs[action.leg].foreign:
            scene.send(self, CHAIN, lambda: scene.wish(LockWish(action.order)))
            return
        place = scene.place_of(terms, action.leg)
        record = terms.lock_record(
            action.leg,
            scene.suite,
            key_id=place.world.banks[self.index].account_key,
            now_ns=action.signed_at_ns,
            window_s=WINDOW_S,
        )
        scene.send(self, place.name, lambda: scene.submit(place, record, action.order.lock_id))

    def ask(self, party: bytes, action: AskAcceptance) -> None:
        """Ask a provider."""
        scene, terms = self.scene, self.scene.terms(party)
        other = scene.parties[action.leg]
        scene.send(self, other.name, lambda: other.asked(terms, action.leg, self, party))

    def reveal(self, party: bytes, action: Reveal) -> None:
        """Submit a reveal."""
        del party
        self.scene.send(self, "relay", lambda: self.scene.reveal(action.preimage))

    def look(self, party: bytes, action: Look) -> None:
        """Look at a lock; the answer comes back on the same line."""
        scene, terms = self.scene, self.scene.terms(party)
        if terms.legs[action.leg].foreign:
            scene.send(
                self, CHAIN, lambda: self._answer(party, action.leg, scene.chain_view(action.order)), twice=False
            )
            return
        place = scene.place_of(terms, action.leg)
        debit = terms.legs[action.leg].debit_id

        def asked() -> None:
            view = scene.verifier.view(action.order, terms.hash_function, place.say(debit, action.order.lock_id))
            self._answer(party, action.leg, view)

        scene.send(self, place.name, asked)

    def _answer(self, party: bytes, leg: int, view: LockView) -> None:
        if view.state is LockState.SEEN and view.reason:
            self.scene.reach("held_seen")
        self.scene.reply(self, lambda: self.tell(party, LockSeen(leg, view)))
