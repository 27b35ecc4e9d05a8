"""Founding a development network: its genesis, keys, certificates and the settings of its nodes, in one folder.

It promises that a folder is made whole or not at all and that nothing is overwritten. For development, tests and the
demonstration: the keys lie beside the passphrase that opens them.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clearspan.config import (
    FORMAT,
    DataSection,
    MetricsSection,
    NodeConfig,
    NodeSection,
    RelaySection,
    ShardsSection,
    TlsSection,
    render_config,
)
from clearspan.currencies import currency_of
from clearspan.errors import ConfigError
from clearspan.keys import KeyFile, ScryptCost
from clearspan.network import DEVELOPMENT_COST_N, Network, write_json
from clearspan.pki import DevelopmentPki, create_development_pki
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
from engine.genesis import (
    Genesis,
    GenesisDomain,
    GenesisKey,
    GenesisLedger,
    GenesisLimits,
    GenesisValidator,
    padded_key,
)
from engine.types import HashSuite, KeyId, ParticipantId, Role, SigningSuite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "CLEARING_HOUSE",
    "DEFAULT_CURRENCIES",
    "READER",
    "create_network",
    "issuer_of",
    "operator_of",
    "regulator_of",
    "supervisor_of",
    "temporary_network",
]

DEFAULT_CURRENCIES: Final = ("CNY", "HKD", "THB")
CLEARING_HOUSE: Final = 1
"""Participant number of the development clearing house: it carries batches and holds no account."""
READER: Final = 2
_DOMAIN_SPAN: Final = 10
_VALIDATOR_FIRST: Final = 91
_PORT_FIRST: Final = 7400
_METRICS_PORT_FIRST: Final = 9640
# The validators' ports follow the nodes' with room between: 7410 and 9650 with the ports above.
_VALIDATOR_PORTS: Final = 10


def operator_of(domain: int) -> int:
    """Return the participant number of a domain's operator in a development network."""
    return domain * _DOMAIN_SPAN + 1


def supervisor_of(domain: int) -> int:
    """Return the participant number of a domain's first supervisor, its central bank, in a development network."""
    return domain * _DOMAIN_SPAN + 2


def regulator_of(domain: int) -> int:
    """Return the participant number of a domain's second supervisor, its regulator: two release what is held."""
    return domain * _DOMAIN_SPAN + 4


def issuer_of(domain: int) -> int:
    """Return the participant number of the issuer of a domain's ledger in a development network."""
    return domain * _DOMAIN_SPAN + 3


