"""Pendings and locks, open or ended and not yet forgotten (LEDGER-30, LEDGER-31, the leaf `pendings` of LEDGER-70)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from tests.model.hashes import hasher
from tests.model.record import LOCK, Transfer, u128

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ABORTED", "CLAIMED", "COMMITTED", "CREATED", "EXPIRED", "FORGOTTEN", "HELD", "HOLD_EXPIRED", "HOLD_REJECTED", "OPEN",
    "POSTED", "PREPARED", "PREPARED_CREDIT", "REFUNDED", "RELEASED", "VOIDED", "Pending", "Pendings",
]  # fmt: skip

OPEN = 0
CREATED, POSTED, VOIDED, EXPIRED, CLAIMED, REFUNDED, FORGOTTEN, PREPARED, PREPARED_CREDIT, COMMITTED, ABORTED = range(
    1, 12
)
HELD, RELEASED, HOLD_REJECTED, HOLD_EXPIRED = range(12, 16)
# What makes one known in its bucket, and what takes one out of it.
_ARRIVALS, _DEPARTURES = (CREATED, PREPARED, PREPARED_CREDIT, HELD), (FORGOTTEN, COMMITTED, RELEASED)
_NEVER_BUCKET = 2**64 - 1

PendingKey = tuple[int, int]  # debit_account, id


@dataclass(slots=True)
class Pending:
    """A transfer that reserves; `due` is its end of time (0 = never) or, of a lock, its timelock in relay time.

    The half of a run over shards has the run's T_run in `run`, is due at its deadline, and is `prepared` until the relay
    decided; a credit half is known under the channel account of the payer's shard. One that is `held` is due at the hold's
    deadline; `held_for` says why and stays when it is released. One that `draws` took its amount of a quote.
    """

    transfer: Transfer
    digest: bytes
    due: int
    ended: int = OPEN
    ended_at: int = 0
    preimage: bytes = b""
    run: bytes = b""
    prepared: bool = False
    channel: int = 0
    held: bool = False
    held_for: int = 0
    draws: bool = False

    @property
    def key(self) -> PendingKey:
        if self.channel:
            return self.channel, int.from_bytes(self.digest[:16], "little")
        return self.transfer.debit_account, self.transfer.id

    @property
    def is_lock(self) -> bool:
        return self.transfer.kind == LOCK


class Pendings:
    """The table, what is due in it, and the chain of its events."""

    def __init__(self, suite: int, bucket_ns: int) -> None:
        self.suite = suite
        self.bucket_ns = bucket_ns
        self.known: dict[PendingKey, Pending] = {}
        self.locks: dict[PendingKey, Pending] = {}  # the open ones, in order of creation
        self.forget: dict[int, list[PendingKey]] = {}  # bucket of the forget time -> in the order in which they ended
        self.chains: dict[int, tuple[int, bytes]] = {}  # bucket of due -> how many are known, digest
        self.events: list[tuple[int, int, bytes]] = []  # bucket, event, bytes: of the log record under way
        self._due: list[tuple[int, int, int]] = []  # a heap; what it says is checked when taken

    def create(self, pending: Pending, now: int) -> None:
        assert pending.key not in self.known, "a pending is known once"
        self.known[pending.key] = pending
        if pending.prepared:
            self._event(pending, PREPARED_CREDIT if pending.channel else PREPARED, 0, now)
        elif pending.held:
            self._push(pending)
            self._event(pending, HELD, 0, now)
        else:
            self._open(pending, now)

    def _open(self, pending: Pending, now: int) -> None:
        if pending.is_lock:
            self.locks[pending.key] = pending
        elif pending.due:
            self._push(pending)
        self._event(pending, CREATED, 0, now)

    def _push(self, pending: Pending) -> None:
        heappush(self._due, (pending.due, pending.transfer.id, pending.transfer.debit_account))

    def release(self, pending: Pending, due: int, now: int) -> None:
        """What was held is a pending or lock like any other from now on."""
        self._event(pending, RELEASED, 0, now)
        pending.held, pending.due = False, due
        self._open(pending, now)

    def halves(self) -> list[Pending]:
        """Those that wait for the relay's decision, in order of creation."""
        return [each for each in self.known.values() if each.prepared]

    def commit(self, pending: Pending, due: int, now: int) -> None:
        """A prepared pending is one like any other from now on, with a time of its own."""
        self._event(pending, COMMITTED, 0, now)
        pending.prepared, pending.due = False, due
        self._open(pending, now)

    def end(self, pending: Pending, how: int, posted: int, now: int, window_ns: int) -> None:
        assert pending.ended == OPEN, "a pending ends once"
        pending.ended, pending.ended_at, pending.prepared, pending.held = how, now, False, False
        self.locks.pop(pending.key, None)
        forget = max(now, pending.transfer.expires_at) + window_ns
        self.forget.setdefault(forget // self.bucket_ns, []).append(pending.key)
        self._event(pending, how, posted, now)

    def drop(self, now: int) -> None:
        """Forget what is over, ascending (LEDGER-31)."""
        for bucket in sorted(self.forget):
            if (bucket + 1) * self.bucket_ns > now:
                break
            for key in self.forget.pop(bucket):
                self._event(self.known.pop(key), FORGOTTEN, 0, now)

    def take_due(self, now: int) -> Pending | None:
        """The next open pending that is due, in order of (due, id, debit_account)."""
        while self._due and self._due[0][0] <= now:
            due, id_, debit_account = self._due[0]
            pending = self.known.get((debit_account, id_))
            waits = pending is not None and ((pending.is_lock and not pending.held) or pending.prepared)
            if pending and pending.ended == OPEN and pending.due == due and not waits:
                return pending
            heappop(self._due)
        return None

    def take_back(self, events: int, created: Iterable[PendingKey], before: Iterable[Pending]) -> None:
        """Undo a run: remove what it created, reopen what it ended (`before` are copies from its start)."""
        for key in created:
            self.locks.pop(key, None)
            if self.known.pop(key).ended:
                self._unforget(key)
        for old in before:
            pending = self.known[old.key]
            if pending.ended != old.ended:
                pending.ended, pending.ended_at = old.ended, old.ended_at
                self._unforget(old.key)
        del self.events[events:]

    def _unforget(self, key: PendingKey) -> None:
        for bucket, keys in list(self.forget.items()):
            if key in keys:
                keys.remove(key)
                if not keys:
                    del self.forget[bucket]

    def fold(self) -> None:
        """End the log record: chain its events into their buckets."""
        by_bucket: dict[int, list[tuple[int, bytes]]] = {}
        for bucket, event, data in self.events:
            by_bucket.setdefault(bucket, []).append((event, data))
        self.events.clear()
        for bucket, events in by_bucket.items():
            count, digest = self.chains.get(bucket, (0, bytes(32)))
            count += sum(event in _ARRIVALS for event, _ in events) - sum(event in _DEPARTURES for event, _ in events)
            digest = hasher(self.suite)(digest + b"".join(data for _, data in events))
            self.chains[bucket] = (count, digest)
            if count == 0:
                del self.chains[bucket]

    def leaves(self) -> list[bytes]:
        return [
            struct.pack("<QQ", bucket, self.chains[bucket][0]) + self.chains[bucket][1]
            for bucket in sorted(self.chains)
        ]

    def due_bucket(self, pending: Pending) -> int:
        return pending.due // self.bucket_ns if pending.due else _NEVER_BUCKET

    def _event(self, pending: Pending, event: int, posted: int, now: int) -> None:
        data = (
            u128(pending.key[0])
            + u128(pending.key[1])
            + pending.digest
            + u128(posted)
            + struct.pack("<QH6x", now, event)
        )
        self.events.append((self.due_bucket(pending), event, data))
