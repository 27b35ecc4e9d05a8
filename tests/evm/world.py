"""The contract on a real node with three funded accounts, and the rig that the conformance kit drives."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from msgspec import structs

from bridge.evm.adapter import EvmLeg, EvmSettings
from bridge.evm.book import FileBook
from bridge.evm.contract import artifact, call_claim, call_refund, terms_of
from bridge.evm.fees import FeePolicy
from bridge.evm.reading import Finality
from bridge.evm.rpc import Endpoint, RpcLimits
from bridge.evm.transaction import Signer, signer_of
from bridge.leg import HashFunction, LegAdapter, LockOrder
from native.hashing import digest
from tests.evm.node import AnvilNode, RpcError

SECOND = 1_000_000_000
ETHER = 10**18


PAYER, PAYEE, STRANGER = (
    signer_of(digest(1, b"a key of the EVM tests: " + name)) for name in (b"payer", b"payee", b"stranger")
)
SIGNERS = {signer.address: signer for signer in (PAYER, PAYEE, STRANGER)}


def method(signature: str) -> bytes:
    return keccak(text=signature)[:4]


@dataclass
class EvmWorld:
    """One node with the contract; `token` is the address of a plain token, or empty."""

    node: AnvilNode
    folder: Path
    contract: str = ""
    token: str = ""
    legs: list[EvmLeg] = field(default_factory=list)
    extra_endpoints: tuple[Endpoint, ...] = ()

    def set_up(self, token_code: bytes | None = None) -> None:
        for address in SIGNERS:
            self.node("anvil_setBalance", address, hex(1_000 * ETHER))
        receipt = self.node.transact(STRANGER.address, None, artifact().bytecode)
        self.contract = to_checksum_address(receipt["contractAddress"])
        if token_code is not None:
            self.token = self.deploy(token_code)
            for address in (PAYER.address, STRANGER.address):
                self.mint(self.token, address, 1_000_000)

    def deploy(self, code: bytes) -> str:
        return to_checksum_address(self.node.transact(STRANGER.address, None, code)["contractAddress"])

    def mint(self, token: str, account: str, amount: int) -> None:
        """Give tokens, and let the contract take them."""
        self.node.transact(
            STRANGER.address, token, method("mint(address,uint256)") + encode(["address", "uint256"], [account, amount])
        )
        approve = method("approve(address,uint256)") + encode(["address", "uint256"], [self.contract, 2**255])
        self.node.transact(account, token, approve)

    def settings(self, **changes) -> EvmSettings:
        settings = EvmSettings(
            chain_id=31337,
            contract=self.contract,
            endpoints=(Endpoint(self.node.url), *self.extra_endpoints),
            finality=Finality(depth=3),
            fees=FeePolicy(),
            limits=RpcLimits(timeout_s=5),
            tend_interval_s=0.0,
        )
        return replace(settings, **changes)

    def leg(self, signer: Signer = PAYER, *, book: bool = True, **changes) -> EvmLeg:
        leg = EvmLeg(
            self.settings(**changes), signer, FileBook(self.folder / f"{signer.address}.json") if book else None
        )
        self.legs.append(leg)
        return leg

    async def close(self) -> None:
        for leg in self.legs:
            await leg.close()

    def balance(self, account: str, token: str = "") -> int:
        if not token:
            return int(self.node("eth_getBalance", account, "latest"), 16)
        answer = self.node.call(token, method("balanceOf(address)") + encode(["address"], [account]))
        return int.from_bytes(answer, "big")

    def order(self, label: str = "one", *, lock_s: int = 600, token: str = "", **changes) -> LockOrder:
        _, now = self.node.head()
        order = LockOrder(
            digest(1, label.encode()), PAYER.address, PAYEE.address, 1_000, HashFunction.SHA256,
            digest(1, secret(label)), (now + lock_s) * SECOND, token,
        )  # fmt: skip
        return structs.replace(order, **changes)

    def terms(self, order: LockOrder):
        return terms_of(order, 31337, self.contract, SECOND)


def secret(label: str) -> bytes:
    return digest(1, b"secret of " + label.encode())


class EvmRig:
    """The world as the conformance kit wants it."""

    payer, payee, stranger = PAYER.address, PAYEE.address, STRANGER.address
    hash_function = HashFunction.SHA256
    tick_ns = SECOND
    finality_depth = 3

    def __init__(self, world: EvmWorld) -> None:
        self.world = world
        self.node = world.node
        self.asset = world.token

    async def adapter(self) -> LegAdapter:
        return self.world.leg(PAYER)

    async def adapter_of(self, account: str) -> LegAdapter:
        return self.world.leg(SIGNERS[account])

    async def advance(self, blocks: int) -> None:
        self.node.mine(blocks)

    async def block_at(self, time_ns: int) -> None:
        self.node.mine(at=time_ns // SECOND)

    async def reorganise(self, depth: int) -> None:
        self.node("anvil_reorg", depth, [])

    async def stop(self) -> None:
        self.node.keep()
        self.node.kill()

    async def start(self) -> None:
        self.node.start()

    async def balance(self, account: str) -> int:
        return self.world.balance(account, self.asset)

    async def force_claim(self, order: LockOrder, preimage: bytes) -> bool:
        whole = call_claim(self.world.terms(order), b"\0" * 32)[:-32]
        return self._force(whole + preimage)

    async def force_refund(self, order: LockOrder) -> bool:
        return self._force(call_refund(self.world.terms(order)))

    def _force(self, data: bytes) -> bool:
        try:
            return int(self.node.transact(STRANGER.address, self.world.contract, data)["status"], 16) == 1
        except RpcError:
            return False  # a node may refuse to carry it at all


def rig_factory(binary: Path, folder: Path, token_code: bytes | None = None):
    @asynccontextmanager
    async def factory():
        node = AnvilNode(binary, folder / "node.state")
        world = EvmWorld(node, folder)
        try:
            world.set_up(token_code)
            yield EvmRig(world)
        finally:
            await world.close()
            node.close()

    return factory
