"""Liars as twins: two cores with one key, each true to itself, kept apart. Up to F of them split nothing; more are named."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest

from relay.actions import ALL
from relay.blame import blame
from tests.behaviour.relay_doubles import GENESIS_HASH, MS, START, SUITE, Disk, Net, reveal


@dataclass
class Twins(Net):
    """Members 0 to ``liars`` - 1 run twice; groups, delays and losses come from the seed until the network heals."""

    count: int
    liars: int
    seed: int
    held: list = field(default_factory=list)

    def __post_init__(self) -> None:
        Net.__init__(self, (1,) * self.count)
        self.chance = random.Random(self.seed)
        self.member_of = [*range(self.count), *range(self.liars)]
        self.keys = [self.keys[each] for each in self.member_of]
        self.disks = [Disk(state=self.genesis_state) for _ in self.member_of]
        self.cores = [None] * len(self.member_of)
        self.honest = range(self.liars, self.count)
        self.heals = START + self.chance.choice((2_000, 6_000)) * MS
        self.delay = self.chance.choice((5, 60, 400)) * MS
        self.loss = self.chance.choice((0, 0.1, 0.3))
        self.split_at, self.side, self.number = START, [0] * len(self.member_of), 0
        for at in range(len(self.member_of)):
            self.up(at)
            self.cores[at].pool.offer(reveal(at), self.cores[at].state)

    def note_signed(self, at: int, data: bytes) -> None:
        """Twins sign what one member must not."""

    def targets(self, at: int, action) -> list[int]:
        own = self.member_of[at]
        return [
            number
            for number, member in enumerate(self.member_of)
            if (member != own if action.to == ALL else member == action.to)
        ]

    def index_at(self, target: int, source: int) -> int:
        return self.member_of[source]

    def split(self) -> None:
        """New groups; every second time the twins of each liar stand on different sides."""
        self.side = [self.chance.randrange(2) for _ in self.member_of]
        if self.chance.random() < 0.5:
            for liar in range(self.liars):
                self.side[liar], self.side[self.count + liar] = 0, 1
        self.split_at = self.now + self.chance.randrange(100, 2_000) * MS

    def step(self) -> None:
        bad = self.now < self.heals
        for source, target, message in self.queue:
            if bad and (self.side[source] != self.side[target] or self.chance.random() < self.loss):
                continue
            self.number += 1
            late = self.chance.randrange(1, self.delay if bad else 10 * MS)
            heapq.heappush(self.held, (self.now + late, self.number, source, target, message))
        self.queue.clear()
        wake = min(core.next_wake for core in self.cores)
        self.now = max(self.now, min(wake, self.held[0][0] if self.held else wake))
        if bad and self.now >= self.split_at:
            self.split()
        if self.held and self.held[0][0] <= self.now:
            _, _, source, target, message = heapq.heappop(self.held)
            self.perform(target, self.cores[target].receive(self.index_at(target, source), message, self.now))
        for at, core in enumerate(self.cores):
            if core.next_wake <= self.now:
                self.perform(at, core.tick(self.now))
        assert all(proof.member < self.liars for _, proof in self.evidence), "evidence against the honest"

    def forked_height(self) -> int:
        """The first height at which two honest members differ, 0 for none."""
        chains = [self.disks[at].state.blocks for at in self.honest]
        longest = max(chains, key=len)
        ends = [
            height
            for blocks in chains
            for height, (one, other) in enumerate(zip(longest, blocks, strict=False), start=1)
            if one != other
        ]
        return min(ends, default=0)

    def run(self, more: int) -> int:
        """Go on until all honest members are ``more`` heights past the healing, or until a fork; return its height."""
        goal = None
        for _ in range(40_000):
            self.step()
            if fork := self.forked_height():
                return fork
            self.sync()
            heights = [len(self.disks[at].state.blocks) for at in self.honest]
            if goal is None and self.now >= self.heals:
                goal = max(heights) + more
            if goal is not None and min(heights) >= goal:
                return 0
        raise AssertionError(f"no progress: {[(core.height, core.view) for core in self.cores]}")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("count", "liars"), [(4, 1), (7, 2)])
def test_a_third_of_twins_splits_nothing(count: int, liars: int, seed: int) -> None:
    assert Twins(count, liars, seed).run(2) == 0


def test_more_than_a_third_is_named_when_it_splits_the_chain() -> None:
    """Two of four lie: where two honest members differ, both their transcripts name both liars and nobody else."""
    forks = 0
    for seed in range(40):
        net = Twins(4, 2, seed)
        height = net.run(1)
        if height:
            forks += 1
            told = [net.disks[at].finals[height].transcript for at in net.honest]
            culprits = blame(SUITE, GENESIS_HASH, net.validators, told)
            assert culprits.more_than_third
            assert sorted(culprits.proofs) == [0, 1]
        if forks == 3:
            return
    raise AssertionError("no fork was reached")
