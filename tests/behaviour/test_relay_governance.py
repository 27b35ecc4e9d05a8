"""Members change sets, keys and parameters together and not alone; evidence convicts liars and never the honest."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.development import DevelopmentKey, development_key
from engine.evidence import (
    ConflictingVotes,
    DeniedCertificate,
    ForkedShard,
    FraudClaim,
    SignedVote,
    TimeoutFields,
    decode_evidence,
)
from engine.genesis import padded_key
from engine.governance import (
    Approval,
    BlockKeyChange,
    Corridor,
    Governed,
    NumberChange,
    ParameterKind,
    Resume,
    SlotMap,
    decode_parameter,
    governance_message,
)
from engine.header import LedgerEntry
from engine.prefix import PrefixType, signing_prefix
from engine.refusals import CertificateRefused, EncodingError
from engine.relay_block import (
    corridor_record,
    evidence_record,
    parameter_record,
    slot_map_record,
    validator_set_record,
)
from engine.types import RelayRecordType, Role, VotePhase
from engine.validators import Validator, ValidatorSet
from relay.errors import BlockRefused
from relay.evidence import forked_shard
from relay.offers import Sidecar
from relay.state import RelayState
from tests.behaviour.relay_world import World

A, B = 0x100, 0x101
EPOCH = 32


@pytest.fixture
def world() -> World:
    world = World()
    world.step()
    return world


def refused(world: World, *records) -> str:
    """Why a block with these records is refused; the proposer leaves the last one out."""
    block, _ = world.propose()
    with pytest.raises(BlockRefused) as error:
        world.state.check(world.remake(block, [*block.records, *records]), Sidecar(), world.now)
    chosen, sidecar = world.propose(*records)
    assert records[-1] not in chosen.records
    world.state.check(chosen, sidecar, world.now)
    return error.value.reason


def a_set(
    world: World, set_id: int, first_height: int, count: int = 4, suite: int = 1, powers: tuple[int, ...] = ()
) -> ValidatorSet:
    """A set of new keys of the same participants; the world learns to sign for it."""
    keys: tuple[DevelopmentKey, ...] = tuple(
        development_key(
            b"set%d" % set_id, str(at), participant=9001 + at, role=Role.BLOCK, suite=suite if at % 2 else 1
        )
        for at in range(count)
    )
    world.members[set_id] = keys
    members = tuple(
        Validator(key.participant, key.suite, power, padded_key(key.public_key))
        for key, power in zip(keys, powers or (1,) * count, strict=True)
    )
    return ValidatorSet(set_id, first_height, members)


# Sets.


def test_a_set_takes_over_an_epoch_later_without_a_stop(world: World) -> None:
    """RELAY-30: all keys rotate, half of them to SM2; the first height under the new set follows the last at once."""
    first_height = world.state.height + 1 + EPOCH
    following = a_set(world, 2, first_height, suite=2)
    world.step(world.approved(validator_set_record, following))
    assert world.state.set_at(first_height - 1).set_id == 1
    assert world.state.set_at(first_height) == following
    while world.state.height < first_height + 2:
        world.step()
    assert world.state.header.set_id == 2
    assert [block.header.set_id for block, _ in world.blocks[-4:]] == [1, 2, 2, 2]
    assert RelayState.decode(world.state.encode(), world.genesis) == world.state
    again = a_set(world, 3, world.state.height + 1 + EPOCH)
    world.step(world.approved(validator_set_record, again))
    assert world.state.sets[-1] == again


@pytest.mark.parametrize(
    ("set_id", "ahead", "members", "reason"),
    [
        (3, EPOCH, (0, 1, 2), "governance_set_id"), (1, EPOCH, (0, 1, 2), "governance_set_id"),
        (2, EPOCH - 1, (0, 1, 2), "governance_too_soon"), (2, 1 << 22, (0, 1, 2), "governance_too_soon"),
        (2, EPOCH, (0, 1), "governance_approvals"), (2, EPOCH, (), "governance_approvals"),
    ],
)  # fmt: skip
def test_a_set_that_may_not_follow_is_refused(world: World, set_id, ahead, members, reason) -> None:
    following = a_set(world, 7, world.state.height + 1 + ahead)
    assert refused(world, world.approved(validator_set_record, replace(following, set_id=set_id), members)) == reason


def test_one_set_is_pending_at_a_time(world: World) -> None:
    first = a_set(world, 2, world.state.height + 1 + EPOCH)
    second = a_set(world, 3, world.state.height + 2 + EPOCH)
    records = [world.approved(validator_set_record, each) for each in (first, second)]
    assert refused(world, *records) == "record_limit"
    world.step(records[0])
    assert refused(world, records[1]) == "governance_set_pending"


def test_approvals_of_one_body_serve_no_other(world: World) -> None:
    """RELAY-29: the record's type and body are signed, each member once, under the set in force."""
    following = a_set(world, 2, world.state.height + 1 + EPOCH)
    other = replace(following, first_height=following.first_height + 1)
    rows = world.approvals(RelayRecordType.VALIDATOR_SET, other.encode())
    assert refused(world, validator_set_record(following, rows)) == "governance_approvals"
    rows = world.approvals(RelayRecordType.PARAMETER, following.encode())
    assert refused(world, validator_set_record(following, rows)) == "governance_approvals"
    rows = world.approvals(RelayRecordType.VALIDATOR_SET, following.encode(), set_id=2)
    assert refused(world, validator_set_record(following, rows)) == "governance_approvals"
    rows = world.approvals(RelayRecordType.VALIDATOR_SET, following.encode())
    outside = (*rows[:2], Approval(9, rows[2].signature))
    assert refused(world, validator_set_record(following, outside)) == "governance_approvals"
    with pytest.raises(EncodingError):
        Governed.decode(Governed(following.encode(), (rows[0], rows[0])).encode())


