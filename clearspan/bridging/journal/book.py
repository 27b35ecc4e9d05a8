"""The swaps that run, as the shell knows them: each leg's lock by its digests, what was seen of it, and the timeline.

What a swap may do is its machine's to say; here stands what leads from a decision in a final block to the machine, and
what a person is shown. It promises that a digest leads to one leg of one party's side and nothing else.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final, NamedTuple

from bridge.journal import leg_of, read_finished
from bridge.ports import EntryKind, Outcome
from bridge.refusals import BridgeCode, BridgeRefused, bridge_meaning
from bridge.terms import leg_digest
from bridge.watcher import SWAPS_MAX
from engine.codes import code_name
from engine.hashing import digest
from engine.prefix import CLAIM_TAG, REFUND_TAG, record_digest
from engine.record import NO_BINDING, participant_of_account
from engine.types import RECORD_BYTES, TransferFlag, TransferKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bridge.leg import LockOrder, LockState
    from bridge.ports import Entry
    from bridge.terms import SwapTerms

__all__ = [
    "NOTHING_PAID",
    "LegPart",
    "LegRecord",
    "LegState",
    "Moment",
    "NoteKind",
    "OpenSwap",
    "SwapBook",
    "moments_of",
]

NOTHING_PAID: Final = frozenset({Outcome.REFUNDED, Outcome.ABANDONED})
"""Outcomes after which a payer may order the same again."""

ENDED_KEPT_MAX: Final = 20_000
"""Swaps that ended, kept in memory for whoever asks; older ones are read from the journal."""
_LEG_NOTE: Final = struct.Struct("<IQQQ32s160s")
# Fields of a record (RECORD-1), and those that a derived one has as zeros.
_ID: Final = slice(0, 16)
_ACCOUNTS_AMOUNT: Final = slice(16, 64)
_USER_DATA: Final = slice(80, 96)
_NO_EXPIRY_UNTIL: Final = bytes(16)
_LEDGER: Final = slice(112, 116)
_NO_KEY_VALID: Final = bytes(8)
_CODE: Final = slice(124, 126)
_FLAGS: Final = slice(126, 128)
_SM3: Final = int(TransferFlag.HASH_IS_SM3)
_CLAIM: Final = int(TransferKind.CLAIM).to_bytes(2, "little")
_CLAIM_SM3: Final = (int(TransferKind.CLAIM) | _SM3).to_bytes(2, "little")
_REFUND: Final = int(TransferKind.REFUND).to_bytes(2, "little")


@unique
class NoteKind(IntEnum):
    """What is kept beside a party's entries."""

    LEG = 1
    """A leg's lock record, where it stood, when it was final and ended, and the digest of its end."""
    ROUTE = 2
    """The signed quotes of a payer's swap, one after the other."""
    PREIMAGE = 3
    """The secret as a final relay block showed it, and that block's height: a restart goes on behind it."""
    BESIDE = 4
    """A transfer beside the locks as it was signed and answered, by its number (``lines.beside``)."""
    TRAVEL_RULE = 5
    """The sealed envelope of a payer's swap, which every provider asks for."""
    PREMIUM = 6
    """The record that pays the premium of a leg's provider, as the provider before it has shown it."""


@unique
class LegPart(IntEnum):
    """Which decision about a leg a digest names."""

    LOCK = 1
    CLAIM = 2
    REFUND = 3


class LegState:
    """Words for how a leg stands."""

    WAITING: Final = "waiting"
    SENT: Final = "sent"
    HELD: Final = "held"
    FINAL: Final = "final"
    CLAIMED: Final = "claimed"
    REFUNDED: Final = "refunded"
    REFUSED: Final = "refused"


class Moment(NamedTuple):
    """One line of a timeline: when (ns), a word that stays, and a sentence for a person."""

    at: int
    what: str
    text: str


