"""The bridge broken on purpose, one rule at a time, from outside: each mutant is a patch that is taken back afterwards."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from msgspec import structs

import bridge.acceptance
import engine.admin_step
from bridge.acceptance import ProviderMachine
from bridge.desk import Desk
from bridge.desk_book import Drawn, Ended
from bridge.leg import LockState
from bridge.margins import Margins
from bridge.party import SwapParty
from bridge.ports import HELD, Journal, Outcome
from bridge.swap import PayerMachine
from bridge.watcher import Watcher
from clearspan.bridging.lines.beside import Beside, BesideBook
from clearspan.simulation.bridge import dealing
from clearspan.simulation.bridge.papers import Papers
from clearspan.simulation.bridge.party import Party
from clearspan.simulation.bridge.places import Place
from clearspan.simulation.bridge.plan import Plan
from clearspan.simulation.bridge.rules import Deal, Kind, Measure, Phase, Threshold, Verdict
from clearspan.simulation.bridge.verifier import SimRelay
from engine.codes import ResultCode
from engine.ledger_accounts import LedgerAccounts
from engine.types import AccountFlag, AdminType, BreakerGrade, RuleType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Set = "Callable[[object, str, Any], None]"
REVEAL = 2
SECOND = 1_000_000_000


# What the ledgers and the relay promise.


def claims_by_shard_clock(put: Set) -> None:
    """A shard leaves a reveal out when its own clock has passed the timelock."""
    consume = Place.consume

    def late(self, blocks, now):
        kept = []
        for block in blocks:
            if any(lock.transfer.until <= now and lock.open() for lock in self.locks):
                block = without_reveals(block)
            kept.append(block)
        consume(self, kept, now)

    put(Place, "consume", late)


def without_reveals(block):
    return replace(block, records=tuple(each for each in block.records if each.type != REVEAL))


def _reveals_wait(put: Set, stops: Callable[[Place, int], bool]) -> None:
    """Leave reveals out while something stands in their way."""
    consume = Place.consume

    def stopped(self, blocks, now):
        consume(self, [without_reveals(block) if stops(self, now) else block for block in blocks], now)

    put(Place, "consume", stopped)


def breaker_stops_claims(put: Set) -> None:
    """A breaker of grade stop stops what was revealed as well."""
    _reveals_wait(
        put,
        lambda place, now: any(
            (rule.type, rule.action) == (RuleType.BREAKER, BreakerGrade.STOP) and now < rule.until
            for machine in place.machines
            for rule in machine.rules()
        ),
    )


def freeze_stops_claims(put: Set) -> None:
    """The claim of a lock waits while its payer's account is frozen."""
    _reveals_wait(
        put,
        lambda place, now: any(
            account.flags & AccountFlag.FROZEN
            for lock in place.locks
            if lock.open()
            for account in [place.machine_of(lock.transfer.debit_account).find_account(lock.transfer.debit_account)]
        ),
    )


def hold_stops_claims(put: Set) -> None:
    """A lock that was held, and that two supervisors have let go on, is not claimed all the same."""
    _reveals_wait(put, lambda place, now: any(lock.open() and "held" in lock.proofs for lock in place.locks))


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
            event = structs.replace(event, view=structs.replace(event.view, order=self.orders[event.leg]))
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
    # Or what is too late to begin with is too late to be sent.
    put(PayerMachine, "_may_show", lambda self, clocks: True)


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
    ended = frozenset(map(LockState, (3, 4, 5, 6)))
    put(SwapParty, "_ended", lambda self, leg: self.views[leg].state in ended)
    put(bridge.acceptance, "ENDED", ended)


def a_seen_refund_is_enough(put: Set) -> None:
    """A swap ends with a refund that a reorganisation may take back."""
    see = SwapParty._see

    def hasty(self, event, clocks, out):
        if event.view.state is LockState.REFUNDED:
            event = structs.replace(event, view=structs.replace(event.view, state=LockState.REFUNDED_FINAL))
        see(self, event, clocks, out)

    put(SwapParty, "_see", hasty)


# Hashes.


def hashes_may_be_reused(put: Set) -> None:
    put(Watcher, "_admit", lambda self, terms, swap: None)


# Holds and thresholds.


def _release_by(put: Set, forgives: tuple[ResultCode, ...]) -> None:
    signers_code = engine.admin_step.signers_code

    def lenient(request, *rest):
        code = signers_code(request, *rest)
        return None if request.type == AdminType.HOLD_RELEASE and code in forgives else code

    put(engine.admin_step, "signers_code", lenient)


def one_supervisor_suffices(put: Set) -> None:
    _release_by(put, (ResultCode.SECOND_SIGNATURE_REQUIRED,))


def one_institution_suffices(put: Set) -> None:
    _release_by(put, (ResultCode.SIGNERS_MUST_DIFFER,))


def operator_may_release(put: Set) -> None:
    _release_by(put, (ResultCode.SIGNER_ROLE_NOT_ALLOWED,))


