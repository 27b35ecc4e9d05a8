"""Nodes that answer too much, too late, nonsense, or lies."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from typing import Self

import aiohttp
import pytest
from aiohttp import web
from eth_abi.abi import encode

from bridge.evm.book import FileBook
from bridge.evm.contract import CLAIMED, LOCKED
from bridge.evm.fees import FeePolicy
from bridge.evm.rpc import ChainIdentity, Endpoint, Nodes, RpcLimits, RpcNode
from bridge.leg import LegUnavailable, LockState
from tests.evm.world import PAYEE, PAYER, STRANGER, EvmWorld, secret


class Server:
    """An HTTP server on loopback that answers as it is told."""

    def __init__(self, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        self._answer = answer
        self.requests = 0

    async def __aenter__(self) -> Self:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.requests += 1
            return await self._answer(request)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def _id(request: web.Request) -> object:
    return json.loads(await request.read())["id"]


async def _too_long(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"jsonrpc":"2.0","id":0,"result":"' + b"f" * 100_000 + b'"}')


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(1_000):
        await response.write(b" " * 10_000)
    return response


async def _bomb(request: web.Request) -> web.StreamResponse:
    body = gzip.compress(b'{"jsonrpc":"2.0","id":0,"result":"' + b"0" * 1_000_000 + b'"}')
    return web.Response(body=body, headers={"Content-Encoding": "gzip"})


async def _silent(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


async def _other_id(request: web.Request) -> web.StreamResponse:
    return web.json_response({"jsonrpc": "2.0", "id": 10**6, "result": "0x1"})


async def _both(request: web.Request) -> web.StreamResponse:
    return web.json_response({"jsonrpc": "2.0", "id": await _id(request), "result": "0x1", "error": {}})


async def _redirect(request: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/")


async def _deep(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"id":0,"result":' + b"[" * 24_000 + b"]" * 24_000 + b"}")


def _fixed(body: bytes, status: int = 200) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        _too_long, _endless, _bomb, _silent, _other_id, _both, _redirect, _fixed(b""), _fixed(b"[]"), _fixed(b"null"),
        _fixed(b"<html>"), _fixed(b'{"id":0}'), _fixed(b'{"id":0,"result":"0x1"}', 500), _fixed(b"\xff\xfe"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_unavailable(answer) -> None:
    async def story() -> None:
        async with Server(answer) as server:
            node = RpcNode("node 1", Endpoint(server.url), RpcLimits(answer_bytes_max=50_000, timeout_s=1))
            try:
                with pytest.raises(LegUnavailable, match="node 1") as caught:
                    await node.make_request("eth_chainId", [])
                assert "127.0.0.1" not in str(caught.value), "an endpoint's address may carry a secret"
            finally:
                await node.close()

    asyncio.run(story())


def test_deeply_nested_answer_is_unavailable() -> None:
    async def story() -> None:
        async with Server(_deep) as server:
            nodes = Nodes((Endpoint(server.url),), ChainIdentity(1, PAYER.address), RpcLimits())
            try:
                with pytest.raises(LegUnavailable, match="node 1"):
                    await nodes.read(lambda web3: web3.eth.chain_id)
            finally:
                await nodes.close()

    asyncio.run(story())


@pytest.mark.parametrize(
    "results",
    [
        {"eth_getBlockByNumber": None}, {"eth_getBlockByNumber": {}}, {"eth_getBlockByNumber": {"number": "0x1"}},
        {"eth_getBlockByNumber": {"number": "zero", "hash": "0x", "timestamp": []}}, {"eth_chainId": None},
        {"eth_chainId": "0xg"}, {"eth_getLogs": None}, {"eth_getLogs": [1]}, {"eth_getLogs": [{"address": "0x"}]},
        {"eth_getLogs": {"a": 1}}, {"eth_getCode": "0x00"}, {"eth_getCode": None},
    ],
    ids=str,
)  # fmt: skip
def test_malformed_results_are_unavailable(world: EvmWorld, results: dict) -> None:
    """Whatever a decoder makes of it, the caller sees one thing."""

    async def story() -> None:
        async with liar(world, lambda method, _, result: results.get(method, result)) as server:
            leg = world.leg(endpoints=(Endpoint(server.url),))
            try:
                with pytest.raises(LegUnavailable):
                    await leg.find(b"i" * 32)
            finally:
                await world.close()

    asyncio.run(story())


def liar(world: EvmWorld, change: Callable[[str, list, object], object]) -> Server:
    """A server that asks the real node and may change what it says."""

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        async with aiohttp.ClientSession() as session, session.post(world.node.url, json=asked) as response:
            said = await response.json()
        if "result" in said:
            said["result"] = change(asked["method"], asked["params"], said["result"])
        return web.json_response(said)

    return Server(answer)


def told(world: EvmWorld, change: Callable[[str, list, object], object], story, **settings) -> None:
    """Run a story with an adapter of the payee whose first node lies and whose second does not."""

    async def whole() -> None:
        async with liar(world, change) as server:
            payer = world.leg(PAYER)
            order = world.order()
            await payer.lock(order)
            world.node.mine(4)
            await payer.find(order.lock_id)
            payee = world.leg(PAYEE, endpoints=(Endpoint(server.url), Endpoint(world.node.url)), **settings)
            try:
                await story(payer, payee, order)
            finally:
                await world.close()

    asyncio.run(whole())


def logs_of(change: Callable[[dict], dict | None]):
    """Change each event; None hides it."""

    def changed(method: str, _: list, result: object) -> object:
        if method != "eth_getLogs":
            return result
        return [log for log in map(change, result) if log is not None]

    return changed


def test_forged_fields_are_passed_over(world: EvmWorld) -> None:
    """An event whose name is not the hash of its fields is no lock: amounts and payees cannot be talked up."""

    def change(log: dict) -> dict:
        forged = bytearray.fromhex(log["data"][2:])
        forged[2 * 32 + 31] ^= 1
        return {**log, "data": "0x" + forged.hex()}

    async def story(payer, payee, order) -> None:
        assert (await payee.find(order.lock_id)).state is LockState.ABSENT
        payee.expect(order)
        view = await payee.find(order.lock_id)
        assert view.state is LockState.FINAL, "the contract's own word shows the lie, and the second node is asked"

    told(world, logs_of(change), story)


def test_forged_preimage_is_passed_over(world: EvmWorld) -> None:
    def change(log: dict) -> dict:
        return {**log, "data": "0x" + "77" * 32} if log["topics"][0] == "0x" + CLAIMED.hex() else log

    async def story(payer, payee, order) -> None:
        await payer.claim(order.lock_id, secret("one"))
        world.node.mine(4)
        view = await payee.find(order.lock_id)
        assert (view.state, view.preimage) == (LockState.CLAIMED_FINAL, secret("one"))

    told(world, logs_of(change), story)


def test_hidden_claim_is_seen_with_the_contracts_state(world: EvmWorld) -> None:
    """Who hides the claim alone is believed by one node's word, and not when two must agree."""

    def change(log: dict) -> dict | None:
        return None if log["topics"][0] == "0x" + CLAIMED.hex() else log

    async def story(payer, payee, order) -> None:
        await payer.claim(order.lock_id, secret("one"))
        world.node.mine(4)
        view = await payee.find(order.lock_id)
        assert (view.state, view.reason) == (LockState.SEEN, "too few nodes show it")

    told(world, logs_of(change), story, agreement=2)


