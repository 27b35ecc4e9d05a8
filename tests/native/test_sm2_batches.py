"""SM2 in batches: a batch gives each item the verdict that the item gets alone, whatever stands beside it or is hinted."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from native import signatures
from native.signatures import SUITE_SM2, KeyRegistry, SigningKeys
from native.twins import sm2 as twin
from native.weierstrass.avx512ifma import generate_base8

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT: Final = Path(__file__).parents[2]
CASES: Final = [
    case
    for case in json.loads((ROOT / "tests" / "vectors" / "sm2" / "cases.json").read_text(encoding="ascii"))["cases"]
    if case["key_fault"] is None
]
N: Final = twin.ORDER
P: Final = twin.FIELD
NO_HINT: Final = bytes(32)
SEED: Final = hashlib.sha256(b"clearspan sm2 batches").digest()
# On both sides of where a vector is full, where sums of an item stand side by side, where hints begin to pay, and where
# one go of the kernel and one call of it are full.
COUNTS: Final = (1, 2, 4, 5, 7, 8, 9, 16, 17, 63, 64, 65, 128, 129, 199, 200, 256, 257, 700, 2049)

PLAIN: Final = ("-O1",)
# Not optimised: that takes the compiler half the time, and nothing is optimised away that the sanitizers would see.
SANITIZED: Final = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True, slots=True)
class Item:
    """One item as the program takes it: its message is the digest."""

    public_key: bytes
    signature: bytes
    digest: bytes
    hint: bytes | None = None
    table: bool = True

    def line(self) -> str:
        """Return the line that adds it."""
        hint = "-" if self.hint is None else self.hint.hex()
        return f"item {self.public_key.hex()} {self.signature.hex()} {self.digest.hex()} {hint} {int(self.table)}"

    def accepted(self) -> bool:
        """Return the twin's verdict."""
        return twin.verify_digest(self.public_key, self.signature, self.digest)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run said."""

    verdicts: list[bool]
    reference: list[bool]
    hints: list[bytes]


def _build(request: pytest.FixtureRequest, folder: Path, extra: tuple[str, ...]) -> Callable[..., Answer]:
    """Compile the kernel with a small main program and return a function from items to its answer."""
    compiler = shutil.which("gcc")
    if compiler is None:
        message = "gcc is missing: install Debian's package gcc"
        if request.config.getoption("--require-tools"):
            pytest.fail(message)
        pytest.skip(message)
    native = ROOT / "native"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-sign-compare", "-fno-strict-aliasing", f"-I{native}"]
    flags += extra
    kernel, program = folder / "batch.o", folder / "program"
    rename = ["-c", "-Dcs_sm3_x16=fake_sm3_x16", str(native / "sm2" / "avx512ifma" / "batch.c"), "-o", str(kernel)]
    subprocess.run([compiler, *flags, *rename], check=True, timeout=300)
    sources = [
        ROOT / "tests" / "native" / "sm2_batch_program.c",
        native / "sm2" / "avx512ifma" / "base8.c",
        *sorted((native / "sm2").glob("*.c")),
        *sorted((native / "sm3").glob("*.c")),
        *sorted((native / "common").glob("*.c")),
    ]
    subprocess.run([compiler, *flags, *map(str, sources), str(kernel), "-o", str(program)], check=True, timeout=300)

    def answer(items: Sequence[Item], *, hints_out: bool = True, seed: bytes = SEED) -> Answer:
        text = "\n".join([*(item.line() for item in items), f"run {int(hints_out)} {seed.hex()}", ""])
        # The preloaded library of some sandboxes would otherwise come before the sanitizer's.
        environment = {**os.environ, "ASAN_OPTIONS": "verify_asan_link_order=0"}
        done = subprocess.run(
            [program], input=text, capture_output=True, text=True, timeout=300, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        if done.stdout == "unavailable\n":
            pytest.skip("this CPU has no AVX-512 IFMA")
        verdicts, reference, hints = done.stdout.split()
        raw = b"" if hints == "-" else bytes.fromhex(hints)
        return Answer(
            [digit == "1" for digit in verdicts],
            [digit == "1" for digit in reference],
            [raw[at : at + 32] for at in range(0, len(raw), 32)],
        )

    return answer


@pytest.fixture(scope="module")
def batch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Answer]:
    """The kernel as it is."""
    return _build(request, tmp_path_factory.mktemp("sm2_batch"), PLAIN)


@pytest.fixture(scope="module")
def sanitized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Answer]:
    """The kernel under the sanitizers of addresses and of undefined behaviour."""
    return _build(request, tmp_path_factory.mktemp("sm2_batch_sanitized"), SANITIZED)


def _number(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _honest(count: int, key_count: int = 5, label: str = "honest", *, table: bool = True) -> list[Item]:
    """Good items over the digests of messages."""
    secrets = [
        _number(int.from_bytes(hashlib.sha512(f"{label} {i}".encode()).digest(), "big") % (N - 2) + 1)
        for i in range(min(count, key_count))
    ]
    publics = [signatures.public_key(SUITE_SM2, secret) for secret in secrets]
    z_values = [twin.z_value(public) for public in publics]
    items = []
    for i in range(count):
        key = i % len(secrets)
        message = f"{label} message {i}".encode()
        signature = signatures.sign(SUITE_SM2, secrets[key], message)
        items.append(Item(publics[key], signature, twin.sm3(z_values[key] + message), None, table))
    return items


def _with_hints(batch: Callable[..., Answer], items: Sequence[Item]) -> list[Item]:
    answer = batch(items)
    return [replace(item, hint=hint) for item, hint in zip(items, answer.hints, strict=True)]


def _spoil(item: Item, added: int = 1) -> Item:
    """Change s: still in range, and wrong."""
    s = (int.from_bytes(item.signature[32:], "big") + added) % N
    return replace(item, signature=item.signature[:32] + _number(s or 1))


def _case_items() -> list[Item]:
    items = []
    for case in CASES:
        public, signature = bytes.fromhex(case["public_key"]), bytes.fromhex(case["signature"])
        if "digest" in case:
            digest = bytes.fromhex(case["digest"])
        else:
            digest = twin.sm3(twin.z_value(public) + bytes.fromhex(case["message"] or ""))
        items.append(Item(public, signature, digest))
    return items


@pytest.mark.parametrize("name", [name for name in generate_base8.CURVES if generate_base8.target(name).exists()])
def test_tables_of_the_lanes_are_what_their_generator_writes(name: str):
    """The committed tables are computed anew with Python's integers."""
    assert generate_base8.render(name) == generate_base8.target(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("table", [True, False], ids=["tables", "no tables"])
def test_every_case_gets_its_verdict_in_one_batch(batch: Callable[..., Answer], table: bool):  # noqa: FBT001
    """The negative and the odd cases (equal points, infinity, x in [n, p)) beside each other in the same lanes."""
    items = [replace(item, table=table) for item in _case_items()]
    answer = batch(items)
    assert answer.verdicts == [case["accept"] for case in CASES] == answer.reference


def test_every_case_gets_its_verdict_with_hints(batch: Callable[..., Answer]):
    """The same, four times each among honest items, with the hints that the first run gave and with wrong ones."""
    honest = _with_hints(batch, _honest(400))
    cases = _with_hints(batch, _case_items())
    wrong = [replace(item, hint=_number(P - int.from_bytes(item.hint or b"", "big"))) for item in cases]
    items = [item for four in zip(cases, honest[:200], wrong, honest[200:], strict=False) for item in four]
    answer = batch(items)
    assert answer.verdicts == answer.reference
    assert answer.verdicts[::4] == answer.verdicts[2::4] == [item.accepted() for item in cases[: len(items) // 4]]


@pytest.mark.parametrize("count", COUNTS)
def test_honest_items_pass_and_give_hints_that_pass(batch: Callable[..., Answer], count: int):
    """Each count, with and without tables; the hints are those points that the signatures make."""
    items = [replace(item, table=i % 7 != 3) for i, item in enumerate(_honest(count))]
    first = batch(items)
    assert all(first.verdicts)
    item = items[count // 2]
    r, s = int.from_bytes(item.signature[:32], "big"), int.from_bytes(item.signature[32:], "big")
    key = (int.from_bytes(item.public_key[:32], "big"), int.from_bytes(item.public_key[32:], "big"))
    point = twin.add(twin.multiply(s, twin.GENERATOR), twin.multiply((r + s) % N, key))
    assert point is not None
    assert first.hints[count // 2] == _number(point[1])
    second = batch([replace(item, hint=hint) for item, hint in zip(items, first.hints, strict=True)])
    assert all(second.verdicts)
    assert second.hints == first.hints


@pytest.mark.parametrize("hinted", [True, False], ids=["hinted", "not hinted"])
def test_each_index_bad_is_found_alone(batch: Callable[..., Answer], hinted: bool):  # noqa: FBT001
    """One bad item at places that cross vectors, chains, halves and leaves, and at both ends."""
    items = _honest(600)
    if hinted:
        items = _with_hints(batch, items)
    for bad in (0, 1, 7, 8, 31, 74, 149, 150, 255, 299, 300, 301, 599):
        spoilt = [*items[:bad], _spoil(items[bad]), *items[bad + 1 :]]
        answer = batch(spoilt)
        assert [i for i, verdict in enumerate(answer.verdicts) if not verdict] == [bad]
        assert answer.hints[bad] == NO_HINT


@pytest.mark.parametrize("bad_count", [2, 3, 17, 299, 300])
def test_any_number_of_bad_items_is_found(batch: Callable[..., Answer], bad_count: int):
    """From two to all, with hints that are right for what the items were."""
    rng = random.Random(bad_count)
    items = _with_hints(batch, _honest(300))
    bad = set(rng.sample(range(300), bad_count))
    answer = batch([_spoil(item) if i in bad else item for i, item in enumerate(items)])
    assert {i for i, verdict in enumerate(answer.verdicts) if not verdict} == bad
    assert answer.verdicts == answer.reference


def test_two_that_would_cancel_without_coefficients_are_both_found(batch: Callable[..., Answer]):
    """Two responses of one key that are wrong by amounts that add up to nothing: an unweighted sum would pass.

    Adding to s moves both scalars, s and t; the sum of the two errors is the added times (G + A), and its opposite.
    """
    items = _with_hints(batch, _honest(320, key_count=4))
    items[5], items[205] = _spoil(items[5], 977), _spoil(items[205], -977)
    answer = batch(items)
    assert [i for i, verdict in enumerate(answer.verdicts) if not verdict] == [5, 205]


def test_wrong_hints_change_no_verdict_at_any_place(batch: Callable[..., Answer]):
    """One wrong hint at each of many places, and of each kind; all wrong at last."""
    items = _with_hints(batch, _honest(300))
    right = [item.hint or b"" for item in items]
    kinds: list[Callable[[bytes], bytes]] = [
        lambda hint: _number(P - int.from_bytes(hint, "big")),  # the other root: on the curve, and wrong
        lambda hint: bytes([hint[0] ^ 1]) + hint[1:],
        lambda hint: hint[::-1],
        lambda _: b"\xff" * 32,
        lambda _: _number(P),
        lambda _: _number(1),
        lambda hint: _number(int.from_bytes(hint, "big") + P) if int.from_bytes(hint, "big") + P < 1 << 256 else hint,
        lambda _: NO_HINT,
    ]
    for place, kind in zip((0, 1, 8, 99, 150, 151, 298, 299), kinds, strict=True):
        answer = batch([*items[:place], replace(items[place], hint=kind(right[place])), *items[place + 1 :]])
        assert all(answer.verdicts)
        assert answer.hints == right
    for kind in kinds:
        spoilt = [replace(item, hint=kind(item.hint or b"")) for item in items]
        spoilt[17] = _spoil(spoilt[17])
        answer = batch(spoilt)
        assert [i for i, verdict in enumerate(answer.verdicts) if not verdict] == [17]
    shifted = [replace(item, hint=right[i - 1]) for i, item in enumerate(items)]
    assert all(batch(shifted).verdicts)


def test_the_same_item_many_times_is_decided_each_time(batch: Callable[..., Answer]):
    """Equal points meet in every bucket: the affine sum gives up, and items are decided without it."""
    item = _with_hints(batch, _honest(1))[0]
    spoilt = _spoil(item)
    answer = batch([spoilt if i % 50 == 7 else item for i in range(600)])
    assert answer.verdicts == [i % 50 != 7 for i in range(600)]


def test_keys_that_are_multiples_of_the_generator_are_decided(batch: Callable[..., Answer]):
    """Tables of the key and of the generator share points: additions of equal points are met on purpose."""
    rng = random.Random(2024)
    small = (1, 2, 3, 5, 31, 32, 33, 2**8, 2**64, 2**128, 2**128 + 1, N - 1, N - 2)
    publics = {d: twin.encode_point(twin.multiply(d, twin.GENERATOR)) for d in small}
    items = []
    for i in range(240):
        d = rng.choice(small)
        s, t = (rng.choice([1, 2, 3, 31, 32, 2**128, N - 1, N - 2, rng.randrange(1, N)]) for _ in range(2))
        r = (t - s) % N or 1
        point = twin.multiply((s + (r + s) % N * d) % N, twin.GENERATOR)
        x = rng.randrange(N) if i % 3 == 0 or point is None else point[0]
        items.append(Item(publics[d], _number(r) + _number(s), _number((r - x) % N), table=i % 5 != 0))
    answer = batch(items)
    assert answer.verdicts == answer.reference
    assert answer.verdicts[::8] == [item.accepted() for item in items[::8]]
    again = batch([replace(item, hint=hint) for item, hint in zip(items, answer.hints, strict=True)])
    assert again.verdicts == answer.reference


def _signed(d: int, s: int, t: int) -> Item:
    """Return a good item under the secret d with these scalars, by choosing its digest."""
    point = twin.multiply((s + t * d) % N, twin.GENERATOR)
    assert point is not None
    public = twin.encode_point(twin.multiply(d, twin.GENERATOR))
    r = (t - s) % N
    return Item(public, _number(r) + _number(s), _number((r - point[0]) % N))


def _odd_terms(number: int, widths: Sequence[int]) -> list[int]:
    """Return what an odd number is the sum of in the tables: odd digits, times what their places are worth."""
    terms, at = [], 0
    for width in widths:
        window = number >> (at + 1) & (1 << width) - 1
        terms.append((2 * window + 1 - (0 if at + width == 256 else 1 << width)) << at)
        at += width
    assert sum(terms) == number
    return terms


@pytest.mark.parametrize(
    ("count", "sums", "table"), [(8, 16, True), (130, 8, True), (520, 2, True), (1040, 1, True), (16, 1, False)]
)
def test_equal_points_on_the_way_are_met_and_decided(
    batch: Callable[..., Answer],
    count: int,
    sums: int,
    table: bool,  # noqa: FBT001
):
    """Keys chosen so that the two points of one addition are equal or opposite, for each way of adding.

    Terms are those of the tables, the key's before the generator's, `sums` of them side by side and added up at last.
    """
    rng = random.Random(count)
    items = []
    for trial in range(8):
        s, t = (rng.randrange(N) | 1 for _ in range(2))
        terms = [
            *((term, 0) for term in _odd_terms(t, [5] * 50 + [6])),
            *((0, term) for term in _odd_terms(s, [8] * 32)),
        ]
        if trial < 4 or sums == 1:  # a term of the generator meets what was added before it
            column = terms[50 % sums :: sums]
            place = rng.choice([at for at, (of_key, _) in enumerate(column) if of_key == 0])
            left, right = [sum(part) for part in zip(*column[:place], strict=True)], column[place]
        else:  # two sums meet that stood side by side
            left, right = ([sum(part) for part in zip(*terms[k::sums], strict=True)] for k in (0, sums // 2))
        sign = 1 if right == terms[-1] or sums == 2 else rng.choice([1, -1])  # opposite, they would be the whole sum
        d = (sign * right[1] - left[1]) * pow(left[0] - sign * right[0], -1, N) % N
        items.append(replace(_signed(d, s, t), table=table))
    answer = batch([*items, *_honest(count - len(items))])
    assert all(answer.reference)
    assert all(answer.verdicts)


def test_halves_from_n_on_are_refused(batch: Callable[..., Answer]):
    """Small r or s, good as they are, plus n: the same numbers modulo n, and bad."""
    items = []
    for small in (1, 2, 3, 4):
        for r, s in ((small, 77), (77, small), (small, N - 77)):
            item = _signed(5, s, (r + s) % N)
            high_r, high_s = _number(r + (N if r == small else 0)), _number(s + (N if s == small else 0))
            items += [item, replace(item, signature=high_r + high_s)]
    for hinted in (items, _with_hints(batch, items)):
        for table in (True, False):
            answer = batch([replace(item, table=table) for item in hinted])
            assert answer.verdicts == answer.reference == [True, False] * (len(items) // 2)


def _mixture(batch: Callable[..., Answer], count: int, key_count: int, bad_share: float) -> list[Item]:
    """Good, bad, malformed, hinted, misled, with tables and without."""
    rng = random.Random(key_count)
    items = _with_hints(batch, _honest(count, key_count, f"mixture {key_count}"))
    for i, item in enumerate(items):
        changed = replace(item, table=rng.random() < 0.8)
        if rng.random() < 0.3:
            changed = replace(changed, hint=rng.choice([None, NO_HINT, rng.randbytes(32), items[i - 1].hint]))
        if rng.random() < bad_share:
            signature = bytearray(changed.signature)
            signature[rng.randrange(64)] ^= 1 << rng.randrange(8)
            half = rng.choice([bytes(32), _number(N), b"\xff" * 32, None, None])
            if half is not None:
                start = rng.choice([0, 32])
                signature[start : start + 32] = half
            changed = replace(changed, signature=bytes(signature))
        items[i] = changed
    return items


@pytest.mark.parametrize(("key_count", "bad_share"), [(1, 0.02), (3, 0.2), (40, 0.002), (500, 0.9)])
def test_random_mixtures_agree_with_the_reference(batch: Callable[..., Answer], key_count: int, bad_share: float):
    """One batch against one item at a time, with and without hints asked for."""
    items = _mixture(batch, 500, key_count, bad_share)
    for hints_out in (False, True):
        answer = batch(items, hints_out=hints_out)
        assert answer.verdicts == answer.reference


def test_sanitizers_find_nothing(sanitized: Callable[..., Answer]):
    """The odd cases and a mixture, each as one batch: every way through the kernel is taken."""
    cases = sanitized([replace(item, table=i % 2 == 0) for i, item in enumerate(_case_items())])
    assert cases.verdicts == cases.reference
    items = _mixture(sanitized, 300, 7, 0.01)
    answer = sanitized(items)
    assert answer.verdicts == answer.reference
    alone = sanitized(items[:1])
    assert alone.verdicts == alone.reference


def test_seeds_change_no_verdict(batch: Callable[..., Answer]):
    """Whatever the coefficients, a batch says the same."""
    items = _with_hints(batch, _honest(280))
    items[100] = _spoil(items[100])
    for seed in (bytes(32), b"\xff" * 32, hashlib.sha256(b"another").digest()):
        assert [i for i, verdict in enumerate(batch(items, seed=seed).verdicts) if not verdict] == [100]


class Registered:
    """Honest items under registered keys, as the binding takes them."""

    def __init__(self, count: int, key_count: int, stride: int = 192) -> None:
        """Register the keys and sign everything."""
        self.count, self.stride = count, stride
        self.registry, keys = KeyRegistry(), SigningKeys()
        for i in range(key_count):
            secret = _number(int.from_bytes(hashlib.sha256(f"registered {i}".encode()).digest(), "big") % (N - 2) + 1)
            self.registry.register(SUITE_SM2, keys.public_key(keys.register(SUITE_SM2, secret)))
        indexes = [i % key_count for i in range(count)]
        self.indexes = struct.pack(f"={count}I", *(index + 1 for index in indexes))
        self.messages = hashlib.shake_256(b"registered").digest(count * stride)
        self.signatures = bytearray(64 * count)
        signatures.sign_batch(keys, struct.pack(f"={count}I", *indexes), self.messages, self.signatures)

    def verify(self, hints: bytes | None = None) -> tuple[list[int], bytes]:
        """Return the indexes that failed, and the hints."""
        out, hints_out = bytearray(b"\xff" * self.count), bytearray(b"\xff" * 32 * self.count)
        failed = signatures.verify_batch(
            self.registry, self.indexes, self.signatures, self.messages, out, hints=hints, hints_out=hints_out
        )
        bad = [i for i, verdict in enumerate(out) if verdict == 0]
        assert set(out) <= {0, 1}
        assert failed == len(bad)
        return bad, bytes(hints_out)


@pytest.mark.parametrize(("count", "key_count"), [(1, 1), (64, 3), (1000, 100), (4096, 64), (4097, 64)])
def test_binding_gives_every_item_its_verdict(count: int, key_count: int):
    """Through the product: a clean batch, its hints, one bad item, wrong hints; first without tables, then with them."""
    items = Registered(count, key_count)
    bad, hints = items.verify()
    assert bad == []
    assert items.verify(hints)[0] == items.verify(hints[::-1])[0] == items.verify()[0] == []
    place = count * 2 // 3
    items.signatures[64 * place + 63] ^= 1
    for given in (None, hints, hints[::-1], bytes(32 * count)):
        assert items.verify(given)[0] == [place]
