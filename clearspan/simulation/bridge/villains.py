"""Counterparties that keep no rule: each breaks one on purpose, with the real machine for whatever it keeps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec import structs

from bridge.leg import HashFunction
from bridge.memory_chain import ClaimWish, LockWish
from bridge.ports import AskAcceptance, ClaimForeign, Lock, Reveal
from bridge.quotes import SignedQuote
from bridge.terms import seal_terms
from clearspan.bridging.lines.beside import due_of_payer
from clearspan.simulation.bridge.envelopes import with_papers
from clearspan.simulation.bridge.market import account_of_chain
from clearspan.simulation.bridge.papers import ENVELOPE_VILLAINS
from clearspan.simulation.bridge.party import WINDOW_S, Party
from clearspan.simulation.bridge.plan import CHAIN, MARGINS
from clearspan.simulation.bridge.swaps import draft_of, salt_of
from engine.types import NS_PER_S, TransferFlag

if TYPE_CHECKING:
    from bridge.leg import LockOrder
    from bridge.ports import Action
    from bridge.terms import SwapTerms
    from clearspan.simulation.bridge.dealing import Question
    from clearspan.simulation.bridge.market import Market, Purchase
    from clearspan.simulation.bridge.stage import Stage

__all__ = ["villain_of"]

_BAD_PREIMAGES: Final = {"0": b"", "31": b"x" * 31, "33": b"x" * 33, "1_mib": b"x" * (1 << 20)}
_EXHAUSTS_BY: Final = 20


class _Forger(Party):
    """Sends locks that differ from what was agreed; the villain's name says how."""

    def lock(self, party: bytes, action: Lock) -> None:
        stage, terms = self.stage, self.stage.terms(party)
        if terms.legs[action.leg].foreign:
            stage.send(self, CHAIN, lambda: stage.wish(LockWish(self._changed_order(action))))
            return
        place = stage.place_of(terms, action.leg)
        key_id = place.world.banks[self.index].account_key
        record = terms.lock_record(
            action.leg, stage.suite, key_id=key_id, now_ns=action.signed_at_ns, window_s=WINDOW_S
        )
        if self.villain == "other_hash_function":
            record = replace(record, flags=record.flags ^ int(TransferFlag.HASH_IS_SM3))
        elif self.villain == "locks_short":
            record = replace(record, until=record.until - 25 * NS_PER_S)
        else:
            record = replace(record, amount=record.amount - 1)
        stage.send(self, place.name, lambda: stage.submit(place, record))
        if self.villain == "duplicate_ids":
            honest = replace(record, amount=record.amount + 1)
            stage.send(self, place.name, lambda: stage.submit(place, honest))
            stage.send(self, place.name, lambda: stage.submit(place, record))

    def _changed_order(self, action: Lock) -> LockOrder:
        order = action.order
        if self.villain == "other_hash_function":
            return structs.replace(order, hash_function=HashFunction(3 - order.hash_function))
        if self.villain == "locks_short":
            return structs.replace(order, timelock_ns=order.timelock_ns - 25 * NS_PER_S)
        return structs.replace(order, amount=order.amount - 1)


