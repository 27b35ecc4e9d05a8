"""What lock, claim and refund cost in gas: `python -m tests.evm.gas` measures it on the pinned node."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bridge.evm.contract import call_claim, call_lock, call_refund
from tests.evm import toolchain
from tests.evm.node import AnvilNode
from tests.evm.world import PAYEE, PAYER, SECOND, STRANGER, EvmWorld, secret


def measure(world: EvmWorld, token_code: bytes) -> dict[str, int]:
    """Gas used by each call, native coin and token; the payee has held coin before and some of the token."""
    token = world.deploy(token_code)
    for account in (PAYER.address, PAYEE.address):
        world.mint(token, account, 1_000_000)
    figures: dict[str, int] = {}
    for asset, what in (("", "native coin"), (token, "token")):
        # The first use of the contract writes its balance from nothing, as no later one does.
        for label in ("warm", "claimed", "refunded"):
            order = world.order(label + asset, token=asset)
            data, value = call_lock(world.terms(order))
            receipt = world.node.transact(PAYER.address, world.contract, data, value)
            assert int(receipt["status"], 16) == 1
            if label == "warm":
                continue
            figures[f"lock, {what}"] = int(receipt["gasUsed"], 16)
            if label == "claimed":
                data = call_claim(world.terms(order), secret(label + asset))
            else:
                world.node.mine(at=order.timelock_ns // SECOND)
                data = call_refund(world.terms(order))
            receipt = world.node.transact(STRANGER.address, world.contract, data)
            assert int(receipt["status"], 16) == 1
            figures[f"{'claim' if label == 'claimed' else 'refund'}, {what}"] = int(receipt["gasUsed"], 16)
    return figures


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = toolchain.compile_files(Path(folder) / "settings.json", toolchain.HERE / "contracts" / "TestTokens.sol")
        node = AnvilNode(toolchain.anvil())
        try:
            world = EvmWorld(node, Path(folder))
            world.set_up()
            code = bytes.fromhex(made["contracts"]["TestTokens.sol"]["PlainToken"]["bytecode"])
            for name, gas in measure(world, code).items():
                print(f"{name:24} {gas:>8,}")
        finally:
            node.close()


if __name__ == "__main__":
    main()
