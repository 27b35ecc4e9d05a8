"""One request alone: the order of precedence and the state rules of spec 03."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.accounts import CHANNEL, CLOSED, FROZEN, ISSUER, Account, participant_of
from tests.model.credits import CREDIT_MESSAGE, TOTAL_MAX, exceeds_balance_max
from tests.model.effects import credit_side, move, release, reserve, send_credit
from tests.model.genesis import SECOND_NS
from tests.model.malformed import flags_refused, malformed
from tests.model.pendings import (
    ABORTED,
    CLAIMED,
    EXPIRED,
    HOLD_EXPIRED,
    HOLD_REJECTED,
    OPEN,
    POSTED,
    REFUNDED,
    VOIDED,
    Pending,
)
from tests.model.rules import hold_ns, judge
from tests.model.window import Entry

if TYPE_CHECKING:
    from tests.model.record import Transfer
    from tests.model.registry import Key
    from tests.model.state import State

__all__ = [
    "DONE", "Answer", "OverShards", "burns", "decide", "decide_alone", "identical_known", "repeat",
]  # fmt: skip

ROLE_ISSUER, ROLE_ACCOUNT = 1, 2
DONE = (Code.CREATED, Code.CREATED_IN_TRANSIT, Code.PREPARED, Code.HELD)


class Answer(NamedTuple):
    """One request's answer. ``first_code`` and an earlier ``time`` only where it was decided before."""

    code: Code
    first_code: int
    time: int


class OverShards(NamedTuple):
    """The run over shards that a request is a member of: its T_run, and the relay time at which it is over."""

    run: bytes
    deadline: int


def burns(code: Code) -> bool:
    """LEDGER-61."""
    of_rules = Code.APPROVAL_REQUIRED <= code <= Code.VELOCITY_EXCEEDED
    return of_rules or Code.DEBIT_ACCOUNT_OTHER_LEDGER <= code <= Code.CANCEL_TOO_LATE


def decide_alone(state: State, t: Transfer, digest: bytes, verdict: int, now: int) -> Answer:
    """A request that is no member of a run."""
    if code := flags_refused(t, in_run=False):
        return Answer(code, 0, now)
    if t.kind in (r.CLAIM, r.REFUND):
        return _claim_or_refund(state, t, now)
    if code := malformed(state, t, in_run=False):
        return Answer(code, 0, now)
    if not state.is_here(t.debit_account):
        return Answer(Code.WRONG_SHARD, 0, now)
    if entry := identical_known(state, t, digest):
        return repeat(state, entry)
    return decide(state, t, digest, verdict, now)


def repeat(state: State, entry: Entry) -> Answer:
    """Step 13: the first answer again; of a prepared member, or of what was held, what became of it."""
    if entry.code == Code.HELD:
        became = _became_of_hold(state, r.Transfer.unpack(entry.record[:128], entry.record[128:]))
        ended = became in (Code.HOLD_EXPIRED, Code.HOLD_REJECTED)
        return Answer(Code.ID_ALREADY_FAILED if ended else Code.EXISTS, became, entry.time)
    if entry.code == Code.PREPARED:
        t = r.Transfer.unpack(entry.record[:128], entry.record[128:])
        half = state.pendings.known[t.debit_account, t.id]
        became = Code.PREPARED if half.prepared else Code.ABORTED if half.ended == ABORTED else Code.COMMITTED
        return Answer(Code.ID_ALREADY_FAILED if became == Code.ABORTED else Code.EXISTS, became, entry.time)
    return Answer(Code.EXISTS if entry.code in DONE else Code.ID_ALREADY_FAILED, entry.code, entry.time)


def _became_of_hold(state: State, t: Transfer) -> Code:
    """A hold is known at least as long as its id."""
    hold = state.pendings.known[t.debit_account, t.id]
    if hold.held:
        return Code.HELD
    if hold.ended in (HOLD_EXPIRED, HOLD_REJECTED):
        return Code.HOLD_EXPIRED if hold.ended == HOLD_EXPIRED else Code.HOLD_REJECTED
    away = t.kind == r.PLAIN and not state.is_here(t.credit_account)
    return Code.CREATED_IN_TRANSIT if away else Code.CREATED


