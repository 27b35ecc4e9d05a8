"""Validator sets, votes and quorum certificates of the relay: their bytes and the arithmetic of power (07).

A certificate is accepted only if every signature in it holds, each member stands in it once, and three times the
power is above twice the set's. Sums are exact and bounded. It knows no views, timers or messages.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from engine.batch import raw
from engine.genesis import padded_key, plain_key, suite_supported
from engine.prefix import PrefixType, signing_prefix
from engine.refusals import CertificateRefused, EncodingError
from engine.types import HASH_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, U64_MAX, VotePhase
from native.errors import KeyRejected, UnknownSuite
from native.hashing import digest
from native.signatures import KeyRegistry, verify_batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

    from engine.genesis import Genesis

__all__ = [
    "CERTIFICATE_MAGIC",
    "CERTIFICATE_VERSION",
    "MEMBERS_MAX",
    "VOTE_BYTES",
    "Certificate",
    "CertificateSigner",
    "Statement",
    "Validator",
    "ValidatorSet",
    "Vote",
    "vote_message",
]

CERTIFICATE_MAGIC: Final = b"CSQC"
CERTIFICATE_VERSION: Final = 1
VOTE_BYTES: Final = 104
# Above it a certificate leaves 128 KiB and agreement on one block its time; the bytes would allow 65,535.
MEMBERS_MAX: Final = 1024
STATEMENT_HEADERS_MAX: Final = 65_536
# The set at hand, those before and after it, and those of a few proofs.
_REGISTRIES_MAX: Final = 16
_VOTE: Final = struct.Struct("<QQQHHI32sQ32s")
_CERTIFICATE: Final = struct.Struct("<4sHHQQQ32sII")
_SIGNER: Final = struct.Struct("<HHIQ32s64s")
_SET_HEAD: Final = struct.Struct("<QQI")
_MEMBER: Final = struct.Struct("<IHHQ64s")
_STATEMENT_HEAD: Final = struct.Struct("<II")
assert _VOTE.size == VOTE_BYTES
assert (_CERTIFICATE.size, _SIGNER.size, _SET_HEAD.size, _MEMBER.size) == (72, 112, 20, 80)


@dataclass(frozen=True, slots=True)
class Validator:
    """One member of a set; ``public_key`` fills 64 bytes."""

    participant: int
    suite: int
    power: int
    public_key: bytes


@dataclass(frozen=True, slots=True)
class ValidatorSet:
    """Who may vote, from a height on; ``power`` is the sum P, ``fault_max`` is F = (P - 1) div 3.

    A set is refused when a sum leaves 64 bits, a key is unusable, the keys of one participant hold more than F (one
    institution could stop or split the relay alone), or a third of the participants or fewer could make a quorum
    (RELAY-3): then so few, bribed or broken into, would speak for all.
    """

    set_id: int
    first_height: int
    members: tuple[Validator, ...]
    power: int = field(init=False, compare=False)
    fault_max: int = field(init=False, compare=False)
    registry: KeyRegistry = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Check the set and load its keys; raises CertificateRefused."""
        if not 0 < len(self.members) <= MEMBERS_MAX:
            raise CertificateRefused("validator set", f"{len(self.members)} members")
        power = sum(member.power for member in self.members)
        # 3 * P has to fit beside 2 * P in the arithmetic of every reader, and P itself in 64 bits.
        if power > U64_MAX or any(not 0 < member.power <= U64_MAX for member in self.members):
            raise CertificateRefused("validator set", "powers are positive and their sum fits 64 bits")
        fault_max = (power - 1) // 3
        by_participant: dict[int, int] = {}
        for member in self.members:
            by_participant[member.participant] = by_participant.get(member.participant, 0) + member.power
        for participant, its_power in by_participant.items():
            if its_power > fault_max:
                raise CertificateRefused(
                    "validator set", f"participant {participant} holds {its_power}, F is {fault_max}"
                )
        fewest = _fewest_for_quorum(by_participant.values(), power)
        if 3 * fewest <= len(by_participant):
            raise CertificateRefused(
                "validator set", f"{fewest} of {len(by_participant)} participants could make a quorum"
            )
        object.__setattr__(self, "power", power)
        object.__setattr__(self, "fault_max", fault_max)
        object.__setattr__(self, "registry", _registry(self.members))

    @classmethod
    def of_genesis(cls, genesis: Genesis) -> Self:
        """Return the first set of a network: set id 1, from height 1."""
        return cls(
            1,
            1,
            tuple(
                Validator(each.participant, each.suite, each.power, padded_key(each.public_key))
                for each in genesis.validators
            ),
        )

    def encode(self) -> bytes:
        """Return the payload of a validator set record."""
        members = (_MEMBER.pack(each.participant, each.suite, 0, each.power, each.public_key) for each in self.members)
        return _SET_HEAD.pack(self.set_id, self.first_height, len(self.members)) + b"".join(members)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a payload from exactly its bytes; raises EncodingError or CertificateRefused."""
        view = memoryview(data).cast("B")
        if view.nbytes < _SET_HEAD.size:
            raise EncodingError("validator set bytes", view.nbytes, f"at least {_SET_HEAD.size}")
        set_id, first_height, count = _SET_HEAD.unpack(view[: _SET_HEAD.size])
        if view.nbytes != _SET_HEAD.size + count * _MEMBER.size:
            raise EncodingError("validator set bytes", view.nbytes, _SET_HEAD.size + count * _MEMBER.size)
        members = []
        for participant, suite, zero, power, public_key in _MEMBER.iter_unpack(view[_SET_HEAD.size :]):
            if zero:
                raise EncodingError("validator padding", zero, 0)
            members.append(Validator(participant, suite, power, public_key))
        return cls(set_id, first_height, tuple(members))

    def is_quorum(self, power: int) -> bool:
        """Say whether a sum of powers is above two thirds of the set's."""
        return 3 * power > 2 * self.power

    def power_of(self, indexes: Iterable[int]) -> int:
        """Return the summed power of members by their indexes, each counted once; raises CertificateRefused."""
        total, last = 0, -1
        for index in indexes:
            if not last < index < len(self.members):
                raise CertificateRefused("certificate", f"member index {index} after {last} of {len(self.members)}")
            total, last = total + self.members[index].power, index
        return total


