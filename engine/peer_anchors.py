"""What a shard knows of its peers' anchored headers, from the relay blocks it has consumed (CHANNEL-6).

It promises a pure function of those blocks and one canonical form. A credit of a peer on another node is applied only
under the anchor that stands here; whether a relay block is final is its giver's to know.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from engine.governance import Resume
from engine.refusals import EncodingError
from engine.types import RelayRecordType
from native.hashing import leaf_hash, merkle_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from typing_extensions import Buffer

    from engine.header import Header
    from engine.relay_block import RelayBlock

__all__ = ["PEER_ANCHOR_BYTES", "PeerAnchor", "PeerAnchors"]

_ANCHOR: Final = struct.Struct("<QQQ32s32s")
_CHANNEL: Final = struct.Struct("<IIQQ")
_SHARD: Final = struct.Struct("<I")
# In a signed header: its length, then magic, version and hash suite of the header.
_SHARD_OFFSET: Final = 12
PEER_ANCHOR_BYTES: Final = _ANCHOR.size
assert PEER_ANCHOR_BYTES == 88


@dataclass(frozen=True, slots=True)
class PeerAnchor:
    """A peer's newest anchored header, as far as this shard needs it.

    ``sent`` is the last sequence that it sent to this shard, ``received`` the last one that it received from it.
    """

    height: int
    sent: int
    received: int
    header_hash: bytes
    headers_root: bytes

    @classmethod
    def of(cls, header: Header, shard: int) -> Self:
        """Take from a header what concerns its channel with ``shard``."""
        sent, received = next(((each.sent, each.received) for each in header.channels if each.peer == shard), (0, 0))
        return cls(header.height, sent, received, header.hash, header.headers_root)

    def encode(self) -> bytes:
        """Return the 88 bytes."""
        return _ANCHOR.pack(self.height, self.sent, self.received, self.header_hash, self.headers_root)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 88 bytes; raises EncodingError for another length, or height 0."""
        view = memoryview(data).cast("B")
        if view.nbytes != _ANCHOR.size:
            raise EncodingError("peer anchor bytes", view.nbytes, _ANCHOR.size)
        anchor = cls(*_ANCHOR.unpack(view))
        if not anchor.height:
            raise EncodingError("peer anchor height", 0, "at least 1")
        return anchor


class PeerAnchors:
    """The newest anchor of each peer shard that has one."""

    __slots__ = ("_anchors", "_peers", "_shard")

    def __init__(self, shard: int, peers: Iterable[int]) -> None:
        """Know nothing yet."""
        self._shard = shard
        self._peers = tuple(peers)
        self._anchors: dict[int, PeerAnchor] = {}

    def __len__(self) -> int:
        return len(self._anchors)

    def get(self, peer: int) -> PeerAnchor | None:
        """Return a peer's anchor, None before its first."""
        return self._anchors.get(peer)

    def read(self, block: RelayBlock) -> dict[int, PeerAnchor | None]:
        """Return what a relay block says of the peers' anchors, by peer; nothing is noted yet.

        A header record anchors its header. A resume (RELAY-37) makes its header the newest anchored one, or none.
        """
        found: dict[int, PeerAnchor | None] = {}
        for record in block.records:
            if record.type is RelayRecordType.HEADER:
                # A relay block holds headers of all shards of the network: only the peers' are read.
                (peer,) = _SHARD.unpack_from(record.payload, _SHARD_OFFSET)
                if peer in self._peers:
                    found[peer] = PeerAnchor.of(record.signed_header().header, self._shard)
            elif record.type is RelayRecordType.PARAMETER:
                parameter = record.parameter()
                if isinstance(parameter, Resume) and parameter.shard in self._peers:
                    resumed = parameter.header
                    found[parameter.shard] = None if resumed is None else PeerAnchor.of(resumed, self._shard)
        return found

    def note(self, found: Mapping[int, PeerAnchor | None]) -> None:
        """Let what was read be what is known."""
        for peer, anchor in found.items():
            if anchor is None:
                self._anchors.pop(peer, None)
            else:
                self._anchors[peer] = anchor

    def channels_root(self, suite: int, channel: Callable[[int], tuple[int, int]]) -> bytes:
        """Return the root of the channels (LEDGER-70): a peer's cursors, and its anchor where it has one."""
        leaves = []
        for peer in self._peers:
            anchor = self._anchors.get(peer)
            leaf = _CHANNEL.pack(peer, 0, *channel(peer)) + (b"" if anchor is None else anchor.encode())
            leaves.append(leaf_hash(suite, leaf))
        return merkle_root(suite, b"".join(leaves))

    def items(self) -> list[tuple[int, PeerAnchor]]:
        """Return (peer, anchor), peers ascending."""
        return sorted(self._anchors.items())

    def restore(self, anchors: Iterable[tuple[int, PeerAnchor]]) -> None:
        """Fill an empty one; raises EncodingError for what is no shard's peer, or not ascending."""
        last = -1
        for peer, anchor in anchors:
            if peer <= last or peer not in self._peers:
                raise EncodingError("peer anchor's shard", peer, f"a peer of {self._shard}, above {last}")
            self._anchors[peer] = anchor
            last = peer
