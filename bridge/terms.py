"""The terms of one swap: its legs in order, one hashlock, the timelocks; canonical bytes, digests, and each leg's lock.

It promises that equal terms are equal bytes and equal digests on every machine, and that the secret commits to the
terms: secret = SHA-256("clearspan/secret/1" || salt || commitment), where the commitment covers all of the terms but
the hashlock that follows from the secret. Who shows the preimage later shows with the salt which terms it was for.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, NamedTuple, Self

import msgspec
from msgspec import structs

from bridge.leg import HASHLOCK_BYTES, PREIMAGE_BYTES, HashFunction, LockOrder
from bridge.leg_terms import CorridorRef, LegTerms, TermsReader, account_bytes, account_text, malformed
from bridge.refusals import BridgeCode, BridgeRefused
from engine.hashing import digest
from engine.record import Transfer
from engine.types import (
    HASH_BYTES,
    NS_PER_S,
    RECORD_BYTES,
    U32_MAX,
    U64_MAX,
    ZERO_HASH,
    TransferFlag,
    TransferKind,
)

__all__ = [
    "LEGS_MAX",
    "SALT_BYTES",
    "CorridorRef",
    "LegTerms",
    "LockStamp",
    "SwapTerms",
    "account_text",
    "derive_secret",
    "hash_preimage",
    "hashlocks_of",
    "leg_digest",
    "preimage_fits",
    "seal_terms",
]

LEGS_MAX: Final = 8
"""More hops than any route needs; a bound so that terms stay below ``TERMS_BYTES_MAX``."""

TERMS_BYTES_MAX: Final = 8_192
SALT_BYTES: Final = 32
UETR_BYTES: Final = 16
CORRIDOR_ID_BYTES: Final = 16
_VERSION: Final = 1
_SHOWN_KEPT_MAX: Final = 4_096

# version, hash function, count of legs, count of corridors, zero; UETR, network, hashlock, travel rule, created at.
_HEAD: Final = struct.Struct("<HBBB3x16s32s32s32sQ")
# A lock's record (RECORD-1): id, accounts, amount, no reference, user data; expiry, timelock, ledger, key, validity,
# code, flags, hashlock. And of these what the locker alone decides: expiry, key, validity, code.
_LOCK: Final = struct.Struct("<16s16s16s16s16x16sQQIIIHH32s")
_LOCKERS: Final = struct.Struct("<96xQ12xIIH34x")
assert _LOCK.size == _LOCKERS.size == RECORD_BYTES
_HASHLOCK_AT: Final = 8 + UETR_BYTES + HASH_BYTES
_TERMS_PREFIX: Final = b"clearspan/swap/1"
_COMMITMENT_PREFIX: Final = b"clearspan/swap-commitment/1"
# 0 and 2^128 - 1, as an id carries them.
_NO_IDS: Final = frozenset({bytes(16), b"\xff" * 16})
_LEG_PREFIX: Final = b"clearspan/leg/1"
_SECRET_PREFIX: Final = b"clearspan/secret/1"


def hash_preimage(function: int, preimage: bytes) -> bytes:
    """Return the hashlock of a preimage of exactly 32 bytes; raises BridgeRefused (preimage_length) for any other."""
    if len(preimage) != PREIMAGE_BYTES:
        raise BridgeRefused(BridgeCode.PREIMAGE_LENGTH, f"{len(preimage)} bytes")
    return digest(function, preimage)


@lru_cache(maxsize=_SHOWN_KEPT_MAX)
def hashlocks_of(preimage: bytes) -> tuple[tuple[HashFunction, bytes], ...]:
    """Return what a preimage that was shown opens, under every function; nothing for other than 32 bytes.

    Those of late are remembered: the machines ask, and so does what stands around them.
    """
    if len(preimage) != PREIMAGE_BYTES:
        return ()
    return tuple([(function, digest(function, preimage)) for function in HashFunction])


def preimage_fits(function: int, hashlock: bytes, preimage: bytes | None) -> bool:
    """Tell whether these are the 32 bytes behind a hashlock."""
    return preimage is not None and len(preimage) == PREIMAGE_BYTES and digest(function, preimage) == hashlock


def derive_secret(salt: bytes, commitment: bytes) -> bytes:
    """Return the secret that commits to terms; ``salt`` is 32 random bytes that supervisors get under seal."""
    if len(salt) != SALT_BYTES or len(commitment) != HASH_BYTES:
        raise malformed("salt or commitment bytes", (len(salt), len(commitment)))
    return hashlib.sha256(_SECRET_PREFIX + salt + commitment).digest()


class SwapTerms(msgspec.Struct, frozen=True, dict=True):
    """What the parties of one swap agree on. ``network`` is the genesis hash; ``corridors`` one for each exchange.

    Every constructor's product may be malformed until ``check`` has passed; ``decode`` checks.
    """

    uetr: bytes
    network: bytes
    legs: tuple[LegTerms, ...]
    hash_function: HashFunction
    hashlock: bytes
    created_at: int
    travel_rule_hash: bytes = ZERO_HASH
    corridors: tuple[CorridorRef, ...] = ()

    @property
    def _made(self) -> dict[str, Any]:
        """What follows from the fields and was asked for before: bytes, digests and orders, which never change."""
        return self.__dict__

    @property
    def foreign_leg(self) -> int:
        """The index of the foreign leg, -1 without one."""
        for index, leg in enumerate(self.legs):
            if leg.chain:
                return index
        return -1

    @property
    def home_timelock_ns(self) -> int:
        """The timelock that our legs share (relay time); of foreign legs alone the last one."""
        return min([leg.timelock_ns for leg in self.legs if not leg.chain], default=0) or self.last_timelock_ns

    @property
    def last_timelock_ns(self) -> int:
        """The latest timelock, after which every leg has ended or ends."""
        return max([leg.timelock_ns for leg in self.legs])

    def check(self) -> None:
        """Demand terms that mean something; raises BridgeRefused (terms_malformed, hash_function_unsupported)."""
        if "checked" in self._made:
            return
        lengths = (len(self.uetr), len(self.network), len(self.hashlock), len(self.travel_rule_hash))
        if lengths != (UETR_BYTES, HASH_BYTES, HASHLOCK_BYTES, HASH_BYTES):
            raise malformed("lengths of UETR, network, hashlock, travel-rule hash", lengths)
        if self.hash_function not in (HashFunction.SHA256, HashFunction.SM3):
            raise BridgeRefused(BridgeCode.HASH_FUNCTION_UNSUPPORTED, f"hash function {self.hash_function}")
        if not 2 <= len(self.legs) <= LEGS_MAX:
            raise malformed("count of legs", len(self.legs))
        if len(self.corridors) not in (0, len(self.legs) - 1):
            raise malformed("count of corridors", len(self.corridors))
        for corridor in self.corridors:
            if len(corridor.id) != CORRIDOR_ID_BYTES or not 0 <= corridor.version <= U32_MAX:
                raise malformed("corridor", corridor)
        if not 0 < self.created_at <= U64_MAX:
            raise malformed("created at", self.created_at)
        for index, leg in enumerate(self.legs):
            leg.check(index)
        places = [(leg.ledger, leg.chain) for leg in self.legs]
        if len(frozenset(places)) != len(places):
            raise malformed("two legs on one ledger", places)
        self._made["checked"] = b""

    # Bytes and digests.

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        made: bytes | None = self._made.get("bytes")
        if made is None:
            made = self._made["bytes"] = self._encode()
        return made

    def _encode(self) -> bytes:
        head = _HEAD.pack(
            _VERSION,
            int(self.hash_function),
            len(self.legs),
            len(self.corridors),
            self.uetr,
            self.network,
            self.hashlock,
            self.travel_rule_hash,
            self.created_at,
        )
        corridors = b"".join([each.encode() for each in self.corridors])
        return head + corridors + b"".join([leg.encode() for leg in self.legs])

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read terms and check them; raises BridgeRefused (terms_malformed) for anything else."""
        if not _HEAD.size <= len(data) <= TERMS_BYTES_MAX:
            raise malformed("bytes of terms", len(data))
        version, function, legs, corridors, uetr, network, hashlock, travel_rule, created_at = _HEAD.unpack_from(data)
        if version != _VERSION:
            raise malformed("version of terms", version)
        if function not in (HashFunction.SHA256, HashFunction.SM3):
            raise BridgeRefused(BridgeCode.HASH_FUNCTION_UNSUPPORTED, f"hash function {function}")
        reader = TermsReader(data, _HEAD.size)
        refs = tuple(reader.corridor() for _ in range(corridors))
        terms = cls(
            uetr=uetr,
            network=network,
            legs=tuple(reader.leg() for _ in range(legs)),
            hash_function=HashFunction(function),
            hashlock=hashlock,
            created_at=created_at,
            travel_rule_hash=travel_rule,
            corridors=refs,
        )
        reader.end()
        terms.check()
        if terms.encode() != data:  # padding that is not zero
            raise malformed("terms that are not canonical", len(data))
        return terms

    def digest(self, suite: int) -> bytes:
        """Return the digest that names the swap, 32 bytes."""
        known, name = self._made, f"digest {suite}"
        made: bytes | None = known.get(name)
        if made is None:
            made = known[name] = digest(suite, _TERMS_PREFIX + self.encode())
        return made

    def commitment(self, suite: int) -> bytes:
        """Return the digest of everything but the hashlock: what the secret commits to."""
        known, name = self._made, f"commitment {suite}"
        made: bytes | None = known.get(name)
        if made is None:
            blank = _with_hashlock(self.encode(), ZERO_HASH)
            made = known[name] = digest(suite, _COMMITMENT_PREFIX + blank)
        return made

    # What each leg locks.

    def orders(self, suite: int, swap: bytes | None = None) -> tuple[LockOrder, ...]:
        """Return each leg's lock order; ``swap`` is the terms' digest where it is known already."""
        known, name = self._made, f"orders {suite}"
        made: tuple[LockOrder, ...] | None = known.get(name)
        if made is None:
            named = swap or self.digest(suite)
            made = known[name] = tuple([self._order(suite, named, index) for index in range(len(self.legs))])
        return made

    def _order(self, suite: int, swap: bytes, index: int) -> LockOrder:
        leg = self.legs[index]
        return LockOrder(
            lock_id=leg_digest(suite, swap, index),
            payer=leg.debit_account,
            payee=leg.credit_account,
            amount=leg.amount,
            hash_function=self.hash_function,
            hashlock=self.hashlock,
            timelock_ns=leg.timelock_ns,
            asset=leg.asset if leg.chain else str(leg.ledger),
        )

    def lock_record(
        self, leg: int, suite: int, *, key_id: int, now_ns: int, window_s: int, code: int = 0, swap: bytes | None = None
    ) -> Transfer:
        """Return the record that locks one of our legs: the same arguments give the same bytes, so a retry is safe.

        ``now_ns`` is the instant of the first attempt (``Lock.signed_at_ns``), ``window_s`` how long it is valid.
        """
        terms = self.legs[leg]
        if terms.foreign:
            raise malformed("a foreign leg has no record", leg)
        flags = TransferKind.LOCK | (TransferFlag.HASH_IS_SM3 if self.hash_function == HashFunction.SM3 else 0)
        return Transfer(
            id=record_id(self.orders(suite, swap)[leg].lock_id),
            debit_account=terms.debit_id,
            credit_account=terms.credit_id,
            amount=terms.amount,
            ledger=terms.ledger,
            key_id=key_id,
            expires_at=now_ns + window_s * NS_PER_S,
            valid_for_s=window_s,
            user_data=terms.user_data,
            until=terms.timelock_ns,
            code=code,
            flags=int(flags),
            binding=self.hashlock,
        )

    def lock_bytes(self, leg: int, suite: int, stamp: LockStamp, swap: bytes | None = None) -> bytes:
        """Return the 160 bytes of the record that locks one of our legs, as ``lock_record`` says."""
        terms = self.legs[leg]
        if terms.chain:
            raise malformed("a foreign leg has no record", leg)
        expires_at, key_id, window_s, code = stamp
        return _LOCK.pack(
            record_id_bytes(self.orders(suite, swap)[leg].lock_id),
            account_bytes(terms.debit_account),
            account_bytes(terms.credit_account),
            terms.amount.to_bytes(16, "little"),
            terms.user_data.to_bytes(16, "little"),
            expires_at,
            terms.timelock_ns,
            terms.ledger,
            key_id,
            window_s,
            code,
            _LOCK_SM3 if self.hash_function == HashFunction.SM3 else _LOCK_SHA256,
            self.hashlock,
        )

    def is_lock(self, leg: int, suite: int, record: Transfer, swap: bytes | None = None) -> bool:
        """Tell whether a record, by whatever key and valid for however long, locks one of our legs as agreed."""
        expected = self.lock_record(leg, suite, key_id=record.key_id, now_ns=0, window_s=0, code=record.code, swap=swap)
        signing = TransferFlag.BY_MANDATE | TransferFlag.LINKED
        return expected == replace(record, expires_at=0, valid_for_s=0, flags=record.flags & ~int(signing))


