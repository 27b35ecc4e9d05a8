"""Figures of a validator for a monitoring system: views, timeouts, refusals, latencies, peers, heights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from clearspan.validator.standing import Validator

__all__ = ["ValidatorMetrics"]

# From a tenth of a millisecond, a commit on a fast disk, to eight seconds, the longest view.
_SECONDS: Final = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0,
    8.0,
)  # fmt: skip
_NS_PER_SECOND: Final = 1_000_000_000
_COUNTED: Final = {
    "finalized": "Heights that became final here.",
    "proposals": "Proposals made.",
    "views": "Views entered.",
    "timeouts": "Views given up.",
    "joined": "Views given up because others did.",
    "prepare_votes": "Prepare votes signed.",
    "commit_votes": "Commit votes signed.",
    "persists": "Times the vote record was written.",
    "evidence": "Proofs of guilt found.",
    "blocks_requested": "Blocks asked for.",
    "behind": "Times it could not follow alone.",
}


class ValidatorMetrics:
    """The figures of one validator, in a registry of its own."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self._certificate = Histogram(
            "clearspan_relay_certificate_seconds", "From the own vote for a block until it is final and kept.",
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._persist = Histogram(
            "clearspan_relay_persist_seconds", "One synced write of the vote record.", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip

    def certificate(self, took_ns: int) -> None:
        """Note how long a height took."""
        self._certificate.observe(took_ns / _NS_PER_SECOND)

    def persisted(self, took_ns: int) -> None:
        """Note how long a vote record took to be durable."""
        self._persist.observe(took_ns / _NS_PER_SECOND)

    def watch(self, validator: Validator) -> None:
        """Read the rest from the validator whenever the figures are asked for."""
        self.registry.register(_Collector(validator))


class _Collector:
    """Counters and gauges that are true when they are read."""

    def __init__(self, validator: Validator) -> None:
        self._validator = validator

    def describe(self) -> list[Metric]:
        """Name nothing in advance."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of this moment."""
        core, state = self._validator.shell.core, self._validator.state
        for name, text in _COUNTED.items():
            yield CounterMetricFamily(f"clearspan_relay_{name}", text, value=getattr(core.counters, name))
        refused = CounterMetricFamily("clearspan_relay_refused", "Messages refused, by reason.", labels=["reason"])
        for reason, count in list(core.counters.refused.items()):
            refused.add_metric([reason], count)
        yield refused
        for name, text, value in (
            ("final_height", "Newest final height.", state.height),
            ("final_time_seconds", "Relay time of the newest final block.", state.time / _NS_PER_SECOND),
            ("view", "View of the height in progress.", core.view),
            ("set_id", "Validator set of the height in progress.", core.validators.set_id),
            ("may_sign", "1 while this validator votes.", int(core.may_sign)),
            ("halted", "1 after a quorum certified what the rules refuse.", core.counters.halted),
            ("disk_full", "1 while the disk takes no more.", int(self._validator.shell.disk_full)),
        ):
            yield GaugeMetricFamily(f"clearspan_relay_{name}", text, value=value)
        yield from self._peers()
        yield from self._shards()

    def _peers(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("clearspan_relay_peer_queued_bytes", "Waits to be sent.", labels=["key"])
        dropped = CounterMetricFamily("clearspan_relay_peer_dropped", "Dropped before a full queue.", labels=["key"])
        sent = CounterMetricFamily("clearspan_relay_peer_sent", "Messages sent.", labels=["key"])
        sent_bytes = CounterMetricFamily("clearspan_relay_peer_sent_bytes", "Bytes sent.", labels=["key"])
        connected = GaugeMetricFamily("clearspan_relay_peer_connected", "1 while its stream stands.", labels=["key"])
        backlog = GaugeMetricFamily("clearspan_relay_peer_backlog", "Messages not looked at yet.", labels=["key"])
        for key, peer in list(self._validator.links.peers.items()):
            name = [key[:8].hex()]
            waiting.add_metric(name, peer.queued_bytes)
            dropped.add_metric(name, peer.dropped)
            sent.add_metric(name, peer.sent)
            sent_bytes.add_metric(name, peer.sent_bytes)
            connected.add_metric(name, int(peer.connected))
        for key, count in list(self._validator.shell.inbox.backlog.items()):
            backlog.add_metric([key[:8].hex()], count)
        yield from (waiting, dropped, sent, sent_bytes, connected, backlog)

    def _shards(self) -> Iterator[Metric]:
        anchored = GaugeMetricFamily("clearspan_relay_anchored_height", "Newest anchored block.", labels=["shard"])
        verified = GaugeMetricFamily("clearspan_relay_verified_height", "Newest verified block.", labels=["shard"])
        executed = GaugeMetricFamily("clearspan_relay_executed_height", "Newest block executed here.", labels=["shard"])
        words = "1 while a fraud claim stands against it, 2 while it is suspended."
        standing = GaugeMetricFamily("clearspan_relay_shard_standing", words, labels=["shard"])
        for shard, entry in list(self._validator.state.shards.items()):
            standing.add_metric([str(shard)], 2 if entry.suspended else int(entry.disputed_height > 0))
            anchored.add_metric([str(shard)], entry.height)
            verified.add_metric([str(shard)], entry.verified_height)
        for shard, height in list(self._validator.executed.items()):
            executed.add_metric([str(shard)], height)
        yield from (anchored, verified, executed, standing)
