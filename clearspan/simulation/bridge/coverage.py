"""What runs reached: faults, villains, rules of supervisors, outcomes, refusals; and what none of them did.

A class that stays unreached over a whole budget proves nothing, so whoever runs many seeds asks ``unreached``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from clearspan.simulation.bridge.papers import FAULTS_OF_ENVELOPES
from clearspan.simulation.bridge.plan import VILLAINS_OF_PAYERS, VILLAINS_OF_PROVIDERS
from clearspan.simulation.bridge.rules import Kind, Phase
from engine.types import BreakerGrade

__all__ = [
    "FAULTS",
    "OUTCOMES",
    "PAPERS",
    "RARE",
    "RARE_REFUSALS",
    "REFUSALS",
    "RULES",
    "SHAPES",
    "VILLAINS",
    "BridgeReport",
    "BridgeTally",
]

FAULTS: Final = (
    "loss",
    "doubled",
    "crash",
    "restart",
    "partition",
    "relay_stall",
    "chain_stall",
    "reorganisation",
    "node_down",
    "lagging_operator",
    "lie_refused",
    "foreign_lock_id_taken",
    "desk_restored_with_draws",
    "desk_snapshot",
    "catches_up",
)
"""What happens to parties, lines, nodes, relay and chain."""

VILLAINS: Final = (
    *(f"payer_{name}" for name in VILLAINS_OF_PAYERS),
    *(f"provider_{name}" for name in VILLAINS_OF_PROVIDERS),
    "bad_preimage_0",
    "bad_preimage_31",
    "bad_preimage_33",
    "bad_preimage_1_mib",
)
"""Whoever keeps no rule, and which."""

RULES: Final = (
    "held_seen",
    "held_by_threshold",
    "held_by_breaker",
    "held_by_tier",
    "hold_release_done",
    "hold_release_second_signature_required",
    "hold_release_signers_must_differ",
    "hold_release_signer_role_not_allowed",
    "hold_reject_done",
    "hold_ended_released",
    "hold_ended_hold_rejected",
    "hold_ended_hold_expired",
    *(f"measure_{kind.value}_{phase.value}" for kind in Kind for phase in Phase),
    "quote_on_ledger",
    "premium_awaited",
    "premium_paid",
    "fee_or_remainder_paid",
)
"""What supervisors do, and what is quoted and owed."""

PAPERS: Final = (
    "envelope_opened",
    "envelope_bound",
    *(f"envelope_{fault.value}_refused" for fault in FAULTS_OF_ENVELOPES),
    "case_of_screening",
    "case_open",
    "case_owned",
    "case_called_out",
    "case_release_proposed",
    "case_released",
    "case_rejected",
    "case_expired",
    "case_used",
    "case_step_approval_required",
    "case_step_officer_refused",
    "case_step_terms_malformed",
    "outcome_on_record",
    *(f"corridor_{grade.name.lower()}_{phase.value}" for grade in BreakerGrade for phase in Phase),
    "breaker_believed",
    "breaker_unproved",
    "breaker_invented_breaker_unproved",
    "breaker_unsigned_breaker_unproved",
    "breaker_refused_approval_required",
    "breaker_elsewhere_approval_required",
    "order_given_up",
)
"""What is asked before a swap begins: envelopes, cases and what officers do, outcomes, breakers of corridors."""

OUTCOMES: Final = (
    "settled",
    "refunded",
    "abandoned",
    "alarm_half_margin",
    "alarm_leg_differs",
    "alarm_leg_stalled",
    "quiet",
)
"""How swaps end."""

SHAPES: Final = (
    "legs_2",
    "legs_3",
    "legs_4",
    "shards_1",
    "shards_2",
    "shards_3",
    "shards_4",
    "credit_between_shards",
    "foreign_first",
    "foreign_last",
    "settled_over_2_hops",
)
"""What networks and swaps look like."""

RARE: Final = (
    "kept",
    "held_by_velocity",
    "hold_release_over",
    "hold_release_hold_rejected",
    "hold_reject_over",
    "bad_preimage_on_chain",
    "beside_refused",
    "premium_returned",
    "draw_ended_after_restart",
    "alarm_too_late_to_reveal",
    "settled_over_3_hops",
    "asked_while_it_catches_up",
    "case_objected",
    "case_of_manual",
    "order_sent_again",
)
"""What only many seeds reach: asked of long runs."""

REFUSALS: Final = (
    "swap_too_short",
    "quote_exhausted",
    "quote_expired",
    "quote_unknown",
    "legs_do_not_match",
    "leg_not_final",
    "premium_owed",
    "provider_refused",
    "travel_rule_missing",
    "screening_hold",
    "corridor_closed",
    "limits_exceeded",
    "duplicate_swap",
)
"""Codes of the bridge that honest parties answer villains with."""

RARE_REFUSALS: Final = ("leg_order_unsafe", "hash_reused")
"""Such codes that only many seeds reach."""


@dataclass(frozen=True, slots=True)
class BridgeReport:
    """What a seed reached; ``trace`` is a digest of every journal and every ledger's state at its end."""

    seed: int
    reached: Counter[str]
    refusals: Counter[str]
    swaps: int
    steps: int
    checks: int
    trace: str


@dataclass(slots=True)
class BridgeTally:
    """The sum of many seeds: in how many of them each class was reached, and how often each refusal was given."""

    seeds: int = 0
    swaps: int = 0
    steps: int = 0
    checks: int = 0
    reached: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)

    def add(self, report: BridgeReport) -> None:
        """Count a seed in."""
        self.seeds += 1
        self.swaps += report.swaps
        self.steps += report.steps
        self.checks += report.checks
        self.reached.update(name for name, count in report.reached.items() if count)
        self.refusals += report.refusals

    @property
    def unreached(self) -> list[str]:
        """What no seed has reached, but for what is rare."""
        classes = (*FAULTS, *VILLAINS, *RULES, *PAPERS, *OUTCOMES, *SHAPES)
        missing = [name for name in classes if name not in self.reached]
        return missing + [f"refused {name}" for name in REFUSALS if name not in self.refusals]

    @property
    def unreached_rare(self) -> list[str]:
        """What no seed has reached of that which takes many."""
        missing = [name for name in RARE if name not in self.reached]
        return missing + [f"refused {name}" for name in RARE_REFUSALS if name not in self.refusals]
