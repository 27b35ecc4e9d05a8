"""Reads CLEARSPAN_KERNEL, the one variable that forces a variant of the kernels; nothing else reads it.

Unset or empty, the fastest variant that was built and that the CPU runs is taken. A variant that is named and cannot
run is refused at import, so that nobody measures or tests another one than he asked for.
"""

from __future__ import annotations

import os
from typing import Final

from native.errors import KernelUnavailable

__all__ = ["VARIABLE", "choose_variant"]

VARIABLE: Final = "CLEARSPAN_KERNEL"


def choose_variant(available: tuple[str, ...]) -> str:
    """Return the variant to use out of those available, slowest first; raises KernelUnavailable for any other."""
    requested = os.environ.get(VARIABLE, "")
    if not requested:
        return available[-1]
    if requested not in available:
        raise KernelUnavailable(requested, available)
    return requested
