"""Swaps under faults and malicious counterparties from seeds; the seeds of a change come from its commit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from clearspan.simulation.bridge import BridgeSimulationFailed, BridgeTally, simulate_bridge
from clearspan.simulation.bridge.orders import enumerate_chain_orders, enumerate_orders
from clearspan.simulation.bridge.papers import FAULTS_OF_ENVELOPES, Closing, Papers, Ruling, Spoilt
from clearspan.simulation.bridge.plan import Plan
from clearspan.simulation.bridge.rules import Deal, Kind, Measure, Phase, Threshold, Verdict
from clearspan.simulation.command import command
from engine.types import BreakerGrade
from tests.simulation.bridge_gate_mutants import GATE_MUTANTS
from tests.simulation.bridge_mutants import MUTANTS, broken, focused, reveal_before_all_legs

# Processor time, so that a busy machine does not test less.
COVERING = range(200)
BUDGET_S = 20
"""And once more as much where a class of events is still unreached."""
NIGHT_S = 1_500
STEPS_MAX = 24
STRIDE = 4
"""Of the steps at which parties are killed the day takes each fourth, which ones depends on the commit."""
DOWN_NS = 3_000_000_000
SECOND = 1_000_000_000
ALL_MUTANTS = (*MUTANTS, *GATE_MUTANTS)
PRICED = Deal(fee=(3, 0), volatility_ppb=60_000_000)


def kept_seeds() -> list[int]:
    lines = (Path(__file__).parent / "bridge_seeds.txt").read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


def first_seed(root) -> int:
    """A number from the commit, so that every change meets other seeds and anyone can run them again."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False).stdout
    return int(head[:8] or "0", 16)


@pytest.mark.timeout(600)
def test_seeds_that_once_failed_pass() -> None:
    for seed in kept_seeds():
        simulate_bridge(seed)


@pytest.mark.parametrize(
    "fault",
    [
        # A held lock that was refused in the end stayed "seen" for its payer, who never finished.
        {"thresholds": {0: Threshold(1, 60 * SECOND, Verdict.RELEASE, 200 * SECOND)}},
        {"thresholds": {1: Threshold(1, 60 * SECOND, Verdict.REJECT, 1)}},
        # A node whose clock lay behind the relay's had its headers refused.
        {"skews": {"place:0": -74_000_000_000}},
        # An operator that lied kept a provider from seeing how its leg had ended.
        {"liars": {0: "forges", 1: "denies"}},
    ],
)
def test_a_course_that_once_failed_passes(fault) -> None:
    for foreign, ledgers in (("", 2), ("last", 2), ("first", 2)):
        simulate_bridge(0, replace(quiet(foreign, ledgers), **fault))


@pytest.mark.timeout(3600)
def test_seeds_of_this_commit(repository_root, nightly: bool) -> None:
    """As many seeds as the budget holds; between them every fault, villain, outcome and refusal was reached.

    What a commit's few hundred miss by chance, seeds that never change must reach.
    """
    seed = start = first_seed(repository_root)
    print(f"clearspan simulate --part bridge --seeds {start}:…")
    tally = BridgeTally()
    budget_s, began = NIGHT_S if nightly else BUDGET_S, time.process_time()
    while time.process_time() - began < budget_s:
        tally.add(simulate_bridge(seed))
        seed += 1
    for covering in COVERING:
        if not tally.unreached:
            break
        tally.add(simulate_bridge(covering))
    print(f"{tally.seeds} seeds, {tally.swaps} swaps, {tally.steps} steps, {tally.checks} checks")
    assert tally.unreached == []
    if nightly:
        assert tally.unreached_rare == []


def test_a_run_is_a_function_of_its_seed() -> None:
    """The same journals and ledgers, whatever else the process did, and in any other process."""
    seed = 8
    one, other = simulate_bridge(seed), simulate_bridge(seed + 1)
    assert one == simulate_bridge(seed)
    assert one.trace != other.trace
    program = f"from clearspan.simulation.bridge import simulate_bridge; print(simulate_bridge({seed}).trace)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=100
    )
    assert told.stdout.strip() == one.trace


def quiet(foreign: str, ledgers: int) -> Plan:
    """A plan in which nothing goes wrong."""
    return replace(
        Plan.of(0),
        ledgers=ledgers,
        foreign=foreign,
        swaps=1,
        spare_ns=30_000_000_000,
        beyond=False,
        villains={},
        crashes={},
        losses=0.0,
        doubled=0.0,
        relay_stalls=[],
        chain_stalls=[],
        partitions=[],
        reorgs=[],
        lags={},
        liars={},
        downs=[],
        skews={},
        deal=PRICED,
        thresholds={},
        measures=[],
        papers=Papers(),
        closings=[],
    )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("foreign", "ledgers"), [("", 2), ("", 4), ("first", 1), ("last", 2)])
