"""Members that lie: each runs the core of production with a key that signs whatever it is asked to.

What a liar does with that stands in ``lies``; one liar may have several, and what one makes of the messages the next
one gets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clearspan.simulation.relay.lies import LIE_CLASSES
from clearspan.simulation.relay.node import Node
from clearspan.simulation.relay.timeline import MS
from relay.messages import TimeoutMessage, VoteMessage, decode_message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clearspan.simulation.relay.lies import Letters, Lie
    from clearspan.simulation.relay.scene import Scene
    from clearspan.simulation.relay.timeline import Clock
    from engine.development import DevelopmentKey
    from engine.validators import Vote
    from relay.actions import Send
    from relay.messages import Message
    from relay.offers import PoolItem
    from relay.timeouts import Timeout

__all__ = ["LiarNode"]

_SPEAK_NS: Final = (60 * MS, 400 * MS)
_HEARD_MAX: Final = 48


class LiarNode(Node):
    """A member that lies. ``heard`` are messages it got or sent, the newest last; ``lies`` what it does."""

    honest = False

    def __init__(self, scene: Scene, number: int, place: int, clock: Clock) -> None:
        super().__init__(scene, number, place, clock)
        self.chance = scene.chance
        self.heard: list[bytes] = []
        self.lies: list[Lie] = [LIE_CLASSES[name](self) for name in scene.plan.lies[number] if name in LIE_CLASSES]
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

    def others(self) -> list[Node]:
        """Everybody but itself."""
        return [node for node in self.scene.nodes if node.number != self.number]

    def send(self, action: Send) -> None:
        """Let every lie have its way with a message before it leaves."""
        letters: Letters = [(target, action.message) for target in self.targets(action)]
        self._hear(action.message)
        for lie in self.lies:
            letters = lie.outgoing(letters)
        self.post(letters)

    def post(self, letters: Iterable[tuple[Node, bytes]]) -> None:
        """Send what was made up."""
        for target, data in letters:
            self.scene.checks.shown(data)
            self.deliver(target, data)

    def take(self, source: Node, data: bytes) -> None:
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
        self.heard = [*self.heard, data][-_HEARD_MAX:]

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