_LOCK_SHA256: Final = int(TransferKind.LOCK)
_LOCK_SM3: Final = int(TransferKind.LOCK | TransferFlag.HASH_IS_SM3)


class LockStamp(NamedTuple):
    """What the locker alone decides of a lock's record: expiry (ns), key, how long it is valid (s), code."""

    expires_at: int
    key_id: int
    window_s: int
    code: int = 0

    @classmethod
    def of(cls, record: bytes) -> Self:
        """Read it of a record of 160 bytes; raises BridgeRefused (legs_do_not_match) for another length."""
        if len(record) != RECORD_BYTES:
            text = f"a lock record of {len(record)} bytes, not {RECORD_BYTES}"
            raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, text)
        return cls(*_LOCKERS.unpack(record))


def leg_digest(suite: int, swap: bytes, leg: int) -> bytes:
    """Return the digest that names one leg of a swap: the idempotency key of its lock."""
    return digest(suite, _LEG_PREFIX + swap + bytes((leg,)))


def record_id(lock_id: bytes) -> int:
    """Return the id of the record that locks a leg of ours; 0 and 2^128 - 1 are no ids, so the other half stands in."""
    return int.from_bytes(record_id_bytes(lock_id), "little")


def record_id_bytes(lock_id: bytes) -> bytes:
    """Return that id's 16 bytes as a record carries them."""
    return lock_id[:16] if lock_id[:16] not in _NO_IDS else lock_id[16:]