@dataclass(slots=True)
class LegRecord:
    """One leg's lock of our ledgers, once its record is known; ``quote`` is the provider of a leg that others lock."""

    record: bytes = b""
    digest: bytes = b""
    refund: bytes = b""
    claim: bytes = b""
    end: bytes = b""
    state: str = LegState.WAITING
    shard: int = 0
    height: int = 0
    final_at: int = 0
    ended_at: int = 0

    def note(self) -> bytes:
        """Return what is kept of it."""
        return _LEG_NOTE.pack(self.shard, self.height, self.final_at, self.ended_at, self.end or bytes(32), self.record)

    def read_note(self, data: bytes) -> None:
        """Take back what was kept, but for the digests, which follow from the record."""
        self.shard, self.height, self.final_at, self.ended_at, end, self.record = _LEG_NOTE.unpack(data)
        self.end = end if any(end) else b""


@dataclass(slots=True, eq=False)
class OpenSwap:
    """One party's side of a swap that runs or ended not long ago."""

    party: bytes
    swap: bytes
    own_leg: int
    terms: SwapTerms
    orders: tuple[LockOrder, ...]
    legs: list[LegRecord]
    began_at: int
    quotes: tuple[bytes, ...] = ()
    providers: tuple[int, ...] = ()
    ended_at: int = 0
    outcome: Outcome | None = None
    code: int = 0
    preimage: bytes = b""
    lines: list[Moment | Entry] = field(default_factory=list)
    """Its timeline as it is kept: entries of the journal become sentences when somebody reads them."""
    seen: dict[int, LockState] = field(default_factory=dict)
    """What chains showed last of legs that are not ours, by leg."""
    asking: int = 0
    looked_at: int = 0
    travel_rule: bytes = b""
    premium: bytes = b""
    """The record with which this party pays the next provider's premium, once it is signed."""
    premiums: dict[int, bytes] = field(default_factory=dict)
    """The records that pay the premiums of the providers of later legs, as those before them have shown them."""

    @property
    def timeline(self) -> list[Moment]:
        """What happened to it, in the order in which it was noticed."""
        return [each if isinstance(each, Moment) else moment_of(each) for each in self.lines]

    @property
    def is_payer(self) -> bool:
        """Whether it was begun here."""
        return self.own_leg == 0

    @property
    def own_lock_sent(self) -> bool:
        """Whether the own leg's lock is on its way, or further."""
        own = self.legs[self.own_leg]
        return bool(own.record) or (self.terms.legs[self.own_leg].foreign and own.state != LegState.WAITING)

    @property
    def side(self) -> str:
        """Payer or provider."""
        return "payer" if self.is_payer else "provider"


