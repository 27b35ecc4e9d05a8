"""One node of several lies to the adapter: it hides nothing for long, forbids no claim, counts once, ends no time."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp import web

from bridge.evm import reading
from bridge.evm.contract import CLAIMED, LOCKED
from bridge.evm.rpc import ChainIdentity, Endpoint, Nodes, RpcLimits
from bridge.leg import LegCode, LegRefused, LegUnavailable, LockState
from tests.evm.test_rpc import Server, liar, logs_of, told
from tests.evm.world import PAYEE, PAYER, EvmWorld, secret

TOO_LATE = 10**6


def hiding(topic: bytes):
    return logs_of(lambda log: None if log["topics"][0] == "0x" + topic.hex() else log)


def later(method: str, _: list, result: object) -> object:
    """Give the newest block a time that has not come."""
    if method == "eth_getBlockByNumber" and isinstance(result, dict):
        return {**result, "timestamp": hex(int(result["timestamp"], 16) + TOO_LATE)}
    return result


def test_a_claim_that_one_node_hides_is_learned_from_another(world: EvmWorld) -> None:
    """With the secret hidden from him a provider would never be paid."""

    async def story(payer, payee, order) -> None:
        await payer.claim(order.lock_id, secret("one"))
        world.node.mine(4)
        found = [await payee.find(order.lock_id) for _ in range(2)]
        assert [view.preimage for view in found] == [None, secret("one")]

    told(world, hiding(CLAIMED), story, agreement=2)


def test_a_lock_that_one_node_hides_is_seen_at_another(world: EvmWorld) -> None:
    async def story(payer, payee, order) -> None:
        found = [(await payee.find(order.lock_id)).state for _ in range(2)]
        assert LockState.SEEN in found, "only one of two shows it, and it is shown"

    told(world, hiding(LOCKED), story, agreement=2)


def test_one_node_that_shows_no_lock_forbids_no_claim(world: EvmWorld) -> None:
    """The claim is refused by one node's word alone; another one takes it."""

    async def story(payer, payee, order) -> None:
        await payee.claim(order.lock_id, secret("one"))
        world.node.mine(4)
        assert (await payer.find(order.lock_id)).state is LockState.CLAIMED_FINAL

    told(world, hiding(LOCKED), story)


def test_one_node_that_says_it_is_too_late_forbids_no_claim(world: EvmWorld) -> None:
    async def story(payer, payee, order) -> None:
        payee.expect(order)
        await payee.claim(order.lock_id, secret("one"))
        world.node.mine(4)
        assert (await payer.find(order.lock_id)).state is LockState.CLAIMED_FINAL

    told(world, later, story)


def test_what_every_node_refuses_is_refused(world: EvmWorld) -> None:
    async def story(payer, payee, order) -> None:
        with pytest.raises(LegRefused) as caught:
            await payee.refund(order.lock_id)
        assert caught.value.code is LegCode.TOO_EARLY

    told(world, lambda _method, _params, result: result, story)


def test_a_block_of_a_time_that_has_not_come_is_not_believed(world: EvmWorld, monkeypatch) -> None:
    """The chain's time never goes back here: believed once, such a block would end all that still has time."""

    async def story(payer, payee, order) -> None:
        _, now = world.node.head()
        monkeypatch.setattr(reading, "time", SimpleNamespace(time_ns=lambda: now * 10**9))
        assert (await payee.clock()).time_ns == now * 10**9
        assert (await payee.find(order.lock_id)).state is LockState.FINAL

    told(world, later, story, limits=RpcLimits(timeout_s=5, ahead_s_max=3_600))


