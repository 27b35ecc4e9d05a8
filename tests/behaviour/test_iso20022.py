"""A clearing file becomes payments, or is refused whole with a code that says where and what to do."""

from __future__ import annotations

import time
import tomllib
from dataclasses import replace
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from lxml import etree

from clearspan.currencies import (
    CURRENCIES,
    AmountInvalidError,
    AmountScaleExceededError,
    CurrencyUnknownError,
    amount_text,
    currency_of,
    currency_of_number,
    format_amount,
    to_minor,
)
from clearspan.iso20022 import (
    AccountScheme,
    BusinessHeader,
    IsoCode,
    IsoError,
    MessageKind,
    Outcome,
    OutcomeStatus,
    Payment,
    ReaderLimits,
    Settlement,
    account_id,
    format_account,
    instruction_fields,
    instructions,
    outcome_of,
    parse_account,
    payments,
    read,
    read_directory,
    refusal_report,
    status_report,
)
from clearspan.iso20022.directory import DirectoryError, write_directory
from engine.codes import ResultCode
from engine.record import slot_of_account
from examples.make_payments import OPENING_BALANCE, UNKNOWN_SERIAL, example_files

EXAMPLES = Path(__file__).parents[2] / "examples" / "iso20022"
CUSTOMER = MessageKind.CUSTOMER_CREDIT_TRANSFER
INSTITUTION = MessageKind.INSTITUTION_CREDIT_TRANSFER
AT = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
UETR = 0x8A56_2C67_CA16_48BA_B074_65581BE6F001
REPORT = {"r": "urn:iso:std:iso:20022:tech:xsd:pacs.002.001.10"}


def payment(kind=CUSTOMER, index=0, **changes) -> Payment:
    customer = kind is CUSTOMER
    made = Payment(
        kind=kind,
        index=index,
        instruction_id=f"INS{index}",
        end_to_end_id=f"E2E-{index}",
        transaction_id=f"TX{index}",
        uetr=UETR + index,
        currency="CNY",
        amount=123456 + index,
        settlement_date=date(2026, 1, 5),
        debtor_agent="CLSPCNA0XXX",
        creditor_agent="CLSPCNB0XXX",
        debtor_account=format_account(account_id(1001, 2)),
        creditor_account=format_account(account_id(1002, 3)),
        debtor_name="Example Trading 001 Ltd" if customer else "Example Bank 1001",
        creditor_name="示例贸易 <&> Ltd" if customer else "Example Bank 1002",
        remittance="Invoice 1\nInvoice 2",
        purpose_code="SUPP",
        category_purpose="CASH",
        charge_bearer="SHAR" if customer else "",
        instructing_agent="CLSPCNA0XXX",
        instructed_agent="CLSPCNB0XXX",
    )
    return replace(made, **changes)


def file_of(*transfers: Payment, kind=CUSTOMER, **options) -> bytes:
    return payments(kind, "MSG-1", AT, transfers or (payment(), payment(index=1)), **options)


def changed(old: str, new: str, data: bytes | None = None) -> bytes:
    """Replace the last occurrence of `old` in a good file of two payments."""
    text = (data or file_of()).decode()
    assert old in text
    place = text.rindex(old)
    return (text[:place] + new + text[place + len(old) :]).encode()


def refused(data: bytes, limits: ReaderLimits | None = None) -> IsoError:
    with pytest.raises(IsoError) as caught:
        read(data, limits or ReaderLimits())
    error = caught.value
    assert error.message
    assert error.next_step
    assert len(error.reason_iso) == 4
    assert error.code.value in str(error)
    return error


# --- what is understood -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(MessageKind))
@pytest.mark.parametrize("settlement", [Settlement(), Settlement("INDA", date(2026, 1, 5))])
def test_what_is_written_is_read_back(kind, settlement):
    """Round trip of every field, dates in each payment and once in the group header."""
    transfers = tuple(payment(kind, index) for index in range(3))
    data = file_of(*transfers, kind=kind, settlement=settlement)
    message = read(data)
    assert message.payments == transfers
    assert (message.kind, message.message_id, message.created_at) == (kind, "MSG-1", AT)
    assert (message.transaction_count, message.control_sum) == (3, "3703.71")
    assert message.settlement_method == settlement.method
    assert message.namespace.endswith(kind.value)
    assert message.header is None
    assert file_of(*message.payments, kind=kind, settlement=settlement) == data


