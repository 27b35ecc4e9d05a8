"""Figures of a node for a monitoring system: counters that the road fills, gauges read when asked, text over HTTP.

It promises that measuring costs a batch microseconds and never an answer: nothing here is awaited on the road. It knows
names and numbers, no payload and no participant.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily

from clearspan.errors import ConfigError, PortInUse
from engine.codes import code_name
from engine.log import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from prometheus_client.metrics_core import Metric

    from clearspan.relay_link.ports import RelayStanding
    from shards.domain import Round
    from shards.node import NodeStatus

__all__ = ["HasRegistry", "MetricsServer", "NodeMetrics"]

# From half a millisecond, a small commit on a fast disk, to ten seconds, where an operator wants to be woken.
_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_NS_PER_SECOND: Final = 1_000_000_000


class NodeMetrics:
    """The figures of one node, in a registry of its own."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self._transfers = Counter(
            "clearspan_transfers", "Transfers answered, by result code.", ["code"], registry=self.registry
        )
        self._batches = Counter("clearspan_batches", "Batches answered.", registry=self.registry)
        self._refused = Counter(
            "clearspan_batches_refused", "Batches not looked at, by reason.", ["reason"], registry=self.registry
        )
        self._admin = Counter(
            "clearspan_admin_requests", "Admin requests answered, by result code.", ["code"], registry=self.registry
        )
        self._rounds = Counter("clearspan_rounds", "Rounds made durable.", registry=self.registry)
        self._log_bytes = Counter("clearspan_log_bytes", "Bytes of log bodies made durable.", registry=self.registry)
        self._seals = Counter("clearspan_seals", "Blocks sealed, all shards together.", registry=self.registry)
        self._round_seconds = Histogram(
            "clearspan_round_seconds", "From the start of a round until it is durable.", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._commit_seconds = Histogram(
            "clearspan_commit_seconds", "One synced commit of all shards.", buckets=_SECONDS, registry=self.registry
        )

        self._relay_blocks = Counter(
            "clearspan_relay_blocks", "Final relay blocks verified here.", registry=self.registry
        )
        self._header_final = Histogram(
            "clearspan_final_seconds", "From the seal of a block until it was final here.", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._offers = Counter(
            "clearspan_relay_offers", "Answers of validators to offered headers.", ["outcome"], registry=self.registry
        )
        self._lines_left = Counter(
            "clearspan_relay_lines_left", "Validators left for another one, by reason.", ["reason"],
            registry=self.registry,
        )  # fmt: skip

    def batch_answered(self, codes: NDArray[np.uint16]) -> None:
        """Count a batch by its codes, n x u16."""
        self._batches.inc()
        _count(self._transfers, codes)

    def batch_refused(self, reason: str) -> None:
        """Count a batch that was not looked at."""
        self._refused.labels(reason).inc()

    def admin_answered(self, codes: NDArray[np.uint16]) -> None:
        """Count admin requests by their codes, n x u16."""
        _count(self._admin, codes)

    def round_durable(self, round_: Round, commit_ns: int) -> None:
        """Count a round whose commit took so long."""
        self._rounds.inc()
        self._log_bytes.inc(round_.log_bytes)
        self._commit_seconds.observe(commit_ns / _NS_PER_SECOND)
        self._round_seconds.observe(max(0, time.time_ns() - round_.time) / _NS_PER_SECOND)
        seals = sum(record.kind is RecordKind.SEAL for records in round_.records.values() for record in records[-1:])
        self._seals.inc(seals)

    def relay_block(self, records: int) -> None:  # noqa: ARG002 - what the port tells
        """Count a final relay block."""
        self._relay_blocks.inc()

    def header_final(self, seconds: float) -> None:
        """Count a block of this node that became final so long after its seal."""
        self._header_final.observe(seconds)

    def offer_answered(self, outcome: str) -> None:
        """Count an answer to an offer: taken, a reason, or lost."""
        self._offers.labels(outcome).inc()

    def line_left(self, reason: str) -> None:
        """Count that another validator is followed: forged or lost."""
        self._lines_left.labels(reason).inc()

    def watch_relay(self, standing: Callable[[], RelayStanding]) -> None:
        """Read gauges of the line to the validators whenever the figures are asked for."""
        self.registry.register(_RelayCollector(standing))

    def watch(self, status: Callable[[], NodeStatus | None]) -> None:
        """Read gauges from the node's status whenever the figures are asked for; None while it has none."""
        self.registry.register(_StatusCollector(status))


class HasRegistry(Protocol):
    """Figures of any process."""

    @property
    def registry(self) -> CollectorRegistry:
        """What is served."""


class MetricsServer:
    """Serves one registry at /metrics, in a thread of its own."""

    def __init__(self, metrics: HasRegistry, host: str, port: int) -> None:
        """Listen; port 0 lets the system choose. Raises PortInUse, ConfigError for an address that is not ours."""
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=metrics.registry)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(host, port) from error
            reason = error.strerror or "cannot be listened at"
            raise ConfigError("metrics.host", f"{host}:{port}: {reason}", "set an address of this machine") from error
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _StatusCollector:
    """Gauges that are true when they are read."""

    def __init__(self, status: Callable[[], NodeStatus | None]) -> None:
        self._status = status

    def describe(self) -> list[Metric]:
        """Name nothing in advance: the node may not have a status yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of this moment."""
        status = self._status()
        if status is None:
            return
        queue = GaugeMetricFamily("clearspan_queue_bytes", "Bytes of batches that wait for a round.")
        queue.add_metric([], status.queued_bytes)
        accepting = GaugeMetricFamily("clearspan_accepting", "1 while the node takes work, 0 while it refuses.")
        accepting.add_metric([], int(not status.refusing))
        yield queue
        yield accepting
        families = {
            "height": GaugeMetricFamily("clearspan_block_height", "Newest sealed block.", labels=["shard"]),
            "log_number": GaugeMetricFamily("clearspan_log_number", "Newest durable log record.", labels=["shard"]),
            "accounts": GaugeMetricFamily("clearspan_accounts", "Accounts carried.", labels=["shard"]),
        }
        for shard in status.shards:
            for name, family in families.items():
                family.add_metric([str(shard.shard)], getattr(shard, name))
        yield from families.values()


class _RelayCollector:
    """Gauges of what is final, true when they are read."""

    def __init__(self, standing: Callable[[], RelayStanding]) -> None:
        self._standing = standing

    def describe(self) -> list[Metric]:
        """Name nothing in advance."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of this moment."""
        standing = self._standing()
        for name, text, value in (
            ("clearspan_relay_height", "Newest final relay block verified here.", standing.height),
            ("clearspan_relay_consumed_height", "Newest relay block that the shards have consumed.", standing.consumed),
            ("clearspan_relay_following", "1 while a validator is followed.", int(bool(standing.following))),
        ):
            family = GaugeMetricFamily(name, text)
            family.add_metric([], value)
            yield family
        final = GaugeMetricFamily("clearspan_final_height", "Newest final block.", labels=["shard"])
        verified = GaugeMetricFamily("clearspan_verified_height", "Newest verified block.", labels=["shard"])
        for shard, each in standing.shards.items():
            final.add_metric([str(shard)], each.final.height)
            verified.add_metric([str(shard)], each.verified.height)
        yield final
        yield verified


def _count(counter: Counter, codes: NDArray[np.uint16]) -> None:
    found, counts = np.unique(np.asarray(codes), return_counts=True)
    for code, count in zip(found.tolist(), counts.tolist(), strict=True):
        counter.labels(code_name(code)).inc(count)
