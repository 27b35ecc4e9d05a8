"""Writes cases.json: edge cases of the SM2 rule with the verdicts that the plain-Python twin computes.

Run from the repository root: ``PYTHONPATH=. python tests/vectors/sm2/generate.py``. Everything derives from fixed
labels, so two runs write the same bytes. A case gives a message, or the digest e where no message leads to the case.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from native.twins import hashing, sm2

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TARGET", "render"]

TARGET: Final = Path(__file__).with_name("cases.json")
N: Final = sm2.ORDER
P: Final = sm2.FIELD
MESSAGE: Final = b"an edge case of Clearspan's SM2 rule"
MESSAGE_BYTES: Final = (0, 1, 22, 23, 24, 31, 32, 55, 56, 64, 87, 88, 192, 193, 1000)

# Name, public key, signature, message or None, digest or None.
Case = tuple[str, bytes, bytes, bytes | None, bytes | None]


def render() -> str:
    """Return the text of cases.json."""
    lines = ",\n".join("    " + json.dumps(_with_verdict(*case)) for case in _cases())
    origin = "generate.py beside this file, verdicts by native/twins/sm2.py; the first case is GB/T 32918.5 annex A"
    return f'{{\n  "origin": "{origin}",\n  "cases": [\n{lines}\n  ]\n}}\n'


def _with_verdict(
    name: str, key: bytes, signature: bytes, message: bytes | None, digest: bytes | None
) -> dict[str, object]:
    case: dict[str, object] = {"name": name, "public_key": key.hex(), "signature": signature.hex()}
    if message is not None:
        case["message"] = message.hex()
        accept = sm2.verify(key, signature, message)
    else:
        assert digest is not None
        case["digest"] = digest.hex()
        accept = sm2.verify_digest(key, signature, digest)
    return {**case, "key_fault": sm2.key_check(key), "accept": accept}


def _cases() -> Iterator[Case]:
    yield _annex_a()
    yield from _honest()
    yield from _ranges()
    yield from _keys()
    yield from _alterations()
    yield from _coincidences()
    yield from _small_scalars()
    yield from _large_x()


def _number(label: object, limit: int = N - 2) -> int:
    digest = hashlib.sha512(f"clearspan sm2 {label}".encode()).digest()
    return int.from_bytes(digest, "big") % limit + 1


def _bytes(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _key(secret: int) -> bytes:
    return sm2.encode_point(sm2.multiply(secret % N, sm2.GENERATOR))


def _point(key: bytes) -> sm2.Point:
    return int.from_bytes(key[:32], "big"), int.from_bytes(key[32:], "big")


def _annex_a() -> Case:
    key = _key(0x3945208F7B2144B13F36E38AC6D39F95889393692860B51A42FB81EF4DF7C5B8)
    signature = bytes.fromhex(
        "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3"
        "b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa"
    )
    return "GB/T 32918.5 annex A", key, signature, b"message digest", None


def _honest() -> Iterator[Case]:
    for length in MESSAGE_BYTES:
        secret = _bytes(_number(f"honest {length}"))
        key = sm2.public_key(secret)
        message = hashlib.shake_128(b"message %d" % length).digest(length)
        yield f"honest, message of {length} bytes", key, sm2.sign(secret, key, message), message, None


def _solve(key: bytes, t: int, s: int) -> tuple[bytes, bytes]:
    """Return a signature with these t and s and the digest e that makes it good; no secret is needed for that."""
    point = sm2.add(sm2.multiply(s, sm2.GENERATOR), sm2.multiply(t, _point(key)))
    assert point is not None
    r = (t - s) % N
    return _bytes(r) + _bytes(s), _bytes((r - point[0]) % N)


def _ranges() -> Iterator[Case]:
    """r and s at both ends of [1, n-1], and congruent numbers outside it that plain arithmetic would accept."""
    key = _key(_number("ranges"))
    for label, r, s in (
        ("r = 1", 1, _number("s")),
        ("s = 1", _number("r"), 1),
        ("r = n - 1", N - 1, _number("s")),
        ("s = n - 1", _number("r"), N - 1),
        ("r = 1, s = 1", 1, 1),
        ("r = n - 1, s = n - 1", N - 1, N - 1),
    ):
        yield f"{label}, good", key, *_with_digest(_solve(key, (r + s) % N, s))
    signature, e = _solve(key, _number("t"), _number("t"))
    yield "r = 0", key, *_with_digest((signature, e))
    signature, e = _solve(key, _number("t"), 0)
    yield "s = 0", key, *_with_digest((signature, e))
    small, small_e = _solve(key, 5 + _number("s"), _number("s"))
    yield "r + n in place of a small r", key, *_with_digest((_shifted(small, N, 0), small_e))
    small, small_e = _solve(key, 7 + _number("r"), 7)
    yield "s + n in place of a small s", key, *_with_digest((_shifted(small, 0, N), small_e))
    for label, r, s in (
        ("r = n", N, 1),
        ("s = n", 1, N),
        ("r = s = 0", 0, 0),
        ("r = s = n", N, N),
        ("r = s = 2^256 - 1", 2**256 - 1, 2**256 - 1),
        ("r + s = n, so that t = 0", _number("r"), N - _number("r")),
        ("r = 1, s = n - 1, so that t = 0", 1, N - 1),
    ):
        # With t = 0 the sum is s * G alone: the digest that would make it good.
        point = sm2.multiply(s % N, sm2.GENERATOR)
        own = (r - (0 if point is None else point[0])) % N
        yield label, key, _bytes(r) + _bytes(s), None, _bytes(own)


def _with_digest(solved: tuple[bytes, bytes]) -> tuple[bytes, None, bytes]:
    return solved[0], None, solved[1]


def _shifted(signature: bytes, r: int, s: int) -> bytes:
    return _bytes(int.from_bytes(signature[:32], "big") + r) + _bytes(int.from_bytes(signature[32:], "big") + s)


def _curve_y(x: int) -> int | None:
    square = (x**3 + sm2.CURVE_A * x + sm2.CURVE_B) % P
    y = pow(square, (P + 1) // 4, P)
    return y if y * y % P == square else None


def _first_point(start: int) -> sm2.Pair:
    """Return the point with the smallest x from a start on, and one of its two y."""
    for x in range(start, P):
        y = _curve_y(x)
        if y is not None:
            return x, y
    raise AssertionError


def _keys() -> Iterator[Case]:
    secret = _bytes(_number("keys"))
    key = sm2.public_key(secret)
    signature = sm2.sign(secret, key, MESSAGE)
    x, y = int.from_bytes(key[:32], "big"), int.from_bytes(key[32:], "big")
    small_x, small_y = _first_point(0)
    not_on_curve = next(candidate for candidate in range(P) if _curve_y(candidate) is None)
    for label, kx, ky in (
        ("all zeros", 0, 0),
        ("x = 0, y = 1", 0, 1),
        ("y one off", x, y + 1),
        ("x one off", x + 1, y),
        ("coordinates swapped", y, x),
        ("negated, a good key but not the signer's", x, P - y),
        ("small x, a good key", small_x, small_y),
        ("small x + p", small_x + P, small_y),
        ("x of no point, y = 0", not_on_curve, 0),
        ("x = p", P, y),
        ("y = p", x, P),
        ("x = p - 1", P - 1, y),
        ("all ones", 2**256 - 1, 2**256 - 1),
        ("generator, not the signer's", *sm2.GENERATOR),
    ):
        yield f"key: {label}", _bytes(kx) + _bytes(ky), signature, MESSAGE, None
    # Every point is on some curve of the same a, whose addition is the same: one of weak order would give secrets away.
    yield "key: of the curve with another b", _bytes(5) + _bytes(7), signature, MESSAGE, None


def _alterations() -> Iterator[Case]:
    secret = _bytes(_number("alterations"))
    key = sm2.public_key(secret)
    signature = sm2.sign(secret, key, MESSAGE)
    r, s = signature[:32], signature[32:]
    yield "r and s swapped", key, s + r, MESSAGE, None
    yield "halves little-endian", key, r[::-1] + s[::-1], MESSAGE, None
    yield "n - s in place of s", key, r + _bytes(N - int.from_bytes(s, "big")), MESSAGE, None
    yield "n - r in place of r", key, _bytes(N - int.from_bytes(r, "big")) + s, MESSAGE, None
    yield "message one byte longer", key, signature, MESSAGE + b"\x00", None
    yield "message one byte shorter", key, signature, MESSAGE[:-1], None
    yield "empty message", key, signature, b"", None
    yield "Z left out of the hash", key, _sign_without_z(secret), MESSAGE, None
    for bit in range(0, 512, 37):
        altered = bytearray(signature)
        altered[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} of the signature flipped", key, bytes(altered), MESSAGE, None


def _sign_without_z(secret: bytes) -> bytes:
    d, k = int.from_bytes(secret, "big"), _number("without z")
    point = sm2.multiply(k, sm2.GENERATOR)
    assert point is not None
    r = (int.from_bytes(hashing.sm3(MESSAGE), "big") + point[0]) % N
    return _bytes(r) + _bytes(pow(1 + d, -1, N) * (k - r * d) % N)


def _coincidences() -> Iterator[Case]:
    """Additions whose terms are equal, opposite, or leave nothing."""
    d = _number("coincidences")
    key = _key(d)
    r = _number("r of a coincidence")
    s = -r * d * pow(1 + d, -1, N) % N
    yield "s * G + t * A is infinity", key, _bytes(r) + _bytes(s), None, _bytes(r)
    s = r * d * pow(1 - d, -1, N) % N
    yield "s * G = t * A, good", key, *_with_digest(_solve(key, (r + s) % N, s))
    for secret in (1, 2, 3, 5, 15, 16, 31, 32, 2**64, 2**64 + 1, 2**128, 2**192, N - 1, N - 2, N - 3, N - 16):
        own = _key(secret)
        for s, t in ((1, 1), (1, 2), (2, 1), (16, 3), (3, 16), (2**64, 2**65 + 1), (N - 1, 2), (N - 2, N - 1)):
            if (s + t * secret) % N == 0 or s == t:
                continue
            name = f"key {_short(secret)} * G, s = {_short(s)}, t = {_short(t)}, good"
            yield name, own, *_with_digest(_solve(own, t, s))


def _short(number: int) -> str:
    for base, name in ((N, "n"), (2**192, "2^192"), (2**128, "2^128"), (2**64, "2^64")):
        if abs(number - base) < 1 << 32:
            return name if number == base else f"{name} {'-' if number < base else '+'} {abs(number - base)}"
    return str(number)


def _small_scalars() -> Iterator[Case]:
    """Scalars whose signed digits carry through whole chunks and windows."""
    key = _key(_number("small scalars"))
    patterns = [2**64 - 1, 2**65 - 1, 2**128 - 1, 2**192 - 1, 2**255, 2**255 + 2**64 - 1, 2**251 - 1]
    patterns += [int("f0" * 31, 16), int("10" * 32, 16), int("5a" * 31, 16), sum(17 << 5 * i for i in range(51))]
    for i, t in enumerate(patterns):
        s = patterns[(i + 3) % len(patterns)]
        yield f"digits that carry, {i}, good", key, *_with_digest(_solve(key, t % N, s % N))


def _large_x() -> Iterator[Case]:
    """A sum whose x lies in [n, p), so that r = e + x - n, and digests that are not below n."""
    above, below = _first_point(N), _first_point(_number("x"))
    for label, point, e in (
        ("x of the sum in [n, p)", above, _number("e")),
        ("x of the sum in [n, p), e = n - 1", above, N - 1),
        ("x of the sum below n, e = n + 5", below, N + 5),
        ("x of the sum below n, e = 2^256 - 1", below, 2**256 - 1),
        ("x of the sum in [n, p), e = 2^256 - 1", above, 2**256 - 1),
        ("x of the sum below n, e = n", below, N),
        ("x of the sum below n, e = 0", below, 0),
    ):
        key, signature = _solve_key(point, _number("s of large x"), e)
        yield f"{label}, good", key, signature, None, _bytes(e)
        yield f"{label}, e one off", key, signature, None, _bytes(e ^ 1)


def _solve_key(point: sm2.Pair, s: int, e: int) -> tuple[bytes, bytes]:
    """Return a key, its secret known to nobody, and a signature for which s * G + t * A is this point."""
    r = (e + point[0]) % N
    rest = sm2.add(point, sm2.multiply(N - s, sm2.GENERATOR))
    key = sm2.encode_point(sm2.multiply(pow(r + s, -1, N), rest))
    return key, _bytes(r) + _bytes(s)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="ascii")
