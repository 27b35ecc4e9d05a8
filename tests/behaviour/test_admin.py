"""Administration: who may sign what, in which order refusals are looked for, and what each request changes (06)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.admin import AdminRequest, SignedAdmin
from engine.codes import ResultCode as Code
from engine.development import development_network
from engine.genesis import GenesisLimits, padded_key
from engine.record import channel_account_id, ordinary_account_id, suspense_account_id
from engine.types import AccountFlag, AdminType, Role, SigningSuite, TransferKind
from tests.behaviour.domain_on_log import (
    BANK_A,
    BANK_B,
    ISSUER,
    MINUTE,
    OPERATOR,
    SECOND,
    DomainOnLog,
    new_public_key,
)

T = AdminType


@pytest.fixture
def domain() -> DomainOnLog:
    return DomainOnLog()


@pytest.fixture
def ready(domain: DomainOnLog) -> DomainOnLog:
    domain.issuer, domain.a, domain.b = domain.ready()
    return domain


def ask(domain: DomainOnLog, kind: AdminType, *keys: object, new_key: bool = False, **fields: object) -> int:
    request = domain.admin(kind, **fields)
    return domain.administer([domain.signed_admin(request, *keys, new_key=new_key)])[0]


def operators(domain: DomainOnLog) -> tuple:
    return domain.key(Role.OPERATOR, 0), domain.key(Role.OPERATOR, 1)


def registrar(domain: DomainOnLog, participant: int) -> object:
    return domain.key(Role.REGISTRAR, 0, participant)


def add_bank(domain: DomainOnLog, number: int = 77, accounts_max: int = 10, keys_max: int = 10, role: int = 0) -> tuple:
    """Return the code, and the registrar that the new participant begins with, with its key id."""
    key, public_key = new_public_key(b"bank%d" % number, number, Role.REGISTRAR)
    code = ask(
        domain, T.PARTICIPANT_ADD, operators(domain)[0], participant=number, subject=AdminRequest.name_of_subject("BANKCNBJ"),
        role=role, limit_a=accounts_max, limit_b=keys_max, suite=1, public_key=public_key,
    )  # fmt: skip
    return code, replace(key, key_id=int(domain.admin_outcome.assigned[0]))


def test_the_genesis_registers_its_keys_and_their_participants(domain: DomainOnLog) -> None:
    """BYTES-8, ADMIN-7: key ids in order, role bits, quotas without a bound."""
    parties = domain.machines[0x100].parties
    assert [key.id for key in parties.keys] == list(range(1, len(domain.domain.keys) + 1))
    assert [each.number for each in parties.participants] == [OPERATOR, ISSUER, BANK_A, BANK_B]
    operator = parties.participants[0]
    assert operator.roles == sum(1 << role for role in (3, 4, 5, 6, 7))
    assert (operator.accounts_max, operator.keys_max, operator.keys) == (2**32 - 1, 2**32 - 1, 7)
    assert all(key.lineage == key.id and key.retired_at == 0 for key in parties.keys)


def test_a_bank_joins_and_its_account_can_pay(ready: DomainOnLog) -> None:
    """Types 1, 2 and 5, then a transfer signed with a key that did not exist before."""
    code, own_registrar = add_bank(ready)
    assert code == Code.CREATED
    parties = ready.machines[0x100].parties
    assert parties.participant(77).name == b"BANKCNBJ".ljust(16, b"\0")
    key, public_key = new_public_key(b"pay", 77, Role.ACCOUNT)
    assert ask(ready, T.KEY_ADD, own_registrar, participant=77, suite=1, public_key=public_key, role=Role.ACCOUNT) == 1
    key = replace(key, key_id=int(ready.admin_outcome.assigned[0]))
    account = ready.account_on(77, 0)
    fields = {"participant": 77, "subject": account, "ledger": 1, "key_id": key.key_id, "role": 9, "limit_b": 5}
    assert ask(ready, T.ACCOUNT_OPEN, own_registrar, **fields) == Code.CREATED
    leaf = ready.machines[0x100].find_account(account)
    assert (leaf.code, leaf.user_data, leaf.key_lineage, leaf.flags) == (9, 5, key.key_id, 0)
    payer = ready.key(Role.ACCOUNT, 0, BANK_A)
    back = ready.transfer(account, ready.a, 40, key)
    assert ready.submit([ready.transfer(ready.a, account, 100, payer), back], [payer, key]) == [1, 1]
    assert parties.participant(77).accounts == 1
    ready.seal()
    ready.check()
    ready.replayed(0x100, audit=True)


def test_an_admin_request_sent_again_gets_its_first_answer(ready: DomainOnLog) -> None:
    """ADMIN-1: done or refused, with the first code and time; another content under the id is named."""
    request = ready.admin(T.QUOTA_SET, participant=BANK_A, limit_a=5, limit_b=6)
    refused = ready.admin(T.QUOTA_SET, participant=55, limit_a=5, limit_b=6)
    one, other = operators(ready)
    first = ready.now
    assert ready.administer([ready.signed_admin(request, one), ready.signed_admin(refused, one)]) == [
        Code.CREATED, Code.PARTICIPANT_NOT_FOUND
    ]  # fmt: skip
    ready.now += SECOND
    again = [ready.signed_admin(request, one), ready.signed_admin(refused, other)]
    assert ready.administer(again) == [Code.EXISTS, Code.ID_ALREADY_FAILED]
    assert ready.admin_outcome.first_codes.tolist() == [Code.CREATED, Code.PARTICIPANT_NOT_FOUND]
    assert ready.admin_outcome.times.tolist() == [first, first]
    changed = ready.signed_admin(replace(request, limit_a=9), one)
    assert ready.administer([changed]) == [Code.EXISTS_WITH_DIFFERENT_CONTENT]
    ready.now += 2 * MINUTE
    assert ready.administer(again) == [Code.EXISTS, Code.ID_ALREADY_FAILED]


def test_an_admin_id_is_forgotten_when_it_can_no_longer_be_valid(ready: DomainOnLog) -> None:
    """ADMIN-3: kept until expiry plus an hour; afterwards the request is too old, never new."""
    machine = ready.machines[0x100]
    empty = machine.subtree_roots()["admin"]
    request = ready.signed_admin(
        ready.admin(T.QUOTA_SET, participant=BANK_A, limit_a=5, limit_b=6), operators(ready)[0]
    )
    ready.administer([request])
    kept = machine.subtree_roots()["admin"]
    assert kept != empty
    ready.now += 3600 * SECOND
    ready.seal()
    assert ready.administer([request]) == [Code.EXISTS]
    ready.now += MINUTE + 2 * SECOND
    assert ready.administer([request]) == [Code.TOO_OLD]


def test_shape_comes_before_everything(ready: DomainOnLog) -> None:
    """ADMIN-1, first part, in its order: each mended request shows the next refusal."""
    nobody = lambda request: SignedAdmin(request.encode(), (0, 0), (bytes(64), bytes(64)))  # noqa: E731
    broken = AdminRequest(id=0, type=99, expires_at=0, valid_for_s=0, participant=BANK_A, reason=1)
    steps = [
        (Code.ADMIN_TYPE_UNKNOWN, {"type": T.MANDATE}),
        (Code.MANDATE_UNSUPPORTED, {"type": T.QUOTA_SET}),
        (Code.ID_MUST_NOT_BE_ZERO, {"id": 2**128 - 1}),
        (Code.ID_MUST_NOT_BE_MAX, {"id": 5}),
        (Code.ADMIN_FIELD_NOT_ALLOWED, {"reason": 0}),
        (Code.EXPIRES_AT_OUT_OF_RANGE, {"expires_at": 2**63}),
        (Code.EXPIRES_AT_OUT_OF_RANGE, {"expires_at": ready.now}),
        (Code.VALID_FOR_MUST_NOT_BE_ZERO, {"valid_for_s": 3601}),
        (Code.VALID_FOR_EXCEEDS_WINDOW, {"valid_for_s": 3600}),
        (Code.KEY_NOT_FOUND, {}),
    ]
    for code, mend in steps:
        assert ready.administer([nobody(broken)]) == [code]
        broken = replace(broken, **{name: int(value) for name, value in mend.items()})


@pytest.mark.parametrize("kind", [kind for kind in T if kind is not T.MANDATE])
def test_a_field_that_a_type_does_not_use_is_refused(ready: DomainOnLog, kind: AdminType) -> None:
    used = {
        T.PARTICIPANT_ADD: "participant subject role limit_a limit_b suite public_key",
        T.KEY_ADD: "participant suite public_key role", T.KEY_ROTATE: "participant key_id suite public_key",
        T.KEY_REVOKE: "participant key_id", T.ACCOUNT_OPEN: "participant subject ledger key_id role limit_b",
        T.ACCOUNT_LIMITS: "subject ledger limit_a limit_b", T.ACCOUNT_FREEZE: "subject ledger reason limit_a",
        T.ACCOUNT_UNFREEZE: "subject ledger reason", T.ACCOUNT_CLOSE: "subject ledger reason",
        T.QUOTA_SET: "participant limit_a limit_b", T.ACCOUNT_KEY_SET: "subject ledger key_id",
        T.QUOTE_OPEN: "subject ledger limit_a limit_b", T.QUOTE_CLOSE: "subject ledger limit_b",
        T.LEDGER_RULES: "ledger participant limit_a limit_b", T.HOLD_RELEASE: "subject ledger reason limit_b",
        T.HOLD_REJECT: "subject ledger reason limit_b", T.BREAKER_SET: "subject role suite reason limit_a limit_b",
        T.BREAKER_CLEAR: "subject role reason", T.LEDGER_TIER: "ledger role suite key_id limit_a limit_b",
        T.ACCOUNT_TIER: "subject ledger role", T.LOOK: "subject ledger participant reason role public_key",
        T.SCREENING: "subject ledger participant reason role key_id limit_a public_key",
    }[kind].split()  # fmt: skip
    every = [
        "subject",
        "reason",
        "participant",
        "ledger",
        "key_id",
        "suite",
        "role",
        "limit_a",
        "limit_b",
        "public_key",
    ]
    for name in every:
        request = ready.admin(kind, **{name: b"\1" * 64 if name == "public_key" else 1})
        code = ready.administer([SignedAdmin(request.encode(), (0, 0), (bytes(64), bytes(64)))])[0]
        assert (code == Code.ADMIN_FIELD_NOT_ALLOWED) == (name not in used)


def test_signers_are_checked_in_their_order(ready: DomainOnLog) -> None:
    """ADMIN-1: key known, signature, in force; the second demanded, then the same; they differ; their roles."""
    one, other = operators(ready)
    watch, watch_too = ready.key(Role.SUPERVISOR, 0), ready.key(Role.SUPERVISOR, 1)
    request = ready.admin(T.ACCOUNT_FREEZE, subject=ready.a, ledger=1)
    signed = ready.signed_admin(request, watch, one)
    ghost = replace(signed, key_ids=(99, one.key_id))
    forged = replace(signed, signatures=(signed.signatures[1], signed.signatures[0]))
    alone = ready.signed_admin(request, watch)
    second_ghost = replace(signed, key_ids=(watch.key_id, 99))
    second_forged = replace(signed, signatures=(signed.signatures[0], bytes(64)))
    same = ready.signed_admin(request, watch, watch)
    teller = ready.signed_admin(request, watch, ready.key(Role.ACCOUNT, 0, BANK_A))
    codes = ready.administer([ghost, forged, alone, second_ghost, second_forged, same, teller, signed])
    assert codes == [
        Code.KEY_NOT_FOUND, Code.INVALID_SIGNATURE, Code.SECOND_SIGNATURE_REQUIRED, Code.KEY_NOT_FOUND,
        Code.INVALID_SIGNATURE, Code.SIGNERS_MUST_DIFFER, Code.SIGNER_ROLE_NOT_ALLOWED, Code.CREATED,
    ]  # fmt: skip
    assert ask(ready, T.QUOTA_SET, one, other, participant=BANK_A) == Code.ADMIN_FIELD_NOT_ALLOWED
    assert ask(ready, T.KEY_REVOKE, one, participant=OPERATOR, key_id=watch_too.key_id) == Code.CREATED
    ready.now += SECOND
    assert ask(ready, T.ACCOUNT_UNFREEZE, watch_too, one, subject=ready.a, ledger=1) == Code.KEY_NOT_IN_FORCE
    assert ask(ready, T.ACCOUNT_UNFREEZE, one, watch_too, subject=ready.a, ledger=1) == Code.KEY_NOT_IN_FORCE


def test_time_is_asked_after_the_signers(ready: DomainOnLog) -> None:
    one = operators(ready)[0]
    fields = {"participant": BANK_A, "limit_a": 1, "limit_b": 1}
    assert ask(ready, T.QUOTA_SET, one, expires_at=ready.now - 1, **fields) == Code.EXPIRED
    assert ask(ready, T.QUOTA_SET, one, expires_at=ready.now - 3600 * SECOND - 1, **fields) == Code.TOO_OLD
    assert ask(ready, T.QUOTA_SET, one, expires_at=ready.now + 121 * SECOND, **fields) == Code.TOO_EARLY
    assert ask(ready, T.QUOTA_SET, one, expires_at=ready.now + 120 * SECOND, **fields) == Code.CREATED


def test_participant_add_refuses_in_its_order(ready: DomainOnLog) -> None:
    """ADMIN-2, type 1."""
    one = operators(ready)[0]
    _, public_key = new_public_key(b"p", 78, Role.REGISTRAR)
    good = {"subject": 5, "limit_a": 1, "limit_b": 1, "suite": 1, "public_key": public_key}
    codes = [ask(ready, T.PARTICIPANT_ADD, one, **{**good, "participant": number}) for number in (0, 2**32 - 1, BANK_A)]
    assert codes == [Code.ADMIN_FIELD_NOT_ALLOWED, Code.ADMIN_FIELD_NOT_ALLOWED, Code.PARTICIPANT_EXISTS]
    for fields, code in (
        ({"limit_a": 2**64}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"suite": 4}, Code.SUITE_UNSUPPORTED),
        ({"suite": 0}, Code.SUITE_UNSUPPORTED),
        ({"public_key": b"\xff" * 32 + bytes(32)}, Code.KEY_REJECTED),
        ({"public_key": public_key[:63] + b"\1"}, Code.KEY_REJECTED),
        ({"suite": 2}, Code.KEY_REJECTED),
        ({"suite": 3}, Code.KEY_REJECTED),
        ({"public_key": padded_key(one.public_key)}, Code.KEY_EXISTS),
    ):
        assert ask(ready, T.PARTICIPANT_ADD, one, **{**good, "participant": 78, **fields}) == code
    assert ask(ready, T.PARTICIPANT_ADD, registrar(ready, BANK_A), **{**good, "participant": 78}) == (
        Code.SIGNER_ROLE_NOT_ALLOWED
    )


def test_roles_of_new_keys_need_their_signers_and_their_bits(ready: DomainOnLog) -> None:
    """Type 2, ADMIN-7: account and registrar by the registrar; issuer with an operator; the operator's roles by two."""
    one, other = operators(ready)
    own = registrar(ready, BANK_A)
    issuers = registrar(ready, ISSUER)

    def add(*keys: object, participant: int, role: int) -> int:
        _, public_key = new_public_key(b"r%d" % ready.fresh_id(), participant, role)
        return ask(ready, T.KEY_ADD, *keys, participant=participant, suite=1, public_key=public_key, role=role)

    assert add(own, participant=BANK_A, role=Role.ACCOUNT) == Code.CREATED
    assert add(own, participant=BANK_B, role=Role.ACCOUNT) == Code.SIGNER_ROLE_NOT_ALLOWED
    assert add(one, participant=BANK_A, role=Role.ACCOUNT) == Code.SIGNER_ROLE_NOT_ALLOWED
    assert add(own, participant=BANK_A, role=Role.ISSUER) == Code.SECOND_SIGNATURE_REQUIRED
    assert add(own, one, participant=BANK_A, role=Role.ISSUER) == Code.ROLE_NOT_ALLOWED
    assert add(issuers, one, participant=ISSUER, role=Role.ISSUER) == Code.CREATED
    assert add(one, other, participant=BANK_A, role=Role.SUPERVISOR) == Code.ROLE_NOT_ALLOWED
    assert add(one, participant=OPERATOR, role=Role.SUPERVISOR) == Code.SECOND_SIGNATURE_REQUIRED
    assert add(one, other, participant=OPERATOR, role=Role.SUPERVISOR) == Code.CREATED
    assert add(one, participant=OPERATOR, role=Role.SCREENING) == Code.CREATED
    assert add(one, participant=OPERATOR, role=9) == Code.ROLE_NOT_ALLOWED
    assert add(one, participant=76, role=Role.SCREENING) == Code.PARTICIPANT_NOT_FOUND
    code, _ = add_bank(ready, 79, role=1 << Role.SUPERVISOR)
    assert code == Code.CREATED
    assert add(one, other, participant=79, role=Role.SUPERVISOR) == Code.CREATED


