"""One height: proposals, votes and certificates until a block is final; the leader's side and the voter's.

Everything here is about ``height``; what speaks of another height never reaches it. View changes stand in
``relay.view_change``. A block is decided when ``decided`` is set: its certificate holds and its body is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RelayBlock, evidence_record
from engine.types import ZERO_HASH, VotePhase
from engine.validators import Statement
from native.hashing import digest
from relay.actions import EvidenceFound
from relay.errors import BlockRefused, MessageRefused
from relay.messages import CertificateMessage, Proposal, VoteMessage
from relay.offers import Sidecar
from relay.pacemaker import NEVER
from relay.proposals import Bodies, Body
from relay.signing import Standing
from relay.tally import VIEW_WINDOW, VoteTally, distinct
from relay.vote_record import KeptBlock
from relay.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from engine.validators import Certificate, ValidatorSet, Vote
    from relay.blame import GuiltProof
    from relay.desk import Desk
    from relay.messages import BlockMessage
    from relay.ports import Pool, State
    from relay.timeouts import TimeoutCertificate
    from relay.vote_record import OwnVote

__all__ = ["Decided", "Round"]


@dataclass(frozen=True, slots=True)
class Decided:
    """A final block: its certificate holds. ``statements`` in the order of the signers, empty where unknown."""

    body: Body
    certificate: Certificate
    statements: tuple[bytes, ...]


class Round:
    """A height in progress. Methods that take a message raise MessageRefused when it has no place or does not hold."""

    def __init__(
        self,
        desk: Desk,
        pool: Pool,
        state: State,
        parent: tuple[Certificate | None, tuple[bytes, ...]],
        follow: Callable[[RelayBlock], Statement],
    ) -> None:
        self.desk = desk
        self.pool = pool
        self.state = state
        self.height = state.height + 1
        self.validators: ValidatorSet = state.set_at(self.height)
        self.order = state.leader_order(self.height)
        self.parent, self.parent_statements = parent
        self._follow = follow
        self.view = 0
        self.entered: TimeoutCertificate | None = None
        self.high: Certificate | None = None
        self.proposals: dict[int, tuple[int, Vote, bytes]] = {}
        self.bodies = Bodies(desk.suite, self.height)
        self.votes = VoteTally(desk.checker, self.validators)
        self.witness = Witness()
        self.wanted: dict[bytes, int] = {}
        self.final: tuple[Certificate, tuple[bytes, ...]] | None = None
        self.decided: Decided | None = None
        self._prepared: CertificateMessage | None = None
        self._proposal: Proposal | None = None
        self._heard_at: int | None = None
        desk.signer.begin(self.validators, self.height)

    def leader(self, view: int) -> int:
        """Return who leads a view."""
        return self.order[view % len(self.order)]

    @property
    def leads(self) -> bool:
        """Whether this member leads the current view."""
        return self.desk.signer.index == self.leader(self.view)

    @property
    def gave_up_view(self) -> int:
        """The last view this member gave up, or -1."""
        return self.desk.signer.here.timed_out_view

    @property
    def standing(self) -> Standing:
        """What this member knows now."""
        return Standing(self.high, self.entered)

    # The leader's side.

    def propose(self) -> None:
        """Propose in the current view, if it is this member's turn and nothing forbids it."""
        signer, view = self.desk.signer, self.view
        self.desk.pacemaker.propose = NEVER
        if not self.leads or not signer.may_sign or not signer.here.may_vote(VotePhase.PREPARE, view):
            return
        shown = self.high if view > 0 else None
        if view > 0 and (self.entered is None or self.entered.view != view - 1):
            return
        body = self.bodies.get(shown.block_hash) if shown else self._fresh()
        if body is None:
            if shown is not None:
                self.want(shown.block_hash)
            return
        if not signer.allows(body.kept.block_hash, shown):
            return
        own = signer.prepare(view, body.kept, self.desk.now, self.standing, self.desk.actions)
        if own is None or signer.index is None:
            return
        self.desk.counters.proposals += 1
        self.proposals[view] = (signer.index, own.vote, own.signature)
        self.tell_proposal(own, body, shown)
        self._count(VoteMessage(signer.index, own.vote, own.signature), own_word=True)

    def tell_proposal(self, own: OwnVote, body: Body, shown: Certificate | None) -> None:
        """Send this member's proposal of the current view to all."""
        assert self.desk.signer.index is not None
        self._proposal = Proposal(
            self.desk.signer.index,
            own.vote,
            own.signature,
            body.kept.block,
            body.kept.sidecar,
            self.entered.encode() if self.entered and self.view > 0 else b"",
            shown.encode() if shown else b"",
        )
        self.desk.pacemaker.repeat = self.desk.now + self.desk.view_ns
        self._heard()
        self.desk.send_all(self._proposal)

    def repeat(self) -> None:
        """Say again, to those whose votes are missing, what they may not have heard."""
        index = self.desk.signer.index
        if not self.leads or self._proposal is None or index is None:
            return
        phase = VotePhase.COMMIT if self._prepared else VotePhase.PREPARE
        voters = self.votes.voters(self.view, phase)
        for member in range(len(self.validators.members)):
            if member not in voters and member != index:
                self.desk.send(member, self._prepared or self._proposal)
        self.desk.pacemaker.repeat = self.desk.now + self.desk.view_ns

    def _fresh(self) -> Body | None:
        if self.height > 1 and self.parent is None:
            return None
        items = self.pool.take(self.state)
        block, sidecar = self.state.propose(
            items, self.parent, self.view, now=self.desk.now, statements=self.parent_statements
        )
        body = Body(block, KeptBlock(block.hash(self.desk.suite), block.encode(), sidecar.encode()), checked=True)
        return self.bodies.keep(body, *self._needed())

    def on_vote(self, sender: int | None, message: VoteMessage) -> None:
        """Count a vote for a view that this member leads."""
        vote = message.vote
        if message.index >= len(self.validators.members):
            raise MessageRefused("unknown_member", str(message.index))
        if vote.set_id != self.validators.set_id:
            raise MessageRefused("wrong_set", str(vote.set_id))
        if vote.view < self.view:
            raise MessageRefused("old_view", f"{vote.view}, now {self.view}")
        if vote.view >= self.view + VIEW_WINDOW:
            raise MessageRefused("view_window", f"{vote.view}, now {self.view}")
        if self.leader(vote.view) != self.desk.signer.index:
            raise MessageRefused("not_leader", f"view {vote.view}")
        self._check_statement(message)
        self._count(message, own_word=sender == message.index)

    def _check_statement(self, message: VoteMessage) -> None:
        vote = message.vote
        if not message.statement:
            if vote.executed_held != ZERO_HASH:
                raise MessageRefused("statement", "it is missing")
            return
        if vote.phase is VotePhase.PREPARE:
            raise MessageRefused("statement", "a prepare vote states nothing")
        try:
            statement = Statement.decode(message.statement)
        except EncodingError as error:
            raise MessageRefused("statement", str(error)) from error
        body = self.bodies.get(vote.block_hash)
        if body is not None and statement.count != body.header_count:
            raise MessageRefused("statement", f"of {statement.count} headers")
        if statement.hash(self.desk.suite) != vote.executed_held:
            raise MessageRefused("statement", "another than the vote's")

    def _count(self, message: VoteMessage, *, own_word: bool) -> None:
        vote = message.vote
        proof = self.votes.add(message, own_word=own_word)
        if proof is not None:
            self.found(self.witness.saw_vote(proof.member, proof.first.vote, proof.first.signature))
            self.found(self.witness.saw_vote(proof.member, proof.second.vote, proof.second.signature))
            raise MessageRefused("double_vote", f"member {proof.member}")
        if self.final is not None or (vote.phase is VotePhase.PREPARE and self._has_prepare(vote.view)):
            return
        made = self.votes.certify(vote.view, vote.phase, vote.block_hash)
        if made is None:
            return
        certificate, statements = made
        if certificate.phase is VotePhase.PREPARE:
            if certificate.view > self.view:
                self.enter(certificate.view, None)
            self._prepared = CertificateMessage(certificate.encode())
            self.desk.send_all(self._prepared)
            self.on_prepared(certificate)
        else:
            self.desk.send_all(CertificateMessage(certificate.encode(), distinct(statements)))
            self.finish(certificate, statements)

    def _has_prepare(self, view: int) -> bool:
        return self.high is not None and self.high.view >= view

    # The voter's side.

    def on_proposal(self, message: Proposal, shown: Certificate | None) -> None:
        """Vote for a proposal of the current view whose certificates were checked and taken (``relay.proposals``)."""
        vote, view = message.vote, message.vote.view
        self.found(self.witness.saw_vote(message.index, vote, message.signature))
        first = self.proposals.setdefault(view, (message.index, vote, message.signature))
        if first[1].block_hash != vote.block_hash:
            raise MessageRefused("double_proposal", f"member {message.index} in view {view}")
        body = self.bodies.read(message, vote.block_hash, *self._needed())
        if self.final is not None:
            self.finish(*self.final)
            return
        if view != self.view:
            return
        self._heard()
        header_view = body.block.header.view
        if (shown is None and header_view != view) or (shown is not None and header_view > shown.view):
            raise MessageRefused("wrong_view", f"a block of view {header_view} in view {view}")
        self._vote(body, shown)

    def _vote(self, body: Body, shown: Certificate | None) -> None:
        signer, block_hash = self.desk.signer, body.kept.block_hash
        prepared = signer.here.prepare
        if prepared is not None and (prepared.vote.view, prepared.vote.block_hash) == (self.view, block_hash):
            if self.gave_up_view < self.view and not self._has_prepare(self.view):
                self._deliver(prepared)
            return
        if not signer.may_sign or not signer.here.may_vote(VotePhase.PREPARE, self.view):
            return
        if not signer.allows(block_hash, shown):
            raise MessageRefused("locked", f"on view {signer.here.lock_view_plus_one - 1}")
        if shown is None:
            self._demand_valid(body)
        own = signer.prepare(self.view, body.kept, self.desk.now, self.standing, self.desk.actions)
        if own is not None:
            self.desk.counters.prepare_votes += 1
            self._deliver(own)

    def _demand_valid(self, body: Body) -> None:
        """Demand that the state allows a block; what a quorum prepared before was checked by more than F already."""
        if body.checked:
            return
        if 0 <= self.desk.now - body.refused < self.desk.settings.request_ns and body.refused >= 0:
            raise MessageRefused("block_refused_before")
        body.refused = self.desk.now
        try:
            self.state.check(body.block, Sidecar.decode(body.kept.sidecar), self.desk.now)
        except BlockRefused as error:
            raise MessageRefused(f"block_{error.reason}", error.detail) from error
        except (EncodingError, ProofRefused) as error:
            raise MessageRefused("block_malformed", str(error)) from error
        body.checked = True

    def on_prepared(self, certificate: Certificate) -> None:
        """Take a prepare certificate that holds: remember it, and lock and vote to commit where it is not too late."""
        self.found(self.witness.saw_certificate(certificate))
        if self.high is None or certificate.view > self.high.view:
            self.high = certificate
        if certificate.view > self.view:
            self.enter(certificate.view, None)
        if certificate.view < self.view or self.final is not None:
            return
        signer, committed = self.desk.signer, self.desk.signer.here.commit
        if committed is not None and committed.vote.view == certificate.view:
            if committed.vote.block_hash == certificate.block_hash:
                self._deliver(committed)
            return
        body = self.bodies.get(certificate.block_hash)
        encoded = self._follow(body.block).encode() if body else b""
        statement = (encoded, digest(self.desk.suite, encoded) if encoded else ZERO_HASH)
        own = signer.commit(certificate, self.desk.now, statement, self.standing, self.desk.actions)
        if own is not None:
            self.desk.counters.commit_votes += 1
            self._deliver(own)

    def finish(self, certificate: Certificate, statements: tuple[bytes, ...]) -> None:
        """Set ``decided`` if the body is here; ask for it otherwise."""
        self.found(self.witness.saw_certificate(certificate))
        if self.final is None:
            padded = statements if len(statements) == len(certificate.signers) else (b"",) * len(certificate.signers)
            self.final = (certificate, padded)
        certificate, statements = self.final
        body = self.bodies.get(certificate.block_hash)
        if body is None:
            self.want(certificate.block_hash)
        else:
            self.decided = Decided(body, certificate, statements)

    def _deliver(self, own: OwnVote) -> None:
        """Bring a vote of this member to the leader of its view."""
        signer = self.desk.signer
        assert signer.index is not None
        message = VoteMessage(signer.index, own.vote, own.signature, own.statement)
        leader = self.leader(own.vote.view)
        if leader == signer.index:
            self._count(message, own_word=True)
        else:
            self.desk.send(leader, message)

    # Views and blocks.

    def _heard(self) -> None:
        """Note when the proposal of the current view was here."""
        if self._heard_at is None:
            self._heard_at = self.desk.now

    def note_pace(self, certificate: Certificate) -> None:
        """Count how long agreement took, where it came about in the current view, be it after its end.

        A leader may be idle for a while; what it takes beyond that counts.
        """
        if self._heard_at is not None and certificate.view == self.view:
            settings, began = self.desk.settings, self.desk.pacemaker.began
            waited = min(max(0, self._heard_at - began), settings.idle_ns + settings.rest_ns)
            self.desk.pace.note(min(max(0, self.desk.now - began - waited), settings.view_ns_slow))

    def enter(self, view: int, entered: TimeoutCertificate | None) -> None:
        """Go to a later view; its leader is ``relay.view_change``'s to wake."""
        self.view = view
        if entered is not None:
            self.entered = entered
        self._prepared = None
        self._proposal = None
        self._heard_at = None
        self.votes.forget_before(view)
        self.proposals = {its_view: first for its_view, first in self.proposals.items() if its_view >= view}
        self.desk.counters.views += 1
        self.desk.pacemaker.begin_view(view, self.desk.view_ns, self.desk.settings.view_ns_max)

    def want(self, block_hash: bytes) -> None:
        """Ask the signers of a certificate, one after the other, for a block that is not here."""
        if block_hash not in self.wanted:
            self.wanted[block_hash] = 0
            self.desk.pacemaker.request = self.desk.now

    def on_block(self, message: BlockMessage) -> None:
        """Take a block that was asked for."""
        if message.block_hash not in self.wanted:
            raise MessageRefused("not_asked_for", message.block_hash.hex())
        self.bodies.read(message, message.block_hash, *self._needed())
        del self.wanted[message.block_hash]
        if self.final is not None:
            self.finish(*self.final)
        else:
            self.propose()

    def found(self, proofs: Iterable[GuiltProof]) -> None:
        """Report evidence, and offer it to the relay."""
        for proof in proofs:
            self.desk.counters.evidence += 1
            self.desk.actions.append(EvidenceFound(proof))
            self.pool.offer(evidence_record(proof), self.state)

    def say_again(self) -> None:
        """After a restart: bring the votes of the current view to their leader again, a proposal to all."""
        signer, here = self.desk.signer, self.desk.signer.here
        if signer.index is None:
            return  # its key is of no member here: what the record holds was signed with another one
        if here.commit is not None and here.commit.vote.view == self.view:
            self._deliver(here.commit)
        elif here.prepare is not None and here.prepare.vote.view == self.view and signer.may_sign:
            body = self.bodies.get(here.prepare.vote.block_hash)
            shown = self.high if self.high and self.high.block_hash == here.prepare.vote.block_hash else None
            if self.leads and body is not None:
                assert signer.index is not None
                self.proposals[self.view] = (signer.index, here.prepare.vote, here.prepare.signature)
                self.tell_proposal(here.prepare, body, shown)
            self._deliver(here.prepare)

    def restore(self, kept: KeptBlock) -> None:
        """Take a block out of the vote record: it was checked before it was voted for."""
        self.bodies.keep(Body(RelayBlock.decode(kept.block, self.desk.suite), kept, checked=True), self.high)

    def _needed(self) -> tuple[Certificate | None, Certificate | None]:
        return self.high, self.final[0] if self.final else None
