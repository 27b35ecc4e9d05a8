"""A domain under faults, from a seed: requests lost, doubled and late; crashes, full disks, odd clocks, old states.

What is driven is ``shards.domain.DomainCore`` over real machines, a real log format and real signatures. After each
round the books must balance on each shard and across all; an answer, once heard, never changes; at the end faults stop,
every request is sent until it is answered, and the log replayed from its first record gives the same state.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from clearspan.simulation.world import START, World
from engine.block import Decision
from engine.codes import MEANINGS, CodeClass, ResultCode, code_name
from engine.conservation import check_domain
from engine.errors import DiskFull
from engine.genesis import GenesisLimits
from engine.log import MemoryStore
from engine.machine import ShardMachine
from engine.prefix import record_digest, run_prefix
from engine.record import channel_account_id
from engine.relay_block import RelayBlock, reveal_record, run_decision_record
from engine.replay import replay
from engine.run_decision import RunDecisionRecord
from engine.types import DECISION_BYTES, NS_PER_S, ZERO_HASH, TransferFlag, TransferKind
from native.hashing import digest
from shards.domain import AdminJob, BatchJob, BatchReply, DomainCore, Round
from shards.slots import SlotMap

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.admin import AdminColumns
    from engine.batch import BatchColumns
    from engine.record import Transfer

__all__ = ["FAULTS", "REACHED", "ShardReport", "SimulationFailed", "simulate_shards"]

FAULTS: Final = (
    "request_lost",
    "reply_lost",
    "request_doubled",
    "request_late",
    "crash_before_commit",
    "crash_after_commit",
    "disk_full",
    "clock_back",
    "clock_jump",
    "restart_from_checkpoint",
    "restart_from_log",
)
REACHED: Final = (
    "created",
    "created_in_transit",
    "credited",
    "returned",
    "expired_by_timeout",
    "claimed",
    "refunded",
    "insufficient_funds",
    "debit_account_frozen",
    "credit_account_not_found",
    "prepared",
    "prepared_credit",
    "committed",
    "aborted",
)
"""Decisions that a few hundred seeds must reach between them, or they prove nothing of these."""

_ANSWERS_WHEN_FORGOTTEN: Final = frozenset(
    {
        ResultCode.TOO_OLD,
        ResultCode.EXPIRED,
        ResultCode.LINKED_EVENT_FAILED,
        ResultCode.WINDOW_FULL,
        ResultCode.PENDINGS_FULL,
    }
)
# The state of a half among the 200 bytes of a pending; any other one than these has been committed.
_HALF_STATE: Final = 196
_HALVES: Final = {8: "prepared", 9: "prepared", 11: "aborted"}
_STEPS: Final = 60
_HEAL_ROUNDS_MAX: Final = 50
_MS: Final = 1_000_000


class SimulationFailed(AssertionError):  # noqa: N818 - a verdict, not an error of the program
    """What did not hold, and the one line that shows it again."""

    def __init__(self, seed: int, step: int, what: str) -> None:
        super().__init__(f"{what} (step {step}); again: clearspan simulate --part shards --seeds {seed}:{seed + 1}")
        self.seed = seed
        self.step = step
        self.what = what


@dataclass(slots=True)
class ShardReport:
    """What a run reached."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    transfers: int = 0
    state_roots: tuple[str, ...] = ()


@dataclass(slots=True)
class _Request:
    """A batch that a client sends until it hears; ``heard`` is the first answer it got, folded, one for each record."""

    transfers: list[Transfer]
    columns: BatchColumns
    heard: list[tuple[int, int]] | None = None


def simulate_shards(seed: int) -> ShardReport:
    """Run one seed; raises SimulationFailed naming what did not hold."""
    return _Run(seed).run()


