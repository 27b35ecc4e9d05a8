"""Why a validator is not followed any longer.

LinkError
├── BlockForged    what it sent as final is not: it lied, or somebody in between did
└── LineLost       it cannot be reached, or says nothing
"""

from __future__ import annotations

__all__ = ["BlockForged", "LineLost", "LinkError"]


class LinkError(Exception):
    """Base of everything this folder raises."""


class BlockForged(LinkError):  # noqa: N818 - named as what it is, like the other refusals
    """A block that is not final, or not the next one; ``step`` names what does not hold."""

    def __init__(self, height: int, step: str, reason: str) -> None:
        super().__init__(f"relay block {height}: {step}: {reason}")
        self.height = height
        self.step = step
        self.reason = reason


class LineLost(LinkError):  # noqa: N818 - named as what it is, like the other refusals
    """No answer from a validator; ``reason`` is what the transport said, or how long it was silent."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"validator {name}: {reason}")
        self.name = name
        self.reason = reason