def _claim_or_refund(state: State, t: Transfer, now: int) -> Answer:
    """LEDGER-12: the relay decides these; a submitter only learns where the lock stands."""
    if not state.is_here(t.debit_account):
        return Answer(Code.WRONG_SHARD, 0, now)
    lock = state.pendings.known.get((t.debit_account, t.reference))
    if lock is None or not lock.is_lock or lock.held:
        return Answer(Code.PENDING_NOT_FOUND, 0, now)
    if lock.ended == OPEN:
        return Answer(Code.TOO_EARLY if t.kind == r.REFUND else Code.PREIMAGE_NOT_FINAL, 0, now)
    suite = state.genesis.suite
    if lock.ended == CLAIMED:
        derived, first = r.derive_claim(suite, lock.transfer, lock.digest, lock.preimage), Code.CLAIMED
        otherwise = Code.PENDING_ALREADY_POSTED
    else:
        derived, first = r.derive_refund(suite, lock.transfer, lock.digest), Code.REFUNDED
        otherwise = Code.PENDING_ALREADY_VOIDED
    same = t == derived and lock.ended in (CLAIMED, REFUNDED)
    return Answer(Code.EXISTS, first, lock.ended_at) if same else Answer(otherwise, 0, now)


# What is known, who signs, when: steps 13 to 20.


def identical_known(state: State, t: Transfer, digest: bytes) -> Entry | None:
    """Step 13."""
    candidates = [t.debit_account, t.credit_account] if t.kind in (r.POST, r.VOID) else [t.debit_account]
    for candidate in candidates:
        entry = state.ids.find(candidate, t.debit_account, t.id)
        if entry and entry.digest == digest:
            return entry
    return None


def decide(
    state: State,
    t: Transfer,
    digest: bytes,
    verdict: int,
    now: int,
    over: OverShards | None = None,
    *,
    in_run: bool = False,
) -> Answer:
    """Steps 14 to 21 and the state rules, with their effects, entry and leaf; ``over`` prepares instead of making."""
    key = state.registry.keys.get(t.key_id)
    if key is None:
        return Answer(Code.KEY_NOT_FOUND, 0, now)
    if not verdict:
        return Answer(Code.INVALID_SIGNATURE, 0, now)
    if not key.in_force(now):
        state.leaf(digest, now, Code.KEY_NOT_IN_FORCE)
        return Answer(Code.KEY_NOT_IN_FORCE, 0, now)
    debit = state.accounts.get(t.debit_account)
    if debit is None:
        return Answer(Code.DEBIT_ACCOUNT_NOT_FOUND, 0, now)
    authoriser = _authoriser(state, t, debit, key)
    if authoriser is None:
        return Answer(Code.KEY_NOT_AUTHORISED, 0, now)
    if entry := state.ids.find(authoriser, t.debit_account, t.id):
        if entry.code != Code.CANCELLED:
            return Answer(_difference(t, entry), 0, now)
        if t.expires_at > int.from_bytes(entry.record[96:104], "little"):
            return Answer(Code.EXISTS_WITH_DIFFERENT_EXPIRES_AT, 0, now)
        return Answer(Code.ID_ALREADY_FAILED, Code.CANCELLED, entry.time)
    if _outlives_its_id(state, t, over):
        return Answer(Code.EXISTS_WITH_DIFFERENT_EXPIRES_AT, 0, now)
    if wrong_time := _time_refused(state, t, now, over):
        if wrong_time == Code.EXPIRED:
            state.leaf(digest, now, wrong_time)
        return Answer(wrong_time, 0, now)
    if full := _full(state, t):
        return Answer(full, 0, now)
    code = _act(state, t, digest, authoriser, debit, key, now, over, in_run or over is not None)
    if code in DONE or burns(code):
        forget = t.expires_at + state.window_ns(t.ledger)
        state.ids.add((authoriser, t.debit_account, t.id), Entry(t.pack(), digest, code, now), forget)
        state.leaf(digest, now, code)
    return Answer(code, 0, now)


def _authoriser(state: State, t: Transfer, debit: Account, key: Key) -> int | None:
    """Step 18."""
    if debit.flags & ISSUER and key.role == ROLE_ISSUER and key.participant == participant_of(debit.id):
        return debit.id
    if key.role == ROLE_ACCOUNT and key.lineage == debit.key_lineage:
        return debit.id
    if t.kind not in (r.POST, r.VOID) or key.participant != participant_of(t.credit_account):
        return None
    if key.role == ROLE_ACCOUNT:
        return t.credit_account
    credit = state.accounts.get(t.credit_account) if state.is_here(t.credit_account) else None
    return t.credit_account if credit and credit.flags & ISSUER and key.role == ROLE_ISSUER else None


def _difference(t: Transfer, entry: Entry) -> Code:
    """Step 19: name the first field that differs from the record of the entry."""
    known = r.Transfer.unpack(entry.record[:128], entry.record[128:])
    for field in r.FIELDS_IN_ORDER:
        if getattr(t, field) != getattr(known, field):
            return Code[f"EXISTS_WITH_DIFFERENT_{field.removesuffix('_s').upper()}"]
    return Code.EXISTS_WITH_DIFFERENT_RUN


