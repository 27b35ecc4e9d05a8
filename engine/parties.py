"""Participants and keys of a domain, in order of registration: the subtrees ``keys`` and ``participants`` of the state.

Key ids are the indexes of the native registry that verifies with them, so a record's key id needs no translation.
Keys are never removed: one that is retired is not in force any more, and signatures made before stay verifiable.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from engine.genesis import padded_key, plain_key, suite_supported
from engine.refusals import EncodingError
from engine.types import U32_MAX, Role
from native.codes import ResultCode
from native.errors import KeyRejected
from native.hashing import MerkleTree, leaf_hash
from native.signatures import KeyRegistry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.genesis import GenesisKey

__all__ = ["KEY_LEAF", "PARTICIPANT_LEAF", "Key", "Participant", "Parties"]

KEY_LEAF: Final = struct.Struct("<IIHHIQ64s")
PARTICIPANT_LEAF: Final = struct.Struct("<IIQQQQ16s")
assert KEY_LEAF.size == 88
assert PARTICIPANT_LEAF.size == 56


@dataclass(frozen=True, slots=True)
class Key:
    """One registered key; ``public_key`` fills 64 bytes, ``retired_at`` 0 means in force."""

    id: int
    participant: int
    role: int
    suite: int
    lineage: int
    retired_at: int
    public_key: bytes

    def in_force(self, now: int) -> bool:
        """Say whether it may decide anything at ``now`` ns."""
        return self.retired_at == 0 or now < self.retired_at

    def encode(self) -> bytes:
        """Return the 88 bytes of its leaf."""
        return KEY_LEAF.pack(
            self.id, self.participant, self.role, self.suite, self.lineage, self.retired_at, self.public_key
        )

    @classmethod
    def decode(cls, data: bytes) -> Key:
        """Read a leaf."""
        identity, participant, role, suite, lineage, retired_at, public_key = KEY_LEAF.unpack(data)
        return cls(identity, participant, role, suite, lineage, retired_at, public_key)


@dataclass(frozen=True, slots=True)
class Participant:
    """One institution: what it may hold, and how much of it it holds on this shard."""

    number: int
    roles: int
    accounts_max: int
    keys_max: int
    accounts: int
    keys: int
    name: bytes

    def encode(self) -> bytes:
        """Return the 56 bytes of its leaf."""
        return PARTICIPANT_LEAF.pack(
            self.number, self.roles, self.accounts_max, self.keys_max, self.accounts, self.keys, self.name
        )

    @classmethod
    def decode(cls, data: bytes) -> Participant:
        """Read a leaf."""
        return cls(*PARTICIPANT_LEAF.unpack(data))

    def may_hold(self, role: int) -> bool:
        """Say whether its role bits allow keys of a role; registrar and account keys need no bit (ADMIN-7)."""
        return role in (Role.REGISTRAR, Role.ACCOUNT) or bool(self.roles >> role & 1)


class Parties:
    """All participants and keys; every change updates its tree at once."""

    __slots__ = ("_key_tree", "_keys", "_known", "_participant_tree", "_participants", "_rows", "_suite", "registry")

    def __init__(self, hash_suite: int) -> None:
        """Start with nobody."""
        self._suite = hash_suite
        self.registry = KeyRegistry()
        self._keys: list[Key] = []
        self._known: dict[tuple[int, bytes], int] = {}
        self._rows: dict[int, int] = {}
        self._participants: list[Participant] = []
        self._key_tree = MerkleTree(hash_suite)
        self._participant_tree = MerkleTree(hash_suite)

    def keys_root(self) -> bytes:
        """Return the root of the subtree ``keys``."""
        return self._key_tree.root()

    def participants_root(self) -> bytes:
        """Return the root of the subtree ``participants``."""
        return self._participant_tree.root()

    @property
    def keys(self) -> tuple[Key, ...]:
        """All keys, in order of their ids."""
        return tuple(self._keys)

    @property
    def participants(self) -> tuple[Participant, ...]:
        """All participants, in order of registration."""
        return tuple(self._participants)

    def key(self, key_id: int) -> Key | None:
        """Return a key by its id."""
        return self._keys[key_id - 1] if 0 < key_id <= len(self._keys) else None

    def key_id_of(self, suite: int, public_key: bytes) -> int:
        """Return the id of a public key (64 bytes), 0 when it is not registered."""
        return self._known.get((suite, public_key), 0)

    def participant(self, number: int) -> Participant | None:
        """Return a participant by its number."""
        row = self._rows.get(number)
        return None if row is None else self._participants[row]

    def add_genesis_keys(self, keys: Iterable[GenesisKey]) -> None:
        """Register the keys of a genesis and the participants they name (BYTES-8, ADMIN-7); raises KeyRejected."""
        for key in keys:
            holder = self.participant(key.participant)
            if holder is None:
                holder = Participant(key.participant, 0, U32_MAX, U32_MAX, 0, 0, bytes(16))
                self.add_participant(holder)
            self.set_participant(replace(holder, roles=holder.roles | 1 << key.role))
            self.add_key(key.participant, key.role, key.suite, padded_key(key.public_key))

    def refusal_of_key(self, suite: int, public_key: bytes) -> ResultCode | None:
        """Return why a public key (64 bytes) cannot be registered: its suite, its point, or that it already is."""
        if not suite_supported(suite):
            return ResultCode.SUITE_UNSUPPORTED
        if (suite, public_key) in self._known:
            return ResultCode.KEY_EXISTS
        plain = plain_key(suite, public_key)
        if plain is None:
            return ResultCode.KEY_REJECTED
        try:
            # A registry of its own: in the real one a key that the quota then refuses would take an id.
            KeyRegistry().register(suite, plain)
        except KeyRejected:
            return ResultCode.KEY_REJECTED
        return None

    def add_participant(self, participant: Participant) -> None:
        """Register a participant whose number is free."""
        self._rows[participant.number] = len(self._participants)
        self._participants.append(participant)
        self._participant_tree.append(leaf_hash(self._suite, participant.encode()))

    def set_participant(self, participant: Participant) -> None:
        """Replace a participant that is registered."""
        row = self._rows[participant.number]
        self._participants[row] = participant
        self._participant_tree.set(row, leaf_hash(self._suite, participant.encode()))

    def add_key(self, participant: int, role: int, suite: int, public_key: bytes, lineage: int = 0) -> Key:
        """Register the next key of a participant and count it; lineage 0 begins a new one. Raises KeyRejected."""
        key_id = self.registry.register(suite, plain_key(suite, public_key) or b"")
        key = Key(key_id, participant, role, suite, lineage or key_id, 0, public_key)
        self._append_key(key)
        holder = self._participants[self._rows[participant]]
        self.set_participant(replace(holder, keys=holder.keys + 1))
        return key

    def retire_key(self, key_id: int, now: int) -> Key:
        """Take a key out of force from ``now`` on."""
        key = replace(self._keys[key_id - 1], retired_at=now)
        self._keys[key_id - 1] = key
        self._key_tree.set(key_id - 1, leaf_hash(self._suite, key.encode()))
        return key

    def restore(self, keys: Iterable[Key], participants: Iterable[Participant]) -> None:
        """Fill an empty object from leaves in their order; raises EncodingError or NativeError."""
        for participant in participants:
            if participant.number in self._rows:
                raise EncodingError("participant", participant.number, "every number once")
            self.add_participant(participant)
        for key in keys:
            if key.id != len(self._keys) + 1 or key.participant not in self._rows or not 0 < key.lineage <= key.id:
                raise EncodingError("key", (key.id, key.participant, key.lineage), f"key id {len(self._keys) + 1}")
            self.registry.register(key.suite, plain_key(key.suite, key.public_key) or b"")
            self._append_key(key)

    def _append_key(self, key: Key) -> None:
        self._known[key.suite, key.public_key] = key.id
        self._keys.append(key)
        self._key_tree.append(leaf_hash(self._suite, key.encode()))