def test_sets_that_too_few_could_speak_for_are_refused(world: World) -> None:
    """RELAY-3: 11 of 33; sums that leave 64 bits; one participant above F."""
    for powers in ((10,) * 11 + (1,) * 22, (2**62,) * 4, (2, 1, 1, 1), (1, 1, 1), (2**64 - 1, 1, 1, 1)):
        with pytest.raises(CertificateRefused):
            a_set(world, 9, 1, len(powers), powers=powers)
    for powers in ((1,) * 33, (3, 3, 3, 1, 1), (4,) * 11 + (1,) * 22, (2**62 - 1,) * 4):
        assert a_set(world, 9, 1, len(powers), powers=powers).power == sum(powers)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=4, max_size=8))
def test_the_least_quorum_is_counted_right(powers: list[int]) -> None:
    """RELAY-3 against every subset, and every quorum overlaps every other by more than F."""
    total, count = sum(powers), len(powers)
    fault_max = (total - 1) // 3
    quorums = [
        subset
        for size in range(1, count + 1)
        for subset in combinations(range(count), size)
        if 3 * sum(powers[at] for at in subset) > 2 * total
    ]
    stands = max(powers) <= fault_max and 3 * min(len(each) for each in quorums) > count
    if not stands:
        with pytest.raises(CertificateRefused):
            a_set(SETS, 9, 1, count, powers=tuple(powers))
        return
    validators = a_set(SETS, 9, 1, count, powers=tuple(powers))
    assert validators.fault_max == fault_max
    assert all(validators.is_quorum(validators.power_of(each)) for each in quorums)
    for one in quorums[:20]:
        for other in quorums[-20:]:
            assert sum(powers[at] for at in set(one) & set(other)) > fault_max


SETS = World()


# Parameters, maps, corridors.


