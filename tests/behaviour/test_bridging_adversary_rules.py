"""Rules under somebody who only asks: what does not begin takes nobody's place."""

from __future__ import annotations

from msgspec.structs import replace

from bridge.refusals import BridgeCode
from engine.types import BreakerGrade
from tests.behaviour.bridge_papers import FIRST, PAYER, S
from tests.behaviour.bridging_world import play, refused
from tests.behaviour.test_bridging_rules import notice


def test_who_asks_and_does_not_begin_leaves_others_their_places_under_slow(tmp_path) -> None:
    """On both sides: one a second may begin, and ten that were cleared and came to nothing count for none."""

    async def body(world) -> None:
        corridor = world.documents[0].id_bytes
        bridge, payer, provider = (world.bridge(), *(world.engines[each].compliance for each in (PAYER, FIRST)))
        order = world.order(100)
        sealed = bridge.planner.seal(order, world.now)
        for compliance in (payer, provider):
            compliance.breakers.apply(notice(BreakerGrade.SLOW, rate=1))
            for _ in range(10):
                found = (
                    compliance.clear(order, sealed.terms, world.now)
                    if compliance is payer
                    else compliance.admit(sealed.terms, 1, world.documents[0], b"", world.now)
                )
                compliance.give_back(found.taken)
            assert not compliance.breakers.demand(corridor, world.now)
            compliance.began(b"p" * 32, found)
            refused(BridgeCode.LIMITS_EXCEEDED, compliance.breakers.demand, corridor, world.now)
            assert not compliance.breakers.demand(corridor, world.now + S)
        refused(BridgeCode.LIMITS_EXCEEDED, bridge.begin, replace(order, uetr=b"b" * 16))

    play(tmp_path, body)