def test_optional_elements_may_be_absent():
    """The least that the schema allows: no accounts, no ids but the end-to-end id, agents without a BIC."""
    bare = payment(
        instruction_id="", transaction_id="", uetr=None, debtor_agent="", creditor_agent="", debtor_account="",
        creditor_account="", debtor_name="", creditor_name="", remittance="", purpose_code="", category_purpose="",
        instructing_agent="", instructed_agent="", debtor_account_scheme=AccountScheme.NONE,
        creditor_account_scheme=AccountScheme.NONE,
    )  # fmt: skip
    message = read(file_of(bare, control_sum=False))
    assert message.payments == (bare,)
    assert message.control_sum == ""


def test_a_message_behind_a_business_header_is_found_in_any_envelope():
    """CBPR+ shape: AppHdr and Document below a wrapper, also one level deeper and under a prefixed name."""
    header = BusinessHeader(
        "CLSPCNA0XXX", "CLSPCNB0XXX", "BIZ-1", CUSTOMER.value, AT, "swift.cbprplus.03", "DUPL", possible_duplicate=True
    )
    data = file_of(payment(), header=header)
    assert read(data).header == header
    wrapped = data.decode().split("\n", 1)[1].replace("Envelope>", "Body>")
    message = read(f'<t:DataPDU xmlns:t="urn:example:transport"><t:Revision/>{wrapped}</t:DataPDU>'.encode())
    assert message.header == header
    assert message.payments == (payment(),)


def test_institutions_stand_for_their_missing_accounts():
    """pacs.009 without account elements: the BIC names the account, through the directory only."""
    transfer = payment(
        INSTITUTION,
        debtor_account="CLSPCNA0XXX",
        debtor_account_scheme=AccountScheme.BIC,
        creditor_account="CLSPCNB0XXX",
        creditor_account_scheme=AccountScheme.BIC,
    )
    (found,) = read(file_of(transfer, kind=INSTITUTION)).payments
    assert found == transfer
    fields = instruction_fields(found, {"CLSPCNA0XXX": 7 << 96 | 1, "CLSPCNB0XXX": 8 << 96 | 1})
    assert (fields.debit_account, fields.credit_account) == (7 << 96 | 1, 8 << 96 | 1)
    with pytest.raises(IsoError) as caught:
        instruction_fields(found)
    assert (caught.value.code, caught.value.reason_iso) == (IsoCode.ELEMENT_INVALID, "AC01")


def test_an_agents_account_comes_before_the_bic():
    """pacs.009: DbtrAgtAcct stands for a missing DbtrAcct."""
    data = file_of(payment(INSTITUTION), kind=INSTITUTION)
    data = data.replace(b"<DbtrAcct>", b"<DbtrAgtAcct>").replace(b"</DbtrAcct>", b"</DbtrAgtAcct>")
    assert read(data).payments == (payment(INSTITUTION),)


def test_a_comment_or_cdata_cannot_cut_a_value_short():
    """Comments and processing instructions vanish, text on both sides of them is one text."""
    plain = read(file_of()).payments
    for inserted in (b"1234<!-- 5 -->.57", b"12<?pi 9?>34.57", b"<![CDATA[1234.57]]>"):
        assert read(file_of().replace(b"1234.57", inserted)).payments == plain


def test_uetrs_may_repeat_within_a_file():
    """Duplicates pass: the ledger answers them, by the id that both have."""
    twice = (payment(), payment(index=1, uetr=UETR))
    assert read(file_of(*twice)).payments == twice


def test_a_byte_order_mark_is_no_error():
    assert read(b"\xef\xbb\xbf" + file_of()).transaction_count == 2


def test_several_currencies_have_one_control_sum():
    """CtrlSum adds major units whatever the currency, exactly: 1.000 BHD + 7 JPY + 0.05 CNY."""
    transfers = (
        payment(currency="BHD", amount=1000),
        payment(index=1, currency="JPY", amount=7),
        payment(index=2, currency="CNY", amount=5),
    )
    data = file_of(*transfers)
    assert b"<CtrlSum>8.050</CtrlSum>" in data
    assert read(data).payments == transfers
    assert read(data.replace(b">8.050<", b">8.05<")).control_sum == "8.05"
    assert refused(data.replace(b">8.050<", b">8.0500000000000001<")).code is IsoCode.CONTROL_SUM_MISMATCH


# --- refusals: one test for each code -----------------------------------------------------------------------------


def test_xml_malformed():
    for data in (b"", b"\x00", file_of()[:-20], b"<a>\xff</a>", file_of().decode().encode("utf-16"), b"<a>&b;</a>"):
        assert refused(data).code is IsoCode.XML_MALFORMED
    foreign = file_of().replace(b"UTF-8", b"GB18030")
    assert "GB18030" in refused(foreign).message


