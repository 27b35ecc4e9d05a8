"""A participant in the simulation: what reaches its process, what it answers, and what it does outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.journal import encode_entry
from bridge.leg import LockState, LockView
from bridge.memory_chain import ClaimWish, LockWish, RefundWish
from bridge.ports import (
    AcceptanceRefused,
    Accepted,
    Alarm,
    AskAcceptance,
    ClaimForeign,
    Finished,
    Journal,
    Lock,
    LockSeen,
    Look,
    RefundForeign,
    Reveal,
)
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.travel_route import part_of
from clearspan.bridging.lines.beside import Due, due_of_payer
from clearspan.simulation.bridge.dealing import Question
from clearspan.simulation.bridge.market import Premium
from clearspan.simulation.bridge.plan import CHAIN
from clearspan.simulation.bridge.process import CLAIMED, Process
from engine.codes import CodeClass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.cases import Step
    from bridge.leg import ChainClock
    from bridge.ports import Action, Event
    from bridge.quotes import SignedQuote
    from bridge.terms import SwapTerms
    from clearspan.bridging.rules.compliance import Clearance
    from clearspan.simulation.bridge.market import Market, Purchase
    from clearspan.simulation.bridge.stage import Stage
    from clearspan.simulation.bridge.verifier import BlockLine

    OnBegin = Callable[[SwapTerms, range, Clearance], None]

__all__ = ["WINDOW_S", "Party"]

WINDOW_S: Final = 60
"""How long a signed lock is valid: the ledgers' window."""


