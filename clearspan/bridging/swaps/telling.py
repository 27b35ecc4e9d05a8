"""What people and figures are told of swaps: timelines as they are written, listeners, alarms.

It promises that a line of a timeline is heard once by everybody who listens, and that an alarm is logged and kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from clearspan.bridging.journal.alarms import CASE, Alarms
from clearspan.bridging.journal.book import Moment, moment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.ports import Alarm, Entry, Outcome
    from clearspan.bridging.journal.book import OpenSwap

__all__ = ["Progress", "Telling"]


class Progress(NamedTuple):
    """One line of one swap's timeline as it is written; ``outcome`` is set with the last."""

    swap: OpenSwap
    moment: Moment
    outcome: Outcome | None


class Telling:
    """The listeners and the alarms of one bridge."""

    def __init__(self, now: Callable[[], int], wake: Callable[[], None] = lambda: None) -> None:
        """Take our clock (ns), and who is told that alarms are to be written."""
        self._now = now
        self.alarms = Alarms(now, wake)
        self.listeners: set[Callable[[Progress], None]] = set()
        self.enders: set[Callable[[Progress], None]] = set()
        """Those who hear only of ends."""

    def say(self, swap: OpenSwap, what: str, text: str, at: int = 0) -> None:
        """Add a line to a swap's timeline."""
        self.tell(swap, Moment(at or self._now(), what, text))

    def tell(self, swap: OpenSwap, moment: Moment) -> None:
        """Add a line to a swap's timeline as it stands."""
        swap.lines.append(moment)
        if self.listeners or (self.enders and swap.outcome is not None):
            self._call(Progress(swap, moment, swap.outcome))

    def tell_entry(self, swap: OpenSwap, entry: Entry) -> None:
        """Add an entry of the journal, which is durable, to a swap's timeline."""
        swap.lines.append(entry)
        if self.listeners or (self.enders and swap.outcome is not None):
            self._call(Progress(swap, moment_of(entry), swap.outcome))

    def _call(self, progress: Progress) -> None:
        for listener in tuple(self.listeners):
            listener(progress)
        if progress.outcome is not None:
            for listener in tuple(self.enders):
                listener(progress)

    def alarm(self, swap: OpenSwap, action: Alarm) -> None:
        """Call a person to a swap."""
        self.alarms.sound(action.kind.value, action.text, swap.swap)
        self.say(swap, action.kind.value, f"Alarm: {action.text}.")

    def call_out(self, texts: Iterable[str], kind: str = CASE) -> None:
        """Call a person to what is no swap's."""
        for text in texts:
            self.alarms.sound(kind, text)
