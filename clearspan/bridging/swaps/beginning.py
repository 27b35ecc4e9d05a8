"""The orders of one call to a payer's bridge, begun one by one at one instant; what they share is asked for once.

It promises that each order is begun or refused by itself, with the refusal that it would get alone, and that a refusal
leaves nothing locked and no limit drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.refusals import BridgeRefused
from clearspan.bridging.market.envelopes import names_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clearspan.bridging.journal.book import OpenSwap
    from clearspan.bridging.market.order import Order
    from clearspan.bridging.market.routing import Planner
    from clearspan.bridging.swaps.engine import BridgeEngine

__all__ = ["Beginning"]


class Beginning:
    """Use within one call and without waiting between two orders: nothing else happens to the journal meanwhile."""

    def __init__(self, engine: BridgeEngine, planner: Planner, uetrs: Iterable[bytes]) -> None:
        """Take the instant, and what the journal says of these UETRs."""
        self._engine = engine
        self._known = engine.past.named(uetrs)
        self._sealing = planner.sealing(engine.now())

    def begin(self, order: Order, travel_rule: bytes = b"", names: tuple[str, str] = ("", "")) -> OpenSwap:
        """Plan an order, ask the rules and begin its swap; ``names`` are payer's and payee's, where they are given.

        ``travel_rule`` are envelopes that were sealed elsewhere; data of the order itself are sealed here. Raises
        BridgeRefused with nothing locked and no limit drawn: screening_hold with the case that it became,
        duplicate_swap for an order that was begun before and is not refunded.
        """
        engine, now = self._engine, self._sealing.now
        # Before anything else is asked: a corridor or a secret that is not known yet would be refused for good.
        engine.demand_relay_read()
        engine.past.demand_new_order(order.uetr, self._known)
        compliance = engine.compliance
        names = names_of(order, names, travel_rule, are_screened=compliance.screens_names)
        sealed = self._sealing.seal(order)
        travel_rule = travel_rule or sealed.travel_rule
        clearance = compliance.clear(order, sealed.terms, now, names=names, travel_rule=travel_rule)
        try:
            swap = engine.begin(
                sealed.terms, sealed.salt, order.quotes, sealed.providers, travel_rule=travel_rule, plan=sealed.plan
            )
        except BridgeRefused:
            compliance.give_back(clearance.taken)
            raise
        compliance.began(swap.party, clearance)
        return swap
