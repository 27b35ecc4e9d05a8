"""The gRPC service of a node: who may call, what is well formed, how much at once, and nothing of what it means.

access     which certificates are let in beyond the authority's word
peers      from a connection to a peer with a role, and its share of the limits
requests   wire messages to columns and back, checked for shape only
calls      what surrounds every call: peer, limits, deadline, errors, log
handlers   the calls themselves
server     listening, health, reflection, stopping
"""

from __future__ import annotations

from clearspan.service.access import AccessList
from clearspan.service.server import SettlementServer

__all__ = ["AccessList", "SettlementServer"]
