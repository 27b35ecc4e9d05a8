# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan breaker`: circuit breakers per account, participant, ledger, reference or corridor: slow, hold, stop.

A breaker stops what would begin. It never stops a claim after the reveal, a refund, a post or a void.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import click

from clearspan.cli.options import OUT_FILE, as_option, json_option, ledger_option, network_option, timeout_option
from clearspan.cli.output import Output
from clearspan.cli.supervising import signing_options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from clearspan.cli.supervising import Signing
    from clearspan.supervision import Supervision
    from engine.admin import AdminRequest
    from engine.rules import Rule

__all__ = ["command"]

_NS_PER_S: Final = 1_000_000_000
_SUBJECTS: Final = ("account", "participant", "ledger", "reference", "corridor")
_GRADES: Final = ("slow", "hold", "stop")


@click.group("breaker")
def command() -> None:
    """Set and clear circuit breakers, and list them."""


def _common(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        signing_options,
        click.option("--reason", type=click.IntRange(1, 65_535), required=True, help="Free number that is recorded."),
        click.option("--out", type=OUT_FILE, help="Of a corridor: file that carries it to further bridges."),
        ledger_option(),
        click.argument("subject"),
        click.argument("kind", type=click.Choice(_SUBJECTS)),
    ):
        function = option(function)
    return function


@command.command("set")
@click.option("--grade", type=click.Choice(_GRADES), required=True, help="What it does to what would begin.")
@click.option("--for-s", "seconds", type=click.IntRange(1, 31_536_000), required=True, help="How long it stands.")
@click.option("--per-second", type=click.IntRange(1), help="Transfers a second that slow lets through.")
@_common
def set_breaker(*, grade: str, seconds: int, per_second: int | None, **options: Any) -> int:
    """Set a breaker on KIND SUBJECT of a ledger's domain; operator and supervisor sign.

    SUBJECT is an account id, a participant's number, a ledger by currency or number, a reference of 32 digits, or a
    corridor by its pair, such as CNY-HKD. One on a corridor is handed on to every bridge that this folder knows, which
    believes it for the ledger's receipt alone. Each of a corridor's two ledgers sets and lifts its own.
    """
    from clearspan.errors import ConfigError
    from engine.types import BreakerGrade, BreakerSubject

    if (grade == "slow") != (per_second is not None):
        raise ConfigError("--per-second", "goes with --grade slow, and only with it", "say how many a second")

    async def send(found: Supervision, kind: int, subject: int, reason: int) -> AdminRequest:
        return await found.set_breaker(
            BreakerSubject(kind),
            subject,
            BreakerGrade[grade.upper()],
            until_ns=time.time_ns() + seconds * _NS_PER_S,
            reason=reason,
            per_second=per_second or 0,
        )

    return _change({"grade": grade, "for_s": seconds, "per_second": per_second or 0}, send, **options)


@command.command("clear")
@_common
def clear(**options: Any) -> int:
    """Lift the breaker on KIND SUBJECT before its end; operator and supervisor sign."""
    from engine.types import BreakerSubject

    async def send(found: Supervision, kind: int, subject: int, reason: int) -> AdminRequest:
        return await found.clear_breaker(BreakerSubject(kind), subject, reason=reason)

    return _change({"grade": "none"}, send, **options)


def _change(
    said: dict[str, Any],
    send: Callable[..., Awaitable[AdminRequest]],
    *,
    kind: str,
    subject: str,
    ledger_name: str,
    reason: int,
    out: Path | None,
    signing: Signing,
) -> int:
    """Sign and send one change; exit code 1 when the ledger refuses it, 3 when a bridge was not told of it."""
    from clearspan.bridging.rules.files import breaker_file
    from clearspan.cli.corridor_breakers import corridor_number, final_height, next_height, tell_bridges
    from engine.types import BreakerSubject

    session = signing.session()
    domain, _ = session.ledger(ledger_name)
    number = (
        session.ledger(subject)[1].ledger
        if kind == "ledger"
        else corridor_number(session, subject)
        if kind == "corridor"
        else _number(kind, subject)
    )

    async def work() -> tuple[bytes, list[dict[str, Any]]]:
        async with signing.supervision(session, domain.domain) as (client, found):
            height = await next_height(client, domain.domain) if kind == "corridor" else 0
            body = (await send(found, int(BreakerSubject[kind.upper()]), number, reason)).encode()
            if kind != "corridor":
                return b"", []
            height = await final_height(session, client, domain.domain, height, body)
            told = await tell_bridges(session, domain, height, body, signing.speaker)
            return breaker_file(domain.domain, height, body), told

    carried, told = asyncio.run(work())
    if out is not None:
        out.write_bytes(carried)
    output = signing.output()
    document = {"domain": domain.name, "kind": kind, "subject": f"{number:x}", "reason": reason, **said}
    output.document(document if kind != "corridor" else {**document, "bridges": told})
    output.line(f"{kind} {subject} on {domain.name}: {said['grade']}")
    for each in told:
        output.line(f"  bridge of participant {each['participant']}: {each['said']}")
    return 0 if all(each["told"] for each in told) else 3


def _number(kind: str, text: str) -> int:
    from clearspan.errors import ConfigError

    digits = text.replace("-", "")
    base = 10 if kind == "participant" else 16
    try:
        return int(digits, base)
    except ValueError as error:
        raise ConfigError("SUBJECT", f"{text[:60]!r} is no {kind}", "write an id as the list shows it") from error


@command.command("list")
@ledger_option()
@as_option("operator")
@timeout_option
@network_option
@json_option
def list_breakers(*, ledger_name: str, speaker: str, timeout_s: float, network_path: Path | None, as_json: bool) -> int:
    """List the breakers that stand in a ledger's domain. As supervisor the look is recorded in the log first."""
    from clearspan.cli.session import Session
    from clearspan.cli.supervising import read_rules
    from engine.types import RuleType

    session = Session.open(network_path, timeout_s)
    domain, _ = session.ledger(ledger_name)

    async def ask() -> list[Rule]:
        async with session.connect(domain.domain, speaker) as client:
            rules, _, _ = await read_rules(session, client, domain.domain, speaker)
            return [each for each in rules if each.type == RuleType.BREAKER]

    documents = [_document(each) for each in asyncio.run(ask())]
    output = Output(as_json=as_json)
    output.document({"domain": domain.name, "breakers": documents})
    rows = [
        (each["kind"], each["subject"], each["grade"], each["per_second"] or "", each["reason"], each["left_s"])
        for each in documents
    ]
    columns = ("on", "subject", "grade", "a second>", "reason>", "seconds left>")
    output.table(columns, rows, empty=f"no breaker stands in domain {domain.name}")
    return 0


def _document(rule: Rule) -> dict[str, Any]:
    from engine.types import BreakerGrade, BreakerSubject

    kind = BreakerSubject(rule.kind)
    subject = (
        str(rule.subject) if kind in (BreakerSubject.PARTICIPANT, BreakerSubject.LEDGER) else f"{rule.subject:032x}"
    )
    return {
        "kind": kind.name.lower(),
        "subject": subject,
        "grade": BreakerGrade(rule.action).name.lower(),
        "per_second": rule.limit_a,
        "reason": rule.reason,
        "until": str(rule.until),
        "left_s": max(0, rule.until - time.time_ns()) // _NS_PER_S,
    }
