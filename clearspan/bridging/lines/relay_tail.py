"""From where the relay must be read to know every secret that it would not reveal again.

The relay refuses a secret that is among the last 65,536 it has revealed (RELAY-20), and takes any older one anew. So
who has read that many on end knows all that matter, wherever he began. It promises a height behind which the blocks,
each verified, hold so many; or the first one, where the last blocks of the relay hold fewer.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import structlog

from bridge.watcher import REVEALS_KEPT_MAX
from clearspan.relay_link.errors import LineLost
from clearspan.relay_link.reader import BlockReader
from engine.types import RelayRecordType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clearspan.relay_link.lines import ValidatorLine
    from engine.genesis import Genesis
    from engine.relay_block import RelayBlock
    from relay.light import LightClient

__all__ = ["TAIL_BLOCKS", "reveals_of", "tail_begin"]

TAIL_BLOCKS: Final = 65_536
"""So many of the newest blocks are searched: on a relay with a reveal in each they are enough."""
_log = structlog.get_logger("clearspan.bridging")


def reveals_of(block: RelayBlock) -> tuple[bytes, ...]:
    """Return the secrets that a block reveals, in order."""
    return tuple(record.payload for record in block.records if record.type is RelayRecordType.REVEAL)


async def tail_begin(
    genesis: Genesis,
    line: ValidatorLine,
    trust: Callable[[], Awaitable[LightClient]],
    head: int,
    *,
    stall_s: float,
    blocks_max: int = TAIL_BLOCKS,
    enough: int = REVEALS_KEPT_MAX,
) -> int:
    """Return the height behind which a validator's blocks hold ``enough`` secrets; 0: read from the first block on.

    ``head`` is the last final height, as validators tell. Raises LineLost, also for one that gives fewer blocks than
    that, BlockForged, and what ``trust`` raises.
    """
    begin, count = max(0, head - blocks_max), 0
    if not begin:
        return 0
    reader = BlockReader(genesis, (), await trust(), begin)
    async with aclosing(line.blocks(begin + 1, follow=False, stall_s=stall_s)) as blocks:  # type: ignore[type-var]
        async for found in blocks:
            count += len(reveals_of(reader.take(found.block, found.certificate, found.statements).block))
            if count >= enough:
                _log.info("relay_read_from", height=begin, reveals=count)
                return begin
    if reader.height < head:
        raise LineLost(line.name, f"it gives no block behind {reader.height}, and {head} is final")
    _log.info("relay_read_from", height=0, reveals=count, blocks=head - begin)
    return 0
