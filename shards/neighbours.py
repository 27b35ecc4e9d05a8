"""What the nodes of one domain ask each other: credits of a channel, with their proof. The port, and no transport.

A node asks for what an anchored header says was sent to it, so nothing need be pushed: whatever is lost, late or
doubled on the way is asked for again or refused by its sequence, and the asker believes the proof, never the neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engine.proved_credits import ProvedCredits

__all__ = ["CreditsWanted", "Neighbour"]


@dataclass(frozen=True, slots=True)
class CreditsWanted:
    """Credits of ``source`` for ``destination`` from ``sequence`` on, proved under the source's anchored header.

    ``anchored_height`` is the newest one that the destination has seen anchored: it believes no other.
    """

    source: int
    destination: int
    sequence: int
    anchored_height: int


class Neighbour(Protocol):
    """Another node of the domain, as this one sees it."""

    async def outgoing_since(self, wanted: CreditsWanted) -> ProvedCredits | None:
        """Return the next credits, at most those of one block; None where it has none, or has not that height yet.

        Raises what the transport raises; the caller asks again later.
        """
        ...
