"""What an admin request needs and does (06): its shape, its signers, its time, and the rules of each type.

Checks come first and touch nothing; effects follow and cannot fail. The order of the checks is the order of ADMIN-1 and
ADMIN-2, and a test holds each code to it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from engine.admin import NEW_KEY_SIGNS, AdminRequest
from engine.admin_compliance import EFFECTS, TWO_SIGNERS, USES, roles_allow, subject_account
from engine.admin_window import ADMIN_WINDOW_NS
from engine.parties import Participant
from engine.record import Account, participant_of_account
from engine.types import (
    ADMIN_WINDOW_S,
    NS_PER_S,
    PUBLIC_KEY_BYTES,
    U32_MAX,
    U64_MAX,
    U128_MAX,
    AccountFlag,
    AdminType,
    Role,
)
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.admin_context import AdminContext
    from engine.parties import Key, Parties

__all__ = [
    "admin_effect",
    "malformed_code",
    "second_signer_demanded",
    "signers_code",
    "time_code",
]


_DOMAIN_ROLES: Final = (Role.OPERATOR, Role.SUPERVISOR, Role.BLOCK, Role.SCREENING)
_PARTICIPANT_ROLES: Final = (Role.ACCOUNT, Role.REGISTRAR, Role.ISSUER)
_NO_KEY: Final = bytes(PUBLIC_KEY_BYTES)

# Fields that a type uses besides id, type, expires_at and valid_for_s.
_USES: Final[dict[int, frozenset[str]]] = {
    AdminType.PARTICIPANT_ADD: frozenset(
        {"participant", "subject", "role", "limit_a", "limit_b", "suite", "public_key"}
    ),
    AdminType.KEY_ADD: frozenset({"participant", "suite", "public_key", "role"}),
    AdminType.KEY_ROTATE: frozenset({"participant", "key_id", "suite", "public_key"}),
    AdminType.KEY_REVOKE: frozenset({"participant", "key_id"}),
    AdminType.ACCOUNT_OPEN: frozenset({"participant", "subject", "ledger", "key_id", "role", "limit_b"}),
    AdminType.ACCOUNT_LIMITS: frozenset({"subject", "ledger", "limit_a", "limit_b"}),
    AdminType.ACCOUNT_FREEZE: frozenset({"subject", "ledger", "reason", "limit_a"}),
    AdminType.ACCOUNT_UNFREEZE: frozenset({"subject", "ledger", "reason"}),
    AdminType.ACCOUNT_CLOSE: frozenset({"subject", "ledger", "reason"}),
    AdminType.QUOTA_SET: frozenset({"participant", "limit_a", "limit_b"}),
    AdminType.ACCOUNT_KEY_SET: frozenset({"subject", "ledger", "key_id"}),
    **USES,
}
_ALWAYS: Final = frozenset({"id", "type", "expires_at", "valid_for_s"})
_OPTIONAL: Final = tuple(name for name in AdminRequest.__dataclass_fields__ if name not in _ALWAYS)
_TWO_ALWAYS: Final = frozenset(
    {
        AdminType.KEY_ROTATE,
        AdminType.ACCOUNT_FREEZE,
        AdminType.ACCOUNT_UNFREEZE,
        AdminType.ACCOUNT_CLOSE,
        AdminType.ACCOUNT_KEY_SET,
        *TWO_SIGNERS,
    }
)
_TWO_FOR_ROLES: Final = frozenset({Role.ISSUER, Role.OPERATOR, Role.SUPERVISOR, Role.BLOCK})


def malformed_code(request: AdminRequest) -> ResultCode | None:
    """Return the code of a request that its own bytes refuse, before anything is known of who sent it."""
    if request.type == AdminType.MANDATE:
        return ResultCode.MANDATE_UNSUPPORTED
    used = _USES.get(request.type)
    if used is None:
        return ResultCode.ADMIN_TYPE_UNKNOWN
    if request.id == 0:
        return ResultCode.ID_MUST_NOT_BE_ZERO
    if request.id == U128_MAX:
        return ResultCode.ID_MUST_NOT_BE_MAX
    for name in _OPTIONAL:
        if name not in used and getattr(request, name) not in (0, _NO_KEY):
            return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    if not 0 < request.expires_at < 2**63:
        return ResultCode.EXPIRES_AT_OUT_OF_RANGE
    if request.valid_for_s == 0:
        return ResultCode.VALID_FOR_MUST_NOT_BE_ZERO
    return ResultCode.VALID_FOR_EXCEEDS_WINDOW if request.valid_for_s > ADMIN_WINDOW_S else None


def time_code(request: AdminRequest, now: int) -> ResultCode | None:
    """Return the code of a request that comes outside its validity."""
    if now > request.expires_at + ADMIN_WINDOW_NS:
        return ResultCode.TOO_OLD
    if now > request.expires_at:
        return ResultCode.EXPIRED
    return ResultCode.TOO_EARLY if now < request.expires_at - request.valid_for_s * NS_PER_S else None


def second_signer_demanded(request: AdminRequest) -> bool:
    """Say whether the type, and for a new key its role, asks for two signatures."""
    if request.type == AdminType.KEY_ADD:
        return request.role in _TWO_FOR_ROLES
    return request.type in _TWO_ALWAYS


def _signer_code(key: Key | None, verdict: Callable[[], bool], now: int) -> ResultCode | None:
    if key is None:
        return ResultCode.KEY_NOT_FOUND
    if not verdict():
        return ResultCode.INVALID_SIGNATURE
    return None if key.in_force(now) else ResultCode.KEY_NOT_IN_FORCE


def signers_code(
    request: AdminRequest,
    key_ids: tuple[int, int],
    parties: Parties,
    verdicts: tuple[Callable[[], bool], Callable[[], bool]],
    now: int,
) -> ResultCode | None:
    """Return the code of a request that its signers may not make; a verdict is asked for only where it decides."""
    first = parties.key(key_ids[0])
    code = _signer_code(first, verdicts[0], now)
    if code is not None or first is None:
        return code
    by_new_key = request.type == AdminType.KEY_ROTATE and key_ids[1] == NEW_KEY_SIGNS
    second = None if by_new_key else parties.key(key_ids[1])
    if not second_signer_demanded(request):
        if key_ids[1]:
            return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    elif not key_ids[1]:
        return ResultCode.SECOND_SIGNATURE_REQUIRED
    elif by_new_key:
        if not verdicts[1]():
            return ResultCode.INVALID_SIGNATURE
    else:
        code = _signer_code(second, verdicts[1], now)
        if code is not None:
            return code
    if second is not None and second.lineage == first.lineage:
        return ResultCode.SIGNERS_MUST_DIFFER
    if not _roles_allow(request, first, second):
        return ResultCode.SIGNER_ROLE_NOT_ALLOWED
    # Four eyes of two institutions: one supervisor's two keys are one opinion.
    alike = second is not None and second.participant == first.participant
    return ResultCode.SIGNERS_MUST_DIFFER if alike and request.type == AdminType.HOLD_RELEASE else None


def _roles_allow(request: AdminRequest, first: Key, second: Key | None) -> bool:
    """Apply the two signer columns of the table; ``second`` is None where none is demanded or the new key signs."""
    operator = first.role == Role.OPERATOR
    registrar = first.role == Role.REGISTRAR and first.participant == request.participant
    second_operates = second is not None and second.role == Role.OPERATOR
    if request.type in USES:
        return roles_allow(request, first, second)
    match request.type:
        case AdminType.PARTICIPANT_ADD | AdminType.QUOTA_SET:
            return operator
        case AdminType.KEY_ADD:
            # A role of no group is refused by the state, with its own code, to whichever of the two asks.
            by_first = (registrar and request.role not in _DOMAIN_ROLES) or (
                operator and request.role not in _PARTICIPANT_ROLES
            )
            return by_first and (second is None or second_operates)
        case AdminType.KEY_ROTATE:
            return first.id == request.key_id if second is None else registrar and second_operates
        case AdminType.KEY_REVOKE:
            return registrar or operator
        case AdminType.ACCOUNT_OPEN:
            return registrar
        case AdminType.ACCOUNT_LIMITS:
            return first.role == Role.ISSUER
        case AdminType.ACCOUNT_KEY_SET:
            owns = first.role == Role.REGISTRAR and first.participant == participant_of_account(request.subject)
            return owns and second_operates
        case _:
            watchers = (Role.OPERATOR, Role.SUPERVISOR)
            return first.role in watchers and second is not None and second.role in watchers


# State rules by type (ADMIN-2): each returns the code that refuses, or takes effect and returns the new key's id or 0.

_Outcome = ResultCode | int


def admin_effect(context: AdminContext, request: AdminRequest, first: Key, now: int) -> tuple[ResultCode, int]:
    """Decide a request by the state and take its effect; return its code and the id of the key it registered, or 0."""
    outcome = _RULES[AdminType(request.type)](context, request, first, now)
    if isinstance(outcome, ResultCode):
        return outcome, 0
    return ResultCode.CREATED, outcome


def _new_key_code(context: AdminContext, request: AdminRequest, holder: Participant | None) -> ResultCode | None:
    code = context.parties.refusal_of_key(request.suite, request.public_key)
    if code is None and holder is not None and holder.keys >= holder.keys_max:
        return ResultCode.KEYS_QUOTA_EXCEEDED
    return code


def _add_key(context: AdminContext, request: AdminRequest, role: int, lineage: int = 0) -> int:
    key = context.parties.add_key(request.participant, role, request.suite, request.public_key, lineage)
    context.accounts.set_key(key)
    return key.id


def _participant_add(context: AdminContext, request: AdminRequest, _first: Key, _now: int) -> _Outcome:
    if request.participant in (0, U32_MAX) or max(request.limit_a, request.limit_b) > U64_MAX:
        return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    if context.parties.participant(request.participant) is not None:
        return ResultCode.PARTICIPANT_EXISTS
    code = _new_key_code(context, request, None)
    if code is not None:
        return code
    name = request.subject.to_bytes(16, "little")
    context.parties.add_participant(
        Participant(request.participant, request.role, request.limit_a, request.limit_b, 0, 0, name)
    )
    return _add_key(context, request, Role.REGISTRAR)


def _key_add(context: AdminContext, request: AdminRequest, _first: Key, _now: int) -> _Outcome:
    holder = context.parties.participant(request.participant)
    if holder is None:
        return ResultCode.PARTICIPANT_NOT_FOUND
    if not _role_allowed(context, request.role, holder):
        return ResultCode.ROLE_NOT_ALLOWED
    return _new_key_code(context, request, holder) or _add_key(context, request, request.role)


def _role_allowed(context: AdminContext, role: int, holder: Participant) -> bool:
    if role == Role.ISSUER:
        return any(ledger.issuer == holder.number for ledger in context.domain.ledgers)
    return (role in _PARTICIPANT_ROLES or role in _DOMAIN_ROLES) and holder.may_hold(role)


def _key_concerned(context: AdminContext, request: AdminRequest, now: int) -> Key | ResultCode:
    if context.parties.participant(request.participant) is None:
        return ResultCode.PARTICIPANT_NOT_FOUND
    key = context.parties.key(request.key_id)
    if key is None:
        return ResultCode.KEY_NOT_FOUND
    if key.participant != request.participant:
        return ResultCode.ACCOUNT_NOT_OF_PARTICIPANT
    return key if key.in_force(now) else ResultCode.KEY_NOT_IN_FORCE


def _key_rotate(context: AdminContext, request: AdminRequest, _first: Key, now: int) -> _Outcome:
    old = _key_concerned(context, request, now)
    if isinstance(old, ResultCode):
        return old
    code = _new_key_code(context, request, context.parties.participant(request.participant))
    if code is not None:
        return code
    context.accounts.set_key(context.parties.retire_key(old.id, now))
    return _add_key(context, request, old.role, old.lineage)


def _key_revoke(context: AdminContext, request: AdminRequest, _first: Key, now: int) -> _Outcome:
    old = _key_concerned(context, request, now)
    if isinstance(old, ResultCode):
        return old
    context.accounts.set_key(context.parties.retire_key(old.id, now))
    return 0


def _account_key(context: AdminContext, request: AdminRequest, participant: int, now: int) -> Key | ResultCode:
    key = context.parties.key(request.key_id)
    if key is None:
        return ResultCode.KEY_NOT_FOUND
    if key.participant != participant or key.role != Role.ACCOUNT:
        return ResultCode.ROLE_NOT_ALLOWED
    return key if key.in_force(now) else ResultCode.KEY_NOT_IN_FORCE


def _place_code(context: AdminContext, request: AdminRequest) -> ResultCode | None:
    if context.ledger(request.ledger) is None:
        return ResultCode.LEDGER_NOT_FOUND
    if participant_of_account(request.subject) != request.participant:
        return ResultCode.ACCOUNT_NOT_OF_PARTICIPANT
    if request.subject >> 64 & U32_MAX:
        return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    if not context.is_here(request.subject):
        return ResultCode.WRONG_SHARD
    return ResultCode.ACCOUNT_EXISTS if context.accounts.find(request.subject) is not None else None


def _account_open(context: AdminContext, request: AdminRequest, _first: Key, now: int) -> _Outcome:
    holder = context.parties.participant(request.participant)
    if holder is None:
        return ResultCode.PARTICIPANT_NOT_FOUND
    code = _place_code(context, request)
    if code is not None:
        return code
    ledger = context.ledger(request.ledger)
    lineage, flags = 0, int(AccountFlag.ISSUER)
    if request.key_id or ledger is None or ledger.issuer != request.participant:
        key = _account_key(context, request, request.participant, now)
        if isinstance(key, ResultCode):
            return key
        lineage, flags = key.lineage, 0
    if holder.accounts >= holder.accounts_max:
        return ResultCode.ACCOUNTS_QUOTA_EXCEEDED
    if context.accounts.count() >= context.domain.limits.accounts_max:
        return ResultCode.ACCOUNTS_FULL
    context.parties.set_participant(replace(holder, accounts=holder.accounts + 1))
    context.accounts.open(_new_account(request, lineage, flags, now))
    return 0


def _new_account(request: AdminRequest, lineage: int, flags: int, now: int) -> Account:
    return Account(
        id=request.subject,
        debits_pending=0,
        debits_posted=0,
        credits_pending=0,
        credits_posted=0,
        credit_limit=0,
        balance_max=0,
        user_data=request.limit_b,
        opened_at=now,
        ledger=request.ledger,
        key_lineage=lineage,
        flags=flags,
        code=request.role,
        frozen_until=0,
    )


def _account_limits(context: AdminContext, request: AdminRequest, first: Key, _now: int) -> _Outcome:
    if not context.is_here(request.subject):
        return ResultCode.WRONG_SHARD
    ledger = context.ledger(request.ledger)
    if ledger is None or ledger.issuer != first.participant:
        return ResultCode.NOT_THE_ISSUER
    account = subject_account(context, request)
    if isinstance(account, ResultCode):
        return account
    context.accounts.update(replace(account, credit_limit=request.limit_a, balance_max=request.limit_b))
    return 0


def _account_freeze(context: AdminContext, request: AdminRequest, _first: Key, _now: int) -> _Outcome:
    if not context.is_here(request.subject):
        return ResultCode.WRONG_SHARD
    account = subject_account(context, request)
    if isinstance(account, ResultCode):
        return account
    # An instant past the last one that the field holds means the same: for longer than clocks will run.
    until = min(request.limit_a, U64_MAX)
    context.accounts.update(replace(account, flags=account.flags | AccountFlag.FROZEN, frozen_until=until))
    return 0


def _account_unfreeze(context: AdminContext, request: AdminRequest, _first: Key, _now: int) -> _Outcome:
    if not context.is_here(request.subject):
        return ResultCode.WRONG_SHARD
    account = subject_account(context, request)
    if isinstance(account, ResultCode):
        return account
    context.accounts.update(replace(account, flags=account.flags & ~AccountFlag.FROZEN, frozen_until=0))
    return 0


def _account_close(context: AdminContext, request: AdminRequest, _first: Key, _now: int) -> _Outcome:
    if not context.is_here(request.subject):
        return ResultCode.WRONG_SHARD
    account = subject_account(context, request)
    if isinstance(account, ResultCode):
        return account
    if account.debits_pending or account.credits_pending:
        return ResultCode.ACCOUNT_HAS_PENDINGS
    if account.debits_posted != account.credits_posted:
        return ResultCode.ACCOUNT_NOT_EMPTY
    context.accounts.update(replace(account, flags=account.flags | AccountFlag.CLOSED))
    return 0


def _quota_set(context: AdminContext, request: AdminRequest, _first: Key, _now: int) -> _Outcome:
    holder = context.parties.participant(request.participant)
    if holder is None:
        return ResultCode.PARTICIPANT_NOT_FOUND
    if max(request.limit_a, request.limit_b) > U64_MAX:
        return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    context.parties.set_participant(replace(holder, accounts_max=request.limit_a, keys_max=request.limit_b))
    return 0


def _account_key_set(context: AdminContext, request: AdminRequest, _first: Key, now: int) -> _Outcome:
    if not context.is_here(request.subject):
        return ResultCode.WRONG_SHARD
    account = subject_account(context, request)
    if isinstance(account, ResultCode):
        return account
    if account.flags & AccountFlag.ISSUER:
        # Issuing takes two keys of role issuer; an account key would be a third way in.
        return ResultCode.ROLE_NOT_ALLOWED
    key = _account_key(context, request, participant_of_account(request.subject), now)
    if isinstance(key, ResultCode):
        return key
    context.accounts.update(replace(account, key_lineage=key.lineage))
    return 0


_RULES: Final[dict[AdminType, Callable[[AdminContext, AdminRequest, Key, int], _Outcome]]] = {
    AdminType.PARTICIPANT_ADD: _participant_add,
    AdminType.KEY_ADD: _key_add,
    AdminType.KEY_ROTATE: _key_rotate,
    AdminType.KEY_REVOKE: _key_revoke,
    AdminType.ACCOUNT_OPEN: _account_open,
    AdminType.ACCOUNT_LIMITS: _account_limits,
    AdminType.ACCOUNT_FREEZE: _account_freeze,
    AdminType.ACCOUNT_UNFREEZE: _account_unfreeze,
    AdminType.ACCOUNT_CLOSE: _account_close,
    AdminType.QUOTA_SET: _quota_set,
    AdminType.ACCOUNT_KEY_SET: _account_key_set,
    **EFFECTS,
}
