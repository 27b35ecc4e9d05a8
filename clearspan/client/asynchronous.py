"""The client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
import grpc.aio

from clearspan.client.core import Attempt, ClientCore, Network, RetryPolicy, Steps, StreamCore
from clearspan.client.finality import FinalityCore
from clearspan.client.transport import CHANNEL_OPTIONS, CLOSED, method_path, refusal_of_error
from clearspan.pki import TlsFiles, channel_credentials
from clearspan.roles import Rpc
from clearspan.signer import Signer, new_batch_id
from engine.batch import BatchColumns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from clearspan.client.finality import ProvenBalance, ProvenReceipt
    from clearspan.client.results import (
        AccountView,
        AdminResult,
        BatchResult,
        NetworkStatus,
        StatementPage,
        TransferView,
    )
    from clearspan.status import Refusal
    from engine.admin import AdminColumns
    from engine.block import Decision, DecisionProof
    from engine.block_receipt import BlockFinding
    from engine.header import SignedHeader
    from engine.record import Transfer
    from engine.validators import ValidatorSet
    from relay.light import LightClient

    _Stream = grpc.aio.StreamStreamCall[bytes, bytes]

__all__ = ["STATEMENT_PAGE", "STREAM_WINDOW", "AsyncClient"]

STREAM_WINDOW = 8
STATEMENT_PAGE = 500

Value = TypeVar("Value")

# What writing to a call that has ended raises, depending on how it ended.
_WRITE_ERRORS = (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError)


class AsyncClient:
    """One node's service. Made in the event loop that uses it; calls may run side by side.

    Every method raises Refused, Unreachable, TimedOut or VerificationFailed, and nothing of gRPC's.
    """

    def __init__(
        self,
        target: str,
        credentials: TlsFiles,
        *,
        genesis_hash: bytes | None = None,
        block_keys: Mapping[int, tuple[int, bytes]] | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        """Prepare a channel to host:port; nothing is sent yet.

        genesis_hash pins the network: without it the node is believed about its genesis. block_keys (key id → suite and
        public key) adds keys that sign headers beside those of the genesis. Raises CertificateInvalid.
        """
        policy = policy if policy is not None else RetryPolicy()
        self._core = ClientCore(target, policy, time.monotonic, genesis_hash, block_keys)
        self._finality = FinalityCore(self._core, time.monotonic)
        self._channel = grpc.aio.secure_channel(target, channel_credentials(credentials), options=CHANNEL_OPTIONS)
        self._methods: dict[Rpc, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = {
            rpc: self._channel.unary_unary(method_path(rpc)) for rpc in Rpc
        }

    @classmethod
    def connect(cls, target: str, credentials: TlsFiles, **options: Any) -> Self:
        """Return a client, to be used in `async with`; options as of the class."""
        return cls(target, credentials, **options)

    async def __aenter__(self) -> Self:
        """Use it in a block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close at the end of the block."""
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls in progress are given up."""
        await self._channel.close()

    async def network(self) -> Network:
        """Return genesis, domain and block keys; fetched once."""
        return await self._drive(self._core.network())

    async def status(self) -> NetworkStatus:
        """Return how the node stands."""
        return await self._drive(self._core.status())

    async def submit(
        self, batch: BatchColumns | Sequence[Transfer], signer: Signer | None = None, *, batch_id: bytes | None = None
    ) -> BatchResult:
        """Settle a batch of signed columns, or single records that signer signs here.

        Returns when the decisions are durable. A refused batch raises Refused, and nothing of it was decided; a refused
        record is a result. After TimedOut or Unreachable call it again with the same columns.
        """
        return await self._drive(self._core.submit(await self._columns(batch, signer, batch_id)))

    async def stream(
        self, batches: Iterable[BatchColumns] | AsyncIterable[BatchColumns], *, window: int = STREAM_WINDOW
    ) -> AsyncIterator[BatchResult]:
        """Settle many batches over one stream; results come in the order of the batches.

        Up to window batches are on their way or waiting to be taken. A lost connection is made again and what was
        unanswered is sent again; a batch that is refused for good comes as a result with `refusal`.
        """
        run = _StreamRun(self._channel, StreamCore(window, self._core.backoff()), _each(batches))
        try:
            async for result in run.results():
                yield result
        finally:
            await run.close()

    async def administer(self, columns: AdminColumns, *, batch_id: bytes | None = None) -> AdminResult:
        """Decide admin requests, as `Signer.admin_columns` makes them. Raises as submit does."""
        return await self._drive(self._core.administer(columns, batch_id if batch_id is not None else new_batch_id()))

    async def accounts(self, ids: Sequence[int]) -> list[AccountView | None]:
        """Return accounts in the order asked for, None where there is none; at most 8,192 at once."""
        return await self._drive(self._core.accounts(ids))

    async def transfers(self, digests: Sequence[bytes]) -> list[TransferView | None]:
        """Return decided transfers by record digest, None where one is unknown or not the caller's."""
        return await self._drive(self._core.transfers(digests))

    async def statement(
        self, account: int, *, newest_first: bool = True, page: int = STATEMENT_PAGE
    ) -> AsyncIterator[TransferView]:
        """Iterate over the transfers of an account, fetched by the page."""
        after = b""
        while True:
            found = await self._drive(self._core.statement(account, after, page, newest_first=newest_first))
            for transfer in found.transfers:
                yield transfer
            if not found.next:
                return
            after = found.next

    async def statement_page(
        self, account: int, *, after: bytes = b"", limit: int = STATEMENT_PAGE, newest_first: bool = True
    ) -> StatementPage:
        """Return one page of a statement, to go on from later by its `next`."""
        return await self._drive(self._core.statement(account, after, limit, newest_first=newest_first))

    async def inspect(self, kind: int, query: bytes, look: AdminColumns | None = None) -> tuple[bytes, int]:
        """Ask for a view (``clearspan.inspection``) as supervisor or operator; return it and the look's time, ns."""
        return await self._drive(self._core.inspect(kind, query, look))

    async def decision_proof(self, digest: bytes) -> tuple[DecisionProof, Decision]:
        """Return the proof of a decision, verified under the shard's block key, and what it proves.

        Raises Refused (not_found) until its block is sealed, VerificationFailed for a proof that does not hold.
        """
        return await self._drive(self._core.decision_proof(digest))

    async def receipt(
        self, digest: bytes, *, payee: bool = False, wait_s: float = 30.0, verified: bool = False
    ) -> ProvenReceipt:
        """Return the verified receipt of a record by its digest: the payer's, or the payee's (money that arrived).

        Waits until it is final, at most wait_s; with verified, until validators have re-executed it. Raises Refused
        (not_found) after that, VerificationFailed for one that does not hold.
        """
        return await self._drive(self._finality.receipt(digest, payee=payee, wait_s=wait_s, verified=verified))

    async def balance_receipt(self, account: int, *, wait_s: float = 30.0, verified: bool = False) -> ProvenBalance:
        """Return the verified receipt of an account as the next block leaves it. Waits and raises as receipt does."""
        return await self._drive(self._finality.balance_receipt(account, wait_s=wait_s, verified=verified))

    async def final_blocks(
        self, shard: int, from_height: int = 0, *, wait_s: float = 5.0, verified: bool = False
    ) -> tuple[int, list[BlockFinding]]:
        """Return the next height to ask for, and a shard's final blocks with all decisions from a height on, verified.

        Height 0 is the one after the newest that is final. Waits at most wait_s (and 5 s) for the first; none is no
        fault. ``clearspan.client.decisions`` follows all shards of a node with it.
        """
        steps = self._finality.blocks(shard, from_height, wait_s=wait_s, verified=verified)
        return await self._drive(steps)

    async def validators(self) -> ValidatorSet:
        """Return the newest validator set, each change since the genesis proven: what a receipt is checked with."""
        return await self._drive(self._finality.validators())

    async def light_client(self) -> LightClient:
        """Return the light client of this connection with every set that a proof leads to now; it goes on being used.

        Who follows the relay by itself begins with it.
        """
        return await self._drive(self._finality.light_client())

    async def blocks(self, shard: int, *, from_height: int = 1, follow: bool = False) -> AsyncIterator[SignedHeader]:
        """Iterate over a shard's headers, each verified and the child of the one before; with follow, wait for more.

        A lost connection is made again at the height that is due.
        """
        network = await self.network()
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(
            method_path(Rpc.STREAM_BLOCKS)
        )
        height, parent, backoff = from_height, None, self._core.backoff()
        while True:
            request = self._core.blocks_request(network, shard, height, follow=follow)
            try:
                async for content in method(request):
                    signed = self._core.read_block(network, content, shard, height, parent)
                    height, parent = height + 1, signed.header.hash
                    backoff.reset()
                    yield signed
            except grpc.aio.AioRpcError as error:
                await asyncio.sleep(backoff.after(refusal_of_error(error)))
            else:
                return

    async def _columns(
        self, batch: BatchColumns | Sequence[Transfer], signer: Signer | None, batch_id: bytes | None
    ) -> BatchColumns:
        if isinstance(batch, BatchColumns):
            return batch if signer is None else signer.sign_columns(batch)
        if signer is None:
            message = "single records need a signer"
            raise TypeError(message)
        return signer.sign((await self.network()).domain.domain, batch, batch_id)

    async def _drive(self, steps: Steps[Value]) -> Value:
        outcome: bytes | Refusal | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                value: Value = done.value
                return value
            if isinstance(step, Attempt):
                outcome = await self._attempt(step)
            else:
                await asyncio.sleep(step.seconds)
                outcome = None

    async def _attempt(self, attempt: Attempt) -> bytes | Refusal:
        try:
            reply: bytes = await self._methods[attempt.rpc](attempt.content, timeout=attempt.timeout_s)
        except grpc.aio.AioRpcError as error:
            return refusal_of_error(error)
        return reply


