"""A participant's process in the simulation: the real watcher and desk, a journal that survives, and how it dies.

Actions are taken one by one, and before any of them the process may die. What it then knows is its journal, what it
kept of the relay's blocks that it had read, and what it is told when it looks. It goes on behind the last block whose
consequences are durable, reads those that it missed a few at a time, and serves nobody before it has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from bridge.journal import decode_entry, read_finished
from bridge.ports import (
    AskAcceptance,
    ClaimForeign,
    EntryKind,
    Finished,
    Lock,
    Outcome,
    RefundForeign,
    Reveal,
    Revealed,
)
from bridge.terms import hash_preimage
from bridge.watcher import Watcher
from clearspan.simulation.bridge.dealing import Dealer
from clearspan.simulation.bridge.gate import Archive, Gate
from clearspan.simulation.bridge.plan import CHAIN, MARGINS, TIMING
from clearspan.simulation.bridge.purse import Purse

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.ports import Action
    from bridge.watcher import Task
    from clearspan.simulation.bridge.market import Market
    from clearspan.simulation.bridge.stage import Stage
    from engine.relay_block import RelayBlock

__all__ = ["CLAIMED", "Process"]

_CLAIMING: Final = (EntryKind.REVEALING, EntryKind.CLAIMING, EntryKind.LEARNED)
_WRITTEN_FIRST: Final[dict[type, tuple[EntryKind, ...]]] = {
    Lock: (EntryKind.LOCKING,),
    AskAcceptance: (EntryKind.ASKING,),
    Reveal: _CLAIMING,
    ClaimForeign: _CLAIMING,
    RefundForeign: (EntryKind.REFUNDING,),
}
CLAIMED: Final = frozenset({Outcome.SETTLED, Outcome.LOST})
"""Outcomes in which the own leg was claimed."""
_READS_NS: Final = 400_000_000
"""How long a bridge that came back takes for a few blocks."""
_SNAPSHOT_EVERY: Final = 2
"""Every other restart begins the desk's log anew with a snapshot of it."""


