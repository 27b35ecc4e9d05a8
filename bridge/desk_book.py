"""What a desk has promised and holds, as a function of its entries: rates, inventory, quotes, draws.

It promises that the same entries in the same order make the same book, and that applying one cannot fail; whether an
entry may be made is the desk's to say (``bridge.desk``). Entries have one encoding, for the journal. A snapshot is
entries too: a book that was made of it is the book it was taken of, so that nothing before it need be kept.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge.quotes import Quote
from bridge.rates import Rate
from engine.refusals import EncodingError, InvariantBroken
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "DeskBook",
    "DeskEntry",
    "Drawn",
    "Ended",
    "InventorySet",
    "Kept",
    "KeptDraw",
    "OpenQuote",
    "Opened",
    "RatesPosted",
    "Released",
    "SnapshotBegan",
    "Tier",
    "check_invariants",
    "decode_entry",
    "encode_entry",
    "is_snapshot",
    "snapshot",
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


class Drawn(msgspec.Struct, frozen=True, tag="drawn", forbid_unknown_fields=True, omit_defaults=True):
    """A swap took source minor units of a quote; the desk owes it so many target minor units.

    Of these ``spent`` and ``spent_target`` go to the next provider at once, as his premium: no refund gives them back.
    """

    quote_id: int
    swap_id: bytes
    taker: int
    source_amount: int
    target_amount: int
    spent: int = 0
    spent_target: int = 0


class Ended(msgspec.Struct, frozen=True, tag="ended", forbid_unknown_fields=True, omit_defaults=True):
    """A swap was claimed, or refunded and so gives back; ``unspent`` where not even a premium onward was paid."""

    swap_id: bytes
    claimed: bool
    unspent: bool = False


class Released(msgspec.Struct, frozen=True, tag="released", forbid_unknown_fields=True):
    """A quote has expired or was withdrawn; running swaps keep what they drew."""

    quote_id: int


class SnapshotBegan(msgspec.Struct, frozen=True, tag="snapshot", forbid_unknown_fields=True):
    """Nothing of what came before counts: the entries that follow say all that stood here."""


class Kept(msgspec.Struct, frozen=True, tag="kept", forbid_unknown_fields=True):
    """Of a snapshot: a quote of 256 bytes with what is left of it, in source minor units."""

    quote: bytes
    left: int
    is_released: bool


class KeptDraw(msgspec.Struct, frozen=True, tag="kept_draw", forbid_unknown_fields=True):
    """Of a snapshot: a swap that runs; what it took is gone from its quote already."""

    drawn: Drawn


DeskEntry = RatesPosted | InventorySet | Opened | Drawn | Ended | Released | SnapshotBegan | Kept | KeptDraw
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


_SNAPSHOT_ROW: Final = encode_entry(SnapshotBegan())


def is_snapshot(data: bytes) -> bool:
    """Say whether these are the bytes of the entry that begins a snapshot."""
    return data == _SNAPSHOT_ROW


@dataclass(slots=True)
class OpenQuote:
    """A quote that may still be drawn, or whose swaps run: ``left`` in source minor units, 0 once it is released."""

    quote: Quote
    left: int
    running: int = 0
    is_released: bool = False
    promised: int = field(default=0, init=False)
    """What the part that is left would deliver, in target minor units."""

    @property
    def stands_until(self) -> int:
        """The instant (ns) from which on nothing can be drawn, not even under a premium that was paid in time."""
        quote = self.quote
        return quote.expires_at + (quote.lock_s * NS_PER_S if quote.premium else 0)


class DeskBook:
    """All that the entries of a desk make of it; ``promised`` and ``inventory`` by ledger, in minor units."""

    def __init__(self) -> None:
        self.rates: dict[tuple[int, int], RatesPosted] = {}
        self.inventory: dict[int, int] = {}
        self.promised: dict[int, int] = {}
        self.promised_to: dict[tuple[int, int], int] = {}
        """By taker and ledger: what his open quotes and running swaps are promised of it."""
        self.quotes: dict[int, OpenQuote] = {}
        self.draws: dict[bytes, Drawn] = {}
        self.open_by_taker: dict[int, int] = {}
        self._expiries: list[tuple[int, int]] = []

    def apply(self, entry: DeskEntry) -> None:
        """Apply one entry; every entry of the journal in order makes the book again."""
        change = _CHANGES.get(type(entry))
        if change is None:
            raise EncodingError("desk entry", entry, "one of its kinds")
        change(self, entry)

    def _post(self, entry: RatesPosted) -> None:
        if entry.tiers:
            self.rates[entry.source, entry.target] = entry
        else:
            self.rates.pop((entry.source, entry.target), None)

    def _set_inventory(self, entry: InventorySet) -> None:
        self.inventory[entry.ledger] = entry.amount

    def _open(self, entry: Opened) -> None:
        quote = Quote.decode(entry.quote)
        self._stand(OpenQuote(quote, 0), quote.total_amount)

    def _keep(self, entry: Kept) -> None:
        self._stand(OpenQuote(Quote.decode(entry.quote), 0, is_released=entry.is_released), entry.left)

    def _keep_draw(self, entry: KeptDraw) -> None:
        drawn = entry.drawn
        found = self.quotes[drawn.quote_id]
        self._promise(found.quote, drawn.target_amount)
        found.running += 1
        self.draws[drawn.swap_id] = drawn

    def _clear(self, _: SnapshotBegan) -> None:
        contents: tuple[dict[Any, Any], ...] = (self.rates, self.inventory, self.promised, self.promised_to)
        for each in (*contents, self.quotes, self.draws, self.open_by_taker):
            each.clear()
        self._expiries.clear()

    def _draw(self, entry: Drawn) -> None:
        found = self.quotes[entry.quote_id]
        self._set_left(found, found.left - entry.source_amount)
        self._promise(found.quote, entry.target_amount)
        found.running += 1
        self.draws[entry.swap_id] = entry

    def _end(self, entry: Ended) -> None:
        drawn = self.draws.pop(entry.swap_id)
        found = self.quotes[drawn.quote_id]
        quote = found.quote
        found.running -= 1
        self._promise(quote, -drawn.target_amount)
        gone, came = drawn.target_amount, drawn.source_amount
        if not entry.claimed:
            gone, came = (0, 0) if entry.unspent else (drawn.spent_target, drawn.spent)
        if gone or came:
            self._hold(quote.target_ledger, -gone)
            self._hold(quote.source_ledger, came)
        if not found.is_released and came != drawn.source_amount:
            self._set_left(found, found.left + drawn.source_amount - came)
        self._forget(found)

    def _release(self, entry: Released) -> None:
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
        """Return the earliest (instant until which it stands, quote id) among quotes that are not released."""
        heap = self._expiries
        while heap:
            expires_at, quote_id = heap[0]
            found = self.quotes.get(quote_id)
            # An id may come again once its first quote is forgotten; the first one's instant says nothing about it.
            if found is not None and not found.is_released and found.stands_until == expires_at:
                return heap[0]
            heapq.heappop(heap)
        return None

    def _stand(self, found: OpenQuote, left: int) -> None:
        quote = found.quote
        self.quotes[quote.id] = found
        self._set_left(found, left)
        if not found.is_released:
            self.open_by_taker[quote.taker] = self.open_by_taker.get(quote.taker, 0) + 1
            heapq.heappush(self._expiries, (found.stands_until, quote.id))

    def _forget(self, found: OpenQuote) -> None:
        if found.is_released and found.running == 0:
            del self.quotes[found.quote.id]

    def _set_left(self, found: OpenQuote, left: int) -> None:
        before = found.promised
        found.left, found.promised = left, found.quote.delivers(left)
        self._promise(found.quote, found.promised - before)

    def _promise(self, quote: Quote, change: int) -> None:
        ledger, key = quote.target_ledger, (quote.taker, quote.target_ledger)
        self.promised[ledger] = self.promised.get(ledger, 0) + change
        its = self.promised_to.get(key, 0) + change
        if its:
            self.promised_to[key] = its
        else:
            self.promised_to.pop(key, None)

    def _hold(self, ledger: int, change: int) -> None:
        self.inventory[ledger] = self.inventory.get(ledger, 0) + change


_CHANGES: Final[dict[type[DeskEntry], Callable[[DeskBook, Any], None]]] = {
    RatesPosted: DeskBook._post,  # noqa: SLF001
    InventorySet: DeskBook._set_inventory,  # noqa: SLF001
    Opened: DeskBook._open,  # noqa: SLF001
    Kept: DeskBook._keep,  # noqa: SLF001
    KeptDraw: DeskBook._keep_draw,  # noqa: SLF001
    SnapshotBegan: DeskBook._clear,  # noqa: SLF001
    Drawn: DeskBook._draw,  # noqa: SLF001
    Ended: DeskBook._end,  # noqa: SLF001
    Released: DeskBook._release,  # noqa: SLF001
}


def snapshot(book: DeskBook) -> Iterator[DeskEntry]:
    """Yield the entries that make this book out of any other: as many as rates, ledgers, quotes and running swaps."""
    yield SnapshotBegan()
    yield from book.rates.values()
    for ledger, amount in book.inventory.items():
        yield InventorySet(ledger, amount)
    for found in book.quotes.values():
        yield Kept(found.quote.encode(), found.left, found.is_released)
    for drawn in book.draws.values():
        yield KeptDraw(drawn)


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
        promised[ledger] = promised.get(ledger, 0) + found.quote.delivers(found.left)
        if found.left < 0 or found.left + drawn.get(quote_id, 0) > found.quote.total_amount:
            raise InvariantBroken("desk_quote_overdrawn", {"quote": quote_id, "left": found.left})
        if found.running != running.get(quote_id, 0) or (found.is_released and found.left):
            raise InvariantBroken("desk_quote_running", {"quote": quote_id, "running": found.running})
    for ledger, amount in book.promised.items():
        to_takers = sum(each for (_, its), each in book.promised_to.items() if its == ledger)
        if amount != promised.get(ledger, 0) or amount != to_takers:
            raise InvariantBroken("desk_promised", {"ledger": ledger, "promised": amount})
