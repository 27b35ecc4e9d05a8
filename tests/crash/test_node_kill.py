"""A whole node killed with SIGKILL at random moments under load keeps every promise it made.

What it acknowledged is there exactly once after the restart; what it did not answer may be sent again; every header is the
one that the model, replaying the raw log, derives; and at every seal no money was made or lost.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass, field

from clearspan.audit import audit
from clearspan.cluster import Cluster
from clearspan.errors import TimedOut, Unreachable
from engine.bodies import decode_batch_body
from engine.chain import ChainStore
from engine.codes import ResultCode
from engine.header import SignedHeader
from engine.lmdb_log import LmdbStore
from engine.log import RecordKind, encode_record
from engine.record import participant_of_account
from tests.e2e.support import FUNDS, Bank, client_of, fund, payments, small_network
from tests.model.accounts import CHANNEL
from tests.model.genesis import ModelGenesis
from tests.model.invariants import broken_invariants
from tests.model.replay import replay_record
from tests.model.shard import ModelShard

KILLS, KILLS_NIGHTLY = 5, 200
WORKERS = 2
BATCHES_MAX = 24
COUNT = 24
# From before the first commit of a cycle to after its last: some kills meet a node that is idle again.
DELAY_MAX_S = 0.25
# Some restarts are killed as well: while Python starts, while the log is checked, while it is executed again.
STARTS_KILLED = 0.4
START_MAX_S = 0.9
SETTLED = (ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT)
SHARDS = (256, 257)


@dataclass
class Book:
    """What the clients know: batches that were acknowledged, with their outcomes, and those that were not."""

    acknowledged: list = field(default_factory=list)
    unanswered: list = field(default_factory=list)


async def load(cluster: Cluster, banks: list[Bank], book: Book, delay_s: float) -> None:
    """Submit from several workers; kill the node after the delay; keep who was answered and who was not."""
    killed = asyncio.get_running_loop().create_future()

    def kill() -> None:
        cluster.kill(1, signal.SIGKILL)
        killed.set_result(None)

    async def worker(place: int) -> None:
        async with client_of(cluster, "clearing-house", deadline_s=0.4) as client:
            for _ in range(BATCHES_MAX):
                batch = payments(cluster.network, banks[place], banks[1 - place], COUNT)
                try:
                    book.acknowledged.append((batch, await client.submit(batch)))
                except (Unreachable, TimedOut):
                    book.unanswered.append(batch)
                    return
        await killed

    asyncio.get_running_loop().call_later(delay_s, kill)
    await asyncio.gather(*(worker(place) for place in range(WORKERS)))
    await killed


def kill_a_start(cluster: Cluster, delay_s: float) -> None:
    """Begin a start and kill it after the delay, wherever it is by then."""
    process, _ = cluster.nodes._children._spawn(1)
    try:
        process.wait(timeout=delay_s)
    except subprocess.TimeoutExpired:
        process.kill()
    process.wait()
    process.stdout.close()


async def send_again(cluster: Cluster, book: Book) -> None:
    """Send the very same bytes of what was not answered: each is decided now, or was and is answered again."""
    async with client_of(cluster, "clearing-house") as client:
        for batch in book.unanswered:
            book.acknowledged.append((batch, await client.submit(batch)))
    book.unanswered.clear()


class Replayed:
    """The model's view of the logs, moved on while the node is down."""

    def __init__(self, cluster: Cluster) -> None:
        genesis = cluster.network.genesis
        self._genesis = genesis
        self._path = cluster.data(1)
        self.models = {shard: ModelShard(ModelGenesis.from_document(genesis.document, 1), shard) for shard in SHARDS}
        self.headers: dict[int, list[bytes]] = {shard: [] for shard in SHARDS}
        self.moving: dict[int, dict[int, int]] = {shard: {} for shard in SHARDS}
        self.decided: Counter[bytes] = Counter()

    def catch_up(self) -> None:
        """Replay what the logs hold beyond what was replayed before; a gap or another chain would raise."""
        store = LmdbStore(self._path / "log", suite=self._genesis.hash_suite, genesis_hash=self._genesis.hash)
        for shard, model in self.models.items():
            for record in store.log(shard).read(model.number + 1):
                header = replay_record(model, encode_record(record))
                if record.kind is RecordKind.BATCH:
                    self._note(record.body)
                if header is not None:
                    self.headers[shard].append(header)
                    self._check_seal(model)
        store.close()

    def _note(self, body: bytes) -> None:
        batch = decode_batch_body(body, 1)
        for head, code in zip(batch.columns.heads, batch.codes, strict=True):
            if code in SETTLED:
                self.decided[head[:32].tobytes()] += 1

    def _check_seal(self, model: ModelShard) -> None:
        """On one shard debits equal credits; what the channels hold is kept for the sum over both shards."""
        assert broken_invariants(model.state) == []
        channels = [account for account in model.state.accounts.values() if account.flags & CHANNEL]
        self.moving[model.shard][model.height] = sum(a.credits_posted - a.debits_posted for a in channels)

    def check_conserved(self) -> None:
        """Shards of a node seal in one round, in which all credits arrive: nothing is in transit at any height."""
        one, other = (self.moving[shard] for shard in SHARDS)
        assert one.keys() == other.keys()
        for height, amount in one.items():
            assert amount + other[height] == 0, f"height {height}: {amount} and {other[height]} in the channels"

    def check_headers(self) -> None:
        """Every header that was signed, across all lives of the node, is the one the model derives."""
        chain = ChainStore(self._path / "chain", suite=self._genesis.hash_suite)
        for shard in SHARDS:
            kept = [SignedHeader.decode(block.signed_header).header for block in chain.range(shard, 1)]
            assert [header.encode() for header in kept] == self.headers[shard]
            assert kept[-1].state_root == self.models[shard].state_root()
        chain.close()

    def balance(self, account: int) -> int:
        model = next(model for model in self.models.values() if account in model.state.accounts)
        found = model.state.accounts[account]
        return found.credits_posted - found.debits_posted


