"""One domain on several nodes under faults, from a seed: credits travel with proof, under a relay that anchors late.

After each step the books balance across all nodes and nothing arrived that was not sent. At the end faults stop: every
request is answered, every credit has landed or returned exactly once, balances are what the answers say, and the logs
replayed from their first record give the same state. Nodes that lie in what they offer are refused, and leave no trace.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from clearspan.simulation.anchoring import AnchoringRelay
from clearspan.simulation.lies import LIES
from clearspan.simulation.served_node import ServedNode
from clearspan.simulation.world import START, World
from engine.block import Decision
from engine.bodies import decode_credits_body
from engine.codes import MEANINGS, CodeClass, ResultCode, code_name
from engine.conservation import check_domain
from engine.genesis import GenesisLimits
from engine.log import RecordKind
from engine.machine import ShardMachine
from engine.outgoing import Outgoing
from engine.proved_credits import ProvedCredits
from engine.replay import replay
from engine.types import CREDIT_BYTES, DECISION_BYTES, NS_PER_S, TransferFlag, TransferKind
from native.hashing import digest
from shards.domain import AdminJob, BatchJob, BatchReply, CreditsJob, CreditsReply, RelayJob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.batch import BatchColumns
    from engine.bodies import CreditsBody
    from engine.record import Transfer
    from shards.neighbours import CreditsWanted

__all__ = ["FAULTS", "REACHED", "NodesFailed", "NodesReport", "simulate_nodes"]

FAULTS: Final = (
    "request_lost",
    "request_doubled",
    "reply_lost",
    "offer_lost",
    "offer_doubled",
    "offer_late",
    "offer_out_of_date",
    "anchored_late",
    "crash_before_commit",
    "crash_after_commit",
    "restart_from_checkpoint",
    "restart_from_log",
    "restart_without_blocks",
    "lie_other_peer",
    *LIES,
)
REACHED: Final = ("created", "created_in_transit", "credited", "returned", "claimed", "refunded")
"""Decisions that a hundred seeds must reach between them, or they prove nothing of these."""

_STEPS: Final = 120
_HEAL_ROUNDS_MAX: Final = 60
_MS: Final = 1_000_000
_ISSUED: Final = 10_000


class NodesFailed(AssertionError):  # noqa: N818 - a verdict, not an error of the program
    """What did not hold, and the call that shows it again."""

    def __init__(self, seed: int, step: int, what: str) -> None:
        super().__init__(f"{what} (step {step}); again: clearspan.simulation.nodes.simulate_nodes({seed})")
        self.seed = seed
        self.step = step
        self.what = what


@dataclass(slots=True)
class NodesReport:
    """What a run reached."""

    seed: int
    nodes: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    proved_records: int = 0
    proved_credits: int = 0
    state_roots: tuple[str, ...] = ()


@dataclass(slots=True)
class _Request:
    """A batch that a client sends to the nodes until it has heard of each record: the code, folded, or 0."""

    transfers: list[Transfer]
    columns: BatchColumns
    heard: list[int]


def simulate_nodes(seed: int, at_end: Callable[[Sequence[ServedNode]], None] | None = None) -> NodesReport:
    """Run one seed; raises NodesFailed naming what did not hold. ``at_end`` sees the nodes when all is over."""
    run = _Run(seed)
    report = run.run()
    if at_end is not None:
        at_end(run.nodes)
    return report


class _Run:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a simulation wants its chance again, not secrecy
        self.report = NodesReport(seed)
        shards = self.random.choice((2, 3, 3, 4))
        self.world = World.make(
            seed,
            shards=shards,
            banks=3,
            accounts=3,
            hash_suite=self.random.choice((1, 1, 2)),
            limits=GenesisLimits(run_members_max=8),
        )
        self.relay = AnchoringRelay(self.world.genesis)
        self.nodes = self._make_nodes(shards)
        self.report.nodes = len(self.nodes)
        # Locks end by the relay, so that no answer says how: the balances are then not foretold.
        self.with_locks = self.random.random() < 0.5
        self.requests: list[_Request] = []
        self.preimages: list[bytes] = []
        self.late: deque[tuple[int, ServedNode, int, bytes]] = deque()
        self.now = START + NS_PER_S
        self.step = 0

    def _make_nodes(self, shards: int) -> list[ServedNode]:
        """Give the shards out to two or three nodes, each at least one."""
        ids = list(self.world.genesis.domain(self.world.domain).shard_ids())
        count = self.random.choice((2, 3)) if shards > 2 else 2
        self.random.shuffle(ids)
        groups = [sorted(ids[index::count]) for index in range(count)]
        outbox_max = self.random.choice((2, 8_192))
        return [ServedNode(self.world, tuple(group), self.relay.publish, outbox_max) for group in groups]

    def run(self) -> NodesReport:
        """Bring everybody in, then go through faults, then heal and hold the end against the answers and a replay."""
        for columns in self.world.setup:
            for node in self.nodes:
                node.commit(node.core.run([AdminJob(columns)], self.now, seal=False))
        for account, _ in self.world.accounts:
            for batch in self.world.issue(account, _ISSUED, self.now):
                self._request([batch.transfer(0)], batch)
        for self.step in range(1, _STEPS + 1):
            self.now += self.random.randrange(1, 300 * _MS)
            self._one_step(self.random.choice(self.nodes))
            self._check()
        self._heal()
        self._check_channels()
        if not self.with_locks:
            self._check_balances()
        self._replay()
        return self.report

    # Steps.

    def _one_step(self, node: ServedNode) -> None:
        while self.late and self.late[0][0] <= self.step:
            _, to, destination, offer = self.late.popleft()
            self._deliver(to, destination, offer, faults=True)
        choice = self.random.random()
        if choice < 0.16:
            transfers = self._some_transfers()
            self._request(transfers, self.world.signed(transfers, self.random.randbytes(16)))
        elif choice < 0.20 and self.requests:
            self.report.faults["request_doubled"] += 1
            self._send(self.random.choice(self.requests), node, faults=True)
        elif choice < 0.36:
            self._seal(node, faults=True)
        elif choice < 0.54:
            self._anchor(faults=True)
        elif choice < 0.74:
            self._consume(node, faults=True)
        else:
            self._exchange(node, faults=True)

    def _request(self, transfers: list[Transfer], columns: BatchColumns) -> None:
        request = _Request(transfers, columns, [0] * columns.count)
        self.requests.append(request)
        for node in self.nodes:
            self._send(request, node, faults=self.step > 0)

    def _some_transfers(self) -> list[Transfer]:
        return [self._some_transfer() for _ in range(self.random.randrange(1, 12))]

    def _some_transfer(self) -> Transfer:
        pick, world = self.random, self.world
        (debit, key), (credit, _) = pick.sample(world.accounts, 2)
        if pick.random() < 0.15:
            # Nobody's account: from another shard it must come back.
            credit = (credit >> 96 << 96) | pick.randrange(1_000, 2_000)
        plain = world.transfer(debit, credit, pick.choice((1, 7, 100, 2_500, 9_000)), key, self.now)
        chance = pick.random()
        open_ones = [
            one
            for request in self.requests[-8:]
            for one in request.transfers
            if one.flags & 0x0F == TransferKind.PENDING and one.key_id != world.issuer_keys[0]
        ]
        if chance < 0.15:
            either = TransferFlag.PAYER_MAY_POST | TransferFlag.PAYER_MAY_VOID
            return replace(plain, flags=int(TransferKind.PENDING | either))
        if chance < 0.30 and open_ones:
            pending = pick.choice(open_ones)
            kind = pick.choice((TransferKind.POST, TransferKind.POST, TransferKind.VOID))
            part = pending.amount if kind == TransferKind.VOID else pick.randint(1, pending.amount)
            fields = {"id": world.next_id(), "reference": pending.id, "amount": part, "flags": int(kind)}
            return replace(pending, **fields, expires_at=plain.expires_at)  # type: ignore[arg-type]
        if chance < 0.40 and self.with_locks:
            self.preimages.append(pick.randbytes(32))
            until = self.now + pick.randrange(6, 12) * NS_PER_S
            return replace(plain, flags=int(TransferKind.LOCK), until=until, binding=digest(1, self.preimages[-1]))
        return plain

    # The road between client and node.

    def _send(self, request: _Request, node: ServedNode, *, faults: bool) -> None:
        chance = self.random.random() if faults else 1.0
        if chance < 0.06:
            self.report.faults["request_lost"] += 1
            return
        job = node.core.split(request.columns, submitter=1)
        for part in job.parts:
            node.core.verify(part)
        replies = self._round(node, [job], faults=faults)
        if replies is None:
            return
        if chance < 0.12:
            self.report.faults["reply_lost"] += 1
            return
        reply = replies[0]
        assert isinstance(reply, BatchReply)
        self._hear(request, node, reply)

    def _hear(self, request: _Request, node: ServedNode, reply: BatchReply) -> None:
        owners = node.slot_map.shards(request.columns.heads).tolist()
        folded = [first or code for code, first in zip(reply.codes.tolist(), reply.first_codes.tolist(), strict=True)]
        for row, (owner, code) in enumerate(zip(owners, folded, strict=True)):
            if (owner not in node.shards) != (code == ResultCode.SHARD_AWAY):
                self._fail(f"shard {owner:#x} is here or away, and the answer says {code_name(code)}")
            if code == ResultCode.SHARD_AWAY:
                continue
            self.report.codes[code_name(code)] += 1
            before = request.heard[row]
            known = before and (MEANINGS[ResultCode(before)].burns or _is_done(before))
            if known and before != code:
                self._fail(f"record {request.transfers[row].id}: answered {code_name(before)}, then {code_name(code)}")
            request.heard[row] = code

    def _round(
        self, node: ServedNode, jobs: list[BatchJob | CreditsJob | RelayJob], *, faults: bool, seal: bool = False
    ) -> list[object] | None:
        """Run one round and make it durable; None when a crash left nobody with an answer."""
        made = node.core.run(jobs, self.now, seal=seal)
        chance = self.random.random() if faults else 1.0
        if chance < 0.04:
            self.report.faults["crash_before_commit"] += 1
            self._restart(node)
            return None
        node.commit(made)
        for block in made.sealed:
            leaves = block.decision_leaves
            for at in range(0, len(leaves), DECISION_BYTES):
                self.report.decisions[code_name(Decision.decode(leaves[at : at + DECISION_BYTES]).code)] += 1
        if chance < 0.08:
            self.report.faults["crash_after_commit"] += 1
            self._restart(node)
            return None
        return list(made.replies)

    def _restart(self, node: ServedNode) -> None:
        chance = self.random.random()
        how = "restart_without_blocks" if chance < 0.3 else "restart_from_log"
        if chance > 0.6 and node.checkpoints:
            how = "restart_from_checkpoint"
        self.report.faults[how] += 1
        node.start(from_checkpoint=how == "restart_from_checkpoint", without_blocks=how == "restart_without_blocks")

    def _seal(self, node: ServedNode, *, faults: bool) -> None:
        if self._round(node, [], faults=faults, seal=True) is not None and self.random.random() < 0.5:
            node.take_checkpoint()

    # The relay.

    def _anchor(self, *, faults: bool) -> None:
        """Make a relay block with some shards' headers, not always the newest ones, and perhaps a reveal."""
        heights = []
        for shard, published in sorted(self.relay.published.items()):
            lowest, newest = self.relay.anchored_height(shard) + 1, len(published)
            if newest < lowest:
                continue
            if faults and self.random.random() < 0.3:
                self.report.faults["anchored_late"] += 1
                continue
            heights.append((shard, self.random.randint(lowest, newest) if faults else newest))
        revealed = [self.random.choice(self.preimages)] if self.preimages and self.random.random() < 0.3 else []
        waiting = self.relay.step(heights, self.now, revealed)
        if waiting and not faults:
            self._fail(f"headers of shards {waiting} wait, and everybody's newest are offered")

    def _consume(self, node: ServedNode, *, faults: bool) -> None:
        """Let a node consume the relay blocks that it has not, or some of them."""
        blocks = self.relay.blocks[node.core.relay_height :]
        if blocks:
            count = self.random.randint(1, len(blocks)) if faults else len(blocks)
            self._round(node, [RelayJob(tuple(blocks[:count]))], faults=faults)

    # The road between nodes.

    def _exchange(self, node: ServedNode, *, faults: bool) -> None:
        """Let a node ask the others for what anchored headers say was sent to it."""
        for wanted in node.core.wanted():
            giver = next(each for each in self.nodes if wanted.source in each.shards)
            offered = giver.outbox.outgoing_since(wanted)
            if offered is None:
                self._fail(f"{wanted} was anchored, and its node has nothing")
                return
            chance = self.random.random() if faults else 1.0
            if faults and self.random.random() < 0.5:
                self._lie(node, giver, wanted, offered)
            if chance < 0.1:
                self.report.faults["offer_lost"] += 1
                continue
            if chance < 0.2:
                self.report.faults["offer_late"] += 1
                due = self.step + self.random.randrange(1, 8)
                self.late.append((due, node, wanted.destination, offered.encode()))
                continue
            self._deliver(node, wanted.destination, offered.encode(), faults=faults)
            if chance < 0.3:
                self.report.faults["offer_doubled"] += 1
                self._deliver(node, wanted.destination, offered.encode(), faults=faults)

    def _deliver(self, node: ServedNode, destination: int, offer: bytes, *, faults: bool) -> None:
        """Hand an honest offer over; one that comes again or under an older anchor is refused by its place alone."""
        offered = ProvedCredits.decode(offer)
        replies = self._round(node, [CreditsJob(destination, offered)], faults=faults)
        if replies is None:
            return
        reply = replies[0]
        assert isinstance(reply, CreditsReply)
        if reply.refused is None:
            self.report.proved_records += 1
            self.report.proved_credits += reply.taken
        elif reply.refused.step in ("sequence_known", "sequence_other", "not_anchored"):
            self.report.faults["offer_out_of_date"] += 1
        else:
            self._fail(f"an honest offer was refused: {reply.refused}")

    def _lie(self, node: ServedNode, giver: ServedNode, wanted: CreditsWanted, offered: ProvedCredits) -> None:
        """Offer something false where the truth would be taken."""
        machine = node.core.machines[wanted.destination]
        machine.check_credits(offered)
        name = self.random.choice((*LIES, "lie_other_peer"))
        if name == "lie_other_peer":
            others = [each for each in machine.peers if each != wanted.source]
            lie = None
            if others:
                other = replace(wanted, destination=self.random.choice(others))
                lie = giver.outbox.outgoing_since(other)
        else:
            lie = LIES[name](self.random, offered, wanted.destination)
        if lie is None or lie == offered:
            return
        before, root = node.positions(), machine.state_root()
        made = node.core.run([CreditsJob(wanted.destination, lie)], self.now, seal=False)
        reply = made.replies[0]
        assert isinstance(reply, CreditsReply)
        if reply.refused is None or made.records or node.positions() != before or machine.state_root() != root:
            self._fail(f"{name} was taken, or left a trace")
        self.report.faults[name] += 1

    # What must hold.

    def _machines(self) -> dict[int, ShardMachine]:
        return {shard: machine for node in self.nodes for shard, machine in node.core.machines.items()}

    def _check(self) -> None:
        found = check_domain(self._machines().values())
        if found:
            self._fail("; ".join(found))

    def _heal(self) -> None:
        """Faults stop: requests are sent until they are heard, and the relay anchors until nothing is in transit."""
        self.late.clear()
        for _ in range(_HEAL_ROUNDS_MAX):
            self.now += 200 * _MS
            for request in self.requests:
                if not all(request.heard):
                    for node in self.nodes:
                        self._send(request, node, faults=False)
            for node in self.nodes:
                self._seal(node, faults=False)
            self._anchor(faults=False)
            for node in self.nodes:
                self._consume(node, faults=False)
                self._exchange(node, faults=False)
            self._check()
            if self._quiet():
                return
        self._fail("requests stayed unanswered, or credits in transit, after the faults had stopped")

    def _quiet(self) -> bool:
        machines = self._machines()
        arrived = all(
            machine.channel(peer)[0] == machines[peer].channel(shard)[1]
            for shard, machine in machines.items()
            for peer in machine.peers
        )
        return arrived and all(all(request.heard) for request in self.requests)

    def _check_channels(self) -> None:
        """Hold what each log took against what the blocks of its peers sent: the same messages, once, in order."""
        for node in self.nodes:
            node.commit(node.core.run([], self.now, seal=True))
        sent: dict[tuple[int, int], bytes] = {}
        for node in self.nodes:
            for (shard, _), block in sorted(node.blocks.blocks.items()):
                for peer, messages in Outgoing.decode(block.outgoing).channels:
                    sent[shard, peer] = sent.get((shard, peer), b"") + messages
        taken: dict[tuple[int, int], bytes] = {}
        for node in self.nodes:
            for shard in node.shards:
                for record in node.store.log(shard).read(1):
                    body: CreditsBody | ProvedCredits
                    if record.kind is RecordKind.CREDITS:
                        body = decode_credits_body(record.body)
                    elif record.kind is RecordKind.PROVED_CREDITS:
                        body = ProvedCredits.decode(record.body)
                    else:
                        continue
                    away = body.source not in node.shards
                    if away != (record.kind is RecordKind.PROVED_CREDITS):
                        self._fail(f"credits of shard {body.source:#x} came without proof, or with one for nothing")
                    taken[body.source, shard] = taken.get((body.source, shard), b"") + body.messages
        if sent != taken:
            counts = {each: (len(sent.get(each, b"")) // CREDIT_BYTES, len(taken.get(each, b"")) // CREDIT_BYTES)
                      for each in sorted({*sent, *taken})}  # fmt: skip
            self._fail(f"sent and taken differ: {counts}")

    def _check_balances(self) -> None:
        """Hold every account against what the answers say: moved where it can land, at home where it cannot."""
        machines, slot_map = self._machines(), self.nodes[0].slot_map
        known = {account for account, _ in self.world.accounts}
        expected = dict.fromkeys(known, 0)
        for request in self.requests:
            for transfer, code in zip(request.transfers, request.heard, strict=True):
                kind = transfer.flags & 0x0F
                moves = kind in (TransferKind.PLAIN, TransferKind.POST) and transfer.credit_account in known
                if not moves or not _is_done(code):
                    continue
                expected[transfer.credit_account] += transfer.amount
                if transfer.debit_account in known:
                    expected[transfer.debit_account] -= transfer.amount
        for account_id, balance in expected.items():
            shard = slot_map.shard_of(account_id.to_bytes(16, "little"))
            account = machines[shard].find_account(account_id)
            found = None if account is None else account.credits_posted - account.debits_posted
            if found != balance:
                self._fail(f"account {account_id:#x} holds {found}, and the answers say {balance}")

    def _replay(self) -> None:
        """Replay the logs from their first record, signatures checked again: they give the same state."""
        roots = []
        for node in self.nodes:
            for shard, machine in node.core.machines.items():
                again = ShardMachine(self.world.genesis, shard)
                replay(again, node.store.log(shard).read(1), audit=True)
                if again.state_root() != machine.state_root():
                    self._fail(f"shard {shard:#x}: a replay of the log gives another state root")
                roots.append(machine.state_root().hex())
        self.report.state_roots = tuple(roots)

    def _fail(self, what: str) -> None:
        raise NodesFailed(self.report.seed, self.step, what)


def _is_done(code: int) -> bool:
    return MEANINGS[ResultCode(code)].code_class is CodeClass.DONE
