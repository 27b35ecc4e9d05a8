"""A running bridge as its service and its figures see it: the parts together, and how they stand now."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.ports import Outcome
from bridge.refusals import BridgeCode, BridgeRefused
from clearspan.bridging.serving.people_views import alarm_view, breaker_view
from clearspan.bridging.swaps.beginning import Beginning
from clearspan.v1 import bridge_pb2
from engine.types import U128_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clearspan.bridging.chains.served import ChainStanding
    from clearspan.bridging.journal.book import OpenSwap
    from clearspan.bridging.lines.ledgers import LedgerPort
    from clearspan.bridging.lines.relay import RelayPort
    from clearspan.bridging.market.desk import ProviderDesk
    from clearspan.bridging.market.ledger_quotes import LedgerQuotes
    from clearspan.bridging.market.order import Order
    from clearspan.bridging.market.routing import Planner
    from clearspan.bridging.serving.rule_opening import Rules
    from clearspan.bridging.swaps.accepting import Accepting
    from clearspan.bridging.swaps.engine import BridgeEngine
    from engine.genesis import Genesis

__all__ = ["RunningBridge"]

_NS_PER_MS = 1_000_000
_ALARMS_SHOWN_MAX = 100


@dataclass(slots=True)
class RunningBridge:
    """The parts of one bridge; ``desk`` and ``accepting`` only where it provides liquidity."""

    genesis: Genesis
    participant: int
    name: str
    engine: BridgeEngine
    planner: Planner
    ledgers: Sequence[LedgerPort]
    relay: RelayPort
    desk: ProviderDesk | None = None
    accepting: Accepting | None = None
    ledger_quotes: LedgerQuotes | None = None
    rules: Rules | None = None
    started_ns: int = field(default_factory=time.monotonic_ns)

    def begin(self, order: Order, travel_rule: bytes = b"", names: tuple[str, str] = ("", "")) -> OpenSwap:
        """Begin one order, as `beginning` does those of a call. Raises BridgeRefused with nothing done."""
        return self.beginning((order.uetr,)).begin(order, travel_rule, names)

    def beginning(self, uetrs: Iterable[bytes]) -> Beginning:
        """Return what begins the orders of one call, whose UETRs these are, before anything is waited for."""
        return Beginning(self.engine, self.planner, uetrs)

    def demand_desk(self) -> ProviderDesk:
        """Return the provider's desk. Raises BridgeRefused: no_route where this bridge has none, relay_not_read."""
        if self.desk is None:
            raise BridgeRefused(BridgeCode.NO_ROUTE, "this bridge provides no liquidity")
        # A quote is a promise: none is made that would not be kept now.
        self.engine.demand_relay_read()
        return self.desk

    def lock_s(self, source: int, target: int) -> int:
        """Return the timelock, in seconds, of the corridor of a pair, or the shortest of all where there is none."""
        corridors = self.engine.corridors
        found = corridors.book.between(source, target, corridors.height) or corridors.book.all_in_effect(
            corridors.height
        )
        return min((each.lock_s for each in found), default=60)

    def status(self, software: str) -> bridge_pb2.BridgeStatus:
        """Return how it stands."""
        engine, relay = self.engine, self.relay
        counts = engine.book.counts
        return bridge_pb2.BridgeStatus(
            participant=self.participant,
            name=self.name,
            network=self.genesis.network,
            running=len(engine.book),
            claimed=counts[Outcome.SETTLED],
            refunded=counts[Outcome.REFUNDED],
            refused=counts[Outcome.ABANDONED],
            relay_height=relay.height,
            relay_time=relay.time,
            relay_behind=relay.behind,
            following=relay.following,
            nodes=[
                bridge_pb2.NodeLine(
                    domain=each.domain,
                    reached=each.reached,
                    fault=str(each.watch.fault or ""),
                    waiting=each.waiting,
                )
                for each in self.ledgers
            ],
            alarms=[each.line for each in engine.telling.alarms.newest()],
            chains=[_chain_line(each) for each in engine.chains],
            provides=self.desk is not None,
            uptime_ms=(time.monotonic_ns() - self.started_ns) // _NS_PER_MS,
            software=software,
            open_alarms=[alarm_view(each) for each in engine.telling.alarms.newest(_ALARMS_SHOWN_MAX)],
            alarms_open=len(engine.telling.alarms),
            breakers=[breaker_view(each) for each in engine.compliance.breakers.all_standing(engine.now())],
            cases_open=len(engine.compliance.cases.open_cases()),
            outcomes_waiting=len(self.rules.outcomes) if self.rules is not None else 0,
        )


def _chain_line(standing: ChainStanding) -> bridge_pb2.ChainLine:
    return bridge_pb2.ChainLine(
        name=standing.name,
        account=standing.address,
        height=standing.height,
        head_time=standing.head_ns,
        final_height=standing.final_height,
        balance=min(standing.balance, U128_MAX).to_bytes(16, "little"),
        transactions_out=standing.out_count,
        reached_at=standing.reached_ns,
        fault=standing.fault,
    )
