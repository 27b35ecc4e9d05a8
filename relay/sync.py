"""Catching up: blocks and checkpoints from several peers at once, every part verified before it counts (07).

It promises that nothing reaches ``Adopt`` or ``Restored`` but what quorums certified, that a peer that lies, floods or
stalls is dropped with a reason and its work given to another, and that memory is bounded whatever peers send. It signs
nothing and knows no sockets: the shell sends what ``Ask`` says and hands in what comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RelayBlock
from engine.types import RelayRecordType
from engine.validators import Certificate
from relay.checkpoint import Rebuild
from relay.errors import BlockRefused
from relay.light import LightClient, RecordProof, Trust
from relay.state import RelayState
from relay.sync_actions import Adopt, Ask, Conflict, Drop, Restored, SyncAction, Synced, SyncSettings
from relay.sync_messages import (
    REPLY_BYTES_MAX,
    BlocksReply,
    ChunkReply,
    NothingReply,
    ProofReply,
    SyncStatus,
    Wanted,
    decode_reply,
)
from relay.sync_peers import Peers

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from relay.sync_messages import SyncReply
    from relay.sync_peers import Asked, Peer

__all__ = ["Adopt", "Ask", "Conflict", "Drop", "Restored", "Sync", "SyncAction", "SyncSettings", "Synced"]


@dataclass(slots=True)
class _Ready:
    peer: Hashable
    blocks: tuple[tuple[bytes, bytes], ...]

    @property
    def size(self) -> int:
        return sum(len(block) + len(certificate) for block, certificate in self.blocks)


class Sync:
    """One validator's (or observer's) catching up, from its own state on. ``state`` moves as blocks are verified.

    Call ``join`` and ``leave`` as peers come and go, ``receive`` with what they send, ``tick`` at ``next_wake``; what
    is returned is done in order. ``advance`` tells it what was finalized otherwise.
    """

    def __init__(self, state: RelayState, settings: SyncSettings | None = None) -> None:
        self.state = state
        self.halted = False
        self._settings = settings or SyncSettings()
        self._out: list[SyncAction] = []
        self._peers = Peers(self._settings, state.genesis.hash, self._out)
        self._ready: dict[int, _Ready] = {}
        self._light: LightClient | None = None
        self._proof: RecordProof | None = None
        self._rebuild: Rebuild | None = None
        self._told = -1

    # Inputs.

    def join(self, peer: Hashable, now: int) -> list[SyncAction]:
        """Meet a peer; it is asked what it has. Beyond ``peers_max`` nobody is met."""
        self._peers.now = now
        self._peers.join(peer)
        return self._take()

    def leave(self, peer: Hashable, now: int) -> list[SyncAction]:
        """Forget a peer; what it was asked for goes to others."""
        self._peers.now = now
        self._peers.leave(peer)
        return self._plan()

    def refresh(self, now: int) -> list[SyncAction]:
        """Ask every peer again what it has: the chain has moved on."""
        self._peers.now = now
        self._told = -1
        for peer in self._peers.all:
            self._peers.ask_status(peer)
        return self._take()

    def advance(self, state: RelayState, now: int) -> list[SyncAction]:
        """Go on from a later state that was reached otherwise."""
        self._peers.now = now
        if state.height > self.state.height:
            self.state = state
            self._end_checkpoint()
            self._process()
        return self._plan()

    def receive(self, peer: Hashable, data: bytes, now: int) -> list[SyncAction]:
        """Take an answer. Whatever it is, nothing is raised: a liar is dropped."""
        self._peers.now = now
        known = self._peers.all.get(peer)
        if known is None or self.halted:
            return self._take()
        if len(data) > REPLY_BYTES_MAX:
            self._drop(peer, "overlong")
            return self._plan()
        try:
            reply = decode_reply(data, self.state.genesis.hash)
        except EncodingError:
            self._drop(peer, "malformed")
            return self._plan()
        if reply.id in known.late:
            # Too late, and forgiven: it was asked.
            known.late.remove(reply.id)
        elif (asked := self._peers.answered(known, reply.id)) is None:
            self._drop(peer, "unasked")
        else:
            self._take_reply(peer, known, asked, reply)
        return self._plan()

    def tick(self, now: int) -> list[SyncAction]:
        """Let deadlines pass; call at ``next_wake``."""
        self._peers.now = now
        if self.halted:
            return []
        for peer in self._peers.expire():
            self._drop(peer, "stall")
        return self._plan()

    @property
    def next_wake(self) -> int:
        """When ``tick`` is due, ns."""
        return self._peers.next_wake()

    @property
    def target(self) -> int:
        """The highest height that a peer says it has, or this state's: a word, not a fact."""
        return max(self._peers.target, self.state.height)

    @property
    def behind(self) -> bool:
        """Whether a peer says it has more than this state."""
        return self.target > self.state.height

    @property
    def dropped(self) -> dict[str, int]:
        """How many peers were dropped, by reason."""
        return self._peers.dropped

    # Answers.

    def _take_reply(self, peer: Hashable, known: Peer, asked: Asked, reply: SyncReply) -> None:
        if isinstance(reply, SyncStatus) and asked.wanted is Wanted.STATUS:
            if not self._peers.note_status(known, reply):
                self._drop(peer, "went_back")
        elif isinstance(reply, NothingReply) and asked.wanted is not Wanted.STATUS:
            self._nothing(peer, known, asked)
        elif isinstance(reply, BlocksReply) and asked.wanted is Wanted.BLOCKS:
            self._take_blocks(peer, asked, reply)
        elif isinstance(reply, ProofReply) and asked.wanted is Wanted.SET_CHANGE:
            self._guard(peer, "bad_set_change", lambda: self._take_set_change(reply))
        elif isinstance(reply, ProofReply) and asked.wanted is Wanted.CHECKPOINT:
            self._guard(peer, "bad_checkpoint", lambda: self._take_checkpoint(asked, reply))
        elif isinstance(reply, ChunkReply) and asked.wanted is Wanted.CHUNK:
            self._guard(peer, "bad_chunk", lambda: self._take_chunk(asked, reply))
        else:
            self._drop(peer, "wrong_kind")

    def _nothing(self, peer: Hashable, known: Peer, asked: Asked) -> None:
        """Drop a peer without blocks that it claimed.

        A checkpoint may have given way to a newer one; and who went on from one knows sets whose change it cannot show.
        """
        if asked.wanted is Wanted.BLOCKS:
            self._drop(peer, "claimed_more")
        else:
            (known.unshown if asked.wanted is Wanted.SET_CHANGE else known.lacks).add(asked.first)

    def _guard(self, peer: Hashable, reason: str, take: Callable[[], None]) -> None:
        try:
            take()
        except (EncodingError, ProofRefused, BlockRefused):
            self._drop(peer, reason)

    def _take_blocks(self, peer: Hashable, asked: Asked, reply: BlocksReply) -> None:
        if reply.first != asked.first or len(reply.blocks) > asked.second - asked.first + 1:
            self._drop(peer, "wrong_range")
            return
        if reply.first + len(reply.blocks) - 1 > self.state.height:
            self._ready.setdefault(reply.first, _Ready(peer, reply.blocks))
        self._process()

    def _process(self) -> None:
        """Verify what follows the state, block by block; what was already passed otherwise is skipped."""
        while self._ready and not self.halted:
            height = self.state.height + 1
            first = next((each for each, ready in self._ready.items() if each <= height < each + len(ready.blocks)), 0)
            self._ready = {each: r for each, r in self._ready.items() if each + len(r.blocks) > height}
            if not first:
                return
            ready = self._ready.pop(first)
            for block, certificate in ready.blocks[height - first :]:
                if not self._adopt(ready.peer, block, certificate):
                    break

    def _adopt(self, peer: Hashable, block_bytes: bytes, certificate_bytes: bytes) -> bool:
        """Verify the next block and hand it out; a peer that sent another is dropped."""
        state, height = self.state, self.state.height + 1
        try:
            block, certificate = _verified(state, block_bytes, certificate_bytes)
        except (EncodingError, ProofRefused, BlockRefused):
            self._drop(peer, "bad_block")
            return False
        try:
            state.check(block, None, None)
        except BlockRefused as error:
            self.halted = True
            self._out.append(Conflict(height, error.reason, block, certificate))
            return False
        self.state = state.after(block, certificate)
        self._out.append(Adopt(self.state, block, certificate))
        return True

    # Checkpoints.

    def _take_set_change(self, reply: ProofReply) -> None:
        if self._light is not None:
            change = RecordProof.decode(reply.proof)
            following = change.record.type is RelayRecordType.VALIDATOR_SET and change.record.validator_set()
            if following and following.set_id <= self._light.newest.set_id:
                return
            self._light.follow(change)

    def _take_checkpoint(self, asked: Asked, reply: ProofReply) -> None:
        if self._light is None or self._rebuild is not None:
            return
        proof = RecordProof.decode(reply.proof)
        if proof.record.type is not RelayRecordType.CHECKPOINT or proof.header.height != asked.first + 1:
            raise ProofRefused("checkpoint", "another record or height")
        self._light.verify_record(proof)
        root = proof.record.checkpoint()
        if root.height != asked.first:
            raise ProofRefused("checkpoint", f"of height {root.height}")
        self._rebuild, self._proof = Rebuild(self.state.suite, root), proof

    def _take_chunk(self, asked: Asked, reply: ChunkReply) -> None:
        rebuild = self._rebuild
        if rebuild is None or rebuild.root.height != asked.first:
            return
        if reply.index != asked.second:
            raise ProofRefused("chunk", f"{reply.index} for {asked.second}")
        rebuild.add(reply.index, reply.chunk, reply.path)
        if not rebuild.missing:
            self._restore(rebuild)

    def _restore(self, rebuild: Rebuild) -> None:
        proof = self._proof
        assert proof is not None
        self._end_checkpoint()
        try:
            state = _state_of(self.state, rebuild, proof)
        except (EncodingError, ProofRefused):
            # A quorum certified bytes that are no state of this program: every block by itself is what is left.
            for known in self._peers.all.values():
                known.lacks.add(rebuild.root.height)
            return
        if state.height > self.state.height:
            self.state = state
            self._ready.clear()
            self._out.append(Restored(state, proof))

    def _end_checkpoint(self) -> None:
        self._light = self._proof = self._rebuild = None

    # What to ask next.

    def _plan(self) -> list[SyncAction]:
        """Ask idle peers for what is wanted, most urgent first, and hand out what is to be done."""
        if self.halted:
            return self._take()
        if self._wants_checkpoint():
            self._plan_checkpoint()
        else:
            self._plan_blocks()
        if self._peers.known and not self.behind and self._told != self.state.height:
            self._told = self.state.height
            self._out.append(Synced(self.state.height))
        return self._take()

    def _wants_checkpoint(self) -> bool:
        if any(self._serves_checkpoint(peer) for peer in self._peers.all.values()):
            return True
        # Whoever had the one that was begun is gone.
        self._end_checkpoint()
        return any(self._serves_checkpoint(peer) for peer in self._peers.all.values())

    def _serves_checkpoint(self, peer: Peer) -> bool:
        """Say whether a peer is asked for the checkpoint that was begun, or has one that is worth beginning."""
        status, lacks = peer.status, peer.lacks
        if status is None:
            return False
        if self._rebuild is not None:
            return self._rebuild.root.height <= status.checkpoint and self._rebuild.root.height not in lacks
        far = status.height - self.state.height > self._settings.checkpoint_gap or not self._next_is_kept()
        return far and self.state.height < status.checkpoint < status.height and status.checkpoint not in lacks

    def _next_is_kept(self) -> bool:
        """Say whether any peer keeps the block that comes next."""
        return any(peer.keeps(self.state.height + 1) for peer in self._peers.all.values())

    def _plan_checkpoint(self) -> None:
        if self._rebuild is not None:
            height = self._rebuild.root.height
            for index in self._rebuild.missing:
                if not self._peers.assign(Wanted.CHUNK, height, index, self._serves_checkpoint):
                    return
            return
        if self._light is None:
            trust = Trust(self.state.sets[0], time=self.state.time)
            self._light = LightClient(self.state.suite, self.state.genesis.hash, trust, later=self.state.sets[1:])
        newest = self._light.newest.set_id
        serving = [peer for peer in self._peers.all.values() if self._serves_checkpoint(peer)]
        heights = [peer.checkpoint_under(newest) for peer in serving]
        height = next((each for each in heights if each), 0)
        if height:
            self._peers.assign(Wanted.CHECKPOINT, height, 0, lambda peer: peer.checkpoint_under(newest) == height)
        elif any(peer.leads_to(newest + 1) for peer in self._peers.all.values()):
            self._peers.assign(Wanted.SET_CHANGE, newest + 1, 0, lambda peer: peer.leads_to(newest + 1))
        else:
            # Nobody leads to the sets that these know: what is left is every block by itself, or a later trust.
            for peer in serving:
                peer.give_up_checkpoint()
            self._end_checkpoint()

    def _plan_blocks(self) -> None:
        """Ask for ranges in order, as far ahead as the window allows, none twice."""
        height, size = self.state.height + 1, self._settings.range_blocks
        limit = height + self._settings.in_flight_max * size
        if sum(ready.size for ready in self._ready.values()) > self._settings.ready_bytes_max:
            # Large blocks wait for one that is still on its way: ask for that one alone.
            limit = height + 1
        ready = [(first, first + len(each.blocks) - 1) for first, each in self._ready.items()]
        asked = [(each.first, each.second) for each in self._peers.asked if each.wanted is Wanted.BLOCKS]
        for first, last in _gaps(height, min(limit, self.target + 1), sorted(ready + asked)):
            for at in range(first, last + 1, size):
                end = min(last, at + size - 1)
                if not self._peers.assign(Wanted.BLOCKS, at, end, partial(_keeps, height=at)):
                    return

    def _drop(self, peer: Hashable, reason: str) -> None:
        """Let a peer go, and with it what it sent that is not verified yet."""
        if self._peers.drop(peer, reason):
            self._ready = {first: ready for first, ready in self._ready.items() if ready.peer != peer}

    def _take(self) -> list[SyncAction]:
        taken = list(self._out)
        self._out.clear()
        return taken


