"""Runs: all members or none (LEDGER-20)."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.malformed import malformed
from tests.model.transfers import DONE, Answer, burns, decide, identical_known, repeat
from tests.model.window import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.model.record import Transfer
    from tests.model.state import State

__all__ = ["decide_run", "split_runs"]


def split_runs(flags: Sequence[int]) -> list[tuple[int, int, bool]]:
    """Cut a batch into (start, end, linked): single records, and maximal sequences of linked ones with their closing one."""
    parts = []
    start = 0
    while start < len(flags):
        end = start
        while end < len(flags) and flags[end] & r.LINKED:
            end += 1
        linked = end > start
        end = min(end + 1, len(flags))
        parts.append((start, end, linked))
        start = end
    return parts


def decide_run(
    state: State, members: Sequence[Transfer], digests: Sequence[bytes], verdicts: Sequence[int], now: int
) -> list[Answer]:
    """Answer the members of one run in order."""
    if members[-1].flags & r.LINKED:
        return _all(members, Code.LINKED_EVENT_CHAIN_OPEN, now)
    if len(members) > state.genesis.limits.run_members_max:
        return _all(members, Code.LINKED_RUN_TOO_LONG, now)
    for index, member in enumerate(members):
        if code := malformed(state, member, in_run=True):
            return _one_fails(members, index, Answer(code, 0, now), now)
    if answers := _known(state, members, digests, now):
        return answers
    if any(not state.is_here(a) for m in members for a in (m.debit_account, m.credit_account)):
        return _all(members, Code.LINKED_RUN_SPANS_SHARDS, now)
    limits = state.genesis.limits
    if len(state.ids.entries) + len(members) > limits.ids_max:
        return _one_fails(members, 0, Answer(Code.WINDOW_FULL, 0, now), now)
    pendings = sum(member.kind in (r.PENDING, r.LOCK) for member in members)
    if pendings and len(state.pendings.known) + pendings > limits.pendings_max:
        return _one_fails(members, 0, Answer(Code.PENDINGS_FULL, 0, now), now)
    return _one_by_one(state, members, digests, verdicts, now)


def _all(members: Sequence[Transfer], code: Code, now: int) -> list[Answer]:
    return [Answer(code, 0, now)] * len(members)


def _one_fails(members: Sequence[Transfer], failing: int, answer: Answer, now: int) -> list[Answer]:
    answers = _all(members, Code.LINKED_EVENT_FAILED, now)
    answers[failing] = answer
    return answers


def _known(state: State, members: Sequence[Transfer], digests: Sequence[bytes], now: int) -> list[Answer] | None:
    """Rules c and d: the run, or what is left of it in the window, was decided before."""
    known = [identical_known(state, m, d) for m, d in zip(members, digests, strict=True)]
    again = [repeat(state, entry) if entry else None for entry in known]
    if any(answer and answer.code == Code.EXISTS for answer in again):
        return [answer or Answer(Code.TOO_OLD, 0, now) for answer in again]
    for index, answer in enumerate(again):
        if answer:
            return _one_fails(members, index, answer, now)
    return None


def _one_by_one(
    state: State, members: Sequence[Transfer], digests: Sequence[bytes], verdicts: Sequence[int], now: int
) -> list[Answer]:
    """Rule f: effects are visible in order; the first refusal undoes them all and burns only its own id."""
    before = _Before(state, members)
    answers = []
    for index, member in enumerate(members):
        leaves, entries = len(state.block.leaves), len(state.ids.fresh)
        answer = decide(state, member, digests[index], verdicts[index], now, in_run=True)
        if answer.code not in DONE:
            leaf = state.block.leaves[leaves:]
            own = [(key, state.ids.entries[key]) for key, _ in state.ids.fresh[entries:]]
            before.restore(state)
            state.block.leaves += leaf
            for key, entry in own:
                _burn(state, key, entry, member)
            return _one_fails(members, index, answer, now)
        answers.append(answer)
    return answers


def _burn(state: State, key: tuple[int, int, int], entry: Entry, member: Transfer) -> None:
    assert burns(Code(entry.code)), "only a refusal is kept of a failed run"
    state.ids.add(key, entry, member.expires_at + state.window_ns(member.ledger))


class _Before:
    """What a run can touch, as it was: the accounts and pendings it names, and the ends of the lists it adds to."""

    def __init__(self, state: State, members: Sequence[Transfer]) -> None:
        named = {a for m in members for a in (m.debit_account, m.credit_account)}
        self.accounts = [copy(state.accounts[a]) for a in sorted(named) if a in state.accounts]
        self.totals = {ledger: copy(totals) for ledger, totals in state.totals.items()}
        keys = {(m.debit_account, id_) for m in members for id_ in (m.id, m.reference)}
        self.pendings = [copy(state.pendings.known[key]) for key in sorted(keys) if key in state.pendings.known]
        self.absent = [key for key in sorted(keys) if key not in state.pendings.known]
        self.rules = state.rules.copied()
        self.events = len(state.pendings.events)
        self.entries = len(state.ids.fresh)
        self.leaves = len(state.block.leaves)
        self.outgoing = len(state.block.outgoing)

    def restore(self, state: State) -> None:
        assert len(state.block.outgoing) == self.outgoing, "a run stays on its shard"
        for account in self.accounts:
            state.accounts[account.id] = account
        state.totals = self.totals
        state.rules.places = self.rules
        created = [key for key in self.absent if key in state.pendings.known]
        state.pendings.take_back(self.events, created, self.pendings)
        state.ids.take_back(self.entries)
        del state.block.leaves[self.leaves :]
