"""The preimages that the relay remembers: an immutable mapping whose next version costs what is new, not what is old.

Each state has its own table and none ever changes; tables that follow one another share one list of preimages, of which
each sees a stretch. It promises what a copied dictionary would: order of arrival, the oldest forgotten first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["RevealTable"]


@dataclass(slots=True)
class _Shared:
    """Preimages and heights in order of arrival from place 0 on, and the place of each; appended to, never changed."""

    preimages: list[bytes] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class RevealTable(Mapping[bytes, int]):
    """Relay heights by preimage, oldest first: an empty one, ``of`` pairs, or ``grown`` out of another."""

    _shared: _Shared = field(default_factory=_Shared)
    _begin: int = 0
    _end: int = 0

    @classmethod
    def of(cls, pairs: Iterable[tuple[bytes, int]]) -> Self:
        """Take pairs in order of arrival; of a preimage that comes twice the later height at the earlier place."""
        known = dict(pairs)
        places = {preimage: place for place, preimage in enumerate(known)}
        return cls(_Shared(list(known), list(known.values()), places), 0, len(known))

    def __getitem__(self, preimage: bytes) -> int:
        """Return its height; raises KeyError."""
        place = self._shared.places[preimage]
        if not self._begin <= place < self._end:
            raise KeyError(preimage)
        return self._shared.heights[place]

    def __contains__(self, preimage: object) -> bool:
        """Whether it is known here."""
        place = self._shared.places.get(preimage, -1)  # type: ignore[call-overload]
        return bool(self._begin <= place < self._end)

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the preimages, oldest first."""
        return iter(self._shared.preimages[self._begin : self._end])

    def __len__(self) -> int:
        """How many are known."""
        return self._end - self._begin

    def pairs(self) -> Iterable[tuple[bytes, int]]:
        """Return preimages and heights, oldest first."""
        shared, stretch = self._shared, slice(self._begin, self._end)
        return zip(shared.preimages[stretch], shared.heights[stretch], strict=True)

    def grown(self, fresh: Mapping[bytes, int], kept_max: int) -> Self:
        """Return the table with these after all others, without the oldest above a count."""
        shared, begin = self._shared, self._begin
        # Another table has grown out of this one's end, one of these was here before, or most is forgotten by all.
        apart = len(shared.preimages) != self._end or not shared.places.keys().isdisjoint(fresh)
        if apart or begin > max(len(self), kept_max):
            known = {**dict(self.pairs()), **fresh}
            places = {preimage: place for place, preimage in enumerate(known)}
            shared, begin = _Shared(list(known), list(known.values()), places), 0
        else:
            for place, (preimage, height) in enumerate(fresh.items(), start=self._end):
                shared.preimages.append(preimage)
                shared.heights.append(height)
                shared.places[preimage] = place
        end = len(shared.preimages)
        return type(self)(shared, max(begin, end - kept_max), end)
