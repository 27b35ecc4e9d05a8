"""Linked runs over shards: what the shards of a domain make of one together, and what a log record of it may say.

It promises one answer to each member from what every touched shard found (LEDGER-92), and that a recorded answer which
one shard could never have had part in is named (LOG-5). It knows codes, and neither accounts nor amounts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final

import numpy as np

from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from native.ledger import RunView

__all__ = ["RunAnswer", "RunDecision", "RunStatus", "answer_run", "contradiction", "recorded_decision"]


@unique
class RunStatus(IntEnum):
    """What one shard found (LEDGER-91)."""

    PREPARED = 0
    MALFORMED = 1
    KNOWN = 2
    UNDECIDABLE = 3
    NO_ROOM = 4
    DEBIT = 5
    CREDIT = 6


_REPEATS: Final = frozenset({ResultCode.EXISTS, ResultCode.ID_ALREADY_FAILED, ResultCode.TOO_OLD})
_NO_ROOM: Final = frozenset({ResultCode.WINDOW_FULL, ResultCode.PENDINGS_FULL})
# What a payee's shard may refuse with; the payer's shard takes its word.
_OF_CREDIT_HALVES: Final = frozenset(
    {
        ResultCode.EXPIRED,
        ResultCode.CREDIT_ACCOUNT_NOT_FOUND,
        ResultCode.CREDIT_ACCOUNT_OTHER_LEDGER,
        ResultCode.CREDIT_ACCOUNT_CLOSED,
        ResultCode.OVERFLOWS_LEDGER_TOTAL,
        ResultCode.EXCEEDS_BALANCE_MAX,
        ResultCode.EXISTS_WITH_DIFFERENT_RUN,
    }
)
_FIRST_REFUSAL: Final = ResultCode.RESERVED_FLAG_SET
_LAST_MALFORMED: Final = 69


@dataclass(frozen=True, slots=True)
class RunDecision:
    """What every touched shard does: keep its halves, or take them back and refuse ``member`` with ``code``."""

    keeps: bool
    member: int | None = None
    code: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class RunAnswer:
    """The answers to the members of one run (u16, u16, u64 ns), and what the shards do."""

    codes: NDArray[np.uint16]
    first_codes: NDArray[np.uint16]
    times: NDArray[np.uint64]
    decision: RunDecision


def answer_run(views: Sequence[RunView], count: int, now: int) -> RunAnswer:
    """Join what all touched shards found of a run of ``count`` members (LEDGER-92)."""
    by_status = {RunStatus(view.status): view for view in reversed(views)}
    if len(by_status) == 1 and RunStatus.PREPARED in by_status:
        return _all(ResultCode.PREPARED, count, now, RunDecision(keeps=True))
    if RunStatus.MALFORMED in by_status:
        return _one(by_status[RunStatus.MALFORMED], count, now)
    if RunStatus.KNOWN in by_status:
        return _known([view for view in views if view.status == RunStatus.KNOWN], count, now)
    if RunStatus.UNDECIDABLE in by_status:
        return _all(ResultCode.LINKED_RUN_SPANS_SHARDS, count, now, RunDecision(keeps=False))
    refusals = [view for view in views if view.member is not None]
    return _one(min(refusals, key=lambda view: (view.member or 0, view.status)), count, now)


def _all(code: ResultCode, count: int, now: int, decision: RunDecision) -> RunAnswer:
    codes = np.full(count, code, dtype=np.uint16)
    return RunAnswer(codes, np.zeros(count, dtype=np.uint16), np.full(count, now, dtype=np.uint64), decision)


def _one(view: RunView, count: int, now: int) -> RunAnswer:
    """One member keeps its code, the others fail with it."""
    assert view.member is not None
    codes = np.full(count, ResultCode.LINKED_EVENT_FAILED, dtype=np.uint16)
    codes[view.member] = view.code
    answer = RunAnswer(
        codes, np.zeros(count, dtype=np.uint16), np.full(count, now, dtype=np.uint64), recorded_decision(codes)
    )
    answer.first_codes[view.member] = view.first_codes[view.member]
    answer.times[view.member] = view.times[view.member]
    return answer


def _known(views: Sequence[RunView], count: int, now: int) -> RunAnswer:
    """Members met before answer again; what the window forgot of a run that was taken is too old."""
    answer = _all(ResultCode.TOO_OLD, count, now, RunDecision(keeps=False))
    for view in views:
        codes = np.asarray(view.codes)
        rows = np.flatnonzero(codes)
        answer.codes[rows] = codes[rows]
        answer.first_codes[rows] = np.asarray(view.first_codes)[rows]
        answer.times[rows] = np.asarray(view.times)[rows]
    if (answer.codes == ResultCode.EXISTS).any() or (answer.first_codes == ResultCode.ABORTED).any():
        return answer
    failed = int(np.flatnonzero(answer.codes == ResultCode.ID_ALREADY_FAILED)[0])
    others = np.arange(count) != failed
    answer.codes[others], answer.first_codes[others] = ResultCode.LINKED_EVENT_FAILED, 0
    answer.times[others] = now
    return answer


def recorded_decision(codes: NDArray[np.uint16]) -> RunDecision:
    """Return what a shard did that wrote these codes into its log."""
    if (codes == ResultCode.PREPARED).all():
        return RunDecision(keeps=True)
    own = np.flatnonzero(codes != ResultCode.LINKED_EVENT_FAILED)
    if own.size == 1 and codes[own[0]] >= _FIRST_REFUSAL and int(codes[own[0]]) not in _REPEATS:
        return RunDecision(False, int(own[0]), int(codes[own[0]]))
    return RunDecision(keeps=False)


def contradiction(view: RunView, codes: NDArray[np.uint16]) -> str:
    """Return why a shard that found this cannot have written these codes, or nothing (LOG-5)."""
    decision = recorded_decision(codes)
    status = RunStatus(view.status)
    if decision.keeps or status is RunStatus.MALFORMED:
        return _follows(view, codes, decision)
    if decision.member is None:
        return _repeats(view, codes)
    if status is RunStatus.KNOWN:
        return "a run met before is refused anew"
    return _refuses(view, decision)


def _follows(view: RunView, codes: NDArray[np.uint16], decision: RunDecision) -> str:
    """Demand halves that are all prepared, or that the malformed member keeps its code."""
    if decision.keeps:
        return "" if view.status == RunStatus.PREPARED else "a run is prepared that this shard refuses"
    assert view.member is not None
    same = codes[view.member] == view.code and decision.member == view.member
    return "" if same else "a malformed run is answered otherwise"


def _repeats(view: RunView, codes: NDArray[np.uint16]) -> str:
    """Demand of a run met before, or that no relay would decide, what this shard knows of it."""
    if view.status != RunStatus.KNOWN:
        allowed = {*_REPEATS, ResultCode.LINKED_EVENT_FAILED, ResultCode.LINKED_RUN_SPANS_SHARDS}
        return "" if {int(code) for code in np.unique(codes)} <= allowed else "members are answered at will"
    found = np.asarray(view.codes)
    rows = np.flatnonzero(found)
    failed = (found[rows] == ResultCode.ID_ALREADY_FAILED) & (codes[rows] == ResultCode.LINKED_EVENT_FAILED)
    return "" if ((found[rows] == codes[rows]) | failed).all() else "a member met before is answered otherwise"


def _refuses(view: RunView, decision: RunDecision) -> str:
    """Demand a refusal that no half here is against: the first in order, the debit half's before the credit half's."""
    assert decision.member is not None
    if decision.code <= _LAST_MALFORMED:
        return "a run is malformed that this shard can read"
    if decision.member == 0 and decision.code in _NO_ROOM:
        return ""
    refused = view.member
    if refused is not None and decision.member > refused:
        return "a later member is refused than the first that is refused here"
    if refused == decision.member:
        same = view.code == decision.code or view.status == RunStatus.CREDIT
        return "" if same else "a member is refused with another code than here"
    here = view.codes[decision.member] == ResultCode.PREPARED
    return "a member is refused that is prepared here" if here and decision.code not in _OF_CREDIT_HALVES else ""
