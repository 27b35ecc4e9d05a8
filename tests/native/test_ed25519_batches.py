"""Ed25519 in batches: a batch gives each item the verdict that the item gets alone, whatever stands beside it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import struct
from pathlib import Path
from typing import Final

import pytest

from native import signatures
from native.signatures import SUITE_ED25519, SUITE_SM2, KeyRegistry, SigningKeys
from native.twins import ed25519 as twin

HERE: Final = Path(__file__).parent
CASES: Final = json.loads((HERE.parent / "vectors" / "ed25519" / "cases.json").read_text(encoding="ascii"))["cases"]
GOOD_KEY_CASES: Final = [case for case in CASES if case["key_fault"] is None]
L: Final = twin.GROUP_ORDER
STRIDE: Final = 40
# On both sides of where a batch turns from single items in lanes to one sum, where sums change the width of their
# digits, where a vector is full, and where one call of the kernel is.
COUNTS: Final = (1, 2, 7, 8, 9, 15, 16, 17, 20, 21, 31, 32, 33, 64, 65, 100, 129, 300, 700, 1500, 2100, 4096, 4097)


class Items:
    """Honest items under a few keys, to be spoilt at will."""

    def __init__(self, count: int, key_count: int = 5, stride: int = STRIDE, label: str = "items") -> None:
        """Register the keys and sign everything."""
        self.count, self.stride = count, stride
        self.registry, self.keys = KeyRegistry(), SigningKeys()
        self.secrets = [hashlib.sha256(f"{label} {i}".encode()).digest() for i in range(min(key_count, count))]
        for secret in self.secrets:
            index = self.keys.register(SUITE_ED25519, secret)
            assert self.registry.register(SUITE_ED25519, self.keys.public_key(index)) == index + 1
        self.key_of = [i % len(self.secrets) for i in range(count)]
        self.messages = bytearray(hashlib.shake_256(label.encode()).digest(count * stride))
        self.signatures = bytearray(64 * count)
        signatures.sign_batch(self.keys, self._indexes(0), self.messages, self.signatures)

    def _indexes(self, first: int) -> bytes:
        return struct.pack(f"={self.count}I", *(key + first for key in self.key_of))

    def message(self, index: int) -> bytes:
        """Return the message of an item."""
        return bytes(self.messages[self.stride * index : self.stride * index + self.stride])

    def signature(self, index: int) -> bytes:
        """Return the signature of an item."""
        return bytes(self.signatures[64 * index : 64 * index + 64])

    def set_signature(self, index: int, signature: bytes) -> None:
        """Replace the signature of an item."""
        self.signatures[64 * index : 64 * index + 64] = signature

    def add_to_response(self, index: int, added: int) -> None:
        """Add to S of an item, modulo L: still well formed, and wrong."""
        commitment, response = self.signature(index)[:32], int.from_bytes(self.signature(index)[32:], "little")
        self.set_signature(index, commitment + ((response + added) % L).to_bytes(32, "little"))

    def bad(self) -> list[int]:
        """Verify the batch and return the indexes that failed."""
        out = bytearray(b"\xff" * self.count)
        failed = signatures.verify_batch(self.registry, self._indexes(1), self.signatures, self.messages, out)
        assert set(out) <= {0, 1}
        bad = [i for i in range(self.count) if out[i] == 0]
        assert failed == len(bad)
        return bad

    def singly_bad(self) -> list[int]:
        """Ask for each item alone, which is the scalar reference's verdict."""
        return [
            i
            for i in range(self.count)
            if not signatures.verify(
                SUITE_ED25519, self.keys.public_key(self.key_of[i]), self.signature(i), self.message(i)
            )
        ]


@pytest.mark.parametrize("count", COUNTS)
def test_honest_batches_of_every_size_pass_and_a_bad_last_item_is_found(count: int) -> None:
    """Sizes around every change of method; then the last item bent, which padding must not hide."""
    items = Items(count)
    assert items.bad() == []
    items.add_to_response(count - 1, 1)
    assert items.bad() == [count - 1]


