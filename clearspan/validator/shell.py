"""The clock, the disk and the wires around one validator core: it performs the core's actions, in order and no other.

It promises that nothing is sent before the vote record that it rests on is durable, that a block counts as final only
once it is in the chain's book, and that one task alone touches the core. On a full disk it keeps silent until there is
room again; any other fault of a book ends the shell: a validator that cannot keep its word must not give it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import structlog

from clearspan.validator.entries import entry_of_final
from clearspan.validator.inbox import Inbox
from engine.errors import DiskFull
from relay.actions import ALL, Behind, EvidenceFound, Finalized, ForkSeen, Persist, Refused, Send
from relay.checkpoint import CHECKPOINT_HEIGHTS
from relay.pacemaker import NEVER
from relay.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from clearspan.validator.books import BookEntry, ChainBook, VoteBook
    from engine.relay_block import RelayBlock
    from engine.validators import Certificate, ValidatorSet
    from relay.actions import Action
    from relay.consensus import ValidatorCore
    from relay.offers import PoolItem
    from relay.ports import State
    from relay.state import RelayState

__all__ = ["Offered", "ShellPool", "Transport", "ValidatorShell"]

_NS_PER_S: Final = 1_000_000_000
_REFUSALS_LOGGED_PER_S: Final = 10
_DISK_POLL_S: Final = 0.5
_OFFERS_WAITING_MAX: Final = 4096
# Newest blocks that are held for those who follow: a block goes to several, who all ask within one round.
_RECENT_MAX: Final = 16
# Where a vote record has its generation.
_GENERATION: Final = slice(8, 16)
_log = structlog.get_logger("clearspan.validator")

Result = TypeVar("Result")


class Transport(Protocol):
    """Carries messages to peers, each named by its validator key; never waits, and may lose."""

    def send(self, public_key: bytes, message: bytes) -> None:
        """Queue a message for one peer."""


class ShellPool(Pool):
    """The pool, told by the shell whose offer it is and what time it is."""

    def __init__(self) -> None:
        """Begin empty."""
        super().__init__()
        self.whose: object = None
        self.clock: int | None = None
        self.outcomes: list[str] = []
        """Why each offer since this was emptied was not kept; nothing for one that was."""

    def offer(self, item: PoolItem, state: State, *, source: object = None, now: int | None = None) -> bool:
        """Take an item; return whether it is news."""
        taken = super().offer(item, state, source=source or self.whose, now=now or self.clock)
        self.outcomes.append(self.refusal)
        return taken


@dataclass(frozen=True, slots=True)
class Offered:
    """What became of an offer: whether it waits now, and else the fixed word that says why not."""

    taken: bool
    reason: str = ""


_TAKEN: Final = Offered(taken=True)
_OVERLOADED: Final = Offered(taken=False, reason="overloaded")


@dataclass(slots=True)
class _Offer:
    items: Sequence[PoolItem]
    source: object
    answered: asyncio.Future[list[Offered]]


@dataclass(slots=True)
class _Adoption:
    state: State
    block: RelayBlock
    certificate: Certificate
    done: asyncio.Future[None]


class ValidatorShell:
    """Runs one core. ``run`` is the task; everything else may be called from the same event loop at any time."""

    def __init__(
        self,
        core: ValidatorCore,
        pool: ShellPool,
        chain: ChainBook,
        votes: VoteBook,
        transport: Transport,
        *,
        inbox: Inbox | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Put it together; nothing happens before ``run``. ``pool`` is the core's."""
        self.core = core
        self.inbox = inbox if inbox is not None else Inbox()
        self.disk_full = False
        self.generation = core.votes.generation
        """That of the vote record on the disk, which a block of a sync is kept with."""
        self.recent: dict[int, BookEntry] = {}
        """The newest blocks that became final here and are in the book, by height."""
        self.certificate_ns: Callable[[int], None] = lambda _: None
        self.persist_ns: Callable[[int], None] = lambda _: None
        self._pool = pool
        self._chain, self._votes, self._transport = chain, votes, transport
        self._clock, self._last_now = clock, 0
        self._wake = asyncio.Event()
        self._grown = asyncio.Event()
        self._offers: deque[_Offer] = deque()
        self._offered = 0
        self._adoptions: deque[_Adoption] = deque()
        self._floor: int | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="validator-books")
        self._on_behind: list[Callable[[Behind], None]] = []
        self._on_final: list[Callable[[RelayBlock, Certificate, State], Awaitable[None]]] = []
        self._on_evidence: list[Callable[[EvidenceFound | ForkSeen], None]] = []
        self._refusals_logged: deque[int] = deque(maxlen=_REFUSALS_LOGGED_PER_S)
        self._indexes: tuple[ValidatorSet, dict[bytes, int]] | None = None
        self._began = 0
        self._stopping = False

    # Who is told.

    def when_behind(self, tell: Callable[[Behind], None]) -> None:
        """Call this when the core cannot follow by itself."""
        self._on_behind.append(tell)

    def when_final(self, tell: Callable[[RelayBlock, Certificate, State], Awaitable[None]]) -> None:
        """Await this for blocks that became final here, once they are in the book; of those of a sync for the last.

        It must be quick: the core waits for it.
        """
        self._on_final.append(tell)

    def when_evidence(self, tell: Callable[[EvidenceFound | ForkSeen], None]) -> None:
        """Call this for what proves that somebody lied."""
        self._on_evidence.append(tell)

    # What comes in.

    def deliver(self, public_key: bytes, message: bytes) -> bool:
        """Take a peer's message; False when its queue was full."""
        taken = self.inbox.put(public_key, message)
        self._wake.set()
        return taken

    async def offer(self, item: PoolItem, source: object = None) -> Offered:
        """Put something into the pool; ``source`` is whose share of it is used."""
        return (await self.offer_all((item,), source))[0]

    async def offer_all(self, items: Sequence[PoolItem], source: object = None) -> list[Offered]:
        """Put one thing or more into the pool at once; the answers in their order."""
        if self._stopping or (self._offers and self._offered + len(items) > _OFFERS_WAITING_MAX):
            return [_OVERLOADED] * len(items)
        answered: asyncio.Future[list[Offered]] = asyncio.get_running_loop().create_future()
        self._offers.append(_Offer(items, source, answered))
        self._offered += len(items)
        self._wake.set()
        return await answered

    async def adopt(self, state: State, block: RelayBlock, certificate: Certificate) -> None:
        """Go on from a block that sync has verified and put into the book."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._adoptions.append(_Adoption(state, block, certificate, done))
        self._wake.set()
        await done

    def know_floor(self, floor: int) -> None:
        """Let the core sign above a height: nothing that it forgot is later (``clearspan.validator.first_run``)."""
        self._floor = floor
        self._wake.set()

    def note_followed(self, shard: int, height: int, header_hash: bytes, *, held: bool) -> None:
        """Tell the core what this validator has re-executed."""
        self.core.note_followed(shard, height, header_hash, held=held)

    async def write(self, action: Callable[[], Result]) -> Result:
        """Run a write of the books in their thread, in order; waits while the disk is full.

        Raises what the books raise but DiskFull, after which nothing was written and the same is tried again.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                result = await loop.run_in_executor(self._writer, action)
            except DiskFull as error:
                if not self.disk_full:
                    _log.error("disk_full", path=error.path, free_bytes=error.free_bytes)
                self.disk_full = True
                if self._stopping:
                    raise
                await asyncio.sleep(_DISK_POLL_S)
                continue
            if self.disk_full:
                self.disk_full = False
                _log.info("disk_has_space_again")
            return result

    async def grown(self, height: int) -> None:
        """Return when the chain has a block above ``height``."""
        while self._chain.last_height() <= height:
            await self._grown.wait()

    def stop(self) -> None:
        """Let ``run`` end after what it is doing."""
        self._stopping = True
        self._wake.set()

    @property
    def now(self) -> int:
        """The time that the core is given, ns: the wall clock. The core bears its jumps."""
        return self._clock()

    # The task.

    async def run(self) -> None:
        """Perform what the core asks until ``stop``; raises what a book or the core itself fails with."""
        try:
            await self._perform(self.core.start(self.now))
            while not self._stopping:
                if await self._step():
                    # Streams have to be read too: a queue that never empties must not keep the loop.
                    await asyncio.sleep(0)
                else:
                    await self._sleep()
        finally:
            self._stopping = True
            self._writer.shutdown(wait=True)
            for offer in self._offers:
                offer.answered.cancel()
            for adoption in self._adoptions:
                adoption.done.cancel()

    async def _step(self) -> bool:
        """Do the next thing there is; False when there is none."""
        if self.core.next_wake <= self.now:
            await self._perform(self.core.tick(self.now))
            return True
        if self._adoptions:
            await self._adopt(self._adoptions.popleft())
            return True
        if self._floor is not None:
            floor, self._floor = self._floor, None
            await self._perform(self.core.know_floor(floor, self.now))
            return True
        taken = self.inbox.take()
        if taken is not None:
            public_key, message = taken
            await self._perform(self.core.receive(self._index_of(public_key), message, self.now))
        worked = taken is not None
        if self._offers:
            await self._take_offer(self._offers.popleft())
            worked = True
        return worked

    async def _adopt(self, adoption: _Adoption) -> None:
        before = self.core.state.height
        actions = self.core.adopt(adoption.state, adoption.block, adoption.certificate, self.now)
        await self._perform(actions)
        if self.core.state.height > before:
            await self._tell_final(adoption.block, adoption.certificate, adoption.state)
        if not adoption.done.done():
            adoption.done.set_result(None)

    async def _take_offer(self, offer: _Offer) -> None:
        now, pool = self.now, self._pool
        self._offered -= len(offer.items)
        pool.whose, pool.clock = offer.source, now
        pool.outcomes.clear()
        actions = self.core.offer(offer.items[0], now, offer.items[1:])
        if not offer.answered.done():
            # What the core itself finds on the way, such as a proof of guilt, comes after them.
            outcomes = pool.outcomes[: len(offer.items)]
            offer.answered.set_result([_TAKEN if not reason else Offered(False, reason) for reason in outcomes])
        await self._perform(actions)

    async def _sleep(self) -> None:
        self._wake.clear()
        if self._offers or self._adoptions or self._floor is not None:
            return
        wake = self.core.next_wake
        timeout = None if wake >= NEVER else max(0, wake - self.now) / _NS_PER_S
        with contextlib.suppress(TimeoutError):
            # No wait_for: it would make a task of every wait.
            async with asyncio.timeout(timeout):
                await self._wake.wait()

    async def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._send(action)
            elif isinstance(action, Persist):
                await self._persist(action)
            elif isinstance(action, Finalized):
                await self._finalize(action)
            elif isinstance(action, Behind):
                for tell in self._on_behind:
                    tell(action)
            elif isinstance(action, EvidenceFound | ForkSeen):
                _log.error("evidence", kind=type(action).__name__)
                for told in self._on_evidence:
                    told(action)
            else:
                self._note_refused(action)

    async def _persist(self, action: Persist) -> None:
        began = time.perf_counter_ns()
        self._began = self._began or began
        await self.write(lambda: self._votes.write(action.record))
        self.generation = int.from_bytes(action.record[_GENERATION], "little")
        self.persist_ns(time.perf_counter_ns() - began)

    async def _finalize(self, action: Finalized) -> None:
        entry = entry_of_final(action)
        await self.write(lambda: self._chain.append(entry))
        self.recent[entry.height] = entry
        if len(self.recent) > _RECENT_MAX:
            del self.recent[next(iter(self.recent))]
        if self._began:
            self.certificate_ns(time.perf_counter_ns() - self._began)
        self._began = 0
        state = self.core.state
        if entry.height % CHECKPOINT_HEIGHTS == 0 and state.height == entry.height:
            await self.write(lambda: self._chain.keep_state(state.height, _encoded(state)))
        await self._tell_final(action.block, action.certificate, state)

    async def _tell_final(self, block: RelayBlock, certificate: Certificate, state: State) -> None:
        for tell in self._on_final:
            await tell(block, certificate, state)
        self._grown.set()
        self._grown = asyncio.Event()

    def _send(self, action: Send) -> None:
        # Actions of one call may be for two heights, whose sets may differ: each names the set that it is for.
        validators = action.validators if action.validators is not None else self.core.validators
        if action.to == ALL:
            for member in validators.members:
                self._transport.send(member.public_key, action.message)
        elif 0 <= action.to < len(validators.members):
            self._transport.send(validators.members[action.to].public_key, action.message)

    def _index_of(self, public_key: bytes) -> int | None:
        validators = self.core.validators
        if self._indexes is None or self._indexes[0] is not validators:
            self._indexes = validators, {each.public_key: at for at, each in enumerate(validators.members)}
        return self._indexes[1].get(public_key)

    def _note_refused(self, action: Refused) -> None:
        """Log a few refusals a second; all of them are counted by the core."""
        now = self.now
        if len(self._refusals_logged) < _REFUSALS_LOGGED_PER_S or now - self._refusals_logged[0] > _NS_PER_S:
            self._refusals_logged.append(now)
            _log.info("message_refused", sender=action.sender, reason=action.reason)


def _encoded(state: State) -> bytes:
    relay_state: RelayState = state  # type: ignore[assignment]
    return relay_state.encode()
