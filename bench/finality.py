"""Finality while the settle load runs: validators beside the nodes, and one reader of final blocks that verifies them.

Two figures of each share of the load. *Sealed to certificate*: from the time in a shard block's header to the moment at
which the reader holds the certificate of a relay block that anchors it or a later one of the shard. *Request to final*:
from the moment at which a batch was due to the one at which every shard that decided a part of it is final so far.
Headers that no relay block names, because a later one overtook them, count like all others.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from bench.machine import ProcessUse
from clearspan.load import drive
from clearspan.relay_link.reader import BlockReader
from relay.light import LightClient

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.client.relay import RelayClient
    from clearspan.client.results import BatchResult
    from clearspan.cluster import Validators
    from clearspan.population import DomainDesk
    from engine.batch import BatchColumns
    from engine.genesis import Genesis

__all__ = ["FinalityReader", "FinalityRun", "follow_nothing", "measure_finality"]

_READY_S: Final = 60.0
_DRAIN_S: Final = 60.0
_FIRST_BLOCKS: Final = 3
_NS_PER_MS: Final = 1_000_000


@dataclass(slots=True)
class FinalityRun:
    """One share of the load; latencies in ns."""

    name: str
    rate_per_s: int = 0
    settled: int = 0
    elapsed_ns: int = 0
    settled_ns: list[int] = field(default_factory=list)
    sealed_final_ns: list[int] = field(default_factory=list)
    request_final_ns: list[int] = field(default_factory=list)
    blocks: int = 0
    later_views: int = 0
    validators_cpu_ns: int = 0

    def figures(self) -> dict[str, Any]:
        """Return what the report says of it."""
        seconds = self.elapsed_ns / 1e9
        return {
            "rate_per_s": self.rate_per_s,
            "transfers_per_s": int(self.settled / seconds) if seconds else 0,
            "blocks_per_s": round(self.blocks / seconds, 1) if seconds else 0.0,
            "sealed_blocks": len(self.sealed_final_ns),
            "later_views": self.later_views,
            **_percentiles("settled", self.settled_ns),
            **_percentiles("final", self.sealed_final_ns),
            **_percentiles("request_final", self.request_final_ns),
            "validators_cpu_cores": round(self.validators_cpu_ns / self.elapsed_ns, 2) if self.elapsed_ns else 0.0,
        }


def follow_nothing(config_text: str) -> str:
    """Return a validator's settings with nothing to execute again: that costs each as much as the node itself."""
    lines = config_text.splitlines()
    return "\n".join(["domains = []" if line.startswith("domains = ") else line for line in lines] + [""])


class FinalityReader:
    """Follows one validator, verifies every block, and notes when each shard was final up to which time."""

    def __init__(self, genesis: Genesis, client: RelayClient) -> None:
        """Stand at the beginning; ``async with`` runs it."""
        shards = [shard for domain in genesis.domains for shard in _shards_of(genesis, domain.domain)]
        self._reader = BlockReader(genesis, shards, LightClient.from_genesis(genesis), 0)
        self._client = client
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self.seen: dict[int, list[tuple[int, int, int]]] = {shard: [] for shard in shards}
        """By shard: (height, time of the header, when it was final here), ns of the wall clock, ascending."""
        self.blocks = 0
        self.later_views = 0

    async def __aenter__(self) -> Self:
        """Wait until validators agree, and begin."""
        async with asyncio.timeout(_READY_S), aclosing(self._client.blocks(_FIRST_BLOCKS, follow=True)) as blocks:
            async for _ in blocks:
                break
        self._task = asyncio.get_running_loop().create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, shards: Sequence[int], instant: int) -> None:
        """Return when all these shards are final up to an instant of theirs; raises TimeoutError, or the fault."""
        async with asyncio.timeout(_DRAIN_S):
            while any(not self.seen[shard] or self.seen[shard][-1][1] < instant for shard in shards):
                if self._task is not None and self._task.done():
                    self._task.result()
                self._news.clear()
                await self._news.wait()

    def when_final(self, shard: int, instant: int) -> int:
        """Return when everything that a shard did up to an instant was final here."""
        seen = self.seen[shard]
        return seen[bisect_left(seen, instant, key=lambda each: each[1])][2]

    async def _read(self) -> None:
        try:
            async with aclosing(self._client.blocks(1, follow=True)) as blocks:
                async for message in blocks:
                    taken = self._reader.take(message.block, message.certificate, message.statements)
                    now = time.time_ns()
                    for shard, reached in taken.final.items():
                        self.seen[shard].append((reached.height, taken.times[shard], now))
                    self.blocks += 1
                    self.later_views += taken.block.header.view > 0
                    self._news.set()
        finally:
            self._news.set()