def _outlives_its_id(state: State, t: Transfer, over: OverShards | None) -> bool:
    """Step 19 where the entry is forgotten and the pending or lock of that id is not.

    Its id is not free before it is forgotten too. The same expires_at goes on to step 20, which refuses it: the entry was
    dropped a window after that instant.
    """
    # Where rules stand a plain one may have been held, or may be now.
    plain_too = t.kind == r.PLAIN and state.rules.live() > 0
    if t.kind not in (r.PENDING, r.LOCK) and over is None and not plain_too:
        return False
    pending = state.pendings.known.get((t.debit_account, t.id))
    return pending is not None and pending.transfer.expires_at != t.expires_at


def _time_refused(state: State, t: Transfer, now: int, over: OverShards | None) -> Code | None:
    """Step 20."""
    if now > t.expires_at + state.window_ns(t.ledger):
        return Code.TOO_OLD
    if now > t.expires_at or (over and over.deadline <= state.relay_time):
        return Code.EXPIRED
    if now < t.expires_at - t.valid_for_s * SECOND_NS:
        return Code.TOO_EARLY
    return None


def _full(state: State, t: Transfer) -> Code | None:
    """Step 21, before the rules that burn; a cancel needs two places."""
    places = 2 if t.kind == r.CANCEL else 1
    if len(state.ids.entries) + places > state.genesis.limits.ids_max:
        return Code.WINDOW_FULL
    if t.kind in (r.PENDING, r.LOCK) and len(state.pendings.known) >= state.genesis.limits.pendings_max:
        return Code.PENDINGS_FULL
    return None


def _act(
    state: State,
    t: Transfer,
    digest: bytes,
    authoriser: int,
    debit: Account,
    key: Key,
    now: int,
    over: OverShards | None,
    in_run: bool,
) -> Code:
    if t.kind == r.CANCEL:
        return _cancel(state, t, now)
    if t.kind in (r.POST, r.VOID):
        return _end_pending(state, t, digest, authoriser, debit, key, now)
    return _begin(state, t, digest, debit, now, over, in_run)


# Plain, pending, lock.


def _begin(
    state: State, t: Transfer, digest: bytes, debit: Account, now: int, over: OverShards | None, in_run: bool
) -> Code:
    if code := _begin_refused(state, t, debit, now):
        return code
    code, held_for, draws = judge(state, t, debit, now, in_run=in_run)
    if code:
        return code
    credit = credit_side(state, t)
    if held_for:
        reserve(state, debit, credit, t.amount)
        deadline = now + hold_ns(state, t.ledger)
        state.pendings.create(Pending(t, digest, deadline, held=True, held_for=held_for, draws=draws), now)
        return Code.HELD
    if over:
        reserve(state, debit, credit, t.amount)
        state.pendings.create(Pending(t, digest, over.deadline, run=over.run, prepared=True), now)
        return Code.PREPARED
    if t.kind == r.PLAIN:
        move(state, debit, credit, t.amount)
        return _depart(state, t, t.amount, digest, now)
    reserve(state, debit, credit, t.amount)
    due = t.until if t.kind == r.LOCK else (now + t.until if t.until else 0)
    state.pendings.create(Pending(t, digest, due, draws=draws), now)
    return Code.CREATED


def _begin_refused(state: State, t: Transfer, debit: Account, now: int) -> Code | None:
    if debit.ledger != t.ledger:
        return Code.DEBIT_ACCOUNT_OTHER_LEDGER
    if debit.flags & CLOSED:
        return Code.DEBIT_ACCOUNT_CLOSED
    if debit.flags & FROZEN and (debit.frozen_until == 0 or now < debit.frozen_until):
        return Code.DEBIT_ACCOUNT_FROZEN
    credit = state.accounts.get(t.credit_account) if state.is_here(t.credit_account) else None
    if state.is_here(t.credit_account):
        if credit is None:
            return Code.CREDIT_ACCOUNT_NOT_FOUND
        if credit.ledger != t.ledger:
            return Code.CREDIT_ACCOUNT_OTHER_LEDGER
        if credit.flags & CLOSED:
            return Code.CREDIT_ACCOUNT_CLOSED
    if debit.flags & ISSUER and t.kind != r.PENDING:
        return Code.ISSUE_REQUIRES_PENDING
    if t.kind == r.LOCK:
        earliest = now + state.terms[t.ledger].lock_min_s * SECOND_NS
        if t.until < earliest or t.until <= state.relay_time:
            return Code.TIMELOCK_TOO_SOON
    totals = state.totals[t.ledger]
    if totals.debits_posted + totals.debits_pending + t.amount > TOTAL_MAX:
        return Code.OVERFLOWS_LEDGER_TOTAL
    if not debit.flags & (ISSUER | CHANNEL):
        if debit.debits_pending + debit.debits_posted + t.amount > debit.credits_posted + debit.credit_limit:
            return Code.INSUFFICIENT_FUNDS
    if credit and exceeds_balance_max(credit, t.amount):
        return Code.EXCEEDS_BALANCE_MAX
    return None


