"""Virtual time, and the wires between nodes: what is due next, and what a message meets on its way.

Everything is a function of the random numbers handed in. Instants are ns since the run began; a node's own clock is
another matter (``Clock``).
"""

from __future__ import annotations

import heapq
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

__all__ = ["CALM", "MS", "Clock", "Timeline", "Weather", "Wires"]

MS: Final = 1_000_000


class Timeline:
    """What is due, in order of time and then of asking."""

    def __init__(self) -> None:
        self.now = 0
        self.count = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []

    def at(self, when: int, call: Callable[[], None]) -> None:
        """Let something happen at an instant, not before now."""
        self.count += 1
        heapq.heappush(self._due, (max(when, self.now), self.count, call))

    def after(self, delay: int, call: Callable[[], None]) -> None:
        """Let something happen after a while."""
        self.at(self.now + delay, call)

    def step(self) -> bool:
        """Let the next thing happen; False when nothing is due ever again."""
        if not self._due:
            return False
        self.now, _, call = heapq.heappop(self._due)
        call()
        return True


@dataclass(slots=True)
class Clock:
    """A node's own clock, ns since 1970: a starting point, a rate in thousandths, and jumps."""

    local_start: int
    start: int = 0
    rate: int = 1000
    _right: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        """Remember what is right."""
        self._right = self.local_start, self.start

    def local(self, instant: int) -> int:
        """Return what it shows at an instant."""
        return self.local_start + (instant - self.start) * self.rate // 1000

    def instant(self, local: int) -> int:
        """Return the first instant at which it shows that much."""
        return self.start - (-(local - self.local_start) * 1000 // self.rate)

    def change(self, instant: int, *, jump: int = 0, rate: int | None = None) -> None:
        """Step it, or let it run at another rate from now on."""
        self.local_start, self.start = self.local(instant) + jump, instant
        self.rate = self.rate if rate is None else rate

    def mend(self) -> None:
        """Set it right again."""
        (self.local_start, self.start), self.rate = self._right, 1000


@dataclass(frozen=True, slots=True)
class Weather:
    """What wires do: chances of loss and of doubling, delays in ns."""

    loss: float = 0.0
    doubled: float = 0.0
    delay_min: int = MS
    delay_max: int = 15 * MS


CALM: Final = Weather()


@dataclass(slots=True)
class Wires:
    """Carries what nodes send; each message has a delay of its own, so that any order may arrive."""

    timeline: Timeline
    chance: random.Random
    weather: Weather = CALM
    cuts: set[tuple[int, int]] = field(default_factory=set)
    sent: int = 0
    sent_bytes: int = 0
    lost: int = 0
    doubled: int = 0
    overtaken: int = 0
    trace: int = 0
    _last: dict[tuple[int, int], int] = field(default_factory=dict)

    def carry(self, source: int, target: int, data: bytes, deliver: Callable[[], None], *, once: bool = False) -> None:
        """Bring a message from one node to another, or lose it, or bring it twice (never ``once``: a call's own)."""
        self.sent += 1
        self.sent_bytes += len(data)
        self.trace = zlib.crc32(data, zlib.crc32(b"%d %d %d" % (self.timeline.now, source, target), self.trace))
        weather, chance = self.weather, self.chance
        if (source, target) in self.cuts or (weather.loss and chance.random() < weather.loss):
            self.lost += 1
            return
        times = 1
        if not once and weather.doubled and chance.random() < weather.doubled:
            self.doubled += 1
            times = 2
        for _ in range(times):
            arrives = self.timeline.now + chance.randrange(weather.delay_min, weather.delay_max)
            before = self._last.get((source, target), 0)
            self.overtaken += arrives < before
            self._last[source, target] = max(arrives, before)
            self.timeline.at(arrives, deliver)
