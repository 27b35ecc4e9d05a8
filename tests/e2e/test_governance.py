"""Members decide together, with real processes: a validator joins, one leaves, a key rotates, and receipts go on."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess

import pytest

from clearspan.cluster import Cluster
from clearspan.verifier.offline import Refusal, read_trust, verify_receipt
from clearspan.verifier.page import code_table
from engine.receipt import decode_receipt
from engine.refusals import ProofRefused
from engine.validators import ValidatorSet
from tests.behaviour.test_receipt_page import SCRIPT
from tests.e2e.relay_support import height_of, reaches, relay_client
from tests.e2e.support import client_of, cut, digests_of, fund, payments, small_network

pytestmark = pytest.mark.timeout(240)
WAIT_S = 60.0
EPOCH = 4
STAYS, LEAVES, ROTATES, ALSO_STAYS = 94, 92, 91, 93
JOINS, ROTATED = 95, 191
"""Folders of the new validators: participant 95's own, and a second one of participant 91 with its next key."""
# Answers each vector with its state, or the step at which it failed.
NODE_PROGRAM = """
const { verifyReceipt, fromHex, Refusal } = require(process.argv[1]);
const { vectors, codes } = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(vectors.map((vector) => {
  try { return verifyReceipt(fromHex(vector.receipt), vector.trust, codes).state; }
  catch (error) { if (error instanceof Refusal) return error.step; throw error; }
})));
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """One node and four validators; the idle relay makes a block every 50 ms, so that epochs are short."""
    network = small_network(tmp_path_factory.mktemp("governance") / "network")
    with cut(
        Cluster(network, validators=4, validator_flags=("--consensus-idle-ms", "50", "--consensus-rest-ms", "0"))
    ) as running:
        yield running


def receipt_of_a_payment(cluster, banks):
    """Settle one payment; return its receipt, verified by the client."""
    batch = payments(cluster.network, *banks[:2], 1)
    (digest,) = digests_of(cluster.network, batch)

    async def work():
        async with client_of(cluster, "clearing-house", deadline_s=WAIT_S) as house:
            await house.submit(batch)
            return await house.receipt(digest, wait_s=WAIT_S)

    return asyncio.run(work())


class Members:
    """Drafts, approvals and submissions through the command, as members' staff do it."""

    def __init__(self, clearspan, cluster, folder) -> None:
        self.clearspan, self.network, self.draft = clearspan, cluster.network.path, folder / "draft.json"

    def call(self, *words):
        return self.clearspan(*words, "--network", self.network, "--json")

    def decide(self, *words, approvers=(ROTATES, ALSO_STAYS, STAYS)) -> dict:
        """Propose, approve and submit; return what the submission said."""
        proposed = self.call("validator", "propose", *words, "--out", self.draft)
        assert proposed.code == 0, proposed.err
        for each in approvers:
            assert self.call("validator", "approve", self.draft, "--validator", each).code == 0
        submitted = self.call("validator", "submit", self.draft, "--timeout-s", 30)
        assert submitted.code == 0, submitted.err
        return submitted.json


async def status_of(cluster, name: int):
    async with relay_client(cluster.validators, name) as client:
        return await client.status()


async def votes_in_set(cluster, name: int, set_id: int) -> None:
    async with asyncio.timeout(30):
        while True:
            status = await status_of(cluster, name)
            if status.set_id == set_id and status.may_sign:
                return
            await asyncio.sleep(0.05)


