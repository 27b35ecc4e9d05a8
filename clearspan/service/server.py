"""The settlement service of a node: its table of calls on a listener, and an end without loss."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import structlog

from clearspan.config import LimitsSection
from clearspan.pki import TlsFiles, server_credentials
from clearspan.roles import Rpc
from clearspan.service.access import AccessList
from clearspan.service.calls import Call, CallGuard
from clearspan.service.handlers import SettlementHandlers
from clearspan.service.listener import Listener
from clearspan.service.peers import PeerTable
from clearspan.service.streams import submit_stream
from clearspan.v1 import clearspan_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clearspan.ports import SettlementNode

    Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["SERVICE_NAME", "SettlementServer"]

SERVICE_NAME: Final = clearspan_pb2.DESCRIPTOR.services_by_name["Settlement"].full_name
# What is answered is answered; the rest of the grace is not spent on streams that only wait.
_LINGER_S: Final = 0.5
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
        credentials = server_credentials(tls)
        peers = PeerTable(node.genesis.network, access if access is not None else AccessList(), self._limits)
        self._guard = CallGuard(peers, self._limits)
        self._handlers = SettlementHandlers(node, peers, self._limits, software)
        self._listener = Listener(SERVICE_NAME, credentials, self._guard, self._limits, host=host, port=port)
        self._host = host

    @property
    def port(self) -> int:
        """The port that it listens at; 0 before start."""
        return self._listener.port

    @property
    def target(self) -> str:
        """The address as a client takes it."""
        return self._listener.target

    async def start(self) -> int:
        """Listen, and return the port. Raises PortInUse, ConfigError for an address that is not this machine's."""
        port = await self._listener.start(self._methods())
        _log.info("service_started", host=self._host, port=port)
        return port

    async def stop(self, grace_s: float = 5.0) -> None:
        """Say not serving, refuse new batches, answer what was taken, then close; at most grace_s in all."""
        if not self._listener.started:
            return
        deadline = time.monotonic() + grace_s
        await self._listener.say_not_serving()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._handlers.drain()
        await self._listener.close(max(0.0, min(_LINGER_S, deadline - time.monotonic())))
        _log.info("service_stopped", port=self.port)

    def _methods(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        table: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            rpc: grpc.unary_unary_rpc_method_handler(self._unary(rpc, body))
            for rpc, body in self._handlers.unary().items()
        }
        table[Rpc.SUBMIT_STREAM] = grpc.stream_stream_rpc_method_handler(self._submit_stream)
        table[Rpc.STREAM_BLOCKS] = grpc.unary_stream_rpc_method_handler(self._stream_blocks)
        table[Rpc.FOLLOW_LOG] = grpc.unary_stream_rpc_method_handler(self._follow_log)
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

    async def _follow_log(self, content: bytes, context: Context) -> None:
        def body(call: Call) -> Awaitable[None]:
            return self._handlers.follow_log(call, content)

        await self._guard.run(Rpc.FOLLOW_LOG, context, body, stream=True)