def test_xml_doctype_refused_and_never_expanded():
    """An entity bomb, an external DTD and a bare DOCTYPE are refused before a parser sees them, at once."""
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "x">{levels}]><a b="&e11;">&e11;</a>'.encode()
    start = time.perf_counter()
    for data in (bomb, b'<!DOCTYPE a SYSTEM "file:///etc/hostname"><a/>', b"<!DOCTYPE a><a/>"):
        assert refused(data).code is IsoCode.XML_DOCTYPE_REFUSED
    assert time.perf_counter() - start < 1


def test_xml_too_large_is_refused_fast():
    """9 MiB of an 8 MiB limit: refused by size alone; so is a tree of too many elements."""
    big = b"<a>" + b" " * (9 * 1024 * 1024) + b"</a>"
    start = time.perf_counter()
    assert refused(big).code is IsoCode.XML_TOO_LARGE
    assert time.perf_counter() - start < 0.5
    data = file_of()
    assert read(data, ReaderLimits(bytes_max=len(data))).transaction_count == 2
    assert refused(data, ReaderLimits(bytes_max=len(data) - 1)).code is IsoCode.XML_TOO_LARGE
    assert refused(data, ReaderLimits(markup_max=data.count(b"<") - 1)).code is IsoCode.XML_TOO_LARGE


@pytest.mark.parametrize("depth", [65, 255, 257, 100_000])
def test_xml_too_deep(depth):
    assert refused(b"<a>" * depth + b"</a>" * depth).code is IsoCode.XML_TOO_DEEP


def test_depth_at_the_limit_is_read():
    """64 levels pass the depth check; what is refused then is the message."""
    assert refused(b"<a>" * 64 + b"</a>" * 64).code is IsoCode.MESSAGE_UNSUPPORTED


def test_transactions_too_many():
    assert read(file_of(), ReaderLimits(transactions_max=2)).transaction_count == 2
    assert refused(file_of(), ReaderLimits(transactions_max=1)).code is IsoCode.TRANSACTIONS_TOO_MANY


@pytest.mark.parametrize("name", ["camt.054.001.08", "pacs.002.001.10", "pacs.0080.001.08", "pain.001.001.09"])
def test_message_unsupported_names_what_was_found_and_what_is_read(name):
    error = refused(file_of().replace(b"pacs.008.001.08", name.encode()))
    assert error.code is IsoCode.MESSAGE_UNSUPPORTED
    assert name in error.message
    assert "pacs.008.001.08 and pacs.009.001.08" in error.message


def test_message_unsupported_for_no_message_at_all():
    for data in (b"<Envelope/>", b"<Document/>", b'<Document xmlns="urn:example"/>'):
        assert refused(data).code is IsoCode.MESSAGE_UNSUPPORTED


@pytest.mark.parametrize("name", ["pacs.008.001.02", "pacs.008.001.10", "pacs.009.001.09"])
def test_message_version_unsupported_is_told_apart(name):
    error = refused(file_of().replace(b"pacs.008.001.08", name.encode()))
    assert error.code is IsoCode.MESSAGE_VERSION_UNSUPPORTED
    assert name in error.message


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ("<EndToEndId>E2E-1</EndToEndId>", "CH21"),
        ("<ChrgBr>SHAR</ChrgBr>", "CH21"),
        ('<IntrBkSttlmAmt Ccy="CNY">1234.57</IntrBkSttlmAmt>', "CH21"),
        ("<IntrBkSttlmDt>2026-01-05</IntrBkSttlmDt>", "CH21"),
        (' Ccy="CNY"', "AM11"),
        ("<MsgId>MSG-1</MsgId>", "CH21"),
        ("<SttlmMtd>CLRG</SttlmMtd>", "CH21"),
        ("<Id>000003ea-00000000-0000000000000003</Id>", "AC01"),
    ],
)
def test_element_missing(element, reason):
    error = refused(changed(element, ""))
    assert (error.code, error.reason_iso) == (IsoCode.ELEMENT_MISSING, reason)
    assert "/Document/FIToFICstmrCdtTrf" in error.where
    assert "line " in error.where


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (">1234.57<", ">0.00<", "AM01"),
        (">1234.57<", ">-1.00<", "AM12"),
        (">1234.57<", ">1e3<", "AM12"),
        (">1234.57<", "> 1.00<", "AM12"),
        (">1234.57<", "><", "AM12"),
        (">1234.57<", "><b>1</b><", "AM12"),
        (">1234.57<", ">1,234.57<", "AM12"),
        (">1234.57<", ">\u0661.00<", "AM12"),
        (">1234.57<", f">{'9' * 17}.00<", "AM12"),
        ("CLSPCNB0XXX", "CLSPCNB", "RC01"),
        ("2026-01-05<", "2026-02-30<", "DT01"),
        ("2026-01-05<", "20260105<", "DT01"),
        ("<CreDtTm>2026", "<CreDtTm>26", "DT01"),
        ("E2E-1", "E2E-1" * 8, "CH16"),
        ("E2E-1", " E2E-1", "CH16"),
        ("E2E-1", "E2E\n1", "CH16"),
        ("SHAR", "NONE", "CH16"),
        ("CLRG", "GOLD", "CH16"),
        ("<ChrgBr>", "<Unknown/><ChrgBr>", "CH17"),
        ("<ChrgBr>SHAR</ChrgBr>", "<ChrgBr>SHAR</ChrgBr><ChrgBr>SHAR</ChrgBr>", "CH17"),
        ("<BICFI>CLSPCNB0XXX</BICFI>", "<BICFI>CLSPCNB0XXX</BICFI><BICFI>CLSPCNA0XXX</BICFI>", "CH17"),
        ("<GrpHdr>", "<GrpHdr/><GrpHdr>", "CH17"),
        ("<FinInstnId>", "<FinInstnId>stray", "CH16"),
        ("</PmtId>", "</PmtId>stray", "CH16"),
        ("<BICFI>CLSPCNB0XXX</BICFI>", "<Bic>CLSPCNB0XXX</Bic>", "CH17"),
        ("<Cd>SUPP</Cd>", "", "CH16"),
        ("<NbOfTxs>2", "<NbOfTxs>+2", "AM18"),
        ("<CtrlSum>2469.13", "<CtrlSum>2.46913e3", "AM10"),
        ("<Othr>", "<IBAN>XX00EXAMPLE</IBAN><Othr>", "AC01"),
    ],
)
def test_element_invalid(old, new, reason):
    error = refused(changed(old, new))
    assert (error.code, error.reason_iso) == (IsoCode.ELEMENT_INVALID, reason)
    assert error.where


