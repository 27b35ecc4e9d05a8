"""A quote: 256 bytes in which a provider binds itself to a rate, up to an amount, until an instant; and its signature.

It promises one encoding for each quote and a verdict that depends on the bytes, the network and the key alone. How
much of a quote is left is the provider's ledger's and desk's to know (``bridge.desk``), never the quote's.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from bridge.leg import HashFunction
from bridge.rates import Rate, RateInvalidError, Rounding, converted_amount, source_needed
from bridge.refusals import BridgeCode, BridgeRefused
from engine.prefix import PrefixType, signing_prefix
from engine.refusals import EncodingError
from engine.types import NS_PER_S, SIGNATURE_BYTES, U32_MAX, U64_MAX, U128_MAX, Role
from native.hashing import digest
from native.signatures import PUBLIC_KEY_BYTES, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from engine.parties import Key

    KeyLookup = Callable[[int], Key | None]

__all__ = [
    "ANY_TAKER",
    "LOCK_S_MAX",
    "QUOTE_BYTES",
    "QUOTE_VALID_NS_MAX",
    "SIGNED_QUOTE_BYTES",
    "Quote",
    "SignedQuote",
    "hash_functions_mask",
]

QUOTE_BYTES: Final = 256
SIGNED_QUOTE_BYTES: Final = QUOTE_BYTES + SIGNATURE_BYTES
QUOTE_VERSION: Final = 1
ANY_TAKER: Final = 0
"""In place of a participant's number: a posted rate, open to whoever the corridor admits."""
LOCK_S_MAX: Final = 86_400
"""The longest timelock a quote may grant: a longer one is a loan of the provider's liquidity, and not a settlement."""
QUOTE_VALID_NS_MAX: Final = 3_600 * NS_PER_S
"""The longest a quote may stand: the taker holds a free option for as long."""
_MASK_ALL: Final = 1 << (HashFunction.SHA256 - 1) | 1 << (HashFunction.SM3 - 1)
_QUOTE: Final = struct.Struct("<16sIIIIQQ16s16s16s16s16s16s16s16sQQIIIBBH48s")
_ZEROS: Final = bytes(48)
assert _QUOTE.size == QUOTE_BYTES


def hash_functions_mask(*functions: HashFunction) -> int:
    """Return the bits that stand for these hash functions in a quote."""
    mask = 0
    for function in functions:
        mask |= 1 << (function - 1)
    return mask


