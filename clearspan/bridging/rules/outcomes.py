"""Outcomes of screening as a bridge keeps them: each signed, kept for good, and put on the record of a ledger.

It promises that an outcome is signed by the participant's screening key of that ledger's domain before it is kept, that
it is durable before the payment it is about goes on, and that what a ledger has not answered is offered to it again as
the same bytes. No name stands in any of it (docs/spec/12, SCREEN-9).
"""

from __future__ import annotations

import asyncio
import struct
from collections import OrderedDict
from dataclasses import dataclass, replace
from enum import IntEnum, unique
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from bridge.screening_record import SCREENING_RECORD_BYTES, ScreeningRecord, SignedScreening
from engine.admin import AdminRequest
from engine.hashing import digest
from engine.refusals import EncodingError
from engine.types import ADMIN_BYTES, ADMIN_WINDOW_S, NS_PER_S, SIGNATURE_BYTES, AdminType, Role

if TYPE_CHECKING:
    from clearspan.bridging.journal.store import JournalStore
    from engine.genesis import Genesis

__all__ = ["Outcome", "OutcomeBook", "OutcomeState", "ScreeningKeys", "newest_outcomes", "outcomes_of"]

_ROWS: Final = b"s"
_BY_MESSAGE: Final = b"m"
_WAITING: Final = b"w"
_ID_PREFIX: Final = b"clearspan/screening-outcome/1"
_HEAD: Final = struct.Struct("<HHIQ16s")
_SIGNED_BYTES: Final = SCREENING_RECORD_BYTES + SIGNATURE_BYTES
_EXPIRES_AFTER_NS: Final = 600 * NS_PER_S
_RECENT_MAX: Final = 100_000


@unique
class OutcomeState(IntEnum):
    """How an outcome stands on its ledger; numbers as kept."""

    WAITING = 0
    ON_RECORD = 1
    REFUSED = 2


class ScreeningKeys(Protocol):
    """The keys of a participant, by domain."""

    def domain_of(self, ledger: int) -> int:
        """Return the domain of a ledger."""

    def role_key(self, domain: int, role: Role) -> int:
        """Return the id of the newest key of a role in a domain, 0 where there is none."""

    def sign(self, domain: int, key_id: int, message: bytes) -> bytes:
        """Sign a message with one key, 64 bytes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One signed record, the ledger and account whose log it enters, the request that puts it there, and how that is.

    ``at`` is when its ledger decided, ns; 0 before.
    """

    signed: SignedScreening
    ledger: int
    account: int
    request: AdminRequest
    state: OutcomeState = OutcomeState.WAITING
    code: int = 0
    at: int = 0

    @property
    def key(self) -> bytes:
        """What it is kept under: in the order of time."""
        record = self.signed.record
        return _ROWS + record.screened_at.to_bytes(8, "big") + record.message_hash[:8] + bytes([record.outcome])

    def encode(self) -> bytes:
        """Return what is kept of it."""
        head = _HEAD.pack(self.state, self.code, self.ledger, self.at, self.account.to_bytes(16, "little"))
        return head + self.signed.encode() + self.request.encode()

    @classmethod
    def decode(cls, data: bytes) -> Outcome:
        """Read what was kept; raises EncodingError."""
        if len(data) != _HEAD.size + _SIGNED_BYTES + ADMIN_BYTES:
            raise EncodingError("outcome bytes", len(data), _HEAD.size + _SIGNED_BYTES + ADMIN_BYTES)
        state, code, ledger, at, account = _HEAD.unpack(data[: _HEAD.size])
        signed = SignedScreening.decode(data[_HEAD.size : _HEAD.size + _SIGNED_BYTES])
        request = AdminRequest.decode(data[_HEAD.size + _SIGNED_BYTES :])
        return cls(signed, ledger, int.from_bytes(account, "little"), request, OutcomeState(state), code, at)


