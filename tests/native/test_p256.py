"""The P-256 rule: the kernel and its plain-Python twin give the verdict of one written rule on every input."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from native import signatures
from native.errors import KeyRejected
from native.signatures import SUITE_P256, KeyRegistry, SigningKeys
from native.twins import p256 as twin
from native.weierstrass import generate_tables

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[2]
CODES: Final = {None: 0, "not_canonical": -1, "not_on_curve": -2}
SECRET_RANGE: Final = -3
N: Final = twin.ORDER
P: Final = twin.FIELD
HALF: Final = (N - 1) // 2
MESSAGE: Final = b"an edge case of Clearspan's P-256 rule"

BUILDS: Final = {
    "as shipped": ("-O3",),
    "portable carries, sanitized": (
        "-O1",
        "-DCS_WEIERSTRASS_PORTABLE",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ),
}

# RFC 6979, A.2.5: the key, and the signatures with SHA-256 before the lower s is taken.
RFC_SECRET: Final = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
RFC_PUBLIC: Final = bytes.fromhex(
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
RFC_SIGNATURES: Final = {
    b"sample": (
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    ),
    b"test": (
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    ),
}


class Case(NamedTuple):
    """One input and the verdict that the written rule demands; a key fault is why the key is refused."""

    name: str
    public_key: bytes
    signature: bytes
    message: bytes
    accept: bool
    key_fault: str | None = None


def _number(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _secret(label: object) -> bytes:
    digest = hashlib.sha512(f"clearspan p256 test {label}".encode()).digest()
    return _number(int.from_bytes(digest, "big") % (N - 1) + 1)


def _digest(message: bytes) -> int:
    return int.from_bytes(hashlib.sha256(message).digest(), "big")


def _point(x: int) -> tuple[int, int]:
    """The first point whose x is this number or above."""
    while True:
        square = (x**3 - 3 * x + twin.CURVE_B) % P
        y = pow(square, (P + 1) // 4, P)
        if y * y % P == square:
            return x, y
        x += 1


def _key_that_makes(point: twin.Point, r: int, s: int, message: bytes) -> bytes:
    """The public key Q for which u1 G + u2 Q is this point."""
    rest = twin.add(point, twin.multiply(-_digest(message) * pow(s, -1, N) % N, twin.GENERATOR))
    return twin.encode_point(twin.multiply(s * pow(r, -1, N) % N, rest))


def _numbers_in_place() -> list[Case]:
    secret = _secret("in place")
    key = twin.public_key(secret)
    good = twin.sign(secret, MESSAGE)
    r, s = int.from_bytes(good[:32], "big"), int.from_bytes(good[32:], "big")
    cases = [
        Case("good", key, good, MESSAGE, True),
        Case("s high: n - s", key, good[:32] + _number(N - s), MESSAGE, False),
        Case("r and s swapped", key, good[32:] + good[:32], MESSAGE, False),
        Case("r negated", key, _number(N - r) + good[32:], MESSAGE, False),
        Case("another message", key, good, MESSAGE + b"\0", False),
        Case("another key", twin.public_key(_secret("other")), good, MESSAGE, False),
        Case("little-endian halves", key, good[:32][::-1] + good[32:][::-1], MESSAGE, False),
    ]
    for name, value in {
        "0": 0,
        "n": N,
        "n + 1": N + 1,
        "p": P,
        "2^256 - 1": 2**256 - 1,
        "1": 1,
        "n - 1": N - 1,
    }.items():
        cases.append(Case(f"r = {name}", key, _number(value) + good[32:], MESSAGE, False))
        cases.append(Case(f"s = {name}", key, good[:32] + _number(value), MESSAGE, False))
    cases.append(Case("r = s = 0", key, bytes(64), MESSAGE, False))
    small = next(x for x in range(1, 100) if twin.key_check(twin.encode_point(_point(x))) is None)
    point = _point(small)
    forged = _key_that_makes(point, point[0], 5, MESSAGE)
    cases.append(Case("small r", forged, _number(point[0]) + _number(5), MESSAGE, True))
    cases.append(Case("small r, r + n in place of r", forged, _number(point[0] + N) + _number(5), MESSAGE, False))
    for name, edge, accept in (("(n - 1) / 2", HALF, True), ("(n + 1) / 2", HALF + 1, False), ("1", 1, True)):
        forged = _key_that_makes(point, point[0], edge, MESSAGE)
        cases.append(Case(f"fitting s = {name}", forged, _number(point[0]) + _number(edge), MESSAGE, accept))
    return cases


def _coincidences() -> list[Case]:
    """Sums whose terms are equal, opposite or infinite, for which formulas have cases."""
    r, s, e = 0x1234567, 0x7654321, _digest(MESSAGE)
    opposite = twin.public_key(_number(-e * pow(r, -1, N) % N))
    cases = [Case("u1 G + u2 Q is infinity", opposite, _number(r) + _number(s), MESSAGE, False)]
    # u1 G = u2 Q when d = e / r, and then the sum is 2 u1 G, whose x is r where s fits: e, r, s from one k.
    k = 0xABCDEF
    twice = twin.multiply(k, twin.GENERATOR)
    assert twice is not None
    r = twice[0] % N
    s = 2 * e * pow(k, -1, N) % N
    key = twin.public_key(_number(e * pow(r, -1, N) % N))
    low = min(s, N - s)
    cases.append(Case("u1 G = u2 Q", key, _number(r) + _number(low), MESSAGE, True))
    for name, d in {"G": 1, "-G": N - 1, "2 G": 2, "-2 G": N - 2, "16 G": 16, "G / 2": pow(2, -1, N)}.items():
        signature = twin.sign(_number(d), MESSAGE)
        cases.append(Case(f"the key is {name}", twin.public_key(_number(d)), signature, MESSAGE, True))
    return cases


def _large_x() -> list[Case]:
    """x of the sum in [n, p): r is x - n there, about once in 2^128 by chance."""
    point = _point(N + 1)
    assert N < point[0] < P
    r, s = point[0] - N, 0x123456789ABCDEF
    key = _key_that_makes(point, r, s, MESSAGE)
    cases = [
        Case("x of the sum in [n, p), good", key, _number(r) + _number(s), MESSAGE, True),
        Case("x of the sum in [n, p), x in place of r", key, _number(point[0]) + _number(s), MESSAGE, False),
        Case("x of the sum in [n, p), r + 1", key, _number(r + 1) + _number(s), MESSAGE, False),
    ]
    largest = next(x for x in range(P - 1, P - 100, -1) if _point(x)[0] == x)
    key = _key_that_makes(_point(largest), largest - N, s, MESSAGE)
    cases.append(Case("the largest x", key, _number(largest - N) + _number(s), MESSAGE, True))
    # r + n is not below p here, so that only x = r can be meant.
    point = _point(P - N)
    key = _key_that_makes(point, point[0], s, MESSAGE)
    cases.append(Case("r + n at p or above", key, _number(point[0]) + _number(s), MESSAGE, True))
    return cases


def _keys() -> list[Case]:
    secret = _secret("keys")
    good, signature = twin.public_key(secret), twin.sign(secret, MESSAGE)
    x, y = good[:32], int.from_bytes(good[32:], "big")
    small = _point(5)
    bad = {
        "zeros, as infinity may be written": (bytes(64), "not_on_curve"),
        "y + 1": (x + _number(y + 1), "not_on_curve"),
        "x and y swapped": (good[32:] + x, "not_on_curve"),
        "x = p": (_number(P) + good[32:], "not_canonical"),
        "y = p": (x + _number(P), "not_canonical"),
        "x + p for a small x": (_number(small[0] + P) + _number(small[1]), "not_canonical"),
        "all ones": (b"\xff" * 64, "not_canonical"),
        "on the curve of SM2": (signatures.public_key(signatures.SUITE_SM2, secret), "not_on_curve"),
    }
    cases = [Case(f"key: {name}", key, signature, MESSAGE, False, fault) for name, (key, fault) in bad.items()]
    cases.append(Case("key: y negated", x + _number(P - y), signature, MESSAGE, False))
    return cases


def _honest() -> list[Case]:
    cases = []
    for i, length in enumerate((0, 1, 54, 55, 56, 63, 64, 119, 120, 192, 1000)):
        secret, message = _secret(i), bytes(j * 7 % 256 for j in range(length))
        cases.append(Case(f"good, {length} bytes", twin.public_key(secret), twin.sign(secret, message), message, True))
    return cases


CASES: Final = [*_numbers_in_place(), *_coincidences(), *_large_x(), *_keys(), *_honest()]


@pytest.fixture(scope="module", params=BUILDS)
def program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[list[str]], list[str]]:
    """The kernel compiled with a small main program; a function from lines to answers."""
    compiler = shutil.which("gcc")
    if compiler is None:
        message = "gcc is missing: install Debian's package gcc"
        if request.config.getoption("--require-tools"):
            pytest.fail(message)
        pytest.skip(message)
    native = ROOT / "native"
    target = tmp_path_factory.mktemp("p256") / "program"
    sources = [ROOT / "tests" / "native" / "weierstrass_program.c", *_kernel_sources()]
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-sign-compare", "-fno-strict-aliasing", f"-I{native}"]
    subprocess.run(
        [compiler, "-DCURVE_P256", *flags, *BUILDS[request.param], *map(str, sources), "-o", str(target)],
        check=True,
        timeout=120,
    )

    def answers(lines: list[str]) -> list[str]:
        text = "\n".join(lines) + "\n"
        # The preloaded library of some sandboxes would otherwise come before the sanitizer's.
        environment = {**os.environ, "ASAN_OPTIONS": "verify_asan_link_order=0"}
        done = subprocess.run(
            [target], input=text, capture_output=True, text=True, timeout=120, check=False, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    return answers


def _kernel_sources() -> list[Path]:
    native = ROOT / "native"
    hashes = [native / "sha2" / "sha256.c", native / "sha2" / "sha256_sha.c", native / "common" / "variant.c"]
    return [*sorted((native / "p256").glob("*.c")), *hashes]


def test_the_rfc_examples_are_met():
    """RFC 6979's own key and signatures, with the lower s in place of a high one."""
    assert twin.public_key(RFC_SECRET) == signatures.public_key(SUITE_P256, RFC_SECRET) == RFC_PUBLIC
    for message, (r, s) in RFC_SIGNATURES.items():
        expected = _number(r) + _number(min(s, N - s))
        assert twin.sign(RFC_SECRET, message) == signatures.sign(SUITE_P256, RFC_SECRET, message) == expected
        assert signatures.verify(SUITE_P256, RFC_PUBLIC, expected, message)


