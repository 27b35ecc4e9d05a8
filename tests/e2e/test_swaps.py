"""Swaps with real processes: two ledgers, four validators, a payer's and a provider's bridge, killed at every step."""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime

import pytest

from bridge.rates import Rate
from clearspan.bridging.staging.banks import Bank, Bridges, StagedMargins, corridor_between, register_banks
from clearspan.bridging.staging.folder import bridge_tls_name, put_corridors
from clearspan.client.bridge import BridgeClient
from clearspan.cluster import Cluster
from clearspan.errors import Refused, Unreachable
from clearspan.iso20022 import MessageKind, Payment, format_account, payments
from clearspan.pki import TlsFiles
from clearspan.v1 import bridge_pb2
from tests.e2e.support import client_of, cut, small_network

pytestmark = pytest.mark.timeout(240)

CNY, HKD = 156, 344
PROVIDER = Bank(5001, "PROVIDER", (CNY, HKD), rates={(CNY, HKD): Rate.of(27, 25)})
PAYER = Bank(6001, "PAYER", (CNY,))
PAYEE = Bank(7001, "PAYEE", (HKD,), funds=0)
AMOUNT = 10_000
RECEIVED = 10_800
PATIENCE_S = 60.0
MARGINS = StagedMargins(finality_ms=1_000, watching_ms=100, submission_ms=200, failover_ms=500, stall_ms=500)
LOCK_S = 60
SHORT_S = 8


