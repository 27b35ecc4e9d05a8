"""The domain core: work in, log records and answers out; no clock, no disk, no thread.

A domain's shards run in *rounds*. A round takes verified batches and admin requests in order, applies each part on
its shard, delivers every credit that this made to the other shards of the domain (spec CHANNEL-4), seals when asked,
and returns the log records of all shards, which the shell commits in one durable transaction before anyone hears.
The state is then ahead of the disk by at most the rounds in flight: a shell whose commit fails throws this core away
and builds it anew from the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from engine.bodies import encode_admin_body, encode_batch_body, encode_credits_body
from engine.invariants import invariant
from engine.linked_run import answer_run
from engine.log import LogRecord, RecordKind
from engine.refusals import CreditsRefused
from engine.relay_block import RelayBlock
from engine.types import NS_PER_S, AdminType
from native.codes import ResultCode
from shards.hold_outcomes import ENDS_HOLDS
from shards.neighbours import CreditsWanted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from engine.admin import AdminColumns
    from engine.batch import BatchColumns
    from engine.genesis import Genesis
    from engine.header import Header
    from engine.linked_run import RunAnswer
    from engine.machine import ShardMachine
    from engine.proved_credits import ProvedCredits
    from native.ledger import Prepared
    from shards.slots import SlotMap

__all__ = [
    "AdminJob",
    "AdminReply",
    "AppliedCredits",
    "AppliedPart",
    "BatchJob",
    "BatchReply",
    "CreditsJob",
    "CreditsReply",
    "DomainCore",
    "Part",
    "RelayJob",
    "RelayReply",
    "Round",
    "SealedBlock",
    "wire_bytes",
]

# Admin requests that every shard of the domain must see, so that key ids agree (spec ADMIN-5).
_BROADCAST = frozenset(
    {
        AdminType.PARTICIPANT_ADD,
        AdminType.KEY_ADD,
        AdminType.KEY_ROTATE,
        AdminType.KEY_REVOKE,
        AdminType.QUOTA_SET,
        AdminType.LEDGER_RULES,
        AdminType.BREAKER_SET,
        AdminType.BREAKER_CLEAR,
        AdminType.LEDGER_TIER,
    }
)
_SUBJECT_OFFSET = 16
# The smallest drift that members may agree on: a clock lifted to this far behind relay time suits them all.
_DRIFT_NS = NS_PER_S // 100
_TYPE_OFFSET = 32
_KEY_ID_OFFSET = 116


@dataclass(slots=True)
class Part:
    """What one shard gets of a batch: ``rows`` are the positions in the batch, or None for all of it in order.

    Of a run over shards: the whole run, ``shard`` the first of the ``shards`` that have a half of it.
    """

    shard: int
    rows: NDArray[np.intp] | None
    columns: BatchColumns
    prepared: Prepared
    verdicts: NDArray[np.uint8] | None = None
    keys_known: int = 0
    verified_by: ShardMachine | None = None
    shards: tuple[int, ...] = ()


@dataclass(slots=True)
class BatchJob:
    """A batch split into parts, and the runs over shards in it; ready for a round once all have their verdicts.

    ``away``: positions whose shard is on another node; they are answered so, and are in no log.
    """

    batch_id: bytes
    submitter: int
    count: int
    wire_bytes: int
    parts: list[Part]
    runs: list[Part] = field(default_factory=list)
    away: NDArray[np.intp] | None = None

    @property
    def to_verify(self) -> list[Part]:
        """All that must be verified before the round: what shards get alone, and runs over shards."""
        return [*self.parts, *self.runs]


@dataclass(frozen=True, slots=True)
class AdminJob:
    """Admin requests in their order."""

    columns: AdminColumns


@dataclass(frozen=True, slots=True)
class RelayJob:
    """Finalized relay blocks in the order of their heights, none left out; the first follows the last consumed."""

    blocks: tuple[RelayBlock, ...]


@dataclass(frozen=True, slots=True)
class RelayReply:
    """The height of the last relay block that every shard has consumed."""

    height: int


@dataclass(frozen=True, slots=True)
class CreditsJob:
    """Credits of a shard on another node, with their proof, for a shard of this one."""

    destination: int
    offered: ProvedCredits


@dataclass(frozen=True, slots=True)
class CreditsReply:
    """How many credits were taken; or why none was, with nothing changed and nothing in the log."""

    taken: int
    refused: CreditsRefused | None = None


@dataclass(frozen=True, slots=True)
class BatchReply:
    """One answer to each request, in the order of the batch: u16, u16, u64 (ns)."""

    codes: NDArray[np.uint16]
    first_codes: NDArray[np.uint16]
    times: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class AdminReply:
    """One answer to each admin request: u16, u16, u64 (ns), and the key id that it was assigned (u32, or 0)."""

    codes: NDArray[np.uint16]
    first_codes: NDArray[np.uint16]
    times: NDArray[np.uint64]
    assigned: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class AppliedPart:
    """What an index needs of one batch or run record: where it stands, its records, digests and codes."""

    shard: int
    number: int
    columns: BatchColumns
    prepared: Prepared
    codes: NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class AppliedCredits:
    """What an index needs of one credits record: where it stands, its messages (128 bytes each) and codes."""

    shard: int
    number: int
    messages: bytes
    codes: NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class SealedBlock:
    """A header that may be signed once its seal is durable, with the decision leaves (48 bytes each) it commits to.

    ``outgoing``: what the block sent, encoded, where the domain has shards on other nodes.
    """

    header: Header
    decision_leaves: bytes
    outgoing: bytes = b""


@dataclass(slots=True)
class Round:
    """What a round made, to be committed as one: records by shard, then the answers that may leave."""

    time: int
    records: dict[int, list[LogRecord]] = field(default_factory=dict)
    replies: list[BatchReply | AdminReply | RelayReply | CreditsReply] = field(default_factory=list)
    sealed: list[SealedBlock] = field(default_factory=list)
    account_counts: dict[int, int] = field(default_factory=dict)
    batches: list[AppliedPart] = field(default_factory=list)
    credits: list[AppliedCredits] = field(default_factory=list)
    runs: list[AppliedPart] = field(default_factory=list)
    relay: list[LogRecord] = field(default_factory=list)
    administered: list[LogRecord] = field(default_factory=list)

    @property
    def prepares(self) -> bool:
        """Whether it holds runs that are left for the relay to decide."""
        return any((part.codes == ResultCode.PREPARED).any() for part in (*self.batches, *self.runs))

    @property
    def log_bytes(self) -> int:
        """Bytes of log bodies in the round."""
        return sum(record.body_bytes for records in self.records.values() for record in records)

    @property
    def indexed(self) -> bool:
        """Whether it holds records that the index finds again; a seal by itself holds none."""
        return bool(self.batches or self.runs or self.credits or self.relay or self.administered)


class DomainCore:
    """The shards of one node. ``machines`` by shard id; every machine has applied its log up to the same commit.

    ``remote``: the shards of the domain that other nodes serve (CHANNEL-5). What is sent to them stays in the blocks
    that sent it (``shards.outbox``); what they send comes as ``CreditsJob``.
    """

    def __init__(
        self,
        genesis: Genesis,
        machines: Mapping[int, ShardMachine],
        slot_map: SlotMap,
        epoch: int,
        remote: Iterable[int] = (),
    ) -> None:
        self.genesis = genesis
        self.machines = dict(sorted(machines.items()))
        self.remote = tuple(sorted(remote))
        missing = {int(owner) for owner in np.unique(slot_map.owners)} - {*self.machines, *self.remote}
        invariant(not missing, "node_serves_its_domain", missing=sorted(missing))
        doubled = [shard for shard in self.remote if shard in self.machines]
        invariant(not doubled, "shard_is_here_or_away", doubled=doubled)
        if self.remote:
            for machine in self.machines.values():
                machine.keep_outgoing()
        self.slot_map = slot_map
        self.epoch = epoch
        self.time = max((machine.last_time for machine in self.machines.values()), default=0)
        # Of the last relay block that every shard has consumed, 0 before the first; read by any thread.
        self.relay_height = min((machine.ledger.relay_height for machine in self.machines.values()), default=0)
        # Validators vote for no header behind the relay time that it consumed by more than the drift (RELAY-22), so a
        # node whose clock is late takes the relay's.
        self._relay_floor = (
            max((machine.ledger.relay_time for machine in self.machines.values()), default=0) - _DRIFT_NS
        )
        self._positions = {shard: machine.log_position for shard, machine in self.machines.items()}

    # Before a round, in any thread: these read nothing that a round changes but the append-only key registry.

    def split(self, columns: BatchColumns, *, submitter: int) -> BatchJob:
        """Split a batch by the slot of each debit account (runs stay whole) and assemble the signed messages.

        Runs over shards are taken out whole: they come after the parts, in their order.
        """
        owners = self.slot_map.shards(columns.heads)
        runs = self._runs_over_shards(columns)
        alone = np.ones(columns.count, dtype=bool)
        for run in runs:
            alone[run.rows] = False
        shards = np.unique(owners[alone])
        parts: list[Part] = []
        for shard in shards:
            if int(shard) not in self.machines:
                continue
            rows = None if len(shards) == 1 and not runs else np.flatnonzero(alone & (owners == shard))
            part = columns if rows is None else columns.select(rows)
            parts.append(Part(int(shard), rows, part, self.machines[int(shard)].prepare(part)))
        away = np.flatnonzero(alone & np.isin(owners, self.remote)) if self.remote else None
        return BatchJob(columns.batch_id, submitter, columns.count, wire_bytes(columns), parts, runs, away)

    def _runs_over_shards(self, columns: BatchColumns) -> list[Part]:
        """Cut out the runs that touch several shards, all of them here."""
        members_max = self.genesis.domain(self.genesis.domain_of_shard(min(self.machines))).limits.run_members_max
        found = []
        for start, end, shards in self.slot_map.runs_over_shards(columns.heads, members_max):
            if all(shard in self.machines for shard in shards):
                rows = np.arange(start, end)
                part = columns.select(rows)
                prepared = self.machines[shards[0]].prepare(part)
                found.append(Part(shards[0], rows, part, prepared, shards=shards))
        return found

    def verify(self, part: Part) -> None:
        """Check all signatures of a part in one native call."""
        machine = self.machines[part.shard]
        part.keys_known = len(machine.registry)
        part.verified_by = machine
        part.verdicts = np.asarray(machine.verify(part.prepared, part.columns), dtype=np.uint8)

    # The round.

    def run(self, work: Sequence[BatchJob | AdminJob | RelayJob | CreditsJob], now: int, *, seal: bool) -> Round:
        """Apply the work in order and return what must be durable before its answers leave. ``now`` in ns."""
        # What this round consumes counts already: its seal must not stand behind it, and a round has one time.
        blocks = (block for job in work if isinstance(job, RelayJob) for block in job.blocks)
        consumed = max((block.header.time for block in blocks), default=0)
        self._relay_floor = max(self._relay_floor, consumed - _DRIFT_NS)
        self.time = max(self.time, now, self._relay_floor)
        round_ = Round(self.time)
        for job in work:
            if isinstance(job, BatchJob):
                round_.replies.append(self._batch(round_, job))
            elif isinstance(job, AdminJob):
                round_.replies.append(self._admin(round_, job))
            elif isinstance(job, CreditsJob):
                round_.replies.append(self._take(round_, job))
            else:
                round_.replies.append(self._consume(round_, job))
        self._deliver(round_)
        if seal:
            # A seal's sweep releases reservations and moves nothing between shards, so nothing is left to deliver.
            self._seal(round_)
        return self._closed(round_)

    def relay_block(self, block: bytes, now: int) -> Round:
        """Let every shard consume one finalized relay block, then deliver the credits of its claims."""
        return self.run([RelayJob((RelayBlock.decode(block, self.genesis.hash_suite),))], now, seal=False)

    def _consume(self, round_: Round, job: RelayJob) -> RelayReply:
        """Let every shard consume the same blocks; the credits of its claims are delivered at the round's end."""
        for block in job.blocks:
            body = block.encode()
            for shard, machine in self.machines.items():
                machine.apply_relay_block(block, self.time)
                self._append(round_, shard, RecordKind.RELAY_BLOCK, body)
                round_.relay.append(round_.records[shard][-1])
            self.relay_height = block.header.height
        return RelayReply(self.relay_height)

    def wanted(self) -> list[CreditsWanted]:
        """Return what to ask other nodes for: credits that an anchored header says were sent to a shard here."""
        found = []
        for shard, machine in self.machines.items():
            for source in self.remote:
                anchor, received = machine.anchor(source), machine.channel(source)[1]
                if anchor is not None and anchor.sent > received:
                    found.append(CreditsWanted(source, shard, received + 1, anchor.height))
        return found

    def _take(self, round_: Round, job: CreditsJob) -> CreditsReply:
        """Apply credits of another node; what they cause to be sent is delivered at the round's end, or stays."""
        machine, offered = self.machines[job.destination], job.offered
        try:
            if offered.source not in self.remote:
                raise CreditsRefused(offered.source, "source", "it is no shard of another node")  # noqa: TRY301
            codes = machine.apply_proved_credits(offered, self.time)
        except CreditsRefused as refused:
            return CreditsReply(0, refused)
        number = self._append(round_, job.destination, RecordKind.PROVED_CREDITS, offered.encode())
        round_.credits.append(AppliedCredits(job.destination, number, offered.messages, codes))
        return CreditsReply(offered.count)

    def _closed(self, round_: Round) -> Round:
        round_.account_counts = {shard: machine.ledger.account_count for shard, machine in self.machines.items()}
        return round_

    def _batch(self, round_: Round, job: BatchJob) -> BatchReply:
        codes = np.zeros(job.count, dtype=np.uint16)
        first_codes = np.zeros(job.count, dtype=np.uint16)
        times = np.zeros(job.count, dtype=np.uint64)
        if job.away is not None:
            codes[job.away], times[job.away] = ResultCode.SHARD_AWAY, self.time
        for part in job.parts:
            machine = self.machines[part.shard]
            outcome = machine.apply_batch(part.columns, self._verdicts(part), self.time, prepared=part.prepared)
            rows = slice(None) if part.rows is None else part.rows
            codes[rows], first_codes[rows], times[rows] = outcome.codes, outcome.first_codes, outcome.times
            body = encode_batch_body(part.columns, submitter=job.submitter, batch_id=job.batch_id, codes=outcome.codes)
            number = self._append(round_, part.shard, RecordKind.BATCH, body)
            round_.batches.append(AppliedPart(part.shard, number, part.columns, part.prepared, outcome.codes))
        for run in job.runs:
            assert run.rows is not None
            answer = self._run_over_shards(round_, job, run)
            codes[run.rows], first_codes[run.rows], times[run.rows] = answer.codes, answer.first_codes, answer.times
        return BatchReply(codes, first_codes, times)

    def _run_over_shards(self, round_: Round, job: BatchJob, run: Part) -> RunAnswer:
        """Hold a run on every shard that it touches, decide it once, and write that into all their logs (LEDGER-92)."""
        machines = [self.machines[shard] for shard in run.shards]
        verdicts = self._verdicts(run)
        views = [machine.hold_run(run.columns, verdicts, self.time, run.prepared) for machine in machines]
        answer = answer_run(views, run.columns.count, self.time)
        body = encode_batch_body(run.columns, submitter=job.submitter, batch_id=job.batch_id, codes=answer.codes)
        for machine in machines:
            machine.decide_run(answer.decision)
            number = self._append(round_, machine.shard, RecordKind.RUN, body)
            round_.runs.append(AppliedPart(machine.shard, number, run.columns, run.prepared, answer.codes))
        return answer

    def _verdicts(self, part: Part) -> NDArray[np.uint8]:
        """Return what the signatures came to, verified again where that may have changed."""
        machine = self.machines[part.shard]
        stale = part.verified_by is not machine or len(machine.registry) != part.keys_known
        if stale and (part.verified_by is not machine or self._names_new_key(part, machine)):
            # The verdict is a function of record and registry as they stand now. A key was registered since, or
            # this state was built anew: what the one before had registered and not made durable never was.
            self.verify(part)
        assert part.verdicts is not None
        return part.verdicts

    @staticmethod
    def _names_new_key(part: Part, machine: ShardMachine) -> bool:
        key_ids = np.ascontiguousarray(part.columns.heads[:, _KEY_ID_OFFSET : _KEY_ID_OFFSET + 4]).view("<u4")
        return bool(((key_ids > part.keys_known) & (key_ids <= len(machine.registry))).any())

    def _admin(self, round_: Round, job: AdminJob) -> AdminReply:
        """Give each request to the shard of its subject, or to all; answers come from the first shard that has it."""
        bodies = job.columns.bodies
        count = len(bodies)
        types = np.ascontiguousarray(bodies[:, _TYPE_OFFSET : _TYPE_OFFSET + 2]).view("<u2")[:, 0]
        subjects = np.ascontiguousarray(bodies[:, _SUBJECT_OFFSET : _SUBJECT_OFFSET + 16])
        everywhere = np.isin(types, [int(t) for t in _BROADCAST])
        owners = np.array([self.slot_map.shard_of(subject.tobytes()) for subject in subjects], dtype=np.uint32)
        reply = AdminReply(
            np.zeros(count, np.uint16),
            np.zeros(count, np.uint16),
            np.zeros(count, np.uint64),
            np.zeros(count, np.uint32),
        )
        away = ~everywhere & np.isin(owners, self.remote)
        reply.codes[away], reply.times[away] = ResultCode.SHARD_AWAY, self.time
        for shard, machine in self.machines.items():
            rows = np.flatnonzero(everywhere | (owners == shard))
            if not len(rows):
                continue
            part = job.columns.take(rows)
            outcome = machine.apply_admin(part, self.time)
            reply.codes[rows], reply.first_codes[rows] = outcome.codes, outcome.first_codes
            reply.times[rows], reply.assigned[rows] = outcome.times, outcome.assigned
            self._append(round_, shard, RecordKind.ADMIN, encode_admin_body(part, codes=outcome.codes))
            if np.isin(types[rows], [int(t) for t in ENDS_HOLDS]).any():
                round_.administered.append(round_.records[shard][-1])
        return reply

    def _deliver(self, round_: Round) -> None:
        """Apply every outgoing credit at its destination until none is left: credits, then the returns they cause.

        Those for other nodes are left to the block that seals them.
        """
        while True:
            outgoing = [
                (source, peer, messages)
                for source, machine in self.machines.items()
                for peer, messages in machine.take_outgoing()
                if peer in self.machines
            ]
            if not outgoing:
                return
            for source, peer, messages in outgoing:
                codes = self.machines[peer].apply_credits(source, messages, self.time)
                number = self._append(round_, peer, RecordKind.CREDITS, encode_credits_body(source, messages))
                round_.credits.append(AppliedCredits(peer, number, messages, codes))

    def _seal(self, round_: Round) -> None:
        for shard, machine in self.machines.items():
            leaves, header = machine.seal(self._next(round_, shard, RecordKind.SEAL, b""))
            self._commit_position(round_, shard)
            sent = b"" if machine.sealed_outgoing is None else machine.sealed_outgoing.encode()
            round_.sealed.append(SealedBlock(header, leaves, sent))

    # Numbering.

    def _next(self, round_: Round, shard: int, kind: RecordKind, body: bytes) -> LogRecord:
        number, previous_hash = self._positions[shard]
        record = LogRecord.make(
            suite=self.genesis.hash_suite,
            genesis_hash=self.genesis.hash,
            shard=shard,
            epoch=self.epoch,
            number=number + 1,
            time=round_.time,
            kind=kind,
            previous_hash=previous_hash,
            body=body,
        )
        round_.records.setdefault(shard, []).append(record)
        return record

    def _commit_position(self, round_: Round, shard: int) -> int:
        record = round_.records[shard][-1]
        self._positions[shard] = (record.number, record.hash)
        return record.number

    def _append(self, round_: Round, shard: int, kind: RecordKind, body: bytes) -> int:
        record = self._next(round_, shard, kind, body)
        self.machines[shard].record_applied(record)
        return self._commit_position(round_, shard)

    def positions(self) -> Iterable[tuple[int, int, bytes]]:
        """Yield (shard, last log number, its hash) as the state stands."""
        for shard, (number, hash_) in self._positions.items():
            yield shard, number, hash_


def wire_bytes(columns: BatchColumns) -> int:
    """Return the bytes of a batch's columns."""
    return columns.heads.nbytes + columns.signatures.nbytes + columns.binding_index.nbytes + columns.bindings.nbytes
