"""The call between the nodes of one domain: credits of a channel, with the proof that they were sent.

The asker believes the proof and nothing else, so what is decided here is only that the shard is here and that the
numbers make sense; whatever else is wrong with them finds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clearspan.roles import Rpc
from clearspan.service.calls import parse
from clearspan.service.requests import check_domain, check_version
from clearspan.status import refuse
from clearspan.v1 import clearspan_pb2
from native.codes import ResultCode
from shards.neighbours import CreditsWanted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clearspan.ports import SettlementNode
    from clearspan.service.calls import Call

__all__ = ["ChannelHandlers"]


@dataclass(frozen=True, slots=True)
class ChannelHandlers:
    """Answers a neighbour."""

    node: SettlementNode

    def unary(self) -> dict[Rpc, Callable[[Call, bytes], Awaitable[bytes]]]:
        """Return the calls by their names."""
        return {Rpc.GET_OUTGOING: self.get_outgoing}

    async def get_outgoing(self, call: Call, content: bytes) -> bytes:
        """Credits of one block from a sequence on; empty while there are none under that height."""
        request = parse(clearspan_pb2.GetOutgoingRequest, content)
        check_version(request.version)
        check_domain(request.domain, self.node.domain)
        if request.source not in {shard.shard for shard in self.node.status().shards}:
            raise refuse(ResultCode.NOT_FOUND, f"this node has no shard {request.source}")
        if not request.sequence or not request.anchored_height:
            raise refuse(ResultCode.BATCH_MALFORMED, "sequence and anchored_height are at least 1")
        call.notes.update(shard=request.source, destination=request.destination, sequence=request.sequence)
        wanted = CreditsWanted(request.source, request.destination, request.sequence, request.anchored_height)
        found = await self.node.outgoing_since(wanted)
        return clearspan_pb2.GetOutgoingReply(credits=b"" if found is None else found.encode()).SerializeToString()
