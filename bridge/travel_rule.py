"""Travel-rule data: who pays whom, sealed for two supervisors and named by a hash in the terms of the swap.

It promises that either supervisor alone opens an envelope and nobody else does, that both read the same bytes, and
that a changed envelope opens for nobody. A hash of the secret's salt is inside: the salt itself would let whoever
opens an envelope compute the secret before its time; shown after the claim, it proves which terms, and with them
which envelope, the preimage was for. Randomness is handed in; keys are not kept.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import ECDH, SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey as P256PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridge.refusals import BridgeCode, BridgeRefused
from engine.hashing import digest
from engine.refusals import EncodingError
from engine.types import HASH_BYTES, U32_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DATA_BYTES_MAX",
    "ENVELOPE_BYTES_MAX",
    "RECIPIENTS",
    "EnvelopeRefusedError",
    "Line",
    "Party",
    "Recipient",
    "Scheme",
    "Seeds",
    "TravelRuleData",
    "demand_recipients",
    "envelope_hash",
    "open_envelope",
    "public_key_of",
    "recipients_of",
    "seal",
]

RECIPIENTS: Final = 2
"""The supervisors of the payer's and of the payee's jurisdiction."""
DATA_BYTES_MAX: Final = 16_384
PADDING_BYTES: Final = 512
"""Data are padded to multiples of this, so that the length of a name is not to be read off the envelope."""
ENVELOPE_BYTES_MAX: Final = 20_480
_MAGIC: Final = b"CSTE"
_VERSION: Final = 1
_KEY_BYTES: Final = 32
_WRAPPED_BYTES: Final = 48
_HEAD: Final = struct.Struct("<4sHH32s32s")  # magic, version, recipient count, network, commitment to the content key
_ROW: Final = struct.Struct("<IIHH64s48s")  # participant, key id, scheme, zero, ephemeral public key, wrapped key
_LENGTH: Final = struct.Struct("<I")
_SEALED_AT: Final = _HEAD.size + RECIPIENTS * _ROW.size
# Each key below encrypts one message and is never used again, so that the nonce may stand still.
_NONCE: Final = bytes(12)
_WRAP_INFO: Final = b"clearspan/travel-rule-wrap/1"
_COMMITMENT: Final = b"clearspan/travel-rule-key/1"
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_POINT_PREFIX: Final = b"\x04"  # an uncompressed point, x || y
assert (_HEAD.size, _ROW.size) == (72, 124)

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Line = Annotated[str, msgspec.Meta(max_length=512)]
"""A text that may be empty."""


class EnvelopeRefusedError(Exception):
    """An envelope that does not open for this key: ``reason`` is a word."""

    def __init__(self, reason: str) -> None:
        """Keep the word."""
        super().__init__(f"travel-rule envelope: {reason}")
        self.reason = reason


@unique
class Scheme(IntEnum):
    """How a content key is sealed for one recipient."""

    X25519 = 1
    P256 = 2


class Party(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A payer or payee: ``name`` and ``account`` always; one of address, identification and register where asked."""

    name: _Text
    account: _Text
    participant: Annotated[int, msgspec.Meta(ge=1, le=U32_MAX)]
    country: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
    address: Line = ""
    identification: Line = ""
    register: Line = ""

    def demand_known(self) -> None:
        """Demand that it can be told apart: a name and an account alone do not do it. Raises BridgeRefused."""
        if not (self.address or self.identification or self.register):
            raise BridgeRefused(
                BridgeCode.TRAVEL_RULE_MISSING, "the originator needs an address, an identification or a register entry"
            )


class TravelRuleData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the two supervisors may read; amounts in minor units as text, ``salt_hash`` and ``uetr`` in hexadecimal."""

    format: Annotated[int, msgspec.Meta(ge=1, le=1)]
    uetr: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    originator: Party
    beneficiary: Party
    amount_sent: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,38}$")]
    amount_received: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]{0,38}$")]
    source_ledger: Annotated[int, msgspec.Meta(ge=1, le=U32_MAX)]
    target_ledger: Annotated[int, msgspec.Meta(ge=1, le=U32_MAX)]
    salt_hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    purpose: Line = ""

    def __post_init__(self) -> None:
        """Demand that the originator can be told apart."""
        self.originator.demand_known()

    def encode(self) -> bytes:
        """Return the canonical JSON; raises BridgeRefused beyond the bound."""
        data = msgspec.json.encode(self, order="sorted")
        if len(data) > DATA_BYTES_MAX:
            raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"travel-rule data of {len(data)} bytes")
        return data


_DECODER: Final = msgspec.json.Decoder(TravelRuleData)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A supervisor's key to seal for: 32 bytes for X25519, x || y of 64 bytes for P-256."""

    participant: int
    key_id: int
    scheme: Scheme
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Seeds:
    """Fresh randomness for one envelope, 32 bytes each: the content key, and an ephemeral secret for each recipient."""

    content_key: bytes
    ephemerals: tuple[bytes, bytes]


