"""Waits for finality as a clearing house does, and fetches the receipts that a second process checks without a network.

It promises that a receipt is written only as it came from the node, once the client has verified it, and that the times
are those of the caller: from handing a payment in until its receipt is in hand.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from engine.batch import sign_messages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from clearspan.demo.kinds import KindsScript, Step
    from clearspan.population import DomainDesk

__all__ = ["FORMS", "Fetched", "fetch_receipts", "receipt_path"]

FORMS: Final = ("payer", "payee", "balance")
_WAIT_S: Final = 60.0
_PAYMENTS: Final = 3
_NS_PER_MS: Final = 1_000_000


@dataclass(slots=True)
class Fetched:
    """How long payments took until they were durable and until they were final, in ms; the relay's height then."""

    settled_ms: list[int] = field(default_factory=list)
    final_ms: list[int] = field(default_factory=list)
    relay_height: int = 0


def receipt_path(work: Path, domain: int, form: str) -> Path:
    """Return where a domain's receipt of a form is kept."""
    return work / "receipts" / f"{domain}-{form}.receipt"


async def fetch_receipts(
    desk: DomainDesk, script: KindsScript, work: Path, submit: Callable[[Step], Awaitable[None]]
) -> Fetched:
    """Pay across shards a few times, each until it is final, and keep the last payment's receipts and the balance."""
    domain, genesis, found = desk.domain.domain, desk.genesis, Fetched()
    receipt_path(work, domain, "").parent.mkdir(exist_ok=True)
    for _ in range(_PAYMENTS):
        step = script.payment()
        began = time.monotonic_ns()
        await submit(step)
        found.settled_ms.append((time.monotonic_ns() - began) // _NS_PER_MS)
        ((_, digest),) = sign_messages(genesis.hash_suite, genesis.hash, step.transfers)
        paid = await desk.clearing_house.receipt(digest, wait_s=_WAIT_S)
        found.final_ms.append((time.monotonic_ns() - began) // _NS_PER_MS)
    arrived = await desk.clearing_house.receipt(digest, payee=True, wait_s=_WAIT_S)
    balance = await desk.operator.balance_receipt(step.transfers[0].credit_account, wait_s=_WAIT_S)
    for form, data in zip(FORMS, (paid.data, arrived.data, balance.data), strict=True):
        receipt_path(work, domain, form).write_bytes(data)
    status = await desk.operator.status()
    found.relay_height = status.relay.height if status.relay is not None else 0
    return found
