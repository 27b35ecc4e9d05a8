"""A bridge that begins again: what runs is driven at once, and nothing new begins before the relay is read."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from types import SimpleNamespace

import pytest

from bridge.refusals import BridgeCode, BridgeRefused
from bridge.watcher import REVEALS_KEPT_MAX
from clearspan.bridging.lines import relay as relay_module
from clearspan.bridging.lines import relay_tail
from clearspan.bridging.lines.relay import RelayPort
from clearspan.bridging.lines.relay_head import heads_told, height_of
from clearspan.bridging.process import _read_up
from clearspan.relay_link.errors import LineLost
from clearspan.v1 import bridge_pb2
from engine.types import RelayRecordType
from relay import rules
from tests.behaviour.bridge_papers import FIRST, PAYER
from tests.behaviour.bridging_world import play, refused
from tests.behaviour.fakes import until
from tests.behaviour.test_bridging_adversary import lock_of
from tests.behaviour.test_bridging_adversary_lines import Reader


class Validator:
    """Tells a height, or nothing, and gives blocks up to another one."""

    def __init__(self, name: str, height: int | None, *, gives: int = 0) -> None:
        self.name, self.height, self.gives, self.asked = name, height, gives, 0

    async def status(self):
        self.asked += 1
        if self.height is None:
            raise LineLost(self.name, "down")
        return SimpleNamespace(final_height=self.height)

    async def blocks(self, height: int, **_):
        for at in range(height, self.gives + 1):
            yield SimpleNamespace(block=bytes([at % 256]) * 32, certificate=b"", statements=())
        await asyncio.sleep(0.002)
        raise LineLost(self.name, "ended")


@pytest.mark.parametrize(
    ("told", "count", "patient", "height"),
    [
        ([], 0, True, None),
        ([7], 1, True, 7),
        ([7, 8], 4, True, None),
        ([7, 8], 4, False, 8),
        ([0, 8], 4, False, 8),  # of two that answer one may hide nothing either
        ([9], 4, False, None),
        ([0, 8, 9], 4, False, 8),
        ([7, 8, 9], 4, True, 8),
        ([2**40, 8, 9], 4, True, 9),  # one that tells too much holds nobody up
        ([0, 8, 9], 4, True, 8),  # one that tells too little hides nothing
        ([0, 0, 8, 9, 9, 2**40, 2**40], 7, True, 9),
    ],
)
def test_no_third_of_the_validators_makes_up_a_height(told, count, patient, height) -> None:
    """Whatever f of 3f + 1 tell, the height is one that an honest one told or passed."""
    assert height_of(told, count, patient=patient) == height


def test_validators_that_do_not_answer_are_asked_again_and_then_left_out() -> None:
    """With two of four gone it takes patience, and what the others say is put right by a third; one says nothing."""

    async def body() -> None:
        lines = [Validator("a", 5), Validator("b", None), Validator("c", None), Validator("d", 2**63)]
        async with contextlib.aclosing(heads_told(lambda: lines, patience_s=0.03, again_s=0.005)) as heads:
            assert await anext(heads) == 2**63
            assert lines[1].asked > 1
            lines[1].height = 6
            assert [head async for head in heads] == [6]
        lines[1].height = lines[3].height = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await anext(heads_told(lambda: lines, patience_s=0.01, again_s=0.005))
                pytest.fail("one of four is not enough")

    asyncio.run(body())


def port_of(validators, tell=lambda _: None) -> RelayPort:
    async def nothing() -> None:
        pass

    lines = SimpleNamespace(lines=validators, refresh=nothing, close=nothing)
    port = RelayPort(None, lines, None, tell, reconnect_s=0.001, now=lambda: 1)
    port._reader = Reader()
    return port


def test_a_bridge_says_how_much_of_the_relay_is_unread_and_demands_it() -> None:
    """Unknown, then counted, then read; what could not be heard is not read yet."""

    async def body() -> None:
        fails = [3]

        def tell(block) -> None:
            if block.height == 6 and fails[0]:
                fails[0] -= 1
                raise OSError(28, "no space left on device")

        validator = Validator("one", None)
        port = port_of([validator], tell)
        port.start()
        assert port.behind is None
        assert "no validator has told" in refused(BridgeCode.RELAY_NOT_READ, port.demand_read).text
        validator.height, validator.gives = 9, 5
        await until(lambda: port.behind == 4)
        assert "4 blocks are still to be read" in refused(BridgeCode.RELAY_NOT_READ, port.demand_read).text
        assert await _read_up(port, 0.01) == 4
        validator.gives = 6
        await until(lambda: fails[0] < 3)
        refused(BridgeCode.RELAY_NOT_READ, port.demand_read)
        validator.gives = 9
        assert await _read_up(port, 5) == 0
        assert fails == [0] and port.height == 9
        port.demand_read()
        validator.height = 50  # it is the height of the start that counts: a relay that goes on stops nobody
        port.demand_read()
        await port.stop()

    asyncio.run(body())


def test_a_block_that_could_not_be_heard_is_not_read() -> None:
    """Although it is the last one that is missing, and its height is known."""

    async def body() -> None:
        deaf = [True]
        tried: list[int] = []

        def tell(block) -> None:
            tried.append(block.height)
            if deaf[0] and block.height == 3:
                raise OSError(28, "no space left on device")

        validator = Validator("one", None, gives=3)
        port = port_of([validator], tell)
        port.start()
        await until(lambda: tried.count(3) > 1)
        validator.height = 3
        await until(lambda: port.behind is not None)
        refused(BridgeCode.RELAY_NOT_READ, port.demand_read)
        deaf[0] = False
        assert await _read_up(port, 5) == 0
        await port.stop()

    asyncio.run(body())


# From where a bridge on a chain reads.


class Sender(Validator):
    """Gives blocks that reveal, by height, so many secrets."""

    def __init__(self, reveals: dict[int, int], head: int) -> None:
        super().__init__("one", head, gives=head)
        self.reveals, self.read, self.fails_at = reveals, [], 0

    async def blocks(self, height: int, *, follow: bool = True, **_):
        for at in range(height, self.gives + 1):
            if at == self.fails_at:
                raise LineLost(self.name, "ended")
            self.read.append(at)
            yield SimpleNamespace(block=self.reveals.get(at, 0), certificate=b"", statements=())
        if follow:
            await asyncio.Event().wait()


class Ending(Sender):
    """Ends after its fortieth block, whatever it tells."""

    def __init__(self, height: int | None, name: str) -> None:
        super().__init__({}, 40)
        self.height, self.name = height, name

    async def blocks(self, height: int, **_):
        async for block in super().blocks(height, follow=False):
            yield block
        await asyncio.sleep(0.002)
        raise LineLost(self.name, "ended")


class Counting(Reader):
    """Takes a count as a block of so many secrets, of the height that follows."""

    def __init__(self, _genesis, _shards, _light, height: int) -> None:
        super().__init__()
        self.height = height

    def take(self, block: int, *_):
        self.height += 1
        header = SimpleNamespace(height=self.height, time=self.height)
        record = SimpleNamespace(type=RelayRecordType.REVEAL, payload=b"s" * 32)
        return SimpleNamespace(block=SimpleNamespace(header=header, records=[record] * block))


async def trusted() -> None:
    return None


@pytest.mark.parametrize(
    ("reveals", "begin"),
    [
        ({}, 0),
        ({95: 10}, 90),
        ({91: 10}, 90),
        ({90: 100}, 0),  # what lies before the tail is not counted
        ({91: 4, 100: 5}, 0),  # one too few: the relay still refuses an older one
        ({91: 4, 100: 6}, 90),
    ],
)
def test_a_bridge_on_a_chain_begins_where_enough_secrets_follow(monkeypatch, reveals, begin) -> None:
    """So many as the relay refuses again, to the last one; with fewer in its newest blocks it begins with the first."""
    monkeypatch.setattr(relay_tail, "BlockReader", Counting)
    sender = Sender(reveals, 100)
    found = asyncio.run(relay_tail.tail_begin(None, sender, trusted, 100, stall_s=1, blocks_max=10, enough=10))
    assert found == begin
    assert min(sender.read) == 91
    short = Sender({}, 10)
    assert asyncio.run(relay_tail.tail_begin(None, short, trusted, 10, stall_s=1, blocks_max=10, enough=10)) == 0
    assert not short.read


def test_a_validator_that_gives_fewer_blocks_than_are_final_does_not_say_where_to_begin(monkeypatch) -> None:
    """It would have a bridge read the relay from its first block on."""
    monkeypatch.setattr(relay_tail, "BlockReader", Counting)
    sender = Sender({}, 95)
    with pytest.raises(LineLost, match="behind 95, and 100"):
        asyncio.run(relay_tail.tail_begin(None, sender, trusted, 100, stall_s=1, blocks_max=10, enough=10))


@pytest.mark.parametrize("lie", [2**63, 0])
def test_no_single_validator_says_where_a_new_bridge_begins(monkeypatch, lie) -> None:
    """Although it is the first that is asked: not behind the end, where no block ever comes, and not at the start."""
    monkeypatch.setattr(relay_module, "BlockReader", Counting)

    async def body() -> None:
        heard: list[int] = []
        liar, *honest = [Sender({}, 40) for _ in range(4)]
        liar.name, liar.height = "liar", lie
        for at, each in enumerate(honest):
            each.name = f"honest {at}"
        port = port_of([liar, *honest], lambda block: heard.append(block.height))
        port._reader, port._trust = None, trusted
        port.start()
        async with asyncio.timeout(5):
            await until(lambda: port.behind == 0)
        await port.stop()
        assert heard == [40]

    asyncio.run(body())


def test_a_height_that_too_few_told_is_left_again(monkeypatch) -> None:
    """Two of four answer, one makes a height up: nothing begins; with a third the bridge begins where it should."""
    monkeypatch.setattr(relay_module, "BlockReader", Counting)
    monkeypatch.setattr(relay_module, "heads_told", lambda lines: heads_told(lines, patience_s=0.01, again_s=0.005))

    async def body() -> None:
        heard: list[int] = []
        lines = [Ending(height, name) for name, height in (("a", 2**63), ("b", 40), ("c", None), ("d", None))]
        port = port_of(lines, lambda block: heard.append(block.height))
        port._reader, port._trust = None, trusted
        port.start()
        async with asyncio.timeout(5):
            await until(lambda: port.behind)
            refused(BridgeCode.RELAY_NOT_READ, port.demand_read)
            lines[2].height = 40
            await until(lambda: port.behind == 0)
        await port.stop()
        assert heard == [40]

    asyncio.run(body())


def test_as_many_secrets_are_enough_as_the_relay_refuses_again() -> None:
    """One number in three places."""
    assert inspect.signature(relay_tail.tail_begin).parameters["enough"].default == rules.REVEALS_KEPT_MAX
    assert REVEALS_KEPT_MAX == rules.REVEALS_KEPT_MAX


@pytest.mark.parametrize(("consumed", "first"), [(0, 91), (95, 91), (40, 41)])
def test_what_others_have_not_consumed_is_not_left_out(monkeypatch, consumed, first) -> None:
    """A bridge that gets its first chain later goes on behind what it had read, if that is before the tail."""
    monkeypatch.setattr(relay_tail, "BlockReader", Counting)
    monkeypatch.setattr(relay_module, "BlockReader", Counting)

    async def begin(*_, **__) -> int:
        return 90

    monkeypatch.setattr(relay_module, "tail_begin", begin)

    async def body() -> None:
        heard: list[int] = []
        port = port_of([Sender({}, 100)], lambda block: heard.append(block.height))
        port._reader, port._whole, port._latest, port._trust = None, True, consumed, trusted
        port.start()
        await until(lambda: port.behind == 0)
        await port.stop()
        assert heard == list(range(first, 101))

    asyncio.run(body())


# What waits until then.


def unread() -> None:
    raise BridgeRefused(BridgeCode.RELAY_NOT_READ, "3 blocks are still to be read")


def test_nothing_begins_and_nothing_is_quoted_or_accepted_before_the_relay_is_read(tmp_path) -> None:
    """And nothing is refused for good: what a missed block holds, such as a corridor, may be all that is missing."""

    async def body(world) -> None:
        payer, provider = world.engines[PAYER], world.engines[FIRST]
        payer.demand_relay_read = unread
        order = world.order()
        refused(BridgeCode.RELAY_NOT_READ, world.bridge().begin, order)
        assert not len(payer.book)
        payer.demand_relay_read = lambda: None
        provider.demand_relay_read = unread
        swap = world.bridge().begin(order)
        await payer.committed()
        asked = bridge_pb2.Acceptance(
            terms=swap.terms.encode(), leg=1, quote=swap.quotes[0], lock_record=lock_of(world, swap)
        )
        # An unknown corridor would be a "no" for good.
        known, provider.corridors.book = provider.corridors.book, None
        (answer,) = await world.accepting[FIRST].accept([asked], PAYER)
        assert answer.refusal.code == BridgeCode.RELAY_NOT_READ
        provider.corridors.book = known
        running = world.bridge()
        running.engine, running.desk = provider, world.desks[FIRST]
        refused(BridgeCode.RELAY_NOT_READ, running.demand_desk)
        await world.run()
        assert swap.outcome is None and not len(provider.book)
        provider.demand_relay_read = lambda: None
        for _ in range(3):
            world.time_passes(3)
            await world.run()
        assert swap.outcome is not None and swap.outcome.name == "SETTLED"

    play(tmp_path, body)
