"""Which public keys may be registered at all (BYTES-5): the curves in affine big-integer arithmetic."""

from __future__ import annotations

from functools import cache

__all__ = ["key_acceptable"]

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_M1 = pow(2, (_P - 1) // 4, _P)

_SM2_P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
_SM2_B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93

_P256_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_P256_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B

type_point = tuple[int, int, int, int]


def _add(a: type_point, b: type_point) -> type_point:
    """Sum in extended coordinates of the twisted Edwards curve with a = -1 (complete, RFC 8032 5.1.4)."""
    left = (a[1] - a[0]) * (b[1] - b[0]) % _P
    right = (a[1] + a[0]) * (b[1] + b[0]) % _P
    c = 2 * a[3] * b[3] * _D % _P
    d = 2 * a[2] * b[2] % _P
    e, f, g, h = right - left, d - c, d + c, right + left
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _multiply(scalar: int, point: type_point) -> type_point:
    total = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = _add(total, point)
        point = _add(point, point)
        scalar >>= 1
    return total


def _is_identity(point: type_point) -> bool:
    x, y, z, _ = point
    return x % _P == 0 and (y - z) % _P == 0


def _decompress(data: bytes) -> type_point | None:
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _SQRT_M1 % _P
    if (x * x - square) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return (x, y, 1, x * y % _P)


def _ed25519_acceptable(public_key: bytes) -> bool:
    if any(public_key[32:]):
        return False
    point = _decompress(public_key[:32])
    return point is not None and not _is_identity(point) and _is_identity(_multiply(_L, point))


def _on_curve(p: int, b: int, public_key: bytes) -> bool:
    x, y = int.from_bytes(public_key[:32], "big"), int.from_bytes(public_key[32:], "big")
    return x < p and y < p and (y * y - (x * x * x - 3 * x + b)) % p == 0


@cache
def key_acceptable(suite: int, public_key: bytes) -> bool:
    """Say whether a field of 64 bytes holds a key of suite 1 (Ed25519, zero padded), 2 (SM2) or 3 (P-256) that may be."""
    if suite == 1:
        return _ed25519_acceptable(public_key)
    return _on_curve(_SM2_P, _SM2_B, public_key) if suite == 2 else _on_curve(_P256_P, _P256_B, public_key)
