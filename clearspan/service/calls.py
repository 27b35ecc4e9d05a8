"""What surrounds every call: who it is, whether it may, how much of it at once, how long, and one line in the log.

Peer, role and limits are decided before a byte of the message is parsed. A log line holds names, numbers and digests:
no payload, no key, and of what a peer chose itself only a short escaped form.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from google.protobuf.message import DecodeError

from clearspan.roles import BridgeRpc, RelayRpc, Rpc, may_call
from clearspan.status import DEADLINE, INTERNAL, Refusal, abort_arguments, refusal_of, refuse
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import grpc.aio
    from google.protobuf.message import Message

    from clearspan.config import LimitsSection
    from clearspan.service.peers import Peer, PeerTable

    Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["Call", "CallGuard", "parse", "printable", "report_fault"]

_PRINTABLE_MAX: Final = 64
_NS_PER_US: Final = 1_000
_log = structlog.get_logger("clearspan.service")

Result = TypeVar("Result")
Request = TypeVar("Request", bound="Message")


@dataclass(slots=True)
class Call:
    """One call in progress; `notes` become fields of its log line."""

    rpc: str
    peer: Peer
    context: Context
    notes: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class CallGuard:
    """Lets calls in and out; one for a server."""

    peers: PeerTable
    limits: LimitsSection

    async def run(
        self,
        rpc: Rpc | RelayRpc | BridgeRpc | str,
        context: Context,
        body: Callable[[Call], Awaitable[Result]],
        *,
        stream: bool = False,
    ) -> Result:
        """Run the body of a call inside its peer's limits; a refusal or a fault becomes the call's status.

        rpc is one of the service's, or another service's method, which every peer may call. Unary calls end at the
        earlier of the client's deadline and rpc_deadline_ms; a stream bounds its own waits.
        """
        started = time.monotonic_ns()
        call: Call | None = None
        refusal: Refusal | None = None
        outcome, entered = "ok", False
        try:
            call = Call(str(rpc), self.peers.authenticate(context.auth_context()), context)
            self._admit(rpc, call.peer, stream=stream)
            entered = True
            async with asyncio.timeout(None if stream else self._seconds(context)) as deadline:
                return await body(call)
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except TimeoutError as error:
            refusal = DEADLINE if deadline.expired() else report_fault(rpc, error)
        except Exception as error:  # noqa: BLE001 - the one place where whatever a call raises becomes its status
            refusal = refusal_of(error, self.limits.retry_after_ms) or report_fault(rpc, error)
        finally:
            if call is not None and entered:
                self.peers.leave(call.peer, stream=stream)
            elif call is not None:
                self.peers.forget(call.peer)
            outcome = refusal.name if refusal is not None else outcome
            _log_call(rpc, call, context, outcome, time.monotonic_ns() - started)
        code, details, metadata = abort_arguments(refusal)
        return await context.abort(code, details, metadata)

    def _admit(self, rpc: Rpc | RelayRpc | BridgeRpc | str, peer: Peer, *, stream: bool) -> None:
        if isinstance(rpc, Rpc | RelayRpc | BridgeRpc) and not may_call(peer.identity.role, rpc):
            raise refuse(ResultCode.ROLE_REFUSED, f"role {peer.identity.role} may not call {rpc}")
        self.peers.enter(peer, stream=stream)

    def _seconds(self, context: Context) -> float:
        limit = self.limits.rpc_deadline_ms / 1000
        remaining: float | None = context.time_remaining()
        return limit if remaining is None else min(limit, remaining)


def parse(kind: type[Request], content: bytes) -> Request:
    """Parse a message. Raises CallRefused (batch_malformed) for bytes that are none."""
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise refuse(ResultCode.BATCH_MALFORMED, "the message cannot be parsed") from error


def report_fault(rpc: str, error: BaseException) -> Refusal:
    """Log what the node itself failed at, with its trace, and return the refusal that tells the peer nothing of it."""
    _log.error("call_failed", rpc=printable(rpc), error=type(error).__name__, exc_info=error)
    return INTERNAL


def printable(text: str) -> str:
    """Return a short form of foreign text that cannot break a line, a terminal or a log."""
    return text[:_PRINTABLE_MAX].encode("unicode_escape").decode("ascii")


def _log_call(rpc: str, call: Call | None, context: Context, outcome: str, took_ns: int) -> None:
    if call is not None:
        peer = {"peer": call.peer.name, "spki": call.peer.spki.hex()[:16]}
    else:
        peer = {"peer": printable(context.peer() or "")}
    notes = call.notes if call is not None else {}
    _log.info("call", rpc=printable(rpc), **peer, outcome=outcome, took_us=took_ns // _NS_PER_US, **notes)
