"""Administration: participants, keys, accounts (spec 06)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from native.codes import ResultCode as Code
from tests.model.accounts import CLOSED, FROZEN, ISSUER, Account, participant_of, second_word_of
from tests.model.genesis import SECOND_NS
from tests.model.hashes import hasher, prefix
from tests.model.points import key_acceptable
from tests.model.registry import Key, Participant
from tests.model.window import Entry

if TYPE_CHECKING:
    from tests.model.state import State

__all__ = [
    "ACCOUNT_CLOSE", "ACCOUNT_FREEZE", "ACCOUNT_KEY_SET", "ACCOUNT_LIMITS", "ACCOUNT_OPEN", "ACCOUNT_UNFREEZE", "KEY_ADD",
    "KEY_REVOKE", "KEY_ROTATE", "NEW_KEY", "PARTICIPANT_ADD", "QUOTA_SET", "AdminAnswer", "AdminRequest", "decide_admin",
]  # fmt: skip

(PARTICIPANT_ADD, KEY_ADD, KEY_ROTATE, KEY_REVOKE, ACCOUNT_OPEN, ACCOUNT_LIMITS, ACCOUNT_FREEZE, ACCOUNT_UNFREEZE,
 ACCOUNT_CLOSE, QUOTA_SET, ACCOUNT_KEY_SET, MANDATE) = range(1, 13)  # fmt: skip
ISSUER_ROLE, ACCOUNT_ROLE, REGISTRAR, OPERATOR, SUPERVISOR, BLOCK, SCREENING = range(1, 8)
_BY_REGISTRAR = (ISSUER_ROLE, ACCOUNT_ROLE, REGISTRAR)
_BY_OPERATOR = (OPERATOR, SUPERVISOR, BLOCK, SCREENING)

NEW_KEY = 0xFFFFFFFF  # as second signer: the public key in the body
_WINDOW_S = 3600
_WINDOW_NS = _WINDOW_S * SECOND_NS
_ID_MAX = 2**128 - 1
_U64_MAX = 2**64 - 1

# The fields of each type besides id, type, expires_at and valid_for_s; all others are zero.
_USES = {
    PARTICIPANT_ADD: {"participant", "subject", "role", "limit_a", "limit_b", "suite", "public_key"},
    KEY_ADD: {"participant", "suite", "public_key", "role"},
    KEY_ROTATE: {"participant", "key_id", "suite", "public_key"},
    KEY_REVOKE: {"participant", "key_id"},
    ACCOUNT_OPEN: {"participant", "subject", "ledger", "key_id", "role", "limit_b"},
    ACCOUNT_LIMITS: {"subject", "ledger", "limit_a", "limit_b"},
    ACCOUNT_FREEZE: {"subject", "ledger", "reason", "limit_a"},
    ACCOUNT_UNFREEZE: {"subject", "ledger", "reason"},
    ACCOUNT_CLOSE: {"subject", "ledger", "reason"},
    QUOTA_SET: {"participant", "limit_a", "limit_b"},
    ACCOUNT_KEY_SET: {"subject", "ledger", "key_id"},
}
# State refusals that may still become a yes: they burn nothing and have no leaf (ADMIN-3).
_OPEN = (
    Code.LEDGER_NOT_FOUND, Code.WRONG_SHARD, Code.KEY_NOT_FOUND, Code.ACCOUNTS_FULL, Code.ADMIN_FIELD_NOT_ALLOWED,
)  # fmt: skip
_OPTIONAL = (
    "subject", "reason", "participant", "ledger", "key_id", "suite", "role", "limit_a", "limit_b", "public_key",
)  # fmt: skip


@dataclass(slots=True)
class AdminRequest:
    """The body of 160 bytes."""

    id: int = 0
    subject: int = 0
    type: int = 0
    reason: int = 0
    participant: int = 0
    ledger: int = 0
    key_id: int = 0
    expires_at: int = 0
    valid_for_s: int = 0
    suite: int = 0
    role: int = 0
    limit_a: int = 0
    limit_b: int = 0
    public_key: bytes = bytes(64)

    def pack(self) -> bytes:
        return (
            self.id.to_bytes(16, "little")
            + self.subject.to_bytes(16, "little")
            + struct.pack("<HHIII", self.type, self.reason, self.participant, self.ledger, self.key_id)
            + struct.pack("<QIHH", self.expires_at, self.valid_for_s, self.suite, self.role)
            + self.limit_a.to_bytes(16, "little")
            + self.limit_b.to_bytes(16, "little")
            + self.public_key
        )

    @classmethod
    def unpack(cls, body: bytes) -> AdminRequest:
        id_, subject = int.from_bytes(body[:16], "little"), int.from_bytes(body[16:32], "little")
        limits = int.from_bytes(body[64:80], "little"), int.from_bytes(body[80:96], "little")
        return cls(id_, subject, *struct.unpack_from("<HHIIIQIHH", body, 32), *limits, body[96:160])


class AdminAnswer(NamedTuple):
    """As of a transfer, and the id of the key that was registered, if any."""

    code: Code
    first_code: int
    time: int
    assigned: int


class _Refused(Exception):
    """A state code, thrown from the rule that found it."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


