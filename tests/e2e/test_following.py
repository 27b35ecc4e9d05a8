"""Validators execute a node's log again: what they find is in their votes, and a lie of the node is named."""

from __future__ import annotations

import asyncio
import signal

import pytest

from clearspan.cluster import Cluster
from tests.e2e.relay_support import PATIENCE_S, relay_client
from tests.e2e.support import client_of, cut, fund, payments, small_network

SHARDS = (256, 257)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One node of two shards, and four validators of which three follow it."""
    network = small_network(tmp_path_factory.mktemp("following") / "network")
    with cut(Cluster(network, validators=4)) as running:
        yield running


@pytest.fixture(scope="module")
def banks(cluster):
    """Two funded banks, four accounts each."""
    return fund(cluster)


async def standings(cluster, participant):
    async with relay_client(cluster.validators, participant) as client:
        return {each.shard: each for each in (await client.status()).shards}


async def until(check, patience_s: float = PATIENCE_S):
    """Wait until an awaited check is true; return what it returned."""
    async with asyncio.timeout(patience_s):
        while not (found := await check()):  # noqa: ASYNC110 - it is another process that is waited for
            await asyncio.sleep(0.02)
        return found


def test_what_validators_executed_is_verified(cluster, banks):
    """Payments across both shards; three of four execute them, and their votes make the headers verified."""

    async def work():
        async with client_of(cluster, "clearing-house") as client:
            result = await client.submit(payments(cluster.network, *banks, 64))
            assert result.settled.all()
            heights = {each.shard: each.height for each in (await client.status()).shards}

        async def verified() -> bool:
            found = await standings(cluster, cluster.validators.participants[3])
            return all(found[shard].verified_height > heights[shard] for shard in SHARDS)

        await until(verified)
        return [await standings(cluster, each) for each in cluster.validators.participants], heights

    found, heights = asyncio.run(work())
    executed = [all(each[shard].executed_height > heights[shard] for shard in SHARDS) for each in found]
    assert executed == [True, True, True, False]
    assert not any(shard.standing for each in found for shard in each.values())


def test_a_follower_goes_on_where_it_was(cluster, banks):
    """SIGKILL and an orderly end of two that follow: both execute on from what they kept, and the headers agree."""
    killed, stopped = cluster.validators.participants[:2]
    assert cluster.validators.kill(killed) == -signal.SIGKILL
    assert cluster.validators.kill(stopped, signal.SIGTERM) == 0
    cluster.validators.restart(killed)
    cluster.validators.restart(stopped)

    async def work() -> None:
        async with client_of(cluster, "clearing-house") as client:
            result = await client.submit(payments(cluster.network, *banks, 64))
            assert result.settled.all()
            heights = {each.shard: each.height for each in (await client.status()).shards}

        async def verified() -> bool:
            found = [await standings(cluster, each) for each in (killed, stopped)]
            executed = all(each[shard].executed_height > heights[shard] for each in found for shard in SHARDS)
            return executed and all(found[0][shard].verified_height > heights[shard] for shard in SHARDS)

        await until(verified)

    asyncio.run(work())
    for participant in (killed, stopped):
        log = cluster.validators.log(participant).read_text()
        assert "follow_failed" not in log
        assert "header_differs" not in log
