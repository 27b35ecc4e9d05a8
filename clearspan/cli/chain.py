# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan chain`: chains that are not ours: a key, the contract there, and whether a bridge can work.

A bridge reads its chains from the file that its settings name under [chains] (docs/bridge-evm.md).
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from clearspan.cli.options import IN_FILE, OUT_FILE, json_option
from clearspan.cli.output import Output, money

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.evm.adapter import EvmLeg
    from bridge.evm.deploy import Deployment
    from bridge.evm.transaction import Signer
    from clearspan.bridging.chains.config import ChainSection, LoadedChains

__all__ = ["command"]

_NS_PER_S: Final = 1_000_000_000
_COIN_SCALE: Final = 18
_file_option = click.option(
    "--file", "path", type=IN_FILE, default=Path("chains.toml"), show_default=True, help="The file of chains."
)
_passphrase_option = click.option(
    "--passphrase-file", type=IN_FILE, required=True, help="File of the passphrase, mode 0600."
)


@click.group("chain")
def command() -> None:
    """Prepare and check chains that are not ours, on which a bridge serves legs of swaps."""


@command.command("key")
@click.option("--out", type=OUT_FILE, required=True, help="File to write the key to, encrypted, mode 0600.")
@_passphrase_option
@json_option
def make_key(out: Path, passphrase_file: Path, as_json: bool) -> int:
    """Make a key for a chain (secp256k1) and show its address. One key is for one bridge on one chain alone."""
    from clearspan.bridging.chains.key import ChainKey
    from clearspan.errors import ConfigError
    from clearspan.keys import read_passphrase

    passphrase = read_passphrase(passphrase_file)
    if out.exists():
        raise ConfigError(str(out), "is there already, and a key is never overwritten", "name another file")
    key = ChainKey.create()
    key.save(out, passphrase)
    output = Output(as_json=as_json)
    output.document({"address": key.address, "file": str(out)})
    output.line(f"key of {key.address}, kept in {out}")
    output.line("next: send it coin for fees, and name it in the file of chains")
    return 0


@command.command("address")
@click.argument("path", metavar="KEY", type=IN_FILE)
@json_option
def address(path: Path, as_json: bool) -> int:
    """Show the address that a key file says it is of; its passphrase is not asked for."""
    from clearspan.bridging.chains.key import ChainKey

    found = ChainKey.address_in(path)
    output = Output(as_json=as_json)
    output.document({"address": found, "file": str(path)})
    output.line(found)
    return 0


@command.command("deploy")
@click.option("--endpoint", required=True, help="A node of the chain, https://… or on this machine.")
@click.option("--chain-id", type=click.IntRange(1), required=True, help="The chain's number; the node is asked for it.")
@click.option("--key", "key_path", type=IN_FILE, required=True, help="The key that pays for it.")
@_passphrase_option
@click.option("--plain-http", is_flag=True, help="Let a node on another machine be reached without TLS.")
@json_option
def deploy(
    *, endpoint: str, chain_id: int, key_path: Path, passphrase_file: Path, plain_http: bool, as_json: bool
) -> int:
    """Bring the contract HashTimeLock to a chain, once for all bridges; print what the file of chains needs.

    The contract has no owner and no parameters: the same bytes stand on every chain, and every bridge compares them.
    """
    from clearspan.bridging.chains.config import demand_endpoint
    from clearspan.bridging.chains.key import ChainKey
    from clearspan.keys import read_passphrase

    demand_endpoint("--endpoint", endpoint, plain_http=plain_http)
    signer = ChainKey.load(key_path, read_passphrase(passphrase_file)).signer()
    found = asyncio.run(_deploy(endpoint, chain_id, signer))
    output = Output(as_json=as_json)
    output.document({"contract": found.contract, "first_block": found.block, "gas": found.gas, "chain_id": chain_id})
    output.line(f'contract = "{found.contract}"')
    output.line(f"first_block = {found.block}")
    output.note(f"it took {found.gas} gas; these two lines belong into the chain's section")
    return 0


async def _deploy(endpoint: str, chain_id: int, signer: Signer) -> Deployment:
    from bridge.evm.deploy import deploy as bring
    from bridge.evm.rpc import Endpoint

    async with _refusals():
        return await bring(Endpoint(endpoint), chain_id, signer)


