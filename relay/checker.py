"""Checks signatures of votes, timeouts and certificates in batches, and remembers which certificates hold.

What was found to hold is never verified twice: a certificate arrives from the leader, again inside the next block,
again in timeouts. The memory is bounded and forgets the oldest first; only what holds is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from engine.batch import raw
from engine.prefix import PrefixType, signing_prefix
from native.hashing import digest
from native.signatures import verify_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.validators import Certificate, ValidatorSet, Vote
    from relay.timeouts import Timeout, TimeoutCertificate

__all__ = ["Checker", "SignedItem"]

_REMEMBERED_MAX: Final = 512

SignedItem: TypeAlias = "tuple[int, Vote | Timeout, bytes]"
"""Member index, what it signed, the signature."""


class Checker:
    """One network's signature checks; cores of one process may share it. ``verified`` counts signatures checked."""

    def __init__(self, suite: int, genesis_hash: bytes) -> None:
        self.suite = suite
        self.genesis_hash = genesis_hash
        self.verified = 0
        self._vote_prefix = signing_prefix(suite, PrefixType.VOTE, genesis_hash)
        self._timeout_prefix = signing_prefix(suite, PrefixType.TIMEOUT, genesis_hash)
        self._holding: dict[bytes, None] = {}

    def vote_message(self, vote: Vote) -> bytes:
        """Return what a validator signs for a vote."""
        return self._vote_prefix + vote.encode()

    def timeout_message(self, timeout: Timeout) -> bytes:
        """Return what a validator signs for a timeout."""
        return self._timeout_prefix + timeout.encode()

    def votes(self, validators: ValidatorSet, items: Sequence[tuple[int, Vote, bytes]]) -> list[bool]:
        """Return for each (index, vote, signature) whether it holds; indexes are below the set's size."""
        return self._batch(
            validators,
            [index for index, _, _ in items],
            [signature for _, _, signature in items],
            [self.vote_message(vote) for _, vote, _ in items],
        )

    def timeouts(self, validators: ValidatorSet, items: Sequence[tuple[int, Timeout, bytes]]) -> list[bool]:
        """Return for each (index, timeout, signature) whether it holds; indexes are below the set's size."""
        return self._batch(
            validators,
            [index for index, _, _ in items],
            [signature for _, _, signature in items],
            [self.timeout_message(timeout) for _, timeout, _ in items],
        )

    def certificate(self, validators: ValidatorSet, certificate: Certificate | TimeoutCertificate) -> None:
        """Demand that a certificate is a quorum's of the set; raises CertificateRefused."""
        name = self._name(validators, certificate)
        if name in self._holding:
            return
        self.verified += len(certificate.signers)
        certificate.verify(self.suite, self.genesis_hash, validators)
        self._remember(name)

    def made(self, validators: ValidatorSet, certificate: Certificate | TimeoutCertificate) -> None:
        """Remember a certificate that was put together from signatures which were each checked."""
        self._remember(self._name(validators, certificate))

    def _name(self, validators: ValidatorSet, certificate: Certificate | TimeoutCertificate) -> bytes:
        return validators.set_id.to_bytes(8, "little") + digest(self.suite, certificate.encode())

    def _remember(self, name: bytes) -> None:
        self._holding[name] = None
        if len(self._holding) > _REMEMBERED_MAX:
            del self._holding[next(iter(self._holding))]

    def _batch(
        self, validators: ValidatorSet, indexes: list[int], signatures: list[bytes], messages: list[bytes]
    ) -> list[bool]:
        if not indexes:
            return []
        self.verified += len(indexes)
        verdicts = bytearray(len(indexes))
        keys = raw(np.array([index + 1 for index in indexes], dtype=np.uint32))
        verify_batch(validators.registry, keys, b"".join(signatures), b"".join(messages), verdicts)
        return [bool(verdict) for verdict in verdicts]
