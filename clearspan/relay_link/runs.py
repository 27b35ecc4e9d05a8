"""Runs over shards on their way to the relay: proven under anchored headers, handed in, and proven anew if need be.

It promises that nothing waits for a run: a proof holds under the headers that were anchored of late (DECISION-4), so
newer ones are offered all the while, and a run that no validator decides ends by its deadline.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from clearspan.relay_link.errors import LineLost
from engine.relay_block import run_decision_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clearspan.relay_link.ports import Line, Lines, LinkedNode
    from engine.block import InclusionPath

__all__ = ["RunDesk"]

_AGAIN_EVERY: Final = 8
"""Anchors of this node after which a run that is still undecided is proven anew: half of what a proof may be behind."""
_log = structlog.get_logger("clearspan.relay_link")


class RunDesk:
    """``path`` gives (shard, height, later height) its path."""

    def __init__(self, node: LinkedNode, lines: Lines, path: Callable[[int, int, int], InclusionPath]) -> None:
        """Begin with no run."""
        self._node, self._lines, self._path = node, lines, path
        self._seen: dict[bytes, int] = {}

    async def prove(self, anchored: Mapping[int, int], relay_time: int) -> None:
        """Prove what waits under these anchored heights by shard, and hand it in at every validator.

        To be called whenever headers of this node became final.
        """
        runs = [run for run in await self._node.undecided_runs() if run.deadline > relay_time]
        self._seen = {run.run: self._seen.get(run.run, 0) for run in runs}
        records = []
        for run in runs:
            if self._seen[run.run] % _AGAIN_EVERY == 0:
                decision = await self._node.run_decision(run.digest, anchored, self._path)
                if decision is None:
                    # Not all of its halves are anchored yet.
                    continue
                records.append(run_decision_record(decision).encode())
            self._seen[run.run] += 1
        await self._submit(records)

    async def _submit(self, records: Sequence[bytes]) -> None:
        """Hand records in at every validator; one that takes them is enough."""
        await asyncio.gather(*(self._hand_in(line, record) for line in self._lines.lines for record in records))

    @staticmethod
    async def _hand_in(line: Line, record: bytes) -> None:
        try:
            answer = await line.submit(record)
        except LineLost as error:
            _log.debug("record_lost", validator=line.name, reason=error.reason)
        else:
            _log.debug("record_handed_in", validator=line.name, taken=answer.taken, reason=answer.reason)
