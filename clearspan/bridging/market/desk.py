"""A provider's desk as a process has it: rates of a file, quotes that are signed, draws of accepted swaps.

Prices, totals and inventory are `bridge.desk`'s; here are the file, the key and the entries that go to the journal. It
promises that a quote leaves only with its entry handed over to be written first, and that what is kept of the desk
grows with what stands open and not with what has ended: a snapshot takes the place of the entries before it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from bridge.desk import DealerSettings, Desk, QuoteRequest
from bridge.desk_book import decode_entry, encode_entry
from bridge.foreign_asset import FOREIGN_LEDGER_FIRST
from bridge.quotes import SignedQuote
from bridge.rates import Rounding
from engine.types import NS_PER_S, U128_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bridge.desk import Wanted
    from bridge.desk_book import DeskEntry
    from bridge.quotes import Quote
    from clearspan.bridging.market.corridors import Corridors
    from clearspan.bridging.settings.keys import BridgeKeys
    from clearspan.bridging.settings.offers import Offers
    from engine.genesis import Genesis

__all__ = ["ProviderDesk"]

_QUOTE_S: Final = 3_600
_SNAPSHOT_LEAST: Final = 20_000
_SNAPSHOT_FACTOR: Final = 4
"""A snapshot is taken when entries lie behind it by so many times as many as it has itself: that spreads its cost."""


class ProviderDesk:
    """One provider's desk; ``entries`` collects what is to be written before anything of it leaves."""

    def __init__(
        self,
        genesis: Genesis,
        participant: int,
        keys: BridgeKeys,
        corridors: Corridors,
        offers: Offers,
        *,
        taker_share_ppm: int = 500_000,
    ) -> None:
        """Stand on the accounts of the offers; ``restore`` follows, then ``post``."""
        self._genesis, self._keys, self._corridors = genesis, keys, corridors
        accounts = {each.ledger: each.account for each in offers.accounts if each.inventory or offers.pairs}
        # Quotes are signed by a key of a ledger: a chain's key signs its transactions only.
        first = next(each for each in offers.accounts if each.ledger < FOREIGN_LEDGER_FIRST)
        self._domain = keys.domain_of(first.ledger)
        self._key_id = first.key_id
        settings = DealerSettings(
            participant,
            first.key_id,
            accounts,
            Rounding.DOWN,
            quote_ns=_QUOTE_S * NS_PER_S,
            taker_open_max=1_000,
            taker_share_ppm=taker_share_ppm,
        )
        self.desk = Desk(settings)
        self.entries: list[bytes] = []
        self._behind = 0
        """Entries since the last snapshot."""

    def restore(self, entries: Iterable[bytes]) -> bool:
        """Apply the journal's entries, in order; say whether there were any."""
        for data in entries:
            self.desk.apply(decode_entry(data))
            self._behind += 1
        return self._behind > 0

    def settle(self, was_claimed: Callable[[bytes], bool | None]) -> None:
        """End the draws of swaps that ended just before the process did, so that no draw is left without its swap.

        ``was_claimed`` says of a party whether its leg was claimed, None while it runs.
        """
        for party in tuple(self.desk.book.draws):
            claimed = was_claimed(party)
            if claimed is not None:
                self.end(party, claimed=claimed)

    def post(self, offers: Offers, now: int) -> None:
        """Post the rates of a file, and what may be promised of a ledger that is new; pairs not in it are withdrawn.

        Raises BridgeRefused (quote_malformed) with nothing posted.
        """
        for pair in offers.pairs:
            self.desk.demand_rates(pair.source, pair.target, pair.tiers)
        for account in offers.accounts:
            # Of a ledger that the desk knows the inventory moves with its swaps.
            if account.ledger not in self.desk.book.inventory:
                self._note(self.desk.set_inventory(account.ledger, account.inventory))
        for pair in offers.pairs:
            self._note(self.desk.post_rates(pair.source, pair.target, pair.tiers, now + pair.valid_s * NS_PER_S))
        named = {(pair.source, pair.target) for pair in offers.pairs}
        for source, target in self.desk.posted(now) - named:
            self._note(self.desk.withdraw_rates(source, target, now))

    def quote(self, request: QuoteRequest, source: int, target: int, now: int) -> SignedQuote:
        """Make a firm quote and sign it. Raises BridgeRefused."""
        document = self._corridors.between(source, target)
        opened = self.desk.quote(request, document, secrets.randbelow(U128_MAX - 2) + 1, now)
        self._note(opened)
        quote = self.desk.book.quotes[_id_of(opened.quote)].quote
        message = quote.message(self._genesis.hash_suite, self._genesis.hash)
        return SignedQuote(quote, self._keys.sign(self._domain, self._key_id, message))

    def draw(self, quote: Quote, party: bytes, wanted: Wanted, allowed: tuple[int, int] | None = None) -> None:
        """Draw a swap on a quote, and the premium that its next provider is paid; ``allowed`` as in ``Desk.draw_as``.

        Raises BridgeRefused.
        """
        drawn = self.desk.draw_as(quote.id, party, wanted, allowed)
        if drawn is not None:
            self._note(drawn)

    def end(self, party: bytes, *, claimed: bool, unspent: bool = False) -> None:
        """Note how a swap ended."""
        ended = self.desk.end(party, claimed=claimed, unspent=unspent)
        if ended is not None:
            self._note(ended)

    def release(self, now: int) -> None:
        """Let go of quotes that have expired."""
        for entry in self.desk.release(now):
            self._note(entry)

    def take_entries(self) -> list[bytes]:
        """Return what is to be written now, all of it in one commit; a snapshot that is due stands at its end."""
        found, self.entries = self.entries, []
        book = self.desk.book
        if found and self._behind > max(_SNAPSHOT_LEAST, _SNAPSHOT_FACTOR * (len(book.quotes) + len(book.draws))):
            found += map(encode_entry, self.desk.snapshot())
            self._behind = 0
        return found

    def _note(self, entry: DeskEntry) -> None:
        self.entries.append(encode_entry(entry))
        self._behind += 1


def _id_of(quote: bytes) -> int:
    return int.from_bytes(quote[:16], "little")
