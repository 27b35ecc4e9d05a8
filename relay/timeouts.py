"""Timeouts and timeout certificates: who gave up a view, and the highest prepare certificate each of them had (07).

A timeout certificate is accepted only if every signature in it holds, each member stands in it once, and three times
the power is above twice the set's. It proves that no block can have been committed in its view or before without
one of its signers having said so.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from engine.batch import raw
from engine.prefix import PrefixType, signing_prefix
from engine.refusals import CertificateRefused, EncodingError
from native.signatures import verify_batch

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from engine.validators import ValidatorSet

__all__ = [
    "TIMEOUT_BYTES",
    "TIMEOUT_CERTIFICATE_MAGIC",
    "TIMEOUT_CERTIFICATE_VERSION",
    "Timeout",
    "TimeoutCertificate",
    "TimeoutSigner",
    "timeout_certificate_bytes_max",
    "timeout_message",
]

TIMEOUT_BYTES: Final = 32
TIMEOUT_CERTIFICATE_MAGIC: Final = b"CSTC"
TIMEOUT_CERTIFICATE_VERSION: Final = 1
_TIMEOUT: Final = struct.Struct("<QQQQ")
_HEAD: Final = struct.Struct("<4sHHQQQII")
_SIGNER: Final = struct.Struct("<HHIQ64s")
assert (_TIMEOUT.size, _HEAD.size, _SIGNER.size) == (TIMEOUT_BYTES, 40, 80)


def timeout_certificate_bytes_max(member_count: int) -> int:
    """Return how many bytes a timeout certificate of a set with so many members has at most."""
    return _HEAD.size + member_count * _SIGNER.size


@dataclass(frozen=True, slots=True)
class Timeout:
    """One member's word that it gave up ``view``; ``high_view_plus_one`` is 0 when it had no prepare certificate."""

    set_id: int
    height: int
    view: int
    high_view_plus_one: int

    def encode(self) -> bytes:
        """Return the 32 bytes that are signed after T(timeout)."""
        return _TIMEOUT.pack(self.set_id, self.height, self.view, self.high_view_plus_one)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 32 bytes; raises EncodingError, also for a certificate of a view that is still to come."""
        view = memoryview(data).cast("B")
        if view.nbytes != TIMEOUT_BYTES:
            raise EncodingError("timeout bytes", view.nbytes, TIMEOUT_BYTES)
        timeout = cls(*_TIMEOUT.unpack(view))
        if timeout.high_view_plus_one > timeout.view + 1:
            raise EncodingError("timeout high view", timeout.high_view_plus_one, f"at most {timeout.view + 1}")
        return timeout


def timeout_message(suite: int, genesis_hash: bytes, timeout: Timeout) -> bytes:
    """Return what a validator's key signs: T(timeout) || timeout."""
    return signing_prefix(suite, PrefixType.TIMEOUT, genesis_hash) + timeout.encode()


@dataclass(frozen=True, slots=True)
class TimeoutSigner:
    """One timeout inside a certificate, less what all of it share."""

    index: int
    high_view_plus_one: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class TimeoutCertificate:
    """A quorum's timeouts of one view; ``signers`` strictly ascend by member index."""

    set_id: int
    height: int
    view: int
    signers: tuple[TimeoutSigner, ...]

    @property
    def high_view_plus_one(self) -> int:
        """The highest prepare certificate that any signer named, as its view plus one; 0 for none."""
        return max((signer.high_view_plus_one for signer in self.signers), default=0)

    def encode(self) -> bytes:
        """Return the certificate's bytes."""
        head = _HEAD.pack(
            TIMEOUT_CERTIFICATE_MAGIC,
            TIMEOUT_CERTIFICATE_VERSION,
            0,
            self.set_id,
            self.height,
            self.view,
            len(self.signers),
            0,
        )
        rows = (_SIGNER.pack(each.index, 0, 0, each.high_view_plus_one, each.signature) for each in self.signers)
        return head + b"".join(rows)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a certificate from exactly its bytes; raises EncodingError. Whether it holds is ``verify``'s to say."""
        view = memoryview(data).cast("B")
        if view.nbytes < _HEAD.size:
            raise EncodingError("timeout certificate bytes", view.nbytes, f"at least {_HEAD.size}")
        magic, version, zero, set_id, height, its_view, count, more = _HEAD.unpack(view[: _HEAD.size])
        if (magic, version, zero, more) != (TIMEOUT_CERTIFICATE_MAGIC, TIMEOUT_CERTIFICATE_VERSION, 0, 0):
            raise EncodingError("timeout certificate head", (magic, version, zero, more), "its magic, version, zeros")
        if view.nbytes != _HEAD.size + count * _SIGNER.size:
            raise EncodingError("timeout certificate bytes", view.nbytes, _HEAD.size + count * _SIGNER.size)
        signers = []
        for index, zeros, rest, high, signature in _SIGNER.iter_unpack(view[_HEAD.size :]):
            if zeros or rest:
                raise EncodingError("timeout signer padding", (zeros, rest), "zeros")
            if high > its_view + 1:
                raise EncodingError("timeout high view", high, f"at most {its_view + 1}")
            signers.append(TimeoutSigner(index, high, signature))
        return cls(set_id, height, its_view, tuple(signers))

    def timeout_of(self, signer: TimeoutSigner) -> Timeout:
        """Return the timeout that a signer's signature is over."""
        return Timeout(self.set_id, self.height, self.view, signer.high_view_plus_one)

    def verify(self, suite: int, genesis_hash: bytes, validators: ValidatorSet) -> int:
        """Demand a quorum of the set, every signature of it valid; return its power. Raises CertificateRefused."""
        if self.set_id != validators.set_id:
            raise CertificateRefused("timeout certificate", f"set {self.set_id}, not {validators.set_id}")
        power = validators.power_of(signer.index for signer in self.signers)
        if not validators.is_quorum(power):
            raise CertificateRefused("timeout certificate", f"power {power} of {validators.power} is no quorum")
        prefix = signing_prefix(suite, PrefixType.TIMEOUT, genesis_hash)
        verdicts = bytearray(len(self.signers))
        failed = verify_batch(
            validators.registry,
            raw(np.array([signer.index + 1 for signer in self.signers], dtype=np.uint32)),
            b"".join(signer.signature for signer in self.signers),
            b"".join(prefix + self.timeout_of(signer).encode() for signer in self.signers),
            verdicts,
        )
        if failed:
            bad = [signer.index for signer, holds in zip(self.signers, verdicts, strict=True) if not holds]
            raise CertificateRefused("timeout certificate", f"signatures of members {bad} do not hold")
        return power
