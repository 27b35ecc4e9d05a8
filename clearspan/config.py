"""The settings of a node: one TOML file, checked whole before anything starts, every key also a long flag.

`node.toml` begins with `format = 1` and has the sections below. A key that is not known is refused with its path, and
so is a value outside its bounds. Paths are taken relative to the file's directory. Secrets never stand here: the file
names the files that hold them. No environment variable sets anything but the place of the file: CLEARSPAN_CONFIG.

Every field's description and bounds are in its type, from which the flags (`flags`) and the reference in the documents
are made; a key `message_bytes_max` of section limits is the flag `--limits-message-bytes-max`.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from clearspan.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "FORMAT",
    "BridgeSection",
    "DataSection",
    "Flag",
    "LimitsSection",
    "LoadedConfig",
    "MetricsSection",
    "NodeConfig",
    "NodeSection",
    "RelaySection",
    "ShardsSection",
    "TlsSection",
    "flags",
    "load_config",
    "parse_config",
    "render_config",
]

FORMAT: Final = 1
ENVIRONMENT_VARIABLE: Final = "CLEARSPAN_CONFIG"
_FILE_BYTES_MAX: Final = 1 << 20
_ADDRESS = r"^[A-Za-z0-9.:\[\]-]{1,255}$"

_Port = Annotated[int, Meta(ge=0, le=65535)]
_Address = Annotated[str, Meta(pattern=_ADDRESS)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Root of the sections: frozen, and without room for keys that nobody knows."""


class NodeSection(_Section, frozen=True):
    """Who this node is and where it listens."""

    genesis: Annotated[str, Meta(min_length=1, description="file of the genesis document")]
    domain: Annotated[int, Meta(ge=1, le=2**24 - 1, description="number of the domain that this node serves")]
    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]{0,62}$", description="name of the node in logs")] = "node"
    host: Annotated[_Address, Meta(description="address to listen at; loopback unless told")] = "127.0.0.1"
    port: Annotated[_Port, Meta(description="port of the service; 0 lets the system choose")] = 7400
    block_keys: Annotated[str, Meta(description="key file or ring that signs block headers")] = "keys/block.key"
    passphrase_file: Annotated[str, Meta(description="file of the passphrase of the block keys")] = "keys/passphrase"  # noqa: S105 - a path
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least level that is logged")
    ] = "info"


class DataSection(_Section, frozen=True):
    """Where the log and the checkpoints are kept."""

    path: Annotated[str, Meta(min_length=1, description="data directory")] = "data"
    log_bytes_max: Annotated[int, Meta(ge=1 << 20, le=1 << 46, description="largest size of the log's store")] = 1 << 38
    reserve_bytes: Annotated[
        int, Meta(ge=0, le=1 << 34, description="new work is refused while the disk has less than this free")
    ] = 64 << 20


class TlsSection(_Section, frozen=True):
    """Certificate, key and authority as PEM files, and who of the authority's peers is let in."""

    certificate: Annotated[str, Meta(min_length=1, description="certificate chain of this node")] = "tls/node.pem"
    key: Annotated[str, Meta(min_length=1, description="key of that certificate, P-256")] = "tls/node.key"
    authority: Annotated[str, Meta(min_length=1, description="certificate of the network's authority")] = "tls/ca.pem"
    access: Annotated[
        str,
        Meta(description="file of allowed and denied keys, read again when it changes; empty: the authority decides"),
    ] = ""


class LimitsSection(_Section, frozen=True):
    """What one peer and all peers together may use. Times in ms unless the name says s."""

    message_bytes_max: Annotated[int, Meta(ge=1 << 16, le=8 << 20, description="largest message, both ways")] = 8 << 20
    rpcs_max: Annotated[int, Meta(ge=1, le=100_000, description="calls in progress, all peers together")] = 512
    connection_streams_max: Annotated[int, Meta(ge=1, le=10_000, description="calls in progress on one connection")] = (
        128
    )
    peer_rpcs_max: Annotated[int, Meta(ge=1, le=100_000, description="calls in progress of one certificate")] = 64
    peer_streams_max: Annotated[int, Meta(ge=1, le=10_000, description="streams in progress of one certificate")] = 16
    stream_batches_max: Annotated[
        int, Meta(ge=1, le=1_024, description="batches read ahead of replies on a stream")
    ] = 8
    peer_batches_max: Annotated[
        int, Meta(ge=1, le=4_096, description="batches in the node of one certificate, over all its calls")
    ] = 32
    rpc_deadline_ms: Annotated[int, Meta(ge=10, le=600_000, description="longest time of a unary call")] = 30_000
    stream_idle_ms: Annotated[int, Meta(ge=10, le=3_600_000, description="longest silence of a stream's sender")] = (
        120_000
    )
    stream_write_ms: Annotated[int, Meta(ge=10, le=600_000, description="longest wait for a stream's reader")] = 30_000
    keepalive_ms: Annotated[
        int, Meta(ge=1_000, le=3_600_000, description="pause between pings of a silent connection")
    ] = 30_000
    keepalive_timeout_ms: Annotated[int, Meta(ge=100, le=600_000, description="wait for the answer to a ping")] = 10_000
    ping_interval_min_ms: Annotated[int, Meta(ge=0, le=3_600_000, description="least pause between a peer's pings")] = (
        5_000
    )
    connection_idle_ms: Annotated[
        int, Meta(ge=1_000, le=86_400_000, description="a connection without calls is closed after this")
    ] = 600_000
    metadata_bytes_max: Annotated[int, Meta(ge=1 << 10, le=1 << 16, description="largest headers of a call")] = 8 << 10
    retry_after_ms: Annotated[int, Meta(ge=1, le=60_000, description="wait that an overloaded node asks for")] = 50
    lookup_count_max: Annotated[int, Meta(ge=1, le=8_192, description="accounts or transfers of one look-up")] = 8_192
    statement_count_max: Annotated[int, Meta(ge=1, le=1_000, description="transfers of one page of a statement")] = (
        1_000
    )


