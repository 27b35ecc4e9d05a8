"""What the administration of rules asks and does (06, types 13 to 23): quotes, holds, breakers, tiers, looks.

Beside ``engine.admin_rules``, which holds the types of parties and accounts and the order of precedence: here stand the
fields, the signers and the state rules of these types alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from engine.rules import Rule, tier_subject
from engine.types import (
    HASH_BYTES,
    NS_PER_S,
    PUBLIC_KEY_BYTES,
    U32_MAX,
    U128_MAX,
    ZERO_HASH,
    AccountFlag,
    AdminType,
    BreakerGrade,
    BreakerSubject,
    Role,
    RuleType,
    TierAction,
)
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.admin import AdminRequest
    from engine.admin_context import AdminContext
    from engine.parties import Key
    from engine.record import Account

__all__ = ["EFFECTS", "QUOTES_MAX", "TWO_SIGNERS", "USES", "roles_allow", "subject_account"]

QUOTES_MAX: Final = 256
"""Quotes that one account may have open."""
_QUOTE_KEPT_NS: Final = 3600 * NS_PER_S
"""For so long after its end a quote still answers that it is over; then its place may be taken."""
_TIME_MAX: Final = 2**63 - 1
_HOLD_NS_MAX: Final = 2**62 - 1
_NO_DATA: Final = bytes(PUBLIC_KEY_BYTES)
_SCREENING_PASS: Final = 1
_SCREENING_HOLD: Final = 2
_SCORE_MAX: Final = 10_000

USES: Final[dict[int, frozenset[str]]] = {
    AdminType.QUOTE_OPEN: frozenset({"subject", "ledger", "limit_a", "limit_b"}),
    AdminType.QUOTE_CLOSE: frozenset({"subject", "ledger", "limit_b"}),
    AdminType.LEDGER_RULES: frozenset({"ledger", "participant", "limit_a", "limit_b"}),
    AdminType.HOLD_RELEASE: frozenset({"subject", "ledger", "reason", "limit_b"}),
    AdminType.HOLD_REJECT: frozenset({"subject", "ledger", "reason", "limit_b"}),
    AdminType.BREAKER_SET: frozenset({"subject", "role", "suite", "reason", "limit_a", "limit_b"}),
    AdminType.BREAKER_CLEAR: frozenset({"subject", "role", "reason"}),
    AdminType.LEDGER_TIER: frozenset({"ledger", "role", "suite", "key_id", "limit_a", "limit_b"}),
    AdminType.ACCOUNT_TIER: frozenset({"subject", "ledger", "role"}),
    AdminType.LOOK: frozenset({"subject", "ledger", "participant", "reason", "role", "public_key"}),
    AdminType.SCREENING: frozenset(
        {"subject", "ledger", "participant", "reason", "role", "key_id", "limit_a", "public_key"}
    ),
}
TWO_SIGNERS: Final = frozenset(
    {
        AdminType.LEDGER_RULES,
        AdminType.HOLD_RELEASE,
        AdminType.HOLD_REJECT,
        AdminType.BREAKER_SET,
        AdminType.BREAKER_CLEAR,
        AdminType.LEDGER_TIER,
    }
)


def roles_allow(request: AdminRequest, first: Key, second: Key | None) -> bool:
    """Apply the signer columns of the table to one of these types."""
    roles = {first.role} | ({second.role} if second is not None else set())
    match request.type:
        case AdminType.QUOTE_OPEN | AdminType.QUOTE_CLOSE:
            return first.role == Role.ACCOUNT
        case AdminType.LEDGER_RULES | AdminType.LEDGER_TIER:
            return roles == {Role.OPERATOR, Role.SUPERVISOR}
        case AdminType.HOLD_RELEASE:
            return roles == {Role.SUPERVISOR}
        case AdminType.HOLD_REJECT:
            return Role.SUPERVISOR in roles and roles <= {Role.OPERATOR, Role.SUPERVISOR}
        case AdminType.ACCOUNT_TIER:
            return first.role == Role.ISSUER
        case AdminType.LOOK:
            return first.role == Role.SUPERVISOR
        case AdminType.SCREENING:
            return first.role == Role.SCREENING and first.participant == request.participant
        case _:
            return roles <= {Role.OPERATOR, Role.SUPERVISOR}


_Outcome = ResultCode | int


def subject_account(context: AdminContext, request: AdminRequest) -> Account | ResultCode:
    """Return the open account of that ledger which a request is about."""
    account = context.accounts.find(request.subject)
    if account is None:
        return ResultCode.ACCOUNT_NOT_FOUND
    if account.ledger != request.ledger:
        return ResultCode.DEBIT_ACCOUNT_OTHER_LEDGER
    return ResultCode.ACCOUNT_CLOSED if account.flags & AccountFlag.CLOSED else account


def _own_account(context: AdminContext, request: AdminRequest, first: Key) -> ResultCode | None:
    """Return why this key does not speak for the subject, an account here."""
    if not context.is_here(request.subject):
        return ResultCode.WRONG_SHARD
    account = subject_account(context, request)
    if isinstance(account, ResultCode):
        return account
    return None if account.key_lineage == first.lineage else ResultCode.KEY_NOT_AUTHORISED


def _quote_open(context: AdminContext, request: AdminRequest, first: Key, now: int) -> _Outcome:
    code = _own_account(context, request, first)
    if code is not None:
        return code
    if not request.limit_a or not now < request.limit_b <= _TIME_MAX:
        return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    if context.accounts.find_rule(RuleType.QUOTE, request.subject, request.id) is not None:
        return ResultCode.QUOTE_EXISTS
    if context.accounts.trim_quotes(request.subject, max(0, now - _QUOTE_KEPT_NS)) >= QUOTES_MAX:
        return ResultCode.RULES_FULL
    quote = Rule(
        RuleType.QUOTE,
        request.subject,
        request.id,
        limit_a=request.limit_a,
        until=request.limit_b,
        set_at=now,
        ledger=request.ledger,
    )
    return 0 if context.accounts.set_rule(quote) else ResultCode.RULES_FULL


def _quote_close(context: AdminContext, request: AdminRequest, first: Key, _now: int) -> _Outcome:
    code = _own_account(context, request, first)
    if code is not None:
        return code
    quote = context.accounts.find_rule(RuleType.QUOTE, request.subject, request.limit_b)
    if quote is None:
        return ResultCode.QUOTE_NOT_FOUND
    context.accounts.remove_rule(quote)
    return 0


def _ledger_rules(context: AdminContext, request: AdminRequest, _first: Key, now: int) -> _Outcome:
    if context.ledger(request.ledger) is None:
        return ResultCode.LEDGER_NOT_FOUND
    if request.limit_b > _HOLD_NS_MAX:
        return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    if request.participant and context.parties.participant(request.participant) is None:
        return ResultCode.PARTICIPANT_NOT_FOUND
    rule = Rule(
        RuleType.LEDGER,
        request.ledger,
        limit_a=request.limit_a,
        until=request.limit_b,
        set_at=now,
        ledger=request.ledger,
        bound=request.participant,
    )
    return 0 if context.accounts.set_rule(rule) else ResultCode.RULES_FULL


def _end_hold(context: AdminContext, request: AdminRequest, _first: Key, now: int) -> _Outcome:
    if not context.is_here(request.subject):
        return ResultCode.WRONG_SHARD
    account = context.accounts.find(request.subject)
    if account is None:
        return ResultCode.ACCOUNT_NOT_FOUND
    if account.ledger != request.ledger:
        return ResultCode.DEBIT_ACCOUNT_OTHER_LEDGER
    releases = request.type == AdminType.HOLD_RELEASE
    code = context.accounts.end_hold(request.subject, request.limit_b, releases=releases, now=now)
    return 0 if code == ResultCode.CREATED else ResultCode(code)


def _breaker_set(context: AdminContext, request: AdminRequest, _first: Key, now: int) -> _Outcome:
    slow = request.suite == BreakerGrade.SLOW
    wide = request.role in {BreakerSubject.ACCOUNT, BreakerSubject.REFERENCE, BreakerSubject.CORRIDOR}
    sound = (
        request.role in tuple(BreakerSubject)
        and request.suite in tuple(BreakerGrade)
        and 0 < request.subject <= (U128_MAX if wide else U32_MAX)
        and slow == bool(request.limit_a)
        and request.limit_a <= U32_MAX
        and now < request.limit_b <= _TIME_MAX
        and bool(request.reason)
    )
    if not sound:
        return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    if request.role == BreakerSubject.LEDGER and context.ledger(request.subject) is None:
        return ResultCode.LEDGER_NOT_FOUND
    breaker = Rule(
        RuleType.BREAKER,
        request.subject,
        limit_a=request.limit_a,
        until=request.limit_b,
        set_at=now,
        kind=request.role,
        action=request.suite,
        reason=request.reason,
    )
    if context.accounts.set_rule(breaker):
        return 0
    context.accounts.trim_breakers(now)
    return 0 if context.accounts.set_rule(breaker) else ResultCode.RULES_FULL


def _breaker_clear(context: AdminContext, request: AdminRequest, _first: Key, _now: int) -> _Outcome:
    if not request.reason:
        return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    breaker = context.accounts.find_rule(RuleType.BREAKER, request.subject, breaker=request.role)
    if breaker is None:
        return ResultCode.BREAKER_NOT_FOUND
    context.accounts.remove_rule(breaker)
    return 0


def _ledger_tier(context: AdminContext, request: AdminRequest, _first: Key, now: int) -> _Outcome:
    if context.ledger(request.ledger) is None:
        return ResultCode.LEDGER_NOT_FOUND
    if not request.role or request.suite not in tuple(TierAction):
        return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    tier = Rule(
        RuleType.TIER,
        tier_subject(request.ledger, request.role),
        limit_a=request.limit_a,
        limit_b=request.limit_b,
        set_at=now,
        ledger=request.ledger,
        bound=request.key_id,
        kind=request.role,
        action=request.suite,
    )
    return 0 if context.accounts.set_rule(tier) else ResultCode.RULES_FULL


def _account_tier(context: AdminContext, request: AdminRequest, first: Key, now: int) -> _Outcome:
    if not context.is_here(request.subject):
        return ResultCode.WRONG_SHARD
    ledger = context.ledger(request.ledger)
    if ledger is None or ledger.issuer != first.participant:
        return ResultCode.NOT_THE_ISSUER
    account = subject_account(context, request)
    if isinstance(account, ResultCode):
        return account
    if account.flags & AccountFlag.ISSUER:
        return ResultCode.ROLE_NOT_ALLOWED
    accounts = context.accounts
    if request.role and accounts.find_rule(RuleType.TIER, tier_subject(request.ledger, request.role)) is None:
        return ResultCode.TIER_NOT_FOUND
    counter = accounts.find_rule(RuleType.COUNTER, request.subject)
    if request.role and counter is None:
        counter = Rule(RuleType.COUNTER, request.subject, set_at=now, ledger=request.ledger)
        if not accounts.set_rule(counter):
            return ResultCode.RULES_FULL
    elif not request.role and counter is not None:
        accounts.remove_rule(counter)
    accounts.update(replace(account, tier=request.role))
    return 0


def _look(_context: AdminContext, request: AdminRequest, _first: Key, _now: int) -> _Outcome:
    """Its leaf is all that it does: what was looked at, why, and the digest of the query."""
    if not request.reason or request.public_key == _NO_DATA:
        return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    return 0


def _screening(context: AdminContext, request: AdminRequest, _first: Key, _now: int) -> _Outcome:
    """Its leaf is all that it does: what screening said of one message, under which list, with what score."""
    message, record = request.public_key[:HASH_BYTES], request.public_key[HASH_BYTES:]
    sound = (
        request.role in {_SCREENING_PASS, _SCREENING_HOLD}
        and request.reason <= _SCORE_MAX
        and bool(request.key_id)
        and (request.role == _SCREENING_HOLD) == bool(request.limit_a)
        and ZERO_HASH not in {message, record}
    )
    if not sound:
        return ResultCode.ADMIN_FIELD_NOT_ALLOWED
    if context.ledger(request.ledger) is None:
        return ResultCode.LEDGER_NOT_FOUND
    return 0 if context.is_here(request.subject) else ResultCode.WRONG_SHARD


EFFECTS: Final[dict[AdminType, Callable[[AdminContext, AdminRequest, Key, int], _Outcome]]] = {
    AdminType.QUOTE_OPEN: _quote_open,
    AdminType.QUOTE_CLOSE: _quote_close,
    AdminType.LEDGER_RULES: _ledger_rules,
    AdminType.HOLD_RELEASE: _end_hold,
    AdminType.HOLD_REJECT: _end_hold,
    AdminType.BREAKER_SET: _breaker_set,
    AdminType.BREAKER_CLEAR: _breaker_clear,
    AdminType.LEDGER_TIER: _ledger_tier,
    AdminType.ACCOUNT_TIER: _account_tier,
    AdminType.LOOK: _look,
    AdminType.SCREENING: _screening,
}
