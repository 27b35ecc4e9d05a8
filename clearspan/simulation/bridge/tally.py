"""One seed's report, the sum of many, and what they must have reached between them to prove anything."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from bridge.refusals import BridgeCode
from clearspan.simulation.bridge.plan import VILLAINS_OF_PAYERS, VILLAINS_OF_PROVIDERS, Plan
from clearspan.simulation.bridge.scene import Scene
from engine.refusals import InvariantBroken
from native.errors import InvariantBroken as KernelInvariantBroken

__all__ = ["REACHED", "REFUSALS", "BridgeReport", "BridgeTally", "simulate_bridge"]

REACHED: Final = (
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
    "held_seen",
    "bad_preimage_refused",
    "foreign_lock_id_taken",
    "settled",
    "refunded",
    "abandoned",
    "kept",
    "alarm_half_margin",
    "alarm_leg_differs",
    "alarm_leg_stalled",
    "quiet",
    *(f"payer_{name}" for name in VILLAINS_OF_PAYERS),
    *(f"provider_{name}" for name in VILLAINS_OF_PROVIDERS),
)
"""Faults, villains and outcomes that a few hundred seeds must reach between them."""

REFUSALS: Final = (
    "swap_too_short",
    "margin_too_small",
    "leg_order_unsafe",
    "hash_reused",
    "quote_exhausted",
    "provider_refused",
)


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
        self.reached.update(report.reached.keys())
        self.refusals += report.refusals

    @property
    def unreached(self) -> list[str]:
        """What no seed has reached."""
        return [name for name in REACHED if name not in self.reached] + [
            name for name in REFUSALS if name not in self.refusals
        ]


def simulate_bridge(seed: int, plan: Plan | None = None) -> BridgeReport:
    """Run one seed, or another plan under its number; raises BridgeSimulationFailed naming what did not hold."""
    scene = Scene(plan or Plan.of(seed))
    try:
        scene.run()
    except (InvariantBroken, KernelInvariantBroken) as broken:
        scene.checks.fail(f"{broken}")
    if scene.verifier.lies:
        scene.reach("lie_refused")
    trace = hashlib.sha256()
    for party in scene.parties:
        trace.update(b"".join(party.journal))
    for place in scene.places:
        trace.update(place.core.machines[place.shard].state_root())
    return BridgeReport(
        seed=seed,
        reached=scene.reached,
        refusals=Counter(
            {name: count for name, count in scene.codes.items() if name.upper() in BridgeCode.__members__}
        ),
        swaps=scene.swap_count,
        steps=sum(party.steps for party in scene.parties),
        checks=scene.checks.steps,
        trace=trace.hexdigest(),
    )
