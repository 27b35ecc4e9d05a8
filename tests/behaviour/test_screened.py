"""A screening outcome on the record (ADMIN-9, type 23): signed by who screened, with a leaf, and nothing else changes."""

from __future__ import annotations

import pytest

from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.keyring import public_key
from tests.model.stage import ALICE, CAROL, CNY, EUR

SCREENER, OTHER = 30, 31
HASHES = b"\x5a" * 32 + b"\xa5" * 32
CASE = 77 << 64


def screening_key(bank, participant: int, number: int) -> int:
    """Add a participant that may screen, and its key of role screening; return the key's id."""
    bits = {"role": 1 << a.SCREENING, "limit_a": 9, "limit_b": 9, "suite": 1}
    who = bank.request(
        a.PARTICIPANT_ADD, participant=participant, subject=participant, public_key=public_key(number), **bits
    )
    assert bank.everywhere(who, "operator").code == Code.CREATED
    fields = {"participant": participant, "role": a.SCREENING, "suite": 1, "public_key": public_key(number + 1)}
    answer = bank.everywhere(bank.request(a.KEY_ADD, **fields), "operator")
    assert answer.code == Code.CREATED
    return answer.assigned


def outcome(bank, **changes):
    basis = {
        "subject": ALICE, "ledger": CNY, "participant": SCREENER, "role": 2, "reason": 9_700, "key_id": 7,
        "limit_a": CASE, "public_key": HASHES,
    }  # fmt: skip
    return bank.request(a.SCREENED, **(basis | changes))


def test_an_outcome_has_a_leaf_and_changes_nothing_else(bank):
    """A pass without a case and a hold with one; sent again, either is known."""
    key = screening_key(bank, SCREENER, 80)
    bank.seal()
    before = bank.shards[0].subtree_roots()
    held, passed = outcome(bank), outcome(bank, role=1, limit_a=0, reason=0)
    assert [bank.administer(each, key).code for each in (held, passed, held)] == [Code.CREATED] * 2 + [Code.EXISTS]
    after = bank.shards[0].subtree_roots()
    assert {name for name in before if before[name] != after[name]} <= {"admin", "parameters"}
    assert int.from_bytes(bank.seal()[72:80], "little") == 2


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"role": 0}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"role": 3}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"role": 1}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"limit_a": 0}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"reason": 10_001}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"key_id": 0}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"public_key": HASHES[:32] + bytes(32)}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"public_key": bytes(32) + HASHES[32:]}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"suite": 1}, Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"ledger": EUR}, Code.LEDGER_NOT_FOUND),
        ({"subject": CAROL}, Code.WRONG_SHARD),
        ({"reason": 10_000}, Code.CREATED),
    ],
)
def test_an_outcome_that_contradicts_itself_is_refused(bank, changes, code):
    """Each field by itself; what is open burns nothing."""
    key = screening_key(bank, SCREENER, 80)
    assert bank.administer(outcome(bank, **changes), key).code == code


def test_who_screens_signs_for_himself(bank):
    """No other role, no other participant's key, and not two."""
    key, other = screening_key(bank, SCREENER, 80), screening_key(bank, OTHER, 90)
    for signers in (("supervisor",), ("bank",), (other,)):
        assert bank.administer(outcome(bank), *signers).code == Code.SIGNER_ROLE_NOT_ALLOWED
    assert bank.administer(outcome(bank), key, "supervisor").code == Code.ADMIN_FIELD_NOT_ALLOWED
    assert bank.administer(outcome(bank), key).code == Code.CREATED
