"""Writes avx512ifma/base8.c of each curve: the multiples of its generator that verification in lanes adds up.

Run from the root of the project: ``python -m native.weierstrass.avx512ifma.generate_base8``. The output is committed,
and a test compares it with what this module gives.
"""
# ruff: noqa: INP001 - a kernel folder is C and no package

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CURVES", "Curve", "render", "target"]

CURVES: Final = ("sm2", "p256")

_ROWS = 32
_ROW_BITS = 8
_POINTS = 128
_MONTGOMERY_BITS = 260
_WORD_MASK = (1 << 64) - 1

_HEAD = """\
/* Written by generate_base8.py; not edited by hand. Coordinates times 2^260 modulo p, words from the lowest. */
#include "{name}/avx512ifma/base8.h"

#define P(x0, x1, x2, x3, y0, y1, y2, y3) {{{{0x##x0, 0x##x1, 0x##x2, 0x##x3}}, {{0x##y0, 0x##y1, 0x##y2, 0x##y3}}}}

_Alignas(64) const cs_weierstrass_point CS_{upper}_BASE8[32][128] = {{
"""

_Pair = tuple[int, int]


class Curve(Protocol):
    """What a twin module offers of its curve, y^2 = x^3 - 3x + b."""

    FIELD: int
    GENERATOR: _Pair


def target(name: str) -> Path:
    """Return where the table of a curve belongs."""
    return Path(__file__).parents[2] / name / "avx512ifma" / "base8.c"


def render(name: str) -> str:
    """Return the text of base8.c of one of CURVES: entry [i][j] is (2 j + 1) 2^(8 i) times the generator."""
    curve = cast("Curve", importlib.import_module(f"native.twins.{name}"))
    lines = [_HEAD.format(name=name, upper=name.upper())]
    step = curve.GENERATOR
    for _ in range(_ROWS):
        lines.append("    {\n")
        lines += (_entry(point, curve.FIELD) for point in _odd_multiples(step, curve.FIELD))
        lines.append("    },\n")
        for _ in range(_ROW_BITS):
            step = _add(step, step, curve.FIELD)
    return "".join([*lines, "};\n"])


def _odd_multiples(point: _Pair, field: int) -> Iterator[_Pair]:
    twice = _add(point, point, field)
    for _ in range(_POINTS):
        yield point
        point = _add(point, twice, field)


def _add(left: _Pair, right: _Pair, field: int) -> _Pair:
    """Add two points whose sum is finite."""
    (x1, y1), (x2, y2) = left, right
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, field) if left == right else (y2 - y1) * pow(x2 - x1, -1, field)
    x3 = (slope * slope - x1 - x2) % field
    return x3, (slope * (x1 - x3) - y1) % field


def _entry(point: _Pair, field: int) -> str:
    words = [
        f"{(value << _MONTGOMERY_BITS) % field >> shift & _WORD_MASK:x}"
        for value in point
        for shift in (0, 64, 128, 192)
    ]
    return f"        P({', '.join(words[:4])},\n          {', '.join(words[4:])}),\n"


if __name__ == "__main__":
    for curve_name in CURVES:
        if target(curve_name).parent.is_dir():
            target(curve_name).write_text(render(curve_name), encoding="utf-8")
