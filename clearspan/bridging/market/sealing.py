"""Terms of the swaps of one call, all at one instant: what orders under the same quotes share is found out once.

It promises the same terms and the same refusals as for each order by itself; only what one order has of its own is
made for each: amounts, the UETR, a salt. It locks nothing and outlives no call.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bridge.foreign_asset import FOREIGN_LEDGER_FIRST
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.routes import RouteRequest, demand_joined, plan_joined
from bridge.terms import SALT_BYTES, CorridorRef, LegTerms, SwapTerms, account_text, seal_terms
from clearspan.bridging.market.envelopes import seal_for
from clearspan.bridging.market.foreign_terms import legs_of, plan_swap
from engine.types import NS_PER_S, ZERO_HASH

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.leg import HashFunction
    from bridge.routes import Offer, Plan
    from clearspan.bridging.market.order import Order
    from engine.genesis import Genesis

__all__ = ["Sealed", "Sealing"]


@dataclass(slots=True)
class Sealed:
    """A swap that may begin: its terms, the salt of its secret, the plan that it follows."""

    terms: SwapTerms
    salt: bytes
    plan: Plan
    providers: tuple[int, ...]
    travel_rule: bytes = b""
    """The envelopes of its hops, where they were sealed with it."""


class _Ground(NamedTuple):
    """What orders under the same quotes stand on; ``is_ours`` says that no leg is on a chain."""

    offers: tuple[Offer, ...]
    source: int
    target: int
    lock_s: int
    refs: tuple[CorridorRef, ...]
    providers: tuple[int, ...]
    is_ours: bool


class Sealing:
    """One call's orders of one payer at the instant ``now``."""

    def __init__(
        self,
        genesis: Genesis,
        participant: int,
        offer_of: Callable[[bytes, int], Offer],
        own_account: Callable[[str], str],
        now: int,
    ) -> None:
        """Take how a signed quote becomes an offer, and our account on a chain."""
        self._genesis, self._participant = genesis, participant
        self._offer_of, self._own_account = offer_of, own_account
        self.now = now
        self._grounds: dict[tuple[tuple[bytes, ...], int, HashFunction], _Ground] = {}

    def seal(self, order: Order) -> Sealed:
        """Return what begins a swap. Raises BridgeRefused, with nothing done."""
        asked = order.quotes, order.lock_s, order.hash_function
        ground = self._grounds.get(asked)
        if ground is None:
            ground = self._grounds[asked] = self._ground(order)
        plan, legs = self._plan(order, ground)
        salt = secrets.token_bytes(SALT_BYTES)
        travel_rule, travel_rule_hash = seal_for(self._genesis, order, plan, salt)
        draft = SwapTerms(
            order.uetr,
            self._genesis.hash,
            legs,
            order.hash_function,
            ZERO_HASH,
            self.now,
            travel_rule_hash,
            ground.refs,
        )
        terms, _ = seal_terms(draft, salt, self._genesis.hash_suite)
        return Sealed(terms, salt, plan, ground.providers, travel_rule)

    def _ground(self, order: Order) -> _Ground:
        """Demand quotes that hold now, one after the other, and may be used for orders like this one."""
        if not order.quotes:
            raise BridgeRefused(BridgeCode.NO_ROUTE, "an order needs the quotes that it stands on")
        offers = tuple([self._offer_of(each, self.now) for each in order.quotes])
        lock_s = order.lock_s or min(offer.quote.lock_s for offer in offers)
        for offer in offers:
            self._demand_usable(offer, order.hash_function, lock_s)
        is_ours = all(
            offer.document.asset is None
            and max(offer.quote.source_ledger, offer.quote.target_ledger) < FOREIGN_LEDGER_FIRST
            for offer in offers
        )
        if is_ours:
            demand_joined(offers)
        refs = tuple([CorridorRef(offer.document.id_bytes, offer.document.version) for offer in offers])
        providers = tuple([offer.quote.provider for offer in offers])
        ends = offers[0].quote.source_ledger, offers[-1].quote.target_ledger
        return _Ground(offers, *ends, lock_s, refs, providers, is_ours)

    def _demand_usable(self, offer: Offer, function: HashFunction, lock_s: int) -> None:
        """Demand what a route would have left out. Raises BridgeRefused."""
        quote = offer.quote
        if quote.taker not in (0, self._participant):
            text = f"quote {quote.id:032x} is for participant {quote.taker}"
            raise BridgeRefused(BridgeCode.QUOTE_NOT_FOR_TAKER, text)
        if not quote.allows(function):
            raise BridgeRefused(BridgeCode.HASH_FUNCTION_UNSUPPORTED, f"quote {quote.id:032x}")
        if lock_s > quote.lock_s:
            raise BridgeRefused(
                BridgeCode.SWAP_TOO_SHORT, f"quote {quote.id:032x} grants {quote.lock_s} s, {lock_s} s are asked"
            )

    def _plan(self, order: Order, ground: _Ground) -> tuple[Plan, tuple[LegTerms, ...]]:
        """Return an order's plan and its legs."""
        request = RouteRequest(
            self._participant,
            order.debit_account,
            order.credit_account,
            ground.source,
            ground.target,
            order.amount,
            order.is_target,
            order.hash_function,
            ground.lock_s,
            self.now,
        )
        named = int.from_bytes(order.uetr, "big")
        if not ground.is_ours:
            plan = plan_swap(ground.offers, request)
            user_data = (named, *(leg.quote_id for leg in plan.legs[1:]))
            payee, own_account = order.chain_account, self._own_account
            return plan, legs_of(
                plan, user_data, now=self.now, lock_s=ground.lock_s, payee=payee, own_account=own_account
            )
        plan = plan_joined(ground.offers, request)
        timelock_ns = self.now + ground.lock_s * NS_PER_S
        legs = []
        for leg in plan.legs:
            if not leg.debit_account or not leg.credit_account:
                raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"an account on ledger {leg.ledger} is not named")
            debit, credit = account_text(leg.debit_account), account_text(leg.credit_account)
            # A quote's id is never 0, and the payer's leg has none.
            legs.append(LegTerms(leg.ledger, debit, credit, leg.amount, timelock_ns, leg.quote_id or named))
        return plan, tuple(legs)
