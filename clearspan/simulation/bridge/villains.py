"""Counterparties that keep no rule: each breaks one on purpose, with the real machine for whatever it keeps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from bridge.leg import HashFunction
from bridge.memory_chain import ClaimWish, LockWish
from bridge.ports import AskAcceptance, ClaimForeign, Lock, Reveal
from bridge.terms import seal_terms
from clearspan.simulation.bridge.party import WINDOW_S, Party
from clearspan.simulation.bridge.plan import CHAIN, MARGINS
from clearspan.simulation.bridge.swaps import account_of_chain, draft_of, salt_of
from engine.types import NS_PER_S, TransferFlag

if TYPE_CHECKING:
    from bridge.leg import LockOrder
    from bridge.ports import Action
    from bridge.terms import SwapTerms
    from clearspan.simulation.bridge.scene import Scene

__all__ = ["villain_of"]

_BAD_PREIMAGES = (b"", b"x" * 31, b"x" * 33, b"x" * (1 << 20))


class _Forger(Party):
    """Sends locks that differ from what was agreed; ``_change`` says how."""

    def lock(self, party: bytes, action: Lock) -> None:
        scene, terms = self.scene, self.scene.terms(party)
        if terms.legs[action.leg].foreign:
            scene.send(self, CHAIN, lambda: scene.wish(LockWish(self._changed_order(action))))
            return
        place = scene.place_of(terms, action.leg)
        key_id = place.world.banks[self.index].account_key
        record = terms.lock_record(
            action.leg, scene.suite, key_id=key_id, now_ns=action.signed_at_ns, window_s=WINDOW_S
        )
        if self.villain == "other_hash_function":
            record = replace(record, flags=record.flags ^ int(TransferFlag.HASH_IS_SM3))
        elif self.villain == "locks_short":
            record = replace(record, until=record.until - 25 * NS_PER_S)
        else:
            record = replace(record, amount=record.amount - 1)
        scene.send(self, place.name, lambda: scene.submit(place, record, action.order.lock_id))
        if self.villain == "duplicate_ids":
            honest = replace(record, amount=record.amount + 1)
            scene.send(self, place.name, lambda: scene.submit(place, honest, action.order.lock_id))
            scene.send(self, place.name, lambda: scene.submit(place, record, action.order.lock_id))

    def _changed_order(self, action: Lock) -> LockOrder:
        order = action.order
        if self.villain == "other_hash_function":
            return replace(order, hash_function=HashFunction(3 - order.hash_function))
        if self.villain == "locks_short":
            return replace(order, timelock_ns=order.timelock_ns - 25 * NS_PER_S)
        return replace(order, amount=order.amount - 1)


class _Payer(Party):
    """Breaks a rule on the way; the swap itself was begun as agreed."""

    def act(self, party: bytes, action: Action) -> None:
        name, scene = self.villain, self.scene
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
            scene.send(self, "relay", lambda: scene.reveal(secret))
        if isinstance(action, AskAcceptance) and name == "duplicate_ids":
            super().act(party, action)
            super().act(party, action)
        super().act(party, action)

    def _secret(self, party: bytes) -> bytes:
        terms = self.scene.terms(party)
        for number in range(self.scene.plan.swaps):
            sealed, secret = seal_terms(terms, salt_of(self.scene, number), self.scene.suite)
            if sealed.hashlock == terms.hashlock:
                return secret
        raise AssertionError

    def _reveal_when(self, party: bytes, action: Reveal | ClaimForeign, *, late: bool) -> None:
        """Reveal in the last block before the timelock, or in the first after it."""
        scene = self.scene
        last = scene.terms(party).legs[-1]
        if isinstance(action, Reveal):
            when = last.timelock_ns - scene.plan.skews.get("relay", 0)
            scene.at(when + (1 if late else -2 * NS_PER_S), lambda: scene.reveal(action.preimage))
            return
        order = scene.orders(party)[action.leg]
        when = last.timelock_ns - scene.plan.skews.get(CHAIN, 0)
        scene.at(when + (1 if late else -2 * NS_PER_S), lambda: scene.wish(ClaimWish(order, action.preimage)))

    def _try_bad(self, party: bytes, action: Reveal | ClaimForeign) -> None:
        scene = self.scene
        for preimage in _BAD_PREIMAGES:
            if scene.relay.reveal(preimage):
                raise AssertionError("the relay took a preimage that is none")
            if isinstance(action, ClaimForeign):
                scene.wish(ClaimWish(scene.orders(party)[action.leg], preimage))
            scene.reach("bad_preimage_refused")


class _RoguePayer(Party):
    """Begins swaps that an honest payer's machine would never begin; asks and locks by hand."""

    def open(self, terms: SwapTerms, salt: bytes, secret: bytes, number: int) -> None:
        if number == 0 and self.villain in ("reuses_hash", "exhausts_quote"):
            super().open(terms, salt, secret, number)
            # Beside the first swap, or when its secret is public.
            later = 45 if self.scene.plan.seed % 2 else 4
            self.scene.after(later * NS_PER_S, lambda: self._rogue(terms, salt, secret))
            return
        self._rogue(terms, salt, secret)

    def _rogue(self, terms: SwapTerms, salt: bytes, secret: bytes) -> None:
        scene, name = self.scene, self.villain
        terms = replace(terms, uetr=bytes(reversed(terms.uetr)))
        if name == "short_timelock":
            draft = draft_of(scene, 0, shorter_ns=40 * NS_PER_S + 2 * self._room())
            terms, secret = seal_terms(replace(draft, uetr=terms.uetr), salt, scene.suite)
        elif name == "small_margin":
            closer = draft_of(scene, 0, closer_ns=MARGINS.needed(CHAIN, "") if scene.plan.foreign else 0)
            if not scene.plan.foreign:
                early = closer.legs[0].timelock_ns - 30 * NS_PER_S
                closer = replace(closer, legs=(replace(closer.legs[0], timelock_ns=early), *closer.legs[1:]))
            terms, secret = seal_terms(replace(closer, uetr=terms.uetr), salt, scene.suite)
        elif name == "reuses_hash":
            terms = replace(draft_of(scene, 0), uetr=terms.uetr, hashlock=terms.hashlock)
        elif name == "exhausts_quote":
            legs = tuple(replace(leg, amount=20_000) for leg in terms.legs)
            terms, secret = seal_terms(replace(terms, legs=legs), salt, scene.suite)
        scene.add_swap(terms)
        order = terms.orders(scene.suite)[0]
        if name != "asks_unlocked":
            self.lock(order.lock_id, Lock(0, order, self.clock))
        for leg in range(1, len(terms.legs)):
            for again in range(3):
                ask = AskAcceptance(leg)
                scene.after((6 + leg * 8 + again * 3) * NS_PER_S, partial(self.ask, order.lock_id, ask))
        # Whatever was accepted is claimed at the end, so that what should not have been accepted costs somebody.
        when = terms.legs[-1].timelock_ns - 3 * NS_PER_S
        last = terms.orders(scene.suite)[-1]
        if terms.legs[-1].foreign:
            scene.at(when, lambda: scene.wish(ClaimWish(last, secret)))
        else:
            scene.at(when, lambda: scene.reveal(secret))

    def _room(self) -> int:
        return max((abs(skew) for skew in self.scene.plan.skews.values()), default=0) + MARGINS.skew_ns


