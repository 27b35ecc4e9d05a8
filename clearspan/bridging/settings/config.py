"""The settings of a bridge: `bridge.toml`, checked as `node.toml` is, with its limits where they are the same.

Addresses of nodes, validators and other bridges do not stand here but in files of their own, which are read again when
they change; so do a provider's offers (`offers.toml`, ``clearspan.bridging.settings.offers``).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from clearspan.config import LimitsSection, MetricsSection, ServiceSection, TlsSection
from clearspan.settings import Loaded, Port, Section, Settings

__all__ = [
    "BRIDGE",
    "BridgeChainsSection",
    "BridgeConfig",
    "BridgeDataSection",
    "BridgeKeysSection",
    "BridgeNodesSection",
    "BridgeProviderSection",
    "BridgeRelaySection",
    "BridgeScreeningSection",
    "BridgeSection",
    "BridgeTls",
    "LoadedBridge",
]


class BridgeSection(ServiceSection, frozen=True, kw_only=True):
    """Whose bridge this is and where it listens."""

    participant: Annotated[int, Meta(ge=1, le=2**32 - 2, description="number of the participant that it serves")]
    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]{0,62}$", description="name of the bridge in logs")] = (
        "bridge"
    )
    port: Annotated[Port, Meta(description="port of the service; 0 lets the system choose")] = 7430
    swaps_open_max: Annotated[
        int, Meta(ge=1, le=10_000_000, description="swaps that run at once; more are refused, none is lost")
    ] = 200_000
    retry_ms: Annotated[
        int, Meta(ge=10, le=600_000, description="pause before an act without an answer is done again")
    ] = 2_000


class BridgeDataSection(Section, frozen=True):
    """Where the journal is kept."""

    path: Annotated[str, Meta(min_length=1, description="data directory")] = "data"
    journal_bytes_max: Annotated[int, Meta(ge=1 << 20, le=1 << 46, description="largest size of the journal")] = 1 << 36


class BridgeTls(TlsSection, frozen=True):
    """Certificate (for listening and for calling), key and authority as PEM files, and who is let in."""

    certificate: Annotated[str, Meta(min_length=1, description="certificate chain of this participant")] = (
        "tls/bridge.pem"
    )
    key: Annotated[str, Meta(min_length=1, description="key of that certificate, P-256")] = "tls/bridge.key"


class BridgeNodesSection(Section, frozen=True):
    """The nodes of the ledgers, and how locks go there."""

    addresses: Annotated[str, Meta(min_length=1, description="file of the nodes' addresses")] = "nodes.toml"
    finality: Annotated[
        Literal["final", "verified"],
        Meta(description="what counts as final: a quorum's certificate, or that and a re-execution by validators"),
    ] = "verified"
    batch_count_max: Annotated[int, Meta(ge=1, le=8_192, description="locks of one batch")] = 2_048
    batch_wait_ms: Annotated[
        int, Meta(ge=0, le=1_000, description="how long locks are gathered while a batch is on its way")
    ] = 10
    batches_in_flight_max: Annotated[int, Meta(ge=1, le=32, description="batches on their way to one node")] = 4


class BridgeRelaySection(Section, frozen=True):
    """The validators: reveals go to all of them, final blocks come from one."""

    addresses: Annotated[str, Meta(min_length=1, description="file of the validators' addresses")] = "validators.toml"
    reconnect_ms: Annotated[int, Meta(ge=10, le=600_000, description="pause before a validator is called again")] = 200
    stall_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="another validator is followed after so long without a block")
    ] = 2_000
    catch_up_ms: Annotated[
        int,
        Meta(ge=0, le=3_600_000, description="how long the ready line waits until the relay is read to where it stood"),
    ] = 10_000
    reveal_again_ms: Annotated[
        int, Meta(ge=50, le=600_000, description="a reveal that stands in no final block is offered again after this")
    ] = 1_000


class BridgeKeysSection(Section, frozen=True):
    """The keys that sign locks and quotes: a folder with one folder for each domain, named as the domain."""

    path: Annotated[str, Meta(min_length=1, description="folder of the participant's key files, by domain")] = "keys"
    passphrase_file: Annotated[str, Meta(description="file of the passphrase of these keys")] = "keys/passphrase"  # noqa: S105 - a path


class BridgeProviderSection(Section, frozen=True):
    """The desk of a liquidity provider."""

    enabled: Annotated[bool, Meta(description="quote and accept swaps of others")] = False
    offers: Annotated[
        str, Meta(min_length=1, description="file of accounts, pairs and rates, read again when it changes")
    ] = "offers.toml"
    bridges: Annotated[
        str, Meta(min_length=1, description="file of the addresses and keys of all bridges, read again when it changes")
    ] = "bridges.toml"
    corridors: Annotated[str, Meta(min_length=1, description="folder of the corridors' documents")] = "corridors"
    taker_share_ppm: Annotated[
        int, Meta(ge=1, le=1_000_000, description="millionths of a ledger's inventory that one taker may be promised")
    ] = 500_000
    quotes_on_ledger: Annotated[
        bool, Meta(description="let the ledger keep what is left of each quote, and refuse a lock beyond it")
    ] = True


class BridgeChainsSection(Section, frozen=True):
    """Chains that are not ours, on which legs of swaps are served."""

    file: Annotated[
        str, Meta(description="file of the chains, their contracts, nodes and keys; empty: no chain is served")
    ] = ""


class BridgeScreeningSection(Section, frozen=True):
    """What is asked of a payment before it is ordered, beside what corridors ask."""

    list: Annotated[
        str, Meta(description="file of listed names, JSON, read again when it changes; empty: no name is screened")
    ] = ""
    hold_s: Annotated[int, Meta(ge=60, le=30 * 86_400, description="how long people have to decide a case")] = 86_400
    pattern_threshold: Annotated[
        int,
        Meta(ge=0, le=2**62, description="amount, in minor units of the ledger paid on, whose avoiding is a pattern"),
    ] = 0
    officers: Annotated[
        tuple[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")], ...],
        Meta(description="digests of the keys of the certificates that may decide cases; none: all of the participant"),
    ] = ()


class BridgeConfig(Section, frozen=True):
    """The whole file."""

    format: Annotated[int, Meta(description="version of this format")]
    bridge: BridgeSection
    data: BridgeDataSection = BridgeDataSection()
    tls: BridgeTls = BridgeTls()
    limits: LimitsSection = LimitsSection()
    nodes: BridgeNodesSection = BridgeNodesSection()
    relay: BridgeRelaySection = BridgeRelaySection()
    keys: BridgeKeysSection = BridgeKeysSection()
    provider: BridgeProviderSection = BridgeProviderSection()
    screening: BridgeScreeningSection = BridgeScreeningSection()
    chains: BridgeChainsSection = BridgeChainsSection()
    metrics: MetricsSection = MetricsSection(port=9660)


BRIDGE: Final = Settings(BridgeConfig, "bridge.toml", "a Clearspan bridge", "make one with clearspan bridge new")
LoadedBridge: TypeAlias = Loaded[BridgeConfig]
