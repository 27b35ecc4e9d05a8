"""One seed of the bridge, run to its end: a report of what it reached, or a failure that names what did not hold."""

from __future__ import annotations

import hashlib

from structlog.testing import capture_logs

from clearspan.simulation.bridge.coverage import BridgeReport
from clearspan.simulation.bridge.plan import Plan
from clearspan.simulation.bridge.scene import Scene
from engine.refusals import InvariantBroken
from native.errors import InvariantBroken as KernelInvariantBroken

__all__ = ["simulate_bridge"]


def simulate_bridge(seed: int, plan: Plan | None = None) -> BridgeReport:
    """Run one seed, or another plan under its number; raises BridgeSimulationFailed naming what did not hold."""
    plan = plan or Plan.of(seed)
    scene = Scene(plan)
    stage = scene.stage
    try:
        # What the parts log of a world that is not concerns nobody.
        with capture_logs():
            scene.run()
    except (InvariantBroken, KernelInvariantBroken) as broken:
        stage.fail(f"{broken}")
    if stage.verifier.lies:
        stage.reach("lie_refused")
    stage.reach(f"legs_{plan.legs}")
    for place in stage.places:
        stage.reach(f"shards_{len(place.machines)}")
    if plan.foreign:
        stage.reach(f"foreign_{plan.foreign}")
    if stage.reached["settled"]:
        stage.reach(f"settled_over_{plan.legs - 1}_hops")
    trace = hashlib.sha256()
    for party in scene.parties:
        trace.update(b"".join((*party.journal, *party.desk_log)))
    for place in stage.places:
        for machine in place.machines:
            trace.update(machine.state_root())
    return BridgeReport(
        seed=seed,
        reached=stage.reached,
        refusals=stage.codes,
        swaps=len(stage.swaps),
        steps=sum(party.steps for party in scene.parties),
        checks=scene.checks.steps,
        trace=trace.hexdigest(),
    )
