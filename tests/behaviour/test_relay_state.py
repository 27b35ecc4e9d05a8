"""The relay's state takes what may follow and refuses everything else with a fixed word; all who took it are equal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.development import development_key, development_network
from engine.genesis import padded_key
from engine.header import ChannelEntry, LedgerEntry
from engine.refusals import CertificateRefused, EncodingError
from engine.relay_block import (
    RelayBlock,
    RelayRecord,
    evidence_record,
    header_record,
    parent_certificate_record,
    reveal_record,
)
from engine.types import RelayRecordType, Role
from engine.validators import Certificate, Statement, Validator, ValidatorSet
from relay.entries import Penalty
from relay.errors import BlockRefused
from relay.leaders import leader_order
from relay.offers import HeaderOffer, Sidecar
from relay.pool import Pool
from relay.state import RelayState, median_time
from tests.behaviour.relay_world import MS, Chain, World

A, B = 0x100, 0x101


@pytest.fixture
def world() -> World:
    return World()


def refused(world: World, block: RelayBlock, sidecar: Sidecar = Sidecar(), now: int | None = None) -> str:
    with pytest.raises(BlockRefused) as error:
        world.state.check(block, sidecar, world.now if now is None else now)
    return error.value.reason


def refused_header(world: World, signed, path=None, now: int | None = None) -> str:
    """What a proposal with this header hears; the proposer of an honest one leaves it out."""
    block, _ = world.propose()
    records = [*block.records, header_record(signed)]
    reason = refused(world, world.remake(block, records), Sidecar((path,)), now)
    chosen, _ = world.propose(HeaderOffer(signed, () if path is None else (path,)), now=now)
    assert not [record for record in chosen.records if record.type is RelayRecordType.HEADER]
    return reason


def test_empty_blocks_follow_each_other_and_time_moves(world: World) -> None:
    """RELAY-12: the first block has the genesis' time, each other the median of its parent's votes, only forward."""
    first = world.step()
    assert (first.header.time, first.header.height, first.records) == (world.genesis.time, 1, ())
    block, sidecar = world.propose()
    world.state.check(block, sidecar, world.now)
    assert block.header.time == world.genesis.time + 10 * MS
    slow = world.certify(first, times={0: 1, 1: 2, 2: 3})
    behind, _ = world.state.propose((), slow, 0)
    assert behind.header.time == first.header.time + 1


def test_the_median_is_weighted_and_liars_do_not_move_it() -> None:
    members = tuple(
        Validator(
            50 + at,
            1,
            power,
            padded_key(development_key(b"m", str(at), participant=50 + at, role=Role.BLOCK).public_key),
        )
        for at, power in enumerate((3, 3, 3, 1, 1))
    )
    validators = ValidatorSet(1, 1, members)
    world = World(validators=5)
    block, _ = world.propose()
    times = {0: 10, 1: 20, 2: 30, 3: 0, 4: 2**64 - 1}
    assert median_time(world.certify(block, (0, 1, 2, 3, 4), times=times), validators) == 20
    assert median_time(world.certify(block, (0, 2, 3, 4), times=times), validators) == 10
    assert median_time(world.certify(block, (1, 2, 4), times=times), validators) == 30


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"height": 3}, "height"), ({"height": 1}, "height"), ({"parent_hash": bytes(32)}, "parent"),
        ({"set_id": 2}, "set"), ({"genesis_hash": bytes(32)}, "genesis"), ({"time": 5}, "time"),
        ({"records": ()}, "parent_certificate"),
    ],
)  # fmt: skip
def test_a_block_out_of_place_is_refused(world: World, changes: dict, reason: str) -> None:
    world.step()
    block, _ = world.propose()
    assert refused(world, world.remake(block, **changes)) == reason


def test_a_first_block_has_no_certificate_and_the_others_have_theirs(world: World) -> None:
    """RELAY-11: a commit certificate of exactly the parent, by the parent's set, its statements named by its votes."""
    first = world.step()
    foreign = parent_certificate_record(world.certificate)
    begin = RelayState.begin(world.genesis)
    block, sidecar = begin.propose((), None, 0)
    with pytest.raises(BlockRefused) as error:
        begin.check(world.remake(block, [foreign]), sidecar, world.now)
    assert error.value.reason == "parent_certificate"
    block, _ = world.propose()
    good = world.certificate
    for certificate in (
        replace(good, signers=good.signers[:2]), replace(good, block_hash=bytes(32)), replace(good, height=2),
        replace(good, signers=(*good.signers[:2], replace(good.signers[2], time=5))),
    ):  # fmt: skip
        assert refused(world, world.remake(block, [parent_certificate_record(certificate)])) == "parent_certificate"
    stray = Statement.of(0).encode()
    assert refused(world, world.remake(block, [parent_certificate_record(good, [stray])])) == "statements"
    later = world.certify(first, (1, 2, 3), view=4)
    proposal, sidecar = world.state.propose((), later, 0)
    world.state.check(proposal, sidecar, world.now)


