"""The SM2 rule: the kernel and its plain-Python twin give the verdict of one written rule on every input."""

from __future__ import annotations

import hashlib
import json
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import gmssl_pyx
import pytest
from gmssl.sm2 import CryptSM2
from hypothesis import given, settings
from hypothesis import strategies as st

from native import signatures
from native.errors import KeyRejected, NativeError
from native.signatures import SUITE_SM2, KeyRegistry
from native.twins import hashing as hashing_twin
from native.twins import sm2 as twin
from native.weierstrass import generate_tables

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[2]
VECTORS: Final = ROOT / "tests" / "vectors" / "sm2"
CASES: Final = json.loads((VECTORS / "cases.json").read_text(encoding="ascii"))["cases"]
CODES: Final = {None: 0, "not_canonical": -1, "not_on_curve": -2}
SECRET_RANGE: Final = -3
N: Final = twin.ORDER
P: Final = twin.FIELD

# GB/T 32918.5-2017, annex A.2: the key pair, Z, e and the public key of the example.
ANNEX_SECRET: Final = bytes.fromhex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8")
ANNEX_PUBLIC: Final = bytes.fromhex(
    "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020"
    "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13"
)
ANNEX_Z: Final = bytes.fromhex("b2e14c5c79c6df5b85f4fe7ed8db7a262b9da7e07ccb0ea9f4747b8ccda8a4f3")
ANNEX_E: Final = bytes.fromhex("f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640")

BUILDS: Final = {
    "as shipped": ("-O3",),
    "portable carries, sanitized": (
        "-O1",
        "-DCS_WEIERSTRASS_PORTABLE",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ),
}


