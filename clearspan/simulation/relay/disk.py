"""What survives a crash: two durable values, each written whole or not at all, and old copies of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engine.relay_block import RelayBlock
    from engine.validators import Certificate
    from relay.state import RelayState
    from relay.transcript import Transcript

__all__ = ["Disk", "Entry"]

_BACKUPS_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class Entry:
    """A final block in the book, and the state after it; ``generation`` is the vote record's of that moment."""

    block: RelayBlock
    certificate: Certificate
    transcript: Transcript
    generation: int
    state: RelayState


@dataclass(slots=True)
class Disk:
    """What survives a crash: the vote record, and the chain from ``base`` on. ``backups`` are old copies of both."""

    base: RelayState
    entries: list[Entry] = field(default_factory=list)
    votes: bytes | None = None
    backups: list[tuple[bytes | None, int]] = field(default_factory=list)

    @property
    def state(self) -> RelayState:
        """The state after the newest block kept."""
        return self.entries[-1].state if self.entries else self.base

    @property
    def generation(self) -> int:
        """What the chain's book knows of the vote record's generation."""
        return self.entries[-1].generation if self.entries else 0

    def back_up(self) -> None:
        """Copy both values as they are now."""
        self.backups = [*self.backups, (self.votes, len(self.entries))][-_BACKUPS_MAX:]
