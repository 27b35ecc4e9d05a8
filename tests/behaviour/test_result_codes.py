"""Every result code that the ledger and the administration can give has a scenario here that provokes it.

The table is the test: a code without a scenario fails ``test_every_code_has_a_scenario``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model import record as r
from tests.model import rules
from tests.model.fixtures import mode, opened  # noqa: F401
from tests.model.genesis import SECOND_NS
from tests.model.hashes import run_prefix, sha256, tree_root
from tests.model.keyring import public_key
from tests.model.record import derive_claim, derive_refund, record_digest
from tests.model.stage import (
    ALICE,
    ALICE_2,
    BANK,
    BOB,
    CAROL,
    CNY,
    EUR,
    HKD,
    ISSUER_ACCOUNT,
    KEYS,
    OTHER_BANK,
    Stage,
    account_on,
)  # fmt: skip

# Answered by the service before the ledger is asked, each with its test beside the service.
OF_THE_SERVICE = (
    Code.OVERLOADED, Code.DISK_FULL, Code.BATCH_MALFORMED, Code.BATCH_TOO_LARGE,
    Code.BATCH_EMPTY, Code.VERSION_UNSUPPORTED, Code.DOMAIN_NOT_FOUND, Code.ROLE_REFUSED, Code.NOT_FOUND, Code.SHUTTING_DOWN,
)  # fmt: skip
# Numbers that are kept for what a later version may answer; no rule of today gives them.
RESERVED = (Code.SHARD_SUSPENDED, Code.SHARD_AWAY)

Scenario = Callable[[Stage], Any]
SCENARIOS: dict[Code, Scenario] = {}
GENESIS: dict[Code, dict[str, int]] = {
    Code.WINDOW_FULL: {"ids_max": 2},
    Code.PENDINGS_FULL: {"pendings_max": 1},
    Code.ACCOUNTS_FULL: {"accounts_max": 6},
    Code.OVERFLOWS_LEDGER_TOTAL: {"amount_max": 2**127 - 1},
}
SECRET = b"s" * 32
MISSING_HERE, MISSING_THERE = account_on(0, OTHER_BANK, 8), account_on(1, OTHER_BANK, 8)


def provokes(code: Code) -> Callable[[Scenario], Scenario]:
    def note(scenario: Scenario) -> Scenario:
        assert code not in SCENARIOS, code
        SCENARIOS[code] = scenario
        return scenario

    return note


def alone(code: Code, make: Callable[[Stage], r.Transfer]) -> None:
    """A single record on the usual stage provokes the code."""
    provokes(code)(lambda stage: stage.code(make(stage)))


def changed(expected: Code, /, **fields: Any) -> None:
    """A plain transfer with these fields provokes the code."""
    alone(expected, lambda stage: stage.plain(**fields))


# Done.

alone(Code.CREATED, lambda s: s.plain())
alone(Code.CREATED_IN_TRANSIT, lambda s: s.plain(credit_account=CAROL))


@provokes(Code.EXISTS)
def exists(s):
    return s.codes(*[s.plain()] * 2)[1]


@provokes(Code.CREDITED)
def credited(s):
    s.send(s.plain(credit_account=CAROL))
    return s.deliver()[0]


@provokes(Code.RETURNED)
def returned(s):
    s.send(s.plain(credit_account=MISSING_THERE))
    return s.deliver()[1]


@provokes(Code.CREDITED_TO_SUSPENSE)
def credited_to_suspense(s):
    s.send(s.lock(sha256(SECRET), credit_account=MISSING_THERE))
    s.relay(SECRET)
    return s.deliver()[0]


def leaf_code(s: Stage, digest: bytes, code: Code) -> Code | None:
    """The code, if the block's one leaf is this decision of this instant."""
    leaf = digest + s.now.to_bytes(8, "little") + code.to_bytes(2, "little") + bytes(6)
    return code if s.seal()[224:256] == tree_root(1, [leaf]) else None


def digest(s: Stage, transfer: r.Transfer) -> bytes:
    return record_digest(1, sha256(s.document), transfer.pack())


@provokes(Code.EXPIRED_BY_TIMEOUT)
def expired_by_timeout(s):
    pending = s.pending(until=SECOND_NS)
    s.send(pending)
    s.seal()
    s.later(1)
    return leaf_code(s, digest(s, pending), Code.EXPIRED_BY_TIMEOUT)


