"""A provider's answers: whether a swap may be accepted, under its own quote, for what it pays, in time; and its lock.

It promises that nothing is accepted that the quote does not cover, from nobody but the payer of the swap, and that what
was accepted once is answered the same again. When its machine locks is the machine's to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from bridge.desk import Wanted
from bridge.foreign_asset import place
from bridge.quotes import SignedQuote
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.routes import HOPS_MAX, demand_fair
from bridge.terms_rows import read_terms
from clearspan.bridging.journal.views import refusal_message, refusal_of_code
from clearspan.bridging.lines.beside import Due, due_of_provider, onward_of
from clearspan.bridging.swaps.asking import demand_lock_of
from clearspan.v1 import bridge_pb2
from engine.record import participant_of_account
from engine.refusals import EncodingError
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bridge.corridor import CorridorDocument
    from bridge.quotes import Quote
    from bridge.terms import SwapTerms
    from clearspan.bridging.lines.beside import Beside
    from clearspan.bridging.market.desk import ProviderDesk
    from clearspan.bridging.market.premiums import Shown
    from clearspan.bridging.swaps.engine import BridgeEngine

__all__ = ["Accepting"]

_LOCK_WAIT_S: Final = 8.0
_PREMIUM_WAIT_S: Final = 1.5
_QUOTES_KEPT_MAX: Final = 10_000


class _Question(NamedTuple):
    """Who asks, the own quote with those behind it, what is shown of the premium, which hashes the journal knows."""

    taker: int
    quotes: Sequence[Quote]
    shown: Shown | None
    known: Collection[bytes]


class Accepting:
    """Answers for one provider."""

    def __init__(self, engine: BridgeEngine, desk: ProviderDesk) -> None:
        """Take the swaps and the desk."""
        self._engine, self._desk = engine, desk
        self._quotes: dict[bytes, Quote] = {}

    async def accept(self, asked: Sequence[bridge_pb2.Acceptance], taker: int) -> list[bridge_pb2.AcceptAnswer]:
        """Answer each question of a payer's bridge, when what was accepted is durable and its lock on its way."""
        tried = self._tried(asked, taker)
        await self._engine.committed()
        late = [index for index, found in enumerate(tried) if _is_late(found)]
        if late:
            # A premium that was sent a moment ago is waited for a little, so that nobody has to ask again.
            await self._engine.premiums.seen((asked[index].premium_record for index in late), _PREMIUM_WAIT_S)
            again = self._tried([asked[index] for index in late], taker)
            for index, found in zip(late, again, strict=True):
                tried[index] = found
            await self._engine.committed()
        waited = {found for found in tried if isinstance(found, bytes)}
        if waited:
            await self._engine.acting.locking(waited, _LOCK_WAIT_S)
        return [
            self._answer(found) if isinstance(found, bytes) else bridge_pb2.AcceptAnswer(refusal=refusal_message(found))
            for found in tried
        ]

    def _tried(self, asked: Sequence[bridge_pb2.Acceptance], taker: int) -> list[bytes | BridgeRefused]:
        """Check swaps and hand them to their machines; return of each the party, or why not."""
        read = [_terms_of(each) for each in asked]
        # What the journal knows of all of them is one read, and nothing else happens until all were tried.
        hashlocks = [terms.hashlock for terms in read if not isinstance(terms, BridgeRefused)]
        known = self._engine.past.known_hashes(hashlocks)
        return [
            terms if isinstance(terms, BridgeRefused) else self._tried_one(each, terms, taker, known)
            for each, terms in zip(asked, read, strict=True)
        ]

    def _tried_one(
        self, asked: bridge_pb2.Acceptance, terms: SwapTerms, taker: int, known: Collection[bytes]
    ) -> bytes | BridgeRefused:
        try:
            return self._accept(asked, terms, taker, known)
        except BridgeRefused as error:
            return error

    def _answer(self, party: bytes) -> bridge_pb2.AcceptAnswer:
        swap = self._engine.book.find(party)
        if swap is not None and swap.terms.legs[swap.own_leg].foreign and swap.own_lock_sent:
            return bridge_pb2.AcceptAnswer(accepted=True, premium_record=swap.premium)
        if swap is not None and swap.legs[swap.own_leg].record:
            return bridge_pb2.AcceptAnswer(lock_record=swap.legs[swap.own_leg].record, premium_record=swap.premium)
        if swap is not None and swap.outcome is not None:
            code = swap.code or int(BridgeCode.PROVIDER_REFUSED)
            return bridge_pb2.AcceptAnswer(refusal=refusal_of_code(code, "the swap has ended here"))
        error = BridgeRefused(BridgeCode.LEG_NOT_FINAL, "the leg before is not final here yet")
        return bridge_pb2.AcceptAnswer(refusal=refusal_message(error))

    def _accept(self, asked: bridge_pb2.Acceptance, terms: SwapTerms, taker: int, known: Collection[bytes]) -> bytes:
        """Check one swap and hand it to its machine; return the party. Raises BridgeRefused."""
        engine, leg = self._engine, asked.leg
        suite = engine.genesis.hash_suite
        if terms.network != engine.genesis.hash:
            raise BridgeRefused(BridgeCode.TERMS_MALFORMED, "the terms are of another network")
        if not 0 < leg < len(terms.legs):
            raise BridgeRefused(BridgeCode.NOT_YOUR_SWAP, f"leg {leg} is no leg of this bridge", leg=leg)
        if not terms.legs[0].foreign and participant_of_account(terms.legs[0].debit_id) != taker:
            raise BridgeRefused(BridgeCode.NOT_YOUR_SWAP, f"participant {taker} is not its payer")
        swap_id = terms.digest(suite)
        orders = terms.orders(suite, swap_id)
        party = orders[leg].lock_id
        if engine.book.find(party) is not None:
            return party
        # Before anything else is asked: what is not known yet, such as a corridor, would be refused for good.
        engine.demand_relay_read()
        if asked.premium_record:
            engine.premiums.demand_kept(party)
        try:
            quotes = (self._quote(asked.quote), *_decoded(asked.onward_quotes))
            if not terms.legs[leg - 1].foreign:
                demand_lock_of(terms, leg - 1, suite, asked.lock_record, swap_id)
            shown = engine.premiums.shown(terms, leg, quotes, asked.premium_record, orders[leg - 1].lock_id)
            self._begin(asked, terms, party, _Question(taker, quotes, shown, known))
        except BridgeRefused as error:
            # Whoever paid for an option that is not honoured has his premium back.
            paid = engine.premiums.paid(terms, leg, asked.premium_record, orders[leg - 1].lock_id)
            engine.premiums.give_back(party, paid, error)
            raise
        engine.premiums.took(shown)
        return party

    def _begin(self, asked: bridge_pb2.Acceptance, terms: SwapTerms, party: bytes, question: _Question) -> None:
        """Ask everything else, then draw and begin. Raises BridgeRefused with nothing drawn.

        The premium is asked for last: nobody pays for an option that is refused.
        """
        engine, desk, now = self._engine, self._desk, self._engine.now()
        leg, quotes, shown = asked.leg, question.quotes, question.shown
        quote = quotes[0]
        document = engine.corridors.book.demand_version(
            quote.corridor_id, quote.corridor_version, engine.corridors.height
        )
        self._demand_quoted(terms, leg, quote, document)
        document.demand_open(now)
        beside = self._beside(party, terms, leg, quotes)
        wanted = Wanted(
            taker=question.taker,
            amount=terms.legs[leg - 1].amount,
            function=terms.hash_function,
            lock_s=-(-(terms.legs[leg].timelock_ns - now) // NS_PER_S),
            # Under a premium as of the instant at which that was paid, for the option is taken then.
            now=shown.taken_at(now) if shown is not None else now,
            onward=onward_of(terms, leg, quotes),
        )
        allowed = desk.desk.demand_draw(quote.id, wanted)
        clearance = engine.compliance.admit(terms, leg, document, asked.travel_rule, now)
        try:
            if shown is not None and not shown.final_at:
                engine.demand_acceptable(terms, leg)
                shown.demand_final()
            desk.draw(quote, party, wanted, allowed)
        except BridgeRefused:
            engine.compliance.give_back(clearance.taken)
            raise
        try:
            begun = engine.accept(terms, leg, asked.lock_record, asked.shard, asked.height, known=question.known)
        except BridgeRefused:
            # A draw that no machine follows is undone at once, in the same commit.
            desk.end(party, claimed=False, unspent=True)
            engine.compliance.give_back(clearance.taken)
            raise
        if begun is None:
            engine.compliance.give_back(clearance.taken)
        else:
            engine.compliance.began(party, clearance)
            engine.beside.plan(beside)
            paid = engine.beside.start(party, Due.PAID, now)
            begun.premium = paid[0] if paid else b""

    def _beside(self, party: bytes, terms: SwapTerms, leg: int, quotes: Sequence[Quote]) -> list[Beside]:
        """Return what is owed beside the own lock. Raises BridgeRefused where the quote does not pay for it."""
        corridors = self._engine.corridors
        following = None
        if leg < len(terms.corridors):
            named = terms.corridors[leg]
            following = corridors.book.demand_version(named.id, named.version, corridors.height)
        return due_of_provider(party, terms, leg, quotes, following)

    def _quote(self, data: bytes) -> Quote:
        found = self._quotes.get(data)
        if found is None:
            try:
                found = SignedQuote.decode(data).quote
            except EncodingError as error:
                raise BridgeRefused(BridgeCode.QUOTE_MALFORMED, str(error)) from error
            if found.provider != self._engine.participant:
                raise BridgeRefused(BridgeCode.NOT_YOUR_SWAP, f"quote {found.id:032x} is of another provider")
            known = self._desk.desk.book.quotes.get(found.id)
            if known is None or known.quote != found:
                raise BridgeRefused(BridgeCode.QUOTE_UNKNOWN, f"quote {found.id:032x}")
            if len(self._quotes) >= _QUOTES_KEPT_MAX:
                self._quotes.clear()
            self._quotes[data] = found
        return found

    @staticmethod
    def _demand_quoted(terms: SwapTerms, leg: int, quote: Quote, document: CorridorDocument) -> None:
        """Demand that the two legs are what the quote offers. Raises BridgeRefused (legs_do_not_match)."""
        paid, given = terms.legs[leg - 1], terms.legs[leg]
        incoming, own = place(paid, document.asset), place(given, document.asset)
        corridor = terms.corridors[leg - 1] if len(terms.corridors) >= leg else None
        fits = (
            incoming.ledger == quote.source_ledger
            and own.ledger == quote.target_ledger
            and incoming.credit == quote.provider_source_account
            and own.debit == quote.provider_target_account
            and given.user_data == quote.id
            and corridor is not None
            and corridor.id == quote.corridor_id
            and corridor.version == quote.corridor_version
        )
        if not fits:
            text = f"legs {leg - 1} and {leg} are not what quote {quote.id:032x} offers"
            raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, text, leg=leg)
        demand_fair(quote, paid.amount, given.amount)
        if terms.foreign_leg >= 0:
            _demand_plain(terms, leg, quote)


