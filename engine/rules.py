"""A row of a shard's table of rules (LEDGER-100): quotes, thresholds, breakers, tiers and the counters of accounts.

It knows the layout and no meaning: what a row does to transfers is decided by the ledger, and who may set it by the
administration.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Self

from engine.refusals import EncodingError
from engine.types import RuleType
from native.ledger import RULE_BYTES

__all__ = ["HOLD_NS_DEFAULT", "Rule", "tier_subject"]

HOLD_NS_DEFAULT: Final = 86_400_000_000_000
"""How long a hold waits on a ledger that says nothing else."""
_ROW: Final = struct.Struct("<16s16s16s16s16sQQQQIIHHHH")
assert _ROW.size == RULE_BYTES


@dataclass(frozen=True, slots=True)
class Rule:
    """One row; what a type does not use is zero.

    type, kind: ``RuleType``, and of a breaker what its subject is, of a tier its number. subject, name: the key.
    limit_a, limit_b, used: minor units; of a breaker limit_a is transfers a second. until: ns. period, count: what the
    row counts.
    """

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
    def breaker(self) -> int:
        """The part of the key that only breakers have: what the subject is."""
        return self.kind if self.type == RuleType.BREAKER else 0

    @property
    def left(self) -> int:
        """What is left of a quote."""
        return self.limit_a - self.used

    def encode(self) -> bytes:
        """Return the 128 bytes; raises EncodingError for a value that is too wide."""
        wide = (self.subject, self.name, self.limit_a, self.limit_b, self.used)
        try:
            return _ROW.pack(
                *(value.to_bytes(16, "little") for value in wide),
                self.until,
                self.period,
                self.count,
                self.set_at,
                self.ledger,
                self.bound,
                self.type,
                self.kind,
                self.action,
                self.reason,
            )
        except (struct.error, OverflowError) as error:
            raise EncodingError("rule", self, "values that fit their fields") from error

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read 128 bytes; raises EncodingError for another length."""
        if len(data) != RULE_BYTES:
            raise EncodingError("rule bytes", len(data), RULE_BYTES)
        *wide, until, period, count, set_at, ledger, bound, kind_of_rule, kind, action, reason = _ROW.unpack(data)
        subject, name, limit_a, limit_b, used = (int.from_bytes(value, "little") for value in wide)
        return cls(
            kind_of_rule,
            subject,
            name,
            limit_a,
            limit_b,
            used,
            until,
            period,
            count,
            set_at,
            ledger,
            bound,
            kind,
            action,
            reason,
        )


def tier_subject(ledger: int, tier: int) -> int:
    """Return the subject of a ledger's tier."""
    return ledger << 32 | tier
