"""The block header of a shard and its signature: 416 bytes, channels and ledgers, canonical both ways (04, BLOCK-1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

from engine.prefix import PrefixType, signing_prefix
from engine.refusals import EncodingError, ProofRefused
from engine.types import HASH_BYTES, SIGNATURE_BYTES, U16_MAX, U128_MAX, HashSuite
from native.hashing import digest
from native.signatures import verify

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "CHANNEL_ENTRY_BYTES",
    "HEADER_BYTES",
    "HEADER_MAGIC",
    "HEADER_VERSION",
    "LEDGER_ENTRY_BYTES",
    "ChannelEntry",
    "Header",
    "LedgerEntry",
    "SignedHeader",
    "header_message",
]

HEADER_MAGIC: Final = b"CSBH"
HEADER_VERSION: Final = 1
HEADER_BYTES: Final = 416
CHANNEL_ENTRY_BYTES: Final = 24
LEDGER_ENTRY_BYTES: Final = 80
_HEADER: Final = struct.Struct("<4sHHIIQQQQQQIHHQQQ32s32s32s32s32s32s32s32s64s")
_CHANNEL: Final = struct.Struct("<IIQQ")
_LEDGER: Final = struct.Struct("<II16s16s16s16sQ")
_SIGNED_HEAD: Final = struct.Struct("<I")
_SIGNED_TAIL: Final = struct.Struct("<I64s")
assert _HEADER.size == HEADER_BYTES
assert _CHANNEL.size == CHANNEL_ENTRY_BYTES
assert _LEDGER.size == LEDGER_ENTRY_BYTES
_RESERVED: Final = bytes(64)
# Signed headers last read, as objects: of a few hundred bytes each, and as many of their ledgers and channels.
_READ_KEPT: Final = 256


def _u128(value: int) -> bytes:
    if not 0 <= value <= U128_MAX:
        raise EncodingError("header sum", value, "0 to 2^128 - 1")
    return value.to_bytes(16, "little")


@dataclass(frozen=True, slots=True)
class ChannelEntry:
    """How far one channel has come: the last sequence sent to a peer shard and the last one received from it."""

    peer: int
    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """Totals of one ledger on the shard, and the sums of its channel accounts (pending and posted)."""

    ledger: int
    debits_pending: int
    debits_posted: int
    channel_credits: int
    channel_debits: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a shard did between two seals, and everything before: a pure function of its log up to the seal."""

    hash_suite: int
    shard: int
    epoch: int
    height: int
    first_number: int
    last_number: int
    time: int
    relay_height: int
    relay_time: int
    slot_map_version: int
    decision_count: int
    outgoing_count: int
    account_count: int
    genesis_hash: bytes
    parent_hash: bytes
    first_record_hash: bytes
    last_record_hash: bytes
    decisions_root: bytes
    state_root: bytes
    outgoing_root: bytes
    headers_root: bytes
    channels: tuple[ChannelEntry, ...]
    ledgers: tuple[LedgerEntry, ...]
    _hash: bytes = field(default=b"", init=False, repr=False, compare=False)

    def encode(self) -> bytes:
        """Return the header's bytes; raises EncodingError when a value does not fit its field."""
        if len(self.channels) > U16_MAX or len(self.ledgers) > U16_MAX:
            raise EncodingError("header entries", (len(self.channels), len(self.ledgers)), f"at most {U16_MAX} of each")
        try:
            head = _HEADER.pack(
                HEADER_MAGIC,
                HEADER_VERSION,
                self.hash_suite,
                self.shard,
                self.epoch,
                self.height,
                self.first_number,
                self.last_number,
                self.time,
                self.relay_height,
                self.relay_time,
                self.slot_map_version,
                len(self.channels),
                len(self.ledgers),
                self.decision_count,
                self.outgoing_count,
                self.account_count,
                *self._hashes(),
                _RESERVED,
            )
        except struct.error as error:
            raise EncodingError("header", self, "values that fit their fields") from error
        channels = (_CHANNEL.pack(each.peer, 0, each.sent, each.received) for each in self.channels)
        return b"".join((head, *channels, *(_encode_ledger(each) for each in self.ledgers)))

    def _hashes(self) -> tuple[bytes, ...]:
        hashes = (
            self.genesis_hash,
            self.parent_hash,
            self.first_record_hash,
            self.last_record_hash,
            self.decisions_root,
            self.state_root,
            self.outgoing_root,
            self.headers_root,
        )
        for value in hashes:
            if len(value) != HASH_BYTES:
                raise EncodingError("header hash bytes", len(value), HASH_BYTES)
        return hashes

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a header from exactly its bytes; raises EncodingError for anything that would not encode to them."""
        view = memoryview(data).cast("B")
        if view.nbytes < HEADER_BYTES:
            raise EncodingError("header bytes", view.nbytes, f"at least {HEADER_BYTES}")
        magic, version, *fields, reserved = _HEADER.unpack(view[:HEADER_BYTES])
        if (magic, version) != (HEADER_MAGIC, HEADER_VERSION):
            raise EncodingError("header magic and version", (magic, version), (HEADER_MAGIC, HEADER_VERSION))
        if reserved != _RESERVED:
            raise EncodingError("header reserved bytes", reserved, "zeros")
        if fields[0] not in (HashSuite.SHA256, HashSuite.SM3):
            raise EncodingError("header hash suite", fields[0], "1 or 2")
        channel_count, ledger_count = fields.pop(10), fields.pop(10)
        expected = HEADER_BYTES + channel_count * CHANNEL_ENTRY_BYTES + ledger_count * LEDGER_ENTRY_BYTES
        if view.nbytes != expected:
            raise EncodingError("header bytes", view.nbytes, expected)
        middle = HEADER_BYTES + channel_count * CHANNEL_ENTRY_BYTES
        channels = tuple(_decode_channel(each) for each in _CHANNEL.iter_unpack(view[HEADER_BYTES:middle]))
        ledgers = tuple(_decode_ledger(each) for each in _LEDGER.iter_unpack(view[middle:]))
        return cls(*[*fields, channels, ledgers])

    @property
    def hash(self) -> bytes:
        """H(header bytes), the header's name everywhere; counted once."""
        if not self._hash:
            object.__setattr__(self, "_hash", digest(self.hash_suite, self.encode()))
        return self._hash


