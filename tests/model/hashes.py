"""Hash suites, signing prefixes and RFC 6962 roots from scratch (BYTES-1 to BYTES-3)."""

from __future__ import annotations

import hashlib
import struct
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["SHA256", "SM3", "hasher", "prefix", "run_prefix", "sha256", "sm3", "tree_root"]

SHA256 = 1
SM3 = 2

_MASK = 0xFFFFFFFF
_SM3_START = (0x7380166F, 0x4914B2B9, 0x172442D7, 0xDA8A0600, 0xA96F30BC, 0x163138AA, 0xE38DEE4D, 0xB0FB0E4E)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _rotate(x: int, n: int) -> int:
    n %= 32
    return ((x << n) | (x >> (32 - n))) & _MASK


def _compress(state: tuple[int, ...], block: bytes) -> tuple[int, ...]:
    w = list(struct.unpack(">16I", block))
    for j in range(16, 68):
        x = w[j - 16] ^ w[j - 9] ^ _rotate(w[j - 3], 15)
        w.append(x ^ _rotate(x, 15) ^ _rotate(x, 23) ^ _rotate(w[j - 13], 7) ^ w[j - 6])
    a, b, c, d, e, f, g, h = state
    for j in range(64):
        constant = 0x79CC4519 if j < 16 else 0x7A879D8A
        s1 = _rotate((_rotate(a, 12) + e + _rotate(constant, j)) & _MASK, 7)
        s2 = s1 ^ _rotate(a, 12)
        ff = a ^ b ^ c if j < 16 else (a & b) | (a & c) | (b & c)
        gg = e ^ f ^ g if j < 16 else (e & f) | (~e & g)
        t1 = (ff + d + s2 + (w[j] ^ w[j + 4])) & _MASK
        t2 = (gg + h + s1 + w[j]) & _MASK
        a, b, c, d = t1, a, _rotate(b, 9), c
        e, f, g, h = t2 ^ _rotate(t2, 9) ^ _rotate(t2, 17), e, _rotate(f, 19), g
    return tuple(x ^ y for x, y in zip(state, (a, b, c, d, e, f, g, h), strict=True))


def sm3_plain(data: bytes) -> bytes:
    """SM3 in plain Python (GB/T 32905): the fallback where OpenSSL was built without it."""
    padded = data + b"\x80" + b"\x00" * ((55 - len(data)) % 64) + struct.pack(">Q", len(data) * 8)
    state: tuple[int, ...] = _SM3_START
    for start in range(0, len(padded), 64):
        state = _compress(state, padded[start : start + 64])
    return struct.pack(">8I", *state)


def sm3(data: bytes) -> bytes:
    if "sm3" in hashlib.algorithms_available:
        return hashlib.new("sm3", data).digest()
    return sm3_plain(data)


def hasher(suite: int) -> Callable[[bytes], bytes]:
    return {SHA256: sha256, SM3: sm3}[suite]


@cache
def prefix(suite: int, genesis_hash: bytes, what: str) -> bytes:
    """T(what, 1) of BYTES-3."""
    return hasher(suite)(f"clearspan/{what}/1".encode("ascii") + genesis_hash)


def run_prefix(suite: int, genesis_hash: bytes, records: Sequence[bytes], deadline: int) -> bytes:
    """T_run of RECORD-2 over the records of 160 bytes of a run, in order."""
    h = hasher(suite)
    head = b"clearspan/run/1" + genesis_hash + struct.pack("<IQ", len(records), deadline)
    return h(head + b"".join(h(record) for record in records))


def tree_root(suite: int, leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 root over leaf data (BYTES-2), level by level: an odd last node moves up unchanged.

    That is the same tree as "left subtree the largest power of two below the count".
    """
    h = hasher(suite)
    if not leaves:
        return h(b"")
    level = [h(b"\x00" + leaf) for leaf in leaves]
    while len(level) > 1:
        paired = [h(b"\x01" + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + ([level[-1]] if len(level) % 2 else [])
    return level[0]
