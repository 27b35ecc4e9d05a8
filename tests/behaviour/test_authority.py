"""Who signs what: keys, their roles, and the accounts they speak for (steps 14 to 18)."""

from __future__ import annotations

import pytest

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.admin_request import ACCOUNT_KEY_SET, KEY_ADD, KEY_REVOKE, KEY_ROTATE, NEW_KEY
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.keyring import public_key
from tests.model.stage import ALICE, ALICE_2, BANK, BOB, CNY, ISSUER_ACCOUNT, KEYS, account_on


def test_a_key_that_nobody_registered(bank):
    """Step 14."""
    assert bank.code(bank.plain(key_id=999)) == Code.KEY_NOT_FOUND


def test_a_signature_that_does_not_hold(bank):
    """Step 15: burns nothing."""
    bad = bank.plain()
    assert bank.code(bad, verdict=0) == Code.INVALID_SIGNATURE
    assert bank.code(bad) == Code.CREATED


def test_a_revoked_key_decides_nothing_any_more(bank):
    """Step 16: retired now means not in force at this very instant."""
    revoke = bank.request(KEY_REVOKE, participant=BANK, key_id=KEYS["bank"])
    assert bank.everywhere(revoke, "bank_registrar").code == Code.CREATED
    late = bank.plain()
    assert bank.codes(late, late) == [Code.KEY_NOT_IN_FORCE] * 2


def test_what_was_decided_is_answered_after_the_key_is_gone(bank):
    """Step 13 comes before 16."""
    done = bank.plain()
    assert bank.code(done) == Code.CREATED
    bank.everywhere(bank.request(KEY_REVOKE, participant=BANK, key_id=KEYS["bank"]), "bank_registrar")
    assert bank.code(done) == Code.EXISTS


def test_a_rotated_key_is_followed_by_its_line(bank):
    """Type 3: same role, same lineage; the old one is retired."""
    rotate = bank.request(KEY_ROTATE, participant=BANK, key_id=KEYS["bank"], suite=1, public_key=public_key(70))
    answer = bank.everywhere(rotate, "bank", NEW_KEY)
    assert answer.code == Code.CREATED
    assert bank.code(bank.plain()) == Code.KEY_NOT_IN_FORCE
    assert bank.code(bank.plain(key_id=answer.assigned)) == Code.CREATED


def test_a_missing_payer_burns_nothing(bank):
    """Step 17."""
    missing = account_on(0, BANK, 9)
    early = bank.plain(debit_account=missing)
    assert bank.code(early) == Code.DEBIT_ACCOUNT_NOT_FOUND
    assert bank.open(missing, "bank").code == Code.CREATED
    assert bank.code(early) == Code.INSUFFICIENT_FUNDS


@pytest.mark.parametrize("key", ["bank_2", "other", "operator", "bank_registrar", "issuer_a", "supervisor"])
def test_only_the_account_s_own_key_line_pays(bank, key):
    """Step 18."""
    assert bank.code(bank.plain(key_id=KEYS[key])) == Code.KEY_NOT_AUTHORISED


def test_an_issuer_account_is_moved_by_issuer_keys_of_its_participant(bank):
    """Step 18."""
    issue = {"debit_account": ISSUER_ACCOUNT, "credit_account": ALICE}
    assert bank.code(bank.pending(key_id=KEYS["issuer_hkd"], **issue)) == Code.KEY_NOT_AUTHORISED
    assert bank.code(bank.pending(key_id=KEYS["issuer_registrar"], **issue)) == Code.KEY_NOT_AUTHORISED
    assert bank.code(bank.pending(key_id=KEYS["issuer_b"], **issue)) == Code.CREATED


def test_any_account_key_of_the_payee_s_participant_may_end(bank):
    """Step 18: for the credit side the participant counts, not the line."""
    pending = bank.pending(r.PAYEE_POSTS, debit_account=ALICE, credit_account=BOB)
    assert bank.code(pending) == Code.CREATED
    key = bank.everywhere(
        bank.request(KEY_ADD, participant=21, role=2, suite=1, public_key=public_key(71)), "other_registrar"
    ).assigned
    assert bank.code(bank.post(pending, key_id=key)) == Code.CREATED


def test_an_issuer_as_payee_ends_with_its_issuer_key(bank):
    """Step 18: the credit account is local and an issuer's."""
    pending = bank.pending(r.PAYEE_POSTS, credit_account=ISSUER_ACCOUNT)
    assert bank.code(pending) == Code.CREATED
    assert bank.code(bank.post(pending, key_id=KEYS["issuer_hkd"])) == Code.KEY_NOT_AUTHORISED
    assert bank.code(bank.post(pending, key_id=KEYS["issuer_a"])) == Code.CREATED


def test_a_payee_between_accounts_of_one_participant_is_the_other_key(bank):
    """Step 18: the payer's line first, else the participant as payee."""
    pending = bank.pending(r.PAYEE_POSTS, credit_account=ALICE_2)
    assert bank.code(pending) == Code.CREATED
    assert bank.code(bank.post(pending)) == Code.NOT_PERMITTED_BY_PENDING
    assert bank.code(bank.post(pending, key_id=KEYS["bank_2"])) == Code.CREATED


def test_a_payee_s_key_begins_nothing(bank):
    """Step 18: only post and void know the payee's side."""
    assert bank.code(bank.pending(key_id=KEYS["other"])) == Code.KEY_NOT_AUTHORISED


def test_an_account_is_given_to_another_key_line(bank):
    """Type 11."""
    request = bank.request(ACCOUNT_KEY_SET, subject=ALICE, ledger=CNY, key_id=KEYS["bank_2"])
    assert bank.administer(request, "bank_registrar", "operator").code == Code.CREATED
    assert bank.code(bank.plain()) == Code.KEY_NOT_AUTHORISED
    assert bank.code(bank.plain(key_id=KEYS["bank_2"])) == Code.CREATED


def test_an_issuer_s_account_has_no_key_line(bank):
    """ADMIN-2, type 11."""
    request = bank.request(ACCOUNT_KEY_SET, subject=ISSUER_ACCOUNT, ledger=CNY, key_id=KEYS["bank"])
    assert bank.administer(request, "issuer_registrar", "operator").code == Code.ROLE_NOT_ALLOWED


def test_a_stranger_s_key_ends_nothing(bank):
    """Step 18: an account key of neither side, even of the payer's participant."""
    pending = bank.pending(r.PAYER_POSTS | r.PAYEE_POSTS | r.PAYER_VOIDS | r.PAYEE_VOIDS)
    assert bank.code(pending) == Code.CREATED
    for key in ("bank_2", "issuer_a", "operator", "other_registrar"):
        assert bank.code(bank.post(pending, key_id=KEYS[key])) == Code.KEY_NOT_AUTHORISED
        assert bank.code(bank.void(pending, key_id=KEYS[key])) == Code.KEY_NOT_AUTHORISED
