# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan hold`: what waits for a compliance decision, and the decision itself, which takes two keys.

Two supervisors decide in one place, or each at his own: ``--out`` writes what the first has signed, ``approve`` adds
the second signature and sends it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.hold_approval import approve
from clearspan.cli.options import (
    ACCOUNT,
    OUT_FILE,
    TRANSFER_ID,
    as_option,
    json_option,
    ledger_option,
    network_option,
    timeout_option,
)
from clearspan.cli.output import Output, money
from clearspan.cli.supervising import signing_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.cli.supervising import Signing
    from engine.genesis import GenesisDomain, GenesisLedger
    from engine.holds import Hold

__all__ = ["command"]

_NS_PER_S = 1_000_000_000


@click.group("hold")
def command() -> None:
    """Show, release and reject what waits for a compliance decision."""


command.add_command(approve)


@command.command("list")
@ledger_option()
@as_option("operator")
@timeout_option
@network_option
@json_option
def list_holds(*, ledger_name: str, speaker: str, timeout_s: float, network_path: Path | None, as_json: bool) -> int:
    """List what waits, the oldest first on each shard. As supervisor the look is recorded in the log first."""
    from clearspan.cli.session import Session
    from clearspan.cli.supervising import read_rules

    session = Session.open(network_path, timeout_s)
    domain, ledger = session.ledger(ledger_name)

    async def ask() -> list[Hold]:
        async with session.connect(domain.domain, speaker) as client:
            _, holds, _ = await read_rules(session, client, domain.domain, speaker)
            return [each for each in holds if each.ledger == ledger.ledger]

    documents = [_document(each, ledger) for each in asyncio.run(ask())]
    output = Output(as_json=as_json)
    output.document({"ledger": ledger.currency, "holds": documents})
    rows = [
        (
            each["transfer"],
            each["from"],
            each["to"],
            each["amount"]["text"],
            each["rule"],
            each["owner"] or "none named",
            each["left_s"],
        )
        for each in documents
    ]
    columns = ("transfer", "from", "to", "amount>", "held by", "owner>", "seconds left>")
    output.table(columns, rows, empty=f"nothing waits on {ledger.currency}")
    if documents:
        first = f"{documents[0]['from']} {documents[0]['transfer']} --ledger {ledger.currency}"
        output.line(f"next: two supervisors decide: clearspan hold release {first}")
        output.line(f"                          or: clearspan hold reject {first}")
    return 0


def _document(hold: Hold, ledger: GenesisLedger) -> dict[str, Any]:
    from clearspan.iso20022.accounts import format_account

    return {
        "transfer": f"{hold.transfer:032x}",
        "from": format_account(hold.debit_account),
        "to": format_account(hold.credit_account),
        "amount": money(hold.amount, ledger.currency, ledger.scale),
        "kind": hold.kind.name.lower(),
        "rule": hold.reason.name.lower(),
        "state": hold.state.name.lower(),
        "owner": hold.owner,
        "deadline": str(hold.deadline),
        "left_s": max(0, hold.deadline - time.time_ns()) // _NS_PER_S,
        "digest": hold.digest.hex(),
    }


def _decision(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        signing_options,
        click.option("--out", type=OUT_FILE, help="Sign as --as alone and write it here; another supervisor approves."),
        click.option("--reason", type=click.IntRange(0, 65_535), default=0, help="Free number that is recorded."),
        ledger_option(),
        click.argument("transfer", type=TRANSFER_ID),
        click.argument("account", type=ACCOUNT),
    ):
        function = option(function)
    return function


@command.command("release")
@_decision
def release(**options: Any) -> int:
    """Let a held TRANSFER of ACCOUNT be what it was asked to be; supervisors of two participants sign."""
    return _decide("release", **options)


@command.command("reject")
@_decision
def reject(**options: Any) -> int:
    """Void a held TRANSFER of ACCOUNT; a supervisor and an operator sign, with --out two supervisors."""
    return _decide("reject", **options)


def _decide(
    what: str,
    *,
    account: int,
    transfer: int,
    ledger_name: str,
    reason: int,
    out: Path | None,
    signing: Signing,
) -> int:
    """Sign and send one decision; exit code 1 when the ledger refuses it."""
    session, output = signing.session(), signing.output()
    domain, ledger = session.ledger(ledger_name)
    about = account, transfer, ledger.ledger, reason
    if out is not None:
        return _write(what, session, domain, signing.speaker, about, out, output)
    asyncio.run(_send(what, session, domain, signing, about))
    output.document({"transfer": f"{transfer:032x}", "ledger": ledger.currency, "decision": what})
    output.line(f"{what} of {transfer:032x} is decided")
    return 0


def _write(  # noqa: PLR0917 - what, for whom, who signs, about what, where to
    what: str,
    session: Session,
    domain: GenesisDomain,
    speaker: str,
    about: tuple[int, int, int, int],
    out: Path,
    output: Output,
) -> int:
    """Sign one decision as the speaker's supervisor alone and write it for another to approve; nothing is sent."""
    from clearspan.cli.hold_approval import APPROVED_WITHIN_S, LateRequests, half_signed, supervisor_key
    from clearspan.supervision import hold_reject, hold_release

    account, transfer, ledger, reason = about
    key = supervisor_key(session, domain.domain, speaker)
    build = hold_release if what == "release" else hold_reject
    request = build(LateRequests(), account=account, ledger=ledger, transfer=transfer, reason=reason)
    half = half_signed(session.network.genesis, domain.domain, request, key)
    out.write_text(half.encode(), encoding="utf-8")
    output.document({"transfer": f"{transfer:032x}", "decision": what, "file": str(out), "sent": False})
    output.line(f"{what} of {transfer:032x} is signed once, and nothing is decided yet")
    minutes = APPROVED_WITHIN_S // 60
    output.line(f"next: another participant's supervisor, within {minutes} minutes: clearspan hold approve {out}")
    return 0


async def _send(
    what: str, session: Session, domain: GenesisDomain, signing: Signing, about: tuple[int, int, int, int]
) -> None:
    from clearspan.errors import ConfigError

    account, transfer, ledger, reason = about
    async with signing.supervision(session, domain.domain) as (_, found):
        if what == "reject":
            await found.reject(account, transfer, ledger=ledger, reason=reason)
            return
        try:
            await found.release(account, transfer, ledger=ledger, reason=reason)
        except ValueError as error:
            next_step = "name the key file of a supervisor of another participant: --key"
            raise ConfigError("--key", "only one participant's supervisor signs", next_step) from error
