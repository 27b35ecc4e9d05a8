"""What a provider asks of a swap that it is to accept: no envelope may be missing, and a slow corridor stays slow."""

from __future__ import annotations

from msgspec.structs import replace

from bridge.corridor_breakers import BreakerNotice
from bridge.refusals import BridgeCode
from clearspan.bridging.market.envelopes import demand_hop
from engine.types import BreakerGrade
from tests.behaviour.bridge_papers import CNY, FIRST, NOW, PAYER, S
from tests.behaviour.bridging_world import play, refused


def test_an_envelope_that_the_terms_name_is_shown_whatever_the_amount(tmp_path) -> None:
    """Small amounts need none; where one is named it is shown all the same, and what is not named is not shown."""

    async def body(world) -> None:
        swap = world.bridge().begin(world.order())
        document = world.documents[0]
        assert not document.needs_travel_rule(swap.terms.legs[0].amount)
        demand_hop(world.genesis, swap.terms, 1, document, b"")
        named = replace(swap.terms, travel_rule_hash=b"t" * 32)
        refused(BridgeCode.TRAVEL_RULE_MISSING, demand_hop, world.genesis, named, 1, document, b"")
        refused(BridgeCode.TRAVEL_RULE_MISSING, demand_hop, world.genesis, swap.terms, 1, document, b"part")

    play(tmp_path, body)


def test_a_provider_accepts_so_many_in_a_second_under_slow_and_draws_nothing_for_the_next(tmp_path) -> None:
    """Of two in one second the second is refused with no limit drawn; in the next second there is room again."""

    async def body(world) -> None:
        swap = world.bridge().begin(world.order())
        compliance, document = world.engines[FIRST].compliance, world.documents[0]
        slow = BreakerNotice(document.id_bytes, CNY, BreakerGrade.SLOW, 9, 1, NOW, NOW + 3_600 * S)
        assert compliance.breakers.apply(slow)
        compliance.began(swap.party, compliance.admit(swap.terms, 1, document, b"", NOW))
        used = compliance.usage.used(document.id_bytes, PAYER)
        assert used == (10_000, 10_000)
        refused(BridgeCode.LIMITS_EXCEEDED, compliance.admit, swap.terms, 1, document, b"", NOW)
        assert compliance.usage.used(document.id_bytes, PAYER) == used
        assert compliance.admit(swap.terms, 1, document, b"", NOW + S).taken

    play(tmp_path, body)
