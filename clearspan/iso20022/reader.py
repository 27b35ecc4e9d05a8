"""ISO 20022 bytes to a checked message: every payment is understood, or the whole file is refused.

Understands pacs.008.001.08 and pacs.009.001.08, plain or behind a head.001.001.02 header in any envelope. Knows what
the schema says of every element that it uses, and the order of the elements in a transaction; knows no ledger,
account or balance, and sees one file at a time: a payment sent twice is for the ledger to recognise, by its id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from lxml import etree

from clearspan.currencies import (
    AmountInvalidError,
    AmountScaleExceededError,
    CurrencyUnknownError,
    currency_of,
    to_minor,
)
from clearspan.iso20022.document import (
    ReaderLimits,
    message_name,
    namespace_of,
    open_envelope,
    parse,
    shown,
)
from clearspan.iso20022.errors import IsoCode, IsoError
from clearspan.iso20022.nodes import (
    NAME_MAX,
    bic,
    code,
    date_of,
    datetime_of,
    identifier,
    leaf,
    refuse,
    uetr_of,
)
from clearspan.iso20022.schema import (
    HEADER,
    HEADER_AGENT,
    HEADER_INSTITUTION,
    HEADER_NAMESPACE,
    HEADER_PARTY,
    SCHEMAS,
    Schema,
)
from clearspan.iso20022.types import AccountScheme, BusinessHeader, Message, MessageKind, Payment

if TYPE_CHECKING:
    from datetime import date, datetime

    from lxml.etree import _Element

__all__ = ["ReaderLimits", "read"]

_ACCOUNT_MAX = 34
_COUNT_TEXT_MAX = 35
_SUM_TEXT_MAX = 40
_PURPOSE_MAX = 4
_SETTLEMENT_METHODS = frozenset({"INDA", "INGA", "COVE", "CLRG"})
_CHARGE_BEARERS = frozenset({"DEBT", "CRED", "SHAR", "SLEV"})
_COPIES = frozenset({"COPY", "CODU", "DUPL"})
_FLAGS = frozenset({"true", "false", "1", "0"})
_COUNT = re.compile(r"[0-9]{1,15}")
# A control sum has no currency, so it is compared at the finest unit that its 17 fraction digits can write.
_SUM_SCALE = 17
_SUM = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,17}))?")
_SUM_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class _Group:
    """The group header's own values, and those that stand for what a payment leaves out."""

    message_id: str
    created_at: datetime
    transaction_count: int
    count_element: _Element
    control_sum: str
    control_sum_element: _Element | None
    total: _Element | None
    settlement_date: date | None
    settlement_method: str
    category_purpose: str
    instructing_agent: str
    instructed_agent: str


_DEFAULT_LIMITS = ReaderLimits()


def read(data: bytes, limits: ReaderLimits = _DEFAULT_LIMITS) -> Message:
    """Return the message in `data` (one XML file in UTF-8), or raise IsoError; no other exception on any bytes.

    The error names the payment it was found in, and the message id as soon as that was read, so that a status report
    can answer it.
    """
    root = parse(data, limits)
    envelope = open_envelope(root)
    namespace = namespace_of(envelope.document)
    name = ""
    try:
        schema = _schema_of(namespace)
        name = message_name(namespace)
        header = None if envelope.header is None else _header(envelope.header, schema.kind)
        return _message(envelope.document, schema, header, limits)
    except IsoError as error:
        error.message_name = name
        raise


def _schema_of(namespace: str) -> Schema:
    schema = SCHEMAS.get(namespace)
    if schema is not None:
        return schema
    supported = " and ".join(kind.value for kind in MessageKind)
    found = f"namespace {shown(namespace)!r} is not supported; supported are {supported}"
    families = {kind.value.rpartition(".")[0].rpartition(".")[0] for kind in MessageKind}
    if any(message_name(namespace).startswith(f"{family}.") for family in families):
        raise IsoError(IsoCode.MESSAGE_VERSION_UNSUPPORTED, found)
    raise IsoError(IsoCode.MESSAGE_UNSUPPORTED, found)


