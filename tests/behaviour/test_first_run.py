"""New members that nobody knows yet: without a floor half a set of them would wait for each other for ever."""

from __future__ import annotations

import pytest

from engine.genesis import padded_key
from engine.validators import Validator, ValidatorSet
from tests.behaviour.relay_doubles import Net, keys

CHANGE = 12


def half_new() -> Net:
    """Members 0 to 3 until height 11, then 2, 3 and two new ones, which begin with nothing beside a chain that runs."""
    of = [Validator(each.participant, each.suite, 1, padded_key(each.public_key)) for each in keys(6)]
    sets = ValidatorSet(1, 1, tuple(of[:4])), ValidatorSet(2, CHANGE, tuple(of[2:]))
    net = Net((1,) * 6, sets=sets)
    for at in range(4):
        net.up(at)
    net.until(3, who=range(4))
    for at in (4, 5):
        net.up(at, restored=True)
    return net


def test_without_a_floor_the_set_never_begins() -> None:
    """The two that are restored answer nobody, and the other two are no quorum: what must not happen with a real change."""
    net = half_new()
    net.until(CHANGE - 1, who=range(4))
    for _ in range(60):
        net.step()
    assert max(disk.state.height for disk in net.disks) == CHANGE - 1
    assert not net.cores[4].may_sign


def test_with_a_floor_it_begins_on_time() -> None:
    """AGREE-15: asked before they are needed, they sign from their first height on, and not a height below the floor."""
    net = half_new()
    net.until(6, who=range(4))
    for at in (4, 5):
        net.perform(at, net.cores[at].know_floor(8, net.now))
        assert not net.cores[at].votes.restored and net.cores[at].votes.floor == 8
        assert net.cores[at].index is None and not net.cores[at].may_sign
    net.until(CHANGE + 6, who=range(2, 6))
    net.agree()
    assert net.disks[2].finals[CHANGE + 3].certificate.set_id == 2
    assert all(net.cores[at].may_sign for at in (2, 3, 4, 5))
    assert not net.evidence


@pytest.mark.parametrize("again", [False, True])
def test_a_floor_is_durable_and_only_for_the_restored(again: bool) -> None:
    """It is written before anything rests on it; one that remembers takes none."""
    net = half_new()
    net.perform(4, net.cores[4].know_floor(40, net.now))
    if again:
        net.up(4)
    assert (net.cores[4].votes.floor, net.cores[4].votes.restored) == (40, False)
    before = net.cores[0].votes
    net.perform(0, net.cores[0].know_floor(90, net.now))
    assert net.cores[0].votes == before
    net.until(CHANGE - 1, who=range(4))
    for _ in range(60):
        net.step()
    assert not net.cores[4].may_sign, "its floor is above the first height of its set"
