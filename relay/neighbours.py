"""What speaks of other heights, and the questions members ask each other: who is where, and for missing blocks.

A member that fell behind is told by the first later message; it follows alone where one block is missing and asks its
shell to sync where more are. Answers are bounded: one of a kind for each peer within ``request_ns``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from engine.types import RelayRecordType, VotePhase
from relay.actions import Behind, ForkSeen
from relay.errors import BlockRefused, MessageRefused
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
)
from relay.pacemaker import NEVER
from relay.proposals import read_block
from relay.recall import Recall
from relay.tally import VIEW_WINDOW, distinct

if TYPE_CHECKING:
    from engine.validators import Certificate, ValidatorSet
    from relay.desk import Desk
    from relay.messages import Message
    from relay.ports import State
    from relay.round import Round
    from relay.vote_record import KeptBlock

__all__ = ["Core", "Neighbours", "Recent", "height_of"]

_RECENT_MAX: Final = 4
# Where a certificate of either kind has its height.
_HEIGHT_OFFSET: Final = 16
_Early: TypeAlias = "VoteMessage | TimeoutMessage"


class Core(Protocol):
    """What is asked of the core whose neighbours these are (``relay.consensus``)."""

    desk: Desk
    state: State
    round: Round

    @property
    def height(self) -> int:
        """The height in progress."""

    @property
    def validators(self) -> ValidatorSet:
        """The set that decides it."""

    def route(self, sender: int | None, message: Message) -> None:
        """Bring a message to the part that takes it; raises MessageRefused."""

    def named_statements(self, certificate: Certificate, statements: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return the statement of each signer in order, empty where none of those at hand has its digest."""

    def learn_parent(self, certificate: Certificate) -> None:
        """Take the tip's certificate where this member has none."""

    def settle(self) -> None:
        """Make final what is decided."""


@dataclass(frozen=True, slots=True)
class Recent:
    """A height that is final, as far as others may ask for it."""

    certificate: Certificate
    statements: tuple[bytes, ...]
    kept: KeptBlock


