"""Travel-rule data with real processes: sealed by the payer's bridge, handed over, opened by supervisors with a look."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, date, datetime

import msgspec
import pytest

from clearspan.bridging.rules.breaker_desk import SHARD_BITS
from clearspan.bridging.staging.banks import Bridges, corridor_between, register_banks
from clearspan.bridging.staging.folder import bridge_folder, put_corridors
from clearspan.cluster import Cluster
from clearspan.iso20022 import MessageKind, Payment, format_account, payments
from tests.e2e.support import client_of, cut, small_network
from tests.e2e.test_swaps import CNY, HKD, LOCK_S, MARGINS, PAYEE, PAYER, PROVIDER, Scene

pytestmark = pytest.mark.timeout(240)

NAMES = ("Novamar Cement Industries", "Lanjiao Shipping")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    network = small_network(tmp_path_factory.mktemp("envelopes") / "network", ("CNY", "HKD"), shards=1, lock_min_s=2)
    with cut(Cluster(network, validators=4)) as cluster:
        asyncio.run(register_banks(network, [PROVIDER, PAYER, PAYEE]))
        document = corridor_between(network, CNY, HKD, [PROVIDER.number], lock_s=LOCK_S, margins=MARGINS)
        asking = msgspec.structs.replace(document.screening, travel_rule_from="5000")
        put_corridors(network, [msgspec.structs.replace(document, screening=asking).record(0)])
        with cut(Bridges(network, [PROVIDER, PAYER], finality="final", retry_ms=500)) as bridges:
            yield Scene(cluster, bridges)


@pytest.fixture
def command(clearspan, scene):
    """Run a command on the running network, as JSON; what it prints is read."""

    def call(*arguments: object, code: int = 0):
        ran = clearspan(*arguments, "--network", scene.cluster.network.path, "--json")
        assert ran.code == code, ran.err
        return ran.json if ran.out else ran.error

    return call


def parties(**changes) -> bytes:
    originator = {
        "name": NAMES[0], "account": "CN-4711", "participant": PAYER.number, "country": "CN", "address": "1 Harbour Road",
    }  # fmt: skip
    beneficiary = {"name": NAMES[1], "account": "HK-0815", "participant": PAYEE.number, "country": "HK"}
    made = {"format": 1, "originator": {**originator, **changes}, "beneficiary": beneficiary, "purpose": "invoice 4711"}
    return msgspec.json.encode(made)


def run(command, path, *more: str, code: int = 0):
    ends = ("--from", format_account(PAYER.account), "--to", format_account(PAYEE.account))
    wanted = ("--source", "CNY", "--target", "HKD", "--send", "100.00")
    return command(
        "swap", "run", *ends, *wanted, "--timeout-s", "20", *(("--travel-rule", path) if path else ()), *more, code=code
    )


def recorded(scene, digest: str, domain: int) -> bool:
    """Say whether a decision stands in a final block of a domain's first shard."""

    async def search() -> bool:
        height = 1
        async with client_of(scene.cluster, "operator-cny" if domain == 1 else "operator-hkd", domain) as client:
            async with asyncio.timeout(20):
                while True:
                    height, blocks = await client.final_blocks(domain << SHARD_BITS, height, wait_s=1)
                    if any(any(block.among({bytes.fromhex(digest)})) for block in blocks):
                        return True

    return asyncio.run(search())


def test_a_swap_carries_its_data_to_both_supervisors_and_to_nobody_else(command, scene, tmp_path):
    """Goal: what the payer's file says is read by the supervisors of both ledgers, with a look. Method: the whole way."""
    refused = run(command, None, code=1)
    assert refused["code"] == "travel_rule_missing"
    file, out = tmp_path / "parties.json", tmp_path / "envelopes.json"
    file.write_bytes(parties(participant=12))
    assert run(command, file, code=1)["code"] == "travel_rule_mismatch"
    file.write_bytes(parties())
    swap = run(command, file)
    assert swap["outcome"] == "claimed"
    written = command("swap", "envelope", swap["uetr"], "--out", out)
    assert written["salt"] and NAMES[0].encode() not in out.read_bytes()
    for domain, ledger in enumerate(("CNY", "HKD"), 1):
        found = command("swap", "unseal", "--in", out, "--ledger", ledger)
        assert (found["originator"]["name"], found["beneficiary"]["name"]) == NAMES
        assert (found["sent"]["minor"], found["purpose"], found["proved"]) == ("10000", "invoice 4711", True)
        assert recorded(scene, found["look"], domain)
    # The regulator of a ledger has no key that opens it, and neither has the operator a supervisor's.
    assert command("swap", "unseal", "--in", out, "--ledger", "CNY", "--as", "operator", code=2)
    for folder in (bridge_folder(scene.cluster.network, each.number) for each in (PAYER, PROVIDER)):
        for path in folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not any(name.encode() in content for name in NAMES), path


def test_debtor_and_creditor_of_a_message_are_sealed(command, tmp_path):
    """Goal: a pacs.009 brings its own parties. Method: a file of one payment, run and opened by a supervisor."""
    payment = Payment(
        kind=MessageKind.INSTITUTION_CREDIT_TRANSFER, index=0, instruction_id="I-1", end_to_end_id="E-1",
        transaction_id="T-1", uetr=uuid.uuid4().int, currency="HKD", amount=10_800, settlement_date=date(2026, 1, 5),
        debtor_agent="PAYRCNBJXXX", creditor_agent="PAYEHKHHXXX", debtor_account=format_account(PAYER.account),
        creditor_account=format_account(PAYEE.account), debtor_name=NAMES[0], creditor_name=NAMES[1],
    )  # fmt: skip
    source, out, envelopes = (tmp_path / name for name in ("pacs009.xml", "pacs002.xml", "envelopes.json"))
    source.write_bytes(payments(payment.kind, "M-1", datetime(2026, 1, 5, tzinfo=UTC), [payment]))
    report = command("swap", "file", "--in", source, "--source", "CNY", "--out", out, "--timeout-s", "20", code=1)
    assert report["payments"][0]["reason"] == "RR02"
    sealed = command(
        "swap", "file", "--in", source, "--source", "CNY", "--out", out, "--timeout-s", "20", "--seal-parties"
    )
    (row,) = sealed["payments"]
    assert row["status"] == "ACSC"
    command("swap", "envelope", row["uetr"], "--out", envelopes)
    found = command("swap", "unseal", "--in", envelopes, "--ledger", "HKD")
    assert (found["originator"]["name"], found["originator"]["identification"]) == (NAMES[0], "PAYRCNBJXXX")
    assert (found["beneficiary"]["country"], found["received"]["minor"]) == ("HK", "10800")
