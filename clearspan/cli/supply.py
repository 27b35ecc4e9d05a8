# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan ledger supply`: how much of a ledger's money is in circulation, proven up to a quorum of validators.

It promises that the number shown is the one in the receipt that was checked, and not what a node says.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import (
    ACCOUNT,
    OUT_FILE,
    as_option,
    json_option,
    ledger_option,
    network_option,
    timeout_option,
)
from clearspan.cli.output import Output, money

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.client import ProvenBalance

__all__ = ["supply"]


@click.command("supply")
@ledger_option()
@click.option("--account", type=ACCOUNT, help="The issuer's account [default: its first].")
@click.option("--out", type=OUT_FILE, required=True, help="File to write the receipt to.")
@as_option("issuer")
@timeout_option
@network_option
@json_option
def supply(
    *,
    ledger_name: str,
    account: int | None,
    out: Path,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Prove what an issuer's account has in circulation, and write the receipt that anyone can check offline.

    An issuer with several accounts proves each; supply is their sum. Check it: clearspan receipt verify FILE.
    """
    from clearspan.administration import ISSUER_SERIAL
    from clearspan.cli.session import Session
    from clearspan.errors import ConfigError
    from clearspan.iso20022.accounts import format_account
    from engine.record import ordinary_account_id, participant_of_account

    session = Session.open(network_path, timeout_s)
    domain, ledger = session.ledger(ledger_name)
    chosen = account if account is not None else ordinary_account_id(ledger.issuer, ISSUER_SERIAL)
    if participant_of_account(chosen) != ledger.issuer:
        reason = f"{format_account(chosen)} is no account of participant {ledger.issuer}, who issues {ledger.currency}"
        raise ConfigError("--account", reason, "name an account of the issuer")

    async def ask() -> ProvenBalance:
        async with session.connect(domain.domain, speaker) as client:
            return await client.balance_receipt(chosen, wait_s=session.timeout_s, verified=True)

    found = asyncio.run(ask())
    out.write_bytes(found.data)
    held, at = found.finding.account, found.finding.anchorage

    def shown(minor: int) -> dict[str, str]:
        return money(minor, ledger.currency, ledger.scale)

    document: dict[str, Any] = {
        "ledger": ledger.ledger,
        "currency": ledger.currency,
        "issuer": ledger.issuer,
        "account": format_account(held.id),
        "supply": shown(held.debits_posted - held.credits_posted),
        "issued": shown(held.debits_posted),
        "redeemed": shown(held.credits_posted),
        "waiting_for_second_key": shown(held.debits_pending),
        "shard": at.shard,
        "height": at.height,
        "relay_height": at.relay_height,
        "relay_time": at.relay_time,
        "power": at.power,
        "state": at.state,
        "file": str(out),
    }
    output = Output(as_json=as_json)
    output.document(document)
    output.line(f"{document['supply']['text']} are in circulation, by issuer account {document['account']}")
    output.line(f"{document['issued']['text']} were issued, {document['redeemed']['text']} came back")
    if held.debits_pending:
        output.line(f"{document['waiting_for_second_key']['text']} more wait for the issuer's second key")
    output.line(f"{at.state}: block {at.height} of shard {at.shard}, relay block {at.relay_height}, power {at.power}")
    output.line(f"check it offline: clearspan receipt verify {out}")
