"""What the parts of a run share, and as what they see one another: nothing here knows how any of them is done.

``scene`` puts the parts together; each of them gets the stage and meets the others through it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from clearspan.simulation.relay.coverage import RelayReport
    from clearspan.simulation.relay.disk import Disk, Entry
    from clearspan.simulation.relay.parties import Parties
    from clearspan.simulation.relay.plan import Plan
    from clearspan.simulation.relay.timeline import Clock, Timeline, Wires
    from engine.development import DevelopmentKey
    from engine.header import SignedHeader
    from engine.validators import ValidatorSet
    from relay.actions import Finalized, ForkSeen, Refused
    from relay.archive import MemoryArchive
    from relay.blame import GuiltProof
    from relay.checker import Checker
    from relay.consensus import ValidatorCore
    from relay.offers import PoolItem
    from relay.ports import ConsensusSettings
    from relay.state import RelayState
    from relay.sync import Adopt, Conflict

__all__ = ["Actor", "Judge", "Shard", "Shards", "Stage", "Trouble"]


class Actor(Protocol):
    """A validator (``node``): who it is, what it keeps, and what may befall it."""

    honest: bool
    number: int
    place: int
    clock: Clock
    disk: Disk
    core: ValidatorCore | None
    fuse: int
    disk_ns: int
    life: int
    said_restored: bool

    @property
    def now(self) -> int:
        """What its clock shows."""

    @property
    def state(self) -> RelayState:
        """The newest state of its book."""

    @property
    def archive(self) -> MemoryArchive:
        """What it serves."""

    def up(self) -> None:
        """Start from what the disk holds."""

    def up_if_down(self) -> None:
        """Start unless it runs."""

    def down(self) -> None:
        """Lose power."""

    def stop(self, for_ns: int) -> None:
        """Do nothing for a while."""

    def clock_changed(self) -> None:
        """Look again when to wake."""

    def index_of(self, node: Actor) -> int | None:
        """Return the index of a peer in the set at hand."""

    def take(self, source: Actor, data: bytes) -> None:
        """Take a message of agreement."""

    def offer(self, item: PoolItem) -> None:
        """Take something for the pool."""

    def follow(self, shard: int, height: int, header_hash: bytes, *, held: bool) -> None:
        """Note that it executed a shard up to a header."""

    def serve(self, work: Callable[[], None]) -> None:
        """Answer a peer that catches up, when there is time."""

    def replies(self, request: bytes) -> list[bytes]:
        """Return what is answered to such a peer."""


class Judge(Protocol):
    """Who is told all that happens (``checks``), and ends the run when the law is broken."""

    refusing: Actor | None
    noted: set[tuple[int, int, bytes]]

    def fail(self, what: str) -> None:
        """End the run: this must never be."""

    def signed(self, node: Actor, data: bytes) -> None:
        """Take what a member sends."""

    def written(self, node: Actor, record: bytes) -> None:
        """Take a vote record that has become durable."""

    def shown(self, data: bytes) -> None:
        """Take what a liar sends."""

    def final(self, node: Actor, entry: Entry) -> None:
        """Take a block that stands in a node's book."""

    def read_clocks(self) -> None:
        """Remember the latest instant that an honest clock has shown."""

    def decided(self, node: Actor, action: Finalized) -> None:
        """Take a height that a core made final."""

    def adopted(self, node: Actor, action: Adopt) -> None:
        """Take a block that catching up brought."""

    def restored(self, node: Actor, state: RelayState) -> None:
        """Take a checkpoint's state."""

    def evidence(self, node: Actor, proof: GuiltProof) -> None:
        """Take a proof of guilt."""

    def fork_seen(self, node: Actor, action: ForkSeen) -> None:
        """Take the word of a core that it saw a fork."""

    def conflict(self, node: Actor, action: Conflict) -> None:
        """Take the word of a catch-up that a quorum certified what cannot follow."""

    def refused(self, node: Actor, action: Refused) -> None:
        """Take a refusal."""

    def dropped(self, node: Actor, peer: Actor, reason: str) -> None:
        """Take note of a peer that is dropped in catching up."""

    def look(self, node: Actor) -> None:
        """See which states the core of a node is in."""


class Trouble(Protocol):
    """Who makes things go wrong (``faults``)."""

    def blown(self, node: Actor) -> None:
        """Let a node's power go between two of its actions."""

    def leaving(self, node: Actor, data: bytes, *, left: bool) -> None:
        """Learn that a message leaves, or has left."""


class Shard(Protocol):
    """One shard, as others see it: its headers and the key that signs them."""

    key: DevelopmentKey

    @property
    def signed(self) -> Sequence[SignedHeader]:
        """The headers in order."""


class Shards(Protocol):
    """All shards (``operators``)."""

    @property
    def of(self) -> Mapping[int, Shard]:
        """Each by its id."""


class Stage(ABC):
    """One run. ``best`` is the newest state any honest member has; ``healed`` 0 until it healed.

    ``homes`` are the nodes of each member: twins are two.
    """

    plan: Plan
    report: RelayReport
    chance: random.Random
    timeline: Timeline
    wires: Wires
    parties: Parties
    settings: ConsensusSettings
    checker: Checker
    checks: Judge
    faults: Trouble
    operators: Shards
    best: RelayState
    healed: int
    nodes: list[Actor]
    homes: dict[int, list[Actor]]

    @property
    @abstractmethod
    def may_fork(self) -> bool:
        """Whether more than F lie, so that agreement is not promised."""

    @abstractmethod
    def base_of(self, number: int) -> RelayState:
        """Return the state with which a member begins."""

    @abstractmethod
    def heal(self) -> None:
        """End the faults."""

    @abstractmethod
    def advanced(self, entry: Entry) -> None:
        """Take note of a height that became final for the first time anywhere."""

    @abstractmethod
    def set_made(self, validators: ValidatorSet) -> None:
        """Let a new member of a set that is put to the relay begin to follow it."""

    @abstractmethod
    def offer(self, node: Actor, item: PoolItem) -> None:
        """Offer something to one validator."""

    @abstractmethod
    def offer_all(self, item: PoolItem, until: Callable[[RelayState], bool] | None = None) -> None:
        """Offer something to all validators."""