class ShardsSection(_Section, frozen=True):
    """How the shards of this node work; how many there are stands in the genesis."""

    queue_bytes_max: Annotated[
        int, Meta(ge=1 << 20, le=1 << 32, description="bytes of batches that wait for a round before overloaded")
    ] = 64 << 20
    round_bytes_max: Annotated[int, Meta(ge=1 << 16, le=1 << 28, description="bytes of batches of one round")] = 8 << 20
    rounds_in_flight_max: Annotated[int, Meta(ge=1, le=16, description="rounds applied and not yet durable")] = 2
    seal_interval_ms: Annotated[int, Meta(ge=10, le=600_000, description="time between two seals while work comes")] = (
        500
    )
    seal_interval_idle_ms: Annotated[
        int, Meta(ge=10, le=600_000, description="time between two seals while nothing comes")
    ] = 2_000
    checkpoint_bytes: Annotated[
        int, Meta(ge=1 << 16, le=1 << 40, description="bytes of log between two checkpoints")
    ] = 128 << 20
    verify_threads: Annotated[int, Meta(ge=1, le=256, description="threads that check signatures")] = 2


class RelaySection(_Section, frozen=True):
    """The validators, to which headers go and from which finality comes. None: blocks are sealed and not anchored."""

    validators: Annotated[tuple[_Address, ...], Meta(max_length=1_000, description="host:port of each validator")] = ()
    reconnect_ms: Annotated[int, Meta(ge=10, le=600_000, description="pause before a validator is called again")] = 500


class BridgeSection(_Section, frozen=True):
    """Swaps between ledgers."""

    enabled: Annotated[bool, Meta(description="run the watcher that drives claims and refunds")] = False
    path: Annotated[str, Meta(min_length=1, description="directory of the bridge's journal")] = "data/bridge"


class MetricsSection(_Section, frozen=True):
    """Figures for a monitoring system, as text over HTTP."""

    enabled: Annotated[bool, Meta(description="serve them")] = True
    host: Annotated[_Address, Meta(description="address to listen at; loopback unless told")] = "127.0.0.1"
    port: Annotated[_Port, Meta(description="port; 0 lets the system choose")] = 9640


class NodeConfig(_Section, frozen=True):
    """The whole file."""

    format: Annotated[int, Meta(description="version of this format")]
    node: NodeSection
    data: DataSection = DataSection()
    tls: TlsSection = TlsSection()
    limits: LimitsSection = LimitsSection()
    shards: ShardsSection = ShardsSection()
    relay: RelaySection = RelaySection()
    bridge: BridgeSection = BridgeSection()
    metrics: MetricsSection = MetricsSection()


_SECTIONS: Final[dict[str, type[_Section]]] = {
    "node": NodeSection,
    "data": DataSection,
    "tls": TlsSection,
    "limits": LimitsSection,
    "shards": ShardsSection,
    "relay": RelaySection,
    "bridge": BridgeSection,
    "metrics": MetricsSection,
}


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """Settings that were checked, and the directory to which their paths are relative."""

    config: NodeConfig
    directory: Path

    def resolve(self, path: str) -> Path:
        """Return a path of the settings as it is used."""
        return self.directory / path


@dataclass(frozen=True, slots=True)
class Flag:
    """One key as a long flag, for a command line to declare: type is int, str, bool, or list for a repeated string."""

    section: str
    key: str
    type: type[int | str | bool | list[str]]
    choices: tuple[str, ...]
    default: object
    required: bool
    help: str

    @property
    def name(self) -> str:
        """The flag as it is typed: --limits-message-bytes-max."""
        return f"--{self.section}-{self.key}".replace("_", "-")

    @property
    def parameter(self) -> str:
        """The flag's name as an argument in Python, and its key in the overrides: limits_message_bytes_max."""
        return f"{self.section}_{self.key}"