async def measure_finality(
    run: FinalityRun,
    work: Sequence[tuple[DomainDesk, Sequence[BatchColumns]]],
    reader: FinalityReader,
    validators: Validators,
    *,
    window: int,
) -> None:
    """Drive all domains with their batches, at the run's rate or as fast as they answer; fill in the run."""
    began, blocks, views = time.time_ns(), reader.blocks, reader.later_views
    before = _cpu_ns(validators)
    share = run.rate_per_s // len(work)
    await asyncio.gather(
        *(_drive(run, desk, batches, reader, rate_per_s=share, window=window) for desk, batches in work)
    )
    run.blocks, run.later_views = reader.blocks - blocks, reader.later_views - views
    run.validators_cpu_ns = _cpu_ns(validators) - before
    for desk, _ in work:
        await _sealed(run, desk, reader, began, began + run.elapsed_ns)


async def _drive(
    run: FinalityRun,
    desk: DomainDesk,
    batches: Sequence[BatchColumns],
    reader: FinalityReader,
    *,
    rate_per_s: int,
    window: int,
) -> None:
    answers: list[tuple[int, int]] = []

    def answered(_: BatchColumns, result: BatchResult) -> None:
        answers.append((time.time_ns(), int(result.times.max())))

    outcome = await drive(desk.clearing_house, batches, window=window, rate_per_s=rate_per_s, answered=answered)
    if outcome.failure is not None:
        raise outcome.failure
    run.elapsed_ns = max(run.elapsed_ns, outcome.elapsed_ns)
    run.settled += outcome.settled
    run.settled_ns += outcome.latencies_ns
    shards = _shards_of(desk.genesis, desk.domain.domain)
    await reader.until(shards, max(decided for _, decided in answers))
    for (at, decided), latency in zip(answers, outcome.latencies_ns, strict=True):
        final = max(reader.when_final(shard, decided) for shard in shards)
        run.request_final_ns.append(final - (at - latency))


async def _sealed(run: FinalityRun, desk: DomainDesk, reader: FinalityReader, began: int, ended: int) -> None:
    """Take the node's own headers of the time of the load, anchored by themselves or with a later one."""
    for shard in _shards_of(desk.genesis, desk.domain.domain):
        seen = reader.seen[shard]
        first = next((height for height, sealed, _ in seen if sealed >= began), seen[-1][0])
        async for signed in desk.operator.blocks(shard, from_height=first):
            header = signed.header
            if began <= header.time <= ended and header.time <= seen[-1][1]:
                run.sealed_final_ns.append(reader.when_final(shard, header.time) - header.time)


def _shards_of(genesis: Genesis, domain: int) -> list[int]:
    return list(genesis.domain(domain).shard_ids())


def _cpu_ns(validators: Validators) -> int:
    return sum(ProcessUse.of(validators.address(each).pid).cpu_ns for each in validators.participants)


def _percentiles(name: str, latencies: Sequence[int]) -> dict[str, float]:
    ordered = sorted(latencies)
    found = {}
    for share in (50, 99):
        at = min(len(ordered) - 1, len(ordered) * share // 100)
        found[f"{name}_p{share}_ms"] = round(ordered[at] / _NS_PER_MS, 2) if ordered else 0.0
    return found