class _Vanisher(Party):
    """Locks on the foreign chain, and has a reorganisation take the lock away before it is final."""

    def __init__(self, scene: Scene, index: int, crashes: list[tuple[int, int]]) -> None:
        super().__init__(scene, index, crashes)
        self._vanished: list[bytes] = []

    def lock(self, party: bytes, action: Lock) -> None:
        scene = self.scene
        if not scene.terms(party).legs[action.leg].foreign:
            super().lock(party, action)
        elif self.villain:
            wish = LockWish(action.order)
            if party not in self._vanished:
                self._vanished.append(party)
                scene.wish(wish)
                scene.after(4 * NS_PER_S, lambda: scene.undo(wish))


class _Provider(Party):
    """Accepts as agreed and then does less."""

    def act(self, party: bytes, action: Action) -> None:
        name, scene = self.villain, self.scene
        if isinstance(action, Lock):
            if name == "never_locks":
                return
            if name == "locks_late":
                scene.after(25 * NS_PER_S, lambda: self.lock(party, action))
                return
            if name == "reads_pool" and scene.terms(party).legs[action.leg].foreign:
                scene.at(action.order.timelock_ns - 8 * NS_PER_S, lambda: self.lock(party, action))
                return
            if name == "spends_lock_id" and scene.chain is not None:
                stranger = replace(action.order, payer=account_of_chain(self.index), asset="", amount=1)
                scene.wish(LockWish(stranger))
        if name == "never_claims" and isinstance(action, Reveal | ClaimForeign):
            return
        super().act(party, action)


_FORGERS = frozenset({"locks_less", "locks_short", "other_hash_function"})
_ROGUES = frozenset({"reuses_hash", "short_timelock", "small_margin", "exhausts_quote", "asks_unlocked"})
_PAYERS = frozenset({"never_reveals", "last_tick", "reveals_early", "reveals_late", "bad_preimages"})


def villain_of(name: str) -> type[Party]:
    """Return the kind of party that a villain's name asks for; an honest one for none."""
    if not name:
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


class _Duplicator(_Forger, _Payer):
    """Sends everything several times, and other locks under the same id."""
