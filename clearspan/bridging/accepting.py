"""A provider's answers: whether a swap may be accepted, under its own quote, for what it pays, in time; and its lock.

It promises that nothing is accepted that the quote does not cover, from nobody but the payer of the swap, and that what
was accepted once is answered the same again. When its machine locks is the machine's to say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bridge.quotes import SignedQuote
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.routes import HOPS_MAX, demand_fair
from bridge.terms import SwapTerms
from clearspan.bridging.asking import demand_lock_of
from clearspan.bridging.beside import Due, due_of_provider, premium_in
from clearspan.bridging.views import refusal_message, refusal_of_code
from clearspan.v1 import bridge_pb2
from engine.record import Transfer, participant_of_account
from engine.refusals import EncodingError
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.quotes import Quote
    from clearspan.bridging.beside import Beside
    from clearspan.bridging.desk import ProviderDesk
    from clearspan.bridging.engine import BridgeEngine

__all__ = ["Accepting"]

_LOCK_WAIT_S: Final = 8.0
_QUOTES_KEPT_MAX: Final = 10_000


class Accepting:
    """Answers for one provider."""

    def __init__(self, engine: BridgeEngine, desk: ProviderDesk) -> None:
        """Take the swaps and the desk."""
        self._engine, self._desk = engine, desk
        self._quotes: dict[bytes, Quote] = {}

    async def accept(self, asked: Sequence[bridge_pb2.Acceptance], taker: int) -> list[bridge_pb2.AcceptAnswer]:
        """Answer each question of a payer's bridge, when what was accepted is durable and its lock on its way."""
        answers: list[bridge_pb2.AcceptAnswer | None] = []
        parties: list[bytes] = []
        for each in asked:
            try:
                parties.append(self._accept(each, taker))
                answers.append(None)
            except BridgeRefused as error:
                parties.append(b"")
                answers.append(bridge_pb2.AcceptAnswer(refusal=refusal_message(error)))
        await self._engine.committed()
        waited = {party for party in parties if party}
        if waited:
            await asyncio.gather(*(self._engine.locking(party, _LOCK_WAIT_S) for party in waited))
        return [
            answer if answer is not None else self._answer(party)
            for answer, party in zip(answers, parties, strict=True)
        ]

    def _answer(self, party: bytes) -> bridge_pb2.AcceptAnswer:
        swap = self._engine.book.find(party)
        if swap is not None and swap.legs[swap.own_leg].record:
            return bridge_pb2.AcceptAnswer(lock_record=swap.legs[swap.own_leg].record)
        if swap is not None and swap.outcome is not None:
            code = swap.code or int(BridgeCode.PROVIDER_REFUSED)
            return bridge_pb2.AcceptAnswer(refusal=refusal_of_code(code, "the swap has ended here"))
        error = BridgeRefused(BridgeCode.LEG_NOT_FINAL, "the leg before is not final here yet")
        return bridge_pb2.AcceptAnswer(refusal=refusal_message(error))

    def _accept(self, asked: bridge_pb2.Acceptance, taker: int) -> bytes:
        """Check one swap and hand it to its machine; return the party. Raises BridgeRefused."""
        engine, now = self._engine, self._engine.now()
        terms, leg = SwapTerms.decode(asked.terms), asked.leg
        quote = self._quote(asked.quote)
        suite = engine.genesis.hash_suite
        if terms.network != engine.genesis.hash:
            raise BridgeRefused(BridgeCode.TERMS_MALFORMED, "the terms are of another network")
        if not 0 < leg < len(terms.legs) or terms.foreign_leg >= 0:
            raise BridgeRefused(BridgeCode.NOT_YOUR_SWAP, f"leg {leg} is no leg of this bridge", leg=leg)
        swap_id = terms.digest(suite)
        party = terms.orders(suite, swap_id)[leg].lock_id
        if engine.book.find(party) is not None:
            return party
        if participant_of_account(terms.legs[0].debit_id) != taker:
            raise BridgeRefused(BridgeCode.NOT_YOUR_SWAP, f"participant {taker} is not its payer")
        self._demand_quoted(terms, leg, quote)
        demand_lock_of(terms, leg - 1, suite, asked.lock_record, swap_id)
        document = engine.corridors.book.demand_version(
            quote.corridor_id, quote.corridor_version, engine.corridors.height
        )
        document.demand_open(now)
        beside = self._beside(party, terms, leg, quote, asked.onward_quotes)
        premium = self._premium(terms, leg, quote, asked)
        if premium:
            engine.demand_premium(terms.legs[leg - 1].ledger, premium)
        clearance = engine.compliance.admit(terms, leg, document, asked.travel_rule, now)
        try:
            self._draw(quote, party, terms, leg)
        except BridgeRefused:
            engine.compliance.give_back(clearance.taken)
            raise
        try:
            begun = engine.accept(terms, leg, asked.lock_record, asked.shard, asked.height)
        except BridgeRefused:
            # A draw that no machine follows is undone at once, in the same commit.
            self._desk.end(party, claimed=False)
            engine.compliance.give_back(clearance.taken)
            raise
        if begun is None:
            engine.compliance.give_back(clearance.taken)
        else:
            engine.compliance.began(party, clearance)
            engine.beside.plan(beside)
            engine.beside.start(party, Due.PAID, now)
        return party

    def _beside(self, party: bytes, terms: SwapTerms, leg: int, quote: Quote, onward: Sequence[bytes]) -> list[Beside]:
        """Return what is owed beside the own lock. Raises BridgeRefused where the quote does not pay for it."""
        corridors = self._engine.corridors
        following = None
        if leg < len(terms.corridors):
            named = terms.corridors[leg]
            following = corridors.book.demand_version(named.id, named.version, corridors.height)
        return due_of_provider(party, terms, leg, (quote, *_decoded(onward)), following)

    @staticmethod
    def _premium(terms: SwapTerms, leg: int, quote: Quote, asked: bridge_pb2.Acceptance) -> bytes:
        """Return the record that pays the premium of the first provider. Raises BridgeRefused where it does not."""
        owed = premium_in(terms, leg, (quote, *_decoded(asked.onward_quotes)))
        if leg != 1 or not owed:
            return b""
        try:
            found = Transfer.decode(asked.premium_record)
        except EncodingError as error:
            raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, f"a premium of {owed} is owed", leg=leg) from error
        paid = terms.legs[0]
        expected = Transfer(
            id=found.id,
            debit_account=paid.debit_id,
            credit_account=paid.credit_id,
            amount=owed,
            ledger=paid.ledger,
            key_id=found.key_id,
            expires_at=found.expires_at,
            valid_for_s=found.valid_for_s,
            user_data=int.from_bytes(terms.uetr, "big"),
        )
        if found != expected:
            raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, f"the premium is not the {owed} that is owed", leg=leg)
        return asked.premium_record

    def _draw(self, quote: Quote, party: bytes, terms: SwapTerms, leg: int) -> None:
        now = self._engine.now()
        lock_s = -(-(terms.legs[leg].timelock_ns - now) // NS_PER_S)
        self._desk.draw(
            quote,
            party,
            taker=participant_of_account(terms.legs[0].debit_id),
            amount=terms.legs[leg - 1].amount,
            function=terms.hash_function,
            lock_s=lock_s,
            now=now,
        )

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
    def _demand_quoted(terms: SwapTerms, leg: int, quote: Quote) -> None:
        """Demand that the two legs are what the quote offers. Raises BridgeRefused (legs_do_not_match)."""
        incoming, own = terms.legs[leg - 1], terms.legs[leg]
        corridor = terms.corridors[leg - 1] if len(terms.corridors) >= leg else None
        fits = (
            (incoming.ledger, own.ledger) == (quote.source_ledger, quote.target_ledger)
            and incoming.credit_id == quote.provider_source_account
            and own.debit_id == quote.provider_target_account
            and own.user_data == quote.id
            and corridor is not None
            and (corridor.id, corridor.version) == (quote.corridor_id, quote.corridor_version)
        )
        if not fits:
            text = f"legs {leg - 1} and {leg} are not what quote {quote.id:032x} offers"
            raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, text, leg=leg)
        demand_fair(quote, incoming.amount, own.amount)


def _decoded(quotes: Sequence[bytes]) -> list[Quote]:
    try:
        return [SignedQuote.decode(each).quote for each in quotes[:HOPS_MAX]]
    except EncodingError as error:
        raise BridgeRefused(BridgeCode.QUOTE_MALFORMED, str(error)) from error
