# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""A swap in words: its timeline, its legs, its route, and what a refusal means to the one who asked.

It promises that every amount has its currency, and that a swap which did not end well says what to do next.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from clearspan.cli.output import money
from clearspan.cli.places import ledger_place, leg_place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.cli.output import Output
    from clearspan.cli.session import Session
    from clearspan.v1 import bridge_pb2

__all__ = [
    "demand",
    "iso_reason",
    "narrow",
    "next_step",
    "reason_of_code",
    "route_document",
    "show_swap",
    "swap_document",
    "timeline_rows",
    "wide",
]

_FAILED: Final = frozenset({"refunded", "refused", "kept", "lost"})
# What tells why a swap did not settle, in the words of its timeline.
_REASONS: Final = frozenset({"lock_refused", "leg_not_accepted"})


def show_swap(session: Session, output: Output, view: bridge_pb2.SwapView) -> int:
    """Print a swap; return the exit code."""
    document = swap_document(session, view)
    output.document(document)
    output.line(f"swap {document['swap_id']}")
    took = f" after {document['took_ms']} ms" if view.outcome else ""
    output.line(f"UETR {document['uetr']}: {document['outcome'] or document['state']}{took}")
    rows = [
        (index, each["amount"]["text"], each["from"], each["to"], each["state"])
        for index, each in enumerate(document["legs"])
    ]
    output.table(("leg>", "amount>", "from", "to", "state"), rows)
    output.table(("seconds>", "step", "what happened"), timeline_rows(view))
    for index, each in enumerate(document["legs"]):
        if each["end_digest"] and not each["chain"]:
            output.line(f"leg {index} ended under digest {each['end_digest']} on {each['ledger']}")
    output.line(f"next: {document['next_step']}")
    return 1 if view.outcome in _FAILED else 0


def next_step(view: bridge_pb2.SwapView, ledgers: Sequence[str]) -> str:
    """Return what whoever asked may do now; ``ledgers`` are the legs' currencies in order."""
    uetr = UUID(bytes=bytes(view.uetr))
    held = [ledger for leg, ledger in zip(view.legs, ledgers, strict=True) if leg.state == "held"]
    if view.outcome == "claimed":
        return "its legs are proved by receipts: clearspan receipt get --digest DIGEST --domain NAME --out FILE"
    if view.outcome in {"refunded", "refused"}:
        said = [each.text for each in view.timeline if each.what in _REASONS]
        kept = "what was locked came back" if view.outcome == "refunded" else "nothing of yours is locked"
        if held:
            kept = f"what is held comes back when its hold ends: clearspan hold list --ledger {held[0]}"
        step = said[-1] if said else view.refusal.next_step
        return f"{kept}. {step}".strip()
    if view.outcome:
        return "a person must look: clearspan bridge status has the alarm, and the digests above have receipts"
    if held:
        return f"two supervisors decide: clearspan hold list --ledger {held[0]}"
    refused = [each.text for each in view.timeline if each.what == "lock_refused"]
    if refused and all(leg.state == "waiting" for leg in view.legs):
        return f"it is sent again while there is time, and ends by itself. {refused[-1]}"
    return f"it runs, and ends by itself: clearspan swap show {uetr}"


def iso_reason(view: bridge_pb2.SwapView) -> str:
    """Return the ISO 20022 reason of a swap that did not settle; "" where its outcome says enough.

    A provider that only did not lock in time leaves it to the timelock, which is a reason of its own.
    """
    from bridge.refusals import BridgeCode

    return "" if view.refusal.code == BridgeCode.PROVIDER_REFUSED else reason_of_code(view.refusal.code)


def reason_of_code(code: int) -> str:
    """Return the ISO 20022 reason of a number of the bridge's table or the ledger's; "" for another one."""
    from bridge.refusals import bridge_meaning
    from engine.codes import MEANINGS, ResultCode

    try:
        return bridge_meaning(code).iso_reason
    except ValueError:
        return MEANINGS[ResultCode(code)].iso_reason if code in frozenset(ResultCode) else ""


