"""A client of one bridge: quotes and acceptances between bridges, swaps and their progress for its own participant.

It promises typed errors (``clearspan.errors``) and plain replies; what a reply proves is for who asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import grpc
import grpc.aio

from clearspan.client.transport import CHANNEL_OPTIONS, refusal_of_error
from clearspan.errors import Refused, Unreachable
from clearspan.pki import channel_credentials
from clearspan.roles import BridgeRpc
from clearspan.v1 import bridge_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from types import TracebackType

    from clearspan.pki import TlsFiles

__all__ = ["BRIDGE_VERSION", "BridgeClient"]

BRIDGE_VERSION: Final = 1
_SERVICE: Final = "/clearspan.v1.Bridge"
# A bridge that is started again is found within a second.
_OWN_OPTIONS: Final = {"grpc.initial_reconnect_backoff_ms": 100, "grpc.max_reconnect_backoff_ms": 1_000}
_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class BridgeClient:
    """A connection to one bridge; use it in `async with`. A call waits ``timeout_s`` at most, a stream for ever.

    With ``patient`` a call waits as long for a bridge that is being started again; without, it fails at once.
    """

    def __init__(self, target: str, tls: TlsFiles, *, timeout_s: float = 10.0, patient: bool = False) -> None:
        """Prepare; nothing is called yet. Raises CertificateInvalid."""
        self.target = target
        self._timeout_s, self._patient = timeout_s, patient
        options = (*(each for each in CHANNEL_OPTIONS if each[0] not in _OWN_OPTIONS), *_OWN_OPTIONS.items())
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

    async def quote(self, request: bridge_pb2.QuoteRequest) -> bridge_pb2.QuoteReply:
        """Ask for a firm quote. Raises Refused, Unreachable."""
        found: bridge_pb2.QuoteReply = await self._call(BridgeRpc.QUOTE, request, bridge_pb2.QuoteReply)
        return found

    async def accept(self, asked: Sequence[bridge_pb2.Acceptance]) -> list[bridge_pb2.AcceptAnswer]:
        """Ask a provider to lock its legs; an answer for each, in order. Raises as quote does."""
        request = bridge_pb2.AcceptRequest(version=BRIDGE_VERSION, asked=asked)
        found: bridge_pb2.AcceptReply = await self._call(BridgeRpc.ACCEPT, request, bridge_pb2.AcceptReply)
        if len(found.answers) != len(asked):
            raise Refused(0, "reply", f"{len(found.answers)} answers to {len(asked)} questions", "tell the operator")
        return list(found.answers)

    async def find_route(self, request: bridge_pb2.FindRouteRequest) -> bridge_pb2.FindRouteReply:
        """Ask for the best way. Raises as quote does."""
        found: bridge_pb2.FindRouteReply = await self._call(BridgeRpc.FIND_ROUTE, request, bridge_pb2.FindRouteReply)
        return found

    async def run(self, orders: Sequence[bridge_pb2.SwapOrder]) -> list[bridge_pb2.RunAnswer]:
        """Begin swaps; an answer for each, in order. Raises as quote does."""
        request = bridge_pb2.RunRequest(version=BRIDGE_VERSION, orders=orders)
        found: bridge_pb2.RunReply = await self._call(BridgeRpc.RUN, request, bridge_pb2.RunReply)
        return list(found.answers)

    async def swap(self, *, swap_id: bytes = b"", uetr: bytes = b"", papers: bool = False) -> bridge_pb2.SwapView:
        """Return a swap with its timeline, with ``papers`` its sealed envelopes too. Raises as quote does."""
        request = bridge_pb2.GetSwapRequest(version=BRIDGE_VERSION, swap_id=swap_id, uetr=uetr, papers=papers)
        found: bridge_pb2.SwapView = await self._call(BridgeRpc.GET_SWAP, request, bridge_pb2.SwapView)
        return found

    async def swaps(self, *, limit: int = 50, open_only: bool = False, before: int = 0) -> bridge_pb2.ListSwapsReply:
        """Return a page of swaps, the newest first. Raises as quote does."""
        request = bridge_pb2.ListSwapsRequest(version=BRIDGE_VERSION, limit=limit, open_only=open_only, before=before)
        found: bridge_pb2.ListSwapsReply = await self._call(BridgeRpc.LIST_SWAPS, request, bridge_pb2.ListSwapsReply)
        return found

    async def cases(
        self, *, limit: int = 1_000, ended: bool = False, look: bridge_pb2.Look | None = None
    ) -> bridge_pb2.ListCasesReply:
        """Return the cases that nobody has decided, those that end first; with ``ended`` all, the newest first.

        A supervisor gives a look at this very question (``clearspan.inspection``). Raises as quote does.
        """
        request = bridge_pb2.ListCasesRequest(version=BRIDGE_VERSION, limit=limit, ended=ended, look=look)
        found: bridge_pb2.ListCasesReply = await self._call(BridgeRpc.LIST_CASES, request, bridge_pb2.ListCasesReply)
        return found

    async def case(self, case_id: bytes, *, look: bridge_pb2.Look | None = None) -> bridge_pb2.GetCaseReply:
        """Return a case with its steps and the outcomes of screening. Raises as quote does."""
        request = bridge_pb2.GetCaseRequest(version=BRIDGE_VERSION, case_id=case_id, look=look)
        found: bridge_pb2.GetCaseReply = await self._call(BridgeRpc.GET_CASE, request, bridge_pb2.GetCaseReply)
        return found

    async def take_breaker(self, domain: int, height: int, request: bytes) -> bridge_pb2.TakeBreakerReply:
        """Hand on a breaker of a corridor (160 bytes) that a domain decided in a block. Raises as quote does."""
        asked = bridge_pb2.TakeBreakerRequest(version=BRIDGE_VERSION, domain=domain, request=request, height=height)
        found: bridge_pb2.TakeBreakerReply = await self._call(
            BridgeRpc.TAKE_BREAKER, asked, bridge_pb2.TakeBreakerReply
        )
        return found

    async def breakers(self) -> bridge_pb2.ListBreakersReply:
        """Return the breakers of corridors that stand. Raises as quote does."""
        request = bridge_pb2.ListBreakersRequest(version=BRIDGE_VERSION)
        found: bridge_pb2.ListBreakersReply = await self._call(
            BridgeRpc.LIST_BREAKERS, request, bridge_pb2.ListBreakersReply
        )
        return found

    async def acknowledge_alarm(self, number: int, text: str = "") -> bridge_pb2.AcknowledgeAlarmReply:
        """Acknowledge an alarm as the holder of this connection's certificate. Raises as quote does."""
        request = bridge_pb2.AcknowledgeAlarmRequest(version=BRIDGE_VERSION, number=number, text=text)
        found: bridge_pb2.AcknowledgeAlarmReply = await self._call(
            BridgeRpc.ACKNOWLEDGE_ALARM, request, bridge_pb2.AcknowledgeAlarmReply
        )
        return found

    async def step_case(self, case_id: bytes, step: str, text: str = "") -> bridge_pb2.StepCaseReply:
        """Act on a case as the holder of this connection's certificate. Raises as quote does."""
        request = bridge_pb2.StepCaseRequest(version=BRIDGE_VERSION, case_id=case_id, step=step, text=text)
        found: bridge_pb2.StepCaseReply = await self._call(BridgeRpc.STEP_CASE, request, bridge_pb2.StepCaseReply)
        return found

    async def status(self) -> bridge_pb2.BridgeStatus:
        """Return how the bridge stands. Raises as quote does."""
        request = bridge_pb2.BridgeStatusRequest(version=BRIDGE_VERSION)
        found: bridge_pb2.BridgeStatus = await self._call(BridgeRpc.GET_STATUS, request, bridge_pb2.BridgeStatus)
        return found

    async def progress(
        self, swap_ids: Sequence[bytes] = (), *, ended_only: bool = False
    ) -> AsyncGenerator[bridge_pb2.ProgressReply, None]:
        """Iterate over what happens to swaps from now on. Raises as quote does."""
        method = self._channel.unary_stream(
            f"{_SERVICE}/{BridgeRpc.STREAM_PROGRESS}",
            request_serializer=bridge_pb2.StreamProgressRequest.SerializeToString,
            response_deserializer=bridge_pb2.ProgressReply.FromString,
        )
        request = bridge_pb2.StreamProgressRequest(version=BRIDGE_VERSION, swap_ids=swap_ids, ended_only=ended_only)
        call = method(request)
        try:
            async for reply in call:
                # What came together comes in one message: here one after the other.
                more = list(reply.more)
                del reply.more[:]
                yield reply
                for each in more:
                    yield each
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        finally:
            call.cancel()

    async def _call(self, rpc: BridgeRpc, request: Any, reply: Any) -> Any:
        method: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = self._channel.unary_unary(
            f"{_SERVICE}/{rpc}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
        )
        try:
            return await method(request, timeout=self._timeout_s, wait_for_ready=self._patient)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error

    def _error(self, error: grpc.aio.AioRpcError) -> Refused | Unreachable:
        refusal = refusal_of_error(error)
        if refusal.number == 0 and error.code() in _PASSING:
            return Unreachable(self.target, refusal.message)
        return Refused(refusal.number, refusal.name, refusal.message, refusal.next_step)
