"""The decision record: that every half of a linked run over shards is prepared (05, record type 3 of a relay block).

It promises exact bytes, and a check that needs the genesis and the newest anchored headers of each shard and nothing
else. Anybody may build one from public headers and decision leaves. Whether it comes in time is the relay's to say.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from engine.block import Decision, InclusionPath
from engine.header import Header
from engine.prefix import record_digest, run_prefix
from engine.record import Transfer, shard_index_of_slot, slot_of_account
from engine.refusals import EncodingError, GenesisRefused, ProofRefused
from engine.types import (
    BATCH_COUNT_MAX,
    DECISION_BYTES,
    HASH_BYTES,
    RECORD_BYTES,
    SLOT_MAP_VERSION,
    TransferFlag,
    TransferKind,
)
from native.codes import ResultCode
from native.hashing import leaf_hash, leaf_hash_rows, merkle_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from typing_extensions import Buffer

    from engine.genesis import Genesis

__all__ = [
    "AnchoredHeader",
    "Half",
    "HalfProof",
    "PreparedBlock",
    "RunDecisionRecord",
    "build_run_decision",
    "check_run_decision",
    "halves_of",
]

_HEAD: Final = struct.Struct("<QII")
_PROOF: Final = struct.Struct("<IIQQQH6sI4s")
_LENGTH: Final = struct.Struct("<I")
assert (_HEAD.size, _PROOF.size) == (16, 48)
_PADDING: Final = bytes(6)
_HASH: Final = HASH_BYTES
_PATH_ENTRIES_MAX: Final = 64
_NO_RANGE: Final = InclusionPath(0, 0, ())
_KIND_MASK: Final = 0x0F


class Half(NamedTuple):
    """One half of a member: the shard it is on, and the code of the leaf that says it is prepared."""

    member: int
    shard: int
    code: ResultCode


class AnchoredHeader(NamedTuple):
    """An anchored header as far as a proof leads to it: its height, its hash, its root of earlier headers."""

    height: int
    hash: bytes
    headers_root: bytes

    @classmethod
    def of(cls, header: Header) -> AnchoredHeader:
        """Return what is kept of a header."""
        return cls(header.height, header.hash, header.headers_root)


class PreparedBlock(NamedTuple):
    """The block in which a shard prepared its halves; ``range_path`` None where it is an anchored one itself."""

    header: Header
    decision_leaves: bytes
    range_path: InclusionPath | None


@dataclass(frozen=True, slots=True)
class HalfProof:
    """A leaf under a header of its shard; ``header`` stands in the shard's first proof alone, None in the others."""

    shard: int
    time: int
    code: int
    path: InclusionPath
    header: Header | None = None
    range_path: InclusionPath = _NO_RANGE

    def encode(self) -> bytes:
        """Return the proof's bytes."""
        path = self.path
        packed = _PROOF.pack(
            self.shard, 0, path.index, self.time, path.count, self.code, _PADDING, len(path.path), bytes(4)
        )
        header = b"" if self.header is None else self.header.encode()
        tail = self.range_path.encode() if header else b""
        return b"".join((packed, *path.path, _LENGTH.pack(len(header)), header, tail))

    @classmethod
    def decode_prefix(cls, view: memoryview) -> tuple[Self, int]:
        """Read a proof from the start of a view; return it and how many bytes it took. Raises EncodingError."""
        _demand(view, _PROOF.size)
        shard, zero, index, time, count, code, padding, entries, tail = _PROOF.unpack(view[: _PROOF.size])
        if zero or padding != _PADDING or tail != bytes(4):
            raise EncodingError("half proof padding", (zero, padding, tail), "zeros")
        if entries > _PATH_ENTRIES_MAX:
            raise EncodingError("half proof path entries", entries, f"at most {_PATH_ENTRIES_MAX}")
        end = _PROOF.size + entries * _HASH
        _demand(view, end + _LENGTH.size)
        hashes = view[_PROOF.size : end].tobytes()
        path = InclusionPath(index, count, tuple(hashes[at : at + _HASH] for at in range(0, len(hashes), _HASH)))
        (length,) = _LENGTH.unpack(view[end : end + _LENGTH.size])
        end += _LENGTH.size
        if not length:
            return cls(shard, time, code, path), end
        _demand(view, end + length)
        header = Header.decode(view[end : end + length])
        range_path, used = InclusionPath.decode_prefix(view[end + length :])
        return cls(shard, time, code, path, header, range_path), end + length + used


