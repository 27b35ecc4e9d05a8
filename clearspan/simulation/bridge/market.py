"""What is bought in a seed: the legs' ledgers and accounts, the corridors between them, quotes and the route they make.

A foreign chain counts as a ledger with a number of its own here, since quotes and routes know ledgers only. Transfers
beside the locks exist on our ledgers alone: where a hop touches the chain a route is planned so that nothing is left
over there, and fees, premiums and remainders are those of its side on our ledgers.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import structs

from bridge.corridor import CorridorDocument, Limits, MarginPart, MarginParts, MarginRules, Screening, SupervisorKey
from bridge.fees import FeeRule
from bridge.routes import Offer, RouteRequest, find_route
from bridge.terms import LegTerms, account_text
from bridge.travel_rule import Scheme, public_key_of
from clearspan.bridging.market.corridors import Corridors
from clearspan.simulation.bridge.names import score_on_list
from clearspan.simulation.bridge.plan import CHAIN, MARGINS, Plan
from clearspan.simulation.bridge.realm import BANKS
from engine.types import U128_MAX

if TYPE_CHECKING:
    from bridge.margins import SideMargins
    from bridge.quotes import SignedQuote
    from bridge.routes import Plan as Route
    from bridge.routes import PlannedLeg
    from bridge.travel_rule import Recipient
    from clearspan.bridging.market.order import Order
    from clearspan.simulation.bridge.realm import LedgerWorld, Realm

__all__ = ["CHAIN_LEDGER", "COLLECTOR", "LOCK_S", "Market", "Premium", "Purchase", "account_of_chain"]

CHAIN_LEDGER: Final = 999
COLLECTOR: Final = BANKS - 1
"""The bank that gets fees and remainders."""
LOCK_S: Final = 1_200
_FIRST_BANK: Final = 1_001


def account_of_chain(bank: int) -> str:
    """Return a bank's account on the foreign chain."""
    return f"0x{bank + 1:040x}"


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a payer bought for one swap: quotes in the order of hops, and the route to the last minor unit.

    ``order`` is what he asks his bridge for, ``envelopes`` the travel-rule data of the hops as he shows them, ``named``
    their hash as the terms have it.
    """

    number: int
    quotes: tuple[SignedQuote, ...]
    route: Route
    order: Order | None = None
    envelopes: tuple[bytes, ...] = ()
    named: bytes = bytes(32)

    @property
    def encoded(self) -> tuple[bytes, ...]:
        """The quotes as they are shown to providers."""
        return tuple(quote.encode() for quote in self.quotes)


@dataclass(frozen=True, slots=True)
class Premium:
    """What a provider sees of the premium that he is owed: when it was signed (0: never), and if it is final."""

    signed_at: int = 0
    is_final: bool = False


class Market:
    """Ledgers, accounts and corridors by leg and bank; leg ``i`` goes from bank ``i`` to bank ``i + 1``."""

    def __init__(self, plan: Plan, realm: Realm) -> None:
        self.plan = plan
        self._worlds = realm.worlds
        chains = ["" if plan.foreign != "first" else CHAIN] + [""] * (plan.legs - 1)
        if plan.foreign == "last":
            chains[-1] = CHAIN
        self.chains = tuple(chains)
        ledgers = iter(world.ledger for world in realm.worlds)
        self.ledgers = tuple(CHAIN_LEDGER if chain else next(ledgers) for chain in chains)
        # No folder: what is in effect here is so from the first block on, and nothing is announced.
        self.corridors = Corridors(Path(os.devnull))
        for hop in range(1, plan.legs):
            self.corridors.book.add(self.document(hop).record(0))

    def participant(self, bank: int) -> int:
        """Return a bank's number."""
        return _FIRST_BANK + bank

    def account(self, ledger: int, bank: int) -> int:
        """Return a bank's account on a ledger."""
        if ledger == CHAIN_LEDGER:
            return bank + 1
        return self._world(ledger).account(bank)

    def key_of(self, ledger: int, account: int) -> int:
        """Return the key that signs for an account of a ledger of ours."""
        return self._world(ledger).key_of(account)

    def _world(self, ledger: int) -> LedgerWorld:
        return next(world for world in self._worlds if world.ledger == ledger)

    def document(self, hop: int) -> CorridorDocument:
        """Return the corridor that hop ``hop`` goes by: from leg ``hop - 1`` to leg ``hop``."""
        source, target = self.ledgers[hop - 1], self.ledgers[hop]
        fee = self.plan.deal.fee if source != CHAIN_LEDGER else (0, 0)
        collectors = tuple(account_text(self.account(ledger, COLLECTOR)) for ledger in (source, target))
        volatility = self.plan.deal.volatility_ppb if self.plan.foreign != "first" else 0
        papers = self.plan.papers
        travel_from = papers.travel_from or U128_MAX
        hold_score = score_on_list() + papers.margin
        return _document(source, target, (*fee, volatility), collectors, (travel_from, hold_score))

    def hop_of(self, corridor_id: bytes) -> int:
        """Return the hop that goes by a corridor."""
        return next(hop for hop in range(1, self.plan.legs) if self.document(hop).id_bytes == corridor_id)

    def recipients(self, hop: int) -> tuple[Recipient, ...]:
        """Return the supervisors for whom a hop's travel-rule data are sealed."""
        return self.document(hop).recipients()

    def secrets_of(self, hop: int) -> tuple[bytes, ...]:
        """Return with what they open it, in their order."""
        return tuple(_supervisor_secret(self.ledgers[hop - 1], self.ledgers[hop], index) for index in range(2))

    def rate(self, hop: int) -> tuple[int, int]:
        """Return what the provider of a hop asks."""
        return self.plan.deal.rates[hop - 1]

    def route(self, quotes: tuple[SignedQuote, ...], now: int) -> Route:
        """Return the best route over these quotes, nothing of it left over on a chain. Raises BridgeRefused (no_route).

        From a chain less than was named may leave the payer; on a chain what a rate leaves over is the payee's.
        """
        plan, first, last = self.plan, self.ledgers[0], self.ledgers[-1]
        offers = [Offer(each.quote, self.document(hop), each.quote.total_amount) for hop, each in enumerate(quotes, 1)]
        request = RouteRequest(
            payer=self.participant(0),
            payer_account=self.account(first, 0),
            payee_account=self.account(last, plan.legs),
            source_ledger=first,
            target_ledger=last,
            amount=plan.deal.amount,
            is_target=plan.deal.is_target,
            hash_function=plan.function,
            lock_s=LOCK_S,
            now=now,
        )
        route = find_route(offers, request)
        if not plan.foreign:
            return route
        begins = plan.foreign == "first"
        received = route.received if begins else quotes[-1].quote.delivers(route.legs[-2].amount)
        if begins or received != route.received:
            route = find_route(offers, structs.replace(request, amount=received, is_target=True))
        return route

    def leg_terms(self, index: int, leg: PlannedLeg, timelock_ns: int, user_data: int) -> LegTerms:
        """Return a planned leg as terms write it."""
        if self.chains[index]:
            accounts = account_of_chain(index), account_of_chain(index + 1)
            return LegTerms(0, *accounts, leg.amount, timelock_ns, user_data, chain=CHAIN, asset="")
        accounts = account_text(leg.debit_account), account_text(leg.credit_account)
        return LegTerms(leg.ledger, *accounts, leg.amount, timelock_ns, user_data)


