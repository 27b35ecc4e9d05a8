"""Evidence against a shard or a member: its bytes, as a relay block holds them (07).

It promises exact layouts and one spelling of each finding. Whether the signatures in it hold, and under which keys, is
the relay's to say.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final, Self

from engine.governance import Approval, decode_approvals, encode_approvals
from engine.header import SignedHeader
from engine.refusals import EncodingError
from engine.types import SIGNATURE_BYTES
from engine.validators import VOTE_BYTES, Vote

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from engine.header import Header

__all__ = [
    "TIMEOUT_BYTES",
    "ConflictingVotes",
    "DeniedCertificate",
    "Evidence",
    "EvidenceKind",
    "ForkedShard",
    "FraudClaim",
    "SignedVote",
    "TimeoutFields",
    "claim_of",
    "decode_evidence",
]

TIMEOUT_BYTES: Final = 32
_HEAD: Final = struct.Struct("<HHI")
_CLAIM: Final = struct.Struct("<IIQ32s32s32s")
_LENGTH: Final = struct.Struct("<I")
_TIMEOUT: Final = struct.Struct("<QQQQ")
_SIGNED_VOTE_BYTES: Final = VOTE_BYTES + SIGNATURE_BYTES
_SIGNED_HEADER_FRAME: Final = 72
assert (_HEAD.size, _CLAIM.size, _TIMEOUT.size) == (8, 112, TIMEOUT_BYTES)


@unique
class EvidenceKind(IntEnum):
    """What is shown."""

    FORKED_SHARD = 1
    CONFLICTING_VOTES = 2
    FRAUD_CLAIM = 3
    DENIED_CERTIFICATE = 4


@dataclass(frozen=True, slots=True)
class SignedVote:
    """A vote with its signature."""

    vote: Vote
    signature: bytes

    def encode(self) -> bytes:
        """Return vote 104, signature 64."""
        return self.vote.encode() + self.signature

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 168 bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes != _SIGNED_VOTE_BYTES:
            raise EncodingError("signed vote bytes", view.nbytes, _SIGNED_VOTE_BYTES)
        return cls(Vote.decode(view[:VOTE_BYTES]), view[VOTE_BYTES:].tobytes())


@dataclass(frozen=True, slots=True)
class TimeoutFields:
    """The 32 bytes that a timeout signs, read: set, height, view, and one above the highest certified view it knew."""

    set_id: int
    height: int
    view: int
    high_view_plus_one: int

    def encode(self) -> bytes:
        """Return the 32 bytes."""
        return _TIMEOUT.pack(self.set_id, self.height, self.view, self.high_view_plus_one)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 32 bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes != TIMEOUT_BYTES:
            raise EncodingError("timeout bytes", view.nbytes, TIMEOUT_BYTES)
        return cls(*_TIMEOUT.unpack(view))


@dataclass(frozen=True, slots=True)
class ForkedShard:
    """Two headers of one shard, height and epoch, both signed; the smaller header hash stands first."""

    first: SignedHeader
    second: SignedHeader

    def encode(self) -> bytes:
        """Return the payload."""
        return _HEAD.pack(EvidenceKind.FORKED_SHARD, 0, 0) + self.first.encode() + self.second.encode()


@dataclass(frozen=True, slots=True)
class ConflictingVotes:
    """Two votes of one member for different blocks in one set, height, view and phase; the smaller hash first."""

    member: int
    first: SignedVote
    second: SignedVote

    def encode(self) -> bytes:
        """Return the payload."""
        return _HEAD.pack(EvidenceKind.CONFLICTING_VOTES, 0, self.member) + self.first.encode() + self.second.encode()


@dataclass(frozen=True, slots=True)
class FraudClaim:
    """That re-execution of a shard up to a height gives another header than the signed one that is anchored.

    The roots are those of the state; where they agree and another field differs, they are the hashes of the headers.
    """

    shard: int
    epoch: int
    height: int
    header_hash: bytes
    claimed_root: bytes
    computed_root: bytes
    approvals: tuple[Approval, ...] = ()

    def body(self) -> bytes:
        """Return what the approvals sign: kind and claim, 120 bytes."""
        claim = (self.shard, self.epoch, self.height, self.header_hash, self.claimed_root, self.computed_root)
        return _HEAD.pack(EvidenceKind.FRAUD_CLAIM, 0, 0) + _CLAIM.pack(*claim)

    def encode(self) -> bytes:
        """Return the payload."""
        return self.body() + encode_approvals(self.approvals)


def claim_of(signed: Header, computed: Header) -> FraudClaim:
    """Return what everybody claims who computed this header where that one was signed."""
    claimed_root, computed_root = signed.state_root, computed.state_root
    if claimed_root == computed_root:
        claimed_root, computed_root = signed.hash, computed.hash
    return FraudClaim(signed.shard, signed.epoch, signed.height, signed.hash, claimed_root, computed_root)


@dataclass(frozen=True, slots=True)
class DeniedCertificate:
    """A commit vote in view v, and a timeout of v or later that denies the prepare certificate of v (RELAY-44)."""

    member: int
    vote: SignedVote
    timeout: TimeoutFields
    signature: bytes

    def encode(self) -> bytes:
        """Return the payload."""
        head = _HEAD.pack(EvidenceKind.DENIED_CERTIFICATE, 0, self.member)
        return head + self.vote.encode() + self.timeout.encode() + self.signature


Evidence = ForkedShard | ConflictingVotes | FraudClaim | DeniedCertificate


def decode_evidence(data: Buffer) -> Evidence:
    """Read a payload from exactly its bytes; raises EncodingError."""
    view = memoryview(data).cast("B")
    if view.nbytes < _HEAD.size:
        raise EncodingError("evidence bytes", view.nbytes, f"at least {_HEAD.size}")
    kind, zero, member = _HEAD.unpack(view[: _HEAD.size])
    rest = view[_HEAD.size :]
    names_member = kind in (EvidenceKind.CONFLICTING_VOTES, EvidenceKind.DENIED_CERTIFICATE)
    if zero or (member and not names_member):
        raise EncodingError("evidence padding", (zero, member), "zeros")
    if kind == EvidenceKind.FORKED_SHARD:
        return _forked(rest)
    if kind == EvidenceKind.CONFLICTING_VOTES:
        _exactly("conflicting votes", rest, 2 * _SIGNED_VOTE_BYTES)
        first = SignedVote.decode(rest[:_SIGNED_VOTE_BYTES])
        return ConflictingVotes(member, first, SignedVote.decode(rest[_SIGNED_VOTE_BYTES:]))
    if kind == EvidenceKind.FRAUD_CLAIM:
        if rest.nbytes < _CLAIM.size:
            raise EncodingError("fraud claim bytes", rest.nbytes, f"at least {_CLAIM.size}")
        shard, epoch, height, header, claimed, computed = _CLAIM.unpack(rest[: _CLAIM.size])
        approvals = decode_approvals(rest[_CLAIM.size :])
        return FraudClaim(shard, epoch, height, header, claimed, computed, approvals)
    if kind == EvidenceKind.DENIED_CERTIFICATE:
        _exactly("denied certificate", rest, _SIGNED_VOTE_BYTES + TIMEOUT_BYTES + SIGNATURE_BYTES)
        vote = SignedVote.decode(rest[:_SIGNED_VOTE_BYTES])
        timeout = TimeoutFields.decode(rest[_SIGNED_VOTE_BYTES : _SIGNED_VOTE_BYTES + TIMEOUT_BYTES])
        return DeniedCertificate(member, vote, timeout, rest[_SIGNED_VOTE_BYTES + TIMEOUT_BYTES :].tobytes())
    raise EncodingError("evidence kind", kind, "1 to 4")


def _forked(rest: memoryview) -> ForkedShard:
    if rest.nbytes < _LENGTH.size:
        raise EncodingError("forked shard bytes", rest.nbytes, f"at least {_LENGTH.size}")
    end = _LENGTH.unpack(rest[: _LENGTH.size])[0] + _SIGNED_HEADER_FRAME
    if rest.nbytes < end:
        raise EncodingError("forked shard bytes", rest.nbytes, f"at least {end}")
    return ForkedShard(SignedHeader.decode(rest[:end]), SignedHeader.decode(rest[end:]))


def _exactly(what: str, view: memoryview, size: int) -> None:
    if view.nbytes != size:
        raise EncodingError(f"{what} bytes", view.nbytes, size)