class _StreamRun:
    """One reading of `stream`: a pump that sends, a reader that yields, and the connection that both use."""

    def __init__(self, channel: grpc.aio.Channel, core: StreamCore, source: AsyncIterator[BatchColumns]) -> None:
        self._method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            method_path(Rpc.SUBMIT_STREAM)
        )
        self._core = core
        self._source = source
        self._call: _Stream | None = None
        self._writing = asyncio.Lock()
        self._room = asyncio.Event()
        self._exhausted = False
        self._pump: asyncio.Task[None] | None = None
        self._writers: set[asyncio.Task[None]] = set()

    async def results(self) -> AsyncIterator[BatchResult]:
        """Yield results until the source has ended and all of it is answered."""
        self._pump = asyncio.create_task(self._send_all())
        self._pump.add_done_callback(lambda _: self._wake())
        while True:
            refusal: Refusal | None = None
            try:
                await self._open()
                async for result in self._read():
                    yield result
            except grpc.aio.AioRpcError as error:
                refusal = refusal_of_error(error)
            except asyncio.CancelledError:
                if not self._source_failed():
                    raise
            self._call = None
            if self._pump.done():
                self._pump.result()  # what the source raised is the caller's
                if not self._core.unanswered:
                    return
            await asyncio.sleep(self._core.backoff.after(refusal if refusal is not None else CLOSED))

    async def close(self) -> None:
        """Give up what is in progress."""
        tasks = [task for task in (self._pump, *self._writers) if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        if self._call is not None:
            self._call.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _open(self) -> None:
        """Connect, and begin to send what is unanswered before anything new; replies are read meanwhile."""
        await self._writing.acquire()
        self._core.backoff.attempt()
        self._call = self._method()
        self._start(self._send_again(self._core.again()))

    async def _read(self) -> AsyncIterator[BatchResult]:
        call = self._call
        assert call is not None
        while isinstance(content := await call.read(), bytes):  # the stream ends with a mark of gRPC's
            results, again, pause = self._core.receive(content)
            if again is not None:
                self._start(self._send_later(again, pause))
            for result in results:
                yield result
            self._room.set()
            await self._close_if_done()

    # Writing happens beside reading and never before it: a peer whose replies are not read does not read either.

    def _start(self, writing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(writing)
        self._writers.add(task)
        task.add_done_callback(self._writers.discard)

    async def _send_again(self, contents: list[bytes]) -> None:
        try:
            for content in contents:
                await self._write_now(content)
        finally:
            self._writing.release()
        await self._close_if_done()

    async def _send_later(self, content: bytes, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        async with self._writing:
            await self._write_now(content)

    async def _send_all(self) -> None:
        async for batch in self._source:
            while not self._core.has_room:
                self._room.clear()
                await self._room.wait()
            async with self._writing:
                content = self._core.take(batch)
                await self._write_now(content)
        self._exhausted = True
        await self._close_if_done()

    async def _write_now(self, content: bytes) -> None:
        if self._call is None:
            return  # it is unanswered, and so goes out first on the next connection
        # The reader hears of an error too, and connects again.
        with contextlib.suppress(*_WRITE_ERRORS):
            await self._call.write(content)

    async def _close_if_done(self) -> None:
        """Say that nothing more comes, once everything is answered; the service then ends the stream."""
        if not self._exhausted or self._core.unanswered:
            return
        async with self._writing:
            if self._call is not None and not self._call.done():
                with contextlib.suppress(*_WRITE_ERRORS):
                    await self._call.done_writing()

    def _wake(self) -> None:
        """End the stream when the source failed: the reader would wait for replies that never come."""
        if self._source_failed() and self._call is not None:
            self._call.cancel()

    def _source_failed(self) -> bool:
        pump = self._pump
        return pump is not None and pump.done() and not pump.cancelled() and pump.exception() is not None


async def _each(batches: Iterable[BatchColumns] | AsyncIterable[BatchColumns]) -> AsyncIterator[BatchColumns]:
    if isinstance(batches, AsyncIterable):
        async for batch in batches:
            yield batch
        return
    plain: Iterator[BatchColumns] = iter(batches)
    for batch in plain:
        yield batch
