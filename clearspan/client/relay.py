"""The one client of a validator's service: offers and records in, status and final blocks out.

It promises typed errors (``clearspan.errors``) and nothing about the truth of what comes: a block counts when its
certificate was verified (``relay.light``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

import grpc
import grpc.aio

from clearspan.client.asking import AskingStream, unless_closed
from clearspan.client.transport import CHANNEL_OPTIONS, refusal_of_error
from clearspan.errors import Refused, Unreachable
from clearspan.pki import channel_credentials
from clearspan.roles import RelayRpc
from relay.v1 import relay_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from types import TracebackType

    from clearspan.pki import TlsFiles
    from engine.relay_block import RelayRecord
    from relay.offers import HeaderOffer

__all__ = ["RelayClient"]

_VERSION: Final = 1
_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
# A validator that vanished is noticed within seconds, for another one has the same blocks; its service allows a ping
# five times a second.
_OWN_OPTIONS: Final = {
    "grpc.keepalive_time_ms": 2_000,
    "grpc.keepalive_timeout_ms": 3_000,
    "grpc.max_reconnect_backoff_ms": 1_000,
}
_OPTIONS: Final = (*(each for each in CHANNEL_OPTIONS if each[0] not in _OWN_OPTIONS), *_OWN_OPTIONS.items())


class RelayClient:
    """A connection to one validator; use it in `async with`. A call waits ``timeout_s`` at most, a stream for ever."""

    def __init__(self, target: str, tls: TlsFiles, *, timeout_s: float = 10.0) -> None:
        """Prepare; nothing is called yet. Raises CertificateInvalid."""
        self.target = target
        self._timeout_s = timeout_s
        self._channel = grpc.aio.secure_channel(target, channel_credentials(tls), options=_OPTIONS)
        self._offers, self._reveals = (self._asking(rpc) for rpc in (RelayRpc.OFFERS, RelayRpc.SUBMIT_MANY))

    async def __aenter__(self) -> Self:
        """Use the connection."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls in progress are given up. Safe to call twice."""
        await self._channel.close()

    async def status(self, *, governance: bool = False) -> relay_pb2.RelayStatus:
        """Ask how the validator stands, also what governance has to follow. Raises Refused, Unreachable."""
        request = relay_pb2.RelayStatusRequest(version=_VERSION, governance=governance)
        found: relay_pb2.RelayStatus = await self._call(RelayRpc.GET_STATUS, request, relay_pb2.RelayStatus)
        return found

    async def offer(self, offer: HeaderOffer) -> relay_pb2.OfferReply:
        """Offer a shard's header; ``taken`` says whether it waits now, ``reason`` why not. Raises as status does."""
        request = relay_pb2.OfferRequest(version=_VERSION, offer=offer.encode())
        found: relay_pb2.OfferReply = await self._call(RelayRpc.OFFER, request, relay_pb2.OfferReply)
        return found

    async def offers(self, offers: Sequence[bytes]) -> Sequence[relay_pb2.OfferReply]:
        """Offer 1 to 256 headers as their bytes, in one message; the answers in their order. Raises as status does.

        The stream stays open for the next ones: a call for each would cost more than all that is in it.
        """
        request = relay_pb2.OffersRequest(version=_VERSION, offers=offers)
        return relay_pb2.OffersReply.FromString(await self._ask(self._offers, request.SerializeToString())).answers

    async def submit(self, record: RelayRecord | bytes) -> relay_pb2.OfferReply:
        """Hand in a record of another type: a reveal, a decision, governance, evidence. Raises as status does."""
        encoded = record if isinstance(record, bytes) else record.encode()
        request = relay_pb2.SubmitRecordRequest(version=_VERSION, record=encoded)
        found: relay_pb2.OfferReply = await self._call(RelayRpc.SUBMIT, request, relay_pb2.OfferReply)
        return found

    async def reveal(self, preimages: Sequence[bytes]) -> list[str]:
        """Hand in preimages of 32 bytes, at most 4,096; for each why it was refused, nothing where it stands.

        The stream stays open, as that of offers. Raises as status does.
        """
        request = relay_pb2.SubmitManyRequest(version=_VERSION, preimages=b"".join(preimages))
        reply = relay_pb2.SubmitManyReply.FromString(await self._ask(self._reveals, request.SerializeToString()))
        reasons = ("", *reply.reasons)
        return [reasons[index] for index in reply.reason_index]

    async def blocks(
        self, from_height: int, *, follow: bool = False, stall_s: float | None = None
    ) -> AsyncGenerator[relay_pb2.FinalBlock, None]:
        """Iterate over final blocks, ascending without gaps; with follow, wait for more. Raises as status does.

        A silence longer than ``stall_s`` is Unreachable.
        """
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = self._channel.unary_stream(_path(RelayRpc.BLOCKS))
        request = relay_pb2.BlocksRequest(version=_VERSION, from_height=from_height, follow=follow)
        call = method(request.SerializeToString())
        try:
            while True:
                try:
                    async with asyncio.timeout(stall_s):
                        content: Any = await unless_closed(call.read())
                except TimeoutError as error:
                    raise Unreachable(self.target, f"no block in {stall_s} s") from error
                except EOFError as error:
                    raise Unreachable(self.target, "the connection was closed here") from error
                if content is grpc.aio.EOF:
                    return
                yield relay_pb2.FinalBlock.FromString(content)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        finally:
            call.cancel()

    def _asking(self, rpc: RelayRpc) -> AskingStream:
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(_path(rpc))
        return AskingStream(method, self._timeout_s)

    async def _ask(self, stream: AskingStream, content: bytes) -> bytes:
        try:
            return await stream.ask(content)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        except (TimeoutError, EOFError, asyncio.InvalidStateError) as error:
            raise Unreachable(self.target, f"no answer on a stream: {type(error).__name__}") from error

    async def _call(self, rpc: RelayRpc, request: Any, reply: Any) -> Any:
        method: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = self._channel.unary_unary(
            _path(rpc), request_serializer=type(request).SerializeToString, response_deserializer=reply.FromString
        )
        try:
            return await method(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error

    def _error(self, error: grpc.aio.AioRpcError) -> Refused | Unreachable:
        refusal = refusal_of_error(error)
        if refusal.number == 0 and error.code() in _PASSING:
            return Unreachable(self.target, refusal.message)
        return Refused(refusal.number, refusal.name, refusal.message, refusal.next_step)


def _path(rpc: RelayRpc) -> str:
    return f"/relay.v1.Relay/{rpc}"
