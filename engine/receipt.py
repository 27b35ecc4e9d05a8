"""The receipt: from a signed record to a quorum's certificate, checked offline with a validator set alone (07).

It leads from the record's digest to its decision, to the header of the shard's block, to the anchored header, to the
relay block, to the certificate. It says what was decided and how far that is final, and nothing of what came after.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final, Self

from engine.block import Decision, DecisionProof, InclusionPath
from engine.codes import CodeMeaning, meaning
from engine.header import Header, SignedHeader
from engine.record import Transfer
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RELAY_HEADER_BYTES, RelayHeader, header_record, verify_anchor
from engine.types import HASH_BYTES, RECORD_BYTES
from engine.validators import Certificate
from native.codes import ResultCode
from native.hashing import digest, leaf_hash

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from engine.validators import ValidatorSet

__all__ = ["RECEIPT_MAGIC", "RECEIPT_VERSION", "Receipt", "ReceiptFinding", "ReceiptForm"]

RECEIPT_MAGIC: Final = b"CSRC"
RECEIPT_VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sHH")
_SECTION: Final = struct.Struct("<HHI")
_ANCHOR: Final = struct.Struct("<III")
PATH_ENTRIES_MAX: Final = 64

# What proves to a payee that the money is his: not that it is on its way.
_PAID: Final = frozenset({ResultCode.CREATED, ResultCode.CREDITED, ResultCode.CREDITED_TO_SUSPENSE, ResultCode.CLAIMED})


@unique
class ReceiptForm(IntEnum):
    """Whom a receipt speaks to."""

    PAYER = 1
    PAYEE = 2
    BALANCE = 3


@unique
class _Tag(IntEnum):
    RECORD = 1
    DECISION = 2
    HEADER = 3
    RANGE = 4
    ANCHORED = 5
    ANCHOR_PATH = 6
    RELAY_HEADER = 7
    CERTIFICATE = 8


@dataclass(frozen=True, slots=True)
class ReceiptFinding:
    """What a receipt that holds proves: the decision and its meaning, where and when, and how far it is final."""

    form: ReceiptForm
    transfer: Transfer
    decision: Decision
    meaning: CodeMeaning
    shard: int
    height: int
    relay_height: int
    relay_time: int
    power: int
    state: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The sections in their order; ``range_path`` is None where the block's own header is the anchored one."""

    form: ReceiptForm
    record: bytes
    prefix: bytes
    decision: Decision
    decision_path: InclusionPath
    header: Header
    range_path: InclusionPath | None
    anchored: SignedHeader
    anchor_path: InclusionPath
    relay_header: RelayHeader
    certificate: Certificate

    def encode(self) -> bytes:
        """Return the receipt's bytes."""
        proof = DecisionProof(self.decision, self.decision_path, self.anchored).encode_without_header()
        path = self.anchor_path
        anchor = _ANCHOR.pack(path.index, path.count, len(path.path)) + b"".join(path.path)
        sections = {
            _Tag.RECORD: self.record + self.prefix,
            _Tag.DECISION: proof,
            _Tag.HEADER: self.header.encode(),
            _Tag.RANGE: None if self.range_path is None else self.range_path.encode(),
            _Tag.ANCHORED: self.anchored.encode(),
            _Tag.ANCHOR_PATH: anchor,
            _Tag.RELAY_HEADER: self.relay_header.encode(),
            _Tag.CERTIFICATE: self.certificate.encode(),
        }
        parts = [_HEAD.pack(RECEIPT_MAGIC, RECEIPT_VERSION, self.form)]
        for tag, content in sections.items():
            if content is not None:
                parts += [_SECTION.pack(tag, 0, len(content)), content]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a receipt from exactly its bytes; raises EncodingError. Whether it holds is ``verify``'s to say."""
        view = memoryview(data).cast("B")
        if view.nbytes < _HEAD.size:
            raise EncodingError("receipt bytes", view.nbytes, f"at least {_HEAD.size}")
        magic, version, form = _HEAD.unpack(view[: _HEAD.size])
        if (magic, version) != (RECEIPT_MAGIC, RECEIPT_VERSION):
            raise EncodingError("receipt head", (magic, version), (RECEIPT_MAGIC, RECEIPT_VERSION))
        if form not in (ReceiptForm.PAYER, ReceiptForm.PAYEE):
            raise EncodingError("receipt form", form, "1 payer's or 2 payee's")
        sections = _sections(view[_HEAD.size :])
        signed_bytes = sections[_Tag.RECORD].tobytes()
        if len(signed_bytes) != RECORD_BYTES + HASH_BYTES:
            raise EncodingError("receipt record bytes", len(signed_bytes), RECORD_BYTES + HASH_BYTES)
        decision, decision_path, used = DecisionProof.decode_without_header(sections[_Tag.DECISION])
        _ends("receipt decision", sections[_Tag.DECISION], used)
        range_path = None
        if _Tag.RANGE in sections:
            range_path, used = InclusionPath.decode_prefix(sections[_Tag.RANGE])
            _ends("receipt range proof", sections[_Tag.RANGE], used)
        return cls(
            form=ReceiptForm(form),
            record=signed_bytes[:RECORD_BYTES],
            prefix=signed_bytes[RECORD_BYTES:],
            decision=decision,
            decision_path=decision_path,
            header=Header.decode(sections[_Tag.HEADER]),
            range_path=range_path,
            anchored=SignedHeader.decode(sections[_Tag.ANCHORED]),
            anchor_path=_anchor_path(sections[_Tag.ANCHOR_PATH]),
            relay_header=_relay_header(sections[_Tag.RELAY_HEADER]),
            certificate=Certificate.decode(sections[_Tag.CERTIFICATE]),
        )

    def verify(self, suite: int, genesis_hash: bytes, validators: ValidatorSet) -> ReceiptFinding:
        """Follow the receipt from the record to the certificate; raises ProofRefused naming the step that fails.

        Under another set than the one that is known it fails at the step ``stale_trust``: fetch the sets between.
        """
        if self.decision.digest != digest(suite, self.prefix + self.record):
            raise ProofRefused("record", "the decision is on another record")
        if self.form is ReceiptForm.PAYEE and self.decision.code not in _PAID:
            raise ProofRefused("form", f"code {self.decision.code} is no proof of payment")
        anchored = self.anchored.header
        for header in (self.header, anchored):
            if (header.genesis_hash, header.hash_suite, header.shard) != (genesis_hash, suite, anchored.shard):
                raise ProofRefused("header", "it is of another network or shard")
        DecisionProof(self.decision, self.decision_path, SignedHeader(self.header, 0, b"")).check_path()
        self._check_range(suite)
        record = header_record(self.anchored).encode()
        if self.anchor_path.count != self.relay_header.record_count:
            raise ProofRefused("anchor", "the relay block counts other records")
        self.anchor_path.check(suite, leaf_hash(suite, record), self.relay_header.body_root, "anchor")
        if self.relay_header.genesis_hash != genesis_hash:
            raise ProofRefused("relay block", "it is of another network")
        if self.relay_header.set_id != validators.set_id:
            raise ProofRefused("stale_trust", f"set {self.relay_header.set_id}, where set {validators.set_id} is known")
        verify_anchor(suite, self.relay_header, self.certificate, validators)
        power = self.certificate.verify(suite, genesis_hash, validators)
        return ReceiptFinding(
            form=self.form,
            transfer=Transfer.decode(self.record),
            decision=self.decision,
            meaning=_meaning(self.decision.code),
            shard=self.header.shard,
            height=self.header.height,
            relay_height=self.relay_header.height,
            relay_time=self.relay_header.time,
            power=power,
            state="final, anchored",
        )

    def _check_range(self, suite: int) -> None:
        """Demand that the block's header is the anchored one or stands before it under its root of earlier headers."""
        anchored = self.anchored.header
        if self.range_path is None:
            if self.header != anchored:
                raise ProofRefused("range", "the anchored header is another one, and no path leads to it")
            return
        if (self.range_path.index + 1, self.range_path.count) != (self.header.height, anchored.height - 1):
            raise ProofRefused("range", "the path is for another height")
        leaf = leaf_hash(suite, self.header.hash)
        self.range_path.check(suite, leaf, anchored.headers_root, "range")


