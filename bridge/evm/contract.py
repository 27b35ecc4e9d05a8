"""The contract as bytes: its shipped artifact, the name of a lock, calls, events and refusals.

Knows no node. The artifact's hash of the source is checked when it is loaded, so source and bytecode belong together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import is_address, to_checksum_address
from eth_utils.crypto import keccak

from bridge.leg import HashFunction, LegCode, LegRefused, LockOrder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "CLAIMED",
    "ENDED_TOPICS",
    "LOCKED",
    "REFUNDED",
    "STATE_ABSENT",
    "Artifact",
    "ContractTerms",
    "artifact",
    "call_claim",
    "call_lock",
    "call_refund",
    "call_state",
    "claimed_preimage",
    "locked_order",
    "refusal_of",
    "terms_of",
]

_SOURCE, _SHIPPED = "HashTimeLock.sol", "HashTimeLock.json"
_TERMS = "(bytes32,address,address,address,uint256,bytes32,uint64)"
_LOCKED_DATA = ["address", "address", "uint256", "bytes32", "uint64"]
_NATIVE = "0x" + "00" * 20
_U64_END = 1 << 64
STATE_ABSENT = 0


def _signature(text: str) -> bytes:
    return keccak(text=text)


LOCKED = _signature("Locked(bytes32,bytes32,address,address,address,uint256,bytes32,uint64)")
CLAIMED = _signature("Claimed(bytes32,bytes32,bytes32)")
REFUNDED = _signature("Refunded(bytes32,bytes32)")
ENDED_TOPICS = (CLAIMED, REFUNDED)

_LOCK = _signature("lock(bytes32,address,bytes32,uint64)")[:4]
_LOCK_TOKEN = _signature("lockToken(bytes32,address,address,uint256,bytes32,uint64)")[:4]
_CLAIM = _signature(f"claim({_TERMS},bytes32)")[:4]
_REFUND = _signature(f"refund({_TERMS})")[:4]
_STATE = _signature("state(bytes32)")[:4]

_REFUSALS = {
    "AmountZero": LegCode.MALFORMED,
    "PayeeInvalid": LegCode.MALFORMED,
    "TokenInvalid": LegCode.ASSET_UNKNOWN,
    "TimelockPassed": LegCode.TIMELOCK_PASSED,
    "AlreadyLocked": LegCode.TERMS_DIFFER,
    "NotOpen": LegCode.LOCK_ENDED,
    "PreimageMismatch": LegCode.PREIMAGE_MISMATCH,
    "TooEarly": LegCode.TOO_EARLY,
    "TooLate": LegCode.TOO_LATE,
    "TokenRefused": LegCode.BALANCE,
    "AmountShort": LegCode.ASSET_UNKNOWN,
    "PaymentRefused": LegCode.CHAIN_REFUSED,
    "Reentered": LegCode.CHAIN_REFUSED,
}
_BY_SELECTOR = {_signature(f"{name}()")[:4]: name for name in _REFUSALS}


@dataclass(frozen=True, slots=True)
class Artifact:
    """What ships: the interface, the code that deploys and the code that then stands on the chain."""

    abi: list[dict[str, Any]]
    bytecode: bytes
    deployed_bytecode: bytes
    source_sha256: str
    compiler: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ContractTerms:
    """A lock as the contract names it: chain id, contract and the seven fields, whose hash is ``id``."""

    chain_id: int
    contract: str
    order_id: bytes
    payer: str
    payee: str
    token: str
    amount: int
    hashlock: bytes
    timelock: int

    def fields(self) -> tuple[bytes, str, str, str, int, bytes, int]:
        """Give the seven fields in the contract's order."""
        return (self.order_id, self.payer, self.payee, self.token, self.amount, self.hashlock, self.timelock)

    @property
    def id(self) -> bytes:
        """The lock's name on the chain, 32 bytes."""
        return keccak(encode(["uint256", "address", _TERMS], [self.chain_id, self.contract, self.fields()]))


@cache
def artifact() -> Artifact:
    """Load what ships beside this module; raises ValueError when source and bytecode do not belong together."""
    folder = files("bridge.evm")
    shipped = json.loads(folder.joinpath(_SHIPPED).read_text(encoding="utf-8"))
    found = sha256(folder.joinpath(_SOURCE).read_bytes()).hexdigest()
    if found != shipped["source_sha256"]:
        raise ValueError(f"{_SHIPPED} was compiled from a source of hash {shipped['source_sha256']}, not {found}")
    return Artifact(
        shipped["abi"],
        bytes.fromhex(shipped["bytecode"]),
        bytes.fromhex(shipped["deployed_bytecode"]),
        found,
        shipped["compiler"],
        shipped["settings"],
    )


