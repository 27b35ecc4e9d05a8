"""Documents and quotes that tests of the bridge's papers share; every number is a default that a test may change."""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.calendar import Calendar, Hours
from bridge.corridor import CorridorDocument, Limits, MarginPart, MarginParts, MarginRules, Screening, SupervisorKey
from bridge.leg import HashFunction
from bridge.quotes import Quote
from bridge.rates import Rate, Rounding

CNY, HKD, THB, USD = 1, 2, 3, 4
PAYER, FIRST, SECOND, THIRD = 11, 21, 22, 23
NOW = 1_790_000_000 * 10**9
S = 10**9
SUPERVISORS = (
    SupervisorKey(101, 1, "x25519", "09" + "00" * 31),  # the base point: a key in form, and nobody's
    SupervisorKey(102, 1, "x25519", "08" + "01" * 31),
)


def account(participant: int, ledger: int) -> int:
    return participant << 96 | ledger


def calendar(zone: str = "Asia/Shanghai", opens: str = "09:00", closes: str = "17:30", **more: Any) -> Calendar:
    return Calendar(zone, tuple(Hours(day, opens, closes) for day in range(1, 6)), **more)


def document(source: int = CNY, target: int = HKD, **changes: Any) -> CorridorDocument:
    part = MarginPart(2 * S, "measured on the embedded cluster, p99.9 of 10,000 runs")
    parts = MarginParts(part, part, part)
    made = CorridorDocument(
        format=1,
        id=f"{source << 64 | target:032x}",
        version=1,
        source_ledger=source,
        target_ledger=target,
        suspended=False,
        calendars=(),
        limits=Limits("1", "1" + "0" * 15, "1" + "0" * 17, "1" + "0" * 16, "Asia/Shanghai"),
        fees=(),
        roundings=(1, 2, 3),
        remainder_source_account=f"{account(90, source):032x}",
        remainder_target_account=f"{account(90, target):032x}",
        providers=(FIRST, SECOND, THIRD),
        hash_functions=("sha256", "sm3"),
        lock_s=60,
        quote_s=30,
        premium_volatility_ppb=4_000_000,
        margins=MarginRules(parts, part, part, part, {}),
        screening=Screening(8_800, "100000000", SUPERVISORS),
        approval_note="above 100,000 USD equivalent both supervisors approve",
        rules=("claims after the reveal are never stopped",),
    )
    return msgspec.structs.replace(made, **changes)


def quote(source: int = CNY, target: int = HKD, provider: int = FIRST, **changes: Any) -> Quote:
    fields: dict[str, Any] = dict(
        id=1,
        provider=provider,
        taker=PAYER,
        source_ledger=source,
        target_ledger=target,
        rate=Rate(109, 100),
        rounding=Rounding.DOWN,
        total_amount=1_000_000,
        min_amount=1,
        premium=0,
        corridor_id=(source << 64 | target).to_bytes(16, "big"),
        corridor_version=1,
        provider_source_account=account(provider, source),
        provider_target_account=account(provider, target),
        remainder_source_account=account(90, source),
        remainder_target_account=account(90, target),
        issued_at=NOW,
        expires_at=NOW + 10 * S,
        lock_s=30,
        hash_functions=1 << (HashFunction.SHA256 - 1) | 1 << (HashFunction.SM3 - 1),
        key_id=7,
    )
    return Quote(**{**fields, **changes})
