"""The ids of admin requests that are still known, in buckets forgotten whole: the subtree ``admin`` (ADMIN-3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.refusals import EncodingError
from engine.types import ADMIN_WINDOW_S, NS_PER_S, ZERO_HASH
from native.hashing import digest, leaf_hash_rows, merkle_root

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ADMIN_WINDOW_NS", "ENTRY", "AdminEntry", "AdminWindow", "Bucket"]

ADMIN_WINDOW_NS: Final = ADMIN_WINDOW_S * NS_PER_S
# authoriser, debit account, id, request digest, time, code, zero: the entry of an id window (LEDGER-70).
ENTRY: Final = struct.Struct("<16s16s16s32sQH6s")
assert ENTRY.size == 96
_BUCKET_LEAF: Final = struct.Struct("<QQ32s")
_ZERO_ACCOUNT: Final = bytes(16)
_PADDING: Final = bytes(6)


@dataclass(frozen=True, slots=True)
class AdminEntry:
    """The first decision on an admin id of a participant."""

    participant: int
    id: int
    digest: bytes
    time: int
    code: int

    def encode(self) -> bytes:
        """Return the 96 bytes that the bucket's digest takes in."""
        return ENTRY.pack(
            (self.participant << 96).to_bytes(16, "little"),
            _ZERO_ACCOUNT,
            self.id.to_bytes(16, "little"),
            self.digest,
            self.time,
            self.code,
            _PADDING,
        )

    @classmethod
    def decode(cls, data: bytes) -> AdminEntry:
        """Read 96 bytes; raises EncodingError where zeros are due and others stand."""
        authoriser, debit_account, identity, request_digest, time, code, padding = ENTRY.unpack(data)
        if any(authoriser[:12]) or debit_account != _ZERO_ACCOUNT or padding != _PADDING:
            raise EncodingError("admin entry zeros", data.hex(), "zeros but for the participant")
        participant = int.from_bytes(authoriser, "little") >> 96
        return cls(participant, int.from_bytes(identity, "little"), request_digest, time, code)


@dataclass(slots=True)
class Bucket:
    """Entries that are forgotten together; ``digest`` chains them once for each log record."""

    digest: bytes
    entries: list[AdminEntry]


class AdminWindow:
    """Entries by (participant, id); each lives exactly as long as its bucket."""

    __slots__ = ("_bucket_ns", "_entries", "_fresh", "_suite", "buckets")

    def __init__(self, hash_suite: int, bucket_ns: int) -> None:
        """Start empty."""
        self._suite = hash_suite
        self._bucket_ns = bucket_ns
        self._entries: dict[tuple[int, int], AdminEntry] = {}
        self._fresh: dict[int, list[AdminEntry]] = {}
        self.buckets: dict[int, Bucket] = {}

    def find(self, participant: int, identity: int) -> AdminEntry | None:
        """Return the entry of an id, or None when it was never decided or is forgotten."""
        return self._entries.get((participant, identity))

    def add(self, entry: AdminEntry, expires_at: int) -> None:
        """Remember a decision until its request's expiry plus the window; the id is free before."""
        self._entries[entry.participant, entry.id] = entry
        self._fresh.setdefault((expires_at + ADMIN_WINDOW_NS) // self._bucket_ns, []).append(entry)

    def drop(self, now: int) -> None:
        """Forget every bucket that is over at ``now`` ns; called at the start of every log record."""
        over = [number for number in self.buckets if (number + 1) * self._bucket_ns <= now]
        for number in sorted(over):
            for entry in self.buckets.pop(number).entries:
                del self._entries[entry.participant, entry.id]

    def close_record(self) -> None:
        """End a log record: chain what it added into its buckets."""
        for number, fresh in sorted(self._fresh.items()):
            bucket = self.buckets.setdefault(number, Bucket(ZERO_HASH, []))
            bucket.digest = digest(self._suite, bucket.digest + b"".join(entry.encode() for entry in fresh))
            bucket.entries += fresh
        self._fresh.clear()

    def restore(self, number: int, bucket_digest: bytes, entries: Iterable[AdminEntry]) -> None:
        """Put one bucket of a checkpoint back, ascending; raises EncodingError for one that no window has."""
        bucket = Bucket(bucket_digest, list(entries))
        keys = {(entry.participant, entry.id) for entry in bucket.entries}
        if not keys or len(keys) != len(bucket.entries) or keys & self._entries.keys():
            raise EncodingError("admin bucket entries", len(bucket.entries), "at least one, every id once")
        if self.buckets and number <= max(self.buckets):
            raise EncodingError("admin bucket number", number, f"above {max(self.buckets)}")
        self.buckets[number] = bucket
        for entry in bucket.entries:
            self._entries[entry.participant, entry.id] = entry

    def root(self) -> bytes:
        """Return the root over the live buckets, ascending."""
        leaves = b"".join(
            _BUCKET_LEAF.pack(number, len(bucket.entries), bucket.digest)
            for number, bucket in sorted(self.buckets.items())
        )
        return merkle_root(self._suite, leaf_hash_rows(self._suite, leaves, _BUCKET_LEAF.size))
