"""The signed headers of each shard by height, and what their blocks decided and sent; built anew from the log.

No acknowledgement waits for this store. It promises that what is read is what was stored, and that a height keeps the
first header it got: a second, different one is refused, never kept beside it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.errors import AppendInvalid, ChainDamaged, HeaderConflict
from engine.hashing import digest
from engine.lmdb_examine import DATA_FILE, examine
from engine.lmdb_file import LmdbFile, value_pages
from engine.types import HASH_BYTES, U64_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import lmdb
    from typing_extensions import Buffer

__all__ = ["ChainBlock", "ChainStore"]

_KEY: Final = struct.Struct(">IQ")
_HEAD: Final = struct.Struct("<4sHHII")
_LENGTH: Final = struct.Struct("<I")
# Of a block that keeps messages; all others are written in the version before.
_VERSION_WITH_OUTGOING: Final = 2
_MAGIC: Final = b"CSCB"
_VERSION: Final = 1
_MAP_BYTES_MAX: Final = 1 << 40
_WALK_BYTES_MAX: Final = 4 << 30
_READ_COUNT_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class ChainBlock:
    """A signed header (BLOCK-1: length, header, key id, signature) and its block's decision leaves, 48 bytes each.

    ``outgoing``: encoded, what the block sent, where the node has peers on other nodes (``engine.outgoing``).
    """

    shard: int
    height: int
    signed_header: bytes
    decision_leaves: bytes
    outgoing: bytes = b""


class ChainStore:
    """The signed headers of one node's shards in the folder ``path``. Any one thread appends; any thread reads."""

    def __init__(self, path: Path, *, suite: int, map_bytes_max: int = _MAP_BYTES_MAX) -> None:
        """Open or create; raises ChainDamaged when the file is not sound, DiskFull, StoreFailed."""
        self.path = path
        self._suite = suite
        data = path / DATA_FILE
        examined = examine(path, walk=not data.exists() or data.stat().st_size <= _WALK_BYTES_MAX)
        if examined.finding:
            raise ChainDamaged(str(path), examined.finding)
        self._file = LmdbFile(path, map_bytes_max=map_bytes_max, named_max=1)
        self._blocks = self._file.named(b"blocks")

    def append(
        self, shard: int, height: int, signed_header: Buffer, decision_leaves: Buffer = b"", outgoing: Buffer = b""
    ) -> None:
        """Keep a signed header; one that is already there is not written again.

        The first height of a shard is free (a chain may begin at a checkpoint), the next ones follow without gaps.
        Raises HeaderConflict for a second, different header at a height, AppendInvalid for a gap, and as every write
        DiskFull and StoreFailed.
        """
        self.append_all([(shard, height, signed_header, decision_leaves, outgoing)])

    def append_all(self, blocks: Iterable[tuple[int, int, Buffer, Buffer, Buffer]]) -> None:
        """Keep blocks of different shards, all or none of them, in one commit; as ``append`` keeps each."""
        values = [value for block in blocks if (value := self._prepared(*block)) is not None]

        def put(txn: lmdb.Transaction[bytes]) -> None:
            for key, value in values:
                txn.put(key, value, db=self._blocks)

        if values:
            self._file.write(put, pages=sum(value_pages(len(value)) for _, value in values))

    def _prepared(
        self, shard: int, height: int, signed_header: Buffer, decision_leaves: Buffer, outgoing: Buffer
    ) -> tuple[bytes, bytes] | None:
        """Return key and value of a block, None for one that is there already."""
        signed, leaves = bytes(signed_header), bytes(decision_leaves)
        last = self.last(shard)
        if last is not None and height <= last:
            self._demand_same(shard, height, signed)
            return None
        if not 1 <= height <= U64_MAX or (last is not None and height != last + 1):
            raise AppendInvalid(shard, height, "height", height, 1 if last is None else last + 1)
        if _header_of(signed) is None:
            raise AppendInvalid(
                shard, height, "signed header", f"{len(signed)} bytes", "length, header, key id, signature"
            )
        sent = bytes(outgoing)
        version = _VERSION_WITH_OUTGOING if sent else _VERSION
        # What follows header and leaves has the rest.
        body = b"".join((_HEAD.pack(_MAGIC, version, 0, len(signed), len(leaves)), signed, leaves, sent))
        return _KEY.pack(shard, height), body + digest(self._suite, body)

    def get(self, shard: int, height: int) -> ChainBlock | None:
        """Return the block at a height, None where there is none; raises ChainDamaged for other bytes than stored."""
        with self._file.begin() as txn:
            value = txn.get(_KEY.pack(shard, height), db=self._blocks)
        return None if value is None else self._block(shard, height, value)

    def range(self, shard: int, from_height: int, to_height: int | None = None) -> Iterator[ChainBlock]:
        """Yield blocks with ascending heights up to ``to_height`` (inclusive; None: to the end there is now).

        Raises ChainDamaged at a height that is missing in the middle or damaged.
        """
        start, end = max(1, from_height), self.last(shard)
        if end is None:
            return
        end = end if to_height is None else min(end, to_height)
        expected = None
        while start <= end:
            values: list[tuple[int, bytes]] = []
            with self._file.begin() as txn, txn.cursor(self._blocks) as cursor:
                found = cursor.set_range(_KEY.pack(shard, start))
                while found and len(values) < _READ_COUNT_MAX:
                    its_shard, height = _KEY.unpack(cursor.key())
                    if its_shard != shard or height > end:
                        break
                    values.append((height, cursor.value()))
                    found = cursor.next()
            if not values:
                return
            for height, value in values:
                if expected is not None and height != expected:
                    raise ChainDamaged(str(self.path), "missing", shard=shard, height=expected)
                yield self._block(shard, height, value)
                expected = height + 1
            start = values[-1][0] + 1

    def last(self, shard: int) -> int | None:
        """Return the newest height of a shard, None when it has none."""
        with self._file.begin() as txn, txn.cursor(self._blocks) as cursor:
            # The place after the shard's last possible key; what stands before it is the shard's newest, if its own.
            found = cursor.prev() if cursor.set_range(_KEY.pack(shard, U64_MAX)) else cursor.last()
            its_shard, height = _KEY.unpack(cursor.key()) if found else (None, 0)
        return height if its_shard == shard else None

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()

    def _block(self, shard: int, height: int, value: bytes) -> ChainBlock:
        body = value[:-HASH_BYTES]
        if len(body) < _HEAD.size or value[-HASH_BYTES:] != digest(self._suite, body):
            raise ChainDamaged(str(self.path), "not what was stored", shard=shard, height=height)
        magic, version, _, signed_bytes, leaves_bytes = _HEAD.unpack_from(body)
        end = _HEAD.size + signed_bytes
        after = len(body) - end - leaves_bytes
        fits = after > 0 if version == _VERSION_WITH_OUTGOING else after == 0
        if magic != _MAGIC or version not in (_VERSION, _VERSION_WITH_OUTGOING) or not fits:
            raise ChainDamaged(str(self.path), "unknown version or lengths", shard=shard, height=height)
        outgoing = body[end + leaves_bytes :]
        return ChainBlock(shard, height, body[_HEAD.size : end], body[end : end + leaves_bytes], outgoing)

    def _demand_same(self, shard: int, height: int, signed: bytes) -> None:
        kept = self.get(shard, height)
        if kept is None:
            raise ChainDamaged(str(self.path), "missing", shard=shard, height=height)
        # Only the header counts: a signature made again over the same header may differ.
        if _header_of(kept.signed_header) != _header_of(signed):
            raise HeaderConflict(str(self.path), "a different header for this height", shard=shard, height=height)


def _header_of(signed: bytes) -> bytes | None:
    """Return the header within a signed header, None when the lengths do not fit."""
    if len(signed) < _LENGTH.size:
        return None
    (header_bytes,) = _LENGTH.unpack_from(signed)
    return signed[4 : 4 + header_bytes] if len(signed) == 4 + header_bytes + 4 + 64 else None
