"""Relay blocks are exact bytes, and a certificate stands only on distinct valid signatures of more than two thirds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.development import development_key, development_network
from engine.evidence import FraudClaim
from engine.genesis import padded_key
from engine.governance import Approval, Corridor, NumberChange, ParameterKind, SlotMap
from engine.header import SignedHeader
from engine.refusals import CertificateRefused, EncodingError, ProofRefused
from engine.relay_block import (
    CheckpointRoot,
    ParentCertificate,
    RelayBlock,
    RelayHeader,
    RelayRecord,
    body_path,
    checkpoint_record,
    corridor_record,
    evidence_record,
    header_record,
    parameter_record,
    parent_certificate_record,
    reveal_record,
    slot_map_record,
    validator_set_record,
)
from engine.types import RelayRecordType, Role, VotePhase
from engine.validators import Certificate, CertificateSigner, Statement, Validator, ValidatorSet, Vote, vote_message
from native.hashing import leaf_hash, merkle_root, root_from_path
from tests.behaviour.test_header_and_proof import signed

GENESIS = bytes(range(32))


def keys(count: int, suite: int = 1) -> list:
    return [
        development_key(b"test", f"v{at}", participant=50 + at, role=Role.BLOCK, suite=suite) for at in range(count)
    ]


def validators(powers: tuple[int, ...], set_id: int = 1, first_height: int = 1) -> ValidatorSet:
    members = [
        Validator(key.participant, key.suite, power, padded_key(key.public_key))
        for key, power in zip(keys(len(powers)), powers, strict=True)
    ]
    return ValidatorSet(set_id, first_height, tuple(members))


def block(*records: RelayRecord, height: int = 5, suite: int = 1) -> RelayBlock:
    return RelayBlock.build(
        suite, genesis_hash=GENESIS, height=height, view=2, time=99, parent_hash=bytes(32), set_id=1, records=records
    )


def certificate(of: RelayBlock, signers: tuple[int, ...], count: int, suite: int = 1) -> Certificate:
    rows = []
    for index in signers:
        vote = Vote(
            1, of.header.height, of.header.view, VotePhase.COMMIT, of.hash(suite), 100 + index, bytes([index]) * 32
        )
        signature = keys(count)[index].sign(vote_message(suite, GENESIS, vote))
        rows.append(CertificateSigner(index, vote.time, vote.executed_held, signature))
    return Certificate(VotePhase.COMMIT, 1, of.header.height, of.header.view, of.hash(suite), tuple(rows))


@pytest.mark.parametrize("suite", [1, 2])
def test_a_block_reads_back_and_each_record_is_provable(suite: int) -> None:
    """07: leaf data are the record's bytes."""
    records = (
        header_record(signed(2)),
        reveal_record(b"\x01" * 32),
        validator_set_record(validators((1, 1, 1, 1), 2, 9)),
    )
    one = block(*records, suite=suite)
    data = one.encode()
    assert RelayBlock.decode(data, suite) == one
    assert len(one.header.encode()) == 152
    assert one.preimages() == (b"\x01" * 32,)
    for index, record in enumerate(records):
        path = body_path(suite, records, index)
        leaf = leaf_hash(suite, record.encode())
        assert root_from_path(suite, leaf, index, len(records), path) == one.header.body_root


def test_an_empty_block_stands() -> None:
    assert RelayBlock.decode(block().encode(), 1).preimages() == ()


def test_every_byte_of_a_block_counts() -> None:
    """A changed byte is refused, or it is another block with another hash."""
    one = block(reveal_record(b"\x01" * 32), reveal_record(b"\x02" * 32))
    data = one.encode()
    for at in range(len(data)):
        changed = bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]])
        try:
            assert RelayBlock.decode(changed, 1).hash(1) != one.hash(1)
        except EncodingError:
            continue
    for wrong in (data[:-1], data + b"\0", data[:151], b""):
        with pytest.raises(EncodingError):
            RelayBlock.decode(wrong, 1)


@pytest.mark.parametrize("number", [0, 3, 5, 6, 7, 8, 9, 10, 11, 65535])
def test_unknown_records_and_payloads_that_their_type_has_not_are_refused(number: int) -> None:
    payload = bytes(32)
    raw_record = number.to_bytes(2, "little") + b"\x01\x00" + len(payload).to_bytes(4, "little") + payload
    with pytest.raises(EncodingError):
        RelayRecord.decode_prefix(memoryview(raw_record))


def test_a_reveal_is_exactly_32_bytes() -> None:
    for size in (0, 31, 33):
        with pytest.raises(EncodingError):
            reveal_record(bytes(size))


