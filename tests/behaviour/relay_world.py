"""A small network whose blocks are made by hand: headers of its shards, certificates of its validators, one state."""

from __future__ import annotations

from dataclasses import replace

from engine.block import InclusionPath
from engine.development import Development, DevelopmentKey, development_network
from engine.governance import Approval, governance_message
from engine.header import ChannelEntry, Header, LedgerEntry, SignedHeader, header_message
from engine.relay_block import RelayBlock, RelayRecord
from engine.types import ZERO_HASH, RelayRecordType, Role, VotePhase
from engine.validators import Certificate, CertificateSigner, Statement, Vote, vote_message
from native.hashing import MerkleTree, digest, leaf_hash
from relay.offers import HeaderOffer, Sidecar
from relay.state import RelayState

MS = 1_000_000


class Chain:
    """The headers of one shard as an honest operator seals them; ``next`` takes what a liar would change."""

    def __init__(self, network: Development, shard: int) -> None:
        self.network, self.shard = network, shard
        self.genesis = network.genesis
        self.domain = self.genesis.domain(shard >> 8)
        self.key = network.key(shard >> 8, Role.BLOCK)
        self.signed: list[SignedHeader] = []
        self.tree = MerkleTree(self.genesis.hash_suite)
        self.epoch = 1

    @property
    def last(self) -> Header | None:
        return self.signed[-1].header if self.signed else None

    def sign(self, header: Header, key: DevelopmentKey | None = None) -> SignedHeader:
        key = key or self.key
        message = header_message(self.genesis.hash_suite, self.genesis.hash, header.hash)
        return SignedHeader(header, key.key_id, key.sign(message))

    def make(self, sent: int = 0, received: int = 0, credits: int = 0, debits: int = 0, **changes: object) -> Header:
        """The next header; channel counts and sums are totals."""
        last = self.last
        first = 1 if last is None else last.last_number + 1
        plain = {
            "hash_suite": self.genesis.hash_suite, "shard": self.shard, "epoch": self.epoch,
            "height": len(self.signed) + 1, "first_number": first, "last_number": first + 4,
            "time": self.genesis.time + (len(self.signed) + 1) * MS, "relay_height": 0, "relay_time": 0,
            "slot_map_version": 1, "decision_count": 0, "outgoing_count": 0, "account_count": 4,
            "genesis_hash": self.genesis.hash, "parent_hash": ZERO_HASH if last is None else last.hash,
            "first_record_hash": bytes(32), "last_record_hash": bytes([len(self.signed)]) * 32,
            "decisions_root": bytes(32), "state_root": bytes([1 + len(self.signed) % 255]) * 32,
            "outgoing_root": bytes(32), "headers_root": self.tree.root(),
            "channels": tuple(ChannelEntry(peer, sent, received) for peer in self.domain.shard_ids() if peer != self.shard),
            "ledgers": tuple(LedgerEntry(each.ledger, 0, 0, credits, debits) for each in self.domain.ledgers),
        }  # fmt: skip
        return Header(**{**plain, **changes})

    def seal(self, **changes: object) -> SignedHeader:
        signed = self.sign(self.make(**changes))
        self.signed.append(signed)
        self.tree.append(leaf_hash(self.genesis.hash_suite, signed.header.hash))
        return signed

    def path(self, base: int, height: int) -> InclusionPath:
        """The path of the header at ``base`` under the root of the header at ``height``."""
        tree = MerkleTree(self.genesis.hash_suite)
        for each in self.signed[: height - 1]:
            tree.append(leaf_hash(self.genesis.hash_suite, each.header.hash))
        return InclusionPath(base - 1, height - 1, tree.path(base - 1))

    def offer(self, base: int = 0) -> HeaderOffer:
        """The newest header, with the path from a base height where it needs one."""
        height = len(self.signed)
        paths = (self.path(base, height),) if base and height > base + 1 else ()
        return HeaderOffer(self.signed[-1], paths)


