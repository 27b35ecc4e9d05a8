"""A client of one validator: its status, final blocks as they come, offers of headers and records.

It promises typed errors (``clearspan.errors``) and nothing about the truth of what comes: a block counts when its
certificate was verified (``relay.light``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import grpc
import grpc.aio

from clearspan.client.transport import CHANNEL_OPTIONS, refusal_of_error
from clearspan.errors import Refused, Unreachable
from clearspan.pki import channel_credentials
from relay.v1 import relay_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from clearspan.pki import TlsFiles
    from engine.relay_block import RelayRecord
    from relay.offers import HeaderOffer

__all__ = ["RelayClient"]

_VERSION: Final = 1
_SERVICE: Final = "/relay.v1.Relay"
_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class RelayClient:
    """A connection to one validator; use it in `async with`. A call waits ``timeout_s`` at most, a stream for ever."""

    def __init__(self, target: str, tls: TlsFiles, *, timeout_s: float = 10.0) -> None:
        """Prepare; nothing is called yet. Raises CertificateInvalid."""
        self.target = target
        self._timeout_s = timeout_s
        # A validator that is gone is noticed in seconds: another one has the same blocks.
        own = {"grpc.keepalive_time_ms": 5_000, "grpc.keepalive_timeout_ms": 5_000}
        options = (*(each for each in CHANNEL_OPTIONS if each[0] not in own), *own.items())
        self._channel = grpc.aio.secure_channel(target, channel_credentials(tls), options=options)

    async def __aenter__(self) -> Self:
        """Use the connection."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection. Safe to call twice."""
        await self._channel.close()

    async def status(self) -> relay_pb2.RelayStatus:
        """Ask how the validator stands. Raises Refused, Unreachable."""
        request = relay_pb2.RelayStatusRequest(version=_VERSION)
        found: relay_pb2.RelayStatus = await self._call("GetStatus", request, relay_pb2.RelayStatus)
        return found

    async def offer(self, offer: HeaderOffer) -> relay_pb2.OfferReply:
        """Offer a shard's header; ``taken`` says whether it waits now, ``reason`` why not. Raises as status does."""
        request = relay_pb2.OfferRequest(version=_VERSION, offer=offer.encode())
        found: relay_pb2.OfferReply = await self._call("Offer", request, relay_pb2.OfferReply)
        return found

    async def submit(self, record: RelayRecord) -> relay_pb2.OfferReply:
        """Offer any other record. Raises as status does."""
        request = relay_pb2.SubmitRecordRequest(version=_VERSION, record=record.encode())
        found: relay_pb2.OfferReply = await self._call("Submit", request, relay_pb2.OfferReply)
        return found

    async def blocks(self, from_height: int, *, follow: bool = False) -> AsyncGenerator[relay_pb2.FinalBlock, None]:
        """Iterate over final blocks, ascending without gaps; with follow, wait for more. Raises as status does."""
        method = self._channel.unary_stream(
            f"{_SERVICE}/Blocks",
            request_serializer=relay_pb2.BlocksRequest.SerializeToString,
            response_deserializer=relay_pb2.FinalBlock.FromString,
        )
        call = method(relay_pb2.BlocksRequest(version=_VERSION, from_height=from_height, follow=follow))
        try:
            async for block in call:
                yield block
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        finally:
            call.cancel()

    async def _call(self, name: str, request: Any, reply: Any) -> Any:
        method: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = self._channel.unary_unary(
            f"{_SERVICE}/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
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
