"""How a bridge says that it stands: nodes that are down, legs that are held, what is missing to begin anything."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from clearspan.bridging.journal.book import LegPart, LegState
from clearspan.bridging.lines import ledgers as ledgers_module
from clearspan.bridging.lines.ledgers import LedgerPort
from clearspan.bridging.settings.config import BRIDGE
from clearspan.cli.bridge import _unreached
from clearspan.client import decisions
from clearspan.client.decisions import FinalDecision
from clearspan.errors import ConfigError, Unreachable
from clearspan.v1 import bridge_pb2
from native.codes import ResultCode
from tests.behaviour.bridge_papers import PAYER, S
from tests.behaviour.bridging_world import play
from tests.behaviour.fakes import until


class Node:
    """A node that answers who follows its blocks, while it is up."""

    def __init__(self) -> None:
        self.up = True

    async def network(self):
        return SimpleNamespace(domain=SimpleNamespace(shard_ids=lambda: (0,)))

    async def final_blocks(self, shard: int, height: int, **_):
        await asyncio.sleep(0.001)
        if not self.up:
            raise Unreachable("node", "down")
        return height or 1, []

    async def close(self) -> None:
        pass


def test_a_node_that_went_down_is_not_called_reached_by_an_idle_bridge(monkeypatch) -> None:
    """Nothing is sent: who follows its blocks is answered all the time, and tells when that ends and begins again."""
    monkeypatch.setattr(decisions, "_RETRY_S", 0.002)
    monkeypatch.setattr(ledgers_module, "_SILENT_S", 0.2)

    async def body() -> None:
        node = Node()
        port = LedgerPort(1, node, None, answered=lambda *_: None, final=lambda *_: None)
        assert not port.reached
        await port.start()
        assert port.reached, "it has answered, though no block came yet"
        node.up = False
        await until(lambda: not port.reached)
        node.up = True
        await until(lambda: port.reached)
        await port.stop()

    asyncio.run(body())


def test_a_leg_is_told_as_held_once_and_as_of_its_ledgers_decision(tmp_path) -> None:
    """Receipts and blocks say it again and again, also after a restart; the line in the timeline does not move."""

    async def body(world) -> None:
        engine = world.engines[PAYER]
        world.silent = True
        swap = world.bridge().begin(world.order())
        await engine.committed()
        digest, held_at = swap.legs[0].digest, world.now + S
        assert engine.book.whose(digest)[2] is LegPart.LOCK
        decision = FinalDecision(digest, ResultCode.HELD, held_at, 1, 5, 2, held_at)
        for _ in range(3):
            world.now += 20 * S
            engine.on_final(1, [decision])
        assert swap.legs[0].state == LegState.HELD
        assert [each.at for each in swap.timeline if each.what == "leg_held"] == [held_at]

    play(tmp_path, body)


def test_status_names_what_keeps_a_bridge_from_beginning() -> None:
    """Nothing where nothing is missing."""
    good = bridge_pb2.NodeLine(domain=1, reached=True)
    gone = bridge_pb2.NodeLine(domain=2, reached=False, fault="it lied")
    assert _unreached(bridge_pb2.BridgeStatus(participant=7, relay_behind=0, nodes=[good])) == []
    lines = _unreached(bridge_pb2.BridgeStatus(participant=7, relay_behind=12, nodes=[good, gone]))
    assert "12 blocks to go" in lines[0] and "node of domain 2 does not answer: it lied" in lines[1]
    assert "no validator" in _unreached(bridge_pb2.BridgeStatus(participant=7))[0]


def test_who_has_no_settings_of_a_bridge_is_told_how_they_are_made(tmp_path) -> None:
    """By the command that makes those of a bridge, and not by the one that makes a whole network."""
    with pytest.raises(ConfigError) as caught:
        BRIDGE.load(tmp_path / "bridge.toml")
    assert "clearspan bridge new" in caught.value.next_step
    assert "clearspan init" not in caught.value.next_step
