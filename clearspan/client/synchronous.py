"""The client for plain threads: the same calls as AsyncClient, blocking."""

from __future__ import annotations

import contextlib
import queue
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc

from clearspan.client.asynchronous import STATEMENT_PAGE, STREAM_WINDOW
from clearspan.client.core import Attempt, ClientCore, Network, RetryPolicy, Steps, StreamCore
from clearspan.client.finality import FinalityCore
from clearspan.client.transport import CHANNEL_OPTIONS, CLOSED, method_path, refusal_of_error
from clearspan.pki import TlsFiles, channel_credentials
from clearspan.roles import Rpc
from clearspan.signer import Signer, new_batch_id
from engine.batch import BatchColumns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    from engine.header import SignedHeader
    from engine.record import Transfer
    from engine.validators import ValidatorSet

__all__ = ["Client"]

Value = TypeVar("Value")


class Client:
    """One node's service. May be used by several threads, each call by one.

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
        """Prepare a channel to host:port; nothing is sent yet. Arguments and errors are those of AsyncClient."""
        policy = policy if policy is not None else RetryPolicy()
        self._core = ClientCore(target, policy, time.monotonic, genesis_hash, block_keys)
        self._finality = FinalityCore(self._core, time.monotonic)
        self._channel = grpc.secure_channel(target, channel_credentials(credentials), options=CHANNEL_OPTIONS)
        self._methods: dict[Rpc, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {
            rpc: self._channel.unary_unary(method_path(rpc)) for rpc in Rpc
        }

    @classmethod
    def connect(cls, target: str, credentials: TlsFiles, **options: Any) -> Self:
        """Return a client, to be used in `with`; options as of the class."""
        return cls(target, credentials, **options)

    def __enter__(self) -> Self:
        """Use it in a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close at the end of the block."""
        self.close()

    def close(self) -> None:
        """Close the channel; calls in progress are given up."""
        self._channel.close()

    def network(self) -> Network:
        """Return genesis, domain and block keys; fetched once."""
        return self._drive(self._core.network())

    def status(self) -> NetworkStatus:
        """Return how the node stands."""
        return self._drive(self._core.status())

    def submit(
        self, batch: BatchColumns | Sequence[Transfer], signer: Signer | None = None, *, batch_id: bytes | None = None
    ) -> BatchResult:
        """Settle a batch of signed columns, or single records that signer signs here; as AsyncClient.submit."""
        if not isinstance(batch, BatchColumns):
            if signer is None:
                message = "single records need a signer"
                raise TypeError(message)
            batch = signer.sign(self.network().domain.domain, batch, batch_id)
        elif signer is not None:
            batch = signer.sign_columns(batch)
        return self._drive(self._core.submit(batch))

    def stream(self, batches: Iterable[BatchColumns], *, window: int = STREAM_WINDOW) -> Iterator[BatchResult]:
        """Settle many batches over one stream; results come in the order of the batches.

        Reads up to window batches ahead of the results. Otherwise as AsyncClient.stream.
        """
        core = StreamCore(window, self._core.backoff())
        source = iter(batches)
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(
            method_path(Rpc.SUBMIT_STREAM)
        )
        exhausted = False
        while True:
            outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            for content in core.again():
                outbox.put(content)
            core.backoff.attempt()
            call = method(iter(outbox.get, None))
            refusal: Refusal = CLOSED
            try:
                while True:
                    while not exhausted and core.has_room:
                        batch = next(source, None)
                        if batch is None:
                            exhausted = True
                        else:
                            outbox.put(core.take(batch))
                    if not core.unanswered:
                        outbox.put(None)
                        for _ in call:  # nothing comes but the stream's end
                            pass
                        return
                    results, again, pause = core.receive(next(call))
                    if again is not None:
                        time.sleep(pause)
                        outbox.put(again)
                    yield from results
            except grpc.RpcError as error:
                refusal = refusal_of_error(error)
            except StopIteration:
                pass  # the service closed the stream
            finally:
                outbox.put(None)
                call.cancel()
            time.sleep(core.backoff.after(refusal))

    def administer(self, columns: AdminColumns, *, batch_id: bytes | None = None) -> AdminResult:
        """Decide admin requests, as `Signer.admin_columns` makes them. Raises as submit does."""
        return self._drive(self._core.administer(columns, batch_id if batch_id is not None else new_batch_id()))

    def accounts(self, ids: Sequence[int]) -> list[AccountView | None]:
        """Return accounts in the order asked for, None where there is none; at most 8,192 at once."""
        return self._drive(self._core.accounts(ids))

    def transfers(self, digests: Sequence[bytes]) -> list[TransferView | None]:
        """Return decided transfers by record digest, None where one is unknown or not the caller's."""
        return self._drive(self._core.transfers(digests))

    def statement(
        self, account: int, *, newest_first: bool = True, page: int = STATEMENT_PAGE
    ) -> Iterator[TransferView]:
        """Iterate over the transfers of an account, fetched by the page."""
        after = b""
        while True:
            found = self._drive(self._core.statement(account, after, page, newest_first=newest_first))
            yield from found.transfers
            if not found.next:
                return
            after = found.next

    def statement_page(
        self, account: int, *, after: bytes = b"", limit: int = STATEMENT_PAGE, newest_first: bool = True
    ) -> StatementPage:
        """Return one page of a statement, to go on from later by its `next`."""
        return self._drive(self._core.statement(account, after, limit, newest_first=newest_first))

    def decision_proof(self, digest: bytes) -> tuple[DecisionProof, Decision]:
        """Return the verified proof of a decision and what it proves; as AsyncClient.decision_proof."""
        return self._drive(self._core.decision_proof(digest))

    def receipt(
        self, digest: bytes, *, payee: bool = False, wait_s: float = 30.0, verified: bool = False
    ) -> ProvenReceipt:
        """Return the verified receipt of a record, once it is final; as AsyncClient.receipt."""
        return self._drive(self._finality.receipt(digest, payee=payee, wait_s=wait_s, verified=verified))

    def balance_receipt(self, account: int, *, wait_s: float = 30.0, verified: bool = False) -> ProvenBalance:
        """Return the verified receipt of an account; as AsyncClient.balance_receipt."""
        return self._drive(self._finality.balance_receipt(account, wait_s=wait_s, verified=verified))

    def validators(self) -> ValidatorSet:
        """Return the newest validator set, each change since the genesis proven: what a receipt is checked with."""
        return self._drive(self._finality.validators())

    def blocks(self, shard: int, *, from_height: int = 1, follow: bool = False) -> Iterator[SignedHeader]:
        """Iterate over a shard's headers, each verified and the child of the one before; as AsyncClient.blocks."""
        network = self.network()
        method: grpc.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(method_path(Rpc.STREAM_BLOCKS))
        height, parent, backoff = from_height, None, self._core.backoff()
        while True:
            call = method(self._core.blocks_request(network, shard, height, follow=follow))
            with contextlib.ExitStack() as stack:
                stack.callback(call.cancel)
                try:
                    for content in call:
                        signed = self._core.read_block(network, content, shard, height, parent)
                        height, parent = height + 1, signed.header.hash
                        backoff.reset()
                        yield signed
                except grpc.RpcError as error:
                    wait = backoff.after(refusal_of_error(error))
                else:
                    return
            time.sleep(wait)

    def _drive(self, steps: Steps[Value]) -> Value:
        outcome: bytes | Refusal | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                value: Value = done.value
                return value
            if isinstance(step, Attempt):
                outcome = self._attempt(step)
            else:
                time.sleep(step.seconds)
                outcome = None

    def _attempt(self, attempt: Attempt) -> bytes | Refusal:
        try:
            reply: bytes = self._methods[attempt.rpc](attempt.content, timeout=attempt.timeout_s)
        except grpc.RpcError as error:
            return refusal_of_error(error)
        return reply
