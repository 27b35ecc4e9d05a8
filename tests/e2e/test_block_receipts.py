"""All decisions of a block with one proof: a node, four validators, a client that waits for thousands at once."""

from __future__ import annotations

import asyncio

import pytest

from clearspan.client.decisions import DecisionWatch
from clearspan.cluster import Cluster
from clearspan.errors import VerificationFailed
from engine.block_receipt import BlockReceipt
from engine.codes import ResultCode
from engine.refusals import EncodingError, ProofRefused
from engine.types import DECISION_BYTES
from tests.e2e.support import client_of, cut, digests_of, fund, payments, small_network

pytestmark = pytest.mark.timeout(120)
COUNT = 2_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One node and four validators."""
    network = small_network(tmp_path_factory.mktemp("blocks") / "network")
    with cut(Cluster(network, validators=4)) as running:
        yield running


@pytest.fixture(scope="module")
def banks(cluster):
    return fund(cluster)


def test_every_expected_decision_arrives_verified_and_once(cluster, banks):
    """Goal: two thousand decisions on both shards are final by block proofs. Method: a watch opened before the batch."""
    batch = payments(cluster.network, *banks[:2], COUNT)
    digests = digests_of(cluster.network, batch)

    async def work():
        async with (
            client_of(cluster, "clearing-house") as client,
            DecisionWatch(client, verified=True) as watch,
        ):
            watch.expect(digests)
            await client.submit(batch)
            async with asyncio.timeout(60):
                found = await watch.final(digests)
            assert [each.digest for each in found] == digests
            assert {each.code for each in found} <= {ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT}
            assert len({each.shard for each in found}) == 2
            assert watch.fault is None
            # From a height that is long past the same decisions come again.
            first = min(each.height for each in found if each.shard == found[0].shard)
            _, blocks = await client.final_blocks(found[0].shard, first)
            assert blocks[0].header.height == first
            assert blocks[0].among(set(digests))

    asyncio.run(work())


def test_a_block_receipt_that_was_changed_is_refused(cluster, banks):
    """Goal: no leaf can be changed, left out or added. Method: a real receipt, broken in each way, and its set."""
    batch = payments(cluster.network, *banks[:2], 64)
    digests = digests_of(cluster.network, batch)

    async def work() -> tuple[bytes, object]:
        async with client_of(cluster, "clearing-house") as client, DecisionWatch(client) as watch:
            watch.expect(digests)
            await client.submit(batch)
            async with asyncio.timeout(60):
                (found, *_) = await watch.final(digests)
            _, blocks = await client.final_blocks(found.shard, found.height)
            taken: list[bytes] = []
            original = BlockReceipt.decode
            BlockReceipt.decode = classmethod(lambda cls, data: taken.append(bytes(data)) or original(data))
            try:
                await client.final_blocks(found.shard, found.height)
            finally:
                BlockReceipt.decode = original
            assert blocks
            return taken[0], await client.validators()

    data, validators = asyncio.run(work())
    genesis = cluster.network.genesis
    receipt = BlockReceipt.decode(data)
    receipt.verify(genesis.hash_suite, genesis.hash, validators)
    assert receipt.encode() == data
    flipped = bytes([receipt.leaves[0] ^ 1]) + receipt.leaves[1:]
    for leaves in (flipped, receipt.leaves[DECISION_BYTES:], receipt.leaves + bytes(DECISION_BYTES)):
        with pytest.raises(ProofRefused, match="decisions"):
            BlockReceipt(leaves, receipt.anchorage).verify(genesis.hash_suite, genesis.hash, validators)
    with pytest.raises(ProofRefused):
        receipt.verify(genesis.hash_suite, bytes(32), validators)
    for broken in (b"", data[:-1], b"X" + data[1:], data + b"\0"):
        with pytest.raises(EncodingError):
            BlockReceipt.decode(broken)


def test_a_node_that_sends_another_block_is_not_believed(cluster, banks):
    """Goal: heights cannot be swapped. Method: the reply to one height given as the reply to another."""

    async def work():
        async with client_of(cluster, "clearing-house") as client:
            following, _ = await client.final_blocks(next(iter((await client.network()).domain.shard_ids())), 1)
            assert following > 2
            steps = client._finality.blocks(256, 2, wait_s=0, verified=False)
            attempt = steps.send(None)
            other = client._finality.blocks(256, 1, wait_s=0, verified=False).send(None)
            reply = await client._attempt(other)
            assert attempt.rpc == other.rpc
            with pytest.raises(VerificationFailed, match="another block"):
                steps.send(reply)

    asyncio.run(work())
