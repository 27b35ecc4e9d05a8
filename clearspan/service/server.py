"""The listening side: TLS, limits of the transport, the table of calls, health, reflection, and an end without loss.

Everything that bounds the transport is set here under its real option name; gRPC ignores a misspelt one in silence, so
tests run into these limits.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import ipaddress
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from clearspan.config import LimitsSection
from clearspan.errors import ConfigError, PortInUse
from clearspan.pki import TlsFiles, server_credentials
from clearspan.roles import Rpc
from clearspan.service.access import AccessList
from clearspan.service.calls import Call, CallGuard
from clearspan.service.handlers import SettlementHandlers
from clearspan.service.peers import PeerTable
from clearspan.service.streams import submit_stream
from clearspan.v1 import clearspan_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clearspan.ports import SettlementNode

    Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["SERVICE_NAME", "SettlementServer"]

SERVICE_NAME: Final = clearspan_pb2.DESCRIPTOR.services_by_name["Settlement"].full_name
_STREAMS: Final = frozenset({Rpc.SUBMIT_STREAM, Rpc.STREAM_BLOCKS})
_log = structlog.get_logger("clearspan.service")


class SettlementServer:
    """One node's service. start, then stop once; the node behind it is started and stopped by who made it."""

    def __init__(
        self,
        node: SettlementNode,
        tls: TlsFiles,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: LimitsSection | None = None,
        access: AccessList | None = None,
        software: str = "",
    ) -> None:
        """Put the service together; nothing listens yet. Raises CertificateInvalid for TLS files of no use."""
        self._limits = limits if limits is not None else LimitsSection()
        self._host, self._asked_port = host, port
        self._credentials = server_credentials(tls)
        peers = PeerTable(node.genesis.network, access if access is not None else AccessList(), self._limits)
        self._guard = CallGuard(peers, self._limits)
        self._handlers = SettlementHandlers(node, peers, self._limits, software)
        self._health = health.aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port that it listens at; 0 before start."""
        return self._port

    @property
    def target(self) -> str:
        """The address as a client takes it."""
        return _target(self._host, self._port)

    async def start(self) -> int:
        """Listen, and return the port. Raises PortInUse, ConfigError for an address that is not this machine's."""
        server = grpc.aio.server(
            handlers=[_MethodTable(self._methods())],
            interceptors=[_PeersOnly(self._guard)],
            options=_options(self._limits),
            maximum_concurrent_rpcs=self._limits.rpcs_max,
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        target = _target(self._host, self._asked_port)
        try:
            self._port = server.add_secure_port(target, self._credentials)
        except RuntimeError as error:
            raise _bind_error(self._host, self._asked_port) from error
        await server.start()
        for name in ("", SERVICE_NAME):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._server = server
        _log.info("service_started", host=self._host, port=self._port)
        return self._port

    async def stop(self, grace_s: float = 5.0) -> None:
        """Say not serving, refuse new batches, answer what was taken, then close; at most grace_s in all."""
        if self._server is None:
            return
        server, self._server = self._server, None
        deadline = time.monotonic() + grace_s
        await self._health.enter_graceful_shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._handlers.drain()
        await server.stop(max(0.0, min(_LINGER_S, deadline - time.monotonic())))
        _log.info("service_stopped", port=self._port)

    def _methods(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        table: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            _path(rpc): grpc.unary_unary_rpc_method_handler(self._unary(rpc, body))
            for rpc, body in self._handlers.unary().items()
        }
        table[_path(Rpc.SUBMIT_STREAM)] = grpc.stream_stream_rpc_method_handler(self._submit_stream)
        table[_path(Rpc.STREAM_BLOCKS)] = grpc.unary_stream_rpc_method_handler(self._stream_blocks)
        return table

    def _unary(
        self, rpc: Rpc, body: Callable[[Call, bytes], Awaitable[bytes]]
    ) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def serve(content: bytes, context: Context) -> bytes:
            return await self._guard.run(rpc, context, lambda call: body(call, content))

        return serve

    async def _submit_stream(self, _: object, context: Context) -> None:
        def body(call: Call) -> Awaitable[None]:
            return submit_stream(self._handlers, self._limits, call)

        await self._guard.run(Rpc.SUBMIT_STREAM, context, body, stream=True)

    async def _stream_blocks(self, content: bytes, context: Context) -> None:
        def body(call: Call) -> Awaitable[None]:
            return self._handlers.stream_blocks(call, content)

        await self._guard.run(Rpc.STREAM_BLOCKS, context, body, stream=True)


# What is answered is answered; the rest of the grace is not spent on streams that only wait.
_LINGER_S: Final = 0.5


class _MethodTable(grpc.GenericRpcHandler):
    """The calls by their path, with messages as raw bytes: who calls is decided before anything is parsed."""

    def __init__(self, methods: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler of a path, None for one that is not ours."""
        return self._methods.get(handler_call_details.method)


class _PeersOnly(grpc.aio.ServerInterceptor):
    """Health and reflection for any peer with a role of this network, counted and logged as every call."""

    def __init__(self, guard: CallGuard) -> None:
        self._guard = guard

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wrap the handlers of other services; ours have their guard already."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(f"/{SERVICE_NAME}/"):
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


def _path(rpc: Rpc) -> str:
    return f"/{SERVICE_NAME}/{rpc}"


def _target(host: str, port: int) -> str:
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
