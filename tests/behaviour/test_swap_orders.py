"""Swaps in ISO 20022: what a pacs.009 asks for, and what its pacs.002 says of each end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from clearspan.iso20022 import (
    IsoError,
    MessageKind,
    OutcomeStatus,
    Payment,
    format_account,
    payments,
    read,
    status_report,
    swap_instructions,
    swap_outcome,
)
from engine.record import ordinary_account_id

PAYER, PAYEE = ordinary_account_id(6001, 1), ordinary_account_id(7001, 1)
UETR = UUID("7a562c67-ca16-48ba-b074-65581be6f001")
PAYMENT = Payment(
    kind=MessageKind.INSTITUTION_CREDIT_TRANSFER, index=0, instruction_id="I1", end_to_end_id="E1", transaction_id="T1",
    uetr=UETR.int, currency="THB", amount=907_200, settlement_date=date(2026, 11, 22), debtor_agent="CLSPCNA0XXX",
    creditor_agent="CLSPTHA0XXX", debtor_account=format_account(PAYER), creditor_account=format_account(PAYEE),
)  # fmt: skip


def message(*transfers: Payment):
    data = payments(transfers[0].kind, "M1", datetime(2026, 11, 22, tzinfo=UTC), transfers)
    return read(data)


def test_a_pacs009_asks_for_what_must_arrive_under_its_uetr():
    """Goal: nothing of a payment is lost on its way to a swap. Method: a written file, read back."""
    (found,) = swap_instructions(message(PAYMENT))
    assert (found.debit_account, found.credit_account) == (PAYER, PAYEE)
    assert (found.target_ledger, found.amount, found.uetr) == (764, 907_200, UETR.int)


def test_a_customer_payment_asks_for_no_swap():
    """Goal: only an institution's payment crosses ledgers. Method: the same as a pacs.008."""
    customer = replace(PAYMENT, kind=MessageKind.CUSTOMER_CREDIT_TRANSFER, charge_bearer="SHAR")
    with pytest.raises(IsoError, match="asks for no swap"):
        swap_instructions(message(customer))


@pytest.mark.parametrize(
    ("outcome", "reason", "status", "said"),
    [
        ("claimed", "", OutcomeStatus.ACCEPTED, ""),
        ("refunded", "", OutcomeStatus.REJECTED, "TM01"),
        ("refunded", "AM02", OutcomeStatus.REJECTED, "AM02"),
        ("refused", "AGNT", OutcomeStatus.REJECTED, "AGNT"),
        ("refused", "", OutcomeStatus.REJECTED, "NARR"),
        # The creditor was paid, and nobody may be told that he was not; what was lost is a person's to tell.
        ("kept", "", OutcomeStatus.ACCEPTED, ""),
        ("lost", "", OutcomeStatus.PENDING, ""),
        ("", "", OutcomeStatus.PENDING, ""),
    ],
)
def test_every_end_of_a_swap_has_its_status(outcome, reason, status, said):
    """Goal: a bank hears in its own words what became of a swap. Method: each end, and the report's bytes."""
    found = swap_outcome(0, outcome, reason_iso=reason, text="because")
    assert (found.status, found.reason_iso) == (status, said)
    report = status_report(message(PAYMENT), [found], created_at=datetime(2026, 11, 22, tzinfo=UTC))
    assert str(UETR).encode() in report
    assert status.value.encode() in report
