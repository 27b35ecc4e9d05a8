"""The shell of a domain: threads, disk and clock around ``shards.domain``.

The road of a batch: checked in a pool of threads (no GIL), applied in rounds on one ledger thread, committed on one
writer thread with one sync for all shards, and only then answered. While one round syncs the next is applied; headers
and indexes follow on a thread of their own, and lookups have another. A fault that a node must not go on from stops
it; a full disk does not: what was not durable is forgotten, the state is built anew from the log, and reads go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from engine.errors import DiskFull
from engine.invariants import invariant
from engine.relay_block import RelayBlock
from engine.types import ACCOUNT_BYTES, RelayRecordType
from shards.account_proofs import AccountProofs
from shards.domain import (
    AdminJob,
    AdminReply,
    BatchReply,
    CreditsJob,
    CreditsReply,
    RelayJob,
    RelayReply,
    Round,
    wire_bytes,
)
from shards.errors import NodeFailed, Overloaded, ShardsError, ShuttingDown
from shards.outbox import Outbox
from shards.pace import SealPace
from shards.reads import HOLDS_SHOWN_MAX, DurableReads, held, shown_rules
from shards.recovery import Recovered, Stores, recover
from shards.work_queue import Waiting, WorkQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from engine.admin import AdminColumns
    from engine.batch import BatchColumns
    from engine.checkpoint import Manifest
    from engine.genesis import Genesis
    from engine.proved_credits import ProvedCredits
    from shards.account_proofs import AccountAtBlock
    from shards.domain import BatchJob, DomainCore, Part
    from shards.neighbours import CreditsWanted
    from shards.run_proofs import UndecidedRun
    from shards.settings import NodeSettings
    from shards.signer import BlockSigner

__all__ = ["HOLDS_SHOWN_MAX", "DomainNode", "NodeStatus", "ShardStatus"]

_LOG = structlog.get_logger("clearspan.node")
_RETRY_AFTER_MS: Final = 100
# An admin request is checked and decided by itself, on the ledger thread of every shard: it counts as so many times
# its bytes, so that one round holds a few calls of them and not seconds of work.
_ADMIN_WEIGHT: Final = 16
_DISK_POLL_S: Final = 0.5
# A timer is set so much later than what it is for, so that it does not fire a moment too early, and again.
_PAST_DUE_S: Final = 0.001
_READ_POLL_S: Final = 0.02
# Work is taken again only with so much room, whatever the reserve: else every round would fill the disk anew.
_ROOM_BYTES_MIN: Final = 1 << 20
# Rounds that are answered and not yet indexed: a slow index holds new rounds up, and not memory.
_UNINDEXED_BYTES_MAX: Final = 32 << 20
_FOLLOW_UPS_MAX: Final = 256
# The lane of credits from other nodes: no participant has this number.
_NEIGHBOURS: Final = 0
# What a relay block decides leaves with the next seal: until that, at most so long, it waits for a round to go with.
_RELAY_HELD_NS: Final = 100_000_000
# More than so many blocks at once are what a node missed while it was away: those wait for nothing.
_RELAY_HELD_MAX: Final = 16
# What decides something on a shard; a block without it only moves relay time.
_DECIDING: Final = frozenset({RelayRecordType.REVEAL, RelayRecordType.DECISION})


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


class DomainNode(DurableReads):
    """One process's shards of one domain. Use from one event loop: start, submit and look up, stop."""

    def __init__(
        self,
        genesis: Genesis,
        domain: int,
        stores: Stores,
        signer: BlockSigner,
        settings: NodeSettings,
        *,
        served: Collection[int] | None = None,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """Prepare; nothing is read before ``start``. ``served``: the shards of the domain that are here (None: all)."""
        super().__init__(genesis, stores)
        self.domain = domain
        self._served = None if served is None else tuple(served)
        self._outbox = Outbox(genesis.hash_suite, stores.chain)
        self._signer = signer
        self._settings = settings
        self._now = now
        self._queue = WorkQueue(settings.queue_bytes_max)
        self._checking: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._in_flight = asyncio.Semaphore(settings.rounds_in_flight_max)
        self._commits: set[asyncio.Task[Exception | None]] = set()
        self._follow_ups: set[asyncio.Task[Exception | None]] = set()
        self._unindexed = 0
        self._heading = asyncio.Lock()
        self._following = asyncio.Lock()
        self._alone: set[asyncio.Task[Recovered]] = set()
        self._in_hand: list[Waiting] | None = None
        self._answered_in_hand = False
        self._relay: deque[Waiting] = deque()
        self._relay_until = 0
        self._relay_turn = asyncio.Lock()
        self._relaying: set[asyncio.Task[None]] = set()
        self._proofs = AccountProofs()
        self._on_sealed: list[Callable[[], None]] = []
        self._runs_may_wait = True
        self._mending: asyncio.Task[None] | None = None
        self._verifiers = ThreadPoolExecutor(settings.verify_threads, thread_name_prefix="verify")
        self._ledger = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="log")
        self._headers = ThreadPoolExecutor(1, thread_name_prefix="headers")
        self._indexer = ThreadPoolExecutor(1, thread_name_prefix="index")
        # What work goes on with, None while it is built.
        self._recovered: Recovered | None = None
        self._runner: asyncio.Task[None] | None = None
        self._failed: asyncio.Future[None] | None = None
        self._pace = SealPace(settings)
        self._logged_since_checkpoint = 0
        self._checkpointing: asyncio.Task[None] | None = None
        self._stopped = False

    # Life.

    async def start(self) -> None:
        """Recover from the checkpoint and the log's tail, then accept work. Raises what recovery names."""
        loop = asyncio.get_running_loop()
        self._failed = loop.create_future()
        build = partial(recover, self.genesis, self.domain, self._stores, self._signer, local=self._served)
        self._recovered = self._known = await loop.run_in_executor(self._ledger, build)
        self._runner = loop.create_task(self._rounds(), name="rounds")

    async def stop(self) -> None:
        """Finish what was accepted, write a checkpoint, close. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        self._refuse(ShuttingDown("the node is stopping"))
        self._wake.set()
        for task in (self._runner, self._mending):
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)
        self._answer_all(self._drained(), ShuttingDown("the node is stopping"))
        while self._commits or self._follow_ups or self._alone or self._relaying:
            await asyncio.wait((*self._commits, *self._follow_ups, *self._alone, *self._relaying))
        if self._checkpointing is not None:
            await asyncio.gather(self._checkpointing, return_exceptions=True)
        if self._goes_on():
            try:
                await self._checkpoint()
            except Exception as error:  # noqa: BLE001 - the log is whole without it
                _LOG.warning("checkpoint_skipped", reason=str(error))
        self._answer_all(self._drained(), ShuttingDown("the node is stopping"))
        while self._checking:
            await asyncio.wait(set(self._checking))
        await self._close()

    async def _close(self) -> None:
        """Let go of threads and files; whoever waits for blocks hears that there will be none."""
        known, self._recovered, self._known = self._known, None, None
        async with self._sealed:
            self._sealed.notify_all()
        for executor in (self._verifiers, self._ledger, self._writer, self._headers, self._indexer, self._reader):
            await asyncio.to_thread(executor.shutdown)
        try:
            if known is not None:
                await asyncio.to_thread(known.lookup.close)
        finally:
            self._stores.close()

    async def failed(self) -> None:
        """Wait until the node fails; raises the fault. A process that hosts the node stops then."""
        assert self._failed is not None
        await asyncio.shield(self._failed)

    def status(self) -> NodeStatus:
        """Return where the node stands, by what is durable."""
        known = self._reading()
        shards = tuple(ShardStatus(shard, *known.durable[shard]) for shard in known.core.machines)
        refusing = "" if self._refusing is None else type(self._refusing).__name__
        if not refusing and self._stores.room_bytes() < self._settings.disk_reserve_bytes:
            refusing = DiskFull.__name__
        return NodeStatus(self.domain, known.core.epoch, "synced", self._queue.queued_bytes, refusing, shards)

    # Work.

    async def submit(self, batch: BatchColumns, *, submitter: int) -> BatchReply:
        """Return one answer to each request once they are durable.

        Raises Overloaded, DiskFull, ShuttingDown (nothing was looked at) and NodeFailed (ask again after a restart).
        """
        reply = await self._enqueue(submitter, wire_bytes(batch), batch=batch)
        assert isinstance(reply, BatchReply)
        return reply

    async def administer(self, request: AdminColumns, *, submitter: int) -> AdminReply:
        """Return one answer to each admin request once they are durable. Raises as submit does."""
        reply = await self._enqueue(submitter, _ADMIN_WEIGHT * request.bodies.nbytes, job=AdminJob(request))
        assert isinstance(reply, AdminReply)
        return reply

    @property
    def relay_height(self) -> int:
        """Height of the last relay block that the shards have consumed; while one is consumed, of it or before it."""
        return self._live().core.relay_height

    async def relay_block(self, block: bytes) -> None:
        """Let every shard consume one finalized relay block; returns when that is durable.

        Raises EncodingError for bytes that are no block, with nothing done, and as ``relay_blocks`` does.
        """
        await self.relay_blocks((RelayBlock.decode(block, self.genesis.hash_suite),))

    async def relay_blocks(self, blocks: Sequence[RelayBlock]) -> None:
        """Let every shard consume final relay blocks, in one round with what else waits; returns when that is durable.

        Blocks consumed already are left out; the rest follows the last one without a gap. That they are final is the
        caller's to know. It runs to its end, whether or not the caller waits. Raises InvariantBroken for a gap or
        another network, with nothing done, and as submit does.
        """
        task = asyncio.get_running_loop().create_task(self._consume(tuple(blocks)))
        self._relaying.add(task)
        task.add_done_callback(self._relaying.discard)
        await asyncio.shield(task)

    async def _consume(self, blocks: tuple[RelayBlock, ...]) -> None:
        # One at a time: what was consumed is then known, and how much waits is the caller's memory and not this one's.
        async with self._relay_turn:
            known = self._live().core.relay_height
            self._raise_refusal()
            # Claims and refunds may use half of what new work leaves free.
            if self._stores.room_bytes() < self._settings.disk_reserve_bytes // 2:
                raise DiskFull(str(self._stores.path), self._stores.room_bytes())
            fresh = tuple(block for block in blocks if block.header.height > known)
            for height, block in enumerate(fresh, start=known + 1):
                found = block.header
                invariant(found.genesis_hash == self.genesis.hash, "relay_block_of_this_network")
                invariant(found.height == height, "relay_heights_follow", found=found.height, expected=height)
            if not fresh:
                return
            waiting = Waiting(0, 0, asyncio.get_running_loop().create_future(), job=RelayJob(fresh))
            self._relay.append(waiting)
            self._relay_until = time.monotonic_ns() + (_RELAY_HELD_NS if len(fresh) <= _RELAY_HELD_MAX else 0)
            self._wake.set()
            await waiting.answered

    # What goes between the nodes of one domain (CHANNEL-5).

    @property
    def remote_shards(self) -> tuple[int, ...]:
        """The shards of the domain that other nodes serve."""
        return self._live().core.remote

    async def credits_wanted(self) -> list[CreditsWanted]:
        """Return what to ask other nodes for: credits that a final header says were sent here."""
        return await asyncio.get_running_loop().run_in_executor(self._ledger, self._live().core.wanted)

    async def outgoing_since(self, wanted: CreditsWanted) -> ProvedCredits | None:
        """Return the next credits of a channel with their proof, None where there are none yet (``Neighbour``).

        Raises BlockMissing where a block that it must have is not kept.
        """
        self._reading()
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._outbox.outgoing_since, wanted)

    async def take_credits(self, destination: int, offered: ProvedCredits) -> CreditsReply:
        """Apply what a neighbour gave; returns when it is durable, or with why it was refused, and nothing changed.

        Raises as submit does.
        """
        job = CreditsJob(destination, offered)
        reply = await self._enqueue(_NEIGHBOURS, len(offered.messages), job=job)
        assert isinstance(reply, CreditsReply)
        return reply

    async def prove_account(self, account: int) -> AccountAtBlock | None:
        """Return an account as the next block leaves it, with its paths to that block's state root; None if unknown.

        The block is durable and its header signed when this returns. Raises as submit does.
        """
        self._live()
        self._raise_refusal()
        proven = self._proofs.ask(account)
        self._pace.worked = True
        self._wake.set()
        return await proven

    def _enqueue(
        self, submitter: int, size: int, *, batch: BatchColumns | None = None, job: AdminJob | CreditsJob | None = None
    ) -> asyncio.Future[BatchReply | AdminReply | RelayReply | CreditsReply]:
        """Refuse what cannot be taken; check first, so that nothing is half done."""
        self._live()
        self._raise_refusal()
        room = self._stores.room_bytes()
        if room < self._settings.disk_reserve_bytes:
            raise DiskFull(str(self._stores.path), room)
        if not self._queue.admits(submitter, size):
            raise Overloaded(self._queue.queued_bytes, self._settings.queue_bytes_max, _RETRY_AFTER_MS)
        waiting = Waiting(submitter, size, asyncio.get_running_loop().create_future(), batch, job)
        self._queue.add(waiting)
        if waiting.ready:
            self._wake.set()
        else:
            self._check_more()
        return waiting.answered

    def _check_more(self) -> None:
        """Check what waits, a few batches at a time: the pool never holds more of one submitter than his turn."""
        while len(self._checking) <= self._settings.verify_threads:
            waiting = self._queue.next_unchecked()
            if waiting is None:
                return
            task = asyncio.get_running_loop().create_task(self._check(waiting))
            self._checking.add(task)
            task.add_done_callback(self._checked)

    def _checked(self, task: asyncio.Task[None]) -> None:
        self._checking.discard(task)
        self._wake.set()
        self._check_more()

    async def _check(self, waiting: Waiting) -> None:
        """Split and verify in the pool: each further part is a task, so that one big batch uses all threads."""
        loop = asyncio.get_running_loop()
        assert waiting.batch is not None
        try:
            core = self._live().core
            check = partial(_split_and_verify, core, waiting.batch, waiting.submitter)
            job, others = await loop.run_in_executor(self._verifiers, check)
            if others:
                await asyncio.gather(*(loop.run_in_executor(self._verifiers, core.verify, part) for part in others))
            waiting.job = job
        except Exception as error:  # noqa: BLE001 - it answers this batch, and no other
            waiting.error = error

    # Rounds.

    async def _rounds(self) -> None:
        work: list[Waiting] | None = []
        try:
            while (work := await self._next_work()) is not None:
                while self._unindexed >= _UNINDEXED_BYTES_MAX or len(self._follow_ups) >= _FOLLOW_UPS_MAX:
                    await asyncio.wait(self._follow_ups, return_when=asyncio.FIRST_COMPLETED)
                # A node that mends holds every permit until there is room: what waits here is answered by it.
                self._in_hand = work
                await self._in_flight.acquire()
                self._in_hand = None
                if work and self._answered_in_hand:
                    self._answered_in_hand = False
                    self._in_flight.release()
                    continue
                if self._refusing is not None and not isinstance(self._refusing, ShuttingDown):
                    self._in_flight.release()
                    self._answer_all(work, self._refusing)
                    continue
                await self._round(work)
        except Exception as error:  # noqa: BLE001 - whatever escapes a round stops the node, by design
            self._fail(error)
            self._answer_all(work or [], NodeFailed(f"{type(error).__name__}: {error}"))

    async def _next_work(self) -> list[Waiting] | None:
        """Return relay blocks and checked work of all lanes in turn (empty when only a seal is due); None to end."""
        while not isinstance(self._refusing, NodeFailed):
            work = []
            for waiting in self._queue.take(self._settings.round_bytes_max):
                if waiting.error is not None:
                    _answer(waiting, waiting.error)
                else:
                    work.append(waiting)
            if self._relay and (work or self._relay_left() <= 0 or self._seal_due()):
                work[:0] = self._relay
                self._relay.clear()
            if work or self._seal_due():
                return work
            if isinstance(self._refusing, ShuttingDown) and not self._queue and not self._relay:
                return None
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s()):
                    await self._wake.wait()
        return None

    def _relay_left(self) -> int:
        """Return the ns for which relay blocks may wait for a round: what comes of them is seen after a seal only."""
        if self._refusing is not None:
            return 0
        return min(self._pace.left_if_worked(self._now()), self._relay_until - time.monotonic_ns())

    def _may_seal(self) -> bool:
        if self._refusing is not None:
            return False
        # What nobody waits for does not use up the reserve.
        return self._pace.worked or self._stores.room_bytes() >= self._settings.disk_reserve_bytes

    def _seal_due(self) -> bool:
        return self._pace.left(self._now()) <= 0 and self._may_seal()

    def _wait_s(self) -> float:
        """Return the seconds until a round is due by the time alone."""
        # While no seal may be made (refusing, or no room), nothing is gained by looking all the time.
        due_s = max(0, self._pace.left(self._now())) / 1_000_000_000 if self._may_seal() else _DISK_POLL_S
        if self._relay:
            due_s = min(due_s, max(0, self._relay_left()) / 1_000_000_000)
        return due_s + _PAST_DUE_S

    async def _round(self, work: Sequence[Waiting]) -> None:
        recovered = self._live()
        jobs = [waiting.job for waiting in work if waiting.job is not None]
        self._pace.worked |= any(not isinstance(job, RelayJob) or _decides(job) for job in jobs)
        seal = self._seal_due()
        if seal:
            self._pace.begin(self._now())
        proofs = self._proofs.take() if seal else None

        def step(now: int) -> Round:
            round_ = recovered.core.run(jobs, now, seal=seal)
            if proofs is not None:
                proofs.prove(recovered.core, round_)
            return round_

        try:
            whole = await self._apply(recovered, step, work)
        except BaseException as error:
            if proofs is not None:
                proofs.fail(error)
            raise
        if proofs is not None:
            whole.add_done_callback(proofs.answer)

    async def _run_alone(self, step: Callable[[Recovered, int], Round]) -> Recovered:
        """Run one round of another kind in order with the others; returns when it is durable, signed and indexed.

        It runs to its end, whether or not the caller waits. Raises what kept it from being durable.
        """
        task = asyncio.get_running_loop().create_task(self._alone_round(step))
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)
        return await asyncio.shield(task)

    async def _alone_round(self, step: Callable[[Recovered, int], Round]) -> Recovered:
        await self._in_flight.acquire()
        try:
            recovered = self._live()
            if not isinstance(self._refusing, ShuttingDown):
                self._raise_refusal()
        except BaseException:
            self._in_flight.release()
            raise
        whole = await self._apply(recovered, partial(step, recovered), [])
        error = await whole
        if error is not None:
            raise error
        return recovered

    async def _apply(
        self, recovered: Recovered, step: Callable[[int], Round], work: Sequence[Waiting]
    ) -> asyncio.Task[Exception | None]:
        """Run a step on the ledger thread under one permit of rounds in flight, and begin what comes after it.

        Returns the task that ends when headers and index have followed. A step that raises stops the node: nobody
        knows what it left.
        """
        loop = asyncio.get_running_loop()
        try:
            round_ = await loop.run_in_executor(self._ledger, step, self._now())
        except BaseException as error:
            self._in_flight.release()
            self._fail(error)
            raise
        self._runs_may_wait |= round_.prepares
        self._pace.sealed({block.header.shard: block.header.height for block in round_.sealed})
        durable = loop.create_task(self._commit(recovered, round_, work))
        whole = loop.create_task(self._follow_up(recovered, round_, durable))
        for tasks, task in ((self._commits, durable), (self._follow_ups, whole)):
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        self._unindexed += (size := round_.log_bytes)
        whole.add_done_callback(lambda _: self._note_indexed(size))
        return whole

    def _note_indexed(self, size: int) -> None:
        self._unindexed -= size

    async def _commit(self, recovered: Recovered, round_: Round, work: Sequence[Waiting]) -> Exception | None:
        """Make a round durable, then answer; one writer thread keeps the rounds in order. Returns what failed."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, recovered.append, round_)
        except DiskFull as error:
            self._answer_all(work, error)
            self._begin_disk_full(recovered, error)
            return error
        except Exception as error:  # noqa: BLE001 - a log that failed is never retried on the same handle
            self._answer_all(work, NodeFailed(f"the log failed: {error}"))
            self._fail(error)
            return error
        finally:
            self._in_flight.release()
        recovered.note_durable(round_)
        for waiting, reply in zip(work, round_.replies, strict=True):
            if not waiting.answered.done():
                waiting.answered.set_result(reply)
        return None

    async def _follow_up(
        self, recovered: Recovered, round_: Round, durable: asyncio.Task[Exception | None]
    ) -> Exception | None:
        """Do what comes after the answers, in the order of the log: headers, index, now and then a checkpoint."""
        error = await durable
        if error is not None:
            return error
        # Finality waits for headers and not for the index, which merges what it has gathered now and then.
        for turn, step in ((self._heading, self._sign), (self._following, self._index)):
            async with turn:
                if recovered.abandoned is not None or isinstance(self._refusing, NodeFailed):
                    # What is built anew from the log does this.
                    return recovered.abandoned or self._refusing
                try:
                    await step(recovered, round_)
                except DiskFull as full:
                    self._begin_disk_full(recovered, full)
                    return full
                except Exception as fault:  # noqa: BLE001 - an index or header that cannot be kept stops the node, by design
                    self._fail(fault)
                    return fault
        self._logged_since_checkpoint += round_.log_bytes
        due = self._logged_since_checkpoint >= self._settings.checkpoint_interval_bytes and round_.sealed
        if due and self._checkpointing is None and not self._stopped:
            self._logged_since_checkpoint = 0
            self._checkpointing = asyncio.get_running_loop().create_task(self._checkpoint())
            self._checkpointing.add_done_callback(self._checkpoint_done)
        return None

    async def _sign(self, _: Recovered, round_: Round) -> None:
        if round_.sealed:
            keep = partial(self._stores.keep_blocks, self.genesis, round_.sealed, self._signer)
            self._keep_headers(await asyncio.get_running_loop().run_in_executor(self._headers, keep))
            for tell in self._on_sealed:
                tell()

    async def _index(self, recovered: Recovered, round_: Round) -> None:
        if round_.indexed:
            await asyncio.get_running_loop().run_in_executor(self._indexer, recovered.index, round_)
        if round_.sealed:
            async with self._sealed:
                self._sealed.notify_all()

    # Checkpoints.

    async def _checkpoint(self) -> None:
        """Seal, take every shard's state at that seal, and write it beside the road once the seal is durable."""
        loop = asyncio.get_running_loop()
        taken: list[tuple[Manifest, bytes]] = []
        problems: list[Exception] = []

        def seal_and_take(recovered: Recovered, now: int) -> Round:
            round_ = recovered.core.run([], now, seal=True)
            try:
                taken.extend(recovered.take_checkpoint())
            except Exception as error:  # noqa: BLE001 - the seal stands without the copy, and must reach the log
                problems.append(error)
            return round_

        recovered = await self._run_alone(seal_and_take)
        if problems:
            raise problems[0]
        await loop.run_in_executor(self._indexer, recovered.lookup.flush)
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

    def _goes_on(self) -> bool:
        """Whether the state in memory is one that the log will follow."""
        sound = self._recovered is not None and self._recovered.abandoned is None and self._recovered.whole
        return sound and not isinstance(self._refusing, NodeFailed)

    def _fail(self, error: BaseException) -> None:
        if isinstance(self._refusing, NodeFailed):
            return
        _LOG.error("node_failed", error=type(error).__name__, reason=str(error))
        failure = NodeFailed(f"{type(error).__name__}: {error}")
        self._refuse(failure)
        self._answer_all(self._drained(), failure)
        self._proofs.take().fail(failure)
        self._wake.set()
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # whoever awaits failed() hears it; nobody is not an error

    def _begin_disk_full(self, recovered: Recovered, error: DiskFull) -> None:
        """Forget what is not durable and build the state anew from the log; accept again when there is space."""
        if recovered.abandoned is None:
            recovered.abandoned = error
        if self._refusing is None and recovered is self._recovered:
            _LOG.warning("disk_full", path=error.path, free_bytes=error.free_bytes)
            self._refusing = error
            self._mending = asyncio.get_running_loop().create_task(self._wait_for_space(recovered))

    async def _wait_for_space(self, abandoned: Recovered) -> None:
        """Hold the rounds, build the state anew, and take work again once there is space."""
        for _ in range(self._settings.rounds_in_flight_max):
            await self._in_flight.acquire()
        try:
            while self._commits or self._follow_ups:
                await asyncio.wait((*self._commits, *self._follow_ups))
            self._answer_all(self._drained(), self._refusing)
            if self._in_hand:
                self._answer_all(self._in_hand, self._refusing)
                self._answered_in_hand = True
            self._recovered = None
            rebuilt = await self._rebuild(abandoned)
            while isinstance(self._refusing, DiskFull) and (not self._has_room() or not rebuilt.whole):
                await asyncio.sleep(_DISK_POLL_S)
                if self._has_room() and not rebuilt.whole:
                    rebuilt = await self._rebuild(rebuilt)
            self._recovered = rebuilt
            if isinstance(self._refusing, DiskFull):
                self._refusing = None
                _LOG.info("disk_has_space_again")
        except Exception as error:  # noqa: BLE001 - no state to go on with
            self._fail(error)
        finally:
            self._mending = None
            for _ in range(self._settings.rounds_in_flight_max):
                self._in_flight.release()
            self._wake.set()

    async def _rebuild(self, after: Recovered) -> Recovered:
        """Replay what is durable. It is read from then on; work goes on with it when it is whole."""
        build = partial(recover, self.genesis, self.domain, self._stores, self._signer, after=after)
        rebuilt = await asyncio.get_running_loop().run_in_executor(self._ledger, build)
        self._headers_kept.clear()
        self._runs_may_wait = True
        self._known = rebuilt
        return rebuilt

    def _has_room(self) -> bool:
        return self._stores.room_bytes() >= max(self._settings.disk_reserve_bytes, _ROOM_BYTES_MIN)

    def _drained(self) -> list[Waiting]:
        """Take everything that waits, relay blocks too."""
        relay = list(self._relay)
        self._relay.clear()
        return [*relay, *self._queue.drain()]

    @staticmethod
    def _answer_all(work: Iterable[Waiting], error: BaseException | None) -> None:
        for waiting in work:
            _answer(waiting, error)

    # Lookups: over what is durable, and open while work is refused.

    async def lookup_accounts(self, ids: bytes) -> bytes:
        """Return n x 160 bytes for n x 16, zeros where missing; what they show is durable when this returns."""
        leaves = await self._read_state(lambda known: known.accounts(ids))
        assert len(leaves) == len(ids) // 16 * ACCOUNT_BYTES
        return leaves

    async def rules(self) -> bytes:
        """Return thresholds, breakers and tiers that stand here, n x 128, each once; durable when this returns."""
        return await self._read_state(shown_rules)

    async def holds(self) -> bytes:
        """Return what waits for a decision, n x 200, by shard and age, at most HOLDS_SHOWN_MAX; durable then."""
        return await self._read_state(held)

    async def _read_state(self, ask: Callable[[Recovered], bytes]) -> bytes:
        """Read the shards' state on the ledger's thread, and wait until it is durable."""
        loop = asyncio.get_running_loop()
        while True:
            known = self._reading()
            found = await loop.run_in_executor(self._ledger, ask, known)
            if self._commits:
                # The state may be ahead of the disk by the rounds in flight: an answer waits for them.
                await asyncio.wait(set(self._commits))
            if isinstance(self._refusing, NodeFailed):
                self._raise_refusal()
            if known.abandoned is None:
                return found
            # It was ahead, and is thrown away: what is built anew answers.
            while self._known is known:
                if self._mending is None:
                    raise DiskFull(str(self._stores.path), self._stores.room_bytes())
                await asyncio.wait((self._mending,), timeout=_READ_POLL_S)

    async def undecided_runs(self) -> list[UndecidedRun]:
        """Return the runs over shards that the relay has not decided yet."""
        recovered = self._live()
        if not self._runs_may_wait:
            return []
        # A round that prepares one from now on says so again.
        self._runs_may_wait = False
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._ledger, recovered.undecided_runs)
        except BaseException:
            self._runs_may_wait = True
            raise
        self._runs_may_wait |= bool(found)
        return found

    def when_sealed(self, tell: Callable[[], None]) -> None:
        """Call this whenever headers were signed and kept, from the event loop."""
        self._on_sealed.append(tell)

    def note_final(self, heights: Mapping[int, int]) -> None:
        """Note up to which height each of these shards is final."""
        self._pace.final(heights)
        self._wake.set()

    def _live(self) -> Recovered:
        """Return what work goes on with."""
        if self._recovered is None:
            self._raise_refusal()
            raise ShuttingDown("the node is not running")
        return self._recovered


def _split_and_verify(core: DomainCore, batch: BatchColumns, submitter: int) -> tuple[BatchJob, list[Part]]:
    """Split a batch and verify it where it is of one piece; return the parts that are still to be verified."""
    job = core.split(batch, submitter=submitter)
    parts = job.to_verify
    if len(parts) > 1:
        return job, parts
    for part in parts:
        core.verify(part)
    return job, []


def _answer(waiting: Waiting, error: BaseException | None) -> None:
    if not waiting.answered.done():
        waiting.answered.set_exception(error if error is not None else NodeFailed("no answer"))


def _decides(job: RelayJob) -> bool:
    """Whether one of the blocks may end a lock or a run: then a seal follows soon, as after any work."""
    return any(record.type in _DECIDING for block in job.blocks for record in block.records)
