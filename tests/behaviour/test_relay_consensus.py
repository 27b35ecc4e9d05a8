"""The validator core finalizes with a quorum and only with one, whatever the order, loss or restart (SEMANTICS 6)."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from engine.development import development_network
from engine.genesis import padded_key
from engine.refusals import CertificateRefused
from engine.types import VotePhase
from engine.validators import Statement, Validator, ValidatorSet
from relay.actions import ALL, Behind, EvidenceFound, Persist, Send
from relay.blame import verify_guilt
from relay.checker import Checker
from relay.errors import BlockRefused
from relay.messages import (
    BlockMessage,
    BlockRequest,
    CertificateMessage,
    Proposal,
    Status,
    StatusRequest,
    TimeoutCertificateMessage,
    TimeoutMessage,
    VoteMessage,
)
from relay.offers import Sidecar
from relay.pool import Pool
from relay.ports import ConsensusSettings
from relay.state import RelayState
from relay.vote_record import VoteRecord
from tests.behaviour.relay_doubles import (
    GENESIS_HASH,
    MS,
    REFUSED_PREIMAGE,
    START,
    SUITE,
    FakeState,
    Hands,
    Net,
    Solo,
    finals,
    keys,
    reveal,
    reveal_record,
    sent,
    validator_set,
)

COMMIT, PREPARE = VotePhase.COMMIT, VotePhase.PREPARE


# Whole networks.


@pytest.mark.parametrize("powers", [(1, 1, 1, 1), (1,) * 7, (3, 3, 2, 2, 1), (5, 4, 4, 3, 3)])
def test_all_finalize_the_same_blocks(powers: tuple[int, ...]) -> None:
    net = Net(powers).all_up()
    net.until(8)
    net.agree()
    assert not net.evidence
    assert all(core.view == 0 and not core.counters.timeouts for core in net.cores)


def test_messages_of_a_block_are_linear_in_the_set() -> None:
    """Proposal, prepare votes, prepare certificate, commit votes, commit certificate: five times n - 1."""
    for count in (4, 7, 10):
        net = Net((1,) * count).all_up()
        net.until(5)
        assert net.sent == 5 * 5 * (count - 1)


def test_certificates_are_checked_once_and_votes_in_batches() -> None:
    """A member checks the proposal, two certificates; the leader each vote once: nothing twice."""
    net = Net((1,) * 10).all_up()
    net.until(6)
    checkers = {id(core.desk.checker) for core in net.cores}
    assert len(checkers) == 1
    for at in range(10):
        solo = Solo(at, (1,) * 10)
        block = solo.block(reveal(1))
        if at == 0:
            continue
        solo.take(solo.proposal(0, block))
        before = solo.core.desk.checker.verified
        prepared = solo.certificate(range(7), block.hash(SUITE))
        for _ in range(3):
            solo.take(CertificateMessage(prepared.encode()))
        assert solo.core.desk.checker.verified == before + 7


def test_a_leader_with_work_proposes_at_once_and_one_without_after_a_while() -> None:
    net = Net().all_up()
    net.until(3)
    idle = net.now
    net.until(4)
    assert net.now - idle == 200 * MS
    leader = next(at for at, core in enumerate(net.cores) if core.round.leads)
    net.now += 50 * MS
    net.perform(leader, net.cores[leader].offer(reveal(7), net.now))
    net.deliver()
    assert all(net.disks[at].state.height == 5 for at in range(4))
    assert net.disks[0].finals[5].block.preimages() == ((7).to_bytes(32, "little"),)


def test_blocks_keep_their_interval() -> None:
    net = Net(settings=ConsensusSettings(block_interval_ns=30 * MS)).all_up()
    for core in net.cores:
        for number in range(100):
            core.pool.offer(reveal(number), core.state)
            core.pool.take = lambda state: []
    begun = net.now
    net.until(11)
    assert net.now - begun == 10 * 30 * MS


@pytest.mark.parametrize(
    "wrong", [{"idle_ns": 500 * MS}, {"view_ns": 0}, {"view_ns_max": 100 * MS}, {"block_interval_ns": 300 * MS}]
)
def test_times_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="is asked for"):
        ConsensusSettings(**wrong)


@pytest.mark.parametrize("dead", range(4))
def test_a_dead_leader_costs_one_view(dead: int) -> None:
    net = Net().all_up()
    net.down(dead)
    begun = net.now
    net.until(4)
    net.agree()
    assert net.now - begun <= (500 + 3 * 200 + 1) * MS
    assert max(core.counters.timeouts for core in net.cores if core) == 1


def test_progress_needs_a_quorum_and_the_wait_is_bounded() -> None:
    """Two of four finalize nothing; views grow to eight seconds and not beyond; then all four go on."""
    net = Net().all_up()
    net.down(0)
    net.down(1)
    while net.now < START + 100_000 * MS:
        net.step()
    assert all(disk.state.height == 0 for disk in net.disks)
    net.up(0)
    net.up(1)
    healed = net.now
    net.until(3)
    assert net.now - healed <= 9_000 * MS


def test_power_counts_and_not_heads() -> None:
    """Members with 6 of 13 are two of five: without them there is no quorum, with the strong alone there is one."""
    net = Net((4, 4, 2, 2, 1)).all_up()
    net.down(4)
    net.down(3)
    net.until(3)
    net = Net((4, 4, 2, 2, 1)).all_up()
    net.down(0)
    net.down(4)
    for _ in range(20):
        net.step()
    assert all(disk.state.height == 0 for disk in net.disks)


@pytest.mark.parametrize(
    ("powers", "quorum", "fault_max"),
    [
        ((1,) * 4, 3, 1),
        ((1,) * 7, 5, 2),
        ((1,) * 10, 7, 3),
        ((1,) * 33, 23, 10),
        ((1,) * 100, 67, 33),
        ((3, 3, 2, 2, 1), 8, 3),
    ],
)
def test_quorum_arithmetic(powers: tuple[int, ...], quorum: int, fault_max: int) -> None:
    """F = (P - 1) div 3; a quorum is the least power above two thirds; two quorums share more than F."""
    validators = validator_set(powers)
    assert validators.fault_max == fault_max
    assert validators.is_quorum(quorum)
    assert not validators.is_quorum(quorum - 1)
    assert 2 * quorum - validators.power > fault_max


@pytest.mark.parametrize("powers", [(2, 1, 1, 1), (1, 1, 1), (34,) + (1,) * 66, (2**64 - 1, 1, 1, 1)])
def test_a_set_where_too_few_suffice_is_refused(powers: tuple[int, ...]) -> None:
    with pytest.raises(CertificateRefused):
        validator_set(powers)


def schedule(seed: int) -> Net:
    """A network whose messages arrive in any order, some twice, some never, until it heals."""
    chance = random.Random(seed)
    net = Net(chance.choice([(1, 1, 1, 1), (3, 3, 2, 2, 1)])).all_up()
    healing = START + 4_000 * MS
    steps = 0
    while min(disk.state.height for disk in net.disks) < 6 or net.now < healing:
        steps += 1
        assert steps < 6_000
        if net.queue and chance.random() < 0.97:
            source, target, message = net.queue.pop(chance.randrange(len(net.queue)))
            fate = chance.random() if net.now < healing else 1
            if fate < 0.1:
                continue
            if fate < 0.2:
                net.queue.append((source, target, message))
            net.perform(target, net.cores[target].receive(net.index_at(target, source), message, net.now))
        else:
            net.now += chance.randrange(1, 60) * MS
            for at, core in enumerate(net.cores):
                if core.next_wake <= net.now:
                    net.perform(at, core.tick(net.now))
        net.sync()
        net.agree()
    return net


@pytest.mark.parametrize("seed", range(12))
def test_order_loss_and_repetition_change_nothing(seed: int) -> None:
    net = schedule(seed)
    assert not net.evidence
    assert not net.forks


# Every order of arrival at one member.


def test_a_leader_takes_votes_in_every_order() -> None:
    """Prepare and commit votes of three others in all 720 orders: the same block is final, once."""
    leader = Solo(0)
    proposal = sent(leader.started, Proposal)[0]
    name = proposal.vote.block_hash
    votes = [leader.vote(index, name, phase=phase) for index in (1, 2, 3) for phase in (PREPARE, COMMIT)]
    for order in permutations(votes):
        solo = Solo(0)
        done = [final for vote in order for final in finals(solo.take(vote, vote.index))]
        assert [final.block.hash(SUITE) for final in done] == [name]
        assert solo.core.height == 2


def test_a_voter_takes_a_height_in_every_order() -> None:
    """Proposal, both certificates and the next proposal in all orders, with the asked block where it is asked for."""
    hands = Hands()
    block = hands.block(reveal(1))
    name = block.hash(SUITE)
    commit = hands.certificate((0, 2, 3), name, phase=COMMIT)
    later = Hands(state=hands.state.after(block, commit))
    following = later.block(reveal(2), certificate=commit)
    messages = [
        hands.proposal(0, block),
        CertificateMessage(hands.certificate((0, 2, 3), name).encode()),
        CertificateMessage(commit.encode()),
        later.proposal(1, following),
    ]
    for order in permutations(messages):
        solo = Solo(2)
        actions = [action for message in order for action in solo.take(message)]
        assert [final.block.hash(SUITE) for final in finals(actions)] == [name]
        assert solo.core.height == 2
        heights = [vote.vote.height for vote in sent(actions, VoteMessage) if vote.vote.phase is PREPARE]
        assert heights[-1] == 2, "the next proposal was voted for, however early it came"


def test_votes_for_the_next_height_wait_for_it() -> None:
    """The leader of height 2 is told of height 1 last of all."""
    hands = Hands()
    block = hands.block()
    commit = hands.certificate((0, 2, 3), block.hash(SUITE), phase=COMMIT)
    later = Hands(state=hands.state.after(block, commit))
    solo = Solo(1)
    solo.take(hands.proposal(0, block))
    early = solo.take(later.timeout(3), 3)
    assert sent(early, StatusRequest, to=3)
    actions = solo.take(CertificateMessage(commit.encode()))
    assert len(finals(actions)) == 1
    assert solo.core.changes.tally.slots[0].keys() == {3}


# What a voter signs.


def voted(actions) -> list[tuple[VotePhase, int, bytes]]:
    return [(each.vote.phase, each.vote.view, each.vote.block_hash) for each in sent(actions, VoteMessage)]


def test_a_vote_is_durable_before_it_is_sent() -> None:
    solo = Solo(1)
    block = solo.block()
    name = block.hash(SUITE)
    for message, phase in (
        (solo.proposal(0, block), PREPARE),
        (CertificateMessage(solo.certificate((0, 2, 3), name).encode()), COMMIT),
    ):
        actions = solo.take(message)
        assert [type(each) for each in actions] == [Persist, Send]
        record = VoteRecord.decode(actions[0].record)
        own = record.prepare if phase is PREPARE else record.commit
        assert own.vote == sent(actions)[0].vote
        assert record == solo.core.votes
    actions = solo.wait(500)
    assert [type(each) for each in actions[:2]] == [Persist, Send]
    assert VoteRecord.decode(actions[0].record).timed_out_view == 0


def test_each_vote_is_given_once_and_said_again_unchanged() -> None:
    solo = Solo(1)
    block, other = solo.block(), solo.block(reveal(1))
    first = solo.take(solo.proposal(0, block))
    solo.now += 5 * MS
    again = solo.take(solo.proposal(0, block))
    assert sent(again) == sent(first)
    assert not [each for each in again if isinstance(each, Persist)]
    assert not sent(solo.take(solo.proposal(0, other)))


def test_a_member_that_gave_up_a_view_votes_in_it_no_more() -> None:
    solo = Solo(1)
    block = solo.block()
    solo.take(solo.proposal(0, block))
    solo.wait(500)
    assert not voted(solo.take(CertificateMessage(solo.certificate((0, 2, 3), block.hash(SUITE)).encode())))
    assert solo.core.round.high is not None, "it remembers the certificate for its next timeout"


def test_the_lock_holds_against_another_block_and_yields_to_a_later_certificate() -> None:
    """Locked on view 0: in view 1 only that block; in view 3 the block that view 2 certified."""
    solo = Solo(3)
    block, other = solo.block(), solo.block(reveal(1), view=1)
    zero = solo.certificate((0, 1, 2), block.hash(SUITE))
    solo.take(solo.proposal(0, block))
    solo.take(CertificateMessage(zero.encode()))
    assert solo.core.votes.lock_view_plus_one == 1
    given_up = solo.timeouts((0, 1, 2))
    assert solo.take(solo.proposal(1, other, 1, entered=given_up)) != []
    assert solo.core.counters.refused == {"locked": 1}
    later = solo.timeouts((0, 1, 2), 2)
    certified = solo.certificate((0, 1, 2), other.hash(SUITE), 2)
    shown = {index: certified for index in (0, 1, 2)}
    entered = solo.timeouts((0, 1, 2), 3, shown)
    actions = solo.take(solo.proposal(0, other, 4, entered=entered, high=certified))
    assert (PREPARE, 4, other.hash(SUITE)) in voted(actions)
    assert later.view == 2


def test_the_locked_block_is_proposed_again() -> None:
    """The leader of view 1 knows a prepare certificate of view 0: it proposes that block, unchanged."""
    solo = Solo(1)
    block = solo.block(reveal(4))
    solo.take(solo.proposal(0, block))
    prepared = solo.certificate((0, 2, 3), block.hash(SUITE))
    solo.take(CertificateMessage(prepared.encode()))
    solo.wait(500)
    actions = [solo.take(solo.timeout(index), index) for index in (2, 3)][-1]
    proposal = sent(actions, Proposal)[0]
    assert proposal.block == block.encode()
    assert (proposal.vote.view, proposal.high) == (1, prepared.encode())


def test_a_leader_without_the_block_asks_for_it_and_then_proposes_it() -> None:
    solo = Solo(1)
    block = solo.block(reveal(4))
    prepared = solo.certificate((0, 2, 3), block.hash(SUITE))
    solo.wait(500)
    solo.take(solo.timeout(2, 0, prepared), 2)
    actions = solo.take(solo.timeout(3), 3)
    assert not sent(actions, Proposal)
    asked = [sent(solo.wait(wait), BlockRequest) for wait in (0, 100, 100)]
    assert [len(each) for each in asked] == [1, 1, 1]
    wrong = BlockMessage(1, block.hash(SUITE), solo.block().encode())
    assert solo.refusal(wrong) == "block_hash"
    actions = solo.take(BlockMessage(1, block.hash(SUITE), block.encode()), 3)
    assert sent(actions, Proposal)[0].block == block.encode()
    assert solo.refusal(BlockMessage(1, block.hash(SUITE), block.encode()), 3) == "not_asked_for"


def test_a_commit_vote_states_what_was_executed_and_held() -> None:
    solo = Solo(1)
    block = solo.block()
    solo.take(solo.proposal(0, block))
    vote = sent(solo.take(CertificateMessage(solo.certificate((0, 2, 3), block.hash(SUITE)).encode())), VoteMessage)[0]
    assert Statement.decode(vote.statement) == Statement.of(0)
    assert Statement.decode(vote.statement).hash(SUITE) == vote.vote.executed_held
    assert vote.vote.time == solo.now


def test_a_member_that_missed_the_proposal_still_votes_to_commit() -> None:
    solo = Solo(1)
    block = solo.block()
    actions = solo.take(CertificateMessage(solo.certificate((0, 2, 3), block.hash(SUITE)).encode()))
    vote = sent(actions, VoteMessage)[0]
    assert (vote.vote.phase, vote.vote.executed_held, vote.statement) == (COMMIT, bytes(32), b"")
    actions = solo.take(CertificateMessage(solo.certificate((0, 2, 3), block.hash(SUITE), phase=COMMIT).encode()))
    asked = sent(solo.wait(0), BlockRequest)
    assert asked == [BlockRequest(1, block.hash(SUITE))]
    assert len(finals(solo.take(BlockMessage(1, block.hash(SUITE), block.encode()), 0))) == 1


def test_an_observer_follows_and_signs_nothing() -> None:
    solo = Solo(None)
    block = solo.block()
    actions = solo.take(solo.proposal(0, block))
    actions += solo.take(CertificateMessage(solo.certificate((0, 2, 3), block.hash(SUITE)).encode()))
    actions += solo.wait(500)
    assert not sent(actions, VoteMessage)
    assert not sent(actions, TimeoutMessage)
    done = solo.take(CertificateMessage(solo.certificate((0, 2, 3), block.hash(SUITE), phase=COMMIT).encode()))
    assert len(finals(done)) == 1


# View changes.


def test_more_than_f_timeouts_are_joined_and_a_quorum_moves_on() -> None:
    solo = Solo(2)
    assert not sent(solo.take(solo.timeout(0), 0))
    actions = solo.take(solo.timeout(3), 3)
    assert sent(actions, TimeoutMessage), "two of four gave up: one of them is honest"
    assert solo.core.view == 1
    assert solo.core.counters.joined == 1
    assert sent(actions, TimeoutCertificateMessage, to=1), "the next leader gets the certificate"


def test_a_leader_of_a_later_view_proposes_at_once() -> None:
    """Nothing waits for a fixed delay after a view change."""
    solo = Solo(1)
    solo.take(solo.timeout(0), 0)
    actions = solo.take(solo.timeout(3), 3)
    proposal = sent(actions, Proposal)[0]
    assert proposal.vote.view == 1
    assert solo.core.round.bodies.get(proposal.vote.block_hash).block.header.view == 1


def test_deadlines_double_up_to_eight_seconds() -> None:
    solo = Solo(1)
    spans = []
    for view in range(8):
        spans.append((solo.core.next_wake - solo.now) // MS)
        solo.now = solo.core.next_wake
        solo.core.tick(solo.now)
        for index in (0, 2, 3):
            solo.take(solo.timeout(index, view), index)
        assert solo.core.view == view + 1
    assert spans[:1] + spans[2:4] == [500, 2000, 4000]
    assert solo.core.desk.pacemaker.view_end - solo.now == 8000 * MS


def test_a_timeout_is_said_again_every_interval() -> None:
    solo = Solo(1)
    first = sent(solo.wait(500), TimeoutMessage)
    assert sent(solo.wait(100), TimeoutMessage) == []
    assert sent(solo.wait(400), TimeoutMessage) == first


def test_a_laggard_gets_what_ended_its_view() -> None:
    solo = Solo(2)
    given_up = solo.timeouts((0, 1, 3))
    solo.take(TimeoutCertificateMessage(given_up.encode()))
    assert solo.core.view == 1
    answer = sent(solo.take(solo.timeout(3), 3), to=3)
    assert answer == [TimeoutCertificateMessage(given_up.encode())]
    assert not sent(solo.take(solo.timeout(3), 3)), "and no more of it for a while"


def test_who_is_at_a_finished_height_gets_its_certificate() -> None:
    solo = Solo(1)
    block = solo.block()
    commit = solo.certificate((0, 2, 3), block.hash(SUITE), phase=COMMIT)
    solo.take(solo.proposal(0, block))
    solo.take(CertificateMessage(commit.encode()))
    assert sent(solo.take(solo.timeout(3), 3), to=3) == [CertificateMessage(commit.encode())]
    asked = solo.take(BlockRequest(1, block.hash(SUITE)), 2)
    assert sent(asked, to=2) == [
        BlockMessage(1, block.hash(SUITE), block.encode(), solo.core._neighbours._recent[1].kept.sidecar)
    ]


def test_a_certificate_of_a_later_view_takes_a_member_there() -> None:
    solo = Solo(1)
    block = solo.block(view=3)
    actions = solo.take(CertificateMessage(solo.certificate((0, 2, 3), block.hash(SUITE), 3).encode()))
    assert solo.core.view == 3
    assert voted(actions) == [(COMMIT, 3, block.hash(SUITE))]


# Behind.


def test_a_core_that_is_behind_says_so_and_votes_no_more() -> None:
    solo = Solo(1)
    block = solo.block()
    actions = solo.take(CertificateMessage(solo.certificate((0, 2, 3), b"\x07" * 32, phase=COMMIT, height=5).encode()))
    behind = [each for each in actions if isinstance(each, Behind)]
    assert [(each.height, each.certificate is not None) for each in behind] == [(5, True)]
    assert not solo.core.may_sign
    assert not voted(solo.take(solo.proposal(0, block)))
    assert not sent(solo.wait(500), TimeoutMessage)


def test_adopting_a_later_height_goes_on_from_there() -> None:
    solo = Solo(2)
    state = solo.state
    for _ in range(5):
        block = Hands(state=state).block(certificate=state.certificate)
        certificate = Hands(state=state).certificate((0, 2, 3), block.hash(SUITE), phase=COMMIT)
        state = state.after(block, certificate)
    solo.take(CertificateMessage(certificate.encode()))
    assert not solo.core.may_sign
    actions = solo.core.adopt(state, block, certificate, solo.now)
    assert not finals(actions)
    assert (solo.core.height, solo.core.may_sign) == (6, True)
    following = Hands(state=state)
    proposal = following.proposal(1, following.block(certificate=certificate))
    assert voted(solo.take(proposal, 1)) == [(PREPARE, 0, proposal.vote.block_hash)]
    assert solo.core.adopt(solo.state, block, certificate, solo.now) == []


def test_an_answer_shows_who_is_ahead() -> None:
    hands = Hands()
    block = hands.block()
    commit = hands.certificate((0, 2, 3), block.hash(SUITE), phase=COMMIT)
    solo = Solo(1)
    solo.take(hands.proposal(0, block))
    assert len(finals(solo.take(Status(START, 2, commit.encode()), 3))) == 1
    assert solo.refusal(Status(START + 1, 2, commit.encode()), 3) == "stale_answer"
    answer = sent(solo.take(StatusRequest(9), 3), Status)
    assert answer == [Status(9, 2, commit.encode())]


# Evidence.


def proofs(actions) -> list:
    found = [each.proof for each in actions if isinstance(each, EvidenceFound)]
    for proof in found:
        verify_guilt(proof, SUITE, GENESIS_HASH, validator_set((1, 1, 1, 1)))
    return found


def test_a_double_vote_is_evidence() -> None:
    solo = Solo(0)
    name = sent(solo.started, Proposal)[0].vote.block_hash
    solo.take(solo.vote(2, name), 2)
    found = proofs(solo.take(solo.vote(2, b"\x09" * 32), 2))
    assert [proof.member for proof in found] == [2]
    assert not proofs(solo.take(solo.vote(2, b"\x0a" * 32), 2)), "once is enough"


def test_a_double_proposal_is_evidence() -> None:
    solo = Solo(1)
    solo.take(solo.proposal(0, solo.block()))
    actions = solo.take(solo.proposal(0, solo.block(reveal(1))))
    assert [proof.member for proof in proofs(actions)] == [0]
    assert not voted(actions)
    assert solo.core.pool.items, "it waits to be proposed"


def test_a_certificate_for_another_block_than_the_leader_showed_is_evidence() -> None:
    solo = Solo(1)
    solo.take(solo.proposal(0, solo.block()))
    other = solo.certificate((0, 2, 3), solo.block(reveal(1)).hash(SUITE))
    assert [proof.member for proof in proofs(solo.take(CertificateMessage(other.encode())))] == [0]


def test_a_denied_certificate_is_evidence() -> None:
    solo = Solo(1)
    block = solo.block()
    name = block.hash(SUITE)
    solo.take(TimeoutCertificateMessage(solo.timeouts((0, 2, 3)).encode()))
    actions = solo.take(CertificateMessage(solo.certificate((0, 2, 3), name, phase=COMMIT).encode()))
    assert sorted(proof.member for proof in proofs(actions)) == [0, 2, 3]


def test_the_same_vote_with_another_time_is_no_evidence() -> None:
    solo = Solo(0)
    name = sent(solo.started, Proposal)[0].vote.block_hash
    solo.take(solo.vote(2, name), 2)
    actions = solo.take(solo.vote(2, name, time=START + 5), 2)
    assert not proofs(actions)


# Restarts.


class Crashing(Net):
    """Stops a member after its nth action, between a vote record and its vote as well, and starts it from its disk."""

    def __init__(self, victim: int, after: int, **more) -> None:
        super().__init__(**more)
        self.victim, self.left = victim, after

    def perform(self, at: int, actions) -> None:
        if at != self.victim or self.left < 0:
            super().perform(at, actions)
            return
        done = actions[: self.left]
        self.left -= len(actions)
        super().perform(at, done)
        if self.left < 0:
            self.up(at)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("after", range(24))
def test_a_member_may_die_after_any_action(victim: int, after: int) -> None:
    """No vote contradicts one before, and finality goes on with all four."""
    net = Crashing(victim, after).all_up()
    net.until(6)
    net.agree()
    assert not net.evidence


@pytest.mark.parametrize("after", range(0, 30, 3))
def test_all_members_may_die_at_once(after: int) -> None:
    net = Net().all_up()
    for _ in range(after):
        if net.queue:
            source, target, message = net.queue.pop(0)
            net.perform(target, net.cores[target].receive(net.index_at(target, source), message, net.now))
        else:
            net.step()
    net.queue.clear()
    before = max(disk.state.height for disk in net.disks)
    net.all_up()
    net.until(before + 3)
    net.agree()


def test_a_leader_says_its_proposal_again_after_a_restart() -> None:
    solo = Solo(0)
    before = sent(solo.started, Proposal)
    again = Solo(0, record=VoteRecord.decode(solo.core.votes.encode()))
    assert sent(again.started, Proposal) == before
    assert not [each for each in again.started if isinstance(each, Persist)]


def test_a_record_behind_the_chain_signs_nothing_until_it_knows_its_floor() -> None:
    """The vote record of height 2 beside a chain of height 6: silent, then signing above what it can have signed."""
    net = Net().all_up()
    net.until(2)
    old = net.disks[3].record
    net.until(6)
    net.down(3)
    net.until(8)
    net.disks[3].record = old
    core = net.up(3)
    assert core.votes.restored
    assert not core.may_sign
    net.deliver()
    assert not core.votes.restored
    assert core.votes.floor >= 9
    assert VoteRecord.decode(net.disks[3].record).floor == core.votes.floor
    net.until(core.votes.floor + 4)
    net.agree()
    assert net.cores[3].may_sign
    assert not net.evidence


def test_a_restored_member_stays_silent_over_restarts() -> None:
    net = Net(drop=lambda source, target, message: 3 in (source, target)).all_up()
    net.until(3, who=[0, 1, 2])
    net.up(3, restored=True)
    net.step()
    assert net.up(3).votes.restored
    assert not net.cores[3].may_sign


def test_a_restored_member_needs_a_quorum_of_others_and_fresh_answers() -> None:
    record = VoteRecord.opened(None, 0, restored=True)
    solo = Solo(1, record=record)
    assert sent(solo.started, StatusRequest)
    assert sent(solo.wait(500), StatusRequest)
    for index in (0, 2):
        solo.take(Status(START, 1), index)
        solo.take(Status(START, 1), index)
    assert not solo.core.votes.floor
    solo.take(Status(START - 1, 1), 3)
    assert solo.core.votes.restored
    solo.take(Status(START, 1), 3)
    assert (solo.core.votes.restored, solo.core.votes.floor) == (False, 2)
    assert not solo.core.may_sign


def test_nobody_trusts_an_unproven_height() -> None:
    """A lie of a far height does not silence a restored member for ever."""
    solo = Solo(1, record=VoteRecord.opened(None, 0, restored=True))
    assert solo.take(Status(START, 10), 3)
    assert solo.core.counters.refused == {"certificate_malformed": 1}
    for index in (0, 2):
        solo.take(Status(START, 1), index)
    assert solo.core.votes.restored


def test_restored_members_do_not_answer() -> None:
    solo = Solo(1, record=VoteRecord.opened(None, 0, restored=True))
    assert not sent(solo.take(StatusRequest(5), 2), Status)


def test_a_chain_older_than_the_vote_record_waits() -> None:
    """The record says height 4, the chain ends at 1: heights 2 and 3 were voted on, nobody knows how."""
    net = Net().all_up()
    net.until(4)
    record = VoteRecord.decode(net.disks[2].record)
    assert record.height >= 4
    state = FakeState((net.validators,))
    solo = Solo(2, state=state, record=record)
    assert not solo.core.may_sign
    assert not voted(solo.take(solo.proposal(0, solo.block())))


# Sets that change.


def test_a_set_changes_without_a_stop() -> None:
    """From height 4 on another set decides: four members in another order, one of them new, one gone."""
    old, later = keys(5)[:4], [keys(5)[at] for at in (4, 2, 0, 1)]
    first = ValidatorSet(1, 1, tuple(Validator(k.participant, k.suite, 1, padded_key(k.public_key)) for k in old))
    second = ValidatorSet(2, 4, tuple(Validator(k.participant, k.suite, 1, padded_key(k.public_key)) for k in later))
    net = Net((1,) * 5, sets=(first, second)).all_up()
    net.until(8, who=[0, 1, 2, 4])
    net.agree()
    assert net.disks[4].state.height >= 8
    certificate = net.disks[0].finals[6].certificate
    assert certificate.set_id == 2
    assert net.cores[4].index == 0
    assert not net.cores[3].may_sign
    assert not net.evidence


# With the relay's own state.


class RealNet(Net):
    """The same loop around ``RelayState`` and the pool."""

    def __init__(self, count: int) -> None:
        network = development_network(b"relay", validators=count)
        super().__init__((1,) * count, state=RelayState.begin(network.genesis))
        self.keys, self.now = list(network.validators), network.genesis.time
        self.checker = Checker(self.genesis_state.suite, network.genesis.hash)

    def pool(self) -> Pool:
        return Pool()

    def note_signed(self, at: int, data: bytes) -> None:
        """Its messages are of another genesis than the hands'."""

    def agree(self) -> None:
        heights = [
            {disk.finals[height].block.hash(SUITE) for disk in self.disks if height in disk.finals}
            for height in range(1, 40)
        ]
        assert all(len(each) <= 1 for each in heights)


