"""A batch gives each item the verdict that it gets alone: every suite, with hints and without, whatever stands beside it.

Requirements SIG-10 to SIG-14 of docs/spec/08-signatures.md. Pairs are built here whose errors cancel where nothing
random weighs them, and hints that would make a bad item good where a check of the hint is missing.
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
from typing import Final

import pytest

from native import signatures
from native.signatures import KeyRegistry, SigningKeys
from native.twins import ed25519, p256, sm2

SUITES: Final = {1: "ed25519", 2: "sm2", 3: "p256"}
STRIDE: Final = 40
L: Final = ed25519.GROUP_ORDER
HINTED: Final = pytest.mark.parametrize("hinted", [False, True], ids=["plain", "hinted"])
EVERY_SUITE: Final = pytest.mark.parametrize("suite", SUITES, ids=SUITES.values())
TWINS: Final = {2: sm2, 3: p256}


class Batch:
    """Honest items of one suite under a few keys, to be spoilt at will."""

    def __init__(self, suite: int, count: int, key_count: int = 5, label: str = "batch") -> None:
        """Register the keys and sign everything."""
        self.suite, self.count = suite, count
        self.registry, self.keys = KeyRegistry(), SigningKeys()
        self.secrets = [hashlib.sha256(f"{label} {i}".encode()).digest() for i in range(min(key_count, count))]
        for secret in self.secrets:
            index = self.keys.register(suite, secret)
            assert self.registry.register(suite, self.keys.public_key(index)) == index + 1
        self.key_of = [i % len(self.secrets) for i in range(count)]
        self.messages = bytearray(hashlib.shake_256(label.encode()).digest(count * STRIDE))
        self.signatures = bytearray(64 * count)
        self.hints = bytearray(32 * count)
        signatures.sign_batch(self.keys, struct.pack(f"={count}I", *self.key_of), self.messages, self.signatures)
        assert self.bad(hinted=False) == []

    def message(self, index: int) -> bytes:
        """Return the message of an item."""
        return bytes(self.messages[STRIDE * index : STRIDE * index + STRIDE])

    def signature(self, index: int) -> bytes:
        """Return the signature of an item."""
        return bytes(self.signatures[64 * index : 64 * index + 64])

    def hint(self, index: int) -> bytes:
        """Return the hint of an item."""
        return bytes(self.hints[32 * index : 32 * index + 32])

    def set(self, index: int, signature: bytes | None = None, hint: bytes | None = None) -> None:
        """Replace what is given of an item."""
        if signature is not None:
            self.signatures[64 * index : 64 * index + 64] = signature
        if hint is not None:
            self.hints[32 * index : 32 * index + 32] = hint

    def spoil(self, index: int) -> None:
        """Change s by one: well formed still, and wrong; the hint stays what it was."""
        order = "little" if self.suite == 1 else "big"
        s = int.from_bytes(self.signature(index)[32:], order)
        self.set(index, self.signature(index)[:32] + (s - 1 if s > 1 else s + 1).to_bytes(32, order))

    def bad(self, *, hinted: bool, keep: bool = True) -> list[int]:
        """Verify the batch, with the hints as they stand; returns what failed. Without hints the made ones are kept."""
        out, made = bytearray(b"\xff" * self.count), bytearray(32 * self.count)
        indexes = struct.pack(f"={self.count}I", *(key + 1 for key in self.key_of))
        failed = signatures.verify_batch(
            self.registry,
            indexes,
            self.signatures,
            self.messages,
            out,
            hints=bytes(self.hints) if hinted else None,
            hints_out=made,
        )
        assert set(out) <= {0, 1}
        bad = [i for i in range(self.count) if out[i] == 0]
        assert failed == len(bad)
        assert all(made[32 * i : 32 * i + 32] == bytes(32) for i in bad), "a bad item has no hint"
        if keep and not hinted:
            self.hints[:] = made
        return bad

    def singly_bad(self) -> list[int]:
        """Ask for each item alone."""
        return [
            i
            for i in range(self.count)
            if not signatures.verify(
                self.suite, self.keys.public_key(self.key_of[i]), self.signature(i), self.message(i)
            )
        ]

    def secret_number(self, index: int) -> int:
        """Return the secret of an item as a number."""
        secret = self.secrets[self.key_of[index]]
        return ed25519.expand_secret(secret)[0] if self.suite == 1 else int.from_bytes(secret, "big")


@EVERY_SUITE
@HINTED
@pytest.mark.parametrize("count", [1, 2, 9, 33, 65])
def test_one_bad_item_is_found_wherever_it_stands(suite: int, hinted: bool, count: int) -> None:
    """Each index in turn."""
    batch = Batch(suite, count)
    for index in range(count):
        honest = batch.signature(index)
        batch.spoil(index)
        assert batch.bad(hinted=hinted, keep=False) == [index]
        batch.set(index, honest)
    assert batch.bad(hinted=hinted, keep=False) == []


@EVERY_SUITE
@HINTED
def test_one_bad_item_in_a_full_batch_is_found(suite: int, hinted: bool, *, nightly: bool) -> None:
    """4,096 items: some indexes in each run, every one at night."""
    batch = Batch(suite, 4096, key_count=64)
    indexes = range(4096) if nightly else (0, 1, 2047, 2048, 4095)
    for index in indexes:
        honest = batch.signature(index)
        batch.spoil(index)
        assert batch.bad(hinted=hinted, keep=False) == [index]
        batch.set(index, honest)


@EVERY_SUITE
@HINTED
@pytest.mark.parametrize("bad_count", [2, 3, 9, 40, 150, 199, 200])
def test_any_number_of_bad_items_is_found(suite: int, hinted: bool, bad_count: int) -> None:
    """From a pair to all, at random places."""
    batch = Batch(suite, 200, key_count=7)
    chosen = sorted(random.Random(bad_count).sample(range(200), bad_count))
    for index in chosen:
        batch.spoil(index)
    assert batch.bad(hinted=hinted) == chosen


@EVERY_SUITE
@HINTED
def test_a_swapped_pair_and_a_changed_message_fail_where_they_stand(suite: int, hinted: bool) -> None:
    """Signatures of two items of one key exchanged, hints with them and without."""
    batch = Batch(suite, 60, key_count=3)
    first, second = batch.signature(6), batch.signature(9)
    batch.set(6, second, batch.hint(9))
    batch.set(9, first)
    batch.messages[STRIDE * 30 + 39] ^= 1
    assert batch.bad(hinted=hinted) == [6, 9, 30]


@EVERY_SUITE
@pytest.mark.parametrize("count", [40, 300])
def test_any_hint_leaves_the_verdict(suite: int, count: int) -> None:
    """SIG-13: one wrong hint at every place, then all wrong in several ways; good items pass and the bad one fails."""
    batch = Batch(suite, count)
    batch.spoil(20)
    honest = bytes(batch.hints)
    prime = {1: ed25519.P, 2: sm2.FIELD, 3: p256.FIELD}[suite]
    order = "little" if suite == 1 else "big"
    for index in range(count):
        # By turns no point any more, and the opposite point.
        value = int.from_bytes(batch.hint(index), order)
        batch.set(index, hint=((prime - value) % prime if index % 2 else value ^ 1).to_bytes(32, order))
        assert batch.bad(hinted=True) == [20]
        batch.hints[:] = honest
    whole = 32 * count
    for form in (bytes(whole), b"\xff" * whole, honest[32:] + honest[:32], hashlib.shake_128(b"any").digest(whole)):
        batch.hints[:] = form
        assert batch.bad(hinted=True) == [20]


def cancelling_weierstrass(batch: Batch, first: int, second: int, weights: tuple[int, int] = (1, 1)) -> None:
    """Make two items whose sums miss the R of their hints by points that, so weighed, add up to nothing.

    With R = [k]G chosen and its y as the hint, the item misses R by a multiple of G that its s decides. SM2: by
    s (1 + d) + r d - k. P-256: by (e + r d) / s - k, which the second s makes what is wanted.
    """
    suite, twin = batch.suite, TWINS[batch.suite]
    n = twin.ORDER
    missing = None
    for index, weight in ((first, weights[0]), (second, weights[1])):
        for nonce in range(1000 * index + 777, 1000 * index + 1777):
            point = twin.multiply(nonce, twin.GENERATOR)
            assert point is not None
            d, message = batch.secret_number(index), batch.message(index)
            key = batch.keys.public_key(batch.key_of[index])
            wanted = 12345 if missing is None else -missing * pow(weight, -1, n) % n
            if suite == 2:
                e = int.from_bytes(sm2.sm3(sm2.z_value(key) + message), "big")
                r = (e + point[0]) % n
                s = pow(1 + d, -1, n) * (nonce - r * d + wanted) % n
                found = (s + (r + s) * d - nonce) % n
            else:
                e = int.from_bytes(hashlib.sha256(message).digest(), "big")
                r = point[0] % n
                s = (e + r * d) * pow(nonce + wanted, -1, n) % n
                found = ((e + r * d) * pow(s, -1, n) - nonce) % n
            if 0 < s <= (n - 1) // 2:
                break
        assert found == wanted
        missing = weight * found % n if missing is None else (missing + weight * found) % n
        batch.set(index, r.to_bytes(32, "big") + s.to_bytes(32, "big"), point[1].to_bytes(32, "big"))
    assert missing == 0


@EVERY_SUITE
@pytest.mark.parametrize("count", [2, 40, 300])
def test_two_that_cancel_without_coefficients_fail(suite: int, count: int) -> None:
    """SIG-12: what one item has too much the other lacks; a sum without random weights would take both."""
    batch = Batch(suite, count, key_count=1 if suite == 1 else 3)
    first, second = 0, count - 1
    if suite == 1:
        for index, added in ((first, 5), (second, -5)):
            response = (int.from_bytes(batch.signature(index)[32:], "little") + added) % L
            batch.set(index, batch.signature(index)[:32] + response.to_bytes(32, "little"))
    else:
        cancelling_weierstrass(batch, first, second)
    for _ in range(3):
        assert batch.bad(hinted=True) == [first, second]
        assert batch.bad(hinted=False, keep=False) == [first, second]
    assert batch.singly_bad() == [first, second]


@pytest.mark.parametrize("suite", [2, 3], ids=["sm2", "p256"])
def test_a_pair_that_cancels_under_foretold_weights_passes_only_when_they_are_foretold(
    suite: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIG-12: weights 2 b + 1 - 2^128 from SM3(seed || counter): for the seed of zeros a pair is built that would pass."""
    batch = Batch(suite, 300, key_count=3)
    if batch.hint(0) == bytes(32):
        pytest.skip("this variant makes no hints and sums nothing")
    drawn = sm2.sm3(bytes(32) + (3).to_bytes(8, "little"))
    weights = tuple(2 * int.from_bytes(drawn[at : at + 16], "little") + 1 - 2**128 for at in (0, 16))
    cancelling_weierstrass(batch, 6, 7, (weights[0], weights[1]))
    assert batch.bad(hinted=True) == [6, 7]
    with monkeypatch.context() as patched:
        patched.setattr(signatures, "urandom", bytes)
        assert batch.bad(hinted=True) == []
    assert batch.bad(hinted=True) == [6, 7]


