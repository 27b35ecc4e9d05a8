"""Reads CLEARSPAN_KERNEL, the one variable that forces a variant of the kernels; nothing else reads it.

A variant says how high every kernel may reach: ``scalar`` is portable C, ``avx2`` goes up to AVX2 (with BMI2 and the
SHA extensions where the CPU has them), ``avx512ifma`` is everything. Unset or empty, the highest that the CPU runs is
taken. A variant that is named and cannot run is refused at import, so that nobody measures or tests another one than
he asked for.
"""

from __future__ import annotations

import os
from typing import Final

from native.errors import KernelUnavailable

__all__ = ["VARIABLE", "VARIANTS", "choose_level", "choose_variant"]

VARIABLE: Final = "CLEARSPAN_KERNEL"
# In the order of their levels: common/variant.h numbers them from 0.
VARIANTS: Final = ("scalar", "avx2", "avx512ifma")


def choose_variant(available: tuple[str, ...]) -> str:
    """Return the variant to use out of those available, slowest first; raises KernelUnavailable for any other."""
    requested = os.environ.get(VARIABLE, "")
    if not requested:
        return available[-1]
    if requested not in available:
        raise KernelUnavailable(requested, available)
    return requested


def choose_level(best: int) -> int:
    """Return the level to set where the CPU runs levels up to ``best``; raises KernelUnavailable."""
    return VARIANTS.index(choose_variant(VARIANTS[: best + 1]))
