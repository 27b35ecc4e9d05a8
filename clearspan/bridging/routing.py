"""Quotes of others, checked, and what is planned with them: routes to find, terms of the swaps that are begun.

It promises that nothing is planned with a quote whose signature, provider, corridor or expiry does not hold, and that
terms say exactly what the plan says. It locks nothing.
"""

from __future__ import annotations

import contextlib
import secrets
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from bridge.leg import HashFunction
from bridge.quotes import SignedQuote
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.routes import HOPS_MAX, Offer, RouteRequest, find_route, plan_path
from bridge.terms import SALT_BYTES, CorridorRef, LegTerms, SwapTerms, account_text, seal_terms
from clearspan.v1 import bridge_pb2
from engine.refusals import EncodingError
from engine.types import NS_PER_S, ZERO_HASH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.routes import Plan
    from clearspan.bridging.corridors import Corridors
    from clearspan.bridging.peers import Peers
    from engine.genesis import Genesis
    from engine.parties import Key

__all__ = ["Order", "Planner", "Sealed"]

_VERIFIED_KEPT_MAX: Final = 10_000
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Order:
    """A swap that is wanted: ``amount`` is exactly sent, or with ``is_target`` exactly received; UETR 16 bytes."""

    uetr: bytes
    debit_account: int
    credit_account: int
    amount: int
    is_target: bool
    quotes: tuple[bytes, ...]
    lock_s: int = 0
    hash_function: HashFunction = HashFunction.SHA256
    travel_rule_hash: bytes = ZERO_HASH


@dataclass(frozen=True, slots=True)
class Sealed:
    """A swap that may begin: its terms, the salt of its secret, the plan that it follows."""

    terms: SwapTerms
    salt: bytes
    plan: Plan
    providers: tuple[int, ...]


class Planner:
    """Plans for one payer."""

    def __init__(self, genesis: Genesis, participant: int, corridors: Corridors, peers: Peers) -> None:
        """Take whose plans these are and what they stand on."""
        self._genesis, self._participant = genesis, participant
        self._corridors, self._peers = corridors, peers
        self._verified: dict[bytes, SignedQuote] = {}

    def offer_of(self, data: bytes, now: int) -> Offer:
        """Return a signed quote as an offer, with its corridor in effect. Raises BridgeRefused."""
        signed = self._verified.get(data)
        if signed is None:
            signed = self._verify(data, now)
        quote = signed.quote
        if now >= quote.expires_at:
            raise BridgeRefused(BridgeCode.QUOTE_EXPIRED, f"quote {quote.id:032x} stood until {quote.expires_at}")
        document = self._corridors.book.demand_version(
            quote.corridor_id, quote.corridor_version, self._corridors.height
        )
        document.demand_provider(quote.provider)
        document.demand_open(now)
        return Offer(quote, document, quote.total_amount)

    def _verify(self, data: bytes, now: int) -> SignedQuote:
        try:
            signed = SignedQuote.decode(data)
        except EncodingError as error:
            raise BridgeRefused(BridgeCode.QUOTE_MALFORMED, str(error)) from error
        entry = self._peers.directory.entry(signed.quote.provider)

        def key_of(key_id: int) -> Key | None:
            return entry.signing_key(key_id) if entry is not None else None

        signed.verify(self._genesis.hash_suite, self._genesis.hash, key_of, now)
        if len(self._verified) >= _VERIFIED_KEPT_MAX:
            self._verified.clear()
        self._verified[data] = signed
        return signed

    def seal(self, order: Order, now: int) -> Sealed:
        """Return what begins a swap. Raises BridgeRefused, with nothing done."""
        if not order.quotes:
            raise BridgeRefused(BridgeCode.NO_ROUTE, "an order needs the quotes that it stands on")
        offers = [self.offer_of(each, now) for each in order.quotes]
        lock_s = order.lock_s or min(offer.quote.lock_s for offer in offers)
        request = self._request(order, offers[0].quote.source_ledger, offers[-1].quote.target_ledger, lock_s, now)
        for offer in offers:
            _demand_usable(offer, request)
        plan = plan_path(offers, request)
        user_data = (uuid.UUID(bytes=order.uetr).int, *(leg.quote_id for leg in plan.legs[1:]))
        timelock = now + lock_s * NS_PER_S
        legs = tuple(
            LegTerms(
                leg.ledger,
                account_text(leg.debit_account),
                account_text(leg.credit_account),
                leg.amount,
                timelock,
                data,
            )
            for leg, data in zip(plan.legs, user_data, strict=True)
        )
        draft = SwapTerms(
            uetr=order.uetr,
            network=self._genesis.hash,
            legs=legs,
            hash_function=order.hash_function,
            hashlock=ZERO_HASH,
            created_at=now,
            travel_rule_hash=order.travel_rule_hash,
            corridors=tuple(CorridorRef(offer.document.id_bytes, offer.document.version) for offer in offers),
        )
        salt = secrets.token_bytes(SALT_BYTES)
        terms, _ = seal_terms(draft, salt, self._genesis.hash_suite)
        return Sealed(terms, salt, plan, tuple(offer.quote.provider for offer in offers))

    async def find(
        self,
        wanted: Order,
        source_ledger: int,
        target_ledger: int,
        *,
        hops_max: int,
        providers: Sequence[int],
        now: int,
    ) -> tuple[Plan, tuple[bytes, ...]]:
        """Ask providers for quotes and return the best plan with its signed quotes. Raises BridgeRefused.

        The order has no quotes yet; its ``lock_s`` is what quotes are asked for.
        """
        known = tuple(
            each.participant
            for each in self._peers.directory.entries
            if each.provides and each.participant != self._participant
        )
        asked = tuple(each for each in known if not providers or each in providers)
        search = _Search(self, asked, wanted.lock_s, now, is_target=wanted.is_target)
        hops = hops_max or HOPS_MAX
        if wanted.is_target:
            await search.go(target_ledger, source_ledger, wanted.amount, hops)
        else:
            await search.go(source_ledger, target_ledger, wanted.amount, hops)
        request = self._request(wanted, source_ledger, target_ledger, wanted.lock_s, now)
        plan = find_route((offer for offer, _ in search.offers.values()), replace(request, hops_max=hops))
        return plan, tuple(search.offers[quote_id][1] for quote_id in plan.quote_ids)

    async def quotes(self, request: bridge_pb2.QuoteRequest, providers: Sequence[int], now: int) -> dict[bytes, Offer]:
        """Ask providers for quotes and return those that hold, by their bytes."""
        found: dict[bytes, Offer] = {}
        for reply in (await self._peers.quotes(request, providers)).values():
            if reply.signed_quote:
                with contextlib.suppress(BridgeRefused):
                    found[reply.signed_quote] = self.offer_of(reply.signed_quote, now)
        return found

    def neighbours(self, ledger: int, *, backward: bool) -> list[int]:
        """Return the ledgers to which corridors lead from one, or backward from which they lead there."""
        pairs = {
            (each.target_ledger, each.source_ledger) if backward else (each.source_ledger, each.target_ledger)
            for each in self._corridors.book.all_in_effect(self._corridors.height)
        }
        return sorted(onward for at, onward in pairs if at == ledger)

    def _request(self, order: Order, source: int, target: int, lock_s: int, now: int) -> RouteRequest:
        return RouteRequest(
            payer=self._participant,
            payer_account=order.debit_account,
            payee_account=order.credit_account,
            source_ledger=source,
            target_ledger=target,
            amount=order.amount,
            is_target=order.is_target,
            hash_function=order.hash_function,
            lock_s=lock_s,
            now=now,
        )


