"""One admin record's step: each request through shape, known ids, signers, time and state, in that order (ADMIN-1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from engine.admin import NEW_KEY_SIGNS, SIGNERS
from engine.admin_context import AdminContext
from engine.admin_rules import admin_effect, malformed_code, signers_code, time_code
from engine.admin_window import AdminEntry, AdminWindow
from engine.batch import raw
from engine.codes import MEANINGS, CodeClass
from engine.genesis import plain_key, suite_supported
from engine.prefix import PrefixType, signing_prefix
from native.codes import ResultCode
from native.hashing import digest
from native.signatures import verify, verify_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.admin import AdminColumns, AdminRequest
    from engine.genesis import Genesis, GenesisDomain
    from engine.ledger_accounts import LedgerAccounts
    from engine.parties import Parties

__all__ = ["AdminOutcome", "AdminStep"]

# Refused by the signers or the time, and still a decision that can be proven (LEDGER-60).
_LEAVES_BEFORE_STATE = frozenset({ResultCode.KEY_NOT_IN_FORCE, ResultCode.EXPIRED})


@dataclass(frozen=True, slots=True, eq=False)
class AdminOutcome:
    """One answer to each request, in order: code u16, first code u16, time u64 ns, key id assigned u32 or 0."""

    codes: NDArray[np.uint16]
    first_codes: NDArray[np.uint16]
    times: NDArray[np.uint64]
    assigned: NDArray[np.uint32]


class AdminStep:
    """Decides admin requests of one shard; ``window`` is the subtree ``admin``."""

    __slots__ = ("_accounts", "_context", "_parties", "_prefix", "_suite", "window")

    def __init__(
        self, genesis: Genesis, domain: GenesisDomain, shard: int, parties: Parties, accounts: LedgerAccounts
    ) -> None:
        """Stand beside the shard's parties and accounts."""
        self._suite = genesis.hash_suite
        self._prefix = signing_prefix(genesis.hash_suite, PrefixType.ACCOUNT, genesis.hash)
        self._parties = parties
        self._accounts = accounts
        self._context = AdminContext(domain, shard, parties, accounts)
        self.window = AdminWindow(genesis.hash_suite, domain.limits.bucket_ns)

    def drop(self, now: int) -> None:
        """Forget what is over at ``now``; at the start of every log record."""
        self.window.drop(now)

    def root(self) -> bytes:
        """Return the root of the subtree ``admin``."""
        return self.window.root()

    def apply(self, columns: AdminColumns, now: int, recorded: NDArray[np.uint16] | None) -> AdminOutcome:
        """Decide requests in order; with ``recorded`` codes no signature is looked at (LOG-3)."""
        outcome = AdminOutcome(
            np.zeros(columns.count, dtype=np.uint16),
            np.zeros(columns.count, dtype=np.uint16),
            np.full(columns.count, now, dtype=np.uint64),
            np.zeros(columns.count, dtype=np.uint32),
        )
        verified = _Verdicts(columns, self._prefix, self._parties) if recorded is None else None
        for row in range(columns.count):
            verdicts = verified or (recorded is not None and bool(recorded[row] != ResultCode.INVALID_SIGNATURE))
            self._decide(columns, row, now, verdicts, outcome)
        self.window.close_record()
        return outcome

    def _decide(
        self, columns: AdminColumns, row: int, now: int, verdicts: _Verdicts | bool, outcome: AdminOutcome
    ) -> None:
        request = columns.request(row)
        code = malformed_code(request)
        if code is not None:
            outcome.codes[row] = code
            return
        key_ids = (int(columns.key_ids[row, 0]), int(columns.key_ids[row, 1]))
        request_digest = digest(self._suite, self._prefix + columns.bodies[row].tobytes())
        first = self._parties.key(key_ids[0])
        known = None if first is None else self.window.find(first.participant, request.id)
        if known is not None and known.digest == request_digest:
            done = known.code == ResultCode.CREATED
            outcome.codes[row] = ResultCode.EXISTS if done else ResultCode.ID_ALREADY_FAILED
            outcome.first_codes[row] = known.code
            outcome.times[row] = known.time
            if done:
                outcome.assigned[row] = self._parties.key_id_of(request.suite, request.public_key)
            return
        ask = (partial(_verdict, verdicts, request, row, 0), partial(_verdict, verdicts, request, row, 1))
        code = signers_code(request, key_ids, self._parties, ask, now)
        if code is None and known is not None:
            code = ResultCode.EXISTS_WITH_DIFFERENT_CONTENT
        code = code or time_code(request, now)
        if code is not None or first is None:
            outcome.codes[row] = code or ResultCode.KEY_NOT_FOUND
            if code in _LEAVES_BEFORE_STATE:
                self._accounts.add_decision(request_digest, now, code)
            return
        code, assigned = admin_effect(self._context, request, first, now)
        outcome.codes[row] = code
        outcome.assigned[row] = assigned
        if MEANINGS[code].code_class is not CodeClass.OPEN:
            # What may still be done later (a ledger or key not known yet, a full table) burns nothing (ADMIN-3).
            self.window.add(AdminEntry(first.participant, request.id, request_digest, now, code), request.expires_at)
            self._accounts.add_decision(request_digest, now, code)


def _verdict(verdicts: _Verdicts | bool, request: AdminRequest, row: int, signer: int) -> bool:
    return verdicts if isinstance(verdicts, bool) else verdicts.holds(request, row, signer)


class _Verdicts:
    """Signatures of one admin record: of keys known at its start in one call, of others when they are asked for."""

    __slots__ = ("_columns", "_known", "_parties", "_prefix", "_verdicts")

    def __init__(self, columns: AdminColumns, prefix: bytes, parties: Parties) -> None:
        self._columns = columns
        self._prefix = prefix
        self._parties = parties
        self._known = len(parties.registry)
        indexes = np.where(columns.key_ids <= self._known, columns.key_ids, 0).astype(np.uint32).reshape(-1)
        heads = np.broadcast_to(np.frombuffer(prefix, dtype=np.uint8), (columns.count, len(prefix)))
        messages = np.repeat(np.hstack([heads, columns.bodies]), SIGNERS, axis=0)
        self._verdicts = np.zeros(columns.count * SIGNERS, dtype=np.uint8)
        verify_batch(parties.registry, raw(indexes), raw(columns.signatures), raw(messages), raw(self._verdicts))

    def holds(self, request: AdminRequest, row: int, signer: int) -> bool:
        """Say whether a signer's signature holds, under the new key of the body where that one signs."""
        key_id = int(self._columns.key_ids[row, signer])
        if key_id <= self._known:
            return bool(self._verdicts[row * SIGNERS + signer])
        message = self._prefix + self._columns.bodies[row].tobytes()
        signature = self._columns.signatures[row, signer].tobytes()
        if key_id != NEW_KEY_SIGNS:
            key = self._parties.key(key_id)
            return key is not None and _holds(key.suite, key.public_key, signature, message)
        return _holds(request.suite, request.public_key, signature, message)


def _holds(suite: int, public_key: bytes, signature: bytes, message: bytes) -> bool:
    plain = plain_key(suite, public_key)
    return plain is not None and suite_supported(suite) and verify(suite, plain, signature, message)