def _fewest_for_quorum(powers: Iterable[int], total: int) -> int:
    """Return how many participants a quorum needs at least: the strongest first."""
    reached = 0
    for count, power in enumerate(sorted(powers, reverse=True), start=1):
        reached += power
        if 3 * reached > 2 * total:
            return count
    return 0


@lru_cache(maxsize=_REGISTRIES_MAX)
def _registry(members: tuple[Validator, ...]) -> KeyRegistry:
    """Return the keys of the members prepared for the batch kernel; a set that is read again is not prepared again."""
    registry = KeyRegistry()
    known: set[bytes] = set()
    for member in members:
        plain = plain_key(member.suite, member.public_key)
        if plain is None or not suite_supported(member.suite) or member.public_key in known:
            raise CertificateRefused(
                "validator set", f"a key of participant {member.participant} is unusable or stands twice"
            )
        known.add(member.public_key)
        try:
            registry.register(member.suite, plain)
        except (KeyRejected, UnknownSuite) as error:
            raise CertificateRefused("validator set", f"a key of participant {member.participant}: {error}") from error
    return registry


@dataclass(frozen=True, slots=True)
class Vote:
    """What one validator signs: a block at a height, view and phase, its own clock, and the hash of its statement."""

    set_id: int
    height: int
    view: int
    phase: VotePhase
    block_hash: bytes
    time: int
    executed_held: bytes

    def encode(self) -> bytes:
        """Return the 104 bytes that are signed after T(vote)."""
        return _VOTE.pack(
            self.set_id,
            self.height,
            self.view,
            self.phase,
            0,
            0,
            self.block_hash,
            self.time,
            self.executed_held,
        )

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 104 bytes; raises EncodingError."""
        view = memoryview(data).cast("B")
        if view.nbytes != VOTE_BYTES:
            raise EncodingError("vote bytes", view.nbytes, VOTE_BYTES)
        set_id, height, its_view, phase, flags, zero, block_hash, time, executed_held = _VOTE.unpack(view)
        if flags or zero:
            raise EncodingError("vote reserved fields", (flags, zero), "zeros")
        return cls(set_id, height, its_view, _phase(phase), block_hash, time, executed_held)


def _phase(number: int) -> VotePhase:
    try:
        return VotePhase(number)
    except ValueError as error:
        raise EncodingError("vote phase", number, "1 or 2") from error


@dataclass(frozen=True, slots=True)
class Statement:
    """What a voter says of the header records of a block: bit i of a bitmap is the i-th header record, in order.

    ``executed``: it re-executed the shard up to there and came to the same roots. ``held``: it stores the bodies.
    A vote carries H(statement); the statement itself travels beside it.
    """

    count: int
    executed: bytes
    held: bytes

    @classmethod
    def of(cls, count: int, executed: Iterable[int] = (), held: Iterable[int] = ()) -> Self:
        """Return the statement with these bits set; raises EncodingError for an index past ``count``."""
        return cls(count, _bitmap(count, executed), _bitmap(count, held))

    def verified(self, index: int) -> bool:
        """Say whether both bits of a header record are set."""
        return bool(self.executed[index >> 3] & self.held[index >> 3] & 1 << (index & 7))

    def encode(self) -> bytes:
        """Return count u32, zero u32, both bitmaps."""
        return _STATEMENT_HEAD.pack(self.count, 0) + self.executed + self.held

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a statement from exactly its bytes; raises EncodingError, for bits past the last record too."""
        view = memoryview(data).cast("B")
        if view.nbytes < _STATEMENT_HEAD.size:
            raise EncodingError("statement bytes", view.nbytes, f"at least {_STATEMENT_HEAD.size}")
        count, zero = _STATEMENT_HEAD.unpack(view[: _STATEMENT_HEAD.size])
        size = (count + 7) // 8
        if zero or count > STATEMENT_HEADERS_MAX:
            raise EncodingError("statement head", (count, zero), f"at most {STATEMENT_HEADERS_MAX}, and zero")
        if view.nbytes != _STATEMENT_HEAD.size + 2 * size:
            raise EncodingError("statement bytes", view.nbytes, _STATEMENT_HEAD.size + 2 * size)
        bits = view[_STATEMENT_HEAD.size :].tobytes()
        executed, held = bits[:size], bits[size:]
        for bitmap in (executed, held):
            if count & 7 and bitmap[-1] >> (count & 7):
                raise EncodingError("statement bits", bitmap[-1], f"zeros past {count}")
        return cls(count, executed, held)

    def hash(self, suite: int) -> bytes:
        """H(statement): the last 32 bytes of a vote."""
        return digest(suite, self.encode())


