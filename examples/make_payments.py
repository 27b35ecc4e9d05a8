"""Write the example clearing files: `python -m examples.make_payments [--out FOLDER] [--seed N]`.

The same seed gives the same bytes. The folder holds the directory of participants and accounts, some 360 payments in
CNY, HKD and THB, a handful that the ledger must refuse, files that the reader must refuse (broken/), and
`expected.toml`, which says what becomes of each of these. All names and BICs are fictional.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from clearspan.currencies import amount_text, currency_of
from clearspan.iso20022 import (
    BusinessHeader,
    Directory,
    MessageKind,
    Participant,
    Payment,
    Settlement,
    account_id,
    format_account,
    payments,
)
from clearspan.iso20022.directory import write_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 20022
SETTLEMENT_DATE = date(2026, 1, 5)
BANKS_PER_LEDGER = 4
ACCOUNTS_PER_BANK = 8
# 100 million in major units for each account: more than all its example payments together.
OPENING_BALANCE = 10_000_000_000
# This serial of bank 1002 is never opened. It lies on the shard of the account that pays it, under up to eight shards,
# so that the refusal comes at once and not as a returned credit.
UNKNOWN_SERIAL = 9013

CUSTOMER = MessageKind.CUSTOMER_CREDIT_TRANSFER
INSTITUTION = MessageKind.INSTITUTION_CREDIT_TRANSFER

_TRADES = ("Trading", "Logistics", "Textiles", "Foods", "Machinery", "Energy", "Paper", "Optics")
_PURPOSES = ("SUPP", "GDDS", "SCVE", "SALA", "TAXS", "RENT", "TRAD", "")


@dataclass(frozen=True, slots=True)
class Market:
    """One currency's banks: first participant number, country in the BICs, UTC offset in hours, words for invoices."""

    currency: str
    first: int
    country: str
    offset: int
    words: str

    def banks(self) -> tuple[Participant, ...]:
        """Return the banks with their accounts; account serial 1 is the bank's own, the others its customers'."""
        return tuple(
            Participant(
                number=self.first + place,
                # A location code that ends in 0 marks a test BIC.
                bic=f"CLSP{self.country}{'ABCD'[place]}0XXX",
                name=f"Example Bank {self.first + place}",
                ledger=currency_of(self.currency).number,
                accounts=tuple(account_id(self.first + place, serial + 1) for serial in range(ACCOUNTS_PER_BANK)),
            )
            for place in range(BANKS_PER_LEDGER)
        )

    def at(self, minute: int) -> datetime:
        """Return an instant of the settlement day, minutes after nine o'clock local time."""
        zone = timezone(timedelta(hours=self.offset))
        day = SETTLEMENT_DATE
        return datetime(day.year, day.month, day.day, 9, tzinfo=zone) + timedelta(minutes=minute)


MARKETS = (
    Market("CNY", 1001, "CN", 8, "货款"),
    Market("HKD", 2001, "HK", 8, "貨款"),
    Market("THB", 3001, "TH", 7, "ค่าสินค้า"),
)


class Maker:
    """Draws payments of one market from a seeded generator; every draw is in a fixed order."""

    def __init__(self, market: Market, seed: int) -> None:
        """Give each market its own generator, so that a change in one leaves the others' bytes alone."""
        self.market = market
        self.banks = market.banks()
        self._random = random.Random(f"{seed}/{market.currency}")  # noqa: S311  # examples, not secrets

    def transfers(self, kind: MessageKind, file_number: int, count: int) -> list[Payment]:
        """Return `count` payments of a file."""
        return [self._transfer(kind, file_number, index) for index in range(count)]

    def uetr(self) -> int:
        """Return 128 bits in the shape of a UUID of version 4."""
        return UUID(int=self._random.getrandbits(128), version=4).int

    def _transfer(self, kind: MessageKind, file_number: int, index: int) -> Payment:
        customer = kind is CUSTOMER
        debtor_bank, debtor = self._side(customer=customer)
        creditor_bank, creditor = self._side(customer=customer)
        while creditor == debtor:
            creditor_bank, creditor = self._side(customer=customer)
        name = f"{self.market.currency}{file_number:02d}{index + 1:04d}"
        return Payment(
            kind=kind,
            index=index,
            instruction_id=f"INS{name}",
            end_to_end_id=f"E2E-{name}",
            transaction_id=f"TX{name}",
            uetr=self.uetr(),
            currency=self.market.currency,
            amount=self._amount(customer=customer),
            settlement_date=SETTLEMENT_DATE,
            debtor_agent=debtor_bank.bic,
            creditor_agent=creditor_bank.bic,
            debtor_account=format_account(debtor),
            creditor_account=format_account(creditor),
            debtor_name=holder(debtor_bank, debtor),
            creditor_name=holder(creditor_bank, creditor),
            remittance=f"Invoice INV-{self._random.randrange(100_000):05d} {self.market.words}" if customer else "",
            purpose_code=self._random.choice(_PURPOSES) if customer else "",
            category_purpose="" if customer else self._random.choice(("CASH", "TREA", "")),
            charge_bearer="SHAR" if customer else "",
            instructing_agent=debtor_bank.bic,
            instructed_agent=creditor_bank.bic,
        )

    def _side(self, *, customer: bool) -> tuple[Participant, int]:
        bank = self._random.choice(self.banks)
        return bank, bank.accounts[self._random.randrange(1, ACCOUNTS_PER_BANK) if customer else 0]

    def _amount(self, *, customer: bool) -> int:
        """Return minor units: customers pay 10.00 to 100,000.00 or so, institutions up to ten times as much."""
        digits = self._random.randrange(3, 7) if customer else self._random.randrange(5, 8)
        return self._random.randrange(10**digits, 10 ** (digits + 1))


