"""A node's line to the validators: headers go out, what is final comes in, and receipts convince whoever holds them."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from clearspan.relay_link.errors import LineLost
from clearspan.relay_link.lines import OfferAnswer
from clearspan.relay_link.offering import OFFERS_AT_ONCE_MAX, Offering
from clearspan.relay_link.store import AnchorStore
from clearspan.simulation.world import World
from clearspan.verifier.offline import read_trust, verify_receipt
from engine.codes import ResultCode
from engine.receipt import ReceiptForm, decode_receipt
from engine.refusals import ProofRefused
from engine.relay_block import reveal_record, validator_set_record
from engine.types import TransferFlag
from engine.validators import Validator, ValidatorSet
from shards.slots import SlotMap
from tests.behaviour.relay_of_node import (
    FakeLine,
    FakeLines,
    Linked,
    Relay,
    flip,
    tampered,
    validator_keys,
    world_with_validators,
)


@pytest.fixture
def world() -> World:
    return world_with_validators()


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


async def settled(linked: Linked, count: int = 32):
    """Settle a batch; return its digests with their codes."""
    batch = linked.faulty.payments(count)
    reply = await linked.node.submit(batch, submitter=1)
    transfers = [batch.transfer(row) for row in range(batch.count)]
    return list(zip(linked.world.digests(transfers), reply.codes.tolist(), strict=True)), transfers


def test_what_was_settled_becomes_final_and_receipts_prove_it(tmp_path: Path, world: World) -> None:
    """Payer's and payee's, within a shard and across, and a balance: for the engine and for the offline verifier."""

    async def scenario() -> None:
        linked = Linked(tmp_path, world, Relay(world, verified=2))
        await linked.start()
        await linked.faulty.enrol()
        decided, transfers = await settled(linked)
        assert {code for _, code in decided} == {ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT}
        trust = read_trust(world.genesis.document)
        first = ValidatorSet.of_genesis(world.genesis)
        for (digest, code), transfer in zip(decided, transfers, strict=True):
            for form in (ReceiptForm.PAYER, ReceiptForm.PAYEE):
                data = await linked.desk.receipt(digest, form, wait_s=20, verified=True)
                found = decode_receipt(data).verify(world.genesis.hash_suite, world.genesis.hash, first)
                assert found.transfer == transfer
                paid = ResultCode.CREDITED if code == ResultCode.CREATED_IN_TRANSIT else code
                assert found.decision.code == (code if form is ReceiptForm.PAYER else paid)
                assert found.anchorage.state == "final, verified"
        assert verify_receipt(data, trust).state == "verified"
        account = world.accounts[0][0]
        data = await linked.desk.balance(account, wait_s=20)
        balance = decode_receipt(data).verify(world.genesis.hash_suite, world.genesis.hash, first)
        assert balance.account.id == account
        assert await linked.desk.balance(account + 10**6, wait_s=1) is None
        assert await linked.desk.receipt(bytes(32), ReceiptForm.PAYER) is None
        await linked.consumed()
        assert linked.link.standing.height == linked.node.relay_height
        assert linked.figures.finals and not linked.figures.left
        await linked.stop()

    run(scenario())


def test_a_payee_gets_no_receipt_for_what_was_refused(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        linked = Linked(tmp_path, world, Relay(world))
        await linked.start()
        await linked.faulty.enrol(amount=100)
        batch = linked.faulty.payments(4, amount=10**9)
        reply = await linked.node.submit(batch, submitter=1)
        assert set(reply.codes.tolist()) == {ResultCode.INSUFFICIENT_FUNDS}
        (digest,) = world.digests([batch.transfer(0)])
        data = await linked.desk.receipt(digest, ReceiptForm.PAYER, wait_s=20)
        found = decode_receipt(data).verify(1, world.genesis.hash, ValidatorSet.of_genesis(world.genesis))
        assert (found.decision.code, found.anchorage.state) == (ResultCode.INSUFFICIENT_FUNDS, "final, anchored")
        with pytest.raises(ProofRefused):
            await linked.desk.receipt(digest, ReceiptForm.PAYEE, wait_s=20)
        await linked.stop()

    run(scenario())


def test_a_restart_goes_on_where_the_shards_are(tmp_path: Path, world: World) -> None:
    """Nothing is consumed twice, receipts of before are still there, and blocks that came meanwhile are fetched."""

    async def scenario() -> None:
        relay = Relay(world)
        linked = Linked(tmp_path, world, relay)
        await linked.start()
        await linked.faulty.enrol()
        decided, _ = await settled(linked)
        before = await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER, wait_s=20)
        await linked.consumed()
        consumed = linked.node.relay_height
        await linked.stop()
        for _ in range(5):
            relay.agree()
        await linked.start()
        assert linked.node.relay_height >= consumed
        await linked.consumed()
        await linked.final()
        assert linked.node.relay_height >= consumed + 5
        assert await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER) == before
        more, _ = await settled(linked)
        assert await linked.desk.receipt(more[0][0], ReceiptForm.PAYER, wait_s=20)
        # The store is a copy: without it all is fetched again, and the shards consume nothing of it twice.
        await linked.stop()
        shutil.rmtree(tmp_path / "relay")
        await linked.start()
        again = await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER, wait_s=20)
        assert decode_receipt(again).verify(1, world.genesis.hash, ValidatorSet.of_genesis(world.genesis))
        assert linked.lines.lines[0].asked[-1] == 1 or linked.lines.lines[1].asked[-1:] == [1]
        await linked.stop()

    run(scenario())


@pytest.mark.parametrize(
    "part, at",
    [("block", 16), ("block", 150), ("certificate", 20), ("certificate", -1)],
    ids=["view of the header", "body of the block", "view of the certificate", "a signature"],
)
def test_a_validator_that_forges_is_left_and_not_believed(tmp_path: Path, world: World, part: str, at: int) -> None:
    async def scenario() -> None:
        relay = Relay(world)

        def forge(height, final):
            return tampered(final, **{part: flip(getattr(final, part), at % len(getattr(final, part)))})

        liar, honest = FakeLine("liar", relay, forge=forge), FakeLine("honest", relay)
        linked = Linked(tmp_path, world, relay, FakeLines(liar, honest))
        await linked.start()
        await linked.faulty.enrol()
        decided, _ = await settled(linked)
        assert await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER, wait_s=20)
        await linked.consumed()
        assert linked.figures.left == ["forged"] and len(liar.asked) == 1
        assert linked.link.standing.following == "honest"
        await linked.stop()

    run(scenario())


@pytest.mark.parametrize("fault", ["skips", "repeats", "other network"])
def test_heights_come_in_order_and_of_this_network(tmp_path: Path, world: World, fault: str) -> None:
    async def scenario() -> None:
        relay = Relay(world)
        other = Relay(world_with_validators(8))
        for _ in range(3):
            other.agree()

        def forge(height, final):
            if height < 3:
                return final
            return {"skips": relay.finals[-1], "repeats": relay.finals[0], "other network": other.finals[2]}[fault]

        for _ in range(5):
            relay.agree()
        lines = FakeLines(FakeLine("liar", relay, forge=forge), FakeLine("honest", relay))
        linked = Linked(tmp_path, world, relay, lines)
        await linked.start()
        await linked.consumed(5)
        assert linked.figures.left == ["forged"]
        await linked.stop()

    run(scenario())


def test_a_silent_and_a_dead_validator_are_left_for_another(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        relay = Relay(world)
        silent, other, third = (FakeLine("silent", relay, silent=True), FakeLine("a", relay), FakeLine("b", relay))
        linked = Linked(tmp_path, world, relay, FakeLines(silent, other, third), stall_s=0.2)
        await linked.start()
        await linked.faulty.enrol()
        decided, _ = await settled(linked)
        assert await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER, wait_s=20)
        other.dead = True
        relay.agree()
        more, _ = await settled(linked)
        assert await linked.desk.receipt(more[-1][0], ReceiptForm.PAYER, wait_s=20)
        assert "lost" in linked.figures.left and "forged" not in linked.figures.left
        await linked.stop()

    run(scenario())


def test_an_offer_fits_whatever_was_anchored_meanwhile(tmp_path: Path, world: World) -> None:
    """While nothing becomes final, seals go on: the newest header leads on from every one that was offered before."""

    async def scenario() -> None:
        relay = Relay(world)
        linked = Linked(tmp_path, world, relay)
        await linked.start()
        await linked.faulty.enrol()
        await linked.final()
        relay.held = True
        for _ in range(6):
            await settled(linked, 8)
        async with asyncio.timeout(20):
            heights = {each.shard: each.height for each in linked.node.status().shards}
            while any(relay_offer_height(linked.lines.lines[0], shard) < height for shard, height in heights.items()):
                await linked.link.grown(0.01)
        # Only an older offer reaches the leader; then the newest one fits what that anchored.
        newest = {each.signed.header.shard: each for each in linked.lines.lines[0].offered}
        relay.offers = [offer for offer in linked.lines.lines[0].offered if offer not in newest.values()][-2:]
        relay.agree()
        assert all(relay.state.admits(offer, None) == "" for offer in newest.values())
        relay.held = False
        relay.offers = list(newest.values())
        relay.agree()
        await linked.final()
        await linked.stop()

    def relay_offer_height(line: FakeLine, shard: int) -> int:
        return max((each.signed.header.height for each in line.offered if each.signed.header.shard == shard), default=0)

    run(scenario())


def test_a_change_of_validators_is_followed_and_remembered(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        relay = Relay(world)
        linked = Linked(tmp_path, world, relay)
        await linked.start()
        relay.agree()
        fresh = validator_keys(first=10)
        first_height = relay.state.height + 1 + relay.state.parameters.epoch_length
        members = tuple(Validator(each.participant, each.suite, 1, each.public_key.ljust(64, b"\0")) for each in fresh)
        following = ValidatorSet(2, first_height, members)
        relay.agree(relay.approved(validator_set_record, following))
        relay.members[2] = fresh
        for _ in range(relay.state.parameters.epoch_length + 2):
            relay.agree()
        await linked.consumed()
        assert linked.link.standing.set_id == 2
        await linked.faulty.enrol()
        decided, _ = await settled(linked)
        data = await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER, wait_s=20)
        with pytest.raises(ProofRefused, match="stale_trust"):
            decode_receipt(data).verify(1, world.genesis.hash, ValidatorSet.of_genesis(world.genesis))
        assert decode_receipt(data).verify(1, world.genesis.hash, following).anchorage.power == 3
        await linked.stop()
        await linked.start()
        assert linked.link.standing.set_id == 2 and len(linked.store.set_proofs()) == 1
        assert await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER, wait_s=20) == data
        await linked.stop()

    run(scenario())


def test_a_reveal_is_consumed_at_once_and_idle_blocks_are_gathered(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        relay = Relay(world)
        linked = Linked(tmp_path, world, relay, consume_s=30.0)
        await linked.start()
        commits = linked.faulty.stores.commits
        for _ in range(10):
            relay.agree()
        async with asyncio.timeout(10):
            while linked.link.standing.height < 10:
                await linked.link.grown(0.005)
        assert linked.node.relay_height == 0
        relay.agree(reveal_record(bytes(32)))
        await linked.consumed(11)
        assert linked.faulty.stores.commits - commits <= 3
        await linked.stop()

    run(scenario())


def test_what_voters_said_is_also_read_from_the_next_block(tmp_path: Path, world: World) -> None:
    """A validator that was told only the certificate hands on no statements; the block after names them."""

    async def scenario() -> None:
        relay = Relay(world, verified=2)
        lines = FakeLines(FakeLine("plain", relay, forge=lambda _, final: tampered(final, statements=[])))
        linked = Linked(tmp_path, world, relay, lines)
        await linked.start()
        await linked.faulty.enrol()
        decided, _ = await settled(linked)
        assert await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER, wait_s=20)
        relay.agree()
        data = await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER, wait_s=20, verified=True)
        found = decode_receipt(data).verify(1, world.genesis.hash, ValidatorSet.of_genesis(world.genesis))
        assert found.anchorage.state == "final, verified"
        await linked.stop()

    run(scenario())


@pytest.mark.parametrize("damage", ["garbage", "another version"])
def test_a_store_that_is_not_sound_is_fetched_again(tmp_path: Path, world: World, damage: str) -> None:
    async def scenario() -> None:
        linked = Linked(tmp_path, world, Relay(world))
        await linked.start()
        await linked.faulty.enrol()
        decided, _ = await settled(linked)
        assert await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER, wait_s=20)
        if damage == "another version":
            linked.store._put([(linked.store._marks, b"format", b"CSRA\x09\x00")])
        await linked.stop()
        if damage == "garbage":
            file = tmp_path / "relay" / "data.mdb"
            file.write_bytes(bytes(8192) + file.read_bytes()[8192:])
        await linked.start()
        assert await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER, wait_s=20)
        await linked.stop()

    run(scenario())


def test_a_run_over_shards_is_decided_by_the_relay(tmp_path: Path, world: World) -> None:
    """Prepared on both shards, proven under the anchored headers although seals go on, committed, and paid with proof."""

    async def scenario() -> None:
        linked = Linked(tmp_path, world, Relay(world))
        node = await linked.start()
        await linked.faulty.enrol()
        await linked.final()
        await linked.consumed()
        shard_of = SlotMap.of(world.genesis, 1).shard_of
        by_shard: dict[int, list] = {}
        for account, key in world.accounts:
            by_shard.setdefault(shard_of(account.to_bytes(16, "little")), []).append((account, key))
        (one, its_key), (other, other_key) = by_shard[256][0], by_shard[257][0]
        now = linked.faulty.clock()
        run_ = [
            world.transfer(one, other, 5, its_key, now, flags=int(TransferFlag.LINKED)),
            world.transfer(other, one, 7, other_key, now),
        ]
        reply = await node.submit(world.signed(run_), submitter=1)
        assert reply.codes.tolist() == [ResultCode.PREPARED] * 2
        digests = world.digests(run_)
        async with asyncio.timeout(20):
            while True:
                found = await node.lookup_transfers(b"".join(digests))
                if all(each is not None and each.code == ResultCode.COMMITTED for each in found):
                    break
                await linked.node.submit(linked.faulty.payments(2), submitter=1)
                await asyncio.sleep(0.01)
        assert linked.lines.lines[0].submitted
        for digest in digests:
            data = await linked.desk.receipt(digest, ReceiptForm.PAYEE, wait_s=20)
            paid = decode_receipt(data).verify(1, world.genesis.hash, ValidatorSet.of_genesis(world.genesis))
            assert paid.decision.code == ResultCode.CREDITED
        await linked.stop()

    run(scenario())


def test_without_validators_the_node_settles_all_the_same(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        linked = Linked(tmp_path, world, Relay(world), FakeLines())
        await linked.start()
        await linked.faulty.enrol()
        decided, _ = await settled(linked)
        assert await linked.desk.receipt(decided[0][0], ReceiptForm.PAYER, wait_s=0.05) is None
        assert linked.link.standing.height == 0
        await linked.stop()

    run(scenario())


class SlowLine:
    """A validator that answers when it is let."""

    name = "slow"

    def __init__(self) -> None:
        self.asked: asyncio.Queue[list[bytes]] = asyncio.Queue()
        self.answers: asyncio.Queue[bool] = asyncio.Queue()

    async def offer(self, offers) -> list[OfferAnswer]:
        self.asked.put_nowait(list(offers))
        if not await self.answers.get():
            raise LineLost(self.name, "gone")
        return [OfferAnswer(taken=True, reason="", height=7)] * len(offers)


def test_only_the_newest_headers_wait_for_a_slow_validator() -> None:
    """While an answer is due nothing more is sent; then the newest of each shard, together, within a message's bound."""

    async def scenario() -> None:
        line, heard = SlowLine(), []
        offering = Offering(line, lambda *answer: heard.append(answer))
        offering.put(1, b"first")
        assert await line.asked.get() == [b"first"]
        for number in range(3):
            offering.put(1, b"of shard 1, %d" % number)
            offering.put(2, b"of shard 2, %d" % number)
        assert line.asked.empty()
        line.answers.put_nowait(True)
        assert sorted(await line.asked.get()) == [b"of shard 1, 2", b"of shard 2, 2"]
        assert heard == [("slow", "taken", 7)]
        for shard in range(OFFERS_AT_ONCE_MAX + 1):
            offering.put(shard, b"last")
        line.answers.put_nowait(False)
        assert len(await line.asked.get()) == OFFERS_AT_ONCE_MAX
        assert heard[1] == ("slow", "lost", 0)
        line.answers.put_nowait(True)
        assert len(await line.asked.get()) == 1
        offering.task.cancel()

    run(scenario())