@pytest.mark.parametrize("key_count", [1, 2, 64, 700])
def test_any_number_of_keys_may_share_a_batch(key_count: int) -> None:
    """One key for all items up to a key for each."""
    items = Items(700, key_count)
    items.add_to_response(350, 1)
    assert items.bad() == [350]


@pytest.mark.parametrize("stride", [0, 1, 46, 47, 48, 63, 64, 65, 111, 112, 174, 175, 176, 192, 193, 500])
def test_messages_of_every_length_are_hashed_as_they_are(stride: int) -> None:
    """Lengths around every block boundary of SHA-512 behind 64 bytes of R and A."""
    items = Items(40, stride=stride)
    assert items.bad() == []
    items.add_to_response(7, 1)
    if stride > 0:
        items.messages[stride * 30 - 1] ^= 1
    assert items.bad() == ([7, 29] if stride > 0 else [7])


@pytest.mark.parametrize("count", [12, 24, 70])
def test_one_bad_item_is_found_wherever_it_stands(count: int) -> None:
    """Each index in turn, in single items and in sums."""
    items = Items(count)
    for index in range(count):
        honest = items.signature(index)
        items.add_to_response(index, 1 << index)
        assert items.bad() == [index]
        items.set_signature(index, honest)
    assert items.bad() == []


@pytest.mark.parametrize("bad_count", [2, 3, 10, 50, 200, 399, 400])
def test_many_bad_items_are_found_wherever_they_stand(bad_count: int) -> None:
    """Random sets of bad items, from a pair to all."""
    items = Items(400, 9)
    chosen = sorted(random.Random(bad_count).sample(range(400), bad_count))  # noqa: S311 - which items, not a secret
    for index in chosen:
        items.add_to_response(index, 1)
    assert items.bad() == chosen


def test_two_that_cancel_without_coefficients_fail() -> None:
    """What one item has too much the other lacks: a plain sum would not see it."""
    items = Items(64, 1)
    items.add_to_response(10, 5)
    items.add_to_response(50, -5)
    assert items.bad() == [10, 50]


def test_errors_that_cancel_under_foretold_coefficients_pass_only_when_they_are_foretold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Build a pair for the seed of zeros: with it the pair passes, which shows that nothing but the seed stops it."""
    items = Items(64)
    first, second = (_coefficient(bytes(32), index) for index in (3, 4))
    items.add_to_response(3, second)
    items.add_to_response(4, -first)
    assert items.bad() == [3, 4]
    with monkeypatch.context() as patched:
        patched.setattr(signatures, "urandom", bytes)
        assert items.bad() == []
    assert items.bad() == [3, 4]


@pytest.mark.parametrize("torsion", range(1, 8))
def test_the_sum_of_a_batch_is_taken_times_the_cofactor(torsion: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torsion in R beside a pair that cancels under foretold weights: only a sum times eight lets the pair pass.

    A sum without the cofactor would be halved down to single items, which give right verdicts, late.
    """
    items = Items(64)
    first, second = (_coefficient(bytes(32), index) for index in (3, 4))
    items.add_to_response(3, second)
    items.add_to_response(4, -first)
    # Weights that are no multiple of eight, so that some torsion is left.
    odd = [index for index in range(5, 64) if _coefficient(bytes(32), index) * torsion % 8][:1]
    _bend_by_torsion(items, odd[0], torsion)
    monkeypatch.setattr(signatures, "urandom", bytes)
    assert items.bad() == []


