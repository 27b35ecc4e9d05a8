"""The ledger of one shard as a state machine: batches, credits, relay blocks and sweeps in, codes and roots out.

It knows record layouts and the rules of docs/spec/03-ledger.md; never files, sockets, signatures or clocks. A buffer is
anything contiguous that offers its bytes (bytes, memoryview, a numpy array); it is read during the call only. Account
ids, transfer ids and other 128-bit fields are 16 bytes little-endian where a parameter is a buffer, and int elsewhere.

Faults: ShapeError for arguments that do not fit, before anything is touched. MemoryError when there is no room for a
step; the state is as it was. InvariantBroken, with ``name``, for a log that no shard writes (time, relay height or
channel sequence out of order: the state is as it was) or for a state that broke a rule of its own (it then refuses
every further step). RuntimeError when two threads enter one state: steps, roots and export release the GIL.
"""

from collections.abc import Sequence
from typing import Final, Self, TypedDict, Unpack, final

from typing_extensions import Buffer

__all__ = [
    "ACCOUNT_BYTES",
    "BATCH_MAX",
    "CREDIT_BYTES",
    "HEAD_BYTES",
    "MESSAGE_BYTES",
    "PENDING_BYTES",
    "RULE_BYTES",
    "TRANSFER_BYTES",
    "BatchResult",
    "LedgerState",
    "Prepared",
    "RunView",
    "prepare",
    "slots",
]

TRANSFER_BYTES: Final = 160
HEAD_BYTES: Final = 128
ACCOUNT_BYTES: Final = 160
MESSAGE_BYTES: Final = 192
CREDIT_BYTES: Final = 128
PENDING_BYTES: Final = 200
RULE_BYTES: Final = 128
BATCH_MAX: Final = 8192

def slots(account_ids: Buffer, stride: int, offset: int, out: Buffer) -> None:
    """Write the slot (BYTES-9) of the account id at ``offset`` of each row of ``stride`` bytes: out n x u16, writable.

    Over heads: stride 128, offset 16 for the debit account. Releases the GIL.
    """

@final
class Prepared:
    """A batch laid out for verifying and applying; immutable. Only ``prepare`` makes one."""

    @property
    def messages(self) -> bytes:
        """What each signature covers, n x 192 packed: T or T_run, then the record."""

    @property
    def digests(self) -> bytes:
        """Record digests, n x 32 packed: H of each message."""

    @property
    def count(self) -> int:
        """The number of records n."""

    @property
    def suite(self) -> int:
        """The hash suite."""

def prepare(suite: int, genesis_hash: Buffer, heads: Buffer, binding_index: Buffer, bindings: Buffer) -> Prepared:
    """Assemble messages and digests from columns: heads n x 128, binding_index m x u32, bindings m x 32.

    Raises ShapeError for columns that RECORD-7 calls malformed, UnknownSuite. Releases the GIL.
    """

@final
class BatchResult:
    """The answers to a batch, n each, in order. Only ``LedgerState.apply_batch`` makes one."""

    @property
    def codes(self) -> memoryview:
        """Result codes, format ``H``."""

    @property
    def first_codes(self) -> memoryview:
        """For ``exists`` and ``id_already_failed`` the first decision's code, else 0; format ``H``."""

    @property
    def times(self) -> memoryview:
        """The decision's time in ns, for repeats the first decision's; format ``Q``."""

@final
class RunView:
    """What one shard makes of a held run over shards (LEDGER-91). Only ``LedgerState.hold_run`` makes one."""

    @property
    def status(self) -> int:
        """0 prepared, 1 malformed, 2 known, 3 undecidable, 4 no room, 5 a debit half, 6 a credit half refused."""

    @property
    def member(self) -> int | None:
        """The member refused, for status 1 and 4 to 6."""

    @property
    def code(self) -> int:
        """With which it is refused, else 0."""

    @property
    def codes(self) -> memoryview:
        """For each member with a half here that was looked at: ``prepared``, ``prepared_credit``, a repeat; else 0."""

    @property
    def first_codes(self) -> memoryview:
        """For repeats what was decided before, else 0; format ``H``."""

    @property
    def times(self) -> memoryview:
        """The time of the decision, for repeats the first one's; format ``Q``."""

