"""Cases in which people decide about a held payment: owner, clock, outcome, and two pairs of eyes.

It promises that a case ends exactly once, that a release or a rejection is decided by two different officers, that the
clock ends what nobody decided, and that no case is lost: every change is an entry, and the entries in order are the
book. A case decides before anything is locked or releases what the ledger holds; it never stops a claim.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Annotated, Final

import msgspec

from bridge.refusals import BridgeCode, BridgeRefused
from engine.refusals import EncodingError

__all__ = [
    "Case",
    "CaseBook",
    "CaseEntry",
    "CaseKind",
    "CaseOpened",
    "CaseState",
    "CaseStepped",
    "Step",
    "decode_case_entry",
    "encode_case_entry",
]

OPEN_MAX: Final = 100_000
"""Cases open at once; at the bound a payment that would need one is refused, never passed."""
STEPS_MAX: Final = 256
"""Notes and steps of one case."""

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]
_Officer = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


@unique
class CaseKind(Enum):
    """What brought a payment here."""

    SCREENING = "screening"
    PATTERN = "pattern"
    TRAVEL_RULE = "travel_rule"
    APPROVAL = "approval"
    MANUAL = "manual"


@unique
class CaseState(Enum):
    """Where a case stands; the last three are its ends."""

    OPEN = "open"
    OWNED = "owned"
    RELEASE_PROPOSED = "release_proposed"
    REJECT_PROPOSED = "reject_proposed"
    RELEASED = "released"
    REJECTED = "rejected"
    EXPIRED = "expired"


@unique
class Step(Enum):
    """What an officer, or the clock, does with a case."""

    TAKE = "take"
    NOTE = "note"
    PROPOSE_RELEASE = "propose_release"
    PROPOSE_REJECT = "propose_reject"
    CONFIRM = "confirm"
    OBJECT = "object"
    EXPIRE = "expire"


# State and step to the next state; what is not in the table is illegal. NOTE leaves the state as it is.
_NEXT: Final[dict[tuple[CaseState, Step], CaseState]] = {
    (CaseState.OPEN, Step.TAKE): CaseState.OWNED,
    (CaseState.OWNED, Step.TAKE): CaseState.OWNED,
    (CaseState.OWNED, Step.PROPOSE_RELEASE): CaseState.RELEASE_PROPOSED,
    (CaseState.OWNED, Step.PROPOSE_REJECT): CaseState.REJECT_PROPOSED,
    (CaseState.RELEASE_PROPOSED, Step.CONFIRM): CaseState.RELEASED,
    (CaseState.RELEASE_PROPOSED, Step.OBJECT): CaseState.OWNED,
    (CaseState.REJECT_PROPOSED, Step.CONFIRM): CaseState.REJECTED,
    (CaseState.REJECT_PROPOSED, Step.OBJECT): CaseState.OWNED,
    **{
        (state, Step.EXPIRE): CaseState.EXPIRED
        for state in (CaseState.OPEN, CaseState.OWNED, CaseState.RELEASE_PROPOSED, CaseState.REJECT_PROPOSED)
    },
}
_ENDS: Final = frozenset({CaseState.RELEASED, CaseState.REJECTED, CaseState.EXPIRED})
_PROPOSALS: Final = (Step.PROPOSE_RELEASE, Step.PROPOSE_REJECT)


class CaseOpened(msgspec.Struct, frozen=True, tag="opened", forbid_unknown_fields=True):
    """A payment is held: why, in words a person understands, and until when somebody must have decided."""

    case_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    kind: CaseKind
    uetr: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    message_hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    owner: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
    opened_at: int
    deadline: int
    score: Annotated[int, msgspec.Meta(ge=0, le=10_000)]
    list_version: int
    explanation: tuple[_Text, ...]
    ledgers: tuple[int, ...] = ()
    """The ledgers that the payment would touch: whose supervisors may look at it. None named: all of the network's."""


class CaseStepped(msgspec.Struct, frozen=True, tag="stepped", forbid_unknown_fields=True):
    """One step of one case; ``officer`` is empty for the clock alone."""

    case_id: str
    step: Step
    officer: str
    at: int
    text: str = ""
    names: tuple[str, ...] = ()
    """What else names the officer's person, such as ``cn=…`` of a certificate; two officers share none."""


