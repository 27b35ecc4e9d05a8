"""Patterns over recent flows: many payments just below a threshold, and money that comes back to where it began.

It promises findings that depend on the flows alone, with the flows that made them, and bounded memory: what no longer
fits the window or the bounds is dropped, oldest first, and counted. Amounts are whole minor units of one measure (the
caller converts). A finding decides nothing: a person's case does (``bridge.cases``).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, unique
from itertools import islice
from typing import Final

from engine.refusals import InvariantBroken
from engine.types import NS_PER_S

__all__ = ["Finding", "Flow", "Pattern", "PatternRules", "PatternWatch", "check_invariants"]

_ALL: Final = 10_000
EVIDENCE_MAX: Final = 64
"""Flows named in one finding."""
SCAN_MAX: Final = 4_096
"""Flows of one party that a search for loops looks at, newest first."""


@unique
class Pattern(Enum):
    """What was found."""

    STRUCTURING = "structuring"
    """Payments of one payer just below the threshold, as many as the rules call suspicious."""
    SPLITTING = "splitting"
    """Payments of one payer to one payee, each below the threshold, together at or above a multiple of it."""
    LOOP = "loop"
    """Money of about one amount that returns to where it came from within the window."""


@dataclass(frozen=True, slots=True)
class PatternRules:
    """All bounds are whole numbers; shares are of 10,000.

    ``threshold``: what must be approved or reported. ``band_share``: just below begins at this share of the threshold.
    ``count_least``: so many in the band are structuring. ``split_multiple_share``: the sum to one payee, as a share of
    the threshold, that is splitting. ``loop_hops_max``: the flows of the longest loop. ``loop_share``: how much of
    the amount every one of them must carry. ``flows_max``: flows kept in all. ``degree_max``: flows followed from one
    party, and ways followed at once.
    """

    threshold: int
    window_ns: int = 86_400 * NS_PER_S
    band_share: int = 9_000
    count_least: int = 3
    split_multiple_share: int = 20_000
    split_count_least: int = 4
    loop_hops_max: int = 4
    loop_share: int = 8_500
    flows_max: int = 200_000
    degree_max: int = 64

    def __post_init__(self) -> None:
        """Demand bounds that mean something; ValueError names the rules."""
        counts = (self.threshold, self.window_ns, self.count_least, self.split_count_least, self.flows_max)
        if min(*counts, self.loop_hops_max, self.degree_max) < 1 or not 0 < self.band_share < _ALL:
            raise ValueError(f"rules without meaning: {self}")
        if not 0 < self.loop_share <= _ALL or self.split_multiple_share < _ALL or self.loop_hops_max > 6:
            raise ValueError(f"rules without meaning: {self}")


@dataclass(frozen=True, slots=True)
class Flow:
    """One payment: ``id`` of the payment, parties by number, ``amount`` in the measure of the rules, ns."""

    id: bytes
    payer: int
    payee: int
    amount: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A pattern and the flows that make it, oldest first, the newest of them at most EVIDENCE_MAX; ``total`` of all."""

    pattern: Pattern
    party: int
    count: int
    total: int
    evidence: tuple[bytes, ...]


@dataclass(slots=True)
class _Payer:
    """What one payer paid within the window, oldest first, and the two sums that the rules ask for."""

    flows: deque[Flow] = field(default_factory=deque)
    in_band: int = 0
    small: dict[int, tuple[int, int]] = field(default_factory=dict)


