"""A reader's stream of what happens to swaps: together what came together, in order, bounded, and never cut in between."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from bridge.ports import Outcome
from clearspan.bridging.journal.book import Moment
from clearspan.bridging.serving.progress import ProgressStream
from clearspan.bridging.swaps.telling import Telling
from clearspan.v1 import bridge_pb2


def swap(number: int) -> SimpleNamespace:
    name = bytes([number]) * 32
    return SimpleNamespace(swap=name, terms=SimpleNamespace(uetr=name[:16]), outcome=None, lines=[])


class Reader:
    """A call's context that takes a message whenever it is let."""

    def __init__(self) -> None:
        self.got: list[bridge_pb2.ProgressReply] = []
        self.takes = asyncio.Event()
        self.takes.set()

    async def send_initial_metadata(self, _) -> None:
        """Open the stream."""

    async def write(self, data: bytes) -> None:
        await self.takes.wait()
        self.got.append(bridge_pb2.ProgressReply.FromString(data))

    def lines(self) -> list[tuple[int, str, str]]:
        return [(each.swap_id[0], each.entry.text, each.outcome) for got in self.got for each in (got, *got.more)]


def stream(body, swap_ids=(), *, ended_only=False, write_s=5.0) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            telling, reader, ending = Telling(lambda: 7), Reader(), asyncio.Event()
            wire = ProgressStream(telling, swap_ids, ended_only=ended_only)
            running = asyncio.ensure_future(wire.run(reader, ending, write_s))
            await settle()
            assert telling.listeners | telling.enders
            try:
                await body(telling, reader, running)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            assert not telling.listeners | telling.enders

    asyncio.run(run())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_comes_together_leaves_together_in_order() -> None:
    """Also what comes while a message is on its way; a line of a long batch is in one message only."""

    async def body(telling, reader, _) -> None:
        first = swap(1)
        for at in range(600):
            telling.tell(first, Moment(at, "word", str(at)))
        await settle()
        assert [1 + len(each.more) for each in reader.got] == [256, 256, 88]
        reader.takes.clear()
        telling.say(first, "word", "600")
        await settle()
        for at in range(601, 604):
            telling.say(first, "word", str(at))
        await settle()
        reader.takes.set()
        await settle()
        assert [1 + len(each.more) for each in reader.got[3:]] == [1, 3]
        assert [text for _, text, _ in reader.lines()] == [str(at) for at in range(604)]

    stream(body)


def test_a_reader_of_ends_hears_of_no_more() -> None:
    """And a reader of some swaps of no others."""

    async def body(telling, reader, _) -> None:
        mine, other = swap(1), swap(2)
        telling.say(mine, "word", "on the way")
        mine.outcome = other.outcome = Outcome.SETTLED
        telling.say(mine, "settled", "Settled.")
        telling.say(other, "settled", "Settled.")
        await settle()
        assert reader.lines() == [(1, "Settled.", "claimed")]

    stream(body, [swap(1).swap], ended_only=True)


def test_a_reader_who_takes_nothing_ends_his_stream() -> None:
    """By the time one write may take; what he missed is not written in pieces."""

    async def body(telling, reader, running) -> None:
        reader.takes.clear()
        telling.say(swap(1), "word", "one")
        with pytest.raises(TimeoutError):
            await running
        assert reader.got == []

    stream(body, write_s=0.01)


def test_a_reader_who_falls_behind_is_let_go() -> None:
    """What waits for him is bounded."""

    async def body(telling, reader, running) -> None:
        first = swap(1)
        for at in range(10_001):
            telling.tell(first, Moment(at, "word", ""))
        await running
        assert len(reader.lines()) <= 10_000

    stream(body)
