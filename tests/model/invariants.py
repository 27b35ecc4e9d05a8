"""What must hold of a shard at any moment, in words and sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.accounts import CHANNEL, ISSUER
from tests.model.effects import sides_of
from tests.model.pendings import OPEN

if TYPE_CHECKING:
    from tests.model.state import State

__all__ = ["broken_invariants"]


def broken_invariants(state: State) -> list[str]:
    """Say everything that does not hold; an empty list is the only good answer."""
    return [*_sums(state), *_reserved(state), *_bounds(state)]


def _sums(state: State) -> list[str]:
    """Debits equal credits on every ledger, pending and posted, and the totals know it."""
    wrong = []
    for ledger, totals in state.totals.items():
        mine = [account for account in state.accounts.values() if account.ledger == ledger]
        pending = sum(a.debits_pending for a in mine), sum(a.credits_pending for a in mine)
        posted = sum(a.debits_posted for a in mine), sum(a.credits_posted for a in mine)
        if pending != (totals.debits_pending, totals.debits_pending):
            wrong.append(f"ledger {ledger}: pending sides {pending}, total {totals.debits_pending}")
        if posted != (totals.debits_posted, totals.debits_posted):
            wrong.append(f"ledger {ledger}: posted sides {posted}, total {totals.debits_posted}")
    return wrong


def _reserved(state: State) -> list[str]:
    """The pending sides of an account are the sum of the open pendings that name it."""
    debits: dict[int, int] = {}
    credits_: dict[int, int] = {}
    for pending in state.pendings.known.values():
        if pending.ended == OPEN:
            amount = pending.transfer.amount
            payer, payee = sides_of(state, pending)
            debits[payer.id] = debits.get(payer.id, 0) + amount
            credits_[payee.id] = credits_.get(payee.id, 0) + amount
    return [
        f"account {account.id:#x}: open pendings do not add up"
        for account in state.accounts.values()
        if account.debits_pending != debits.get(account.id, 0) or account.credits_pending != credits_.get(account.id, 0)
    ]


def _bounds(state: State) -> list[str]:
    limits = state.genesis.limits
    wrong = []
    if len(state.ids.entries) > limits.ids_max:
        wrong.append("more ids than ids_max")
    if len(state.pendings.known) > limits.pendings_max:
        wrong.append("more pendings than pendings_max")
    for account in state.accounts.values():
        if account.flags & (ISSUER | CHANNEL):
            continue
        fields = (account.debits_pending, account.debits_posted, account.credits_pending, account.credits_posted)
        if min(fields) < 0 or max(fields) >= 2**128:
            wrong.append(f"account {account.id:#x}: a sum left its range")
    return wrong
