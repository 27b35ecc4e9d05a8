"""What the parts of a core share: signer, checks, clock, counters, and the actions that are on their way out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from engine.refusals import CertificateRefused, EncodingError
from engine.validators import Certificate
from relay.actions import ALL, Persist, Send
from relay.errors import MessageRefused
from relay.pacemaker import Pace
from relay.timeouts import TimeoutCertificate, timeout_certificate_bytes_max

if TYPE_CHECKING:
    from engine.types import VotePhase
    from engine.validators import ValidatorSet
    from relay.actions import Action
    from relay.checker import Checker
    from relay.messages import Message
    from relay.pacemaker import Pacemaker, RateLimit
    from relay.ports import ConsensusSettings, Counters
    from relay.signing import Signer

__all__ = ["Desk", "certificate_bytes_max"]

_CERTIFICATE_HEAD_BYTES: Final = 72
_CERTIFICATE_ROW_BYTES: Final = 112


def certificate_bytes_max(member_count: int) -> int:
    """Return how many bytes a certificate of a set with so many members has at most."""
    return _CERTIFICATE_HEAD_BYTES + member_count * _CERTIFICATE_ROW_BYTES


@dataclass(slots=True)
class Desk:
    """Shared by the core and the round at hand; ``actions`` are taken by the shell in order."""

    suite: int
    genesis_hash: bytes
    settings: ConsensusSettings
    checker: Checker
    signer: Signer
    pacemaker: Pacemaker
    limit: RateLimit
    counters: Counters
    pace: Pace = field(default_factory=Pace)
    reveals: int = 0
    """How many preimages stand in the last final block."""
    actions: list[Action] = field(default_factory=list)

    @property
    def now(self) -> int:
        """The shell's time, ns."""
        return self.pacemaker.now

    @property
    def view_ns(self) -> int:
        """How long a view 0 lasts, ns: the least time of the settings, or more where agreement takes longer of late."""
        settings = self.settings
        return max(settings.view_ns, min(settings.idle_ns + self.pace.most, settings.view_ns_slow))

    @property
    def spacing_ns(self) -> int:
        """How long after a proposal the next one is due at the earliest, ns: more where agreement takes longer of late.

        More also after a block with many reveals, up to twice the longest pause: each block costs everybody who reads
        the relay, and so many share it. It counts from the proposal, so where agreement itself takes that long nothing
        is waited for.
        """
        settings = self.settings
        paced = min(settings.spacing_times * self.pace.mean, settings.spacing_ns_max)
        shared = min(paced + self.reveals * settings.spacing_reveal_ns, 2 * settings.spacing_ns_max, settings.idle_ns)
        return max(settings.block_interval_ns, shared)

    def send(self, to: int, message: Message) -> None:
        """Put a message on its way; to oneself nothing is sent."""
        if to != self.signer.index:
            self.actions.append(Send(to, message.encode(self.genesis_hash), self.signer.validators))

    def send_all(self, message: Message) -> None:
        """Put a message on its way to every other member."""
        self.actions.append(Send(ALL, message.encode(self.genesis_hash), self.signer.validators))

    def take(self) -> list[Action]:
        """Hand out what has gathered."""
        taken, self.actions = self.actions, []
        self.counters.persists += sum(isinstance(action, Persist) for action in taken)
        self.counters.sent += sum(isinstance(action, Send) for action in taken)
        return taken

    def read_certificate(
        self, data: bytes, validators: ValidatorSet, height: int, phase: VotePhase | None
    ) -> Certificate:
        """Read a certificate of this set and height, its signatures still unchecked; raises MessageRefused."""
        if len(data) > certificate_bytes_max(len(validators.members)):
            raise MessageRefused("certificate_overlong", f"{len(data)} bytes")
        try:
            certificate = Certificate.decode(data)
        except EncodingError as error:
            raise MessageRefused("certificate_malformed", str(error)) from error
        _place(certificate, validators, height)
        if phase is not None and certificate.phase is not phase:
            raise MessageRefused("wrong_phase", certificate.phase.name)
        return certificate

    def read_timeout_certificate(self, data: bytes, validators: ValidatorSet, height: int) -> TimeoutCertificate:
        """Read a timeout certificate of this set and height, its signatures still unchecked; raises MessageRefused."""
        if len(data) > timeout_certificate_bytes_max(len(validators.members)):
            raise MessageRefused("certificate_overlong", f"{len(data)} bytes")
        try:
            certificate = TimeoutCertificate.decode(data)
        except EncodingError as error:
            raise MessageRefused("certificate_malformed", str(error)) from error
        _place(certificate, validators, height)
        return certificate

    def demand(self, validators: ValidatorSet, certificate: Certificate | TimeoutCertificate) -> None:
        """Demand that a certificate holds; raises MessageRefused."""
        try:
            self.checker.certificate(validators, certificate)
        except CertificateRefused as error:
            raise MessageRefused("certificate_invalid", str(error)) from error


def _place(certificate: Certificate | TimeoutCertificate, validators: ValidatorSet, height: int) -> None:
    if certificate.set_id != validators.set_id:
        raise MessageRefused("wrong_set", f"set {certificate.set_id}, not {validators.set_id}")
    if certificate.height != height:
        raise MessageRefused("wrong_height", f"height {certificate.height}, not {height}")