def test_a_quota_of_keys_counts_every_key_ever_registered(ready: DomainOnLog) -> None:
    code, own = add_bank(ready, 80, keys_max=2)
    assert code == Code.CREATED
    _, first = new_public_key(b"q1", 80, Role.ACCOUNT)
    _, second = new_public_key(b"q2", 80, Role.ACCOUNT)
    assert ask(ready, T.KEY_ADD, own, participant=80, suite=1, public_key=first, role=Role.ACCOUNT) == Code.CREATED
    assert ask(ready, T.KEY_ADD, own, participant=80, suite=1, public_key=second, role=Role.ACCOUNT) == (
        Code.KEYS_QUOTA_EXCEEDED
    )
    assert ask(ready, T.QUOTA_SET, operators(ready)[0], participant=80, limit_a=1, limit_b=3) == Code.CREATED
    assert ask(ready, T.KEY_ADD, own, participant=80, suite=1, public_key=second, role=Role.ACCOUNT) == Code.CREATED


@pytest.mark.parametrize("suite", list(SigningSuite))
def test_a_rotated_key_hands_its_line_on(ready: DomainOnLog, suite: SigningSuite) -> None:
    """Type 3, ADMIN-6: old and new key sign; accounts follow the lineage; the old key decides nothing any more."""
    old = ready.key(Role.ACCOUNT, 0, BANK_A)
    fresh, public_key = new_public_key(b"rot", BANK_A, Role.ACCOUNT, suite)
    fields = {"participant": BANK_A, "key_id": old.key_id, "suite": suite, "public_key": public_key}
    assert ask(ready, T.KEY_ROTATE, old, operators(ready)[0], **fields) == Code.SIGNER_ROLE_NOT_ALLOWED
    assert ask(ready, T.KEY_ROTATE, old, old, new_key=True, **fields) == Code.INVALID_SIGNATURE
    assert ask(ready, T.KEY_ROTATE, old, fresh, new_key=True, **fields) == Code.CREATED
    fresh = replace(fresh, key_id=int(ready.admin_outcome.assigned[0]))
    parties = ready.machines[0x100].parties
    assert (parties.key(fresh.key_id).lineage, parties.key(fresh.key_id).role) == (old.key_id, Role.ACCOUNT)
    assert parties.key(old.key_id).retired_at == ready.now
    ready.now += SECOND
    items = [ready.transfer(ready.a, ready.b, 1, old), ready.transfer(ready.a, ready.b, 1, fresh)]
    assert ready.submit(items, [old, fresh]) == [Code.KEY_NOT_IN_FORCE, Code.CREATED]
    assert ask(ready, T.KEY_ROTATE, fresh, fresh, new_key=True, **fields) == Code.SIGNER_ROLE_NOT_ALLOWED
    ready.seal()
    ready.replayed(0x100, audit=True)


