"""What is hashed before anything is signed: the prefixes T and T_run, and the digests of records and derived ids.

It promises that no signature of one type, network or run passes for another (BYTES-3, RECORD-2). It knows no keys.
"""

from __future__ import annotations

import struct
from enum import Enum, unique
from typing import TYPE_CHECKING, Final

from engine.types import RECORD_BYTES
from native.hashing import digest, digest_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CLAIM_TAG",
    "PREFIX_VERSION",
    "REFUND_TAG",
    "PrefixType",
    "claim_id",
    "record_digest",
    "refund_id",
    "run_prefix",
    "signing_prefix",
]

PREFIX_VERSION: Final = 1
_RUN_HEAD: Final = struct.Struct("<IQ")


@unique
class PrefixType(Enum):
    """The types of what is signed (BYTES-3); ``account`` serves every admin record."""

    TRANSFER = "transfer"
    RUN = "run"
    MANDATE = "mandate"
    ACCOUNT = "account"
    HEADER = "header"
    VOTE = "vote"
    TIMEOUT = "timeout"
    QUOTE = "quote"
    CORRIDOR = "corridor"
    GOVERNANCE = "governance"
    SCREENING = "screening"


def signing_prefix(suite: int, kind: PrefixType, genesis_hash: bytes, version: int = PREFIX_VERSION) -> bytes:
    """Return T(type, version), 32 bytes."""
    return digest(suite, f"clearspan/{kind.value}/{version}".encode("ascii") + genesis_hash)


def run_prefix(suite: int, genesis_hash: bytes, records: Sequence[bytes]) -> bytes:
    """Return T_run of a run's members in order, each 160 bytes; the deadline is their smallest expires_at."""
    deadline = min(int.from_bytes(record[96:104], "little") for record in records)
    head = b"clearspan/run/1" + genesis_hash + _RUN_HEAD.pack(len(records), deadline)
    return digest(suite, head + digest_rows(suite, b"".join(records), RECORD_BYTES))


def record_digest(suite: int, prefix: bytes, record: bytes) -> bytes:
    """Return the digest of what was signed: the prefix (T or T_run), then the 160 bytes (RECORD-3)."""
    return digest(suite, prefix + record)


CLAIM_TAG: Final = b"clearspan/claim/1"
REFUND_TAG: Final = b"clearspan/refund/1"
"""What is hashed before a lock's digest for the id of what ends it."""


def claim_id(suite: int, lock_digest: bytes) -> int:
    """Return the id of the claim that ends a lock (RECORD-6)."""
    return int.from_bytes(digest(suite, CLAIM_TAG + lock_digest)[:16], "little")


def refund_id(suite: int, lock_digest: bytes) -> int:
    """Return the id of the refund that ends a lock (RECORD-6)."""
    return int.from_bytes(digest(suite, REFUND_TAG + lock_digest)[:16], "little")
