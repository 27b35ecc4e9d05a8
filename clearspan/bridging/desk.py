"""A provider's desk as a process has it: rates of a file, quotes that are signed, draws of accepted swaps.

Prices, totals and inventory are `bridge.desk`'s; here are the file, the key and the entries that go to the journal. It
promises that a quote leaves only with its entry handed over to be written first.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from bridge.desk import DealerSettings, Desk, QuoteRequest
from bridge.desk_book import decode_entry, encode_entry
from bridge.quotes import SignedQuote
from bridge.rates import Rounding
from engine.types import NS_PER_S, U128_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.desk_book import DeskEntry
    from bridge.leg import HashFunction
    from bridge.quotes import Quote
    from clearspan.bridging.corridors import Corridors
    from clearspan.bridging.keys import BridgeKeys
    from clearspan.bridging.offers import Offers
    from engine.genesis import Genesis

__all__ = ["ProviderDesk"]

_QUOTE_S: Final = 3_600


class ProviderDesk:
    """One provider's desk; ``entries`` collects what is to be written before anything of it leaves."""

    def __init__(
        self, genesis: Genesis, participant: int, keys: BridgeKeys, corridors: Corridors, offers: Offers
    ) -> None:
        """Stand on the accounts of the offers; ``restore`` follows, then ``post``."""
        self._genesis, self._keys, self._corridors = genesis, keys, corridors
        accounts = {each.ledger: each.account for each in offers.accounts if each.inventory or offers.pairs}
        first = offers.accounts[0]
        self._domain = keys.domain_of(first.ledger)
        self._key_id = first.key_id
        settings = DealerSettings(
            participant,
            first.key_id,
            accounts,
            Rounding.DOWN,
            quote_ns=_QUOTE_S * NS_PER_S,
            taker_open_max=1_000,
        )
        self.desk = Desk(settings)
        self.entries: list[bytes] = []

    def restore(self, entries: Iterable[bytes]) -> bool:
        """Apply the journal's entries, in order; say whether there were any."""
        count = 0
        for data in entries:
            self.desk.apply(decode_entry(data))
            count += 1
        return count > 0

    def post(self, offers: Offers, now: int, *, inventory: bool) -> None:
        """Post the rates of a file, and at the beginning of a desk what it may promise."""
        if inventory:
            for account in offers.accounts:
                self._note(self.desk.set_inventory(account.ledger, account.inventory))
        for pair in offers.pairs:
            self._note(self.desk.post_rates(pair.source, pair.target, pair.tiers, now + pair.valid_s * NS_PER_S))

    def quote(self, request: QuoteRequest, source: int, target: int, now: int) -> SignedQuote:
        """Make a firm quote and sign it. Raises BridgeRefused."""
        document = self._corridors.between(source, target)
        opened = self.desk.quote(request, document, secrets.randbelow(U128_MAX - 2) + 1, now)
        self._note(opened)
        quote = self.desk.book.quotes[_id_of(opened.quote)].quote
        message = quote.message(self._genesis.hash_suite, self._genesis.hash)
        return SignedQuote(quote, self._keys.sign(self._domain, self._key_id, message))

    def draw(
        self, quote: Quote, party: bytes, *, taker: int, amount: int, function: HashFunction, lock_s: int, now: int
    ) -> None:
        """Draw a swap on a quote. Raises BridgeRefused."""
        drawn = self.desk.draw(quote.id, party, taker=taker, amount=amount, function=function, lock_s=lock_s, now=now)
        if drawn is not None:
            self._note(drawn)

    def end(self, party: bytes, *, claimed: bool) -> None:
        """Note how a swap ended."""
        ended = self.desk.end(party, claimed=claimed)
        if ended is not None:
            self._note(ended)

    def release(self, now: int) -> None:
        """Let go of quotes that have expired."""
        for entry in self.desk.release(now):
            self._note(entry)

    def take_entries(self) -> list[bytes]:
        """Return what is to be written now."""
        found, self.entries = self.entries, []
        return found

    def _note(self, entry: DeskEntry) -> None:
        self.entries.append(encode_entry(entry))


def _id_of(quote: bytes) -> int:
    return int.from_bytes(quote[:16], "little")