def test_records_stand_in_their_order_and_within_their_bounds(world: World) -> None:
    world.step()
    block, _ = world.propose()
    reveal = reveal_record(world.preimage(1))
    assert refused(world, world.remake(block, [reveal, *block.records])) == "record_order"
    assert refused(world, world.remake(block, [reveal])) == "parent_certificate"
    header = header_record(world.chain(A).seal())
    assert refused(world, world.remake(block, [*block.records, reveal, header]), Sidecar((None,))) == "record_order"
    many = [reveal_record(world.preimage(at)) for at in range(1025)]
    assert refused(world, world.remake(block, [*block.records, *many])) == "record_limit"
    assert refused(world, world.remake(block, [*block.records, header])) == "sidecar_count"
    assert refused(world, world.remake(block, [*block.records, block.records[0]])) == "record_limit"
    big = RelayRecord(RelayRecordType.CORRIDOR, bytes(5 << 20))
    assert refused(world, world.remake(block, [*block.records, big])) == "size"
    short = RelayBlock(replace(block.header, record_count=7), block.records)
    assert refused(world, short) == "record_count"


def test_a_reveal_stands_once(world: World) -> None:
    """RELAY-20: not twice in a block, and not again within the window."""
    reveal = reveal_record(world.preimage(1))
    assert world.step(reveal).preimages() == (world.preimage(1),)
    block, _ = world.propose(reveal)
    assert block.preimages() == ()
    assert refused(world, world.remake(block, [*block.records, reveal])) == "reveal_known"
    other = reveal_record(world.preimage(2))
    assert refused(world, world.remake(block, [*block.records, other, other])) == "reveal_known"


# Headers.


def test_a_chain_of_headers_is_anchored_by_parent_and_by_path(world: World) -> None:
    """RELAY-21: directly, over a gap, and again directly."""
    chain = world.chain(A)
    chain.seal()
    world.step(chain.offer())
    assert world.state.shards[A].height == 1
    chain.seal()
    world.step(chain.offer(1))
    for _ in range(5):
        chain.seal()
    world.step(chain.offer(2))
    chain.seal()
    world.step(chain.offer(7))
    assert world.state.shards[A].height == 8
    assert world.state.shards[A].hash == chain.last.hash
    assert world.state.anchored == ((A, 8),)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(2, 24), st.booleans())
def test_a_path_shows_that_nothing_earlier_was_changed(base: int, gap: int, lie: bool) -> None:
    """A header that keeps the anchored one but swaps an older one is refused; an honest one stands."""
    world = WORLD
    chain = Chain(world.network, A)
    for _ in range(base):
        chain.seal()
    anchored = world.state.shards[A]
    state = replace(
        world.state,
        shards={**world.state.shards, A: replace(anchored, header=chain.last, hash=chain.last.hash)},
    )
    if lie and base > 1:
        forged = Chain(world.network, A)
        forged.seal(decisions_root=b"\7" * 32)
        for signed in chain.signed[1:]:
            forged.signed.append(signed)
        forged.tree = type(chain.tree)(1)
        from native.hashing import leaf_hash

        for signed in forged.signed:
            forged.tree.append(leaf_hash(1, signed.header.hash))
        chain = forged
    for _ in range(gap):
        chain.seal()
    offer = chain.offer(base)
    assert state.admits(offer, world.now + 10**12) == ("header_continuity" if lie and base > 1 else "")


WORLD = World()


