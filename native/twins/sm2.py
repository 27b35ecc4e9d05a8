"""The plain twin of the SM2 kernel: GB/T 32918.2 over sm2p256v1 with Python's own integers.

Obvious and slow, and not constant time: it is what the kernel is compared with, and never signs for value. Public
keys are x || y and signatures r || s, big-endian, 64 bytes; secrets are 32 bytes, big-endian; the hash is SM3 and
the user id the one below. Nonces are deterministic, in the manner of RFC 6979 with HMAC-SM3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from native.errors import ShapeError
from native.twins.hashing import sm3

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "CURVE_A",
    "CURVE_B",
    "FIELD",
    "GENERATOR",
    "ORDER",
    "USER_ID",
    "Pair",
    "Point",
    "add",
    "encode_point",
    "key_check",
    "multiply",
    "public_key",
    "sign",
    "verify",
    "verify_digest",
    "z_value",
]

# GB/T 32918.5-2017: the field, the coefficients, the order of the group and its generator.
FIELD: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
CURVE_A: Final = FIELD - 3
CURVE_B: Final = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
ORDER: Final = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
GENERATOR: Final = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)
USER_ID: Final = b"1234567812345678"

Pair = tuple[int, int]
Point = Pair | None  # None is the point at infinity

_NUMBER_BYTES = 32
_PAIR_BYTES = 64
_BLOCK_BYTES = 64


def key_check(public_key: bytes) -> str | None:
    """Return why 64 bytes are not a public key, not_canonical or not_on_curve; None when they are one."""
    x, y = _pair("public_key", public_key)
    if x >= FIELD or y >= FIELD:
        return "not_canonical"
    return None if _on_curve(x, y) else "not_on_curve"


def z_value(public_key: bytes, user_id: bytes = USER_ID) -> bytes:
    """Return Z: the hash of user id, curve and key that comes before every message (5.5 of the standard)."""
    _pair("public_key", public_key)
    curve = b"".join(_number(value) for value in (CURVE_A, CURVE_B, *GENERATOR))
    return sm3((8 * len(user_id)).to_bytes(2, "big") + user_id + curve + public_key)


def public_key(secret: bytes) -> bytes:
    """Return the public key of a secret in [1, n-2]; ValueError for any other."""
    return encode_point(multiply(_secret_number(secret), GENERATOR))


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether a signature is good; a key that key_check refuses makes it bad."""
    return verify_digest(public_key, signature, sm3(z_value(public_key) + message))


def verify_digest(public_key: bytes, signature: bytes, digest: bytes) -> bool:
    """Verify as section 7.1 of the standard does from the step where e is known: e is the digest."""
    r, s = _pair("signature", signature)
    if key_check(public_key) is not None or not 1 <= r < ORDER or not 1 <= s < ORDER:
        return False
    t = (r + s) % ORDER
    if t == 0:
        return False
    point = add(multiply(s, GENERATOR), multiply(t, _pair("public_key", public_key)))
    return point is not None and (int.from_bytes(digest, "big") + point[0]) % ORDER == r


def sign(secret: bytes, public_key: bytes, message: bytes) -> bytes:
    """Sign with a deterministic nonce; the public key is the secret's own, or nobody can verify the signature."""
    d = _secret_number(secret)
    e = int.from_bytes(sm3(z_value(public_key) + message), "big")
    for k in _nonces(secret, e):
        point = multiply(k, GENERATOR)
        if point is None:  # k is never a multiple of the order
            continue
        r = (e + point[0]) % ORDER
        s = pow(1 + d, -1, ORDER) * (k - r * d) % ORDER
        if r != 0 and r + k != ORDER and s != 0:
            return _number(r) + _number(s)
    raise AssertionError  # the nonces never end


def add(left: Point, right: Point) -> Point:
    """Add two points of the curve, the point at infinity being None."""
    if left is None or right is None:
        return right if left is None else left
    (x1, y1), (x2, y2) = left, right
    if x1 == x2:
        if (y1 + y2) % FIELD == 0:
            return None
        slope = (3 * x1 * x1 + CURVE_A) * pow(2 * y1, -1, FIELD)
    else:
        slope = (y2 - y1) * pow(x2 - x1, -1, FIELD)
    x3 = (slope * slope - x1 - x2) % FIELD
    return x3, (slope * (x1 - x3) - y1) % FIELD


def multiply(scalar: int, point: Point) -> Point:
    """Multiply by doubling and adding, from the highest bit down."""
    result: Point = None
    for bit in f"{scalar:b}":
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def encode_point(point: Point) -> bytes:
    """Return x || y; the point at infinity has no encoding and raises ValueError."""
    if point is None:
        message = "the point at infinity has no coordinates"
        raise ValueError(message)
    return _number(point[0]) + _number(point[1])


def _on_curve(x: int, y: int) -> bool:
    return (y * y - (x * x * x + CURVE_A * x + CURVE_B)) % FIELD == 0


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER_BYTES, "big")


def _pair(what: str, value: bytes) -> Pair:
    if len(value) != _PAIR_BYTES:
        raise ShapeError(f"{what} bytes", len(value), "64")
    return int.from_bytes(value[:_NUMBER_BYTES], "big"), int.from_bytes(value[_NUMBER_BYTES:], "big")


def _secret_number(secret: bytes) -> int:
    if len(secret) != _NUMBER_BYTES:
        raise ShapeError("secret bytes", len(secret), "32")
    d = int.from_bytes(secret, "big")
    if not 1 <= d <= ORDER - 2:
        message = "a secret is at least 1 and at most n - 2"
        raise ValueError(message)
    return d


def _hmac_sm3(key: bytes, data: bytes) -> bytes:
    padded = key.ljust(_BLOCK_BYTES, b"\x00")
    inner = sm3(bytes(byte ^ 0x36 for byte in padded) + data)
    return sm3(bytes(byte ^ 0x5C for byte in padded) + inner)


def _nonces(secret: bytes, e: int) -> Iterator[int]:
    """Yield candidates for k after RFC 6979, section 3.2, with HMAC-SM3 and the hash e."""
    seed = secret + _number(e % ORDER)
    key, value = bytes(_NUMBER_BYTES), b"\x01" * _NUMBER_BYTES
    for step in (b"\x00", b"\x01"):
        key = _hmac_sm3(key, value + step + seed)
        value = _hmac_sm3(key, value)
    while True:
        value = _hmac_sm3(key, value)
        k = int.from_bytes(value, "big")
        if 1 <= k < ORDER:
            yield k
        key = _hmac_sm3(key, value + b"\x00")
        value = _hmac_sm3(key, value)
