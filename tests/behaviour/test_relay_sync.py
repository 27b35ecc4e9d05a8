"""Catching up takes only what quorums certified, from several peers at once, whoever of them lies, floods or stalls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.block import InclusionPath
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import CheckpointRoot, header_record, reveal_record, validator_set_record
from relay.archive import MemoryArchive, answer
from relay.checkpoint import CHUNK_BYTES, Rebuild, checkpoint_of
from relay.state import RelayState
from relay.sync import Adopt, Ask, Conflict, Drop, Restored, Sync, Synced, SyncSettings, _gaps
from relay.sync_messages import (
    REPLY_BYTES_MAX,
    BlocksReply,
    ChunkReply,
    NothingReply,
    ProofReply,
    SyncRequest,
    SyncStatus,
    Wanted,
    decode_reply,
    encode_reply,
)
from tests.behaviour.relay_world import World
from tests.behaviour.test_relay_governance import EPOCH, a_set

MS = 1_000_000
HEIGHTS = 1060
SMALL = SyncSettings(range_blocks=8, in_flight_max=4, request_ns=100 * MS, status_ns=50 * MS, checkpoint_gap=10**9)
JUMP = replace(SMALL, checkpoint_gap=100)


class Story:
    """A chain of a thousand heights with a change of set, its archive, and the genesis state of a newcomer."""

    def __init__(self) -> None:
        self.world = world = World()
        self.begin = world.state
        self.archive = MemoryArchive(world.state)
        chain = world.chain(0x100)
        for height in range(1, HEIGHTS + 1):
            items: list[object] = []
            if height % 50 == 0:
                chain.seal()
                items.append(chain.offer(chain.last.height - 1))
                items.append(reveal_record(world.preimage(height)))
            if height == 500:
                following = a_set(world, 2, height + EPOCH, suite=2)
                items.append(world.approved(validator_set_record, following))
            block = world.step(*items)
            self.archive.append(block, world.certificate, world.state)
        self.genesis_hash = world.genesis.hash

    def honest(self, request: bytes) -> bytes:
        reply = answer(request, self.archive, self.genesis_hash)
        assert reply is not None
        assert len(reply) <= REPLY_BYTES_MAX
        return reply

    def short(self, height: int) -> Callable[[bytes], bytes]:
        """An honest peer that is at a lower height itself."""
        archive = MemoryArchive(self.begin)
        for at in range(height):
            archive.append(*self.world.blocks[at], self.world.states[at + 1])
        return lambda request: answer(request, archive, self.genesis_hash) or b""

    def lie(self, wanted: Wanted, make: Callable[[SyncRequest, object], object]) -> Callable[[bytes], bytes | None]:
        """A peer that answers one kind of request by ``make`` of the honest answer; None: not at all."""

        def respond(data: bytes) -> bytes | None:
            request, reply = SyncRequest.decode(data, self.genesis_hash), self.honest(data)
            if request.wanted is not wanted:
                return reply
            made = make(request, decode_reply(reply, self.genesis_hash))
            return made if made is None or isinstance(made, bytes) else encode_reply(made, self.genesis_hash)

        return respond


@pytest.fixture(scope="module")
def story() -> Story:
    return Story()


class Run:
    """Drives one Sync against peers; time passes only when nobody has anything to say."""

    def __init__(self, sync: Sync, peers: dict[str, Callable[[bytes], bytes | None]], turns: int = 4000) -> None:
        self.sync, self.peers = sync, peers
        self.adopted: list[int] = []
        self.restored: list[int] = []
        self.dropped: dict[str, str] = {}
        self.conflicts: list[Conflict] = []
        self.synced: list[int] = []
        self.asked: dict[str, int] = dict.fromkeys(peers, 0)
        self.in_flight_max = 0
        now, queue = 0, []
        for name in peers:
            queue += sync.join(name, now)
        for _ in range(turns):
            if not queue:
                if self.synced and self.synced[-1] == sync.state.height:
                    break
                now = max(now, sync.next_wake)
                queue += sync.tick(now)
                continue
            action = queue.pop(0)
            if isinstance(action, Ask):
                if action.peer in self.dropped:
                    continue
                self.asked[action.peer] += 1
                reply = peers[action.peer](action.message)
                for each in reply if isinstance(reply, list) else [reply]:
                    if each is not None:
                        queue += sync.receive(action.peer, each, now)
            elif isinstance(action, Adopt):
                assert action.state.height == action.block.header.height == action.certificate.height
                self.adopted.append(action.state.height)
            elif isinstance(action, Restored):
                self.restored.append(action.state.height)
            elif isinstance(action, Drop):
                self.dropped[action.peer] = action.reason
            elif isinstance(action, Conflict):
                self.conflicts.append(action)
                break
            else:
                assert isinstance(action, Synced)
                self.synced.append(action.height)
        self.now = now


def caught_up(story: Story, run: Run, *, since: int = 0) -> None:
    assert run.synced[-1] == HEIGHTS
    assert run.sync.state == story.world.state
    assert run.adopted == list(range(since + 1, HEIGHTS + 1))


def test_blocks_come_from_several_peers_in_parallel(story: Story) -> None:
    run = Run(Sync(story.begin, SMALL), {"a": story.honest, "b": story.honest, "c": story.honest})
    caught_up(story, run)
    assert not run.dropped
    assert all(count > 20 for count in run.asked.values())


def test_a_far_newcomer_takes_a_checkpoint_and_the_blocks_after_it(story: Story) -> None:
    """RELAY-51, RELAY-60: across a change of set, led by its proof."""
    run = Run(Sync(story.begin, JUMP), {"a": story.honest, "b": story.honest})
    assert run.restored == [1024]
    caught_up(story, run, since=1024)


LIES: dict[str, tuple[Wanted, Callable[[SyncRequest, object], object], str]] = {
    "another block": (
        Wanted.BLOCKS, lambda _, r: replace(r, blocks=((r.blocks[0][0][:-1] + b"\x55", r.blocks[0][1]), *r.blocks[1:])), "bad_block"),
    "blocks in another order": (Wanted.BLOCKS, lambda _, r: replace(r, blocks=r.blocks[::-1]), "bad_block"),
    "a forged certificate": (
        Wanted.BLOCKS, lambda _, r: replace(r, blocks=tuple((block, cert[:-1] + bytes([cert[-1] ^ 1])) for block, cert in r.blocks)), "bad_block"),
    "a certificate of too few": (
        Wanted.BLOCKS, lambda _, r: replace(r, blocks=tuple((block, cert[:64] + b"\2\0\0\0" + cert[68 : 72 + 224]) for block, cert in r.blocks)), "bad_block"),
    "no certificate": (Wanted.BLOCKS, lambda _, r: replace(r, blocks=tuple((block, b"") for block, _ in r.blocks)), "bad_block"),
    "other heights": (Wanted.BLOCKS, lambda _, r: replace(r, first=r.first + 1), "wrong_range"),
    "more than was asked": (Wanted.BLOCKS, lambda _, r: replace(r, blocks=r.blocks * 9), "wrong_range"),
    "a message without an end": (Wanted.BLOCKS, lambda _, r: bytes(REPLY_BYTES_MAX + 1), "overlong"),
    "noise": (Wanted.BLOCKS, lambda _, r: b"CSSY" + bytes(100), "malformed"),
    "another network": (Wanted.BLOCKS, lambda _, r: encode_reply(r, bytes(32)), "malformed"),
    "an answer nobody asked for": (Wanted.BLOCKS, lambda _, r: replace(r, id=10**9), "unasked"),
    "another kind of answer": (Wanted.BLOCKS, lambda _, r: SyncStatus(r.id, 9, 1, 0, 1), "wrong_kind"),
    "nothing after all": (Wanted.BLOCKS, lambda _, r: NothingReply(r.id), "claimed_more"),
    "silence": (Wanted.BLOCKS, lambda _, r: None, "stall"),
    "silence from the first": (Wanted.STATUS, lambda _, r: None, "stall"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_every_lie_about_blocks_costs_the_liar_alone(story: Story, name: str) -> None:
    """RELAY-52: dropped with its reason, and the chain is the honest one."""
    wanted, make, reason = LIES[name]
    start = story.world.states[HEIGHTS - 120]
    sync = Sync(start, replace(SMALL, status_ns=40 * MS))
    run = Run(sync, {"liar": story.lie(wanted, make), "honest": story.honest, "other": story.honest})
    caught_up(story, run, since=HEIGHTS - 120)
    assert run.dropped == {"liar": reason}
    assert sync.dropped == {reason: 1}


def test_a_stream_that_nobody_asked_for_ends_at_once(story: Story) -> None:
    def flood(request: bytes):
        reply = story.honest(request)
        return [reply] * 50

    run = Run(Sync(story.world.states[HEIGHTS - 50], SMALL), {"liar": flood, "honest": story.honest})
    caught_up(story, run, since=HEIGHTS - 50)
    assert run.dropped == {"liar": "unasked"}


def test_a_huge_height_is_only_a_word(story: Story) -> None:
    """Neither blocks nor checkpoints that do not exist are waited for."""
    for claim in (
        {"height": 2**63},
        {"height": 2**63, "checkpoint": 2**62},
        {"height": 2**64 - 1, "checkpoint": 5, "lowest": 2**60},
        {"set_id": 2**40},
    ):
        liar = story.lie(Wanted.STATUS, lambda _, r, claim=claim: replace(r, **claim))
        run = Run(
            Sync(story.world.states[HEIGHTS - 150], JUMP), {"liar": liar, "honest": story.honest, "other": story.honest}
        )
        assert run.sync.state.height == HEIGHTS
        assert run.synced[-1:] == [HEIGHTS] or "liar" not in run.dropped
        assert run.dropped.get("liar") in (None, "claimed_more", "bad_checkpoint")


def test_a_peer_whose_height_falls_is_dropped(story: Story) -> None:
    heights = iter(range(HEIGHTS, 0, -1))
    liar = story.lie(Wanted.STATUS, lambda _, r: replace(r, height=next(heights)))
    sync = Sync(story.world.states[HEIGHTS - 50], SMALL)
    run = Run(sync, {"liar": liar, "silent": story.lie(Wanted.BLOCKS, lambda _, r: None)}, turns=60)
    assert run.dropped["liar"] == "went_back"


CHECKPOINT_LIES: dict[str, tuple[Wanted, Callable[[SyncRequest, object], object], str]] = {
    "another chunk": (Wanted.CHUNK, lambda _, r: replace(r, chunk=r.chunk[:-1] + bytes([r.chunk[-1] ^ 1])), "bad_chunk"),
    "a shorter chunk": (Wanted.CHUNK, lambda _, r: replace(r, chunk=r.chunk[:-1]), "bad_chunk"),
    "another index": (Wanted.CHUNK, lambda _, r: replace(r, index=r.index + 1), "bad_chunk"),
    "another path": (Wanted.CHUNK, lambda _, r: replace(r, path=InclusionPath(0, 2, (bytes(32),))), "bad_chunk"),
    "another root": (Wanted.CHECKPOINT, lambda _, r: replace(r, proof=r.proof[:-60] + bytes([r.proof[-60] ^ 1]) + r.proof[-59:]), "bad_checkpoint"),
    "no proof": (Wanted.CHECKPOINT, lambda _, r: replace(r, proof=b""), "bad_checkpoint"),
    "a set change for a checkpoint": (Wanted.CHECKPOINT, lambda _, r: ProofReply(r.id, STORY_PROOFS[0]), "bad_checkpoint"),
    "a set nobody announced": (Wanted.SET_CHANGE, lambda _, r: replace(r, proof=r.proof[:-1] + bytes([r.proof[-1] ^ 1])), "bad_set_change"),
    "silence about chunks": (Wanted.CHUNK, lambda _, r: None, "stall"),
}  # fmt: skip
STORY_PROOFS: list[bytes] = []


@pytest.mark.parametrize("name", CHECKPOINT_LIES)
def test_every_lie_about_checkpoints_costs_the_liar_alone(story: Story, name: str) -> None:
    STORY_PROOFS[:] = [story.archive.set_change(2)]
    wanted, make, reason = CHECKPOINT_LIES[name]
    run = Run(Sync(story.begin, JUMP), {"liar": story.lie(wanted, make), "honest": story.honest})
    assert run.restored == [1024]
    caught_up(story, run, since=1024)
    assert run.dropped in ({"liar": reason}, {})
    assert run.dropped or wanted is Wanted.CHUNK


def test_who_went_on_from_a_checkpoint_cannot_show_the_sets_before_it_and_is_no_liar(story: Story) -> None:
    """Others are asked for the change; where nobody has it every block is fetched, as far as they are kept."""
    silent = story.lie(Wanted.SET_CHANGE, lambda _, r: NothingReply(r.id))
    run = Run(Sync(story.begin, JUMP), {"newcomer": silent, "honest": story.honest})
    assert (run.restored, run.dropped) == ([1024], {})
    caught_up(story, run, since=1024)
    alone = Run(Sync(story.begin, JUMP), {"newcomer": silent, "other": silent})
    assert (alone.restored, alone.dropped) == ([], {})
    caught_up(story, alone)


@pytest.mark.parametrize("claim", [1, 2**40])
def test_a_false_word_about_sets_costs_the_liar_alone(story: Story, claim: int) -> None:
    """It neither sends others' true proofs to the wrong set, nor ends the checkpoint of those who have it."""
    liar = story.lie(Wanted.STATUS, lambda _, r: replace(r, set_id=claim))
    run = Run(Sync(story.begin, JUMP), {"liar": liar, "honest": story.honest})
    assert run.restored == [1024]
    caught_up(story, run, since=1024)
    assert "honest" not in run.dropped


