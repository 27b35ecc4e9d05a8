"""From a payment to a receipt that convinces offline: a node, four validators, every tool that reads one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from clearspan.cluster import Cluster
from clearspan.pki import TlsFiles
from clearspan.relay_link.lines import LineSet
from clearspan.signer import Signer
from clearspan.verifier.offline import read_trust, verify_receipt
from clearspan.verifier.page import code_table
from engine.batch import sign_messages
from engine.codes import ResultCode
from engine.receipt import decode_receipt
from engine.record import derived_claim
from engine.relay_block import reveal_record
from engine.types import NS_PER_S, TransferKind
from tests.behaviour.test_receipt_page import NODE_PROGRAM, SCRIPT
from tests.e2e.relay_support import relay_client
from tests.e2e.support import ROOT, client_of, cut, digests_of, fund, payments, small_network

pytestmark = pytest.mark.timeout(180)
WAIT_S = 60.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One node and four validators."""
    network = small_network(tmp_path_factory.mktemp("receipts") / "network")
    with cut(Cluster(network, validators=4)) as running:
        yield running


@pytest.fixture(scope="module")
def banks(cluster):
    return fund(cluster)


def settle(cluster, banks, count: int = 16):
    """Settle a batch; return the digests with the codes."""
    batch = payments(cluster.network, *banks[:2], count)

    async def work():
        async with client_of(cluster, "clearing-house") as house:
            return (await house.submit(batch)).codes.tolist()

    return list(zip(digests_of(cluster.network, batch), asyncio.run(work()), strict=True))


def receipts(cluster, speaker: str, *digests: bytes, **options):
    async def work():
        async with client_of(cluster, speaker, deadline_s=WAIT_S) as client:
            return [await client.receipt(each, wait_s=WAIT_S, **options) for each in digests]

    return asyncio.run(work())


