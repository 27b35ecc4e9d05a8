"""What the link asks of the node, of validators and of who counts; and how it says that it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from clearspan.relay_link.store import Reached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from engine.block import InclusionPath
    from engine.relay_block import RelayBlock
    from engine.run_decision import RunDecisionRecord
    from relay.v1 import relay_pb2
    from shards.run_proofs import UndecidedRun

__all__ = ["Line", "Lines", "LinkFigures", "LinkSettings", "LinkedNode", "RelayStanding", "ShardStanding"]


class LinkedNode(Protocol):
    """What the link asks of the node: its headers out of it, final blocks into it."""

    @property
    def relay_height(self) -> int:
        """The last relay block that the shards have consumed."""

    async def relay_blocks(self, blocks: Sequence[RelayBlock]) -> None:
        """Let the shards consume final blocks; those that were consumed are left out."""

    async def signed_headers(self, shard: int, from_height: int, count_max: int) -> list[bytes]:
        """Return signed headers of a shard from a height on."""

    def when_sealed(self, tell: Callable[[], None]) -> None:
        """Call this whenever there are more."""

    def note_final(self, heights: Mapping[int, int]) -> None:
        """Note up to which height each of these shards is final."""

    async def undecided_runs(self) -> Sequence[UndecidedRun]:
        """Return the runs over shards that the relay has not decided."""

    async def run_decision(
        self, digest: bytes, anchored: Mapping[int, int], range_path: Callable[[int, int, int], InclusionPath]
    ) -> RunDecisionRecord | None:
        """Prove a run under the newest anchored headers, None while that cannot be."""


class Line(Protocol):
    """One validator, as the link uses it."""

    name: str

    async def offer(self, offers: Sequence[bytes]) -> Sequence[Any]:
        """Offer headers of several shards at once; each answer has taken, reason and height."""

    async def submit(self, record: bytes) -> Any:
        """Hand in another record; the same answer."""

    def blocks(
        self, from_height: int, *, follow: bool = True, stall_s: float | None = None
    ) -> AsyncIterator[relay_pb2.FinalBlock]:
        """Iterate over final blocks."""


class Lines(Protocol):
    """All validators that are known."""

    @property
    def lines(self) -> Sequence[Line]:
        """Those of now."""

    async def refresh(self) -> None:
        """Look for more."""

    async def close(self) -> None:
        """Let go of all."""


class LinkFigures(Protocol):
    """Who counts what the link does."""

    def relay_block(self, records: int) -> None:
        """Count a final block that was verified."""

    def header_final(self, seconds: float) -> None:
        """Count a header of this node that became final, so long after its seal."""

    def offer_answered(self, outcome: str) -> None:
        """Count an answer to an offer: taken, a reason, or lost."""

    def line_left(self, reason: str) -> None:
        """Count that another validator is followed: forged or lost."""


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Pauses: before a validator is called again, of silence before another one is followed, of gathering blocks."""

    reconnect_s: float = 0.5
    stall_s: float = 2.0
    consume_s: float = 0.5


@dataclass(frozen=True, slots=True)
class ShardStanding:
    """How far a shard is final, and how far validators have re-executed it."""

    final: Reached = field(default_factory=Reached)
    verified: Reached = field(default_factory=Reached)


@dataclass(frozen=True, slots=True)
class RelayStanding:
    """How the link stands: the relay's height and time as verified here, who is followed, and each shard."""

    height: int
    time: int
    consumed: int
    set_id: int
    following: str
    shards: dict[int, ShardStanding]