def test_a_vote_is_104_bytes_and_exact() -> None:
    vote = Vote(1, 2, 3, VotePhase.PREPARE, b"\x04" * 32, 5, b"\x06" * 32)
    data = vote.encode()
    assert len(data) == 104
    assert Vote.decode(data) == vote
    for at, value in ((24, 0), (24, 3), (26, 1), (28, 1)):
        with pytest.raises(EncodingError):
            Vote.decode(data[:at] + bytes([value]) + data[at + 1 :])


@pytest.mark.parametrize("suite", [1, 2])
def test_three_of_four_equal_members_are_a_quorum_and_two_are_not(suite: int) -> None:
    """SEMANTICS of a quorum: 3 * power > 2 * P."""
    one, four = block(suite=suite), validators((1, 1, 1, 1))
    whole = certificate(one, (0, 1, 3), 4, suite)
    assert Certificate.decode(whole.encode()) == whole
    assert one.verify_certificate(suite, whole, four) == 3
    with pytest.raises(CertificateRefused):
        one.verify_certificate(suite, certificate(one, (0, 1), 4, suite), four)


def test_exactly_two_thirds_is_no_quorum() -> None:
    with pytest.raises(CertificateRefused):
        block().verify_certificate(1, certificate(block(), (0, 1, 2, 3), 6), validators((1,) * 6))
    assert block().verify_certificate(1, certificate(block(), (0, 1, 2, 3, 4), 6), validators((1,) * 6)) == 5


def test_power_counts_and_not_heads() -> None:
    uneven = validators((3, 3, 3, 1, 1))
    assert uneven.fault_max == 3
    with pytest.raises(CertificateRefused):
        block().verify_certificate(1, certificate(block(), (0, 1, 3), 5), uneven)
    assert block().verify_certificate(1, certificate(block(), (0, 1, 3, 4), 5), uneven) == 8


@pytest.mark.parametrize("order", [(0, 0, 1, 2), (1, 0, 2, 3), (0, 1, 2, 2)])
def test_a_signer_stands_once_and_in_order(order: tuple[int, ...]) -> None:
    with pytest.raises(CertificateRefused):
        block().verify_certificate(1, certificate(block(), order, 4), validators((1, 1, 1, 1)))


def test_a_member_that_does_not_exist_signs_nothing() -> None:
    four = validators((1, 1, 1, 1))
    with pytest.raises(CertificateRefused):
        certificate(block(), (0, 1, 2, 4), 5).verify(1, GENESIS, four)


@pytest.mark.parametrize("at", range(4))
def test_one_bad_signature_refuses_the_certificate(at: int) -> None:
    whole = certificate(block(), (0, 1, 2, 3), 4)
    rows = list(whole.signers)
    rows[at] = replace(rows[at], signature=rows[at - 1].signature)
    with pytest.raises(CertificateRefused) as refused:
        replace(whole, signers=tuple(rows)).verify(1, GENESIS, validators((1, 1, 1, 1)))
    assert f"[{at}]" in refused.value.reason


def test_what_a_signature_covers_cannot_be_changed() -> None:
    """Height, view, phase, block, set, network, and each signer's own time and state."""
    whole, four = certificate(block(), (0, 1, 2), 4), validators((1, 1, 1, 1))
    whole.verify(1, GENESIS, four)
    for changed in (
        replace(whole, height=6), replace(whole, view=3), replace(whole, phase=VotePhase.PREPARE),
        replace(whole, block_hash=bytes(32)),
        replace(whole, signers=(replace(whole.signers[0], time=1), *whole.signers[1:])),
        replace(whole, signers=(replace(whole.signers[0], executed_held=bytes(31) + b"\1"), *whole.signers[1:])),
    ):  # fmt: skip
        with pytest.raises(CertificateRefused):
            changed.verify(1, GENESIS, four)
    with pytest.raises(CertificateRefused):
        whole.verify(1, bytes(32), four)
    with pytest.raises(CertificateRefused):
        whole.verify(1, GENESIS, validators((1, 1, 1, 1), set_id=2))
    with pytest.raises(CertificateRefused):
        whole.verify(1, GENESIS, validators((1, 1, 1, 1), first_height=6))


def test_a_certificate_is_for_one_block() -> None:
    other = block(reveal_record(bytes(32)))
    with pytest.raises(ProofRefused):
        other.verify_certificate(1, certificate(block(), (0, 1, 2), 4), validators((1, 1, 1, 1)))


@pytest.mark.parametrize(
    "powers", [(1,), (1, 1, 1), (2, 1, 1, 1), (0, 1, 1, 1, 1), (2**64 - 1, 1, 1, 1), (2**62,) * 4, ()]
)
def test_a_set_that_one_member_could_stop_or_that_overflows_is_refused(powers: tuple[int, ...]) -> None:
    """F = (P - 1) div 3; sums are checked."""
    with pytest.raises(CertificateRefused):
        validators(powers)


