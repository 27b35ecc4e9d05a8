"""What the relay's state is made of: a shard's entry, block keys, penalties of leaders, parameters. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.batch import raw
from engine.genesis import plain_key
from engine.types import NS_PER_S, ZERO_HASH
from native.errors import KeyRejected, UnknownSuite
from native.signatures import KeyRegistry, verify_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.header import Header

__all__ = ["BlockKey", "KeyBook", "Parameters", "Penalty", "ShardEntry"]

DRIFT_NS: Final = 5 * NS_PER_S
EPOCH_LENGTH: Final = 32


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
    after a resume; headers before ``epoch_min`` are refused.
    """

    header: Header | None = None
    hash: bytes = ZERO_HASH
    relay_height: int = 0
    verified_height: int = 0
    suspended: bool = False
    disputed_height: int = 0
    epoch_min: int = 1
    key: BlockKey | None = None

    @property
    def height(self) -> int:
        """Height of the newest anchored header, 0 for none."""
        return 0 if self.header is None else self.header.height


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

    def usable(self, key: BlockKey) -> bool:
        """Say whether a key is one that its suite allows."""
        return self._index(key) != 0

    def holds(self, keys: Sequence[BlockKey], signatures: Sequence[bytes], messages: Sequence[bytes]) -> list[bool]:
        """Return for each signature whether it holds under its key; messages have one length."""
        if not keys:
            return []
        verdicts = bytearray(len(keys))
        indexes = np.array([self._index(key) for key in keys], dtype=np.uint32)
        verify_batch(self._registry, raw(indexes), b"".join(signatures), b"".join(messages), verdicts)
        return [bool(verdict) for verdict in verdicts]

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
