"""The clock of a chain with several nodes: none of them alone moves it forward, and one that hangs holds nothing up."""

from __future__ import annotations

import asyncio

import pytest

from bridge.evm.adapter import EvmLeg, EvmSettings
from bridge.evm.reading import Head
from bridge.evm.rpc import ChainIdentity, Endpoint, Nodes, RpcLimits
from bridge.leg import ChainClock, LegUnavailable
from tests.evm.world import PAYER

CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
S = 10**9


class Told(Nodes):
    """Nodes that tell each a head, hang (None), or do not answer (a word)."""

    def __init__(self, *heads: Head | str | None) -> None:
        super().__init__([Endpoint("http://127.0.0.1:1")] * len(heads), ChainIdentity(1, CONTRACT, None), RpcLimits())
        self.heads = heads

    async def _ask(self, index, ask):
        head = self.heads[index]
        if head is None:
            await asyncio.Event().wait()
        if isinstance(head, str):
            raise LegUnavailable(head)
        return head


def head(second: int, number: int | None = None, *, fee: int | None = 7) -> Head:
    number = second if number is None else number
    return Head(number, bytes(32), second * S, fee, max(0, number - 12))


def clock_of(*heads: Head | str | None, agreement: int = 1) -> tuple[ChainClock, EvmLeg]:
    async def ask() -> tuple[ChainClock, EvmLeg]:
        ends = tuple(Endpoint(f"http://127.0.0.1:{at + 1}") for at in range(len(heads)))
        leg = EvmLeg(EvmSettings(chain_id=1, contract=CONTRACT, endpoints=ends, agreement=agreement), PAYER)
        await leg._nodes.close()
        leg._nodes = Told(*heads)
        return await leg.clock(), leg

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("seconds", "agreement", "second"),
    [
        ((100,), 1, 100),
        ((100, 200), 1, 100),
        ((200, 100), 1, 100),
        ((100, 101, 999), 1, 101),
        ((0, 100, 101), 1, 100),
        ((100, 101, 999), 2, 101),
        ((100, 101, 999), 3, 100),
        ((100, 101, 102, 999), 1, 101),
    ],
)
def test_the_clock_is_what_enough_nodes_say(seconds, agreement, second) -> None:
    """A node that is ahead ends no lock before its time, and one of three that is behind holds nothing up."""
    found, _ = clock_of(*map(head, seconds), agreement=agreement)
    assert found == ChainClock(second * S, second, max(0, second - 12))


def test_a_node_that_hangs_or_is_gone_holds_no_clock_up() -> None:
    """With enough others; with too few of them nothing is said."""
    assert clock_of(head(100), None, "down")[0].time_ns == 100 * S
    assert clock_of(head(100), head(101), None, agreement=2)[0].time_ns == 100 * S
    with pytest.raises(LegUnavailable, match="down"):
        clock_of(head(100), "down", agreement=2)


def test_time_height_and_fee_come_each_from_the_middle() -> None:
    """No node sets a fee alone; a chain on which one of them knows none has none."""
    found, leg = clock_of(head(100, 9, fee=1), head(101, 10**9, fee=10**18), head(102, 8, fee=2))
    assert (found.height, leg._base_fee) == (9, 2)
    assert clock_of(head(100), head(100, fee=None))[1]._base_fee is None