class _Run:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a simulation wants its chance again, not secrecy
        # Of its own, so that what it decides leaves the rest of a seed's course as it was.
        self.decides = random.Random(seed + 1)  # noqa: S311
        self.report = ShardReport(seed)
        limits = GenesisLimits(
            ids_max=self.random.choice((150, 4_000)),
            pendings_max=self.random.choice((20, 2_000)),
            expire_per_batch_max=self.random.choice((2, 100)),
            bucket_ns=self.random.choice((NS_PER_S, 7 * NS_PER_S)),
            run_members_max=8,
        )
        self.world = World.make(
            seed, shards=self.random.choice((1, 2, 3)), banks=4, hash_suite=self.random.choice((1, 1, 2)), limits=limits
        )
        genesis = self.world.genesis
        self.store = MemoryStore(suite=genesis.hash_suite, genesis_hash=genesis.hash)
        self.slot_map = SlotMap.of(genesis, self.world.domain)
        self.checkpoints: dict[int, bytes] = {}
        self.step = 0
        self.now = START + NS_PER_S
        self.relay_height = 0
        self.relay_time = 0
        self.preimages: list[bytes] = []
        self.requests: list[_Request] = []
        self.late: deque[tuple[int, _Request]] = deque()
        self.core = self._start({})

    def run(self) -> ShardReport:
        """Enrol the parties, run the faults, heal, and hold the end against a replay."""
        for columns in self.world.setup:
            self._round([], admin=columns)
        for account, _ in self.world.accounts:
            for batch in self.world.issue(account, 10_000, self.now):
                self._send(_Request([batch.transfer(0)], batch), faults=False)
        if self.decides.random() < 0.8:
            # Else runs over shards are refused until a first relay block comes.
            self._consume(())
        for self.step in range(1, _STEPS + 1):
            self._pass_time()
            self._one_step()
        self._heal()
        self._replay()
        return self.report

    # Steps.

    def _one_step(self) -> None:
        while self.late and self.late[0][0] <= self.step:
            self._send(self.late.popleft()[1], faults=True)
        choice = self.random.random()
        if choice < 0.62:
            self._send(self._new_request(), faults=True)
        elif choice < 0.78 and self.requests:
            self.report.faults["request_doubled"] += 1
            self._send(self.random.choice(self.requests), faults=True)
        elif choice < 0.86:
            self._relay()
        elif choice < 0.90:
            bank = self.random.choice(self.world.banks)
            account = self.random.choice(bank.accounts)
            self._round([], admin=self.world.freeze(account, self.now, lift=self.random.random() < 0.6))
        else:
            self._seal()

    def _pass_time(self) -> None:
        chance = self.random.random()
        if chance < 0.05:
            self.report.faults["clock_back"] += 1
            self.now -= self.random.randrange(5 * NS_PER_S)
        elif chance < 0.10:
            self.report.faults["clock_jump"] += 1
            self.now += self.random.randrange(90 * NS_PER_S)
        else:
            self.now += self.random.randrange(1, 900 * _MS)

    def _new_request(self) -> _Request:
        transfers: list[Transfer] = []
        while len(transfers) < self.random.randrange(1, 24):
            transfers += self._some_transfers()
        columns = self.world.signed(transfers, self.random.randbytes(16))
        if self.random.random() < 0.2:
            # One byte of one signature changed: it must cost that record and no other.
            signatures = columns.signatures.copy()
            signatures[self.random.randrange(columns.count), self.random.randrange(64)] ^= 1
            columns = replace(columns, signatures=signatures)
        request = _Request(transfers, columns)
        self.requests.append(request)
        return request

    def _some_transfers(self) -> list[Transfer]:
        """One record of some kind, or a run of a few."""
        pick, world = self.random, self.world
        (debit, key), (credit, _) = pick.sample(world.accounts, 2)
        now = max(self.now, self.core.time)
        amount = pick.choice((1, 7, 100, 2_500, 9_000))
        if pick.random() < 0.06:
            # Nobody's account: on this shard it is refused, on another it must come back.
            credit = (credit >> 96 << 96) | pick.randrange(1_000, 2_000)
        plain = world.transfer(debit, credit, amount, key, now)
        earlier = [one for request in self.requests[-12:] for one in request.transfers]
        open_ones = [one for one in earlier if one.flags & 0x0F == TransferKind.PENDING]
        chance = pick.random()
        if chance < 0.45:
            return [plain]
        if chance < 0.60:
            either = TransferFlag.PAYER_MAY_POST | TransferFlag.PAYER_MAY_VOID
            until = pick.choice((0, NS_PER_S, 20 * NS_PER_S))
            return [replace(plain, flags=int(TransferKind.PENDING | either), until=until)]
        if chance < 0.75 and open_ones:
            pending = pick.choice(open_ones)
            kind = pick.choice((TransferKind.POST, TransferKind.VOID))
            part = pending.amount if kind == TransferKind.VOID else pick.randint(1, pending.amount)
            return [
                replace(
                    pending,
                    id=world.next_id(),
                    reference=pending.id,
                    amount=part,
                    flags=int(kind),
                    until=0,
                    expires_at=plain.expires_at,
                )
            ]
        if chance < 0.82:
            preimage = pick.randbytes(32)
            self.preimages.append(preimage)
            sm3 = pick.random() < 0.5
            flags = int(TransferKind.LOCK) | (int(TransferFlag.HASH_IS_SM3) if sm3 else 0)
            binding = digest(2 if sm3 else 1, preimage)
            return [replace(plain, flags=flags, until=now + pick.randrange(6, 40) * NS_PER_S, binding=binding)]
        if chance < 0.88 and earlier:
            return [replace(pick.choice(earlier), amount=pick.randint(1, 50))]
        if chance < 0.92:
            burnt = world.next_id()
            return [replace(plain, flags=int(TransferKind.CANCEL), credit_account=0, amount=0, reference=burnt)]
        count = pick.randint(2, 5)
        if pick.random() < 0.7:
            debit, credit, key = self._neighbours(debit, key)
        return [
            replace(
                world.transfer(debit, credit, pick.choice((1, 50, 8_000)), key, now),
                flags=int(TransferFlag.LINKED) if row < count - 1 else 0,
            )
            for row in range(count)
        ]

    def _neighbours(self, debit: int, key: int) -> tuple[int, int, int]:
        """Return two accounts of one shard and the first one's key, if the shard of ``debit`` has another."""
        shard = self.slot_map.shard_of(debit.to_bytes(16, "little"))
        others = [
            account
            for account, _ in self.world.accounts
            if account != debit and self.slot_map.shard_of(account.to_bytes(16, "little")) == shard
        ]
        return debit, self.random.choice(others or [self.world.issuer_account]), key

    # The road, with what may go wrong on it.

    def _send(self, request: _Request, *, faults: bool) -> None:
        chance = self.random.random() if faults else 1.0
        if chance < 0.06:
            self.report.faults["request_lost"] += 1
            return
        if chance < 0.12:
            self.report.faults["request_late"] += 1
            self.late.append((self.step + self.random.randrange(1, 8), request))
            return
        replies = self._round([request], faults=faults)
        if replies is None:
            return
        if faults and self.random.random() < 0.08:
            self.report.faults["reply_lost"] += 1
            return
        self._hear(request, replies[0])
        if ResultCode.PREPARED in replies[0].codes and self.decides.random() < 0.5:
            self._consume(())

    def _round(
        self, requests: list[_Request], *, admin: AdminColumns | None = None, faults: bool = False
    ) -> list[BatchReply] | None:
        """Run one round and make it durable; None when a fault left the requests unanswered."""
        jobs: list[BatchJob | AdminJob] = []
        for request in requests:
            job = self.core.split(request.columns, submitter=1)
            for part in job.to_verify:
                self.core.verify(part)
            jobs.append(job)
        if admin is not None:
            jobs.append(AdminJob(admin))
        made = self.core.run(jobs, self.now, seal=False)
        return self._commit(made, faults=faults)

    def _commit(self, made: Round, *, faults: bool) -> list[BatchReply] | None:
        chance = self.random.random() if faults else 1.0
        if chance < 0.04:
            self.report.faults["crash_before_commit"] += 1
            self._restart()
            return None
        if chance < 0.07:
            self.report.faults["disk_full"] += 1
            self._append_to_full_disk(made)
            self._restart()
            return None
        self._append(made)
        self.report.rounds += 1
        if chance < 0.11:
            self.report.faults["crash_after_commit"] += 1
            self._restart()
            return None
        self._check()
        return [reply for reply in made.replies if isinstance(reply, BatchReply)]

    def _append(self, made: Round) -> None:
        appends = {shard: (records, records[0].number) for shard, records in made.records.items()}
        if appends:
            self.store.append_many(appends, self.core.epoch)

    def _append_to_full_disk(self, made: Round) -> None:
        def fault(_: int) -> None:
            raise DiskFull("simulated", 0)

        self.store.fault = fault
        try:
            self._append(made)
        except DiskFull:
            return
        finally:
            self.store.fault = None

    def _seal(self) -> None:
        made = self.core.run([], self.now, seal=True)
        for block in made.sealed:
            leaves = block.decision_leaves
            for at in range(0, len(leaves), DECISION_BYTES):
                self.report.decisions[code_name(Decision.decode(leaves[at : at + DECISION_BYTES]).code)] += 1
        if self._commit(made, faults=True) is not None and self.random.random() < 0.6:
            self.checkpoints = {shard: machine.export() for shard, machine in self.core.machines.items()}

    def _relay(self) -> None:
        """Hand every shard the next relay block, with some of the preimages in it, and commits of some runs."""
        self.relay_time = max(self.relay_time, self.now - self.random.randrange(2 * NS_PER_S))
        self._consume(self.random.sample(self.preimages, min(len(self.preimages), self.random.randrange(3))))

    def _consume(self, revealed: Sequence[bytes]) -> None:
        self.relay_height += 1
        genesis = self.world.genesis
        block = RelayBlock.build(
            genesis.hash_suite,
            height=self.relay_height,
            view=self.relay_height,
            time=self.relay_time,
            parent_hash=ZERO_HASH,
            set_id=1,
            genesis_hash=genesis.hash,
            records=(
                *(reveal_record(preimage) for preimage in revealed),
                *(run_decision_record(RunDecisionRecord(records, ())) for records in self._runs_to_commit()),
            ),
        )
        made = self.core.relay_block(block.encode(), self.now)
        # A block is final: it is handed over again after a crash, so here it always arrives.
        self._append(made)
        self._check()

    def _runs_to_commit(self) -> list[tuple[bytes, ...]]:
        """Return some of the last runs over shards whose deadline is not over, prepared or not: the shards know.

        That each is proven is the relay's business, and tested there.
        """
        open_ones = [
            tuple(member.encode() for member in run)
            for run in self._runs_over_shards(self.requests[-8:])
            if min(member.expires_at for member in run) > self.relay_time
        ]
        return [records for records in open_ones if self.decides.random() < 0.8]

    def _runs_over_shards(self, requests: Sequence[_Request]) -> Iterator[list[Transfer]]:
        limits = self.world.genesis.domain(self.world.domain).limits
        for request in requests:
            for start, end, _ in self.slot_map.runs_over_shards(request.columns.heads, limits.run_members_max):
                yield request.transfers[start:end]

    # Restart.

    def _start(self, checkpoints: dict[int, bytes]) -> DomainCore:
        machines: dict[int, ShardMachine] = {}
        for shard in self.world.genesis.domain(self.world.domain).shard_ids():
            state = checkpoints.get(shard)
            machine = (
                ShardMachine(self.world.genesis, shard)
                if state is None
                else ShardMachine.load(self.world.genesis, shard, state)
            )
            replay(machine, self.store.log(shard).read(machine.log_position[0] + 1))
            machines[shard] = machine
        epoch = self.store.epoch() + 1
        self.store.fence(epoch)
        return DomainCore(self.world.genesis, machines, self.slot_map, epoch)

    def _restart(self) -> None:
        from_checkpoint = bool(self.checkpoints) and self.random.random() < 0.7
        self.report.faults["restart_from_checkpoint" if from_checkpoint else "restart_from_log"] += 1
        self.core = self._start(self.checkpoints if from_checkpoint else {})
        self._check()

    # What must hold.

    def _hear(self, request: _Request, reply: BatchReply) -> None:
        folded = [
            (first or code, time)
            for code, first, time in zip(
                reply.codes.tolist(), reply.first_codes.tolist(), reply.times.tolist(), strict=True
            )
        ]
        self.report.transfers += len(folded)
        self.report.codes.update(code_name(code) for code in reply.codes.tolist())
        if request.heard is None:
            request.heard = folded
            return
        for row, (before, after) in enumerate(zip(request.heard, folded, strict=True)):
            self._compare(request, row, before, after)
        request.heard = folded

    def _compare(self, request: _Request, row: int, before: tuple[int, int], after: tuple[int, int]) -> None:
        """Hold two answers together: while its id is known a record keeps its answer, and a no never becomes a yes."""
        was, is_now = MEANINGS[ResultCode(before[0])].code_class, MEANINGS[ResultCode(after[0])].code_class
        burnt_or_done = was is CodeClass.DONE or MEANINGS[ResultCode(before[0])].burns
        # Past its window an id is forgotten; a member of a run then shares the answer of the member that is too old, or
        # of a run that finds no room (LEDGER-86), which is asked before the time.
        over = after[1] > request.transfers[row].expires_at
        forgotten = over and after[0] in _ANSWERS_WHEN_FORGOTTEN
        if burnt_or_done and not forgotten and before != after:
            self._fail(f"record {request.transfers[row].id}: answered {before}, then {after}")
        if was is CodeClass.NO and is_now is CodeClass.DONE:
            self._fail(f"record {request.transfers[row].id}: a no became a yes")

    def _check(self) -> None:
        machines = self.core.machines
        found = check_domain(machines.values())
        # Within a node a round leaves nothing in transit (spec CHANNEL-4).
        found += [
            f"credits from {source} to {peer} did not arrive"
            for source, machine in machines.items()
            for peer in machine.peers
            if machine.channel(peer)[0] != machines[peer].channel(source)[1]
        ]
        found += [
            f"run of record {run[0].id} is {sorted(states)}"
            for run in self._runs_over_shards(self.requests[-20:])
            if len(states := self._states_of(run)) > 1
        ]
        if found:
            self._fail("; ".join(found))

    def _states_of(self, run: Sequence[Transfer]) -> set[str]:
        """Return what the halves of a run are, as far as they are known: never more than one thing (LEDGER-94)."""
        genesis = self.world.genesis
        prefix = run_prefix(genesis.hash_suite, genesis.hash, [member.encode() for member in run])
        states = set()
        for member in run:
            payer, payee = (each.to_bytes(16, "little") for each in (member.debit_account, member.credit_account))
            name = record_digest(genesis.hash_suite, prefix, member.encode())
            home, there = self.slot_map.shard_of(payer), self.slot_map.shard_of(payee)
            channel = channel_account_id(member.ledger, home).to_bytes(16, "little")
            for shard, key in ((home, (payer, member.id.to_bytes(16, "little"))), (there, (channel, name[:16]))):
                half = self.core.machines[shard].ledger.find_pending(*key)
                if half is not None and half[96:128] == name:
                    states.add(_HALVES.get(half[_HALF_STATE], "committed"))
        return states

    def _heal(self) -> None:
        """Faults stop: every request that was never heard is sent until it is."""
        self.late.clear()
        for _ in range(_HEAL_ROUNDS_MAX):
            waiting = [request for request in self.requests if request.heard is None]
            if not waiting:
                return
            for request in waiting:
                self._send(request, faults=False)
        self._fail("requests stayed without an answer after the faults had stopped")

    def _replay(self) -> None:
        """Replay the log from its first record, signatures checked again: it gives the same state."""
        roots = []
        for shard, machine in self.core.machines.items():
            again = ShardMachine(self.world.genesis, shard)
            replay(again, self.store.log(shard).read(1), audit=True)
            if again.state_root() != machine.state_root():
                self._fail(f"shard {shard}: a replay of the log gives another state root")
            roots.append(machine.state_root().hex())
        self.report.state_roots = tuple(roots)

    def _fail(self, what: str) -> None:
        raise SimulationFailed(self.report.seed, self.step, what)
