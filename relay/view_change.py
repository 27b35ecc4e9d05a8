"""How a height goes to its next view: timeouts signed and repeated, joined, certified, and laggards helped on.

A member that gives up says so to all and says it again until the view changes or the height is decided; so whatever
was lost is said again, and whoever hears a timeout of a view that is over answers with what ended it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.types import VotePhase
from relay.errors import MessageRefused
from relay.messages import CertificateMessage, TimeoutCertificateMessage, TimeoutMessage
from relay.pacemaker import NEVER
from relay.proposals import check_proposal
from relay.tally import VIEW_WINDOW, TimeoutTally

if TYPE_CHECKING:
    from engine.validators import Certificate
    from relay.desk import Desk
    from relay.messages import Proposal
    from relay.round import Round
    from relay.timeouts import TimeoutCertificate

__all__ = ["ViewChange"]


class ViewChange:
    """The view changes of one round."""

    def __init__(self, desk: Desk, round_: Round) -> None:
        self.desk = desk
        self.round = round_
        self.tally = TimeoutTally(desk.checker, round_.validators)

    def begin(self, view: int, entered: TimeoutCertificate | None) -> None:
        """Enter a view and wake its leader."""
        self.round.enter(view, entered)
        self.tally.forget_before(view)
        if view > 0:
            self.round.propose()

    def time_out(self) -> None:
        """Give up the current view: durably, then to all. A member that may not sign waits for the others."""
        signer, round_ = self.desk.signer, self.round
        self.desk.pacemaker.view_end = NEVER
        self.desk.pacemaker.propose = NEVER
        self.desk.pacemaker.repeat = self.desk.now + self.desk.view_ns
        own = signer.give_up(round_.view, round_.standing, self.desk.actions)
        if own is None or signer.index is None:
            return
        self.desk.counters.timeouts += 1
        message = TimeoutMessage(signer.index, own.timeout, own.signature, self._named(own.timeout.high_view_plus_one))
        self.desk.send_all(message)
        self.tally.add(message, own_word=True)
        self._advance()

    def _named(self, high_view_plus_one: int) -> bytes:
        """Return the prepare certificate that a timeout of this member named, or none.

        A later one that it got since does not fit what it signed, and goes out with its next timeout.
        """
        high = self.round.witness.prepared(high_view_plus_one - 1) if high_view_plus_one else None
        return high.encode() if high else b""

    def repeat(self) -> None:
        """Say the timeout again if the view was given up, otherwise what the leader has to say."""
        given_up = self.round.gave_up_view >= self.round.view or self.desk.pacemaker.view_end == NEVER
        # Who gave up when it might not sign, and may now, has still to say so.
        if given_up or not self.desk.signer.may_sign:
            self.time_out()
        else:
            self.round.repeat()

    def on_timeout(self, sender: int | None, message: TimeoutMessage) -> None:
        """Count a member's timeout; join when more than F gave up, go on when a quorum did."""
        timeout, round_ = message.timeout, self.round
        if message.index >= len(round_.validators.members):
            raise MessageRefused("unknown_member", str(message.index))
        if timeout.set_id != round_.validators.set_id:
            raise MessageRefused("wrong_set", str(timeout.set_id))
        if timeout.view >= round_.view + VIEW_WINDOW:
            raise MessageRefused("view_window", f"{timeout.view}, now {round_.view}")
        high = self._read_high(message)
        if high is not None:
            round_.on_prepared(high)
        if timeout.view < round_.view:
            self._help(sender, timeout.view)
            return
        self.tally.forget_before(round_.view)
        if self.tally.add(message, own_word=sender == message.index):
            self._advance()

    def _read_high(self, message: TimeoutMessage) -> Certificate | None:
        named = message.timeout.high_view_plus_one
        if not named:
            if message.high:
                raise MessageRefused("superfluous_certificate", "beside a timeout that names none")
            return None
        if not message.high:
            raise MessageRefused("certificate_missing", f"of view {named - 1}")
        high = self.desk.read_certificate(message.high, self.round.validators, self.round.height, VotePhase.PREPARE)
        if high.view != named - 1:
            raise MessageRefused("wrong_view", f"a certificate of view {high.view}, not {named - 1}")
        known = self.round.witness.prepared(high.view)
        if known is not None and known.block_hash == high.block_hash:
            return known
        self.desk.demand(self.round.validators, high)
        return high

    def _help(self, sender: int | None, view: int) -> None:
        """Answer a timeout of a view that is over with what ended it."""
        round_, entered, high = self.round, self.round.entered, self.round.high
        if sender is None or not self.desk.limit.allows(sender, "help", self.desk.now):
            return
        encoded = high.encode() if high else b""
        if entered is not None and entered.view >= view and round_.view == entered.view + 1:
            self.desk.send(sender, TimeoutCertificateMessage(entered.encode(), encoded))
        elif high is not None and high.view > view:
            self.desk.send(sender, CertificateMessage(encoded))

    def _advance(self) -> None:
        """Draw the consequences of the timeouts counted so far."""
        round_ = self.round
        if self.desk.signer.may_sign and round_.gave_up_view < round_.view and self.tally.many_gave_up(round_.view):
            self.desk.counters.joined += 1
            self.time_out()
            return
        for view in sorted(self.tally.slots, reverse=True):
            made = self.tally.certify(view)
            if made is None:
                continue
            self.take(made)
            leader = round_.leader(round_.view)
            self.desk.send(leader, TimeoutCertificateMessage(made.encode(), self._high_bytes()))
            return

    def _high_bytes(self) -> bytes:
        return self.round.high.encode() if self.round.high else b""

    def on_certificate(self, message: TimeoutCertificateMessage) -> None:
        """Take a timeout certificate and the prepare certificate beside it."""
        round_ = self.round
        entered = self.desk.read_timeout_certificate(message.certificate, round_.validators, round_.height)
        high = None
        if message.high:
            high = self.desk.read_certificate(message.high, round_.validators, round_.height, VotePhase.PREPARE)
        if max(high.view + 1 if high else 0, round_.high.view + 1 if round_.high else 0) < entered.high_view_plus_one:
            raise MessageRefused("certificate_missing", f"of view {entered.high_view_plus_one - 1}")
        if high is not None:
            self.desk.demand(round_.validators, high)
            round_.on_prepared(high)
        if entered.view >= round_.view:
            self.desk.demand(round_.validators, entered)
            self.take(entered)

    def on_proposal(self, message: Proposal) -> None:
        """Take a proposal with the certificates that justify it, which may bring this member to its view."""
        entered, shown = check_proposal(self.round, message)
        if entered is not None and entered.view >= self.round.view:
            self.take(entered)
        elif entered is not None:
            self.round.found(self.round.witness.saw_timeout_certificate(entered))
            if self.round.entered is None or self.round.entered.view < entered.view:
                self.round.entered = entered
        if shown is not None:
            self.round.on_prepared(shown)
        self.round.on_proposal(message, shown)

    def take(self, entered: TimeoutCertificate) -> None:
        """Go to the view after a timeout certificate that holds."""
        self.round.found(self.round.witness.saw_timeout_certificate(entered))
        if entered.view >= self.round.view:
            self.begin(entered.view + 1, entered)
