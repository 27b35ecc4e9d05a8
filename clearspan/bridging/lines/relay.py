"""The relay as a bridge uses it: reveals out to every validator, final blocks in from one of them, each verified.

It promises that a preimage that was handed over is offered again until it stands in a final block or its time is over,
that every block is told until who hears it has taken it, and that no block counts without a quorum's certificate,
checked with the sets that the genesis leads to. A validator that is silent or lies is left for another one. What was
final when it began is read before anything new is begun: ``demand_read`` says how much is missing.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from bridge.refusals import BridgeCode, BridgeRefused
from clearspan.bridging.lines.relay_head import heads_told
from clearspan.bridging.lines.relay_tail import reveals_of, tail_begin
from clearspan.relay_link.errors import BlockForged, LineLost
from clearspan.relay_link.reader import BlockReader
from engine.types import NS_PER_S, RelayRecordType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from clearspan.relay_link.lines import LineSet, ValidatorLine
    from engine.genesis import Genesis
    from engine.governance import Corridor
    from engine.relay_block import RelayBlock
    from relay.light import LightClient

__all__ = ["FinalBlock", "RelayPort"]

_REVEALS_AT_ONCE: Final = 1_024
# Between two messages to one validator: so much for each reveal of the first one, and this at most.
_PAUSE_REVEAL_S: Final = 0.001
_PAUSE_MAX_S: Final = 0.075
_REFRESH_S: Final = 1.0
_BANNED_S: Final = 60.0
# A relay that is up makes a block in a fraction of this.
_LAG_NS: Final = 5 * NS_PER_S
_log = structlog.get_logger("clearspan.bridging")


class FinalBlock(NamedTuple):
    """What a bridge reads of a final block: height, relay time (ns), the preimages that it reveals, corridors."""

    height: int
    time: int
    preimages: tuple[bytes, ...]
    corridors: tuple[Corridor, ...] = ()


class _Pace:
    """How far one validator's blocks lie behind our clock: far behind it must come nearer, or it holds them back."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s, self._lag, self._since = stall_s, 0, 0.0

    def holds(self, lag: int, now: float) -> bool:
        """Take a block that lies so far (ns) behind our clock; ``now`` is the monotonic clock (s)."""
        if lag <= _LAG_NS or not self._since:
            self._lag, self._since = lag, now
            return True
        if now < self._since + self._stall_s:
            return True
        # Half again as fast as time passes is little for blocks that are all there already.
        is_nearer = self._lag - lag >= int((now - self._since) * NS_PER_S) // 2
        self._lag, self._since = lag, now
        return is_nearer


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
        whole: bool = False,
        latest: int = 0,
        reconnect_s: float = 0.2,
        stall_s: float = 2.0,
        again_s: float = 1.0,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        """Prepare; ``height`` is the last block consumed; 0 begins at what is final now.

        ``whole``: where every secret is known that the relay would not reveal again (``relay_tail``), but not behind
        ``latest``, up to which others have consumed it.
        ``trust`` gives the light client with the newest set that a proof leads to, ``now`` our clock (ns).
        """
        self._genesis, self._lines, self._trust, self._tell = genesis, lines, trust, tell
        self._reconnect_s, self._stall_s, self._again_s = reconnect_s, stall_s, again_s
        self.height, self.time, self._whole, self._latest = height, 0, whole, latest
        self.following = ""
        self._head: int | None = None
        self._told = asyncio.Event()
        self._read = asyncio.Event()
        self._now = now
        self._wanted: dict[bytes, float] = {}
        self._until: dict[bytes, int] = {}
        self._untold: FinalBlock | None = None
        self._owed: dict[str, dict[bytes, None]] = {}
        self._offering: dict[str, asyncio.Task[None]] = {}
        self._fresh = asyncio.Event()
        self._reader: BlockReader | None = None
        self._banned: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow and to offer."""
        loop = asyncio.get_running_loop()
        for work in (self._follow, self._offer, self._refresh, self._find_head):
            self._tasks.append(loop.create_task(work(), name=f"bridge-relay-{work.__name__}"))

    async def stop(self) -> None:
        """End; what was not seen in a final block is the journal's to offer again."""
        tasks = [*self._tasks, *self._offering.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._lines.close()

    @property
    def waiting(self) -> int:
        """How many preimages were handed over and stand in no final block that was seen."""
        return len(self._wanted)

    @property
    def behind(self) -> int | None:
        """How many blocks that were final when it began are still to be read; None while nobody has told of them."""
        if self._read.is_set():
            return 0
        return None if self._head is None else max(0, self._head - self.height)

    def demand_read(self) -> None:
        """Demand that all is read that was final when it began. Raises BridgeRefused (relay_not_read).

        Until then a secret may be out that is not known here, and a corridor in effect.
        """
        if not self._read.is_set():
            left = self.behind
            text = "no validator has told how far it is" if left is None else f"{left} blocks are still to be read"
            raise BridgeRefused(BridgeCode.RELAY_NOT_READ, f"this bridge reads the relay since its start: {text}")

    async def read_up(self, wait_s: float) -> bool:
        """Wait, at most so long, until all is read that was final when it began; say whether it is."""
        try:
            async with asyncio.timeout(wait_s):
                await self._read.wait()
        except TimeoutError:
            return False
        return True

    def reveal(self, until: Mapping[bytes, int]) -> None:
        """Offer these until they stand in a final block, or until the timelock (ns) of the legs that they claim here.

        From then on a secret can take nothing on a ledger of ours, and still what a foreign chain holds: it is kept.
        """
        for preimage, timelock in until.items():
            self._wanted.setdefault(preimage, 0.0)
            self._until[preimage] = timelock
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
            self._forget_late()
            now = time.monotonic()
            due = [preimage for preimage, at in self._wanted.items() if at <= now]
            for preimage in due:
                self._wanted[preimage] = now + self._again_s
            # Each validator at its own pace: one that is slow or gone holds up none of the others.
            for line in self._lines.lines if due else ():
                owed = self._owed.setdefault(line.name, {})
                owed.update(dict.fromkeys(due))
                if line.name not in self._offering:
                    self._offering[line.name] = asyncio.create_task(self._offer_to(line, owed))

    def _forget_late(self) -> None:
        """Offer no more what comes too late, by the relay's clock or ours."""
        now = max(self.time, self._now())
        for preimage in [each for each, timelock in self._until.items() if timelock <= now]:
            self._forget(preimage)

    def _forget(self, preimage: bytes) -> None:
        self._wanted.pop(preimage, None)
        self._until.pop(preimage, None)

    async def _offer_to(self, line: ValidatorLine, owed: dict[bytes, None]) -> None:
        """Hand one validator what is owed to it; what it refuses is told, and what is lost is offered again later."""
        try:
            while owed:
                part = list(islice(owed, _REVEALS_AT_ONCE))
                for each in part:
                    del owed[each]
                # What was waited for too long may have come to its block, or too late, in the meantime.
                self._forget_late()
                part = [each for each in part if each in self._wanted]
                answers = await line.reveal(part) if part else []
                refused = {reason for reason in answers if reason}
                if refused:
                    _log.warning("reveals_refused", validator=line.name, reasons=sorted(refused))
                # After many, more are on their way: they go together, long before the next block.
                await asyncio.sleep(min(len(part) * _PAUSE_REVEAL_S, _PAUSE_MAX_S))
        except LineLost as error:
            _log.debug("reveals_not_taken", validator=line.name, reason=error.reason)
        except Exception as error:  # noqa: BLE001 - whatever it was, the others are offered to, and it again
            _log.error("reveals_not_offered", validator=line.name, error=type(error).__name__, exc_info=error)
        finally:
            owed.clear()
            del self._offering[line.name]

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
        self._tell_untold()
        reader = self._reader
        if reader is None:
            # Before the first block of this life: sets as far as proofs lead, and the height that is due.
            height = self.height or await self._begin(line)
            reader = BlockReader(self._genesis, (), await self._trust(), height)
        pace = _Pace(self._stall_s)
        blocks = line.blocks(reader.height + 1, follow=True, stall_s=self._stall_s)
        async with aclosing(blocks) as stream:  # type: ignore[type-var]
            async for found in stream:
                self.following = line.name
                taken = reader.take(found.block, found.certificate, found.statements)
                # Only now: where none comes the height may have been made up, and the next line begins anew.
                self._reader = reader
                self._take(taken.block)
                if not pace.holds(self._now() - self.time, time.monotonic()):
                    raise LineLost(line.name, "blocks come more slowly than they are made")

    async def _begin(self, line: ValidatorLine) -> int:
        """Return behind which height to begin where nothing was consumed yet: no single validator says which."""
        await self._told.wait()
        head = self._head or 0
        if not self._whole:
            return max(0, head - 1)
        begin = await tail_begin(self._genesis, line, self._trust, head, stall_s=self._stall_s)
        return min(begin, self._latest) if self._latest else begin

    def _take(self, block: RelayBlock) -> None:
        preimages = reveals_of(block)
        for preimage in preimages:
            self._forget(preimage)
        self.height, self.time = block.header.height, block.header.time
        corridors = tuple(each.corridor() for each in block.records if each.type is RelayRecordType.CORRIDOR)
        self._untold = FinalBlock(self.height, self.time, preimages, corridors)
        self._tell_untold()

    def _tell_untold(self) -> None:
        """Tell the newest block; where that fails it is told again before the next one: none may be left out."""
        if self._untold is not None:
            self._tell(self._untold)
            self._untold = None
            self._note_read()

    async def _find_head(self) -> None:
        """Learn how far the relay had come when this began; what too few say holds until more do, or it is read."""
        async with aclosing(heads_told(lambda: self._lines.lines)) as heads:  # type: ignore[type-var]
            async for self._head in heads:
                self._told.set()
                _log.info("relay_head", height=self._head, read=self.height)
                self._note_read()
                if self._read.is_set():
                    return

    def _note_read(self) -> None:
        if self._head is None or self._read.is_set():
            return
        if self.height >= self._head and self._untold is None:
            self._read.set()
            _log.info("relay_read", height=self.height)

    async def _refresh(self) -> None:
        while True:
            try:
                await self._lines.refresh()
            except Exception as error:  # noqa: BLE001 - the addresses that are known are as good as before
                _log.error("addresses_not_read", error=type(error).__name__, exc_info=error)
            await asyncio.sleep(_REFRESH_S)
