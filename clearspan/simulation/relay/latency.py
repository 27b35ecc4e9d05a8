"""How long a sealed header takes to a certificate in virtual time, with real cores and signatures and no faults.

Links have one delay each; what a machine computes takes no virtual time, so these are the protocol's own figures: how
often a header waits for the wires.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from clearspan.simulation.relay.operators import Totals, make_header
from clearspan.simulation.relay.parties import START, Parties
from clearspan.simulation.relay.plan import Mode, Plan
from clearspan.simulation.relay.timeline import MS, Timeline
from engine.block import InclusionPath
from engine.genesis import padded_key
from engine.header import SignedHeader, header_message
from engine.types import NS_PER_S, RelayRecordType
from native.hashing import MerkleTree, digest, leaf_hash
from relay.actions import ALL, Finalized, Send
from relay.checker import Checker
from relay.consensus import ValidatorCore
from relay.offers import HeaderOffer
from relay.pacemaker import NEVER
from relay.pool import Pool
from relay.ports import ConsensusSettings, Member
from relay.vote_record import VoteRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.actions import Action

__all__ = ["LatencyFigures", "simulate_latency"]

_SHARD: Final = 0x100
_WARM_BLOCKS: Final = 3


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """Times in ns of virtual time; messages and bytes are sums over all members, for each block.

    ``certificate``: from the seal until the first member holds the certificate of a block with that header or a later
    one of its shard. ``final``: until the last member has that block final. ``views_failed`` should be 0.
    """

    validators: int
    link_ns: int
    blocks: int
    headers: int
    certificate_p50_ns: int
    certificate_p99_ns: int
    final_p50_ns: int
    final_p99_ns: int
    messages_per_block: float
    bytes_per_block: float
    blocks_per_s: float
    views_failed: int


@dataclass(slots=True)
class _Sums:
    """``sealed``, ``first`` and ``last`` by the header's height; a final one takes all before it along."""

    sealed: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    reached: dict[int, int] = field(default_factory=dict)
    final_at: list[int] = field(default_factory=list)
    messages: int = 0
    bytes: int = 0
    views: int = 0


def simulate_latency(
    validators: int, link_ns: int, blocks: int, seed: int = 0, *, interval_ns: int = 10 * MS, seal_ns: int = 40 * MS
) -> LatencyFigures:
    """Let so many equal members make blocks while a shard seals a header about every ``seal_ns``; return the figures.

    ``interval_ns``: the members' least time between two blocks. Raises ValueError for fewer than four members.
    """
    if validators < 4 or blocks < 1 or link_ns < 0:
        raise ValueError(f"at least 4 validators and 1 block are asked for, not {validators} and {blocks}")
    settings = ConsensusSettings(block_interval_ns=interval_ns)
    return _Run(validators, seed, settings, link_ns=link_ns, blocks=blocks, seal_ns=seal_ns).run()


