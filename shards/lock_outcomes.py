"""What became of locks: claimed by a reveal in a relay block that the log holds, or refunded by their timelock.

Claims and refunds are nobody's requests: the machine derives them from the lock (RECORD-6), so neither stands in the
log. The index keeps what leads to them (``shards.lock_keys``). It promises that an answer has its leaf in a sealed
block; what the index names is a hint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from engine.block import Decision
from engine.header import SignedHeader
from engine.log import RecordKind
from engine.prefix import PrefixType, claim_id, record_digest, refund_id, signing_prefix
from engine.relay_block import reveal_payloads
from engine.types import DECISION_BYTES, HASH_BYTES, HashSuite, TransferFlag, TransferKind
from native.codes import ResultCode
from native.hashing import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeGuard

    import numpy as np
    from numpy.typing import NDArray

    from engine.chain import ChainBlock, ChainStore
    from engine.genesis import Genesis
    from engine.log import Log, LogRecord

__all__ = ["EndedLock", "LockOutcomes"]

_FLAGS: Final = 126
_KIND_MASK: Final = 0x0F
_BINDING: Final = slice(128, 160)
_TIMELOCK: Final = slice(104, 112)
# What a derived record has as zeros (RECORD-6).
_EXPIRES_UNTIL: Final = slice(96, 112)
_KEY_VALID: Final = slice(116, 124)


class EndedLock(NamedTuple):
    """A claim or refund: its record of 160 bytes, code and time of its leaf, a log number in the block of that leaf."""

    record: bytes
    code: ResultCode
    time: int
    number: int


class LockOutcomes:
    """Finds ends of locks. ``places`` gives (shard, number, row) of what the index has under a 64-bit key.

    ``rows`` gives of a log record the n x 160 records and n x 32 digests, None where it holds no transfers.
    """

    def __init__(
        self,
        genesis: Genesis,
        log_of: Callable[[int], Log],
        chain: ChainStore,
        places: Callable[[int], Iterable[tuple[int, int, int]]],
        rows: Callable[[int, int], tuple[NDArray[np.uint8], NDArray[np.uint8]] | None],
    ) -> None:
        self._suite = genesis.hash_suite
        self._prefix = signing_prefix(genesis.hash_suite, PrefixType.TRANSFER, genesis.hash)
        self._log_of, self._chain, self._places, self._rows = log_of, chain, places, rows

    @property
    def prefix(self) -> bytes:
        """What is hashed before a claim or refund: T(transfer), also where the lock was a member of a run."""
        return self._prefix

    # Answers.

    def ended(self, wanted: bytes, shard: int, number: int, row: int) -> EndedLock | None:
        """Return the claim or refund of a digest, at a place that the index named; None where it is not durable."""
        record = next(iter(self._log_of(shard).read(number)), None)
        if _consumes(record):
            preimages = reveal_payloads(bytes(record.body))
            for _, claim in self._claims(shard, number, preimages[row]) if row < len(preimages) else ():
                if record_digest(self._suite, self._prefix, claim) == wanted:
                    return self._leaf(claim, wanted, ResultCode.CLAIMED, self._covering(shard, number))
            return None
        lock = self._lock(shard, number, row)
        if lock is None:
            return None
        refund = _refund(self._suite, *lock)
        if record_digest(self._suite, self._prefix, refund) != wanted:
            return None
        timelock = int.from_bytes(lock[0][_TIMELOCK], "little")
        return self._leaf(refund, wanted, ResultCode.REFUNDED, self._past(shard, timelock))

    def end_of(self, record: bytes, lock_digest: bytes, shard: int, number: int) -> bytes | None:
        """Return the digest of the claim that ended a lock at a place, None while there is none."""
        for its_shard, at, row in self._places(_key(record[_BINDING])):
            found = next(iter(self._log_of(shard).read(at)), None) if its_shard == shard and at > number else None
            preimages = reveal_payloads(bytes(found.body)) if _consumes(found) else []
            if row < len(preimages):
                claim = _claim(self._suite, record, lock_digest, preimages[row])
                wanted = record_digest(self._suite, self._prefix, claim)
                if self.ended(wanted, shard, at, row) is not None:
                    return wanted
        return None

    # Parts.

    def _claims(self, shard: int, before: int, preimage: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield hashlock and claim of each lock of a shard, older than a log number, that a preimage may end."""
        for suite, sm3 in ((HashSuite.SHA256, False), (HashSuite.SM3, True)):
            hashlock = digest(suite, preimage)
            for its_shard, number, row in self._places(_key(hashlock)):
                lock = self._lock(its_shard, number, row) if its_shard == shard and number < before else None
                if lock is None or lock[0][_BINDING] != hashlock:
                    continue
                flags = int.from_bytes(lock[0][_FLAGS : _FLAGS + 2], "little")
                if bool(flags & TransferFlag.HASH_IS_SM3) == sm3:
                    yield hashlock, _claim(self._suite, *lock, preimage)

    def _lock(self, shard: int, number: int, row: int) -> tuple[bytes, bytes] | None:
        """Return record and digest of a lock at a place, None where there is none."""
        found = self._rows(shard, number)
        if found is None or row >= len(found[0]) or found[0].shape[1] <= _FLAGS:
            return None
        record = found[0][row].tobytes()
        return (record, found[1][row].tobytes()) if record[_FLAGS] & _KIND_MASK == TransferKind.LOCK else None

    def _leaf(self, record: bytes, wanted: bytes, code: ResultCode, block: ChainBlock | None) -> EndedLock | None:
        if block is None:
            return None
        leaves = block.decision_leaves
        at = leaves.find(wanted)
        while at >= 0:
            if at % DECISION_BYTES == 0:
                leaf = Decision.decode(leaves[at : at + DECISION_BYTES])
                if leaf.code == code:
                    header = SignedHeader.decode(block.signed_header).header
                    return EndedLock(record, code, leaf.time, header.last_number)
            at = leaves.find(wanted, at + 1)
        return None

    def _covering(self, shard: int, number: int) -> ChainBlock | None:
        """Return the first sealed block that reaches a log number."""
        return self._first(shard, lambda block: SignedHeader.decode(block.signed_header).header.last_number >= number)

    def _past(self, shard: int, relay_time: int) -> ChainBlock | None:
        """Return the first sealed block that has consumed a relay time."""
        return self._first(
            shard, lambda block: SignedHeader.decode(block.signed_header).header.relay_time >= relay_time
        )

    def _first(self, shard: int, reached: Callable[[ChainBlock], bool]) -> ChainBlock | None:
        """Return the first block for which this holds, by bisection: it holds for all after it."""
        low, high = 1, self._chain.last(shard) or 0
        found = None
        while low <= high:
            height = (low + high) // 2
            block = self._chain.get(shard, height)
            # A chain may begin at a checkpoint: what is missing lies before it.
            if block is None or not reached(block):
                low = height + 1
            else:
                found, high = block, height - 1
        return found


