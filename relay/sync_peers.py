"""The peers of a catch-up: what each says it has, what it was asked and by when, and who is asked next.

It promises bounds on what is asked at once, of all and of each, that nothing is asked twice at the same time, and that
who owes answers too often is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from relay.sync_actions import Ask, Drop
from relay.sync_messages import SyncRequest, SyncStatus, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from relay.sync_actions import SyncAction, SyncSettings

__all__ = ["Asked", "Peer", "Peers"]

_LATE_MAX: Final = 16


@dataclass(slots=True)
class Asked:
    """One question on its way; ``due`` is when its answer is late, ns."""

    wanted: Wanted
    first: int
    second: int
    due: int


@dataclass(slots=True)
class Peer:
    """One peer: its last status, what it owes, what it owed too long, and when it is asked for its status again.

    ``lacks``: heights of checkpoints that it named and did not have when asked; it may keep only its newest.
    ``unshown``: ids of sets that it knows and could not lead to, as one that went on from a checkpoint.
    """

    status: SyncStatus | None = None
    asked: dict[int, Asked] = field(default_factory=dict)
    late: list[int] = field(default_factory=list)
    stalls: int = 0
    status_at: int = 0
    lacks: set[int] = field(default_factory=set)
    unshown: set[int] = field(default_factory=set)

    @property
    def owes_status(self) -> bool:
        """Whether its status is on its way."""
        return any(each.wanted is Wanted.STATUS for each in self.asked.values())

    @property
    def busy(self) -> int:
        """How many questions but that for its status it owes an answer to."""
        return sum(each.wanted is not Wanted.STATUS for each in self.asked.values())

    def checkpoint_under(self, set_id: int) -> int:
        """Return the height of its checkpoint, if it says that no later set than this one is known; 0 for none."""
        status = self.status
        known = status is not None and status.set_id <= set_id and status.checkpoint not in self.lacks
        return status.checkpoint if known and status is not None else 0

    def leads_to(self, set_id: int) -> bool:
        """Say whether it may be asked how a set came to be."""
        return self.status is not None and self.status.set_id >= set_id and set_id not in self.unshown

    def give_up_checkpoint(self) -> None:
        """Ask it no more for the checkpoint that it names now."""
        if self.status is not None:
            self.lacks.add(self.status.checkpoint)

    def keeps(self, height: int) -> bool:
        """Say whether it says that it keeps the block of a height."""
        return self.status is not None and self.status.lowest <= height <= self.status.height


class Peers:
    """All peers, in the order in which they were met; actions go to ``out``. ``dropped`` counts by reason."""

    def __init__(self, settings: SyncSettings, genesis_hash: bytes, out: list[SyncAction]) -> None:
        self.now = 0
        self.dropped: dict[str, int] = {}
        self._settings = settings
        self._genesis_hash = genesis_hash
        self._out = out
        self._next_id = 1
        self.all: dict[Hashable, Peer] = {}

    def join(self, name: Hashable) -> None:
        """Meet a peer and ask for its status; beyond ``peers_max`` nobody is met."""
        if name not in self.all and len(self.all) < self._settings.peers_max:
            self.all[name] = Peer()
            self.ask_status(name)

    def leave(self, name: Hashable) -> None:
        """Forget a peer with all that it owes."""
        self.all.pop(name, None)

    def drop(self, name: Hashable, reason: str) -> bool:
        """Let a peer go for a reason; say whether it was still there."""
        if self.all.pop(name, None) is None:
            return False
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        self._out.append(Drop(name, reason))
        return True

    @property
    def target(self) -> int:
        """The highest height that a peer says it has, 0 for none: a word, not a fact."""
        return max((each.status.height for each in self.all.values() if each.status), default=0)

    @property
    def known(self) -> bool:
        """Whether there are peers, and every one of them has said what it has."""
        return bool(self.all) and all(each.status is not None for each in self.all.values())

    @property
    def asked(self) -> list[Asked]:
        """Everything that is on its way."""
        return [asked for peer in self.all.values() for asked in peer.asked.values()]

    def next_wake(self) -> int:
        """When the next answer is late or the next status is due, ns."""
        times = [asked.due for asked in self.asked]
        times += [peer.status_at for peer in self.all.values() if not peer.owes_status]
        return min(times, default=self.now + self._settings.status_ns)

    def note_status(self, peer: Peer, status: SyncStatus) -> bool:
        """Take a status; say whether it may be: what is final does not become less."""
        if peer.status is not None and status.height < peer.status.height:
            return False
        peer.status = status
        peer.status_at = self.now + self._settings.status_ns
        return True

    def answered(self, peer: Peer, identity: int) -> Asked | None:
        """Return what an answer is to, None for nothing that is still waited for."""
        asked = peer.asked.pop(identity, None)
        if asked is not None and asked.wanted is not Wanted.STATUS:
            peer.stalls = 0
        return asked

    def expire(self) -> list[Hashable]:
        """Let deadlines pass; return who owed too many answers. Statuses that are due are asked for."""
        stalled = []
        for name, peer in self.all.items():
            for identity, asked in list(peer.asked.items()):
                if asked.due <= self.now:
                    del peer.asked[identity]
                    peer.late = [*peer.late, identity][-_LATE_MAX:]
                    peer.stalls += 1
            if peer.stalls > self._settings.stalls_max:
                stalled.append(name)
            elif self.now >= peer.status_at:
                self.ask_status(name)
        return stalled

    def ask_status(self, name: Hashable) -> None:
        """Ask a peer what it has, unless it was asked already."""
        peer = self.all[name]
        if not peer.owes_status:
            peer.status_at = self.now + self._settings.status_ns
            self._ask(name, Wanted.STATUS, 0, 0)

    def assign(self, wanted: Wanted, first: int, second: int, serves: Callable[[Peer], bool]) -> bool:
        """Ask the least busy peer that serves it; say whether more may be asked."""
        if any((each.wanted, each.first, each.second) == (wanted, first, second) for each in self.asked):
            return True
        if sum(peer.busy for peer in self.all.values()) >= self._settings.in_flight_max:
            return False
        free = [
            (peer.busy, peer.stalls, place, name)
            for place, (name, peer) in enumerate(self.all.items())
            if peer.busy < self._settings.per_peer_max and serves(peer)
        ]
        if not free:
            return False
        name = min(free, key=lambda each: each[:3])[3]
        status = self.all[name].status
        if wanted is Wanted.BLOCKS and status is not None:
            second = min(second, status.height)
        self._ask(name, wanted, first, second)
        return True

    def _ask(self, name: Hashable, wanted: Wanted, first: int, second: int) -> None:
        identity, self._next_id = self._next_id, self._next_id + 1
        self.all[name].asked[identity] = Asked(wanted, first, second, self.now + self._settings.request_ns)
        self._out.append(Ask(name, SyncRequest(identity, wanted, first, second).encode(self._genesis_hash)))
