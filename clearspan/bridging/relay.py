"""The relay as a bridge uses it: reveals out to every validator, final blocks in from one of them, each verified.

It promises that a preimage that was handed over is offered again until it stands in a final block, and that no block
counts without a quorum's certificate, checked with the sets that the genesis leads to. A validator that is silent or
lies is left for another one.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from clearspan.relay_link.errors import BlockForged, LineLost
from clearspan.relay_link.reader import BlockReader
from engine.types import RelayRecordType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from clearspan.relay_link.lines import LineSet, ValidatorLine
    from engine.genesis import Genesis
    from engine.governance import Corridor
    from engine.relay_block import RelayBlock
    from relay.light import LightClient

__all__ = ["FinalBlock", "RelayPort"]

_REVEALS_AT_ONCE: Final = 1_024
_REFRESH_S: Final = 1.0
_BANNED_S: Final = 60.0
_log = structlog.get_logger("clearspan.bridging")


class FinalBlock(NamedTuple):
    """What a bridge reads of a final block: height, relay time (ns), the preimages that it reveals, corridors."""

    height: int
    time: int
    preimages: tuple[bytes, ...]
    corridors: tuple[Corridor, ...] = ()


class RelayPort:
    """Use from one event loop: ``start``, then ``stop``. ``tell`` gets the blocks in order, each once."""

    def __init__(
        self,
        genesis: Genesis,
        lines: LineSet,
        trust: Callable[[], Awaitable[LightClient]],
        tell: Callable[[FinalBlock], None],
        *,
        height: int = 0,
        reconnect_s: float = 0.2,
        stall_s: float = 2.0,
        again_s: float = 1.0,
    ) -> None:
        """Prepare; ``height`` is the last block that was consumed, 0: begin at what is final now.

        ``trust`` gives the light client with the newest set that a proof leads to.
        """
        self._genesis, self._lines, self._trust, self._tell = genesis, lines, trust, tell
        self._reconnect_s, self._stall_s, self._again_s = reconnect_s, stall_s, again_s
        self.height, self.time = height, 0
        self.following = ""
        self._wanted: dict[bytes, float] = {}
        self._fresh = asyncio.Event()
        self._reader: BlockReader | None = None
        self._banned: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow and to offer."""
        loop = asyncio.get_running_loop()
        for work in (self._follow, self._offer, self._refresh):
            self._tasks.append(loop.create_task(work(), name=f"bridge-relay-{work.__name__}"))

    async def stop(self) -> None:
        """End; what was not seen in a final block is the journal's to offer again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._lines.close()

    @property
    def waiting(self) -> int:
        """How many preimages were handed over and stand in no final block that was seen."""
        return len(self._wanted)

    def reveal(self, preimages: Iterable[bytes]) -> None:
        """Offer these until they stand in a final block; one that waits already waits on."""
        for preimage in preimages:
            self._wanted.setdefault(preimage, 0.0)
        self._fresh.set()

    # Reveals out.

    async def _offer(self) -> None:
        while True:
            timeout = self._again_s / 4 if self._wanted else None
            try:
                async with asyncio.timeout(timeout):
                    await self._fresh.wait()
            except TimeoutError:
                pass
            self._fresh.clear()
            now = time.monotonic()
            due = [preimage for preimage, at in self._wanted.items() if at <= now]
            for start in range(0, len(due), _REVEALS_AT_ONCE):
                part = due[start : start + _REVEALS_AT_ONCE]
                for preimage in part:
                    self._wanted[preimage] = now + self._again_s
                await asyncio.gather(*(self._offer_to(line, part) for line in self._lines.lines))

    async def _offer_to(self, line: ValidatorLine, preimages: list[bytes]) -> None:
        """Hand preimages to one validator; which of them it refuses is told, and they are offered again later."""
        try:
            answers = await line.reveal(preimages)
        except LineLost as error:
            _log.debug("reveals_not_taken", validator=line.name, reason=error.reason)
            return
        refused = {reason for reason in answers if reason}
        if refused:
            _log.warning("reveals_refused", validator=line.name, reasons=sorted(refused))

    # Final blocks in.

    async def _follow(self) -> None:
        turn = 0
        while True:
            now = time.monotonic()
            self._banned = {name: until for name, until in self._banned.items() if until > now}
            lines = [line for line in self._lines.lines if line.name not in self._banned]
            if not lines:
                await asyncio.sleep(self._reconnect_s)
                continue
            line = lines[turn % len(lines)]
            turn += 1
            try:
                await self._follow_one(line)
            except LineLost as error:
                _log.debug("validator_left", validator=line.name, height=self.height, reason=error.reason)
            except BlockForged as error:
                self._banned[line.name] = time.monotonic() + _BANNED_S
                _log.error("validator_lied", validator=line.name, height=error.height, reason=str(error))
            except Exception as error:  # noqa: BLE001 - another validator may do better; the log says what it was
                _log.error("relay_follow_failed", validator=line.name, error=type(error).__name__, exc_info=error)
            self.following = ""
            await asyncio.sleep(self._reconnect_s / max(1, len(lines)))

    async def _follow_one(self, line: ValidatorLine) -> None:
        if self._reader is None:
            # Before the first block of this life: sets as far as proofs lead, and the height that is due.
            height = self.height or max(0, (await line.status()).final_height - 1)
            self._reader = BlockReader(self._genesis, (), await self._trust(), height)
        reader = self._reader
        blocks = line.blocks(reader.height + 1, follow=True, stall_s=self._stall_s)
        async with aclosing(blocks) as stream:  # type: ignore[type-var]
            async for found in stream:
                self.following = line.name
                self._take(reader.take(found.block, found.certificate, found.statements).block)

    def _take(self, block: RelayBlock) -> None:
        preimages = tuple(record.payload for record in block.records if record.type is RelayRecordType.REVEAL)
        for preimage in preimages:
            self._wanted.pop(preimage, None)
        self.height, self.time = block.header.height, block.header.time
        corridors = tuple(each.corridor() for each in block.records if each.type is RelayRecordType.CORRIDOR)
        self._tell(FinalBlock(self.height, self.time, preimages, corridors))

    async def _refresh(self) -> None:
        while True:
            await self._lines.refresh()
            await asyncio.sleep(_REFRESH_S)
