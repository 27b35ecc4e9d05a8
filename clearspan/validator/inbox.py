"""What peers have said and was not looked at yet: a bounded queue for each peer, handed out in turn.

It promises that who floods waits for himself alone: peers take turns message by message, and a peer whose queue is full
is held (its stream is not read) until there is room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

__all__ = ["Inbox"]


@dataclass(slots=True)
class _Waiting:
    """One peer's queue; ``room`` is set while it takes more."""

    messages: deque[bytes] = field(default_factory=deque)
    size: int = 0
    room: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Inbox:
    """Messages by the peer's key. A message larger than the bound is taken when nothing else of the peer waits."""

    messages_max: int = 256
    bytes_max: int = 16 << 20
    _peers: dict[bytes, _Waiting] = field(default_factory=dict)
    _turns: deque[bytes] = field(default_factory=deque)

    def put(self, public_key: bytes, message: bytes) -> bool:
        """Queue a peer's message; False when its queue is full, and nothing is taken."""
        waiting = self._peers.setdefault(public_key, _Waiting())
        if not self._has_room(waiting, len(message)):
            waiting.room.clear()
            return False
        if not waiting.messages:
            self._turns.append(public_key)
        waiting.messages.append(message)
        waiting.size += len(message)
        return True

    async def wait_for_room(self, public_key: bytes) -> None:
        """Return when something of that peer has been taken since its queue was full."""
        await self._peers.setdefault(public_key, _Waiting()).room.wait()

    def take(self) -> tuple[bytes, bytes] | None:
        """Return the next peer's next message; None when nothing waits."""
        if not self._turns:
            return None
        public_key = self._turns.popleft()
        waiting = self._peers[public_key]
        message = waiting.messages.popleft()
        waiting.size -= len(message)
        waiting.room.set()
        if waiting.messages:
            self._turns.append(public_key)
        elif not waiting.messages:
            # Nothing is kept of a peer that waits for nothing: keys come and go with the sets.
            del self._peers[public_key]
        return public_key, message

    @property
    def backlog(self) -> dict[bytes, int]:
        """How many messages wait, by peer."""
        return {key: len(waiting.messages) for key, waiting in self._peers.items()}

    def _has_room(self, waiting: _Waiting, size: int) -> bool:
        fits = len(waiting.messages) < self.messages_max and waiting.size + size <= self.bytes_max
        return fits or not waiting.messages
