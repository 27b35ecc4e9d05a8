"""What the bridge refuses, as one closed table: number, class, gRPC status, ISO 20022 reason, next step (300 to 359).

It promises that a refusal is always one of these rows, with the fields that say by how much or of what. It knows
strings and no gRPC: the edge turns the names of statuses into its own. Numbers are never reused; the engine's own
codes end below 300, so one log line never means two things.

BridgeRefused     a request that the bridge does not take, with its row and its fields
└── SwapTooShort  a timelock that leaves too little time; ``short_by_ns`` says how much is missing
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from engine.codes import CodeClass

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BRIDGE_MEANINGS", "BridgeCode", "BridgeMeaning", "BridgeRefused", "SwapTooShort", "bridge_meaning"]


@unique
class BridgeCode(IntEnum):
    """The refusals of the bridge."""

    QUOTE_UNKNOWN = 300
    QUOTE_EXPIRED = 301
    QUOTE_EXHAUSTED = 302
    QUOTE_NOT_FOR_TAKER = 303
    QUOTE_AMOUNT_BELOW_MINIMUM = 304
    QUOTE_MALFORMED = 305
    QUOTE_SIGNATURE_INVALID = 306
    CORRIDOR_UNKNOWN = 310
    CORRIDOR_CLOSED = 311
    CORRIDOR_NOT_IN_EFFECT = 312
    CORRIDOR_LIMIT_EXCEEDED = 313
    CORRIDOR_PROVIDER_NOT_LISTED = 314
    CORRIDOR_MALFORMED = 315
    SWAP_TOO_SHORT = 320
    MARGIN_TOO_SMALL = 321
    LEGS_DO_NOT_MATCH = 322
    LEG_NOT_FINAL = 323
    HASH_REUSED = 324
    HASH_FUNCTION_UNSUPPORTED = 325
    PREIMAGE_LENGTH = 326
    PREIMAGE_MISMATCH = 327
    LEG_ORDER_UNSAFE = 328
    ALREADY_REVEALED = 329
    NO_ROUTE = 330
    SCREENING_HOLD = 331
    APPROVAL_REQUIRED = 332
    TRAVEL_RULE_MISSING = 333
    PROVIDER_REFUSED = 334
    FOREIGN_CHAIN_UNAVAILABLE = 335
    TRAVEL_RULE_MISMATCH = 336
    SWAP_UNKNOWN = 340
    TERMS_MALFORMED = 341
    DUPLICATE_SWAP = 342
    LIMITS_EXCEEDED = 343
    NOT_YOUR_SWAP = 344
    BRIDGE_OVERLOADED = 345
    LOCK_REFUSED = 346
    PREMIUM_OWED = 347
    ALARM_UNKNOWN = 350
    BREAKER_UNPROVED = 351
    OFFICER_REFUSED = 352
    LOOK_REFUSED = 353
    RELAY_NOT_READ = 354


@dataclass(frozen=True, slots=True)
class BridgeMeaning:
    """One row of the table."""

    code: BridgeCode
    code_class: CodeClass
    grpc_status: str
    iso_reason: str
    next_step: str

    @property
    def name(self) -> str:
        """The name as it is written in documents and JSON."""
        return self.code.name.lower()


_NEW_QUOTE: Final = "Ask for a new quote; nothing was locked."
_REBUILD: Final = "Build the swap again from its quotes; nothing was locked."

# name -> (class, gRPC status, ISO 20022 reason, next step)
_ROWS: Final[dict[str, tuple[str, str, str, str]]] = {
    "QUOTE_UNKNOWN": ("no", "NOT_FOUND", "RF01", _NEW_QUOTE),
    "QUOTE_EXPIRED": ("no", "DEADLINE_EXCEEDED", "TM01", _NEW_QUOTE),
    "QUOTE_EXHAUSTED": ("no", "RESOURCE_EXHAUSTED", "AM02", "Take a smaller amount or ask for a new quote."),
    "QUOTE_NOT_FOR_TAKER": ("no", "PERMISSION_DENIED", "AG01", "Ask the provider for a quote of your own."),
    "QUOTE_AMOUNT_BELOW_MINIMUM": ("no", "FAILED_PRECONDITION", "AM01", "Take at least the quote's least amount."),
    "QUOTE_MALFORMED": ("no", "INVALID_ARGUMENT", "FF01", _NEW_QUOTE),
    "QUOTE_SIGNATURE_INVALID": ("no", "PERMISSION_DENIED", "DS0D", _NEW_QUOTE),
    "CORRIDOR_UNKNOWN": ("no", "NOT_FOUND", "AGNT", "Read the corridors in effect and choose one of them."),
    "CORRIDOR_CLOSED": ("open", "FAILED_PRECONDITION", "TM01", "Send it again when the corridor opens."),
    "CORRIDOR_NOT_IN_EFFECT": (
        "open",
        "FAILED_PRECONDITION",
        "TM01",
        "Wait for its relay height or use its successor.",
    ),
    "CORRIDOR_LIMIT_EXCEEDED": ("no", "RESOURCE_EXHAUSTED", "AM02", "Take less, or wait for the next business day."),
    "CORRIDOR_PROVIDER_NOT_LISTED": ("no", "PERMISSION_DENIED", "AGNT", "Choose a provider that the corridor lists."),
    "CORRIDOR_MALFORMED": ("no", "INVALID_ARGUMENT", "FF01", "Correct the document and sign it again."),
    "SWAP_TOO_SHORT": (
        "no",
        "FAILED_PRECONDITION",
        "TM01",
        "Make the timelock later by what is missing; nothing was locked.",
    ),
    "MARGIN_TOO_SMALL": (
        "no",
        "FAILED_PRECONDITION",
        "TM01",
        "Put the two timelocks further apart; nothing was locked.",
    ),
    "LEGS_DO_NOT_MATCH": ("no", "FAILED_PRECONDITION", "AM09", _REBUILD),
    "LEG_NOT_FINAL": ("open", "FAILED_PRECONDITION", "AG01", "Ask again when the leg before is final."),
    "HASH_REUSED": ("no", "ALREADY_EXISTS", "DU03", "Begin a new swap with a new secret; nothing was locked."),
    "HASH_FUNCTION_UNSUPPORTED": (
        "no",
        "UNIMPLEMENTED",
        "DS0B",
        "Use a hash function that every leg of the swap knows.",
    ),
    "PREIMAGE_LENGTH": ("no", "INVALID_ARGUMENT", "FF01", "A preimage has exactly 32 bytes."),
    "PREIMAGE_MISMATCH": ("no", "INVALID_ARGUMENT", "FF01", "The preimage is not the one behind the hashlock."),
    "LEG_ORDER_UNSAFE": ("no", "FAILED_PRECONDITION", "AG01", "A foreign leg stands first or last, and alone."),
    "ALREADY_REVEALED": ("no", "FAILED_PRECONDITION", "DU03", "The secret is public; begin a new swap with a new one."),
    "NO_ROUTE": ("open", "NOT_FOUND", "AGNT", "No chain of quotes leads there now; ask again or name a provider."),
    "SCREENING_HOLD": ("ask", "FAILED_PRECONDITION", "RR04", "A person decides; follow the case by its number."),
    "APPROVAL_REQUIRED": ("ask", "FAILED_PRECONDITION", "AG01", "Both supervisors must approve; follow the held lock."),
    "TRAVEL_RULE_MISSING": ("no", "FAILED_PRECONDITION", "RR02", "Attach the travel-rule data of payer and payee."),
    "TRAVEL_RULE_MISMATCH": (
        "no",
        "FAILED_PRECONDITION",
        "RR02",
        "Give the same payer and payee in the data, the order and the message; nothing was locked.",
    ),
    "PROVIDER_REFUSED": ("no", "ABORTED", "AGNT", "Ask another provider; what is locked comes back at its timelock."),
    "FOREIGN_CHAIN_UNAVAILABLE": ("open", "UNAVAILABLE", "AB09", "Send it again when the chain answers."),
    "SWAP_UNKNOWN": ("open", "NOT_FOUND", "NARR", "Check the number of the swap."),
    "TERMS_MALFORMED": ("no", "INVALID_ARGUMENT", "FF01", _REBUILD),
    "DUPLICATE_SWAP": ("no", "ALREADY_EXISTS", "DU03", "These terms are known; look the swap up."),
    "LIMITS_EXCEEDED": ("open", "RESOURCE_EXHAUSTED", "AM02", "Wait until running swaps have ended."),
    "NOT_YOUR_SWAP": ("no", "PERMISSION_DENIED", "AG01", "Ask the bridge of a participant that is a party to it."),
    "BRIDGE_OVERLOADED": ("open", "RESOURCE_EXHAUSTED", "ED06", "Wait a moment and send the same again."),
    "LOCK_REFUSED": ("no", "FAILED_PRECONDITION", "AG01", "The ledger refused the lock; its own code says why."),
    "PREMIUM_OWED": ("open", "FAILED_PRECONDITION", "AG01", "Pay the quote's premium and ask again with its record."),
    "ALARM_UNKNOWN": ("no", "NOT_FOUND", "NARR", "List the open alarms: clearspan bridge status."),
    "BREAKER_UNPROVED": ("open", "FAILED_PRECONDITION", "AG01", "Send it again when its ledger's decision is final."),
    "OFFICER_REFUSED": ("no", "PERMISSION_DENIED", "AG01", "Use a certificate that the bridge names as an officer's."),
    "LOOK_REFUSED": ("no", "PERMISSION_DENIED", "AG01", "Sign the look as supervisor, for this question."),
    "RELAY_NOT_READ": ("open", "UNAVAILABLE", "AB09", "Send it again when the bridge has read what it missed."),
}


def _meaning(code: BridgeCode) -> BridgeMeaning:
    code_class, grpc_status, iso_reason, next_step = _ROWS[code.name]
    return BridgeMeaning(code, CodeClass(code_class), grpc_status, iso_reason, next_step)


BRIDGE_MEANINGS: Final[Mapping[BridgeCode, BridgeMeaning]] = MappingProxyType(
    {code: _meaning(code) for code in BridgeCode}
)
"""The whole table; a code without a row fails at import."""


def bridge_meaning(code: int) -> BridgeMeaning:
    """Return the row of a code; raises ValueError for a number that is none."""
    return BRIDGE_MEANINGS[BridgeCode(code)]


class BridgeRefused(Exception):  # noqa: N818 - named as what it is, like the other refusals
    """The bridge does not take this: ``code`` is its row, ``text`` says of what, ``leg`` which leg (-1: the swap)."""

    def __init__(self, code: BridgeCode, text: str, *, leg: int = -1) -> None:
        """Keep the fields for callers that answer with them."""
        super().__init__(f"{code.name.lower()}: {text}")
        self.code = code
        self.text = text
        self.leg = leg

    @property
    def meaning(self) -> BridgeMeaning:
        """The code's row."""
        return BRIDGE_MEANINGS[self.code]


class SwapTooShort(BridgeRefused):
    """Too little time: ``needed_ns`` is what the margins ask for, ``given_ns`` what there is."""

    def __init__(self, code: BridgeCode, what: str, needed_ns: int, given_ns: int, *, leg: int = -1) -> None:
        """Keep both lengths; their difference is what the caller must add."""
        super().__init__(
            code,
            f"{what}: {_ms(needed_ns)} are needed, {_ms(given_ns)} are there, {_ms(needed_ns - given_ns)} are missing",
            leg=leg,
        )
        self.needed_ns = needed_ns
        self.given_ns = given_ns

    @property
    def short_by_ns(self) -> int:
        """By how much it is too short."""
        return self.needed_ns - self.given_ns


def _ms(length_ns: int) -> str:
    """Return a length in whole ms, rounded up, so that whoever adds what is missing has added enough."""
    return f"{-(-length_ns // 1_000_000):,} ms"
