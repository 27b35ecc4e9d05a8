"""The ids that are still known, in buckets that are forgotten whole (LEDGER-13, the leaves `ids` and `admin` of LEDGER-70)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tests.model.hashes import hasher
from tests.model.record import u128

__all__ = ["Entry", "Key", "Window"]

Key = tuple[int, int, int]  # authoriser, debit_account, id


@dataclass(frozen=True, slots=True)
class Entry:
    """The first decision on an id. ``record`` is 160 bytes: a transfer or an admin body."""

    record: bytes
    digest: bytes
    code: int
    time: int


@dataclass(slots=True)
class _Bucket:
    digest: bytes = bytes(32)
    keys: list[Key] = field(default_factory=list)


class Window:
    """Entries by key; each lives exactly as long as its bucket."""

    def __init__(self, suite: int, bucket_ns: int) -> None:
        self.suite = suite
        self.bucket_ns = bucket_ns
        self.entries: dict[Key, Entry] = {}
        self.buckets: dict[int, _Bucket] = {}
        self.fresh: list[tuple[Key, int]] = []  # key and bucket of the entries that the log record under way made

    def find(self, authoriser: int, debit_account: int, id_: int) -> Entry | None:
        return self.entries.get((authoriser, debit_account, id_))

    def add(self, key: Key, entry: Entry, forget: int) -> None:
        assert key not in self.entries, "an id has one entry"
        self.entries[key] = entry
        self.fresh.append((key, forget // self.bucket_ns))

    def take_back(self, count: int) -> None:
        """Undo all but the first `count` entries of the log record under way."""
        for key, _ in self.fresh[count:]:
            del self.entries[key]
        del self.fresh[count:]

    def drop(self, now: int) -> None:
        for bucket in sorted(self.buckets):
            if (bucket + 1) * self.bucket_ns > now:
                break
            for key in self.buckets.pop(bucket).keys:
                del self.entries[key]

    def fold(self) -> None:
        """End the log record: chain its entries into their buckets."""
        by_bucket: dict[int, list[Key]] = {}
        for key, bucket in self.fresh:
            by_bucket.setdefault(bucket, []).append(key)
        self.fresh.clear()
        for number, keys in by_bucket.items():
            kept = self.buckets.setdefault(number, _Bucket())
            kept.digest = hasher(self.suite)(kept.digest + b"".join(map(self._entry_bytes, keys)))
            kept.keys += keys

    def leaves(self) -> list[bytes]:
        return [
            struct.pack("<QQ", number, len(self.buckets[number].keys)) + self.buckets[number].digest
            for number in sorted(self.buckets)
        ]

    def _entry_bytes(self, key: Key) -> bytes:
        entry = self.entries[key]
        return b"".join(map(u128, key)) + entry.digest + struct.pack("<QH6x", entry.time, entry.code)