class SwapBook:
    """Swaps by party, and legs by the digests of their decisions."""

    def __init__(self, suite: int, prefix: bytes, swaps_max: int = SWAPS_MAX) -> None:
        """Take the network's hash suite, T(transfer), and how many swaps may run."""
        self._suite, self._prefix, self._swaps_max = suite, prefix, swaps_max
        self._swaps: dict[bytes, OpenSwap] = {}
        self._ended: OrderedDict[bytes, OpenSwap] = OrderedDict()
        self._digests: dict[bytes, tuple[OpenSwap, int, LegPart]] = {}
        self._by_swap: dict[bytes, bytes] = {}
        self._by_hashlock: dict[bytes, list[OpenSwap]] = {}
        self._begun: dict[bytes, bytes] = {}
        self._of_payer: dict[str | int, int] = {}
        self._accepted = 0
        self.counts: dict[Outcome, int] = dict.fromkeys(Outcome, 0)

    def __len__(self) -> int:
        return len(self._swaps)

    def __iter__(self) -> Iterator[OpenSwap]:
        return iter(self._swaps.values())

    def add(self, swap: OpenSwap) -> None:
        """Take a swap that begins."""
        self._swaps[swap.party] = swap
        self._by_swap[swap.swap] = swap.party
        self._by_hashlock.setdefault(swap.terms.hashlock, []).append(swap)
        if swap.is_payer:
            self._begun[swap.terms.uetr] = swap.swap
        else:
            self._accepted += 1
            payer = _payer_of(swap.terms)
            self._of_payer[payer] = self._of_payer.get(payer, 0) + 1

    def with_hashlock(self, hashlock: bytes) -> Sequence[OpenSwap]:
        """Return the swaps that run under a hashlock."""
        return self._by_hashlock.get(hashlock, ())

    def begun_under(self, uetr: bytes) -> bytes | None:
        """Return the swap that runs and was begun here under a UETR."""
        return self._begun.get(uetr)

    def demand_room(self, terms: SwapTerms, own_leg: int) -> None:
        """Demand room for one more swap of others; raises BridgeRefused (limits_exceeded).

        A half of all is theirs, so that there is always room for what this participant pays, and a half of that is one
        payer's, so that there is room for the others: nothing is locked yet when a swap is accepted.
        """
        theirs = self._swaps_max // 2
        full = self._accepted >= theirs or self._of_payer.get(_payer_of(terms), 0) >= theirs // 2
        if full and leg_digest(self._suite, terms.digest(self._suite), own_leg) not in self._swaps:
            raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, "so many accepted swaps run, or of this payer")

    def get(self, party: bytes) -> OpenSwap | None:
        """Return a swap that runs."""
        return self._swaps.get(party)

    def find(self, name: bytes) -> OpenSwap | None:
        """Return a swap by its party or its terms' digest, also one that ended not long ago."""
        party = self._by_swap.get(name, name)
        return self._swaps.get(party) or self._ended.get(party)

    def recently_ended(self) -> Iterator[OpenSwap]:
        """Yield those that ended, the newest first."""
        yield from reversed(self._ended.values())

    def end(self, swap: OpenSwap, outcome: Outcome, code: int, now: int) -> list[bytes]:
        """Put a swap away; return the digests that nothing waits for any more."""
        swap.outcome, swap.code, swap.ended_at = outcome, code, now
        self.counts[outcome] += 1
        self._swaps.pop(swap.party, None)
        if swap.is_payer:
            self._begun.pop(swap.terms.uetr, None)
        else:
            self._accepted -= 1
            payer = _payer_of(swap.terms)
            if left := self._of_payer.pop(payer) - 1:
                self._of_payer[payer] = left
        self._ended[swap.party] = swap
        same = [each for each in self._by_hashlock.pop(swap.terms.hashlock, ()) if each is not swap]
        if same:
            self._by_hashlock[swap.terms.hashlock] = same
        named = [name for leg in swap.legs for name in (leg.digest, leg.claim, leg.refund) if name]
        forgotten = [name for name in named if self._digests.pop(name, None) is not None]
        while len(self._ended) > ENDED_KEPT_MAX:
            _, old = self._ended.popitem(last=False)
            self._by_swap.pop(old.swap, None)
        return forgotten

    # Legs and digests.

    @property
    def suite(self) -> int:
        """The network's hash suite."""
        return self._suite

    def digest_of(self, record: bytes) -> bytes:
        """Return the digest of a record that is no member of a run."""
        return record_digest(self._suite, self._prefix, record)

    def know_lock(self, swap: OpenSwap, leg: int, record: bytes) -> list[bytes]:
        """Take a leg's lock record; return the digests to expect: the lock's and its refund's, and a known claim's.

        What is known already is not expected again.
        """
        known = swap.legs[leg]
        if known.digest and known.record == record:
            return []
        known.record, known.digest = record, record_digest(self._suite, self._prefix, record)
        known.refund = self._refund_digest(record, known.digest)
        self._digests[known.digest] = swap, leg, LegPart.LOCK
        self._digests[known.refund] = swap, leg, LegPart.REFUND
        found = [known.digest, known.refund]
        if swap.preimage:
            found += self._know_claim(swap, leg)
        return found

    def know_preimage(self, swap: OpenSwap, preimage: bytes) -> list[tuple[int, bytes]]:
        """Take the secret; return leg and digest of each claim that may come of it, none where it was known."""
        if swap.preimage:
            return []
        swap.preimage = preimage
        return [(leg, digest) for leg in range(len(swap.legs)) for digest in self._know_claim(swap, leg)]

    def _know_claim(self, swap: OpenSwap, leg: int) -> list[bytes]:
        known = swap.legs[leg]
        if not known.record or known.claim:
            return []
        known.claim = self._claim_digest(known.record, known.digest, swap.preimage)
        self._digests[known.claim] = swap, leg, LegPart.CLAIM
        return [known.claim]

    # Claims and refunds byte by byte (RECORD-6): as objects they would cost more than everything else here.

    def _claim_digest(self, lock: bytes, lock_digest: bytes, preimage: bytes) -> bytes:
        flags = _CLAIM_SM3 if int.from_bytes(lock[_FLAGS], "little") & _SM3 else _CLAIM
        return self._derived_digest(lock, CLAIM_TAG + lock_digest, flags, preimage)

    def _refund_digest(self, lock: bytes, lock_digest: bytes) -> bytes:
        return self._derived_digest(lock, REFUND_TAG + lock_digest, _REFUND, NO_BINDING)

    def _derived_digest(self, lock: bytes, named_by: bytes, flags: bytes, binding: bytes) -> bytes:
        suite = self._suite
        parts = (
            self._prefix,
            digest(suite, named_by)[:16],
            lock[_ACCOUNTS_AMOUNT],
            lock[_ID],
            lock[_USER_DATA],
            _NO_EXPIRY_UNTIL,
            lock[_LEDGER],
            _NO_KEY_VALID,
            lock[_CODE],
            flags,
            binding,
        )
        return digest(suite, b"".join(parts))

    def whose(self, digest: bytes) -> tuple[OpenSwap, int, LegPart] | None:
        """Return the leg that a digest is about."""
        return self._digests.get(digest)


