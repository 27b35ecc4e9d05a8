"""Transactions on their way: one nonce each, written down before they are sent, replaced when they are stuck.

The key is the adapter's alone. A transaction stays in the book until its nonce is used in a final block; until then
it is sent again whenever a node has lost it (a restart, a reorganisation), and offered a better fee when blocks pass
without it. Two transactions for one wish never are out at once, and if it happened the contract would refuse the
second.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from eth_utils.address import to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3.exceptions import ContractCustomError, ContractLogicError, TransactionNotFound, Web3RPCError

from bridge.evm.book import Attempt, Outgoing
from bridge.evm.contract import refusal_of
from bridge.evm.reading import read_head
from bridge.evm.rpc import plain_words
from bridge.evm.transaction import Transaction, sign
from bridge.leg import LegCode, LegRefused, LegUnavailable

if TYPE_CHECKING:
    from bridge.evm.book import Kind, OutgoingBook
    from bridge.evm.fees import FeePolicy, Offer
    from bridge.evm.reading import Finality, Head
    from bridge.evm.rpc import Nodes, Web3Node
    from bridge.evm.transaction import Signer

__all__ = ["Call", "Sender", "SenderCounts"]

_NONCE_TRIES_MAX = 4
# What a transfer without data costs on every chain of this kind.
_EMPTY_GAS = 21_000
# Failures are kept for who asks once more; the oldest go first.
_FAILURES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """A call to be sent: what for (kind and the lock's name on the chain), to whom, with what."""

    kind: Kind
    lock: bytes
    to: bytes
    value: int
    data: bytes


@dataclass(slots=True)
class SenderCounts:
    """What happened since the start: for metrics and tests."""

    sent: int = 0
    sent_again: int = 0
    replaced: int = 0
    held_by_cap: int = 0
    """How often a stuck transaction could not be replaced, for the cap leaves no room."""
    reverted: int = 0
    stranded: int = 0
    """How many were given up for nonces before theirs that nobody will use: a node had counted wrongly."""
    voided: int = 0
    """How often a lock that the account could not pay any more gave way to an empty transaction of its nonce."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """One node's word on this account: its newest block, nonces used there and in the final block, fee of old."""

    head: Head
    used: int
    used_final: int
    expected_nonce: int
    gas_price: int

    @property
    def base_fee(self) -> int:
        return self.gas_price if self.head.base_fee is None else self.head.base_fee


class Sender:
    """Sends calls for one key on one chain."""

    def __init__(
        self, nodes: Nodes, signer: Signer, *, policy: FeePolicy, book: OutgoingBook, finality: Finality, tick_ns: int
    ) -> None:
        """Take up what the book holds; nothing is sent before the first call of ``send`` or ``tend``."""
        self.counts = SenderCounts()
        self.address = signer.address
        self._nodes = nodes
        self._signer = signer
        self._policy = policy
        self._book = book
        self._finality = finality
        self._tick_ns = tick_ns
        self._out = {one.nonce: one for one in book.read()}
        self._failures: dict[tuple[Kind, bytes], str] = {}
        self._one_at_a_time = asyncio.Lock()

    @property
    def out_count(self) -> int:
        """How many transactions are on their way or not final yet."""
        return len(self._out)

    def is_out(self, kind: Kind, lock: bytes) -> bool:
        """Whether a transaction for this wish is on its way or not final yet."""
        return any(one.kind == kind and one.lock == lock for one in self._out.values())

    def failure(self, kind: Kind, lock: bytes) -> str:
        """Say how the last transaction for this wish failed on the chain, for good; "" when none did."""
        return self._failures.get((kind, lock), "")

    async def send(self, call: Call) -> None:
        """Send a call, or see to it that the one that is out for the same wish goes on.

        Raises LegRefused for what the chain or the fee cap refuses, LegUnavailable when no node took it; in that
        case it is in the book and will be sent again.
        """
        async with self._one_at_a_time:
            if self.is_out(call.kind, call.lock):
                await self._tend()
                return
            self._failures.pop((call.kind, call.lock), None)
            await self._send_new(call)
            if call.kind == "claim" and len(self._out) > 1:
                await self._tend()  # what stands before the claim gets the claim's cap

    async def tend(self) -> None:
        """Look after all that is out."""
        if self._out:
            async with self._one_at_a_time:
                await self._tend()

    async def _send_new(self, call: Call) -> None:
        gas = await self._nodes.read(lambda web3: self._estimate(web3, call), insist=True)
        for _ in range(_NONCE_TRIES_MAX):
            standing = await self._nodes.read(self._standing)
            offer = self._policy.first(standing.base_fee, claim=call.kind == "claim")
            nonce = max(standing.used, standing.expected_nonce, max(self._out, default=-1) + 1)
            dynamic = standing.head.base_fee is not None
            fresh = Outgoing(call.kind, call.lock, nonce, call.to, call.value, call.data, gas, dynamic, ())
            refusal = await self._try(fresh, offer, standing.head.number)
            if not refusal:
                self.counts.sent += 1
                return
            # No node took it, and none has it: the nonce is free again.
            del self._out[nonce]
            self._save()
            if "nonce too low" not in refusal.lower():
                raise LegRefused(LegCode.BALANCE if _too_dear(refusal) else LegCode.CHAIN_REFUSED, refusal)
        raise LegUnavailable("another process uses this key: every nonce was taken")

    async def _tend(self) -> None:
        if not self._out:
            return
        standing = await self._nodes.read(self._standing)
        self._leave_stranded(standing)
        for nonce in sorted(self._out):
            one = self._out[nonce]
            if nonce < standing.used_final:
                await self._settle(one)
            elif nonce >= standing.used:
                await self._push(one, standing)

    def _leave_stranded(self, standing: _Standing) -> None:
        """Give up what no block can ever take, so that who wishes it sends it anew under a nonce that is next.

        Should a block take one of them after all, the contract refuses the other.
        """
        lowest = min(self._out)
        age = standing.head.number - self._out[lowest].attempts[0].sent_at
        if max(standing.used, standing.expected_nonce) < lowest and age >= self._policy.stuck_blocks:
            self.counts.stranded += len(self._out)
            self._out.clear()
            self._save()

    async def _settle(self, one: Outgoing) -> None:
        """Forget a transaction whose nonce is used for good; remember when it was included in vain.

        When none of its forms was included, another process used the key: whoever still wishes it sends it anew.
        """
        succeeded = await self._nodes.read(lambda web3: _succeeded(web3, one))
        if succeeded is False:
            self.counts.reverted += 1
            self._fail(one, f"the {one.kind} was included and reverted")
        del self._out[one.nonce]
        self._save()

    def _fail(self, one: Outgoing, reason: str) -> None:
        if len(self._failures) >= _FAILURES_MAX:
            del self._failures[next(iter(self._failures))]
        self._failures[one.kind, one.lock] = reason

    async def _push(self, one: Outgoing, standing: _Standing) -> None:
        """Send again what no node has, and replace what no block takes."""
        newest = one.attempts[-1]
        words = ""
        if not await self._nodes.read(lambda web3: _known(web3, newest.hash)):
            self.counts.sent_again += 1
            words = await self._nodes.broadcast(newest.raw)
            if not words:
                fresh = replace(newest, sent_at=standing.head.number)
                self._out[one.nonce] = replace(one, attempts=(*one.attempts[:-1], fresh))
                return
        elif standing.head.number - newest.sent_at < self._policy.stuck_blocks:
            return
        better = self._policy.better(newest.offer, standing.base_fee, claim=self._carries_claim(one.nonce))
        if better is None:
            self.counts.held_by_cap += 1
            return
        if not _too_dear(words):
            words = await self._try(one, better, standing.head.number)
            self.counts.replaced += not words
        if one.value and _too_dear(words):
            # The account no longer has the coin for this lock. Its nonce is used up by sending nothing to ourselves,
            # or every later transaction, claims too, would wait for it.
            self.counts.voided += 1
            empty = replace(one, to=to_canonical_address(self.address), value=0, data=b"", gas=_EMPTY_GAS)
            await self._try(empty, better, standing.head.number)

    def _carries_claim(self, nonce: int) -> bool:
        """Whether a claim waits at this nonce or behind it: nonces go in order, so a cheap lock would hold it back."""
        return any(other.kind == "claim" and other.nonce >= nonce for other in self._out.values())

    async def _try(self, one: Outgoing, offer: Offer, height: int) -> str:
        """Sign a form of a transaction, write it down, send it; return a refusal's words or ""."""
        chain_id = self._nodes.identity.chain_id
        transaction = Transaction(chain_id, one.nonce, one.to, one.value, one.data, one.gas, offer, one.dynamic)
        raw = sign(transaction, self._signer)
        out = {**self._out, one.nonce: one.tried(Attempt(raw, keccak(raw), offer, height))}
        # On the disk before it is known here: what is known is sent on by whoever looks after it.
        self._book.write(tuple(out[nonce] for nonce in sorted(out)))
        self._out = out
        return await self._nodes.broadcast(raw)

    def _save(self) -> None:
        self._book.write(tuple(self._out[nonce] for nonce in sorted(self._out)))

    async def _standing(self, web3: Web3Node) -> _Standing:
        account = cast("Any", self.address)
        head = await read_head(web3, self._finality, self._tick_ns, self._nodes.limits)
        used = await web3.eth.get_transaction_count(account, head.number)
        used_final = await web3.eth.get_transaction_count(account, head.final) if self._out else 0
        expected = await web3.eth.get_transaction_count(account, "pending")
        gas_price = 0 if head.base_fee is not None else await web3.eth.gas_price
        return _Standing(head, used, used_final, expected, gas_price)

    async def _estimate(self, web3: Web3Node, call: Call) -> int:
        transaction = {
            "from": self.address,
            "to": to_checksum_address(call.to),
            "value": call.value,
            "data": "0x" + call.data.hex(),
        }
        try:
            # As of the newest block and not with what waits: a stranger's call in the pool decides nothing.
            return self._policy.gas_limit(await web3.eth.estimate_gas(cast("Any", transaction), "latest"))
        except (ContractLogicError, ContractCustomError) as error:
            raise LegRefused(*refusal_of(_revert_bytes(error.data))) from error
        except Web3RPCError as error:
            words = plain_words(error.message)
            if _too_dear(words):
                raise LegRefused(LegCode.BALANCE, words) from error
            raise


def _too_dear(words: str) -> bool:
    """Whether a node's refusal means that the account has too little."""
    return "insufficient funds" in words.lower()


def _revert_bytes(data: object) -> bytes:
    """Read what a revert answered, in the form the library hands on."""
    try:
        return bytes(HexBytes(cast("str", data))) if isinstance(data, str | bytes) else b""
    except ValueError:
        return b""


async def _known(web3: Web3Node, transaction: bytes) -> bool:
    try:
        await web3.eth.get_transaction(HexBytes(transaction))
    except TransactionNotFound:
        return False
    return True


async def _succeeded(web3: Web3Node, one: Outgoing) -> bool | None:
    """Whether a form of the transaction was included and did its work; None when none was included."""
    for attempt in reversed(one.attempts):
        try:
            receipt = await web3.eth.get_transaction_receipt(HexBytes(attempt.hash))
        except TransactionNotFound:
            continue
        return bool(receipt["status"])
    return None