def _consumes(record: LogRecord | None) -> TypeGuard[LogRecord]:
    return record is not None and record.kind is RecordKind.RELAY_BLOCK


def _key(data: bytes) -> int:
    return int.from_bytes(data[:8], "little")


def _claim(suite: int, lock: bytes, lock_digest: bytes, preimage: bytes) -> bytes:
    """Return the claim's 160 bytes (RECORD-6)."""
    sm3 = int.from_bytes(lock[_FLAGS : _FLAGS + 2], "little") & TransferFlag.HASH_IS_SM3
    return _derived(lock, claim_id(suite, lock_digest), TransferKind.CLAIM | sm3, preimage)


def _refund(suite: int, lock: bytes, lock_digest: bytes) -> bytes:
    """Return the refund's 160 bytes (RECORD-6)."""
    return _derived(lock, refund_id(suite, lock_digest), int(TransferKind.REFUND), bytes(HASH_BYTES))


def _derived(lock: bytes, identity: int, flags: int, binding: bytes) -> bytes:
    out = bytearray(lock)
    out[0:16] = identity.to_bytes(16, "little")
    out[64:80] = lock[0:16]
    out[_EXPIRES_UNTIL] = bytes(16)
    out[_KEY_VALID] = bytes(8)
    out[_FLAGS : _FLAGS + 2] = flags.to_bytes(2, "little")
    out[_BINDING] = binding
    return bytes(out)
