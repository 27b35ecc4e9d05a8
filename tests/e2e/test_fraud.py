"""An operator that lies, with real processes: found by re-execution, confirmed by a quorum, suspended, and resumed."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import pytest

from clearspan.cluster import Cluster
from clearspan.keys import KeyFile, ScryptCost, read_passphrase
from clearspan.network import DEVELOPMENT_COST_N
from clearspan.relay_link.opening import ANCHORS_FOLDER
from clearspan.validator.books import ChainBook
from engine.evidence import FraudClaim
from engine.relay_block import RelayBlock
from engine.types import KeyId, ParticipantId, RelayRecordType, Role, SigningSuite
from tests.e2e.relay_support import PATIENCE_S, height_of, reaches, relay_client
from tests.e2e.support import ROOT, client_of, cut, fund, payments, small_network

pytestmark = pytest.mark.timeout(240)
LIAR, HONEST = 256, 257
FOLDER = Path(__file__).parent / "liar"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A node that lies when it is told to, and four validators of which three follow it."""
    folder = tmp_path_factory.mktemp("fraud")
    network = small_network(folder / "network")
    cluster = Cluster(network, validators=4)
    words = ["env", f"PYTHONPATH={FOLDER}:{ROOT}", f"CLEARSPAN_TEST_LIE={folder / 'lie'}"]
    cluster.nodes.run_in(lambda _: words)
    with cut(cluster):
        yield cluster


async def until(check, patience_s: float = PATIENCE_S):
    async with asyncio.timeout(patience_s):
        while not (found := await check()):  # noqa: ASYNC110 - it is another process that is waited for
            await asyncio.sleep(0.05)
        return found


async def standing(cluster, participant: int, shard: int):
    async with relay_client(cluster.validators, participant) as client:
        return next(each for each in (await client.status()).shards if each.shard == shard)


def pay(cluster, banks) -> None:
    async def work():
        async with client_of(cluster, "clearing-house") as house:
            assert (await house.submit(payments(cluster.network, *banks[:2], 16))).settled.all()

    asyncio.run(work())


def followers(cluster) -> list[int]:
    """The validators whose settings have them execute the node's log."""
    text = {each: (cluster.validators.log(each).parent / "validator.toml").read_text() for each in everyone(cluster)}
    return [each for each in everyone(cluster) if 'domains = ["cny"]' in text[each]]


def everyone(cluster) -> tuple[int, ...]:
    return cluster.validators.participants