def test_numbers_change_by_two_thirds_and_never_twice(world: World) -> None:
    change = NumberChange(ParameterKind.EPOCH_LENGTH, 1, 8)
    record = world.approved(parameter_record, change)
    world.step(record)
    assert world.state.parameters.epoch_length == 8
    assert refused(world, record) == "governance_sequence"
    assert refused(world, world.approved(parameter_record, replace(change, sequence=3))) == "governance_sequence"
    for kind, value in ((ParameterKind.EPOCH_LENGTH, 0), (ParameterKind.DRIFT, 1), (ParameterKind.DRIFT, 10**15)):
        assert refused(world, world.approved(parameter_record, NumberChange(kind, 2, value))) == "governance_value"
    drift = NumberChange(ParameterKind.DRIFT, 2, 10**9)
    assert refused(world, world.approved(parameter_record, drift, (0, 3))) == "governance_approvals"
    world.step(world.approved(parameter_record, drift))
    assert world.state.parameters.drift_ns == 10**9


def test_a_block_key_rotates_by_both_keys_and_without_a_stop(world: World) -> None:
    chain = world.chain(A)
    old, new = chain.key, development_key(b"new", "block", participant=101, role=Role.BLOCK, suite=2, key_id=77)
    change = BlockKeyChange(1, 1, old.key_id, new.key_id, new.suite, padded_key(new.public_key))
    message = governance_message(1, world.genesis.hash, RelayRecordType.PARAMETER, change.encode())

    def record(of: BlockKeyChange, *signers: DevelopmentKey):
        signed = governance_message(1, world.genesis.hash, RelayRecordType.PARAMETER, of.encode())
        return parameter_record(of, [Approval(at, key.sign(signed)) for at, key in enumerate(signers)])

    assert refused(world, record(change, old)) == "governance_approvals"
    assert refused(world, record(change, new, old)) == "governance_approvals"
    assert refused(world, record(change, old, old)) == "governance_approvals"
    assert refused(world, world.approved(parameter_record, change)) == "governance_approvals"
    for wrong, reason in (
        (replace(change, domain=9), "governance_domain"), (replace(change, sequence=2), "governance_sequence"),
        (replace(change, old_key_id=77), "governance_block_key"),
        (replace(change, new_key_id=old.key_id), "governance_block_key"),
        (replace(change, suite=9), "governance_approvals"),
    ):  # fmt: skip
        assert refused(world, record(wrong, old, new)) == reason
    chain.seal()
    good = parameter_record(change, [Approval(0, old.sign(message)), Approval(1, new.sign(message))])
    world.step(chain.offer(), good)
    chain.seal()
    assert world.state.admits(chain.offer(1)) == "header_key_unknown"
    chain.key = new
    signed = chain.sign(chain.last)
    chain.signed[-1] = signed
    world.step(chain.offer(1))
    assert world.state.shards[A].height == 2
    assert refused(world, good) == "governance_sequence"
    assert RelayState.decode(world.state.encode(), world.genesis) == world.state


def test_slot_maps_and_corridors_are_versioned(world: World) -> None:
    height = world.state.height + 1 + EPOCH
    slots = SlotMap(1, 2, height, bytes([0, 1] * 2048))
    for wrong, reason in (
        (replace(slots, version=3), "governance_version"), (replace(slots, version=1), "governance_version"),
        (replace(slots, domain=9), "governance_domain"), (replace(slots, slots=b"\2" * 4096), "governance_slot"),
        (replace(slots, effect_height=height - 1), "governance_too_soon"),
    ):  # fmt: skip
        assert refused(world, world.approved(slot_map_record, wrong)) == reason
    corridor = Corridor(bytes(range(16)), 1, height, b"rates " * 20)
    assert refused(world, world.approved(corridor_record, replace(corridor, version=2))) == "governance_version"
    assert refused(world, world.approved(corridor_record, corridor, (1,))) == "governance_approvals"
    world.step(world.approved(slot_map_record, slots), world.approved(corridor_record, corridor))
    assert (world.state.slot_maps[1], world.state.corridors[corridor.id]) == (slots, corridor)
    assert refused(world, world.approved(corridor_record, corridor)) == "governance_version"
    world.step(world.approved(corridor_record, replace(corridor, version=2, effect_height=height + 9, document=b"")))
    assert world.state.corridors[corridor.id].version == 2
    assert RelayState.decode(world.state.encode(), world.genesis) == world.state
    with pytest.raises(EncodingError):
        Corridor.decode(replace(corridor, document=bytes(16_385)).encode())


