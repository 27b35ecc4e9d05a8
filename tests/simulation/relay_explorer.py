"""Every run of a height that is small enough: three honest members, one liar, a few views, the core of production.

The liar has the wires and every message that was ever signed. It puts together certificates from the votes and timeouts
of the honest and from its own, which it signs as it likes, leads its view with any proposal, and shows anything to
anybody, in any order, or never. Members give up views when they like and may restart once from what is durable. So a
member's own counting of votes, which can only find certificates that the liar has as well, is left out, and so is what
comes after the height: agreement is broken as soon as certificates for two blocks could be put together.

A member's state is named by all that decides what it does later (``name_of``); its steps are remembered by that name
and the message, and found by repeating on a fresh core what led there. The states of the whole are triples of those.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations

from engine.types import VotePhase
from relay.actions import EvidenceFound, Persist, Send
from relay.consensus import ValidatorCore
from relay.messages import (
    BlockMessage,
    CertificateMessage,
    Proposal,
    TimeoutCertificateMessage,
    decode_message,
)
from relay.ports import ConsensusSettings, Member
from relay.vote_record import VoteRecord
from tests.behaviour.relay_doubles import GENESIS_HASH, START, SUITE, FakePool, Hands, member, reveal

COUNT = 4
PREPARE, COMMIT = VotePhase.PREPARE, VotePhase.COMMIT
# What a member does by itself: gives up its view, proposes, restarts.
GIVE_UP, WAKE, RESTART = ("give up",), ("wake",), ("restart",)


class AgreementBroken(AssertionError):  # noqa: N818 - a verdict
    """What must never be, and the steps that lead there."""


@dataclass(frozen=True, slots=True)
class Local:
    """A member's state: its name, everything it ever signed or proposed, and how often it restarted."""

    name: tuple
    facts: frozenset
    restarts: int


@dataclass(slots=True)
class Outcome:
    """What the exploration found. ``locals`` by member; ``deepest`` is the number of steps of the longest shortest way."""

    states: int = 0
    steps: int = 0
    deepest: int = 0
    locals: dict[int, int] = field(default_factory=dict)
    final: set = field(default_factory=set)