def _payer_of(terms: SwapTerms) -> str | int:
    """Return who a swap's payer is, for counting: his participant, or his account on a chain."""
    first = terms.legs[0]
    return first.debit_account if first.chain else participant_of_account(first.debit_id)


_WORDS: Final[dict[EntryKind, tuple[str, str]]] = {
    EntryKind.BEGUN: ("begun", "The swap was begun: its terms and its secret are written down."),
    EntryKind.ACCEPTED: ("accepted", "The swap was accepted: this bridge will lock its leg once it is paid for."),
    EntryKind.LOCKING: ("locking", "The own leg is being locked."),
    EntryKind.ASKING: ("asking", "The provider of leg {leg} is asked to lock it."),
    EntryKind.REVEALING: ("revealing", "All legs stand for good; the secret is shown."),
    EntryKind.LEARNED: ("learned", "The secret is out: what is owed can be claimed."),
    EntryKind.CLAIMING: ("claiming", "What is owed to this bridge is being claimed."),
    EntryKind.REFUNDING: ("refunding", "The own lock is being taken back."),
}
_ENDS: Final[dict[Outcome, str]] = {
    Outcome.SETTLED: "Settled: every leg was claimed, and that is final.",
    Outcome.REFUNDED: "Refunded: what was locked came back at its timelock.",
    Outcome.ABANDONED: "Ended before anything was locked.",
    Outcome.KEPT: "Paid, and what was locked came back: the other side was late.",
    Outcome.LOST: "Claimed against this bridge, which was not paid. A person must look.",
}


def _name_of(code: int) -> str:
    """Return the name of a number of the bridge's table or the ledger's."""
    try:
        return bridge_meaning(code).name
    except ValueError:
        return code_name(code)


def moment_of(entry: Entry) -> Moment:
    """Return the line of the timeline that an entry of the journal stands for."""
    if entry.kind is EntryKind.FINISHED:
        outcome, code = read_finished(entry.body)
        why = f" ({_name_of(code)})" if code else ""
        return Moment(entry.at_ns, outcome.name.lower(), _ENDS[outcome] + why)
    what, text = _WORDS[entry.kind]
    return Moment(entry.at_ns, what, text.format(leg=leg_of(entry.body)) if "{leg}" in text else text)


def moments_of(entries: Iterable[Entry]) -> list[Moment]:
    """Return a timeline from the journal alone, for a swap that is no longer in memory."""
    return [moment_of(entry) for entry in entries]


assert _LEG_NOTE.size == 4 + 24 + 32 + RECORD_BYTES
