"""Supervisors and operators of a simulated ledger: thresholds, decisions about what is held, measures at bad moments.

They keep the law, and try on the way what it forbids: one of them alone, two keys of one institution, a decision about
what is over. A ledger that let them would be caught here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from clearspan.simulation.bridge.realm import OPERATOR, SUPERVISORS
from clearspan.simulation.bridge.rules import Kind, Phase, Verdict
from engine.admin import AdminRequest
from engine.holds import HoldState
from engine.types import NS_PER_S, AdminType, BreakerGrade, BreakerSubject, TierAction
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from clearspan.simulation.bridge.market import Market
    from clearspan.simulation.bridge.places import Place
    from clearspan.simulation.bridge.rules import Measure, Threshold
    from clearspan.simulation.bridge.stage import Stage
    from engine.holds import Hold

__all__ = ["HOLDS_NS", "Supervisors"]

_OWNER: Final = 2
_REASON: Final = 7
_VALID_S: Final = 3_600
_LOOKS_NS: Final = 2 * NS_PER_S
HOLDS_NS: Final = 30 * NS_PER_S
"""How long a ledger without a threshold holds what a breaker or a tier holds."""
_GRADES: Final = {Kind.SLOW: BreakerGrade.SLOW, Kind.HOLD: BreakerGrade.HOLD, Kind.STOP: BreakerGrade.STOP}
_TIER: Final = 3
_REFUSES: Final = 2
_OF_A_DAY: Final = 3


class Supervisors:
    """Those of one ledger; ``released`` holds what two institutions let go on, by debit account and transfer."""

    def __init__(self, stage: Stage, market: Market, place: Place) -> None:
        self.stage, self.market, self.place = stage, market, place
        self.released: set[tuple[int, int]] = set()
        self._seen: set[tuple[int, int]] = set()

    @property
    def _threshold(self) -> Threshold | None:
        return self.stage.plan.thresholds.get(self.place.index)

    def start(self) -> None:
        """Set what the plan says from the beginning on, and wait for the moments of its measures."""
        stage = self.stage
        measures = [each for each in stage.plan.measures if each.index == self.place.index]
        if self._threshold is None and not measures:
            return
        amount, hold_ns = (self._threshold.amount, self._threshold.hold_ns) if self._threshold else (0, HOLDS_NS)
        self._ask(AdminType.LEDGER_RULES, limit_a=amount, limit_b=hold_ns, participant=_OWNER)
        for measure in measures:
            if measure.phase is Phase.BEFORE:
                self._take(measure)
            else:
                stage.when(measure.phase.value, partial(self._take, measure))
        stage.after(_LOOKS_NS, self._watch)

    # What is held.

    def _watch(self) -> None:
        for hold in self.place.holds():
            key = hold.debit_account, hold.transfer
            if key not in self._seen:
                self._seen.add(key)
                self.stage.reach(f"held_by_{hold.reason.name.lower()}")
                self._decide(hold)
        self.stage.after(_LOOKS_NS, self._watch)

    def _decide(self, hold: Hold) -> None:
        threshold, stage = self._threshold, self.stage
        verdict = threshold.verdict if threshold is not None else Verdict.RELEASE
        delay = threshold.delay_ns if threshold is not None else _LOOKS_NS
        if verdict is Verdict.NOTHING:
            return
        if verdict is Verdict.RELEASE:
            # What one institution may not do alone is tried before the other one has looked.
            first, second, same = SUPERVISORS
            self._end(AdminType.HOLD_RELEASE, hold, (first,), ResultCode.SECOND_SIGNATURE_REQUIRED)
            self._end(AdminType.HOLD_RELEASE, hold, (first, same), ResultCode.SIGNERS_MUST_DIFFER)
            self._end(AdminType.HOLD_RELEASE, hold, (first, OPERATOR), ResultCode.SIGNER_ROLE_NOT_ALLOWED)
            stage.after(delay, lambda: self._end(AdminType.HOLD_RELEASE, hold, (first, second), None))
        else:
            stage.after(delay, lambda: self._end(AdminType.HOLD_REJECT, hold, (SUPERVISORS[0], OPERATOR), None))

    def _end(self, kind: AdminType, hold: Hold, keys: tuple[int, ...], refusal: ResultCode | None) -> None:
        stage, key = self.stage, (hold.debit_account, hold.transfer)
        fields = {"subject": hold.debit_account, "limit_b": hold.transfer, "reason": _REASON}
        # Whoever waits for the node's answer may be late: by then it may be over.
        if refusal is None and kind is AdminType.HOLD_RELEASE:
            self.released.add(key)

        def told(code: int) -> None:
            over = code in (ResultCode.HOLD_OVER, ResultCode.HOLD_NOT_FOUND)
            if refusal is not None and code != refusal and not over:
                stage.fail(f"{self.place.name}: keys {keys} ended a hold: {code}")
            if refusal is None and code not in (ResultCode.CREATED, ResultCode.HOLD_REJECTED) and not over:
                stage.fail(f"{self.place.name}: two institutions may end a hold, and were told {code}")
            found = self.place.machine_of(hold.debit_account).find_hold(*key)
            if refusal is None and found is not None and found.state is HoldState.WAITING:
                stage.fail(f"{self.place.name}: a hold was ended, and waits")
            name = "over" if over else "done" if refusal is None else refusal.name.lower()
            stage.reach(f"{kind.name.lower()}_{name}")

        self._ask(kind, told=told, keys=keys, **fields)

    # Measures.

    def _take(self, measure: Measure) -> None:
        stage, world = self.stage, self.place.world
        stage.reach(f"measure_{measure.kind.value}_{measure.phase.value}")
        account = world.account(measure.bank)
        if measure.kind in _GRADES:
            self._break(measure, account)
            return
        if measure.kind is Kind.FREEZE:
            self._ask(AdminType.ACCOUNT_FREEZE, subject=account, reason=_REASON)
            stage.after(
                measure.lasts_ns, lambda: self._ask(AdminType.ACCOUNT_UNFREEZE, subject=account, reason=_REASON)
            )
        elif measure.kind is Kind.LIMIT:
            issuer = (world.issuer_keys[0],)
            self._ask(AdminType.ACCOUNT_LIMITS, keys=issuer, subject=account, limit_b=1)
            stage.after(measure.lasts_ns, lambda: self._ask(AdminType.ACCOUNT_LIMITS, keys=issuer, subject=account))
        else:
            action = TierAction.REFUSE if measure.subject == _REFUSES else TierAction.HOLD
            most = 0 if measure.subject == _OF_A_DAY else 1
            self._ask(AdminType.LEDGER_TIER, role=_TIER, suite=int(action), limit_a=most, limit_b=1)
            self._ask(AdminType.ACCOUNT_TIER, keys=(world.issuer_keys[0],), subject=account, role=_TIER)

    def _break(self, measure: Measure, account: int) -> None:
        subject = {
            BreakerSubject.ACCOUNT: account,
            BreakerSubject.PARTICIPANT: self.market.participant(measure.bank),
            BreakerSubject.LEDGER: self.place.world.ledger,
        }[BreakerSubject(measure.subject)]
        self._ask(
            AdminType.BREAKER_SET,
            subject=subject,
            role=measure.subject,
            suite=int(_GRADES[measure.kind]),
            limit_a=1 if measure.kind is Kind.SLOW else 0,
            limit_b=self.stage.clock_of(self.place) + measure.lasts_ns,
            reason=_REASON,
        )

    def _ask(
        self,
        kind: AdminType,
        *,
        keys: tuple[int, ...] = (OPERATOR, SUPERVISORS[0]),
        told: Callable[[int], None] | None = None,
        **fields: int,
    ) -> None:
        """Sign a request and have the node administer it; these lines lose nothing."""
        request = AdminRequest(
            id=self.stage.next_id(),
            type=int(kind),
            expires_at=self.stage.start + _VALID_S // 2 * NS_PER_S,
            valid_for_s=_VALID_S,
        )
        if kind not in _WITHOUT_LEDGER:
            fields["ledger"] = self.place.world.ledger
        request = replace(request, **fields)  # type: ignore[arg-type]  # all but the public key are numbers
        self.place.administer(self.place.world.admin(request, *keys), told or self._done(kind))

    def _done(self, kind: AdminType) -> Callable[[int], None]:
        def told(code: int) -> None:
            if kind is AdminType.BREAKER_SET and code == ResultCode.ADMIN_FIELD_NOT_ALLOWED:
                return  # the node was silent until the breaker's time was over
            if code != ResultCode.CREATED:
                self.stage.fail(f"{self.place.name}: {kind.name} was refused with {code}")

        return told


_WITHOUT_LEDGER: Final = frozenset({AdminType.BREAKER_SET, AdminType.BREAKER_CLEAR})
