"""The model's own tools: hashes, trees, points, replay; an oracle is checked against what is published elsewhere."""

from __future__ import annotations

import hashlib

import pytest

from native.codes import ResultCode as Code
from tests.model.adapter import ModelSubject, machine_present, make_subject
from tests.model.domain import ModelDomain
from tests.model.hashes import sha256, sm3, sm3_plain, tree_root
from tests.model.keyring import public_key
from tests.model.log_record import BATCH, BatchBody, LogHead
from tests.model.points import key_acceptable
from tests.model.record import Transfer
from tests.model.replay import ReplayMismatch, replay
from tests.model.runs import split_runs
from tests.model.stage import CAROL, DOMAIN, Stage, genesis_document


def test_sm3_of_the_standard():
    """GB/T 32905 annex A, examples 1 and 2."""
    assert sm3_plain(b"abc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    assert sm3_plain(b"abcd" * 16).hex() == "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"
    assert all(sm3(bytes(n)) == sm3_plain(bytes(n)) for n in range(130))


def test_tree_roots_are_those_of_rfc_6962():
    """BYTES-2: split at the largest power of two below the count."""

    def by_definition(leaves):
        if not leaves:
            return hashlib.sha256(b"").digest()
        if len(leaves) == 1:
            return sha256(b"\x00" + leaves[0])
        split = 1 << (len(leaves) - 1).bit_length() - 1
        return sha256(b"\x01" + by_definition(leaves[:split]) + by_definition(leaves[split:]))

    leaves = [bytes([n]) * n for n in range(40)]
    assert all(tree_root(1, leaves[:n]) == by_definition(leaves[:n]) for n in range(41))


def test_keys_that_may_be_registered():
    """BYTES-5: canonical, on the curve, in the prime-order subgroup, not the identity."""
    assert key_acceptable(1, public_key(1))
    assert not key_acceptable(1, b"\x01".ljust(64, b"\x00"))  # the identity
    assert not key_acceptable(1, bytes(64))  # of order 4
    assert not key_acceptable(1, (2**255 - 18).to_bytes(32, "little").ljust(64, b"\x00"))  # y = p + 1
    assert not key_acceptable(1, public_key(1)[:32] + b"\x01" * 32)
    base = "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"
    assert key_acceptable(2, bytes.fromhex(base))
    assert not key_acceptable(2, bytes.fromhex(base)[:-1] + b"\xa1")


def test_runs_are_maximal_sequences_with_their_closing_member():
    """RECORD-4."""
    assert split_runs([0, 16, 16, 0, 0, 16]) == [(0, 1, False), (1, 4, True), (4, 5, False), (5, 6, True)]


def test_a_record_packs_to_what_it_was_read_from():
    data = bytes(range(128)) + bytes(range(32))
    assert Transfer.unpack(data[:128], data[128:]).pack() == data


@pytest.fixture
def played():
    """A stage on the machine after some traffic, and its raw log."""
    if not machine_present():
        pytest.skip("engine.machine is not built here")
    stage = Stage(lambda document, shard: make_subject("machine", document, shard), genesis_document()).furnish()
    stage.code(stage.plain(credit_account=CAROL), shard=0)
    stage.code(stage.plain(), verdict=0)
    stage.deliver()
    stage.relay(b"s" * 32)
    for shard in (0, 1):
        stage.seal(shard)
    return stage


def test_replay_gives_the_headers_of_the_machine(played):
    """LOG-3, BLOCK-1."""
    for shard in played.shards:
        model, headers = replay(shard.log, ModelSubject(played.document, DOMAIN << 8).shard.genesis, shard.number)
        assert headers == shard.headers
        assert model.state_root() == shard.state_root()


def _again(records, played):
    return replay(records, ModelSubject(played.document, DOMAIN << 8).shard.genesis, DOMAIN << 8)


def test_replay_stops_at_a_gap(played):
    """LOG-1."""
    log = played.shards[0].log
    with pytest.raises(ReplayMismatch, match="number"):
        _again(log[:2] + log[3:], played)


@pytest.mark.parametrize("at", [8, 24, 72, 104, 152, 200])
def test_replay_sees_a_flipped_bit(played, at):
    """LOG-1: shard, time, chain, body hash and body."""
    log = list(played.shards[0].log)
    log[3] = log[3][:at] + bytes([log[3][at] ^ 1]) + log[3][at + 1 :]
    with pytest.raises((ReplayMismatch, AssertionError)):
        _again(log, played)


def test_replay_compares_every_code(played):
    """LOG-3: a log whose codes were changed, chain and all, does not follow."""
    log = list(played.shards[0].log)
    index = next(i for i, raw in enumerate(log) if LogHead.unpack(raw[:152]).kind == BATCH)
    head, body = LogHead.unpack(log[index][:152]), BatchBody.unpack(log[index][152:])
    forged = BatchBody(*[getattr(body, name) for name in body.__slots__[:-1]], (Code.EXISTS,) * len(body.codes)).pack()
    again = LogHead.build(
        kind=BATCH, shard=head.shard, epoch=head.epoch, number=head.number, time=head.time,
        genesis_hash=head.genesis_hash, previous=head.previous, body=forged, suite=1,
    )  # fmt: skip
    with pytest.raises(ReplayMismatch, match="code 0"):
        _again([*log[:index], again.data + forged], played)


def test_a_domain_is_replayed_as_one(played):
    """CHANNEL-1, CHANNEL-2: every message taken is the one that was sent."""
    domain = ModelDomain(ModelSubject(played.document, DOMAIN << 8).shard.genesis)
    for shard in played.shards:
        for raw in shard.log:
            domain.replay(raw)
    assert domain.broken_invariants() == []
    assert [domain.headers[shard.number] for shard in played.shards] == [shard.headers for shard in played.shards]
    assert len(domain.received[DOMAIN << 8, DOMAIN << 8 | 1]) == 1


def test_a_domain_notices_a_message_that_nobody_sent(played):
    """CHANNEL-1: the second shard's log alone cannot show it."""
    domain = ModelDomain(ModelSubject(played.document, DOMAIN << 8).shard.genesis)
    for raw in played.shards[1].log:
        domain.replay(raw)
    assert any("took other messages" in each for each in domain.broken_invariants())