def test_tables_file_is_what_its_generator_writes():
    """The committed table of multiples of the generator is computed anew with the twin's arithmetic."""
    assert generate_tables.render("p256") == generate_tables.target("p256").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_twin_and_binding_give_the_verdict_of_the_rule(case: Case):
    """Every edge case: the twin, single verification, registration and a batch of one."""
    assert twin.key_check(case.public_key) == case.key_fault
    assert twin.verify(case.public_key, case.signature, case.message) is case.accept
    assert signatures.verify(SUITE_P256, case.public_key, case.signature, case.message) is case.accept
    registry = KeyRegistry()
    if case.key_fault is None:
        index = registry.register(SUITE_P256, case.public_key)
        assert registry.public_key(index) == case.public_key
        out = bytearray(1)
        failed = signatures.verify_batch(registry, index.to_bytes(4, "little"), case.signature, case.message, out)
        assert (failed, bool(out[0])) == (not case.accept, case.accept)
    else:
        with pytest.raises(KeyRejected) as refusal:
            registry.register(SUITE_P256, case.public_key)
        assert (refusal.value.reason, refusal.value.suite) == (case.key_fault, SUITE_P256)


@pytest.mark.parametrize("copies", [1, 2, 9], ids=["without tables", "with tables", "in many vectors"])
def test_cases_in_one_batch_have_the_verdicts_that_they_have_alone(copies: int):
    """Every edge case of one message side by side, a key's second item being what its table is made for.

    Then again with the hints of that run, and with each hint beside an item that is not its own.
    """
    cases = [case for case in CASES if case.key_fault is None and case.message == MESSAGE] * copies
    registry = KeyRegistry()
    known = {case.public_key: registry.register(SUITE_P256, case.public_key) for case in cases}
    indexes = b"".join(known[case.public_key].to_bytes(4, "little") for case in cases)
    columns = (registry, indexes, b"".join(case.signature for case in cases), MESSAGE * len(cases))
    expected = bytes(case.accept for case in cases)
    out, hints, again = bytearray(len(cases)), bytearray(32 * len(cases)), bytearray(32 * len(cases))
    assert signatures.verify_batch(*columns, out, hints_out=hints) == expected.count(0)
    assert out == expected
    assert signatures.verify_batch(*columns, out, hints=hints, hints_out=again) == expected.count(0)
    assert out == expected
    assert again == hints
    for i, case in enumerate(cases):
        y = int.from_bytes(hints[32 * i : 32 * i + 32], "big")
        assert y == 0 or (case.accept and y == _sum_of(case)[1])
    signatures.verify_batch(*columns, out, hints=hints[32:] + hints[:32])
    assert out == expected


