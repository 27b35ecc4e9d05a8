"""The tasks that fetch credits for this node's shards from the other nodes of its domain, over mTLS.

It promises that whatever a final header says was sent here is asked for until it has arrived, in the order of its
channel; that nothing is applied which its proof does not cover; and that a neighbour which is away, late or lying costs
the others nothing but its own credits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import grpc
import grpc.aio
import structlog

from clearspan.client.transport import CHANNEL_OPTIONS, method_path
from clearspan.pki import channel_credentials
from clearspan.roles import Rpc
from clearspan.v1 import clearspan_pb2
from engine.errors import DiskFull
from engine.proved_credits import ProvedCredits
from engine.refusals import EncodingError
from shards.errors import NodeFailed, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.pki import TlsFiles
    from shards.neighbours import CreditsWanted
    from shards.node import DomainNode

__all__ = ["NeighbourLine", "NeighbourLink"]

_VERSION: Final = 1
_CALL_S: Final = 5.0
# Looking costs a call into the ledger's thread; what arrives has waited for a relay block already.
_LOOK_S: Final = 0.05
_PAUSE_S: Final = 1.0
_DETAILS_SHOWN: Final = 120
_log = structlog.get_logger("clearspan.neighbours")


class NeighbourLine:
    """One other node of the domain, as ``shards.neighbours.Neighbour`` asks for it; raises grpc.aio.AioRpcError."""

    def __init__(self, target: str, domain: int, tls: TlsFiles) -> None:
        """Prepare; nothing is called yet."""
        self.target = target
        self._domain = domain
        self._tls = tls
        self._channel: grpc.aio.Channel | None = None

    async def shards(self) -> frozenset[int]:
        """Ask which shards it serves."""
        request = clearspan_pb2.GetStatusRequest(version=_VERSION)
        found = clearspan_pb2.GetStatusReply.FromString(await self._call(Rpc.GET_STATUS, request.SerializeToString()))
        return frozenset(each.shard for each in found.shards) if found.domain == self._domain else frozenset()

    async def outgoing_since(self, wanted: CreditsWanted) -> ProvedCredits | None:
        """Ask for the next credits of a channel. Raises EncodingError for what is none."""
        request = clearspan_pb2.GetOutgoingRequest(
            version=_VERSION,
            domain=self._domain,
            source=wanted.source,
            destination=wanted.destination,
            sequence=wanted.sequence,
            anchored_height=wanted.anchored_height,
        )
        content = await self._call(Rpc.GET_OUTGOING, request.SerializeToString())
        reply = clearspan_pb2.GetOutgoingReply.FromString(content)
        return ProvedCredits.decode(reply.credits) if reply.credits else None

    async def close(self) -> None:
        """Close the channel."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _call(self, rpc: Rpc, content: bytes) -> bytes:
        if self._channel is None:
            credentials = channel_credentials(self._tls)
            self._channel = grpc.aio.secure_channel(self.target, credentials, options=CHANNEL_OPTIONS)
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(method_path(rpc))
        return await method(content, timeout=_CALL_S)


class NeighbourLink:
    """Use from the node's event loop: start once the node runs, stop before it does."""

    def __init__(self, node: DomainNode, lines: Sequence[NeighbourLine]) -> None:
        """Put it together; nothing happens before ``start``."""
        self._node = node
        self._lines = tuple(lines)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to fetch, one task for each neighbour."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._fetch(line), name=f"credits {line.target}") for line in self._lines]

    async def stop(self) -> None:
        """End; what was taken is the node's."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in self._lines:
            await line.close()

    async def _fetch(self, line: NeighbourLine) -> None:
        """Fetch from one neighbour for ever; what goes wrong is said once for each kind, and tried again."""
        said = ""
        served: frozenset[int] = frozenset()
        while True:
            trouble = ""
            try:
                served = served or await line.shards()
                trouble = await self._fetch_once(line, served)
            except grpc.aio.AioRpcError as error:
                trouble = f"{error.code().name}: {(error.details() or '')[:_DETAILS_SHOWN]}"
                # It may come back as another node.
                served = frozenset()
            except EncodingError as error:
                trouble = f"it sent what is no credit: {error}"
            except (Refused, DiskFull) as error:
                trouble = str(error)
            except NodeFailed:
                return
            if trouble and trouble != said:
                _log.warning("credits_not_fetched", neighbour=line.target, reason=trouble)
            said = trouble
            await asyncio.sleep(_PAUSE_S if trouble else _LOOK_S)

    async def _fetch_once(self, line: NeighbourLine, served: frozenset[int]) -> str:
        """Take what a neighbour's shards sent, block by block, until it has no more; return what was refused."""
        pending = [each for each in await self._node.credits_wanted() if each.source in served]
        while pending:
            wanted = pending.pop()
            offered = await line.outgoing_since(wanted)
            if offered is None:
                continue
            reply = await self._node.take_credits(wanted.destination, offered)
            if reply.refused is not None:
                return f"its credits were refused: {reply.refused}"
            again = [each for each in await self._node.credits_wanted() if _channel(each) == _channel(wanted)]
            pending += again
        return ""


def _channel(wanted: CreditsWanted) -> tuple[int, int]:
    return wanted.source, wanted.destination
