"""What nodes answer and final blocks show of legs, as views for the machines: a decision's digest leads to its leg.

It promises that a "no" which has a leaf counts only when that is final, that what is final is told once it was
verified, and that a digest which is no leg's is offered to the transfers beside the locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.leg import LockState, LockView
from bridge.ports import HELD
from clearspan.bridging.journal.alarms import BESIDE
from clearspan.bridging.journal.book import LegPart, LegState
from engine.codes import LEAVES, MEANINGS, CodeClass, ResultCode, code_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.bridging.journal.book import OpenSwap, SwapBook
    from clearspan.bridging.lines.beside import BesideBook
    from clearspan.bridging.lines.ledgers import LockAnswer
    from clearspan.bridging.market.premiums import Premiums
    from clearspan.bridging.swaps.telling import Telling
    from clearspan.client.decisions import FinalDecision

    View = tuple[bytes, LockView]

__all__ = ["Sightings"]

_CODES: Final = frozenset(ResultCode)
_ARRIVALS: Final = frozenset({ResultCode.CREDITED, ResultCode.CREDITED_TO_SUSPENSE, ResultCode.RETURNED})


class Sightings:
    """Reads what is told of legs; views are by lock id."""

    def __init__(self, book: SwapBook, beside: BesideBook, premiums: Premiums, telling: Telling) -> None:
        """Take whose legs they are, the transfers beside them, made and awaited, and who hears of them."""
        self._book, self._beside, self._premiums, self._telling = book, beside, premiums, telling

    def of_answers(self, answers: Sequence[LockAnswer]) -> tuple[list[View], bool]:
        """Return what a node's answers to locks show, and whether a transfer beside them was answered too.

        A lock that stands there is seen, and is final when its block is.
        """
        views: list[View] = []
        beside = False
        for digest, code, first_code in answers:
            found = self._book.whose(digest)
            if found is None:
                text = self._beside.on_answer(digest, first_code or code)
                self._telling.call_out([text] if text else [], BESIDE)
                beside = True
                continue
            swap, leg, _ = found
            order, told = swap.orders[leg], first_code or code
            if told == ResultCode.HELD:
                # That it is held counts for the machine when a block says so: a held lock may end with nothing locked.
                if swap.legs[leg].state in (LegState.WAITING, LegState.SENT):
                    swap.legs[leg].state = LegState.HELD
                    self._say_held(swap, leg, 0)
                views.append((order.lock_id, LockView(LockState.SEEN, order, None, 0, "")))
            elif told == ResultCode.CREATED:
                if swap.legs[leg].state == LegState.WAITING:
                    swap.legs[leg].state = LegState.SENT
                views.append((order.lock_id, LockView(LockState.SEEN, order, None, 0, "")))
            else:
                self._refusal(swap, leg, told, views)
        return views, beside

    def _refusal(self, swap: OpenSwap, leg: int, code: int, views: list[View]) -> None:
        """Count a "no" at once where it has no leaf; one with a leaf counts when that is final, an open one never."""
        meaning = MEANINGS.get(ResultCode(code)) if code in _CODES else None
        text = refusal_text(leg, code)
        # It is sent again while there is time: a person is told once.
        if not swap.timeline or swap.timeline[-1].text != text:
            self._telling.say(swap, "lock_refused", text)
        if meaning is not None and meaning.code_class is CodeClass.NO and ResultCode(code) not in LEAVES:
            view = LockView(LockState.REFUSED, None, None, 0, code_name(code))
            views.append((swap.orders[leg].lock_id, view))

    def of_final(self, decisions: Sequence[FinalDecision], now: int) -> tuple[list[View], bool]:
        """Return what decisions show that are final and were verified, and whether one is of no leg."""
        views: list[View] = []
        beside = False
        for decision in decisions:
            found = self._book.whose(decision.digest)
            if found is None or decision.code in _ARRIVALS:
                beside |= self._premiums.on_final(decision)
                continue
            swap, leg, part = found
            view = self._view_of(swap, leg, part, decision, now)
            if view is not None:
                views.append((swap.orders[leg].lock_id, view))
        return views, beside

    def _view_of(self, swap: OpenSwap, leg: int, part: LegPart, decision: FinalDecision, now: int) -> LockView | None:
        known, order, say = swap.legs[leg], swap.orders[leg], self._telling.say
        height = decision.relay_height
        if part is LegPart.CLAIM:
            known.state, known.ended_at, known.end = LegState.CLAIMED, now, known.claim
            say(swap, "leg_claimed", f"Leg {leg} is claimed, and that is final.", now)
            return LockView(LockState.CLAIMED_FINAL, order, swap.preimage, height, "")
        if part is LegPart.REFUND:
            known.state, known.ended_at, known.end = LegState.REFUNDED, now, known.refund
            say(swap, "leg_refunded", f"Leg {leg} was refunded, and that is final.", now)
            return LockView(LockState.REFUNDED_FINAL, order, None, height, "")
        if decision.code == ResultCode.HELD:
            known.state = LegState.HELD
            self._say_held(swap, leg, decision.time)
            return LockView(LockState.SEEN, order, None, height, HELD)
        if decision.code != ResultCode.CREATED:
            if known.state in (LegState.FINAL, LegState.CLAIMED, LegState.REFUNDED):
                return None
            known.state = LegState.REFUSED
            say(swap, "lock_refused", refusal_text(leg, decision.code), now)
            return LockView(LockState.REFUSED, None, None, height, code_name(decision.code))
        if known.state in (LegState.CLAIMED, LegState.REFUNDED):
            return None
        known.state, known.final_at = LegState.FINAL, known.final_at or now
        known.shard, known.height = decision.shard, decision.height
        say(swap, "leg_final", f"Leg {leg} is locked, and that is final.", now)
        return LockView(LockState.FINAL, order, None, height, "")

    def _say_held(self, swap: OpenSwap, leg: int, at: int) -> None:
        """Say once that a leg is held, as of the ledger's decision: looks and restarts tell of it again and again."""
        text = f"Leg {leg} is held: it waits for a decision of the supervisors."
        if all(moment.text != text for moment in swap.timeline):
            self._telling.say(swap, "leg_held", text, at)


def refusal_text(leg: int, code: int) -> str:
    """Return what a ledger's "no" to a lock means to a person, with what the ledger's own table says to do."""
    meaning = MEANINGS.get(ResultCode(code)) if code in _CODES else None
    step = f" {meaning.next_step}" if meaning is not None else ""
    return f"The ledger refused the lock of leg {leg}: {code_name(code)}.{step}"
