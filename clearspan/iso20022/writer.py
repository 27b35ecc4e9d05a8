"""Values to ISO 20022 bytes: status reports (pacs.002.001.10) and credit transfers (pacs.008, pacs.009).

The same values give the same bytes. What is written follows the published schemas, elements in their order; the one
thing that comes from outside is the time of a report, where the caller does not give it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from lxml import etree

from clearspan.currencies import amount_text, currency_of
from clearspan.iso20022.schema import HEADER_NAMESPACE
from clearspan.iso20022.types import (
    NAMESPACE_PREFIX,
    AccountScheme,
    BusinessHeader,
    MessageKind,
    OutcomeStatus,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from clearspan.iso20022.errors import IsoError
    from clearspan.iso20022.types import Message, Outcome, Payment

__all__ = ["STATUS_REPORT", "Settlement", "payments", "refusal_report", "status_report"]

STATUS_REPORT = "pacs.002.001.10"

_TEXT_MAX = 105
_NOT_PROVIDED = "NOTPROVIDED"
_REASON = re.compile(r"[A-Z0-9]{4}")
_GROUP_PART = "PART"
# XML 1.0 has no way to write these; an answer that quotes one must still be a file.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Settlement:
    """The group header's settlement: method, and the date where it stands once for all payments (None: in each)."""

    method: str = "CLRG"
    date: date | None = None


_CLEARING = Settlement()


def payments(
    kind: MessageKind,
    message_id: str,
    created_at: datetime,
    transfers: Sequence[Payment],
    *,
    settlement: Settlement = _CLEARING,
    control_sum: bool = True,
    header: BusinessHeader | None = None,
) -> bytes:
    """Return a pacs.008 or pacs.009 with these payments in order, behind an AppHdr in an Envelope if `header` is given.

    Counts and sums are computed; attachment hashes and indexes of the payments are not looked at. Raises ValueError for
    no payments or for one of the other kind.
    """
    if not transfers or any(payment.kind is not kind for payment in transfers):
        message = f"a message {kind.value} needs payments, all of its kind"
        raise ValueError(message)
    document = _root(kind.namespace, "Document")
    body = _add(document, kind.body)
    group = _add(body, "GrpHdr")
    _add(group, "MsgId", message_id)
    _add(group, "CreDtTm", _instant(created_at))
    _add(group, "NbOfTxs", str(len(transfers)))
    if control_sum:
        _add(group, "CtrlSum", _sum_text(transfers))
    if settlement.date is not None:
        _add(group, "IntrBkSttlmDt", settlement.date.isoformat())
    _add(_add(group, "SttlmInf"), "SttlmMtd", settlement.method)
    for payment in transfers:
        _add_transfer(body, payment, date_in_group=settlement.date)
    return _serialised(document, header)


def status_report(
    message: Message, outcomes: Sequence[Outcome], *, report_id: str = "", created_at: datetime | None = None
) -> bytes:
    """Return the pacs.002.001.10 that answers a message: one TxInfAndSts for each outcome, in the order given.

    A payment without an outcome is left out and counts as pending in the group's status. report_id: by default derived
    from the message and the outcomes, so that the same answer has the same id. created_at: by default now. A message
    with a header is answered with one, sender and receiver exchanged. Raises ValueError for an outcome without its
    payment, a payment answered twice, or a rejection without a four-character ISO reason.
    """
    _check_outcomes(message, outcomes)
    at = created_at or datetime.now(UTC)
    name = report_id or _report_id(message.message_id, message.kind.value, *map(repr, outcomes))
    document, body = _report(name, at)
    group = _original_group(body, message.message_id, message.kind.value)
    _add(group, "OrgnlCreDtTm", _instant(message.created_at))
    _add(group, "OrgnlNbOfTxs", str(message.transaction_count))
    if message.control_sum:
        _add(group, "OrgnlCtrlSum", message.control_sum)
    _add(group, "GrpSts", _group_status(message, outcomes))
    for status in OutcomeStatus:
        count = sum(1 for outcome in outcomes if outcome.status is status)
        if count:
            per_status = _add(group, "NbOfTxsPerSts")
            _add(per_status, "DtldNbOfTxs", str(count))
            _add(per_status, "DtldSts", status.value)
    for outcome in outcomes:
        _add_outcome(body, message.payments[outcome.payment_index], outcome)
    return _serialised(document, _answering(message.header, name, at))


