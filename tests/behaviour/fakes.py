"""A node in memory, a small network around it, and certificates for every role: what tests of the service's edge share."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clearspan.config import LimitsSection
from clearspan.keys import KeyRing
from clearspan.pki import DevelopmentPki, create_development_pki
from clearspan.roles import Identity, PeerRole
from clearspan.service import AccessList, SettlementServer
from engine.block import Decision, build_decision_proof, decisions_root
from engine.genesis import Genesis, GenesisDomain, GenesisKey, GenesisLedger
from engine.header import Header, SignedHeader, header_message
from engine.record import Account, Transfer, ordinary_account_id
from engine.types import KeyId, ParticipantId, Role, SigningSuite
from native.codes import ResultCode

NETWORK = "testnet"
ISSUER, BANK, OTHER_BANK, HOUSE, OPERATOR, SUPERVISOR = 10, 20, 21, 30, 40, 50
PARTICIPANTS = {
    PeerRole.ISSUER: ISSUER,
    PeerRole.BANK: BANK,
    PeerRole.CLEARING_HOUSE: HOUSE,
    PeerRole.OPERATOR: OPERATOR,
    PeerRole.SUPERVISOR: SUPERVISOR,
    PeerRole.SCREENING: 60,
    PeerRole.VALIDATOR: 70,
    PeerRole.READER: 80,
}
DOMAIN, LEDGER = 1, 156
SHARD = DOMAIN << 8
BLOCK_KEY = 1


@dataclass(frozen=True)
class Replies:
    codes: object
    first_codes: object
    times: object
    assigned: object = None


@dataclass(frozen=True)
class Entry:
    record: bytes
    digest: bytes
    code: int
    time: int
    shard: int
    number: int
    index: int
    kind: int = 1


@dataclass(frozen=True)
class Shard:
    shard: int = SHARD
    height: int = 3
    log_number: int = 7
    accounts: int = 2
    last_time: int = 1_000


@dataclass(frozen=True)
class Status:
    domain: int = DOMAIN
    shards: tuple = (Shard(),)
    durability: str = "synced"
    epoch: int = 1
    queued_bytes: int = 0
    refusing: str = ""


def network() -> tuple[Genesis, KeyRing]:
    """A genesis with a block key (id 1), and account keys of the banks (ids 2, 3) and the operator's (id 4)."""
    ring = KeyRing()
    holders = [(OPERATOR, Role.BLOCK), (BANK, Role.ACCOUNT), (OTHER_BANK, Role.ACCOUNT), (OPERATOR, Role.OPERATOR)]
    for key_id, (participant, role) in enumerate(holders, start=1):
        index = ring.create(SigningSuite.ED25519, ParticipantId(participant), role)
        ring.set_key_id(index, KeyId(key_id))
    keys = tuple(GenesisKey(info.participant, info.role, info.suite, info.public_key) for info in ring)
    domain = GenesisDomain(DOMAIN, "test", 1, (GenesisLedger(LEDGER, "CNY", 2, ISSUER),), keys)
    return Genesis(NETWORK, bytes(range(32)), 1, (domain,)), ring


