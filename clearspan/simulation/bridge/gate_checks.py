"""What must hold of what is asked before a swap begins: breakers, envelopes, cases, limits, outcomes on the record.

Each rule is held against what the simulation itself knows: which breakers a ledger decided and a bridge was told, who
released what, what was shown to whom. Supervisors open every envelope at the end, each with his own key.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from msgspec import structs

from bridge.cases import CaseKind, CaseOpened, decode_case_entry
from bridge.ports import Outcome as End
from bridge.refusals import BridgeRefused
from bridge.terms import seal_terms
from bridge.travel_route import salt_hash
from bridge.travel_rule import ENVELOPE_BYTES_MAX, EnvelopeRefusedError, open_envelope
from clearspan.bridging.rules.outcomes import Outcome, OutcomeState
from clearspan.simulation.bridge.names import names_of
from clearspan.simulation.bridge.swaps import salt_of
from engine.hashing import digest
from engine.types import HASH_BYTES, NS_PER_S, AdminType, BreakerGrade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.terms import SwapTerms
    from bridge.travel_rule import TravelRuleData
    from clearspan.bridging.rules.compliance import Clearance
    from clearspan.simulation.bridge.closings import Closings
    from clearspan.simulation.bridge.market import Market
    from clearspan.simulation.bridge.officers import Officers
    from clearspan.simulation.bridge.party import Party
    from clearspan.simulation.bridge.stage import Stage

__all__ = ["GateChecks"]

_UNDONE: Final = (End.REFUNDED, End.ABANDONED, End.KEPT)
_ENVELOPE: Final = b"clearspan/travel-rule/1"
_ROUTE: Final = b"clearspan/travel-rule-route/1"
_LATE_NS: Final = 2 * NS_PER_S


class GateChecks:
    """The rules of one scene."""

    def __init__(
        self, stage: Stage, market: Market, parties: Sequence[Party], closings: Closings, officers: Officers
    ) -> None:
        self.stage, self.market, self.parties = stage, market, parties
        self._closings, self._officers = closings, officers
        self._seconds: Counter[tuple[str, int, int, int]] = Counter()

    # When something begins.

    def on_begin(self, party: Party, terms: SwapTerms, hops: range, clearance: Clearance) -> None:
        """Hold that nothing stands in the way of what a party begins or accepts, as far as it was told."""
        if party.villain:
            return
        stage, now = self.stage, party.clock
        if party.is_behind:
            stage.fail(f"{party.name} began before it had read what the relay had decided while it was away")
        for hop in hops:
            standing = self._closings.standing(party.name, hop, now, told=True)
            for each in standing:
                held = each.grade is BreakerGrade.HOLD and (party.index or terms.uetr not in self._officers.released)
                if each.grade is BreakerGrade.STOP or held:
                    stage.fail(f"{party.name} began under a breaker that it knew: {each}")
            rates = [each.rate for each in standing if each.grade is BreakerGrade.SLOW]
            if rates:
                # As the breakers count: each swap once, by a clock that never opens a second that is over.
                second = party.name, party.life, hop, now // NS_PER_S
                self._seconds[second] += 1
                if self._seconds[second] > min(rates):
                    stage.fail(f"{party.name} began {self._seconds[second]} in a second of {min(rates)}")
        if party.index:
            return
        papers = stage.plan.papers
        if papers.holds and terms.uetr not in self._officers.released:
            stage.fail("a payment with a listed name began, and no two officers had let it")
        if clearance.case_id:
            stage.reach("case_used")

    # After a step of a party.

    def after_step(self, party: Party) -> None:
        """Hold what a party believes of breakers, its cases, and what it has counted."""
        gate, watcher = party.gate, party.watcher
        if gate is None or watcher is None:
            return
        rules, now = gate.compliance, party.clock
        stood = {
            (self.market.hop_of(each.corridor_id), each.domain, each.set_at, each.expires_at)
            for each in rules.breakers.all_standing(now)
        }
        told = {
            (each.hop, each.domain, each.set_at, each.ends_at)
            for hop in (range(1, self.stage.plan.legs) if self._closings.decided else ())
            for each in self._closings.standing(party.name, hop, now, told=True)
        }
        if stood != told:
            self.stage.fail(f"{party.name} goes by breakers {stood}, and was told of {told} that were decided")
        self._check_cases(party)
        self._check_used(party)

    def _check_cases(self, party: Party) -> None:
        """Hold that a case has an owner and a clock, and is not lost."""
        assert party.gate is not None
        cases, now = party.gate.compliance.cases, party.clock
        for data in party.archive.cases:
            entry = decode_case_entry(data)
            if cases.find(entry.case_id) is None:
                self.stage.fail(f"case {entry.case_id} is lost")
        for case in cases.open_cases():
            opened = case.opened
            if opened.owner != self.market.participant(0) or not opened.opened_at < opened.deadline:
                self.stage.fail(f"case {opened.case_id} has no owner or no clock")
            if now > opened.deadline + _LATE_NS and self.stage.now > party.stands_since + _LATE_NS:
                self.stage.fail(f"case {opened.case_id} waits beyond its clock")

    def _check_used(self, party: Party) -> None:
        """Hold that the day's limits count what runs and what settled, and nothing else."""
        assert party.gate is not None
        assert party.watcher is not None
        sums: Counter[int] = Counter()
        swaps = {machine.party: machine.terms for machine in party.watcher.machines()}
        for lock_id, end in party.ends.items():
            if end.outcome not in _UNDONE:
                swaps[lock_id] = self.stage.terms(lock_id)
        for terms in swaps.values():
            for hop in range(1, len(terms.legs)) if not party.index else (party.index,):
                sums[hop] += terms.legs[hop - 1].amount
        usage = party.gate.compliance.usage
        for hop in range(1, self.stage.plan.legs) if not party.index else (party.index,):
            used, _ = usage.used(self.market.document(hop).id_bytes, 0)
            if used != sums[hop]:
                self.stage.fail(f"{party.name} counts {used} of the day on hop {hop}, and {sums[hop]} runs or settled")

    # The end.

    def at_the_end(self) -> None:
        """Hold what was shown of envelopes, and what screening said is on the record."""
        for terms in self.stage.swaps:
            for leg, party in enumerate(self.parties):
                lock_id = terms.orders(self.stage.suite)[leg].lock_id
                if leg and not party.villain and lock_id in party.accepted:
                    self._check_envelope(terms, leg, party.shown.get(lock_id, b""))
            self._check_bound(terms)
        self._check_once()
        self._check_read_again()
        self._check_outcomes()

    def _check_envelope(self, terms: SwapTerms, leg: int, part: bytes) -> None:
        """Hold that who accepted was shown his hop's envelope, and its supervisors read the same of it, they alone."""
        stage, hop, hops = self.stage, leg, len(terms.legs) - 1
        needs = stage.plan.papers.travel_from and terms.legs[hop - 1].amount >= stage.plan.papers.travel_from
        if not part:
            if needs or any(terms.travel_rule_hash):
                stage.fail(f"party:{leg} accepted without the travel-rule data of hop {hop}")
            return
        hashes = [part[at : at + HASH_BYTES] for at in range(0, hops * HASH_BYTES, HASH_BYTES)] if hops > 1 else []
        envelope = part[len(hashes) * HASH_BYTES :]
        named = digest(stage.suite, _ENVELOPE + envelope)
        whole = digest(stage.suite, _ROUTE + b"".join(hashes)) if hashes else named
        if whole != terms.travel_rule_hash or (hashes and hashes[hop - 1] != named):
            stage.fail(f"party:{leg} accepted an envelope that the terms do not name")
        if len(envelope) > ENVELOPE_BYTES_MAX:
            stage.fail(f"party:{leg} accepted an envelope of {len(envelope)} bytes")
        read = [self._opened(envelope, hop, hop, index) for index in range(2)]
        if read[0] is None or read[0] != read[1]:
            stage.fail(f"the supervisors of hop {hop} read {read[0]} and {read[1]}")
        else:
            self._check_read(terms, read[0])
        for other in range(1, hops + 1):
            if other != hop and self._opened(envelope, other, other, 0) is not None:
                stage.fail(f"a supervisor of hop {other} opens the envelope of hop {hop}")
        stage.reach("envelope_opened")

    def _opened(self, envelope: bytes, hop: int, of: int, index: int) -> TravelRuleData | None:
        recipient = self.market.recipients(of)[index]
        try:
            return open_envelope(envelope, self.stage.realm.genesis.hash, recipient, self.market.secrets_of(hop)[index])
        except EnvelopeRefusedError:
            return None

    def _check_read(self, terms: SwapTerms, data: TravelRuleData) -> None:
        if self.parties[0].villain:
            return
        names = data.originator.name, data.beneficiary.name
        amounts = int(data.amount_sent) >= terms.legs[0].amount and int(data.amount_received) == terms.legs[-1].amount
        if data.uetr != terms.uetr.hex() or names != names_of(self.stage.plan.papers.listed) or not amounts:
            self.stage.fail(f"what is sealed is not what was ordered: {data}")
        salts = [salt_hash(salt_of(self.stage, number)).hex() for number in range(self.stage.plan.swaps)]
        if data.salt_hash not in salts:
            self.stage.fail("the sealed data name another salt than the swap's")

    def _check_bound(self, terms: SwapTerms) -> None:
        """Hold that the lock of a record stands for the terms with this envelope, and for no other envelope."""
        stage = self.stage
        if self.parties[0].villain or not any(terms.travel_rule_hash):
            return
        salts = [salt_of(stage, number) for number in range(stage.plan.swaps)]
        if all(seal_terms(terms, salt, stage.suite)[0].hashlock != terms.hashlock for salt in salts):
            stage.fail("the hashlock is not that of terms and salt")
        other = structs.replace(terms, travel_rule_hash=bytes(byte ^ 1 for byte in terms.travel_rule_hash))
        if any(seal_terms(other, salt, stage.suite)[0].hashlock == terms.hashlock for salt in salts):
            stage.fail("the hashlock is the same for another envelope")
        stage.reach("envelope_bound")

    def _check_once(self) -> None:
        """Hold that an order ran once: of the swaps under one UETR at most one was claimed."""
        payer = self.parties[0]
        if payer.villain:
            return
        ran = Counter(self.stage.terms(lock_id).uetr for lock_id in payer.ends if payer.claimed(lock_id))
        if any(count > 1 for count in ran.values()):
            self.stage.fail("one order ran twice")

    def _check_read_again(self) -> None:
        """Hold that who serves on a chain knows each secret of the blocks that he has read, also after a restart."""
        blocks = self.stage.relay.blocks
        for party in self.parties if self.stage.plan.foreign else ():
            out = [preimage for block in blocks[: party.kept_height] for preimage in block.preimages()]
            if not party.villain and set(party.history) != set(out):
                self.stage.fail(f"{party.name} knows {len(party.history)} of {len(out)} secrets that it has read")

    def _check_outcomes(self) -> None:
        """Hold that each outcome is signed, and in its ledger's log once, with its case, list and score."""
        stage, archive = self.stage, self.parties[0].archive
        said: set[tuple[str, bool]] = set()
        for _, row in archive.kept(b"s"):
            outcome = Outcome.decode(row)
            record, place = outcome.signed.record, stage.place_of_ledger(outcome.ledger)
            if outcome.state is not OutcomeState.ON_RECORD:
                stage.fail(f"an outcome of screening is {outcome.state.name} at the end")
            fields = record.fields_on_ledger(stage.suite, stage.realm.genesis.hash)
            found = [
                each
                for each in place.made.values()
                if each.request.type == AdminType.SCREENING
                and all(getattr(each.request, name) == value for name, value in fields.items())
            ]
            if len(found) != 1:
                stage.fail(f"{place.name}: an outcome of screening is {len(found)} times on the record")
            said.add((record.message_hash.hex(), any(record.case_id)))
            shard = place.machine_of(outcome.account)
            try:
                outcome.signed.verify(
                    stage.suite, stage.realm.genesis.hash, shard.parties.key, record.message_hash, stage.now
                )
            except BridgeRefused as refused:
                stage.fail(f"an outcome of screening is not signed: {refused}")
        for entry in map(decode_case_entry, archive.cases):
            if (
                isinstance(entry, CaseOpened)
                and entry.kind is CaseKind.SCREENING
                and (entry.message_hash, True) not in said
            ):
                stage.fail(f"case {entry.case_id} is on no record")
        passed = sum(not held for _, held in said)
        began = {stage.terms(party).uetr for party in archive.newest(0)[0]}
        if stage.plan.papers.screens and passed < len(began):
            stage.fail(f"{len(began)} orders began, and {passed} are on the record as passed")
