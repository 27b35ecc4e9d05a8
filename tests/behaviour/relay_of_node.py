"""A node on a real disk beside a relay made by hand: validators that agree at once, one that lies, one that is silent."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from types import SimpleNamespace

from clearspan.relay_link.errors import LineLost
from clearspan.relay_link.lines import OfferAnswer
from clearspan.relay_link.link import RelayLink
from clearspan.relay_link.ports import LinkSettings
from clearspan.relay_link.receipts import ReceiptDesk
from clearspan.relay_link.store import AnchorStore
from clearspan.simulation.world import World
from engine.development import DevelopmentKey
from engine.genesis import GenesisValidator
from engine.relay_block import RelayRecord
from engine.types import Role
from engine.validators import Statement
from native.signatures import public_key
from relay.offers import HeaderOffer
from relay.state import RelayState
from relay.v1 import relay_pb2
from tests.behaviour import relay_world
from tests.behaviour.faulty import Faulty

MS = 1_000_000


def validator_keys(first: int = 0, count: int = 4) -> tuple[DevelopmentKey, ...]:
    secrets = [hashlib.sha256(f"validator {first + each}".encode()).digest() for each in range(count)]
    return tuple(
        DevelopmentKey(0, 901 + first + each, Role.BLOCK, 1, secret, public_key(1, secret))
        for each, secret in enumerate(secrets)
    )


def world_with_validators(seed: int = 7, **options) -> World:
    members = tuple(GenesisValidator(each.participant, 1, each.suite, each.public_key) for each in validator_keys())
    return World.make(seed, validators=members, **options)


class Relay(relay_world.World):
    """Blocks by the rules of the real state, final as soon as somebody offers something; ``verified`` follow it."""

    def __init__(self, world: World, verified: int = 0) -> None:
        self.network = None
        self.genesis, self.suite = world.genesis, world.genesis.hash_suite
        self.members = {1: validator_keys()}
        self.state = RelayState.begin(self.genesis)
        self.blocks, self.certificate, self.statements, self.states = [], None, (), [self.state]
        self.finals: list[relay_pb2.FinalBlock] = []
        self.verified = verified
        self.offers: list[HeaderOffer] = []
        self.held = False
        self._grown: set[asyncio.Event] = set()

    def offer(self, offer: HeaderOffer) -> OfferAnswer:
        """Take an offer as a validator's pool does, and agree at once unless ``held``."""
        reason = self.state.admits(offer, self.now + 10**12)
        self.offers = [each for each in self.offers if each.signed != offer.signed] + [offer]
        if not self.held:
            self.agree()
        return OfferAnswer(not reason, reason, self.state.height)

    def submit(self, record: RelayRecord) -> OfferAnswer:
        """Take a record into the next block, if it may stand there."""
        before = self.state.height
        self.agree(record)
        return OfferAnswer(self.state.height > before, "", self.state.height)

    def agree(self, *records: object) -> None:
        """Make the next block of what waits, and of records."""
        block, sidecar = self.state.propose(
            [*self.offers, *records], self.certificate, 0, now=None, statements=self.statements
        )
        self.state.check(block, sidecar, None)
        count = len(self.state.after(block, None).anchored)
        statements = {
            index: Statement.of(count, range(count), range(count)) if index < self.verified else Statement.of(count)
            for index in range(3)
        }
        self.finalize(block, self.certify(block, statements=statements), statements)
        self.offers = [
            each
            for each in self.offers
            if self.state.shards[each.signed.header.shard].height < each.signed.header.height
        ]
        self.finals.append(
            relay_pb2.FinalBlock(
                block=block.encode(), certificate=self.certificate.encode(), statements=self.statements
            )
        )
        for event in self._grown:
            event.set()

    async def more_than(self, height: int) -> None:
        event = asyncio.Event()
        self._grown.add(event)
        try:
            if len(self.finals) <= height:
                await event.wait()
        finally:
            self._grown.discard(event)


