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
from clearspan.simulation.relay import Tally, simulate_relay
from clearspan.simulation.relay.latency import simulate_latency
from clearspan.simulation.relay.plan import LIES, RESTORES, Mode, fault_max, is_quorum, make_plan
from tests.simulation.relay_mutants import LIVENESS, MADE_UP_FOR, QUICK, SAFETY, broken
from tests.simulation.relay_night import first_seed, sweep

# Processor time, so that a busy machine does not test less. What is rare may take the longest once in a thousand changes.
BUDGET_S = 25
LONGEST_S = 130
NIGHT_S = 1_500
MS = 1_000_000


def kept_seeds() -> list[int]:
    lines = (Path(__file__).parent / "relay_seeds.txt").read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("seed", kept_seeds())
def test_a_seed_that_once_failed_passes(seed: int) -> None:
    simulate_relay(seed)


@pytest.mark.timeout(3600)
def test_seeds_of_this_commit(nightly: bool) -> None:
    """As many seeds as the budget holds; between them every fault, every liar, every refusal, every state was reached."""
    seed = start = first_seed()
    print(f"clearspan simulate --part relay --seeds {start}:…")
    tally = Tally()
    begun = time.process_time()
    while (spent := time.process_time() - begun) < (NIGHT_S if nightly else BUDGET_S) or (
        tally.unreached and spent < LONGEST_S
    ):
        tally.add(simulate_relay(seed))
        seed += 1
    print(f"{tally.seeds} seeds, {tally.heights} heights, {tally.messages} messages, {tally}")
    assert tally.unreached == []


@pytest.mark.timeout(600)
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
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=400
    )
    assert int(told.stdout) == one.trace


@pytest.mark.timeout(600)
def test_a_night_counts_what_its_processes_reached() -> None:
    tally, failed = sweep(range(21, 24), 600, 2)
    assert (tally.seeds, failed) == (3, [])
    assert sum(tally.sizes.values()) == 3
    assert tally.heights == sum(simulate_relay(seed).heights for seed in range(21, 24))


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


# Broken on purpose. The figures of all stand in MUTATIONS.md; here those that are seen within a few seeds.
QUICK_SEEDS = 80
# A seed that saw one that most do not see; it comes first, and the others after it.
SEEN_BY = {
    "timeouts_are_said_once": 1024,
    "lock_is_ignored": 1014,
    "commits_do_not_lock": 1014,
    "neither_lock_nor_timeouts": 1013,
    "guilt_is_believed": 1017,
    "quorum_is_two_thirds_reached": 1021,
}


def caught(mutant, seeds: range) -> bool:
    """Whether any of the seeds sees a core that is broken; such a core may also break down."""
    with broken(mutant):
        for seed in sorted(seeds, key=lambda seed: seed != SEEN_BY.get(mutant.__name__)):
            try:
                simulate_relay(seed)
            except Exception:  # noqa: BLE001
                return True
    return False


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "mutant", [each for each in (*SAFETY, *LIVENESS) if each in QUICK], ids=lambda each: each.__name__
)
def test_a_broken_core_is_caught_within_a_few_seeds(mutant) -> None:
    assert caught(mutant, range(1000, 1000 + QUICK_SEEDS))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "mutant", [each for each in (*SAFETY, *LIVENESS) if each not in MADE_UP_FOR], ids=lambda each: each.__name__
)
def test_every_broken_core_is_caught(mutant) -> None:
    assert caught(mutant, range(2000, 2500))


def test_a_mutant_leaves_the_core_as_it_was() -> None:
    before = simulate_relay(11).trace
    for mutant in (*SAFETY, *LIVENESS):
        with broken(mutant):
            pass
    assert simulate_relay(11).trace == before


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
