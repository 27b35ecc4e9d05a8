"""Held payments: owner, clock and outcome, over restarts, late decisions, and whoever may not decide."""

from __future__ import annotations

import pytest

from bridge.cases import CaseState, Step
from bridge.ports import Outcome
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import Screen
from clearspan.bridging.rules.held import Screening
from tests.behaviour.bridge_papers import PAYER, S
from tests.behaviour.bridging_world import play, refused
from tests.behaviour.test_bridging_rules import LISTED, LISTED_NAMES, decide

RULES = Screening(Screen(LISTED, 1), 3, hold_ns=10 * S)


def held(world) -> str:
    """Order what is held; return its case."""
    with pytest.raises(BridgeRefused) as caught:
        world.bridge().begin(world.order(), names=LISTED_NAMES)
    assert caught.value.code is BridgeCode.SCREENING_HOLD
    return caught.value.text.split()[-1]


def test_a_clock_that_ends_while_the_bridge_is_down_ends_the_case(tmp_path) -> None:
    """It is no lost case: after the restart it expires, somebody is called, and the payment does not happen."""

    async def body(world) -> None:
        case_id = held(world)
        await world.engines[PAYER].committed()
        await world.close(PAYER)
        world.now += 11 * S
        engine = world.open(PAYER)
        case = engine.compliance.cases.case(case_id)
        assert (case.state, case.opened.owner) == (CaseState.OPEN, PAYER)
        refused(BridgeCode.TERMS_MALFORMED, engine.compliance.step, case_id, Step.TAKE, "a", world.now)
        engine.telling.call_out(engine.compliance.tick(world.now))
        assert case.state is CaseState.EXPIRED
        assert [each.text for each in engine.telling.alarms.open()] == [
            f"case {case_id} ended undecided: its payment does not happen"
        ]
        refused(BridgeCode.PROVIDER_REFUSED, world.bridge().begin, world.order(), names=LISTED_NAMES)
        await engine.committed()
        await world.close(PAYER)
        assert world.open(PAYER).compliance.cases.case(case_id).state is CaseState.EXPIRED
        assert len(world.engines[PAYER].book) == 0

    play(tmp_path, body, screening=RULES)


def test_a_decision_at_the_end_of_the_clock_is_too_late(tmp_path) -> None:
    """One ns before it counts; a proposal that nobody confirmed ends with the clock."""

    async def body(world) -> None:
        compliance, case_id = world.engines[PAYER].compliance, held(world)
        end = compliance.cases.case(case_id).opened.deadline
        compliance.step(case_id, Step.TAKE, "a", end - 2)
        compliance.step(case_id, Step.PROPOSE_RELEASE, "a", end - 1, "looked")
        refused(BridgeCode.TERMS_MALFORMED, compliance.step, case_id, Step.CONFIRM, "b", end)
        compliance.tick(end)
        assert compliance.cases.case(case_id).state is CaseState.EXPIRED
        refused(BridgeCode.TERMS_MALFORMED, compliance.step, case_id, Step.CONFIRM, "b", end - 1)

    play(tmp_path, body, screening=RULES)


def test_a_half_decided_case_is_half_decided_after_a_restart(tmp_path) -> None:
    """Who proposed is known: he is still not the second pair of eyes, and another one is."""

    async def body(world) -> None:
        compliance, case_id = world.engines[PAYER].compliance, held(world)
        compliance.step(case_id, Step.TAKE, "a", world.now)
        compliance.step(case_id, Step.PROPOSE_RELEASE, "a", world.now, "looked")
        await world.engines[PAYER].committed()
        await world.close(PAYER)
        compliance = world.open(PAYER).compliance
        refused(BridgeCode.APPROVAL_REQUIRED, compliance.step, case_id, Step.CONFIRM, "a", world.now)
        refused(BridgeCode.APPROVAL_REQUIRED, compliance.step, case_id, Step.OBJECT, "a", world.now, "no")
        compliance.step(case_id, Step.CONFIRM, "b", world.now)
        swap = world.bridge().begin(world.order(), names=LISTED_NAMES)
        await world.run()
        assert swap.outcome is Outcome.SETTLED

    play(tmp_path, body, screening=RULES)


def test_a_release_whose_swap_came_back_may_be_used_once_more(tmp_path) -> None:
    """What was released is the payment, not one attempt at it; when it has settled the release is used up."""

    async def body(world) -> None:
        compliance, case_id = world.engines[PAYER].compliance, held(world)
        decide(compliance, case_id, world.now)
        bridge, order = world.bridge(), world.order()
        first = bridge.begin(order, names=LISTED_NAMES)
        terms = bridge.planner.seal(order, world.now).terms
        # The rules by themselves: the UETR of a swap that runs is refused before they are asked.
        error = refused(BridgeCode.DUPLICATE_SWAP, compliance.clear, order, terms, world.now, names=LISTED_NAMES)
        assert "was released for one swap" in error.text
        await world.run(hold_back=True)
        world.reveals.clear()
        world.end_locks(None)
        world.time_passes(90)
        await world.run()
        assert first.outcome is Outcome.REFUNDED
        second = world.bridge().begin(world.order(), names=LISTED_NAMES)
        await world.run()
        assert second.outcome is Outcome.SETTLED
        refused(BridgeCode.DUPLICATE_SWAP, world.bridge().begin, world.order(), names=LISTED_NAMES)

    play(tmp_path, body, screening=RULES)
