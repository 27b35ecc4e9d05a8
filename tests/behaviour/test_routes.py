"""Routes (QUOTE-20 to -29): the best way against brute force, and every unit of every plan accounted for."""

from __future__ import annotations

from collections import Counter
from itertools import permutations, product

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bridge.fees import FeeRule, fee_total
from bridge.leg import HashFunction
from bridge.quotes import ANY_TAKER
from bridge.rates import Rate, Rounding
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.routes import Offer, Plan, Purpose, RouteRequest, check_invariants, demand_fair, find_route, plan_path
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, NOW, PAYER, SECOND, THB, THIRD, USD, account, document, quote

PAYEE = 31
NO_AMOUNT = 10**60


def fee(ledger: int, flat: int, per_million: int) -> FeeRule:
    return FeeRule("scheme", f"{account(91, ledger):032x}", str(flat), per_million, "0", "1000")


def offer(
    source: int, target: int, provider: int, number: int, left: int | None = None, fees: tuple = (), **changes
) -> Offer:
    made = quote(source, target, provider, id=number, **changes)
    return Offer(made, document(source, target, fees=fees), made.total_amount if left is None else left)


def ask(amount: int, *, is_target: bool = False, source: int = CNY, target: int = THB, **changes) -> RouteRequest:
    defaults = {"hash_function": HashFunction.SHA256, "lock_s": 20, "now": NOW}
    payer, payee = account(PAYER, source), account(PAYEE, target)
    return RouteRequest(PAYER, payer, payee, source, target, amount, is_target, **{**defaults, **changes})


CHAIN = (
    offer(CNY, HKD, FIRST, 1, rate=Rate(109, 100), premium=500),
    offer(HKD, THB, SECOND, 2, rate=Rate(4123, 1000), premium=100),
)


def account_for(plan: Plan) -> None:
    """Add up every ledger by account: what each party gives and gets is what the plan says, to the unit."""
    nets: Counter[tuple[int, int]] = Counter()
    for each in (*plan.legs, *plan.transfers):
        assert each.amount > 0
        nets[each.ledger, each.debit_account] -= each.amount
        nets[each.ledger, each.credit_account] += each.amount
    ledgers = {leg.ledger for leg in plan.legs}
    assert all(sum(net for (at, _), net in nets.items() if at == ledger) == 0 for ledger in ledgers)
    first, last = plan.legs[0], plan.legs[-1]
    assert nets[first.ledger, first.debit_account] == -plan.sent
    assert nets[last.ledger, last.credit_account] == plan.received
    for each, before, after in zip(plan.offers, plan.legs[:-1], plan.legs[1:], strict=True):
        # A provider takes his leg and gives exactly what his quote says for it, premiums apart.
        premium = sum(t.amount for t in plan.transfers if t.ledger == after.ledger and t.purpose is Purpose.PREMIUM)
        given = -nets[after.ledger, after.debit_account] - premium
        assert given == each.quote.delivers(before.amount)
        assert each.quote.needs(premium) <= sum(
            t.amount for t in plan.transfers if t.ledger == before.ledger and t.purpose is Purpose.PREMIUM
        )


def test_a_route_over_two_hops_to_the_unit() -> None:
    """CNY to THB over HKD, written down: legs, premiums that pass through, remainder at the payer's own ledger."""
    plan = find_route(CHAIN, ask(123_457))
    assert [(leg.ledger, leg.amount, leg.quote_id) for leg in plan.legs] == [
        (CNY, 123_382, 0),
        (HKD, 134_486, 1),
        (THB, 554_485, 2),
    ]
    assert [leg.debit_account for leg in plan.legs] == [account(PAYER, CNY), account(FIRST, HKD), account(SECOND, THB)]
    assert [leg.credit_account for leg in plan.legs] == [account(FIRST, CNY), account(SECOND, HKD), account(PAYEE, THB)]
    assert [(each.purpose, each.ledger, each.amount) for each in plan.transfers] == [
        (Purpose.PREMIUM, CNY, 75),
        (Purpose.PREMIUM, HKD, 14),
    ]
    assert (plan.sent, plan.received) == (123_457, 554_485)


