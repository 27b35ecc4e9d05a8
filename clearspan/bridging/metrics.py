"""Figures of a bridge for a monitoring system: swaps by side and outcome, how long they took, what runs and waits."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from engine.types import NS_PER_S

if TYPE_CHECKING:
    from clearspan.bridging.book import OpenSwap
    from clearspan.bridging.chains import ChainStanding
    from clearspan.bridging.engine import BridgeEngine

__all__ = ["BridgeMetrics"]

# From a quick swap on an idle network to a timelock of an hour.
_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class BridgeMetrics:
    """The figures of one bridge, in a registry of its own."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self._ended = Counter(
            "clearspan_bridge_swaps", "Swaps ended, by side and outcome.", ["side", "outcome"], registry=self.registry
        )
        self._counters: dict[tuple[str, str], Counter] = {}
        self._seconds = Histogram(
            "clearspan_bridge_swap_seconds", "From the request to both ends final.", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
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
        named = swap.side, swap.outcome.name.lower() if swap.outcome is not None else "unknown"
        counter = self._counters.get(named)
        if counter is None:
            counter = self._counters[named] = self._ended.labels(*named)
        counter.inc()
        self._seconds.observe(max(0, swap.ended_at - swap.began_at) / NS_PER_S)

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


def _head_s(chain: ChainStanding) -> float:
    return chain.head_ns / NS_PER_S
