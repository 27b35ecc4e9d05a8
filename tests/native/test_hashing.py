"""SHA-256 and SM3: the kernels, the twins and other libraries give one digest for every length and split."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from gmssl import sm3 as gmssl_sm3
from hypothesis import given, settings
from hypothesis import strategies as st

from native import hashing
from native.errors import ShapeError, UnknownSuite
from native.hashing import SUITE_SHA256, SUITE_SM3
from native.twins import hashing as twin

SUITES: Final = (SUITE_SHA256, SUITE_SM3)
NATIVE: Final = Path(__file__).parents[2] / "native"
TEXT: Final = hashlib.shake_128(b"clearspan hashing").digest(1 << 16)

# GB/T 32905-2016, annex A: both examples.
SM3_EXAMPLES: Final = {
    b"abc": "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
    b"abcd" * 16: "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732",
}
# FIPS 180-4's examples and the empty string.
SHA256_EXAMPLES: Final = {
    b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq": (
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
}


def test_published_examples_of_both_hashes():
    """The standards' own vectors, through kernel and twin."""
    for suite, examples in ((SUITE_SHA256, SHA256_EXAMPLES), (SUITE_SM3, SM3_EXAMPLES)):
        for data, digest in examples.items():
            assert hashing.digest(suite, data).hex() == twin.digest(suite, data).hex() == digest


def test_sha256_agrees_with_hashlib_at_every_length():
    """Lengths 0 to 300 cross every padding case; a million bytes cross many blocks."""
    for length in (*range(301), 1 << 16):
        assert hashing.digest(SUITE_SHA256, TEXT[:length]) == hashlib.sha256(TEXT[:length]).digest()
        assert hashing.leaf_hash(SUITE_SHA256, TEXT[:length]) == hashlib.sha256(b"\x00" + TEXT[:length]).digest()


def test_sm3_agrees_with_its_twin_and_with_gmssl():
    """Every length through two blocks and a bit; the twin is written from the standard, gmssl by others."""
    for length in range(140):
        data = TEXT[:length]
        assert hashing.digest(SUITE_SM3, data) == twin.sm3(data)
        assert hashing.leaf_hash(SUITE_SM3, data) == twin.sm3(b"\x00" + data)
    for length in (0, 1, 55, 56, 63, 64, 65, 1000):
        assert hashing.digest(SUITE_SM3, TEXT[:length]).hex() == gmssl_sm3.sm3_hash(list(TEXT[:length]))


PROGRAM: Final = """
#include <stdio.h>
#include "merkle/hash.h"

/* Reads a suite, then records of a 16-bit length and bytes; feeds each by itself; prints the digest. */
int main(void) {
    static uint8_t piece[65536];
    uint8_t out[32];
    cs_hash_ctx ctx;
    cs_hash_init(&ctx, (uint32_t)getchar());
    for (int low; (low = getchar()) != EOF;) {
        size_t n = (size_t)low | (size_t)getchar() << 8;
        cs_hash_update(&ctx, piece, fread(piece, 1, n, stdin));
    }
    cs_hash_final(out, &ctx);
    return fwrite(out, 1, 32, stdout) != 32;
}
"""


@pytest.fixture(scope="module")
def pieces_program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        message = "gcc is missing: install Debian's package gcc"
        if request.config.getoption("--require-tools"):
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path_factory.mktemp("hashing")
    (folder / "pieces.c").write_text(PROGRAM)
    sources = [folder / "pieces.c", NATIVE / "merkle/hash.c", NATIVE / "sha2/sha256.c", NATIVE / "sm3/sm3.c"]
    flags = ["-std=c11", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{NATIVE}"]
    subprocess.run([compiler, *flags, *map(str, sources), "-o", str(folder / "pieces")], check=True, timeout=60)
    return folder / "pieces"


@pytest.mark.parametrize("suite", SUITES)
@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(0, 200), max_size=12))
def test_a_message_in_pieces_hashes_as_a_whole(pieces_program: Path, suite: int, lengths: list[int]):
    """Incremental updates under the sanitizers: where a message is cut does not matter, empty pieces included."""
    stdin, whole = bytes([suite]), b""
    for length in lengths:
        piece = TEXT[len(whole) : len(whole) + length]
        stdin += length.to_bytes(2, "little") + piece
        whole += piece
    done = subprocess.run([pieces_program], input=stdin, capture_output=True, timeout=20, check=True)
    assert done.stdout == twin.digest(suite, whole)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("stride", [1, 31, 55, 64, 65, 117, 118, 160, 192, 1000])
def test_rows_hash_as_single_calls(suite: int, stride: int):
    """A packed array of rows gives the digests of its rows in order, as digests and as leaves."""
    rows = TEXT[: 7 * stride]
    singles = [rows[i : i + stride] for i in range(0, len(rows), stride)]
    assert hashing.digest_rows(suite, rows, stride) == b"".join(hashing.digest(suite, row) for row in singles)
    assert hashing.leaf_hash_rows(suite, rows, stride) == b"".join(hashing.leaf_hash(suite, row) for row in singles)
    assert hashing.digest_rows(suite, rows, stride) == twin.digest_rows(suite, rows, stride)
    assert hashing.leaf_hash_rows(suite, rows, stride) == twin.leaf_hash_rows(suite, rows, stride)


def test_any_contiguous_buffer_is_taken():
    """bytes, bytearray, memoryview and numpy arrays, read-only or not, empty or not."""
    for data in (b"", b"abc"):
        array = np.frombuffer(data, dtype=np.uint8)
        for buffer in (data, bytearray(data), memoryview(data), array):
            assert hashing.digest(SUITE_SM3, buffer) == twin.digest(SUITE_SM3, data)
    assert hashing.digest_rows(SUITE_SHA256, b"", 32) == b""


@pytest.mark.parametrize("module", [hashing, twin])
def test_what_does_not_fit_is_refused(module):
    """Unknown suites and ragged rows, with typed errors, in kernel and twin alike."""
    for suite in (0, 3, -1, 1 << 40):
        with pytest.raises(UnknownSuite):
            module.digest(suite, b"")
        with pytest.raises(UnknownSuite):
            module.MerkleTree(suite)
        with pytest.raises(UnknownSuite):
            module.Frontier(suite)
    for rows, stride in ((b"abc", 2), (b"abc", 0), (b"", 0), (b"abc", -1)):
        with pytest.raises(ShapeError):
            module.digest_rows(SUITE_SHA256, rows, stride)
        with pytest.raises(ShapeError):
            module.leaf_hash_rows(SUITE_SHA256, rows, stride)
    with pytest.raises(ShapeError):
        module.node_hash(SUITE_SHA256, bytes(32), bytes(31))
