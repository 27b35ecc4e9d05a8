"""What goes into the machines of the bridge and what comes out: events, actions, clocks, outcomes, journal entries.

It promises one order: the actions of a list are taken in order, and whatever follows a ``Journal`` is done only when
that entry is durable. Machines know no other world than these values. An action may be done twice and an event may
come twice, late or in another order; neither changes what a swap ends as. The values are frozen structs: dozens are
made for every swap, and a frozen dataclass takes several times as long to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum, unique
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.leg import ChainClock, LockOrder, LockView
    from bridge.margins import Margins

__all__ = [
    "HELD",
    "AcceptanceRefused",
    "Accepted",
    "Action",
    "Alarm",
    "AlarmKind",
    "AskAcceptance",
    "ClaimForeign",
    "Clocks",
    "Entry",
    "EntryKind",
    "Event",
    "Finished",
    "Journal",
    "Lock",
    "LockSeen",
    "Look",
    "Outcome",
    "RefundForeign",
    "Restored",
    "Reveal",
    "Revealed",
    "Rules",
    "Tick",
    "Timing",
    "WakeAt",
]

HELD: Final = "held"
"""``LockView.reason`` of a lock of ours that waits for a compliance decision: it stands nowhere yet, so state SEEN."""


class Clocks(msgspec.Struct, frozen=True, gc=False):
    """All that a machine knows of time: our own clock, the newest finalized relay block, the foreign chains' clocks.

    Only relay time decides on our legs and only a chain's own clock on a foreign one; our own clock says when to look
    and stands in for both where it is ahead of what was heard of them, since then they have moved on unheard. A shell
    tells the reveals of a relay block before it shows that block's height and time here.
    """

    now_ns: int
    relay_ns: int = 0
    relay_height: int = 0
    foreign: Mapping[str, ChainClock] = msgspec.field(default_factory=dict)

    def heard_ns(self, chain: str) -> int:
        """Return the newest instant heard of a chain, ours by the empty name; 0 before the first."""
        if not chain:
            return self.relay_ns
        clock = self.foreign.get(chain)
        return 0 if clock is None else clock.time_ns

    def latest_ns(self, chain: str) -> int:
        """Return the latest instant that a chain may have reached by now, but for skew."""
        heard_ns = self.heard_ns(chain) if chain else self.relay_ns
        return heard_ns if heard_ns > self.now_ns else self.now_ns  # noqa: FURB136 - asked at every step of every swap


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient a machine is, in nanoseconds of our clock.

    ``retry_ns`` lies between two attempts of one action; ``poll_ns`` between two looks at a foreign leg, ``look_ns`` at
    legs of ours, which tell by themselves and are looked at only in case that got lost.
    """

    retry_ns: int = 5_000_000_000
    poll_ns: int = 2_000_000_000
    look_ns: int = 10_000_000_000


_PATIENT: Final = Timing()


class Rules(msgspec.Struct, frozen=True, gc=False):
    """What a machine goes by: the network's hash suite, its corridor's margins, its own patience."""

    suite: int
    margins: Margins
    timing: Timing = _PATIENT


@unique
class Outcome(IntEnum):
    """How a swap ended for the party whose machine it is."""

    SETTLED = 1
    """Both its legs were claimed."""
    REFUNDED = 2
    """What it had locked came back."""
    ABANDONED = 3
    """It never locked anything."""
    KEPT = 4
    """It was paid and what it had locked came back: its counterparty was late."""
    LOST = 5
    """It paid and was not paid: outside the margins, and the reason for an alarm."""


@unique
class AlarmKind(StrEnum):
    """What a person should look at; words that stay."""

    HALF_MARGIN = "half_margin"
    """Half of the margin is gone and the step is not final."""
    LEG_DIFFERS = "leg_differs"
    """A lock stands under our id with other terms."""
    TOO_LATE_TO_REVEAL = "too_late_to_reveal"
    """All legs stood, but too late: the secret stays secret and everything is refunded."""
    LEG_STALLED = "leg_stalled"
    """A leg's time is over and its chain has not ended it."""
    LEG_UNDONE = "leg_undone"
    """A leg that had been final is not any more."""
    LOSS = "loss"
    """One leg was claimed against us and ours was not."""


