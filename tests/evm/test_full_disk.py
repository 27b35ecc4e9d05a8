"""The disk takes no more: what is not in the book of transactions is not sent, by nobody and not later either."""

from __future__ import annotations

import asyncio

import pytest

from bridge.evm.adapter import EvmLeg
from bridge.evm.book import MemoryBook
from bridge.leg import LockState
from tests.evm.world import PAYER, EvmWorld


class FullBook(MemoryBook):
    """A book on a disk that is full for a while."""

    full = True

    def write(self, outgoing) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().write(outgoing)


def test_what_is_not_in_the_book_is_not_sent(world: EvmWorld) -> None:
    async def story() -> None:
        book = FullBook()
        leg = EvmLeg(world.settings(), PAYER, book)
        world.legs.append(leg)
        try:
            order = world.order()
            with pytest.raises(OSError, match="No space"):
                await leg.lock(order)
            assert leg.out_count == 0
            await leg.tend()
            world.node.mine()
            assert (await world.leg(book=False).find(order.lock_id)).state is LockState.ABSENT
            book.full = False
            await leg.lock(order)
            world.node.mine(4)
            assert (await leg.find(order.lock_id)).state is LockState.FINAL and leg.counts.sent == 1
        finally:
            await world.close()

    asyncio.run(story())