def test_the_keys_of_one_participant_count_together() -> None:
    four = validators((1, 1, 1, 1))
    members = (four.members[0], replace(four.members[1], participant=50), *four.members[2:])
    with pytest.raises(CertificateRefused):
        ValidatorSet(1, 1, members)
    with pytest.raises(CertificateRefused):
        ValidatorSet(1, 1, (*four.members, replace(four.members[0], participant=99)))


def test_the_largest_sums_stand() -> None:
    assert validators((2**62 - 1,) * 4).power == 2**64 - 4


def test_the_first_set_is_that_of_the_genesis() -> None:
    first = ValidatorSet.of_genesis(development_network(b"test").genesis)
    assert (first.set_id, first.first_height, first.power, first.fault_max) == (1, 1, 4, 1)
    assert ValidatorSet.decode(first.encode()) == first


def test_a_relay_header_reads_back() -> None:
    one = block().header
    assert RelayHeader.decode(one.encode()) == one
    assert RelayRecord(RelayRecordType.HEADER, signed(1).encode()).signed_header() == SignedHeader.decode(
        signed(1).encode()
    )


def test_a_block_that_was_proposed_again_later_keeps_its_view() -> None:
    """RELAY-7: the certificate's view is the header's or a later one, never an earlier one."""
    one, four = block(), validators((1, 1, 1, 1))
    for view, stands in ((2, True), (3, True), (10**6, True), (1, False), (0, False)):
        rows = []
        for index in (0, 1, 2):
            vote = Vote(1, 5, view, VotePhase.COMMIT, one.hash(1), 100, bytes(32))
            rows.append(CertificateSigner(index, 100, bytes(32), keys(4)[index].sign(vote_message(1, GENESIS, vote))))
        later = Certificate(VotePhase.COMMIT, 1, 5, view, one.hash(1), tuple(rows))
        if stands:
            assert one.verify_certificate(1, later, four) == 3
        else:
            with pytest.raises(ProofRefused):
                one.verify_certificate(1, later, four)


def _mixed(count: int) -> tuple[list, ValidatorSet]:
    """Ed25519, SM2 and P-256 in turn."""
    made = [
        development_key(b"mixed", f"v{at}", participant=50 + at, role=Role.BLOCK, suite=1 + at % 3)
        for at in range(count)
    ]
    members = tuple(Validator(key.participant, key.suite, 1, padded_key(key.public_key)) for key in made)
    return made, ValidatorSet(1, 1, members)


@pytest.mark.parametrize("hash_suite", [1, 2])
def test_members_of_all_suites_certify_together(hash_suite: int) -> None:
    """RELAY-1: one certificate, one batch of signatures; one bad signature of any suite is found."""
    signers, mixed = _mixed(7)
    assert ValidatorSet.decode(mixed.encode()) == mixed
    one = block(suite=hash_suite)
    rows = []
    for index in range(6):
        vote = Vote(1, 5, 2, VotePhase.COMMIT, one.hash(hash_suite), 100, bytes(32))
        signature = signers[index].sign(vote_message(hash_suite, GENESIS, vote))
        rows.append(CertificateSigner(index, 100, bytes(32), signature))
    whole = Certificate(VotePhase.COMMIT, 1, 5, 2, one.hash(hash_suite), tuple(rows))
    assert one.verify_certificate(hash_suite, whole, mixed) == 6
    for bad in range(6):
        wrong = [replace(row, signature=rows[bad - 1].signature) if at == bad else row for at, row in enumerate(rows)]
        with pytest.raises(CertificateRefused) as refused:
            replace(whole, signers=tuple(wrong)).verify(hash_suite, GENESIS, mixed)
        assert f"[{bad}]" in refused.value.reason


def test_a_suite_that_does_not_exist_is_refused() -> None:
    four = validators((1, 1, 1, 1))
    for suite in (0, 4, 65535):
        with pytest.raises(CertificateRefused):
            ValidatorSet(1, 1, (*four.members[:3], replace(four.members[3], suite=suite)))


@pytest.mark.parametrize(
    ("powers", "stands"),
    [
        ((10,) * 11 + (1,) * 22, False), ((1,) * 33, True), ((4,) * 11 + (1,) * 22, True), ((5,) * 11 + (1,) * 22, False),
        ((3, 3, 3, 1, 1), True), ((1, 1, 1, 1), True), ((6, 6, 6, 1, 1, 1, 1, 1, 1), False), ((2,) * 3 + (1,) * 3, True),
    ],
)  # fmt: skip
def test_a_third_of_the_participants_or_fewer_never_make_a_quorum(powers: tuple[int, ...], stands: bool) -> None:
    """RELAY-3: "11 of 33" is refused at load, however the power is spread."""
    if stands:
        assert validators(powers).power == sum(powers)
    else:
        with pytest.raises(CertificateRefused, match="quorum"):
            validators(powers)


