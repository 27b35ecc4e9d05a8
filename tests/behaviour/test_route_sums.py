"""Sums of routes against Python's fractions (QUOTE-2, -10, -22 to -25, CORRIDOR-10): every unit of every plan is somewhere."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from random import Random

import msgspec
import pytest

from bridge.fees import FeeRule
from bridge.leg import HashFunction
from bridge.quotes import Quote
from bridge.rates import Rate, Rounding
from bridge.refusals import BridgeRefused
from bridge.routes import Offer, Plan, RouteRequest, plan_path
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, NOW, PAYER, SECOND, THB, THIRD, USD, account, document, quote

SEED = 20_260
PAYEE = 31
LEDGERS = (CNY, HKD, THB, USD)
PROVIDERS = (FIRST, SECOND, THIRD)
ROUND = {Rounding.DOWN: floor, Rounding.UP: ceil, Rounding.HALF_EVEN: round}
WIDE = "9" * 38


def papers() -> list:
    """A document for each hop, without bounds; its fees are put in for each plan."""
    limits = msgspec.structs.replace(
        document().limits, payment_most=WIDE, participant_day_most=WIDE, day_most=WIDE, payment_least="1"
    )
    return [document(a, b, limits=limits, fees=()) for a, b in zip(LEDGERS, LEDGERS[1:], strict=False)]


PAPERS = papers()


def sized(random: Random, bits: int) -> int:
    """A number whose size is random too, so that small and large ones meet."""
    return 1 + random.getrandbits(random.randint(1, bits))


def path_of(random: Random) -> tuple[Offer, ...]:
    """One to three quotes one after the other, with fees and premiums of any size."""
    found = []
    for hop in range(random.randint(1, 3)):
        source = LEDGERS[hop]
        fee = FeeRule(
            "fee",
            f"{account(91, source):032x}",
            str(random.choice((0, 0, sized(random, 8)))),
            random.choice((0, 1, random.randint(0, 50_000))),
            str(random.choice((0, sized(random, 6)))),
            str(10**30),
        )
        total = 10**34
        made: Quote = quote(
            source,
            LEDGERS[hop + 1],
            PROVIDERS[hop],
            id=hop + 1,
            rate=Rate.of(sized(random, 40), sized(random, 40)),
            rounding=random.choice(tuple(Rounding)),
            total_amount=total,
            premium=random.choice((0, total // sized(random, 20))),
        )
        found.append(Offer(made, msgspec.structs.replace(PAPERS[hop], fees=(fee,)), total))
    return tuple(found)


def delivered(each: Offer, amount: int) -> int:
    rate = each.quote.rate
    return ROUND[each.quote.rounding](Fraction(amount) * Fraction(rate.numerator, rate.denominator))


def check_least(each: Offer, amount: int, wanted: int) -> None:
    """Demand the least amount that delivers what is wanted."""
    assert delivered(each, amount) >= wanted and (amount == 0 or delivered(each, amount - 1) < wanted)


def check(plan: Plan, amount: int, *, is_target: bool) -> None:
    """Demand of a plan, hop by hop and ledger by ledger, what fractions say it must be."""
    assert (plan.received if is_target else plan.sent) == amount
    by = {
        (ledger, purpose): sum(
            each.amount for each in plan.transfers if (each.ledger, each.purpose.value) == (ledger, purpose)
        )
        for ledger in LEDGERS
        for purpose in ("premium", "fee", "remainder")
    }
    premium_behind = 0
    for hop in range(len(plan.offers) - 1, -1, -1):
        each, principal, after = plan.offers[hop], plan.legs[hop].amount, plan.legs[hop + 1]
        source, target = plan.legs[hop].ledger, after.ledger
        (rule,) = each.document.fees
        asked = int(rule.flat) + ceil(Fraction(principal * rule.per_million, 10**6))
        fee = min(max(asked, int(rule.least)), int(rule.most))
        assert by[source, "fee"] == fee
        own = ceil(Fraction(each.quote.premium * principal, each.quote.total_amount))
        onward = by[source, "premium"] - own
        check_least(each, onward, premium_behind)
        premium_behind = by[source, "premium"]
        # What the conversion yields is passed on, is a fee, or lies with the named account; and it was the least.
        passed = after.amount + by[target, "fee"] if hop + 2 < len(plan.legs) else after.amount
        check_least(each, principal, passed)
        assert delivered(each, principal) == passed + by[target, "remainder"]
    first = plan.legs[0]
    beside = sum(by[first.ledger, purpose] for purpose in ("premium", "fee", "remainder"))
    assert plan.sent == first.amount + beside and plan.received == plan.legs[-1].amount
    check_ledgers(plan)


def check_ledgers(plan: Plan) -> None:
    """Sum what every account gives and gets: nothing appears, and no provider gives more than he is paid for."""
    nets: dict[tuple[int, int], int] = {}
    for each in (*plan.legs, *plan.transfers):
        for who, value in ((each.debit_account, -each.amount), (each.credit_account, each.amount)):
            nets[each.ledger, who] = nets.get((each.ledger, who), 0) + value
    for ledger in LEDGERS:
        assert sum(value for (its, _), value in nets.items() if its == ledger) == 0
    for hop, each in enumerate(plan.offers):
        paid = nets.get((plan.legs[hop].ledger, each.quote.provider_source_account), 0)
        given = -nets.get((plan.legs[hop + 1].ledger, each.quote.provider_target_account), 0)
        own = ceil(Fraction(each.quote.premium * plan.legs[hop].amount, each.quote.total_amount))
        most = delivered(each, plan.legs[hop].amount) + delivered(each, paid - plan.legs[hop].amount - own)
        assert 0 <= given <= most


def sweep(count: int, seed: int) -> int:
    """Plan and check so many routes; return how many there were to plan."""
    random, planned = Random(seed), 0
    for _ in range(count):
        path, is_target, amount = path_of(random), random.random() < 0.5, sized(random, 46)
        request = RouteRequest(
            PAYER, account(PAYER, CNY), account(PAYEE, LEDGERS[len(path)]), CNY, LEDGERS[len(path)], amount, is_target,
            HashFunction.SHA256, 30, NOW,
        )  # fmt: skip
        try:
            plan = plan_path(path, request)
        except BridgeRefused:
            continue
        planned += 1
        check(plan, amount, is_target=is_target)
    return planned


def test_random_routes_agree_with_fractions() -> None:
    """Two thousand routes of one to three hops, exact on either side."""
    assert sweep(2_000, SEED) > 1_000


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_routes_agree_with_fractions() -> None:
    """The same from another seed: more than a million conversions, fees and shares, each against its fraction."""
    assert sweep(100_000, SEED + 1) > 50_000
