"""Deterministic Ed25519 keys for tests: key n of a ring is the same on every run."""

from __future__ import annotations

import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["can_sign", "public_key", "sign_with"]


@cache
def _private(number: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"test key {number}".encode()).digest())


_numbers: dict[bytes, int] = {}


@cache
def public_key(number: int) -> bytes:
    """The public half of test key `number`: 32 bytes, zero padded to 64."""
    key = _private(number).public_key().public_bytes_raw().ljust(64, b"\x00")
    _numbers[key] = number
    return key


def can_sign(suite: int, key: bytes) -> bool:
    """Say whether a signature of this ring can hold under a public key."""
    return suite == 1 and key in _numbers


def sign_with(key: bytes, message: bytes) -> bytes:
    """Sign as the holder of a public key that this ring made; other keys sign with zeros."""
    return _private(_numbers[key]).sign(message) if key in _numbers else bytes(64)
