"""Swaps while something else dies: a node between lock and claim, a validator; and what a bank is told in pacs.002."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from datetime import UTC, date, datetime

import pytest

from clearspan.bridging.staging.banks import Bridges, corridor_between, register_banks
from clearspan.bridging.staging.folder import put_corridors
from clearspan.cluster import Cluster
from clearspan.errors import Refused, Unreachable
from clearspan.iso20022 import MessageKind, Payment, format_account, payments
from tests.e2e.support import cut, program, small_network
from tests.e2e.test_swaps import (
    AMOUNT,
    CNY,
    HKD,
    LOCK_S,
    MARGINS,
    PATIENCE_S,
    PAYEE,
    PAYER,
    PROVIDER,
    RECEIVED,
    SHORT_S,
    Scene,
    ended,
    order,
    routed,
    words,
)

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    network = small_network(tmp_path_factory.mktemp("faults") / "network", ("CNY", "HKD"), shards=1, lock_min_s=2)
    with cut(Cluster(network, validators=4)) as cluster:
        asyncio.run(register_banks(network, [PROVIDER, PAYER, PAYEE]))
        document = corridor_between(network, CNY, HKD, [PROVIDER.number], lock_s=LOCK_S, margins=MARGINS)
        put_corridors(network, [document.record(0)])
        with cut(Bridges(network, [PROVIDER, PAYER], retry_ms=500)) as bridges:
            yield Scene(cluster, bridges)


def test_a_node_that_is_killed_between_lock_and_claim_delays_its_leg(scene):
    """Goal: a leg is claimed when its node is back. Method: SIGKILL of either node after the payer's leg is final."""
    before = scene.balance(PAYER, 1)[0], scene.balance(PAYEE, 2)[0]
    for domain in (1, 2):

        async def locked() -> bytes:
            async with scene.client() as client:
                quotes = await routed(client)
                scene.bridges.kill(PROVIDER.number, signal.SIGKILL)
                (answer,) = await client.run([order(quotes)])
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        if "leg_final" in words(await client.swap(swap_id=answer.swap_id)):
                            return bytes(answer.swap_id)
                        await asyncio.sleep(0.02)

        swap_id = asyncio.run(locked())
        scene.bridges.restart(PROVIDER.number)
        scene.cluster.kill(domain, signal.SIGKILL)
        scene.cluster.restart(domain)
        for participant in (PAYER.number, PROVIDER.number):
            view = asyncio.run(ended(scene, swap_id, participant))
            assert view.outcome == "claimed", [(each.what, each.text) for each in view.timeline]
    assert scene.balance(PAYER, 1) == (before[0] - 2 * AMOUNT, 0)
    assert scene.balance(PAYEE, 2)[0] == before[1] + 2 * RECEIVED


def test_a_node_that_is_away_when_the_secret_is_shown_claims_all_the_same(scene):
    """Goal: the relay decides, not the shard. Method: the node of leg 0 dies as the payer is about to reveal."""
    before = scene.balance(PAYER, 1)[0], scene.balance(PAYEE, 2)[0]
    bridges = scene.bridges
    bridges.extra[PAYER.number] = ("--die-at", "written:revealing")
    bridges.kill(PAYER.number, signal.SIGTERM)
    bridges.restart(PAYER.number)
    bridges.extra.pop(PAYER.number)

    async def begun() -> bytes:
        async with scene.client() as client:
            wanted = order(await routed(client))
            try:
                await client.run([wanted])
            except (Unreachable, Refused):
                pass
            return bytes(wanted.uetr)

    uetr = asyncio.run(begun())
    deadline = time.monotonic() + PATIENCE_S
    while bridges.is_running(PAYER.number):
        assert time.monotonic() < deadline, "it never came to the reveal"
        time.sleep(0.02)
    scene.cluster.kill(1, signal.SIGKILL)
    bridges.restart(PAYER.number)

    async def claimed_by_the_other() -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    async with scene.client() as client:
                        view = await client.swap(uetr=uetr)
                        if "leg_claimed" in words(view):
                            assert not view.outcome, "the leg of the dead node cannot be claimed for good yet"
                            return bytes(view.swap_id)
                except (Refused, Unreachable):
                    pass
                await asyncio.sleep(0.05)

    swap_id = asyncio.run(claimed_by_the_other())
    scene.cluster.restart(1)
    assert asyncio.run(ended(scene, swap_id)).outcome == "claimed"
    assert scene.balance(PAYER, 1) == (before[0] - AMOUNT, 0)
    assert scene.balance(PAYEE, 2)[0] == before[1] + RECEIVED


def test_a_validator_that_is_killed_under_swaps_stops_none(scene):
    """Goal: any three of four decide. Method: SIGKILL of the one that bridges follow, with twenty swaps on their way."""
    count = 20
    before = scene.balance(PAYEE, 2)[0]
    validators = scene.cluster.validators

    async def work() -> None:
        async with scene.client() as client:
            followed = (await client.status()).following
            victim = next(each for each in validators.participants if str(each) == followed)
            quotes = await routed(client, amount=AMOUNT * count)
            answers = await client.run([order(quotes) for _ in range(count)])
            await asyncio.to_thread(validators.kill, victim, signal.SIGKILL)
            views = [await ended(scene, answer.swap_id) for answer in answers]
            assert {view.outcome for view in views} == {"claimed"}
            await asyncio.to_thread(validators.restart, victim)

    asyncio.run(work())
    assert scene.balance(PAYEE, 2)[0] == before + count * RECEIVED


