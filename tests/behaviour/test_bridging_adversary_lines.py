"""A bridge's lines to others, some of which fail, hang, move, hold back or talk too much: what that may cost is bounded."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

from clearspan.bridging.lines import peers as peers_module
from clearspan.bridging.lines.ledgers import light_client_of, start_ledgers
from clearspan.bridging.lines.peers import Peers
from clearspan.bridging.lines.relay import FinalBlock, RelayPort, _Pace
from clearspan.bridging.settings.directory import BridgeDirectory, BridgeEntry, render_bridges
from clearspan.bridging.swaps.looking import LOOKS_AT_ONCE, Looking
from clearspan.client import decisions
from clearspan.client.decisions import DecisionWatch
from clearspan.errors import Unreachable
from clearspan.pki import create_development_pki
from clearspan.relay_link.errors import LineLost
from clearspan.roles import Identity, PeerRole
from clearspan.v1 import bridge_pb2
from engine.types import RelayRecordType
from native.codes import ResultCode
from tests.behaviour.bridge_papers import FIRST, PAYER, SECOND, S
from tests.behaviour.fakes import until

# Blocks of the relay.


class Deaf:
    """Hears blocks, but not always."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.fails = 0

    def __call__(self, block: FinalBlock) -> None:
        if self.fails:
            self.fails -= 1
            raise OSError(28, "no space left on device")
        self.heard.append(block.height)


class Reader:
    """Takes whatever bytes it is given as the next block."""

    def __init__(self) -> None:
        self.height = 0

    def take(self, block: bytes, *_):
        self.height += 1
        header = SimpleNamespace(height=self.height, time=self.height)
        records = [SimpleNamespace(type=RelayRecordType.REVEAL, payload=block)]
        return SimpleNamespace(block=SimpleNamespace(header=header, records=records))


class Validator:
    """A line that ends after each block, and takes reveals while it is up."""

    name = "one"

    def __init__(self) -> None:
        self.offered: list[bytes] = []
        self.up = True

    async def status(self):
        raise LineLost("one", "tells nothing")

    async def blocks(self, height: int, **_):
        yield SimpleNamespace(block=bytes([height]) * 32, certificate=b"", statements=())
        raise LineLost("one", "ended")

    async def reveal(self, preimages) -> list[str]:
        if not self.up:
            raise LineLost("one", "down")
        self.offered += preimages
        return [""] * len(preimages)


def relay_port(tell, now, validator) -> RelayPort:
    async def refresh() -> None:
        pass

    lines = SimpleNamespace(lines=[validator], refresh=refresh, close=refresh)
    port = RelayPort(None, lines, None, tell, again_s=0.02, reconnect_s=0.001, now=now)
    port._reader = Reader()
    return port


def test_a_block_that_could_not_be_heard_is_told_again() -> None:
    """A block whose hearing fails comes again before the next one: a reveal that is left out would never be claimed."""

    async def body() -> None:
        deaf = Deaf()
        port = relay_port(deaf, lambda: 1, Validator())
        port.start()
        await until(lambda: len(deaf.heard) >= 3)
        deaf.fails = 5
        await until(lambda: not deaf.fails and len(deaf.heard) >= 6)
        await port.stop()
        assert deaf.heard == list(range(1, len(deaf.heard) + 1))

    asyncio.run(body())


def test_a_secret_is_not_shown_when_it_can_claim_nothing_here_any_more() -> None:
    """A relay that comes back after the timelock never hears it: a chain where it still opens a lock would see it."""

    async def body() -> None:
        validator, clock = Validator(), [5]
        validator.up = False
        port = relay_port(lambda _: None, lambda: clock[0], validator)
        port._tasks.append(asyncio.create_task(port._offer()))
        port.reveal({b"s" * 32: 10, b"t" * 32: 100})
        await asyncio.sleep(0.03)
        assert port.waiting == 2
        clock[0] = 10
        await until(lambda: port.waiting == 1)
        validator.up = True
        await until(lambda: validator.offered)
        await port.stop()
        assert set(validator.offered) == {b"t" * 32}

    asyncio.run(body())


# A node that is away.


