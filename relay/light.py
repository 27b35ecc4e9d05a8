"""The light client: follows changes of the validator set and verifies any later block, without the blocks between (07).

It promises to believe nothing but quorums of a set it was led to from the genesis or a checkpoint that it was given.
Who knows only a set that has retired answers ``stale_trust``: fetch the proofs of the changes since, in order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from engine.block import InclusionPath
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RELAY_HEADER_BYTES, RelayHeader, RelayRecord, body_path, verify_anchor
from engine.types import HASH_BYTES, RelayRecordType
from engine.validators import Certificate, ValidatorSet
from native.hashing import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

    from engine.genesis import Genesis
    from engine.relay_block import RelayBlock

__all__ = ["LightClient", "RecordProof", "Trust"]

PROOF_MAGIC: Final = b"CSRP"
PROOF_VERSION: Final = 1
SETS_MAX: Final = 4096
_HEAD: Final = struct.Struct("<4sHHIII")


@dataclass(frozen=True, slots=True)
class RecordProof:
    """That a record stands in a final relay block: the block's header, its certificate, the record and its path."""

    header: RelayHeader
    certificate: Certificate
    record: RelayRecord
    path: InclusionPath

    @classmethod
    def of(cls, suite: int, block: RelayBlock, certificate: Certificate, index: int) -> Self:
        """Prove one record of a block."""
        path = InclusionPath(index, len(block.records), body_path(suite, block.records, index))
        return cls(block.header, certificate, block.records[index], path)

    def check(self, suite: int) -> None:
        """Demand that the record is the block's; who certified the block is not asked. Raises ProofRefused."""
        if self.path.count != self.header.record_count:
            raise ProofRefused(
                "record", f"{self.path.count} records, where the header counts {self.header.record_count}"
            )
        self.path.check(suite, leaf_hash(suite, self.record.encode()), self.header.body_root, "record")

    def encode(self) -> bytes:
        """Return magic, version, zero, three lengths u32, then header, certificate, record, path."""
        certificate, record = self.certificate.encode(), self.record.encode()
        path = self.path.encode()
        head = _HEAD.pack(PROOF_MAGIC, PROOF_VERSION, 0, len(certificate), len(record), len(path))
        return head + self.header.encode() + certificate + record + path

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a proof from exactly its bytes; raises EncodingError or CertificateRefused."""
        view = memoryview(data).cast("B")
        if view.nbytes < _HEAD.size:
            raise EncodingError("record proof bytes", view.nbytes, f"at least {_HEAD.size}")
        magic, version, zero, *lengths = _HEAD.unpack(view[: _HEAD.size])
        if (magic, version, zero) != (PROOF_MAGIC, PROOF_VERSION, 0):
            raise EncodingError("record proof head", (magic, version, zero), (PROOF_MAGIC, PROOF_VERSION, 0))
        parts, at = [], _HEAD.size
        for length in (RELAY_HEADER_BYTES, *lengths):
            parts.append(view[at : at + length])
            at += length
        if view.nbytes != at:
            raise EncodingError("record proof bytes", view.nbytes, at)
        record, used = RelayRecord.decode_prefix(parts[2])
        path, path_used = InclusionPath.decode_prefix(parts[3])
        if (used, path_used) != (lengths[1], lengths[2]):
            raise EncodingError("record proof parts", (used, path_used), tuple(lengths[1:]))
        return cls(RelayHeader.decode(parts[0]), Certificate.decode(parts[1]), record, path)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a client is told to trust: a set, and a final block of a height by its hash (height 0: none).

    ``time`` is relay time of that block, for clients that let their trust age.
    """

    validators: ValidatorSet
    height: int = 0
    hash: bytes = bytes(HASH_BYTES)
    time: int = 0


