"""Agreement alone: N validator processes on loopback, shards that seal at a fixed pace, and one reader of final blocks.

A latency is from the moment at which a shard sealed a header to the moment at which the reader has the final block that
anchors it or a later one of the shard, which a quorum certified. Headers are offered to every validator, as nodes do:
the newest of each shard, over one stream, once the ones before were answered.
Messages and bytes are what validators sent each other, by their own counters.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import statistics
import tempfile
import time
import urllib.request
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import uvloop

from bench.headers import SealingShard, sealing_shards
from bench.machine import ProcessUse, commit, machine
from bench.relay_simulated import simulated
from clearspan.client.relay import RelayClient
from clearspan.cluster import Validators, create_network
from clearspan.pki import TlsFiles
from clearspan.process import configure_log
from clearspan.relay_link.lines import LineSet
from clearspan.relay_link.offering import Offering
from clearspan.relay_link.offers import OfferDesk
from engine.relay_block import RelayBlock
from engine.types import RelayRecordType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clearspan.network import Network

__all__ = ["RelayLoad", "run_relay"]

SCHEMA: Final = 1
_CURRENCIES: Final = ("CNY", "HKD", "THB", "SGD", "USD", "EUR", "GBP", "JPY")
_READY_S: Final = 60.0
_FIRST_BLOCKS: Final = 3
_DRAIN_S: Final = 30.0
_NS_PER_MS: Final = 1_000_000
_COUNTERS: Final = ("clearspan_relay_peer_sent_total", "clearspan_relay_peer_sent_bytes_total")


@dataclass(frozen=True, slots=True)
class RelayLoad:
    """How many validators and shards (two a domain), how often each shard seals, and for how long.

    dead_leader: one validator is killed in the middle. link_ms: instead of processes, simulated links of this delay.
    """

    validators: int = 4
    domains: int = 3
    seal_ms: int = 100
    seconds: int = 10
    dead_leader: bool = False
    link_ms: int = 0


@dataclass(slots=True)
class _Run:
    """What one run saw: latencies in ns, and what was final in its time."""

    latencies: list[int] = field(default_factory=list)
    heights: dict[int, int] = field(default_factory=dict)
    blocks: int = 0
    idle_blocks: int = 0
    later_views: int = 0
    seconds: float = 0.0
    messages: int = 0
    size: int = 0
    cpu_ns: int = 0
    all_blocks: int = 0
    arrived: list[tuple[int, int]] = field(default_factory=list)
    """When each block came, and its view."""
    killed_at: int = 0


def run_relay(load: RelayLoad, runs: int, note: Callable[[str], None]) -> dict[str, Any]:
    """Measure; return the report as the command prints it."""
    if load.link_ms:
        return _frame(load, simulated(load.validators, load.link_ms, load.seal_ms, runs, note))
    # Offers that are lost are no news here.
    configure_log("warning")
    with tempfile.TemporaryDirectory(prefix="clearspan-bench-") as folder:
        network = create_network(
            Path(folder) / "network",
            _CURRENCIES[: load.domains],
            port=0,
            metrics_port=0,
            validators=load.validators,
        )
        # There are no nodes.
        _follow_nothing(network)
        flags = ("--validator-log-level", "warning")
        validators = Validators(network, None, flags)
        try:
            note(f"{load.validators} validators start")
            validators.start()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                measured = runner.run(_measure(validators, load, runs, note))
        finally:
            validators.stop()
    return _report(load, measured)


def _follow_nothing(network: Network) -> None:
    for config in network.path.glob("validators/*/validator.toml"):
        text = config.read_text(encoding="utf-8").splitlines()
        lines = ["domains = []" if line.startswith("domains = ") else line for line in text]
        config.write_text("\n".join([*lines, ""]), encoding="utf-8")


async def _measure(validators: Validators, load: RelayLoad, runs: int, note: Callable[[str], None]) -> list[_Run]:
    network = validators.network
    folder = network.path / "tls"
    tls = TlsFiles(*(folder / name for name in ("operator-cny.pem", "operator-cny.key", "ca.pem")))
    shards = sealing_shards(network)
    async with AsyncExitStack() as stack:
        targets = [validators.address(each).target for each in validators.participants]
        client = await stack.enter_async_context(RelayClient(targets[0], tls))
        await _until_agreeing(client)
        lines = LineSet(tls, targets=targets)
        stack.push_async_callback(lines.close)
        road = _Road(network, shards, client, lines)
        await stack.enter_async_context(road)
        measured = []
        # Not the one that the reader follows.
        doomed = validators.participants[-1] if load.dead_leader else None
        counted = [each for each in validators.participants if each != doomed]
        for number in range(runs):
            before = await asyncio.to_thread(_sent, validators, counted)
            run = await road.drive(load, partial(validators.kill, doomed) if doomed is not None else None)
            after = await asyncio.to_thread(_sent, validators, counted)
            run.messages, run.size, run.cpu_ns = (b - a for a, b in zip(before, after, strict=True))
            note(f"run {number + 1}: {run.blocks / run.seconds:.1f} blocks/s, p50 {_ms(run.latencies, 0.5)} ms")
            measured.append(run)
            if doomed is not None and number + 1 < runs:
                await _back(validators, doomed, tls)
        return measured


async def _back(validators: Validators, participant: int, tls: TlsFiles) -> None:
    """Start a validator again, and wait until it has caught up."""
    validators.restart(participant)
    async with RelayClient(validators.address(participant).target, tls) as client, asyncio.timeout(_READY_S):
        status = await client.status()
        async with aclosing(client.blocks(status.final_height + 1, follow=True)) as blocks:
            async for _ in blocks:
                status = await client.status()
                if status.may_sign and not status.behind:
                    return


async def _until_agreeing(client: RelayClient) -> None:
    """Wait for the first blocks: until all have found each other, views pass."""
    async with asyncio.timeout(_READY_S), aclosing(client.blocks(_FIRST_BLOCKS, follow=True)) as blocks:
        async for _ in blocks:
            return


class _Road:
    """The shards, the offers of their headers, and the reader of final blocks."""

    def __init__(self, network: Network, shards: list[SealingShard], client: RelayClient, lines: LineSet) -> None:
        self._suite = network.genesis.hash_suite
        self._shards = {each.shard: each for each in shards}
        self._client, self._lines = client, lines
        self._desk = OfferDesk(lambda shard, base, height: self._shards[shard].path(base, height))
        self._sealed: dict[int, dict[int, int]] = {each.shard: {} for each in shards}
        self._heights = dict.fromkeys(self._shards, 0)
        self._run = _Run()
        self._reader: asyncio.Task[None] | None = None
        self._offering: list[Offering] = []
        self._anchored = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._offering = [Offering(line, lambda *_: None) for line in self._lines.lines]
        self._reader = asyncio.get_running_loop().create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [each for each in (self._reader, *(offering.task for offering in self._offering)) if each is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drive(self, load: RelayLoad, kill: Callable[[], object] | None) -> _Run:
        """Seal at the load's pace for its time, wait until all is final, and return what was seen."""
        self._run = run = _Run()
        began = time.monotonic()
        turns = load.seconds * 1000 // load.seal_ms
        pause = load.seal_ms / 1000 / len(self._shards)
        due = began
        for turn in range(turns):
            if kill is not None and turn == turns // 2:
                run.killed_at = time.monotonic_ns()
                kill()
            for shard in self._shards.values():
                due += pause
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                self._seal(shard)
        run.seconds = time.monotonic() - began
        blocks = run.blocks
        async with asyncio.timeout(_DRAIN_S):
            while any(self._sealed.values()):
                if self._reader is not None and self._reader.done():
                    self._reader.result()
                self._anchored.clear()
                await asyncio.wait_for(self._anchored.wait(), _DRAIN_S)
                self._offer()
        run.blocks, run.all_blocks = blocks, run.blocks
        run.heights, run.arrived = dict(self._heights), list(run.arrived)
        self._run = _Run()
        return run

    def _seal(self, shard: SealingShard) -> None:
        signed = shard.seal()
        self._sealed[shard.shard][signed.header.height] = time.monotonic_ns()
        self._desk.sealed(signed)
        self._offer()

    def _offer(self) -> None:
        for offer in self._desk.due(time.time_ns()):
            encoded = offer.encode()
            for offering in self._offering:
                offering.put(offer.signed.header.shard, encoded)

    async def _read(self) -> None:
        """Take final blocks, and note when what they anchor was sealed."""
        try:
            await self._read_on()
        finally:
            self._anchored.set()

    async def _read_on(self) -> None:
        start = (await self._client.status()).final_height + 1
        async with aclosing(self._client.blocks(start, follow=True)) as blocks:
            async for message in blocks:
                now = time.monotonic_ns()
                block = RelayBlock.decode(message.block, self._suite)
                anchored = [
                    record.signed_header().header for record in block.records if record.type is RelayRecordType.HEADER
                ]
                for header in anchored:
                    sealed = self._sealed[header.shard]
                    for height in [each for each in sealed if each <= header.height]:
                        self._run.latencies.append(now - sealed.pop(height))
                    self._heights[header.shard] = header.height
                    self._desk.anchored(header.shard, header.height)
                self._run.blocks += 1
                self._run.idle_blocks += not anchored
                self._run.later_views += block.header.view > 0
                self._run.arrived.append((now, block.header.view))
                self._anchored.set()


