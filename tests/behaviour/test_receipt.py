"""A receipt convinces offline with the validator set alone, says what it proves, and breaks at any change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.anchorage import Anchorage, Finality
from engine.block import InclusionPath, build_decision_proof
from engine.bodies import decode_admin_body, decode_batch_body
from engine.codes import ResultCode
from engine.header import SignedHeader, header_message
from engine.log_record import RecordKind
from engine.prefix import PrefixType, record_digest, signing_prefix
from engine.receipt import BalanceReceipt, Receipt, ReceiptForm, decode_receipt
from engine.record import ordinary_account_id
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RelayBlock, body_path, header_record, reveal_record
from engine.types import Role, VotePhase
from engine.validators import Certificate, CertificateSigner, Statement, ValidatorSet, Vote, vote_message
from native.hashing import MerkleTree, leaf_hash
from tests.behaviour.domain_on_log import BANK_A, DomainOnLog
from tests.behaviour.test_machine import busy


def anchorage_of(
    domain: DomainOnLog, height: int, anchored_height: int, *, verified: int = 0, executed_only: bool = False
) -> Anchorage:
    """Anchor block ``height`` by the header at another height; ``verified`` of three signers executed and hold it."""
    suite, genesis = domain.genesis.hash_suite, domain.genesis.hash
    block_key = domain.key(Role.BLOCK)
    sealed = domain.sealed[0x100]
    signed = [
        SignedHeader(each.header, block_key.key_id, block_key.sign(header_message(suite, genesis, each.header.hash)))
        for each in sealed
    ]
    anchored = signed[anchored_height - 1]
    range_path = None
    if anchored_height > height:
        earlier = MerkleTree(suite)
        for each in signed[: anchored_height - 1]:
            earlier.append(leaf_hash(suite, each.header.hash))
        range_path = InclusionPath(height - 1, anchored_height - 1, earlier.path(height - 1))
    records = (reveal_record(bytes(32)), header_record(anchored), reveal_record(b"\1" * 32))
    block = RelayBlock.build(
        suite, genesis_hash=genesis, height=9, view=1, time=domain.now, parent_hash=bytes(32), set_id=1, records=records
    )
    said = Statement.of(1, [0], [] if executed_only else [0])
    nothing = Statement.of(1)
    statements = [said if index < verified else nothing for index in range(3)]
    votes = [
        (index, key, Vote(1, 9, 1, VotePhase.COMMIT, block.hash(suite), domain.now, statements[index].hash(suite)))
        for index, key in enumerate(domain.network.validators[:3])
    ]
    signers = tuple(
        CertificateSigner(index, vote.time, vote.executed_held, key.sign(vote_message(suite, genesis, vote)))
        for index, key, vote in votes
    )
    return Anchorage(
        header=sealed[height - 1].header, range_path=range_path, anchored=anchored,
        anchor_path=InclusionPath(1, 3, body_path(suite, records, 1)), relay_header=block.header,
        certificate=Certificate(VotePhase.COMMIT, 1, 9, 1, block.hash(suite), signers),
        statements=tuple(sorted({each.encode() for each in statements})) if verified else (),
    )  # fmt: skip


def receipt_of(
    domain: DomainOnLog, anchored_height: int, form: ReceiptForm = ReceiptForm.PAYER, **more: object
) -> Receipt:
    """Prove the first transfer of the fifth log record, anchored by the header at a height."""
    suite, genesis = domain.genesis.hash_suite, domain.genesis.hash
    record = decode_batch_body(domain.logs[0x100][4].body, 1).columns.records()[0].tobytes()
    prefix = signing_prefix(suite, PrefixType.TRANSFER, genesis)
    anchorage = anchorage_of(domain, 1, anchored_height, **more)
    leaves = domain.sealed[0x100][0].decision_leaves
    digest_ = record_digest(suite, prefix, record)
    proof = build_decision_proof(suite, digest_, leaves, SignedHeader(anchorage.header, 0, b""))
    return Receipt(form, record, prefix, proof.decision, proof.path, anchorage)


def administration_of(domain: DomainOnLog) -> Receipt:
    """Put a decided request of administration where a receipt has its transfer: all but its meaning holds."""
    suite = domain.genesis.hash_suite
    prefix = signing_prefix(suite, PrefixType.ACCOUNT, domain.genesis.hash)
    body = next(each.body for each in domain.logs[0x100] if each.kind is RecordKind.ADMIN)
    leaves = domain.sealed[0x100][0].decision_leaves
    rows = [each.tobytes() for each in decode_admin_body(body).columns.bodies]
    record = next(each for each in rows if record_digest(suite, prefix, each) in leaves)
    honest = receipt_of(domain, 1)
    header = SignedHeader(honest.anchorage.header, 0, b"")
    proof = build_decision_proof(suite, record_digest(suite, prefix, record), leaves, header)
    return replace(honest, record=record, prefix=prefix, decision=proof.decision, decision_path=proof.path)


def balance_of(domain: DomainOnLog, account: int, **more: object) -> BalanceReceipt:
    """Prove an account as the last block left it."""
    proof = domain.machines[0x100].prove_account(account)
    height = len(domain.sealed[0x100])
    return BalanceReceipt(*proof, anchorage_of(domain, height, height, **more))


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
    anchored = found.anchorage
    assert (anchored.shard, anchored.height, anchored.relay_height, anchored.power) == (0x100, 1, 9, 3)
    assert anchored.state == "final, anchored"


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


def test_a_request_of_administration_is_no_transfer(domain, validators) -> None:
    """Its decision stands in the same tree, and 160 bytes of it would read as a payment that nobody made."""
    forged = administration_of(domain)
    with pytest.raises(ProofRefused, match="no transfer"):
        Receipt.decode(forged.encode()).verify(domain.genesis.hash_suite, domain.genesis.hash, validators)


def test_a_verifier_with_an_old_set_says_so(domain, validators) -> None:
    receipt = receipt_of(domain, 1)
    with pytest.raises(ProofRefused) as refused:
        receipt.verify(1, domain.genesis.hash, replace(validators, set_id=2))
    assert refused.value.step == "stale_trust"


def test_votes_to_prepare_make_nothing_final(domain, validators) -> None:
    receipt = receipt_of(domain, 1)
    certificate = replace(receipt.anchorage.certificate, phase=VotePhase.PREPARE)
    prepared = replace(receipt, anchorage=replace(receipt.anchorage, certificate=certificate))
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
    for wrong in (None, InclusionPath(1, 2, receipt.anchorage.range_path.path), InclusionPath(0, 1, ())):
        with pytest.raises(ProofRefused):
            changed = replace(receipt, anchorage=replace(receipt.anchorage, range_path=wrong))
            changed.verify(1, domain.genesis.hash, validators)


@pytest.mark.parametrize(("verified", "state"), [(0, "anchored"), (1, "anchored"), (2, "verified"), (3, "verified")])
def test_more_than_f_who_executed_and_hold_it_make_it_verified(domain, validators, verified: int, state: str) -> None:
    """F is 1 of 4."""
    receipt = Receipt.decode(receipt_of(domain, 2, verified=verified).encode())
    assert receipt.verify(1, domain.genesis.hash, validators).anchorage.state == f"final, {state}"


def test_who_executed_and_holds_nothing_verifies_nothing(domain, validators) -> None:
    receipt = receipt_of(domain, 2, verified=3, executed_only=True)
    assert receipt.verify(1, domain.genesis.hash, validators).anchorage.finality is Finality.ANCHORED


def test_statements_that_nobody_signed_are_refused(domain, validators) -> None:
    receipt = receipt_of(domain, 2, verified=2)
    said = receipt.anchorage.statements
    for wrong in ((*said, Statement.of(2, [1], [1]).encode()), (said[0], said[0]), (Statement.of(0).encode(),)):
        changed = replace(receipt, anchorage=replace(receipt.anchorage, statements=wrong))
        with pytest.raises(ProofRefused) as refused:
            changed.verify(1, domain.genesis.hash, validators)
        assert refused.value.step == "statements"


def test_a_balance_is_proven_under_the_state_root(domain, validators) -> None:
    account = ordinary_account_id(BANK_A, 1)
    receipt = balance_of(domain, account)
    assert decode_receipt(receipt.encode()) == receipt
    found = receipt.verify(1, domain.genesis.hash, validators)
    assert found.account == domain.machines[0x100].find_account(account)
    assert found.account.balance > 0
    data = receipt.encode()
    for at in range(8, 8 + 8 + 160):  # the section's head and the account's leaf
        with pytest.raises((EncodingError, ProofRefused)):
            decode_receipt(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]).verify(
                1, domain.genesis.hash, validators
            )
    assert domain.machines[0x100].prove_account(ordinary_account_id(BANK_A, 99)) is None


def test_a_receipt_of_one_form_is_none_of_another(domain) -> None:
    balance, payer = balance_of(domain, ordinary_account_id(BANK_A, 1)).encode(), receipt_of(domain, 1).encode()
    for read, data in ((Receipt.decode, balance), (BalanceReceipt.decode, payer)):
        with pytest.raises(EncodingError):
            read(data)
    for form in (0, 4):
        with pytest.raises(EncodingError):
            decode_receipt(payer[:6] + bytes([form, 0]) + payer[8:])
