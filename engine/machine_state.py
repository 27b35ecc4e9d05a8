"""The state of a machine as bytes: what a checkpoint holds besides its manifest, in one canonical form."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from engine.admin_window import ENTRY, AdminEntry
from engine.parties import KEY_LEAF, PARTICIPANT_LEAF, Key, Participant
from engine.peer_anchors import PEER_ANCHOR_BYTES, PeerAnchor
from engine.refusals import EncodingError
from engine.types import HASH_BYTES
from native.errors import NativeError
from native.hashing import Frontier

if TYPE_CHECKING:
    from engine.admin_window import AdminWindow
    from engine.chain_position import ChainPosition
    from engine.parties import Parties
    from engine.peer_anchors import PeerAnchors
    from native.ledger import LedgerState

__all__ = ["MACHINE_STATE_MAGIC", "MACHINE_STATE_VERSION", "export_machine", "load_machine"]

MACHINE_STATE_MAGIC: Final = b"CSMS"
# With anchors of peers; a state without any is written in the version before, which is still read.
MACHINE_STATE_VERSION: Final = 2
_VERSION_WITHOUT_ANCHORS: Final = 1
# magic, version, zero, shard, epoch, time, log number, record hash, height, header hash, count of earlier headers
_HEAD: Final = struct.Struct("<4sHHIIQQ32sQ32sQ")
_COUNT: Final = struct.Struct("<Q")
_BUCKET: Final = struct.Struct("<Q32sQ")
_PEER: Final = struct.Struct("<II")


def export_machine(  # noqa: PLR0917 - the parts of a machine
    shard: int, chain: ChainPosition, parties: Parties, window: AdminWindow, ledger: LedgerState, anchors: PeerAnchors
) -> bytes:
    """Return the bytes of a state right after a seal: position, headers, parties, admin ids, ledger, anchors."""
    parts = [
        _HEAD.pack(
            MACHINE_STATE_MAGIC,
            MACHINE_STATE_VERSION if len(anchors) else _VERSION_WITHOUT_ANCHORS,
            0,
            shard,
            chain.epoch,
            chain.time,
            chain.number,
            chain.record_hash,
            chain.height,
            chain.parent_hash,
            chain.headers.count,
        ),
        *chain.headers.peaks(),
        _COUNT.pack(len(parties.participants)),
        *(participant.encode() for participant in parties.participants),
        _COUNT.pack(len(parties.keys)),
        *(key.encode() for key in parties.keys),
        _COUNT.pack(len(window.buckets)),
    ]
    for number, bucket in sorted(window.buckets.items()):
        parts.append(_BUCKET.pack(number, bucket.digest, len(bucket.entries)))
        parts.extend(entry.encode() for entry in bucket.entries)
    parts.append(_COUNT.pack(ledger.export_bytes))
    after: list[bytes] = []
    if len(anchors):
        after.append(_COUNT.pack(len(anchors)))
        after += [_PEER.pack(peer, 0) + anchor.encode() for peer, anchor in anchors.items()]
    # Hundreds of MB while all rounds wait: they are put in their place at once, and not joined afterwards.
    return ledger.export(b"".join(parts), b"".join(after))


class _Cursor:
    """Reads forward through bytes and refuses to read past their end."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self._at = 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > self._view.nbytes:
            raise EncodingError("machine state bytes", self._view.nbytes, f"at least {end}")
        piece = self._view[self._at : end].tobytes()
        self._at = end
        return piece

    def count(self) -> int:
        return int(_COUNT.unpack(self.take(_COUNT.size))[0])

    def anchor(self) -> tuple[int, PeerAnchor]:
        peer, zero = _PEER.unpack(self.take(_PEER.size))
        if zero:
            raise EncodingError("peer anchor padding", zero, 0)
        return peer, PeerAnchor.decode(self.take(PEER_ANCHOR_BYTES))

    def end(self) -> None:
        if self._at != self._view.nbytes:
            raise EncodingError("machine state bytes", self._view.nbytes, self._at)


def load_machine(  # noqa: PLR0917 - the parts of a machine, filled in place
    data: bytes,
    suite: int,
    shard: int,
    parties: Parties,
    window: AdminWindow,
    chain: ChainPosition,
    anchors: PeerAnchors,
) -> bytes:
    """Fill empty parts from exported bytes; return those of the ledger. Raises EncodingError."""
    cursor = _Cursor(data)
    magic, version, zero, its_shard, epoch, time, number, record_hash, height, parent_hash, earlier = _HEAD.unpack(
        cursor.take(_HEAD.size)
    )
    known = version in (_VERSION_WITHOUT_ANCHORS, MACHINE_STATE_VERSION)
    if not known or (magic, zero, its_shard) != (MACHINE_STATE_MAGIC, 0, shard):
        found = (magic, version, zero, its_shard)
        raise EncodingError("machine state head", found, (MACHINE_STATE_MAGIC, MACHINE_STATE_VERSION, 0, shard))
    if earlier != height:
        raise EncodingError("machine state headers", earlier, height)
    chain.epoch, chain.time, chain.number, chain.record_hash = epoch, time, number, record_hash
    chain.height, chain.parent_hash = height, parent_hash
    try:
        peaks = [cursor.take(HASH_BYTES) for _ in range(int(earlier).bit_count())]
        chain.headers = Frontier.from_peaks(suite, earlier, peaks)
        participants = [Participant.decode(cursor.take(PARTICIPANT_LEAF.size)) for _ in range(cursor.count())]
        parties.restore([Key.decode(cursor.take(KEY_LEAF.size)) for _ in range(cursor.count())], participants)
    except NativeError as error:
        raise EncodingError("machine state", str(error), "headers and keys of a machine") from error
    for _ in range(cursor.count()):
        bucket, bucket_digest, entries = _BUCKET.unpack(cursor.take(_BUCKET.size))
        window.restore(bucket, bucket_digest, [AdminEntry.decode(cursor.take(ENTRY.size)) for _ in range(entries)])
    ledger = cursor.take(cursor.count())
    if version == MACHINE_STATE_VERSION:
        anchors.restore(cursor.anchor() for _ in range(cursor.count()))
        if not len(anchors):
            raise EncodingError("machine state anchors", 0, "at least 1")
    cursor.end()
    return ledger
