"""Ed25519 in plain big integers: the acceptance rule as one can read it, and the oracle of the native kernel.

The rule. A public key A is good when its encoding is canonical (y below p, and no sign bit on x = 0), it lies on the
curve, has the prime order L, and is not the identity. A signature R || S of message M under a good key is accepted when
S < L, R is a canonical encoding of a point of the curve (of any order), and

    [8]([S]B - [k]A - R) = identity,   k = SHA-512(R || A || M) mod L.

Nothing here is constant time: keep real secrets away from it.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

__all__ = [
    "BASE",
    "COFACTOR",
    "GROUP_ORDER",
    "IDENTITY",
    "D",
    "P",
    "Point",
    "add",
    "challenge",
    "decode",
    "encode",
    "expand_secret",
    "key_check",
    "multiply",
    "negate",
    "public_key",
    "sign",
    "torsion_points",
    "verify",
]

P: Final = 2**255 - 19
GROUP_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
COFACTOR: Final = 8
D: Final = -121665 * pow(121666, -1, P) % P
SQUARE_ROOT_OF_MINUS_ONE: Final = pow(2, (P - 1) // 4, P)
ENCODED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SIGN_BIT: Final = 1 << 255


class Point(NamedTuple):
    """A point of -x^2 + y^2 = 1 + d x^2 y^2 in extended coordinates: x = X/Z, y = Y/Z, T = XY/Z."""

    x: int
    y: int
    z: int
    t: int


IDENTITY: Final = Point(0, 1, 1, 0)


def key_check(public_key: bytes) -> str | None:
    """Return None for a good key, else the reason: not_canonical, not_on_curve, small_order or mixed_order."""
    reason = _encoding_fault(public_key)
    if reason is not None:
        return reason
    point = decode(public_key)
    if point is None:
        return "not_on_curve"
    if _is_identity(multiply(COFACTOR, point)):
        return "small_order"
    return None if _is_identity(multiply(GROUP_ORDER, point)) else "mixed_order"


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether the rule above accepts; a key that is not good verifies nothing."""
    if len(signature) != SIGNATURE_BYTES or key_check(public_key) is not None:
        return False
    commitment, response = decode(signature[:32]), int.from_bytes(signature[32:], "little")
    key = decode(public_key)
    if commitment is None or key is None or response >= GROUP_ORDER:
        return False
    k = challenge(signature[:32], public_key, message)
    difference = add(add(multiply(response, BASE), negate(multiply(k, key))), negate(commitment))
    return _is_identity(multiply(COFACTOR, difference))


def public_key(secret: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte secret (RFC 8032, 5.1.5)."""
    return encode(multiply(expand_secret(secret)[0], BASE))


def sign(secret: bytes, message: bytes) -> bytes:
    """Return the 64-byte deterministic signature (RFC 8032, 5.1.6)."""
    scalar, prefix = expand_secret(secret)
    nonce = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % GROUP_ORDER
    commitment = encode(multiply(nonce, BASE))
    k = challenge(commitment, public_key(secret), message)
    return commitment + ((nonce + k * scalar) % GROUP_ORDER).to_bytes(32, "little")


def expand_secret(secret: bytes) -> tuple[int, bytes]:
    """Return the clamped scalar and the 32-byte nonce prefix of a 32-byte secret."""
    digest = hashlib.sha512(secret).digest()
    scalar = int.from_bytes(digest[:32], "little")
    return (scalar & (2**254 - 8)) | 2**254, digest[32:]


def challenge(commitment: bytes, public_key: bytes, message: bytes) -> int:
    """Return k = SHA-512(R || A || M) mod L."""
    return int.from_bytes(hashlib.sha512(commitment + public_key + message).digest(), "little") % GROUP_ORDER


def add(a: Point, b: Point) -> Point:
    """Add two points; the formula is complete, so it holds for every pair on this curve (RFC 8032, 5.1.4)."""
    e = (a.y - a.x) * (b.y - b.x) % P
    f = (a.y + a.x) * (b.y + b.x) % P
    g = 2 * a.t * b.t * D % P
    h = 2 * a.z * b.z % P
    return Point((f - e) * (h - g) % P, (h + g) * (f + e) % P, (h - g) * (h + g) % P, (f - e) * (f + e) % P)


def negate(point: Point) -> Point:
    """Return the inverse of a point."""
    return Point(-point.x % P, point.y, point.z, -point.t % P)


def multiply(scalar: int, point: Point) -> Point:
    """Return [scalar]point by doubling and adding; scalar >= 0 and not reduced, so that torsion is kept."""
    result = IDENTITY
    while scalar > 0:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def encode(point: Point) -> bytes:
    """Return the canonical 32 bytes: y little-endian, the top bit is the lowest bit of x."""
    inverse = pow(point.z, -1, P)
    x, y = point.x * inverse % P, point.y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(encoded: bytes) -> Point | None:
    """Return the point of a canonical encoding, or None for anything else."""
    if _encoding_fault(encoded) is not None:
        return None
    value = int.from_bytes(encoded, "little")
    y, sign_bit = value & (SIGN_BIT - 1), value >> 255
    x = _x_of(y)
    if x is None:
        return None
    if x & 1 != sign_bit:
        x = P - x
    return Point(x, y, 1, x * y % P)


def torsion_points() -> list[Point]:
    """Return the eight points of small order: multiples 0 to 7 of one point of order eight."""
    y = 2
    while True:
        candidate = decode(y.to_bytes(32, "little"))
        if candidate is not None:
            torsion = multiply(GROUP_ORDER, candidate)
            if not _is_identity(multiply(COFACTOR // 2, torsion)):
                return [multiply(i, torsion) for i in range(COFACTOR)]
        y += 1


def _encoding_fault(encoded: bytes) -> str | None:
    """Return not_canonical for a wrong length, for y >= p and for x = 0 with its sign bit set."""
    if len(encoded) != ENCODED_BYTES:
        return "not_canonical"
    value = int.from_bytes(encoded, "little")
    y, sign_bit = value & (SIGN_BIT - 1), value >> 255
    return "not_canonical" if y >= P or (sign_bit and _x_of(y) == 0) else None


def _x_of(y: int) -> int | None:
    """Return the even root x of x^2 = (y^2 - 1) / (d y^2 + 1), or None where there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * SQUARE_ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P != 0:
        return None
    return x if x % 2 == 0 else P - x


def _is_identity(point: Point) -> bool:
    return point.x % P == 0 and (point.y - point.z) % P == 0


def _base() -> Point:
    """Return B, the point with y = 4/5 and even x."""
    base = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
    if base is None:
        message = "the base point is on the curve"
        raise ArithmeticError(message)
    return base


BASE: Final = _base()
