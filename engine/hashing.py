"""The network's hash function over whole buffers, chosen by the suite's number; nothing else decides which one it is.

SHA-256 comes from the standard library, which uses the processor's own instructions and lets other threads run
while it works on more than 2 KiB; SM3 from ``native.hashing``, loaded only where it is used.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from engine.types import HashSuite
from native.errors import UnknownSuite

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["digest"]

# Every swap asks a few dozen times, and a member is looked up on its class at each.
_SHA256: Final = int(HashSuite.SHA256)
_SM3: Final = int(HashSuite.SM3)
_sha256: Final = hashlib.sha256


def digest(suite: int, data: Buffer) -> bytes:
    """Return H(data), 32 bytes. Raises UnknownSuite for a number that names no hash."""
    if suite == _SHA256:
        return _sha256(data).digest()
    if suite == _SM3:
        # Imported here: whoever uses the default suite starts without the extension.
        from native.hashing import digest as native_digest  # noqa: PLC0415

        return native_digest(suite, data)
    raise UnknownSuite(suite)
