"""The Ed25519 rule: the kernel and its plain-Python twin give the verdict of one written rule on every input."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from native import signatures
from native.ed25519 import generate_tables
from native.errors import KeyRejected
from native.signatures import SUITE_ED25519
from native.twins import ed25519 as twin

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[2]
VECTORS: Final = Path(__file__).parents[1] / "vectors" / "ed25519"
CASES: Final = json.loads((VECTORS / "cases.json").read_text(encoding="ascii"))["cases"]
L: Final = twin.GROUP_ORDER
BLOCK_EDGES: Final = (0, 1, 47, 48, 63, 64, 79, 80, 111, 112, 127, 128, 129, 175, 176, 191, 192, 193, 256, 4096)

# RFC 8032, section 7.1: secret, public key, message, signature.
RFC_8032: Final = {
    "TEST 1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe"
            "24655141438e7a100b"
        ),
    ),
    "TEST 2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302a"
            "eeb00d291612bb0c00"
        ),
    ),
    "TEST 3": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed2"
            "8dc027beceea1ec40a"
        ),
    ),
    "TEST SHA(abc)": (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac1"
            "7ad9bef1177331a704"
        ),
    ),
}


@pytest.mark.parametrize("name", RFC_8032)
def test_kernel_and_twin_give_the_keys_and_signatures_of_rfc_8032(name: str) -> None:
    """Golden bytes: derive, sign and verify each published vector on both sides."""
    secret, key, message, signature = (bytes.fromhex(part) for part in RFC_8032[name])
    assert signatures.public_key(SUITE_ED25519, secret) == twin.public_key(secret) == key
    assert signatures.sign(SUITE_ED25519, secret, message) == twin.sign(secret, message) == signature
    assert signatures.verify(SUITE_ED25519, key, signature, message)
    assert twin.verify(key, signature, message)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_every_edge_case_gets_the_verdict_that_was_written_down(case: dict[str, str | bool | None]) -> None:
    """Golden verdicts: key fault and acceptance as the vector file has them."""
    key, signature, message = (bytes.fromhex(str(case[part])) for part in ("public_key", "signature", "message"))
    assert _kernel_fault(key) == case["key_fault"]
    assert signatures.verify(SUITE_ED25519, key, signature, message) is case["accept"]


def test_the_vector_file_is_what_the_twin_says_today() -> None:
    """Generate the file again and compare bytes, so that twin and file never part."""
    render = runpy.run_path(str(VECTORS / "generate.py"))["render"]
    assert (VECTORS / "cases.json").read_text(encoding="ascii") == render()


def test_the_vector_file_holds_every_kind_of_verdict() -> None:
    """Count kinds: a generator that lost a branch must not pass unseen."""
    faults = {case["key_fault"] for case in CASES}
    assert faults == {None, "not_canonical", "not_on_curve", "small_order", "mixed_order"}
    accepted = {case["name"] for case in CASES if case["accept"]}
    assert {f"R plus torsion {i}" for i in range(8)} <= accepted
    assert {f"R of small order {i}" for i in range(8)} <= accepted
    assert not any(case["accept"] for case in CASES if case["key_fault"] is not None)


def test_the_committed_tables_are_the_multiples_of_the_base_point() -> None:
    """Render tables.c again from the twin and compare the text."""
    assert generate_tables.TARGET.read_text(encoding="ascii") == generate_tables.render()


@pytest.mark.parametrize("length", BLOCK_EDGES)
def test_signatures_are_those_of_another_library(length: int) -> None:
    """Sign messages on both sides of every hash block boundary, and compare bytes with OpenSSL's."""
    secret = hashlib.sha256(b"length %d" % length).digest()
    message = hashlib.shake_256(secret).digest(length)
    other = Ed25519PrivateKey.from_private_bytes(secret)
    key = signatures.public_key(SUITE_ED25519, secret)
    assert key == other.public_key().public_bytes_raw()
    signature = signatures.sign(SUITE_ED25519, secret, message)
    assert signature == other.sign(message)
    Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    assert signatures.verify(SUITE_ED25519, key, signature, message)
    assert not signatures.verify(SUITE_ED25519, key, signature, message + b"\0")