@dataclass
class Scene:
    """A cluster with bridges, and a client of the payer's."""

    cluster: Cluster
    bridges: Bridges

    def client(self, participant: int = PAYER.number) -> BridgeClient:
        folder = self.cluster.network.path / "tls"
        name = bridge_tls_name(participant)
        tls = TlsFiles(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")
        return BridgeClient(self.bridges.address(participant).target, tls, timeout_s=20.0)

    def balance(self, bank: Bank, domain: int) -> tuple[int, int]:
        """What a bank's account has, and what of it is reserved."""

        async def work():
            async with client_of(self.cluster, "operator-cny" if domain == 1 else "operator-hkd", domain) as client:
                (found,) = await client.accounts([bank.account])
                account = found.account
                return account.credits_posted - account.debits_posted, account.debits_pending

        return asyncio.run(work())


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    network = small_network(tmp_path_factory.mktemp("swaps") / "network", ("CNY", "HKD"), shards=1, lock_min_s=2)
    with cut(Cluster(network, validators=4)) as cluster:
        asyncio.run(register_banks(network, [PROVIDER, PAYER, PAYEE]))
        document = corridor_between(network, CNY, HKD, [PROVIDER.number], lock_s=LOCK_S, margins=MARGINS)
        put_corridors(network, [document.record(0)])
        bridges = Bridges(network, [PROVIDER, PAYER], retry_ms=500)
        with cut(bridges):
            yield Scene(cluster, bridges)


def wide(value: int) -> bytes:
    return value.to_bytes(16, "little")


async def routed(client: BridgeClient, lock_s: int = 0, amount: int = AMOUNT) -> list[bytes]:
    found = await client.find_route(
        bridge_pb2.FindRouteRequest(
            version=1, source_ledger=CNY, target_ledger=HKD, amount=wide(amount), exact=bridge_pb2.EXACT_SEND,
            debit_account=wide(PAYER.account), credit_account=wide(PAYEE.account), lock_s=lock_s,
        )
    )  # fmt: skip
    assert not found.refusal.code, found.refusal.text
    return list(found.quotes)


def order(quotes: list[bytes], lock_s: int = 0, amount: int = AMOUNT) -> bridge_pb2.SwapOrder:
    return bridge_pb2.SwapOrder(
        uetr=uuid.uuid4().bytes, debit_account=wide(PAYER.account), credit_account=wide(PAYEE.account),
        amount=wide(amount), exact=bridge_pb2.EXACT_SEND, quotes=quotes, lock_s=lock_s,
    )  # fmt: skip


async def ended(scene: Scene, swap_id: bytes, participant: int = PAYER.number) -> bridge_pb2.SwapView:
    """Wait until a bridge, which may be down for a while, says that a swap has ended."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                async with scene.client(participant) as client:
                    while True:
                        view = await client.swap(swap_id=swap_id)
                        if view.outcome:
                            return view
                        await asyncio.sleep(0.05)
            except (Unreachable, Refused, KeyError):
                await asyncio.sleep(0.1)


def words(view: bridge_pb2.SwapView) -> list[str]:
    return [each.what for each in view.timeline]


def test_a_swap_is_claimed_on_both_ledgers_and_says_so(scene):
    """Goal: both legs or none, and a timeline. Method: one swap over real processes, its totals on both ledgers."""
    before = scene.balance(PAYER, 1)[0], scene.balance(PAYEE, 2)[0]

    async def work():
        async with scene.client() as client:
            (answer,) = await client.run([order(await routed(client))])
            assert not answer.refusal.code, answer.refusal.text
            view = await ended(scene, answer.swap_id)
            same = await client.swap(uetr=answer.uetr)
            assert same.swap_id == view.swap_id
            listed = await client.swaps(limit=10)
            assert view.swap_id in {each.swap_id for each in listed.swaps}
            return view

    view = asyncio.run(work())
    assert view.outcome == "claimed"
    assert [leg.state for leg in view.legs] == ["claimed", "claimed"]
    assert all(leg.lock_digest and leg.end_digest for leg in view.legs)
    steps = words(view)
    assert [each for each in steps if each in {"begun", "asking", "revealing", "settled"}] == [
        "begun", "asking", "revealing", "settled",
    ]  # fmt: skip
    assert scene.balance(PAYER, 1) == (before[0] - AMOUNT, 0)
    assert scene.balance(PAYEE, 2)[0] == before[1] + RECEIVED


def test_receipts_of_both_ends_convince(scene):
    """Goal: each leg's claim has a receipt under its derived digest. Method: the client verifies what the nodes give."""

    async def work():
        async with scene.client() as client:
            (answer,) = await client.run([order(await routed(client))])
            view = await ended(scene, answer.swap_id)
        for domain, leg in enumerate(view.legs, start=1):
            async with client_of(scene.cluster, "reader", domain) as node:
                for digest in (leg.lock_digest, leg.end_digest):
                    found = await node.receipt(digest)
                    assert found.finding.decision.digest == digest

    asyncio.run(work())


def test_two_hundred_swaps_at_once_all_settle(scene):
    """Goal: nothing is lost or doubled in batches. Method: many swaps on one quote, sums on both ledgers."""
    count = 200
    before = scene.balance(PAYER, 1)[0], scene.balance(PAYEE, 2)[0]

    async def work():
        async with scene.client() as client:
            quotes = await routed(client, amount=AMOUNT * count)
            answers = await client.run([order(quotes) for _ in range(count)])
            assert not any(answer.refusal.code for answer in answers)
            views = [await ended(scene, answer.swap_id) for answer in answers]
            assert {view.outcome for view in views} == {"claimed"}
            # The quote is drawn to the last unit: one more is refused by its provider, and refunded at its timelock.
            over = (await client.run([order(quotes)]))[0]
            assert not over.refusal.code
            async with asyncio.timeout(20):
                while True:
                    if "leg_not_accepted" in words(await client.swap(swap_id=over.swap_id)):
                        break
                    await asyncio.sleep(0.1)

    asyncio.run(work())
    assert scene.balance(PAYEE, 2)[0] == before[1] + count * RECEIVED


def test_a_swap_that_is_too_short_is_refused_before_anything_is_locked(scene):
    """Goal: the margin is computed and said. Method: a timelock of two seconds."""

    async def work():
        async with scene.client() as client:
            (answer,) = await client.run([order(await routed(client, SHORT_S), 2)])
            return answer

    answer = asyncio.run(work())
    assert answer.refusal.name == "swap_too_short"
    assert "missing" in answer.refusal.text


def test_the_commands_quote_run_show_and_list(scene, clearspan, tmp_path):
    """Goal: a person can do all of it. Method: the commands over the running bridges, a pacs.009 and its pacs.002."""
    network = scene.cluster.network.path
    pair = ("--from", format_account(PAYER.account), "--to", format_account(PAYEE.account))
    ledgers = ("--source", "CNY", "--target", "HKD", "--network", network, "--json")
    quoted = clearspan("swap", "quote", *pair, "--send", "100.00", *ledgers)
    assert quoted.code == 0, quoted.err
    assert quoted.json["received"]["minor"] == str(RECEIVED)
    ran = clearspan("swap", "run", *pair, "--receive", "108.00", *ledgers)
    assert ran.code == 0, ran.err
    swap = ran.json
    assert (swap["outcome"], swap["legs"][0]["amount"]["minor"]) == ("claimed", str(AMOUNT))
    shown = clearspan("swap", "show", swap["uetr"], "--network", network)
    assert "Settled: every leg was claimed" in shown.out
    listed = clearspan("swap", "list", "--network", network, "--json").json
    assert swap["swap_id"] in {each["swap_id"] for each in listed["swaps"]}
    unknown = clearspan("swap", "show", str(uuid.uuid4()), "--network", network, "--json")
    assert unknown.error["code"] == "swap_unknown"
    refused = clearspan("swap", "run", *pair, "--send", "100.00", "--lock-s", "1", *ledgers)
    assert refused.code == 1
    assert refused.error["number"] >= 300
    status = clearspan("bridge", "status", "--network", network, "--json").json
    assert {each["participant"] for each in status["bridges"]} == {PAYER.number, PROVIDER.number}
    corridors = clearspan("corridor", "list", "--network", network, "--json").json["corridors"]
    assert [(each["source"], each["target"]) for each in corridors] == [("CNY", "HKD")]

    uetr = uuid.uuid4()
    payment = Payment(
        kind=MessageKind.INSTITUTION_CREDIT_TRANSFER, index=0, instruction_id="I1", end_to_end_id="E1",
        transaction_id="T1", uetr=uetr.int, currency="HKD", amount=RECEIVED, settlement_date=date(2026, 11, 22),
        debtor_agent="CLSPCNA0XXX", creditor_agent="CLSPHKA0XXX",
        debtor_account=format_account(PAYER.account), creditor_account=format_account(PAYEE.account),
    )  # fmt: skip
    order_file, report = tmp_path / "pacs009.xml", tmp_path / "pacs002.xml"
    order_file.write_bytes(payments(payment.kind, "M1", datetime(2026, 11, 22, tzinfo=UTC), [payment]))
    answered = clearspan(
        "swap", "file", "--in", order_file, "--source", "CNY", "--out", report, "--network", network, "--json"
    )  # fmt: skip
    assert answered.code == 0, answered.err
    said = report.read_text(encoding="utf-8")
    assert str(uetr) in said
    assert "<TxSts>ACSC</TxSts>" in said
    shown = clearspan("swap", "show", str(uetr), "--network", network, "--json").json
    assert shown["outcome"] == "claimed"


STEPS = [
    (PAYER.number, "written:begun"),
    (PAYER.number, "written:locking"),
    (PAYER.number, "acted:locking"),
    (PAYER.number, "written:asking"),
    (PAYER.number, "acted:asking"),
    (PAYER.number, "written:revealing"),
    (PAYER.number, "acted:revealing"),
    (PAYER.number, "written:finished"),
    (PROVIDER.number, "written:accepted"),
    (PROVIDER.number, "acted:accepted"),
    (PROVIDER.number, "written:locking"),
    (PROVIDER.number, "acted:locking"),
    (PROVIDER.number, "written:finished"),
]


@pytest.mark.parametrize(("who", "step"), STEPS)
def test_a_bridge_that_is_killed_at_any_step_ends_its_swap(scene, who, step):
    """Goal: both legs or none, whatever dies when. Method: SIGKILL at the step, a restart, the books of both ledgers."""
    bridges = scene.bridges
    bridges.extra[who] = ("--die-at", step)
    bridges.restart(who)
    bridges.extra.pop(who)
    before = scene.balance(PAYER, 1)[0], scene.balance(PAYEE, 2)[0]

    async def work():
        wanted = None
        async with scene.client() as client:
            quotes = await routed(client)
            wanted = order(quotes)
            try:
                await client.run([wanted])
            except (Unreachable, Refused):
                assert who == PAYER.number
        return wanted

    wanted = asyncio.run(work())
    deadline = time.monotonic() + 30
    while bridges.is_running(who) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not bridges.is_running(who), "it never came to this step"
    bridges.restart(who)

    async def found():
        async with scene.client() as client, asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return (await client.swap(uetr=wanted.uetr)).swap_id
                except Refused:
                    await asyncio.sleep(0.1)

    swap_id = asyncio.run(found())
    view = asyncio.run(ended(scene, swap_id))
    theirs = asyncio.run(ended(scene, swap_id, PROVIDER.number))
    paid = RECEIVED if view.outcome == "claimed" else 0
    assert view.outcome == "claimed", [(each.what, each.text) for each in view.timeline]
    assert theirs.outcome == view.outcome
    assert scene.balance(PAYER, 1)[0] == before[0] - (AMOUNT if paid else 0)
    assert scene.balance(PAYEE, 2)[0] == before[1] + paid
