# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan bridge`: run a participant's bridge in this process, or ask how bridges stand."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clearspan.bridging.config import BRIDGE
from clearspan.cli.cases import command as cases
from clearspan.cli.options import json_option, network_option, timeout_option
from clearspan.cli.output import Output
from clearspan.cli.settings import config_flags
from clearspan.settings import ENVIRONMENT_VARIABLE

if TYPE_CHECKING:
    from clearspan.cli.session import Session
    from clearspan.network import NodeAddress
    from clearspan.v1 import bridge_pb2

__all__ = ["command"]


@click.group("bridge")
def command() -> None:
    """Run a participant's bridge, or ask how bridges stand."""


command.add_command(cases)


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

    When it is ready it prints one JSON line: ready, host, port, metrics_port, pid, name. Every key of bridge.toml is
    also a flag, which wins over the file. Events go to standard error as JSON lines.
    """
    from clearspan.bridging.process import run_bridge

    loaded = BRIDGE.load(config, overrides)
    name = loaded.config.bridge.name
    if check:
        click.echo(json.dumps({"ready": False, "name": name, "settings": "good"}))
        return

    def announce(address: NodeAddress) -> None:
        line = {
            "ready": True,
            "host": address.host,
            "port": address.port,
            "metrics_port": address.metrics_port,
            "pid": address.pid,
            "name": name,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    run_bridge(loaded, announce, parent_pid=parent_pid, die_at=die_at)


@command.command("status")
@click.option("--participant", type=int, help="Whose bridge [default: all of the network's folder].")
@timeout_option
@network_option
@json_option
def status(participant: int | None, timeout_s: float, network_path: Path | None, as_json: bool) -> int:
    """Ask bridges how they stand; exit code 3 when one does not answer."""
    from clearspan.bridging.directory import BRIDGES_FILE, BridgeDirectory
    from clearspan.cli.session import Session

    session = Session.open(network_path, timeout_s)
    directory = BridgeDirectory(session.network.path / BRIDGES_FILE)
    chosen = [each for each in directory.entries if participant in (None, each.participant)]
    output = Output(as_json=as_json)
    answers = asyncio.run(_ask_all(session, directory, [each.participant for each in chosen]))
    rows: list[tuple[object, ...]] = []
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
        said = answer.alarms[-1] if answer.alarms else ""
        rows.append((answer.participant, what, answer.running, ended, answer.relay_height, answer.following, said))
    output.document({"bridges": documents})
    output.table(("participant>", "side", "running>", "ended", "relay height>", "follows", "alarm"), rows)
    return 3 if missing or not chosen else 0


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
        "following": answer.following,
        "nodes": [
            {"domain": each.domain, "reached": each.reached, "fault": each.fault, "waiting": each.waiting}
            for each in answer.nodes
        ],
        "alarms": list(answer.alarms),
        "uptime_ms": answer.uptime_ms,
        "software": answer.software,
    }
