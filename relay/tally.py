"""Counts votes and timeouts towards a quorum: each member once in each place, checked in one batch when it matters.

A vote from the member it names waits unchecked until its block could have a quorum; then all that wait are checked
together, bad ones are dropped and their makers remembered, whose votes are from then on checked on arrival. A vote
handed on by somebody else is checked at once, so nobody can fill another's place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from engine.validators import Certificate, CertificateSigner
from relay.blame import conflicting_votes
from relay.errors import MessageRefused
from relay.messages import STATEMENTS_BYTES_MAX
from relay.timeouts import TimeoutCertificate, TimeoutSigner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.evidence import ConflictingVotes
    from engine.types import VotePhase
    from engine.validators import ValidatorSet, Vote
    from relay.checker import Checker
    from relay.messages import TimeoutMessage, VoteMessage
    from relay.timeouts import Timeout

__all__ = ["VIEW_WINDOW", "TimeoutTally", "VoteTally", "distinct"]

VIEW_WINDOW: Final = 8
"""How many views from the current one on are listened to."""


@dataclass(slots=True)
class _Slot:
    vote: Vote
    signature: bytes
    statement: bytes
    checked: bool


@dataclass(slots=True)
class VoteTally:
    """Votes of one height. ``liars`` are members with a bad signature in their own name."""

    checker: Checker
    validators: ValidatorSet
    liars: set[int] = field(default_factory=set)
    slots: dict[tuple[int, VotePhase], dict[int, _Slot]] = field(default_factory=dict)
    _convicted: set[int] = field(default_factory=set)

    def add(self, message: VoteMessage, *, own_word: bool) -> ConflictingVotes | None:
        """Count a vote; return the proof if its maker voted for two blocks. Raises MessageRefused.

        ``own_word`` says that the transport knows the sender as the member that the vote names.
        """
        place = self.slots.setdefault((message.vote.view, message.vote.phase), {})
        found = place.get(message.index)
        if found is not None and found.vote.block_hash == message.vote.block_hash:
            if found.signature != message.signature and not found.checked and self._holds(message):
                place[message.index] = _Slot(message.vote, message.signature, message.statement, checked=True)
            return None
        if found is None and own_word and message.index not in self.liars:
            place[message.index] = _Slot(message.vote, message.signature, message.statement, checked=False)
            return None
        if found is not None and message.index in self._convicted:
            raise MessageRefused("double_vote", f"member {message.index}")
        if not self._holds(message):
            if own_word:
                self.liars.add(message.index)
            raise MessageRefused("forged_signature", f"vote of member {message.index}")
        slot = _Slot(message.vote, message.signature, message.statement, checked=True)
        if found is not None and not found.checked:
            found.checked = self.checker.votes(self.validators, [(message.index, found.vote, found.signature)])[0]
        if found is None or not found.checked:
            place[message.index] = slot
            return None
        self._convicted.add(message.index)
        return conflicting_votes(message.index, (found.vote, found.signature), (slot.vote, slot.signature))

    def _holds(self, message: VoteMessage) -> bool:
        return self.checker.votes(self.validators, [(message.index, message.vote, message.signature)])[0]

    def certify(self, view: int, phase: VotePhase, block_hash: bytes) -> tuple[Certificate, tuple[bytes, ...]] | None:
        """Return a certificate for the block and its statements, if the votes that hold are a quorum's."""
        place = self.slots.get((view, phase), {})
        if not self._is_quorum(place, block_hash):
            return None
        self._check_waiting(place, block_hash)
        if not self._is_quorum(place, block_hash):
            return None
        rows = [(index, slot) for index, slot in sorted(place.items()) if slot.vote.block_hash == block_hash]
        first = rows[0][1].vote
        signers = tuple(
            CertificateSigner(index, slot.vote.time, slot.vote.executed_held, slot.signature) for index, slot in rows
        )
        certificate = Certificate(phase, first.set_id, first.height, view, block_hash, signers)
        self.checker.made(self.validators, certificate)
        return certificate, tuple(slot.statement for _, slot in rows)

    def voters(self, view: int, phase: VotePhase) -> frozenset[int]:
        """Return who has a vote waiting or counted in this view and phase."""
        return frozenset(self.slots.get((view, phase), {}))

    def forget_before(self, view: int) -> None:
        """Drop what views before this one left."""
        self.slots = {place: slots for place, slots in self.slots.items() if place[0] >= view}

    def _is_quorum(self, place: dict[int, _Slot], block_hash: bytes) -> bool:
        named = sorted(index for index, slot in place.items() if slot.vote.block_hash == block_hash)
        return self.validators.is_quorum(self.validators.power_of(named))

    def _check_waiting(self, place: dict[int, _Slot], block_hash: bytes) -> None:
        waiting = [
            (index, slot) for index, slot in place.items() if not slot.checked and slot.vote.block_hash == block_hash
        ]
        verdicts = self.checker.votes(self.validators, [(index, slot.vote, slot.signature) for index, slot in waiting])
        for (index, slot), holds in zip(waiting, verdicts, strict=True):
            slot.checked = holds
            if not holds:
                del place[index]
                self.liars.add(index)