class Process(ABC):
    """What lives, writes, acts and dies; what it is told and how it acts is ``Party``'s to say."""

    villain = ""

    def __init__(self, stage: Stage, market: Market, index: int, crashes: list[tuple[int, int]]) -> None:
        self.stage, self.market = stage, market
        self.index = index
        self.name = f"party:{index}"
        self.life = 0
        self.journal: list[bytes] = []
        self.desk_log: list[bytes] = []
        self.archive = Archive(self.journal)
        self.on_step: Callable[[], None] = lambda: None
        self.watcher: Watcher | None = None
        self.dealer: Dealer | None = None
        self.gate: Gate | None = None
        self.purse = Purse(stage, market)
        self.ends: dict[bytes, Finished] = {}
        self.accepted: dict[bytes, int] = {}
        self.steps = 0
        self._written: dict[bytes, list[EntryKind]] = {}
        self._crashes = sorted(crashes)
        self._cursor = 0
        self._tick_at = 0
        self.kept_height = 0
        self._kept_reveals: dict[bytes, tuple[int, bytes]] = {}
        self.history: list[bytes] = []
        self._head_at_start = 0
        self._begin()

    def _begin(self) -> None:
        """Stand with what is durable."""
        self.stands_since = self.stage.now
        self.watcher = Watcher(self.stage.suite, lambda _: MARGINS, TIMING)
        self.gate = Gate(self.stage, self.market, self.index, self.archive, self.clock)
        if self.index:
            self.dealer = Dealer(self.stage, self.market, self.index)
            self.dealer.restore(self.desk_log)

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.watcher is not None

    @property
    def is_behind(self) -> bool:
        """Whether it has not read yet what the relay had decided when it came back."""
        return self._cursor < self._head_at_start

    @property
    def serves(self) -> bool:
        """Whether it takes orders and questions: it runs, and has read what the relay had decided when it came back."""
        return self.alive and not self.is_behind

    @property
    def busy(self) -> bool:
        """Whether swaps run, or transfers and outcomes of screening wait for their ledger."""
        if self.watcher is None or self.gate is None:
            return False
        return bool(len(self.watcher) or len(self.purse) or self.gate.waits)

    @property
    def clock(self) -> int:
        """What this process's clock reads."""
        return self.stage.now + self.stage.plan.skews.get(self.name, 0)

    # Living and dying.

    def crash(self, down_ns: int) -> None:
        """Die now; come back from the journal after a while."""
        self.stage.reach("crash")
        self.watcher = self.dealer = self.gate = None
        self.life += 1
        self.stage.after(down_ns, self.restart)

    def restart(self) -> None:
        """Come back: everything that was only in memory is gone."""
        entries = sorted((decode_entry(data) for data in self.journal), key=lambda entry: (entry.party, entry.number))
        self._begin()
        assert self.watcher is not None
        self._cursor = self.kept_height
        self._head_at_start = len(self.stage.relay.blocks)
        self._tick_at = 0
        # What was revealed long ago is asked of whoever is on a chain; the others keep nothing of it.
        self.watcher.relay_block(0, 0, self.history, self.clock)
        clock = self.stage.chain_clock()
        if clock is not None and self.stage.linked(self, CHAIN):
            self.watcher.chain_clock(CHAIN, clock, self.clock)
        self.stage.reach("restart")
        for entry in entries:
            if entry.kind is EntryKind.FINISHED and entry.party not in self.ends:
                end = self.ends[entry.party] = Finished(*read_finished(entry.body))
                self.stage.reach(end.outcome.name.lower())
        tasks = self.watcher.restore(entries, self.clock)
        revealed = [(party, Revealed(preimage, height, 0)) for party, (height, preimage) in self._kept_reveals.items()]
        tasks += self.watcher.on(revealed, self.clock)
        self._restore_trade()
        self.do(tasks)
        self.hear_relay()

    def _restore_trade(self) -> None:
        """Take back what is owed and what was drawn, and end what had ended when the process died."""
        self.purse.restore(self.claimed, self.clock)
        dealer = self.dealer
        if dealer is None:
            return
        if self.desk_log and self.life % _SNAPSHOT_EVERY == 0:
            self.desk_log[:] = dealer.snapshot()
            self.stage.reach("desk_snapshot")
        if dealer.desk.book.draws:
            self.stage.reach("desk_restored_with_draws")
        self._end_draws(dealer)

    def _end_draws(self, dealer: Dealer) -> None:
        """End the draws of swaps that had ended when the process died, before the desk's entry of it was durable."""
        for party in tuple(dealer.desk.book.draws):
            claimed = self.claimed(party)
            if claimed is not None:
                self.stage.reach("draw_ended_after_restart")
                dealer.end(party, claimed=claimed)

    def claimed(self, party: bytes) -> bool | None:
        """Say whether a party's own leg was claimed, None while its swap runs."""
        end = self.ends.get(party)
        return None if end is None else end.outcome in CLAIMED

    # The relay.

    def hear_relay(self) -> None:
        """Read the relay's blocks from where it stands; what it missed while it was away a few at a time."""
        if self.watcher is None or not self.stage.linked(self, "relay"):
            return
        most = len(self.stage.relay.blocks) if not self.is_behind else self._cursor + self.stage.plan.papers.catch_up
        blocks = self.stage.relay.blocks[self._cursor : most]
        tasks: list[Task] = []
        learned: dict[bytes, tuple[int, bytes]] = {}
        for block in blocks:
            header = block.header
            learned.update(self._learned(block))
            tasks += self.watcher.relay_block(header.height, header.time, block.preimages(), self.clock)
            self._cursor = header.height
        life = self.life
        self.do(tasks)
        if self.life != life or not blocks:
            return
        self.kept_height = self._cursor
        self._kept_reveals.update(learned)
        if self.stage.plan.foreign:
            self.history += [preimage for block in blocks for preimage in block.preimages()]
        if self.is_behind:
            self.stage.reach("catches_up")
            self.stage.after(_READS_NS, lambda: self.hear_relay() if self.life == life else None)

    def _learned(self, block: RelayBlock) -> dict[bytes, tuple[int, bytes]]:
        """Return what a block reveals to the swaps that run here."""
        assert self.watcher is not None
        return {
            machine.party: (block.header.height, preimage)
            for preimage in block.preimages()
            for machine in self.watcher.machines()
            if machine.terms.hashlock == hash_preimage(machine.terms.hash_function, preimage)
        }

    @abstractmethod
    def tick(self) -> None:
        """Wake."""

    @abstractmethod
    def act(self, party: bytes, action: Action) -> None:
        """Do one thing."""

    # Acting.

    def do(self, tasks: list[Task]) -> None:
        """Take actions in order; die before the one that the plan says."""
        life = self.life
        for party, action in tasks:
            if not self._steps_on():
                return
            self._check_written(party, action)
            self.act(party, action)
            if self.life != life:
                return
        if self._pending:
            if not self._steps_on():
                return
            self.commit()
        for send in self.purse.take_sendings(self, self.clock):
            if not self._steps_on():
                return
            send()
        self._set_tick()
        self.on_step()

    @property
    def _pending(self) -> bool:
        if self.gate is not None and self.gate.pending:
            return True
        return self.purse.pending or (self.dealer is not None and bool(self.dealer.pending))

    def commit(self) -> None:
        """Make durable what was collected beside the machines' entries; in one commit with the entry that follows."""
        if self.dealer is not None:
            self.desk_log += self.dealer.pending
            self.dealer.pending = []
        if self.gate is not None:
            self.gate.commit()
        self.purse.commit()

    def _steps_on(self) -> bool:
        """Take the next step, or die before it."""
        if self._crashes and self.steps >= self._crashes[0][0]:
            self.crash(self._crashes.pop(0)[1])
            return False
        self.steps += 1
        return True

    def _set_tick(self) -> None:
        if self.watcher is None or self.watcher.wake_ns is None:
            return
        wake = max(self.watcher.wake_ns - self.clock, 0) + self.stage.now
        if self._tick_at and self._tick_at <= wake:
            return
        self._tick_at = wake
        life = self.life
        self.stage.at(wake, lambda: self.tick() if self.life == life and self._tick_at == wake else None)

    def _check_written(self, party: bytes, action: Action) -> None:
        """Hold that what leaves was written before."""
        kinds = _WRITTEN_FIRST.get(type(action))
        if kinds and not any(kind in kinds for kind in self._written.get(party, ())):
            self.stage.fail(f"{self.name} acts before it writes: {type(action).__name__}")
