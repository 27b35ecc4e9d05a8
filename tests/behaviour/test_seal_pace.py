"""When a node seals: after work, when idle, and while the relay has not made the last header final."""

from __future__ import annotations

from shards.pace import SEAL_PATIENCE, SealPace
from shards.settings import NodeSettings

MS = 1_000_000
BUSY, IDLE = 100 * MS, 2_000 * MS
SHARD, OTHER = 256, 257
NOW = 10_000 * MS


def begun(now: int = NOW) -> SealPace:
    pace = SealPace(NodeSettings(seal_interval_ns=BUSY, seal_interval_idle_ns=IDLE))
    pace.begin(now)
    return pace


def test_an_idle_node_seals_seldom_and_a_busy_one_soon() -> None:
    pace = begun()
    assert pace.left(NOW) == IDLE
    assert pace.left_if_worked(NOW + BUSY) == 0
    pace.worked = True
    assert pace.left(NOW + 40 * MS) == 60 * MS


def test_what_the_sealing_round_decides_asks_for_no_further_seal() -> None:
    pace = begun()
    pace.worked = True
    pace.begin(NOW + BUSY)
    assert not pace.worked
    assert pace.left(NOW + BUSY) == IDLE


def test_a_clock_that_is_set_back_makes_a_seal_due_at_once() -> None:
    pace = begun()
    pace.worked = True
    assert pace.left(NOW - 1) == 0


def test_without_a_relay_nothing_waits_for_finality() -> None:
    pace = begun()
    pace.worked = True
    pace.sealed({SHARD: 7})
    assert pace.left(NOW) == BUSY


def test_a_header_that_is_not_final_yet_makes_the_next_one_wait_within_a_bound() -> None:
    pace = begun()
    pace.worked = True
    pace.final({SHARD: 7, OTHER: 3})
    pace.sealed({SHARD: 8, OTHER: 3})
    assert pace.left(NOW + BUSY) == (SEAL_PATIENCE - 1) * BUSY
    assert pace.left(NOW + SEAL_PATIENCE * BUSY) == 0
    pace.final({SHARD: 8})
    assert pace.left(NOW + BUSY) == 0


def test_one_shard_that_waits_holds_the_seal_of_all() -> None:
    """One round seals all shards of a node, so the slowest of them sets the pace."""
    pace = begun()
    pace.worked = True
    pace.final({SHARD: 8, OTHER: 3})
    pace.sealed({SHARD: 8, OTHER: 4})
    assert pace.left(NOW) == SEAL_PATIENCE * BUSY