def test_a_receipt_convinces_every_verifier(cluster, banks, tmp_path, need_tool) -> None:
    """The engine's in the client, plain Python in a process without our packages' natives, JavaScript in Node."""
    decided = settle(cluster, banks)
    assert {code for _, code in decided} == {ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT}
    found = receipts(cluster, "clearing-house", *(digest for digest, _ in decided))
    found += receipts(cluster, "reader", *(digest for digest, _ in decided), payee=True)
    assert {each.finding.decision.code for each in found[16:]} == {ResultCode.CREATED, ResultCode.CREDITED}
    genesis = (cluster.network.path / "genesis.json").read_bytes()
    assert {verify_receipt(each.data, read_trust(genesis)).form for each in found} == {"payer's", "payee's"}
    path = tmp_path / "receipt.bin"
    path.write_bytes(found[0].data)
    command = [sys.executable, "-m", "clearspan.verifier", str(path), str(cluster.network.path / "genesis.json")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["state"] in {"anchored", "verified"}
    node = need_tool("node", "nodejs")
    vectors = [{"receipt": each.data.hex(), "trust": genesis.decode()} for each in found]
    vectors.append({"receipt": bytes((*found[0].data[:-1], found[0].data[-1] ^ 1)).hex(), "trust": genesis.decode()})
    told = subprocess.run(
        [node, "-e", NODE_PROGRAM, str(SCRIPT)], input=json.dumps({"vectors": vectors, "codes": code_table()}),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)[-1] == "refused"
    assert set(json.loads(told.stdout)[:-1]) <= {"anchored", "verified"}


@pytest.mark.parametrize(("isolation", "code"), [("guard", 0), ("namespace", 4)])
def test_the_offline_checker_has_tried_the_network(cluster, banks, tmp_path, isolation: str, code: int) -> None:
    """With its own guard it reaches nobody and checks; told that it has no network, it finds out that it has one."""
    (digest, _), *_ = settle(cluster, banks)
    (found,) = receipts(cluster, "clearing-house", digest)
    good, bad = tmp_path / "good.receipt", tmp_path / "bad.receipt"
    good.write_bytes(found.data)
    bad.write_bytes(found.data[:-1] + bytes([found.data[-1] ^ 1]))
    node = cluster.address(1)
    command = [sys.executable, "-m", "clearspan.demo.offline", isolation, node.host, str(node.port)]
    command += [str(cluster.network.path / "genesis.json"), str(os.getpid()), str(good), str(bad)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert ran.returncode == code, ran.stderr
    said = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [each.get("holds") for each in said] == ([] if code else [True, False, None])


def test_validators_that_execute_the_log_make_it_verified(cluster, banks) -> None:
    (digest, _), *_ = settle(cluster, banks)
    (found,) = receipts(cluster, "clearing-house", digest, verified=True)
    assert found.finding.anchorage.state == "final, verified"

    async def look():
        async with client_of(cluster, "operator-cny") as client:
            (view,) = await client.transfers([digest])
            return view.durability, await client.status()

    durability, status = asyncio.run(look())
    assert durability == "verified"
    assert all(each.verified_height > 0 for each in status.shards)
    assert status.relay.consumed_height > 0 and status.relay.following


def test_the_commands_get_verify_and_page(cluster, banks, clearspan, tmp_path) -> None:
    """As a bank's clerk does it: receipt, balance, page; then a byte is changed, and another network's genesis."""
    network = cluster.network.path
    (digest, _), *_ = settle(cluster, banks)
    path, page = tmp_path / "receipt.bin", tmp_path / "receipt.html"
    got = clearspan(
        "receipt", "get", "--digest", digest.hex(), "--form", "payee", "--out", path, "--network", network,
        "--timeout-s", WAIT_S, "--json",
    )  # fmt: skip
    assert got.code == 0, got.err
    assert (got.json["final"], got.json["form"], got.json["digest"]) == (True, "payee", digest.hex())
    assert path.stat().st_size == got.json["bytes"] < 4096
    held = clearspan("receipt", "verify", path, "--genesis", network / "genesis.json", "--json")
    assert held.json["state"] == got.json["state"] and held.json["verified"] is True
    made = clearspan("receipt", "page", path, "--out", page, "--network", network)
    assert made.code == 0 and path.read_bytes().hex() in page.read_text().replace("\\", "")
    account = f"{banks[0].accounts[0]:032x}"
    balance = clearspan(
        "receipt", "get", "--balance", account, "--out", tmp_path / "balance.bin", "--network", network,
        "--timeout-s", WAIT_S, "--json",
    )  # fmt: skip
    assert balance.code == 0, balance.err
    assert balance.json["form"] == "balance" and int(balance.json["balance"]) > 0
    spoiled = bytearray(path.read_bytes())
    spoiled[40] ^= 1
    (tmp_path / "spoiled.bin").write_bytes(spoiled)
    assert clearspan("receipt", "verify", tmp_path / "spoiled.bin", "--network", network, "--json").code == 4
    trust = clearspan("receipt", "trust", "--out", tmp_path / "trust.json", "--network", network, "--json")
    assert (trust.code, trust.json["set_id"], trust.json["members"]) == (0, 1, 4)
    again = clearspan("receipt", "verify", path, "--trust", tmp_path / "trust.json")
    assert again.code == 0 and "final" in again.out
    status = clearspan("node", "status", "--network", network, "--json")
    assert status.json["nodes"][0]["shards"][0]["final_height"] > 0


def test_a_claim_has_a_receipt_by_its_own_digest_and_by_its_locks(cluster, banks, clearspan, tmp_path) -> None:
    """A lock across shards, revealed at a validator: nobody signed the claim, and every verifier takes its receipt."""
    network, secret, now = cluster.network, hashlib.sha256(b"a secret").digest(), time.time_ns()
    payer, payee = banks[:2]
    signer, suite = Signer(network.genesis, payer.ring), network.genesis.hash_suite
    plain = signer.transfer(
        debit_account=payer.accounts[0], credit_account=payee.accounts[1], amount=7, ledger=156, key_id=payer.key_id
    )
    hashlock, until = hashlib.sha256(secret).digest(), now + 120 * NS_PER_S
    lock = replace(plain, flags=int(TransferKind.LOCK), until=until, binding=hashlock)
    batch = signer.sign(1, [lock])
    (lock_digest,) = digests_of(network, batch)
    claim = derived_claim(suite, lock, lock_digest, secret)
    ((_, claim_digest),) = sign_messages(suite, network.genesis.hash, [claim])

    async def work() -> None:
        async with client_of(cluster, "clearing-house") as house:
            assert (await house.submit(batch)).codes.tolist() == [ResultCode.CREATED]
        async with relay_client(cluster.validators, cluster.validators.participants[0], "clearing-house") as client:
            assert await client.reveal([secret]) == [""]

    asyncio.run(work())
    for digest, form in ((claim_digest, "payer"), (claim_digest, "payee"), (lock_digest, "payee")):
        path = tmp_path / f"{form}-{digest.hex()[:4]}.receipt"
        got = clearspan(
            "receipt", "get", "--digest", digest.hex(), "--form", form, "--out", path, "--network", network.path,
            "--timeout-s", WAIT_S, "--json",
        )  # fmt: skip
        assert got.code == 0, got.err
        assert (got.json["code"], got.json["amount"], got.json["digest"]) == ("claimed", "7", claim_digest.hex())
        held = clearspan("receipt", "verify", path, "--digest", digest.hex(), "--network", network.path, "--json")
        assert held.code == 0, held.err
        genesis = (network.path / "genesis.json").read_bytes()
        assert verify_receipt(path.read_bytes(), read_trust(genesis)).state in {"anchored", "verified"}


def test_an_account_is_proven_to_who_may_see_it_alone(cluster, banks) -> None:
    from clearspan.errors import Refused

    async def ask(speaker):
        async with client_of(cluster, speaker) as client:
            return await client.balance_receipt(banks[0].accounts[0], wait_s=WAIT_S)

    assert asyncio.run(ask("operator-cny")).finding.account.id == banks[0].accounts[0]
    for speaker in ("clearing-house", "reader", "issuer-cny"):
        with pytest.raises(Refused, match="role_refused"):
            asyncio.run(ask(speaker))


def test_an_operator_hands_a_reveal_to_a_validator(cluster) -> None:
    """It is taken, becomes final once, and is refused as known after that."""
    network = cluster.network
    tls = TlsFiles(*(network.path / "tls" / name for name in ("operator-cny.pem", "operator-cny.key", "ca.pem")))
    address = cluster.validators.address(cluster.validators.participants[1]).target
    record = reveal_record(bytes(range(32))).encode()

    async def work() -> None:
        (line,) = LineSet(tls, targets=[address]).lines
        before = (await line.status()).final_height
        answer = await line.submit(record)
        assert (answer.taken, answer.reason) == (True, "")
        async for found in line.blocks(before + 1, stall_s=20):
            if bytes(range(32)) in found.block:
                break
        assert (await line.submit(record)).reason == "reveal_known"
        await line.close()

    asyncio.run(work())


def test_receipts_go_on_over_a_killed_validator_and_a_killed_node(cluster, banks) -> None:
    """One validator dies by SIGKILL and stays away, the node dies and comes back: finality goes on, nothing is undone."""
    (before, _), *_ = settle(cluster, banks)
    (old,) = receipts(cluster, "clearing-house", before)
    cluster.validators.kill(cluster.validators.participants[0], signal.SIGKILL)
    (meanwhile, _), *_ = settle(cluster, banks)
    (found,) = receipts(cluster, "clearing-house", meanwhile)
    assert found.finding.anchorage.relay_height > old.finding.anchorage.relay_height
    consumed = asyncio.run(status(cluster)).relay.consumed_height
    cluster.kill(1, signal.SIGKILL)
    cluster.restart(1)
    (again,) = receipts(cluster, "clearing-house", before)
    assert decode_receipt(again.data).decision == decode_receipt(old.data).decision
    (after, _), *_ = settle(cluster, banks)
    (found,) = receipts(cluster, "clearing-house", after)
    assert found.finding.anchorage.relay_height > consumed
    cluster.validators.restart(cluster.validators.participants[0])
    assert asyncio.run(status(cluster)).relay.height >= consumed


async def status(cluster):
    async with client_of(cluster, "operator-cny") as client:
        return await client.status()
