"""One leg of a swap's terms: whom it debits and credits, of what, until when; its bytes, and how they are read again.

It promises that what decodes encodes to the same bytes, and that a leg which was checked means something: values that
fit their fields, accounts as their chain writes them, two different ends.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec

from bridge.refusals import BridgeCode, BridgeRefused
from engine.types import U32_MAX, U128_MAX

__all__ = ["CorridorRef", "LegTerms", "TermsReader", "account_bytes", "account_text", "malformed"]

TEXT_BYTES_MAX: Final = 96
# ledger, timelock, amount, user data.
_LEG: Final = struct.Struct("<IQ16s16s")
_CORRIDOR: Final = struct.Struct("<16sI")


def malformed(what: str, found: object) -> BridgeRefused:
    """Return the refusal of terms that say something they cannot say."""
    return BridgeRefused(BridgeCode.TERMS_MALFORMED, f"{what}: {found!r}")


def account_text(account: int) -> str:
    """Write an account of ours as terms and orders carry it: 32 hexadecimal digits."""
    return f"{account:032x}"


@dataclass(frozen=True, slots=True)
class CorridorRef:
    """The corridor that one exchange of a swap goes by."""

    id: bytes
    version: int

    def encode(self) -> bytes:
        """Return the corridor's bytes as they stand in the terms."""
        return _CORRIDOR.pack(self.id, self.version)


class LegTerms(msgspec.Struct, frozen=True, gc=False):
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
        return _account(self.debit_account)

    @property
    def credit_id(self) -> int:
        """The credit account's number; of our legs only."""
        return _account(self.credit_account)

    def check(self, index: int) -> None:
        """Demand values that fit their fields; raises BridgeRefused (terms_malformed)."""
        fault = _fault_of_names(self.ledger, self.chain, self.asset, self.debit_account, self.credit_account)
        if fault is not None:
            what, found = fault
            raise malformed(f"leg {index} {what}", found)
        if not 0 < self.amount <= U128_MAX:
            raise malformed(f"leg {index} amount", self.amount)
        if not 0 < self.timelock_ns < 2**63:
            raise malformed(f"leg {index} timelock", self.timelock_ns)
        if not 0 <= self.user_data <= U128_MAX:
            raise malformed(f"leg {index} user data", self.user_data)

    def encode(self) -> bytes:
        """Return the leg's bytes as they stand in the terms."""
        amount, user_data = self.amount.to_bytes(16, "little"), self.user_data.to_bytes(16, "little")
        head = _LEG.pack(self.ledger, self.timelock_ns, amount, user_data)
        return head + _names(self.chain, self.asset, self.debit_account, self.credit_account)


# Few accounts have many swaps: what follows from names alone is remembered for those of late.
_NAMES_KEPT_MAX: Final = 4_096
_HEX_DIGITS: Final = frozenset("0123456789abcdef")


@lru_cache(maxsize=_NAMES_KEPT_MAX)
def _fault_of_names(ledger: int, chain: str, asset: str, debit: str, credit: str) -> tuple[str, object] | None:
    """Return what is wrong with where a leg stands and whom it names, None where nothing is."""
    for name, text in (("debit_account", debit), ("credit_account", credit), ("chain", chain), ("asset", asset)):
        if not text.isascii() or len(text) > TEXT_BYTES_MAX:
            return name, text
    if chain:
        fits = ledger == 0 and debit != "" and credit != ""
    else:
        fits = 0 < ledger <= U32_MAX and asset == "" and _is_account(debit) and _is_account(credit)
    if not fits:
        return "ledger and accounts", (ledger, debit, credit)
    return ("pays itself", debit) if debit == credit else None


@lru_cache(maxsize=_NAMES_KEPT_MAX)
def _names(chain: str, asset: str, debit: str, credit: str) -> bytes:
    """Return the names of a leg as they stand in the terms."""
    return b"".join(map(_text, (chain, asset, debit, credit)))


@lru_cache(maxsize=_NAMES_KEPT_MAX)
def _read_names(data: bytes) -> tuple[str, str, str, str]:
    """Read what ``_names`` wrote: four texts, each behind its length. Raises UnicodeDecodeError."""
    texts, at = [], 0
    for _ in range(4):
        texts.append(data[at + 1 : at + 1 + data[at]].decode("ascii"))
        at += 1 + data[at]
    chain, asset, debit, credit = texts
    return chain, asset, debit, credit


@lru_cache(maxsize=_NAMES_KEPT_MAX)
def _account(text: str) -> int:
    return int(text, 16)


@lru_cache(maxsize=_NAMES_KEPT_MAX)
def account_bytes(text: str) -> bytes:
    """Return an account of ours as records carry it, 16 bytes, from its 32 hexadecimal digits."""
    return _account(text).to_bytes(16, "little")


def _is_account(text: str) -> bool:
    return len(text) == 32 and _HEX_DIGITS.issuperset(text)


def _text(text: str) -> bytes:
    data = text.encode("ascii")
    return bytes((len(data),)) + data


class TermsReader:
    """Reads what follows the head; every step demands that the bytes are there."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at

    def skip(self, size: int) -> int:
        """Return where the next ``size`` bytes start, and step over them."""
        start = self._at
        if start + size > len(self._data):
            raise malformed("terms end early", len(self._data))
        self._at = start + size
        return start

    def corridor(self) -> CorridorRef:
        """Read the next corridor."""
        identity, version = _CORRIDOR.unpack_from(self._data, self.skip(_CORRIDOR.size))
        return CorridorRef(identity, version)

    def names(self) -> tuple[str, str, str, str]:
        """Read chain, asset, debit and credit account of a leg. Raises BridgeRefused (terms_malformed)."""
        start = self._at
        for _ in range(4):
            self.skip(self._data[self.skip(1)])
        try:
            return _read_names(self._data[start : self._at])
        except UnicodeDecodeError as error:
            raise malformed("text", self._data[start : self._at]) from error

    def leg(self) -> LegTerms:
        """Read the next leg, unchecked. Raises BridgeRefused (terms_malformed) where its bytes are not there."""
        ledger, timelock, amount, user_data = _LEG.unpack_from(self._data, self.skip(_LEG.size))
        chain, asset, debit, credit = self.names()
        amount_of, data_of = int.from_bytes(amount, "little"), int.from_bytes(user_data, "little")
        return LegTerms(ledger, debit, credit, amount_of, timelock, data_of, chain, asset)

    def end(self) -> None:
        """Demand that nothing follows. Raises BridgeRefused (terms_malformed)."""
        if self._at != len(self._data):
            raise malformed("bytes after the terms", len(self._data) - self._at)
