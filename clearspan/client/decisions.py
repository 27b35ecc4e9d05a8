"""Final decisions by the thousand: digests that are expected, blocks as they become final, one proof for each block.

A `DecisionWatch` follows all shards of one node. It promises that what it hands out stood in a block whose header a
quorum certified, checked with the sets that the genesis leads to; that no block is left out; and that what nobody
expects costs nothing but its hash. A line that is lost is made again at the height that is due.
"""

from __future__ import annotations

import asyncio
import contextlib
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

__all__ = ["DecisionWatch", "FinalDecision"]

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
        self.fault: VerificationFailed | None = None
        """What did not hold; nothing of that node is believed after it."""
        self._tell = tell
        self._expected: set[bytes] = set()
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
        fresh = list(digests)
        self._expected.update(fresh)
        if look_back:
            self._hand_out([self._recent[each] for each in fresh if each in self._recent])

    def has_passed(self, digest: bytes, shard: int, height: int) -> bool:
        """Say whether a decision of that block is told no more: the block is behind, and not among the newest."""
        return height < self.heights.get(shard, 0) and digest not in self._recent

    def forget(self, digests: Iterable[bytes]) -> None:
        """Expect these no more."""
        self._expected.difference_update(digests)

    async def final(self, digests: Iterable[bytes]) -> list[FinalDecision]:
        """Wait until all of these are final and return the payers' decisions, in order. Raises VerificationFailed."""
        if self.fault is not None:
            raise self.fault
        loop = asyncio.get_running_loop()
        futures = []
        for each in digests:
            self._expected.add(each)
            futures.append(self._waiting.setdefault(each, loop.create_future()))
        return [await future for future in futures]

    async def _follow(self, shard: int) -> None:
        while True:
            try:
                following, blocks = await self._client.final_blocks(
                    shard, self.heights[shard], wait_s=_WAIT_S, verified=self._verified
                )
                for block in blocks:
                    self._take(block)
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
