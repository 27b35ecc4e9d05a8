"""A payment that is sent again: answered with its swap where it is the same order, refused where it is another."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID

import pytest

from clearspan.cli import swap_file
from clearspan.cli.swap_file import difference
from clearspan.errors import Refused
from clearspan.iso20022.swaps import SwapInstruction
from clearspan.v1 import bridge_pb2
from native.codes import ResultCode

CNY, HKD = 1, 2
WANTED = SwapInstruction(0, 77, debit_account=11, credit_account=31, target_ledger=HKD, amount=500)


def view(outcome: str, *, side: str = "payer", **changes: int) -> bridge_pb2.SwapView:
    fields = {"source": CNY, "debit": 11, "target": HKD, "credit": 31, "amount": 500, **changes}

    def wide(value: int) -> bytes:
        return value.to_bytes(16, "little")

    legs = (
        bridge_pb2.LegView(ledger=fields["source"], debit_account=wide(fields["debit"]), amount=wide(456)),
        bridge_pb2.LegView(
            ledger=fields["target"], credit_account=wide(fields["credit"]), amount=wide(fields["amount"])
        ),
    )
    return bridge_pb2.SwapView(swap_id=b"\xab" * 32, side=side, outcome=outcome, legs=legs)


class Bridge:
    """Knows one swap, or none; counts what is begun."""

    def __init__(self, known: bridge_pb2.SwapView | None, code: int = ResultCode.NOT_FOUND) -> None:
        self.known, self.code, self.begun = known, code, 0

    async def swap(self, *, swap_id: bytes = b"", uetr: bytes = b""):
        assert swap_id or uetr == UUID(int=WANTED.uetr).bytes
        if self.known is None:
            raise Refused(self.code, "refused", "no", "")
        return self.known


def told(bridge: Bridge, monkeypatch, wanted: SwapInstruction = WANTED, source: int = CNY) -> tuple[str, str, str]:
    async def run_new(*_):
        bridge.begun += 1
        return view("claimed")

    monkeypatch.setattr(swap_file, "_run_new", run_new)
    session = SimpleNamespace(ledger_of=lambda _: SimpleNamespace(currency="CNY"))
    return asyncio.run(swap_file._run_one(session, bridge, (source, wanted), None, {}))


def test_a_settled_payment_that_is_sent_again_is_answered_with_its_swap(monkeypatch) -> None:
    """As accepted, with the swap's name, and nothing is begun."""
    bridge = Bridge(view("claimed"))
    outcome, reason, text = told(bridge, monkeypatch)
    assert (outcome, reason, bridge.begun) == ("claimed", "", 0)
    assert "ab" * 32 in text


@pytest.mark.parametrize(
    ("wanted", "source"),
    [
        (replace(WANTED, debit_account=12), CNY),
        (replace(WANTED, credit_account=32), CNY),
        (replace(WANTED, target_ledger=3), CNY),
        (replace(WANTED, amount=501), CNY),
        (WANTED, 3),
    ],
)
@pytest.mark.parametrize("outcome", ["claimed", ""])
def test_another_order_under_a_known_uetr_is_refused(monkeypatch, wanted, source, outcome) -> None:
    """With DU03, in whichever field it differs, whether its swap runs or has settled."""
    bridge = Bridge(view(outcome))
    assert difference(bridge.known, source, wanted)
    found, reason, text = told(bridge, monkeypatch, wanted, source)
    assert (found, reason, bridge.begun) == ("refused", "DU03", 0)
    assert "another" in text


@pytest.mark.parametrize("known", [None, view("refunded"), view("refused"), view("claimed", side="provider")])
def test_what_took_nothing_is_begun_anew(monkeypatch, known) -> None:
    """As a swap that this participant never ordered."""
    bridge = Bridge(known)
    assert told(bridge, monkeypatch)[0] == "claimed"
    assert bridge.begun == 1


def test_a_bridge_that_cannot_say_begins_nothing(monkeypatch) -> None:
    """Whatever it refuses the question with but that it knows none."""
    bridge = Bridge(None, ResultCode.ROLE_REFUSED)
    assert told(bridge, monkeypatch)[0] == "refused"
    assert not bridge.begun
