"""What the consensus core is handed: the state that orders and checks blocks, what waits to be proposed, a signer.

``relay.state`` and ``relay.pool`` are the real ones; tests hand in smaller ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from engine.genesis import Genesis
    from engine.relay_block import RelayBlock
    from engine.validators import Certificate, ValidatorSet
    from relay.offers import PoolItem, Sidecar

__all__ = ["ConsensusSettings", "Counters", "EmptyPool", "Member", "Pool", "State"]

_MS: Final = NS_PER_S // 1000
_SLOW_TIMES: Final = 4


class State(Protocol):
    """What is final after ``height``: an immutable value (``relay.state.RelayState``)."""

    @property
    def genesis(self) -> Genesis:
        """The network."""

    @property
    def suite(self) -> int:
        """Its hash suite."""

    @property
    def height(self) -> int:
        """Height of the last final block, 0 before the first."""

    @property
    def certificate(self) -> Certificate | None:
        """The commit certificate that made it final here, where it is known."""

    @property
    def tip_hash(self) -> bytes:
        """Hash of the last final block, the genesis hash before the first."""

    def set_at(self, height: int) -> ValidatorSet:
        """Return who decides a height; raises BlockRefused where that is not known."""

    def leader_order(self, height: int) -> tuple[int, ...]:
        """Return the members of that set in the order in which they lead the views of the next height."""

    def propose(
        self,
        pool_records: Iterable[PoolItem],
        parent_certificate: Certificate | None,
        view: int,
        *,
        now: int | None = None,
        statements: Iterable[bytes] = (),
    ) -> tuple[RelayBlock, Sidecar]:
        """Build the next block out of what waits, so that it passes ``check``."""

    def check(self, block: RelayBlock, sidecar: Sidecar, now: int | None) -> None:
        """Demand that a block may follow; raises BlockRefused."""

    def check_place(self, block: RelayBlock) -> None:
        """Demand what holds of every block that follows, whatever the clock; raises BlockRefused."""

    def after(self, block: RelayBlock, certificate: Certificate) -> State:
        """Return the state once this block is final."""


class Pool(Protocol):
    """What waits to be proposed (``relay.pool``)."""

    def offer(self, item: PoolItem, state: State) -> bool:
        """Take an item; return whether it is news."""

    def has_work(self, state: State) -> bool:
        """Say whether the next block should not wait."""

    def take(self, state: State) -> Sequence[PoolItem]:
        """Return what the next block may be made of, in order; it stays until it is final or refused."""

    def finalized(self, state: State, block: RelayBlock) -> None:
        """Drop what a block made final or idle; ``state`` is the one after it."""


@dataclass(slots=True)
class EmptyPool:
    """A pool of an observer: nothing waits."""

    def offer(self, item: PoolItem, state: State) -> bool:  # noqa: ARG002 - the port's shape
        """Take nothing."""
        return False

    def has_work(self, state: State) -> bool:  # noqa: ARG002
        """Nothing ever waits."""
        return False

    def take(self, state: State) -> Sequence[PoolItem]:  # noqa: ARG002
        """Return nothing."""
        return ()

    def finalized(self, state: State, block: RelayBlock) -> None:
        """Nothing to drop."""


@dataclass(frozen=True, slots=True)
class Member:
    """This validator's own key: ``public_key`` fills 64 bytes as in the set; ``sign`` returns 64 bytes."""

    public_key: bytes
    suite: int
    sign: Callable[[bytes], bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConsensusSettings:
    """Times in ns. A view lasts ``view_ns`` at view 0, doubled each view up to ``view_ns_max``."""

    view_ns: int = 500 * _MS
    view_ns_max: int = 8_000 * _MS
    idle_ns: int = 200 * _MS
    block_interval_ns: int = 10 * _MS
    spacing_times: int = 4
    """Between two proposals lie so many times what agreement takes of late: the work of a block is paid once for all
    that came meanwhile, and where agreement is slow or dear the relay makes fewer blocks of more."""
    spacing_ns_max: int = 75 * _MS
    """The longest such pause; ``idle_ns`` bounds it too."""
    spacing_reveal_ns: int = _MS
    """So much more for each reveal of the block before, up to twice the longest pause."""
    rest_ns: int = 0
    """How much longer than ``idle_ns`` a relay without work rests between blocks; view 0 lasts as much longer then."""
    request_ns: int = 100 * _MS
    """How long a peer has to answer before the next one is asked."""

    @property
    def view_ns_slow(self) -> int:
        """What view 0 lasts at most where agreement takes long: four times its least time."""
        return min(_SLOW_TIMES * self.view_ns, self.view_ns_max)

    def __post_init__(self) -> None:
        """Refuse times with which an idle relay would change views for ever; raises ValueError."""
        if self.rest_ns < 0:
            raise ValueError(f"0 <= rest_ns {self.rest_ns} is asked for")
        if min(self.spacing_times, self.spacing_ns_max, self.spacing_reveal_ns) < 0:
            spacing = f"spacing_times {self.spacing_times}, spacing_ns_max {self.spacing_ns_max}"
            raise ValueError(f"0 <= {spacing}, spacing_reveal_ns {self.spacing_reveal_ns}")
        if not 0 < self.request_ns <= self.view_ns <= self.view_ns_max:
            raise ValueError(f"request_ns {self.request_ns} <= view_ns {self.view_ns} <= view_ns_max is asked for")
        if not 0 <= self.block_interval_ns <= self.idle_ns < self.view_ns:
            raise ValueError(f"block_interval_ns <= idle_ns {self.idle_ns} < view_ns {self.view_ns} is asked for")


@dataclass(slots=True)
class Counters:
    """What happened since the start, for metrics; nothing is decided by them."""

    finalized: int = 0
    proposals: int = 0
    views: int = 0
    timeouts: int = 0
    joined: int = 0
    prepare_votes: int = 0
    commit_votes: int = 0
    persists: int = 0
    sent: int = 0
    evidence: int = 0
    blocks_requested: int = 0
    behind: int = 0
    halted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