def test_a_crash_of_any_party_at_any_step_costs_nothing(
    foreign: str, ledgers: int, repository_root, nightly: bool
) -> None:
    """Each party dies before each of its steps and comes back: everything settles all the same, to the last unit."""
    plan = quiet(foreign, ledgers)
    stride, chosen = (1, 0) if nightly else (STRIDE, first_seed(repository_root) % STRIDE)
    runs = 0
    for party in range(plan.legs):
        for step in range((chosen - party) % stride, STEPS_MAX, stride):
            report = simulate_bridge(0, replace(plan, crashes={party: [(step, DOWN_NS)]}))
            # Dead before the first entry the payer has begun nothing; from then on everything settles.
            expected = 0 if (party, step) == (0, 0) else plan.legs
            assert report.reached["settled"] == expected, (party, step, report.reached)
            runs += 1
    assert runs == plan.legs * STEPS_MAX // stride


@pytest.mark.parametrize("ledgers", [2, 3])
@pytest.mark.parametrize("kind", list(Kind))
def test_no_rule_stops_a_claim_after_the_reveal(kind: Kind, ledgers: int) -> None:
    """A measure on who pays or is paid, on every ledger, between the reveal and the claim: everything settles."""
    measures = [
        Measure(index, kind, Phase.REVEALED, subject, index + side, 60 * SECOND)
        for index in range(ledgers)
        for side, subject in ((0, 1), (1, 3))
    ]
    report = simulate_bridge(1, replace(quiet("", ledgers), seed=1, deal=Deal(), measures=measures))
    assert report.reached[f"measure_{kind.value}_revealed"] == len(measures)
    assert report.reached["settled"] == ledgers


@pytest.mark.parametrize(
    ("verdict", "delay_s", "hold_s", "end"),
    [
        (Verdict.RELEASE, 2, 60, "settled"),
        (Verdict.REJECT, 2, 60, "refunded"),
        (Verdict.NOTHING, 0, 15, "refunded"),
        # Released when the timelock is too near: the ledger rejects it, and the money is back.
        (Verdict.RELEASE, 90, 300, "refunded"),
    ],
)
@pytest.mark.parametrize("index", [0, 1])
def test_a_held_leg_goes_on_or_comes_back(verdict: Verdict, delay_s: int, hold_s: int, end: str, index: int) -> None:
    """Two supervisors release, reject, are late or silent: the swap settles or everything comes back, nothing waits."""
    threshold = Threshold(500, hold_s * SECOND, verdict, delay_s * SECOND)
    plan = replace(quiet("", 2), thresholds={index: threshold})
    report = simulate_bridge(0, plan)
    assert report.reached["held_seen"]
    # A first leg that never stood leaves its payer with nothing to be refunded.
    assert report.reached[end] or (index == 0 and report.reached["abandoned"]), report.reached


def test_two_swaps_that_share_a_quote_draw_no_more_than_it_has() -> None:
    """Concurrent swaps of one payer under one quote that does not suffice for both: one settles, one is refused."""
    plan = replace(quiet("", 3), swaps=2, deal=replace(PRICED, shared=True))
    report = simulate_bridge(0, plan)
    assert report.reached["settled"] == plan.legs
    assert report.refusals["quote_exhausted"] >= 1
    assert report.reached["refunded"] == 1


@pytest.mark.parametrize("spoilt", FAULTS_OF_ENVELOPES)
@pytest.mark.parametrize(("foreign", "ledgers"), [("", 2), ("", 4), ("last", 1)])
def test_an_order_without_its_envelopes_begins_nothing(spoilt: Spoilt, foreign: str, ledgers: int) -> None:
    """It is refused before anything is locked; with the right envelopes the same order settles, and each is opened."""
    papers = Papers(travel_from=1, first_try=spoilt)
    plan = replace(quiet(foreign, ledgers), papers=papers)
    report = simulate_bridge(0, plan)
    assert report.reached[f"envelope_{spoilt.value}_refused"] == 1
    assert report.reached["envelope_opened"] == plan.legs - 1
    assert report.reached["settled"] == plan.legs


def test_only_hops_that_ask_for_data_need_them() -> None:
    """The first leg is below the amount from which data are asked, the second above it: all hops are sealed, or none."""
    deal = Deal(amount=1_000, rates=((5, 3),) * 4)
    plan = replace(quiet("", 3), deal=deal, papers=Papers(travel_from=1_200, first_try=Spoilt.MISSING))
    report = simulate_bridge(0, plan)
    assert report.reached["envelope_missing_refused"] == 1
    assert report.reached["settled"] == plan.legs