def _encode_ledger(entry: LedgerEntry) -> bytes:
    sums = (entry.debits_pending, entry.debits_posted, entry.channel_credits, entry.channel_debits)
    return _LEDGER.pack(entry.ledger, 0, *(_u128(value) for value in sums), 0)


def _decode_channel(fields: tuple[int, ...]) -> ChannelEntry:
    peer, zero, sent, received = fields
    if zero:
        raise EncodingError("channel entry padding", zero, 0)
    return ChannelEntry(peer, sent, received)


def _decode_ledger(fields: tuple[int | bytes, ...]) -> LedgerEntry:
    ledger, zero, *sums, zeros = fields
    if zero or zeros:
        raise EncodingError("ledger entry padding", (zero, zeros), "zeros")
    assert isinstance(ledger, int)
    return LedgerEntry(ledger, *(int.from_bytes(value, "little") for value in sums if isinstance(value, bytes)))


def header_message(suite: int, genesis_hash: bytes, header_hash: bytes) -> bytes:
    """Return what the shard's block key signs: T(header) || header hash."""
    return signing_prefix(suite, PrefixType.HEADER, genesis_hash) + header_hash


@lru_cache(_READ_KEPT)
def _read_signed(data: bytes) -> tuple[Header, int, bytes]:
    """Read a signed header. The same bytes come as an offer, in a proposal, in a final block: they are read once."""
    view = memoryview(data)
    if view.nbytes < _SIGNED_HEAD.size:
        raise EncodingError("signed header bytes", view.nbytes, f"at least {_SIGNED_HEAD.size}")
    (length,) = _SIGNED_HEAD.unpack(view[: _SIGNED_HEAD.size])
    expected = _SIGNED_HEAD.size + length + _SIGNED_TAIL.size
    if view.nbytes != expected:
        raise EncodingError("signed header bytes", view.nbytes, expected)
    header = Header.decode(view[_SIGNED_HEAD.size : _SIGNED_HEAD.size + length])
    key_id, signature = _SIGNED_TAIL.unpack(view[_SIGNED_HEAD.size + length :])
    return header, key_id, signature


@dataclass(frozen=True, slots=True)
class SignedHeader:
    """A header with the signature of the shard's block key, made after its seal is durable."""

    header: Header
    key_id: int
    signature: bytes

    def encode(self) -> bytes:
        """Return header length, header, key id, signature."""
        if len(self.signature) != SIGNATURE_BYTES:
            raise EncodingError("signature bytes", len(self.signature), SIGNATURE_BYTES)
        header = self.header.encode()
        return _SIGNED_HEAD.pack(len(header)) + header + _SIGNED_TAIL.pack(self.key_id, self.signature)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a signed header from exactly its bytes; raises EncodingError."""
        return cls(*_read_signed(bytes(data)))

    def verify(self, signing_suite: int, public_key: bytes, genesis_hash: bytes | None = None) -> None:
        """Check the signature under the shard's block key, which the caller has looked up; raises ProofRefused.

        With ``genesis_hash`` the header must be of that network; without it the caller compares.
        """
        if genesis_hash not in (None, self.header.genesis_hash):
            raise ProofRefused("header", "it is of another network")
        message = header_message(self.header.hash_suite, self.header.genesis_hash, self.header.hash)
        if not verify(signing_suite, public_key, self.signature, message):
            raise ProofRefused("header", f"key {self.key_id} did not sign height {self.header.height}")
