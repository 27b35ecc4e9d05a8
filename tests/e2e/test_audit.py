"""An audit agrees with what a node did, and names every difference that somebody makes afterwards."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal

import numpy as np
import pytest

from clearspan.audit import AuditFailed, audit
from clearspan.cluster import Cluster
from clearspan.errors import ConfigError
from engine.bodies import decode_batch_body, encode_batch_body
from engine.chain import ChainStore
from engine.codes import ResultCode
from engine.errors import DirectoryInUse, FormatMismatch
from engine.genesis import Genesis
from engine.lmdb_log import LmdbStore
from engine.log import LogRecord, RecordKind
from engine.types import ZERO_HASH
from tests.e2e.support import FUNDS, client_of, fund, payments, program, small_network

BATCHES, COUNT = 6, 96


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The network of a node that settled a few hundred transfers, refused some, and was stopped."""
    network = small_network(tmp_path_factory.mktemp("audit") / "network")
    with Cluster(network) as cluster:
        banks = fund(cluster)

        async def work() -> None:
            async with client_of(cluster, "clearing-house") as client:
                for _ in range(BATCHES):
                    assert (await client.submit(payments(network, *banks, COUNT))).settled.all()
                refused = await client.submit(payments(network, *banks, 3, amount=10 * FUNDS))
                assert not refused.settled.any()
                repeated = payments(network, *banks, 5)
                await client.submit(repeated)
                assert (await client.submit(repeated)).settled.all()

        asyncio.run(work())
        assert cluster.kill(1, signal.SIGTERM) == 0
    return network


@pytest.fixture
def copy(stopped, tmp_path):
    """A copy of the node's data directory, to be damaged."""
    target = tmp_path / "copy"
    shutil.copytree(stopped.node_folder(1) / "data", target)
    return target


def test_an_honest_log_has_no_difference(stopped, copy):
    """Counts, sums and roots of the report are what was done; a copy elsewhere gives the same."""
    seen: dict[int, int] = {}
    report = audit(copy, lambda shard, number, last: seen.__setitem__(shard, number))
    assert report.genesis_hash == stopped.genesis.hash
    assert report.domain == 1
    issued = 8 * FUNDS
    (ledger,) = report.ledgers
    assert (ledger.issued, ledger.supply, ledger.held, ledger.in_transit, ledger.pending) == (
        issued,
        issued,
        issued,
        0,
        0,
    )
    assert report.transfers == 16 + BATCHES * COUNT + 3 + 10
    codes = {
        name: sum(shard.codes.get(name, 0) for shard in report.shards) for name in ("insufficient_funds", "exists")
    }
    assert codes == {"insufficient_funds": 3, "exists": 5}
    assert sum(shard.settled for shard in report.shards) == 16 + BATCHES * COUNT + 5
    assert all(shard.checkpoint_height == shard.height and not shard.unsigned_blocks for shard in report.shards)
    assert seen == {shard.shard: shard.records for shard in report.shards}
    again = audit(stopped.node_folder(1) / "data", threads=1)
    assert [shard.state_root for shard in again.shards] == [shard.state_root for shard in report.shards]


def test_the_command_prints_a_report(stopped, clearspan):
    """--json is one document; without it a table; both exit 0."""
    told = clearspan("audit", "--network", stopped.path, "--json")
    assert told.code == 0
    (found,) = told.json["audits"]
    assert found["differences"] == 0
    assert found["ledgers"][0]["supply"]["text"] == "80,000.00 CNY"
    assert len(found["shards"][0]["state_root"]) == 64
    assert clearspan("audit", stopped.node_folder(1) / "data").code == 0


def test_a_running_node_is_not_audited(tmp_path, stopped):
    """The lock is the node's while it runs."""
    network = small_network(tmp_path / "network")
    with Cluster(network) as cluster:
        with pytest.raises(DirectoryInUse):
            audit(cluster.data(1))
        assert program("audit", str(cluster.data(1))).returncode == 2


