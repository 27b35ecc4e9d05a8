"""What a follower takes from a node's log while its own validator is a step behind."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from clearspan.validator.follower import Follower
from engine.log_record import RecordKind, encode_record
from tests.behaviour.test_following import Play

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARD = 1 << 8


class SlowBook:
    """A chain book that is one block behind its core until the block was waited for."""

    def __init__(self, height: int) -> None:
        self.last, self.waited = height - 1, []

    def last_height(self) -> int:
        return self.last

    async def grown(self, height: int) -> None:
        self.waited.append(height)
        self.last = height + 1


class Followed:
    """Takes records, and fails as a validator does for a block that is not in its book."""

    def __init__(self, book: SlowBook) -> None:
        self.book, self.taken = book, []

    def next_number(self, _: int) -> int:
        return len(self.taken) + 1

    def take(self, _: int, records: Sequence[memoryview]) -> list[object]:
        for record in records:
            if int.from_bytes(record[6:8], "little") == RecordKind.RELAY_BLOCK:
                assert self.book.last >= 1, "executed before the block was written"
            self.taken.append(bytes(record))
        return []


@pytest.mark.parametrize("core_height", [0, 1])
def test_a_block_that_the_core_knows_and_the_book_not_yet_is_waited_for(core_height: int) -> None:
    """A node that has it from another validator is ahead by one write; the shard is followed all the same."""
    play = Play()
    play.relay_block(play.now)
    records = [encode_record(each) for each in play.logs[SHARD]]
    assert RecordKind.RELAY_BLOCK in {each.kind for each in play.logs[SHARD]}
    book = SlowBook(height=1)
    followed = Followed(book)
    validator = SimpleNamespace(height=core_height, chain=book, shell=book, executed={})
    follower = Follower(validator, [1], None, None, tls=None, claims=SimpleNamespace())
    rest = asyncio.run(follower._take(followed, SHARD, None, bytearray(b"".join(records))))
    assert (bytes(rest), followed.taken, book.waited) == (b"", records, [0])
