"""What is offered to the relay and what travels beside a proposal: header offers, and the sidecar of paths.

It promises bounds and exact bytes. Whether an offer may stand in a block is the state's to say (``relay.state``).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from engine.block import InclusionPath
from engine.header import SignedHeader
from engine.refusals import EncodingError
from engine.relay_block import RelayRecord, header_record

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["OFFER_PATHS_MAX", "SIDECAR_PATHS_MAX", "HeaderOffer", "PoolItem", "Sidecar"]

# An offer made while earlier headers of its shard are still on their way has a path from each of them.
OFFER_PATHS_MAX: Final = 16
SIDECAR_PATHS_MAX: Final = 65_536
_COUNTS: Final = struct.Struct("<II")
_LENGTH: Final = struct.Struct("<I")
_OFFER_HEAD: Final = struct.Struct("<4sHH")
_OFFER_MAGIC: Final = b"CSHO"
_OFFER_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class HeaderOffer:
    """A shard's newest header with, for each height that may be anchored by then, the path that leads on from it.

    ``paths`` are inclusion paths of an earlier header's hash under the root of earlier headers: the one whose index is
    the anchored height less one is used. None is needed where the header's parent is the anchored one, or nothing is.
    """

    signed: SignedHeader
    paths: tuple[InclusionPath, ...] = ()

    @property
    def record(self) -> RelayRecord:
        """The record that anchors the header."""
        return header_record(self.signed)

    def path_from(self, anchored_height: int) -> InclusionPath | None:
        """Return the path of the header at a height, or None when the offer has none."""
        for path in self.paths:
            if path.index + 1 == anchored_height:
                return path
        return None

    def encode(self) -> bytes:
        """Return magic, version, path count u16, signed header length u32, signed header, then the paths."""
        if len(self.paths) > OFFER_PATHS_MAX:
            raise EncodingError("offer paths", len(self.paths), f"at most {OFFER_PATHS_MAX}")
        signed = self.signed.encode()
        head = _OFFER_HEAD.pack(_OFFER_MAGIC, _OFFER_VERSION, len(self.paths)) + _LENGTH.pack(len(signed))
        return head + signed + b"".join(path.encode() for path in self.paths)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read an offer from exactly its bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        start = _OFFER_HEAD.size + _LENGTH.size
        if view.nbytes < start:
            raise EncodingError("offer bytes", view.nbytes, f"at least {start}")
        magic, version, count = _OFFER_HEAD.unpack(view[: _OFFER_HEAD.size])
        if (magic, version) != (_OFFER_MAGIC, _OFFER_VERSION) or count > OFFER_PATHS_MAX:
            raise EncodingError("offer head", (magic, version, count), f"at most {OFFER_PATHS_MAX} paths")
        (length,) = _LENGTH.unpack(view[_OFFER_HEAD.size : start])
        if view.nbytes < start + length:
            raise EncodingError("offer bytes", view.nbytes, f"at least {start + length}")
        signed = SignedHeader.decode(view[start : start + length])
        rest, paths = view[start + length :], []
        for _ in range(count):
            path, used = InclusionPath.decode_prefix(rest)
            paths.append(path)
            rest = rest[used:]
        if rest.nbytes:
            raise EncodingError("offer bytes", f"{rest.nbytes} more", "the end")
        return cls(signed, tuple(paths))


PoolItem: TypeAlias = HeaderOffer | RelayRecord
"""What may wait to be proposed: a header offer, or a record of another type."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The continuity path of each header record of a proposal, in order; None where its parent is the anchored one."""

    paths: tuple[InclusionPath | None, ...] = ()

    def encode(self) -> bytes:
        """Return count u32, zero u32, then each path with its length u32 before it; length 0 is None."""
        parts = [_COUNTS.pack(len(self.paths), 0)]
        for path in self.paths:
            data = b"" if path is None else path.encode()
            parts += [_LENGTH.pack(len(data)), data]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a sidecar from exactly its bytes; raises EncodingError. No bytes at all are a sidecar without paths."""
        view = memoryview(data).cast("B")
        if not view.nbytes:
            return cls()
        if view.nbytes < _COUNTS.size:
            raise EncodingError("sidecar bytes", view.nbytes, f"at least {_COUNTS.size}")
        count, zero = _COUNTS.unpack(view[: _COUNTS.size])
        if zero or count > SIDECAR_PATHS_MAX:
            raise EncodingError("sidecar head", (count, zero), f"at most {SIDECAR_PATHS_MAX}, and zero")
        view, paths = view[_COUNTS.size :], []
        for _ in range(count):
            if view.nbytes < _LENGTH.size:
                raise EncodingError("sidecar bytes", view.nbytes, f"at least {_LENGTH.size}")
            (length,) = _LENGTH.unpack(view[: _LENGTH.size])
            end = _LENGTH.size + length
            if view.nbytes < end:
                raise EncodingError("sidecar bytes", view.nbytes, f"at least {end}")
            paths.append(_path(view[_LENGTH.size : end]) if length else None)
            view = view[end:]
        if view.nbytes:
            raise EncodingError("sidecar bytes", f"{view.nbytes} more", "the end")
        return cls(tuple(paths))


def _path(view: memoryview) -> InclusionPath:
    path, used = InclusionPath.decode_prefix(view)
    if used != view.nbytes:
        raise EncodingError("sidecar path bytes", view.nbytes, used)
    return path