def test_a_registrar_and_an_operator_may_replace_a_lost_key(ready: DomainOnLog) -> None:
    old = ready.key(Role.ACCOUNT, 0, BANK_A)
    _, public_key = new_public_key(b"lost", BANK_A, Role.ACCOUNT)
    own, one = registrar(ready, BANK_A), operators(ready)[0]
    fields = {"participant": BANK_A, "suite": 1, "public_key": public_key}
    assert ask(ready, T.KEY_ROTATE, own, key_id=old.key_id, **fields) == Code.SECOND_SIGNATURE_REQUIRED
    assert ask(ready, T.KEY_ROTATE, own, one, key_id=99, **fields) == Code.KEY_NOT_FOUND
    theirs = ready.key(Role.ACCOUNT, 0, BANK_B).key_id
    assert ask(ready, T.KEY_ROTATE, own, one, key_id=theirs, **fields) == Code.ACCOUNT_NOT_OF_PARTICIPANT
    assert ask(ready, T.KEY_ROTATE, own, one, key_id=old.key_id, **fields) == Code.CREATED
    assert ask(ready, T.KEY_ROTATE, own, one, key_id=old.key_id, **fields) == Code.KEY_NOT_IN_FORCE


def test_a_revoked_key_is_out_of_force_from_then_on(ready: DomainOnLog) -> None:
    payer = ready.key(Role.ACCOUNT, 0, BANK_A)
    assert ask(ready, T.KEY_REVOKE, registrar(ready, BANK_B), participant=BANK_A, key_id=payer.key_id) == (
        Code.SIGNER_ROLE_NOT_ALLOWED
    )
    assert ask(ready, T.KEY_REVOKE, registrar(ready, BANK_A), participant=BANK_A, key_id=payer.key_id) == Code.CREATED
    assert ready.submit([ready.transfer(ready.a, ready.b, 1, payer)], [payer]) == [Code.KEY_NOT_IN_FORCE]
    assert (
        ask(ready, T.KEY_REVOKE, operators(ready)[0], participant=BANK_A, key_id=payer.key_id) == Code.KEY_NOT_IN_FORCE
    )


