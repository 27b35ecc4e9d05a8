"""The road of offers to one validator: the newest header of each shard, and nothing older, for as long as it takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from clearspan.relay_link.errors import LineLost

if TYPE_CHECKING:
    from collections.abc import Callable

    from clearspan.relay_link.ports import Line

__all__ = ["OFFERS_AT_ONCE_MAX", "Offering"]

OFFERS_AT_ONCE_MAX: Final = 64
"""Offers of one message; a validator takes 256."""

_log = structlog.get_logger("clearspan.relay_link")


class Offering:
    """What waits to be offered to one validator: the newest header of each shard, and nothing older."""

    def __init__(self, line: Line, answered: Callable[[str, str, int], None]) -> None:
        """Begin; ``answered`` is told the validator, what it said and its last final height (0: unknown)."""
        self.line = line
        self._answered = answered
        self._waiting: dict[int, bytes] = {}
        self._wake = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(self._run(), name=f"offer-{line.name}")

    def put(self, shard: int, offer: bytes) -> None:
        """Replace what waits of a shard."""
        self._waiting[shard] = offer
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                some = [self._waiting.pop(shard) for shard in list(self._waiting)[:OFFERS_AT_ONCE_MAX]]
                await self._send(some)

    async def _send(self, offers: list[bytes]) -> None:
        """Offer once; what is lost is offered again when the desk says so."""
        try:
            answers = await self.line.offer(offers)
        except LineLost as error:
            _log.debug("offer_lost", validator=self.line.name, reason=error.reason)
            self._answered(self.line.name, "lost", 0)
        else:
            for answer in answers:
                self._answered(self.line.name, "taken" if answer.taken else answer.reason, answer.height)
