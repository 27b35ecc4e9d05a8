"""The state machine of one shard: its whole state is a pure function of its log (03, 04, 06).

The live road applies first and writes the record after; replay applies the record it reads. Both run the same
functions, and ``record_applied`` and ``seal`` alone move the position, so a header depends on nothing but the log.
Not thread-safe: ``prepare`` and ``verify`` may run beside each other and beside one writer, everything else is that
one writer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.admin_step import AdminOutcome, AdminStep
from engine.batch import raw
from engine.block import InclusionPath
from engine.bodies import decode_admin_body, decode_batch_body, decode_credits_body
from engine.chain_position import ChainPosition
from engine.header import ChannelEntry, Header, LedgerEntry
from engine.holds import Hold, ledger_of, was_held
from engine.invariants import invariant
from engine.ledger_accounts import LedgerAccounts, load_ledger, new_ledger
from engine.linked_run import contradiction, recorded_decision
from engine.log_record import LogRecord, RecordKind
from engine.machine_state import export_machine, load_machine
from engine.outgoing import Outgoing
from engine.parties import Parties
from engine.peer_anchors import PeerAnchors
from engine.proved_credits import ProvedCredits, check_messages, check_place, check_proof
from engine.refusals import CreditsRefused, EncodingError, GenesisRefused, ReplayDiverged
from engine.relay_block import RelayBlock
from engine.types import MESSAGE_BYTES, SLOT_MAP_VERSION, RuleType
from native.codes import ResultCode
from native.hashing import digest, leaf_hash_rows, merkle_path, merkle_root
from native.ledger import PENDING_BYTES, prepare
from native.signatures import KeyRegistry, verify_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Executor

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from engine.admin import AdminColumns
    from engine.batch import BatchColumns
    from engine.genesis import Genesis, GenesisDomain
    from engine.linked_run import RunDecision
    from engine.peer_anchors import PeerAnchor
    from engine.record import Account
    from engine.rules import Rule
    from native.ledger import LedgerState, Prepared, RunView

__all__ = ["RULES_SUBTREE", "STATE_SUBTREES", "AccountProof", "BatchOutcome", "Sealed", "ShardMachine"]

STATE_SUBTREES = (
    "accounts",
    "ids",
    "pendings",
    "admin",
    "keys",
    "participants",
    "ledgers",
    "mandates",
    "channels",
    "parameters",
)
"""The leaves of the state root, in order (LEDGER-70)."""
RULES_SUBTREE = "rules"
"""The leaf after them, from the first rule on: a log without any has the roots that it always had."""

_SUBTREE_NAME_BYTES = 16
_STATE_LEAF_BYTES = 48
_KEY_ID_OFFSET = 116


@dataclass(frozen=True, slots=True, eq=False)
class BatchOutcome:
    """One answer to each record, in order: code u16, first code u16, time u64 ns."""

    codes: NDArray[np.uint16]
    first_codes: NDArray[np.uint16]
    times: NDArray[np.uint64]


class Sealed(NamedTuple):
    """What a seal made: the decision leaves of the block, 48 bytes each, and the header that commits to them."""

    decision_leaves: bytes
    header: Header


class AccountProof(NamedTuple):
    """An account's leaf, 160 bytes, its path among the accounts, and the path of their root in the state root."""

    leaf: bytes
    path: InclusionPath
    state_path: tuple[bytes, ...]