def test_what_buys_no_further_unit_goes_to_the_named_account() -> None:
    """A yen is worth less than a cent: the rest of what was sent goes to the remainder account, as its own transfer."""
    dear = offer(CNY, THB, FIRST, 1, rate=Rate(1, 20))
    plan = find_route([dear], ask(105))
    assert (plan.legs[0].amount, plan.received, plan.sent) == (100, 5, 105)
    (left,) = plan.transfers
    assert (left.purpose, left.amount, left.credit_account) == (Purpose.REMAINDER, 5, account(90, CNY))
    cheap = offer(CNY, THB, FIRST, 1, rate=Rate(20, 1))
    plan = find_route([cheap], ask(105, is_target=True))
    assert (plan.legs[0].amount, plan.received, plan.sent) == (6, 105, 6)
    (left,) = plan.transfers
    assert (left.amount, left.debit_account, left.credit_account) == (15, account(FIRST, THB), account(90, THB))


@pytest.mark.parametrize(
    "spoil",
    [
        {"taker": 99}, {"expires_at": NOW + 1, "issued_at": NOW - 1, "late": 1}, {"lock_s": 19}, {"hash_functions": 2},
        {"left": 0}, {"left": 999}, {"min_amount": 200_000}, {"provider": PAYER, "taker": ANY_TAKER},
    ],
    ids=lambda spoil: next(iter(spoil)),
)  # fmt: skip
def test_offers_that_cannot_serve_are_no_route(spoil: dict[str, int]) -> None:
    """Another's, expired, short, of another hash, used up, too large or one's own."""
    late, left = spoil.pop("late", 0), spoil.pop("left", None)
    provider = spoil.pop("provider", FIRST)
    made = offer(CNY, THB, provider, 1, left, **spoil)
    with pytest.raises(BridgeRefused) as caught:
        find_route([made], ask(1_000, now=NOW + late))
    assert caught.value.code is BridgeCode.NO_ROUTE


def test_the_corridors_bounds_on_a_payment_bind_every_hop() -> None:
    """A leg beyond what its corridor allows makes the path none."""
    from msgspec.structs import replace

    tight = replace(CHAIN[1].document, limits=replace(CHAIN[1].document.limits, payment_most="1000"))
    with pytest.raises(BridgeRefused) as caught:
        find_route([CHAIN[0], Offer(CHAIN[1].quote, tight, CHAIN[1].left)], ask(123_457))
    assert caught.value.code is BridgeCode.NO_ROUTE and "corridor_limit_exceeded" in caught.value.text


def test_more_hops_than_asked_for_are_not_taken() -> None:
    """Two hops stand, one is allowed."""
    with pytest.raises(BridgeRefused):
        find_route(CHAIN, ask(1_000, hops_max=1))


def test_equal_routes_are_told_apart_by_hops_and_numbers() -> None:
    """The same amount arrives: fewer hops, then smaller quote ids."""
    same = [offer(CNY, THB, provider, number, rate=Rate(3, 1)) for provider, number in ((SECOND, 9), (FIRST, 4))]
    long = [offer(CNY, HKD, FIRST, 1, rate=Rate(1, 1)), offer(HKD, THB, SECOND, 2, rate=Rate(3, 1))]
    for order in permutations([*same, *long]):
        assert find_route(order, ask(100)).quote_ids == (4,)


def test_a_crowd_of_offers_stays_within_its_bounds_and_keeps_the_best() -> None:
    """A hundred quotes of each pair: the best rates are looked at, and the plan is that of the best one."""
    crowd = [
        offer(source, target, provider, 1 + index, rate=Rate.of(1000 + index, 1000))
        for index, ((source, target), provider) in enumerate(
            product([(CNY, HKD), (HKD, THB), (CNY, THB), (CNY, USD), (USD, THB), (HKD, USD)], [FIRST, SECOND] * 50)
        )
    ]
    plan = find_route(crowd, ask(100_000))
    direct = max(each.quote.delivers(100_000) for each in crowd if each.quote.target_ledger == THB)
    assert plan.received > direct
    account_for(plan)


