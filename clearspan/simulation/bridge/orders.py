"""Every order of lock, reveal, consumption and refund around one timelock, on real ledgers and a simulated chain.

It promises that within ``span`` ticks of the timelock there is no instant at which two legs end differently, or one of
them twice or never: what a leg ends as is the relay's word alone, whatever the clock of its shard reads.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from msgspec import structs

from bridge.leg import HashFunction, LockOrder, LockState
from bridge.memory_chain import ChainRules, ClaimWish, LockWish, MemoryChain, RefundWish, Wish
from bridge.terms import LegTerms, SwapTerms, account_text, seal_terms
from clearspan.simulation.bridge.places import Place
from clearspan.simulation.bridge.realm import realm_of
from engine.invariants import invariant
from engine.relay_block import RelayBlock, reveal_record
from engine.types import NS_PER_S, ZERO_HASH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clearspan.simulation.bridge.realm import Realm

__all__ = ["OrdersReport", "enumerate_chain_orders", "enumerate_orders"]

_TIMELOCK_AFTER_NS: Final = 100 * NS_PER_S
_SHARDED: Final = 0
"""A realm whose first ledger has one shard and whose second has two: there payer and payee have one each."""
_PAYER: Final = 0
_PAYEE: Final = 1
_CLAIMED: Final = "claim"
_REFUNDED: Final = "refund"
_OPEN: Final = "open"


@dataclass(frozen=True, slots=True)
class _Course:
    """One shard's course: the relay's two blocks, and when it locks, seals, and what its own clock reads then."""

    reveals: bool
    first: int
    second: int
    lock_after: int
    seal_after: int
    clock: int


@dataclass(frozen=True, slots=True)
class OrdersReport:
    """How many courses of one shard were run, how many pairs of them compared, and how often each end came out."""

    courses: int
    pairs: int
    ends: dict[str, int]


def enumerate_orders(span: int = 3, seals: tuple[int, ...] = (0, 1, 2)) -> OrdersReport:
    """Run every course of one leg on each of two ledgers and compare all pairs that one relay allows.

    ``seals`` says between which steps a shard seals on its own clock: before the first relay block, between the two,
    after the second.

    Raises InvariantBroken for the first that ends otherwise than the relay says.
    """
    realm = realm_of(2, _SHARDED)
    terms, secret = _terms(realm)
    timelock = terms.legs[0].timelock_ns
    # The second shard's clock at both ends and at the timelock: what it reads matters to neither.
    clocks = (range(-span, span + 1), (-span, 0, span))
    ends: dict[str, int] = {_CLAIMED: 0, _REFUNDED: 0, _OPEN: 0}
    courses = pairs = 0
    for reveals, first, second in _relays(span):
        blocks = _blocks(realm, timelock + first, timelock + second, secret if reveals else None)
        found: list[dict[int, set[str]]] = [{}, {}]
        for leg, own_clocks in enumerate(clocks):
            for lock_after, seal_after, clock in product((0, 1), seals, own_clocks):
                course = _Course(reveals, first, second, lock_after, seal_after, clock)
                end = _run(realm, terms, leg, blocks, course)
                invariant(end == _expected(course), "a_leg_ends_as_the_relay_says", course=course, leg=leg, end=end)
                found[leg].setdefault(lock_after, set()).add(end)
                ends[end] += 1
                courses += 1
        # Both were locked before the reveal: whatever their shards' clocks read, they end alike.
        here, there = sorted(found[0][0]), sorted(found[1][0])
        invariant(here == there and len(here) == 1, "legs_end_alike", first=first, second=second, ends=(here, there))
        pairs += len(seals) ** 2 * len(clocks[0]) * len(clocks[1])
    return OrdersReport(courses, pairs, ends)


def _relays(span: int) -> Iterator[tuple[bool, int, int]]:
    """Yield whether the first block reveals, and the times of both blocks relative to the timelock."""
    instants = range(-span, span + 1)
    for reveals, first, second in product((True, False), instants, instants):
        if second >= first:
            yield reveals, first, second


def _expected(course: _Course) -> str:
    if course.reveals and course.first < 0 and course.lock_after == 0:
        return _CLAIMED
    # By the relay's time, to which a shard's clock is lifted, or by the shard's own it was asked for too late.
    refused = course.lock_after == 1
    if refused or max(course.first, course.second) < 0:
        return _OPEN
    return _REFUNDED


def _terms(realm: Realm) -> tuple[SwapTerms, bytes]:
    timelock = realm.time + _TIMELOCK_AFTER_NS
    legs = tuple(
        LegTerms(world.ledger, account_text(world.account(_PAYER)), account_text(world.account(_PAYEE)), 5, timelock)
        for world in realm.worlds
    )
    draft = SwapTerms(bytes(16), realm.genesis.hash, legs, HashFunction.SHA256, bytes(32), realm.time)
    return seal_terms(draft, hashlib.sha256(b"orders").digest(), realm.genesis.hash_suite)


def _blocks(realm: Realm, first: int, second: int, secret: bytes | None) -> tuple[RelayBlock, RelayBlock]:
    suite = realm.genesis.hash_suite
    records = [] if secret is None else [reveal_record(secret)]

    def block(height: int, time: int, parent: bytes, held: list) -> RelayBlock:  # type: ignore[type-arg]
        return RelayBlock.build(
            suite,
            height=height,
            view=0,
            time=time,
            parent_hash=parent,
            set_id=1,
            genesis_hash=realm.genesis.hash,
            records=held,
        )

    one = block(1, first, ZERO_HASH, records)
    return one, block(2, second, one.hash(suite), [])


def _run(realm: Realm, terms: SwapTerms, leg: int, blocks: tuple[RelayBlock, RelayBlock], course: _Course) -> str:
    """Play one course on a fresh ledger; return how its lock ended."""
    place = Place(realm, leg)
    early = realm.time + NS_PER_S
    late = terms.legs[leg].timelock_ns + course.clock
    record = terms.lock_record(
        leg,
        realm.genesis.hash_suite,
        key_id=place.world.banks[_PAYER].account_key,
        now_ns=early,
        window_s=60,
    )
    for step in range(3):
        if step == course.lock_after:
            place.offer(record)
            place.round(early)
        if step == course.seal_after:
            place.round(late)
        if step < len(blocks):
            place.consume([blocks[step]], early)
    place.round(early)
    locks = [lock for lock in place.locks if lock.created()]
    if not locks:
        return _OPEN
    proofs = locks[0].proofs
    invariant(not (_CLAIMED in proofs and _REFUNDED in proofs), "a_lock_ends_once", course=course)
    return next((what for what in (_CLAIMED, _REFUNDED) if what in proofs), _OPEN)


def enumerate_chain_orders(span: int = 3) -> int:
    """Put claim and refund into one block of a foreign chain in both orders, at every instant; return how many."""
    secret = hashlib.sha256(b"orders").digest()
    start = 1_000 * NS_PER_S
    timelock = start + _TIMELOCK_AFTER_NS
    order = LockOrder(bytes(32), "0xa", "0xb", 5, HashFunction.SHA256, hashlib.sha256(secret).digest(), timelock, "")
    count = 0
    for instant, claim_first, again in product(range(-span, span + 1), (True, False), (True, False)):
        chain = MemoryChain(ChainRules(finality_depth=1), start)
        chain.endow("0xa", 5)
        chain.submit(LockWish(order))
        chain.produce(start + 1)
        wishes: list[Wish] = [ClaimWish(order, secret), RefundWish(order)]
        for wish in wishes if claim_first else wishes[::-1]:
            chain.submit(wish)
        chain.produce(timelock + instant)
        if again:
            chain.submit(RefundWish(structs.replace(order)))
            chain.produce(timelock + instant + 1)
        chain.check_invariants()
        state = chain.view(order).state
        claimed = state in (LockState.CLAIMED, LockState.CLAIMED_FINAL)
        invariant(claimed == (instant < 0), "the_chain_claims_before_and_refunds_from", instant=instant, state=state)
        count += 1
    return count
