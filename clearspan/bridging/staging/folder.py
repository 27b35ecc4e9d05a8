"""Bridges of a development network: a folder with settings, keys and certificate for each, and the file of all.

bridges.toml                    addresses and quote keys (``clearspan.bridging.settings.directory``)
bridges/<participant>/          bridge.toml, offers.toml, corridors/, keys/<domain>/, data/

It promises that a participant's keys are copied and never moved, and that a bridge that is founded again keeps its
journal. For development, tests and the demonstration, like ``clearspan.founding``.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from bridge.foreign_asset import FOREIGN_LEDGER_FIRST
from clearspan.bridging.settings.config import (
    BRIDGE,
    BridgeConfig,
    BridgeNodesSection,
    BridgeProviderSection,
    BridgeRelaySection,
    BridgeSection,
    BridgeTls,
)
from clearspan.bridging.settings.directory import (
    BRIDGES_FILE,
    BRIDGES_FOLDER,
    BridgeDirectory,
    BridgeEntry,
    BridgeKey,
    render_bridges,
)
from clearspan.bridging.settings.offers import OFFERS_FILE, Offers, render_offers
from clearspan.config import LimitsSection, MetricsSection
from clearspan.network import read_address
from clearspan.pki import issue_certificate
from clearspan.roles import Identity, PeerRole
from clearspan.settings import FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from clearspan.network import Network, NodeAddress
    from engine.governance import Corridor

__all__ = [
    "bridge_address",
    "bridge_config",
    "bridge_folder",
    "bridge_tls_name",
    "found_bridge",
    "note_bridge",
    "put_corridors",
]

_PORT_FIRST: Final = 7430
CORRIDORS_FOLDER: Final = "corridors"


def bridge_folder(network: Network, participant: int) -> Path:
    """Return the folder of a participant's bridge."""
    return network.path / BRIDGES_FOLDER / str(participant)


def bridge_config(network: Network, participant: int) -> Path:
    """Return the settings file of a participant's bridge."""
    return bridge_folder(network, participant) / "bridge.toml"


def bridge_tls_name(participant: int) -> str:
    """Return the name of the certificate that a participant's bridge listens and speaks with."""
    return f"bridge-{participant}"


def bridge_address(network: Network, participant: int) -> NodeAddress | None:
    """Return what a participant's bridge listens at, None when it does not run."""
    return read_address(bridge_folder(network, participant) / "data")


def found_bridge(
    network: Network,
    participant: int,
    offers: Offers,
    *,
    role: PeerRole = PeerRole.BANK,
    port: int = 0,
    finality: str = "verified",
    retry_ms: int = 2_000,
    limits: LimitsSection | None = None,
) -> Path:
    """Make or renew the folder of a participant's bridge and note it for the others; return its settings file.

    It provides liquidity where the offers have pairs. Port 0 lets the system choose.
    """
    folder = bridge_folder(network, participant)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    keys = folder / "keys"
    for domain in network.genesis.domains:
        source = network.key_folder(domain.domain, participant)
        if source.is_dir():
            shutil.copytree(source, keys / domain.name, dirs_exist_ok=True)
    shutil.copy2(network.path / "keys" / "passphrase", keys / "passphrase")
    name = bridge_tls_name(participant)
    if not (network.path / "tls" / f"{name}.pem").exists():
        identity = Identity(network.genesis.network, role, participant)
        hosts = ("127.0.0.1", "localhost", name)
        issue_certificate(network.path / "tls", name, hosts=hosts, identity=identity, server=True, client=True)
    config = BridgeConfig(
        format=FORMAT,
        bridge=BridgeSection(
            genesis="../../genesis.json",
            participant=participant,
            name=f"bridge-{participant}",
            port=port,
            retry_ms=retry_ms,
        ),
        tls=BridgeTls(certificate=f"../../tls/{name}.pem", key=f"../../tls/{name}.key", authority="../../tls/ca.pem"),
        limits=limits or LimitsSection(),
        nodes=BridgeNodesSection(addresses="../../nodes.toml", finality="final" if finality == "final" else "verified"),
        relay=BridgeRelaySection(addresses="../../validators.toml"),
        provider=BridgeProviderSection(
            enabled=bool(offers.pairs), bridges=f"../../{BRIDGES_FILE}", corridors=f"../../{CORRIDORS_FOLDER}"
        ),
        metrics=MetricsSection(port=0),
    )
    path = folder / "bridge.toml"
    path.write_text(BRIDGE.render(config), encoding="utf-8")
    (folder / OFFERS_FILE).write_text(render_offers(offers), encoding="utf-8")
    note_bridge(network, participant, offers, port)
    return path


def note_bridge(network: Network, participant: int, offers: Offers, port: int = 0) -> None:
    """Write a bridge into the file that all bridges of the folder read, with the key that signs its quotes."""
    path = network.path / BRIDGES_FILE
    entries = {each.participant: each for each in BridgeDirectory(path).entries}
    keys: list[BridgeKey] = []
    if offers.pairs:
        first = next(each for each in offers.accounts if each.ledger < FOREIGN_LEDGER_FIRST)
        domain, _ = network.ledger(str(first.ledger))
        ring = network.load_keys(domain.domain, participant)
        info = ring[ring.index_of(first.key_id)]
        keys.append(BridgeKey(domain.domain, first.key_id, int(info.suite), info.public_key))
    name = str(participant)
    entries[participant] = BridgeEntry(participant, name, "127.0.0.1", port, bool(offers.pairs), tuple(keys))
    path.write_text(render_bridges(entries.values()), encoding="utf-8")


def put_corridors(network: Network, corridors: Iterable[Corridor]) -> None:
    """Put corridors into the folder that all bridges of the network read at their start, as the operator's word."""
    folder = network.path / CORRIDORS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for each in corridors:
        name = f"{each.id.hex()}.{each.version}.{each.effect_height}.json"
        (folder / name).write_bytes(each.document)