def flags() -> tuple[Flag, ...]:
    """Return the flags of all keys, in the order of the file."""
    return tuple(flag for section, struct in _SECTIONS.items() for flag in _section_flags(section, struct))


def load_config(path: Path | None = None, overrides: Mapping[str, object] | None = None) -> LoadedConfig:
    """Read and check the file at path, or the one that CLEARSPAN_CONFIG names, or node.toml here.

    overrides are flags by their parameter name; None means that the flag was not given. Raises ConfigError.
    """
    found = path if path is not None else Path(os.environ.get(ENVIRONMENT_VARIABLE, "") or "node.toml")
    try:
        with found.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        next_step = f"name the file by --config or {ENVIRONMENT_VARIABLE}, or make one with clearspan init"
        raise ConfigError(str(found), error.strerror or "cannot be read", next_step) from error
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigError(str(found), "larger than 1 MiB", "this is no settings file")
    return LoadedConfig(parse_config(content, str(found), overrides), found.resolve().parent)


def parse_config(content: bytes, name: str = "node.toml", overrides: Mapping[str, object] | None = None) -> NodeConfig:
    """Check a file's content, with flags laid over it. Raises ConfigError with the path of the key."""
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(name, str(error), "mend the line; the format is TOML 1.0 in UTF-8") from error
    if document.get("format") != FORMAT:
        raise ConfigError("format", f"{document.get('format')!r} is not known here", f"write format = {FORMAT}")
    _lay_over(document, overrides or {})
    try:
        return msgspec.convert(document, NodeConfig)
    except msgspec.ValidationError as error:
        raise _config_error(error) from error


def render_config(config: NodeConfig) -> str:
    """Return a file's text with every key and its description; parse_config reads the same settings from it."""
    lines = ["# Settings of a Clearspan node. Paths are relative to this file.", f"format = {config.format}"]
    for section, struct in _SECTIONS.items():
        values = getattr(config, section)
        lines += ["", f"# {(struct.__doc__ or '').strip()}", f"[{section}]"]
        for flag in _section_flags(section, struct):
            lines += [f"# {flag.help}", f"{flag.key} = {_toml_value(getattr(values, flag.key))}"]
    return "\n".join([*lines, ""])


def _section_flags(section: str, struct: type[_Section]) -> list[Flag]:
    hints = get_type_hints(struct, include_extras=True)
    found = []
    for field in msgspec.structs.fields(struct):
        kind, choices, description = _describe(hints[field.name])
        default = None if field.required else field.default
        found.append(Flag(section, field.name, kind, choices, default, field.required, description))
    return found


def _describe(hint: Any) -> tuple[type[int | str | bool | list[str]], tuple[str, ...], str]:
    """Return a field's plain type, its choices and its description with its bounds."""
    description, bounds = "", [None, None]
    while get_origin(hint) is Annotated:
        hint, *metas = get_args(hint)
        for meta in metas:
            description = meta.description or description
            bounds = [meta.ge if meta.ge is not None else bounds[0], meta.le if meta.le is not None else bounds[1]]
    if bounds != [None, None]:
        description = f"{description} ({bounds[0]} to {bounds[1]})"
    if get_origin(hint) is Literal:
        return str, tuple(get_args(hint)), description
    if get_origin(hint) is tuple:
        return list[str], (), description
    return hint, (), description


def _lay_over(document: dict[str, Any], overrides: Mapping[str, object]) -> None:
    known = {flag.parameter: flag for flag in flags()}
    for parameter, value in overrides.items():
        if value is None or value == ():
            continue
        flag = known.get(parameter)
        if flag is None:
            raise ConfigError(parameter, "no such flag", "see the list of flags with --help")
        section = document.setdefault(flag.section, {})
        if not isinstance(section, dict):
            raise ConfigError(flag.section, "is a key and no section", f"write [{flag.section}]")
        section[flag.key] = list(value) if isinstance(value, tuple) else value


def _config_error(error: msgspec.ValidationError) -> ConfigError:
    """Turn `Expected int, got str - at $.limits.rpcs_max` into path, reason and next step."""
    reason, _, place = str(error).partition(" - at `$")
    path = place.strip("`").lstrip(".")
    prefix = "Object contains unknown field `"
    if reason.startswith(prefix):
        key = reason.removeprefix(prefix).rstrip("`")
        return ConfigError(f"{path}.{key}".lstrip("."), "unknown key", "remove it, or correct its spelling")
    missing = "Object missing required field `"
    if reason.startswith(missing):
        key = reason.removeprefix(missing).rstrip("`")
        return ConfigError(f"{path}.{key}".lstrip("."), "is missing", "set it; it has no default")
    return ConfigError(path or "node.toml", reason, "see the reference of node.toml for this key's type and bounds")


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_toml_value(each) for each in value)}]"
    # A JSON string is a TOML basic string for every text that can stand in a setting.
    return msgspec.json.encode(str(value)).decode()
