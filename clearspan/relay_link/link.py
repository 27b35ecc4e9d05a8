"""The tasks that tie a node to the validators: headers go out, final blocks come in and are consumed in order.

It promises that the shards consume nothing that a quorum did not certify, every height once, and none left out; that a
validator which lies or is silent is left for another one; and that nothing here stops the node from settling: without
validators its answers are durable all the same, they only are not final.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog

from clearspan.relay_link.errors import BlockForged, LineLost
from clearspan.relay_link.offering import Offering
from clearspan.relay_link.offers import OfferDesk
from clearspan.relay_link.ports import RelayStanding, ShardStanding
from clearspan.relay_link.reader import BlockReader
from clearspan.relay_link.runs import RunDesk
from clearspan.relay_link.store import Reached
from engine.errors import DiskFull
from engine.header import SignedHeader
from engine.types import U64_MAX, RelayRecordType
from relay.light import LightClient, RecordProof
from shards.errors import NodeFailed, Overloaded, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from clearspan.relay_link.ports import Line, Lines, LinkedNode, LinkFigures, LinkSettings
    from clearspan.relay_link.reader import TakenBlock
    from clearspan.relay_link.store import AnchorStore
    from engine.genesis import Genesis
    from engine.relay_block import RelayBlock
    from engine.validators import ValidatorSet

__all__ = ["RelayLink"]

_NS_PER_S: Final = 1_000_000_000
_HEADERS_AT_ONCE: Final = 256
_PENDING_MAX: Final = 512
_AT_ONCE_MAX: Final = 64
_LATE_HEIGHTS: Final = 32
_RETRY_S: Final = 0.5
_HELD_S: Final = 1.0
_BANNED_S: Final = 60.0
_REFRESH_S: Final = 1.0
_WAIT_S: Final = 1.0
# What decides something on a shard is consumed at once; the rest may be gathered.
_URGENT: Final = frozenset({RelayRecordType.REVEAL, RelayRecordType.DECISION})
_log = structlog.get_logger("clearspan.relay_link")

Result = TypeVar("Result")


class RelayLink:
    """Use from the node's event loop: start once the node runs, stop before it does."""

    def __init__(
        self,
        genesis: Genesis,
        shards: Iterable[int],
        *,
        node: LinkedNode,
        store: AnchorStore,
        lines: Lines,
        settings: LinkSettings,
        figures: LinkFigures,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """Put it together; nothing happens before ``start``."""
        self._genesis, self._shards = genesis, tuple(shards)
        self._node, self._store, self._lines = node, store, lines
        self._settings, self._figures, self._now = settings, figures, now
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="anchors")
        self._desk = OfferDesk(store.range_path)
        self._tasks: list[asyncio.Task[None]] = []
        self._offering: dict[str, Offering] = {}
        self._leaves: dict[int, int] = {}
        self._sealed = asyncio.Event()
        self._grown = asyncio.Condition()
        self._pending: deque[RelayBlock] = deque()
        self._came = asyncio.Event()
        self._room = asyncio.Event()
        self._anchored = asyncio.Event()
        self._runs = RunDesk(node, lines, store.range_path)
        self._heights: dict[str, int] = {}
        self._banned: dict[str, float] = {}
        self._following = ""
        self._time = self._consumed = 0
        self._stopping = False
        self._final = {shard: self._stored(shard) for shard in self._shards}
        self._verified = {shard: store.verified(shard) for shard in self._shards}
        self._reader = self._new_reader()

    def start(self) -> None:
        """Begin to offer and to follow."""
        self._node.when_sealed(self._sealed.set)
        self._sealed.set()
        self._room.set()
        for shard, reached in self._final.items():
            self._desk.anchored(shard, reached.height)
        loop = asyncio.get_running_loop()
        for work in (self._watch_seals, self._session, self._decide_runs, self._keep_lines):
            self._tasks.append(loop.create_task(self._forever(work), name=f"relay-{work.__name__}"))

    async def stop(self) -> None:
        """End all tasks and close the lines; what was verified and not consumed is fetched again."""
        self._stopping = True
        tasks = [*self._tasks, *(each.task for each in self._offering.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._lines.close()
        await asyncio.to_thread(self._disk.shutdown)

    # What is known.

    @property
    def standing(self) -> RelayStanding:
        """How it stands now."""
        shards = {shard: ShardStanding(self._final[shard], self._verified[shard]) for shard in self._shards}
        set_id = self._reader.light.newest.set_id
        return RelayStanding(self._reader.height, self._time, self._consumed, set_id, self._following, shards)

    def set_at(self, relay_height: int) -> ValidatorSet:
        """Return the set that decides a relay height."""
        return self._reader.light.set_at(relay_height)

    async def grown(self, seconds: float) -> None:
        """Wait until more of this node's headers are final, or so long."""
        async with self._grown:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds)):
                    await self._grown.wait()

    # Headers out.

    async def _watch_seals(self) -> None:
        """Add each new header to its shard's tree and offer the newest."""
        self._leaves.clear()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WAIT_S):
                    await self._sealed.wait()
            self._sealed.clear()
            while await self._read_headers():
                pass
            self._make_offers()

    async def _read_headers(self) -> bool:
        """Add the shards' new headers to their trees; return whether there may be more."""
        first = {shard: await self._first_unread(shard) for shard in self._shards}
        found = await asyncio.gather(*(self._node.signed_headers(*each, _HEADERS_AT_ONCE) for each in first.items()))
        fresh: dict[int, list[bytes]] = {}
        newest: list[SignedHeader] = []
        for shard, headers in zip(first, found, strict=True):
            signed = [SignedHeader.decode(each) for each in headers]
            hashes = [each.header.hash for each in signed if each.header.height > self._leaves[shard]]
            if hashes:
                fresh[shard] = hashes
            newest += signed[-1:]
        if fresh and self._store.add_headers(fresh):
            await self._on_disk(self._store.save_headers)
        for shard, hashes in fresh.items():
            self._leaves[shard] += len(hashes)
        # Only now: an offer needs paths in the tree.
        for each in newest:
            self._desk.sealed(each)
        return any(len(headers) == _HEADERS_AT_ONCE for headers in found)

    async def _first_unread(self, shard: int) -> int:
        """Return the height to read next; the first time the last one again: it may not be anchored yet."""
        if shard in self._leaves:
            return self._leaves[shard] + 1
        self._leaves[shard] = await self._on_disk(self._store.leaf_count, shard)
        return max(1, self._leaves[shard])

    def _make_offers(self) -> None:
        offers = [(offer.signed.header.shard, offer.encode()) for offer in self._desk.due(self._now())]
        if not offers:
            return
        for line in self._lines.lines:
            offering = self._offering.get(line.name)
            if offering is None or offering.line is not line:
                if offering is not None:
                    offering.task.cancel()
                offering = self._offering[line.name] = Offering(line, self._note_answer)
            for shard, offer in offers:
                offering.put(shard, offer)

    def _note_answer(self, name: str, outcome: str, height: int) -> None:
        """Note what a validator said to an offer, and how far it is."""
        self._figures.offer_answered(outcome)
        if height:
            self._heights[name] = height

    async def _decide_runs(self) -> None:
        """Whenever headers became final, prove the runs that wait for the relay under them."""
        while True:
            await self._anchored.wait()
            self._anchored.clear()
            await self._runs.prove({shard: reached.height for shard, reached in self._final.items()}, self._time)

    # Final blocks in.

    async def _session(self) -> None:
        """Follow and consume; when either fails, both begin anew from what is kept and consumed."""
        self._pending.clear()
        self._room.set()
        self._reader = self._new_reader()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow())
                tasks.create_task(self._consume())
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _follow(self) -> None:
        """Follow one validator after the other, for as long as each tells the truth and something."""
        turn = 0
        while True:
            lines = self._trusted()
            if not lines:
                await asyncio.sleep(self._settings.reconnect_s)
                continue
            line = lines[turn % len(lines)]
            turn += 1
            before = self._reader.height
            try:
                await self._follow_one(line)
                reason = "its stream ended"
            except LineLost as error:
                reason = error.reason
                self._figures.line_left("lost")
            except BlockForged as error:
                reason = str(error)
                self._figures.line_left("forged")
                self._banned[line.name] = time.monotonic() + _BANNED_S
                _log.error("validator_lied", validator=line.name, height=error.height, step=error.step, reason=reason)
            finally:
                self._following = ""
            tell = _log.info if self._reader.height > before else _log.debug
            tell("validator_left", validator=line.name, height=self._reader.height, reason=reason)
            if self._reader.height == before:
                await asyncio.sleep(self._settings.reconnect_s / max(1, len(lines)))

    def _trusted(self) -> list[Line]:
        """Return the lines that were not caught lying of late."""
        now = time.monotonic()
        self._banned = {name: until for name, until in self._banned.items() if until > now}
        return [line for line in self._lines.lines if line.name not in self._banned]

    async def _follow_one(self, line: Line) -> None:
        blocks = line.blocks(self._reader.height + 1, follow=True, stall_s=self._settings.stall_s)
        async with contextlib.aclosing(blocks) as stream:  # type: ignore[type-var]
            async for found in stream:
                if self._following != line.name:
                    self._following = line.name
                    _log.info("validator_followed", validator=line.name, height=self._reader.height)
                taken = self._reader.take(found.block, found.certificate, found.statements)
                await self._keep(taken)
                await self._room.wait()
                if self._is_late(line.name):
                    raise LineLost(line.name, "others are ahead of it")

    def _is_late(self, name: str) -> bool:
        """Say whether most validators have told of heights well above the one that this one told of last."""
        heights = sorted(self._heights.values())
        return len(heights) > 2 and heights[len(heights) // 2] > self._heights.get(name, U64_MAX) + _LATE_HEIGHTS

    async def _keep(self, taken: TakenBlock) -> None:
        """Keep what receipts need, tell of what is final, and hand the block on to be consumed."""
        now, block = self._now(), taken.block
        self._figures.relay_block(len(block.records))
        for set_id, proof in taken.set_proofs:
            await self._on_disk(self._store.keep_set, set_id, proof)
            _log.info("validator_set_follows", set_id=set_id, height=block.header.height)
        if taken.finals:
            known = self._verified
            verified = {shard: each for shard, each in taken.verified.items() if each.height > known[shard].height}
            # The block before the last one kept may still be judged anew by the next: so far all is kept.
            keep = partial(self._store.keep, block.header.height - 1, taken.finals, taken.anchors, verified)
            await self._on_disk(keep)
            self._verified |= verified
        for shard, reached in taken.resumed.items():
            await self._on_disk(self._store.forget_above, shard, reached)
            self._final[shard], self._verified[shard] = self._stored(shard), self._store.verified(shard)
            self._desk.resumed(shard, reached.height)
            _log.warning("shard_resumed", shard=shard, height=reached.height)
        self._time = block.header.time
        self._pending.append(block)
        if len(self._pending) >= _PENDING_MAX:
            self._room.clear()
        self._came.set()
        fresh = {shard: each for shard, each in taken.final.items() if each.height > self._final[shard].height}
        for shard in fresh:
            self._figures.header_final(max(0, now - taken.times[shard]) / _NS_PER_S)
        self._final |= fresh
        if fresh:
            self._node.note_final({shard: reached.height for shard, reached in fresh.items()})
        for shard, reached in fresh.items():
            self._desk.anchored(shard, reached.height)
        if taken.finals:
            self._anchored.set()
            async with self._grown:
                self._grown.notify_all()
            self._make_offers()

    # Consumption.

    async def _consume(self) -> None:
        """Hand verified blocks to the shards: at once what decides something, gathered what does not."""
        while True:
            await self._came.wait()
            self._came.clear()
            began = time.monotonic()
            while self._pending and not self._pressing():
                left = began + self._settings.consume_s - time.monotonic()
                if left <= 0:
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._came.wait()
                self._came.clear()
            while self._pending:
                some = [self._pending[at] for at in range(min(_AT_ONCE_MAX, len(self._pending)))]
                await self._hand_over(some)
                for _ in some:
                    self._pending.popleft()
                if len(self._pending) < _PENDING_MAX // 2:
                    self._room.set()

    def _pressing(self) -> bool:
        if len(self._pending) >= _AT_ONCE_MAX:
            return True
        return any(record.type in _URGENT for block in self._pending for record in block.records)

    async def _hand_over(self, blocks: Sequence[RelayBlock]) -> None:
        """Let the shards consume blocks; while the node has no room, wait and try the same again."""
        while True:
            try:
                await self._node.relay_blocks(blocks)
            except (DiskFull, Overloaded) as error:
                _log.warning("relay_blocks_wait", height=blocks[0].header.height, reason=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                self._consumed = max(self._consumed, blocks[-1].header.height)
                return

    # Life.

    async def _forever(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a task; what it fails with is logged, and it begins anew: the node settles without it."""
        while not self._stopping:
            try:
                await work()
            except (ShuttingDown, NodeFailed):
                return
            except Exception as error:  # noqa: BLE001 - finality waits, settlement goes on, and the log says why
                _log.error("relay_link_failed", work=work.__name__, error=type(error).__name__, exc_info=error)
                await asyncio.sleep(_RETRY_S)

    async def _keep_lines(self) -> None:
        while True:
            await self._lines.refresh()
            known = {line.name for line in self._lines.lines}
            for name in [each for each in self._offering if each not in known]:
                self._offering.pop(name).task.cancel()
            self._heights = {name: height for name, height in self._heights.items() if name in known}
            await asyncio.sleep(_REFRESH_S)

    def _new_reader(self) -> BlockReader:
        """Stand where both the store and the shards have everything up to."""
        light = LightClient.from_genesis(self._genesis)
        for proof in self._store.set_proofs():
            light.follow(RecordProof.decode(proof))
        self._consumed = self._node.relay_height
        height = min(self._store.followed, self._consumed)
        return BlockReader(self._genesis, self._shards, light, height)

    def _stored(self, shard: int) -> Reached:
        newest, resumed = self._store.newest_anchor(shard), self._store.resumed(shard)
        if newest is None or newest.height < resumed.height:
            return resumed
        return Reached(newest.height, SignedHeader.decode(newest.signed_header).header.last_number)

    async def _on_disk(self, action: Callable[..., Result], *arguments: Any) -> Result:
        """Run a step of the store in its thread; while the disk is full it waits and tries again."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await loop.run_in_executor(self._disk, partial(action, *arguments))
            except DiskFull as error:
                _log.warning("anchors_wait", reason=str(error))
                await asyncio.sleep(_RETRY_S)