class _Search:
    """Collects quotes hop by hop: forward for the most that may arrive on a ledger, backward for the most needed."""

    def __init__(self, planner: Planner, providers: Sequence[int], lock_s: int, now: int, *, is_target: bool) -> None:
        self.offers: dict[int, tuple[Offer, bytes]] = {}
        self._planner, self._providers = planner, providers
        self._lock_s, self._now, self._is_target = lock_s, now, is_target

    async def go(self, start: int, end: int, amount: int, hops: int) -> None:
        """Walk from a ledger to another."""
        amounts = {start: amount}
        done = {end}
        for _ in range(hops):
            for ledger in [each for each in amounts if each not in done]:
                done.add(ledger)
                for onward in self._planner.neighbours(ledger, backward=self._is_target):
                    for offer in await self._ask(ledger, onward, amounts[ledger]):
                        quote = offer.quote
                        if self._is_target:
                            passed = quote.needs(amounts[ledger])
                        else:
                            passed = quote.delivers(min(amounts[ledger], quote.total_amount))
                        amounts[onward] = max(amounts.get(onward, 0), passed)

    async def _ask(self, at: int, onward: int, amount: int) -> list[Offer]:
        source, target = (onward, at) if self._is_target else (at, onward)
        request = bridge_pb2.QuoteRequest(
            version=_VERSION,
            source_ledger=source,
            target_ledger=target,
            amount=amount.to_bytes(16, "little"),
            exact=bridge_pb2.EXACT_RECEIVE if self._is_target else bridge_pb2.EXACT_SEND,
            lock_s=self._lock_s,
        )
        found = await self._planner.quotes(request, self._providers, self._now)
        for data, offer in found.items():
            self.offers[offer.quote.id] = offer, data
        return list(found.values())


def _demand_usable(offer: Offer, request: RouteRequest) -> None:
    """Demand what a route would have left out. Raises BridgeRefused."""
    quote = offer.quote
    if quote.taker not in (0, request.payer):
        raise BridgeRefused(BridgeCode.QUOTE_NOT_FOR_TAKER, f"quote {quote.id:032x} is for participant {quote.taker}")
    if not quote.allows(request.hash_function):
        raise BridgeRefused(BridgeCode.HASH_FUNCTION_UNSUPPORTED, f"quote {quote.id:032x}")
    if request.lock_s > quote.lock_s:
        raise BridgeRefused(
            BridgeCode.SWAP_TOO_SHORT, f"quote {quote.id:032x} grants {quote.lock_s} s, {request.lock_s} s are asked"
        )