def test_no_ledger_is_met_twice_however_well_it_would_pay() -> None:
    """Round by HKD and back the money would double; legs under one hash stand once on each ledger, so it is no route."""
    direct = offer(CNY, THB, THIRD, 3, rate=Rate(1, 1))
    loop = [offer(CNY, HKD, FIRST, 1, rate=Rate(2, 1)), offer(HKD, CNY, SECOND, 2, rate=Rate(1, 1))]
    assert find_route([*loop, direct], ask(1_000)).quote_ids == (3,)


def test_a_provider_gives_no_more_than_his_quote_says() -> None:
    """What he is asked to give is held against the conversion of what he gets, to the unit."""
    demand_fair(CHAIN[0].quote, 100, 109)
    with pytest.raises(BridgeRefused) as caught:
        demand_fair(CHAIN[0].quote, 100, 110)
    assert caught.value.code is BridgeCode.LEGS_DO_NOT_MATCH


@pytest.mark.parametrize("amount", [0, -1, 2**128])
def test_an_amount_that_is_none_is_refused(amount: int) -> None:
    """Zero, negative and wide amounts have no route."""
    with pytest.raises(BridgeRefused):
        find_route(CHAIN, ask(amount))


def test_a_plan_with_a_unit_missing_breaks_an_invariant() -> None:
    """The plan's own check sees a unit that was lost on the first ledger, and one that was lost on a later one."""
    from msgspec.structs import replace

    from engine.refusals import InvariantBroken

    plan = find_route(CHAIN, ask(123_457))
    with pytest.raises(InvariantBroken):
        check_invariants(replace(plan, sent=plan.sent + 1))
    legs = (plan.legs[0], replace(plan.legs[1], amount=plan.legs[1].amount - 1), plan.legs[2])
    with pytest.raises(InvariantBroken):
        check_invariants(replace(plan, legs=legs))


# A slow reading of what a route is, written apart from the code: what each path costs, amount by amount.


def slow_cost(path: tuple[Offer, ...], received: int) -> int:
    """What must leave the payer so that this arrives, by trying source amounts upwards; NO_AMOUNT when none does."""
    need, premium = received, 0
    for each in reversed(path):
        principal = next((c for c in range(1, 5_000) if each.quote.delivers(c) >= need), None)
        onward = 0 if premium == 0 else next((c for c in range(1, 5_000) if each.quote.delivers(c) >= premium), None)
        if principal is None or onward is None:
            return NO_AMOUNT
        premium = each.quote.premium_of(principal) + onward
        need = principal + fee_total(each.document.fees, principal)
    return need + premium


def fits(path: tuple[Offer, ...], received: int) -> bool:
    need, premium = received, 0
    for each in reversed(path):
        principal = next(c for c in range(1, 5_000) if each.quote.delivers(c) >= need)
        onward = 0 if premium == 0 else next(c for c in range(1, 5_000) if each.quote.delivers(c) >= premium)
        whole = principal + onward
        if whole > each.left or (principal < each.quote.min_amount and whole != each.left):
            return False
        premium = each.quote.premium_of(principal) + onward
        need = principal + fee_total(each.document.fees, principal)
    return True


def slow_paths(offers: list[Offer], request: RouteRequest) -> list[tuple[Offer, ...]]:
    found = []
    for hops in (1, 2, 3):
        for path in permutations(offers, hops):
            ledgers = [request.source_ledger, *(each.quote.target_ledger for each in path)]
            joined = all(each.quote.source_ledger == at for each, at in zip(path, ledgers, strict=False))
            apart = all(a.quote.provider != b.quote.provider for a, b in zip(path, path[1:], strict=False))
            if joined and apart and ledgers[-1] == request.target_ledger and len(set(ledgers)) == hops + 1:
                found.append(path)
    return found


def slow_best(offers: list[Offer], request: RouteRequest) -> tuple[int, int, tuple[int, ...]] | None:
    best = None
    for path in slow_paths(offers, request):
        if request.is_target:
            received, sent = request.amount, slow_cost(path, request.amount)
            if sent == NO_AMOUNT:
                continue
        else:
            sent, received = request.amount, 0
            while slow_cost(path, received + 1) <= sent:
                received += 1
            if received == 0:
                continue
        if not fits(path, received):
            continue
        rank = (sent if request.is_target else -received, len(path), tuple(each.quote.id for each in path))
        best = rank if best is None else min(best, rank)
    return best