def test_a_checkpoint_that_nobody_keeps_any_more_is_let_go(story: Story) -> None:
    """The peers have pruned it meanwhile: every block is fetched instead."""
    pruned = story.lie(Wanted.CHUNK, lambda _, r: NothingReply(r.id))
    run = Run(Sync(story.begin, JUMP), {"a": pruned, "b": pruned})
    caught_up(story, run)
    assert run.restored == []


def test_blocks_that_were_pruned_lead_to_the_checkpoint(story: Story) -> None:
    """The next block is nobody's any more, however near it is."""
    pruned = story.lie(Wanted.STATUS, lambda _, r: replace(r, lowest=1000))
    run = Run(Sync(story.world.states[950], SMALL), {"a": pruned})
    assert run.restored == [1024]
    caught_up(story, run, since=1024)


def test_peers_that_are_behind_serve_what_they_have(story: Story) -> None:
    start = story.world.states[30]
    run = Run(Sync(start, SMALL), {"short": story.short(60), "honest": story.honest})
    caught_up(story, run, since=30)
    assert not run.dropped
    alone = Run(Sync(start, SMALL), {"short": story.short(60)})
    assert (alone.synced, alone.sync.state.height) == ([60], 60)


def test_nobody_answers_and_nothing_is_believed(story: Story) -> None:
    silent = lambda request: None  # noqa: E731
    run = Run(Sync(story.begin, SMALL), {"a": silent, "b": silent}, turns=100)
    assert run.adopted == []
    assert set(run.dropped.values()) == {"stall"}