def test_what_is_no_data_directory_is_refused_untouched(tmp_path, stopped, copy):
    """A folder without FORMAT, a genesis of another network, a directory without records: nothing is made there."""
    with pytest.raises(ConfigError, match="FORMAT"):
        audit(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    other = small_network(tmp_path / "other")
    with pytest.raises(FormatMismatch):
        audit(copy, genesis=other.genesis)


# Damage.


def audit_fails(copy, word: str) -> AuditFailed:
    with pytest.raises(AuditFailed, match=word) as caught:
        audit(copy)
    return caught.value


@pytest.mark.parametrize("part", ["log", "chain", "checkpoint"])
def test_a_flipped_byte_is_found(copy, stopped, part):
    """One bit of a stored record, header or state is another: the place is named, and the command exits with 4."""
    file = copy / part / "data.mdb"
    stored = _stored(copy, stopped.genesis, part)
    flipped = stored[:3] + bytes([stored[3] ^ 1]) + stored[4:]
    data = file.read_bytes()
    assert stored in data
    # Everywhere: LMDB lets go of pages without clearing them, and a copy that nobody reads proves nothing.
    file.write_bytes(data.replace(stored, flipped))
    error = audit_fails(copy, ".")
    assert error.exit_code == 4
    assert error.message
    done = program("audit", str(copy), "--json")
    assert done.returncode == 4
    assert json.loads(done.stderr)["error"]["code"] == "audit_failed"


def _stored(copy, genesis: Genesis, part: str) -> bytes:
    """Bytes of a large record, of a signed header, or of an account in a checkpoint."""
    if part == "checkpoint":
        return (1001 << 96 | 1).to_bytes(16, "little")
    if part == "chain":
        chain = ChainStore(copy / "chain", suite=genesis.hash_suite)
        block = chain.get(256, chain.last(256))
        chain.close()
        return block.signed_header[100:200]
    store = LmdbStore(copy / "log", suite=genesis.hash_suite, genesis_hash=genesis.hash)
    large = next(record for record in store.log(257).read(1) if record.body_bytes > 1 << 13)
    store.close()
    return bytes(memoryview(large.body)[4096:4160])


def rewrite(copy, genesis: Genesis, change) -> None:
    """Write the log anew with one batch body changed and the chain made good, as a forger with the disk would."""
    suite, hash_ = genesis.hash_suite, genesis.hash
    old = LmdbStore(copy / "log", suite=suite, genesis_hash=hash_)
    records = {shard: list(old.log(shard).read(1)) for shard in old.shards()}
    old.close()
    shutil.rmtree(copy / "log")
    (copy / "log").mkdir()
    store = LmdbStore(copy / "log", suite=suite, genesis_hash=hash_)
    for shard, kept in records.items():
        previous, epoch = ZERO_HASH, kept[-1].epoch
        made = []
        for record in change(shard, kept):
            forged = LogRecord.make(
                suite=suite, genesis_hash=hash_, shard=shard, epoch=record.epoch, number=record.number, time=record.time,
                kind=record.kind, previous_hash=previous, body=record.body,
            )  # fmt: skip
            previous = forged.hash
            made.append(forged)
        store.log(shard).append(made, 1, epoch)
    store.close()


def with_body(record: LogRecord, body: bytes) -> LogRecord:
    return LogRecord.make(
        suite=record.suite, genesis_hash=record.genesis_hash, shard=record.shard, epoch=record.epoch, number=record.number,
        time=record.time, kind=record.kind, previous_hash=record.previous_hash, body=body,
    )  # fmt: skip


def forged_batches(edit):
    """Change the first settled batch of the log of each shard."""

    def change(shard: int, records: list[LogRecord]) -> list[LogRecord]:
        place = next(
            i
            for i, record in enumerate(records)
            if record.kind is RecordKind.BATCH and decode_batch_body(record.body, 1).columns.count > 8
        )
        batch = decode_batch_body(records[place].body, 1)
        heads, codes = batch.columns.heads.copy(), batch.codes.copy()
        edit(heads, codes)
        columns = type(batch.columns)(
            1,
            batch.columns.batch_id,
            heads,
            batch.columns.signatures,
            batch.columns.binding_index,
            batch.columns.bindings,
        )
        body = encode_batch_body(columns, submitter=batch.submitter, codes=codes)
        return [*records[:place], with_body(records[place], body), *records[place + 1 :]]

    return change


def test_an_edited_amount_fails_its_signature(copy, stopped):
    """An amount that was edited, with every hash of the chain made good, is refused by the payer's signature."""

    def edit(heads: np.ndarray, codes: np.ndarray) -> None:
        heads[3, 48] += 1

    rewrite(copy, stopped.genesis, forged_batches(edit))
    error = audit_fails(copy, "code of row 3")
    assert error.number > 0
    assert error.shard in {256, 257}


def test_an_edited_answer_is_recomputed(copy, stopped):
    """A recorded answer that the state does not give is named with its record and row."""

    def edit(heads: np.ndarray, codes: np.ndarray) -> None:
        codes[5] = ResultCode.INSUFFICIENT_FUNDS

    rewrite(copy, stopped.genesis, forged_batches(edit))
    assert audit_fails(copy, "code of row 5").number > 0


def test_a_rewritten_history_is_not_what_was_signed(copy, stopped):
    """A record moved in time changes no answer and no chain, but the header that the operator signed is another."""

    def change(shard: int, records: list[LogRecord]) -> list[LogRecord]:
        seal = next(i for i, record in enumerate(records) if record.kind is RecordKind.SEAL and i)
        early = records[seal]
        moved = LogRecord.make(
            suite=early.suite, genesis_hash=early.genesis_hash, shard=shard, epoch=early.epoch, number=early.number,
            time=early.time + 1, kind=early.kind, previous_hash=early.previous_hash, body=b"",
        )  # fmt: skip
        return [*records[:seal], moved, *records[seal + 1 :]]

    rewrite(copy, stopped.genesis, change)
    assert audit_fails(copy, "not what the log makes").height > 0


def test_a_shortened_log_is_missed_by_its_headers(copy, stopped):
    """A log cut back to an older seal is whole in itself, and headers were signed past its end."""

    def change(shard: int, records: list[LogRecord]) -> list[LogRecord]:
        seals = [i for i, record in enumerate(records) if record.kind is RecordKind.SEAL]
        return records[: seals[len(seals) // 2] + 1]

    rewrite(copy, stopped.genesis, change)
    shutil.rmtree(copy / "checkpoint")
    (copy / "checkpoint").mkdir()
    assert audit_fails(copy, "was signed").height > 0


def test_a_header_that_was_never_kept_is_missed(copy, stopped):
    """A chain of headers with one taken out of its beginning is not complete."""
    genesis = stopped.genesis
    old = ChainStore(copy / "chain", suite=genesis.hash_suite)
    kept = {shard: list(old.range(shard, 2)) for shard in (256, 257)}
    old.close()
    shutil.rmtree(copy / "chain")
    (copy / "chain").mkdir()
    store = ChainStore(copy / "chain", suite=genesis.hash_suite)
    for blocks in kept.values():
        for block in blocks:
            store.append(block.shard, block.height, block.signed_header, block.decision_leaves)
    store.close()
    error = audit_fails(copy, "missing")
    assert error.height == 1
