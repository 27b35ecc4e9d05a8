"""What the service asks of the node behind it, and the shapes of its answers: protocols that no lower part knows.

The node that runs is `shards.node.DomainNode`; tests hand in a small one in memory. Columns are buffers of packed
little-endian integers (bytes or numpy arrays), as on the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from typing_extensions import Buffer

    from engine.admin import AdminColumns
    from engine.batch import BatchColumns
    from engine.genesis import Genesis
    from engine.proved_credits import ProvedCredits
    from engine.receipt import ReceiptForm
    from shards.neighbours import CreditsWanted

__all__ = [
    "AdminReply",
    "BatchReply",
    "Finality",
    "FinalityStanding",
    "LogPart",
    "NodeStatus",
    "SettlementNode",
    "ShardFinality",
    "ShardStatus",
    "TransferEntry",
]


class LogPart(Protocol):
    """A part of a log as it travels."""

    @property
    def data(self) -> bytes:
        """Whole records, but for the first and the last, which may go over the part's ends."""

    @property
    def continued(self) -> bool:
        """Whether the last record goes on in the next part."""


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


class Covered(Protocol):
    """How far a shard has come."""

    @property
    def height(self) -> int:
        """The block; 0 before the first."""

    @property
    def last_number(self) -> int:
        """The last log record that it covers."""


class ShardFinality(Protocol):
    """How far a shard is final, and how far validators have re-executed it."""

    @property
    def final(self) -> Covered:
        """What is in a relay block with a quorum's certificate."""

    @property
    def verified(self) -> Covered:
        """What is final and re-executed."""


class FinalityStanding(Protocol):
    """How the line to the validators stands."""

    @property
    def height(self) -> int:
        """The newest final relay block that was verified here."""

    @property
    def time(self) -> int:
        """Its relay time, ns."""

    @property
    def consumed(self) -> int:
        """The newest relay block that the shards have consumed."""

    @property
    def set_id(self) -> int:
        """The newest validator set that is known."""

    @property
    def following(self) -> str:
        """The validator that is followed now; empty while none is."""

    @property
    def shards(self) -> Mapping[int, ShardFinality]:
        """Each shard of the node."""


class Finality(Protocol):
    """What a node has of the relay. The service never cancels what it waits for here by more than its own wait."""

    @property
    def standing(self) -> FinalityStanding:
        """How it stands now."""

    async def receipt(
        self, digest: bytes, form: ReceiptForm, *, wait_s: float = 0.0, verified: bool = False
    ) -> bytes | None:
        """Return the receipt of a record by its digest, None where there is none within the wait.

        Raises ProofRefused where the decision does not prove what the form says.
        """

    async def blocks(
        self, shard: int, from_height: int, *, wait_s: float, verified: bool = False
    ) -> tuple[int, Sequence[bytes]]:
        """Return a height and the receipts of a shard's blocks from there on, none where nothing is final in time.

        0 stands for the height after the newest that is final now.
        """

    async def balance(self, account: int, *, wait_s: float, verified: bool = False) -> bytes | None:
        """Return the receipt of an account as the next block leaves it, None where there is none within the wait."""

    def set_changes(self, after: int) -> Sequence[bytes]:
        """Return the proofs of the changes to validator sets above a set's id, in order."""


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

    async def rules(self) -> bytes:
        """Return thresholds, breakers and tiers that stand on the node's shards, n x 128 (LEDGER-100), each once."""

    async def holds(self) -> bytes:
        """Return transfers that wait for a decision of supervisors, n x 200."""

    async def outgoing_since(self, wanted: CreditsWanted) -> ProvedCredits | None:
        """Return the next credits of a channel to a shard on another node, with proof; None while there are none."""

    def blocks(self, shard: int, from_height: int, *, follow: bool) -> AsyncIterator[bytes]:
        """Iterate over signed headers (BLOCK-1) of a shard, ascending; with follow, wait for more."""

    def log_parts(self, shard: int, from_number: int, *, follow: bool) -> AsyncIterator[LogPart]:
        """Iterate over durable log records (LOG-1) of a shard in parts; with follow, wait for more.

        Raises CallRefused (not_found) for a number more than one past the last.
        """

    def status(self) -> NodeStatus:
        """Return how the node stands now."""

    @property
    def finality(self) -> Finality | None:
        """What it has of the relay, None where it has no line to validators."""
