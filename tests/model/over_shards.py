"""Linked runs over shards (LEDGER-90 to LEDGER-93): what one shard finds, what all of them answer together.

Slow and plain: a shard that must take back what it prepared is given the copy of its state from before.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.accounts import CLOSED, channel_account_id
from tests.model.credits import TOTAL_MAX, exceeds_balance_max
from tests.model.effects import reserve
from tests.model.malformed import malformed
from tests.model.pendings import Pending
from tests.model.transfers import Answer, OverShards, burns, decide, identical_known, repeat
from tests.model.window import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.model.record import Transfer
    from tests.model.state import State

__all__ = ["Decision", "Held", "Kept", "decision_of", "drop", "hold", "together"]

PREPARED, MALFORMED, KNOWN, UNDECIDABLE, NO_ROOM, DEBIT, CREDIT = range(7)
_REPEATS = (Code.EXISTS, Code.ID_ALREADY_FAILED, Code.TOO_OLD)


class Decision(NamedTuple):
    """What every touched shard does; a member refused, with its code, or nobody."""

    keeps: bool
    member: int | None = None
    code: int = 0


class Held(NamedTuple):
    """What one shard finds: for each member with a half here its answer, else code 0."""

    status: int
    member: int | None
    code: int
    answers: tuple[tuple[int, int, int], ...]

    def forbids(self, decision: Decision, codes: Sequence[int]) -> str:
        """Why the shards together cannot have answered so, or nothing."""
        if decision.keeps:
            return "a shard refuses what all prepare" if self.status != PREPARED else ""
        if self.status == MALFORMED and (decision.member, decision.code) != (self.member, self.code):
            return "a malformed run is answered otherwise"
        if self.member is not None and decision.member is not None and decision.member > self.member:
            return "a later member is refused"
        if self.status == KNOWN and decision.member is not None:
            return "a run met before is refused anew"
        for (code, _, _), recorded in zip(self.answers, codes, strict=True):
            if self.status == KNOWN and code and recorded not in (code, Code.LINKED_EVENT_FAILED):
                return "a member met before is answered otherwise"
        return ""


class Kept(NamedTuple):
    """What a shard needs to take a run back, and to burn an id of it."""

    before: State
    members: Sequence[Transfer]
    digests: Sequence[bytes]


def decision_of(codes: Sequence[int]) -> Decision:
    """What a shard did that wrote these codes."""
    if set(codes) == {Code.PREPARED}:
        return Decision(True)
    others = [(i, code) for i, code in enumerate(codes) if code != Code.LINKED_EVENT_FAILED]
    if len(others) == 1 and others[0][1] not in _REPEATS and others[0][1] != Code.LINKED_RUN_SPANS_SHARDS:
        return Decision(False, *others[0])
    return Decision(False)


def together(held: Sequence[Held], count: int, now: int) -> tuple[list[Answer], Decision]:
    """LEDGER-92: one answer to each member from what all touched shards found."""
    if all(each.status == PREPARED for each in held):
        return [Answer(Code.PREPARED, 0, now)] * count, Decision(True)
    answers = [Answer(Code.LINKED_EVENT_FAILED, 0, now)] * count
    for each in held:
        if each.status == MALFORMED:
            answers[each.member or 0] = Answer(Code(each.code), 0, now)
            return answers, decision_of([answer.code for answer in answers])
    if any(each.status == KNOWN for each in held):
        return _repeated([each for each in held if each.status == KNOWN], count, now), Decision(False)
    if any(each.status == UNDECIDABLE for each in held):
        return [Answer(Code.LINKED_RUN_SPANS_SHARDS, 0, now)] * count, Decision(False)
    refused = [each for each in held if each.member is not None]
    first = min(refused, key=lambda each: (each.member, each.status))
    assert first.member is not None
    _, first_code, time = first.answers[first.member]
    answers[first.member] = Answer(Code(first.code), first_code, time)
    return answers, decision_of([answer.code for answer in answers])


def _repeated(held: Sequence[Held], count: int, now: int) -> list[Answer]:
    known: dict[int, Answer] = {}
    for each in held:
        known |= {i: Answer(Code(code), first, time) for i, (code, first, time) in enumerate(each.answers) if code}
    taken = any(answer.code == Code.EXISTS or answer.first_code == Code.ABORTED for answer in known.values())
    if taken:
        return [known.get(i, Answer(Code.TOO_OLD, 0, now)) for i in range(count)]
    failed = min(i for i, answer in known.items() if answer.code == Code.ID_ALREADY_FAILED)
    return [known[i] if i == failed else Answer(Code.LINKED_EVENT_FAILED, 0, now) for i in range(count)]


def hold(
    state: State,
    members: Sequence[Transfer],
    digests: Sequence[bytes],
    verdicts: Sequence[int],
    run: bytes,
    now: int,
) -> tuple[Held, Kept]:
    """LEDGER-91: check, and prepare what is here; a refusal leaves the state as it was."""
    before = deepcopy(state, {id(state.genesis): state.genesis})
    answers = [Answer(0, 0, now)] * len(members)  # type: ignore[arg-type] - 0 is no code: nothing to say
    status, member, code = _look(state, members, digests, verdicts, run, now, answers)
    kept = Kept(before, members, digests)
    if status != PREPARED:
        _restore(state, deepcopy(before, {id(state.genesis): state.genesis}))
    return Held(status, member, int(code), tuple((int(c), int(f), t) for c, f, t in answers)), kept


def _restore(state: State, before: State) -> None:
    state.__dict__.update(before.__dict__)


def _look(
    state: State,
    members: Sequence[Transfer],
    digests: Sequence[bytes],
    verdicts: Sequence[int],
    run: bytes,
    now: int,
    answers: list[Answer],
) -> tuple[int, int | None, int]:
    for index, member in enumerate(members):
        if refused := malformed(state, member, in_run=True, over_shards=True):
            return MALFORMED, index, refused
    for index, (member, digest) in enumerate(zip(members, digests, strict=True)):
        entry = identical_known(state, member, digest) if state.is_here(member.debit_account) else None
        if entry:
            answers[index] = repeat(state, entry)
    if any(answer.code for answer in answers):
        return KNOWN, None, 0
    if state.relay_height == 0:
        return UNDECIDABLE, None, 0
    if full := _full(state, members):
        return NO_ROOM, 0, full
    over = OverShards(run, min(member.expires_at for member in members))
    for index, member in enumerate(members):
        if state.is_here(member.debit_account):
            answers[index] = decide(state, member, digests[index], verdicts[index], now, over)
            if answers[index].code != Code.PREPARED:
                return DEBIT, index, answers[index].code
        elif _has_credit_half(state, member):
            code = _credit(state, member, digests[index], over, now)
            answers[index] = Answer(code, 0, now)
            if code != Code.PREPARED_CREDIT:
                return CREDIT, index, code
    return PREPARED, None, 0


def _has_credit_half(state: State, member: Transfer) -> bool:
    apart = state.is_here(member.credit_account) and not state.is_here(member.debit_account)
    return member.kind == r.PLAIN and apart


def _full(state: State, members: Sequence[Transfer]) -> int:
    payers = sum(state.is_here(member.debit_account) for member in members)
    payees = sum(_has_credit_half(state, member) for member in members)
    limits = state.genesis.limits
    if payers and len(state.ids.entries) + payers > limits.ids_max:
        return Code.WINDOW_FULL
    if payers + payees and len(state.pendings.known) + payers + payees > limits.pendings_max:
        return Code.PENDINGS_FULL
    return 0


def _credit(state: State, t: Transfer, digest: bytes, over: OverShards, now: int) -> Code:
    """The payee's side: the mirror of the payer's shard reserves what it will pay."""
    payee = state.accounts.get(t.credit_account)
    totals = state.totals[t.ledger]
    if over.deadline <= state.relay_time:
        return Code.EXPIRED
    if payee is None:
        return Code.CREDIT_ACCOUNT_NOT_FOUND
    if payee.ledger != t.ledger:
        return Code.CREDIT_ACCOUNT_OTHER_LEDGER
    if payee.flags & CLOSED:
        return Code.CREDIT_ACCOUNT_CLOSED
    if totals.debits_posted + totals.debits_pending + t.amount > TOTAL_MAX:
        return Code.OVERFLOWS_LEDGER_TOTAL
    if exceeds_balance_max(payee, t.amount):
        return Code.EXCEEDS_BALANCE_MAX
    channel = channel_account_id(t.ledger, state.genesis.shard_of(t.debit_account))
    half = Pending(t, digest, over.deadline, run=over.run, prepared=True, channel=channel)
    if half.key in state.pendings.known:
        return Code.EXISTS_WITH_DIFFERENT_RUN
    reserve(state, state.accounts[channel], payee, t.amount)
    state.pendings.create(half, now)
    state.leaf(digest, now, Code.PREPARED_CREDIT)
    return Code.PREPARED_CREDIT


def drop(state: State, kept: Kept, decision: Decision, now: int) -> None:
    """Take back what was prepared; the refused member's id is burnt where its payer is, and the refusal has its leaf."""
    _restore(state, kept.before)
    if decision.member is None:
        return
    t, digest, code = kept.members[decision.member], kept.digests[decision.member], decision.code
    if not state.is_here(t.debit_account):
        return
    if burns(Code(code)):
        forget = t.expires_at + state.window_ns(t.ledger)
        state.ids.add((t.debit_account, t.debit_account, t.id), Entry(t.pack(), digest, code, now), forget)
    if burns(Code(code)) or code in (Code.EXPIRED, Code.KEY_NOT_IN_FORCE):
        state.leaf(digest, now, Code(code))
