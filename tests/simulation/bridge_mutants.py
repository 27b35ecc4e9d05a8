"""The bridge broken on purpose, one rule at a time, from outside: each mutant is a patch that is taken back afterwards."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import bridge.acceptance
from bridge.acceptance import ProviderMachine
from bridge.leg import LockState
from bridge.margins import Margins
from bridge.party import SwapParty
from bridge.ports import HELD, Journal, Outcome
from bridge.swap import PayerMachine
from bridge.watcher import Watcher
from clearspan.simulation.bridge.places import Place, SimRelay
from clearspan.simulation.bridge.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Set = "Callable[[object, str, Any], None]"


# What the ledgers and the relay promise.


def claims_by_shard_clock(put: Set) -> None:
    """A shard leaves a reveal out when its own clock has passed the timelock."""
    consume = Place.consume

    def late(self, blocks, now):
        kept = []
        for block in blocks:
            for lock in self.locks.values():
                if lock.transfer.until <= now and lock.created() and "claim" not in lock.proofs:
                    block = replace(block, records=tuple(each for each in block.records if each.type != 2))
            kept.append(block)
        consume(self, kept, now)

    put(Place, "consume", late)


def refund_before_reveal(put: Set) -> None:
    """A shard takes its own clock for the relay's time, so what is due is refunded before the reveal is read."""
    consume = Place.consume

    def early(self, blocks, now):
        moved = [replace(block, header=replace(block.header, time=max(block.header.time, now))) for block in blocks]
        consume(self, moved, now)

    put(Place, "consume", early)


def statements_are_believed(put: Set) -> None:
    """A node's word is taken without the path to an anchored header."""
    put(SimRelay, "anchored", lambda self, proof: True)


# When a leg stands.


def _stands_if(put: Set, states: tuple[LockState, ...]) -> None:
    put(
        SwapParty,
        "_stands_final",
        lambda self, leg: self.views[leg].state in states and self.views[leg].reason != HELD,
    )


def a_seen_lock_is_final(put: Set) -> None:
    _stands_if(put, (LockState.SEEN, LockState.FINAL))


def a_held_lock_is_final(put: Set) -> None:
    put(
        SwapParty,
        "_stands_final",
        lambda self, leg: self.views[leg].state is LockState.FINAL or self.views[leg].reason == HELD,
    )


def other_terms_are_taken(put: Set) -> None:
    """A lock under our id is taken whatever it says."""
    see = SwapParty._see

    def blind(self, event, clocks, out):
        if event.view.order is not None and 0 <= event.leg < len(self.orders):
            event = replace(event, view=replace(event.view, order=self.orders[event.leg]))
        see(self, event, clocks, out)

    put(SwapParty, "_see", blind)


def reveal_before_all_legs(put: Set) -> None:
    """The payer reveals when his own leg stands."""
    go_on = PayerMachine._go_on

    def eager(self, clocks, out):
        if len(self._accepted) == len(self.terms.legs) - 1:
            stands, self_stands = SwapParty._stands_final, lambda self, leg: True
            SwapParty._stands_final = self_stands
            try:
                go_on(self, clocks, out)
            finally:
                SwapParty._stands_final = stands
        else:
            go_on(self, clocks, out)

    put(PayerMachine, "_go_on", eager)


def provider_locks_first(put: Set) -> None:
    """The provider locks without waiting for the leg that pays it."""
    begin = ProviderMachine._begin_lock

    def eager(self, clocks, out):
        stands, knows = SwapParty._stands_final, ProviderMachine._knows_reveals
        SwapParty._stands_final = lambda self, leg: True
        ProviderMachine._knows_reveals = lambda self, clocks: True
        try:
            begin(self, clocks, out)
        finally:
            SwapParty._stands_final, ProviderMachine._knows_reveals = stands, knows

    put(ProviderMachine, "_begin_lock", eager)


# Margins and time.


def margin_between_timelocks_is_ignored(put: Set) -> None:
    put(Margins, "needed", lambda self, first, second: 0)


def reveal_margin_is_ignored(put: Set) -> None:
    put(
        PayerMachine,
        "_too_late_to_reveal",
        lambda self, clocks: clocks.heard_ns(self.terms.legs[-1].chain) >= self.terms.legs[-1].timelock_ns,
    )


def timelocks_are_not_checked(put: Set) -> None:
    put(bridge.acceptance, "check_timelocks", lambda terms, margins: None)


# The journal.


def journal_after_action(put: Set) -> None:
    run = SwapParty._run

    def late(self, clocks, out):
        return sorted(run(self, clocks, out), key=lambda action: isinstance(action, Journal))

    put(SwapParty, "_run", late)


def restart_forgets(put: Set) -> None:
    put(Watcher, "restore", lambda self, entries, now_ns: [])


def learned_preimages_are_not_written(put: Set) -> None:
    note = SwapParty._note

    def forgetful(self, kind, body, clocks, out):
        if kind.name not in ("LEARNED", "CLAIMING"):
            note(self, kind, body, clocks, out)

    put(SwapParty, "_note", forgetful)


def unheard_is_absent(put: Set) -> None:
    """After a restart what was not looked at yet is taken for not there."""
    never = SwapParty._never_stood

    def hasty(self, leg, clocks):
        if self.views[leg].height == -1:
            return self._over(leg, clocks)
        return never(self, leg, clocks)

    put(SwapParty, "_never_stood", hasty)


# Claims and refunds.


def provider_does_not_claim(put: Set) -> None:
    put(ProviderMachine, "_claim", lambda self, clocks, out: None)


