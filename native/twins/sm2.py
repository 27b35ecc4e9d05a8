"""The plain twin of the SM2 kernel: GB/T 32918.2 over sm2p256v1 with Python's own integers.

Obvious and slow, and not constant time: it is what the kernel is compared with, and never signs for value. Public
keys are x || y and signatures r || s, big-endian, 64 bytes; secrets are 32 bytes, big-endian; the hash is SM3 and
the user id the one below. Nonces are deterministic, in the manner of RFC 6979 with HMAC-SM3.
"""

from __future__ import annotations

from typing import Final

from native.errors import ShapeError
from native.twins.hashing import sm3
from native.twins.weierstrass import NUMBER_BYTES, Curve, Pair, Point, encode_number, encode_point, nonces, split_pair

__all__ = [
    "CURVE",
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
CURVE: Final = Curve(FIELD, CURVE_B, ORDER, GENERATOR)

add = CURVE.add
multiply = CURVE.multiply
key_check = CURVE.key_check


def z_value(public_key: bytes, user_id: bytes = USER_ID) -> bytes:
    """Return Z: the hash of user id, curve and key that comes before every message (5.5 of the standard)."""
    split_pair("public_key", public_key)
    curve = b"".join(encode_number(value) for value in (CURVE_A, CURVE_B, *GENERATOR))
    return sm3((8 * len(user_id)).to_bytes(2, "big") + user_id + curve + public_key)


def public_key(secret: bytes) -> bytes:
    """Return the public key of a secret in [1, n-2]; ValueError for any other."""
    return encode_point(multiply(_secret_number(secret), GENERATOR))


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether a signature is good; a key that key_check refuses makes it bad."""
    return verify_digest(public_key, signature, sm3(z_value(public_key) + message))


def verify_digest(public_key: bytes, signature: bytes, digest: bytes) -> bool:
    """Verify as section 7.1 of the standard does from the step where e is known: e is the digest."""
    r, s = split_pair("signature", signature)
    if key_check(public_key) is not None or not 1 <= r < ORDER or not 1 <= s < ORDER:
        return False
    t = (r + s) % ORDER
    if t == 0:
        return False
    point = add(multiply(s, GENERATOR), multiply(t, split_pair("public_key", public_key)))
    return point is not None and (int.from_bytes(digest, "big") + point[0]) % ORDER == r


def sign(secret: bytes, public_key: bytes, message: bytes) -> bytes:
    """Sign with a deterministic nonce; the public key is the secret's own, or nobody can verify the signature."""
    d = _secret_number(secret)
    e = int.from_bytes(sm3(z_value(public_key) + message), "big")
    for k in nonces(sm3, secret, e, ORDER):
        point = multiply(k, GENERATOR)
        if point is None:  # k is never a multiple of the order
            continue
        r = (e + point[0]) % ORDER
        s = pow(1 + d, -1, ORDER) * (k - r * d) % ORDER
        if r != 0 and r + k != ORDER and s != 0:
            return encode_number(r) + encode_number(s)
    raise AssertionError  # the nonces never end


def _secret_number(secret: bytes) -> int:
    if len(secret) != NUMBER_BYTES:
        raise ShapeError("secret bytes", len(secret), "32")
    d = int.from_bytes(secret, "big")
    if not 1 <= d <= ORDER - 2:
        message = "a secret is at least 1 and at most n - 2"
        raise ValueError(message)
    return d