@provokes(Code.CLAIMED)
def claimed(s):
    lock = s.lock(sha256(SECRET))
    s.send(lock)
    s.seal()
    s.relay(SECRET)
    return leaf_code(s, digest(s, derive_claim(1, lock, digest(s, lock), SECRET)), Code.CLAIMED)


@provokes(Code.REFUNDED)
def refunded(s):
    lock = s.lock(sha256(SECRET))
    s.send(lock)
    s.seal()
    s.relay(time=lock.until)
    return leaf_code(s, digest(s, derive_refund(1, lock, digest(s, lock))), Code.REFUNDED)


def over_shards(s: Stage) -> list[r.Transfer]:
    """A run of which one payee lives on the other shard, prepared."""
    s.relay()
    run = s.run(s.plain(credit_account=CAROL), s.plain())
    s.seal()
    s.seal(1)
    assert s.codes_over(*run) == [Code.PREPARED] * 2
    return run


@provokes(Code.PREPARED)
def prepared(s):
    return s.send_over(*over_shards(s))[0].first_code


@provokes(Code.COMMITTED)
def committed(s):
    run = over_shards(s)
    s.relay(runs=[run])
    return s.send_over(*run)[0].first_code


@provokes(Code.ABORTED)
def aborted(s):
    run = over_shards(s)
    s.relay(time=run[0].expires_at)
    return s.send_over(*run)[1].first_code


@provokes(Code.PREPARED_CREDIT)
def prepared_credit(s):
    records = [member.pack() for member in over_shards(s)]
    prefix = run_prefix(1, sha256(s.document), records, min(s.now + 30 * SECOND_NS, 2**63))
    leaf = sha256(prefix + records[0]) + s.now.to_bytes(8, "little") + Code.PREPARED_CREDIT.to_bytes(2, "little")
    return Code.PREPARED_CREDIT if s.seal(1)[224:256] == tree_root(1, [leaf + bytes(6)]) else None


# Malformed.

changed(Code.RESERVED_FLAG_SET, flags=1 << 15)
changed(Code.KIND_FLAG_NOT_ALLOWED, flags=r.PAYER_POSTS)
changed(Code.MANDATE_UNSUPPORTED, flags=r.BY_MANDATE)
changed(Code.ID_MUST_NOT_BE_ZERO, id=0)
changed(Code.ID_MUST_NOT_BE_MAX, id=2**128 - 1)
changed(Code.DEBIT_ACCOUNT_RESERVED, debit_account=1)
changed(Code.CREDIT_ACCOUNT_RESERVED, credit_account=2**128 - 1)
alone(Code.CREDIT_ACCOUNT_MUST_BE_ZERO, lambda s: s.cancel(7, credit_account=BOB))
changed(Code.ACCOUNTS_MUST_DIFFER, credit_account=ALICE)
changed(Code.AMOUNT_MUST_NOT_BE_ZERO, amount=0)
alone(Code.AMOUNT_MUST_BE_ZERO, lambda s: s.cancel(7, amount=1))
changed(Code.REFERENCE_MUST_BE_ZERO, reference=1)
alone(Code.REFERENCE_MUST_NOT_BE_ZERO, lambda s: s.cancel(0))
changed(Code.EXPIRES_AT_OUT_OF_RANGE, expires_at=2**63)
changed(Code.UNTIL_MUST_BE_ZERO, until=1)
alone(Code.UNTIL_OUT_OF_RANGE, lambda s: s.pending(until=2**62))
changed(Code.KEY_ID_MUST_NOT_BE_ZERO, key_id=0)
changed(Code.VALID_FOR_MUST_NOT_BE_ZERO, valid_for_s=0)
changed(Code.BINDING_MUST_BE_ZERO, binding=b"b" * 32)
changed(Code.BINDING_MUST_NOT_BE_ZERO, flags=r.ATTACHMENT)
changed(Code.LEDGER_NOT_FOUND, ledger=EUR)
changed(Code.VALID_FOR_EXCEEDS_WINDOW, valid_for_s=61)
changed(Code.AMOUNT_EXCEEDS_LEDGER_MAX, amount=10**18)
changed(Code.WRONG_SHARD, debit_account=CAROL)

# Runs.


@provokes(Code.LINKED_EVENT_FAILED)
def linked_event_failed(s):
    return s.codes(*s.run(s.plain(), s.plain(amount=5000)))[0]


@provokes(Code.LINKED_EVENT_CHAIN_OPEN)
def linked_event_chain_open(s):
    return s.code(s.plain(flags=r.LINKED))


