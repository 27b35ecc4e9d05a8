"""What each type of admin request asks of the state, and does to it (ADMIN-2, ADMIN-4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model import rules
from tests.model.accounts import CLOSED, FROZEN, ISSUER, Account, participant_of, second_word_of
from tests.model.genesis import SECOND_NS
from tests.model.holds import reject_hold, release_hold
from tests.model.points import key_acceptable
from tests.model.registry import Key, Participant

if TYPE_CHECKING:
    from tests.model.admin_request import AdminRequest
    from tests.model.state import State

__all__ = ["Refused", "take_effect"]

_U64_MAX = 2**64 - 1


class Refused(Exception):
    """A state code, thrown from the rule that found it."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


def take_effect(state: State, request: AdminRequest, signers: tuple[int, int], now: int) -> int:
    """Do what the request asks and return the id of the key it registered, or 0; raises Refused."""
    return _RULES[request.type](state, request, signers, now) or 0


def _demand(condition: bool, code: Code) -> None:
    if not condition:
        raise Refused(code)


def _participant_add(state: State, q: AdminRequest, _signers: tuple[int, int], _now: int) -> int:
    _demand(q.participant not in (0, 0xFFFFFFFF), Code.ADMIN_FIELD_NOT_ALLOWED)
    _demand(max(q.limit_a, q.limit_b) <= _U64_MAX, Code.ADMIN_FIELD_NOT_ALLOWED)
    _demand(q.participant not in state.registry.participants, Code.PARTICIPANT_EXISTS)
    _demand_key(state, q)
    state.registry.add_participant(Participant(q.participant, q.role, q.limit_a, q.limit_b, q.subject))
    return state.registry.add_key(q.participant, a.REGISTRAR, q.suite, q.public_key)


def _demand_key(state: State, q: AdminRequest) -> None:
    _demand(q.suite in (1, 2, 3), Code.SUITE_UNSUPPORTED)
    _demand(key_acceptable(q.suite, q.public_key), Code.KEY_REJECTED)
    _demand(not state.registry.has_public_key(q.public_key), Code.KEY_EXISTS)


def _key_add(state: State, q: AdminRequest, _signers: tuple[int, int], _now: int) -> int:
    participant = _participant(state, q)
    _demand(_role_allowed(state, q.role, participant), Code.ROLE_NOT_ALLOWED)
    _demand_key(state, q)
    _demand(participant.keys < participant.keys_max, Code.KEYS_QUOTA_EXCEEDED)
    return state.registry.add_key(q.participant, q.role, q.suite, q.public_key)


def _participant(state: State, q: AdminRequest) -> Participant:
    participant = state.registry.participants.get(q.participant)
    if participant is None:
        raise Refused(Code.PARTICIPANT_NOT_FOUND)
    return participant


def _role_allowed(state: State, role: int, participant: Participant) -> bool:
    if role in (a.ACCOUNT_ROLE, a.REGISTRAR):
        return True
    if role == a.ISSUER_ROLE:
        return any(terms.issuer == participant.number for terms in state.terms.values())
    return role in a.BY_OPERATOR and bool(participant.roles >> role & 1)


def _key_rotate(state: State, q: AdminRequest, _signers: tuple[int, int], now: int) -> int:
    old = _key_in_force(state, q, now)
    _demand_key(state, q)
    participant = state.registry.participants[q.participant]
    _demand(participant.keys < participant.keys_max, Code.KEYS_QUOTA_EXCEEDED)
    old.retired_at = now
    return state.registry.add_key(q.participant, old.role, q.suite, q.public_key, old.lineage)


def _key_revoke(state: State, q: AdminRequest, _signers: tuple[int, int], now: int) -> None:
    _key_in_force(state, q, now).retired_at = now


def _key_in_force(state: State, q: AdminRequest, now: int) -> Key:
    _participant(state, q)
    key = state.registry.keys.get(q.key_id)
    if key is None:
        raise Refused(Code.KEY_NOT_FOUND)
    _demand(key.participant == q.participant, Code.ACCOUNT_NOT_OF_PARTICIPANT)
    _demand(key.in_force(now), Code.KEY_NOT_IN_FORCE)
    return key


