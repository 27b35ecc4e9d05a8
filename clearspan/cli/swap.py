# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan swap`: exchange between ledgers, asked of a participant's own bridge.

The bridge runs by itself: a swap that was begun ends claimed or refunded whether or not this command waits for it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import click

from clearspan.cli.options import (
    ACCOUNT,
    IN_FILE,
    OUT_FILE,
    TRANSFER_ID,
    json_option,
    network_option,
    timeout_option,
)
from clearspan.cli.output import Output, money

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.client.bridge import BridgeClient
    from clearspan.iso20022.swaps import SwapInstruction
    from clearspan.iso20022.types import Message
    from clearspan.v1 import bridge_pb2
    from engine.genesis import GenesisLedger

__all__ = ["command", "swap_document", "timeline_rows"]

_NS_PER_S: Final = 1_000_000_000
_POLL_S: Final = 0.1
_FAILED: Final = frozenset({"refunded", "refused", "kept", "lost"})
_participant_option = click.option(
    "--participant", type=click.IntRange(1), help="Whose bridge is asked [default: the only one that is no provider's]."
)


@click.group("swap")
def command() -> None:
    """Exchange between ledgers: both legs or none, in seconds."""


def _amounts(function: Any) -> Any:
    for option in reversed(
        (
            click.option("--from", "debit_account", type=ACCOUNT, required=True, help="Account that pays."),
            click.option("--to", "credit_account", type=ACCOUNT, required=True, help="Account that is paid."),
            click.option("--send", help="What leaves the payer, in major units of --source."),
            click.option("--receive", help="What reaches the payee, in major units of --target."),
            click.option("--source", "source_name", required=True, help="Ledger that is paid on, such as CNY."),
            click.option("--target", "target_name", required=True, help="Ledger that is paid out on, such as THB."),
            click.option("--lock-s", type=click.IntRange(1, 86_400), help="Timelock [default: the corridor's]."),
            click.option(
                "--hops-max", type=click.IntRange(1, 3), default=3, show_default=True, help="Quotes in a row."
            ),
            click.option("--provider", "providers", type=int, multiple=True, help="Ask only these [default: all]."),
        )
    ):
        function = option(function)
    return function


@command.command("quote")
@_amounts
@_participant_option
@timeout_option
@network_option
@json_option
def quote(network_path: Path | None, timeout_s: float, as_json: bool, **options: Any) -> int:
    """Ask providers for firm quotes and show the best way, without beginning anything."""
    from clearspan.cli.session import Session

    session = Session.open(network_path, timeout_s)
    output = Output(as_json=as_json)
    route = asyncio.run(_quote(session, options))
    document = _route_document(session, route)
    output.document(document)
    output.line(f"{document['sent']['text']} buys {document['received']['text']}")
    rows = [(each["purpose"], each["amount"]["text"], each["from"], each["to"]) for each in document["parts"]]
    output.table(("part", "amount>", "from", "to"), rows)
    output.line(f"firm for {max(0, route.expires_at - time.time_ns()) // _NS_PER_S} s; timelock {route.lock_s} s")
    return 0


async def _quote(session: Session, options: dict[str, Any]) -> bridge_pb2.FindRouteReply:
    from clearspan.cli.bridges import bridge_client, the_bridge

    async with bridge_client(session, the_bridge(session, options["participant"])) as client:
        return await _route(session, client, options)


async def _route(session: Session, client: BridgeClient, options: dict[str, Any]) -> bridge_pb2.FindRouteReply:
    """Ask for the best way. Raises Refused with the bridge's own code."""
    from clearspan.v1 import bridge_pb2

    _, source = session.ledger(options["source_name"])
    _, target = session.ledger(options["target_name"])
    if options.get("minor"):
        amount, exact = int(options["minor"]), "receive"
    else:
        amount, exact = _exact(source, target, options.get("send"), options.get("receive"))
    reply = await client.find_route(
        bridge_pb2.FindRouteRequest(
            version=1,
            source_ledger=source.ledger,
            target_ledger=target.ledger,
            amount=_wide(amount),
            exact=bridge_pb2.EXACT_RECEIVE if exact == "receive" else bridge_pb2.EXACT_SEND,
            lock_s=options.get("lock_s") or 0,
            hops_max=options.get("hops_max") or 0,
            providers=options.get("providers") or (),
            debit_account=_wide(options["debit_account"]),
            credit_account=_wide(options["credit_account"]),
        )
    )
    _demand(reply.refusal)
    return reply