def terms_of(order: LockOrder, chain_id: int, contract: str, tick_ns: int) -> ContractTerms:
    """Write an order as the contract does; raises LegRefused for what the contract cannot say.

    ``tick_ns`` is the unit of block.timestamp in nanoseconds; a timelock must be a whole number of them.
    """
    if order.hash_function is not HashFunction.SHA256:
        raise LegRefused(LegCode.HASH_FUNCTION_UNSUPPORTED, f"the contract has no {order.hash_function.name}")
    timelock, rest = divmod(order.timelock_ns, tick_ns)
    if rest or timelock >= _U64_END:
        raise LegRefused(LegCode.MALFORMED, f"the timelock is not a whole number of the chain's ticks of {tick_ns} ns")
    token = _address(order.asset, "asset") if order.asset else _NATIVE
    if order.asset and token == _NATIVE:
        raise LegRefused(LegCode.ASSET_UNKNOWN, "the native coin is written as an empty asset")
    payer, payee = _address(order.payer, "payer"), _address(order.payee, "payee")
    return ContractTerms(chain_id, contract, order.lock_id, payer, payee, token, order.amount, order.hashlock, timelock)


def call_lock(terms: ContractTerms) -> tuple[bytes, int]:
    """Return the call that makes the lock and the native coin that it carries."""
    if terms.token == _NATIVE:
        body = encode(
            ["bytes32", "address", "bytes32", "uint64"], [terms.order_id, terms.payee, terms.hashlock, terms.timelock]
        )
        return _LOCK + body, terms.amount
    body = encode(
        ["bytes32", "address", "address", "uint256", "bytes32", "uint64"],
        [terms.order_id, terms.payee, terms.token, terms.amount, terms.hashlock, terms.timelock],
    )
    return _LOCK_TOKEN + body, 0


def call_claim(terms: ContractTerms, preimage: bytes) -> bytes:
    """Return the call that claims."""
    return _CLAIM + encode([_TERMS, "bytes32"], [terms.fields(), preimage])


def call_refund(terms: ContractTerms) -> bytes:
    """Return the call that refunds."""
    return _REFUND + encode([_TERMS], [terms.fields()])


def call_state(lock: bytes) -> bytes:
    """Return the call that asks where a lock stands: 0 absent, 1 open, 2 claimed, 3 refunded."""
    return _STATE + lock


def locked_order(
    topics: Sequence[bytes], data: bytes, chain_id: int, contract: str, tick_ns: int
) -> tuple[bytes, LockOrder] | None:
    """Read a Locked event into its lock's name and order; None unless the name is the hash of what it says.

    An event that this adapter's orders cannot express (more than 128 bits of amount) is None too.
    """
    try:
        payee, token, amount, hashlock, timelock = decode(_LOCKED_DATA, data)
        payer = to_checksum_address(topics[3][12:])
        terms = ContractTerms(
            chain_id, contract, topics[2], payer, to_checksum_address(payee), to_checksum_address(token),
            amount, hashlock, timelock,
        )  # fmt: skip
        if terms.id != topics[1]:
            return None
        asset = "" if terms.token == _NATIVE else terms.token
        order = LockOrder(
            topics[2], payer, terms.payee, amount, HashFunction.SHA256, hashlock, timelock * tick_ns, asset
        )
    except (DecodingError, IndexError, LegRefused, ValueError):
        return None
    return terms.id, order


def claimed_preimage(data: bytes, hashlock: bytes) -> bytes | None:
    """Read the preimage of a Claimed event; None unless it opens the hashlock."""
    preimage = bytes(data)
    return preimage if len(preimage) == 32 and sha256(preimage).digest() == hashlock else None


def refusal_of(revert: bytes) -> tuple[LegCode, str]:
    """Turn what a reverted call answered into our word and the contract's."""
    name = _BY_SELECTOR.get(revert[:4])
    if name is None:
        return LegCode.CHAIN_REFUSED, f"the call reverted with {revert[:68].hex() or 'nothing'}"
    return _REFUSALS[name], f"the contract answered {name}"


def _address(text: str, what: str) -> str:
    """Give an address in its one written form; mixed case must carry the right checksum."""
    written = text.removeprefix("0x")
    cased = written not in {written.lower(), written.upper()}
    if written == text or not is_address(text) or (cased and text != to_checksum_address(text)):
        raise LegRefused(LegCode.MALFORMED, f"the {what} is not an address of this chain")
    return cast("str", to_checksum_address(text))
