"""What both clients need of gRPC: options of a channel, paths, and an error as a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import grpc

from clearspan.status import Refusal, refusal_of_details

if TYPE_CHECKING:
    from clearspan.roles import Rpc

__all__ = ["CHANNEL_OPTIONS", "CLOSED", "method_path", "refusal_of_error"]

_MESSAGE_BYTES_MAX: Final = 8 << 20

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
    # A peer that vanished is noticed in 40 s although nothing is sent; the service allows a ping every 5 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC's own retries and reconnection pauses are out: what is sent again, and when, is decided in one place.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A channel of its own for each client: two clients with different certificates never share a connection.
    ("grpc.use_local_subchannel_pool", 1),
)

CLOSED: Final = Refusal(
    0, "unavailable", grpc.StatusCode.UNAVAILABLE, "open", "the stream ended before all was answered", "Send it again."
)


def method_path(rpc: Rpc) -> str:
    """Return the path of a call."""
    return f"/clearspan.v1.Settlement/{rpc}"


def refusal_of_error(error: grpc.RpcError) -> Refusal:
    """Return what an error of either API says."""
    if isinstance(error, grpc.Call):
        return refusal_of_details(error.code(), error.details() or "", error.trailing_metadata())
    if isinstance(error, grpc.aio.AioRpcError):
        return refusal_of_details(error.code(), error.details() or "", error.trailing_metadata())
    return CLOSED
