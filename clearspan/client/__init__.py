"""The client library: settle, administer and read back over mTLS, with retries that are safe by construction.

    AsyncClient, Client   the same calls for asyncio and for plain threads
    core                  requests, replies and retries as values; no socket, no clock of its own
    results               what comes back, as types

A request that may have been decided is sent again as the very same bytes, and what was decided is answered again. So a
retry needs no bookkeeping by the caller, and no lost reply loses money.
"""

from __future__ import annotations

from clearspan.client.asynchronous import AsyncClient
from clearspan.client.core import RetryPolicy
from clearspan.client.finality import ProvenBalance, ProvenReceipt
from clearspan.client.results import (
    AccountView,
    AdminResult,
    BatchResult,
    NetworkStatus,
    RelayView,
    Result,
    ShardView,
    StatementPage,
    TransferView,
)
from clearspan.client.synchronous import Client
from clearspan.errors import ClientError, Refused, TimedOut, Unreachable, VerificationFailed
from clearspan.pki import TlsFiles

__all__ = [
    "AccountView",
    "AdminResult",
    "AsyncClient",
    "BatchResult",
    "Client",
    "ClientError",
    "NetworkStatus",
    "ProvenBalance",
    "ProvenReceipt",
    "Refused",
    "RelayView",
    "Result",
    "RetryPolicy",
    "ShardView",
    "StatementPage",
    "TimedOut",
    "TlsFiles",
    "TransferView",
    "Unreachable",
    "VerificationFailed",
]