def test_what_breaks_continuity_is_refused(world: World) -> None:
    chain = world.chain(A)
    chain.seal()
    world.step(chain.offer())
    chain.seal()
    other = chain.sign(replace(chain.last, parent_hash=b"\5" * 32))
    assert refused_header(world, other) == "header_continuity"
    chain.seal()
    signed = chain.signed[-1]
    good = chain.path(1, 3)
    assert refused_header(world, signed) == "header_continuity"
    for path in (
        replace(good, index=1),
        replace(good, count=3),
        replace(good, path=(bytes(32),)),
        replace(good, path=()),
    ):
        assert refused_header(world, signed, path) == "header_continuity"
    assert (
        refused_header(world, chain.sign(replace(signed.header, headers_root=bytes(32))), good) == "header_continuity"
    )
    forged = Chain(world.network, B)
    assert refused_header(world, forged.sign(forged.make(parent_hash=b"\1" * 32))) == "header_continuity"


def test_what_goes_back_is_refused(world: World) -> None:
    """Height, epoch, log numbers, time, relay height, cursors, totals, accounts."""
    chain, peer = world.chain(A), world.chain(B)
    chain.epoch = 2
    channel = ChannelEntry(B, 3, 0)
    ledger = LedgerEntry(1, 0, 10, 5, 0)
    chain.seal(channels=(channel,), ledgers=(ledger,), relay_height=0, time=world.genesis.time + 5 * MS)
    world.step(chain.offer())
    assert refused_header(world, chain.signed[0]) == "header_height"
    plain = {"channels": (channel,), "ledgers": (ledger,), "time": world.genesis.time + 6 * MS}
    cases = {
        "header_epoch": {"epoch": 1},
        "header_log_numbers": {"first_number": 7},
        "header_time_back": {"time": world.genesis.time + 4 * MS},
        "header_time_ahead": {"time": world.now + world.state.parameters.drift_ns + 1},
        "header_relay_height": {"relay_height": 2},
        "header_cursor": {"channels": (ChannelEntry(B, 2, 0),)},
        "header_totals": {"ledgers": (LedgerEntry(1, 0, 9, 5, 0),)},
        "header_network": {"hash_suite": 2},
        "header_shape": {"channels": ()},
        "header_effect_before_cause": {"channels": (ChannelEntry(B, 3, 1),)},
        "header_in_transit_negative": {"ledgers": (LedgerEntry(1, 0, 10, 5, 6),)},
    }
    for reason, changes in cases.items():
        assert refused_header(world, chain.sign(chain.make(**{**plain, **changes}))) == reason, reason
    for changes, reason in (
        ({"account_count": 3}, "header_totals"), ({"slot_map_version": 0}, "header_totals"),
        ({"last_number": 5}, "header_log_numbers"), ({"relay_time": world.state.time + 1}, "header_relay_height"),
        ({"ledgers": (LedgerEntry(2, 0, 10, 5, 0),)}, "header_shape"), ({"shard": 0x1000}, "header_shard_unknown"),
        ({"genesis_hash": bytes(32)}, "header_network"),
    ):  # fmt: skip
        assert refused_header(world, chain.sign(chain.make(**{**plain, **changes}))) == reason, changes
    good = chain.sign(chain.make(**plain))
    assert refused_header(world, replace(good, key_id=9)) == "header_key_unknown"
    assert refused_header(world, replace(good, signature=bytes(64))) == "header_signature"
    assert refused_header(world, chain.sign(good.header, peer.network.key(2, Role.BLOCK))) == "header_signature"
    world.state.check(*world.propose(HeaderOffer(good)), world.now)


def test_a_header_behind_what_it_consumed_is_refused(world: World) -> None:
    for _ in range(3):
        world.step()
    chain = world.chain(A)
    early = chain.make(relay_height=3, relay_time=world.state.time, time=world.state.time - 6 * 10**9)
    assert refused_header(world, chain.sign(early)) == "header_time_behind_relay"
    fine = chain.make(relay_height=3, relay_time=world.state.time, time=world.state.time)
    block, sidecar = world.propose(HeaderOffer(chain.sign(fine)))
    world.state.check(block, sidecar, world.now)
    assert len(sidecar.paths) == 1


