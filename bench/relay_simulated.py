"""Agreement in virtual time: the production core of each validator, links of one delay, no cost of computing.

What it shows is the protocol's own: how often a header waits for the wires, and what a block costs in messages. The
same seed gives the same figures on every machine.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from clearspan.simulation.relay.latency import simulate_latency

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["simulated"]

_BLOCKS: Final = 60
_NS_PER_MS: Final = 1_000_000


def simulated(validators: int, link_ms: int, seal_ms: int, runs: int, note: Callable[[str], None]) -> dict[str, Any]:
    """Return the figures of so many seeds; raises ValueError for fewer than four validators.

    ``final``: until the first member holds the certificate. ``everywhere``: until the last one has the block final.
    """
    seeds = [
        simulate_latency(validators, link_ms * _NS_PER_MS, _BLOCKS, seed, seal_ns=seal_ms * _NS_PER_MS)
        for seed in range(runs)
    ]
    found = [
        {
            "final_p50_ms": each.certificate_p50_ns / _NS_PER_MS,
            "final_p99_ms": each.certificate_p99_ns / _NS_PER_MS,
            "everywhere_p50_ms": each.final_p50_ns / _NS_PER_MS,
            "everywhere_p99_ms": each.final_p99_ns / _NS_PER_MS,
            "blocks_per_s": round(each.blocks_per_s, 2),
            "messages_per_block": round(each.messages_per_block, 1),
            "bytes_per_block": int(each.bytes_per_block),
            "headers": each.headers,
            "timeouts": each.views_failed,
        }
        for each in seeds
    ]
    names = ("final_p50_ms", "final_p99_ms", "blocks_per_s", "messages_per_block", "bytes_per_block")
    figures = {name: round(statistics.median(each[name] for each in found), 2) for name in names}
    note(f"{validators} validators, {link_ms} ms links: p50 {figures['final_p50_ms']} ms")
    rates = [each["final_p99_ms"] for each in found]
    spread = {"final_p99_ms_min": min(rates), "final_p99_ms_max": max(rates)}
    spread |= {f"blocks_per_s_{end}": choose(each["blocks_per_s"] for each in found) for end, choose in _ENDS}
    return {**figures, "runs": found, "spread": spread, "outcome": json.dumps([asdict(each) for each in seeds])}


_ENDS: Final[tuple[tuple[str, Callable[..., Any]], ...]] = (("min", min), ("max", max))
