"""Transfers beside the locks of a swap: premiums when a provider is asked, fees and remainders once the leg is claimed.

It promises that each is made once: planned with the swap, signed and written down before it is sent, sent again as the
same bytes until the ledger answers, also after a restart, and gone only when it is answered or no longer owed. What an
unanswered one does to its swap is nothing: locks, reveals and claims never wait for it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from bridge.fees import fees_of
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.routes import Purpose, demand_fair
from bridge.terms import record_id
from clearspan.bridging.journal.book import NoteKind
from clearspan.bridging.journal.store import Note
from engine.codes import MEANINGS, CodeClass, ResultCode, code_name
from engine.hashing import digest
from engine.prefix import PrefixType, record_digest, signing_prefix
from engine.record import Transfer
from engine.types import HASH_BYTES, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bridge.corridor import CorridorDocument
    from bridge.quotes import Quote
    from bridge.routes import Plan
    from bridge.terms import SwapTerms
    from engine.genesis import Genesis

__all__ = [
    "Beside",
    "BesideBook",
    "Due",
    "Sending",
    "beside_id",
    "due_of_payer",
    "due_of_provider",
    "onward_of",
    "premium_in",
]

_PREFIX: Final = b"clearspan/beside/1"
_ROW: Final = struct.Struct("<BBHIIIQ16s16s16s16s")  # when due, number, code, ledger, key id, window, signed at, …
_AGAIN_NS: Final = 5 * NS_PER_S
_CODES: Final = frozenset(ResultCode)
_log = structlog.get_logger("clearspan.bridging")


@unique
class Due(IntEnum):
    """When a transfer beside the locks is made."""

    ASKED = 1
    """A premium: when the option is taken, whatever comes of the swap."""
    CLAIMED = 2
    """A fee or a remainder: when the leg was claimed, and that is final."""
    PAID = 3
    """A middleman's premium onward: when he accepts, which he does only when the one that pays for it is final."""
    RETURNED = 4
    """A premium whose option is not honoured: when that is refused."""


@dataclass(frozen=True, slots=True)
class Beside:
    """One transfer of one party's side of a swap; ``number`` tells them apart, ``signed_at`` 0 is not owed yet."""

    party: bytes
    number: int
    due: Due
    ledger: int
    debit: int
    credit: int
    amount: int
    user_data: int
    key_id: int = 0
    window_s: int = 0
    signed_at: int = 0
    code: int = 0

    @property
    def key(self) -> bytes:
        """What it is kept under."""
        return self.party + bytes([self.number])

    def encode(self) -> bytes:
        """Return what is kept of it."""
        wide = (self.debit, self.credit, self.amount, self.user_data)
        head = (self.due, self.number, self.code, self.ledger, self.key_id, self.window_s, self.signed_at)
        return _ROW.pack(*head, *(value.to_bytes(16, "little") for value in wide))

    @classmethod
    def decode(cls, key: bytes, data: bytes) -> Beside:
        """Read what was kept."""
        due, number, code, ledger, key_id, window_s, signed_at, *wide = _ROW.unpack(data)
        debit, credit, amount, user_data = (int.from_bytes(each, "little") for each in wide)
        return cls(
            key[:HASH_BYTES],
            number,
            Due(due),
            ledger,
            debit,
            credit,
            amount,
            user_data,
            key_id,
            window_s,
            signed_at,
            code,
        )

    def record(self, suite: int) -> bytes:
        """Return the record to send: the same bytes whenever it is asked for, so that a retry is safe."""
        return Transfer(
            id=beside_id(suite, self.party, self.number),
            debit_account=self.debit,
            credit_account=self.credit,
            amount=self.amount,
            ledger=self.ledger,
            key_id=self.key_id,
            expires_at=self.signed_at + self.window_s * NS_PER_S,
            valid_for_s=self.window_s,
            user_data=self.user_data,
        ).encode()


def beside_id(suite: int, party: bytes, number: int) -> int:
    """Return the transfer id of a party's transfer of a number: with it a premium pays for one swap and no other."""
    return record_id(digest(suite, _PREFIX + party + bytes([number])))


class Sending(NamedTuple):
    """A transfer that may leave: its ledger, its digest and its record."""

    ledger: int
    digest: bytes
    record: bytes