def _sent(validators: Validators, participants: Sequence[int]) -> tuple[int, int, int]:
    """Return the messages and bytes that validators sent each other so far, and the CPU time that they used, ns."""
    totals = [0, 0]
    for participant in participants:
        port = validators.address(participant).metrics_port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        for place, name in enumerate(_COUNTERS):
            totals[place] += sum(int(float(line.split()[-1])) for line in lines if line.startswith(f"{name}{{"))
    used = sum(ProcessUse.of(validators.address(each).pid).cpu_ns for each in participants)
    return totals[0], totals[1], used


def _ms(latencies: list[int], share: float) -> float:
    ordered = sorted(latencies)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] / _NS_PER_MS, 2) if ordered else 0.0


def _after_death(run: _Run) -> dict[str, Any]:
    """Return what a dead leader cost: views that failed, the longest time without a block, and blocks since."""
    if not run.killed_at:
        return {}
    before = max(at for at, _ in run.arrived if at <= run.killed_at)
    since = [(at, view) for at, view in run.arrived if at > run.killed_at]
    gaps = [at - last for (at, _), last in zip(since, [before, *(at for at, _ in since)], strict=False)]
    return {
        "dead_leader_blocks": len(since),
        "dead_leader_views_failed": sum(view for _, view in since),
        "dead_leader_longest_gap_ms": round(max(gaps) / _NS_PER_MS, 1),
    }


