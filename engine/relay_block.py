"""The relay block: its header, its typed records, and what a shard and a receipt read out of it (07).

It promises exact bytes and a body that is the one its header names; an unknown or reserved record is refused, never
skipped. Whether a block is final is its certificate's to say (``engine.validators``).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from engine.header import SignedHeader
from engine.refusals import EncodingError, ProofRefused
from engine.types import HASH_BYTES, RelayRecordType, VotePhase
from engine.validators import ValidatorSet
from native.hashing import digest, leaf_hash, merkle_path, merkle_root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from engine.validators import Certificate

__all__ = [
    "RELAY_BLOCK_MAGIC",
    "RELAY_BLOCK_VERSION",
    "RELAY_HEADER_BYTES",
    "RelayBlock",
    "RelayHeader",
    "RelayRecord",
    "body_path",
    "body_root",
    "header_record",
    "reveal_record",
    "validator_set_record",
    "verify_anchor",
]

RELAY_BLOCK_MAGIC: Final = b"CSRB"
RELAY_BLOCK_VERSION: Final = 1
RELAY_HEADER_BYTES: Final = 152
RECORDS_MAX: Final = 65_536
PREIMAGE_BYTES: Final = 32
_HEADER: Final = struct.Struct("<4sHHQQQ32sQ32s32sI12s")
_RECORD_HEAD: Final = struct.Struct("<HHI")
assert _HEADER.size == RELAY_HEADER_BYTES
_RESERVED: Final = bytes(12)
_RECORD_VERSION: Final = 1
_KNOWN: Final = frozenset({RelayRecordType.HEADER, RelayRecordType.REVEAL, RelayRecordType.VALIDATOR_SET})


@dataclass(frozen=True, slots=True)
class RelayHeader:
    """What validators vote on: height, view, relay time, parent, the set that votes, and the root of the body."""

    height: int
    view: int
    time: int
    parent_hash: bytes
    set_id: int
    genesis_hash: bytes
    body_root: bytes
    record_count: int

    def encode(self) -> bytes:
        """Return the 152 bytes."""
        for value in (self.parent_hash, self.genesis_hash, self.body_root):
            if len(value) != HASH_BYTES:
                raise EncodingError("relay header hash bytes", len(value), HASH_BYTES)
        return _HEADER.pack(
            RELAY_BLOCK_MAGIC,
            RELAY_BLOCK_VERSION,
            0,
            self.height,
            self.view,
            self.time,
            self.parent_hash,
            self.set_id,
            self.genesis_hash,
            self.body_root,
            self.record_count,
            _RESERVED,
        )

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 152 bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes != RELAY_HEADER_BYTES:
            raise EncodingError("relay header bytes", view.nbytes, RELAY_HEADER_BYTES)
        magic, version, zero, height, its_view, time, parent, set_id, genesis, root, count, reserved = _HEADER.unpack(
            view
        )
        if (magic, version) != (RELAY_BLOCK_MAGIC, RELAY_BLOCK_VERSION):
            raise EncodingError("relay header head", (magic, version), (RELAY_BLOCK_MAGIC, RELAY_BLOCK_VERSION))
        if zero or reserved != _RESERVED:
            raise EncodingError("relay header reserved fields", (zero, reserved), "zeros")
        return cls(height, its_view, time, parent, set_id, genesis, root, count)

    def hash(self, suite: int) -> bytes:
        """H(header): the block's name."""
        return digest(suite, self.encode())


@dataclass(frozen=True, slots=True)
class RelayRecord:
    """One record of a body, its payload checked for its type; the leaf data of the body's tree are its bytes."""

    type: RelayRecordType
    payload: bytes

    def encode(self) -> bytes:
        """Return type, version, length, payload."""
        return _RECORD_HEAD.pack(self.type, _RECORD_VERSION, len(self.payload)) + self.payload

    @classmethod
    def decode_prefix(cls, view: memoryview) -> tuple[Self, int]:
        """Read a record from the start of a view; return it and how many bytes it took. Raises EncodingError."""
        if view.nbytes < _RECORD_HEAD.size:
            raise EncodingError("relay record bytes", view.nbytes, f"at least {_RECORD_HEAD.size}")
        number, version, length = _RECORD_HEAD.unpack(view[: _RECORD_HEAD.size])
        if number not in _KNOWN:
            raise EncodingError("relay record type", number, "1 header, 2 reveal or 4 validator set")
        if version != _RECORD_VERSION:
            raise EncodingError("relay record version", version, _RECORD_VERSION)
        used = _RECORD_HEAD.size + length
        if view.nbytes < used:
            raise EncodingError("relay record bytes", view.nbytes, f"at least {used}")
        record = cls(RelayRecordType(number), view[_RECORD_HEAD.size : used].tobytes())
        record.check()
        return record, used

    def check(self) -> None:
        """Demand a payload that its type allows; raises EncodingError, or CertificateRefused for a validator set."""
        if self.type == RelayRecordType.HEADER:
            self.signed_header()
        elif self.type == RelayRecordType.VALIDATOR_SET:
            self.validator_set()
        elif len(self.payload) != PREIMAGE_BYTES:
            raise EncodingError("reveal bytes", len(self.payload), PREIMAGE_BYTES)

    def signed_header(self) -> SignedHeader:
        """Read the payload of a header record."""
        return SignedHeader.decode(self.payload)

    def validator_set(self) -> ValidatorSet:
        """Read the payload of a validator set record."""
        return ValidatorSet.decode(self.payload)


