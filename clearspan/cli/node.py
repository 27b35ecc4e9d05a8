# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan node`: run a node in this process, or ask how nodes stand."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clearspan.cli.options import as_option, domain_option, json_option, network_option, timeout_option
from clearspan.cli.output import Output
from clearspan.config import ENVIRONMENT_VARIABLE, Flag, flags

if TYPE_CHECKING:
    from collections.abc import Callable

    from clearspan.cli.session import Session
    from clearspan.network import NodeAddress
    from engine.genesis import GenesisDomain

__all__ = ["command"]


@click.group("node")
def command() -> None:
    """Run a node, or ask how nodes stand."""


def _config_flags(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add every key of node.toml as a long flag."""
    for flag in reversed(flags()):
        function = _config_flag(flag)(function)
    return function


def _config_flag(flag: Flag) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    text = flag.help[:1].upper() + flag.help[1:] + "."
    if flag.type is bool:
        return click.option(f"{flag.name}/--no-{flag.name[2:]}", flag.parameter, default=None, help=text)
    if flag.choices:
        return click.option(flag.name, flag.parameter, type=click.Choice(flag.choices), default=None, help=text)
    if flag.type is int:
        return click.option(flag.name, flag.parameter, type=int, default=None, help=text)
    return click.option(flag.name, flag.parameter, type=str, multiple=flag.type not in {int, str}, help=text)


@command.command("run")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The node's settings [default: {ENVIRONMENT_VARIABLE}, or ./node.toml].",
)
@click.option("--parent-pid", type=int, hidden=True, help="End at once when this process does.")
@click.option("--check", is_flag=True, help="Check the settings and end.")
@_config_flags
def run(config: Path | None, parent_pid: int | None, check: bool, **overrides: Any) -> None:
    """Run one domain's node until SIGTERM or SIGINT.

    When it is ready it prints one JSON line: ready, host, port, metrics_port, pid, domain. Every key of node.toml is
    also a flag, which wins over the file. Events go to standard error as JSON lines.
    """
    from clearspan.config import load_config
    from clearspan.node import run_node

    loaded = load_config(config, overrides)
    if check:
        click.echo(json.dumps({"ready": False, "domain": loaded.config.node.domain, "settings": "good"}))
        return

    def announce(address: NodeAddress) -> None:
        line = {
            "ready": True,
            "host": address.host,
            "port": address.port,
            "metrics_port": address.metrics_port,
            "pid": address.pid,
            "domain": loaded.config.node.domain,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    run_node(loaded, announce, parent_pid=parent_pid)


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
        (node["domain"], node["name"], shard["shard"], shard["height"], shard["log_number"], shard["accounts"])
        for node in found
        for shard in node.get("shards", ())
    ]
    output.table(["domain>", "name", "shard>", "height>", "log number>", "accounts>"], rows)
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
            }
            for shard in answer.shards
        ],
    }
