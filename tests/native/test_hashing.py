"""SHA-256 and SM3: the kernels, the twins and other libraries give one digest for every length and split."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
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
from native.kernel import VARIABLE, VARIANTS
from native.twins import hashing as twin
from tests.native.kernels.library import compile_object

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
#include "common/variant.h"
#include "merkle/hash.h"

/* Reads a level and a suite, then records of a 16-bit length and bytes; feeds each by itself; prints the digest. */
int main(void) {
    static uint8_t piece[65536];
    uint8_t out[32];
    cs_hash_ctx ctx;
    cs_variant_set(getchar());
    cs_hash_init(&ctx, (uint32_t)getchar());
    for (int low; (low = getchar()) != EOF;) {
        size_t n = (size_t)low | (size_t)getchar() << 8;
        cs_hash_update(&ctx, piece, fread(piece, 1, n, stdin));
    }
    cs_hash_final(out, &ctx);
    return fwrite(out, 1, 32, stdout) != 32;
}
"""


def _compile(request: pytest.FixtureRequest, source: Path, program: Path) -> Path:
    """Link a program with the hashes and trees under the sanitizers."""
    compiler = shutil.which("gcc")
    if compiler is None:
        message = "gcc is missing: install Debian's package gcc"
        if request.config.getoption("--require-tools"):
            pytest.fail(message)
        pytest.skip(message)
    sources = [source, NATIVE / "common/variant.c"]
    sources += [path for folder in ("sha2", "sm3", "merkle") for path in sorted((NATIVE / folder).glob("*.c"))]
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    objects = [str(compile_object(path, compiler, ("-std=c11", "-O1", *sanitizers))) for path in sources]
    subprocess.run([compiler, *sanitizers, *objects, "-o", str(program)], check=True, timeout=60)
    return program


@pytest.fixture(scope="module")
def pieces_program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hashing")
    (folder / "pieces.c").write_text(PROGRAM)
    return _compile(request, folder / "pieces.c", folder / "pieces")


@pytest.mark.parametrize("level", range(3))
@pytest.mark.parametrize("suite", SUITES)
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, 200), max_size=12))
def test_a_message_in_pieces_hashes_as_a_whole(pieces_program: Path, suite: int, level: int, lengths: list[int]):
    """Incremental updates under the sanitizers: where a message is cut does not matter, empty pieces included."""
    stdin, whole = bytes([level, suite]), b""
    for length in lengths:
        piece = TEXT[len(whole) : len(whole) + length]
        stdin += length.to_bytes(2, "little") + piece
        whole += piece
    done = subprocess.run([pieces_program], input=stdin, capture_output=True, timeout=20, check=True)
    assert done.stdout == twin.digest(suite, whole)


def test_sixteen_at_once_are_sixteen_single_hashes(request: pytest.FixtureRequest, tmp_path: Path):
    """Under the sanitizers, between pages that cannot be read: heads and bodies of all lengths, unaligned and shared,
    rows, leaves and nodes of every count, and the same digests at every level."""
    source = Path(__file__).parent / "kernels/hash_lanes.c"
    program = _compile(request, source, tmp_path / "hash_lanes")
    done = subprocess.run([program], capture_output=True, timeout=60, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["scalar", "single"], ["avx2", "lanes"], ["avx512ifma", "lanes"]][
        : len(lines)
    ]
    assert len({line[2] for line in lines}) == 1


# What a process that is forced to one variant does: every length, alignment and count that matters, against OpenSSL.
FORCED: Final = """
import hashlib, sys
from native import hashing

name = {1: "sha256", 2: "sm3"}
text = memoryview(hashlib.shake_128(b"forced").digest(1 << 15))
plain = lambda suite, data: hashlib.new(name[suite], data).digest()
leaf = lambda suite, data: hashlib.new(name[suite], b"\\0" + bytes(data)).digest()
node = lambda suite, left, right: hashlib.new(name[suite], b"\\1" + left + right).digest()


def root(suite, level):
    while len(level) > 1:
        pairs = [node(suite, *level[i : i + 2]) for i in range(0, len(level) - 1, 2)]
        level = pairs + level[len(level) & ~1 :]
    return level[0] if level else plain(suite, b"")


for suite in (1, 2):
    for length in range(301):
        data = text[length % 61 : length % 61 + length]
        assert hashing.digest(suite, data) == plain(suite, data), (suite, length)
        assert hashing.leaf_hash(suite, data) == leaf(suite, data), (suite, length)
        if length:
            rows = text[length % 13 :][: 19 * length]
            single = [rows[i : i + length] for i in range(0, len(rows), length)]
            assert hashing.digest_rows(suite, rows, length) == b"".join(plain(suite, row) for row in single), (suite, length)
            assert hashing.leaf_hash_rows(suite, rows, length) == b"".join(leaf(suite, row) for row in single), (suite, length)
    for count in range(41):
        for stride in (48, 64, 160, 192):
            rows = text[1 : 1 + count * stride]
            single = [rows[i : i + stride] for i in range(0, len(rows), stride)]
            assert hashing.digest_rows(suite, rows, stride) == b"".join(plain(suite, row) for row in single), (suite, count)
            assert hashing.leaf_hash_rows(suite, rows, stride) == b"".join(leaf(suite, row) for row in single), (suite, count)
    hashes = [hashlib.sha256(i.to_bytes(4, "big")).digest() for i in range(6200)]
    for count in (*range(71), 127, 128, 129, 1023, 1024, 1025, 2047, 2048, 2049, 2050, 4095, 4096, 4097, 6145, 6200):
        expected = root(suite, hashes[:count])
        tree = hashing.MerkleTree(suite)
        tree.extend(b"".join(hashes[:count]))
        assert hashing.merkle_root(suite, b"".join(hashes[:count])) == tree.root() == expected, (suite, count)
    for step, changed in enumerate((1, 2, 15, 16, 17, 31, 64, 65, 300, 1000)):
        for i in range(changed):
            index = (i * 7919 + step * 104729) % len(hashes)
            hashes[index] = hashlib.sha256(b"%d %d" % (step, i)).digest()
            tree.set(index, hashes[index])
        assert tree.root() == root(suite, hashes), (suite, changed)
    for index in (0, 1, 2047, 2048, 4095, 4096, 6198, 6199):
        path = hashing.merkle_path(suite, b"".join(hashes), index)
        assert path == tree.path(index)
        assert hashing.root_from_path(suite, hashes[index], index, len(hashes), path) == tree.root()
print("agreed")
"""


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_the_digests_of_openssl(variant: str):
    """Forced by the environment in a process of its own: lengths, alignments, counts, trees and their changes."""
    environment = {**os.environ, VARIABLE: variant}
    done = subprocess.run(
        [sys.executable, "-c", FORCED], env=environment, cwd=NATIVE.parent, capture_output=True, text=True, timeout=120
    )
    if "KernelUnavailable" in done.stderr:
        pytest.skip(f"this CPU has no {variant}")
    assert done.stdout == "agreed\n", done.stderr


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
