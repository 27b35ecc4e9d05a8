"""The load generator: the same seed gives the same bytes, signatures hold, and no answer is lost or counted twice."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from clearspan.acknowledgements import Acknowledgement, AcknowledgementFile, record_digests
from clearspan.cli.root import run
from clearspan.client.results import BatchResult
from clearspan.cluster import Cluster, temporary_network
from clearspan.errors import Unreachable
from clearspan.keys import KeyRing
from clearspan.load import LoadAccounts, LoadOutcome, LoadPlan, drive, signed_batches
from clearspan.signer import Signer
from clearspan.status import Refusal
from engine.batch import sign_messages
from engine.codes import ResultCode
from engine.genesis import Genesis, GenesisDomain, GenesisLedger
from engine.record import ordinary_account_id
from engine.types import KeyId, ParticipantId, Role, SigningSuite
from native.signatures import verify

NOW = 1_700_000_000 * 10**9
CREATED, EXISTS = int(ResultCode.CREATED), int(ResultCode.EXISTS)


@pytest.fixture(scope="module")
def world():
    """A genesis, a ring of an Ed25519 and an SM2 key, and eight accounts that they serve in turn."""
    ledger = GenesisLedger(156, "CNY", 2, issuer=13)
    genesis = Genesis("load", bytes(range(32)), NOW, (GenesisDomain(1, "cny", 2, (ledger,), ()),))
    ring = KeyRing()
    for key_id, suite in enumerate((SigningSuite.ED25519, SigningSuite.SM2), start=1):
        ring.set_key_id(ring.create(suite, ParticipantId(7), Role.ACCOUNT), KeyId(key_id))
    accounts = LoadAccounts.of(156, [ordinary_account_id(7, serial) for serial in range(1, 9)], [1, 2] * 4)
    return genesis, Signer(genesis, ring), accounts, ring


def batches(world, **changes):
    genesis, signer, accounts, _ = world
    plan = LoadPlan(**{"domain": 1, "transfers": 250, "batch_size": 100, **changes})
    return signed_batches(plan, accounts, signer, NOW)


class FakeClient:
    """Answers every batch `created`; batches listed in ``silent`` get no answer the first time."""

    def __init__(self, silent=(), gate=None, expected=0) -> None:
        self.silent = set(silent)
        self.gate = gate
        self.expected = expected
        self.all_on_way = asyncio.Event()
        self.seen: list[bytes] = []
        self.on_way = self.on_way_max = 0

    async def submit(self, batch):
        self.seen.append(batch.batch_id)
        self.on_way += 1
        self.on_way_max = max(self.on_way_max, self.on_way)
        if len(self.seen) == self.expected:
            self.all_on_way.set()
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            if batch.batch_id in self.silent:
                self.silent.remove(batch.batch_id)
                raise Unreachable("fake", "killed")
        finally:
            self.on_way -= 1
        return answer(batch)


def answer(batch, code=CREATED, first=0, refusal=None, attempts=1):
    count = 0 if refusal else batch.count
    return BatchResult(
        batch.batch_id, np.full(count, code, "<u2"), np.full(count, first, "<u2"), np.full(count, NOW, "<u8"),
        "synced", attempts, refusal,
    )  # fmt: skip


def test_the_same_plan_gives_the_same_bytes(world) -> None:
    """A figure can be measured again only if the load is the same; another seed gives another load."""
    first, second, other = batches(world), batches(world), batches(world, seed=2)
    assert [each.count for each in first] == [100, 100, 50]
    for left, right in zip(first, second, strict=True):
        assert (left.batch_id, left.heads.tobytes()) == (right.batch_id, right.heads.tobytes())
        assert left.signatures.tobytes() == right.signatures.tobytes()
    assert first[0].heads.tobytes() != other[0].heads.tobytes()


def test_records_are_within_the_plan(world) -> None:
    """Amounts, validity and accounts are those of the plan, ids are never reserved ones, nobody pays himself."""
    for batch in batches(world, amount_max=9, valid_for_s=30):
        fields = batch.fields
        assert fields["amount"][:, 1].max() == 0
        assert 1 <= fields["amount"][:, 0].min() <= fields["amount"][:, 0].max() <= 9
        assert (fields["expires_at"] == NOW + 30 * 10**9).all()
        assert (fields["debit_account"] != fields["credit_account"]).any(axis=1).all()
        assert fields["id"].any(axis=1).all()
        assert len(np.unique(fields["id"], axis=0)) == batch.count


def test_every_signature_is_its_accounts(world) -> None:
    """Both suites sign in one batch, and each record verifies under the key of the account that pays."""
    genesis, _, _, ring = world
    batch = batches(world)[2]
    transfers = [batch.transfer(row) for row in range(batch.count)]
    messages = sign_messages(genesis.hash_suite, genesis.hash, transfers)
    suites = set()
    for row, (transfer, (message, _)) in enumerate(zip(transfers, messages, strict=True)):
        info = ring[ring.index_of(transfer.key_id)]
        suites.add(info.suite)
        assert verify(info.suite, info.public_key, batch.signatures[row].tobytes(), message)
    assert len(suites) == 2


def test_hot_accounts_take_part_in_every_transfer(world) -> None:
    """The worst case of contention: the same few accounts are credited, save when one of them pays."""
    _, _, accounts, _ = world
    hot = {accounts.ids[row].tobytes() for row in range(3)}
    for batch in batches(world, hot_accounts=2):
        assert {row.tobytes() for row in batch.fields["credit_account"]} <= hot


def test_a_closed_loop_keeps_its_window(world) -> None:
    """No more batches than the window are on their way, and all are answered."""
    sent = batches(world, transfers=120, batch_size=10)

    async def work():
        client = FakeClient()
        outcome = await drive(client, sent, window=3)
        return client, outcome

    client, outcome = asyncio.run(work())
    assert client.on_way_max <= 3
    assert (outcome.sent, outcome.settled, dict(outcome.codes)) == (120, 120, {"created": 120})
    assert len(outcome.latencies_ns) == 12


def test_an_open_loop_does_not_wait_for_answers(world) -> None:
    """At a fixed rate all batches leave although none is answered, and each one's latency counts from when it was due."""
    sent = batches(world, transfers=120, batch_size=10)

    async def work():
        gate = asyncio.Event()
        client = FakeClient(gate=gate, expected=len(sent))
        driving = asyncio.create_task(drive(client, sent, window=1, rate_per_s=1_000_000))
        await client.all_on_way.wait()
        assert client.on_way_max == len(sent)
        gate.set()
        return await driving

    outcome = asyncio.run(work())
    assert outcome.settled == 120
    assert min(outcome.latencies_ns) > 0
    assert outcome.latency_ms(50) <= outcome.latency_ms(99.9)


