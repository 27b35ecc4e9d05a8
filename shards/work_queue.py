"""What waits for a round, in one lane for each submitter: first in, first out within a lane, and the lanes take turns.

So whoever sends much, or what is dear to check, waits for himself: the others' next piece of work is checked and
decided after at most one of his. Nothing here waits, measures time or starts anything; the shell does.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from engine.batch import BatchColumns
    from shards.domain import AdminJob, AdminReply, BatchJob, BatchReply, CreditsJob, CreditsReply, RelayJob, RelayReply

__all__ = ["Waiting", "WorkQueue"]

# Of the whole queue one submitter may fill seven eighths: the rest is always open to the others.
_SHARE = (7, 8)


@dataclass(slots=True, eq=False)
class Waiting:
    """A batch to be checked, or work that needs no check; ``answered`` is what its submitter waits for."""

    submitter: int
    size: int
    answered: asyncio.Future[BatchReply | AdminReply | RelayReply | CreditsReply]
    batch: BatchColumns | None = None
    job: BatchJob | AdminJob | RelayJob | CreditsJob | None = None
    error: BaseException | None = None

    @property
    def ready(self) -> bool:
        """Whether it was checked, or cannot be."""
        return self.job is not None or self.error is not None


class WorkQueue:
    """Waiting work of all submitters, bounded in bytes as a whole and for each submitter."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.queued_bytes = 0
        self._lanes: OrderedDict[int, deque[Waiting]] = OrderedDict()
        self._unchecked: OrderedDict[int, deque[Waiting]] = OrderedDict()
        self._bytes: dict[int, int] = {}

    def __len__(self) -> int:
        """How many pieces of work wait."""
        return sum(len(lane) for lane in self._lanes.values())

    def admits(self, submitter: int, size: int) -> bool:
        """Whether there is room; somebody of whom nothing waits finds some as long as the whole is not full."""
        if self.queued_bytes and self.queued_bytes + size > self.bytes_max:
            return False
        own = self._bytes.get(submitter, 0)
        return not own or own + size <= self.bytes_max * _SHARE[0] // _SHARE[1]

    def add(self, waiting: Waiting) -> None:
        """Put work at the end of its submitter's lane."""
        self._lanes.setdefault(waiting.submitter, deque()).append(waiting)
        if not waiting.ready:
            self._unchecked.setdefault(waiting.submitter, deque()).append(waiting)
        self.queued_bytes += waiting.size
        self._bytes[waiting.submitter] = self._bytes.get(waiting.submitter, 0) + waiting.size

    def next_unchecked(self) -> Waiting | None:
        """Return the next piece of work to check: the oldest of the lane whose turn it is; None when all are."""
        if not self._unchecked:
            return None
        submitter, lane = next(iter(self._unchecked.items()))
        waiting = lane.popleft()
        if lane:
            self._unchecked.move_to_end(submitter)
        else:
            del self._unchecked[submitter]
        return waiting

    def take(self, size_max: int) -> list[Waiting]:
        """Take checked work from the heads of the lanes, one of each in turn, until size_max bytes are reached."""
        taken: list[Waiting] = []
        size = idle = 0
        while idle < len(self._lanes) and size < size_max:
            submitter, lane = next(iter(self._lanes.items()))
            if not lane[0].ready:
                self._lanes.move_to_end(submitter)
                idle += 1
                continue
            idle = 0
            waiting = self._pop(submitter, lane)
            size += waiting.size
            taken.append(waiting)
            if lane:
                self._lanes.move_to_end(submitter)
        return taken

    def drain(self) -> Iterator[Waiting]:
        """Take everything, checked or not."""
        self._unchecked.clear()
        while self._lanes:
            submitter, lane = next(iter(self._lanes.items()))
            yield self._pop(submitter, lane)

    def _pop(self, submitter: int, lane: deque[Waiting]) -> Waiting:
        waiting = lane.popleft()
        self.queued_bytes -= waiting.size
        self._bytes[submitter] -= waiting.size
        if not lane:
            del self._lanes[submitter], self._bytes[submitter]
        return waiting
