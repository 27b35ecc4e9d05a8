"""Signing in lanes on both curves: the bytes of signing singly, and nothing that a secret decides but its own bytes."""

from __future__ import annotations

import hashlib
import re
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from native import signatures
from native.signatures import SUITE_P256, SUITE_SM2, SigningKeys
from native.twins import p256, sm2

if TYPE_CHECKING:
    from collections.abc import Callable

NATIVE: Final = Path(__file__).parents[2] / "native"
HERE: Final = Path(__file__).parent
ORDERS: Final = {SUITE_SM2: sm2.ORDER, SUITE_P256: p256.ORDER}
SUITE: Final = pytest.mark.parametrize("suite", ORDERS, ids=["sm2", "p256"])
# On both sides of where lanes begin to pay, where a hash has sixteen lanes, and where one call of the kernel is.
COUNTS: Final = (1, 2, 3, 4, 15, 16, 17, 33, 63, 64, 65, 130)


def _secrets(suite: int, count: int) -> list[bytes]:
    order = ORDERS[suite]
    edges = [1, 2, order - 2, 2**128, 2**255, order // 2]
    numbers = [int.from_bytes(hashlib.sha512(b"lanes %d" % i).digest(), "big") % (order - 2) + 1 for i in range(count)]
    return [number.to_bytes(32, "big") for number in [*edges, *numbers][:count]]


@SUITE
@pytest.mark.parametrize("count", COUNTS)
def test_a_batch_signs_as_each_alone(suite: int, count: int) -> None:
    """Counts around every change of method, edges of secrets among them; all signatures are good."""
    keys, secrets = SigningKeys(), _secrets(suite, count)
    for secret in secrets:
        keys.register(suite, secret)
    stride = 7 + count
    messages = hashlib.shake_128(b"%d" % count).digest(count * stride)
    out = bytearray(64 * count)
    signatures.sign_batch(keys, struct.pack(f"={count}I", *range(count)), messages, out)
    for i, secret in enumerate(secrets):
        message = messages[stride * i : stride * i + stride]
        assert out[64 * i : 64 * i + 64] == signatures.sign(suite, secret, message)
        assert signatures.verify(suite, keys.public_key(i), bytes(out[64 * i : 64 * i + 64]), message)


@SUITE
@pytest.mark.parametrize("stride", [0, 1, 22, 23, 24, 54, 55, 56, 63, 64, 119, 120, 192, 500])
def test_messages_of_every_length_are_signed_as_they_are(suite: int, stride: int) -> None:
    """Lengths around the block boundaries of both hashes, with and without 32 bytes before them."""
    keys, secret = SigningKeys(), _secrets(suite, 9)[8]
    keys.register(suite, secret)
    count = 20 if stride > 0 else 1
    messages = hashlib.shake_128(b"stride").digest(count * stride)
    out = bytearray(64 * count)
    signatures.sign_batch(keys, bytes(4 * count), messages, out)
    expected = [signatures.sign(suite, secret, messages[stride * i : stride * i + stride]) for i in range(count)]
    assert bytes(out) == b"".join(expected)


def _emulated(need_tool: Callable[[str, str], str], target: Path, curve: str) -> None:
    """Build the lanes' own code, in plain C, into a program that signs with secrets that are undefined."""
    hashes = [*(NATIVE / "sm3").glob("*.c"), *(NATIVE / "sha2").glob("sha256*.c"), *(NATIVE / "common").glob("*.c")]
    sources = [HERE / "lane_secrets_program.c", *(NATIVE / curve).glob("*.c"), NATIVE / curve / "avx512ifma" / "sign.c"]
    arguments = "signature, secret, message, n" if curve == "p256" else "signature, secret, key, message, n"
    subprocess.run(
        [
            need_tool("gcc", "gcc"),
            *("-std=c11", "-O1", "-g1", "-Wall", "-Wextra", "-Werror", "-DCS_WEIERSTRASS_PORTABLE"),
            f'-DHEADER="{curve}/batch.h"',
            f"-DCURVE(name)=cs_{curve}_##name",
            f"-DSIGN(signature, secret, key, message, n)=cs_{curve}_sign({arguments})",
            f"-I{HERE / 'emulated'}",
            f"-I{NATIVE}",
            *map(str, sorted(sources + hashes)),
            *("-o", str(target)),
        ],
        check=True,
        timeout=300,
    )


@pytest.mark.parametrize("curve", ["sm2", "p256"])
def test_no_branch_and_no_address_depends_on_a_secret(
    need_tool: Callable[[str, str], str], tmp_path: Path, curve: str
) -> None:
    """Under valgrind, which does not know AVX-512 and so runs the lanes in plain C: only public outcomes are told apart.

    That is one question for an item: whether its secret and its first nonce will do. Before that, the plain C signs the
    same bytes, or another program would be followed.
    """
    program = tmp_path / curve
    _emulated(need_tool, program, curve)
    compared = subprocess.run([program, "compare"], capture_output=True, text=True, timeout=60, check=False)
    assert (compared.returncode, compared.stdout) == (0, "")
    command = [need_tool("valgrind", "valgrind"), "--error-limit=no", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    places = re.findall(r"(?:depends on|Use of) uninitialised value.*\n==\d+==    at 0x[0-9A-F]+: (\w+)", done.stderr)
    assert done.returncode == 0, done.stderr
    assert places == ["sign_some"], done.stderr


@pytest.mark.parametrize("curve", ["sm2", "p256"])
def test_no_instruction_of_signing_gathers(need_tool: Callable[[str, str], str], tmp_path: Path, curve: str) -> None:
    """As it ships, too: no load or store by a vector of addresses, which the plain program would not show."""
    compiler = need_tool("gcc", "gcc")
    source = NATIVE / curve / "avx512ifma" / "sign.c"
    assembly = tmp_path / "sign.s"
    command = [
        compiler,
        "-std=c11",
        "-O3",
        "-fno-strict-aliasing",
        f"-I{NATIVE}",
        "-S",
        str(source),
        "-o",
        str(assembly),
    ]
    subprocess.run(command, check=True, timeout=120)
    text = assembly.read_text(encoding="ascii")
    assert "vpmadd52luq" in text
    assert re.findall(r"\b(vp?gather\w+|vp?scatter\w+)", text) == []