def test_what_was_finalized_otherwise_is_not_fetched_again(story: Story) -> None:
    sync = Sync(story.world.states[10], SMALL)
    actions = sync.join("a", 0)
    actions = sync.receive("a", story.honest(actions[0].message), 1)
    assert all(isinstance(each, Ask) for each in actions)
    replies = [story.honest(each.message) for each in actions]
    sync.advance(story.world.states[14], 2)
    taken = sync.receive("a", replies[0], 3)
    assert [each.state.height for each in taken if isinstance(each, Adopt)] == [15, 16, 17, 18]
    assert sync.leave("a", 4) == []
    assert not sync.behind


def test_a_quorum_that_certified_what_cannot_follow_halts(story: Story) -> None:
    """A fork, or members that break the rules: told with the proof, and never adopted."""
    world = World()
    world.step()
    block, _ = world.propose()
    wrong = world.remake(block, time=block.header.time + 5)
    certificate = world.certify(wrong)
    pair = (wrong.encode(), certificate.encode())

    def respond(data: bytes) -> bytes:
        request = SyncRequest.decode(data, world.genesis.hash)
        reply = (
            SyncStatus(request.id, 2, 1, 0, 1)
            if request.wanted is Wanted.STATUS
            else BlocksReply(request.id, 2, (pair,))
        )
        return encode_reply(reply, world.genesis.hash)

    run = Run(Sync(world.state, SMALL), {"a": respond})
    assert [(each.height, each.reason) for each in run.conflicts] == [(2, "time")]
    assert run.sync.halted
    assert run.sync.tick(10**12) == []


