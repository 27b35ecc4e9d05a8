"""What the service asks of the node behind it, and the shapes of its answers: protocols that no lower part knows.

The node that runs is `shards.node.DomainNode`; tests hand in a small one in memory. Columns are buffers of packed
little-endian integers (bytes or numpy arrays), as on the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from typing_extensions import Buffer

    from engine.admin import AdminColumns
    from engine.batch import BatchColumns
    from engine.genesis import Genesis

__all__ = ["AdminReply", "BatchReply", "NodeStatus", "SettlementNode", "ShardStatus", "TransferEntry"]


class BatchReply(Protocol):
    """The decisions of a batch of n records, in order."""

    @property
    def codes(self) -> Buffer:
        """Result codes, n x u16."""

    @property
    def first_codes(self) -> Buffer:
        """For exists and id_already_failed the first decision's code, else 0; n x u16."""

    @property
    def times(self) -> Buffer:
        """Times of the decisions in ns, n x u64."""


class AdminReply(BatchReply, Protocol):
    """The decisions of n admin requests, in order."""

    @property
    def assigned(self) -> Buffer:
        """The key id given to a new key, else 0; n x u32."""


class TransferEntry(Protocol):
    """A decision as the node's index knows it: of a transfer, or of a credit that arrived from another shard."""

    @property
    def kind(self) -> int:
        """1 transfer, 2 credit."""

    @property
    def record(self) -> bytes:
        """The 160 bytes of a transfer, or the 128 of a credit message."""

    @property
    def digest(self) -> bytes:
        """The record digest, 32 bytes."""

    @property
    def code(self) -> int:
        """Its decision."""

    @property
    def time(self) -> int:
        """When it was decided, ns."""

    @property
    def shard(self) -> int:
        """The shard that decided."""

    @property
    def number(self) -> int:
        """The log record that holds it."""

    @property
    def index(self) -> int:
        """Its place in that record."""


class ShardStatus(Protocol):
    """How one shard stands."""

    @property
    def shard(self) -> int:
        """Its id."""

    @property
    def height(self) -> int:
        """Its newest sealed block; 0 before the first."""

    @property
    def log_number(self) -> int:
        """Its newest durable log record; 0 before the first."""

    @property
    def accounts(self) -> int:
        """How many accounts it carries."""

    @property
    def last_time(self) -> int:
        """Time of the newest log record, ns."""


class NodeStatus(Protocol):
    """How a node stands."""

    @property
    def domain(self) -> int:
        """The domain that it serves."""

    @property
    def shards(self) -> Sequence[ShardStatus]:
        """Its shards, ascending."""

    @property
    def durability(self) -> str:
        """What its replies rest on: synced, replicated, final or verified."""

    @property
    def epoch(self) -> int:
        """The epoch in which it writes its logs."""

    @property
    def queued_bytes(self) -> int:
        """Work that was taken and not decided yet."""

    @property
    def refusing(self) -> str:
        """Why it takes no work now; empty while it does."""


class SettlementNode(Protocol):
    """One domain's node, started. The service never cancels what it has handed over: what was taken is decided."""

    @property
    def genesis(self) -> Genesis:
        """The network's genesis."""

    @property
    def domain(self) -> int:
        """The domain that it serves."""

    async def submit(self, batch: BatchColumns, *, submitter: int) -> BatchReply:
        """Decide a batch; resolves when the decisions are durable.

        Batches are taken in the order in which this is called, before the first suspension. Raises what
        `clearspan.status` knows by name: Overloaded, ShuttingDown, NodeFailed, DiskFull.
        """

    async def administer(self, request: AdminColumns, *, submitter: int) -> AdminReply:
        """Decide admin requests; resolves when the decisions are durable. Raises as submit does."""

    async def lookup_accounts(self, ids: bytes) -> bytes:
        """Return n x 160 account leaves for n x 16 ids, zeros where there is none."""

    async def lookup_transfers(self, digests: bytes) -> Sequence[TransferEntry | None]:
        """Return the transfer of each of n x 32 record digests, None where it is unknown."""

    async def statement(
        self, account: bytes, *, after: bytes, limit: int, newest_first: bool
    ) -> tuple[Sequence[TransferEntry], bytes]:
        """Return a page of an account's transfers and the cursor of the next; empty when there is nothing more.

        Raises ValueError or struct.error for a cursor that this node did not give.
        """

    async def decision_proof(self, digest: bytes) -> bytes | None:
        """Return the decision proof (BLOCK-2) of a record digest, or None before its block is sealed."""

    def blocks(self, shard: int, from_height: int, *, follow: bool) -> AsyncIterator[bytes]:
        """Iterate over signed headers (BLOCK-1) of a shard, ascending; with follow, wait for more."""

    def status(self) -> NodeStatus:
        """Return how the node stands now."""
