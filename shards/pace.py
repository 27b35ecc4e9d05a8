"""When a node's shards seal: soon after work, seldom without it, and no sooner than the relay has room for a header.

It promises that work waits for its seal no longer than a few intervals, whatever the relay and the clock do. It reads
no clock: the shell says what time it is and does what is due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shards.settings import NodeSettings

__all__ = ["SEAL_PATIENCE", "SealPace"]

SEAL_PATIENCE: Final = 3
"""While the relay is busy with the last header a busy node seals after so many intervals: the next header would wait
for its turn there, and be one more block to sign, to prove and to read for everybody who follows the shard."""


class SealPace:
    """``worked``: something was decided since the last seal, and whoever asked waits for the next one."""

    def __init__(self, settings: NodeSettings) -> None:
        """Begin before the first seal."""
        self._busy_ns, self._idle_ns = settings.seal_interval_ns, settings.seal_interval_idle_ns
        self.worked = False
        self._last = 0
        self._sealed: dict[int, int] = {}
        self._final: dict[int, int] = {}

    def left(self, now: int) -> int:
        """Return the ns until the next seal is due; a clock that was set back makes it due at once, not in years."""
        return self._until(self._busy_interval() if self.worked else self._idle_ns, now)

    def left_if_worked(self, now: int) -> int:
        """Return the ns until a seal would be due if something were decided now."""
        return self._until(self._busy_interval(), now)

    def begin(self, now: int) -> None:
        """Note that the round that begins now seals: what it decides is in that block."""
        self._last = now
        self.worked = False

    def sealed(self, heights: Mapping[int, int]) -> None:
        """Note the heights of new headers by shard."""
        self._sealed.update(heights)

    def final(self, heights: Mapping[int, int]) -> None:
        """Note up to which height each of these shards is final."""
        self._final.update(heights)

    def _busy_interval(self) -> int:
        # Without a relay nothing is ever final, and nothing waits for it.
        waits = any(height > self._final.get(shard, height) for shard, height in self._sealed.items())
        return self._busy_ns * (SEAL_PATIENCE if waits else 1)

    def _until(self, interval: int, now: int) -> int:
        left = self._last + interval - now
        return 0 if left > interval else left