def test_too_many_members_are_no_set() -> None:
    one = validators((1, 1, 1, 1)).members[0]
    with pytest.raises(CertificateRefused):
        ValidatorSet(1, 1, tuple(replace(one, participant=at) for at in range(1, 1026)))


def test_records_of_every_type_read_back_and_are_exact() -> None:
    """RELAY-11, -28, -51: what follows the payload of any type, or is missing from it, is refused."""
    whole = certificate(block(), (0, 1, 2), 4)
    statements = [Statement.of(3, [at]).encode() for at in (2, 0)]
    approval = Approval(1, bytes(range(64)))
    records = (
        parent_certificate_record(whole, statements),
        parent_certificate_record(whole),
        validator_set_record(validators((1, 1, 1, 1), 2, 9), [approval]),
        slot_map_record(SlotMap(1, 2, 3, bytes(4096)), [approval]),
        corridor_record(Corridor(bytes(16), 1, 2, b"text")),
        parameter_record(NumberChange(ParameterKind.DRIFT, 1, 2)),
        evidence_record(FraudClaim(1, 2, 3, bytes(32), bytes(32), bytes(32), (approval,))),
        checkpoint_record(CheckpointRoot(1024, 70_000, 2, bytes(32))),
    )
    one = block(*records)
    assert RelayBlock.decode(one.encode(), 1) == one
    assert records[0].parent_certificate() == ParentCertificate(whole, tuple(sorted(statements)))
    assert records[2].governed().approvals == (approval,)
    assert (records[3].slot_map().version, records[4].corridor().document) == (2, b"text")
    assert (records[5].parameter().value, records[7].checkpoint().chunk_count) == (2, 2)
    for record in records:
        for wrong in (record.payload[:-1], record.payload + b"\0", b""):
            with pytest.raises(EncodingError):
                replace(record, payload=wrong).check()


def test_statements_of_a_parent_certificate_have_one_spelling() -> None:
    whole = certificate(block(), (0, 1, 2), 4)
    low, high = sorted(Statement.of(3, [at]).encode() for at in (2, 0))
    for statements in ((high, low), (low, low), (low[:-1], high[:-1]), (low, high, low + b"", high)):
        with pytest.raises(EncodingError):
            ParentCertificate.decode(ParentCertificate(whole, statements).encode())
    prepared = replace(whole, phase=VotePhase.PREPARE)
    with pytest.raises(EncodingError):
        ParentCertificate.decode(ParentCertificate(prepared).encode())


@pytest.mark.parametrize("suite", [1, 2])
def test_reveals_in_rows_are_records_one_by_one(suite: int) -> None:
    """Goal: what is read and hashed in rows is what each record is. Method: reveals between others, against the slow way."""
    others = [RelayRecord(RelayRecordType.CHECKPOINT, bytes(16) + (1).to_bytes(4, "little") + bytes(36))]
    many = [reveal_record(bytes([number]) * 32) for number in range(40)]
    for records in ([], many, [*many[:3], *others, *many[3:]], [*others, *many], [*many, *others]):
        block = RelayBlock.build(
            suite, genesis_hash=bytes(32), height=3, view=0, time=9, parent_hash=bytes(32), set_id=1, records=records
        )
        leaves = b"".join(leaf_hash(suite, each.encode()) for each in records)
        assert block.header.body_root == merkle_root(suite, leaves)
        data = block.encode()
        read = RelayBlock.decode(data, suite)
        assert read == block and read.records == tuple(records) and read.encode() == data
        # Of a block that is changed the bytes are made anew.
        other = replace(read, header=replace(read.header, height=4))
        assert other.encode()[152:] == data[152:] and other.encode() != data
        for cut in range(1, min(40, len(data) - 152)):
            with pytest.raises(EncodingError):
                RelayBlock.decode(data[:-cut], suite)
        with pytest.raises(EncodingError):
            RelayBlock.decode(data + many[0].encode(), suite)


@pytest.mark.parametrize("size", [0, 31, 33, 1 << 20])
def test_a_reveal_has_32_bytes(size: int) -> None:
    """Anywhere in a block: first, and after others that were read in rows."""
    odd = RelayRecord(RelayRecordType.REVEAL, bytes(size))
    for records in ([odd], [reveal_record(bytes(32)), odd], [odd, reveal_record(bytes(32))]):
        block = RelayBlock.build(
            1, genesis_hash=bytes(32), height=3, view=0, time=9, parent_hash=bytes(32), set_id=1, records=records
        )
        with pytest.raises(EncodingError, match="reveal bytes"):
            RelayBlock.decode(block.encode(), 1)
