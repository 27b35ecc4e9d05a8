"""The relay block: its header, its typed records, and what a shard and a receipt read out of it (07).

It promises exact bytes and a body that is the one its header names; an unknown record is refused, never skipped.
Whether a block is final is its certificate's to say (``engine.validators``), and whether it may follow another the
relay's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Final, Self

from engine.evidence import Evidence, decode_evidence
from engine.governance import Approval, Corridor, Governed, Parameter, SlotMap, decode_parameter
from engine.header import SignedHeader
from engine.refusals import EncodingError, ProofRefused
from engine.run_decision import RunDecisionRecord
from engine.types import HASH_BYTES, RelayRecordType, VotePhase
from engine.validators import Certificate, Statement, ValidatorSet
from native.hashing import digest, leaf_hash, leaf_hash_rows, merkle_path, merkle_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from typing_extensions import Buffer

__all__ = [
    "RELAY_BLOCK_MAGIC",
    "RELAY_BLOCK_VERSION",
    "RELAY_HEADER_BYTES",
    "CheckpointRoot",
    "ParentCertificate",
    "RelayBlock",
    "RelayHeader",
    "RelayRecord",
    "body_path",
    "body_root",
    "checkpoint_record",
    "corridor_record",
    "decision_payloads",
    "evidence_record",
    "header_record",
    "parameter_record",
    "parent_certificate_record",
    "reveal_payloads",
    "reveal_record",
    "run_decision_record",
    "slot_map_record",
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
# Reveals are many and all alike: what each begins with, and its length.
_REVEAL_HEAD: Final = _RECORD_HEAD.pack(RelayRecordType.REVEAL, _RECORD_VERSION, PREIMAGE_BYTES)
_REVEAL_BYTES: Final = len(_REVEAL_HEAD) + PREIMAGE_BYTES
_CERTIFICATE_COUNT: Final = struct.Struct("<64xI")
_CERTIFICATE_BYTES: Final = 72
_SIGNER_BYTES: Final = 112
_STATEMENTS: Final = struct.Struct("<II")
_CHECKPOINT: Final = struct.Struct("<QQII32s")
assert _CHECKPOINT.size == 56


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
        if number not in _CHECKS:
            raise EncodingError("relay record type", number, f"one of {sorted(map(int, _CHECKS))}")
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
        _CHECKS[self.type](self.payload)

    def signed_header(self) -> SignedHeader:
        """Read the payload of a header record."""
        return SignedHeader.decode(self.payload)

    def run_decision(self) -> RunDecisionRecord:
        """Read the payload of a decision record."""
        return RunDecisionRecord.decode(self.payload)

    def governed(self) -> Governed:
        """Read the payload of a record of types 4, 5, 6 and 8."""
        return Governed.decode(self.payload)

    def validator_set(self) -> ValidatorSet:
        """Read the body of a validator set record."""
        return ValidatorSet.decode(self.governed().body)

    def slot_map(self) -> SlotMap:
        """Read the body of a slot map record."""
        return SlotMap.decode(self.governed().body)

    def corridor(self) -> Corridor:
        """Read the body of a corridor record."""
        return Corridor.decode(self.governed().body)

    def parameter(self) -> Parameter:
        """Read the body of a parameter record."""
        return decode_parameter(self.governed().body)

    def evidence(self) -> Evidence:
        """Read the payload of an evidence record."""
        return decode_evidence(self.payload)

    def parent_certificate(self) -> ParentCertificate:
        """Read the payload of a parent certificate record."""
        return ParentCertificate.decode(self.payload)

    def checkpoint(self) -> CheckpointRoot:
        """Read the payload of a checkpoint record."""
        return CheckpointRoot.decode(self.payload)


@dataclass(frozen=True, slots=True)
class ParentCertificate:
    """The commit certificate of the block before, and the statements that its votes carry the hashes of.

    ``statements`` are encoded, of one length, strictly ascending, each named by a vote; one that is missing only delays
    what it would verify.
    """

    certificate: Certificate
    statements: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """Return the certificate, statement count u32, bytes of each u32, statements."""
        size = len(self.statements[0]) if self.statements else 0
        return self.certificate.encode() + _STATEMENTS.pack(len(self.statements), size) + b"".join(self.statements)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a payload from exactly its bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes < _CERTIFICATE_BYTES:
            raise EncodingError("parent certificate bytes", view.nbytes, f"at least {_CERTIFICATE_BYTES}")
        (signers,) = _CERTIFICATE_COUNT.unpack_from(view)
        end = _CERTIFICATE_BYTES + signers * _SIGNER_BYTES
        if view.nbytes < end + _STATEMENTS.size:
            raise EncodingError("parent certificate bytes", view.nbytes, f"at least {end + _STATEMENTS.size}")
        certificate = Certificate.decode(view[:end])
        if certificate.phase is not VotePhase.COMMIT:
            raise EncodingError("parent certificate phase", int(certificate.phase), int(VotePhase.COMMIT))
        count, size = _STATEMENTS.unpack_from(view, end)
        rest = view[end + _STATEMENTS.size :]
        if count > signers or rest.nbytes != count * size or (not count and size):
            raise EncodingError("statements", (count, size, rest.nbytes), f"at most {signers}, packed")
        packed = rest.tobytes()
        statements = tuple(packed[at * size : (at + 1) * size] for at in range(count))
        for before, after in pairwise(statements):
            if before >= after:
                raise EncodingError("statements", "not ascending", "each once, ascending")
        for statement in statements:
            Statement.decode(statement)
        return cls(certificate, statements)


@dataclass(frozen=True, slots=True)
class CheckpointRoot:
    """The relay's own state after ``height``: its length, and the root of the tree over its chunks of 64 KiB."""

    height: int
    state_bytes: int
    chunk_count: int
    root: bytes

    def encode(self) -> bytes:
        """Return height u64, state bytes u64, chunk count u32, zero u32, root 32."""
        return _CHECKPOINT.pack(self.height, self.state_bytes, self.chunk_count, 0, self.root)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 56 bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes != _CHECKPOINT.size:
            raise EncodingError("checkpoint bytes", view.nbytes, _CHECKPOINT.size)
        height, state_bytes, chunk_count, zero, root = _CHECKPOINT.unpack(view)
        if zero:
            raise EncodingError("checkpoint padding", zero, 0)
        return cls(height, state_bytes, chunk_count, root)


