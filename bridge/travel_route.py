"""Travel-rule data of a whole route: an envelope for each hop, sealed for that hop's two supervisors and nobody else.

It promises that one hash in the terms binds every envelope of the route, that a provider is shown the envelope of his
own hop and of the others nothing but their hashes, and that both sides demand the right supervisors for each hop. It
opens nothing.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from bridge.refusals import BridgeCode, BridgeRefused
from bridge.travel_rule import (
    DATA_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    Line,
    Party,
    TravelRuleData,
    demand_recipients,
    envelope_hash,
    seal,
)
from engine.hashing import digest
from engine.types import HASH_BYTES, ZERO_HASH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.travel_rule import Recipient, Seeds

__all__ = [
    "HopRule",
    "PaymentParties",
    "SealedPayment",
    "decode_parties",
    "demand_part",
    "demand_sheaf",
    "join_sheaf",
    "part_of",
    "salt_hash",
    "seal_route",
    "sheaf_hash",
    "split_sheaf",
]

_LENGTH: Final = struct.Struct("<I")
_ROUTE_PREFIX: Final = b"clearspan/travel-rule-route/1"
_SALT_PREFIX: Final = b"clearspan/travel-rule-salt/1"
_PARTIES_PREFIX: Final = b"clearspan/travel-rule-parties/1"


class PaymentParties(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who pays and who is paid, as the payer's institution knows them; the rest is added when they are sealed."""

    format: Annotated[int, msgspec.Meta(ge=1, le=1)]
    originator: Party
    beneficiary: Party
    purpose: Line = ""

    def __post_init__(self) -> None:
        """Demand that the originator can be told apart."""
        self.originator.demand_known()

    def digest(self, suite: int) -> bytes:
        """Return 32 bytes that name these parties, the same however often they are sealed."""
        return digest(suite, _PARTIES_PREFIX + msgspec.json.encode(self, order="sorted"))


_DECODER: Final = msgspec.json.Decoder(PaymentParties)


def decode_parties(data: bytes) -> PaymentParties:
    """Read the parties of a payment; raises BridgeRefused (terms_malformed, or travel_rule_missing for a nobody)."""
    if len(data) > DATA_BYTES_MAX:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"travel-rule data of {len(data)} bytes")
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"travel-rule data: {error}") from error


@dataclass(frozen=True, slots=True)
class SealedPayment:
    """What is sealed beside the parties: amounts in minor units, UETR (16 bytes), ends of the route, and the salt."""

    uetr: bytes
    sent: int
    received: int
    source_ledger: int
    target_ledger: int
    salt: bytes


@dataclass(frozen=True, slots=True)
class HopRule:
    """What one hop of so many asks: for whom its envelope is sealed, and whether there must be one."""

    hop: int
    hops: int
    recipients: tuple[Recipient, ...]
    is_needed: bool


def salt_hash(salt: bytes) -> bytes:
    """Return what stands for the salt under seal: who knows it can check the salt later, and not compute the secret."""
    return hashlib.sha256(_SALT_PREFIX + salt).digest()


def seal_route(
    parties: PaymentParties,
    payment: SealedPayment,
    hops: Sequence[Sequence[Recipient]],
    network: bytes,
    seeds: Sequence[Seeds],
) -> tuple[bytes, ...]:
    """Return an envelope for each hop with the same data; ``hops`` are the supervisors of each. Raises as ``seal``."""
    data = TravelRuleData(
        format=1,
        uetr=payment.uetr.hex(),
        originator=parties.originator,
        beneficiary=parties.beneficiary,
        amount_sent=str(payment.sent),
        amount_received=str(payment.received),
        source_ledger=payment.source_ledger,
        target_ledger=payment.target_ledger,
        salt_hash=salt_hash(payment.salt).hex(),
        purpose=parties.purpose,
    )
    return tuple(seal(data, hop, network, fresh) for hop, fresh in zip(hops, seeds, strict=True))


def sheaf_hash(suite: int, envelopes: Sequence[bytes]) -> bytes:
    """Return the hash that stands in the terms: of one hop its envelope's, of several one over all; zeros for none."""
    return _hash_of_hashes(suite, [envelope_hash(suite, each) if each else ZERO_HASH for each in envelopes])


def join_sheaf(envelopes: Sequence[bytes]) -> bytes:
    """Return the envelopes of a route as bytes, in the order of its hops; an empty one is none."""
    if len(envelopes) == 1:
        return envelopes[0]
    return b"".join(_LENGTH.pack(len(each)) + each for each in envelopes)


def split_sheaf(data: bytes, hops: int) -> tuple[bytes, ...]:
    """Return the envelopes of a route of so many hops; no bytes are none. Raises BridgeRefused (terms_malformed)."""
    if not data:
        return (b"",) * hops
    if len(data) > hops * (_LENGTH.size + ENVELOPE_BYTES_MAX):
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"envelopes of {len(data)} bytes for {hops} hops")
    if hops == 1:
        return (data,)
    found, at = [], 0
    while at < len(data):
        end = at + _LENGTH.size
        length = _LENGTH.unpack_from(data, at)[0] if end <= len(data) else len(data)
        found.append(data[end : end + length])
        at = end + length
    if at != len(data) or len(found) != hops:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"the bytes are not {hops} envelopes")
    return tuple(found)


def part_of(suite: int, envelopes: Sequence[bytes], hop: int) -> bytes:
    """Return what the provider of a hop is shown: his envelope, and on a longer route the hashes of all before it."""
    if len(envelopes) == 1 or not any(envelopes):
        return envelopes[hop]
    hashes = b"".join(envelope_hash(suite, each) if each else ZERO_HASH for each in envelopes)
    return hashes + envelopes[hop]


def demand_sheaf(suite: int, network: bytes, named: bytes, data: bytes, rules: Sequence[HopRule]) -> None:
    """Demand the envelopes that terms name, each hop's for its own supervisors, and one wherever it is asked for.

    Raises BridgeRefused: travel_rule_missing, terms_malformed.
    """
    envelopes = split_sheaf(data, len(rules))
    for rule in rules:
        demand_part(suite, network, named, part_of(suite, envelopes, rule.hop), rule)


def demand_part(suite: int, network: bytes, named: bytes, part: bytes, rule: HopRule) -> None:
    """Demand that one hop's part belongs to the hash ``named`` in the terms, and is for that hop's supervisors.

    Raises BridgeRefused (travel_rule_missing).
    """
    hop, hops = rule.hop, rule.hops
    envelope, expected = part, named
    if named == ZERO_HASH and part:
        raise _missing("the terms name no envelope, and one is shown")
    if hops > 1 and named != ZERO_HASH:
        hashes = [part[at : at + HASH_BYTES] for at in range(0, hops * HASH_BYTES, HASH_BYTES)]
        envelope, expected = part[hops * HASH_BYTES :], hashes[hop]
        if _hash_of_hashes(suite, hashes) != named:
            raise _missing("the envelopes are not those that the terms name")
    if expected == ZERO_HASH and not envelope:
        if rule.is_needed:
            raise _missing("this amount on this corridor needs the data of payer and payee")
        return
    if envelope_hash(suite, envelope) != expected:
        raise _missing("the envelope is not the one that the terms name")
    demand_recipients(envelope, network, rule.recipients)


def _hash_of_hashes(suite: int, hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1 or not any(map(any, hashes)):
        return hashes[0]
    return digest(suite, _ROUTE_PREFIX + b"".join(hashes))


def _missing(text: str) -> BridgeRefused:
    return BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, text)
