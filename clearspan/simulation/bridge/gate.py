"""What a party's bridge asks before a swap begins or is accepted, in the simulation: the real rules over what survives.

Limits, cases, breakers and outcomes are those that the bridge runs with. What they write is made durable with the
entries of the machines, and after a restart they stand with that alone. Nothing here is asked of a swap that runs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, cast

from bridge.journal import decode_entry
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.travel_route import join_sheaf
from clearspan.bridging.market.envelopes import names_of as demand_names
from clearspan.bridging.rules.breaker_desk import BreakerDesk
from clearspan.bridging.rules.compliance import Compliance
from clearspan.bridging.rules.held import Screening
from clearspan.bridging.rules.outcomes import OutcomeBook, OutcomeState
from clearspan.simulation.bridge.names import names_of, screen_of
from clearspan.simulation.bridge.verifier import driven
from engine.types import NS_PER_S
from native.codes import ResultCode
from native.signatures import sign

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.cases import Step
    from bridge.corridor_breakers import BreakerNotice
    from bridge.ports import Entry, Outcome
    from bridge.terms import SwapTerms
    from clearspan.bridging.journal.store import JournalStore
    from clearspan.bridging.lines.ledgers import LedgerPort
    from clearspan.bridging.rules.compliance import Clearance
    from clearspan.bridging.rules.outcomes import Outcome as Signed
    from clearspan.simulation.bridge.dealing import Question
    from clearspan.simulation.bridge.market import Market, Purchase
    from clearspan.simulation.bridge.stage import Caller, Stage
    from clearspan.simulation.bridge.verifier import BlockLine
    from engine.types import Role

__all__ = ["OFFICERS", "Archive", "Gate"]

OFFICERS: Final = {"officer-a": ("cn=Ana",), "officer-b": ("cn=Ben",), "officer-c": ("cn=Ana",)}
"""Certificates that may decide, and what else names their persons: the first and the last are one person's."""
_AGAIN_NS: Final = 2 * NS_PER_S
_OUTCOMES_MAX: Final = 16
_KNOWN: Final = frozenset({ResultCode.CREATED, ResultCode.EXISTS, ResultCode.EXISTS_WITH_DIFFERENT_CONTENT})
"""The same outcome in a request of another time is on the record as well."""
_NO_KEY: Final = 1
"""Stands in records where nobody signs them: those are not kept."""


class Archive:
    """What survives of the rules, as a journal gives it back; ``journal`` are the machines' entries in order."""

    def __init__(self, journal: list[bytes]) -> None:
        self._journal = journal
        self.cases: list[bytes] = []
        self.rows: dict[bytes, bytes] = {}

    def case_entries(self) -> list[bytes]:
        """Return the entries of cases, in order."""
        return list(self.cases)

    def kept(self, start: bytes, limit: int = 1 << 40, before: bytes = b"") -> list[tuple[bytes, bytes]]:
        """Return the newest rows whose key begins so, by key."""
        found = sorted((key, row) for key, row in self.rows.items() if key.startswith(start))
        return [each for each in found if not before or each[0] < before][-limit:]

    def newest(self, limit: int, before: int = 0) -> tuple[list[bytes], int]:
        """Return all parties in one page, the newest first."""
        del limit, before
        return list(dict.fromkeys(decode_entry(data).party for data in self._journal))[::-1], 0

    def entries_of(self, party: bytes) -> list[Entry]:
        """Return all entries of a party's side."""
        return [entry for entry in map(decode_entry, self._journal) if entry.party == party]


class _Keys:
    """The screening keys of one bank, by domain."""

    def __init__(self, stage: Stage) -> None:
        self._worlds = {place.world.domain: place.world for place in stage.places}

    def domain_of(self, ledger: int) -> int:
        """Return the domain of a ledger."""
        return next(domain for domain, world in self._worlds.items() if world.ledger == ledger)

    def role_key(self, domain: int, role: Role) -> int:
        """Return the key that screens there."""
        del role
        return self._worlds[domain].screening_key

    def sign(self, domain: int, key_id: int, message: bytes) -> bytes:
        """Sign with it."""
        key = self._worlds[domain].keys[key_id]
        return sign(key.suite, key.secret, message)