def rejected_hold_keeps_the_money(put: Set) -> None:
    end_hold = LedgerAccounts.end_hold

    def kept(self, account, transfer, *, releases, now):
        return end_hold(self, account, transfer, releases=releases, now=now) if releases else int(ResultCode.CREATED)

    put(LedgerAccounts, "end_hold", kept)


def _ledger_rule_as(put: Set, change: Callable[[Any], Any]) -> None:
    set_rule = LedgerAccounts.set_rule
    put(
        LedgerAccounts,
        "set_rule",
        lambda self, rule: set_rule(self, change(rule) if rule.type == RuleType.LEDGER else rule),
    )


def holds_have_no_clock(put: Set) -> None:
    """What nobody decides about is held for ever."""
    _ledger_rule_as(put, lambda rule: replace(rule, until=2**61))


def holds_have_no_owner(put: Set) -> None:
    _ledger_rule_as(put, lambda rule: replace(rule, bound=0))


def thresholds_are_not_asked(put: Set) -> None:
    _ledger_rule_as(put, lambda rule: replace(rule, limit_a=0))


# Quotes, desks, and what is owed beside the locks.


def quote_is_overdrawn_by_a_race(put: Set) -> None:
    """Two swaps are checked against what was left before either has drawn."""
    draw = Desk.draw

    def raced(self, quote_id, swap_id, **asked):
        found = self.book.quotes.get(quote_id)
        if found is None or found.is_released or swap_id in self.book.draws:
            return draw(self, quote_id, swap_id, **asked)
        left, found.left = found.left, found.quote.total_amount
        try:
            drawn = draw(self, quote_id, swap_id, **asked)
        except Exception:
            found.left = left
            raise
        found.left = left - asked["amount"]
        return drawn

    put(Desk, "draw", raced)


def expired_quotes_are_drawn(put: Set) -> None:
    """A quote is honoured however late; the desk keeps none that it has let go."""
    demand_draw = Desk.demand_draw
    put(Desk, "demand_draw", lambda self, quote_id, wanted: demand_draw(self, quote_id, replace(wanted, now=0)))
    put(Desk, "release", lambda self, now: [])


def desk_forgets_draws_on_restart(put: Set) -> None:
    apply = Desk.apply
    put(Desk, "apply", lambda self, entry: None if isinstance(entry, Drawn | Ended) else apply(self, entry))


def desk_keeps_draws_of_ended_swaps(put: Set) -> None:
    """Who died between the end of a swap and the desk's entry of it never gives its draw back."""
    put(Party, "_end_draws", lambda self, dealer: None)


def premium_is_not_demanded(put: Set) -> None:
    put(dealing, "premium_in", lambda *_: 0)


def premium_is_paid_twice(put: Set) -> None:
    """Each attempt is another transfer."""
    record = Beside.record
    count = iter(range(1, 1 << 30))

    def other(self, suite):
        made = bytearray(record(self, suite))
        made[8:12] = next(count).to_bytes(4, "little")
        return bytes(made)

    put(Beside, "record", other)


def fees_are_paid_whatever_comes(put: Set) -> None:
    end = BesideBook.end
    put(BesideBook, "end", lambda self, party, now, *, claimed: end(self, party, now, claimed=True))


def a_restart_forgets_what_is_owed(put: Set) -> None:
    put(BesideBook, "restore", lambda self, rows, claimed_of, now: None)


def what_is_held_counts_as_paid(put: Set) -> None:
    """A transfer beside the locks that is held is put away as if it had been made."""
    on_answer = BesideBook.on_answer

    def hasty(self, found, code):
        return on_answer(self, found, int(ResultCode.CREATED) if code == ResultCode.HELD else code)

    put(BesideBook, "on_answer", hasty)


@dataclass(frozen=True)
class Mutant:
    """A broken rule, what of the plans to fix so that it matters soon, and within how many seeds it is then caught."""

    patch: Callable[[Set], None]
    focus: dict[str, Any] = field(default_factory=dict)
    seeds_max: int = 60

    @property
    def name(self) -> str:
        return self.patch.__name__


CLEAN: dict[str, Any] = {
    "beyond": False,
    "liars": {},
    "skews": {},
    "thresholds": {},
    "measures": [],
    "papers": Papers(),
    "closings": [],
}


def focused(mutant: Mutant, seed: int) -> Plan:
    """Return a seed's plan with what the mutant fixes; ``payer`` and ``provider`` (of the last leg) name villains.

    ``cut`` is when the last provider is cut off from the relay, and for how long.
    """
    plan = Plan.of(seed)
    focus = dict(mutant.focus)
    if not focus:
        return plan
    payer, provider = focus.pop("payer", ""), focus.pop("provider", "")
    cut = focus.pop("cut", None)
    if focus.get("foreign"):
        focus.setdefault("ledgers", min(plan.ledgers, 2))
    elif "foreign" in focus:
        focus.setdefault("ledgers", max(plan.ledgers, 2))
    plan = replace(plan, **{**CLEAN, **focus, "villains": {}})
    if cut is not None:
        plan = replace(plan, partitions=[(plan.legs - 1, "relay", *cut)])
    villains = {0: payer} if payer else {}
    if provider:
        villains[plan.legs - 1] = provider
    return replace(plan, villains=villains)


