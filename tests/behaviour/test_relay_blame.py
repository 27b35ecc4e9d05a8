"""Two final blocks of one height name more than a third with proofs, and nothing names an honest member."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.evidence import ConflictingVotes, DeniedCertificate, decode_evidence
from engine.refusals import EncodingError
from engine.types import VotePhase
from relay.blame import blame, conflicting_votes, denied_certificate, verify_guilt
from relay.errors import BlameRefused
from relay.transcript import Transcript
from relay.witness import Witness
from tests.behaviour.relay_doubles import GENESIS_HASH, SUITE, Hands, Net, validator_set

COMMIT, PREPARE = VotePhase.COMMIT, VotePhase.PREPARE
ONE, OTHER = b"\1" * 32, b"\2" * 32


def named(hands: Hands, *transcripts: Transcript) -> list[int]:
    culprits = blame(SUITE, GENESIS_HASH, hands.validators, transcripts)
    for proof in culprits.proofs.values():
        verify_guilt(proof, SUITE, GENESIS_HASH, hands.validators)
        assert decode_evidence(proof.encode()) == proof
    assert culprits.more_than_third == (culprits.power > hands.validators.fault_max)
    return sorted(culprits.proofs)


def test_two_commits_of_one_view_name_who_signed_both() -> None:
    hands = Hands()
    first = Transcript((hands.certificate((0, 1, 2), ONE, phase=COMMIT),))
    second = Transcript((hands.certificate((1, 2, 3), OTHER, phase=COMMIT),))
    assert named(hands, first, second) == [1, 2]
    assert named(hands, first) == []


def test_a_later_fork_names_who_denied_the_certificate() -> None:
    """Committed at view 0; the quorum that gave up view 0 says that nothing was certified; another block at view 1."""
    hands = Hands()
    first = Transcript((hands.certificate((0, 1, 2), ONE), hands.certificate((0, 1, 2), ONE, phase=COMMIT)))
    second = Transcript(
        (hands.certificate((1, 2, 3), OTHER, 1), hands.certificate((1, 2, 3), OTHER, 1, COMMIT)),
        (hands.timeouts((1, 2, 3), 0),),
    )
    assert named(hands, first, second) == [1, 2]


def test_a_fork_through_an_older_certificate_names_its_deniers() -> None:
    """Certified at 0, the other block committed at 2, then the first again at 4 with timeouts that name view 0 alone."""
    hands = Hands((1,) * 7)
    old = hands.certificate(range(5), OTHER)
    first = Transcript((hands.certificate(range(5), ONE, 2), hands.certificate(range(5), ONE, 2, COMMIT)))
    denying = hands.timeouts(range(2, 7), 3, dict.fromkeys(range(2, 7), old))
    second = Transcript((old, hands.certificate(range(2, 7), OTHER, 4, COMMIT)), (denying,))
    assert named(hands, first, second) == [2, 3, 4]


def test_two_prepare_certificates_of_one_view_name_who_signed_both() -> None:
    hands = Hands()
    first = Transcript((hands.certificate((0, 1, 2), ONE, 3),))
    second = Transcript((hands.certificate((0, 2, 3), OTHER, 3),))
    assert named(hands, first, second) == [0, 2]


def test_what_does_not_hold_names_nobody() -> None:
    hands = Hands()
    good = hands.certificate((0, 1, 2), ONE, phase=COMMIT)
    forged = replace(hands.certificate((1, 2, 3), OTHER, phase=COMMIT), block_hash=b"\3" * 32)
    few = hands.certificate((1, 2), OTHER, phase=COMMIT)
    other_set = hands.certificate((1, 2, 3), OTHER, phase=COMMIT, set_id=2)
    assert named(hands, Transcript((good, forged, few, other_set))) == []


def test_honest_views_name_nobody() -> None:
    """Voted to commit at 1; gave up 0 before and 1 after, naming it; the block again at 2."""
    hands = Hands()
    prepared = hands.certificate((0, 1, 2), ONE, 1)
    transcript = Transcript(
        (prepared, hands.certificate((0, 1, 2), ONE, 1, COMMIT), hands.certificate((0, 1, 3), ONE, 2, COMMIT)),
        (hands.timeouts((0, 1, 2), 0), hands.timeouts((0, 1, 3), 1, {0: prepared, 1: prepared})),
    )
    assert named(hands, transcript) == []


def test_transcripts_of_an_honest_network_read_back_and_name_nobody() -> None:
    net = Net().all_up()
    net.down(1)
    net.until(5)
    for height in range(1, 6):
        told = [disk.finals[height].transcript for disk in net.disks if height in disk.finals]
        for transcript in told:
            assert Transcript.decode(transcript.encode()) == transcript
            assert transcript.certificates[-1].phase is COMMIT
        assert not blame(SUITE, GENESIS_HASH, net.validators, told).proofs
    assert any(disk.finals[2].transcript.timeouts for disk in net.disks if 2 in disk.finals)


def test_a_proof_that_proves_nothing_is_refused() -> None:
    hands = Hands()
    pair = [(m.vote, m.signature) for m in (hands.vote(1, ONE), hands.vote(1, OTHER))]
    good = conflicting_votes(1, *pair)
    verify_guilt(good, SUITE, GENESIS_HASH, hands.validators)
    later = hands.vote(1, OTHER, 1)
    commit = hands.vote(1, ONE, 2, COMMIT)
    said = hands.timeout(1, 2)
    denied = denied_certificate(1, (commit.vote, commit.signature), (said.timeout, said.signature))
    verify_guilt(denied, SUITE, GENESIS_HASH, hands.validators)
    earlier, naming = hands.timeout(1, 1), hands.timeout(1, 2, hands.certificate((0, 1, 2), ONE, 2))
    wrong = [
        replace(good, member=2),
        replace(good, member=9),
        replace(good, second=good.first),
        replace(good, second=replace(good.second, vote=later.vote, signature=later.signature)),
        replace(good, second=replace(good.second, signature=bytes(64))),
        denied_certificate(1, (commit.vote, commit.signature), (earlier.timeout, earlier.signature)),
        denied_certificate(1, (commit.vote, commit.signature), (naming.timeout, naming.signature)),
        replace(denied, signature=bytes(64)),
        denied_certificate(1, pair[0], (said.timeout, said.signature)),
    ]
    for proof in wrong:
        with pytest.raises(BlameRefused):
            verify_guilt(proof, SUITE, GENESIS_HASH, hands.validators)
    with pytest.raises(BlameRefused):
        verify_guilt(good, SUITE, GENESIS_HASH, validator_set((1, 1, 1, 1), 2))
    with pytest.raises(BlameRefused):
        verify_guilt(good, SUITE, bytes(32), hands.validators)
    assert isinstance(good, ConflictingVotes)
    assert isinstance(denied, DeniedCertificate)


def test_a_transcript_of_other_bytes_is_refused() -> None:
    hands = Hands()
    data = Transcript((hands.certificate((0, 1, 2), ONE),), (hands.timeouts((0, 1, 2)),)).encode()
    for wrong in (b"", data[:-1], data + b"\0", b"X" + data[1:], data[:12] + b"\xff" + data[13:]):
        with pytest.raises(EncodingError):
            Transcript.decode(wrong)


def test_a_witness_keeps_what_a_proposal_showed_beside_its_own() -> None:
    hands = Hands()
    witness = Witness()
    own, shown = hands.timeouts((0, 1, 2)), hands.timeouts((1, 2, 3))
    for each in (own, shown, own):
        witness.saw_timeout_certificate(each)
    assert witness.transcript().timeouts == (own, shown)


def test_a_witness_is_bounded() -> None:
    hands = Hands()
    witness = Witness()
    for view in range(100):
        witness.saw_timeout_certificate(hands.timeouts((0, 1, 2), view))
        witness.saw_certificate(hands.certificate((0, 1, 2), ONE, view))
    assert len(witness.certificates) <= 64
    assert len(witness.votes) <= 16
    assert all(len(each) <= 16 for each in witness.timeouts.values())
    assert Transcript.decode(witness.transcript().encode()) == witness.transcript()
