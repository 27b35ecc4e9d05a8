"""The messages that one block sent to other shards, in the order of its outgoing tree, and proofs of their place.

It promises the tree that the block's header commits to (04): leaves by (peer, sequence), so that the messages to one
peer stand next to each other. It knows messages as 128 bytes that begin with their sequence.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from engine.range_proof import range_proof
from engine.refusals import EncodingError
from engine.types import CREDIT_BYTES
from native.hashing import leaf_hash_rows, merkle_root

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

__all__ = ["Outgoing", "OutgoingRange"]

_ROW: Final = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class OutgoingRange:
    """Messages to one peer, packed, and the hashes beside them in the outgoing tree."""

    messages: bytes
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """``channels``: (peer, its messages packed in sequence), peers ascending, none empty."""

    channels: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def of(cls, messages: Iterable[tuple[int, bytes]]) -> Self:
        """Gather messages that come one by one in the order of the tree: (peer, 128 bytes)."""
        gathered: dict[int, bytearray] = {}
        for peer, message in messages:
            gathered.setdefault(peer, bytearray()).extend(message)
        return cls(tuple((peer, bytes(packed)) for peer, packed in gathered.items()))

    @property
    def count(self) -> int:
        """How many messages these are."""
        return sum(len(packed) for _, packed in self.channels) // CREDIT_BYTES

    def encode(self) -> bytes:
        """Return for each peer: peer u32, count u32, messages; nothing for no messages."""
        return b"".join(_ROW.pack(peer, len(packed) // CREDIT_BYTES) + packed for peer, packed in self.channels)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read what was encoded from exactly its bytes; raises EncodingError."""
        view, channels, last = memoryview(data).cast("B"), [], -1
        while view.nbytes:
            if view.nbytes < _ROW.size:
                raise EncodingError("outgoing bytes", view.nbytes, f"at least {_ROW.size}")
            peer, count = _ROW.unpack(view[: _ROW.size])
            end = _ROW.size + count * CREDIT_BYTES
            if peer <= last or not count or view.nbytes < end:
                raise EncodingError("outgoing channel", (peer, count, view.nbytes), f"above {last}, whole, not empty")
            channels.append((peer, view[_ROW.size : end].tobytes()))
            view, last = view[end:], peer
        return cls(tuple(channels))

    def root(self, suite: int) -> bytes:
        """Return the root that the block's header names."""
        return merkle_root(suite, self._leaves(suite))

    def range_to(self, suite: int, peer: int, sequence: int, count_max: int) -> OutgoingRange | None:
        """Return at most ``count_max`` messages to a peer from a sequence on, with their proof; None where it has none.

        Messages before that sequence are passed over: they were asked for and taken before.
        """
        before = 0
        for each, packed in self.channels:
            if each == peer:
                count = len(packed) // CREDIT_BYTES
                skipped = max(0, sequence - int.from_bytes(packed[:8], "little"))
                taken = min(count - skipped, count_max)
                if taken < 1:
                    return None
                messages = packed[skipped * CREDIT_BYTES : (skipped + taken) * CREDIT_BYTES]
                return OutgoingRange(messages, range_proof(suite, self._leaves(suite), before + skipped, taken))
            before += len(packed) // CREDIT_BYTES
        return None

    def _leaves(self, suite: int) -> bytes:
        packed = b"".join(packed for _, packed in self.channels)
        return leaf_hash_rows(suite, packed, CREDIT_BYTES) if packed else b""
