"""Signed messages to verify, the same on every machine: keys, messages and signatures follow from their numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from native.signatures import SigningKeys, sign_batch

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MESSAGE_BYTES", "SCHEMES", "SignedItems", "spoiled_positions"]

MESSAGE_BYTES: Final = 192
SCHEMES: Final = {"ed25519": 1, "sm2": 2, "p256": 3}
# The byte that holds the lowest bit of s: little-endian in Ed25519, big-endian in the others. Such a signature keeps
# every range and is found bad by the equation alone, at full cost.
_LAST_BIT: Final = {1: 32, 2: 63, 3: 63}
_SIGNATURE_BYTES: Final = 64

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SignedItems:
    """A batch: item i is signed with key i modulo the number of keys.

    public_keys: keys x 32 or 64 bytes; signatures: n x 64; messages: n x 192; spoiled: the signatures with some bad.
    """

    scheme: str
    public_keys: Bytes
    signatures: Bytes
    spoiled: Bytes
    messages: Bytes

    @classmethod
    def make(cls, scheme: str, keys: int, count: int, bad: int = 0) -> SignedItems:
        """Sign count messages with so many keys; raises what native.signatures raises, UnknownSuite for one."""
        suite = SCHEMES[scheme]
        signing = SigningKeys()
        for number in range(keys):
            signing.register(suite, _secret(scheme, number))
        messages = np.frombuffer(
            hashlib.shake_256(f"clearspan bench {scheme} messages".encode()).digest(count * MESSAGE_BYTES), np.uint8
        ).reshape(count, MESSAGE_BYTES)
        signatures = np.zeros((count, _SIGNATURE_BYTES), np.uint8)
        sign_batch(signing, np.arange(count, dtype=np.uint32) % np.uint32(keys), messages, signatures)
        spoiled = signatures.copy()
        spoiled[spoiled_positions(count, bad), _LAST_BIT[suite]] ^= 1
        public = b"".join(signing.public_key(number) for number in range(keys))
        return cls(scheme, np.frombuffer(public, np.uint8).reshape(keys, -1), signatures, spoiled, messages)

    def save(self, path: Path) -> None:
        """Write the batch to a file, for the processes that verify it."""
        arrays = {name: getattr(self, name) for name in ("public_keys", "signatures", "spoiled", "messages")}
        np.savez(path, scheme=np.array(self.scheme), **arrays)

    @classmethod
    def load(cls, path: Path) -> SignedItems:
        """Read a batch that was saved."""
        with np.load(path) as file:
            return cls(str(file["scheme"]), file["public_keys"], file["signatures"], file["spoiled"], file["messages"])

    def __len__(self) -> int:
        return len(self.signatures)

    def key_numbers(self) -> NDArray[np.uint32]:
        """Return the number of each item's key, from 0."""
        return np.arange(len(self), dtype=np.uint32) % np.uint32(len(self.public_keys))


def spoiled_positions(count: int, bad: int) -> list[int]:
    """Return where the bad signatures stand: the middles of as many equal parts of the batch."""
    return [(2 * number + 1) * count // (2 * bad) for number in range(bad)]


def _secret(scheme: str, number: int) -> bytes:
    """Return a secret below the order of every group: its first byte is below 128."""
    secret = hashlib.shake_256(f"clearspan bench {scheme} key {number}".encode()).digest(32)
    return bytes([secret[0] & 0x7F]) + secret[1:]