small_rates = st.builds(Rate.of, st.integers(3, 12), st.integers(3, 12))


@st.composite
def markets(draw) -> list[Offer]:
    forward = ((CNY, THB), (CNY, HKD), (CNY, USD), (HKD, THB), (USD, THB), (HKD, USD), (USD, HKD), (THB, HKD))
    ways = (((CNY, THB),), ((CNY, HKD), (HKD, THB)), ((CNY, HKD), (HKD, USD), (USD, THB)))
    pairs = [*draw(st.sampled_from(ways)), *draw(st.lists(st.sampled_from(forward), max_size=5))]
    made = []
    for number, (source, target) in enumerate(pairs, 1):
        total = draw(st.integers(100, 300))
        fees = (fee(source, draw(st.integers(0, 2)), draw(st.sampled_from((0, 20_000)))),)
        made.append(
            offer(
                source, target, (FIRST, SECOND, THIRD)[number % 3], number, fees=fees,
                rate=draw(small_rates), rounding=draw(st.sampled_from(Rounding)), total_amount=total,
                min_amount=draw(st.integers(1, 20)), premium=draw(st.integers(0, 4)), left=draw(st.integers(60, total)),
            )
        )  # fmt: skip
    return made


def check_market(offers: list[Offer], amount: int, is_target: bool, order) -> None:
    request = ask(amount, is_target=is_target)
    expected = slow_best(offers, request)
    shuffled = list(offers)
    order.shuffle(shuffled)
    try:
        plan = find_route(shuffled, request)
    except BridgeRefused as refused:
        assert refused.code is BridgeCode.NO_ROUTE
        assert expected is None, (expected, refused.text)
        return
    assert expected == (plan.sent if is_target else -plan.received, len(plan.offers), plan.quote_ids)
    assert (plan.received if is_target else plan.sent) == amount
    account_for(plan)


requests = (markets(), st.integers(10, 90), st.booleans(), st.randoms(use_true_random=False))


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(*requests)
def test_the_best_route_is_the_one_that_brute_force_finds(offers, amount, is_target, order) -> None:
    """Markets of four ledgers, every path priced unit by unit; any order of the offers gives the same plan."""
    check_market(offers, amount, is_target, order)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@settings(max_examples=3_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(*requests)
def test_the_best_route_in_three_thousand_markets(offers, amount, is_target, order) -> None:
    """The same, all night."""
    check_market(offers, amount, is_target, order)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 10**14), st.booleans(), st.lists(st.tuples(st.integers(1, 2**40), st.integers(1, 2**40)), min_size=1, max_size=3),
    st.lists(st.integers(0, 5_000), min_size=3, max_size=3), st.sampled_from(Rounding),
)  # fmt: skip
def test_every_unit_of_large_and_odd_plans_is_accounted_for(
    amount: int, is_target: bool, rates: list[tuple[int, int]], shares: list[int], rounding: Rounding
) -> None:
    """One to three hops with premiums and fees over rates of any size, both ways of asking."""
    ledgers = (CNY, HKD, USD)[: len(rates)] + (THB,)
    path = tuple(
        offer(
            ledgers[hop], ledgers[hop + 1], (FIRST, SECOND, THIRD)[hop], hop + 1, rate=Rate.of(*rate),
            rounding=rounding, total_amount=10**30, premium=10**26, fees=(fee(ledgers[hop], 2, shares[hop]),),
        )
        for hop, rate in enumerate(rates)
    )  # fmt: skip
    path = tuple(Offer(each.quote, wide(each), each.left) for each in path)
    try:
        plan = plan_path(path, ask(amount, is_target=is_target))
    except BridgeRefused:
        assume(False)
    account_for(plan)
    if not is_target:
        # Nothing larger could have been bought: one unit more costs more than was sent.
        more = plan_path(path, ask(plan.received + 1, is_target=True))
        assert more.sent > plan.sent


def wide(each: Offer):
    from msgspec.structs import replace

    limits = replace(each.document.limits, payment_most="9" * 38, participant_day_most="9" * 38, day_most="9" * 38)
    return replace(each.document, limits=limits)