def test_an_element_out_of_order_is_refused():
    """The schema's order is part of the format: a purpose before the debtor is no pacs.008."""
    data = file_of(payment()).decode()
    start, end = data.index("<Purp>"), data.index("</Purp>") + len("</Purp>")
    purpose = data[start:end]
    moved = (data[:start] + data[end:]).replace("<Dbtr>", purpose + "<Dbtr>")
    assert refused(moved.encode()).code is IsoCode.ELEMENT_INVALID


def test_a_header_that_announces_another_message_is_refused():
    header = BusinessHeader("", "", "BIZ-1", INSTITUTION.value, AT)
    assert refused(file_of(payment(), header=header)).code is IsoCode.ELEMENT_INVALID
    header = replace(header, definition=CUSTOMER.value)
    data = file_of(payment(), header=header)
    assert refused(data.replace(b"head.001.001.02", b"head.001.001.09")).code is IsoCode.MESSAGE_VERSION_UNSUPPORTED
    document = data[data.index(b"<Document") : data.index(b"</Document>") + len(b"</Document>")]
    assert refused(data.replace(document, document * 2)).code is IsoCode.ELEMENT_INVALID


@pytest.mark.parametrize("claimed", ["1", "3", "0", "999999999999999"])
def test_count_mismatch(claimed):
    error = refused(changed("<NbOfTxs>2<", f"<NbOfTxs>{claimed}<"))
    assert (error.code, error.reason_iso, error.message_id) == (IsoCode.COUNT_MISMATCH, "AM18", "MSG-1")


def test_control_sum_mismatch():
    """One minor unit off is off, in CtrlSum and in TtlIntrBkSttlmAmt, which also fixes the currency."""
    assert refused(changed("2469.13</CtrlSum>", "2469.14</CtrlSum>")).code is IsoCode.CONTROL_SUM_MISMATCH
    total = '</CtrlSum><TtlIntrBkSttlmAmt Ccy="{}">{}</TtlIntrBkSttlmAmt>'
    assert read(changed("</CtrlSum>", total.format("CNY", "2469.13"))).transaction_count == 2
    for currency, amount in (("CNY", "2469.12"), ("HKD", "2469.13")):
        error = refused(changed("</CtrlSum>", total.format(currency, amount)))
        assert (error.code, error.reason_iso) == (IsoCode.CONTROL_SUM_MISMATCH, "AM10")


@pytest.mark.parametrize("amount", ["1234.570", "1234.571", "1.00001"])
def test_amount_scale_exceeded_is_refused_and_not_rounded(amount):
    error = refused(changed(">1234.57<", f">{amount}<"))
    assert (error.code, error.reason_iso) == (IsoCode.AMOUNT_SCALE_EXCEEDED, "CH20")
    assert (error.payment_index, error.end_to_end_id) == (1, "E2E-1")
    assert "CdtTrfTxInf[2]/IntrBkSttlmAmt" in error.where