def test_a_killed_node_keeps_what_it_acknowledged(tmp_path, nightly):
    """Kill, restart, send again what was unanswered, many times over; then hold everything against the model."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    network = small_network(tmp_path / "network")
    book = Book()
    with Cluster(network) as cluster:
        banks = fund(cluster)
        replayed = Replayed(cluster)
        for _ in range(KILLS_NIGHTLY if nightly else KILLS):
            asyncio.run(load(cluster, banks, book, chance.uniform(0, DELAY_MAX_S)))
            replayed.catch_up()
            if chance.random() < STARTS_KILLED:
                kill_a_start(cluster, chance.uniform(0, START_MAX_S))
                replayed.catch_up()
            cluster.restart(1)
            asyncio.run(send_again(cluster, book))
        assert cluster.kill(1, signal.SIGTERM) == 0
        replayed.catch_up()

    expected: Counter[int] = Counter({account: FUNDS for bank in banks for account in bank.accounts})
    print(
        f"{len(book.acknowledged)} batches acknowledged, {replayed.models[256].number} and {replayed.models[257].number} records"
    )
    assert book.acknowledged, "the load was answered at all"
    for batch, result in book.acknowledged:
        assert result.settled.all()
        for row in range(batch.count):
            assert replayed.decided[batch.heads[row, :32].tobytes()] == 1, "present exactly once"
            transfer = batch.transfer(row)
            expected[transfer.debit_account] -= transfer.amount
            expected[transfer.credit_account] += transfer.amount
    issued = [key for key in replayed.decided if participant_of_account(int.from_bytes(key[16:], "little")) == 13]
    assert len(replayed.decided) == COUNT * len(book.acknowledged) + len(issued), "nothing that nobody sent"
    assert {account: replayed.balance(account) for account in expected} == dict(expected)
    replayed.check_conserved()
    replayed.check_headers()
    report = audit(network.node_folder(1) / "data")
    assert {shard.shard: shard.state_root for shard in report.shards} == {
        shard: model.state_root() for shard, model in replayed.models.items()
    }