@command.command("check")
@_file_option
@json_option
def check(path: Path, as_json: bool) -> int:
    """Examine each chain of a file as a bridge does: its number, the contract's code, its newest block, our coin.

    Exit code 3 when one does not answer as it should.
    """
    from clearspan.bridging.chains.config import read_chains

    loaded = read_chains(path)
    documents = asyncio.run(_check_all(loaded))
    output = Output(as_json=as_json)
    output.document({"chains": documents})
    rows = [
        (
            each["name"],
            "yes" if each["answers"] else "no",
            each.get("height", ""),
            each.get("head_age_s", ""),
            each["address"],
            each["balance"]["text"] if each["answers"] else each["error"],
        )
        for each in documents
    ]
    output.table(("chain", "answers", "height>", "age s>", "account", "coin"), rows)
    return 0 if all(each["answers"] for each in documents) else 3


async def _check_all(loaded: LoadedChains) -> list[dict[str, Any]]:
    return [await _check(each, loaded) for each in loaded.chains]


async def _check(section: ChainSection, loaded: LoadedChains) -> dict[str, Any]:
    from bridge.leg import LegError

    leg = _leg(section, loaded)
    found: dict[str, Any] = {"name": section.name, "address": leg.address, "contract": section.contract}
    try:
        clock = await leg.clock()
        balance = await leg.balance()
    except LegError as error:
        return {**found, "answers": False, "error": str(error)}
    finally:
        await leg.close()
    return {
        **found,
        "answers": True,
        "height": clock.height,
        "final_height": clock.final_height,
        "head_age_s": max(0, time.time_ns() - clock.time_ns) // _NS_PER_S,
        "balance": money(balance, "coin", _COIN_SCALE),
    }


@command.command("approve")
@_file_option
@click.option("--name", required=True, help="The chain, as the file names it.")
@click.option("--token", required=True, help="The token's contract, 0x and 40 hexadecimal digits.")
@click.option("--amount", type=click.IntRange(0), required=True, help="In the token's smallest unit; 0 takes it back.")
@json_option
def approve(path: Path, name: str, token: str, amount: int, as_json: bool) -> int:
    """Let the contract take up to an amount of a token from the bridge's account: needed once before token locks.

    Stop the bridge first: two processes that use one key take each other's places.
    """
    from clearspan.bridging.chains.config import read_chains
    from clearspan.errors import ConfigError

    loaded = read_chains(path)
    section = next((each for each in loaded.chains if each.name == name), None)
    if section is None:
        known = ", ".join(each.name for each in loaded.chains) or "none"
        raise ConfigError("--name", f"{path} has the chains {known}", "name one of them")
    account = asyncio.run(_approve(_leg(section, loaded), token, amount))
    output = Output(as_json=as_json)
    output.document({"chain": name, "account": account, "token": token, "amount": str(amount)})
    output.line(f"sent: the contract may take {amount} of {token} from {account}, as soon as a block holds it")
    return 0


async def _approve(leg: EvmLeg, token: str, amount: int) -> str:
    try:
        async with _refusals():
            await leg.approve(token, amount)
    finally:
        await leg.close()
    return leg.address


def _leg(section: ChainSection, loaded: LoadedChains) -> EvmLeg:
    """Return the adapter of a chain for a moment; nothing that is out is taken up."""
    from bridge.evm.adapter import EvmLeg
    from clearspan.bridging.chains.evm_line import evm_settings
    from clearspan.bridging.chains.key import ChainKey
    from clearspan.keys import read_passphrase

    key = ChainKey.load(loaded.resolve(section.key), read_passphrase(loaded.resolve(section.passphrase_file)))
    return EvmLeg(evm_settings(section), key.signer())


@asynccontextmanager
async def _refusals() -> AsyncIterator[None]:
    """Turn what a chain refuses, or does not answer, into errors of a command."""
    from bridge.leg import LegRefused, LegUnavailable
    from clearspan.errors import Refused, Unreachable

    try:
        yield
    except LegUnavailable as error:
        raise Unreachable("the chain", error.text) from error
    except LegRefused as error:
        raise Refused(0, f"chain_{error.code.value}", error.text, "mend what it names, then try again") from error
