"""A chain as a bridge's process has it: on a thread of its own, and what `clearspan chain` does before and beside it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from bridge.evm.book import FileBook
from bridge.leg import LegCode, LegRefused, LegUnavailable, LockState
from clearspan.bridging.chains.config import ChainSection, read_chains, render_chains
from clearspan.bridging.chains.evm_line import EvmLine, open_line
from clearspan.bridging.chains.key import ChainKey
from clearspan.private_files import ScryptCost, write_private
from tests.e2e.support import Ran, program
from tests.evm.node import AnvilNode
from tests.evm.world import ETHER, PAYER, EvmWorld, secret


def section_of(world: EvmWorld, **changes) -> ChainSection:
    made = ChainSection(
        name="anvil", chain_id=31337, contract=world.contract, endpoints=(world.node.url,), key="a.key",
        passphrase_file="passphrase", finality_depth=3, poll_ms=50,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def line_of(world: EvmWorld, **changes) -> EvmLine:
    return EvmLine(section_of(world, **changes), PAYER, FileBook(world.folder / "line.json"))


def test_a_lock_and_its_claim_go_over_the_thread(world: EvmWorld) -> None:
    """What the adapter promises holds through the line, and the bridge's loop never runs web3."""
    order = world.order()
    line = line_of(world)
    assert line._thread is not threading.current_thread() and line.address == PAYER.address

    async def work() -> None:
        line.expect(order)
        await line.lock(order)
        assert line.out_count == 1
        world.node.mine(5)
        assert (await line.find(order.lock_id)).state is LockState.FINAL
        await line.tend()
        assert line.out_count == 0
        await line.claim(order.lock_id, secret("one"))
        world.node.mine(5)
        view = await line.find(order.lock_id)
        assert (view.state, view.preimage) == (LockState.CLAIMED_FINAL, secret("one"))
        assert (await line.clock()).height == world.node.head()[0]
        assert 999 * ETHER < await line.balance() < 1_000 * ETHER
        line.forget(order.lock_id)
        await line.close()
        await line.close()

    asyncio.run(work())
    assert not line._thread.is_alive()


def test_refusals_and_silence_come_through_as_they_are(world: EvmWorld) -> None:
    """An order that the chain cannot say, one that is not ours, a node that is gone, a book that cannot be written."""
    line = line_of(world, timeout_s=1)
    order = world.order()

    async def work() -> None:
        with pytest.raises(LegRefused) as caught:
            line.demand(replace(order, timelock_ns=order.timelock_ns + 1))
        assert caught.value.code is LegCode.MALFORMED
        with pytest.raises(LegRefused):
            line.expect(replace(order, payee="nobody"))
        with pytest.raises(LegRefused) as caught:
            await line.lock(replace(order, payer=order.payee, payee=order.payer))
        assert caught.value.code is LegCode.NOT_OURS
        book = world.folder / "line.json"
        book.unlink(missing_ok=True)
        book.mkdir()
        with pytest.raises(LegUnavailable, match="book"):
            await line.lock(order)
        world.node.kill()
        with pytest.raises(LegUnavailable):
            await line.clock()
        await line.close()

    asyncio.run(work())


def test_a_line_does_not_take_another_contract_or_chain(world: EvmWorld) -> None:
    """Code and number are compared before anything is asked: no wish leaves for a chain that is not meant."""
    changes = [{"contract": PAYER.address}, {"chain_id": 1}, {"genesis": "0x" + "11" * 32}]

    async def work() -> None:
        for change in changes:
            line = line_of(world, **change)
            with pytest.raises(LegUnavailable):
                await line.clock()
            await line.close()

    asyncio.run(work())


