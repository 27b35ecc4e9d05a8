"""Cross-currency payments of the demonstration: bridges of banks, one route over two hops, one swap that is refunded.

It promises that a swap counts as claimed or refunded only with receipts that convince: every leg's lock and its end are
proven from its ledger up to a quorum of validators. What the swaps add to the ledgers is told by ledger, so that the
audit of the stopped logs can be held against it.
"""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bridge.rates import Rate
from bridge.refusals import BridgeCode
from clearspan.bridging.staging.banks import Bank, Bridges, StagedMargins, corridor_between, register_banks
from clearspan.bridging.staging.folder import bridge_tls_name, put_corridors
from clearspan.client import AsyncClient, RetryPolicy
from clearspan.client.bridge import BridgeClient
from clearspan.demo.swap_files import PaymentFile
from clearspan.errors import ClearspanError, ClientError
from clearspan.population import tls_files
from clearspan.v1 import bridge_pb2
from engine.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.client import BatchResult
    from clearspan.demo.progress import DemoProgress
    from clearspan.network import Network
    from engine.batch import BatchColumns

__all__ = ["SwapPayment", "SwapsReport", "run_swaps"]

_SOUTH: Final = 5001
_EAST: Final = 5002
_PAYER: Final = 6001
_PAYEE: Final = 7001
_MARGINS: Final = StagedMargins(
    finality_ms=600, watching_ms=100, submission_ms=100, skew_ms=20, failover_ms=400, stall_ms=400
)
_LOCK_S: Final = 60
_SHORT_S: Final = 7
_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.05
_NS_PER_MS: Final = 1_000_000
_FRESH: Final = frozenset({int(ResultCode.CREATED), int(ResultCode.CREATED_IN_TRANSIT)})
# A lock and its end, on two ledgers at least.
_RECEIPTS_MIN: Final = 4
_STATUSES: Final = {"claimed": "ACSC", "refunded": "RJCT"}


@dataclass(frozen=True, slots=True)
class SwapPayment:
    """What became of one cross-currency payment; amounts in minor units, times in ms."""

    uetr: str
    path: tuple[str, ...]
    sent: int
    received: int
    outcome: str
    took_ms: int
    receipts: int
    status: str
    """What the pacs.002 says: ACSC, RJCT or PDNG."""
    timeline: tuple[tuple[int, str, str], ...] = ()

    def encode(self) -> dict[str, Any]:
        """Return the fields for JSON; amounts as strings of minor units."""
        return {
            "uetr": self.uetr,
            "path": list(self.path),
            "sent": str(self.sent),
            "received": str(self.received),
            "outcome": self.outcome,
            "took_ms": self.took_ms,
            "receipts": self.receipts,
            "status": self.status,
            "timeline": [{"ms": at, "what": what, "text": text} for at, what, text in self.timeline],
        }


@dataclass(slots=True)
class SwapsReport:
    """All of them, and how many records they added to each domain's log."""

    payments: list[SwapPayment] = field(default_factory=list)
    added: Counter[int] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def claimed(self) -> int:
        """Payments that arrived."""
        return sum(each.outcome == "claimed" for each in self.payments)

    @property
    def refunded(self) -> int:
        """Payments whose locks came back at their timelock."""
        return sum(each.outcome == "refunded" for each in self.payments)

    @property
    def receipts(self) -> int:
        """Receipts of locks, claims and refunds that hold."""
        return sum(each.receipts for each in self.payments)


class _Counting:
    """Counts what the ledgers acknowledged while banks were registered and funded."""

    def __init__(self, added: Counter[int]) -> None:
        self._added = added

    def add(self, batch: BatchColumns, result: BatchResult) -> None:
        """Count one answered batch."""
        self._added[batch.domain] += sum(code in _FRESH for code in result.codes.tolist())


