"""Under which keys the index finds locks and what ends them, made for whole log records at once.

A lock stands under its refund's digest and its hashlock, a reveal under the digests of the claims that it makes and
their hashlocks (``shards.lock_outcomes``). It promises what would come out row by row, in a few native calls for a
record of thousands: a busy bridge locks and claims that many a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from engine.prefix import CLAIM_TAG, REFUND_TAG
from engine.relay_block import reveal_payloads
from engine.types import HASH_BYTES, RECORD_BYTES, HashSuite, TransferFlag, TransferKind
from native.codes import ResultCode
from native.hashing import digest_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from numpy.typing import NDArray

    from engine.batch import BatchColumns
    from engine.log import LogRecord

    Bytes: TypeAlias = NDArray[np.uint8]
    Keys: TypeAlias = tuple[NDArray[np.uint64], NDArray[np.uint32]]
    """Keys of the index, and for each the row of the record that it leads to."""

__all__ = ["LockKeys"]

_ID: Final = slice(0, 16)
_PENDING_ID: Final = slice(64, 80)
_EXPIRES_UNTIL: Final = slice(96, 112)
_KEY_VALID: Final = slice(116, 124)
_FLAGS: Final = slice(126, 128)
_KIND: Final = 126
_KIND_MASK: Final = 0x0F
_BINDING: Final = slice(128, 160)
# What was held may be released, and is a lock then.
_OPENED: Final = (ResultCode.CREATED, ResultCode.HELD)


class LockKeys:
    """``prefix`` is hashed before a claim or refund. ``find`` gives of n keys positions and entries of the index.

    ``rows`` gives of a log record the n x 160 records and n x 32 digests, None where it holds no transfers.
    """

    def __init__(
        self,
        suite: int,
        prefix: bytes,
        find: Callable[[NDArray[np.uint64]], tuple[NDArray[np.intp], NDArray[np.void]]],
        rows: Callable[[int, int], tuple[Bytes, Bytes] | None],
    ) -> None:
        self._suite = suite
        self._prefix = np.frombuffer(prefix, dtype=np.uint8)
        self._find, self._rows = find, rows

    def of_locks(self, columns: BatchColumns, digests: Bytes, codes: NDArray[np.uint16]) -> Keys:
        """Return keys and rows: each lock created or held, under its refund's digest and under its hashlock."""
        heads = columns.heads
        rows = np.flatnonzero((heads[:, _KIND] & _KIND_MASK == TransferKind.LOCK) & np.isin(codes, _OPENED))
        if not len(rows):
            return _none()
        hashlocks = columns.bindings[np.searchsorted(columns.binding_index, rows)]
        locks = np.concatenate([heads[rows], hashlocks], axis=1)
        refunds = self._derived(REFUND_TAG, locks, digests[rows])
        refunds[:, _FLAGS] = _flags(np.full(len(rows), TransferKind.REFUND))
        refunds[:, _BINDING] = 0
        return self._keys(refunds, hashlocks, rows)

    def of_reveals(self, record: LogRecord) -> Keys:
        """Return keys and rows: each reveal that may claim locks here, under the claims' digests and the hashlocks."""
        preimages = _rows(b"".join(reveal_payloads(bytes(record.body))))
        count = len(preimages)
        if not count:
            return _none()
        hashlocks = np.concatenate([_digests(each, preimages) for each in _HASHES])
        found = [_none()]
        for positions, locks, digests in self._locks_before(record, hashlocks):
            flags = np.ascontiguousarray(locks[:, _FLAGS]).view("<u2")[:, 0] & TransferFlag.HASH_IS_SM3
            # A lock names its hash function: an equal hash under the other one claims nothing.
            meant = (flags != 0) == (positions >= count)
            at = positions[meant]
            claims = self._derived(CLAIM_TAG, locks[meant], digests[meant])
            claims[:, _FLAGS] = _flags(TransferKind.CLAIM | flags[meant])
            claims[:, _BINDING] = preimages[at % count]
            found.append(self._keys(claims, hashlocks[at], at % count))
        return np.concatenate([keys for keys, _ in found]), np.concatenate([rows for _, rows in found])

    # Parts.

    def _locks_before(self, record: LogRecord, hashlocks: Bytes) -> list[tuple[NDArray[np.intp], Bytes, Bytes]]:
        """Return, of each older record of its shard, locks with one of these hashlocks: which, records and digests."""
        positions, entries = self._find(_keys_of(hashlocks))
        older = (entries["shard"] == record.shard) & (entries["number"] < record.number)
        # Of what was indexed twice, once.
        columns = entries["number"][older], entries["row"][older], positions[older]
        numbers, rows, at = np.unique(np.stack([each.astype(np.int64) for each in columns]), axis=1)
        found = []
        for number in np.unique(numbers).tolist():
            read = self._rows(record.shard, number)
            if read is None or read[0].shape[1] != RECORD_BYTES:
                continue
            here = np.flatnonzero((numbers == number) & (rows < len(read[0])))
            locks, digests = read[0][rows[here]], read[1][rows[here]]
            # The index names candidates: two keys may share 64 bits, and a claim stands under its hashlock too.
            sound = (locks[:, _KIND] & _KIND_MASK == TransferKind.LOCK) & (
                locks[:, _BINDING] == hashlocks[at[here]]
            ).all(axis=1)
            found.append((at[here][sound], locks[sound], digests[sound]))
        return found

    def _derived(self, tag: bytes, locks: Bytes, digests: Bytes) -> Bytes:
        """Return what is derived from locks, n x 160, flags and binding still theirs (RECORD-6)."""
        tags = np.broadcast_to(np.frombuffer(tag, dtype=np.uint8), (len(locks), len(tag)))
        out = locks.copy()
        out[:, _ID] = _digests(self._suite, np.concatenate([tags, digests], axis=1))[:, _ID]
        out[:, _PENDING_ID] = locks[:, _ID]
        out[:, _EXPIRES_UNTIL] = 0
        out[:, _KEY_VALID] = 0
        return out

    def _keys(self, derived: Bytes, hashlocks: Bytes, rows: NDArray[np.intp]) -> Keys:
        prefixes = np.broadcast_to(self._prefix, (len(derived), len(self._prefix)))
        ends = _digests(self._suite, np.concatenate([prefixes, derived], axis=1))
        return np.concatenate([_keys_of(ends), _keys_of(hashlocks)]), np.concatenate([rows, rows]).astype(np.uint32)


_HASHES: Final = (HashSuite.SHA256, HashSuite.SM3)


def _none() -> Keys:
    return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint32)


def _rows(data: bytes) -> Bytes:
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, HASH_BYTES)


def _digests(suite: int, rows: Bytes) -> Bytes:
    """Hash each row by itself."""
    return _rows(digest_rows(suite, rows.tobytes(), rows.shape[1]))


def _keys_of(hashes: Bytes) -> NDArray[np.uint64]:
    return np.ascontiguousarray(hashes[:, :8]).view("<u8").reshape(-1)


def _flags(values: NDArray[np.integer]) -> Bytes:
    return values.astype("<u2").reshape(-1, 1).view(np.uint8)