def test_corridors_are_bounded(world: World) -> None:
    """RELAY-34: 256 stand, each in its newest version; one more is refused, a new version of one is not."""
    made = [Corridor(number.to_bytes(16, "little"), 1, 9_000, b"") for number in range(257)]
    for at in range(0, 256, 16):
        world.step(*(world.approved(corridor_record, each) for each in made[at : at + 16]))
    assert len(world.state.corridors) == 256
    assert refused(world, world.approved(corridor_record, made[256])) == "governance_corridors_full"
    world.step(world.approved(corridor_record, replace(made[0], version=2)))
    assert len(world.state.corridors) == 256 and world.state.corridors[made[0].id].version == 2


@pytest.mark.parametrize(
    "body",
    [
        NumberChange(ParameterKind.DRIFT, 1, 7), BlockKeyChange(1, 2, 3, 4, 1, bytes(64)),
        Resume(A, 1, 2, 1, 3, bytes(64), None),
    ],
)  # fmt: skip
def test_every_parameter_reads_back_and_is_exact(body) -> None:
    data = body.encode()
    assert decode_parameter(data) == body
    for wrong in (data[:-1], data + b"\0", data[:10], b"\x09" + data[1:], data[:2] + b"\1" + data[3:]):
        with pytest.raises(EncodingError):
            decode_parameter(wrong)


# Evidence.


def fork(world: World, **changes):
    """Two headers of one shard, height and epoch."""
    chain = world.chain(A)
    one = chain.seal()
    return chain, one, chain.sign(replace(one.header, **{"state_root": b"\x55" * 32, **changes}))


def test_a_forked_shard_is_suspended_alone_and_resumes_by_governance(world: World) -> None:
    """RELAY-40, RELAY-45."""
    chain, one, two = fork(world)
    other = world.chain(B)
    other.seal()
    world.step(chain.offer())
    record = forked_shard(one, two)
    world.step(record, other.offer())
    assert (world.state.shards[A].suspended, world.state.shards[B].height) == (True, 1)
    assert refused(world, record) == "evidence_known"
    chain.seal()
    assert world.state.admits(chain.offer(1)) == "header_shard_suspended"
    successor = development_key(b"new", "a", participant=101, role=Role.BLOCK, suite=2, key_id=80)
    resume = Resume(A, 1, 80, 2, 2, padded_key(successor.public_key), one.header)
    foreign = replace(resume, header=replace(one.header, shard=B))
    for wrong, reason in (
        (replace(resume, epoch=1), "governance_epoch"), (replace(resume, shard=B), "governance_not_suspended"),
        (foreign, "governance_header"), (replace(resume, header=chain.last), "governance_header"),
        (replace(resume, sequence=2), "governance_sequence"),
    ):  # fmt: skip
        assert refused(world, world.approved(parameter_record, wrong)) == reason
    assert refused(world, world.approved(parameter_record, resume, (0, 1))) == "governance_approvals"
    world.step(world.approved(parameter_record, resume))
    assert not world.state.shards[A].suspended
    assert world.state.admits(chain.offer(1)) == "header_key_unknown"
    chain.signed.pop()
    chain.epoch, chain.key = 2, successor
    chain.tree = world.chain(A).tree
    from native.hashing import leaf_hash

    chain.tree.append(leaf_hash(1, one.header.hash))
    chain.seal()
    world.step(chain.offer(1))
    assert world.state.shards[A].height == 2
    assert refused(world, record) == "evidence_known"
    assert RelayState.decode(world.state.encode(), world.genesis) == world.state


