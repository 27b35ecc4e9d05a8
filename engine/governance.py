"""Governance records of the relay: what more than two thirds of the power signed, and the bodies they sign (07).

It promises exact bytes and whose signatures stand under them. Whether a body may take effect is the relay's state to
say, never this module's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from engine.batch import raw
from engine.header import Header
from engine.prefix import PrefixType, signing_prefix
from engine.refusals import CertificateRefused, EncodingError
from engine.types import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, SLOT_COUNT, RelayRecordType
from engine.validators import MEMBERS_MAX
from native.hashing import digest
from native.signatures import verify_batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from typing_extensions import Buffer

    from engine.validators import ValidatorSet

__all__ = [
    "CORRIDOR_BYTES_MAX",
    "Approval",
    "BlockKeyChange",
    "Corridor",
    "Governed",
    "NumberChange",
    "Parameter",
    "ParameterKind",
    "Resume",
    "SlotMap",
    "approvals_power",
    "decode_approvals",
    "decode_parameter",
    "encode_approvals",
    "governance_message",
]

CORRIDOR_BYTES_MAX: Final = 16_384
GOVERNED_BYTES_MAX: Final = 1 << 20
_LENGTH: Final = struct.Struct("<I")
_APPROVAL: Final = struct.Struct("<HHI64s")
_TYPE: Final = struct.Struct("<H")
_SLOT_MAP_HEAD: Final = struct.Struct("<IIQ")
_CORRIDOR_HEAD: Final = struct.Struct("<16sIIQII")
_PARAMETER_HEAD: Final = struct.Struct("<HHIQ")
_BLOCK_KEY: Final = struct.Struct("<IIHHI64s")
_NUMBER: Final = struct.Struct("<Q")
_RESUME: Final = struct.Struct("<IHHII64sII")
assert (_APPROVAL.size, _SLOT_MAP_HEAD.size, _CORRIDOR_HEAD.size, _PARAMETER_HEAD.size) == (72, 16, 40, 16)
assert (_BLOCK_KEY.size, _RESUME.size) == (80, 88)


def governance_message(suite: int, genesis_hash: bytes, kind: int, body: bytes) -> bytes:
    """Return what an approval signs: T(governance) || H(record type u16 || body)."""
    return signing_prefix(suite, PrefixType.GOVERNANCE, genesis_hash) + digest(suite, _TYPE.pack(kind) + body)


@dataclass(frozen=True, slots=True)
class Approval:
    """One member's signature under a body; ``index`` is its place in the set, or 0 old key and 1 new key (RELAY-31)."""

    index: int
    signature: bytes


def encode_approvals(approvals: Sequence[Approval]) -> bytes:
    """Return count u32, then rows of 72 bytes."""
    rows = b"".join(_APPROVAL.pack(each.index, 0, 0, each.signature) for each in approvals)
    return _LENGTH.pack(len(approvals)) + rows


def decode_approvals(view: memoryview) -> tuple[Approval, ...]:
    """Read approvals from exactly their bytes, indexes strictly ascending; raises EncodingError."""
    if view.nbytes < _LENGTH.size:
        raise EncodingError("approval bytes", view.nbytes, f"at least {_LENGTH.size}")
    (count,) = _LENGTH.unpack(view[: _LENGTH.size])
    if count > MEMBERS_MAX:
        raise EncodingError("approvals", count, f"at most {MEMBERS_MAX}")
    if view.nbytes != _LENGTH.size + count * _APPROVAL.size:
        raise EncodingError("approval bytes", view.nbytes, _LENGTH.size + count * _APPROVAL.size)
    approvals, last = [], -1
    for index, zero, more, signature in _APPROVAL.iter_unpack(view[_LENGTH.size :]):
        if zero or more or index <= last:
            raise EncodingError("approval row", (index, zero, more), f"an index above {last}, and zeros")
        approvals.append(Approval(index, signature))
        last = index
    return tuple(approvals)


def approvals_power(message: bytes, approvals: Sequence[Approval], validators: ValidatorSet) -> int:
    """Return the power that signed a message, one batch of signatures; raises CertificateRefused for a bad one."""
    power = validators.power_of(each.index for each in approvals)
    if not approvals:
        return 0
    verdicts = bytearray(len(approvals))
    failed = verify_batch(
        validators.registry,
        raw(np.array([each.index + 1 for each in approvals], dtype=np.uint32)),
        b"".join(each.signature for each in approvals),
        message * len(approvals),
        verdicts,
    )
    if failed:
        bad = [each.index for each, holds in zip(approvals, verdicts, strict=True) if not holds]
        raise CertificateRefused("approvals", f"signatures of members {bad} do not hold")
    return power


