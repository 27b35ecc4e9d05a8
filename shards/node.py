"""The shell of a domain: threads, disk and clock around ``shards.domain``.

The road of a batch: verified in a pool of threads (no GIL), applied in rounds on one ledger thread, committed on one
writer thread with one sync for all shards, and only then answered. While one round syncs the next is applied. A fault
that a node must not go on from stops it; a full disk does not: what was not durable is forgotten, the state is built
anew from the log, and reads go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from engine.errors import AppendInvalid, DiskFull
from engine.types import ACCOUNT_BYTES
from shards.domain import AdminJob, AdminReply, BatchJob, BatchReply, DomainCore, Round, wire_bytes
from shards.errors import NodeFailed, Overloaded, ShardsError, ShuttingDown
from shards.recovery import Recovered, Stores, recover

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from engine.admin import AdminColumns
    from engine.batch import BatchColumns
    from engine.checkpoint import Manifest
    from engine.genesis import Genesis
    from shards.lookup import TransferEntry
    from shards.settings import NodeSettings
    from shards.signer import BlockSigner

__all__ = ["DomainNode", "NodeStatus", "ShardStatus"]

_LOG = structlog.get_logger("clearspan.node")
_STATEMENT_LIMIT_MAX = 1_000
_RETRY_AFTER_MS = 100
_DISK_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """Where one shard stands: what is durable."""

    shard: int
    height: int
    log_number: int
    accounts: int
    last_time: int


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What a node says of itself; ``refusing`` is empty while it accepts work."""

    domain: int
    epoch: int
    durability: str
    queued_bytes: int
    refusing: str
    shards: tuple[ShardStatus, ...]


@dataclass(slots=True)
class _Waiting:
    """Work in the order in which it came; ``verified`` completes when its signatures are checked."""

    verified: asyncio.Future[BatchJob | AdminJob]
    answered: asyncio.Future[BatchReply | AdminReply]
    size: int


