"""A member gives views the time that agreement takes of late: never less than the settings say, never without bound."""

from __future__ import annotations

import pytest

from clearspan.simulation.relay.latency import simulate_latency
from relay.desk import Desk
from relay.pacemaker import Pace
from relay.ports import ConsensusSettings
from tests.behaviour.relay_doubles import MS, Net


def test_what_takes_longer_counts_at_once_and_what_takes_less_slowly() -> None:
    """One slow agreement is enough to wait longer; many quick ones are needed to forget it."""
    pace = Pace()
    assert pace.most == 0
    pace.note(40 * MS)
    assert pace.most == 120 * MS
    for _ in range(40):
        pace.note(40 * MS)
    assert 60 * MS <= pace.most < 61 * MS
    pace.note(1_000 * MS)
    assert pace.most > 1_000 * MS
    waited = 0
    while pace.most > 100 * MS:
        pace.note(40 * MS)
        waited += 1
    assert 8 <= waited <= 40


def test_a_view_keeps_within_its_bounds() -> None:
    """Half a second as long as that is enough, four times it at most; later views double from there."""
    net = Net().all_up()
    net.until(5)
    desk: Desk = net.cores[0].desk
    assert desk.view_ns == desk.settings.view_ns == 500 * MS
    desk.pace.note(600 * MS)
    assert desk.view_ns == desk.settings.view_ns_slow == 2_000 * MS
    assert ConsensusSettings(view_ns_max=1_000 * MS).view_ns_slow == 1_000 * MS


@pytest.mark.parametrize(("members", "link_ms"), [(4, 150), (7, 200)])
def test_slow_links_fail_the_first_views_alone(members: int, link_ms: int) -> None:
    """Agreement takes longer than half a second: one height shows it, and from then on views are long enough."""
    figures = simulate_latency(members, link_ms * MS, blocks=15, seed=1)
    assert members <= figures.views_failed <= 4 * members
    assert figures.blocks_per_s > 0.75 * 1_000 / (6 * link_ms + 200)
