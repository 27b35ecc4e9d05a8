"""A fee is its own transfer: what a corridor's rules ask for an amount, and to whom; never hidden in a rate.

It promises whole minor units of the corridor's source ledger, rounded up once for each rule, within the rule's bounds,
and never less for a larger amount. It moves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from bridge.refusals import BridgeCode, BridgeRefused
from engine.types import U128_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FEES_MAX", "AccountText", "AmountText", "Fee", "FeeRule", "account_of", "amount_of", "fee_total", "fees_of"]

FEES_MAX: Final = 4
"""Rules of one corridor: each is one more lock in every swap."""
_MILLION: Final = 1_000_000

AmountText = Annotated[str, msgspec.Meta(pattern=r"^(?:0|[1-9][0-9]{0,38})$")]
"""A count of minor units in decimal digits: JSON numbers would not survive every reader."""
AccountText = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
"""An account id of 128 bits as 32 hexadecimal digits."""


class FeeRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``flat`` plus ``per_million`` of the leg's amount, at least ``least``, at most ``most``, to ``account``.

    All in minor units of the corridor's source ledger, paid there by whoever locks that leg. Raises BridgeRefused
    (corridor_malformed) for bounds that leave no room.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    account: AccountText
    flat: AmountText
    per_million: Annotated[int, msgspec.Meta(ge=0, le=_MILLION)]
    least: AmountText
    most: AmountText

    def __post_init__(self) -> None:
        """Check that the bounds leave room."""
        amount_of(self.flat)
        if amount_of(self.least) > amount_of(self.most):
            raise BridgeRefused(BridgeCode.CORRIDOR_MALFORMED, f"fee {self.name}: least is above most")
        account_of(self.account)


class Fee(msgspec.Struct, frozen=True):
    """One fee of one payment: ``amount`` minor units of the source ledger to ``account``; never zero."""

    name: str
    account: int
    amount: int


def fees_of(rules: Sequence[FeeRule], amount: int) -> tuple[Fee, ...]:
    """Return what the rules ask for a leg of ``amount``, in their order; a fee of zero is none."""
    fees = []
    for rule in rules:
        asked = amount_of(rule.flat) + -(-amount * rule.per_million // _MILLION)
        fee = min(max(asked, amount_of(rule.least)), amount_of(rule.most))
        if fee > 0:
            fees.append(Fee(rule.name, account_of(rule.account), fee))
    return tuple(fees)


def fee_total(rules: Sequence[FeeRule], amount: int) -> int:
    """Return the sum of all fees on a leg of ``amount``."""
    return sum(fee.amount for fee in fees_of(rules, amount))


def amount_of(text: str) -> int:
    """Return the count of minor units that a document's text says; raises BridgeRefused above 128 bits."""
    amount = int(text)
    if amount > U128_MAX:
        raise BridgeRefused(BridgeCode.CORRIDOR_MALFORMED, f"{text} does not fit 128 bits")
    return amount


def account_of(text: str) -> int:
    """Return the account id that a document's text says; raises BridgeRefused for 0, which is no account."""
    account = int(text, 16)
    if account == 0:
        raise BridgeRefused(BridgeCode.CORRIDOR_MALFORMED, "account 0 is no account")
    return account
