"""The table of rules and what it makes of a transfer that would begin (LEDGER-100 to LEDGER-104)."""

from __future__ import annotations

import struct
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.accounts import ISSUER, Account, participant_of
from tests.model.genesis import SECOND_NS
from tests.model.record import u128

if TYPE_CHECKING:
    from tests.model.pendings import Pending
    from tests.model.record import Transfer
    from tests.model.state import State

__all__ = [
    "BREAKER", "BY_ACCOUNT", "BY_CORRIDOR", "BY_LEDGER", "BY_PARTICIPANT", "BY_REFERENCE", "COUNTER", "DAY_NS", "HOLD", "HOLDS", "LEDGER",
    "QUOTE", "REFUSES", "SLOW", "STOP", "TIER", "Rule", "Rules", "give_back", "hold_ns", "judge",
]  # fmt: skip

QUOTE, LEDGER, BREAKER, TIER, COUNTER = range(1, 6)
BY_ACCOUNT, BY_PARTICIPANT, BY_LEDGER, BY_REFERENCE, BY_CORRIDOR = range(1, 6)
SLOW, HOLD, STOP = range(1, 4)
REFUSES, HOLDS = 1, 2
BY_THRESHOLD, BY_BREAKER, BY_TIER, BY_VELOCITY = range(1, 5)
DAY_NS = 86_400 * SECOND_NS
_COMMON_MAX, _OWN_MAX = 4096, 61_440


@dataclass(slots=True)
class Rule:
    """One row of 128 bytes; what a type does not use is zero."""

    type: int
    subject: int
    name: int = 0
    limit_a: int = 0
    limit_b: int = 0
    used: int = 0
    until: int = 0
    period: int = 0
    count: int = 0
    set_at: int = 0
    ledger: int = 0
    bound: int = 0
    kind: int = 0
    action: int = 0
    reason: int = 0

    @property
    def key(self) -> tuple[int, int, int, int]:
        return self.type, self.subject, self.name, self.kind if self.type == BREAKER else 0

    def leaf(self) -> bytes:
        wide = (self.subject, self.name, self.limit_a, self.limit_b, self.used)
        narrow = (self.until, self.period, self.count, self.set_at, self.ledger, self.bound)
        last = (self.type, self.kind, self.action, self.reason)
        return b"".join(map(u128, wide)) + struct.pack("<4Q2I4H", *narrow, *last)

    def counted(self, period: int) -> int:
        return self.count if self.period == period else 0

    def counted_amount(self, period: int) -> int:
        return self.used if self.period == period else 0


class Rules:
    """Places, each with a rule or free."""

    def __init__(self) -> None:
        self.places: list[Rule | None] = []

    def leaves(self) -> list[bytes]:
        return [rule.leaf() if rule else bytes(128) for rule in self.places]

    def live(self) -> int:
        return sum(rule is not None for rule in self.places)

    def copied(self) -> list[Rule | None]:
        return [copy(rule) for rule in self.places]

    def find(self, type_: int, subject: int, name: int = 0, kind: int = 0) -> Rule | None:
        return next((rule for rule in self.places if rule and rule.key == (type_, subject, name, kind)), None)

    def put(self, rule: Rule) -> bool:
        """Take the place of the row with its key, else the lowest free place; False when there is no room."""
        known = [i for i, each in enumerate(self.places) if each and each.key == rule.key]
        if known:
            self.places[known[0]] = rule
            return True
        own = sum(each.type in (QUOTE, COUNTER) for each in self.places if each)
        if (own >= _OWN_MAX) if rule.type in (QUOTE, COUNTER) else (self.live() - own >= _COMMON_MAX):
            return False
        if None in self.places:
            self.places[self.places.index(None)] = rule
        else:
            self.places.append(rule)
        return True

    def remove(self, rule: Rule) -> None:
        self.places = [None if each is rule else each for each in self.places]

    def trim_quotes(self, account: int, before: int) -> int:
        """Forget an account's quotes that were over before then; how many are left."""
        mine = [rule for rule in self.places if rule and rule.type == QUOTE and rule.subject == account]
        for rule in mine:
            if rule.until < before:
                self.remove(rule)
        return sum(rule.until >= before for rule in mine)


def hold_ns(state: State, ledger: int) -> int:
    rule = state.rules.find(LEDGER, ledger)
    return rule.until if rule and rule.until else DAY_NS