@dataclass(frozen=True, slots=True)
class Quote:
    """A firm offer to give target minor units for source minor units; field by field as in docs/spec/12.

    ``total_amount``, ``min_amount`` and ``premium`` are source minor units; the premium is that of the whole total and
    is owed in proportion. Ids and accounts are 128 bits; ``expires_at`` is the last ns before which a lock under this
    quote must be accepted; ``lock_s`` is the longest time to the timelock, in seconds, that the provider grants.
    Raises EncodingError for a value that its field or its meaning excludes.
    """

    id: int
    provider: int
    taker: int
    source_ledger: int
    target_ledger: int
    rate: Rate
    rounding: Rounding
    total_amount: int
    min_amount: int
    premium: int
    corridor_id: bytes
    corridor_version: int
    provider_source_account: int
    provider_target_account: int
    remainder_source_account: int
    remainder_target_account: int
    issued_at: int
    expires_at: int
    lock_s: int
    hash_functions: int
    key_id: int

    def __post_init__(self) -> None:
        """Check every field, so that no quote of this type means nothing."""
        numbers = (self.provider, self.source_ledger, self.target_ledger, self.corridor_version, self.key_id)
        accounts = (
            self.provider_source_account,
            self.provider_target_account,
            self.remainder_source_account,
            self.remainder_target_account,
        )
        if min(numbers) < 1 or max(numbers) > U32_MAX or not 0 <= self.taker <= U32_MAX:
            raise EncodingError("quote numbers", (numbers, self.taker), "1 to 2^32 - 1, the taker from 0")
        if min(accounts) < 1 or max(accounts) > U128_MAX or not 0 < self.id < U128_MAX:
            raise EncodingError("quote id and accounts", (self.id, accounts), "ids of 128 bits that are not zero")
        if not 0 < self.min_amount <= self.total_amount <= U128_MAX or not 0 <= self.premium <= self.total_amount:
            amounts = (self.min_amount, self.total_amount, self.premium)
            raise EncodingError("quote amounts", amounts, "0 < least <= total, premium at most the total")
        if not 0 < self.issued_at < self.expires_at <= min(U64_MAX, self.issued_at + QUOTE_VALID_NS_MAX):
            instants = (self.issued_at, self.expires_at)
            raise EncodingError("quote instants", instants, f"issued, and expiring within {QUOTE_VALID_NS_MAX} ns")
        if not 0 < self.lock_s <= LOCK_S_MAX or not 0 < self.hash_functions <= _MASK_ALL:
            terms = (self.lock_s, self.hash_functions)
            raise EncodingError("quote timelock and hash functions", terms, f"1 to {LOCK_S_MAX} s, bits 0 and 1")
        if self.source_ledger == self.target_ledger:
            raise EncodingError("target_ledger", self.target_ledger, "another ledger than the source")
        if self.taker == self.provider:
            raise EncodingError("taker", self.taker, "another participant than the provider")
        if len(self.corridor_id) != 16:
            raise EncodingError("corridor id bytes", len(self.corridor_id), 16)

    def allows(self, function: HashFunction) -> bool:
        """Say whether the provider locks under this hash function."""
        return bool(self.hash_functions >> (function - 1) & 1)

    def delivers(self, source_amount: int) -> int:
        """Return the target amount that a source amount buys; raises ConversionOverflowError."""
        return converted_amount(source_amount, self.rate, self.rounding)

    def needs(self, target_amount: int) -> int:
        """Return the least source amount that buys a target amount; raises ConversionOverflowError."""
        return source_needed(target_amount, self.rate, self.rounding)

    def premium_of(self, source_amount: int) -> int:
        """Return what the option on ``source_amount`` costs: its share of the premium, rounded up."""
        return -(-self.premium * source_amount // self.total_amount)

    def encode(self) -> bytes:
        """Return the 256 bytes."""
        return _QUOTE.pack(
            _wide(self.id),
            self.provider,
            self.taker,
            self.source_ledger,
            self.target_ledger,
            self.rate.numerator,
            self.rate.denominator,
            _wide(self.total_amount),
            _wide(self.min_amount),
            _wide(self.premium),
            self.corridor_id,
            _wide(self.provider_source_account),
            _wide(self.provider_target_account),
            _wide(self.remainder_source_account),
            _wide(self.remainder_target_account),
            self.issued_at,
            self.expires_at,
            self.corridor_version,
            self.key_id,
            self.lock_s,
            self.rounding,
            self.hash_functions,
            QUOTE_VERSION,
            _ZEROS,
        )

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a quote from exactly its bytes; raises EncodingError for anything that does not encode to them."""
        view = memoryview(data).cast("B")
        if view.nbytes != QUOTE_BYTES:
            raise EncodingError("quote bytes", view.nbytes, QUOTE_BYTES)
        identity, provider, taker, source, target, numerator, denominator, *rest = _QUOTE.unpack(view)
        total, minimum, premium, corridor, at_source, at_target, left_source, left_target, *rest = rest
        issued_at, expires_at, version, key_id, lock_s, rounding, hash_functions, layout, zeros = rest
        if layout != QUOTE_VERSION or zeros != _ZEROS:
            raise EncodingError("quote version and padding", (layout, zeros.hex()), f"{QUOTE_VERSION} and zeros")
        try:
            rate, rule = Rate(numerator, denominator), Rounding(rounding)
        except RateInvalidError as error:
            raise EncodingError("rate", f"{numerator}/{denominator}", error.reason) from error
        except ValueError as error:
            raise EncodingError("rounding", rounding, "1, 2 or 3") from error
        return cls(
            id=_int(identity),
            provider=provider,
            taker=taker,
            source_ledger=source,
            target_ledger=target,
            rate=rate,
            rounding=rule,
            total_amount=_int(total),
            min_amount=_int(minimum),
            premium=_int(premium),
            corridor_id=corridor,
            corridor_version=version,
            provider_source_account=_int(at_source),
            provider_target_account=_int(at_target),
            remainder_source_account=_int(left_source),
            remainder_target_account=_int(left_target),
            issued_at=issued_at,
            expires_at=expires_at,
            lock_s=lock_s,
            hash_functions=hash_functions,
            key_id=key_id,
        )

    def message(self, suite: int, genesis_hash: bytes) -> bytes:
        """Return what the provider signs: T(quote) || the 256 bytes."""
        return signing_prefix(suite, PrefixType.QUOTE, genesis_hash) + self.encode()

    def digest(self, suite: int, genesis_hash: bytes) -> bytes:
        """Return the 32-byte name of this quote in this network."""
        return digest(suite, self.message(suite, genesis_hash))


@dataclass(frozen=True, slots=True)
class SignedQuote:
    """A quote and 64 bytes of signature under its ``key_id``."""

    quote: Quote
    signature: bytes

    def encode(self) -> bytes:
        """Return 320 bytes."""
        if len(self.signature) != SIGNATURE_BYTES:
            raise EncodingError("quote signature bytes", len(self.signature), SIGNATURE_BYTES)
        return self.quote.encode() + self.signature

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 320 bytes; raises EncodingError. Whether the signature holds is not asked."""
        view = memoryview(data).cast("B")
        if view.nbytes != SIGNED_QUOTE_BYTES:
            raise EncodingError("signed quote bytes", view.nbytes, SIGNED_QUOTE_BYTES)
        return cls(Quote.decode(view[:QUOTE_BYTES]), view[QUOTE_BYTES:].tobytes())

    def verify(self, suite: int, genesis_hash: bytes, key_of: KeyLookup, now: int) -> None:
        """Demand that the provider's own key in force signed this quote for this network, and that it still stands.

        ``key_of`` maps a key id to the registered key or None. Raises BridgeRefused with quote_signature_invalid when
        the key is unknown, somebody else's, of another role or retired, or when the signature does not hold under it;
        then with quote_expired.
        """
        quote = self.quote
        key = key_of(quote.key_id)
        if key is None or key.participant != quote.provider or key.role != Role.ACCOUNT or not key.in_force(now):
            raise BridgeRefused(
                BridgeCode.QUOTE_SIGNATURE_INVALID,
                f"quote {quote.id:032x}: key {quote.key_id} signs for no account of participant {quote.provider} now",
            )
        public_key = key.public_key[: PUBLIC_KEY_BYTES[key.suite]]
        message = quote.message(suite, genesis_hash)
        if len(self.signature) != SIGNATURE_BYTES or not verify(key.suite, public_key, self.signature, message):
            raise BridgeRefused(
                BridgeCode.QUOTE_SIGNATURE_INVALID,
                f"quote {quote.id:032x}: the signature does not hold under key {quote.key_id}",
            )
        if now >= quote.expires_at:
            raise BridgeRefused(
                BridgeCode.QUOTE_EXPIRED, f"quote {quote.id:032x} stood until {quote.expires_at}, and it is {now}"
            )


def _wide(value: int) -> bytes:
    return value.to_bytes(16, "little")


def _int(data: bytes) -> int:
    return int.from_bytes(data, "little")
