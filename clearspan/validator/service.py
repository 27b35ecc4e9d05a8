"""The calls of a validator's service: who may say what, how much of it, and the answers of its books.

Peer, role and limits are decided before a byte is parsed (``clearspan.service``). What a peer says here is handed to
the core or the pool as bytes with a name on it; whether it holds is theirs to find.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import structlog
from grpc.aio import EOF

from clearspan.pki import TlsFiles, server_credentials
from clearspan.roles import RelayRpc
from clearspan.service.access import AccessList
from clearspan.service.calls import Call, CallGuard, parse
from clearspan.service.listener import Listener
from clearspan.service.peers import PeerTable
from clearspan.service.requests import check_version, count_of
from clearspan.status import STREAM_IDLE, CallRefused, refuse
from clearspan.validator.standing import status_of
from engine.relay_block import PREIMAGE_BYTES, RelayRecord, reveal_record
from engine.types import RelayRecordType
from native.codes import ResultCode
from relay.archive import answer
from relay.errors import BlockRefused
from relay.messages import MESSAGE_BYTES_MAX
from relay.offers import HeaderOffer
from relay.v1 import relay_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from clearspan.service.peers import Peer
    from clearspan.validator.books import BookEntry
    from clearspan.validator.config import PeersSection, ValidatorLimits
    from clearspan.validator.standing import Validator

    Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["RELAY_SERVICE", "REVEALS_AT_ONCE_MAX", "RelayServer"]

REVEALS_AT_ONCE_MAX: Final = 4_096
"""Reveals of one call: twice what one peer may have waiting."""
# The preimage waits for a block here, or stands in one.
_STANDS: Final = frozenset({"known", "reveal_known"})

RELAY_SERVICE: Final = relay_pb2.DESCRIPTOR.services_by_name["Relay"].full_name
_LINGER_S: Final = 0.2
_OFFERS_AT_ONCE_MAX: Final = 256
_OFFERS_A_HEIGHT_MAX: Final = 1
_OFFERS_HELD_S: Final = 0.25
_HEIGHT_MAX: Final = 2**64 - 1
_log = structlog.get_logger("clearspan.validator")


@dataclass(slots=True)
class _Pace:
    """What one peer may send in a second; who is faster is read later."""

    messages_per_s: int
    bytes_per_s: int
    began: float = field(default_factory=time.monotonic)
    messages: int = 0
    size: int = 0

    async def wait(self, size: int) -> None:
        """Count a message; return when it may be looked at."""
        self.messages += 1
        self.size += size
        due = max(self.messages / self.messages_per_s, self.size / self.bytes_per_s)
        now = time.monotonic()
        elapsed = now - self.began
        if elapsed > 1 and due < elapsed:
            self.began, self.messages, self.size = now, 0, 0
        elif due > elapsed + 1:
            # A burst of a second is free.
            await asyncio.sleep(due - elapsed - 1)


class RelayServer:
    """One validator's service. start, then stop once; what it serves is started and stopped by who made it."""

    def __init__(
        self,
        validator: Validator,
        tls: TlsFiles,
        *,
        host: str,
        port: int,
        limits: ValidatorLimits,
        peers: PeersSection,
        access: AccessList | None = None,
    ) -> None:
        """Put the service together; nothing listens yet. Raises CertificateInvalid for TLS files of no use."""
        self._validator, self._limits, self._peers = validator, limits, peers
        table = PeerTable(validator.genesis.network, access if access is not None else AccessList(), limits)
        self._guard = CallGuard(table, limits)
        self._listener = Listener(RELAY_SERVICE, server_credentials(tls), self._guard, limits, host=host, port=port)
        self._streams: dict[bytes, asyncio.Task[Any]] = {}
        self._paces: dict[bytes, _Pace] = {}
        self._ending = asyncio.Event()

    @property
    def port(self) -> int:
        """The port that it listens at; 0 before start."""
        return self._listener.port

    async def start(self) -> int:
        """Listen, and return the port. Raises PortInUse, ConfigError for an address that is not this machine's."""
        return await self._listener.start(
            {
                RelayRpc.EXCHANGE: grpc.stream_unary_rpc_method_handler(self._exchange),
                RelayRpc.BLOCKS: grpc.unary_stream_rpc_method_handler(self._blocks),
                RelayRpc.SYNC: self._unary(RelayRpc.SYNC, self._sync),
                RelayRpc.OFFER: self._unary(RelayRpc.OFFER, self._offer),
                RelayRpc.OFFERS: grpc.stream_stream_rpc_method_handler(self._offers),
                RelayRpc.SUBMIT: self._unary(RelayRpc.SUBMIT, self._submit),
                RelayRpc.SUBMIT_MANY: grpc.stream_stream_rpc_method_handler(self._submit_many),
                RelayRpc.GET_STATUS: self._unary(RelayRpc.GET_STATUS, self._get_status),
            }
        )

    async def stop(self) -> None:
        """Say not serving, end the streams and close."""
        if self._listener.started:
            await self._listener.say_not_serving()
            self._ending.set()
            for task in self._streams.values():
                task.cancel()
            await self._listener.close(_LINGER_S)

    def _unary(self, rpc: RelayRpc, body: Callable[[Call, bytes], Awaitable[bytes]]) -> grpc.RpcMethodHandler[Any, Any]:
        async def serve(content: bytes, context: Context) -> bytes:
            return await self._guard.run(rpc, context, lambda call: body(call, content))

        return grpc.unary_unary_rpc_method_handler(serve)

    # Validators among themselves.

    async def _exchange(self, _: object, context: Context) -> bytes:
        async def body(call: Call) -> bytes:
            key = await self._greet(call)
            task = asyncio.current_task()
            assert task is not None
            # A peer calls again when its line was cut; what is left of the old stream is only in the way.
            previous = self._streams.get(key)
            if previous is not None:
                previous.cancel()
            self._streams[key] = task
            try:
                await self._read(call, key)
            finally:
                if self._streams.get(key) is task:
                    del self._streams[key]
            return relay_pb2.ExchangeEnd().SerializeToString()

        return await self._guard.run(RelayRpc.EXCHANGE, context, body, stream=True)

    async def _greet(self, call: Call) -> bytes:
        """Read the first envelope and return the key that it names, which must be of the caller's participant."""
        envelope = await self._envelope(call)
        if envelope is None:
            raise refuse(ResultCode.BATCH_MALFORMED, "the stream ended before its first envelope")
        check_version(envelope.version)
        key = envelope.public_key
        if call.peer.identity.participant not in self._validator.participants_of(key):
            raise refuse(ResultCode.ROLE_REFUSED, "the key is not one of the caller's participant in a validator set")
        call.notes["key"] = key[:8].hex()
        return key

    async def _read(self, call: Call, key: bytes) -> None:
        shell = self._validator.shell
        pace = self._paces.setdefault(key, _Pace(self._peers.messages_per_s_max, self._peers.bytes_per_s_max))
        while (envelope := await self._envelope(call)) is not None:
            for message in (envelope.message, *envelope.more):
                if len(message) > MESSAGE_BYTES_MAX:
                    raise refuse(ResultCode.BATCH_TOO_LARGE, f"a message of {len(message)} bytes")
                await pace.wait(len(message))
                while not shell.deliver(key, message):
                    await shell.inbox.wait_for_room(key)

    async def _envelope(self, call: Call) -> relay_pb2.Envelope | None:
        content = await call.context.read()
        return None if content is EOF else parse(relay_pb2.Envelope, content)

    async def _sync(self, call: Call, content: bytes) -> bytes:
        """Answer a question of a validator that catches up, from the book, in a thread."""
        request = parse(relay_pb2.SyncQuestion, content)
        check_version(request.version)
        validator = self._validator
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            validator.readers, answer, request.question, validator.archive, validator.genesis.hash
        )
        if found is None:
            raise refuse(ResultCode.BATCH_MALFORMED, "the question cannot be read")
        call.notes["bytes"] = len(found)
        return relay_pb2.SyncAnswer(answer=found).SerializeToString()

    # What others offer and ask.

    async def _offer(self, call: Call, content: bytes) -> bytes:
        """Take a shard's header."""
        request = parse(relay_pb2.OfferRequest, content)
        check_version(request.version)
        offer = HeaderOffer.decode(request.offer)
        header = offer.signed.header
        call.notes.update(shard=header.shard, height=header.height)
        return (await self._into_pool(call.peer, offer)).SerializeToString()

    async def _offers(self, _: object, context: Context) -> None:
        await self._guard.run(RelayRpc.OFFERS, context, self._take_offers, stream=True)

    async def _take_offers(self, call: Call) -> None:
        """Take headers for as long as their node lives; it waits for the answers before it offers more.

        After the first of a height the answer waits for the next one: by then the node has newer headers, not more.
        """
        height = taken = 0
        while (content := await call.context.read()) is not EOF:
            request = parse(relay_pb2.OffersRequest, content)
            check_version(request.version)
            if not 1 <= len(request.offers) <= _OFFERS_AT_ONCE_MAX:
                raise refuse(ResultCode.BATCH_MALFORMED, f"1 to {_OFFERS_AT_ONCE_MAX} offers at once")
            offers = [HeaderOffer.decode(each) for each in request.offers]
            answers = await self._headers_into_pool(call.peer, offers)
            before, height = height, self._validator.height
            taken = taken + 1 if height == before else 1
            if taken > _OFFERS_A_HEIGHT_MAX:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_OFFERS_HELD_S):
                        await self._validator.shell.grown(height)
            async with _deadline(self._limits.stream_write_ms):
                await call.context.write(relay_pb2.OffersReply(answers=answers).SerializeToString())

    async def _submit(self, call: Call, content: bytes) -> bytes:
        """Take any other record."""
        request = parse(relay_pb2.SubmitRecordRequest, content)
        check_version(request.version)
        record, used = RelayRecord.decode_prefix(memoryview(request.record))
        if used != len(request.record):
            raise refuse(ResultCode.BATCH_MALFORMED, f"{len(request.record) - used} bytes after the record")
        call.notes["type"] = RelayRecordType(record.type).name
        if record.type is RelayRecordType.EVIDENCE:
            record.check()
            self._validator.heard(record)
        return (await self._into_pool(call.peer, record)).SerializeToString()

    async def _submit_many(self, _: object, context: Context) -> None:
        await self._guard.run(RelayRpc.SUBMIT_MANY, context, self._take_reveals, stream=True)

    async def _take_reveals(self, call: Call) -> None:
        """Take reveals for as long as who has them lives, who waits for the answers before saying more."""
        taken = 0
        while (content := await call.context.read()) is not EOF:
            reply = await self._reveals_into_pool(call.peer, content)
            taken += len(reply.taken)
            call.notes["count"] = taken
            async with _deadline(self._limits.stream_write_ms):
                await call.context.write(reply.SerializeToString())

    async def _reveals_into_pool(self, peer: Peer, content: bytes) -> relay_pb2.SubmitManyReply:
        """Take reveals; what one of them is refused for is no reason against the others."""
        request = parse(relay_pb2.SubmitManyRequest, content)
        check_version(request.version)
        preimages = request.preimages
        count = count_of(preimages, PREIMAGE_BYTES, "preimages", REVEALS_AT_ONCE_MAX)
        shell = self._validator.shell
        reasons: dict[str, int] = {}
        taken, indexes = bytearray(count), bytearray(count)
        cuts = range(0, len(preimages), PREIMAGE_BYTES)
        reveals = [reveal_record(preimages[at : at + PREIMAGE_BYTES]) for at in cuts]
        for place, offered in enumerate(await shell.offer_all(reveals, peer.spki)):
            if offered.taken or offered.reason in _STANDS:
                taken[place] = 1 if offered.taken else 2
            else:
                indexes[place] = reasons.setdefault(offered.reason, len(reasons) + 1)
        return relay_pb2.SubmitManyReply(
            taken=bytes(taken), reasons=list(reasons), reason_index=bytes(indexes), height=self._validator.height
        )

    async def _headers_into_pool(self, peer: Peer, offers: Sequence[HeaderOffer]) -> list[relay_pb2.OfferReply]:
        validator = self._validator
        found = await validator.shell.offer_all(offers, peer.spki)
        for each, offered in zip(offers, found, strict=True):
            validator.offered(each.signed, offered.reason)
        return [_reply(taken=each.taken, reason=each.reason, height=validator.height) for each in found]

    async def _into_pool(self, peer: Peer, item: HeaderOffer | RelayRecord) -> relay_pb2.OfferReply:
        validator = self._validator
        try:
            offered = await validator.shell.offer(item, peer.spki)
            taken, reason = offered.taken, offered.reason
        except BlockRefused as error:
            taken, reason = False, error.reason
        if isinstance(item, HeaderOffer):
            validator.offered(item.signed, reason)
        return _reply(taken=taken, reason=reason, height=validator.height)

    async def _blocks(self, content: bytes, context: Context) -> None:
        def body(call: Call) -> Awaitable[None]:
            return self._stream_blocks(call, content)

        await self._guard.run(RelayRpc.BLOCKS, context, body, stream=True)

    async def _stream_blocks(self, call: Call, content: bytes) -> None:
        """Write final blocks from a height upwards, at the reader's pace; old ones are read in a thread."""
        request = parse(relay_pb2.BlocksRequest, content)
        check_version(request.version)
        validator, loop = self._validator, asyncio.get_running_loop()
        height = request.from_height
        if not 1 <= height < _HEIGHT_MAX:
            raise refuse(ResultCode.BATCH_MALFORMED, "from_height is at least 1")
        call.notes["from_height"] = height
        while not self._ending.is_set():
            # Also while it is read: a reader that is slower than what is dropped must not wait for what never comes.
            if height < validator.chain.lowest:
                raise refuse(ResultCode.NOT_FOUND, f"blocks are kept from height {validator.chain.lowest} on")
            entry = validator.shell.recent.get(height)
            if entry is None and height <= validator.chain.last_height():
                entry = await loop.run_in_executor(validator.readers, validator.chain.get, height)
            if entry is not None:
                async with _deadline(self._limits.stream_write_ms):
                    await call.context.write(_final_block(entry).SerializeToString())
                call.notes["to_height"] = height
                height += 1
            elif request.follow:
                await validator.shell.grown(height - 1)
            else:
                return

    async def _get_status(self, call: Call, content: bytes) -> bytes:  # noqa: ARG002 - the table's shape
        request = parse(relay_pb2.RelayStatusRequest, content)
        check_version(request.version)
        return status_of(self._validator, governance=request.governance).SerializeToString()


@contextlib.asynccontextmanager
async def _deadline(milliseconds: int) -> Any:
    try:
        async with asyncio.timeout(milliseconds / 1000):
            yield
    except TimeoutError as error:
        raise CallRefused(STREAM_IDLE) from error


def _reply(*, taken: bool, reason: str, height: int) -> relay_pb2.OfferReply:
    return relay_pb2.OfferReply(taken=taken, reason=reason, height=height)


def _final_block(entry: BookEntry) -> relay_pb2.FinalBlock:
    return relay_pb2.FinalBlock(block=entry.block, certificate=entry.certificate, statements=entry.statements)
