"""Writes sm2/tables.c and p256/tables.c: the multiples of the generators that the kernels add up.

Run from the root of the project: ``python -m native.weierstrass.generate_tables``. The output is committed, and a
test compares it with what this module gives.
"""
# ruff: noqa: INP001 - a kernel folder is C and no package

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from native.twins import p256, sm2

if TYPE_CHECKING:
    from native.twins.weierstrass import Curve, Pair, Point

__all__ = ["CURVES", "render", "target"]

CURVES: Final[dict[str, Curve]] = {"sm2": sm2.CURVE, "p256": p256.CURVE}

_WINDOW_BITS: Final = 5
_WINDOWS: Final = 52
_WINDOW_POINTS: Final = 1 << (_WINDOW_BITS - 1)
_LIMB_MASK: Final = (1 << 64) - 1

_HEAD: Final = """\
/* Written by weierstrass/generate_tables.py; not edited by hand. Coordinates are in Montgomery form, limbs from the
 * lowest. */
#include "{name}/tables.h"

#define P(x0, x1, x2, x3, y0, y1, y2, y3) {{{{0x##x0, 0x##x1, 0x##x2, 0x##x3}}, {{0x##y0, 0x##y1, 0x##y2, 0x##y3}}}}

const cs_base_row CS_{upper}_BASE[CS_BASE_WINDOWS] = {{
"""


def target(name: str) -> Path:
    """Return the path of the file of a curve."""
    return Path(__file__).parents[1] / name / "tables.c"


def render(name: str) -> str:
    """Return the text of the file of a curve."""
    curve = CURVES[name]
    lines = [_HEAD.format(name=name, upper=name.upper())]
    step: Point = curve.generator
    for _ in range(_WINDOWS):
        lines.append("    {\n")
        point: Point = None
        for _ in range(_WINDOW_POINTS):
            point = curve.add(point, step)
            assert point is not None  # a small multiple of a point of large order
            lines.append(_row(curve, point))
        lines.append("    },\n")
        step = curve.add(point, point)
    return "".join([*lines, "};\n"])


def _row(curve: Curve, point: Pair) -> str:
    limbs = [(value << 256) % curve.field >> shift & _LIMB_MASK for value in point for shift in (0, 64, 128, 192)]
    words = [f"{limb:016x}" for limb in limbs]
    return f"        P({', '.join(words[:4])},\n          {', '.join(words[4:])}),\n"


if __name__ == "__main__":
    for each in CURVES:
        target(each).write_text(render(each), encoding="utf-8")
