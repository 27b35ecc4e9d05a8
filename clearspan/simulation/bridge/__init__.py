"""The bridge under faults and malicious counterparties, from seeds."""

from __future__ import annotations

from clearspan.simulation.bridge.coverage import BridgeReport, BridgeTally
from clearspan.simulation.bridge.stage import BridgeSimulationFailed
from clearspan.simulation.bridge.tally import simulate_bridge

__all__ = ["BridgeReport", "BridgeSimulationFailed", "BridgeTally", "simulate_bridge"]
