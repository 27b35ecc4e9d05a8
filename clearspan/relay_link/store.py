"""What a node keeps of the relay for its receipts: where each of its headers was anchored, and by which certificate.

It promises to be no more than a copy: everything in it comes from final blocks and from the node's own headers, and is
fetched again when it is lost. What is read from it is checked as any receipt is before it is believed. One thread
writes, one adds headers, any reads.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from engine.block import InclusionPath
from engine.errors import StorageError
from engine.lmdb_examine import DATA_FILE, examine
from engine.lmdb_file import LmdbFile, value_pages
from engine.range_tree import RangeTree, header_leaf, subtrees_added
from engine.types import HASH_BYTES, U64_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import lmdb

    from engine.range_tree import Place

__all__ = ["AnchorEntry", "AnchorStore", "FinalEntry", "Reached"]

_MAP_BYTES_MAX: Final = 1 << 40
_WALK_BYTES_MAX: Final = 1 << 30
_HEIGHT: Final = struct.Struct(">Q")
_ANCHOR_KEY: Final = struct.Struct(">IQ")
_NODE_KEY: Final = struct.Struct(">IBQ")
_SHARD: Final = struct.Struct(">I")
_REACHED: Final = struct.Struct("<QQ")
_ANCHOR: Final = struct.Struct("<QB7xI")
_PARTS: Final = struct.Struct("<II")
_LENGTH: Final = struct.Struct("<I")
_FORMAT_MARK: Final = b"format"
_FORMAT: Final = b"CSRA\x01\x00"
_FOLLOWED_MARK: Final = b"followed"
_SET_MARK: Final = b"set"
_LEAVES_MARK: Final = b"leaves"
_VERIFIED_MARK: Final = b"verified"
_RESUMED_MARK: Final = b"resumed"
_NODE_BYTES: Final = 128
_UNSAVED_MAX: Final = 1_024
"""Subtrees of headers that are only in memory; about half as many headers."""
_log = structlog.get_logger("clearspan.relay_link")


@dataclass(frozen=True, slots=True)
class AnchorEntry:
    """One header of a shard in a final block: which block, its record's path there, and the signed header's bytes.

    ``verified``: the certificate's statements say so.
    """

    shard: int
    height: int
    relay_height: int
    path: InclusionPath
    signed_header: bytes
    verified: bool = False


@dataclass(frozen=True, slots=True)
class FinalEntry:
    """A final block as far as receipts need it: its header of 152 bytes, its certificate, the statements of votes."""

    height: int
    header: bytes
    certificate: bytes
    statements: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a shard has come: a block's height and the last log number that it covers; zeros for none."""

    height: int = 0
    last_number: int = 0


