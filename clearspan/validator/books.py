"""What a validator keeps on disk: the chain of final blocks, and its own word (votes), each in a store of its own.

It promises that what was kept is what is read, or a named error; that a height has one block; and that the vote record
on the disk is the one that was handed over last. A store that failed a write is not written again (StoreFailed).

The chain's store may begin anywhere and may have one gap: a validator that was away for long goes on from a checkpoint,
and ``lowest`` is where the blocks begin that reach to the newest one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from engine.errors import ChainDamaged, HeaderConflict
from engine.hashing import digest
from engine.lmdb_examine import DATA_FILE, examine
from engine.lmdb_file import LmdbFile, value_pages
from engine.types import HASH_BYTES, HashSuite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import lmdb

__all__ = ["BookEntry", "ChainBook", "VoteBook"]

_KEY: Final = struct.Struct(">Q")
_ENTRY: Final = struct.Struct("<4sHHQI")
_LENGTH: Final = struct.Struct("<I")
_ENTRY_MAGIC: Final = b"CSRE"
_ENTRY_VERSION: Final = 1
_PARTS_MIN: Final = 3
_CHAIN_BYTES_MAX: Final = 1 << 40
_VOTES_BYTES_MAX: Final = 1 << 30
# Beyond this the examination reads the meta pages alone: each value still carries its own digest.
_WALK_BYTES_MAX: Final = 256 << 20
_VOTE_KEY: Final = b"record"
_LOWEST_MARK: Final = b"lowest"
_SET_MARK: Final = b"set"
_SET_ID: Final = struct.Struct(">Q")
_STATES_KEPT: Final = 2
_EVIDENCE_MAX: Final = 4096
_PRUNED_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class BookEntry:
    """A final block as bytes, its certificate, transcript and known statements; ``generation`` is the votes'.

    ``set_id`` is that of a validator set announced in the block, 0 for none; it is an index and not kept in the entry.
    """

    height: int
    generation: int
    block: bytes
    certificate: bytes
    transcript: bytes
    statements: tuple[bytes, ...] = ()
    set_id: int = 0

    def encode(self) -> bytes:
        """Return the entry's bytes, the last 32 of which are the SHA-256 of what is before them."""
        parts = (self.block, self.certificate, self.transcript, *self.statements)
        head = _ENTRY.pack(_ENTRY_MAGIC, _ENTRY_VERSION, 0, self.generation, len(parts))
        body = head + b"".join(_LENGTH.pack(len(part)) + part for part in parts)
        return body + digest(HashSuite.SHA256, body)


