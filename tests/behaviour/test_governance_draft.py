"""Drafts of governance records: what is approved is what takes effect, and nothing short of it makes a record."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from clearspan.errors import ConfigError
from clearspan.governance_draft import (
    GovernanceDraft,
    Standing,
    draft_block_key,
    draft_corridor,
    draft_drift,
    draft_epoch_length,
    draft_resume,
    draft_slot_map,
    draft_validator_set,
)
from clearspan.validator.standing import _governance
from engine.refusals import CertificateRefused
from engine.types import RelayRecordType, Role, SigningSuite
from engine.validators import Validator
from native.signatures import public_key
from relay.v1 import relay_pb2
from tests.behaviour.relay_world import World

CORRIDOR = bytes(range(16))
NEW = bytes([7]) * 32


@dataclass
class Key:
    """A development key as a key file shows itself."""

    suite: int
    public: bytes
    secret: object

    @property
    def info(self):
        return SimpleNamespace(suite=self.suite, public_key=self.public)

    def sign(self, message: bytes) -> bytes:
        return self.secret.sign(message)


def key_of(key) -> Key:
    return Key(key.suite, key.public_key, key)


@pytest.fixture
def world() -> World:
    world = World()
    world.step()
    return world


def standing(world: World) -> Standing:
    """What a validator with this state answers, over the wire."""
    status = relay_pb2.RelayStatus(final_height=world.state.height, governance=_governance(world.state))
    return Standing.of(relay_pb2.RelayStatus.FromString(status.SerializeToString()))


def approved(world: World, draft: GovernanceDraft, members=(0, 1, 2)) -> GovernanceDraft:
    for index in members:
        draft = draft.approved(world.genesis, key_of(world.members[1][index]))
    return draft


def takes_effect(world: World, draft: GovernanceDraft) -> None:
    """Through the document, into a block that the state's rules accept."""
    again = GovernanceDraft.decode(draft.encode().encode())
    assert again == draft
    record = again.record(world.genesis, standing(world).in_force)
    block = world.step(record)
    assert record in block.records


def test_each_kind_takes_effect(world: World) -> None:
    """Every kind from how the validators stand, twice where versions count, and said in words."""
    genesis, domain = world.genesis, world.genesis.domains[0]
    secret = Key(1, public_key(1, NEW), None)
    for _ in range(2):
        now = standing(world)
        for draft in (
            draft_corridor(now, genesis, CORRIDOR, b"{}"),
            draft_slot_map(now, genesis, domain.domain, bytes(4_096)),
        ):
            assert len(draft.words(genesis)) == 1
            takes_effect(world, approved(world, draft))
        takes_effect(world, approved(world, draft_epoch_length(standing(world), genesis, 7)))
        takes_effect(world, approved(world, draft_drift(standing(world), genesis, 10**9)))
    assert standing(world).corridors == {CORRIDOR: 2} and standing(world).slot_maps == {domain.domain: 3}
    assert standing(world).sequence == 4 and standing(world).epoch_length == 7
    old = world.network.key(domain.domain, Role.BLOCK)
    change = draft_block_key(
        standing(world), genesis, domain.domain, old_key_id=old.key_id, new_key_id=99, suite=1, public_key=secret.public
    )
    with pytest.raises(ConfigError, match="old and the new"):
        change.record(genesis, standing(world).in_force)
    from native.signatures import sign

    new = Key(1, secret.public, SimpleNamespace(sign=lambda message: sign(1, NEW, message)))
    takes_effect(world, change.approved(genesis, key_of(old)).approved(genesis, new))
    assert standing(world).block_keys == {domain.domain: 1}


def test_a_set_is_drafted_checked_and_pending_once(world: World) -> None:
    now, genesis = standing(world), world.genesis
    member = Validator(905, SigningSuite.SM2, 1, public_key(2, NEW).ljust(64, b"\0"))
    draft = draft_validator_set(now, genesis, (*now.in_force.members, member), ahead=5)
    assert draft.words(genesis)[0].startswith("validator set 2, from relay height 39: power 5, 1 of it may lie")
    assert any("905: power 1, sm2 key" in line for line in draft.words(genesis))
    takes_effect(world, approved(world, draft))
    with pytest.raises(ConfigError, match="takes effect at height 39"):
        draft_validator_set(standing(world), genesis, now.in_force.members)
    with pytest.raises(CertificateRefused):
        draft_validator_set(now, genesis, now.in_force.members[:2])


def test_a_suspended_shard_resumes_from_a_draft(world: World) -> None:
    resume = draft_resume(
        standing(world), world.genesis, 0x100, key_id=9, suite=1, public_key=public_key(1, NEW), epoch=2, header=None
    )
    assert resume.words(world.genesis)[0].startswith("shard 0x100 resumes from nothing, epoch 2, under key 9")
    record = approved(world, resume).record(world.genesis, standing(world).in_force)
    assert world.state.draft().shards[0x100].suspended is False
    assert record.parameter().epoch == 2


def test_too_few_others_and_forged_approvals_make_no_record(world: World) -> None:
    """More than two thirds of the set in force, each signature counted if it holds."""
    draft, genesis = draft_epoch_length(standing(world), world.genesis, 9), world.genesis
    in_force = standing(world).in_force
    assert approved(world, draft, (0, 0, 1)).power(genesis, in_force) == 2
    stranger = Key(1, public_key(1, NEW), SimpleNamespace(sign=lambda _: bytes(64)))
    forged = Key(1, world.members[1][2].public_key, SimpleNamespace(sign=lambda _: bytes(64)))
    few = approved(world, draft, (0, 1)).approved(genesis, stranger).approved(genesis, forged)
    with pytest.raises(ConfigError, match="power 2 of 4"):
        few.record(genesis, in_force)
    assert few.merged(approved(world, draft, (3,))).power(genesis, in_force) == 3
    with pytest.raises(ConfigError, match="different records"):
        draft.merged(draft_epoch_length(standing(world), genesis, 10))
    with pytest.raises(ConfigError, match="another network"):
        draft.approved(World(suite=2).genesis, key_of(world.members[1][0]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tree: tree.replace('"format": 1', '"format": 2'),
        lambda tree: tree.replace('"type": 8', '"type": 1'),
        lambda tree: tree.replace('"body": "', '"body": "00'),
        lambda tree: tree.replace('"approvals": []', '"approvals": [{"public_key": "00", "signature": "00"}]'),
        lambda tree: tree[:-9],
        lambda _: "[" * 100_000,
        lambda _: "",
    ],
)
def test_a_document_that_is_none_is_refused(world: World, spoil) -> None:
    good = draft_epoch_length(standing(world), world.genesis, 9)
    assert good.type is RelayRecordType.PARAMETER
    with pytest.raises(ConfigError, match="draft"):
        GovernanceDraft.decode(spoil(good.encode()).encode())
