"""The calls of a bridge's service: who may ask, shapes, and what the engine, the planner and the desk answer.

Peer, role and limits are decided before a byte is parsed (``clearspan.service``). Everything but quotes, acceptances
and the status is for the bridge's own participant.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from bridge.desk import QuoteRequest
from bridge.foreign_asset import account_handle
from bridge.leg import HashFunction
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.terms import UETR_BYTES
from bridge.travel_route import decode_parties, sheaf_hash, split_sheaf
from clearspan import __version__
from clearspan.bridging.journal.views import refusal_message, stored_swap, swap_view
from clearspan.bridging.lines.peers import ACCEPTANCES_AT_ONCE_MAX
from clearspan.bridging.market.envelopes import papers_of
from clearspan.bridging.market.order import Order
from clearspan.bridging.serving.people import PeopleCalls
from clearspan.bridging.serving.progress import ProgressStream
from clearspan.pki import TlsFiles, server_credentials
from clearspan.roles import BridgeRpc, PeerRole
from clearspan.service.access import AccessList
from clearspan.service.calls import Call, CallGuard, parse
from clearspan.service.listener import Listener
from clearspan.service.peers import PeerTable
from clearspan.service.requests import check_version
from clearspan.status import refuse
from clearspan.v1 import bridge_pb2
from engine.types import ZERO_HASH
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clearspan.bridging.journal.book import OpenSwap
    from clearspan.bridging.serving.running import RunningBridge
    from clearspan.bridging.swaps.beginning import Beginning
    from clearspan.config import LimitsSection

    Context = grpc.aio.ServicerContext[Any, Any]

__all__ = ["BRIDGE_SERVICE", "BridgeServer"]

BRIDGE_SERVICE: Final = bridge_pb2.DESCRIPTOR.services_by_name["Bridge"].full_name
_ORDERS_AT_ONCE_MAX: Final = 1_024
_PAGE_MAX: Final = 1_000
_LINGER_S: Final = 0.3
_U128_BYTES: Final = 16
_WATCHERS: Final = frozenset({PeerRole.OPERATOR, PeerRole.SUPERVISOR})


class BridgeServer:
    """One bridge's service. start, then stop once; what it serves is started and stopped by who made it."""

    def __init__(
        self,
        bridge: RunningBridge,
        tls: TlsFiles,
        *,
        host: str,
        port: int,
        limits: LimitsSection,
        access: AccessList | None = None,
    ) -> None:
        """Put the service together; nothing listens yet. Raises CertificateInvalid for TLS files of no use."""
        self._bridge, self._limits = bridge, limits
        table = PeerTable(bridge.genesis.network, access if access is not None else AccessList(), limits)
        self._guard = CallGuard(table, limits)
        self._listener = Listener(BRIDGE_SERVICE, server_credentials(tls), self._guard, limits, host=host, port=port)
        self._ending = asyncio.Event()

    async def start(self) -> int:
        """Listen, and return the port. Raises PortInUse, ConfigError for an address that is not this machine's."""
        calls: dict[BridgeRpc, Callable[[Call, bytes], Awaitable[bytes]]] = {
            BridgeRpc.QUOTE: self._quote,
            BridgeRpc.ACCEPT: self._accept,
            BridgeRpc.FIND_ROUTE: self._find_route,
            BridgeRpc.RUN: self._run,
            BridgeRpc.GET_SWAP: self._get_swap,
            BridgeRpc.LIST_SWAPS: self._list_swaps,
            BridgeRpc.GET_STATUS: self._get_status,
            **PeopleCalls(self._bridge).calls(),
        }
        table: dict[str, grpc.RpcMethodHandler[Any, Any]] = {rpc: self._unary(rpc, each) for rpc, each in calls.items()}
        table[BridgeRpc.STREAM_PROGRESS] = grpc.unary_stream_rpc_method_handler(self._progress)
        return await self._listener.start(table)

    async def stop(self) -> None:
        """Say not serving, end the streams and close."""
        if self._listener.started:
            await self._listener.say_not_serving()
            self._ending.set()
            await self._listener.close(_LINGER_S)

    def _unary(
        self, rpc: BridgeRpc, body: Callable[[Call, bytes], Awaitable[bytes]]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        async def serve(content: bytes, context: Context) -> bytes:
            return await self._guard.run(rpc, context, lambda call: body(call, content))

        return grpc.unary_unary_rpc_method_handler(serve)

    # What other bridges ask.

    async def _quote(self, call: Call, content: bytes) -> bytes:
        request = parse(bridge_pb2.QuoteRequest, content)
        check_version(request.version)
        bridge, now = self._bridge, self._bridge.engine.now()
        wanted = QuoteRequest(
            call.peer.identity.participant,
            _amount(request.amount),
            request.exact == bridge_pb2.EXACT_RECEIVE,
            request.lock_s,
        )
        try:
            signed = bridge.demand_desk().quote(wanted, request.source_ledger, request.target_ledger, now)
        except BridgeRefused as error:
            return bridge_pb2.QuoteReply(refusal=refusal_message(error)).SerializeToString()
        await bridge.engine.committed()
        if bridge.ledger_quotes is not None:
            call.notes["on_ledger"] = await bridge.ledger_quotes.open(signed.quote)
        call.notes["quote"] = f"{signed.quote.id:032x}"
        return bridge_pb2.QuoteReply(signed_quote=signed.encode()).SerializeToString()

    async def _accept(self, call: Call, content: bytes) -> bytes:
        request = parse(bridge_pb2.AcceptRequest, content)
        check_version(request.version)
        call.notes["count"] = len(request.asked)
        if not 1 <= len(request.asked) <= ACCEPTANCES_AT_ONCE_MAX:
            raise refuse(ResultCode.BATCH_TOO_LARGE, f"1 to {ACCEPTANCES_AT_ONCE_MAX} swaps at once")
        if self._bridge.accepting is None:
            error = BridgeRefused(BridgeCode.PROVIDER_REFUSED, "this bridge provides no liquidity")
            answers = [bridge_pb2.AcceptAnswer(refusal=refusal_message(error))] * len(request.asked)
        else:
            answers = await self._bridge.accepting.accept(request.asked, call.peer.identity.participant)
        return bridge_pb2.AcceptReply(answers=answers).SerializeToString()

    # What its own participant asks.

    async def _find_route(self, call: Call, content: bytes) -> bytes:
        request = parse(bridge_pb2.FindRouteRequest, content)
        check_version(request.version)
        self._demand_own(call)
        bridge = self._bridge
        try:
            lock_s = request.lock_s or bridge.lock_s(request.source_ledger, request.target_ledger)
            wanted = Order(
                bytes(16),
                _end(request.debit_account),
                _end(request.credit_account, request.chain_account),
                _amount(request.amount),
                request.exact == bridge_pb2.EXACT_RECEIVE,
                (),
                lock_s,
            )
            plan, quotes = await bridge.planner.find(
                wanted,
                request.source_ledger,
                request.target_ledger,
                hops_max=request.hops_max,
                providers=tuple(request.providers),
                now=bridge.engine.now(),
            )
        except BridgeRefused as error:
            return bridge_pb2.FindRouteReply(refusal=refusal_message(error)).SerializeToString()
        parts = [("leg", each) for each in plan.legs] + [(each.purpose.value, each) for each in plan.transfers]
        return bridge_pb2.FindRouteReply(
            quotes=quotes,
            expires_at=min(offer.quote.expires_at for offer in plan.offers),
            lock_s=lock_s,
            parts=[
                bridge_pb2.PlannedPart(
                    ledger=each.ledger,
                    debit_account=_bytes(each.debit_account),
                    credit_account=_bytes(each.credit_account),
                    amount=_bytes(each.amount),
                    purpose=purpose,
                )
                for purpose, each in parts
            ],
            sent=_bytes(plan.sent),
            received=_bytes(plan.received),
        ).SerializeToString()

    async def _run(self, call: Call, content: bytes) -> bytes:
        request = parse(bridge_pb2.RunRequest, content)
        check_version(request.version)
        self._demand_own(call)
        call.notes["count"] = len(request.orders)
        if not 1 <= len(request.orders) <= _ORDERS_AT_ONCE_MAX:
            raise refuse(ResultCode.BATCH_TOO_LARGE, f"1 to {_ORDERS_AT_ONCE_MAX} swaps at once")
        # All are read before the first one begins: a call that is refused as a whole has begun nothing.
        read = [self._read(order) for order in request.orders]
        beginning = self._bridge.beginning([order.uetr for order in request.orders if len(order.uetr) == UETR_BYTES])
        begun = zip(request.orders, read, strict=True)
        answers = [self._begin(wanted, uetr, order, beginning) for wanted, (uetr, order) in begun]
        await self._bridge.engine.committed()
        return bridge_pb2.RunReply(answers=answers).SerializeToString()

    def _read(self, wanted: bridge_pb2.SwapOrder) -> tuple[bytes, Order | BridgeRefused]:
        """Return an order's UETR, and what is wanted or why that is none. Raises CallRefused (batch_malformed)."""
        uetr, travel_rule = wanted.uetr or uuid.uuid4().bytes, wanted.travel_rule
        try:
            named = ZERO_HASH
            if travel_rule:
                envelopes = split_sheaf(travel_rule, max(1, len(wanted.quotes)))
                named = sheaf_hash(self._bridge.genesis.hash_suite, envelopes)
            return uetr, Order(
                uetr,
                _end(wanted.debit_account),
                _end(wanted.credit_account, wanted.chain_account),
                _amount(wanted.amount),
                wanted.exact == bridge_pb2.EXACT_RECEIVE,
                tuple(wanted.quotes),
                wanted.lock_s,
                HashFunction(wanted.hash_function or HashFunction.SHA256),
                named,
                wanted.chain_account,
                decode_parties(wanted.travel_data) if wanted.travel_data else None,
            )
        except BridgeRefused as error:
            return uetr, error
        except ValueError as error:
            return uetr, BridgeRefused(BridgeCode.TERMS_MALFORMED, str(error))

    @staticmethod
    def _begin(
        wanted: bridge_pb2.SwapOrder, uetr: bytes, order: Order | BridgeRefused, beginning: Beginning
    ) -> bridge_pb2.RunAnswer:
        if isinstance(order, BridgeRefused):
            return bridge_pb2.RunAnswer(uetr=uetr, refusal=refusal_message(order))
        try:
            swap = beginning.begin(order, wanted.travel_rule, (wanted.payer_name, wanted.payee_name))
        except BridgeRefused as error:
            return bridge_pb2.RunAnswer(uetr=uetr, refusal=refusal_message(error))
        except ValueError as error:
            refusal = refusal_message(BridgeRefused(BridgeCode.TERMS_MALFORMED, str(error)))
            return bridge_pb2.RunAnswer(uetr=uetr, refusal=refusal)
        return bridge_pb2.RunAnswer(swap_id=swap.swap, uetr=uetr)

    async def _get_swap(self, call: Call, content: bytes) -> bytes:
        request = parse(bridge_pb2.GetSwapRequest, content)
        check_version(request.version)
        self._demand_own(call)
        swap = await self._find(request.swap_id, request.uetr)
        if swap is None:
            raise refuse(ResultCode.NOT_FOUND, "no such swap is known here")
        view = swap_view(swap, whole=True)
        if request.papers:
            view.travel_rule, view.salt = await asyncio.to_thread(papers_of, self._bridge.engine.store, swap.party)
        return view.SerializeToString()

    async def _find(self, swap_id: bytes, uetr: bytes) -> OpenSwap | None:
        engine = self._bridge.engine
        if not swap_id and not uetr:
            return None
        party = await asyncio.to_thread(engine.past.find, swap_id, uetr)
        if party is None:
            return engine.book.find(swap_id) if swap_id else None
        return engine.book.find(party) or await asyncio.to_thread(stored_swap, engine.store, party, engine.book)

    async def _list_swaps(self, call: Call, content: bytes) -> bytes:
        request = parse(bridge_pb2.ListSwapsRequest, content)
        check_version(request.version)
        self._demand_own(call)
        if not 1 <= request.limit <= _PAGE_MAX:
            raise refuse(ResultCode.BATCH_TOO_LARGE, f"limit is 1 to {_PAGE_MAX}")
        engine = self._bridge.engine
        if request.open_only:
            swaps = sorted(engine.book, key=lambda each: -each.began_at)[: request.limit]
            return bridge_pb2.ListSwapsReply(swaps=[swap_view(each, whole=False) for each in swaps]).SerializeToString()

        def read() -> tuple[list[OpenSwap], int]:
            parties, following = engine.store.newest(request.limit, request.before)
            found = [engine.book.find(party) or stored_swap(engine.store, party, engine.book) for party in parties]
            return [each for each in found if each is not None], following

        swaps, following = await asyncio.to_thread(read)
        reply = bridge_pb2.ListSwapsReply(swaps=[swap_view(each, whole=False) for each in swaps], next=following)
        return reply.SerializeToString()

    async def _progress(self, content: bytes, context: Context) -> None:
        def body(call: Call) -> Awaitable[None]:
            return self._stream_progress(call, content)

        await self._guard.run(BridgeRpc.STREAM_PROGRESS, context, body, stream=True)

    async def _stream_progress(self, call: Call, content: bytes) -> None:
        """Write what happens to swaps as it happens; a reader who falls too far behind is let go."""
        request = parse(bridge_pb2.StreamProgressRequest, content)
        check_version(request.version)
        self._demand_own(call)
        stream = ProgressStream(self._bridge.engine.telling, request.swap_ids, ended_only=request.ended_only)
        await stream.run(call.context, self._ending, self._limits.stream_write_ms / 1000)

    async def _get_status(self, call: Call, content: bytes) -> bytes:
        check_version(parse(bridge_pb2.BridgeStatusRequest, content).version)
        if call.peer.identity.role not in _WATCHERS:
            self._demand_own(call)
        return self._bridge.status(f"clearspan {__version__}").SerializeToString()

    def _demand_own(self, call: Call) -> None:
        if call.peer.identity.participant != self._bridge.participant:
            raise refuse(ResultCode.ROLE_REFUSED, "this call is for the bridge's own participant")


def _amount(data: bytes) -> int:
    if len(data) != _U128_BYTES:
        raise refuse(ResultCode.BATCH_MALFORMED, f"an amount or account of {len(data)} bytes, not 16")
    return int.from_bytes(data, "little")


def _end(data: bytes, name: str = "") -> int:
    """Return an account that a swap begins or ends with: of ours, the handle of a named one on a chain, or 0."""
    if not data:
        return account_handle(name) if name else 0
    return _amount(data)


def _bytes(value: int) -> bytes:
    return value.to_bytes(_U128_BYTES, "little")
