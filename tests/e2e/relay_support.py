"""What the tests of validators share: clients of them, and shards whose headers are signed with a folder's own keys."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass

from clearspan.client.relay import RelayClient
from clearspan.cluster import Validators
from clearspan.errors import Refused, Unreachable
from clearspan.keys import KeyFile, read_passphrase
from clearspan.network import Network
from clearspan.pki import TlsFiles
from engine.relay_block import RelayBlock
from engine.types import Role
from engine.validators import Certificate
from relay.state import RelayState
from tests.behaviour.relay_world import Chain

PATIENCE_S = 30.0


def tls_of(network: Network, name: str) -> TlsFiles:
    folder = network.path / "tls"
    return TlsFiles(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")


def relay_client(validators: Validators, participant: int, speaker: str = "reader", timeout_s: float = 5.0):
    target = validators.address(participant).target
    return RelayClient(target, tls_of(validators.network, speaker), timeout_s=timeout_s)


@dataclass
class _Key:
    key_id: int
    file: KeyFile

    def sign(self, message: bytes) -> bytes:
        return self.file.sign(message)


class FolderKeys:
    """A folder's genesis with its block keys, in the shape that ``Chain`` asks for."""

    def __init__(self, network: Network) -> None:
        self.network, self.genesis = network, network.genesis

    def key(self, domain: int, role: Role) -> _Key:
        assert role is Role.BLOCK
        folder = self.network.node_folder(domain) / "keys"
        file = KeyFile.load(folder / "block.key", read_passphrase(folder / "passphrase"))
        return _Key(file.info.key_id, file)


def shard_chain(network: Network, shard: int) -> Chain:
    return Chain(FolderKeys(network), shard)


class Following:
    """Takes final blocks in order and checks each of them as a stranger does: from the genesis on."""

    def __init__(self, network: Network) -> None:
        self.suite = network.genesis.hash_suite
        self.state = RelayState.begin(network.genesis)
        self.blocks: list[RelayBlock] = []

    def take(self, message) -> RelayBlock:
        block = RelayBlock.decode(message.block, self.suite)
        certificate = Certificate.decode(message.certificate)
        block.verify_certificate(self.suite, certificate, self.state.set_at(block.header.height))
        self.state.check(block, None, None)
        self.state = self.state.after(block, certificate)
        self.blocks.append(block)
        return block

    async def follow(self, client: RelayClient, until) -> None:
        """Take blocks from a validator until a condition of this holds; a timeout is the test's failure."""
        async with asyncio.timeout(PATIENCE_S), aclosing(client.blocks(self.state.height + 1, follow=True)) as blocks:
            if until(self):
                return
            async for message in blocks:
                self.take(message)
                if until(self):
                    return


async def height_of(validators: Validators, participant: int) -> int:
    async with relay_client(validators, participant) as client:
        return (await client.status()).final_height


async def reaches(validators: Validators, participant: int, height: int, patience_s: float = PATIENCE_S) -> float:
    """Wait until a validator has a height; return the seconds it took."""
    began = time.monotonic()
    async with asyncio.timeout(patience_s):
        while True:
            try:
                if await height_of(validators, participant) >= height:
                    return time.monotonic() - began
            except (Refused, Unreachable):
                pass
            await asyncio.sleep(0.02)