def _reveal(payload: bytes) -> None:
    if len(payload) != PREIMAGE_BYTES:
        raise EncodingError("reveal bytes", len(payload), PREIMAGE_BYTES)


# What a payload of each type must be.
_CHECKS: Final[Mapping[int, Callable[[bytes], object]]] = {
    RelayRecordType.HEADER: SignedHeader.decode,
    RelayRecordType.REVEAL: _reveal,
    RelayRecordType.DECISION: RunDecisionRecord.decode,
    RelayRecordType.VALIDATOR_SET: lambda payload: ValidatorSet.decode(Governed.decode(payload).body),
    RelayRecordType.SLOT_MAP: lambda payload: SlotMap.decode(Governed.decode(payload).body),
    RelayRecordType.CORRIDOR: lambda payload: Corridor.decode(Governed.decode(payload).body),
    RelayRecordType.EVIDENCE: decode_evidence,
    RelayRecordType.PARAMETER: lambda payload: decode_parameter(Governed.decode(payload).body),
    RelayRecordType.PARENT_CERTIFICATE: ParentCertificate.decode,
    RelayRecordType.CHECKPOINT: CheckpointRoot.decode,
}


def header_record(signed: SignedHeader) -> RelayRecord:
    """Return the record that anchors a shard's header."""
    return RelayRecord(RelayRecordType.HEADER, signed.encode())


def reveal_record(preimage: bytes) -> RelayRecord:
    """Return the record that reveals a preimage of 32 bytes."""
    record = RelayRecord(RelayRecordType.REVEAL, bytes(preimage))
    record.check()
    return record


def run_decision_record(decision: RunDecisionRecord) -> RelayRecord:
    """Return the record that commits a linked run over shards."""
    return RelayRecord(RelayRecordType.DECISION, decision.encode())


def decision_payloads(block: bytes) -> list[bytes]:
    """Return the payloads of a block's decision records; the bytes are known to be a block, and nothing is checked."""
    return _payloads(block, RelayRecordType.DECISION)


def reveal_payloads(block: bytes) -> list[bytes]:
    """Return the preimages that a block reveals, in order; as ``decision_payloads``."""
    return _payloads(block, RelayRecordType.REVEAL)


def _payloads(block: bytes, wanted: RelayRecordType) -> list[bytes]:
    found, at = [], RELAY_HEADER_BYTES
    while at < len(block):
        kind, _, length = _RECORD_HEAD.unpack_from(block, at)
        at += _RECORD_HEAD.size + length
        if kind == wanted:
            found.append(block[at - length : at])
    return found


def _governed(kind: RelayRecordType, body: bytes, approvals: Iterable[Approval]) -> RelayRecord:
    return RelayRecord(kind, Governed(body, tuple(approvals)).encode())


def validator_set_record(validators: ValidatorSet, approvals: Iterable[Approval] = ()) -> RelayRecord:
    """Return the record that names the next validator set."""
    return _governed(RelayRecordType.VALIDATOR_SET, validators.encode(), approvals)


def slot_map_record(slot_map: SlotMap, approvals: Iterable[Approval] = ()) -> RelayRecord:
    """Return the record that names the next slot map of a domain."""
    return _governed(RelayRecordType.SLOT_MAP, slot_map.encode(), approvals)


def corridor_record(corridor: Corridor, approvals: Iterable[Approval] = ()) -> RelayRecord:
    """Return the record that holds a version of a corridor's document."""
    return _governed(RelayRecordType.CORRIDOR, corridor.encode(), approvals)


def parameter_record(parameter: Parameter, approvals: Iterable[Approval] = ()) -> RelayRecord:
    """Return the record that changes a parameter."""
    return _governed(RelayRecordType.PARAMETER, parameter.encode(), approvals)