def test_a_certified_block_is_checked_like_any_other(story: Story) -> None:
    """More than F lied: their certificate holds, and an honest newcomer still does not follow."""
    world = World()
    world.step()
    chain = world.chain(0x100)
    signed = replace(chain.seal(), signature=bytes(64))
    block, _ = world.propose()
    wrong = world.remake(block, [*block.records, header_record(signed)])
    pair = (wrong.encode(), world.certify(wrong).encode())

    def respond(data: bytes) -> bytes:
        request = SyncRequest.decode(data, world.genesis.hash)
        reply = (
            SyncStatus(request.id, 2, 1, 0, 1)
            if request.wanted is Wanted.STATUS
            else BlocksReply(request.id, 2, (pair,))
        )
        return encode_reply(reply, world.genesis.hash)

    run = Run(Sync(world.state, SMALL), {"a": respond})
    assert [each.reason for each in run.conflicts] == ["header_signature"]


def test_large_blocks_wait_within_a_bound(story: Story) -> None:
    """What came early is kept up to a bound; beyond it only what comes next is asked for."""
    start = story.world.states[HEIGHTS - 60]
    late: list[int] = []

    def slow(request: bytes) -> bytes | None:
        wanted = SyncRequest.decode(request, story.genesis_hash)
        if wanted.wanted is Wanted.BLOCKS and wanted.first == HEIGHTS - 59 and len(late) < 2:
            late.append(wanted.first)
            return None
        return story.honest(request)

    run = Run(Sync(start, replace(SMALL, ready_bytes_max=1)), {"slow": slow, "honest": slow})
    caught_up(story, run, since=HEIGHTS - 60)
    assert len(late) == 2


