"""Credits between nodes of one domain: what an anchored header proves is taken, all else refused (CHANNEL-5 to -8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.block import InclusionPath
from engine.chain import ChainBlock
from engine.credit import Credit, decode_credits, encode_credits
from engine.governance import Resume
from engine.header import ChannelEntry, SignedHeader, header_message
from engine.log_record import RecordKind
from engine.machine import ShardMachine
from engine.outgoing import Outgoing
from engine.peer_anchors import PeerAnchor, PeerAnchors
from engine.proved_credits import ProvedCredits
from engine.refusals import CreditsRefused, EncodingError, InvariantBroken
from engine.relay_block import RelayBlock, header_record, parameter_record, reveal_record
from engine.replay import replay
from engine.types import CREDIT_BYTES, Role, TransferKind
from native.codes import ResultCode as Code
from native.hashing import digest
from relay.offers import HeaderOffer
from shards.errors import BlockMissing
from shards.neighbours import CreditsWanted
from shards.outbox import Outbox
from tests.behaviour.domain_on_log import BANK_A, BANK_B, DomainOnLog
from tests.behaviour.relay_world import World

SOURCE, MIDDLE, LAST = 0x100, 0x101, 0x102


class Nodes(DomainOnLog):
    """A domain of three shards, each on a node of its own: nothing is delivered but with proof."""

    def __init__(self, messages_max: int = 8_192) -> None:
        self.relay = World(shards=3)
        super().__init__(self.relay.network, shards=3)
        for machine in self.machines.values():
            machine.keep_outgoing()
        self.blocks: dict[tuple[int, int], ChainBlock] = {}
        self.outboxes = {shard: Outbox(1, self, messages_max=messages_max) for shard in self.machines}
        self.signed: dict[int, SignedHeader] = {}

    def get(self, shard: int, height: int) -> ChainBlock | None:
        return self.blocks.get((shard, height))

    def deliver(self) -> None:
        for machine in self.machines.values():
            machine.take_outgoing()

    def seal_one(self, shard: int) -> SignedHeader:
        self.deliver()
        self._append(shard, RecordKind.SEAL, b"")
        leaves, header = self.sealed[shard][-1]
        key = self.key(Role.BLOCK)
        signed = SignedHeader(header, key.key_id, key.sign(header_message(1, self.genesis.hash, header.hash)))
        sent = self.machines[shard].sealed_outgoing.encode()
        self.blocks[shard, header.height] = ChainBlock(shard, header.height, signed.encode(), leaves, sent)
        self.signed[shard] = signed
        return signed

    def anchor(self, *shards: int) -> RelayBlock:
        """Let the relay, with all its checks, anchor the newest headers; no shard consumes the block yet."""
        block = self.relay.step(*(HeaderOffer(self.signed[shard]) for shard in shards))
        anchored = {record.signed_header().header.shard for record in block.records if record.type == 1}
        assert anchored == set(shards)
        return block

    def consume(self, shard: int, block: RelayBlock) -> None:
        self.machines[shard].apply_relay_block(block, self.now)
        self._append(shard, RecordKind.RELAY_BLOCK, block.encode())

    def consume_all(self, shard: int) -> None:
        for block, _ in self.relay.blocks[self.machines[shard].ledger.relay_height :]:
            self.consume(shard, block)

    def wanted(self, source: int, destination: int) -> CreditsWanted:
        machine = self.machines[destination]
        anchor = machine.anchor(source)
        assert anchor is not None
        return CreditsWanted(source, destination, machine.channel(source)[1] + 1, anchor.height)

    def offer(self, source: int, destination: int) -> ProvedCredits | None:
        return self.outboxes[source].outgoing_since(self.wanted(source, destination))

    def take(self, destination: int, offered: ProvedCredits) -> list[int]:
        codes = self.machines[destination].apply_proved_credits(offered, self.now).tolist()
        self._append(destination, RecordKind.PROVED_CREDITS, offered.encode())
        return codes

    def opened(self, index: int, participant: int = BANK_B) -> int:
        account = self.account_on(participant, index)
        assert self.open(account, participant) == 1
        return account

    def paid(self, debit: int, *credits: int, amount: int = 10) -> None:
        key = self.key(Role.ACCOUNT, 0, BANK_A)
        codes = self.submit([self.transfer(debit, credit, amount, key) for credit in credits], [key] * len(credits))
        assert codes == [Code.CREATED_IN_TRANSIT] * len(credits)


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def paying(nodes: Nodes) -> tuple[Nodes, int, int, int]:
    """Money on the first shard and accounts on the others; blocks 1 to 3 of the first shard, the second sent to both."""
    _, debit, _ = nodes.ready()
    middle, last = nodes.opened(1), nodes.opened(2)
    nodes.seal_one(SOURCE)
    nodes.anchor(SOURCE)
    nodes.paid(debit, middle, last, middle, last, middle)
    nodes.seal_one(SOURCE)
    nodes.anchor(SOURCE)
    nodes.seal_one(SOURCE)
    nodes.anchor(SOURCE)
    nodes.check()
    return nodes, debit, middle, last


def test_what_an_anchored_header_proves_is_taken_once(paying: tuple[Nodes, int, int, int]) -> None:
    nodes, _, middle, last = paying
    assert nodes.machines[MIDDLE].anchor(SOURCE) is None
    for destination, account, count in ((MIDDLE, middle, 3), (LAST, last, 2)):
        nodes.consume_all(destination)
        offered = nodes.offer(SOURCE, destination)
        assert offered is not None
        assert (offered.count, offered.header.height, offered.anchored_height) == (count, 2, 3)
        assert ProvedCredits.decode(offered.encode()) == offered
        assert nodes.take(destination, offered) == [Code.CREDITED] * count
        assert nodes.machines[destination].find_account(account).credits_posted == 10 * count
        assert nodes.offer(SOURCE, destination) is None
        with pytest.raises(CreditsRefused) as caught:
            nodes.machines[destination].check_credits(offered)
        assert (caught.value.source, caught.value.step) == (SOURCE, "sequence_known")
        nodes.check()
        assert nodes.replayed(destination).state_root() == nodes.machines[destination].state_root()


def test_the_relay_anchors_headers_of_several_nodes_cause_before_effect(paying: tuple[Nodes, int, int, int]) -> None:
    nodes, debit, middle, _ = paying
    nodes.paid(debit, middle)
    nodes.seal_one(SOURCE)
    block = nodes.anchor(SOURCE)
    nodes.consume_all(MIDDLE)
    while (offered := nodes.offer(SOURCE, MIDDLE)) is not None:
        nodes.take(MIDDLE, offered)
    received = nodes.seal_one(MIDDLE)
    assert received.header.channels[0] == ChannelEntry(SOURCE, 0, 4)
    nodes.anchor(MIDDLE)
    # The source hears of it with the next block it consumes.
    nodes.consume_all(SOURCE)
    anchor = nodes.machines[SOURCE].anchor(MIDDLE)
    assert anchor == PeerAnchor(1, 0, 4, received.header.hash, received.header.headers_root)
    assert block.header.height == 4


def test_a_credit_without_a_home_returns_with_proof(paying: tuple[Nodes, int, int, int]) -> None:
    nodes, debit, _, _ = paying
    held = nodes.machines[SOURCE].find_account(debit).balance
    nodes.paid(debit, nodes.account_on(BANK_A, 2, 5), amount=7)
    nodes.seal_one(SOURCE)
    nodes.anchor(SOURCE)
    nodes.consume_all(LAST)
    for _ in range(2):
        offered = nodes.offer(SOURCE, LAST)
        assert offered is not None
        nodes.take(LAST, offered)
    assert nodes.machines[SOURCE].find_account(debit).balance == held - 7
    nodes.seal_one(LAST)
    nodes.anchor(LAST)
    nodes.consume_all(SOURCE)
    back = nodes.offer(LAST, SOURCE)
    assert back is not None
    assert (back.parent, back.header_path, back.count) == (None, (), 1)
    assert nodes.take(SOURCE, back) == [Code.RETURNED]
    assert nodes.machines[SOURCE].find_account(debit).balance == held
    nodes.check()


def test_a_block_is_cut_where_an_answer_may_be_no_longer(paying: tuple[Nodes, int, int, int]) -> None:
    nodes, _, middle, _ = paying
    nodes.outboxes[SOURCE] = Outbox(1, nodes, messages_max=2)
    nodes.consume_all(MIDDLE)
    first = nodes.offer(SOURCE, MIDDLE)
    assert (first.first_sequence, first.count) == (1, 2)
    nodes.take(MIDDLE, first)
    second = nodes.offer(SOURCE, MIDDLE)
    assert (second.first_sequence, second.count) == (3, 1)
    nodes.take(MIDDLE, second)
    assert nodes.machines[MIDDLE].find_account(middle).credits_posted == 30


def changed(messages: bytes, row: int, **fields: object) -> bytes:
    listed = list(decode_credits(messages))
    listed[row] = replace(listed[row], **fields)
    return encode_credits(listed)


REFUSED = {
    "another amount": ("range", lambda o: replace(o, messages=changed(o.messages, 1, amount=11))),
    "another account": ("range", lambda o: replace(o, messages=changed(o.messages, 0, credit_account=5))),
    "more than was sent": (
        "channels", lambda o: replace(o, messages=o.messages + changed(o.messages[-CREDIT_BYTES:], 0, sequence=4)),
    ),
    "a path that is longer": ("range", lambda o: replace(o, range_path=(*o.range_path, bytes(32)))),
    "a path that is shorter": ("range", lambda o: replace(o, range_path=o.range_path[:-1])),
    "a header of its own": ("header_path", lambda o: replace(o, header=replace(o.header, outgoing_root=bytes(32)))),
    "another way to the anchor": ("header_path", lambda o: replace(o, header_path=(bytes(32), *o.header_path[1:]))),
    "no way to the anchor": ("header_path", lambda o: replace(o, header_path=())),
    "no parent": ("parent", lambda o: replace(o, parent=None)),
    "another parent": ("parent", lambda o: replace(o, parent=replace(o.parent, time=o.parent.time + 1))),
    "another network": ("header", lambda o: replace(o, header=replace(o.header, genesis_hash=bytes(32)))),
    "another shard's block": ("header", lambda o: replace(o, header=replace(o.header, shard=LAST))),
    "other channels": ("header", lambda o: replace(o, header=replace(o.header, channels=o.header.channels[1:]))),
    "another anchor": ("not_anchored", lambda o: replace(o, anchored_height=4)),
    "an older anchor": ("not_anchored", lambda o: replace(o, anchored_height=2)),
    "a gap": ("sequence_other", lambda o: replace(o, first_sequence=2, messages=o.messages[CREDIT_BYTES:])),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_lie_is_refused_by_its_step_and_changes_nothing(paying: tuple[Nodes, int, int, int], what: str) -> None:
    nodes, _, _, _ = paying
    nodes.consume_all(MIDDLE)
    machine = nodes.machines[MIDDLE]
    true = nodes.offer(SOURCE, MIDDLE)
    machine.check_credits(true)
    step, lie = REFUSED[what]
    root, position = machine.state_root(), machine.log_position
    with pytest.raises(CreditsRefused) as caught:
        machine.apply_proved_credits(lie(true), nodes.now)
    assert (caught.value.source, caught.value.step) == (SOURCE, step)
    assert (machine.state_root(), machine.log_position) == (root, position)
    assert nodes.take(MIDDLE, true) == [Code.CREDITED] * 3


def test_messages_to_another_peer_do_not_pass_for_ones_to_this_shard(paying: tuple[Nodes, int, int, int]) -> None:
    """A message does not name its destination: its place in the tree does."""
    nodes, _, _, _ = paying
    nodes.consume_all(MIDDLE)
    nodes.consume_all(LAST)
    for destination, other in ((MIDDLE, LAST), (LAST, MIDDLE)):
        with pytest.raises(CreditsRefused) as caught:
            nodes.machines[destination].check_credits(nodes.offer(SOURCE, other))
        assert caught.value.step in {"range", "channels"}


def test_an_anchored_source_that_makes_impossible_messages_does_not_stop_the_ledger(nodes: Nodes) -> None:
    """Its header commits to them, and they are refused all the same."""
    nodes.ready()
    header = nodes.seal_one(SOURCE).header
    good = {
        "sequence": 1, "kind": 1, "code": 0, "ledger": 1, "debit_account": 1, "credit_account": 2, "amount": 1,
        "user_data": 0, "digest": bytes(32), "time": 0,
    }  # fmt: skip
    most = nodes.domain.ledgers[0].amount_max
    bad = ({"amount": 0}, {"amount": most + 1}, {"amount": 2**127}, {"ledger": 9}, {"kind": 2}, {"reason": 7}, {})
    for fields in bad:
        message = (
            Credit(**{**good, **fields}).encode() if fields else b"".join((Credit(**good).encode()[:122], b"123456"))
        )
        outgoing = Outgoing(((MIDDLE, message),))
        lie = replace(
            header, outgoing_count=1, outgoing_root=outgoing.root(1),
            channels=(ChannelEntry(MIDDLE, 1, 0), ChannelEntry(LAST, 0, 0)),
        )  # fmt: skip
        machine = ShardMachine(nodes.genesis, MIDDLE)
        key = nodes.key(Role.BLOCK)
        signed = SignedHeader(lie, key.key_id, key.sign(header_message(1, nodes.genesis.hash, lie.hash)))
        block = relay_block(nodes, 1, header_record(signed))
        machine.apply_relay_block(block, nodes.now)
        offered = ProvedCredits(SOURCE, 1, message, 1, lie, None, (), ())
        with pytest.raises(CreditsRefused) as caught:
            machine.apply_proved_credits(offered, nodes.now)
        assert caught.value.step == "message"


def relay_block(nodes: Nodes, height: int, *records: object) -> RelayBlock:
    return RelayBlock.build(
        1, genesis_hash=nodes.genesis.hash, height=height, view=0, time=nodes.genesis.time, parent_hash=bytes(32),
        set_id=1, records=records,
    )  # fmt: skip


def test_a_log_that_holds_a_lie_is_damaged(paying: tuple[Nodes, int, int, int]) -> None:
    nodes, _, _, _ = paying
    nodes.consume_all(MIDDLE)
    true = nodes.offer(SOURCE, MIDDLE)
    lie = replace(true, messages=changed(true.messages, 1, amount=11))
    fresh = ShardMachine(nodes.genesis, MIDDLE)
    replay(fresh, nodes.logs[MIDDLE])
    record = nodes.record(MIDDLE, RecordKind.PROVED_CREDITS, lie.encode())
    with pytest.raises(InvariantBroken) as caught:
        fresh.apply(record)
    assert caught.value.name == "logged_credits_are_proved"


def test_anchors_are_state(paying: tuple[Nodes, int, int, int]) -> None:
    nodes, _, _, _ = paying
    machine = nodes.machines[MIDDLE]
    nodes.seal_one(MIDDLE)
    without, before = machine.export(), machine.subtree_roots()
    assert int.from_bytes(without[4:6], "little") == 1
    nodes.consume_all(MIDDLE)
    nodes.seal_one(MIDDLE)
    after = machine.subtree_roots()
    assert before["channels"] != after["channels"]
    state = machine.export()
    loaded = ShardMachine.load(nodes.genesis, MIDDLE, state)
    assert loaded.anchor(SOURCE) == machine.anchor(SOURCE)
    assert loaded.state_root() == machine.state_root()
    assert loaded.export() == state
    assert ShardMachine.load(nodes.genesis, MIDDLE, without).anchor(SOURCE) is None
    for wrong in (state[:-1], state + b"\0", state[:4] + b"\1" + state[5:], state[:4] + b"\3" + state[5:]):
        with pytest.raises(EncodingError):
            ShardMachine.load(nodes.genesis, MIDDLE, wrong)


def test_a_resume_makes_its_header_the_anchor(nodes: Nodes) -> None:
    first, second = nodes.seal_one(SOURCE).header, nodes.seal_one(SOURCE)
    anchors = PeerAnchors(MIDDLE, (SOURCE, LAST))
    anchors.note(anchors.read(relay_block(nodes, 1, header_record(second))))
    assert anchors.get(SOURCE).height == 2
    for header, height in ((first, 1), (None, 0)):
        resume = Resume(SOURCE, 1, 9, 1, 7, bytes(64), header)
        anchors.note(anchors.read(relay_block(nodes, 2, parameter_record(resume))))
        assert (anchors.get(SOURCE).height if height else anchors.get(SOURCE)) == (height or None)


def test_a_log_that_is_older_than_what_a_peer_received_stops(paying: tuple[Nodes, int, int, int]) -> None:
    nodes, _, _, _ = paying
    nodes.consume_all(MIDDLE)
    nodes.take(MIDDLE, nodes.offer(SOURCE, MIDDLE))
    nodes.seal_one(MIDDLE)
    block = nodes.anchor(MIDDLE)
    old = ShardMachine(nodes.genesis, SOURCE)
    with pytest.raises(InvariantBroken) as caught:
        old.apply_relay_block(RelayBlock.build(
            1, genesis_hash=nodes.genesis.hash, height=1, view=0, time=block.header.time, parent_hash=bytes(32), set_id=1,
            records=block.records,
        ), nodes.now)  # fmt: skip
    assert caught.value.name == "what_a_peer_received_was_sent"


def test_the_outbox_says_what_it_lacks(paying: tuple[Nodes, int, int, int]) -> None:
    nodes, _, _, _ = paying
    nodes.consume_all(MIDDLE)
    wanted = nodes.wanted(SOURCE, MIDDLE)
    outbox = nodes.outboxes[SOURCE]
    assert outbox.outgoing_since(replace(wanted, anchored_height=9)) is None
    assert outbox.outgoing_since(replace(wanted, sequence=4)) is None
    assert outbox.outgoing_since(replace(wanted, sequence=0)) is None
    assert outbox.outgoing_since(replace(wanted, destination=0x177)) is None
    kept = nodes.blocks[SOURCE, 2]
    nodes.blocks[SOURCE, 2] = replace(kept, outgoing=b"")
    with pytest.raises(BlockMissing) as caught:
        outbox.outgoing_since(wanted)
    assert (caught.value.shard, caught.value.height) == (SOURCE, 2)
    nodes.blocks[SOURCE, 2] = kept
    del nodes.blocks[SOURCE, 1]
    with pytest.raises(BlockMissing):
        outbox.outgoing_since(wanted)


def test_outgoing_and_bodies_are_read_strictly(paying: tuple[Nodes, int, int, int]) -> None:
    nodes, _, _, _ = paying
    nodes.consume_all(MIDDLE)
    body = nodes.offer(SOURCE, MIDDLE).encode()
    for wrong in (body[:-1], body + b"\0", b"", body[:20], body[:16 + 3 * CREDIT_BYTES + 20] + b"\1" + body[16 + 3 * CREDIT_BYTES + 21 :]):  # fmt: skip  # noqa: E501
        with pytest.raises(EncodingError):
            ProvedCredits.decode(wrong)
    packed = nodes.blocks[SOURCE, 2].outgoing
    outgoing = Outgoing.decode(packed)
    assert (outgoing.encode(), outgoing.count) == (packed, 5)
    assert outgoing.root(1) == SignedHeader.decode(nodes.blocks[SOURCE, 2].signed_header).header.outgoing_root
    for wrong in (packed[:-1], packed + packed, packed[:4]):
        with pytest.raises(EncodingError):
            Outgoing.decode(wrong)


def test_claims_travel_with_proof_too(nodes: Nodes) -> None:
    """A lock's payee on another node: the reveal claims it on its shard, the money follows as any credit."""
    _, debit, _ = nodes.ready()
    payee, key = nodes.opened(1), nodes.key(Role.ACCOUNT, 0, BANK_A)
    preimage = nodes.relay.preimage(7)
    lock = nodes.transfer(
        debit, payee, 25, key, flags=int(TransferKind.LOCK), until=nodes.now + 40 * 10**9, binding=digest(1, preimage)
    )
    assert nodes.submit([lock], [key]) == [1]
    nodes.relay.step(reveal_record(preimage))
    nodes.consume_all(SOURCE)
    nodes.seal_one(SOURCE)
    nodes.anchor(SOURCE)
    nodes.consume_all(MIDDLE)
    assert nodes.take(MIDDLE, nodes.offer(SOURCE, MIDDLE)) == [Code.CREDITED]
    assert nodes.machines[MIDDLE].find_account(payee).credits_posted == 25
    nodes.check()


