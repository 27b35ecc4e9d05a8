"""What a node's shards sent to shards on other nodes, out of the blocks that sent it, with its proof.

It promises that whatever a sealed block sent can be asked for until the destination has it, and after: it is read from
the kept blocks, which a restart builds anew from the log, and nothing else is remembered. One thread reads at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from engine.header import Header, SignedHeader
from engine.outgoing import Outgoing, OutgoingRange
from engine.proved_credits import ProvedCredits
from engine.range_tree import Place, RangeTree, header_leaf, subtrees_added
from shards.errors import BlockMissing

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.block import InclusionPath
    from engine.chain import ChainBlock
    from shards.neighbours import CreditsWanted

__all__ = ["BlockReader", "Outbox"]

# A mebibyte of messages: a record of the log that is applied in a few ms, and one message on any wire.
_MESSAGES_MAX: Final = 8_192


class BlockReader(Protocol):
    """The kept blocks of this node's shards."""

    def get(self, shard: int, height: int) -> ChainBlock | None:
        """Return the block at a height, None where there is none."""
        ...


class Outbox:
    """Answers ``CreditsWanted`` for the shards of one node."""

    def __init__(
        self,
        suite: int,
        blocks: BlockReader,
        *,
        range_path: Callable[[int, int, int], InclusionPath] | None = None,
        messages_max: int = _MESSAGES_MAX,
    ) -> None:
        """Stand before kept blocks; ``messages_max`` bounds one answer.

        ``range_path`` (shard, height, later height) gives the path of a header under the root of earlier headers of a
        later one, out of a store; without it all headers up to there are read once and kept as hashes.
        """
        self._suite = suite
        self._blocks = blocks
        self._range_path = range_path or self._path
        self._messages_max = messages_max
        self._trees: dict[int, _HeaderTree] = {}

    def outgoing_since(self, wanted: CreditsWanted) -> ProvedCredits | None:
        """Return the next credits of a channel, at most those of one block; None where there are none.

        None too where this node does not have the anchored height (yet). Raises BlockMissing where a block that it must
        have is missing, or was kept without what it sent.
        """
        source, peer, top = wanted.source, wanted.destination, wanted.anchored_height
        anchored = self._blocks.get(source, top)
        if anchored is None or not 1 <= wanted.sequence <= _sent(_header_of(anchored), peer):
            return None
        height = self._sent_by(source, peer, wanted.sequence, top)
        block = self._block(source, height)
        header = _header_of(block)
        found = self._range(block, header, wanted)
        return ProvedCredits(
            source=source,
            first_sequence=int.from_bytes(found.messages[:8], "little"),
            messages=found.messages,
            anchored_height=top,
            header=header,
            parent=None if height == 1 else _header_of(self._block(source, height - 1)),
            range_path=found.path,
            header_path=() if height == top else self._range_path(source, height, top).path,
        )

    def _range(self, block: ChainBlock, header: Header, wanted: CreditsWanted) -> OutgoingRange:
        outgoing = Outgoing.decode(block.outgoing)
        found = None
        if outgoing.count == header.outgoing_count:
            found = outgoing.range_to(self._suite, wanted.destination, wanted.sequence, self._messages_max)
        if found is None:
            raise BlockMissing(block.shard, block.height, "it was kept without what it sent")
        return found

    def _sent_by(self, source: int, peer: int, sequence: int, top: int) -> int:
        """Return the height of the block that sent a message: the first that has sent so many. By bisection."""
        low, high = 1, top
        while low < high:
            middle = (low + high) // 2
            if _sent(_header_of(self._block(source, middle)), peer) < sequence:
                low = middle + 1
            else:
                high = middle
        return low

    def _path(self, source: int, height: int, top: int) -> InclusionPath:
        tree = self._trees.setdefault(source, _HeaderTree(self._suite))
        while tree.count < top - 1:
            tree.append(_header_of(self._block(source, tree.count + 1)).hash)
        return tree.path(height - 1, top - 1)

    def _block(self, shard: int, height: int) -> ChainBlock:
        block = self._blocks.get(shard, height)
        if block is None:
            raise BlockMissing(shard, height, "it is not kept")
        return block


class _HeaderTree:
    """The headers of a shard as a tree that only grows: 64 bytes of memory for each, made anew after a restart."""

    def __init__(self, suite: int) -> None:
        self._suite = suite
        self._levels: list[bytearray] = []
        self.count = 0

    def append(self, header_hash: bytes) -> None:
        leaf = header_leaf(self._suite, header_hash)
        for (level, _), node in subtrees_added(self._suite, self.count, leaf, self._read, {}).items():
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += node
        self.count += 1

    def path(self, index: int, count: int) -> InclusionPath:
        return RangeTree(self._suite, self._read).path(index, count)

    def _read(self, place: Place) -> bytes:
        level, index = place
        return bytes(self._levels[level][32 * index : 32 * index + 32])


def _header_of(block: ChainBlock) -> Header:
    return SignedHeader.decode(block.signed_header).header


def _sent(header: Header, peer: int) -> int:
    return next((each.sent for each in header.channels if each.peer == peer), 0)
