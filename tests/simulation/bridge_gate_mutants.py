"""What is asked before a swap begins, and what a bridge reads again after a restart, broken on purpose: one rule each."""

from __future__ import annotations

from typing import Any

import bridge.corridor_breakers
import bridge.travel_route
import clearspan.bridging.market.envelopes
import clearspan.bridging.rules.compliance
import clearspan.simulation.bridge.envelopes
from bridge.cases import CaseBook, CaseState, Step
from bridge.corridor_breakers import CorridorBreakers
from bridge.edge import Edge
from bridge.ports import ClaimForeign, Reveal
from bridge.refusals import BridgeCode, BridgeRefused
from clearspan.bridging.rules.breaker_desk import BreakerDesk, BreakerRows
from clearspan.bridging.rules.compliance import Compliance
from clearspan.bridging.rules.held import HeldPayments
from clearspan.bridging.rules.outcomes import OutcomeBook
from clearspan.simulation.bridge import gate
from clearspan.simulation.bridge.papers import Closing, Papers, Ruling, Spoilt
from clearspan.simulation.bridge.party import Party
from clearspan.simulation.bridge.rules import Phase
from clearspan.simulation.bridge.situations import situation
from engine.block_receipt import DecidedLeaf
from engine.codes import ResultCode
from engine.types import BreakerGrade
from tests.simulation.bridge_mutants import SMOOTH_LAST, Mutant

__all__ = ["GATE_MUTANTS"]

Set = "Callable[[object, str, Any], None]"
SECOND = 1_000_000_000


def nothing(*_: object, **__: object) -> None:
    """Ask for nothing."""


# Envelopes.


def envelopes_are_not_demanded(put: Set) -> None:
    put(bridge.travel_route, "demand_part", nothing)


def providers_do_not_ask_for_envelopes(put: Set) -> None:
    put(clearspan.bridging.rules.compliance, "demand_hop", nothing)


def whose_an_envelope_is_does_not_matter(put: Set) -> None:
    put(bridge.travel_route, "demand_recipients", nothing)


def any_envelope_is_the_one_that_was_named(put: Set) -> None:
    def shown(suite, network, named, part, rule):
        del suite, named
        at = 32 * rule.hops if rule.hops > 1 else 0
        if rule.is_needed and not part:
            raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISSING, "none")
        if part:
            bridge.travel_route.demand_recipients(part[at:], network, rule.recipients)

    put(bridge.travel_route, "demand_part", shown)
    put(clearspan.bridging.market.envelopes, "demand_part", shown)


def every_supervisor_opens_every_envelope(put: Set) -> None:
    """The envelopes of all hops are sealed for the supervisors of the first."""
    seal_route = bridge.travel_route.seal_route

    def alike(parties, payment, hops, network, seeds):
        return seal_route(parties, payment, [hops[0]] * len(hops), network, seeds)

    put(clearspan.simulation.bridge.envelopes, "seal_route", alike)
    put(bridge.travel_route, "demand_recipients", nothing)


# Screening and cases.


def names_are_not_screened(put: Set) -> None:
    put(HeldPayments, "_demand_edge", nothing)


def one_officer_suffices(put: Set) -> None:
    step = CaseBook.step

    def alone(self, case_id, what, officer, at, text="", *, names=()):
        del names
        return step(self, case_id, what, f"{officer}'" if what is Step.CONFIRM else officer, at, text)

    put(CaseBook, "step", alone)


def two_certificates_of_one_person_suffice(put: Set) -> None:
    step = CaseBook.step

    def unnamed(self, case_id, what, officer, at, text="", *, names=()):
        del names
        return step(self, case_id, what, officer, at, text)

    put(CaseBook, "step", unnamed)


def anybody_is_an_officer(put: Set) -> None:
    put(gate, "OFFICERS", {})


def a_case_has_no_clock(put: Set) -> None:
    put(CaseBook, "expire", lambda self, now: [])