def _report(load: RelayLoad, measured: list[_Run]) -> dict[str, Any]:
    runs = [
        {
            "final_p50_ms": _ms(run.latencies, 0.5),
            "final_p99_ms": _ms(run.latencies, 0.99),
            "blocks_per_s": round(run.blocks / run.seconds, 1),
            "messages_per_block": round(run.messages / max(1, run.all_blocks), 1),
            "bytes_per_block": run.size // max(1, run.all_blocks),
            "cpu_ms_per_block": round(run.cpu_ns / max(1, run.all_blocks) / _NS_PER_MS, 1),
            "headers": len(run.latencies),
            "idle_blocks": run.idle_blocks,
            "later_views": run.later_views,
            **_after_death(run),
        }
        for run in measured
    ]
    figures = {
        name: round(statistics.median(each[name] for each in runs), 2)
        for name in (
            "final_p50_ms",
            "final_p99_ms",
            "blocks_per_s",
            "messages_per_block",
            "bytes_per_block",
            "cpu_ms_per_block",
        )
    }
    spread = {
        f"{name}_{end}": choose(each[name] for each in runs)
        for name in ("final_p99_ms", "blocks_per_s")
        for end, choose in (("min", min), ("max", max))
    }
    outcome = json.dumps({str(shard): height for shard, height in sorted(measured[-1].heights.items())})
    return _frame(load, {**figures, "runs": runs, "spread": spread, "outcome": outcome})


def _frame(load: RelayLoad, found: dict[str, Any]) -> dict[str, Any]:
    """Put figures into the frame of every report; ``outcome`` is what its hash is of."""
    outcome = found.pop("outcome")
    return {
        "schema": SCHEMA,
        "scenario": "relay",
        "parameters": {**asdict(load), "shards": 1 if load.link_ms else 2 * load.domains, "runs": len(found["runs"])},
        "commit": commit(),
        "machine": machine(),
        **found,
        "outcome_hash": hashlib.sha256(outcome.encode()).hexdigest(),
    }
