# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan node`: run a node in this process, or ask how nodes stand."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import as_option, domain_option, json_option, network_option, timeout_option
from clearspan.cli.output import Output
from clearspan.cli.readiness import announcer, say_checked
from clearspan.cli.settings import config_flags
from clearspan.config import ENVIRONMENT_VARIABLE, flags

if TYPE_CHECKING:
    from clearspan.cli.session import Session
    from engine.genesis import GenesisDomain

__all__ = ["command"]


@click.group("node")
def command() -> None:
    """Run a node, or ask how nodes stand."""


@command.command("run")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The node's settings [default: {ENVIRONMENT_VARIABLE}, or ./node.toml].",
)
@click.option("--parent-pid", type=int, hidden=True, help="End at once when this process does.")
@click.option("--check", is_flag=True, help="Check the settings and end.")
@config_flags(flags())
def run(config: Path | None, parent_pid: int | None, check: bool, **overrides: Any) -> None:
    """Run one domain's node until SIGTERM or SIGINT.

    When it is ready it prints one JSON line: ready, host, port, metrics_port, pid, domain. Every key of node.toml is
    also a flag, which wins over the file. Events go to standard error as JSON lines.
    """
    from clearspan.config import load_config
    from clearspan.node import run_node

    loaded = load_config(config, overrides)
    if check:
        say_checked(domain=loaded.config.node.domain)
        return

    run_node(loaded, announcer(domain=loaded.config.node.domain), parent_pid=parent_pid)


@command.command("status")
@domain_option
@as_option("reader")
@timeout_option
@network_option
@json_option
def status(domain_name: str | None, speaker: str, timeout_s: float, network_path: Path | None, as_json: bool) -> int:
    """Ask one node, or all, how it stands; exit code 3 when one does not answer."""
    from clearspan.cli.session import Session

    session = Session.open(network_path, timeout_s)
    genesis = session.network.genesis
    domains = (session.domain(domain_name),) if domain_name is not None else genesis.domains
    output = Output(as_json=as_json)
    found = asyncio.run(_ask_all(session, domains, speaker))
    output.document({"nodes": found})
    rows = [
        (
            node["domain"],
            node["name"],
            shard["shard"],
            shard["height"],
            shard["final_height"],
            shard["verified_height"],
            shard["log_number"],
            shard["accounts"],
        )
        for node in found
        for shard in node.get("shards", ())
    ]
    columns = ["domain>", "name", "shard>", "height>", "final>", "verified>", "log number>", "accounts>"]
    output.table(columns, rows)
    for node in found:
        if node.get("relay") is not None:
            relay = node["relay"]
            whom = f"follows validator {relay['following']}" if relay["following"] else "follows no validator now"
            output.line(f"{node['name']}: relay block {relay['height']} of set {relay['set_id']}, {whom}")
    silent = [node for node in found if "error" in node]
    for node in silent:
        output.note(f"domain {node['domain']} ({node['name']}): {node['error']}")
    return 3 if silent else 0


async def _ask_all(session: Session, domains: tuple[GenesisDomain, ...], speaker: str) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(_ask(session, domain, speaker) for domain in domains)))


async def _ask(session: Session, domain: GenesisDomain, speaker: str) -> dict[str, Any]:
    from clearspan.errors import ConfigError, TimedOut, Unreachable

    head = {"domain": domain.domain, "name": domain.name}
    try:
        async with session.connect(domain.domain, speaker) as client:
            answer = await client.status()
    except (ConfigError, Unreachable, TimedOut) as error:
        if isinstance(error, ConfigError) and error.path == "--as":
            raise
        return {**head, "error": error.message}
    return {
        **head,
        "network": answer.network,
        "genesis_hash": answer.genesis_hash.hex(),
        "durability": answer.durability,
        "software": answer.software,
        "uptime_ms": answer.uptime_ms,
        "shards": [
            {
                "shard": shard.shard,
                "height": shard.height,
                "log_number": shard.log_number,
                "accounts": shard.accounts,
                "last_time": shard.last_time,
                "final_height": shard.final_height,
                "verified_height": shard.verified_height,
            }
            for shard in answer.shards
        ],
        "relay": asdict(answer.relay) if answer.relay is not None else None,
    }