def test_a_store_may_give_the_path_to_the_anchor(paying: tuple[Nodes, int, int, int]) -> None:
    nodes, _, _, _ = paying
    nodes.consume_all(MIDDLE)
    wanted = nodes.wanted(SOURCE, MIDDLE)
    own = nodes.outboxes[SOURCE].outgoing_since(wanted)
    asked = []

    def range_path(shard: int, height: int, later: int) -> InclusionPath:
        asked.append((shard, height, later))
        return InclusionPath(height - 1, later - 1, own.header_path)

    assert Outbox(1, nodes, range_path=range_path).outgoing_since(wanted) == own
    assert asked == [(SOURCE, 2, 3)]


def test_no_bit_of_an_offer_is_free(paying: tuple[Nodes, int, int, int]) -> None:
    """Whatever one bit of it is bent to, an offer is no longer read or no longer taken."""
    nodes, _, _, _ = paying
    nodes.consume_all(MIDDLE)
    machine = nodes.machines[MIDDLE]
    nodes.outboxes[SOURCE] = Outbox(1, nodes, messages_max=1)
    body = nodes.offer(SOURCE, MIDDLE).encode()
    machine.check_credits(ProvedCredits.decode(body))
    for at in range(len(body)):
        bent = bytearray(body)
        bent[at] ^= 1 << at % 8
        with pytest.raises((EncodingError, CreditsRefused)):
            machine.check_credits(ProvedCredits.decode(bytes(bent)))
