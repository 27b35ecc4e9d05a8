"""What the consensus core asks of its shell: values, done in order, and nothing after a Persist before it is durable.

The shell's whole duty is to perform them one by one. ``Finalized`` comes once for each height, in order, and is
durable before any later Persist is: a vote record that is ahead of its chain signs nothing until the chain caught up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from engine.evidence import ConflictingVotes, DeniedCertificate
    from engine.relay_block import RelayBlock
    from engine.validators import Certificate, ValidatorSet
    from relay.transcript import Transcript

__all__ = ["ALL", "Action", "Behind", "EvidenceFound", "Finalized", "ForkSeen", "Persist", "Refused", "Send"]

ALL: Final = -1


@dataclass(frozen=True, slots=True)
class Persist:
    """Replace the vote record by these bytes, durably, before anything that follows."""

    record: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Hand a message to the transport: to one member by its index in ``validators``, or to ``ALL`` of it but oneself.

    It may be lost. Actions of one call may be for two heights, and those heights may have different sets.
    """

    to: int
    message: bytes
    validators: ValidatorSet | None = None


@dataclass(frozen=True, slots=True)
class Finalized:
    """A block is final. The chain's store keeps it with its certificate and ``generation``, in one commit.

    ``statements`` stand in the order of the certificate's signers, empty where one is not known (its digest is in
    the certificate). ``transcript`` is what names the guilty should another block of this height ever be final.
    """

    block: RelayBlock
    certificate: Certificate
    statements: tuple[bytes, ...]
    transcript: Transcript
    generation: int


@dataclass(frozen=True, slots=True)
class Behind:
    """The network has finalized ``height`` and this core cannot follow alone: fetch blocks, then ``adopt``.

    ``certificate`` was verified where this core knows its set; where it is None the height is only a peer's word.
    """

    height: int
    certificate: Certificate | None
    peer: int | None = None


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """Two signatures that no honest key makes; the proof stands on its own."""

    proof: ConflictingVotes | DeniedCertificate


@dataclass(frozen=True, slots=True)
class ForkSeen:
    """Two commit certificates for different blocks of one height: more than a third lied. Keep both transcripts."""

    height: int
    ours: Certificate
    theirs: Certificate


@dataclass(frozen=True, slots=True)
class Refused:
    """A message was refused; ``reason`` is a fixed word, ``sender`` None where the transport knows no member."""

    sender: int | None
    reason: str


Action: TypeAlias = Persist | Send | Finalized | Behind | EvidenceFound | ForkSeen | Refused
