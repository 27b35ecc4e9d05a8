"""The terms of one swap: its legs in order, one hashlock, the timelocks; canonical bytes, digests, and each leg's lock.

It promises that equal terms are equal bytes and equal digests on every machine, and that the secret commits to the
terms: secret = SHA-256("clearspan/secret/1" || salt || commitment), where the commitment covers all of the terms but
the hashlock that follows from the secret. Who shows the preimage later shows with the salt which terms it was for.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field, replace
from typing import Final, Self

from bridge.leg import HASHLOCK_BYTES, PREIMAGE_BYTES, HashFunction, LockOrder
from bridge.refusals import BridgeCode, BridgeRefused
from engine.hashing import digest
from engine.record import Transfer
from engine.types import HASH_BYTES, NS_PER_S, U32_MAX, U64_MAX, U128_MAX, ZERO_HASH, TransferFlag, TransferKind

__all__ = [
    "LEGS_MAX",
    "SALT_BYTES",
    "CorridorRef",
    "LegTerms",
    "SwapTerms",
    "account_text",
    "derive_secret",
    "hash_preimage",
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
TEXT_BYTES_MAX: Final = 96
_VERSION: Final = 1

# version, hash function, count of legs, count of corridors, zero; UETR, network, hashlock, travel rule, created at.
_HEAD: Final = struct.Struct("<HBBB3x16s32s32s32sQ")
# ledger, timelock, amount, user data.
_LEG: Final = struct.Struct("<IQ16s16s")
_CORRIDOR: Final = struct.Struct("<16sI")
_HASHLOCK_AT: Final = 8 + UETR_BYTES + HASH_BYTES
_TERMS_PREFIX: Final = b"clearspan/swap/1"
_COMMITMENT_PREFIX: Final = b"clearspan/swap-commitment/1"
_LEG_PREFIX: Final = b"clearspan/leg/1"
_SECRET_PREFIX: Final = b"clearspan/secret/1"


def _malformed(what: str, found: object) -> BridgeRefused:
    return BridgeRefused(BridgeCode.TERMS_MALFORMED, f"{what}: {found!r}")


def account_text(account: int) -> str:
    """Write an account of ours as terms and orders carry it: 32 hexadecimal digits."""
    return f"{account:032x}"


def hash_preimage(function: int, preimage: bytes) -> bytes:
    """Return the hashlock of a preimage of exactly 32 bytes; raises BridgeRefused (preimage_length) for any other."""
    if len(preimage) != PREIMAGE_BYTES:
        raise BridgeRefused(BridgeCode.PREIMAGE_LENGTH, f"{len(preimage)} bytes")
    return digest(function, preimage)


def preimage_fits(function: int, hashlock: bytes, preimage: bytes | None) -> bool:
    """Tell whether these are the 32 bytes behind a hashlock."""
    return preimage is not None and len(preimage) == PREIMAGE_BYTES and digest(function, preimage) == hashlock


def derive_secret(salt: bytes, commitment: bytes) -> bytes:
    """Return the secret that commits to terms; ``salt`` is 32 random bytes that supervisors get under seal."""
    if len(salt) != SALT_BYTES or len(commitment) != HASH_BYTES:
        raise _malformed("salt or commitment bytes", (len(salt), len(commitment)))
    return hashlib.sha256(_SECRET_PREFIX + salt + commitment).digest()


@dataclass(frozen=True, slots=True)
class CorridorRef:
    """The corridor that one exchange of a swap goes by."""

    id: bytes
    version: int


@dataclass(frozen=True, slots=True)
class LegTerms:
    """One leg: a lock of ``amount`` from ``debit_account`` for ``credit_account``, until ``timelock_ns`` of its clock.

    A leg of ours has its ledger's number, no chain and accounts of 32 hexadecimal digits; a foreign one ledger 0, its
    chain's name and accounts and asset as that chain writes them. ``user_data`` is the UETR on leg 0 and the quote's id
    on the others.
    """

    ledger: int
    debit_account: str
    credit_account: str
    amount: int
    timelock_ns: int
    user_data: int = 0
    chain: str = ""
    asset: str = ""

    @property
    def foreign(self) -> bool:
        """Tell whether the leg stands on a chain that is not ours."""
        return self.chain != ""

    @property
    def debit_id(self) -> int:
        """The debit account's number; of our legs only."""
        return int(self.debit_account, 16)

    @property
    def credit_id(self) -> int:
        """The credit account's number; of our legs only."""
        return int(self.credit_account, 16)

    def check(self, index: int) -> None:
        """Demand values that fit their fields; raises BridgeRefused (terms_malformed)."""
        for name in ("debit_account", "credit_account", "chain", "asset"):
            text = getattr(self, name)
            if not text.isascii() or len(text) > TEXT_BYTES_MAX:
                raise _malformed(f"leg {index} {name}", text)
        if not 0 < self.amount <= U128_MAX:
            raise _malformed(f"leg {index} amount", self.amount)
        if not 0 < self.timelock_ns < 2**63:
            raise _malformed(f"leg {index} timelock", self.timelock_ns)
        if not 0 <= self.user_data <= U128_MAX:
            raise _malformed(f"leg {index} user data", self.user_data)
        if self.foreign:
            fits = self.ledger == 0 and self.debit_account != "" and self.credit_account != ""
        else:
            fits = 0 < self.ledger <= U32_MAX and self.asset == "" and _is_account(self.debit_account)
            fits = fits and _is_account(self.credit_account)
        if not fits:
            raise _malformed(f"leg {index} ledger and accounts", (self.ledger, self.debit_account, self.credit_account))
        if self.debit_account == self.credit_account:
            raise _malformed(f"leg {index} pays itself", self.debit_account)

    def encode(self) -> bytes:
        """Return the leg's bytes as they stand in the terms."""
        amount, user_data = self.amount.to_bytes(16, "little"), self.user_data.to_bytes(16, "little")
        head = _LEG.pack(self.ledger, self.timelock_ns, amount, user_data)
        return head + b"".join(map(_text, (self.chain, self.asset, self.debit_account, self.credit_account)))


