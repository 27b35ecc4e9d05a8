"""Swaps between two ledgers from request to both ends final: two bridges, two nodes, four validators, this client.

Closed loop: so many swaps run at once, and a new one begins when one ends; what ends a second in the second half is the
headline. Open loop: requests fall due at half of that rate, and a latency counts from the moment at which its request
was due until its bridge says that every leg is claimed in final blocks. Then locks and claims beside plain transfers
(``bench.htlc``).
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import uvloop

from bench.finality import follow_nothing
from bench.htlc import measure_htlc
from bench.machine import ProcessUse, commit, machine
from bridge.rates import Rate
from clearspan.bridging.staging.banks import Bank, Bridges, StagedMargins, corridor_between, register_banks
from clearspan.bridging.staging.folder import bridge_tls_name, put_corridors
from clearspan.client.bridge import BridgeClient
from clearspan.cluster import Cluster, create_network
from clearspan.config import LimitsSection, ShardsSection
from clearspan.pki import TlsFiles
from clearspan.v1 import bridge_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clearspan.network import Network

__all__ = ["SwapLoad", "run_swap"]

SCHEMA: Final = 1
_SOURCE, _TARGET = 156, 344
_PROVIDER, _PAYER, _PAYEE = 5001, 6001, 7001
_NS_PER_MS: Final = 1_000_000
_AMOUNT: Final = 10_000
_DRAIN_S: Final = 90.0
_HALF: Final = 2


@dataclass(frozen=True, slots=True)
class SwapLoad:
    """What is measured: how many swaps run at once, for how long, sent in calls of how many, so many calls at once.

    rate_per_s: of the open loop; 0 for half of what the closed loop ended. seal_ms: between two seals of a shard.
    """

    at_once: int = 3_000
    seconds: int = 10
    open_seconds: int = 10
    per_call: int = 100
    calls: int = 4
    rate_per_s: int = 0
    shards: int = 1
    validators: int = 4
    seal_ms: int = 200
    finality: str = "final"
    htlc: int = 20_000


@dataclass(slots=True)
class _Run:
    """One run: when each swap was due and when it had ended, ns, and how."""

    name: str
    rate_per_s: int = 0
    began: int = 0
    due: dict[bytes, int] = field(default_factory=dict)
    ended: dict[bytes, tuple[int, str]] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    elapsed_ns: int = 0
    cpu_ms: dict[str, int] = field(default_factory=dict)

    def latencies_ms(self) -> list[float]:
        """Return what each claimed swap took, ascending."""
        took = [at - self.due[swap] for swap, (at, outcome) in self.ended.items() if outcome == "claimed"]
        return sorted(each / _NS_PER_MS for each in took)

    def percentile(self, share: int) -> float:
        """Return a percentile of the latencies in ms; 0 where nothing was claimed."""
        found = self.latencies_ms()
        return round(found[min(len(found) - 1, len(found) * share // 100)], 1) if found else 0.0

    def sustained_per_s(self) -> int:
        """Return claimed swaps a second in the second half of the time in which new ones began."""
        first, last = min(self.due.values()), max(self.due.values())
        middle = first + (last - first) // _HALF
        count = sum(middle <= at < last for at, outcome in self.ended.values() if outcome == "claimed")
        return count * 1_000_000_000 // max(1, last - middle)

    def figures(self) -> dict[str, Any]:
        """Return what is reported of it."""
        outcomes: dict[str, int] = {}
        for _, outcome in self.ended.values():
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        return {
            "swaps": len(self.due),
            "outcomes": dict(sorted(outcomes.items())),
            "refused_at_request": len(self.refusals),
            "rate_per_s": self.rate_per_s,
            "swaps_per_s": self.sustained_per_s() if self.due else 0,
            "swap_p50_ms": self.percentile(50),
            "swap_p99_ms": self.percentile(99),
            "elapsed_ms": self.elapsed_ns // _NS_PER_MS,
            "cpu_ms": self.cpu_ms,
        }


def run_swap(load: SwapLoad, note: Callable[[str], None]) -> dict[str, Any]:
    """Measure and return the report as one JSON object. Raises what the cluster, the bridges and the client raise."""
    with tempfile.TemporaryDirectory(prefix="clearspan-swap-") as folder:
        network = create_network(
            Path(folder) / "network",
            ("CNY", "HKD"),
            name="bench",
            shards=load.shards,
            port=0,
            metrics_port=0,
            window_s=300,
            node_shards=ShardsSection(seal_interval_ms=load.seal_ms),
            validators=load.validators,
        )
        for config in network.path.glob("validators/*/validator.toml") if load.finality == "final" else ():
            config.write_text(follow_nothing(config.read_text(encoding="utf-8")), encoding="utf-8")
        banks = [
            Bank(_PROVIDER, "PROVIDER", (_SOURCE, _TARGET), rates={(_SOURCE, _TARGET): Rate.of(27, 25)}),
            Bank(_PAYER, "PAYER", (_SOURCE,)),
            Bank(_PAYEE, "PAYEE", (_TARGET,), funds=0),
        ]
        quiet = ("--node-log-level", "warning")
        with Cluster(
            network, flags=quiet, validators=load.validators, validator_flags=("--validator-log-level", "warning")
        ) as cluster:
            note("registering banks, opening accounts, issuing money")
            asyncio.run(register_banks(network, banks))
            margins = StagedMargins(finality_ms=5_000)
            document = corridor_between(network, _SOURCE, _TARGET, [_PROVIDER], lock_s=240, margins=margins)
            put_corridors(network, [document.record(0)])
            limits = LimitsSection(peer_rpcs_max=256)
            bridges = Bridges(
                network,
                banks[:2],
                ("--bridge-log-level", "warning"),
                finality=load.finality,
                retry_ms=2_000,
                limits=limits,
            )
            with bridges, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runs = runner.run(_measure(network, cluster, bridges, load, note))
        note("locks and claims beside plain transfers, in one process")
        htlc = measure_htlc(network, cluster.data(1) / "log", _PAYER, _PROVIDER, load.htlc, Path(folder) / "htlc")
    return _report(load, runs, htlc)


async def _measure(
    network: Network, cluster: Cluster, bridges: Bridges, load: SwapLoad, note: Callable[[str], None]
) -> list[_Run]:
    folder, name = network.path / "tls", bridge_tls_name(_PAYER)
    tls = TlsFiles(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")
    runs: list[_Run] = []
    async with BridgeClient(bridges.address(_PAYER).target, tls, timeout_s=60.0) as client:
        quotes = await _quotes(client)
        warm = _Run("warm")
        await _closed(client, quotes, warm, load, at_once=load.per_call, seconds=1.0)
        for name in ("closed", "open"):
            run = _Run(name)
            before = _uses(cluster, bridges)
            if name == "closed":
                await _closed(client, quotes, run, load, at_once=load.at_once, seconds=load.seconds)
            else:
                run.rate_per_s = load.rate_per_s or max(1, runs[0].sustained_per_s() // _HALF)
                await _opened(client, quotes, run, load.open_seconds, load.per_call)
            run.cpu_ms = {who: (use - before[who]) // _NS_PER_MS for who, use in _uses(cluster, bridges).items()}
            runs.append(run)
            found = run.figures()
            note(
                f"{name}: {found['swaps_per_s']:,} swaps/s, p50 {found['swap_p50_ms']} ms, "
                f"p99 {found['swap_p99_ms']} ms, {found['outcomes']}"
            )
    return runs


async def _quotes(client: BridgeClient) -> list[bytes]:
    """Take one quote that is large enough for all."""
    found = await client.find_route(
        bridge_pb2.FindRouteRequest(
            version=1,
            source_ledger=_SOURCE,
            target_ledger=_TARGET,
            amount=_wide(4 * 10**11),
            exact=bridge_pb2.EXACT_SEND,
            debit_account=_wide(_account(_PAYER)),
            credit_account=_wide(_account(_PAYEE)),
        )
    )
    if found.refusal.code:
        raise RuntimeError(found.refusal.text)
    return list(found.quotes)


class _Listening:
    """Takes the ends of swaps as the bridge tells them."""

    def __init__(self, client: BridgeClient, run: _Run) -> None:
        self._client, self._run = client, run
        self._task: asyncio.Task[None] | None = None
        self.news = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen())
        # The stream stands before the first swap begins.
        await asyncio.sleep(0.2)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        async with aclosing(self._client.progress(ended_only=True)) as stream:
            async for reply in stream:
                self._run.ended.setdefault(reply.swap_id, (time.time_ns(), reply.outcome))
                self.news.set()

    async def until(self, count: int, deadline: float) -> None:
        """Wait until at most so many run."""
        run = self._run
        while len(run.due) - len(run.ended) > count and time.monotonic() < deadline:
            assert self._task is not None
            if self._task.done():
                self._task.result()
                message = "the bridge ended its stream of progress"
                raise RuntimeError(message)
            self.news.clear()
            try:
                async with asyncio.timeout(0.5):
                    await self.news.wait()
            except TimeoutError:
                continue


async def _begin(client: BridgeClient, quotes: Sequence[bytes], run: _Run, due: Sequence[int]) -> None:
    orders = [
        bridge_pb2.SwapOrder(
            uetr=uuid.uuid4().bytes,
            debit_account=_wide(_account(_PAYER)),
            credit_account=_wide(_account(_PAYEE)),
            amount=_wide(_AMOUNT),
            exact=bridge_pb2.EXACT_SEND,
            quotes=quotes,
        )
        for _ in due
    ]
    for answer, at in zip(await client.run(orders), due, strict=True):
        if answer.refusal.code:
            run.refusals.append(answer.refusal.name)
        else:
            run.due[answer.swap_id] = at


async def _closed(
    client: BridgeClient, quotes: Sequence[bytes], run: _Run, load: SwapLoad, *, at_once: int, seconds: float
) -> None:
    """Begin swaps for so long, whenever there is room for a call's worth of them."""
    run.began = time.time_ns()
    per_call = min(load.per_call, at_once)
    waiting = 0

    async def call(listening: _Listening, end: float) -> None:
        nonlocal waiting
        while time.monotonic() < end:
            waiting += per_call
            await listening.until(max(0, at_once - waiting), end)
            if time.monotonic() < end:
                await _begin(client, quotes, run, [time.time_ns()] * per_call)
            waiting -= per_call

    async with _Listening(client, run) as listening:
        end = time.monotonic() + seconds
        await asyncio.gather(*(call(listening, end) for _ in range(load.calls)))
        await listening.until(0, time.monotonic() + _DRAIN_S)
    run.elapsed_ns = time.time_ns() - run.began


