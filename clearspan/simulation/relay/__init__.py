"""Whole relay networks in simulated time, from a seed: the core of production among faults and liars.

``plan`` says what a seed means, ``scene`` runs it, ``coverage`` counts what runs reached. A run is a pure function of
its seed.
"""

from clearspan.simulation.relay.checks import RelaySimulationFailed
from clearspan.simulation.relay.coverage import RelayReport, Tally
from clearspan.simulation.relay.scene import simulate_relay

__all__ = ["RelayReport", "RelaySimulationFailed", "Tally", "simulate_relay"]