@dataclass(frozen=True, slots=True)
class Governed:
    """A body with the approvals under it: the payload of records of types 4, 5, 6 and 8."""

    body: bytes
    approvals: tuple[Approval, ...] = ()

    def encode(self) -> bytes:
        """Return body length u32, body, approval count u32, rows."""
        if any(len(each.signature) != SIGNATURE_BYTES for each in self.approvals):
            raise EncodingError("approval signature", "another length", SIGNATURE_BYTES)
        return _LENGTH.pack(len(self.body)) + self.body + encode_approvals(self.approvals)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a payload from exactly its bytes; raises EncodingError. Whether it is approved is not asked."""
        view = memoryview(data).cast("B")
        if view.nbytes < _LENGTH.size:
            raise EncodingError("governance bytes", view.nbytes, f"at least {_LENGTH.size}")
        (length,) = _LENGTH.unpack(view[: _LENGTH.size])
        end = _LENGTH.size + length
        if length > GOVERNED_BYTES_MAX or view.nbytes < end:
            raise EncodingError("governance body bytes", length, f"at most {view.nbytes - _LENGTH.size}")
        return cls(view[_LENGTH.size : end].tobytes(), decode_approvals(view[end:]))

    def demand_quorum(self, suite: int, genesis_hash: bytes, kind: RelayRecordType, validators: ValidatorSet) -> int:
        """Demand that more than two thirds of the set approved; return the power. Raises CertificateRefused."""
        message = governance_message(suite, genesis_hash, kind, self.body)
        power = approvals_power(message, self.approvals, validators)
        if not validators.is_quorum(power):
            raise CertificateRefused("approvals", f"power {power} of {validators.power} is no quorum")
        return power


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Which shard of a domain serves each of the 4,096 slots, from ``effect_height`` on; ``slots``: shard indexes."""

    domain: int
    version: int
    effect_height: int
    slots: bytes

    def encode(self) -> bytes:
        """Return domain u32, version u32, effect height u64, slots 4096."""
        return _SLOT_MAP_HEAD.pack(self.domain, self.version, self.effect_height) + self.slots

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a body from exactly its bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes != _SLOT_MAP_HEAD.size + SLOT_COUNT:
            raise EncodingError("slot map bytes", view.nbytes, _SLOT_MAP_HEAD.size + SLOT_COUNT)
        domain, version, effect_height = _SLOT_MAP_HEAD.unpack(view[: _SLOT_MAP_HEAD.size])
        return cls(domain, version, effect_height, view[_SLOT_MAP_HEAD.size :].tobytes())


@dataclass(frozen=True, slots=True)
class Corridor:
    """A versioned document about exchange between two ledgers; the relay keeps it and does not read it."""

    id: bytes
    version: int
    effect_height: int
    document: bytes

    def encode(self) -> bytes:
        """Return id 16, version u32, zero u32, effect height u64, length u32, zero u32, document."""
        if len(self.id) != 16:
            raise EncodingError("corridor id bytes", len(self.id), 16)
        head = _CORRIDOR_HEAD.pack(self.id, self.version, 0, self.effect_height, len(self.document), 0)
        return head + self.document

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a body from exactly its bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes < _CORRIDOR_HEAD.size:
            raise EncodingError("corridor bytes", view.nbytes, f"at least {_CORRIDOR_HEAD.size}")
        identity, version, zero, height, length, more = _CORRIDOR_HEAD.unpack(view[: _CORRIDOR_HEAD.size])
        if zero or more or length > CORRIDOR_BYTES_MAX:
            raise EncodingError("corridor head", (zero, more, length), f"zeros, at most {CORRIDOR_BYTES_MAX}")
        if view.nbytes != _CORRIDOR_HEAD.size + length:
            raise EncodingError("corridor bytes", view.nbytes, _CORRIDOR_HEAD.size + length)
        return cls(identity, version, height, view[_CORRIDOR_HEAD.size :].tobytes())


@unique
class ParameterKind(IntEnum):
    """What a parameter record changes."""

    BLOCK_KEY = 1
    EPOCH_LENGTH = 2
    RESUME = 3
    DRIFT = 4


