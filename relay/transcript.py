"""What a member keeps of how one height was decided: certificates and timeout certificates, enough to blame a fork.

If two blocks of one height are ever final, the transcripts of members that saw either name more than F of the power
(``relay.blame``). A transcript proves nothing by itself and is believed nowhere: every part carries its signatures.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from engine.refusals import EncodingError
from engine.validators import Certificate
from relay.messages import CERTIFICATE_BYTES_MAX
from relay.timeouts import TimeoutCertificate

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["TRANSCRIPT_PARTS_MAX", "Transcript"]

TRANSCRIPT_MAGIC: Final = b"CSTR"
TRANSCRIPT_VERSION: Final = 1
# Parts of each kind: with three timeout certificates a view, 21 views, which last more than two minutes.
TRANSCRIPT_PARTS_MAX: Final = 64
_HEAD: Final = struct.Struct("<4sHHII")
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Transcript:
    """Prepare and commit certificates, and timeout certificates, of one height, each ascending by view."""

    certificates: tuple[Certificate, ...] = ()
    timeouts: tuple[TimeoutCertificate, ...] = ()

    def encode(self) -> bytes:
        """Return magic, version, both counts, then each part with its length before it."""
        parts = [each.encode() for each in self.certificates] + [each.encode() for each in self.timeouts]
        head = _HEAD.pack(TRANSCRIPT_MAGIC, TRANSCRIPT_VERSION, 0, len(self.certificates), len(self.timeouts))
        return head + b"".join(_LENGTH.pack(len(part)) + part for part in parts)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a transcript from exactly its bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes < _HEAD.size:
            raise EncodingError("transcript bytes", view.nbytes, f"at least {_HEAD.size}")
        magic, version, zero, certificates, timeouts = _HEAD.unpack(view[: _HEAD.size])
        if (magic, version, zero) != (TRANSCRIPT_MAGIC, TRANSCRIPT_VERSION, 0):
            raise EncodingError("transcript head", (magic, version, zero), (TRANSCRIPT_MAGIC, TRANSCRIPT_VERSION, 0))
        if certificates > TRANSCRIPT_PARTS_MAX or timeouts > TRANSCRIPT_PARTS_MAX:
            raise EncodingError("transcript parts", (certificates, timeouts), f"at most {TRANSCRIPT_PARTS_MAX}")
        view = view[_HEAD.size :]
        parts: list[memoryview] = []
        for _ in range(certificates + timeouts):
            length = _LENGTH.unpack(view[: _LENGTH.size])[0] if view.nbytes >= _LENGTH.size else CERTIFICATE_BYTES_MAX
            if view.nbytes - _LENGTH.size < length or length > CERTIFICATE_BYTES_MAX:
                raise EncodingError("transcript part bytes", view.nbytes, f"at least {_LENGTH.size + length}")
            parts.append(view[_LENGTH.size : _LENGTH.size + length])
            view = view[_LENGTH.size + length :]
        if view.nbytes:
            raise EncodingError("transcript bytes", f"{view.nbytes} more", "the end")
        return cls(
            tuple(Certificate.decode(part) for part in parts[:certificates]),
            tuple(TimeoutCertificate.decode(part) for part in parts[certificates:]),
        )
