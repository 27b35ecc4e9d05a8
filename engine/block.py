"""Decisions of a block and the proofs that a shard answered so (BLOCK-2). It knows leaves and paths, and no state."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from engine.batch import bytes_view, raw
from engine.header import SignedHeader
from engine.refusals import EncodingError, ProofRefused
from engine.types import DECISION_BYTES, HASH_BYTES
from native.errors import ShapeError
from native.hashing import leaf_hash, leaf_hash_rows, merkle_path, merkle_root, root_from_path

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "PROOF_MAGIC",
    "PROOF_VERSION",
    "Decision",
    "DecisionProof",
    "InclusionPath",
    "build_decision_proof",
    "decisions_root",
    "find_decision",
]

PROOF_MAGIC: Final = b"CSDP"
PROOF_VERSION: Final = 1
_DECISION: Final = struct.Struct("<32sQH6s")
_HEAD: Final = struct.Struct("<4sHH")
_PATH_HEAD: Final = struct.Struct("<QQI")
assert _DECISION.size == DECISION_BYTES
_PADDING: Final = bytes(6)
PATH_ENTRIES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Decision:
    """One leaf of the decisions tree: what was answered to the record with this digest, and when."""

    digest: bytes
    time: int
    code: int

    def encode(self) -> bytes:
        """Return the 48 bytes of the leaf."""
        return _DECISION.pack(self.digest, self.time, self.code, _PADDING)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 48 bytes; raises EncodingError for another length or padding that is not zero."""
        view = memoryview(data).cast("B")
        if view.nbytes != DECISION_BYTES:
            raise EncodingError("decision bytes", view.nbytes, DECISION_BYTES)
        record_digest, time, code, padding = _DECISION.unpack(view)
        if padding != _PADDING:
            raise EncodingError("decision padding", padding, "zeros")
        return cls(record_digest, time, code)


