"""The best way from one ledger to another over at most three quotes, planned to the last minor unit.

It promises the same plan for the same offers whatever their order, and that every unit is accounted for: what a payer
gives is legs, fees, premiums and a remainder to a named account, and what each conversion yields is passed on or goes
to a named account as well. All legs share one hash, so all are settled or none. It locks nothing and asks no clock.
Plans are frozen structs: half a dozen values are made for every swap, and a frozen dataclass takes far longer to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from bridge.fees import fee_total, fees_of
from bridge.quotes import ANY_TAKER, Quote
from bridge.rates import ConversionOverflowError
from bridge.refusals import BridgeCode, BridgeRefused
from engine.refusals import InvariantBroken
from engine.types import U128_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.corridor import CorridorDocument
    from bridge.leg import HashFunction

__all__ = [
    "HOPS_MAX",
    "OFFERS_OF_PAIR_MAX",
    "PATHS_MAX",
    "Offer",
    "Plan",
    "PlannedLeg",
    "PlannedTransfer",
    "Purpose",
    "RouteRequest",
    "check_invariants",
    "demand_fair",
    "demand_joined",
    "find_route",
    "plan_joined",
    "plan_path",
]

HOPS_MAX: Final = 3
"""Each hop is one more lock that must stand before the reveal, and one more provider who may let it fall."""
OFFERS_OF_PAIR_MAX: Final = 8
"""Offers of one ordered pair that are looked at; of more, those with the best rates."""
PATHS_MAX: Final = 512
"""Paths that are planned to the unit; of more, those with the best product of rates."""


@unique
class Purpose(Enum):
    """Why a transfer beside the legs is made, and when: a premium before, a fee and a remainder once it is claimed."""

    PREMIUM = "premium"
    FEE = "fee"
    REMAINDER = "remainder"


@dataclass(frozen=True, slots=True)
class Offer:
    """A verified quote, the document in effect for it, and what is left of it in source minor units."""

    quote: Quote
    document: CorridorDocument
    left: int


class RouteRequest(msgspec.Struct, frozen=True, gc=False):
    """What a payer wants: exactly ``amount`` to leave his account, or, with ``is_target``, exactly that to arrive."""

    payer: int
    payer_account: int
    payee_account: int
    source_ledger: int
    target_ledger: int
    amount: int
    is_target: bool
    hash_function: HashFunction
    lock_s: int
    now: int
    hops_max: int = HOPS_MAX


class PlannedLeg(msgspec.Struct, frozen=True, gc=False):
    """One lock; ``quote_id`` is the quote under which a provider makes it, 0 for the payer's."""

    ledger: int
    debit_account: int
    credit_account: int
    amount: int
    quote_id: int


class PlannedTransfer(msgspec.Struct, frozen=True, gc=False):
    """One plain transfer beside the legs, made by the party that locks the leg of the same ledger."""

    purpose: Purpose
    ledger: int
    debit_account: int
    credit_account: int
    amount: int


class Plan(msgspec.Struct, frozen=True, gc=False):
    """A route to the unit: hops in order, one leg more than hops, and the transfers beside them.

    ``sent`` is all that leaves the payer, ``received`` all that reaches the payee.
    """

    offers: tuple[Offer, ...]
    legs: tuple[PlannedLeg, ...]
    transfers: tuple[PlannedTransfer, ...]
    sent: int
    received: int

    @property
    def quote_ids(self) -> tuple[int, ...]:
        """The quotes of the hops, in order."""
        return tuple(offer.quote.id for offer in self.offers)