def judge(state: State, t: Transfer, debit: Account, now: int, *, in_run: bool) -> tuple[Code | None, int, bool]:
    """A code, or nothing and: why it is held (0: it is not), and whether it draws on a quote; counted then."""
    issues = bool(debit.flags & ISSUER)
    quote = state.rules.find(QUOTE, t.debit_account, t.user_data) if t.kind == r.LOCK and t.user_data else None
    if quote and now >= quote.until:
        return Code.QUOTE_EXPIRED, 0, False
    if quote and quote.used + t.amount > quote.limit_a:
        return Code.QUOTE_EXHAUSTED, 0, False
    breakers = _breakers(state, t, now)
    full = [b for b in breakers if b.action == SLOW and b.counted(now // SECOND_NS) >= b.limit_a]
    if any(b.action == STOP for b in breakers):
        return Code.BREAKER_OPEN, 0, False
    if full:
        return Code.BREAKER_SLOW, 0, False
    held_for = BY_BREAKER if any(b.action == HOLD for b in breakers) else 0
    counter = None
    if debit.tier and not issues:
        counter = state.rules.find(COUNTER, debit.id)
        code, holds = _tier(state, t, debit, counter, now)
        if code and not holds:
            return code, 0, False
        if code:
            held_for = BY_TIER if code == Code.TIER_LIMIT_EXCEEDED else BY_VELOCITY
    ledger = state.rules.find(LEDGER, t.ledger)
    if ledger and ledger.limit_a and t.amount >= ledger.limit_a and not issues:
        held_for = BY_THRESHOLD
    if held_for and in_run:
        return Code.APPROVAL_REQUIRED, 0, False
    if held_for and len(state.pendings.known) >= state.genesis.limits.pendings_max:
        return Code.PENDINGS_FULL, 0, False
    _count(t, quote, [b for b in breakers if b.action == SLOW], counter, now)
    return None, held_for, quote is not None


def _breakers(state: State, t: Transfer, now: int) -> list[Rule]:
    """Those that stand on it, each once."""
    subjects = [
        (BY_ACCOUNT, t.debit_account), (BY_ACCOUNT, t.credit_account), (BY_PARTICIPANT, participant_of(t.debit_account)),
        (BY_PARTICIPANT, participant_of(t.credit_account)), (BY_LEDGER, t.ledger), (BY_REFERENCE, t.user_data),
    ]  # fmt: skip
    found = [state.rules.find(BREAKER, subject, 0, kind) for kind, subject in dict.fromkeys(subjects)]
    return [breaker for breaker in found if breaker and now < breaker.until]


def _tier(state: State, t: Transfer, debit: Account, counter: Rule | None, now: int) -> tuple[Code | None, bool]:
    tier = state.rules.find(TIER, debit.ledger << 32 | debit.tier)
    assert tier is not None, "a tier that accounts have is not removed"
    assert counter is not None, "an account with a tier is counted"
    holds = tier.action == HOLDS
    if tier.limit_a and t.amount > tier.limit_a:
        code = Code.TIER_LIMIT_EXCEEDED
    else:
        day = now // DAY_NS
        over = counter.counted_amount(day) + t.amount > (tier.limit_b or 2**128 - 1)
        if not over and not (tier.bound and counter.counted(day) >= tier.bound):
            return None, False
        code = Code.VELOCITY_EXCEEDED
    # What the counter could not count is refused, whatever the tier does.
    return code, holds and counter.counted_amount(now // DAY_NS) + t.amount < 2**128


def _count(t: Transfer, quote: Rule | None, slow: list[Rule], counter: Rule | None, now: int) -> None:
    if quote:
        quote.used += t.amount
    for breaker in slow:
        breaker.period, breaker.count = now // SECOND_NS, breaker.counted(now // SECOND_NS) + 1
    if counter:
        day = now // DAY_NS
        counter.used, counter.count = counter.counted_amount(day) + t.amount, counter.counted(day) + 1
        counter.period = day


def give_back(state: State, pending: Pending) -> None:
    """What a lock drew on a quote that is still open, and nobody claimed."""
    t = pending.transfer
    quote = state.rules.find(QUOTE, t.debit_account, t.user_data) if pending.draws else None
    if quote:
        quote.used -= min(quote.used, t.amount)