def header_record(signed: SignedHeader) -> RelayRecord:
    """Return the record that anchors a shard's header."""
    return RelayRecord(RelayRecordType.HEADER, signed.encode())


def reveal_record(preimage: bytes) -> RelayRecord:
    """Return the record that reveals a preimage of 32 bytes."""
    record = RelayRecord(RelayRecordType.REVEAL, bytes(preimage))
    record.check()
    return record


def validator_set_record(validators: ValidatorSet) -> RelayRecord:
    """Return the record that names the next validator set."""
    return RelayRecord(RelayRecordType.VALIDATOR_SET, validators.encode())


def _leaves(suite: int, records: Sequence[RelayRecord]) -> bytes:
    return b"".join(leaf_hash(suite, record.encode()) for record in records)


def body_root(suite: int, records: Sequence[RelayRecord]) -> bytes:
    """Return the root over the records, in order."""
    return merkle_root(suite, _leaves(suite, records))


def body_path(suite: int, records: Sequence[RelayRecord], index: int) -> tuple[bytes, ...]:
    """Return the inclusion path of one record."""
    return merkle_path(suite, _leaves(suite, records), index)


@dataclass(frozen=True, slots=True)
class RelayBlock:
    """A header and its records, in order."""

    header: RelayHeader
    records: tuple[RelayRecord, ...]

    @classmethod
    def build(
        cls,
        suite: int,
        *,
        genesis_hash: bytes,
        height: int,
        view: int,
        time: int,
        parent_hash: bytes,
        set_id: int,
        records: Sequence[RelayRecord],
    ) -> Self:
        """Build a block whose header names its body."""
        root = body_root(suite, records)
        return cls(
            RelayHeader(height, view, time, parent_hash, set_id, genesis_hash, root, len(records)), tuple(records)
        )

    def encode(self) -> bytes:
        """Return header and records, packed."""
        return self.header.encode() + b"".join(record.encode() for record in self.records)

    @classmethod
    def decode(cls, data: Buffer, suite: int) -> Self:
        """Read a block from exactly its bytes and compare the body with its root; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes < RELAY_HEADER_BYTES:
            raise EncodingError("relay block bytes", view.nbytes, f"at least {RELAY_HEADER_BYTES}")
        header = RelayHeader.decode(view[:RELAY_HEADER_BYTES])
        if header.record_count > RECORDS_MAX:
            raise EncodingError("relay block records", header.record_count, f"at most {RECORDS_MAX}")
        view = view[RELAY_HEADER_BYTES:]
        records = []
        for _ in range(header.record_count):
            record, used = RelayRecord.decode_prefix(view)
            records.append(record)
            view = view[used:]
        if view.nbytes:
            raise EncodingError("relay block bytes", f"{view.nbytes} more", "the end")
        if body_root(suite, records) != header.body_root:
            raise EncodingError("relay block body root", "another one", header.body_root.hex())
        return cls(header, tuple(records))

    def hash(self, suite: int) -> bytes:
        """H(header): the block's name."""
        return self.header.hash(suite)

    def preimages(self) -> tuple[bytes, ...]:
        """Return the revealed preimages, in order."""
        return tuple(record.payload for record in self.records if record.type == RelayRecordType.REVEAL)

    def verify_certificate(self, suite: int, certificate: Certificate, validators: ValidatorSet) -> int:
        """Demand that a certificate is a quorum's, and for this block; return its power. Raises ProofRefused."""
        verify_anchor(suite, self.header, certificate, validators)
        return certificate.verify(suite, self.header.genesis_hash, validators)


def verify_anchor(suite: int, header: RelayHeader, certificate: Certificate, validators: ValidatorSet) -> None:
    """Demand that a certificate commits this header under this set, whatever its signatures; raises ProofRefused."""
    if certificate.phase is not VotePhase.COMMIT:
        raise ProofRefused("certificate", "votes to prepare make nothing final")
    found = (certificate.height, certificate.view, certificate.set_id, certificate.block_hash)
    if found != (header.height, header.view, header.set_id, header.hash(suite)):
        raise ProofRefused("certificate", "it certifies another block")
    if header.set_id != validators.set_id:
        raise ProofRefused("certificate", f"set {header.set_id}, where set {validators.set_id} is trusted")