def find_route(offers: Iterable[Offer], request: RouteRequest) -> Plan:
    """Return the best plan: the most received for what is sent, or the least sent for what is received.

    Equal ones: fewer hops, then the smaller quote ids in order. Raises BridgeRefused (no_route) with the number of
    paths and what stood in the way of the last one.
    """
    best: tuple[tuple[int, int, tuple[int, ...]], Plan] | None = None
    count, reason = 0, "no quote leads there"
    for path in _paths(tuple(offers), request):
        count += 1
        try:
            plan = plan_path(path, request)
        except BridgeRefused as refused:
            reason = str(refused)
            continue
        rank = (plan.sent if request.is_target else -plan.received, len(plan.offers), plan.quote_ids)
        if best is None or rank < best[0]:
            best = (rank, plan)
    if best is None:
        raise BridgeRefused(
            BridgeCode.NO_ROUTE,
            f"ledger {request.source_ledger} to {request.target_ledger}, amount {request.amount}: "
            f"{count} paths, {reason}",
        )
    return best[1]


def demand_fair(quote: Quote, source_amount: int, target_amount: int) -> None:
    """Demand that a quote pays for what a provider is asked to give; raises BridgeRefused (legs_do_not_match).

    ``target_amount`` is all that leaves him on the target ledger: his leg, the next hop's fees, a remainder.
    """
    delivered = quote.delivers(source_amount)
    if target_amount > delivered:
        raise BridgeRefused(
            BridgeCode.LEGS_DO_NOT_MATCH,
            f"quote {quote.id:032x} gives {delivered} for {source_amount}, and {target_amount} is asked",
        )


def plan_path(path: Sequence[Offer], request: RouteRequest) -> Plan:
    """Plan one path of offers; raises BridgeRefused when an amount does not fit a quote or corridor on it."""
    demand_joined(path)
    return plan_joined(path, request)


def plan_joined(path: Sequence[Offer], request: RouteRequest) -> Plan:
    """Plan a path that `demand_joined` was asked about before, as `plan_path` does."""
    if not 0 < request.amount <= U128_MAX:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"an amount of {request.amount}")
    priced = _priced(path, request.amount) if request.is_target else _most_received(path, request.amount)
    if priced is None:
        raise BridgeRefused(BridgeCode.NO_ROUTE, f"{request.amount} buys less than one minor unit")
    for offer, row in zip(path, priced.rows, strict=True):
        _demand_fits(offer, row.principal, row.onward)
    plan = _plan(tuple(path), priced, request)
    check_invariants(plan)
    return plan


def demand_joined(path: Sequence[Offer]) -> None:
    """Demand one to three quotes, each from where the one before ends, no ledger twice, no provider next to himself."""
    quotes = [offer.quote for offer in path]
    ledgers = [quote.source_ledger for quote in quotes] + [quote.target_ledger for quote in quotes[-1:]]
    joined = all(a.target_ledger == b.source_ledger and a.provider != b.provider for a, b in pairwise(quotes))
    if not 1 <= len(quotes) <= HOPS_MAX or not joined or len(set(ledgers)) != len(ledgers):
        named = ", ".join(f"{quote.id:032x}" for quote in quotes[: HOPS_MAX + 1])
        raise BridgeRefused(BridgeCode.NO_ROUTE, f"these quotes are no route one after the other: {named}")


class _Row(msgspec.Struct, frozen=True, gc=False):
    """One hop: what its provider gets, what he is left with on the target ledger, and the premium paid to him.

    ``onward`` is the part of the premium that he pays on, in minor units of his source ledger.
    """

    principal: int
    remainder: int
    premium: int
    onward: int


class _Priced(msgspec.Struct, frozen=True, gc=False):
    """What an amount at the end costs at the beginning: ``total`` with premium, in minor units of the first ledger."""

    total: int
    rows: list[_Row]


def _priced(path: Sequence[Offer], target: int) -> _Priced:
    """Go back from what must arrive; larger targets never cost less, which ``_most_received`` relies on."""
    rows, need, premium = [], target, 0
    for offer in reversed(path):
        quote = offer.quote
        principal = quote.needs(need)
        onward = quote.needs(premium) if premium else 0
        premium = quote.premium_of(principal) + onward
        rows.append(_Row(principal, quote.delivers(principal) - need, premium, onward))
        fees = offer.document.fees
        need = principal + (fee_total(fees, principal) if fees else 0)
    rows.reverse()
    return _Priced(need + premium, rows)


