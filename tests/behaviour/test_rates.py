"""Rates and conversions (QUOTE-1 to QUOTE-5): exact against fractions, every unit accounted for, no float anywhere."""

from __future__ import annotations

import ast
from fractions import Fraction
from math import ceil, floor, gcd
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.rates import (
    ConversionOverflowError,
    Rate,
    RateInvalidError,
    Rounding,
    convert,
    converted_amount,
    cost_of,
    divide,
    source_needed,
)
from bridge.refusals import BridgeCode

SEED = 20_261_122
U64 = 2**64 - 1
U128 = 2**128 - 1

rates = st.builds(Rate.of, st.integers(1, U64), st.integers(1, U64))
amounts = st.integers(0, 10**18)


def rounded(exact: Fraction, rounding: Rounding) -> int:
    """What the slow and obvious arithmetic says; Python rounds fractions half to even."""
    return {Rounding.DOWN: floor, Rounding.UP: ceil, Rounding.HALF_EVEN: round}[rounding](exact)


def check_one(amount: int, rate: Rate, rounding: Rounding) -> None:
    exact = Fraction(amount) * Fraction(rate.numerator, rate.denominator)
    done = convert(amount, rate, rounding)
    assert done.amount == rounded(exact, rounding)
    # Every unit is accounted for: what was rounded away is what is returned, and is less than one unit.
    assert Fraction(done.remainder_numerator, done.denominator) == exact - done.amount
    assert abs(done.remainder_numerator) < done.denominator
    assert amount * rate.numerator == done.amount * rate.denominator + done.remainder_numerator
    back = cost_of(amount, rate, rounding)
    assert back.amount == rounded(Fraction(amount) / Fraction(rate.numerator, rate.denominator), rounding)


def sweep(count: int, seed: int) -> int:
    """Random rates and amounts of every size, the sizes themselves random, so that small and tied ones come up too."""
    generator = np.random.default_rng(seed)
    bits = generator.integers(1, 64, size=(count, 3))
    words = generator.integers(0, 2**63, size=(count, 3), dtype=np.uint64)
    roundings = generator.integers(1, 4, size=count)
    ties = 0
    for (n_bits, d_bits, a_bits), (n, d, a), rule in zip(
        bits.tolist(), words.tolist(), roundings.tolist(), strict=True
    ):
        rate = Rate.of(1 + n % (1 << n_bits), 1 + d % (1 << d_bits))
        amount = a % (1 << a_bits)
        rounding = Rounding(rule)
        try:
            check_one(amount, rate, rounding)
        except ConversionOverflowError:
            assert amount * max(rate.numerator / rate.denominator, rate.denominator / rate.numerator) > 2**127
            continue
        ties += 2 * (amount * rate.numerator % rate.denominator) == rate.denominator
    return ties


def test_random_rates_and_amounts_agree_with_fractions() -> None:
    """Fifty thousand conversions both ways against Python's fractions."""
    assert sweep(50_000, SEED) > 50, "the sweep must meet exact halves, or rounding to even is not tested"


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_million_rates_and_amounts_agree_with_fractions() -> None:
    """The same, a million times, from another seed."""
    assert sweep(1_000_000, SEED + 1) > 1_000


@settings(deadline=None)
@given(st.integers(0, U128), st.integers(1, U128), st.sampled_from(Rounding))
def test_division_is_that_of_fractions(numerator: int, denominator: int, rounding: Rounding) -> None:
    """Whole-number division under each named rounding."""
    assert divide(numerator, denominator, rounding) == rounded(Fraction(numerator, denominator), rounding)


@settings(deadline=None)
@given(st.integers(1, 10**15), st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from(Rounding))
def test_the_least_source_amount_is_the_least(target: int, n: int, d: int, rounding: Rounding) -> None:
    """What ``source_needed`` says buys the target, and one unit less does not."""
    rate = Rate.of(n, d)
    needed = source_needed(target, rate, rounding)
    assert convert(needed, rate, rounding).amount >= target
    assert needed == 0 or convert(needed - 1, rate, rounding).amount < target