@cache
def _sum_of(case: Case) -> tuple[int, int]:
    """u1 G + u2 Q of a good case."""
    r, s = int.from_bytes(case.signature[:32], "big"), int.from_bytes(case.signature[32:], "big")
    inverse = pow(s, -1, N)
    key = (int.from_bytes(case.public_key[:32], "big"), int.from_bytes(case.public_key[32:], "big"))
    base = twin.multiply(_digest(case.message) * inverse % N, twin.GENERATOR)
    point = twin.add(base, twin.multiply(r * inverse % N, key))
    assert point is not None
    return point


@pytest.mark.parametrize("case", [case for case in CASES if case.key_fault is None], ids=lambda case: case.name)
def test_another_implementation_differs_on_a_high_s_alone(case: Case):
    """Each verdict against the `cryptography` package, which also takes the high s that we refuse."""
    r, s = int.from_bytes(case.signature[:32], "big"), int.from_bytes(case.signature[32:], "big")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + case.public_key)
    try:
        key.verify(encode_dss_signature(r, s), case.message, ec.ECDSA(hashes.SHA256()))
        theirs = True
    except InvalidSignature:
        theirs = False
    assert case.accept is (theirs and s <= HALF)


def test_program_gives_the_verdict_of_all_cases(program: Callable[[list[str]], list[str]]):
    """Every case on each build of the kernel, by message and by digest."""
    lines, expected = [], []
    for case in CASES:
        digest = hashlib.sha256(case.message).hexdigest()
        lines.append(f"verify {case.public_key.hex()} {case.signature.hex()} {case.message.hex() or '-'}")
        lines.append(f"digest {case.public_key.hex()} {case.signature.hex()} {digest}")
        expected += 2 * [str(CODES[case.key_fault] or int(case.accept))]
    got = program(lines)
    assert [(line, g) for line, e, g in zip(lines, expected, got, strict=True) if e != g] == []


