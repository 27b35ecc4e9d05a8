"""Blocks keep a distance that grows with what agreement takes of late: within bounds, and never at its own cost."""

from __future__ import annotations

import pytest

from clearspan.simulation.relay.latency import simulate_latency
from relay.pacemaker import Pace
from relay.ports import ConsensusSettings
from tests.behaviour.relay_doubles import MS, Net, reveal


class Known(Pace):
    """A pace that stays as it was told."""

    def note(self, took: int) -> None:
        """Learn nothing."""


def net_of(took: int, **settings: int) -> Net:
    """Cores that believe that agreement takes so long, with work that never ends."""
    net = Net(settings=ConsensusSettings(**settings)).all_up()
    for core in net.cores:
        core.desk.pace = Known(took)
        core.pool.offer(reveal(1), core.state)
        core.pool.take = lambda state: []
    return net


@pytest.mark.parametrize(
    ("took", "spaced"),
    [(0, 10), (2 * MS, 10), (5 * MS, 20), (15 * MS, 60), (40 * MS, 75), (4_000 * MS, 75)],
)
def test_the_distance_is_four_times_what_agreement_takes_within_its_bounds(took: int, spaced: int) -> None:
    net = net_of(took)
    begun = net.now
    net.until(11)
    assert net.now - begun == 10 * spaced * MS


def test_an_operator_may_forbid_it_and_an_idle_time_bounds_it() -> None:
    net = net_of(40 * MS, spacing_ns_max=0)
    begun = net.now
    net.until(11)
    assert net.now - begun == 10 * 10 * MS
    net = net_of(400 * MS, spacing_ns_max=10_000 * MS)
    assert net.cores[0].desk.spacing_ns == net.settings.idle_ns


@pytest.mark.parametrize("wrong", [{"spacing_times": -1}, {"spacing_ns_max": -1}, {"spacing_reveal_ns": -1}])
def test_a_distance_below_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="0 <= spacing_times"):
        ConsensusSettings(**wrong)


def test_what_comes_in_between_stands_in_one_block() -> None:
    """Goal: many small offers cost one block. Method: each comes by itself while the next block is not yet due."""
    net = Net().all_up()
    for core in net.cores:
        core.desk.pace = Known(15 * MS)
    net.until(3)
    begun = net.now
    for number in range(10):
        net.now = begun + number * MS
        for at, core in enumerate(net.cores):
            net.perform(at, core.offer(reveal(number), net.now))
        net.deliver()
    net.until(4)
    assert net.now - begun == 60 * MS
    assert len(net.disks[0].finals[4].block.preimages()) == 10


@pytest.mark.parametrize(
    ("took", "reveals", "spaced"),
    [(0, 1, 10), (2 * MS, 20, 28), (10 * MS, 1, 41), (10 * MS, 60, 100), (10 * MS, 1_024, 150), (40 * MS, 30, 105)],
)
def test_after_a_block_with_many_reveals_the_next_one_is_later(took: int, reveals: int, spaced: int) -> None:
    """Goal: who waits for many swaps shares a block. Method: one block of so many; a leader then has other work."""
    net = Net().all_up()
    for core in net.cores:
        core.desk.pace = Known(took)
    net.until(3)
    many = [reveal(each) for each in range(1, reveals + 1)]
    # The block that is next holds them all, and those after it none of what waits.
    for core in net.cores:
        core.pool.take = lambda state: many * (state.height == 3)
        core.pool.offer(reveal(0), core.state)
    net.until(4)
    begun = net.now
    net.until(5)
    assert net.now - begun == spaced * MS
    net.until(6)
    assert net.now - begun == (spaced + min(max(10, 4 * took // MS), 75)) * MS


def test_who_forbids_a_distance_forbids_it_for_reveals_too() -> None:
    core = net_of(40 * MS, spacing_ns_max=0).cores[0]
    core.desk.reveals = 1_000
    assert core.desk.spacing_ns == core.desk.settings.block_interval_ns


def test_slow_links_wait_for_nothing_but_their_agreement() -> None:
    """Goal: it counts from the proposal. Method: with links of 50 ms, agreement takes longer than the longest distance."""
    figures = simulate_latency(4, 50 * MS, blocks=15, seed=1)
    # Six messages one after the other, and the idle time of a leader without work.
    assert figures.blocks_per_s > 0.75 * 1_000 / (6 * 50 + 200)