def test_what_is_no_fork_suspends_nobody(world: World) -> None:
    chain, one, two = fork(world)
    three = chain.sign(replace(two.header, epoch=2))
    higher = chain.seal()
    first, second = sorted((one, two), key=lambda each: each.header.hash)
    for evidence, reason in (
        (ForkedShard(one, one), "evidence_no_conflict"), (ForkedShard(second, first), "evidence_no_conflict"),
        (ForkedShard(*sorted((one, three), key=lambda each: each.header.hash)), "evidence_no_conflict"),
        (ForkedShard(*sorted((one, higher), key=lambda each: each.header.hash)), "evidence_no_conflict"),
        (ForkedShard(first, replace(second, signature=bytes(64))), "evidence_signature"),
        (ForkedShard(first, replace(second, key_id=1)), "evidence_signature"),
    ):  # fmt: skip
        assert refused(world, evidence_record(evidence)) == reason
    foreign = [chain.sign(replace(each.header, shard=0x900)) for each in (one, two)]
    assert refused(world, forked_shard(*foreign)) == "evidence_foreign"


def conflicting(world: World, member: int = 3, **changes) -> ConflictingVotes:
    block, _ = world.propose()
    one = world.vote(member, block, **changes)
    two = world.vote(member, block, **{**changes, "block_hash": b"\x99" * 32})
    votes = sorted((SignedVote(*one), SignedVote(*two)), key=lambda each: each.vote.block_hash)
    return ConflictingVotes(member, *votes)


def test_two_votes_for_two_blocks_are_noted_once(world: World) -> None:
    """RELAY-41."""
    evidence = conflicting(world)
    for wrong, reason in (
        (replace(evidence, first=evidence.second, second=evidence.first), "evidence_no_conflict"),
        (replace(evidence, second=evidence.first), "evidence_no_conflict"),
        (replace(evidence, member=2), "evidence_no_conflict"), (replace(evidence, member=4), "evidence_set_unknown"),
        (replace(evidence, first=SignedVote(evidence.first.vote, bytes(64))), "evidence_no_conflict"),
    ):  # fmt: skip
        assert refused(world, evidence_record(wrong)) == reason
    block, _ = world.propose()
    for changes in (
        {"view": 1},
        {"height": 9},
        {"phase": VotePhase.PREPARE},
        {"block_hash": evidence.first.vote.block_hash, "time": 5},
    ):
        # The same member in another view, height or phase, or for the same block again, is no liar.
        vote = SignedVote(*world.vote(3, block, **{"block_hash": b"\xff" * 32, **changes}))
        assert refused(world, evidence_record(ConflictingVotes(3, evidence.first, vote))) == "evidence_no_conflict"
    world.step(evidence_record(evidence))
    key = world.state.set_at(1).members[3].public_key
    assert world.state.noted == {key: 1}
    assert refused(world, evidence_record(conflicting(world, view=3))) == "evidence_known"
    world.step(evidence_record(conflicting(world, 2, phase=VotePhase.PREPARE)))
    assert len(world.state.noted) == 2


def denied(world: World, view: int, timeout_view: int, high: int, member: int = 3) -> DeniedCertificate:
    block, _ = world.propose()
    vote = SignedVote(*world.vote(member, block, view=view))
    timeout = TimeoutFields(1, block.header.height, timeout_view, high)
    prefix = signing_prefix(1, PrefixType.TIMEOUT, world.genesis.hash)
    return DeniedCertificate(member, vote, timeout, world.network.validators[member].sign(prefix + timeout.encode()))


def test_a_certificate_that_was_committed_on_cannot_be_denied(world: World) -> None:
    """RELAY-44: guilty below, honest at and above."""
    for view, timeout_view, high in ((3, 3, 4), (3, 9, 5), (3, 2, 0), (0, 0, 1)):
        assert refused(world, evidence_record(denied(world, view, timeout_view, high))) == "evidence_no_conflict"
    guilty = denied(world, 3, 3, 3)
    assert refused(world, evidence_record(replace(guilty, signature=bytes(64)))) == "evidence_no_conflict"
    other = replace(guilty, timeout=replace(guilty.timeout, height=99))
    assert refused(world, evidence_record(other)) == "evidence_no_conflict"
    world.step(evidence_record(guilty), evidence_record(denied(world, 0, 0, 0, member=1)))
    assert sorted(world.state.noted.values()) == [2, 2]
    assert refused(world, evidence_record(guilty)) == "evidence_known"