class _Payer(Party):
    """Breaks a rule on the way; the swap itself was begun as agreed."""

    def act(self, party: bytes, action: Action) -> None:
        name, stage = self.villain, self.stage
        if isinstance(action, Reveal | ClaimForeign):
            if name == "never_reveals":
                return
            if name in ("last_tick", "reveals_late"):
                self._reveal_when(party, action, late=name == "reveals_late")
                return
            if name == "bad_preimages":
                self._try_bad(party, action)
        if isinstance(action, AskAcceptance) and name == "reveals_early" and action.leg == 1:
            secret = self._secret(party)
            stage.send(self, "relay", lambda: stage.reveal(secret))
        if isinstance(action, AskAcceptance) and name == "duplicate_ids":
            super().act(party, action)
            super().act(party, action)
        super().act(party, action)

    def pay_premium(self, party: bytes) -> None:
        if self.villain != "pays_no_premium":
            super().pay_premium(party)

    def _secret(self, party: bytes) -> bytes:
        terms = self.stage.terms(party)
        for number in range(self.stage.plan.swaps):
            sealed, secret = seal_terms(terms, salt_of(self.stage, number), self.stage.suite)
            if sealed.hashlock == terms.hashlock:
                return secret
        raise AssertionError

    def _reveal_when(self, party: bytes, action: Reveal | ClaimForeign, *, late: bool) -> None:
        """Reveal in the last block before the timelock, or in the first after it."""
        stage = self.stage
        last = stage.terms(party).legs[-1]
        if isinstance(action, Reveal):
            when = last.timelock_ns - stage.plan.skews.get("relay", 0)
            stage.at(when + (1 if late else -2 * NS_PER_S), lambda: stage.reveal(action.preimage))
            return
        order = stage.orders(party)[action.leg]
        when = last.timelock_ns - stage.plan.skews.get(CHAIN, 0)
        stage.at(when + (1 if late else -2 * NS_PER_S), lambda: stage.wish(ClaimWish(order, action.preimage)))

    def _try_bad(self, party: bytes, action: Reveal | ClaimForeign) -> None:
        stage = self.stage
        for name, preimage in _BAD_PREIMAGES.items():
            if stage.relay.reveal(preimage):
                stage.fail(f"the relay took a preimage of {len(preimage)} bytes")
            if isinstance(action, ClaimForeign):
                stage.wish(ClaimWish(stage.orders(party)[action.leg], preimage))
                stage.reach("bad_preimage_on_chain")
            stage.reach(f"bad_preimage_{name}")


class _RoguePayer(Party):
    """Begins swaps that an honest payer's machine would never begin; asks and locks by hand."""

    def open(self, terms: SwapTerms, salt: bytes, secret: bytes, purchase: Purchase) -> None:
        if purchase.number == 0 and self.villain in ("reuses_hash", "exhausts_quote"):
            super().open(terms, salt, secret, purchase)
            # Beside the first swap, or when its secret is public.
            later = 45 if self.stage.plan.seed % 2 else 4
            self.stage.after(later * NS_PER_S, lambda: self._rogue(terms, salt, secret, purchase))
            return
        self._rogue(terms, salt, secret, purchase)

    def _rogue(self, terms: SwapTerms, salt: bytes, secret: bytes, purchase: Purchase) -> None:
        stage = self.stage
        if self.villain in ENVELOPE_VILLAINS:
            purchase = with_papers(stage, self.market, purchase, salt, ENVELOPE_VILLAINS[self.villain])
        terms, secret = self._changed(terms, salt, secret, purchase)
        stage.add_swap(terms, purchase)
        order = terms.orders(stage.suite)[0]
        rows = due_of_payer(order.lock_id, terms, purchase.route)
        if self.villain == "pays_too_little":
            rows = [replace(row, amount=max(1, row.amount - 1)) for row in rows]
        self.purse.plan(rows)
        self.pay_premium(order.lock_id)
        self.do([])
        if self.villain != "asks_unlocked":
            self.lock(order.lock_id, Lock(0, order, self.clock))
        wait = stage.plan.deal.quote_s * NS_PER_S if self.villain == "asks_after_expiry" else 0
        for leg in range(1, len(terms.legs)):
            for again in range(3):
                ask = AskAcceptance(leg)
                stage.after(wait + (6 + leg * 8 + again * 3) * NS_PER_S, partial(self.ask, order.lock_id, ask))
        # Whatever was accepted is claimed at the end, so that what should not have been accepted costs somebody.
        when = terms.legs[-1].timelock_ns - 3 * NS_PER_S
        last = terms.orders(stage.suite)[-1]
        if terms.legs[-1].foreign:
            stage.at(when, lambda: stage.wish(ClaimWish(last, secret)))
        else:
            stage.at(when, lambda: stage.reveal(secret))

    def _changed(self, terms: SwapTerms, salt: bytes, secret: bytes, purchase: Purchase) -> tuple[SwapTerms, bytes]:
        stage, name = self.stage, self.villain
        uetr = bytes(reversed(terms.uetr))
        if name == "reuses_hash":
            draft = draft_of(stage, self.market, purchase)
            return structs.replace(draft, uetr=uetr, hashlock=terms.hashlock), secret
        draft = draft_of(stage, self.market, purchase)
        if name == "short_timelock":
            draft = draft_of(stage, self.market, purchase, shorter_ns=40 * NS_PER_S + 2 * self._room())
        elif name == "small_margin":
            closer_ns = MARGINS.needed(CHAIN, "") if stage.plan.foreign else 0
            draft = draft_of(stage, self.market, purchase, closer_ns=closer_ns)
            if not stage.plan.foreign:
                early = draft.legs[0].timelock_ns - 30 * NS_PER_S
                first = structs.replace(draft.legs[0], timelock_ns=early)
                draft = structs.replace(draft, legs=(first, *draft.legs[1:]))
        elif name == "exhausts_quote":
            legs = (structs.replace(leg, amount=leg.amount * _EXHAUSTS_BY) for leg in draft.legs)
            draft = structs.replace(draft, legs=tuple(legs))
        elif name == "asks_too_much":
            last = structs.replace(draft.legs[-1], amount=draft.legs[-1].amount + 1)
            draft = structs.replace(draft, legs=(*draft.legs[:-1], last))
        return seal_terms(structs.replace(draft, uetr=uetr), salt, stage.suite)

    def _room(self) -> int:
        return max((abs(skew) for skew in self.stage.plan.skews.values()), default=0) + MARGINS.skew_ns

    def question(self, party: bytes, leg: int) -> Question:
        """Show a quote that says more than the provider's, under his signature, or another envelope than was named."""
        question = super().question(party, leg)
        if self.villain == "forges_envelope":
            shown = question.envelope
            return replace(question, envelope=shown[:-1] + bytes([shown[-1] ^ 1]))
        if self.villain != "alters_quote":
            return question
        mine = SignedQuote.decode(question.quotes[0])
        larger = replace(mine.quote, total_amount=mine.quote.total_amount * 2)
        return replace(question, quotes=(SignedQuote(larger, mine.signature).encode(), *question.quotes[1:]))