def test_account_open_refuses_in_its_order(ready: DomainOnLog) -> None:
    """ADMIN-2, type 5; ADMIN-4."""
    own, key = registrar(ready, BANK_A), ready.key(Role.ACCOUNT, 0, BANK_A)
    account = ready.account_on(BANK_A, 0, 1)
    good = {"participant": BANK_A, "subject": account, "ledger": 1, "key_id": key.key_id}
    two = DomainOnLog(shards=2)
    elsewhere = two.account_on(BANK_A, 1)
    signed = two.signed_admin(two.admin(T.ACCOUNT_OPEN, **{**good, "subject": elsewhere}), registrar(two, BANK_A))
    assert two.administer([signed], 0x100) == [Code.WRONG_SHARD]
    for fields, code in (
        ({"ledger": 2}, Code.LEDGER_NOT_FOUND),
        ({"subject": ordinary_account_id(BANK_B, 1)}, Code.ACCOUNT_NOT_OF_PARTICIPANT),
        ({"subject": suspense_account_id(BANK_A, 1, 0)}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"subject": account | 1 << 64}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"subject": ready.a}, Code.ACCOUNT_EXISTS),
        ({"key_id": 99}, Code.KEY_NOT_FOUND),
        ({"key_id": 0}, Code.KEY_NOT_FOUND),
        ({"key_id": own.key_id}, Code.ROLE_NOT_ALLOWED),
        ({"key_id": ready.key(Role.ACCOUNT, 0, BANK_B).key_id}, Code.ROLE_NOT_ALLOWED),
        ({}, Code.CREATED),
    ):
        assert ask(ready, T.ACCOUNT_OPEN, own, **{**good, **fields}) == code
    assert ask(ready, T.ACCOUNT_OPEN, registrar(ready, BANK_B), **good) == Code.SIGNER_ROLE_NOT_ALLOWED
    issuer = ready.machines[0x100].find_account(ready.issuer)
    assert (issuer.flags, issuer.key_lineage) == (AccountFlag.ISSUER, 0)