def _account_open(state: State, q: AdminRequest, _signers: tuple[int, int], now: int) -> None:
    participant = _participant(state, q)
    _demand(q.ledger in state.terms, Code.LEDGER_NOT_FOUND)
    _demand(participant_of(q.subject) == q.participant, Code.ACCOUNT_NOT_OF_PARTICIPANT)
    _demand(second_word_of(q.subject) == 0, Code.ADMIN_FIELD_NOT_ALLOWED)
    _demand(state.is_here(q.subject), Code.WRONG_SHARD)
    _demand(q.subject not in state.accounts, Code.ACCOUNT_EXISTS)
    lineage, flags = 0, ISSUER
    if q.key_id or state.terms[q.ledger].issuer != q.participant:
        lineage, flags = _account_key(state, q, q.participant, now).lineage, 0
    _demand(participant.accounts < participant.accounts_max, Code.ACCOUNTS_QUOTA_EXCEEDED)
    _demand(len(state.accounts) < state.genesis.limits.accounts_max, Code.ACCOUNTS_FULL)
    participant.accounts += 1
    state.accounts[q.subject] = Account(
        q.subject, q.ledger, flags, key_lineage=lineage, code=q.role, user_data=q.limit_b, opened_at=now
    )


def _account_key(state: State, q: AdminRequest, participant: int, now: int) -> Key:
    key = state.registry.keys.get(q.key_id)
    if key is None:
        raise Refused(Code.KEY_NOT_FOUND)
    _demand(key.participant == participant and key.role == a.ACCOUNT_ROLE, Code.ROLE_NOT_ALLOWED)
    _demand(key.in_force(now), Code.KEY_NOT_IN_FORCE)
    return key


def _subject(state: State, q: AdminRequest) -> Account:
    """The account that types 6 to 9 and 11 are about."""
    account = state.accounts.get(q.subject)
    if account is None:
        raise Refused(Code.ACCOUNT_NOT_FOUND)
    _demand(account.ledger == q.ledger, Code.DEBIT_ACCOUNT_OTHER_LEDGER)
    _demand(not account.flags & CLOSED, Code.ACCOUNT_CLOSED)
    return account


def _account_limits(state: State, q: AdminRequest, signers: tuple[int, int], _now: int) -> None:
    _demand(state.is_here(q.subject), Code.WRONG_SHARD)
    terms = state.terms.get(q.ledger)
    signer = state.registry.keys[signers[0]]
    _demand(terms is not None and terms.issuer == signer.participant, Code.NOT_THE_ISSUER)
    account = _subject(state, q)
    account.credit_limit, account.balance_max = q.limit_a, q.limit_b


def _account_freeze(state: State, q: AdminRequest, _signers: tuple[int, int], _now: int) -> None:
    _demand(state.is_here(q.subject), Code.WRONG_SHARD)
    account = _subject(state, q)
    account.flags |= FROZEN
    account.frozen_until = min(q.limit_a, _U64_MAX)


def _account_unfreeze(state: State, q: AdminRequest, _signers: tuple[int, int], _now: int) -> None:
    _demand(state.is_here(q.subject), Code.WRONG_SHARD)
    account = _subject(state, q)
    account.flags &= ~FROZEN
    account.frozen_until = 0


def _account_close(state: State, q: AdminRequest, _signers: tuple[int, int], _now: int) -> None:
    _demand(state.is_here(q.subject), Code.WRONG_SHARD)
    account = _subject(state, q)
    _demand(account.debits_pending == account.credits_pending == 0, Code.ACCOUNT_HAS_PENDINGS)
    _demand(account.debits_posted == account.credits_posted, Code.ACCOUNT_NOT_EMPTY)
    account.flags |= CLOSED


def _quota_set(state: State, q: AdminRequest, _signers: tuple[int, int], _now: int) -> None:
    participant = _participant(state, q)
    _demand(max(q.limit_a, q.limit_b) <= _U64_MAX, Code.ADMIN_FIELD_NOT_ALLOWED)
    participant.accounts_max, participant.keys_max = q.limit_a, q.limit_b


def _account_key_set(state: State, q: AdminRequest, _signers: tuple[int, int], now: int) -> None:
    _demand(state.is_here(q.subject), Code.WRONG_SHARD)
    account = _subject(state, q)
    _demand(not account.flags & ISSUER, Code.ROLE_NOT_ALLOWED)
    account.key_lineage = _account_key(state, q, participant_of(q.subject), now).lineage


