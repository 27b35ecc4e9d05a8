"""Figures of a bridge for a monitoring system: swaps by side and outcome, how long they took, what runs and waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from engine.types import NS_PER_S

if TYPE_CHECKING:
    from clearspan.bridging.book import OpenSwap
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
        self._seconds = Histogram(
            "clearspan_bridge_swap_seconds", "From the request to both ends final.", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._running = Gauge("clearspan_bridge_running", "Swaps that run.", registry=self.registry)
        self._commits = Gauge("clearspan_bridge_commits", "Commits of the journal.", registry=self.registry)
        self._alarms = Gauge("clearspan_bridge_alarms", "Alarms among the newest.", registry=self.registry)

    def finished(self, swap: OpenSwap) -> None:
        """Count a swap that ended."""
        outcome = swap.outcome.name.lower() if swap.outcome is not None else "unknown"
        self._ended.labels(swap.side, outcome).inc()
        self._seconds.observe(max(0, swap.ended_at - swap.began_at) / NS_PER_S)

    def watch(self, engine: BridgeEngine) -> None:
        """Read gauges from an engine whenever they are asked for."""
        self._running.set_function(lambda: len(engine.book))
        self._commits.set_function(lambda: engine.store.commits)
        self._alarms.set_function(lambda: len(engine.alarms))
