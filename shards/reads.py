"""What a node answers out of what is durable: decisions, statements, proofs, headers and blocks.

It promises that an answer never tells of what a crash could undo, and that reads go on while work is refused: they have
a thread of their own and read what was last known while the state is built anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

from engine.types import RuleType
from native.ledger import PENDING_BYTES
from shards.errors import ShuttingDown
from shards.run_proofs import run_decision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from engine.chain import ChainBlock
    from engine.errors import DiskFull
    from engine.genesis import Genesis
    from engine.header import SignedHeader
    from engine.run_decision import RunDecisionRecord
    from shards.errors import ShardsError
    from shards.lookup import DecidedRecord, TransferEntry
    from shards.recovery import Recovered, Stores
    from shards.run_proofs import RangePath

__all__ = ["HOLDS_SHOWN_MAX", "DurableReads", "held", "shown_rules"]

_STATEMENT_LIMIT_MAX: Final = 1_000
HOLDS_SHOWN_MAX: Final = 16_384
"""Held transfers of one view; the oldest of each shard come first, and what is decided makes room for the next."""
_SHOWN_RULES: Final = frozenset({RuleType.LEDGER, RuleType.BREAKER, RuleType.TIER})
# A lookup reads so many records at a time from the log, and then lets another one in.
_LOOKUPS_AT_ONCE: Final = 2_048
# Signed headers that are given out again without a look at the disk.
_HEADERS_KEPT: Final = 64


class DurableReads:
    """The reading side of a node. Who builds its state says what is known, what was signed and why work is refused."""

    def __init__(self, genesis: Genesis, stores: Stores) -> None:
        """Prepare; nothing is known yet."""
        self.genesis = genesis
        self._stores = stores
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="lookup")
        self._sealed = asyncio.Condition()
        self._headers_kept: dict[int, deque[tuple[int, bytes]]] = {}
        # What was last known: also what is read while the state is built anew.
        self._known: Recovered | None = None
        self._refusing: ShardsError | DiskFull | None = None

    # Decisions.

    async def lookup_transfers(self, digests: bytes) -> list[TransferEntry | None]:
        """Return the durable decision for each 32-byte record digest, None where there is none."""
        loop = asyncio.get_running_loop()
        wanted = [digests[at : at + 32] for at in range(0, len(digests), 32)]
        found: list[TransferEntry | None] = []
        for start in range(0, len(wanted), _LOOKUPS_AT_ONCE):
            ask = partial(self._reading().lookup.transfers, wanted[start : start + _LOOKUPS_AT_ONCE])
            found += await loop.run_in_executor(self._reader, ask)
        return found

    async def statement(
        self, account: bytes, *, after: bytes, limit: int, newest_first: bool
    ) -> tuple[list[TransferEntry], bytes]:
        """Return a page of an account's entries and the next cursor (empty at the end)."""
        loop = asyncio.get_running_loop()
        wanted = max(1, min(limit, _STATEMENT_LIMIT_MAX))
        found: list[TransferEntry] = []
        while True:
            count = min(wanted - len(found), _LOOKUPS_AT_ONCE)
            lookup = self._reading().lookup
            ask = partial(lookup.statement, account, after=after, limit=count, newest_first=newest_first)
            entries, after = await loop.run_in_executor(self._reader, ask)
            found += entries
            if not after or len(found) == wanted:
                return found, after

    async def decision_proof(self, digest: bytes) -> bytes | None:
        """Return the proof of a decision against its signed header, None while its block is not sealed."""
        ask = self._reading().lookup.decision_proof
        return await asyncio.get_running_loop().run_in_executor(self._reader, ask, digest)

    async def decided(self, digest: bytes, *, payee: bool) -> DecidedRecord | None:
        """Return what a receipt begins with, None while the block is not sealed or the record is unknown."""
        ask = partial(self._reading().lookup.decided, digest, payee=payee)
        return await asyncio.get_running_loop().run_in_executor(self._reader, ask)

    async def run_decision(
        self, digest: bytes, anchored: Mapping[int, int], range_path: RangePath
    ) -> RunDecisionRecord | None:
        """Prove the run of this member under the newest anchored headers; None while that cannot be, or is too late.

        ``anchored``: heights by shard; ``range_path`` (shard, height, later height), called in another thread.
        """
        lookup, chain = self._reading().lookup, self._stores.chain
        ask = partial(run_decision, self.genesis, lookup, chain, digest, anchored, range_path)
        return await asyncio.get_running_loop().run_in_executor(self._reader, ask)

    # Headers and blocks.

    async def signed_headers(self, shard: int, from_height: int, count_max: int) -> list[bytes]:
        """Return signed headers of a shard from a height on, at most so many."""
        kept = self._headers_kept.get(shard)
        if kept and kept[0][0] <= from_height:
            return [signed for height, signed in kept if height >= from_height][:count_max]

        def read() -> list[bytes]:
            found = self._stores.chain.range(shard, from_height, from_height + count_max - 1)
            return [block.signed_header for block in found]

        return await asyncio.get_running_loop().run_in_executor(self._reader, read)

    async def sealed_blocks(self, shard: int, from_height: int, to_height: int, bytes_max: int) -> list[ChainBlock]:
        """Return sealed blocks with their decisions from a height on, ascending; the first one whatever its size."""

        def read() -> list[ChainBlock]:
            found: list[ChainBlock] = []
            left = bytes_max
            for block in self._stores.chain.range(shard, from_height, to_height):
                left -= len(block.decision_leaves)
                if found and left < 0:
                    break
                found.append(block)
            return found

        return await asyncio.get_running_loop().run_in_executor(self._reader, read)

    async def blocks(self, shard: int, from_height: int, *, follow: bool) -> AsyncIterator[bytes]:
        """Yield signed headers of a shard from a height on; with ``follow``, wait for those to come."""
        loop = asyncio.get_running_loop()
        height = max(1, from_height)
        while self._known is not None:
            block = await loop.run_in_executor(self._reader, self._stores.chain.get, shard, height)
            if block is not None:
                yield block.signed_header
                height += 1
            elif not follow:
                return
            else:
                async with self._sealed:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._sealed.wait(), timeout=1)

    def _keep_headers(self, signed: Iterable[SignedHeader]) -> None:
        """Keep the newest headers, which are read again at once."""
        for each in signed:
            kept = self._headers_kept.setdefault(each.header.shard, deque(maxlen=_HEADERS_KEPT))
            kept.append((each.header.height, each.encode()))

    def _reading(self) -> Recovered:
        """Return what is read: while the state is built anew, that of before; its lookups hold what is durable."""
        if self._known is None:
            self._raise_refusal()
            raise ShuttingDown("the node is not running")
        return self._known

    def _raise_refusal(self) -> None:
        """Raise why work is refused, if it is; without the trace of who heard it before, which would only grow."""
        if self._refusing is not None:
            raise self._refusing.with_traceback(None)


def shown_rules(known: Recovered) -> bytes:
    """Return what every shard has alike, each once; quotes and counters are of single accounts and left out."""
    found: dict[tuple[int, int, int], bytes] = {}
    for machine in known.core.machines.values():
        for rule in machine.rules():
            if rule.type in _SHOWN_RULES:
                found.setdefault((rule.type, rule.breaker, rule.subject), rule.encode())
    return b"".join(found.values())


def held(known: Recovered) -> bytes:
    """Return what waits for a decision, n x 200, by shard and age."""
    rows = b"".join(machine.ledger.holds() for machine in known.core.machines.values())
    return rows[: HOLDS_SHOWN_MAX * PENDING_BYTES]
