"""The calls of a validator's service as a node, an operator's tool or a light client makes them, over mTLS.

It promises the bytes that came, or LineLost; what they prove is for who asked. A line is made when it is first used and
made anew when its validator has moved; addresses come from the settings, or from a file that is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc
import grpc.aio

from clearspan.client.transport import CHANNEL_OPTIONS
from clearspan.pki import channel_credentials
from clearspan.relay_link.errors import LineLost
from clearspan.roles import RelayRpc
from relay.v1 import relay_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from clearspan.pki import TlsFiles
    from clearspan.validator.addresses import AddressBook

__all__ = ["LineSet", "OfferAnswer", "ValidatorLine"]

_VERSION: Final = 1
_CALL_S: Final = 5.0
_DETAILS_SHOWN: Final = 120
# A validator that vanished is noticed within seconds; its service allows a ping five times a second.
_OWN_OPTIONS: Final = {
    "grpc.keepalive_time_ms": 2_000,
    "grpc.keepalive_timeout_ms": 3_000,
    "grpc.max_reconnect_backoff_ms": 1_000,
}
_OPTIONS: Final = (*(each for each in CHANNEL_OPTIONS if each[0] not in _OWN_OPTIONS), *_OWN_OPTIONS.items())


class OfferAnswer(NamedTuple):
    """What a validator said to an offer: whether it waits there now, else why not; and its last final height."""

    taken: bool
    reason: str
    height: int


class ValidatorLine:
    """One validator. ``target`` says where it is now, host:port, or None while nobody knows."""

    def __init__(self, name: str, target: Callable[[], str | None], tls: TlsFiles) -> None:
        """Prepare; nothing is called yet."""
        self.name = name
        self._target_of = target
        self._tls = tls
        self._target = ""
        self._channel: grpc.aio.Channel | None = None

    async def close(self) -> None:
        """Close the channel; calls in progress are given up."""
        channel, self._channel, self._target = self._channel, None, ""
        if channel is not None:
            await channel.close()

    async def offer(self, offer: bytes) -> OfferAnswer:
        """Offer a header (``relay.offers.HeaderOffer``). Raises LineLost."""
        request = relay_pb2.OfferRequest(version=_VERSION, offer=offer)
        return _answer(await self._call(RelayRpc.OFFER, request.SerializeToString()))

    async def submit(self, record: bytes) -> OfferAnswer:
        """Hand in a record of another type: a reveal, a decision, governance, evidence. Raises LineLost."""
        request = relay_pb2.SubmitRecordRequest(version=_VERSION, record=record)
        return _answer(await self._call(RelayRpc.SUBMIT, request.SerializeToString()))

    async def status(self) -> relay_pb2.RelayStatus:
        """Ask how the validator stands. Raises LineLost."""
        request = relay_pb2.RelayStatusRequest(version=_VERSION)
        return relay_pb2.RelayStatus.FromString(await self._call(RelayRpc.GET_STATUS, request.SerializeToString()))

    async def blocks(
        self, from_height: int, *, follow: bool = True, stall_s: float | None = None
    ) -> AsyncIterator[relay_pb2.FinalBlock]:
        """Iterate over what the validator calls final; with ``stall_s`` a longer silence ends it. Raises LineLost."""
        request = relay_pb2.BlocksRequest(version=_VERSION, from_height=from_height, follow=follow)
        channel = await self._open()
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(_path(RelayRpc.BLOCKS))
        call = method(request.SerializeToString())
        try:
            while True:
                try:
                    async with asyncio.timeout(stall_s):
                        content: Any = await call.read()
                except TimeoutError as error:
                    raise LineLost(self.name, f"no block in {stall_s} s") from error
                if content is grpc.aio.EOF:
                    return
                yield relay_pb2.FinalBlock.FromString(content)
        except grpc.aio.AioRpcError as error:
            raise self._lost(error) from error
        finally:
            call.cancel()

    async def _call(self, rpc: RelayRpc, content: bytes) -> bytes:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = (await self._open()).unary_unary(_path(rpc))
        try:
            reply: bytes = await method(content, timeout=_CALL_S)
        except grpc.aio.AioRpcError as error:
            raise self._lost(error) from error
        return reply

    async def _open(self) -> grpc.aio.Channel:
        target = self._target_of()
        if target is None:
            raise LineLost(self.name, "nobody knows where it listens")
        if self._channel is None or target != self._target:
            await self.close()
            self._channel = grpc.aio.secure_channel(target, channel_credentials(self._tls), options=_OPTIONS)
            self._target = target
        return self._channel

    def _lost(self, error: grpc.aio.AioRpcError) -> LineLost:
        return LineLost(self.name, f"{error.code().name}: {(error.details() or '')[:_DETAILS_SHOWN]}")


class LineSet:
    """The lines to all validators that are known, by name: an address, or the name in the file of addresses."""

    def __init__(self, tls: TlsFiles, *, targets: Iterable[str] = (), book: AddressBook | None = None) -> None:
        """Take fixed addresses, or a file of them, or both."""
        self._tls = tls
        self._book = book
        self._fixed = {target: ValidatorLine(target, _fixed(target), tls) for target in targets}
        self._of_book: dict[bytes, ValidatorLine] = {}
        self._meet()

    @property
    def lines(self) -> list[ValidatorLine]:
        """All lines now."""
        return [*self._fixed.values(), *self._of_book.values()]

    async def refresh(self) -> None:
        """Read the file again where it has changed."""
        if self._book is not None and await asyncio.to_thread(self._book.refresh):
            await self._forget(self._meet())

    async def close(self) -> None:
        """Close all channels."""
        await self._forget(self.lines)

    def _meet(self) -> list[ValidatorLine]:
        """Take the file's entries; return the lines that are in it no longer."""
        if self._book is None:
            return []
        book = self._book
        before, self._of_book = self._of_book, {}
        for entry in book.entries:
            known = before.pop(entry.public_key) if entry.public_key in before else None
            fresh = known or ValidatorLine(entry.name, _looked_up(book, entry.public_key), self._tls)
            self._of_book[entry.public_key] = fresh
        return list(before.values())

    @staticmethod
    async def _forget(lines: Iterable[ValidatorLine]) -> None:
        for line in lines:
            with contextlib.suppress(LineLost):
                await line.close()


def _fixed(target: str) -> Callable[[], str | None]:
    return lambda: target


def _looked_up(book: AddressBook, public_key: bytes) -> Callable[[], str | None]:
    return lambda: book.target(public_key)


def _path(rpc: RelayRpc) -> str:
    return f"/relay.v1.Relay/{rpc}"


def _answer(content: bytes) -> OfferAnswer:
    reply = relay_pb2.OfferReply.FromString(content)
    return OfferAnswer(reply.taken, reply.reason, reply.height)