class _Parameters(TypedDict):
    suite: int
    genesis_hash: Buffer
    shard: int
    slot_map_version: int
    slot_owner: Buffer
    peers: Sequence[int]
    ledgers: Sequence[tuple[int, bytes, int, int, int, int, int]]
    genesis_time: int
    ids_max: int
    pendings_max: int
    accounts_max: int
    expire_per_batch_max: int
    bucket_ns: int
    run_members_max: int

@final
class LedgerState:
    """All that decides a shard's answers, apart from the admin window, participants and the keys' bytes.

    Every step is one whole log record: it sweeps first (LEDGER-30) and chains the bucket digests at its end, so that
    roots are right after any step. ``last_time`` is the genesis time before the first.
    """

    def __new__(
        cls,
        *,
        suite: int,
        genesis_hash: Buffer,
        shard: int,
        slot_map_version: int,
        slot_owner: Buffer,
        peers: Sequence[int],
        ledgers: Sequence[tuple[int, bytes, int, int, int, int, int]],
        genesis_time: int,
        ids_max: int,
        pendings_max: int,
        accounts_max: int,
        expire_per_batch_max: int,
        bucket_ns: int,
        run_members_max: int,
    ) -> Self:
        """Register the channel accounts (LEDGER-4).

        slot_owner 4,096 x u32 shard ids, 4-byte aligned; peers ascending, without this shard; ledgers in genesis order:
        (ledger, currency 8 bytes, scale, issuer, window_s, lock_min_s, amount_max).
        """

    @classmethod
    def load(cls, data: Buffer, **parameters: Unpack[_Parameters]) -> Self:
        """Return the state whose ``export`` gave these bytes, under the same parameters.

        Raises StateBytesInvalid for any other bytes. Digests of buckets cannot be recomputed from them: compare the
        roots with a signed state root.
        """

    def apply_batch(self, prepared: Prepared, heads: Buffer, verdicts: Buffer, now: int) -> BatchResult:
        """Decide a batch at log time ``now``: verdicts n x u8, nonzero where the signature holds.

        heads are those that ``prepared`` was made from; their length is checked, the records are read from there.
        """

    def apply_credits(self, peer: int, messages: Buffer, now: int) -> bytes:
        """Take k messages of a peer, k x 128 in sequence (LEDGER-50); return k x u16 codes.

        A code is ``credited``, ``credited_to_suspense``, ``returned``, or the reason with which a credit went back.
        """

    def hold_run(self, prepared: Prepared, verdicts: Buffer, now: int) -> RunView:
        """Sweep, check a run over shards and prepare the halves that are here (LEDGER-91), until ``decide_run``.

        Until then every other step is refused (InvariantBroken). The two calls are one log record.
        """

    def decide_run(self, keeps: bool, member: int | None = None, code: int = 0) -> None:
        """Keep the halves of the held run, or take them back and refuse ``member`` with ``code`` (None: nobody).

        The id of that member is burnt, and its leaf made, where its debit half is here and the code does so.
        """

    def prepared(self) -> bytes:
        """Return the debit halves that wait for the relay, k x 72, unordered: T_run 32, digest 32, deadline u64."""

    def apply_relay(self, height: int, relay_time: int, preimages: Buffer, now: int, runs: Buffer = b"") -> None:
        """Consume a relay block: claims by its reveals, k x 32, commits of ``runs``, k x 32 (T_run), then what is over.

        The step's time is the greater of ``now`` and ``last_time``.
        """

    def sweep(self, now: int) -> None:
        """Take a log record that is only a sweep here: admin and seal records."""

    def begin_record(self, now: int) -> None:
        """Begin a log record that sweeps and then ends holds; until ``end_record`` every other step is refused."""

    def end_record(self) -> None:
        """End the record that ``begin_record`` began; every other step ends its own."""

    def end_hold(self, debit: Buffer, id: Buffer, releases: bool, now: int) -> int:  # noqa: A002 - the field's name
        """Release a held transfer inside an open record, or reject it: ``created``, ``hold_not_found``, ``hold_over``.

        A lock whose timelock has come too near is rejected although it was to be released (LEDGER-106).
        """

    def take_outgoing(self) -> list[tuple[int, bytes]]:
        """Return messages made since the last call: (peer, k x 128 in sequence), peers ascending; each only once."""

    def open_account(
        self,
        account_id: Buffer,
        ledger: int,
        key_lineage: int,
        flags: int,
        code: int,
        credit_limit: int,
        balance_max: int,
        user_data: int,
        opened_at: int,
    ) -> int:
        """Register an account and return its index, or -1 when accounts_max are registered, system accounts included.

        Raises ShapeError for an id that is registered (``got`` is its index), an unknown ledger, or flags beyond
        issuer, frozen, closed and suspense. Suspense accounts that credits open may go past accounts_max.
        """

    def find_account(self, account_id: Buffer) -> int:
        """Return the account's index, or -1."""

    def account(self, index: int) -> bytes:
        """Return the account's leaf, 160 bytes."""

    def lookup_accounts(self, account_ids: Buffer) -> bytes:
        """Return n x 160 bytes for n x 16 ids, zeros where an account is missing."""

    def update_account(
        self,
        index: int,
        *,
        flags: int | None = None,
        frozen_until: int | None = None,
        credit_limit: int | None = None,
        balance_max: int | None = None,
        key_lineage: int | None = None,
        tier: int | None = None,
    ) -> None:
        """Set what is given; of the flags only issuer, frozen and closed may change."""

    def account_has_pendings(self, index: int) -> bool:
        """Tell whether anything is pending on either side of the account."""

    def account_path(self, index: int) -> tuple[bytes, ...]:
        """Return the inclusion path of the account's leaf under ``accounts_root``, from the leaf upwards."""

    def set_key(self, key_id: int, participant: int, role: int, lineage: int, retired_at: int) -> None:
        """Register the next key id, or set a known one again. retired_at 0: in force."""

    def find_id(self, authoriser: Buffer, debit: Buffer, id: Buffer) -> tuple[int, int, bytes, bytes] | None:  # noqa: A002 - the field's name
        """Return (code, time, record digest, record) of the id window, or None."""

    def find_pending(self, debit: Buffer, id: Buffer) -> bytes | None:  # noqa: A002 - the field's name
        """Return a pending or lock that is still known, 200 bytes, or None.

        debit account 16, id 16, credit account 16, amount 16, posted 16, user_data 16, record digest 32, binding 32 (of
        a claimed lock the preimage), due u64 (0 never; of a lock the timelock), expires_at u64, ended_at u64, ledger
        u32, key lineage u32, flags u16, code u16, state u8 (1 open, 2 posted, 3 voided, 4 expired, 5 claimed,
        6 refunded, 8 prepared, 9 prepared credit half, 11 aborted, 12 held, 14 hold rejected, 15 hold expired),
        draws u8 (1: on the quote that its user_data names), held_for u8 (0, or 1 threshold, 2 breaker, 3 tier,
        4 velocity), zero. Of the half of a run over shards the binding is T_run, and until it is decided due is the
        run's deadline and ended_at the record's until; so they are of a hold.
        """

    def holds(self) -> bytes:
        """Return the transfers that are held, k x 200 in order of creation; see find_pending."""

    def find_rule(self, type: int, kind: int, subject: Buffer, name: Buffer) -> bytes | None:  # noqa: A002 - the field's name
        """Return a rule's row, 128 bytes (LEDGER-100), or None; kind is 0 but for breakers."""

    def set_rule(self, row: Buffer) -> bool:
        """Make a rule, or put another row in the place of the one with its key; False when the table is full.

        Raises ShapeError for a row that no rule has.
        """

    def remove_rule(self, type: int, kind: int, subject: Buffer, name: Buffer) -> bool:  # noqa: A002 - the field's name
        """Remove a rule; False when there is none."""

    def trim_quotes(self, account: Buffer, before: int) -> int:
        """Remove an account's quotes that were over before this instant, and return how many it has left."""

    def trim_breakers(self, now: int) -> None:
        """Remove the breakers that are over."""

    def rules(self) -> bytes:
        """Return all places of the table, k x 128, zeros where one is free."""

    @property
    def rule_count(self) -> int:
        """How many places the table has, free ones included."""

    def rules_root(self) -> bytes:
        """Return the root of the rules; hashes what changed since the last."""

    def accounts_root(self) -> bytes:
        """Return the root of the accounts; hashes what changed since the last root or path."""

    def ids_root(self) -> bytes:
        """Return the root of the id window's buckets."""

    def pendings_root(self) -> bytes:
        """Return the root of the pendings' buckets."""

    def channels_root(self) -> bytes:
        """Return the root of the channels."""

    def ledgers_root(self) -> bytes:
        """Return the root of the ledgers, totals included."""

    def parameters_root(self) -> bytes:
        """Return the root of the parameters: the hash of the one leaf."""

    def decisions_root(self) -> bytes:
        """Return the root of the current block's decisions."""

    def outgoing_root(self) -> bytes:
        """Return the root of the current block's messages in order of (peer, sequence)."""

    def add_decision(self, digest: Buffer, time: int, code: int) -> None:
        """Append a leaf to the block's decisions: those of admin requests."""

    def decision_leaves(self) -> bytes:
        """Return the leaf data of the current block, n x 48."""

    def outgoing_messages(self) -> list[tuple[int, bytes]]:
        """Return the current block's messages, taken or not: (peer, 128 bytes) in the order of the outgoing tree."""

    def reset_block(self) -> None:
        """Begin a new block: no decisions, no outgoing messages; those not yet taken can still be taken."""

    @property
    def decision_count(self) -> int:
        """Decision leaves of the current block."""

    @property
    def outgoing_count(self) -> int:
        """Messages of the current block."""

    @property
    def account_count(self) -> int:
        """Accounts registered, system accounts included."""

    @property
    def id_count(self) -> int:
        """Entries of the id window."""

    @property
    def pending_count(self) -> int:
        """Pendings and locks known, ended ones included."""

    @property
    def key_count(self) -> int:
        """Keys registered."""

    @property
    def last_time(self) -> int:
        """Time of the last step, ns; the genesis time before the first."""

    @property
    def relay_height(self) -> int:
        """Height of the last relay block consumed, 0 before the first."""

    @property
    def relay_time(self) -> int:
        """Relay time of that block, ns."""

    def channel(self, peer: int) -> tuple[int, int]:
        """Return (last sequence sent, last sequence received)."""

    def totals(self, ledger: int) -> tuple[int, int, int, int]:
        """Return (debits pending, debits posted, channel accounts' credits, their debits) of a ledger.

        The latter two are pending and posted together.
        """

    @property
    def export_bytes(self) -> int:
        """How many bytes ``export`` makes of the state as it stands, without what stands around them."""

    def export(self, before: bytes = b"", after: bytes = b"") -> bytes:
        """Return the state as canonical bytes: the same state gives the same bytes, whatever its history.

        ``before`` and ``after`` stand around them: a state may be large, and is copied once.
        """

    def check_invariants(self) -> list[str]:
        """Walk the whole state and name what is broken; empty when sound."""

    def memory_bytes(self) -> int:
        """Return the bytes reserved, whether or not they were ever touched."""