@dataclass(frozen=True, slots=True)
class BlockKeyChange:
    """A domain's block key ``old_key_id`` gives way to another; signed by both keys and by no validator."""

    domain: int
    sequence: int
    old_key_id: int
    new_key_id: int
    suite: int
    public_key: bytes

    def encode(self) -> bytes:
        """Return the body."""
        head = _PARAMETER_HEAD.pack(ParameterKind.BLOCK_KEY, 0, self.domain, self.sequence)
        return head + _BLOCK_KEY.pack(self.old_key_id, self.new_key_id, self.suite, 0, 0, self.public_key)


@dataclass(frozen=True, slots=True)
class NumberChange:
    """``kind`` says of which: the epoch's length in heights, or the drift in ns."""

    kind: ParameterKind
    sequence: int
    value: int

    def encode(self) -> bytes:
        """Return the body."""
        return _PARAMETER_HEAD.pack(self.kind, 0, 0, self.sequence) + _NUMBER.pack(self.value)


@dataclass(frozen=True, slots=True)
class Resume:
    """A suspended shard goes on: a successor key, a later epoch, and the last header that counts (None: from none)."""

    shard: int
    sequence: int
    key_id: int
    suite: int
    epoch: int
    public_key: bytes
    header: Header | None

    def encode(self) -> bytes:
        """Return the body; the header's hash, height and last log number follow from its bytes."""
        header = b"" if self.header is None else self.header.encode()
        head = _PARAMETER_HEAD.pack(ParameterKind.RESUME, 0, self.shard, self.sequence)
        fields = (self.key_id, self.suite, 0, self.epoch, 0, self.public_key, len(header), 0)
        return head + _RESUME.pack(*fields) + header


Parameter = BlockKeyChange | NumberChange | Resume


def decode_parameter(data: Buffer) -> Parameter:
    """Read the body of a parameter record from exactly its bytes; raises EncodingError."""
    view = memoryview(data).cast("B")
    if view.nbytes < _PARAMETER_HEAD.size:
        raise EncodingError("parameter bytes", view.nbytes, f"at least {_PARAMETER_HEAD.size}")
    kind, zero, scope, sequence = _PARAMETER_HEAD.unpack(view[: _PARAMETER_HEAD.size])
    rest = view[_PARAMETER_HEAD.size :]
    if zero:
        raise EncodingError("parameter padding", zero, 0)
    if kind == ParameterKind.BLOCK_KEY:
        return _block_key(scope, sequence, rest)
    if kind == ParameterKind.RESUME:
        return _resume(scope, sequence, rest)
    if kind not in (ParameterKind.EPOCH_LENGTH, ParameterKind.DRIFT):
        raise EncodingError("parameter kind", kind, "1 to 4")
    if scope or rest.nbytes != _NUMBER.size:
        raise EncodingError("parameter scope and bytes", (scope, rest.nbytes), (0, _NUMBER.size))
    return NumberChange(ParameterKind(kind), sequence, _NUMBER.unpack(rest)[0])


def _block_key(domain: int, sequence: int, rest: memoryview) -> BlockKeyChange:
    if rest.nbytes != _BLOCK_KEY.size:
        raise EncodingError("block key bytes", rest.nbytes, _BLOCK_KEY.size)
    old, new, suite, zero, more, public_key = _BLOCK_KEY.unpack(rest)
    _zeros("block key padding", (zero, more))
    return BlockKeyChange(domain, sequence, old, new, suite, public_key)


def _resume(shard: int, sequence: int, rest: memoryview) -> Resume:
    if rest.nbytes < _RESUME.size:
        raise EncodingError("resume bytes", rest.nbytes, f"at least {_RESUME.size}")
    key_id, suite, zero, epoch, more, public_key, length, last = _RESUME.unpack(rest[: _RESUME.size])
    _zeros("resume padding", (zero, more, last))
    if rest.nbytes != _RESUME.size + length:
        raise EncodingError("resume bytes", rest.nbytes, _RESUME.size + length)
    header = Header.decode(rest[_RESUME.size :]) if length else None
    return Resume(shard, sequence, key_id, suite, epoch, public_key, header)


def _zeros(what: str, values: Iterable[int]) -> None:
    found = tuple(values)
    if any(found):
        raise EncodingError(what, found, "zeros")


assert PUBLIC_KEY_BYTES == 64