def test_quotas_and_the_table_bound_the_accounts() -> None:
    """ADMIN-2: first the participant's quota, then the shard's table, of which a refusal burns nothing."""
    limits = GenesisLimits(accounts_max=5)
    domain = DomainOnLog(development_network(b"test", currencies=(("CNY", 2),), shards=1, limits=limits))
    domain.ready()
    assert ask(domain, T.QUOTA_SET, operators(domain)[0], participant=BANK_A, limit_a=2, limit_b=99) == Code.CREATED
    assert [domain.open(domain.account_on(BANK_A, 0, nth), BANK_A) for nth in (1, 2)] == [
        Code.CREATED, Code.ACCOUNTS_QUOTA_EXCEEDED
    ]  # fmt: skip
    key = domain.key(Role.ACCOUNT, 0, BANK_B)
    fill = domain.open(domain.account_on(BANK_B, 0, 1), BANK_B)
    assert fill == Code.CREATED
    request = domain.signed_admin(
        domain.admin(
            T.ACCOUNT_OPEN, participant=BANK_B, subject=domain.account_on(BANK_B, 0, 2), ledger=1, key_id=key.key_id
        ),
        registrar(domain, BANK_B),
    )
    assert domain.administer([request]) == [Code.ACCOUNTS_FULL]
    assert domain.administer([request]) == [Code.ACCOUNTS_FULL]


