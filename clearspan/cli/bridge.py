# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan bridge`: run a participant's bridge in this process, or ask how bridges stand."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from clearspan.bridging.settings.config import BRIDGE
from clearspan.cli.alarms import acknowledge, alarm_document, attention_lines, breaker_document
from clearspan.cli.bridge_new import new
from clearspan.cli.cases import command as cases
from clearspan.cli.options import json_option, network_option, timeout_option
from clearspan.cli.output import Output, money
from clearspan.cli.readiness import announcer, say_checked
from clearspan.cli.settings import config_flags
from clearspan.settings import ENVIRONMENT_VARIABLE

if TYPE_CHECKING:
    from clearspan.cli.session import Session
    from clearspan.v1 import bridge_pb2

__all__ = ["command"]

_NS_PER_S: Final = 1_000_000_000
_COIN_SCALE: Final = 18


@click.group("bridge")
def command() -> None:
    """Make and run a participant's bridge, or ask how bridges stand."""


command.add_command(new)
command.add_command(cases)
command.add_command(acknowledge)


@command.command("run")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The bridge's settings [default: {ENVIRONMENT_VARIABLE}, or ./bridge.toml].",
)
@click.option("--parent-pid", type=int, hidden=True, help="End at once when this process does.")
@click.option("--check", is_flag=True, help="Check the settings and end.")
@click.option("--die-at", default="", hidden=True, help="For tests: end by SIGKILL at this step of the journal.")
@config_flags(BRIDGE.flags())
def run(config: Path | None, parent_pid: int | None, check: bool, die_at: str, **overrides: Any) -> None:
    """Run one bridge until SIGTERM or SIGINT.

    When it has read the relay to where it stands, or after relay.catch_up_ms, it prints one JSON line: ready, host,
    port, metrics_port, pid, name, relay_behind (blocks still to be read, -1: nobody has told). Until they are read it
    drives what runs and begins nothing. Every key of bridge.toml is also a flag, which wins over the file. Events go to
    standard error as JSON lines.
    """
    from clearspan.bridging.process import run_bridge

    loaded = BRIDGE.load(config, overrides)
    name = loaded.config.bridge.name
    if check:
        say_checked(name=name)
        return

    run_bridge(loaded, announcer(name=name), parent_pid=parent_pid, die_at=die_at)


@command.command("status")
@click.option("--participant", type=int, help="Whose bridge [default: all of the network's folder].")
@timeout_option
@network_option
@json_option
def status(participant: int | None, timeout_s: float, network_path: Path | None, as_json: bool) -> int:
    """Ask bridges how they stand; exit code 3 when one does not answer."""
    from clearspan.bridging.settings.directory import BRIDGES_FILE, BridgeDirectory
    from clearspan.cli.session import Session

    session = Session.open(network_path, timeout_s)
    directory = BridgeDirectory(session.network.path / BRIDGES_FILE)
    chosen = [each for each in directory.entries if participant in (None, each.participant)]
    output = Output(as_json=as_json)
    answers = asyncio.run(_ask_all(session, directory, [each.participant for each in chosen]))
    rows: list[tuple[object, ...]] = []
    notes: list[str] = []
    documents: list[dict[str, Any]] = []
    missing = 0
    for entry, answer in zip(chosen, answers, strict=True):
        if isinstance(answer, str):
            missing += 1
            documents.append({"participant": entry.participant, "answers": False, "error": answer})
            rows.append((entry.participant, "no answer", "", "", "", "", answer))
            continue
        documents.append({"answers": True, **_document(answer)})
        what = "provider" if answer.provides else "payer"
        ended = f"{answer.claimed} claimed, {answer.refunded} refunded, {answer.refused} refused"
        said = f"{answer.alarms_open} open" if answer.alarms_open else ""
        rows.append((answer.participant, what, answer.running, ended, answer.relay_height, answer.following, said))
        notes += _unreached(answer)
    output.document({"bridges": documents})
    output.table(("participant>", "side", "running>", "ended", "relay height>", "follows", "alarm"), rows)
    for line in notes:
        output.line(line)
    for answer in answers:
        if not isinstance(answer, str):
            for line in attention_lines(answer):
                output.line(line)
    chains = [(each["participant"], *_chain_row(chain)) for each in documents for chain in each.get("chains", ())]
    if chains:
        output.table(("participant>", "chain", "height>", "age s>", "final>", "coin>", "out>", "fault"), chains)
    return 3 if missing or not chosen else 0


def _unreached(answer: bridge_pb2.BridgeStatus) -> list[str]:
    """Return a line for whatever a bridge lacks to begin swaps: the relay up to where it stood, a domain's node."""
    who, lines = f"bridge {answer.participant}", []
    if not answer.HasField("relay_behind"):
        lines.append(f"{who}: no validator has told how far the relay is; nothing new begins")
    elif answer.relay_behind:
        lines.append(f"{who} reads the relay: {answer.relay_behind} blocks to go; nothing new begins until then")
    lines += [
        f"{who}: the node of domain {each.domain} does not answer{': ' + each.fault if each.fault else ''}"
        for each in answer.nodes
        if not each.reached
    ]
    return lines


async def _ask_all(session: Session, directory: Any, participants: list[int]) -> list[bridge_pb2.BridgeStatus | str]:
    return list(await asyncio.gather(*(_ask(session, directory, each) for each in participants)))


async def _ask(session: Session, directory: Any, participant: int) -> bridge_pb2.BridgeStatus | str:
    from clearspan.cli.bridges import bridge_client
    from clearspan.errors import ClientError, ConfigError

    try:
        async with bridge_client(session, participant, directory) as client:
            return await client.status()
    except (ClientError, ConfigError) as error:
        return str(error)


def _document(answer: bridge_pb2.BridgeStatus) -> dict[str, Any]:
    return {
        "participant": answer.participant,
        "name": answer.name,
        "network": answer.network,
        "provides": answer.provides,
        "running": answer.running,
        "claimed": answer.claimed,
        "refunded": answer.refunded,
        "refused": answer.refused,
        "relay_height": answer.relay_height,
        "relay_time": str(answer.relay_time),
        "relay_behind": answer.relay_behind if answer.HasField("relay_behind") else None,
        "following": answer.following,
        "nodes": [
            {"domain": each.domain, "reached": each.reached, "fault": each.fault, "waiting": each.waiting}
            for each in answer.nodes
        ],
        "chains": [_chain(each) for each in answer.chains],
        "alarms": list(answer.alarms),
        "open_alarms": [alarm_document(each) for each in answer.open_alarms],
        "breakers": [breaker_document(each) for each in answer.breakers],
        "cases_open": answer.cases_open,
        "outcomes_waiting": answer.outcomes_waiting,
        "uptime_ms": answer.uptime_ms,
        "software": answer.software,
    }


def _chain(line: bridge_pb2.ChainLine) -> dict[str, Any]:
    return {
        "name": line.name,
        "account": line.account,
        "height": line.height,
        "head_time": str(line.head_time),
        "head_age_s": max(0, time.time_ns() - line.head_time) // _NS_PER_S if line.head_time else None,
        "final_height": line.final_height,
        "balance": money(int.from_bytes(line.balance, "little"), "coin", _COIN_SCALE),
        "transactions_out": line.transactions_out,
        "reached_at": str(line.reached_at),
        "fault": line.fault,
    }


def _chain_row(chain: dict[str, Any]) -> tuple[object, ...]:
    age = "" if chain["head_age_s"] is None else chain["head_age_s"]
    coin = chain["balance"]["text"]
    return (chain["name"], chain["height"], age, chain["final_height"], coin, chain["transactions_out"], chain["fault"])