# Rules (spec 06, types 13 to 22).


def _speaks_for_subject(state: State, q: AdminRequest, signers: tuple[int, int]) -> None:
    _demand(state.is_here(q.subject), Code.WRONG_SHARD)
    account = _subject(state, q)
    _demand(account.key_lineage == state.registry.keys[signers[0]].lineage, Code.KEY_NOT_AUTHORISED)


def _quote_open(state: State, q: AdminRequest, signers: tuple[int, int], now: int) -> None:
    _speaks_for_subject(state, q, signers)
    _demand(q.limit_a > 0 and now < q.limit_b < 2**63, Code.ADMIN_FIELD_NOT_ALLOWED)
    _demand(state.rules.find(rules.QUOTE, q.subject, q.id) is None, Code.QUOTE_EXISTS)
    _demand(state.rules.trim_quotes(q.subject, now - 3600 * SECOND_NS) < 256, Code.RULES_FULL)
    rule = rules.Rule(rules.QUOTE, q.subject, q.id, limit_a=q.limit_a, until=q.limit_b, set_at=now, ledger=q.ledger)
    _demand(state.rules.put(rule), Code.RULES_FULL)


def _quote_close(state: State, q: AdminRequest, signers: tuple[int, int], _now: int) -> None:
    _speaks_for_subject(state, q, signers)
    quote = state.rules.find(rules.QUOTE, q.subject, q.limit_b)
    if quote is None:
        raise Refused(Code.QUOTE_NOT_FOUND)
    state.rules.remove(quote)


def _ledger_rules(state: State, q: AdminRequest, _signers: tuple[int, int], now: int) -> None:
    _demand(q.ledger in state.terms, Code.LEDGER_NOT_FOUND)
    _demand(q.limit_b < 2**62, Code.ADMIN_FIELD_NOT_ALLOWED)
    _demand(q.participant == 0 or q.participant in state.registry.participants, Code.PARTICIPANT_NOT_FOUND)
    fields = {"limit_a": q.limit_a, "until": q.limit_b, "set_at": now, "ledger": q.ledger, "bound": q.participant}
    _demand(state.rules.put(rules.Rule(rules.LEDGER, q.ledger, **fields)), Code.RULES_FULL)


def _end_hold(state: State, q: AdminRequest, _signers: tuple[int, int], now: int) -> None:
    _demand(state.is_here(q.subject), Code.WRONG_SHARD)
    account = state.accounts.get(q.subject)
    if account is None:
        raise Refused(Code.ACCOUNT_NOT_FOUND)
    _demand(account.ledger == q.ledger, Code.DEBIT_ACCOUNT_OTHER_LEDGER)
    hold = state.pendings.known.get((q.subject, q.limit_b))
    if hold is None or not hold.held_for:
        raise Refused(Code.HOLD_NOT_FOUND)
    _demand(hold.held and now < hold.due, Code.HOLD_OVER)
    if q.type == a.HOLD_RELEASE:
        release_hold(state, hold, now)
    else:
        reject_hold(state, hold, now)


def _breaker_set(state: State, q: AdminRequest, _signers: tuple[int, int], now: int) -> None:
    sound = (
        1 <= q.role <= 5 and 1 <= q.suite <= 3 and q.reason and q.subject and now < q.limit_b < 2**63
        and (q.suite == rules.SLOW) == (q.limit_a > 0) and q.limit_a < 2**32
        and (q.role in (rules.BY_ACCOUNT, rules.BY_REFERENCE, rules.BY_CORRIDOR) or q.subject < 2**32)
    )  # fmt: skip
    _demand(bool(sound), Code.ADMIN_FIELD_NOT_ALLOWED)
    _demand(q.role != rules.BY_LEDGER or q.subject in state.terms, Code.LEDGER_NOT_FOUND)
    fields = {
        "limit_a": q.limit_a,
        "until": q.limit_b,
        "set_at": now,
        "kind": q.role,
        "action": q.suite,
        "reason": q.reason,
    }
    rule = rules.Rule(rules.BREAKER, q.subject, **fields)
    if not state.rules.put(rule):
        for over in [each for each in state.rules.places if each and each.type == rules.BREAKER and each.until <= now]:
            state.rules.remove(over)
        _demand(state.rules.put(rule), Code.RULES_FULL)