class Node:
    """A line to a node that may be down."""

    def __init__(self, domain: int, *, up: bool) -> None:
        self.domain, self.up, self.reached, self.client = domain, asyncio.Event(), up, self
        if up:
            self.up.set()

    async def start(self) -> None:
        await self.up.wait()
        self.reached = True

    async def light_client(self) -> str:
        if not self.reached:
            raise Unreachable("node", "down")
        return f"sets by {self.domain}"


def test_a_node_that_is_away_holds_up_its_own_swaps_alone() -> None:
    """A bridge starts, and follows the relay, by the nodes that are there; the others join when they come."""

    async def body() -> None:
        nodes = [Node(1, up=False), Node(2, up=True), Node(3, up=False)]
        async with contextlib.AsyncExitStack() as stack:
            await start_ledgers(nodes, stack, wait_s=0.01)
            assert [each.reached for each in nodes] == [False, True, False]
            assert await light_client_of(nodes) == "sets by 2"
            nodes[0].up.set()
            await until(lambda: nodes[0].reached)
            nodes[1].reached = nodes[0].reached = False
            with pytest.raises(Unreachable):
                await light_client_of(nodes)

    asyncio.run(body())


def test_a_bridge_that_moved_is_found_again(tmp_path, monkeypatch) -> None:
    """The file of addresses is read again while the bridge runs: another port, and a bridge that was not in it."""
    path = tmp_path / "bridges.toml"
    pki = create_development_pki(tmp_path, "rules")
    tls = pki.issue_client("payer", Identity("rules", PeerRole.BANK, PAYER))

    def write(*ports: int) -> None:
        rows = zip((FIRST, SECOND), ports, strict=False)
        entries = [BridgeEntry(each, f"bridge-{each}", "127.0.0.1", port, provides=True) for each, port in rows]
        path.write_text(render_bridges(entries), encoding="utf-8")

    async def body() -> None:
        write(1_001)
        peers = Peers(BridgeDirectory(path), tls)
        monkeypatch.setattr(peers_module, "_REFRESH_S", 0.0)
        assert (await peers._client(FIRST)).target == "127.0.0.1:1001"
        assert await peers._client(SECOND) is None
        write(1_002, 31_003)
        assert (await peers._client(FIRST)).target == "127.0.0.1:1002"
        assert (await peers._client(SECOND)).target == "127.0.0.1:31003"
        await peers.close()

    asyncio.run(body())


def test_a_validator_that_holds_blocks_back_is_left() -> None:
    """Blocks far behind our clock must come nearer to it; those of an honest one that is read from the past do."""
    pace = _Pace(2.0)
    assert all(pace.holds(0, float(now)) for now in range(1, 100))
    behind = _Pace(2.0)
    assert all(behind.holds((100 - now) * S, now * 0.5 + 1) for now in range(100))
    slow = _Pace(2.0)
    found = [slow.holds(20 * S, now * 0.5 + 1) for now in range(6)]
    assert found[:4] == [True] * 4 and not all(found)

    async def body() -> None:
        clock = [0]
        heard: list[int] = []
        one, other = Endless("one", 0.005), Endless("other", 0.0)
        port = relay_port(lambda block: heard.append(block.height), lambda: clock[0], one)
        port._lines.lines.append(other)
        port._stall_s = 0.05
        clock[0] = 3_600 * S
        port.start()
        await until(lambda: other.asked)
        await port.stop()
        assert heard == list(range(1, len(heard) + 1))

    asyncio.run(body())


class Endless(Validator):
    """Block after block of long ago, one in so many seconds."""

    def __init__(self, name: str, pause_s: float) -> None:
        super().__init__()
        self.name, self.pause_s, self.asked = name, pause_s, 0

    async def blocks(self, height: int, **_):
        self.asked += 1
        while True:
            yield SimpleNamespace(block=bytes(32), certificate=b"", statements=())
            await asyncio.sleep(self.pause_s or 1)


class Port:
    """A line to a node that gives receipts, or never answers."""

    def __init__(self, *, hangs: bool) -> None:
        self.client, self.verified, self.hangs = self, False, hangs
        self.asked: list[bytes] = []

    async def receipt(self, digest: bytes, **_):
        self.asked.append(digest)
        if self.hangs:
            await asyncio.Event().wait()
        raise Unreachable("node", "no receipt")


