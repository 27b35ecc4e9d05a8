"""The client without its sockets: what is asked, what an answer means, and when the same bytes are sent again.

Every call is a generator of steps. It yields an Attempt (send these bytes, give me the reply or the refusal) or a
Pause, and returns the result. A shell for asyncio and one for threads drive the same generators; time comes in as a
function.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from clearspan.client.results import (
    AccountView,
    AdminResult,
    BatchResult,
    NetworkStatus,
    StatementPage,
    TransferView,
    account_views,
    refused,
    transfer_views,
)
from clearspan.errors import ClientError, TimedOut, Unreachable, VerificationFailed
from clearspan.roles import Rpc
from clearspan.status import Refusal
from clearspan.v1 import clearspan_pb2
from engine.block import Decision, DecisionProof
from engine.genesis import Genesis, GenesisDomain, GenesisLedger, plain_key
from engine.header import Header, SignedHeader
from engine.refusals import EncodingError, GenesisRefused, ProofRefused
from engine.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from google.protobuf.message import Message

    from engine.admin import AdminColumns
    from engine.batch import BatchColumns

__all__ = ["Attempt", "ClientCore", "Network", "Pause", "RetryPolicy", "Steps", "StreamCore", "encode_submit"]

_VERSION: Final = 1
_FIRST_COLUMN: Final = clearspan_pb2.SubmitRequest.HEADS_FIELD_NUMBER
_VARINT_BITS: Final = 0x7F

Result = TypeVar("Result")
Reply = TypeVar("Reply", bound="Message")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long and how often: the deadline of a call with all its attempts, of one attempt, pauses between them.

    A pause is drawn between half and the whole of a value that doubles from pause_first_s to pause_max_s; a wait that
    the service asks for is kept at least.
    """

    deadline_s: float = 30.0
    attempt_s: float = 10.0
    pause_first_s: float = 0.05
    pause_max_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """Send these bytes; the shell answers with the reply's bytes or a Refusal."""

    rpc: Rpc
    content: bytes
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long."""

    seconds: float


Steps: TypeAlias = Generator[Attempt | Pause, bytes | Refusal | None, Result]


@dataclass(frozen=True, slots=True)
class Network:
    """What a client knows of the network once it has its genesis."""

    genesis: Genesis
    domain: GenesisDomain
    block_keys: Mapping[int, tuple[int, bytes]]

    @property
    def ledgers(self) -> dict[int, GenesisLedger]:
        """The ledgers of the whole network by number."""
        return {ledger.ledger: ledger for domain in self.genesis.domains for ledger in domain.ledgers}


@dataclass(slots=True)
class Backoff:
    """Pauses of one call or one stream, until its deadline."""

    policy: RetryPolicy
    clock: Callable[[], float]
    target: str
    attempts: int = 0
    _deadline: float = field(init=False)
    _pause: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the deadline now."""
        self.reset()

    def reset(self) -> None:
        """Begin anew: something was answered."""
        self._deadline = self.clock() + self.policy.deadline_s
        self._pause = self.policy.pause_first_s

    def attempt(self) -> float:
        """Count an attempt and return how long it may take."""
        self.attempts += 1
        return max(0.001, min(self.policy.attempt_s, self._deadline - self.clock()))

    def after(self, refusal: Refusal) -> float:
        """Return how long to wait before the same bytes are sent again; raises when they are not to be."""
        if not refusal.retried:
            raise refused(refusal)
        wait = max(refusal.retry_after_ms / 1000, self._pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load
        if self.clock() + wait >= self._deadline:
            raise self._failure(refusal)
        self._pause = min(2 * self._pause, self.policy.pause_max_s)
        return wait

    def _failure(self, refusal: Refusal) -> ClientError:
        if refusal.number:
            return refused(refusal)
        if refusal.status is grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimedOut(self.target, f"no answer in {self.attempts} attempts")
        return Unreachable(self.target, refusal.message or refusal.name)


class ClientCore:
    """The calls of one client as steps; knows the target's name for messages only."""

    def __init__(
        self,
        target: str,
        policy: RetryPolicy,
        clock: Callable[[], float],
        genesis_hash: bytes | None = None,
        block_keys: Mapping[int, tuple[int, bytes]] | None = None,
    ) -> None:
        self._target = target
        self._policy = policy
        self._clock = clock
        self._pinned = genesis_hash
        self._extra_keys = dict(block_keys or {})
        self._network: Network | None = None

    def backoff(self) -> Backoff:
        """Return the pauses of a new call."""
        return Backoff(self._policy, self._clock, self._target)

    def network(self) -> Steps[Network]:
        """Fetch genesis and domain once. Raises VerificationFailed where the genesis is not the pinned one."""
        if self._network is not None:
            return self._network
        reply, _ = yield from self._ask(
            Rpc.GET_GENESIS, clearspan_pb2.GetGenesisRequest(version=_VERSION), clearspan_pb2.GetGenesisReply
        )
        try:
            genesis = Genesis.decode(reply.document)
        except (EncodingError, GenesisRefused) as error:
            raise VerificationFailed("genesis", str(error)) from error
        if self._pinned is not None and genesis.hash != self._pinned:
            raise VerificationFailed("genesis", f"hash {genesis.hash.hex()} is not the pinned {self._pinned.hex()}")
        status = yield from self.status()
        if status.genesis_hash != genesis.hash:
            raise VerificationFailed("status", "the node's genesis hash is not that of its genesis")
        try:
            domain = genesis.domain(status.domain)
        except GenesisRefused as error:
            raise VerificationFailed("status", str(error)) from error
        keys = {
            key_id: (key.suite, key.public_key)
            for key_id, key in enumerate(domain.keys, start=1)
            if key.role == Role.BLOCK
        }
        self._network = Network(genesis, domain, {**keys, **self._extra_keys})
        return self._network

    def status(self) -> Steps[NetworkStatus]:
        """Ask how the node stands."""
        reply, _ = yield from self._ask(
            Rpc.GET_STATUS, clearspan_pb2.GetStatusRequest(version=_VERSION), clearspan_pb2.GetStatusReply
        )
        return NetworkStatus.of_reply(reply)

    def submit(self, batch: BatchColumns) -> Steps[BatchResult]:
        """Settle a batch."""
        reply, attempts = yield from self._send(Rpc.SUBMIT, encode_submit(batch), clearspan_pb2.SubmitReply)
        return BatchResult.of_reply(reply, batch.count, attempts, None)

    def administer(self, columns: AdminColumns, batch_id: bytes) -> Steps[AdminResult]:
        """Decide admin requests."""
        network = yield from self.network()
        request = clearspan_pb2.AdministerRequest(
            version=_VERSION,
            domain=network.domain.domain,
            batch_id=batch_id,
            bodies=columns.bodies.tobytes(),
            signer_key_ids=columns.key_ids.astype("<u4").tobytes(),
            signatures=columns.signatures.tobytes(),
        )
        reply, attempts = yield from self._ask(Rpc.ADMINISTER, request, clearspan_pb2.AdministerReply)
        return AdminResult.of_admin_reply(reply, columns.count, attempts)

    def accounts(self, ids: Sequence[int]) -> Steps[list[AccountView | None]]:
        """Read accounts."""
        network = yield from self.network()
        packed = b"".join(each.to_bytes(16, "little") for each in ids)
        request = clearspan_pb2.LookupAccountsRequest(version=_VERSION, domain=network.domain.domain, ids=packed)
        reply, _ = yield from self._ask(Rpc.LOOKUP_ACCOUNTS, request, clearspan_pb2.LookupAccountsReply)
        return account_views(reply, len(ids), network.ledgers)

    def transfers(self, digests: Sequence[bytes]) -> Steps[list[TransferView | None]]:
        """Read decided transfers."""
        network = yield from self.network()
        request = clearspan_pb2.LookupTransfersRequest(
            version=_VERSION, domain=network.domain.domain, digests=b"".join(digests)
        )
        reply, _ = yield from self._ask(Rpc.LOOKUP_TRANSFERS, request, clearspan_pb2.LookupTransfersReply)
        views = transfer_views(reply.transfers)
        if len(views) != len(digests) or len(reply.found) != len(digests):
            raise VerificationFailed("reply", f"{len(views)} transfers for {len(digests)} digests")
        return [view if found else None for view, found in zip(views, reply.found, strict=True)]

    def statement(self, account: int, after: bytes, limit: int, *, newest_first: bool) -> Steps[StatementPage]:
        """Read a page of a statement."""
        network = yield from self.network()
        request = clearspan_pb2.StatementRequest(
            version=_VERSION,
            domain=network.domain.domain,
            account=account.to_bytes(16, "little"),
            after=after,
            limit=limit,
            newest_first=newest_first,
        )
        reply, _ = yield from self._ask(Rpc.STATEMENT, request, clearspan_pb2.StatementReply)
        return StatementPage(tuple(transfer_views(reply.transfers)), reply.next)

    def inspect(self, kind: int, query: bytes, columns: AdminColumns | None) -> Steps[tuple[bytes, int]]:
        """Ask for a view with the look that records it (an operator has none); return it and the look's time, ns."""
        network = yield from self.network()
        request = clearspan_pb2.InspectRequest(
            version=_VERSION, domain=network.domain.domain, kind=cast("clearspan_pb2.InspectKind", kind), query=query
        )
        if columns is not None:
            request.look = columns.bodies.tobytes()
            request.key_id = int(columns.key_ids[0, 0])
            request.signature = columns.signatures[0, 0].tobytes()
        reply, _ = yield from self._ask(Rpc.INSPECT, request, clearspan_pb2.InspectReply)
        return reply.view, reply.looked_at

    def decision_proof(self, digest: bytes) -> Steps[tuple[DecisionProof, Decision]]:
        """Fetch and verify the proof of a decision."""
        network = yield from self.network()
        request = clearspan_pb2.GetDecisionProofRequest(version=_VERSION, domain=network.domain.domain, digest=digest)
        reply, _ = yield from self._ask(Rpc.GET_DECISION_PROOF, request, clearspan_pb2.GetDecisionProofReply)
        try:
            proof = DecisionProof.decode(reply.proof)
        except EncodingError as error:
            raise VerificationFailed("decision proof", str(error)) from error
        self.check_header(network, proof.signed_header)
        try:
            proof.check_path()
        except ProofRefused as error:
            raise VerificationFailed("decision proof", str(error)) from error
        if proof.decision.digest != digest:
            raise VerificationFailed("decision proof", "it is of another record")
        return proof, proof.decision

    def blocks_request(self, network: Network, shard: int, from_height: int, *, follow: bool) -> bytes:
        """Return the request for signed headers."""
        return clearspan_pb2.StreamBlocksRequest(
            version=_VERSION, domain=network.domain.domain, shard=shard, from_height=from_height, follow=follow
        ).SerializeToString()

    def read_block(
        self, network: Network, content: bytes, shard: int, height: int, parent: bytes | None
    ) -> SignedHeader:
        """Read the next header of a shard and demand that it is signed, of that height, and the parent's child."""
        try:
            reply = clearspan_pb2.StreamBlocksReply.FromString(content)
            signed = SignedHeader.decode(reply.signed_header)
        except (DecodeError, EncodingError) as error:
            raise VerificationFailed("block", str(error)) from error
        self.check_header(network, signed)
        header = signed.header
        if (header.shard, header.height) != (shard, height):
            found = f"shard {header.shard} height {header.height}"
            raise VerificationFailed("block", f"{found} came where shard {shard} height {height} was due")
        if parent is not None and header.parent_hash != parent:
            raise VerificationFailed("block", f"height {height} is not the child of the header before it")
        return signed

    def check_header(self, network: Network, signed: SignedHeader) -> Header:
        """Demand a header of this network's domain, signed by a block key of it. Raises VerificationFailed."""
        header = signed.header
        if header.genesis_hash != network.genesis.hash or header.hash_suite != network.genesis.hash_suite:
            raise VerificationFailed("header", "it is of another network")
        if header.shard not in network.domain.shard_ids():
            raise VerificationFailed("header", f"shard {header.shard} is not of domain {network.domain.domain}")
        key = network.block_keys.get(signed.key_id)
        if key is None:
            raise VerificationFailed("header", f"key {signed.key_id} is no block key that is known here")
        suite, public_key = key
        try:
            signed.verify(suite, plain_key(suite, public_key) or public_key)
        except ProofRefused as error:
            raise VerificationFailed("header", str(error)) from error
        return header

    def call(self, rpc: Rpc, content: bytes, kind: type[Reply]) -> Steps[Reply]:
        """Make any unary call; the same bytes until they are answered."""
        reply, _ = yield from self._send(rpc, content, kind)
        return reply

    def _ask(self, rpc: Rpc, request: Message, kind: type[Reply]) -> Steps[tuple[Reply, int]]:
        return self._send(rpc, request.SerializeToString(), kind)

    def _send(self, rpc: Rpc, content: bytes, kind: type[Reply]) -> Steps[tuple[Reply, int]]:
        """Send the same bytes until they are answered; return the reply and how many attempts it took."""
        backoff = self.backoff()
        while True:
            timeout_s = backoff.attempt()
            outcome = yield Attempt(rpc, content, timeout_s)
            if isinstance(outcome, bytes):
                try:
                    return kind.FromString(outcome), backoff.attempts
                except DecodeError as error:
                    raise VerificationFailed("reply", f"{rpc} was answered with bytes that are no reply") from error
            if outcome is not None:
                yield Pause(backoff.after(outcome))


class StreamCore:
    """One stream of batches over any number of connections: what is unanswered, and results in the order of sending."""

    def __init__(self, window: int, backoff: Backoff) -> None:
        self.window = window
        self.backoff = backoff
        self._next_sequence = 1
        self._next_result = 1
        self._unanswered: OrderedDict[int, tuple[bytes, int, int]] = OrderedDict()  # request, count, attempts
        self._ready: dict[int, BatchResult] = {}

    @property
    def unanswered(self) -> int:
        """How many batches were sent and not answered for good."""
        return len(self._unanswered)

    @property
    def has_room(self) -> bool:
        """Whether another batch may be sent before a reply comes."""
        return len(self._unanswered) + len(self._ready) < self.window

    def take(self, batch: BatchColumns) -> bytes:
        """Give a batch its number and return the bytes to send."""
        content = encode_submit(batch, self._next_sequence)
        self._unanswered[self._next_sequence] = (content, batch.count, 1)
        self._next_sequence += 1
        return content

    def again(self) -> list[bytes]:
        """Return all that is unanswered, in order, for a new connection."""
        for sequence, (content, count, attempts) in self._unanswered.items():
            self._unanswered[sequence] = (content, count, attempts + 1)
        return [content for content, _, _ in self._unanswered.values()]

    def receive(self, content: bytes) -> tuple[list[BatchResult], bytes | None, float]:
        """Take a reply; return the results that are now in order, and bytes to send again after a pause, if any.

        Raises VerificationFailed for a reply that fits no request.
        """
        try:
            reply = clearspan_pb2.SubmitReply.FromString(content)
        except DecodeError as error:
            raise VerificationFailed("reply", "bytes that are no reply") from error
        sent = self._unanswered.get(reply.sequence)
        if sent is None:
            return [], None, 0.0  # a repeat of what a former connection answered
        request, count, attempts = sent
        refusal = Refusal.from_wire(reply.refusal) if reply.HasField("refusal") else None
        if refusal is not None and refusal.retried:
            self._unanswered[reply.sequence] = (request, count, attempts + 1)
            return [], request, self.backoff.after(refusal)
        del self._unanswered[reply.sequence]
        self._ready[reply.sequence] = BatchResult.of_reply(reply, count, attempts, refusal)
        self.backoff.reset()
        return self._in_order(), None, 0.0

    def _in_order(self) -> list[BatchResult]:
        results = []
        while self._next_result in self._ready:
            results.append(self._ready.pop(self._next_result))
            self._next_result += 1
        return results


def encode_submit(batch: BatchColumns, sequence: int = 0) -> bytes:
    """Return the bytes of a SubmitRequest in the order of its fields, with one copy of the columns and not three."""
    start = clearspan_pb2.SubmitRequest(version=_VERSION, domain=batch.domain, batch_id=batch.batch_id)
    end = clearspan_pb2.SubmitRequest(sequence=sequence)
    index = batch.binding_index.astype("<u4", copy=False)
    parts: list[bytes | memoryview] = [start.SerializeToString()]
    for number, column in enumerate((batch.heads, batch.signatures, index, batch.bindings), start=_FIRST_COLUMN):
        if column.size:
            parts += [_field_head(number, column.nbytes), np.ascontiguousarray(column).data.cast("B")]
    return b"".join((*parts, end.SerializeToString()))


def _field_head(number: int, size: int) -> bytes:
    """Return tag and length of a bytes field of protobuf: wire type 2, then the length as a varint."""
    head = bytearray([number << 3 | 2])
    while size > _VARINT_BITS:
        head.append(size & _VARINT_BITS | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)
