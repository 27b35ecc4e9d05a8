"""The whole road, signed and durable: one node process for each domain, the load generator in this process.

Closed loop: as many batches on their way as the window allows, as fast as answers come; the median of the runs is the
headline. Open loop: batches fall due at a fixed rate, a share of the closed-loop one, and a latency counts from the
moment at which its batch was due. Every run is against the same nodes, with fresh transfers signed beforehand.

Then validators start beside the nodes and the load goes on, as fast as answers come and at half of that: finality
(``bench.finality``).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import statistics
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from bench.finality import FinalityReader, FinalityRun, follow_nothing, measure_finality
from bench.machine import ProcessUse, commit, disk_bytes, machine
from bench.stages import measure_stages
from clearspan.client.relay import RelayClient
from clearspan.cluster import Cluster, Validators, create_network
from clearspan.config import ShardsSection
from clearspan.load import LoadOutcome, LoadPlan, drive, signed_batches
from clearspan.population import DomainDesk, crowd_plans, tls_files
from engine.types import SigningSuite

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.loads import SettleLoad
    from clearspan.network import Network
    from clearspan.population import Crowd
    from engine.batch import BatchColumns

__all__ = ["SCHEMA", "run_settle"]

SCHEMA: Final = 1
_CURRENCIES: Final = ("CNY", "HKD", "THB", "SGD", "USD", "EUR", "GBP", "JPY")
# Batches are signed before the first run and must outlive the last.
_WINDOW_S: Final = 900
_FUNDS_EACH: Final = 10**12
_STAGE_BATCHES_MAX: Final = 16
_THREADS_SHOWN: Final = 6
# A run of finality settles at most so many transfers, and whole batches: they are signed before it.
_FINALITY_TRANSFERS_MAX: Final = 4_000_000
_HALF_PERCENT: Final = 50
# What is sent for it has seeds apart from all runs before.
_PART: Final = 90
_FEWEST: Final = 4


@dataclass(slots=True)
class _Domain:
    """One domain under load."""

    number: int
    desk: DomainDesk
    crowd: Crowd
    filled: dict[int, int]
    runs: list[list[BatchColumns]] = field(default_factory=list)
    opened: list[BatchColumns] = field(default_factory=list)


@dataclass(slots=True)
class _Measured:
    """What was measured, before it is put into words."""

    closed: list[LoadOutcome] = field(default_factory=list)
    opened: LoadOutcome = field(default_factory=LoadOutcome)
    rate_per_s: int = 0
    client_cpu_ns: int = 0
    node_cpu_ns: int = 0
    threads_ns: list[int] = field(default_factory=list)
    rss_mib: int = 0
    anonymous_mib: int = 0
    disk: int = 0
    signing_ns: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    totals: list[tuple[int, int, int]] = field(default_factory=list)
    finality: list[FinalityRun] = field(default_factory=list)


def run_settle(load: SettleLoad, runs: int, note: Callable[[str], None]) -> dict[str, Any]:
    """Measure a load and return the report as one JSON object. Raises what the cluster and the client raise."""
    with tempfile.TemporaryDirectory(prefix="clearspan-bench-") as folder:
        network = create_network(
            Path(folder) / "network",
            _CURRENCIES[: load.domains],
            name="bench",
            shards=load.shards,
            port=0,
            metrics_port=0,
            window_s=_WINDOW_S,
            node_shards=ShardsSection(
                verify_threads=load.verify_threads,
                seal_interval_ms=load.seal_ms,
                checkpoint_bytes=load.checkpoint_mib << 20,
            ),
            validators=load.validators or _FEWEST,
        )
        with Cluster(network) as cluster, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured, domains = runner.run(_measure(network, cluster, load, runs, note))
        note("measuring the node's steps one by one")
        first = domains[0]
        batches = first.runs[0][:_STAGE_BATCHES_MAX]
        log = cluster.data(first.number) / "log"
        stages = measure_stages(network.genesis, first.number, log, first.filled, batches, Path(folder) / "stages")
    return _report(load, runs, measured, stages)


async def _measure(
    network: Network, cluster: Cluster, load: SettleLoad, runs: int, note: Callable[[str], None]
) -> tuple[_Measured, list[_Domain]]:
    measured = _Measured()
    async with AsyncExitStack() as stack:
        note("registering banks, opening accounts, issuing money")
        domains = [
            await _fill(await stack.enter_async_context(DomainDesk(network, domain.domain)), network, load)
            for domain in network.genesis.domains
        ]
        note(f"signing {(runs + 1) * load.transfers:,} transfers")
        began = time.monotonic_ns()
        for domain in domains:
            await asyncio.to_thread(_sign, domain, load, runs)
        measured.signing_ns = time.monotonic_ns() - began
        before = _disk(cluster, domains)
        for number in range(runs):
            outcome = await _closed(cluster, domains, load, number, measured)
            measured.closed.append(outcome)
            note(f"run {number + 1} of {runs}: {outcome.transfers_per_s:,} transfers/s (closed loop)")
        # Divided by what was settled in these runs alone.
        measured.disk = _disk(cluster, domains) - before
        median = int(statistics.median(outcome.transfers_per_s for outcome in measured.closed))
        measured.rate_per_s = max(1, median * load.open_percent // 100)
        measured.opened = await _opened(domains, load, measured.rate_per_s)
        note(f"open loop at {measured.rate_per_s:,} transfers/s: p50 {measured.opened.latency_ms(50):.1f} ms")
        for domain in domains:
            use = ProcessUse.of(cluster.address(domain.number).pid)
            measured.rss_mib += use.rss_mib
            measured.anonymous_mib += use.anonymous_mib
            measured.totals += await _totals(domain)
        if load.validators:
            measured.finality = await _finality(network, domains, load, median, note)
    for outcome in (*measured.closed, measured.opened):
        measured.codes.update(outcome.codes)
    return measured, domains


async def _fill(desk: DomainDesk, network: Network, load: SettleLoad) -> _Domain:
    """Register banks, open and fund their accounts; note where each shard's log stands then."""
    number = desk.domain.domain
    suite = SigningSuite.SM2 if load.sm2 else SigningSuite.ED25519
    await desk.add_issuer()
    plans = crowd_plans(network, number, load.banks, keys=load.keys_per_bank, suite=suite)
    crowd = await desk.add_crowd(plans, load.accounts // load.banks, _FUNDS_EACH)
    status = await desk.operator.status()
    return _Domain(number, desk, crowd, {shard.shard: shard.log_number for shard in status.shards})


def _sign(domain: _Domain, load: SettleLoad, runs: int) -> None:
    """Sign what is sent without validators."""
    share = load.transfers // load.domains
    domain.runs = [_batches(domain, load, part, share, load.batch_size) for part in range(runs)]
    domain.opened = _batches(domain, load, runs, share, load.open_batch_size)


def _batches(domain: _Domain, load: SettleLoad, part: int, transfers: int, size: int) -> list[BatchColumns]:
    """Sign so many transfers in batches; the seed of each part is its own."""
    plan = LoadPlan(
        domain.number,
        transfers,
        size,
        valid_for_s=_WINDOW_S,
        seed=load.seed * 10_000 + domain.number * 100 + part,
        hot_accounts=load.hot_accounts,
    )
    return signed_batches(plan, domain.crowd.accounts, domain.desk.signer(domain.crowd), time.time_ns())


async def _closed(
    cluster: Cluster, domains: list[_Domain], load: SettleLoad, number: int, measured: _Measured
) -> LoadOutcome:
    """Drive all domains at once, as fast as they answer; add up what client and nodes used."""
    uses = [ProcessUse.of(cluster.address(domain.number).pid) for domain in domains]
    client = time.process_time_ns()
    began = time.monotonic_ns()
    outcomes = await asyncio.gather(
        *(drive(domain.desk.clearing_house, domain.runs[number], window=load.window) for domain in domains)
    )
    elapsed = time.monotonic_ns() - began
    measured.client_cpu_ns += time.process_time_ns() - client
    for domain, use in zip(domains, uses, strict=True):
        after = ProcessUse.of(cluster.address(domain.number).pid)
        measured.node_cpu_ns += after.cpu_ns - use.cpu_ns
        measured.threads_ns = after.threads_since(use)[:_THREADS_SHOWN]
    return _together(outcomes, elapsed)


async def _opened(domains: list[_Domain], load: SettleLoad, rate_per_s: int) -> LoadOutcome:
    """Let batches fall due at a fixed rate, shared by the domains."""
    share = max(1, rate_per_s // load.domains)
    began = time.monotonic_ns()
    outcomes = await asyncio.gather(
        *(drive(domain.desk.clearing_house, domain.opened, rate_per_s=share) for domain in domains)
    )
    return _together(outcomes, time.monotonic_ns() - began)


async def _finality(
    network: Network, domains: list[_Domain], load: SettleLoad, rate_per_s: int, note: Callable[[str], None]
) -> list[FinalityRun]:
    """Start validators, then drive the load again: as fast as answers come, and at half the rate of that."""
    for config in network.path.glob("validators/*/validator.toml"):
        config.write_text(follow_nothing(config.read_text(encoding="utf-8")), encoding="utf-8")
    validators = Validators(network, None, ("--validator-log-level", "warning"))
    runs: list[FinalityRun] = []
    async with AsyncExitStack() as stack:
        stack.callback(validators.stop)
        note(f"{load.validators} validators start")
        validators.start()
        operator = tls_files(network, f"operator-{domains[0].desk.domain.name}")
        target = validators.address(validators.participants[0]).target
        client = await stack.enter_async_context(RelayClient(target, operator))
        reader = await stack.enter_async_context(FinalityReader(network.genesis, client))
        for name in ("full", "half"):
            full = runs[0].settled * 10**9 // runs[0].elapsed_ns if runs else rate_per_s
            run = FinalityRun(name, full * _HALF_PERCENT // 100 if runs else 0)
            transfers = min((run.rate_per_s or full) * load.final_seconds, _FINALITY_TRANSFERS_MAX)
            share = max(load.batch_size, transfers // load.domains)
            work = [
                (each.desk, await asyncio.to_thread(_batches, each, load, _PART + len(runs), share, load.batch_size))
                for each in domains
            ]
            await measure_finality(run, work, reader, validators, window=load.window)
            runs.append(run)
            found = run.figures()
            note(
                f"{name}: {found['transfers_per_s']:,} transfers/s, final p99 {found['final_p99_ms']} ms after the "
                f"seal, {found['request_final_p99_ms']} ms after the request"
            )
    return runs


def _together(outcomes: list[LoadOutcome], elapsed_ns: int) -> LoadOutcome:
    whole = LoadOutcome(elapsed_ns=elapsed_ns)
    for outcome in outcomes:
        if outcome.failure is not None:
            raise outcome.failure
        whole.sent += outcome.sent
        whole.settled += outcome.settled
        whole.codes.update(outcome.codes)
        whole.latencies_ns += outcome.latencies_ns
    return whole


async def _totals(domain: _Domain) -> list[tuple[int, int, int]]:
    """Read what each account of the load has paid and received."""
    packed = domain.crowd.accounts.ids
    ids = [int.from_bytes(row.tobytes(), "little") for row in packed]
    views = await domain.desk.operator.accounts(ids)
    return [(view.id, view.account.debits_posted, view.account.credits_posted) for view in views if view is not None]


def _disk(cluster: Cluster, domains: list[_Domain]) -> int:
    return sum(disk_bytes(cluster.data(domain.number)) for domain in domains)


def _report(load: SettleLoad, runs: int, measured: _Measured, stages: dict[str, int]) -> dict[str, Any]:
    rates = [outcome.transfers_per_s for outcome in measured.closed]
    settled = sum(outcome.settled for outcome in measured.closed)
    opened = measured.opened
    return {
        "schema": SCHEMA,
        "scenario": "settle",
        "parameters": {
            **load.parameters(),
            "runs": runs,
            "window_s": _WINDOW_S,
            "open_rate_per_s": measured.rate_per_s,
            "durability": "synced",
            "signed": True,
        },
        "commit": commit(),
        "machine": machine(),
        "runs": [
            {
                "transfers_per_s": outcome.transfers_per_s,
                "elapsed_ms": outcome.elapsed_ns // 1_000_000,
                "batch_p50_ms": round(outcome.latency_ms(50), 3),
                "batch_p99_ms": round(outcome.latency_ms(99), 3),
            }
            for outcome in measured.closed
        ],
        "spread": {
            "transfers_per_s_min": min(rates),
            "transfers_per_s_max": max(rates),
            "transfers_per_s_relative": round((max(rates) - min(rates)) / statistics.median(rates), 4),
        },
        "outcome_hash": _outcome_hash(measured),
        "transfers_per_s": int(statistics.median(rates)),
        "settled_p50_ms": round(opened.latency_ms(50), 3),
        "settled_p99_ms": round(opened.latency_ms(99), 3),
        "settled_p999_ms": round(opened.latency_ms(99.9), 3),
        **_finality_report(measured.finality),
        "rss_mib": measured.rss_mib,
        "rss_anonymous_mib": measured.anonymous_mib,
        "disk_bytes_per_transfer": measured.disk // max(1, settled),
        "stages": {
            **{f"{stage}_ns": nanoseconds for stage, nanoseconds in stages.items()},
            "node_cpu_ns": measured.node_cpu_ns // max(1, settled),
            "client_cpu_ns": measured.client_cpu_ns // max(1, settled),
            "client_sign_ns": measured.signing_ns // ((runs + 1) * load.transfers),
        },
        # Of the last run and the last domain: the busiest threads of the node.
        "node_threads_ms": [each // 1_000_000 for each in measured.threads_ns],
        "results": dict(sorted(measured.codes.items())),
    }


def _finality_report(runs: list[FinalityRun]) -> dict[str, Any]:
    """Return the figures at full load at the top, and those of each share; nothing where no validators were asked."""
    if not runs:
        return {}
    figures = {run.name: run.figures() for run in runs}
    names = ("final_p50_ms", "final_p99_ms", "request_final_p50_ms", "request_final_p99_ms")
    return {**{name: figures[runs[0].name][name] for name in names}, "finality": figures}


def _outcome_hash(measured: _Measured) -> str:
    """Return a hash over what came of the load and not of its timing: counts by code, and each account's totals."""
    document = {
        "codes": dict(sorted(measured.codes.items())),
        "accounts": [[f"{account:032x}", str(debits), str(credits_)] for account, debits, credits_ in measured.totals],
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
