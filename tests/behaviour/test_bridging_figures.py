"""Figures of a bridge: every end is counted once, under its side and outcome, and within the time that it took."""

from __future__ import annotations

from types import SimpleNamespace

from prometheus_client import generate_latest

from bridge.ports import Outcome
from clearspan.bridging.serving.metrics import BridgeMetrics

MS = 1_000_000


def test_ends_are_counted_by_side_outcome_and_time() -> None:
    metrics = BridgeMetrics()
    ends = (
        ("payer", Outcome.SETTLED, 100),
        ("payer", Outcome.SETTLED, 101),
        ("provider", Outcome.REFUNDED, 4_000_000),
        ("payer", None, -5),
    )
    for side, outcome, took_ms in ends:
        metrics.finished(SimpleNamespace(side=side, outcome=outcome, began_at=10 * MS, ended_at=(10 + took_ms) * MS))
    figures = generate_latest(metrics.registry).decode().splitlines()
    for line in (
        'clearspan_bridge_swaps_total{outcome="settled",side="payer"} 2.0',
        'clearspan_bridge_swaps_total{outcome="refunded",side="provider"} 1.0',
        'clearspan_bridge_swaps_total{outcome="unknown",side="payer"} 1.0',
        'clearspan_bridge_swap_seconds_bucket{le="0.1"} 2.0',
        'clearspan_bridge_swap_seconds_bucket{le="0.2"} 3.0',
        'clearspan_bridge_swap_seconds_bucket{le="3600.0"} 3.0',
        'clearspan_bridge_swap_seconds_bucket{le="+Inf"} 4.0',
        "clearspan_bridge_swap_seconds_count 4.0",
        "clearspan_bridge_swap_seconds_sum 4000.201",
    ):
        assert line in figures, line


def test_a_bridge_that_ended_nothing_says_zero() -> None:
    figures = generate_latest(BridgeMetrics().registry).decode().splitlines()
    assert 'clearspan_bridge_swap_seconds_bucket{le="+Inf"} 0.0' in figures
    assert not [line for line in figures if line.startswith("clearspan_bridge_swaps_total{")]