FAR_LAST = {"foreign": "last"}
SMOOTH_LAST = {
    "foreign": "last",
    "ledgers": 1,
    "crashes": {},
    "losses": 0.0,
    "doubled": 0.0,
    "reorgs": [],
    "relay_stalls": [],
    "chain_stalls": [],
    "lags": {},
    "downs": [],
    "spare_ns": 40 * SECOND,
}
HOME = {"foreign": "", "crashes": {}}
HELD_ALL = Threshold(1, 60 * SECOND, Verdict.RELEASE, 6 * SECOND)
NOT_ALL = Threshold(10**9, 60 * SECOND, Verdict.REJECT, 2 * SECOND)
PRICED = Deal(fee=(3, 0), volatility_ppb=60_000_000)


def measures(kind: Kind, phase: Phase) -> list[Measure]:
    """Return a measure on each of two ledgers, on the whole ledger or the account that pays there."""
    return [Measure(index, kind, phase, 3, index, 60 * SECOND) for index in range(2)]


# Every nine seconds two blocks are undone and what stood in them is forgotten.
STORMY = [(second * 1_000_000_000, 2, True) for second in range(2, 399, 9)]
MUTANTS = (
    Mutant(claims_by_shard_clock, {"foreign": "", "payer": "last_tick"}),
    Mutant(refund_before_reveal, {"foreign": "", "payer": "last_tick"}),
    Mutant(
        statements_are_believed, {"foreign": "", "provider": "never_locks", "liars": dict.fromkeys(range(4), "forges")}
    ),
    Mutant(a_seen_lock_is_final, {**FAR_LAST, "provider": "lock_vanishes"}),
    Mutant(
        a_held_lock_is_final,
        {"foreign": "", "thresholds": {1: Threshold(1, 60 * SECOND, Verdict.RELEASE, 20 * SECOND)}},
    ),
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
    Mutant(provider_gives_up_with_the_secret, {**SMOOTH_LAST, "cut": (20 * SECOND, 30 * SECOND)}),
    Mutant(foreign_locks_are_not_refunded, {**FAR_LAST, "payer": "never_reveals"}),
    Mutant(one_attempt_is_enough, {**SMOOTH_LAST, "cut": (20 * SECOND, 12 * SECOND)}),
    Mutant(a_seen_claim_is_enough, {**FAR_LAST, "reorgs": STORMY}),
    Mutant(a_seen_refund_is_enough, {**FAR_LAST, "payer": "never_reveals", "reorgs": STORMY}),
    Mutant(hashes_may_be_reused, {**FAR_LAST, "payer": "reuses_hash"}),
    Mutant(breaker_stops_claims, {**HOME, "measures": measures(Kind.STOP, Phase.REVEALED)}),
    Mutant(freeze_stops_claims, {**HOME, "measures": measures(Kind.FREEZE, Phase.REVEALED)}),
    Mutant(hold_stops_claims, {**HOME, "thresholds": {0: HELD_ALL}}),
    Mutant(one_supervisor_suffices, {**HOME, "thresholds": {0: HELD_ALL}}),
    Mutant(one_institution_suffices, {**HOME, "thresholds": {0: HELD_ALL}}),
    Mutant(operator_may_release, {**HOME, "thresholds": {0: HELD_ALL}}),
    Mutant(rejected_hold_keeps_the_money, {**HOME, "thresholds": {0: replace(HELD_ALL, verdict=Verdict.REJECT)}}),
    Mutant(holds_have_no_clock, {**HOME, "thresholds": {0: replace(HELD_ALL, verdict=Verdict.NOTHING)}}),
    Mutant(holds_have_no_owner, {**HOME, "thresholds": {0: HELD_ALL}}),
    Mutant(thresholds_are_not_asked, {**HOME, "thresholds": {0: HELD_ALL}}),
    Mutant(quote_is_overdrawn_by_a_race, {**HOME, "swaps": 2, "deal": replace(PRICED, shared=True)}),
    Mutant(expired_quotes_are_drawn, {**HOME, "deal": Deal(quote_s=20), "payer": "asks_after_expiry"}),
    Mutant(desk_forgets_draws_on_restart),
    Mutant(
        desk_keeps_draws_of_ended_swaps,
        {**SMOOTH_LAST, "foreign": "", "ledgers": 2, "swaps": 1, "crashes": {1: [(8, SECOND // 5)]}},
    ),
    Mutant(premium_is_not_demanded, {**HOME, "deal": PRICED, "payer": "pays_no_premium"}),
    Mutant(premium_is_paid_twice, {"foreign": "", "deal": PRICED, "losses": 0.3}),
    Mutant(fees_are_paid_whatever_comes, {**HOME, "deal": PRICED, "provider": "never_locks"}),
    Mutant(a_restart_forgets_what_is_owed, {"foreign": "", "deal": PRICED}),
    Mutant(
        what_is_held_counts_as_paid,
        {**HOME, "deal": PRICED, "thresholds": {0: NOT_ALL}, "measures": measures(Kind.HOLD, Phase.REVEALED)},
    ),
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