@pytest.mark.parametrize("currency", ["CNX", "cny", "", "XAU", "DEM"])
def test_currency_unknown(currency):
    assert refused(changed('Ccy="CNY"', f'Ccy="{currency}"')).code is IsoCode.CURRENCY_UNKNOWN


@pytest.mark.parametrize(
    "uetr",
    [
        "8A562C67-CA16-48BA-B074-65581BE6F002",
        "8a562c67-ca16-18ba-b074-65581be6f002",
        "8a562c67-ca16-48ba-c074-65581be6f002",
        "8a562c67ca1648bab07465581be6f002",
        "",
    ],
)
def test_uetr_invalid(uetr):
    error = refused(changed("8a562c67-ca16-48ba-b074-65581be6f002", uetr))
    assert (error.code, error.payment_index) == (IsoCode.UETR_INVALID, 1)


def test_every_code_has_a_test():
    """This file names each code: a code added without a test fails here."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [code for code in IsoCode if f"IsoCode.{code.name}" not in text] == []


# --- amounts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("0", "JPY", 0),
        ("7", "JPY", 7),
        ("999999999999999999", "JPY", 10**18 - 1),
        ("1", "CNY", 100),
        ("1.5", "CNY", 150),
        ("0.01", "CNY", 1),
        ("00012.34", "CNY", 1234),
        ("9999999999999999.99", "CNY", 10**18 - 1),
        ("999999999999999999", "CNY", (10**18 - 1) * 100),
        ("0.001", "BHD", 1),
        ("999999999999999.999", "BHD", 10**18 - 1),
        ("0.0001", "CLF", 1),
    ],
)
def test_amounts_at_every_scale(text, currency, minor):
    """Scale 0, 2, 3 and 4, least and most; the written form reads back to the same count."""
    assert to_minor(text, currency) == minor
    if len(str(minor)) <= 18:
        assert to_minor(amount_text(minor, currency), currency) == minor


@pytest.mark.parametrize(
    ("text", "currency"), [("1.0", "JPY"), ("1.000", "CNY"), ("1.0001", "KWD"), ("0.00001", "CLF")]
)
def test_a_digit_beyond_the_scale_is_refused(text, currency):
    with pytest.raises(AmountScaleExceededError):
        to_minor(text, currency)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1.",
        ".5",
        "+1",
        "-1",
        " 1",
        "1 ",
        "1e2",
        "1E2",
        "1,00",
        "1_0",
        "0x1",
        "NaN",
        "\u0661",
        "1" * 19,
        "0" * 41,
    ],
)
def test_what_is_no_plain_number_is_no_amount(text):
    with pytest.raises(AmountInvalidError):
        to_minor(text, "CNY")


def test_the_currency_table():
    """Codes, numbers and scales: complete, unique, and right where the ledgers of the examples need them."""
    assert len(CURRENCIES) == 165
    assert len({currency.number for currency in CURRENCIES.values()}) == 165
    known = {"CNY": (156, 2), "HKD": (344, 2), "THB": (764, 2), "JPY": (392, 0), "BHD": (48, 3), "UYW": (927, 4)}
    for code, (number, scale) in known.items():
        currency = currency_of(code)
        assert (currency.number, currency.scale) == (number, scale)
        assert currency_of_number(number) is currency
    with pytest.raises(CurrencyUnknownError):
        currency_of_number(999)


def test_amounts_for_people():
    assert format_amount(123456, "CNY") == "1,234.56 CNY"
    assert format_amount(1234567, "JPY") == "1,234,567 JPY"
    assert format_amount(5, "BHD") == "0.005 BHD"
    assert format_amount(-100, "THB") == "-1.00 THB"
    assert amount_text(5, "CNY") == "0.05"
    with pytest.raises(ValueError, match="count of minor units"):
        amount_text(-1, "CNY")


# --- accounts and instructions ------------------------------------------------------------------------------------


def test_accounts_are_32_hexadecimal_digits():
    account = account_id(1001, 2)
    assert account == 1001 << 96 | 2
    assert format_account(account) == "000003e9-00000000-0000000000000002"
    for text in (format_account(account), "000003E9000000000000000000000002", "000003e9-0000-0000-0000-000000000002"):
        assert parse_account(text) == account


@pytest.mark.parametrize(
    "text",
    [
        "", "DE02120300000000202051", "3e9", "g" * 32, "-" + "0" * 32, "000003e9--00000000-0000000000000002",
        "0" * 31 + "1", "f" * 32, "000003e9000000000000000000000002-", "０" * 32,
    ],
)  # fmt: skip
def test_any_other_account_is_element_invalid_ac01(text):
    """IBANs, wrong lengths, stray dashes, foreign digits, and the ledger's own accounts."""
    with pytest.raises(IsoError) as caught:
        parse_account(text)
    assert (caught.value.code, caught.value.reason_iso) == (IsoCode.ELEMENT_INVALID, "AC01")


