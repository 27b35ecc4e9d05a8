"""Locks and claims beside plain transfers on one core: the node's own work on each, with its log on the disk.

One domain core in this process, as in ``bench.stages``: signed records are split, verified, applied and committed; a
relay block that reveals their preimages claims the locks. A leg is a lock and its claim.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from clearspan.signer import Signer
from engine.invariants import invariant
from engine.lmdb_log import LmdbStore
from engine.machine import ShardMachine
from engine.record import ordinary_account_id
from engine.relay_block import RelayBlock, reveal_record
from engine.replay import replay
from engine.types import NS_PER_S, Role, TransferKind
from native.codes import ResultCode
from native.hashing import digest
from shards.domain import BatchReply, DomainCore, RelayJob
from shards.slots import SlotMap

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.network import Network
    from engine.batch import BatchColumns
    from engine.record import Transfer

__all__ = ["measure_htlc"]

_LOG_BYTES_MAX: Final = 1 << 34
_BATCH: Final = 2_048
_DOMAIN: Final = 1
_LEDGER: Final = 156
_GOOD: Final = frozenset({int(ResultCode.CREATED), int(ResultCode.CREATED_IN_TRANSIT)})


def measure_htlc(  # noqa: PLR0917 - what to go on from, who pays whom, how often, and into what
    network: Network, log: Path, payer: int, payee: int, count: int, work: Path
) -> dict[str, Any]:
    """Return plain transfers, locks, claims and whole legs a second, and legs as a share of plain transfers.

    ``log`` is that of a stopped node of the first domain, on which both participants have accounts.
    """
    genesis = network.genesis
    suite, hash_ = genesis.hash_suite, genesis.hash
    machines = {shard: ShardMachine(genesis, shard) for shard in genesis.domain(_DOMAIN).shard_ids()}
    source = LmdbStore(log, _LOG_BYTES_MAX, suite=suite, genesis_hash=hash_)
    store = LmdbStore(work, _LOG_BYTES_MAX, suite=suite, genesis_hash=hash_)
    epoch = 1
    try:
        for shard, machine in machines.items():
            records = list(source.log(shard).read(1))
            replay(machine, records)
            epoch = max(epoch, records[-1].epoch)
            for start, end in pairwise([*range(0, len(records), 256), len(records)]):
                store.append_many({shard: (records[start:end], records[start].number)}, epoch)
        core = DomainCore(genesis, machines, SlotMap.of(genesis, _DOMAIN), epoch)
        ring = network.load_keys(_DOMAIN, payer)
        key_id = max(int(info.key_id) for info in ring if info.role == Role.ACCOUNT)
        plain = _plain(Signer(genesis, ring), payer, payee, key_id, count)
        preimages = [number.to_bytes(32, "little") for number in range(1, count + 1)]
        locks = [_lock(each, preimage, suite) for each, preimage in zip(plain, preimages, strict=True)]
        signer = Signer(genesis, ring)
        took = {}
        for name, transfers in (("plain", plain), ("locks", locks)):
            batches = [signer.sign(_DOMAIN, transfers[at : at + _BATCH]) for at in range(0, count, _BATCH)]
            took[name] = _settle(core, store, batches, epoch)
        took["claims"] = _claim(core, store, machines, preimages, epoch)
        totals = [machine.totals(_LEDGER) for machine in machines.values()]
    finally:
        source.close()
        store.close()
    rates = {name: count * NS_PER_S // max(1, spent) for name, spent in took.items()}
    legs = count * NS_PER_S // max(1, took["locks"] + took["claims"])
    return {
        "htlc_legs_per_s": legs,
        "htlc_legs_to_plain": round(legs / max(1, rates["plain"]), 3),
        "htlc_locks_to_plain": round(rates["locks"] / max(1, rates["plain"]), 3),
        "htlc_claims_to_plain": round(rates["claims"] / max(1, rates["plain"]), 3),
        "plain_per_s": rates["plain"],
        "locks_per_s": rates["locks"],
        "claims_per_s": rates["claims"],
        "outcome_hash": hashlib.sha256(repr([pending for pending, _ in totals]).encode()).hexdigest(),
    }


def _plain(signer: Signer, payer: int, payee: int, key_id: int, count: int) -> list[Transfer]:
    one = signer.transfer(
        debit_account=ordinary_account_id(payer, 1),
        credit_account=ordinary_account_id(payee, 1),
        amount=1,
        ledger=_LEDGER,
        key_id=key_id,
        transfer_id=1 << 64,
    )
    return [replace(one, id=one.id + number) for number in range(count)]


def _lock(plain: Transfer, preimage: bytes, suite: int) -> Transfer:
    return replace(
        plain,
        id=plain.id + (1 << 65),
        until=plain.expires_at + 600 * NS_PER_S,
        flags=int(TransferKind.LOCK),
        binding=digest(1, preimage) if suite else b"",
    )


def _settle(core: DomainCore, store: LmdbStore, batches: list[BatchColumns], epoch: int) -> int:
    """Return the ns that batches took: CPU time of one thread, and the disk by the clock."""
    spent = 0
    for batch in batches:
        at = time.thread_time_ns()
        job = core.split(batch, submitter=1)
        for part in job.parts:
            core.verify(part)
        round_ = core.run([job], time.time_ns(), seal=False)
        spent += time.thread_time_ns() - at
        at = time.perf_counter_ns()
        store.append_many({shard: (made, made[0].number) for shard, made in round_.records.items()}, epoch)
        spent += time.perf_counter_ns() - at
        for answer in round_.replies:
            assert isinstance(answer, BatchReply)
            invariant(set(answer.codes.tolist()) <= _GOOD, "bench_settles_all", codes=answer.codes.tolist())
    return spent


def _claim(
    core: DomainCore,
    store: LmdbStore,
    machines: dict[int, ShardMachine],
    preimages: list[bytes],
    epoch: int,
) -> int:
    """Return the ns that relay blocks took which reveal all preimages."""
    spent = 0
    genesis = core.genesis
    for start in range(0, len(preimages), _BATCH):
        ledger = next(iter(machines.values())).ledger
        block = RelayBlock.build(
            genesis.hash_suite,
            genesis_hash=genesis.hash,
            height=ledger.relay_height + 1,
            view=0,
            time=max(ledger.relay_time + 1, time.time_ns()),
            parent_hash=bytes(32),
            set_id=1,
            records=[reveal_record(each) for each in preimages[start : start + _BATCH]],
        )
        at = time.thread_time_ns()
        round_ = core.run([RelayJob((block,))], time.time_ns(), seal=False)
        spent += time.thread_time_ns() - at
        at = time.perf_counter_ns()
        store.append_many({shard: (made, made[0].number) for shard, made in round_.records.items()}, epoch)
        spent += time.perf_counter_ns() - at
    return spent