def provider_gives_up_with_the_secret(put: Set) -> None:
    """A provider whose own lock has ended or never stood leaves, though the secret is out."""
    outcome = ProviderMachine._outcome

    def leaving(self, clocks):
        own = self._state(self.own_leg)
        if own is LockState.CLAIMED_FINAL:
            return Outcome.SETTLED
        return outcome(self, clocks)

    put(ProviderMachine, "_outcome", leaving)


def foreign_locks_are_not_refunded(put: Set) -> None:
    put(SwapParty, "_refund_foreign", lambda self, clocks, out: None)


def one_attempt_is_enough(put: Set) -> None:
    due = SwapParty._due

    def once(self, clocks):
        if self._retry_ns > 0:
            return False
        return due(self, clocks)

    put(SwapParty, "_due", once)


def a_seen_claim_is_enough(put: Set) -> None:
    """A claim that a reorganisation may take back is not repeated."""
    put(SwapParty, "_ended", lambda self, leg: self.views[leg].state in (3, 4, 5, 6))


def a_seen_refund_is_enough(put: Set) -> None:
    """A swap ends with a refund that a reorganisation may take back."""
    see = SwapParty._see

    def hasty(self, event, clocks, out):
        if event.view.state is LockState.REFUNDED:
            event = replace(event, view=replace(event.view, state=LockState.REFUNDED_FINAL))
        see(self, event, clocks, out)

    put(SwapParty, "_see", hasty)


# Hashes.


def hashes_may_be_reused(put: Set) -> None:
    put(Watcher, "_admit", lambda self, terms, swap: None)


@dataclass(frozen=True)
class Mutant:
    """A broken rule, what of the plans to fix so that it matters soon, and within how many seeds it is then caught."""

    patch: Callable[[Set], None]
    focus: dict[str, Any] = field(default_factory=dict)
    seeds_max: int = 60

    @property
    def name(self) -> str:
        return self.patch.__name__


def focused(mutant: Mutant, seed: int) -> Plan:
    """Return a seed's plan with what the mutant fixes; ``payer`` and ``provider`` (of the last leg) name villains."""
    plan = Plan.of(seed)
    focus = dict(mutant.focus)
    if not focus:
        return plan
    payer, provider = focus.pop("payer", ""), focus.pop("provider", "")
    if focus.get("foreign"):
        focus["ledgers"] = min(plan.ledgers, 2)
    elif "foreign" in focus:
        focus["ledgers"] = max(plan.ledgers, 2)
    plan = replace(plan, **{"beyond": False, "liars": {}, "holds": {}, "skews": {}, **focus, "villains": {}})
    villains = {0: payer} if payer else {}
    if provider:
        villains[plan.legs - 1] = provider
    return replace(plan, villains=villains)


FAR_LAST = {"foreign": "last"}
# Every nine seconds two blocks are undone and what stood in them is forgotten.
STORMY = [(second * 1_000_000_000, 2, True) for second in range(2, 399, 9)]
MUTANTS = (
    Mutant(claims_by_shard_clock, {"foreign": "", "payer": "last_tick"}),
    Mutant(refund_before_reveal, {"foreign": "", "payer": "last_tick"}),
    Mutant(
        statements_are_believed, {"foreign": "", "provider": "never_locks", "liars": dict.fromkeys(range(4), "forges")}
    ),
    Mutant(a_seen_lock_is_final, {**FAR_LAST, "provider": "lock_vanishes"}),
    Mutant(a_held_lock_is_final, {"foreign": "", "holds": {1: (20_000_000_000, True)}}),
    Mutant(other_terms_are_taken, {"foreign": "", "provider": "locks_less"}),
    Mutant(reveal_before_all_legs, {"foreign": ""}),
    Mutant(provider_locks_first, {"foreign": "", "payer": "asks_unlocked"}),
    Mutant(margin_between_timelocks_is_ignored, {**FAR_LAST, "payer": "last_tick"}),
    Mutant(reveal_margin_is_ignored, {**FAR_LAST, "provider": "reads_pool"}),
    Mutant(timelocks_are_not_checked, {"payer": "small_margin", "foreign": "last"}),
    Mutant(journal_after_action),
    Mutant(restart_forgets),
    Mutant(learned_preimages_are_not_written, FAR_LAST),
    Mutant(unheard_is_absent, {"foreign": "first", "provider": "never_locks", "crashes": {0: [(8, 500_000_000_000)]}}),
    Mutant(provider_does_not_claim, FAR_LAST),
    Mutant(provider_gives_up_with_the_secret, FAR_LAST),
    Mutant(foreign_locks_are_not_refunded, {**FAR_LAST, "payer": "never_reveals"}),
    Mutant(one_attempt_is_enough, {**FAR_LAST, "losses": 0.3, "crashes": {}, "doubled": 0.0}),
    Mutant(a_seen_claim_is_enough, {**FAR_LAST, "reorgs": STORMY}),
    Mutant(a_seen_refund_is_enough, {**FAR_LAST, "payer": "never_reveals", "reorgs": STORMY}),
    Mutant(hashes_may_be_reused, {**FAR_LAST, "payer": "reuses_hash"}),
)


@contextlib.contextmanager
def broken(mutant: Callable[[Set], None]) -> Iterator[None]:
    """Break one rule for a while."""
    undo = []

    def put(owner: object, name: str, value: Any) -> None:
        had = name in vars(owner)
        undo.append((owner, name, vars(owner).get(name), had))
        setattr(owner, name, value)

    mutant(put)
    try:
        yield
    finally:
        for owner, name, value, had in reversed(undo):
            if had:
                setattr(owner, name, value)
            else:
                delattr(owner, name)
