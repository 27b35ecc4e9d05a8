"""The leg port on an EVM chain: locks of the contract HashTimeLock, driven over several nodes with one key.

What ``find`` shows comes from events that are checked against the contract's own naming. Wishes are sent again until
they are final; after a restart the book of transactions goes on where it stood, and who asks again for a wish that is
out or done gets no second transaction.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from eth_abi.abi import encode
from eth_utils.address import is_address, to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak
from msgspec import structs

from bridge.evm.book import MemoryBook
from bridge.evm.contract import ContractTerms, call_claim, call_lock, call_refund, terms_of
from bridge.evm.fees import FeePolicy
from bridge.evm.reading import Finality, Reader, read_head
from bridge.evm.rpc import ChainIdentity, Nodes, RpcLimits
from bridge.evm.sending import Call, Sender
from bridge.leg import PREIMAGE_BYTES, ChainClock, LegCode, LegRefused, LegUnavailable, LockState, LockView
from bridge.memory_chain import preimage_fits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.evm.book import Kind, OutgoingBook
    from bridge.evm.reading import Head, Seen
    from bridge.evm.rpc import Endpoint, Web3Node
    from bridge.evm.sending import SenderCounts
    from bridge.evm.transaction import Signer
    from bridge.leg import LockOrder

__all__ = ["EvmLeg", "EvmSettings"]

_OPEN = (LockState.SEEN, LockState.FINAL)
_CLAIMED = (LockState.CLAIMED, LockState.CLAIMED_FINAL)
_REFUNDED = (LockState.REFUNDED, LockState.REFUNDED_FINAL)
_ENDED_FOR_GOOD = (LockState.CLAIMED_FINAL, LockState.REFUNDED_FINAL)
_FINAL_TO_SEEN = {
    LockState.FINAL: LockState.SEEN,
    LockState.CLAIMED_FINAL: LockState.CLAIMED,
    LockState.REFUNDED_FINAL: LockState.REFUNDED,
}
# Who waits for a lock says so again with each look, so the oldest may go.
_EXPECTED_MAX = 100_000
# A claim with its margin, of a token and for an account that never held any.
_CLAIM_GAS = 100_000
_Finding: TypeAlias = "tuple[Head, tuple[Seen, ...]]"
_Standing: TypeAlias = "tuple[Head, LockView, LockOrder]"
_Wish: TypeAlias = tuple[Literal["lock", "claim", "refund"], ContractTerms, bytes]


@dataclass(frozen=True, slots=True)
class EvmSettings:
    """One chain and one contract as the operator states them.

    ``contract`` stands on chain ``chain_id`` since ``first_block``; ``genesis`` is the hash of block 0, checked when
    given. ``tick_ns`` is the unit of block.timestamp (a second; a millisecond on some chains of banks). A state is
    called final only when ``agreement`` nodes show it alike. ``tend_interval_s`` is how often reading looks after
    what is out while the chain makes no block.
    """

    chain_id: int
    contract: str
    endpoints: tuple[Endpoint, ...]
    finality: Finality = field(default_factory=Finality)
    fees: FeePolicy = field(default_factory=FeePolicy)
    limits: RpcLimits = field(default_factory=RpcLimits)
    genesis: bytes | None = None
    first_block: int = 0
    lookback_blocks: int = 100_000
    tick_ns: int = 1_000_000_000
    agreement: int = 1
    tend_interval_s: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not is_address(self.contract):
            raise ValueError("contract: not an address")
        if not 1 <= self.agreement <= len(self.endpoints):
            raise ValueError("agreement: between 1 and the number of endpoints")


class EvmLeg:
    """An ExpectingAdapter for one key (its signer's address is the payer of its locks) on one chain."""

    def __init__(self, settings: EvmSettings, signer: Signer, book: OutgoingBook | None = None) -> None:
        """Connect with the first call; without a book, transactions that are out are forgotten by a restart."""
        self._settings = settings
        contract = to_checksum_address(settings.contract)
        self._contract = to_canonical_address(contract)
        self._nodes = Nodes(
            settings.endpoints, ChainIdentity(settings.chain_id, contract, settings.genesis), settings.limits
        )
        self._reader = Reader(
            settings.chain_id,
            contract,
            settings.finality,
            settings.limits,
            settings.first_block,
            settings.lookback_blocks,
            settings.tick_ns,
        )
        self._sender = Sender(
            self._nodes,
            signer,
            policy=settings.fees,
            book=MemoryBook() if book is None else book,
            finality=settings.finality,
            tick_ns=settings.tick_ns,
        )
        self._expected: dict[bytes, LockOrder] = {}
        self._wishes: dict[bytes, list[_Wish]] = {}
        self._tended: tuple[bytes, float] = (b"", 0.0)
        self._base_fee: int | None = None

    @property
    def address(self) -> str:
        """The account whose key signs."""
        return self._sender.address

    @property
    def counts(self) -> SenderCounts:
        """What was sent, sent again, replaced, held by the cap."""
        return self._sender.counts

    @property
    def out_count(self) -> int:
        """How many transactions are out and not final yet."""
        return self._sender.out_count

    @property
    def fee_reserve(self) -> int:
        """What a claim may cost at the base fee that ``clock`` saw last; 0 where the chain has none."""
        fees, base_fee = self._settings.fees, self._base_fee
        return 0 if base_fee is None else _CLAIM_GAS * min(2 * base_fee + fees.priority_fee, fees.claim_cap)

    async def balance(self) -> int:
        """Return what the account holds of the chain's coin, as of the newest block: fees are paid of it."""
        account = cast("Any", self.address)
        return int(await self._nodes.read(lambda web3: web3.eth.get_balance(account)))

    def expect(self, order: LockOrder) -> None:
        """Look for exactly this order under its id from now on; raises LegRefused when this chain cannot say it."""
        self._terms(order)
        self._expect(order)

    async def lock(self, order: LockOrder) -> None:
        """Send the lock; refuses what the contract would refuse as the chain stands."""
        terms = self._terms(order)
        if terms.payer != self.address:
            raise LegRefused(LegCode.NOT_OURS, f"this adapter acts for {self.address}, not for {terms.payer}")
        for _, other, _ in self._wishes.get(order.lock_id, ()):
            if other.payer == terms.payer and other != terms:
                raise LegRefused(LegCode.TERMS_DIFFER, "this payer's lock with the same id says otherwise")
        head, mine = await self._nodes.read(lambda web3: self._reader.locks_of(web3, order.lock_id, terms.payer))
        if any(name != terms.id for name in mine):
            raise LegRefused(LegCode.TERMS_DIFFER, "this payer's lock with the same id says otherwise")
        wish: _Wish = ("lock", terms, b"")
        self._expect(order)
        self._remember(order.lock_id, wish)
        try:
            if self._sender.is_out("lock", terms.id) or not await self._stands(terms, head, order.timelock_ns):
                await self._send(*wish)
        except LegRefused:
            # What was refused is no wish any more, and its id is free for other terms.
            self._wishes.pop(order.lock_id, None)
            self._expected.pop(order.lock_id, None)
            raise

    async def find(self, lock_id: bytes) -> LockView:
        """Show the lock, and look after this adapter's transactions for it."""
        expected = self._expected.get(lock_id)
        name = None if expected is None else self._terms(expected).id
        asked, (head, seen) = await self._find(lock_id, name)
        await self._look_after(head)
        view = _choose(seen, expected)
        if view.state in _FINAL_TO_SEEN and not await self._agreed(lock_id, name, (head, seen), asked):
            view = structs.replace(view, state=_FINAL_TO_SEEN[view.state], reason="too few nodes show it")
        if self._settings.agreement > 1 and view.state not in _FINAL_TO_SEEN:
            # Whom nobody believes alone can hide nothing alone either: the next look asks another node.
            self._nodes.turn()
        if view.state in _ENDED_FOR_GOOD:
            self._wishes.pop(lock_id, None)
        for kind, terms, preimage in self._wishes.get(lock_id, ()):
            if not self._due(kind, terms, view, head):
                continue
            failure = self._sender.failure(kind, terms.id)
            if failure:
                if kind == "lock":
                    return LockView(LockState.REFUSED, None, None, 0, failure)
                continue
            if not self._sender.is_out(kind, terms.id):
                await self._again(kind, terms, preimage)
        return view

    async def claim(self, lock_id: bytes, preimage: bytes) -> None:
        """Send the claim; refuses a preimage that cannot fit and a claim that cannot come in time."""
        if len(preimage) != PREIMAGE_BYTES:
            raise LegRefused(LegCode.PREIMAGE_LENGTH, f"{len(preimage)} bytes, not {PREIMAGE_BYTES}")

        def demand(head: Head, view: LockView, order: LockOrder) -> None:
            if not preimage_fits(order.hash_function, order.hashlock, preimage):
                raise LegRefused(LegCode.PREIMAGE_MISMATCH, "the preimage does not open the hashlock")
            if view.state in _REFUNDED:
                raise LegRefused(LegCode.LOCK_ENDED, "the lock has been refunded")
            if view.state in _OPEN and head.time_ns >= order.timelock_ns:
                raise LegRefused(LegCode.TOO_LATE, "the timelock has passed")

        _, view, order = await self._standing(lock_id, demand)
        terms = self._terms(order)
        if view.state in _OPEN:
            try:
                await self._send("claim", terms, preimage)
            except LegUnavailable:
                # What never left is no wish: whether the secret may still be shown is not for this adapter to say.
                if self._sender.is_out("claim", terms.id):
                    self._remember(lock_id, ("claim", terms, preimage))
                raise
        self._remember(lock_id, ("claim", terms, preimage))

    async def refund(self, lock_id: bytes) -> None:
        """Send the refund; refuses before the timelock."""

        def demand(head: Head, view: LockView, order: LockOrder) -> None:
            if view.state in _CLAIMED:
                raise LegRefused(LegCode.LOCK_ENDED, "the lock has been claimed")
            if view.state in _OPEN and head.time_ns < order.timelock_ns:
                raise LegRefused(LegCode.TOO_EARLY, "the timelock has not passed")

        _, view, order = await self._standing(lock_id, demand)
        terms = self._terms(order)
        self._remember(lock_id, ("refund", terms, b""))
        if view.state in _OPEN:
            await self._send("refund", terms, b"")

    def forget(self, lock_id: bytes) -> None:
        """Drop what is remembered of a lock whose swap is over; its transactions, if out, still go on."""
        self._expected.pop(lock_id, None)
        self._wishes.pop(lock_id, None)

    async def clock(self) -> ChainClock:
        """Say what time it is on the chain: with several nodes the middle of what they say, of two the lower one.

        And no later than ``agreement`` of them say: a node that is ahead of the others ends no lock before its time.
        """
        heads = await self._nodes.read_some(self._head, self._settings.agreement)
        at = max(self._settings.agreement - 1, len(heads) // 2)

        def middle(values: Iterable[int]) -> int:
            return sorted(values, reverse=True)[at]

        is_charged = all(head.base_fee is not None for head in heads)
        self._base_fee = middle(head.base_fee or 0 for head in heads) if is_charged else None
        return ChainClock(
            middle(head.time_ns for head in heads),
            middle(head.number for head in heads),
            middle(head.final for head in heads),
        )

    async def approve(self, token: str, amount: int) -> None:
        """Let the contract take up to an amount of a token from this key's account: needed once before token locks.

        The contract takes tokens only from who calls it, so even a large allowance serves nobody else.
        """
        call = b"\x09\x5e\xa7\xb3" + encode(["address", "uint256"], [self._settings.contract, amount])
        to = to_canonical_address(token)
        await self._sender.send(Call("approve", keccak(to + call), to, 0, call))

    async def tend(self) -> None:
        """Look after all transactions that are out; ``find`` does it too, now and then."""
        await self._sender.tend()

    async def close(self) -> None:
        """Let go of the connections; nothing is lost."""
        await self._nodes.close()

    async def _stands(self, terms: ContractTerms, head: Head, timelock_ns: int) -> bool:
        """Whether the lock is on the chain, or in a node's pool from an earlier life of this adapter."""
        if await self._nodes.read(lambda web3: self._reader.state(web3, terms.id, head.number)):
            return True
        if head.time_ns >= timelock_ns:
            raise LegRefused(LegCode.TIMELOCK_PASSED, "the lock would be born refundable")
        return await self._nodes.read(lambda web3: self._reader.waits(web3, terms.id))

    def _terms(self, order: LockOrder) -> ContractTerms:
        contract = to_checksum_address(self._settings.contract)
        return terms_of(order, self._settings.chain_id, contract, self._settings.tick_ns)

    async def _head(self, web3: Web3Node) -> Head:
        return await read_head(web3, self._settings.finality, self._settings.tick_ns, self._settings.limits)

    async def _find(self, lock_id: bytes, name: bytes | None) -> tuple[int, _Finding]:
        return await self._nodes.read_at(lambda web3: self._reader.locks(web3, lock_id, name))

    async def _standing(self, lock_id: bytes, demand: Callable[[Head, LockView, LockOrder], None]) -> _Standing:
        """Return how a lock stands at a node that shows what is demanded; refuses where no node does."""
        expected = self._expected.get(lock_id)
        name = None if expected is None else self._terms(expected).id

        async def ask(web3: Web3Node) -> _Standing:
            head, seen = await self._reader.locks(web3, lock_id, name)
            view = _choose(seen, expected)
            if view.order is None:
                raise LegRefused(LegCode.LOCK_UNKNOWN, view.reason or "the chain shows no such lock")
            demand(head, view, view.order)
            return head, view, view.order

        return await self._nodes.read(ask, insist=True)

    async def _agreed(self, lock_id: bytes, name: bytes | None, finding: _Finding, asked: int) -> bool:
        """Whether enough nodes show the same locks in the same final blocks; heads may differ by a few blocks."""
        if self._settings.agreement == 1:
            return True

        async def ask(web3: Web3Node) -> tuple[LockView, ...]:
            _, seen = await self._reader.locks(web3, lock_id, name)
            return tuple(one.view for one in seen)

        views = tuple(one.view for one in finding[1])
        return await self._nodes.agree(views, ask, self._settings.agreement, asked=asked)

    async def _look_after(self, head: Head) -> None:
        """Tend what is out with every new block, and now and then without one (a node may have lost its pool)."""
        now = asyncio.get_running_loop().time()
        block, at = self._tended
        if head.hash != block or now - at >= self._settings.tend_interval_s:
            self._tended = (head.hash, now)
            with suppress(LegUnavailable):
                await self._sender.tend()

    async def _send(self, kind: Kind, terms: ContractTerms, preimage: bytes) -> None:
        value = 0
        if kind == "lock":
            data, value = call_lock(terms)
        elif kind == "claim":
            data = call_claim(terms, preimage)
        else:
            data = call_refund(terms)
        await self._sender.send(Call(kind, terms.id, self._contract, value, data))

    async def _again(self, kind: Kind, terms: ContractTerms, preimage: bytes) -> None:
        """Send a wish that history has lost; what cannot be sent now is tried with the next ``find``."""
        with suppress(LegRefused, LegUnavailable):
            # Only our key makes our locks, so one in the pool is ours. A claim there may be a stranger's, who has
            # offered too little on purpose: it is no reason to hold ours back.
            if kind != "lock" or not await self._nodes.read(lambda web3: self._reader.waits(web3, terms.id)):
                await self._send(kind, terms, preimage)

    def _due(self, kind: Kind, terms: ContractTerms, view: LockView, head: Head) -> bool:
        """Whether the chain, as it stands, lacks what was wished and could still grant it."""
        late = head.time_ns >= terms.timelock * self._settings.tick_ns
        if kind == "lock":
            return view.state is LockState.ABSENT and not late
        return view.state in _OPEN and late is (kind == "refund")

    def _expect(self, order: LockOrder) -> None:
        if order.lock_id not in self._expected and len(self._expected) >= _EXPECTED_MAX:
            del self._expected[next(iter(self._expected))]
        self._expected[order.lock_id] = order

    def _remember(self, lock_id: bytes, wish: _Wish) -> None:
        wishes = self._wishes.setdefault(lock_id, [])
        if wish not in wishes:
            wishes.append(wish)


def _choose(seen: tuple[Seen, ...], expected: LockOrder | None) -> LockView:
    """Pick the lock that is meant of those that carry its id."""
    if expected is None and len(seen) > 1:
        return LockView(LockState.REFUSED, None, None, 0, f"{len(seen)} locks carry this id: expect one of them")
    if not seen:
        return LockView(LockState.ABSENT, None, None, 0, "")
    # Given back as the caller wrote it: two ways of writing an address are one address.
    return seen[0].view if expected is None else structs.replace(seen[0].view, order=expected)
