"""A relay without work rests between blocks, wakes for the first thing that is offered, and skips a dead leader as ever."""

from __future__ import annotations

import pytest

from relay.ports import ConsensusSettings
from tests.behaviour.relay_doubles import Net, reveal

MS = 1_000_000
RESTING = ConsensusSettings(rest_ns=800 * MS)


def resting() -> Net:
    net = Net(settings=RESTING).all_up()
    net.until(3)
    return net


def test_blocks_without_work_come_once_a_second() -> None:
    """AGREE-8: idle and rest together; nobody gives a view up meanwhile."""
    net = resting()
    begun = net.now
    net.until(8)
    assert net.now - begun == 5 * 1_000 * MS
    assert all(core.counters.timeouts == 0 for core in net.cores)


def test_work_ends_the_rest() -> None:
    """Whoever leads proposes at once, and the block is final at once."""
    net = resting()
    leader = next(at for at, core in enumerate(net.cores) if core.round.leads)
    net.now += 300 * MS
    for at, core in enumerate(net.cores):
        if at != leader:
            net.perform(at, core.offer(reveal(7), net.now))
    net.deliver()
    before = net.now
    net.perform(leader, net.cores[leader].offer(reveal(7), net.now))
    net.deliver()
    assert net.now == before
    assert net.disks[0].finals[4].block.preimages() == ((7).to_bytes(32, "little"),)


@pytest.mark.parametrize("work", [True, False])
def test_a_dead_leader_costs_a_view(work: bool) -> None:
    """With work 500 ms from when it came; without, as long as the leader might have rested and 500 ms."""
    net = resting()
    leader = next(at for at, core in enumerate(net.cores) if core.round.leads)
    net.down(leader)
    others = [at for at in range(4) if at != leader]
    net.now += 100 * MS
    if work:
        for at in others:
            net.perform(at, net.cores[at].offer(reveal(7), net.now))
        net.deliver()
    begun = net.now
    net.until(4, others)
    assert net.now - begun == (500 if work else 1_200) * MS


def test_a_rest_is_no_negative_time() -> None:
    with pytest.raises(ValueError, match="rest_ns"):
        ConsensusSettings(rest_ns=-1)
