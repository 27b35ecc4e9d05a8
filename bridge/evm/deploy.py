"""Bring the contract to a chain, once: send the shipped bytecode, wait for it, compare what stands there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3 import AsyncWeb3
from web3.exceptions import TransactionNotFound, Web3RPCError
from web3.middleware import ExtraDataToPOAMiddleware

from bridge.evm.contract import artifact
from bridge.evm.fees import FeePolicy
from bridge.evm.rpc import RpcLimits, RpcNode
from bridge.evm.transaction import Transaction, sign
from bridge.leg import LegCode, LegRefused, LegUnavailable

if TYPE_CHECKING:
    from eth_typing import ChecksumAddress

    from bridge.evm.rpc import Endpoint
    from bridge.evm.transaction import Signer

__all__ = ["Deployment", "deploy"]

_GAS_MAX = 2_000_000
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the contract stands, the block that brought it and what that cost."""

    contract: ChecksumAddress
    block: int
    gas: int


async def deploy(
    endpoint: Endpoint, chain_id: int, signer: Signer, *, fees: FeePolicy | None = None, wait_s: int = 300
) -> Deployment:
    """Deploy through one node; the key must have nothing else on its way.

    Raises LegUnavailable when no block brought it within ``wait_s`` (it may still come: look before repeating), and
    LegRefused when the node is of another chain, the fee cap forbids it or other code stands there than was sent.
    """
    node = RpcNode("node", endpoint, RpcLimits())
    try:
        web3 = AsyncWeb3(node, middleware=[ExtraDataToPOAMiddleware])
        if await web3.eth.chain_id != chain_id:
            raise LegRefused(LegCode.CHAIN_REFUSED, f"the node is of chain {await web3.eth.chain_id}, not {chain_id}")
        latest = await web3.eth.get_block("latest")
        base_fee = latest.get("baseFeePerGas")
        policy = fees or FeePolicy(gas_max=_GAS_MAX)
        offer = policy.first(await web3.eth.gas_price if base_fee is None else int(base_fee), claim=False)
        nonce = await web3.eth.get_transaction_count(cast("Any", signer.address), "pending")
        transaction = Transaction(
            chain_id, nonce, b"", 0, artifact().bytecode, _GAS_MAX, offer, dynamic=base_fee is not None
        )
        raw = sign(transaction, signer)
        try:
            await web3.eth.send_raw_transaction(raw)
        except Web3RPCError as error:
            raise LegRefused(LegCode.CHAIN_REFUSED, str(error.message)[:200]) from error
        return await _wait(web3, keccak(raw), wait_s)
    finally:
        await node.close()


async def _wait(web3: AsyncWeb3[RpcNode], name: bytes, wait_s: int) -> Deployment:
    """Ask for the receipt until it is there."""
    loop = asyncio.get_running_loop()
    end = loop.time() + wait_s
    while True:
        try:
            receipt = await web3.eth.get_transaction_receipt(HexBytes(name))
            break
        except TransactionNotFound as error:
            if loop.time() >= end:
                raise LegUnavailable(f"no block brought 0x{name.hex()} within {wait_s} s") from error
            await asyncio.sleep(_POLL_S)
    address = to_checksum_address(cast("str", receipt["contractAddress"]))
    if bytes(await web3.eth.get_code(address)) != artifact().deployed_bytecode:
        raise LegRefused(LegCode.CHAIN_REFUSED, f"other code stands at {address} than was sent")
    return Deployment(address, int(receipt["blockNumber"]), int(receipt["gasUsed"]))