class World:
    """A state and everybody's keys; ``step`` makes the next block final."""

    def __init__(self, *, validators: int = 4, suite: int = 1, signing_suite: int = 1, shards: int = 2) -> None:
        self.network = development_network(
            b"relay", validators=validators, hash_suite=suite, signing_suite=signing_suite, shards=shards
        )
        self.genesis = self.network.genesis
        self.suite = suite
        self.members: dict[int, tuple[DevelopmentKey, ...]] = {1: self.network.validators}
        self.state = RelayState.begin(self.genesis)
        self.blocks: list[tuple[RelayBlock, Certificate]] = []
        self.certificate: Certificate | None = None
        self.statements: tuple[bytes, ...] = ()
        self.states = [self.state]

    @property
    def now(self) -> int:
        return self.state.time + 100 * MS

    def chain(self, shard: int) -> Chain:
        return Chain(self.network, shard)

    def keys_at(self, height: int) -> tuple[DevelopmentKey, ...]:
        return self.members[self.state.set_at(height).set_id]

    def vote(self, index: int, block: RelayBlock, phase: VotePhase = VotePhase.COMMIT, **changes: object):
        vote = Vote(
            block.header.set_id, block.header.height, block.header.view, phase, block.hash(self.suite),
            block.header.time + 10 * MS, bytes(32),
        )  # fmt: skip
        vote = replace(vote, **changes)
        key = self.members[vote.set_id][index]
        return vote, key.sign(vote_message(self.suite, self.genesis.hash, vote))

    def certify(
        self,
        block: RelayBlock,
        signers: tuple[int, ...] = (0, 1, 2),
        statements: dict[int, Statement] | None = None,
        times: dict[int, int] | None = None,
        view: int | None = None,
    ) -> Certificate:
        rows = []
        view = block.header.view if view is None else view
        for index in signers:
            said = (statements or {}).get(index)
            changes = {"view": view, "executed_held": bytes(32) if said is None else said.hash(self.suite)}
            if times is not None:
                changes["time"] = times[index]
            vote, signature = self.vote(index, block, **changes)
            rows.append(CertificateSigner(index, vote.time, vote.executed_held, signature))
        head = block.header
        return Certificate(VotePhase.COMMIT, head.set_id, head.height, view, block.hash(self.suite), tuple(rows))

    def propose(self, *items: object, view: int = 0, now: int | None = None) -> tuple[RelayBlock, Sidecar]:
        return self.state.propose(
            items, self.certificate, view, now=self.now if now is None else now, statements=self.statements
        )

    def step(
        self,
        *items: object,
        view: int = 0,
        signers: tuple[int, ...] = (0, 1, 2),
        statements: dict[int, Statement] | None = None,
    ) -> RelayBlock:
        block, sidecar = self.propose(*items, view=view)
        self.state.check(block, sidecar, self.now)
        return self.finalize(block, self.certify(block, signers, statements), statements)

    def finalize(self, block: RelayBlock, certificate: Certificate, statements=None) -> RelayBlock:
        certificate.verify(self.suite, self.genesis.hash, self.state.set_at(block.header.height))
        self.state = self.state.after(block, certificate)
        self.states.append(self.state)
        self.blocks.append((block, certificate))
        self.certificate = certificate
        self.statements = tuple(each.encode() for each in (statements or {}).values())
        return block

    def remake(self, block: RelayBlock, records=None, **changes: object) -> RelayBlock:
        """A block with other records or header fields, its body root fitting."""
        fields = {
            "genesis_hash": block.header.genesis_hash, "height": block.header.height, "view": block.header.view,
            "time": block.header.time, "parent_hash": block.header.parent_hash, "set_id": block.header.set_id,
        }  # fmt: skip
        return RelayBlock.build(
            self.suite, records=block.records if records is None else records, **{**fields, **changes}
        )

    def approvals(self, kind: RelayRecordType, body: bytes, members: tuple[int, ...] = (0, 1, 2), set_id: int = 0):
        keys = self.members[set_id] if set_id else self.keys_at(self.state.height + 1)
        message = governance_message(self.suite, self.genesis.hash, kind, body)
        return tuple(Approval(index, keys[index].sign(message)) for index in members)

    def approved(self, make, body, members: tuple[int, ...] = (0, 1, 2)) -> RelayRecord:
        """A governance record by its maker, with the approvals of members."""
        kind = make(body).type
        return make(body, self.approvals(kind, body.encode(), members))

    def preimage(self, number: int) -> bytes:
        return digest(1, number.to_bytes(8, "little"))