def test_requests_are_bounded(story: Story) -> None:
    sync = Sync(story.begin, SMALL)
    for at in range(200):
        sync.join(f"p{at}", 0)
    peers = {action.peer for action in sync.refresh(1) if isinstance(action, Ask)}
    assert peers == set()  # They still owe their first answer.
    asked = 0
    for at in range(64):
        status = SyncStatus(at + 1, 10**6, 1, 0, 1)
        asked += sum(
            isinstance(each, Ask) for each in sync.receive(f"p{at}", encode_reply(status, story.genesis_hash), 2)
        )
    assert asked == SMALL.in_flight_max


def test_an_archive_answers_within_its_bounds_and_knows_noise(story: Story) -> None:
    genesis = story.genesis_hash
    assert answer(b"", story.archive, genesis) is None
    assert answer(SyncRequest(1, Wanted.STATUS).encode(bytes(32)), story.archive, genesis) is None
    for wanted, first, second in (
        (Wanted.BLOCKS, 0, 5), (Wanted.BLOCKS, HEIGHTS + 1, 2**64 - 1), (Wanted.BLOCKS, 9, 3), (Wanted.SET_CHANGE, 3, 0),
        (Wanted.CHECKPOINT, 1, 0), (Wanted.CHUNK, 1024, 99), (Wanted.CHUNK, 1, 0),
    ):  # fmt: skip
        reply = answer(SyncRequest(7, wanted, first, second).encode(genesis), story.archive, genesis)
        assert decode_reply(reply, genesis) == NothingReply(7)
    whole = decode_reply(
        answer(SyncRequest(7, Wanted.BLOCKS, 1, 2**64 - 1).encode(genesis), story.archive, genesis), genesis
    )
    assert len(whole.blocks) == 256


