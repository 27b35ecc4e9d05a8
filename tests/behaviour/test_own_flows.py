"""Flows that did not go through the bridge are told to the pattern rules, and files of rows are kept as they were good."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace

import pytest

from bridge.patterns import Flow
from bridge.refusals import BridgeCode, BridgeRefused
from clearspan.bridging.rules.held import HeldPayments, Screening
from clearspan.bridging.rules.own_flows import OwnFlows
from clearspan.bridging.settings.offers import OfferedAccount, Offers
from clearspan.client.results import TransferView
from clearspan.errors import ConfigError, Unreachable
from clearspan.validator.addresses import AddressBook, ValidatorEntry, render_addresses
from engine.credit import Credit
from engine.record import Transfer
from engine.types import CreditKind, TransferKind
from native.codes import ResultCode
from tests.behaviour.bridge_papers import CNY, NOW, PAYER, S, account
from tests.behaviour.bridging_world import play

OWN, OTHER = account(PAYER, CNY), account(31, CNY)
WINDOW = 100 * S


def view(number: int, kind: TransferKind = TransferKind.PLAIN, **more) -> TransferView:
    fields = {"debit": OWN, "credit": OTHER, "code": ResultCode.CREATED, "time": NOW + number, **more}
    body = Transfer(number, fields["debit"], fields["credit"], 9_500, CNY, 7, NOW, 60, flags=int(kind))
    return TransferView(body, number.to_bytes(32, "big"), int(fields["code"]), fields["time"], 1, number, 0)


def arrived(number: int, kind: CreditKind) -> TransferView:
    body = Credit(number, kind, 0, CNY, OTHER, OWN, 9_500, 0, number.to_bytes(32, "big"), NOW)
    return TransferView(body, number.to_bytes(32, "big"), 0, NOW + number, 1, number, 0)


class Statement:
    """A node with one account's transfers, newest first, in pages of two."""

    def __init__(self) -> None:
        self.views: list[TransferView] = []
        self.client, self.pages, self.answers = self, 0, True

    async def statement_page(self, account_id: int, *, after: bytes, limit: int) -> object:
        if not self.answers:
            raise Unreachable("a node of the test", "does not answer")
        self.pages += 1
        at = int.from_bytes(after, "big") if after else 0
        rows = self.views[::-1][at : at + 2]
        following = at + 2
        more = following.to_bytes(4, "big") if following < len(self.views) else b""
        return SimpleNamespace(transfers=tuple(rows), next=more)


def follower(node: Statement, told: list[tuple[int, Flow]]) -> OwnFlows:
    keys = SimpleNamespace(
        offers=Offers((OfferedAccount(CNY, OWN, 7), OfferedAccount(9, OWN, 7))), domain_of=lambda ledger: ledger
    )
    return OwnFlows(keys, {CNY: node}, lambda ledger, flow: told.append((ledger, flow)), WINDOW, lambda: NOW + WINDOW)


def test_what_moved_money_is_told_once_and_oldest_first() -> None:
    """Payments, posts and arrivals; no lock, no claim of an own lock, no return, nothing refused, nothing too old."""
    node, told = Statement(), []
    flows = follower(node, told)
    node.views = [
        view(1, time=NOW - 1),
        view(2),
        view(3, TransferKind.LOCK),
        view(4, TransferKind.CLAIM),
        view(5, TransferKind.CLAIM, debit=OTHER, credit=OWN),
        view(6, code=ResultCode.INSUFFICIENT_FUNDS),
        view(7, TransferKind.POST),
    ]
    assert asyncio.run(flows.look()) == 3
    assert [int.from_bytes(flow.id, "big") for _, flow in told] == [2, 5, 7]
    assert {ledger for ledger, _ in told} == {CNY}
    assert asyncio.run(flows.look()) == 0
    node.views += [arrived(8, CreditKind.RETURN), view(9)]
    node.answers = False
    assert asyncio.run(flows.look()) == 0
    node.answers = True
    assert asyncio.run(flows.look()) == 1 and told[-1][1].amount == 9_500


def test_payments_by_another_way_count_for_the_pattern(tmp_path) -> None:
    """Two just below the threshold on the ledger itself, and the first by the bridge is the third."""

    async def body(world) -> None:
        node = Statement()
        node.views = [view(1), view(2)]
        keys = SimpleNamespace(offers=Offers((OfferedAccount(CNY, OWN, 7),)), domain_of=lambda ledger: ledger)
        held: HeldPayments = world.engines[PAYER].compliance.held
        flows = OwnFlows(keys, {CNY: node}, held.saw, held.window_ns, lambda: world.now)
        assert await flows.look() == 2
        with pytest.raises(BridgeRefused) as caught:
            world.bridge().begin(world.order(9_500))
        assert caught.value.code is BridgeCode.SCREENING_HOLD
        case = held.cases.case(caught.value.text.split()[-1])
        assert "structuring: 3 payments" in case.opened.explanation[0]

    play(tmp_path, body, screening=Screening(None, 3, pattern_threshold=10_000))


def test_a_file_of_rows_is_kept_as_it_was_last_good(tmp_path) -> None:
    """A new row needs no restart; a broken file leaves what was known; one that is missing at first is said."""
    path = tmp_path / "validators.toml"
    with pytest.raises(ConfigError, match="No such file"):
        AddressBook(path)
    first = ValidatorEntry(91, "91", "127.0.0.1", 7410, b"k" * 64)
    path.write_text(render_addresses([first]))
    book = AddressBook(path)
    assert book.entries == (first,) and book.target(b"k" * 64) == "127.0.0.1:7410" and not book.refresh()
    second = ValidatorEntry(92, "92", "127.0.0.1", 7411, b"l" * 64)
    for broken in (
        "format = 2\nvalidator = []\n",
        "[[validator]]\n",
        render_addresses([second]).replace("7411", "99999"),
    ):
        path.write_text(broken)
        os.utime(path, ns=(1, len(broken)))
        assert not book.refresh() and book.entries == (first,)
    path.write_text(render_addresses([first, second]))
    assert book.refresh() and book.entry(b"l" * 64) == second and book.target(b"m" * 64) is None
