"""Whole relay networks under faults and liars from seeds; the seeds of a change come from its commit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from clearspan.simulation.command import command
from clearspan.simulation.relay import RelaySimulationFailed, Tally, simulate_relay
from clearspan.simulation.relay.latency import simulate_latency
from clearspan.simulation.relay.plan import LIES, RESTORES, Mode, fault_max, is_quorum, make_plan
from tests.simulation.relay_mutants import LIVENESS, SAFETY, broken

# Processor time, so that a busy machine does not test less.
BUDGET_S = 50
NIGHT_S = 1_500
MUTANT_BUDGET_S = 20
MS = 1_000_000


def kept_seeds() -> list[int]:
    lines = (Path(__file__).parent / "relay_seeds.txt").read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


def first_seed(root) -> int:
    """A number from the commit, so that every change meets other seeds and anyone can run them again."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False).stdout
    return int(head[:8] or "0", 16)


@pytest.mark.parametrize("seed", kept_seeds())
def test_a_seed_that_once_failed_passes(seed: int) -> None:
    simulate_relay(seed)


@pytest.mark.timeout(3600)
def test_seeds_of_this_commit(repository_root, nightly: bool) -> None:
    """As many seeds as the budget holds; between them every fault, every liar and every state was reached."""
    seed = start = first_seed(repository_root)
    print(f"clearspan simulate --part relay --seeds {start}:…")
    tally = Tally()
    deadline = time.process_time() + (NIGHT_S if nightly else BUDGET_S)
    while time.process_time() < deadline:
        tally.add(simulate_relay(seed))
        seed += 1
    print(f"{tally.seeds} seeds, {tally.heights} heights, {tally.messages} messages, {tally}")
    assert tally.unreached == []


def test_a_run_is_a_function_of_its_seed() -> None:
    """The same messages at the same instants, whatever else the process did, and in any other process."""
    seed = 8
    one, other = simulate_relay(seed), simulate_relay(seed + 1)
    again = simulate_relay(seed)
    assert (one.trace, one.tip, one.settled_ns) == (again.trace, again.tip, again.settled_ns)
    assert one.trace != other.trace
    program = f"from clearspan.simulation.relay import simulate_relay; print(simulate_relay({seed}).trace)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=100
    )
    assert int(told.stdout) == one.trace


def test_plans_keep_the_law_that_they_test_and_rotate_through_all_kinds() -> None:
    plans = [make_plan(seed) for seed in range(600)]
    for plan in plans:
        lying = sum(plan.powers[index] for index in plan.lies)
        honest = [index for index in range(plan.count) if index not in plan.lies and index != plan.restored]
        if plan.mode in (Mode.LIARS, Mode.RESTORED):
            assert lying <= fault_max(plan.powers)
            assert is_quorum(plan.powers, honest)
        else:
            assert lying > fault_max(plan.powers)
            assert honest
    assert {lie for plan in plans for lies in plan.lies.values() for lie in lies} == {*LIES, "cartel"}
    assert {plan.restore_kind for plan in plans} == {*RESTORES, ""}
    assert {plan.count for plan in plans} == {4, 7, 10}


def test_a_failing_seed_prints_the_line_that_shows_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with broken(SAFETY[0]):
        answer = CliRunner().invoke(command, ["--part", "relay", "--seeds", "1000:1010"])
    assert answer.exit_code == 4
    assert "again: clearspan simulate --part relay --seeds 100" in answer.output
    assert CliRunner().invoke(command, ["--part", "relay", "--seeds", "5:6", "--json"]).exit_code == 0


# Broken on purpose. The figures of all stand in MUTATIONS.md; here those that break the pillars of agreement.
QUICK = (
    "quorum_is_half",
    "lock_is_ignored",
    "neither_lock_nor_timeouts",
    "votes_are_not_written",
    "any_vote_in_any_view",
    "guilt_is_believed",
    "old_records_are_trusted",
    "governance_without_approvals",
    "laggards_are_not_helped",
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", QUICK)
def test_a_broken_core_is_caught(name: str) -> None:
    """The simulation sees a core that was broken on purpose, within a few seeds."""
    mutant = next(each for each in (*SAFETY, *LIVENESS) if each.__name__ == name)
    with broken(mutant), pytest.raises(RelaySimulationFailed):
        for seed in range(1000, 1040):
            simulate_relay(seed)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mutant", (*SAFETY, *LIVENESS), ids=lambda mutant: mutant.__name__)
def test_every_broken_core_is_caught(mutant) -> None:
    with broken(mutant), pytest.raises(Exception):  # noqa: B017 - a core that is broken may also break down
        for seed in range(1000, 1400):
            simulate_relay(seed)


# Latency in virtual time.


def test_a_sealed_header_has_its_certificate_after_five_links_and_its_wait() -> None:
    """An offer, a proposal, two votes and a certificate between them: five links; idle, nothing else waits."""
    figures = simulate_latency(4, 10 * MS, 12, 1, seal_ns=400 * MS)
    assert figures.views_failed == 0
    assert 50 * MS <= figures.certificate_p50_ns <= 100 * MS
    assert figures.certificate_p50_ns + 10 * MS == figures.final_p50_ns


def test_messages_of_a_block_grow_with_the_number_of_members_and_no_faster() -> None:
    small, large = simulate_latency(4, 5 * MS, 5, 1), simulate_latency(16, 5 * MS, 5, 1)
    assert small.messages_per_block <= 5 * 3 * 1.4
    assert large.messages_per_block <= 5 * 15 * 1.4
    assert large.messages_per_block / small.messages_per_block < 6


def test_a_network_too_small_to_agree_is_refused() -> None:
    with pytest.raises(ValueError, match="4 validators"):
        simulate_latency(3, MS, 1)