class DomainNode:
    """One process's shards of one domain. Use from one event loop: start, submit and look up, stop."""

    def __init__(
        self,
        genesis: Genesis,
        domain: int,
        stores: Stores,
        signer: BlockSigner,
        settings: NodeSettings,
        *,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.genesis = genesis
        self.domain = domain
        self._stores = stores
        self._signer = signer
        self._settings = settings
        self._now = now
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._sealed = asyncio.Condition()
        self._in_flight = asyncio.Semaphore(settings.rounds_in_flight_max)
        self._commits: set[asyncio.Task[None]] = set()
        self._verifiers = ThreadPoolExecutor(settings.verify_threads, thread_name_prefix="verify")
        self._ledger = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._recovered: Recovered | None = None
        self._runner: asyncio.Task[None] | None = None
        self._refusing: ShardsError | DiskFull | None = None
        self._failed: asyncio.Future[None] | None = None
        self._last_seal = 0
        self._worked_since_seal = False
        self._logged_since_checkpoint = 0
        self._checkpointing: asyncio.Task[None] | None = None
        self._stopped = False

    # Life.

    async def start(self) -> None:
        """Recover from the checkpoint and the log's tail, then accept work. Raises what recovery names."""
        loop = asyncio.get_running_loop()
        self._failed = loop.create_future()
        self._recovered = await loop.run_in_executor(self._ledger, self._recover)
        self._runner = loop.create_task(self._rounds(), name="rounds")

    async def stop(self) -> None:
        """Finish what was accepted, write a checkpoint, close. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        self._refuse(ShuttingDown("the node is stopping"))
        self._wake.set()
        if self._runner is not None:
            await self._runner
        await asyncio.gather(*self._commits, return_exceptions=True)
        if self._checkpointing is not None:
            await asyncio.gather(self._checkpointing, return_exceptions=True)
        loop = asyncio.get_running_loop()
        if self._failed is not None and not self._failed.done():
            try:
                await self._checkpoint()
            except DiskFull as error:
                _LOG.warning("checkpoint_skipped", reason=str(error))
        if self._recovered is not None:
            await loop.run_in_executor(self._ledger, self._recovered.lookup.close)
        for executor in (self._verifiers, self._ledger, self._writer):
            executor.shutdown(wait=True)
        self._stores.close()
        self._recovered = None
        async with self._sealed:
            self._sealed.notify_all()

    async def failed(self) -> None:
        """Wait until the node fails; raises the fault. A process that hosts the node stops then."""
        assert self._failed is not None
        await asyncio.shield(self._failed)

    def status(self) -> NodeStatus:
        """Return where the node stands, by what is durable."""
        recovered = self._live()
        shards = tuple(ShardStatus(shard, *recovered.durable[shard]) for shard in recovered.core.machines)
        return NodeStatus(
            self.domain,
            recovered.core.epoch,
            "synced",
            self._queued_bytes,
            "" if self._refusing is None else type(self._refusing).__name__,
            shards,
        )

    # Work.

    async def submit(self, batch: BatchColumns, *, submitter: int) -> BatchReply:
        """Return one answer to each request once they are durable.

        Raises Overloaded, DiskFull, ShuttingDown (nothing was looked at) and NodeFailed (ask again after a restart).
        """
        core = self._admit(wire_bytes(batch))
        waiting = self._enqueue(wire_bytes(batch), self._verify(core, batch, submitter))
        reply = await waiting.answered
        assert isinstance(reply, BatchReply)
        return reply

    async def administer(self, request: AdminColumns, *, submitter: int) -> AdminReply:
        """Return one answer to each admin request once they are durable. Raises as submit does."""
        del submitter  # who carries a request does not matter: its signers stand in it
        self._admit(request.bodies.nbytes)
        loop = asyncio.get_running_loop()
        verified: asyncio.Future[BatchJob | AdminJob] = loop.create_future()
        verified.set_result(AdminJob(request))
        waiting = self._enqueue(request.bodies.nbytes, verified)
        reply = await waiting.answered
        assert isinstance(reply, AdminReply)
        return reply

    async def relay_block(self, block: bytes) -> None:
        """Let every shard consume one finalized relay block; returns when that is durable."""
        await self._exclusive(partial(self._live().core.relay_block, block))

    def _admit(self, size: int) -> DomainCore:
        """Refuse what cannot be taken; check first, so that nothing is half done."""
        if self._refusing is not None:
            raise self._refusing
        free = self._free_bytes()
        if free < self._settings.disk_reserve_bytes:
            raise DiskFull(str(self._stores.path), free)
        if self._queued_bytes + size > self._settings.queue_bytes_max and self._queued_bytes:
            raise Overloaded(self._queued_bytes, self._settings.queue_bytes_max, _RETRY_AFTER_MS)
        return self._live().core

    def _enqueue(self, size: int, verified: asyncio.Future[BatchJob | AdminJob]) -> _Waiting:
        waiting = _Waiting(verified, asyncio.get_running_loop().create_future(), size)
        self._queue.append(waiting)
        self._queued_bytes += size
        verified.add_done_callback(lambda _: self._wake.set())
        return waiting

    def _verify(self, core: DomainCore, batch: BatchColumns, submitter: int) -> asyncio.Future[BatchJob | AdminJob]:
        """Split and verify in the pool: each part is one task, so that one big batch uses all threads."""
        loop = asyncio.get_running_loop()

        async def work() -> BatchJob | AdminJob:
            job = await loop.run_in_executor(self._verifiers, partial(core.split, batch, submitter=submitter))
            await asyncio.gather(*(loop.run_in_executor(self._verifiers, core.verify, part) for part in job.parts))
            return job

        return loop.create_task(work())

    # Rounds.

    async def _rounds(self) -> None:
        try:
            while True:
                work = await self._next_work()
                if work is None:
                    return
                await self._in_flight.acquire()
                if self._refusing is not None and not isinstance(self._refusing, ShuttingDown):
                    self._in_flight.release()
                    self._answer_all(work, self._refusing)
                    continue
                await self._round(work)
        except Exception as error:  # noqa: BLE001 - whatever escapes a round stops the node, by design
            self._fail(error)

    async def _next_work(self) -> list[_Waiting] | None:
        """Return the verified work at the head of the queue (empty when only a seal is due); None to end."""
        while True:
            work: list[_Waiting] = []
            size = 0
            while self._queue and self._queue[0].verified.done() and size < self._settings.round_bytes_max:
                waiting = self._queue.popleft()
                self._queued_bytes -= waiting.size
                if waiting.verified.exception() is not None:
                    _answer(waiting, waiting.verified.exception())
                    continue
                size += waiting.size
                work.append(waiting)
            if work or self._seal_due():
                return work
            if isinstance(self._refusing, (ShuttingDown, NodeFailed)) and not self._queue:
                return None
            self._wake.clear()
            timeout_s = max(0, self._last_seal + self._seal_interval() - self._now()) / 1_000_000_000 + 0.001
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout_s)

    def _seal_interval(self) -> int:
        settings = self._settings
        return settings.seal_interval_ns if self._worked_since_seal else settings.seal_interval_idle_ns

    def _seal_due(self) -> bool:
        if self._refusing is not None:
            return False
        return self._now() >= self._last_seal + self._seal_interval()

    async def _round(self, work: Sequence[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        recovered = self._live()
        seal = self._seal_due()
        jobs = [waiting.verified.result() for waiting in work]
        if seal:
            self._last_seal = self._now()
        self._worked_since_seal = bool(work) or (self._worked_since_seal and not seal)
        round_ = await loop.run_in_executor(self._ledger, partial(recovered.core.run, jobs, self._now(), seal=seal))
        task = loop.create_task(self._commit(recovered, round_, work))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)

    async def _exclusive(self, step: Callable[[int], Round]) -> None:
        """Run one round of another kind in order with the others and wait until it is durable."""
        loop = asyncio.get_running_loop()
        await self._in_flight.acquire()
        round_ = await loop.run_in_executor(self._ledger, step, self._now())
        await self._commit(self._live(), round_, [])

    async def _commit(self, recovered: Recovered, round_: Round, work: Sequence[_Waiting]) -> None:
        """Make a round durable, then answer; one writer thread keeps the rounds in order."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._writer, self._stores.append, round_, recovered.core.epoch)
        except DiskFull as error:
            self._answer_all(work, error)
            self._in_flight.release()
            self._begin_disk_full(error)
            return
        except AppendInvalid as error:
            if not isinstance(self._refusing, DiskFull):
                self._answer_all(work, NodeFailed(f"the log failed: {error}"))
                self._fail(error)
                return
            # It was applied on top of a round that found no room, and is forgotten with it.
            self._answer_all(work, self._refusing)
            self._in_flight.release()
            return
        except Exception as error:  # noqa: BLE001 - a log that failed is never retried on the same handle
            self._answer_all(work, NodeFailed(f"the log failed: {error}"))
            self._fail(error)
            return
        recovered.note_durable(round_)
        for waiting, reply in zip(work, round_.replies, strict=True):
            if not waiting.answered.done():
                waiting.answered.set_result(reply)
        self._in_flight.release()
        try:
            await self._follow_up(recovered, round_)
        except DiskFull as error:
            self._begin_disk_full(error)
        except Exception as error:  # noqa: BLE001 - an index or header that cannot be kept stops the node, by design
            self._fail(error)

    async def _follow_up(self, recovered: Recovered, round_: Round) -> None:
        """Do what comes after the answers: index, signed headers, and now and then a checkpoint."""
        loop = asyncio.get_running_loop()
        if round_.sealed:
            await loop.run_in_executor(
                self._writer, self._stores.keep_blocks, self.genesis, round_.sealed, self._signer
            )
        await loop.run_in_executor(self._ledger, recovered.index, round_)
        if round_.sealed:
            async with self._sealed:
                self._sealed.notify_all()
        self._logged_since_checkpoint += round_.log_bytes
        due = self._logged_since_checkpoint >= self._settings.checkpoint_interval_bytes and round_.sealed
        if due and self._checkpointing is None:
            self._logged_since_checkpoint = 0
            self._checkpointing = loop.create_task(self._checkpoint())
            self._checkpointing.add_done_callback(self._checkpoint_done)

    # Checkpoints.

    async def _checkpoint(self) -> None:
        """Seal, take every shard's state at that seal, write it beside the road."""
        loop = asyncio.get_running_loop()
        recovered = self._live()
        await self._in_flight.acquire()
        taken: list[tuple[Manifest, bytes]] = []

        def seal_and_take(now: int) -> Round:
            round_ = recovered.core.run([], now, seal=True)
            taken.extend(recovered.take_checkpoint())
            return round_

        round_ = await loop.run_in_executor(self._ledger, seal_and_take, self._now())
        await self._commit(recovered, round_, [])
        if self._refusing is not None and isinstance(self._refusing, DiskFull):
            return
        await loop.run_in_executor(None, recovered.write_checkpoint, taken, self._signer)

    def _checkpoint_done(self, task: asyncio.Task[None]) -> None:
        self._checkpointing = None
        if not task.cancelled() and task.exception() is not None:
            # The log is whole without it: a checkpoint only shortens a restart.
            _LOG.warning("checkpoint_failed", reason=str(task.exception()))

    # Faults.

    def _refuse(self, error: ShardsError | DiskFull) -> None:
        if not isinstance(self._refusing, NodeFailed):
            self._refusing = error

    def _fail(self, error: BaseException) -> None:
        _LOG.error("node_failed", error=type(error).__name__, reason=str(error))
        failure = NodeFailed(f"{type(error).__name__}: {error}")
        self._refusing = failure
        while self._queue:
            _answer(self._queue.popleft(), failure)
        self._queued_bytes = 0
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # whoever awaits failed() hears it; nobody is not an error

    def _begin_disk_full(self, error: DiskFull) -> None:
        """Forget what is not durable and build the state anew from the log; accept again when there is space."""
        if self._refusing is None:
            _LOG.warning("disk_full", path=error.path, free_bytes=error.free_bytes)
            self._refusing = error
            task = asyncio.get_running_loop().create_task(self._wait_for_space())
            self._commits.add(task)
            task.add_done_callback(self._commits.discard)

    async def _wait_for_space(self) -> None:
        """Hold the rounds, build the state anew, and take work again once there is space."""
        for _ in range(self._settings.rounds_in_flight_max):
            await self._in_flight.acquire()
        while self._queue:
            waiting = self._queue.popleft()
            self._queued_bytes -= waiting.size
            _answer(waiting, self._refusing)
        try:
            await self._rebuild()
            # Nobody tells when a disk has room again, so it is asked.
            while self._lacks_space():  # noqa: ASYNC110
                await asyncio.sleep(_DISK_POLL_S)
            if isinstance(self._refusing, DiskFull):
                self._refusing = None
                _LOG.info("disk_has_space_again")
        except Exception as error:  # noqa: BLE001 - no state to go on with
            self._fail(error)
        finally:
            for _ in range(self._settings.rounds_in_flight_max):
                self._in_flight.release()

    async def _rebuild(self) -> None:
        """Throw away the state that is ahead of the disk; until that is done, nobody reads it."""
        loop = asyncio.get_running_loop()
        old, self._recovered = self._live(), None
        await loop.run_in_executor(self._ledger, old.lookup.close)
        while self._recovered is None:
            try:
                self._recovered = await loop.run_in_executor(self._ledger, self._recover)
            except DiskFull:
                # Headers derived anew want a little room too.
                if not isinstance(self._refusing, DiskFull):
                    return
                await asyncio.sleep(_DISK_POLL_S)

    def _lacks_space(self) -> bool:
        return isinstance(self._refusing, DiskFull) and self._free_bytes() < self._settings.disk_reserve_bytes

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._stores.path).free

    def _answer_all(self, work: Sequence[_Waiting], error: BaseException) -> None:
        for waiting in work:
            _answer(waiting, error)

    # Lookups: on the ledger thread, over what is durable.

    async def lookup_accounts(self, ids: bytes) -> bytes:
        """Return n x 160 bytes for n x 16, zeros where missing; what they show is durable when this returns."""
        loop = asyncio.get_running_loop()
        recovered = self._live()

        leaves = await loop.run_in_executor(self._ledger, recovered.accounts, ids)
        pending = list(self._commits)
        if pending:
            # The state may be ahead of the disk by the rounds in flight: an answer waits for them.
            await asyncio.wait(pending)
        assert len(leaves) == len(ids) // 16 * ACCOUNT_BYTES
        return leaves

    async def lookup_transfers(self, digests: bytes) -> list[TransferEntry | None]:
        """Return the durable decision for each 32-byte record digest, None where there is none."""
        lookup = self._live().lookup
        wanted = [digests[at : at + 32] for at in range(0, len(digests), 32)]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._ledger, lambda: [lookup.transfer(digest) for digest in wanted])

    async def statement(
        self, account: bytes, *, after: bytes, limit: int, newest_first: bool
    ) -> tuple[list[TransferEntry], bytes]:
        """Return a page of an account's entries and the next cursor (empty at the end)."""
        bounded = max(1, min(limit, _STATEMENT_LIMIT_MAX))
        call = partial(self._live().lookup.statement, account, after=after, limit=bounded, newest_first=newest_first)
        return await asyncio.get_running_loop().run_in_executor(self._ledger, call)

    async def decision_proof(self, digest: bytes) -> bytes | None:
        """Return the proof of a decision against its signed header, None while its block is not sealed."""
        lookup = self._live().lookup
        return await asyncio.get_running_loop().run_in_executor(self._ledger, lookup.decision_proof, digest)

    async def blocks(self, shard: int, from_height: int, *, follow: bool) -> AsyncIterator[bytes]:
        """Yield signed headers of a shard from a height on; with ``follow``, wait for those to come."""
        height = max(1, from_height)
        while self._recovered is not None:
            block = self._stores.chain.get(shard, height)
            if block is not None:
                yield block.signed_header
                height += 1
            elif not follow:
                return
            else:
                async with self._sealed:
                    try:
                        await asyncio.wait_for(self._sealed.wait(), timeout=1)
                    except TimeoutError:
                        continue

    # Recovery.

    def _recover(self) -> Recovered:
        return recover(self.genesis, self.domain, self._stores, self._signer)

    def _live(self) -> Recovered:
        if self._recovered is None:
            raise self._refusing or ShuttingDown("the node is not running")
        return self._recovered


def _answer(waiting: _Waiting, error: BaseException | None) -> None:
    if not waiting.answered.done():
        waiting.answered.set_exception(error if error is not None else NodeFailed("no answer"))