class Explorer:
    """One small network: ``liar`` leads its own view (member v leads view v), ``views`` are those that may begin."""

    def __init__(self, liar: int, views: int = 2, *, restarts: int = 1) -> None:
        self.liar = liar
        self.views = views
        self.restarts = restarts
        self.hands = Hands()
        self.honest = tuple(each for each in range(COUNT) if each != liar)
        self._members = [self._member(key) for key in self.hands.keys]
        self.blocks: dict[bytes, bytes] = {}
        self.locals: list[Local] = []
        self._numbers: dict[tuple[int, Local], int] = {}
        self._ways: list[tuple[int, tuple]] = []
        self._steps: dict[tuple[int, tuple], int] = {}
        self._offers: dict[frozenset, tuple] = {}
        self._known: dict[tuple, tuple] = {}
        self._after: dict[tuple[int, tuple], tuple[int, ...]] = {}
        self._bytes: dict[tuple, bytes] = {}
        self._made: dict[tuple, object] = {}
        self._durable: bytes | None = None
        self.own = [self._keep(self.hands.block(reveal(1 + at), view=view)) for view, at in self._own_blocks()]

    @staticmethod
    def _member(key) -> Member:
        """Return a member who signs each message once and knows the signature from then on."""
        signer = member(key)
        return replace(signer, sign=lru_cache(maxsize=None)(signer.sign))

    def _own_blocks(self) -> list[tuple[int, int]]:
        """Return (view, number) of the liar's blocks: two in its own view, so that it can propose both."""
        return [(self.liar, 0), (self.liar, 1)] if self.liar < self.views else []

    def _keep(self, block) -> bytes:
        name = block.hash(SUITE)
        self.blocks[name] = block.encode()
        return name

    # One member.

    def start(self, node: int) -> int:
        """Return the number of a member's first state."""
        core = self._core(node, None)
        return self._number(node, self._local(core, frozenset(), 0), ())

    def _core(self, node: int, record: bytes | None) -> ValidatorCore:
        core = ValidatorCore(
            state=self.hands.state,
            member=self._members[node],
            votes=VoteRecord.opened(record, 0),
            settings=ConsensusSettings(),
            now=START,
            pool=FakePool(),
            checker=self.hands.checker,
        )
        core.start(START)
        return core

    def _number(self, node: int, local: Local, way: tuple) -> int:
        known = self._numbers.get((node, local))
        if known is None:
            known = self._numbers[node, local] = len(self.locals)
            self.locals.append(local)
            self._ways.append((node, way))
        return known

    def step(self, number: int, event: tuple) -> int:
        """Return the state after an event; the same one where nothing changed."""
        known = self._steps.get((number, event))
        if known is None:
            node, way = self._ways[number]
            local = self.locals[number]
            core, facts, restarts = self._core(node, None), set(), 0
            self._durable = None
            for each in (*way, event):
                core = self._apply(node, core, each, facts)
                restarts += each == RESTART
            after = self._local(core, frozenset(facts), restarts)
            known = number if after == local else self._number(node, after, (*way, event))
            self._steps[number, event] = known
        return known

    def _apply(self, node: int, core: ValidatorCore, event: tuple, facts: set) -> ValidatorCore:
        if event == RESTART:
            # What a start sends is what was signed before.
            return self._core(node, self._durable)
        if event == GIVE_UP:
            core.changes.time_out()
            core.settle()
            actions = core.desk.take()
        elif event == WAKE:
            core.round.propose()
            core.settle()
            actions = core.desk.take()
        else:
            actions = core.receive(self.liar, self._bytes[event], START)
        written = [each for each in actions if isinstance(each, Persist)]
        for each in written[:-1]:
            self._signed(node, VoteRecord.decode(each.record), facts)
        if written:
            self._durable = written[-1].record
        self._signed(node, core.votes, facts)
        for action in actions:
            if isinstance(action, Send):
                self._sent(action.message, facts)
            elif isinstance(action, EvidenceFound) and action.proof.member != self.liar:
                raise AgreementBroken(f"evidence against member {action.proof.member}, who is honest")
        return core

    def _signed(self, node: int, record: VoteRecord, facts: set) -> None:
        for own in (record.prepare, record.commit):
            if own is not None:
                vote = own.vote
                others = {each[4] for each in facts if each[:4] == ("vote", node, vote.phase, vote.view)}
                if others - {vote.block_hash}:
                    raise AgreementBroken(f"member {node} votes twice in view {vote.view}")
                facts.add(("vote", node, vote.phase, vote.view, vote.block_hash))
        if record.timeout is not None:
            said = record.timeout.timeout
            facts.add(("timeout", node, said.view, said.high_view_plus_one))

    def _sent(self, data: bytes, facts: set) -> None:
        message = decode_message(data, GENESIS_HASH)
        if isinstance(message, Proposal):
            self.blocks.setdefault(message.vote.block_hash, message.block)
            event = ("proposal", message.vote.view, message.vote.block_hash, digest_of(message))
            self._bytes[event] = data
            facts.add(("event", *event))

    def _local(self, core: ValidatorCore, facts: frozenset, restarts: int) -> Local:
        return Local(name_of(core), facts, restarts)

    # What the liar can show.

    def _make(self, facts: frozenset) -> tuple:
        """Return all messages that can be put together once these facts are known."""
        made = [each[1:] for each in facts if each[0] == "event"]
        prepared = self._prepared(facts)
        made += [("prepared", view, block) for view, block in prepared]
        entered = self._entered(facts, prepared)
        of_view = {view + 1: block for view, block in prepared}
        made += [("entered", view, high, of_view.get(high, b"")) for view, high in entered]
        # The same without the certificate that it names: to be refused.
        made += [("entered", view, high, b"") for view, high in entered if high]
        if self.liar < self.views:
            made += self._proposals(prepared, entered)
        made += [("block", block) for block in self.blocks if any(each[1:] == block for each in prepared)]
        return tuple(sorted(made, key=repr))

    def _prepared(self, facts: frozenset) -> dict[tuple[int, bytes], object]:
        """Return the prepare certificates that two honest members and the liar make."""
        return {
            (view, block): self._certificate(view, block, voters) for (view, block), voters in votes_in(facts, PREPARE)
        }

    def _certificate(self, view: int, block: bytes, voters: list[int]):
        event = ("prepared", view, block)
        if event in self._made and (block in self.blocks) == (("block", block) in self._bytes):
            return self._made[event]
        made = self._made[event] = self.hands.certificate(sorted((*voters[:2], self.liar)), block, view)
        self._bytes.setdefault(event, CertificateMessage(made.encode()).encode(GENESIS_HASH))
        if block in self.blocks:
            answer = BlockMessage(1, block, self.blocks[block], b"").encode(GENESIS_HASH)
            self._bytes.setdefault(("block", block), answer)
        return made

    def _entered(self, facts: frozenset, prepared: dict) -> dict[tuple[int, int], object]:
        """Return the timeout certificates, by view and the highest certificate named, that can be put together."""
        made = {}
        for view in range(self.views - 1):
            said = sorted((each[1], each[3]) for each in facts if each[0] == "timeout" and each[2] == view)
            names = {0} | {its_view + 1 for its_view, _ in prepared if its_view <= view}
            for pair in combinations(said, 2):
                for own in sorted(names):
                    high = max(own, *(each[1] for each in pair))
                    made.setdefault((view, high), self._timeouts(view, high, (*pair, (self.liar, own)), prepared))
        return made

    def _timeouts(self, view: int, high: int, rows: tuple, prepared: dict):
        highs = {its_view + 1: certificate for (its_view, _), certificate in prepared.items()}
        event = ("entered", view, high, highs[high].block_hash if high else b"")
        if event in self._made:
            return self._made[event]
        named = {index: highs[each] for index, each in rows if each}
        made = self.hands.timeouts(sorted(index for index, _ in rows), view, named)
        shown = highs[high].encode() if high else b""
        message = TimeoutCertificateMessage(made.encode(), shown).encode(GENESIS_HASH)
        self._made[event], self._bytes[event] = made, message
        bare = TimeoutCertificateMessage(made.encode(), b"").encode(GENESIS_HASH)
        self._bytes.setdefault(("entered", view, high, b""), bare)
        return made

    def _proposals(self, prepared: dict, entered: dict) -> list[tuple]:
        """Return every proposal of the liar in its view: its own blocks, or any that was prepared, with any proof."""
        made = []
        if not self.liar:
            made += [self._proposal(block, None, None, ()) for block in self.own]
        for (view, high), certificate in entered.items():
            if view != self.liar - 1:
                continue
            made += [self._proposal(block, certificate, None, (high,)) for block in self.own]
            for (its_view, block), shown in prepared.items():
                if its_view < self.liar:
                    made.append(self._proposal(block, certificate, shown, (high, its_view)))
        return made

    def _proposal(self, block: bytes, entered, shown, proof: tuple) -> tuple:
        event = ("proposal", self.liar, block, proof)
        if event not in self._bytes:
            vote = self.hands.vote(self.liar, block, self.liar)
            parts = [each.encode() if each is not None else b"" for each in (entered, shown)]
            message = Proposal(self.liar, vote.vote, vote.signature, self.blocks[block], b"", *parts)
            self._bytes[event] = message.encode(GENESIS_HASH)
        return event

    # All of them together.

    def events(self, number: int, offers: tuple) -> list[tuple]:
        """Return what can happen to a member now."""
        local = self.locals[number]
        view, gave_up, wanted = local.name[0], local.name[1], local.name[2]
        found = [each for each in offers if each[0] != "block" or each[1] in wanted]
        if view < self.views - 1 and gave_up < view:
            found.append(GIVE_UP)
        if view == 0 and self._ways[number][0] == 0 and not local.facts:
            found.append(WAKE)
        if local.restarts < self.restarts and local.facts:
            found.append(RESTART)
        return found

    def after(self, number: int, offers: tuple) -> tuple[int, ...]:
        """Return the states of a member right after it signed something more.

        Before that it may have taken anything that is offered. What it takes without signing changes nothing for the
        others, and all that is offered stays so; therefore it may as well be taken just before it tells.
        """
        known = self._after.get((number, offers))
        if known is not None:
            return known
        facts = self.locals[number].facts
        told, silent, waiting = set(), {number}, [number]
        while waiting:
            here = waiting.pop()
            for event in self.events(here, offers):
                then = self.step(here, event)
                if self.locals[then].facts != facts:
                    told.add(then)
                elif then not in silent:
                    silent.add(then)
                    waiting.append(then)
        self._after[number, offers] = known = tuple(sorted(told))
        return known

    def explore(self, states_max: int = 10_000_000) -> Outcome:
        """Visit every state; raises AgreementBroken with the way to one that must not be."""
        outcome = Outcome()
        first = tuple(self.start(node) for node in self.honest)
        before: dict[tuple, tuple | None] = {first: None}
        waiting: deque[tuple[tuple, int]] = deque([(first, 0)])
        while waiting:
            state, outcome.deepest = waiting.popleft()
            offers = self._judge(state, before, outcome)
            for at, number in enumerate(state):
                for after in self.after(number, offers):
                    outcome.steps += 1
                    then = (*state[:at], after, *state[at + 1 :])
                    if then not in before:
                        before[then] = state
                        waiting.append((then, outcome.deepest + 1))
            if len(before) > states_max:
                raise AssertionError(f"more than {states_max} states")
        outcome.states = len(before)
        for node, _ in self._ways:
            outcome.locals[node] = outcome.locals.get(node, 0) + 1
        return outcome

    def _judge(self, state: tuple, before: dict, outcome: Outcome) -> tuple:
        """Return what the liar can show in a state; demand that it is no two final blocks."""
        facts = frozenset().union(*(self.locals[each].facts for each in state))
        offers = self._offers.get(facts)
        if offers is None:
            final = {block for (_, block), _ in votes_in(facts, COMMIT)}
            outcome.final |= final
            if len(final) > 1:
                raise AgreementBroken("two final blocks: " + "; ".join(self._story(state, before)))
            offers = self._make(facts)
            # One value for each, so that what was worked out for it is found again.
            offers = self._offers[facts] = self._known.setdefault(offers, offers)
        return offers

    def _story(self, state: tuple | None, before: dict) -> list[str]:
        """Return what each member signed on the way to a state, in order."""
        told: list[str] = []
        while state is not None:
            earlier = before[state]
            for at, number in enumerate(state):
                if earlier is None or earlier[at] != number:
                    seen = self.locals[earlier[at]].facts if earlier is not None else frozenset()
                    told += [self._words(self.honest[at], each) for each in self.locals[number].facts - seen]
            state = earlier
        return told[::-1]

    def _words(self, node: int, fact: tuple) -> str:
        return f"{node}: " + " ".join(each.hex()[:6] if isinstance(each, bytes) else str(each) for each in fact)


