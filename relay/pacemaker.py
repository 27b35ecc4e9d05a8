"""When a view has lasted long enough, when to say things again, and how often a peer may be answered.

Instants are ns, handed in. A clock that jumps backwards shifts what is waited for, so that no jump stalls a member.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from engine.types import U64_MAX

__all__ = ["NEVER", "Pace", "Pacemaker", "RateLimit", "view_ns"]

NEVER: Final = U64_MAX
_DOUBLINGS_MAX: Final = 32
_PEERS_MAX: Final = 4096


def view_ns(view: int, base_ns: int, ns_max: int) -> int:
    """Return how long a view lasts: the base, doubled each view, at most ``ns_max``."""
    return min(base_ns << min(view, _DOUBLINGS_MAX), ns_max)


@dataclass(slots=True)
class Pace:
    """How long agreement takes of late at this member: mean and mean deviation, ns, as a transport counts round trips.

    What takes longer than the mean counts at once, what takes less slowly: a view that ends too early costs everybody.
    """

    mean: int = 0
    deviation: int = 0

    def note(self, took: int) -> None:
        """Count one agreement."""
        if not self.mean:
            self.mean, self.deviation = took, took // 2
            return
        off = abs(took - self.mean)
        self.deviation += (off - self.deviation) // 4
        self.mean += (took - self.mean) // (2 if took > self.mean else 8)

    @property
    def most(self) -> int:
        """What nearly every agreement takes at most, ns; 0 before the first."""
        return self.mean + max(4 * self.deviation, self.mean // 2)


@dataclass(slots=True)
class Pacemaker:
    """The instants a core waits for: end of the view, next repetition, next proposal, next request."""

    now: int
    view_end: int = NEVER
    repeat: int = NEVER
    propose: int = NEVER
    request: int = NEVER
    recall: int = NEVER
    began: int = 0
    """When the view in progress began."""

    def observe(self, now: int) -> int:
        """Take the shell's time; return how far the clock stepped back, 0 when it did not."""
        back = max(0, self.now - now)
        if back:
            for name in ("view_end", "repeat", "propose", "request", "recall", "began"):
                instant = getattr(self, name)
                if instant != NEVER:
                    setattr(self, name, max(0, instant - back))
        self.now = now
        return back

    def begin_view(self, view: int, base_ns: int, ns_max: int) -> None:
        """Start the time of a view; nothing of the one before is said again."""
        self.began = self.now
        self.view_end = self.now + view_ns(view, base_ns, ns_max)
        self.repeat = NEVER
        self.propose = NEVER

    @property
    def next_wake(self) -> int:
        """The earliest instant waited for; NEVER for none."""
        return min(self.view_end, self.repeat, self.propose, self.request, self.recall)


@dataclass(slots=True)
class RateLimit:
    """Lets each peer have one answer of a kind within ``interval_ns``; bounded, the longest known forgotten first."""

    interval_ns: int
    last: dict[tuple[int, str], int] = field(default_factory=dict)

    def allows(self, peer: int, kind: str, now: int) -> bool:
        """Say whether a peer may be answered now, and note that it was."""
        before = self.last.get((peer, kind))
        if before is not None and 0 <= now - before < self.interval_ns:
            return False
        self.last.pop((peer, kind), None)
        self.last[peer, kind] = now
        if len(self.last) > _PEERS_MAX:
            del self.last[next(iter(self.last))]
        return True
