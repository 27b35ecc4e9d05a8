"""Writes tables.c, the multiples of the base point, from the plain-Python twin; its test holds the file to this.

Run from the repository root: ``python -m native.ed25519.generate_tables``.
"""

# ruff: noqa: INP001 - a kernel folder is C and no package

from __future__ import annotations

from pathlib import Path
from typing import Final

from native.twins import ed25519

__all__ = ["TARGET", "render"]

TARGET: Final = Path(__file__).with_name("tables.c")
LIMB_BITS: Final = 51
LIMBS: Final = 5
COLUMN_BITS: Final = 32
COLUMNS: Final = 8
BASE_MULTIPLES: Final = 32
SIGN_ROWS: Final = 32
SIGN_MULTIPLES: Final = 8


def render() -> str:
    """Return the text of tables.c."""
    columns = [[_affine((2 * j + 1) << (COLUMN_BITS * i)) for j in range(BASE_MULTIPLES)] for i in range(COLUMNS)]
    rows = [[_affine((j + 1) << (8 * i)) for j in range(SIGN_MULTIPLES)] for i in range(SIGN_ROWS)]
    return "\n".join(
        [
            "/* Multiples of the base point B. Written by generate_tables.py: change that and not this. */",
            '#include "ed25519/tables.h"',
            "",
            "/* clang-format off */",
            *_table("cs_ed25519_base_columns[CS_ED25519_COLUMNS][CS_ED25519_BASE_MULTIPLES]", columns),
            "",
            *_table("cs_ed25519_sign_rows[CS_ED25519_SIGN_ROWS][CS_ED25519_SIGN_MULTIPLES]", rows),
            "",
        ]
    )


def _table(declaration: str, rows: list[list[str]]) -> list[str]:
    lines = [f"const cs_ed25519_affine {declaration} = {{"]
    for row in rows:
        lines += ["    {", *(f"        {entry}," for entry in row), "    },"]
    return [*lines, "};"]


def _affine(scalar: int) -> str:
    """Return the initializer {y + x, y - x, 2dxy} of [scalar]B."""
    point = ed25519.multiply(scalar, ed25519.BASE)
    inverse = pow(point.z, -1, ed25519.P)
    x, y = point.x * inverse, point.y * inverse
    return "{" + ", ".join(_limbs(v % ed25519.P) for v in (y + x, y - x, 2 * ed25519.D * x * y)) + "}"


def _limbs(value: int) -> str:
    mask = (1 << LIMB_BITS) - 1
    return "{" + ", ".join(f"0x{value >> (LIMB_BITS * i) & mask:013x}" for i in range(LIMBS)) + "}"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="ascii")