def test_a_digest_at_the_edges_of_the_order_is_reduced(program: Callable[[list[str]], list[str]]):
    """e of 0 (so that u1 is 0), n, above n and all ones: what no message is known for."""
    lines, expected = [], []
    secret = _secret("digest")
    d, k = int.from_bytes(secret, "big"), 0x1234567890ABCDEF
    point = twin.multiply(k, twin.GENERATOR)
    assert point is not None
    r = point[0] % N
    for e in (0, 1, N - 1, N, N + 1, 2**256 - 1):
        s = pow(k, -1, N) * (e + r * d) % N
        signature = _number(r) + _number(min(s, N - s))
        assert twin.verify_digest(twin.public_key(secret), signature, _number(e))
        lines.append(f"digest {twin.public_key(secret).hex()} {signature.hex()} {e:064x}")
        expected.append("1")
    assert program(lines) == expected


def test_arithmetic_agrees_with_pythons_integers(program: Callable[[list[str]], list[str]]):
    """Numbers at the edges of limbs and moduli, where carries that random ones never meet are decided."""
    lines, expected = [], []
    for group, modulus in (("field", P), ("order", N)):
        values = _edge_numbers(modulus)
        for i, a in enumerate(values):
            for b in (values[i * 7 % len(values)], values[-1 - i], modulus - 1 - a, a):
                for verb, result in (
                    ("multiply", a * b),
                    ("square", a * a),
                    ("add", a + b),
                    ("subtract", a - b),
                ):
                    lines.append(f"{group} {verb} {a:064x} {b:064x}")
                    expected.append(f"{result % modulus:064x}")
            lines.append(f"{group} invert {a:064x} {a:064x}")
            expected.append(f"{pow(a, modulus - 2, modulus):064x}")
    got = program(lines)
    assert [(line, g) for line, g, e in zip(lines, got, expected, strict=True) if g != e] == []


