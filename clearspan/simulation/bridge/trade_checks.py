"""What must hold of holds, quotes, desks and transfers beside the locks, after every step and at the end.

A hold has an owner, a clock and one outcome, and goes on only when two institutions have let it; what is above a
threshold was held. No quote is overdrawn, on its ledger or at its desk; a desk has drawn exactly what runs and what was
settled, also after a restart. What is owed beside a lock is made once, and when it is due.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from bridge.desk_book import check_invariants
from bridge.fees import fees_of
from bridge.rates import ConversionOverflowError
from bridge.routes import Purpose
from clearspan.simulation.bridge.places import ARRIVAL, CLAIM, HELD, LOCK, REFUND, RETURN
from engine.refusals import InvariantBroken
from engine.types import RuleType
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.terms import SwapTerms
    from clearspan.simulation.bridge.market import Market
    from clearspan.simulation.bridge.party import Party
    from clearspan.simulation.bridge.places import Place, Record
    from clearspan.simulation.bridge.stage import Stage
    from clearspan.simulation.bridge.supervisors import Supervisors

    _Sides = tuple[int, int, int, int]

__all__ = ["TradeChecks"]

_ENDS_OF_HOLDS = frozenset(
    {ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT, ResultCode.HOLD_REJECTED, ResultCode.HOLD_EXPIRED}
)


class TradeChecks:
    """The rules of one scene that concern what a swap stands on besides its locks."""

    def __init__(
        self, stage: Stage, market: Market, parties: Sequence[Party], supervisors: Sequence[Supervisors]
    ) -> None:
        self.stage, self.market, self.parties = stage, market, parties
        self._released = {each.place.name: each.released for each in supervisors}

    # After a round of a ledger.

    def after_round(self, place: Place) -> None:
        """Hold what a ledger holds and quotes."""
        for hold in place.holds():
            if not hold.owner:
                self.stage.fail(f"{place.name}: a hold of {hold.amount} has no owner")
            if not 0 < place.core.time < hold.deadline:
                self.stage.fail(f"{place.name}: a hold waits beyond its clock of {hold.deadline}")
        for record in place.changed:
            self._check_held(place, record)
        if place.changed:
            self._check_quotes(place)

    def _check_held(self, place: Place, record: Record) -> None:
        threshold = self.stage.plan.thresholds.get(place.index)
        transfer, waited = record.transfer, HELD in record.proofs
        if not record.created():
            if LOCK in record.proofs and waited:
                self.stage.reach(f"hold_ended_{ResultCode(record.code).name.lower()}")
            return
        if waited and (transfer.debit_account, transfer.id) not in self._released[place.name]:
            self.stage.fail(f"{place.name}: what was held went on, and no two institutions had let it")
        if waited:
            self.stage.reach("hold_ended_released")
        if threshold is not None and transfer.amount >= threshold.amount and not waited:
            self.stage.fail(f"{place.name}: {transfer.amount} is above the threshold and was not held")

    def _check_quotes(self, place: Place) -> None:
        """Hold that a quote's row never gives more than it has, and what stands under it is no more than that."""
        rows = [rule for machine in place.machines for rule in machine.rules() if rule.type == RuleType.QUOTE]
        for row in rows:
            if row.used > row.limit_a:
                self.stage.fail(f"{place.name}: quote {row.name:x} gave {row.used} of {row.limit_a}")
            under = sum(
                lock.transfer.amount
                for lock in place.locks
                if (lock.transfer.user_data, lock.transfer.debit_account) == (row.name, row.subject)
                and REFUND not in lock.proofs
                and (lock.created() or (HELD in lock.proofs and LOCK not in lock.proofs))
            )
            if under > row.limit_a:
                self.stage.fail(f"{place.name}: locks of {under} stand under quote {row.name:x} of {row.limit_a}")

    # After a step of a party.

    def after_step(self, party: Party) -> None:
        """Hold that a desk's sums are those of its quotes, and that it has drawn what runs and what was settled."""
        dealer, watcher = party.dealer, party.watcher
        if dealer is None or watcher is None:
            return
        book = dealer.desk.book
        try:
            check_invariants(book)
        except (InvariantBroken, ConversionOverflowError) as broken:
            self.stage.fail(f"{party.name}: {broken}")
        running = {machine.party for machine in watcher.machines()}
        if set(book.draws) != running:
            self.stage.fail(f"{party.name}: {len(book.draws)} draws are open and {len(running)} swaps run")
        settled: Counter[int] = Counter()
        for lock_id in party.ends:
            if party.claimed(lock_id):
                terms = self.stage.terms(lock_id)
                settled[terms.legs[party.index].user_data] += terms.legs[party.index - 1].amount
        open_now: Counter[int] = Counter()
        for drawn in book.draws.values():
            open_now[drawn.quote_id] += drawn.source_amount
        for quote_id, found in book.quotes.items():
            spent = settled[quote_id] + open_now[quote_id] + (0 if found.is_released else found.left)
            if spent > found.quote.total_amount:
                self.stage.fail(f"{party.name}: quote {quote_id:x} stands for {spent} of {found.quote.total_amount}")

    # The end.

    def check_owed(self, terms: SwapTerms, leg: int, *, claimed: bool) -> None:
        """Hold what an honest party paid beside its lock: each once, fees and remainder where the leg was claimed."""
        if terms.legs[leg].foreign:
            return
        party, place = self.parties[leg], self.stage.place_of(terms, leg)
        uetr = int.from_bytes(terms.uetr, "big")
        made = self._made(place, terms.legs[leg].debit_id, uetr)
        owed, premiums = self._owed(terms, leg, uetr)
        if made - owed - premiums:
            self.stage.fail(f"{party.name} paid beside leg {leg} what it did not owe: {dict(made - owed - premiums)}")
        if made & owed and not claimed:
            self.stage.fail(f"{party.name} paid a fee or remainder of leg {leg}, which was not claimed")
        believes = party.claimed(terms.orders(self.stage.suite)[leg].lock_id)
        if claimed and believes is False and place.index in self.stage.plan.liars:
            # Whose node denies until its timelock that his lock stands takes it for one that never came.
            self.stage.reach("misled_about_own_end")
        elif claimed and owed - made and not party.purse.refused:
            self.stage.fail(f"{party.name} still owes beside leg {leg}: {dict(owed - made)}")
        self.stage.reached.update({"premium_paid": sum((made & premiums).values())})
        self.stage.reached.update({"fee_or_remainder_paid": sum((made & owed).values())})

    def _owed(self, terms: SwapTerms, leg: int, uetr: int) -> tuple[Counter[_Sides], Counter[_Sides]]:
        """Return fees and remainder, and premiums, that a leg's party owes: by the route, or by quote and terms."""
        purchase = self.stage.purchases[terms.digest(self.stage.suite)]
        owed: Counter[_Sides] = Counter()
        premiums: Counter[_Sides] = Counter()
        own, ledger = terms.legs[leg], terms.legs[leg].ledger
        for each in purchase.route.transfers:
            if each.ledger == ledger and (leg == 0 or each.purpose is Purpose.PREMIUM):
                sides = (each.debit_account, each.credit_account, each.amount, uetr)
                (premiums if each.purpose is Purpose.PREMIUM else owed)[sides] += 1
        if leg:
            quote = purchase.quotes[leg - 1].quote
            fees = fees_of(self.market.document(leg + 1).fees, own.amount) if leg + 1 < len(terms.legs) else ()
            for fee in fees:
                owed[own.debit_id, fee.account, fee.amount, uetr] += 1
            left = quote.delivers(terms.legs[leg - 1].amount) - own.amount - sum(fee.amount for fee in fees)
            if left:
                owed[own.debit_id, quote.remainder_target_account, left, uetr] += 1
        return owed, premiums

    @staticmethod
    def _made(place: Place, debit: int, user_data: int) -> Counter[_Sides]:
        return Counter(
            (record.transfer.debit_account, record.transfer.credit_account, record.transfer.amount, user_data)
            for record in place.records.values()
            if not record.is_lock
            and record.created()
            and (record.transfer.debit_account, record.transfer.user_data) == (debit, user_data)
        )

    def check_accepted(self, terms: SwapTerms, leg: int) -> None:
        """Hold that an honest provider accepted under a quote that stood, and only for its premium, if one was owed."""
        accepted = self.parties[leg].accepted.get(terms.orders(self.stage.suite)[leg].lock_id)
        purchase = self.stage.purchases[terms.digest(self.stage.suite)]
        if accepted is None:
            return
        if self.parties[leg].purse.has_returned(terms.orders(self.stage.suite)[leg].lock_id):
            self.stage.fail(f"party:{leg} accepted, and gave the premium back")
        if accepted >= purchase.quotes[leg - 1].quote.expires_at:
            self.stage.fail(f"party:{leg} accepted under a quote whose time was over")
        if terms.legs[leg - 1].foreign:
            return
        paid, place = terms.legs[leg - 1], self.stage.place_of(terms, leg - 1)
        owed = [
            each.amount
            for each in purchase.route.transfers
            if each.purpose is Purpose.PREMIUM and each.ledger == paid.ledger
        ]
        uetr = int.from_bytes(terms.uetr, "big")
        for amount in owed:
            if not any(
                record.paid() and record.transfer.amount == amount and record.transfer.user_data == uetr
                for record in place.records.values()
                if not record.is_lock and record.transfer.credit_account == paid.credit_id
            ):
                self.stage.fail(f"party:{leg} accepted without its premium of {amount}")

    def at_the_end(self) -> None:
        """Hold that every hold has ended, and every claim's money arrived."""
        for place in self.stage.places:
            for record in place.records.values():
                if HELD in record.proofs and record.code not in _ENDS_OF_HOLDS:
                    self.stage.fail(f"{place.name}: a hold of {record.transfer.amount} never ended")
                across = place.machine_of(record.transfer.debit_account) is not place.machine_of(
                    record.transfer.credit_account
                )
                moved = CLAIM in record.proofs or (record.created() and not record.is_lock)
                if moved and across:
                    self.stage.reach("credit_between_shards")
                if moved and across != bool({ARRIVAL, RETURN} & set(record.proofs)):
                    self.stage.fail(f"{place.name}: {record.transfer.amount} between shards: {sorted(record.proofs)}")
