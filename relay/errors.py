"""What the relay raises: a block or a message that its rules do not allow, and a vote record that cannot be read.

RelayError
├── BlockRefused        a proposed block that the state does not allow; ``reason`` is a fixed word
├── MessageRefused      bytes of a peer that are no message, or one that has no place now; ``reason`` is a fixed word
├── VoteRecordInvalid   what is kept of one's own votes is not what was written
└── BlameRefused        a proof of guilt that proves nothing

What peers send never raises out of the consensus core: it becomes a counted refusal with these reasons.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "PASSING_REASONS",
    "BlameRefused",
    "BlockRefused",
    "MessageRefused",
    "RelayError",
    "VoteRecordInvalid",
]

PASSING_REASONS: Final = frozenset(
    {"locked", "not_asked_for", "not_leader", "old_height", "old_view", "stale_answer", "view_window"}
)
"""Reasons of refusals that honest peers cause by being early or late: no ground to drop anybody."""


class RelayError(Exception):
    """Base of everything this folder raises."""


class BlockRefused(RelayError):  # noqa: N818 - named as what it is, like the other refusals
    """The block breaks the rule that ``reason`` (a fixed word) names; ``detail`` says where."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class MessageRefused(RelayError):  # noqa: N818
    """A message is refused for ``reason`` (a fixed word); ``detail`` says what was found."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class VoteRecordInvalid(RelayError):  # noqa: N818
    """The bytes of a vote record break its layout in ``what``: signing on would be a guess."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the vote record is unusable: {what}; start with it restored, never without it")
        self.what = what


class BlameRefused(RelayError):  # noqa: N818
    """A proof of guilt fails: ``reason``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
