"""Checkpoints: a shard's whole state right after a seal with a signed manifest; the two newest of each shard are kept.

A checkpoint is there whole or not at all: its chunks are written first, its manifest after them. A start takes the
newest one that holds and says of every one that it skipped why (CHECK-2). The bytes of the state are the caller's; this
module promises only that they are the ones that the manifest's hash names.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from engine.errors import CheckpointInvalid, CheckpointsUnusable, DiskFull
from engine.hashing import digest
from engine.lmdb_examine import examine
from engine.lmdb_file import LmdbFile, value_pages
from engine.log_check import Anchor
from engine.types import HASH_BYTES, SIGNATURE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import lmdb
    from typing_extensions import Buffer

__all__ = ["CHECKPOINTS_KEPT", "MANIFEST_BYTES", "CheckpointInvalid", "CheckpointStore", "Manifest"]

_BODY: Final = struct.Struct("<4sHHIIQQ32s32s32s32sQ")
_TAIL: Final = struct.Struct("<I64s")
MANIFEST_BYTES: Final = _BODY.size + _TAIL.size
assert (_BODY.size, MANIFEST_BYTES) == (168, 236)
_MAGIC: Final = b"CSCP"
_VERSION: Final = 1
_KEY: Final = struct.Struct(">IQ")
_CHUNK_KEY: Final = struct.Struct(">IQI")
CHECKPOINTS_KEPT: Final = 2
# A mebibyte less the header of the page run that holds it: a chunk then fills its pages to the last byte, and one that
# is freed leaves exactly the room for another.
_CHUNK_BYTES: Final = (1 << 20) - 16
# So many chunks go into one commit: the state of a large shard must not become one transaction in memory.
_CHUNKS_PER_COMMIT: Final = 16
_MAP_BYTES_MAX: Final = 1 << 40
_WALK_BYTES_MAX: Final = 16 << 30


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint is of: the seal it follows, the roots, and the hash and length of its state (CHECK-1).

    ``key_id`` and ``signature`` are zero until it is signed.
    """

    shard: int
    epoch: int
    height: int
    log_number: int
    log_record_hash: bytes
    header_hash: bytes
    state_root: bytes
    state_hash: bytes
    state_bytes: int
    key_id: int = 0
    signature: bytes = bytes(SIGNATURE_BYTES)

    def encode_body(self) -> bytes:
        """Return the bytes before the key id: what the signature covers."""
        return _BODY.pack(
            _MAGIC,
            _VERSION,
            0,
            self.shard,
            self.epoch,
            self.height,
            self.log_number,
            self.log_record_hash,
            self.header_hash,
            self.state_root,
            self.state_hash,
            self.state_bytes,
        )

    def encode(self) -> bytes:
        """Return all 236 bytes."""
        return self.encode_body() + _TAIL.pack(self.key_id, self.signature)

    def hash(self, suite: int) -> bytes:
        """Return H(all bytes before the key id); what is signed is T(header) || this."""
        return digest(suite, self.encode_body())

    def signed(self, key_id: int, signature: bytes) -> Manifest:
        """Return the manifest with its signature."""
        return replace(self, key_id=key_id, signature=signature)

    @classmethod
    def decode(cls, data: Buffer) -> Manifest:
        """Read a manifest from exactly its bytes; raises CheckpointInvalid."""
        view = memoryview(data)
        if view.nbytes != MANIFEST_BYTES:
            raise CheckpointInvalid(0, 0, "manifest length", found=str(view.nbytes), expected=str(MANIFEST_BYTES))
        magic, version, zero, shard, epoch, height, number, record, header, root, state, size = _BODY.unpack_from(view)
        if (magic, version, zero) != (_MAGIC, _VERSION, 0):
            raise CheckpointInvalid(shard, height, "manifest magic or version", found=bytes(view[:8]).hex())
        key_id, signature = _TAIL.unpack_from(view, _BODY.size)
        return cls(shard, epoch, height, number, record, header, root, state, size, key_id, signature)