class FakeNode:
    """Decides everything as created, and repeats its first answer; `gate` holds batches back, `failure` refuses them."""

    def __init__(self, *, remember: bool = True) -> None:
        self.genesis, self.ring = network()
        self.domain = DOMAIN
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: BaseException | None = None
        self.failures = 0
        self.batches: list[bytes] = []
        self.submitters: list[int] = []
        self.in_node = 0
        self.in_node_most = 0
        self.accounts: dict[bytes, bytes] = {}
        self.entries: list[Entry] = []
        self.proofs: dict[bytes, bytes] = {}
        self.headers: list[bytes] = []
        self.state = Status()
        self.finality = None
        self._remember = remember
        self._decided: dict[bytes, int] = {}
        self._time = 1_000

    async def submit(self, batch, *, submitter):
        self.submitters.append(submitter)
        self.batches.append(batch.batch_id)
        self._fail()
        self.in_node += 1
        self.in_node_most = max(self.in_node_most, self.in_node)
        try:
            await self.gate.wait()
        finally:
            self.in_node -= 1
        self._time += 1
        count = batch.count
        codes = np.full(count, ResultCode.CREATED, dtype=np.uint16)
        first = np.zeros(count, dtype=np.uint16)
        times = np.full(count, self._time, dtype=np.uint64)
        if self._remember:
            for row in range(count):
                key = batch.heads[row].tobytes()
                if key in self._decided:
                    codes[row], first[row], times[row] = ResultCode.EXISTS, ResultCode.CREATED, self._decided[key]
                self._decided.setdefault(key, self._time)
        return Replies(codes, first, times)

    async def administer(self, request, *, submitter):
        self.submitters.append(submitter)
        self._fail()
        count = request.count
        return Replies(
            np.full(count, ResultCode.CREATED, dtype=np.uint16),
            np.zeros(count, dtype=np.uint16),
            np.full(count, 5, dtype=np.uint64),
            np.arange(9, 9 + count, dtype=np.uint32),
        )

    async def lookup_accounts(self, ids):
        return b"".join(self.accounts.get(ids[at : at + 16], bytes(160)) for at in range(0, len(ids), 16))

    async def lookup_transfers(self, digests):
        known = {entry.digest: entry for entry in self.entries}
        return [known.get(digests[at : at + 32]) for at in range(0, len(digests), 32)]

    async def statement(self, account, *, after, limit, newest_first):
        hits = [e for e in self.entries if account in (e.record[16:32], e.record[32:48])]
        hits = hits[::-1] if newest_first else hits
        start = struct.unpack("<Q", after)[0] if after else 0
        end = start + limit
        return hits[start:end], struct.pack("<Q", end) if end < len(hits) else b""

    async def rules(self):
        return b"".join(rule.encode() for rule in self.rules_standing)

    async def holds(self):
        return b"".join(self.held)

    async def outgoing_since(self, wanted):
        return self.outgoing.get(wanted)

    async def decision_proof(self, digest):
        return self.proofs.get(digest)

    async def blocks(self, shard, from_height, *, follow):
        for header in self.headers[from_height - 1 :]:
            yield header
        if follow:
            await asyncio.Event().wait()

    def status(self):
        return self.state

    # What tests put in.

    def open_account(self, participant: int, serial: int, posted: int = 0) -> int:
        identity = ordinary_account_id(participant, serial)
        leaf = Account(identity, 0, 0, 0, posted, 50, 0, 0, 1, LEDGER, 2, 0, 0, 0)
        self.accounts[identity.to_bytes(16, "little")] = leaf.encode()
        return identity

    def add_entry(self, debit: int, credit: int, amount: int) -> Entry:
        record = transfer(len(self.entries) + 1, debit, credit, amount).encode()
        number = len(self.entries)
        entry = Entry(record, hashlib.sha256(record).digest(), int(ResultCode.CREATED), 100 + number, SHARD, number, 0)
        self.entries.append(entry)
        return entry

    def seal(self, height: int, parent: bytes, leaves: bytes, key_index: int = 0) -> SignedHeader:
        zero = bytes(32)
        header = Header(
            1,
            SHARD,
            1,
            height,
            1,
            2,
            3,
            0,
            0,
            1,
            len(leaves) // 48,
            0,
            2,
            self.genesis.hash,
            parent,
            zero,
            zero,
            decisions_root(1, leaves) if leaves else zero,
            zero,
            zero,
            zero,
            (),
            (),
        )
        message = header_message(1, self.genesis.hash, header.hash)
        return SignedHeader(header, self.ring[key_index].key_id, self.ring.sign(key_index, message))

    def add_blocks(self, count: int) -> None:
        parent = bytes(32)
        for height in range(1, count + 1):
            signed = self.seal(height, parent, b"")
            parent = signed.header.hash
            self.headers.append(signed.encode())

    def add_proof(self, digest: bytes, key_index: int = 0, of: bytes | None = None) -> None:
        leaves = b"".join(Decision(each, 7, int(ResultCode.CREATED)).encode() for each in (bytes(32), of or digest))
        signed = self.seal(1, bytes(32), leaves, key_index)
        self.proofs[digest] = build_decision_proof(1, of or digest, leaves, signed).encode()

    def _fail(self) -> None:
        if self.failure is not None and self.failures != 0:
            self.failures -= 1
            raise self.failure


def transfer(identity: int, debit: int, credit: int, amount: int = 1, key_id: int = 2) -> Transfer:
    return Transfer(identity, debit, credit, amount, LEDGER, key_id, 10**18, 60)


async def until(condition) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for lies on the other side of a connection
        await asyncio.sleep(0.005)


def bank_account(serial: int = 1, participant: int = BANK) -> int:
    return ordinary_account_id(participant, serial)


@dataclass
class Edge:
    """A server that runs, and certificates to call it with."""

    node: FakeNode
    server: SettlementServer
    pki: DevelopmentPki
    clients: dict = field(default_factory=dict)

    @property
    def target(self) -> str:
        return self.server.target

    def files(self, role: PeerRole = PeerRole.BANK, participant: int | None = None):
        name = f"{role}-{participant or PARTICIPANTS[role]}"
        if name not in self.clients:
            identity = Identity(NETWORK, role, participant or PARTICIPANTS[role])
            self.clients[name] = self.pki.issue_client(name, identity)
        return self.clients[name]


@asynccontextmanager
async def edge(directory: Path, *, access: Path | None = None, node: FakeNode | None = None, **limits: int):
    """Run the service on a free port with a fake node behind it."""
    node = node or FakeNode()
    if (directory / "ca.pem").exists():
        pki = DevelopmentPki(directory, NETWORK)
    else:
        pki = create_development_pki(directory, NETWORK)
    tls = pki.issue_server("node")
    server = SettlementServer(node, tls, limits=LimitsSection(**limits), access=AccessList(access), software="test")
    await server.start()
    try:
        yield Edge(node, server, pki)
    finally:
        node.gate.set()
        await server.stop(0.2)
