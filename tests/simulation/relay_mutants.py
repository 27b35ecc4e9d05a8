"""The core broken on purpose, one rule at a time, from outside: each mutant is a patch that is taken back afterwards."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import relay.consensus
import relay.desk
import relay.evidence
import relay.headers
import relay.light
import relay.proposals
import relay.round
import relay.state
import relay.sync
import relay.view_change
from engine.governance import Governed
from engine.refusals import CertificateRefused
from engine.types import VotePhase
from engine.validators import Certificate, Statement, ValidatorSet
from relay.actions import Persist
from relay.checker import Checker
from relay.checkpoint import Rebuild
from relay.desk import Desk
from relay.neighbours import Neighbours
from relay.pacemaker import Pacemaker
from relay.recall import Recall
from relay.round import Round
from relay.signing import Signer
from relay.tally import TimeoutTally, VoteTally
from relay.timeouts import TimeoutCertificate
from relay.transcript import Transcript
from relay.view_change import ViewChange
from relay.vote_record import VoteRecord
from relay.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Set = "Callable[[object, str, Any], None]"


def quorum_is_half(put: Set) -> None:
    put(ValidatorSet, "is_quorum", lambda self, power: 2 * power > self.power)


def quorum_is_a_third(put: Set) -> None:
    put(ValidatorSet, "is_quorum", lambda self, power: power > self.fault_max)


def quorum_is_two_thirds_reached(put: Set) -> None:
    put(ValidatorSet, "is_quorum", lambda self, power: 3 * power >= 2 * self.power)


def lock_is_ignored(put: Set) -> None:
    put(Signer, "allows", lambda self, block_hash, shown: True)


def timeouts_bind_nobody(put: Set) -> None:
    """The rule that a proposal shows what the timeouts name."""
    put(TimeoutCertificate, "high_view_plus_one", property(lambda self: 0))


def neither_lock_nor_timeouts(put: Set) -> None:
    lock_is_ignored(put)
    timeouts_bind_nobody(put)


def votes_are_not_written(put: Set) -> None:
    put(Signer, "_write", lambda self, record, actions: setattr(self, "record", record.next_generation()))


def votes_are_written_late(put: Set) -> None:
    take = Desk.take

    def late(self):
        return sorted(take(self), key=lambda action: isinstance(action, Persist))

    put(Desk, "take", late)


def commits_do_not_lock(put: Set) -> None:
    write = Signer._write

    def loose(self, record, actions):
        write(self, replace(record, lock_view_plus_one=0, lock_hash=bytes(32)), actions)

    put(Signer, "_write", loose)


def a_restart_forgets_the_certificate(put: Set) -> None:
    opened = VoteRecord.opened.__func__

    def loose(cls, data, generation, restored=False):
        return replace(opened(cls, data, generation, restored=restored), high=None, entered=None)

    put(VoteRecord, "opened", classmethod(loose))


def any_vote_in_any_view(put: Set) -> None:
    put(VoteRecord, "may_vote", lambda self, phase, view: True)


def votes_after_giving_up(put: Set) -> None:
    may_vote = VoteRecord.may_vote
    put(VoteRecord, "may_vote", lambda self, phase, view: may_vote(replace(self, timeout=None), phase, view))


def timeouts_deny(put: Set) -> None:
    give_up = Signer.give_up
    put(
        Signer,
        "give_up",
        lambda self, view, standing, actions: give_up(self, view, replace(standing, high=None), actions),
    )


def timeout_certificates_are_believed(put: Set) -> None:
    certificate = Checker.certificate

    def loose(self, validators, shown):
        if not isinstance(shown, TimeoutCertificate):
            certificate(self, validators, shown)

    put(Checker, "certificate", loose)


def transcripts_without_timeouts(put: Set) -> None:
    transcript = Witness.transcript
    put(Witness, "transcript", lambda self: Transcript(transcript(self).certificates, ()))


def guilt_is_believed(put: Set) -> None:
    put(relay.evidence, "verify_guilt", lambda *args: None)


def guilt_without_signatures(put: Set) -> None:
    verify = relay.evidence.verify_guilt

    def loose(proof, suite, genesis_hash, validators):
        with contextlib.suppress(relay.evidence.BlameRefused):
            verify(proof, suite, genesis_hash, validators)
            return
        try:
            verify(proof, suite, genesis_hash, validators)
        except relay.evidence.BlameRefused as error:
            if "signature" not in str(error):
                raise

    put(relay.evidence, "verify_guilt", loose)


def forks_of_shards_are_believed(put: Set) -> None:
    put(relay.evidence, "verify", lambda *args: True)


def governance_without_approvals(put: Set) -> None:
    put(Governed, "demand_quorum", lambda self, *args: 0)


def parents_are_not_checked(put: Set) -> None:
    put(relay.state.RelayState, "check_place", lambda self, block: None)


def headers_without_continuity(put: Set) -> None:
    put(relay.headers, "_check_continuity", lambda *args: None)


def headers_without_signatures(put: Set) -> None:
    put(relay.headers, "_bad_signatures", lambda *args: [])


def effects_before_causes(put: Set) -> None:
    put(relay.headers, "_effect_before_cause", lambda *args: "")


def every_statement_verifies(put: Set) -> None:
    put(Statement, "verified", lambda self, index: True)


def relay_time_is_the_latest(put: Set) -> None:
    put(relay.state, "median_time", lambda certificate, validators: max(each.time for each in certificate.signers))


def signers_count_twice(put: Set) -> None:
    put(
        ValidatorSet,
        "power_of",
        lambda self, indexes: sum(self.members[index].power for index in indexes if index < len(self.members)),
    )


def certificates_are_believed(put: Set) -> None:
    put(Checker, "certificate", lambda self, validators, certificate: None)


def certificates_of_any_set(put: Set) -> None:
    put(relay.desk, "_place", lambda *args: None)
    put(Certificate, "verify", lambda self, *args: 0)


def any_phase_commits(put: Set) -> None:
    read = Desk.read_certificate

    def loose(self, data, validators, height, phase):
        certificate = read(self, data, validators, height, None)
        return replace(certificate, phase=VotePhase.COMMIT) if phase is None else certificate

    put(Desk, "read_certificate", loose)
    put(Checker, "certificate", lambda self, validators, certificate: _quorum_alone(validators, certificate))


def _quorum_alone(validators, certificate) -> None:
    if not validators.is_quorum(validators.power_of(each.index for each in certificate.signers)):
        raise CertificateRefused("certificate", "no quorum")


def old_records_are_trusted(put: Set) -> None:
    put(
        VoteRecord,
        "opened",
        classmethod(lambda cls, data, generation, restored=False: cls() if data is None else cls.decode(data)),
    )


def floor_of_the_first_answer(put: Set) -> None:
    put(Recall, "note", lambda self, validators, index, height: height - 1)


def blocks_are_not_checked(put: Set) -> None:
    put(Round, "_demand_valid", lambda self, body: None)


def anybody_leads(put: Set) -> None:
    check = relay.proposals.check_proposal

    def loose(round_, message):
        round_.leader = lambda view: message.index
        try:
            return check(round_, message)
        finally:
            del round_.leader

    put(relay.view_change, "check_proposal", loose)


def synced_blocks_are_believed(put: Set) -> None:
    from engine.relay_block import RelayBlock

    put(
        relay.sync,
        "_verified",
        lambda state, block, certificate: (RelayBlock.decode(block, state.suite), Certificate.decode(certificate)),
    )


def chunks_are_believed(put: Set) -> None:
    def add(self, index, chunk, path):
        self._chunks[index] = chunk

    put(Rebuild, "add", add)
    put(
        relay.sync,
        "_state_of",
        lambda before, rebuild, proof: relay.sync.RelayState.decode(rebuild.finish(), before.genesis),
    )


def light_clients_believe(put: Set) -> None:
    put(relay.light.LightClient, "verify", lambda self, *args, **named: 0)


def votes_are_not_checked(put: Set) -> None:
    put(VoteTally, "_holds", lambda self, message: True)
    put(VoteTally, "_check_waiting", lambda self, *args: None)


def timeouts_are_not_checked(put: Set) -> None:
    put(
        TimeoutTally,
        "_check_waiting",
        lambda self, places: [setattr(s, "checked", True) for p in places for s in p.values()],
    )
    put(Checker, "timeouts", lambda self, validators, items: [True] * len(items))


# Those that stop it instead.


def leaders_never_change(put: Set) -> None:
    put(Round, "leader", lambda self, view: self.order[0])


def timeouts_are_said_once(put: Set) -> None:
    put(ViewChange, "repeat", lambda self: setattr(self.desk.pacemaker, "repeat", 1 << 64))


def laggards_are_not_helped(put: Set) -> None:
    put(ViewChange, "_help", lambda self, sender, view: None)
    put(Neighbours, "old", lambda self, sender, height, message: None)
    put(Neighbours, "later", lambda self, sender, height, message: None)


def missing_blocks_are_not_asked_for(put: Set) -> None:
    put(Round, "want", lambda self, block_hash: None)


def clocks_never_step_back(put: Set) -> None:
    def observe(self, now):
        self.now = max(self.now, now)
        return 0

    put(Pacemaker, "observe", observe)


def behind_is_not_told(put: Set) -> None:
    put(Neighbours, "tell_behind", lambda self, *args: None)


SAFETY = (
    quorum_is_half,
    quorum_is_a_third,
    quorum_is_two_thirds_reached,
    lock_is_ignored,
    timeouts_bind_nobody,
    neither_lock_nor_timeouts,
    votes_are_not_written,
    votes_are_written_late,
    commits_do_not_lock,
    a_restart_forgets_the_certificate,
    any_vote_in_any_view,
    votes_after_giving_up,
    timeouts_deny,
    timeout_certificates_are_believed,
    transcripts_without_timeouts,
    guilt_is_believed,
    guilt_without_signatures,
    forks_of_shards_are_believed,
    governance_without_approvals,
    parents_are_not_checked,
    headers_without_continuity,
    headers_without_signatures,
    effects_before_causes,
    every_statement_verifies,
    relay_time_is_the_latest,
    signers_count_twice,
    certificates_are_believed,
    certificates_of_any_set,
    any_phase_commits,
    old_records_are_trusted,
    floor_of_the_first_answer,
    blocks_are_not_checked,
    anybody_leads,
    synced_blocks_are_believed,
    chunks_are_believed,
    light_clients_believe,
    votes_are_not_checked,
    timeouts_are_not_checked,
)
LIVENESS = (
    leaders_never_change,
    timeouts_are_said_once,
    laggards_are_not_helped,
    missing_blocks_are_not_asked_for,
    clocks_never_step_back,
    behind_is_not_told,
)


MADE_UP_FOR = (
    chunks_are_believed,
    missing_blocks_are_not_asked_for,
    clocks_never_step_back,
    behind_is_not_told,
)
"""Those that networks come through because something else makes up for them; MUTATIONS.md names the tests that see them."""

QUICK = (
    quorum_is_half,
    quorum_is_two_thirds_reached,
    lock_is_ignored,
    neither_lock_nor_timeouts,
    votes_are_not_written,
    votes_are_written_late,
    commits_do_not_lock,
    a_restart_forgets_the_certificate,
    any_vote_in_any_view,
    votes_after_giving_up,
    timeouts_deny,
    guilt_is_believed,
    headers_without_signatures,
    effects_before_causes,
    every_statement_verifies,
    relay_time_is_the_latest,
    signers_count_twice,
    certificates_are_believed,
    certificates_of_any_set,
    any_phase_commits,
    anybody_leads,
    light_clients_believe,
    leaders_never_change,
    timeouts_are_said_once,
    laggards_are_not_helped,
)
"""Those that are seen within a few seeds: every run of the tests asks for them."""


@contextlib.contextmanager
def broken(mutant: Callable[[Any], None]) -> Iterator[None]:
    """The core with one rule broken."""
    put_back: list[tuple[object, str, Any, bool]] = []

    def put(place: Any, name: str, value: Any) -> None:
        own = name in vars(place)
        put_back.append((place, name, vars(place).get(name), own))
        setattr(place, name, value)

    mutant(put)
    try:
        yield
    finally:
        for place, name, value, own in reversed(put_back):
            if own:
                setattr(place, name, value)
            else:
                delattr(place, name)
