"""Quotes (QUOTE-6 to QUOTE-12): exact bytes, whose signature counts, and what a quote means in whole units."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.leg import HashFunction
from bridge.quotes import QUOTE_BYTES, QUOTE_VALID_NS_MAX, SIGNED_QUOTE_BYTES, Quote, SignedQuote, hash_functions_mask
from bridge.rates import Rate, Rounding
from bridge.refusals import BridgeCode, BridgeRefused
from engine.parties import Key
from engine.prefix import PrefixType, signing_prefix
from engine.refusals import EncodingError
from engine.types import Role
from native.signatures import SUITE_ED25519, SUITE_P256, SUITE_SM2, public_key, sign
from tests.behaviour.bridge_papers import CNY, FIRST, NOW, PAYER, quote

GENESIS = hashlib.sha256(b"a network of the tests").digest()
SECRET = hashlib.sha256(b"the provider's key").digest()
U128 = 2**128 - 1


def key(suite: int = SUITE_ED25519, **changes: int) -> Key:
    made = Key(
        id=7,
        participant=FIRST,
        role=Role.ACCOUNT,
        suite=suite,
        lineage=7,
        retired_at=0,
        public_key=public_key(suite, SECRET).ljust(64, b"\0"),
    )
    return replace(made, **changes)


def signed(made: Quote, suite: int = SUITE_ED25519, genesis: bytes = GENESIS) -> SignedQuote:
    return SignedQuote(made, sign(suite, SECRET, made.message(1, genesis)))


def test_a_quote_is_256_bytes_that_mean_one_thing() -> None:
    """The golden bytes of one quote, field by field where they stand."""
    data = quote(premium=25, min_amount=100).encode()
    assert len(data) == QUOTE_BYTES
    assert hashlib.sha256(data).hexdigest() == "f35916001c07f6a2a915cac6c3445ede639c9379232315e4a8694a4b1a8293f9"
    assert data[:16] == (1).to_bytes(16, "little")
    assert (int.from_bytes(data[16:20], "little"), int.from_bytes(data[20:24], "little")) == (FIRST, PAYER)
    assert (int.from_bytes(data[32:40], "little"), int.from_bytes(data[40:48], "little")) == (109, 100)
    assert [int.from_bytes(data[at : at + 16], "little") for at in (48, 64, 80)] == [1_000_000, 100, 25]
    assert int.from_bytes(data[184:192], "little") == NOW + 10 * 10**9
    assert (data[204], data[205], data[206:208], data[208:]) == (1, 3, b"\x01\0", bytes(48))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, U128 - 1), st.integers(1, U128), st.integers(1, 2**64 - 1), st.integers(1, 2**64 - 1),
    st.sampled_from(Rounding), st.integers(1, 3),
)  # fmt: skip
def test_what_decodes_encodes_to_the_same_bytes(
    identity: int, total: int, n: int, d: int, rounding: Rounding, functions: int
) -> None:
    """Every quote survives its bytes, and its signed form too."""
    made = quote(
        id=identity, total_amount=total, rate=Rate.of(n, d), rounding=rounding, hash_functions=functions, premium=total
    )
    assert Quote.decode(made.encode()) == made
    both = SignedQuote(made, bytes(64))
    assert len(both.encode()) == SIGNED_QUOTE_BYTES
    assert SignedQuote.decode(both.encode()) == both


@settings(max_examples=200, deadline=None)
@given(st.integers(0, QUOTE_BYTES - 1), st.integers(1, 255))
def test_no_two_byte_strings_are_one_quote(at: int, change: int) -> None:
    """Any changed byte is another quote or none, never the same quote again."""
    data = bytearray(quote(premium=1).encode())
    data[at] ^= change
    try:
        assert Quote.decode(bytes(data)).encode() == bytes(data)
    except EncodingError:
        pass


@pytest.mark.parametrize(
    "change",
    [
        {"id": 0}, {"id": U128}, {"provider": 0}, {"taker": FIRST}, {"target_ledger": CNY}, {"total_amount": 0},
        {"total_amount": U128 + 1}, {"min_amount": 0}, {"min_amount": 1_000_001}, {"premium": 1_000_001},
        {"provider_source_account": 0}, {"remainder_target_account": 0}, {"expires_at": NOW}, {"issued_at": 0},
        {"expires_at": NOW + QUOTE_VALID_NS_MAX + 1}, {"lock_s": 0}, {"lock_s": 86_401}, {"hash_functions": 0},
        {"hash_functions": 4}, {"corridor_id": bytes(15)}, {"corridor_version": 0}, {"key_id": 0},
    ],
    ids=lambda change: "-".join(change),
)  # fmt: skip
def test_a_quote_that_means_nothing_cannot_be_made(change: dict[str, object]) -> None:
    """Every field has its bounds, and the refusal names the field."""
    with pytest.raises(EncodingError):
        quote(**change)


@pytest.mark.parametrize("cut", [0, 1, 255, 257, 320])
def test_other_lengths_are_refused(cut: int) -> None:
    """A quote is exactly 256 bytes, a signed one exactly 320."""
    with pytest.raises(EncodingError):
        Quote.decode(bytes(cut))
    with pytest.raises(EncodingError):
        SignedQuote.decode(bytes(cut - 1 if cut == 320 else cut))


@pytest.mark.parametrize("suite", [SUITE_ED25519, SUITE_SM2, SUITE_P256])
def test_the_provider_is_bound_by_his_own_key(suite: int) -> None:
    """A signature of each suite over T(quote) and the bytes holds."""
    made = signed(quote(), suite)
    made.verify(1, GENESIS, lambda key_id: key(suite) if key_id == 7 else None, NOW)
    assert made.quote.message(1, GENESIS)[:32] == signing_prefix(1, PrefixType.QUOTE, GENESIS)
    assert made.quote.digest(1, GENESIS) != made.quote.digest(1, bytes(32))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "no such key"),
        (key(participant=99), "the key of another participant"),
        (key(role=Role.REGISTRAR), "a key of another role"),
        (key(retired_at=NOW), "a key retired in this very ns"),
        (key(public_key=public_key(SUITE_ED25519, bytes([9]) * 32).ljust(64, b"\0")), "another key"),
    ],
)  # fmt: skip
def test_a_signature_of_nobody_who_may_binds_nobody(found: Key | None, why: str) -> None:
    """Each way in which a key does not count ends in the same code."""
    with pytest.raises(BridgeRefused) as caught:
        signed(quote()).verify(1, GENESIS, lambda _: found, NOW)
    assert caught.value.code is BridgeCode.QUOTE_SIGNATURE_INVALID, why


def test_a_quote_of_another_network_or_with_a_changed_field_is_not_signed() -> None:
    """The genesis and every byte are under the signature."""
    for wrong in (
        signed(quote(), genesis=bytes(32)),
        SignedQuote(quote(total_amount=1_000_001), signed(quote()).signature),
        SignedQuote(quote(), bytes(64)),
        SignedQuote(quote(), b""),
    ):
        with pytest.raises(BridgeRefused) as caught:
            wrong.verify(1, GENESIS, lambda _: key(), NOW)
        assert caught.value.code is BridgeCode.QUOTE_SIGNATURE_INVALID


def test_a_quote_stands_until_the_ns_before_its_expiry() -> None:
    """The border itself is too late."""
    made = signed(quote())
    made.verify(1, GENESIS, lambda _: key(), made.quote.expires_at - 1)
    with pytest.raises(BridgeRefused) as caught:
        made.verify(1, GENESIS, lambda _: key(), made.quote.expires_at)
    assert caught.value.code is BridgeCode.QUOTE_EXPIRED


def test_amounts_premiums_and_hash_functions_of_a_quote() -> None:
    """Delivery follows the named rounding; shares of the premium never add up to less than the premium."""
    made = quote(premium=1_000, hash_functions=hash_functions_mask(HashFunction.SM3))
    assert made.delivers(100) == 109
    assert made.needs(109) == 100
    assert made.delivers(99) == 107  # 107.91, rounded down as the quote says
    assert (made.premium_of(1_000_000), made.premium_of(1), made.premium_of(0)) == (1_000, 1, 0)
    assert made.premium_of(300_001) + made.premium_of(699_999) >= 1_000
    assert made.allows(HashFunction.SM3) and not made.allows(HashFunction.SHA256)