class OutcomeBook:
    """Signs outcomes and keeps them. Use from one event loop; what ``take`` returns is to be written."""

    def __init__(self, genesis: Genesis, keys: ScreeningKeys) -> None:
        """Take the network and the keys."""
        self._genesis, self._keys = genesis, keys
        self._written: dict[bytes, bytes | None] = {}
        self._waiting: dict[int, dict[bytes, Outcome]] = {}
        self._recent: OrderedDict[tuple[bytes, int, int], None] = OrderedDict()
        self.came = asyncio.Event()

    def key_of(self, ledger: int) -> int:
        """Return the id of the key that signs outcomes of a ledger, 0 where there is none."""
        return self._keys.role_key(self._keys.domain_of(ledger), Role.SCREENING)

    def note(self, record: ScreeningRecord, ledger: int, account: int) -> None:
        """Sign and keep an outcome; the same one of the same message under the same list is kept once."""
        name = record.message_hash, int(record.outcome), record.list_version
        if name in self._recent:
            return
        self._recent[name] = None
        if len(self._recent) > _RECENT_MAX:
            self._recent.popitem(last=False)
        genesis = self._genesis
        message = record.message(genesis.hash_suite, genesis.hash)
        signature = self._keys.sign(self._keys.domain_of(ledger), record.key_id, message)
        request = AdminRequest(
            id=int.from_bytes(digest(genesis.hash_suite, _ID_PREFIX + message)[:16], "little"),
            type=AdminType.SCREENING,
            expires_at=record.screened_at + _EXPIRES_AFTER_NS,
            valid_for_s=ADMIN_WINDOW_S,
            subject=account,
            ledger=ledger,
            **record.fields_on_ledger(genesis.hash_suite, genesis.hash),  # type: ignore[arg-type]  # fields of it
        )
        outcome = Outcome(SignedScreening(record, signature), ledger, account, request)
        self._waiting.setdefault(ledger, {})[outcome.key] = outcome
        self._written[_BY_MESSAGE + record.message_hash + outcome.key] = b""
        self._written[_WAITING + outcome.key] = b""
        self._written[outcome.key] = outcome.encode()
        self.came.set()

    def waiting(self, limit: int) -> list[Outcome]:
        """Return outcomes that no ledger has answered, of each ledger so many, the oldest first."""
        return [each for of_ledger in self._waiting.values() for each in islice(of_ledger.values(), limit)]

    def answered(self, outcome: Outcome, state: OutcomeState, code: int, at: int) -> None:
        """Take a ledger's answer about one."""
        self._waiting.get(outcome.ledger, {}).pop(outcome.key, None)
        self._written[_WAITING + outcome.key] = None
        self._written[outcome.key] = replace(outcome, state=state, code=code, at=at).encode()

    def renewed(self, outcome: Outcome, now: int) -> Outcome:
        """Give an outcome whose request is over a new time, under the same id; it is kept before it is sent."""
        request = replace(outcome.request, expires_at=now + _EXPIRES_AFTER_NS)
        made = replace(outcome, request=request)
        self._waiting.setdefault(made.ledger, {})[made.key] = made
        self._written[made.key] = made.encode()
        return made

    def take(self) -> list[tuple[bytes, bytes | None]]:
        """Return what is to be written now."""
        found, self._written = self._written, {}
        return list(found.items())

    def restore(self, store: JournalStore) -> None:
        """Take back what no ledger has answered. Raises EncodingError for a broken row."""
        for key, _ in store.kept(_WAITING):
            for name, data in store.kept(key[len(_WAITING) :]):
                outcome = Outcome.decode(data)
                self._waiting.setdefault(outcome.ledger, {})[name] = outcome
        if len(self):
            self.came.set()

    def __len__(self) -> int:
        """Return how many wait for a ledger."""
        return sum(map(len, self._waiting.values()))


def outcomes_of(store: JournalStore, message_hash: bytes) -> list[Outcome]:
    """Return the outcomes that are kept of a message, oldest first."""
    keys = (key[len(_BY_MESSAGE) + len(message_hash) :] for key, _ in store.kept(_BY_MESSAGE + message_hash))
    return [Outcome.decode(data) for key in keys for _, data in store.kept(key)]


def newest_outcomes(store: JournalStore, limit: int, before: bytes = b"") -> list[Outcome]:
    """Return the newest outcomes, oldest first; ``before`` is the key of the first of the page after."""
    return [Outcome.decode(data) for _, data in store.kept(_ROWS, limit, before)]
