"""What a shard knows before its first log record: ledgers, keys, limits and where accounts live (BYTES-6 to BYTES-9)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.model.hashes import hasher

__all__ = ["SECOND_NS", "LedgerTerms", "Limits", "ModelGenesis", "PublicKey", "slot_of"]

SECOND_NS = 1_000_000_000
_M64 = 2**64 - 1


@dataclass(frozen=True, slots=True)
class LedgerTerms:
    """One ledger of the domain; nothing here ever changes."""

    ledger: int
    currency: str
    scale: int
    issuer: int
    amount_max: int
    window_s: int
    lock_min_s: int


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key the genesis registers: it becomes the next key id."""

    participant: int
    role: int
    suite: int
    public_key: bytes  # 64, zero padded


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one shard."""

    ids_max: int
    pendings_max: int
    accounts_max: int
    expire_per_batch_max: int
    bucket_ns: int
    run_members_max: int


def slot_of(account: int) -> int:
    """The slot 0..4095 of an account id (BYTES-9)."""
    low, high = account & _M64, account >> 64
    x = low ^ (high * 0x9E3779B97F4A7C15 & _M64)
    x ^= x >> 33
    x = x * 0xFF51AFD7ED558CCD & _M64
    x ^= x >> 33
    x = x * 0xC4CEB9FE1A85EC53 & _M64
    x ^= x >> 33
    return x >> 52


@dataclass(frozen=True, slots=True)
class ModelGenesis:
    """One domain as its shards see it."""

    suite: int
    genesis_hash: bytes
    time: int
    domain: int
    shards: int
    ledgers: tuple[LedgerTerms, ...]
    keys: tuple[PublicKey, ...]
    limits: Limits

    @classmethod
    def from_document(cls, document: bytes, domain: int) -> ModelGenesis:
        """Read the canonical JSON of BYTES-6 and BYTES-7."""
        tree: dict[str, Any] = json.loads(document)
        mine = next(each for each in tree["domains"] if each["domain"] == domain)
        return cls(
            suite=tree["hash_suite"],
            genesis_hash=hasher(tree["hash_suite"])(document),
            time=int(tree["time"]),
            domain=domain,
            shards=mine["shards"],
            ledgers=tuple(
                LedgerTerms(
                    each["ledger"],
                    each["currency"],
                    each["scale"],
                    each["issuer"],
                    int(each["amount_max"]),
                    each["window_s"],
                    each["lock_min_s"],
                )
                for each in mine["ledgers"]
            ),
            keys=tuple(
                PublicKey(
                    each["participant"],
                    each["role"],
                    each["suite"],
                    bytes.fromhex(each["public_key"]).ljust(64, b"\x00"),
                )
                for each in mine["keys"]
            ),
            limits=Limits(**{name: int(value) for name, value in mine["limits"].items()}),
        )

    def shard_id(self, index: int) -> int:
        return self.domain << 8 | index

    def shard_of(self, account: int) -> int:
        """The shard id that carries an account under slot map version 1."""
        return self.shard_id(slot_of(account) * self.shards // 4096)

    def peers_of(self, shard: int) -> list[int]:
        return [self.shard_id(i) for i in range(self.shards) if self.shard_id(i) != shard]
