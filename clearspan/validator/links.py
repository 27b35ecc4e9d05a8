"""Outgoing streams to the other validators: one each, a bounded queue before it, and a new try when it breaks.

It promises that sending never waits and that one slow or silent peer costs nobody else anything: what its queue cannot
hold is dropped and counted, oldest first, and the core sends what matters again. A peer's address is looked up for each
try, and a line that was cut is noticed within seconds by pings and called anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import structlog

from clearspan.client.transport import CHANNEL_OPTIONS
from clearspan.pki import channel_credentials
from relay.v1 import relay_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from clearspan.pki import TlsFiles
    from clearspan.validator.addresses import AddressBook
    from clearspan.validator.config import PeersSection

__all__ = ["EXCHANGE_PATH", "PROTOCOL_VERSION", "PeerLinks", "PeerState", "channel_options"]

EXCHANGE_PATH: Final = "/relay.v1.Relay/Exchange"
PROTOCOL_VERSION: Final = 1
_REFRESH_S: Final = 1.0
_PAUSE_DOUBLED_MAX: Final = 20
_CONNECT_S: Final = 2.0
_MS: Final = 1000
_DETAILS_SHOWN: Final = 80
# What waits for a peer goes out together: a message on the wire costs far more than the bytes in it.
_AT_ONCE_BYTES_MAX: Final = 1 << 20
_log = structlog.get_logger("clearspan.validator")


@dataclass(slots=True)
class PeerState:
    """One peer's queue and how its stream stands; ``messages_max`` and ``bytes_max`` bound the queue."""

    public_key: bytes
    messages_max: int
    bytes_max: int
    queue: deque[bytes] = field(default_factory=deque)
    queued_bytes: int = 0
    dropped: int = 0
    sent: int = 0
    sent_bytes: int = 0
    connected: bool = False
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, message: bytes) -> None:
        """Queue a message; the oldest ones make room for it."""
        self.queue.append(message)
        self.queued_bytes += len(message)
        while len(self.queue) > self.messages_max or (self.queued_bytes > self.bytes_max and len(self.queue) > 1):
            self.queued_bytes -= len(self.queue.popleft())
            self.dropped += 1
        self.ready.set()

    def pop_some(self, bytes_max: int) -> list[bytes]:
        """Take the oldest message, and as many after it as fit into so many bytes with it."""
        taken = [self.queue.popleft()]
        size = len(taken[0])
        while self.queue and size + len(self.queue[0]) <= bytes_max:
            taken.append(self.queue.popleft())
            size += len(taken[-1])
        self.queued_bytes -= size
        self.sent += len(taken)
        self.sent_bytes += size
        return taken


def channel_options(settings: PeersSection) -> tuple[tuple[str, int], ...]:
    """Return the options of a channel to a validator: as any client's, with pings that notice a cut line soon."""
    own = {
        "grpc.keepalive_time_ms": settings.keepalive_ms,
        "grpc.keepalive_timeout_ms": settings.keepalive_timeout_ms,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.max_pings_without_data": 0,
        "grpc.initial_reconnect_backoff_ms": settings.reconnect_ms,
        "grpc.max_reconnect_backoff_ms": settings.reconnect_ms * _PAUSE_DOUBLED_MAX,
    }
    return (*(each for each in CHANNEL_OPTIONS if each[0] not in own), *own.items())


class PeerLinks:
    """The streams of one validator to everybody else in the address book."""

    def __init__(self, own_key: bytes, book: AddressBook, tls: TlsFiles, settings: PeersSection) -> None:
        """Put them together; nothing is called before ``start``. ``own_key`` is empty for an observer."""
        self._own_key, self._book, self._tls, self._settings = own_key, book, tls, settings
        self._options = channel_options(settings)
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._keeper: asyncio.Task[None] | None = None
        self.peers: dict[bytes, PeerState] = {}
        self._meet()

    def start(self) -> None:
        """Begin to call every peer."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep_up())

    async def stop(self) -> None:
        """End all streams."""
        tasks = [*self._tasks.values(), *([self._keeper] if self._keeper is not None else [])]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()

    def send(self, public_key: bytes, message: bytes) -> None:
        """Queue a message for a peer; one without an address is not reached."""
        peer = self.peers.get(public_key)
        if peer is not None:
            peer.put(message)

    async def _keep_up(self) -> None:
        """Call whoever is in the address book, as it changes; an observer calls nobody."""
        loop = asyncio.get_running_loop()
        while True:
            for key in [key for key in self._tasks if key not in self.peers]:
                self._tasks.pop(key).cancel()
            if self._own_key:
                for key, peer in self.peers.items():
                    if key not in self._tasks:
                        self._tasks[key] = loop.create_task(self._keep(peer))
            await asyncio.sleep(_REFRESH_S)
            if await loop.run_in_executor(None, self._book.refresh):
                self._meet()

    def _meet(self) -> None:
        """Give every other validator of the book a queue, and forget those that left it."""
        settings = self._settings
        keys = [entry.public_key for entry in self._book.entries if entry.public_key != self._own_key]
        self.peers = {
            key: self.peers.get(key) or PeerState(key, settings.queue_messages_max, settings.queue_bytes_max)
            for key in keys
        }

    async def _keep(self, peer: PeerState) -> None:
        """Call a peer for ever, with growing pauses while it does not answer."""
        shortest = self._settings.reconnect_ms / _MS
        pause = shortest
        while True:
            served = await self._stream(peer)
            pause = shortest if served else min(2 * pause, _PAUSE_DOUBLED_MAX * shortest)
            await asyncio.sleep(pause)

    async def _stream(self, peer: PeerState) -> bool:
        """Send what is queued until the stream breaks; True when there was one."""
        target = self._book.target(peer.public_key)
        if target is None:
            return False
        served = False
        async with grpc.aio.secure_channel(target, channel_credentials(self._tls), options=self._options) as channel:
            call: grpc.aio.StreamUnaryMultiCallable[Any, Any] = channel.stream_unary(
                EXCHANGE_PATH,
                request_serializer=relay_pb2.Envelope.SerializeToString,
                response_deserializer=relay_pb2.ExchangeEnd.FromString,
            )
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await channel.channel_ready()
                peer.connected = served = True
                await call(self._messages(peer))
            except TimeoutError:
                _log.debug("peer_unreachable", target=target)
            except grpc.aio.AioRpcError as error:
                details = (error.details() or "")[:_DETAILS_SHOWN]
                _log.info("peer_lost", target=target, code=error.code().name, details=details)
            finally:
                peer.connected = False
        return served

    async def _messages(self, peer: PeerState) -> AsyncIterator[relay_pb2.Envelope]:
        yield relay_pb2.Envelope(version=PROTOCOL_VERSION, public_key=self._own_key)
        while True:
            while peer.queue:
                first, *more = peer.pop_some(_AT_ONCE_BYTES_MAX)
                yield relay_pb2.Envelope(version=PROTOCOL_VERSION, message=first, more=more)
            peer.ready.clear()
            await peer.ready.wait()