def test_a_lie_is_found_confirmed_and_suspends_until_governance_resumes(cluster, clearspan, tmp_path) -> None:
    """Three of four follow; one of them is gone, so the fourth has to execute the published log to make a quorum."""
    validators, network = cluster.validators, cluster.network
    banks = fund(cluster)
    pay(cluster, banks)
    follow = followers(cluster)
    assert len(follow) == 3
    (other,) = set(everyone(cluster)) - set(follow)
    gone, watched = follow[0], follow[1]

    async def verified() -> int:
        found = await standing(cluster, watched, LIAR)
        return found.verified_height if found.verified_height == found.anchored_height else 0

    asyncio.run(until(verified))
    validators.kill(gone)
    (network.path.parent / "lie").touch()
    pay(cluster, banks)

    async def suspended() -> bool:
        found = await standing(cluster, watched, LIAR)
        return found.standing == "suspended"

    asyncio.run(until(suspended))
    found = asyncio.run(standing(cluster, watched, LIAR))
    assert found.verified_height < found.anchored_height, "what was false is not verified"
    assert asyncio.run(standing(cluster, watched, HONEST)).standing == ""
    assert "fraud_claimed" in validators.log(other).read_text(), "the fourth executed what it did not follow"
    assert "header_differs" in validators.log(watched).read_text()
    last_true = found.verified_height

    # The claim that suspends stands in a final block with the signatures of a quorum; `evidence` shows it.
    validators.kill(watched, signal.SIGTERM)
    claim = confirmed_claim(network, validators.data(watched))
    assert (claim.shard, len(claim.approvals)) == (LIAR, 3)
    assert last_true < claim.height <= found.anchored_height
    told = clearspan("evidence", validators.data(watched), "--json")
    assert told.code == 0, told.err
    shown = [each for each in told.json["final"] if each["kind"] == "FraudClaim"]
    assert shown[-1]["shard"] == LIAR and shown[-1]["confirmed"] and shown[-1]["height"] == claim.height
    validators.restart(watched)
    validators.restart(gone)

    # Suspended, it anchors nothing; what its own domain got of it since waits with it, and the relay goes on.
    pay(cluster, banks)
    asyncio.run(goes_on(cluster, watched))
    assert asyncio.run(standing(cluster, watched, LIAR)).anchored_height == found.anchored_height

    # The operator is put right: a new key, an honest program, what it had signed forgotten; then governance resumes.
    key = successor_key(cluster)
    draft = tmp_path / "resume.json"
    call = lambda *words: clearspan(*words, "--network", network.path, "--json")  # noqa: E731
    proposed = call(
        "validator", "propose", "resume", LIAR, "--key-id", key.info.key_id, "--key", key.info.public_key.hex(),
        "--epoch", 2, "--height", last_true, "--out", draft,
    )  # fmt: skip
    assert proposed.code == 0, proposed.err
    for each in everyone(cluster)[:3]:
        assert call("validator", "approve", draft, "--validator", each).code == 0
    submitted = call("validator", "submit", draft, "--timeout-s", 30)
    assert submitted.code == 0, submitted.err
    resumed = asyncio.run(standing(cluster, watched, LIAR))
    assert (resumed.standing, resumed.anchored_height, resumed.epoch_min) == ("", last_true, 2)
    # The domain's other shard is signed with the same key from then on: the old key and the new one say so.
    old, new = node_keys(cluster) / "block.key", node_keys(cluster) / "successor.key"
    save(cluster, key, new)
    proposed = call(
        "validator", "propose", "block-key", "cny", "--old-key-id", KeyFile.load(old, passphrase(cluster)).info.key_id,
        "--new-key-id", key.info.key_id, "--key", key.info.public_key.hex(), "--out", draft,
    )  # fmt: skip
    assert proposed.code == 0, proposed.err
    assert call("validator", "approve", draft, "--key", new).code == 0
    assert call("validator", "submit", draft).code != 0, "the new key alone is not enough"
    assert call("validator", "approve", draft, "--key", old).code == 0
    submitted = call("validator", "submit", draft, "--timeout-s", 30)
    assert submitted.code == 0, submitted.err
    restart_honestly(cluster, new)
    pay(cluster, banks)

    async def verified_again() -> bool:
        found = [await standing(cluster, watched, shard) for shard in (LIAR, HONEST)]
        return all(
            each.standing == "" and each.verified_height == each.anchored_height > claim.height for each in found
        )

    asyncio.run(until(verified_again))


async def goes_on(cluster, participant: int) -> None:
    await reaches(cluster.validators, participant, await height_of(cluster.validators, participant) + 5)


def confirmed_claim(network, data: Path) -> FraudClaim:
    """The claim with the most signatures in the final blocks of a stopped validator."""
    book = ChainBook(data / "chain")
    try:
        found = [
            record.evidence()
            for entry in book.range(1, book.last_height())
            for record in RelayBlock.decode(entry.block, network.genesis.hash_suite).records
            if record.type is RelayRecordType.EVIDENCE
        ]
    finally:
        book.close()
    claims = [each for each in found if isinstance(each, FraudClaim)]
    return max(claims, key=lambda each: len(each.approvals))


def successor_key(cluster) -> KeyFile:
    keys = cluster.network.genesis.domain(1).keys
    operator = next(each.participant for each in keys if each.role == Role.BLOCK)
    key = KeyFile.create(SigningSuite.ED25519, ParticipantId(operator), Role.BLOCK)
    key.set_key_id(KeyId(len(keys) + 1))
    return key


def node_keys(cluster) -> Path:
    return cluster.network.node_folder(1) / "keys"


def passphrase(cluster) -> bytes:
    return read_passphrase(node_keys(cluster) / "passphrase")


def save(cluster, key: KeyFile, path: Path) -> None:
    key.save(path, passphrase(cluster), ScryptCost(n=DEVELOPMENT_COST_N))


def restart_honestly(cluster, key: Path) -> None:
    """Stop the node, forget what it had signed (all of it is made anew from the log), and start it with its new key."""
    cluster.kill(1, signal.SIGTERM)
    (cluster.network.path.parent / "lie").unlink()
    key.replace(node_keys(cluster) / "block.key")
    for name in ("checkpoint", "chain", "index", ANCHORS_FOLDER):
        shutil.rmtree(cluster.data(1) / name, ignore_errors=True)
    cluster.restart(1)