def decide_admin(
    state: State, body: bytes, signers: tuple[int, int], verdicts: tuple[int, int], now: int
) -> AdminAnswer:
    """Answer one admin request (ADMIN-1)."""
    request = AdminRequest.unpack(body)
    genesis = state.genesis
    digest = hasher(genesis.suite)(prefix(genesis.suite, genesis.genesis_hash, "account") + body)
    if code := _malformed(request):
        return AdminAnswer(code, 0, now, 0)
    first = state.registry.keys.get(signers[0])
    window_key = (first.participant << 96, 0, request.id) if first else None
    known = state.admin_ids.entries.get(window_key) if window_key else None
    if known and known.digest == digest:
        code = Code.EXISTS if known.code == Code.CREATED else Code.ID_ALREADY_FAILED
        return AdminAnswer(code, known.code, known.time, 0)
    if code := _signers_refused(state, request, signers, verdicts, now):
        if code == Code.KEY_NOT_IN_FORCE:
            state.leaf(digest, now, code)
        return AdminAnswer(code, 0, now, 0)
    assert window_key is not None
    if known:
        state.leaf(digest, now, Code.EXISTS_WITH_DIFFERENT_CONTENT)
        return AdminAnswer(Code.EXISTS_WITH_DIFFERENT_CONTENT, 0, now, 0)
    if code := _time_refused(request, now):
        if code == Code.EXPIRED:
            state.leaf(digest, now, code)
        return AdminAnswer(code, 0, now, 0)
    assigned = 0
    try:
        assigned = _RULES[request.type](state, request, signers, now) or 0
        code = Code.CREATED
    except _Refused as refused:
        code = refused.code
    if code not in _OPEN_AT_STATE:
        state.admin_ids.add(window_key, Entry(body, digest, code, now), request.expires_at + _WINDOW_NS)
        state.leaf(digest, now, code)
    return AdminAnswer(code, 0, now, assigned)


# Refusals of the state after which the same bytes may still be done: they burn nothing (ADMIN-3).
_OPEN_AT_STATE = {
    Code.LEDGER_NOT_FOUND, Code.WRONG_SHARD, Code.KEY_NOT_FOUND, Code.ACCOUNTS_FULL, Code.ADMIN_FIELD_NOT_ALLOWED,
}  # fmt: skip


def _malformed(request: AdminRequest) -> Code | None:
    if request.type == MANDATE:
        return Code.MANDATE_UNSUPPORTED
    if request.type not in _USES:
        return Code.ADMIN_TYPE_UNKNOWN
    if request.id == 0:
        return Code.ID_MUST_NOT_BE_ZERO
    if request.id == _ID_MAX:
        return Code.ID_MUST_NOT_BE_MAX
    for field in _OPTIONAL:
        value = getattr(request, field)
        if field not in _USES[request.type] and (any(value) if isinstance(value, bytes) else value):
            return Code.ADMIN_FIELD_NOT_ALLOWED
    if not 1 <= request.expires_at < 2**63:
        return Code.EXPIRES_AT_OUT_OF_RANGE
    if request.valid_for_s == 0:
        return Code.VALID_FOR_MUST_NOT_BE_ZERO
    if request.valid_for_s > _WINDOW_S:
        return Code.VALID_FOR_EXCEEDS_WINDOW
    return None


def _time_refused(request: AdminRequest, now: int) -> Code | None:
    if now > request.expires_at + _WINDOW_NS:
        return Code.TOO_OLD
    if now > request.expires_at:
        return Code.EXPIRED
    if now < request.expires_at - request.valid_for_s * SECOND_NS:
        return Code.TOO_EARLY
    return None


# Who signs.


def _two_needed(request: AdminRequest) -> bool:
    if request.type == KEY_ADD:
        return request.role in (ISSUER_ROLE, OPERATOR, SUPERVISOR, BLOCK)
    return request.type in (KEY_ROTATE, ACCOUNT_FREEZE, ACCOUNT_UNFREEZE, ACCOUNT_CLOSE, ACCOUNT_KEY_SET)


def _signers_refused(
    state: State, request: AdminRequest, signers: tuple[int, int], verdicts: tuple[int, int], now: int
) -> Code | None:
    if code := _signer_refused(state, signers[0], verdicts[0], now):
        return code
    second_is_new_key = request.type == KEY_ROTATE and signers[1] == NEW_KEY
    if not _two_needed(request):
        if signers[1] != 0:
            return Code.ADMIN_FIELD_NOT_ALLOWED
    elif signers[1] == 0:
        return Code.SECOND_SIGNATURE_REQUIRED
    elif second_is_new_key:
        if not verdicts[1]:
            return Code.INVALID_SIGNATURE
    elif code := _signer_refused(state, signers[1], verdicts[1], now):
        return code
    keys = state.registry.keys
    first, second = keys[signers[0]], None if second_is_new_key else keys.get(signers[1])
    if second and second.lineage == first.lineage:
        return Code.SIGNERS_MUST_DIFFER
    allowed = _roles_allow(request, first, second)
    return None if allowed else Code.SIGNER_ROLE_NOT_ALLOWED


