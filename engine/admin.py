"""Admin requests and their columns: 160 bytes and up to two signatures each (06). It knows layouts and no state."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from engine.batch import bytes_view
from engine.refusals import BatchRefused, EncodingError
from engine.types import (
    ADMIN_BYTES,
    BATCH_COUNT_MAX,
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    U32_MAX,
    U128_MAX,
    AdminType,
)
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

__all__ = ["NEW_KEY_SIGNS", "SIGNERS", "AdminColumns", "AdminRequest", "SignedAdmin"]

SIGNERS: Final = 2
NEW_KEY_SIGNS: Final = U32_MAX
"""Signer 2 of a rotation: the new key itself, known from the body."""

_ADMIN: Final = struct.Struct("<16s16sHHIIIQIHH16s16s64s")
assert _ADMIN.size == ADMIN_BYTES
_NO_KEY: Final = bytes(PUBLIC_KEY_BYTES)


def _u128(name: str, value: int) -> bytes:
    if not 0 <= value <= U128_MAX:
        raise EncodingError(name, value, "0 to 2^128 - 1")
    return value.to_bytes(16, "little")


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """One admin request as it is signed; fields that its type does not use stay zero."""

    id: int
    type: int
    expires_at: int
    valid_for_s: int
    subject: int = 0
    reason: int = 0
    participant: int = 0
    ledger: int = 0
    key_id: int = 0
    suite: int = 0
    role: int = 0
    limit_a: int = 0
    limit_b: int = 0
    public_key: bytes = _NO_KEY

    def encode(self) -> bytes:
        """Return the 160 bytes; raises EncodingError when a value is too wide for its field."""
        if len(self.public_key) != PUBLIC_KEY_BYTES:
            raise EncodingError("public key bytes", len(self.public_key), PUBLIC_KEY_BYTES)
        try:
            return _ADMIN.pack(
                _u128("id", self.id),
                _u128("subject", self.subject),
                self.type,
                self.reason,
                self.participant,
                self.ledger,
                self.key_id,
                self.expires_at,
                self.valid_for_s,
                self.suite,
                self.role,
                _u128("limit_a", self.limit_a),
                _u128("limit_b", self.limit_b),
                self.public_key,
            )
        except struct.error as error:
            raise EncodingError("admin request", self, "values that fit their fields") from error

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 160 bytes; raises EncodingError for any other length. An unknown type is refused later, by a code."""
        view = memoryview(data).cast("B")
        if view.nbytes != ADMIN_BYTES:
            raise EncodingError("admin request bytes", view.nbytes, ADMIN_BYTES)
        identity, subject, kind, reason, participant, ledger, key_id, *rest = _ADMIN.unpack(view)
        expires_at, valid_for_s, suite, role, limit_a, limit_b, public_key = rest
        return cls(
            id=int.from_bytes(identity, "little"),
            type=kind,
            expires_at=expires_at,
            valid_for_s=valid_for_s,
            subject=int.from_bytes(subject, "little"),
            reason=reason,
            participant=participant,
            ledger=ledger,
            key_id=key_id,
            suite=suite,
            role=role,
            limit_a=int.from_bytes(limit_a, "little"),
            limit_b=int.from_bytes(limit_b, "little"),
            public_key=public_key,
        )

    @staticmethod
    def name_of_subject(name: str) -> int:
        """Return a short name or BIC, up to 16 ASCII characters, as the subject of a participant_add."""
        data = name.encode("ascii")
        if len(data) > 16:
            raise EncodingError("participant name bytes", len(data), "at most 16")
        return int.from_bytes(data.ljust(16, b"\x00"), "little")

    @property
    def type_name(self) -> str:
        """The type as documents write it; ``type_<number>`` for an unknown one."""
        try:
            return AdminType(self.type).name.lower()
        except ValueError:
            return f"type_{self.type}"


@dataclass(frozen=True, slots=True)
class SignedAdmin:
    """One request with its signers, as tools hand it on; key id 0 and a signature of zeros where none signs."""

    body: bytes
    key_ids: tuple[int, int]
    signatures: tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class AdminColumns:
    """Up to 8,192 requests: bodies n x 160, key_ids n x 2 (u32), signatures n x 2 x 64."""

    bodies: NDArray[np.uint8]
    key_ids: NDArray[np.uint32]
    signatures: NDArray[np.uint8]

    @classmethod
    def from_buffers(cls, bodies: Buffer, key_ids: Buffer, signatures: Buffer) -> Self:
        """View the three columns as they came; raises BatchRefused, whose code answers the whole."""
        flat = bytes_view(bodies)
        if flat.size % ADMIN_BYTES:
            raise BatchRefused(ResultCode.BATCH_MALFORMED, "bodies bytes", flat.size, f"a multiple of {ADMIN_BYTES}")
        count = flat.size // ADMIN_BYTES
        if count == 0:
            raise BatchRefused(ResultCode.BATCH_EMPTY, "requests", 0, "at least 1")
        if count > BATCH_COUNT_MAX:
            raise BatchRefused(ResultCode.BATCH_TOO_LARGE, "requests", count, f"at most {BATCH_COUNT_MAX}")
        keys, signed = bytes_view(key_ids), bytes_view(signatures)
        if keys.size != count * SIGNERS * 4:
            raise BatchRefused(ResultCode.BATCH_MALFORMED, "key_ids bytes", keys.size, count * SIGNERS * 4)
        if signed.size != count * SIGNERS * SIGNATURE_BYTES:
            expected = count * SIGNERS * SIGNATURE_BYTES
            raise BatchRefused(ResultCode.BATCH_MALFORMED, "signatures bytes", signed.size, expected)
        return cls(
            flat.reshape(count, ADMIN_BYTES),
            np.frombuffer(keys.tobytes(), dtype="<u4").astype(np.uint32).reshape(count, SIGNERS),
            signed.reshape(count, SIGNERS, SIGNATURE_BYTES),
        )

    @classmethod
    def from_requests(cls, requests: Sequence[SignedAdmin]) -> Self:
        """Build columns from single signed requests."""
        return cls.from_buffers(
            b"".join(request.body for request in requests),
            np.array([request.key_ids for request in requests], dtype="<u4").tobytes(),
            b"".join(b"".join(request.signatures) for request in requests),
        )

    @property
    def count(self) -> int:
        """How many requests these are."""
        return int(self.bodies.shape[0])

    def take(self, rows: NDArray[np.intp]) -> AdminColumns:
        """Return the requests of the given rows, at least one of them, in that order; the columns are copied."""
        return AdminColumns(
            np.ascontiguousarray(self.bodies[rows]),
            np.ascontiguousarray(self.key_ids[rows]),
            np.ascontiguousarray(self.signatures[rows]),
        )

    def request(self, row: int) -> AdminRequest:
        """Read one request."""
        return AdminRequest.decode(self.bodies[row].tobytes())
