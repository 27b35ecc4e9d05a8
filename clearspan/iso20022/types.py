"""What an ISO 20022 file says, as plain values: a message, its payments, and what became of them.

Texts are as the file writes them, "" where an optional element is absent. Amounts are integers in minor units.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, datetime

__all__ = [
    "NAMESPACE_PREFIX",
    "AccountScheme",
    "BusinessHeader",
    "Message",
    "MessageKind",
    "Outcome",
    "OutcomeStatus",
    "Payment",
]

NAMESPACE_PREFIX = "urn:iso:std:iso:20022:tech:xsd:"


class MessageKind(StrEnum):
    """The two messages that move money here. The value is the message definition identifier."""

    CUSTOMER_CREDIT_TRANSFER = "pacs.008.001.08"
    INSTITUTION_CREDIT_TRANSFER = "pacs.009.001.08"

    @property
    def namespace(self) -> str:
        """XML namespace of its Document."""
        return NAMESPACE_PREFIX + self.value

    @property
    def body(self) -> str:
        """Local name of the element inside Document."""
        return "FIToFICstmrCdtTrf" if self is MessageKind.CUSTOMER_CREDIT_TRANSFER else "FICdtTrf"


class AccountScheme(StrEnum):
    """Where an account's text stands in the message, which decides how it may name a ledger account."""

    NONE = "none"  # no account, and no BIC to stand for it
    OTHER = "other"  # Id/Othr/Id: an account id of the ledger, or an alias
    IBAN = "iban"  # Id/IBAN: only an alias
    BIC = "bic"  # an institution without an account element: its BIC, only an alias


@dataclass(frozen=True, slots=True)
class BusinessHeader:
    """The business application header (head.001.001.02) in front of a CBPR+ message.

    sender and receiver are BICs ("" where the header names no institution). service such as "swift.cbprplus.03".
    copy is "", "COPY", "CODU" or "DUPL"; possible_duplicate is the sender's own flag.
    """

    sender: str
    receiver: str
    business_message_id: str
    definition: str
    created_at: datetime
    service: str = ""
    copy: str = ""
    possible_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Payment:
    """One CdtTrfTxInf.

    index counts from 0 in its message. uetr is the UUID as a 128-bit integer, None where absent. amount is the
    interbank settlement amount in minor units of currency, > 0. Agents are BICs. For an institution transfer debtor
    and creditor are the institutions, their accounts those of the institution or, missing, its agent's, or its BIC (the
    scheme says which). remittance joins the unstructured lines with a line feed. attachment_hash is the SHA-256 (32
    bytes) of the element CdtTrfTxInf in exclusive canonical XML without comments; payments compare without it.
    """

    kind: MessageKind
    index: int
    instruction_id: str
    end_to_end_id: str
    transaction_id: str
    uetr: int | None
    currency: str
    amount: int
    settlement_date: date
    debtor_agent: str
    creditor_agent: str
    debtor_account: str
    creditor_account: str
    debtor_name: str = ""
    creditor_name: str = ""
    remittance: str = ""
    purpose_code: str = ""
    category_purpose: str = ""
    charge_bearer: str = ""
    instructing_agent: str = ""
    instructed_agent: str = ""
    debtor_account_scheme: AccountScheme = AccountScheme.OTHER
    creditor_account_scheme: AccountScheme = AccountScheme.OTHER
    attachment_hash: bytes = field(default=bytes(32), compare=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One pacs.008 or pacs.009 with all its payments, checked: counts and sums agree with what the header claims.

    namespace ends in the version. control_sum is the header's text, "" where absent (payments in several currencies
    have no common unit). settlement_method is INDA, INGA, COVE or CLRG. header is None for a plain Document.
    """

    kind: MessageKind
    namespace: str
    message_id: str
    created_at: datetime
    transaction_count: int
    control_sum: str
    settlement_method: str
    payments: tuple[Payment, ...]
    header: BusinessHeader | None = None


class OutcomeStatus(StrEnum):
    """What became of a payment. The value is the transaction status of a pacs.002."""

    ACCEPTED = "ACSC"
    IN_PROCESS = "ACSP"  # debited, the credit is on its way to another shard
    REJECTED = "RJCT"
    PENDING = "PDNG"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to one payment: its index, what became of it, and for a no the ISO reason and words for a person."""

    payment_index: int
    status: OutcomeStatus
    reason_iso: str = ""
    text: str = ""
