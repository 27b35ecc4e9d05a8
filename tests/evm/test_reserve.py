"""What a bridge holds back for fees before it begins a swap: enough for the dearest claim as the chain stands."""

from __future__ import annotations

import asyncio

from bridge.evm.contract import call_claim
from bridge.evm.fees import FeePolicy
from bridge.evm.rpc import Endpoint
from tests.evm.test_rpc import liar
from tests.evm.world import PAYEE, PAYER, EvmWorld, secret


def test_the_reserve_pays_for_a_claim_and_follows_the_fee(world: EvmWorld) -> None:
    async def story() -> None:
        payer, payee = world.leg(PAYER), world.leg(PAYEE)
        try:
            order = world.order()
            await payer.lock(order)
            world.node.mine(4)
            assert payee.fee_reserve == 0, "nothing was seen yet"
            await payee.clock()
            call = {
                "from": PAYEE.address,
                "to": world.contract,
                "data": "0x" + call_claim(world.terms(order), secret("one")).hex(),
            }
            fees = world.settings().fees
            gas = fees.gas_limit(int(world.node("eth_estimateGas", call), 16))
            base_fee = int(world.node("eth_getBlockByNumber", "latest", False)["baseFeePerGas"], 16)
            assert payee.fee_reserve >= gas * fees.first(base_fee, claim=True).max_fee
            world.node("anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
            world.node.mine()
            before = payee.fee_reserve
            await payee.clock()
            assert payee.fee_reserve > 10 * before
            capped = world.leg(PAYEE, book=False, fees=FeePolicy(cap=10**10, claim_cap=10**10))
            await capped.clock()
            assert capped.fee_reserve == 100_000 * 10**10
        finally:
            await world.close()

    asyncio.run(story())


def test_a_chain_without_fees_asks_for_no_reserve(world: EvmWorld) -> None:
    def change(method: str, _: list, result: object) -> object:
        if method == "eth_getBlockByNumber" and isinstance(result, dict):
            return {key: value for key, value in result.items() if key != "baseFeePerGas"}
        return result

    async def story() -> None:
        async with liar(world, change) as server:
            leg = world.leg(endpoints=(Endpoint(server.url),))
            try:
                await leg.clock()
                assert leg.fee_reserve == 0
            finally:
                await world.close()

    asyncio.run(story())
