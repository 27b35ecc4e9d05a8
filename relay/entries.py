"""What the relay's state is made of: a shard's entry, block keys, penalties of leaders, parameters. Values only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.batch import raw
from engine.genesis import plain_key
from engine.run_decision import AnchoredHeader
from engine.types import NS_PER_S, ZERO_HASH
from native.errors import KeyRejected, UnknownSuite
from native.signatures import KeyRegistry, verify_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.header import Header

__all__ = ["RECENT_MAX", "BlockKey", "KeyBook", "Parameters", "Penalty", "ShardEntry"]

DRIFT_NS: Final = 5 * NS_PER_S
EPOCH_LENGTH: Final = 32
RECENT_MAX: Final = 16
"""Earlier anchored headers of a shard that a proof may lead to: a few seconds of seals."""
_HOLDING_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class BlockKey:
    """A key that signs the headers of a domain's shards; ``public_key`` fills 64 bytes."""

    key_id: int
    suite: int
    public_key: bytes


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """What the relay knows of one shard: its newest anchored header, how far it is verified, and whether it may go on.

    ``verified_height`` is a height of the shard; ``disputed_height`` 0 for none; ``key`` replaces the domain's keys
    after a resume; headers before ``epoch_min`` are refused. ``recent``: those anchored before the newest one since
    then, ascending, at most ``RECENT_MAX``.
    """

    header: Header | None = None
    hash: bytes = ZERO_HASH
    relay_height: int = 0
    verified_height: int = 0
    suspended: bool = False
    disputed_height: int = 0
    epoch_min: int = 1
    key: BlockKey | None = None
    recent: tuple[AnchoredHeader, ...] = ()

    @property
    def height(self) -> int:
        """Height of the newest anchored header, 0 for none."""
        return 0 if self.header is None else self.header.height

    def anchored(self) -> tuple[AnchoredHeader, ...]:
        """Return the anchored headers that a proof may lead to, the newest first."""
        newest = () if self.header is None else (AnchoredHeader.of(self.header),)
        return (*newest, *reversed(self.recent))

    def after(self, header: Header, relay_height: int) -> ShardEntry:
        """Return the entry once another header is anchored."""
        before = (
            () if self.header is None else (AnchoredHeader(self.header.height, self.hash, self.header.headers_root),)
        )
        kept = (*self.recent, *before)[-RECENT_MAX:]
        return replace(self, header=header, hash=header.hash, relay_height=relay_height, recent=kept)


@dataclass(frozen=True, slots=True)
class Penalty:
    """A leader that let its view pass at height ``since``: it leads last until ``until`` and until it has signed."""

    since: int
    until: int
    length: int
    signed: bool


@dataclass(frozen=True, slots=True)
class Parameters:
    """What governance may change; ``sequence`` counts those changes, so that none is played twice."""

    sequence: int = 0
    epoch_length: int = EPOCH_LENGTH
    drift_ns: int = DRIFT_NS


class KeyBook:
    """Block keys as they are met, each prepared once for the batch kernel; states of one chain share it."""

    def __init__(self) -> None:
        self._registry = KeyRegistry()
        self._indexes: dict[tuple[int, bytes], int] = {}
        self._holding: set[tuple[BlockKey, bytes, bytes]] = set()

    def usable(self, key: BlockKey) -> bool:
        """Say whether a key is one that its suite allows."""
        return self._index(key) != 0

    def holds(self, keys: Sequence[BlockKey], signatures: Sequence[bytes], messages: Sequence[bytes]) -> list[bool]:
        """Return for each signature whether it holds under its key; messages have one length."""
        names = list(zip(keys, signatures, messages, strict=True))
        fresh = [name for name in names if name not in self._holding]
        if fresh:
            verdicts = bytearray(len(fresh))
            indexes = np.array([self._index(key) for key, _, _ in fresh], dtype=np.uint32)
            signed, said = (b"".join(each) for each in zip(*((name[1], name[2]) for name in fresh), strict=True))
            verify_batch(self._registry, raw(indexes), signed, said, verdicts)
            self._remember([name for name, verdict in zip(fresh, verdicts, strict=True) if verdict])
            failed = {name for name, verdict in zip(fresh, verdicts, strict=True) if not verdict}
            return [name not in failed for name in names]
        return [True] * len(names)

    def _remember(self, names: Sequence[tuple[BlockKey, bytes, bytes]]) -> None:
        """Note what holds: a header's signature comes with its offer, in a proposal and with its block."""
        # Forgotten all at once: threads share the book, and a new set is as safe as the old one.
        known = self._holding if len(self._holding) < _HOLDING_MAX else set()
        known.update(names)
        self._holding = known

    def _index(self, key: BlockKey) -> int:
        name = key.suite, key.public_key
        if name not in self._indexes:
            plain = plain_key(key.suite, key.public_key)
            try:
                self._indexes[name] = 0 if plain is None else self._registry.register(key.suite, plain)
            except (KeyRejected, UnknownSuite):
                # Index 0 names no key: whatever it signed fails.
                return 0
        return self._indexes[name]
