"""Log records: the header of 152 bytes and the bodies of their kinds (spec 04)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.model.anchors import headers_of_record
from tests.model.hashes import hasher

__all__ = [
    "ADMIN", "BATCH", "CREDITS", "HEAD_BYTES", "RELAY", "SEAL", "AdminBody", "BatchBody", "CreditsBody", "LogHead",
    "RUN", "RelayBody",
]  # fmt: skip

BATCH, CREDITS, RELAY, ADMIN, SEAL = range(1, 6)
RUN = 6
HEAD_BYTES = 152
_HEAD = struct.Struct("<4sHHIIQQQ32s32s32s16s")
REVEAL, DECISION = 2, 3
_KNOWN_RELAY_RECORDS = range(1, 11)


@dataclass(frozen=True, slots=True)
class LogHead:
    """The header; ``data`` are its bytes."""

    kind: int
    shard: int
    epoch: int
    number: int
    time: int
    body_bytes: int
    genesis_hash: bytes
    previous: bytes
    body_hash: bytes
    data: bytes

    @classmethod
    def unpack(cls, data: bytes) -> LogHead:
        magic, version, *fields, zero = _HEAD.unpack(data)
        assert (magic, version, zero) == (b"CSLR", 1, bytes(16)), "a log record of version 1"
        return cls(*fields, data)

    @classmethod
    def build(
        cls,
        *,
        kind: int,
        shard: int,
        epoch: int,
        number: int,
        time: int,
        genesis_hash: bytes,
        previous: bytes,
        body: bytes,
        suite: int,
    ) -> LogHead:
        fields = (kind, shard, epoch, number, time, len(body), genesis_hash, previous, hasher(suite)(body))
        return cls(*fields, _HEAD.pack(b"CSLR", 1, *fields, bytes(16)))


@dataclass(frozen=True, slots=True)
class BatchBody:
    """A batch and the codes it was answered with."""

    submitter: int
    batch_id: bytes
    heads: bytes
    signatures: bytes
    binding_index: tuple[int, ...]
    bindings: bytes
    codes: tuple[int, ...]

    @classmethod
    def unpack(cls, body: bytes) -> BatchBody:
        n, m, submitter, _zero = struct.unpack_from("<4I", body)
        at = 32
        parts = []
        for size in (128 * n, 64 * n, 4 * m, 32 * m, 2 * n):
            parts.append(body[at : at + size])
            at += size
        assert at == len(body), "a batch body has exactly its columns"
        heads, signatures, index, bindings, codes = parts
        return cls(
            submitter,
            body[16:32],
            heads,
            signatures,
            struct.unpack(f"<{m}I", index),
            bindings,
            struct.unpack(f"<{n}H", codes),
        )

    def pack(self) -> bytes:
        n, m = len(self.codes), len(self.binding_index)
        return (
            struct.pack("<4I", n, m, self.submitter, 0)
            + self.batch_id
            + self.heads
            + self.signatures
            + struct.pack(f"<{m}I", *self.binding_index)
            + self.bindings
            + struct.pack(f"<{n}H", *self.codes)
        )


@dataclass(frozen=True, slots=True)
class CreditsBody:
    """Messages from one shard."""

    source: int
    messages: bytes

    @classmethod
    def unpack(cls, body: bytes) -> CreditsBody:
        source, count, first = struct.unpack_from("<IIQ", body)
        assert len(body) == 16 + 128 * count, "a credits body has exactly its messages"
        assert not count or struct.unpack_from("<Q", body, 16) == (first,), "the first sequence is the first message's"
        return cls(source, body[16:])


@dataclass(frozen=True, slots=True)
class AdminBody:
    """Admin requests, who signed them, and the codes they were answered with."""

    bodies: bytes
    signers: tuple[tuple[int, int], ...]
    signatures: bytes
    codes: tuple[int, ...]

    @classmethod
    def unpack(cls, body: bytes) -> AdminBody:
        (n,) = struct.unpack_from("<I12x", body)
        at = 16 + 160 * n
        ids = struct.unpack_from(f"<{2 * n}I", body, at)
        at += 8 * n
        signatures = body[at : at + 128 * n]
        at += 128 * n
        assert len(body) == at + 2 * n, "an admin body has exactly its columns"
        codes = struct.unpack_from(f"<{n}H", body, at)
        return cls(body[16 : 16 + 160 * n], tuple(zip(ids[::2], ids[1::2], strict=True)), signatures, codes)


@dataclass(frozen=True, slots=True)
class RelayBody:
    """What a shard takes from a relay block (spec 07)."""

    height: int
    time: int
    preimages: tuple[bytes, ...]
    runs: tuple[tuple[bytes, ...], ...]
    anchored: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def unpack(cls, body: bytes) -> RelayBody:
        magic, version, _zero, height, _view, time = struct.unpack_from("<4sHHQQQ", body)
        assert (magic, version) == (b"CSRB", 1), "a relay block of version 1"
        (count,) = struct.unpack_from("<I", body, 136)
        at, preimages, runs, anchored = 152, [], [], []
        for _ in range(count):
            kind, _version, length = struct.unpack_from("<HHI", body, at)
            assert kind in _KNOWN_RELAY_RECORDS, "a known record type"
            anchored += headers_of_record(kind, body[at + 8 : at + 8 + length])
            if kind == REVEAL:
                preimages.append(body[at + 8 : at + 40])
            if kind == DECISION:
                (members,) = struct.unpack_from("<I", body, at + 16)
                runs.append(tuple(body[at + 24 + 160 * i : at + 184 + 160 * i] for i in range(members)))
            at += 8 + length
        assert at == len(body), "a relay block has exactly its records"
        return cls(height, time, tuple(preimages), tuple(runs), tuple(anchored))
