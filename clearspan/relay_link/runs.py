"""Runs over shards on their way to the relay: proven under the newest anchored headers, handed in, waited for.

It promises to hold newer headers back for no longer than a few seconds of a run's life: a proof holds under the newest
anchored headers alone, but a run that no validator decides ends by its deadline, and finality must not wait for it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from clearspan.relay_link.errors import LineLost
from engine.relay_block import run_decision_record
from engine.types import RelayRecordType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clearspan.relay_link.ports import Line, Lines, LinkedNode
    from engine.block import InclusionPath
    from engine.relay_block import RelayBlock

__all__ = ["RunDesk"]

_HELD_S: Final = 1.0
_TRIES_HELD_MAX: Final = 5
_log = structlog.get_logger("clearspan.relay_link")


class RunDesk:
    """``path`` gives (shard, height, later height) its path; ``freed`` is called when headers may go again."""

    def __init__(
        self,
        node: LinkedNode,
        lines: Lines,
        path: Callable[[int, int, int], InclusionPath],
        freed: Callable[[], None],
    ) -> None:
        """Begin with no run."""
        self._node, self._lines, self._path, self._freed = node, lines, path, freed
        self._tries: dict[bytes, int] = {}
        self._held_until = 0.0

    @property
    def holds(self) -> bool:
        """Whether newer headers are held back now."""
        return time.monotonic() < self._held_until

    async def prove(self, anchored: Mapping[int, int], relay_time: int) -> None:
        """Prove what waits under these anchored heights by shard, and hand it in at every validator."""
        runs = [run for run in await self._node.undecided_runs() if run.deadline > relay_time]
        self._tries = {run.run: self._tries.get(run.run, 0) for run in runs}
        records = []
        for run in runs:
            decision = await self._node.run_decision(run.digest, anchored, self._path)
            if decision is not None:
                records.append(run_decision_record(decision).encode())
                self._tries[run.run] += 1
        if any(0 < tries <= _TRIES_HELD_MAX for tries in self._tries.values()):
            self._held_until = time.monotonic() + _HELD_S
        elif not runs:
            self.let_go()
        await self._submit(records)

    def note(self, block: RelayBlock) -> None:
        """Note a final block: what it decided needs no proof any more."""
        if any(record.type is RelayRecordType.DECISION for record in block.records):
            self.let_go()

    def let_go(self) -> None:
        """Let newer headers go."""
        if self._held_until:
            self._held_until = 0.0
            self._freed()

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