def test_what_is_unanswered_is_sent_again_as_the_same_bytes(world, tmp_path) -> None:
    """A silent batch stops the load; it and those not yet sent are handed back, and one more drive settles them."""
    genesis = world[0]
    sent = batches(world, transfers=120, batch_size=10)
    client = FakeClient(silent=[sent[4].batch_id])
    path = tmp_path / "answers.csak"

    async def work():
        with AcknowledgementFile(path, genesis) as file:
            first = await drive(client, sent, window=2, acknowledgements=file, stop_at_failure=True)
            left = [*first.unanswered, *first.unsent]
            second = await drive(client, left, window=2, acknowledgements=file)
        return first, second

    first, second = asyncio.run(work())
    assert [batch.batch_id for batch in first.unanswered] == [sent[4].batch_id]
    assert isinstance(first.failure, Unreachable)
    assert first.settled + second.settled == 120
    assert second.unanswered == second.unsent == []
    assert client.seen.count(sent[4].batch_id) == 2
    assert sorted(each.batch_id for each in AcknowledgementFile.read(path)) == sorted(b.batch_id for b in sent)


def test_without_being_told_to_stop_a_load_goes_on(world) -> None:
    """One silent batch costs itself; the others are answered."""
    sent = batches(world, transfers=50, batch_size=10)
    outcome = asyncio.run(drive(FakeClient(silent=[sent[0].batch_id]), sent))
    assert outcome.settled == 40
    assert len(outcome.unanswered) == 1
    assert not outcome.unsent