def _most_received(path: Sequence[Offer], sent: int) -> _Priced | None:
    """Return what costs at most ``sent`` and yields the most, None where that is nothing; prices are nearly linear."""
    priced: dict[int, _Priced] = {}

    def cost(target: int) -> int:
        try:
            priced[target] = _priced(path, target)
        except ConversionOverflowError:
            return 1 << 256  # no amount: more than anything that can be sent
        return priced[target].total

    high = sent
    for offer in path:
        high = offer.quote.delivers(high)
    if (high_cost := cost(high)) <= sent:
        return priced[high] if high else None
    low, low_cost = 0, cost(0)  # flat fees are owed even for nothing
    if low_cost > sent:
        return None
    while high - low > 1:
        guess = low + (high - low) * (sent - low_cost) // (high_cost - low_cost)
        for probe in (guess, guess + 1, (low + high) // 2):
            if not low < probe < high:
                continue
            found = cost(probe)
            if found <= sent:
                low, low_cost = probe, found
            else:
                high, high_cost = probe, found
    return priced[low] if low else None


def _demand_fits(offer: Offer, principal: int, onward: int) -> None:
    """Demand that a hop fits its quote and corridor; what a middleman pays on is exchanged under his quote too."""
    quote, whole = offer.quote, principal + onward
    if whole > offer.left:
        raise BridgeRefused(BridgeCode.QUOTE_EXHAUSTED, f"quote {quote.id:032x} has {offer.left} left, not {whole}")
    if principal < quote.min_amount and whole != offer.left:
        raise BridgeRefused(
            BridgeCode.QUOTE_AMOUNT_BELOW_MINIMUM,
            f"quote {quote.id:032x} asks for {quote.min_amount} at least, not {principal}",
        )
    offer.document.demand_payment(principal)


def _plan(path: tuple[Offer, ...], priced: _Priced, request: RouteRequest) -> Plan:
    sent = priced.total if request.is_target else request.amount
    last = path[-1].quote
    received = last.delivers(priced.rows[-1].principal) - priced.rows[-1].remainder
    legs: list[PlannedLeg] = []
    transfers: list[PlannedTransfer] = []
    debit, quote_id = request.payer_account, 0
    left_account, left_over = path[0].quote.remainder_source_account, sent - priced.total
    for offer, row in zip(path, priced.rows, strict=True):
        quote = offer.quote
        leg = PlannedLeg(quote.source_ledger, debit, quote.provider_source_account, row.principal, quote_id)
        legs.append(leg)
        if row.premium:
            transfers.append(_beside(leg, Purpose.PREMIUM, quote.provider_source_account, row.premium))
        if offer.document.fees:
            fees = fees_of(offer.document.fees, row.principal)
            transfers += [_beside(leg, Purpose.FEE, fee.account, fee.amount) for fee in fees]
        if left_over:
            transfers.append(_beside(leg, Purpose.REMAINDER, left_account, left_over))
        debit, quote_id = quote.provider_target_account, quote.id
        left_account, left_over = quote.remainder_target_account, row.remainder
    leg = PlannedLeg(last.target_ledger, debit, request.payee_account, received, quote_id)
    if left_over:
        transfers.append(_beside(leg, Purpose.REMAINDER, left_account, left_over))
    return Plan(path, (*legs, leg), tuple(transfers), sent, received)


def _beside(leg: PlannedLeg, purpose: Purpose, credit_account: int, amount: int) -> PlannedTransfer:
    return PlannedTransfer(purpose, leg.ledger, leg.debit_account, credit_account, amount)


def check_invariants(plan: Plan) -> None:
    """Demand that every unit is accounted for; raises InvariantBroken.

    On the first ledger what is sent is the leg and all transfers beside it; on each later one what the quote before
    delivers is the leg, the fees and the remainder. A middleman's premium onward is covered by the premium he gets.
    """
    legs = plan.legs
    sums: dict[tuple[int, Purpose], int] = {}
    first = legs[0].amount
    for each in plan.transfers:
        sums[each.ledger, each.purpose] = sums.get((each.ledger, each.purpose), 0) + each.amount
        first += each.amount if each.ledger == legs[0].ledger else 0
    if first != plan.sent or legs[-1].amount != plan.received:
        raise InvariantBroken("route_sum_of_first_ledger", {"sent": plan.sent, "accounted": first})
    for offer, before, leg in zip(plan.offers, legs[:-1], legs[1:], strict=True):
        delivered = offer.quote.delivers(before.amount)
        accounted, onward = leg.amount, 0
        if sums:
            accounted += sums.get((leg.ledger, Purpose.FEE), 0) + sums.get((leg.ledger, Purpose.REMAINDER), 0)
            onward = sums.get((leg.ledger, Purpose.PREMIUM), 0)
        if delivered != accounted:
            raise InvariantBroken("route_sum_of_hop", {"delivered": delivered, "accounted": accounted})
        if onward and offer.quote.delivers(sums.get((before.ledger, Purpose.PREMIUM), 0)) < onward:
            raise InvariantBroken("route_premium_onward", {"ledger": leg.ledger})
    for leg in legs:
        if leg.amount < 1 or leg.debit_account == leg.credit_account:
            raise InvariantBroken("route_leg", {"legs": legs})


def _paths(offers: tuple[Offer, ...], request: RouteRequest) -> list[tuple[Offer, ...]]:
    """Return the paths worth planning, in an order that does not depend on that of the offers."""
    by_source: dict[int, list[Offer]] = {}
    for offer in sorted({each.quote.id: each for each in offers if _usable(each, request)}.items()):
        by_source.setdefault(offer[1].quote.source_ledger, []).append(offer[1])
    hops = min(request.hops_max, HOPS_MAX)
    for ledger, group in by_source.items():
        by_source[ledger] = _best_of_pairs(group)
    found = list(_walk(by_source, request, (), (request.source_ledger,), hops))
    if len(found) > PATHS_MAX:
        found.sort(key=lambda path: (-_product(path), len(path), [each.quote.id for each in path]))
    return found[:PATHS_MAX]


def _best_of_pairs(offers: list[Offer]) -> list[Offer]:
    """Keep the offers with the best rates of each pair; equal rates by quote id."""
    kept: list[Offer] = []
    count: dict[int, int] = {}
    for offer in sorted(offers, key=lambda each: (-_product((each,)), each.quote.id)):
        target = offer.quote.target_ledger
        count[target] = count.get(target, 0) + 1
        if count[target] <= OFFERS_OF_PAIR_MAX:
            kept.append(offer)
    return kept


def _walk(
    by_source: dict[int, list[Offer]],
    request: RouteRequest,
    path: tuple[Offer, ...],
    ledgers: tuple[int, ...],
    hops: int,
) -> Iterator[tuple[Offer, ...]]:
    for offer in by_source.get(ledgers[-1], ()):
        quote = offer.quote
        if quote.target_ledger in ledgers:
            continue
        if path and path[-1].quote.provider_target_account == quote.provider_source_account:
            continue  # one provider on both sides would lock for himself: his own direct quote is the way
        if quote.target_ledger == request.target_ledger:
            yield (*path, offer)
        elif hops > 1:
            yield from _walk(by_source, request, (*path, offer), (*ledgers, quote.target_ledger), hops - 1)


def _usable(offer: Offer, request: RouteRequest) -> bool:
    quote = offer.quote
    return (
        quote.taker in (ANY_TAKER, request.payer)
        and quote.provider != request.payer
        and request.now < quote.expires_at
        and request.lock_s <= quote.lock_s
        and quote.allows(request.hash_function)
        and offer.left > 0
    )


def _product(path: Sequence[Offer]) -> Fraction:
    product = Fraction(1)
    for offer in path:
        product *= Fraction(offer.quote.rate.numerator, offer.quote.rate.denominator)
    return product
