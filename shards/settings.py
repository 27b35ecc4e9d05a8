"""Bounds and intervals of a node's road, each with the reason for its default."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NodeSettings"]

_MIB = 1 << 20
_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What an operator may tune; everything that waits or grows has its bound here."""

    # What may wait for a round, in bytes of batches: about forty full batches, under a second of work.
    queue_bytes_max: int = 64 * _MIB
    # What one round takes: a few full batches to one sync; more only adds latency.
    round_bytes_max: int = 8 * _MIB
    # Rounds applied and not yet durable: one syncs while the next is applied.
    rounds_in_flight_max: int = 2
    # A busy node seals this often (each seal costs the dirty paths of the account tree) …
    seal_interval_ns: int = 500 * _MS
    # … and an idle one this often, so that what is due still expires.
    seal_interval_idle_ns: int = 2_000 * _MS
    # A checkpoint after this many bytes of log: bounds what a restart replays to a few seconds.
    checkpoint_interval_bytes: int = 128 * _MIB
    # Threads that check signatures; the ledger and the log have one thread each beside them.
    verify_threads: int = 2
    # New work is refused while less than this is free, so that what is in flight still fits.
    disk_reserve_bytes: int = 64 * _MIB
    # Largest size of the log's map; the file grows as it fills.
    log_bytes_max: int = 1 << 40
