"""What this validator executed and holds of the shards it follows: the source of its statements (RELAY-5).

Bounded: the newest heights of each shard, and the shards last spoken of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from engine.types import RelayRecordType
from engine.validators import Statement

if TYPE_CHECKING:
    from engine.relay_block import RelayBlock

__all__ = ["Followed"]

_HEIGHTS_MAX: Final = 64
_SHARDS_MAX: Final = 65_536


@dataclass(slots=True)
class Followed:
    """By shard and height: the header hash that re-execution came to, and whether the bodies are kept."""

    shards: dict[int, dict[int, tuple[bytes, bool]]] = field(default_factory=dict)

    def note(self, shard: int, height: int, header_hash: bytes, *, held: bool) -> None:
        """Note a header whose shard was executed up to it with the same roots."""
        heights = self.shards.setdefault(shard, {})
        heights[height] = (header_hash, held)
        while len(heights) > _HEIGHTS_MAX:
            del heights[min(heights)]
        if len(self.shards) > _SHARDS_MAX:
            del self.shards[next(iter(self.shards))]

    def statement(self, block: RelayBlock) -> Statement:
        """Return what may be said of a block's header records, in their order."""
        headers = [record for record in block.records if record.type is RelayRecordType.HEADER]
        if not self.shards or not headers:
            return Statement.of(len(headers))
        executed, held = [], []
        for index, record in enumerate(headers):
            header = record.signed_header().header
            header_hash, keeps = self.shards.get(header.shard, {}).get(header.height, (b"", False))
            if header_hash == header.hash:
                executed.append(index)
                held += [index] if keeps else []
        return Statement.of(len(headers), executed, held)