@dataclass(frozen=True, slots=True)
class InclusionPath:
    """Where a leaf stands in a tree of ``count`` leaves, and the hashes beside its way to the root."""

    index: int
    count: int
    path: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return index u64, count u64, path count u32, path."""
        return _PATH_HEAD.pack(self.index, self.count, len(self.path)) + b"".join(self.path)

    @classmethod
    def decode_prefix(cls, view: memoryview) -> tuple[Self, int]:
        """Read a path from the start of a view; return it and how many bytes it took."""
        if view.nbytes < _PATH_HEAD.size:
            raise EncodingError("path bytes", view.nbytes, f"at least {_PATH_HEAD.size}")
        index, count, entries = _PATH_HEAD.unpack(view[: _PATH_HEAD.size])
        if entries > PATH_ENTRIES_MAX:
            raise EncodingError("path entries", entries, f"at most {PATH_ENTRIES_MAX}")
        used = _PATH_HEAD.size + entries * HASH_BYTES
        if view.nbytes < used:
            raise EncodingError("path bytes", view.nbytes, f"at least {used}")
        hashes = view[_PATH_HEAD.size : used].tobytes()
        return cls(index, count, tuple(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES))), used

    def root(self, suite: int, leaf: bytes, step: str) -> bytes:
        """Return the root that the leaf hash leads to; raises ProofRefused naming ``step`` for a path of no tree."""
        try:
            return root_from_path(suite, leaf, self.index, self.count, self.path)
        except ShapeError as error:
            raise ProofRefused(step, str(error)) from error

    def check(self, suite: int, leaf: bytes, root: bytes, step: str) -> None:
        """Demand that the leaf hash leads to the root; raises ProofRefused naming ``step``."""
        if self.root(suite, leaf, step) != root:
            raise ProofRefused(step, f"leaf {self.index} of {self.count} does not lead to the root")


@dataclass(frozen=True, slots=True)
class DecisionProof:
    """That a shard answered so, checked with its block key and nothing else."""

    decision: Decision
    path: InclusionPath
    signed_header: SignedHeader

    def encode_without_header(self) -> bytes:
        """Return the proof as a receipt carries it, whose header stands in a section of its own."""
        return _HEAD.pack(PROOF_MAGIC, PROOF_VERSION, 0) + self.decision.encode() + self.path.encode()

    def encode(self) -> bytes:
        """Return the whole proof."""
        return self.encode_without_header() + self.signed_header.encode()

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a whole proof from exactly its bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        decision, path, used = cls.decode_without_header(view)
        return cls(decision, path, SignedHeader.decode(view[used:]))

    @staticmethod
    def decode_without_header(view: memoryview) -> tuple[Decision, InclusionPath, int]:
        """Read what stands before the header; return also how many bytes it took."""
        start = _HEAD.size + DECISION_BYTES
        if view.nbytes < start:
            raise EncodingError("decision proof bytes", view.nbytes, f"at least {start}")
        magic, version, zero = _HEAD.unpack(view[: _HEAD.size])
        if (magic, version, zero) != (PROOF_MAGIC, PROOF_VERSION, 0):
            raise EncodingError("decision proof head", (magic, version, zero), (PROOF_MAGIC, PROOF_VERSION, 0))
        decision = Decision.decode(view[_HEAD.size : start])
        path, used = InclusionPath.decode_prefix(view[start:])
        return decision, path, start + used

    def verify(self, signing_suite: int, public_key: bytes, genesis_hash: bytes | None = None) -> Decision:
        """Check path and signature; return the decision that is proven. Raises ProofRefused.

        With ``genesis_hash`` the header must be of that network; without it the caller compares.
        """
        self.check_path()
        self.signed_header.verify(signing_suite, public_key, genesis_hash)
        return self.decision

    def check_path(self) -> None:
        """Demand that the decision is a leaf of the header's tree; raises ProofRefused."""
        header = self.signed_header.header
        if self.path.count != header.decision_count:
            raise ProofRefused("decision", f"{self.path.count} leaves, where the header counts {header.decision_count}")
        leaf = leaf_hash(header.hash_suite, self.decision.encode())
        self.path.check(header.hash_suite, leaf, header.decisions_root, "decision")


def decisions_root(suite: int, leaves: Buffer) -> bytes:
    """Return the root over packed decision leaves, n x 48 bytes."""
    flat = bytes_view(leaves)
    return merkle_root(suite, leaf_hash_rows(suite, raw(flat), DECISION_BYTES) if flat.size else b"")


def find_decision(leaves: Buffer, record_digest: bytes) -> int | None:
    """Return the index of the last leaf with this digest among packed leaves, or None.

    A pending has two in its life, made and ended; each block that holds one holds its own.
    """
    rows = bytes_view(leaves).reshape(-1, DECISION_BYTES)[:, :HASH_BYTES]
    hits = np.flatnonzero((rows == np.frombuffer(record_digest, dtype=np.uint8)).all(axis=1))
    return int(hits[-1]) if hits.size else None


def build_decision_proof(
    suite: int, record_digest: bytes, leaves: Buffer, signed_header: SignedHeader
) -> DecisionProof | None:
    """Prove the decision on a record from its block's leaves, or return None when they hold none.

    Raises ProofRefused when the leaves are not those of the header.
    """
    flat = bytes_view(leaves)
    index = find_decision(leaves, record_digest) if flat.size else None
    if index is None:
        return None
    hashes = leaf_hash_rows(suite, raw(flat), DECISION_BYTES)
    if merkle_root(suite, hashes) != signed_header.header.decisions_root:
        raise ProofRefused("decision", "the leaves are not those of the header")
    rows = flat.reshape(-1, DECISION_BYTES)
    path = InclusionPath(index, rows.shape[0], merkle_path(suite, hashes, index))
    return DecisionProof(Decision.decode(rows[index].tobytes()), path, signed_header)
