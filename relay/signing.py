"""Signs votes and timeouts: every one durable before it leaves, and never two that contradict each other.

The only place that holds the member's key. It asks the vote record first, writes the record second and hands out the
signature last; the shell makes the record durable before anything that follows it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.types import ZERO_HASH, VotePhase
from engine.validators import Vote
from relay.actions import Persist
from relay.timeouts import Timeout
from relay.vote_record import OwnTimeout, OwnVote

if TYPE_CHECKING:
    from engine.validators import Certificate, ValidatorSet
    from relay.actions import Action
    from relay.checker import Checker
    from relay.ports import Member
    from relay.timeouts import TimeoutCertificate
    from relay.vote_record import KeptBlock, VoteRecord

__all__ = ["Signer", "Standing"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a member knows as it signs, written down with it: its highest prepare certificate, and how it entered."""

    high: Certificate | None = None
    entered: TimeoutCertificate | None = None


class Signer:
    """One member's key and word. ``begin`` names the height; ``None`` as member is an observer, who signs nothing."""

    def __init__(self, member: Member | None, record: VoteRecord, checker: Checker) -> None:
        self.member = member
        self.record = record
        self.silenced = False
        self._checker = checker
        self.validators: ValidatorSet | None = None
        self._set_id = 0
        self._height = 0
        self.index: int | None = None

    def begin(self, validators: ValidatorSet, height: int) -> None:
        """Go to a height; find the member in the set that decides it."""
        self.validators, self._set_id, self._height = validators, validators.set_id, height
        self.index = None
        if self.member is not None:
            for index, each in enumerate(validators.members):
                if (each.suite, each.public_key) == (self.member.suite, self.member.public_key):
                    self.index = index

    @property
    def may_sign(self) -> bool:
        """Whether anything may be signed at this height.

        Not by an observer, not while restored, not up to the floor, not below a height that was signed at before.
        """
        record = self.record
        usable = not record.restored and not self.silenced and self.index is not None
        return usable and self._height > record.floor and self._height >= record.height

    @property
    def here(self) -> VoteRecord:
        """The record as far as it speaks of this height."""
        return self.record.at(self._set_id, self._height)

    def allows(self, block_hash: bytes, shown: Certificate | None) -> bool:
        """Say whether the lock lets this member vote for a block that was proposed with a certificate, or without."""
        record = self.here
        if not record.lock_view_plus_one or record.lock_hash == block_hash:
            return True
        return shown is not None and shown.view >= record.lock_view_plus_one

    def prepare(
        self,
        view: int,
        kept: KeptBlock,
        now: int,
        standing: Standing,
        actions: list[Action],
    ) -> OwnVote | None:
        """Return a prepare vote for a block, or None where one would break what was signed before."""
        record = self.here
        if not self.may_sign or not record.may_vote(VotePhase.PREPARE, view):
            return None
        own = self._own(Vote(self._set_id, self._height, view, VotePhase.PREPARE, kept.block_hash, now, ZERO_HASH))
        voted = replace(record, prepare=own, high=standing.high, entered=standing.entered)
        self._write(voted.with_block(kept), actions)
        return own

    def commit(
        self,
        certificate: Certificate,
        now: int,
        statement: tuple[bytes, bytes],
        standing: Standing,
        actions: list[Action],
    ) -> OwnVote | None:
        """Lock on a prepare certificate and return the commit vote for its block, or None; ``statement``, its hash."""
        record = self.here
        if not self.may_sign or not record.may_vote(VotePhase.COMMIT, certificate.view):
            return None
        encoded, digest = statement
        place = (self._set_id, self._height, certificate.view)
        own = self._own(Vote(*place, VotePhase.COMMIT, certificate.block_hash, now, digest), encoded)
        locked = replace(
            record,
            commit=own,
            lock_view_plus_one=certificate.view + 1,
            lock_hash=certificate.block_hash,
            high=standing.high,
            entered=standing.entered,
        )
        self._write(locked, actions)
        return own

    def give_up(self, view: int, standing: Standing, actions: list[Action]) -> OwnTimeout | None:
        """Return the timeout of a view: the one signed before, or a new one; None where nothing may be signed."""
        record = self.here
        named = standing.high.view if standing.high else 0
        if not self.may_sign or max(record.view, named) > view:
            return None
        if record.timeout is not None and record.timed_out_view == view:
            return record.timeout
        assert self.member is not None
        timeout = Timeout(self._set_id, self._height, view, standing.high.view + 1 if standing.high else 0)
        own = OwnTimeout(timeout, self.member.sign(self._checker.timeout_message(timeout)))
        self._write(replace(record, timeout=own, high=standing.high, entered=standing.entered), actions)
        return own

    def set_floor(self, floor: int, actions: list[Action]) -> None:
        """End the time of a restored record: nothing is signed up to ``floor``, whatever is asked."""
        self._write(replace(self.record, floor=max(floor, self.record.floor), restored=False), actions)

    def keep_restored(self, actions: list[Action]) -> None:
        """Write down that the record is restored, so that another restart does not forget it."""
        self._write(self.record, actions)

    def _own(self, vote: Vote, statement: bytes = b"") -> OwnVote:
        assert self.member is not None
        return OwnVote(vote, self.member.sign(self._checker.vote_message(vote)), statement)

    def _write(self, record: VoteRecord, actions: list[Action]) -> None:
        self.record = record.next_generation()
        actions.append(Persist(self.record.encode()))
