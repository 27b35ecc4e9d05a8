"""The table of reveals is what copied dictionaries would be, in every branch, at the cost of what is new."""

from __future__ import annotations

import random
import time

import pytest

from engine.relay_block import reveal_record
from relay.pool import Pool
from relay.reveals import RevealTable
from relay.rules import REVEALS_KEPT_MAX
from tests.behaviour.relay_world import World


def grown(before: dict[bytes, int], fresh: dict[bytes, int], kept_max: int) -> dict[bytes, int]:
    """The slow twin: a dictionary copied with every block."""
    kept = {**before, **fresh}
    for preimage in list(kept)[: max(len(kept) - kept_max, 0)]:
        del kept[preimage]
    return kept


@pytest.mark.parametrize("seed", range(20))
def test_every_version_stays_what_a_copied_dictionary_is(seed: int) -> None:
    """Goal: none ever changes. Method: a tree of versions that branch anywhere, with old and known preimages again."""
    chance = random.Random(seed)
    kept_max = chance.choice((1, 5, 40))
    versions: list[tuple[RevealTable, dict[bytes, int]]] = [(RevealTable(), {})]
    for height in range(1, 150):
        # Mostly the newest goes on; now and then an old one does, as on another branch.
        table, twin = versions[-1] if chance.random() < 0.8 else chance.choice(versions)
        fresh = {chance.randrange(60).to_bytes(32, "big"): height for _ in range(chance.randrange(4))}
        versions.append((table.grown(fresh, kept_max), grown(twin, fresh, kept_max)))
    for table, twin in versions:
        assert list(table.pairs()) == list(twin.items())
        assert list(table) == list(twin) and len(table) == len(twin) and table == twin
        for number in range(60):
            preimage = number.to_bytes(32, "big")
            assert (preimage in table) == (preimage in twin)
            assert table.get(preimage) == twin.get(preimage)
    assert b"" not in versions[-1][0] and None not in versions[-1][0]


def test_the_pool_refuses_what_the_newest_state_knows() -> None:
    """Goal: a reveal stands once. Method: it became final in a block that this pool never held it for."""
    world, pool = World(), Pool()
    one, other = (reveal_record(bytes([number]) * 32) for number in (1, 2))
    assert pool.offer(other, world.state)
    block = world.step(one)
    pool.finalized(world.state, block)
    assert not pool.offer(one, world.state)
    assert pool.refusal == "reveal_known"
    assert [each.payload for each in pool.take(world.state)] == [bytes([2]) * 32]
    assert pool.has_work(world.state)


def test_it_forgets_in_memory_too() -> None:
    """What no table sees any more is let go: the shared list holds a few times what is kept."""
    table = RevealTable()
    for height in range(2_000):
        table = table.grown({(height * 3 + each).to_bytes(32, "big"): height for each in range(3)}, 100)
    assert len(table) == 100
    assert len(table._shared.preimages) == len(table._shared.places) < 400


def test_a_block_costs_what_it_reveals() -> None:
    """Goal: a full table costs no more than an empty one. Method: CPU time of blocks of 100 on both."""

    def cost(table: RevealTable) -> int:
        began = time.thread_time_ns()
        for height in range(100):
            fresh = {(height * 100 + each).to_bytes(32, "little"): height for each in range(100)}
            table = table.grown(fresh, REVEALS_KEPT_MAX)
        return time.thread_time_ns() - began

    full = RevealTable.of((number.to_bytes(32, "big"), 1) for number in range(1, 1 + REVEALS_KEPT_MAX))
    # Copying it would cost a hundred times more.
    assert min(cost(full) for _ in range(3)) < 5 * min(cost(RevealTable()) for _ in range(3))
