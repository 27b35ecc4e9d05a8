"""The relay's state while a block is taken: a working copy on which its records act one after another.

It promises that the state it began from is never touched. Rules read and change it; ``RelayState`` makes it and takes
what came out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from engine.genesis import padded_key
from engine.types import Role
from relay.entries import BlockKey, KeyBook, Parameters, Penalty, ShardEntry
from relay.errors import BlockRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.genesis import Genesis, GenesisDomain
    from engine.governance import Corridor, SlotMap
    from engine.header import SignedHeader
    from engine.validators import ValidatorSet
    from relay.reveals import RevealTable

__all__ = ["SETS_KEPT", "Draft", "genesis_block_keys", "set_of"]

SETS_KEPT: Final = 16
"""Older sets are forgotten: evidence about their heights comes too late for the chain, not for a court."""


def genesis_block_keys(domain: GenesisDomain) -> tuple[BlockKey, ...]:
    """Return the block keys that a domain begins with; their ids are their places in the genesis, from 1."""
    return tuple(
        BlockKey(key_id, key.suite, padded_key(key.public_key))
        for key_id, key in enumerate(domain.keys, start=1)
        if key.role == Role.BLOCK
    )


def set_of(sets: Sequence[ValidatorSet], height: int) -> ValidatorSet:
    """Return the set that decides a height; raises BlockRefused for one older than those that are kept."""
    for validators in reversed(sets):
        if validators.first_height <= height:
            return validators
    raise BlockRefused("set_forgotten", f"height {height} is before set {sets[0].set_id}")


@dataclass(slots=True)
class Draft:
    """Fields as those of ``RelayState``; ``height`` and ``time`` are those of the block that is taken.

    ``reveals`` is the state's own table and is not changed; ``revealed`` is what the block adds to it.
    """

    genesis: Genesis
    suite: int
    height: int
    time: int
    parent_height: int
    parent_time: int
    sets: tuple[ValidatorSet, ...]
    shards: dict[int, ShardEntry]
    block_keys: dict[int, tuple[BlockKey, ...]]
    key_sequences: dict[int, int]
    reveals: RevealTable
    decisions: dict[bytes, int]
    penalties: dict[bytes, Penalty]
    parameters: Parameters
    slot_maps: dict[int, SlotMap]
    corridors: dict[bytes, Corridor]
    noted: dict[bytes, int]
    keys: KeyBook
    anchored: tuple[tuple[int, int], ...] = ()
    revealed: dict[bytes, int] = field(default_factory=dict)

    @property
    def validators(self) -> ValidatorSet:
        """The set that decides the block that is taken."""
        return set_of(self.sets, self.height)

    def set_by_id(self, set_id: int) -> ValidatorSet | None:
        """Return a set by its id, the pending one included; None when it is not kept."""
        return next((each for each in self.sets if each.set_id == set_id), None)

    def entry(self, shard: int) -> ShardEntry | None:
        """Return a shard's entry, None when the genesis has no such shard."""
        return self.shards.get(shard)

    def keys_of(self, shard: int) -> tuple[BlockKey, ...]:
        """Return the keys that may sign headers of a shard now."""
        entry = self.shards[shard]
        return self.block_keys[shard >> 8] if entry.key is None else (entry.key,)

    def anchor(self, headers: Sequence[SignedHeader]) -> None:
        """Let headers be the newest anchored ones of their shards."""
        for signed in headers:
            header = signed.header
            self.shards[header.shard] = self.shards[header.shard].after(header, self.height)
        self.anchored = tuple((each.header.shard, each.header.height) for each in headers)

    def verify(self, shard: int, height: int) -> None:
        """Let a height of a shard, and all before it, be verified; a dispute about one of them is over."""
        entry = self.shards[shard]
        self.shards[shard] = replace(
            entry,
            verified_height=max(entry.verified_height, height),
            disputed_height=0 if entry.disputed_height <= height else entry.disputed_height,
        )