@provokes(Code.LINKED_RUN_SPANS_SHARDS)
def linked_run_spans_shards(s):
    return s.codes(*s.run(s.plain(), s.plain(credit_account=CAROL)))[0]


@provokes(Code.LINKED_RUN_TOO_LONG)
def linked_run_too_long(s):
    return s.codes(*s.run(*[s.plain() for _ in range(9)]))[0]


# Who signs.

changed(Code.KEY_NOT_FOUND, key_id=999)
provokes(Code.INVALID_SIGNATURE)(lambda s: s.code(s.plain(), verdict=0))
changed(Code.DEBIT_ACCOUNT_NOT_FOUND, debit_account=account_on(0, BANK, 9))
changed(Code.KEY_NOT_AUTHORISED, key_id=KEYS["other"])


@provokes(Code.KEY_NOT_IN_FORCE)
def key_not_in_force(s):
    s.everywhere(s.request(a.KEY_REVOKE, participant=BANK, key_id=KEYS["bank"]), "bank_registrar")
    return s.code(s.plain())


# The id is known.


@provokes(Code.ID_ALREADY_FAILED)
def id_already_failed(s):
    return s.codes(*[s.plain(amount=5000)] * 2)[1]


def differs(expected: Code, make: Callable[[Stage], r.Transfer], /, **fields: Any) -> None:
    """Once as it is, once with these fields changed."""

    def scenario(s):
        first = make(s)
        return s.codes(first, replace(first, **fields))[1]

    provokes(expected)(scenario)


def ending(s):
    pending = s.pending(r.PAYER_POSTS)
    s.send(pending)
    return s.post(pending)


differs(Code.EXISTS_WITH_DIFFERENT_FLAGS, lambda s: s.plain(), flags=r.PENDING)
differs(Code.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT, lambda s: s.plain(), credit_account=ALICE_2)
differs(Code.EXISTS_WITH_DIFFERENT_AMOUNT, lambda s: s.plain(), amount=11)
differs(Code.EXISTS_WITH_DIFFERENT_REFERENCE, ending, reference=7)
differs(Code.EXISTS_WITH_DIFFERENT_USER_DATA, lambda s: s.plain(), user_data=1)
differs(Code.EXISTS_WITH_DIFFERENT_EXPIRES_AT, lambda s: s.plain(), expires_at=2**62)
differs(Code.EXISTS_WITH_DIFFERENT_UNTIL, lambda s: s.pending(), until=9)
differs(Code.EXISTS_WITH_DIFFERENT_LEDGER, lambda s: s.plain(), ledger=HKD)
differs(Code.EXISTS_WITH_DIFFERENT_VALID_FOR, lambda s: s.plain(), valid_for_s=59)
differs(Code.EXISTS_WITH_DIFFERENT_CODE, lambda s: s.plain(), code=9)
differs(Code.EXISTS_WITH_DIFFERENT_BINDING, lambda s: s.lock(b"h" * 32), binding=b"i" * 32)


@provokes(Code.EXISTS_WITH_DIFFERENT_KEY_ID)
def exists_with_different_key_id(s):
    first = s.plain()
    s.send(first)
    rotate = s.request(a.KEY_ROTATE, participant=BANK, key_id=KEYS["bank"], suite=1, public_key=public_key(80))
    return s.code(replace(first, key_id=s.everywhere(rotate, "bank", a.NEW_KEY).assigned))


@provokes(Code.EXISTS_WITH_DIFFERENT_RUN)
def exists_with_different_run(s):
    run = s.run(s.plain(), s.plain())
    s.send(*run)
    return s.code(run[1])


@provokes(Code.CANCELLED)
def cancelled(s):
    never = s.plain()
    return s.send(s.cancel(never.id), never)[1].first_code


# Time.

provokes(Code.TOO_OLD)(lambda s: s.code(s.plain(expires_at=s.now - 60 * SECOND_NS - 1)))
provokes(Code.EXPIRED)(lambda s: s.code(s.plain(expires_at=s.now - 1)))
provokes(Code.TOO_EARLY)(lambda s: s.code(s.plain(expires_at=s.now + 60 * SECOND_NS + 1)))

# State.

