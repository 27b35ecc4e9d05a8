"""A provider's side of the trade: his desk with its journal, and what he asks before he accepts a swap.

The desk, the quotes and what is owed beside the locks are those that the bridge runs with; here they meet a log that
alone survives, and the ledger on which a quote is opened as well.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from bridge.desk import DealerSettings, Desk, QuoteRequest, Wanted
from bridge.desk_book import DeskEntry, Tier, decode_entry, encode_entry
from bridge.quotes import ANY_TAKER, Quote, SignedQuote
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.routes import demand_fair
from clearspan.bridging.lines.beside import Beside, Due, due_of_provider, premium_in
from clearspan.simulation.bridge.market import CHAIN_LEDGER, LOCK_S
from clearspan.simulation.bridge.realm import FUNDS
from engine.admin import AdminRequest
from engine.types import NS_PER_S, U128_MAX, AdminType
from native.codes import ResultCode
from native.signatures import sign

if TYPE_CHECKING:
    from bridge.terms import SwapTerms
    from clearspan.simulation.bridge.market import Market, Premium
    from clearspan.simulation.bridge.stage import Caller, Stage
    from engine.admin import SignedAdmin

__all__ = ["Dealer", "Question"]

_AGAIN_NS: Final = 2 * NS_PER_S
_OPENED_AGAIN_MAX: Final = 5
_ADMIN_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Question:
    """What a payer asks the provider of a leg; the quotes are his and those of the hops behind it.

    ``envelope`` is what he shows of the travel-rule data, empty where he has none.
    """

    terms: SwapTerms
    leg: int
    quotes: tuple[bytes, ...]
    envelope: bytes = b""


class Dealer:
    """The desk of the provider of hop ``hop``; ``pending`` is to be made durable before anything of it leaves."""

    def __init__(self, stage: Stage, market: Market, hop: int) -> None:
        self._stage, self._market, self.hop = stage, market, hop
        self.source, self.target = market.ledgers[hop - 1], market.ledgers[hop]
        accounts = {ledger: market.account(ledger, hop) for ledger in (self.source, self.target)}
        self._home = self.target if self.target != CHAIN_LEDGER else self.source
        self.key_id = market.key_of(self._home, accounts[self._home])
        deal = stage.plan.deal
        self.desk = Desk(
            DealerSettings(
                market.participant(hop), self.key_id, accounts, deal.rounding, quote_ns=deal.quote_s * NS_PER_S
            )
        )
        self.pending: list[bytes] = []

    def restore(self, log: list[bytes]) -> None:
        """Make the desk again from its log; a new one posts its rate and what it may promise."""
        for data in log:
            self.desk.apply(decode_entry(data))
        if log:
            return
        numerator, denominator = self._market.rate(self.hop)
        for ledger in (self.source, self.target):
            self._note(self.desk.set_inventory(ledger, FUNDS))
        tiers = (Tier(1, numerator, denominator),)
        self._note(self.desk.post_rates(self.source, self.target, tiers, 2**63 - 1))

    def quote(self, total: int, now: int) -> SignedQuote:
        """Make a firm quote and sign it. Raises BridgeRefused."""
        stage, market = self._stage, self._market
        taker = ANY_TAKER if stage.plan.deal.open_taker else market.participant(0)
        request = QuoteRequest(taker, total, is_target=False, lock_s=LOCK_S)
        identity = stage.random.randrange(1, U128_MAX)
        opened = self.desk.quote(request, market.document(self.hop), identity, now)
        self._note(opened)
        quote = Quote.decode(opened.quote)
        key = stage.place_of_ledger(self._home).world.keys[self.key_id]
        return SignedQuote(quote, sign(key.suite, key.secret, quote.message(stage.suite, stage.realm.genesis.hash)))

    def open_on_ledger(self, provider: Caller, quote: Quote, tries: int = _OPENED_AGAIN_MAX) -> None:
        """Have the target ledger keep what is left of a quote, again until it answers; a chain keeps none."""
        if quote.target_ledger == CHAIN_LEDGER or not tries:
            return
        stage, place = self._stage, self._stage.place_of_ledger(quote.target_ledger)
        answered: list[int] = []

        def told(code: int) -> None:
            answered.append(code)
            if code == ResultCode.CREATED:
                stage.reach("quote_on_ledger")

        request = self._opening(quote)
        stage.send(provider, place.name, lambda: None if stage.is_down(place) else place.administer(request, told))
        stage.after(_AGAIN_NS, lambda: None if answered else self.open_on_ledger(provider, quote, tries - 1))

    def _opening(self, quote: Quote) -> SignedAdmin:
        place, account = self._stage.place_of_ledger(quote.target_ledger), quote.provider_target_account
        request = AdminRequest(
            id=quote.id,
            type=int(AdminType.QUOTE_OPEN),
            expires_at=self._stage.start + _ADMIN_S // 2 * NS_PER_S,
            valid_for_s=_ADMIN_S,
            subject=account,
            ledger=quote.target_ledger,
            limit_a=quote.delivers(quote.total_amount),
            limit_b=quote.expires_at + quote.lock_s * NS_PER_S,
        )
        return place.world.admin(request, self._market.key_of(quote.target_ledger, account))

    # Acceptance.

    def admit(self, question: Question, party: bytes, now: int, premium: Premium) -> tuple[list[Beside], int]:
        """Check a question and draw on its quote; return what is then owed beside the lock, and when it was taken.

        Raises BridgeRefused. The premium is asked for last, and the option counts as taken when it was signed.
        """
        terms, leg = question.terms, question.leg
        quotes = self._quotes(question)
        self._demand_quoted(terms, leg, quotes[0])
        following = self._market.document(leg + 1) if leg + 1 < len(terms.legs) else None
        rows = due_of_provider(party, terms, leg, quotes, following)
        wanted = Wanted(
            taker=self._market.participant(0),
            amount=terms.legs[leg - 1].amount,
            function=terms.hash_function,
            lock_s=-(-(terms.legs[leg].timelock_ns - now) // NS_PER_S),
            now=min(now, premium.signed_at or now),
            onward=sum(row.amount for row in rows if row.due is Due.PAID),
        )
        self.desk.demand_draw(quotes[0].id, wanted)
        if premium_in(terms, leg, quotes):
            if not premium.signed_at:
                raise BridgeRefused(BridgeCode.PREMIUM_OWED, "a premium is owed", leg=leg)
            if not premium.is_final:
                self._stage.reach("premium_awaited")
                raise BridgeRefused(BridgeCode.LEG_NOT_FINAL, "the premium is not final here yet", leg=leg)
        drawn = self.desk.draw(quotes[0].id, party, **asdict(wanted))
        if drawn is not None:
            self._note(drawn)
        return rows, wanted.now

    def owed(self, question: Question) -> int:
        """Return the premium that is owed for a question; 0 where it cannot be said."""
        try:
            return premium_in(question.terms, question.leg, self._quotes(question))
        except BridgeRefused:
            return 0

    def _quotes(self, question: Question) -> tuple[Quote, ...]:
        """Return the own quote and those behind it; raises BridgeRefused for one that is not this desk's."""
        return (self._known(question.quotes[0]), *(SignedQuote.decode(each).quote for each in question.quotes[1:]))

    def _known(self, data: bytes) -> Quote:
        quote = SignedQuote.decode(data).quote
        known = self.desk.book.quotes.get(quote.id)
        if known is None or known.quote != quote:
            raise BridgeRefused(BridgeCode.QUOTE_UNKNOWN, f"quote {quote.id:032x}")
        return quote

    def _demand_quoted(self, terms: SwapTerms, leg: int, quote: Quote) -> None:
        incoming, own, market = terms.legs[leg - 1], terms.legs[leg], self._market
        fits = (
            (market.ledgers[leg - 1], market.ledgers[leg]) == (quote.source_ledger, quote.target_ledger)
            and own.user_data == quote.id
            and terms.corridors[leg - 1].version == quote.corridor_version
        )
        if not fits:
            raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, f"legs {leg - 1} and {leg}", leg=leg)
        demand_fair(quote, incoming.amount, own.amount)

    def undo(self, party: bytes) -> None:
        """Take a draw back that no machine follows."""
        ended = self.desk.end(party, claimed=False, unspent=True)
        if ended is not None:
            self._note(ended)

    def end(self, party: bytes, *, claimed: bool) -> None:
        """Note how a swap ended; nothing where it did not draw."""
        ended = self.desk.end(party, claimed=claimed)
        if ended is not None:
            self._note(ended)

    def snapshot(self) -> list[bytes]:
        """Return a log that is as long as the desk is large and makes the same desk."""
        return [encode_entry(entry) for entry in self.desk.snapshot()]

    def release(self, now: int) -> None:
        """Let go of quotes that have expired."""
        for entry in self.desk.release(now):
            self._note(entry)

    def _note(self, entry: DeskEntry) -> None:
        self.pending.append(encode_entry(entry))