def test_the_relays_state_is_agreed_and_a_dead_leader_skipped() -> None:
    """The chain says who failed: in 30 heights with one of four dead, views fail when it leads, and then less and less."""
    net = RealNet(4).all_up()
    net.until(6)
    net.down(2)
    net.until(36)
    net.agree()
    assert len({net.disks[at].state.encode() for at in (0, 1, 3) if net.disks[at].state.height == 36}) <= 1
    assert sum(net.disks[0].finals[height].block.header.view > 0 for height in range(7, 37)) <= 3
    net.up(2)
    net.until(40)
    net.agree()


# Refusals: each leaves nothing behind but its reason.


def test_refused_bytes() -> None:
    solo = Solo(1)
    good = solo.proposal(0, solo.block()).encode(GENESIS_HASH)
    for data in (
        b"",
        good[:39],
        good[:-1],
        good + b"\0",
        b"X" + good[1:],
        good[:4] + b"\2" + good[5:],
        good[:6] + b"\x0a" + good[7:],
    ):
        assert solo.refusal(data) == "malformed"
    assert solo.refusal(solo.proposal(0, solo.block()).encode(bytes(32))) == "wrong_genesis"


def test_refused_votes() -> None:
    solo = Solo(0)
    name = sent(solo.started, Proposal)[0].vote.block_hash
    statement = Statement.of(0).encode()
    third = solo.vote(3, name)
    later = VoteMessage(4, third.vote, third.signature)
    forged = solo.vote(2, name)
    cases = [
        (solo.vote(1, name, set_id=2), 1, "wrong_set"),
        (solo.vote(1, name, 8), 1, "view_window"),
        (solo.vote(1, name, 1), 1, "not_leader"),
        (later, 3, "unknown_member"),
        (VoteMessage(1, forged.vote, forged.signature), 2, "forged_signature"),
        (VoteMessage(2, solo.vote(2, name, time=9).vote, forged.signature), 3, "forged_signature"),
        (solo.vote(1, name, statement=statement), 1, "statement"),
        (VoteMessage(1, solo.vote(1, name, phase=COMMIT, statement=statement).vote, bytes(64)), 1, "statement"),
        (VoteMessage(1, solo.vote(1, name, phase=COMMIT).vote, bytes(64), statement), 1, "statement"),
        (solo.vote(1, name, phase=COMMIT, statement=Statement.of(3, [1]).encode()), 1, "statement"),
    ]
    for message, sender, reason in cases:
        assert solo.refusal(message, sender) == reason, reason