@pytest.mark.parametrize("agreement", [1, 2])
def test_invented_lock_needs_agreement(world: EvmWorld, agreement: int) -> None:
    """A lock that stands nowhere but at one node is never final where two must agree."""

    def invent(method: str, parameters: list, result: object) -> object:
        if method != "eth_getLogs":
            return result
        forged = []
        for log in result:
            if log["topics"][0] == "0x" + LOCKED.hex():
                terms = replace(world.terms(world.order()), amount=10**9)
                fields = (terms.payee, terms.token, terms.amount, terms.hashlock, terms.timelock)
                data = encode(["address", "address", "uint256", "bytes32", "uint64"], fields)
                forged.append(
                    {
                        **log,
                        "data": "0x" + data.hex(),
                        "topics": [log["topics"][0], "0x" + terms.id.hex(), *log["topics"][2:]],
                    }
                )
        return forged

    async def alone(payer, payee, order) -> None:
        view = await payee.find(order.lock_id)
        assert view.state is LockState.FINAL and view.order.amount == 10**9, "one trusted node is one's own risk"

    async def agreed(payer, payee, order) -> None:
        assert (await payee.find(order.lock_id)).state is LockState.SEEN

    told(world, invent, alone if agreement == 1 else agreed, agreement=agreement)


def test_events_of_others_are_passed_over(world: EvmWorld) -> None:
    """Events of another contract, another id, another kind, or marked as removed are none of ours."""
    changes = iter([
        {"address": STRANGER.address}, {"removed": True}, {"topics": ["0x" + "01" * 32] * 4},
        {"topics": ["0x" + LOCKED.hex()]},
    ])  # fmt: skip

    def change(log: dict) -> dict:
        return {**log, **next(changes)}

    async def story(payer, payee, order) -> None:
        for _ in range(4):
            assert (await payee.find(order.lock_id)).state is LockState.ABSENT

    told(world, logs_of(change), story)