class Gate:
    """The rules of the party of leg ``index``; ``pending`` is to be made durable before anything is answered."""

    def __init__(self, stage: Stage, market: Market, index: int, archive: Archive, now: int) -> None:
        self._stage, self._market, self._archive = stage, market, archive
        papers, genesis = stage.plan.papers, stage.realm.genesis
        screens = papers.screens and not index
        self.outcomes = OutcomeBook(genesis, _Keys(stage)) if screens else None
        screen = screen_of(stage.suite, is_grown=stage.list_is_grown) if screens else None
        screening = Screening(screen, _NO_KEY, papers.hold_ns, officers=frozenset(OFFICERS))
        self.compliance = Compliance(genesis, market.participant(index), market.corridors, screening, self.outcomes)
        self.compliance.restore(cast("JournalStore", archive), now)
        self._entries: list[bytes] = []
        self._rows: dict[bytes, bytes | None] = {}
        self._offered_at = 0

    @property
    def pending(self) -> bool:
        """Tell whether something waits to be made durable."""
        self._entries += self.compliance.take_entries()
        self._rows.update(self.compliance.take_kept())
        return bool(self._entries or self._rows)

    def commit(self) -> None:
        """Make durable what was written."""
        if not self.pending:
            return
        self._archive.cases += self._entries
        for key, row in self._rows.items():
            if row is None:
                self._archive.rows.pop(key, None)
            else:
                self._archive.rows[key] = row
        self._entries, self._rows = [], {}

    @property
    def waits(self) -> bool:
        """Tell whether an outcome of screening has not reached its ledger, or something is not durable."""
        return self.pending or (self.outcomes is not None and bool(len(self.outcomes)))

    # Swaps.

    def clear(self, terms: SwapTerms, purchase: Purchase, now: int) -> Clearance:
        """Let an order begin. Raises BridgeRefused with nothing drawn."""
        order = purchase.order
        assert order is not None
        named = names_of(self._stage.plan.papers.listed) if self.compliance.screens_names else ("", "")
        names = demand_names(order, named, b"", are_screened=self.compliance.screens_names)
        sheaf = join_sheaf(purchase.envelopes) if purchase.envelopes else b""
        return self.compliance.clear(order, terms, now, names=names, travel_rule=sheaf)

    def admit(self, question: Question, now: int) -> Clearance:
        """Let a question be accepted. Raises BridgeRefused with nothing drawn."""
        terms, leg = question.terms, question.leg
        return self.compliance.admit(terms, leg, self._market.document(leg), question.envelope, now)

    def began(self, party: bytes, clearance: Clearance) -> None:
        """Keep what a swap took."""
        self.compliance.began(party, clearance)

    def give_back(self, clearance: Clearance) -> None:
        """Give back what was taken for a swap that did not begin."""
        self.compliance.give_back(clearance.taken)

    def ended(self, party: bytes, outcome: Outcome) -> None:
        """Give back what did not settle."""
        self.compliance.ended(party, outcome)

    # Time.

    def tick(self, now: int) -> None:
        """End cases whose time is over, and take the list of the day."""
        for said in self.compliance.tick(now):
            self._stage.reach("case_expired" if "ended undecided" in said else "case_called_out")
        if self.compliance.screens_names and self._stage.list_is_grown:
            self.compliance.use(screen_of(self._stage.suite, is_grown=True))

    def outcomes_due(self, party: Caller, now: int) -> list[Callable[[], None]]:
        """Return what offers outcomes to their ledgers, as the same bytes until these answer; only durable ones."""
        if self.outcomes is None or self._offered_at > now - _AGAIN_NS:
            return []
        self._offered_at = now
        book = self.outcomes
        due: list[Callable[[], None]] = []
        for outcome in book.waiting(_OUTCOMES_MAX):
            if outcome.request.expires_at <= now:
                book.renewed(outcome, now)
            elif outcome.key in self._archive.rows:
                due.append(partial(self._offer, party, outcome))
        return due

    def _offer(self, party: Caller, outcome: Signed) -> None:
        stage = self._stage
        place = stage.place_of_ledger(outcome.ledger)
        request = place.world.admin(outcome.request, outcome.signed.record.key_id)

        def told(code: int) -> None:
            stage.reply(party, lambda: self._answered(outcome, code))

        stage.send(party, place.name, lambda: None if stage.is_down(place) else place.administer(request, told))

    def _answered(self, outcome: Signed, code: int) -> None:
        if self.outcomes is None or code not in _KNOWN:
            return
        self._stage.reach("outcome_on_record")
        self.outcomes.answered(outcome, OutcomeState.ON_RECORD, code, self._stage.now)

    # People.

    def step(self, case_id: str, step: Step, officer: str, now: int, text: str = "") -> BridgeCode | None:
        """Let an officer act on a case; return why he may not."""
        try:
            self.compliance.step(case_id, step, officer, now, text, names=OFFICERS.get(officer, ()))
        except BridgeRefused as refused:
            return BridgeCode(refused.code)
        return None

    def hear_breaker(
        self, line: BlockLine, domain: int, height: int, body: bytes, commit: Callable[[], None]
    ) -> tuple[BreakerNotice, bool]:
        """Take a breaker that a ledger is said to have decided. Raises BridgeRefused, with nothing believed."""

        async def committed() -> None:
            commit()

        rows, corridors = self.compliance.breaker_rows, self._market.corridors
        desk = BreakerDesk(self._stage.realm.genesis, corridors, rows, {domain: cast("LedgerPort", line)}, committed)
        return driven(desk.take(domain, height, body))