def test_limits_are_the_issuers_to_set(ready: DomainOnLog) -> None:
    """Type 6: a credit line and a largest balance, and what they do to transfers."""
    issuer, payer = ready.key(Role.ISSUER), ready.key(Role.ACCOUNT, 0, BANK_A)
    assert ask(ready, T.ACCOUNT_LIMITS, operators(ready)[0], subject=ready.b, ledger=1) == Code.SIGNER_ROLE_NOT_ALLOWED
    assert ask(ready, T.ACCOUNT_LIMITS, issuer, subject=ready.b, ledger=2) == Code.NOT_THE_ISSUER
    assert (
        ask(ready, T.ACCOUNT_LIMITS, issuer, subject=ordinary_account_id(BANK_B, 2**40), ledger=1)
        == Code.ACCOUNT_NOT_FOUND
    )
    assert ask(ready, T.ACCOUNT_LIMITS, issuer, subject=ready.b, ledger=1, limit_a=25, limit_b=60) == Code.CREATED
    back = ready.key(Role.ACCOUNT, 0, BANK_B)
    codes = ready.submit(
        [
            ready.transfer(ready.b, ready.a, 25, back),
            ready.transfer(ready.b, ready.a, 1, back),
            ready.transfer(ready.a, ready.b, 86, payer),
            ready.transfer(ready.a, ready.b, 85, payer),
        ],
        [back, back, payer, payer],
    )
    assert codes == [Code.CREATED, Code.INSUFFICIENT_FUNDS, Code.EXCEEDS_BALANCE_MAX, Code.CREATED]