def _bitmap(count: int, indexes: Iterable[int]) -> bytes:
    bits = bytearray((count + 7) // 8)
    for index in indexes:
        if not 0 <= index < count:
            raise EncodingError("statement index", index, f"below {count}")
        bits[index >> 3] |= 1 << (index & 7)
    return bytes(bits)


def vote_message(suite: int, genesis_hash: bytes, vote: Vote) -> bytes:
    """Return what a validator's key signs: T(vote) || vote."""
    return signing_prefix(suite, PrefixType.VOTE, genesis_hash) + vote.encode()


@dataclass(frozen=True, slots=True)
class CertificateSigner:
    """One vote inside a certificate, less what all votes of it share."""

    index: int
    time: int
    executed_held: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """A quorum's votes on one block; ``signers`` strictly ascend by member index."""

    phase: VotePhase
    set_id: int
    height: int
    view: int
    block_hash: bytes
    signers: tuple[CertificateSigner, ...]

    def encode(self) -> bytes:
        """Return the certificate's bytes."""
        if len(self.block_hash) != HASH_BYTES:
            raise EncodingError("block hash bytes", len(self.block_hash), HASH_BYTES)
        head = _CERTIFICATE.pack(
            CERTIFICATE_MAGIC,
            CERTIFICATE_VERSION,
            self.phase,
            self.set_id,
            self.height,
            self.view,
            self.block_hash,
            len(self.signers),
            0,
        )
        rows = (_SIGNER.pack(each.index, 0, 0, each.time, each.executed_held, each.signature) for each in self.signers)
        return head + b"".join(rows)

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a certificate from exactly its bytes; raises EncodingError. Whether it holds is ``verify``'s to say."""
        view = memoryview(data).cast("B")
        if view.nbytes < _CERTIFICATE.size:
            raise EncodingError("certificate bytes", view.nbytes, f"at least {_CERTIFICATE.size}")
        magic, version, phase, set_id, height, its_view, block_hash, count, zero = _CERTIFICATE.unpack(
            view[: _CERTIFICATE.size]
        )
        if (magic, version, zero) != (CERTIFICATE_MAGIC, CERTIFICATE_VERSION, 0):
            raise EncodingError("certificate head", (magic, version, zero), (CERTIFICATE_MAGIC, CERTIFICATE_VERSION, 0))
        if view.nbytes != _CERTIFICATE.size + count * _SIGNER.size:
            raise EncodingError("certificate bytes", view.nbytes, _CERTIFICATE.size + count * _SIGNER.size)
        signers = []
        for index, zeros, more, time, executed_held, signature in _SIGNER.iter_unpack(view[_CERTIFICATE.size :]):
            if zeros or more:
                raise EncodingError("certificate signer padding", (zeros, more), "zeros")
            signers.append(CertificateSigner(index, time, executed_held, signature))
        return cls(_phase(phase), set_id, height, its_view, block_hash, tuple(signers))

    def vote_of(self, signer: CertificateSigner) -> Vote:
        """Return the vote that a signer's signature is over."""
        return Vote(self.set_id, self.height, self.view, self.phase, self.block_hash, signer.time, signer.executed_held)

    def verify(self, suite: int, genesis_hash: bytes, validators: ValidatorSet) -> int:
        """Demand a quorum of the set, every signature of it valid; return its power. Raises CertificateRefused."""
        if self.set_id != validators.set_id:
            raise CertificateRefused("certificate", f"set {self.set_id}, where set {validators.set_id} is trusted")
        if self.height < validators.first_height:
            raise CertificateRefused("certificate", f"height {self.height} is before the set's first")
        power = validators.power_of(signer.index for signer in self.signers)
        if not validators.is_quorum(power):
            raise CertificateRefused("certificate", f"power {power} of {validators.power} is no quorum")
        prefix = signing_prefix(suite, PrefixType.VOTE, genesis_hash)
        messages = b"".join(prefix + self.vote_of(signer).encode() for signer in self.signers)
        verdicts = bytearray(len(self.signers))
        failed = verify_batch(
            validators.registry,
            raw(np.array([signer.index + 1 for signer in self.signers], dtype=np.uint32)),
            b"".join(signer.signature for signer in self.signers),
            messages,
            verdicts,
        )
        if failed:
            bad = [signer.index for signer, holds in zip(self.signers, verdicts, strict=True) if not holds]
            raise CertificateRefused("certificate", f"signatures of members {bad} do not hold")
        return power


assert PUBLIC_KEY_BYTES == SIGNATURE_BYTES
