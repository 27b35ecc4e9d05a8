"""The messages between validators: exact bytes, hard bounds, and nothing believed because it was readable.

Every message begins with magic ``CSRM``, version u16, kind u16 and the genesis hash (40 bytes). Parts of changing
length stand last, each with its length before it (u32). Decoding checks layout and bounds only; whoever receives a
message checks signatures and place.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeAlias

from engine.refusals import EncodingError
from engine.types import HASH_BYTES, SIGNATURE_BYTES
from engine.validators import VOTE_BYTES, Vote
from relay.timeouts import TIMEOUT_BYTES, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

__all__ = [
    "BLOCK_BYTES_MAX",
    "CERTIFICATE_BYTES_MAX",
    "HEAD_BYTES",
    "MESSAGE_BYTES_MAX",
    "SIDECAR_BYTES_MAX",
    "STATEMENTS_BYTES_MAX",
    "STATEMENT_BYTES_MAX",
    "BlockMessage",
    "BlockRequest",
    "CertificateMessage",
    "Message",
    "MessageKind",
    "Proposal",
    "Status",
    "StatusRequest",
    "TimeoutCertificateMessage",
    "TimeoutMessage",
    "VoteMessage",
    "decode_message",
]

MESSAGE_MAGIC: Final = b"CSRM"
MESSAGE_VERSION: Final = 1
HEAD_BYTES: Final = 40

# A message stays below 8 MiB, what one message of the transport may have.
BLOCK_BYTES_MAX: Final = 4 << 20
SIDECAR_BYTES_MAX: Final = 2 << 20
# 72 bytes and 112 a signer: room for about 2,300 members; the set at hand bounds it further.
CERTIFICATE_BYTES_MAX: Final = 256 << 10
# Two bitmaps of 65,536 bits and their count.
STATEMENT_BYTES_MAX: Final = 8 + 2 * 8192
STATEMENTS_BYTES_MAX: Final = 1 << 20
MESSAGE_BYTES_MAX: Final = BLOCK_BYTES_MAX + SIDECAR_BYTES_MAX + 3 * CERTIFICATE_BYTES_MAX
_HEAD: Final = struct.Struct("<4sHH32s")
_LENGTH: Final = struct.Struct("<I")
_SIGNED_VOTE: Final = struct.Struct(f"<HHI{VOTE_BYTES}s{SIGNATURE_BYTES}s")
_SIGNED_TIMEOUT: Final = struct.Struct(f"<HHI{TIMEOUT_BYTES}s{SIGNATURE_BYTES}s")
_BLOCK_NAME: Final = struct.Struct("<Q32s")
_NUMBER: Final = struct.Struct("<Q")
_TWO_NUMBERS: Final = struct.Struct("<QQ")
assert _HEAD.size == HEAD_BYTES


@unique
class MessageKind(IntEnum):
    """What a message is."""

    PROPOSAL = 1
    VOTE = 2
    CERTIFICATE = 3
    TIMEOUT = 4
    TIMEOUT_CERTIFICATE = 5
    BLOCK_REQUEST = 6
    BLOCK = 7
    STATUS_REQUEST = 8
    STATUS = 9


def _head(kind: MessageKind, genesis_hash: bytes) -> bytes:
    if len(genesis_hash) != HASH_BYTES:
        raise EncodingError("genesis hash bytes", len(genesis_hash), HASH_BYTES)
    return _HEAD.pack(MESSAGE_MAGIC, MESSAGE_VERSION, kind, genesis_hash)


def _parts(*parts: bytes) -> bytes:
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


class _Reader:
    """Takes fields off the front of a message; raises EncodingError where it ends too early or too late."""

    def __init__(self, data: Buffer, kind: MessageKind) -> None:
        self._view = memoryview(data).cast("B")
        self._at = HEAD_BYTES
        self._kind = kind

    def fixed(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Return the fields of a fixed layout."""
        return layout.unpack(self._take(layout.size))

    def part(self, what: str, bytes_max: int) -> bytes:
        """Return a part that has its length before it."""
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size))
        if length > bytes_max:
            raise EncodingError(f"{what} bytes", length, f"at most {bytes_max}")
        return self._take(length).tobytes()

    def end(self) -> None:
        """Demand that nothing is left."""
        if self._at != self._view.nbytes:
            raise EncodingError("message bytes", self._view.nbytes, self._at)

    def _take(self, count: int) -> memoryview:
        if self._view.nbytes - self._at < count:
            raise EncodingError(f"{self._kind.name.lower()} bytes", self._view.nbytes, f"at least {self._at + count}")
        self._at += count
        return self._view[self._at - count : self._at]