def test_a_header_stands_once_in_a_block_and_shards_ascend(world: World) -> None:
    one, other = world.chain(A), world.chain(B)
    records = [header_record(each.seal()) for each in (one, other)]
    block, _ = world.propose()
    assert refused(world, world.remake(block, records[::-1]), Sidecar((None, None))) == "headers_order"
    assert refused(world, world.remake(block, [records[0]] * 2), Sidecar((None, None))) == "headers_order"
    world.state.check(world.remake(block, records), Sidecar((None, None)), world.now)


def test_an_effect_waits_for_its_cause_and_nobody_else_waits(world: World) -> None:
    """RELAY-24: the receiver's header waits for the sender's; both together stand; other domains are not touched."""
    source, target, far = world.chain(A), world.chain(B), world.chain(0x200)
    target.seal(received=2, debits=7)
    far.seal()
    world.step(target.offer(), far.offer())
    assert (world.state.shards[B].height, world.state.shards[0x200].height) == (0, 1)
    source.seal(sent=2, credits=7)
    world.step(target.offer(), source.offer())
    assert (world.state.shards[A].height, world.state.shards[B].height) == (1, 1)


def test_the_newest_that_passes_is_chosen(world: World) -> None:
    chain = world.chain(A)
    first = HeaderOffer(chain.seal())
    chain.seal()
    future = HeaderOffer(chain.sign(replace(chain.last, time=world.now + 4 * 10**9)))
    block, sidecar = world.propose(future, first)
    world.state.check(block, sidecar, world.now)
    assert [record.signed_header() for record in block.records] == [first.signed]


# Verified heights.


def test_more_than_f_executed_and_held_verifies_a_height_and_those_before(world: World) -> None:
    """RELAY-26: both bits, more than F of the power, told by the statements in the next block."""
    chain, other = world.chain(A), world.chain(B)
    for _ in range(3):
        chain.seal()
    other.seal()
    both, executed = Statement.of(2, [0, 1], [0]), Statement.of(2, [0, 1], [1])
    world.step(chain.offer(), other.offer(), statements={0: both, 1: both, 2: executed})
    assert not world.state.verified(A, 3)
    world.step()
    assert world.state.shards[A].verified_height == 3
    assert world.state.verified(A, 1)
    assert not world.state.verified(A, 4)
    assert not world.state.verified(B, 1)


def test_withheld_statements_only_delay(world: World) -> None:
    chain = world.chain(A)
    chain.seal()
    both = Statement.of(1, [0], [0])
    world.step(chain.offer(), statements=dict.fromkeys(range(3), both))
    world.statements = ()
    world.step()
    assert not world.state.verified(A, 1)
    chain.seal()
    world.step(chain.offer(1), statements=dict.fromkeys(range(3), both))
    world.step()
    assert world.state.verified(A, 1)


def test_a_statement_is_exact() -> None:
    one = Statement.of(9, [0, 8], [3])
    assert Statement.decode(one.encode()) == one
    assert len(one.encode()) == 8 + 2 * 2
    for wrong in (one.encode()[:-1], one.encode() + b"\0", bytes(3), one.encode()[:9] + b"\2" + one.encode()[10:]):
        with pytest.raises(EncodingError):
            Statement.decode(wrong)
    with pytest.raises(EncodingError):
        Statement.of(8, [8])


# Leaders.


def test_every_member_leads_once_and_power_counts() -> None:
    """RELAY-14: a permutation for each height; the strong are first more often."""
    keys = [development_key(b"lead", str(at), participant=60 + at, role=Role.BLOCK) for at in range(5)]
    members = tuple(
        Validator(key.participant, 1, power, padded_key(key.public_key))
        for key, power in zip(keys, (3, 3, 3, 1, 1), strict=True)
    )
    validators = ValidatorSet(7, 1, members)
    firsts = [0] * 5
    for height in range(1, 551):
        order = leader_order(1, bytes(32), validators, {}, height)
        assert sorted(order) == [0, 1, 2, 3, 4]
        firsts[order[0]] += 1
    assert all(110 < count < 190 for count in firsts[:3])
    assert all(25 < count < 80 for count in firsts[3:])
    assert leader_order(1, bytes(32), validators, {}, 9) == leader_order(1, bytes(32), validators, {}, 9)


