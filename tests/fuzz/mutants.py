"""Mutants from a seed: bytes bent at random, protobuf messages bent where they are parsed; the same seed, the same mutants."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Iterator

import pytest

BOUNDARIES = (
    b"\xff" * 8,
    bytes(8),
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\x01\x00\x00\x00",
    b"\xff" * 16,
    b"\x80" * 10,
)


def seed_of(request: pytest.FixtureRequest) -> int:
    """The same number for a test on every run, and another one on each night; printed, so that a run can be had again."""
    seed = zlib.crc32(request.node.name.encode())
    if request.config.getoption("--nightly"):
        seed = time.time_ns() % 2**32
    print(f"seed {seed}")
    return seed


def bent(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with one to four changes: a bit, a cut, a piece more, doubled or gone, a boundary value."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(changed) + 1)
        kind = chance.randrange(7)
        if kind == 0 and changed:
            changed[at % len(changed)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            changed[at:at] = chance.randbytes(chance.randrange(1, 40))
        elif kind == 3:
            piece = chance.choice(BOUNDARIES)
            changed[at : at + len(piece)] = piece
        elif kind == 4:
            end = at + chance.randrange(1, 200)
            changed[at:at] = changed[at:end]
        elif kind == 5:
            del changed[at : at + chance.randrange(1, 200)]
        else:
            changed[at : at + 4] = chance.randrange(2**32).to_bytes(4, "little")
    return bytes(changed)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def field(number: int, wire_type: int, content: bytes) -> bytes:
    return varint(number << 3 | wire_type) + content


def odd_field(chance: random.Random) -> bytes:
    """A field that no sender of ours writes: unknown number, wrong wire type, lengths of nothing, groups, deep nesting."""
    number = chance.choice((1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 2_047, 19_000, 2**29 - 1))
    kind = chance.randrange(8)
    if kind == 0:
        return field(number, 0, varint(chance.choice((0, 1, 2, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 1))))
    if kind == 1:
        return field(number, 1, chance.randbytes(8))
    if kind == 2:
        return field(number, 5, chance.randbytes(4))
    if kind == 3:
        data = chance.randbytes(chance.choice((0, 1, 15, 16, 17, 31, 64, 127, 128, 129, 500)))
        return field(number, 2, varint(len(data)) + data)
    if kind == 4:
        return field(number, 2, varint(chance.choice((2**31 - 1, 2**31, 2**32, 2**62))) + chance.randbytes(20))
    if kind == 5:
        return field(number, chance.choice((3, 4, 6, 7)), chance.randbytes(chance.randrange(5)))
    if kind == 6:
        return field(number, 3, b"") * chance.choice((5, 500))
    return b"\xff" * chance.randrange(1, 12)


def messages(originals: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """Yield protobuf messages without end: originals bent in bytes, with odd fields before, behind or between, or random."""
    while True:
        kind = chance.randrange(6)
        data = chance.choice(originals)
        if kind <= 2:
            yield bent(data, chance)
        elif kind == 3:
            yield b"".join(odd_field(chance) for _ in range(chance.randrange(1, 6))) + data
        elif kind == 4:
            yield data + b"".join(odd_field(chance) for _ in range(chance.randrange(1, 6)))
        else:
            yield chance.randbytes(chance.choice((0, 1, 2, 10, 200, 5_000)))
