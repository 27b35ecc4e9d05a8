"""What a consumed relay block does to locks and to runs over shards (LEDGER-40, LEDGER-94, LEDGER-95)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.credits import CLAIM_MESSAGE
from tests.model.effects import credit_side, move, release, send_credit, sides_of
from tests.model.hashes import sha256, sm3
from tests.model.pendings import ABORTED, CLAIMED, POSTED, REFUNDED, Pending
from tests.model.rules import give_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.model.state import State

__all__ = ["consume"]


def consume(
    state: State, height: int, time: int, preimages: Sequence[bytes], now: int, runs: Sequence[bytes] = ()
) -> None:
    """Reveals first, in order, then the runs that are committed, then what is over at the block's time."""
    assert height == state.relay_height + 1, "relay blocks come in order of height"
    assert time >= state.relay_time, "relay time never decreases"
    for preimage in preimages:
        for flag, hash_function in ((0, sha256), (r.SM3_HASHLOCK, sm3)):
            hashlock = hash_function(preimage)
            for lock in list(state.pendings.locks.values()):
                t = lock.transfer
                if t.binding == hashlock and t.flags & r.SM3_HASHLOCK == flag and lock.due > time:
                    _claim(state, lock, preimage, now)
    for run in runs:
        for half in state.pendings.halves():
            if half.run == run and half.due > time:
                _commit(state, half, now)
    waiting = [*state.pendings.locks.values(), *state.pendings.halves()]
    over = [each for each in waiting if each.due <= time]
    for each in sorted(over, key=lambda each: (each.due, each.key[1], each.key[0])):
        if each.is_lock:
            _refund(state, each, now)
        else:
            _abort(state, each, now)
    state.relay_height, state.relay_time = height, time


def _commit(state: State, half: Pending, now: int) -> None:
    """Nothing is asked again: what was reserved is posted, or is a pending from now on."""
    t = half.transfer
    if t.kind == r.PENDING:
        state.pendings.commit(half, now + t.until if t.until else 0, now)
        state.leaf(half.digest, now, Code.COMMITTED)
        return
    payer, payee = sides_of(state, half)
    release(state, payer, payee, t.amount)
    move(state, payer, payee, t.amount)
    if not half.channel:
        state.leaf(half.digest, now, Code.COMMITTED)
    if state.is_here(t.credit_account):
        state.leaf(half.digest, now, Code.CREDITED)
    state.pendings.end(half, POSTED, t.amount, now, state.window_ns(t.ledger))


def _abort(state: State, half: Pending, now: int) -> None:
    payer, payee = sides_of(state, half)
    release(state, payer, payee, half.transfer.amount)
    if not half.channel:
        state.leaf(half.digest, now, Code.ABORTED)
    state.pendings.end(half, ABORTED, 0, now, state.window_ns(half.transfer.ledger))


def _claim(state: State, lock: Pending, preimage: bytes, now: int) -> None:
    t, genesis = lock.transfer, state.genesis
    claim = r.derive_claim(genesis.suite, t, lock.digest, preimage)
    digest = r.record_digest(genesis.suite, genesis.genesis_hash, claim.pack())
    debit, credit = state.accounts[t.debit_account], credit_side(state, t)
    release(state, debit, credit, t.amount)
    move(state, debit, credit, t.amount)
    if not state.is_here(t.credit_account):
        send_credit(state, claim, CLAIM_MESSAGE, t.amount, digest, now)
    lock.preimage = preimage
    state.pendings.end(lock, CLAIMED, t.amount, now, state.window_ns(t.ledger))
    state.leaf(digest, now, Code.CLAIMED)


def _refund(state: State, lock: Pending, now: int) -> None:
    t, genesis = lock.transfer, state.genesis
    refund = r.derive_refund(genesis.suite, t, lock.digest)
    digest = r.record_digest(genesis.suite, genesis.genesis_hash, refund.pack())
    release(state, state.accounts[t.debit_account], credit_side(state, t), t.amount)
    state.pendings.end(lock, REFUNDED, 0, now, state.window_ns(t.ledger))
    give_back(state, lock)
    state.leaf(digest, now, Code.REFUNDED)
