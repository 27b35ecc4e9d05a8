"""A listening gRPC server of ours: TLS, limits of the transport, a table of calls, health, reflection, and an end.

Everything that bounds the transport is set here under its real option name; gRPC ignores a misspelt one in silence, so
tests run into these limits. Who calls is decided before anything is parsed.
"""

from __future__ import annotations

import errno
import inspect
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clearspan.errors import ConfigError, PortInUse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from clearspan.config import LimitsSection
    from clearspan.service.calls import Call, CallGuard

    Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["Listener", "target_of"]


class Listener:
    """One port with one service of ours on it, beside health and reflection. start, then stop once."""

    def __init__(
        self,
        service: str,
        credentials: grpc.ServerCredentials,
        guard: CallGuard,
        limits: LimitsSection,
        *,
        host: str,
        port: int,
    ) -> None:
        """Put it together; nothing listens yet. service is its full name in the schema."""
        self._service, self._credentials = service, credentials
        self._guard, self._limits = guard, limits
        self._host, self._asked_port = host, port
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self.port = 0

    @property
    def target(self) -> str:
        """The address as a client takes it."""
        return target_of(self._host, self.port)

    @property
    def started(self) -> bool:
        """Whether it listens."""
        return self._server is not None

    async def start(self, methods: Mapping[str, grpc.RpcMethodHandler[Any, Any]]) -> int:
        """Listen, with handlers by the calls' names; return the port.

        Raises PortInUse, ConfigError for an address that is not this machine's.
        """
        table = {f"/{self._service}/{name}": handler for name, handler in methods.items()}
        server = grpc.aio.server(
            handlers=[_MethodTable(table)],
            interceptors=[_PeersOnly(self._guard, self._service)],
            options=_options(self._limits),
            maximum_concurrent_rpcs=self._limits.rpcs_max,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((self._service, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        target = target_of(self._host, self._asked_port)
        try:
            self.port = server.add_secure_port(target, self._credentials)
        except RuntimeError as error:
            raise _bind_error(self._host, self._asked_port) from error
        await server.start()
        for name in ("", self._service):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._server = server
        return self.port

    async def say_not_serving(self) -> None:
        """Tell whoever watches the health that the end is near."""
        await self._health.enter_graceful_shutdown()

    async def close(self, grace_s: float) -> None:
        """Close; calls in progress have grace_s to end."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace_s)


class _MethodTable(grpc.GenericRpcHandler):
    """The calls by their path, with messages as raw bytes: who calls is decided before anything is parsed."""

    def __init__(self, methods: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler of a path, None for one that is not ours."""
        return self._methods.get(handler_call_details.method)


class _PeersOnly(grpc.aio.ServerInterceptor):
    """Health and reflection for any peer with a role of this network, counted and logged as every call."""

    def __init__(self, guard: CallGuard, service: str) -> None:
        self._guard, self._own = guard, f"/{service}/"

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handlers of other services; ours have their guard already."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(self._own):
            return handler
        guard = self._guard
        coders = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if not handler.response_streaming:

            async def unary(request: object, context: Context) -> object:
                return await guard.run(method, context, lambda _: handler.unary_unary(request, context))

            return grpc.unary_unary_rpc_method_handler(unary, **coders)
        behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream

        async def stream(request: object, context: Context) -> None:
            async def body(_: Call) -> None:
                result = behaviour(request, context)
                if inspect.isawaitable(result):
                    await result
                    return
                async for reply in result:
                    await context.write(reply)

            await guard.run(method, context, body, stream=True)

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, **coders)
        return grpc.unary_stream_rpc_method_handler(stream, **coders)


def _options(limits: LimitsSection) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.message_bytes_max),
        ("grpc.max_send_message_length", limits.message_bytes_max),
        ("grpc.max_metadata_size", limits.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", limits.metadata_bytes_max),
        ("grpc.max_concurrent_streams", limits.connection_streams_max),
        ("grpc.max_connection_idle_ms", limits.connection_idle_ms),
        ("grpc.keepalive_time_ms", limits.keepalive_ms),
        ("grpc.keepalive_timeout_ms", limits.keepalive_timeout_ms),
        ("grpc.http2.min_ping_interval_without_data_ms", limits.ping_interval_min_ms),
        ("grpc.http2.max_ping_strikes", 2),
        # Two servers on one port would share its connections; here a port has one owner, and the second is told.
        ("grpc.so_reuseport", 0),
        # Only identity: a small message never becomes a large one.
        ("grpc.compression_enabled_algorithms_bitset", 1),
    ]


def target_of(host: str, port: int) -> str:
    """Return an address as a client takes it."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _bind_error(host: str, port: int) -> Exception:
    """Say why an address cannot be had: gRPC does not, the socket does."""
    plain = host.strip("[]")
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(plain).version == 6 else socket.AF_INET
    except ValueError:
        family = socket.AF_INET
    reason = "cannot be listened at"
    with socket.socket(family) as probe:
        try:
            probe.bind((plain, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return PortInUse(host, port)
            reason = error.strerror or reason
    return ConfigError(
        "node.host", f"{host}:{port}: {reason}", "set an address of this machine, and a port that is free"
    )