def test_frozen_and_thawed_and_closed(ready: DomainOnLog) -> None:
    """Types 7 to 9: two watchers, the end of a freeze, and closing only what is empty and has no pending."""
    pair = ready.key(Role.SUPERVISOR), operators(ready)[0]
    payer, back = ready.key(Role.ACCOUNT, 0, BANK_A), ready.key(Role.ACCOUNT, 0, BANK_B)
    until = ready.now + 10 * SECOND
    assert ask(ready, T.ACCOUNT_FREEZE, *pair, subject=ready.a, ledger=2) == Code.DEBIT_ACCOUNT_OTHER_LEDGER
    assert ask(ready, T.ACCOUNT_FREEZE, *pair, subject=ready.a, ledger=1, reason=4, limit_a=until) == Code.CREATED
    assert ready.submit([ready.transfer(ready.a, ready.b, 1, payer)], [payer]) == [Code.DEBIT_ACCOUNT_FROZEN]
    ready.now = until
    pending = ready.transfer(ready.a, ready.b, 9, payer, flags=int(TransferKind.PENDING) | 1 << 9)
    assert ready.submit([pending], [payer]) == [Code.CREATED]
    assert ask(ready, T.ACCOUNT_FREEZE, *pair, subject=ready.a, ledger=1) == Code.CREATED
    assert ask(ready, T.ACCOUNT_UNFREEZE, *pair, subject=ready.a, ledger=1, reason=4) == Code.CREATED
    leaf = ready.machines[0x100].find_account(ready.a)
    assert (leaf.flags & AccountFlag.FROZEN, leaf.frozen_until) == (0, 0)
    for account in (ready.a, ready.b):
        assert ask(ready, T.ACCOUNT_CLOSE, *pair, subject=account, ledger=1) == Code.ACCOUNT_HAS_PENDINGS
    void = ready.transfer(ready.a, ready.b, 9, payer, flags=int(TransferKind.VOID), reference=pending.id)
    assert ready.submit([void], [payer]) == [Code.CREATED]
    assert ask(ready, T.ACCOUNT_CLOSE, *pair, subject=ready.a, ledger=1) == Code.ACCOUNT_NOT_EMPTY
    assert ask(ready, T.ACCOUNT_CLOSE, *pair, subject=ready.b, ledger=1) == Code.CREATED
    assert ask(ready, T.ACCOUNT_FREEZE, *pair, subject=ready.b, ledger=1) == Code.ACCOUNT_CLOSED
    codes = ready.submit(
        [ready.transfer(ready.a, ready.b, 1, payer), ready.transfer(ready.b, ready.a, 1, back)], [payer, back]
    )
    assert codes == [Code.CREDIT_ACCOUNT_CLOSED, Code.DEBIT_ACCOUNT_CLOSED]
    ready.seal()
    ready.replayed(0x100, audit=True)


