"""Swaps in ISO 20022: a pacs.009 in the payee's currency asks for one, and its pacs.002 says what became of it.

The amount of such a payment is what reaches the creditor, on the ledger of its currency; which ledger the debtor pays
on is the order's to say, since the message names one currency only. The UETR is the swap's from end to end: it stands
in the first leg's record, in the terms, and in the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from clearspan.iso20022.errors import IsoCode, IsoError
from clearspan.iso20022.instruction import instructions
from clearspan.iso20022.types import MessageKind, Outcome, OutcomeStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clearspan.iso20022.types import Message

__all__ = ["SwapInstruction", "swap_instructions", "swap_outcome"]

_NO_ALIASES: Final[Mapping[str, int]] = MappingProxyType({})
_OTHER_REASON: Final = "NARR"
_TEXT_MAX: Final = 500

# What the bridge calls the end of a swap, as the status of the payment that asked for it.
_STATUSES: Final[Mapping[str, OutcomeStatus]] = MappingProxyType(
    {
        "claimed": OutcomeStatus.ACCEPTED,
        "refunded": OutcomeStatus.REJECTED,
        "refused": OutcomeStatus.REJECTED,
        # Its creditor was paid; that the debtor's lock came back as well is between bridge and provider.
        "kept": OutcomeStatus.ACCEPTED,
        "": OutcomeStatus.PENDING,
    }
)
# Refunded by its timelock, where no refusal says more.
_TOO_LATE: Final = "TM01"


@dataclass(frozen=True, slots=True)
class SwapInstruction:
    """One payment as a swap: ``amount`` in minor units must reach the creditor on ledger ``target_ledger``."""

    index: int
    uetr: int
    debit_account: int
    credit_account: int
    target_ledger: int
    amount: int


def swap_instructions(message: Message, aliases: Mapping[str, int] = _NO_ALIASES) -> tuple[SwapInstruction, ...]:
    """Return every payment of a pacs.009 as a swap, in order, or raise IsoError for all of them.

    A pacs.008 is refused: a customer's payment is one between accounts of one ledger here.
    """
    if message.kind is not MessageKind.INSTITUTION_CREDIT_TRANSFER:
        raise IsoError(
            IsoCode.MESSAGE_UNSUPPORTED,
            f"{message.kind.value} asks for no swap",
            next_step=f"send a {MessageKind.INSTITUTION_CREDIT_TRANSFER.value}",
        )
    found = instructions(message, aliases)
    return tuple(
        SwapInstruction(index, each.user_data, each.debit_account, each.credit_account, each.ledger, each.amount)
        for index, each in enumerate(found)
    )


def swap_outcome(index: int, outcome: str, *, reason_iso: str = "", text: str = "") -> Outcome:
    """Return what a pacs.002 says of a swap by the bridge's word for its end, empty while it runs."""
    status = _STATUSES.get(outcome, OutcomeStatus.PENDING)
    if status is not OutcomeStatus.REJECTED:
        return Outcome(index, status, "", text[:_TEXT_MAX])
    reason = reason_iso or (_TOO_LATE if outcome == "refunded" else _OTHER_REASON)
    return Outcome(index, status, reason, text[:_TEXT_MAX])