def test_an_iban_is_only_ever_an_alias():
    """Even 32 hexadecimal digits under IBAN are no account id."""
    digits = "AE00" + "0" * 27 + "1"
    iban = payment(debtor_account=digits, debtor_account_scheme=AccountScheme.IBAN)
    (found,) = read(file_of(iban)).payments
    assert found == iban
    with pytest.raises(IsoError) as caught:
        instruction_fields(found)
    assert (caught.value.code, caught.value.reason_iso) == (IsoCode.ELEMENT_INVALID, "AC01")
    assert caught.value.where == "CdtTrfTxInf[1]/DbtrAcct"
    assert instruction_fields(found, {digits: 5 << 96}).debit_account == 5 << 96


def test_a_payment_becomes_the_fields_of_a_record():
    (found,) = read(file_of(payment())).payments
    fields = instruction_fields(found)
    assert (fields.id, fields.user_data) == (UETR, UETR)
    assert (fields.debit_account, fields.credit_account) == (account_id(1001, 2), account_id(1002, 3))
    assert (fields.amount, fields.ledger, fields.code) == (123456, 156, 52)
    assert fields.attachment_hash == found.attachment_hash


def test_the_code_is_the_purpose_else_the_kind():
    plain = {"purpose_code": "", "category_purpose": ""}
    assert instruction_fields(payment(**plain)).code == 1
    assert instruction_fields(payment(INSTITUTION, **plain)).code == 2
    assert instruction_fields(payment(purpose_code="ZZZZ", category_purpose="")).code == 1
    assert instruction_fields(payment(purpose_code="", category_purpose="SALA")).code == 47


def test_the_attachment_hash_is_that_of_the_canonical_element():
    """Exclusive canonical XML: attribute quotes, prefixes of the envelope and the other payments do not matter."""
    data = file_of(payment())
    element = next(etree.fromstring(data).iter("{*}CdtTrfTxInf"))
    canonical = etree.tostring(element, method="c14n", exclusive=True, with_comments=False, with_tail=False)
    assert canonical.startswith(b'<CdtTrfTxInf xmlns="urn:iso:std:iso:20022:tech:xsd:pacs.008.001.08">')
    (found,) = read(data).payments
    assert found.attachment_hash == sha256(canonical).digest()
    restyled = data.replace(b'Ccy="CNY"', b"Ccy = 'CNY'").replace(b"<Document ", b'<Document xmlns:q="urn:q" ')
    assert read(restyled).payments[0].attachment_hash == found.attachment_hash
    assert read(file_of(payment(), payment(index=1))).payments[0].attachment_hash == found.attachment_hash
    assert read(file_of(payment(creditor_name="B"))).payments[0].attachment_hash != found.attachment_hash


def test_without_a_uetr_there_is_no_instruction():
    message = read(file_of(payment(), payment(index=1, uetr=None)))
    with pytest.raises(IsoError) as caught:
        instructions(message)
    error = caught.value
    assert (error.code, error.payment_index, error.message_id) == (IsoCode.ELEMENT_MISSING, 1, "MSG-1")


@pytest.mark.parametrize(
    ("service", "copy"), [("swift.cbprplus.adv.03", ""), ("swift.cbprplus.03", "COPY"), ("swift.cbprplus.03", "CODU")]
)
def test_what_informs_does_not_instruct(service, copy):
    """An advice or a copy can be read; making instructions of it is refused, for it would pay a second time."""
    header = BusinessHeader("", "", "BIZ-1", INSTITUTION.value, AT, service, copy)
    message = read(file_of(payment(INSTITUTION), kind=INSTITUTION, header=header))
    with pytest.raises(IsoError) as caught:
        instructions(message)
    assert caught.value.code is IsoCode.MESSAGE_UNSUPPORTED
    duplicate = replace(header, service="", copy="DUPL")
    assert len(instructions(read(file_of(payment(INSTITUTION), kind=INSTITUTION, header=duplicate)))) == 1


# --- status reports -----------------------------------------------------------------------------------------------


def texts(data: bytes, path: str) -> list[str]:
    return [element.text for element in etree.fromstring(data).iterfind(f".//{path}", REPORT)]


