"""How a held transfer ends by its supervisors (LEDGER-106): released it is what it was asked to be, rejected it is void."""

from __future__ import annotations

from typing import TYPE_CHECKING

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.credits import CREDIT_MESSAGE
from tests.model.effects import credit_side, move, release, send_credit
from tests.model.genesis import SECOND_NS
from tests.model.pendings import HOLD_REJECTED, POSTED
from tests.model.rules import give_back

if TYPE_CHECKING:
    from tests.model.pendings import Pending
    from tests.model.state import State

__all__ = ["reject_hold", "release_hold"]


def release_hold(state: State, hold: Pending, now: int) -> None:
    """Nothing is asked again but whether a lock still has time."""
    t = hold.transfer
    if t.kind == r.LOCK:
        if t.until < now + state.terms[t.ledger].lock_min_s * SECOND_NS or t.until <= state.relay_time:
            reject_hold(state, hold, now)
            return
        state.pendings.release(hold, t.until, now)
    elif t.kind == r.PENDING:
        state.pendings.release(hold, now + t.until if t.until else 0, now)
    else:
        _pay(state, hold, now)
        return
    state.leaf(hold.digest, now, Code.CREATED)


def _pay(state: State, hold: Pending, now: int) -> None:
    t = hold.transfer
    debit, credit = state.accounts[t.debit_account], credit_side(state, t)
    release(state, debit, credit, t.amount)
    move(state, debit, credit, t.amount)
    state.pendings.end(hold, POSTED, t.amount, now, state.window_ns(t.ledger))
    if state.is_here(t.credit_account):
        state.leaf(hold.digest, now, Code.CREATED)
        return
    send_credit(state, t, CREDIT_MESSAGE, t.amount, hold.digest, now)
    state.leaf(hold.digest, now, Code.CREATED_IN_TRANSIT)


def reject_hold(state: State, hold: Pending, now: int) -> None:
    t = hold.transfer
    release(state, state.accounts[t.debit_account], credit_side(state, t), t.amount)
    state.pendings.end(hold, HOLD_REJECTED, 0, now, state.window_ns(t.ledger))
    give_back(state, hold)
    state.leaf(hold.digest, now, Code.HOLD_REJECTED)
