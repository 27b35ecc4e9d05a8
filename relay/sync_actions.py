"""What catching up asks of its shell, and its bounds: values, done in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Hashable

    from engine.relay_block import RelayBlock
    from engine.validators import Certificate
    from relay.light import RecordProof
    from relay.state import RelayState

__all__ = ["Adopt", "Ask", "Conflict", "Drop", "Restored", "SyncAction", "SyncSettings", "Synced"]


@dataclass(frozen=True, slots=True)
class Ask:
    """Send this request to a peer."""

    peer: Hashable
    message: bytes


@dataclass(frozen=True, slots=True)
class Adopt:
    """A verified final block; ``state`` is the one after it. They come in order of height."""

    state: RelayState
    block: RelayBlock
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Restored:
    """The state after a checkpoint's height, proven whole; ``proof`` shows its root in the final block after it."""

    state: RelayState
    proof: RecordProof


@dataclass(frozen=True, slots=True)
class Drop:
    """Close the connection to a peer: ``reason`` is a fixed word."""

    peer: Hashable
    reason: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """A quorum certified what cannot follow: a fork, or members that break the rules. Catching up ends here."""

    height: int
    reason: str
    block: RelayBlock
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Synced:
    """No peer that is left says that it has more."""

    height: int


SyncAction: TypeAlias = Ask | Adopt | Restored | Drop | Conflict | Synced


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """Bounds of one catch-up; times in ns.

    ``checkpoint_gap``: how far behind it fetches a checkpoint instead of every block. ``stalls_max``: how many answers
    a peer may owe beyond ``request_ns`` before it is dropped.
    """

    range_blocks: int = 64
    in_flight_max: int = 8
    per_peer_max: int = 2
    peers_max: int = 64
    request_ns: int = 2 * NS_PER_S
    status_ns: int = NS_PER_S
    stalls_max: int = 2
    checkpoint_gap: int = 2048
    ready_bytes_max: int = 64 << 20
