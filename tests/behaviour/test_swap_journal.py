"""The journal of swaps: what was written is read back or refused, bit by bit (SWAP-40, SWAP-41)."""

from __future__ import annotations

import pytest

from bridge.journal import (
    ENTRY_BYTES_MAX,
    decode_entry,
    encode_entry,
    entry_key,
    finished_body,
    leg_of,
    locking_body,
    read_accepted,
    read_begun,
    read_finished,
    read_locking,
)
from bridge.ports import Entry, EntryKind, Outcome
from engine.refusals import EncodingError
from tests.behaviour.swap_stage import SALT, START, terms

TERMS = terms()[0].encode()
BODIES = {
    EntryKind.BEGUN: SALT + TERMS,
    EntryKind.ACCEPTED: b"\x01" + TERMS,
    EntryKind.LOCKING: locking_body(1, START),
    EntryKind.ASKING: b"\x02",
    EntryKind.REVEALING: b"p" * 32,
    EntryKind.LEARNED: b"p" * 32,
    EntryKind.CLAIMING: b"\x00",
    EntryKind.REFUNDING: b"\x01",
    EntryKind.FINISHED: finished_body(Outcome.KEPT, 323),
}


def entry(kind, number=3):
    return Entry(kind, b"w" * 32, number, START, BODIES[kind])


@pytest.mark.parametrize("kind", EntryKind)
def test_every_kind_is_read_back(kind):
    assert decode_entry(encode_entry(entry(kind))) == entry(kind)


@pytest.mark.parametrize("kind", [EntryKind.LOCKING, EntryKind.REVEALING, EntryKind.FINISHED])
def test_any_flipped_bit_and_any_torn_end_is_refused(kind):
    data = encode_entry(entry(kind))
    for bit in range(len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(EncodingError):
            decode_entry(bytes(broken))
    for length in range(len(data)):
        with pytest.raises(EncodingError):
            decode_entry(data[:length])
    with pytest.raises(EncodingError):
        decode_entry(data + b"\x00")
    with pytest.raises(EncodingError):
        decode_entry(bytes(ENTRY_BYTES_MAX + 1))


@pytest.mark.parametrize("kind", EntryKind)
def test_a_body_that_its_kind_does_not_have_is_not_written(kind):
    too_long = BODIES[kind] + bytes(9_000)
    for body in (b"", too_long):
        with pytest.raises(EncodingError):
            encode_entry(Entry(kind, b"w" * 32, 0, START, body))


def test_keys_keep_a_party_together_and_in_order():
    keys = [entry_key(Entry(EntryKind.ASKING, bytes([party]) * 32, number, START, b"\x01"))
            for party in (1, 2) for number in (0, 1, 255, 256, 70_000)]  # fmt: skip
    assert keys == sorted(keys)


def test_bodies_say_what_they_hold():
    assert read_begun(BODIES[EntryKind.BEGUN]) == (SALT, TERMS)
    assert read_accepted(BODIES[EntryKind.ACCEPTED]) == (1, TERMS)
    assert read_locking(BODIES[EntryKind.LOCKING]) == (1, START)
    assert read_finished(BODIES[EntryKind.FINISHED]) == (Outcome.KEPT, 323)
    assert leg_of(BODIES[EntryKind.ASKING]) == 2