class Neighbours:
    """A core's view of the heights beside its own."""

    def __init__(self, core: Core, now: int) -> None:
        self.core = core
        self.desk = core.desk
        self.recall = Recall(now)
        self.behind_height = 0
        self._recent: dict[int, Recent] = {}
        self._early: dict[int, dict[tuple[str, int, int], _Early]] = {}
        self._held: tuple[int | None, Proposal] | None = None

    # Final heights.

    def remember(self, height: int, recent: Recent) -> None:
        """Keep a final height for those who ask, and forget the earliest."""
        self._recent[height] = recent
        while len(self._recent) > _RECENT_MAX:
            del self._recent[min(self._recent)]

    def take_held(self) -> list[tuple[int | None, Message]]:
        """Hand out what came early for the height that has now begun."""
        held, self._held = self._held, None
        early, self._early = self._early, {}
        waiting: list[tuple[int | None, Message]] = [
            (sender, message) for sender, messages in early.items() for message in messages.values()
        ]
        return waiting if held is None else [*waiting, held]

    def old(self, sender: int | None, height: int, message: Message) -> None:
        """Help a laggard on; see a fork; refuse the rest."""
        if isinstance(message, TimeoutMessage):
            recent = self._recent.get(height) or self._recent.get(self.core.state.height)
            if recent is not None and sender is not None and self._allows(sender, "help"):
                self.desk.send(sender, CertificateMessage(recent.certificate.encode(), distinct(recent.statements)))
        elif isinstance(message, CertificateMessage):
            self._compare(height, message)
        else:
            raise MessageRefused("old_height", f"{height}, now {self.core.height}")

    def _compare(self, height: int, message: CertificateMessage) -> None:
        recent, validators = self._recent.get(height), self._set_at(height)
        if recent is None or validators is None:
            return
        certificate = self.desk.read_certificate(message.certificate, validators, height, None)
        same = certificate.block_hash == recent.certificate.block_hash
        if same or certificate.phase is not VotePhase.COMMIT:
            return
        self.desk.demand(validators, certificate)
        self.desk.actions.append(ForkSeen(height, recent.certificate, certificate))

    # Later heights.

    def later(self, sender: int | None, height: int, message: Message) -> None:
        """Take what speaks of a later height: it shows that this one is final, or it waits for its time."""
        if isinstance(message, Proposal):
            self._later_proposal(sender, height, message)
        elif isinstance(message, CertificateMessage):
            self._later_certificate(sender, height, message.certificate)
        elif height == self.core.height + 1 and isinstance(message, VoteMessage | TimeoutMessage):
            self._hold_early(sender, message)
        if sender is not None and height > self.core.height and self._allows(sender, "ask"):
            self.desk.send(sender, StatusRequest(self.recall.nonce))

    def _hold_early(self, sender: int | None, message: _Early) -> None:
        if isinstance(message, VoteMessage):
            name = ("vote", message.vote.view, int(message.vote.phase))
        else:
            name = ("timeout", message.timeout.view, 0)
        if sender is not None and name[1] < VIEW_WINDOW and sender < len(self.core.validators.members):
            self._early.setdefault(sender, {}).setdefault(name, message)

    def _later_proposal(self, sender: int | None, height: int, message: Proposal) -> None:
        """Learn from the first record of a later proposal that the height before it is final."""
        validators = self._set_at(height)
        if validators is None or message.vote.set_id != validators.set_id:
            return
        if message.index >= len(validators.members):
            raise MessageRefused("unknown_member", str(message.index))
        if not self.desk.checker.votes(validators, [(message.index, message.vote, message.signature)])[0]:
            raise MessageRefused("forged_signature", f"proposal of member {message.index}")
        block = read_block(message.block, self.desk.suite)
        if not block.records or block.records[0].type is not RelayRecordType.PARENT_CERTIFICATE:
            raise MessageRefused("block_parent_certificate", "the first record is another one")
        parent = block.records[0].parent_certificate()
        if parent.certificate.height != height - 1:
            raise MessageRefused("wrong_height", str(parent.certificate.height))
        self._take_final(sender, parent.certificate, parent.statements)
        if height == self.core.height + 1 and self.core.round.final is not None:
            self._held = (sender, message)
        elif height == self.core.height:
            self.core.route(sender, message)

    def _later_certificate(self, sender: int | None, height: int, data: bytes) -> None:
        validators = self._set_at(height)
        if validators is None:
            self.tell_behind(height - 1, None, sender)
            return
        certificate = self.desk.read_certificate(data, validators, height, None)
        if certificate.phase is VotePhase.COMMIT:
            self._take_final(sender, certificate, ())

    def _take_final(self, sender: int | None, certificate: Certificate, statements: tuple[bytes, ...]) -> None:
        """Draw the consequences of a commit certificate of this height or a later one, its signatures unchecked yet."""
        if certificate.phase is not VotePhase.COMMIT or certificate.height < self.core.height:
            return
        validators = self._set_at(certificate.height)
        if validators is None or validators.set_id != certificate.set_id:
            self.tell_behind(certificate.height, None, sender)
            return
        self.desk.demand(validators, certificate)
        if certificate.height == self.core.height:
            self.core.round.finish(certificate, self.core.named_statements(certificate, statements))
            self.core.settle()
        else:
            self.desk.signer.silenced = True
            self.tell_behind(certificate.height, certificate, sender)

    def tell_behind(self, height: int, certificate: Certificate | None, peer: int | None) -> None:
        """Ask the shell to sync: for every later certified height once, for hearsay now and then."""
        news = certificate is not None and height > self.behind_height
        if news:
            self.behind_height = height
        if news or self._allows(-1, "behind"):
            self.desk.counters.behind += 1
            self.desk.actions.append(Behind(height, certificate, peer))

    def _set_at(self, height: int) -> ValidatorSet | None:
        try:
            return self.core.state.set_at(height)
        except BlockRefused:
            return None

    def _allows(self, peer: int, kind: str) -> bool:
        return self.desk.limit.allows(peer, kind, self.desk.now)

    # Blocks.

    def request_blocks(self) -> None:
        """Ask the next signer for each block that is missing; tell the shell when asking did not help."""
        round_, desk = self.core.round, self.desk
        for block_hash, asked in list(round_.wanted.items()):
            certificate = round_.final[0] if round_.final else round_.high
            if certificate is None or certificate.block_hash != block_hash:
                del round_.wanted[block_hash]
                continue
            signers = [each.index for each in certificate.signers if each.index != desk.signer.index]
            desk.counters.blocks_requested += 1
            desk.send(signers[asked % len(signers)], BlockRequest(round_.height, block_hash))
            round_.wanted[block_hash] = asked + 1
            if round_.final is not None and asked + 1 >= len(signers):
                self.tell_behind(round_.height, certificate, None)
        desk.pacemaker.request = desk.now + desk.settings.request_ns if round_.wanted else NEVER

    def serve(self, sender: int | None, message: BlockRequest) -> None:
        """Answer with a block that is here."""
        kept = None
        recent = self._recent.get(message.height)
        if recent is not None and recent.kept.block_hash == message.block_hash:
            kept = recent.kept
        elif message.height == self.core.height:
            body = self.core.round.bodies.get(message.block_hash)
            kept = body.kept if body else None
        if kept is not None and sender is not None and self._allows(sender, "block"):
            self.desk.send(sender, BlockMessage(message.height, kept.block_hash, kept.block, kept.sidecar))

    # Who is where.

    def ask_all(self) -> None:
        """Ask every member which height it works on."""
        self.desk.send_all(StatusRequest(self.recall.nonce))

    def answer_status(self, sender: int | None, message: StatusRequest) -> None:
        """Say which height this member works on; one that is restored or has an old chain knows it not."""
        record, certificate = self.desk.signer.record, self.core.round.parent
        knows = not record.restored and record.height <= self.core.height
        proves = certificate is not None or self.core.height == 1
        if sender is not None and knows and proves and self._allows(sender, "status"):
            encoded = certificate.encode() if certificate is not None else b""
            self.desk.send(sender, Status(message.nonce, self.core.height, encoded))

    def on_status(self, sender: int | None, message: Status) -> None:
        """Take an answer: it may show that this member is behind, or end the silence of a restored one."""
        if message.nonce != self.recall.nonce:
            raise MessageRefused("stale_answer")
        if message.height == 0:
            raise MessageRefused("malformed")
        if message.height > 1:
            height = message.height - 1
            validators = self._set_at(height)
            if validators is None:
                self.tell_behind(height, None, sender)
                return
            certificate = self.desk.read_certificate(message.certificate, validators, height, VotePhase.COMMIT)
            self.desk.demand(validators, certificate)
            self.core.learn_parent(certificate)
            self._take_final(sender, certificate, ())
        self._note_recall(sender, message.height)

    def _note_recall(self, sender: int | None, height: int) -> None:
        signer, validators = self.desk.signer, self.core.validators
        if not signer.record.restored or sender is None or sender == signer.index or sender >= len(validators.members):
            return
        floor = self.recall.note(validators, sender, height)
        if floor is not None:
            signer.set_floor(floor, self.desk.actions)
            self.desk.pacemaker.recall = NEVER


def height_of(
    message: Proposal | VoteMessage | CertificateMessage | TimeoutMessage | TimeoutCertificateMessage,
) -> int:
    """Return the height that a message of agreement speaks of."""
    if isinstance(message, CertificateMessage | TimeoutCertificateMessage):
        return int.from_bytes(message.certificate[_HEIGHT_OFFSET : _HEIGHT_OFFSET + 8], "little")
    if isinstance(message, TimeoutMessage):
        return message.timeout.height
    return message.vote.height