def refusal_report(error: IsoError, *, report_id: str = "", created_at: datetime | None = None) -> bytes:
    """Return the pacs.002.001.10 that refuses a whole file, as far as its message id and kind could be read.

    Payments are not answered one by one: none of them was executed. What could not be read is "NOTPROVIDED".
    """
    at = created_at or datetime.now(UTC)
    original, kind = error.message_id or _NOT_PROVIDED, error.message_name or _NOT_PROVIDED
    document, body = _report(report_id or _report_id(original, kind, str(error)), at)
    group = _original_group(body, original, kind)
    _add(group, "GrpSts", OutcomeStatus.REJECTED.value)
    _add_reason(group, error.reason_iso, str(error))
    return _serialised(document, None)


def _add_transfer(body: etree._Element, payment: Payment, *, date_in_group: date | None) -> None:
    customer = payment.kind is MessageKind.CUSTOMER_CREDIT_TRANSFER
    transfer = _add(body, "CdtTrfTxInf")
    ids = _add(transfer, "PmtId")
    _add_text(ids, "InstrId", payment.instruction_id)
    _add(ids, "EndToEndId", payment.end_to_end_id)
    _add_text(ids, "TxId", payment.transaction_id)
    if payment.uetr is not None:
        _add(ids, "UETR", str(UUID(int=payment.uetr)))
    if payment.category_purpose:
        _add(_add(_add(transfer, "PmtTpInf"), "CtgyPurp"), "Cd", payment.category_purpose)
    amount = _add(transfer, "IntrBkSttlmAmt", amount_text(payment.amount, payment.currency))
    amount.set("Ccy", payment.currency)
    if payment.settlement_date != date_in_group:
        _add(transfer, "IntrBkSttlmDt", payment.settlement_date.isoformat())
    _add_text(transfer, "ChrgBr", payment.charge_bearer)
    _add_agents(transfer, payment.instructing_agent, payment.instructed_agent)
    if customer:
        _add_text(_add(transfer, "Dbtr"), "Nm", payment.debtor_name)
        _add_account(transfer, "DbtrAcct", payment.debtor_account, payment.debtor_account_scheme)
        _add_institution(transfer, "DbtrAgt", payment.debtor_agent)
        _add_institution(transfer, "CdtrAgt", payment.creditor_agent)
        _add_text(_add(transfer, "Cdtr"), "Nm", payment.creditor_name)
    else:
        _add_institution(transfer, "Dbtr", payment.debtor_agent, payment.debtor_name)
        _add_account(transfer, "DbtrAcct", payment.debtor_account, payment.debtor_account_scheme)
        _add_institution(transfer, "Cdtr", payment.creditor_agent, payment.creditor_name)
    _add_account(transfer, "CdtrAcct", payment.creditor_account, payment.creditor_account_scheme)
    if payment.purpose_code:
        _add(_add(transfer, "Purp"), "Cd", payment.purpose_code)
    if payment.remittance:
        remittance = _add(transfer, "RmtInf")
        for line in payment.remittance.split("\n"):
            _add_text(remittance, "Ustrd", line)


def _add_outcome(body: etree._Element, payment: Payment, outcome: Outcome) -> None:
    status = _add(body, "TxInfAndSts")
    _add_text(status, "OrgnlInstrId", payment.instruction_id)
    _add(status, "OrgnlEndToEndId", payment.end_to_end_id)
    _add_text(status, "OrgnlTxId", payment.transaction_id)
    if payment.uetr is not None:
        _add(status, "OrgnlUETR", str(UUID(int=payment.uetr)))
    _add(status, "TxSts", outcome.status.value)
    if outcome.reason_iso or outcome.text:
        _add_reason(status, outcome.reason_iso, outcome.text)
    # Who was instructed answers, and who instructed is answered.
    _add_agents(status, payment.instructed_agent, payment.instructing_agent)


def _add_agents(parent: etree._Element, instructing: str, instructed: str) -> None:
    if instructing:
        _add_institution(parent, "InstgAgt", instructing)
    if instructed:
        _add_institution(parent, "InstdAgt", instructed)


def _add_institution(parent: etree._Element, name: str, bic: str, title: str = "") -> None:
    institution = _add(_add(parent, name), "FinInstnId")
    _add_text(institution, "BICFI", bic)
    _add_text(institution, "Nm", title)


def _add_account(parent: etree._Element, name: str, text: str, scheme: AccountScheme) -> None:
    if not text or scheme in {AccountScheme.NONE, AccountScheme.BIC}:
        return
    root = _add(_add(parent, name), "Id")
    if scheme is AccountScheme.IBAN:
        _add(root, "IBAN", text)
    else:
        _add(_add(root, "Othr"), "Id", text)


def _add_reason(parent: etree._Element, reason: str, text: str) -> None:
    information = _add(parent, "StsRsnInf")
    if reason:
        _add(_add(information, "Rsn"), "Cd", reason)
    for start in range(0, len(text), _TEXT_MAX):
        _add(information, "AddtlInf", text[start : start + _TEXT_MAX])