def _breaker_clear(state: State, q: AdminRequest, _signers: tuple[int, int], _now: int) -> None:
    _demand(q.reason > 0, Code.ADMIN_FIELD_NOT_ALLOWED)
    breaker = state.rules.find(rules.BREAKER, q.subject, 0, q.role)
    if breaker is None:
        raise Refused(Code.BREAKER_NOT_FOUND)
    state.rules.remove(breaker)


def _ledger_tier(state: State, q: AdminRequest, _signers: tuple[int, int], now: int) -> None:
    _demand(q.ledger in state.terms, Code.LEDGER_NOT_FOUND)
    _demand(q.role > 0 and q.suite in (rules.REFUSES, rules.HOLDS), Code.ADMIN_FIELD_NOT_ALLOWED)
    fields = {"limit_a": q.limit_a, "limit_b": q.limit_b, "set_at": now, "ledger": q.ledger, "bound": q.key_id}
    rule = rules.Rule(rules.TIER, q.ledger << 32 | q.role, kind=q.role, action=q.suite, **fields)
    _demand(state.rules.put(rule), Code.RULES_FULL)


def _account_tier(state: State, q: AdminRequest, signers: tuple[int, int], now: int) -> None:
    _demand(state.is_here(q.subject), Code.WRONG_SHARD)
    terms = state.terms.get(q.ledger)
    signer = state.registry.keys[signers[0]]
    _demand(terms is not None and terms.issuer == signer.participant, Code.NOT_THE_ISSUER)
    account = _subject(state, q)
    _demand(not account.flags & ISSUER, Code.ROLE_NOT_ALLOWED)
    tier = state.rules.find(rules.TIER, q.ledger << 32 | q.role)
    _demand(q.role == 0 or tier is not None, Code.TIER_NOT_FOUND)
    counter = state.rules.find(rules.COUNTER, q.subject)
    if q.role and counter is None:
        _demand(state.rules.put(rules.Rule(rules.COUNTER, q.subject, set_at=now, ledger=q.ledger)), Code.RULES_FULL)
    elif not q.role and counter is not None:
        state.rules.remove(counter)
    account.tier = q.role


def _look(_state: State, q: AdminRequest, _signers: tuple[int, int], _now: int) -> None:
    _demand(q.reason > 0 and any(q.public_key), Code.ADMIN_FIELD_NOT_ALLOWED)


def _screened(state: State, q: AdminRequest, _signers: tuple[int, int], _now: int) -> None:
    case_fits = q.role in (1, 2) and (q.limit_a == 0) == (q.role == 1)
    named = any(q.public_key[:32]) and any(q.public_key[32:]) and q.key_id > 0
    _demand(case_fits and named and q.reason <= 10_000, Code.ADMIN_FIELD_NOT_ALLOWED)
    _demand(q.ledger in state.terms, Code.LEDGER_NOT_FOUND)
    _demand(state.is_here(q.subject), Code.WRONG_SHARD)


_RULES = {
    a.PARTICIPANT_ADD: _participant_add,
    a.KEY_ADD: _key_add,
    a.KEY_ROTATE: _key_rotate,
    a.KEY_REVOKE: _key_revoke,
    a.ACCOUNT_OPEN: _account_open,
    a.ACCOUNT_LIMITS: _account_limits,
    a.ACCOUNT_FREEZE: _account_freeze,
    a.ACCOUNT_UNFREEZE: _account_unfreeze,
    a.ACCOUNT_CLOSE: _account_close,
    a.QUOTA_SET: _quota_set,
    a.ACCOUNT_KEY_SET: _account_key_set,
    a.QUOTE_OPEN: _quote_open,
    a.QUOTE_CLOSE: _quote_close,
    a.LEDGER_RULES: _ledger_rules,
    a.HOLD_RELEASE: _end_hold,
    a.HOLD_REJECT: _end_hold,
    a.BREAKER_SET: _breaker_set,
    a.BREAKER_CLEAR: _breaker_clear,
    a.LEDGER_TIER: _ledger_tier,
    a.ACCOUNT_TIER: _account_tier,
    a.LOOK: _look,
    a.SCREENED: _screened,
}
