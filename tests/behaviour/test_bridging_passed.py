"""A provider that was away while the leg before its own became final: no block tells it again, so it asks at once."""

from __future__ import annotations

from bridge.ports import Outcome
from tests.behaviour.bridge_papers import FIRST
from tests.behaviour.bridging_world import play

PATIENCE_S = 9
"""Five seconds until the payer asks again, and less than the time after which every leg is looked at anyway."""


def test_a_leg_that_stood_before_its_provider_watched_is_asked_for_at_once(tmp_path) -> None:
    """Goal: a restart costs moments and not the next look. Method: the provider is away while leg 0 becomes final."""

    async def body(world) -> None:
        world.forgetful = True
        order = world.order()
        world.engines[FIRST]._gathering.wake()
        await world.engines[FIRST].committed()
        await world.close(FIRST)
        swap = world.bridge().begin(order)
        await world.run()
        assert swap.outcome is None
        world.open(FIRST)
        began = world.now
        while swap.outcome is None and world.now < began + PATIENCE_S * 10**9:
            world.time_passes(1)
            for _ in range(20):
                await world.run_once()
        assert swap.outcome is Outcome.SETTLED

    play(tmp_path, body)
