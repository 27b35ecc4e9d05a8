"""Premiums that payers show: whether each pays for just this swap, whether it is final, and what becomes of it.

It promises that a premium counts for one swap only, that one which is final is seen whether or not this process ran
when it became so, and that one whose option cannot be honoured goes back to who paid it, once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.refusals import BridgeCode, BridgeRefused
from clearspan.bridging.journal.book import NoteKind
from clearspan.bridging.lines.beside import Beside, Due, beside_id, premium_in
from clearspan.client.decisions import FinalDecision
from clearspan.errors import ClientError
from engine.codes import CodeClass
from engine.prefix import PrefixType, record_digest, signing_prefix
from engine.record import Transfer, participant_of_account
from engine.refusals import EncodingError
from engine.types import NS_PER_S
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bridge.quotes import Quote
    from bridge.terms import SwapTerms
    from clearspan.bridging.journal.store import JournalStore
    from clearspan.bridging.lines.beside import BesideBook
    from clearspan.bridging.lines.legs import OurLegs
    from engine.genesis import Genesis

__all__ = ["PREMIUM_NUMBER", "Premiums", "Shown"]

PREMIUM_NUMBER: Final = 0
"""A premium is the first transfer beside the locks of whoever owes one."""
RETURN_NUMBER: Final = 255
"""A premium that goes back: the last one of a provider's side, and the only one where nothing was accepted."""
_WATCHED_MAX: Final = 100_000
_IN_FLIGHT_MAX: Final = 8
_WAITING_MAX: Final = 10_000
# A premium that was signed so long ago and is not seen may have become final before this process watched.
_LATE_NS: Final = NS_PER_S
# Money in transit to another shard may still come back: it is paid when it has arrived there.
_PAID: Final = frozenset({ResultCode.CREATED, ResultCode.CREDITED})
# What keeps a swap from being accepted and will not pass in its time: the option is not honoured.
_STANDING: Final = frozenset({BridgeCode.CORRIDOR_CLOSED, BridgeCode.CORRIDOR_NOT_IN_EFFECT, BridgeCode.SCREENING_HOLD})


@dataclass(frozen=True, slots=True)
class Shown:
    """A premium that is owed, or paid: its record, once one was shown, and the relay time (ns) of its finality."""

    owed: int
    record: Transfer | None = None
    final_at: int = 0

    def demand_final(self) -> None:
        """Raise BridgeRefused: premium_owed without a record, leg_not_final until it is seen to be final."""
        if self.record is None:
            raise BridgeRefused(BridgeCode.PREMIUM_OWED, f"a premium of {self.owed} is owed")
        if not self.final_at:
            raise BridgeRefused(BridgeCode.LEG_NOT_FINAL, "the premium is not final here yet")

    def taken_at(self, now: int) -> int:
        """Return when the option was taken: when its premium was final, or, while it is not, when that was signed."""
        if self.record is None:
            return now
        return min(now, self.final_at or self.record.expires_at - self.record.valid_for_s * NS_PER_S)


@dataclass(slots=True)
class _Watched:
    domain: int
    final_at: int = 0
    is_asked: bool = False
    seen: asyncio.Future[None] | None = None