@settings(deadline=None)
@given(amounts, rates, st.sampled_from(Rounding))
def test_larger_amounts_never_become_less(amount: int, rate: Rate, rounding: Rounding) -> None:
    """Conversion and its inverse are monotone: the search for a route relies on it."""
    try:
        assert convert(amount, rate, rounding).amount <= convert(amount + 1, rate, rounding).amount
        assert source_needed(amount, rate, rounding) <= source_needed(amount + 1, rate, rounding)
    except ConversionOverflowError as error:
        assert error.code is BridgeCode.TERMS_MALFORMED


@settings(deadline=None)
@given(st.integers(1, 10**12), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_round_trip_never_makes_money(amount: int, n: int, d: int) -> None:
    """Down there and down back, nobody has more than before."""
    rate = Rate.of(n, d)
    there = convert(amount, rate, Rounding.DOWN).amount
    assert convert(there, rate.inverse, Rounding.DOWN).amount <= amount


@pytest.mark.parametrize(("n", "d"), [(0, 1), (1, 0), (-1, 1), (1, -1), (2, 4), (U64 + 1, 1), (1, U64 + 1), (0, 0)])
def test_what_is_no_rate_is_refused(n: int, d: int) -> None:
    """Zero, negative, wide and reducible fractions have no encoding."""
    with pytest.raises(RateInvalidError) as caught:
        Rate(n, d)
    assert (caught.value.numerator, caught.value.denominator) == (n, d)


def test_fractions_are_brought_to_lowest_terms() -> None:
    """One rate has one encoding; nothing at all is no rate."""
    assert Rate.of(218, 200) == Rate(109, 100)
    assert gcd(Rate.of(10**20, 10**19).numerator, 1) == 1
    with pytest.raises(RateInvalidError):
        Rate.of(0, 0)


def test_amounts_beyond_128_bits_are_refused_and_not_wrapped() -> None:
    """Overflow is a refusal with its code on either side, at the exact border."""
    assert convert(U128, Rate(1, 1), Rounding.UP).amount == U128
    for amount, rate in ((U128 + 1, Rate(1, 2)), (2**127, Rate(2, 1)), (U128, Rate(2, 1)), (-1, Rate(1, 1))):
        with pytest.raises(ConversionOverflowError) as caught:
            convert(amount, rate, Rounding.DOWN)
        assert caught.value.amount == amount
        with pytest.raises(ConversionOverflowError):
            converted_amount(amount, rate, Rounding.DOWN)
    assert converted_amount(U128, Rate(1, 1), Rounding.UP) == U128
    with pytest.raises(ConversionOverflowError):
        source_needed(U128, Rate(1, 2), Rounding.HALF_EVEN)


def test_better_is_more_for_the_payee() -> None:
    """Rates are compared as fractions and never as rounded numbers."""
    a, b = Rate(10**18 + 1, 10**18), Rate(10**18 + 2, 10**18 + 1)
    assert a.better_than(b) and not b.better_than(a) and not a.better_than(a)
    assert str(a.inverse) == f"{10**18}/{10**18 + 1}"


def test_the_money_of_the_bridge_has_no_float(repository_root: Path) -> None:
    """No module of rates, quotes and routes writes a float, divides with one or rounds one."""
    for name in (
        "rates",
        "quotes",
        "routes",
        "desk",
        "desk_book",
        "fees",
        "usage",
        "patterns",
        "screening",
        "corridor",
    ):
        tree = ast.parse((repository_root / "bridge" / f"{name}.py").read_text())
        for node in ast.walk(tree):
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), f"{name}:{node.lineno}"
            assert not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)), f"{name}:{node.lineno}"
            assert not (isinstance(node, ast.Name) and node.id in {"float", "Decimal", "round"}), (
                f"{name}:{node.lineno}"
            )