def timeline_rows(view: bridge_pb2.SwapView) -> list[tuple[str, str, str]]:
    """Return a swap's timeline as lines of a table: seconds since its beginning, word, sentence."""
    rows: list[tuple[str, str, str]] = []
    for (what, text), same in groupby(view.timeline, key=lambda each: (each.what, each.text)):
        instants = [_seconds(each.at - view.began_at) for each in same]
        again = f" ({len(instants)} times, the last at {instants[-1]})" if len(instants) > 1 else ""
        rows.append((instants[0], what, text + again))
    return rows


def _seconds(length_ns: int) -> str:
    milliseconds = max(0, length_ns) // 1_000_000
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def swap_document(session: Session, view: bridge_pb2.SwapView) -> dict[str, Any]:
    """Return a swap as a JSON document."""

    def leg(each: bridge_pb2.LegView) -> dict[str, Any]:
        place = leg_place(session, each)
        return {
            "ledger": place.currency,
            "chain": place.chain,
            "from": place.account(each.debit_account, each.debit_name),
            "to": place.account(each.credit_account, each.credit_name),
            "amount": money(narrow(each.amount), place.currency, place.scale),
            "timelock": str(each.timelock),
            "state": each.state,
            "lock_digest": each.lock_digest.hex(),
            "end_digest": each.end_digest.hex(),
        }

    legs = [leg(each) for each in view.legs]
    return {
        "swap_id": view.swap_id.hex(),
        "uetr": str(UUID(bytes=bytes(view.uetr))),
        "side": view.side,
        "state": view.state,
        "outcome": view.outcome,
        "refusal": view.refusal.name,
        "legs": legs,
        "hashlock": view.hashlock.hex(),
        "began_at": str(view.began_at),
        "ended_at": str(view.ended_at),
        "took_ms": max(0, view.ended_at - view.began_at) // 1_000_000,
        "timeline": [{"at": str(each.at), "what": each.what, "text": each.text} for each in view.timeline],
        "next_step": next_step(view, [each["ledger"] for each in legs]),
    }


def route_document(session: Session, route: bridge_pb2.FindRouteReply) -> dict[str, Any]:
    """Return a route as a JSON document."""

    def part(each: bridge_pb2.PlannedPart) -> dict[str, Any]:
        place = ledger_place(session, each.ledger)
        return {
            "purpose": each.purpose,
            "ledger": place.currency,
            "amount": money(narrow(each.amount), place.currency, place.scale),
            "from": place.account(each.debit_account),
            "to": place.account(each.credit_account),
        }

    legs = [each for each in route.parts if each.purpose == "leg"]
    source, target = ledger_place(session, legs[0].ledger), ledger_place(session, legs[-1].ledger)
    return {
        "hops": len(route.quotes),
        "sent": money(narrow(route.sent), source.currency, source.scale),
        "received": money(narrow(route.received), target.currency, target.scale),
        "parts": [part(each) for each in route.parts],
        "expires_at": str(route.expires_at),
        "lock_s": route.lock_s,
        "quotes": [each.hex() for each in route.quotes],
    }


def demand(session: Session, refusal: bridge_pb2.BridgeRefusal, source: int, target: int) -> None:
    """Raise Refused where there is a refusal, with what the corridor between the two ledgers has to say to it."""
    from clearspan.cli.corridor_words import explained
    from clearspan.errors import Refused

    if refusal.code:
        said = explained(session, refusal.name, source, target)
        raise Refused(
            refusal.code, refusal.name, f"{refusal.text} ({said})" if said else refusal.text, refusal.next_step
        )


def wide(value: int) -> bytes:
    """Return an amount or account as the bridge takes it, 16 bytes."""
    return value.to_bytes(16, "little")


def narrow(data: bytes) -> int:
    """Return the number in such bytes."""
    return int.from_bytes(data, "little")
