"""Receipts of claims and refunds: nobody signed those records, and the log holds neither; both are proven all the same."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from clearspan.simulation.world import World
from clearspan.verifier.offline import read_trust, verify_receipt
from engine.codes import ResultCode
from engine.receipt import ReceiptForm, decode_receipt
from engine.record import derived_claim, derived_refund
from engine.refusals import ProofRefused
from engine.relay_block import reveal_record
from engine.types import NS_PER_S, TransferFlag, TransferKind
from engine.validators import ValidatorSet
from native.hashing import digest as hash_of
from tests.behaviour.relay_of_node import Linked, Relay, world_with_validators

TIMELOCK_S = 3_600
SECRETS = [hashlib.sha256(bytes([number])).digest() for number in range(4)]


class PatientRelay(Relay):
    """A relay whose voters' clocks a test moves on."""

    late = 0

    def vote(self, index, block, phase=2, **changes):
        changes.setdefault("time", block.header.time + 10_000_000 + self.late)
        return super().vote(index, block, phase, **changes)


@pytest.fixture
def world() -> World:
    return world_with_validators()


def locks_of(linked: Linked) -> list:
    """Locks within a shard and across: SHA-256, SM3, two under one hashlock."""
    ring, now = linked.world.accounts, linked.faulty.clock()
    found = []
    for place, (secret, step, sm3) in enumerate(((0, 1, False), (0, 3, False), (1, 3, True), (2, 2, False))):
        payer, key_id = ring[place % len(ring)]
        flags = TransferKind.LOCK | (TransferFlag.HASH_IS_SM3 if sm3 else 0)
        hashlock = hash_of(2 if sm3 else 1, SECRETS[secret])
        found.append(
            linked.world.transfer(
                payer, ring[(place + step) % len(ring)][0], 50 + place, key_id, now,
                flags=int(flags), until=now + TIMELOCK_S * NS_PER_S, binding=hashlock,
            )
        )  # fmt: skip
    return found


async def receipt_of(linked: Linked, digest: bytes, form: ReceiptForm):
    data = await linked.desk.receipt(digest, form, wait_s=20)
    assert data is not None
    genesis = linked.world.genesis
    assert verify_receipt(data, read_trust(genesis.document)).state in {"anchored", "verified"}
    return decode_receipt(data).verify(genesis.hash_suite, genesis.hash, ValidatorSet.of_genesis(genesis))


@pytest.mark.parametrize("restarts", [False, True])
def test_the_ends_of_locks_have_receipts(tmp_path: Path, world: World, restarts: bool) -> None:
    """A reveal claims three, the timelock refunds the fourth; each is found by its derived digest, also after a restart."""

    async def scenario() -> None:
        relay = PatientRelay(world)
        linked = Linked(tmp_path, world, relay)
        await linked.start()
        await linked.faulty.enrol()
        locks = locks_of(linked)
        reply = await linked.node.submit(world.signed(locks), submitter=1)
        assert reply.codes.tolist() == [ResultCode.CREATED] * 4
        digests, suite = world.digests(locks), world.genesis.hash_suite
        secrets = (SECRETS[0], SECRETS[0], SECRETS[1], SECRETS[2])
        claims = [derived_claim(suite, *each) for each in zip(locks, digests, secrets, strict=True)]
        refund = derived_refund(suite, locks[3], digests[3])
        relay.agree(reveal_record(SECRETS[0]))
        relay.agree(reveal_record(SECRETS[1]))
        relay.late = (TIMELOCK_S + 60) * NS_PER_S
        linked.faulty.clock.now += relay.late
        relay.agree()
        relay.late = 0
        relay.agree()
        await linked.consumed()
        linked.faulty.clock.now += 2 * NS_PER_S
        await linked.node.administer(world.freeze(world.accounts[0][0], linked.faulty.clock()), submitter=1)
        if restarts:
            # What the index held is made anew from the log.
            await linked.stop()
            for file in sorted((tmp_path / "index").rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()
            await linked.start()
        for place in range(3):
            (claim_digest,) = world.digests([claims[place]])
            for form in (ReceiptForm.PAYER, ReceiptForm.PAYEE):
                found = await receipt_of(linked, claim_digest, form)
                assert found.transfer == claims[place]
                assert (found.decision.code, found.decision.digest) == (ResultCode.CLAIMED, claim_digest)
            # Who holds the lock alone asks by it: the payer's says that it was made, the payee's that it was paid.
            assert (await receipt_of(linked, digests[place], ReceiptForm.PAYER)).decision.code == ResultCode.CREATED
            paid = await receipt_of(linked, digests[place], ReceiptForm.PAYEE)
            assert paid.transfer == claims[place]
            assert paid.speaks_of(suite, digests[place]) and not paid.speaks_of(suite, digests[place - 1])
        (refund_digest,) = world.digests([refund])
        found = await receipt_of(linked, refund_digest, ReceiptForm.PAYER)
        assert (found.transfer, found.decision.code) == (refund, ResultCode.REFUNDED)
        with pytest.raises(ProofRefused):
            await linked.desk.receipt(refund_digest, ReceiptForm.PAYEE, wait_s=1)
        # A claim that did not happen is not found, whoever knows its preimage.
        (never,) = world.digests([claims[3]])
        assert await linked.desk.receipt(never, ReceiptForm.PAYER) is None
        entries = await linked.node.lookup_transfers(world.digests([claims[0]])[0] + refund_digest)
        assert [each.code for each in entries] == [ResultCode.CLAIMED, ResultCode.REFUNDED]
        await linked.stop()

    asyncio.run(asyncio.wait_for(scenario(), 60))
