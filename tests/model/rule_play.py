"""Random play with rules: what supervisors, issuers and providers set, and how holds end. Part of ``play``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.model import admin_request as a
from tests.model import record as r
from tests.model.accounts import ISSUER, participant_of
from tests.model.genesis import SECOND_NS
from tests.model.rules import (
    BREAKER,
    BY_ACCOUNT,
    BY_CORRIDOR,
    BY_LEDGER,
    BY_PARTICIPANT,
    BY_REFERENCE,
    COUNTER,
    DAY_NS,
    QUOTE,
)
from tests.model.stage import CNY, EUR, HKD, KEYS

if TYPE_CHECKING:
    from tests.model.play import Play
    from tests.model.record import Transfer

__all__ = ["RulePlay"]

_BOTH = 3
_SUPERVISORS = (KEYS["supervisor"], KEYS["supervisor_2"])
_REFERENCES = (0xAAAA, 0xBBBB)


class RulePlay:
    """The part of a play that sets rules; all choices are the play's."""

    def __init__(self, play: Play) -> None:
        self._play = play

    def begin(self) -> None:
        """A threshold, two tiers and one that wears each, so that there is something to meet from the start."""
        play = self._play
        make, watchers = play.stage.request, (KEYS["operator"], KEYS["supervisor"])
        threshold = {"ledger": CNY, "limit_a": self._pick(100, 10, 7, 1000), "limit_b": self._pick(3, 8, 1) * SECOND_NS}
        play.ask(make(a.LEDGER_RULES, **threshold), watchers, _BOTH)
        for tier in (1, 2):
            fields = {"ledger": CNY, "role": tier, "suite": tier, "limit_a": 50, "limit_b": 200, "key_id": 5}
            play.ask(make(a.LEDGER_TIER, **fields), watchers, _BOTH)
        for shard in (0, 1):
            fields = {"subject": self._account(shard), "ledger": CNY, "role": 1 + self._below(2)}
            play.ask(make(a.ACCOUNT_TIER, **fields), (KEYS["issuer_a"], 0), 1 << shard)
            self._quote()

    def named(self, shard: int, record: Transfer) -> Transfer:
        """A lock names an open quote of its payer, mostly; another record a reference that a breaker may stand on."""
        quotes = [
            rule for rule in self._play.state(shard).rules.places
            if rule and rule.type == QUOTE and rule.subject == record.debit_account
        ]  # fmt: skip
        if record.kind == r.LOCK and quotes and not self._rarely(4):
            quote = quotes[self._below(len(quotes))]
            left = quote.limit_a - quote.used
            amount = min(left + self._below(2), 2**127) if self._rarely(3) else record.amount
            return replace(record, user_data=quote.name, amount=amount or record.amount)
        if self._rarely(8):
            return replace(record, amount=self._pick(50, 51))
        return replace(record, user_data=_REFERENCES[self._below(2)]) if self._rarely(5) else record

    def end_hold(self) -> None:
        """Two supervisors release what is held, or reject it; rarely somebody else, or something that is not held."""
        play = self._play
        shard = self._below(2)
        known = list(play.state(shard).pendings.known.values())
        held = [pending for pending in known if pending.held]
        candidates = held if held and not self._rarely(10) else [p for p in known if p.held_for]
        if not candidates and known and self._rarely(10):
            candidates = known
        if not candidates:
            self.set_one()
            return
        t = candidates[self._below(len(candidates))].transfer
        kind = a.HOLD_REJECT if self._below(3) == 2 else a.HOLD_RELEASE
        signers = _SUPERVISORS if kind == a.HOLD_RELEASE or self._below(2) else (KEYS["operator"], KEYS["supervisor_2"])
        if self._rarely(15):
            signers = (KEYS["supervisor"], KEYS["operator"])
        if self._rarely(4):
            play.advance()
        fields = {"subject": t.debit_account, "ledger": t.ledger, "limit_b": t.id, "reason": 1}
        if self._rarely(20):
            fields |= {"limit_b": t.id ^ 1}
        if self._rarely(20):
            fields |= {"ledger": HKD}
        play.ask(play.stage.request(kind, **fields), signers, 1 << shard if not self._rarely(20) else _BOTH)

    def set_one(self) -> None:
        """One rule of whatever type is set or lifted."""
        makers = (
            self._quote, self._quote, self._threshold, self._breaker, self._breaker, self._tier, self._account_tier,
            self._account_tier, self._lift, self._lift, self._look,
        )  # fmt: skip
        makers[self._below(len(makers))]()

    def _quote(self) -> None:
        play, shard = self._play, self._below(2)
        account = self._account(shard)
        key = self._key(shard, account)
        until = play.stage.now + self._pick(3, 1, 8, 0) * SECOND_NS
        total = self._pick(1000, 7, 100, 20, 2**127, 0)
        request = play.stage.request(a.QUOTE_OPEN, subject=account, ledger=CNY, limit_a=total, limit_b=until)
        if self._rarely(12):
            quotes = self._rules(shard, QUOTE)
            request = replace(request, id=quotes[0][1]) if quotes else request
        play.ask(request, (key, 0), 1 << shard)

    def _threshold(self) -> None:
        play = self._play
        fields = {
            "ledger": self._pick(CNY, CNY, HKD, EUR), "limit_a": self._pick(100, 10, 0, 2**64, 1),
            "limit_b": self._pick(2 * SECOND_NS, 0, SECOND_NS, 2**62), "participant": self._pick(3, 0, 4, 99),
        }  # fmt: skip
        signers = (KEYS["operator"], KEYS["supervisor"]) if not self._rarely(12) else _SUPERVISORS
        play.ask(play.stage.request(a.LEDGER_RULES, **fields), signers, _BOTH)

    def _breaker(self) -> None:
        play, shard = self._play, self._below(2)
        kind = self._pick(BY_ACCOUNT, BY_PARTICIPANT, BY_LEDGER, BY_REFERENCE, BY_CORRIDOR, 6)
        account = self._account(shard)
        subject = {BY_ACCOUNT: account, BY_PARTICIPANT: participant_of(account), BY_LEDGER: self._pick(CNY, CNY, EUR)}
        grade = self._pick(1, 2, 3, 2, 0)
        fields = {
            "subject": subject.get(kind, _REFERENCES[0]), "role": kind, "suite": grade, "reason": self._pick(1, 1, 1, 0),
            "limit_a": self._pick(1, 2, 3) if grade == 1 else 0, "limit_b": play.stage.now + self._pick(2, 1, 4, 0) * SECOND_NS,
        }  # fmt: skip
        play.ask(play.stage.request(a.BREAKER_SET, **fields), (KEYS["supervisor"], KEYS["operator"]), _BOTH)

    def _tier(self) -> None:
        play = self._play
        fields = {
            "ledger": self._pick(CNY, CNY, HKD), "role": self._pick(1, 2, 0), "suite": self._pick(1, 2, 3),
            "limit_a": self._pick(50, 0, 2**64), "limit_b": self._pick(200, 0, 20), "key_id": self._pick(5, 0, 2),
        }  # fmt: skip
        play.ask(play.stage.request(a.LEDGER_TIER, **fields), (KEYS["supervisor"], KEYS["operator"]), _BOTH)

    def _account_tier(self) -> None:
        play, shard = self._play, self._below(2)
        fields = {
            "subject": self._account(shard),
            "ledger": self._pick(CNY, CNY, CNY, HKD),
            "role": self._pick(1, 2, 0),
        }
        signer = KEYS["issuer_a"] if not self._rarely(12) else KEYS["issuer_hkd"]
        play.ask(play.stage.request(a.ACCOUNT_TIER, **fields), (signer, 0), 1 << shard)

    def _lift(self) -> None:
        """A quote is closed or a breaker cleared; rarely one that is not there. Rarely the day ends instead."""
        play, shard = self._play, self._below(2)
        if self._rarely(12) and self._rules(shard, COUNTER):
            play.move_to((play.stage.now // DAY_NS + 1) * DAY_NS - self._below(2))
            return
        quotes, breakers = self._rules(shard, QUOTE), self._rules(shard, BREAKER)
        if quotes and self._below(2):
            account, name, _ = quotes[self._below(len(quotes))]
            request = play.stage.request(
                a.QUOTE_CLOSE, subject=account, ledger=CNY, limit_b=name ^ int(self._rarely(8))
            )
            play.ask(request, (self._key(shard, account), 0), 1 << shard)
            return
        if not breakers and not self._rarely(8):
            self._breaker()
            return
        subject, _, kind = breakers[self._below(len(breakers))] if breakers else (CNY, 0, BY_LEDGER)
        request = play.stage.request(a.BREAKER_CLEAR, subject=subject, role=kind, reason=self._pick(2, 2, 2, 0))
        play.ask(request, (KEYS["operator"], KEYS["supervisor"]), _BOTH)

    def _look(self) -> None:
        play, shard = self._play, self._below(2)
        data = bytes([self._below(2)]) * 64
        request = play.stage.request(a.LOOK, subject=self._account(shard), reason=self._pick(7, 0), public_key=data)
        signer = KEYS["supervisor_2"] if not self._rarely(6) else KEYS["operator"]
        play.ask(request, (signer, 0), 1 << shard)

    # Choosing.

    def _below(self, count: int) -> int:
        return self._play.choose.below(count)

    def _rarely(self, odds: int) -> bool:
        return self._below(odds) == odds - 1

    def _pick(self, *options: int) -> int:
        return options[self._below(len(options))]

    def _account(self, shard: int) -> int:
        """Mostly one of the first two; rarely any that is open, the issuer's too."""
        accounts = [id_ for id_, each in self._play.state(shard).accounts.items() if participant_of(id_)]
        ordinary = [id_ for id_ in accounts if not self._play.state(shard).accounts[id_].flags & ISSUER]
        chosen = accounts if self._rarely(8) or not ordinary else ordinary[:2]
        return chosen[self._below(len(chosen))]

    def _key(self, shard: int, account: int) -> int:
        state = self._play.state(shard)
        keys = state.registry.keys.values()
        mine = [
            k.id for k in keys if k.role == 2 and k.lineage == state.accounts[account].key_lineage and not k.retired_at
        ]
        return mine[self._below(len(mine))] if mine and not self._rarely(12) else KEYS["other"]

    def _rules(self, shard: int, type_: int) -> list[tuple[int, int, int]]:
        rows = self._play.state(shard).rules.places
        return [(rule.subject, rule.name, rule.kind) for rule in rows if rule and rule.type == type_]
