"""Requests of supervisors, issuers and providers about the rules of a ledger: quotes, holds, breakers, tiers, looks.

Each function returns the request that one type of 06 asks for, unsigned; ``Supervision`` signs and sends those that two
keys of the network sign. Nothing here decides anything: the ledger does, and a refusal is ``RequestRefused``.

    watch = Supervision(desk, supervisors=[ours, theirs], operators=[operator])
    await watch.set_threshold(156, 70_000_000, owner=3)
    await watch.release(account, transfer_id, ledger=156, reason=1)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from clearspan.signer import new_transfer_id
from engine.types import HASH_BYTES, PUBLIC_KEY_BYTES, AdminType, BreakerGrade, BreakerSubject, TierAction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.administration import AdminDesk, RingKey
    from engine.admin import AdminRequest

__all__ = [
    "RequestMaker",
    "Supervision",
    "account_tier",
    "breaker_clear",
    "breaker_set",
    "hold_reject",
    "hold_release",
    "ledger_rules",
    "ledger_tier",
    "look",
    "quote_close",
    "quote_open",
]


class RequestMaker(Protocol):
    """Who gives a request its id and validity: an ``AdminDesk``."""

    def request(self, kind: AdminType, **fields: int | bytes) -> AdminRequest:
        """Return a request of a type with these fields."""


def quote_open(
    maker: RequestMaker, *, quote: int = 0, account: int, ledger: int, total: int, until_ns: int
) -> AdminRequest:
    """Let locks of an account whose user_data is ``quote`` draw on ``total`` minor units until then.

    The account's own key signs. The quote's id is the request's; 0 makes a new one.
    """
    request = maker.request(AdminType.QUOTE_OPEN, subject=account, ledger=ledger, limit_a=total, limit_b=until_ns)
    return replace(request, id=quote or new_transfer_id())


def quote_close(maker: RequestMaker, *, quote: int, account: int, ledger: int) -> AdminRequest:
    """Forget a quote; the account's own key signs. Locks that name it are locks like any others from then on."""
    return maker.request(AdminType.QUOTE_CLOSE, subject=account, ledger=ledger, limit_b=quote)


def ledger_rules(maker: RequestMaker, *, ledger: int, threshold: int, hold_ns: int = 0, owner: int = 0) -> AdminRequest:
    """Hold what reaches ``threshold`` minor units (0: nothing) for ``hold_ns`` (0: a day).

    ``owner`` is the participant who answers for holds. Operator and supervisor sign.
    """
    fields = {"ledger": ledger, "limit_a": threshold, "limit_b": hold_ns, "participant": owner}
    return maker.request(AdminType.LEDGER_RULES, **fields)


def hold_release(maker: RequestMaker, *, account: int, ledger: int, transfer: int, reason: int = 0) -> AdminRequest:
    """Let a held transfer be what it was asked to be; supervisors of two participants sign."""
    fields = {"subject": account, "ledger": ledger, "limit_b": transfer, "reason": reason}
    return maker.request(AdminType.HOLD_RELEASE, **fields)


def hold_reject(maker: RequestMaker, *, account: int, ledger: int, transfer: int, reason: int = 0) -> AdminRequest:
    """Void a held transfer; a supervisor and an operator sign, or two supervisors."""
    fields = {"subject": account, "ledger": ledger, "limit_b": transfer, "reason": reason}
    return maker.request(AdminType.HOLD_REJECT, **fields)


def breaker_set(
    maker: RequestMaker,
    kind: BreakerSubject,
    subject: int,
    grade: BreakerGrade,
    *,
    until_ns: int,
    reason: int,
    per_second: int = 0,
) -> AdminRequest:
    """Slow, hold or stop what begins on a subject until then; two keys of operators or supervisors sign.

    ``per_second``: of grade slow, how many transfers may begin in a second; else 0.
    """
    return maker.request(
        AdminType.BREAKER_SET,
        subject=subject,
        role=kind,
        suite=grade,
        limit_a=per_second,
        limit_b=until_ns,
        reason=reason,
    )


def breaker_clear(maker: RequestMaker, kind: BreakerSubject, subject: int, *, reason: int) -> AdminRequest:
    """Lift a breaker before its end; two keys of operators or supervisors sign."""
    return maker.request(AdminType.BREAKER_CLEAR, subject=subject, role=kind, reason=reason)


