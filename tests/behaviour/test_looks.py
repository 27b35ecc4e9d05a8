"""A supervisor's look is a record of its own: with a leaf, and nothing else changes."""

from __future__ import annotations

import pytest

from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.stage import ALICE, CNY

DIGEST = b"\x5a" * 32 + bytes(32)


def test_a_look_has_a_leaf_and_changes_nothing_else(bank):
    """ADMIN-9."""
    bank.seal()
    before = bank.shards[0].subtree_roots()
    request = bank.request(a.LOOK, subject=ALICE, ledger=CNY, reason=9, public_key=DIGEST)
    assert bank.administer(request, "supervisor").code == Code.CREATED
    after = bank.shards[0].subtree_roots()
    assert {name for name in before if before[name] != after[name]} <= {"admin", "parameters"}
    assert int.from_bytes(bank.seal()[72:80], "little") == 1
    assert bank.administer(request, "supervisor").code == Code.EXISTS


@pytest.mark.parametrize(
    ("fields", "signers", "code"),
    [
        ({"reason": 0}, ("supervisor",), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"public_key": bytes(64)}, ("supervisor",), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({"limit_a": 1}, ("supervisor",), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({}, ("operator",), Code.SIGNER_ROLE_NOT_ALLOWED),
        ({}, ("supervisor", "operator"), Code.ADMIN_FIELD_NOT_ALLOWED),
        ({}, ("supervisor_2",), Code.CREATED),
    ],
)
def test_who_may_look(bank, fields, signers, code):
    """ADMIN-8, ADMIN-9."""
    basis = {"subject": ALICE, "reason": 9, "public_key": DIGEST}
    assert bank.administer(bank.request(a.LOOK, **(basis | fields)), *signers).code == code
