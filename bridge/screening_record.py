"""What came of screening one message, in 192 bytes and a signature: passed, or held with its case.

It promises one encoding, and that a record speaks of one message, one list and one instant. Of it the outcome, score,
list version, case, message hash and its own digest enter a ledger's log, never a name. It knows no list and no keys.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final, Self

from bridge.refusals import BridgeCode, BridgeRefused
from engine.hashing import digest
from engine.prefix import PrefixType, signing_prefix
from engine.refusals import EncodingError
from engine.types import HASH_BYTES, SIGNATURE_BYTES, U32_MAX, U64_MAX, Role
from native.signatures import PUBLIC_KEY_BYTES, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from engine.parties import Key

__all__ = ["SCREENING_RECORD_BYTES", "ScreeningOutcome", "ScreeningRecord", "SignedScreening"]

SCREENING_RECORD_BYTES: Final = 192
_VERSION: Final = 1
_NO_CASE: Final = bytes(16)
_RECORD: Final = struct.Struct("<HHHHIIIIQ16s32s32s32s48s")
_ZEROS: Final = bytes(48)
assert _RECORD.size == SCREENING_RECORD_BYTES


@unique
class ScreeningOutcome(IntEnum):
    """What screening says; a hold names the case in which people decide."""

    PASS = 1
    HOLD = 2


@dataclass(frozen=True, slots=True)
class ScreeningRecord:
    """One screening of one message; ``score`` is the highest found, 0 to 10,000, on a list by version and hash.

    ``case_id`` is zero for a pass. ``explanation_hash`` names the text that a reviewer is shown (zeros: none). Raises
    EncodingError for a value that contradicts the others.
    """

    outcome: ScreeningOutcome
    score: int
    participant: int
    key_id: int
    list_version: int
    screened_at: int
    case_id: bytes
    list_hash: bytes
    message_hash: bytes
    explanation_hash: bytes

    def __post_init__(self) -> None:
        """Check every field."""
        numbers = (("participant", self.participant), ("key_id", self.key_id), ("list_version", self.list_version))
        for name, value in numbers:
            if not 1 <= value <= U32_MAX:
                raise EncodingError(name, value, f"1 to {U32_MAX}")
        if not 0 <= self.score <= 10_000 or not 1 <= self.screened_at <= U64_MAX:
            raise EncodingError("score and instant", (self.score, self.screened_at), "0 to 10,000, an instant in ns")
        lengths = (len(self.case_id), len(self.list_hash), len(self.message_hash), len(self.explanation_hash))
        if lengths != (16, HASH_BYTES, HASH_BYTES, HASH_BYTES):
            raise EncodingError("screening lengths", lengths, (16, HASH_BYTES, HASH_BYTES, HASH_BYTES))
        if (self.outcome is ScreeningOutcome.HOLD) != (self.case_id != _NO_CASE):
            raise EncodingError("case id", self.case_id.hex(), "a case for a hold, and none for a pass")

    def encode(self) -> bytes:
        """Return the 192 bytes."""
        return _RECORD.pack(
            _VERSION,
            self.outcome,
            self.score,
            0,
            self.participant,
            self.key_id,
            self.list_version,
            0,
            self.screened_at,
            self.case_id,
            self.list_hash,
            self.message_hash,
            self.explanation_hash,
            _ZEROS,
        )

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a record from exactly its bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes != SCREENING_RECORD_BYTES:
            raise EncodingError("screening bytes", view.nbytes, SCREENING_RECORD_BYTES)
        version, outcome, score, zero, participant, key_id, list_version, more, at, *rest = _RECORD.unpack(view)
        case_id, list_hash, message_hash, explanation_hash, zeros = rest
        if version != _VERSION or zero or more or zeros != _ZEROS:
            raise EncodingError("screening version and padding", (version, zero, more), f"{_VERSION} and zeros")
        if outcome not in (ScreeningOutcome.PASS, ScreeningOutcome.HOLD):
            raise EncodingError("screening outcome", outcome, "1 or 2")
        return cls(
            outcome=ScreeningOutcome(outcome),
            score=score,
            participant=participant,
            key_id=key_id,
            list_version=list_version,
            screened_at=at,
            case_id=case_id,
            list_hash=list_hash,
            message_hash=message_hash,
            explanation_hash=explanation_hash,
        )

    def message(self, suite: int, genesis_hash: bytes) -> bytes:
        """Return what a screening key signs: T(screening) || the 192 bytes."""
        return signing_prefix(suite, PrefixType.SCREENING, genesis_hash) + self.encode()

    def digest(self, suite: int, genesis_hash: bytes) -> bytes:
        """Return the record's 32-byte name: what stands of it in the ledger's log."""
        return digest(suite, self.message(suite, genesis_hash))

    def fields_on_ledger(self, suite: int, genesis_hash: bytes) -> dict[str, int | bytes]:
        """Return the fields of the admin request that puts this on the record (06, screening), but place and ledger."""
        return {
            "participant": self.participant,
            "role": int(self.outcome),
            "reason": self.score,
            "key_id": self.list_version,
            "limit_a": int.from_bytes(self.case_id, "big"),
            "public_key": self.message_hash + self.digest(suite, genesis_hash),
        }


@dataclass(frozen=True, slots=True)
class SignedScreening:
    """A record and 64 bytes of signature under its ``key_id``."""

    record: ScreeningRecord
    signature: bytes

    def encode(self) -> bytes:
        """Return 256 bytes."""
        if len(self.signature) != SIGNATURE_BYTES:
            raise EncodingError("screening signature bytes", len(self.signature), SIGNATURE_BYTES)
        return self.record.encode() + self.signature

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 256 bytes; raises EncodingError. Whether the signature holds is not asked."""
        view = memoryview(data).cast("B")
        if view.nbytes != SCREENING_RECORD_BYTES + SIGNATURE_BYTES:
            raise EncodingError("signed screening bytes", view.nbytes, SCREENING_RECORD_BYTES + SIGNATURE_BYTES)
        return cls(ScreeningRecord.decode(view[:SCREENING_RECORD_BYTES]), view[SCREENING_RECORD_BYTES:].tobytes())

    def verify(
        self, suite: int, genesis_hash: bytes, key_of: Callable[[int], Key | None], message_hash: bytes, now: int
    ) -> None:
        """Demand that a screening key in force signed this about this message.

        Raises BridgeRefused (screening_hold): what nobody vouches for is held, not passed.
        """
        record = self.record
        key = key_of(record.key_id)
        if key is None or key.participant != record.participant or key.role != Role.SCREENING or not key.in_force(now):
            raise _unproved(f"key {record.key_id} screens for no participant {record.participant} now")
        if record.message_hash != message_hash:
            raise _unproved("it speaks of another message")
        public_key = key.public_key[: PUBLIC_KEY_BYTES[key.suite]]
        signed = record.message(suite, genesis_hash)
        if len(self.signature) != SIGNATURE_BYTES or not verify(key.suite, public_key, self.signature, signed):
            raise _unproved(f"the signature does not hold under key {record.key_id}")


def _unproved(text: str) -> BridgeRefused:
    return BridgeRefused(BridgeCode.SCREENING_HOLD, f"screening record: {text}")