class LightClient:
    """Knows the sets from its trust on, ascending; each change moves it one set forward."""

    def __init__(
        self,
        suite: int,
        genesis_hash: bytes,
        trust: Trust,
        *,
        later: Iterable[ValidatorSet] = (),
        trust_period_ns: int | None = None,
    ) -> None:
        """Begin with a trust, and with the sets after it where they are known already.

        With ``trust_period_ns`` it goes stale when nothing newer was verified for so long.
        """
        self._suite = suite
        self._genesis_hash = genesis_hash
        self._trust = trust
        self._period = trust_period_ns
        self._sets = [trust.validators, *later]
        self._newest_time = trust.time

    @classmethod
    def from_genesis(cls, genesis: Genesis, *, trust_period_ns: int | None = None) -> Self:
        """Trust the first set of a network."""
        trust = Trust(ValidatorSet.of_genesis(genesis), time=genesis.time)
        return cls(genesis.hash_suite, genesis.hash, trust, trust_period_ns=trust_period_ns)

    @property
    def newest(self) -> ValidatorSet:
        """The latest set it was led to."""
        return self._sets[-1]

    def set_at(self, height: int) -> ValidatorSet:
        """Return the set that decides a height, as far as is known; raises ProofRefused before the trusted one."""
        for validators in reversed(self._sets):
            if validators.first_height <= height:
                return validators
        raise ProofRefused("trust", f"height {height} is before the trusted set {self._sets[0].set_id}")

    def verify(self, header: RelayHeader, certificate: Certificate, *, now: int | None = None) -> int:
        """Demand that a block is final; return the power that certified it. Raises ProofRefused naming the step.

        Step ``stale_trust``: its set is one that this client was not led to, or its trust is older than its period at
        ``now`` (ns, the client's clock).
        """
        if header.genesis_hash != self._genesis_hash:
            raise ProofRefused("relay block", "it is of another network")
        newest = self.newest
        if header.set_id > newest.set_id:
            raise ProofRefused("stale_trust", f"set {header.set_id}, where set {newest.set_id} is the newest known")
        self._check_age(now)
        validators = self.set_at(header.height)
        if header.set_id != validators.set_id:
            # Also what a retired set signs for heights after its own: it decides those no more.
            raise ProofRefused("certificate", f"set {header.set_id} does not decide height {header.height}")
        verify_anchor(self._suite, header, certificate, validators)
        power = certificate.verify(self._suite, self._genesis_hash, validators)
        if header.height == self._trust.height and header.hash(self._suite) != self._trust.hash:
            raise ProofRefused("fork", f"height {header.height} is final with another block than the trusted one")
        self._newest_time = max(self._newest_time, header.time)
        return power

    def follow(self, change: RecordProof, *, now: int | None = None) -> ValidatorSet:
        """Take the proof of the next change of set; return the new set. Raises ProofRefused, EncodingError."""
        if change.record.type is not RelayRecordType.VALIDATOR_SET:
            raise ProofRefused("set change", f"a record of type {int(change.record.type)}")
        following = change.record.validator_set()
        if following.set_id != self.newest.set_id + 1:
            raise ProofRefused("set change", f"set {following.set_id} after set {self.newest.set_id}")
        if change.header.set_id != self.newest.set_id or following.first_height <= change.header.height:
            raise ProofRefused("set change", f"set {following.set_id} was not announced by the set before it")
        if len(self._sets) >= SETS_MAX:
            raise ProofRefused("set change", f"{SETS_MAX} sets are known; begin again from a later trust")
        self.verify(change.header, change.certificate, now=now)
        change.check(self._suite)
        self._sets.append(following)
        return following

    def verify_record(self, proof: RecordProof, *, now: int | None = None) -> int:
        """Demand that a record stands in a final block; return the power. Raises ProofRefused."""
        power = self.verify(proof.header, proof.certificate, now=now)
        proof.check(self._suite)
        return power

    def trust_at(self, header: RelayHeader) -> Trust:
        """Return what another client may be given to begin with, after ``verify`` of this header."""
        return Trust(self.set_at(header.height), header.height, header.hash(self._suite), header.time)

    def _check_age(self, now: int | None) -> None:
        if self._period is not None and now is not None and now > self._newest_time + self._period:
            raise ProofRefused("stale_trust", f"nothing was verified for {now - self._newest_time} ns")
