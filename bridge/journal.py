"""The journal of swaps: each entry's bytes, sealed by a digest, and what the body of each kind holds.

It promises that what was written is read back or refused, bit by bit: stores below do not check their pages. It knows
no store; the shell hands entries back by party, each party's in the order of ``entry_key``.

An entry is: version u8, kind u8, zero u16, length of the body u32, number u32, zero u32, instant u64, party 32, body,
and the first 8 bytes of the SHA-256 of all that. Numbers count the entries of one party from 0 without gaps.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from bridge.leg import PREIMAGE_BYTES
from bridge.ports import Entry, EntryKind, Outcome
from bridge.terms import SALT_BYTES, TERMS_BYTES_MAX
from engine.refusals import EncodingError
from engine.types import HASH_BYTES, U32_MAX, U64_MAX

__all__ = [
    "ENTRY_BYTES_MAX",
    "decode_entry",
    "encode_entry",
    "entry_key",
    "finished_body",
    "leg_of",
    "locking_body",
    "read_accepted",
    "read_begun",
    "read_finished",
    "read_locking",
]

_VERSION: Final = 1
_HEAD: Final = struct.Struct("<BBHIIIQ32s")
_SEAL_BYTES: Final = 8
_LOCKING: Final = struct.Struct("<BQ")
_FINISHED: Final = struct.Struct("<BH")
BODY_BYTES_MAX: Final = SALT_BYTES + TERMS_BYTES_MAX
ENTRY_BYTES_MAX: Final = _HEAD.size + BODY_BYTES_MAX + _SEAL_BYTES

# The body's least and greatest length of each kind.
_BODIES: Final[dict[EntryKind, tuple[int, int]]] = {
    EntryKind.BEGUN: (SALT_BYTES + 1, BODY_BYTES_MAX),
    EntryKind.ACCEPTED: (2, 1 + TERMS_BYTES_MAX),
    EntryKind.LOCKING: (_LOCKING.size, _LOCKING.size),
    EntryKind.ASKING: (1, 1),
    EntryKind.REVEALING: (PREIMAGE_BYTES, PREIMAGE_BYTES),
    EntryKind.LEARNED: (PREIMAGE_BYTES, PREIMAGE_BYTES),
    EntryKind.CLAIMING: (1, 1),
    EntryKind.REFUNDING: (1, 1),
    EntryKind.FINISHED: (_FINISHED.size, _FINISHED.size),
}


def _seal(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_SEAL_BYTES]


def _check(kind: EntryKind, entry: Entry) -> None:
    least, most = _BODIES[kind]
    if not least <= len(entry.body) <= most:
        raise EncodingError(f"journal body of {kind.name.lower()}", len(entry.body), f"{least} to {most} bytes")
    if not 0 <= entry.number <= U32_MAX or not 0 <= entry.at_ns <= U64_MAX or len(entry.party) != HASH_BYTES:
        raise EncodingError("journal entry", (entry.number, entry.at_ns, len(entry.party)), "values that fit")


def entry_key(entry: Entry) -> bytes:
    """Return the key that keeps the entries of a party together and in order: its name, then the number, big-endian."""
    return entry.party + entry.number.to_bytes(4, "big")


def encode_entry(entry: Entry) -> bytes:
    """Return an entry's bytes; raises EncodingError for a body that its kind does not have."""
    _check(entry.kind, entry)
    head = _HEAD.pack(_VERSION, entry.kind, 0, len(entry.body), entry.number, 0, entry.at_ns, entry.party)
    data = head + entry.body
    return data + _seal(data)


def decode_entry(data: bytes) -> Entry:
    """Read an entry; raises EncodingError for anything that ``encode_entry`` did not write."""
    if not _HEAD.size + _SEAL_BYTES <= len(data) <= ENTRY_BYTES_MAX:
        raise EncodingError("journal entry bytes", len(data), f"at most {ENTRY_BYTES_MAX}")
    sealed, seal = data[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
    if _seal(sealed) != seal:
        raise EncodingError("journal entry's seal", seal.hex(), "the digest of what it seals")
    version, number_of_kind, zero, length, number, rest, at_ns, party = _HEAD.unpack_from(sealed)
    body = sealed[_HEAD.size :]
    if version != _VERSION or zero or rest or length != len(body):
        raise EncodingError("journal entry's head", (version, zero, rest, length), (_VERSION, 0, 0, len(body)))
    try:
        kind = EntryKind(number_of_kind)
    except ValueError as error:
        raise EncodingError("kind of journal entry", number_of_kind, "a known kind") from error
    entry = Entry(kind, party, number, at_ns, body)
    _check(kind, entry)
    return entry


# Bodies.


def locking_body(leg: int, signed_at_ns: int) -> bytes:
    """Return the body of LOCKING."""
    return _LOCKING.pack(leg, signed_at_ns)


def read_locking(body: bytes) -> tuple[int, int]:
    """Return leg and instant of LOCKING."""
    leg, signed_at_ns = _LOCKING.unpack(body)
    return leg, signed_at_ns


def finished_body(outcome: Outcome, code: int) -> bytes:
    """Return the body of FINISHED."""
    return _FINISHED.pack(outcome, code)


def read_finished(body: bytes) -> tuple[Outcome, int]:
    """Return outcome and code of FINISHED."""
    outcome, code = _FINISHED.unpack(body)
    return Outcome(outcome), code


def read_begun(body: bytes) -> tuple[bytes, bytes]:
    """Return salt and terms of BEGUN."""
    return body[:SALT_BYTES], body[SALT_BYTES:]


def read_accepted(body: bytes) -> tuple[int, bytes]:
    """Return leg and terms of ACCEPTED."""
    return body[0], body[1:]


def leg_of(body: bytes) -> int:
    """Return the leg that ASKING, CLAIMING and REFUNDING name."""
    return body[0]
