"""The slot map: which shard an account lives on, and how a batch is split along it.

4,096 slots; the slot of an account is a documented digest of its id (spec BYTES-9), so every client and every
machine routes alike. A run is never split: it follows its first member.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.types import HEAD_BYTES, SLOT_COUNT, SLOT_MAP_VERSION, TransferKind
from native.ledger import slots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from engine.genesis import Genesis

__all__ = ["SlotMap"]

_DEBIT_OFFSET = 16
_CREDIT_OFFSET = 32
_FLAGS_OFFSET = 126
_KIND_MASK = 0x0F
_LINKED = 1 << 4


@dataclass(frozen=True, slots=True)
class SlotMap:
    """Owner of each slot: ``owners`` is 4096 x u32 shard ids; ``version`` is named in every block header."""

    version: int
    owners: NDArray[np.uint32]

    @classmethod
    def of(cls, genesis: Genesis, domain: int) -> SlotMap:
        """Return slot map version 1 of a domain (spec BYTES-9)."""
        shards = genesis.domain(domain).shard_ids()
        index = np.arange(SLOT_COUNT, dtype=np.int64) * len(shards) // SLOT_COUNT
        return cls(SLOT_MAP_VERSION, np.asarray(shards, dtype=np.uint32)[index])

    def shard_of(self, account_id: bytes) -> int:
        """Return the shard id of one account (16 bytes)."""
        out = np.empty(1, dtype=np.uint16)
        slots(account_id, 16, 0, out)
        return int(self.owners[out[0]])

    def shards_of(self, account_ids: bytes) -> NDArray[np.uint32]:
        """Return the shard id of each of n accounts (n x 16 bytes)."""
        out = np.empty(len(account_ids) // 16, dtype=np.uint16)
        slots(account_ids, 16, 0, out)
        return self.owners[out]

    def shards(self, heads: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Return the shard id of each of n records (``heads`` n x 128): its debit account's, or its run's."""
        owners = self._owners(heads, _DEBIT_OFFSET)
        linked = _linked(heads)
        return owners[_first_members(linked)] if linked.any() else owners

    def runs_over_shards(
        self, heads: NDArray[np.uint8], members_max: int
    ) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Yield (start, end, shards) of each closed run with accounts of more than one shard, of allowed length.

        ``shards``, ascending, are those that have a half of it (spec LEDGER-90).
        """
        linked = _linked(heads)
        if not linked.any():
            return
        payers, payees = self._owners(heads, _DEBIT_OFFSET), self._owners(heads, _CREDIT_OFFSET)
        first = _first_members(linked)
        elsewhere = (payers != payers[first]) | (payees != payers[first])
        plain = (heads[:, _FLAGS_OFFSET] & _KIND_MASK) == TransferKind.PLAIN
        for start in np.unique(first[elsewhere]).tolist():
            end = int(np.searchsorted(first, start, side="right"))
            if not 2 <= end - start <= members_max or linked[end - 1]:
                continue
            run = slice(start, end)
            touched = np.concatenate([payers[run], payees[run][plain[run]]])
            yield start, end, tuple(np.unique(touched).tolist())

    def _owners(self, heads: NDArray[np.uint8], offset: int) -> NDArray[np.uint32]:
        out = np.empty(len(heads), dtype=np.uint16)
        slots(heads, HEAD_BYTES, offset, out)
        return self.owners[out]


def _linked(heads: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((heads[:, _FLAGS_OFFSET] & _LINKED) != 0, dtype=np.bool_)


def _first_members(linked: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each record the first member of its run, or itself.

    A record belongs to the run of the one before it when that one is linked: so the run's first member is the last
    record before or at it whose predecessor is not linked.
    """
    starts = np.ones(len(linked), dtype=bool)
    starts[1:] = ~linked[:-1]
    return np.maximum.accumulate(np.where(starts, np.arange(len(linked)), 0))