def pacs009(uetr: uuid.UUID, amount: int) -> bytes:
    payment = Payment(
        kind=MessageKind.INSTITUTION_CREDIT_TRANSFER, index=0, instruction_id="I1", end_to_end_id="E1",
        transaction_id="T1", uetr=uetr.int, currency="HKD", amount=amount, settlement_date=date(2026, 11, 22),
        debtor_agent="CLSPCNA0XXX", creditor_agent="CLSPHKA0XXX",
        debtor_account=format_account(PAYER.account), creditor_account=format_account(PAYEE.account),
    )  # fmt: skip
    return payments(payment.kind, "M1", datetime(2026, 11, 22, tzinfo=UTC), [payment])


def test_a_bank_is_told_in_its_own_words(scene, clearspan, tmp_path):
    """Goal: each end has its status and reason under the UETR. Method: settled, refused, refunded; the files' content."""
    network = scene.cluster.network.path

    def told(amount: int, *more: object, again: uuid.UUID | None = None) -> tuple[int, str, str]:
        uetr = again or uuid.uuid4()
        asked, answer = tmp_path / f"{uetr}.xml", tmp_path / f"{uetr}.answer.xml"
        asked.write_bytes(pacs009(uetr, amount))
        ran = clearspan(
            "swap", "file", "--in", asked, "--source", "CNY", "--out", answer, *more, "--network", network, "--json"
        )
        report = answer.read_text("utf-8")
        assert f"<OrgnlUETR>{uetr}</OrgnlUETR>" in report
        assert "pacs.009.001.08" in report
        (payment,) = ran.json["payments"]
        assert payment["uetr"] == str(uetr)
        return ran.code, payment["status"], report

    code, status, report = told(RECEIVED)
    assert (code, status) == (0, "ACSC") and "<TxSts>ACSC</TxSts>" in report
    # Sent again it is the same payment; under its UETR another one is none.
    settled = uuid.UUID(report.partition("<OrgnlUETR>")[2].partition("<")[0])
    before = scene.balance(PAYER, 1)[0]
    code, status, _ = told(RECEIVED, again=settled)
    assert (code, status) == (0, "ACSC")
    code, status, report = told(RECEIVED + 1, again=settled)
    assert (code, status) == (1, "RJCT") and "<Cd>DU03</Cd>" in report
    assert scene.balance(PAYER, 1)[0] == before
    code, status, report = told(RECEIVED, "--lock-s", "2")
    assert (code, status) == (1, "RJCT") and "<Cd>TM01</Cd>" in report and "are missing" in report
    # More than the provider has: no way leads there, and nothing was locked.
    code, status, report = told(10**17)
    assert (code, status) == (1, "RJCT") and "<TxSts>RJCT</TxSts>" in report


def test_without_its_provider_a_swap_is_refunded_and_told_as_a_timelock_that_passed(scene, tmp_path):
    """Goal: nobody's money stays locked, and the bank reads why. Method: the provider dies as it has accepted one swap;
    another has its quote already and is begun with nobody there.
    """
    bridges, network = scene.bridges, scene.cluster.network.path
    asked, answer = tmp_path / "asked.xml", tmp_path / "answer.xml"
    asked.write_bytes(pacs009(uuid.uuid4(), RECEIVED))
    before = scene.balance(PAYER, 1)
    bridges.extra[PROVIDER.number] = ("--die-at", "written:accepted")
    bridges.kill(PROVIDER.number, signal.SIGTERM)
    bridges.restart(PROVIDER.number)
    bridges.extra.pop(PROVIDER.number)
    command = ("swap", "file", "--in", str(asked), "--source", "CNY", "--out", str(answer), "--lock-s", str(SHORT_S))

    async def work():
        async with scene.client() as client:
            quotes = await routed(client, SHORT_S)
            told = asyncio.ensure_future(
                asyncio.to_thread(program, *command, "--network", str(network), "--json", timeout=PATIENCE_S)
            )
            async with asyncio.timeout(PATIENCE_S):
                while bridges.is_running(PROVIDER.number):  # noqa: ASYNC110 - it is another process that is waited for
                    await asyncio.sleep(0.02)
            (begun,) = await client.run([order(quotes, SHORT_S)])
            assert not begun.refusal.code, begun.refusal.text
            return await asyncio.gather(told, ended(scene, begun.swap_id))

    try:
        ran, view = asyncio.run(work())
    finally:
        bridges.restart(PROVIDER.number)
    assert (view.outcome, view.legs[0].state) == ("refunded", "refunded")
    assert "revealing" not in words(view)
    assert ran.returncode == 1, ran.stderr
    (payment,) = json.loads(ran.stdout)["payments"]
    assert (payment["status"], payment["reason"]) == ("RJCT", "TM01")
    assert "came back" in payment["text"]
    assert "<Cd>TM01</Cd>" in answer.read_text("utf-8")
    assert scene.balance(PAYER, 1) == before