class CheckpointStore:
    """The checkpoints of one node's shards in the folder ``path``. Any one thread writes; any thread loads.

    ``skipped`` holds what the last load_newest passed over.
    """

    def __init__(self, path: Path, *, suite: int, map_bytes_max: int = _MAP_BYTES_MAX) -> None:
        """Open or create; raises CheckpointsUnusable when the file is damaged as a whole, DiskFull, StoreFailed."""
        self.path = path
        self._suite = suite
        self.skipped: tuple[CheckpointInvalid, ...] = ()
        examined = examine(path) if not _larger(path, _WALK_BYTES_MAX) else examine(path, walk=False)
        if examined.finding:
            raise CheckpointsUnusable(str(path), examined.finding)
        self._file = LmdbFile(path, map_bytes_max=map_bytes_max, named_max=2)
        self._manifests = self._file.named(b"manifests")
        self._chunks = self._file.named(b"chunks")

    def write(self, manifest: Manifest, state: Buffer) -> None:
        """Write a checkpoint, then forget those older than the two newest of its shard.

        Raises CheckpointInvalid when manifest and state do not belong together, DiskFull (the checkpoints that stood
        still stand, and so does the log), StoreFailed.
        """
        view = memoryview(state).cast("B")
        if manifest.state_bytes != view.nbytes or manifest.state_hash != digest(self._suite, view):
            raise CheckpointInvalid(manifest.shard, manifest.height, "its state is not what its manifest names")
        self._forget_orphans()
        try:
            self._write_chunks(manifest, view)
            self._write_manifest(manifest)
        except DiskFull:
            self._forget_orphans()
            raise
        self._forget_orphans()

    def load_newest(
        self,
        shard: int,
        verify: Callable[[Manifest], None],
        accept: Callable[[Manifest, bytes], None] | None = None,
    ) -> tuple[Manifest, bytes] | None:
        """Return manifest and state of the newest checkpoint of a shard that holds; None when there is none.

        ``verify`` raises for a manifest that is not to be trusted (signature, position), ``accept`` for a state that
        does not give the root that was signed; either sends the load to the older checkpoint, as do bytes that are not
        those that were written. What was passed over stands in ``skipped``.
        """
        skipped: list[CheckpointInvalid] = []
        try:
            for height in self.heights(shard):
                try:
                    manifest = self._manifest(shard, height)
                    verify(manifest)
                    state = self._state(manifest)
                    if accept is not None:
                        accept(manifest, state)
                except CheckpointInvalid as error:
                    skipped.append(error)
                except Exception as error:  # noqa: BLE001 - whatever its content makes a reader raise, an older one may hold
                    skipped.append(CheckpointInvalid(shard, height, str(error), path=str(self.path)))
                else:
                    return manifest, state
            return None
        finally:
            self.skipped = tuple(skipped)

    def heights(self, shard: int) -> list[int]:
        """Return the heights of a shard's checkpoints, newest first."""
        with self._file.begin() as txn:
            keys = [_KEY.unpack(key) for key in txn.cursor(self._manifests).iternext(keys=True, values=False)]
        return sorted((height for its_shard, height in keys if its_shard == shard), reverse=True)

    def log_positions(self) -> list[Anchor]:
        """Return where in the log the checkpoints of each shard stand: from there on a start needs the log.

        They are read, not verified: a log that does not hold these records is refused, whoever of the two is wrong.
        """
        anchors = []
        with self._file.begin() as txn:
            keys = [_KEY.unpack(key) for key in txn.cursor(self._manifests).iternext(keys=True, values=False)]
        for shard, height in keys:
            try:
                manifest = self._manifest(shard, height)
            except CheckpointInvalid:
                # Loading will name and skip it.
                continue
            anchors.append(Anchor(shard, manifest.log_number, manifest.log_record_hash))
        return anchors

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()

    def _write_chunks(self, manifest: Manifest, view: memoryview) -> None:
        step = _CHUNK_BYTES * _CHUNKS_PER_COMMIT
        for start in range(0, view.nbytes, step):
            group = view[start : start + step]
            chunks = -(-group.nbytes // _CHUNK_BYTES)

            def put(txn: lmdb.Transaction[bytes], start: int = start, group: memoryview = group) -> None:
                for at in range(0, group.nbytes, _CHUNK_BYTES):
                    index = (start + at) // _CHUNK_BYTES
                    key = _CHUNK_KEY.pack(manifest.shard, manifest.height, index)
                    txn.put(key, group[at : at + _CHUNK_BYTES], db=self._chunks)

            self._file.write(put, pages=chunks * value_pages(min(group.nbytes, _CHUNK_BYTES)))

    def _write_manifest(self, manifest: Manifest) -> None:
        """Make the checkpoint count, and let the third newest go, in one commit."""
        older = [height for height in self.heights(manifest.shard) if height != manifest.height]

        def put(txn: lmdb.Transaction[bytes]) -> None:
            data = manifest.encode()
            key = _KEY.pack(manifest.shard, manifest.height)
            txn.put(key, data + digest(self._suite, data), db=self._manifests)
            for height in older[CHECKPOINTS_KEPT - 1 :]:
                txn.delete(_KEY.pack(manifest.shard, height), db=self._manifests)

        self._file.write(put, pages=1)

    def _forget_orphans(self) -> None:
        """Remove chunks without a manifest: of checkpoints let go, and of ones that were never finished."""
        with self._file.begin() as txn:
            kept = set(txn.cursor(self._manifests).iternext(keys=True, values=False))
            keys = list(txn.cursor(self._chunks).iternext(keys=True, values=False))
        orphans = [key for key in keys if key[: _KEY.size] not in kept]
        if not orphans:
            return

        def forget(txn: lmdb.Transaction[bytes]) -> None:
            for key in orphans:
                txn.delete(key, db=self._chunks)

        try:
            self._file.write(forget, pages=0)
        except DiskFull:
            # Even forgetting needs a few pages; the next write tries again, and until then nobody reads them.
            return

    def _manifest(self, shard: int, height: int) -> Manifest:
        with self._file.begin() as txn:
            stored = txn.get(_KEY.pack(shard, height), default=b"", db=self._manifests)
        data = stored[:-HASH_BYTES]
        if len(stored) != MANIFEST_BYTES + HASH_BYTES or stored[-HASH_BYTES:] != digest(self._suite, data):
            raise CheckpointInvalid(shard, height, "its manifest is damaged", path=str(self.path))
        manifest = Manifest.decode(data)
        if (manifest.shard, manifest.height) != (shard, height):
            raise CheckpointInvalid(shard, height, "its manifest is another one's", path=str(self.path))
        return manifest

    def _state(self, manifest: Manifest) -> bytes:
        count = -(-manifest.state_bytes // _CHUNK_BYTES)
        with self._file.begin() as txn:
            chunks = [
                txn.get(_CHUNK_KEY.pack(manifest.shard, manifest.height, index), default=b"", db=self._chunks)
                for index in range(count)
            ]
        state = b"".join(chunks)
        del chunks
        found = digest(self._suite, state)
        if len(state) != manifest.state_bytes or found != manifest.state_hash:
            raise CheckpointInvalid(
                manifest.shard,
                manifest.height,
                "its state is damaged",
                path=str(self.path),
                found=f"{len(state)} bytes, {found.hex()}",
                expected=f"{manifest.state_bytes} bytes, {manifest.state_hash.hex()}",
            )
        return state


def _larger(folder: Path, size: int) -> bool:
    data = folder / "data.mdb"
    return data.exists() and data.stat().st_size > size