def _keeps(peer: Peer, height: int) -> bool:
    return peer.keeps(height)


def _verified(state: RelayState, block_bytes: bytes, certificate_bytes: bytes) -> tuple[RelayBlock, Certificate]:
    """Read a block of the next height that a quorum certified; raises EncodingError, ProofRefused, BlockRefused."""
    block = RelayBlock.decode(block_bytes, state.suite)
    certificate = Certificate.decode(certificate_bytes)
    if (block.header.height, block.header.genesis_hash) != (state.height + 1, state.genesis.hash):
        raise EncodingError("sync block", block.header.height, state.height + 1)
    block.verify_certificate(state.suite, certificate, state.set_at(state.height + 1))
    return block, certificate


def _state_of(before: RelayState, rebuild: Rebuild, proof: RecordProof) -> RelayState:
    """Read the state that a checkpoint holds; raises EncodingError, ProofRefused."""
    state = RelayState.decode(rebuild.finish(), before.genesis)
    if (state.height, state.tip_hash) != (rebuild.root.height, proof.header.parent_hash):
        raise EncodingError("checkpoint state", state.height, rebuild.root.height)
    return state


def _gaps(first: int, end: int, taken: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges from ``first`` to below ``end`` that ``taken``, ascending, leaves."""
    gaps, at = [], first
    for start, last in taken:
        if start > at:
            gaps.append((at, min(start, end) - 1))
        at = max(at, last + 1)
    if at < end:
        gaps.append((at, end - 1))
    return [(start, last) for start, last in gaps if start <= last]
