"""Members that lie: each runs the core of production with a key that signs whatever it is asked to.

What a liar does with that stands in ``lies``; one liar may have several, and what one makes of the messages the next
one gets.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

from clearspan.simulation.relay.node import Node
from clearspan.simulation.relay.timeline import MS
from engine.refusals import EncodingError
from relay.messages import TimeoutMessage, VoteMessage, decode_message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clearspan.simulation.relay.stage import Actor, Stage
    from clearspan.simulation.relay.timeline import Clock
    from engine.development import DevelopmentKey
    from engine.validators import Vote
    from relay.actions import Send
    from relay.messages import Message
    from relay.offers import PoolItem
    from relay.timeouts import Timeout

__all__ = ["Letters", "LiarNode", "Lie"]

Letters: TypeAlias = "list[tuple[Actor, bytes]]"
"""Who gets which bytes."""

_SPEAK_NS: Final = (60 * MS, 400 * MS)
_HEARD_MAX: Final = 48


class Lie:
    """One way to lie; this one is honest."""

    name: ClassVar[str] = ""

    def __init__(self, liar: LiarNode) -> None:
        self.liar = liar
        self.chance = liar.chance

    def did(self) -> None:
        """Note that it was done."""
        self.liar.scene.report.lie(self.name)

    def started(self) -> None:
        """Take note that the core was started."""

    def outgoing(self, letters: Letters) -> Letters:
        """Return what is sent instead."""
        return letters

    def replies(self, request: bytes, replies: list[bytes]) -> list[bytes]:  # noqa: ARG002
        """Return what is answered instead."""
        return replies

    def speak(self) -> None:
        """Say something of one's own accord."""

    def message_of(self, letters: Letters) -> Message | None:
        """Return the message that all letters are, if it is one; what an earlier lie bent is nobody's any more."""
        if not letters or any(data != letters[0][1] for _, data in letters):
            return None
        try:
            return self.liar.decode(letters[0][1])
        except ValueError:
            return None


class LiarNode(Node):
    """A member that lies. ``heard`` are messages it got or sent, the newest last; ``lies`` what it does."""

    honest = False

    def __init__(self, scene: Stage, number: int, place: int, clock: Clock) -> None:
        super().__init__(scene, number, place, clock)
        self.chance = scene.chance
        self.heard: deque[bytes] = deque(maxlen=_HEARD_MAX)
        self.lies: list[Lie] = []
        self.twin = "twins" in scene.plan.lies[number]
        if self.twin and not scene.may_fork:
            scene.report.lie("twins")
        scene.timeline.after(self.chance.randrange(*_SPEAK_NS), self._speak)

    @property
    def key(self) -> DevelopmentKey:
        """The key it signs with now."""
        assert self.core is not None
        return self.key_for(self.core.validators)

    @property
    def index(self) -> int:
        """Its index in the set at hand, 0 where it has none (it lies)."""
        assert self.core is not None
        return self.core.index or 0

    def others(self) -> list[Actor]:
        """Everybody but itself."""
        return [node for node in self.scene.nodes if node.number != self.number]

    def send(self, action: Send) -> None:
        """Let every lie have its way with a message before it leaves."""
        letters: Letters = [(target, action.message) for target in self.targets(action)]
        self._hear(action.message)
        for lie in self.lies:
            # What an earlier lie made of it may be a block that nobody can read.
            with suppress(EncodingError):
                letters = lie.outgoing(letters)
        self.post(letters)

    def post(self, letters: Iterable[tuple[Actor, bytes]]) -> None:
        """Send what was made up."""
        for target, data in letters:
            self.scene.checks.shown(data)
            self.deliver(target, data)

    def take(self, source: Actor, data: bytes) -> None:
        """Listen."""
        self._hear(data)
        super().take(source, data)

    def replies(self, request: bytes) -> list[bytes]:
        """Let lies have their way with what is answered in catching up."""
        replies = super().replies(request)
        for lie in self.lies:
            replies = lie.replies(request, replies)
        return replies

    def up(self) -> None:
        """Start, as often as it likes with an empty memory."""
        super().up()
        for lie in self.lies:
            lie.started()

    def _hear(self, data: bytes) -> None:
        self.heard.append(data)

    def _speak(self) -> None:
        if self.core is not None and not self.waits and self.core.index is not None:
            for lie in self.lies:
                if self.core is not None:
                    lie.speak()
        self.scene.timeline.after(self.chance.randrange(*_SPEAK_NS), self._speak)

    # What it signs.

    def vote(self, vote: Vote, statement: bytes = b"") -> VoteMessage:
        """Sign any vote."""
        return VoteMessage(self.index, vote, self.scene.parties.sign_vote(self.key, vote), statement)

    def timeout(self, timeout: Timeout, high: bytes = b"") -> TimeoutMessage:
        """Sign any timeout."""
        signature = self.key.sign(self.scene.checker.timeout_message(timeout))
        return TimeoutMessage(self.index, timeout, signature, high)

    def encode(self, message: Message) -> bytes:
        """Return a message's bytes."""
        return message.encode(self.scene.parties.genesis.hash)

    def decode(self, data: bytes) -> Message:
        """Read what the own core sends."""
        return decode_message(data, self.scene.parties.genesis.hash)

    def offer_all(self, item: PoolItem) -> None:
        """Offer something to all validators."""
        self.scene.offer_all(item)
