"""A receipt convinces offline with the validator set alone, says what it proves, and breaks at any change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.block import InclusionPath, build_decision_proof
from engine.bodies import decode_batch_body
from engine.codes import ResultCode
from engine.header import SignedHeader, header_message
from engine.prefix import PrefixType, signing_prefix
from engine.receipt import Receipt, ReceiptForm
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RelayBlock, body_path, header_record, reveal_record
from engine.types import Role, VotePhase
from engine.validators import Certificate, CertificateSigner, ValidatorSet, Vote, vote_message
from native.hashing import MerkleTree, leaf_hash
from tests.behaviour.domain_on_log import DomainOnLog
from tests.behaviour.test_machine import busy


def receipt_of(domain: DomainOnLog, anchored_height: int, form: ReceiptForm = ReceiptForm.PAYER) -> Receipt:
    """Prove the first transfer of the fifth log record, anchored by the header at a height."""
    suite, genesis = domain.genesis.hash_suite, domain.genesis.hash
    block_key = domain.key(Role.BLOCK)
    sealed = domain.sealed[0x100]
    signed = [
        SignedHeader(each.header, block_key.key_id, block_key.sign(header_message(suite, genesis, each.header.hash)))
        for each in sealed
    ]
    record = decode_batch_body(domain.logs[0x100][4].body, 1).columns.records()[0].tobytes()
    prefix = signing_prefix(suite, PrefixType.TRANSFER, genesis)
    from engine.prefix import record_digest

    proof = build_decision_proof(suite, record_digest(suite, prefix, record), sealed[0].decision_leaves, signed[0])
    anchored = signed[anchored_height - 1]
    range_path = None
    if anchored_height > 1:
        earlier = MerkleTree(suite)
        for each in signed[: anchored_height - 1]:
            earlier.append(leaf_hash(suite, each.header.hash))
        range_path = InclusionPath(0, anchored_height - 1, earlier.path(0))
    records = (reveal_record(bytes(32)), header_record(anchored), reveal_record(b"\1" * 32))
    block = RelayBlock.build(
        suite, genesis_hash=genesis, height=9, view=1, time=domain.now, parent_hash=bytes(32), set_id=1, records=records
    )
    votes = [
        (index, key, Vote(1, 9, 1, VotePhase.COMMIT, block.hash(suite), domain.now, bytes(32)))
        for index, key in enumerate(domain.network.validators[:3])
    ]
    signers = tuple(
        CertificateSigner(index, vote.time, vote.executed_held, key.sign(vote_message(suite, genesis, vote)))
        for index, key, vote in votes
    )
    return Receipt(
        form=form, record=record, prefix=prefix, decision=proof.decision, decision_path=proof.path,
        header=sealed[0].header, range_path=range_path, anchored=anchored,
        anchor_path=InclusionPath(1, 3, body_path(suite, records, 1)), relay_header=block.header,
        certificate=Certificate(VotePhase.COMMIT, 1, 9, 1, block.hash(suite), signers),
    )  # fmt: skip


@pytest.fixture(scope="module")
def domain() -> DomainOnLog:
    made = DomainOnLog()
    busy(made)
    return made


@pytest.fixture(scope="module")
def validators(domain: DomainOnLog) -> ValidatorSet:
    return ValidatorSet.of_genesis(domain.genesis)


@pytest.mark.parametrize("anchored_height", [1, 2, 3])
def test_a_receipt_proves_from_record_to_certificate(domain, validators, anchored_height: int) -> None:
    """Anchored by the block's own header, or by a later one that commits to it."""
    receipt = receipt_of(domain, anchored_height)
    read = Receipt.decode(receipt.encode())
    assert read == receipt
    found = read.verify(1, domain.genesis.hash, validators)
    assert (found.transfer.amount, found.decision.code, found.meaning.name) == (10, ResultCode.CREATED, "created")
    assert (found.shard, found.height, found.relay_height, found.power, found.state) == (
        0x100,
        1,
        9,
        3,
        "final, anchored",
    )


def test_every_byte_of_a_receipt_counts(domain, validators) -> None:
    """Except the block key's own signature and id, for which the quorum stands: those may not move the finding."""
    receipt = receipt_of(domain, 2)
    data = receipt.encode()
    expected = receipt.verify(1, domain.genesis.hash, validators)
    refused = 0
    for at in range(len(data)):
        try:
            found = Receipt.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]).verify(
                1, domain.genesis.hash, validators
            )
        except (EncodingError, ProofRefused):
            refused += 1
            continue
        assert replace(found, form=expected.form) == expected
    assert refused >= len(data) - 4
    for wrong in (data[:-1], data + b"\0", data[:8], b""):
        with pytest.raises(EncodingError):
            Receipt.decode(wrong)


def test_a_verifier_with_an_old_set_says_so(domain, validators) -> None:
    receipt = receipt_of(domain, 1)
    with pytest.raises(ProofRefused) as refused:
        receipt.verify(1, domain.genesis.hash, replace(validators, set_id=2))
    assert refused.value.step == "stale_trust"


def test_votes_to_prepare_make_nothing_final(domain, validators) -> None:
    receipt = receipt_of(domain, 1)
    prepared = replace(receipt, certificate=replace(receipt.certificate, phase=VotePhase.PREPARE))
    with pytest.raises(ProofRefused):
        prepared.verify(1, domain.genesis.hash, validators)


def test_money_on_its_way_is_no_payees_receipt(domain, validators) -> None:
    assert receipt_of(domain, 1, ReceiptForm.PAYEE).verify(1, domain.genesis.hash, validators).form is ReceiptForm.PAYEE
    receipt = receipt_of(domain, 1, ReceiptForm.PAYEE)
    moving = replace(receipt, decision=replace(receipt.decision, code=int(ResultCode.CREATED_IN_TRANSIT)))
    with pytest.raises(ProofRefused) as refused:
        moving.verify(1, domain.genesis.hash, validators)
    assert refused.value.step == "form"


def test_a_header_before_the_anchored_one_needs_its_path(domain, validators) -> None:
    receipt = receipt_of(domain, 3)
    for wrong in (None, InclusionPath(1, 2, receipt.range_path.path), InclusionPath(0, 1, ())):
        with pytest.raises(ProofRefused):
            replace(receipt, range_path=wrong).verify(1, domain.genesis.hash, validators)
