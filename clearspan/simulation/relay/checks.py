"""What must hold of every run, whatever happened in it; told by the nodes as they go, and held together at the end.

It judges by the law (powers, quorums, what may be signed), with sums of its own: a program that is wrong about them is
seen. Only the honest are bound; what liars sign is remembered where it convicts them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from engine.evidence import ConflictingVotes
from engine.refusals import EncodingError, ProofRefused
from engine.types import VotePhase
from engine.validators import VOTE_BYTES, Vote
from relay.blame import verify_guilt
from relay.errors import PASSING_REASONS, BlameRefused
from relay.messages import Proposal, TimeoutMessage, VoteMessage, decode_message
from relay.timeouts import TimeoutCertificate

if TYPE_CHECKING:
    from clearspan.simulation.relay.disk import Entry
    from clearspan.simulation.relay.stage import Actor, Stage
    from engine.validators import Certificate, ValidatorSet
    from relay.actions import Finalized, ForkSeen, Refused
    from relay.blame import GuiltProof
    from relay.state import RelayState
    from relay.sync import Adopt, Conflict

__all__ = ["Checks", "RelaySimulationFailed", "holds_quorum"]

# What an honest peer may be refused for: it was early or late, or it is not known as a member of the set at hand.
_INNOCENT: Final = PASSING_REASONS | {
    "wrong_set",
    "wrong_height",
    "unknown_member",
    "block_refused_before",
    # Clocks that differ by more than half the drift.
    "block_header_time_ahead",
}
_KIND_OFFSET: Final = 6
# In a vote record (AGREE-11): set, height, lock view plus one, lock hash.
_LOCK: Final = struct.Struct("<QQQ32s")
_LOCK_OFFSET: Final = 24
_LENGTH: Final = struct.Struct("<I")
_PARTS_OFFSET: Final = 84


class RelaySimulationFailed(AssertionError):  # noqa: N818 - a verdict, not an error of the program
    """What did not hold, and the one line that shows it again."""

    def __init__(self, seed: int, instant: int, what: str) -> None:
        line = f"clearspan simulate --part relay --seeds {seed}:{seed + 1}"
        super().__init__(f"{what} (at {instant / 1e9:.3f} s); again: {line}")
        self.seed = seed
        self.instant = instant
        self.what = what


def _commit_in(record: bytes) -> Vote | None:
    """Return the last vote to commit in a vote record."""
    at = _PARTS_OFFSET
    for _ in range(2):
        at += _LENGTH.size + _LENGTH.unpack_from(record, at)[0]
    (length,) = _LENGTH.unpack_from(record, at)
    return Vote.decode(record[at + _LENGTH.size :][:VOTE_BYTES]) if length else None


def holds_quorum(certificate: Certificate, validators: ValidatorSet) -> bool:
    """Say whether more than two thirds of the power stand in a certificate, each member once; by the law alone."""
    indexes = [signer.index for signer in certificate.signers]
    known = [index for index in indexes if 0 <= index < len(validators.members)]
    if len(frozenset(indexes)) != len(indexes) or known != indexes:
        return False
    power = sum(validators.members[index].power for index in indexes)
    return 3 * power > 2 * sum(member.power for member in validators.members)


class Checks:
    """One run's judge. ``chain`` is the first final entry of each height; ``forks`` heights with two, if liars may."""

    def __init__(self, scene: Stage) -> None:
        self.scene = scene
        self.chain: dict[int, Entry] = {}
        self.forks: list[int] = []
        self.by_node: dict[int, dict[int, Entry]] = {}
        self.refusing: Actor | None = None
        self.clock_max = scene.parties.base.time
        self.noted: set[tuple[int, int, bytes]] = set()
        self._votes: dict[tuple[bytes, int, int, int, int], bytes] = {}
        self._last: dict[tuple[bytes, int, int], tuple[int, int]] = {}
        self._locks: dict[tuple[bytes, int, int], tuple[int, bytes]] = {}
        self._timeouts: dict[tuple[bytes, int, int, int], int] = {}
        self._shown: dict[tuple[int, int, bytes], int] = {}
        self._justified: set[tuple[int, int, bytes, int, int]] = set()
        self._orders: dict[int, tuple[int, ...]] = {}

    def fail(self, what: str) -> None:
        """End the run: this must never be."""
        raise RelaySimulationFailed(self.scene.plan.seed, self.scene.timeline.now, what)

    # What is signed.

    def signed(self, node: Actor, data: bytes) -> None:
        """Hold a message of an honest member against all that it ever signed, over all its lives."""
        if data[_KIND_OFFSET] > 5:
            return
        message = decode_message(data, self.scene.parties.genesis.hash)
        if isinstance(message, Proposal):
            self._proposed(message)
        if isinstance(message, Proposal | VoteMessage):
            self._vote(node, message)
        elif isinstance(message, TimeoutMessage):
            self._timeout(node, message)

    def written(self, node: Actor, record: bytes) -> None:
        """Read the lock out of a vote record that an honest member has made durable."""
        set_id, height, lock_view_plus_one, lock_hash = _LOCK.unpack_from(record, _LOCK_OFFSET)
        if lock_view_plus_one and node.honest:
            self._lock((self._key(node), set_id, height), lock_view_plus_one - 1, lock_hash)
        commit = _commit_in(record)
        if commit is not None and node.honest:
            # A leader sends its own vote to nobody.
            self._lock((self._key(node), set_id, height), commit.view, commit.block_hash)

    def _lock(self, at: tuple[bytes, int, int], view: int, block_hash: bytes) -> None:
        if view > self._locks.get(at, (-1, b""))[0]:
            self._locks[at] = view, block_hash

    def _durable(self, node: Actor, signature: bytes) -> None:
        if node.disk.votes is None or signature not in node.disk.votes:
            self.fail(f"member {node.number} sent what is not durable")

    def _key(self, node: Actor) -> bytes:
        assert node.core is not None
        member = node.core.desk.signer.member
        assert member is not None
        return member.public_key

    def _vote(self, node: Actor, message: Proposal | VoteMessage) -> None:
        vote, key = message.vote, self._key(node)
        place = (key, vote.set_id, vote.height, vote.view, int(vote.phase))
        before = self._votes.get(place)
        if before is not None:
            if before != vote.block_hash:
                self.fail(f"member {node.number} voted twice: {place[1:]}")
            return
        self._durable(node, message.signature)
        self._votes[place] = vote.block_hash
        at = (key, vote.set_id, vote.height)
        voted, gave_up = self._last.get(at, (-1, -1))
        if vote.view <= gave_up:
            self.fail(f"member {node.number} votes in view {vote.view} and gave up {gave_up}")
        if vote.phase is VotePhase.PREPARE:
            leader = self._leader(vote.height, vote.view)
            asked = (vote.set_id, vote.height, vote.block_hash, vote.view, leader) in self._justified
            if not asked and not self.forks:
                self.fail(f"member {node.number} votes in view {vote.view} for what no proposal may ask for")
            if vote.view <= voted:
                self.fail(f"member {node.number} votes to prepare in view {vote.view} after {voted}")
            lock = self._locks.get(at)
            if lock is not None and lock[1] != vote.block_hash:
                later = self._shown.get((vote.set_id, vote.height, vote.block_hash), -1)
                if later <= lock[0]:
                    self.fail(f"member {node.number} is locked on view {lock[0]} and votes for another block")
        else:
            if vote.view < voted:
                self.fail(f"member {node.number} votes to commit in view {vote.view} after {voted}")
            self._lock(at, vote.view, vote.block_hash)
        self._last[at] = max(voted, vote.view), gave_up

    def _proposed(self, message: Proposal) -> None:
        """Remember what a proposal showed: the latest certificate for its block, and whether it may be voted for."""
        vote = message.vote
        place = (vote.set_id, vote.height, vote.block_hash)
        view = int.from_bytes(message.high[24:32], "little") if message.high else -1
        self._shown[place] = max(view, self._shown.get(place, -1))
        if not vote.view:
            self._justified.add((*place, 0, message.index))
            return
        entered = TimeoutCertificate.decode(message.timeout_certificate)
        if entered.view == vote.view - 1 and all(row.high_view_plus_one <= view + 1 for row in entered.signers):
            self._justified.add((*place, vote.view, message.index))

    def _leader(self, height: int, view: int) -> int:
        """Return who leads a view, as the chain below its height names that one."""
        if height not in self._orders:
            before = self.chain.get(height - 1)
            state = self.scene.parties.base if before is None else before.state
            self._orders[height] = state.leader_order(height)
        order = self._orders[height]
        return order[view % len(order)]

    def shown(self, data: bytes) -> None:
        """Take what a liar sends: a proposal of it may be one to vote for."""
        if data[_KIND_OFFSET : _KIND_OFFSET + 1] == b"\x01":
            try:
                message = decode_message(data, self.scene.parties.genesis.hash)
                assert isinstance(message, Proposal)
                self._proposed(message)
            except EncodingError:
                # The core is who has to stand it.
                return

    def _timeout(self, node: Actor, message: TimeoutMessage) -> None:
        said, key = message.timeout, self._key(node)
        place = (key, said.set_id, said.height, said.view)
        before = self._timeouts.get(place)
        if before is not None:
            if before != said.high_view_plus_one:
                self.fail(f"member {node.number} gave up view {said.view} of height {said.height} in two ways")
            return
        self._durable(node, message.signature)
        self._timeouts[place] = said.high_view_plus_one
        at = (key, said.set_id, said.height)
        voted, gave_up = self._last.get(at, (-1, -1))
        if said.view < max(voted, gave_up):
            self.fail(f"member {node.number} gives up view {said.view} and was in {max(voted, gave_up)}")
        lock = self._locks.get(at)
        if lock is not None and said.high_view_plus_one <= lock[0]:
            self.fail(f"member {node.number} denies the certificate of view {lock[0]} at height {said.height}")
        self._last[at] = voted, max(gave_up, said.view)

    # What is final.

    def final(self, node: Actor, entry: Entry) -> None:
        """Hold a block that a node has put into its book against everybody else's."""
        if not node.honest:
            return
        header, height = entry.block.header, entry.block.header.height
        own = self.by_node.setdefault(node.place, {})
        if height in own and own[height].state.tip_hash != entry.state.tip_hash:
            self.fail(f"member {node.number} has two final blocks at height {height}")
        if height > 1 and height - 1 in own and header.parent_hash != own[height - 1].state.tip_hash:
            self.fail(f"member {node.number}: block {height} does not follow its own chain")
        own[height] = entry
        first = self.chain.setdefault(height, entry)
        if first.state.tip_hash != entry.state.tip_hash:
            if not self.scene.may_fork:
                self.fail(f"two final blocks at height {height}")
            self.forks.append(height)
        if first is entry:
            self._first(height, entry)

    def read_clocks(self) -> None:
        """Remember the latest instant that an honest clock has shown; called before one is set, too."""
        self.clock_max = max([self.clock_max, *(node.now for node in self.scene.nodes if node.honest)])

    def _first(self, height: int, entry: Entry) -> None:
        self.scene.report.heights += 1
        self.read_clocks()
        before = self.chain.get(height - 1)
        time = entry.block.header.time
        if before is not None and time <= before.block.header.time:
            self.fail(f"relay time goes back at height {height}")
        if not self.scene.may_fork and time > self.clock_max + height:
            self.fail(f"relay time of height {height} is beyond every honest clock")
        self.scene.advanced(entry)

    def decided(self, node: Actor, action: Finalized) -> None:
        """Hold a height that a core made final: certificate and order."""
        state, height = node.disk.state, action.block.header.height
        if not node.honest:
            return
        validators = state.set_at(height)
        if height > state.height + 1:
            self.fail(f"member {node.number} makes {height} final after {state.height}")
        if action.certificate.view < action.block.header.view:
            self.fail(f"height {height}: the certificate is of an earlier view than the block")
        if height == state.height + 1 and not holds_quorum(action.certificate, validators):
            self.fail(f"height {height} is final without a quorum")
        if not action.transcript.certificates:
            self.fail(f"height {height} is final without a transcript")

    def adopted(self, node: Actor, action: Adopt) -> None:
        """Hold a block that catching up brought: its certificate, by the law and signature by signature."""
        height = action.block.header.height
        validators = node.state.set_at(height)
        try:
            action.block.verify_certificate(node.state.suite, action.certificate, validators)
        except ProofRefused as error:
            if node.honest:
                self.fail(f"member {node.number} adopts height {height} with a certificate that does not hold: {error}")
        if node.honest and not holds_quorum(action.certificate, validators):
            self.fail(f"member {node.number} adopts height {height} without a quorum")

    def restored(self, node: Actor, state: RelayState) -> None:
        """Hold a checkpoint's state against the chain."""
        known = self.chain.get(state.height)
        if node.honest and known is not None and known.state.encode() != state.encode():
            self.fail(f"member {node.number} took another state at height {state.height}")

    # What is found about others.

    def evidence(self, node: Actor, proof: GuiltProof) -> None:
        """Demand that a proof of guilt proves it, and names a liar."""
        if not node.honest or node.core is None:
            return
        vote = proof.first.vote if isinstance(proof, ConflictingVotes) else proof.vote.vote
        validators = next((each for each in node.state.sets if each.set_id == vote.set_id), None)
        if validators is None:
            self.fail(f"evidence about set {vote.set_id}, which nobody knows")
            return
        try:
            verify_guilt(proof, node.state.suite, node.state.genesis.hash, validators)
        except BlameRefused as error:
            self.fail(f"evidence that proves nothing: {error}")
        number = self.scene.parties.number_of(validators, proof.member)
        if number not in self.scene.plan.lies:
            self.fail(f"evidence against member {number}, who is honest")
        kind = "conflicting_votes" if isinstance(proof, ConflictingVotes) else "denied_certificate"
        self.scene.report.state(f"evidence_{kind}")

    def fork_seen(self, node: Actor, action: ForkSeen) -> None:
        """Take the word of a core that it saw a fork."""
        if node.honest and not self.scene.may_fork:
            self.fail(f"member {node.number} saw a fork at height {action.height}")

    def conflict(self, node: Actor, action: Conflict) -> None:
        """Take the word of a catch-up that a quorum certified what cannot follow."""
        if node.honest and not self.scene.may_fork:
            self.fail(f"member {node.number} cannot follow height {action.height}: {action.reason}")

    def refused(self, node: Actor, action: Refused) -> None:
        """Count refusals; what the honest send is not refused but for being early or late."""
        report, source = self.scene.report, self.refusing
        if not node.honest:
            return
        report.refused[action.reason] += 1
        if action.reason.startswith("certified_"):
            report.state("halted")
            if not self.scene.may_fork:
                self.fail(f"member {node.number} halts: {action.reason}")
        # What came early for this height may be another's than the message's that began it.
        if source is None or not source.honest or action.reason in _INNOCENT or self.scene.may_fork:
            return
        if node.core is not None and action.sender == node.index_of(source):
            self.fail(f"member {node.number} refuses honest member {source.number}: {action.reason}")

    def dropped(self, node: Actor, peer: Actor, reason: str) -> None:
        """Count peers that are dropped in catching up; the honest are dropped for nothing but silence."""
        if not node.honest:
            return
        self.scene.report.dropped[reason] += 1
        if peer.honest and reason not in ("stall", "went_back") and not self.scene.may_fork:
            self.fail(f"member {node.number} drops honest member {peer.number}: {reason}")

    def look(self, node: Actor) -> None:
        """See which states the core of a node is in."""
        core = node.core
        if core is None or not node.honest:
            return
        report, record, round_ = self.scene.report, core.votes, core.round
        if core.view and record.height == core.height and record.lock_view_plus_one:
            report.state("lock_held")
        if round_.entered is not None and round_.entered.high_view_plus_one:
            report.state("timeouts_with_high")
        if core.view >= 3:
            report.state("view_3")
        if core.counters.joined:
            report.state("joined_timeout")
        if core.counters.blocks_requested:
            report.state("block_requested")
        if record.restored:
            report.state("restored")
        elif record.floor:
            report.state("recall_ended")
        if core.desk.signer.silenced:
            report.state("silent_behind")
        if core.index is None:
            report.state("observer")
        if core.counters.halted:
            report.state("halted")