def test_a_dead_leader_is_skipped_longer_each_time_and_comes_back_by_signing(world: World) -> None:
    """RELAY-15: 8 heights, then 16; it stands at the end until its signature is seen again."""
    while world.state.leader_order(world.state.height + 1)[0] != 3:
        world.step()
    key = world.state.set_at(1).members[3].public_key
    failed_at = world.state.height + 1
    world.step(view=1)
    assert world.state.penalties[key] == Penalty(failed_at, failed_at + 8, 8, signed=False)
    for _ in range(12):
        assert world.state.leader_order(world.state.height + 1)[-1] == 3
        world.step()
    # Over, and still silent: still last. Then it signs.
    world.step(signers=(1, 2, 3))
    assert world.state.leader_order(world.state.height + 1)[-1] == 3
    world.step()
    assert world.state.penalties[key].signed
    while world.state.leader_order(world.state.height + 1)[0] != 3:
        world.step()
    world.step(view=1)
    assert world.state.penalties[key].length == 16
    for _ in range(17):
        world.step(signers=(1, 2, 3))
    while world.state.leader_order(world.state.height + 1)[0] != 3:
        world.step()
    world.step()
    assert key not in world.state.penalties


def test_never_more_than_f_stands_at_the_end(world: World) -> None:
    validators = world.state.set_at(1)
    punished = {member.public_key: Penalty(1, 10**6, 1024, signed=False) for member in validators.members}
    plain = leader_order(1, world.genesis.hash, validators, {}, 5)
    order = leader_order(1, world.genesis.hash, validators, punished, 5)
    assert order[-1] == 0
    assert order[:-1] == tuple(each for each in plain if each != 0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from([8, 16, 1024]), st.booleans()), min_size=4, max_size=4),
    st.integers(1, 60),
)
def test_the_end_never_holds_more_than_f_and_nobody_is_lost(said: list[tuple[int, int, bool]], height: int) -> None:
    validators = WORLD.state.set_at(1)
    penalties = {
        member.public_key: Penalty(since, since + length, length, signed=signed)
        for member, (since, length, signed) in zip(validators.members, said, strict=True)
    }
    plain = leader_order(1, WORLD.genesis.hash, validators, {}, height)
    order = leader_order(1, WORLD.genesis.hash, validators, penalties, height)
    assert sorted(order) == sorted(plain)
    kept = max(at for at in range(5) if order[:at] == tuple(each for each in plain if each not in order[at:]))
    assert len(order) - kept <= validators.fault_max


def test_a_block_of_a_late_view_punishes_each_leader_before_it_once(world: World) -> None:
    order = world.state.leader_order(1)
    world.step(view=9)
    members = world.state.set_at(1).members
    punished = {at for at in range(4) if members[at].public_key in world.state.penalties}
    assert punished == {order[0], order[2], order[3]}


# As a value.


def test_a_state_is_a_value_and_its_bytes_are_canonical(world: World) -> None:
    """RELAY-50: the same blocks give the same bytes, whoever signed the tip, and old states are untouched."""
    chain = world.chain(A)
    chain.seal()
    before = world.state
    bytes_before = before.encode()
    block = world.step(chain.offer(), reveal_record(world.preimage(3)), view=2)
    assert before.encode() == bytes_before
    again = before.after(block, world.certify(block, (1, 2, 3), view=5))
    assert again.encode() == world.state.encode()
    assert again == world.state
    data = world.state.encode()
    assert RelayState.decode(data, world.genesis) == world.state
    for wrong in (data[:-1], data + b"\0", b"", data[:40]):
        with pytest.raises(EncodingError):
            RelayState.decode(wrong, world.genesis)
    with pytest.raises(EncodingError):
        RelayState.decode(data, development_network(b"other").genesis)


def test_a_changed_byte_of_a_state_is_another_state_or_none(world: World) -> None:
    chain = world.chain(A)
    chain.seal()
    world.step(chain.offer(), reveal_record(world.preimage(3)), view=2)
    data = world.state.encode()
    for at in range(0, len(data), 5):
        changed = bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]])
        try:
            state = RelayState.decode(changed, world.genesis)
        except (EncodingError, CertificateRefused):
            continue
        assert state != world.state
        assert state.encode() == changed


