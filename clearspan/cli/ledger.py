# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan ledger`: issue and redeem money, and show what is in circulation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import ACCOUNT, as_option, json_option, ledger_option, network_option, timeout_option
from clearspan.cli.output import Output, money

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.client import AsyncClient, ShardView
    from engine.genesis import GenesisDomain, GenesisLedger
    from engine.header import Header

__all__ = ["command"]


@click.group("ledger")
def command() -> None:
    """Issue, redeem, and show what is in circulation."""


@command.command("issue")
@ledger_option()
@click.option("--to", "account", type=ACCOUNT, required=True, help="Account that receives it.")
@click.option("--amount", required=True, help="In major units, such as 1000.00.")
@as_option("issuer")
@timeout_option
@network_option
@json_option
def issue(
    *,
    ledger_name: str,
    account: int,
    amount: str,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Issue an amount to an account: one issuer key makes it pending, the other posts it."""
    from clearspan.administration import Member
    from clearspan.cli.session import Session
    from clearspan.currencies import to_minor
    from clearspan.iso20022.accounts import format_account
    from engine.codes import code_name

    session = Session.open(network_path, timeout_s)
    domain, ledger = session.ledger(ledger_name)
    minor = to_minor(amount, ledger.currency)
    issuer = Member(ledger.issuer, "issuer", session.network.load_keys(domain.domain, ledger.issuer))

    async def send() -> list[int]:
        async with session.connect(domain.domain, speaker) as client:
            return await session.desk(client, domain.domain).issue(issuer, [(account, minor)], ledger.ledger)

    (code,) = asyncio.run(send())
    output = Output(as_json=as_json)
    found = money(minor, ledger.currency, ledger.scale)
    output.document(
        {
            "ledger": ledger.ledger,
            "account": format_account(account),
            "amount": found,
            "code": code_name(code),
            "settled": True,
        }
    )
    output.line(f"{code_name(code)}: {found['text']} issued to {format_account(account)}")


@command.command("redeem")
@ledger_option()
@click.option("--from", "account", type=ACCOUNT, required=True, help="Account that gives it back.")
@click.option("--amount", required=True, help="In major units, such as 1000.00.")
@as_option("clearing-house")
@timeout_option
@network_option
@json_option
def redeem(*, ledger_name: str, account: int, amount: str, **options: Any) -> int:
    """Give an amount back to the issuer, signed by the account's own key; it leaves circulation."""
    from clearspan.administration import ISSUER_SERIAL
    from clearspan.cli.session import Session
    from clearspan.cli.transfer import make_transfer
    from engine.record import ordinary_account_id

    session = Session.open(options.pop("network_path"), options.pop("timeout_s"))
    _, ledger = session.ledger(ledger_name)
    target = ordinary_account_id(ledger.issuer, ISSUER_SERIAL)
    return make_transfer(session, ledger_name, account, target, amount, **options)


@command.command("show")
@ledger_option(required=False)
@as_option("operator")
@timeout_option
@network_option
@json_option
def show(*, ledger_name: str | None, speaker: str, timeout_s: float, network_path: Path | None, as_json: bool) -> None:
    """Show a ledger, or all: what its issuer has in circulation, and what each shard's newest signed header says."""
    from clearspan.cli.session import Session

    session = Session.open(network_path, timeout_s)
    if ledger_name is not None:
        wanted = [session.ledger(ledger_name)]
    else:
        wanted = [(domain, ledger) for domain in session.network.genesis.domains for ledger in domain.ledgers]

    async def ask() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(_show(session, domain, ledger, speaker) for domain, ledger in wanted)))

    found = asyncio.run(ask())
    output = Output(as_json=as_json)
    output.document({"ledgers": found})
    rows = [
        (
            each["currency"],
            each["supply"]["text"],
            shard["shard"],
            shard["height"],
            shard["debits_posted"]["text"],
            shard["debits_pending"]["text"],
        )
        for each in found
        for shard in each["shards"]
    ]
    output.table(["ledger", "in circulation>", "shard>", "height>", "posted in all>", "pending>"], rows)


async def _show(session: Session, domain: GenesisDomain, ledger: GenesisLedger, speaker: str) -> dict[str, Any]:
    from clearspan.administration import ISSUER_SERIAL
    from engine.record import ordinary_account_id

    shards = []
    async with session.connect(domain.domain, speaker) as client:
        (issuer,) = await client.accounts([ordinary_account_id(ledger.issuer, ISSUER_SERIAL)])
        status = await client.status()
        for shard in status.shards:
            header = await _newest_header(client, shard)
            if header is not None:
                shards.append(_shard_document(header, ledger))
    supply = -issuer.balance if issuer is not None else 0
    return {
        "ledger": ledger.ledger,
        "currency": ledger.currency,
        "scale": ledger.scale,
        "domain": domain.domain,
        "issuer": ledger.issuer,
        "issuer_account_open": issuer is not None,
        "supply": money(supply, ledger.currency, ledger.scale),
        "shards": shards,
    }


async def _newest_header(client: AsyncClient, shard: ShardView) -> Header | None:
    """Return the newest header that is signed: a seal counts as durable a moment before its header is kept."""
    for height in (shard.height, shard.height - 1):
        if height > 0:
            async for signed in client.blocks(shard.shard, from_height=height):
                return signed.header
    return None


def _shard_document(header: Header, ledger: GenesisLedger) -> dict[str, Any]:
    entry = next(each for each in header.ledgers if each.ledger == ledger.ledger)
    amounts = {
        "debits_pending": entry.debits_pending,
        "debits_posted": entry.debits_posted,
        "channel_credits": entry.channel_credits,
        "channel_debits": entry.channel_debits,
    }
    return {
        "shard": header.shard,
        "height": header.height,
        "time": header.time,
        **{name: money(value, ledger.currency, ledger.scale) for name, value in amounts.items()},
    }