def _signer_refused(state: State, signer: int, verdict: int, now: int) -> Code | None:
    key = state.registry.keys.get(signer)
    if key is None:
        return Code.KEY_NOT_FOUND
    if not verdict:
        return Code.INVALID_SIGNATURE
    return None if key.in_force(now) else Code.KEY_NOT_IN_FORCE


def _roles_allow(request: AdminRequest, first: Key, second: Key | None) -> bool:
    """The columns `signer 1` and `signer 2`; `second` is None where none is demanded, or the new key signs (ADMIN-6)."""
    registrar = first.role == REGISTRAR and first.participant == request.participant
    if request.type in (PARTICIPANT_ADD, QUOTA_SET):
        return first.role == OPERATOR
    if request.type == KEY_ADD:
        by_registrar = registrar and request.role not in _BY_OPERATOR
        by_operator = first.role == OPERATOR and request.role not in _BY_REGISTRAR
        return (by_registrar or by_operator) and (second is None or second.role == OPERATOR)
    if request.type == KEY_ROTATE:
        if second is None:
            return first.id == request.key_id
        return registrar and second.role == OPERATOR
    if request.type == KEY_REVOKE:
        return registrar or first.role == OPERATOR
    if request.type == ACCOUNT_OPEN:
        return registrar
    if request.type == ACCOUNT_LIMITS:
        return first.role == ISSUER_ROLE
    assert second is not None
    if request.type == ACCOUNT_KEY_SET:
        of_account = first.role == REGISTRAR and first.participant == participant_of(request.subject)
        return of_account and second.role == OPERATOR
    return first.role in (OPERATOR, SUPERVISOR) and second.role in (OPERATOR, SUPERVISOR)


# State rules by type (ADMIN-2): refuse, or take effect and return the id of the new key.


def _demand(condition: bool, code: Code) -> None:
    if not condition:
        raise _Refused(code)


def _participant_add(state: State, q: AdminRequest, _signers: tuple[int, int], _now: int) -> int:
    _demand(q.participant not in (0, 0xFFFFFFFF), Code.ADMIN_FIELD_NOT_ALLOWED)
    _demand(max(q.limit_a, q.limit_b) <= _U64_MAX, Code.ADMIN_FIELD_NOT_ALLOWED)
    _demand(q.participant not in state.registry.participants, Code.PARTICIPANT_EXISTS)
    _demand_key(state, q)
    state.registry.add_participant(Participant(q.participant, q.role, q.limit_a, q.limit_b, q.subject))
    return state.registry.add_key(q.participant, REGISTRAR, q.suite, q.public_key)


def _demand_key(state: State, q: AdminRequest) -> None:
    _demand(q.suite in (1, 2), Code.SUITE_UNSUPPORTED)
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
        raise _Refused(Code.PARTICIPANT_NOT_FOUND)
    return participant


def _role_allowed(state: State, role: int, participant: Participant) -> bool:
    if role in (ACCOUNT_ROLE, REGISTRAR):
        return True
    if role == ISSUER_ROLE:
        return any(terms.issuer == participant.number for terms in state.terms.values())
    return role in _BY_OPERATOR and bool(participant.roles >> role & 1)


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
        raise _Refused(Code.KEY_NOT_FOUND)
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
        raise _Refused(Code.KEY_NOT_FOUND)
    _demand(key.participant == participant and key.role == ACCOUNT_ROLE, Code.ROLE_NOT_ALLOWED)
    _demand(key.in_force(now), Code.KEY_NOT_IN_FORCE)
    return key


def _subject(state: State, q: AdminRequest) -> Account:
    """The account that types 6 to 9 and 11 are about."""
    account = state.accounts.get(q.subject)
    if account is None:
        raise _Refused(Code.ACCOUNT_NOT_FOUND)
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


_RULES = {
    PARTICIPANT_ADD: _participant_add,
    KEY_ADD: _key_add,
    KEY_ROTATE: _key_rotate,
    KEY_REVOKE: _key_revoke,
    ACCOUNT_OPEN: _account_open,
    ACCOUNT_LIMITS: _account_limits,
    ACCOUNT_FREEZE: _account_freeze,
    ACCOUNT_UNFREEZE: _account_unfreeze,
    ACCOUNT_CLOSE: _account_close,
    QUOTA_SET: _quota_set,
    ACCOUNT_KEY_SET: _account_key_set,
}
