"""The settings of a node: one TOML file, checked whole before anything starts, every key also a long flag.

`node.toml` begins with `format = 1` and has the sections below. A key that is not known is refused with its path, and
so is a value outside its bounds. Paths are taken relative to the file's directory. Secrets never stand here: the file
names the files that hold them. No environment variable sets anything but the place of the file: CLEARSPAN_CONFIG.

Every field's description and bounds are in its type, from which the flags (`flags`) and the reference in the documents
are made; a key `message_bytes_max` of section limits is the flag `--limits-message-bytes-max`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from clearspan.settings import ENVIRONMENT_VARIABLE, FORMAT, Address, Flag, Loaded, Port, Section, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "FORMAT",
    "DataSection",
    "Flag",
    "LimitsSection",
    "LoadedConfig",
    "MetricsSection",
    "NodeConfig",
    "NodeSection",
    "RelaySection",
    "ServiceSection",
    "ShardsSection",
    "TlsSection",
    "flags",
    "load_config",
    "parse_config",
    "render_config",
]


ShardNumber = Annotated[str, Meta(pattern=r"^[0-9]{1,10}$")]


class NodeSection(Section, frozen=True):
    """Who this node is and where it listens."""

    genesis: Annotated[str, Meta(min_length=1, description="file of the genesis document")]
    domain: Annotated[int, Meta(ge=1, le=2**24 - 1, description="number of the domain that this node serves")]
    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]{0,62}$", description="name of the node in logs")] = "node"
    host: Annotated[Address, Meta(description="address to listen at; loopback unless told")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of the service; 0 lets the system choose")] = 7400
    block_keys: Annotated[str, Meta(description="key file or ring that signs block headers")] = "keys/block.key"
    passphrase_file: Annotated[str, Meta(description="file of the passphrase of the block keys")] = "keys/passphrase"  # noqa: S105 - a path
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least level that is logged")
    ] = "info"


class ServiceSection(Section, frozen=True, kw_only=True):
    """What a process with a service says of itself whatever it does: its network, name, address and log."""

    genesis: Annotated[str, Meta(min_length=1, description="file of the genesis document")]
    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]{0,62}$", description="name of the process in logs")]
    host: Annotated[Address, Meta(description="address to listen at; loopback unless told")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of the service; 0 lets the system choose")]
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least level that is logged")
    ] = "info"


class DataSection(Section, frozen=True):
    """Where the log and the checkpoints are kept."""

    path: Annotated[str, Meta(min_length=1, description="data directory")] = "data"
    log_bytes_max: Annotated[int, Meta(ge=1 << 20, le=1 << 46, description="largest size of the log's store")] = 1 << 38
    reserve_bytes: Annotated[
        int, Meta(ge=0, le=1 << 34, description="new work is refused while the disk has less than this free")
    ] = 64 << 20


class TlsSection(Section, frozen=True):
    """Certificate, key and authority as PEM files, and who of the authority's peers is let in."""

    certificate: Annotated[str, Meta(min_length=1, description="certificate chain of this node")] = "tls/node.pem"
    key: Annotated[str, Meta(min_length=1, description="key of that certificate, P-256")] = "tls/node.key"
    authority: Annotated[str, Meta(min_length=1, description="certificate of the network's authority")] = "tls/ca.pem"
    access: Annotated[
        str,
        Meta(description="file of allowed and denied keys, read again when it changes; empty: the authority decides"),
    ] = ""


class LimitsSection(Section, frozen=True):
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


class ShardsSection(Section, frozen=True):
    """How the shards of this node work; how many the domain has stands in the genesis."""

    served: Annotated[
        tuple[ShardNumber, ...],
        Meta(max_length=256, description="shards of the domain that this node serves, as numbers; empty: all of them"),
    ] = ()
    neighbours: Annotated[
        tuple[Address, ...],
        Meta(max_length=256, description="host:port of the nodes that serve the others, asked for what they send here"),
    ] = ()
    queue_bytes_max: Annotated[
        int, Meta(ge=1 << 20, le=1 << 32, description="bytes of batches that wait for a round before overloaded")
    ] = 64 << 20
    round_bytes_max: Annotated[int, Meta(ge=1 << 16, le=1 << 28, description="bytes of batches of one round")] = 8 << 20
    rounds_in_flight_max: Annotated[int, Meta(ge=1, le=16, description="rounds applied and not yet durable")] = 2
    seal_interval_ms: Annotated[
        int, Meta(ge=10, le=600_000, description="least time between two seals while work comes")
    ] = 100
    seal_interval_idle_ms: Annotated[
        int, Meta(ge=10, le=600_000, description="time between two seals while nothing comes")
    ] = 2_000
    checkpoint_bytes: Annotated[
        int, Meta(ge=1 << 16, le=1 << 40, description="bytes of log between two checkpoints")
    ] = 1 << 30
    verify_threads: Annotated[int, Meta(ge=1, le=256, description="threads that check signatures")] = 2


class RelaySection(Section, frozen=True):
    """The validators, to which headers go and from which finality comes. None: blocks are sealed and not anchored."""

    validators: Annotated[tuple[Address, ...], Meta(max_length=1_000, description="host:port of each validator")] = ()
    addresses: Annotated[
        str, Meta(description="file of the validators' addresses, read again when it changes; empty: those named above")
    ] = ""
    certificate: Annotated[
        str, Meta(description="certificate to speak to validators with, of role operator; empty: that of tls")
    ] = ""
    key: Annotated[str, Meta(description="key of that certificate; empty: that of tls")] = ""
    reconnect_ms: Annotated[int, Meta(ge=10, le=600_000, description="pause before a validator is called again")] = 500
    stall_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="another validator is followed after so long without a block")
    ] = 4_000
    consume_ms: Annotated[
        int, Meta(ge=1, le=60_000, description="how long final blocks that decide nothing here are gathered")
    ] = 500


class MetricsSection(Section, frozen=True):
    """Figures for a monitoring system, as text over HTTP."""

    enabled: Annotated[bool, Meta(description="serve them")] = True
    host: Annotated[Address, Meta(description="address to listen at; loopback unless told")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port; 0 lets the system choose")] = 9640


class NodeConfig(Section, frozen=True):
    """The whole file."""

    format: Annotated[int, Meta(description="version of this format")]
    node: NodeSection
    data: DataSection = DataSection()
    tls: TlsSection = TlsSection()
    limits: LimitsSection = LimitsSection()
    shards: ShardsSection = ShardsSection()
    relay: RelaySection = RelaySection()
    metrics: MetricsSection = MetricsSection()


NODE: Final = Settings(NodeConfig, "node.toml", "a Clearspan node", "make one with clearspan init")
LoadedConfig: TypeAlias = Loaded[NodeConfig]


def flags() -> tuple[Flag, ...]:
    """Return the flags of all keys, in the order of the file."""
    return NODE.flags()


def load_config(path: Path | None = None, overrides: Mapping[str, object] | None = None) -> LoadedConfig:
    """Read and check the file at path, or the one that CLEARSPAN_CONFIG names, or node.toml here.

    overrides are flags by their parameter name; None means that the flag was not given. Raises ConfigError.
    """
    return NODE.load(path, overrides)


def parse_config(content: bytes, name: str = "node.toml", overrides: Mapping[str, object] | None = None) -> NodeConfig:
    """Check a file's content, with flags laid over it. Raises ConfigError with the path of the key."""
    return NODE.parse(content, name, overrides)


def render_config(config: NodeConfig) -> str:
    """Return a file's text with every key and its description; parse_config reads the same settings from it."""
    return NODE.render(config)
