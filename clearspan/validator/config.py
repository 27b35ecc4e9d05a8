"""The settings of a validator: `validator.toml`, checked as `node.toml` is, with its limits where they are the same.

Addresses of the other validators do not stand here but in a file of their own (``clearspan.validator.addresses``),
which all validators of an institution's site share and which is read again when it changes.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from clearspan.config import LimitsSection, MetricsSection, ServiceSection, TlsSection
from clearspan.settings import Loaded, Port, Section, Settings

__all__ = [
    "VALIDATOR",
    "ConsensusSection",
    "FollowSection",
    "LoadedValidator",
    "PeersSection",
    "ValidatorConfig",
    "ValidatorDataSection",
    "ValidatorLimits",
    "ValidatorSection",
    "ValidatorTls",
]

_DOMAIN_NAME: Final = "^[a-z0-9][a-z0-9.-]{0,62}$"


class ValidatorSection(ServiceSection, frozen=True, kw_only=True):
    """Who this validator is and where it listens."""

    name: Annotated[str, Meta(pattern=_DOMAIN_NAME, description="name of the validator in logs")] = "validator"
    port: Annotated[Port, Meta(description="port of the service; 0 lets the system choose")] = 7410
    key: Annotated[
        str, Meta(description="key file that signs votes; empty: an observer, which follows the chain and never signs")
    ] = "keys/validator.key"
    passphrase_file: Annotated[str, Meta(description="file of the passphrase of that key")] = "keys/passphrase"  # noqa: S105 - a path


class ValidatorDataSection(Section, frozen=True):
    """Where the chain and this validator's own votes are kept."""

    path: Annotated[str, Meta(min_length=1, description="data directory")] = "data"
    chain_bytes_max: Annotated[int, Meta(ge=1 << 24, le=1 << 46, description="largest size of the chain's store")] = (
        1 << 38
    )
    history_blocks: Annotated[
        int,
        Meta(ge=0, le=1 << 40, description="final blocks to keep beside those since the newest checkpoint; 0: all"),
    ] = 0


class ValidatorTls(TlsSection, frozen=True):
    """Certificate (for listening and for calling), key and authority as PEM files, and who is let in."""

    certificate: Annotated[str, Meta(min_length=1, description="certificate chain of this validator")] = (
        "tls/validator.pem"
    )
    key: Annotated[str, Meta(min_length=1, description="key of that certificate, P-256")] = "tls/validator.key"


class ValidatorLimits(LimitsSection, frozen=True):
    """What one peer and all peers together may use. Times in ms unless the name says s."""

    # A validator asks often whether its peers are still there: a cut line is noticed within seconds.
    ping_interval_min_ms: Annotated[int, Meta(ge=0, le=3_600_000, description="least pause between a peer's pings")] = (
        200
    )


class PeersSection(Section, frozen=True):
    """The other validators: where they are, and how much of what is meant for them or comes from them is kept."""

    addresses: Annotated[
        str, Meta(min_length=1, description="file of the addresses of all validators, read again when it changes")
    ] = "validators.toml"
    reconnect_ms: Annotated[
        int, Meta(ge=1, le=600_000, description="pause before a peer is called again; doubled up to 20 times of it")
    ] = 50
    keepalive_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="pause between pings on a silent stream to a peer")
    ] = 1_000
    keepalive_timeout_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="a stream is made anew when a ping is not answered within this")
    ] = 2_000
    queue_messages_max: Annotated[
        int, Meta(ge=16, le=1_000_000, description="messages that wait for one peer; the oldest are dropped first")
    ] = 1_024
    queue_bytes_max: Annotated[int, Meta(ge=1 << 20, le=1 << 32, description="bytes that wait for one peer")] = 16 << 20
    received_messages_max: Annotated[
        int, Meta(ge=16, le=1_000_000, description="messages of one peer that wait for their turn before it is held")
    ] = 256
    received_bytes_max: Annotated[
        int, Meta(ge=1 << 20, le=1 << 32, description="bytes of one peer that wait for their turn before it is held")
    ] = 16 << 20
    messages_per_s_max: Annotated[
        int, Meta(ge=10, le=1_000_000, description="messages of one peer that are taken in a second")
    ] = 5_000
    bytes_per_s_max: Annotated[
        int, Meta(ge=1 << 20, le=1 << 40, description="bytes of one peer that are taken in a second")
    ] = 256 << 20


class ConsensusSection(Section, frozen=True):
    """Times of agreement; all validators of a network take the same."""

    view_ms: Annotated[int, Meta(ge=10, le=60_000, description="what the first leader of a height has")] = 500
    view_max_ms: Annotated[
        int, Meta(ge=10, le=600_000, description="what a later leader has at most; each has twice the one before")
    ] = 8_000
    idle_ms: Annotated[int, Meta(ge=1, le=60_000, description="a block without content is proposed after this")] = 200
    rest_ms: Annotated[
        int, Meta(ge=0, le=60_000, description="a relay without work rests so much longer than idle_ms between blocks")
    ] = 800
    block_interval_ms: Annotated[int, Meta(ge=0, le=60_000, description="least pause between two blocks")] = 10
    spacing_max_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=60_000,
            description="longest pause between two blocks as agreement takes longer; twice it with many reveals; 0: no",
        ),
    ] = 75


class FollowSection(Section, frozen=True):
    """The domains whose logs this validator executes again, so that it can say whether their headers are true."""

    domains: Annotated[
        tuple[Annotated[str, Meta(pattern=_DOMAIN_NAME)], ...],
        Meta(max_length=1_000, description="names of domains as the genesis has them; none: nothing is executed"),
    ] = ()
    nodes: Annotated[str, Meta(description="file of the addresses of the nodes")] = "nodes.toml"
    hold_bodies: Annotated[bool, Meta(description="keep the logs, so that a lost node can be built anew from them")] = (
        True
    )
    state_bytes: Annotated[
        int, Meta(ge=1 << 16, le=1 << 40, description="bytes of log between two states kept for a quick restart")
    ] = 64 << 20


class ValidatorConfig(Section, frozen=True):
    """The whole file."""

    format: Annotated[int, Meta(description="version of this format")]
    validator: ValidatorSection
    data: ValidatorDataSection = ValidatorDataSection()
    tls: ValidatorTls = ValidatorTls()
    limits: ValidatorLimits = ValidatorLimits()
    peers: PeersSection = PeersSection()
    consensus: ConsensusSection = ConsensusSection()
    follow: FollowSection = FollowSection()
    metrics: MetricsSection = MetricsSection(port=9650)


VALIDATOR: Final = Settings(ValidatorConfig, "validator.toml", "a Clearspan validator", "make one with clearspan init")
LoadedValidator: TypeAlias = Loaded[ValidatorConfig]