def test_another_networks_signature_is_refused() -> None:
    solo = Solo(1)
    foreign = Hands(genesis_hash=b"\x55" * 32)
    assert solo.refusal(foreign.proposal(0, solo.block())) == "forged_signature"
    certificate = foreign.certificate((0, 2, 3), solo.block().hash(SUITE))
    assert solo.refusal(CertificateMessage(certificate.encode())) == "certificate_invalid"


def test_refused_certificates() -> None:
    solo = Solo(1)
    name = solo.block().hash(SUITE)
    good = solo.certificate((0, 2, 3), name)
    rows = good.signers

    def of(signers, **other) -> bytes:
        fields = {"phase": PREPARE, "set_id": 1, "height": 1, "view": 0, "block_hash": name} | other
        return type(good)(signers=tuple(signers), **fields).encode()

    cases = [
        (of(rows[:2]), "certificate_invalid"),
        (of((rows[0], rows[0], rows[1])), "certificate_invalid"),
        (of((rows[1], rows[0], rows[2])), "certificate_invalid"),
        (
            of((rows[0], rows[1], type(rows[2])(7, *(rows[2].time, rows[2].executed_held, rows[2].signature)))),
            "certificate_invalid",
        ),
        (of((rows[0], rows[1], type(rows[2])(3, START, bytes(32), bytes(64)))), "certificate_invalid"),
        (of(rows, view=1), "certificate_invalid"),
        (of(rows, block_hash=b"\x01" * 32), "certificate_invalid"),
        (of(rows, phase=COMMIT), "certificate_invalid"),
        (of(rows, set_id=2), "wrong_set"),
        (of((*rows, *rows)), "certificate_overlong"),
        (of(rows)[:-1], "certificate_malformed"),
        (solo.certificate((0, 2, 3), name, set_id=9).encode(), "wrong_set"),
    ]
    for data, reason in cases:
        assert solo.refusal(CertificateMessage(data)) == reason
    assert solo.core.view == 0
    assert solo.core.round.high is None