def _depart(state: State, t: Transfer, amount: int, digest: bytes, now: int) -> Code:
    """Let a credit message leave if the payee lives elsewhere."""
    if state.is_here(t.credit_account):
        return Code.CREATED
    send_credit(state, t, CREDIT_MESSAGE, amount, digest, now)
    return Code.CREATED_IN_TRANSIT


# Post, void.

_ALREADY = {
    POSTED: Code.PENDING_ALREADY_POSTED,
    VOIDED: Code.PENDING_ALREADY_VOIDED,
    EXPIRED: Code.PENDING_EXPIRED,
    ABORTED: Code.PENDING_ALREADY_VOIDED,
    HOLD_REJECTED: Code.PENDING_ALREADY_VOIDED,
    HOLD_EXPIRED: Code.PENDING_EXPIRED,
}


def _end_pending(state: State, t: Transfer, digest: bytes, authoriser: int, debit: Account, key: Key, now: int) -> Code:
    pending = state.pendings.known.get((t.debit_account, t.reference))
    if pending is None or pending.prepared or pending.held or pending.transfer.kind == r.PLAIN:
        return Code.PENDING_NOT_FOUND
    if code := _end_refused(state, t, pending, authoriser, debit, key, now):
        return code
    credit = credit_side(state, t)
    release(state, debit, credit, pending.transfer.amount)
    window_ns = state.window_ns(t.ledger)
    if t.kind == r.VOID:
        state.pendings.end(pending, VOIDED, 0, now, window_ns)
        return Code.CREATED
    move(state, debit, credit, t.amount)
    state.pendings.end(pending, POSTED, t.amount, now, window_ns)
    return _depart(state, t, t.amount, digest, now)


def _end_refused(
    state: State, t: Transfer, pending: Pending, authoriser: int, debit: Account, key: Key, now: int
) -> Code | None:
    was = pending.transfer
    if pending.is_lock:
        return Code.PENDING_IS_LOCK
    if t.credit_account != was.credit_account:
        return Code.PENDING_HAS_DIFFERENT_CREDIT_ACCOUNT
    if t.ledger != was.ledger:
        return Code.PENDING_HAS_DIFFERENT_LEDGER
    if pending.ended != OPEN:
        return _ALREADY[pending.ended]
    if pending.due != 0 and now >= pending.due:
        return Code.PENDING_EXPIRED
    if t.kind == r.POST and t.amount > was.amount:
        return Code.EXCEEDS_PENDING_AMOUNT
    if t.kind == r.VOID and t.amount != was.amount:
        return Code.PENDING_HAS_DIFFERENT_AMOUNT
    return _not_permitted(state, t, was, authoriser, debit, key)


def _not_permitted(state: State, t: Transfer, was: Transfer, authoriser: int, debit: Account, key: Key) -> Code | None:
    """LEDGER-10."""
    if debit.flags & ISSUER:
        if authoriser != debit.id:
            return Code.NOT_PERMITTED_BY_PENDING
        if t.kind == r.POST and key.lineage == state.registry.keys[was.key_id].lineage:
            return Code.ISSUER_KEYS_MUST_DIFFER
        return None
    needed = {
        (r.POST, True): r.PAYER_POSTS,
        (r.POST, False): r.PAYEE_POSTS,
        (r.VOID, True): r.PAYER_VOIDS,
        (r.VOID, False): r.PAYEE_VOIDS,
    }[t.kind, authoriser == debit.id]
    return None if was.flags & needed else Code.NOT_PERMITTED_BY_PENDING


# Cancel.


def _cancel(state: State, t: Transfer, now: int) -> Code:
    """The entry of the burnt id is made here; the cancel's own as for any request."""
    burnt = (t.debit_account, t.debit_account, t.reference)
    if burnt in state.ids.entries or t.reference == t.id:
        return Code.CANCEL_TOO_LATE
    blank = r.Transfer(id=t.reference, debit_account=t.debit_account, expires_at=t.expires_at)
    entry = Entry(blank.pack(), bytes(32), Code.CANCELLED, now)
    state.ids.add(burnt, entry, t.expires_at + state.window_ns(t.ledger))
    return Code.CREATED
