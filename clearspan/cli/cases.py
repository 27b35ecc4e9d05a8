# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan bridge cases`: payments that a bridge holds for people, and their decision, which takes two officers.

An officer is a certificate of the bridge's participant: who proposes with one cannot confirm with the same.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import json_option, network_option, timeout_option
from clearspan.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clearspan.v1 import bridge_pb2

__all__ = ["command"]

_NS_PER_S = 1_000_000_000
_participant_option = click.option(
    "--participant", type=click.IntRange(1), help="Whose bridge is asked [default: the only one that is no provider's]."
)
_certificate_option = click.option(
    "--certificate", default="", help="The officer's certificate in the folder tls [default: the bridge's own]."
)
_reason_option = click.option("--reason", required=True, help="Why, for whoever reads the case later.")


@click.group("cases")
def command() -> None:
    """Show, release and reject payments that are held before anything is locked."""


def _common(function: Any) -> Any:
    for option in (json_option, network_option, timeout_option, _certificate_option, _participant_option):
        function = option(function)
    return function


@command.command("list")
@_common
def list_cases(*, as_json: bool, network_path: Path | None, timeout_s: float, **options: Any) -> int:
    """List what nobody has decided, those first whose time ends first."""
    from clearspan.cli.bridges import bridge_client, the_bridge
    from clearspan.cli.session import Session

    session = Session.open(network_path, timeout_s)
    participant = the_bridge(session, options["participant"])

    async def ask() -> bridge_pb2.ListCasesReply:
        async with bridge_client(session, participant, certificate=options["certificate"]) as client:
            return await client.cases()

    reply = asyncio.run(ask())
    documents = [_document(each) for each in reply.cases]
    output = Output(as_json=as_json)
    output.document({"open": reply.open, "cases": documents})
    rows = [(each["case"], each["kind"], each["state"], each["left_s"], each["explanation"][0]) for each in documents]
    output.table(("case", "kind", "state", "seconds left>", "why"), rows)
    return 0


@command.command("release")
@click.argument("case_id")
@_reason_option
@_common
def release(case_id: str, reason: str, **options: Any) -> int:
    """Take a case and propose to release it; another officer confirms."""
    return _act(case_id, (("take", ""), ("propose_release", reason)), **options)


@command.command("reject")
@click.argument("case_id")
@_reason_option
@_common
def reject(case_id: str, reason: str, **options: Any) -> int:
    """Take a case and propose to reject it; another officer confirms."""
    return _act(case_id, (("take", ""), ("propose_reject", reason)), **options)


@command.command("confirm")
@click.argument("case_id")
@_common
def confirm(case_id: str, **options: Any) -> int:
    """Confirm what another officer proposed: that ends the case."""
    return _act(case_id, (("confirm", ""),), **options)


@command.command("object")
@click.argument("case_id")
@_reason_option
@_common
def object_to(case_id: str, reason: str, **options: Any) -> int:
    """Object to what another officer proposed, and work on the case from now on."""
    return _act(case_id, (("object", reason),), **options)


def _act(
    case_id: str,
    steps: tuple[tuple[str, str], ...],
    *,
    as_json: bool,
    network_path: Path | None,
    timeout_s: float,
    **options: Any,
) -> int:
    from clearspan.cli.bridges import bridge_client, the_bridge
    from clearspan.cli.session import Session
    from clearspan.errors import ConfigError, Refused

    session = Session.open(network_path, timeout_s)
    participant = the_bridge(session, options["participant"])
    try:
        name = bytes.fromhex(case_id)
    except ValueError as error:
        raise ConfigError("case", f"{case_id!r} is no id", "write its 32 hexadecimal digits") from error

    async def act() -> bridge_pb2.CaseView:
        async with bridge_client(session, participant, certificate=options["certificate"]) as client:
            for step, text in steps:
                reply = await client.step_case(name, step, text)
                if reply.refusal.code:
                    found = reply.refusal
                    raise Refused(found.code, found.name, found.text, found.next_step)
            return reply.case

    document = _document(asyncio.run(act()))
    output = Output(as_json=as_json)
    output.document(document)
    output.line(f"case {document['case']}: {document['state']}")
    return 0


def _document(case: bridge_pb2.CaseView, now: Callable[[], int] = time.time_ns) -> dict[str, Any]:
    return {
        "case": case.case_id.hex(),
        "kind": case.kind,
        "state": case.state,
        "uetr": case.uetr.hex(),
        "opened_at": str(case.opened_at),
        "deadline": str(case.deadline),
        "left_s": max(0, case.deadline - now()) // _NS_PER_S,
        "score": case.score,
        "explanation": list(case.explanation),
        "officer": case.officer,
        "proposer": case.proposer,
    }