def _meaning(code: int) -> CodeMeaning:
    try:
        return meaning(code)
    except ValueError as error:
        raise ProofRefused("decision", f"code {code} is unknown here") from error


def _sections(view: memoryview) -> dict[_Tag, memoryview]:
    """Cut the sections apart: every one of them once, in ascending order, the range proof alone optional."""
    found: dict[_Tag, memoryview] = {}
    last = 0
    while view.nbytes:
        if view.nbytes < _SECTION.size:
            raise EncodingError("receipt section bytes", view.nbytes, f"at least {_SECTION.size}")
        tag, zero, length = _SECTION.unpack(view[: _SECTION.size])
        if zero or not last < tag <= _Tag.CERTIFICATE:
            raise EncodingError("receipt section tag", (tag, zero), f"{last + 1} to 8, ascending")
        if view.nbytes < _SECTION.size + length:
            raise EncodingError("receipt section bytes", view.nbytes, _SECTION.size + length)
        found[_Tag(tag)] = view[_SECTION.size : _SECTION.size + length]
        view, last = view[_SECTION.size + length :], tag
    missing = [tag.name.lower() for tag in _Tag if tag not in found and tag is not _Tag.RANGE]
    if missing:
        raise EncodingError("receipt sections", f"none for {', '.join(missing)}", "all but the range proof")
    return found


def _ends(what: str, view: memoryview, used: int) -> None:
    if view.nbytes != used:
        raise EncodingError(f"{what} bytes", view.nbytes, used)


def _anchor_path(view: memoryview) -> InclusionPath:
    if view.nbytes < _ANCHOR.size:
        raise EncodingError("receipt anchor path bytes", view.nbytes, f"at least {_ANCHOR.size}")
    index, count, entries = _ANCHOR.unpack(view[: _ANCHOR.size])
    if entries > PATH_ENTRIES_MAX:
        raise EncodingError("receipt anchor path entries", entries, f"at most {PATH_ENTRIES_MAX}")
    _ends("receipt anchor path", view, _ANCHOR.size + entries * HASH_BYTES)
    hashes = view[_ANCHOR.size :].tobytes()
    return InclusionPath(index, count, tuple(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)))


def _relay_header(view: memoryview) -> RelayHeader:
    _ends("receipt relay header", view, RELAY_HEADER_BYTES)
    return RelayHeader.decode(view)
