# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan ledger`: issue and redeem money, show what is in circulation, and set what is held."""

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
from clearspan.cli.supply import supply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clearspan.administration import AdminDesk
    from clearspan.cli.session import Session
    from clearspan.client import AsyncClient, ShardView
    from engine.admin import AdminRequest
    from engine.genesis import GenesisDomain, GenesisLedger
    from engine.header import Header

__all__ = ["command"]


@click.group("ledger")
def command() -> None:
    """Issue, redeem, show and prove what is in circulation, and set what is held or limited."""


command.add_command(supply)


@command.command("issue")
@ledger_option()
@click.option("--to", "account", type=ACCOUNT, required=True, help="Account that receives it.")
@click.option("--amount", required=True, help="In major units, such as 1000.00.")
@click.option("--first-key", "first_only", is_flag=True, help="Sign with the first key only; another person confirms.")
@click.option("--confirm", "pending", type=TRANSFER_ID, help="Confirm what the first key made pending, by its id.")
@as_option("issuer")
@timeout_option
@network_option
@json_option
def issue(
    *,
    ledger_name: str,
    account: int,
    amount: str,
    first_only: bool,
    pending: int | None,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Issue an amount to an account: one issuer key makes it pending, the other posts it.

    Two people at two places do it in two steps: --first-key prints an id, --confirm takes it with the same account and
    amount. Until then nothing is in circulation.
    """
    from clearspan.administration import Member
    from clearspan.cli.session import Session
    from clearspan.currencies import to_minor
    from clearspan.iso20022.accounts import format_account
    from engine.codes import ResultCode, code_name

    if first_only and pending is not None:
        message = "--first-key begins and --confirm ends: give one of them"
        raise click.UsageError(message)
    session = Session.open(network_path, timeout_s)
    domain, ledger = session.ledger(ledger_name)
    minor = to_minor(amount, ledger.currency)
    issuer = Member(ledger.issuer, "issuer", session.network.load_keys(domain.domain, ledger.issuer))

    async def send() -> tuple[int, int]:
        async with session.connect(domain.domain, speaker) as client:
            desk = session.desk(client, domain.domain)
            if first_only:
                return int(ResultCode.CREATED), await desk.issue_first(issuer, account, minor, ledger.ledger)
            if pending is not None:
                return await desk.issue_second(issuer, account, minor, pending, ledger.ledger), pending
            (code,) = await desk.issue(issuer, [(account, minor)], ledger.ledger)
            return code, 0

    code, waiting = asyncio.run(send())
    output = Output(as_json=as_json)
    found = money(minor, ledger.currency, ledger.scale)
    output.document(
        {
            "ledger": ledger.ledger,
            "account": format_account(account),
            "amount": found,
            "code": code_name(code),
            "settled": not first_only,
            "transfer": f"{waiting:032x}" if waiting else "",
        }
    )
    if first_only:
        output.line(f"{found['text']} for {format_account(account)} wait for the second key: nothing is issued yet")
        again = f"--ledger {ledger.currency} --to {format_account(account)} --amount {amount}"
        output.line(f"next: clearspan ledger issue {again} --confirm {waiting:032x}")
        return
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


@command.command("rules")
@ledger_option()
@click.option(
    "--hold-from", "threshold", required=True, help="Hold what reaches this, in major units; 0 holds nothing."
)
@click.option("--hold-for-s", type=click.IntRange(0), default=0, help="Seconds until a hold is void [default: a day].")
@click.option(
    "--owner", type=click.IntRange(0), default=0, help="Participant who answers for holds [default: none named]."
)
@as_option("operator")
@timeout_option
@network_option
@json_option
def rules(*, ledger_name: str, threshold: str, hold_for_s: int, owner: int, as_json: bool, **options: Any) -> None:
    """Set from which amount on transfers wait for two supervisors, signed by operator and supervisor."""
    from clearspan.currencies import to_minor
    from clearspan.supervision import ledger_rules
    from engine.types import NS_PER_S

    def build(desk: AdminDesk, ledger: GenesisLedger) -> AdminRequest:
        minor = to_minor(threshold, ledger.currency) if threshold != "0" else 0
        return ledger_rules(desk, ledger=ledger.ledger, threshold=minor, hold_ns=hold_for_s * NS_PER_S, owner=owner)

    request, ledger = _set(ledger_name, build, **options)
    output = Output(as_json=as_json)
    found = money(request.limit_a, ledger.currency, ledger.scale)
    output.document({"ledger": ledger.ledger, "hold_from": found, "hold_ns": request.limit_b, "owner": owner})
    output.line(
        f"{ledger.currency}: held from {found['text']} on" if request.limit_a else f"{ledger.currency}: nothing is held"
    )


@command.command("tier")
@ledger_option()
@click.option("--tier", type=click.IntRange(1, 65_535), required=True, help="Number of the tier.")
@click.option("--amount-max", help="Most of one transfer, in major units [default: no bound].")
@click.option("--day-max", help="Most of a day, in major units [default: no bound].")
@click.option("--day-count", type=click.IntRange(0), default=0, help="Transfers of a day [default: no bound].")
@click.option("--hold", "holds", is_flag=True, help="Hold what goes beyond, instead of refusing it.")
@as_option("operator")
@timeout_option
@network_option
@json_option
def tier(
    *,
    ledger_name: str,
    tier: int,
    amount_max: str | None,
    day_max: str | None,
    day_count: int,
    holds: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Set what accounts of a tier may send, signed by operator and supervisor."""
    from clearspan.currencies import to_minor
    from clearspan.supervision import ledger_tier
    from engine.types import TierAction

    def build(desk: AdminDesk, ledger: GenesisLedger) -> AdminRequest:
        most, day = (to_minor(each, ledger.currency) if each else 0 for each in (amount_max, day_max))
        return ledger_tier(
            desk,
            ledger=ledger.ledger,
            tier=tier,
            action=TierAction.HOLD if holds else TierAction.REFUSE,
            amount_max=most,
            day_amount_max=day,
            day_count_max=day_count,
        )

    request, ledger = _set(ledger_name, build, **options)
    output = Output(as_json=as_json)
    most, day = (money(each, ledger.currency, ledger.scale) for each in (request.limit_a, request.limit_b))
    action = "hold" if holds else "refuse"
    output.document(
        {
            "ledger": ledger.ledger,
            "tier": tier,
            "amount_max": most,
            "day_max": day,
            "day_count": day_count,
            "beyond": action,
        }
    )
    output.line(f"{ledger.currency} tier {tier}: at once {most['text']}, a day {day['text']}, beyond that {action}")


def _set(
    ledger_name: str,
    build: Callable[[AdminDesk, GenesisLedger], AdminRequest],
    *,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
) -> tuple[AdminRequest, GenesisLedger]:
    """Sign a request by the operator's and the supervisor's first keys and send it; return it with its ledger."""
    from clearspan.administration import RingKey
    from clearspan.cli.session import Session
    from engine.types import Role

    session = Session.open(network_path, timeout_s)
    domain, ledger = session.ledger(ledger_name)
    signers = [RingKey(session.domain_keys(domain.domain, role), 0) for role in (Role.OPERATOR, Role.SUPERVISOR)]

    async def send() -> AdminRequest:
        async with session.connect(domain.domain, speaker) as client:
            desk = session.desk(client, domain.domain)
            request = build(desk, ledger)
            await desk.send([request], signers[:1], signers[1:])
            return request

    return asyncio.run(send()), ledger


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
