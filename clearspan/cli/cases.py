# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan bridge cases`: payments that a bridge holds for people, and their decision, which takes two officers.

An officer is a certificate of the bridge's participant: who proposes with one cannot confirm with the same.
A supervisor sees the cases of his ledger; each look is in that ledger's log before anything is shown.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.case_views import case_document, case_lines, outcome_document, record_document, record_lines
from clearspan.cli.options import IN_FILE, OUT_FILE, json_option, network_option, suite_option, timeout_option
from clearspan.cli.output import Output

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.v1 import bridge_pb2

__all__ = ["command"]

_LIMIT = 1_000
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


def _looking(function: Any) -> Any:
    text = "Look as a supervisor with this certificate, such as supervisor; goes with --ledger."
    function = click.option("--as", "speaker", default="", help=text)(function)
    text = "The ledger whose supervisor looks; the look is in its log before anything is shown."
    return _common(click.option("--ledger", "ledger_name", default="", help=text)(function))


@command.command("list")
@click.option("--all", "ended", is_flag=True, help="Those that were decided or have expired too, the newest first.")
@_looking
def list_cases(*, ended: bool, as_json: bool, network_path: Path | None, timeout_s: float, **options: Any) -> int:
    """List what nobody has decided, those first whose time ends first."""
    from clearspan.cli.bridges import bridge_client
    from clearspan.inspection import InspectKind

    query = _LIMIT.to_bytes(4, "little") + bytes([ended])
    session, participant, look, certificate = _asking(network_path, timeout_s, InspectKind.CASES, query, **options)

    async def ask() -> bridge_pb2.ListCasesReply:
        async with bridge_client(session, participant, certificate=certificate) as client:
            return await client.cases(limit=_LIMIT, ended=ended, look=look)

    reply = asyncio.run(ask())
    documents = [case_document(each) for each in reply.cases]
    output = Output(as_json=as_json)
    output.document({"open": reply.open, "looked_at": str(reply.looked_at), "cases": documents})
    rows = [
        (each["case"], each["kind"], each["state"], each["score"], each["left_s"], each["explanation"][0])
        for each in documents
    ]
    output.table(("case", "kind", "state", "score>", "seconds left>", "why"), rows)
    return 0


@command.command("show")
@click.argument("case_id")
@click.option("--out", type=OUT_FILE, help="File for the signed outcome of screening, 256 bytes, the last of the case.")
@_looking
def show(
    case_id: str, *, out: Path | None, as_json: bool, network_path: Path | None, timeout_s: float, **options: Any
) -> int:
    """Show a case: why it is held, who did what with it and when, and what screening said, signed."""
    from clearspan.cli.bridges import bridge_client
    from clearspan.errors import ConfigError
    from clearspan.inspection import InspectKind

    name = _name(case_id)
    session, participant, look, certificate = _asking(network_path, timeout_s, InspectKind.CASE, name, **options)

    async def ask() -> bridge_pb2.GetCaseReply:
        async with bridge_client(session, participant, certificate=certificate) as client:
            return await client.case(name, look=look)

    reply = asyncio.run(ask())
    if out is not None:
        if not reply.outcomes:
            raise ConfigError("--out", "nothing was screened in this case", "leave it out")
        out.write_bytes(reply.outcomes[-1].signed_record)
    outcomes = [outcome_document(each) for each in reply.outcomes]
    output = Output(as_json=as_json)
    output.document({**case_document(reply.case), "looked_at": str(reply.looked_at), "outcomes": outcomes})
    for line in case_lines(reply):
        output.line(line)
    return 0


@command.command("verify")
@click.argument("record", type=IN_FILE)
@click.option("--public-key", required=True, help="The participant's screening key as it was published, hexadecimal.")
@suite_option("How that key signs.")
@network_option
@json_option
def verify(record: Path, public_key: str, suite: str, network_path: Path | None, as_json: bool) -> int:
    """Check a signed outcome of screening, 256 bytes, without asking anybody; exit code 1 where it does not hold."""
    from bridge.screening_record import SignedScreening
    from clearspan.errors import ConfigError
    from clearspan.network import Network, find_network
    from engine.refusals import EncodingError
    from engine.types import SigningSuite
    from native.signatures import verify as holds

    genesis = Network.load(find_network(network_path)).genesis
    try:
        signed = SignedScreening.decode(record.read_bytes())
        key = bytes.fromhex(public_key)
    except (EncodingError, ValueError) as error:
        raise ConfigError(str(record), str(error), "name a file that `cases show --out` wrote, and its key") from error
    message = signed.record.message(genesis.hash_suite, genesis.hash)
    try:
        found = bool(holds(SigningSuite[suite.upper()], key, signed.signature, message))
    except ValueError:
        found = False
    output = Output(as_json=as_json)
    output.document({"valid": found, **record_document(signed.record)})
    output.line("the signature holds" if found else "the signature does not hold: believe nothing of it")
    for line in record_lines(signed.record) if found else ():
        output.line(line)
    return 0 if found else 1


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
    from clearspan.errors import Refused

    session = Session.open(network_path, timeout_s)
    participant = the_bridge(session, options["participant"])
    name = _name(case_id)

    async def act() -> bridge_pb2.CaseView:
        async with bridge_client(session, participant, certificate=options["certificate"]) as client:
            for step, text in steps:
                reply = await client.step_case(name, step, text)
                if reply.refusal.code:
                    found = reply.refusal
                    raise Refused(found.code, found.name, found.text, found.next_step)
            return reply.case

    document = case_document(asyncio.run(act()))
    output = Output(as_json=as_json)
    output.document(document)
    output.line(f"case {document['case']}: {document['state']}")
    return 0


def _name(case_id: str) -> bytes:
    from clearspan.errors import ConfigError

    try:
        return bytes.fromhex(case_id)
    except ValueError as error:
        raise ConfigError("case", f"{case_id!r} is no id", "write its 32 hexadecimal digits") from error


def _asking(
    network_path: Path | None, timeout_s: float, kind: Any, query: bytes, **options: Any
) -> tuple[Session, int, bridge_pb2.Look | None, str]:
    """Return whom is asked, with what look and with which certificate."""
    from clearspan.cli.bridges import the_bridge
    from clearspan.cli.looking import look_of
    from clearspan.cli.session import Session
    from clearspan.errors import ConfigError

    session = Session.open(network_path, timeout_s)
    participant = the_bridge(session, options["participant"])
    speaker, ledger_name = options["speaker"], options["ledger_name"]
    if bool(speaker) != bool(ledger_name):
        raise ConfigError("--as and --ledger", "go together", "name the supervisor's certificate and his ledger")
    if not speaker:
        return session, participant, None, options["certificate"]
    look, certificate = look_of(session, speaker, ledger_name, kind, query, participant=participant)
    return session, participant, look, certificate
