"""The model replays the logs of nodes that share a domain, proofs included, and comes to the same headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from clearspan.simulation.nodes import simulate_nodes
from clearspan.simulation.served_node import ServedNode
from engine.credit import decode_credits, encode_credits
from engine.header import SignedHeader
from engine.log import RecordKind
from engine.log_record import encode_record
from engine.proved_credits import ProvedCredits
from tests.model.anchors import ProvedBody
from tests.model.genesis import ModelGenesis
from tests.model.replay import replay_record
from tests.model.shard import ModelShard

# With the suites SHA-256 and SM3, two and three nodes; the model hashes SM3 in plain Python.
SEEDS = (0, 3, 5)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_model_comes_to_the_same_headers(seed: int) -> None:
    proved = 0

    def compare(nodes: Sequence[ServedNode]) -> None:
        nonlocal proved
        for node in nodes:
            genesis = node.world.genesis
            terms = ModelGenesis.from_document(genesis.document, node.world.domain)
            for shard in node.shards:
                model, height = ModelShard(terms, shard), 0
                for record in node.store.log(shard).read(1):
                    if record.kind is RecordKind.PROVED_CREDITS:
                        proved += 1
                        refuses_lies(model, bytes(record.body))
                    header = replay_record(model, encode_record(record))
                    if header is not None:
                        height += 1
                        kept = SignedHeader.decode(node.blocks.blocks[shard, height].signed_header)
                        assert header == kept.header.encode()

    simulate_nodes(seed, compare)
    assert proved > 0


def refuses_lies(model: ModelShard, body: bytes) -> None:
    """What the machine refuses, the model does not find proved either."""
    true = ProvedCredits.decode(body)
    messages = list(decode_credits(true.messages))
    messages[0] = replace(messages[0], amount=messages[0].amount + 1)
    before = model.number
    for lie in (
        replace(true, messages=encode_credits(messages)),
        replace(true, header=replace(true.header, outgoing_root=bytes(32))),
        replace(true, parent=None if true.parent else replace(true.header, height=0)),
        replace(true, anchored_height=true.anchored_height + 1),
    ):
        with pytest.raises((AssertionError, IndexError)):
            model.apply_proved(ProvedBody.unpack(lie.encode()), model.state.last_time)
    assert model.number == before