def evidence_record(evidence: Evidence) -> RelayRecord:
    """Return the record that keeps a piece of evidence."""
    return RelayRecord(RelayRecordType.EVIDENCE, evidence.encode())


def parent_certificate_record(certificate: Certificate, statements: Iterable[bytes] = ()) -> RelayRecord:
    """Return the first record of every block but the first; ``statements`` encoded, in any order."""
    payload = ParentCertificate(certificate, tuple(sorted(frozenset(statements)))).encode()
    return RelayRecord(RelayRecordType.PARENT_CERTIFICATE, payload)


def checkpoint_record(root: CheckpointRoot) -> RelayRecord:
    """Return the record that names the relay's state after a height."""
    return RelayRecord(RelayRecordType.CHECKPOINT, root.encode())


def _leaves(suite: int, records: Sequence[RelayRecord]) -> bytes:
    found = []
    for reveals, group in groupby(records, _is_reveal):
        if reveals:
            rows = b"".join([_REVEAL_HEAD + record.payload for record in group])
            found.append(leaf_hash_rows(suite, rows, _REVEAL_BYTES))
        else:
            found += [leaf_hash(suite, record.encode()) for record in group]
    return b"".join(found)


def _is_reveal(record: RelayRecord) -> bool:
    return record.type is RelayRecordType.REVEAL and len(record.payload) == PREIMAGE_BYTES


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
    _encoded: bytes = field(default=b"", init=False, repr=False, compare=False)
    """Its bytes, where it was read from them: they are exact, so they need not be made again."""

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
        return self._encoded or self.header.encode() + b"".join([record.encode() for record in self.records])

    @classmethod
    def decode(cls, data: Buffer, suite: int) -> Self:
        """Read a block from exactly its bytes and compare the body with its root; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes < RELAY_HEADER_BYTES:
            raise EncodingError("relay block bytes", view.nbytes, f"at least {RELAY_HEADER_BYTES}")
        header = RelayHeader.decode(view[:RELAY_HEADER_BYTES])
        if header.record_count > RECORDS_MAX:
            raise EncodingError("relay block records", header.record_count, f"at most {RECORDS_MAX}")
        whole, at = view.tobytes(), RELAY_HEADER_BYTES
        records: list[RelayRecord] = []
        sets = 0
        while len(records) < header.record_count:
            if whole.startswith(_REVEAL_HEAD, at) and len(whole) - at >= _REVEAL_BYTES:
                at += _REVEAL_BYTES
                records.append(RelayRecord(RelayRecordType.REVEAL, whole[at - PREIMAGE_BYTES : at]))
                continue
            record, used = RelayRecord.decode_prefix(view[at:])
            sets += record.type == RelayRecordType.VALIDATOR_SET
            if sets > 1:
                # Reading a set prepares its keys: nobody makes a reader do that over and over.
                raise EncodingError("validator set records", sets, "at most 1")
            records.append(record)
            at += used
        if at != len(whole):
            raise EncodingError("relay block bytes", f"{len(whole) - at} more", "the end")
        if body_root(suite, records) != header.body_root:
            raise EncodingError("relay block body root", "another one", header.body_root.hex())
        block = cls(header, tuple(records))
        object.__setattr__(block, "_encoded", whole)
        return block

    def hash(self, suite: int) -> bytes:
        """H(header): the block's name."""
        return self.header.hash(suite)

    def preimages(self) -> tuple[bytes, ...]:
        """Return the revealed preimages, in order."""
        return tuple(record.payload for record in self.records if record.type == RelayRecordType.REVEAL)

    def committed_runs(self, suite: int) -> tuple[bytes, ...]:
        """Return T_run of each run that is committed, in order."""
        decisions = (record.run_decision() for record in self.records if record.type == RelayRecordType.DECISION)
        return tuple(decision.run(suite, self.header.genesis_hash) for decision in decisions)

    def verify_certificate(self, suite: int, certificate: Certificate, validators: ValidatorSet) -> int:
        """Demand that a certificate is a quorum's, and for this block; return its power. Raises ProofRefused."""
        verify_anchor(suite, self.header, certificate, validators)
        return certificate.verify(suite, self.header.genesis_hash, validators)


def verify_anchor(suite: int, header: RelayHeader, certificate: Certificate, validators: ValidatorSet) -> None:
    """Demand that a certificate commits this header under this set, whatever its signatures; raises ProofRefused.

    A block is proposed again unchanged in later views, so a certificate's view may be later than the header's.
    """
    if certificate.phase is not VotePhase.COMMIT:
        raise ProofRefused("certificate", "votes to prepare make nothing final")
    found = (certificate.height, certificate.set_id, certificate.block_hash)
    if found != (header.height, header.set_id, header.hash(suite)):
        raise ProofRefused("certificate", "it certifies another block")
    if certificate.view < header.view:
        raise ProofRefused("certificate", f"view {certificate.view} is before view {header.view} of the proposal")
    if header.set_id != validators.set_id:
        raise ProofRefused("certificate", f"set {header.set_id}, where set {validators.set_id} is trusted")
