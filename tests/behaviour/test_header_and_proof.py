"""A header is exact bytes under one signature, and a decision proof convinces with the block key alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.block import Decision, DecisionProof, build_decision_proof, decisions_root, find_decision
from engine.development import development_key
from engine.header import ChannelEntry, Header, LedgerEntry, SignedHeader, header_message
from engine.refusals import EncodingError, ProofRefused
from engine.types import Role
from native.hashing import digest

KEY = development_key(b"test", "block", participant=1, role=Role.BLOCK, key_id=6)


def header(suite: int = 1, **fields: object) -> Header:
    plain = {
        "hash_suite": suite, "shard": 0x101, "epoch": 1, "height": 3, "first_number": 10, "last_number": 20, "time": 7,
        "relay_height": 1, "relay_time": 2, "slot_map_version": 1, "decision_count": 0, "outgoing_count": 0, "account_count": 4,
        **{name: bytes([at]) * 32 for at, name in enumerate((
            "genesis_hash", "parent_hash", "first_record_hash", "last_record_hash", "decisions_root", "state_root",
            "outgoing_root", "headers_root"), start=1)},
        "channels": (ChannelEntry(0x100, 5, 6), ChannelEntry(0x102, 0, 1)),
        "ledgers": (LedgerEntry(1, 10, 2**127, 3, 4),),
    }  # fmt: skip
    return Header(**{**plain, **fields})


def leaves(count: int) -> bytes:
    return b"".join(Decision(digest(1, bytes([at])), 100 + at, 1 + at % 2).encode() for at in range(count))


def signed(count: int, suite: int = 1) -> SignedHeader:
    one = header(suite, decision_count=count, decisions_root=decisions_root(suite, leaves(count)))
    return SignedHeader(one, KEY.key_id, KEY.sign(header_message(suite, one.genesis_hash, one.hash)))


def test_a_header_is_416_bytes_and_its_entries() -> None:
    """The layout of docs/spec/04, field by field."""
    data = header().encode()
    assert len(data) == 416 + 2 * 24 + 80
    assert Header.decode(data) == header()
    u = lambda at, size: int.from_bytes(data[at : at + size], "little")  # noqa: E731
    assert data[:4] == b"CSBH"
    assert [u(4, 2), u(6, 2), u(8, 4), u(12, 4)] == [1, 1, 0x101, 1]
    assert [u(at, 8) for at in range(16, 64, 8)] == [3, 10, 20, 7, 1, 2]
    assert [u(64, 4), u(68, 2), u(70, 2), u(72, 8), u(80, 8), u(88, 8)] == [1, 2, 1, 0, 0, 4]
    assert [data[at] for at in range(96, 352, 32)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert data[352:416] == bytes(64)
    assert [u(416, 4), u(424, 8), u(432, 8), u(440, 4)] == [0x100, 5, 6, 0x102]
    assert [u(464, 4), u(472, 16), u(488, 16), u(504, 16), u(520, 16), u(536, 8)] == [1, 10, 2**127, 3, 4, 0]


def test_a_header_that_no_encoder_makes_is_refused() -> None:
    data = header().encode()
    for at, value in ((0, 0), (4, 2), (352, 1), (420, 1), (468, 1), (536, 1)):
        with pytest.raises(EncodingError):
            Header.decode(data[:at] + bytes([value]) + data[at + 1 :])
    for wrong in (data[:-1], data + b"\0", data[:415], b""):
        with pytest.raises(EncodingError):
            Header.decode(wrong)


@pytest.mark.parametrize("suite", [1, 2])
def test_a_signed_header_holds_under_its_key_alone(suite: int) -> None:
    """BLOCK-1: over T(header) || header hash."""
    one = signed(3, suite)
    assert SignedHeader.decode(one.encode()) == one
    one.verify(KEY.suite, KEY.public_key)
    one.verify(KEY.suite, KEY.public_key, one.header.genesis_hash)
    with pytest.raises(ProofRefused):
        one.verify(KEY.suite, KEY.public_key, bytes(32))
    other = development_key(b"test", "other", participant=1, role=Role.BLOCK)
    with pytest.raises(ProofRefused):
        one.verify(other.suite, other.public_key)
    with pytest.raises(ProofRefused):
        replace(one, header=replace(one.header, height=4)).verify(KEY.suite, KEY.public_key)
    with pytest.raises(ProofRefused):
        replace(one, header=replace(one.header, genesis_hash=bytes(32))).verify(KEY.suite, KEY.public_key)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("suite", [1, 2])
def test_every_leaf_of_a_block_can_be_proven(count: int, suite: int) -> None:
    """BLOCK-2: built from the block's leaves, read back from its bytes, checked with the block key."""
    for at in range(count):
        wanted = digest(1, bytes([at]))
        proof = build_decision_proof(suite, wanted, leaves(count), signed(count, suite))
        assert proof is not None
        read = DecisionProof.decode(proof.encode())
        assert read == proof
        assert read.verify(KEY.suite, KEY.public_key) == Decision(wanted, 100 + at, 1 + at % 2)


def test_what_is_not_in_the_block_has_no_proof() -> None:
    assert build_decision_proof(1, bytes(32), leaves(3), signed(3)) is None
    assert build_decision_proof(1, bytes(32), b"", signed(0)) is None
    with pytest.raises(ProofRefused):
        build_decision_proof(1, digest(1, b"\0"), leaves(2), signed(3))


def test_a_changed_proof_is_refused() -> None:
    """Every byte of the decision, the path and the header counts; none of it can be changed or cut unseen."""
    proof = build_decision_proof(1, digest(1, b"\x02"), leaves(5), signed(5))
    assert proof is not None
    data = proof.encode()
    for at in (*range(len(data) - 68), len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises((ProofRefused, EncodingError)):
            DecisionProof.decode(bytes(changed)).verify(KEY.suite, KEY.public_key)
    for wrong in (data[:-1], data + b"\0"):
        with pytest.raises(EncodingError):
            DecisionProof.decode(wrong)


def test_the_last_leaf_of_a_digest_is_the_one_found() -> None:
    """A pending made and ended in one block has two leaves; the end is the answer that still stands."""
    twice = Decision(bytes(32), 1, 1).encode() + Decision(bytes(32), 2, 6).encode()
    assert find_decision(twice, bytes(32)) == 1
    assert find_decision(twice, b"\x01" * 32) is None
