"""What a desk has promised and holds, as a function of its entries: rates, inventory, quotes, draws.

It promises that the same entries in the same order make the same book, and that applying one cannot fail; whether an
entry may be made is the desk's to say (``bridge.desk``). Entries have one encoding, for the journal.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import singledispatchmethod
from typing import Final

import msgspec

from bridge.quotes import Quote
from bridge.rates import Rate
from engine.refusals import EncodingError, InvariantBroken

__all__ = [
    "DeskBook",
    "DeskEntry",
    "Drawn",
    "Ended",
    "InventorySet",
    "OpenQuote",
    "Opened",
    "RatesPosted",
    "Released",
    "Tier",
    "check_invariants",
    "decode_entry",
    "encode_entry",
]


class Tier(msgspec.Struct, frozen=True, array_like=True):
    """A rate for amounts from ``amount_least`` source minor units on, as its people wrote it."""

    amount_least: int
    numerator: int
    denominator: int

    @property
    def rate(self) -> Rate:
        """The fraction in lowest terms; raises RateInvalidError."""
        return Rate.of(self.numerator, self.denominator)


class RatesPosted(msgspec.Struct, frozen=True, tag="rates", forbid_unknown_fields=True):
    """A pair's tiers stand until ``valid_until`` ns; no tiers withdraw it."""

    source: int
    target: int
    valid_until: int
    tiers: tuple[Tier, ...]


class InventorySet(msgspec.Struct, frozen=True, tag="inventory", forbid_unknown_fields=True):
    """The desk may promise so much of a ledger in all."""

    ledger: int
    amount: int


class Opened(msgspec.Struct, frozen=True, tag="opened", forbid_unknown_fields=True):
    """A quote of 256 bytes went out."""

    quote: bytes


class Drawn(msgspec.Struct, frozen=True, tag="drawn", forbid_unknown_fields=True):
    """A swap took source minor units of a quote; the desk owes it so many target minor units."""

    quote_id: int
    swap_id: bytes
    taker: int
    source_amount: int
    target_amount: int


class Ended(msgspec.Struct, frozen=True, tag="ended", forbid_unknown_fields=True):
    """A swap was claimed, or refunded and so gives back."""

    swap_id: bytes
    claimed: bool


class Released(msgspec.Struct, frozen=True, tag="released", forbid_unknown_fields=True):
    """A quote has expired or was withdrawn; running swaps keep what they drew."""

    quote_id: int


DeskEntry = RatesPosted | InventorySet | Opened | Drawn | Ended | Released
_DECODER: Final = msgspec.json.Decoder(DeskEntry)


def encode_entry(entry: DeskEntry) -> bytes:
    """Return an entry's bytes for the journal."""
    return msgspec.json.encode(entry)


def decode_entry(data: bytes) -> DeskEntry:
    """Read an entry; raises EncodingError."""
    try:
        entry: DeskEntry = _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise EncodingError("desk entry", data[:80], str(error)) from error
    return entry


@dataclass(slots=True)
class OpenQuote:
    """A quote that may still be drawn, or whose swaps run: ``left`` in source minor units, 0 once it is released."""

    quote: Quote
    left: int
    running: int = 0
    is_released: bool = False

    @property
    def promised(self) -> int:
        """What the part that is left would deliver, in target minor units."""
        return self.quote.delivers(self.left)


