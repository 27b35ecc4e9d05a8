"""What runs reached: faults, classes of liars, states of the protocol, decisions; and what none of them did.

A class that stays unreached over a whole budget proves nothing, so whoever runs many seeds asks ``unreached``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from clearspan.simulation.relay.plan import LIES, RESTORES

__all__ = ["DROPPED", "FAULTS", "REFUSALS", "SIZES", "STATES", "RelayReport", "Tally"]

FAULTS: Final = (
    "loss",
    "delay",
    "doubled",
    "reordered",
    "partition",
    "one_way",
    "muted",
    "leader_muted",
    "flapping",
    "isolated",
    "crash",
    "crash_between_actions",
    "crash_all",
    "torn_write",
    "slow_disk",
    "stopped",
    "skew",
    "clock_back",
    "clock_jump",
    "clock_rate",
    *RESTORES,
)
"""What happens to members and wires."""

STATES: Final = (
    "lock_held",
    "proposed_again",
    "timeouts_with_high",
    "joined_timeout",
    "view_3",
    "block_requested",
    "parent_certificate_decides",
    "restored",
    "recall_ended",
    "behind",
    "synced_blocks",
    "checkpoint_sync",
    "silent_behind",
    "penalty",
    "set_changed",
    "set_changed_in_later_view",
    "key_rotated",
    "member_added",
    "member_removed",
    "observer",
    "weighted",
    "suites_mixed",
    "sm3",
    "evidence_conflicting_votes",
    "evidence_denied_certificate",
    "noted",
    "header_anchored",
    "continuity_over_gap",
    "verified",
    "shard_forked",
    "shard_claim_disputed",
    "shard_claim_suspended",
    "shard_silent",
    "shard_broken",
    "shard_resumed",
    "reveal",
    "epoch_length",
    "drift",
    "slot_map",
    "corridor",
    "block_key",
    "light_followed",
    "fork",
    "fork_blamed",
    "blamed_conflicting_votes",
    "blamed_denied_certificate",
    "halted",
)
"""What the protocol and the chain came through."""


REFUSALS: Final = (
    "certificate_invalid",
    "certificate_malformed",
    "certificate_missing",
    "certificate_overlong",
    "double_proposal",
    "double_vote",
    "forged_signature",
    "locked",
    "malformed",
    "old_height",
    "old_view",
    "stale_answer",
    "statement",
    "wrong_genesis",
    "wrong_height",
    "wrong_phase",
    "wrong_set",
)
"""Reasons for which honest members refuse messages: each guard of the core that lies run into."""

DROPPED: Final = ("stall", "unasked", "wrong_kind", "malformed")
"""Reasons for which honest members drop peers in catching up."""

SIZES: Final = (4, 7, 10)
"""How many members networks have."""


@dataclass(slots=True)
class RelayReport:
    """What one run reached. ``settled_ns``: how long after the faults all honest members were five heights further."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    lies: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    count: int = 0
    heights: int = 0
    messages: int = 0
    settled_ns: int = 0
    bound_ns: int = 0
    trace: int = 0
    tip: str = ""

    def fault(self, name: str) -> None:
        """Note a fault."""
        self.faults[name] += 1

    def lie(self, name: str) -> None:
        """Note what a liar did."""
        self.lies[name] += 1

    def state(self, name: str) -> None:
        """Note a state of the protocol."""
        self.states[name] += 1


@dataclass(slots=True)
class Tally:
    """Many runs together: in how many seeds each class was reached."""

    seeds: int = 0
    heights: int = 0
    messages: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    lies: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    settled_ns_max: int = 0
    settled_share_max: float = 0.0

    def add(self, report: RelayReport) -> None:
        """Count a run."""
        self.seeds += 1
        self.heights += report.heights
        self.messages += report.messages
        self.sizes[report.count] += 1
        self.faults.update(report.faults.keys())
        self.lies.update(report.lies.keys())
        self.states.update(report.states.keys())
        self.refused.update(report.refused)
        self.dropped.update(report.dropped)
        self.settled_ns_max = max(self.settled_ns_max, report.settled_ns)
        if report.bound_ns:
            self.settled_share_max = max(self.settled_share_max, report.settled_ns / report.bound_ns)

    def join(self, other: Tally) -> None:
        """Count what other runs reached."""
        self.seeds += other.seeds
        self.heights += other.heights
        self.messages += other.messages
        self.sizes.update(other.sizes)
        for mine, its in (
            (self.faults, other.faults),
            (self.lies, other.lies),
            (self.states, other.states),
            (self.refused, other.refused),
            (self.dropped, other.dropped),
        ):
            mine.update(its)
        self.settled_ns_max = max(self.settled_ns_max, other.settled_ns_max)
        self.settled_share_max = max(self.settled_share_max, other.settled_share_max)

    @property
    def unreached(self) -> list[str]:
        """The classes that no run reached, by name."""
        missing = [name for name in FAULTS if name not in self.faults]
        missing += [name for name in LIES if name not in self.lies]
        missing += [name for name in STATES if name not in self.states]
        missing += [f"refused {name}" for name in REFUSALS if name not in self.refused]
        missing += [f"dropped {name}" for name in DROPPED if name not in self.dropped]
        return missing + [f"{size} members" for size in SIZES if size not in self.sizes]
