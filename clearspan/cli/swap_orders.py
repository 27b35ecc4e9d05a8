# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""An order as the command line takes it, on its way to a bridge: its options, its route, its beginning, its end.

It promises that an order is checked whole before a bridge hears of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import click

from clearspan.cli.envelopes import parties_to_seal
from clearspan.cli.options import ACCOUNT
from clearspan.cli.places import END, Place, account_bytes, named_place
from clearspan.cli.swap_words import demand, wide

if TYPE_CHECKING:
    from clearspan.cli.output import Output
    from clearspan.cli.session import Session
    from clearspan.client.bridge import BridgeClient
    from clearspan.v1 import bridge_pb2

__all__ = ["amounts", "begin_swap", "ended_swap", "participant_option", "route_of"]

_POLL_S: Final = 0.1
# Polls between two remarks to whoever waits: three seconds.
_TELL_AFTER: Final = 30
participant_option = click.option(
    "--participant", type=click.IntRange(1), help="Whose bridge is asked [default: the only one that is no provider's]."
)


def amounts(function: Any) -> Any:
    """Give a command the options of an order: who pays, who is paid, how much, on which ledgers."""
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


async def route_of(session: Session, client: BridgeClient, options: dict[str, Any]) -> bridge_pb2.FindRouteReply:
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


async def begin_swap(
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


async def ended_swap(
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
