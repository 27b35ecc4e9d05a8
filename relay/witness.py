"""Watches one height: remembers what each member was seen to sign, and finds what no honest member signs.

Only signatures that were checked are told to it. It keeps the certificates too, from which the height's transcript
is made once it is final. Its memory is bounded by members times views.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from engine.types import VotePhase
from relay.blame import conflicting_votes, denied_certificate, denies
from relay.transcript import TRANSCRIPT_PARTS_MAX, Transcript

if TYPE_CHECKING:
    from engine.validators import Certificate, Vote
    from relay.blame import GuiltProof
    from relay.timeouts import Timeout, TimeoutCertificate

__all__ = ["Witness"]

_VIEWS_MAX: Final = 16
# What this member made of the timeouts it heard, and what a proposal showed: a liar shows another than the honest make.
_PER_VIEW_MAX: Final = 3
_T = TypeVar("_T")


@dataclass(slots=True)
class Witness:
    """What was seen at one height. Its methods return the proofs that the new sight completes, each culprit once."""

    votes: dict[int, dict[tuple[VotePhase, int], tuple[Vote, bytes]]] = field(default_factory=dict)
    timeouts: dict[int, dict[int, tuple[Timeout, bytes]]] = field(default_factory=dict)
    certificates: dict[tuple[int, VotePhase, bytes], Certificate] = field(default_factory=dict)
    given_up: dict[int, list[TimeoutCertificate]] = field(default_factory=dict)
    _named: set[tuple[int, str]] = field(default_factory=set)

    def saw_vote(self, index: int, vote: Vote, signature: bytes) -> list[GuiltProof]:
        """Note a checked vote."""
        place = self.votes.setdefault(vote.view, {})
        first = place.setdefault((vote.phase, index), (vote, signature))
        found: list[GuiltProof] = []
        if first[0].block_hash != vote.block_hash:
            found.append(conflicting_votes(index, first, (vote, signature)))
        said = [each for each in self.timeouts.get(index, {}).values() if denies(vote, each[0])]
        found += [denied_certificate(index, (vote, signature), each) for each in said]
        _bound(self.votes)
        return self._new(found)

    def saw_timeout(self, index: int, timeout: Timeout, signature: bytes) -> list[GuiltProof]:
        """Note a checked timeout."""
        place = self.timeouts.setdefault(index, {})
        place.setdefault(timeout.view, (timeout, signature))
        found: list[GuiltProof] = []
        for votes in self.votes.values():
            signed = votes.get((VotePhase.COMMIT, index))
            if signed is not None and denies(signed[0], timeout):
                found.append(denied_certificate(index, signed, (timeout, signature)))
        _bound(place)
        return self._new(found)

    def saw_certificate(self, certificate: Certificate) -> list[GuiltProof]:
        """Note a checked prepare or commit certificate, and every vote in it."""
        name = (certificate.view, certificate.phase, certificate.block_hash)
        if name in self.certificates:
            return []
        self.certificates[name] = certificate
        if len(self.certificates) > TRANSCRIPT_PARTS_MAX:
            del self.certificates[min(self.certificates)]
        found: list[GuiltProof] = []
        for signer in certificate.signers:
            found += self.saw_vote(signer.index, certificate.vote_of(signer), signer.signature)
        return found

    def saw_timeout_certificate(self, certificate: TimeoutCertificate) -> list[GuiltProof]:
        """Note a checked timeout certificate, and every timeout in it."""
        of_view = self.given_up.setdefault(certificate.view, [])
        if certificate in of_view or len(of_view) >= _PER_VIEW_MAX:
            return []
        of_view.append(certificate)
        _bound(self.given_up, TRANSCRIPT_PARTS_MAX // _PER_VIEW_MAX)
        found: list[GuiltProof] = []
        for signer in certificate.signers:
            found += self.saw_timeout(signer.index, certificate.timeout_of(signer), signer.signature)
        return found

    def prepared(self, view: int) -> Certificate | None:
        """Return a prepare certificate of a view, if one was seen."""
        for certificate in self.certificates.values():
            if certificate.view == view and certificate.phase is VotePhase.PREPARE:
                return certificate
        return None

    def transcript(self) -> Transcript:
        """Return what was seen, ascending by view."""
        certificates = tuple(certificate for _, certificate in sorted(self.certificates.items()))
        return Transcript(certificates, tuple(each for _, of_view in sorted(self.given_up.items()) for each in of_view))

    def _new(self, found: list[GuiltProof]) -> list[GuiltProof]:
        new = []
        for proof in found:
            name = (proof.member, type(proof).__name__)
            if name not in self._named:
                self._named.add(name)
                new.append(proof)
        return new


def _bound(views: dict[int, _T], views_max: int = _VIEWS_MAX) -> None:
    """Forget the earliest views."""
    while len(views) > views_max:
        del views[min(views)]
