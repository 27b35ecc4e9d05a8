"""A node that serves a part of its domain: its answers for the other shards (CHANNEL-9), and what a restart brings back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clearspan.simulation.anchoring import AnchoringRelay
from clearspan.simulation.world import START, World
from engine.data_directory import DataDirectory
from engine.header import SignedHeader
from engine.proved_credits import ProvedCredits
from engine.refusals import InvariantBroken
from engine.types import NS_PER_S
from native.codes import ResultCode as Code
from shards.domain import AdminJob, CreditsJob, DomainCore, RelayJob
from shards.lookup import EntryKind
from shards.outbox import Outbox
from shards.recovery import Recovered, Stores, recover
from shards.slots import SlotMap

FIRST, SECOND, THIRD = 0x100, 0x101, 0x102


class OnDisk:
    """One node over a data directory of its own."""

    def __init__(self, path: Path, world: World, shards: tuple[int, ...], relay: AnchoringRelay) -> None:
        self.path, self.world, self.shards, self.relay = path, world, shards, relay
        self.now = START + NS_PER_S
        self.open()

    def open(self) -> None:
        self.directory = DataDirectory(self.path, kind="node", genesis_hash=self.world.genesis.hash)
        self.stores = Stores.open(self.directory, self.world.genesis, log_bytes_max=1 << 28)
        self.recovered: Recovered = recover(
            self.world.genesis, self.world.domain, self.stores, self.world.block_key, local=self.shards
        )
        self.outbox = Outbox(self.world.genesis.hash_suite, self.stores.chain)

    def close(self) -> None:
        self.recovered.lookup.close()
        self.stores.close()
        self.directory.close()

    @property
    def core(self) -> DomainCore:
        return self.recovered.core

    def run(self, *jobs: object, seal: bool = False) -> list[object]:
        self.now += 1_000_000
        made = self.core.run(list(jobs), self.now, seal=seal)
        if made.records:
            self.recovered.append(made)
            self.recovered.note_durable(made)
            self.recovered.index(made)
        self.stores.keep_blocks(self.world.genesis, made.sealed, self.world.block_key)
        for block in made.sealed:
            kept = self.stores.chain.get(block.header.shard, block.header.height)
            self.relay.publish(SignedHeader.decode(kept.signed_header))
        return made.replies

    def submit(self, columns: object) -> list[int]:
        job = self.core.split(columns, submitter=1)
        for part in job.parts:
            self.core.verify(part)
        return self.run(job)[0].codes.tolist()

    def follow(self) -> None:
        blocks = self.relay.blocks[self.core.relay_height :]
        if blocks:
            self.run(RelayJob(tuple(blocks)))


def anchor_all(relay: AnchoringRelay) -> None:
    assert relay.step([(shard, len(known)) for shard, known in relay.published.items()], START + NS_PER_S) == []


@pytest.fixture
def pair(tmp_path: Path):
    world = World.make(5, shards=3, banks=3, accounts=4)
    relay = AnchoringRelay(world.genesis)
    nodes = [OnDisk(tmp_path / "one", world, (FIRST, THIRD), relay), OnDisk(tmp_path / "two", world, (SECOND,), relay)]
    yield world, relay, nodes
    for node in nodes:
        node.close()


def owner_of(world: World, account: int) -> int:
    return SlotMap.of(world.genesis, world.domain).shard_of(account.to_bytes(16, "little"))


def settle(relay: AnchoringRelay, nodes: list[OnDisk]) -> None:
    """Seal, anchor and exchange until nobody wants anything."""
    for _ in range(3):
        for node in nodes:
            node.run(seal=True)
        anchor_all(relay)
        for node in nodes:
            node.follow()
            for wanted in node.core.wanted():
                giver = next(each for each in nodes if wanted.source in each.shards)
                offered = giver.outbox.outgoing_since(wanted)
                reply = node.run(CreditsJob(wanted.destination, ProvedCredits.decode(offered.encode())))[0]
                assert reply.refused is None, reply
    assert not any(node.core.wanted() for node in nodes)


def test_requests_for_shards_elsewhere_are_answered_item_by_item(pair) -> None:
    world, _, nodes = pair
    for columns in world.setup:
        replies = [node.run(AdminJob(columns))[0] for node in nodes]
        codes = list(zip(*(reply.codes.tolist() for reply in replies), strict=True))
        # What all shards must see is done by both; an account is opened by the node of its shard, and away for the other.
        assert all(set(pair_) in ({Code.CREATED}, {Code.CREATED, Code.SHARD_AWAY}) for pair_ in codes), codes
    transfers = [world.transfer(debit, world.accounts[0][0], 1, key, nodes[0].now) for debit, key in world.accounts[1:]]
    columns = world.signed(transfers)
    before = [list(node.core.positions()) for node in nodes]
    codes = [node.submit(columns) for node in nodes]
    for row, transfer in enumerate(transfers):
        here = owner_of(world, transfer.debit_account) == SECOND
        assert (codes[0][row] == Code.SHARD_AWAY) is here
        assert (codes[1][row] == Code.SHARD_AWAY) is not here
        assert {codes[0][row], codes[1][row]} == {Code.SHARD_AWAY, Code.INSUFFICIENT_FUNDS}
    assert [list(node.core.positions()) for node in nodes] != before
    only = [each for each in transfers if owner_of(world, each.debit_account) == SECOND]
    position = list(nodes[0].core.positions())
    assert set(nodes[0].submit(world.signed(only, b"0" * 16))) == {Code.SHARD_AWAY}
    assert list(nodes[0].core.positions()) == position


def test_credits_cross_between_stores_and_restarts(pair) -> None:
    world, relay, nodes = pair
    for columns in world.setup:
        for node in nodes:
            node.run(AdminJob(columns))
    for account, _ in world.accounts:
        for batch in world.issue(account, 100, nodes[0].now):
            for node in nodes:
                node.submit(batch)
    for node in nodes:
        node.run(seal=True)
    anchor_all(relay)
    issuer = next(node for node in nodes if owner_of(world, world.issuer_account) in node.shards)
    other = next(node for node in nodes if node is not issuer)
    # The node that owes credits stops before anybody asked for them: its blocks bring them back.
    issuer.close()
    issuer.open()
    settle(relay, nodes)
    for account, _ in world.accounts:
        machine = next(
            node.core.machines[owner_of(world, account)] for node in nodes if owner_of(world, account) in node.shards
        )
        assert machine.find_account(account).credits_posted == 100
    account = next(each for each, _ in world.accounts if owner_of(world, each) in other.shards).to_bytes(16, "little")

    def statement() -> list[tuple[EntryKind, bytes]]:
        entries, _ = other.recovered.lookup.statement(account, after=b"", limit=10, newest_first=False)
        return [(each.kind, each.record[112:120]) for each in entries]

    heard = statement()
    assert [kind for kind, _ in heard] == [EntryKind.CREDIT]
    other.run(seal=True)
    other.recovered.write_checkpoint(other.recovered.take_checkpoint(), world.block_key)
    roots = {each: machine.state_root() for each, machine in other.core.machines.items()}
    other.close()
    other.open()
    assert {each: machine.state_root() for each, machine in other.core.machines.items()} == roots
    assert statement() == heard
    assert all(other.core.machines[each].anchor(peer) for each in other.shards for peer in other.core.remote)


def test_a_node_names_every_shard_of_its_domain(pair) -> None:
    world, _, nodes = pair
    machines, slot_map = nodes[0].core.machines, nodes[0].core.slot_map
    with pytest.raises(InvariantBroken):
        DomainCore(world.genesis, machines, slot_map, 1)
    with pytest.raises(InvariantBroken):
        DomainCore(world.genesis, machines, slot_map, 1, remote=(FIRST, SECOND))


def test_credits_of_a_shard_that_is_here_need_no_proof_and_take_none(pair) -> None:
    world, relay, nodes = pair
    for columns in world.setup:
        for node in nodes:
            node.run(AdminJob(columns))
    for account, _ in world.accounts:
        for batch in world.issue(account, 100, nodes[0].now):
            for node in nodes:
                node.submit(batch)
    for node in nodes:
        node.run(seal=True)
    anchor_all(relay)
    for node in nodes:
        node.follow()
    wanted = next(each for node in nodes for each in node.core.wanted())
    giver = next(each for each in nodes if wanted.source in each.shards)
    offered = giver.outbox.outgoing_since(wanted)
    taker = next(each for each in nodes if wanted.destination in each.shards)
    reply = taker.run(CreditsJob(wanted.destination, replace(offered, source=taker.shards[0])))[0]
    assert (reply.taken, reply.refused.step) == (0, "source")


def test_a_node_whose_clock_is_late_takes_the_relays_time(pair) -> None:
    """RELAY-22: its headers would stand behind what they consumed, and no validator would vote for them."""
    world, relay, (node, _) = pair
    ahead = node.now + 600 * NS_PER_S
    assert relay.step([], ahead) == []
    node.follow()
    node.run(seal=True)
    late = 5 * NS_PER_S
    for shard in node.shards:
        header = SignedHeader.decode(
            node.stores.chain.get(shard, node.core.machines[shard].height).signed_header
        ).header
        assert header.relay_time == relay.blocks[-1].header.time == ahead
        assert header.time + late >= header.relay_time
    # Also after a restart, before anything more is consumed.
    node.close()
    node.open()
    node.run(seal=True)
    assert node.core.time + late >= ahead
