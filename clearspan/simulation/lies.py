"""What a node that lies may offer as another shard's credits: each one must be refused, and leave no trace.

A lie begins from an offer that would be taken. Forged headers are whole and fit their messages: only the anchor, which
nobody can forge, tells them from true ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from engine.credit import decode_credits, encode_credits
from engine.outgoing import Outgoing
from engine.types import CREDIT_BYTES, HASH_BYTES

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from engine.proved_credits import ProvedCredits

__all__ = ["LIES"]


def _amount(chance: random.Random, offered: ProvedCredits, _: int) -> ProvedCredits:
    messages = list(decode_credits(offered.messages))
    row = chance.randrange(len(messages))
    messages[row] = replace(messages[row], amount=messages[row].amount + 1)
    return replace(offered, messages=encode_credits(messages))


def _account(chance: random.Random, offered: ProvedCredits, _: int) -> ProvedCredits:
    messages = list(decode_credits(offered.messages))
    row = chance.randrange(len(messages))
    messages[row] = replace(messages[row], credit_account=messages[row].credit_account + 1)
    return replace(offered, messages=encode_credits(messages))


def _left_out(_: random.Random, offered: ProvedCredits, __: int) -> ProvedCredits | None:
    """Leave out the first message and let the others move up."""
    messages = decode_credits(offered.messages)[1:]
    if not messages:
        return None
    moved = [replace(each, sequence=each.sequence - 1) for each in messages]
    return replace(offered, messages=encode_credits(moved))


def _made_up(_: random.Random, offered: ProvedCredits, __: int) -> ProvedCredits:
    """Add a message that was not sent."""
    last = decode_credits(offered.messages)[-1]
    more = replace(last, sequence=last.sequence + 1)
    return replace(offered, messages=offered.messages + encode_credits([more]))


def _of_another_channel(_: random.Random, offered: ProvedCredits, destination: int) -> ProvedCredits | None:
    """Claim that a message to another peer was for this shard."""
    header = offered.header
    counts = tuple(
        replace(each, sent=each.sent + (1 if each.peer == destination else -1 if each.sent else 0))
        for each in header.channels
    )
    return replace(offered, header=replace(header, channels=counts))


def _parent(_: random.Random, offered: ProvedCredits, __: int) -> ProvedCredits:
    """Name another header before it, which would move the channel's place in the tree."""
    if offered.parent is None:
        return replace(offered, parent=replace(offered.header, height=0))
    return replace(offered, parent=None)


def _parent_counts(_: random.Random, offered: ProvedCredits, destination: int) -> ProvedCredits | None:
    if offered.parent is None:
        return None
    counts = tuple(
        each if each.peer == destination else replace(each, sent=each.sent + 1) for each in offered.parent.channels
    )
    return replace(offered, parent=replace(offered.parent, channels=counts, time=offered.parent.time + 1))


def _forged(chance: random.Random, offered: ProvedCredits, destination: int) -> ProvedCredits:
    """Make a block of one's own, whole in itself: its header commits to the richer messages."""
    rich = _amount(chance, offered, destination)
    suite = offered.header.hash_suite
    before = {} if offered.parent is None else {each.peer: each.sent for each in offered.parent.channels}
    channels = tuple(
        replace(
            each,
            sent=rich.last_sequence if each.peer == destination else before.get(each.peer, 0),
        )
        for each in offered.header.channels
    )
    outgoing = Outgoing(((destination, rich.messages),))
    header = replace(
        offered.header, channels=channels, outgoing_count=outgoing.count, outgoing_root=outgoing.root(suite)
    )
    return replace(rich, header=header, range_path=())


def _range_path(chance: random.Random, offered: ProvedCredits, _: int) -> ProvedCredits:
    path = offered.range_path
    if not path or chance.random() < 0.5:
        return replace(offered, range_path=(*path, bytes(HASH_BYTES)))
    return replace(offered, range_path=path[:-1])


def _header_path(chance: random.Random, offered: ProvedCredits, _: int) -> ProvedCredits:
    path = offered.header_path
    if not path or chance.random() < 0.5:
        return replace(offered, header_path=(*path, bytes(HASH_BYTES)))
    return replace(offered, header_path=(bytes(HASH_BYTES), *path[1:]))


def _anchor(_: random.Random, offered: ProvedCredits, __: int) -> ProvedCredits:
    """Name an anchor that the destination has not seen."""
    return replace(offered, anchored_height=offered.anchored_height + 1)


def _sequence(_: random.Random, offered: ProvedCredits, __: int) -> ProvedCredits:
    """Send the same messages once more, as the next ones."""
    moved = [replace(each, sequence=each.sequence + offered.count) for each in decode_credits(offered.messages)]
    return replace(offered, first_sequence=offered.last_sequence + 1, messages=encode_credits(moved))


def _twice(_: random.Random, offered: ProvedCredits, __: int) -> ProvedCredits:
    """Send the first message twice under one proof."""
    first = decode_credits(offered.messages)[0]
    again = encode_credits([first, replace(first, sequence=first.sequence + 1)])
    return replace(offered, messages=again + offered.messages[2 * CREDIT_BYTES :])


LIES: Final[dict[str, Callable[[random.Random, ProvedCredits, int], ProvedCredits | None]]] = {
    "lie_amount": _amount,
    "lie_account": _account,
    "lie_left_out": _left_out,
    "lie_made_up": _made_up,
    "lie_of_another_channel": _of_another_channel,
    "lie_parent": _parent,
    "lie_parent_counts": _parent_counts,
    "lie_forged_block": _forged,
    "lie_range_path": _range_path,
    "lie_header_path": _header_path,
    "lie_anchor": _anchor,
    "lie_sequence": _sequence,
    "lie_twice": _twice,
}
"""By name; each returns None where the offer gives it nothing to lie about."""