def _exact(source: GenesisLedger, target: GenesisLedger, send: str | None, receive: str | None) -> tuple[int, str]:
    from clearspan.currencies import to_minor
    from clearspan.errors import ConfigError

    if (send is None) == (receive is None):
        raise ConfigError("--send", "exactly one of --send and --receive is asked for", "say which side is exact")
    if send is not None:
        return to_minor(send, source.currency), "send"
    assert receive is not None
    return to_minor(receive, target.currency), "receive"


@command.command("run")
@_amounts
@click.option("--uetr", type=TRANSFER_ID, help="The payment's UETR [default: a new one].")
@click.option("--payer-name", help="Who pays; needed where the bridge screens names.")
@click.option("--payee-name", help="Who is paid; needed where the bridge screens names.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until the swap has ended.")
@_participant_option
@timeout_option
@network_option
@json_option
def run(
    network_path: Path | None, timeout_s: float, as_json: bool, uetr: int | None, wait: bool, **options: Any
) -> int:
    """Take the best quotes and begin a swap; exit code 1 when it is refused or refunded.

    --timeout-s bounds each answer of the bridge; with --wait the command stays until the swap has ended.
    """
    from clearspan.cli.session import Session

    session = Session.open(network_path, timeout_s)
    output = Output(as_json=as_json)
    number = uetr if uetr is not None else uuid4().int
    view = asyncio.run(_run(session, options, number, wait=wait, output=output))
    return _show(session, output, view)


async def _run(
    session: Session, options: dict[str, Any], uetr: int, *, wait: bool, output: Output
) -> bridge_pb2.SwapView:
    from clearspan.cli.bridges import bridge_client, the_bridge

    async with bridge_client(session, the_bridge(session, options["participant"])) as client:
        route = await _route(session, client, options)
        swap_id = await _begin(client, route, options, uetr)
        output.note(f"begun: swap {swap_id.hex()}, UETR {UUID(int=uetr)}")
        return await _ended(client, swap_id, wait=wait)


async def _begin(client: BridgeClient, route: bridge_pb2.FindRouteReply, options: dict[str, Any], uetr: int) -> bytes:
    """Begin one swap along a route; return its id. Raises Refused."""
    from clearspan.v1 import bridge_pb2

    is_target = options.get("receive") is not None or bool(options.get("minor"))
    (answer,) = await client.run(
        [
            bridge_pb2.SwapOrder(
                uetr=UUID(int=uetr).bytes,
                debit_account=_wide(options["debit_account"]),
                credit_account=_wide(options["credit_account"]),
                amount=route.received if is_target else route.sent,
                exact=bridge_pb2.EXACT_RECEIVE if is_target else bridge_pb2.EXACT_SEND,
                quotes=route.quotes,
                lock_s=route.lock_s,
                payer_name=options.get("payer_name") or "",
                payee_name=options.get("payee_name") or "",
            )
        ]
    )
    _demand(answer.refusal)
    return bytes(answer.swap_id)


async def _ended(client: BridgeClient, swap_id: bytes, *, wait: bool) -> bridge_pb2.SwapView:
    view = await client.swap(swap_id=swap_id)
    while wait and not view.outcome:
        await asyncio.sleep(_POLL_S)
        view = await client.swap(swap_id=swap_id)
    return view