@dataclass(frozen=True)
class RunDecisionRecord:
    """``records`` are the members in order, 160 bytes each; ``proofs`` one for each half, in the order of the members.

    ``deadline`` is their smallest expires_at, in relay time, ns.
    """

    records: tuple[bytes, ...]
    proofs: tuple[HalfProof, ...]

    @cached_property
    def deadline(self) -> int:
        """The relay time from which on the run can no longer be committed."""
        return min(int.from_bytes(record[96:104], "little") for record in self.records)

    def run(self, suite: int, genesis_hash: bytes) -> bytes:
        """Return T_run, which names the run and was signed by every member (RECORD-2)."""
        return run_prefix(suite, genesis_hash, self.records)

    def encode(self) -> bytes:
        """Return deadline u64, member count u32, proof count u32, records, proofs."""
        head = _HEAD.pack(self.deadline, len(self.records), len(self.proofs))
        return b"".join((head, *self.records, *(proof.encode() for proof in self.proofs)))

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a record from exactly its bytes; raises EncodingError. Whether it holds is ``check_run_decision``'s."""
        view = memoryview(data).cast("B")
        _demand(view, _HEAD.size)
        deadline, members, count = _HEAD.unpack(view[: _HEAD.size])
        if not 2 <= members <= BATCH_COUNT_MAX or count > 2 * members:
            raise EncodingError("decision counts", (members, count), f"2 to {BATCH_COUNT_MAX}, twice that")
        end = _HEAD.size + members * RECORD_BYTES
        _demand(view, end)
        packed = view[_HEAD.size : end].tobytes()
        records = tuple(packed[at : at + RECORD_BYTES] for at in range(0, len(packed), RECORD_BYTES))
        proofs, view = [], view[end:]
        for _ in range(count):
            proof, used = HalfProof.decode_prefix(view)
            proofs.append(proof)
            view = view[used:]
        if view.nbytes:
            raise EncodingError("decision bytes", f"{view.nbytes} more", "the end")
        found = cls(records, tuple(proofs))
        if found.deadline != deadline:
            raise EncodingError("decision deadline", deadline, found.deadline)
        return found


def _demand(view: memoryview, least: int) -> None:
    if view.nbytes < least:
        raise EncodingError("decision bytes", view.nbytes, f"at least {least}")


def halves_of(records: Sequence[bytes], shard_of: Callable[[int], int]) -> list[Half]:
    """Return the halves of a run in the order of its members, a debit half before its credit half (LEDGER-90)."""
    found: list[Half] = []
    for member, data in enumerate(records):
        payer, payee = (shard_of(int.from_bytes(data[at : at + 16], "little")) for at in (16, 32))
        found.append(Half(member, payer, ResultCode.PREPARED))
        if data[126] & _KIND_MASK == TransferKind.PLAIN and payee != payer:
            found.append(Half(member, payee, ResultCode.PREPARED_CREDIT))
    return found


def build_run_decision(
    genesis: Genesis, domain: int, records: Sequence[bytes], blocks: Mapping[int, PreparedBlock]
) -> RunDecisionRecord:
    """Prove a run from the block of each shard that it touches; raises ProofRefused for a half that is not in one."""
    suite = genesis.hash_suite
    prefix = run_prefix(suite, genesis.hash, records)
    hashes = {shard: leaf_hash_rows(suite, block.decision_leaves, DECISION_BYTES) for shard, block in blocks.items()}
    proofs, named = [], set()
    for half in halves_of(records, _shard_of(genesis, domain)):
        block = blocks.get(half.shard)
        digest = record_digest(suite, prefix, records[half.member])
        index = None if block is None else _find_leaf(block.decision_leaves, digest, half.code)
        if block is None or index is None:
            raise ProofRefused("half", f"member {half.member} is not prepared on shard {half.shard}")
        leaf = Decision.decode(block.decision_leaves[index * DECISION_BYTES : (index + 1) * DECISION_BYTES])
        count = len(block.decision_leaves) // DECISION_BYTES
        path = InclusionPath(index, count, merkle_path(suite, hashes[half.shard], index))
        first = half.shard not in named
        named.add(half.shard)
        header = block.header if first else None
        range_path = (block.range_path or _NO_RANGE) if first else _NO_RANGE
        proofs.append(HalfProof(half.shard, leaf.time, leaf.code, path, header, range_path))
    return RunDecisionRecord(tuple(records), tuple(proofs))


