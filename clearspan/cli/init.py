# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan init`: make the folder of a development network. Nothing is started."""

from __future__ import annotations

from pathlib import Path

import click

from clearspan.cli.options import json_option
from clearspan.cli.output import Output

__all__ = ["command"]


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("clearspan-network"))
@click.option("--currencies", default="CNY,HKD,THB", show_default=True, help="One domain for each, in this order.")
@click.option("--name", default="development", show_default=True, help="Name of the network: a-z, 0-9 and -.")
@click.option("--shards", type=click.IntRange(1, 256), default=2, show_default=True, help="Shards of each domain.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_000),
    default=7400,
    show_default=True,
    help="Port of the first node; 0: chosen at start.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_000),
    default=9640,
    show_default=True,
    help="Port of the first node's figures; 0: chosen at start.",
)
@click.option(
    "--window-s",
    type=click.IntRange(1, 86_400),
    default=60,
    show_default=True,
    help="How long a signed transfer may stay valid, on every ledger.",
)
@click.option(
    "--validators", type=click.IntRange(0, 1000), default=4, show_default=True, help="Keys of the validator set."
)
@click.option(
    "--hash-suite",
    type=click.Choice(["sha256", "sm3"]),
    default="sha256",
    show_default=True,
    help="The network's hash.",
)
@json_option
def command(
    *,
    folder: Path,
    currencies: str,
    name: str,
    shards: int,
    port: int,
    metrics_port: int,
    window_s: int,
    validators: int,
    hash_suite: str,
    as_json: bool,
) -> None:
    """Make FOLDER: genesis, keys, certificates, and a node's settings for each domain.

    For development: keys and their passphrase lie in one place. Nothing that exists is overwritten.
    """
    # Commands import what they need, so that help needs none of it.
    from clearspan.cluster import create_network
    from engine.types import HashSuite

    output = Output(as_json=as_json)
    network = create_network(
        folder,
        [currency.strip().upper() for currency in currencies.split(",")],
        name=name,
        shards=shards,
        port=port,
        metrics_port=metrics_port,
        window_s=window_s,
        validators=validators,
        hash_suite=HashSuite.SHA256 if hash_suite == "sha256" else HashSuite.SM3,
    )
    nodes = [
        {
            "domain": entry.domain,
            "name": entry.name,
            "host": entry.host,
            "port": entry.port,
            "config": str(network.node_config(entry.domain)),
        }
        for entry in network.nodes
    ]
    output.document(
        {"folder": str(folder), "network": name, "genesis_hash": network.genesis.hash.hex(), "nodes": nodes}
    )
    output.line(f"{folder}: network {name}, genesis hash {network.genesis.hash.hex()}")
    output.table(["domain>", "name", "settings"], [(each["domain"], each["name"], each["config"]) for each in nodes])
    output.line(f"next: clearspan node run --config {nodes[0]['config']}")