def _secret(label: object) -> bytes:
    return (
        int.from_bytes(hashlib.sha512(f"clearspan sm2 test {label}".encode()).digest(), "big") % (N - 2) + 1
    ).to_bytes(32, "big")


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
    target = tmp_path_factory.mktemp("sm2") / "program"
    sources = [
        ROOT / "tests" / "native" / "weierstrass_program.c",
        *sorted((native / "sm2").glob("*.c")),
        native / "sm3" / "sm3.c",
    ]
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-sign-compare", "-fno-strict-aliasing", f"-I{native}"]
    subprocess.run(
        [compiler, *flags, *BUILDS[request.param], *map(str, sources), "-o", str(target)], check=True, timeout=120
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


def _line(case: dict[str, str]) -> str:
    if "digest" in case:
        return f"digest {case['public_key']} {case['signature']} {case['digest']}"
    return f"verify {case['public_key']} {case['signature']} {case['message'] or '-'}"


def test_the_annex_example_is_met_step_by_step():
    """The standard's own example: key, Z, e, and its signature, which has a nonce that is not ours."""
    annex = CASES[0]
    assert twin.public_key(ANNEX_SECRET) == signatures.public_key(SUITE_SM2, ANNEX_SECRET) == ANNEX_PUBLIC
    assert twin.z_value(ANNEX_PUBLIC) == ANNEX_Z
    assert hashing_twin.sm3(ANNEX_Z + b"message digest") == ANNEX_E
    assert signatures.verify(SUITE_SM2, ANNEX_PUBLIC, bytes.fromhex(annex["signature"]), b"message digest")


def test_cases_file_is_what_its_generator_writes():
    """Golden bytes with their origin: verdicts come from the twin, computed anew here."""
    text = runpy.run_path(str(VECTORS / "generate.py"))["render"]()
    assert text == (VECTORS / "cases.json").read_text(encoding="ascii")


def test_tables_file_is_what_its_generator_writes():
    """The committed table of multiples of the generator is computed anew with the twin's arithmetic."""
    assert generate_tables.render("sm2") == generate_tables.target("sm2").read_text(encoding="utf-8")


@pytest.mark.parametrize("case", [case for case in CASES if "message" in case], ids=lambda case: case["name"])
def test_binding_gives_the_verdict_of_the_cases(case: dict[str, str]):
    """Every case that has a message, through the public functions: single verification and registration."""
    key, signature, message = (bytes.fromhex(case[field]) for field in ("public_key", "signature", "message"))
    assert signatures.verify(SUITE_SM2, key, signature, message) is case["accept"]
    registry = KeyRegistry()
    if case["key_fault"] is None:
        index = registry.register(SUITE_SM2, key)
        out = bytearray(1)
        failed = signatures.verify_batch(registry, index.to_bytes(4, "little"), signature, message or b"", out)
        assert (failed, bool(out[0])) == (not case["accept"], case["accept"])
    else:
        with pytest.raises(KeyRejected) as refusal:
            registry.register(SUITE_SM2, key)
        assert refusal.value.reason == case["key_fault"]


def test_program_gives_the_verdict_of_all_cases(program: Callable[[list[str]], list[str]]):
    """Every case, those that only a chosen digest reaches included, on each build of the kernel."""
    expected = [str(CODES[case["key_fault"]] or int(case["accept"])) for case in CASES]
    got = program([_line(case) for case in CASES])
    wrong = [(c["name"], e, g) for c, e, g in zip(CASES, expected, got, strict=True) if e != g]
    assert wrong == []


def test_cases_hold_every_negative_that_the_rule_names():
    """The file may not lose what it is for."""
    names = {case["name"] for case in CASES}
    accepted = {case["name"] for case in CASES if case["accept"]}
    for part in ("r = 0", "s = 0", "r = n", "s = n", "t = 0", "is infinity", "r + n in place", "r and s swapped"):
        hits = {name for name in names if part in name}
        assert hits, part
    assert not accepted & {"r = 0", "s = 0", "r = n", "s = n", "r + s = n, so that t = 0", "s * G + t * A is infinity"}
    assert "x of the sum in [n, p), good" in accepted
    assert "s * G = t * A, good" in accepted


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
    secrets = [(1).to_bytes(32, "big"), (N - 2).to_bytes(32, "big"), *map(_secret, range(10))]
    lines, expected = [], []
    for i, secret in enumerate(secrets):
        key, message = twin.public_key(secret), bytes(range(i * 9 % 64))
        lines += [f"public {secret.hex()}", f"sign {secret.hex()} {key.hex()} {message.hex() or '-'}"]
        expected += [key.hex(), twin.sign(secret, key, message).hex()]
    assert program(lines) == expected


def test_secrets_outside_the_range_are_refused(program: Callable[[list[str]], list[str]]):
    """0, n - 1 (for which 1 + d has no inverse), n and above: neither a public key nor a signature."""
    bad = [0, N - 1, N, N + 1, 2**256 - 1]
    lines = [f"public {d:064x}" for d in bad] + [f"sign {d:064x} {ANNEX_PUBLIC.hex()} 00" for d in bad]
    assert program(lines) == [str(SECRET_RANGE)] * len(lines)
    for d in bad:
        with pytest.raises(NativeError):
            signatures.public_key(SUITE_SM2, d.to_bytes(32, "big"))
        with pytest.raises(ValueError):
            twin.public_key(d.to_bytes(32, "big"))


SECRETS_PROGRAM: Final = """
#include <stdlib.h>
#include <string.h>
#include "sm2/sm2.h"

/* Signs with a secret whose bytes have their true values, but which valgrind holds for undefined. */
int main(void) {
    uint8_t known[32], secret[32], public_key[64], signature[64];
    volatile uint8_t *undefined = malloc(32);
    memset(known, 0x5a, sizeof known);
    int code = cs_sm2_public_key(public_key, known);
    for (int i = 0; i < 32; i++) {
        uint8_t first = undefined[i], second = undefined[i];
        secret[i] = (uint8_t)(known[i] + (uint8_t)(first - second));
    }
    code |= cs_sm2_public_key(public_key, secret) | cs_sm2_sign(signature, secret, public_key, public_key, 64);
    return code & 0;
}
"""


def test_no_branch_and_no_address_depends_on_a_secret(need_tool: Callable[[str, str], str], tmp_path: Path):
    """Under valgrind with undefined secrets, what depends on one is reported: only the named public outcomes may be.

    These are that a secret is in its range (once for each function), that a nonce is in its, and that it gave a signature.
    """
    compiler, valgrind = need_tool("gcc", "gcc"), need_tool("valgrind", "valgrind")
    native = ROOT / "native"
    (tmp_path / "secrets.c").write_text(SECRETS_PROGRAM)
    sources = [tmp_path / "secrets.c", *sorted((native / "sm2").glob("*.c")), native / "sm3" / "sm3.c"]
    command = [compiler, "-std=c11", "-O3", "-g1", f"-I{native}", *map(str, sources), "-o", str(tmp_path / "secrets")]
    subprocess.run(command, check=True, timeout=120)
    done = subprocess.run(
        [valgrind, "--error-limit=no", str(tmp_path / "secrets")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    places = re.findall(r"(?:depends on|Use of) uninitialised value.*\n==\d+==    at 0x[0-9A-F]+: (\w+)", done.stderr)
    assert sorted(places) == ["cs_sm2_public_key", "cs_sm2_sign", "cs_sm2_sign", "nonce_next"], done.stderr


@settings(max_examples=25, deadline=None)
@given(st.integers(1, N - 2), st.binary(max_size=300), st.integers(0, 511))
def test_kernel_and_twin_verify_each_others_signatures(d: int, message: bytes, bit: int):
    """Any key, any message: equal signatures, accepted by both, and refused by both with any bit flipped."""
    secret = d.to_bytes(32, "big")
    key = signatures.public_key(SUITE_SM2, secret)
    signature = signatures.sign(SUITE_SM2, secret, message)
    assert signature == twin.sign(secret, key, message)
    assert signatures.verify(SUITE_SM2, key, signature, message)
    altered = bytearray(signature)
    altered[bit // 8] ^= 1 << bit % 8
    assert not signatures.verify(SUITE_SM2, key, bytes(altered), message)


@pytest.mark.parametrize("length", [0, 1, 32, 192])
def test_gmssl_accepts_ours_and_we_accept_its(length: int):
    """Against another implementation in Python, with Z under the same user id."""
    secret = _secret(f"gmssl {length}")
    key, message = signatures.public_key(SUITE_SM2, secret), bytes(length)
    other = CryptSM2(private_key=secret.hex(), public_key=key.hex())
    assert other.verify_with_sm3(signatures.sign(SUITE_SM2, secret, message).hex(), message)
    theirs = bytes.fromhex(other.sign_with_sm3(message, _secret("nonce").hex()))
    assert signatures.verify(SUITE_SM2, key, theirs, message)
    assert not signatures.verify(SUITE_SM2, key, theirs, message + b"\x00")


@pytest.mark.parametrize("length", [0, 1, 23, 32, 192, 1000])
def test_gmssl_in_c_accepts_ours_and_we_accept_its(length: int):
    """Against an implementation in C, whose signatures are DER."""
    secret = _secret(f"gmssl in C {length}")
    key, message = signatures.public_key(SUITE_SM2, secret), bytes(length)
    ours = _to_der(signatures.sign(SUITE_SM2, secret, message))
    assert gmssl_pyx.sm2_verify(key, message, ours)
    for _ in range(20):
        theirs = _from_der(gmssl_pyx.sm2_sign(secret, key, message))
        assert signatures.verify(SUITE_SM2, key, theirs, message)
        assert not signatures.verify(SUITE_SM2, key, theirs, message + b"\x00")


@pytest.mark.nightly
def test_a_long_run_agrees_with_gmssl_in_c():
    """Random keys and messages, each signature also with one bit flipped: the same verdicts from two kernels."""
    for i in range(20_000):
        secret = _secret(f"long {i}")
        key = signatures.public_key(SUITE_SM2, secret)
        message = hashlib.shake_128(secret).digest(i % 257)
        signature = signatures.sign(SUITE_SM2, secret, message)
        altered = bytearray(signature)
        altered[i % 64] ^= 1 << i // 64 % 8
        for candidate in (signature, bytes(altered)):
            ours = signatures.verify(SUITE_SM2, key, candidate, message)
            assert ours is (candidate is signature)
            assert ours is gmssl_pyx.sm2_verify(key, message, _to_der(candidate)), (secret.hex(), candidate.hex())


def _to_der(signature: bytes) -> bytes:
    body = b"".join(_der_integer(int.from_bytes(half, "big")) for half in (signature[:32], signature[32:]))
    return b"\x30" + bytes([len(body)]) + body


def _der_integer(number: int) -> bytes:
    content = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(content)]) + content


def _from_der(der: bytes) -> bytes:
    r_bytes = der[3]
    r, s = der[4 : 4 + r_bytes], der[6 + r_bytes :]
    return b"".join(int.from_bytes(half, "big").to_bytes(32, "big") for half in (r, s))
