"""One validator as production runs it, on a virtual clock, disk and wires: the shell around the very core.

Its disk has two durable values, the vote record and the chain's book. A write is done whole or not at all: torn, the
old value stays. What is sent after a write leaves only once the write is done.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from clearspan.simulation.relay.disk import Disk, Entry
from engine.genesis import padded_key
from engine.types import NS_PER_S
from relay.actions import ALL, Behind, EvidenceFound, Finalized, ForkSeen, Persist, Refused, Send
from relay.archive import MemoryArchive, answer
from relay.consensus import ValidatorCore
from relay.pacemaker import NEVER
from relay.pool import Pool
from relay.ports import Member
from relay.sync import Adopt, Ask, Conflict, Drop, Restored, Sync, SyncSettings
from relay.transcript import Transcript
from relay.vote_record import VoteRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from clearspan.simulation.relay.stage import Actor, Stage
    from clearspan.simulation.relay.timeline import Clock
    from engine.development import DevelopmentKey
    from engine.relay_block import RelayBlock
    from engine.validators import Certificate, ValidatorSet
    from relay.actions import Action
    from relay.offers import PoolItem
    from relay.state import RelayState
    from relay.sync import SyncAction

__all__ = ["Node"]

# A peer that owed answers is asked again soon, one that lied after a while: in production it reconnects.
_REJOIN_NS: Final = {"stall": 2 * NS_PER_S}
_REJOIN_LIAR_NS: Final = 30 * NS_PER_S
SYNC_SETTINGS: Final = SyncSettings(range_blocks=3, checkpoint_gap=400)


class Node:
    """Validator ``number`` (a twin shares it; ``place`` is where it is wired). ``core`` is None while it is down."""

    honest = True

    def __init__(self, scene: Stage, number: int, place: int, clock: Clock) -> None:
        self.scene = scene
        self.number = number
        self.place = place
        self.clock = clock
        self.disk = Disk(scene.base_of(number))
        self.core: ValidatorCore | None = None
        self.pool = Pool()
        self.fuse = -1
        self.disk_ns = scene.plan.disk_ns
        self.life = 0
        self.said_restored = False
        self._sync = Sync(self.disk.state, SYNC_SETTINGS)
        self._sync_wake = NEVER
        self._archive = MemoryArchive(self.disk.state)
        self._pending: deque[Action] = deque()
        self._inbox: deque[Callable[[], None]] = deque()
        # A write is under way, or the process is stopped: nothing is done meanwhile.
        self._writing = False
        self._wake_at = NEVER
        self._places: dict[int, dict[int, int]] = {}
        self._keyed: tuple[int, int] = (0, 0)
        self._shards: dict[tuple[int, int], tuple[bytes, bool]] = {}

    # Life.

    @property
    def now(self) -> int:
        """What its clock shows."""
        return self.clock.local(self.scene.timeline.now)

    @property
    def _steady(self) -> int:
        """The clock that nobody sets, by which it catches up."""
        return self.scene.timeline.now

    @property
    def state(self) -> RelayState:
        """The newest state of its book."""
        return self.disk.state

    @property
    def waits(self) -> bool:
        """Whether a write is under way."""
        return self._writing

    @property
    def archive(self) -> MemoryArchive:
        """What it serves."""
        return self._archive

    def up_if_down(self) -> None:
        """Start unless it runs."""
        if self.core is None:
            self.up()

    def up(self) -> None:
        """Start from what the disk holds."""
        self.life += 1
        state = self.disk.state
        key = self.key_for(state.set_at(state.height + 1))
        votes = VoteRecord.opened(self.disk.votes, self.disk.generation, restored=self.said_restored)
        self.pool = Pool()
        self._archive = MemoryArchive(self.disk.base)
        for entry in self.disk.entries:
            self._archive.append(entry.block, entry.certificate, entry.state)
        self.core = ValidatorCore(
            state=state,
            member=Member(padded_key(key.public_key), key.suite, key.sign),
            votes=votes,
            settings=self.scene.settings,
            now=self.now,
            pool=self.pool,
            certificate=self.disk.entries[-1].certificate if self.disk.entries else None,
            checker=self.scene.checker,
        )
        for (shard, height), (name, held) in self._shards.items():
            self.core.note_followed(shard, height, name, held=held)
        self._sync = Sync(state, SYNC_SETTINGS)
        self.perform(self.core.start(self.now))
        for peer in self.scene.nodes:
            if peer.number != self.number:
                self._do_sync(self._sync.join(peer.place, self._steady))
        self._schedule()

    def down(self) -> None:
        """Lose power: what is not on the disk is gone, a write under way is torn."""
        if self.core is None:
            return
        if any(isinstance(action, Persist) for action in self._pending):
            self.scene.report.fault("torn_write")
        self.core = None
        self.fuse = -1
        self._pending.clear()
        self._inbox.clear()
        self._writing = False
        self._wake_at = NEVER
        self.life += 1

    def stop(self, for_ns: int) -> None:
        """Do nothing for a while, as a stopped process: time goes by, and what arrives waits."""
        if self._writing or self.core is None:
            return
        self._writing = True
        life = self.life

        def go_on() -> None:
            if self.life == life:
                self._writing = False
                self._drain(written=False)
                self._go_on()

        self.scene.timeline.after(for_ns, go_on)

    def key_for(self, validators: ValidatorSet) -> DevelopmentKey:
        """Return the key with which it stands in a set, its newest one where it stands in none."""
        return self.scene.parties.key_in(self.number, validators) or self.scene.parties.members[self.number][-1]

    def index_of(self, node: Actor) -> int | None:
        """Return the index of a peer in the set at hand, by any of its keys; None for one that is no member."""
        assert self.core is not None
        validators = self.core.validators
        known = self._places.get(validators.set_id)
        if known is None:
            owner = self.scene.parties.owner
            known = {owner[member.public_key]: index for index, member in enumerate(validators.members)}
            self._places[validators.set_id] = known
        return known.get(node.number)

    # What comes in.

    def take(self, source: Actor, data: bytes) -> None:
        """Take a message of agreement; while a write is under way it waits."""
        self._enqueue(lambda: self._receive(source, data))

    def _enqueue(self, work: Callable[[], None]) -> None:
        if self.core is not None:
            self._inbox.append(work)
            self._work()

    def _receive(self, source: Actor, data: bytes) -> None:
        assert self.core is not None
        actions = self.core.receive(self.index_of(source), data, self.now)
        if data[6:8] == b"\x01\x00" and any(isinstance(action, Finalized) for action in actions):
            self.scene.report.state("parent_certificate_decides")
        self.scene.checks.refusing = source
        self.perform(actions)
        self.scene.checks.refusing = None

    def offer(self, item: PoolItem) -> None:
        """Take something for the pool."""
        if self.core is not None and not self._writing:
            self.perform(self.core.offer(item, self.now))
            self._after()

    def follow(self, shard: int, height: int, header_hash: bytes, *, held: bool) -> None:
        """Note that it executed a shard up to a header."""
        self._shards[shard, height] = header_hash, held
        if self.core is not None:
            self.core.note_followed(shard, height, header_hash, held=held)

    def _work(self) -> None:
        while self._inbox and not self._writing and self.core is not None:
            self._inbox.popleft()()
            self._after()

    def _tick(self, life: int, asked: int) -> None:
        if self.life != life or self._wake_at != asked or self.core is None:
            return
        self._wake_at = NEVER
        if not self._writing:
            if self.core.next_wake <= self.now:
                self.perform(self.core.tick(self.now))
            if self.core is not None and self._sync_wake <= self._steady:
                self._do_sync(self._sync.tick(self._steady))
            self._after()
        self._schedule()

    def _after(self) -> None:
        if self.core is None or self._writing:
            return
        self._change_key()
        self.scene.checks.look(self)
        self._schedule()

    def _schedule(self) -> None:
        if self.core is None or self._writing:
            return
        core_wake = self.core.next_wake
        when = min(self._sync_wake, self.clock.instant(core_wake) if core_wake < NEVER else NEVER)
        if when >= NEVER:
            return
        when = max(when, self.scene.timeline.now)
        if when < self._wake_at or self._wake_at <= self.scene.timeline.now:
            self._wake_at = when
            life = self.life
            self.scene.timeline.at(when, lambda: self._tick(life, when))

    def clock_changed(self) -> None:
        """Look again when to wake: the clock was set."""
        self._wake_at = NEVER
        self._schedule()

    def _change_key(self) -> None:
        """Go on under another key where the set at hand knows this member by that one."""
        assert self.core is not None
        looked = (self.life, self.core.validators.set_id)
        if looked == self._keyed:
            return
        key = self.scene.parties.key_in(self.number, self.core.validators)
        member = self.core.desk.signer.member
        if key is None or member is None or member.public_key == padded_key(key.public_key):
            self._keyed = looked
            return
        if self.core.state.height == self.disk.state.height:
            self.scene.report.state("key_rotated")
            self.down()
            self.up()

    # What the core asks for.

    def perform(self, actions: Iterable[Action]) -> None:
        """Do what the core asks, in its order."""
        self._pending.extend(actions)
        self._drain(written=False)

    def _drain(self, *, written: bool) -> None:
        while self._pending and not self._writing:
            action = self._pending[0]
            if isinstance(action, Persist | Finalized) and self.disk_ns and not written:
                self._write()
                return
            written = False
            if self.fuse == 0:
                self.scene.faults.blown(self)
                return
            self.fuse -= self.fuse > 0
            self._pending.popleft()
            self._perform_one(action)
            if self.core is None:
                return

    def _write(self) -> None:
        """Let the disk take its time; nothing else is done meanwhile."""
        self._writing = True
        life = self.life

        def written() -> None:
            if self.life != life:
                return
            self._writing = False
            self._drain(written=True)
            self._go_on()

        self.scene.timeline.after(self.disk_ns, written)

    def _go_on(self) -> None:
        if not self._writing and self.core is not None:
            self._after()
            self._work()

    def _perform_one(self, action: Action) -> None:
        scene = self.scene
        if isinstance(action, Persist):
            self.disk.votes = action.record
            scene.checks.written(self, action.record)
            # It stands in the record from now on.
            self.said_restored = False
        elif isinstance(action, Send):
            self.send(action)
        elif isinstance(action, Finalized):
            self._finalize(action)
        elif isinstance(action, Behind):
            scene.report.state("behind")
            self._do_sync(self._sync.refresh(self._steady))
        elif isinstance(action, EvidenceFound):
            scene.checks.evidence(self, action.proof)
        elif isinstance(action, ForkSeen):
            scene.checks.fork_seen(self, action)
        elif isinstance(action, Refused):
            scene.checks.refused(self, action)

    def _finalize(self, action: Finalized) -> None:
        height = action.block.header.height
        self.scene.checks.decided(self, action)
        if height <= self.disk.state.height:
            # Catching up was faster.
            return
        state = self.disk.state.after(action.block, action.certificate)
        self._keep(action.block, action.certificate, action.transcript, action.generation, state)
        self._do_sync(self._sync.advance(state, self._steady))

    def send(self, action: Send) -> None:
        """Bring a message of the core on its way."""
        self.scene.checks.signed(self, action.message)
        self.scene.faults.leaving(self, action.message, left=False)
        for target in self.targets(action):
            self.deliver(target, action.message)
        self.scene.faults.leaving(self, action.message, left=True)

    def targets(self, action: Send) -> list[Actor]:
        """Return who a message is for: members of the set it names, by their keys; twins of one key both."""
        assert action.validators is not None
        owner = self.scene.parties.owner
        if action.to == ALL:
            numbers = [owner[member.public_key] for member in action.validators.members]
        else:
            numbers = [owner[action.validators.members[action.to].public_key]]
        return [node for number in numbers for node in self.scene.homes[number] if node.number != self.number]

    def deliver(self, target: Actor, data: bytes) -> None:
        """Put bytes on the wire to a peer."""
        self.scene.wires.carry(self.place, target.place, data, lambda: target.take(self, data))

    def _keep(
        self, block: RelayBlock, certificate: Certificate, transcript: Transcript, generation: int, state: RelayState
    ) -> None:
        self.disk.entries.append(Entry(block, certificate, transcript, generation, state))
        self._archive.append(block, certificate, state)
        self.scene.checks.final(self, self.disk.entries[-1])

    # Catching up.

    def _ask(self, peer: Actor, request: bytes) -> None:
        """Ask a peer: a call of its own, whose answer nobody takes once this node was down."""
        wires, life = self.scene.wires, self.life

        def answered(data: bytes) -> None:
            if self.life == life:
                self._enqueue(lambda: self._do_sync(self._sync.receive(peer.place, data, self._steady)))

        def asked() -> None:
            for reply in peer.replies(request):
                wires.carry(peer.place, self.place, reply, lambda data=reply: answered(data), once=True)  # type: ignore[misc]

        def arrives() -> None:
            peer.serve(asked)

        wires.carry(self.place, peer.place, request, arrives, once=True)

    def serve(self, work: Callable[[], None]) -> None:
        """Answer a peer that catches up, when there is time."""
        self._enqueue(work)

    def replies(self, request: bytes) -> list[bytes]:
        """Return what is answered to a request for blocks, states or proofs."""
        reply = answer(request, self._archive, self.scene.parties.genesis.hash)
        return [] if reply is None else [reply]

    def _do_sync(self, actions: list[SyncAction]) -> None:
        last: Adopt | None = None
        self._sync_wake = self._sync.next_wake
        for action in actions:
            if isinstance(action, Ask):
                self._ask(self.scene.nodes[int(str(action.peer))], action.message)
            elif isinstance(action, Adopt):
                last = self._adopt(action) or last
            elif isinstance(action, Restored):
                self._restore(action)
            elif isinstance(action, Drop):
                self._dropped(int(str(action.peer)), action.reason)
            elif isinstance(action, Conflict):
                self.scene.checks.conflict(self, action)
        if last is not None and self.core is not None:
            self.perform(self.core.adopt(last.state, last.block, last.certificate, self.now))

    def _adopt(self, action: Adopt) -> Adopt | None:
        if action.state.height <= self.disk.state.height or self.core is None:
            return None
        self.scene.report.state("synced_blocks")
        # Of the height at hand the core has seen more than the certificate.
        seen = self.core.transcript if action.state.height == self.core.height else Transcript()
        self.scene.checks.adopted(self, action)
        transcript = Transcript((*seen.certificates, action.certificate), seen.timeouts)
        self._keep(action.block, action.certificate, transcript, self.core.votes.generation, action.state)
        return action

    def _restore(self, action: Restored) -> None:
        """Go on from a checkpoint's state; the block after it follows."""
        self.scene.report.state("checkpoint_sync")
        self.scene.checks.restored(self, action.state)
        self.disk = Disk(action.state, votes=self.disk.votes)
        self._archive = MemoryArchive(action.state)

    def _dropped(self, place: int, reason: str) -> None:
        self.scene.checks.dropped(self, self.scene.nodes[place], reason)
        life = self.life

        def join() -> None:
            if self.life == life and self.core is not None:
                self._do_sync(self._sync.join(place, self._steady))
                self._schedule()

        self.scene.timeline.after(_REJOIN_NS.get(reason, _REJOIN_LIAR_NS), join)
