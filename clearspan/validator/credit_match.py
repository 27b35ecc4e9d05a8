"""Whether what one shard took from another is what that one sent: message by message, for the shards that are followed.

A shard's own log shows only what came in; that its peer sent it stands in the peer's block. It promises that a height
counts as executed only once every message in it from a followed peer was found, byte for byte, among what was sent.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from engine.refusals import EncodingError
from engine.types import CREDIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer

__all__ = ["CreditMatch", "CreditMismatch", "Pair"]

_PAIR: Final = struct.Struct("<IIQI")


class CreditMismatch(Exception):  # noqa: N818 - named as what it is, like the other refusals
    """A shard took a message that its peer did not send."""

    def __init__(self, source: int, destination: int, sequence: int) -> None:
        """Name the message."""
        super().__init__(f"message {sequence} from shard {source:#x} is not what shard {destination:#x} took")
        self.source, self.destination, self.sequence = source, destination, sequence


@dataclass(slots=True)
class Pair:
    """One channel: up to ``matched`` everything was found; then what was sent, and what was taken, in sequence."""

    matched: int = 0
    sent: deque[bytes] = field(default_factory=deque)
    taken: deque[bytes] = field(default_factory=deque)

    def add(self, waiting: deque[bytes], first: int, messages: bytes) -> None:
        """Queue messages from sequence ``first`` on; those that are known already are passed over."""
        known = self.matched + len(waiting)
        for at in range(max(0, known + 1 - first) * CREDIT_BYTES, len(messages), CREDIT_BYTES):
            waiting.append(messages[at : at + CREDIT_BYTES])


class CreditMatch:
    """The channels between the shards of one domain; one thread uses it. Channels with shards elsewhere are ignored."""

    def __init__(self, shards: Iterable[int]) -> None:
        """Begin with empty channels between these shards."""
        self.shards = frozenset(shards)
        self.pairs = {
            (source, destination): Pair()
            for source in self.shards
            for destination in self.shards
            if source != destination
        }

    def sent(self, source: int, channels: Iterable[tuple[int, bytes]]) -> None:
        """Note what a sealed block of a shard sent: (peer, messages packed in sequence)."""
        for destination, messages in channels:
            pair = self.pairs.get((source, destination))
            if pair is not None:
                pair.add(pair.sent, int.from_bytes(messages[:8], "little"), messages)
                self._compare(source, destination, pair)

    def taken(self, destination: int, source: int, first: int, messages: bytes) -> None:
        """Note what a shard took. Raises CreditMismatch."""
        pair = self.pairs.get((source, destination))
        if pair is not None:
            pair.add(pair.taken, first, messages)
            self._compare(source, destination, pair)

    def reached(self, destination: int) -> dict[int, int]:
        """Return, by source, the sequence up to which a shard has taken; what ``covers`` is asked with later."""
        return {
            source: pair.matched + len(pair.taken) for (source, each), pair in self.pairs.items() if each == destination
        }

    def covers(self, destination: int, reached: dict[int, int]) -> bool:
        """Say whether everything up to there was found among what was sent."""
        return all(self.pairs[source, destination].matched >= sequence for source, sequence in reached.items())

    def export(self, source: int) -> bytes:
        """Return the channels from one shard as they stand, to be kept with its state."""
        parts = []
        for (each, destination), pair in sorted(self.pairs.items()):
            if each == source:
                parts.append(_PAIR.pack(source, destination, pair.matched, len(pair.sent)))
                parts.extend(pair.sent)
        return b"".join(parts)

    def load(self, data: Buffer) -> None:
        """Take channels as they were exported; raises EncodingError."""
        view = memoryview(data).cast("B")
        while view.nbytes:
            if view.nbytes < _PAIR.size:
                raise EncodingError("credit match bytes", view.nbytes, _PAIR.size)
            source, destination, matched, count = _PAIR.unpack(view[: _PAIR.size])
            end = _PAIR.size + count * CREDIT_BYTES
            if (source, destination) not in self.pairs or view.nbytes < end:
                raise EncodingError("credit match channel", (source, destination, view.nbytes), f"at least {end}")
            starts = range(_PAIR.size, end, CREDIT_BYTES)
            sent = deque(view[at : at + CREDIT_BYTES].tobytes() for at in starts)
            self.pairs[source, destination] = Pair(matched, sent)
            view = view[end:]

    def _compare(self, source: int, destination: int, pair: Pair) -> None:
        while pair.sent and pair.taken:
            if pair.sent.popleft() != pair.taken.popleft():
                raise CreditMismatch(source, destination, pair.matched + 1)
            pair.matched += 1
