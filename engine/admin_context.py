"""Where an admin request is decided: the domain, its parties, and what the rules may ask and change of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from engine.record import shard_index_of_slot, slot_of_account

if TYPE_CHECKING:
    from engine.genesis import GenesisDomain, GenesisLedger
    from engine.parties import Key, Parties
    from engine.record import Account
    from engine.rules import Rule

__all__ = ["AccountStore", "AdminContext"]


class AccountStore(Protocol):
    """What the rules need of the ledger's state: accounts by id, and how to open and change one."""

    def find(self, account: int) -> Account | None:
        """Return an account's leaf, or None."""

    def count(self) -> int:
        """Return how many accounts the shard holds, system accounts included."""

    def open(self, account: Account) -> None:
        """Register a new account as the next leaf."""

    def update(self, account: Account) -> None:
        """Change flags, frozen_until, credit_limit, balance_max, key_lineage and tier of one that exists."""

    def set_key(self, key: Key) -> None:
        """Make a key, new or retired, known to the rules of transfers."""

    def find_rule(self, kind: int, subject: int, name: int = 0, breaker: int = 0) -> Rule | None:
        """Return a rule by its key; ``breaker`` says what a breaker's subject is."""

    def set_rule(self, rule: Rule) -> bool:
        """Make or replace a rule; False when the table is full."""

    def remove_rule(self, rule: Rule) -> None:
        """Remove a rule that stands."""

    def trim_quotes(self, account: int, before: int) -> int:
        """Forget an account's quotes that were over before an instant; return how many are left."""

    def trim_breakers(self, now: int) -> None:
        """Forget the breakers that are over."""

    def end_hold(self, account: int, transfer: int, *, releases: bool, now: int) -> int:
        """Release or reject a held transfer; return the code."""


@dataclass(frozen=True, slots=True)
class AdminContext:
    """Where a request is decided."""

    domain: GenesisDomain
    shard: int
    parties: Parties
    accounts: AccountStore

    def ledger(self, number: int) -> GenesisLedger | None:
        """Return a ledger of the domain."""
        return next((ledger for ledger in self.domain.ledgers if ledger.ledger == number), None)

    def is_here(self, account: int) -> bool:
        """Say whether an account's slot is on this shard."""
        index = shard_index_of_slot(slot_of_account(account), self.domain.shards)
        return self.domain.domain << 8 | index == self.shard
