"""A node's log as others read along with it: durable records in parts of bounded size, told of without polling.

It promises that only what is durable leaves, in order and whole, that every record was checked against the one before
it, and that a slow reader costs the node nothing but his own part in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clearspan.status import refuse
from engine.log_record import encode_record
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from engine.lmdb_log import LmdbStore

__all__ = ["FeedPart", "LogFeed"]

_PART_BYTES: Final = 1 << 20
_READERS: Final = 2
# Nobody who was told waits so long; it only bounds what a lost word could cost.
_POLL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class FeedPart:
    """A part of the log: records one after the other; ``continued``: the last one goes on in the next part."""

    data: bytes
    continued: bool


class LogFeed:
    """Reads one node's log store for others. ``notify`` is for the thread that commits, the rest for the event loop."""

    def __init__(self, store: LmdbStore) -> None:
        """Read from this store, which outlives the feed."""
        self._store = store
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="log-feed")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._grown: asyncio.Event | None = None
        self._closed = False

    def notify(self) -> None:
        """Say that a commit is durable; from any thread, and cheap while nobody follows."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                loop.call_soon_threadsafe(self._wake)

    async def parts(self, shard: int, from_number: int, *, follow: bool) -> AsyncIterator[FeedPart]:
        """Yield records from a number on. Raises CallRefused (not_found) for one that is more than one past the end."""
        self._loop = loop = asyncio.get_running_loop()
        number = from_number
        if number > self._store.tip(shard).number + 1:
            raise refuse(ResultCode.NOT_FOUND, f"the log of shard {shard} ends before record {number}")
        while not self._closed:
            if self._grown is None:
                self._grown = asyncio.Event()
            grown = self._grown
            if number <= self._store.tip(shard).number:
                records = await loop.run_in_executor(self._readers, self._read, shard, number)
                number += len(records)
                for part in _parts(records):
                    yield part
            elif not follow:
                return
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(grown.wait(), _POLL_S)

    def close(self) -> None:
        """End whoever follows, and the threads."""
        self._closed = True
        self._wake()
        self._readers.shutdown(wait=True)

    def _wake(self) -> None:
        if self._grown is not None:
            self._grown.set()
            self._grown = None

    def _read(self, shard: int, number: int) -> list[bytes]:
        """Return records up to about a part's size, one at least."""
        found: list[bytes] = []
        size = 0
        for record in self._store.records(shard, number):
            encoded = encode_record(record)
            found.append(encoded)
            size += len(encoded)
            if size >= _PART_BYTES:
                break
        return found


def _parts(records: list[bytes]) -> list[FeedPart]:
    """Cut records into parts: one for all that is small, several for one that is large."""
    joined = b"".join(records)
    cuts = range(0, len(joined), 2 * _PART_BYTES)
    return [FeedPart(joined[at : at + 2 * _PART_BYTES], at + 2 * _PART_BYTES < len(joined)) for at in cuts]
