"""A validator that follows a domain believes nothing of its logs: each lie ends the following, with its place."""

from __future__ import annotations

import pytest

from clearspan.validator.books import BookEntry, ChainBook
from clearspan.validator.credit_match import CreditMatch, CreditMismatch
from clearspan.validator.followed import FollowedDomain, FollowFailed, record_bytes, waits_for_relay
from engine.bodies import decode_credits_body, encode_credits_body
from engine.checkpoint import CheckpointStore
from engine.lmdb_log import LmdbStore
from engine.log_record import LogRecord, RecordKind, encode_record
from engine.types import CREDIT_BYTES, Role
from tests.behaviour.domain_on_log import BANK_A, BANK_B, SECOND, DomainOnLog

SHARDS = (256, 257)


class Play(DomainOnLog):
    """Two shards with money on the first, and an account on the second that gets some of it."""

    def __init__(self) -> None:
        super().__init__(shards=2)
        _, self.payer, _ = self.ready()
        self.payee = self.account_on(BANK_B, 1)
        assert self.open(self.payee, BANK_B) == 1

    def block(self, payments: int = 2) -> None:
        """Pay across the shards, deliver, seal both."""
        key = self.key(Role.ACCOUNT, 0, BANK_A)
        for _ in range(payments):
            self.submit([self.transfer(self.payer, self.payee, 10, key)], [key])
            self.deliver()
        self.now += SECOND
        self.seal()

    def tampered(self, shard: int, place: int, body: bytes) -> list[LogRecord]:
        """The log with one body changed and every record after it chained anew, as an operator could."""
        records, previous = [], bytes(32)
        for at, record in enumerate(self.logs[shard]):
            fresh = LogRecord.make(
                suite=record.suite, genesis_hash=record.genesis_hash, shard=shard, epoch=record.epoch,
                number=record.number, time=record.time, kind=record.kind, previous_hash=previous,
                body=body if at == place else record.body,
            )  # fmt: skip
            previous = fresh.hash
            records.append(fresh)
        return records

    def place_of(self, shard: int, kind: RecordKind) -> int:
        return next(at for at, record in enumerate(self.logs[shard]) if record.kind is kind)


@pytest.fixture
def played() -> Play:
    play = Play()
    for _ in range(2):
        play.block()
    return play


@pytest.fixture
def open_follower(tmp_path):
    """Return a function that opens a follower on one directory; everything is closed at the end."""
    opened = []

    def start(play: Play, *blocks: BookEntry, state_bytes: int = 1 << 30, holds: bool = True) -> FollowedDomain:
        while opened:
            opened.pop().close()
        suite, genesis_hash = play.genesis.hash_suite, play.genesis.hash
        chain = ChainBook(tmp_path / "chain")
        checkpoints = CheckpointStore(tmp_path / "checkpoint", suite=suite)
        opened.extend([chain, checkpoints])
        log = None
        if holds:
            log = LmdbStore(
                tmp_path / "log", 1 << 30, suite=suite, genesis_hash=genesis_hash, anchors=checkpoints.log_positions()
            )
            opened.append(log)
        chain.append(*blocks)
        followed = FollowedDomain(play.genesis, 1, chain, log, checkpoints, folder=tmp_path, state_bytes=state_bytes)
        followed.recover()
        return followed

    yield start
    while opened:
        opened.pop().close()


def feed(followed: FollowedDomain, shard: int, records: list[LogRecord]) -> list[tuple[int, int]]:
    """Hand over records as they travel; return what counts as executed: (shard, height)."""
    found = followed.take(shard, [memoryview(encode_record(record)) for record in records])
    return [(each, header.height) for each, header in found]


def test_what_was_executed_is_told_in_order(played, open_follower):
    """Every sealed height of both shards, with the header that the operator made."""
    followed = open_follower(played)
    told = feed(followed, 256, played.logs[256]) + feed(followed, 257, played.logs[257])
    assert sorted(told) == [(256, 1), (256, 2), (257, 1), (257, 2)]
    for shard in SHARDS:
        assert followed.shards[shard].headers[2].hash == played.sealed[shard][1].header.hash


def test_a_height_waits_for_what_its_peer_sent(played, open_follower):
    """The receiving shard alone shows nothing; with the sender's blocks all of it counts."""
    followed = open_follower(played)
    assert feed(followed, 257, played.logs[257]) == []
    assert sorted(feed(followed, 256, played.logs[256])) == [(256, 1), (256, 2), (257, 1), (257, 2)]


def test_a_restart_goes_on_from_the_log_that_was_kept(played, open_follower):
    """Without a state everything is executed again from the disk; the next record is the one after."""
    followed = open_follower(played)
    for shard in SHARDS:
        feed(followed, shard, played.logs[shard])
    played.block()
    again = open_follower(played)
    for shard in SHARDS:
        known = len(played.logs[shard])
        rest = again.next_number(shard)
        assert 1 < rest <= known
    told = [each for shard in SHARDS for each in feed(again, shard, played.logs[shard][again.next_number(shard) - 1 :])]
    assert {(256, 3), (257, 3)} <= set(told)


