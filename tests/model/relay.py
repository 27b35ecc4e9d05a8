"""What a consumed relay block does to locks (LEDGER-40)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.credits import CLAIM_MESSAGE
from tests.model.effects import credit_side, move, release, send_credit
from tests.model.hashes import sha256, sm3
from tests.model.pendings import CLAIMED, REFUNDED, Pending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.model.state import State

__all__ = ["consume"]


def consume(state: State, height: int, time: int, preimages: Sequence[bytes], now: int) -> None:
    """Reveals first, in order, then what is over at the block's time."""
    assert height == state.relay_height + 1, "relay blocks come in order of height"
    assert time >= state.relay_time, "relay time never decreases"
    for preimage in preimages:
        for flag, hash_function in ((0, sha256), (r.SM3_HASHLOCK, sm3)):
            hashlock = hash_function(preimage)
            for lock in list(state.pendings.locks.values()):
                t = lock.transfer
                if t.binding == hashlock and t.flags & r.SM3_HASHLOCK == flag and lock.due > time:
                    _claim(state, lock, preimage, now)
    over = [lock for lock in state.pendings.locks.values() if lock.due <= time]
    for lock in sorted(over, key=lambda each: (each.due, each.transfer.id, each.transfer.debit_account)):
        _refund(state, lock, now)
    state.relay_height, state.relay_time = height, time


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
    state.leaf(digest, now, Code.REFUNDED)
