"""How value moves: two sides of one amount each time, and a message where the payee lives elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.accounts import Account, channel_account_id
from tests.model.credits import Message

if TYPE_CHECKING:
    from tests.model.pendings import Pending
    from tests.model.record import Transfer
    from tests.model.state import State

__all__ = ["credit_side", "move", "release", "reserve", "send_credit", "sides_of"]


def credit_side(state: State, t: Transfer) -> Account:
    """The account that takes the credit: the payee, or the channel account of its shard."""
    if state.is_here(t.credit_account):
        return state.accounts[t.credit_account]
    return state.accounts[channel_account_id(t.ledger, state.genesis.shard_of(t.credit_account))]


def sides_of(state: State, pending: Pending) -> tuple[Account, Account]:
    """The accounts whose pending sides hold it; of a credit half the payer is a channel account."""
    t = pending.transfer
    return state.accounts[pending.channel or t.debit_account], credit_side(state, t)


def reserve(state: State, debit: Account, credit: Account, amount: int) -> None:
    debit.debits_pending += amount
    credit.credits_pending += amount
    state.totals[debit.ledger].debits_pending += amount


def release(state: State, debit: Account, credit: Account, amount: int) -> None:
    debit.debits_pending -= amount
    credit.credits_pending -= amount
    state.totals[debit.ledger].debits_pending -= amount


def move(state: State, debit: Account, credit: Account, amount: int) -> None:
    debit.debits_posted += amount
    credit.credits_posted += amount
    state.totals[debit.ledger].debits_posted += amount


def send_credit(state: State, t: Transfer, kind: int, amount: int, digest: bytes, now: int) -> None:
    message = Message(
        sequence=0,
        kind=kind,
        code=t.code,
        ledger=t.ledger,
        debit_account=t.debit_account,
        credit_account=t.credit_account,
        amount=amount,
        user_data=t.user_data,
        digest=digest,
        time=now,
    )
    state.send(state.genesis.shard_of(t.credit_account), message)