def test_refused_proposals() -> None:
    solo = Solo(3)
    block = solo.block(view=1)
    name = block.hash(SUITE)
    given_up = solo.timeouts((0, 1, 2))
    prepared = solo.certificate((0, 1, 2), solo.block().hash(SUITE))
    locked = solo.timeouts((0, 1, 2), 0, {2: prepared})
    good = solo.proposal(1, block, 1, entered=given_up)
    cases = [
        (solo.proposal(2, block, 1, entered=given_up), "not_leader"),
        (solo.proposal(1, block), "not_leader"),
        (Proposal(1, good.vote, bytes(64), good.block, b"", good.timeout_certificate), "forged_signature"),
        (solo.proposal(1, block, 1), "certificate_missing"),
        (solo.proposal(1, block, 1, entered=solo.timeouts((0, 1))), "certificate_invalid"),
        (solo.proposal(1, block, 1, entered=solo.timeouts((0, 1, 2), 1)), "wrong_view"),
        (solo.proposal(1, block, 1, entered=solo.timeouts((0, 1, 2), set_id=4)), "wrong_set"),
        (solo.proposal(1, block, 1, entered=locked), "certificate_missing"),
        (solo.proposal(1, block, 1, entered=locked, high=prepared), "another_block"),
        (solo.proposal(1, block, 1, entered=given_up, set_id=2), "wrong_set"),
        (solo.proposal(0, solo.block(), entered=given_up), "superfluous_certificate"),
    ]
    for message, reason in cases:
        assert solo.refusal(message, message.index) == reason, reason
    high = solo.certificate((0, 1, 2), name, 1)
    assert solo.refusal(solo.proposal(1, block, 1, entered=given_up, high=high), 1) == "wrong_view"
    assert solo.core.view == 0
    commit = VotePhase.COMMIT
    signed = solo.vote(0, solo.block().hash(SUITE), phase=commit)
    assert solo.refusal(Proposal(0, signed.vote, signed.signature, solo.block().encode())) == "wrong_phase"


