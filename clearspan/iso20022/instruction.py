"""From a payment to the fields of a transfer record: who pays whom how much, under which id. Nothing is signed here.

The id is the payment's UETR, so that the same payment is the same request however often and in whatever file it comes:
the ledger answers the repetition and never pays twice. The record carries the hash of the payment element, so
that a signature over the record is one over the payment's every detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from clearspan.currencies import currency_of
from clearspan.iso20022.accounts import resolve_account
from clearspan.iso20022.errors import IsoCode, IsoError
from clearspan.iso20022.types import AccountScheme, MessageKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clearspan.iso20022.types import Message, Payment

__all__ = ["PURPOSES", "Instruction", "instruction_fields", "instructions", "purpose_number"]

_NO_ALIASES: Mapping[str, int] = MappingProxyType({})
_CODE_CUSTOMER = 1
_CODE_INSTITUTION = 2

# ISO 20022 purpose and category purpose codes that have a number of their own in a record's `code`; numbers are never
# reused. A code that is not here keeps the message's own (1 or 2); the element behind the hash has it in any case.
PURPOSES: Mapping[str, int] = MappingProxyType(
    {
        "BEXP": 16,
        "BONU": 17,
        "CASH": 18,
        "CCRD": 19,
        "CHAR": 20,
        "COMC": 21,
        "COMM": 22,
        "CORT": 23,
        "DIVD": 24,
        "DIVI": 25,
        "EDUC": 26,
        "ELEC": 27,
        "EPAY": 28,
        "FCOL": 29,
        "FREX": 30,
        "GDDS": 31,
        "GIFT": 32,
        "GOVT": 33,
        "HEDG": 34,
        "INSU": 35,
        "INTC": 36,
        "INTE": 37,
        "LICF": 38,
        "LOAN": 39,
        "LOAR": 40,
        "NETT": 41,
        "OTHR": 42,
        "PENS": 43,
        "REFU": 44,
        "RENT": 45,
        "ROYA": 46,
        "SALA": 47,
        "SCVE": 48,
        "SECU": 49,
        "SSBE": 50,
        "SUBS": 51,
        "SUPP": 52,
        "SWEP": 53,
        "TAXS": 54,
        "TOPG": 55,
        "TRAD": 56,
        "TREA": 57,
        "VATX": 58,
        "WHLD": 59,
    }
)


@dataclass(frozen=True, slots=True)
class Instruction:
    """What a payment says in the terms of a transfer record (flags: kind plain, bit 6 for the attachment hash).

    id and user_data: the UETR as a 128-bit integer, most significant hexadecimal digit first. Accounts: 128-bit ids.
    amount: minor units. ledger: ISO 4217 number of the currency. code: purpose, 16 bits. attachment_hash: the
    record's `binding`, 32 bytes. Expiry and key are the signer's to choose.
    """

    id: int
    debit_account: int
    credit_account: int
    amount: int
    ledger: int
    code: int
    user_data: int
    attachment_hash: bytes


def instruction_fields(payment: Payment, aliases: Mapping[str, int] = _NO_ALIASES) -> Instruction:
    """Return the record fields of one payment; `aliases` maps account texts (IBAN, BIC, names) to account ids.

    Raises IsoError, naming the payment: element_missing without a UETR or an account, element_invalid (AC01) for an
    account that is neither an id nor an alias.
    """
    try:
        uetr = _uetr(payment)
        return Instruction(
            id=uetr,
            debit_account=_account(payment, "DbtrAcct", aliases),
            credit_account=_account(payment, "CdtrAcct", aliases),
            amount=payment.amount,
            ledger=currency_of(payment.currency).number,
            code=purpose_number(payment),
            user_data=uetr,
            attachment_hash=payment.attachment_hash,
        )
    except IsoError as error:
        error.payment_index = payment.index
        error.end_to_end_id = payment.end_to_end_id
        raise


def instructions(message: Message, aliases: Mapping[str, int] = _NO_ALIASES) -> tuple[Instruction, ...]:
    """Return the record fields of every payment of a message, in order, or raise IsoError for all of them.

    Also refuses, as message_unsupported, what informs and does not instruct: an advice (CBPR+ service `adv`) and a copy
    (CpyDplct COPY or CODU). Executing one would pay what its original has paid or will pay.
    """
    try:
        _check_instructs(message)
        return tuple(instruction_fields(payment, aliases) for payment in message.payments)
    except IsoError as error:
        error.message_id = message.message_id
        error.message_name = message.kind.value
        raise


def purpose_number(payment: Payment) -> int:
    """Return the record's code: by purpose, else by category purpose, else 1 (customer) or 2 (institution)."""
    customer = payment.kind is MessageKind.CUSTOMER_CREDIT_TRANSFER
    plain = _CODE_CUSTOMER if customer else _CODE_INSTITUTION
    return PURPOSES.get(payment.purpose_code, PURPOSES.get(payment.category_purpose, plain))


def _uetr(payment: Payment) -> int:
    if payment.uetr is None:
        raise IsoError(
            IsoCode.ELEMENT_MISSING,
            "UETR is missing: without it a repetition could not be told from a second payment",
            where=f"CdtTrfTxInf[{payment.index + 1}]/PmtId",
            next_step="give the payment a UETR and send the file again",
        )
    return payment.uetr


def _account(payment: Payment, element: str, aliases: Mapping[str, int]) -> int:
    debtor = element == "DbtrAcct"
    text = payment.debtor_account if debtor else payment.creditor_account
    scheme = payment.debtor_account_scheme if debtor else payment.creditor_account_scheme
    try:
        return resolve_account(text, scheme, aliases)
    except IsoError as error:
        error.where = f"CdtTrfTxInf[{payment.index + 1}]/{element if scheme is not AccountScheme.BIC else element[:-4]}"
        raise


def _check_instructs(message: Message) -> None:
    header = message.header
    if header is None:
        return
    if "adv" in header.service.split("."):
        what = f"the message is an advice (service {header.service})"
    elif header.copy in {"COPY", "CODU"}:
        what = f"the message is a copy (CpyDplct {header.copy})"
    else:
        return
    raise IsoError(
        IsoCode.MESSAGE_UNSUPPORTED,
        f"{what}: it informs and does not instruct",
        where="/AppHdr",
        next_step="send the original instruction; nothing of this file was executed",
    )
