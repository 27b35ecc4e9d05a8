"""The shards as the relay sees them: headers that honest, silent, forking, lying and broken operators seal.

An operator seals, offers its newest header to all validators with paths from what may be anchored, and offers again
what was lost. Followers learn what is true of a shard; of a lying one they never do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from clearspan.simulation.relay.parties import DOMAINS, SHARDS, START, key_of
from clearspan.simulation.relay.timeline import MS
from engine.block import InclusionPath
from engine.header import ChannelEntry, Header, LedgerEntry, SignedHeader, header_message
from engine.types import NS_PER_S, ZERO_HASH
from native.hashing import MerkleTree, digest, leaf_hash
from relay.evidence import forked_shard
from relay.offers import HeaderOffer

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from clearspan.simulation.relay.parties import Parties
    from clearspan.simulation.relay.stage import Stage
    from engine.development import DevelopmentKey
    from relay.state import RelayState

__all__ = ["HABITS", "Operator", "Operators", "Totals", "make_header"]

HABITS: Final = ("honest", "silent", "forker", "false", "broken")
"""``false``: its roots are not what re-execution gives. ``broken``: some of its headers no rule allows."""

_SEAL_NS: Final = (100 * MS, 600 * MS)
_AGAIN_NS: Final = 400 * MS
_PATHS: Final = 8
_BREAKS: Final = (
    "received_more",
    "negative_in_transit",
    "cursor_back",
    "time_ahead",
    "bad_signature",
    "parent",
    "log_numbers",
    "relay_ahead",
    "epoch_back",
    "unknown_key",
    "shape",
)


@dataclass(frozen=True, slots=True)
class Totals:
    """What a shard sent to its peer and received of it so far, and the sums of its channel accounts."""

    sent: int = 0
    received: int = 0
    credits: int = 0
    debits: int = 0


def make_header(
    parties: Parties,
    shard: int,
    last: Header | None,
    earlier: MerkleTree,
    totals: Totals,
    *,
    epoch: int,
    time: int,
    relay_height: int,
    state_root: bytes,
) -> Header:
    """Return the header that follows ``last``; ``earlier`` is the tree over all headers up to that."""
    first = 1 if last is None else last.last_number + 1
    return Header(
        hash_suite=parties.suite,
        shard=shard,
        epoch=epoch,
        height=1 if last is None else last.height + 1,
        first_number=first,
        last_number=first + 4,
        time=time,
        relay_height=relay_height,
        relay_time=0,
        slot_map_version=1,
        decision_count=0,
        outgoing_count=0,
        account_count=4,
        genesis_hash=parties.genesis.hash,
        parent_hash=ZERO_HASH if last is None else last.hash,
        first_record_hash=ZERO_HASH,
        last_record_hash=digest(1, b"record %d" % first),
        decisions_root=ZERO_HASH,
        state_root=state_root,
        outgoing_root=ZERO_HASH,
        headers_root=earlier.root(),
        channels=(ChannelEntry(shard ^ 1, totals.sent, totals.received),),
        ledgers=tuple(
            LedgerEntry(each.ledger, 0, 0, totals.credits, totals.debits)
            for each in parties.genesis.domain(shard >> 8).ledgers
        ),
    )


class Operator:
    """One shard. ``signed`` are its headers in order, ``all`` those of every epoch; ``wanted`` has to be anchored."""

    def __init__(self, scene: Stage, shard: int, habit: str, others: Mapping[int, Operator]) -> None:
        self.scene = scene
        self.shard = shard
        self.habit = self.born = habit
        self._others = others
        self.wanted = 0
        self.all: list[SignedHeader] = []
        self.domain = scene.parties.genesis.domain(shard >> 8)
        self.key: DevelopmentKey = scene.parties.block_keys[shard >> 8]
        self.epoch = 1
        self.signed: list[SignedHeader] = []
        self.tree = MerkleTree(scene.parties.suite)
        self.totals = Totals()
        self.newest: HeaderOffer | None = None
        self.fork: tuple[SignedHeader, SignedHeader] | None = None
        self.stops = scene.chance.randrange(NS_PER_S, 3 * NS_PER_S)

    def seal(self, chance: random.Random) -> None:
        """Seal the next header and offer it; what its habit is, it does."""
        if self.habit == "silent" and self.scene.timeline.now > self.stops:
            self.scene.report.state("shard_silent")
            return
        if self.fork is not None:
            return
        header = self._next(chance)
        if self.habit == "broken" and self.signed and chance.random() < 0.5:
            self.scene.report.state("shard_broken")
            self._offer(HeaderOffer(self._broken(header, chance), self._paths(header.height)))
            return
        if self.habit == "forker" and len(self.signed) > 2 and self.epoch == 1:
            self._split(header, chance)
            return
        signed = self.sign(header)
        self._note(signed, truly=self.habit != "false")
        self.newest = HeaderOffer(signed, self._paths(header.height))
        self._append(signed)
        self._offer(self.newest)

    def sign(self, header: Header, key: DevelopmentKey | None = None) -> SignedHeader:
        """Sign a header."""
        key = key or self.key
        parties = self.scene.parties
        message = header_message(parties.suite, parties.genesis.hash, header.hash)
        return SignedHeader(header, key.key_id, key.sign(message))

    def again(self) -> None:
        """Offer the newest header once more, with paths from what is anchored by now."""
        if self.newest is None:
            return
        height = self.newest.signed.header.height
        behind = [node for node in self.scene.nodes if node.state.shards[self.shard].height < height]
        if not behind:
            return
        anchored = {node.state.shards[self.shard].height for node in behind}
        self.newest = replace(self.newest, paths=self._paths(height, sorted(anchored)))
        for node in behind:
            self.scene.offer(node, self.newest)

    def resume(self, state: RelayState, number: int) -> DevelopmentKey:
        """Begin again after a suspension, from what is anchored, under another key; return that key."""
        entry = state.shards[self.shard]
        self.key = key_of(f"successor/{self.shard}/{number}", 100 * (self.shard >> 8) + 1, 1, 100 + number)
        self.epoch += 1
        fork = self.fork
        self.habit, self.fork, self.newest = "honest", None, None
        self.signed = [each for each in self.signed if each.header.height <= entry.height]
        # Of a fork one header may have been anchored before the evidence was.
        self.signed += [each for each in fork or () if each.header.hash == entry.hash]
        self.tree = MerkleTree(self.scene.parties.suite)
        for each in self.signed:
            self.tree.append(leaf_hash(self.scene.parties.suite, each.header.hash))
        return self.key

    def change_key(self, key: DevelopmentKey) -> None:
        """Sign under another key from now on, the newest header too."""
        self.key = key
        if self.newest is not None:
            signed = self.sign(self.newest.signed.header)
            self.newest = replace(self.newest, signed=signed)
            self.signed[-1] = signed

    def _next(self, chance: random.Random) -> Header:
        scene, last = self.scene, self.signed[-1].header if self.signed else None
        state = scene.best
        before, peer = self.totals, self._others[self.shard ^ 1]
        moved = chance.randrange(5)
        arrived = chance.randint(before.received, max(before.received, peer.totals.sent))
        # Credits of a channel are what was sent; debits mirror what arrived.
        self.totals = Totals(before.sent + moved, arrived, before.sent + moved, arrived)
        behind = chance.randrange(2)
        relay_height = max(state.height - behind, 0 if last is None else last.relay_height)
        relay_height = min(relay_height, state.height)
        return make_header(
            scene.parties,
            self.shard,
            last,
            self.tree,
            self.totals,
            epoch=self.epoch,
            time=max(START + 2 * NS_PER_S + scene.timeline.now - 20 * MS, 0 if last is None else last.time),
            relay_height=relay_height if relay_height > scene.plan.base_height else 0,
            state_root=digest(1, b"state %d %d" % (self.shard, chance.randrange(1 << 32))),
        )

    def _append(self, signed: SignedHeader) -> None:
        self.signed.append(signed)
        self.all.append(signed)
        self.tree.append(leaf_hash(self.scene.parties.suite, signed.header.hash))

    def _paths(self, height: int, bases: list[int] | None = None) -> tuple[InclusionPath, ...]:
        """Return paths from earlier heights to the header at ``height``, whose tree has one leaf less."""
        wanted = list(range(max(1, height - _PATHS), height - 1)) if bases is None else bases
        tree = self.tree
        if len(self.signed) != height - 1:
            tree = MerkleTree(self.scene.parties.suite)
            for each in self.signed[: height - 1]:
                tree.append(leaf_hash(self.scene.parties.suite, each.header.hash))
        return tuple(
            InclusionPath(base - 1, height - 1, tree.path(base - 1)) for base in wanted if 0 < base < height - 1
        )

    def _offer(self, offer: HeaderOffer) -> None:
        self.scene.offer_all(offer)

    def _note(self, signed: SignedHeader, *, truly: bool) -> None:
        """Let followers re-execute the shard; those of a shard whose roots are false come to others."""
        header = signed.header
        for node in self.scene.nodes:
            follows = (node.number + self.shard) % 5 != 0
            if node.honest and truly and follows:
                self.scene.checks.noted.add((self.shard, header.height, header.hash))
                node.follow(self.shard, header.height, header.hash, held=True)
            elif not node.honest:
                node.follow(self.shard, header.height, header.hash, held=True)

    def _split(self, header: Header, chance: random.Random) -> None:
        """Sign two headers of one height and show one to some, the other to the rest."""
        other = replace(header, state_root=digest(1, b"another state"))
        pair = (self.sign(header), self.sign(other))
        self.fork = pair
        self.all += pair
        self.scene.report.state("shard_forked")
        for node in self.scene.nodes:
            side = pair[chance.randrange(2)]
            self.scene.offer(node, HeaderOffer(side, self._paths(header.height)))
        self.scene.timeline.after(
            chance.randrange(100, 900) * MS, lambda: self.scene.offer_all(forked_shard(*pair), until=self._suspended)
        )

    def _suspended(self, state: RelayState) -> bool:
        return state.shards[self.shard].suspended or state.shards[self.shard].epoch_min > 1

    def _broken(self, header: Header, chance: random.Random) -> SignedHeader:
        """Return a header that no validator may let pass."""
        what = chance.choice(_BREAKS)
        channel = header.channels[0]
        if what == "received_more":
            return self.sign(replace(header, channels=(replace(channel, received=channel.received + 1_000),)))
        if what == "negative_in_transit":
            ledgers = tuple(replace(each, channel_debits=each.channel_credits + 10**9) for each in header.ledgers)
            return self.sign(replace(header, ledgers=ledgers))
        if what == "cursor_back":
            if not channel.sent:
                return self.sign(replace(header, epoch=0))
            anchored = self.signed[-1].header.channels[0]
            sent = max(anchored.sent - 1, 0)
            return self.sign(replace(header, channels=(replace(channel, sent=sent, received=10**9),)))
        if what == "time_ahead":
            return self.sign(replace(header, time=header.time + 3_600 * NS_PER_S))
        if what == "bad_signature":
            signed = self.sign(header)
            return replace(signed, signature=signed.signature[:-1] + bytes([signed.signature[-1] ^ 1]))
        if what == "parent" and self.scene.best.shards[self.shard].header is not None:
            # Of the first header that is anchored nothing is asked.
            return self.sign(replace(header, parent_hash=digest(1, b"another parent"), headers_root=ZERO_HASH))
        if what == "log_numbers":
            return self.sign(replace(header, first_number=header.last_number + 1))
        if what == "relay_ahead":
            return self.sign(replace(header, relay_height=header.relay_height + 10_000))
        if what == "unknown_key":
            stranger = key_of("stranger", 1, 1, 77)
            return self.sign(header, stranger)
        if what == "shape":
            return self.sign(replace(header, channels=()))
        return self.sign(replace(header, epoch=0))


class Operators:
    """All shards of a run: domain 1 is honest, those of domain 2 have habits."""

    def __init__(self, scene: Stage) -> None:
        self.scene = scene
        habits = [scene.chance.choice(HABITS) for _ in range(SHARDS)]
        habits[0] = HABITS[scene.plan.seed % len(HABITS)]
        self.of: dict[int, Operator] = {}
        for domain in DOMAINS:
            for index in range(SHARDS):
                shard = domain << 8 | index
                self.of[shard] = Operator(scene, shard, "honest" if domain == 1 else habits[index], self.of)

    def start(self) -> None:
        """Let every shard seal at its own pace."""
        for operator in self.of.values():
            self._seal(operator)
        self._again()

    def _seal(self, operator: Operator) -> None:
        scene = self.scene
        if scene.healed and operator.habit == "honest" and scene.timeline.now > scene.healed + scene.plan.faults_ns:
            return
        operator.seal(scene.chance)
        scene.timeline.after(scene.chance.randrange(*_SEAL_NS), lambda: self._seal(operator))

    def _again(self) -> None:
        for operator in self.of.values():
            operator.again()
        self.scene.timeline.after(_AGAIN_NS, self._again)
