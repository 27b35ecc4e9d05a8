"""The native ledger behind names that the engine uses: accounts by id, keys, decisions, sums of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import numpy as np

from engine.batch import raw
from engine.invariants import invariant
from engine.record import Account
from engine.refusals import EncodingError
from engine.rules import Rule
from engine.types import SLOT_COUNT, SLOT_MAP_VERSION
from native.errors import StateBytesInvalid
from native.ledger import RULE_BYTES, LedgerState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.genesis import Genesis, GenesisDomain
    from engine.parties import Key

__all__ = ["LedgerAccounts", "load_ledger", "new_ledger"]


class _Parameters(TypedDict):
    suite: int
    genesis_hash: bytes
    shard: int
    slot_map_version: int
    slot_owner: memoryview
    peers: list[int]
    ledgers: list[tuple[int, bytes, int, int, int, int, int]]
    genesis_time: int
    ids_max: int
    pendings_max: int
    accounts_max: int
    expire_per_batch_max: int
    bucket_ns: int
    run_members_max: int


def _parameters(genesis: Genesis, domain: GenesisDomain, shard: int) -> _Parameters:
    shards = domain.shard_ids()
    # The rule of shard_index_of_slot for all slots at once: a machine is made often where its network is simulated.
    owners = np.array(shards, dtype=np.uint32)[np.arange(SLOT_COUNT) * domain.shards // SLOT_COUNT]
    limits = domain.limits
    return {
        "suite": genesis.hash_suite,
        "genesis_hash": genesis.hash,
        "shard": shard,
        "slot_map_version": SLOT_MAP_VERSION,
        "slot_owner": raw(owners),
        "peers": [each for each in shards if each != shard],
        "ledgers": [
            (
                ledger.ledger,
                ledger.currency.encode("ascii").ljust(8, b"\x00"),
                ledger.scale,
                ledger.issuer,
                ledger.window_s,
                ledger.lock_min_s,
                ledger.amount_max,
            )
            for ledger in domain.ledgers
        ],
        "genesis_time": genesis.time,
        "ids_max": limits.ids_max,
        "pendings_max": limits.pendings_max,
        "accounts_max": limits.accounts_max,
        "expire_per_batch_max": limits.expire_per_batch_max,
        "bucket_ns": limits.bucket_ns,
        "run_members_max": limits.run_members_max,
    }


def new_ledger(genesis: Genesis, domain: GenesisDomain, shard: int) -> LedgerState:
    """Return the native state of a shard before its first log record: its channel accounts and nothing else."""
    return LedgerState(**_parameters(genesis, domain, shard))


def load_ledger(genesis: Genesis, domain: GenesisDomain, shard: int, data: bytes) -> LedgerState:
    """Return the native state that was exported; raises EncodingError."""
    try:
        return LedgerState.load(data, **_parameters(genesis, domain, shard))
    except StateBytesInvalid as error:
        raise EncodingError("ledger state", str(error), "the bytes of a state of this shard") from error


class LedgerAccounts:
    """The kernel's accounts by id; implements ``engine.admin_rules.AccountStore``."""

    __slots__ = ("_ledger",)

    def __init__(self, ledger: LedgerState) -> None:
        """Stand in front of a kernel."""
        self._ledger = ledger

    def _index(self, account: int) -> int:
        return self._ledger.find_account(account.to_bytes(16, "little"))

    def find(self, account: int) -> Account | None:
        """Return an account's leaf, or None."""
        index = self._index(account)
        return None if index < 0 else Account.decode(self._ledger.account(index))

    def all(self) -> Iterator[Account]:
        """Yield all accounts in order of registration."""
        for index in range(self._ledger.account_count):
            yield Account.decode(self._ledger.account(index))

    def count(self) -> int:
        """Return how many accounts there are, system accounts included."""
        return self._ledger.account_count

    def open(self, account: Account) -> None:
        """Register a new account as the next leaf; its sums are zero."""
        index = self._ledger.open_account(
            account.id.to_bytes(16, "little"),
            account.ledger,
            account.key_lineage,
            account.flags,
            account.code,
            account.credit_limit,
            account.balance_max,
            account.user_data,
            account.opened_at,
        )
        invariant(index >= 0, "room_for_an_account_was_checked", account=account.id)

    def update(self, account: Account) -> None:
        """Change flags, frozen_until, credit_limit, balance_max, key_lineage and tier of one that exists."""
        self._ledger.update_account(
            self._index(account.id),
            flags=account.flags,
            frozen_until=account.frozen_until,
            credit_limit=account.credit_limit,
            balance_max=account.balance_max,
            key_lineage=account.key_lineage,
            tier=account.tier,
        )

    def set_key(self, key: Key) -> None:
        """Make a key, new or retired, known to the rules of transfers."""
        self._ledger.set_key(key.id, key.participant, key.role, key.lineage, key.retired_at)

    def find_rule(self, kind: int, subject: int, name: int = 0, breaker: int = 0) -> Rule | None:
        """Return a rule by its key; ``breaker`` says what a breaker's subject is."""
        row = self._ledger.find_rule(kind, breaker, subject.to_bytes(16, "little"), name.to_bytes(16, "little"))
        return None if row is None else Rule.decode(row)

    def set_rule(self, rule: Rule) -> bool:
        """Make or replace a rule; False when the table is full."""
        return self._ledger.set_rule(rule.encode())

    def remove_rule(self, rule: Rule) -> None:
        """Remove a rule that stands."""
        subject, name = rule.subject.to_bytes(16, "little"), rule.name.to_bytes(16, "little")
        self._ledger.remove_rule(rule.type, rule.breaker, subject, name)

    def trim_quotes(self, account: int, before: int) -> int:
        """Forget an account's quotes that were over before an instant; return how many are left."""
        return self._ledger.trim_quotes(account.to_bytes(16, "little"), before)

    def trim_breakers(self, now: int) -> None:
        """Forget the breakers that are over."""
        self._ledger.trim_breakers(now)

    def end_hold(self, account: int, transfer: int, *, releases: bool, now: int) -> int:
        """Release or reject a held transfer; return the code."""
        return self._ledger.end_hold(account.to_bytes(16, "little"), transfer.to_bytes(16, "little"), releases, now)

    def rules(self) -> list[Rule]:
        """Return all rules that stand, in order of their places."""
        rows = self._ledger.rules()
        found = (Rule.decode(rows[start : start + RULE_BYTES]) for start in range(0, len(rows), RULE_BYTES))
        return [rule for rule in found if rule.type]

    def add_decision(self, digest: bytes, time: int, code: int) -> None:
        """Append a leaf to the decisions of the block."""
        self._ledger.add_decision(digest, time, code)
