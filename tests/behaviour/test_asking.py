"""A stream of questions: each answer belongs to its question, whatever went wrong before."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest

from clearspan.client.asking import AskingStream


class Stream:
    """One call: it answers what was asked in capitals when it is let, and ends where the question is ``end``."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()
        self.cancelled = False

    async def write(self, content: bytes) -> None:
        self.asked.append(content)

    async def read(self) -> object:
        await self.open.wait()
        return grpc.aio.EOF if self.asked[-1] == b"end" else self.asked[-1].upper()

    def done(self) -> bool:
        return self.cancelled

    def cancel(self) -> None:
        self.cancelled = True


class Server:
    """Every call that was opened."""

    def __init__(self) -> None:
        self.calls: list[Stream] = []

    def __call__(self) -> Stream:
        self.calls.append(Stream())
        return self.calls[-1]


def test_questions_share_one_stream_and_wait_for_one_another() -> None:
    async def body() -> None:
        server = Server()
        asking = AskingStream(server, 60.0)
        assert await asking.ask(b"a") == b"A"
        (call,) = server.calls
        call.open.clear()
        first, second = (asyncio.create_task(asking.ask(each)) for each in (b"b", b"c"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert call.asked == [b"a", b"b"]
        call.open.set()
        assert await asyncio.gather(first, second) == [b"B", b"C"]
        assert server.calls == [call]

    asyncio.run(body())


def test_a_stream_that_ended_or_was_too_slow_is_given_up() -> None:
    """Goal: no late answer passes for that of the next question. Method: end it, then let it be too slow."""

    async def body() -> None:
        server = Server()
        asking = AskingStream(server, 0.001)
        with pytest.raises(EOFError):
            await asking.ask(b"end")
        assert await asking.ask(b"a") == b"A"
        server.calls[1].open.clear()
        with pytest.raises(TimeoutError):
            await asking.ask(b"b")
        server.calls[1].open.set()
        assert await asking.ask(b"c") == b"C"
        assert [call.cancelled for call in server.calls] == [True, True, False]
        assert server.calls[2].asked == [b"c"]

    asyncio.run(body())


def test_who_gives_up_waiting_leaves_no_answer_behind() -> None:
    async def body() -> None:
        server = Server()
        asking = AskingStream(server, 60.0)
        await asking.ask(b"a")
        server.calls[0].open.clear()
        task = asyncio.create_task(asking.ask(b"b"))
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asking.ask(b"c") == b"C"
        assert server.calls[0].cancelled

    asyncio.run(body())


def test_a_channel_that_was_closed_before_its_turn_is_told() -> None:
    """Whoever waited while another task closed the connection hears of its end, as of any other."""

    def closed() -> Stream:
        raise grpc.aio.UsageError("Channel is closed.")

    with pytest.raises(EOFError):
        asyncio.run(AskingStream(closed, 60.0).ask(b"a"))
