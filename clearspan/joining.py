"""A further validator of a development network: its folder, key, certificate and its line in the file of addresses.

It promises to make nothing that is not asked for: who votes is a governance record's to say (``clearspan.governing``).
Until one names the key, the validator that is started from the folder follows the chain and signs nothing. A key
rotates in the same way: the institution's new key gets a validator of its own, which takes the old one's place in the
next set, so that no key and no record of votes ever moves from one process to another.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clearspan.config import FORMAT, MetricsSection
from clearspan.errors import ConfigError
from clearspan.keys import KeyFile, ScryptCost
from clearspan.network import DEVELOPMENT_COST_N
from clearspan.pki import issue_certificate
from clearspan.roles import Identity, PeerRole
from clearspan.validator.addresses import ValidatorEntry, render_addresses
from clearspan.validator.config import (
    VALIDATOR,
    ConsensusSection,
    FollowSection,
    PeersSection,
    ValidatorConfig,
    ValidatorSection,
    ValidatorTls,
)
from clearspan.validator.folder import ADDRESSES_FILE, validator_entries
from engine.genesis import padded_key
from engine.types import ParticipantId, Role, SigningSuite
from engine.validators import Validator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.network import Network

__all__ = ["add_validator_folder", "member_of"]

_PASSPHRASE: Final = "passphrase"  # noqa: S105 - a file's name


def add_validator_folder(
    network: Network,
    participant: int,
    *,
    name: str = "",
    suite: SigningSuite = SigningSuite.ED25519,
    port: int = 0,
    metrics_port: int = 0,
    follow: Sequence[str] | None = None,
) -> ValidatorEntry:
    """Make validators/<name> (default: the participant's number) with a new key, and enter it in validators.toml.

    ``follow``: names of the domains that it executes, default all; ports of 0 let the system choose. Raises ConfigError
    for a name that is taken.
    """
    name = name or str(participant)
    folder = network.path / "validators" / name
    entries = validator_entries(network)
    if folder.exists() or any(each.name == name for each in entries):
        raise ConfigError(str(folder), "is there already", "give the new one another name: --name")
    certificate = f"validator-{participant}"
    if not (network.path / "tls" / f"{certificate}.pem").exists():
        identity = Identity(network.genesis.network, PeerRole.VALIDATOR, participant)
        hosts = ("127.0.0.1", "localhost", certificate)
        issue_certificate(network.path / "tls", certificate, hosts=hosts, identity=identity, server=True, client=True)
    domains = tuple(each.name for each in network.genesis.domains) if follow is None else tuple(follow)
    config = ValidatorConfig(
        format=FORMAT,
        validator=ValidatorSection(genesis="../../genesis.json", name=f"validator-{name}", port=port),
        tls=ValidatorTls(
            certificate=f"../../tls/{certificate}.pem", key=f"../../tls/{certificate}.key", authority="../../tls/ca.pem"
        ),
        peers=PeersSection(addresses=f"../../{ADDRESSES_FILE}"),
        consensus=_consensus(network),
        follow=FollowSection(domains=domains, nodes="../../nodes.toml"),
        metrics=MetricsSection(port=metrics_port),
    )
    key = KeyFile.create(suite, ParticipantId(participant), Role.BLOCK)
    folder.parent.mkdir(exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
    try:
        _fill(beside, config, key, network.path / "keys" / _PASSPHRASE)
        beside.chmod(0o755)
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    entry = ValidatorEntry(participant, name, config.validator.host, port, padded_key(key.info.public_key))
    _replace(network.path / ADDRESSES_FILE, render_addresses([*entries, entry]))
    return entry


def member_of(entry: ValidatorEntry, suite: int, power: int = 1) -> Validator:
    """Return an entry as a member of a set."""
    return Validator(entry.participant, suite, power, entry.public_key)


def _consensus(network: Network) -> ConsensusSection:
    """Return the times that the other validators of the folder take: all take the same."""
    for entry in validator_entries(network):
        path = network.path / "validators" / entry.name / "validator.toml"
        if path.exists():
            return VALIDATOR.load(path).config.consensus
    return ConsensusSection()


def _fill(folder: Path, config: ValidatorConfig, key: KeyFile, passphrase_file: Path) -> None:
    keys = folder / "keys"
    keys.mkdir(mode=0o700)
    passphrase = passphrase_file.read_bytes()
    own = keys / _PASSPHRASE
    own.touch(mode=0o600)
    own.write_bytes(passphrase)
    key.save(keys / "validator.key", passphrase.rstrip(b"\n"), ScryptCost(n=DEVELOPMENT_COST_N))
    (folder / "validator.toml").write_text(VALIDATOR.render(config), encoding="utf-8")


def _replace(path: Path, text: str) -> None:
    """Replace a file in one step: running validators read it again at any time."""
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