def test_an_acknowledgement_file_gives_back_what_was_answered(world, tmp_path) -> None:
    """Digests are those that look-ups name, repeats carry the first decision, and a refused batch is none."""
    genesis = world[0]
    one, two, three = batches(world)
    path = tmp_path / "answers.csak"
    refusal = Refusal(240, "overloaded", None, "open", "wait", "Wait.")
    with AcknowledgementFile(path, genesis) as file:
        file.add(one, answer(one))
        file.add(two, answer(two, code=EXISTS, first=CREATED))
    with AcknowledgementFile(path, genesis) as file:
        file.add(three, answer(three, refusal=refusal))
    found = list(AcknowledgementFile.read(path))
    assert [each.batch_id for each in found] == [one.batch_id, two.batch_id]
    assert (found[1].codes == CREATED).all()
    assert (found[1].times == NOW).all()
    transfers = [one.transfer(row) for row in range(one.count)]
    digests = b"".join(digest for _, digest in sign_messages(genesis.hash_suite, genesis.hash, transfers))
    assert found[0].digests.tobytes() == digests == record_digests(genesis, one).tobytes()


@pytest.mark.parametrize("keep", [10, 30, 500])
def test_a_damaged_acknowledgement_file_is_refused(world, tmp_path, keep) -> None:
    """Bytes that are no acknowledgement are named with their place and never skipped."""
    batch = batches(world)[0]
    path = tmp_path / "answers.csak"
    entry = Acknowledgement(
        batch.batch_id, record_digests(world[0], batch), np.ones(100, dtype="<u2"), np.ones(100, dtype="<u8")
    )
    AcknowledgementFile.write(path, [entry])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="no acknowledgement at byte 0"):
        list(AcknowledgementFile.read(path))


def test_an_outcome_without_answers_has_no_rate() -> None:
    """Figures of nothing are zero and no error."""
    outcome = LoadOutcome()
    assert outcome.transfers_per_s == 0
    assert outcome.latency_ms(99) == 0.0


def test_the_command_settles_a_load_and_keeps_its_answers(tmp_path, capsys) -> None:
    """`clearspan load` registers what it needs, thrice in a row with keys of all suites, and says what came of every transfer."""
    out = tmp_path / "answers.csak"
    flags = [
        "--ledger",
        "CNY",
        "--transfers",
        "600",
        "--batch-size",
        "64",
        "--banks",
        "2",
        "--accounts",
        "16",
        "--json",
    ]
    with temporary_network(("CNY",)) as network, Cluster(network):
        place = ["--network", str(network.path)]
        first = run(["load", *flags, *place, "--out", str(out)])
        one = json.loads(capsys.readouterr().out)
        second = run(["load", *flags, *place, "--suite", "sm2", "--rate-per-s", "20000"])
        two = json.loads(capsys.readouterr().out)
        third = run(["load", *flags, *place, "--suite", "p256"])
        three = json.loads(capsys.readouterr().out)
    assert (first, second, third) == (0, 0, 0)
    for document in (one, two, three):
        assert document["settled"] == document["sent"] == 600
        assert set(document["codes"]) <= {"created", "created_in_transit"}
        assert document["unanswered"] == 0
        assert document["settled_p50_ms"] > 0
    assert sum(len(each.codes) for each in AcknowledgementFile.read(out)) == 600