def test_a_status_report_answers_each_payment():
    message = read(file_of(payment(), payment(index=1), payment(index=2)))
    outcomes = (
        Outcome(0, OutcomeStatus.ACCEPTED),
        Outcome(1, OutcomeStatus.REJECTED, "AM04", "insufficient funds " * 10 + "\x00"),
        Outcome(2, OutcomeStatus.PENDING),
    )
    data = status_report(message, outcomes, created_at=AT)
    assert data == status_report(message, outcomes, created_at=AT)
    assert texts(data, "r:OrgnlMsgId") == ["MSG-1"]
    assert texts(data, "r:OrgnlMsgNmId") == ["pacs.008.001.08"]
    assert texts(data, "r:GrpSts") == ["PART"]
    assert texts(data, "r:TxSts") == ["ACSC", "RJCT", "PDNG"]
    assert texts(data, "r:OrgnlEndToEndId") == ["E2E-0", "E2E-1", "E2E-2"]
    assert texts(data, "r:OrgnlUETR")[0] == "8a562c67-ca16-48ba-b074-65581be6f001"
    assert texts(data, "r:Cd") == ["AM04"]
    lines = texts(data, "r:AddtlInf")
    assert "".join(lines) == "insufficient funds " * 10 + "?"
    assert max(map(len, lines)) <= 105
    assert texts(data, "r:TxInfAndSts/r:InstgAgt//r:BICFI")[0] == "CLSPCNB0XXX"
    assert texts(data, "r:GrpHdr/r:MsgId") != texts(status_report(message, outcomes[:1]), "r:GrpHdr/r:MsgId")


@pytest.mark.parametrize(
    ("statuses", "group"),
    [
        (("ACSC", "ACSC"), "ACSC"),
        (("RJCT", "RJCT"), "RJCT"),
        (("PDNG", "PDNG"), "PDNG"),
        (("ACSC", "ACSP"), "ACSP"),
        (("ACSP", "ACSP"), "ACSP"),
        (("ACSC", "RJCT"), "PART"),
        (("RJCT", "PDNG"), "PDNG"),
        (("ACSC",), "PART"),
    ],
)
def test_the_group_status_sums_up(statuses, group):
    outcomes = [Outcome(index, OutcomeStatus(status), "AC04") for index, status in enumerate(statuses)]
    assert texts(status_report(read(file_of()), outcomes), "r:GrpSts") == [group]


def test_a_message_with_a_header_is_answered_with_one():
    header = BusinessHeader("CLSPCNA0XXX", "CLSPCNB0XXX", "BIZ-1", CUSTOMER.value, AT, "swift.cbprplus.03")
    message = read(file_of(payment(), header=header))
    root = etree.fromstring(status_report(message, [Outcome(0, OutcomeStatus.ACCEPTED)]))
    assert [child.tag.rpartition("}")[2] for child in root] == ["AppHdr", "Document"]
    assert [element.text for element in root.iterfind("{*}AppHdr//{*}BICFI")] == ["CLSPCNB0XXX", "CLSPCNA0XXX"]


@pytest.mark.parametrize(
    "outcomes",
    [
        [Outcome(2, OutcomeStatus.ACCEPTED)],
        [Outcome(-1, OutcomeStatus.ACCEPTED)],
        [Outcome(0, OutcomeStatus.ACCEPTED), Outcome(0, OutcomeStatus.ACCEPTED)],
        [Outcome(0, OutcomeStatus.REJECTED)],
        [Outcome(0, OutcomeStatus.REJECTED, "no")],
    ],
)
def test_a_wrong_report_is_not_written(outcomes):
    with pytest.raises(ValueError, match="payment"):
        status_report(read(file_of()), outcomes)


def test_a_refused_file_is_answered_as_a_whole():
    """What was read of the file before the error is named; of one that could not be read, nothing is."""
    known = refusal_report(refused(changed("<NbOfTxs>2<", "<NbOfTxs>3<")), created_at=AT)
    assert texts(known, "r:OrgnlMsgId") == ["MSG-1"]
    assert texts(known, "r:OrgnlMsgNmId") == ["pacs.008.001.08"]
    assert (texts(known, "r:GrpSts"), texts(known, "r:Cd")) == (["RJCT"], ["AM18"])
    unknown = refusal_report(refused(b"<a>"))
    assert texts(unknown, "r:OrgnlMsgId") == ["NOTPROVIDED"]
    assert texts(unknown, "r:Cd") == ["FF01"]


@pytest.mark.parametrize(
    ("code", "first", "status", "reason"),
    [
        (ResultCode.CREATED, 0, "ACSC", ""),
        (ResultCode.CREATED_IN_TRANSIT, 0, "ACSP", ""),
        (ResultCode.EXISTS, ResultCode.CREATED, "ACSC", ""),
        (ResultCode.EXISTS, ResultCode.CREATED_IN_TRANSIT, "ACSP", ""),
        (ResultCode.RETURNED, 0, "RJCT", "NARR"),
        (ResultCode.INSUFFICIENT_FUNDS, 0, "RJCT", "AM04"),
        (ResultCode.ID_ALREADY_FAILED, ResultCode.INSUFFICIENT_FUNDS, "RJCT", "AM04"),
        (ResultCode.CREDIT_ACCOUNT_NOT_FOUND, 0, "RJCT", "AC03"),
        (ResultCode.OVERLOADED, 0, "PDNG", "ED06"),
        (ResultCode.TOO_OLD, 0, "PDNG", "DT01"),
    ],
)
def test_result_codes_become_outcomes(code, first, status, reason):
    outcome = outcome_of(3, code, first)
    assert (outcome.payment_index, outcome.status.value, outcome.reason_iso) == (3, status, reason)