changed(Code.WINDOW_FULL)
alone(Code.PENDINGS_FULL, lambda s: s.pending())
changed(Code.CREDIT_ACCOUNT_NOT_FOUND, credit_account=MISSING_HERE)
changed(Code.INSUFFICIENT_FUNDS, amount=1001)
alone(Code.TIMELOCK_TOO_SOON, lambda s: s.lock(b"h" * 32, until=s.now))
alone(
    Code.ISSUE_REQUIRES_PENDING,
    lambda s: s.plain(debit_account=ISSUER_ACCOUNT, credit_account=ALICE, key_id=KEYS["issuer_a"]),
)


@provokes(Code.ACCOUNTS_FULL)
def accounts_full(s):
    return s.open(account_on(0, BANK, 7), "bank").code


def open_hkd(s, account, key):
    assert s.open(account, key, ledger=HKD).code == Code.CREATED
    return account


alone(Code.DEBIT_ACCOUNT_OTHER_LEDGER, lambda s: s.plain(debit_account=open_hkd(s, account_on(0, BANK, 5), "bank")))
alone(Code.CREDIT_ACCOUNT_OTHER_LEDGER, lambda s: s.plain(credit_account=open_hkd(s, account_on(0, BANK, 5), "bank")))


@provokes(Code.DEBIT_ACCOUNT_CLOSED)
def debit_account_closed(s):
    s.close(BOB)
    return s.code(s.plain(debit_account=BOB, credit_account=ALICE, key_id=KEYS["other"]))


@provokes(Code.CREDIT_ACCOUNT_CLOSED)
def credit_account_closed(s):
    s.close(BOB)
    return s.code(s.plain())


@provokes(Code.DEBIT_ACCOUNT_FROZEN)
def debit_account_frozen(s):
    s.freeze(ALICE)
    return s.code(s.plain())


@provokes(Code.OVERFLOWS_LEDGER_TOTAL)
def overflows_ledger_total(s):
    return s.code(
        s.pending(debit_account=ISSUER_ACCOUNT, credit_account=BOB, amount=2**127 - 1000, key_id=KEYS["issuer_a"])
    )


@provokes(Code.EXCEEDS_BALANCE_MAX)
def exceeds_balance_max(s):
    s.limits(BOB, balance_max=5)
    return s.code(s.plain())


def ends(code: Code, make: Callable[[Stage, r.Transfer], r.Transfer], flags: int = 0) -> None:
    """A pending is begun; what is made of it then provokes the code."""

    def scenario(s):
        pending = s.pending(r.PAYER_POSTS | r.PAYER_VOIDS if flags == 0 else flags, until=5 * SECOND_NS)
        s.send(pending)
        return s.code(make(s, pending))

    provokes(code)(scenario)


def after(s, *transfers):
    s.send(*transfers)
    return s


ends(Code.PENDING_NOT_FOUND, lambda s, p: s.post(p, reference=p.id + 500))
ends(Code.PENDING_HAS_DIFFERENT_CREDIT_ACCOUNT, lambda s, p: s.post(p, credit_account=ALICE_2))
ends(Code.PENDING_HAS_DIFFERENT_LEDGER, lambda s, p: s.post(p, ledger=HKD))
ends(Code.PENDING_HAS_DIFFERENT_AMOUNT, lambda s, p: s.void(p, amount=9))
ends(Code.EXCEEDS_PENDING_AMOUNT, lambda s, p: s.post(p, amount=11))
ends(Code.PENDING_ALREADY_POSTED, lambda s, p: after(s, s.post(p)).post(p))
ends(Code.PENDING_ALREADY_VOIDED, lambda s, p: after(s, s.void(p)).post(p))
ends(Code.NOT_PERMITTED_BY_PENDING, lambda s, p: s.post(p), flags=r.PAYEE_POSTS)


@provokes(Code.PENDING_IS_LOCK)
def pending_is_lock(s):
    lock = s.lock(b"h" * 32)
    s.send(lock)
    return s.code(s.void(lock))


@provokes(Code.PENDING_EXPIRED)
def pending_expired(s):
    pending = s.pending(r.PAYER_POSTS, until=1)
    s.send(pending)
    s.later(1)
    return s.code(s.post(pending))


@provokes(Code.ISSUER_KEYS_MUST_DIFFER)
def issuer_keys_must_differ(s):
    issue = s.pending(debit_account=ISSUER_ACCOUNT, credit_account=ALICE, key_id=KEYS["issuer_a"])
    return s.codes(issue, s.post(issue))[1]


@provokes(Code.CANCEL_TOO_LATE)
def cancel_too_late(s):
    done = s.plain()
    return s.codes(done, s.cancel(done.id))[1]