def _demand_plain(terms: SwapTerms, leg: int, quote: Quote) -> None:
    """Demand that a swap with a chain is two legs and nothing beside them there. Raises BridgeRefused."""
    incoming, own = terms.legs[leg - 1], terms.legs[leg]
    if len(terms.legs) != 2:
        raise BridgeRefused(BridgeCode.LEG_ORDER_UNSAFE, "a swap with a chain has two legs here", leg=leg)
    if own.foreign and own.amount != quote.delivers(incoming.amount):
        text = f"the quote gives {quote.delivers(incoming.amount)}, and nothing of it can be left over on a chain"
        raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, text, leg=leg)


def _terms_of(asked: bridge_pb2.Acceptance) -> SwapTerms | BridgeRefused:
    try:
        return read_terms(asked.terms)
    except BridgeRefused as error:
        return error


def _is_late(found: bytes | BridgeRefused) -> bool:
    return isinstance(found, BridgeRefused) and found.code is BridgeCode.LEG_NOT_FINAL


def _decoded(quotes: Sequence[bytes]) -> list[Quote]:
    """Read the quotes behind the own one: what they say is paid for by who shows them, so nobody's word is taken."""
    if len(quotes) >= HOPS_MAX:
        raise BridgeRefused(BridgeCode.QUOTE_MALFORMED, f"{len(quotes)} quotes behind one, at most {HOPS_MAX - 1}")
    try:
        return [SignedQuote.decode(each).quote for each in quotes]
    except EncodingError as error:
        raise BridgeRefused(BridgeCode.QUOTE_MALFORMED, str(error)) from error
