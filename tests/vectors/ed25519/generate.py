"""Writes cases.json: edge cases of the Ed25519 rule with the verdicts that the plain-Python twin computes.

Run from the repository root: ``PYTHONPATH=. python tests/vectors/ed25519/generate.py``. Everything derives from fixed
labels, so two runs write the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from native.twins import ed25519

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TARGET", "render"]

TARGET: Final = Path(__file__).with_name("cases.json")
L: Final = ed25519.GROUP_ORDER
P: Final = ed25519.P
TORSION: Final = ed25519.torsion_points()
MESSAGE: Final = b"an edge case of Clearspan's Ed25519 rule"
MESSAGE_BYTES: Final = (0, 1, 47, 48, 63, 64, 175, 176, 191, 192, 193, 1000)

Case = tuple[str, bytes, bytes, bytes]


def render() -> str:
    """Return the text of cases.json."""
    cases = [_with_verdict(*case) for case in _cases()]
    lines = ",\n".join("    " + json.dumps(case) for case in cases)
    origin = "generate.py beside this file, verdicts by native/twins/ed25519.py"
    return f'{{\n  "origin": "{origin}",\n  "cases": [\n{lines}\n  ]\n}}\n'


def _with_verdict(name: str, key: bytes, signature: bytes, message: bytes) -> dict[str, object]:
    return {
        "name": name,
        "public_key": key.hex(),
        "signature": signature.hex(),
        "message": message.hex(),
        "key_fault": ed25519.key_check(key),
        "accept": ed25519.verify(key, signature, message),
    }


def _cases() -> Iterator[Case]:
    yield from _honest()
    yield from _odd_keys()
    yield from _odd_commitments()
    yield from _torsion_in_commitment()
    yield from _odd_responses()
    yield from _flipped_bits()


def _honest() -> Iterator[Case]:
    """Sign messages whose lengths sit on both sides of every block boundary."""
    secret = _seed("honest")
    for length in MESSAGE_BYTES:
        message = (b"clearspan" * 200)[:length]
        yield f"honest, {length} bytes", ed25519.public_key(secret), ed25519.sign(secret, message), message
    yield "honest, another key", ed25519.public_key(_seed("other")), ed25519.sign(secret, MESSAGE), MESSAGE
    yield "honest, another message", ed25519.public_key(secret), ed25519.sign(secret, MESSAGE), MESSAGE + b"!"


def _odd_keys() -> Iterator[Case]:
    """Keys of small and of mixed order and encodings that are not canonical, each with the signature that would fit."""
    for i, point in enumerate(TORSION):
        yield f"key of small order {i}, R identity, S 0", ed25519.encode(point), _identity_signature(), MESSAGE
    for name, encoded in _refused_encodings():
        yield f"key {name}, R identity, S 0", encoded, _identity_signature(), MESSAGE
    for i, point in enumerate(TORSION):
        scalar, _ = ed25519.expand_secret(_seed("mixed"))
        key = ed25519.encode(ed25519.add(ed25519.multiply(scalar, ed25519.BASE), point))
        yield f"key plus torsion {i}", key, _sign_with(scalar, key, ed25519.IDENTITY), MESSAGE


def _odd_commitments() -> Iterator[Case]:
    """An R of small order, canonical and not, with the S that solves the equation for the point it seems to name."""
    scalar, _ = ed25519.expand_secret(_seed("commitment"))
    key = ed25519.public_key(_seed("commitment"))
    for i, point in enumerate(TORSION):
        yield f"R of small order {i}", key, _respond(scalar, key, ed25519.encode(point), 0), MESSAGE
    for name, encoded in _refused_encodings():
        yield f"R {name}", key, _respond(scalar, key, encoded, 0), MESSAGE


def _torsion_in_commitment() -> Iterator[Case]:
    """R = [r]B + T: the cofactored equation takes every T, and a wrong S with none of them."""
    scalar, _ = ed25519.expand_secret(_seed("torsion"))
    key = ed25519.public_key(_seed("torsion"))
    for i, point in enumerate(TORSION):
        signature = _sign_with(scalar, key, point)
        yield f"R plus torsion {i}", key, signature, MESSAGE
        yield f"R plus torsion {i}, S + 1", key, _with_response(signature, _response(signature) + 1), MESSAGE


def _odd_responses() -> Iterator[Case]:
    """S out of range, and at its bounds."""
    secret = _seed("response")
    key, signature = ed25519.public_key(secret), ed25519.sign(secret, MESSAGE)
    for multiple in range(1, 16):
        yield f"S + {multiple} L", key, _with_response(signature, _response(signature) + multiple * L), MESSAGE
    bounds = {"0": 0, "1": 1, "L - 1": L - 1, "L": L, "L + 1": L + 1, "2^252": 2**252, "2^256 - 1": 2**256 - 1}
    for name, value in bounds.items():
        yield f"S = {name}", key, _with_response(signature, value), MESSAGE
    for top_bit in (253, 254, 255):
        yield f"S with bit {top_bit}", key, _with_response(signature, _response(signature) | 1 << top_bit), MESSAGE


def _flipped_bits() -> Iterator[Case]:
    secret = _seed("flipped")
    key, signature = ed25519.public_key(secret), ed25519.sign(secret, MESSAGE)
    for bit in (0, 7, 100, 254, 255, 256, 300, 507, 508, 511):
        value = int.from_bytes(signature, "little") ^ 1 << bit
        yield f"signature bit {bit} flipped", key, value.to_bytes(64, "little"), MESSAGE
    for bit in (0, 131, 254, 255):
        value = int.from_bytes(key, "little") ^ 1 << bit
        yield f"key bit {bit} flipped", value.to_bytes(32, "little"), signature, MESSAGE
    yield "R negated", key, signature[:31] + bytes([signature[31] ^ 128]) + signature[32:], MESSAGE


def _refused_encodings() -> Iterator[tuple[str, bytes]]:
    """Every encoding with y >= p, the two of x = 0 with a sign, and a few y that no point has."""
    for y in range(P, 2**255):
        for sign in (0, 1):
            yield f"y = p + {y - P}, sign {sign}", (y | sign << 255).to_bytes(32, "little")
    for name, y in (("1", 1), ("p - 1", P - 1)):
        yield f"y = {name}, x = 0 with sign", (y | 1 << 255).to_bytes(32, "little")
    off_curve = [y for y in range(2, 40) if ed25519.decode(y.to_bytes(32, "little")) is None]
    for y in off_curve[:6]:
        yield f"y = {y}, off the curve", y.to_bytes(32, "little")


def _seed(label: str) -> bytes:
    return hashlib.sha256(b"clearspan ed25519 " + label.encode()).digest()


def _identity_signature() -> bytes:
    return ed25519.encode(ed25519.IDENTITY) + bytes(32)


def _respond(scalar: int, key: bytes, commitment: bytes, nonce: int) -> bytes:
    """Return R || r + k a for the bytes of R as given, whatever they encode."""
    response = (nonce + ed25519.challenge(commitment, key, MESSAGE) * scalar) % L
    return commitment + response.to_bytes(32, "little")


def _sign_with(scalar: int, key: bytes, torsion: ed25519.Point) -> bytes:
    nonce = int.from_bytes(_seed("nonce"), "little") % L
    point = ed25519.add(ed25519.multiply(nonce, ed25519.BASE), torsion)
    return _respond(scalar, key, ed25519.encode(point), nonce)


def _response(signature: bytes) -> int:
    return int.from_bytes(signature[32:], "little")


def _with_response(signature: bytes, response: int) -> bytes:
    return signature[:32] + response.to_bytes(32, "little")


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="ascii")
