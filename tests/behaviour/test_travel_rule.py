"""Travel-rule envelopes (TRAVEL-1 to -8): each supervisor alone opens one, nobody else does, and a hash names it.

Every company here is made up for these tests.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import travel_rule
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.travel_route import salt_hash
from bridge.travel_rule import (
    ENVELOPE_BYTES_MAX,
    EnvelopeRefusedError,
    Party,
    Recipient,
    Scheme,
    Seeds,
    TravelRuleData,
    demand_recipients,
    envelope_hash,
    open_envelope,
    recipients_of,
    seal,
)
from engine.refusals import EncodingError

NETWORK = hashlib.sha256(b"a network of the tests").digest()


def secret(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def recipient(participant: int, scheme: Scheme, key_id: int = 1) -> Recipient:
    public = travel_rule._public(scheme, secret(f"supervisor {participant}"))
    return Recipient(participant, key_id, scheme, public[:32] if scheme is Scheme.X25519 else public)


HOME, ABROAD = recipient(101, Scheme.X25519), recipient(102, Scheme.P256)
SEEDS = Seeds(secret("content"), (secret("first ephemeral"), secret("second ephemeral")))
DATA = TravelRuleData(
    format=1,
    uetr="0f" * 16,
    originator=Party("Quillon Harbour Trading Co., Ltd.", "CN-1", 11, "CN", address="1 Wharf Road, Port Quillon"),
    beneficiary=Party("蓝礁石国际航运股份有限公司", "TH-2", 31, "TH"),
    amount_sent="12345600",
    amount_received="55448500",
    source_ledger=1,
    target_ledger=3,
    salt_hash=salt_hash(secret("salt")).hex(),
    purpose="invoice 4711",
)
ENVELOPE = seal(DATA, (HOME, ABROAD), NETWORK, SEEDS)


def reason(call, *arguments) -> str:
    with pytest.raises(EnvelopeRefusedError) as caught:
        call(*arguments)
    return caught.value.reason


@pytest.mark.parametrize("pair", [(1, 1), (1, 2), (2, 1), (2, 2)], ids=str)
def test_each_supervisor_alone_opens_the_envelope(pair: tuple[int, int]) -> None:
    """Both schemes in both places: each reads the same data without the other."""
    both = tuple(recipient(101 + place, Scheme(scheme)) for place, scheme in enumerate(pair))
    envelope = seal(DATA, both, NETWORK, SEEDS)
    for each in both:
        assert open_envelope(envelope, NETWORK, each, secret(f"supervisor {each.participant}")) == DATA
    assert recipients_of(envelope, NETWORK) == tuple((each.participant, each.key_id, each.scheme) for each in both)


def test_whom_an_envelope_is_for_can_be_demanded_without_opening_it() -> None:
    """The corridor's two supervisors in their order; turned round, another key, noise and another network are refused."""
    demand_recipients(ENVELOPE, NETWORK, (HOME, ABROAD))
    for envelope, network, both in (
        (ENVELOPE, NETWORK, (ABROAD, HOME)),
        (ENVELOPE, NETWORK, (HOME, replace(ABROAD, key_id=2))),
        (ENVELOPE, NETWORK, (HOME,)),
        (ENVELOPE, bytes(32), (HOME, ABROAD)),
        (b"", NETWORK, (HOME, ABROAD)),
    ):
        with pytest.raises(BridgeRefused) as caught:
            demand_recipients(envelope, network, both)
        assert caught.value.code is BridgeCode.TRAVEL_RULE_MISSING


def test_nobody_else_opens_it() -> None:
    """A stranger, a supervisor under the other's number, a supervisor with another key, and one of another network."""
    stranger = recipient(103, Scheme.X25519)
    assert reason(open_envelope, ENVELOPE, NETWORK, stranger, secret("supervisor 103")) == "recipient"
    assert (
        reason(open_envelope, ENVELOPE, NETWORK, replace(stranger, participant=101), secret("supervisor 103")) == "key"
    )
    assert reason(open_envelope, ENVELOPE, NETWORK, HOME, secret("supervisor 102")) == "key"
    assert reason(open_envelope, ENVELOPE, NETWORK, ABROAD, secret("supervisor 101")) == "key"
    assert reason(open_envelope, ENVELOPE, NETWORK, replace(HOME, key_id=2), secret("supervisor 101")) == "recipient"
    assert reason(open_envelope, ENVELOPE, bytes(32), HOME, secret("supervisor 101")) == "network"


def test_nothing_of_the_data_stands_in_the_open() -> None:
    """No name, account or number of the payment is to be read off the envelope, nor how long a name is."""
    for text in ("Quillon", "蓝礁石", "CN-1", "12345600", "invoice", DATA.salt_hash, DATA.uetr):
        assert text.encode() not in ENVELOPE and bytes.fromhex(DATA.salt_hash) not in ENVELOPE
    longer = msgspec.structs.replace(DATA, purpose="invoice 4711, and eleven more")
    assert len(seal(longer, (HOME, ABROAD), NETWORK, SEEDS)) == len(ENVELOPE)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(ENVELOPE) - 1), st.integers(1, 255))
def test_a_changed_envelope_opens_for_nobody(at: int, change: int) -> None:
    """Every byte is under a tag of both supervisors, or in the row of one and under the content's tag for the other."""
    changed = bytearray(ENVELOPE)
    changed[at] ^= change
    for each in (HOME, ABROAD):
        with pytest.raises(EnvelopeRefusedError):
            open_envelope(bytes(changed), NETWORK, each, secret(f"supervisor {each.participant}"))


