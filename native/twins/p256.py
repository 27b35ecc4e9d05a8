"""The plain twin of the P-256 kernel: ECDSA (FIPS 186-5) with SHA-256 and a low s, with Python's own integers.

Obvious and slow, and not constant time: it is what the kernel is compared with, and never signs for value. Public
keys are x || y and signatures r || s, big-endian, 64 bytes; secrets are 32 bytes, big-endian. Of the two s that fit a
message only the lower one is good. Nonces are those of RFC 6979.
"""

from __future__ import annotations

import hashlib
from typing import Final

from native.errors import ShapeError
from native.twins.weierstrass import NUMBER_BYTES, Curve, Pair, Point, encode_number, encode_point, nonces, split_pair

__all__ = [
    "CURVE",
    "CURVE_B",
    "FIELD",
    "GENERATOR",
    "ORDER",
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
]

# SP 800-186, section 3.2.1.3: the field, the coefficient, the order of the group and its generator.
FIELD: Final = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
CURVE_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
GENERATOR: Final = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
CURVE: Final = Curve(FIELD, CURVE_B, ORDER, GENERATOR)

add = CURVE.add
multiply = CURVE.multiply
key_check = CURVE.key_check


def public_key(secret: bytes) -> bytes:
    """Return the public key of a secret in [1, n-1]; ValueError for any other."""
    return encode_point(multiply(_secret_number(secret), GENERATOR))


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether a signature is good; a key that key_check refuses makes it bad, and so does a high s."""
    return verify_digest(public_key, signature, _sha256(message))


def verify_digest(public_key: bytes, signature: bytes, digest: bytes) -> bool:
    """Verify as section 6.4.2 of the standard does from the step where e is known: e is the digest."""
    r, s = split_pair("signature", signature)
    if key_check(public_key) is not None or not 1 <= r < ORDER or not 1 <= s <= (ORDER - 1) // 2:
        return False
    inverse = pow(s, -1, ORDER)
    u1, u2 = int.from_bytes(digest, "big") * inverse % ORDER, r * inverse % ORDER
    point = add(multiply(u1, GENERATOR), multiply(u2, split_pair("public_key", public_key)))
    return point is not None and point[0] % ORDER == r


def sign(secret: bytes, message: bytes) -> bytes:
    """Sign with the nonce of RFC 6979 and the lower s."""
    d = _secret_number(secret)
    e = int.from_bytes(_sha256(message), "big")
    for k in nonces(_sha256, secret, e, ORDER):
        point = multiply(k, GENERATOR)
        if point is None:  # k is never a multiple of the order
            continue
        r = point[0] % ORDER
        s = pow(k, -1, ORDER) * (e + r * d) % ORDER
        if r != 0 and s != 0:
            return encode_number(r) + encode_number(min(s, ORDER - s))
    raise AssertionError  # the nonces never end


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _secret_number(secret: bytes) -> int:
    if len(secret) != NUMBER_BYTES:
        raise ShapeError("secret bytes", len(secret), "32")
    d = int.from_bytes(secret, "big")
    if not 1 <= d < ORDER:
        message = "a secret is at least 1 and at most n - 1"
        raise ValueError(message)
    return d
