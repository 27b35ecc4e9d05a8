"""What a core has seen of the height in progress is there for whoever keeps a block of it that came by another way."""

from __future__ import annotations

from engine.types import VotePhase
from relay.messages import CertificateMessage
from tests.behaviour.relay_doubles import START, SUITE, Solo, finals


def test_the_transcript_of_the_height_in_progress_holds_what_proposals_showed() -> None:
    """Sync may bring the final block before the certificate comes: the timeouts seen are what names the guilty."""
    solo, leader = Solo(index=3), 1
    entered = solo.timeouts([0, 1, 2], 0)
    block = solo.block(view=1)
    solo.take(solo.proposal(leader, block, 1, entered=entered), leader)
    solo.take(CertificateMessage(solo.certificate([0, 1, 2], block.hash(SUITE), 1).encode()), leader)
    seen = solo.core.transcript
    assert seen.timeouts == (entered,)
    assert [(each.phase, each.view) for each in seen.certificates] == [(VotePhase.PREPARE, 1)]
    assert solo.core.height == 1
    commit = solo.certificate([0, 1, 2], block.hash(SUITE), 1, VotePhase.COMMIT)
    final = finals(solo.take(CertificateMessage(commit.encode()), leader))[0]
    assert final.transcript.timeouts == seen.timeouts
    assert solo.core.height == 2
    assert solo.core.transcript.certificates == ()
    assert solo.now == START
