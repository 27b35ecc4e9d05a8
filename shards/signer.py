"""The port through which a node signs: whoever holds the operator's block key, in a file or in a module."""

from __future__ import annotations

from typing import Protocol

__all__ = ["BlockSigner"]


class BlockSigner(Protocol):
    """The shard operator's key of role block: signs headers and checkpoints."""

    @property
    def key_id(self) -> int:
        """Its key id in the domain's registry."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of T(header) || header hash."""

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether the signature is this key's."""
