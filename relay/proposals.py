"""What a proposal must show before its block is looked at, and the blocks of a height that are here.

A proposal of view 0 needs its leader's signature alone. A later one shows that a quorum gave up the view before, and
the prepare certificate of the highest view that any of them named: then it must be that certificate's block again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RelayBlock
from engine.types import ZERO_HASH, RelayRecordType, VotePhase
from relay.errors import MessageRefused
from relay.offers import Sidecar
from relay.vote_record import KeptBlock

if TYPE_CHECKING:
    from engine.validators import Certificate, ValidatorSet, Vote
    from relay.desk import Desk
    from relay.messages import BlockMessage, Proposal
    from relay.timeouts import TimeoutCertificate

__all__ = ["Bodies", "Body", "HeightInProgress", "check_proposal", "read_block"]

_BODIES_MAX: Final = 8


class HeightInProgress(Protocol):
    """What a proposal is held against (``relay.round``)."""

    desk: Desk
    height: int
    validators: ValidatorSet
    view: int
    proposals: dict[int, tuple[int, Vote, bytes]]

    def leader(self, view: int) -> int:
        """Return who leads a view."""


def check_proposal(round_: HeightInProgress, message: Proposal) -> tuple[TimeoutCertificate | None, Certificate | None]:
    """Demand of a proposal everything but its body; return the certificates that justify it. Raises MessageRefused."""
    vote = message.vote
    if vote.phase is not VotePhase.PREPARE:
        raise MessageRefused("wrong_phase", vote.phase.name)
    if vote.set_id != round_.validators.set_id:
        raise MessageRefused("wrong_set", str(vote.set_id))
    if vote.view < round_.view:
        raise MessageRefused("old_view", f"{vote.view}, now {round_.view}")
    if message.index != round_.leader(vote.view):
        raise MessageRefused("not_leader", f"member {message.index} in view {vote.view}")
    signed = (message.index, vote, message.signature)
    known = round_.proposals.get(vote.view) == signed
    if not known and not round_.desk.checker.votes(round_.validators, [signed])[0]:
        raise MessageRefused("forged_signature", f"proposal of member {message.index}")
    if vote.executed_held != ZERO_HASH:
        raise MessageRefused("statement", "a prepare vote states nothing")
    if vote.view == 0:
        if message.timeout_certificate or message.high:
            raise MessageRefused("superfluous_certificate", "in view 0")
        return None, None
    return _justification(round_, message)


def _justification(round_: HeightInProgress, message: Proposal) -> tuple[TimeoutCertificate, Certificate | None]:
    desk, view = round_.desk, message.vote.view
    if not message.timeout_certificate:
        raise MessageRefused("certificate_missing", f"view {view} without the timeouts of the one before")
    entered = desk.read_timeout_certificate(message.timeout_certificate, round_.validators, round_.height)
    if entered.view != view - 1:
        raise MessageRefused("wrong_view", f"timeouts of view {entered.view} for view {view}")
    high = None
    if message.high:
        high = desk.read_certificate(message.high, round_.validators, round_.height, VotePhase.PREPARE)
        if high.view >= view:
            raise MessageRefused("wrong_view", f"a certificate of view {high.view} for view {view}")
        if high.block_hash != message.vote.block_hash:
            raise MessageRefused("another_block", "than the certificate's")
    if (0 if high is None else high.view + 1) < entered.high_view_plus_one:
        raise MessageRefused("certificate_missing", f"of view {entered.high_view_plus_one - 1}")
    desk.demand(round_.validators, entered)
    if high is not None:
        desk.demand(round_.validators, high)
    return entered, high


def read_block(data: bytes, suite: int) -> RelayBlock:
    """Read a block that a peer sent; raises MessageRefused."""
    try:
        return RelayBlock.decode(data, suite)
    except (EncodingError, ProofRefused) as error:
        raise MessageRefused("block_malformed", str(error)) from error


@dataclass(slots=True)
class Body:
    """A block whose bytes are here; ``checked`` once the state allowed it, ``refused`` the instant it last did not."""

    block: RelayBlock
    kept: KeptBlock
    checked: bool = False
    refused: int = -1

    @property
    def header_count(self) -> int:
        """How many header records it has: a statement is about so many."""
        return sum(record.type is RelayRecordType.HEADER for record in self.block.records)


@dataclass(slots=True)
class Bodies:
    """The blocks of one height by hash; the earliest that nobody needs goes when there are too many."""

    suite: int
    height: int
    by_hash: dict[bytes, Body] = field(default_factory=dict)

    def get(self, block_hash: bytes) -> Body | None:
        """Return a block that is here."""
        return self.by_hash.get(block_hash)

    def keep(self, body: Body, *needed: Certificate | None) -> Body:
        """Take a block; those that the certificates in ``needed`` are for stay."""
        names = {each.block_hash for each in needed if each is not None}
        spare = [each for each in self.by_hash if each not in names]
        if len(self.by_hash) >= _BODIES_MAX and spare:
            del self.by_hash[spare[0]]
        return self.by_hash.setdefault(body.kept.block_hash, body)

    def read(self, message: Proposal | BlockMessage, block_hash: bytes, *needed: Certificate | None) -> Body:
        """Return the block that a message brings, known or new; raises MessageRefused when it is not the named one."""
        known = self.by_hash.get(block_hash)
        if known is not None and (known.checked or known.kept.sidecar == message.sidecar):
            return known
        try:
            Sidecar.decode(message.sidecar)
        except EncodingError as error:
            raise MessageRefused("block_malformed", str(error)) from error
        if known is not None:
            # The hash names no sidecar: a liar may have sent a wrong one first.
            known.kept, known.refused = KeptBlock(block_hash, known.kept.block, message.sidecar), -1
            return known
        block = read_block(message.block, self.suite)
        if block.hash(self.suite) != block_hash:
            raise MessageRefused("block_hash", "another than was named")
        if block.header.height != self.height:
            raise MessageRefused("wrong_height", str(block.header.height))
        return self.keep(Body(block, KeptBlock(block_hash, message.block, message.sidecar)), *needed)