def what_was_rejected_runs(put: Set) -> None:
    decided = Edge._decided
    no_hold = HeldPayments._demand_no_hold

    def passed(self, state, payment, opened, now):
        lets = state in (CaseState.REJECTED, CaseState.EXPIRED)
        return decided(self, CaseState.RELEASED if lets else state, payment, opened, now)

    def asked(self, *args):
        try:
            no_hold(self, *args)
        except BridgeRefused as refused:
            if refused.code is not BridgeCode.PROVIDER_REFUSED:
                raise

    put(Edge, "_decided", passed)
    put(HeldPayments, "_demand_no_hold", asked)


def a_release_is_good_for_any_number(put: Set) -> None:
    put(HeldPayments, "used", nothing)


def a_restart_forgets_cases(put: Set) -> None:
    put(HeldPayments, "restore", lambda self, entries: {})


def outcomes_are_signed_with_another_key(put: Set) -> None:
    put(gate._Keys, "sign", lambda self, domain, key_id, message: bytes(64))


def a_restart_forgets_outcomes(put: Set) -> None:
    put(OutcomeBook, "restore", nothing)


def outcomes_of_holds_are_not_kept(put: Set) -> None:
    note = OutcomeBook.note

    def kept(self, record, ledger, account):
        if not any(record.case_id):
            note(self, record, ledger, account)

    put(OutcomeBook, "note", kept)


# Breakers of corridors.


def a_breaker_is_believed_at_its_word(put: Set) -> None:
    async def believed(self, port, domain, height, body, wait_s):
        del self, port, domain, height, body, wait_s
        return DecidedLeaf(bytes(32), int(ResultCode.CREATED), 1_790_000_000 * SECOND), 1

    put(BreakerDesk, "_decided", believed)


def what_a_ledger_refused_stands(put: Set) -> None:
    decided = BreakerDesk._decided

    async def made(self, *args):
        leaf, height = await decided(self, *args)
        return DecidedLeaf(leaf.digest, int(ResultCode.CREATED), leaf.time), height

    put(BreakerDesk, "_decided", made)


def any_ledger_decides_about_any_corridor(put: Set) -> None:
    take = BreakerDesk.take

    async def taken(self, domain, height, body, wait_s=5.0):
        self._domains = dict.fromkeys(self._domains, domain)
        return await take(self, domain, height, body, wait_s)

    put(BreakerDesk, "take", taken)


def a_breaker_stops_nothing(put: Set) -> None:
    put(CorridorBreakers, "standing", lambda self, corridor_id, now: None)


def a_breaker_has_no_end(put: Set) -> None:
    put(bridge.corridor_breakers, "_stands", lambda notice, now: notice.grade is not None)


def the_last_word_that_is_heard_counts(put: Set) -> None:
    """What was decided earlier and is heard later takes the place of what lifted it."""

    def apply(self, notice):
        self._notices.setdefault(notice.corridor_id, {})[notice.domain] = notice
        return True

    put(CorridorBreakers, "apply", apply)


def a_restart_forgets_breakers(put: Set) -> None:
    put(BreakerRows, "restore", nothing)


def nothing_is_counted_where_it_is_slow(put: Set) -> None:
    put(CorridorBreakers, "count", nothing)


def a_breaker_stops_who_has_begun(put: Set) -> None:
    """A breaker of the corridor keeps a provider from claiming and from showing the secret."""
    act = Party.act

    def stopped(self, party, action):
        closed = self.index and self.gate is not None and self.gate.compliance.breakers.all_standing(self.clock)
        if not (closed and isinstance(action, ClaimForeign | Reveal)):
            act(self, party, action)

    put(Party, "act", stopped)


def limits_are_not_given_back(put: Set) -> None:
    put(Compliance, "give_back", nothing)


# What is read again.


def a_restart_begins_at_the_head_of_the_relay(put: Set) -> None:
    restart = Party.restart

    def skipped(self):
        self.kept_height = len(self.stage.relay.blocks)
        restart(self)

    put(Party, "restart", skipped)


def who_is_behind_serves(put: Set) -> None:
    put(Party, "serves", property(lambda self: self.alive))


HOME: dict[str, Any] = {"foreign": "", "crashes": {}}
ASKS = {"papers": Papers(travel_from=1)}
LISTED = Papers(screens=True, listed="payee", hold_ns=60 * SECOND)
SHORT = {**HOME, "ledgers": 2, "swaps": 1}
ONE_AWAY = {1: [(step, 6 * SECOND) for step in (6, 8, 10)]}
CRASHES = {party: [(step, 40 * SECOND) for step in (2, 4, 6, 8)] for party in range(4)}


