"""What comes together while a commit runs: tasks of machines, notes and names, and who waits for them to be durable.

It promises that what was taken before a batch is handed over is in it, and that who waits hears of that batch's commit
and of no earlier one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.ports import Action
    from clearspan.bridging.journal.store import Names, Note

    Task = tuple[bytes, Action]

__all__ = ["Batch", "Gathering"]


@dataclass(slots=True)
class Batch:
    """What one commit is made of; ``tasks`` hold the entries and what follows them, of each party in order."""

    tasks: list[Task] = field(default_factory=list)
    names: list[Names] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    relay_height: int = 0

    def done(self, error: BaseException | None = None) -> None:
        """Tell who waits that it is durable and acted on, or why it is not."""
        for waiter in self.waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


class Gathering:
    """The batch that grows. Use from one event loop; one task waits and takes."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.batch = Batch()
        self._came = asyncio.Event()

    def take(self, tasks: Iterable[Task]) -> None:
        """Take what machines ask for."""
        self.batch.tasks += tasks
        self._came.set()

    def note(self, notes: Iterable[Note]) -> None:
        """Take what is kept beside entries; it is written with the next commit, and makes none by itself."""
        self.batch.notes += notes

    def wake(self) -> None:
        """Have a batch taken although no task came: others have something to write."""
        self._came.set()

    async def committed(self) -> None:
        """Return when everything that was taken so far is durable and acted on. Raises what the journal raised."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batch.waiters.append(waiter)
        self._came.set()
        await waiter

    async def something(self) -> None:
        """Return when there is something to do."""
        await self._came.wait()
        self._came.clear()

    def hand_over(self) -> Batch:
        """Return all that came; what comes from now on is the next batch's."""
        found, self.batch = self.batch, Batch()
        return found
