"""What a transfer's own bytes and its ledger's terms refuse, before anything of the state is asked (steps 1 to 11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.accounts import reserved

if TYPE_CHECKING:
    from tests.model.record import Transfer
    from tests.model.state import State

__all__ = ["flags_refused", "malformed"]

_ID_MAX = 2**128 - 1
_TIME_END = 2**63

_MAY_SET = {
    r.PLAIN: r.LINKED | r.ATTACHMENT,
    r.PENDING: r.LINKED | r.ATTACHMENT | r.PAYER_POSTS | r.PAYEE_POSTS | r.PAYER_VOIDS | r.PAYEE_VOIDS,
    r.POST: r.LINKED | r.ATTACHMENT,
    r.VOID: r.LINKED | r.ATTACHMENT,
    r.LOCK: r.LINKED | r.SM3_HASHLOCK,
    r.CLAIM: r.SM3_HASHLOCK,
    r.REFUND: 0,
    r.CANCEL: 0,
}  # RECORD-5


def flags_refused(t: Transfer, *, in_run: bool, over_shards: bool = False) -> Code | None:
    """Step 1; in a run also the kinds that have no place in one (LEDGER-20 b)."""
    if t.kind > r.CANCEL or t.flags >> 12:
        return Code.RESERVED_FLAG_SET
    if t.flags & r.BY_MANDATE:
        return Code.MANDATE_UNSUPPORTED
    if t.flags & ~15 & ~_MAY_SET[t.kind] or (in_run and t.kind in (r.CLAIM, r.REFUND, r.CANCEL)):
        return Code.KIND_FLAG_NOT_ALLOWED
    if over_shards and t.kind not in (r.PLAIN, r.PENDING):
        return Code.KIND_FLAG_NOT_ALLOWED
    return None


def malformed(state: State, t: Transfer, *, in_run: bool, over_shards: bool = False) -> Code | None:
    """Steps 1 and 3 to 11."""
    return (
        flags_refused(t, in_run=in_run, over_shards=over_shards)
        or _names_refused(t)
        or _times_refused(t)
        or _terms_refused(state, t)
    )


def _names_refused(t: Transfer) -> Code | None:
    cancel = t.kind == r.CANCEL
    if t.id == 0:
        return Code.ID_MUST_NOT_BE_ZERO
    if t.id == _ID_MAX:
        return Code.ID_MUST_NOT_BE_MAX
    if reserved(t.debit_account):
        return Code.DEBIT_ACCOUNT_RESERVED
    if cancel and t.credit_account != 0:
        return Code.CREDIT_ACCOUNT_MUST_BE_ZERO
    if not cancel and reserved(t.credit_account):
        return Code.CREDIT_ACCOUNT_RESERVED
    if t.credit_account == t.debit_account:
        return Code.ACCOUNTS_MUST_DIFFER
    if cancel and t.amount != 0:
        return Code.AMOUNT_MUST_BE_ZERO
    if not cancel and t.amount == 0:
        return Code.AMOUNT_MUST_NOT_BE_ZERO
    refers = t.kind in (r.POST, r.VOID, r.CANCEL)
    if refers and t.reference == 0:
        return Code.REFERENCE_MUST_NOT_BE_ZERO
    if not refers and t.reference != 0:
        return Code.REFERENCE_MUST_BE_ZERO
    return None


def _times_refused(t: Transfer) -> Code | None:
    if not 1 <= t.expires_at < _TIME_END:
        return Code.EXPIRES_AT_OUT_OF_RANGE
    if t.kind == r.PENDING and t.until >= 2**62:
        return Code.UNTIL_OUT_OF_RANGE
    if t.kind == r.LOCK and not 1 <= t.until < _TIME_END:
        return Code.UNTIL_OUT_OF_RANGE
    if t.kind not in (r.PENDING, r.LOCK) and t.until != 0:
        return Code.UNTIL_MUST_BE_ZERO
    return None


def _terms_refused(state: State, t: Transfer) -> Code | None:
    if t.key_id == 0:
        return Code.KEY_ID_MUST_NOT_BE_ZERO
    if t.valid_for_s == 0:
        return Code.VALID_FOR_MUST_NOT_BE_ZERO
    binds = t.kind == r.LOCK or bool(t.flags & r.ATTACHMENT)
    if binds and t.binding == r.ZERO_BINDING:
        return Code.BINDING_MUST_NOT_BE_ZERO
    if not binds and t.binding != r.ZERO_BINDING:
        return Code.BINDING_MUST_BE_ZERO
    terms = state.terms.get(t.ledger)
    if terms is None:
        return Code.LEDGER_NOT_FOUND
    if t.valid_for_s > terms.window_s:
        return Code.VALID_FOR_EXCEEDS_WINDOW
    if t.amount > terms.amount_max:
        return Code.AMOUNT_EXCEEDS_LEDGER_MAX
    return None