@pytest.mark.parametrize(
    ("ruling", "hold_s", "settles", "end"),
    [
        (Ruling.RELEASE, 60, True, "case_released"),
        (Ruling.OBJECT, 60, True, "case_objected"),
        (Ruling.REJECT, 60, False, "case_rejected"),
        (Ruling.NOTHING, 10, False, "case_expired"),
    ],
)
@pytest.mark.parametrize("crashes", [{}, {0: [(step, DOWN_NS) for step in (1, 3, 5)]}])
def test_a_listed_name_waits_for_two_people(
    ruling: Ruling, hold_s: int, settles: bool, end: str, crashes: dict[int, list[tuple[int, int]]]
) -> None:
    """Released by two it runs once; rejected, or with nobody to decide, it never begins. What was said is on record."""
    papers = Papers(screens=True, listed="payee", ruling=ruling, hold_ns=hold_s * SECOND, again=True)
    report = simulate_bridge(0, replace(quiet("", 2), papers=papers, crashes=crashes))
    assert report.reached[end]
    assert report.reached["settled"] == (2 if settles else 0)
    assert report.reached["outcome_on_record"] >= (2 if settles else 1)
    assert bool(report.reached["case_used"]) == settles


def test_a_name_that_scores_just_below_the_bound_passes() -> None:
    """At its score a name is held, one point below the bound it is not."""
    papers = Papers(screens=True, listed="payee", margin=1)
    report = simulate_bridge(0, replace(quiet("", 2), papers=papers))
    assert report.reached["settled"] == 2
    assert not report.reached["case_open"]


@pytest.mark.parametrize("foreign", ["", "first", "last"])
@pytest.mark.parametrize("grade", list(BreakerGrade))
def test_nothing_at_the_edge_stops_what_was_revealed(grade: BreakerGrade, foreign: str) -> None:
    """A breaker on every corridor and every name on the list, as soon as the secret is shown: everything settles."""
    plan = replace(quiet(foreign, 2), papers=Papers(screens=True, list_grows=True))
    first = int(foreign == "first")
    hops = range(1, plan.legs)
    closings = [Closing(hop, max(0, hop - 1 - first), grade, Phase.REVEALED, 300 * SECOND) for hop in hops]
    report = simulate_bridge(0, replace(plan, closings=closings))
    assert report.reached[f"corridor_{grade.name.lower()}_revealed"] == len(closings)
    assert report.reached["breaker_believed"] >= 1
    assert report.reached["settled"] == plan.legs


@pytest.mark.parametrize(
    ("grade", "said"), [(BreakerGrade.STOP, "corridor_closed"), (BreakerGrade.HOLD, "screening_hold")]
)
def test_a_corridor_that_is_closed_begins_nothing_until_it_is_open(grade: BreakerGrade, said: str) -> None:
    """A ledger decides it, everybody believes the proof, and it ends by itself; what was held runs when two let it."""
    plan = replace(quiet("", 2), closings=[Closing(1, 1, grade, Phase.BEFORE, 30 * SECOND)])
    report = simulate_bridge(0, plan)
    assert report.refusals[said] >= 1
    assert report.reached["breaker_believed"] == plan.legs
    assert report.reached["settled"] == plan.legs


@pytest.mark.parametrize("foreign", ["first", "last"])
def test_rates_and_fees_of_a_hop_with_a_chain_leave_nothing_there(foreign: str) -> None:
    """What a rate leaves over, and a fee, are transfers on our ledger; the chain has locks alone."""
    deal = Deal(amount=1_004, is_target=True, rates=((5, 3),) * 4, fee=(3, 0))
    report = simulate_bridge(0, replace(quiet(foreign, 1), deal=deal))
    assert report.reached["settled"] == 2
    assert report.reached["fee_or_remainder_paid"] >= 1


@pytest.mark.timeout(600)
def test_every_order_of_lock_reveal_consumption_and_refund_around_the_timelock(repository_root, nightly: bool) -> None:
    """T-3 to T+3 for both relay blocks and both shards' clocks: the relay alone decides, and both legs end alike.

    By day the shards seal at one of three places, which one depends on the commit.
    """
    seals = (0, 1, 2) if nightly else (first_seed(repository_root) % 3,)
    report = enumerate_orders(3, seals)
    assert report.courses == 2 * 28 * (2 * len(seals) * 7 + 2 * len(seals) * 3)
    assert report.pairs == 2 * 28 * len(seals) ** 2 * 7 * 3
    assert min(report.ends.values()) > 100
    assert enumerate_chain_orders(3) == 28


def test_a_failing_seed_prints_the_line_that_shows_it_again() -> None:
    with broken(reveal_before_all_legs):
        answer = CliRunner().invoke(command, ["--part", "bridge", "--seeds", "0:40"])
    assert answer.exit_code == 4
    assert "again: clearspan simulate --part bridge --seeds " in answer.output
    assert CliRunner().invoke(command, ["--part", "bridge", "--seeds", "5:6", "--json"]).exit_code == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [mutant.name for mutant in ALL_MUTANTS])
def test_a_broken_bridge_is_caught(name: str) -> None:
    """The simulation sees a bridge that was broken on purpose, within a few seeds; MUTATIONS-bridge.md has the figures."""
    mutant = next(each for each in ALL_MUTANTS if each.name == name)
    with broken(mutant.patch), pytest.raises(BridgeSimulationFailed):
        for seed in range(mutant.seeds_max):
            simulate_bridge(seed, focused(mutant, seed))