def claim(world: World, height: int = 1, members: tuple[int, ...] = (1,), **changes) -> object:
    header = world.state.shards[A].header
    plain = FraudClaim(A, 1, height, header.hash, header.state_root, b"\x77" * 32)
    plain = replace(plain, **changes)
    rows = world.approvals(RelayRecordType.EVIDENCE, plain.body(), members)
    return evidence_record(replace(plain, approvals=rows))


def test_a_claim_marks_and_a_confirmed_one_suspends(world: World) -> None:
    """RELAY-42: one member's claim changes nothing but a mark, which verification takes away."""
    chain = world.chain(A)
    chain.seal()
    world.step(chain.offer())
    for record, reason in (
        (claim(world, height=2), "evidence_no_conflict"), (claim(world, members=()), "evidence_signature"),
        (claim(world, computed_root=world.state.shards[A].header.state_root), "evidence_no_conflict"),
        (claim(world, header_hash=bytes(32)), "evidence_no_conflict"), (claim(world, shard=0x999), "evidence_foreign"),
    ):  # fmt: skip
        assert refused(world, record) == reason
    good = claim(world)
    bad_row = replace(good.evidence(), approvals=(Approval(2, good.evidence().approvals[0].signature),))
    assert refused(world, evidence_record(bad_row)) == "evidence_signature"
    world.step(good)
    assert (world.state.shards[A].suspended, world.state.shards[A].disputed_height) == (False, 1)
    assert refused(world, claim(world, members=(2,))) == "evidence_known"
    chain.seal()
    from engine.validators import Statement

    world.step(chain.offer(1), statements=dict.fromkeys((0, 1), Statement.of(1, [0], [0])))
    world.step()
    assert world.state.shards[A].disputed_height == 0
    header = world.state.shards[A].header
    confirmed = claim(world, 2, (0, 1, 2), claimed_root=header.state_root, header_hash=header.hash)
    world.step(confirmed)
    assert world.state.shards[A].suspended
    assert refused(world, confirmed) == "evidence_known"


def test_every_evidence_reads_back_and_is_exact(world: World) -> None:
    chain, one, two = fork(world)
    world.step(chain.offer())
    for record in (
        forked_shard(one, two),
        evidence_record(conflicting(world)),
        evidence_record(denied(world, 1, 1, 0)),
        claim(world),
    ):
        data = record.payload
        assert decode_evidence(data).encode() == data
        for wrong in (data[:-1], data + b"\0", data[:7], b"\x09" + data[1:], data[:2] + b"\1" + data[3:]):
            with pytest.raises(EncodingError):
                decode_evidence(wrong)


def test_a_shard_that_resumes_earlier_lets_go_of_what_came_after(world: World) -> None:
    """The last valid header is below the newest anchored one: the shard's chain goes on from there."""
    chain = world.chain(A)
    base = chain.seal()
    world.step(chain.offer())
    wrong = chain.seal(ledgers=(LedgerEntry(1, 0, 99, 0, 0),))
    world.step(chain.offer(1))
    world.step(forked_shard(wrong, chain.sign(replace(wrong.header, state_root=bytes(32)))))
    key = chain.key
    resume = Resume(A, 1, key.key_id, key.suite, 2, padded_key(key.public_key), base.header)
    world.step(world.approved(parameter_record, resume))
    assert world.state.shards[A].height == 1
    chain.signed.pop()
    chain.epoch = 2
    again = world.chain(A)
    again.signed, again.epoch = [base], 2
    from native.hashing import leaf_hash

    again.tree.append(leaf_hash(1, base.header.hash))
    again.seal()
    world.step(again.offer(1))
    assert world.state.shards[A].header.epoch == 2
