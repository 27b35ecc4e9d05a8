"""A light client is led from set to set by proofs, believes no retired set, and verifies any later block."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import reveal_record, validator_set_record
from engine.types import VotePhase
from engine.validators import ValidatorSet
from relay.light import LightClient, RecordProof, Trust
from tests.behaviour.relay_world import World
from tests.behaviour.test_relay_governance import EPOCH, a_set


def led(world: World, sets: int) -> list[RecordProof]:
    """Let the world change its set so many times; return the proofs."""
    proofs = []
    for _ in range(sets):
        following = a_set(world, world.state.sets[-1].set_id + 1, world.state.height + 1 + EPOCH, suite=2)
        block = world.step(world.approved(validator_set_record, following))
        index = next(at for at, record in enumerate(block.records) if record.type == 4)
        proofs.append(RecordProof.of(1, block, world.certificate, index))
        while world.state.height < following.first_height:
            world.step()
    return proofs


@pytest.fixture(scope="module")
def story() -> tuple[World, list[RecordProof]]:
    world = World()
    world.step()
    return world, led(world, 3)


def step_of(error) -> str:
    return error.value.step


def test_it_follows_from_genesis_and_verifies_any_height(story) -> None:
    """RELAY-60: the blocks between are not needed; a proof reads back from its bytes."""
    world, proofs = story
    client = LightClient.from_genesis(world.genesis)
    for proof in proofs:
        data = proof.encode()
        assert RecordProof.decode(data) == proof
        client.follow(RecordProof.decode(data))
    assert client.newest == world.state.sets[-1]
    for block, certificate in (world.blocks[0], world.blocks[len(world.blocks) // 2], world.blocks[-1]):
        assert client.verify(block.header, certificate) == 3


def test_an_old_set_is_stale_trust(story) -> None:
    """RELAY-61."""
    world, proofs = story
    client = LightClient.from_genesis(world.genesis)
    with pytest.raises(ProofRefused) as error:
        client.verify(world.blocks[-1][0].header, world.blocks[-1][1])
    assert step_of(error) == "stale_trust"
    client.follow(proofs[0])
    with pytest.raises(ProofRefused) as error:
        client.verify(world.blocks[-1][0].header, world.blocks[-1][1])
    assert step_of(error) == "stale_trust"


def test_a_retired_set_decides_no_later_height(story) -> None:
    """The first set's keys sign a block of a height that the second decides."""
    world, proofs = story
    client = LightClient.from_genesis(world.genesis)
    client.follow(proofs[0])
    last = world.blocks[client.newest.first_height + 2][0]
    forged = world.remake(last, set_id=1)
    votes = world.certify(forged)
    with pytest.raises(ProofRefused) as error:
        client.verify(forged.header, votes)
    assert step_of(error) == "certificate"


def test_trust_goes_stale_with_time(story) -> None:
    world, _ = story
    block, certificate = world.blocks[0]
    client = LightClient.from_genesis(world.genesis, trust_period_ns=10**12)
    assert client.verify(block.header, certificate, now=world.genesis.time + 10**12) == 3
    with pytest.raises(ProofRefused) as error:
        client.verify(block.header, certificate, now=world.genesis.time + 10**12 + 1)
    assert step_of(error) == "stale_trust"


def test_a_trusted_checkpoint_serves_as_a_beginning(story) -> None:
    world, proofs = story
    client = LightClient.from_genesis(world.genesis)
    client.follow(proofs[0])
    at = client.newest.first_height
    block, certificate = world.blocks[at]
    client.verify(block.header, certificate)
    trust = client.trust_at(block.header)
    late = LightClient(1, world.genesis.hash, trust)
    assert late.verify(block.header, certificate) == 3
    late.follow(proofs[1])
    assert late.verify(world.blocks[late.newest.first_height][0].header, world.blocks[late.newest.first_height][1]) == 3
    with pytest.raises(ProofRefused) as error:
        late.verify(world.blocks[0][0].header, world.blocks[0][1])
    assert step_of(error) == "trust"
    elsewhere = LightClient(1, world.genesis.hash, replace(trust, hash=bytes(32)))
    with pytest.raises(ProofRefused) as error:
        elsewhere.verify(block.header, certificate)
    assert step_of(error) == "fork"


def test_proofs_that_do_not_lead_are_refused(story) -> None:
    world, proofs = story
    client = LightClient.from_genesis(world.genesis)
    one, two = proofs[0], proofs[1]
    other = LightClient(1, bytes(32), Trust(ValidatorSet.of_genesis(world.genesis)))
    with pytest.raises(ProofRefused):
        other.follow(one)
    cases = {
        "skips a set": two,
        "its record is another": replace(one, record=two.record),
        "its path is another": replace(one, path=replace(one.path, index=(one.path.index + 1) % 2)),
        "it counts other records": replace(one, path=replace(one.path, count=9)),
        "its certificate is another block's": replace(one, certificate=world.blocks[0][1]),
        "too few signed": replace(one, certificate=replace(one.certificate, signers=one.certificate.signers[:2])),
        "votes to prepare": replace(one, certificate=replace(one.certificate, phase=VotePhase.PREPARE)),
        "its header is another": replace(one, header=replace(one.header, body_root=bytes(32))),
        "no set at all": replace(one, record=reveal_record(bytes(32))),
    }
    for name, proof in cases.items():
        with pytest.raises(ProofRefused):
            client.follow(proof)
        assert client.newest.set_id == 1, name
    client.follow(one)
    with pytest.raises(ProofRefused):
        client.follow(one)


def test_every_byte_of_a_proof_counts(story) -> None:
    world, proofs = story
    data = proofs[0].encode()
    for at in range(0, len(data), 3):
        client = LightClient.from_genesis(world.genesis)
        with pytest.raises((ProofRefused, EncodingError)):
            client.follow(RecordProof.decode(bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]])))
    for wrong in (data[:-1], data + b"\0", data[:19], b""):
        with pytest.raises(EncodingError):
            RecordProof.decode(wrong)