def test_an_account_changes_hands_by_registrar_and_operator(ready: DomainOnLog) -> None:
    """Type 11: the account's line becomes that of another key of its participant."""
    own, one, old = registrar(ready, BANK_A), operators(ready)[0], ready.key(Role.ACCOUNT, 0, BANK_A)
    key, public_key = new_public_key(b"set", BANK_A, Role.ACCOUNT)
    assert ask(ready, T.KEY_ADD, own, participant=BANK_A, suite=1, public_key=public_key, role=Role.ACCOUNT) == 1
    key = replace(key, key_id=int(ready.admin_outcome.assigned[0]))
    fields = {"subject": ready.a, "ledger": 1}
    assert ask(ready, T.ACCOUNT_KEY_SET, own, key_id=key.key_id, **fields) == Code.SECOND_SIGNATURE_REQUIRED
    assert ask(ready, T.ACCOUNT_KEY_SET, own, one, key_id=own.key_id, **fields) == Code.ROLE_NOT_ALLOWED
    assert ask(ready, T.ACCOUNT_KEY_SET, own, one, key_id=key.key_id, **fields) == Code.CREATED
    items = [ready.transfer(ready.a, ready.b, 1, old), ready.transfer(ready.a, ready.b, 1, key)]
    assert ready.submit(items, [old, key]) == [Code.KEY_NOT_AUTHORISED, Code.CREATED]


def test_keys_have_the_same_ids_on_every_shard() -> None:
    """ADMIN-5: types 1 to 4 and 10 go to all shards in one order; a key of one record signs in the next."""
    domain = DomainOnLog(shards=2)
    _, own = add_bank(domain, 81)
    key, public_key = new_public_key(b"all", 81, Role.ACCOUNT)
    assert ask(domain, T.KEY_ADD, own, participant=81, suite=1, public_key=public_key, role=Role.ACCOUNT) == 1
    roots = [machine.subtree_roots()["keys"] for machine in domain.machines.values()]
    assert roots[0] == roots[1]
    assert key.public_key == domain.machines[0x101].registry.public_key(int(domain.admin_outcome.assigned[0]))


def test_a_key_signs_in_the_very_record_that_registers_it(domain: DomainOnLog) -> None:
    """One admin record: join, then open by the registrar that joined; verdicts follow the registry as it grows."""
    key, public_key = new_public_key(b"same", 82, Role.REGISTRAR)
    join = domain.admin(
        T.PARTICIPANT_ADD, participant=82, subject=5, limit_a=9, limit_b=9, suite=1, public_key=public_key
    )
    key = replace(key, key_id=len(domain.domain.keys) + 1)
    _, second = new_public_key(b"same2", 82, Role.ACCOUNT)
    grow = domain.admin(T.KEY_ADD, participant=82, suite=1, public_key=second, role=Role.ACCOUNT)
    forged = domain.admin(T.KEY_REVOKE, participant=82, key_id=key.key_id)
    bad = replace(domain.signed_admin(forged, key), signatures=(bytes(64), bytes(64)))
    signed = [domain.signed_admin(join, operators(domain)[0]), domain.signed_admin(grow, key), bad]
    assert domain.administer(signed) == [Code.CREATED, Code.CREATED, Code.INVALID_SIGNATURE]
    assert domain.admin_outcome.assigned.tolist() == [key.key_id, key.key_id + 1, 0]
    domain.seal()
    domain.replayed(0x100)
    domain.replayed(0x100, audit=True)


def test_decisions_of_admin_requests_are_leaves(ready: DomainOnLog) -> None:
    """LEDGER-60, ADMIN-3: done, refused by the state, expired, out of force and other content; nothing before them."""
    ready.seal()
    one = operators(ready)[0]
    fields = {"participant": BANK_A, "limit_a": 1, "limit_b": 1}
    for asked in (
        {"expires_at": ready.now - 1, **fields},
        {"expires_at": ready.now + 121 * SECOND, **fields},
        {**fields, "participant": 55},
        {**fields, "reason": 1},
        fields,
    ):
        ask(ready, T.QUOTA_SET, one, **asked)
    ready.seal()
    leaves, header = ready.sealed[0x100][-1]
    codes = [int.from_bytes(leaves[at + 40 : at + 42], "little") for at in range(0, len(leaves), 48)]
    assert codes == [Code.EXPIRED, Code.PARTICIPANT_NOT_FOUND, Code.CREATED]
    assert header.decision_count == 3
    assert ready.machines[0x100].find_account(channel_account_id(1, 0x101)) is None