def test_refused_blocks() -> None:
    """The leader signed something that is no block for this place: it is not voted for, and the view goes on."""
    base = Solo(1)
    forbidden = base.block(reveal_record(REFUSED_PREIMAGE))
    later = base.block(view=2)
    other_height = Hands(state=base.state.after(base.block(), None)).block()
    for block, reason in ((forbidden, "block_forbidden"), (later, "wrong_view"), (other_height, "wrong_height")):
        solo = Solo(1)
        assert solo.refusal(solo.proposal(0, block)) == reason
    solo = Solo(1)
    good = solo.proposal(0, solo.block())
    assert solo.refusal(Proposal(0, good.vote, good.signature, solo.block(reveal(1)).encode())) == "block_hash"
    assert solo.refusal(Proposal(0, good.vote, good.signature, b"nothing")) == "block_malformed"
    assert solo.refusal(Proposal(0, good.vote, good.signature, good.block, b"\1")) == "block_malformed"


def test_a_wrong_sidecar_spoils_no_block() -> None:
    """The leader's first copy comes with a sidecar that the state refuses: the block itself is taken with a good one."""
    solo = Solo(1)
    state = solo.core.round.state
    block = solo.block()
    good = solo.proposal(0, block)
    wrong = Sidecar((None,)).encode()

    class Picky(FakeState):
        def check(self, block, sidecar, now) -> None:
            if sidecar.paths:
                raise BlockRefused("sidecar", "paths")

    solo.core.round.state = Picky(state.sets)
    spoiled = Proposal(0, good.vote, good.signature, good.block, wrong)
    assert solo.refusal(spoiled) == "block_sidecar"
    assert solo.refusal(spoiled) == "block_refused_before"
    assert voted(solo.take(good))
    certified = Solo(3)
    certified.core.round.state = Picky(state.sets)
    prepared = certified.certificate((0, 1, 2), block.hash(SUITE))
    entered = certified.timeouts((0, 1, 2), 0, {0: prepared})
    again = certified.proposal(1, block, 1, entered=entered, high=prepared)
    actions = certified.take(
        Proposal(1, again.vote, again.signature, again.block, wrong, again.timeout_certificate, again.high)
    )
    assert (PREPARE, 1, block.hash(SUITE)) in voted(actions)


