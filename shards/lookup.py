"""Lookups over what is durable: transfers by digest, statements by account, decision proofs.

The log is the only source: the index names candidates, and each is read from the log and compared before it is an
answer. One thread adds, another one answers: a lock is held while the index is touched, and not while the log is read.
"""

from __future__ import annotations

import struct
import threading
from bisect import bisect_left
from dataclasses import dataclass, replace
from enum import IntEnum, unique
from typing import TYPE_CHECKING

import numpy as np

from engine.block import build_decision_proof
from engine.bodies import decode_batch_body, decode_credits_body
from engine.codes import LEAVES, ResultCode
from engine.header import SignedHeader
from engine.log import RecordKind
from engine.proved_credits import ProvedCredits
from engine.types import CREDIT_BYTES, HASH_BYTES, HEAD_BYTES, MESSAGE_BYTES, RECORD_BYTES, TransferKind
from native.ledger import prepare
from shards.hold_outcomes import HoldOutcomes
from shards.index import ENTRY, SegmentIndex, entries
from shards.lock_keys import LockKeys
from shards.lock_outcomes import LockOutcomes
from shards.run_outcomes import RunOutcomes, committed_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from engine.batch import BatchColumns
    from engine.block import DecisionProof
    from engine.chain import ChainStore
    from engine.genesis import Genesis
    from engine.log import Log, LogRecord
    from shards.domain import AppliedCredits, AppliedPart

__all__ = ["CURSOR_BYTES", "DecidedRecord", "EntryKind", "Lookup", "PreparedRun", "TransferEntry"]

_CURSOR = struct.Struct("<QI")
CURSOR_BYTES = _CURSOR.size
_IS_LEAF = np.zeros(1 << 16, dtype=bool)
_IS_LEAF[[int(code) for code in LEAVES]] = True
_INDEXED = frozenset({RecordKind.BATCH, RecordKind.RUN, RecordKind.CREDITS, RecordKind.PROVED_CREDITS})
_KIND_OFFSET = 126
_KIND_MASK = 0x0F
_DERIVED = frozenset({TransferKind.CLAIM, TransferKind.REFUND})
# Decoded log records kept for the lookups that follow: neighbours of a statement share them.
_CACHE_RECORDS_MAX = 64


@unique
class EntryKind(IntEnum):
    """What an entry of a statement is: a request decided on this shard, or a credit that arrived from another."""

    TRANSFER = 1
    CREDIT = 2


@dataclass(frozen=True, slots=True)
class TransferEntry:
    """One decision as the log holds it. ``record`` is 160 bytes of a transfer, or 128 of a credit message.

    Of a prepared member of a run over shards that has ended, code and time are those of its end.
    """

    kind: EntryKind
    record: bytes
    digest: bytes
    code: int
    time: int
    shard: int
    number: int
    index: int
    decided_in: int = 0

    @property
    def proof_number(self) -> int:
        """A log number in the block whose decisions hold the record's: that of a run's end lies after its own."""
        return self.decided_in or self.number