CaseEntry = CaseOpened | CaseStepped
_DECODER: Final = msgspec.json.Decoder(CaseEntry)


def encode_case_entry(entry: CaseEntry) -> bytes:
    """Return an entry's canonical JSON for the journal."""
    return msgspec.json.encode(entry, order="sorted")


def decode_case_entry(data: bytes) -> CaseEntry:
    """Read an entry; raises EncodingError."""
    try:
        entry: CaseEntry = _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise EncodingError("case entry", data[:80], str(error)) from error
    return entry


@dataclass(slots=True)
class Case:
    """One case as its entries made it; ``officer`` works on it, ``proposer`` waits for a second pair of eyes."""

    opened: CaseOpened
    state: CaseState = CaseState.OPEN
    officer: str = ""
    proposer: str = ""
    proposer_names: tuple[str, ...] = ()
    steps: list[CaseStepped] = field(default_factory=list)

    @property
    def is_ended(self) -> bool:
        """Whether it has its outcome."""
        return self.state in _ENDS

    @property
    def half_time(self) -> int:
        """The instant at which an undecided case is called out, in ns."""
        return self.opened.opened_at + (self.opened.deadline - self.opened.opened_at) // 2

    def apply(self, entry: CaseStepped) -> None:
        """Take one step that was checked before."""
        self.steps.append(entry)
        if entry.step is Step.NOTE:
            return
        self.state = _NEXT[self.state, entry.step]
        if entry.step is Step.TAKE:
            self.officer = entry.officer
        elif entry.step in _PROPOSALS:
            self.proposer, self.proposer_names = entry.officer, entry.names
        elif entry.step is Step.OBJECT:
            self.officer, self.proposer, self.proposer_names = entry.officer, "", ()