@provokes(Code.PREIMAGE_NOT_FINAL)
def preimage_not_final(s):
    lock = s.lock(sha256(SECRET))
    s.send(lock)
    return s.code(derive_claim(1, lock, digest(s, lock), SECRET))


# Administration.


def asked(expected: Code, type_: int, /, *signers: str | int, **fields: Any) -> None:
    """One admin request on the usual stage provokes the code."""
    provokes(expected)(lambda s: s.administer(s.request(type_, **fields), *signers).code)


NEW = {"suite": 1, "public_key": public_key(81)}
ADDED = {"participant": 30, "limit_a": 2, "limit_b": 2, **NEW}

asked(Code.ADMIN_TYPE_UNKNOWN, 99, "operator")
asked(Code.ADMIN_FIELD_NOT_ALLOWED, a.QUOTA_SET, "operator", participant=BANK, reason=1)
asked(Code.PARTICIPANT_EXISTS, a.PARTICIPANT_ADD, "operator", **(ADDED | {"participant": BANK}))
asked(Code.PARTICIPANT_NOT_FOUND, a.QUOTA_SET, "operator", participant=30)
asked(Code.ROLE_NOT_ALLOWED, a.KEY_ADD, "operator", participant=BANK, role=7, **NEW)
asked(Code.SUITE_UNSUPPORTED, a.PARTICIPANT_ADD, "operator", **(ADDED | {"suite": 4}))
asked(Code.KEY_REJECTED, a.PARTICIPANT_ADD, "operator", **(ADDED | {"public_key": b"\1" + bytes(63)}))
asked(Code.KEY_EXISTS, a.PARTICIPANT_ADD, "operator", **(ADDED | {"public_key": public_key(1)}))
asked(
    Code.ACCOUNT_EXISTS,
    a.ACCOUNT_OPEN,
    "bank_registrar",
    participant=BANK,
    subject=ALICE,
    ledger=CNY,
    key_id=KEYS["bank"],
)
asked(Code.ACCOUNT_NOT_FOUND, a.ACCOUNT_LIMITS, "issuer_a", subject=MISSING_HERE, ledger=CNY)
asked(
    Code.ACCOUNT_NOT_OF_PARTICIPANT,
    a.ACCOUNT_OPEN,
    "bank_registrar",
    participant=BANK,
    subject=MISSING_HERE,
    ledger=CNY,
    key_id=KEYS["bank"],
)
asked(Code.ACCOUNT_NOT_EMPTY, a.ACCOUNT_CLOSE, "operator", "supervisor", subject=ALICE, ledger=CNY)
asked(Code.SECOND_SIGNATURE_REQUIRED, a.ACCOUNT_FREEZE, "operator", subject=ALICE, ledger=CNY)
asked(Code.SIGNERS_MUST_DIFFER, a.ACCOUNT_FREEZE, "operator", "operator", subject=ALICE, ledger=CNY)
asked(Code.SIGNER_ROLE_NOT_ALLOWED, a.QUOTA_SET, "supervisor", participant=BANK)
asked(Code.NOT_THE_ISSUER, a.ACCOUNT_LIMITS, "issuer_hkd", subject=ALICE, ledger=CNY)


@provokes(Code.KEYS_QUOTA_EXCEEDED)
def keys_quota_exceeded(s):
    s.administer(s.request(a.QUOTA_SET, participant=BANK, limit_a=9, limit_b=3), "operator")
    return s.administer(s.request(a.KEY_ADD, participant=BANK, role=2, **NEW), "bank_registrar").code


@provokes(Code.ACCOUNTS_QUOTA_EXCEEDED)
def accounts_quota_exceeded(s):
    s.administer(s.request(a.QUOTA_SET, participant=BANK, limit_a=2, limit_b=9), "operator")
    return s.open(account_on(0, BANK, 7), "bank").code


@provokes(Code.ACCOUNT_CLOSED)
def account_closed(s):
    s.close(BOB)
    return s.close(BOB).code


@provokes(Code.ACCOUNT_HAS_PENDINGS)
def account_has_pendings(s):
    s.send(s.pending())
    return s.close(BOB).code


@provokes(Code.EXISTS_WITH_DIFFERENT_CONTENT)
def exists_with_different_content(s):
    request = s.request(a.QUOTA_SET, participant=BANK, limit_a=5, limit_b=9)
    s.administer(request, "operator")
    return s.administer(replace(request, limit_a=6), "operator").code