# What a machine asks of its shell.


@unique
class EntryKind(IntEnum):
    """The kinds of journal entries (bridge/journal.py says what each holds)."""

    BEGUN = 1
    ACCEPTED = 2
    LOCKING = 3
    ASKING = 4
    REVEALING = 5
    LEARNED = 6
    CLAIMING = 7
    REFUNDING = 8
    FINISHED = 9


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One note of a party: ``number`` counts its entries from 0, ``at_ns`` is our clock, ``body`` as the kind says.

    ``party`` names one party's side of a swap: the lock id of the leg that is its own to lock.
    """

    kind: EntryKind
    party: bytes
    number: int
    at_ns: int
    body: bytes


class Journal(msgspec.Struct, frozen=True, gc=False):
    """Make the entry durable before the next action of the list."""

    entry: Entry


class Lock(msgspec.Struct, frozen=True, gc=False):
    """Lock a leg; ``signed_at_ns`` is the instant its record is signed at, the same at every attempt."""

    leg: int
    order: LockOrder
    signed_at_ns: int


class AskAcceptance(msgspec.Struct, frozen=True, gc=False):
    """Ask the provider that locks this leg to accept the swap."""

    leg: int


class Reveal(msgspec.Struct, frozen=True, gc=False):
    """Submit the reveal to the relay."""

    preimage: bytes


class ClaimForeign(msgspec.Struct, frozen=True, gc=False):
    """Claim a foreign leg."""

    leg: int
    preimage: bytes


class RefundForeign(msgspec.Struct, frozen=True, gc=False):
    """Refund a foreign leg of ours."""

    leg: int


class Look(msgspec.Struct, frozen=True, gc=False):
    """Find out how a leg stands and tell it as ``LockSeen``; the order is what an adapter should expect there."""

    leg: int
    order: LockOrder


class WakeAt(msgspec.Struct, frozen=True, gc=False):
    """Send a ``Tick`` when our clock reads this; a later one replaces it."""

    at_ns: int


class Alarm(msgspec.Struct, frozen=True, gc=False):
    """Tell a person."""

    kind: AlarmKind
    text: str


class Finished(msgspec.Struct, frozen=True, gc=False):
    """The swap has ended for us; ``code`` is the refusal that ended it, 0 where none did."""

    outcome: Outcome
    code: int


Action = Journal | Lock | AskAcceptance | Reveal | ClaimForeign | RefundForeign | Look | WakeAt | Alarm | Finished

# What a shell tells a machine.


class LockSeen(msgspec.Struct, frozen=True, gc=False):
    """A leg as its chain shows it; of a leg of ours a final state or a refusal is one whose receipt was verified.

    The view's height is then that of the relay block which anchors it, and its order is made from the record itself.
    """

    leg: int
    view: LockView


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The provider of a leg has accepted; ``digest`` names the leg it will lock."""

    leg: int
    digest: bytes


class AcceptanceRefused(msgspec.Struct, frozen=True, gc=False):
    """The provider of a leg answered with a refusal."""

    leg: int
    code: int
    text: str = ""


class Revealed(msgspec.Struct, frozen=True, gc=False):
    """A preimage stands in a finalized relay block."""

    preimage: bytes
    height: int
    time_ns: int


class Tick(msgspec.Struct, frozen=True, gc=False):
    """Time has passed."""


class Restored(msgspec.Struct, frozen=True, gc=False):
    """The machine was made again from its journal: nothing is known but what stands there."""


Event = LockSeen | Accepted | AcceptanceRefused | Revealed | Tick | Restored
