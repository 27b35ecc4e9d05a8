"""The validator core: messages and time in, actions out; the very code that runs in production and in simulation.

It promises that a final block is never undone while liars hold at most F of the power, whatever is lost, delayed,
repeated or restarted, and that heights become final in order. It knows no clock, disk, socket or thread: the shell
hands in time and messages, and performs the actions in their order (``relay.actions``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.refusals import EncodingError, ProofRefused
from engine.types import RelayRecordType, VotePhase
from engine.validators import Statement
from relay.actions import Finalized, Refused
from relay.checker import Checker
from relay.desk import Desk
from relay.errors import BlockRefused, MessageRefused
from relay.followed import Followed
from relay.messages import (
    BlockMessage,
    BlockRequest,
    CertificateMessage,
    Proposal,
    Status,
    StatusRequest,
    TimeoutCertificateMessage,
    TimeoutMessage,
    VoteMessage,
    decode_message,
)
from relay.neighbours import Neighbours, Recent, height_of
from relay.pacemaker import NEVER, Pacemaker, RateLimit
from relay.ports import ConsensusSettings, Counters, EmptyPool
from relay.round import Round
from relay.signing import Signer
from relay.view_change import ViewChange
from relay.vote_record import KeptBlock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.relay_block import RelayBlock
    from engine.validators import Certificate, ValidatorSet
    from relay.actions import Action
    from relay.messages import Message
    from relay.offers import PoolItem
    from relay.ports import Member, Pool, State
    from relay.transcript import Transcript
    from relay.vote_record import VoteRecord

__all__ = ["ValidatorCore"]


class ValidatorCore:
    """One validator, or an observer (``member`` None), from the height after ``state`` on.

    ``certificate`` is the commit certificate of the state's tip (default: the state's own), which a leader needs;
    ``checker`` may be shared by the cores of one process. ``desk``, ``round`` and ``changes`` are for the parts of
    the core; ``pool_version`` counts the offers taken. A shell reads the properties and calls ``start``, then the rest.
    """

    def __init__(
        self,
        *,
        state: State,
        member: Member | None,
        votes: VoteRecord,
        settings: ConsensusSettings,
        now: int,
        pool: Pool | None = None,
        certificate: Certificate | None = None,
        checker: Checker | None = None,
    ) -> None:
        checker = checker or Checker(state.suite, state.genesis.hash)
        self.state = state
        self.pool: Pool = pool or EmptyPool()
        self.counters = Counters()
        self.desk = Desk(
            state.suite,
            state.genesis.hash,
            settings,
            checker,
            Signer(member, votes, checker),
            Pacemaker(now),
            RateLimit(settings.request_ns),
            self.counters,
        )
        self.pool_version = 0
        self._followed = Followed()
        self._proposed_at = 0
        self._opened_at = now
        self._neighbours = Neighbours(self, now)
        self._open(certificate or state.certificate, ())

    # What the shell reads.

    @property
    def next_wake(self) -> int:
        """The instant, ns, at which ``tick`` wants to be called; far in the future for none."""
        return self.desk.pacemaker.next_wake

    @property
    def height(self) -> int:
        """The height in progress."""
        return self.round.height

    @property
    def view(self) -> int:
        """The view in progress."""
        return self.round.view

    @property
    def index(self) -> int | None:
        """This member's index in the set that decides ``height``; None for an observer."""
        return self.desk.signer.index

    @property
    def validators(self) -> ValidatorSet:
        """The set that decides ``height``: what ``to`` of a Send and ``sender`` of ``receive`` refer to."""
        return self.round.validators

    @property
    def votes(self) -> VoteRecord:
        """The vote record as it stands."""
        return self.desk.signer.record

    @property
    def may_sign(self) -> bool:
        """Whether this member may vote at ``height``."""
        return self.desk.signer.may_sign

    @property
    def transcript(self) -> Transcript:
        """What was seen of ``height`` so far; a block of that height that sync brings is kept with it."""
        return self.round.witness.transcript()

    # What the shell calls.

    def start(self, now: int) -> list[Action]:
        """Begin, or go on where the vote record says this member was; call once, before anything else."""
        desk, signer = self.desk, self.desk.signer
        desk.pacemaker.observe(now)
        self._neighbours.recall.nonce = now
        if signer.member is not None and signer.record.restored:
            signer.keep_restored(desk.actions)
            desk.pacemaker.recall = now + desk.settings.view_ns
        if self.state.height or signer.record.height or signer.record.restored:
            self._neighbours.ask_all()
        self._resume()
        self.settle()
        return desk.take()

    def receive(self, sender: int | None, message: bytes, now: int) -> list[Action]:
        """Take a message; ``sender`` is the peer's index in ``validators``, None where it is no member of it.

        Never raises for what a peer sent: a refusal is counted and returned as an action.
        """
        self.desk.pacemaker.observe(now)
        try:
            self.route(sender, decode_message(message, self.desk.genesis_hash))
        except MessageRefused as refusal:
            self._refuse(sender, refusal.reason)
        except EncodingError as error:
            self._refuse(sender, "wrong_genesis" if error.what == "message genesis" else "malformed")
        self.settle()
        return self.desk.take()

    def tick(self, now: int) -> list[Action]:
        """Do what is due; early or late calls do no harm."""
        self.desk.pacemaker.observe(now)
        try:
            self._due(now)
        except MessageRefused as refusal:
            self._refuse(self.index, refusal.reason)
        self.settle()
        return self.desk.take()

    def offer(self, item: PoolItem, now: int, more: Iterable[PoolItem] = ()) -> list[Action]:
        """Put something into the pool, and more of it; a leader that was waiting for work proposes at once."""
        self.desk.pacemaker.observe(now)
        taken = sum(self.pool.offer(each, self.state) for each in (item, *more))
        if taken:
            self.pool_version += taken
            self._end_rest()
            self._schedule_proposal()
            if self.desk.pacemaker.propose <= now:
                self._propose()
        self.settle()
        return self.desk.take()

    def note_followed(self, shard: int, height: int, header_hash: bytes, *, held: bool) -> None:
        """Note that this validator executed a shard up to a header, to its roots; ``held``: it keeps the bodies."""
        self._followed.note(shard, height, header_hash, held=held)

    def adopt(self, state: State, block: RelayBlock, certificate: Certificate, now: int) -> list[Action]:
        """Go on from a later final height that sync has verified and stored; an earlier one changes nothing."""
        self.desk.pacemaker.observe(now)
        if state.height >= self.height:
            kept = KeptBlock(state.tip_hash, block.encode(), b"")
            self._neighbours.remember(state.height, Recent(certificate, (), kept))
            self._begin(state, block, certificate, ())
            self.settle()
        return self.desk.take()

    def know_floor(self, floor: int, now: int) -> list[Action]:
        """Take a height up to which this member may have signed what it forgot; it signs above it from now on.

        For a restored member of no set so far, which nobody answers: the caller asked a quorum of the set in force.
        """
        self.desk.pacemaker.observe(now)
        if self.desk.signer.record.restored:
            self.desk.signer.set_floor(floor, self.desk.actions)
            self.desk.pacemaker.recall = NEVER
        return self.desk.take()

    # Time.

    def _due(self, now: int) -> None:
        pacemaker = self.desk.pacemaker
        if pacemaker.recall <= now:
            self._neighbours.ask_all()
            pacemaker.recall = now + self.desk.settings.view_ns
        if pacemaker.request <= now:
            self._neighbours.request_blocks()
        if pacemaker.propose <= now:
            self._propose()
        over, again = pacemaker.view_end <= now, pacemaker.repeat <= now
        if over:
            self.changes.time_out()
        elif again:
            self.changes.repeat()
        if (over or again) and not self.may_sign:
            self._neighbours.ask_all()

    def _propose(self) -> None:
        self.round.propose()
        if 0 in self.round.proposals:
            self._proposed_at = self.desk.now

    def _schedule_proposal(self) -> None:
        """Set when a leader of view 0 proposes: with work at once, without it after a while; spaced from the last."""
        round_, settings = self.round, self.desk.settings
        if round_.view or not round_.leads or 0 in round_.proposals or round_.gave_up_view >= 0:
            return
        spaced = min(self._proposed_at, self.desk.now) + self.desk.spacing_ns
        at_once = round_.height == 1 or self.pool.has_work(self.state)
        pause = 0 if at_once else settings.idle_ns + settings.rest_ns
        self.desk.pacemaker.propose = max(spaced, self._opened_at + pause)

    def _begin_view(self, view: int) -> None:
        """Start the time of a view; the leader of view 0 has longer where nothing waits and the relay may rest."""
        desk = self.desk
        desk.pacemaker.begin_view(view, desk.view_ns, desk.settings.view_ns_max)
        if desk.settings.rest_ns and not view and not self.pool.has_work(self.state):
            desk.pacemaker.view_end += desk.settings.rest_ns

    def _end_rest(self) -> None:
        """From now on view 0 lasts what it lasts where there is work: there is, or the leader has proposed."""
        desk = self.desk
        if desk.settings.rest_ns and not self.round.view and self.round.gave_up_view < 0:
            desk.pacemaker.view_end = min(desk.pacemaker.view_end, desk.now + desk.view_ns)

    # Messages.

    def route(self, sender: int | None, message: Message) -> None:
        """Bring a message to the part that takes it; raises MessageRefused."""
        if isinstance(message, BlockRequest):
            self._neighbours.serve(sender, message)
        elif isinstance(message, StatusRequest):
            self._neighbours.answer_status(sender, message)
        elif isinstance(message, Status):
            self._neighbours.on_status(sender, message)
        elif isinstance(message, BlockMessage):
            if message.height != self.height:
                raise MessageRefused("not_asked_for", f"height {message.height}")
            self.round.on_block(message)
        else:
            height = height_of(message)
            if height < self.height:
                self._neighbours.old(sender, height, message)
            elif height > self.height:
                self._neighbours.later(sender, height, message)
            else:
                self._route_here(sender, message)

    def _route_here(
        self,
        sender: int | None,
        message: Proposal | VoteMessage | CertificateMessage | TimeoutMessage | TimeoutCertificateMessage,
    ) -> None:
        if isinstance(message, Proposal):
            if message.index == self.index:
                raise MessageRefused("own_message")
            self.changes.on_proposal(message)
            self._end_rest()
            self._proposed_at = self.desk.now
        elif isinstance(message, VoteMessage):
            self.round.on_vote(sender, message)
        elif isinstance(message, TimeoutMessage):
            self.changes.on_timeout(sender, message)
        elif isinstance(message, TimeoutCertificateMessage):
            self.changes.on_certificate(message)
        else:
            self._on_certificate(message)

    def _on_certificate(self, message: CertificateMessage) -> None:
        round_ = self.round
        certificate = self.desk.read_certificate(message.certificate, round_.validators, round_.height, None)
        prepares = certificate.phase is VotePhase.PREPARE
        if prepares and round_.high is not None and certificate.view <= min(round_.high.view, round_.view - 1):
            raise MessageRefused("old_view", f"{certificate.view}, now {round_.view}")
        self.desk.demand(round_.validators, certificate)
        if prepares:
            round_.on_prepared(certificate)
        else:
            round_.finish(certificate, self.named_statements(certificate, message.statements))

    def named_statements(self, certificate: Certificate, statements: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return the statement of each signer in order, empty where none of those at hand has its digest."""
        by_hash: dict[bytes, bytes] = {}
        for each in statements:
            try:
                by_hash[Statement.decode(each).hash(self.desk.suite)] = each
            except EncodingError:
                continue
        return tuple(by_hash.get(signer.executed_held, b"") for signer in certificate.signers)

    def learn_parent(self, certificate: Certificate) -> None:
        """Take the tip's certificate where this member has none: as leader it could propose nothing."""
        round_ = self.round
        if round_.parent is None and certificate.block_hash == self.state.tip_hash:
            round_.parent = certificate
            if round_.view:
                round_.propose()
            else:
                self._schedule_proposal()

    # From height to height.

    def settle(self) -> None:
        """Make final what is decided, as far as it goes."""
        while self.round.decided is not None:
            decided = self.round.decided
            block, certificate = decided.body.block, decided.certificate
            try:
                if not decided.body.checked:
                    self.state.check_place(block)
                state = self.state.after(block, certificate)
            except (BlockRefused, EncodingError, ProofRefused) as error:
                self._halt(error.reason if isinstance(error, BlockRefused) else "malformed")
                return
            self.round.note_pace(certificate)
            transcript = self.round.witness.transcript()
            generation = self.desk.signer.record.generation
            self.desk.actions.append(Finalized(block, certificate, decided.statements, transcript, generation))
            self.counters.finalized += 1
            self._neighbours.remember(state.height, Recent(certificate, decided.statements, decided.body.kept))
            self._begin(state, block, certificate, tuple(each for each in decided.statements if each))

    def _halt(self, reason: str) -> None:
        """More than a third certified a block that the rules refuse: sign nothing more, and say so."""
        self.counters.halted = 1
        self.round.decided = None
        self.desk.signer.silenced = True
        self._refuse(None, f"certified_{reason}")

    def _open(self, certificate: Certificate | None, statements: tuple[bytes, ...]) -> None:
        self._opened_at = self.desk.now
        self.desk.signer.silenced = self._neighbours.behind_height > self.state.height
        self.round = Round(self.desk, self.pool, self.state, (certificate, statements), self._followed.statement)
        self.changes = ViewChange(self.desk, self.round)

    def _begin(self, state: State, block: RelayBlock, certificate: Certificate, statements: tuple[bytes, ...]) -> None:
        """Go to the height after a final block."""
        desk, set_id = self.desk, self.validators.set_id
        self.state = state
        desk.reveals = sum(record.type is RelayRecordType.REVEAL for record in block.records)
        self.pool.finalized(state, block)
        self._open(certificate, statements)
        desk.pacemaker.request = NEVER
        if desk.signer.record.height == self.height:
            # The vote record was ahead of an old chain: go on where it left off, with what it committed on.
            self._resume()
        else:
            self._begin_view(0)
            self._schedule_proposal()
            if desk.pacemaker.propose <= desk.now:
                self._propose()
        same_set = self.validators.set_id == set_id
        for sender, message in self._neighbours.take_held():
            try:
                # The index of a sender is of the set that was: in another set it may be somebody else's.
                self.route(sender if same_set else None, message)
            except MessageRefused as refusal:
                self._refuse(sender, refusal.reason)

    def _resume(self) -> None:
        """Go on in the view where the vote record left off, and say again what was said."""
        desk, round_, here = self.desk, self.round, self.desk.signer.here
        round_.high, round_.entered = here.high, here.entered
        for kept in here.blocks:
            round_.restore(kept)
        if here.high is not None:
            round_.witness.saw_certificate(here.high)
        if here.entered is not None:
            round_.witness.saw_timeout_certificate(here.entered)
        round_.view = here.view
        self._begin_view(here.view)
        if here.timed_out_view >= here.view:
            self.changes.time_out()
            return
        round_.say_again()
        self._schedule_proposal()
        if here.view:
            round_.propose()
        elif desk.pacemaker.propose <= desk.now:
            self._propose()

    def _refuse(self, sender: int | None, reason: str) -> None:
        self.counters.refused[reason] = self.counters.refused.get(reason, 0) + 1
        self.desk.actions.append(Refused(sender, reason))
