"""Refusals of the ISO 20022 edge: a closed list of codes, each with an ISO reason and what to do next.

IsoError (Exception)
  the only exception that reading a file, or turning its payments into instructions, raises on any input.

One error refuses the whole file, before anything is signed. Codes are stable; names are never reused.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["IsoCode", "IsoError"]


class IsoCode(StrEnum):
    """Why a file was refused. The value is the stable name that programs match on."""

    XML_MALFORMED = "xml_malformed"
    XML_DOCTYPE_REFUSED = "xml_doctype_refused"
    XML_TOO_LARGE = "xml_too_large"
    XML_TOO_DEEP = "xml_too_deep"
    TRANSACTIONS_TOO_MANY = "transactions_too_many"
    MESSAGE_UNSUPPORTED = "message_unsupported"
    MESSAGE_VERSION_UNSUPPORTED = "message_version_unsupported"
    ELEMENT_MISSING = "element_missing"
    ELEMENT_INVALID = "element_invalid"
    COUNT_MISMATCH = "count_mismatch"
    CONTROL_SUM_MISMATCH = "control_sum_mismatch"
    AMOUNT_SCALE_EXCEEDED = "amount_scale_exceeded"
    CURRENCY_UNKNOWN = "currency_unknown"
    UETR_INVALID = "uetr_invalid"


# The reason for a status report (ISO 20022 external status reason codes) and the next step, unless the place of the
# error knows better: an account says AC01, a date DT01, a BIC RC01.
_DEFAULTS: dict[IsoCode, tuple[str, str]] = {
    IsoCode.XML_MALFORMED: ("FF01", "send the file again as well-formed XML in UTF-8"),
    IsoCode.XML_DOCTYPE_REFUSED: ("FF01", "send the file without a document type declaration and without entities"),
    IsoCode.XML_TOO_LARGE: ("FF01", "split the payments over several files, each with its own message id"),
    IsoCode.XML_TOO_DEEP: ("FF01", "send the message in the structure of its published schema"),
    IsoCode.TRANSACTIONS_TOO_MANY: ("AM18", "split the payments over several files, each with its own message id"),
    IsoCode.MESSAGE_UNSUPPORTED: ("FF01", "send the payments as pacs.008.001.08 or pacs.009.001.08"),
    IsoCode.MESSAGE_VERSION_UNSUPPORTED: ("FF01", "convert the message to version .001.08 and send it again"),
    IsoCode.ELEMENT_MISSING: ("CH21", "add the element and send the file again"),
    IsoCode.ELEMENT_INVALID: ("CH16", "correct the element and send the file again"),
    IsoCode.COUNT_MISMATCH: ("AM18", "check that no payment was lost, correct NbOfTxs and send the file again"),
    IsoCode.CONTROL_SUM_MISMATCH: ("AM10", "check that no amount was changed, correct the sum and send the file again"),
    IsoCode.AMOUNT_SCALE_EXCEEDED: ("CH20", "write the amount with no more digits than the currency has"),
    IsoCode.CURRENCY_UNKNOWN: ("AM11", "write the currency as an active ISO 4217 code"),
    IsoCode.UETR_INVALID: ("CH16", "give the payment a UETR: a lower-case UUID of version 4"),
}


class IsoError(Exception):
    """The file is refused whole; nothing in it was executed.

    code: stable name. reason_iso: ISO 20022 external status reason for a pacs.002. where: path of the element and its
    line, empty when the file as a whole is meant. message: what is wrong. next_step: what the sender does about it.
    payment_index: the payment concerned, counted from 0, or None. end_to_end_id, message_id, message_name: what was
    read of the file before the error, empty when it did not come that far.
    """

    def __init__(
        self, code: IsoCode, message: str, *, where: str = "", reason_iso: str = "", next_step: str = ""
    ) -> None:
        """Take the reason and the next step from the code's defaults where the caller names none."""
        super().__init__(message)
        default_reason, default_step = _DEFAULTS[code]
        self.code = code
        self.message = message
        self.where = where
        self.reason_iso = reason_iso or default_reason
        self.next_step = next_step or default_step
        self.payment_index: int | None = None
        self.end_to_end_id = ""
        self.message_id = ""
        self.message_name = ""

    def __str__(self) -> str:
        """One line for a person: code, payment, place, what is wrong, next step."""
        parts = [f"{self.code.value} ({self.reason_iso})"]
        if self.payment_index is not None:
            known = f", end-to-end id {self.end_to_end_id!r}" if self.end_to_end_id else ""
            parts.append(f"payment {self.payment_index + 1}{known}")
        if self.where:
            parts.append(self.where)
        return f"{', '.join(parts)}: {self.message}; next: {self.next_step}"
