"""Supply: issued by two keys of the issuer, redeemed by holders, and proved by the issuer's account under a state root."""

from __future__ import annotations

import pytest

from engine.block import InclusionPath
from engine.header import Header
from engine.machine import STATE_SUBTREES
from engine.record import Account
from native.codes import ResultCode as Code
from native.hashing import leaf_hash
from tests.model.adapter import make_subject
from tests.model.stage import ALICE, BOB, ISSUER_ACCOUNT, KEYS, Stage, genesis_document


@pytest.fixture
def stage() -> Stage:
    return Stage(lambda document, shard: make_subject("machine", document, shard), genesis_document()).furnish()


def supply(stage: Stage) -> int:
    """What a verifier computes who has a header, the issuer's leaf and its two paths (LEDGER-108)."""
    header = Header.decode(stage.seal())
    proof = stage.shards[0].machine.prove_account(ISSUER_ACCOUNT)  # type: ignore[attr-defined]
    root = proof.path.root(1, leaf_hash(1, proof.leaf), "account")
    # The first of ten leaves, or of eleven where rules stand: the same path either way (LEDGER-70).
    state = InclusionPath(0, len(STATE_SUBTREES), proof.state_path)
    state.check(1, leaf_hash(1, b"accounts".ljust(16, b"\x00") + root), header.state_root, "state")
    account = Account.decode(proof.leaf)
    return account.debits_posted - account.credits_posted


@pytest.mark.parametrize("rules", [False, True])
def test_supply_is_what_was_issued_less_what_was_redeemed(stage: Stage, rules: bool) -> None:
    """LEDGER-108."""
    if rules:
        stage.threshold(10**6)
    assert supply(stage) == 1000
    assert stage.code(stage.plain(amount=300)) == Code.CREATED
    assert supply(stage) == 1000
    stage.fund(BOB, 50)
    assert supply(stage) == 1050
    assert stage.code(stage.plain(credit_account=ISSUER_ACCOUNT, amount=200)) == Code.CREATED
    assert supply(stage) == 850
    holders = sum(credits_ - debits for _, debits, _, credits_ in map(stage.balance, (ALICE, BOB)))
    assert holders == 850


def test_nobody_issues_alone(stage: Stage) -> None:
    """LEDGER-10."""
    issue = {"debit_account": ISSUER_ACCOUNT, "credit_account": ALICE, "amount": 5}
    assert stage.code(stage.plain(key_id=KEYS["issuer_a"], **issue)) == Code.ISSUE_REQUIRES_PENDING
    assert stage.code(stage.pending(key_id=KEYS["bank"], **issue)) == Code.KEY_NOT_AUTHORISED
    pending = stage.pending(key_id=KEYS["issuer_a"], **issue)
    assert stage.codes(pending, stage.post(pending)) == [Code.CREATED, Code.ISSUER_KEYS_MUST_DIFFER]
    assert supply(stage) == 1000