@command.command("file")
@click.option("--in", "source_path", type=IN_FILE, required=True, help="A pacs.009 in the payee's currency.")
@click.option("--source", "source_name", required=True, help="Ledger that is paid on, such as CNY.")
@click.option("--out", type=OUT_FILE, required=True, help="Where the pacs.002 is written.")
@click.option("--lock-s", type=click.IntRange(1, 86_400), help="Timelock [default: the corridor's].")
@_participant_option
@timeout_option
@network_option
@json_option
def from_file(
    *,
    source_path: Path,
    source_name: str,
    out: Path,
    lock_s: int | None,
    participant: int | None,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> int:
    """Run a swap for each payment of a pacs.009 and answer with a pacs.002, under the payments' own UETRs.

    The amount of a payment is what reaches its creditor. Exit code 1 when any was not claimed.
    """
    from clearspan.cli.session import Session
    from clearspan.iso20022 import IsoError, read, refusal_report, status_report, swap_instructions

    session = Session.open(network_path, timeout_s)
    output = Output(as_json=as_json)
    try:
        message = read(source_path.read_bytes())
        wanted = swap_instructions(message)
    except IsoError as error:
        out.write_bytes(refusal_report(error))
        raise
    options = {"source_name": source_name, "participant": participant, "lock_s": lock_s}
    outcomes = asyncio.run(_run_file(session, message, wanted, options))
    out.write_bytes(status_report(message, outcomes))
    document = [
        {
            "uetr": str(UUID(int=each.uetr)),
            "status": outcome.status.value,
            "reason": outcome.reason_iso,
            "text": outcome.text,
        }
        for each, outcome in zip(wanted, outcomes, strict=True)
    ]
    output.document({"message_id": message.message_id, "payments": document, "report": str(out)})
    rows = [(each["uetr"], each["status"], each["reason"], each["text"]) for each in document]
    output.table(("UETR", "status", "reason", "text"), rows)
    return 0 if all(each["status"] == "ACSC" for each in document) else 1


async def _run_file(
    session: Session, message: Message, wanted: tuple[SwapInstruction, ...], options: dict[str, Any]
) -> list[Any]:
    from clearspan.cli.bridges import bridge_client, the_bridge
    from clearspan.iso20022 import swap_outcome

    del message
    async with bridge_client(session, the_bridge(session, options["participant"])) as client:
        views = await asyncio.gather(*(_run_one(session, client, each, options) for each in wanted))
    return [
        swap_outcome(each.index, outcome, reason_iso=reason, text=text)
        for each, (outcome, reason, text) in zip(wanted, views, strict=True)
    ]


async def _run_one(
    session: Session, client: BridgeClient, wanted: SwapInstruction, options: dict[str, Any]
) -> tuple[str, str, str]:
    """Run one payment as a swap; return its outcome, the ISO reason and a text."""
    from bridge.refusals import bridge_meaning
    from clearspan.errors import Refused

    target = session.ledger_of(wanted.target_ledger)
    chosen = {
        **options,
        "target_name": str(target.ledger),
        "minor": wanted.amount,
        "debit_account": wanted.debit_account,
        "credit_account": wanted.credit_account,
    }
    try:
        route = await _route(session, client, chosen)
        view = await _ended(client, await _begin(client, route, chosen, wanted.uetr), wait=True)
    except Refused as error:
        try:
            reason = bridge_meaning(error.code).iso_reason
        except ValueError:
            reason = ""
        return "refused", reason, str(error)
    text = f"{view.refusal.name}: {view.refusal.next_step}" if view.refusal.code else ""
    return view.outcome, "", text


@command.command("show")
@click.argument("name")
@_participant_option
@timeout_option
@network_option
@json_option
def show(name: str, participant: int | None, timeout_s: float, network_path: Path | None, as_json: bool) -> int:
    """Show a swap by its id or UETR, with its timeline."""
    from clearspan.cli.bridges import bridge_client, the_bridge
    from clearspan.cli.session import Session
    from clearspan.errors import ConfigError

    session = Session.open(network_path, timeout_s)
    digits = name.replace("-", "")
    try:
        data = bytes.fromhex(digits)
    except ValueError:
        data = b""
    if len(data) not in (16, 32):
        raise ConfigError("name", f"{name[:80]!r} is neither a swap's id nor a UETR", "copy it from swap list")

    async def ask() -> bridge_pb2.SwapView:
        async with bridge_client(session, the_bridge(session, participant)) as client:
            return await client.swap(swap_id=data) if len(data) == 32 else await client.swap(uetr=data)

    view = asyncio.run(ask())
    _show(session, Output(as_json=as_json), view)
    return 0


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="How many.")
@click.option("--open", "open_only", is_flag=True, help="Only those that run.")
@_participant_option
@timeout_option
@network_option
@json_option
def list_swaps(
    *,
    limit: int,
    open_only: bool,
    participant: int | None,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> int:
    """List swaps, the newest first."""
    from clearspan.cli.bridges import bridge_client, the_bridge
    from clearspan.cli.session import Session

    session = Session.open(network_path, timeout_s)

    async def ask() -> bridge_pb2.ListSwapsReply:
        async with bridge_client(session, the_bridge(session, participant)) as client:
            return await client.swaps(limit=limit, open_only=open_only)

    reply = asyncio.run(ask())
    output = Output(as_json=as_json)
    documents = [swap_document(session, view) for view in reply.swaps]
    output.document({"swaps": documents, "more": bool(reply.next)})
    rows = [
        (
            each["uetr"],
            each["side"],
            each["outcome"] or each["state"],
            each["legs"][0]["amount"]["text"],
            each["legs"][-1]["amount"]["text"],
            each["took_ms"] if each["outcome"] else "",
        )
        for each in documents
    ]
    output.table(("UETR", "side", "state", "pays>", "is paid>", "ms>"), rows)
    return 0


def _show(session: Session, output: Output, view: bridge_pb2.SwapView) -> int:
    """Print a swap; return the exit code."""
    document = swap_document(session, view)
    output.document(document)
    output.line(f"swap {document['swap_id']}")
    output.line(f"UETR {document['uetr']}: {document['outcome'] or document['state']}")
    rows = [
        (index, each["amount"]["text"], each["from"], each["to"], each["state"], each["end_digest"][:16])
        for index, each in enumerate(document["legs"])
    ]
    output.table(("leg>", "amount>", "from", "to", "state", "receipt"), rows)
    output.table(("seconds>", "step", "what happened"), timeline_rows(view))
    if view.refusal.code:
        output.note(f"{view.refusal.name}: next: {view.refusal.next_step}")
    return 1 if view.outcome in _FAILED else 0


def timeline_rows(view: bridge_pb2.SwapView) -> list[tuple[str, str, str]]:
    """Return a swap's timeline as lines of a table: seconds since its beginning, word, sentence."""
    rows = []
    for each in view.timeline:
        milliseconds = max(0, each.at - view.began_at) // 1_000_000
        rows.append((f"{milliseconds // 1000}.{milliseconds % 1000:03d}", each.what, each.text))
    return rows


def swap_document(session: Session, view: bridge_pb2.SwapView) -> dict[str, Any]:
    """Return a swap as a JSON document."""
    from clearspan.iso20022.accounts import format_account

    def leg(each: bridge_pb2.LegView) -> dict[str, Any]:
        ledger = session.ledger_of(each.ledger)
        return {
            "ledger": ledger.currency,
            "from": format_account(_int(each.debit_account)),
            "to": format_account(_int(each.credit_account)),
            "amount": money(_int(each.amount), ledger.currency, ledger.scale),
            "timelock": str(each.timelock),
            "state": each.state,
            "lock_digest": each.lock_digest.hex(),
            "end_digest": each.end_digest.hex(),
        }

    return {
        "swap_id": view.swap_id.hex(),
        "uetr": str(UUID(bytes=bytes(view.uetr))),
        "side": view.side,
        "state": view.state,
        "outcome": view.outcome,
        "refusal": view.refusal.name,
        "legs": [leg(each) for each in view.legs],
        "hashlock": view.hashlock.hex(),
        "began_at": str(view.began_at),
        "ended_at": str(view.ended_at),
        "took_ms": max(0, view.ended_at - view.began_at) // 1_000_000,
        "timeline": [{"at": str(each.at), "what": each.what, "text": each.text} for each in view.timeline],
    }


def _route_document(session: Session, route: bridge_pb2.FindRouteReply) -> dict[str, Any]:
    from clearspan.iso20022.accounts import format_account

    def part(each: bridge_pb2.PlannedPart) -> dict[str, Any]:
        ledger = session.ledger_of(each.ledger)
        return {
            "purpose": each.purpose,
            "ledger": ledger.currency,
            "amount": money(_int(each.amount), ledger.currency, ledger.scale),
            "from": format_account(_int(each.debit_account)),
            "to": format_account(_int(each.credit_account)),
        }

    legs = [each for each in route.parts if each.purpose == "leg"]
    source, target = session.ledger_of(legs[0].ledger), session.ledger_of(legs[-1].ledger)
    return {
        "hops": len(route.quotes),
        "sent": money(_int(route.sent), source.currency, source.scale),
        "received": money(_int(route.received), target.currency, target.scale),
        "parts": [part(each) for each in route.parts],
        "expires_at": str(route.expires_at),
        "lock_s": route.lock_s,
        "quotes": [each.hex() for each in route.quotes],
    }


def _demand(refusal: bridge_pb2.BridgeRefusal) -> None:
    from clearspan.errors import Refused

    if refusal.code:
        raise Refused(refusal.code, refusal.name, refusal.text, refusal.next_step)


def _wide(value: int) -> bytes:
    return value.to_bytes(16, "little")


def _int(data: bytes) -> int:
    return int.from_bytes(data, "little")
