"""A held transfer that is looked up says how it ended, with a proof, also after a restart that lost the index."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from clearspan.simulation.world import World
from engine.admin import AdminColumns, AdminRequest
from engine.block import DecisionProof
from engine.codes import ResultCode as Code
from engine.record import shard_index_of_slot, slot_of_account
from engine.types import NS_PER_S, AdminType, Role
from shards.node import DomainNode
from tests.behaviour.test_node import Harness

THRESHOLD = 500
OPERATORS, SUPERVISOR = (1, 2), 3
THE_OTHER = 77


def shard_of(world: World, account: int) -> int:
    shards = world.genesis.domains[0].shards
    return shard_index_of_slot(slot_of_account(account), shards)


async def ask(harness: Harness, kind: AdminType, *signers: int, **fields: object) -> None:
    world = harness.world
    request = AdminRequest(world.next_id(), int(kind), harness.clock() + 300 * NS_PER_S, 3600, **fields)  # type: ignore[arg-type]
    reply = await harness.node.administer(AdminColumns.from_requests([world.admin(request, *signers)]), submitter=1)
    assert reply.codes.tolist() == [Code.CREATED]


async def second_supervisor(harness: Harness) -> int:
    """Let another participant join as a supervisor; return its key id."""
    world = harness.world
    joining, registrar = world._key(9, "the other's registrar")
    fields = {"participant": THE_OTHER, "subject": 0x41, "limit_a": 9, "limit_b": 9, "role": 1 << Role.SUPERVISOR}
    new = {"suite": registrar.suite, "public_key": registrar.public.ljust(64, b"\x00")}
    await ask(harness, AdminType.PARTICIPANT_ADD, OPERATORS[0], **fields, **new)
    key_id, key = world._key(9, "the other supervisor")
    new = {"suite": key.suite, "public_key": key.public.ljust(64, b"\x00")}
    await ask(harness, AdminType.KEY_ADD, *OPERATORS, participant=THE_OTHER, role=int(Role.SUPERVISOR), **new)
    assert key_id == joining + 1
    return key_id


async def settled(node: DomainNode, digest: bytes, code: Code):
    """Look a transfer up until it says this."""
    for _ in range(300):
        (entry,) = await node.lookup_transfers(digest)
        if entry is not None and entry.code == code:
            return entry
        await asyncio.sleep(0.01)
    raise AssertionError((code, entry))


async def proved(harness: Harness, digest: bytes) -> int:
    """The code that the proof of a decision shows."""
    for _ in range(200):
        proof = await harness.node.decision_proof(digest)
        if proof is not None:
            key = harness.world.block_key.secret
            return DecisionProof.decode(proof).verify(key.suite, key.public).code
        await asyncio.sleep(0.02)
    raise AssertionError("no proof")


@pytest.mark.timeout(60)
def test_every_end_of_a_hold_is_found(tmp_path: Path) -> None:
    """LEDGER-106, BLOCK-2."""

    async def scenario() -> None:
        world = World.make(7)
        harness = Harness(tmp_path, world)
        await harness.start()
        await harness.enrol()
        other = await second_supervisor(harness)
        rules = {"ledger": world.ledger, "limit_a": THRESHOLD}
        await ask(harness, AdminType.LEDGER_RULES, OPERATORS[0], SUPERVISOR, limit_b=3600 * NS_PER_S, **rules)
        (payer, key), payee = world.accounts[0], world.accounts[1][0]
        made = [world.transfer(payer, payee, THRESHOLD + nth, key, harness.clock()) for nth in range(3)]
        reply = await harness.node.submit(world.signed(made), submitter=9)
        assert reply.codes.tolist() == [Code.HELD] * 3
        digests = world.digests(made)
        for digest in digests:
            await settled(harness.node, digest, Code.HELD)
        fields = {"subject": payer, "ledger": world.ledger, "reason": 1}
        await ask(harness, AdminType.HOLD_RELEASE, SUPERVISOR, other, limit_b=made[0].id, **fields)
        await ask(harness, AdminType.HOLD_REJECT, SUPERVISOR, OPERATORS[0], limit_b=made[1].id, **fields)
        # A later rule is not that of the hold that waits.
        await ask(harness, AdminType.LEDGER_RULES, OPERATORS[0], SUPERVISOR, limit_b=NS_PER_S, **rules)
        paid = Code.CREATED if shard_of(world, payer) == shard_of(world, payee) else Code.CREATED_IN_TRANSIT
        ends = [paid, Code.HOLD_REJECTED, Code.HELD]
        for digest, code in zip(digests, ends, strict=True):
            await settled(harness.node, digest, code)
        harness.clock.now += 3600 * NS_PER_S
        await harness.node.submit(world.signed([world.transfer(payer, payee, 1, key, harness.clock())]), submitter=9)
        ends[2] = Code.HOLD_EXPIRED
        for digest, code in zip(digests, ends, strict=True):
            assert (await settled(harness.node, digest, code)).digest == digest
        assert [await proved(harness, digest) for digest in digests[1:]] == ends[1:]
        await harness.stop()
        # What is only an index is made again from the log.
        shutil.rmtree(tmp_path / "index")
        await harness.start()
        for digest, code in zip(digests, ends, strict=True):
            await settled(harness.node, digest, code)
        await harness.stop()

    asyncio.run(scenario())
