"""A provider's desk: posted rates by pair and size, firm quotes made of them, and what is left of each.

It promises that no quote is drawn beyond its total, its expiry or its taker, that open quotes never promise more than
the inventory holds, and that the same swap draws once. It is a state machine without clock, chance or keys: instants
and ids are handed in, quotes go out unsigned, and each change is an entry that the shell makes durable before it
answers; the entries of a desk, applied in order, are the desk.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Final, TypeVar

from bridge.desk_book import (
    DeskBook,
    DeskEntry,
    Drawn,
    Ended,
    InventorySet,
    Opened,
    RatesPosted,
    Released,
    Tier,
    snapshot,
)
from bridge.quotes import ANY_TAKER, Quote
from bridge.rates import Rate, RateInvalidError, convert, source_needed
from bridge.refusals import BridgeCode, BridgeRefused
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from bridge.corridor import CorridorDocument
    from bridge.leg import HashFunction
    from bridge.rates import Rounding

__all__ = ["DealerSettings", "Desk", "QuoteRequest", "Wanted", "option_premium"]

_Entry = TypeVar("_Entry", bound=DeskEntry)

TIERS_MAX: Final = 32
PAIRS_MAX: Final = 1024
_DAY_S: Final = 86_400
_BILLION: Final = 10**9
_MILLION: Final = 10**6


def option_premium(amount: int, life_s: int, volatility_ppb: int) -> int:
    """Return what the taker's option on ``amount`` is worth, in minor units, rounded up.

    Whoever holds a firm quote, and later the secret, may walk away for ``life_s`` seconds. At the money such an option
    is worth close to amount * volatility * sqrt(time / (2 * pi)); 2/5 is just above 1/sqrt(2 * pi). The volatility is
    that of one day, in parts per billion, and the share of the amount is rounded up to one part per billion.
    """
    # ceil(sqrt(4 v^2 t / (25 * 86400))) without leaving the integers.
    squared = -(-4 * volatility_ppb * volatility_ppb * life_s // (25 * _DAY_S))
    share_ppb = isqrt(squared - 1) + 1 if squared else 0
    return min(amount, -(-amount * share_ppb // _BILLION))


@dataclass(frozen=True, slots=True)
class DealerSettings:
    """Who the provider is and what he allows: accounts by ledger, key, rounding, validity and bounds for each taker.

    ``taker_open_max`` bounds one taker's open quotes, ``open_max`` all of them together, ``taker_share_ppm`` the part
    of a ledger's inventory that one taker may be promised, so that nobody keeps a desk from all others for nothing.
    """

    participant: int
    key_id: int
    accounts: dict[int, int]
    rounding: Rounding
    quote_ns: int = 10 * NS_PER_S
    taker_open_max: int = 64
    open_max: int = 100_000
    taker_share_ppm: int = 1_000_000


@dataclass(frozen=True, slots=True)
class QuoteRequest:
    """What a taker asks: ``amount`` source minor units, or target minor units when ``is_target``.

    ``taker`` is ANY_TAKER only where the operator himself posts an open quote.
    """

    taker: int
    amount: int
    is_target: bool
    lock_s: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a swap draws on a quote: ``amount`` source minor units, and what leaves at once as the premium onward.

    ``onward`` target minor units go to the next provider: what they need is drawn too, and no refund gives it back, so
    that a quote never pays out more than its total. ``lock_s`` is the time to the timelock, rounded up; ``now`` the
    instant (ns) at which the option is taken.
    """

    taker: int
    amount: int
    function: HashFunction
    lock_s: int
    now: int
    onward: int = 0