def _header(element: _Element, kind: MessageKind) -> BusinessHeader:
    if namespace_of(element) != HEADER_NAMESPACE:
        message = f"header {shown(namespace_of(element))!r} is not supported; supported is head.001.001.02"
        refuse(
            IsoCode.MESSAGE_VERSION_UNSUPPORTED,
            element,
            message,
            next_step="send the header as head.001.001.02, or none",
        )
    found = HEADER.read(element)
    definition = identifier(found["MsgDefIdr"])
    if definition != kind.value:
        message = f"the header announces {shown(definition)!r}, the document is {kind.value}"
        refuse(IsoCode.ELEMENT_INVALID, found["MsgDefIdr"], message)
    return BusinessHeader(
        sender=_header_party(found["Fr"]),
        receiver=_header_party(found["To"]),
        business_message_id=identifier(found["BizMsgIdr"]),
        definition=definition,
        created_at=datetime_of(found["CreDt"]),
        service=identifier(found.get("BizSvc")),
        copy=code(found.get("CpyDplct"), _COPIES),
        possible_duplicate=code(found.get("PssblDplct"), _FLAGS) in {"true", "1"},
    )


def _header_party(element: _Element) -> str:
    institution = HEADER_PARTY.read(element).get("FIId")
    if institution is None:
        return ""
    return bic(HEADER_INSTITUTION.read(HEADER_AGENT.read(institution)["FinInstnId"]).get("BICFI"))


def _message(document: _Element, schema: Schema, header: BusinessHeader | None, limits: ReaderLimits) -> Message:
    body = schema.document.read(document)[schema.kind.body]
    parts = schema.body.read(body)
    group = _group(parts["GrpHdr"], schema)
    try:
        elements = list(body.iterchildren(parts["CdtTrfTxInf"].tag))
        if len(elements) > limits.transactions_max:
            message = f"the message has {len(elements)} payments, at most {limits.transactions_max} are read"
            refuse(IsoCode.TRANSACTIONS_TOO_MANY, body, message)
        if group.transaction_count != len(elements):
            message = f"NbOfTxs says {group.transaction_count}, the message has {len(elements)} payments"
            refuse(IsoCode.COUNT_MISMATCH, group.count_element, message)
        payments = tuple(_numbered(element, index, schema, group) for index, element in enumerate(elements))
        _check_control_sum(group, payments)
        _check_total(group, payments)
    except IsoError as error:
        error.message_id = group.message_id
        raise
    return Message(
        kind=schema.kind,
        namespace=schema.kind.namespace,
        message_id=group.message_id,
        created_at=group.created_at,
        transaction_count=group.transaction_count,
        control_sum=group.control_sum,
        settlement_method=group.settlement_method,
        payments=payments,
        header=header,
    )


def _group(element: _Element, schema: Schema) -> _Group:
    found = schema.group.read(element)
    count = leaf(found["NbOfTxs"], _COUNT_TEXT_MAX, reason_iso="AM18")
    if _COUNT.fullmatch(count) is None:
        refuse(IsoCode.ELEMENT_INVALID, found["NbOfTxs"], f"{shown(count)!r} is no count", reason_iso="AM18")
    control_sum = found.get("CtrlSum")
    settlement_date = found.get("IntrBkSttlmDt")
    return _Group(
        message_id=identifier(found["MsgId"]),
        created_at=datetime_of(found["CreDtTm"]),
        transaction_count=int(count),
        count_element=found["NbOfTxs"],
        control_sum="" if control_sum is None else leaf(control_sum, _SUM_TEXT_MAX, reason_iso="AM10"),
        control_sum_element=control_sum,
        total=found.get("TtlIntrBkSttlmAmt"),
        settlement_date=None if settlement_date is None else date_of(settlement_date),
        settlement_method=code(schema.settlement.read(found["SttlmInf"])["SttlmMtd"], _SETTLEMENT_METHODS),
        category_purpose=_category_purpose(found.get("PmtTpInf"), schema),
        instructing_agent=_agent(found.get("InstgAgt"), schema)[0],
        instructed_agent=_agent(found.get("InstdAgt"), schema)[0],
    )


def _numbered(element: _Element, index: int, schema: Schema, group: _Group) -> Payment:
    try:
        return _payment(element, index, schema, group)
    except IsoError as error:
        error.payment_index = index
        given = element.findtext(f".//{{{schema.kind.namespace}}}EndToEndId") or ""
        error.end_to_end_id = shown(given)
        raise