@EVERY_SUITE
def test_each_run_of_a_batch_draws_its_own_seed(suite: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIG-12: the system is asked for 32 bytes for each 4,096 items that may be summed, and never for the same twice."""
    asked: list[bytes] = []

    def recorded(count: int) -> bytes:
        asked.append(os.urandom(count))
        return asked[-1]

    batch = Batch(suite, 300)
    if suite != 1 and batch.hint(0) == bytes(32):
        pytest.skip("this variant makes no hints and sums nothing")
    monkeypatch.setattr(signatures, "urandom", recorded)
    for _ in range(3):
        batch.bad(hinted=True)
    assert [len(seed) for seed in asked] == [32] * 3
    assert len(set(asked)) == 3


@pytest.mark.parametrize("hinted", [False, True])
@pytest.mark.parametrize("torsion", range(8))
def test_torsion_in_r_is_taken_alone_and_in_batches(torsion: int, hinted: bool) -> None:
    """SIG-5: R plus each of the eight points of small order, in one item, in a pair, and beside bad ones."""
    batch = Batch(1, 40, key_count=2)
    for index in (3, 4, 39):
        bend(batch, index, torsion)
    assert batch.singly_bad() == []
    assert batch.bad(hinted=False) == []
    batch.spoil(20)
    assert batch.bad(hinted=hinted, keep=False) == [20]
    for index in range(5, 40):
        if index != 39:
            batch.set(index, bytes(64))
    assert batch.bad(hinted=hinted, keep=False) == [i for i in range(5, 39)]


def bend(batch: Batch, index: int, torsion: int, *, negated: bool = False, off: bool = False) -> None:
    """Sign an item again with R plus a point of small order; or with R's bytes negated, or not canonical."""
    nonce, d = 4321 + index, batch.secret_number(index)
    point = ed25519.add(ed25519.multiply(nonce, ed25519.BASE), ed25519.torsion_points()[torsion])
    written = ed25519.encode(ed25519.negate(point) if negated else point)
    if off:
        written = b"\xff" * 32
    k = ed25519.challenge(written, batch.keys.public_key(batch.key_of[index]), batch.message(index))
    inverse = pow(point.z, -1, ed25519.P)
    batch.set(
        index,
        written + ((nonce + k * d) % L).to_bytes(32, "little"),
        (point.x * inverse % ed25519.P).to_bytes(32, "little"),
    )


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_hint_may_not_choose_the_other_of_two_points(count: int) -> None:
    """R's bytes name one x, the hint gives the other, and the equation holds for that one: bad all the same."""
    batch = Batch(1, count)
    bend(batch, count - 1, 0, negated=True)
    assert batch.singly_bad() == [count - 1]
    assert batch.bad(hinted=True) == [count - 1]


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("y", [0, 1, 3, 4, 18])
def test_a_hint_does_not_make_an_encoding_canonical(y: int, count: int) -> None:
    """R written as y + p with the x of y as its hint, S good for that point where it is of small order."""
    batch = Batch(1, count)
    point = ed25519.decode(y.to_bytes(32, "little"))
    index = count - 1
    d = batch.secret_number(index)
    for sign in (0, 1):
        written = (y + ed25519.P | sign << 255).to_bytes(32, "little")
        x = 0 if point is None else point.x if point.x % 2 == sign else ed25519.P - point.x
        k = ed25519.challenge(written, batch.keys.public_key(batch.key_of[index]), batch.message(index))
        batch.set(index, written + (k * d % L).to_bytes(32, "little"), x.to_bytes(32, "little"))
        assert batch.bad(hinted=True) == [index]
    # x = 0 with its sign, which names the identity to those who do not look.
    written = (1 | 1 << 255).to_bytes(32, "little")
    k = ed25519.challenge(written, batch.keys.public_key(batch.key_of[index]), batch.message(index))
    for hint in (0, ed25519.P):
        batch.set(index, written + (k * d % L).to_bytes(32, "little"), hint.to_bytes(32, "little"))
        assert batch.bad(hinted=True) == [index]


@pytest.mark.parametrize("count", [1, 2, 40])
def test_a_hint_of_small_order_elsewhere_makes_nothing_good(count: int) -> None:
    """(i y, y) has order eight on a curve with another d: with S = k a, any R would do where the hint is believed."""
    batch = Batch(1, count)
    index = count - 1
    d, key = batch.secret_number(index), batch.keys.public_key(batch.key_of[index])
    root = pow(2, (ed25519.P - 1) // 4, ed25519.P)
    for y in (*range(2, 12), ed25519.P - 5):
        x = root * y % ed25519.P
        for value in (x, ed25519.P - x):
            written = (y | (value & 1) << 255).to_bytes(32, "little")
            k = ed25519.challenge(written, key, batch.message(index))
            batch.set(index, written + (k * d % L).to_bytes(32, "little"), value.to_bytes(32, "little"))
            assert batch.bad(hinted=True) == [index]


def of_order_three(prime: int, x: int) -> int | None:
    """Return y of a point of this x that has order three on a curve with another b, where there is one."""
    a = -3
    b = (a * a - 6 * a * x * x - 3 * x**4) * pow(12 * x, -1, prime) % prime
    square = (x**3 + a * x + b) % prime
    y = pow(square, (prime + 1) // 4, prime)
    return y if y * y % prime == square else None


@pytest.mark.parametrize("suite", [2, 3], ids=["sm2", "p256"])
@pytest.mark.parametrize("count", [1, 300])
def test_a_hint_off_the_curve_makes_nothing_good(suite: int, count: int) -> None:
    """Copies of one item whose sum is infinity, under a hint of order three on another curve.

    Without a check of the curve, one batch in three would add up to nothing.
    """
    batch, twin = Batch(suite, count, key_count=1), TWINS[suite]
    n, d, key = twin.ORDER, batch.secret_number(0), batch.keys.public_key(0)
    found = 0
    for trial in range(200):
        message = hashlib.shake_128(b"%d" % trial).digest(STRIDE)
        if suite == 2:
            r = trial + 5
            s = -r * d * pow(1 + d, -1, n) % n
            x = (r - int.from_bytes(sm2.sm3(sm2.z_value(key) + message), "big")) % n
        else:  # e + r d = 0, whatever s is
            r = -int.from_bytes(hashlib.sha256(message).digest(), "big") * pow(d, -1, n) % n
            s, x = trial + 5, r
        y = of_order_three(twin.FIELD, x)
        if y is None:
            continue
        for index in range(count):
            batch.messages[STRIDE * index : STRIDE * index + STRIDE] = message
            batch.set(index, r.to_bytes(32, "big") + s.to_bytes(32, "big"), y.to_bytes(32, "big"))
        assert batch.bad(hinted=True) == list(range(count))
        found += 1
        if found == 24:
            return
    raise AssertionError


@EVERY_SUITE
@pytest.mark.parametrize("seed", range(4))
def test_bent_items_get_in_a_batch_what_they_get_alone(suite: int, seed: int, *, nightly: bool) -> None:
    """Differential: bits of signatures, messages and hints, halves of other items, ranges; batch against single items."""
    items = 0
    for turn in range(150 if nightly else 2):
        generator = random.Random(f"{suite} {seed} {turn}")
        batch = Batch(
            suite, generator.choice((9, 40, 130, 400, 700)), generator.choice((1, 4, 60)), label=f"bent {seed} {turn}"
        )
        share = generator.choice((0.02, 0.2, 0.9))
        for index in range(batch.count):
            if generator.random() < share:
                bend_anyhow(batch, index, generator)
        expected = batch.singly_bad()
        assert batch.bad(hinted=False, keep=False) == expected, (suite, seed, turn)
        assert batch.bad(hinted=True) == expected, (suite, seed, turn)
        items += batch.count
    print(f"{items} items, suite {SUITES[suite]}, seed {seed}")


def bend_anyhow(batch: Batch, index: int, generator: random.Random) -> None:
    signature, hint = bytearray(batch.signature(index)), bytearray(batch.hint(index))
    other = generator.randrange(batch.count)
    way = generator.randrange(9)
    if way == 0:
        signature[generator.randrange(64)] ^= 1 << generator.randrange(8)
    elif way == 1:
        hint[generator.randrange(32)] ^= 1 << generator.randrange(8)
    elif way == 2:
        signature[:32] = batch.signature(other)[:32]
    elif way == 3:
        signature[32:] = batch.signature(other)[32:]
    elif way == 4:
        hint[:] = batch.hint(other)
    elif way == 5:
        batch.messages[STRIDE * index + generator.randrange(STRIDE)] ^= 1
    elif way == 6:
        order = {1: L, 2: sm2.ORDER, 3: p256.ORDER}[batch.suite]
        at = generator.choice((0, 32))
        value = generator.choice((0, 1, order - 1, order, order + 1, order // 2, 2**256 - 1, 2**255 - 19))
        signature[at : at + 32] = value.to_bytes(32, "little" if batch.suite == 1 else "big")
    elif way == 7 and batch.suite == 1:
        bend(batch, index, generator.randrange(8), negated=generator.random() < 0.3)
        return
    else:
        hint[:] = generator.randbytes(32)
    batch.set(index, bytes(signature), bytes(hint))
