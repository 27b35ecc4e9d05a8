"""Plain-Python twins of the native kernels: the same rules in big integers, obvious and slow.

A twin is the oracle of its kernel's tests and is never used where secrets are at stake: nothing here is constant time.
"""

from __future__ import annotations

__all__: list[str] = []
