"""Figures of a bridge for a monitoring system: swaps by side and outcome, how long they took, what runs and waits."""

from __future__ import annotations

from bisect import bisect_left
from functools import partial
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from bridge.ports import Outcome
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clearspan.bridging.chains.served import ChainStanding
    from clearspan.bridging.journal.book import OpenSwap
    from clearspan.bridging.swaps.engine import BridgeEngine

__all__ = ["BridgeMetrics"]

# From a quick swap on an idle network to a timelock of an hour.
_SECONDS: Final = ("0.1", "0.2", "0.5", "1.0", "2.0", "5.0", "10.0", "30.0", "60.0", "300.0", "3600.0")
_NS: Final = tuple(round(float(each) * NS_PER_S) for each in _SECONDS)


class _Ends(Collector):
    """Swaps that ended, in plain numbers: each swap counts here, and few ever read."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._counts: dict[tuple[str, str], int] = {}
        self._within = [0] * (len(_NS) + 1)
        self._took_ns = 0

    def count(self, side: str, outcome: str, took_ns: int) -> None:
        """Count one swap."""
        named = side, outcome
        self._counts[named] = self._counts.get(named, 0) + 1
        self._within[bisect_left(_NS, took_ns)] += 1
        self._took_ns += took_ns

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """Yield the figures as they stand."""
        ended = CounterMetricFamily(
            "clearspan_bridge_swaps", "Swaps ended, by side and outcome.", labels=["side", "outcome"]
        )
        for named, count in sorted(self._counts.items()):
            ended.add_metric(named, count)
        yield ended
        within = zip((*_SECONDS, "+Inf"), accumulate(self._within), strict=True)
        buckets = [(bound, float(count)) for bound, count in within]
        seconds = HistogramMetricFamily("clearspan_bridge_swap_seconds", "From the request to both ends final.")
        seconds.add_metric((), buckets, self._took_ns / NS_PER_S)
        yield seconds


class BridgeMetrics:
    """The figures of one bridge, in a registry of its own."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self._ends = _Ends()
        self.registry.register(self._ends)
        self._running = Gauge("clearspan_bridge_running", "Swaps that run.", registry=self.registry)
        self._commits = Gauge("clearspan_bridge_commits", "Commits of the journal.", registry=self.registry)
        self._alarms = Gauge("clearspan_bridge_alarms", "Alarms among the newest.", registry=self.registry)

        def of_chain(name: str, text: str) -> Gauge:
            return Gauge(f"clearspan_bridge_chain_{name}", text, ["chain"], registry=self.registry)

        self._chain_height = of_chain("height", "Newest block of a chain that was seen.")
        self._chain_head = of_chain("head_timestamp_seconds", "Time of that block.")
        self._chain_out = of_chain("transactions_out", "Transactions that are sent and not final.")
        self._chain_coin = of_chain("coin", "What the account holds for fees, in the coin's smallest unit.")

    def finished(self, swap: OpenSwap) -> None:
        """Count a swap that ended."""
        outcome = _OUTCOMES[swap.outcome] if swap.outcome is not None else "unknown"
        self._ends.count(swap.side, outcome, max(0, swap.ended_at - swap.began_at))

    def watch(self, engine: BridgeEngine) -> None:
        """Read gauges from an engine whenever they are asked for."""
        self._running.set_function(lambda: len(engine.book))
        self._commits.set_function(lambda: engine.store.commits)
        self._alarms.set_function(lambda: len(engine.telling.alarms))
        for chain in engine.chains:
            # What each names, bound now: a gauge is read long after this loop.
            for gauge, read in (
                (self._chain_height, partial(attrgetter("height"), chain)),
                (self._chain_out, partial(attrgetter("out_count"), chain)),
                (self._chain_coin, partial(attrgetter("balance"), chain)),
                (self._chain_head, partial(_head_s, chain)),
            ):
                gauge.labels(chain.name).set_function(read)


_OUTCOMES: Final = {each: each.name.lower() for each in Outcome}


def _head_s(chain: ChainStanding) -> float:
    return chain.head_ns / NS_PER_S