def test_a_block_of_a_later_view_than_its_certificate_is_refused() -> None:
    solo = Solo(3)
    block = solo.block(view=1)
    prepared = solo.certificate((0, 1, 2), block.hash(SUITE), 0)
    entered = solo.timeouts((0, 1, 2), 1, {0: prepared})
    actions = solo.take(solo.proposal(2, block, 2, entered=entered, high=prepared), 2)
    assert not voted(actions)
    assert solo.core.counters.refused == {"wrong_view": 1}


def test_refused_timeouts() -> None:
    solo = Solo(1)
    prepared = solo.certificate((0, 2, 3), solo.block().hash(SUITE))
    named = solo.timeout(2, 0, prepared)
    unnamed = solo.timeout(2)
    forged = TimeoutMessage(2, unnamed.timeout, bytes(64))
    cases = [
        (solo.timeout(2, set_id=3), 2, "wrong_set"),
        (solo.timeout(2, 8), 2, "view_window"),
        (TimeoutMessage(9, unnamed.timeout, unnamed.signature), 2, "unknown_member"),
        (TimeoutMessage(2, named.timeout, named.signature), 2, "certificate_missing"),
        (TimeoutMessage(2, unnamed.timeout, unnamed.signature, prepared.encode()), 2, "superfluous_certificate"),
        (forged, 3, "forged_signature"),
        (
            solo.timeout(2, 1, prepared.__class__(PREPARE, 1, 1, 1, prepared.block_hash, prepared.signers)),
            2,
            "certificate_invalid",
        ),
    ]
    for message, sender, reason in cases:
        assert solo.refusal(message, sender) == reason, reason


