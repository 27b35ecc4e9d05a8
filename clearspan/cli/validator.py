# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan validator`: run a validator, ask how validators stand, and decide with the other members."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.governance import approve, new, submit
from clearspan.cli.options import as_option, json_option, network_option, timeout_option
from clearspan.cli.output import Output
from clearspan.cli.proposals import propose
from clearspan.cli.readiness import announcer, say_checked
from clearspan.cli.settings import config_flags
from clearspan.settings import ENVIRONMENT_VARIABLE
from clearspan.validator.config import VALIDATOR

if TYPE_CHECKING:
    from clearspan.cli.session import Session
    from clearspan.validator.addresses import ValidatorEntry

__all__ = ["command"]


@click.group("validator")
def command() -> None:
    """Run a validator, ask how validators stand, or decide with the other members who validates and by which rules."""


for _command in (new, propose, approve, submit):
    command.add_command(_command)


@command.command("run")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The validator's settings [default: {ENVIRONMENT_VARIABLE}, or ./validator.toml].",
)
@click.option("--parent-pid", type=int, hidden=True, help="End at once when this process does.")
@click.option("--check", is_flag=True, help="Check the settings and end.")
@click.option(
    "--restored",
    is_flag=True,
    help="Its data comes from a backup: sign nothing until the others have shown which heights are past.",
)
@config_flags(VALIDATOR.flags())
def run(config: Path | None, parent_pid: int | None, check: bool, restored: bool, **overrides: Any) -> None:
    """Run one validator until SIGTERM or SIGINT.

    When it is ready it prints one JSON line: ready, host, port, metrics_port, pid, name. Every key of validator.toml is
    also a flag, which wins over the file. Events go to standard error as JSON lines.
    """
    from clearspan.validator.process import run_validator

    loaded = VALIDATOR.load(config, overrides)
    name = loaded.config.validator.name
    if check:
        say_checked(name=name)
        return

    run_validator(loaded, announcer(name=name), parent_pid=parent_pid, restored=restored)


@command.command("status")
@as_option("reader")
@timeout_option
@network_option
@json_option
def status(speaker: str, timeout_s: float, network_path: Path | None, as_json: bool) -> int:
    """Ask all validators how they stand; exit code 3 when one does not answer."""
    from clearspan.cli.session import Session
    from clearspan.validator.folder import validator_entries

    session = Session.open(network_path, timeout_s)
    entries = validator_entries(session.network)
    output = Output(as_json=as_json)
    found = asyncio.run(_ask_all(session, entries, speaker))
    output.document({"validators": found})
    rows = [
        (
            each["participant"],
            each["final_height"],
            each["view"],
            each["set_id"],
            "yes" if each["may_sign"] else "no",
            sum(peer["connected"] for peer in each["peers"]),
            sum(shard["anchored_height"] for shard in each["shards"]),
            sum(shard["verified_height"] for shard in each["shards"]),
        )
        for each in found
        if "error" not in each
    ]
    head = ["participant>", "final>", "view>", "set>", "signs", "peers>", "anchored>", "verified>"]
    output.table(head, rows)
    troubled = {
        (shard["shard"], shard["standing"], shard["disputed_height"])
        for each in found
        for shard in each.get("shards", ())
        if shard["standing"]
    }
    for shard, standing, height in sorted(troubled):
        output.note(f"shard {shard:#x} is {standing}" + (f", block {height}" if height else ""))
    silent = [each for each in found if "error" in each]
    for each in silent:
        output.note(f"validator {each['participant']}: {each['error']}")
    return 3 if silent else 0


async def _ask_all(session: Session, entries: tuple[ValidatorEntry, ...], speaker: str) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(_ask(session, entry, speaker) for entry in entries)))


async def _ask(session: Session, entry: ValidatorEntry, speaker: str) -> dict[str, Any]:
    from clearspan.client.relay import RelayClient
    from clearspan.errors import ConfigError, Refused, Unreachable
    from clearspan.validator.folder import validator_target

    head = {"participant": entry.participant, "name": entry.name}
    tls = session.certificate(session.network.genesis.domains[0].domain, speaker)
    try:
        async with RelayClient(validator_target(session.network, entry), tls, timeout_s=session.timeout_s) as client:
            answer = await client.status()
    except (ConfigError, Refused, Unreachable) as error:
        return {**head, "error": error.message}
    return {
        **head,
        "network": answer.network,
        "genesis_hash": answer.genesis_hash.hex(),
        "final_height": answer.final_height,
        "final_time": answer.final_time,
        "set_id": answer.set_id,
        "view": answer.view,
        "index": answer.index,
        "may_sign": answer.may_sign,
        "behind": answer.behind,
        "software": answer.software,
        "uptime_ms": answer.uptime_ms,
        "peers": [
            {
                "index": peer.index,
                "participant": peer.participant,
                "connected": peer.connected,
                "queued_bytes": peer.queued_bytes,
                "dropped": peer.dropped,
            }
            for peer in answer.peers
        ],
        "shards": [
            {
                "shard": shard.shard,
                "anchored_height": shard.anchored_height,
                "verified_height": shard.verified_height,
                "executed_height": shard.executed_height,
                "standing": shard.standing,
                "disputed_height": shard.disputed_height,
                "epoch_min": shard.epoch_min,
            }
            for shard in answer.shards
        ],
    }
