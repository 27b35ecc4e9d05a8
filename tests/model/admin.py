"""Administration: who may ask for what, and in which order a request is refused (ADMIN-1, ADMIN-3, ADMIN-6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model.accounts import participant_of
from tests.model.admin_request import AdminRequest
from tests.model.admin_rules import Refused, take_effect
from tests.model.genesis import SECOND_NS
from tests.model.hashes import hasher, prefix
from tests.model.window import Entry

if TYPE_CHECKING:
    from tests.model.registry import Key
    from tests.model.state import State

__all__ = ["AdminAnswer", "decide_admin"]

_WINDOW_S = 3600
_WINDOW_NS = _WINDOW_S * SECOND_NS
_ID_MAX = 2**128 - 1

# The fields of each type besides id, type, expires_at and valid_for_s; all others are zero.
_USES = {
    a.PARTICIPANT_ADD: {"participant", "subject", "role", "limit_a", "limit_b", "suite", "public_key"},
    a.KEY_ADD: {"participant", "suite", "public_key", "role"},
    a.KEY_ROTATE: {"participant", "key_id", "suite", "public_key"},
    a.KEY_REVOKE: {"participant", "key_id"},
    a.ACCOUNT_OPEN: {"participant", "subject", "ledger", "key_id", "role", "limit_b"},
    a.ACCOUNT_LIMITS: {"subject", "ledger", "limit_a", "limit_b"},
    a.ACCOUNT_FREEZE: {"subject", "ledger", "reason", "limit_a"},
    a.ACCOUNT_UNFREEZE: {"subject", "ledger", "reason"},
    a.ACCOUNT_CLOSE: {"subject", "ledger", "reason"},
    a.QUOTA_SET: {"participant", "limit_a", "limit_b"},
    a.ACCOUNT_KEY_SET: {"subject", "ledger", "key_id"},
    a.QUOTE_OPEN: {"subject", "ledger", "limit_a", "limit_b"},
    a.QUOTE_CLOSE: {"subject", "ledger", "limit_b"},
    a.LEDGER_RULES: {"ledger", "participant", "limit_a", "limit_b"},
    a.HOLD_RELEASE: {"subject", "ledger", "reason", "limit_b"},
    a.HOLD_REJECT: {"subject", "ledger", "reason", "limit_b"},
    a.BREAKER_SET: {"subject", "role", "suite", "reason", "limit_a", "limit_b"},
    a.BREAKER_CLEAR: {"subject", "role", "reason"},
    a.LEDGER_TIER: {"ledger", "role", "suite", "key_id", "limit_a", "limit_b"},
    a.ACCOUNT_TIER: {"subject", "ledger", "role"},
    a.LOOK: {"subject", "ledger", "participant", "reason", "role", "public_key"},
    a.SCREENED: {"subject", "ledger", "participant", "reason", "role", "key_id", "limit_a", "public_key"},
}
_OPTIONAL = (
    "subject", "reason", "participant", "ledger", "key_id", "suite", "role", "limit_a", "limit_b", "public_key",
)  # fmt: skip


class AdminAnswer(NamedTuple):
    """As of a transfer, and the id of the key that was registered, if any."""

    code: Code
    first_code: int
    time: int
    assigned: int


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
        # A repeat also hears the key id that the first answer gave out.
        assigned = [key.id for key in state.registry.keys.values() if key.public_key == request.public_key]
        return AdminAnswer(code, known.code, known.time, assigned[0] if assigned and code == Code.EXISTS else 0)
    if code := _signers_refused(state, request, signers, verdicts, now):
        if code == Code.KEY_NOT_IN_FORCE:
            state.leaf(digest, now, code)
        return AdminAnswer(code, 0, now, 0)
    assert window_key is not None
    if known:
        return AdminAnswer(Code.EXISTS_WITH_DIFFERENT_CONTENT, 0, now, 0)
    if code := _time_refused(request, now):
        if code == Code.EXPIRED:
            state.leaf(digest, now, code)
        return AdminAnswer(code, 0, now, 0)
    assigned = 0
    try:
        assigned = take_effect(state, request, signers, now)
        code = Code.CREATED
    except Refused as refused:
        code = refused.code
    if code not in _OPEN_AT_STATE:
        state.admin_ids.add(window_key, Entry(body, digest, code, now), request.expires_at + _WINDOW_NS)
        state.leaf(digest, now, code)
    return AdminAnswer(code, 0, now, assigned)


# Refusals of the state after which the same bytes may still be done: they burn nothing (ADMIN-3).
_OPEN_AT_STATE = {
    Code.LEDGER_NOT_FOUND, Code.WRONG_SHARD, Code.KEY_NOT_FOUND, Code.ACCOUNTS_FULL, Code.ADMIN_FIELD_NOT_ALLOWED,
    Code.KEY_NOT_AUTHORISED, Code.RULES_FULL,
}  # fmt: skip


def _malformed(request: AdminRequest) -> Code | None:
    if request.type == a.MANDATE:
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
    if request.type == a.KEY_ADD:
        return request.role in (a.ISSUER_ROLE, a.OPERATOR, a.SUPERVISOR, a.BLOCK)
    return request.type in (
        a.KEY_ROTATE, a.ACCOUNT_FREEZE, a.ACCOUNT_UNFREEZE, a.ACCOUNT_CLOSE, a.ACCOUNT_KEY_SET, a.LEDGER_RULES,
        a.HOLD_RELEASE, a.HOLD_REJECT, a.BREAKER_SET, a.BREAKER_CLEAR, a.LEDGER_TIER,
    )  # fmt: skip


def _signers_refused(
    state: State, request: AdminRequest, signers: tuple[int, int], verdicts: tuple[int, int], now: int
) -> Code | None:
    if code := _signer_refused(state, signers[0], verdicts[0], now):
        return code
    second_is_new_key = request.type == a.KEY_ROTATE and signers[1] == a.NEW_KEY
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
    if not _roles_allow(request, first, second):
        return Code.SIGNER_ROLE_NOT_ALLOWED
    if request.type == a.HOLD_RELEASE and second and second.participant == first.participant:
        return Code.SIGNERS_MUST_DIFFER
    return None


def _signer_refused(state: State, signer: int, verdict: int, now: int) -> Code | None:
    key = state.registry.keys.get(signer)
    if key is None:
        return Code.KEY_NOT_FOUND
    if not verdict:
        return Code.INVALID_SIGNATURE
    return None if key.in_force(now) else Code.KEY_NOT_IN_FORCE


def _roles_allow(request: AdminRequest, first: Key, second: Key | None) -> bool:
    """The columns `signer 1` and `signer 2`; `second` is None where none is demanded, or the new key signs (ADMIN-6)."""
    registrar = first.role == a.REGISTRAR and first.participant == request.participant
    if request.type in (a.PARTICIPANT_ADD, a.QUOTA_SET):
        return first.role == a.OPERATOR
    if request.type == a.KEY_ADD:
        by_registrar = registrar and request.role not in a.BY_OPERATOR
        by_operator = first.role == a.OPERATOR and request.role not in a.BY_REGISTRAR
        return (by_registrar or by_operator) and (second is None or second.role == a.OPERATOR)
    if request.type == a.KEY_ROTATE:
        if second is None:
            return first.id == request.key_id
        return registrar and second.role == a.OPERATOR
    if request.type == a.KEY_REVOKE:
        return registrar or first.role == a.OPERATOR
    if request.type == a.ACCOUNT_OPEN:
        return registrar
    if request.type in (a.ACCOUNT_LIMITS, a.ACCOUNT_TIER):
        return first.role == a.ISSUER_ROLE
    if request.type in (a.QUOTE_OPEN, a.QUOTE_CLOSE):
        return first.role == a.ACCOUNT_ROLE
    if request.type == a.LOOK:
        return first.role == a.SUPERVISOR
    if request.type == a.SCREENED:
        return first.role == a.SCREENING and first.participant == request.participant
    assert second is not None
    if request.type == a.ACCOUNT_KEY_SET:
        of_account = first.role == a.REGISTRAR and first.participant == participant_of(request.subject)
        return of_account and second.role == a.OPERATOR
    roles = sorted((first.role, second.role))
    if request.type in (a.LEDGER_RULES, a.LEDGER_TIER):
        return roles == [a.OPERATOR, a.SUPERVISOR]
    if request.type == a.HOLD_RELEASE:
        return roles == [a.SUPERVISOR, a.SUPERVISOR]
    if request.type == a.HOLD_REJECT:
        return roles in ([a.OPERATOR, a.SUPERVISOR], [a.SUPERVISOR, a.SUPERVISOR])
    return first.role in (a.OPERATOR, a.SUPERVISOR) and second.role in (a.OPERATOR, a.SUPERVISOR)