def test_headers_that_were_not_saved_are_read_again(tmp_path: Path, world: World) -> None:
    """What only memory held of the trees is lost with the process; the next one reads it from the chain again."""

    async def scenario() -> None:
        linked = Linked(tmp_path, world, Relay(world), FakeLines())
        node = await linked.start()
        await linked.faulty.enrol()
        shard = node.status().shards[0].shard
        async with asyncio.timeout(20):
            while linked.store.leaf_count(shard) < 3:
                await node.submit(linked.faulty.payments(2), submitter=1)
                await asyncio.sleep(0)
        paths = [linked.store.range_path(shard, height, 3) for height in (1, 2)]
        linked.store.close = linked.store._file.close  # as a kill: nothing is saved at the end
        await linked.stop()
        linked.lines = FakeLines(FakeLine("v0", linked.relay))
        await linked.start()
        await linked.final()
        assert [linked.store.range_path(shard, height, 3) for height in (1, 2)] == paths
        linked.store.save_headers()
        assert linked.store.leaf_count(shard) >= 3
        await linked.stop()
        again = AnchorStore(tmp_path / "relay", world.genesis.hash_suite)
        assert [again.range_path(shard, height, 3) for height in (1, 2)] == paths
        again.close()

    run(scenario())


def test_who_asks_for_the_same_blocks_at_once_shares_the_work(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        linked = Linked(tmp_path, world, Relay(world))
        node = await linked.start()
        await linked.faulty.enrol()
        await linked.final()
        shard = node.status().shards[0].shard
        read, asked = node.sealed_blocks, []

        async def counted(*wanted: int) -> list:
            asked.append(wanted)
            return await read(*wanted)

        node.sealed_blocks = counted
        one, gone, other = (asyncio.create_task(linked.desk.blocks(shard, 1, wait_s=5)) for _ in range(3))
        await asyncio.sleep(0)
        gone.cancel()
        assert await one == await other
        assert (await one)[1]
        assert len(asked) == 1
        await linked.desk.blocks(shard, 1, wait_s=0)
        assert len(asked) == 2
        await linked.stop()

    run(scenario())
