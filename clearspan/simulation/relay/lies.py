"""Ways to lie: what a member makes of its core's messages, of its answers, or says of its own accord.

A lie changes what leaves the core (``outgoing``), what is answered in catching up (``replies``), or speaks without
being asked (``speak``). Crafted bytes are in ``forgers`` and ``false_claims``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from clearspan.simulation.relay import false_claims, forgers
from clearspan.simulation.relay.liars import Lie
from engine.relay_block import RelayBlock, reveal_record
from engine.types import NS_PER_S
from native.hashing import digest
from relay.messages import BlockMessage, CertificateMessage, Proposal, Status, TimeoutMessage, VoteMessage
from relay.timeouts import Timeout
from relay.vote_record import VoteRecord

if TYPE_CHECKING:
    from clearspan.simulation.relay.liars import Letters, LiarNode

__all__ = ["LIE_CLASSES", "lies_of"]


class _DoubleProposal(Lie):
    """Proposes two blocks in one view, each to half of the others."""

    name = "double_proposal"

    def outgoing(self, letters: Letters) -> Letters:
        message = self.message_of(letters)
        if not isinstance(message, Proposal) or len(letters) < 2:
            return letters
        self.did()
        other = self.liar.encode(self._other(message))
        half = {node.place for node, _ in self.chance.sample(letters, len(letters) // 2)}
        return [(node, other if node.place in half else data) for node, data in letters]

    def _other(self, message: Proposal) -> Proposal:
        scene = self.liar.scene
        block = RelayBlock.decode(message.block, scene.parties.suite)
        preimage = digest(1, b"of a liar %d" % self.chance.randrange(1 << 62))
        records = [*block.records]
        place = next((at for at, each in enumerate(records) if each.type > 2 and each.type != 9), len(records))
        records.insert(place, reveal_record(preimage))
        return forgers.resigned(self.liar, message, forgers.remade(block, records, scene.parties.suite))


class _DoubleVote(Lie):
    """Votes for a second block in the same phase and view, and lets everybody hear it."""

    name = "double_vote"

    def outgoing(self, letters: Letters) -> Letters:
        message = self.message_of(letters)
        if not isinstance(message, VoteMessage):
            return letters
        self.did()
        other = replace(message.vote, block_hash=self.chance.randbytes(32), executed_held=bytes(32))
        data = self.liar.encode(self.liar.vote(other))
        again = [(node, data) for node, _ in letters]
        told = [(node, data) for node in self.liar.others() if self.chance.random() < 0.5]
        return [*again, *letters, *told] if self.chance.random() < 0.5 else [*letters, *again, *told]


class _SilentLeader(Lie):
    """Leads without a word, or falls silent half way."""

    name = "silent_leader"

    def outgoing(self, letters: Letters) -> Letters:
        message = self.message_of(letters)
        if isinstance(message, Proposal | CertificateMessage):
            self.did()
            return []
        return letters


class _SubsetLeader(Lie):
    """Sends proposals to some and certificates to others, so that few are locked."""

    name = "subset_leader"

    def outgoing(self, letters: Letters) -> Letters:
        message = self.message_of(letters)
        if not isinstance(message, Proposal | CertificateMessage) or len(letters) < 2:
            return letters
        self.did()
        fewest = len(letters) // 2 if isinstance(message, Proposal) else 1
        return self.chance.sample(letters, self.chance.randint(fewest, len(letters) - 1))


class _WithheldData(Lie):
    """Sends certificates to all and blocks to as few as a quorum needs, and gives none out later."""

    name = "withheld_data"

    def outgoing(self, letters: Letters) -> Letters:
        message = self.message_of(letters)
        if isinstance(message, BlockMessage):
            self.did()
            return []
        if isinstance(message, Proposal) and len(letters) > 2:
            self.did()
            powers = self.liar.scene.plan.powers
            return self.chance.sample(letters, min(len(letters), (2 * len(powers)) // 3))
        return letters

    def replies(self, request: bytes, replies: list[bytes]) -> list[bytes]:  # noqa: ARG002
        self.did()
        return []


class _Amnesia(Lie):
    """Forgets, now and then, everything it ever signed, and takes part as if nothing had been."""

    name = "amnesia"

    def speak(self) -> None:
        liar = self.liar
        if self.chance.random() < 0.5:
            self.did()
            liar.down()
            liar.disk.votes = VoteRecord(generation=10**6).encode()
            liar.up()


class _DeniedCertificate(Lie):
    """Denies in its timeouts the certificates that it voted on."""

    name = "denied_certificate"

    def outgoing(self, letters: Letters) -> Letters:
        message = self.message_of(letters)
        if isinstance(message, TimeoutMessage) and message.timeout.high_view_plus_one:
            self.did()
            denied = self.liar.timeout(replace(message.timeout, high_view_plus_one=0))
            return [(node, self.liar.encode(denied)) for node, _ in letters]
        return letters

    def speak(self) -> None:
        """Give up, without a certificate, the view in which it has just voted to commit."""
        core = self.liar.core
        assert core is not None
        record = core.votes
        if record.height == core.height and record.commit is not None and self.chance.random() < 0.7:
            self.did()
            said = Timeout(record.set_id, record.height, record.commit.vote.view, 0)
            data = self.liar.encode(self.liar.timeout(said))
            self.liar.post([(node, data) for node in self.liar.others()])


class _HiddenCertificate(Lie):
    """Leads later views as if no block had been prepared before, and keeps what it made final to itself."""

    name = "hidden_certificate"

    def outgoing(self, letters: Letters) -> Letters:
        message = self.message_of(letters)
        if isinstance(message, Proposal) and message.high and len(letters) > 1:
            self.did()
            made = self.liar.encode(forgers.fresh_proposal(self.liar, message))
            return [(node, made) for node, _ in letters]
        if isinstance(message, CertificateMessage) and forgers.commits(message) and len(letters) > 1:
            self.did()
            return self.chance.sample(letters, self.chance.randrange(2))
        return letters


class _FalseClock(Lie):
    """Says in its votes that it is an hour earlier or later."""

    name = "false_clock"

    def outgoing(self, letters: Letters) -> Letters:
        message = self.message_of(letters)
        if not isinstance(message, VoteMessage):
            return letters
        self.did()
        hour = self.chance.choice((-3_600, 3_600)) * NS_PER_S
        told = self.liar.vote(replace(message.vote, time=message.vote.time + hour), message.statement)
        return [(node, self.liar.encode(told)) for node, _ in letters]


class _FalseStatement(Lie):
    """Says that it executed and holds everything: its core is told so of every shard (``operators``)."""

    name = "false_statement"

    def outgoing(self, letters: Letters) -> Letters:
        message = self.message_of(letters)
        if isinstance(message, VoteMessage) and any(message.statement[8:]):
            self.did()
        return letters


class _LyingStatus(Lie):
    """Says of itself that it works on heights that nobody reached, or on earlier ones."""

    name = "lying_status"

    def outgoing(self, letters: Letters) -> Letters:
        message = self.message_of(letters)
        if not isinstance(message, Status):
            return letters
        self.did()
        choice = self.chance.randrange(4)
        told = replace(message, height=message.height + self.chance.choice((1, 2, 1_000, 1 << 60)))
        if choice == 1:
            told = replace(message, height=1, certificate=b"")
        elif choice == 2:
            told = replace(message, nonce=message.nonce ^ 1)
        elif choice == 3:
            return []
        return [(node, self.liar.encode(told)) for node, _ in letters]


class _InvalidProposal(Lie):
    """Proposes blocks that the rules do not allow."""

    name = "invalid_proposal"

    def outgoing(self, letters: Letters) -> Letters:
        message = self.message_of(letters)
        if not isinstance(message, Proposal) or self.chance.random() < 0.3:
            return letters
        self.did()
        made = self.liar.encode(false_claims.invalid_proposal(self.liar, message))
        return [(node, made) for node, _ in letters]


class _LyingSyncPeer(Lie):
    """Answers wrongly in catching up, in every way there is."""

    name = "lying_sync_peer"

    def replies(self, request: bytes, replies: list[bytes]) -> list[bytes]:
        # Who lies about what it has is asked for nothing more.
        first = bool(replies) and false_claims.is_status(self.liar, replies[0])
        if self.chance.random() < (0.1 if first else 0.8):
            self.did()
            return false_claims.sync_lie(self.liar, request, replies)
        return replies


class _Speaker(Lie):
    """Sends crafted bytes of one kind to some of the others."""

    make: ClassVar[str] = ""

    def speak(self) -> None:
        made = getattr(forgers, self.make)(self.liar)
        if not made:
            return
        self.did()
        targets = self.chance.sample(self.liar.others(), min(3, len(self.liar.others())))
        self.liar.post([(node, data) for data in made for node in targets])


class _OldSetVotes(_Speaker):
    """Votes and gives up in the name of sets that do not decide."""

    name, make = "old_set_votes", "old_set_votes"


class _ForgedCertificate(_Speaker):
    """Shows certificates that nobody signed, that too few signed, or that say something else."""

    name, make = "forged_certificate", "forged_certificates"


class _OverlongCertificate(_Speaker):
    """Shows certificates with more rows than there are members, and longer than any may be."""

    name, make = "overlong_certificate", "overlong_certificates"


class _WrongPlace(_Speaker):
    """Speaks of heights, views and members that are not at hand."""

    name, make = "wrong_place", "wrong_place"


class _WrongNetwork(_Speaker):
    """Speaks as if it were of another network, another version, another kind."""

    name, make = "wrong_network", "wrong_network"


class _MutatedBytes(_Speaker):
    """Sends what it heard with some bytes changed, cut or doubled."""

    name, make = "mutated_bytes", "mutated_bytes"


class _OldMessages(_Speaker):
    """Sends again what others sent, late and to others."""

    name, make = "old_messages", "old_messages"


class _ForgedEvidence(Lie):
    """Accuses the honest with proofs that prove nothing."""

    name = "forged_evidence"

    def speak(self) -> None:
        for record in false_claims.forged_evidence(self.liar):
            self.did()
            self.liar.offer_all(record)


class _InvalidOffers(Lie):
    """Offers governance without a quorum, headers of no operator, claims against honest shards."""

    name = "invalid_offers"

    def speak(self) -> None:
        for item in false_claims.invalid_offers(self.liar):
            self.did()
            self.liar.offer_all(item)


class _Cartel(Lie):
    """With others that hold a quorum: certifies a block that no rule allows."""

    name = "cartel"

    def speak(self) -> None:
        if self.liar.scene.timeline.now > NS_PER_S:
            self.liar.post(
                [(node, data) for data in forgers.cartel(self.liar) for node in self.liar.others() if node.honest]
            )


LIE_CLASSES: Final[dict[str, type[Lie]]] = {
    each.name: each
    for each in (
        _DoubleProposal,
        _DoubleVote,
        _SilentLeader,
        _SubsetLeader,
        _WithheldData,
        _Amnesia,
        _DeniedCertificate,
        _HiddenCertificate,
        _OldSetVotes,
        _ForgedCertificate,
        _OverlongCertificate,
        _LyingSyncPeer,
        _LyingStatus,
        _WrongPlace,
        _WrongNetwork,
        _MutatedBytes,
        _OldMessages,
        _FalseClock,
        _FalseStatement,
        _InvalidProposal,
        _ForgedEvidence,
        _InvalidOffers,
        _Cartel,
    )
}


def lies_of(liar: LiarNode) -> list[Lie]:
    """Return the lies that the plan gives a member; twins are two nodes and need none."""
    return [LIE_CLASSES[name](liar) for name in liar.scene.plan.lies[liar.number] if name in LIE_CLASSES]