class ChainBook:
    """Final blocks by height, and now and then the relay's state. One thread writes; any thread reads."""

    def __init__(self, path: Path, *, map_bytes_max: int = _CHAIN_BYTES_MAX, history_blocks: int = 0) -> None:
        """Open or create; ``history_blocks`` are kept, 0: all.

        Raises ChainDamaged when the file is not sound, DiskFull, StoreFailed.
        """
        self.path = path
        _demand_sound(path)
        self._history_blocks = history_blocks
        self._file = LmdbFile(path, map_bytes_max=map_bytes_max, named_max=4)
        self._blocks = self._file.named(b"blocks")
        self._states = self._file.named(b"states")
        self._marks = self._file.named(b"marks")
        self._evidence = self._file.named(b"evidence")
        self._lowest = self._read_lowest()

    def append(self, *entries: BookEntry) -> None:
        """Keep blocks, durably, all or none. One that is there already is not written again.

        Raises HeaderConflict for another block at a height, ChainDamaged for a gap, DiskFull and StoreFailed.
        """
        last, fresh = self.last_height(), []
        for entry in entries:
            if entry.height <= last:
                if self._entry(entry.height).block != entry.block:
                    raise HeaderConflict(str(self.path), "another final block", shard=0, height=entry.height)
                continue
            # After a restart at a checkpoint the next block is the one that the mark names.
            if last and entry.height not in (last + 1, self._lowest):
                raise ChainDamaged(str(self.path), f"block {entry.height} after {last}", height=entry.height)
            last = entry.height
            fresh.append(entry)
        if fresh:
            self._write(fresh)

    def _write(self, fresh: Sequence[BookEntry]) -> None:
        values = [(_KEY.pack(entry.height), entry.encode(), entry.set_id) for entry in fresh]
        lowest = self._lowest or fresh[0].height
        drop_below = min(max(lowest, self._drop_below(fresh[-1].height)), lowest + _PRUNED_AT_ONCE)
        # A block that announced a set is what leads others from set to set.
        announcing = self._announcing() if drop_below > lowest else frozenset()

        def put(txn: lmdb.Transaction[bytes]) -> None:
            for key, value, set_id in values:
                txn.put(key, value, db=self._blocks, append=True)
                if set_id:
                    txn.put(_SET_MARK + _SET_ID.pack(set_id), key, db=self._marks)
            for height in range(lowest, drop_below):
                if height in announcing:
                    continue
                txn.delete(_KEY.pack(height), db=self._blocks)
            if drop_below != self._lowest:
                txn.put(_LOWEST_MARK, _KEY.pack(drop_below), db=self._marks)

        self._file.write(put, pages=sum(value_pages(len(value)) for _, value, _ in values))
        self._lowest = drop_below

    def _drop_below(self, last: int) -> int:
        """Return the height below which blocks may go: beyond the history, and before the newest checkpoint's record.

        Whoever comes with nothing begins at that checkpoint, and needs every block after it.
        """
        states = self.state_heights()
        if not self._history_blocks or not states:
            return 0
        return min(last - self._history_blocks + 1, next((each for each in states if each < last), 0) + 1)

    def _announcing(self) -> frozenset[int]:
        with self._file.begin() as txn, txn.cursor(self._marks) as cursor:
            found = cursor.set_range(_SET_MARK)
            heights = [_KEY.unpack(value)[0] for key, value in cursor if key.startswith(_SET_MARK)] if found else []
        return frozenset(heights)

    def restart(self, height: int, state: bytes) -> None:
        """Go on after a checkpoint's height: keep its state; the next block is ``height`` + 1, even over a gap."""
        self.keep_state(height, state)
        mark = _KEY.pack(height + 1)
        self._file.write(lambda txn: txn.put(_LOWEST_MARK, mark, db=self._marks), pages=1)
        self._lowest = height + 1

    @property
    def lowest(self) -> int:
        """The height from which on there is no gap up to the newest block; 1 while there is none."""
        return self._lowest or 1

    def set_height(self, set_id: int) -> int | None:
        """Return the height of the block that announced a set, None where it is not here."""
        with self._file.begin() as txn:
            found = txn.get(_SET_MARK + _SET_ID.pack(set_id), db=self._marks)
        return None if found is None else _KEY.unpack(found)[0]

    def last_set_id(self) -> int:
        """Return the id of the newest set announced in a block here, 0 for none."""
        with self._file.begin() as txn, txn.cursor(self._marks) as cursor:
            found = bytes(cursor.key()) if cursor.last() else b""
        return _SET_ID.unpack(found[len(_SET_MARK) :])[0] if found.startswith(_SET_MARK) else 0

    def keep_evidence(self, name: bytes, record: bytes) -> bool:
        """Keep a proof of guilt by its digest; False when it is known, or more than 4,096 are kept."""
        with self._file.begin() as txn:
            known = txn.get(name, db=self._evidence) is not None
            full = txn.stat(self._evidence)["entries"] >= _EVIDENCE_MAX
        if known or full:
            return False
        self._file.write(lambda txn: txn.put(name, record, db=self._evidence), pages=value_pages(len(record)))
        return True

    def evidence(self) -> list[bytes]:
        """Return all proofs of guilt that were kept."""
        with self._file.begin() as txn, txn.cursor(self._evidence) as cursor:
            return [bytes(value) for value in cursor.iternext(keys=False, values=True)]

    def last_height(self) -> int:
        """Return the newest height, 0 before the first."""
        with self._file.begin() as txn, txn.cursor(self._blocks) as cursor:
            return _KEY.unpack(cursor.key())[0] if cursor.last() else 0

    def get(self, height: int) -> BookEntry | None:
        """Return the block at a height, None where there is none; raises ChainDamaged."""
        with self._file.begin() as txn:
            value = txn.get(_KEY.pack(height), db=self._blocks)
        return None if value is None else self._read(height, value)

    def range(self, from_height: int, to_height: int) -> Iterator[BookEntry]:
        """Yield the blocks of these heights, both ends included, as far as there are any; raises ChainDamaged."""
        for height in range(max(1, from_height), to_height + 1):
            entry = self.get(height)
            if entry is None:
                return
            yield entry

    def keep_state(self, height: int, state: bytes) -> None:
        """Keep the relay's state after a height in place of older ones but the one before."""
        value = state + digest(HashSuite.SHA256, state)

        def replace(txn: lmdb.Transaction[bytes]) -> None:
            txn.put(_KEY.pack(height), value, db=self._states)
            with txn.cursor(self._states) as cursor:
                heights = [bytes(key) for key in cursor.iternext(keys=True, values=False)]
            for key in heights[:-_STATES_KEPT]:
                txn.delete(key, db=self._states)

        self._file.write(replace, pages=value_pages(len(value)))

    def state_heights(self) -> list[int]:
        """Return the heights of the states kept, newest first."""
        with self._file.begin() as txn, txn.cursor(self._states) as cursor:
            return [_KEY.unpack(bytes(key))[0] for key in cursor.iterprev(keys=True, values=False)]

    def states(self) -> Sequence[tuple[int, bytes]]:
        """Return the states kept, newest first; one whose bytes are not what was kept is left out."""
        with self._file.begin() as txn, txn.cursor(self._states) as cursor:
            found = [(_KEY.unpack(key)[0], bytes(value)) for key, value in cursor.iterprev()]
        return [
            (height, value[:-HASH_BYTES])
            for height, value in found
            if digest(HashSuite.SHA256, value[:-HASH_BYTES]) == value[-HASH_BYTES:]
        ]

    def room_bytes(self) -> int:
        """Return what may still be written."""
        return self._file.room_bytes()

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()

    def _read_lowest(self) -> int:
        """Return the mark, 0 before the first block."""
        with self._file.begin() as txn:
            found = txn.get(_LOWEST_MARK, db=self._marks)
        return 0 if found is None else _KEY.unpack(found)[0]

    def _entry(self, height: int) -> BookEntry:
        entry = self.get(height)
        if entry is None:
            raise ChainDamaged(str(self.path), "missing", height=height)
        return entry

    def _read(self, height: int, value: bytes) -> BookEntry:
        body = value[:-HASH_BYTES]
        if len(body) < _ENTRY.size or digest(HashSuite.SHA256, body) != value[-HASH_BYTES:]:
            raise ChainDamaged(str(self.path), "not what was kept", height=height)
        magic, version, _, generation, count = _ENTRY.unpack_from(body)
        if (magic, version) != (_ENTRY_MAGIC, _ENTRY_VERSION) or count < _PARTS_MIN:
            raise ChainDamaged(str(self.path), "unknown version", height=height)
        parts, at = [], _ENTRY.size
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(body, at)
            at += _LENGTH.size
            parts.append(body[at : at + length])
            at += length
        block, certificate, transcript, *statements = parts
        return BookEntry(height, generation, block, certificate, transcript, tuple(statements))


class VoteBook:
    """The vote record: one value, replaced whole and durable when ``write`` returns."""

    def __init__(self, path: Path) -> None:
        """Open or create; raises ChainDamaged when the file is not sound, DiskFull, StoreFailed."""
        _demand_sound(path)
        self._file = LmdbFile(path, map_bytes_max=_VOTES_BYTES_MAX, named_max=1)
        self._votes = self._file.named(b"votes")

    def read(self) -> bytes | None:
        """Return the record, None before the first."""
        with self._file.begin() as txn:
            value = txn.get(_VOTE_KEY, db=self._votes)
        return None if value is None else bytes(value)

    def write(self, record: bytes) -> None:
        """Replace the record, durably; raises DiskFull with the old one kept, StoreFailed."""
        self._file.write(lambda txn: txn.put(_VOTE_KEY, record, db=self._votes), pages=value_pages(len(record)))

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._file.close()


def _demand_sound(path: Path) -> None:
    data = path / DATA_FILE
    examined = examine(path, walk=not data.exists() or data.stat().st_size <= _WALK_BYTES_MAX)
    if examined.finding:
        raise ChainDamaged(str(path), examined.finding)
