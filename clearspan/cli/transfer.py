# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan transfer`: make one transfer, signed with a key of this folder."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import (
    ACCOUNT,
    TRANSFER_ID,
    as_option,
    json_option,
    ledger_option,
    network_option,
    timeout_option,
)
from clearspan.cli.output import Output, money

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.client import Result

__all__ = ["command", "make_transfer", "result_document"]


@click.command("transfer")
@click.option("--from", "debit_account", type=ACCOUNT, required=True, help="Account that pays.")
@click.option("--to", "credit_account", type=ACCOUNT, required=True, help="Account that is paid.")
@click.option("--amount", required=True, help="In major units, such as 12.50.")
@ledger_option()
@click.option("--id", "transfer_id", type=TRANSFER_ID, help="The transfer's id [default: a new one].")
@click.option("--key-id", type=click.IntRange(1), default=None, help="Key that signs [default: the account's].")
@as_option("clearing-house")
@timeout_option
@network_option
@json_option
def command(
    *,
    debit_account: int,
    credit_account: int,
    amount: str,
    ledger_name: str,
    timeout_s: float,
    network_path: Path | None,
    **options: Any,
) -> int:
    """Make one transfer and say what became of it. Exit code 1 when it is refused.

    The same id is never paid twice: sending it again is answered with the first outcome, or refused if it differs.
    """
    from clearspan.cli.session import Session

    session = Session.open(network_path, timeout_s)
    return make_transfer(session, ledger_name, debit_account, credit_account, amount, **options)


def make_transfer(
    session: Session,
    ledger_name: str,
    debit_account: int,
    credit_account: int,
    amount: str,
    *,
    speaker: str,
    as_json: bool,
    transfer_id: int | None = None,
    key_id: int | None = None,
) -> int:
    """Sign and submit one plain transfer; print the outcome and return the exit code."""
    from clearspan.currencies import to_minor
    from clearspan.iso20022.accounts import format_account
    from clearspan.signer import Signer
    from engine.batch import sign_messages

    domain, ledger = session.ledger(ledger_name)
    minor = to_minor(amount, ledger.currency)
    key = session.account_signer(domain.domain, debit_account, key_id or 0)
    genesis = session.network.genesis
    signer = Signer(genesis, key.ring)
    record = signer.transfer(
        debit_account=debit_account,
        credit_account=credit_account,
        amount=minor,
        ledger=ledger.ledger,
        key_id=key.key_id,
        valid_for_s=ledger.window_s,
        transfer_id=transfer_id,
    )
    ((_, digest),) = sign_messages(genesis.hash_suite, genesis.hash, [record])

    async def send() -> Result:
        async with session.connect(domain.domain, speaker) as client:
            return (await client.submit(signer.sign(domain.domain, [record])))[0]

    result = asyncio.run(send())
    output = Output(as_json=as_json)
    found = money(minor, ledger.currency, ledger.scale)
    output.document(
        {
            "id": f"{record.id:032x}",
            "digest": digest.hex(),
            "debit_account": format_account(debit_account),
            "credit_account": format_account(credit_account),
            "amount": found,
            **result_document(result),
        }
    )
    output.line(f"{result.name}: {found['text']} to {format_account(credit_account)}, id {record.id:032x}")
    output.line(f"digest {digest.hex()}")
    if not result.settled:
        output.note(f"next: {result.next_step}")
    return 0 if result.settled else 1


def result_document(result: Result) -> dict[str, Any]:
    """Return an outcome as JSON documents carry it."""
    from engine.codes import code_name

    return {
        "code": result.name,
        "number": result.code,
        "answer": code_name(result.answer),
        "class": result.code_class.value,
        "settled": result.settled,
        "time": result.time,
        "next_step": result.next_step,
    }
