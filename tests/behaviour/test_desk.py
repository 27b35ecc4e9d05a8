"""A provider's desk (QUOTE-13 to -19): firm quotes of posted rates, what is left of each, inventory, premium, replay."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from math import isqrt

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.desk import DealerSettings, Desk, QuoteRequest, Wanted, option_premium
from bridge.desk_book import DeskEntry, Opened, Tier, check_invariants, decode_entry, encode_entry
from bridge.leg import HashFunction
from bridge.quotes import ANY_TAKER, Quote
from bridge.rates import Rate, Rounding
from bridge.refusals import BridgeCode, BridgeRefused
from engine.refusals import EncodingError
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, NOW, PAYER, THB, S, account, document

TIERS = (Tier(1, 108, 100), Tier(10_000, 109, 100), Tier(1_000_000, 11, 10))
DOCUMENT = document()


def desk(rounding: Rounding = Rounding.DOWN, inventory: int = 10_000_000, **changes) -> Desk:
    accounts = {ledger: account(FIRST, ledger) for ledger in (CNY, HKD, THB)}
    made = Desk(DealerSettings(FIRST, 7, accounts, rounding, **changes))
    made.post_rates(CNY, HKD, TIERS, NOW + 3600 * S)
    made.set_inventory(HKD, inventory)
    made.set_inventory(CNY, 0)
    return made


def ask(amount: int, *, is_target: bool = False, taker: int = PAYER, lock_s: int = 30) -> QuoteRequest:
    return QuoteRequest(taker, amount, is_target, lock_s)


def opened(made: Desk, request: QuoteRequest, quote_id: int = 5, now: int = NOW) -> Quote:
    return Quote.decode(made.quote(request, DOCUMENT, quote_id, now).quote)


def stands_until(quote: Quote) -> int:
    return quote.expires_at + (quote.lock_s * S if quote.premium else 0)


def draw(made: Desk, quote_id: int, amount: int, swap: int = 1, **changes):
    defaults = {"taker": PAYER, "amount": amount, "function": HashFunction.SHA256, "lock_s": 30, "now": NOW}
    return made.draw(quote_id, hashlib.sha256(bytes([swap])).digest(), **{**defaults, **changes})


def refused(code: BridgeCode, call, *arguments, **named) -> None:
    with pytest.raises(BridgeRefused) as caught:
        call(*arguments, **named)
    assert caught.value.code is code, caught.value


@pytest.mark.parametrize(
    ("amount", "is_target", "rate", "total"),
    [
        (9_999, False, Rate(27, 25), 9_999), (10_000, False, Rate(109, 100), 10_000),
        (1_000_000, False, Rate(11, 10), 1_000_000), (10_898, True, Rate(27, 25), 10_091),
        (10_900, True, Rate(109, 100), 10_000), (1_100_000, True, Rate(11, 10), 1_000_000),
    ],
)  # fmt: skip
def test_the_size_of_an_amount_chooses_the_rate(amount: int, is_target: bool, rate: Rate, total: int) -> None:
    """The best rate whose tier the source amount reaches, on each border, asked from either side."""
    made = desk()
    made.post_rates(CNY, HKD, (Tier(1, 27, 25), *TIERS[1:]), NOW + S)
    quote = opened(made, ask(amount, is_target=is_target))
    assert (quote.rate, quote.total_amount) == (rate, total)
    assert not is_target or quote.delivers(quote.total_amount) >= amount
    assert (quote.provider_source_account, quote.remainder_target_account) == (account(FIRST, CNY), account(90, HKD))


def test_a_quote_can_be_drawn_to_its_last_unit_and_not_beyond() -> None:
    """What is left goes down to zero exactly; one unit more is exhausted."""
    made = desk()
    quote = opened(made, ask(30_000))
    assert draw(made, 5, 10_000, 1).target_amount == quote.delivers(10_000)
    refused(BridgeCode.QUOTE_EXHAUSTED, draw, made, 5, 20_001, 2)
    draw(made, 5, 20_000, 2)
    assert made.left(5) == 0
    refused(BridgeCode.QUOTE_EXHAUSTED, draw, made, 5, 10_000, 3)
    check_invariants(made.book)


def test_the_minimum_binds_all_draws_but_the_last() -> None:
    """Below the least amount only what is left may be taken as a whole."""
    made = desk()
    opened(made, ask(25_000))
    refused(BridgeCode.QUOTE_AMOUNT_BELOW_MINIMUM, draw, made, 5, 9_999)
    draw(made, 5, 20_000, 1)
    refused(BridgeCode.QUOTE_AMOUNT_BELOW_MINIMUM, draw, made, 5, 4_999, 2)
    draw(made, 5, 5_000, 2)
    refused(BridgeCode.QUOTE_EXHAUSTED, draw, made, 5, 0, 3)


def test_a_quote_is_for_its_taker_until_its_expiry_under_its_terms() -> None:
    """Another taker, the ns of the expiry, a longer timelock and an unknown quote are refused; an open one is for all."""
    made = desk()
    quote = opened(made, ask(30_000))
    refused(BridgeCode.QUOTE_NOT_FOR_TAKER, draw, made, 5, 10_000, taker=12)
    refused(BridgeCode.QUOTE_EXPIRED, draw, made, 5, 10_000, now=quote.expires_at)
    refused(BridgeCode.SWAP_TOO_SHORT, draw, made, 5, 10_000, lock_s=31)
    refused(BridgeCode.QUOTE_UNKNOWN, draw, made, 6, 10_000)
    draw(made, 5, 10_000, now=quote.expires_at - 1)
    opened(made, ask(30_000, taker=ANY_TAKER), 6)
    draw(made, 6, 10_000, 2, taker=12)
    sha_only = msgspec.structs.replace(DOCUMENT, hash_functions=("sha256",))
    made.quote(ask(30_000), sha_only, 7, NOW)
    refused(BridgeCode.HASH_FUNCTION_UNSUPPORTED, draw, made, 7, 10_000, 3, function=HashFunction.SM3)


def test_the_same_swap_draws_once() -> None:
    """A repeated draw changes nothing; the same swap with another amount is a duplicate."""
    made = desk()
    opened(made, ask(30_000))
    assert draw(made, 5, 10_000) is not None
    assert draw(made, 5, 10_000) is None
    assert draw(made, 5, 10_000, now=NOW + 999 * S) is None, "even when the quote has expired meanwhile"
    refused(BridgeCode.DUPLICATE_SWAP, draw, made, 5, 10_001)
    assert made.left(5) == 20_000


def test_a_draw_that_was_just_allowed_is_the_same_draw() -> None:
    """Asked first and drawn then, or drawn at once: one book, one entry; a swap that drew before is still refused."""
    wanted = Wanted(PAYER, 10_000, HashFunction.SHA256, 30, NOW)
    books, entries = [], []
    for is_asked_first in (True, False):
        made = desk()
        opened(made, ask(20_000))
        allowed = made.demand_draw(5, wanted) if is_asked_first else None
        entries.append(made.draw_as(5, bytes(32), wanted, allowed))
        assert made.draw_as(5, bytes(32), wanted, allowed) is None
        refused(BridgeCode.DUPLICATE_SWAP, made.draw_as, 5, bytes(32), replace(wanted, amount=9_999), allowed)
        check_invariants(made.book)
        books.append(contents(made))
    assert entries[0] == entries[1]
    assert books[0] == books[1]


def test_a_refund_gives_back_and_a_claim_moves_the_inventory() -> None:
    """Claimed: the target goes, the source comes. Refunded: the quote has it again, or the inventory once it expired."""
    made = desk(inventory=100_000)
    quote = opened(made, ask(30_000))
    draw(made, 5, 10_000, 1)
    draw(made, 5, 20_000, 2)
    swap = [hashlib.sha256(bytes([number])).digest() for number in (1, 2)]
    made.end(swap[0], claimed=True)
    assert (made.inventory(HKD), made.inventory(CNY)) == (100_000 - 10_900, 10_000)
    made.end(swap[1], claimed=False)
    assert made.left(5) == 20_000 and made.available(HKD) == 100_000 - 10_900 - 21_800
    assert made.end(swap[1], claimed=False) is None
    draw(made, 5, 20_000, 2)
    assert [entry.quote_id for entry in made.release(stands_until(quote))] == [5]
    assert made.available(HKD) == 100_000 - 10_900 - 21_800, "a running swap keeps what it drew"
    made.end(swap[1], claimed=False)
    assert made.available(HKD) == 100_000 - 10_900
    refused(BridgeCode.QUOTE_UNKNOWN, made.left, 5)
    check_invariants(made.book)


def test_open_quotes_never_promise_more_than_the_inventory() -> None:
    """The last unit of inventory can be quoted, and the next one cannot until something is released or withdrawn."""
    made = desk(inventory=2 * 10_900)
    opened(made, ask(10_000), 1)
    opened(made, ask(10_000), 2)
    refused(BridgeCode.QUOTE_EXHAUSTED, opened, made, ask(1), 3)
    made.withdraw(2)
    assert made.withdraw(2) is None
    opened(made, ask(10_000), 3, NOW + 1)
    assert [each.id for each in made.open_quotes()] == [1, 3]
    assert made.next_expiry() == NOW + 40 * S, "the longest timelock more, for each has a premium"
    assert len(made.release(NOW + 41 * S)) == 2 and made.available(HKD) == 2 * 10_900 and made.next_expiry() is None


def test_one_taker_is_promised_no_more_than_his_share() -> None:
    """Half of the inventory at most for one, running swaps counted in; what he gives up or settles is free again."""
    made = desk(inventory=100_000, taker_share_ppm=500_000)
    opened(made, ask(40_000), 1)
    draw(made, 1, 10_000)
    refused(BridgeCode.LIMITS_EXCEEDED, opened, made, ask(10_000), 2)
    opened(made, ask(40_000, taker=12), 3)
    refused(BridgeCode.QUOTE_EXHAUSTED, opened, made, ask(20_000, taker=13), 4)
    made.withdraw(1)
    opened(made, ask(10_000), 5)
    made.withdraw(5)
    made.end(hashlib.sha256(bytes([1])).digest(), claimed=False)
    assert {taker for taker, _ in made.book.promised_to} == {12}
    opened(made, ask(50_000, taker=ANY_TAKER), 6)
    check_invariants(made.book)


def test_rounding_up_twice_cannot_promise_a_unit_that_is_not_there() -> None:
    """Two halves rounded up deliver one unit more than the whole: it is taken only where the inventory has it."""
    accounts = {CNY: account(FIRST, CNY), HKD: account(FIRST, HKD)}
    made = Desk(DealerSettings(FIRST, 7, accounts, Rounding.UP))
    made.post_rates(CNY, HKD, (Tier(1, 1, 2),), NOW + S)
    made.set_inventory(HKD, 5)
    made.quote(ask(10), DOCUMENT, 5, NOW)
    refused(BridgeCode.QUOTE_EXHAUSTED, draw, made, 5, 5)
    made.set_inventory(HKD, 6)
    assert draw(made, 5, 5).target_amount == 3
    assert made.available(HKD) == 0
    check_invariants(made.book)


@pytest.mark.parametrize(
    ("code", "request_", "changes"),
    [
        (BridgeCode.NO_ROUTE, ask(0), {}),
        (BridgeCode.NO_ROUTE, ask(10**9), {"roundings": (2,)}),
        (BridgeCode.CORRIDOR_CLOSED, ask(1_000), {"suspended": True}),
        (BridgeCode.CORRIDOR_PROVIDER_NOT_LISTED, ask(1_000), {"providers": (22,)}),
        (BridgeCode.CORRIDOR_LIMIT_EXCEEDED, ask(10**16), {}),
        (BridgeCode.SWAP_TOO_SHORT, ask(1_000, lock_s=61), {}),
        (BridgeCode.SWAP_TOO_SHORT, ask(1_000, lock_s=0), {}),
        (BridgeCode.QUOTE_EXHAUSTED, ask(10_000_000), {}),
    ],
)
def test_what_the_corridor_or_the_desk_does_not_allow_is_no_quote(code, request_, changes) -> None:
    """Each refusal has its code, and nothing is kept for it."""
    made = desk()
    refused(code, made.quote, request_, msgspec.structs.replace(DOCUMENT, **changes), 5, NOW)
    assert made.available(HKD) == 10_000_000 and not made.open_quotes()


def test_bounds_of_takers_and_of_the_desk() -> None:
    """So many quotes for one taker, so many in all, an id once, and no rate after its time or after it is withdrawn."""
    made = desk(taker_open_max=2, open_max=3)
    opened(made, ask(100), 1)
    refused(BridgeCode.DUPLICATE_SWAP, opened, made, ask(100), 1)
    opened(made, ask(100), 2)
    refused(BridgeCode.LIMITS_EXCEEDED, opened, made, ask(100), 3)
    opened(made, ask(100, taker=12), 3)
    refused(BridgeCode.LIMITS_EXCEEDED, opened, made, ask(100, taker=13), 4)
    made.release(NOW + 41 * S)
    refused(BridgeCode.NO_ROUTE, opened, made, ask(100), 4, NOW + 3600 * S)
    made.post_rates(CNY, HKD, (), NOW + S)
    refused(BridgeCode.NO_ROUTE, opened, made, ask(100), 4)


@pytest.mark.parametrize(
    "tiers",
    [(Tier(2, 1, 1), Tier(1, 1, 1)), (Tier(0, 1, 1),), (Tier(1, 2**64 + 1, 4),), (Tier(1, 0, 1),), TIERS[:1] * 2],
)
def test_rates_that_make_no_sense_are_not_posted(tiers: tuple[Tier, ...]) -> None:
    """Unordered tiers, tiers from nothing, fractions that are no rates; a pair without accounts."""
    made = desk()
    if tiers != TIERS[:1] * 2:
        refused(BridgeCode.QUOTE_MALFORMED, made.post_rates, CNY, HKD, tiers, NOW + S)
    refused(BridgeCode.QUOTE_MALFORMED, made.post_rates, CNY, 99, TIERS, NOW + S)
    refused(BridgeCode.QUOTE_MALFORMED, made.post_rates, CNY, CNY, TIERS, NOW + S)


# The price of the free option.


@settings(deadline=None)
@given(st.integers(1, 10**18), st.integers(1, 90_000), st.integers(0, 10**9))
def test_the_premium_is_the_stated_formula_rounded_up(amount: int, life_s: int, volatility: int) -> None:
    """The least share in parts per billion whose square reaches (2/5 volatility)^2 * days, against fractions."""
    square = Fraction(4 * volatility**2 * life_s, 25 * 86_400)
    share = isqrt(int(square))
    while Fraction(share) ** 2 < square:
        share += 1
    exact = Fraction(amount * share, 10**9)
    assert option_premium(amount, life_s, volatility) == min(amount, -(-exact.numerator // exact.denominator))


def test_a_longer_option_costs_more_and_a_short_one_little() -> None:
    """Forty seconds at 0.4 % a day cost 35 millionths; a day costs forty-six times as much; nothing without volatility."""
    assert option_premium(10**9, 40, 4_000_000) == 34_427
    assert option_premium(10**9, 86_400, 4_000_000) == 1_600_000
    assert option_premium(10**9, 40, 0) == 0
    quote = opened(desk(), ask(1_000_000, lock_s=30))
    assert quote.premium == option_premium(1_000_000, 40, DOCUMENT.premium_volatility_ppb)


# Entries.


def of_entries(entries: list[DeskEntry]) -> Desk:
    """A desk that stood on other things before these entries came."""
    made = desk(inventory=1)
    made.quote(ask(1), DOCUMENT, 999, NOW - S)
    for entry in entries:
        made.apply(decode_entry(encode_entry(entry)))
    return made


def contents(made: Desk) -> tuple[object, ...]:
    """All that a desk is, but for sums of nothing."""
    book = made.book
    quotes = {each: (found.quote, found.left, found.running, found.is_released) for each, found in book.quotes.items()}
    sums = [{ledger: amount for ledger, amount in each.items() if amount} for each in (book.promised, book.inventory)]
    sums.append(dict(book.promised_to))
    return book.rates, quotes, book.draws, book.open_by_taker, made.next_expiry(), sums


steps = st.lists(
    st.tuples(
        st.sampled_from(("quote", "draw", "draw", "end", "release", "withdraw", "inventory")),
        st.integers(1, 2), st.sampled_from((2_500, 5_000, 10_000, 15_001)), st.booleans(),
    ),
    min_size=8, max_size=40,
)  # fmt: skip


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps, st.sampled_from(Rounding))
def test_the_entries_of_a_desk_are_the_desk(script: list[tuple[str, int, int, bool]], rounding: Rounding) -> None:
    """Random work; after every step the sums hold, and a desk made of the encoded entries answers the same."""
    made, now, entries = desk(rounding, 60_000), NOW, []
    again = desk(rounding, 60_000)
    for kind, number, amount, flag in script:
        now += S // 3
        found: list[DeskEntry | None] = []
        try:
            if kind == "quote":
                found = [made.quote(ask(amount, is_target=flag), DOCUMENT, number, now)]
            elif kind == "draw":
                onward = 3 if amount == 5_000 else 0
                found = [draw(made, number, amount // (1 + flag), amount % 7, now=now, onward=onward)]
            elif kind == "end":
                found = [made.end(hashlib.sha256(bytes([amount % 7])).digest(), claimed=flag)]
            elif kind == "release":
                found = list(made.release(now))
            elif kind == "withdraw":
                found = [made.withdraw(number)]
            else:
                found = [made.set_inventory(HKD, 60_000 + amount)]
        except BridgeRefused:
            pass
        entries += [entry for entry in found if entry is not None]
        check_invariants(made.book)
        assert made.available(HKD) >= 0 or kind in ("inventory", "end")
        if len(entries) % 5 == 4:
            # A snapshot in the midst of them changes nothing, and what came before it may be gone.
            entries = list(made.snapshot())
            assert contents(of_entries(entries)) == contents(made)
    for entry in entries:
        again.apply(decode_entry(encode_entry(entry)))
    assert again.open_quotes() == made.open_quotes() and contents(again) == contents(made)


def test_an_option_that_was_paid_for_is_kept_until_its_timelock_could_be_over() -> None:
    """With a premium a quote is drawn as of the instant of payment, for as long as it grants; without one it ends."""
    made, free = desk(), msgspec.structs.replace(DOCUMENT, premium_volatility_ppb=0)
    quote = opened(made, ask(30_000))
    made.quote(ask(30_000), free, 6, NOW)
    assert [entry.quote_id for entry in made.release(quote.expires_at)] == [6]
    assert [entry.quote_id for entry in made.release(stands_until(quote) - 1)] == []
    refused(BridgeCode.QUOTE_EXPIRED, draw, made, 5, 10_000, now=quote.expires_at)
    draw(made, 5, 10_000, now=quote.expires_at - 1)
    made.release(stands_until(quote))
    refused(BridgeCode.QUOTE_EXPIRED, draw, made, 5, 10_000, 2, now=quote.expires_at - 1)


def test_a_premium_onward_is_part_of_the_total_and_no_refund_gives_it_back() -> None:
    """What leaves at once needs source units too; a swap that never began spent nothing, one that was refunded did."""
    made = desk(inventory=100_000)
    quote = opened(made, ask(30_000))
    refused(BridgeCode.QUOTE_EXHAUSTED, draw, made, 5, 30_000, onward=1)
    refused(BridgeCode.TERMS_MALFORMED, draw, made, 5, 20_000, onward=2**128)
    swap = [hashlib.sha256(bytes([number])).digest() for number in (1, 2)]
    drawn = draw(made, 5, 20_000, 1, onward=109)
    assert (drawn.source_amount, drawn.spent, drawn.target_amount) == (20_100, 100, 21_909)
    assert draw(made, 5, 20_000, 1, onward=109) is None and made.left(5) == 9_900
    refused(BridgeCode.DUPLICATE_SWAP, draw, made, 5, 20_100, 1)
    made.end(swap[0], claimed=False, unspent=True)
    assert made.left(5) == 30_000 and made.inventory(HKD) == 100_000
    draw(made, 5, 20_000, 1, onward=109)
    made.end(swap[0], claimed=False)
    assert (made.left(5), made.inventory(HKD), made.inventory(CNY)) == (29_900, 100_000 - 109, 100)
    assert quote.delivers(made.left(5)) + 109 <= quote.delivers(quote.total_amount)
    check_invariants(made.book)


def test_an_id_that_comes_again_has_an_expiry_of_its_own() -> None:
    """A book that was made of entries does not release a new quote at the instant of an old one of the same id."""
    made, again = desk(), desk()
    free = msgspec.structs.replace(DOCUMENT, premium_volatility_ppb=0)
    entries: list[DeskEntry] = [made.quote(ask(100), free, 5, NOW), *made.release(NOW + 10 * S)]
    entries.append(made.quote(ask(100), free, 5, NOW + 10 * S))
    for entry in entries:
        again.apply(entry)
    assert again.next_expiry() == made.next_expiry() == NOW + 20 * S and again.release(NOW + 19 * S) == []


def test_bytes_that_are_no_entry_are_refused() -> None:
    """Unknown kinds, unknown fields and plain noise."""
    for data in (b"", b"{}", b'{"type":"stolen"}', b'{"type":"released","quote_id":1,"more":2}', b"[" * 99_999):
        with pytest.raises(EncodingError):
            decode_entry(data)
    assert decode_entry(encode_entry(Opened(b"\0\1"))) == Opened(b"\0\1")
