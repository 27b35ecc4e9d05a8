"""What a payer's institution hands to a supervisor: a swap's terms, sealed envelopes and, after the claim, the salt.

It promises that a supervisor reads only envelopes that the terms name, and knows whether the secret which claimed the
legs was for these terms. It holds nothing in the open but the terms; it records no look, which is its caller's to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from bridge.refusals import BridgeCode, BridgeRefused
from bridge.terms import SALT_BYTES, SwapTerms, derive_secret, hash_preimage
from bridge.travel_route import salt_hash, sheaf_hash, split_sheaf
from bridge.travel_rule import EnvelopeRefusedError, Recipient, open_envelope, public_key_of, recipients_of
from engine.hashing import digest
from engine.types import HASH_BYTES

if TYPE_CHECKING:
    from bridge.travel_rule import TravelRuleData

__all__ = ["DISCLOSURE_BYTES_MAX", "Disclosed", "Disclosure", "decode_disclosure", "open_disclosure"]

DISCLOSURE_BYTES_MAX: Final = 262_144
_LOOK_PREFIX: Final = b"clearspan/travel-rule-look/1"


class Disclosure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One swap for its supervisors; all in hexadecimal. ``salt`` is empty until the secret is public."""

    format: Annotated[int, msgspec.Meta(ge=1, le=1)]
    network: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    terms: Annotated[str, msgspec.Meta(pattern="^(?:[0-9a-f]{2})+$")]
    envelopes: Annotated[str, msgspec.Meta(pattern="^(?:[0-9a-f]{2})*$")]
    salt: Annotated[str, msgspec.Meta(pattern="^(?:[0-9a-f]{64})?$")] = ""

    def encode(self) -> bytes:
        """Return its JSON, as a file holds it."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"

    def question(self, suite: int) -> bytes:
        """Return the 32 bytes that a look at it is recorded under."""
        return digest(suite, _LOOK_PREFIX + bytes.fromhex(self.network + self.terms + self.envelopes))


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What one supervisor reads: terms and data, the hops whose envelopes are his, and whether the secret was for them.

    ``is_proved`` is None while no salt is shown: then the terms name the envelopes, and no claim names the terms yet.
    """

    terms: SwapTerms
    data: TravelRuleData
    hops: tuple[int, ...]
    is_proved: bool | None


_DECODER: Final = msgspec.json.Decoder(Disclosure)


def decode_disclosure(data: bytes) -> Disclosure:
    """Read a file; raises BridgeRefused (terms_malformed)."""
    if len(data) > DISCLOSURE_BYTES_MAX:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"a disclosure of {len(data)} bytes")
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"a disclosure: {error}") from error


def open_disclosure(found: Disclosure, suite: int, network: bytes, participant: int, secret: bytes) -> Disclosed:
    """Open what is sealed for one supervisor with the 32 bytes of his key.

    Raises BridgeRefused: terms_malformed for another network's or for terms that are none, travel_rule_missing where
    the envelopes are not those of the terms or none is for him, travel_rule_mismatch where two of his hops, or the
    data and the terms, say different things.
    """
    terms = SwapTerms.decode(bytes.fromhex(found.terms))
    if bytes.fromhex(found.network) != network or terms.network != network:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, "the disclosure is of another network")
    envelopes = split_sheaf(bytes.fromhex(found.envelopes), len(terms.legs) - 1)
    if sheaf_hash(suite, envelopes) != terms.travel_rule_hash:
        raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, "the envelopes are not those that the terms name")
    opened = {hop: _opened(each, network, participant, secret) for hop, each in enumerate(envelopes) if each}
    mine = {hop: data for hop, data in opened.items() if data is not None}
    if not mine:
        raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, f"no envelope is sealed for participant {participant}")
    data, *others = mine.values()
    said = (data.uetr, int(data.amount_received))
    if any(each != data for each in others) or said != (terms.uetr.hex(), terms.legs[-1].amount):
        raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISMATCH, "the data are not about the payment of the terms")
    return Disclosed(terms, data, tuple(mine), _proved(found, terms, data, suite))


def _opened(envelope: bytes, network: bytes, participant: int, secret: bytes) -> TravelRuleData | None:
    """Open one envelope, None where it is not for this supervisor's key."""
    try:
        for its_participant, key_id, scheme in recipients_of(envelope, network):
            if its_participant == participant:
                recipient = Recipient(participant, key_id, scheme, public_key_of(scheme, secret))
                return open_envelope(envelope, network, recipient, secret)
    except EnvelopeRefusedError as error:
        raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, str(error)) from error
    return None


def _proved(found: Disclosure, terms: SwapTerms, data: TravelRuleData, suite: int) -> bool | None:
    if not found.salt:
        return None
    salt = bytes.fromhex(found.salt)
    assert (len(salt), len(terms.hashlock)) == (SALT_BYTES, HASH_BYTES)
    secret = derive_secret(salt, terms.commitment(suite))
    return salt_hash(salt).hex() == data.salt_hash and hash_preimage(terms.hash_function, secret) == terms.hashlock