def test_messages_are_exact(story: Story) -> None:
    genesis = story.genesis_hash
    request = SyncRequest(3, Wanted.CHUNK, 4, 5)
    assert SyncRequest.decode(request.encode(genesis), genesis) == request
    for reply in (
        SyncStatus(1, 2, 3, 4, 5), BlocksReply(1, 2, ((b"ab", b"c"), (b"", b"d"))), ProofReply(1, b"xyz"), NothingReply(9),
        ChunkReply(1, 2, InclusionPath(2, 3, (bytes(32),)), b"chunk"),
    ):  # fmt: skip
        data = encode_reply(reply, genesis)
        assert decode_reply(data, genesis) == reply
        for wrong in (data[:47], data + b"\0" if not isinstance(reply, ProofReply) else b"", b"\0" + data[1:]):
            with pytest.raises(EncodingError):
                decode_reply(wrong, genesis)
    data = request.encode(genesis)
    for wrong in (data[:-1], data + b"\0", data[:48] + b"\x09" + data[49:], data[:50] + b"\1" + data[51:]):
        with pytest.raises(EncodingError):
            SyncRequest.decode(wrong, genesis)


@given(st.binary(max_size=200))
def test_no_bytes_break_a_reader(data: bytes) -> None:
    genesis = bytes(32)
    for read in (lambda: decode_reply(data, genesis), lambda: SyncRequest.decode(data, genesis)):
        try:
            read()
        except EncodingError:
            continue


@given(st.integers(1, 50), st.integers(0, 40), st.lists(st.tuples(st.integers(1, 90), st.integers(0, 9)), max_size=8))
def test_gaps_are_what_is_left(first: int, size: int, spans: list[tuple[int, int]]) -> None:
    taken = sorted((start, start + more) for start, more in spans)
    covered = {at for start, last in taken for at in range(start, last + 1)}
    left = [at for start, last in _gaps(first, first + size, taken) for at in range(start, last + 1)]
    assert left == [at for at in range(first, first + size) if at not in covered]


# Checkpoints as values.


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3 * CHUNK_BYTES + 5), st.randoms(use_true_random=False))
def test_a_state_is_rebuilt_from_chunks_in_any_order(size: int, chance) -> None:
    data = bytes(chance.randrange(256) for _ in range(64)) * (size // 64 + 1)
    kept = checkpoint_of(1, 1024, data[:size])
    rebuild = Rebuild(1, kept.root)
    order = rebuild.missing
    chance.shuffle(order)
    for index in order:
        with pytest.raises(ProofRefused):
            rebuild.finish()
        rebuild.add(index, *kept.chunk(index))
    assert rebuild.finish() == data[:size]


def test_a_chunk_that_is_not_proven_is_not_kept() -> None:
    kept = checkpoint_of(1, 1024, bytes(CHUNK_BYTES) + b"\1" * CHUNK_BYTES + b"\2" * 7)
    rebuild = Rebuild(1, kept.root)
    chunk, path = kept.chunk(1)
    for index, wrong, its_path in (
        (0, chunk, path), (1, chunk[:-1], path), (1, b"\3" * CHUNK_BYTES, path), (1, chunk, kept.chunk(0)[1]),
        (3, chunk, path), (-1, chunk, path), (2, kept.chunk(2)[0] + b"\2", kept.chunk(2)[1]),
    ):  # fmt: skip
        with pytest.raises(ProofRefused):
            rebuild.add(index, wrong, its_path)
    assert rebuild.missing == [0, 1, 2]
    with pytest.raises(IndexError):
        kept.chunk(3)
    for root in (
        replace(kept.root, chunk_count=2),
        replace(kept.root, state_bytes=0),
        CheckpointRoot(1, 2**40, 2**24, bytes(32)),
    ):
        with pytest.raises(EncodingError):
            Rebuild(1, root)


def test_a_block_after_every_1024_heights_names_the_state(story: Story) -> None:
    """RELAY-51: height 1025 holds the root of the state after 1024, and a wrong or missing one is refused."""
    block = story.world.blocks[1024][0]
    assert block.records[-1].checkpoint().height == 1024
    state: RelayState = story.world.states[1024]
    from relay.errors import BlockRefused
    from relay.offers import Sidecar

    for records in (block.records[:-1], (*block.records[:-1], replace(block.records[-1], payload=bytes(56)))):
        with pytest.raises(BlockRefused) as error:
            state.check(story.world.remake(block, records), Sidecar(), story.world.now)
        assert error.value.reason == "checkpoint"
    early = story.world.blocks[1020][0]
    with pytest.raises(BlockRefused) as error:
        story.world.states[1020].check(
            story.world.remake(early, (*early.records, block.records[-1])), Sidecar(), story.world.now
        )
    assert error.value.reason == "checkpoint"