def test_every_result_code_has_an_outcome_that_can_be_reported():
    message = read(file_of(payment()))
    for code in ResultCode:
        assert status_report(message, [outcome_of(0, code)])


# --- examples -----------------------------------------------------------------------------------------------------


def test_the_examples_are_what_the_generator_writes():
    """Byte for byte, nothing besides, and under 1 MiB."""
    files = example_files()
    found = {str(path.relative_to(EXAMPLES)): path.read_bytes() for path in EXAMPLES.rglob("*") if path.is_file()}
    assert sorted(found) == sorted(files)
    assert [name for name, data in files.items() if found[name] != data] == []
    assert sum(map(len, files.values())) < 1024 * 1024


def test_the_examples_can_be_paid_from_the_directory():
    """Every payment becomes an instruction between opened accounts that can afford it, but for those meant to fail."""
    directory = read_directory((EXAMPLES / "directory.toml").read_bytes())
    ledger_of = {account: bank.ledger for bank in directory.participants for account in bank.accounts}
    assert len(ledger_of) == 96
    spent: dict[int, int] = {}
    ids: set[int] = set()
    for path in sorted(EXAMPLES.glob("*.xml")):
        if path.name.startswith(("cny-06", "cny-07")):
            continue
        for fields in instructions(read(path.read_bytes()), directory.account_aliases()):
            assert ledger_of[fields.debit_account] == ledger_of[fields.credit_account] == fields.ledger
            assert fields.debit_account != fields.credit_account
            spent[fields.debit_account] = spent.get(fields.debit_account, 0) + fields.amount
            ids.add(fields.id)
    assert len(ids) == 360
    assert max(spent.values()) <= directory.opening_balance == OPENING_BALANCE


def test_the_examples_meant_to_fail_do():
    """Unknown account on the payer's shard, more than all the money, the same payment again, its UETR again."""
    directory = read_directory((EXAMPLES / "directory.toml").read_bytes())
    opened = {account for bank in directory.participants for account in bank.accounts}
    first = {fields.id: fields for fields in instructions(read((EXAMPLES / "cny-01-customers.xml").read_bytes()))}
    unknown, too_much = instructions(read((EXAMPLES / "cny-06-refusals.xml").read_bytes()))
    assert unknown.credit_account == account_id(1002, UNKNOWN_SERIAL)
    assert unknown.credit_account not in opened
    assert slot_of_account(unknown.credit_account) // 512 == slot_of_account(unknown.debit_account) // 512
    assert too_much.amount == 32 * OPENING_BALANCE + 1
    same, other = instructions(read((EXAMPLES / "cny-07-again.xml").read_bytes()))
    assert first[same.id] == same
    assert first[other.id].amount + 1 == other.amount


def test_the_broken_examples_are_refused_as_expected():
    expected = tomllib.loads((EXAMPLES / "expected.toml").read_text(encoding="utf-8"))
    assert {entry["file"] for entry in expected["broken"]} == {
        f"broken/{path.name}" for path in (EXAMPLES / "broken").iterdir()
    }
    for entry in expected["broken"]:
        with pytest.raises(IsoError) as caught:
            instructions(read((EXAMPLES / entry["file"]).read_bytes()))
        assert (caught.value.code.value, caught.value.reason_iso) == (entry["code"], entry["reason_iso"])


def test_the_directory_reads_back():
    data = (EXAMPLES / "directory.toml").read_bytes()
    directory = read_directory(data)
    assert read_directory(write_directory(replace(directory, aliases={"IBAN X": account_id(1001, 2)}), "")).aliases
    assert directory.account_aliases()["CLSPCNA0XXX"] == account_id(1001, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format = 1", "format = 2"),
        ("format = 1", "format = 1\nsurprise = 1"),
        ('opening_balance = "1', 'opening_balance = "-1'),
        ("ledger = 156", "ledger = 999"),
        ("number = 1002", "number = 1001"),
        ("000003e9-00000000-0000000000000001", "000003e9"),
        ("[aliases]", "[aliases"),
    ],
)
def test_a_wrong_directory_is_refused(old, new):
    text = (EXAMPLES / "directory.toml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(DirectoryError):
        read_directory(text.replace(old, new, 1).encode())