def test_every_batch_draws_a_seed_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the bytes that are asked of the system: 32 for each call of the kernel."""
    asked: list[int] = []

    def recorded(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    monkeypatch.setattr(signatures, "urandom", recorded)
    small, large = Items(64), Items(4097)
    small.bad()
    small.bad()
    large.bad()
    assert asked == [32, 32, 64]


@pytest.mark.parametrize("torsion", range(8))
def test_torsion_in_r_passes_in_a_batch_as_it_does_alone(torsion: int) -> None:
    """R plus each point of small order, twice in one batch, so that parts meet and so that they do not."""
    items = Items(40, 2)
    for index in (0, 17):
        _bend_by_torsion(items, index, torsion)
    assert items.singly_bad() == []
    assert items.bad() == []
    items.add_to_response(20, 1)
    assert items.bad() == [20]


@pytest.mark.parametrize("torsion", range(1, 8))
@pytest.mark.parametrize("count", [5, 40])
def test_torsion_in_r_passes_beside_bad_items_too(torsion: int, count: int) -> None:
    """Every other item bad, so that the bent one is decided for itself."""
    items = Items(count, 2)
    _bend_by_torsion(items, 2, torsion)
    bad = list(range(1, count, 2))
    for index in bad:
        items.add_to_response(index, 3)
    assert items.bad() == bad


@pytest.mark.parametrize("beside", [0, 3, 40])
@pytest.mark.parametrize("case", GOOD_KEY_CASES, ids=lambda case: case["name"])
def test_edge_cases_get_their_verdict_in_batches(case: dict[str, str | bool], beside: int) -> None:
    """Each written case alone in lanes, among a few, and in a sum with honest items."""
    key, signature, message = (bytes.fromhex(str(case[part])) for part in ("public_key", "signature", "message"))
    items = Items(beside + 2, stride=len(message))
    index = items.registry.register(SUITE_ED25519, key)
    at = beside // 2
    indexes = [key_of + 1 for key_of in items.key_of]
    indexes[at] = index
    items.set_signature(at, signature)
    items.messages[len(message) * at : len(message) * (at + 1)] = message
    out = bytearray(items.count)
    packed = struct.pack(f"={items.count}I", *indexes)
    failed = signatures.verify_batch(items.registry, packed, items.signatures, items.messages, out)
    assert bool(out[at]) is case["accept"]
    assert failed == (0 if case["accept"] else 1)


def test_all_edge_cases_in_one_batch_get_their_verdicts() -> None:
    """Cases of one message length together, repeated until they fill a sum."""
    lengths = {len(str(case["message"])) // 2 for case in GOOD_KEY_CASES}
    for length in lengths:
        cases = [case for case in GOOD_KEY_CASES if len(str(case["message"])) // 2 == length] * 5
        registry = KeyRegistry()
        indexes = [registry.register(SUITE_ED25519, bytes.fromhex(str(case["public_key"]))) for case in cases]
        out = bytearray(len(cases))
        signatures.verify_batch(
            registry,
            struct.pack(f"={len(cases)}I", *indexes),
            b"".join(bytes.fromhex(str(case["signature"])) for case in cases),
            b"".join(bytes.fromhex(str(case["message"])) for case in cases),
            out,
        )
        assert [bool(verdict) for verdict in out] == [case["accept"] for case in cases]


@pytest.mark.parametrize("seed", range(6))
def test_bent_items_get_in_a_batch_what_they_get_alone(seed: int, *, nightly: bool) -> None:
    """Differential: bits, S, R, messages and torsion bent at random; batch against the scalar reference."""
    for turn in range(100 if nightly else 1):
        generator = random.Random(f"{seed} {turn}")  # noqa: S311 - test data
        items = Items(generator.choice((9, 30, 90, 250)), generator.choice((1, 4, 90)), label=f"bent {seed} {turn}")
        share = generator.choice((0.02, 0.1, 0.9))
        for index in range(items.count):
            if generator.random() < share:
                _bend(items, index, generator)
        assert items.bad() == items.singly_bad()


def test_suites_and_missing_keys_may_be_mixed() -> None:
    """Ed25519, SM2 and "no key" in turn: each item keeps its place."""
    keys, registry = SigningKeys(), KeyRegistry()
    for suite in (SUITE_ED25519, SUITE_SM2):
        index = keys.register(suite, hashlib.sha256(b"mixed %d" % suite).digest())
        registry.register(suite, keys.public_key(index))
    count = 90
    messages = hashlib.shake_256(b"mixed").digest(count * STRIDE)
    made, out = bytearray(64 * count), bytearray(count)
    signatures.sign_batch(keys, struct.pack(f"={count}I", *(i % 3 % 2 for i in range(count))), messages, made)
    indexes = [(1, 2, 0)[i % 3] for i in range(count)]
    made[64 * 30 + 40] ^= 1
    made[64 * 31 + 40] ^= 1
    failed = signatures.verify_batch(registry, struct.pack(f"={count}I", *indexes), made, messages, out)
    expected = [i for i in range(count) if i % 3 == 2 or i in (30, 31)]
    assert [i for i in range(count) if out[i] == 0] == expected
    assert failed == len(expected)


def test_a_batch_after_a_larger_one_is_not_touched_by_it() -> None:
    """The working memory is kept from batch to batch: sizes up and down, good and bad, through one registry."""
    items = Items(600)
    for count in (600, 30, 599, 2, 64, 600):
        for bad in ([], [count - 1], [0, count // 2]):
            given = bytearray(items.signatures[: 64 * count])
            for index in bad:
                given[64 * index + 33] ^= 4
            out = bytearray(count)
            packed = struct.pack(f"={count}I", *(key + 1 for key in items.key_of[:count]))
            signatures.verify_batch(items.registry, packed, given, items.messages[: STRIDE * count], out)
            assert [i for i in range(count) if out[i] == 0] == sorted(set(bad))


@pytest.mark.parametrize("count", [1, 2, 8, 15, 16, 17, 63, 64, 65, 200])
@pytest.mark.parametrize("stride", [0, 40, 63, 64, 95, 96, 192])
def test_batches_are_signed_with_the_bytes_of_single_signing(count: int, stride: int) -> None:
    """Signing in lanes is deterministic too, and writes nothing past its items."""
    items = Items(count, key_count=7, stride=stride)
    for index in range(count):
        secret = items.secrets[items.key_of[index]]
        assert items.signature(index) == signatures.sign(SUITE_ED25519, secret, items.message(index))


def test_a_signature_in_lanes_is_the_twins() -> None:
    """The last link: lanes against plain big integers."""
    items = Items(20)
    for index in range(20):
        assert items.signature(index) == twin.sign(items.secrets[items.key_of[index]], items.message(index))


def _coefficient(seed: bytes, index: int) -> int:
    """Return z of an item, as the kernel draws it: four from each SHA-512 of seed and counter, without the top bit."""
    digest = hashlib.sha512(seed + (index // 4).to_bytes(8, "little")).digest()
    return int.from_bytes(digest[16 * (index % 4) : 16 * (index % 4) + 16], "little") & (2**127 - 1)


def _bend_by_torsion(items: Items, index: int, torsion: int) -> None:
    """Sign an item again with R plus a point of small order."""
    secret = items.secrets[items.key_of[index]]
    scalar, _ = twin.expand_secret(secret)
    commitment = twin.encode(twin.add(twin.multiply(4321 + index, twin.BASE), twin.torsion_points()[torsion]))
    challenge = twin.challenge(commitment, twin.public_key(secret), items.message(index))
    items.set_signature(index, commitment + ((4321 + index + challenge * scalar) % L).to_bytes(32, "little"))


def _bend(items: Items, index: int, generator: random.Random) -> None:
    """Change one item in one of many ways, most of which make it bad."""
    signature = bytearray(items.signature(index))
    way = generator.randrange(7)
    if way == 0:
        bit = generator.randrange(512)
        signature[bit // 8] ^= 1 << bit % 8
    elif way == 1:
        response = int.from_bytes(signature[32:], "little") + L  # S + L below 2^256: the same scalar, not canonical
        signature[32:] = response.to_bytes(32, "little")
    elif way == 2:
        signature[:32] = generator.randbytes(32)
    elif way == 3:
        low = generator.choice((0, 1, twin.P - 1, twin.P, twin.P + 1, 2**255 - 1))
        signature[:32] = (low | generator.getrandbits(1) << 255).to_bytes(32, "little")
    elif way == 4:
        _bend_by_torsion(items, index, generator.randrange(8))
        return
    elif way == 5:
        items.messages[items.stride * index] ^= 1
    else:
        signature[:] = generator.randbytes(63) + bytes(1)
    items.set_signature(index, bytes(signature))