def run_swaps(network: Network, progress: DemoProgress) -> SwapsReport:
    """Register banks, start their bridges, and pay; the bridges are stopped when it returns. Use the main thread.

    Raises ClearspanError when it cannot be carried through; what is found wrong is in the report instead.
    """
    cny, hkd, thb = (domain.ledgers[0].ledger for domain in network.genesis.domains)
    banks = [
        Bank(_SOUTH, "SOUTH", (cny, hkd), rates={(cny, hkd): Rate.of(27, 25)}),
        Bank(_EAST, "EAST", (hkd, thb), rates={(hkd, thb): Rate.of(21, 5)}),
        Bank(_PAYER, "PAYER", (cny, hkd)),
        Bank(_PAYEE, "PAYEE", (hkd, thb), funds=0),
    ]
    report = SwapsReport()
    progress.step("registering banks with bridges")
    asyncio.run(register_banks(network, banks, recorder=_Counting(report.added)))
    documents = [
        corridor_between(network, cny, hkd, [_SOUTH], lock_s=_LOCK_S, margins=_MARGINS),
        corridor_between(network, hkd, thb, [_EAST], lock_s=_LOCK_S, margins=_MARGINS),
    ]
    put_corridors(network, [document.record(0) for document in documents])
    progress.step("starting bridges")
    with Bridges(network, banks[:3], ("--bridge-log-level", "warning"), retry_ms=500) as bridges:
        asyncio.run(_pay(network, bridges, banks, report, progress))
    return report


async def _pay(
    network: Network, bridges: Bridges, banks: Sequence[Bank], report: SwapsReport, progress: DemoProgress
) -> None:
    cny, hkd, thb = (domain.ledgers[0].ledger for domain in network.genesis.domains)
    payer, payee = banks[2], banks[3]
    client = BridgeClient(
        bridges.address(_PAYER).target, tls_files(network, bridge_tls_name(_PAYER)), timeout_s=_PATIENCE_S
    )
    async with client:
        progress.step("paying across currencies")
        paths = ((cny, hkd, 108_000), (hkd, thb, 210_000), (cny, thb, 907_200))
        orders = [_order_file(network, payer, payee, *path[1:]) for path in paths]
        begun = [
            await _run(client, order, await _route(client, order, *path[:2]))
            for order, path in zip(orders, paths, strict=True)
        ]
        views = [await _ended(client, swap_id) for swap_id in begun]
        progress.step("letting a payment run into its timelock")
        orders.append(_order_file(network, payer, payee, thb, 136_080))
        route = await _route(client, orders[-1], cny, thb, lock_s=_SHORT_S)
        # The second provider dies with the payment on its way: what is locked for it comes back.
        bridges.kill(_EAST, signal.SIGKILL)
        views.append(await _ended(client, await _run(client, orders[-1], route, lock_s=_SHORT_S)))
    progress.step("checking receipts of the legs")
    for order, view, wanted in zip(orders, views, ("claimed", "claimed", "claimed", "refunded"), strict=True):
        await _note(network, order, view, wanted, report)


def _order_file(network: Network, payer: Bank, payee: Bank, ledger: int, amount: int) -> PaymentFile:
    """Write the pacs.009 that asks for ``amount`` minor units to reach the payee on a ledger."""
    currency = network.ledger(str(ledger))[1].currency
    return PaymentFile.write(network.path / "payments", currency, amount, payer.account, payee.account)