def _payment(element: _Element, index: int, schema: Schema, group: _Group) -> Payment:
    found = schema.transfer.read(element)
    get = found.get
    ids = schema.payment_id.read(found["PmtId"])
    currency, amount = _amount(found["IntrBkSttlmAmt"])
    debtor_agent, _ = _agent(get("DbtrAgt"), schema)
    creditor_agent, _ = _agent(get("CdtrAgt"), schema)
    debtor_account, debtor_scheme = _account(get("DbtrAcct"), schema)
    creditor_account, creditor_scheme = _account(get("CdtrAcct"), schema)
    if schema.kind is MessageKind.CUSTOMER_CREDIT_TRANSFER:
        debtor_name = _name(schema.party.read(found["Dbtr"]).get("Nm"))
        creditor_name = _name(schema.party.read(found["Cdtr"]).get("Nm"))
    else:
        debtor, debtor_name = _agent(found["Dbtr"], schema)
        creditor, creditor_name = _agent(found["Cdtr"], schema)
        debtor_agent = debtor_agent or debtor
        creditor_agent = creditor_agent or creditor
        if not debtor_account:
            debtor_account, debtor_scheme = _institution_account(get("DbtrAgtAcct"), debtor, schema)
        if not creditor_account:
            creditor_account, creditor_scheme = _institution_account(get("CdtrAgtAcct"), creditor, schema)
    remittance = get("RmtInf")
    purpose = get("Purp")
    return Payment(
        kind=schema.kind,
        index=index,
        instruction_id=identifier(ids.get("InstrId")),
        end_to_end_id=identifier(ids["EndToEndId"]),
        transaction_id=identifier(ids.get("TxId")),
        uetr=uetr_of(ids.get("UETR")),
        currency=currency,
        amount=amount,
        settlement_date=_settlement_date(element, get("IntrBkSttlmDt"), group),
        debtor_agent=debtor_agent,
        creditor_agent=creditor_agent,
        debtor_account=debtor_account,
        creditor_account=creditor_account,
        debtor_name=debtor_name,
        creditor_name=creditor_name,
        remittance="" if remittance is None else _remittance(remittance, schema),
        purpose_code="" if purpose is None else _code_of(purpose, schema),
        category_purpose=_category_purpose(get("PmtTpInf"), schema) or group.category_purpose,
        charge_bearer=code(get("ChrgBr"), _CHARGE_BEARERS),
        instructing_agent=_agent(get("InstgAgt"), schema)[0] or group.instructing_agent,
        instructed_agent=_agent(get("InstdAgt"), schema)[0] or group.instructed_agent,
        debtor_account_scheme=debtor_scheme,
        creditor_account_scheme=creditor_scheme,
        attachment_hash=_attachment_hash(element),
    )


def _attachment_hash(element: _Element) -> bytes:
    canonical = etree.tostring(element, method="c14n", exclusive=True, with_comments=False, with_tail=False)
    return sha256(canonical).digest()


def _settlement_date(payment: _Element, element: _Element | None, group: _Group) -> date:
    if element is not None:
        return date_of(element)
    if group.settlement_date is None:
        refuse(IsoCode.ELEMENT_MISSING, payment, "IntrBkSttlmDt is missing here and in GrpHdr")
    return group.settlement_date


def _amount(element: _Element) -> tuple[str, int]:
    """Return currency and minor units of an amount element; zero is refused."""
    currency = element.get("Ccy")
    if currency is None:
        refuse(IsoCode.ELEMENT_MISSING, element, "the attribute Ccy is missing", reason_iso="AM11")
    if len(element):
        refuse(IsoCode.ELEMENT_INVALID, element, "text is expected here, not elements", reason_iso="AM12")
    try:
        amount = to_minor(element.text or "", currency)
    except CurrencyUnknownError:
        refuse(IsoCode.CURRENCY_UNKNOWN, element, f"{shown(currency)!r} is no active ISO 4217 currency")
    except AmountScaleExceededError as error:
        refuse(IsoCode.AMOUNT_SCALE_EXCEEDED, element, error.reason)
    except AmountInvalidError as error:
        message = f"{shown(error.text)!r} {currency}: {error.reason}"
        refuse(IsoCode.ELEMENT_INVALID, element, message, reason_iso="AM12")
    if amount == 0:
        refuse(IsoCode.ELEMENT_INVALID, element, "the amount is zero", reason_iso="AM01")
    return currency, amount


