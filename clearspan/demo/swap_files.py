"""The files of a cross-currency payment: a bank's pacs.009 that asks for it and the pacs.002 that answers, by its UETR.

It promises that the swap is made of what stands in the file that was written, and that the answer is read back before
it counts.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from clearspan.iso20022 import (
    MessageKind,
    Payment,
    format_account,
    payments,
    read,
    status_report,
    swap_instructions,
    swap_outcome,
)

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.iso20022 import Message, SwapInstruction
    from clearspan.v1 import bridge_pb2

__all__ = ["PaymentFile"]

_DEBTOR_AGENT: Final = "CLSPCNA0XXX"
_CREDITOR_AGENT: Final = "CLSPHKA0XXX"


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """One pacs.009 with one payment, as it was read back from its file."""

    path: Path
    message: Message
    wanted: SwapInstruction

    @classmethod
    def write(cls, folder: Path, currency: str, amount: int, debit_account: int, credit_account: int) -> PaymentFile:
        """Write the order for ``amount`` minor units to reach the creditor, under a new UETR, and read it."""
        folder.mkdir(parents=True, exist_ok=True)
        uetr, now = uuid.uuid4(), datetime.now(UTC)
        name = uetr.hex[:12]
        payment = Payment(
            kind=MessageKind.INSTITUTION_CREDIT_TRANSFER,
            index=0,
            instruction_id=f"I-{name}",
            end_to_end_id=f"E-{name}",
            transaction_id=f"T-{name}",
            uetr=uetr.int,
            currency=currency,
            amount=amount,
            settlement_date=now.date(),
            debtor_agent=_DEBTOR_AGENT,
            creditor_agent=_CREDITOR_AGENT,
            debtor_account=format_account(debit_account),
            creditor_account=format_account(credit_account),
        )
        path = folder / f"{uetr}.pacs009.xml"
        path.write_bytes(payments(payment.kind, f"M-{name}", now, [payment]))
        message = read(path.read_bytes())
        (wanted,) = swap_instructions(message)
        return cls(path, message, wanted)

    def answer(self, view: bridge_pb2.SwapView) -> str:
        """Write the pacs.002 to a swap that has ended beside the order; return its status code."""
        outcome = swap_outcome(0, view.outcome, text=view.timeline[-1].text if view.timeline else "")
        report = status_report(self.message, [outcome])
        self.path.with_name(self.path.name.replace("pacs009", "pacs002")).write_bytes(report)
        return outcome.status.value
