"""What the types and the state machine raise: bytes, proofs and logs that are not what they claim to be.

EncodingError        bytes or a document that its layout does not allow
└── BatchRefused     columns that are no batch; carries the result code for the submitter
GenesisRefused       a genesis document with a field that has no meaning
ProofRefused         a proof that does not lead where it says
├── CertificateRefused   votes that are no quorum
└── CreditsRefused       credits of another node that do not stand where their proof says
ReplayDiverged       a log record whose recomputed answers differ from the recorded ones
InvariantBroken      a rule that guards money does not hold: stop
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from native.errors import InvariantBroken as KernelInvariantBroken

if TYPE_CHECKING:
    from native.codes import ResultCode

__all__ = [
    "BatchRefused",
    "CertificateRefused",
    "CreditsRefused",
    "EncodingError",
    "GenesisRefused",
    "InvariantBroken",
    "ProofRefused",
    "ReplayDiverged",
]


class EncodingError(ValueError):
    """``what`` was ``found`` where its layout asks for ``expected``."""

    def __init__(self, what: str, found: object, expected: object) -> None:
        """Keep the three fields for callers that report them."""
        super().__init__(f"{what}: found {found!r}, expected {expected!r}")
        self.what = what
        self.found = found
        self.expected = expected


class BatchRefused(EncodingError):  # noqa: N818 - named as what it is, like the other refusals
    """Columns that are no batch (RECORD-7); ``code`` answers the whole batch."""

    def __init__(self, code: ResultCode, what: str, found: object, expected: object) -> None:
        """Keep the code beside the fields of the encoding."""
        super().__init__(what, found, expected)
        self.code = code


class GenesisRefused(ValueError):  # noqa: N818
    """The field at ``path`` of a genesis cannot stand: ``reason``."""

    def __init__(self, path: str, reason: str) -> None:
        """Keep both fields for callers that report them."""
        super().__init__(f"genesis {path}: {reason}")
        self.path = path
        self.reason = reason


class ProofRefused(Exception):  # noqa: N818 - named as what it is, like the other refusals
    """A proof fails at ``step``: ``reason``."""

    def __init__(self, step: str, reason: str) -> None:
        """Keep both fields for callers that report them."""
        super().__init__(f"{step}: {reason}")
        self.step = step
        self.reason = reason


class CertificateRefused(ProofRefused):
    """Votes that are no quorum of the set they name."""


class CreditsRefused(ProofRefused):
    """Credits of shard ``source`` may not be applied; nothing was. The steps are fixed words (CHANNEL-5)."""

    def __init__(self, source: int, step: str, reason: str) -> None:
        """Keep the fields for callers that report them."""
        super().__init__(step, f"of shard {source:#x}: {reason}")
        self.source = source


class ReplayDiverged(Exception):  # noqa: N818 - named as what it is, like the other refusals
    """Log record ``number`` says ``recorded`` where the state machine computes ``computed``, in ``what``."""

    def __init__(self, number: int, what: str, recorded: object, computed: object) -> None:
        """Keep the four fields for callers that report them."""
        super().__init__(f"log record {number}: {what} recorded {recorded!r}, computed {computed!r}")
        self.number = number
        self.what = what
        self.recorded = recorded
        self.computed = computed


class InvariantBroken(KernelInvariantBroken):
    """The rule ``name`` does not hold; ``context`` says for what. Nothing may go on after it.

    It is a kind of the kernel's own, so that whoever stops for one stops for both.
    """

    def __init__(self, name: str, context: dict[str, object]) -> None:
        """Keep the name and the context for the report."""
        super().__init__(name)
        self.context = context

    def __str__(self) -> str:
        detail = ", ".join(f"{key}={value!r}" for key, value in self.context.items())
        return f"invariant broken: {self.name}" + (f" ({detail})" if detail else "")
