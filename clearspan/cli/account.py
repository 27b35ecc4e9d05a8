# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan account`: open, show, freeze, unfreeze and close accounts."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import (
    ACCOUNT,
    as_option,
    domain_option,
    json_option,
    ledger_option,
    network_option,
    timeout_option,
)
from clearspan.cli.output import Output, money

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.client import AccountView
    from engine.types import AdminType

__all__ = ["command"]


@click.group("account")
def command() -> None:
    """Open, show, freeze and close accounts."""


@command.command("open")
@click.option("--participant", type=int, required=True, help="Whose accounts they are.")
@ledger_option()
@click.option(
    "--serial", type=click.IntRange(1, 2**64 - 1), help="Serial of the first one [default: the next free one]."
)
@click.option(
    "--count", type=click.IntRange(1, 8192), default=1, show_default=True, help="How many, with serials in a row."
)
@click.option("--key-id", type=click.IntRange(1), help="The account key that serves them [default: the newest].")
@as_option("operator")
@timeout_option
@network_option
@json_option
def open_(
    *,
    participant: int,
    ledger_name: str,
    serial: int | None,
    count: int,
    key_id: int | None,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Open accounts of a participant, signed by its registrar. They hold nothing and have no credit."""
    from clearspan.cli.session import Session
    from clearspan.iso20022.accounts import format_account
    from engine.record import ordinary_account_id

    session = Session.open(network_path, timeout_s)
    domain, ledger = session.ledger(ledger_name)
    known = session.network.participant(domain.domain, participant)
    taken = [account & 0xFFFF_FFFF_FFFF_FFFF for account in known.accounts] if known is not None else []
    first = serial if serial is not None else max(taken, default=0) + 1
    accounts = [ordinary_account_id(participant, first + place) for place in range(count)]
    key = asyncio.run(_open(session, domain.domain, ledger.ledger, accounts, key_id=key_id or 0, speaker=speaker))
    session.network.note_accounts(domain.domain, participant, dict.fromkeys(accounts, key))
    texts = [format_account(account) for account in accounts]
    output = Output(as_json=as_json)
    output.document(
        {
            "participant": participant,
            "ledger": ledger.ledger,
            "currency": ledger.currency,
            "key_id": key,
            "accounts": texts,
        }
    )
    for text in texts:
        output.line(text)


async def _open(
    session: Session, domain: int, ledger: int, accounts: Sequence[int], *, key_id: int, speaker: str
) -> int:
    from engine.record import participant_of_account
    from engine.types import AdminType, Role

    participant = participant_of_account(accounts[0])
    signer = session.signer(domain, participant, Role.ACCOUNT, key_id)
    registrar = session.signer(domain, participant, Role.REGISTRAR)
    async with session.connect(domain, speaker) as client:
        desk = session.desk(client, domain)
        requests = [
            desk.request(
                AdminType.ACCOUNT_OPEN,
                participant=participant,
                subject=account,
                ledger=ledger,
                key_id=signer.key_id,
            )
            for account in accounts
        ]
        await desk.send(requests, [registrar] * len(requests))
    return signer.key_id


@command.command("show")
@click.argument("accounts", type=ACCOUNT, nargs=-1, required=True)
@domain_option
@as_option("operator")
@timeout_option
@network_option
@json_option
def show(
    *,
    accounts: tuple[int, ...],
    domain_name: str | None,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> int:
    """Show ACCOUNTS: what they hold, what is reserved, and what a debit may take. Exit code 1 when one is missing."""
    from clearspan.cli.session import Session
    from clearspan.iso20022.accounts import format_account
    from engine.record import participant_of_account

    session = Session.open(network_path, timeout_s)
    domain = session.domain(domain_name, participant_of_account(accounts[0])).domain

    async def ask() -> list[AccountView | None]:
        async with session.connect(domain, speaker) as client:
            return await client.accounts(accounts)

    views = asyncio.run(ask())
    output = Output(as_json=as_json)
    output.document(
        {
            "accounts": [
                _document(view) if view is not None else {"account": format_account(account), "found": False}
                for account, view in zip(accounts, views, strict=True)
            ]
        }
    )
    rows = [_row(view) for view in views if view is not None]
    if rows:
        output.table(["account", "balance>", "reserved>", "available>", "state"], rows)
    missing = [account for account, view in zip(accounts, views, strict=True) if view is None]
    for account in missing:
        output.note(f"{format_account(account)}: no such account on this domain")
    return 1 if missing else 0


def _document(view: AccountView) -> dict[str, Any]:
    from clearspan.iso20022.accounts import format_account

    account = view.account
    document: dict[str, Any] = {
        "account": format_account(account.id),
        "found": True,
        "participant": view.participant,
        "ledger": account.ledger,
        "currency": view.currency,
        "state": _state(view),
        "opened_at": account.opened_at,
        "whole": view.whole,
    }
    if view.whole:
        amounts = {
            "balance": view.balance,
            "available": view.available,
            "debits_pending": account.debits_pending,
            "debits_posted": account.debits_posted,
            "credits_pending": account.credits_pending,
            "credits_posted": account.credits_posted,
            "credit_limit": account.credit_limit,
            "balance_max": account.balance_max,
        }
        document |= {name: money(value, view.currency, view.scale) for name, value in amounts.items()}
    return document


def _row(view: AccountView) -> tuple[str, ...]:
    from clearspan.iso20022.accounts import format_account

    amounts = ("", "", "")
    if view.whole:
        account = view.account
        numbers = (view.balance, account.debits_pending, view.available)
        amounts = tuple(money(number, view.currency, view.scale)["text"] for number in numbers)  # type: ignore[assignment]
    return (format_account(view.id), *amounts, _state(view))


def _state(view: AccountView) -> str:
    from engine.types import AccountFlag

    flags = view.account.flags
    if flags & AccountFlag.CLOSED:
        return "closed"
    if view.account.frozen(time.time_ns()):
        return "frozen"
    return "issuer" if flags & AccountFlag.ISSUER else "suspense" if flags & AccountFlag.SUSPENSE else "open"


@command.command("tier")
@click.argument("account", type=ACCOUNT)
@ledger_option()
@click.option(
    "--tier", type=click.IntRange(0, 65_535), required=True, help="Number of the tier; 0 takes it out of any."
)
@as_option("operator")
@timeout_option
@network_option
@json_option
def tier(
    *,
    account: int,
    ledger_name: str,
    tier: int,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> None:
    """Put ACCOUNT into a tier of its ledger, signed by the ledger's issuer."""
    from clearspan.cli.session import Session
    from clearspan.iso20022.accounts import format_account
    from clearspan.supervision import account_tier
    from engine.types import Role

    session = Session.open(network_path, timeout_s)
    domain, ledger = session.ledger(ledger_name)
    issuer = session.signer(domain.domain, ledger.issuer, Role.ISSUER)

    async def send() -> None:
        async with session.connect(domain.domain, speaker) as client:
            desk = session.desk(client, domain.domain)
            await desk.send([account_tier(desk, account=account, ledger=ledger.ledger, tier=tier)], [issuer])

    asyncio.run(send())
    output = Output(as_json=as_json)
    output.document({"account": format_account(account), "tier": tier})
    output.line(f"{format_account(account)}: tier {tier}")


# Freezing, unfreezing and closing are one shape: two keys of operator and supervisor, a reason, the account.


def _watched(function: Callable[..., None]) -> Callable[..., None]:
    """Add what the three verbs share."""
    decorators = (
        click.argument("account", type=ACCOUNT),
        ledger_option(),
        click.option(
            "--reason", type=click.IntRange(0, 65_535), default=0, show_default=True, help="Number of the reason."
        ),
        as_option("supervisor"),
        timeout_option,
        network_option,
        json_option,
    )
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


@command.command("freeze")
@click.option("--for-s", type=click.IntRange(1), help="End by itself after so many seconds [default: it has no end].")
@_watched
def freeze(*, for_s: int | None, **options: Any) -> None:
    """Stop new debits of ACCOUNT, signed by a supervisor and an operator. Pendings made before may still be posted."""
    from engine.types import NS_PER_S, AdminType

    until = time.time_ns() + for_s * NS_PER_S if for_s is not None else 0
    _watch(AdminType.ACCOUNT_FREEZE, until=until, **options)


@command.command("unfreeze")
@_watched
def unfreeze(**options: Any) -> None:
    """Let ACCOUNT be debited again, signed by a supervisor and an operator."""
    from engine.types import AdminType

    _watch(AdminType.ACCOUNT_UNFREEZE, **options)


@command.command("close")
@_watched
def close(**options: Any) -> None:
    """Close ACCOUNT for ever, signed by a supervisor and an operator. It must be empty and without pendings."""
    from engine.types import AdminType

    _watch(AdminType.ACCOUNT_CLOSE, **options)


def _watch(
    kind: AdminType,
    *,
    account: int,
    ledger_name: str,
    reason: int,
    speaker: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
    until: int = 0,
) -> None:
    from clearspan.administration import RingKey
    from clearspan.cli.session import Session
    from clearspan.iso20022.accounts import format_account
    from engine.types import Role

    session = Session.open(network_path, timeout_s)
    domain, ledger = session.ledger(ledger_name)
    supervisor = RingKey(session.domain_keys(domain.domain, Role.SUPERVISOR), 0)
    operator = RingKey(session.domain_keys(domain.domain, Role.OPERATOR), 0)

    async def send() -> None:
        async with session.connect(domain.domain, speaker) as client:
            desk = session.desk(client, domain.domain)
            request = desk.request(kind, subject=account, ledger=ledger.ledger, reason=reason, limit_a=until)
            await desk.send([request], [supervisor], [operator])

    asyncio.run(send())
    output = Output(as_json=as_json)
    output.document({"account": format_account(account), "done": kind.name.lower(), "reason": reason, "until": until})
    output.line(f"{format_account(account)}: {kind.name.lower().replace('account_', '')} done")