class DeskBook:
    """All that the entries of a desk make of it; ``promised`` and ``inventory`` by ledger, in minor units."""

    def __init__(self) -> None:
        self.rates: dict[tuple[int, int], RatesPosted] = {}
        self.inventory: dict[int, int] = {}
        self.promised: dict[int, int] = {}
        self.quotes: dict[int, OpenQuote] = {}
        self.draws: dict[bytes, Drawn] = {}
        self.open_by_taker: dict[int, int] = {}
        self._expiries: list[tuple[int, int]] = []

    @singledispatchmethod
    def apply(self, entry: DeskEntry) -> None:
        """Apply one entry; every entry of the journal in order makes the book again."""
        raise EncodingError("desk entry", entry, "one of its six kinds")

    @apply.register
    def _(self, entry: RatesPosted) -> None:
        if entry.tiers:
            self.rates[entry.source, entry.target] = entry
        else:
            self.rates.pop((entry.source, entry.target), None)

    @apply.register
    def _(self, entry: InventorySet) -> None:
        self.inventory[entry.ledger] = entry.amount

    @apply.register
    def _(self, entry: Opened) -> None:
        quote = Quote.decode(entry.quote)
        self.quotes[quote.id] = OpenQuote(quote, 0)
        self._set_left(self.quotes[quote.id], quote.total_amount)
        self.open_by_taker[quote.taker] = self.open_by_taker.get(quote.taker, 0) + 1
        heapq.heappush(self._expiries, (quote.expires_at, quote.id))

    @apply.register
    def _(self, entry: Drawn) -> None:
        found = self.quotes[entry.quote_id]
        self._set_left(found, found.left - entry.source_amount)
        self._promise(found.quote.target_ledger, entry.target_amount)
        found.running += 1
        self.draws[entry.swap_id] = entry

    @apply.register
    def _(self, entry: Ended) -> None:
        drawn = self.draws.pop(entry.swap_id)
        found = self.quotes[drawn.quote_id]
        quote = found.quote
        found.running -= 1
        self._promise(quote.target_ledger, -drawn.target_amount)
        if entry.claimed:
            self._hold(quote.target_ledger, -drawn.target_amount)
            self._hold(quote.source_ledger, drawn.source_amount)
        elif not found.is_released:
            self._set_left(found, found.left + drawn.source_amount)
        self._forget(found)

    @apply.register
    def _(self, entry: Released) -> None:
        found = self.quotes[entry.quote_id]
        found.is_released = True
        self._set_left(found, 0)
        still_open = self.open_by_taker[found.quote.taker] - 1
        if still_open:
            self.open_by_taker[found.quote.taker] = still_open
        else:
            del self.open_by_taker[found.quote.taker]
        self._forget(found)

    def next_expiry(self) -> tuple[int, int] | None:
        """Return the earliest (expires_at, quote id) among quotes that are not released."""
        heap = self._expiries
        while heap:
            expires_at, quote_id = heap[0]
            found = self.quotes.get(quote_id)
            # An id may come again once its first quote is forgotten; the first one's instant says nothing about it.
            if found is not None and not found.is_released and found.quote.expires_at == expires_at:
                return heap[0]
            heapq.heappop(heap)
        return None

    def _forget(self, found: OpenQuote) -> None:
        if found.is_released and found.running == 0:
            del self.quotes[found.quote.id]

    def _set_left(self, found: OpenQuote, left: int) -> None:
        before = found.promised
        found.left = left
        self._promise(found.quote.target_ledger, found.promised - before)

    def _promise(self, ledger: int, change: int) -> None:
        self.promised[ledger] = self.promised.get(ledger, 0) + change

    def _hold(self, ledger: int, change: int) -> None:
        self.inventory[ledger] = self.inventory.get(ledger, 0) + change


def check_invariants(book: DeskBook) -> None:
    """Demand that the book's sums are those of its quotes and draws; raises InvariantBroken."""
    promised: dict[int, int] = {}
    drawn: dict[int, int] = {}
    running: dict[int, int] = {}
    for draw in book.draws.values():
        drawn[draw.quote_id] = drawn.get(draw.quote_id, 0) + draw.source_amount
        running[draw.quote_id] = running.get(draw.quote_id, 0) + 1
        ledger = book.quotes[draw.quote_id].quote.target_ledger
        promised[ledger] = promised.get(ledger, 0) + draw.target_amount
    for quote_id, found in book.quotes.items():
        ledger = found.quote.target_ledger
        promised[ledger] = promised.get(ledger, 0) + found.promised
        if found.left < 0 or found.left + drawn.get(quote_id, 0) > found.quote.total_amount:
            raise InvariantBroken("desk_quote_overdrawn", {"quote": quote_id, "left": found.left})
        if found.running != running.get(quote_id, 0) or (found.is_released and found.left):
            raise InvariantBroken("desk_quote_running", {"quote": quote_id, "running": found.running})
    for ledger, amount in book.promised.items():
        if amount != promised.get(ledger, 0):
            raise InvariantBroken("desk_promised", {"ledger": ledger, "promised": amount})