class CaseBook:
    """All cases by id; every method that changes it returns the entry to make durable before anything is answered."""

    def __init__(self) -> None:
        """Stand empty; entries of a journal are given to ``apply``, in order."""
        self._cases: dict[str, Case] = {}
        self._open = 0
        self._deadlines: list[tuple[int, str]] = []
        self._half_times: list[tuple[int, str]] = []

    def open(self, entry: CaseOpened) -> CaseOpened | None:
        """Open a case; None when it is known with the same content.

        Raises BridgeRefused: duplicate_swap for a known id with other content, terms_malformed for a deadline that is
        not after the opening, limits_exceeded at the bound (the payment is refused then, and not passed).
        """
        known = self._cases.get(entry.case_id)
        if known is not None:
            if known.opened == entry:
                return None
            raise BridgeRefused(BridgeCode.DUPLICATE_SWAP, f"case {entry.case_id} is known with other content")
        if entry.deadline <= entry.opened_at:
            raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"case {entry.case_id} ends before it begins")
        if self._open >= OPEN_MAX:
            raise BridgeRefused(BridgeCode.LIMITS_EXCEEDED, f"{OPEN_MAX} cases are open")
        self.apply(entry)
        return entry

    def step(
        self, case_id: str, step: Step, officer: str, at: int, text: str = "", *, names: tuple[str, ...] = ()
    ) -> CaseStepped:
        """Let an officer act on a case; ``names`` is what else names the officer's person.

        A proposal is the owning officer's; a confirmation or an objection is another one's, who shares no name with the
        proposer: four eyes are not one person's two keys. Every step but TAKE and CONFIRM gives its reason in ``text``.
        Raises BridgeRefused: swap_unknown, approval_required for eyes that are not other eyes, terms_malformed for a
        step that the table does not have or that is too late.
        """
        case = self.case(case_id)
        named = f"case {case_id} ({case.state.value})"
        if step is Step.EXPIRE or not officer:
            raise _illegal(f"{named}: the clock alone expires, and every other step has its officer")
        if case.is_ended or (step is not Step.NOTE and (case.state, step) not in _NEXT):
            raise _illegal(f"{named}: no {step.value}")
        if at >= case.opened.deadline:
            raise _illegal(f"{named}: its time ended at {case.opened.deadline}")
        if len(case.steps) >= STEPS_MAX:
            raise _illegal(f"{named}: {STEPS_MAX} steps are enough")
        if step not in (Step.TAKE, Step.CONFIRM) and not text:
            raise _illegal(f"{named}: {step.value} needs a reason")
        if step in _PROPOSALS and officer != case.officer:
            raise BridgeRefused(BridgeCode.APPROVAL_REQUIRED, f"{named}: {case.officer} works on it, not {officer}")
        if step in (Step.CONFIRM, Step.OBJECT) and officer == case.proposer:
            raise BridgeRefused(BridgeCode.APPROVAL_REQUIRED, f"{named}: {officer} proposed it; another one decides")
        shared = set(names) & set(case.proposer_names)
        if step in (Step.CONFIRM, Step.OBJECT) and shared:
            said = f"{named}: who proposed it is {min(shared)} too; another person decides"
            raise BridgeRefused(BridgeCode.APPROVAL_REQUIRED, said)
        entry = CaseStepped(case_id, step, officer, at, text, names)
        self.apply(entry)
        return entry

    def expire(self, now: int) -> list[CaseStepped]:
        """End every case whose time is over, oldest deadline first: the payment does not happen."""
        entries = []
        while self._deadlines and self._deadlines[0][0] <= now:
            case_id = self._deadlines[0][1]
            heapq.heappop(self._deadlines)
            case = self._cases.get(case_id)
            # A forgotten id may come again; the deadline of the first case says nothing about the second.
            if case is not None and not case.is_ended and case.opened.deadline <= now:
                entry = CaseStepped(case_id, Step.EXPIRE, "", now, "nobody decided in time")
                self.apply(entry)
                entries.append(entry)
        return entries

    def overdue(self, now: int) -> list[Case]:
        """Return, once each, the cases that are undecided at half of their time: somebody must be called."""
        found = []
        while self._half_times and self._half_times[0][0] <= now:
            case = self._cases.get(heapq.heappop(self._half_times)[1])
            if case is not None and not case.is_ended and case.half_time <= now:
                found.append(case)
        return found

    def next_instant(self) -> int | None:
        """Return when ``expire`` or ``overdue`` has something to do next."""
        heaps = [heap[0][0] for heap in (self._deadlines, self._half_times) if heap]
        return min(heaps) if heaps else None

    def find(self, case_id: str) -> Case | None:
        """Return a case, None for one that is not known (or forgotten)."""
        return self._cases.get(case_id)

    def case(self, case_id: str) -> Case:
        """Return a case; raises BridgeRefused (swap_unknown)."""
        found = self._cases.get(case_id)
        if found is None:
            raise BridgeRefused(BridgeCode.SWAP_UNKNOWN, f"case {case_id}")
        return found

    def open_cases(self, owner: int | None = None) -> tuple[Case, ...]:
        """Return the undecided cases, of one owner or of all, by deadline and id."""
        found = [
            case for case in self._cases.values() if not case.is_ended and (owner is None or case.opened.owner == owner)
        ]
        return tuple(sorted(found, key=lambda case: (case.opened.deadline, case.opened.case_id)))

    def all_cases(self) -> tuple[Case, ...]:
        """Return all cases that are kept, those opened last first."""
        return tuple(sorted(self._cases.values(), key=lambda case: (-case.opened.opened_at, case.opened.case_id)))

    def forget(self, case_id: str) -> None:
        """Let go of an ended case that the caller has archived; raises BridgeRefused for one that is not ended."""
        if not self.case(case_id).is_ended:
            raise _illegal(f"case {case_id} is not ended")
        del self._cases[case_id]

    def apply(self, entry: CaseEntry) -> None:
        """Apply one entry of the journal; all of them in order make the book again."""
        if isinstance(entry, CaseOpened):
            case = Case(entry)
            self._cases[entry.case_id] = case
            self._open += 1
            heapq.heappush(self._deadlines, (entry.deadline, entry.case_id))
            heapq.heappush(self._half_times, (case.half_time, entry.case_id))
            return
        case = self._cases[entry.case_id]
        case.apply(entry)
        self._open -= case.is_ended


def _illegal(text: str) -> BridgeRefused:
    return BridgeRefused(BridgeCode.TERMS_MALFORMED, text)
