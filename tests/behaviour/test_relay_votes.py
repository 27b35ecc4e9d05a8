"""What a member signed is never forgotten and never contradicted: the vote record, the signer, the floor."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.types import VotePhase
from relay.checker import Checker
from relay.errors import VoteRecordInvalid
from relay.recall import Recall
from relay.signing import Signer, Standing
from relay.vote_record import KeptBlock, OwnTimeout, OwnVote, VoteRecord
from tests.behaviour.relay_doubles import GENESIS_HASH, START, SUITE, Hands, keys, member, validator_set

COMMIT, PREPARE = VotePhase.COMMIT, VotePhase.PREPARE


def full_record() -> VoteRecord:
    hands = Hands()
    block = hands.block()
    name = block.hash(SUITE)
    prepare, commit = hands.vote(1, name, 2), hands.vote(1, name, 1, COMMIT)
    timeout = hands.timeout(1, 1)
    return VoteRecord(
        generation=7,
        floor=3,
        set_id=1,
        height=1,
        lock_view_plus_one=2,
        lock_hash=name,
        prepare=OwnVote(prepare.vote, prepare.signature),
        commit=OwnVote(commit.vote, commit.signature, b"\0" * 8),
        timeout=OwnTimeout(timeout.timeout, timeout.signature),
        high=hands.certificate((0, 1, 2), name, 1),
        entered=hands.timeouts((0, 1, 3), 1),
        blocks=(KeptBlock(name, block.encode(), b"side"), KeptBlock(b"\1" * 32, b"other", b"")),
    )


@pytest.mark.parametrize("record", [VoteRecord(), full_record(), replace(full_record(), restored=True, commit=None)])
def test_a_record_reads_back(record: VoteRecord) -> None:
    assert VoteRecord.decode(record.encode()) == record


def test_a_torn_or_changed_record_is_never_believed() -> None:
    data = full_record().encode()
    for at in (*range(120), *range(120, len(data), 37)):
        with pytest.raises(VoteRecordInvalid):
            VoteRecord.decode(data[:at])
        with pytest.raises(VoteRecordInvalid):
            VoteRecord.decode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(VoteRecordInvalid):
        VoteRecord.decode(data + b"\0")


def test_a_record_names_the_view_it_reached() -> None:
    record = full_record()
    assert record.view == 2
    assert replace(record, prepare=None).view == 2
    assert replace(record, prepare=None, entered=None).view == 1
    assert VoteRecord().view == 0


@pytest.mark.parametrize(
    ("kept", "chain", "told", "restored"),
    [
        (None, 0, False, False),
        (None, 5, False, True),
        (7, 7, False, False),
        (7, 6, False, False),
        (6, 7, False, True),
        (7, 7, True, True),
    ],
)
def test_a_record_older_than_the_chain_is_restored(kept: int | None, chain: int, told: bool, restored: bool) -> None:
    data = None if kept is None else replace(full_record(), generation=kept).encode()
    record = VoteRecord.opened(data, chain, restored=told)
    assert record.restored is restored
    assert record.generation >= chain


def test_only_the_needed_blocks_are_kept() -> None:
    hands = Hands()
    high = hands.certificate((0, 1, 2), b"\1" * 32)
    record = VoteRecord(high=high)
    for name in (b"\1", b"\2", b"\3"):
        record = record.with_block(KeptBlock(name * 32, name, b""))
    assert [each.block for each in record.blocks] == [b"\1", b"\3"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["prepare", "commit", "give_up", "restart"]), st.integers(0, 4), st.integers(0, 2)),
        max_size=14,
    )
)
def test_nothing_that_was_signed_is_contradicted(steps: list[tuple[str, int, int]]) -> None:
    """Whatever it is asked in whatever order, with restarts from what was written: no two votes of one place differ,
    and no timeout denies a vote."""
    hands = Hands()
    names = [hands.block().hash(SUITE), b"\2" * 32, b"\3" * 32]
    validators = validator_set((1, 1, 1, 1))
    signer = Signer(member(keys(4)[1]), VoteRecord(), Checker(SUITE, GENESIS_HASH))
    signer.begin(validators, 1)
    signed: dict = {}
    committed = gave_up = -1
    for kind, view, which in steps:
        actions: list = []
        if kind == "restart":
            signer = Signer(member(keys(4)[1]), VoteRecord.decode(signer.record.encode()), Checker(SUITE, GENESIS_HASH))
            signer.begin(validators, 1)
        elif kind == "give_up":
            high = hands.certificate((0, 2, 3), names[0], committed) if committed >= 0 else None
            own = signer.give_up(view, Standing(high), actions)
            if own is not None:
                assert own.timeout.view <= committed or own.timeout.high_view_plus_one > committed or committed < 0
                assert signed.setdefault(("timeout", own.timeout.view), own) == own
                gave_up = max(gave_up, own.timeout.view)
        else:
            high = hands.certificate((0, 2, 3), names[which], view)
            kept = KeptBlock(names[which], b"", b"")
            own = (
                signer.prepare(view, kept, START, Standing(), actions)
                if kind == "prepare"
                else signer.commit(high, START, (b"", bytes(32)), Standing(high), actions)
            )
            if own is not None:
                assert view > gave_up
                assert ("vote", own.vote.phase, view) not in signed
                signed["vote", own.vote.phase, view] = own
                committed = view if kind == "commit" else committed
        assert (not actions) or VoteRecord.decode(actions[0].record) == signer.record


def test_a_floor_and_an_older_height_are_not_signed() -> None:
    validators = validator_set((1, 1, 1, 1))
    signer = Signer(member(keys(4)[1]), VoteRecord(), Checker(SUITE, GENESIS_HASH))
    actions: list = []
    signer.set_floor(5, actions)
    for height, may in ((4, False), (5, False), (6, True)):
        signer.begin(validators, height)
        assert signer.may_sign is may
    signer.begin(validators, 9)
    signer.prepare(0, KeptBlock(b"\1" * 32, b"", b""), START, Standing(), actions)
    signer.begin(validators, 8)
    assert not signer.may_sign


def test_recall_needs_a_quorum_and_takes_the_highest() -> None:
    recall = Recall(1)
    validators = validator_set((1, 1, 1, 1))
    assert recall.note(validators, 0, 9) is None
    assert recall.note(validators, 0, 12) is None
    assert recall.note(validators, 2, 8) is None
    assert recall.note(validators, 3, 8) == 13
    assert Recall(1).note(validator_set((1,) * 4, 2), 0, 9) is None


def test_answers_of_another_set_do_not_add_up() -> None:
    recall = Recall(1)
    for index in (0, 2):
        recall.note(validator_set((1, 1, 1, 1)), index, 9)
    assert recall.note(validator_set((1, 1, 1, 1), 2), 3, 9) is None