class Premiums:
    """The premiums of one provider. Use from one event loop; ``stop`` at the end."""

    def __init__(
        self,
        whose: tuple[Genesis, int],
        legs: OurLegs,
        beside: BesideBook,
        store: JournalStore,
        now: Callable[[], int],
    ) -> None:
        """Take network and participant, the lines to the nodes, and what keeps and sends a premium that goes back."""
        genesis, self._participant = whose
        self._suite = genesis.hash_suite
        self._prefix = signing_prefix(self._suite, PrefixType.TRANSFER, genesis.hash)
        self._legs, self._beside, self._store, self._now = legs, beside, store, now
        self._watched: OrderedDict[bytes, _Watched] = OrderedDict()
        self._asking: set[asyncio.Task[None]] = set()
        self._waiting: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        """Count the premiums that are watched for."""
        return len(self._watched)

    def shown(self, terms: SwapTerms, leg: int, quotes: Sequence[Quote], data: bytes, payer: bytes) -> Shown | None:
        """Return what is shown of the premium of a leg's provider, and watch for it; None where none is owed.

        ``quotes`` are his own and those behind it, ``data`` the record or nothing, ``payer`` the party whose leg is
        the one before. Raises BridgeRefused (legs_do_not_match) for a record that does not pay this provider the whole
        of it for this swap, and where a premium would be owed on a chain that is not ours.
        """
        owed = premium_in(terms, leg, quotes)
        if not owed:
            return None
        paid = terms.legs[leg - 1]
        if paid.foreign:
            text = f"a premium of {owed} is owed on {paid.chain}, where none can be paid"
            raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, text, leg=leg)
        if not data:
            return Shown(owed)
        found = self.paid(terms, leg, data, payer)
        if found is None or found.owed != owed:
            text = f"the premium is not the {owed} that this swap owes"
            raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, text, leg=leg)
        return found

    def paid(self, terms: SwapTerms, leg: int, data: bytes, payer: bytes) -> Shown | None:
        """Return what a record pays this provider for this swap, however much, and watch for it; None for nothing."""
        paid = terms.legs[leg - 1]
        if not data or paid.foreign or participant_of_account(paid.credit_id) != self._participant:
            return None
        try:
            found = Transfer.decode(data)
        except EncodingError:
            return None
        expected = Transfer(
            id=beside_id(self._suite, payer, PREMIUM_NUMBER),
            debit_account=paid.debit_id,
            credit_account=paid.credit_id,
            amount=found.amount,
            ledger=paid.ledger,
            key_id=found.key_id,
            expires_at=found.expires_at,
            valid_for_s=found.valid_for_s,
            user_data=int.from_bytes(terms.uetr, "big"),
        )
        if found != expected:
            return None
        name = record_digest(self._suite, self._prefix, data)
        watched = self._watch(name, self._legs.domain(paid.ledger))
        if not watched.final_at and self._now() >= found.expires_at - found.valid_for_s * NS_PER_S + _LATE_NS:
            self._ask(name)
        return Shown(found.amount, found, watched.final_at)

    def on_final(self, decision: FinalDecision) -> bool:
        """Take a final decision that is no leg's; say whether it is a premium's."""
        watched = self._watched.get(decision.digest)
        if watched is None or decision.code not in _PAID:
            return False
        watched.final_at = watched.final_at or decision.relay_time
        if watched.seen is not None and not watched.seen.done():
            watched.seen.set_result(None)
        return True

    async def seen(self, records: Iterable[bytes], seconds: float) -> None:
        """Return when all of these that are watched for are seen to be final, or after so long."""
        waited = []
        for data in records:
            watched = self._watched.get(record_digest(self._suite, self._prefix, data)) if data else None
            if watched is not None and not watched.final_at:
                if watched.seen is None:
                    watched.seen = asyncio.get_running_loop().create_future()
                waited.append(watched.seen)
        if waited:
            await asyncio.wait(waited, timeout=seconds)

    def took(self, shown: Shown | None) -> None:
        """Take that a premium has served: its swap runs, and it is watched for no more."""
        if shown is not None and shown.record is not None:
            self._forget(record_digest(self._suite, self._prefix, shown.record.encode()))

    def demand_kept(self, party: bytes) -> None:
        """Demand that the premium of a swap did not go back. Raises BridgeRefused (provider_refused)."""
        if self._went_back(party):
            raise BridgeRefused(BridgeCode.PROVIDER_REFUSED, "the premium of this swap went back to who paid it")

    def give_back(self, party: bytes, shown: Shown | None, refused: BridgeRefused) -> None:
        """Send a premium back whose swap is refused for good, where nothing was accepted for it ever."""
        for_good = refused.meaning.code_class is CodeClass.NO or refused.code in _STANDING
        paid = shown.record if shown is not None and shown.final_at else None
        if paid is None or not for_good or self._store.entries_of(party) or self._went_back(party):
            return
        row = Beside(
            party,
            RETURN_NUMBER,
            Due.RETURNED,
            paid.ledger,
            paid.credit_account,
            paid.debit_account,
            paid.amount,
            paid.user_data,
        )
        self._beside.plan([row])
        self._beside.start(party, Due.RETURNED, self._now())
        self.took(shown)

    def paid_by(self, party: bytes) -> bytes:
        """Return the record of the premium that a party has signed, whether or not it was answered; nothing if none."""
        row = self._beside.signed(party, PREMIUM_NUMBER) or self._noted(party, PREMIUM_NUMBER)
        premium = row is not None and row.due in (Due.ASKED, Due.PAID)
        return row.record(self._suite) if row is not None and premium else b""

    async def stop(self) -> None:
        """Give up what is asked of nodes now."""
        self._waiting.clear()
        tasks = tuple(self._asking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _went_back(self, party: bytes) -> bool:
        return self._beside.signed(party, RETURN_NUMBER) is not None or self._noted(party, RETURN_NUMBER) is not None

    def _noted(self, party: bytes, number: int) -> Beside | None:
        for note in self._store.notes_of(party):
            if note.kind == NoteKind.BESIDE and note.leg == number:
                return Beside.decode(party + bytes([number]), note.data)
        return None

    def _watch(self, name: bytes, domain: int) -> _Watched:
        watched = self._watched.get(name)
        if watched is None:
            if len(self._watched) >= _WATCHED_MAX:
                self._forget(next(iter(self._watched)))
            watched = self._watched[name] = _Watched(domain)
            self._legs.expect([(domain, name)], look_back=True)
        return watched

    def _forget(self, name: bytes) -> None:
        watched = self._watched.pop(name, None)
        self._waiting.pop(name, None)
        if watched is not None:
            self._legs.ports[watched.domain].watch.forget([name])

    # What became final while nobody watched.

    def _ask(self, name: bytes) -> None:
        """Have a node asked for the receipt, unless it is being asked."""
        if self._watched[name].is_asked or len(self._waiting) >= _WAITING_MAX:
            return
        self._watched[name].is_asked = True
        self._waiting[name] = None
        if len(self._asking) < _IN_FLIGHT_MAX:
            task = asyncio.get_running_loop().create_task(self._work(), name="premiums")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _work(self) -> None:
        while self._waiting:
            name, _ = self._waiting.popitem(last=False)
            watched = self._watched.get(name)
            if watched is None:
                continue
            try:
                await self._look(name, watched)
            finally:
                watched.is_asked = False

    async def _look(self, name: bytes, watched: _Watched) -> None:
        port = self._legs.ports[watched.domain]
        try:
            receipt = await port.client.receipt(name, payee=True, wait_s=0.0, verified=port.verified)
        except ClientError:
            return  # its payer asks again, and so does this
        found, anchored = receipt.finding.decision, receipt.finding.anchorage
        place = anchored.shard, anchored.height, anchored.relay_height, anchored.relay_time
        self.on_final(FinalDecision(name, found.code, found.time, *place))