@dataclass(frozen=True, slots=True)
class DecidedRecord:
    """A record with the prefix that was hashed before it, and the proof of its decision in a sealed block."""

    record: bytes
    prefix: bytes
    proof: DecisionProof


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run that waits for the relay: its records, 160 bytes each, and by shard the log number that prepared it."""

    records: tuple[bytes, ...]
    places: dict[int, int]


@dataclass(frozen=True, slots=True)
class _Decoded:
    kind: EntryKind
    time: int
    records: NDArray[np.uint8]
    digests: NDArray[np.uint8]
    codes: NDArray[np.uint16]
    run: bytes = b""
    deadline: int = 0


class Lookup:
    """Index and reader over the logs of one node's shards."""

    def __init__(
        self,
        genesis: Genesis,
        path: Path,
        log_of: Callable[[int], Log],
        chain: ChainStore,
        shard_of: Callable[[bytes], int],
    ) -> None:
        self._genesis = genesis
        self._log_of = log_of
        self._chain = chain
        self._shard_of = shard_of
        self._digests = SegmentIndex(path, "digests")
        try:
            self._accounts = SegmentIndex(path, "accounts")
        except BaseException:
            self._digests.close()
            raise
        self._cache: dict[tuple[int, int], _Decoded] = {}
        self._lock = threading.Lock()
        self._outcomes = RunOutcomes(genesis, log_of, chain, self._places)
        self._holds = HoldOutcomes(genesis, log_of, chain, self._places)
        self._locks = LockOutcomes(genesis, log_of, chain, self._places, self._rows)
        self._lock_keys = LockKeys(genesis.hash_suite, self._locks.prefix, self._find_many, self._rows)

    # What is durable arrives here in log order.

    def reaches(self, shard: int) -> int:
        """Return the log number up to which a shard is indexed."""
        with self._lock:
            return min(self._digests.reached(shard), self._accounts.reached(shard))

    def reset(self) -> None:
        """Forget the index: it holds what the log does not, and is built anew. Raises DiskFull."""
        with self._lock:
            self._digests.reset()
            self._accounts.reset()

    def add_batch(self, part: AppliedPart) -> None:
        """Index the decided rows of one batch record: by digest, by debit account and by credit account."""
        digests = np.frombuffer(part.prepared.digests, dtype=np.uint8).reshape(-1, HASH_BYTES)
        self._add_batch((part.shard, part.number), part.columns, digests, part.codes)

    def add_credits(self, applied: AppliedCredits) -> None:
        """Index the messages of one credits record by digest and by the account that they reached."""
        messages = np.frombuffer(applied.messages, dtype=np.uint8).reshape(-1, CREDIT_BYTES)
        self._add_credits(applied.shard, applied.number, messages)

    def add_record(self, record: LogRecord) -> None:
        """Index a record read back from the log, as a restart does for the tail."""
        if record.kind is RecordKind.RELAY_BLOCK:
            self._add_relay(record)
        elif record.kind is RecordKind.ADMIN:
            self._add_admin(record)
        elif record.kind in _INDEXED:
            decoded = self._decode(record)
            if decoded.kind is EntryKind.TRANSFER:
                columns = decode_batch_body(record.body, record.shard >> 8).columns
                self._add_batch((record.shard, record.number), columns, decoded.digests, decoded.codes)
            else:
                self._add_credits(record.shard, record.number, decoded.records)

    def flush(self) -> None:
        """Make what is indexed so far part of the stored index. Raises DiskFull with nothing forgotten."""
        with self._lock:
            self._digests.flush()
            self._accounts.flush()

    def close(self) -> None:
        """Flush and close."""
        with self._lock:
            self._digests.close()
            self._accounts.close()

    # Answers.

    def transfer(self, digest: bytes) -> TransferEntry | None:
        """Return the decision on the record with this digest, or None: not decided here, or not durable yet."""
        with self._lock:
            candidates = self._digests.find(int.from_bytes(digest[:8], "little"))
        for candidate in candidates:
            found = self._decided_at(digest, int(candidate["shard"]), int(candidate["number"]), int(candidate["row"]))
            if found is not None:
                return found
        return None

    def _decided_at(self, digest: bytes, shard: int, number: int, row: int) -> TransferEntry | None:
        """Return the decision on a digest, also of a claim or refund, where the index says that it is."""
        entry = self._entry(shard, number, row)
        if self._decides(entry, digest):
            return entry
        ended = self._locks.ended(digest, shard, number, row)
        if ended is None:
            return None
        return TransferEntry(
            EntryKind.TRANSFER, ended.record, digest, ended.code, ended.time, shard, number, row, ended.number
        )

    def _decides(self, entry: TransferEntry | None, digest: bytes) -> bool:
        """Whether it is the decision on a record; of a run over shards that of the payer's shard counts."""
        if entry is None or entry.kind is not EntryKind.TRANSFER or entry.digest != digest:
            return False
        return self._shard_of(entry.record[16:32]) == entry.shard

    def transfers(self, digests: Sequence[bytes]) -> list[TransferEntry | None]:
        """Return the decision on each of some records: the index is searched once for all of them."""
        keys = np.array([int.from_bytes(digest[:8], "little") for digest in digests], dtype=np.uint64)
        positions, candidates = self._find_many(keys)
        found: list[TransferEntry | None] = [None] * len(digests)
        # In order of the log, so that each record is decoded once.
        order = np.lexsort((candidates["row"], candidates["number"], candidates["shard"]))
        columns = [candidates[name][order].tolist() for name in ("shard", "number", "row")]
        for position, shard, number, row in zip(positions[order].tolist(), *columns, strict=True):
            if found[position] is not None:
                continue
            found[position] = self._decided_at(digests[position], shard, number, row)
        return found

    def statement(
        self, account: bytes, *, after: bytes, limit: int, newest_first: bool
    ) -> tuple[list[TransferEntry], bytes]:
        """Return up to ``limit`` entries that name the account, and the cursor to go on from (empty: no more).

        Raises struct.error for a cursor of another length.
        """
        shard = self._shard_of(account)
        with self._lock:
            hits = self._accounts.find(_account_key(account), shard)
        if newest_first:
            hits = hits[::-1]
        if after:
            number, row = _CURSOR.unpack(after)
            place = (hits["number"] == number) & (hits["row"] == row)
            found = np.flatnonzero(place)
            hits = hits[int(found[0]) + 1 :] if len(found) else hits[:0]
        out: list[TransferEntry] = []
        for position, hit in enumerate(hits):
            entry = self._entry(shard, int(hit["number"]), int(hit["row"]))
            if entry is not None and account in _accounts_of(entry):
                out.append(entry)
            if len(out) == limit:
                more = position + 1 < len(hits)
                return out, _CURSOR.pack(int(hit["number"]), int(hit["row"])) if more else b""
        return out, b""

    def decision_proof(self, digest: bytes) -> bytes | None:
        """Return the proof (spec BLOCK-2) that this shard decided the record, or None while its block is not sealed."""
        entry = self.transfer(digest)
        proof = None if entry is None else self._proof(digest, entry.shard, entry.proof_number)
        return None if proof is None else proof.encode()

    def decided(self, digest: bytes, *, payee: bool) -> DecidedRecord | None:
        """Return a decided record with its proof, or None while its block is not sealed.

        For the payee of money that left the payer's shard it is the decision of the shard where it arrived; of a lock
        it is the claim.
        """
        entry = self.transfer(digest)
        if entry is not None and payee and entry.record[_KIND_OFFSET] & _KIND_MASK == TransferKind.LOCK:
            ended = self._locks.end_of(entry.record, digest, entry.shard, entry.number)
            digest, entry = (digest, entry) if ended is None else (ended, self.transfer(ended))
        if entry is None:
            return None
        place: tuple[int, int] | None = entry.shard, entry.proof_number
        if payee and entry.code == ResultCode.CREATED_IN_TRANSIT:
            place = self._arrival(entry)
        elif payee and entry.code == ResultCode.COMMITTED:
            place = self._credit_half(entry)
        proof = None if place is None else self._proof(digest, *place)
        if proof is None:
            return None
        return DecidedRecord(entry.record, self._prefix(entry), proof)

    def _proof(self, digest: bytes, shard: int, number: int) -> DecisionProof | None:
        """Prove the decision on a record by the block that covers a log number."""
        height = self._block_of(shard, number)
        block = None if height is None else self._chain.get(shard, height)
        if block is None:
            return None
        header = SignedHeader.decode(block.signed_header)
        return build_decision_proof(self._genesis.hash_suite, digest, block.decision_leaves, header)

    def _prefix(self, entry: TransferEntry) -> bytes:
        """Return what was hashed before a record: T(transfer), or T_run of its run."""
        if entry.record[_KIND_OFFSET] & _KIND_MASK in _DERIVED:
            return self._locks.prefix
        record = next(iter(self._log_of(entry.shard).read(entry.number)))
        columns = decode_batch_body(record.body, record.shard >> 8).columns
        prepared = prepare(
            self._genesis.hash_suite, self._genesis.hash, columns.heads, columns.binding_index, columns.bindings
        )
        start = entry.index * MESSAGE_BYTES
        return bytes(memoryview(prepared.messages)[start : start + HASH_BYTES])

    def _arrival(self, entry: TransferEntry) -> tuple[int, int] | None:
        """Return shard and log number of the credit that a transfer made on another shard of this node.

        Both stand in one round and have its time, so that the many credits of a busy account are not walked through.
        """
        account = entry.record[32:48]
        shard = self._shard_of(account)
        with self._lock:
            numbers = np.unique(self._accounts.find(_account_key(account), shard)["number"]).tolist()
        for number in numbers[bisect_left(numbers, entry.time, key=lambda each: self._time_of(shard, each)) :]:
            decoded = self._read(shard, number)
            if decoded is None or decoded.time > entry.time:
                return None
            if decoded.kind is EntryKind.CREDIT and entry.digest in {each.tobytes() for each in decoded.digests}:
                return shard, number
        return None

    def prepared_run(self, digest: bytes) -> PreparedRun | None:
        """Return the run over shards of which this is a member, None when it is none, or the relay has decided it."""
        entry = self.transfer(digest)
        if entry is None or entry.code != ResultCode.PREPARED:
            return None
        run = self._read(entry.shard, entry.number)
        places = {}
        for shard, number, _ in self._places(int.from_bytes(digest[:8], "little")):
            found = self._read(shard, number)
            if run is not None and found is not None and found.run == run.run and (found.codes == entry.code).all():
                places[shard] = number
        return None if run is None else PreparedRun(tuple(map(bytes, run.records)), places)

    def block_of(self, shard: int, number: int) -> int | None:
        """Return the height of the block that covers a log number, None while it is not sealed."""
        return self._block_of(shard, number)

    def _credit_half(self, entry: TransferEntry) -> tuple[int, int] | None:
        """Return where a committed member of a run was credited: its payee's shard consumed that block too."""
        shard = self._shard_of(entry.record[32:48])
        run = self._read(entry.shard, entry.number)
        if run is None or shard == entry.shard:
            return entry.shard, entry.proof_number
        outcome = self._outcomes.outcome(shard, run.run, run.deadline, entry.digest)
        return None if outcome is None else (shard, outcome.number)

    def _time_of(self, shard: int, number: int) -> int:
        """Return the time of a log record, ns; 0 for one that the log does not have."""
        record = next(iter(self._log_of(shard).read(number)), None)
        return 0 if record is None else record.time

    def _block_of(self, shard: int, number: int) -> int | None:
        """Return the height of the block that covers a log number, None while it is not sealed: by bisection."""
        low, high = 1, self._chain.last(shard) or 0
        found = None
        while low <= high:
            height = (low + high) // 2
            block = self._chain.get(shard, height)
            # A chain may begin at a checkpoint: what is missing lies before it.
            if block is None or SignedHeader.decode(block.signed_header).header.last_number < number:
                low = height + 1
            else:
                found, high = height, height - 1
        return found

    # Reading.

    def _entry(self, shard: int, number: int, row: int) -> TransferEntry | None:
        """Read what the index names; None where the log has no such thing, for the index is only a hint."""
        decoded = self._read(shard, number)
        if decoded is None or row >= len(decoded.records):
            return None
        digest, code, time = decoded.digests[row].tobytes(), int(decoded.codes[row]), decoded.time
        ended = None
        if code == ResultCode.PREPARED:
            ended = self._outcomes.outcome(shard, decoded.run, decoded.deadline, digest)
        elif code == ResultCode.HELD:
            ended = self._holds.outcome(shard, number, time, decoded.records[row].tobytes(), digest)
        return TransferEntry(
            decoded.kind,
            decoded.records[row].tobytes(),
            digest,
            code if ended is None else int(ended.code),
            time if ended is None else ended.time,
            shard,
            number,
            row,
            0 if ended is None else ended.number,
        )

    def _read(self, shard: int, number: int) -> _Decoded | None:
        found = self._cache.get((shard, number))
        if found is None:
            record = next(iter(self._log_of(shard).read(number)), None)
            if record is None or record.kind not in _INDEXED:
                return None
            found = self._decode(record)
            if len(self._cache) >= _CACHE_RECORDS_MAX:
                self._cache.pop(next(iter(self._cache)))
            self._cache[shard, number] = found
        return found

    def _rows(self, shard: int, number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        """Return records and digests of a log record that holds transfers."""
        found = self._read(shard, number)
        return None if found is None or found.kind is not EntryKind.TRANSFER else (found.records, found.digests)

    def _decode(self, record: LogRecord) -> _Decoded:
        if record.kind in {RecordKind.BATCH, RecordKind.RUN}:
            batch = decode_batch_body(record.body, record.shard >> 8)
            columns = batch.columns
            prepared = prepare(
                self._genesis.hash_suite, self._genesis.hash, columns.heads, columns.binding_index, columns.bindings
            )
            digests = np.frombuffer(prepared.digests, dtype=np.uint8).reshape(-1, HASH_BYTES)
            decoded = _Decoded(EntryKind.TRANSFER, record.time, columns.records(), digests, batch.codes)
            if record.kind is RecordKind.RUN:
                deadline = int(columns.fields["expires_at"].min())
                decoded = replace(decoded, run=prepared.messages[:HASH_BYTES], deadline=deadline)
            return decoded
        proved = record.kind is RecordKind.PROVED_CREDITS
        credits_ = ProvedCredits.decode(record.body) if proved else decode_credits_body(record.body)
        messages = np.frombuffer(credits_.messages, dtype=np.uint8).reshape(-1, CREDIT_BYTES)
        codes = np.zeros(len(messages), dtype=np.uint16)
        return _Decoded(EntryKind.CREDIT, record.time, messages, messages[:, 80:112], codes)

    def _add_batch(
        self, place: tuple[int, int], columns: BatchColumns, digests: NDArray[np.uint8], codes: NDArray[np.uint16]
    ) -> None:
        """Index a batch by digest and account, and its locks by what may end them; ``place``: shard and log number."""
        heads = columns.heads
        rows = np.flatnonzero(_IS_LEAF[codes]).astype(np.uint32)
        keys = np.ascontiguousarray(digests[rows, :8]).view("<u8").reshape(-1)
        sides = [_account_keys(heads[rows, offset : offset + 16]) for offset in (16, 32)]
        both = np.concatenate([entries(side, *place, rows) for side in sides])
        found = entries(keys, *place, rows)
        ends, locks = self._lock_keys.of_locks(columns, digests, codes)
        if len(ends):
            found = np.concatenate([found, entries(ends, *place, locks)])
        self._append(found, both, *place)

    def _add_relay(self, record: LogRecord) -> None:
        """Index the runs that a relay block commits, by T_run, and its reveals by the claims that they may make."""
        body = bytes(record.body)
        runs = committed_runs(self._genesis, body)
        claims, their_rows = self._lock_keys.of_reveals(record)
        keys = np.array([int.from_bytes(run[:8], "little") for run in runs], dtype=np.uint64)
        rows = np.arange(len(runs), dtype=np.uint32)
        if len(keys) or len(claims):
            both = np.concatenate([keys, claims]), np.concatenate([rows, their_rows])
            found = entries(both[0], record.shard, record.number, both[1])
            self._append(found, np.empty(0, dtype=ENTRY), record.shard, record.number)

    def _add_admin(self, record: LogRecord) -> None:
        """Index the requests that end holds, and those that say how long holds wait."""
        keys, rows = self._holds.keys_of(record)
        if keys:
            found = entries(np.array(keys, dtype=np.uint64), record.shard, record.number, rows)
            self._append(found, np.empty(0, dtype=ENTRY), record.shard, record.number)

    def _find_many(self, keys: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.void]]:
        with self._lock:
            return self._digests.find_many(keys)

    def _places(self, key: int) -> list[tuple[int, int, int]]:
        with self._lock:
            hits = self._digests.find(key)
        return [(int(hit["shard"]), int(hit["number"]), int(hit["row"])) for hit in hits]

    def _add_credits(self, shard: int, number: int, messages: NDArray[np.uint8]) -> None:
        rows = np.arange(len(messages), dtype=np.uint32)
        sides = [_account_keys(messages[:, offset : offset + 16]) for offset in (16, 32)]
        both = np.concatenate([entries(side, shard, number, rows) for side in sides])
        self._append(np.empty(0, dtype=ENTRY), both, shard, number)

    def _append(self, digests: NDArray[np.void], accounts: NDArray[np.void], shard: int, number: int) -> None:
        """Add to both indexes, whether or not the first finds room: what finds none is kept in memory."""
        with self._lock:
            try:
                self._digests.append(digests, shard, number)
            finally:
                self._accounts.append(accounts, shard, number)


def _account_keys(ids: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Mix 16-byte account ids into 64-bit keys (the digest of spec BYTES-9 before its shift)."""
    halves = np.ascontiguousarray(ids).view("<u8").reshape(-1, 2)
    key = halves[:, 0] ^ (halves[:, 1] * np.uint64(0x9E3779B97F4A7C15))
    key ^= key >> np.uint64(33)
    key *= np.uint64(0xFF51AFD7ED558CCD)
    key ^= key >> np.uint64(33)
    key *= np.uint64(0xC4CEB9FE1A85EC53)
    key ^= key >> np.uint64(33)
    return key


def _account_key(account: bytes) -> int:
    return int(_account_keys(np.frombuffer(account, dtype=np.uint8).reshape(1, 16))[0])


def _accounts_of(entry: TransferEntry) -> tuple[bytes, bytes]:
    return entry.record[16:32], entry.record[32:48]


assert RECORD_BYTES > HEAD_BYTES
