"""One reader's stream of what happens to swaps: lines that came together leave together, in the order they came.

It promises that no line is lost while a message is being written, that what waits for one reader is bounded, and that a
reader who takes nothing is let go: a write that is cut off breaks its stream, so none ever is but the last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from clearspan.bridging.journal.views import OUTCOMES
from clearspan.v1 import bridge_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    import grpc.aio

    from clearspan.bridging.swaps.telling import Progress, Telling

__all__ = ["ProgressStream"]

_WAITING_MAX: Final = 10_000
_LINES_AT_ONCE: Final = 256
_LISTEN_S: Final = 1.0


class ProgressStream:
    """Lines of one request, of all swaps or of some. Use from one event loop; ``run`` once."""

    def __init__(self, telling: Telling, swap_ids: Iterable[bytes], *, ended_only: bool) -> None:
        """Take what is listened to; nothing is heard before ``run``."""
        self._telling = telling
        self._wanted, self._ended_only = frozenset(swap_ids), ended_only
        self._lines: deque[Progress] = deque()
        self._came = asyncio.Event()
        self._left_behind = False

    async def run(self, context: grpc.aio.ServicerContext[bytes, bytes], ending: asyncio.Event, write_s: float) -> None:
        """Write until the reader leaves, falls behind, or ``ending`` is set. Raises TimeoutError for a write."""
        listeners = self._telling.enders if self._ended_only else self._telling.listeners
        listeners.add(self._listen)
        try:
            # Whoever has this stands in the stream: what happens from here on is told.
            await context.send_initial_metadata(())
            while not ending.is_set() and not self._left_behind:
                try:
                    async with asyncio.timeout(_LISTEN_S):
                        await self._came.wait()
                except TimeoutError:
                    continue
                while self._lines and not self._left_behind:
                    async with asyncio.timeout(write_s):
                        await context.write(self._message())
                self._came.clear()
        finally:
            listeners.discard(self._listen)

    def _listen(self, progress: Progress) -> None:
        if self._wanted and progress.swap.swap not in self._wanted:
            return
        if len(self._lines) >= _WAITING_MAX:
            self._left_behind = True
            return
        self._lines.append(progress)
        self._came.set()

    def _message(self) -> bytes:
        """Return the next lines as one message: the first, and those behind it within it."""
        lines = [_line(self._lines.popleft()) for _ in range(min(len(self._lines), _LINES_AT_ONCE))]
        first, more = lines[0], lines[1:]
        if more:
            first.more.extend(more)
        return first.SerializeToString()


def _line(progress: Progress) -> bridge_pb2.ProgressReply:
    swap, moment, outcome = progress
    return bridge_pb2.ProgressReply(
        swap_id=swap.swap,
        uetr=swap.terms.uetr,
        entry=bridge_pb2.TimelineEntry(at=moment.at, what=moment.what, text=moment.text),
        outcome=OUTCOMES[outcome] if outcome is not None else "",
    )