def _check_outcomes(message: Message, outcomes: Sequence[Outcome]) -> None:
    answered: set[int] = set()
    for outcome in outcomes:
        index = outcome.payment_index
        if not 0 <= index < len(message.payments) or index in answered:
            problem = f"payment {index} is not in the message, or answered twice"
            raise ValueError(problem)
        answered.add(index)
        needs_reason = outcome.status is OutcomeStatus.REJECTED
        if (outcome.reason_iso or needs_reason) and _REASON.fullmatch(outcome.reason_iso) is None:
            problem = f"payment {index}: {outcome.reason_iso!r} is no ISO 20022 status reason"
            raise ValueError(problem)


def _group_status(message: Message, outcomes: Sequence[Outcome]) -> str:
    statuses = {outcome.status for outcome in outcomes}
    if len(outcomes) < len(message.payments):
        statuses.add(OutcomeStatus.PENDING)
    accepted = {OutcomeStatus.ACCEPTED, OutcomeStatus.IN_PROCESS}
    for whole in OutcomeStatus:
        if statuses == {whole}:
            return whole.value
    if statuses == accepted:
        return OutcomeStatus.IN_PROCESS.value
    return _GROUP_PART if statuses & accepted else OutcomeStatus.PENDING.value


def _report(report_id: str, created_at: datetime) -> tuple[etree._Element, etree._Element]:
    namespace = NAMESPACE_PREFIX + STATUS_REPORT
    document = _root(namespace, "Document")
    body = _add(document, "FIToFIPmtStsRpt")
    group = _add(body, "GrpHdr")
    _add(group, "MsgId", report_id)
    _add(group, "CreDtTm", _instant(created_at))
    return document, body


def _original_group(body: etree._Element, message_id: str, message_name: str) -> etree._Element:
    group = _add(body, "OrgnlGrpInfAndSts")
    _add(group, "OrgnlMsgId", message_id)
    _add(group, "OrgnlMsgNmId", message_name)
    return group


def _report_id(*parts: str) -> str:
    return "STS" + sha256("\x1f".join(parts).encode()).hexdigest()[:32].upper()


def _answering(header: BusinessHeader | None, report_id: str, created_at: datetime) -> BusinessHeader | None:
    if header is None:
        return None
    return BusinessHeader(
        sender=header.receiver,
        receiver=header.sender,
        business_message_id=report_id,
        definition=STATUS_REPORT,
        created_at=created_at,
        service=header.service,
    )


def _header(header: BusinessHeader) -> etree._Element:
    element = _root(HEADER_NAMESPACE, "AppHdr")
    _add_institution(_add(element, "Fr"), "FIId", header.sender)
    _add_institution(_add(element, "To"), "FIId", header.receiver)
    _add(element, "BizMsgIdr", header.business_message_id)
    _add(element, "MsgDefIdr", header.definition)
    _add_text(element, "BizSvc", header.service)
    _add(element, "CreDt", _instant(header.created_at))
    _add_text(element, "CpyDplct", header.copy)
    if header.possible_duplicate:
        _add(element, "PssblDplct", "true")
    return element


def _serialised(document: etree._Element, header: BusinessHeader | None) -> bytes:
    root = document
    if header is not None:
        root = etree.Element("Envelope")
        root.append(_header(header))
        root.append(document)
    etree.indent(root, space=" ")
    body = etree.tostring(root, encoding="UTF-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body + b"\n"


def _sum_text(transfers: Sequence[Payment]) -> str:
    """Return the sum of the amounts in major units, whatever their currencies, without a superfluous digit."""
    scale = max(currency_of(payment.currency).scale for payment in transfers)
    total = sum(payment.amount * 10 ** (scale - currency_of(payment.currency).scale) for payment in transfers)
    digits = str(total).rjust(scale + 1, "0")
    return f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds" if at.microsecond else "seconds")


def _root(namespace: str, name: str) -> etree._Element:
    """Return an element whose default namespace is `namespace`, so that nothing below it needs a prefix."""
    return etree.fromstring(f'<{name} xmlns="{namespace}"/>')


def _add(parent: etree._Element, name: str, text: str = "") -> etree._Element:
    """Append an element of the parent's namespace; characters that XML cannot write become a question mark."""
    child = etree.SubElement(parent, parent.tag[: parent.tag.index("}") + 1] + name)
    if text:
        child.text = _NOT_XML.sub("?", text)
    return child


def _add_text(parent: etree._Element, name: str, text: str) -> None:
    if text:
        _add(parent, name, text)