def test_a_node_that_hangs_is_not_all_that_is_looked_at() -> None:
    """Eight look at once; those who wait for a dead node leave room for the legs of others."""

    async def body() -> None:
        ports = {1: Port(hangs=True), 2: Port(hangs=False), 3: Port(hangs=True)}
        swaps = {bytes([number]) * 32: SimpleNamespace() for number in range(60)}
        for number, (party, swap) in enumerate(swaps.items()):
            leg = SimpleNamespace(digest=party, claim=b"", refund=b"")
            order = SimpleNamespace(lock_id=party, timelock_ns=10**18)
            swap.party, swap.legs, swap.orders, swap.looked_at = party, [leg], [order], -(10**12)
            swap.domain = (1, 3, 2)[number // 20]
        legs = SimpleNamespace(ports=ports, domain_of=lambda swap, _: swap.domain)
        looking = Looking(swaps, legs, None, None, now=lambda: 0, alarm=None)
        workers = [asyncio.create_task(looking.work()) for _ in range(LOOKS_AT_ONCE)]
        for swap in swaps.values():
            looking.look(swap, 0)
        async with asyncio.timeout(5):
            await until(lambda: len(ports[2].asked) == 20)
        for worker in workers:
            worker.cancel()
        assert len(ports[1].asked) + len(ports[3].asked) < LOOKS_AT_ONCE

    asyncio.run(body())


class Talker:
    """A provider's client that says too much."""

    target = "127.0.0.1:1001"

    async def accept(self, _):
        return [bridge_pb2.AcceptAnswer(refusal=WORDS), bridge_pb2.AcceptAnswer(lock_record=b"r")]

    async def quote(self, _):
        return bridge_pb2.QuoteReply(refusal=WORDS)

    async def close(self) -> None:
        pass


WORDS = bridge_pb2.BridgeRefusal(
    code=334, name="no\x1b[2J", text="\x1b]0;owned\x07" + "x" * 100_000, next_step="\r\nok"
)


def test_the_words_of_others_are_bounded_and_plain(tmp_path) -> None:
    """What a person is shown of a refusal holds nothing that a terminal obeys, and is short; a yes stays a yes."""

    async def body() -> None:
        path = tmp_path / "bridges.toml"
        path.write_text(
            render_bridges([BridgeEntry(FIRST, "one", "127.0.0.1", 1_001, provides=True)]), encoding="utf-8"
        )
        peers = Peers(BridgeDirectory(path), None)
        peers._clients[FIRST] = Talker()
        refused, taken = await peers.accept(FIRST, [None, None])
        (quote,) = (await peers.quotes(None, [FIRST])).values()
        for each in (refused.refusal, quote.refusal):
            assert len(each.text) == 500 and (each.text + each.name + each.next_step).isprintable()
            assert each.code == 334 and each.name.startswith("no")
        assert not taken.HasField("refusal") and taken.lock_record == b"r"

    asyncio.run(body())


class Ledger:
    """A node whose blocks hold one decision each."""

    async def final_blocks(self, _, height: int, **__):
        place = SimpleNamespace(relay_height=height, relay_time=height)
        rows = [bytes([height]) * 32], [int(ResultCode.CREATED)], [height]
        header = SimpleNamespace(shard=1, height=height, time=height, relay_time=height)
        block = SimpleNamespace(leaves=1, header=header, anchorage=place, rows=lambda: rows)
        await asyncio.sleep(0)
        return height + 1, [block]


def test_a_decision_that_could_not_be_heard_is_told_again(monkeypatch) -> None:
    """Whatever whoever hears it fails with: the watch goes on at the same block, and leaves none out."""
    monkeypatch.setattr(decisions, "_RETRY_S", 0.001)

    async def body() -> None:
        heard, fails = [], [3]

        def tell(found) -> None:
            if found[0].height == 4 and fails[0]:
                fails[0] -= 1
                raise KeyError(4)
            heard.extend(each.height for each in found)

        watch = DecisionWatch(Ledger(), tell=tell)
        watch.heights[1] = 1
        watch.expect(bytes([height]) * 32 for height in range(1, 9))
        following = asyncio.create_task(watch._follow(1))
        await until(lambda: len(heard) >= 8 or following.done())
        following.cancel()
        assert heard[:8] == list(range(1, 9)) and not fails[0]

    asyncio.run(body())