class _Run:
    def __init__(
        self, count: int, seed: int, settings: ConsensusSettings, *, link_ns: int, blocks: int, seal_ns: int
    ) -> None:
        plan = Plan(seed, Mode.LIARS, (1,) * count, (1,) * count, 1)
        self.parties = Parties(plan)
        self.link_ns, self.blocks, self.seal_ns = link_ns, blocks, seal_ns
        self.chance = random.Random(f"latency {seed}")  # noqa: S311 - a simulation wants its chance again
        self.timeline = Timeline()
        self.sums = _Sums()
        self.signed: list[SignedHeader] = []
        self.tree = MerkleTree(self.parties.suite)
        checker = Checker(self.parties.suite, self.parties.genesis.hash)
        self.woken = [-1] * count
        self.cores = [
            ValidatorCore(
                state=self.parties.begin,
                member=Member(padded_key(keys[0].public_key), keys[0].suite, keys[0].sign),
                votes=VoteRecord(),
                settings=settings,
                now=self.now,
                pool=Pool(),
                checker=checker,
            )
            for keys in self.parties.members
        ]

    @property
    def now(self) -> int:
        return START + 2 * NS_PER_S + self.timeline.now

    def run(self) -> LatencyFigures:
        for at, core in enumerate(self.cores):
            self._perform(at, core.start(self.now))
        self._seal()
        while min(core.state.height for core in self.cores) < self.blocks + _WARM_BLOCKS and self.timeline.step():
            pass
        return self._figures()

    def _figures(self) -> LatencyFigures:
        sums, height = self.sums, self.blocks + _WARM_BLOCKS
        first = sorted(final - sealed for sealed, final in zip(sums.sealed, sums.first, strict=False))
        last = sorted(final - sealed for sealed, final in zip(sums.sealed, sums.last, strict=False))
        took = sums.final_at[height - 1] - sums.final_at[_WARM_BLOCKS - 1]
        return LatencyFigures(
            len(self.cores),
            self.link_ns,
            self.blocks,
            len(last),
            _share(first, 50),
            _share(first, 99),
            _share(last, 50),
            _share(last, 99),
            sums.messages / height,
            sums.bytes / height,
            self.blocks * NS_PER_S / max(took, 1),
            sum(core.counters.timeouts for core in self.cores),
        )

    # The shard.

    def _seal(self) -> None:
        last = self.signed[-1].header if self.signed else None
        header = make_header(
            self.parties,
            _SHARD,
            last,
            self.tree,
            Totals(),
            epoch=1,
            time=self.now,
            relay_height=0,
            state_root=digest(1, b"state %d" % len(self.signed)),
        )
        key = self.parties.block_keys[_SHARD >> 8]
        message = header_message(self.parties.suite, self.parties.genesis.hash, header.hash)
        signed = SignedHeader(header, key.key_id, key.sign(message))
        # Only the newest is offered, as a node does, with a path from whatever is anchored by then.
        paths = [self._path(base, header.height) for base in self._anchored(header.height)]
        self.signed.append(signed)
        self.tree.append(leaf_hash(self.parties.suite, header.hash))
        self.sums.sealed.append(self.timeline.now)
        offer = HeaderOffer(signed, tuple(paths))
        for at in range(len(self.cores)):
            self.timeline.after(self.link_ns, lambda at=at: self._offer(at, offer))  # type: ignore[misc]
        self.timeline.after(self.chance.randrange(self.seal_ns // 2, self.seal_ns * 3 // 2), self._seal)

    def _anchored(self, height: int) -> range:
        anchored = min(core.state.shards[_SHARD].height for core in self.cores)  # type: ignore[attr-defined]
        return range(max(1, anchored, height - 16), height - 1)

    def _path(self, base: int, height: int) -> InclusionPath:
        return InclusionPath(base - 1, height - 1, self.tree.path(base - 1))

    def _offer(self, at: int, offer: HeaderOffer) -> None:
        self._perform(at, self.cores[at].offer(offer, self.now))

    # The members.

    def _perform(self, at: int, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._send(at, action)
            elif isinstance(action, Finalized):
                self._final(at, action)
        wake = self.cores[at].next_wake
        if wake < NEVER and wake != self.woken[at]:
            self.woken[at] = wake
            self.timeline.at(self.timeline.now + max(wake - self.now, 0), lambda: self._tick(at, wake))

    def _tick(self, at: int, wake: int) -> None:
        if self.woken[at] == wake:
            self.woken[at] = -1
            self._perform(at, self.cores[at].tick(self.now))

    def _send(self, at: int, action: Send) -> None:
        targets = [each for each in range(len(self.cores)) if each != at] if action.to == ALL else [action.to]
        for target in targets:
            self.sums.messages += 1
            self.sums.bytes += len(action.message)
            self.timeline.after(self.link_ns, lambda to=target: self._take(at, to, action.message))  # type: ignore[misc]

    def _take(self, source: int, target: int, message: bytes) -> None:
        self._perform(target, self.cores[target].receive(source, message, self.now))

    def _final(self, at: int, action: Finalized) -> None:
        sums, height = self.sums, action.block.header.height
        if height > len(sums.final_at):
            sums.final_at.append(self.timeline.now)
        for record in action.block.records:
            if record.type is RelayRecordType.HEADER:
                sums.reached[at] = record.signed_header().header.height
        everywhere = min(sums.reached.get(each, 0) for each in range(len(self.cores)))
        sums.first += [self.timeline.now] * (sums.reached.get(at, 0) - len(sums.first))
        sums.last += [self.timeline.now] * (everywhere - len(sums.last))


def _share(ascending: list[int], percent: int) -> int:
    """Return the value that so many in a hundred do not exceed."""
    return ascending[min(len(ascending) - 1, len(ascending) * percent // 100)] if ascending else 0
