"""Every run of a height with three honest members and one liar, in two views, is visited: no two blocks are ever final."""

from __future__ import annotations

import pytest

from tests.simulation.relay_explorer import AgreementBroken, Explorer
from tests.simulation.relay_mutants import (
    broken,
    lock_is_ignored,
    neither_lock_nor_timeouts,
    timeouts_bind_nobody,
    timeouts_deny,
    votes_are_not_written,
)

# Who lies, how many views may begin, how often each honest member may restart; at least so many states (MUTATIONS.md has
# the counts), and blocks that become final in some run: that nothing falls away unseen.
SMALL = [(0, 2, 0, 90_000, 3), (1, 2, 1, 10_000, 2), (2, 2, 1, 1_000, 1)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("liar", "views", "restarts", "states", "final"), SMALL)
def test_two_blocks_are_never_final(liar: int, views: int, restarts: int, states: int, final: int) -> None:
    """The liar leads view ``liar``, or none."""
    found = Explorer(liar, views, restarts=restarts).explore()
    print(found)
    assert found.states >= states
    assert len(found.final) == final


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("liar", "views"), [(1, 3), (2, 3)])
def test_two_blocks_are_never_final_in_three_views(liar: int, views: int) -> None:
    found = Explorer(liar, views, restarts=0).explore(4_000_000)
    print(found)
    assert found.states > 100_000


def deny_and_forget(put) -> None:
    """Neither timeouts nor locks hold anybody to a certificate."""
    timeouts_deny(put)
    lock_is_ignored(put)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("mutant", "liar", "restarts"),
    [
        (neither_lock_nor_timeouts, 0, 0),
        # By day test_relay.py sees each half of it.
        pytest.param(deny_and_forget, 0, 0, marks=pytest.mark.nightly),
        (votes_are_not_written, 1, 1),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_broken_core_is_seen(mutant, liar: int, restarts: int) -> None:
    """The same search finds what is wrong with a core whose rules are broken."""
    with broken(mutant), pytest.raises(AgreementBroken):
        Explorer(liar, 2, restarts=restarts).explore(300_000)


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutant", [lock_is_ignored, timeouts_bind_nobody], ids=lambda each: each.__name__)
def test_either_belt_alone_holds(mutant) -> None:
    """The lock without what timeouts prove, and the proof without the lock: agreement needs one of them (ADR 0015)."""
    with broken(mutant):
        assert Explorer(0, 2, restarts=0).explore().states > 40_000
