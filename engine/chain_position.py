"""Where a shard stands in its log and in its chain of blocks: numbers and hashes, and no state of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.invariants import invariant
from engine.types import ZERO_HASH
from native.hashing import Frontier, leaf_hash

if TYPE_CHECKING:
    from engine.log_record import LogRecord

__all__ = ["ChainPosition"]


class ChainPosition:
    """The last record applied, the block that is open and the headers before it.

    ``first_number`` is 0 while no record has come after the last seal.
    """

    __slots__ = (
        "_suite",
        "epoch",
        "first_hash",
        "first_number",
        "headers",
        "height",
        "number",
        "parent_hash",
        "record_hash",
        "shard",
        "time",
    )

    def __init__(self, hash_suite: int, shard: int, genesis_time: int) -> None:
        """Stand before the first record."""
        self._suite = hash_suite
        self.shard = shard
        self.number = 0
        self.record_hash = ZERO_HASH
        self.epoch = 0
        self.time = genesis_time
        self.first_number = 0
        self.first_hash = ZERO_HASH
        self.height = 0
        self.parent_hash = ZERO_HASH
        self.headers = Frontier(hash_suite)

    def advance(self, record: LogRecord) -> None:
        """Move on to the next record of the log, whose step was taken at its time; anything else is a broken log."""
        invariant(record.shard == self.shard, "record_of_this_shard", shard=self.shard, found=record.shard)
        invariant(
            record.number == self.number + 1, "log_has_no_gap", shard=self.shard, last=self.number, found=record.number
        )
        invariant(record.previous_hash == self.record_hash, "log_is_chained", shard=self.shard, number=record.number)
        invariant(record.epoch >= max(self.epoch, 1), "epoch_never_decreases", shard=self.shard, number=record.number)
        invariant(record.time == self.time, "record_has_the_time_of_its_step", shard=self.shard, number=record.number)
        self.number = record.number
        self.record_hash = record.hash
        self.epoch = record.epoch
        if self.first_number == 0:
            self.first_number = record.number
            self.first_hash = self.record_hash

    def headers_root(self) -> bytes:
        """Return the root over all earlier header hashes, heights ascending."""
        return self.headers.root()

    def close_block(self, header_hash: bytes) -> None:
        """End the open block under the hash of its header."""
        self.headers.append(leaf_hash(self._suite, header_hash))
        self.parent_hash = header_hash
        self.height += 1
        self.first_number = 0
        self.first_hash = ZERO_HASH
