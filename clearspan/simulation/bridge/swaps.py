"""The swaps of a seed: what the payer's customer wants, which terms come of it, and when each swap is begun."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from bridge.margins import reveal_margin_ns
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.terms import CorridorRef, SwapTerms, seal_terms
from clearspan.simulation.bridge.envelopes import with_papers
from clearspan.simulation.bridge.market import Purchase
from clearspan.simulation.bridge.papers import Spoilt
from clearspan.simulation.bridge.plan import CHAIN, MARGINS
from clearspan.simulation.bridge.rules import Phase
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.quotes import SignedQuote
    from clearspan.simulation.bridge.market import Market
    from clearspan.simulation.bridge.stage import Stage

__all__ = ["Customer", "draft_of", "salt_of"]

_BEGUN_WITHIN_NS: Final = 2 * NS_PER_S  # from drawing the terms until the last clock has heard of them
_AGAIN_NS: Final = 2 * NS_PER_S
_HELD_NS: Final = 6 * NS_PER_S  # until a customer asks what people have decided
_TRIES_MAX: Final = 40
_SPOILT: Final = (BridgeCode.TRAVEL_RULE_MISSING, BridgeCode.TERMS_MALFORMED)
"""What is answered to envelopes that are not as they should be; the second where they are too long to be several."""
_OVER: Final = (BridgeCode.PROVIDER_REFUSED, BridgeCode.DUPLICATE_SWAP)
"""What ends an order for good: its case was rejected or has run out, or it has run."""


class Payer(Protocol):
    """Who begins swaps."""

    @property
    def serves(self) -> bool:
        """Whether it runs and takes orders and questions."""

    def runs(self, purchase: Purchase) -> bool:
        """Tell whether the swap of an order runs."""

    def open(self, terms: SwapTerms, salt: bytes, secret: bytes, purchase: Purchase) -> None:
        """Begin a swap; raises BridgeRefused where a rule stands in its way."""


class Provider(Protocol):
    """Who quotes."""

    @property
    def serves(self) -> bool:
        """Whether it runs and takes orders and questions."""

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
        travel_rule_hash=purchase.named,
        corridors=tuple(CorridorRef(document.id_bytes, document.version) for document in documents),
    )


class Customer:
    """Wants the swaps of the plan: asks providers for quotes and has the payer begin, again where one is down."""

    def __init__(self, stage: Stage, market: Market, payer: Payer, providers: Sequence[Provider]) -> None:
        self._stage, self._market = stage, market
        self._payer, self._providers = payer, providers
        self._bought: dict[int, Purchase] = {}
        self._spoilt = dict.fromkeys(range(stage.plan.swaps), stage.plan.papers.first_try)

    def start(self) -> None:
        """Want each swap at its time."""
        plan = self._stage.plan
        # A breaker that stands before the first order has to be decided, final and told.
        first = 10 if any(each.phase is Phase.BEFORE for each in plan.closings) else 3
        for number in range(plan.swaps):
            # Two that share a quote come together: the first draw must be seen by the second.
            gap = 0 if plan.deal.shared else number * 2 * NS_PER_S
            self._stage.after(first * NS_PER_S + gap, partial(self._want, number, _TRIES_MAX))

    def _want(self, number: int, tries: int) -> None:
        stage = self._stage
        if not tries:
            stage.reach("no_quotes")
            stage.waiting -= 1
            return
        if not self._payer.serves or not all(provider.serves for provider in self._providers):
            stage.after(_AGAIN_NS, partial(self._want, number, tries - 1))
            return
        swaps, spoilt = len(stage.swaps), self._spoilt[number]
        try:
            purchase = self._begun(number, spoilt)
        except BridgeRefused as refused:
            stage.refused(refused.code)
            if len(stage.swaps) != swaps:
                stage.fail(f"an order that was refused has begun: {refused}")
            self._refused(number, tries, refused.code)
            return
        if spoilt and len(stage.swaps) != swaps and (spoilt is not Spoilt.MISSING or self._needs(stage.swaps[-1])):
            stage.fail(f"an order began with envelopes that are {spoilt.value}")
        self._bought[number] = purchase
        stage.waiting -= 1
        if stage.plan.papers.again and stage.plan.papers.holds:
            stage.after(_AGAIN_NS, partial(self._send_again, number))

    def _needs(self, terms: SwapTerms) -> bool:
        """Tell whether a corridor of a swap asks for travel-rule data of its amount."""
        least = self._stage.plan.papers.travel_from
        return any(leg.amount >= least for leg in terms.legs[:-1])

    def _begun(self, number: int, spoilt: Spoilt) -> Purchase:
        """Have the payer begin. Raises BridgeRefused."""
        stage, salt = self._stage, salt_of(self._stage, number)
        purchase = with_papers(stage, self._market, self._purchase(number), salt, spoilt)
        terms, secret = seal_terms(draft_of(stage, self._market, purchase), salt, stage.suite)
        self._payer.open(terms, salt, secret, purchase)
        return purchase

    def _refused(self, number: int, tries: int, code: BridgeCode) -> None:
        """Bring what was missing, wait for people, or give the order up."""
        stage, spoilt = self._stage, self._spoilt[number]
        wait = _AGAIN_NS
        if spoilt and code in _SPOILT:
            stage.reach(f"envelope_{spoilt.value}_refused")
            self._spoilt[number] = Spoilt.NOT
        elif code is BridgeCode.SCREENING_HOLD:
            wait = _HELD_NS
        elif code in _OVER:
            stage.reach("order_given_up")
            stage.waiting -= 1
            return
        stage.after(wait, partial(self._want, number, tries - 1))

    def _send_again(self, number: int) -> None:
        """Send an order once more that runs: it must not begin twice on the release of one case."""
        stage = self._stage
        if not self._payer.serves or not self._payer.runs(self._bought[number]):
            return
        again = self._bought[number]
        salt = salt_of(stage, number + stage.plan.swaps)
        terms, secret = seal_terms(draft_of(stage, self._market, again), salt, stage.suite)
        swaps = len(stage.swaps)
        try:
            self._payer.open(terms, salt, secret, again)
        except BridgeRefused as refused:
            stage.refused(refused.code)
            stage.reach("order_sent_again")
        if len(stage.swaps) != swaps:
            stage.fail("an order began twice")

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
