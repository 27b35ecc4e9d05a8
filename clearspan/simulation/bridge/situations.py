"""Situations that chance would rarely put together: each fixes a part of a plan, and takes its turn among the seeds.

A rule of the bridge that matters only where several things meet, such as a reorganisation after a refund, is proved by
nothing that is drawn one by one.
"""

from __future__ import annotations

from typing import Any, Final

from clearspan.simulation.bridge.papers import Closing, Papers
from clearspan.simulation.bridge.rules import Deal, Kind, Measure, Phase, Threshold, Verdict
from engine.types import NS_PER_S, BreakerGrade

__all__ = ["SITUATIONS", "situation"]

_S: Final = NS_PER_S
_CLEAN: Final[dict[str, Any]] = {
    "beyond": False,
    "villains": {},
    "liars": {},
    "skews": {},
    "thresholds": {},
    "measures": [],
    "papers": Papers(),
    "closings": [],
}
_SMOOTH: Final[dict[str, Any]] = {
    **_CLEAN,
    "crashes": {},
    "losses": 0.0,
    "doubled": 0.0,
    "relay_stalls": [],
    "chain_stalls": [],
    "partitions": [],
    "reorgs": [],
    "lags": {},
    "downs": [],
    "spare_ns": 40 * _S,
}
SITUATIONS: Final = (
    "asleep",
    "undone",
    "cut_off",
    "cut_short",
    "close",
    "overtaken",
    "dies_ending",
    "hash_again",
    "fee_held",
    "slowed",
)
"""The payer sleeps past a timelock; refunds are undone; the provider hears nothing of the relay when the secret comes
out; timelocks too close together; a claim that comes too late and has shown the secret; a provider who dies
between the end of a swap and his desk's entry of it; a hash that comes again when its secret is public; a
fee that supervisors hold and reject; two orders in one second of a corridor that is slowed to one."""


def situation(name: str, legs: int) -> dict[str, Any]:
    """Return what a situation fixes of a plan with so many legs on our ledgers, and where the foreign one stands."""
    ledgers = min(legs, 3)
    match name:
        case "asleep":
            return {
                **_CLEAN,
                "foreign": "first",
                "ledgers": ledgers,
                "villains": {ledgers: "never_locks"},
                "crashes": {0: [(8, 500 * _S)]},
            }
        case "undone":
            # Every nine seconds two blocks of the chain are undone, and what stood in them is forgotten.
            storm = [(second * _S, 2, True) for second in range(2, 399, 9)]
            return {**_SMOOTH, "foreign": "last", "ledgers": 1, "villains": {0: "never_reveals"}, "reorgs": storm}
        case "cut_off" | "cut_short":
            lasts = (30 if name == "cut_off" else 12) * _S
            return {**_SMOOTH, "foreign": "last", "ledgers": 1, "partitions": [(1, "relay", 20 * _S, lasts)]}
        case "close":
            return {**_SMOOTH, "foreign": "last", "ledgers": 1, "villains": {0: "small_margin"}}
        case "overtaken":
            return {**_SMOOTH, "foreign": "last", "ledgers": ledgers, "villains": {ledgers: "reads_pool"}}
        case "dies_ending":
            # Its eighth step is the end of the one swap, and the desk's entry of it comes after.
            crashes = {1: [(8, _S // 5)]}
            return {**_SMOOTH, "foreign": "", "ledgers": 2, "swaps": 1, "crashes": crashes}
        case "hash_again":
            return {**_SMOOTH, "foreign": "last", "ledgers": 1, "villains": {0: "reuses_hash"}}
        case "fee_held":
            reject = Threshold(10**9, 60 * _S, Verdict.REJECT, 2 * _S)
            measures = [Measure(index, Kind.HOLD, Phase.REVEALED, 3, index, 60 * _S) for index in range(2)]
            rules = {"deal": Deal(fee=(3, 0)), "thresholds": {0: reject}, "measures": measures}
            return {**_SMOOTH, "foreign": "", "ledgers": 2, "swaps": 1, **rules}
        case "slowed":
            closings = [Closing(1, 0, BreakerGrade.SLOW, Phase.BEFORE, 60 * _S)]
            return {**_SMOOTH, "foreign": "", "ledgers": 2, "swaps": 2, "deal": Deal(shared=True), "closings": closings}
        case _:
            raise AssertionError(name)
