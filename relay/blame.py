"""Proofs of guilt: what no honest member ever signs, and who must have signed it when a height has two final blocks.

Two patterns are enough. *Conflicting votes*: one member's votes for two blocks in one height, view and phase. A
*denied certificate*: a commit vote at view v, which needs a prepare certificate of v in hand, and a timeout of view v
or later that names none of v or later. An honest member makes neither, whatever is lost, delayed or restarted. Anybody
who has the validator set verifies a proof without trusting whoever shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from engine.evidence import ConflictingVotes, DeniedCertificate, SignedVote, TimeoutFields
from engine.refusals import CertificateRefused
from engine.types import VotePhase
from relay.checker import Checker
from relay.errors import BlameRefused
from relay.timeouts import Timeout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.validators import Certificate, ValidatorSet, Vote
    from relay.timeouts import TimeoutCertificate
    from relay.transcript import Transcript

__all__ = [
    "Culprits",
    "GuiltProof",
    "blame",
    "conflicting_votes",
    "denied_certificate",
    "denies",
    "verify_guilt",
]

GuiltProof: TypeAlias = ConflictingVotes | DeniedCertificate


def conflicting_votes(index: int, one: tuple[Vote, bytes], other: tuple[Vote, bytes]) -> ConflictingVotes:
    """Return the proof that a member voted for two blocks, in its one spelling: the smaller block hash first."""
    first, second = sorted((one, other), key=lambda signed: signed[0].block_hash)
    return ConflictingVotes(index, SignedVote(*first), SignedVote(*second))


def denied_certificate(index: int, vote: tuple[Vote, bytes], timeout: tuple[Timeout, bytes]) -> DeniedCertificate:
    """Return the proof that a member voted to commit and denied, in a timeout, what that vote needs."""
    said, signature = timeout
    fields = TimeoutFields(said.set_id, said.height, said.view, said.high_view_plus_one)
    return DeniedCertificate(index, SignedVote(*vote), fields, signature)


def denies(vote: Vote, timeout: Timeout | TimeoutFields) -> bool:
    """Say whether no honest member makes both: a commit vote, and a timeout as late that names nothing as late."""
    same_height = (vote.set_id, vote.height) == (timeout.set_id, timeout.height)
    late = timeout.view >= vote.view >= timeout.high_view_plus_one
    return vote.phase is VotePhase.COMMIT and same_height and late


def verify_guilt(proof: GuiltProof, suite: int, genesis_hash: bytes, validators: ValidatorSet) -> None:
    """Demand that a proof shows guilt of a member of this set; raises BlameRefused with the reason."""
    index = proof.member
    if not 0 <= index < len(validators.members):
        raise BlameRefused(f"member {index} is not in the set")
    checker = Checker(suite, genesis_hash)
    if isinstance(proof, ConflictingVotes):
        signed = [proof.first, proof.second]
        if _place(proof.first.vote) != _place(proof.second.vote):
            raise BlameRefused("the votes are of different set, height, view or phase")
        if proof.first.vote.block_hash == proof.second.vote.block_hash:
            raise BlameRefused("both votes are for one block")
        timeouts_hold = True
    else:
        signed = [proof.vote]
        said = proof.timeout
        if not denies(proof.vote.vote, said):
            raise BlameRefused("the timeout denies nothing that the vote needs")
        timeout = Timeout(said.set_id, said.height, said.view, said.high_view_plus_one)
        timeouts_hold = all(checker.timeouts(validators, [(index, timeout, proof.signature)]))
    if any(each.vote.set_id != validators.set_id for each in signed):
        raise BlameRefused(f"the set is not {validators.set_id}")
    if not timeouts_hold or not all(checker.votes(validators, [(index, each.vote, each.signature) for each in signed])):
        raise BlameRefused("a signature does not hold")


def _place(vote: Vote) -> tuple[int, int, int, VotePhase]:
    return vote.set_id, vote.height, vote.view, vote.phase


@dataclass(slots=True)
class Culprits:
    """Who is proven guilty, with one proof each, and their power; ``more_than_third`` says whether it exceeds F."""

    validators: ValidatorSet
    proofs: dict[int, GuiltProof] = field(default_factory=dict)

    @property
    def power(self) -> int:
        """The summed power of the proven."""
        return self.validators.power_of(sorted(self.proofs))

    @property
    def more_than_third(self) -> bool:
        """Whether the proven hold more than F, so that the fork is explained."""
        return self.power > self.validators.fault_max


def blame(suite: int, genesis_hash: bytes, validators: ValidatorSet, transcripts: Iterable[Transcript]) -> Culprits:
    """Name everybody whom the transcripts of one height prove guilty.

    Give it the transcripts of both finals, of as many members as can be asked. Parts whose signatures do not hold, or
    of another set, count for nothing. With the prepare and timeout certificates of the views between the two commits
    the proven hold more than F (ADR 0015).
    """
    checker = Checker(suite, genesis_hash)
    certificates: dict[bytes, Certificate] = {}
    timeouts: dict[bytes, TimeoutCertificate] = {}
    for transcript in transcripts:
        certificates |= {each.encode(): each for each in transcript.certificates if _holds(checker, validators, each)}
        timeouts |= {each.encode(): each for each in transcript.timeouts if _holds(checker, validators, each)}
    culprits = Culprits(validators)
    _double_votes(culprits, certificates.values())
    _denied_certificates(culprits, certificates.values(), timeouts.values())
    return culprits


def _holds(checker: Checker, validators: ValidatorSet, certificate: Certificate | TimeoutCertificate) -> bool:
    try:
        checker.certificate(validators, certificate)
    except CertificateRefused:
        return False
    return True


def _double_votes(culprits: Culprits, certificates: Iterable[Certificate]) -> None:
    first_of: dict[tuple[int, int, int, VotePhase, int], tuple[Vote, bytes]] = {}
    for certificate in certificates:
        for signer in certificate.signers:
            signed = (certificate.vote_of(signer), signer.signature)
            first = first_of.setdefault((*_place(signed[0]), signer.index), signed)
            if first[0].block_hash != signed[0].block_hash:
                culprits.proofs.setdefault(signer.index, conflicting_votes(signer.index, first, signed))


def _denied_certificates(
    culprits: Culprits, certificates: Iterable[Certificate], timeouts: Iterable[TimeoutCertificate]
) -> None:
    commits = [each for each in certificates if each.phase is VotePhase.COMMIT]
    for given_up in timeouts:
        row_of = {row.index: row for row in given_up.signers}
        for commit in commits:
            for signer in commit.signers:
                row = row_of.get(signer.index)
                if row is None:
                    continue
                vote, timeout = commit.vote_of(signer), given_up.timeout_of(row)
                if denies(vote, timeout):
                    proof = denied_certificate(signer.index, (vote, signer.signature), (timeout, row.signature))
                    culprits.proofs.setdefault(signer.index, proof)
