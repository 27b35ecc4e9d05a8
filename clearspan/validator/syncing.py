"""Catching up over the wire: asks peers, has every answer verified beside the loop, and hands the core what is final.

It promises that a block is in the book before the core goes on from it, and that the road stays free: verification runs
in a thread, and the core is told of the last block of a run only.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import structlog

from clearspan.pki import channel_credentials
from clearspan.validator.entries import entry_of_synced
from clearspan.validator.links import PROTOCOL_VERSION, channel_options
from engine.errors import HeaderConflict
from engine.refusals import EncodingError
from relay.checkpoint import CHECKPOINT_HEIGHTS
from relay.sync import Adopt, Ask, Conflict, Drop, Restored, Sync, Synced
from relay.sync_messages import SyncRequest, SyncStatus, Wanted, decode_reply
from relay.v1 import relay_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clearspan.pki import TlsFiles
    from clearspan.validator.addresses import AddressBook
    from clearspan.validator.config import PeersSection
    from clearspan.validator.standing import Validator
    from relay.actions import Behind
    from relay.sync import SyncAction

__all__ = ["Syncing", "ask_status", "highest_elsewhere"]

SYNC_PATH: Final = "/relay.v1.Relay/Sync"
_CALL_S: Final = 5.0
_STATUS_S: Final = 1.0
_AGAIN_S: Final = 0.25
_OBSERVER_S: Final = 1.0
_NS_PER_S: Final = 1_000_000_000
# Without any news for so long the run ends, and another begins with all peers.
_IDLE_S: Final = 10.0
_log = structlog.get_logger("clearspan.validator")


class Syncing:
    """Brings one validator up to the others whenever its core says that it is behind."""

    def __init__(self, validator: Validator, own_key: bytes, tls: TlsFiles, settings: PeersSection) -> None:
        """Put it together; ``run`` is the task."""
        self._validator, self._own_key, self._tls = validator, own_key, tls
        self._options = channel_options(settings)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="validator-sync")
        self._needed = asyncio.Event()
        self.runs = 0
        self.adopted = 0
        self.dropped: dict[str, int] = {}
        self.halted = False

    def wake(self, behind: Behind) -> None:
        """Note that the core is behind."""
        self._validator.target = max(self._validator.target, behind.height if behind.certificate is not None else 0)
        self._needed.set()

    async def run(self) -> None:
        """Catch up whenever it is needed, until cancelled; raises what the book fails with."""
        try:
            while not self.halted:
                # Nobody speaks to who is in no set: an observer, or a member of a set to come, asks by itself.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._needed.wait(), self._pause_s())
                self._needed.clear()
                self.runs += 1
                await self._catch_up()
                if self._validator.target > self._validator.height:
                    self._needed.set()
                    await asyncio.sleep(_AGAIN_S)
        finally:
            self._worker.shutdown(wait=False, cancel_futures=True)

    def _pause_s(self) -> float | None:
        return _OBSERVER_S if self._validator.shell.core.index is None else None

    async def _catch_up(self) -> None:
        run = _Run(self, self._validator, self._worker)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(run.close)
            for entry in self._validator.addresses.entries:
                target = self._validator.addresses.target(entry.public_key)
                if entry.public_key != self._own_key and target is not None:
                    channel = grpc.aio.secure_channel(target, channel_credentials(self._tls), options=self._options)
                    run.asks[entry.public_key] = channel.unary_unary(
                        SYNC_PATH,
                        request_serializer=relay_pb2.SyncQuestion.SerializeToString,
                        response_deserializer=relay_pb2.SyncAnswer.FromString,
                    )
                    await stack.enter_async_context(channel)
            await run.go()


async def ask_status(target: str, genesis_hash: bytes, tls: TlsFiles, options: Sequence[tuple[str, int]]) -> int | None:
    """Return the final height that a validator says it has, None where it does not answer at once: its word only."""
    question = SyncRequest(1, Wanted.STATUS).encode(genesis_hash)
    async with grpc.aio.secure_channel(target, channel_credentials(tls), options=options) as channel:
        call: Any = channel.unary_unary(
            SYNC_PATH,
            request_serializer=relay_pb2.SyncQuestion.SerializeToString,
            response_deserializer=relay_pb2.SyncAnswer.FromString,
        )
        try:
            request = relay_pb2.SyncQuestion(version=PROTOCOL_VERSION, question=question)
            reply = decode_reply((await call(request, timeout=_STATUS_S)).answer, genesis_hash)
        except (grpc.aio.AioRpcError, EncodingError):
            return None
        return reply.height if isinstance(reply, SyncStatus) else None


async def highest_elsewhere(
    book: AddressBook, own_key: bytes, genesis_hash: bytes, tls: TlsFiles, settings: PeersSection
) -> int:
    """Return the highest final height that any peer who answers at once says it has, 0 when none does: words only."""
    options = channel_options(settings)
    keys = [entry.public_key for entry in book.entries if entry.public_key != own_key]
    targets = [target for key in keys if (target := book.target(key)) is not None]
    said = await asyncio.gather(*(ask_status(target, genesis_hash, tls, options) for target in targets))
    return max((each for each in said if each is not None), default=0)


class _Run:
    """One catch-up with the peers that there are."""

    def __init__(self, syncing: Syncing, validator: Validator, worker: ThreadPoolExecutor) -> None:
        self.asks: dict[bytes, Any] = {}
        self._syncing, self._validator, self._worker = syncing, validator, worker
        self._sync = Sync(validator.state)
        self._answers: asyncio.Queue[tuple[bytes, bytes | None]] = asyncio.Queue()  # bounded by what was asked
        self._tasks: set[asyncio.Task[None]] = set()
        self._done = False

    async def go(self) -> None:
        """Ask, take answers, adopt, until nobody has more or nobody is left."""
        for key in self.asks:
            await self._perform(await self._step(partial(self._sync.join, key)))
        while self.asks and not self._done and not self._reached():
            wake = max(0.0, (self._sync.next_wake - time.monotonic_ns()) / _NS_PER_S)
            try:
                async with asyncio.timeout(min(wake, _IDLE_S)):
                    key, data = await self._answers.get()
            except TimeoutError:
                await self._perform(await self._step(self._sync.tick))
                continue
            if data is None:
                self.asks.pop(key, None)
                await self._perform(await self._step(partial(self._sync.leave, key)))
            else:
                await self._perform(await self._step(partial(self._sync.receive, key, data)))
            state = self._validator.state
            if state.height > self._sync.state.height:
                await self._perform(await self._step(partial(self._sync.advance, state)))

    def _reached(self) -> bool:
        """Whether the core is where the last certificate that it could not follow said."""
        return 0 < self._validator.target <= self._validator.height

    async def close(self) -> None:
        """Give up what was asked and not answered."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _step(self, step: Callable[[int], list[SyncAction]]) -> list[SyncAction]:
        """Run a step of the core of catching up in its thread: verifying blocks takes long."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, step, time.monotonic_ns())

    async def _perform(self, actions: Sequence[SyncAction]) -> None:
        adopted = [action for action in actions if isinstance(action, Adopt)]
        restored = [action for action in actions if isinstance(action, Restored)]
        for found in restored:
            _log.info("sync_restored", height=found.state.height)
            state = found.state
            await self._write(partial(self._validator.chain.restart, state.height, state.encode()))
        if adopted:
            await self._adopt(adopted)
        for action in actions:
            if isinstance(action, Ask):
                assert isinstance(action.peer, bytes)
                self._ask(action.peer, action.message)
            elif isinstance(action, Drop):
                assert isinstance(action.peer, bytes)
                dropped = self._syncing.dropped
                dropped[action.reason] = dropped.get(action.reason, 0) + 1
                self.asks.pop(action.peer, None)
                _log.warning("sync_peer_dropped", key=action.peer[:8].hex(), reason=action.reason)
            elif isinstance(action, Conflict):
                _log.error("sync_conflict", height=action.height, reason=action.reason)
                self._syncing.halted = self._done = True
            elif isinstance(action, Synced):
                self._done = True

    async def _adopt(self, adopted: Sequence[Adopt]) -> None:
        """Keep the blocks in one commit, then let the core go on from the last one."""
        validator = self._validator
        shell = validator.shell
        entries = [entry_of_synced(each.block, each.certificate, shell.generation) for each in adopted]
        try:
            await self._write(lambda: validator.chain.append(*entries))
        except HeaderConflict as error:
            _log.error("fork_seen", height=error.height)
            self._syncing.halted = self._done = True
            return
        for each in adopted:
            if each.state.height % CHECKPOINT_HEIGHTS == 0:
                encoded = each.state.encode()
                await self._write(partial(validator.chain.keep_state, each.state.height, encoded))
        last = adopted[-1]
        self._syncing.adopted += len(adopted)
        await shell.adopt(last.state, last.block, last.certificate)
        _log.info("synced_to", height=last.state.height)

    async def _write(self, action: Callable[[], None]) -> None:
        await self._validator.shell.write(action)

    def _ask(self, key: bytes, message: bytes) -> None:
        if key in self.asks:
            task = asyncio.get_running_loop().create_task(self._call(key, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _call(self, key: bytes, message: bytes) -> None:
        """Ask one peer one question; a peer that cannot be reached leaves the run."""
        question = relay_pb2.SyncQuestion(version=PROTOCOL_VERSION, question=message)
        try:
            found = await self.asks[key](question, timeout=_CALL_S)
            self._answers.put_nowait((key, found.answer))
        except grpc.aio.AioRpcError as error:
            _log.info("sync_peer_lost", key=key[:8].hex(), code=error.code().name)
            self._answers.put_nowait((key, None))
