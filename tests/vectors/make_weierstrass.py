"""Writes the vector files of SM2 and of P-256: python -m tests.vectors.make_weierstrass

sm2/families.json and p256/families.json hold the same families for both suites: the special values, ranges, extremes of
scalars, digests and keys of Project Wycheproof's P-256 set, under keys of our own; p256 adds the examples of RFC 6979.
(sm2/cases.json, which carries the example of GB/T 32918.5, annex A, has a generator of its own beside it.)

Every verdict is computed twice. The twin adds multiples of two points. The generator has made the case either from a
secret, so that it knows the discrete logarithm k of the sum and compares the x of k G, or from the sum itself, out of
which it computed the key; both say by plain numbers whether the case is good. Everything derives from fixed labels, so
two runs write the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from native.twins import p256, sm2
from native.twins.hashing import sm3
from tests.vectors.signature_files import FOLDER, Case, render

__all__ = ["CURVES", "Suite", "main", "text_of"]

Pair = tuple[int, int]
Triple = tuple[int, int, int]
LENGTHS: Final = (0, 1, 22, 23, 31, 32, 55, 56, 63, 64, 65, 119, 120, 128, 192, 500, 1023)
WORDS: Final = (0, 2**32 - 1, 1, 0x80000000)


@dataclass(frozen=True, slots=True)
class Suite:
    """What the two suites have in common, and where they part: the equation and the range of s."""

    name: str
    twin: object
    prime: int
    order: int
    curve_a: int
    curve_b: int
    generator: Pair
    s_max: int

    def multiply(self, scalar: int, point: Pair | None) -> Pair | None:
        """Multiply in Jacobian coordinates, which the twin does not use."""
        if point is None:
            return None
        total = (1, 1, 0)
        for bit in f"{scalar % self.order:b}":
            total = self._double(total)
            if bit == "1":
                total = self._sum(total, (*point, 1))
        return self._affine(total)

    def add(self, left: Pair | None, right: Pair | None) -> Pair | None:
        if left is None or right is None:
            return left or right
        return self._affine(self._sum((*left, 1), (*right, 1)))

    def _double(self, a: Triple) -> Triple:
        x, y, z = a
        p = self.prime
        if z == 0 or y == 0:
            return 1, 1, 0
        delta, gamma = z * z % p, y * y % p
        beta, alpha = x * gamma % p, 3 * (x - delta) * (x + delta) % p
        out_x = (alpha * alpha - 8 * beta) % p
        return out_x, (alpha * (4 * beta - out_x) - 8 * gamma * gamma) % p, ((y + z) ** 2 - gamma - delta) % p

    def _sum(self, a: Triple, b: Triple) -> Triple:
        if a[2] == 0 or b[2] == 0:
            return b if a[2] == 0 else a
        p = self.prime
        square_a, square_b = a[2] * a[2] % p, b[2] * b[2] % p
        left, right = a[0] * square_b % p, b[0] * square_a % p
        upper, lower = a[1] * square_b * b[2] % p, b[1] * square_a * a[2] % p
        if left == right:
            return self._double(a) if upper == lower else (1, 1, 0)
        h, r = (right - left) % p, (lower - upper) % p
        cube = h * h * h % p
        out_x = (r * r - cube - 2 * left * h * h) % p
        return out_x, (r * (left * h * h - out_x) - upper * cube) % p, h * a[2] * b[2] % p

    def _affine(self, a: Triple) -> Pair | None:
        if a[2] == 0:
            return None
        inverse = pow(a[2], -1, self.prime)
        return a[0] * inverse**2 % self.prime, a[1] * inverse**3 % self.prime

    def key_check(self, key: bytes) -> str | None:
        return self.twin.key_check(key)  # type: ignore[attr-defined]

    def verify(self, key: bytes, signature: bytes, digest: bytes) -> bool:
        return self.twin.verify_digest(key, signature, digest)  # type: ignore[attr-defined]

    def digest(self, key: bytes, message: bytes) -> bytes:
        """Return e of a message: SM2 hashes Z, which depends on the key, before it."""
        return sm3(sm2.z_value(key) + message) if self.name == "sm2" else hashlib.sha256(message).digest()

    def in_range(self, r: int, s: int) -> bool:
        return 1 <= r < self.order and 1 <= s <= self.s_max and (self.name != "sm2" or (r + s) % self.order != 0)

    def logarithm(self, r: int, s: int, e: int, d: int) -> int:
        """Return k for which the sum of the verification is k G, given the secret."""
        if self.name == "sm2":
            return (s + (r + s) * d) % self.order
        inverse = pow(s, -1, self.order)
        return (e * inverse + r * inverse * d) % self.order

    def fits(self, r: int, e: int, x: int) -> bool:
        """Say whether r is the one of a sum with this x."""
        return ((e + x) if self.name == "sm2" else x) % self.order == r

    def solve(self, key: Pair, a: int, b: int) -> tuple[int, int, int]:
        """Return r, s and e of the good signature under a key that makes the sum a G + b Q."""
        point = self.add(self.multiply(a, self.generator), self.multiply(b, key))
        assert point is not None
        return self.solve_sum(point, a, b)

    def solve_sum(self, point: Pair, a: int, b: int) -> tuple[int, int, int]:
        """Return the same where the sum is known to be this point."""
        n = self.order
        if self.name == "sm2":
            r = (b - a) % n
            return r, a % n, (r - point[0]) % n
        r = point[0] % n
        s = r * pow(b, -1, n) % n
        if s > self.s_max:  # the sum of -a and -b has the same x
            return r, n - s, -a * (n - s) % n
        return r, s, a * s % n

    def key_for(self, point: Pair, r: int, s: int, e: int) -> Pair | None:
        """Return the key under which r, s and e make this very point."""
        n = self.order
        if self.name == "sm2":
            rest = self.add(point, self.multiply(-s, self.generator))
            return self.multiply(pow(r + s, -1, n), rest)
        rest = self.add(self.multiply(s, point), self.multiply(-e, self.generator))
        return self.multiply(pow(r, -1, n), rest)

    def y_of(self, x: int) -> int | None:
        square = (x**3 + self.curve_a * x + self.curve_b) % self.prime
        y = pow(square, (self.prime + 1) // 4, self.prime)
        return y if y * y % self.prime == square else None

    def point_from(self, x: int, step: int = 1) -> Pair:
        """Return the first point whose x is this one or comes after it."""
        while True:
            y = self.y_of(x)
            if y is not None:
                return x, y
            x += step

    def point_with_y(self, y: int) -> Pair:
        """Return a point whose y is this one or comes after it: the one root of the cubic where it has just one."""
        while True:
            f = (self.curve_b - y * y, self.curve_a)  # x^3 + a x + (b - y^2), the lowest coefficient first
            power = (0, 1, 0)  # x, and then x^p modulo the cubic, by squaring and multiplying by x
            for bit in f"{self.prime:b}"[1:]:
                power = self._reduced(power, power, f)
                if bit == "1":
                    power = self._reduced(power, (0, 1, 0), f)
            # The greatest common divisor of x^p - x and the cubic holds its roots; here only where it is of degree one.
            c, b, a = power[0], (power[1] - 1) % self.prime, power[2]
            if a:
                inverse = pow(a, -1, self.prime)
                b, c = b * inverse % self.prime, c * inverse % self.prime
                # The cubic modulo x^2 + b x + c.
                slope, rest = (f[1] - c + b * b) % self.prime, (f[0] + b * c) % self.prime
                if slope:
                    x = -rest * pow(slope, -1, self.prime) % self.prime
                    if self.y_of(x) in {y, self.prime - y}:
                        return x, y
            y += 1

    def _reduced(self, a: Triple, b: Triple, f: Pair) -> Triple:
        """Return the product of two polynomials modulo x^3 + f[1] x + f[0]."""
        wide = [sum(a[i] * b[at - i] for i in range(3) if 0 <= at - i < 3) for at in range(5)]
        for at in (4, 3):
            wide[at - 2] -= wide[at] * f[1]
            wide[at - 3] -= wide[at] * f[0]
        return wide[0] % self.prime, wide[1] % self.prime, wide[2] % self.prime

    def number(self, label: object) -> int:
        digest = hashlib.sha512(f"clearspan vectors {self.name} {label}".encode()).digest()
        return int.from_bytes(digest, "big") % (self.order - 2) + 1


CURVES: Final = {
    "sm2": Suite("sm2", sm2, sm2.FIELD, sm2.ORDER, sm2.FIELD - 3, sm2.CURVE_B, sm2.GENERATOR, sm2.ORDER - 1),
    "p256": Suite(
        "p256", p256, p256.FIELD, p256.ORDER, p256.FIELD - 3, p256.CURVE_B, p256.GENERATOR, (p256.ORDER - 1) // 2
    ),
}


def _bytes(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _pair(x: int, y: int) -> bytes:
    return _bytes(x) + _bytes(y)


class Maker:
    """Makes cases of one suite and decides each in both ways."""

    def __init__(self, suite: Suite) -> None:
        """Make cases of this suite."""
        self.suite = suite

    def by_secret(
        self, name: str, kind: str, d: int, r: int, s: int, *, message: bytes | None = None, e: int = 0
    ) -> Case:
        """Decide a case under a key whose secret is known; the digest is e where there is no message."""
        suite = self.suite
        point = suite.multiply(d, suite.generator)
        assert point is not None
        key = _pair(*point)
        digest = _bytes(e) if message is None else suite.digest(key, message)
        e = int.from_bytes(digest, "big")
        accept = False
        if suite.in_range(r, s):
            total = suite.multiply(suite.logarithm(r, s, e, d), suite.generator)
            accept = total is not None and suite.fits(r, e, total[0])
        return self._case(name, kind, key, r, s, message, digest, accept=accept)

    def by_sum(
        self,
        name: str,
        kind: str,
        point: Pair,
        r: int,
        s: int,
        *,
        message: bytes | None = None,
        e: int = 0,
        offset: int = 0,
    ) -> Case:
        """Decide a case whose key is made so that the sum is this point, with an r that is off by an offset."""
        suite = self.suite
        if message is not None:
            assert suite.name == "p256", "the digest of SM2 depends on the key"
            e = int.from_bytes(hashlib.sha256(message).digest(), "big")
        written = r + offset
        key = suite.key_for(point, written % suite.order, s % suite.order, e)
        assert key is not None
        accept = suite.in_range(written, s) and suite.fits(written, e, point[0])
        assert accept is False or offset == 0
        return self._case(name, kind, _pair(*key), written, s, message, _bytes(e), accept=accept)

    def by_scalars(self, name: str, kind: str, key: Pair, a: int, b: int) -> Case:
        """A good signature whose two scalars are these; nobody needs to know a secret for it."""
        r, s, e = self.suite.solve(key, a, b)
        return self._case(name, kind, _pair(*key), r, s, None, _bytes(e), accept=self.suite.in_range(r, s))

    def plain(self, name: str, kind: str, key: bytes, signature: bytes, message: bytes) -> Case:
        """Decide a case of which only the bytes are known: the twin alone."""
        fault = self.suite.key_check(key)
        accept = (
            fault is None
            and len(signature) == 64
            and self.suite.verify(key, signature, self.suite.digest(key, message))
        )
        return Case(name, kind, key, signature, message, fault, accept)

    def signed(self, name: str, kind: str, d: int, message: bytes) -> Case:
        """The deterministic signature of a secret."""
        secret = _bytes(d)
        if self.suite.name == "sm2":
            key = sm2.public_key(secret)
            signature = sm2.sign(secret, key, message)
        else:
            key = p256.public_key(secret)
            signature = p256.sign(secret, message)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        case = self.by_secret(name, kind, d, r, s, message=message)
        assert case.accept
        assert case.public_key == key
        return Case(name, kind, key, signature, message, None, accept=True, secret=secret)

    def _case(
        self, name: str, kind: str, key: bytes, r: int, s: int, message: bytes | None, digest: bytes, *, accept: bool
    ) -> Case:
        signature = _bytes(r) + _bytes(s)
        fault = self.suite.key_check(key)
        assert fault is None, name
        assert self.suite.verify(key, signature, digest) is accept, name
        return Case(name, kind, key, signature, message, fault, accept, digest=digest if message is None else None)


def cases(suite: Suite) -> Iterator[Case]:
    """Yield all families of a suite."""
    maker = Maker(suite)
    if suite.name == "p256":
        yield from _rfc6979(maker)
    families = (_valid, _special_values, _ranges, _bent, _lengths, _keys, _scalars, _coincidences, _digests, _sums)
    for family in (*families, _key_edges, _small_y):
        yield from family(maker)
    if suite.name == "sm2":
        yield from _small_r_large_e(maker)


def _rfc6979(maker: Maker) -> Iterator[Case]:
    """RFC 6979, A.2.5, with SHA-256: what it prints, and the other s; the rule takes the lower one of the two."""
    d = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    for message in (b"sample", b"test"):
        case = maker.signed(f"RFC 6979 A.2.5 {message.decode()}, lower s", "RFC 6979", d, message)
        yield case
        r, s = int.from_bytes(case.signature[:32], "big"), int.from_bytes(case.signature[32:], "big")
        yield maker.by_secret(
            f"RFC 6979 A.2.5 {message.decode()}, higher s", "s too high", d, r, maker.suite.order - s, message=message
        )


def _valid(maker: Maker) -> Iterator[Case]:
    for length in LENGTHS:
        message = hashlib.shake_128(b"message %d" % length).digest(length)
        yield maker.signed(f"valid, {length} bytes", "valid", maker.suite.number(f"valid {length}"), message)
    for d in (1, 2, 3, maker.suite.order - 2, 2**64, 2**128 + 1, 2**255):
        name = f"n - {maker.suite.order - d}" if d > 2**255 else str(d)
        yield maker.signed(f"valid, secret {name}", "valid", d, b"a secret with few bits")


def _special_values(maker: Maker) -> Iterator[Case]:
    suite = maker.suite
    values = {"0": 0, "1": 1, "(n - 1) / 2": suite.order // 2, "n - 1": suite.order - 1, "n": suite.order}
    values |= {"n + 1": suite.order + 1, "p": suite.prime, "p + 1": suite.prime + 1, "2^256 - 1": 2**256 - 1}
    d = suite.number("special values")
    for r_name, r in values.items():
        for s_name, s in values.items():
            yield maker.by_secret(f"r = {r_name}, s = {s_name}", "special values", d, r, s, message=b"123400")


def _ranges(maker: Maker) -> Iterator[Case]:
    """Good equations whose numbers stand at the ends of their ranges, or outside as another form of a number inside."""
    suite, n = maker.suite, maker.suite.order
    e = suite.number("ranges e")
    for name, s in {
        "1": 1, "2": 2, "3": 3, "2^64": 2**64, "2^128": 2**128, "(n - 1) / 2": n // 2, "(n + 1) / 2": n // 2 + 1,
        "n - 2^128": n - 2**128, "n - 3": n - 3, "n - 2": n - 2, "n - 1": n - 1,
    }.items():  # fmt: skip
        point = suite.point_from(suite.number(f"s = {name}"))
        r = (e + point[0] if suite.name == "sm2" else point[0]) % n
        yield maker.by_sum(f"s = {name}, the equation holds", "bounds of s", point, r, s, e=e)
    for x in (1, 6, 2**32, 2**64, 2**128 - 1, suite.prime - n - 40):
        point = suite.point_from(x)
        e_small = 3 if suite.name == "sm2" else e
        r = (e_small + point[0] if suite.name == "sm2" else point[0]) % n
        s = suite.number("small r") // 2
        yield maker.by_sum(f"r = {r:#x}, small, the equation holds", "small r", point, r, s, e=e_small)
        yield maker.by_sum(f"r = {r:#x} + 1", "r off", point, r, s, e=e_small, offset=1)
        if r + n < 2**256:
            yield maker.by_sum(f"r = {r:#x} + n", "r or s not below n", point, r, s, e=e_small, offset=n)
        if r + suite.prime - n < n:
            # Where x + n is not held below p, it comes round to the x of the sum.
            yield maker.by_sum(f"r = {r:#x} + p - n", "r off", point, r, s, e=e_small, offset=suite.prime - n)
    d = suite.number("small s")
    for a in (1, 7, 2**64):
        if suite.name == "sm2":
            r, s, own = suite.solve(suite.multiply(d, suite.generator), a, suite.number("t of a small s"))  # type: ignore[arg-type]
        else:  # the nonce that makes s small
            r = suite.multiply(suite.number("k of a small s"), suite.generator)[0] % n  # type: ignore[index]
            s = a
            own = (suite.number("k of a small s") * s - r * d) % n
        yield maker.by_secret(f"s = {a} under a known secret", "bounds of s", d, r, s, e=own)
        yield maker.by_secret(f"s = {a} + n", "r or s not below n", d, r, s + n, e=own)
    if suite.name == "sm2":
        for label in range(3):
            r = suite.number(f"t = 0, {label}")
            s = n - r
            total = suite.multiply(s, suite.generator)
            assert total is not None
            yield maker.by_secret(f"t = 0, {label}: s G alone would fit", "t = 0", d, r, s, e=(r - total[0]) % n)


def _honest(maker: Maker) -> tuple[int, int, int, bytes]:
    d, message = maker.suite.number("bent"), b"a message and its signature"
    case = maker.signed("honest", "valid", d, message)
    return d, int.from_bytes(case.signature[:32], "big"), int.from_bytes(case.signature[32:], "big"), message


def _bent(maker: Maker) -> Iterator[Case]:
    n = maker.suite.order
    d, r, s, message = _honest(maker)
    values = {
        "s negated": (r, n - s), "r negated": (n - r, s), "both negated": (n - r, n - s), "swapped": (s, r),
        "r + 1": (r + 1, s), "r - 1": (r - 1, s), "s + 1": (r, s + 1), "s - 1": (r, s - 1), "s inverted": (r, pow(s, -1, n)),
        "r doubled": (2 * r % n, s), "s doubled": (r, 2 * s % n), "s halved": (r, s * pow(2, -1, n) % n),
    }  # fmt: skip
    for name, (bent_r, bent_s) in values.items():
        yield maker.by_secret(f"bent: {name}", "bent", d, bent_r, bent_s, message=message)
    for name, text in {"one byte more": message + b"\0", "one byte less": message[:-1], "none": b""}.items():
        yield maker.by_secret(f"another message: {name}", "another message", d, r, s, message=text)
    for name, other in {"d + 1": d + 1, "n - d": n - d, "1": 1}.items():
        yield maker.by_secret(f"another key: {name}", "another key", other, r, s, message=message)
    for bit in range(0, 512, 19):
        value = int.from_bytes(_bytes(r) + _bytes(s), "big") ^ 1 << bit
        yield maker.by_secret(f"bent: bit {bit}", "bent", d, value >> 256, value % 2**256, message=message)


def _lengths(maker: Maker) -> Iterator[Case]:
    d, r, s, message = _honest(maker)
    point = maker.suite.multiply(d, maker.suite.generator)
    assert point is not None
    key, signature = _pair(*point), _bytes(r) + _bytes(s)
    shapes = {
        "empty": b"", "s missing": signature[:32], "a byte too short": signature[:63], "a zero byte behind": signature + b"\0",
        "a zero byte before": b"\0" + signature, "DER": _der(r, s), "256 n added to r": _bytes(r) + b"\1" + _bytes(s),
        "hexadecimal": signature.hex().encode(),
    }  # fmt: skip
    for name, shape in shapes.items():
        yield Case(f"signature: {name}", "wrong length", key, shape, message, None, accept=False)


def _der(r: int, s: int) -> bytes:
    numbers = [value.to_bytes(value.bit_length() // 8 + 1, "big") for value in (r, s)]
    body = b"".join(bytes([2, len(number)]) + number for number in numbers)
    return bytes([0x30, len(body)]) + body


def _keys(maker: Maker) -> Iterator[Case]:
    """Pairs that are no key, with the signature of the key that they were made of."""
    suite, p = maker.suite, maker.suite.prime
    d, r, s, message = _honest(maker)
    signature = _bytes(r) + _bytes(s)
    x, y = suite.multiply(d, suite.generator)  # type: ignore[misc]
    small_x, small_y = suite.point_from(0)
    twist_x = next(each for each in range(1, 99) if suite.y_of(each) is None)
    for name, kx, ky in (
        ("all zeros", 0, 0),
        ("x = 0, y = 1", 0, 1),
        ("y one off", x, y + 1),
        ("x one off", x + 1, y),
        ("y = 0", x, 0),
        ("x and y swapped", y, x),
        ("small x + p", small_x + p, small_y),
        ("x = p", p, y),
        ("y = p", x, p),
        ("x = p - 1, y = p - 1", p - 1, p - 1),
        ("all ones", 2**256 - 1, 2**256 - 1),
        ("x of the twist", twist_x, 1),
        (
            "x of the twist, with its y",
            twist_x,
            pow((twist_x**3 + suite.curve_a * twist_x + suite.curve_b) * _non_square(p), (p + 1) // 4, p),
        ),
        ("of a curve with another b", 5, 7),
        ("little-endian", int.from_bytes(_bytes(x), "little"), int.from_bytes(_bytes(y), "little")),
        ("of the other suite", *_other(suite)),
    ):
        yield maker.plain(f"key: {name}", "key refused", _pair(kx, ky), signature, message)
    for name, kx, ky in (("negated", x, p - y), ("generator", *suite.generator), ("small x", small_x, small_y)):
        yield maker.plain(f"key: {name}, not the signer's", "another key", _pair(kx, ky), signature, message)


def _non_square(p: int) -> int:
    return next(each for each in range(2, 99) if pow(each, (p - 1) // 2, p) == p - 1)


def _other(suite: Suite) -> Pair:
    other = CURVES["p256" if suite.name == "sm2" else "sm2"]
    point = other.multiply(other.number("key of another suite"), other.generator)
    assert point is not None
    return point


def _scalars(maker: Maker) -> Iterator[Case]:
    """Both scalars of the sum at extremes of their digits, in every window and chunk."""
    suite, n = maker.suite, maker.suite.order
    key = suite.multiply(suite.number("scalars"), suite.generator)
    assert key is not None
    values = [1, 2, 3, 15, 16, 17, 31, 32, 2**63, 2**64 - 1, 2**64, 2**64 + 1, 2**65 - 1, 2**128 - 1, 2**128, 2**192 - 1]  # fmt: skip
    values += [2**192, 2**255, 2**255 + 2**64 - 1, 2**251 - 1, n // 2, n // 2 + 1, n - 2**128, n - 17, n - 3, n - 2, n - 1]  # fmt: skip
    values += [int("f0" * 31, 16), int("10" * 32, 16) % n, int("5a" * 31, 16), sum(17 << 5 * i for i in range(51)) % n]  # fmt: skip
    values += [sum(1 << 8 * i + 7 for i in range(31)), int("7f" * 32, 16) % n, int("80" * 31, 16), int("ff" * 31, 16)]  # fmt: skip
    for i, a in enumerate(values):
        b = values[(7 * i + 3) % len(values)]
        if a == b and suite.name == "sm2":
            b += 1
        yield maker.by_scalars(f"scalars {a:#x} and {b:#x}", "extreme scalars", key, a, b)
    for s in values[:20]:
        inverse = pow(s, -1, n)
        a, b = (inverse, s + 1 if s + 1 != inverse else s + 2)
        yield maker.by_scalars(f"scalars 1 / {s:#x} and {b:#x}", "extreme scalars", key, a, b)


def _coincidences(maker: Maker) -> Iterator[Case]:
    """Sums whose two terms are equal, opposite or multiples of each other, and sums that are infinity."""
    suite, n = maker.suite, maker.suite.order
    for d in (1, 2, 3, 15, 16, 31, 2**64, 2**64 + 1, 2**128, n - 1, n - 2, n - 16, suite.number("coincidence")):
        if d == n - 1 and suite.name == "sm2":
            continue  # a key all the same, and in the pairs below
        key = suite.multiply(d, suite.generator)
        assert key is not None
        label = f"n - {n - d}" if n - d < 2**16 else hex(d)
        equal_a = d * 5 % n
        yield maker.by_scalars(f"key {label} G: a G = b Q", "coincidences", key, equal_a, 5 if equal_a != 5 else 6)
        yield maker.by_scalars(f"key {label} G: a G = 2 b Q", "coincidences", key, 2 * d * 7 % n, 9)
        b = suite.number(f"infinity {label}")
        a = -b * d % n
        if suite.name == "sm2":
            r, s = (b - a) % n, a
            candidates = {"e = r": r, "e = 0": 0}
        else:
            r = suite.number(f"r of infinity {label}")
            s = r * pow(b, -1, n) % n
            if s > suite.s_max:
                s, a = n - s, -a
            candidates = {"any r": a * s % n}
        if suite.in_range(r, s):
            for name, e in candidates.items():
                yield maker.by_secret(f"key {label} G: the sum is infinity, {name}", "infinity", d, r, s, e=e)


def _digests(maker: Maker) -> Iterator[Case]:
    """Digests of special form, good and one bit off: each 32-bit word at an extreme, and numbers around 0, n, p and 2^256."""
    suite, n = maker.suite, maker.suite.order
    digests = {"0": 0, "1": 1, "n - 1": n - 1, "n": n, "n + 1": n + 1, "p": suite.prime, "2^256 - 1": 2**256 - 1}
    base = suite.number("digest")
    for at in range(8):
        for word in WORDS:
            digests[f"word {at} = {word:#x}"] = base & ~(0xFFFFFFFF << 32 * at) | word << 32 * at
    for width in (64, 128, 192):
        digests |= {f"low {width} bits 0": base >> width << width, f"high {width} bits 0": base >> width}
        digests |= {
            f"low {width} bits 1": base | (1 << width) - 1,
            f"high {width} bits 1": base | (2**width - 1) << 256 - width,
        }
    for name, e in digests.items():
        point = suite.point_from(suite.number(f"digest {name}"))
        r = (e + point[0] if suite.name == "sm2" else point[0]) % n
        s = suite.number(f"s for digest {name}") // 2
        case = maker.by_sum(f"e: {name}", "special digests", point, r, s, e=e % 2**256)
        yield case
        bent = _bytes(e ^ 1 << 77)
        assert not suite.verify(case.public_key, case.signature, bent)
        yield Case(
            f"e: {name}, one bit off",
            "digest off",
            case.public_key,
            case.signature,
            None,
            None,
            accept=False,
            digest=bent,
        )


def _small_y(maker: Maker) -> Iterator[Case]:
    """Sums whose y is small, so that y + p is a number of 32 bytes, too, as a hint might have it."""
    suite = maker.suite
    for start in (1, 2**32, 2**200):
        point = suite.point_with_y(start)
        e, s = suite.number(f"e for y {start}"), suite.number(f"s for y {start}") // 2
        r = (e + point[0] if suite.name == "sm2" else point[0]) % suite.order
        yield maker.by_sum(f"y of the sum {start:#x} or soon after", "y of the sum", point, r, s, e=e)


def _small_r_large_e(maker: Maker) -> Iterator[Case]:
    """SM2: a digest of n and more with an r so small that r - e needs n added twice where e was not reduced."""
    suite, n = maker.suite, maker.suite.order
    for name, e in {"n + 2^100": n + 2**100, "p": suite.prime, "2^256 - 1": 2**256 - 1}.items():
        point = suite.point_from((1 - e) % n)
        r = (e + point[0]) % n
        yield maker.by_sum(
            f"e: {name}, r = {r}", "special digests", point, r, suite.number(f"s for small r, {name}"), e=e
        )


def _sums(maker: Maker) -> Iterator[Case]:
    """The x of the sum at every end of its range: in [n, p), where r is x - n, and around 0, n and p."""
    suite, n, p = maker.suite, maker.suite.order, maker.suite.prime
    starts = {
        "0": (0, 1),
        "small": (6, 1),
        "below n": (n - 1, -1),
        "n and above": (n, 1),
        "n + 3 and above": (n + 3, 1),
    }
    starts |= {"middle of [n, p)": ((n + p) // 2, 1), "p - 1": (p - 1, -1), "2^255": (2**255, 1)}
    messages = (None,) if suite.name == "sm2" else (None, b"the sum is chosen, and the key follows")
    for name, (start, step) in starts.items():
        point = suite.point_from(start, step)
        x = point[0]
        for message in messages:
            e = (
                suite.number(f"e for x {name}")
                if message is None
                else int.from_bytes(hashlib.sha256(message).digest(), "big")
            )
            r = (e + x if suite.name == "sm2" else x) % n
            s = suite.number(f"s for x {name}") // 2
            by = "digest" if message is None else "message"
            if r == 0:  # no key can be computed for it: the sum of another r, written as 0
                continue
            kind = "x of the sum in [n, p)" if x >= n else "x of the sum"
            yield maker.by_sum(f"x of the sum {name}, {by}", kind, point, r, s, message=message, e=e)
            for offset in (1, -1):
                yield maker.by_sum(
                    f"x of the sum {name}, {by}, r {offset:+d}",
                    "r off",
                    point,
                    r,
                    s,
                    message=message,
                    e=e,
                    offset=offset,
                )
            if x >= n and suite.name == "p256":
                yield maker.by_sum(
                    f"x of the sum {name}, {by}, r not reduced",
                    "r or s not below n",
                    point,
                    r,
                    s,
                    message=message,
                    e=e,
                    offset=n,
                )
            if x < p - n and suite.name == "p256":
                yield maker.by_sum(
                    f"x of the sum {name}, {by}, r + n",
                    "r or s not below n",
                    point,
                    r,
                    s,
                    message=message,
                    e=e,
                    offset=n,
                )


def _key_edges(maker: Maker) -> Iterator[Case]:
    """Keys at the ends of the range of x and with long runs of equal bits, whose secrets nobody knows."""
    suite, p = maker.suite, maker.suite.prime
    starts = {
        "x small": (1, 1),
        "x close to p": (p - 1, -1),
        "x around 2^255": (2**255, 1),
        "x below 2^224": (2**224 - 1, -1),
    }
    starts |= {"low half of x zero": (suite.number("low half") >> 128 << 128, 1 << 128)}
    starts |= {"low half of x ones": (suite.number("low half") | (1 << 128) - 1, 1 << 128)}
    for name, (start, step) in starts.items():
        x, y = suite.point_from(start % p, step)
        for sign, ky in (("one y", y), ("the other y", p - y)):
            a, b = suite.number(f"{name} a"), suite.number(f"{name} b")
            yield maker.by_scalars(f"key with {name}, {sign}", "edge keys", (x, ky), a, b)
    found = 0
    x = suite.number("y with equal bits")
    while found < 4:
        x, y = suite.point_from(x + 1)
        if y % 2**8 in (0, 255) or y >> 248 in (0, 255):
            found += 1
            yield maker.by_scalars(
                f"key with equal bits in y, {found}", "edge keys", (x, y), suite.number(x), suite.number(y)
            )


def text_of(name: str) -> str:
    """Return the text of the file of one suite."""
    return render("make_weierstrass.py; verdicts by the twin and by known logarithms", list(cases(CURVES[name])))


def main() -> None:
    """Write both files."""
    for name in CURVES:
        (FOLDER / name).mkdir(exist_ok=True)
        (FOLDER / name / "families.json").write_text(text_of(name), encoding="ascii")


if __name__ == "__main__":
    main()