class PatternWatch:
    """Flows of the window; ``see`` adds one and says which patterns it completes."""

    def __init__(self, rules: PatternRules) -> None:
        """Stand empty."""
        self.rules = rules
        self.dropped = 0
        self._flows: deque[Flow] = deque()
        self._payers: dict[int, _Payer] = {}
        self._ids: set[bytes] = set()
        self._last_ns = 0

    def __len__(self) -> int:
        return len(self._flows)

    def see(self, flow: Flow) -> tuple[Finding, ...]:
        """Take a payment and return what it completes; instants never go back, an older one counts as the newest.

        A payment to oneself is no flow, and one whose id is in the window was seen. Cost: the payer's flows in the
        window and, for loops, at most ``degree_max`` flows of each party within ``loop_hops_max`` steps.
        """
        if flow.payer == flow.payee or flow.amount < 1 or flow.id in self._ids:
            return ()
        self._last_ns = max(self._last_ns, flow.at_ns)
        self._expire(self._last_ns - self.rules.window_ns)
        if len(self._flows) >= self.rules.flows_max:
            self._drop()
            self.dropped += 1
        loop = self._loop(flow)
        self._add(Flow(flow.id, flow.payer, flow.payee, flow.amount, self._last_ns))
        found = (self._structuring(flow), self._splitting(flow), loop)
        return tuple(finding for finding in found if finding is not None)

    def _is_in_band(self, flow: Flow) -> bool:
        return self.rules.threshold * self.rules.band_share <= flow.amount * _ALL < self.rules.threshold * _ALL

    def _add(self, flow: Flow) -> None:
        payer = self._payers.setdefault(flow.payer, _Payer())
        self._flows.append(flow)
        self._ids.add(flow.id)
        payer.flows.append(flow)
        payer.in_band += self._is_in_band(flow)
        if flow.amount < self.rules.threshold:
            count, total = payer.small.get(flow.payee, (0, 0))
            payer.small[flow.payee] = (count + 1, total + flow.amount)

    def _drop(self) -> None:
        flow = self._flows.popleft()
        self._ids.discard(flow.id)
        payer = self._payers[flow.payer]
        payer.flows.popleft()  # flows come in order, so the oldest of all is its payer's oldest
        payer.in_band -= self._is_in_band(flow)
        if flow.amount < self.rules.threshold:
            count, total = payer.small[flow.payee]
            if count == 1:
                del payer.small[flow.payee]
            else:
                payer.small[flow.payee] = (count - 1, total - flow.amount)
        if not payer.flows:
            del self._payers[flow.payer]

    def _expire(self, before_ns: int) -> None:
        while self._flows and self._flows[0].at_ns <= before_ns:
            self._drop()

    def _structuring(self, flow: Flow) -> Finding | None:
        payer = self._payers[flow.payer]
        if not self._is_in_band(flow) or payer.in_band < self.rules.count_least:
            return None
        flows = [each for each in payer.flows if self._is_in_band(each)]
        return _finding(Pattern.STRUCTURING, flow.payer, flows)

    def _splitting(self, flow: Flow) -> Finding | None:
        if flow.amount >= self.rules.threshold:
            return None
        payer = self._payers[flow.payer]
        count, total = payer.small[flow.payee]
        enough = total * _ALL >= self.rules.threshold * self.rules.split_multiple_share
        if count < self.rules.split_count_least or not enough:
            return None
        flows = [each for each in payer.flows if each.payee == flow.payee and each.amount < self.rules.threshold]
        return _finding(Pattern.SPLITTING, flow.payer, flows)

    def _loop(self, flow: Flow) -> Finding | None:
        """Look for a way from this payment's payee, forward in time, to its payer: then the money is back.

        Shorter loops are found first. A way that meets a party twice is none.
        """
        ways: list[tuple[int, tuple[Flow, ...]]] = [(flow.payee, ())]
        for _ in range(self.rules.loop_hops_max - 1):
            onward: list[tuple[int, tuple[Flow, ...]]] = []
            for party, way in ways:
                for each in self._comparable(party, flow.amount, way[-1].at_ns if way else 0):
                    if each.payee == flow.payer:
                        return _finding(Pattern.LOOP, flow.payee, [*way, each, flow])
                    if each.payee != flow.payee and all(each.payee != taken.payee for taken in way):
                        onward.append((each.payee, (*way, each)))
            ways = onward[: self.rules.degree_max]
        return None

    def _comparable(self, party: int, amount: int, since_ns: int) -> list[Flow]:
        payer = self._payers.get(party)
        found: list[Flow] = []
        if payer is None:
            return found
        for each in islice(reversed(payer.flows), SCAN_MAX):
            if each.at_ns < since_ns or len(found) >= self.rules.degree_max:
                break
            small, large = sorted((each.amount, amount))
            if small * _ALL >= large * self.rules.loop_share:
                found.append(each)
        return found


def _finding(pattern: Pattern, party: int, flows: list[Flow]) -> Finding:
    total = sum(each.amount for each in flows)
    return Finding(pattern, party, len(flows), total, tuple(each.id for each in flows[-EVIDENCE_MAX:]))


def check_invariants(watch: PatternWatch) -> None:
    """Demand that the sums are those of the flows kept; raises InvariantBroken."""
    kept = [each for payer in watch._payers.values() for each in payer.flows]  # noqa: SLF001 - this module's own
    if len(kept) != len(watch) or len(watch) > watch.rules.flows_max:
        raise InvariantBroken("patterns_kept", {"kept": len(kept), "flows": len(watch)})
    for number, payer in watch._payers.items():  # noqa: SLF001
        small = [each for each in payer.flows if each.amount < watch.rules.threshold]
        if sum(count for count, _ in payer.small.values()) != len(small):
            raise InvariantBroken("patterns_small", {"payer": number})
        if sum(total for _, total in payer.small.values()) != sum(each.amount for each in small):
            raise InvariantBroken("patterns_totals", {"payer": number})