class FakeLine:
    """A validator that tells what the relay says; ``forge`` changes what it sends, ``silent`` says nothing."""

    def __init__(self, name: str, relay: Relay, *, silent: bool = False, forge=None) -> None:
        self.name, self.relay, self.silent, self.forge = name, relay, silent, forge
        self.offered: list[HeaderOffer] = []
        self.submitted: list[bytes] = []
        self.dead = False
        self.asked: list[int] = []

    async def offer(self, offers) -> list[OfferAnswer]:
        if self.dead:
            raise LineLost(self.name, "dead")
        decoded = [HeaderOffer.decode(each) for each in offers]
        self.offered += decoded
        return [self.relay.offer(each) for each in decoded]

    async def submit(self, record: bytes) -> OfferAnswer:
        if self.dead:
            raise LineLost(self.name, "dead")
        self.submitted.append(record)
        return self.relay.submit(RelayRecord.decode_prefix(memoryview(record))[0])

    async def blocks(self, from_height: int, *, follow: bool = True, stall_s: float | None = None):
        self.asked.append(from_height)
        height = from_height - 1
        while True:
            if self.dead:
                raise LineLost(self.name, "dead")
            if self.silent:
                await asyncio.sleep(stall_s)
                raise LineLost(self.name, "silent")
            while height < len(self.relay.finals):
                found = self.relay.finals[height]
                height += 1
                yield found if self.forge is None else self.forge(height, found)
            if not follow:
                return
            try:
                async with asyncio.timeout(stall_s):
                    await self.relay.more_than(height)
            except TimeoutError as error:
                raise LineLost(self.name, "silent") from error


class FakeLines:
    def __init__(self, *lines: FakeLine) -> None:
        self.lines = list(lines)
        self.closed = False

    async def refresh(self) -> None:
        pass

    async def close(self) -> None:
        self.closed = True


class Figures:
    """Counts in lists."""

    def __init__(self) -> None:
        self.blocks, self.finals, self.offers, self.left = 0, [], [], []

    def relay_block(self, records: int) -> None:
        self.blocks += 1

    def header_final(self, seconds: float) -> None:
        self.finals.append(seconds)

    def offer_answered(self, outcome: str) -> None:
        self.offers.append(outcome)

    def line_left(self, reason: str) -> None:
        self.left.append(reason)


class Linked:
    """One node with its link, which can be stopped and started again."""

    def __init__(self, path: Path, world: World, relay: Relay, lines: FakeLines | None = None, **settings) -> None:
        self.faulty = Faulty(path, world)
        self.path, self.world, self.relay = path, world, relay
        self.lines = lines or FakeLines(*(FakeLine(f"v{each}", relay) for each in range(4)))
        self.settings = LinkSettings(**{"reconnect_s": 0.01, "stall_s": 5.0, "consume_s": 0.01, **settings})

    async def start(self):
        self.node = await self.faulty.start()
        self.store = AnchorStore(self.path / "relay", self.world.genesis.hash_suite)
        self.figures = Figures()
        self.link = RelayLink(
            self.world.genesis, self.world.genesis.domain(1).shard_ids(), node=self.node, store=self.store,
            lines=self.lines, settings=self.settings, figures=self.figures, now=self.faulty.clock,
        )  # fmt: skip
        self.link.start()
        self.desk = ReceiptDesk(self.world.genesis, self.node, self.store, self.link)
        return self.node

    async def stop(self) -> None:
        await self.link.stop()
        self.store.close()
        await self.faulty.stop()

    async def consumed(self, height: int | None = None) -> None:
        """Wait until the shards have consumed what the relay has."""
        async with asyncio.timeout(20):
            while self.node.relay_height < (len(self.relay.finals) if height is None else height):
                await self.link.grown(0.01)

    async def final(self) -> None:
        """Wait until every sealed header is final."""
        async with asyncio.timeout(20):
            while any(
                self.link.standing.shards[each.shard].final.height < each.height for each in self.node.status().shards
            ):
                await self.link.grown(0.05)


def tampered(final: relay_pb2.FinalBlock, **changes) -> relay_pb2.FinalBlock:
    fields = {"block": final.block, "certificate": final.certificate, "statements": final.statements}
    return relay_pb2.FinalBlock(**{**fields, **changes})


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


__all__ = ["Linked", "Relay", "FakeLine", "FakeLines", "SimpleNamespace", "flip", "tampered", "world_with_validators"]
