"""A corridor's document: who may exchange what between two ledgers, when, within which limits, for which fees.

It promises one canonical encoding for each document, and that what a document says is checked before it is believed.
The relay keeps the document with the signatures of more than two thirds of the power and does not read it; here it
is read. Usage of limits stands in ``bridge.usage``; the instants of opening hours in ``bridge.calendar``.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Final, Self

import msgspec

from bridge.calendar import Calendar, Window, opens_at, window_of, zone_of
from bridge.fees import FEES_MAX, AccountText, AmountText, FeeRule, account_of, amount_of
from bridge.foreign_asset import FOREIGN_LEDGER_FIRST, ForeignAsset
from bridge.leg import HashFunction
from bridge.margins import Margins, SideMargins
from bridge.quotes import LOCK_S_MAX, QUOTE_VALID_NS_MAX, hash_functions_mask
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.travel_rule import Recipient, Scheme
from engine.governance import CORRIDOR_BYTES_MAX, Corridor
from engine.types import NS_PER_S, U32_MAX

__all__ = [
    "CorridorBook",
    "CorridorDocument",
    "Limits",
    "MarginPart",
    "MarginParts",
    "MarginRules",
    "Screening",
    "SupervisorKey",
    "decode_document",
]

CORRIDORS_MAX: Final = 256
"""As many as the relay keeps; of each the book holds the version in effect and those announced after it."""
VERSIONS_MAX: Final = 64
PROVIDERS_MAX: Final = 256
CALENDARS_MAX: Final = 4
_HASH_FUNCTIONS: Final = {"sha256": HashFunction.SHA256, "sm3": HashFunction.SM3}
_SCHEMES: Final = {"x25519": Scheme.X25519, "p256": Scheme.P256}
_KEY_DIGITS: Final = {"x25519": 64, "p256": 128}

_Number = Annotated[int, msgspec.Meta(ge=1, le=U32_MAX)]
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds in minor units of the source ledger; a day is a local date of ``day_zone``.

    ``payment_least`` and ``payment_most`` bound one payment's leg, ``day_most`` the sum of all in a day,
    ``participant_day_most`` the sum of one payer's.
    """

    payment_least: AmountText
    payment_most: AmountText
    day_most: AmountText
    participant_day_most: AmountText
    day_zone: str


class MarginPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A length of time in ns and the text that says how it was measured."""

    ns: Annotated[int, msgspec.Meta(ge=0, le=2_592_000 * NS_PER_S)]
    basis: _Text


class MarginParts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one chain takes, as ``bridge.margins.SideMargins``."""

    finality: MarginPart
    watching: MarginPart
    submission: MarginPart

    def side(self) -> SideMargins:
        """Return the lengths without their texts."""
        return SideMargins(self.finality.ns, self.watching.ns, self.submission.ns)


class MarginRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All parts from which margins are computed, and each one's basis; ``foreign`` by the name of the chain."""

    home: MarginParts
    skew: MarginPart
    failover: MarginPart
    stall: MarginPart
    foreign: dict[str, MarginParts] = {}


class SupervisorKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A supervisor and the key for which travel-rule data are sealed: ``scheme`` x25519 (32 bytes) or p256 (64)."""

    participant: _Number
    key_id: _Number
    scheme: Annotated[str, msgspec.Meta(pattern="^(?:x25519|p256)$")]
    public_key: Annotated[str, msgspec.Meta(pattern="^(?:[0-9a-f]{64}|[0-9a-f]{128})$")]

    def recipient(self) -> Recipient:
        """Return it as an envelope names it."""
        return Recipient(self.participant, self.key_id, _SCHEMES[self.scheme], bytes.fromhex(self.public_key))


class Screening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the edge asks of a payment before it is ordered.

    A name that scores ``hold_score`` (of 10,000) or more against a list is held; travel-rule data are needed from
    ``travel_rule_from`` minor units of the source ledger on, sealed for the two ``supervisors``.
    """

    hold_score: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    travel_rule_from: AmountText
    supervisors: Annotated[tuple[SupervisorKey, ...], msgspec.Meta(min_length=2, max_length=2)]


class CorridorDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """One version of a corridor; field by field as in docs/spec/12.

    Source and target are ledgers in the direction of the payment; the way back is a corridor of its own. Raises
    BridgeRefused (corridor_malformed) when made from values that contradict each other.
    """

    format: Annotated[int, msgspec.Meta(ge=1, le=1)]
    id: AccountText
    version: _Number
    source_ledger: _Number
    target_ledger: _Number
    suspended: bool
    calendars: Annotated[tuple[Calendar, ...], msgspec.Meta(max_length=CALENDARS_MAX)]
    limits: Limits
    fees: Annotated[tuple[FeeRule, ...], msgspec.Meta(max_length=FEES_MAX)]
    roundings: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=3)], ...], msgspec.Meta(min_length=1, max_length=3)]
    remainder_source_account: AccountText
    remainder_target_account: AccountText
    providers: Annotated[tuple[_Number, ...], msgspec.Meta(max_length=PROVIDERS_MAX)]
    hash_functions: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=2)]
    lock_s: Annotated[int, msgspec.Meta(ge=1, le=LOCK_S_MAX)]
    quote_s: Annotated[int, msgspec.Meta(ge=1, le=QUOTE_VALID_NS_MAX // NS_PER_S)]
    premium_volatility_ppb: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
    margins: MarginRules
    screening: Screening
    approval_note: _Text
    rules: Annotated[tuple[_Text, ...], msgspec.Meta(max_length=32)] = ()
    foreign: ForeignAsset | msgspec.UnsetType = msgspec.UNSET
    """The asset on a chain that is source or target; left out where both are ledgers of the network."""

    def __post_init__(self) -> None:
        """Check what the schema cannot say."""
        if self.source_ledger == self.target_ledger:
            raise _malformed("source and target are two ledgers")
        for name in ("providers", "roundings", "hash_functions"):
            found = getattr(self, name)
            if list(found) != sorted(set(found)):
                raise _malformed(f"{name} are ascending, each once")
        if not set(self.hash_functions) <= set(_HASH_FUNCTIONS):
            raise _malformed("hash functions are sha256 and sm3")
        limits = self.limits
        zone_of(limits.day_zone)
        amounts = (limits.payment_least, limits.payment_most, limits.participant_day_most, limits.day_most)
        if amount_of(amounts[0]) == 0 or [amount_of(each) for each in amounts] != sorted(map(amount_of, amounts)):
            raise _malformed("limits ascend from above 0: payment least, payment most, participant's day, day")
        account_of(self.remainder_source_account)
        account_of(self.remainder_target_account)
        supervisors = self.screening.supervisors
        if len({each.participant for each in supervisors}) != 2:
            raise _malformed("two different supervisors open the travel-rule data")
        if any(len(each.public_key) != _KEY_DIGITS[each.scheme] for each in supervisors):
            raise _malformed("a key of x25519 has 32 bytes, one of p256 64")
        amount_of(self.screening.travel_rule_from)
        if account_of(self.id) == 0:
            raise _malformed("id 0 is none")
        self._check_foreign()

    def _check_foreign(self) -> None:
        """Check what a corridor to or from a chain must say, and that no other one says it."""
        asset = self.asset
        places = {self.source_ledger, self.target_ledger}
        if asset is None:
            if max(places) >= FOREIGN_LEDGER_FIRST:
                raise _malformed("a number of an asset on a chain needs the part foreign")
            return
        if asset.ledger not in places or min(places) >= FOREIGN_LEDGER_FIRST:
            raise _malformed("one of source and target is the asset, the other one a ledger")
        if asset.chain not in self.margins.foreign:
            raise _malformed(f"margins for chain {asset.chain} are asked for")
        if tuple(each.participant for each in asset.providers) != self.providers:
            raise _malformed("every provider has one account on the chain, in the same order")
        if asset.ledger == self.source_ledger and (self.fees or self.premium_volatility_ppb):
            raise _malformed("on a chain nothing is paid beside the lock: no fees and no premium from there")

    @property
    def asset(self) -> ForeignAsset | None:
        """The asset on a chain that is source or target, None where both are ledgers of the network."""
        return None if isinstance(self.foreign, msgspec.UnsetType) else self.foreign

    @cached_property
    def id_bytes(self) -> bytes:
        """The corridor's 16 bytes as the relay keys it."""
        return bytes.fromhex(self.id)

    @cached_property
    def _hours(self) -> tuple[int, Window]:
        """The last window that was looked up, and the instant it was asked for; at first one that holds never."""
        return 0, Window(is_open=False, until_ns=0)

    @cached_property
    def _recipients(self) -> tuple[Recipient, ...]:
        return tuple(each.recipient() for each in self.screening.supervisors)

    @cached_property
    def _payment_bounds(self) -> tuple[int, int]:
        return amount_of(self.limits.payment_least), amount_of(self.limits.payment_most)

    @cached_property
    def _travel_rule_from(self) -> int:
        return amount_of(self.screening.travel_rule_from)

    @cached_property
    def day_bounds(self) -> tuple[int, int]:
        """The most of a day on this corridor, and of one participant's day."""
        return amount_of(self.limits.day_most), amount_of(self.limits.participant_day_most)

    @property
    def hash_function_mask(self) -> int:
        """The hash functions as a quote writes them."""
        return hash_functions_mask(*(_HASH_FUNCTIONS[name] for name in self.hash_functions))

    def encode(self) -> bytes:
        """Return the canonical JSON: keys in order, no spaces; raises BridgeRefused above the relay's bound."""
        data = msgspec.json.encode(self, order="sorted")
        if len(data) > CORRIDOR_BYTES_MAX:
            raise _malformed(f"the document takes {len(data)} bytes of at most {CORRIDOR_BYTES_MAX}")
        return data

    def record(self, effect_height: int) -> Corridor:
        """Return the body that the members of the relay sign: in effect from a relay height on."""
        return Corridor(self.id_bytes, self.version, effect_height, self.encode())

    def margins_of(self) -> Margins:
        """Return the margins without their texts."""
        rules = self.margins
        foreign = {chain: parts.side() for chain, parts in rules.foreign.items()}
        return Margins(rules.home.side(), foreign, rules.skew.ns, rules.failover.ns, rules.stall.ns)

    def demand_open(self, now_ns: int) -> None:
        """Demand that new swaps may begin; claims and refunds never ask. Raises BridgeRefused (corridor_closed)."""
        if self.suspended:
            raise BridgeRefused(
                BridgeCode.CORRIDOR_CLOSED, f"corridor {self.id} is suspended by version {self.version}"
            )
        since_ns, window = self._hours
        if not since_ns <= now_ns < window.until_ns:
            # Each swap asks and the answer changes a few times a day. The fields are frozen; this is not one of them.
            window = window_of(self.calendars, now_ns)
            self.__dict__["_hours"] = (now_ns, window)
        if not window.is_open:
            opening = opens_at(self.calendars, now_ns)
            when = "not within a year" if opening is None else f"at {opening} ns"
            raise BridgeRefused(
                BridgeCode.CORRIDOR_CLOSED, f"corridor {self.id} is closed at {now_ns} ns, opens {when}"
            )

    def demand_provider(self, participant: int) -> None:
        """Demand that a participant is listed; raises BridgeRefused (corridor_provider_not_listed)."""
        if participant not in self.providers:
            raise BridgeRefused(
                BridgeCode.CORRIDOR_PROVIDER_NOT_LISTED, f"participant {participant} on corridor {self.id}"
            )

    def demand_payment(self, amount: int) -> None:
        """Demand that one payment's leg is within bounds; raises BridgeRefused (corridor_limit_exceeded)."""
        least, most = self._payment_bounds
        if not least <= amount <= most:
            raise BridgeRefused(
                BridgeCode.CORRIDOR_LIMIT_EXCEEDED, f"{amount} on corridor {self.id}: one payment is {least} to {most}"
            )

    def recipients(self) -> tuple[Recipient, ...]:
        """Return the two for whom travel-rule data are sealed."""
        return self._recipients

    def needs_travel_rule(self, amount: int) -> bool:
        """Say whether a leg of this amount needs travel-rule data."""
        return amount >= self._travel_rule_from


_DECODER: Final = msgspec.json.Decoder(CorridorDocument)


def decode_document(data: bytes) -> CorridorDocument:
    """Read a document from exactly its canonical bytes; raises BridgeRefused (corridor_malformed) with the path."""
    if len(data) > CORRIDOR_BYTES_MAX:
        raise _malformed(f"the document takes {len(data)} bytes of at most {CORRIDOR_BYTES_MAX}")
    try:
        document = _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _malformed(str(error)) from error
    if document.encode() != data:
        raise _malformed("the bytes are not the canonical encoding of what they say")
    return document


class CorridorBook:
    """The corridors that the relay announced, by id and height; what is in effect is a function of the height alone."""

    def __init__(self) -> None:
        self._versions: dict[bytes, list[tuple[int, CorridorDocument]]] = {}

    def add(self, record: Corridor) -> CorridorDocument:
        """Take a corridor record of a finalized relay block, in the relay's order; return its document.

        A version that is known changes nothing. Raises BridgeRefused (corridor_malformed) for a document that does not
        belong to its record, and then keeps what was in effect.
        """
        document = decode_document(record.document)
        if document.id_bytes != record.id or document.version != record.version:
            raise _malformed(f"the document is version {document.version} of {document.id}, its record says otherwise")
        known = self._versions.get(record.id, [])
        if any(document.version == each.version for _, each in known):
            return document
        if known and document.version < known[-1][1].version:
            raise _malformed(f"version {document.version} of {document.id} comes after {known[-1][1].version}")
        if not known and len(self._versions) >= CORRIDORS_MAX:
            raise _malformed(f"more than {CORRIDORS_MAX} corridors")
        self._versions[record.id] = [*known, (record.effect_height, document)][-VERSIONS_MAX:]
        return document

    def in_effect(self, corridor_id: bytes, height: int) -> CorridorDocument:
        """Return the newest version whose effect height is reached.

        Raises BridgeRefused with corridor_unknown, or corridor_not_in_effect when only later heights have one.
        """
        versions = self._versions.get(corridor_id)
        if versions is None:
            raise BridgeRefused(BridgeCode.CORRIDOR_UNKNOWN, f"corridor {corridor_id.hex()}")
        for effect_height, document in reversed(versions):
            if effect_height <= height:
                return document
        raise BridgeRefused(
            BridgeCode.CORRIDOR_NOT_IN_EFFECT,
            f"corridor {corridor_id.hex()} begins at relay height {versions[0][0]}, and it is {height}",
        )

    def demand_version(self, corridor_id: bytes, version: int, height: int) -> CorridorDocument:
        """Return the version in effect if it is this one; raises BridgeRefused (corridor_not_in_effect) otherwise."""
        document = self.in_effect(corridor_id, height)
        if document.version != version:
            raise BridgeRefused(
                BridgeCode.CORRIDOR_NOT_IN_EFFECT,
                f"version {document.version} of corridor {corridor_id.hex()} is in effect at {height}, not {version}",
            )
        return document

    def between(self, source_ledger: int, target_ledger: int, height: int) -> tuple[CorridorDocument, ...]:
        """Return the documents in effect for an ordered pair of ledgers, by id."""
        return tuple(
            each
            for each in self.all_in_effect(height)
            if (each.source_ledger, each.target_ledger) == (source_ledger, target_ledger)
        )

    def all_in_effect(self, height: int) -> tuple[CorridorDocument, ...]:
        """Return every document in effect at a height, by id."""
        found = []
        for corridor_id in sorted(self._versions):
            effective = [each for effect, each in self._versions[corridor_id] if effect <= height]
            found.extend(effective[-1:])
        return tuple(found)

    @classmethod
    def of(cls, records: list[Corridor]) -> Self:
        """Return a book of these records."""
        book = cls()
        for record in records:
            book.add(record)
        return book


def _malformed(text: str) -> BridgeRefused:
    return BridgeRefused(BridgeCode.CORRIDOR_MALFORMED, text)
