"""Writes native/sm2/tables.c: the multiples of the generator that the SM2 kernel adds up.

Run from the root of the project: ``python -m native.sm2.generate_tables``. The output is committed, and a test
compares it with what this module gives.
"""
# ruff: noqa: INP001 - a kernel folder is C and no package

from __future__ import annotations

from pathlib import Path

from native.twins import sm2

__all__ = ["render"]

_WINDOW_BITS = 5
_WINDOWS = 52
_WINDOW_POINTS = 1 << (_WINDOW_BITS - 1)
_LIMB_MASK = (1 << 64) - 1

_HEAD = """\
/* Written by generate_tables.py; not edited by hand. Coordinates are in Montgomery form, limbs from the lowest. */
#include "sm2/tables.h"

#define P(x0, x1, x2, x3, y0, y1, y2, y3) {{0x##x0, 0x##x1, 0x##x2, 0x##x3}, {0x##y0, 0x##y1, 0x##y2, 0x##y3}}

const cs_sm2_point CS_SM2_BASE[CS_SM2_WINDOWS][CS_SM2_WINDOW_POINTS] = {
"""


def render() -> str:
    """Return the text of tables.c."""
    lines = [_HEAD]
    step: sm2.Point = sm2.GENERATOR
    for _ in range(_WINDOWS):
        lines.append("    {\n")
        point: sm2.Point = None
        for _ in range(_WINDOW_POINTS):
            point = sm2.add(point, step)
            lines.append(_row(point))
        lines.append("    },\n")
        step = sm2.add(point, point)
    return "".join([*lines, "};\n"])


def _row(point: sm2.Point) -> str:
    if point is None:
        message = "no window holds the point at infinity"
        raise ValueError(message)
    limbs = [(value << 256) % sm2.FIELD >> shift & _LIMB_MASK for value in point for shift in (0, 64, 128, 192)]
    words = [f"{limb:016x}" for limb in limbs]
    return f"        P({', '.join(words[:4])},\n          {', '.join(words[4:])}),\n"


if __name__ == "__main__":
    Path(__file__).with_name("tables.c").write_text(render(), encoding="utf-8")