def _find_leaf(leaves: bytes, digest: bytes, code: int) -> int | None:
    at = leaves.find(digest)
    while at >= 0:
        if at % DECISION_BYTES == 0 and Decision.decode(leaves[at : at + DECISION_BYTES]).code == code:
            return at // DECISION_BYTES
        at = leaves.find(digest, at + 1)
    return None


def _shard_of(genesis: Genesis, domain: int) -> Callable[[int], int]:
    try:
        shards = genesis.domain(domain).shards
    except GenesisRefused as error:
        raise ProofRefused("domain", str(error)) from error

    def shard_of(account: int) -> int:
        return domain << 8 | shard_index_of_slot(slot_of_account(account), shards)

    return shard_of


def check_run_decision(
    decision: RunDecisionRecord, genesis: Genesis, anchored: Callable[[int], Sequence[AnchoredHeader]]
) -> bytes:
    """Demand that every half of the run is prepared under anchored headers; return T_run.

    ``anchored`` gives the headers of a shard that a proof may lead to: one of them is enough, for what is prepared
    stays so until it is decided. Raises ProofRefused naming the step that fails. The caller demands a block whose time
    is before the deadline.
    """
    suite = genesis.hash_suite
    _check_members(decision.records)
    prefix = decision.run(suite, genesis.hash)
    if not decision.proofs:
        raise ProofRefused("half", "nothing is proven")
    halves = halves_of(decision.records, _shard_of(genesis, decision.proofs[0].shard >> 8))
    if len(halves) != len(decision.proofs):
        raise ProofRefused("half", f"{len(decision.proofs)} proofs for {len(halves)} halves")
    headers: dict[int, Header] = {}
    for half, proof in zip(halves, decision.proofs, strict=True):
        if (proof.shard, proof.code) != (half.shard, half.code):
            raise ProofRefused("half", f"member {half.member}: another half than its turn is")
        if (proof.header is None) != (half.shard in headers):
            raise ProofRefused("header", f"that of shard {half.shard} stands not in its first proof alone")
        if proof.header is not None:
            headers[half.shard] = _check_header(proof, proof.header, genesis, anchored(half.shard))
        digest = record_digest(suite, prefix, decision.records[half.member])
        _check_leaf(suite, proof, digest, headers[half.shard])
    return prefix


def _check_members(records: Iterable[bytes]) -> None:
    """Demand a closed run of members that may stand in one over shards."""
    flags = []
    for data in records:
        try:
            flags.append(Transfer.decode(data).flags)
        except EncodingError as error:
            raise ProofRefused("run", str(error)) from error
    if any(each & _KIND_MASK > TransferKind.PENDING for each in flags):
        raise ProofRefused("run", "a member that is neither plain nor pending")
    if [bool(each & TransferFlag.LINKED) for each in flags] != [True] * (len(flags) - 1) + [False]:
        raise ProofRefused("run", "the members are not one run")


def _check_header(proof: HalfProof, header: Header, genesis: Genesis, anchored: Sequence[AnchoredHeader]) -> Header:
    suite = genesis.hash_suite
    if (header.hash_suite, header.genesis_hash, header.shard) != (suite, genesis.hash, proof.shard):
        raise ProofRefused("header", "it is of another network or shard")
    if header.slot_map_version != SLOT_MAP_VERSION:
        raise ProofRefused("header", f"slot map {header.slot_map_version}, where {SLOT_MAP_VERSION} is known")
    if not anchored:
        raise ProofRefused("header", f"nothing of shard {proof.shard} is anchored")
    if proof.range_path == _NO_RANGE:
        if all(header.hash != each.hash for each in anchored):
            raise ProofRefused("range", "it is none of the anchored headers, and no path leads to one")
        return header
    later = next((each for each in anchored if each.height == proof.range_path.count + 1), None)
    if later is None or proof.range_path.index + 1 != header.height:
        raise ProofRefused("range", "the path is for another height")
    proof.range_path.check(suite, leaf_hash(suite, header.hash), later.headers_root, "range")
    return header


def _check_leaf(suite: int, proof: HalfProof, digest: bytes, header: Header) -> None:
    if proof.path.count != header.decision_count:
        raise ProofRefused("half", f"{proof.path.count} leaves, where the header counts {header.decision_count}")
    leaf = leaf_hash(suite, Decision(digest, proof.time, proof.code).encode())
    proof.path.check(suite, leaf, header.decisions_root, "half")