class Desk:
    """The desk of one provider; every method that changes it returns the entry to journal, or None for no change."""

    def __init__(self, settings: DealerSettings) -> None:
        """Stand with an empty book; entries of a journal are given to ``apply``, in order."""
        self.settings = settings
        self.book = DeskBook()

    # What the provider's own people and ledgers tell it.

    def post_rates(self, source: int, target: int, tiers: tuple[Tier, ...], valid_until: int) -> RatesPosted:
        """Post rates for a pair until an instant: tiers ascend by least source amount; none withdraws the pair.

        Raises BridgeRefused (quote_malformed) for tiers out of order or a ledger without an account.
        """
        self.demand_rates(source, target, tiers)
        return self._applied(RatesPosted(source, target, valid_until, tiers))

    def withdraw_rates(self, source: int, target: int, now: int) -> RatesPosted:
        """Withdraw a pair, whether the desk still has accounts for it or not."""
        return self._applied(RatesPosted(source, target, now, ()))

    def posted(self, now: int) -> set[tuple[int, int]]:
        """Return the pairs (source, target) whose rates stand."""
        return {pair for pair, rates in self.book.rates.items() if rates.tiers and now < rates.valid_until}

    def demand_rates(self, source: int, target: int, tiers: tuple[Tier, ...]) -> None:
        """Demand rates that may be posted, and change nothing. Raises as post_rates, and limits_exceeded."""
        leasts = [tier.amount_least for tier in tiers]
        if leasts != sorted(set(leasts)) or len(tiers) > TIERS_MAX or (leasts and leasts[0] < 1):
            raise BridgeRefused(BridgeCode.QUOTE_MALFORMED, "tiers ascend by their least amount, from 1 on")
        try:
            for tier in tiers:
                Rate.of(tier.numerator, tier.denominator)
        except RateInvalidError as error:
            raise BridgeRefused(BridgeCode.QUOTE_MALFORMED, str(error)) from error
        if source == target or not {source, target} <= set(self.settings.accounts):
            raise BridgeRefused(BridgeCode.QUOTE_MALFORMED, f"the desk has no accounts for {source} to {target}")
        if (source, target) not in self.book.rates and len(self.book.rates) >= PAIRS_MAX:
            raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, f"more than {PAIRS_MAX} pairs")

    def set_inventory(self, ledger: int, amount: int) -> InventorySet:
        """Say how much of a ledger the desk may promise; what running swaps use is counted in, as still there."""
        if amount < 0:
            raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, "an inventory is not negative")
        return self._applied(InventorySet(ledger, amount))

    # What takers ask.

    def quote(self, request: QuoteRequest, document: CorridorDocument, quote_id: int, now: int) -> Opened:
        """Make a firm quote out of the posted rates, and keep inventory for all of it.

        ``quote_id`` is fresh from the shell's randomness. Raises BridgeRefused: quote_not_for_taker, corridor_closed,
        corridor_provider_not_listed, no_route without a posted rate for the size, corridor_limit_exceeded,
        swap_too_short for a timelock beyond the corridor's, limits_exceeded for too many open quotes, quote_exhausted
        when the inventory is too small, duplicate_swap for an id that is used. Nothing is kept then.
        """
        settings, book = self.settings, self.book
        if request.taker == settings.participant:
            raise BridgeRefused(BridgeCode.QUOTE_NOT_FOR_TAKER, "a desk gives itself no quotes")
        document.demand_open(now)
        document.demand_provider(settings.participant)
        tier, total = self._priced(request, document, now)
        document.demand_payment(total)
        if not 0 < request.lock_s <= document.lock_s:
            raise BridgeRefused(
                BridgeCode.SWAP_TOO_SHORT, f"a timelock of {request.lock_s} s, at most {document.lock_s}"
            )
        if quote_id in book.quotes:
            raise BridgeRefused(BridgeCode.DUPLICATE_SWAP, f"quote {quote_id:032x} is known")
        if len(book.quotes) >= settings.open_max:
            raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, f"{settings.open_max} quotes are open")
        if book.open_by_taker.get(request.taker, 0) >= settings.taker_open_max:
            raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, f"taker {request.taker} has {settings.taker_open_max} open")
        stand_ns = min(settings.quote_ns, document.quote_s * NS_PER_S)
        life_s = -(-stand_ns // NS_PER_S) + request.lock_s
        source, target = document.source_ledger, document.target_ledger
        quote = Quote(
            id=quote_id,
            provider=settings.participant,
            taker=request.taker,
            source_ledger=source,
            target_ledger=target,
            rate=tier.rate,
            rounding=settings.rounding,
            total_amount=total,
            min_amount=min(total, tier.amount_least),
            premium=option_premium(total, life_s, document.premium_volatility_ppb),
            corridor_id=document.id_bytes,
            corridor_version=document.version,
            provider_source_account=settings.accounts[source],
            provider_target_account=settings.accounts[target],
            remainder_source_account=int(document.remainder_source_account, 16),
            remainder_target_account=int(document.remainder_target_account, 16),
            issued_at=now,
            expires_at=now + stand_ns,
            lock_s=request.lock_s,
            hash_functions=document.hash_function_mask,
            key_id=settings.key_id,
        )
        if self.available(target) < quote.delivers(total):
            raise BridgeRefused(BridgeCode.QUOTE_EXHAUSTED, f"the desk has too little of ledger {target} now")
        if request.taker != ANY_TAKER:
            most = self.inventory(target) * settings.taker_share_ppm // _MILLION
            if book.promised_to.get((request.taker, target), 0) + quote.delivers(total) > most:
                text = f"taker {request.taker} is promised as much of ledger {target} as one may be, {most}"
                raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, text)
        return self._applied(Opened(quote.encode()))

    def draw(
        self,
        quote_id: int,
        swap_id: bytes,
        *,
        taker: int,
        amount: int,
        function: HashFunction,
        lock_s: int,
        now: int,
        onward: int = 0,
    ) -> Drawn | None:
        """Take a part of a quote for a swap; None when this swap drew exactly that before.

        The rest is as in ``Wanted``. Raises BridgeRefused: duplicate_swap for a swap that drew something else, and as
        ``demand_draw``.
        """
        return self.draw_as(quote_id, swap_id, Wanted(taker, amount, function, lock_s, now, onward))

    def draw_as(
        self, quote_id: int, swap_id: bytes, wanted: Wanted, allowed: tuple[int, int] | None = None
    ) -> Drawn | None:
        """Draw; ``allowed`` is what ``demand_draw`` has just said of the same, where nothing was drawn since.

        Raises BridgeRefused as ``draw``.
        """
        taker, amount, onward = wanted.taker, wanted.amount, wanted.onward
        drawn = self.book.draws.get(swap_id)
        if drawn is not None:
            had = drawn.quote_id, drawn.taker, drawn.source_amount - drawn.spent, drawn.spent_target
            if had == (quote_id, taker, amount, onward):
                return None
            raise BridgeRefused(BridgeCode.DUPLICATE_SWAP, f"swap {swap_id.hex()} drew on a quote before")
        spent, owed = allowed or self.demand_draw(quote_id, wanted)
        return self._applied(Drawn(quote_id, swap_id, taker, amount + spent, owed, spent, onward))

    def demand_draw(self, quote_id: int, wanted: Wanted) -> tuple[int, int]:
        """Demand that a draw can be made, and change nothing; return what of it is spent at once and what it owes.

        Raises BridgeRefused in this order: quote_unknown, quote_not_for_taker, quote_expired,
        hash_function_unsupported, swap_too_short for a longer timelock than was granted, quote_amount_below_minimum
        (not for all that is left), quote_exhausted; terms_malformed for an amount that fits no 128 bits.
        """
        found = self.book.quotes.get(quote_id)
        if found is None:
            raise BridgeRefused(BridgeCode.QUOTE_UNKNOWN, f"quote {quote_id:032x}")
        quote, amount = found.quote, wanted.amount
        named = f"quote {quote_id:032x}"
        if quote.taker not in (ANY_TAKER, wanted.taker):
            raise BridgeRefused(BridgeCode.QUOTE_NOT_FOR_TAKER, f"{named} is not for participant {wanted.taker}")
        if found.is_released or wanted.now >= quote.expires_at:
            text = f"{named} stood until {quote.expires_at}, and it is {wanted.now}"
            raise BridgeRefused(BridgeCode.QUOTE_EXPIRED, text)
        if not quote.allows(wanted.function):
            raise BridgeRefused(BridgeCode.HASH_FUNCTION_UNSUPPORTED, f"{named} does not allow {wanted.function.name}")
        if wanted.lock_s > quote.lock_s:
            text = f"{named} grants a timelock of {quote.lock_s} s, not {wanted.lock_s}"
            raise BridgeRefused(BridgeCode.SWAP_TOO_SHORT, text)
        spent = quote.needs(wanted.onward)
        whole = amount + spent
        if amount < quote.min_amount and whole != found.left:
            raise BridgeRefused(
                BridgeCode.QUOTE_AMOUNT_BELOW_MINIMUM, f"{named} asks for {quote.min_amount} at least, not {amount}"
            )
        if amount < 1 or whole > found.left:
            raise BridgeRefused(BridgeCode.QUOTE_EXHAUSTED, f"{named} has {found.left} left, not {whole}")
        owed = quote.delivers(amount) + wanted.onward
        # Rounding up twice may deliver one unit more than rounding up once.
        extra = owed + quote.delivers(found.left - whole) - found.promised
        if extra > 0 and self.available(quote.target_ledger) < extra:
            raise BridgeRefused(BridgeCode.QUOTE_EXHAUSTED, f"the desk has too little of ledger {quote.target_ledger}")
        return spent, owed

    def end(self, swap_id: bytes, *, claimed: bool, unspent: bool = False) -> Ended | None:
        """Note how a swap ended; a refunded one gives back to its quote while that stands. None when nothing runs.

        ``unspent``: it was not even begun, so that nothing went to the next provider either.
        """
        if swap_id not in self.book.draws:
            return None
        return self._applied(Ended(swap_id, claimed, unspent))

    def release(self, now: int) -> list[Released]:
        """Let go of every quote that has expired, oldest first; what was kept for it is available again.

        One with a premium stands for its longest timelock more: its option may have been paid for in the last moment.
        """
        entries = []
        while (due := self.book.next_expiry()) is not None and due[0] <= now:
            entries.append(self._applied(Released(due[1])))
        return entries

    def withdraw(self, quote_id: int) -> Released | None:
        """Withdraw what is left of a quote that nobody was shown, or that its taker gave up; None when it is gone."""
        found = self.book.quotes.get(quote_id)
        if found is None or found.is_released:
            return None
        return self._applied(Released(quote_id))

    # What can be seen.

    def left(self, quote_id: int) -> int:
        """Return what is left of a quote in source minor units; raises BridgeRefused (quote_unknown)."""
        found = self.book.quotes.get(quote_id)
        if found is None:
            raise BridgeRefused(BridgeCode.QUOTE_UNKNOWN, f"quote {quote_id:032x}")
        return found.left

    def available(self, ledger: int) -> int:
        """Return what the desk may still promise on a ledger."""
        return self.book.inventory.get(ledger, 0) - self.book.promised.get(ledger, 0)

    def inventory(self, ledger: int) -> int:
        """Return what the desk holds of a ledger: set by its people, moved by what settled."""
        return self.book.inventory.get(ledger, 0)

    def open_quotes(self) -> tuple[Quote, ...]:
        """Return the quotes that may be drawn, by expiry and id."""
        live = [each.quote for each in self.book.quotes.values() if not each.is_released]
        return tuple(sorted(live, key=lambda quote: (quote.expires_at, quote.id)))

    def next_expiry(self) -> int | None:
        """Return the instant at which ``release`` has something to do next."""
        due = self.book.next_expiry()
        return None if due is None else due[0]

    def snapshot(self) -> list[DeskEntry]:
        """Return entries that make all of the desk as it is now; what was journaled before them may go."""
        return list(snapshot(self.book))

    # How entries change it: nothing below may refuse.

    def apply(self, entry: DeskEntry) -> None:
        """Apply one entry of the journal; all of them in order make the desk again."""
        self.book.apply(entry)

    def _applied(self, entry: _Entry) -> _Entry:
        self.book.apply(entry)
        return entry

    def _priced(self, request: QuoteRequest, document: CorridorDocument, now: int) -> tuple[Tier, int]:
        """Return the tier for a request and its source amount: the best rate whose tier that amount reaches."""
        pair = (document.source_ledger, document.target_ledger)
        posted = self.book.rates.get(pair)
        if posted is None or now >= posted.valid_until:
            raise BridgeRefused(BridgeCode.NO_ROUTE, f"no rate from ledger {pair[0]} to {pair[1]} stands now")
        if self.settings.rounding not in document.roundings:
            raise BridgeRefused(
                BridgeCode.NO_ROUTE, f"the corridor does not allow rounding {self.settings.rounding.name}"
            )
        best: tuple[Tier, int] | None = None
        for tier in posted.tiers:
            amount = request.amount
            if request.is_target:
                amount = source_needed(amount, tier.rate, self.settings.rounding)
            if amount >= tier.amount_least and (best is None or tier.rate.better_than(best[0].rate)):
                best = (tier, amount)
        if best is None or request.amount < 1 or convert(best[1], best[0].rate, self.settings.rounding).amount < 1:
            raise BridgeRefused(BridgeCode.NO_ROUTE, f"no rate stands for an amount of {request.amount}")
        return best