def holder(bank: Participant, account: int) -> str:
    """Return the fictional name that an account is held under."""
    serial = account & 0xFFFFFFFF
    if serial == 1:
        return bank.name
    number = bank.number % 1000 * ACCOUNTS_PER_BANK + serial
    return f"Example {_TRADES[number % len(_TRADES)]} {number:03d} Ltd"


def market_files(market: Market, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield the clearing files of one market: three large ones, and two single payments behind a header."""
    maker = Maker(market, seed)
    plan = (
        (1, "customers", CUSTOMER, 54),
        (2, "customers", CUSTOMER, 40),
        (3, "institutions", INSTITUTION, 24),
        (4, "customer-cbpr", CUSTOMER, 1),
        (5, "institution-cbpr", INSTITUTION, 1),
    )
    for number, title, kind, count in plan:
        transfers = maker.transfers(kind, number, count)
        name = f"{market.currency.lower()}-{number:02d}-{title}.xml"
        yield name, message(market, number, kind, transfers, header=count == 1)
        if number == 1 and market.currency == "CNY":
            yield "cny-06-refusals.xml", message(market, 6, CUSTOMER, refused(maker, transfers))
            yield "cny-07-again.xml", message(market, 7, CUSTOMER, again(transfers))


def message(market: Market, number: int, kind: MessageKind, transfers: list[Payment], *, header: bool = False) -> bytes:
    """Return one file: with a header as in cross-border correspondence, or plain as in a clearing system."""
    name = f"CLSP{market.currency}{SETTLEMENT_DATE:%Y%m%d}{number:02d}"
    front = None
    if header:
        first = transfers[0]
        front = BusinessHeader(
            sender=first.instructing_agent,
            receiver=first.instructed_agent,
            business_message_id=name,
            definition=kind.value,
            created_at=market.at(number),
            service="swift.cbprplus.03",
        )
    settlement = Settlement("INDA") if header else Settlement("CLRG", SETTLEMENT_DATE)
    return payments(
        kind, name, market.at(number), transfers, settlement=settlement, control_sum=not header, header=front
    )


def refused(maker: Maker, transfers: list[Payment]) -> list[Payment]:
    """Return two payments that no ledger can make: to an account never opened, and of more than all the money."""
    first, second = transfers[0], transfers[1]
    bank = maker.banks[1]
    all_money = OPENING_BALANCE * BANKS_PER_LEDGER * ACCOUNTS_PER_BANK
    return [
        replace(
            _renamed(first, "0001", maker.uetr()),
            debtor_account=format_account(maker.banks[0].accounts[1]),
            debtor_agent=maker.banks[0].bic,
            debtor_name=holder(maker.banks[0], maker.banks[0].accounts[1]),
            instructing_agent=maker.banks[0].bic,
            creditor_account=format_account(account_id(bank.number, UNKNOWN_SERIAL)),
            creditor_agent=bank.bic,
            instructed_agent=bank.bic,
            creditor_name="Example Unknown 999 Ltd",
        ),
        replace(_renamed(second, "0002", maker.uetr()), index=1, amount=all_money + 1),
    ]


def again(transfers: list[Payment]) -> list[Payment]:
    """Return a payment of the first file as it was, and another under its old UETR with one minor unit more."""
    return [transfers[4], replace(transfers[5], amount=transfers[5].amount + 1)]


def _renamed(payment: Payment, number: str, uetr: int) -> Payment:
    name = f"CNY06{number}"
    return replace(
        payment, instruction_id=f"INS{name}", end_to_end_id=f"E2E-{name}", transaction_id=f"TX{name}", uetr=uetr
    )


def broken_files(seed: int) -> Iterator[tuple[str, bytes, str, str]]:
    """Yield files that must be refused, each for one thing: name, bytes, code and ISO reason."""
    market = MARKETS[0]
    transfers = Maker(market, seed + 1).transfers(CUSTOMER, 90, 2)
    good = message(market, 90, CUSTOMER, transfers).decode()
    amount = f">{amount_text(transfers[1].amount, 'CNY')}</IntrBkSttlmAmt>"
    uetr = str(UUID(int=transfers[1].uetr))
    account = f"<Othr>\n      <Id>{transfers[1].creditor_account}</Id>\n     </Othr>"
    bomb = "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, 10))

    def changed(old: str, new: str) -> bytes:
        if old not in good:
            problem = f"{old!r} is not in the file to be broken"
            raise ValueError(problem)
        place = good.rindex(old)
        return (good[:place] + new + good[place + len(old) :]).encode()

    head, rest = good.split("\n", 1)
    doctype = f'{head}\n<!DOCTYPE Document [<!ENTITY e0 "ten">{bomb}]>\n{rest}'
    yield "malformed.xml", good[: len(good) * 2 // 3].encode(), "xml_malformed", "FF01"
    yield "entity-bomb.xml", doctype.replace("E2E-CNY900002", "&e9;").encode(), "xml_doctype_refused", "FF01"
    external = f'{head}\n<!DOCTYPE Document SYSTEM "payments.dtd">\n{rest}'
    yield "external-dtd.xml", external.encode(), "xml_doctype_refused", "FF01"
    yield "too-deep.xml", changed("</Ustrd>", f"{'<b>' * 100}{'</b>' * 100}</Ustrd>"), "xml_too_deep", "FF01"
    yield "other-message.xml", changed("pacs.008.001.08", "camt.054.001.08"), "message_unsupported", "FF01"
    yield "wrong-version.xml", changed("pacs.008.001.08", "pacs.008.001.02"), "message_version_unsupported", "FF01"
    yield "count-off.xml", changed("<NbOfTxs>2<", "<NbOfTxs>3<"), "count_mismatch", "AM18"
    total = f"<CtrlSum>{amount_text(sum(transfer.amount for transfer in transfers), 'CNY')}<"
    over = f"<CtrlSum>{amount_text(sum(transfer.amount for transfer in transfers) + 1, 'CNY')}<"
    yield "control-sum-off.xml", changed(total, over), "control_sum_mismatch", "AM10"
    yield "five-decimals.xml", changed(amount, ">1000.00001</IntrBkSttlmAmt>"), "amount_scale_exceeded", "CH20"
    yield "zero-amount.xml", changed(amount, ">0.00</IntrBkSttlmAmt>"), "element_invalid", "AM01"
    yield "currency-unknown.xml", changed('Ccy="CNY"', 'Ccy="CNX"'), "currency_unknown", "AM11"
    yield "uetr-invalid.xml", changed(uetr, uetr.upper()), "uetr_invalid", "CH16"
    yield "charge-bearer-missing.xml", changed("<ChrgBr>SHAR</ChrgBr>", ""), "element_missing", "CH21"
    iban = "<IBAN>XX00EXAMPLE0000000001</IBAN>"
    yield "account-iban.xml", changed(account, iban), "element_invalid", "AC01"


def expected(files: dict[str, bytes], broken: list[tuple[str, bytes, str, str]]) -> bytes:
    """Return expected.toml: the ledger's answer to each payment not simply paid, and the code of each broken file.

    The answers hold when the files are submitted in the order of their names, each payment with the same expiry
    whenever it is sent.
    """
    answers = (
        ("cny-06-refusals.xml", 1, "credit_account_not_found", "AC03"),
        ("cny-06-refusals.xml", 2, "insufficient_funds", "AM04"),
        ("cny-07-again.xml", 1, "exists", ""),
        ("cny-07-again.xml", 2, "exists_with_different_amount", "DU03"),
    )
    lines = [
        "# What becomes of the examples that are not simply paid; written by examples/make_payments.py.",
        "format = 1",
    ]
    for name, payment, answer, reason in answers:
        if name not in files:
            problem = f"{name} was not written"
            raise ValueError(problem)
        lines += ["", "[[answer]]", f'file = "{name}"', f"payment = {payment}"]
        lines += [f'result = "{answer}"', f'reason_iso = "{reason}"']
    for name, _, code, reason in broken:
        lines += ["", "[[broken]]", f'file = "broken/{name}"', f'code = "{code}"', f'reason_iso = "{reason}"']
    return ("\n".join(lines) + "\n").encode()


def example_files(seed: int = SEED) -> dict[str, bytes]:
    """Return every file of the folder by its name."""
    files: dict[str, bytes] = {}
    for market in MARKETS:
        files.update(market_files(market, seed))
    broken = list(broken_files(seed))
    files["expected.toml"] = expected(files, broken)
    files.update((f"broken/{name}", data) for name, data, _, _ in broken)
    everyone = tuple(bank for market in MARKETS for bank in market.banks())
    comment = (
        "Participants and accounts of the example payments; written by examples/make_payments.py.\n"
        "Every account starts with opening_balance minor units of its ledger's currency."
    )
    files["directory.toml"] = write_directory(Directory(everyone, OPENING_BALANCE, {}), comment)
    return files


def main() -> None:
    """Write the files and say what was written."""
    parser = argparse.ArgumentParser(description="Write the example clearing files.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "iso20022")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    files = example_files(arguments.seed)
    for name, data in files.items():
        path = arguments.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes in {arguments.out}")


if __name__ == "__main__":
    main()
