"""Fraud claims between validators: only what one found itself is signed, signatures gather, and what is kept is bounded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from clearspan.validator.claims import ClaimDesk
from clearspan.validator.first_run import floor_of
from engine.evidence import FraudClaim, claim_of
from engine.governance import Approval
from engine.relay_block import evidence_record
from engine.types import RelayRecordType
from relay.ports import Member
from tests.behaviour.relay_world import World

A = 0x100


class Offers:
    """A shell that notes what is offered."""

    def __init__(self) -> None:
        self.taken = []

    async def offer(self, item, source=None):
        self.taken.append(item)


class Evidence:
    def __init__(self) -> None:
        self.added = []

    def add(self, evidence) -> None:
        self.added.append(evidence)


class NoAddresses:
    def target(self, public_key):
        return None


@pytest.fixture
def world() -> World:
    world = World()
    chain = world.chain(A)
    chain.seal()
    world.step(chain.offer())
    return world


def desk_of(world: World, index: int | None) -> ClaimDesk:
    """The desk of one member, or of an observer."""
    validator = SimpleNamespace(
        genesis=world.genesis, state=world.state, shell=Offers(), addresses=NoAddresses()
    )  # fmt: skip
    member = None
    if index is not None:
        public_key = world.state.set_at(1).members[index].public_key
        member = Member(public_key, 1, world.members[1][index].sign)
    desk = ClaimDesk(validator, member, Evidence(), None)
    desk.asked = []
    desk.examine = desk.asked.append
    return desk


def headers(world: World):
    """The anchored header, and what re-execution gave instead."""
    final = world.state.shards[A].header
    return final, replace(final, state_root=b"\x66" * 32)


def said(desk: ClaimDesk) -> list[FraudClaim]:
    """What a desk offers when its task runs for a moment."""

    async def work() -> None:
        task = asyncio.create_task(desk.run())
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(work())
    return [each.evidence() for each in desk._validator.shell.taken]


def test_three_of_four_confirm_each_other(world: World) -> None:
    """Each signs what it found; whoever has heard two others offers a record that suspends."""
    desks = [desk_of(world, index) for index in range(3)]
    for desk in desks:
        desk.make(*headers(world))
    singles = [said(desk)[-1] for desk in desks]
    assert [[row.index for row in each.approvals] for each in singles] == [[0], [1], [2]]
    for single in singles[1:]:
        desks[0].hear(evidence_record(single))
    confirmed = said(desks[0])[-1]
    assert [row.index for row in confirmed.approvals] == [0, 1, 2]
    world.step(evidence_record(confirmed))
    assert world.state.shards[A].suspended
    desks[0]._validator.state = world.state
    desks[0].hear(evidence_record(singles[1]))
    desks[0]._news.set()
    said(desks[0])
    assert desks[0].open == 0


def test_nothing_is_signed_on_hearsay(world: World) -> None:
    """A claim of others is looked into, and offered by nobody who did not find it."""
    liar, desk, observer = desk_of(world, 3), desk_of(world, 0), desk_of(world, None)
    liar.make(*headers(world))
    (claim,) = said(liar)
    for each in (desk, observer):
        each.hear(evidence_record(claim))
        assert said(each) == []
    assert desk.asked == [replace(claim, approvals=())]
    assert observer.asked == [] and observer.open == 0


def test_bad_signatures_do_not_count(world: World) -> None:
    desk, liar = desk_of(world, 0), desk_of(world, 1)
    liar.make(*headers(world))
    (claim,) = said(liar)
    row = claim.approvals[0]
    for rows in ((Approval(2, row.signature),), (Approval(1, bytes(64)),), (Approval(900, row.signature),), ()):
        desk.hear(evidence_record(replace(claim, approvals=rows)))
    assert desk.asked == [] and desk.open == 0


def test_claims_of_others_are_bounded(world: World) -> None:
    """A member that invents claims fills no more than its place."""
    desk, key = desk_of(world, 0), world.members[1][1]
    final, _ = headers(world)
    for number in range(1, 200):
        plain = claim_of(final, replace(final, state_root=number.to_bytes(32, "little")))
        rows = world.approvals(RelayRecordType.EVIDENCE, plain.body(), (1,))
        desk.hear(evidence_record(replace(plain, approvals=rows)))
    assert key is not None and desk.open == 64 == len(desk.asked)


def test_a_header_that_differs_elsewhere_is_claimed_by_its_hash(world: World) -> None:
    """RELAY-42: the state roots agree, another field does not; the relay takes the claim."""
    final, _ = headers(world)
    claim = claim_of(final, replace(final, decision_count=7))
    assert claim.claimed_root == final.hash and claim.computed_root != final.hash
    rows = world.approvals(RelayRecordType.EVIDENCE, claim.body(), (0, 1, 2))
    world.step(evidence_record(replace(claim, approvals=rows)))
    assert world.state.shards[A].suspended


def test_the_floor_of_a_key_without_a_past() -> None:
    """The most modest quorum counts: who names more is not needed, and who names less is not alone."""
    validators = World().state.set_at(1)
    assert floor_of({}, validators) is None
    assert floor_of({0: 5, 1: 5}, validators) is None
    assert floor_of({0: 5, 1: 6, 2: 7}, validators) == 7
    assert floor_of({0: 5, 1: 6, 2: 7, 3: 10**9}, validators) == 7
    assert floor_of({0: 0, 1: 6, 2: 7, 3: 8}, validators) == 7
