"""A running bridge as its service and its figures see it: the parts together, and how they stand now."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.ports import Outcome
from bridge.refusals import BridgeCode, BridgeRefused
from clearspan.v1 import bridge_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.bridging.accepting import Accepting
    from clearspan.bridging.book import OpenSwap
    from clearspan.bridging.desk import ProviderDesk
    from clearspan.bridging.engine import BridgeEngine
    from clearspan.bridging.ledger_quotes import LedgerQuotes
    from clearspan.bridging.ledgers import LedgerPort
    from clearspan.bridging.relay import RelayPort
    from clearspan.bridging.routing import Order, Planner
    from engine.genesis import Genesis

__all__ = ["RunningBridge"]

_NS_PER_MS = 1_000_000


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
    started_ns: int = field(default_factory=time.monotonic_ns)

    def begin(self, order: Order, travel_rule: bytes = b"", names: tuple[str, str] = ("", "")) -> OpenSwap:
        """Plan an order, ask the rules and begin its swap; ``names`` are payer's and payee's, where they are given.

        Raises BridgeRefused with nothing locked and no limit drawn; screening_hold with the case that it became.
        """
        now = self.engine.now()
        sealed = self.planner.seal(order, now)
        compliance = self.engine.compliance
        clearance = compliance.clear(order, sealed.terms, now, names=names, travel_rule=travel_rule)
        try:
            swap = self.engine.begin(
                sealed.terms, sealed.salt, order.quotes, sealed.providers, travel_rule=travel_rule, plan=sealed.plan
            )
        except BridgeRefused:
            compliance.give_back(clearance.taken)
            raise
        compliance.began(swap.party, clearance)
        return swap

    def demand_desk(self) -> ProviderDesk:
        """Return the provider's desk. Raises BridgeRefused (no_route) where this bridge has none."""
        if self.desk is None:
            raise BridgeRefused(BridgeCode.NO_ROUTE, "this bridge provides no liquidity")
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
            alarms=list(engine.alarms),
            provides=self.desk is not None,
            uptime_ms=(time.monotonic_ns() - self.started_ns) // _NS_PER_MS,
            software=software,
        )