def test_the_commands_prepare_a_chain(anvil: Path, clearspan: Callable[..., Ran], tmp_path: Path) -> None:
    """Goal: an operator needs nothing else. Method: key, address, deploy, check and approve, as they are typed."""
    node = AnvilNode(anvil, tmp_path / "node.state", block_s=1)
    try:
        secret_file = tmp_path / "passphrase"
        write_private(secret_file, b"a passphrase\n")
        key = tmp_path / "a.key"
        made = clearspan("chain", "key", "--out", key, "--passphrase-file", secret_file, "--json")
        assert made.code == 0, made.err
        address = made.json["address"]
        assert clearspan("chain", "address", key).out.strip() == address
        again = clearspan("chain", "key", "--out", key, "--passphrase-file", secret_file)
        assert again.code == 2 and "overwritten" in again.err
        node("anvil_setBalance", address, hex(ETHER))
        options = ("--key", key, "--passphrase-file", secret_file, "--json")
        far = clearspan("chain", "deploy", "--endpoint", "http://10.0.0.1:1", "--chain-id", "31337", *options)
        assert far.code == 2 and "TLS" in far.err
        wrong = clearspan("chain", "deploy", "--endpoint", node.url, "--chain-id", "5", *options)
        assert wrong.code == 1, wrong.err
        brought = clearspan("chain", "deploy", "--endpoint", node.url, "--chain-id", "31337", *options)
        assert brought.code == 0, brought.err
        found = brought.json
        section = ChainSection(
            name="anvil", chain_id=31337, contract=found["contract"], first_block=found["first_block"],
            endpoints=(node.url,), key="a.key", passphrase_file="passphrase",
        )  # fmt: skip
        chains = tmp_path / "chains.toml"
        write_private(chains, render_chains((section,)).encode())
        checked = clearspan("chain", "check", "--file", chains, "--json")
        assert checked.code == 0, checked.out + checked.err
        (row,) = checked.json["chains"]
        assert (row["answers"], row["address"]) == (True, address)
        token = found["contract"]  # anything with code will do for an allowance that is only sent
        approved = clearspan("chain", "approve", "--file", chains, "--name", "other", "--token", token, "--amount", "1")
        assert approved.code == 2 and "anvil" in approved.err
        node.kill()
        silent = clearspan("chain", "check", "--file", chains)
        assert silent.code == 3 and "no" in silent.out
    finally:
        node.close()


def test_a_token_is_approved_and_locked(world: EvmWorld, tokens, tmp_path: Path) -> None:
    """Goal: a token's lock needs the allowance once. Method: the lock is refused, the command, the lock."""
    plain = next(name for name in tokens if "Plain" in name or name == "Token")
    token = world.deploy(tokens[plain])
    world.node.transact(PAYER.address, token, _mint(PAYER.address))
    key = ChainKey.create()
    key.save(tmp_path / "a.key", b"x", ScryptCost(n=2))
    write_private(tmp_path / "passphrase", b"x\n")
    world.node("anvil_setBalance", key.address, hex(10 * ETHER))
    world.node.transact(PAYER.address, token, _mint(key.address))
    chains = tmp_path / "chains.toml"
    write_private(chains, render_chains((section_of(world),)).encode())
    order = replace(world.order(token=token), payer=key.address)
    line = open_line(section_of(world), read_chains(chains), tmp_path)

    async def locked() -> LockState:
        await line.lock(order)
        world.node.mine(5)
        return (await line.find(order.lock_id)).state

    async def work() -> None:
        with pytest.raises(LegRefused):
            await line.lock(order)
        asked = ("--file", str(chains), "--name", "anvil", "--token", token, "--amount", "1000000")
        approved = await asyncio.to_thread(program, "chain", "approve", *asked)
        assert approved.returncode == 0, approved.stderr
        world.node.mine(1)
        assert await locked() is LockState.FINAL
        await line.close()

    asyncio.run(work())


def _mint(account: str) -> bytes:
    from eth_abi.abi import encode  # noqa: PLC0415

    from tests.evm.world import method  # noqa: PLC0415

    return method("mint(address,uint256)") + encode(["address", "uint256"], [account, 1_000_000])
