"""Curves y^2 = x^3 - 3x + b of prime order with Python's own integers: what the twins of SM2 and P-256 share.

Obvious and slow, and not constant time: the signatures made with it are never for value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from native.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "NUMBER_BYTES",
    "PAIR_BYTES",
    "Curve",
    "Pair",
    "Point",
    "encode_number",
    "encode_point",
    "nonces",
    "split_pair",
]

Pair = tuple[int, int]
Point = Pair | None  # None is the point at infinity

NUMBER_BYTES: Final = 32
PAIR_BYTES: Final = 64
_BLOCK_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve: its field, the coefficient b (the other one is -3), the order of its group and a generator."""

    field: int
    b: int
    order: int
    generator: Pair

    def contains(self, x: int, y: int) -> bool:
        """Say whether two coordinates below the field's prime make a point."""
        return (y * y - (x * x * x - 3 * x + self.b)) % self.field == 0

    def key_check(self, public_key: bytes) -> str | None:
        """Return why 64 bytes are not a public key, not_canonical or not_on_curve; None when they are one."""
        x, y = split_pair("public_key", public_key)
        if x >= self.field or y >= self.field:
            return "not_canonical"
        return None if self.contains(x, y) else "not_on_curve"

    def add(self, left: Point, right: Point) -> Point:
        """Add two points, the point at infinity being None."""
        if left is None or right is None:
            return right if left is None else left
        (x1, y1), (x2, y2) = left, right
        if x1 == x2:
            if (y1 + y2) % self.field == 0:
                return None
            slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, self.field)
        else:
            slope = (y2 - y1) * pow(x2 - x1, -1, self.field)
        x3 = (slope * slope - x1 - x2) % self.field
        return x3, (slope * (x1 - x3) - y1) % self.field

    def multiply(self, scalar: int, point: Point) -> Point:
        """Multiply by doubling and adding, from the highest bit down."""
        result: Point = None
        for bit in f"{scalar:b}":
            result = self.add(result, result)
            if bit == "1":
                result = self.add(result, point)
        return result


def encode_number(value: int) -> bytes:
    """Return 32 bytes, big-endian."""
    return value.to_bytes(NUMBER_BYTES, "big")


def encode_point(point: Point) -> bytes:
    """Return x || y; the point at infinity has no encoding and raises ValueError."""
    if point is None:
        message = "the point at infinity has no coordinates"
        raise ValueError(message)
    return encode_number(point[0]) + encode_number(point[1])


def split_pair(what: str, value: bytes) -> Pair:
    """Return the two numbers of 64 bytes; raises ShapeError, naming what they are, for another length."""
    if len(value) != PAIR_BYTES:
        raise ShapeError(f"{what} bytes", len(value), "64")
    return int.from_bytes(value[:NUMBER_BYTES], "big"), int.from_bytes(value[NUMBER_BYTES:], "big")


def nonces(hash_bytes: Callable[[bytes], bytes], secret: bytes, e: int, order: int) -> Iterator[int]:
    """Yield candidates for k after RFC 6979, section 3.2, with HMAC over a hash of 32 bytes, for a hashed message e."""
    seed = secret + encode_number(e % order)
    key, value = bytes(NUMBER_BYTES), b"\x01" * NUMBER_BYTES
    for step in (b"\x00", b"\x01"):
        key = _hmac(hash_bytes, key, value + step + seed)
        value = _hmac(hash_bytes, key, value)
    while True:
        value = _hmac(hash_bytes, key, value)
        k = int.from_bytes(value, "big")
        if 1 <= k < order:
            yield k
        key = _hmac(hash_bytes, key, value + b"\x00")
        value = _hmac(hash_bytes, key, value)


def _hmac(hash_bytes: Callable[[bytes], bytes], key: bytes, data: bytes) -> bytes:
    padded = key.ljust(_BLOCK_BYTES, b"\x00")
    inner = hash_bytes(bytes(byte ^ 0x36 for byte in padded) + data)
    return hash_bytes(bytes(byte ^ 0x5C for byte in padded) + inner)