def closing(grade: BreakerGrade, phase: Phase = Phase.BEFORE, lasts: int = 60, clears: int = 0) -> dict[str, Any]:
    """Return a breaker of the first corridor, by the first ledger of ours."""
    return {"closings": [Closing(1, 0, grade, phase, lasts * SECOND, clears * SECOND)]}


STOP = closing(BreakerGrade.STOP)
GATE_MUTANTS = (
    Mutant(envelopes_are_not_demanded, {**HOME, "papers": Papers(travel_from=1, first_try=Spoilt.CHANGED)}),
    Mutant(providers_do_not_ask_for_envelopes, {**HOME, **ASKS, "payer": "hides_envelope"}),
    Mutant(whose_an_envelope_is_does_not_matter, {**HOME, **ASKS, "payer": "seals_elsewhere"}),
    Mutant(any_envelope_is_the_one_that_was_named, {**HOME, **ASKS, "payer": "forges_envelope"}),
    Mutant(every_supervisor_opens_every_envelope, {**HOME, **ASKS, "ledgers": 3}),
    Mutant(names_are_not_screened, {**HOME, "papers": LISTED}),
    Mutant(one_officer_suffices, {**HOME, "papers": LISTED}),
    Mutant(two_certificates_of_one_person_suffice, {**HOME, "papers": LISTED}),
    Mutant(anybody_is_an_officer, {**HOME, "papers": LISTED}),
    Mutant(
        a_case_has_no_clock,
        {**HOME, "papers": Papers(screens=True, listed="payer", ruling=Ruling.NOTHING, hold_ns=10 * SECOND)},
    ),
    Mutant(
        what_was_rejected_runs,
        {**HOME, "papers": Papers(screens=True, listed="payee", ruling=Ruling.REJECT, hold_ns=60 * SECOND)},
    ),
    Mutant(
        a_release_is_good_for_any_number,
        {**HOME, "papers": Papers(screens=True, listed="payee", hold_ns=60 * SECOND, again=True)},
    ),
    Mutant(a_restart_forgets_cases, {"foreign": "", "papers": LISTED, "crashes": CRASHES}),
    Mutant(outcomes_are_signed_with_another_key, {**HOME, "papers": LISTED}),
    Mutant(a_restart_forgets_outcomes, {"foreign": "", "papers": LISTED, "crashes": CRASHES, "losses": 0.3}),
    Mutant(outcomes_of_holds_are_not_kept, {**HOME, "papers": LISTED}),
    Mutant(a_breaker_is_believed_at_its_word, {**HOME, **STOP}),
    Mutant(what_a_ledger_refused_stands, {**HOME, **STOP}),
    Mutant(any_ledger_decides_about_any_corridor, {**HOME, **STOP, "ledgers": 3}),
    Mutant(a_breaker_stops_nothing, {**HOME, **STOP}),
    Mutant(a_breaker_has_no_end, {**HOME, **closing(BreakerGrade.STOP, lasts=12)}),
    Mutant(
        the_last_word_that_is_heard_counts,
        {**HOME, **closing(BreakerGrade.STOP, clears=2), "partitions": [(1, "place:0", 0, 9 * SECOND)]},
    ),
    Mutant(a_restart_forgets_breakers, {"foreign": "", **closing(BreakerGrade.SLOW, lasts=300), "crashes": CRASHES}),
    Mutant(nothing_is_counted_where_it_is_slow, situation("slowed", 2)),
    Mutant(
        a_breaker_stops_who_has_begun,
        {**SMOOTH_LAST, **closing(BreakerGrade.STOP, Phase.BETWEEN, lasts=400), "partitions": []},
    ),
    Mutant(limits_are_not_given_back, {**HOME, "provider": "never_locks"}),
    Mutant(a_restart_begins_at_the_head_of_the_relay, {"foreign": "first", "crashes": ONE_AWAY}),
    Mutant(
        who_is_behind_serves,
        {"foreign": "", "papers": Papers(catch_up=1), "crashes": {party: [(0, 30 * SECOND)] for party in range(4)}},
    ),
)