def _supervisor_secret(source: int, target: int, index: int) -> bytes:
    return hashlib.sha256(f"supervisor {source} {target} {index}".encode()).digest()


@lru_cache(maxsize=512)
def _document(
    source: int,
    target: int,
    price: tuple[int, int, int],
    collectors: tuple[str, ...],
    asks: tuple[int, int],
) -> CorridorDocument:
    """Return a corridor's document; its two supervisors have keys of their own, other ones than other corridors'.

    ``price`` is a fee, flat and millionths, and volatility; ``asks`` from where on data are needed, and the score.
    """

    def parts(side: SideMargins) -> MarginParts:
        lengths = (side.finality_ns, side.watching_ns, side.submission_ns)
        return MarginParts(*(MarginPart(length, "drawn") for length in lengths))

    def supervisor(index: int) -> SupervisorKey:
        public = public_key_of(Scheme.X25519, _supervisor_secret(source, target, index))
        return SupervisorKey(2 + index, source * target + index, "x25519", public.hex())

    (flat, per_million, volatility), (travel_from, hold_score) = price, asks
    fees = (FeeRule("fee", collectors[0], str(flat), per_million, "0", "1000000"),) if flat or per_million else ()
    return CorridorDocument(
        format=1,
        id=hashlib.sha256(f"corridor {source} {target}".encode()).hexdigest()[:32],
        version=1,
        source_ledger=source,
        target_ledger=target,
        suspended=False,
        calendars=(),
        limits=Limits("1", "1000000", "100000000", "100000000", "UTC"),
        fees=fees,
        roundings=(1, 2, 3),
        remainder_source_account=collectors[0],
        remainder_target_account=collectors[1],
        providers=tuple(range(_FIRST_BANK, _FIRST_BANK + BANKS)),
        hash_functions=("sha256", "sm3"),
        lock_s=LOCK_S,
        quote_s=3_600,
        premium_volatility_ppb=volatility,
        margins=MarginRules(
            home=parts(MARGINS.home),
            skew=MarginPart(MARGINS.skew_ns, "drawn"),
            failover=MarginPart(MARGINS.failover_ns, "drawn"),
            stall=MarginPart(MARGINS.stall_ns, "drawn"),
            foreign={chain: parts(side) for chain, side in MARGINS.foreign.items()},
        ),
        screening=Screening(
            hold_score=hold_score,
            travel_rule_from=str(travel_from),
            supervisors=(supervisor(0), supervisor(1)),
        ),
        approval_note="none",
    )
