"""A rate is a fraction of minor units, and a conversion is exact: what rounds is named, what is left over is returned.

It promises that no unit appears or vanishes: ``amount * numerator == converted * denominator + remainder``, always. It
knows no ledger, no account and no float; where a remainder goes is the route's to say (``bridge.routes``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique
from math import gcd
from typing import Self

from bridge.refusals import BridgeCode, BridgeRefused
from engine.types import U64_MAX, U128_MAX

__all__ = [
    "ConversionOverflowError",
    "Converted",
    "Rate",
    "RateInvalidError",
    "Rounding",
    "convert",
    "converted_amount",
    "cost_of",
    "divide",
    "source_needed",
]


class RateInvalidError(ValueError):
    """A fraction that is no rate: ``reason`` says which rule ``numerator / denominator`` breaks."""

    def __init__(self, numerator: int, denominator: int, reason: str) -> None:
        """Keep the fraction for the report."""
        super().__init__(f"rate {numerator}/{denominator}: {reason}")
        self.numerator = numerator
        self.denominator = denominator
        self.reason = reason


class ConversionOverflowError(BridgeRefused):
    """``amount`` is no amount of 128 bits, or would become none at ``rate`` (terms_malformed)."""

    def __init__(self, amount: int, rate: str) -> None:
        """Keep both for the report."""
        super().__init__(BridgeCode.TERMS_MALFORMED, f"amount {amount} at {rate} does not fit 128 bits")
        self.amount = amount
        self.rate = rate


@unique
class Rounding(IntEnum):
    """What becomes of a fraction of a minor unit; the numbers stand in signed quotes."""

    DOWN = 1
    UP = 2
    HALF_EVEN = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """Target minor units for one source minor unit, in lowest terms, both parts 1 to 2^64 - 1."""

    numerator: int
    denominator: int

    def __post_init__(self) -> None:
        """Refuse what is not canonical: one rate has one encoding, so that signed bytes say one thing."""
        if not (0 < self.numerator <= U64_MAX and 0 < self.denominator <= U64_MAX):
            raise RateInvalidError(self.numerator, self.denominator, "both parts are 1 to 2^64 - 1")
        if gcd(self.numerator, self.denominator) != 1:
            raise RateInvalidError(self.numerator, self.denominator, "is not in lowest terms")

    @classmethod
    def of(cls, numerator: int, denominator: int) -> Self:
        """Return the rate in lowest terms; raises RateInvalidError when it does not fit even so."""
        common = gcd(numerator, denominator)
        if common == 0:
            raise RateInvalidError(numerator, denominator, "has no value")
        return cls(numerator // common, denominator // common)

    @property
    def inverse(self) -> Rate:
        """Source minor units for one target minor unit."""
        return Rate(self.denominator, self.numerator)

    def better_than(self, other: Rate) -> bool:
        """Say whether this rate gives a payee strictly more."""
        return self.numerator * other.denominator > other.numerator * self.denominator

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}"


@dataclass(frozen=True, slots=True)
class Converted:
    """A rounded amount and what rounding took from it.

    The exact result is ``amount + remainder_numerator / denominator``; the remainder is negative when it was rounded
    up, and its size is always below one minor unit.
    """

    amount: int
    remainder_numerator: int
    denominator: int

    @property
    def is_exact(self) -> bool:
        """Nothing was rounded."""
        return self.remainder_numerator == 0


def divide(numerator: int, denominator: int, rounding: Rounding) -> int:
    """Return ``numerator / denominator`` in whole units; numerator >= 0, denominator > 0."""
    quotient, rest = divmod(numerator, denominator)
    if rest == 0 or rounding is Rounding.DOWN:
        return quotient
    if rounding is Rounding.UP:
        return quotient + 1
    twice = 2 * rest
    return quotient + (twice > denominator or (twice == denominator and quotient & 1 == 1))


def _scaled(amount: int, multiplier: int, divisor: int, rounding: Rounding, rate: Rate) -> Converted:
    if not 0 <= amount <= U128_MAX:
        raise ConversionOverflowError(amount, str(rate))
    product = amount * multiplier
    whole = divide(product, divisor, rounding)
    if whole > U128_MAX:
        raise ConversionOverflowError(amount, str(rate))
    return Converted(whole, product - whole * divisor, divisor)


def converted_amount(amount: int, rate: Rate, rounding: Rounding) -> int:
    """Return what ``convert`` rounds to, without what rounding took; raises ConversionOverflowError."""
    if not 0 <= amount <= U128_MAX:
        raise ConversionOverflowError(amount, str(rate))
    product = amount * rate.numerator
    whole = product // rate.denominator if rounding is Rounding.DOWN else divide(product, rate.denominator, rounding)
    if whole > U128_MAX:
        raise ConversionOverflowError(amount, str(rate))
    return whole


def convert(amount: int, rate: Rate, rounding: Rounding) -> Converted:
    """Return what ``amount`` source minor units are in target minor units; raises ConversionOverflowError."""
    return _scaled(amount, rate.numerator, rate.denominator, rounding, rate)


def cost_of(target_amount: int, rate: Rate, rounding: Rounding) -> Converted:
    """Return what ``target_amount`` target minor units are in source minor units; raises ConversionOverflowError.

    This is plain division by the rate; what one must lock so that a quote delivers an amount is ``source_needed``.
    """
    return _scaled(target_amount, rate.denominator, rate.numerator, rounding, rate)


def source_needed(target_amount: int, rate: Rate, rounding: Rounding) -> int:
    """Return the least source amount that ``convert`` turns into at least ``target_amount`` under ``rounding``.

    Raises ConversionOverflowError. Zero needs zero.
    """
    if target_amount == 0:
        return 0
    if rounding is Rounding.DOWN:
        needed = -(-target_amount * rate.denominator // rate.numerator)
        if not 0 < target_amount <= U128_MAX or needed > U128_MAX:
            raise ConversionOverflowError(target_amount, str(rate))
        return needed
    if rounding is Rounding.UP:
        # ceil(c * r) >= t exactly when c * r > t - 1.
        return cost_of(target_amount - 1, rate, Rounding.DOWN).amount + 1
    # Half to even: c * r >= t - 1/2, where the tie itself reaches t only when t is even.
    halves = (2 * target_amount - 1) * rate.denominator
    least, rest = divmod(halves, 2 * rate.numerator)
    needed = least if rest == 0 and target_amount & 1 == 0 else least + 1
    if not 0 < needed <= U128_MAX:
        raise ConversionOverflowError(target_amount, str(rate))
    return needed