class AnchorStore:
    """The folder ``path``. A file that is not sound is put away and begun anew: validators give all of it again."""

    def __init__(self, path: Path, suite: int) -> None:
        """Open or create; raises DiskFull, StoreFailed."""
        self._suite = suite
        # What was added to the trees and not saved yet: subtrees, and how many headers there are with them. Neither is
        # changed in place: who takes the subtrees before he begins to read the file misses none.
        self._fresh: dict[tuple[int, Place], bytes] = {}
        self._counts: dict[int, int] = {}
        self._lock = threading.Lock()
        data = path / DATA_FILE
        examined = examine(path, walk=not data.exists() or data.stat().st_size <= _WALK_BYTES_MAX)
        if examined.finding:
            _discard(path, examined.finding)
        self._open(path)
        known = self._mark(_FORMAT_MARK)
        if known != _FORMAT and (known is not None or self.followed):
            self._file.close()
            _discard(path, "it is of another version")
            self._open(path)
        if known != _FORMAT:
            self._put([(self._marks, _FORMAT_MARK, _FORMAT)])

    def _open(self, path: Path) -> None:
        self._file = LmdbFile(path, map_bytes_max=_MAP_BYTES_MAX, named_max=4)
        self._finals = self._file.named(b"finals")
        self._anchors = self._file.named(b"anchors")
        self._nodes = self._file.named(b"nodes")
        self._marks = self._file.named(b"marks")

    def close(self) -> None:
        """Save what there is room for, and close the file. Safe to call twice."""
        if self._fresh:
            with contextlib.suppress(StorageError):
                self.save_headers()
        self._file.close()

    # Final blocks.

    def keep(
        self,
        followed: int,
        finals: Sequence[FinalEntry] = (),
        anchors: Sequence[AnchorEntry] = (),
        verified: dict[int, Reached] | None = None,
    ) -> None:
        """Keep, durably and as one, what blocks up to ``followed`` hold of this node's shards. Raises DiskFull."""
        values = [
            *((self._finals, _HEIGHT.pack(each.height), _final_bytes(each)) for each in finals),
            *((self._anchors, _ANCHOR_KEY.pack(each.shard, each.height), _anchor_bytes(each)) for each in anchors),
            *(
                (self._marks, _VERIFIED_MARK + _SHARD.pack(shard), _REACHED.pack(each.height, each.last_number))
                for shard, each in (verified or {}).items()
            ),
            (self._marks, _FOLLOWED_MARK, _HEIGHT.pack(followed)),
        ]
        self._put(values)

    @property
    def followed(self) -> int:
        """The relay height up to which everything is kept, 0 for none."""
        found = self._mark(_FOLLOWED_MARK)
        return 0 if found is None else _HEIGHT.unpack(found)[0]

    def final(self, relay_height: int) -> FinalEntry | None:
        """Return a final block that holds a header of this node, None for one that is not kept."""
        with self._file.begin() as txn:
            value = txn.get(_HEIGHT.pack(relay_height), db=self._finals)
        return None if value is None else _final_of(relay_height, value)

    def anchors_from(self, shard: int, height: int, count_max: int) -> list[AnchorEntry]:
        """Return the anchored headers of a shard at a height or above, ascending, at most so many."""
        found: list[AnchorEntry] = []
        with self._file.begin() as txn, txn.cursor(self._anchors) as cursor:
            more = cursor.set_range(_ANCHOR_KEY.pack(shard, height))
            while more and len(found) < count_max:
                its_shard, its_height = _ANCHOR_KEY.unpack(cursor.key())
                if its_shard != shard:
                    break
                found.append(_anchor_of(shard, its_height, cursor.value()))
                more = cursor.next()
        return found

    def newest_anchor(self, shard: int) -> AnchorEntry | None:
        """Return the anchored header of the greatest height of a shard, None before the first."""
        with self._file.begin() as txn, txn.cursor(self._anchors) as cursor:
            found = cursor.prev() if cursor.set_range(_ANCHOR_KEY.pack(shard, U64_MAX)) else cursor.last()
            if not found:
                return None
            its_shard, height = _ANCHOR_KEY.unpack(cursor.key())
            return _anchor_of(shard, height, cursor.value()) if its_shard == shard else None

    def forget_above(self, shard: int, reached: Reached) -> None:
        """Forget what was anchored of a shard above a height, durably: it was false. Raises DiskFull."""
        mark = _VERIFIED_MARK + _SHARD.pack(shard)

        def forget(txn: lmdb.Transaction[bytes]) -> None:
            with txn.cursor(self._anchors) as cursor:
                more = cursor.set_range(_ANCHOR_KEY.pack(shard, reached.height + 1))
                while more and _ANCHOR_KEY.unpack(cursor.key())[0] == shard:
                    more = cursor.delete()
            verified = txn.get(mark, db=self._marks)
            if verified is not None and _REACHED.unpack(verified)[0] > reached.height:
                txn.put(mark, _REACHED.pack(reached.height, reached.last_number), db=self._marks)
            base = _REACHED.pack(reached.height, reached.last_number)
            txn.put(_RESUMED_MARK + _SHARD.pack(shard), base, db=self._marks)

        self._file.write(forget, pages=1)

    def resumed(self, shard: int) -> Reached:
        """Return after which header a shard went on when it was last resumed, zeros for never."""
        found = self._mark(_RESUMED_MARK + _SHARD.pack(shard))
        return Reached() if found is None else Reached(*_REACHED.unpack(found))

    def verified(self, shard: int) -> Reached:
        """Return how far a shard is verified."""
        found = self._mark(_VERIFIED_MARK + _SHARD.pack(shard))
        return Reached() if found is None else Reached(*_REACHED.unpack(found))

    # Validator sets.

    def keep_set(self, set_id: int, proof: bytes) -> None:
        """Keep the proof of a change of set (RELAY-60)."""
        self._put([(self._marks, _SET_MARK + _HEIGHT.pack(set_id), proof)])

    def set_proofs(self, after: int = 0) -> list[bytes]:
        """Return the proofs of the changes to sets above ``after``, in order."""
        found = []
        with self._file.begin() as txn, txn.cursor(self._marks) as cursor:
            more = cursor.set_range(_SET_MARK + _HEIGHT.pack(after + 1))
            while more and bytes(cursor.key()).startswith(_SET_MARK):
                found.append(bytes(cursor.value()))
                more = cursor.next()
        return found

    # The node's own headers.

    def leaf_count(self, shard: int) -> int:
        """Return how many headers of a shard stand in its tree."""
        unsaved = self._counts.get(shard)
        if unsaved is not None:
            return unsaved
        found = self._mark(_LEAVES_MARK + _SHARD.pack(shard))
        return 0 if found is None else _HEIGHT.unpack(found)[0]

    def add_headers(self, hashes: Mapping[int, Sequence[bytes]]) -> bool:
        """Add the hashes of each shard's next headers to its tree; return whether it is time for ``save_headers``.

        They are saved with what is kept next. Those that were not yet saved are in the node's own chain.
        """
        for shard, some in hashes.items():
            count = self.leaf_count(shard)
            fresh: dict[Place, bytes] = {}
            with self._reading(shard) as read:
                for index, header_hash in enumerate(some, start=count):
                    fresh |= subtrees_added(self._suite, index, header_leaf(self._suite, header_hash), read, fresh)
            with self._lock:
                self._fresh = self._fresh | {(shard, place): node for place, node in fresh.items()}
                self._counts = self._counts | {shard: count + len(some)}
        return len(self._fresh) >= _UNSAVED_MAX

    def save_headers(self) -> None:
        """Save what was added to the trees, durably and as one. Raises DiskFull."""
        self._put([])

    def range_path(self, shard: int, height: int, later: int) -> InclusionPath:
        """Return the path of a shard's header at a height under the root of the header at a later height.

        Raises KeyError when the tree does not hold so many headers yet.
        """
        with self._reading(shard) as read:
            return RangeTree(self._suite, read).path(height - 1, later - 1)

    # Parts.

    @contextlib.contextmanager
    def _reading(self, shard: int) -> Iterator[Callable[[Place], bytes]]:
        """Give what reads the subtrees of a shard's tree; it raises KeyError for one that is not there."""
        fresh = self._fresh
        with self._file.begin() as txn:

            def read(place: Place) -> bytes:
                found = fresh.get((shard, place)) or txn.get(_NODE_KEY.pack(shard, *place), db=self._nodes)
                if found is None or len(found) != HASH_BYTES:
                    raise KeyError(place)
                return bytes(found)

            yield read

    def _mark(self, name: bytes) -> bytes | None:
        with self._file.begin() as txn:
            found = txn.get(name, db=self._marks)
        return None if found is None else bytes(found)

    def _put(self, values: Sequence[tuple[lmdb._Database, bytes, bytes]]) -> None:
        """Write values, durably and as one with what was added to the trees."""
        with self._lock:
            fresh, counts = self._fresh, self._counts
        values = [
            *values,
            *((self._nodes, _NODE_KEY.pack(shard, *place), node) for (shard, place), node in fresh.items()),
            *((self._marks, _LEAVES_MARK + _SHARD.pack(shard), _HEIGHT.pack(count)) for shard, count in counts.items()),
        ]

        def put(txn: lmdb.Transaction[bytes]) -> None:
            for database, key, value in values:
                txn.put(key, value, db=database)

        small = sum(len(value) <= _NODE_BYTES for _, _, value in values)
        large = sum(value_pages(len(value)) for _, _, value in values if len(value) > _NODE_BYTES)
        self._file.write(put, pages=large + 2 + small // 8)
        with self._lock:
            self._fresh = {at: node for at, node in self._fresh.items() if at not in fresh}
            self._counts = {shard: count for shard, count in self._counts.items() if counts.get(shard) != count}


def _discard(path: Path, reason: str) -> None:
    _log.warning("anchors_discarded", path=str(path), reason=reason)
    shutil.rmtree(path)


def _final_bytes(entry: FinalEntry) -> bytes:
    head = _PARTS.pack(len(entry.certificate), len(entry.statements))
    return head + entry.header + entry.certificate + b"".join(_LENGTH.pack(len(s)) + s for s in entry.statements)


def _final_of(height: int, value: bytes) -> FinalEntry:
    certificate_bytes, count = _PARTS.unpack_from(value)
    at = _PARTS.size + 152
    header, certificate = value[_PARTS.size : at], value[at : at + certificate_bytes]
    at += certificate_bytes
    statements = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(value, at)
        statements.append(bytes(value[at + _LENGTH.size : at + _LENGTH.size + length]))
        at += _LENGTH.size + length
    return FinalEntry(height, bytes(header), bytes(certificate), tuple(statements))


def _anchor_bytes(entry: AnchorEntry) -> bytes:
    path = entry.path.encode()
    return _ANCHOR.pack(entry.relay_height, entry.verified, len(path)) + path + entry.signed_header


def _anchor_of(shard: int, height: int, value: bytes) -> AnchorEntry:
    relay_height, verified, length = _ANCHOR.unpack_from(value)
    end = _ANCHOR.size + length
    path, _ = InclusionPath.decode_prefix(memoryview(value)[_ANCHOR.size : end])
    return AnchorEntry(shard, height, relay_height, path, bytes(value[end:]), bool(verified))
