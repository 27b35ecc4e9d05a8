"""One domain on several nodes under faults from seeds; the seeds of a change come from its commit."""

from __future__ import annotations

import subprocess
import time
from collections import Counter

import pytest

import engine.machine
import shards.domain
import shards.outbox
from clearspan.simulation.nodes import FAULTS, REACHED, simulate_nodes
from engine.outgoing import Outgoing
from engine.refusals import CreditsRefused, InvariantBroken, ReplayDiverged
from native.errors import InvariantBroken as KernelInvariantBroken

# Processor time, so that a busy machine does not test less. What is rare may take the longest.
BUDGET_S = 15
LONGEST_S = 90
NIGHT_S = 3_000
# A seed that failed once stays here, with the reason beside it.
KEPT_SEEDS: dict[int, str] = {}


def first_seed(root) -> int:
    """A number from the commit, so that every change meets other seeds and anyone can run them again."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False).stdout
    return int(head[:8] or "0", 16)


@pytest.mark.parametrize("seed", sorted(KEPT_SEEDS))
def test_a_seed_that_once_failed_passes(seed: int) -> None:
    simulate_nodes(seed)


@pytest.mark.timeout(3600)
def test_seeds_of_this_commit(repository_root, nightly: bool) -> None:
    """As many seeds as the budget holds; between them every fault, every lie and every kind of decision was reached."""
    seed = start = first_seed(repository_root)
    faults: Counter[str] = Counter()
    decisions: Counter[str] = Counter()
    nodes: Counter[int] = Counter()
    credits_ = 0
    begun = time.process_time()
    while (spent := time.process_time() - begun) < (NIGHT_S if nightly else BUDGET_S) or (
        spent < LONGEST_S and (set(FAULTS) - set(faults) or set(REACHED) - set(decisions))
    ):
        report = simulate_nodes(seed)
        faults += report.faults
        decisions += report.decisions
        nodes[report.nodes] += 1
        credits_ += report.proved_credits
        seed += 1
    print(f"{seed - start} seeds from {start}, {credits_} proved credits, {dict(faults)}, {dict(decisions)}")
    assert set(nodes) == {2, 3}
    assert not set(FAULTS) - set(faults)
    assert not set(REACHED) - set(decisions)


def test_a_run_is_a_function_of_its_seed() -> None:
    assert simulate_nodes(3).state_roots == simulate_nodes(3).state_roots != simulate_nodes(4).state_roots


def no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.machine, "check_proof", lambda *_: None)


def no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.machine, "check_place", lambda *_: None)


def no_header_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages are those of the block, and nobody asks whether the block was anchored."""
    import engine.proved_credits

    monkeypatch.setattr(engine.proved_credits.InclusionPath, "check", lambda *_: None)


def no_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any leaves of the block will do, whoever they were sent to."""
    import engine.proved_credits
    from engine.range_proof import root_of_range
    from engine.refusals import ProofRefused

    def anywhere(suite, hashes, first, total, proof):
        for place in range(total):
            try:
                root = root_of_range(suite, hashes, place, total, proof)
            except ProofRefused:
                continue
            if root == anywhere.wanted:
                return root
        raise ProofRefused("range", "nowhere")

    original = engine.proved_credits._first_leaf

    def first_leaf(offered, *_):
        anywhere.wanted = offered.header.outgoing_root
        return 0

    assert original is not first_leaf
    monkeypatch.setattr(engine.proved_credits, "_first_leaf", first_leaf)
    monkeypatch.setattr(engine.proved_credits, "root_of_range", anywhere)


def left_out_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node applies credits and leaves them out of its log."""

    def take(self, round_, job):
        try:
            codes = self.machines[job.destination].apply_proved_credits(job.offered, self.time)
        except CreditsRefused as refused:
            return shards.domain.CreditsReply(0, refused)
        return shards.domain.CreditsReply(len(codes))

    monkeypatch.setattr(shards.domain.DomainCore, "_take", take)


def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart does not bring back what the blocks sent."""
    original = Outgoing.of
    count = [0]

    def of(messages):
        count[0] += 1
        return original(()) if count[0] % 7 == 0 else original(messages)

    monkeypatch.setattr(Outgoing, "of", of)


BROKEN = (no_proof, no_place, no_header_path, no_channel, left_out_of_the_log, forgotten)


@pytest.mark.parametrize("broken", BROKEN, ids=[each.__name__ for each in BROKEN])
def test_a_broken_core_is_caught(broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation sees a core that was broken on purpose, within some seeds."""
    broken(monkeypatch)
    # Two headers at one height, which the relay would see, are an AssertionError as NodesFailed is.
    caught = (AssertionError, InvariantBroken, KernelInvariantBroken, ReplayDiverged, shards.outbox.BlockMissing)
    with pytest.raises(caught):
        for seed in range(120):
            simulate_nodes(seed)