def _agent(element: _Element | None, schema: Schema) -> tuple[str, str]:
    """Return BIC and name of an institution, "" for what is absent."""
    if element is None:
        return "", ""
    found = schema.institution.read(schema.agent.read(element)["FinInstnId"])
    return bic(found.get("BICFI")), _name(found.get("Nm"))


def _name(element: _Element | None) -> str:
    return "" if element is None else leaf(element, NAME_MAX)


def _account(element: _Element | None, schema: Schema) -> tuple[str, AccountScheme]:
    """Return the text of an account and where it stood; a choice of exactly one identification."""
    if element is None:
        return "", AccountScheme.NONE
    root = schema.account.read(element)["Id"]
    choice = schema.account_id.read(root)
    if len(choice) != 1:
        refuse(IsoCode.ELEMENT_INVALID, root, "an account has either an IBAN or an Othr/Id", reason_iso="AC01")
    if "IBAN" in choice:
        return identifier(choice["IBAN"], _ACCOUNT_MAX, reason_iso="AC01"), AccountScheme.IBAN
    found = schema.account_other.read(choice["Othr"])["Id"]
    return identifier(found, _ACCOUNT_MAX, reason_iso="AC01"), AccountScheme.OTHER


def _institution_account(agent_account: _Element | None, own_bic: str, schema: Schema) -> tuple[str, AccountScheme]:
    """Return what stands for an institution's missing account: its account with its agent, else its BIC."""
    text, scheme = _account(agent_account, schema)
    if text:
        return text, scheme
    return own_bic, AccountScheme.BIC if own_bic else AccountScheme.NONE


def _category_purpose(element: _Element | None, schema: Schema) -> str:
    if element is None:
        return ""
    category = schema.payment_type.read(element).get("CtgyPurp")
    return "" if category is None else _code_of(category, schema)


def _code_of(element: _Element, schema: Schema) -> str:
    """Return the code of a choice of code and proprietary text, "" for the latter."""
    found = schema.choice.read(element)
    if len(found) != 1:
        refuse(IsoCode.ELEMENT_INVALID, element, "one of Cd and Prtry is expected")
    return identifier(found.get("Cd"), _PURPOSE_MAX)


def _remittance(element: _Element, schema: Schema) -> str:
    schema.remittance.read(element)
    return "\n".join(leaf(line, NAME_MAX) for line in element.iterchildren(schema.remittance_line))


def _check_control_sum(group: _Group, payments: tuple[Payment, ...]) -> None:
    """Compare CtrlSum, a sum of major units whatever their currency, with the payments: exact integers."""
    element = group.control_sum_element
    if element is None:
        return
    match = _SUM.fullmatch(group.control_sum)
    if match is None or len(match.group(1).lstrip("0")) + len(match.group(2) or "") > _SUM_DIGITS_MAX:
        message = f"{shown(group.control_sum)!r} is no plain decimal number of at most {_SUM_DIGITS_MAX} digits"
        refuse(IsoCode.ELEMENT_INVALID, element, message, reason_iso="AM10")
    claimed = int(match.group(1) + (match.group(2) or "").ljust(_SUM_SCALE, "0"))
    found = sum(payment.amount * 10 ** (_SUM_SCALE - currency_of(payment.currency).scale) for payment in payments)
    if claimed != found:
        digits = str(found).rjust(_SUM_SCALE + 1, "0")
        exact = f"{digits[:-_SUM_SCALE]}.{digits[-_SUM_SCALE:]}".rstrip("0").rstrip(".")
        message = f"CtrlSum says {group.control_sum}, the payments add up to {exact}"
        refuse(IsoCode.CONTROL_SUM_MISMATCH, element, message)


def _check_total(group: _Group, payments: tuple[Payment, ...]) -> None:
    """Compare TtlIntrBkSttlmAmt, which has a currency, with payments that must then all be in it."""
    if group.total is None:
        return
    currency, claimed = _amount(group.total)
    if any(payment.currency != currency for payment in payments):
        refuse(IsoCode.CONTROL_SUM_MISMATCH, group.total, f"the total is in {currency}, some payments are not")
    found = sum(payment.amount for payment in payments)
    if claimed != found:
        message = f"the total says {claimed} minor units of {currency}, the payments add up to {found}"
        refuse(IsoCode.CONTROL_SUM_MISMATCH, group.total, message)