def _zeros(*values: int | bytes) -> None:
    if any(values):
        raise EncodingError("message padding", values, "zeros")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block with the leader's own prepare vote; ``timeout_certificate`` and ``high`` are empty in view 0.

    ``high`` is the prepare certificate that allows proposing its block again; ``sidecar`` are the continuity paths.
    """

    KIND: ClassVar[MessageKind] = MessageKind.PROPOSAL
    index: int
    vote: Vote
    signature: bytes
    block: bytes
    sidecar: bytes = b""
    timeout_certificate: bytes = b""
    high: bytes = b""

    def encode(self, genesis_hash: bytes) -> bytes:
        """Return the message's bytes."""
        fixed = _SIGNED_VOTE.pack(self.index, 0, 0, self.vote.encode(), self.signature)
        parts = _parts(self.block, self.sidecar, self.timeout_certificate, self.high)
        return _head(self.KIND, genesis_hash) + fixed + parts

    @classmethod
    def read(cls, reader: _Reader) -> Self:
        """Read what stands after the head; raises EncodingError."""
        index, zero, more, vote, signature = reader.fixed(_SIGNED_VOTE)
        _zeros(zero, more)
        return cls(
            index,
            Vote.decode(vote),
            signature,
            reader.part("block", BLOCK_BYTES_MAX),
            reader.part("sidecar", SIDECAR_BYTES_MAX),
            reader.part("timeout certificate", CERTIFICATE_BYTES_MAX),
            reader.part("prepare certificate", CERTIFICATE_BYTES_MAX),
        )


@dataclass(frozen=True, slots=True)
class VoteMessage:
    """One member's vote, to the leader; ``statement`` (of a commit vote) is what its digest in the vote names."""

    KIND: ClassVar[MessageKind] = MessageKind.VOTE
    index: int
    vote: Vote
    signature: bytes
    statement: bytes = b""

    def encode(self, genesis_hash: bytes) -> bytes:
        """Return the message's bytes."""
        fixed = _SIGNED_VOTE.pack(self.index, 0, 0, self.vote.encode(), self.signature)
        return _head(self.KIND, genesis_hash) + fixed + _parts(self.statement)

    @classmethod
    def read(cls, reader: _Reader) -> Self:
        """Read what stands after the head; raises EncodingError."""
        index, zero, more, vote, signature = reader.fixed(_SIGNED_VOTE)
        _zeros(zero, more)
        return cls(index, Vote.decode(vote), signature, reader.part("statement", STATEMENT_BYTES_MAX))


@dataclass(frozen=True, slots=True)
class CertificateMessage:
    """A prepare or commit certificate; ``statements``: those its commit votes name by their digests, in any order."""

    KIND: ClassVar[MessageKind] = MessageKind.CERTIFICATE
    certificate: bytes
    statements: tuple[bytes, ...] = ()

    def encode(self, genesis_hash: bytes) -> bytes:
        """Return the message's bytes."""
        return _head(self.KIND, genesis_hash) + _parts(self.certificate, _parts(*self.statements))

    @classmethod
    def read(cls, reader: _Reader) -> Self:
        """Read what stands after the head; raises EncodingError."""
        certificate = reader.part("certificate", CERTIFICATE_BYTES_MAX)
        return cls(certificate, tuple(_split(reader.part("statements", STATEMENTS_BYTES_MAX))))


def _split(joined: bytes) -> Iterable[bytes]:
    at = 0
    while at < len(joined):
        if len(joined) - at < _LENGTH.size:
            raise EncodingError("statement length bytes", len(joined) - at, _LENGTH.size)
        (length,) = _LENGTH.unpack_from(joined, at)
        at += _LENGTH.size
        if length > min(STATEMENT_BYTES_MAX, len(joined) - at):
            raise EncodingError("statement bytes", length, f"at most {min(STATEMENT_BYTES_MAX, len(joined) - at)}")
        yield joined[at : at + length]
        at += length


@dataclass(frozen=True, slots=True)
class TimeoutMessage:
    """One member's timeout with the prepare certificate that it names, empty when it names none."""

    KIND: ClassVar[MessageKind] = MessageKind.TIMEOUT
    index: int
    timeout: Timeout
    signature: bytes
    high: bytes = b""

    def encode(self, genesis_hash: bytes) -> bytes:
        """Return the message's bytes."""
        fixed = _SIGNED_TIMEOUT.pack(self.index, 0, 0, self.timeout.encode(), self.signature)
        return _head(self.KIND, genesis_hash) + fixed + _parts(self.high)

    @classmethod
    def read(cls, reader: _Reader) -> Self:
        """Read what stands after the head; raises EncodingError."""
        index, zero, more, timeout, signature = reader.fixed(_SIGNED_TIMEOUT)
        _zeros(zero, more)
        return cls(index, Timeout.decode(timeout), signature, reader.part("prepare certificate", CERTIFICATE_BYTES_MAX))


@dataclass(frozen=True, slots=True)
class TimeoutCertificateMessage:
    """A timeout certificate, with the highest prepare certificate its sender knows, or empty."""

    KIND: ClassVar[MessageKind] = MessageKind.TIMEOUT_CERTIFICATE
    certificate: bytes
    high: bytes = b""

    def encode(self, genesis_hash: bytes) -> bytes:
        """Return the message's bytes."""
        return _head(self.KIND, genesis_hash) + _parts(self.certificate, self.high)

    @classmethod
    def read(cls, reader: _Reader) -> Self:
        """Read what stands after the head; raises EncodingError."""
        return cls(
            reader.part("timeout certificate", CERTIFICATE_BYTES_MAX),
            reader.part("prepare certificate", CERTIFICATE_BYTES_MAX),
        )


