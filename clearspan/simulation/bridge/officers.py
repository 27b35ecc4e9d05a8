"""Officers of the payer's institution in the simulation: what they do about the cases that screening and breakers open.

They keep the rules, and try on the way what these forbid: one of them alone, somebody who is no officer, a case that
is over. What two of them released is kept here by themselves, so that it can be compared with what then ran.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.cases import CaseState, Step
from bridge.refusals import BridgeCode
from clearspan.simulation.bridge.gate import OFFICERS
from clearspan.simulation.bridge.papers import Ruling
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from bridge.cases import Case
    from clearspan.simulation.bridge.party import Party
    from clearspan.simulation.bridge.stage import Stage

__all__ = ["Officers"]

_LOOKS_NS: Final = 2 * NS_PER_S
_REASON: Final = "looked at"
_FIRST, _SECOND, _AS_FIRST = OFFICERS
_STRANGER: Final = "clerk"
_UNDECIDED: Final = (CaseState.OPEN, CaseState.OWNED, CaseState.RELEASE_PROPOSED, CaseState.REJECT_PROPOSED)
_ENDED: Final = (CaseState.RELEASED, CaseState.REJECTED, CaseState.EXPIRED)


class Officers:
    """Those of one payer; ``released`` are the UETRs that two of them let go on."""

    def __init__(self, stage: Stage, payer: Party) -> None:
        self._stage, self._payer = stage, payer
        self.released: set[bytes] = set()
        self.decided: set[str] = set()
        self._seen: dict[str, int] = {}
        self._objected: set[str] = set()
        self._told: set[tuple[str, CaseState]] = set()

    def start(self) -> None:
        """Look now and then."""
        self._stage.after(_LOOKS_NS, self._watch)

    def _watch(self) -> None:
        gate = self._payer.gate
        for case in gate.compliance.cases.all_cases() if gate is not None else ():
            case_id = case.opened.case_id
            if (case_id, case.state) not in self._told:
                self._told.add((case_id, case.state))
                self._stage.reach(f"case_{case.state.value}")
                self._stage.reach(f"case_of_{case.opened.kind.value}")
            if case.state in _UNDECIDED:
                self._work(case)
            elif case_id not in self.decided:
                self.decided.add(case_id)
                self._refused(case, Step.NOTE, _FIRST, BridgeCode.TERMS_MALFORMED)
            if self._payer.gate is not gate:
                break  # it died over one of these
        self._stage.after(_LOOKS_NS, self._watch)

    def _work(self, case: Case) -> None:
        """Take one step in a case."""
        papers, now = self._stage.plan.papers, self._stage.now
        since = self._seen.setdefault(case.opened.case_id, now)
        if case.state is CaseState.OPEN:
            self._refused(case, Step.TAKE, _STRANGER, BridgeCode.OFFICER_REFUSED)
            self._step(case, Step.TAKE, _FIRST)
        elif papers.ruling is Ruling.NOTHING:
            return
        elif case.state is CaseState.OWNED:
            other = _SECOND if case.officer == _FIRST else _FIRST
            rejects = papers.ruling is Ruling.REJECT
            step = Step.PROPOSE_REJECT if rejects else Step.PROPOSE_RELEASE
            self._refused(case, step, other, BridgeCode.APPROVAL_REQUIRED)
            self._step(case, step, case.officer)
        elif now >= since + papers.delay_ns:
            self._refused(case, Step.CONFIRM, case.proposer, BridgeCode.APPROVAL_REQUIRED)
            if case.proposer == _FIRST:
                # Another certificate of the same person.
                self._refused(case, Step.CONFIRM, _AS_FIRST, BridgeCode.APPROVAL_REQUIRED)
            other = _SECOND if case.proposer == _FIRST else _FIRST
            if papers.ruling is Ruling.OBJECT and case.opened.case_id not in self._objected:
                self._objected.add(case.opened.case_id)
                self._stage.reach("case_objected")
                self._step(case, Step.OBJECT, other)
            else:
                self._step(case, Step.CONFIRM, other)

    def _step(self, case: Case, step: Step, officer: str) -> None:
        if self._payer.gate is None:
            return
        if step is Step.CONFIRM and case.state is CaseState.RELEASE_PROPOSED:
            # Whether it then is in time is the book's to say; without this nothing may run.
            self.released.add(bytes.fromhex(case.opened.uetr))
        code = self._payer.decide(case.opened.case_id, step, officer, "" if step is Step.TAKE else _REASON)
        late = code == BridgeCode.TERMS_MALFORMED and self._payer.clock >= case.opened.deadline
        if code is not None and not late:
            self._stage.fail(f"officer {officer} may {step.value}, and was told {code.name}")

    def _refused(self, case: Case, step: Step, officer: str, wanted: BridgeCode) -> None:
        """Try what is forbidden."""
        if self._payer.gate is None:
            return
        state = case.state
        code = self._payer.decide(case.opened.case_id, step, officer, _REASON)
        late = code == BridgeCode.TERMS_MALFORMED and self._payer.clock >= case.opened.deadline
        if code is None or case.state is not state:
            self._stage.fail(f"officer {officer} did {step.value} in a case that was {state.value}")
        elif code == wanted:
            self._stage.reach(f"case_step_{wanted.name.lower()}")
        elif not late:
            self._stage.fail(f"officer {officer} was told {code.name} about {step.value} of a case {state.value}")