@pytest.mark.parametrize(("suite", "signing_suite"), [(2, 1), (1, 2)])
def test_other_suites_do_the_same(suite: int, signing_suite: int) -> None:
    world = World(suite=suite, signing_suite=signing_suite)
    chain = world.chain(A)
    for _ in range(3):
        chain.seal()
        world.step(chain.offer(chain.last.height - 1))
    assert world.state.shards[A].height == 3
    assert RelayState.decode(world.state.encode(), world.genesis) == world.state


# The pool.


def test_the_pool_keeps_what_may_stand_and_says_when_there_is_work(world: World) -> None:
    pool, chain = Pool(), world.chain(A)
    assert not pool.has_work(world.state)
    chain.seal()
    assert pool.offer(chain.offer(), world.state)
    assert not pool.offer(chain.offer(), world.state)
    assert pool.refusal == "known"
    assert pool.has_work(world.state)
    assert pool.offer(reveal_record(world.preimage(1)), world.state)
    block = world.step(*pool.take(world.state))
    pool.finalized(world.state, block)
    assert pool.count == 0
    assert not pool.has_work(world.state)


def test_an_effect_without_its_cause_is_no_work(world: World) -> None:
    """Blocks without content would follow each other at full speed else."""
    pool, source, target = Pool(), world.chain(A), world.chain(B)
    target.seal(received=1)
    assert pool.offer(target.offer(), world.state)
    assert not pool.has_work(world.state)
    source.seal(sent=1)
    assert pool.offer(source.offer(), world.state)
    assert pool.has_work(world.state)


def test_a_header_from_the_future_is_no_work_and_waits(world: World) -> None:
    """It is kept, proposed when its time has come, and costs nobody a view before."""
    pool, chain = Pool(), world.chain(A)
    chain.seal(time=world.now + 4 * 10**9)
    assert pool.offer(chain.offer(), world.state)
    assert not pool.has_work(world.state)
    assert world.propose(*pool.take(world.state))[1] == Sidecar(())
    assert world.propose(*pool.take(world.state), now=world.now + 2 * 10**9)[1] == Sidecar((None,))


def test_the_pool_refuses_with_a_word_and_within_its_bounds(world: World) -> None:
    pool, chain = Pool(), world.chain(A)
    chain.seal()
    assert not pool.offer(HeaderOffer(replace(chain.signed[0], signature=bytes(64))), world.state)
    assert pool.refusal == "header_signature"
    assert not pool.offer(evidence_record_of_nothing(world), world.state)
    assert pool.refusal == "evidence_no_conflict"
    assert not pool.offer(parent_certificate_record(Certificate(2, 1, 1, 0, bytes(32), ())), world.state)
    assert pool.refusal == "record_type"
    for at in range(2048):
        assert pool.offer(reveal_record(world.preimage(at)), world.state, source="flood")
    assert not pool.offer(reveal_record(world.preimage(5000)), world.state, source="flood")
    assert pool.refusal == "source_full"
    assert pool.offer(reveal_record(world.preimage(5000)), world.state, source="other")
    assert len(world.propose(*pool.take(world.state))[0].preimages()) == 1024
    for _ in range(9):
        chain.seal()
        pool.offer(HeaderOffer(chain.signed[-1], (chain.path(1, len(chain.signed)),)), world.state)
    assert len([each for each in pool.take(world.state) if isinstance(each, HeaderOffer)]) <= 4


def evidence_record_of_nothing(world: World) -> RelayRecord:
    from engine.evidence import ForkedShard

    chain = world.chain(A)
    signed = chain.sign(chain.make())
    return evidence_record(ForkedShard(signed, signed))


def test_offers_and_sidecars_are_exact(world: World) -> None:
    chain = world.chain(A)
    for _ in range(6):
        chain.seal()
    offer = HeaderOffer(chain.signed[-1], (chain.path(1, 6), chain.path(3, 6)))
    assert HeaderOffer.decode(offer.encode()) == offer
    assert offer.path_from(3) == chain.path(3, 6)
    assert offer.path_from(2) is None
    sidecar = Sidecar((None, chain.path(1, 6), None))
    assert Sidecar.decode(sidecar.encode()) == sidecar
    assert Sidecar.decode(b"") == Sidecar()
    for data, read in ((offer.encode(), HeaderOffer.decode), (sidecar.encode(), Sidecar.decode)):
        for wrong in (data[:-1], data + b"\0", data[:9]):
            with pytest.raises(EncodingError):
                read(wrong)