class Party(Process):
    """The participant that locks leg ``index``: the payer at 0, the provider of that leg above."""

    def __init__(self, stage: Stage, market: Market, index: int, crashes: list[tuple[int, int]]) -> None:
        super().__init__(stage, market, index, crashes)
        self.others: Sequence[Party] = ()
        self.shown: dict[bytes, bytes] = {}
        self.on_begin: OnBegin = lambda *_: None

    # What reaches it.

    def open(self, terms: SwapTerms, salt: bytes, secret: bytes, purchase: Purchase) -> None:
        """Begin a swap as its payer. Raises BridgeRefused where a rule stands in its way; nothing has begun then."""
        del secret
        gate = self.gate
        if self.watcher is None or gate is None:
            return
        try:
            clearance = gate.clear(terms, purchase, self.clock)
        except BridgeRefused:
            # A case that it became is durable before anybody hears of it.
            self.do([])
            raise
        self.stage.add_swap(terms, purchase)
        try:
            tasks = self.watcher.begin(terms, salt, self.clock)
        except BridgeRefused as refused:
            gate.give_back(clearance)
            self.stage.refused(refused.code)
            return
        gate.began(tasks[0][0], clearance)
        self.on_begin(terms, range(1, len(terms.legs)), clearance)
        self.purse.plan(due_of_payer(tasks[0][0], terms, purchase.route))
        self.do(tasks)

    def runs(self, purchase: Purchase) -> bool:
        """Tell whether the swap of an order runs here."""
        machines = self.watcher.machines() if self.watcher is not None else ()
        return purchase.order is not None and any(each.terms.uetr == purchase.order.uetr for each in machines)

    def quote(self, total: int) -> SignedQuote:
        """Make a firm quote, and have the ledger keep it as well. Raises BridgeRefused."""
        assert self.dealer is not None
        made = self.dealer.quote(total, self.clock)
        self.commit()
        self.dealer.open_on_ledger(self, made.quote)
        return made

    def hear_chain(self, clock: ChainClock) -> None:
        """Hear of a foreign block."""
        if self.watcher is not None:
            self.watcher.chain_clock(CHAIN, clock, self.clock)

    def tell(self, party: bytes, event: Event) -> None:
        """Hear an event of one swap."""
        if self.watcher is not None:
            if isinstance(event, AcceptanceRefused) and event.code == BridgeCode.PREMIUM_OWED:
                self.pay_premium(party)
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

    def care(self) -> None:
        """Look after what is not a machine's: quotes that expire, transfers that nobody has answered."""
        if self.watcher is None:
            return
        if self.dealer is not None:
            self.dealer.release(self.clock)
        self.purse.again(self.clock)
        if self.gate is not None:
            self.gate.tick(self.clock)
            for send in self.gate.outcomes_due(self, self.clock):
                send()
        self.do([])

    def hear_breaker(self, line: BlockLine, domain: int, height: int, body: bytes) -> BridgeCode | None:
        """Hear that a ledger has decided a breaker of a corridor; return why that is not believed."""
        if self.gate is None:
            return BridgeCode.BREAKER_UNPROVED
        try:
            self.gate.hear_breaker(line, domain, height, body, self.commit)
        except BridgeRefused as refused:
            return refused.code
        return None

    def decide(self, case_id: str, step: Step, officer: str, text: str = "") -> BridgeCode | None:
        """Let an officer act on a case; return why he may not."""
        assert self.gate is not None
        code = self.gate.step(case_id, step, officer, self.clock, text)
        self.do([])
        return code

    def asked(self, question: Question, answer_to: Party, party: bytes) -> None:
        """Accept a swap or refuse it, and answer when that is durable."""
        if not self.serves:
            if self.alive:
                self.stage.reach("asked_while_it_catches_up")
            return
        answer: Event = Accepted(question.leg, b"")
        life = self.life
        try:
            self._accept(question)
            if self.life != life:
                return
        except BridgeRefused as refused:
            self.stage.refused(refused.code)
            answer = AcceptanceRefused(question.leg, refused.code, refused.text)
        self.stage.send(self, answer_to.name, lambda: answer_to.tell(party, answer))

    def _accept(self, question: Question) -> None:
        """Hand a swap to its machine. Raises BridgeRefused with nothing done."""
        watcher, dealer, gate, now = self.watcher, self.dealer, self.gate, self.clock
        assert watcher is not None
        assert gate is not None
        assert dealer is not None
        party = question.terms.orders(self.stage.suite)[question.leg].lock_id
        if watcher.machine(party) is not None:
            return
        if self.villain == "refuses":
            raise BridgeRefused(BridgeCode.PROVIDER_REFUSED, "not today", leg=question.leg)
        if party in self.ends:
            raise BridgeRefused(BridgeCode.DUPLICATE_SWAP, party.hex())
        if self.purse.has_returned(party):
            raise BridgeRefused(BridgeCode.PROVIDER_REFUSED, "the premium went back", leg=question.leg)
        premium = self._premium(question)
        try:
            clearance = gate.admit(question, now)
        except BridgeRefused as refused:
            self._give_back(question, party, premium, refused)
            raise
        try:
            rows, taken_at = dealer.admit(question, party, now, premium)
        except BridgeRefused as refused:
            gate.give_back(clearance)
            self._give_back(question, party, premium, refused)
            raise
        try:
            tasks = watcher.accept(question.terms, question.leg, now)
        except BridgeRefused:
            dealer.undo(party)
            gate.give_back(clearance)
            self.commit()
            raise
        gate.began(party, clearance)
        self.on_begin(question.terms, range(question.leg, question.leg + 1), clearance)
        self.shown[party] = question.envelope
        self.accepted[party] = taken_at
        self.purse.plan(rows)
        self.purse.start(party, Due.PAID, now)
        self.do(tasks)

    def _premium(self, question: Question) -> Premium:
        """Look for the premium that the party of the leg before owes for this swap."""
        assert self.dealer is not None
        leg, owed = question.terms.legs[question.leg - 1], self.dealer.owed(question)
        if not owed or leg.foreign or not self.stage.linked(self, self.stage.place_of_ledger(leg.ledger).name):
            return Premium()
        return self.stage.premium(leg, owed, int.from_bytes(question.terms.uetr, "big"))

    def _give_back(self, question: Question, party: bytes, premium: Premium, refused: BridgeRefused) -> None:
        """Send back a premium whose option is refused for good; once."""
        for_good = refused.meaning.code_class is CodeClass.NO
        if not premium.is_final or not for_good or party in self.accepted or self.purse.has_returned(party):
            return
        assert self.dealer is not None
        self.stage.reach("premium_returned")
        paid, uetr = question.terms.legs[question.leg - 1], int.from_bytes(question.terms.uetr, "big")
        self.purse.give_back(party, paid, self.dealer.owed(question), uetr, self.clock)
        self.do([])

    # What it does.

    def act(self, party: bytes, action: Action) -> None:
        """Do one thing."""
        stage = self.stage
        if isinstance(action, Journal):
            self.commit()
            self.journal.append(encode_entry(action.entry))
            self._written.setdefault(party, []).append(action.entry.kind)
        elif isinstance(action, Finished):
            self._finished(party, action)
        elif isinstance(action, Alarm):
            stage.reach(f"alarm_{action.kind.value}")
        elif isinstance(action, Lock):
            self.lock(party, action)
        elif isinstance(action, AskAcceptance):
            self.ask(party, action)
        elif isinstance(action, Look):
            self.look(party, action)
        elif isinstance(action, Reveal):
            self.reveal(party, action)
        elif isinstance(action, ClaimForeign):
            order = stage.orders(party)[action.leg]
            stage.send(self, CHAIN, lambda: stage.wish(ClaimWish(order, action.preimage)))
        elif isinstance(action, RefundForeign):
            order = stage.orders(party)[action.leg]
            stage.send(self, CHAIN, lambda: stage.wish(RefundWish(order)))

    def _finished(self, party: bytes, end: Finished) -> None:
        self.ends[party] = end
        self.stage.reach(end.outcome.name.lower())
        claimed = end.outcome in CLAIMED
        if self.dealer is not None:
            self.dealer.end(party, claimed=claimed)
        if self.gate is not None:
            self.gate.ended(party, end.outcome)
        self.purse.end(party, self.clock, claimed=claimed)

    def lock(self, party: bytes, action: Lock) -> None:
        """Send our lock where it belongs."""
        stage, terms = self.stage, self.stage.terms(party)
        if terms.legs[action.leg].foreign:
            stage.send(self, CHAIN, lambda: stage.wish(LockWish(action.order)))
            return
        place = stage.place_of(terms, action.leg)
        record = terms.lock_record(
            action.leg,
            stage.suite,
            key_id=place.world.banks[self.index].account_key,
            now_ns=action.signed_at_ns,
            window_s=WINDOW_S,
        )
        stage.send(self, place.name, lambda: stage.submit(place, record))

    def pay_premium(self, party: bytes) -> None:
        """Pay for the option as it is taken."""
        self.purse.start(party, Due.ASKED, self.clock)

    def ask(self, party: bytes, action: AskAcceptance) -> None:
        """Ask a provider."""
        stage, other = self.stage, self.others[action.leg]
        question = self.question(party, action.leg)
        stage.send(self, other.name, lambda: other.asked(question, self, party))

    def question(self, party: bytes, leg: int) -> Question:
        """Return what a provider is asked."""
        terms = self.stage.terms(party)
        purchase = self.stage.purchases[terms.digest(self.stage.suite)]
        envelope = part_of(self.stage.suite, purchase.envelopes, leg - 1) if purchase.envelopes else b""
        return Question(terms, leg, purchase.encoded[leg - 1 :], envelope)

    def reveal(self, party: bytes, action: Reveal) -> None:
        """Submit a reveal."""
        del party
        self.stage.send(self, "relay", lambda: self.stage.reveal(action.preimage))

    def look(self, party: bytes, action: Look) -> None:
        """Look at a lock; the answer comes back on the same line."""
        stage, terms = self.stage, self.stage.terms(party)
        if terms.legs[action.leg].foreign:
            stage.send(
                self, CHAIN, lambda: self._answer(party, action.leg, stage.chain_view(action.order)), twice=False
            )
            return
        place = stage.place_of(terms, action.leg)
        debit = terms.legs[action.leg].debit_id

        def asked() -> None:
            view = stage.verifier.view(action.order, terms.hash_function, place.say(debit, action.order.lock_id))
            self._answer(party, action.leg, view)

        stage.send(self, place.name, asked)

    def _answer(self, party: bytes, leg: int, view: LockView) -> None:
        if view.state is LockState.SEEN and view.reason:
            self.stage.reach("held_seen")
        self.stage.reply(self, lambda: self.tell(party, LockSeen(leg, view)))
