"""A network as its clients see it, in one folder: genesis, addresses of nodes, certificates, keys, known participants.

It promises to check what it reads and to name the file that is wrong. `clearspan.founding` makes such folders; here
they are only read, and participants that were added are noted. It starts nothing and knows no gRPC.

    genesis.json         the document whose hash every signature carries
    nodes.toml           the domains and where their nodes listen
    participants.json    participants that were added with the tools of this folder
    tls/                 the authority, a certificate for each node and each role
    keys/passphrase      opens every container below; keys/<domain>/<participant>/<role>-<n>.key
    nodes/<domain>/      one node's own folder: node.toml, keys/, data/
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clearspan.errors import ConfigError
from clearspan.keys import KeyRing, read_passphrase
from engine.genesis import Genesis
from engine.refusals import EncodingError, GenesisRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from engine.genesis import GenesisDomain, GenesisLedger

__all__ = [
    "ADDRESS_FILE",
    "DATA_KIND",
    "DEFAULT_FOLDER",
    "DEVELOPMENT_COST_N",
    "GENESIS_FILE",
    "KnownParticipant",
    "Network",
    "NodeAddress",
    "NodeEntry",
    "find_network",
    "node_entries",
    "read_address",
    "write_json",
]

FORMAT: Final = 1
DEFAULT_FOLDER: Final = "clearspan-network"
ADDRESS_FILE: Final = "address.json"
"""Where a running node notes what it listens at, in its data directory; it names no secret."""
DATA_KIND: Final = "node"
"""The kind that a node's data directory says it is of."""
GENESIS_FILE: Final = "genesis.json"
"""The genesis as a data directory keeps it, so that a copy of the directory can be audited by itself."""
DEVELOPMENT_COST_N: Final = 1 << 12
"""Cost of scrypt for development keys: their passphrase lies beside them, so slowness would guard nothing."""
_ENVIRONMENT_VARIABLE: Final = "CLEARSPAN_CONFIG"
_FILE_BYTES_MAX: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """What a running node listens at; metrics_port is 0 when it serves none."""

    host: str
    port: int
    metrics_port: int
    pid: int

    @property
    def target(self) -> str:
        """The address as gRPC takes it."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """One node of nodes.toml. port 0: the system chose it, and the node's data directory says which."""

    domain: int
    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class KnownParticipant:
    """A participant that was added from this folder; accounts maps each id to its key's id."""

    number: int
    name: str
    domain: int
    issuer: bool = False
    accounts: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Network:
    """A folder that was read and checked."""

    path: Path
    genesis: Genesis
    nodes: tuple[NodeEntry, ...]
    _participants: dict[tuple[int, int], KnownParticipant] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: Path) -> Network:
        """Read a folder. Raises ConfigError, naming the file."""
        genesis_path = path / "genesis.json"
        try:
            genesis = Genesis.decode(_read(genesis_path))
        except (EncodingError, GenesisRefused) as error:
            raise ConfigError(
                str(genesis_path), str(error), "restore the file: its hash is the network's identity"
            ) from error
        nodes = tuple(node_entries(path / "nodes.toml", genesis))
        network = cls(path, genesis, nodes)
        network._participants.update(_read_participants(path / "participants.json"))
        return network

    # Domains and ledgers.

    def domain(self, name: str) -> GenesisDomain:
        """Return a domain by its number or name. Raises ConfigError, naming those that there are."""
        for domain in self.genesis.domains:
            if name in {str(domain.domain), domain.name}:
                return domain
        known = ", ".join(f"{domain.domain} ({domain.name})" for domain in self.genesis.domains)
        raise ConfigError("--domain", f"there is no domain {name!r}", f"name one of {known}")

    def ledger(self, name: str) -> tuple[GenesisDomain, GenesisLedger]:
        """Return a ledger by its currency or number, with its domain. Raises ConfigError."""
        found = [(domain, ledger) for domain in self.genesis.domains for ledger in domain.ledgers]
        for domain, ledger in found:
            if name.upper() == ledger.currency or name == str(ledger.ledger):
                return domain, ledger
        known = ", ".join(f"{ledger.currency} ({ledger.ledger})" for _, ledger in found)
        raise ConfigError("--ledger", f"there is no ledger {name!r}", f"name one of {known}")

    def node(self, domain: int) -> NodeEntry:
        """Return the node of a domain. Raises ConfigError when nodes.toml has none."""
        for entry in self.nodes:
            if entry.domain == domain:
                return entry
        raise ConfigError(str(self.path / "nodes.toml"), f"has no node of domain {domain}", "add its address")

    # Files.

    def node_folder(self, domain: int) -> Path:
        """Return the folder of a node of this development network."""
        return self.path / "nodes" / self.node(domain).name

    def node_config(self, domain: int) -> Path:
        """Return the settings file of a node of this development network."""
        return self.node_folder(domain) / "node.toml"

    def address(self, domain: int) -> str:
        """Return where to call a domain's node, host:port. Raises ConfigError when nobody knows."""
        entry = self.node(domain)
        if entry.port:
            return f"{entry.host}:{entry.port}"
        found = read_address(self.node_folder(domain) / "data")
        if found is None:
            next_step = f"start it: clearspan node run --config {self.node_config(domain)}"
            raise ConfigError(f"node {entry.name}", "its port is chosen at its start, and it does not run", next_step)
        return found.target

    def key_folder(self, domain: int, participant: int) -> Path:
        """Return where the keys of a participant of a domain lie."""
        return self.path / "keys" / self.genesis.domain(domain).name / str(participant)

    def passphrase(self) -> bytes:
        """Read the passphrase of the folder's keys. Raises KeyFileError."""
        return read_passphrase(self.path / "keys" / "passphrase")

    def load_keys(self, domain: int, participant: int) -> KeyRing:
        """Load all keys of a participant of a domain. Raises KeyFileError; ConfigError when there are none."""
        folder = self.key_folder(domain, participant)
        if not folder.is_dir():
            next_step = "name a participant whose keys are in this folder, or add it: clearspan participant add"
            raise ConfigError(str(folder), f"holds no keys of participant {participant}", next_step)
        return KeyRing.load(folder, self.passphrase())

    # Participants.

    def participants(self) -> tuple[KnownParticipant, ...]:
        """Return the participants that this folder knows, by domain and number."""
        return tuple(self._participants[place] for place in sorted(self._participants))

    def participant(self, domain: int, number: int) -> KnownParticipant | None:
        """Return one of them, or None."""
        return self._participants.get((domain, number))

    def note_participants(self, participants: Iterable[KnownParticipant]) -> None:
        """Remember participants, replacing what was known of them, and write the file in one step."""
        for participant in participants:
            self._participants[participant.domain, participant.number] = participant
        entries = [
            {
                "number": participant.number,
                "name": participant.name,
                "domain": participant.domain,
                "issuer": participant.issuer,
                "accounts": {f"{account:032x}": key_id for account, key_id in participant.accounts.items()},
            }
            for participant in self.participants()
        ]
        write_json(self.path / "participants.json", {"format": FORMAT, "participants": entries})

    def note_accounts(self, domain: int, number: int, accounts: Mapping[int, int]) -> None:
        """Remember accounts of a participant and the key of each; a participant unknown here is left alone."""
        known = self._participants.get((domain, number))
        if known is not None:
            self.note_participants([replace(known, accounts={**known.accounts, **accounts})])

    def note_rotation(self, domain: int, number: int, old_key_id: int, new_key_id: int) -> None:
        """Remember that a new key serves what an old one served."""
        known = self._participants.get((domain, number))
        if known is not None:
            served = {account: new_key_id for account, key_id in known.accounts.items() if key_id == old_key_id}
            self.note_accounts(domain, number, served)