class _Vanisher(Party):
    """Locks on the foreign chain, and has a reorganisation take the lock away before it is final."""

    def __init__(self, stage: Stage, market: Market, index: int, crashes: list[tuple[int, int]]) -> None:
        super().__init__(stage, market, index, crashes)
        self._vanished: list[bytes] = []

    def lock(self, party: bytes, action: Lock) -> None:
        stage = self.stage
        if not stage.terms(party).legs[action.leg].foreign:
            super().lock(party, action)
        elif self.villain:
            wish = LockWish(action.order)
            if party not in self._vanished:
                self._vanished.append(party)
                stage.wish(wish)
                stage.after(4 * NS_PER_S, lambda: stage.undo(wish))


class _Provider(Party):
    """Accepts as agreed and then does less."""

    def act(self, party: bytes, action: Action) -> None:
        name, stage = self.villain, self.stage
        if isinstance(action, Lock):
            if name == "never_locks":
                return
            if name == "locks_late":
                stage.after(25 * NS_PER_S, lambda: self.lock(party, action))
                return
            if name == "reads_pool" and stage.terms(party).legs[action.leg].foreign:
                stage.at(action.order.timelock_ns - 8 * NS_PER_S, lambda: self.lock(party, action))
                return
            if name == "spends_lock_id" and stage.chain is not None:
                stranger = structs.replace(action.order, payer=account_of_chain(self.index), asset="", amount=1)
                stage.wish(LockWish(stranger))
        if name == "never_claims" and isinstance(action, Reveal | ClaimForeign):
            return
        super().act(party, action)


class _Duplicator(_Forger, _Payer):
    """Sends everything several times, and other locks under the same id."""


_FORGERS: Final = frozenset({"locks_less", "locks_short", "other_hash_function"})
_ROGUES: Final = frozenset(
    {
        "reuses_hash",
        "short_timelock",
        "small_margin",
        "exhausts_quote",
        "asks_unlocked",
        "alters_quote",
        "asks_after_expiry",
        "asks_too_much",
        "pays_too_little",
        *ENVELOPE_VILLAINS,
    }
)
_PAYERS: Final = frozenset(
    {"never_reveals", "last_tick", "reveals_early", "reveals_late", "bad_preimages", "pays_no_premium"}
)


def villain_of(name: str) -> type[Party]:
    """Return the kind of party that a villain's name asks for; an honest one for none."""
    # Whose villainy is the plan's own (two swaps on one quote) behaves as an honest party does.
    if not name or name == "shares_quote":
        return Party
    if name in _FORGERS:
        return _Forger
    if name in _ROGUES:
        return _RoguePayer
    if name == "lock_vanishes":
        return _Vanisher
    if name == "duplicate_ids":
        return _Duplicator
    return _Payer if name in _PAYERS else _Provider