@given(secret=st.binary(min_size=32, max_size=32), message=st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_keys_and_signatures_equal_the_twins(secret: bytes, message: bytes) -> None:
    """Differential: random secrets and messages, kernel against big integers."""
    key = signatures.public_key(SUITE_ED25519, secret)
    assert key == twin.public_key(secret)
    signature = signatures.sign(SUITE_ED25519, secret, message)
    assert signature == twin.sign(secret, message)
    assert signatures.verify(SUITE_ED25519, key, signature, message)


@given(
    secret=st.binary(min_size=32, max_size=32),
    message=st.binary(max_size=64),
    torsion=st.integers(0, 7),
    response_added=st.sampled_from((0, 0, 1, L, 2 * L, 8)),
    flipped_bit=st.none() | st.integers(0, 511),
)
@settings(max_examples=60, deadline=None)
def test_verdicts_on_bent_signatures_equal_the_twins(
    secret: bytes, message: bytes, torsion: int, response_added: int, flipped_bit: int | None
) -> None:
    """Differential: bend an honest signature by torsion, by S and by one bit; both sides must agree on what remains."""
    scalar, _ = twin.expand_secret(secret)
    key = twin.public_key(secret)
    commitment = twin.encode(twin.add(twin.multiply(12345, twin.BASE), twin.torsion_points()[torsion]))
    response = (12345 + twin.challenge(commitment, key, message) * scalar) % L + response_added
    value = int.from_bytes(commitment + response.to_bytes(32, "little"), "little")
    signature = (value ^ (0 if flipped_bit is None else 1 << flipped_bit)).to_bytes(64, "little")
    verdict = signatures.verify(SUITE_ED25519, key, signature, message)
    assert verdict is twin.verify(key, signature, message)
    assert verdict or response_added != 0 or flipped_bit is not None


@given(encoded=st.binary(min_size=32, max_size=32))
@settings(max_examples=150, deadline=None)
def test_random_bytes_as_a_key_meet_the_same_fault_on_both_sides(encoded: bytes) -> None:
    """Differential: half of all strings are points, nearly all of mixed order."""
    assert _kernel_fault(encoded) == twin.key_check(encoded)


@pytest.mark.parametrize("index", range(8))
def test_torsion_points_are_no_keys(index: int) -> None:
    """A key of small order would accept one signature for every message."""
    point = twin.torsion_points()[index]
    assert _kernel_fault(twin.encode(point)) == "small_order"
    assert twin.multiply(8, point)[0] == 0


def test_no_branch_and_no_address_depends_on_a_secret(need_tool: Callable[[str, str], str], tmp_path: Path) -> None:
    """SIG-16: under valgrind with undefined secrets, nothing that depends on one is told apart, alone and in lanes.

    valgrind knows no AVX-512, so the lanes' own code runs in plain C, and without their SHA-512. A branch that is there on
    purpose is reported, or nothing would be shown.
    """
    compiler, valgrind = need_tool("gcc", "gcc"), need_tool("valgrind", "valgrind")
    native, here, program = ROOT / "native", Path(__file__).parent, tmp_path / "secrets"
    kernel = [native / "ed25519" / name for name in ("reference.c", "tables.c", "avx512ifma/sign.c")]
    sources = [here / "ed25519_secrets_program.c", *kernel, native / "sha2" / "sha512.c"]
    flags = ["-std=c11", "-O3", "-g1", "-Wall", "-Wextra", "-Werror", "-Wno-sign-compare", "-fno-strict-aliasing"]
    folders = [f"-I{here / 'kernels' / 'emulated'}", f"-I{native}"]
    subprocess.run([compiler, *flags, *folders, *map(str, sources), "-o", str(program)], check=True, timeout=120)
    assert subprocess.run([program, "compare"], check=False, timeout=60).returncode == 0
    reported = {}
    for how in ("alone", "lanes", "branch"):
        command = [valgrind, "--error-limit=no", str(program), how]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        places = r"(?:depends on|Use of) uninitialised value.*\n==\d+==    at 0x[0-9A-F]+: (\w+)"
        reported[how] = re.findall(places, done.stderr)
        assert "ERROR SUMMARY" in done.stderr
    assert reported == {"alone": [], "lanes": [], "branch": ["main"]}


def _kernel_fault(key: bytes) -> str | None:
    """Return the reason with which a registry refuses a key, or None."""
    try:
        signatures.KeyRegistry().register(SUITE_ED25519, key)
    except KeyRejected as rejected:
        return rejected.reason
    return None