def test_transaction_that_a_node_keeps_but_no_block_takes(world: EvmWorld) -> None:
    """A node says that it has the transaction, and no block has it: a better offer replaces it, as often as needed."""
    censoring = True

    def change(method: str, parameters: list, result: object) -> object:
        if censoring and method == "eth_sendRawTransaction":
            world.node("anvil_dropTransaction", result)
        if censoring and method == "eth_getTransactionByHash":
            return {"hash": parameters[0]}
        return result

    async def story() -> None:
        nonlocal censoring
        async with liar(world, change) as server:
            leg = world.leg(endpoints=(Endpoint(server.url),), fees=FeePolicy(stuck_blocks=2))
            try:
                order = world.order()
                await leg.lock(order)
                for _ in range(6):
                    world.node.mine()
                    assert (await leg.find(order.lock_id)).state is LockState.ABSENT
                assert leg.counts.replaced == 3 and leg.counts.sent == 1
                out = FileBook(world.folder / f"{PAYER.address}.json").read()[0]
                fees = [attempt.offer.max_fee for attempt in out.attempts]
                assert len(fees) == 4 and all(later * 100 >= earlier * 113 for earlier, later in pairwise(fees))
                censoring = False
                await leg.find(order.lock_id)
                world.node.mine(4)
                assert (await leg.find(order.lock_id)).state is LockState.FINAL
            finally:
                await world.close()

    asyncio.run(story())


@pytest.mark.parametrize("rests", [True, False])
def test_history_that_changes_under_the_reader(world: EvmWorld, rests: bool) -> None:
    """A reorganisation between two answers makes the reader begin anew; if it never rests, it says so."""
    reorganisations = iter([1])

    def once(method: str, parameters: list, result: object) -> object:
        if method == "eth_getLogs" and next(reorganisations, None):
            world.node("anvil_reorg", 1, [])
        return result

    async def calm(payer, payee, order) -> None:
        assert (await payee.find(order.lock_id)).order == order

    def always(method: str, parameters: list, result: object) -> object:
        if method == "eth_getLogs":
            world.node.mine()
            world.node("anvil_reorg", 2, [])
        return result

    async def restless(payer, payee, order) -> None:
        payee._nodes._nodes[1]._endpoint = payee._nodes._nodes[0]._endpoint
        with pytest.raises(LegUnavailable, match="reorganised while it was read"):
            await payee.find(order.lock_id)

    told(world, once if rests else always, calm if rests else restless)