async def _opened(client: BridgeClient, quotes: Sequence[bytes], run: _Run, seconds: int, per_call: int) -> None:
    run.began = time.time_ns()
    count = min(per_call, max(1, run.rate_per_s // 20))
    calls: set[asyncio.Task[None]] = set()
    async with _Listening(client, run) as listening:
        began = time.time_ns()
        for number in range(run.rate_per_s * seconds // count):
            due = began + number * count * 1_000_000_000 // run.rate_per_s
            await asyncio.sleep(max(0, due - time.time_ns()) / 1_000_000_000)
            call = asyncio.create_task(_begin(client, quotes, run, [due] * count))
            calls.add(call)
            call.add_done_callback(calls.discard)
        await asyncio.gather(*calls)
        await listening.until(0, time.monotonic() + _DRAIN_S)
    run.elapsed_ns = time.time_ns() - run.began


def _uses(cluster: Cluster, bridges: Bridges) -> dict[str, int]:
    """Return the CPU time of each part so far, ns."""
    validators = cluster.validators
    return {
        "payer_bridge": ProcessUse.of(bridges.address(_PAYER).pid).cpu_ns,
        "provider_bridge": ProcessUse.of(bridges.address(_PROVIDER).pid).cpu_ns,
        "nodes": sum(ProcessUse.of(cluster.address(domain).pid).cpu_ns for domain in (1, 2)),
        "validators": sum(ProcessUse.of(validators.address(each).pid).cpu_ns for each in validators.participants),
        "client": time.process_time_ns(),
    }


def _account(participant: int) -> int:
    return Bank(participant, "", ()).account


def _wide(value: int) -> bytes:
    return value.to_bytes(16, "little")


def _report(load: SwapLoad, runs: list[_Run], htlc: dict[str, Any]) -> dict[str, Any]:
    closed, opened = runs
    figures = {run.name: run.figures() for run in runs}
    return {
        "schema": SCHEMA,
        "scenario": "swap",
        "parameters": {**asdict(load), "legs": 2, "ledgers": 2, "open_rate_per_s": opened.rate_per_s},
        "commit": commit(),
        "machine": machine(),
        "runs": [{"name": run.name, **figures[run.name]} for run in runs],
        "spread": {"swap_p50_ms_closed": closed.percentile(50), "swap_p99_ms_closed": closed.percentile(99)},
        "outcome_hash": htlc["outcome_hash"],
        "swaps_per_s": closed.sustained_per_s(),
        "swap_p50_ms": opened.percentile(50),
        "swap_p99_ms": opened.percentile(99),
        **{name: value for name, value in htlc.items() if name != "outcome_hash"},
    }