async def _route(
    client: BridgeClient, order: PaymentFile, source: int, target: int, *, lock_s: int = 0
) -> bridge_pb2.FindRouteReply:
    """Ask for the best way, again where a bridge is still meeting its neighbours."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        reply = await client.find_route(
            bridge_pb2.FindRouteRequest(
                version=1,
                source_ledger=source,
                target_ledger=target,
                amount=_wide(order.wanted.amount),
                exact=bridge_pb2.EXACT_RECEIVE,
                debit_account=_wide(order.wanted.debit_account),
                credit_account=_wide(order.wanted.credit_account),
                lock_s=lock_s,
            )
        )
        if not reply.refusal.code:
            return reply
        if time.monotonic() > deadline:
            raise ClearspanError(f"no route: {reply.refusal.text}", reply.refusal.next_step)
        await asyncio.sleep(_POLL_S)


async def _run(client: BridgeClient, order: PaymentFile, route: bridge_pb2.FindRouteReply, *, lock_s: int = 0) -> bytes:
    """Order a swap, again while the bridge still reads the relay since its start."""
    wanted = order.wanted
    swap_order = bridge_pb2.SwapOrder(
        uetr=uuid.UUID(int=wanted.uetr).bytes,
        debit_account=_wide(wanted.debit_account),
        credit_account=_wide(wanted.credit_account),
        amount=_wide(wanted.amount),
        exact=bridge_pb2.EXACT_RECEIVE,
        quotes=route.quotes,
        lock_s=lock_s,
    )
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        (answer,) = await client.run([swap_order])
        refusal = answer.refusal
        if not refusal.code:
            return bytes(answer.swap_id)
        if refusal.code != BridgeCode.RELAY_NOT_READ or time.monotonic() > deadline:
            raise ClearspanError(f"{refusal.name}: {refusal.text}", refusal.next_step)
        await asyncio.sleep(_POLL_S)


async def _ended(client: BridgeClient, swap_id: bytes) -> bridge_pb2.SwapView:
    """Wait until a swap has ended for the payer."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            view = await client.swap(swap_id=swap_id)
            if view.outcome:
                return view
            await asyncio.sleep(_POLL_S)


async def _note(
    network: Network, order: PaymentFile, view: bridge_pb2.SwapView, wanted: str, report: SwapsReport
) -> None:
    """Answer the order, verify the receipts of every leg's lock and end, and add the payment to the report."""
    receipts, due, path = 0, 0, []
    for leg in view.legs:
        domain, ledger = network.ledger(str(leg.ledger))
        path.append(ledger.currency)
        if not leg.lock_digest:
            continue
        target, pinned = network.address(domain.domain), network.genesis.hash
        policy = RetryPolicy(deadline_s=_PATIENCE_S)
        async with AsyncClient(target, tls_files(network, "reader"), genesis_hash=pinned, policy=policy) as node:
            for digest in filter(None, (leg.lock_digest, leg.end_digest)):
                due += 1
                try:
                    found = await node.receipt(digest, wait_s=_PATIENCE_S)
                except ClientError as error:
                    report.problems.append(f"swap {view.swap_id.hex()[:16]}: no receipt: {error}")
                    continue
                receipts += 1
                report.added[domain.domain] += found.finding.decision.code in _FRESH
    payment = SwapPayment(
        uetr=str(uuid.UUID(bytes=bytes(view.uetr))),
        path=tuple(path),
        sent=int.from_bytes(view.legs[0].amount, "little"),
        received=int.from_bytes(view.legs[-1].amount, "little"),
        outcome=view.outcome,
        took_ms=(view.ended_at - view.began_at) // _NS_PER_MS,
        receipts=receipts,
        status=order.answer(view),
        timeline=tuple((max(0, each.at - view.began_at) // _NS_PER_MS, each.what, each.text) for each in view.timeline),
    )
    report.payments.append(payment)
    if payment.uetr != str(uuid.UUID(int=order.wanted.uetr)) or payment.received != order.wanted.amount:
        report.problems.append(f"swap {payment.uetr} is not what its pacs.009 asks for")
    if payment.status != _STATUSES[wanted]:
        report.problems.append(f"swap {payment.uetr} is answered {payment.status} where {_STATUSES[wanted]} is due")
    if view.outcome != wanted:
        report.problems.append(f"swap {payment.uetr} ended {view.outcome or view.state} where {wanted} is due")
    if receipts < due or due < _RECEIPTS_MIN:
        report.problems.append(f"swap {payment.uetr}: {receipts} receipts hold of {due}")


def _wide(value: int) -> bytes:
    return value.to_bytes(16, "little")