def seal_terms(draft: SwapTerms, salt: bytes, suite: int) -> tuple[SwapTerms, bytes]:
    """Return the terms with their hashlock, and the secret behind it; the draft's own hashlock does not matter.

    Raises BridgeRefused (terms_malformed) for a draft or salt that is none.
    """
    blank = draft if draft.hashlock == ZERO_HASH else structs.replace(draft, hashlock=ZERO_HASH)
    blank.check()
    commitment = blank.commitment(suite)
    secret = derive_secret(salt, commitment)
    hashlock = hash_preimage(blank.hash_function, secret)
    terms = SwapTerms(
        blank.uetr,
        blank.network,
        blank.legs,
        blank.hash_function,
        hashlock,
        blank.created_at,
        blank.travel_rule_hash,
        blank.corridors,
    )
    # All but the hashlock was checked and encoded just now.
    made = terms._made  # noqa: SLF001 - what these terms would come to by themselves
    made["checked"], made["bytes"] = b"", _with_hashlock(blank.encode(), hashlock)
    made[f"commitment {suite}"] = commitment
    return terms, secret


def _with_hashlock(data: bytes, hashlock: bytes) -> bytes:
    return data[:_HASHLOCK_AT] + hashlock + data[_HASHLOCK_AT + HASHLOCK_BYTES :]