@dataclass(slots=True)
class _TimeoutSlot:
    timeout: Timeout
    signature: bytes
    checked: bool


@dataclass(slots=True)
class TimeoutTally:
    """Timeouts of one height, by view and member."""

    checker: Checker
    validators: ValidatorSet
    liars: set[int] = field(default_factory=set)
    slots: dict[int, dict[int, _TimeoutSlot]] = field(default_factory=dict)

    def add(self, message: TimeoutMessage, *, own_word: bool) -> bool:
        """Count a timeout; return whether it is news. Raises MessageRefused for a bad signature found at once."""
        place = self.slots.setdefault(message.timeout.view, {})
        found = place.get(message.index)
        if found is not None and (found.checked or found.signature == message.signature):
            return False
        checked = False
        if found is not None or not own_word or message.index in self.liars:
            checked = self.checker.timeouts(self.validators, [(message.index, message.timeout, message.signature)])[0]
            if not checked:
                if own_word:
                    self.liars.add(message.index)
                raise MessageRefused("forged_signature", f"timeout of member {message.index}")
        place[message.index] = _TimeoutSlot(message.timeout, message.signature, checked)
        return True

    def certify(self, view: int) -> TimeoutCertificate | None:
        """Return the timeout certificate of a view, if the timeouts that hold are a quorum's."""
        place = self.slots.get(view, {})
        if not self.validators.is_quorum(self.validators.power_of(sorted(place))):
            return None
        self._check_waiting([place])
        if not self.validators.is_quorum(self.validators.power_of(sorted(place))):
            return None
        rows = sorted(place.items())
        first = rows[0][1].timeout
        signers = tuple(TimeoutSigner(index, slot.timeout.high_view_plus_one, slot.signature) for index, slot in rows)
        certificate = TimeoutCertificate(first.set_id, first.height, view, signers)
        self.checker.made(self.validators, certificate)
        return certificate

    def many_gave_up(self, view: int) -> bool:
        """Say whether members with more than F of the power gave up this view or later ones: one of them is honest."""
        later = [place for its_view, place in self.slots.items() if its_view >= view]
        if self._power(later) <= self.validators.fault_max:
            return False
        self._check_waiting(later)
        return self._power(later) > self.validators.fault_max

    def forget_before(self, view: int) -> None:
        """Drop what views before this one left."""
        self.slots = {its_view: place for its_view, place in self.slots.items() if its_view >= view}

    def _power(self, places: list[dict[int, _TimeoutSlot]]) -> int:
        return self.validators.power_of(sorted({index for place in places for index in place}))

    def _check_waiting(self, places: list[dict[int, _TimeoutSlot]]) -> None:
        waiting = [(place, index, slot) for place in places for index, slot in place.items() if not slot.checked]
        verdicts = self.checker.timeouts(
            self.validators, [(index, slot.timeout, slot.signature) for _, index, slot in waiting]
        )
        for (place, index, slot), holds in zip(waiting, verdicts, strict=True):
            slot.checked = holds
            if not holds:
                del place[index]
                self.liars.add(index)


def distinct(statements: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the statements that travel with a commit certificate: each once, ascending, as many as a message takes."""
    chosen, size = [], 0
    for each in sorted(frozenset(statements)):
        size += len(each) + 4
        if each and size <= STATEMENTS_BYTES_MAX:
            chosen.append(each)
    return tuple(chosen)