def due_of_payer(party: bytes, terms: SwapTerms, plan: Plan) -> list[Beside]:
    """Return what the payer owes beside his lock: all of the plan on his ledger."""
    first = terms.legs[0].ledger
    user_data = int.from_bytes(terms.uetr, "big")
    return [
        Beside(
            party,
            number,
            Due.ASKED if each.purpose is Purpose.PREMIUM else Due.CLAIMED,
            each.ledger,
            each.debit_account,
            each.credit_account,
            each.amount,
            user_data,
        )
        for number, each in enumerate(each for each in plan.transfers if each.ledger == first)
    ]


def due_of_provider(
    party: bytes, terms: SwapTerms, leg: int, quotes: Sequence[Quote], following: CorridorDocument | None
) -> list[Beside]:
    """Return what the provider of a leg owes beside his lock, from the terms and the quotes alone.

    ``quotes`` are his own and those of the hops behind it, ``following`` is the corridor of the next hop. Raises
    BridgeRefused (legs_do_not_match) where leg and fees are more than his quote delivers, or a quote behind his is
    not the one that the terms name.
    """
    quote, amount = quotes[0], terms.legs[leg].amount
    fees = fees_of(following.fees, amount) if following is not None else ()
    taken = amount + sum(fee.amount for fee in fees)
    demand_fair(quote, terms.legs[leg - 1].amount, taken)
    rows: list[tuple[Due, int, int]] = []
    onward = onward_of(terms, leg, quotes)
    if onward:
        rows.append((Due.PAID, terms.legs[leg].credit_id, onward))
    rows += [(Due.CLAIMED, fee.account, fee.amount) for fee in fees]
    remainder = quote.delivers(terms.legs[leg - 1].amount) - taken
    if remainder:
        rows.append((Due.CLAIMED, quote.remainder_target_account, remainder))
    own, user_data = terms.legs[leg], int.from_bytes(terms.uetr, "big")
    return [
        Beside(party, number, due, own.ledger, own.debit_id, credit, value, user_data)
        for number, (due, credit, value) in enumerate(rows)
    ]


def premium_in(terms: SwapTerms, leg: int, quotes: Sequence[Quote]) -> int:
    """Return the premium that the provider of a leg is paid on the ledger before: its share, and what it pays on."""
    onward = onward_of(terms, leg, quotes)
    return quotes[0].premium_of(terms.legs[leg - 1].amount) + (quotes[0].needs(onward) if onward else 0)


def onward_of(terms: SwapTerms, leg: int, quotes: Sequence[Quote]) -> int:
    """Return the premium that the provider of a leg pays the next one, for him and all behind him.

    Raises BridgeRefused (legs_do_not_match) for other quotes than one for each leg from this one on.
    """
    if len(quotes) != len(terms.legs) - leg:
        text = f"{len(quotes)} quotes for the {len(terms.legs) - leg} legs from leg {leg} on"
        raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, text, leg=leg)
    premium = 0
    for hop in range(len(quotes) - 1, 0, -1):
        quote, principal = quotes[hop], terms.legs[leg + hop - 1].amount
        if quote.id != terms.legs[leg + hop].user_data:
            raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, f"leg {leg + hop} stands on another quote", leg=leg + hop)
        premium = quote.premium_of(principal) + (quote.needs(premium) if premium else 0)
    return premium


