"""The bodies of log records (LOG-2): what each kind holds, encoded and read back strictly.

A body that a reader cannot account for to the last byte is refused; the chain of hashes says only that it is the one
that was written.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from engine.admin import SIGNERS, AdminColumns
from engine.batch import BatchColumns, bytes_view
from engine.refusals import EncodingError
from engine.types import ADMIN_BYTES, BINDING_BYTES, CREDIT_BYTES, HEAD_BYTES, SIGNATURE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    _Lengths = Callable[[tuple[Any, ...]], tuple[int, ...]]

__all__ = [
    "AdminBody",
    "BatchBody",
    "CreditsBody",
    "decode_admin_body",
    "decode_batch_body",
    "decode_credits_body",
    "encode_admin_body",
    "encode_batch_body",
    "encode_credits_body",
]

_BATCH_HEAD: Final = struct.Struct("<IIII16s")
_CREDITS_HEAD: Final = struct.Struct("<IIQ")
_ADMIN_HEAD: Final = struct.Struct("<IIII")
assert (_BATCH_HEAD.size, _CREDITS_HEAD.size, _ADMIN_HEAD.size) == (32, 16, 16)
_CODE_BYTES: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class BatchBody:
    """A batch as one shard got it, who sent it, and the answers (n x u16)."""

    columns: BatchColumns
    submitter: int
    codes: NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class CreditsBody:
    """Messages of one channel in sequence, 128 bytes each."""

    source: int
    first_sequence: int
    messages: bytes

    @property
    def count(self) -> int:
        """How many messages these are."""
        return len(self.messages) // CREDIT_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class AdminBody:
    """Admin requests and the answers (n x u16)."""

    columns: AdminColumns
    codes: NDArray[np.uint16]


def _codes_bytes(codes: NDArray[np.uint16], count: int) -> bytes:
    if codes.shape != (count,):
        raise EncodingError("codes", codes.shape, (count,))
    return codes.astype("<u2", copy=False).tobytes()


def _codes(data: memoryview) -> NDArray[np.uint16]:
    return np.frombuffer(data.tobytes(), dtype="<u2").astype(np.uint16)


def _split(
    what: str, body: Buffer, head: struct.Struct, lengths_of: _Lengths
) -> tuple[tuple[Any, ...], list[memoryview]]:
    """Read the head, ask it for the lengths of the parts, and cut the body into exactly these."""
    view = memoryview(body).cast("B")
    if view.nbytes < head.size:
        raise EncodingError(f"{what} body bytes", view.nbytes, f"at least {head.size}")
    fields = head.unpack(view[: head.size])
    lengths = lengths_of(fields)
    expected = head.size + sum(lengths)
    if view.nbytes != expected:
        raise EncodingError(f"{what} body bytes", view.nbytes, expected)
    parts, at = [], head.size
    for length in lengths:
        parts.append(view[at : at + length])
        at += length
    return fields, parts


def encode_batch_body(
    columns: BatchColumns, *, submitter: int, codes: NDArray[np.uint16], batch_id: bytes | None = None
) -> bytes:
    """Return the body of a batch record; ``batch_id`` stands in for the batch's own where a shard got a part of it."""
    head = _BATCH_HEAD.pack(columns.count, columns.binding_index.size, submitter, 0, batch_id or columns.batch_id)
    return b"".join(
        (
            head,
            columns.heads.tobytes(),
            columns.signatures.tobytes(),
            columns.binding_index.astype("<u4", copy=False).tobytes(),
            columns.bindings.tobytes(),
            _codes_bytes(codes, columns.count),
        )
    )


def decode_batch_body(body: Buffer, domain: int) -> BatchBody:
    """Read the body of a batch record of a shard of ``domain``; the columns are views of it."""
    (_, _, submitter, zero, batch_id), parts = _split(
        "batch",
        body,
        _BATCH_HEAD,
        lambda head: (
            head[0] * HEAD_BYTES,
            head[0] * SIGNATURE_BYTES,
            head[1] * 4,
            head[1] * BINDING_BYTES,
            head[0] * _CODE_BYTES,
        ),
    )
    if zero:
        raise EncodingError("batch body padding", zero, 0)
    return BatchBody(BatchColumns.from_buffers(domain, batch_id, *parts[:4]), submitter, _codes(parts[4]))


def encode_credits_body(source: int, messages: Buffer) -> bytes:
    """Return the body of a credits record; messages n x 128, at least one, in sequence."""
    flat = bytes_view(messages)
    if not flat.size or flat.size % CREDIT_BYTES:
        raise EncodingError("credits bytes", flat.size, f"a multiple of {CREDIT_BYTES}, not 0")
    first = int.from_bytes(flat[:8].tobytes(), "little")
    return _CREDITS_HEAD.pack(source, flat.size // CREDIT_BYTES, first) + flat.tobytes()


def decode_credits_body(body: Buffer) -> CreditsBody:
    """Read the body of a credits record; the sequences of its messages follow each other from the first."""
    (source, count, first), (messages,) = _split("credits", body, _CREDITS_HEAD, lambda head: (head[1] * CREDIT_BYTES,))
    if count == 0:
        raise EncodingError("credits", 0, "at least 1")
    sequences = bytes_view(messages).reshape(count, CREDIT_BYTES)[:, :8].copy().view("<u8").reshape(count)
    if first + count - 1 > 2**64 - 1 or not np.array_equal(
        sequences, np.uint64(first) + np.arange(count, dtype=np.uint64)
    ):
        raise EncodingError("credits sequences", "a gap", f"{first} and on, without one")
    return CreditsBody(source, first, messages.tobytes())


def encode_admin_body(columns: AdminColumns, *, codes: NDArray[np.uint16]) -> bytes:
    """Return the body of an admin record."""
    return b"".join(
        (
            _ADMIN_HEAD.pack(columns.count, 0, 0, 0),
            columns.bodies.tobytes(),
            columns.key_ids.astype("<u4", copy=False).tobytes(),
            columns.signatures.tobytes(),
            _codes_bytes(codes, columns.count),
        )
    )


def decode_admin_body(body: Buffer) -> AdminBody:
    """Read the body of an admin record; the columns are views of it."""
    fields, parts = _split(
        "admin",
        body,
        _ADMIN_HEAD,
        lambda head: (
            head[0] * ADMIN_BYTES,
            head[0] * SIGNERS * 4,
            head[0] * SIGNERS * SIGNATURE_BYTES,
            head[0] * _CODE_BYTES,
        ),
    )
    if any(fields[1:]):
        raise EncodingError("admin body padding", fields[1:], "zeros")
    return AdminBody(AdminColumns.from_buffers(*parts[:3]), _codes(parts[3]))
