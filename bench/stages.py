"""The node's own work on a batch, step by step, with the very batches of the load: what each step costs alone.

One domain core in this process with its log in a folder, no network and no second thread: split, verify, apply and
deliver, encode, commit. The sum is what one core would need for a transfer inside the node.
"""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from engine.lmdb_log import LmdbStore
from engine.machine import ShardMachine
from engine.replay import replay
from shards.domain import DomainCore
from shards.slots import SlotMap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from engine.batch import BatchColumns
    from engine.genesis import Genesis
    from engine.log_record import LogRecord

__all__ = ["STAGES", "measure_stages"]

STAGES = ("split", "verify", "apply", "commit")
_LOG_BYTES_MAX = 1 << 36


def measure_stages(  # noqa: PLR0917 - what to settle again, from where, and into what
    genesis: Genesis, domain: int, log: Path, filled: Mapping[int, int], batches: Sequence[BatchColumns], work: Path
) -> dict[str, int]:
    """Return nanoseconds a transfer for each step: CPU time of one thread, and for the commit time by the clock.

    ``log`` is that of a stopped node; ``filled`` says up to which record of each shard it only made accounts and money.
    From there the batches, which must be valid still, are settled anew, into a log in the folder ``work``.
    """
    suite, hash_ = genesis.hash_suite, genesis.hash
    machines = {shard: ShardMachine(genesis, shard) for shard in genesis.domain(domain).shard_ids()}
    store = LmdbStore(work, _LOG_BYTES_MAX, suite=suite, genesis_hash=hash_)
    epoch = 1
    source = LmdbStore(log, _LOG_BYTES_MAX, suite=suite, genesis_hash=hash_)
    for shard, machine in machines.items():
        records = list(takewhile(partial(_is_up_to, filled[shard]), source.log(shard).read(1)))
        replay(machine, records)
        epoch = max(epoch, records[-1].epoch)
        store.append_many({shard: (records, 1)}, epoch)
    source.close()
    core = DomainCore(genesis, machines, SlotMap.of(genesis, domain), epoch)
    spent: Counter[str] = Counter()
    try:
        for batch in batches:
            at = time.thread_time_ns()
            job = core.split(batch, submitter=1)
            at = _note(spent, "split", at)
            for part in job.parts:
                core.verify(part)
            at = _note(spent, "verify", at)
            round_ = core.run([job], time.time_ns(), seal=False)
            _note(spent, "apply", at)
            at = time.perf_counter_ns()
            store.append_many({shard: (made, made[0].number) for shard, made in round_.records.items()}, epoch)
            # The disk is waited for, so a commit counts by the clock.
            spent["commit"] += time.perf_counter_ns() - at
    finally:
        store.close()
    count = sum(batch.count for batch in batches)
    return {stage: spent[stage] // count for stage in STAGES}


def _is_up_to(number: int, record: LogRecord) -> bool:
    return record.number <= number


def _note(spent: Counter[str], stage: str, began: int) -> int:
    now = time.thread_time_ns()
    spent[stage] += now - began
    return now
