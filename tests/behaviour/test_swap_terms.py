"""The terms of a swap: one encoding, one digest, a secret that commits to them, and the record that locks a leg.

SWAP-1 to SWAP-5.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from msgspec import structs

from bridge.leg import HashFunction
from bridge.refusals import BRIDGE_MEANINGS, BridgeCode, BridgeRefused, bridge_meaning
from bridge.terms import (
    LEGS_MAX,
    CorridorRef,
    LockStamp,
    SwapTerms,
    derive_secret,
    hash_preimage,
    hashlocks_of,
    preimage_fits,
    record_id,
    record_id_bytes,
    seal_terms,
)
from engine.types import TransferFlag, TransferKind
from tests.behaviour.swap_stage import FAR_FIRST, FAR_LAST, HOME_LEGS, SALT, SECOND, START, SUITE, leg, terms

SEALED, SECRET = terms(*HOME_LEGS)


@pytest.mark.parametrize("legs", [HOME_LEGS, FAR_LAST, FAR_FIRST])
def test_terms_are_read_back_from_exactly_their_bytes(legs):
    sealed = structs.replace(
        terms(*legs)[0], corridors=tuple(CorridorRef(b"c" * 16, each) for each in range(len(legs) - 1))
    )
    assert SwapTerms.decode(sealed.encode()) == sealed
    data = sealed.encode()
    for cut in range(len(data)):
        with pytest.raises(BridgeRefused):
            SwapTerms.decode(data[:cut])
    with pytest.raises(BridgeRefused):
        SwapTerms.decode(data + b"\x00")
    with pytest.raises(BridgeRefused):
        SwapTerms.decode(bytes(9_000))
    for at in (0, 2, 5, 6, 7):
        broken = bytearray(data)
        broken[at] ^= 0xFF
        with pytest.raises(BridgeRefused):
            SwapTerms.decode(bytes(broken))


def test_the_bytes_stay_as_they_are():
    """Computed once; who changes them changes every secret and every lock id."""
    assert len(SEALED.encode()) == 128 + 3 * (44 + 4 + 64)
    assert hashlib.sha256(SEALED.encode()).hexdigest() == GOLDEN_TERMS
    assert SEALED.orders(SUITE)[2].lock_id.hex() == GOLDEN_LOCK_ID


GOLDEN_TERMS = "049bd7a047883eeb152fcd32aca6a16a8e5ee54adf19890fc51f284f6d1009cb"
GOLDEN_LOCK_ID = "0f3b376d8b4595d253570f33f6f34b9c219e0b14dfe4c5bdad687cd2fb7672a9"


def test_the_secret_commits_to_everything_but_the_hashlock():
    blank = structs.replace(SEALED, hashlock=bytes(32))
    assert derive_secret(SALT, SEALED.commitment(SUITE)) == SECRET
    assert SEALED.commitment(SUITE) == blank.commitment(SUITE)
    expected = hashlib.sha256(b"clearspan/secret/1" + SALT + SEALED.commitment(SUITE)).digest()
    assert expected == SECRET
    changes = {
        "uetr": b"v" * 16,
        "network": b"m" * 32,
        "created_at": START + 1,
        "travel_rule_hash": b"t" * 32,
        "hash_function": HashFunction.SM3,
        "corridors": (CorridorRef(b"c" * 16, 1), CorridorRef(b"d" * 16, 1)),
        "legs": (structs.replace(HOME_LEGS[0], amount=101), *HOME_LEGS[1:]),
    }
    for name, value in changes.items():
        other = structs.replace(SEALED, **{name: value})
        assert other.commitment(SUITE) != SEALED.commitment(SUITE), name
        assert other.digest(SUITE) != SEALED.digest(SUITE), name


def test_both_hash_functions_and_only_32_bytes():
    for function in HashFunction:
        sealed, secret = seal_terms(structs.replace(SEALED, hash_function=function), SALT, SUITE)
        assert hash_preimage(function, secret) == sealed.hashlock
        assert preimage_fits(function, sealed.hashlock, secret)
        for length in (0, 31, 33, 1 << 20):
            assert not preimage_fits(function, sealed.hashlock, b"x" * length)
            with pytest.raises(BridgeRefused) as refused:
                hash_preimage(function, b"x" * length)
            assert refused.value.code is BridgeCode.PREIMAGE_LENGTH
    assert not preimage_fits(1, SEALED.hashlock, None)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"uetr": b"u"}, BridgeCode.TERMS_MALFORMED),
        ({"network": b""}, BridgeCode.TERMS_MALFORMED),
        ({"travel_rule_hash": b""}, BridgeCode.TERMS_MALFORMED),
        ({"hash_function": 3}, BridgeCode.HASH_FUNCTION_UNSUPPORTED),
        ({"created_at": 0}, BridgeCode.TERMS_MALFORMED),
        ({"legs": HOME_LEGS[:1]}, BridgeCode.TERMS_MALFORMED),
        ({"legs": tuple(leg(number) for number in range(1, LEGS_MAX + 2))}, BridgeCode.TERMS_MALFORMED),
        ({"legs": (HOME_LEGS[0], HOME_LEGS[0])}, BridgeCode.TERMS_MALFORMED),
        ({"corridors": (CorridorRef(b"c" * 16, 1),)}, BridgeCode.TERMS_MALFORMED),
        ({"corridors": (CorridorRef(b"c", 1), CorridorRef(b"c" * 16, 1))}, BridgeCode.TERMS_MALFORMED),
        *(
            ({"legs": (structs.replace(HOME_LEGS[0], **{name: value}), HOME_LEGS[1])}, BridgeCode.TERMS_MALFORMED)
            for name, value in {
                "amount": 0,
                "ledger": 0,
                "timelock_ns": 0,
                "user_data": 1 << 128,
                "asset": "x",
                "debit_account": "0x5",
                "credit_account": f"{5:032x}",
                "chain": "é",
            }.items()
        ),
        ({"legs": (structs.replace(FAR_FIRST[0], debit_account=""), FAR_FIRST[1])}, BridgeCode.TERMS_MALFORMED),
        ({"legs": (structs.replace(FAR_FIRST[0], ledger=5), FAR_FIRST[1])}, BridgeCode.TERMS_MALFORMED),
    ],
)
def test_terms_that_mean_nothing_are_refused(change, code):
    with pytest.raises(BridgeRefused) as refused:
        structs.replace(SEALED, **change).check()
    assert refused.value.code is code


def test_the_record_of_a_lock_is_the_same_at_every_attempt():
    fields = {"key_id": 9, "now_ns": START, "window_s": 60}
    record = SEALED.lock_record(1, SUITE, **fields)
    assert record == SEALED.lock_record(1, SUITE, swap=SEALED.digest(SUITE), **fields)
    assert record.flags == TransferKind.LOCK
    assert (record.until, record.binding, record.amount) == (HOME_LEGS[1].timelock_ns, SEALED.hashlock, 100)
    assert record.expires_at == START + 60 * SECOND
    assert record.id == record_id(SEALED.orders(SUITE)[1].lock_id)
    sm3, _ = terms(*HOME_LEGS, function=HashFunction.SM3)
    assert sm3.lock_record(0, SUITE, **fields).flags == TransferKind.LOCK | TransferFlag.HASH_IS_SM3
    with pytest.raises(BridgeRefused):
        terms(*FAR_LAST)[0].lock_record(1, SUITE, **fields)


@pytest.mark.parametrize("function", [HashFunction.SHA256, HashFunction.SM3])
def test_the_bytes_of_a_lock_are_those_of_its_record(function):
    """Written without the record in between, which is quicker; and what the locker alone decides is read back."""
    sealed, _ = terms(*HOME_LEGS, function=function)
    for at in range(len(HOME_LEGS)):
        record = sealed.lock_record(at, SUITE, key_id=9, now_ns=START, window_s=60, code=3).encode()
        stamp = LockStamp.of(record)
        assert stamp == (START + 60 * SECOND, 9, 60, 3)
        assert sealed.lock_bytes(at, SUITE, stamp) == record
    for wrong in (record[:-1], record + b"\x00", b""):
        with pytest.raises(BridgeRefused) as caught:
            LockStamp.of(wrong)
        assert caught.value.code is BridgeCode.LEGS_DO_NOT_MATCH
    with pytest.raises(BridgeRefused):
        terms(*FAR_LAST)[0].lock_bytes(1, SUITE, stamp)


def test_a_record_locks_a_leg_only_as_agreed():
    record = SEALED.lock_record(1, SUITE, key_id=9, now_ns=START, window_s=60)
    assert SEALED.is_lock(1, SUITE, record)
    for harmless in ({"key_id": 3}, {"expires_at": 5, "valid_for_s": 7}, {"flags": record.flags | TransferFlag.LINKED}):
        assert SEALED.is_lock(1, SUITE, replace(record, **harmless)), harmless
    for name, value in {
        "id": 1,
        "amount": 99,
        "debit_account": 9,
        "credit_account": 9,
        "until": 5,
        "user_data": 9,
        "ledger": 9,
        "binding": b"x" * 32,
        "flags": record.flags | TransferFlag.HASH_IS_SM3,
        "reference": 1,
    }.items():
        assert not SEALED.is_lock(1, SUITE, replace(record, **{name: value})), name


@pytest.mark.parametrize("lock_id", [bytes(16) + b"\x01" * 16, b"\xff" * 16 + b"\x01" * 16])
def test_an_id_that_is_none_gives_way_to_the_other_half(lock_id):
    assert record_id(lock_id) == int.from_bytes(b"\x01" * 16, "little")


def test_every_refusal_of_the_bridge_has_its_row():
    """Numbers 300 to 359, each with a class, a status, a reason and a next step."""
    assert set(BRIDGE_MEANINGS) == set(BridgeCode)
    for code, row in BRIDGE_MEANINGS.items():
        assert 300 <= code <= 359
        assert row.next_step.endswith(".")
        assert row.iso_reason
        assert row.grpc_status.isupper()
        assert bridge_meaning(code).name == code.name.lower()
    with pytest.raises(ValueError, match="359"):
        bridge_meaning(359)


def test_a_record_is_named_by_the_first_half_unless_that_is_no_id() -> None:
    first, second = b"\x07" * 16, b"\x01" * 16
    for half, named in ((first, first), (bytes(16), second), (b"\xff" * 16, second), (b"\xff" * 15 + b"\xfe",) * 2):
        assert record_id_bytes(half + second) == named
        assert record_id(half + second) == int.from_bytes(named, "little")


def test_a_preimage_that_was_shown_opens_under_each_function() -> None:
    preimage = bytes(range(32))
    assert hashlocks_of(preimage) == tuple((each, hash_preimage(each, preimage)) for each in HashFunction)
    assert {len(hashlock) for _, hashlock in hashlocks_of(preimage)} == {32}
    assert hashlocks_of(preimage[1:]) == hashlocks_of(preimage + b"\0") == ()


def test_changed_terms_remember_nothing_of_those_they_were_made_of() -> None:
    before = SEALED.encode(), SEALED.digest(SUITE), SEALED.commitment(SUITE), SEALED.orders(SUITE)
    other = structs.replace(SEALED, uetr=b"o" * 16)
    after = other.encode(), other.digest(SUITE), other.commitment(SUITE), other.orders(SUITE)
    assert not [each for each in zip(before, after, strict=True) if each[0] == each[1]]
    assert structs.replace(other, uetr=SEALED.uetr) == SEALED
    assert structs.replace(other, uetr=SEALED.uetr).encode() == before[0]
