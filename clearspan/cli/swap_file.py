# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan swap file`: the payments of a pacs.009 as swaps, answered with a pacs.002.

It promises that a payment which is sent again is answered and not paid again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import click

from clearspan.cli.envelopes import parties_of_payment
from clearspan.cli.options import IN_FILE, OUT_FILE, json_option, network_option, timeout_option
from clearspan.cli.output import Output
from clearspan.cli.places import named_place
from clearspan.cli.swap_orders import begin_swap, ended_swap, participant_option, route_of
from clearspan.cli.swap_words import iso_reason, narrow, next_step, reason_of_code

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.cli.session import Session
    from clearspan.client.bridge import BridgeClient
    from clearspan.iso20022.swaps import SwapInstruction
    from clearspan.iso20022.types import Message, Payment
    from clearspan.v1 import bridge_pb2

__all__ = ["difference", "from_file"]

_TOOK_NOTHING: Final = frozenset({"refunded", "refused"})


@click.command("file")
@click.option("--in", "source_path", type=IN_FILE, required=True, help="A pacs.009 in the payee's currency.")
@click.option("--source", "source_name", required=True, help="Ledger that is paid on, such as CNY.")
@click.option("--out", type=OUT_FILE, required=True, help="Where the pacs.002 is written.")
@click.option("--seal-parties", is_flag=True, help="Seal debtor and creditor of each payment for the supervisors.")
@click.option("--lock-s", type=click.IntRange(1, 86_400), help="Timelock [default: the corridor's].")
@participant_option
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

    The amount of a payment is what reaches its creditor. A payment that was sent before is not paid again: it is
    answered with the swap that it led to (ACSC once that is claimed), or refused (DU03) where it is not the same
    order. Exit code 1 when any was not claimed.
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
        source = named_place(session, options["source_name"]).ledger
        runs = (_run_one(session, client, (source, each), message.payments[each.index], options) for each in wanted)
        views = await asyncio.gather(*runs)
    return [
        swap_outcome(each.index, outcome, reason_iso=reason, text=text)
        for each, (outcome, reason, text) in zip(wanted, views, strict=True)
    ]


async def _run_one(
    session: Session,
    client: BridgeClient,
    ordered: tuple[int, SwapInstruction],
    payment: Payment,
    options: dict[str, Any],
) -> tuple[str, str, str]:
    """Run one payment, paid on a ledger, as a swap; return its outcome, the ISO reason and a text."""
    from clearspan.errors import Refused

    source, wanted = ordered
    try:
        before = await _begun_before(client, wanted.uetr)
        if before is not None:
            return await _again(session, client, source, wanted, before)
        view = await _run_new(session, client, wanted, payment, options)
    except Refused as error:
        return "refused", reason_of_code(error.code), str(error)
    return _answer(session, view)


async def _run_new(
    session: Session, client: BridgeClient, wanted: SwapInstruction, payment: Payment, options: dict[str, Any]
) -> bridge_pb2.SwapView:
    """Begin a swap and wait for its end. Raises Refused."""
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
    route = await route_of(session, client, chosen)
    return await ended_swap(client, await begin_swap(session, client, route, chosen, wanted.uetr), wait=True)


def _answer(session: Session, view: bridge_pb2.SwapView, text: str = "") -> tuple[str, str, str]:
    """Return outcome, ISO reason and text of a swap that has ended."""
    if view.outcome == "claimed":
        return view.outcome, "", text
    ledgers = [session.ledger_of(leg.ledger).currency for leg in view.legs]
    return view.outcome, iso_reason(view), next_step(view, ledgers)


# A payment that was sent before.


async def _begun_before(client: BridgeClient, uetr: int) -> bridge_pb2.SwapView | None:
    """Return the swap that a UETR led to here and that took something, or may yet; None where it may be begun."""
    from clearspan.errors import Refused
    from native.codes import ResultCode

    try:
        view = await client.swap(uetr=UUID(int=uetr).bytes)
    except Refused as error:
        if error.code == ResultCode.NOT_FOUND:
            return None
        raise
    return view if view.side == "payer" and view.outcome not in _TOOK_NOTHING else None


async def _again(
    session: Session, client: BridgeClient, source: int, wanted: SwapInstruction, before: bridge_pb2.SwapView
) -> tuple[str, str, str]:
    """Answer a payment that was sent again: with its swap where it is the same order, with DU03 where it is another."""
    from bridge.refusals import BridgeCode

    swap_id = before.swap_id.hex()
    differs = difference(before, source, wanted)
    if differs:
        text = f"its UETR is that of swap {swap_id}, which has another {differs}: send a new order under its own UETR"
        return "refused", reason_of_code(BridgeCode.DUPLICATE_SWAP), text
    view = await ended_swap(client, bytes(before.swap_id), wait=True)
    return _answer(session, view, f"sent before: settled by swap {swap_id}")


def difference(view: bridge_pb2.SwapView, source: int, wanted: SwapInstruction) -> str:
    """Return in what a payment differs from the swap that its UETR led to, nothing where it is the same order."""
    first, last = view.legs[0], view.legs[-1]
    pairs = {
        "ledger that is paid on": (first.ledger, source),
        "debtor": (narrow(first.debit_account), wanted.debit_account),
        "currency": (last.ledger, wanted.target_ledger),
        "creditor": (narrow(last.credit_account), wanted.credit_account),
        "amount": (narrow(last.amount), wanted.amount),
    }
    return next((name for name, (known, asked) in pairs.items() if known != asked), "")
