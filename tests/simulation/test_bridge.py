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
from clearspan.simulation.bridge.plan import Plan
from clearspan.simulation.command import command
from tests.simulation.bridge_mutants import MUTANTS, broken, focused, reveal_before_all_legs

# Processor time, so that a busy machine does not test less.
BUDGET_S = 25
NIGHT_S = 1_500
STEPS_MAX = 16
DOWN_NS = 3_000_000_000


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
        {"holds": {0: (200_000_000_000, True)}},
        {"holds": {1: (1, False)}},
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
    """As many seeds as the budget holds; between them every fault, villain, outcome and refusal was reached."""
    seed = start = first_seed(repository_root)
    print(f"clearspan simulate --part bridge --seeds {start}:…")
    tally = BridgeTally()
    deadline = time.process_time() + (NIGHT_S if nightly else BUDGET_S)
    while time.process_time() < deadline:
        tally.add(simulate_bridge(seed))
        seed += 1
    print(f"{tally.seeds} seeds, {tally.swaps} swaps, {tally.steps} steps, {tally.checks} checks")
    assert tally.unreached == []


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
        holds={},
        downs=[],
        skews={},
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("foreign", "ledgers"), [("", 2), ("", 4), ("first", 1), ("last", 2)])
def test_a_crash_of_any_party_at_any_step_costs_nothing(foreign: str, ledgers: int) -> None:
    """Each party dies before each of its steps and comes back: everything settles all the same."""
    plan = quiet(foreign, ledgers)
    runs = 0
    for party in range(plan.legs):
        for step in range(STEPS_MAX):
            report = simulate_bridge(0, replace(plan, crashes={party: [(step, DOWN_NS)]}))
            # Dead before the first entry the payer has begun nothing; from then on everything settles.
            expected = 0 if (party, step) == (0, 0) else plan.legs
            assert report.reached["settled"] == expected, (party, step, report.reached)
            runs += 1
    assert runs == plan.legs * STEPS_MAX


@pytest.mark.timeout(600)
def test_every_order_of_lock_reveal_consumption_and_refund_around_the_timelock() -> None:
    """T-3 to T+3 for both relay blocks and both shards' clocks: the relay alone decides, and both legs end alike."""
    report = enumerate_orders(3)
    assert report.courses == 2 * 28 * (2 * 3 * 7 + 2 * 3 * 3)
    assert report.pairs == 2 * 28 * 9 * 7 * 3
    assert min(report.ends.values()) > 100
    assert enumerate_chain_orders(3) == 28


def test_a_failing_seed_prints_the_line_that_shows_it_again() -> None:
    with broken(reveal_before_all_legs):
        answer = CliRunner().invoke(command, ["--part", "bridge", "--seeds", "0:40"])
    assert answer.exit_code == 4
    assert "again: clearspan simulate --part bridge --seeds " in answer.output
    assert CliRunner().invoke(command, ["--part", "bridge", "--seeds", "5:6", "--json"]).exit_code == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [mutant.name for mutant in MUTANTS])
def test_a_broken_bridge_is_caught(name: str) -> None:
    """The simulation sees a bridge that was broken on purpose, within a few seeds; MUTATIONS-bridge.md has the figures."""
    mutant = next(each for each in MUTANTS if each.name == name)
    with broken(mutant.patch), pytest.raises(BridgeSimulationFailed):
        for seed in range(mutant.seeds_max):
            simulate_bridge(seed, focused(mutant, seed))
