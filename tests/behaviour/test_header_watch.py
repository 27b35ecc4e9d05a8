"""Two headers of one shard, height and epoch: seen whatever became of the offers, told once, and kept within bounds."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from clearspan.validator.header_watch import HEIGHTS_KEPT, HeaderWatch
from engine.relay_block import evidence_record
from tests.behaviour.relay_world import World

A = 0x100


@pytest.fixture
def world() -> World:
    return World()


def watch() -> tuple[HeaderWatch, list]:
    found: list = []
    return HeaderWatch(found.append), found


def pair(world: World):
    chain = world.chain(A)
    one = chain.seal()
    return one, chain.sign(replace(one.header, account_count=9))


@pytest.mark.parametrize("refusal", ["", "header_height", "known", "header_shard_suspended"])
def test_a_fork_convicts(world: World, refusal: str) -> None:
    """The relay takes what is found; said again, it is told no more."""
    headers, found = watch()
    one, two = pair(world)
    headers.offered(two, "")
    headers.offered(two, "known")
    headers.offered(one, refusal)
    headers.offered(two, refusal)
    (fork,) = found
    world.step(evidence_record(fork))
    assert world.state.shards[A].suspended


def test_a_final_header_counts_too(world: World) -> None:
    headers, found = watch()
    chain = world.chain(A)
    one = chain.seal()
    block = world.step(chain.offer())
    asyncio.run(headers.note_final(block, None, None))
    headers.offered(chain.sign(replace(one.header, account_count=9)), "header_height")
    assert len(found) == 1


@pytest.mark.parametrize(
    "refusal", ["header_signature", "header_key_unknown", "header_network", "header_shard_unknown"]
)
def test_what_nobody_signed_convicts_nobody(world: World, refusal: str) -> None:
    headers, found = watch()
    one, two = pair(world)
    headers.offered(one, "")
    headers.offered(two, refusal)
    assert found == []


def test_another_epoch_or_height_is_no_fork_and_memory_is_bounded(world: World) -> None:
    headers, found = watch()
    chain = world.chain(A)
    one = chain.seal()
    for epoch in (1, 2, 3):
        headers.offered(chain.sign(replace(one.header, epoch=epoch)), "")
    for _ in range(3 * HEIGHTS_KEPT):
        headers.offered(chain.seal(), "header_height")
    assert found == [] and len(headers._seen[A]) == HEIGHTS_KEPT