def test_a_forged_vote_takes_nobodys_place() -> None:
    """A liar votes in the others' names and badly in its own: the quorum of the honest stands, the liar is known."""
    solo = Solo(0, (1,) * 7)
    name = sent(solo.started, Proposal)[0].vote.block_hash
    bad = VoteMessage(6, solo.vote(6, name).vote, bytes(64))
    for index in range(1, 6):
        assert solo.refusal(VoteMessage(index, solo.vote(index, name).vote, bytes(64)), 6) == "forged_signature"
    assert not sent(solo.take(bad, 6))
    actions = [solo.take(solo.vote(index, name), index) for index in range(1, 5)]
    assert [bool(sent(each, CertificateMessage)) for each in actions] == [False, False, False, True]
    assert solo.core.round.votes.liars == {6}
    assert solo.refusal(VoteMessage(6, solo.vote(6, name, phase=COMMIT).vote, bytes(64)), 6) == "forged_signature"


def test_a_forged_timeout_takes_nobodys_place() -> None:
    solo = Solo(1)
    solo.take(TimeoutMessage(3, solo.timeout(3).timeout, bytes(64)), 3)
    solo.take(solo.timeout(0), 0)
    assert solo.core.view == 0
    actions = solo.take(solo.timeout(2), 2)
    assert sent(actions, TimeoutMessage)
    assert solo.core.view == 1
    assert solo.core.changes.tally.liars == {3}


