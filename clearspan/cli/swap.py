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

from clearspan.cli.envelopes import envelope, parties_of_payment, parties_to_seal, unseal
from clearspan.cli.options import (
    ACCOUNT,
    IN_FILE,
    OUT_FILE,
    TRANSFER_ID,
    json_option,
    network_option,
    timeout_option,
)
from clearspan.cli.output import Output
from clearspan.cli.places import END, Place, account_bytes, named_place
from clearspan.cli.swap_words import demand, route_document, show_swap, swap_document, wide

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.client.bridge import BridgeClient
    from clearspan.iso20022.swaps import SwapInstruction
    from clearspan.iso20022.types import Message, Payment
    from clearspan.v1 import bridge_pb2

__all__ = ["command"]

_NS_PER_S: Final = 1_000_000_000
_POLL_S: Final = 0.1
# Polls between two remarks to whoever waits: three seconds.
_TELL_AFTER: Final = 30
_participant_option = click.option(
    "--participant", type=click.IntRange(1), help="Whose bridge is asked [default: the only one that is no provider's]."
)


@click.group("swap")
def command() -> None:
    """Exchange between ledgers: both legs or none, in seconds."""


def _amounts(function: Any) -> Any:
    for option in reversed(
        (
            click.option("--from", "debit_account", type=ACCOUNT, help="Account that pays; from a chain the bridge's."),
            click.option(
                "--to", "credit_account", type=END, required=True, help="Account that is paid, 0x… on a chain."
            ),
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
    document = route_document(session, route)
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
    from clearspan.errors import ConfigError
    from clearspan.v1 import bridge_pb2

    source, target = (named_place(session, options[name]) for name in ("source_name", "target_name"))
    if options["debit_account"] is None and not source.chain:
        raise ConfigError("--from", f"who pays on {source.currency} is not named", "name the account that pays")
    if options.get("minor"):
        amount, exact = int(options["minor"]), "receive"
    else:
        amount, exact = _exact(source, target, options.get("send"), options.get("receive"))
    reply = await client.find_route(
        bridge_pb2.FindRouteRequest(
            version=1,
            source_ledger=source.ledger,
            target_ledger=target.ledger,
            amount=wide(amount),
            exact=bridge_pb2.EXACT_RECEIVE if exact == "receive" else bridge_pb2.EXACT_SEND,
            lock_s=options.get("lock_s") or 0,
            hops_max=options.get("hops_max") or 0,
            providers=options.get("providers") or (),
            **_ends(options),
        )
    )
    demand(session, reply.refusal, source.ledger, target.ledger)
    return reply


def _pair(session: Session, options: dict[str, Any]) -> tuple[int, int]:
    """Return the ledgers of a payment."""
    source, target = (named_place(session, options[name]).ledger for name in ("source_name", "target_name"))
    return source, target


def _ends(options: dict[str, Any]) -> dict[str, Any]:
    """Return who pays and who is paid, as the bridge takes them."""
    payee = options["credit_account"]
    return {
        "debit_account": account_bytes(options["debit_account"]),
        "credit_account": account_bytes(payee),
        "chain_account": payee if isinstance(payee, str) else "",
    }


def _exact(source: Place, target: Place, send: str | None, receive: str | None) -> tuple[int, str]:
    from clearspan.errors import ConfigError

    if (send is None) == (receive is None):
        raise ConfigError("--send", "exactly one of --send and --receive is asked for", "say which side is exact")
    if send is not None:
        return source.minor(send), "send"
    assert receive is not None
    return target.minor(receive), "receive"


@command.command("run")
@_amounts
@click.option("--uetr", type=TRANSFER_ID, help="The payment's UETR [default: a new one].")
@click.option("--payer-name", help="Who pays; needed where the bridge screens names.")
@click.option("--payee-name", help="Who is paid; needed where the bridge screens names.")
@click.option(
    "--travel-rule", type=IN_FILE, help="Payer and payee, JSON or ISO 20022, to seal for each hop's supervisors."
)
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
    return show_swap(session, output, view)


async def _run(
    session: Session, options: dict[str, Any], uetr: int, *, wait: bool, output: Output
) -> bridge_pb2.SwapView:
    from clearspan.cli.bridges import bridge_client, the_bridge

    async with bridge_client(session, the_bridge(session, options["participant"])) as client:
        route = await _route(session, client, options)
        swap_id = await _begin(session, client, route, options, uetr)
        output.note(f"begun: swap {swap_id.hex()}, UETR {UUID(int=uetr)}")
        return await _ended(client, swap_id, wait=wait, output=output)


async def _begin(
    session: Session, client: BridgeClient, route: bridge_pb2.FindRouteReply, options: dict[str, Any], uetr: int
) -> bytes:
    """Begin one swap along a route; return its id. Raises Refused."""
    from clearspan.v1 import bridge_pb2

    is_target = options.get("receive") is not None or bool(options.get("minor"))
    (answer,) = await client.run(
        [
            bridge_pb2.SwapOrder(
                uetr=UUID(int=uetr).bytes,
                **_ends(options),
                amount=route.received if is_target else route.sent,
                exact=bridge_pb2.EXACT_RECEIVE if is_target else bridge_pb2.EXACT_SEND,
                quotes=route.quotes,
                lock_s=route.lock_s,
                payer_name=options.get("payer_name") or "",
                payee_name=options.get("payee_name") or "",
                travel_data=parties_to_seal(options),
            )
        ]
    )
    demand(session, answer.refusal, *_pair(session, options))
    return bytes(answer.swap_id)


async def _ended(
    client: BridgeClient, swap_id: bytes, *, wait: bool, output: Output | None = None
) -> bridge_pb2.SwapView:
    """Return a swap, with ``wait`` once it has ended; a person hears of what keeps it for longer than a moment."""
    view = await client.swap(swap_id=swap_id)
    waits = 0
    while wait and not view.outcome:
        await asyncio.sleep(_POLL_S)
        view = await client.swap(swap_id=swap_id)
        waits += 1
        if output is not None and view.timeline and waits % _TELL_AFTER == 0:
            output.note(f"still running: {view.timeline[-1].text}")
    return view


@command.command("file")
@click.option("--in", "source_path", type=IN_FILE, required=True, help="A pacs.009 in the payee's currency.")
@click.option("--source", "source_name", required=True, help="Ledger that is paid on, such as CNY.")
@click.option("--out", type=OUT_FILE, required=True, help="Where the pacs.002 is written.")
@click.option("--seal-parties", is_flag=True, help="Seal debtor and creditor of each payment for the supervisors.")
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
    seal_parties: bool,
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
    options = {"source_name": source_name, "participant": participant, "lock_s": lock_s, "seal": seal_parties}
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

    async with bridge_client(session, the_bridge(session, options["participant"])) as client:
        runs = (_run_one(session, client, each, message.payments[each.index], options) for each in wanted)
        views = await asyncio.gather(*runs)
    return [
        swap_outcome(each.index, outcome, reason_iso=reason, text=text)
        for each, (outcome, reason, text) in zip(wanted, views, strict=True)
    ]


async def _run_one(
    session: Session, client: BridgeClient, wanted: SwapInstruction, payment: Payment, options: dict[str, Any]
) -> tuple[str, str, str]:
    """Run one payment as a swap; return its outcome, the ISO reason and a text."""
    from clearspan.cli.swap_words import iso_reason, next_step, reason_of_code
    from clearspan.errors import Refused

    target = session.ledger_of(wanted.target_ledger)
    chosen = {
        **options,
        "target_name": str(target.ledger),
        "minor": wanted.amount,
        "debit_account": wanted.debit_account,
        "credit_account": wanted.credit_account,
    }
    if options["seal"]:
        chosen["parties"] = parties_of_payment(payment, wanted.debit_account, wanted.credit_account)
    try:
        route = await _route(session, client, chosen)
        view = await _ended(client, await _begin(session, client, route, chosen, wanted.uetr), wait=True)
    except Refused as error:
        return "refused", reason_of_code(error.code), str(error)
    if view.outcome == "claimed":
        return view.outcome, "", ""
    ledgers = [session.ledger_of(leg.ledger).currency for leg in view.legs]
    return view.outcome, iso_reason(view), next_step(view, ledgers)


@command.command("show")
@click.argument("name")
@_participant_option
@timeout_option
@network_option
@json_option
def show(name: str, participant: int | None, timeout_s: float, network_path: Path | None, as_json: bool) -> int:
    """Show a swap by its id or UETR, with its timeline."""
    from bridge.refusals import BridgeCode, bridge_meaning
    from clearspan.cli.bridges import bridge_client, the_bridge
    from clearspan.cli.session import Session
    from clearspan.errors import ConfigError, Refused

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

    try:
        view = asyncio.run(ask())
    except Refused as error:
        if error.name != "not_found":
            raise
        row = bridge_meaning(BridgeCode.SWAP_UNKNOWN)
        step = "see: clearspan swap list; only its parties' bridges know a swap: --participant NUMBER"
        raise Refused(int(row.code), row.name, f"{name} is no swap of this bridge", step) from error
    show_swap(session, Output(as_json=as_json), view)
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
    nothing = "no swap runs" if open_only else "this bridge has begun and accepted no swap"
    output.table(("UETR", "side", "state", "pays>", "is paid>", "ms>"), rows, empty=nothing)
    return 0


command.add_command(envelope)
command.add_command(unseal)