def test_a_set_changes_and_receipts_go_on(cluster, clearspan, tmp_path, need_tool) -> None:
    """One validator joins with an SM2 key, one leaves, one rotates its key; the others' receipts hold before and after.

    Then the ones that left are gone, and so is one more: what is left is a quorum only if the new keys count and the old
    ones do not.
    """
    validators, network = cluster.validators, cluster.network
    banks = fund(cluster)
    members = Members(clearspan, cluster, tmp_path)
    before = receipt_of_a_payment(cluster, banks)
    decided = members.decide("epoch-length", EPOCH)
    assert decided["says"] == [f"epoch length: {EPOCH} heights"]
    made = members.call("validator", "new", JOINS, "--suite", "sm2")
    assert made.code == 0, made.err
    assert members.call("validator", "new", ROTATES, "--name", ROTATED).code == 0
    validators.start([JOINS, ROTATED])
    top = asyncio.run(height_of(validators, STAYS))
    for name in (JOINS, ROTATED):
        asyncio.run(reaches(validators, name, top))
        found = asyncio.run(status_of(cluster, name))
        assert (found.index, found.may_sign) == (-1, False)

    # Too few approve: nothing is handed in. Then enough.
    change = ("set", "--add", JOINS, "--add", ROTATED, "--remove", ROTATES, "--remove", LEAVES, "--ahead", 10)
    assert members.call("validator", "propose", *change, "--out", members.draft).code == 0
    assert members.call("validator", "approve", members.draft, "--validator", STAYS).code == 0
    refused = members.call("validator", "submit", members.draft)
    assert refused.code != 0 and "power 1 of 4" in refused.error["message"]
    submitted = members.decide(*change, approvers=(ROTATES, LEAVES, ALSO_STAYS))
    assert submitted["says"][0].startswith("validator set 2, from relay height")
    again = members.call("validator", "propose", *change, "--out", members.draft)
    if again.code:
        assert "takes effect" in again.error["message"]

    async def in_force() -> None:
        await asyncio.gather(*(votes_in_set(cluster, name, 2) for name in (JOINS, ROTATED, STAYS, ALSO_STAYS)))

    asyncio.run(in_force())
    assert asyncio.run(status_of(cluster, LEAVES)).index == -1
    assert asyncio.run(status_of(cluster, ROTATES)).index == -1
    for name in (LEAVES, ROTATES, ALSO_STAYS):
        validators.kill(name, signal.SIGKILL)

    async def goes_on() -> None:
        await reaches(validators, JOINS, await height_of(validators, JOINS) + 10)

    asyncio.run(goes_on())
    after = receipt_of_a_payment(cluster, banks)
    certificate = decode_receipt(after.data).anchorage.certificate
    assert certificate.set_id == 2

    # What they keep leads them over the change again: the node, and a member without which there is no quorum.
    cluster.kill(1, signal.SIGKILL)
    validators.kill(JOINS, signal.SIGKILL)
    validators.restart(JOINS)
    cluster.restart(1)
    asyncio.run(goes_on())
    again = receipt_of_a_payment(cluster, banks)
    assert decode_receipt(again.data).anchorage.relay_header.height > submitted["relay_height"]

    # Whoever knows the genesis alone is told that its trust is stale; with the document of the new set all hold.
    trust = tmp_path / "trust.json"
    assert members.call("receipt", "trust", "--out", trust).json["set_id"] == 2
    documents = [(network.path / "genesis.json").read_bytes(), trust.read_bytes()]
    first = ValidatorSet.of_genesis(network.genesis)
    assert decode_receipt(before.data).verify(network.genesis.hash_suite, network.genesis.hash, first)
    with pytest.raises(ProofRefused) as stale:
        decode_receipt(after.data).verify(network.genesis.hash_suite, network.genesis.hash, first)
    assert stale.value.step == "stale_trust"
    offline = [_offline(each.data, read_trust(document)) for each in (before, after) for document in documents]
    assert offline[1:3] == ["stale_trust", "stale_trust"]
    assert {offline[0], offline[3]} <= {"anchored", "verified"}
    node = need_tool("node", "nodejs")
    vectors = [
        {"receipt": each.data.hex(), "trust": document.decode()} for each in (before, after) for document in documents
    ]
    told = subprocess.run(
        [node, "-e", NODE_PROGRAM, str(SCRIPT)], input=json.dumps({"vectors": vectors, "codes": code_table()}),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == offline
    path = tmp_path / "after.receipt"
    path.write_bytes(after.data)
    assert members.call("receipt", "verify", path, "--trust", trust).code == 0
    stale = clearspan("receipt", "verify", path, "--genesis", network.path / "genesis.json", "--json")
    assert stale.code == 4 and "stale_trust" in stale.error["message"]


def _offline(data: bytes, trust) -> str:
    try:
        return verify_receipt(data, trust).state
    except Refusal as refusal:
        return refusal.step
