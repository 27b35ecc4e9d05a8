"""Keys and participants in order of registration (spec 03 `Keys`, spec 06)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.model.record import u128

if TYPE_CHECKING:
    from tests.model.genesis import ModelGenesis

__all__ = ["Key", "Participant", "Registry"]

_UNBOUNDED = 2**32 - 1


@dataclass(slots=True)
class Key:
    """A registered key; `retired_at` 0 means in force."""

    id: int
    participant: int
    role: int
    suite: int
    lineage: int
    public_key: bytes
    retired_at: int = 0

    def in_force(self, now: int) -> bool:
        return self.retired_at == 0 or now < self.retired_at

    def leaf(self) -> bytes:
        head = (self.id, self.participant, self.role, self.suite, self.lineage, self.retired_at)
        return struct.pack("<IIHHIQ", *head) + self.public_key


@dataclass(slots=True)
class Participant:
    """An institution; `accounts` counts those opened on this shard, `keys` all that were ever registered."""

    number: int
    roles: int
    accounts_max: int
    keys_max: int
    name: int
    accounts: int = 0
    keys: int = 0

    def leaf(self) -> bytes:
        bounds = (self.accounts_max, self.keys_max, self.accounts, self.keys)
        return struct.pack("<II4Q", self.number, self.roles, *bounds) + u128(self.name)


class Registry:
    """Keys by id (1, 2, …) and participants by number."""

    def __init__(self, genesis: ModelGenesis) -> None:
        self.keys: dict[int, Key] = {}
        self.participants: dict[int, Participant] = {}
        for each in genesis.keys:
            if each.participant not in self.participants:
                self.add_participant(Participant(each.participant, 0, _UNBOUNDED, _UNBOUNDED, 0))
            self.participants[each.participant].roles |= 1 << each.role
            self.add_key(each.participant, each.role, each.suite, each.public_key)

    def add_participant(self, participant: Participant) -> None:
        self.participants[participant.number] = participant

    def add_key(self, participant: int, role: int, suite: int, public_key: bytes, lineage: int = 0) -> int:
        """Register the next key; lineage 0 begins a new one."""
        id_ = len(self.keys) + 1
        self.keys[id_] = Key(id_, participant, role, suite, lineage or id_, public_key)
        self.participants[participant].keys += 1
        return id_

    def has_public_key(self, public_key: bytes) -> bool:
        return any(each.public_key == public_key for each in self.keys.values())
