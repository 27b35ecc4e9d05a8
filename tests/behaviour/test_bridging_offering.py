"""What goes out to nodes and validators: one that hangs or fails holds up nothing but what it was itself to have."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from clearspan.bridging.lines.ledgers import LedgerPort
from clearspan.bridging.lines.relay import RelayPort
from clearspan.relay_link.errors import LineLost


class Validator:
    """A line whose answers come when they are let; ``fault`` is raised instead."""

    def __init__(self, name: str, fault: BaseException | None = None) -> None:
        self.name, self.fault = name, fault
        self.open = asyncio.Event()
        self.open.set()
        self.calls: list[list[bytes]] = []

    async def reveal(self, preimages: list[bytes]) -> list[str]:
        self.calls.append(list(preimages))
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return [""] * len(preimages)

    @property
    def offered(self) -> list[bytes]:
        return [each for call in self.calls for each in call]


def relay_port(*validators: Validator, again_s: float = 60.0) -> RelayPort:
    async def nothing() -> None:
        pass

    lines = SimpleNamespace(lines=list(validators), refresh=nothing, close=nothing)
    port = RelayPort(None, lines, None, lambda _: None, again_s=again_s, now=lambda: 1)
    port._tasks.append(asyncio.create_task(port._offer()))
    return port


async def until(condition) -> None:
    for _ in range(1_000_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come about")


def secret(number: int) -> bytes:
    return bytes([number]) * 32


def test_a_validator_that_hangs_delays_no_reveal_to_the_others() -> None:
    """Goal: a reveal is on its way at once whoever is silent. Method: one line never answers while more comes."""

    async def body() -> None:
        hung, sound = Validator("hung"), Validator("sound")
        hung.open.clear()
        port = relay_port(hung, sound)
        for number in range(5):
            port.reveal({secret(number): 100})
            await until(lambda number=number: secret(number) in sound.offered)
        assert hung.calls == [[secret(0)]]
        hung.open.set()
        # What came meanwhile goes out together.
        await until(lambda: len(hung.calls) == 2)
        assert hung.calls[1] == [secret(number) for number in range(1, 5)]
        await port.stop()

    asyncio.run(body())


def test_after_many_reveals_those_that_come_next_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: one message for many, none held up where there are few. Method: a pause that ends with the loop's turn."""
    pauses: list[float] = []
    ended = asyncio.Event()
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        if not seconds:
            return await sleep(0)
        pauses.append(seconds)
        await ended.wait()

    async def body() -> None:
        monkeypatch.setattr(asyncio, "sleep", pause)
        sound = Validator("sound")
        port = relay_port(sound)
        port.reveal({secret(number): 100 for number in range(10)})
        await until(lambda: pauses)
        assert len(sound.offered) == 10
        for number in range(10, 120):
            port.reveal({secret(number): 100})
            await until(lambda number=number: secret(number) in port._owed["sound"])
        assert len(sound.calls) == 1
        ended.set()
        await until(lambda: len(sound.calls) == 2)
        assert len(sound.calls[1]) == 110
        await until(lambda: len(pauses) == 2)
        assert pauses == [pytest.approx(0.01), pytest.approx(0.075)]
        await port.stop()

    asyncio.run(body())


@pytest.mark.parametrize("fault", [LineLost("odd", "gone"), RuntimeError("a channel that was closed")])
def test_what_a_line_failed_with_is_offered_to_it_again(fault: Exception) -> None:
    """Goal: no fault of a line ends the offering. Method: it fails once, and the secret is not final."""

    async def body() -> None:
        odd, sound = Validator("odd", fault), Validator("sound")
        port = relay_port(odd, sound, again_s=0.01)
        port.reveal({secret(1): 100})
        await until(lambda: odd.calls)
        odd.fault = None
        await until(lambda: len(odd.calls) > 1 and len(sound.calls) > 1)
        assert set(odd.offered) == set(sound.offered) == {secret(1)}
        assert not any(task.done() for task in port._tasks)
        await port.stop()

    asyncio.run(body())


class Node:
    """A client that fails with what it is told, then decides everything."""

    def __init__(self, *faults: BaseException) -> None:
        self.faults = list(faults)
        self.batches = 0

    async def submit(self, columns) -> SimpleNamespace:
        self.batches += 1
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop(0)
        codes = np.full(columns.count, 1, dtype=np.uint16)
        return SimpleNamespace(codes=codes, first_codes=np.zeros_like(codes))


@pytest.mark.parametrize("fault", [RuntimeError("an odd one"), asyncio.CancelledError()])
def test_a_lock_whose_call_failed_oddly_may_be_sent_again(fault: BaseException) -> None:
    """Goal: nothing waits for ever for one call. Method: it ends as a channel does that is closed under it."""

    async def body() -> None:
        answered: list = []
        node = Node(fault)
        signer = SimpleNamespace(sign_columns=lambda columns: columns)
        port = LedgerPort(1, node, signer, answered=lambda _, found: answered.extend(found), final=lambda *_: None)
        pump = asyncio.create_task(port._pump())
        record = bytes(128) + secret(3)
        port.lock(secret(1), record)
        await until(lambda: node.batches == 1 and not port.waiting)
        assert not answered
        port.lock(secret(1), record)
        await until(lambda: answered)
        assert [each.digest for each in answered] == [secret(1)]
        assert not port.waiting
        pump.cancel()

    asyncio.run(body())