_HEX_DIGITS: Final = frozenset("0123456789abcdef")


def _is_account(text: str) -> bool:
    return len(text) == 32 and _HEX_DIGITS.issuperset(text)


def _text(text: str) -> bytes:
    data = text.encode("ascii")
    return bytes((len(data),)) + data


@dataclass(frozen=True, slots=True)
class SwapTerms:
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
    # Bytes and digests are asked for at every step of a swap and never change.
    _made: dict[object, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def foreign_leg(self) -> int:
        """The index of the foreign leg, -1 without one."""
        for index, leg in enumerate(self.legs):
            if leg.foreign:
                return index
        return -1

    @property
    def last_timelock_ns(self) -> int:
        """The latest timelock, after which every leg has ended or ends."""
        return max(leg.timelock_ns for leg in self.legs)

    def check(self) -> None:
        """Demand terms that mean something; raises BridgeRefused (terms_malformed, hash_function_unsupported)."""
        if "checked" in self._made:
            return
        lengths = (len(self.uetr), len(self.network), len(self.hashlock), len(self.travel_rule_hash))
        if lengths != (UETR_BYTES, HASH_BYTES, HASHLOCK_BYTES, HASH_BYTES):
            raise _malformed("lengths of UETR, network, hashlock, travel-rule hash", lengths)
        if self.hash_function not in (HashFunction.SHA256, HashFunction.SM3):
            raise BridgeRefused(BridgeCode.HASH_FUNCTION_UNSUPPORTED, f"hash function {self.hash_function}")
        if not 2 <= len(self.legs) <= LEGS_MAX:
            raise _malformed("count of legs", len(self.legs))
        if len(self.corridors) not in (0, len(self.legs) - 1):
            raise _malformed("count of corridors", len(self.corridors))
        for corridor in self.corridors:
            if len(corridor.id) != CORRIDOR_ID_BYTES or not 0 <= corridor.version <= U32_MAX:
                raise _malformed("corridor", corridor)
        if not 0 < self.created_at <= U64_MAX:
            raise _malformed("created at", self.created_at)
        for index, leg in enumerate(self.legs):
            leg.check(index)
        places = [(leg.ledger, leg.chain) for leg in self.legs]
        if len(frozenset(places)) != len(places):
            raise _malformed("two legs on one ledger", places)
        self._made["checked"] = b""

    # Bytes and digests.

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        made = self._made.get("bytes")
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
        corridors = b"".join(_CORRIDOR.pack(each.id, each.version) for each in self.corridors)
        return head + corridors + b"".join(leg.encode() for leg in self.legs)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read terms and check them; raises BridgeRefused (terms_malformed) for anything else."""
        if not _HEAD.size <= len(data) <= TERMS_BYTES_MAX:
            raise _malformed("bytes of terms", len(data))
        version, function, legs, corridors, uetr, network, hashlock, travel_rule, created_at = _HEAD.unpack_from(data)
        if version != _VERSION:
            raise _malformed("version of terms", version)
        if function not in (HashFunction.SHA256, HashFunction.SM3):
            raise BridgeRefused(BridgeCode.HASH_FUNCTION_UNSUPPORTED, f"hash function {function}")
        reader = _Reader(data, _HEAD.size)
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
            raise _malformed("terms that are not canonical", len(data))
        return terms

    def digest(self, suite: int) -> bytes:
        """Return the digest that names the swap, 32 bytes."""
        made = self._made.get(suite)
        if made is None:
            made = self._made[suite] = digest(suite, _TERMS_PREFIX + self.encode())
        return made

    def commitment(self, suite: int) -> bytes:
        """Return the digest of everything but the hashlock: what the secret commits to."""
        data = self.encode()
        blank = data[:_HASHLOCK_AT] + ZERO_HASH + data[_HASHLOCK_AT + HASHLOCK_BYTES :]
        return digest(suite, _COMMITMENT_PREFIX + blank)

    # What each leg locks.

    def orders(self, suite: int, swap: bytes | None = None) -> tuple[LockOrder, ...]:
        """Return each leg's lock order; ``swap`` is the terms' digest where it is known already."""
        named = swap or self.digest(suite)
        return tuple(
            LockOrder(
                lock_id=leg_digest(suite, named, index),
                payer=leg.debit_account,
                payee=leg.credit_account,
                amount=leg.amount,
                hash_function=self.hash_function,
                hashlock=self.hashlock,
                timelock_ns=leg.timelock_ns,
                asset=leg.asset if leg.foreign else str(leg.ledger),
            )
            for index, leg in enumerate(self.legs)
        )

    def lock_record(
        self, leg: int, suite: int, *, key_id: int, now_ns: int, window_s: int, code: int = 0, swap: bytes | None = None
    ) -> Transfer:
        """Return the record that locks one of our legs: the same arguments give the same bytes, so a retry is safe.

        ``now_ns`` is the instant of the first attempt (``Lock.signed_at_ns``), ``window_s`` how long it is valid.
        """
        terms = self.legs[leg]
        if terms.foreign:
            raise _malformed("a foreign leg has no record", leg)
        flags = TransferKind.LOCK | (TransferFlag.HASH_IS_SM3 if self.hash_function == HashFunction.SM3 else 0)
        return Transfer(
            id=record_id(leg_digest(suite, swap or self.digest(suite), leg)),
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

    def is_lock(self, leg: int, suite: int, record: Transfer, swap: bytes | None = None) -> bool:
        """Tell whether a record, by whatever key and valid for however long, locks one of our legs as agreed."""
        expected = self.lock_record(leg, suite, key_id=record.key_id, now_ns=0, window_s=0, code=record.code, swap=swap)
        signing = TransferFlag.BY_MANDATE | TransferFlag.LINKED
        return expected == replace(record, expires_at=0, valid_for_s=0, flags=record.flags & ~int(signing))


class _Reader:
    """Reads what follows the head; every step demands that the bytes are there."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def skip(self, size: int) -> int:
        """Return where the next ``size`` bytes start, and step over them."""
        start = self._at
        if start + size > len(self._data):
            raise _malformed("terms end early", len(self._data))
        self._at = start + size
        return start

    def corridor(self) -> CorridorRef:
        identity, version = _CORRIDOR.unpack_from(self._data, self.skip(_CORRIDOR.size))
        return CorridorRef(identity, version)

    def text(self) -> str:
        length = self._data[self.skip(1)]
        start = self.skip(length)
        try:
            return self._data[start : start + length].decode("ascii")
        except UnicodeDecodeError as error:
            raise _malformed("text", self._data[start : start + length]) from error

    def leg(self) -> LegTerms:
        ledger, timelock, amount, user_data = _LEG.unpack_from(self._data, self.skip(_LEG.size))
        chain, asset, debit, credit = self.text(), self.text(), self.text(), self.text()
        return LegTerms(
            ledger=ledger,
            debit_account=debit,
            credit_account=credit,
            amount=int.from_bytes(amount, "little"),
            timelock_ns=timelock,
            user_data=int.from_bytes(user_data, "little"),
            chain=chain,
            asset=asset,
        )

    def end(self) -> None:
        if self._at != len(self._data):
            raise _malformed("bytes after the terms", len(self._data) - self._at)


def leg_digest(suite: int, swap: bytes, leg: int) -> bytes:
    """Return the digest that names one leg of a swap: the idempotency key of its lock."""
    return digest(suite, _LEG_PREFIX + swap + bytes((leg,)))


def record_id(lock_id: bytes) -> int:
    """Return the id of the record that locks a leg of ours; 0 and 2^128 - 1 are no ids, so the other half stands in."""
    first = int.from_bytes(lock_id[:16], "little")
    return first if 0 < first < U128_MAX else int.from_bytes(lock_id[16:], "little")


def seal_terms(draft: SwapTerms, salt: bytes, suite: int) -> tuple[SwapTerms, bytes]:
    """Return the terms with their hashlock, and the secret behind it; the draft's own hashlock does not matter.

    Raises BridgeRefused (terms_malformed) for a draft or salt that is none.
    """
    blank = replace(draft, hashlock=ZERO_HASH)
    blank.check()
    secret = derive_secret(salt, blank.commitment(suite))
    return replace(blank, hashlock=hash_preimage(blank.hash_function, secret)), secret
