# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""What a bridge calls people to: open alarms with what to do next, breakers that stand, and their acknowledgement."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.case_views import utc
from clearspan.cli.options import json_option, network_option, timeout_option
from clearspan.cli.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clearspan.v1 import bridge_pb2

__all__ = ["acknowledge", "alarm_document", "attention_lines", "breaker_document"]

_DIGITS_SHOWN = 16


@click.command("acknowledge")
@click.argument("number", type=click.IntRange(1))
@click.option("--note", default="", help="What was done, for whoever reads it later.")
@click.option(
    "--participant", type=click.IntRange(1), help="Whose bridge is asked [default: the only one that is no provider's]."
)
@click.option("--certificate", default="", help="The officer's certificate in the folder tls [default: the bridge's].")
@timeout_option
@network_option
@json_option
def acknowledge(
    *,
    number: int,
    note: str,
    participant: int | None,
    certificate: str,
    timeout_s: float,
    network_path: Path | None,
    as_json: bool,
) -> int:
    """Acknowledge alarm NUMBER of `bridge status`: it is listed no more, and who did so and when is kept."""
    from clearspan.cli.bridges import bridge_client, the_bridge
    from clearspan.cli.session import Session
    from clearspan.errors import Refused

    session = Session.open(network_path, timeout_s)
    chosen = the_bridge(session, participant)

    async def send() -> bridge_pb2.AcknowledgeAlarmReply:
        async with bridge_client(session, chosen, certificate=certificate) as client:
            return await client.acknowledge_alarm(number, note)

    reply = asyncio.run(send())
    if reply.refusal.code:
        raise Refused(reply.refusal.code, reply.refusal.name, reply.refusal.text, reply.refusal.next_step)
    output = Output(as_json=as_json)
    output.document(alarm_document(reply.alarm))
    output.line(f"alarm {number} is acknowledged by {reply.alarm.acknowledged_by[:_DIGITS_SHOWN]}")
    return 0


def alarm_document(alarm: bridge_pb2.AlarmView) -> dict[str, Any]:
    """Return an alarm for --json."""
    return {
        "number": alarm.number,
        "kind": alarm.kind,
        "swap": alarm.swap,
        "text": alarm.text,
        "next_step": alarm.next_step,
        "first_at": str(alarm.first_at),
        "last_at": str(alarm.last_at),
        "count": alarm.count,
        "acknowledged_by": alarm.acknowledged_by,
        "acknowledged_at": str(alarm.acknowledged_at),
        "note": alarm.note,
    }


def breaker_document(breaker: bridge_pb2.BreakerView) -> dict[str, Any]:
    """Return a breaker of a corridor for --json."""
    return {
        "corridor": breaker.corridor_id.hex(),
        "domain": breaker.domain,
        "grade": breaker.grade,
        "reason": breaker.reason,
        "per_second": breaker.rate,
        "set_at": str(breaker.set_at),
        "until": str(breaker.expires_at),
        "relay_height": breaker.relay_height,
    }


def attention_lines(answer: bridge_pb2.BridgeStatus) -> Iterator[str]:
    """Say what people must look at: alarms, breakers, cases; nothing where there is nothing."""
    for each in answer.open_alarms:
        about = f" swap {each.swap[:_DIGITS_SHOWN]}" if each.swap else ""
        again = f", {each.count} times until {utc(each.last_at)}" if each.count > 1 else ""
        head = f"{answer.participant}: alarm {each.number} since {utc(each.first_at)}{again},{about}"
        yield f"{head} {each.kind}: {each.text}"
        yield f"    next: {each.next_step} Then: clearspan bridge acknowledge {each.number}"
    for breaker in answer.breakers:
        rate = f" {breaker.rate} a second" if breaker.rate else ""
        where = f"corridor {breaker.corridor_id.hex()}, set by domain {breaker.domain}, reason {breaker.reason}"
        yield f"{answer.participant}: breaker {breaker.grade}{rate} on {where}, until {utc(breaker.expires_at)}"
    if answer.cases_open:
        yield f"{answer.participant}: {answer.cases_open} cases wait for people: clearspan bridge cases list"
