"""Which headers to offer to the validators now, and with which paths: the newest of each shard, until it is anchored.

It promises that an offer fits whatever was anchored of the shard when it is looked at: what is final as far as is
known here, and what was offered since. It sends nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relay.offers import OFFER_PATHS_MAX, HeaderOffer

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.block import InclusionPath
    from engine.header import SignedHeader

__all__ = ["OfferDesk"]

_NS_PER_S: Final = 1_000_000_000
_AGAIN_NS: Final = _NS_PER_S
"""An offer that was not anchored for so long is made again: a validator that started anew has forgotten it."""


@dataclass(slots=True)
class _Shard:
    newest: SignedHeader | None = None
    anchored: int = 0
    offered: deque[int] = field(default_factory=lambda: deque(maxlen=OFFER_PATHS_MAX - 1))
    offered_at: int = 0
    covered: frozenset[int] = frozenset()


class OfferDesk:
    """What stands between seals and anchors. ``path`` gives (shard, height, later height) its inclusion path."""

    def __init__(self, path: Callable[[int, int, int], InclusionPath]) -> None:
        """Begin with nothing sealed."""
        self._path = path
        self._shards: dict[int, _Shard] = {}

    def sealed(self, signed: SignedHeader) -> None:
        """Note a newer header of a shard."""
        entry = self._shards.setdefault(signed.header.shard, _Shard())
        if entry.newest is None or signed.header.height > entry.newest.header.height:
            entry.newest = signed

    def anchored(self, shard: int, height: int) -> None:
        """Note that a height is final."""
        entry = self._shards.setdefault(shard, _Shard())
        entry.anchored = max(entry.anchored, height)
        while entry.offered and entry.offered[0] <= height:
            entry.offered.popleft()

    def resumed(self, shard: int, height: int) -> None:
        """Note that a shard goes on after a height: what was anchored or offered above it does not count."""
        entry = self._shards.setdefault(shard, _Shard())
        entry.anchored = height
        entry.offered.clear()
        entry.covered = frozenset()

    def due(self, now: int) -> list[HeaderOffer]:
        """Return the offers to make now (ns), and take them for made."""
        return [offer for entry in self._shards.values() if (offer := self._due(entry, now)) is not None]

    def _due(self, entry: _Shard, now: int) -> HeaderOffer | None:
        newest = entry.newest
        if newest is None or newest.header.height <= entry.anchored:
            return None
        height = newest.header.height
        fresh = not entry.offered or entry.offered[-1] != height
        recent = 0 <= now - entry.offered_at < _AGAIN_NS
        if not fresh and recent and entry.anchored in entry.covered:
            return None
        shard = newest.header.shard
        bases = [each for each in (entry.anchored, *entry.offered) if each < height]
        # The direct child of what is anchored needs no path, and neither does the first header of all.
        paths = tuple(self._path(shard, each, height) for each in bases if 0 < each < height - 1)
        if fresh:
            entry.offered.append(height)
        entry.offered_at, entry.covered = now, frozenset(bases)
        return HeaderOffer(newest, paths)