# Rules.


@provokes(Code.HELD)
def held(s):
    s.threshold(50)
    return s.code(s.plain(amount=50))


@provokes(Code.HOLD_EXPIRED)
def hold_expired(s):
    s.threshold(50, SECOND_NS)
    transfer = s.plain(amount=50)
    s.send(transfer)
    s.seal()
    s.later(1)
    return leaf_code(s, digest(s, transfer), Code.HOLD_EXPIRED)


@provokes(Code.HOLD_REJECTED)
def hold_rejected(s):
    s.threshold(50)
    transfer = s.plain(amount=50)
    s.send(transfer)
    s.end_hold(transfer, releases=False)
    return Code(s.send(transfer)[0].first_code)


@provokes(Code.APPROVAL_REQUIRED)
def approval_required(s):
    s.threshold(50)
    return s.codes(*s.run(s.plain(amount=50), s.plain()))[0]


@provokes(Code.QUOTE_EXPIRED)
def quote_expired(s):
    quote = s.quote(100, seconds=1)
    s.later(1)
    return s.code(s.lock(sha256(SECRET), user_data=quote))


@provokes(Code.QUOTE_EXHAUSTED)
def quote_exhausted(s):
    return s.code(s.lock(sha256(SECRET), amount=101, user_data=s.quote(100)))


@provokes(Code.TIER_LIMIT_EXCEEDED)
def tier_limit_exceeded(s):
    s.tier(1, rules.REFUSES, most=9)
    s.wear(ALICE, 1)
    return s.code(s.plain(amount=10))


@provokes(Code.VELOCITY_EXCEEDED)
def velocity_exceeded(s):
    s.tier(1, rules.REFUSES, count=1)
    s.wear(ALICE, 1)
    return s.codes(s.plain(), s.plain())[1]


@provokes(Code.BREAKER_OPEN)
def breaker_open(s):
    s.breaker(rules.BY_ACCOUNT, BOB, rules.STOP)
    return s.code(s.plain())


@provokes(Code.BREAKER_SLOW)
def breaker_slow(s):
    s.breaker(rules.BY_LEDGER, CNY, rules.SLOW, rate=1)
    return s.codes(s.plain(), s.plain())[1]


@provokes(Code.QUOTE_EXISTS)
def quote_exists(s):
    request = s.request(a.QUOTE_OPEN, subject=ALICE, ledger=CNY, limit_a=5, limit_b=s.now + 9000 * SECOND_NS)
    s.administer(request, "bank")
    s.later(4000)
    return s.administer(replace(request, expires_at=s.now + SECOND_NS), "bank").code


@provokes(Code.RULES_FULL)
def rules_full(s):
    for _ in range(256):
        s.quote(1)
    return s.administer(
        s.request(a.QUOTE_OPEN, subject=ALICE, ledger=CNY, limit_a=1, limit_b=s.now + SECOND_NS), "bank"
    ).code


@provokes(Code.HOLD_OVER)
def hold_over(s):
    s.threshold(50)
    transfer = s.plain(amount=50)
    s.send(transfer)
    s.end_hold(transfer)
    return s.end_hold(transfer).code


provokes(Code.QUOTE_NOT_FOUND)(lambda s: s.close_quote(77).code)
provokes(Code.BREAKER_NOT_FOUND)(lambda s: s.clear_breaker(rules.BY_LEDGER, CNY).code)
provokes(Code.TIER_NOT_FOUND)(lambda s: s.wear(ALICE, 1).code)
provokes(Code.HOLD_NOT_FOUND)(lambda s: s.end_hold(s.plain()).code)


@pytest.mark.parametrize("code", sorted(SCENARIOS), ids=lambda code: code.name.lower())
def test_a_scenario_provokes_its_code(opened, code):
    stage = opened(**GENESIS.get(code, {})).furnish()
    assert SCENARIOS[code](stage) == code


def test_every_code_has_a_scenario():
    """A closed enumeration; what the ledger cannot answer is listed by name with its reason."""
    missing = set(Code) - set(SCENARIOS) - set(OF_THE_SERVICE) - set(RESERVED)
    assert not missing, sorted(code.name for code in missing)
    assert not set(SCENARIOS) & {*OF_THE_SERVICE, *RESERVED}


def test_the_service_s_codes_are_those_from_240_on():
    assert {code for code in Code if code >= 240} == {*OF_THE_SERVICE, *RESERVED}