def votes_in(facts: frozenset, phase: VotePhase) -> list[tuple[tuple[int, bytes], list[int]]]:
    """Return (view, block) and its honest voters where they make a quorum with the liar."""
    voters: dict[tuple[int, bytes], list[int]] = {}
    for each in facts:
        if each[0] == "vote" and each[2] is phase:
            voters.setdefault((each[3], each[4]), []).append(each[1])
    return sorted((place, sorted(its)) for place, its in voters.items() if len(its) >= 2)


def digest_of(message: Proposal) -> tuple:
    """Return what justifies a proposal: the highest view that its timeouts name, and the view of its certificate."""
    from engine.validators import Certificate
    from relay.timeouts import TimeoutCertificate

    if not message.timeout_certificate:
        return ()
    high = (TimeoutCertificate.decode(message.timeout_certificate).high_view_plus_one,)
    return (*high, Certificate.decode(message.high).view) if message.high else high


def name_of(core: ValidatorCore) -> tuple:
    """Return all that decides what a member does later; view, the view given up and wanted blocks come first."""
    round_, record = core.round, core.votes
    return (
        round_.view,
        record.timed_out_view,
        frozenset(round_.wanted),
        _certificate(round_.high),
        _entered(round_.entered),
        tuple((view, each[1].block_hash) for view, each in sorted(round_.proposals.items())),
        tuple(sorted((name, body.checked) for name, body in round_.bodies.by_hash.items())),
        tuple(sorted((view, int(phase), block) for view, phase, block in round_.witness.certificates)),
        _vote(record.prepare),
        _vote(record.commit),
        record.timeout.timeout.encode() if record.timeout else b"",
        record.lock_view_plus_one,
        record.lock_hash,
        _certificate(record.high),
        _entered(record.entered),
        tuple(each.block_hash for each in record.blocks),
    )


def _certificate(certificate) -> tuple:
    return () if certificate is None else (certificate.view, certificate.block_hash)


def _entered(entered) -> tuple:
    return () if entered is None else (entered.view, entered.high_view_plus_one)


def _vote(own) -> tuple:
    return () if own is None else (own.vote.view, own.vote.block_hash)
