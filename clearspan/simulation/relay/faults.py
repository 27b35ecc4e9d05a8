"""What goes wrong, and when: weather, cuts, crashes, old copies, clocks; until it heals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clearspan.simulation.relay.disk import Disk
from clearspan.simulation.relay.plan import Mode, is_quorum
from clearspan.simulation.relay.timeline import CALM, MS, Weather
from engine.types import NS_PER_S, VotePhase
from relay.errors import VoteRecordInvalid
from relay.messages import MessageKind
from relay.vote_record import VoteRecord

if TYPE_CHECKING:
    from clearspan.simulation.relay.stage import Actor, Stage

__all__ = ["Faults"]

_EPISODE_NS: Final = (100 * MS, 700 * MS)
# To fork takes a side whose leader is on the other one as long as it takes to give up a view.
_FORK_EPISODE_NS: Final = (300 * MS, 2_500 * MS)
_DRAWS: Final = 12
_DOWN_NS: Final = (20 * MS, 1_500 * MS)
_BACKUP_NS: Final = (30 * MS, 250 * MS)
_AGAIN_NS: Final = 150 * MS
_MUTED_NS: Final = (700 * MS, 2_500 * MS)
_JUMPS_NS: Final = (NS_PER_S, 2 * NS_PER_S, 90 * NS_PER_S)
_STOPPED_NS: Final = (100 * MS, 3_000 * MS)
# Where a message has its kind, and one with a certificate the phase of that.
_KIND: Final = 6
_PHASE: Final = 50


class Faults:
    """The bad time of a run. Liars are left alone: they do worse by themselves."""

    def __init__(self, scene: Stage) -> None:
        self.scene = scene
        self.chance = scene.chance
        self.over = False
        self._armed = ""
        self._restored = False
        self._muted: set[tuple[int, int]] = set()

    def start(self) -> None:
        """Begin."""
        scene = self.scene
        if scene.plan.skew_ns:
            scene.report.fault("skew")
        self._episode()
        self._back_up()
        if scene.plan.restored is not None:
            share = self.chance.randrange(20, 60)
            scene.timeline.at(scene.plan.faults_ns * share // 100, self._restore)
        scene.timeline.at(scene.plan.faults_ns, scene.heal)

    def end(self) -> None:
        """Let everything be well again: wires, disks, and whoever is down comes up."""
        if not self._restored:
            self._restore()
        self.over = True
        scene = self.scene
        scene.checks.read_clocks()
        scene.wires.weather = CALM
        scene.wires.cuts.clear()
        for node in scene.nodes:
            node.disk_ns = min(node.disk_ns, scene.plan.disk_ns)
            node.fuse = -1
            node.clock.mend()
            if node.core is None:
                node.up()
            node.clock_changed()

    def blown(self, node: Actor) -> None:
        """Let a node's power go between two of its actions."""
        self.scene.report.fault("crash_between_actions")
        self._down(node, self.chance.randrange(*_DOWN_NS))

    # Episodes.

    def _episode(self) -> None:
        if self.over:
            return
        scene, chance = self.scene, self.chance
        self._weather()
        what = chance.choice(
            (
                "calm",
                "partition",
                "partition",
                "one_way",
                "muted",
                "flapping",
                "isolated",
                "isolated",
                "crash",
                "crash",
                "crash_between_actions",
                "crash_between_actions",
                "crash_all",
                "slow_disk",
                "stopped",
                "clock_back",
                "clock_jump",
                "clock_rate",
            )
        )
        self._clear_cuts()
        # Nothing parts a chain like parting it: where a fork is wanted the twins stand on different sides.
        fork = scene.plan.mode is Mode.FORK
        self._do("partition" if fork else what)
        scene.timeline.after(chance.randrange(*(_FORK_EPISODE_NS if fork else _EPISODE_NS)), self._episode)

    def _clear_cuts(self) -> None:
        """Mend what was cut, but for leaders that are muted for a time of their own."""
        self.scene.wires.cuts = set(self._muted)

    def _weather(self) -> None:
        chance, report = self.chance, self.scene.report
        # An old copy is one only where heights became final since.
        calm = self.scene.plan.mode in (Mode.FORK, Mode.RESTORED)
        loss = chance.choice((0.0, 0.0, 0.1) if calm else (0.0, 0.0, 0.05, 0.2, 0.4))
        doubled = chance.choice((0.0, 0.0, 0.1))
        delay_max = chance.choice((15, 15, 60) if calm and not self._restored else (15, 15, 60, 300, 900)) * MS
        self.scene.wires.weather = Weather(loss, doubled, MS, delay_max)
        for name, happens in (("loss", loss), ("doubled", doubled), ("delay", delay_max > 15 * MS)):
            if happens:
                report.fault(name)

    def _do(self, what: str) -> None:
        scene, chance = self.scene, self.chance
        honest = [node for node in scene.nodes if node.honest and node.core is not None]
        if what == "calm" or not honest:
            return
        # Where somebody hides certificates, leaders fall silent more often: that is when it tells.
        hidden = any("hidden_certificate" in lies for lies in scene.plan.lies.values())
        if chance.random() < (0.9 if hidden else 0.3):
            self._armed = chance.choice(("before", "after"))
        if what in ("partition", "one_way", "muted", "flapping", "isolated"):
            self._cut(what)
        elif what == "crash":
            scene.report.fault("crash")
            # Where somebody lies to those who catch up, there is more to catch up with.
            long = 3 if any("lying_sync_peer" in lies for lies in scene.plan.lies.values()) else 1
            self._down(chance.choice(honest), long * chance.randrange(*_DOWN_NS))
        elif what == "crash_between_actions":
            chance.choice(honest).fuse = chance.randrange(8)
        elif what == "crash_all":
            scene.report.fault("crash_all")
            for node in honest:
                self._down(node, chance.randrange(*_DOWN_NS))
        elif what == "slow_disk":
            scene.report.fault("slow_disk")
            chance.choice(honest).disk_ns = chance.choice((50, 200)) * MS
        elif what == "stopped":
            scene.report.fault("stopped")
            chance.choice(honest).stop(chance.randrange(*_STOPPED_NS))
        else:
            self._clock(chance.choice(honest), what)

    def _clock(self, node: Actor, what: str) -> None:
        scene, chance = self.scene, self.chance
        scene.report.fault(what)
        scene.checks.read_clocks()
        if what == "clock_rate":
            node.clock.change(scene.timeline.now, rate=chance.choice((500, 900, 1100, 2000)))
        else:
            jump = chance.randrange(chance.choice(_JUMPS_NS))
            node.clock.change(scene.timeline.now, jump=-jump if what == "clock_back" else jump)
        node.clock_changed()

    def _cut(self, what: str) -> None:
        scene, chance = self.scene, self.chance
        scene.report.fault(what)
        places = range(len(scene.nodes))
        if what == "isolated":
            alone = chance.choice(places)
            cuts = {pair for other in places for pair in ((alone, other), (other, alone))}
        elif what == "muted":
            mute = chance.choice(places)
            cuts = {(mute, other) for other in places}
        elif what == "one_way":
            deaf = chance.choice(places)
            cuts = {(other, deaf) for other in places if chance.random() < 0.7}
            cuts |= {(deaf, other) for other in places} if chance.random() < 0.3 else set()
        else:
            side = self._sides()
            cuts = {(one, other) for one in places for other in places if side[one] != side[other]}
        scene.wires.cuts.update(cuts)
        if what == "flapping":
            self._flap(cuts, chance.randrange(20, 120) * MS, 6)

    def leaving(self, node: Actor, data: bytes, *, left: bool) -> None:
        """Mute a leader just before its prepare certificate leaves, or just after: it goes on alone."""
        if not self._armed or self.over or left != (self._armed == "after"):
            return
        if data[_KIND] == MessageKind.CERTIFICATE and data[_PHASE] == VotePhase.PREPARE:
            self._armed = ""
            self.scene.report.fault("leader_muted")
            cuts = {(node.place, other) for other in range(len(self.scene.nodes))}
            self._muted |= cuts
            self.scene.wires.cuts |= cuts
            self.scene.timeline.after(self.chance.randrange(*_MUTED_NS), lambda: self._unmute(cuts))

    def _unmute(self, cuts: set[tuple[int, int]]) -> None:
        self._muted -= cuts
        self.scene.wires.cuts -= cuts

    def _sides(self) -> list[int]:
        """Draw two sides; twins of one member mostly stand on different ones, and in a fork each has a quorum."""
        scene = self.scene
        fork = scene.plan.mode is Mode.FORK
        side = [self.chance.randrange(2) for _ in scene.nodes]
        for _ in range(_DRAWS if fork else 0):
            if all(is_quorum(scene.plan.powers, self._there(side, each)) for each in (0, 1)):
                break
            side = [self.chance.randrange(2) for _ in scene.nodes]
        if self.chance.random() < (0.9 if fork else 0.7):
            for twins in scene.homes.values():
                for at, node in enumerate(twins):
                    side[node.place] = at % 2 if len(twins) > 1 else side[node.place]
        return side

    def _there(self, side: list[int], here: int) -> list[int]:
        """Return the members that are on a side: those with a twin are on both."""
        homes = self.scene.homes
        return [number for number in homes if len(homes[number]) > 1 or side[homes[number][0].place] == here]

    def _flap(self, cuts: set[tuple[int, int]], every: int, times: int) -> None:
        if self.over or not times:
            return
        standing = self.scene.wires.cuts
        if cuts <= standing:
            standing -= cuts
        else:
            standing |= cuts
        self.scene.timeline.after(every, lambda: self._flap(cuts, every, times - 1))

    # Down and up.

    def _down(self, node: Actor, for_ns: int) -> None:
        node.down()
        life = node.life

        def up() -> None:
            if node.life == life and node.core is None:
                node.up()

        self.scene.timeline.after(for_ns, up)

    def _back_up(self) -> None:
        if self.over:
            return
        for node in self.scene.nodes:
            if node.honest and self.chance.random() < 0.5:
                node.disk.back_up()
        self.scene.timeline.after(self.chance.randrange(*_BACKUP_NS), self._back_up)

    def _restore(self) -> None:
        """Bring one member back with an old copy, as far as ADR 0015 protects it: or its operator says so."""
        scene, plan = self.scene, self.scene.plan
        if self.over or self._restored or plan.restored is None or plan.mode is not Mode.RESTORED:
            return
        node = scene.homes[plan.restored][0]
        if not self._put_old(node, plan.restore_kind):
            scene.timeline.after(_AGAIN_NS, self._restore)
            return
        self._restored = True
        scene.report.fault(plan.restore_kind)
        scene.timeline.after(self.chance.randrange(*_DOWN_NS), node.up_if_down)

    def _put_old(self, node: Actor, kind: str) -> bool:
        """Replace what is on a node's disk; False where there is no copy old enough yet."""
        disk = node.disk
        old = [each for each in disk.backups if each != (disk.votes, len(disk.entries))]
        if kind == "old_votes":
            # Without a word of the operator only a record that is older than the chain is seen to be old.
            old = [each for each in old if VoteRecord.opened(each[0], 0).generation < disk.generation]
        if kind == "lost_votes" and not disk.generation:
            return False
        if kind == "damaged_votes":
            return self._damage(node)
        if kind not in ("lost_votes", "lost_all_said") and not old:
            return False
        node.down()
        votes, height = self.chance.choice(old) if old else (None, 0)
        height = min(height, len(disk.entries))
        if kind in ("old_votes", "old_votes_said"):
            disk.votes = votes
        elif kind == "lost_votes":
            disk.votes = None
        elif kind == "lost_all_said":
            node.disk = Disk(self.scene.base_of(node.number))
        elif kind == "old_all_said":
            node.disk = Disk(disk.base, disk.entries[:height], votes)
        else:
            node.disk = Disk(disk.base, disk.entries[:height], disk.votes)
        node.said_restored = kind.endswith("_said")
        return True

    def _damage(self, node: Actor) -> bool:
        """Damage a node's vote record: it has to be seen, and is put aside by an operator who says so."""
        votes, chance = node.disk.votes, self.chance
        if votes is None:
            return False
        at = chance.randrange(len(votes))
        torn = chance.choice((votes[:at], votes[:at] + bytes(len(votes) - at) + b"\1", b"", votes + votes[:at] + b"\1"))
        try:
            VoteRecord.opened(torn, node.disk.generation)
        except VoteRecordInvalid:
            node.down()
            node.disk.votes, node.said_restored = None, True
            return True
        self.scene.checks.fail(f"member {node.number} starts with a vote record that is damaged")
        return False
