"""One log record and its bytes: the header of 152 bytes and the body; it promises exact checks and knows no store.

Layout: docs/spec/04, "Log record". The record's hash covers the header alone, and the header names H(body) and the
hash of the record before it; so one hash of the last record authenticates every byte of the log.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final

from engine.errors import RecordMalformed
from engine.hashing import digest
from engine.types import HASH_BYTES, U32_MAX, U64_MAX

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "BODY_BYTES_MAX",
    "PREVIOUS_HASH_OFFSET",
    "RECORD_HEADER_BYTES",
    "LogRecord",
    "RecordKind",
    "decode_record",
    "encode_record",
]

_HEADER: Final = struct.Struct("<4sHHIIQQQ32s32s32s16s")
RECORD_HEADER_BYTES: Final = 152
assert _HEADER.size == RECORD_HEADER_BYTES
_MAGIC: Final = b"CSLR"
_VERSION: Final = 1
_ZERO_TAIL: Final = bytes(16)
# Eight messages of the largest size on the wire; no record of today comes near it.
BODY_BYTES_MAX: Final = 64 * 1024 * 1024
_OFFSETS: Final = {
    "magic": 0,
    "version": 4,
    "kind": 6,
    "shard": 8,
    "epoch": 12,
    "number": 16,
    "time": 24,
    "body length": 32,
    "genesis hash": 40,
    "previous hash": 72,
    "body hash": 104,
    "zero": 136,
    "body": RECORD_HEADER_BYTES,
}
PREVIOUS_HASH_OFFSET: Final = _OFFSETS["previous hash"]


@unique
class RecordKind(IntEnum):
    """What a record's body holds (LOG-2)."""

    BATCH = 1
    CREDITS = 2
    RELAY_BLOCK = 3
    ADMIN = 4
    SEAL = 5
    RUN = 6
    PROVED_CREDITS = 7


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record: ``number`` from 1 without gaps, ``time`` in ns, ``previous_hash`` and ``body_hash`` 32 bytes.

    ``body`` is any contiguous buffer and is not copied; whoever hands it over leaves it unchanged.
    """

    suite: int
    genesis_hash: bytes
    shard: int
    epoch: int
    number: int
    time: int
    kind: RecordKind
    previous_hash: bytes
    body: Buffer
    body_hash: bytes

    @classmethod
    def make(
        cls,
        *,
        suite: int,
        genesis_hash: bytes,
        shard: int,
        epoch: int,
        number: int,
        time: int,
        kind: RecordKind,
        previous_hash: bytes,
        body: Buffer,
    ) -> LogRecord:
        """Build a record over a body; raises RecordMalformed for a field out of its range."""
        _ranges(epoch, number, time, memoryview(body).nbytes)
        return cls(
            suite, genesis_hash, shard, epoch, number, time, kind, previous_hash, body, body_hash=digest(suite, body)
        )

    @property
    def body_bytes(self) -> int:
        """Length of the body."""
        return memoryview(self.body).nbytes

    @property
    def hash(self) -> bytes:
        """H(header): what the next record names as its previous hash."""
        return digest(self.suite, self.encode_header())

    def encode_header(self) -> bytes:
        """Return the 152 bytes of the header."""
        return _HEADER.pack(
            _MAGIC,
            _VERSION,
            self.kind,
            self.shard,
            self.epoch,
            self.number,
            self.time,
            self.body_bytes,
            self.genesis_hash,
            self.previous_hash,
            self.body_hash,
            _ZERO_TAIL,
        )


def encode_record(record: LogRecord) -> bytes:
    """Return header and body as they are stored; the one copy that a record's body sees on its way to the disk."""
    return b"".join((record.encode_header(), record.body))


def decode_record(
    data: Buffer,
    *,
    suite: int,
    genesis_hash: bytes,
    shard: int | None = None,
    number: int | None = None,
    hash_body: bool = True,
) -> LogRecord:
    """Read one record from exactly its bytes; the record's body is a view into ``data``.

    ``shard`` and ``number`` are what the place it was found in says. Raises RecordMalformed with the first field that
    does not fit, in the order of the layout, H(body) last; what chains records is the reader's to check.
    """
    view = memoryview(data).cast("B") if not isinstance(data, bytes) else memoryview(data)
    if view.nbytes < RECORD_HEADER_BYTES:
        raise RecordMalformed("header", 0, f"{view.nbytes} bytes", f"{RECORD_HEADER_BYTES} bytes")
    (magic, version, kind, its_shard, epoch, its_number, time, body_bytes, genesis, previous, body_hash, tail) = (
        _HEADER.unpack_from(view)
    )
    _expect("magic", magic, _MAGIC)
    _expect("version", version, _VERSION)
    if kind not in RecordKind._value2member_map_:
        raise RecordMalformed("kind", _OFFSETS["kind"], kind, f"one of {[*map(int, RecordKind)]}")
    if shard is not None:
        _expect("shard", its_shard, shard)
    if number is not None:
        _expect("number", its_number, number)
    _ranges(epoch, its_number, time, body_bytes)
    _expect("genesis hash", genesis, genesis_hash)
    if its_number == 1:
        _expect("previous hash", previous, bytes(HASH_BYTES))
    _expect("zero", tail, _ZERO_TAIL)
    body = view[RECORD_HEADER_BYTES:]
    _expect("body length", body_bytes, body.nbytes)
    if hash_body:
        _expect("body hash", body_hash, digest(suite, body))
    return LogRecord(
        suite, genesis, its_shard, epoch, its_number, time, RecordKind(kind), previous, body, body_hash=body_hash
    )


def _ranges(epoch: int, number: int, time: int, body_bytes: int) -> None:
    if not 1 <= epoch <= U32_MAX:
        raise RecordMalformed("epoch", _OFFSETS["epoch"], epoch, "1 to 2^32-1")
    if not 1 <= number <= U64_MAX:
        raise RecordMalformed("number", _OFFSETS["number"], number, "1 to 2^64-1")
    if not 0 <= time <= U64_MAX:
        raise RecordMalformed("time", _OFFSETS["time"], time, "0 to 2^64-1")
    if body_bytes > BODY_BYTES_MAX:
        raise RecordMalformed("body length", _OFFSETS["body length"], body_bytes, f"at most {BODY_BYTES_MAX}")


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise RecordMalformed(what, _OFFSETS[what], found, expected)
