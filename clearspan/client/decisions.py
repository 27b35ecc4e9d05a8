"""Final decisions by the thousand: digests that are expected, blocks as they become final, one proof for each block.

A `DecisionWatch` follows all shards of one node. It promises that what it hands out stood in a block whose header a
quorum certified, checked with the sets that the genesis leads to; that no block is left out; and that what nobody
expects costs nothing but its hash. A line that is lost is made again at the height that is due.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import structlog

from clearspan.errors import ClientError, VerificationFailed
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from clearspan.client.asynchronous import AsyncClient
    from engine.block_receipt import BlockFinding
    from engine.header import Header

__all__ = ["BlocksRead", "DecisionWatch", "FinalDecision"]

_WAIT_S: Final = 5.0
_RETRY_S: Final = 0.2
_log = structlog.get_logger("clearspan.client")
_RECENT_MAX: Final = 50_000
"""Decisions of the newest blocks that are kept: some seconds of a busy node."""
_ARRIVALS: Final = frozenset({ResultCode.CREDITED, ResultCode.CREDITED_TO_SUSPENSE, ResultCode.RETURNED})


class FinalDecision(NamedTuple):
    """A decision in a final block: result code, its time (ns), shard, block height, relay height and relay time."""

    digest: bytes
    code: int
    time: int
    shard: int
    height: int
    relay_height: int
    relay_time: int


class BlocksRead(NamedTuple):
    """Blocks of one shard that were read without a gap: height and time (ns) of the first, the times of the last.

    ``relay_time`` is that of the relay block which the shard had consumed by its last one.
    """

    first_height: int
    first_time: int
    time: int
    relay_time: int

    def is_behind(self, timelock: int) -> bool:
        """Say whether the shard can take no lock of this timelock any more (03, state rule d)."""
        return self.time > timelock or self.relay_time >= timelock


class DecisionWatch:
    """Follows the final blocks of one node; use it in `async with`, from one event loop.

    ``tell`` gets the expected decisions of each block together, before ``heights`` moves past it: who keeps both
    durably misses nothing. Without it they are kept for ``final``.
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        verified: bool = False,
        from_heights: Mapping[int, int] | None = None,
        tell: Callable[[list[FinalDecision]], None] | None = None,
    ) -> None:
        """Prepare; ``from_heights`` are the heights that are due by shard, of others the next that becomes final."""
        self._client, self._verified = client, verified
        self.heights: dict[int, int] = dict(from_heights or {})
        """By shard the height that is due."""
        self._read: dict[int, BlocksRead | None] = {}
        # Height and time behind the block that was read last, of each shard; and both of all of them, as one object for
        # all that is expected between two blocks.
        self._behind: dict[int, tuple[int, int | None]] = {}
        self._stand: dict[int, tuple[int, int | None]] | None = None
        self.heard_at = 0.0
        """When the node answered last, by the monotonic clock (s); a node that is there answers every few seconds."""
        self.fault: VerificationFailed | None = None
        """What did not hold; nothing of that node is believed after it."""
        self._tell = tell
        self._expected: dict[bytes, Mapping[int, tuple[int, int | None]]] = {}
        self._waiting: dict[bytes, asyncio.Future[FinalDecision]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        # The decisions of the newest blocks, by digest and by block, so that a late question is answered at once.
        self._recent: dict[bytes, FinalDecision] = {}
        self._recent_blocks: deque[list[bytes]] = deque()

    async def __aenter__(self) -> Self:
        """Ask for the shards and begin. Raises ClientError where the node cannot be reached."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        await self.stop()

    async def start(self) -> None:
        """Ask for the shards and begin. Raises ClientError where the node cannot be reached."""
        network = await self._client.network()
        for shard in network.domain.shard_ids():
            if not self.heights.get(shard):
                self.heights[shard], _ = await self._client.final_blocks(shard, 0, wait_s=0, verified=self._verified)
            self.heard_at = time.monotonic()
            self._read.setdefault(shard, None)
            self._stand = None
            self._tasks.append(asyncio.create_task(self._follow(shard), name=f"decisions-{shard}"))

    async def stop(self) -> None:
        """End; whoever waits is cancelled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for future in self._waiting.values():
            future.cancel()

    def expect(self, digests: Iterable[bytes], *, look_back: bool = False) -> None:
        """Expect decisions: said before their records are submitted, none of them is missed.

        look_back: they may stand in a block that was taken a moment ago, so the newest are searched too.
        """
        fresh, expected, stand = list(digests), self._expected, self._standing()
        for each in fresh:
            expected.setdefault(each, stand)
        if look_back:
            self._hand_out([self._recent[each] for each in fresh if each in self._recent])

    def has_passed(self, digest: bytes, shard: int, height: int) -> bool:
        """Say whether a decision of that block is told no more: the block is behind, and not among the newest."""
        return height < self.heights.get(shard, 0) and digest not in self._recent

    def forget(self, digests: Iterable[bytes]) -> None:
        """Expect these no more."""
        for each in digests:
            self._expected.pop(each, None)

    async def final(self, digests: Iterable[bytes]) -> list[FinalDecision]:
        """Wait until all of these are final and return the payers' decisions, in order. Raises VerificationFailed."""
        if self.fault is not None:
            raise self.fault
        loop = asyncio.get_running_loop()
        futures = []
        for each in digests:
            self._expected.setdefault(each, self._standing())
            futures.append(self._waiting.setdefault(each, loop.create_future()))
        return [await future for future in futures]

    async def _follow(self, shard: int) -> None:
        while True:
            try:
                following, blocks = await self._client.final_blocks(
                    shard, self.heights[shard], wait_s=_WAIT_S, verified=self._verified
                )
                self.heard_at = time.monotonic()
                for block in blocks:
                    # What is expected from now on, also by who hears of this block, is not looked for in it.
                    self._behind[shard], self._stand = (block.header.height + 1, block.header.time), None
                    self._take(block)
                    self._note_read(shard, block.header)
            except VerificationFailed as error:
                self._fail(error)
                return
            except ClientError:
                await asyncio.sleep(_RETRY_S)
                continue
            except Exception as error:  # noqa: BLE001 - whoever hears failed: the same blocks are told again
                _log.error("decisions_not_taken", shard=shard, error=type(error).__name__, exc_info=error)
                await asyncio.sleep(_RETRY_S)
                continue
            self.heights[shard] = following

    def read_for(self, digest: bytes) -> dict[int, BlocksRead | None]:
        """Return what was read of each shard since a decision was expected, nothing where it is not: it was not there.

        Blocks that were read before it was expected do not count, although the newest of them were searched.
        """
        stand = self._expected.get(digest)
        if stand is None:
            return {}
        found: dict[int, BlocksRead | None] = {}
        for shard, read in self._read.items():
            # Expected before this shard was followed at all, it was looked for in all that was read.
            height, time_before = stand.get(shard, (0, None))
            if read is not None and time_before is not None:
                found[shard] = read._replace(first_height=height, first_time=time_before)
            else:
                found[shard] = read
        return found

    def _standing(self) -> Mapping[int, tuple[int, int | None]]:
        """Return from which height each shard is looked through from now on, and the time of the block before it."""
        if self._stand is None:
            self._stand = {shard: self._behind.get(shard, (height, None)) for shard, height in self.heights.items()}
        return self._stand

    def _note_read(self, shard: int, header: Header) -> None:
        before = self._read.get(shard)
        first = (before.first_height, before.first_time) if before is not None else (header.height, header.time)
        self._read[shard] = BlocksRead(*first, header.time, header.relay_time)

    def _take(self, block: BlockFinding) -> None:
        """Hand out the expected decisions of one block, and keep all of them for a while."""
        if not block.leaves:
            return
        header, anchored = block.header, block.anchorage
        place = header.shard, header.height, anchored.relay_height, anchored.relay_time
        digests, codes, times = block.rows()
        made = [FinalDecision(*row, *place) for row in zip(digests, codes, times, strict=True)]
        self._recent.update(zip(digests, made, strict=True))
        self._recent_blocks.append(digests)
        while len(self._recent) > _RECENT_MAX and len(self._recent_blocks) > 1:
            for digest in self._recent_blocks.popleft():
                self._recent.pop(digest, None)
        expected = self._expected
        self._hand_out([each for each in made if each.digest in expected])

    def _hand_out(self, found: list[FinalDecision]) -> None:
        if not found:
            return
        if self._tell is not None:
            self._tell(found)
            return
        for each in found:
            # The same digest stands in the payee's shard too, when the money arrives there.
            if each.code in _ARRIVALS:
                continue
            future = self._waiting.setdefault(each.digest, asyncio.get_running_loop().create_future())
            if not future.done():
                future.set_result(each)

    def _fail(self, error: VerificationFailed) -> None:
        self.fault = error
        for future in self._waiting.values():
            if not future.done():
                with contextlib.suppress(asyncio.InvalidStateError):
                    future.set_exception(error)
