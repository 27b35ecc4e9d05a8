"""How a member whose vote record was lost or is old learns from which height on it may sign again.

It asks all members which height they work on and waits for a quorum of the others, each with the commit certificate of
the height before. Whatever this member signed at a height H, a quorum had voted to commit H - 1 before; so among any
quorum of others one honest member works on H - 1 or later, and nothing was signed above the highest height named plus
one. Members that are restored themselves do not answer: they know nothing of what was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.validators import ValidatorSet

__all__ = ["Recall"]


@dataclass(slots=True)
class Recall:
    """The answers so far; ``nonce`` is the instant of the start, so that answers to an earlier start do not count."""

    nonce: int
    set_id: int = 0
    heights: dict[int, int] = field(default_factory=dict)

    def note(self, validators: ValidatorSet, index: int, height: int) -> int | None:
        """Take a member's working height; return the floor once a quorum of others has answered.

        Where the set changed since the first answer, counting begins again.
        """
        if validators.set_id != self.set_id:
            self.set_id = validators.set_id
            self.heights.clear()
        self.heights[index] = max(height, self.heights.get(index, 0))
        if not validators.is_quorum(validators.power_of(sorted(self.heights))):
            return None
        return max(self.heights.values()) + 1