class ShardMachine:
    """One shard from its genesis on. ``registry`` verifies; its indexes are the key ids."""

    def __init__(self, genesis: Genesis, shard: int) -> None:
        """Stand before log number 1: channel accounts, genesis keys and their participants (LEDGER-4, BYTES-8).

        Raises GenesisRefused for a shard that the genesis does not have, KeyRejected for a genesis key that is no key.
        """
        self._begin(genesis, shard, Parties(genesis.hash_suite))
        self.parties.add_genesis_keys(self.domain.keys)
        for key in self.parties.keys:
            self._accounts.set_key(key)

    def _begin(self, genesis: Genesis, shard: int, parties: Parties) -> None:
        domain = genesis.domain(genesis.domain_of_shard(shard))
        if shard not in domain.shard_ids():
            raise GenesisRefused("domains.shards", f"no shard {shard}")
        self.genesis: Genesis = genesis
        self.domain: GenesisDomain = domain
        self.shard = shard
        self.peers: tuple[int, ...] = tuple(each for each in domain.shard_ids() if each != shard)
        self.parties = parties
        self._suite = genesis.hash_suite
        self._chain = ChainPosition(genesis.hash_suite, shard, genesis.time)
        self._anchors = PeerAnchors(shard, self.peers)
        # What the last block sent, for peers on other nodes; None until somebody asks for it to be kept.
        self.sealed_outgoing: Outgoing | None = None
        self._stand_on(new_ledger(genesis, domain, shard))

    def _stand_on(self, ledger: LedgerState) -> None:
        self._ledger = ledger
        self._accounts = LedgerAccounts(ledger)
        self._admin = AdminStep(self.genesis, self.domain, self.shard, self.parties, self._accounts)

    # What it knows.

    @property
    def registry(self) -> KeyRegistry:
        """The keys that signatures are verified with; append-only, so other threads may read it."""
        return self.parties.registry

    @property
    def ledger(self) -> LedgerState:
        """The native state, for lookups that change nothing."""
        return self._ledger

    @property
    def last_time(self) -> int:
        """Time of the last log record applied, ns; the genesis time before the first."""
        return self._chain.time

    @property
    def log_position(self) -> tuple[int, bytes]:
        """Number and hash of the last log record applied; (0, 32 zero bytes) before the first."""
        return self._chain.number, self._chain.record_hash

    @property
    def epoch(self) -> int:
        """Epoch of the last log record applied, 0 before the first."""
        return self._chain.epoch

    @property
    def height(self) -> int:
        """Height of the last block sealed, 0 before the first."""
        return self._chain.height

    @property
    def header_hash(self) -> bytes:
        """Hash of the last block's header, 32 zero bytes before the first."""
        return self._chain.parent_hash

    def find_account(self, account: int) -> Account | None:
        """Return an account by its id."""
        return self._accounts.find(account)

    def accounts(self) -> Iterator[Account]:
        """Yield all accounts in order of registration, system accounts included."""
        return self._accounts.all()

    def rules(self) -> list[Rule]:
        """Return the rules that stand: quotes, thresholds, breakers, tiers and their counters (LEDGER-100)."""
        return self._accounts.rules()

    def holds(self) -> list[Hold]:
        """Return the transfers that wait for supervisors, in order of creation (LEDGER-105)."""
        rows = self._ledger.holds()
        owners = {rule.ledger: rule.bound for rule in self._accounts.rules() if rule.type == RuleType.LEDGER}
        return [
            Hold.decode(rows[start : start + PENDING_BYTES], owners) for start in range(0, len(rows), PENDING_BYTES)
        ]

    def find_hold(self, account: int, transfer: int) -> Hold | None:
        """Return a transfer that is, or was, held and is still known; None for any other."""
        row = self._ledger.find_pending(account.to_bytes(16, "little"), transfer.to_bytes(16, "little"))
        if row is None or not was_held(row):
            return None
        rule = self._accounts.find_rule(RuleType.LEDGER, ledger_of(row))
        return Hold.decode(row, {} if rule is None else {rule.ledger: rule.bound})

    def find_rule(self, kind: RuleType, subject: int, name: int = 0, breaker: int = 0) -> Rule | None:
        """Return a rule by its key, as ``engine.rules`` says: a quote by account and id, a breaker by what it is on."""
        return self._accounts.find_rule(kind, subject, name, breaker)

    def totals(self, ledger: int) -> tuple[int, int]:
        """Return debits pending and posted of a ledger on this shard."""
        debits_pending, debits_posted, _, _ = self._ledger.totals(ledger)
        return debits_pending, debits_posted

    def channel(self, peer: int) -> tuple[int, int]:
        """Return the last sequences sent to and received from a peer shard."""
        return self._ledger.channel(peer)

    def anchor(self, peer: int) -> PeerAnchor | None:
        """Return the newest header of a peer shard that a consumed relay block anchored, None before the first."""
        return self._anchors.get(peer)

    # Before the log, in any thread.

    def prepare(self, batch: BatchColumns) -> Prepared:
        """Assemble what was signed, n x 192, and the record digests, n x 32. Reads nothing that changes."""
        columns = raw(batch.heads), raw(batch.binding_index), raw(batch.bindings)
        return prepare(self._suite, self.genesis.hash, *columns)

    def verify(
        self, prepared: Prepared, batch: BatchColumns, executor: Executor | None = None, parts: int = 1
    ) -> NDArray[np.uint8]:
        """Check all signatures; return a verdict for each record, 1 or 0. A key id that is unknown here gets 0.

        With an executor the batch is cut into ``parts`` ranges that run beside each other.
        """
        key_ids = np.ascontiguousarray(batch.heads[:, _KEY_ID_OFFSET : _KEY_ID_OFFSET + 4]).view("<u4").reshape(-1)
        indexes = np.where(key_ids <= len(self.registry), key_ids, 0).astype(np.uint32)
        verdicts = np.zeros(batch.count, dtype=np.uint8)
        messages = memoryview(prepared.messages)

        def check(start: int, stop: int) -> None:
            verify_batch(
                self.registry,
                raw(indexes[start:stop]),
                raw(batch.signatures[start:stop]),
                messages[start * MESSAGE_BYTES : stop * MESSAGE_BYTES],
                raw(verdicts[start:stop]),
            )

        if executor is None or parts < 2:
            check(0, batch.count)
            return verdicts
        step = -(-batch.count // parts)
        ranges = [(start, min(start + step, batch.count)) for start in range(0, batch.count, step)]
        for work in [executor.submit(check, *each) for each in ranges]:
            work.result()
        return verdicts

    # The steps. ``now`` is the time of the log record, in ns, and never before the last one's.

    def apply_batch(
        self, batch: BatchColumns, verdicts: Buffer, now: int, prepared: Prepared | None = None
    ) -> BatchOutcome:
        """Decide a batch; ``verdicts`` n bytes. The caller then writes the record and tells ``record_applied``."""
        self._start(now)
        result = self._ledger.apply_batch(prepared or self.prepare(batch), raw(batch.heads), verdicts, now)
        return BatchOutcome(
            np.frombuffer(result.codes, dtype=np.uint16),
            np.frombuffer(result.first_codes, dtype=np.uint16),
            np.frombuffer(result.times, dtype=np.uint64),
        )

    def hold_run(self, run: BatchColumns, verdicts: Buffer, now: int, prepared: Prepared | None = None) -> RunView:
        """Prepare the halves of a run over shards that are here (LEDGER-91); nothing else happens before its decision.

        ``run`` is the whole run. It and ``decide_run`` are one step, which one log record holds.
        """
        self._start(now)
        return self._ledger.hold_run(prepared or self.prepare(run), verdicts, now)

    def decide_run(self, decision: RunDecision) -> None:
        """Keep the halves of the held run, or take them back and refuse one of its members (LEDGER-92)."""
        self._ledger.decide_run(decision.keeps, decision.member, decision.code)

    def apply_admin(self, request: AdminColumns, now: int, recorded: NDArray[np.uint16] | None = None) -> AdminOutcome:
        """Decide admin requests in order and verify their signatures; ``recorded`` codes stand in for that (LOG-3)."""
        self._start(now)
        self._ledger.begin_record(now)
        outcome = self._admin.apply(request, now, recorded)
        self._ledger.end_record()
        return outcome

    def apply_credits(self, peer: int, messages: Buffer, now: int) -> NDArray[np.uint16]:
        """Take messages of a peer shard, n x 128 in sequence; return the code each was answered with (05)."""
        self._start(now)
        return np.frombuffer(self._ledger.apply_credits(peer, messages, now), dtype=np.uint16)

    def check_credits(self, offered: ProvedCredits) -> None:
        """Demand credits of a peer on another node that may be applied now; raises CreditsRefused naming the step.

        Nothing changes, and what this lets pass ``apply_proved_credits`` takes as long as no step came between.
        """
        if offered.source not in self.peers:
            raise CreditsRefused(offered.source, "source", f"it is no peer of shard {self.shard:#x}")
        anchor = self._anchors.get(offered.source)
        check_place(offered, self.channel(offered.source)[1], anchor)
        assert anchor is not None
        peers = tuple(each for each in self.domain.shard_ids() if each != offered.source)
        check_proof(offered, self._suite, self.genesis.hash, self.shard, peers, anchor)
        check_messages(offered, self.domain.ledgers)

    def apply_proved_credits(self, offered: ProvedCredits, now: int) -> NDArray[np.uint16]:
        """Take messages of a peer on another node with their proof; return codes as ``apply_credits`` does.

        Raises CreditsRefused with nothing changed.
        """
        self.check_credits(offered)
        return self.apply_credits(offered.source, offered.messages, now)

    def apply_relay_block(self, block: Buffer | RelayBlock, now: int) -> None:
        """Consume the next finalized relay block: reveals claim, runs are committed, what is due ends (LEDGER-40).

        The peers' headers that it anchors are noted (CHANNEL-6). Raises EncodingError for bytes that are no block. That
        it is final is the caller's to know.
        """
        if not isinstance(block, RelayBlock):
            block = RelayBlock.decode(block, self._suite)
        invariant(block.header.genesis_hash == self.genesis.hash, "relay_block_of_this_network", shard=self.shard)
        self._start(now)
        anchored = self._anchors.read(block)
        runs = b"".join(block.committed_runs(self._suite))
        self._ledger.apply_relay(block.header.height, block.header.time, b"".join(block.preimages()), now, runs)
        self._note_anchors(anchored)

    def _note_anchors(self, anchored: Mapping[int, PeerAnchor | None]) -> None:
        for peer, anchor in anchored.items():
            sent = self.channel(peer)[0]
            # A peer got of us what this log does not know of: it is an old copy, and going on would send it twice.
            known = anchor is None or anchor.received <= sent
            invariant(known, "what_a_peer_received_was_sent", shard=self.shard, peer=peer, sent=sent)
        self._anchors.note(anchored)

    def keep_outgoing(self) -> None:
        """From now on leave in ``sealed_outgoing`` what each sealed block sent, for peers on other nodes."""
        self.sealed_outgoing = Outgoing()

    def take_outgoing(self) -> list[tuple[int, bytes]]:
        """Return the messages made since the last call: (peer, n x 128 in sequence); they are handed out once."""
        return self._ledger.take_outgoing()

    def record_applied(self, record: LogRecord) -> None:
        """Move on to the record that holds the step just taken; not for seals, which ``seal`` takes whole."""
        invariant(record.kind is not RecordKind.SEAL, "seal_is_taken_whole", number=record.number)
        self._chain.advance(record)

    def seal(self, record: LogRecord) -> Sealed:
        """Take a seal: expire what is due, end the block and return its leaves and header."""
        invariant(record.kind is RecordKind.SEAL, "seal_record", number=record.number, kind=int(record.kind))
        self._start(record.time)
        self._ledger.sweep(record.time)
        self._chain.advance(record)
        sealed = Sealed(self._ledger.decision_leaves(), self._header())
        if self.sealed_outgoing is not None:
            self.sealed_outgoing = Outgoing.of(self._ledger.outgoing_messages())
        self._chain.close_block(sealed.header.hash)
        self._ledger.reset_block()
        return sealed

    def _start(self, now: int) -> None:
        """Begin a log record: time moves, and what the admin window has outlived is forgotten."""
        invariant(now >= self._chain.time, "time_never_decreases", shard=self.shard, last=self._chain.time, now=now)
        self._chain.time = now
        self._admin.drop(now)

    def _header(self) -> Header:
        chain, ledger = self._chain, self._ledger
        return Header(
            hash_suite=self._suite,
            shard=self.shard,
            epoch=chain.epoch,
            height=chain.height + 1,
            first_number=chain.first_number,
            last_number=chain.number,
            time=chain.time,
            relay_height=ledger.relay_height,
            relay_time=ledger.relay_time,
            slot_map_version=SLOT_MAP_VERSION,
            decision_count=ledger.decision_count,
            outgoing_count=ledger.outgoing_count,
            account_count=ledger.account_count,
            genesis_hash=self.genesis.hash,
            parent_hash=chain.parent_hash,
            first_record_hash=chain.first_hash,
            last_record_hash=chain.record_hash,
            decisions_root=ledger.decisions_root(),
            state_root=self.state_root(),
            outgoing_root=ledger.outgoing_root(),
            headers_root=chain.headers_root(),
            channels=tuple(ChannelEntry(peer, *self.channel(peer)) for peer in self.peers),
            ledgers=tuple(LedgerEntry(each.ledger, *ledger.totals(each.ledger)) for each in self.domain.ledgers),
        )

    # The state as a whole.

    def subtree_roots(self) -> dict[str, bytes]:
        """Return the root of each named subtree, in the order of the state root's leaves."""
        roots = (
            self._ledger.accounts_root(),
            self._ledger.ids_root(),
            self._ledger.pendings_root(),
            self._admin.root(),
            self.parties.keys_root(),
            self.parties.participants_root(),
            self._ledger.ledgers_root(),
            digest(self._suite, b""),
            self._channels_root(),
            self._ledger.parameters_root(),
        )
        named = dict(zip(STATE_SUBTREES, roots, strict=True))
        if self._ledger.rule_count:
            named[RULES_SUBTREE] = self._ledger.rules_root()
        return named

    def _channels_root(self) -> bytes:
        if not len(self._anchors):
            return self._ledger.channels_root()
        return self._anchors.channels_root(self._suite, self.channel)

    def state_root(self) -> bytes:
        """Return the root over everything that decides a future answer (LEDGER-70)."""
        return merkle_root(self._suite, leaf_hash_rows(self._suite, self._state_leaves(), _STATE_LEAF_BYTES))

    def _state_leaves(self) -> bytes:
        return b"".join(
            name.encode("ascii").ljust(_SUBTREE_NAME_BYTES, b"\x00") + root
            for name, root in self.subtree_roots().items()
        )

    def prove_account(self, account: int) -> AccountProof | None:
        """Return an account as the last block left it, with its paths to that block's state root; None if unknown.

        Only right after a seal: later steps have moved the state on.
        """
        invariant(self._chain.first_number == 0, "proof_after_seal", shard=self.shard, number=self._chain.number)
        index = self._ledger.find_account(account.to_bytes(16, "little"))
        if index < 0:
            return None
        path = InclusionPath(index, self._ledger.account_count, self._ledger.account_path(index))
        leaves = leaf_hash_rows(self._suite, self._state_leaves(), _STATE_LEAF_BYTES)
        state_path = merkle_path(self._suite, leaves, STATE_SUBTREES.index("accounts"))
        return AccountProof(self._ledger.account(index), path, state_path)

    def check_kernel(self) -> list[str]:
        """Return what the native state finds broken in itself."""
        return list(self._ledger.check_invariants())

    def export(self) -> bytes:
        """Return the state right after a seal, canonical: the same state gives the same bytes on any machine."""
        invariant(self._chain.first_number == 0, "export_after_seal", shard=self.shard, number=self._chain.number)
        return export_machine(self.shard, self._chain, self.parties, self._admin.window, self._ledger, self._anchors)

    @classmethod
    def load(cls, genesis: Genesis, shard: int, data: bytes) -> ShardMachine:
        """Return the machine whose state was exported; raises EncodingError for bytes that are no state of it.

        Whether the state is the one that a header committed to is the caller's to compare.
        """
        self = cls.__new__(cls)
        self._begin(genesis, shard, Parties(genesis.hash_suite))
        window = self._admin.window
        state = load_machine(data, genesis.hash_suite, shard, self.parties, window, self._chain, self._anchors)
        ledger = load_ledger(genesis, self.domain, shard, state)
        if ledger.key_count != len(self.parties.keys):
            raise EncodingError("machine state keys", len(self.parties.keys), ledger.key_count)
        self._stand_on(ledger)
        self._admin.window = window
        return self

    # Replay.

    def apply(self, record: LogRecord, *, audit: bool = False) -> Sealed | None:
        """Take one record of the log and compare its answers with the recorded ones; a seal returns what it made.

        Signatures are taken from the recorded codes (LOG-3), or with ``audit`` verified again. Messages to other shards
        are dropped: their destinations' logs hold them. Raises ReplayDiverged; the machine is then of no use.
        """
        if record.kind is RecordKind.SEAL:
            return self.seal(record)
        computed = self._apply_body(record, audit=audit)
        if computed is not None:
            codes, recorded = computed
            if not np.array_equal(codes, recorded):
                row = int(np.flatnonzero(codes != recorded)[0])
                raise ReplayDiverged(record.number, f"code of row {row}", int(recorded[row]), int(codes[row]))
        self.record_applied(record)
        self._ledger.take_outgoing()
        return None

    def _apply_body(self, record: LogRecord, *, audit: bool) -> tuple[NDArray[np.uint16], NDArray[np.uint16]] | None:
        """Apply a record's body; return the computed and the recorded codes where it has any."""
        if record.kind is RecordKind.BATCH:
            batch = decode_batch_body(record.body, self.domain.domain)
            prepared = self.prepare(batch.columns)
            verdicts = (batch.codes != ResultCode.INVALID_SIGNATURE).astype(np.uint8)
            if audit:
                verdicts = self.verify(prepared, batch.columns)
            return self.apply_batch(batch.columns, verdicts, record.time, prepared).codes, batch.codes
        if record.kind is RecordKind.RUN:
            self._apply_run(record, audit=audit)
            return None
        if record.kind is RecordKind.ADMIN:
            admin = decode_admin_body(record.body)
            return self.apply_admin(admin.columns, record.time, None if audit else admin.codes).codes, admin.codes
        if record.kind is RecordKind.CREDITS:
            credits_ = decode_credits_body(record.body)
            self.apply_credits(credits_.source, credits_.messages, record.time)
        elif record.kind is RecordKind.PROVED_CREDITS:
            self._apply_logged_proof(record)
        else:
            self.apply_relay_block(record.body, record.time)
        return None

    def _apply_run(self, record: LogRecord, *, audit: bool) -> None:
        """Prepare a run as the record says that the shards of the domain decided (LOG-5)."""
        run = decode_batch_body(record.body, self.domain.domain)
        prepared = self.prepare(run.columns)
        verdicts = (run.codes != ResultCode.INVALID_SIGNATURE).astype(np.uint8)
        if audit:
            verdicts = self.verify(prepared, run.columns)
        view = self.hold_run(run.columns, verdicts, record.time, prepared)
        finding = contradiction(view, run.codes)
        if finding:
            raise ReplayDiverged(record.number, finding, run.codes.tolist(), list(view.codes))
        self.decide_run(recorded_decision(run.codes))

    def _apply_logged_proof(self, record: LogRecord) -> None:
        """Take proved credits that the log holds: what no writer lets pass is a damaged log."""
        try:
            self.apply_proved_credits(ProvedCredits.decode(record.body), record.time)
        except CreditsRefused as error:
            invariant(False, "logged_credits_are_proved", shard=self.shard, number=record.number, refused=str(error))
