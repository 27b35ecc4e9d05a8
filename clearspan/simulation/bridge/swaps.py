"""The swaps of a seed: what the payer's customer wants, which terms come of it, and when each swap is begun."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from bridge.margins import reveal_margin_ns
from bridge.refusals import BridgeRefused
from bridge.terms import CorridorRef, SwapTerms, seal_terms
from clearspan.simulation.bridge.market import Purchase
from clearspan.simulation.bridge.plan import CHAIN, MARGINS
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.quotes import SignedQuote
    from clearspan.simulation.bridge.market import Market
    from clearspan.simulation.bridge.stage import Stage

__all__ = ["Customer", "draft_of", "salt_of"]

_BEGUN_WITHIN_NS: Final = 2 * NS_PER_S  # from drawing the terms until the last clock has heard of them
_AGAIN_NS: Final = 2 * NS_PER_S
_TRIES_MAX: Final = 40


class Payer(Protocol):
    """Who begins swaps."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""

    def open(self, terms: SwapTerms, salt: bytes, secret: bytes, purchase: Purchase) -> None:
        """Begin a swap."""


class Provider(Protocol):
    """Who quotes."""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""

    def quote(self, total: int) -> SignedQuote:
        """Make a firm quote for so much of the ledger before; raises BridgeRefused."""


def salt_of(stage: Stage, number: int) -> bytes:
    """Return the salt of a swap's secret."""
    return hashlib.sha256(f"salt {stage.plan.seed} {number}".encode()).digest()


def draft_of(stage: Stage, market: Market, purchase: Purchase, *, shorter_ns: int = 0, closer_ns: int = 0) -> SwapTerms:
    """Return a swap's terms without their hashlock; the timelocks leave exactly the margins and the plan's spare time.

    ``shorter_ns`` takes from the time until the first timelock, ``closer_ns`` from that between the two.
    """
    plan, chains = stage.plan, market.chains
    rounds = sum(MARGINS.side(chain).round_ns for chain in chains)
    first = stage.now + rounds + reveal_margin_ns(MARGINS, chains[-1]) + _BEGUN_WITHIN_NS + plan.spare_ns - shorter_ns
    second = first + MARGINS.needed(CHAIN, "") - closer_ns if plan.foreign else first
    # Skewed clocks may read more than the plan's; an honest payer leaves room for that as well.
    room = 2 * max((abs(skew) for skew in plan.skews.values()), default=0)
    first, second = first + room, second + room
    uetr = hashlib.sha256(f"uetr {plan.seed} {purchase.number}".encode()).digest()[:16]
    legs = [
        market.leg_terms(
            index,
            leg,
            first if chains[index] == chains[-1] else second,
            leg.quote_id or int.from_bytes(uetr, "big"),
        )
        for index, leg in enumerate(purchase.route.legs)
    ]
    documents = [market.document(hop) for hop in range(1, plan.legs)]
    return SwapTerms(
        uetr=uetr,
        network=stage.realm.genesis.hash,
        legs=tuple(legs),
        hash_function=plan.function,
        hashlock=bytes(32),
        created_at=stage.now,
        corridors=tuple(CorridorRef(document.id_bytes, document.version) for document in documents),
    )


class Customer:
    """Wants the swaps of the plan: asks providers for quotes and has the payer begin, again where one is down."""

    def __init__(self, stage: Stage, market: Market, payer: Payer, providers: Sequence[Provider]) -> None:
        self._stage, self._market = stage, market
        self._payer, self._providers = payer, providers
        self._bought: dict[int, Purchase] = {}

    def start(self) -> None:
        """Want each swap at its time."""
        plan = self._stage.plan
        for number in range(plan.swaps):
            # Two that share a quote come together: the first draw must be seen by the second.
            gap = 0 if plan.deal.shared else number * 2 * NS_PER_S
            self._stage.after(3 * NS_PER_S + gap, partial(self._want, number, _TRIES_MAX))

    def _want(self, number: int, tries: int) -> None:
        stage = self._stage
        if not tries:
            stage.reach("no_quotes")
            stage.waiting -= 1
            return
        if not self._payer.alive or not all(provider.alive for provider in self._providers):
            stage.after(_AGAIN_NS, partial(self._want, number, tries - 1))
            return
        try:
            purchase = self._purchase(number)
            terms, secret = seal_terms(draft_of(stage, self._market, purchase), salt_of(stage, number), stage.suite)
        except BridgeRefused as refused:
            stage.refused(refused.code)
            stage.after(_AGAIN_NS, partial(self._want, number, tries - 1))
            return
        self._bought[number] = purchase
        stage.waiting -= 1
        self._payer.open(terms, salt_of(stage, number), secret, purchase)

    def _purchase(self, number: int) -> Purchase:
        shared = self._bought.get(0) if self._stage.plan.deal.shared else None
        quotes = shared.quotes if shared is not None else self._quotes()
        return Purchase(number, quotes, self._market.route(quotes, self._stage.now))

    def _quotes(self) -> tuple[SignedQuote, ...]:
        """Ask each provider for half as much again as the swap takes: enough for it, and not for two of them."""
        # Who uses a hash twice is to be refused for that, and not for want of a quote.
        halves = 8 if self._stage.plan.villains.get(0) == "reuses_hash" else 3
        totals = self._totals()
        return tuple(
            provider.quote(total * halves // 2 + 10) for provider, total in zip(self._providers, totals, strict=True)
        )

    def _totals(self) -> list[int]:
        """Return about how much each hop takes of the ledger before it."""
        deal, rates = self._stage.plan.deal, [self._market.rate(hop + 1) for hop in range(len(self._providers))]
        totals = [deal.amount]
        if deal.is_target:
            for numerator, denominator in reversed(rates):
                totals.insert(0, totals[0] * denominator // numerator + 1)
            return totals[:-1]
        for numerator, denominator in rates[:-1]:
            totals.append(totals[-1] * numerator // denominator + 1)
        return totals
