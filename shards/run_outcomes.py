"""What became of runs over shards: committed by a relay block that the log holds, or aborted by one that came too late.

It promises what is durable. A commit is found by T_run in the index of relay blocks; an abort in the first sealed block
of the shard whose header has consumed the run's deadline. Neither needs the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from engine.block import Decision
from engine.header import SignedHeader
from engine.log import RecordKind
from engine.relay_block import RELAY_HEADER_BYTES, RelayHeader, decision_payloads
from engine.run_decision import RunDecisionRecord
from engine.types import DECISION_BYTES, HASH_BYTES
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from engine.chain import ChainBlock, ChainStore
    from engine.genesis import Genesis
    from engine.log import Log, LogRecord

__all__ = ["Outcome", "RunOutcomes", "committed_runs"]


class Outcome(NamedTuple):
    """How a member ended: ``committed`` or ``aborted``, when, and a log number in the block that holds its leaf."""

    code: ResultCode
    time: int
    number: int


def committed_runs(genesis: Genesis, relay_block: bytes) -> list[bytes]:
    """Return T_run of each run that a relay block commits, in its order."""
    return [
        RunDecisionRecord.decode(payload).run(genesis.hash_suite, genesis.hash)
        for payload in decision_payloads(relay_block)
    ]


class RunOutcomes:
    """Reads outcomes. ``places`` gives (shard, number, row) of what the index has under a 64-bit key."""

    def __init__(
        self,
        genesis: Genesis,
        log_of: Callable[[int], Log],
        chain: ChainStore,
        places: Callable[[int], Iterable[tuple[int, int, int]]],
    ) -> None:
        self._genesis = genesis
        self._log_of = log_of
        self._chain = chain
        self._places = places

    def outcome(self, shard: int, run: bytes, deadline: int, digest: bytes) -> Outcome | None:
        """Return how a prepared member of a run ended on a shard, None while that is not durable there."""
        for its_shard, number, row in self._places(int.from_bytes(run[:8], "little")):
            record = next(iter(self._log_of(shard).read(number)), None) if its_shard == shard else None
            if record is not None and self._commits(record, row, run, deadline):
                return Outcome(ResultCode.COMMITTED, record.time, number)
        block = self._first_past(shard, deadline)
        if block is None:
            return None
        header = SignedHeader.decode(block.signed_header).header
        leaves = block.decision_leaves
        for at in range(0, len(leaves), DECISION_BYTES):
            if leaves[at : at + HASH_BYTES] == digest:
                leaf = Decision.decode(leaves[at : at + DECISION_BYTES])
                if leaf.code == ResultCode.ABORTED:
                    return Outcome(ResultCode.ABORTED, leaf.time, header.last_number)
        return None

    def _commits(self, record: LogRecord, row: int, run: bytes, deadline: int) -> bool:
        if record.kind is not RecordKind.RELAY_BLOCK:
            return False
        body = bytes(record.body)
        if RelayHeader.decode(body[:RELAY_HEADER_BYTES]).time >= deadline:
            return False
        runs = committed_runs(self._genesis, body)
        return row < len(runs) and runs[row] == run

    def _first_past(self, shard: int, deadline: int) -> ChainBlock | None:
        """Return the first sealed block that has consumed a relay time, by bisection."""
        low, high = 1, self._chain.last(shard) or 0
        found = None
        while low <= high:
            height = (low + high) // 2
            block = self._chain.get(shard, height)
            # A chain may begin at a checkpoint: what is missing lies before it.
            if block is None or SignedHeader.decode(block.signed_header).header.relay_time < deadline:
                low = height + 1
            else:
                found, high = block, height - 1
        return found