def seal(data: TravelRuleData, recipients: Sequence[Recipient], network: bytes, seeds: Seeds) -> bytes:
    """Return the envelope that exactly these two recipients open.

    Raises BridgeRefused (travel_rule_missing) for other than two different recipients or a key that is none, and
    EncodingError for seeds of another length. The same seeds must never be used for other data.
    """
    if len(recipients) != RECIPIENTS or len({each.participant for each in recipients}) != RECIPIENTS:
        raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, "an envelope is for two different supervisors")
    if {len(seeds.content_key), *map(len, seeds.ephemerals)} != {_KEY_BYTES} or len(network) != HASH_BYTES:
        raise EncodingError("seeds and network", "another length", "32 bytes each")
    if len({seeds.content_key, *seeds.ephemerals}) != RECIPIENTS + 1:
        raise EncodingError("seeds", "one of them twice", "three different ones")
    head = _HEAD.pack(_MAGIC, _VERSION, RECIPIENTS, network, _commitment(seeds.content_key))
    rows = b"".join(
        _row(each, network, ephemeral, seeds.content_key)
        for each, ephemeral in zip(recipients, seeds.ephemerals, strict=True)
    )
    content = data.encode()
    framed = _LENGTH.pack(len(content)) + content
    framed += bytes(-len(framed) % PADDING_BYTES)
    return head + rows + AESGCM(seeds.content_key).encrypt(_NONCE, framed, head + rows)


def open_envelope(envelope: bytes, network: bytes, recipient: Recipient, secret: bytes) -> TravelRuleData:
    """Open an envelope with one supervisor's 32-byte secret (P-256: a big-endian scalar).

    Raises EnvelopeRefusedError with malformed, network, recipient (not sealed for this key), key (the key does not
    open it), commitment (the sealer gave the recipients different keys), content (changed since, or no such data).
    """
    ours = [row for row in _rows(envelope, network) if row[:3] == _identity(recipient)]
    if len(ours) != 1:
        raise EnvelopeRefusedError("recipient")
    _, _, _, ephemeral, wrapped = ours[0]
    try:
        wrapping = _wrapping_key(recipient, network, ephemeral, _shared(recipient.scheme, secret, ephemeral))
        content_key = AESGCM(wrapping).decrypt(_NONCE, wrapped, _associated(recipient, ephemeral))
    except (InvalidTag, ValueError) as error:
        raise EnvelopeRefusedError("key") from error
    if _commitment(content_key) != envelope[_HEAD.size - HASH_BYTES : _HEAD.size]:
        raise EnvelopeRefusedError("commitment")
    try:
        framed = AESGCM(content_key).decrypt(_NONCE, envelope[_SEALED_AT:], envelope[:_SEALED_AT])
    except InvalidTag as error:
        raise EnvelopeRefusedError("content") from error
    return _read(framed)


def recipients_of(envelope: bytes, network: bytes) -> tuple[tuple[int, int, Scheme], ...]:
    """Return (participant, key id, scheme) of both recipients without opening anything.

    Who accepts a swap demands with this that the right supervisors can read it. Raises EnvelopeRefusedError.
    """
    return tuple(row[:3] for row in _rows(envelope, network))


def demand_recipients(envelope: bytes, network: bytes, recipients: Sequence[Recipient]) -> None:
    """Demand that an envelope is sealed for exactly these supervisors, in their order, without opening it.

    Whether they can read what is inside only they can say: a provider demands here that they were meant to. Raises
    BridgeRefused (travel_rule_missing).
    """
    try:
        found = recipients_of(envelope, network)
    except EnvelopeRefusedError as error:
        raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, str(error)) from error
    if found != tuple(_identity(each) for each in recipients):
        raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, f"the envelope is sealed for {found}")


def public_key_of(scheme: Scheme, secret: bytes) -> bytes:
    """Return the public key of a supervisor's 32-byte secret, as a `Recipient` has it."""
    public = _public(scheme, secret)
    return public[:_KEY_BYTES] if scheme is Scheme.X25519 else public


