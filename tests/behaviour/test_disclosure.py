"""What a supervisor is handed (TRAVEL-6, -7, -12): read by him alone, about this payment, under these terms.

Every company here is made up for these tests.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bridge.disclosure import DISCLOSURE_BYTES_MAX, Disclosure, decode_disclosure, open_disclosure
from bridge.leg import HashFunction
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.terms import CorridorRef, LegTerms, SwapTerms, account_text, seal_terms
from bridge.travel_route import PaymentParties, SealedPayment, join_sheaf, seal_route, sheaf_hash
from bridge.travel_rule import Party, Recipient, Scheme, Seeds
from engine.types import ZERO_HASH
from tests.behaviour.bridge_papers import CNY, HKD, NOW, PAYER, THB, S, account

NETWORK = hashlib.sha256(b"a network of the tests").digest()
SALT = hashlib.sha256(b"salt").digest()
PARTIES = PaymentParties(
    1, Party("Novamar Cement Industries", "1", PAYER, "CN", address="1 Harbour Road"), Party("Lanjiao", "2", 31, "TH")
)


def secret(participant: int) -> bytes:
    return hashlib.sha256(b"supervisor %d" % participant).digest()


def reader(participant: int) -> Recipient:
    public = X25519PrivateKey.from_private_bytes(secret(participant)).public_key().public_bytes_raw()
    return Recipient(participant, 1, Scheme.X25519, public)


def made(
    received: int = 5_450, parties: PaymentParties = PARTIES, salt: bytes = SALT, sealed: bytes = SALT
) -> Disclosure:
    """A swap over two hops, with supervisors 101 and 102 of the first and 102 and 103 of the second."""
    payment = SealedPayment(b"u" * 16, 5_000, received, CNY, THB, sealed)
    seeds = [Seeds(*(hashlib.sha256(b"%d" % n).digest(), (b"b" * 32, b"c" * 32))) for n in (1, 2)]
    hops = [(reader(101), reader(102)), (reader(102), reader(103))]
    envelopes = seal_route(parties, payment, hops, NETWORK, seeds)
    ends = ((CNY, PAYER, 21), (HKD, 21, 22), (THB, 22, 31))
    legs = tuple(
        LegTerms(ledger, account_text(account(a, ledger)), account_text(account(b, ledger)), amount, NOW + 30 * S, 7)
        for (ledger, a, b), amount in zip(ends, (5_000, 5_200, 5_450), strict=True)
    )
    draft = SwapTerms(
        uetr=b"u" * 16, network=NETWORK, legs=legs, hash_function=HashFunction.SHA256, hashlock=ZERO_HASH,
        created_at=NOW, travel_rule_hash=sheaf_hash(1, envelopes),
        corridors=(CorridorRef(b"a" * 16, 1), CorridorRef(b"b" * 16, 1)),
    )  # fmt: skip
    terms, _ = seal_terms(draft, SALT, 1)
    return Disclosure(1, NETWORK.hex(), terms.encode().hex(), join_sheaf(envelopes).hex(), salt.hex())


def refused(code: BridgeCode, call, *arguments) -> BridgeRefused:
    with pytest.raises(BridgeRefused) as caught:
        call(*arguments)
    assert caught.value.code is code, caught.value
    return caught.value


def opened(found: Disclosure, participant: int = 102, key: int | None = None):
    return open_disclosure(found, 1, NETWORK, participant, secret(participant if key is None else key))


@pytest.mark.parametrize(("participant", "hops"), [(101, (0,)), (102, (0, 1)), (103, (1,))])
def test_each_supervisor_reads_the_hops_that_are_his(participant: int, hops: tuple[int, ...]) -> None:
    """The same data whichever hop they come from; and with the salt it is proved that the secret was for them."""
    found = opened(decode_disclosure(made().encode()), participant)
    assert found.hops == hops and found.data.originator == PARTIES.originator
    assert found.is_proved is True
    assert bytes.fromhex(found.data.salt_hash) != SALT, "who opens an envelope has no salt, and so no secret"
    assert opened(made(salt=b""), participant).is_proved is None
    assert opened(made(salt=b"x" * 32), participant).is_proved is False
    # Data that were sealed for another salt are not those of this secret, though the salt shown leads to it.
    assert opened(made(sealed=b"y" * 32), participant).is_proved is False


def test_what_does_not_belong_together_is_refused() -> None:
    """A stranger, another key, another network, other envelopes, data about another payment, terms that are none."""
    good = made()
    refused(BridgeCode.TRAVEL_RULE_MISSING, opened, good, 104)
    refused(BridgeCode.TRAVEL_RULE_MISSING, opened, good, 102, 103)
    refused(BridgeCode.TERMS_MALFORMED, open_disclosure, good, 1, bytes(32), 102, secret(102))
    other = made(parties=msgspec.structs.replace(PARTIES, purpose="something else"))
    refused(BridgeCode.TRAVEL_RULE_MISSING, opened, msgspec.structs.replace(good, envelopes=other.envelopes))
    refused(BridgeCode.TRAVEL_RULE_MISMATCH, opened, made(received=5_451))
    refused(BridgeCode.TERMS_MALFORMED, opened, msgspec.structs.replace(good, terms="00" * 80))
    refused(BridgeCode.TERMS_MALFORMED, opened, msgspec.structs.replace(good, envelopes="ff" * 80))
    assert good.question(1) != other.question(1) and good.question(1) == msgspec.structs.replace(
        good, salt=""
    ).question(1)


def test_bytes_that_are_no_disclosure_are_refused() -> None:
    """Noise, unknown fields, odd digits, nesting, and more than the bound."""
    good = made().encode()
    for data in (
        b"", b"[" * 99_999, good[:-3], good.replace(b'"format"', b'"more": 1, "format"'),
        good.replace(b'"salt": "', b'"salt": "zz'), good + b" " * DISCLOSURE_BYTES_MAX,
    ):  # fmt: skip
        refused(BridgeCode.TERMS_MALFORMED, decode_disclosure, data)
    assert replace(reader(101), key_id=2) != reader(101)
