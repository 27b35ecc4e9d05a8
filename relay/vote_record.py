"""What a validator must never forget: what it signed, what it is locked on, and the blocks it may have to show again.

The record is one value, replaced whole and made durable before any signature that it holds leaves. It carries a
*generation* that grows with every write; the chain's store keeps the generation of its last block, so a vote record
older than the chain is seen. Such a record, or one that an operator names restored, signs nothing until the member
knows a height beyond which it cannot have signed anything (``floor``).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from engine.hashing import digest
from engine.refusals import EncodingError
from engine.types import HASH_BYTES, SIGNATURE_BYTES, ZERO_HASH, HashSuite, VotePhase
from engine.validators import VOTE_BYTES, Certificate, Vote
from relay.errors import VoteRecordInvalid
from relay.timeouts import TIMEOUT_BYTES, Timeout, TimeoutCertificate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

__all__ = ["KEPT_BLOCKS_MAX", "KeptBlock", "OwnTimeout", "OwnVote", "VoteRecord"]

VOTE_RECORD_MAGIC: Final = b"CSVR"
VOTE_RECORD_VERSION: Final = 1
# The block last voted for, and the one with the highest prepare certificate where that is another.
KEPT_BLOCKS_MAX: Final = 2
_FLAG_RESTORED: Final = 1
_HEAD: Final = struct.Struct("<4sHHQQQQQ32s")
_LENGTH: Final = struct.Struct("<I")
_COUNT: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class OwnVote:
    """A vote of this member, its signature, and the statement whose digest it holds (commit votes, or empty)."""

    vote: Vote
    signature: bytes
    statement: bytes = b""


@dataclass(frozen=True, slots=True)
class OwnTimeout:
    """A timeout of this member and its signature."""

    timeout: Timeout
    signature: bytes


@dataclass(frozen=True, slots=True)
class KeptBlock:
    """A block that this member voted for, by its hash, with its sidecar."""

    block_hash: bytes
    block: bytes
    sidecar: bytes


@dataclass(frozen=True, slots=True)
class VoteRecord:
    """One member's durable word; ``height`` is the height that everything from ``prepare`` on belongs to.

    ``floor`` is the last height at which it must not sign because it may have signed what it no longer knows;
    ``restored`` says that this height is not known yet. ``lock_view_plus_one`` is 0 without a lock.
    """

    generation: int = 0
    floor: int = 0
    restored: bool = False
    set_id: int = 0
    height: int = 0
    lock_view_plus_one: int = 0
    lock_hash: bytes = ZERO_HASH
    prepare: OwnVote | None = None
    commit: OwnVote | None = None
    timeout: OwnTimeout | None = None
    high: Certificate | None = None
    entered: TimeoutCertificate | None = None
    blocks: tuple[KeptBlock, ...] = ()

    @classmethod
    def opened(cls, data: Buffer | None, chain_generation: int, *, restored: bool = False) -> Self:
        """Read what was kept, beside the generation that the chain's store knows; raises VoteRecordInvalid.

        A record that is missing or older than the chain, and one that is named ``restored``, signs nothing until its
        member has learned its floor from the others. Where both the record and the chain's store are an old copy,
        nothing here can tell: ``restored`` has to be said (ADR 0015).
        """
        record = cls() if data is None else cls.decode(data)
        if restored or record.generation < chain_generation:
            generation = max(record.generation, chain_generation)
            return replace(record, restored=True, generation=generation)
        return record

    def released(self, floor: int) -> Self:
        """Return the record of a restored member by its operator's word that it signed nothing above ``floor``.

        For the day when too few others can answer; a wrong word may make a member sign twice.
        """
        return replace(self, restored=False, floor=max(floor, self.floor)).next_generation()

    @property
    def view(self) -> int:
        """The view that this member is known to have reached at ``height``."""
        views = [0]
        views += [signed.vote.view for signed in (self.prepare, self.commit) if signed]
        views += [self.timeout.timeout.view] if self.timeout else []
        views += [self.high.view] if self.high else []
        views += [self.entered.view + 1] if self.entered else []
        return max(views)

    @property
    def timed_out_view(self) -> int:
        """The last view it gave up, or -1."""
        return self.timeout.timeout.view if self.timeout else -1

    def next_generation(self) -> Self:
        """Return the record as it is written next."""
        return replace(self, generation=self.generation + 1)

    def at(self, set_id: int, height: int) -> Self:
        """Return the record for a height: itself, or one that has signed nothing there yet."""
        if (self.set_id, self.height) == (set_id, height):
            return self
        return type(self)(self.generation, self.floor, self.restored, set_id, height)

    def with_block(self, kept: KeptBlock) -> Self:
        """Return the record with a block voted for; of those before only the one with the certificate is kept."""
        others = [
            each
            for each in self.blocks
            if each.block_hash != kept.block_hash and self.high is not None and each.block_hash == self.high.block_hash
        ]
        return replace(self, blocks=(*others, kept)[-KEPT_BLOCKS_MAX:])

    def encode(self) -> bytes:
        """Return the record's bytes; the last 32 are the SHA-256 of what is before them."""
        head = _HEAD.pack(
            VOTE_RECORD_MAGIC,
            VOTE_RECORD_VERSION,
            _FLAG_RESTORED if self.restored else 0,
            self.generation,
            self.floor,
            self.set_id,
            self.height,
            self.lock_view_plus_one,
            self.lock_hash,
        )
        parts = [
            *_vote_parts(self.prepare),
            *_vote_parts(self.commit),
            self.timeout.timeout.encode() + self.timeout.signature if self.timeout else b"",
            self.high.encode() if self.high else b"",
            self.entered.encode() if self.entered else b"",
        ]
        for kept in self.blocks:
            parts += [kept.block_hash, kept.block, kept.sidecar]
        body = head + _COUNT.pack(len(self.blocks)) + b"".join(_LENGTH.pack(len(part)) + part for part in parts)
        return body + digest(HashSuite.SHA256, body)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a record from exactly its bytes; raises VoteRecordInvalid."""
        raw = bytes(data)
        body, check = raw[:-HASH_BYTES], raw[-HASH_BYTES:]
        if len(body) < _HEAD.size + _COUNT.size or digest(HashSuite.SHA256, body) != check:
            raise VoteRecordInvalid("its digest is another one")
        magic, version, flags, generation, floor, set_id, height, lock, lock_hash = _HEAD.unpack_from(body)
        if (magic, version) != (VOTE_RECORD_MAGIC, VOTE_RECORD_VERSION) or flags > _FLAG_RESTORED:
            raise VoteRecordInvalid(f"its head is {(magic, version, flags)}")
        (count,) = _COUNT.unpack_from(body, _HEAD.size)
        parts = _split(body, _HEAD.size + _COUNT.size)
        try:
            prepare, commit = _vote(next(parts), next(parts)), _vote(next(parts), next(parts))
            timeout, high, entered = _timeout(next(parts)), next(parts), next(parts)
            blocks = tuple(KeptBlock(next(parts), next(parts), next(parts)) for _ in range(min(count, KEPT_BLOCKS_MAX)))
            record = cls(
                generation,
                floor,
                bool(flags),
                set_id,
                height,
                lock,
                lock_hash,
                prepare,
                commit,
                timeout,
                Certificate.decode(high) if high else None,
                TimeoutCertificate.decode(entered) if entered else None,
                blocks,
            )
        except (EncodingError, RuntimeError, StopIteration) as error:
            raise VoteRecordInvalid(f"its parts: {error}") from error
        if record.encode() != raw:
            raise VoteRecordInvalid("it would be written otherwise")
        return record

    def may_vote(self, phase: VotePhase, view: int) -> bool:
        """Say whether a vote in this phase and view of ``height`` breaks nothing that was signed before.

        Not after a timeout of that view or a later one; to prepare only in a view later than every vote before; to
        commit only in a view later than every commit, and not earlier than any prepare.
        """
        prepared = self.prepare.vote.view if self.prepare else -1
        committed = self.commit.vote.view if self.commit else -1
        if phase is VotePhase.PREPARE:
            return view > max(self.timed_out_view, prepared, committed)
        return view > max(self.timed_out_view, committed) and view >= prepared


def _vote_parts(signed: OwnVote | None) -> tuple[bytes, bytes]:
    return (signed.vote.encode() + signed.signature, signed.statement) if signed else (b"", b"")


def _vote(data: bytes, statement: bytes) -> OwnVote | None:
    if not data:
        return None
    if len(data) != VOTE_BYTES + SIGNATURE_BYTES:
        raise EncodingError("signed vote bytes", len(data), VOTE_BYTES + SIGNATURE_BYTES)
    return OwnVote(Vote.decode(data[:VOTE_BYTES]), data[VOTE_BYTES:], statement)


def _timeout(data: bytes) -> OwnTimeout | None:
    if not data:
        return None
    if len(data) != TIMEOUT_BYTES + SIGNATURE_BYTES:
        raise EncodingError("signed timeout bytes", len(data), TIMEOUT_BYTES + SIGNATURE_BYTES)
    return OwnTimeout(Timeout.decode(data[:TIMEOUT_BYTES]), data[TIMEOUT_BYTES:])


def _split(body: bytes, at: int) -> Iterator[bytes]:
    while at < len(body):
        if len(body) - at < _LENGTH.size:
            raise EncodingError("vote record part bytes", len(body) - at, _LENGTH.size)
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        if length > len(body) - at:
            raise EncodingError("vote record part bytes", len(body) - at, length)
        yield body[at : at + length]
        at += length
