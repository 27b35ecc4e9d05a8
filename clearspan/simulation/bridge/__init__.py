"""The bridge under faults and malicious counterparties, from seeds."""

from __future__ import annotations

from clearspan.simulation.bridge.checks import BridgeSimulationFailed
from clearspan.simulation.bridge.tally import BridgeReport, BridgeTally, simulate_bridge

__all__ = ["BridgeReport", "BridgeSimulationFailed", "BridgeTally", "simulate_bridge"]
