"""Currencies: code, number and scale of every active ISO 4217 currency, and exact text-to-integer amounts.

Money here is an integer count of minor units. Text becomes money by moving the decimal point, never by arithmetic
that could round: digits beyond a currency's scale are refused. This module knows no ledger and no XML.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "AMOUNT_DIGITS_MAX",
    "CURRENCIES",
    "AmountInvalidError",
    "AmountScaleExceededError",
    "Currency",
    "CurrencyError",
    "CurrencyUnknownError",
    "amount_text",
    "currency_of",
    "currency_of_number",
    "format_amount",
    "to_minor",
]

# ISO 20022 gives an amount at most 18 significant digits, so any amount fits an unsigned 128-bit integer at any scale.
AMOUNT_DIGITS_MAX = 18
# A bound on the text itself, so that leading zeros cannot make a long number cheap to send and dear to read.
_AMOUNT_TEXT_MAX = 40
_AMOUNT = re.compile(r"([0-9]+)(?:\.([0-9]+))?")

# Active codes of ISO 4217 by scale, each followed by its number; edition published 2026-01-01. Metals, baskets and
# test codes have no minor unit there and therefore no place here.
_BY_SCALE: dict[int, str] = {
    0: (
        "BIF108 CLP152 DJF262 GNF324 ISK352 JPY392 KMF174 KRW410 PYG600 RWF646 UGX800 UYI940 "
        "VND704 VUV548 XAF950 XOF952 XPF953"
    ),
    2: (
        "AED784 AFN971 ALL008 AMD051 AOA973 ARS032 AUD036 AWG533 AZN944 BAM977 BBD052 BDT050 "
        "BMD060 BND096 BOB068 BOV984 BRL986 BSD044 BTN064 BWP072 BYN933 BZD084 CAD124 CDF976 "
        "CHE947 CHF756 CHW948 CNY156 COP170 COU970 CRC188 CUP192 CVE132 CZK203 DKK208 DOP214 "
        "DZD012 EGP818 ERN232 ETB230 EUR978 FJD242 FKP238 GBP826 GEL981 GHS936 GIP292 GMD270 "
        "GTQ320 GYD328 HKD344 HNL340 HTG332 HUF348 IDR360 ILS376 INR356 IRR364 JMD388 KES404 "
        "KGS417 KHR116 KPW408 KYD136 KZT398 LAK418 LBP422 LKR144 LRD430 LSL426 MAD504 MDL498 "
        "MGA969 MKD807 MMK104 MNT496 MOP446 MRU929 MUR480 MVR462 MWK454 MXN484 MXV979 MYR458 "
        "MZN943 NAD516 NGN566 NIO558 NOK578 NPR524 NZD554 PAB590 PEN604 PGK598 PHP608 PKR586 "
        "PLN985 QAR634 RON946 RSD941 RUB643 SAR682 SBD090 SCR690 SDG938 SEK752 SGD702 SHP654 "
        "SLE925 SOS706 SRD968 SSP728 STN930 SVC222 SYP760 SZL748 THB764 TJS972 TMT934 TOP776 "
        "TRY949 TTD780 TWD901 TZS834 UAH980 USD840 USN997 UYU858 UZS860 VED926 VES928 WST882 "
        "XAD396 XCD951 XCG532 YER886 ZAR710 ZMW967 ZWG924"
    ),
    3: "BHD048 IQD368 JOD400 KWD414 LYD434 OMR512 TND788",
    4: "CLF990 UYW927",
}


class CurrencyError(ValueError):
    """A currency or an amount that cannot be taken.

    CurrencyError
      CurrencyUnknownError
      AmountInvalidError
        AmountScaleExceededError
    """


class CurrencyUnknownError(CurrencyError):
    """No active ISO 4217 currency has this code (or number)."""

    def __init__(self, currency: str) -> None:
        """Keep the code or number that was asked for."""
        super().__init__(f"{currency!r} is no active ISO 4217 currency with a minor unit")
        self.currency = currency


class AmountInvalidError(CurrencyError):
    """The text is no plain decimal number of at most 18 digits."""

    def __init__(self, text: str, currency: str, reason: str) -> None:
        """Keep the text as found, cut to a length that is safe to show."""
        shown = text if len(text) <= _AMOUNT_TEXT_MAX else text[:_AMOUNT_TEXT_MAX] + "…"
        super().__init__(f"amount {shown!r} {currency}: {reason}")
        self.text = shown
        self.currency = currency
        self.reason = reason


class AmountScaleExceededError(AmountInvalidError):
    """The text has more digits after the point than the currency has; it is refused, not rounded."""


@dataclass(frozen=True, slots=True)
class Currency:
    """One currency: its three-letter code, its ISO 4217 number (also the ledger's), its count of minor-unit digits."""

    code: str
    number: int
    scale: int


def _table() -> dict[str, Currency]:
    found = (
        Currency(entry[:3], int(entry[3:]), scale) for scale, entries in _BY_SCALE.items() for entry in entries.split()
    )
    return {currency.code: currency for currency in sorted(found, key=lambda currency: currency.code)}


CURRENCIES: dict[str, Currency] = _table()
_BY_NUMBER: dict[int, Currency] = {currency.number: currency for currency in CURRENCIES.values()}


def currency_of(code: str) -> Currency:
    """Return the currency of a three-letter code. Raises CurrencyUnknownError."""
    try:
        return CURRENCIES[code]
    except KeyError:
        raise CurrencyUnknownError(code) from None


def currency_of_number(number: int) -> Currency:
    """Return the currency of an ISO 4217 number, such as 156. Raises CurrencyUnknownError."""
    try:
        return _BY_NUMBER[number]
    except KeyError:
        raise CurrencyUnknownError(str(number)) from None


def to_minor(text: str, currency: str) -> int:
    """Return the count of minor units that `text` writes in major units: "1234.5" CNY is 123450.

    Only ASCII digits and at most one point between digits: no sign, space, exponent or grouping. Raises
    CurrencyUnknownError, AmountScaleExceededError for digits beyond the scale (zeros too), else AmountInvalidError.
    """
    scale = currency_of(currency).scale
    match = _AMOUNT.fullmatch(text) if len(text) <= _AMOUNT_TEXT_MAX else None
    if match is None:
        raise AmountInvalidError(text, currency, "not a plain decimal number")
    whole, fraction = match.group(1), match.group(2) or ""
    if len(fraction) > scale:
        raise AmountScaleExceededError(
            text, currency, f"{len(fraction)} digits after the point, {currency} has {scale}"
        )
    if len(whole.lstrip("0")) + len(fraction) > AMOUNT_DIGITS_MAX:
        raise AmountInvalidError(text, currency, f"more than {AMOUNT_DIGITS_MAX} digits")
    return int(whole + fraction.ljust(scale, "0"))


def amount_text(minor: int, currency: str) -> str:
    """Return minor units as a file writes them: 123450 CNY is "1234.50", 7 JPY is "7". The inverse of to_minor.

    Raises CurrencyUnknownError; ValueError for a negative count, which no amount has.
    """
    if minor < 0:
        message = f"an amount is a count of minor units, not {minor}"
        raise ValueError(message)
    scale = currency_of(currency).scale
    digits = str(minor).rjust(scale + 1, "0")
    return f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits


def format_amount(minor: int, currency: str) -> str:
    """Return minor units for a person to read: 123456 CNY is "1,234.56 CNY". A net position may be negative."""
    whole, point, fraction = amount_text(abs(minor), currency).partition(".")
    sign = "-" if minor < 0 else ""
    return f"{sign}{int(whole):,}{point}{fraction} {currency}"