@pytest.mark.parametrize("cut", [0, 1, 71, 319, 320, len(ENVELOPE) - 1])
def test_a_cut_or_swollen_envelope_is_refused(cut: int) -> None:
    """Any other length, up to far beyond the bound."""
    for data in (ENVELOPE[:cut], ENVELOPE + b"\0", ENVELOPE + bytes(ENVELOPE_BYTES_MAX)):
        with pytest.raises(EnvelopeRefusedError):
            open_envelope(data, NETWORK, HOME, secret("supervisor 101"))


def test_two_supervisors_cannot_be_shown_different_data() -> None:
    """A sealer who wraps another key for the second supervisor is found out by the commitment in the head."""
    other = secret("another content key")
    row = travel_rule._row(ABROAD, NETWORK, SEEDS.ephemerals[1], other)
    at = travel_rule._HEAD.size + travel_rule._ROW.size
    head = ENVELOPE[:at] + row
    forged = head + AESGCM(SEEDS.content_key).encrypt(bytes(12), bytes(512), head)
    assert reason(open_envelope, forged, NETWORK, ABROAD, secret("supervisor 102")) == "commitment"


def test_content_that_is_no_travel_rule_data_is_refused() -> None:
    """What a sealer wrote is checked like any input: noise, other encodings, a length past the end, dirty padding."""
    head = ENVELOPE[: travel_rule._SEALED_AT]
    good = DATA.encode()
    for framed in (
        b"",
        b"\0\0\0",
        (9_999).to_bytes(4, "little") + good,
        len(good).to_bytes(4, "little") + good + b"\1",
        (len(good) + 1).to_bytes(4, "little") + good + b" ",
        (2).to_bytes(4, "little") + b"{}",
    ):
        forged = head + AESGCM(SEEDS.content_key).encrypt(bytes(12), framed, head)
        assert reason(open_envelope, forged, NETWORK, HOME, secret("supervisor 101")) == "content"


def test_the_hash_in_the_terms_names_the_envelope_and_the_salt_proves_the_secret() -> None:
    """Golden hash; and the salt that is shown after the claim is compared with what was sealed before."""
    assert envelope_hash(1, ENVELOPE).hex() == "69bcaeda5853eba835f0900f2f3f7656e725cfd8697e90f84662cdd1e9a3dd3a"
    assert envelope_hash(2, ENVELOPE) != envelope_hash(1, ENVELOPE)
    opened = open_envelope(ENVELOPE, NETWORK, HOME, secret("supervisor 101"))
    assert bytes.fromhex(opened.salt_hash) == salt_hash(secret("salt")) != salt_hash(secret("another salt"))


@pytest.mark.parametrize(
    "wrong",
    [
        (HOME,), (HOME, HOME), (HOME, replace(HOME, key_id=2)), (HOME, ABROAD, recipient(103, Scheme.X25519)),
        (HOME, replace(ABROAD, public_key=bytes(64))), (HOME, replace(ABROAD, public_key=b"\1" * 64)),
        (replace(HOME, public_key=bytes(32)), ABROAD), (replace(HOME, public_key=b"\1" * 40), ABROAD),
    ],
)  # fmt: skip
def test_an_envelope_is_for_two_supervisors_with_keys(wrong: tuple[Recipient, ...]) -> None:
    """One, the same one twice, three, a point off the curve, a point of small order, a key too long."""
    with pytest.raises(BridgeRefused) as caught:
        seal(DATA, wrong, NETWORK, SEEDS)
    assert caught.value.code is BridgeCode.TRAVEL_RULE_MISSING


@pytest.mark.parametrize(
    "seeds",
    [
        Seeds(b"", SEEDS.ephemerals), Seeds(SEEDS.content_key, (SEEDS.content_key, SEEDS.ephemerals[1])),
        Seeds(SEEDS.content_key, (SEEDS.ephemerals[0], SEEDS.ephemerals[0])), Seeds(bytes(33), SEEDS.ephemerals),
    ],
)  # fmt: skip
def test_randomness_of_the_wrong_length_or_used_twice_is_refused(seeds: Seeds) -> None:
    """A shell that hands in the same bytes twice is broken, and says so before anything is sealed."""
    with pytest.raises(EncodingError):
        seal(DATA, (HOME, ABROAD), NETWORK, seeds)


def test_the_originator_can_be_told_apart_and_data_have_a_bound() -> None:
    """A name and an account alone name nobody; more data than the bound are refused."""
    with pytest.raises(BridgeRefused) as caught:
        msgspec.structs.replace(DATA, originator=Party("Orbeline Chemical Works LLC", "CN-3", 11, "CN"))
    assert caught.value.code is BridgeCode.TRAVEL_RULE_MISSING
    big = msgspec.structs.replace(DATA, purpose="x" * 20_000)
    with pytest.raises(BridgeRefused):
        seal(big, (HOME, ABROAD), NETWORK, SEEDS)


def test_a_scalar_at_or_above_the_order_is_brought_below_it() -> None:
    """The one draw in four milliards that is no scalar still makes a key, the same one every time."""
    high = b"\xff" * 32
    assert travel_rule._public(Scheme.P256, high) == travel_rule._public(Scheme.P256, high)
    assert travel_rule._public(Scheme.P256, bytes(32)) != travel_rule._public(Scheme.P256, high)
