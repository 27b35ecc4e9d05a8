"""Quotes of others, checked, and what is planned with them: routes to find, terms of the swaps that are begun.

It promises that nothing is planned with a quote whose signature, provider, corridor or expiry does not hold, and that
terms say exactly what the plan says. It locks nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from msgspec import structs

from bridge.fees import fee_total
from bridge.foreign_asset import FOREIGN_LEDGER_FIRST
from bridge.quotes import SignedQuote
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.routes import HOPS_MAX, Offer, RouteRequest, find_route
from clearspan.bridging.market.foreign_terms import plan_swap
from clearspan.bridging.market.sealing import Sealed, Sealing
from clearspan.v1 import bridge_pb2
from engine.refusals import EncodingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.routes import Plan
    from clearspan.bridging.lines.peers import Peers
    from clearspan.bridging.market.corridors import Corridors
    from clearspan.bridging.market.order import Order
    from engine.genesis import Genesis
    from engine.parties import Key

__all__ = ["Planner", "Said"]

_VERIFIED_KEPT_MAX: Final = 10_000
_VERSION: Final = 1
_SAID_SHOWN: Final = 4
_ROOM_SHARE: Final = 1_000
"""Where premiums are passed on, quotes are asked for a thousandth more: parts rounded up need more than their sum."""


@dataclass(frozen=True, slots=True)
class Said:
    """Why a provider gave no quote that holds; ``code`` is a number of the bridge's refusals, 0: it did not answer."""

    provider: int
    code: int
    text: str


class Planner:
    """Plans for one payer."""

    def __init__(
        self,
        genesis: Genesis,
        participant: int,
        corridors: Corridors,
        peers: Peers,
        own_account: Callable[[str], str] = str,
    ) -> None:
        """Take whose plans these are and what they stand on; ``own_account`` gives our account on a chain."""
        self._own_account = own_account
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

    def sealing(self, now: int) -> Sealing:
        """Return what makes terms of the orders of one call, all at this instant."""
        return Sealing(self._genesis, self._participant, self.offer_of, self._own_account, now)

    def seal(self, order: Order, now: int) -> Sealed:
        """Return what begins one swap. Raises BridgeRefused, with nothing done."""
        return self.sealing(now).seal(order)

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
        hops = 1 if max(source_ledger, target_ledger) >= FOREIGN_LEDGER_FIRST else hops_max or HOPS_MAX
        if wanted.is_target:
            await search.go(target_ledger, source_ledger, wanted.amount, hops)
        else:
            await search.go(source_ledger, target_ledger, wanted.amount, hops)
        request = self._request(wanted, source_ledger, target_ledger, wanted.lock_s, now)
        try:
            plan = find_route((offer for offer, _ in search.offers.values()), structs.replace(request, hops_max=hops))
            plan = plan_swap(plan.offers, request)
        except BridgeRefused as error:
            raise self._why(error, (source_ledger, target_ledger), search.said) from error
        return plan, tuple(search.offers[quote_id][1] for quote_id in plan.quote_ids)

    async def quotes(
        self, request: bridge_pb2.QuoteRequest, providers: Sequence[int], now: int, said: list[Said]
    ) -> dict[bytes, Offer]:
        """Ask providers for quotes and return those that hold, by their bytes; ``said`` gets why others gave none."""
        found: dict[bytes, Offer] = {}
        replies = await self._peers.quotes(request, providers)
        said += [Said(each, 0, "does not answer") for each in providers if each not in replies]
        for provider, reply in replies.items():
            if reply.signed_quote:
                try:
                    found[reply.signed_quote] = self.offer_of(reply.signed_quote, now)
                except BridgeRefused as error:
                    said.append(Said(provider, int(error.code), error.text))
            elif reply.refusal.code:
                said.append(Said(provider, reply.refusal.code, reply.refusal.text))
        return found

    def _why(self, error: BridgeRefused, pair: tuple[int, int], said: Sequence[Said]) -> BridgeRefused:
        """Return what keeps a payment from its way: the one reason that all providers give, or every reason."""
        if error.code is not BridgeCode.NO_ROUTE:
            return error
        if not self.neighbours(pair[0], backward=False):
            return BridgeRefused(BridgeCode.CORRIDOR_UNKNOWN, f"none in effect leads from ledger {pair[0]}")
        reasons = [each for each in dict.fromkeys(said) if each.code != BridgeCode.NO_ROUTE]
        codes = {each.code for each in reasons}
        if len(codes) == 1 and (only := codes.pop()) in set(BridgeCode):
            return BridgeRefused(BridgeCode(only), reasons[0].text)
        told = "; ".join(f"provider {each.provider}: {each.text}" for each in reasons[:_SAID_SHOWN])
        return BridgeRefused(error.code, f"{error.text}; {told}" if told else error.text)

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
        self.said: list[Said] = []
        self._planner, self._providers = planner, providers
        self._lock_s, self._now, self._is_target = lock_s, now, is_target

    async def go(self, start: int, end: int, amount: int, hops: int) -> None:
        """Walk from a ledger to another."""
        amounts, premiums = {start: amount}, dict[int, int]()
        done = {end}
        for _ in range(hops):
            for ledger in [each for each in amounts if each not in done]:
                done.add(ledger)
                for onward in self._planner.neighbours(ledger, backward=self._is_target):
                    # Asked backward, the quote before has to deliver fees and premium of the one behind it too.
                    premium = premiums.get(ledger, 0)
                    room = premium and premium + (amounts[ledger] + premium) // _ROOM_SHARE + 1
                    for offer in await self._ask(ledger, onward, amounts[ledger] + room):
                        quote = offer.quote
                        if self._is_target:
                            principal = quote.needs(amounts[ledger])
                            passed = principal + fee_total(offer.document.fees, principal)
                            owed = quote.premium_of(principal) + quote.needs(premium)
                            premiums[onward] = max(premiums.get(onward, 0), owed)
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
        found = await self._planner.quotes(request, self._providers, self._now, self.said)
        for data, offer in found.items():
            self.offers[offer.quote.id] = offer, data
        return list(found.values())
