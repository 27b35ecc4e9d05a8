"""Messages between validators are exact bytes with hard bounds; certificates of timeouts stand on a quorum."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from engine.refusals import CertificateRefused, EncodingError
from engine.types import VotePhase
from relay.actions import Refused
from relay.messages import (
    BLOCK_BYTES_MAX,
    HEAD_BYTES,
    MESSAGE_BYTES_MAX,
    STATEMENTS_BYTES_MAX,
    BlockMessage,
    BlockRequest,
    CertificateMessage,
    Proposal,
    Status,
    StatusRequest,
    TimeoutCertificateMessage,
    decode_message,
)
from relay.pacemaker import NEVER, Pacemaker, RateLimit, view_ns
from relay.tally import distinct
from relay.timeouts import Timeout, TimeoutCertificate, TimeoutSigner
from tests.behaviour.relay_doubles import GENESIS_HASH, MS, SUITE, Hands, Solo, validator_set


def examples() -> list:
    hands = Hands()
    block = hands.block()
    name = block.hash(SUITE)
    high = hands.certificate((0, 1, 2), name)
    return [
        hands.proposal(0, block),
        hands.proposal(1, block, 1, entered=hands.timeouts((0, 1, 2)), high=high),
        hands.vote(2, name),
        hands.vote(2, name, phase=VotePhase.COMMIT, statement=bytes(8)),
        CertificateMessage(high.encode()),
        CertificateMessage(high.encode(), (b"\1" * 8, b"\2" * 9)),
        hands.timeout(3, 4),
        hands.timeout(3, 0, high),
        TimeoutCertificateMessage(hands.timeouts((0, 1, 2)).encode(), high.encode()),
        BlockRequest(7, name),
        BlockMessage(7, name, block.encode(), b"side"),
        StatusRequest(9),
        Status(9, 2, high.encode()),
    ]


@pytest.mark.parametrize("message", examples(), ids=lambda each: type(each).__name__)
def test_a_message_reads_back_and_its_length_is_exact(message) -> None:
    data = message.encode(GENESIS_HASH)
    assert decode_message(data, GENESIS_HASH) == message
    assert decode_message(memoryview(bytearray(data)), GENESIS_HASH) == message
    for cut in (*range(HEAD_BYTES + 3), len(data) - 1):
        with pytest.raises(EncodingError):
            decode_message(data[:cut], GENESIS_HASH)
    with pytest.raises(EncodingError):
        decode_message(data + b"\0", GENESIS_HASH)
    with pytest.raises(EncodingError) as caught:
        decode_message(data, bytes(32))
    assert caught.value.what == "message genesis"


def test_bounds_are_hard() -> None:
    proposal = examples()[0]
    for wrong in (
        replace(proposal, block=bytes(BLOCK_BYTES_MAX + 1)),
        CertificateMessage(bytes(300_000)),
        CertificateMessage(b"", (bytes(20_000),)),
    ):
        with pytest.raises(EncodingError):
            decode_message(wrong.encode(GENESIS_HASH), GENESIS_HASH)
    with pytest.raises(EncodingError):
        decode_message(bytes(MESSAGE_BYTES_MAX + 1), GENESIS_HASH)
    assert MESSAGE_BYTES_MAX < 8 << 20


def test_statements_travel_once_each_and_fit() -> None:
    assert distinct([b"b", b"", b"a", b"b"]) == (b"a", b"b")
    many = distinct(number.to_bytes(8, "little") * 1000 for number in range(200))
    assert sum(len(each) + 4 for each in many) <= STATEMENTS_BYTES_MAX
    decode_message(CertificateMessage(b"", many).encode(GENESIS_HASH), GENESIS_HASH)


def test_no_bytes_raise_out_of_the_core() -> None:
    """Changed messages of every kind: each is refused, ignored or taken, and the core lives."""
    chance = random.Random(7)
    solo = Solo(1)
    for _ in range(1500):
        data = bytearray(chance.choice(EXAMPLES))
        for _ in range(chance.choice((1, 1, 3))):
            at = chance.randrange(len(data))
            data[at : at + chance.choice((0, 1, 8))] = bytes(
                chance.choice(((), (0,), (255,) * 8, (chance.randrange(256),)))
            )
        actions = solo.core.receive(chance.choice((0, 2, 3, None, 500)), bytes(data), solo.now)
        assert all(each.reason for each in actions if isinstance(each, Refused))
    assert solo.core.height == 1


EXAMPLES = [each.encode(GENESIS_HASH) for each in examples()]


def test_a_timeout_certificate_reads_back_and_stands_on_a_quorum() -> None:
    hands = Hands()
    good = hands.timeouts((0, 1, 3), 2)
    assert TimeoutCertificate.decode(good.encode()) == good
    assert len(good.encode()) == 40 + 3 * 80
    assert good.verify(SUITE, GENESIS_HASH, hands.validators) == 3
    rows = good.signers
    wrong = [
        replace(good, signers=rows[:2]),
        replace(good, signers=(rows[0], rows[0], rows[1])),
        replace(good, signers=(rows[1], rows[0], rows[2])),
        replace(good, signers=(*rows[:2], replace(rows[2], index=9))),
        replace(good, signers=(*rows[:2], replace(rows[2], high_view_plus_one=1))),
        replace(good, signers=(*rows[:2], replace(rows[2], signature=bytes(64)))),
        replace(good, view=3),
        replace(good, height=2),
        replace(good, set_id=2),
    ]
    for each in wrong:
        with pytest.raises(CertificateRefused):
            each.verify(SUITE, GENESIS_HASH, hands.validators)
    with pytest.raises(CertificateRefused):
        good.verify(SUITE, bytes(32), hands.validators)
    with pytest.raises(CertificateRefused):
        good.verify(SUITE, GENESIS_HASH, validator_set((1, 1, 1, 1), 2))


def test_timeouts_name_no_view_to_come() -> None:
    hands = Hands()
    with pytest.raises(EncodingError):
        Timeout.decode(Timeout(1, 1, 2, 4).encode())
    good = hands.timeouts((0, 1, 2))
    late = replace(good, signers=(*good.signers[:2], TimeoutSigner(2, 2, bytes(64))))
    with pytest.raises(EncodingError):
        TimeoutCertificate.decode(late.encode())
    data = good.encode()
    for at in (0, 4, 6, 36, 42, 44):
        with pytest.raises(EncodingError):
            TimeoutCertificate.decode(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
    with pytest.raises(EncodingError):
        TimeoutCertificate.decode(data[:-1])


def test_views_last_twice_as_long_up_to_a_bound() -> None:
    assert [view_ns(view, 500, 8000) for view in range(7)] == [500, 1000, 2000, 4000, 8000, 8000, 8000]
    assert view_ns(2**63, 500, 8000) == 8000


def test_a_pacemaker_follows_a_clock_back() -> None:
    pacemaker = Pacemaker(1000)
    pacemaker.begin_view(0, 500, 8000)
    pacemaker.observe(1200)
    assert pacemaker.observe(200) == 1000
    assert pacemaker.view_end == 500
    assert pacemaker.repeat == NEVER


def test_answers_are_limited_for_each_peer_and_kind() -> None:
    limit = RateLimit(100 * MS)
    assert limit.allows(1, "help", 0)
    assert not limit.allows(1, "help", 99 * MS)
    assert limit.allows(1, "block", 99 * MS)
    assert limit.allows(2, "help", 99 * MS)
    assert limit.allows(1, "help", 100 * MS)
    for peer in range(10_000):
        limit.allows(peer, "help", 0)
    assert len(limit.last) <= 4096


def test_proposals_of_view_zero_carry_no_certificates() -> None:
    assert isinstance(examples()[0], Proposal)
    assert examples()[0].timeout_certificate == examples()[0].high == b""
