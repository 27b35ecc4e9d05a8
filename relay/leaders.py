"""Who leads: a permutation weighted by power, fixed by the chain, with those who let their views pass at its end (07).

It promises that every validator computes the same order from the same final blocks, that a dead leader is asked less
and less, that one who is back is asked again, and that never more than F of the power stands at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from native.hashing import digest
from relay.entries import Penalty

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from engine.validators import ValidatorSet

__all__ = ["PENALTY_MAX", "PENALTY_MIN", "leader_order", "note_signers", "note_turn"]

PENALTY_MIN: Final = 8
PENALTY_MAX: Final = 1024
_DRAW_BYTES: Final = 16


def leader_order(
    suite: int, genesis_hash: bytes, validators: ValidatorSet, penalties: Mapping[bytes, Penalty], height: int
) -> tuple[int, ...]:
    """Return all member indexes of the set in the order in which they lead the views of a height."""
    order = _permutation(suite, genesis_hash, validators, height)
    last = _last_ones(validators, penalties, height)
    return (*(each for each in order if each not in last), *(each for each in order if each in last))


def _permutation(suite: int, genesis_hash: bytes, validators: ValidatorSet, height: int) -> list[int]:
    """Draw members without putting them back, each with the chance that its power has among those left."""
    head = genesis_hash + validators.set_id.to_bytes(8, "little") + height.to_bytes(8, "little")
    seed = digest(suite, b"clearspan/leaders/1" + head)
    left = list(range(len(validators.members)))
    power, order = validators.power, []
    for turn in range(len(left)):
        draw = digest(suite, seed + turn.to_bytes(4, "little"))[:_DRAW_BYTES]
        # A draw of 128 bits over powers of at most 64: what the remainder prefers is below 2^-64.
        at = int.from_bytes(draw, "little") % power
        for place, index in enumerate(left):
            at -= validators.members[index].power
            if at < 0:
                order.append(left.pop(place))
                power -= validators.members[index].power
                break
    return order


def _last_ones(validators: ValidatorSet, penalties: Mapping[bytes, Penalty], height: int) -> frozenset[int]:
    """Return who leads last at a height: the longest penalties first, as far as they hold at most F together."""
    punished = [
        (-penalty.length, -penalty.since, index)
        for index, member in enumerate(validators.members)
        if (penalty := penalties.get(member.public_key)) is not None and (height <= penalty.until or not penalty.signed)
    ]
    last, power = [], 0
    for _, _, index in sorted(punished):
        if power + validators.members[index].power <= validators.fault_max:
            power += validators.members[index].power
            last.append(index)
    return frozenset(last)


def note_turn(
    penalties: dict[bytes, Penalty], validators: ValidatorSet, order: tuple[int, ...], height: int, view: int
) -> None:
    """Change penalties by a final block first proposed in ``view``: those before let it pass, its leader did not."""
    leader = order[view % len(order)]
    for index in dict.fromkeys(order[each] for each in range(min(view, len(order)))):
        key = validators.members[index].public_key
        before = penalties.get(key)
        length = PENALTY_MIN if before is None else min(2 * before.length, PENALTY_MAX)
        penalties[key] = Penalty(height, height + length, length, signed=False)
    penalties.pop(validators.members[leader].public_key, None)


def note_signers(
    penalties: dict[bytes, Penalty], validators: ValidatorSet, indexes: Iterable[int], height: int
) -> None:
    """Note who signed the certificate of the block at a height: such a member is alive again."""
    for index in indexes:
        key = validators.members[index].public_key
        penalty = penalties.get(key)
        if penalty is not None and not penalty.signed and penalty.since <= height:
            penalties[key] = Penalty(penalty.since, penalty.until, penalty.length, signed=True)
