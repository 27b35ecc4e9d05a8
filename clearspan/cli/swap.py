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

from clearspan.cli.envelopes import envelope, unseal
from clearspan.cli.options import IN_FILE, TRANSFER_ID, json_option, network_option, timeout_option
from clearspan.cli.output import Output
from clearspan.cli.swap_file import from_file
from clearspan.cli.swap_orders import amounts, begin_swap, ended_swap, participant_option, route_of
from clearspan.cli.swap_words import route_document, show_swap, swap_document

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.v1 import bridge_pb2

__all__ = ["command"]

_NS_PER_S: Final = 1_000_000_000


@click.group("swap")
def command() -> None:
    """Exchange between ledgers: both legs or none, in seconds."""


command.add_command(from_file)


@command.command("quote")
@amounts
@participant_option
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
        return await route_of(session, client, options)


@command.command("run")
@amounts
@click.option("--uetr", type=TRANSFER_ID, help="The payment's UETR [default: a new one].")
@click.option("--payer-name", help="Who pays; needed where the bridge screens names.")
@click.option("--payee-name", help="Who is paid; needed where the bridge screens names.")
@click.option(
    "--travel-rule", type=IN_FILE, help="Payer and payee, JSON or ISO 20022, to seal for each hop's supervisors."
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until the swap has ended.")
@participant_option
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
        route = await route_of(session, client, options)
        swap_id = await begin_swap(session, client, route, options, uetr)
        output.note(f"begun: swap {swap_id.hex()}, UETR {UUID(int=uetr)}")
        return await ended_swap(client, swap_id, wait=wait, output=output)


@command.command("show")
@click.argument("name")
@participant_option
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
@participant_option
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