@dataclass(frozen=True, slots=True)
class BlockRequest:
    """Asks for the block of this height and hash."""

    KIND: ClassVar[MessageKind] = MessageKind.BLOCK_REQUEST
    height: int
    block_hash: bytes

    def encode(self, genesis_hash: bytes) -> bytes:
        """Return the message's bytes."""
        return _head(self.KIND, genesis_hash) + _BLOCK_NAME.pack(self.height, self.block_hash)

    @classmethod
    def read(cls, reader: _Reader) -> Self:
        """Read what stands after the head; raises EncodingError."""
        return cls(*reader.fixed(_BLOCK_NAME))


@dataclass(frozen=True, slots=True)
class BlockMessage:
    """A block that was asked for, with its sidecar; its hash says whether it is the one."""

    KIND: ClassVar[MessageKind] = MessageKind.BLOCK
    height: int
    block_hash: bytes
    block: bytes
    sidecar: bytes = b""

    def encode(self, genesis_hash: bytes) -> bytes:
        """Return the message's bytes."""
        fixed = _BLOCK_NAME.pack(self.height, self.block_hash)
        return _head(self.KIND, genesis_hash) + fixed + _parts(self.block, self.sidecar)

    @classmethod
    def read(cls, reader: _Reader) -> Self:
        """Read what stands after the head; raises EncodingError."""
        height, block_hash = reader.fixed(_BLOCK_NAME)
        return cls(height, block_hash, reader.part("block", BLOCK_BYTES_MAX), reader.part("sidecar", SIDECAR_BYTES_MAX))


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Asks which height a member works on; ``nonce`` comes back, so that an old answer passes for no new one."""

    KIND: ClassVar[MessageKind] = MessageKind.STATUS_REQUEST
    nonce: int

    def encode(self, genesis_hash: bytes) -> bytes:
        """Return the message's bytes."""
        return _head(self.KIND, genesis_hash) + _NUMBER.pack(self.nonce)

    @classmethod
    def read(cls, reader: _Reader) -> Self:
        """Read what stands after the head; raises EncodingError."""
        return cls(*reader.fixed(_NUMBER))


@dataclass(frozen=True, slots=True)
class Status:
    """The height a member works on, with the commit certificate of the one before it, empty at height 1."""

    KIND: ClassVar[MessageKind] = MessageKind.STATUS
    nonce: int
    height: int
    certificate: bytes = b""

    def encode(self, genesis_hash: bytes) -> bytes:
        """Return the message's bytes."""
        fixed = _TWO_NUMBERS.pack(self.nonce, self.height)
        return _head(self.KIND, genesis_hash) + fixed + _parts(self.certificate)

    @classmethod
    def read(cls, reader: _Reader) -> Self:
        """Read what stands after the head; raises EncodingError."""
        nonce, height = reader.fixed(_TWO_NUMBERS)
        return cls(nonce, height, reader.part("commit certificate", CERTIFICATE_BYTES_MAX))


Message: TypeAlias = (
    Proposal
    | VoteMessage
    | CertificateMessage
    | TimeoutMessage
    | TimeoutCertificateMessage
    | BlockRequest
    | BlockMessage
    | StatusRequest
    | Status
)
_CLASSES: Final[dict[int, type[Message]]] = {
    each.KIND: each
    for each in (
        Proposal,
        VoteMessage,
        CertificateMessage,
        TimeoutMessage,
        TimeoutCertificateMessage,
        BlockRequest,
        BlockMessage,
        StatusRequest,
        Status,
    )
}


def decode_message(data: Buffer, genesis_hash: bytes) -> Message:
    """Read a message of this network from exactly its bytes; raises EncodingError.

    ``what`` of the error is ``message genesis`` for one of another network.
    """
    view = memoryview(data).cast("B")
    if not HEAD_BYTES <= view.nbytes <= MESSAGE_BYTES_MAX:
        raise EncodingError("message bytes", view.nbytes, f"{HEAD_BYTES} to {MESSAGE_BYTES_MAX}")
    magic, version, kind, genesis = _HEAD.unpack(view[:HEAD_BYTES])
    if (magic, version) != (MESSAGE_MAGIC, MESSAGE_VERSION):
        raise EncodingError("message head", (magic, version), (MESSAGE_MAGIC, MESSAGE_VERSION))
    if genesis != genesis_hash:
        raise EncodingError("message genesis", genesis.hex(), genesis_hash.hex())
    if kind not in _CLASSES:
        raise EncodingError("message kind", kind, "1 to 9")
    reader = _Reader(view, MessageKind(kind))
    message = _CLASSES[kind].read(reader)
    reader.end()
    return message