def find_network(path: Path | None) -> Path:
    """Return the folder to use: the one given, the one of CLEARSPAN_CONFIG, or ./clearspan-network.

    The variable may name the folder, or a node.toml inside it. Raises ConfigError when there is none.
    """
    if path is not None:
        return _checked(path, "--network")
    named = os.environ.get(_ENVIRONMENT_VARIABLE, "")
    if named:
        place = Path(named).resolve()
        for folder in (place, *place.parents):
            if (folder / "nodes.toml").is_file():
                return folder
        return _checked(Path(named), _ENVIRONMENT_VARIABLE)
    return _checked(Path(DEFAULT_FOLDER), "--network")


def read_address(data: Path) -> NodeAddress | None:
    """Return what the node of a data directory listens at, or None when no node has said so."""
    try:
        document = json.loads((data / ADDRESS_FILE).read_bytes())
        return NodeAddress(document["host"], document["port"], document["metrics_port"], document["pid"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write_json(path: Path, document: object, mode: int = 0o644) -> None:
    """Write a document beside and rename it, so that a reader sees the old one or the new one."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, ensure_ascii=False)
        file.write("\n")
    beside.replace(path)


def _checked(path: Path, source: str) -> Path:
    if not (path / "nodes.toml").is_file():
        next_step = f"make one with: clearspan init {path}; or name another by --network or {_ENVIRONMENT_VARIABLE}"
        raise ConfigError(source, f"{path} is no network folder: nodes.toml is missing", next_step)
    return path


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(
            str(path), error.strerror or "cannot be read", "restore the file, or make a new network"
        ) from error
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigError(str(path), "is larger than 64 MiB", "restore the file, or make a new network")
    return content


_NODE_KEYS: Final = {"domain": int, "name": str, "host": str, "port": int}


def node_entries(path: Path, genesis: Genesis) -> Iterable[NodeEntry]:
    """Read nodes.toml and check it field by field: it is short, and a wrong address is best named."""
    try:
        document = tomllib.loads(_read(path).decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), str(error), "mend the line; the format is TOML 1.0 in UTF-8") from error
    unknown = set(document) - {"format", "node"}
    if unknown or document.get("format") != FORMAT or not isinstance(document.get("node"), list):
        reason = f"unknown key {min(unknown)}" if unknown else f"format {FORMAT} and a list [[node]] are asked for"
        raise ConfigError(str(path), reason, "mend the file")
    numbers = {domain.domain for domain in genesis.domains}
    for index, entry in enumerate(document["node"]):
        place = f"{path}: node[{index}]"
        if not isinstance(entry, dict) or set(entry) != set(_NODE_KEYS):
            raise ConfigError(place, f"the keys {', '.join(_NODE_KEYS)} are asked for, and no other", "mend the file")
        for key, kind in _NODE_KEYS.items():
            if type(entry[key]) is not kind:
                raise ConfigError(f"{place}.{key}", f"a value of type {kind.__name__} is asked for", "mend the file")
        if entry["domain"] not in numbers:
            raise ConfigError(f"{place}.domain", f"the genesis has no domain {entry['domain']}", "mend the file")
        if not 0 <= entry["port"] <= 65_535:
            raise ConfigError(f"{place}.port", f"{entry['port']} is no port", "mend the file")
        yield NodeEntry(entry["domain"], entry["name"], entry["host"], entry["port"])


def _read_participants(path: Path) -> dict[tuple[int, int], KnownParticipant]:
    if not path.exists():
        return {}
    try:
        document = json.loads(_read(path))
        if document["format"] != FORMAT:
            raise ConfigError(str(path), f"format {document['format']!r} is not known here", f"write format {FORMAT}")
        return {
            (entry["domain"], entry["number"]): KnownParticipant(
                entry["number"],
                entry["name"],
                entry["domain"],
                entry["issuer"],
                {int(account, 16): key_id for account, key_id in entry["accounts"].items()},
            )
            for entry in document["participants"]
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        next_step = "restore the file, or remove it: it only spares typing, the ledger does not depend on it"
        raise ConfigError(str(path), "is no list of participants", next_step) from error
