"""All swaps of one participant: machines by party, one heap of timers, events of many swaps in one call.

It promises that every event reaches the machines it concerns and nothing else, that a hash serves one swap only, and
that after a restart from the journal every swap goes on from what was written. It is the machines' only owner, knows no
clock of its own and does nothing itself: it returns what its shell is to do, party by party, in order.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final, TypeVar

from bridge.acceptance import ProviderMachine
from bridge.journal import read_accepted, read_begun, read_finished
from bridge.leg import HashFunction
from bridge.margins import cautious_margins
from bridge.ports import Clocks, EntryKind, LockSeen, Restored, Revealed, Rules, Tick, WakeAt
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.swap import PayerMachine
from bridge.terms import SwapTerms, hashlocks_of
from engine.refusals import EncodingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bridge.leg import ChainClock, LockView
    from bridge.margins import Margins
    from bridge.party import SwapParty
    from bridge.ports import Action, Entry, Event, Outcome, Timing

    Task = tuple[bytes, Action]

_Value = TypeVar("_Value")

__all__ = ["SWAPS_MAX", "Watcher"]

REVEALS_KEPT_MAX: Final = 65_536
"""As many hashes of revealed secrets are remembered as the relay itself refuses again (RELAY-20)."""

ENDS_KEPT_NS: Final = 60_000_000_000
"""How long an end is known after the last timelock: then the same terms come too late anyway, so memory stays small."""

SWAPS_MAX: Final = 1_000_000


class Watcher:
    """``clocks`` is what is known of time; a list of tasks is (party, action), the actions of a party in order."""

    def __init__(
        self,
        suite: int,
        margins_of: Callable[[SwapTerms], Margins],
        timing: Timing,
        *,
        swaps_max: int = SWAPS_MAX,
        keep_ns: int = ENDS_KEPT_NS,
    ) -> None:
        """Stand before the first swap; ``margins_of`` finds a swap's corridor, ``keep_ns`` how long an end is known."""
        self.clocks = Clocks(0)
        self._suite = suite
        self._margins_of = margins_of
        self._timing = timing
        self._swaps_max = swaps_max
        self._keep_ns = keep_ns
        self._machines: dict[bytes, SwapParty] = {}
        self._ends: dict[bytes, tuple[Outcome, int]] = {}
        self._forget: list[tuple[int, bytes, bytes]] = []
        self._timers: list[tuple[int, bytes]] = []
        self._awaiting: list[tuple[int, bytes]] = []
        self._by_hash: dict[bytes, list[bytes]] = {}
        self._by_lock: dict[bytes, list[tuple[bytes, int]]] = {}
        self._hashes: dict[bytes, bytes] = {}
        self._revealed: dict[bytes, None] = {}
        self._rules_of_late: Rules | None = None

    # What it knows.

    def __len__(self) -> int:
        return len(self._machines)

    def machine(self, party: bytes) -> SwapParty | None:
        """Return a running machine."""
        return self._machines.get(party)

    def machines(self) -> Iterator[SwapParty]:
        """Yield all running machines."""
        yield from self._machines.values()

    def end_of(self, party: bytes) -> tuple[Outcome, int] | None:
        """Return outcome and code of a swap that has ended; None while it runs, or once it is forgotten."""
        return self._ends.get(party)

    def concerned(self, lock_id: bytes) -> tuple[tuple[bytes, int], ...]:
        """Return (party, leg) of every machine that wants to hear of a lock."""
        return tuple(self._by_lock.get(lock_id, ()))

    @property
    def wake_ns(self) -> int | None:
        """When ``tick`` is wanted next by our clock; None while nothing waits."""
        return self._timers[0][0] if self._timers else None

    # New swaps.

    def begin(self, terms: SwapTerms, salt: bytes, now_ns: int) -> list[Task]:
        """Begin a swap as its payer.

        Raises BridgeRefused as ``PayerMachine.begin``, and hash_reused, already_revealed, limits_exceeded,
        duplicate_swap.
        """
        self._move(now_ns)
        machine, actions = PayerMachine.begin(terms, salt, self._rules(terms), self.clocks)
        self._admit(terms, machine.swap)
        if machine.party in self._machines or machine.party in self._ends:
            raise BridgeRefused(BridgeCode.DUPLICATE_SWAP, machine.party.hex())
        self._add(machine)
        return self._after(machine, actions, [])

    def accept(self, terms: SwapTerms, own_leg: int, now_ns: int) -> list[Task]:
        """Accept a swap as the provider of a leg; the same again while it runs changes nothing.

        Raises BridgeRefused as ``ProviderMachine.accept``, and hash_reused, already_revealed, limits_exceeded,
        duplicate_swap for one that has ended.
        """
        self._move(now_ns)
        terms.check()
        swap = terms.digest(self._suite)
        if 0 < own_leg < len(terms.legs):
            party = terms.orders(self._suite, swap)[own_leg].lock_id
            if party in self._machines:
                return []
            if party in self._ends:
                raise BridgeRefused(BridgeCode.DUPLICATE_SWAP, party.hex())
        self._admit(terms, swap)
        machine, actions = ProviderMachine.accept(terms, own_leg, self._rules(terms), self.clocks)
        self._add(machine)
        return self._after(machine, actions, [])

    def demand_acceptable(self, terms: SwapTerms, own_leg: int, now_ns: int) -> None:
        """Demand that ``accept`` would begin this swap now; nothing begins. Raises BridgeRefused as it does."""
        self._move(now_ns)
        self._admit(terms, terms.digest(self._suite))
        ProviderMachine.accept(terms, own_leg, self._rules(terms), self.clocks)

    def _admit(self, terms: SwapTerms, swap: bytes) -> None:
        if self._hashes.get(terms.hashlock, swap) != swap:
            raise BridgeRefused(BridgeCode.HASH_REUSED, terms.hashlock.hex())
        if terms.hashlock in self._revealed:
            raise BridgeRefused(BridgeCode.ALREADY_REVEALED, terms.hashlock.hex())
        if len(self._machines) >= self._swaps_max:
            raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, f"{self._swaps_max} swaps are running")

    # Events.

    def on(self, events: Iterable[tuple[bytes, Event]], now_ns: int) -> list[Task]:
        """Take events of many parties; one for a party that is not running changes nothing."""
        self._move(now_ns)
        tasks: list[Task] = []
        for party, event in events:
            self._tell(party, event, tasks)
        return tasks

    def seen(self, views: Iterable[tuple[bytes, LockView]], now_ns: int) -> list[Task]:
        """Take views by lock id and tell them to every machine that they concern."""
        self._move(now_ns)
        tasks: list[Task] = []
        for lock_id, view in views:
            concerned = self._by_lock.get(lock_id, ())
            # An end takes a machine out of the index that is gone through.
            for party, leg in concerned if len(concerned) < 2 else tuple(concerned):
                self._tell(party, LockSeen(leg, view), tasks)
        return tasks

    def relay_block(self, height: int, time_ns: int, preimages: Iterable[bytes], now_ns: int) -> list[Task]:
        """Take a finalized relay block, in order of height: its reveals first, then its time.

        A block that is known already changes nothing, so a shell may begin again wherever its cursor stood.
        """
        self._move(now_ns)
        tasks: list[Task] = []
        for preimage in preimages:
            for _, hashlock in hashlocks_of(preimage):
                self._remember(hashlock)
                for party in tuple(self._by_hash.get(hashlock, ())):
                    self._tell(party, Revealed(preimage, height, time_ns), tasks)
        old = self.clocks
        if height > old.relay_height:
            self.clocks = Clocks(old.now_ns, max(time_ns, old.relay_ns), height, old.foreign)
        while self._awaiting and self._awaiting[0][0] <= height:
            self._tell(heapq.heappop(self._awaiting)[1], _TICK, tasks)
        return tasks

    def chain_clock(self, chain: str, clock: ChainClock, now_ns: int) -> None:
        """Hear of a foreign chain's newest block; its time never goes back here, though the chain's head may."""
        self._move(now_ns)
        old = self.clocks
        known = old.foreign.get(chain)
        if known is None or clock.time_ns > known.time_ns:
            self.clocks = Clocks(old.now_ns, old.relay_ns, old.relay_height, {**old.foreign, chain: clock})

    def tick(self, now_ns: int) -> list[Task]:
        """Wake every machine whose time has come, and forget ends that are old."""
        self._move(now_ns)
        tasks: list[Task] = []
        timers, machines = self._timers, self._machines
        while timers and timers[0][0] <= now_ns:
            at_ns, party = heapq.heappop(timers)
            machine = machines.get(party)
            if machine is not None and machine.wake_ns == at_ns:
                self._tell(party, _TICK, tasks)
        while self._forget and self._forget[0][0] <= now_ns:
            _, party, hashlock = heapq.heappop(self._forget)
            self._ends.pop(party, None)
            if hashlock not in self._by_hash:
                self._hashes.pop(hashlock, None)
        return tasks

    def _move(self, now_ns: int) -> None:
        """Move our clock, which never goes back."""
        old = self.clocks
        if now_ns > old.now_ns:
            self.clocks = Clocks(now_ns, old.relay_ns, old.relay_height, old.foreign)

    def _tell(self, party: bytes, event: Event, tasks: list[Task]) -> None:
        machine = self._machines.get(party)
        if machine is not None:
            actions = machine.on(event, self.clocks)
            if actions or machine.awaits_height:
                self._after(machine, actions, tasks)

    def _after(self, machine: SwapParty, actions: list[Action], tasks: list[Task]) -> list[Task]:
        """Hand actions on but for the last, which may be the timer's, and put a machine that has ended away."""
        party = machine.party
        last = actions[-1] if actions else None
        if type(last) is WakeAt:
            heapq.heappush(self._timers, (last.at_ns, party))
            actions.pop()
        if actions:
            tasks += [(party, action) for action in actions]
        if machine.awaits_height:
            heapq.heappush(self._awaiting, (machine.awaits_height, party))
        if machine.outcome is not None:
            self._remove(machine)
        return tasks

    # Machines and their indexes.

    def _rules(self, terms: SwapTerms) -> Rules:
        margins, known = self._margins_of(terms), self._rules_of_late
        if known is None or known.margins is not margins:
            known = self._rules_of_late = Rules(self._suite, margins, self._timing)
        return known

    def _rules_again(self, terms: SwapTerms) -> Rules:
        """Return the rules of a swap that was begun: it goes on although its corridor is not known any more."""
        try:
            return self._rules(terms)
        except BridgeRefused:
            return Rules(self._suite, cautious_margins(terms), self._timing)

    def _add(self, machine: SwapParty) -> None:
        party, hashlock = machine.party, machine.terms.hashlock
        self._machines[party] = machine
        self._hashes[hashlock] = machine.swap
        self._by_hash.setdefault(hashlock, []).append(party)
        for leg, order in enumerate(machine.orders):
            self._by_lock.setdefault(order.lock_id, []).append((party, leg))

    def _remove(self, machine: SwapParty) -> None:
        party, hashlock = machine.party, machine.terms.hashlock
        del self._machines[party]
        _drop(self._by_hash, hashlock, party)
        for leg, order in enumerate(machine.orders):
            _drop(self._by_lock, order.lock_id, (party, leg))
        assert machine.outcome is not None
        self._end(party, machine.outcome, machine.code, machine.terms)

    def _end(self, party: bytes, outcome: Outcome, code: int, terms: SwapTerms) -> None:
        self._ends[party] = (outcome, code)
        heapq.heappush(self._forget, (terms.last_timelock_ns + self._keep_ns, party, terms.hashlock))

    def _remember(self, hashlock: bytes) -> None:
        self._revealed[hashlock] = None
        if len(self._revealed) > len(HashFunction) * REVEALS_KEPT_MAX:
            del self._revealed[next(iter(self._revealed))]

    # After a restart.

    def restore(self, entries: Iterable[Entry], now_ns: int) -> list[Task]:
        """Make every machine again from the journal, entries in order of their keys, and have each look around.

        Raises EncodingError for entries that no machine wrote in this order: a journal that lost a part of itself.
        """
        self._move(now_ns)
        machine: SwapParty | None = None
        expected = (b"", 0)
        for entry in entries:
            if (entry.party, entry.number) != expected and entry.number != 0:
                raise EncodingError("journal entry", (entry.party.hex(), entry.number), expected)
            if entry.number == 0:
                machine = self._restored(entry)
                self._add(machine)
            else:
                assert machine is not None
                machine.replay(entry)
                if entry.kind is EntryKind.FINISHED:
                    machine.outcome, machine.code = read_finished(entry.body)
                    self._remove(machine)
            expected = (entry.party, entry.number + 1)
        tasks: list[Task] = []
        for party in tuple(self._machines):
            self._tell(party, _RESTORED, tasks)
        return tasks

    def _restored(self, entry: Entry) -> SwapParty:
        restored: SwapParty
        if entry.kind is EntryKind.BEGUN:
            terms = SwapTerms.decode(read_begun(entry.body)[1])
            restored = PayerMachine.restore(entry, terms, self._rules_again(terms))
        elif entry.kind is EntryKind.ACCEPTED:
            terms = SwapTerms.decode(read_accepted(entry.body)[1])
            restored = ProviderMachine.restore(entry, terms, self._rules_again(terms))
        else:
            raise EncodingError("first journal entry of a party", entry.kind.name, "BEGUN or ACCEPTED")
        if restored.party != entry.party:
            raise EncodingError("party of a journal entry", entry.party.hex(), restored.party.hex())
        return restored


_TICK: Final = Tick()
_RESTORED: Final = Restored()


def _drop(index: dict[bytes, list[_Value]], key: bytes, value: _Value) -> None:
    held = index[key]
    held.remove(value)
    if not held:
        del index[key]