def envelope_hash(suite: int, envelope: bytes) -> bytes:
    """Return the 32 bytes that stand in the swap's terms."""
    return digest(suite, b"clearspan/travel-rule/1" + envelope)


def _rows(envelope: bytes, network: bytes) -> list[tuple[int, int, Scheme, bytes, bytes]]:
    if not _SEALED_AT < len(envelope) <= ENVELOPE_BYTES_MAX:
        raise EnvelopeRefusedError("malformed")
    magic, version, count, found, _ = _HEAD.unpack_from(envelope)
    if (magic, version, count) != (_MAGIC, _VERSION, RECIPIENTS):
        raise EnvelopeRefusedError("malformed")
    if found != network:
        raise EnvelopeRefusedError("network")
    rows = []
    for participant, key_id, scheme, zero, ephemeral, wrapped in _ROW.iter_unpack(envelope[_HEAD.size : _SEALED_AT]):
        if zero or scheme not in (Scheme.X25519, Scheme.P256):
            raise EnvelopeRefusedError("malformed")
        rows.append((participant, key_id, Scheme(scheme), ephemeral, wrapped))
    return rows


def _row(recipient: Recipient, network: bytes, ephemeral_secret: bytes, content_key: bytes) -> bytes:
    try:
        ephemeral = _public(recipient.scheme, ephemeral_secret)
        shared = _shared(recipient.scheme, ephemeral_secret, recipient.public_key.ljust(64, b"\0"))
    except ValueError as error:
        raise BridgeRefused(
            BridgeCode.TRAVEL_RULE_MISSING, f"key {recipient.key_id} of supervisor {recipient.participant}: {error}"
        ) from error
    wrapping = _wrapping_key(recipient, network, ephemeral, shared)
    wrapped = AESGCM(wrapping).encrypt(_NONCE, content_key, _associated(recipient, ephemeral))
    return _ROW.pack(*_identity(recipient), 0, ephemeral, wrapped)


def _identity(recipient: Recipient) -> tuple[int, int, Scheme]:
    return recipient.participant, recipient.key_id, recipient.scheme


def _associated(recipient: Recipient, ephemeral: bytes) -> bytes:
    return struct.pack("<IIH", *_identity(recipient)) + ephemeral


def _wrapping_key(recipient: Recipient, network: bytes, ephemeral: bytes, shared: bytes) -> bytes:
    """Derive the key that wraps the content key; it is bound to both public keys, the recipient and the network."""
    info = _WRAP_INFO + _associated(recipient, ephemeral) + recipient.public_key.ljust(64, b"\0")
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=network, info=info).derive(shared)


def _commitment(content_key: bytes) -> bytes:
    """Return what fixes the content key: without it one ciphertext could be made to open differently under two keys."""
    return hashlib.sha256(_COMMITMENT + content_key).digest()


def _public(scheme: Scheme, secret: bytes) -> bytes:
    """Return a public key in 64 bytes."""
    if scheme is Scheme.X25519:
        return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw().ljust(64, b"\0")
    point = _p256_secret(secret).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return point[1:]


def _shared(scheme: Scheme, secret: bytes, public: bytes) -> bytes:
    """Return the shared secret; raises ValueError for a key that is none (a point off the curve, or of small order)."""
    if scheme is Scheme.X25519:
        if any(public[32:]):
            raise ValueError("an X25519 key has 32 bytes")
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public[:32]))
    peer = P256PublicKey.from_encoded_point(SECP256R1(), _POINT_PREFIX + public)
    return _p256_secret(secret).exchange(ECDH(), peer)


def _p256_secret(secret: bytes) -> EllipticCurvePrivateKey:
    # 32 random bytes are above the order once in 2^32: reduced, and one added, they are a scalar always.
    scalar = int.from_bytes(secret, "big")
    if not 0 < scalar < _P256_ORDER:
        scalar = scalar % (_P256_ORDER - 1) + 1
    return derive_private_key(scalar, SECP256R1())


def _read(framed: bytes) -> TravelRuleData:
    if len(framed) < _LENGTH.size:
        raise EnvelopeRefusedError("content")
    end = _LENGTH.size + _LENGTH.unpack_from(framed)[0]
    content = framed[_LENGTH.size : end]
    try:
        data: TravelRuleData = _DECODER.decode(content)
        if end > len(framed) or any(framed[end:]) or data.encode() != content:
            raise EnvelopeRefusedError("content")
    except (msgspec.DecodeError, RecursionError, BridgeRefused) as error:
        raise EnvelopeRefusedError("content") from error
    return data