def ledger_tier(
    maker: RequestMaker,
    *,
    ledger: int,
    tier: int,
    action: TierAction,
    amount_max: int = 0,
    day_amount_max: int = 0,
    day_count_max: int = 0,
) -> AdminRequest:
    """Say what accounts of a tier may send at once and in a day (0: no bound); operator and supervisor sign."""
    return maker.request(
        AdminType.LEDGER_TIER,
        ledger=ledger,
        role=tier,
        suite=action,
        limit_a=amount_max,
        limit_b=day_amount_max,
        key_id=day_count_max,
    )


def account_tier(maker: RequestMaker, *, account: int, ledger: int, tier: int) -> AdminRequest:
    """Put an account into a tier, or with 0 out of any; a key of the ledger's issuer signs."""
    return maker.request(AdminType.ACCOUNT_TIER, subject=account, ledger=ledger, role=tier)


def look(
    maker: RequestMaker, *, subject: int, query_digest: bytes, reason: int, ledger: int = 0, participant: int = 0
) -> AdminRequest:
    """Record that a supervisor looks at a subject, why, and the digest (32 bytes) of what was asked; he signs."""
    data = query_digest.ljust(PUBLIC_KEY_BYTES, b"\x00")
    fields = {"subject": subject, "reason": reason, "ledger": ledger, "participant": participant}
    assert len(query_digest) == HASH_BYTES
    return maker.request(AdminType.LOOK, public_key=data, **fields)


_PAIR: Final = 2


class Supervision:
    """Signs and sends what two keys of the network decide; ``supervisors`` are of two participants, ours first."""

    def __init__(self, desk: AdminDesk, supervisors: Sequence[RingKey], operators: Sequence[RingKey]) -> None:
        """Take the desk that sends, and the keys."""
        self._desk = desk
        self._supervisors = tuple(supervisors)
        self._operators = tuple(operators)

    async def release(self, account: int, transfer: int, *, ledger: int, reason: int = 0) -> None:
        """Release a hold with both supervisors' keys."""
        first, second = self._supervisors[:_PAIR]
        request = hold_release(self._desk, account=account, ledger=ledger, transfer=transfer, reason=reason)
        await self._desk.send([request], [first], [second])

    async def reject(self, account: int, transfer: int, *, ledger: int, reason: int = 0) -> None:
        """Reject a hold with a supervisor's and an operator's key."""
        await self._both(hold_reject(self._desk, account=account, ledger=ledger, transfer=transfer, reason=reason))

    async def set_threshold(self, ledger: int, threshold: int, *, hold_ns: int = 0, owner: int = 0) -> None:
        """Set what a ledger holds."""
        await self._both(ledger_rules(self._desk, ledger=ledger, threshold=threshold, hold_ns=hold_ns, owner=owner))

    async def set_tier(
        self,
        ledger: int,
        tier: int,
        action: TierAction,
        *,
        amount_max: int = 0,
        day_amount_max: int = 0,
        day_count_max: int = 0,
    ) -> None:
        """Set what a tier of a ledger may send."""
        await self._both(
            ledger_tier(
                self._desk,
                ledger=ledger,
                tier=tier,
                action=action,
                amount_max=amount_max,
                day_amount_max=day_amount_max,
                day_count_max=day_count_max,
            )
        )

    async def set_breaker(
        self,
        kind: BreakerSubject,
        subject: int,
        grade: BreakerGrade,
        *,
        until_ns: int,
        reason: int,
        per_second: int = 0,
    ) -> AdminRequest:
        """Set a breaker, or put another in its place; return the request, which bridges of a corridor take."""
        return await self._both(
            breaker_set(self._desk, kind, subject, grade, until_ns=until_ns, reason=reason, per_second=per_second)
        )

    async def clear_breaker(self, kind: BreakerSubject, subject: int, *, reason: int) -> AdminRequest:
        """Lift a breaker; return the request."""
        return await self._both(breaker_clear(self._desk, kind, subject, reason=reason))

    async def look(self, subject: int, query_digest: bytes, *, reason: int) -> None:
        """Record a look of our supervisor; what was looked at is served once this returned."""
        request = look(self._desk, subject=subject, query_digest=query_digest, reason=reason)
        await self._desk.send([request], [self._supervisors[0]])

    async def _both(self, request: AdminRequest) -> AdminRequest:
        await self._desk.send([request], [self._supervisors[0]], [self._operators[0]])
        return request