def test_one_node_that_refuses_to_estimate_forbids_no_claim(world: EvmWorld) -> None:
    """It says that the call would revert; another one says what it costs."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        if asked["method"] == "eth_estimateGas":
            error = {"code": 3, "message": "execution reverted", "data": "0x"}
            return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        async with aiohttp.ClientSession() as session, session.post(world.node.url, json=asked) as response:
            return web.json_response(await response.json())

    async def story() -> None:
        async with Server(answer) as server:
            payer = world.leg(PAYER)
            payee = world.leg(PAYEE, endpoints=(Endpoint(server.url), Endpoint(world.node.url)))
            try:
                order = world.order()
                await payer.lock(order)
                world.node.mine(4)
                await payee.claim(order.lock_id, secret("one"))
                world.node.mine(4)
                assert (await payer.find(order.lock_id)).state is LockState.CLAIMED_FINAL
            finally:
                await world.close()

    asyncio.run(story())


def test_a_nonce_that_a_node_made_up_does_not_hold_the_key_for_ever(world: EvmWorld) -> None:
    """What was sent under it no block takes, nor anything after it: it is given up, and what is wished goes anew."""
    lies = True

    def change(method: str, parameters: list, result: object) -> object:
        return hex(10**6) if lies and method == "eth_getTransactionCount" and parameters[1] == "pending" else result

    async def story() -> None:
        nonlocal lies
        async with liar(world, change) as server:
            leg = world.leg(endpoints=(Endpoint(server.url),))
            try:
                order = world.order()
                await leg.lock(order)
                world.node.mine(4)
                assert (await leg.find(order.lock_id)).state is LockState.ABSENT
                lies = False
                for _ in range(3):
                    await leg.find(order.lock_id)
                    world.node.mine(4)
                assert (await leg.find(order.lock_id)).state is LockState.FINAL
                assert leg.counts.stranded == 1
            finally:
                await world.close()

    asyncio.run(story())


def test_a_claim_that_never_left_is_not_sent_by_a_look(world: EvmWorld) -> None:
    """It would show the secret whenever the node is there again, though it may be too late for that by then."""
    broken = True

    def change(method: str, _: list, result: object) -> object:
        return None if broken and method == "eth_estimateGas" else result

    async def story() -> None:
        nonlocal broken
        async with liar(world, change) as server:
            payer, payee = world.leg(PAYER), world.leg(PAYEE, endpoints=(Endpoint(server.url),))
            try:
                order = world.order()
                await payer.lock(order)
                world.node.mine(4)
                with pytest.raises(LegUnavailable):
                    await payee.claim(order.lock_id, secret("one"))
                broken = False
                await payee.find(order.lock_id)
                assert payee.counts.sent == 0 and payee.out_count == 0
                await payee.claim(order.lock_id, secret("one"))
                assert payee.counts.sent == 1
            finally:
                await world.close()

    asyncio.run(story())


@pytest.mark.parametrize("method", ["eth_estimateGas", "eth_sendRawTransaction"])
def test_the_words_of_a_node_command_no_terminal(world: EvmWorld, method: str) -> None:
    """What it refuses with stands in a swap's timeline, where people read it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        if asked["method"] == method:
            error = {"code": -32000, "message": "insufficient funds\x1b[2J\r\n" + "x" * 1_000}
            return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        async with aiohttp.ClientSession() as session, session.post(world.node.url, json=asked) as response:
            return web.json_response(await response.json())

    async def story() -> None:
        async with Server(answer) as server:
            leg = world.leg(PAYER, endpoints=(Endpoint(server.url),))
            try:
                with pytest.raises(LegRefused) as caught:
                    await leg.lock(world.order())
                text = caught.value.text
                assert "insufficient funds" in text and text.isprintable() and len(text) <= 200
            finally:
                await world.close()

    asyncio.run(story())


class _Counted(Nodes):
    """Nodes that answer by their place, without a network."""

    def __init__(self, *answers: object) -> None:
        endpoints = [Endpoint("http://127.0.0.1:1")] * len(answers)
        super().__init__(endpoints, ChainIdentity(1, PAYER.address), RpcLimits())
        self.answers, self.asked = answers, []

    async def _ask_once(self, index, ask):
        self.asked.append(index)
        found = self.answers[index]
        self._failed[index] = isinstance(found, LegUnavailable)
        if isinstance(found, Exception):
            raise found
        return found


async def _nothing(_web3) -> None:
    pass


def test_a_node_never_agrees_with_itself() -> None:
    """Others have turned to the next node between the answer and the question: the liar is not asked again."""

    async def story() -> None:
        nodes = _Counted("lie", "truth")
        asked, answer = await nodes.read_at(_nothing)
        nodes.turn()
        assert (asked, answer) == (0, "lie")
        assert not await nodes.agree(answer, _nothing, 2, asked=asked)

    asyncio.run(story())


def test_a_turn_passes_over_nodes_that_failed() -> None:
    async def story() -> None:
        nodes = _Counted("one", LegUnavailable("down"), "three")
        await nodes.agree("one", _nothing, 3, asked=0)
        nodes.turn()
        nodes.asked.clear()
        assert await nodes.read_at(_nothing) == (2, "three") and nodes.asked == [2]
        nodes.turn()
        assert await nodes.read_at(_nothing) == (0, "one")

    asyncio.run(story())


@pytest.mark.parametrize("other", ["yes", LegRefused(LegCode.TOO_LATE, "no"), LegUnavailable("down")], ids=str)
def test_a_refusal_counts_when_nobody_says_otherwise(other) -> None:
    async def story() -> None:
        nodes = _Counted(LegRefused(LegCode.LOCK_ENDED, "first"), other)
        with pytest.raises(LegRefused, match="first"):
            await nodes.read(_nothing)
        if other == "yes":
            assert await nodes.read(_nothing, insist=True) == "yes"
        else:
            with pytest.raises(LegRefused, match="first"):
                await nodes.read(_nothing, insist=True)

    asyncio.run(story())
