"""Writes the Ed25519 vector files: python -m tests.vectors.make_ed25519

rfc8032.json    the five published examples of RFC 8032, 7.1, signed anew from their secrets;
low_order.json  914 cases: every point of small order, in each of its encodings, as A, as R, alone and added to an honest
                point; the same bytes as the public set of C2SP/CCTV, derived here from its description;
grid.json       196 cases: each of the 14 encodings of a point of small order as A with each as R and S = 0, on the message
                that the tests of ZIP 215 use;
speccheck.json  12 cases with the properties of the ed25519-speccheck paper, under keys of our own;
families.json   the families of Project Wycheproof, under keys of our own, and searched extremes of S and k.

Every verdict is computed twice. The twin computes with points. The generator knows the discrete logarithm and the
torsion of every point that it makes, so it also decides by plain numbers modulo L and 8; the two must agree. By those
numbers it also says what ZIP 215 and a verifier of ref10's kind (R compared as bytes, no cofactor) make of a case.
Everything derives from fixed labels, so two runs write the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from native.twins import ed25519
from tests.vectors.signature_files import FOLDER, Case, render

__all__ = ["FILES", "main"]

L: Final = ed25519.GROUP_ORDER
P: Final = ed25519.P
TORSION: Final = ed25519.torsion_points()
TARGET: Final = FOLDER / "ed25519"
SEARCHES: Final = 1 << 18

key_check = functools.cache(ed25519.key_check)


@dataclass(frozen=True, slots=True)
class Known:
    """A point as bytes and what its maker knows of it: [scalar]B plus the torsion point of that number."""

    encoded: bytes
    scalar: int
    torsion: int
    canonical: bool = True

    @property
    def point(self) -> ed25519.Point:
        """Return the point itself."""
        return _point(self.scalar, self.torsion)


@functools.cache
def _multiple(scalar: int) -> ed25519.Point:
    return ed25519.multiply(scalar % L, ed25519.BASE)


def _point(scalar: int, torsion: int) -> ed25519.Point:
    return ed25519.add(_multiple(scalar), TORSION[torsion % 8])


@functools.cache
def known(scalar: int, torsion: int = 0) -> Known:
    """Return the point [scalar]B + T in its canonical encoding."""
    return Known(ed25519.encode(_point(scalar, torsion)), scalar % L, torsion % 8)


def _number(label: str) -> int:
    return int.from_bytes(hashlib.sha512(b"clearspan vectors ed25519 " + label.encode()).digest(), "little") % L


def _bytes(value: int) -> bytes:
    return value.to_bytes(32, "little")


def _k(a: bytes, r: bytes, message: bytes) -> int:
    return ed25519.challenge(r, a, message)


def _case(name: str, kind: str, a: Known, r: Known, response: int, message: bytes) -> Case:
    """Decide a case by numbers and by points, which must agree."""
    k = _k(a.encoded, r.encoded, message)
    holds = (response - k * a.scalar - r.scalar) % L == 0 and response < L
    # What is left over in the group of eight, without the cofactor.
    whole = holds and (k * a.torsion + r.torsion) % 8 == 0
    good_key = a.canonical and a.torsion == 0 and a.scalar != 0
    accept = holds and good_key and r.canonical
    signature = r.encoded + _bytes(response)
    assert (key_check(a.encoded) is None) is good_key, name
    assert ed25519.verify(a.encoded, signature, message) is accept if good_key else not accept, name
    return Case(
        name,
        kind,
        a.encoded,
        signature,
        message,
        key_check(a.encoded),
        accept,
        zip215=holds,
        ref10=whole and r.canonical,
    )


def _plain(name: str, kind: str, a: bytes, signature: bytes, message: bytes) -> Case:
    """Decide a case of which nothing is known but its bytes: by the twin alone."""
    return Case(name, kind, a, signature, message, key_check(a), ed25519.verify(a, signature, message))


# --- Points of small order. ---


def _small_order() -> list[tuple[Known, list[Known]]]:
    """Return the eight points of small order as bytes in ascending order, each with its other encodings."""
    points = sorted((known(0, i) for i in range(8)), key=lambda point: point.encoded)
    return [(point, _other_encodings(point)) for point in points]


def _other_encodings(point: Known) -> list[Known]:
    """Return what a decoder that reduces y and drops the sign of x = 0 takes for the same point."""
    value = int.from_bytes(point.encoded, "little")
    sign, y = value >> 255, value % 2**255
    signs = (0, 1) if point.torsion in (0, 4) else (sign,)  # x is zero for the identity and for the point of order two
    ys = [y, y + P] if y + P < 2**255 else [y]
    encodings = [_bytes(each | one << 255) for each in ys for one in signs]
    return [Known(each, 0, point.torsion, canonical=False) for each in encodings if each != point.encoded]


def _low_order() -> Iterator[Case]:
    """All combinations, as the public set orders them; of the values of k modulo 8 one for each kind of residue."""
    seed = 0x42
    secret = int.from_bytes(bytes([seed]) * 32, "little") & (2**254 - 8) | 2**254
    nonce = int.from_bytes(b"\x13\x37" * 32, "little") % L
    points = _small_order()
    number = 0
    for low_a, others_a in points:
        for low_r, others_r in points:
            whole_a, whole_r = known(secret, low_a.torsion), known(nonce, low_r.torsion)
            shapes = [(a, r, False) for a in (low_a, whole_a) for r in (low_r, whole_r)]
            for a in others_a:
                shapes += [(a, low_r, False), (a, whole_r, False), (a, whole_r, True)]
            for r in others_r:
                shapes += [(low_a, r, False), (whole_a, r, False), (whole_a, r, True)]
            shapes += [(a, r, False) for a in others_a for r in others_r]
            for a, r, again in shapes:
                for case in _residues(a, r, (low_a, low_r) if again else None):
                    yield _numbered(case, number)
                    number += 1


def _numbered(case: Case, number: int) -> Case:
    fields = {field: getattr(case, field) for field in Case.__dataclass_fields__}
    return Case(**{**fields, "name": f"{number}: {case.name}"})


def _residues(a: Known, r: Known, canonical: tuple[Known, Known] | None) -> Iterator[Case]:
    """Yield a case whose torsion cancels and one whose torsion does not, those of them that there are.

    With `canonical` the signer hashed the canonical encodings, which no verifier does.
    """
    hashed_a, hashed_r = a.encoded, r.encoded
    if canonical is not None:
        hashed_a = a.encoded if a.canonical else canonical[0].encoded
        hashed_r = r.encoded if r.canonical else canonical[1].encoded
    found: set[bool] = set()
    for remainder in range(8):
        trial, message = 0, b"ed25519vectors"
        while (k := _k(hashed_a, hashed_r, message)) % 8 != remainder:
            trial += 1
            message = b"ed25519vectors %d" % trial
        residue = (k * a.torsion + r.torsion) % 8 != 0
        if residue in found:
            continue
        found.add(residue)
        hashing = "" if canonical is None else ", k of the canonical bytes"
        left = "torsion left" if residue else "no torsion left"
        name = f"A {_shape(a)}, R {_shape(r)}, {left}{hashing}"
        yield _case(
            name, _low_order_kind(a, r, again=canonical is not None), a, r, (k * a.scalar + r.scalar) % L, message
        )


def _shape(point: Known) -> str:
    body = "" if point.scalar == 0 else "honest + "
    return f"{body}T{point.torsion}{'' if point.canonical else ' not canonical'}"


def _low_order_kind(a: Known, r: Known, *, again: bool) -> str:
    if not a.canonical:
        return "A not canonical"
    if a.scalar == 0:
        return "A of small order"
    if a.torsion:
        return "A of mixed order"
    if not r.canonical:
        return "A good, R not canonical" + (", k of the canonical bytes" if again else "")
    return "A good, R honest" if r.torsion == 0 and r.scalar else "A good, R with torsion"


def _grid() -> Iterator[Case]:
    encodings = [each for point, others in _small_order() for each in (point, *others)]
    for a in encodings:
        for r in encodings:
            kind = "A not canonical" if not a.canonical else "A of small order"
            yield _case(f"A {a.encoded.hex()}, R {r.encoded.hex()}", kind, a, r, 0, b"Zcash")


# --- The twelve of the paper. ---


def _speccheck() -> Iterator[Case]:
    secret, nonce = _number("speccheck secret"), _number("speccheck nonce")
    other_two = next(each for point, others in _small_order() for each in others if point.torsion == 4)
    two = known(0, 4)

    def find(
        a: Known, r: Known, *, hashed: tuple[Known, Known] | None = None, whole: bool, carried: bool = False
    ) -> tuple[bytes, int]:
        """Search a message; the response that solves the equation for the k that was hashed goes with it."""
        hashed_a, hashed_r = hashed or (a, r)
        for trial in range(10_000):
            message = hashlib.sha256(b"speccheck %d" % trial).digest()
            k = _k(hashed_a.encoded, hashed_r.encoded, message)
            if ((k * a.torsion + r.torsion) % 8 == 0) is whole and (not carried or (8 * k % L) % 8 != 0):
                return message, (k * a.scalar + r.scalar) % L
        raise AssertionError

    def case(number: int, text: str, a: Known, r: Known, message: bytes, response: int) -> Case:
        return _case(f"{number}: {text}", f"speccheck {number}", a, r, response, message)

    yield case(
        0, "A and R of small order, S = 0", known(0, 1), known(0, 7), *find(known(0, 1), known(0, 7), whole=True)
    )
    a, r = known(0, 1), known(nonce, 3)
    yield case(1, "A of small order", a, r, *find(a, r, whole=True))
    a, r = known(secret, 1), known(0, 5)
    yield case(2, "R of small order, A mixed", a, r, *find(a, r, whole=True))
    a, r = known(secret, 1), known(nonce, 3)
    yield case(3, "A and R mixed, torsion cancels", a, r, *find(a, r, whole=True))
    yield case(4, "A and R mixed, torsion left", a, r, *find(a, r, whole=False))
    a, r = known(secret, 1), known(nonce)
    yield case(
        5, "A mixed, fails where 8 k is reduced before it multiplies", a, r, *find(a, r, whole=False, carried=True)
    )
    a, r = known(secret), known(nonce)
    message, response = find(a, r, whole=True)
    yield case(6, "S + L", a, r, message, response + L)
    yield case(7, "S + 15 L, above 2^255", a, r, message, response + 15 * L)
    a = known(secret, 4)
    yield case(
        8,
        "R not canonical, hashed in its canonical form",
        a,
        other_two,
        *find(a, other_two, hashed=(a, two), whole=True),
    )
    yield case(9, "R not canonical, hashed as it is", a, other_two, *find(a, other_two, whole=True))
    r = known(nonce, 4)
    yield case(
        10,
        "A not canonical, hashed in its canonical form",
        other_two,
        r,
        *find(other_two, r, hashed=(two, r), whole=True),
    )
    yield case(11, "A not canonical, hashed as it is", other_two, r, *find(other_two, r, whole=True))


# --- Families. ---

LENGTHS: Final = (0, 1, 2, 4, 5, 6, 12, 16, 22, 31, 32, 47, 48, 63, 64, 65, 95, 96, 127, 128, 192, 296, 511, 1023)


def _honest(label: str, message: bytes, name: str, kind: str) -> Case:
    secret = hashlib.sha256(b"clearspan vectors ed25519 " + label.encode()).digest()
    key, signature = ed25519.public_key(secret), ed25519.sign(secret, message)
    assert ed25519.verify(key, signature, message)
    return Case(name, kind, key, signature, message, None, True, secret=secret)


def _families() -> Iterator[Case]:
    for length in LENGTHS:
        message = hashlib.shake_256(b"message %d" % length).digest(length)
        yield _honest("valid", message, f"valid, {length} bytes", "valid")
    for i in range(32):
        yield _honest(f"arithmetic {i}", hashlib.shake_128(b"%d" % i).digest(20), f"arithmetic, key {i}", "valid")
    yield from _special_values()
    yield from _wrong_lengths()
    yield from _bent_commitments()
    yield from _bent_responses()
    yield from _odd_bytes()
    yield from _searched()
    yield from _keys_of_nobody()


def _special_values() -> Iterator[Case]:
    a = known(_number("special"))
    ys = {"0": 0, "1": 1, "p - 1": P - 1, "p": P, "p + 1": P + 1, "2^255 - 1": 2**255 - 1, "L": L, "L - 1": L - 1}
    responses = {"0": 0, "1": 1, "L - 1": L - 1, "L": L, "L + 1": L + 1, "2^253": 2**253, "2^256 - 1": 2**256 - 1}
    for r_name, r in ys.items():
        for s_name, s in responses.items():
            yield _plain(f"R = {r_name}, S = {s_name}", "special values", a.encoded, _bytes(r) + _bytes(s), b"?")


def _base_case() -> tuple[Known, Known, int, bytes]:
    """Return A, R, S and message of an honest signature whose logarithms are known."""
    a, r, message = known(_number("bent")), known(_number("bent nonce")), b"123400"
    return a, r, (_k(a.encoded, r.encoded, message) * a.scalar + r.scalar) % L, message


def _wrong_lengths() -> Iterator[Case]:
    a, r, s, message = _base_case()
    signature = r.encoded + _bytes(s)
    shapes = {
        "empty": b"",
        "S missing": signature[:32],
        "a byte too short": signature[:63],
        "two bytes too short": signature[:62],
        "a zero byte behind": signature + b"\0",
        "two bytes behind": signature + b"\x20\x20",
        "the key behind": signature + a.encoded,
        "a zero byte before": b"\0" + signature,
        "a zero byte before S": signature[:32] + b"\0" + signature[32:],
        "hexadecimal": signature.hex().encode(),
    }
    for name, shape in shapes.items():
        yield Case(f"signature: {name}", "wrong length", a.encoded, shape, message, None, accept=False)


def _bent_commitments() -> Iterator[Case]:
    a, r, s, message = _base_case()
    honest = _case("honest, of known logarithms", "valid", a, r, s, message)
    assert honest.accept
    yield honest
    value = int.from_bytes(r.encoded, "little")
    for bit in (0, 1, 2, 7, 8, 16, 31, 32, 63, 64, 97, 127, 128, 191, 192, 240, 247, 248, 253, 254, 255):
        signature = _bytes(value ^ 1 << bit) + _bytes(s)
        yield _plain(f"bit {bit} of R", "R bent", a.encoded, signature, message)
    yield _case("R negated", "R bent", a, known(-r.scalar), s, message)
    yield _plain("R complemented", "R bent", a.encoded, _bytes(value ^ (2**256 - 1)) + _bytes(s), message)
    yield _plain("R reversed", "R bent", a.encoded, r.encoded[::-1] + _bytes(s), message)
    yield _case("R doubled", "R bent", a, known(2 * r.scalar), s, message)
    yield _case("R is A", "R bent", a, a, s, message)
    for torsion in range(1, 8):
        bent = known(r.scalar, torsion)
        solved = (_k(a.encoded, bent.encoded, message) * a.scalar + r.scalar) % L
        yield _case(f"R + T{torsion}, S for it", "R with torsion", a, bent, solved, message)
        yield _case(f"R + T{torsion}, S as before", "R bent", a, bent, s, message)


def _bent_responses() -> Iterator[Case]:
    a, r, s, message = _base_case()
    for multiple in range(1, 16):
        yield _case(f"S + {multiple} L", "S not below L", a, r, s + multiple * L, message)
    for name, bent in {
        "S + 2^253": s + 2**253,
        "S + 2^254": s + 2**254,
        "S + 2^255": s + 2**255,
        "S + p": s + P,
        "S of all ones": 2**256 - 1,
    }.items():
        yield _case(name, "S not below L", a, r, bent, message)
    for name, bent in {
        "S + 1": s + 1,
        "S - 1": s - 1,
        "S negated": L - s,
        "S + 8": s + 8,
        "S + 2^128": (s + 2**128) % L,
        "S = 0": 0,
        "S halved": s * pow(2, -1, L) % L,
    }.items():
        yield _case(name, "S bent", a, r, bent, message)


def _odd_bytes() -> Iterator[Case]:
    a, r, s, message = _base_case()
    signature = r.encoded + _bytes(s)
    halves = {"R and S swapped": signature[32:] + signature[:32], "S reversed": r.encoded + signature[32:][::-1]}
    halves |= {"all zeros": bytes(64), "all ones": b"\xff" * 64, "all reversed": signature[::-1]}
    halves |= {"the same half twice": r.encoded * 2, "the key in place of R": a.encoded + _bytes(s)}
    for name, bent in halves.items():
        yield _plain(name, "odd bytes", a.encoded, bent, message)
    for name, text in {"one byte more": message + b"0", "one byte less": message[:-1], "none": b""}.items():
        yield _case(f"message: {name}", "another message", a, r, s, text)
    yield _case("another key", "another key", known(a.scalar + 1), r, s, message)
    yield _case("the key negated", "another key", known(-a.scalar), r, s, message)


def _searched() -> Iterator[Case]:
    """Responses and challenges as close to their bounds as a quarter of a million trials bring them; all good."""
    a, r = known(_number("searched")), known(_number("searched nonce"))

    def found(value: str) -> tuple[bytes, bytes, bytes, bytes]:
        best: dict[str, tuple[int, bytes]] = {}
        for trial in range(SEARCHES):
            message = b"%d" % trial
            k = _k(a.encoded, r.encoded, message)
            measured = k if value == "k" else (k * a.scalar + r.scalar) % L
            if "low" not in best or measured < best["low"][0]:
                best["low"] = (measured, message)
            if "high" not in best or measured > best["high"][0]:
                best["high"] = (measured, message)
            low_limb = measured % 2**64
            for name, distance in (("limb 0 low", low_limb), ("limb 0 high", 2**64 - low_limb)):
                if name not in best or distance < best[name][0]:
                    best[name] = (distance, message)
        return tuple(best[name][1] for name in ("low", "high", "limb 0 low", "limb 0 high"))  # type: ignore[return-value]

    for value in ("S", "k"):
        names = ("low", "close to L", "with a low limb near 0", "with a low limb near 2^64")
        for name, message in zip(names, found(value), strict=True):
            s = (_k(a.encoded, r.encoded, message) * a.scalar + r.scalar) % L
            yield _case(f"{value} {name}", "extreme S or k", a, r, s, message)


def _keys_of_nobody() -> Iterator[Case]:
    """The first encodings from both ends of the range of y: each with its fault, or a key whose secret nobody knows."""
    signature, message = known(1).encoded + _bytes(1), b"nobody"
    for y in (*range(2, 26), *range(P - 26, P - 1)):
        for sign in (0, 1):
            encoded = _bytes(y | sign << 255)
            yield _plain(
                f"key y = {y if y < P // 2 else f'p - {P - y}'}, sign {sign}",
                "key of no known secret",
                encoded,
                signature,
                message,
            )


# --- RFC 8032. ---

# Section 7.1: name, secret, message; keys and signatures are derived.
RFC_8032: Final = {
    "TEST 1": ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", ""),
    "TEST 2": ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "72"),
    "TEST 3": ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", "af82"),
    "TEST SHA(abc)": (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        hashlib.sha512(b"abc").hexdigest(),
    ),
}


def _rfc8032() -> Iterator[Case]:
    published = {**RFC_8032, "TEST 1024": (TEST_1024_SECRET, TEST_1024_MESSAGE)}
    for name, (secret_text, message_text) in published.items():
        secret, message = bytes.fromhex(secret_text), bytes.fromhex(message_text)
        key, signature = ed25519.public_key(secret), ed25519.sign(secret, message)
        assert ed25519.verify(key, signature, message)
        yield Case(f"RFC 8032 {name}", "RFC 8032", key, signature, message, None, accept=True, secret=secret)


TEST_1024_SECRET: Final = "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5"
TEST_1024_MESSAGE: Final = (
    "08b8b2b733424243760fe426a4b54908632110a66c2f6591eabd3345e3e4eb98fa6e264bf09efe12ee50f8f54e9f77b1e355f6c50544e2"
    "3fb1433ddf73be84d879de7c0046dc4996d9e773f4bc9efe5738829adb26c81b37c93a1b270b20329d658675fc6ea534e0810a4432826b"
    "f58c941efb65d57a338bbd2e26640f89ffbc1a858efcb8550ee3a5e1998bd177e93a7363c344fe6b199ee5d02e82d522c4feba15452f80"
    "288a821a579116ec6dad2b3b310da903401aa62100ab5d1a36553e06203b33890cc9b832f79ef80560ccb9a39ce767967ed628c6ad573c"
    "b116dbefefd75499da96bd68a8a97b928a8bbc103b6621fcde2beca1231d206be6cd9ec7aff6f6c94fcd7204ed3455c68c83f4a41da4af"
    "2b74ef5c53f1d8ac70bdcb7ed185ce81bd84359d44254d95629e9855a94a7c1958d1f8ada5d0532ed8a5aa3fb2d17ba70eb6248e594e1a"
    "2297acbbb39d502f1a8c6eb6f1ce22b3de1a1f40cc24554119a831a9aad6079cad88425de6bde1a9187ebb6092cf67bf2b13fd65f27088"
    "d78b7e883c8759d2c4f5c65adb7553878ad575f9fad878e80a0c9ba63bcbcc2732e69485bbc9c90bfbd62481d9089beccf80cfe2df16a2"
    "cf65bd92dd597b0707e0917af48bbb75fed413d238f5555a7a569d80c3414a8d0859dc65a46128bab27af87a71314f318c782b23ebfe80"
    "8b82b0ce26401d2e22f04d83d1255dc51addd3b75a2b1ae0784504df543af8969be3ea7082ff7fc9888c144da2af58429ec96031dbcad3"
    "dad9af0dcbaaaf268cb8fcffead94f3c7ca495e056a9b47acdb751fb73e666c6c655ade8297297d07ad1ba5e43f1bca32301651339e229"
    "04cc8c42f58c30c04aafdb038dda0847dd988dcda6f3bfd15c4b4c4525004aa06eeff8ca61783aacec57fb3d1f92b0fe2fd1a85f672451"
    "7b65e614ad6808d6f6ee34dff7310fdc82aebfd904b01e1dc54b2927094b2db68d6f903b68401adebf5a7e08d78ff4ef5d63653a65040c"
    "f9bfd4aca7984a74d37145986780fc0b16ac451649de6188a7dbdf191f64b5fc5e2ab47b57f7f7276cd419c17a3ca8e1b939ae49e488ac"
    "ba6b965610b5480109c8b17b80e1b7b750dfc7598d5d5011fd2dcc5600a32ef5b52a1ecc820e308aa342721aac0943bf6686b64b257937"
    "6504ccc493d97e6aed3fb0f9cd71a43dd497f01f17c0e2cb3797aa2a2f256656168e6c496afc5fb93246f6b1116398a346f1a641f3b041"
    "e989f7914f90cc2c7fff357876e506b50d334ba77c225bc307ba537152f3f1610e4eafe595f6d9d90d11faa933a15ef1369546868a7f3a"
    "45a96768d40fd9d03412c091c6315cf4fde7cb68606937380db2eaaa707b4c4185c32eddcdd306705e4dc1ffc872eeee475a64dfac86ab"
    "a41c0618983f8741c5ef68d3a101e8a3b8cac60c905c15fc910840b94c00a0b9d0"
)

# --- Files. ---

FILES: Final = {
    "rfc8032": (_rfc8032, "RFC 8032, section 7.1: the published secrets and messages, keys and signatures derived"),
    "low_order": (_low_order, "make_ed25519.py; the cases of C2SP/CCTV, derived from their description"),
    "grid": (_grid, "make_ed25519.py; the grid of small order of ZIP 215"),
    "speccheck": (_speccheck, "make_ed25519.py; the twelve properties of the ed25519-speccheck paper, keys of our own"),
    "families": (_families, "make_ed25519.py; the families of Project Wycheproof, keys of our own"),
}


def text_of(name: str) -> str:
    """Return the text of one file."""
    make, origin = FILES[name]
    return render(origin, list(make()))


def main() -> None:
    """Write all files."""
    for name in FILES:
        (TARGET / f"{name}.json").write_text(text_of(name), encoding="ascii")


if __name__ == "__main__":
    main()