def _edge_numbers(modulus: int) -> list[int]:
    limbs = (0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 2**32, 2**64 - 1)
    numbers = {0, 1, 2, 3, modulus - 1, modulus - 2, 2**256 % modulus, 2**512 % modulus, (modulus - 1) // 2, 2**255}
    numbers |= {limb << 64 * i for limb in limbs for i in range(4)}
    numbers |= {modulus - (limb << 64 * i) for limb in limbs for i in range(4)}
    # As Montgomery form multiplies by 2^256, numbers whose form has the odd pattern, too.
    enter = pow(2**256, -1, modulus)
    numbers |= {number * enter for number in tuple(numbers)}
    return sorted({number % modulus for number in numbers})


def test_program_signs_as_the_twin(program: Callable[[list[str]], list[str]]):
    """Deterministic nonces: the same bytes from the kernel and from the plain integers, edges of secrets included."""
    secrets = [_number(1), _number(N - 1), *map(_secret, range(10))]
    lines, expected = [], []
    for i, secret in enumerate(secrets):
        key, message = twin.public_key(secret), bytes(range(i * 9 % 64))
        lines += [f"public {secret.hex()}", f"sign {secret.hex()} {key.hex()} {message.hex() or '-'}"]
        expected += [key.hex(), twin.sign(secret, message).hex()]
    assert program(lines) == expected


def test_secrets_outside_the_range_are_refused(program: Callable[[list[str]], list[str]]):
    """0, n and above: neither a public key nor a signature."""
    bad = [0, N, N + 1, 2**256 - 1]
    lines = [f"public {d:064x}" for d in bad] + [f"sign {d:064x} {RFC_PUBLIC.hex()} 00" for d in bad]
    assert program(lines) == [str(SECRET_RANGE)] * len(lines)
    for d in bad:
        with pytest.raises(KeyRejected) as refusal:
            signatures.public_key(SUITE_P256, _number(d))
        assert refusal.value.reason == "secret_out_of_range"
        with pytest.raises(ValueError):
            twin.public_key(_number(d))


SECRETS_PROGRAM: Final = """
#include <stdlib.h>
#include <string.h>
#include "p256/p256.h"

/* Signs with a secret whose bytes have their true values, but which valgrind holds for undefined. */
int main(void) {
    uint8_t known[32], secret[32], public_key[64], signature[64];
    volatile uint8_t *undefined = malloc(32);
    memset(known, 0x5a, sizeof known);
    int code = cs_p256_public_key(public_key, known);
    for (int i = 0; i < 32; i++) {
        uint8_t first = undefined[i], second = undefined[i];
        secret[i] = (uint8_t)(known[i] + (uint8_t)(first - second));
    }
    code |= cs_p256_public_key(public_key, secret) | cs_p256_sign(signature, secret, public_key, 64);
    return code & 0;
}
"""


def test_no_branch_and_no_address_depends_on_a_secret(need_tool: Callable[[str, str], str], tmp_path: Path):
    """Under valgrind with undefined secrets, what depends on one is reported: only the named public outcomes may be.

    These are that a secret is in its range (once for each function), that a nonce is in its, and that it gave a signature.
    """
    compiler, valgrind = need_tool("gcc", "gcc"), need_tool("valgrind", "valgrind")
    (tmp_path / "secrets.c").write_text(SECRETS_PROGRAM)
    sources = [tmp_path / "secrets.c", *_kernel_sources()]
    command = [compiler, "-std=c11", "-O3", "-g1", f"-I{ROOT / 'native'}", *map(str, sources)]
    subprocess.run([*command, "-o", str(tmp_path / "secrets")], check=True, timeout=120)
    done = subprocess.run(
        [valgrind, "--error-limit=no", str(tmp_path / "secrets")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    places = re.findall(r"(?:depends on|Use of) uninitialised value.*\n==\d+==    at 0x[0-9A-F]+: (\w+)", done.stderr)
    assert sorted(places) == ["cs_p256_public_key", "cs_p256_sign", "cs_p256_sign", "nonce_next"], done.stderr


@settings(max_examples=25, deadline=None)
@given(st.integers(1, N - 1), st.binary(max_size=300), st.integers(0, 511))
def test_kernel_and_twin_verify_each_others_signatures(d: int, message: bytes, bit: int):
    """Any key, any message: equal signatures, accepted by both, and refused by both with any bit flipped."""
    secret = _number(d)
    key = signatures.public_key(SUITE_P256, secret)
    signature = signatures.sign(SUITE_P256, secret, message)
    assert signature == twin.sign(secret, message)
    assert signatures.verify(SUITE_P256, key, signature, message)
    altered = bytearray(signature)
    altered[bit // 8] ^= 1 << bit % 8
    assert not signatures.verify(SUITE_P256, key, bytes(altered), message)


def test_sixty_four_keys_agree_with_another_implementation():
    """Keys, signatures and batches both ways with the `cryptography` package, whose s is high half of the time."""
    keys, registry = SigningKeys(), KeyRegistry()
    indexes, given_signatures, messages, expected = bytearray(), bytearray(), bytearray(), bytearray()
    for i in range(64):
        secret, message = _secret(f"other {i}"), hashlib.shake_128(bytes([i])).digest(192)
        private = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())
        numbers = private.public_key().public_numbers()
        index = keys.register(SUITE_P256, secret)
        key = keys.public_key(index)
        assert key == _number(numbers.x) + _number(numbers.y)
        assert registry.register(SUITE_P256, key) == i + 1
        ours = signatures.sign(SUITE_P256, secret, message)
        der = encode_dss_signature(int.from_bytes(ours[:32], "big"), int.from_bytes(ours[32:], "big"))
        private.public_key().verify(der, message, ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(private.sign(message, ec.ECDSA(hashes.SHA256())))
        for signature, good in (
            (ours, True),
            (_number(r) + _number(s), s <= HALF),
            (_number(r) + _number(min(s, N - s)), True),
        ):
            indexes += (i + 1).to_bytes(4, "little")
            given_signatures += signature
            messages += message
            expected.append(good)
    out = bytearray(len(expected))
    failed = signatures.verify_batch(registry, indexes, given_signatures, messages, out)
    assert (out, failed) == (expected, expected.count(0))


@pytest.mark.nightly
def test_a_long_run_agrees_with_another_implementation():
    """Random keys and messages, each signature also with one bit flipped: the same verdicts from two libraries."""
    for i in range(10_000):
        secret = _secret(f"long {i}")
        key = signatures.public_key(SUITE_P256, secret)
        message = hashlib.shake_128(secret).digest(i % 257)
        signature = signatures.sign(SUITE_P256, secret, message)
        altered = bytearray(signature)
        altered[i % 64] ^= 1 << i // 64 % 8
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + key)
        for candidate in (signature, bytes(altered)):
            r, s = int.from_bytes(candidate[:32], "big"), int.from_bytes(candidate[32:], "big")
            try:
                theirs.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
                good = s <= HALF
            except InvalidSignature:
                good = False
            assert signatures.verify(SUITE_P256, key, candidate, message) is good is (candidate is signature)