def test_flooding_fills_nothing() -> None:
    """A member sends thousands of votes and timeouts: what is kept of them is bounded by members, views and phases."""
    solo = Solo(0)
    name = sent(solo.started, Proposal)[0].vote.block_hash
    for number in range(600):
        view, height = number % 40, 1 + number % 3
        solo.take(solo.vote(1, (number % 50).to_bytes(32, "little"), view, height=height), 1)
        solo.take(solo.timeout(1, view, height=height), 1)
    tally = solo.core.round.votes
    assert sum(len(each) for each in tally.slots.values()) <= 4 * 8 * 2
    assert sum(len(each) for each in solo.core.changes.tally.slots.values()) <= 4 * 8
    assert sum(len(each) for each in solo.core._neighbours._early.values()) <= 4 * 3 * 8
    assert solo.core.round.bodies.get(name) is not None


def test_old_heights_are_refused_and_forks_seen() -> None:
    solo = Solo(1)
    block = solo.block()
    solo.take(solo.proposal(0, block))
    solo.take(CertificateMessage(solo.certificate((0, 2, 3), block.hash(SUITE), phase=COMMIT).encode()))
    assert solo.core.height == 2
    assert solo.refusal(solo.proposal(0, block)) == "old_height"
    assert solo.refusal(solo.vote(0, block.hash(SUITE))) == "old_height"
    other = solo.certificate((0, 2, 3), b"\x05" * 32, phase=COMMIT)
    actions = solo.take(CertificateMessage(other.encode()))
    assert [type(each).__name__ for each in actions] == ["ForkSeen"]


def test_a_clock_that_jumps_stalls_nobody() -> None:
    solo = Solo(1)
    solo.now += 3_600_000 * MS
    solo.core.tick(solo.now)
    solo.now -= 3_600_000 * MS
    solo.core.tick(solo.now)
    assert solo.core.next_wake - solo.now <= 500 * MS


def test_what_is_sent_to_all_says_so() -> None:
    solo = Solo(0)
    assert [each.to for each in solo.started if isinstance(each, Send)] == [ALL]