def create_network(
    path: Path,
    currencies: Sequence[str] = DEFAULT_CURRENCIES,
    *,
    name: str = "development",
    shards: int = 2,
    port: int = _PORT_FIRST,
    metrics_port: int = _METRICS_PORT_FIRST,
    validators: int = 4,
    window_s: int = 60,
    lock_min_s: int = 30,
    hash_suite: HashSuite = HashSuite.SHA256,
    limits: GenesisLimits | None = None,
    node_shards: ShardsSection | None = None,
    node_data: DataSection | None = None,
    now: int | None = None,
) -> Network:
    """Make the folder of a network: domain i carries the i-th currency; nothing is started.

    Nodes listen at port, port + 1, …, validators at port + 10, port + 11, … (or after the nodes, where there are more),
    and metrics likewise; 0 lets the system choose for all. The folder must not exist or be empty. Raises ConfigError
    for that, CurrencyUnknownError, GenesisRefused for what a genesis cannot hold.
    """
    _check_target(path, currencies, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        maker = _Maker(beside, name, ScryptCost(n=DEVELOPMENT_COST_N))
        domains = tuple(
            maker.domain(number, currency, shards, limits or GenesisLimits(), window_s=window_s, lock_min_s=lock_min_s)
            for number, currency in enumerate(currencies, start=1)
        )
        genesis = Genesis(
            network=name,
            random=secrets.token_bytes(32),
            time=now if now is not None else time.time_ns(),
            domains=domains,
            validators=maker.validators(validators),
            hash_suite=hash_suite,
        )
        (beside / "genesis.json").write_bytes(genesis.document)
        maker.certificates(genesis)
        maker.nodes(genesis, port, metrics_port, node_shards or ShardsSection(), node_data or DataSection())
        maker.validator_folders(genesis, port, metrics_port)
        maker.participants(genesis)
        beside.chmod(0o755)
        if path.exists():
            path.rmdir()
        beside.rename(path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return Network.load(path)


@contextlib.contextmanager
def temporary_network(currencies: Sequence[str] = DEFAULT_CURRENCIES, **options: object) -> Iterator[Network]:
    """Make a network in a folder of its own, ports chosen by the system, and remove it at the end; options as above."""
    with tempfile.TemporaryDirectory(prefix="clearspan-") as folder:
        settings = {"port": 0, "metrics_port": 0, **options}
        yield create_network(Path(folder) / "network", currencies, **settings)  # type: ignore[arg-type]


class _Maker:
    """Fills a new folder, file by file."""

    def __init__(self, path: Path, name: str, cost: ScryptCost) -> None:
        self._path = path
        self._cost = cost
        self._network = name
        self._pki: DevelopmentPki = create_development_pki(path / "tls", name)
        self._passphrase = secrets.token_hex(24).encode()
        self._write_passphrase(path / "keys")
        self._block_keys: dict[int, KeyFile] = {}
        self._validator_keys: dict[int, KeyFile] = {}

    def domain(
        self, number: int, currency: str, shards: int, limits: GenesisLimits, *, window_s: int, lock_min_s: int
    ) -> GenesisDomain:
        """Make a domain's first keys and return its part of the genesis; they become key ids 1 to 5."""
        found = currency_of(currency)
        name = currency.lower()
        issuer = issuer_of(number)
        ledger = GenesisLedger(found.number, found.code, found.scale, issuer, window_s=window_s, lock_min_s=lock_min_s)
        plan = (
            (operator_of(number), Role.OPERATOR, 2),
            (supervisor_of(number), Role.SUPERVISOR, 1),
            (regulator_of(number), Role.SUPERVISOR, 1),
            (operator_of(number), Role.BLOCK, 1),
        )
        keys: list[GenesisKey] = []
        for participant, role, count in plan:
            for serial in range(1, count + 1):
                key = KeyFile.create(SigningSuite.ED25519, ParticipantId(participant), role)
                key.set_key_id(KeyId(len(keys) + 1))
                keys.append(GenesisKey(participant, role, SigningSuite.ED25519, key.info.public_key))
                if role is Role.BLOCK:
                    self._block_keys[number] = key
                else:
                    file = self._path / "keys" / name / str(participant) / f"{role.name.lower()}-{serial}.key"
                    key.save(file, self._passphrase, self._cost)
        return GenesisDomain(number, name, shards, (ledger,), tuple(keys), limits)

    def validators(self, count: int) -> tuple[GenesisValidator, ...]:
        """Make the first validator set: one key and one vote each."""
        found = []
        for serial in range(count):
            participant = _VALIDATOR_FIRST + serial
            key = KeyFile.create(SigningSuite.ED25519, ParticipantId(participant), Role.BLOCK)
            key.save(self._path / "keys" / "validators" / f"{participant}.key", self._passphrase, self._cost)
            self._validator_keys[participant] = key
            found.append(GenesisValidator(participant, 1, SigningSuite.ED25519, key.info.public_key))
        return tuple(found)

    def certificates(self, genesis: Genesis) -> None:
        """Issue a certificate for each node and each role that the tools speak in."""
        self._client("clearing-house", PeerRole.CLEARING_HOUSE, CLEARING_HOUSE)
        self._client("reader", PeerRole.READER, READER)
        for domain in genesis.domains:
            self._pki.issue_server(f"node-{domain.name}")
            self._client(f"operator-{domain.name}", PeerRole.OPERATOR, operator_of(domain.domain))
            self._client(f"supervisor-{domain.name}", PeerRole.SUPERVISOR, supervisor_of(domain.domain))
            self._client(f"regulator-{domain.name}", PeerRole.SUPERVISOR, regulator_of(domain.domain))
            self._client(f"issuer-{domain.name}", PeerRole.ISSUER, issuer_of(domain.domain))
        for validator in genesis.validators:
            identity = Identity(self._network, PeerRole.VALIDATOR, validator.participant)
            self._pki.issue_validator(f"validator-{validator.participant}", identity)

    def _client(self, name: str, role: PeerRole, participant: int) -> None:
        self._pki.issue_client(name, Identity(self._network, role, participant))

    def nodes(self, genesis: Genesis, port: int, metrics_port: int, shards: ShardsSection, data: DataSection) -> None:
        """Write each node's folder with its settings and its block key, and nodes.toml with the addresses."""
        lines = [f"format = {FORMAT}"]
        for index, domain in enumerate(genesis.domains):
            folder = self._path / "nodes" / domain.name
            self._write_passphrase(folder / "keys")
            self._block_keys[domain.domain].save(folder / "keys" / "block.key", self._passphrase, self._cost)
            own_port = port + index if port else 0
            config = NodeConfig(
                format=FORMAT,
                node=NodeSection(
                    genesis="../../genesis.json", domain=domain.domain, name=f"node-{domain.name}", port=own_port
                ),
                data=data,
                tls=TlsSection(
                    certificate=f"../../tls/node-{domain.name}.pem",
                    key=f"../../tls/node-{domain.name}.key",
                    authority="../../tls/ca.pem",
                ),
                shards=shards,
                relay=RelaySection(
                    addresses="../../validators.toml",
                    certificate=f"../../tls/operator-{domain.name}.pem",
                    key=f"../../tls/operator-{domain.name}.key",
                ),
                metrics=MetricsSection(port=metrics_port + index if metrics_port else 0),
            )
            (folder / "node.toml").write_text(render_config(config), encoding="utf-8")
            lines += [
                "",
                "[[node]]",
                f"domain = {domain.domain}",
                f'name = "{domain.name}"',
                f'host = "{config.node.host}"',
                f"port = {own_port}",
            ]
        (self._path / "nodes.toml").write_text("\n".join([*lines, ""]), encoding="utf-8")

    def validator_folders(self, genesis: Genesis, port: int, metrics_port: int) -> None:
        """Write each validator's folder with its settings and its key, and validators.toml with the addresses.

        So many validators follow each domain, in turn, that every quorum has more of them than may lie.
        """
        domains, count = genesis.domains, len(genesis.validators)
        first = max(_VALIDATOR_PORTS, len(domains))
        followers = min(count, 2 * ((count - 1) // 3) + 1)
        entries = []
        for index, validator in enumerate(genesis.validators):
            name = str(validator.participant)
            folder = self._path / "validators" / name
            self._write_passphrase(folder / "keys")
            self._validator_keys[validator.participant].save(
                folder / "keys" / "validator.key", self._passphrase, self._cost
            )
            own_port = port + first + index if port else 0
            followed = [each.name for at, each in enumerate(domains) if (index - at) % count < followers]
            config = ValidatorConfig(
                format=FORMAT,
                validator=ValidatorSection(genesis="../../genesis.json", name=f"validator-{name}", port=own_port),
                tls=ValidatorTls(
                    certificate=f"../../tls/validator-{name}.pem",
                    key=f"../../tls/validator-{name}.key",
                    authority="../../tls/ca.pem",
                ),
                peers=PeersSection(addresses="../../validators.toml"),
                # A development network is to be watched: it does not rest.
                consensus=ConsensusSection(rest_ms=0),
                follow=FollowSection(domains=tuple(followed), nodes="../../nodes.toml"),
                metrics=MetricsSection(port=metrics_port + first + index if metrics_port else 0),
            )
            (folder / "validator.toml").write_text(VALIDATOR.render(config), encoding="utf-8")
            public_key = padded_key(validator.public_key)
            entries.append(ValidatorEntry(validator.participant, name, config.validator.host, own_port, public_key))
        (self._path / "validators.toml").write_text(render_addresses(entries), encoding="utf-8")

    def participants(self, genesis: Genesis) -> None:
        """Note the participants that the genesis names."""
        entries = [
            {"number": number, "name": title, "domain": domain.domain, "issuer": False, "accounts": {}}
            for domain in genesis.domains
            for number, title in (
                (operator_of(domain.domain), "operator"),
                (supervisor_of(domain.domain), "supervisor"),
                (regulator_of(domain.domain), "regulator"),
            )
        ]
        write_json(self._path / "participants.json", {"format": FORMAT, "participants": entries})

    def _write_passphrase(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True)
        file = folder / "passphrase"
        file.touch(mode=0o600)
        file.write_bytes(self._passphrase + b"\n")


def _check_target(path: Path, currencies: Sequence[str], name: str) -> None:
    """Check first, so that nothing is half made."""
    if re.fullmatch("[a-z0-9-]{1,32}", name) is None:
        raise ConfigError("--name", f"{name[:40]!r} is no name of a network", "use 1 to 32 of a-z, 0-9 and -")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ConfigError(str(path), "already exists and is not empty", "name a new folder; nothing is overwritten")
    if not currencies:
        raise ConfigError("--currencies", "none is given", "name at least one, such as CNY")
    if len(set(currencies)) != len(currencies):
        raise ConfigError("--currencies", "one is named twice", "name each once: a currency has one ledger")
    for currency in currencies:
        currency_of(currency)