class BesideBook:
    """The transfers that are planned or unanswered. Use from one event loop.

    What ``take_written`` returns is made durable first; then what ``take_sendings`` returns may leave.
    """

    def __init__(self, genesis: Genesis, key_of: Callable[[int, int], int], windows: Mapping[int, int]) -> None:
        """Take what signs for an account of a ledger, and how long records of a ledger are valid (s)."""
        self._suite = genesis.hash_suite
        self._prefix = signing_prefix(self._suite, PrefixType.TRANSFER, genesis.hash)
        self._key_of, self._windows = key_of, windows
        self._rows: dict[bytes, Beside] = {}
        self._by_party: dict[bytes, list[bytes]] = {}
        self._by_digest: dict[bytes, bytes] = {}
        self._written: dict[bytes, bytes | None] = {}
        self._sendings: list[Sending] = []
        self._sent_at: dict[bytes, int] = {}
        self.notes: list[Note] = []

    def __len__(self) -> int:
        return len(self._rows)

    def plan(self, rows: Iterable[Beside]) -> None:
        """Take what a swap that begins will owe."""
        for row in rows:
            self._put(row)

    def start(self, party: bytes, due: Due, now: int) -> list[bytes]:
        """Sign what is due now and was not signed yet; return the records of all that is."""
        found = []
        for key in self._by_party.get(party, ()):
            row = self._rows[key]
            if row.due is not due:
                continue
            if not row.signed_at:
                window = self._windows[row.ledger]
                row = replace(row, key_id=self._key_of(row.ledger, row.debit), window_s=window, signed_at=now)
                self._put(row)
                self._send(row)
            found.append(row.record(self._suite))
        return found

    def end(self, party: bytes, now: int, *, claimed: bool) -> None:
        """Take the end of a swap: what hangs on the claim is due, or is owed no more."""
        if claimed:
            self.start(party, Due.CLAIMED, now)
        for key in tuple(self._by_party.get(party, ())):
            if not self._rows[key].signed_at:
                self._drop(key)

    def signed(self, party: bytes, number: int) -> Beside | None:
        """Return a party's transfer of a number where it is signed and unanswered."""
        row = self._rows.get(party + bytes([number]))
        return row if row is not None and row.signed_at else None

    def on_answer(self, found: bytes, code: int) -> str:
        """Take a ledger's answer; return a sentence for a person where it will not be made, else nothing."""
        key = self._by_digest.get(found)
        if key is None:
            return ""
        row = self._rows[key]
        meaning = MEANINGS.get(ResultCode(code)) if code in _CODES else None
        if meaning is None or meaning.code_class is CodeClass.OPEN or code == ResultCode.HELD:
            return ""  # it is sent again; one that is held answers until its supervisors or its clock have decided
        self.notes.append(Note(row.party, row.number, NoteKind.BESIDE, replace(row, code=code).encode()))
        self._drop(key)
        if meaning.code_class not in (CodeClass.NO, CodeClass.ASK):
            return ""
        text = f"{row.amount} to {row.credit:032x} on ledger {row.ledger} was refused: {code_name(code)}"
        _log.warning("beside_refused", party=row.party.hex(), code=code, ledger=row.ledger)
        return text

    def tick(self, now: int) -> list[Sending]:
        """Return what was sent a while ago and is unanswered, to be sent again."""
        found = []
        for key, sent_at in self._sent_at.items():
            if now >= sent_at + _AGAIN_NS:
                self._sent_at[key] = now
                found.append(self._sending(self._rows[key]))
        return found

    def restore(
        self, rows: Iterable[tuple[bytes, bytes]], claimed_of: Callable[[bytes], bool | None], now: int
    ) -> None:
        """Take back what was kept; ``claimed_of`` says whether a party's leg was claimed, None while its swap runs."""
        for key, data in rows:
            row = Beside.decode(key, data)
            self._keep(row)
            if row.signed_at:
                self._send(row)
        for party in tuple(self._by_party):
            claimed = claimed_of(party)
            if claimed is not None:
                self.end(party, now, claimed=claimed)

    def take_written(self) -> list[tuple[bytes, bytes | None]]:
        """Return what is to be written now."""
        found, self._written = self._written, {}
        return list(found.items())

    def take_notes(self) -> list[Note]:
        """Return what is to be kept of those that were answered."""
        found, self.notes = self.notes, []
        return found

    def take_sendings(self) -> list[Sending]:
        """Return what may leave once all that was taken before is durable."""
        found, self._sendings = self._sendings, []
        return found

    def left(self, sendings: Iterable[Sending], now: int) -> None:
        """Take that these have left; only then are they sent again, for before they may not be durable."""
        for each in sendings:
            key = self._by_digest.get(each.digest)
            if key is not None:
                self._sent_at[key] = now

    def _put(self, row: Beside) -> None:
        self._keep(row)
        self._written[row.key] = row.encode()

    def _keep(self, row: Beside) -> None:
        if row.key not in self._rows:
            self._by_party.setdefault(row.party, []).append(row.key)
        self._rows[row.key] = row

    def _send(self, row: Beside) -> None:
        sending = self._sending(row)
        self._by_digest[sending.digest] = row.key
        self._sendings.append(sending)

    def _sending(self, row: Beside) -> Sending:
        record = row.record(self._suite)
        return Sending(row.ledger, record_digest(self._suite, self._prefix, record), record)

    def _drop(self, key: bytes) -> None:
        row = self._rows.pop(key)
        self._sent_at.pop(key, None)
        self._written[key] = None
        if row.signed_at:
            self._by_digest.pop(self._sending(row).digest, None)
        mine = self._by_party[row.party]
        mine.remove(key)
        if not mine:
            del self._by_party[row.party]