@pytest.mark.parametrize("holds", [True, False])
def test_a_restart_goes_on_from_the_states(played, open_follower, holds):
    """An orderly end keeps the states, and what was sent and not taken yet: with or without the bodies."""
    followed = open_follower(played, holds=holds)
    feed(followed, 256, played.logs[256])
    followed.close()
    again = open_follower(played, holds=holds)
    assert again.next_number(256) == len(played.logs[256]) + 1
    told = feed(again, 257, played.logs[257])
    assert told == [(257, 1), (257, 2)]


def test_a_lost_note_begins_anew(played, open_follower, tmp_path):
    """A state whose channels are not known is not used: credits could not be held against anything."""
    followed = open_follower(played, holds=False)
    feed(followed, 256, played.logs[256])
    followed.close()
    (tmp_path / "channels-00000100").unlink()
    assert open_follower(played, holds=False).next_number(256) == 1


def test_a_credit_that_nobody_sent_is_found(played, open_follower):
    """The same sum to another account: the shard's own log is consistent, the sender's block says otherwise."""
    place = played.place_of(257, RecordKind.CREDITS)
    credits_ = decode_credits_body(played.logs[257][place].body)
    message = bytearray(credits_.messages)
    message[48:64] = played.account_on(BANK_A, 1).to_bytes(16, "little")
    body = encode_credits_body(256, bytes(message))
    followed = open_follower(played)
    forged = [each for each in played.tampered(257, place, body) if each.kind is not RecordKind.SEAL][: place + 1]
    assert feed(followed, 257, forged) == []
    with pytest.raises(FollowFailed, match="is not what shard") as caught:
        feed(followed, 256, played.logs[256])
    assert caught.value.shard == 257


def test_a_changed_answer_or_signature_is_found(played, open_follower):
    """A code that the records do not give; a signature that does not hold, called good."""
    place = played.place_of(256, RecordKind.BATCH)
    body = bytearray(played.logs[256][place].body)
    body[-2] ^= 1
    with pytest.raises(FollowFailed, match="code of row"):
        feed(open_follower(played), 256, played.tampered(256, place, bytes(body)))


def test_a_signature_that_does_not_hold_is_found(played, open_follower):
    """The operator wrote the payment itself: the answer in its log is none that the signature allows."""
    places = [at for at, record in enumerate(played.logs[256]) if record.kind is RecordKind.BATCH]
    body = bytearray(played.logs[256][places[-1]].body)
    body[32 + 128] ^= 1
    with pytest.raises(FollowFailed, match="code of row"):
        feed(open_follower(played), 256, played.tampered(256, places[-1], bytes(body)))


def test_a_record_that_does_not_follow_is_found(played, open_follower):
    """Another history after a record that was taken; a record left out; bytes that are none."""
    followed = open_follower(played)
    feed(followed, 256, played.logs[256][:-1])
    forged = played.tampered(256, played.place_of(256, RecordKind.BATCH), b"another")
    with pytest.raises(FollowFailed, match="does not follow"):
        feed(followed, 256, forged[-1:])
    with pytest.raises(FollowFailed):
        feed(open_follower(played), 256, played.logs[256][1:2])
    with pytest.raises(FollowFailed):
        open_follower(played).take(256, [memoryview(bytes(200))])


def test_relay_blocks_are_held_against_the_own_chain(played, open_follower):
    """One that is final here passes; another of that height does not; one that is not here yet is waited for."""
    played.relay_block(played.now)
    record = played.logs[256][-1]
    encoded = memoryview(encode_record(record))
    assert (waits_for_relay(encoded), record_bytes(encoded)) == (1, len(encoded))
    assert waits_for_relay(memoryview(encode_record(played.logs[256][0]))) == 0
    final = BookEntry(1, 0, bytes(record.body), b"", b"")
    assert feed(open_follower(played, final), 256, played.logs[256])


def test_a_relay_block_that_is_not_final_is_found(played, open_follower):
    """The operator made a block up: nobody but the shard has it."""
    played.relay_block(played.now)
    other = Play()
    other.relay_block(other.now + 7)
    final = BookEntry(1, 0, bytes(other.logs[256][-1].body), b"", b"")
    with pytest.raises(FollowFailed, match="another one here"):
        feed(open_follower(played, final), 256, played.logs[256])
    with pytest.raises(FollowFailed, match="not final here|another one"):
        feed(open_follower(played), 256, played.logs[256])


def test_channels_are_matched_message_by_message():
    """Whatever comes first waits for the other; what is known is passed over; another message is named."""
    one, two = (number.to_bytes(8, "little").ljust(CREDIT_BYTES, b"x") for number in (1, 2))
    match = CreditMatch((1, 2))
    match.taken(2, 1, 1, one + two)
    reached = match.reached(2)
    assert (reached, match.covers(2, reached)) == ({1: 2}, False)
    match.sent(1, [(2, one)])
    match.sent(1, [(2, one + two)])
    assert match.covers(2, reached)
    kept = CreditMatch((1, 2))
    kept.sent(1, [(2, one)])
    again = CreditMatch((1, 2))
    again.load(kept.export(1))
    with pytest.raises(CreditMismatch) as caught:
        again.taken(2, 1, 1, one[:-1] + b"y")
    assert (caught.value.source, caught.value.destination, caught.value.sequence) == (1, 2, 1)
