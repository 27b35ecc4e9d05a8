"""The model's shard: log records go in one by one; codes, messages, headers and roots come out."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.accounts import CHANNEL
from tests.model.admin import AdminAnswer, decide_admin
from tests.model.anchors import PROVED_CREDITS, check_proved, note_anchors
from tests.model.credits import Message, receive
from tests.model.effects import credit_side, release
from tests.model.hashes import hasher, prefix, run_prefix, tree_root
from tests.model.invariants import broken_invariants
from tests.model.log_record import ADMIN, BATCH, CREDITS, RELAY, RUN, SEAL, LogHead
from tests.model.over_shards import Decision, Held, drop, hold
from tests.model.pendings import EXPIRED, HOLD_EXPIRED
from tests.model.relay import consume
from tests.model.roots import SLOT_MAP_VERSION, state_root, subtree_roots
from tests.model.rules import give_back
from tests.model.runs import decide_run, split_runs
from tests.model.state import Block, State
from tests.model.transfers import Answer, decide_alone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.model.anchors import ProvedBody
    from tests.model.genesis import ModelGenesis
    from tests.model.pendings import Pending

__all__ = ["ModelShard"]


class ModelShard:
    """One shard; every ``apply_…`` and ``seal`` is one log record.

    Without a log the shard writes the headers of its records itself (epoch 1, body hash over ``body``); replay hands
    the recorded ones in with ``next_record`` before each step.
    """

    def __init__(self, genesis: ModelGenesis, shard: int) -> None:
        self.genesis = genesis
        self.shard = shard
        self.state = State(genesis, shard)
        self.epoch = 1
        self.number = 0
        self.record_hash = bytes(32)
        self.height = 0
        self.header_hashes: list[bytes] = []
        self.block_first = (0, bytes(32))
        self._recorded: LogHead | None = None
        self._prefix = prefix(genesis.suite, genesis.genesis_hash, "transfer")
        self._hash = hasher(genesis.suite)

    # The log records.

    def next_record(self, head: LogHead) -> None:
        """Say which recorded log record the next step is."""
        self._recorded = head

    def apply_batch(
        self,
        heads: bytes,
        binding_index: Sequence[int],
        bindings: bytes,
        verdicts: Sequence[int],
        now: int,
        body: bytes = b"",
    ) -> list[Answer]:
        """Answer n records: heads n x 128, bindings m x 32 for the records that binding_index names."""
        self._begin(BATCH, body, now)
        transfers, digests = self._read(heads, binding_index, bindings)
        answers: list[Answer] = []
        for start, end, linked in split_runs([t.flags for t in transfers]):
            if linked:
                part = slice(start, end)
                answers += decide_run(self.state, transfers[part], digests[part], verdicts[part], now)
            else:
                answers.append(decide_alone(self.state, transfers[start], digests[start], verdicts[start], now))
        self._end()
        return answers

    def apply_admin(
        self,
        bodies: bytes,
        signers: Sequence[tuple[int, int]],
        verdicts: Sequence[tuple[int, int]],
        now: int,
        body: bytes = b"",
    ) -> list[AdminAnswer]:
        """Answer n requests: bodies n x 160, a pair of signers and of verdicts each."""
        self._begin(ADMIN, body, now)
        parts = [bodies[start : start + 160] for start in range(0, len(bodies), 160)]
        answers = [
            decide_admin(self.state, part, signer, verdict, now)
            for part, signer, verdict in zip(parts, signers, verdicts, strict=True)
        ]
        self._end()
        return answers

    def apply_credits(self, peer: int, messages: bytes, now: int, body: bytes = b"", kind: int = CREDITS) -> list[Code]:
        """Apply k messages of 128 bytes from one peer."""
        self._begin(kind, body, now)
        parts = [messages[start : start + 128] for start in range(0, len(messages), 128)]
        codes = [receive(self.state, peer, Message.unpack(part), now) for part in parts]
        self._end()
        return codes

    def apply_proved(self, proved: ProvedBody, now: int) -> list[Code]:
        """Apply credits of a shard on another node, once an anchored header proves them."""
        check_proved(self.state, proved)
        return self.apply_credits(proved.source, proved.messages, now, kind=PROVED_CREDITS)

    def apply_relay(
        self,
        height: int,
        time: int,
        preimages: Sequence[bytes],
        now: int,
        runs: Sequence[Sequence[bytes]] = (),
        body: bytes = b"",
        anchored: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        """Consume the relay block of this height; ``runs`` are the records of each run that it commits.

        ``anchored``: what it says of shards' headers, in order.
        """
        now = max(self.state.last_time, now)
        self._begin(RELAY, body, now)
        consume(self.state, height, time, preimages, now, [self._run_name(records) for records in runs])
        note_anchors(self.state, list(anchored))
        self._end()

    def hold_run(
        self, heads: bytes, binding_index: Sequence[int], bindings: bytes, verdicts: Sequence[int], now: int
    ) -> Held:
        """Prepare the halves of a run over shards that are here; ``decide_run`` is the other half of the log record."""
        assert now >= self.state.last_time, "time never decreases"
        self.state.last_time = now
        self._sweep(now)
        transfers, digests = self._read(heads, binding_index, bindings)
        run = self._run_name([t.pack() for t in transfers])
        held, self._kept = hold(self.state, transfers, digests, verdicts, run, now)
        return held

    def decide_run(self, decision: Decision, now: int, body: bytes = b"") -> None:
        """Keep what was prepared, or take it back and refuse a member."""
        self._head(RUN, body, now)
        if not decision.keeps:
            drop(self.state, self._kept, decision, now)
        self._end()

    def _run_name(self, records: Sequence[bytes]) -> bytes:
        """T_run."""
        deadline = min(int.from_bytes(record[96:104], "little") for record in records)
        return run_prefix(self.genesis.suite, self.genesis.genesis_hash, records, deadline)

    def seal(self, now: int) -> bytes:
        """End the block; returns its header's bytes."""
        self._begin(SEAL, b"", now)
        self._end()
        header = self._header()
        self.height += 1
        self.header_hashes.append(self._hash(header))
        self.state.block = Block()
        self.block_first = (0, bytes(32))
        return header

    # What can be asked.

    def state_root(self) -> bytes:
        return state_root(self.state)

    def subtree_roots(self) -> dict[str, bytes]:
        return subtree_roots(self.state)

    def decisions_root(self) -> bytes:
        return tree_root(self.genesis.suite, self.state.block.leaves)

    def outgoing_root(self) -> bytes:
        return tree_root(self.genesis.suite, [message for _, message in self.outgoing()])

    def outgoing(self) -> list[tuple[int, bytes]]:
        """The messages of the block so far, as (peer, bytes) in order of (peer, sequence)."""
        ordered = sorted(self.state.block.outgoing, key=lambda each: (each[0], each[1].sequence))
        return [(peer, message.pack()) for peer, message in ordered]

    def accounts(self) -> dict[int, bytes]:
        """Every account's leaf by id, in order of registration."""
        return {id_: account.leaf() for id_, account in self.state.accounts.items()}

    def check_invariants(self) -> list[str]:
        return broken_invariants(self.state)

    # How a log record begins and ends.

    def _begin(self, kind: int, body: bytes, now: int) -> None:
        assert now >= self.state.last_time, "time never decreases"
        self._head(kind, body, now)
        self.state.last_time = now
        self._sweep(now)

    def _head(self, kind: int, body: bytes, now: int) -> None:
        head = self._recorded or LogHead.build(
            kind=kind,
            shard=self.shard,
            epoch=self.epoch,
            number=self.number + 1,
            time=now,
            genesis_hash=self.genesis.genesis_hash,
            previous=self.record_hash,
            body=body,
            suite=self.genesis.suite,
        )
        self._recorded = None
        assert (head.kind, head.number, head.time) == (kind, self.number + 1, now), "the record is of this step"
        self.number, self.epoch, self.record_hash = head.number, head.epoch, self._hash(head.data)
        if not self.block_first[0]:
            self.block_first = (self.number, self.record_hash)

    def _sweep(self, now: int) -> None:
        """LEDGER-30."""
        state = self.state
        state.ids.drop(now)
        state.admin_ids.drop(now)
        state.pendings.drop(now)
        for _ in range(self.genesis.limits.expire_per_batch_max):
            pending = state.pendings.take_due(now)
            if pending is None:
                return
            self._expire(pending, now)

    def _expire(self, pending: Pending, now: int) -> None:
        state, t = self.state, pending.transfer
        release(state, state.accounts[t.debit_account], credit_side(state, t), t.amount)
        held = pending.held
        state.pendings.end(pending, HOLD_EXPIRED if held else EXPIRED, 0, now, state.window_ns(t.ledger))
        state.leaf(pending.digest, now, Code.HOLD_EXPIRED if held else Code.EXPIRED_BY_TIMEOUT)
        give_back(state, pending)

    def _end(self) -> None:
        self.state.ids.fold()
        self.state.admin_ids.fold()
        self.state.pendings.fold()

    # What stands in a batch and in a header.

    def _read(
        self, heads: bytes, binding_index: Sequence[int], bindings: bytes
    ) -> tuple[list[r.Transfer], list[bytes]]:
        """The records of a batch and their digests (RECORD-1 to RECORD-3)."""
        by_index = {index: bindings[32 * i : 32 * i + 32] for i, index in enumerate(binding_index)}
        records = [heads[128 * i : 128 * i + 128] + by_index.get(i, r.ZERO_BINDING) for i in range(len(heads) // 128)]
        transfers = [r.Transfer.unpack(each[:128], each[128:]) for each in records]
        digests: list[bytes] = []
        for start, end, linked in split_runs([t.flags for t in transfers]):
            signed_under = self._prefix
            if linked:
                signed_under = self._run_name(records[start:end])
            digests += [self._hash(signed_under + each) for each in records[start:end]]
        return transfers, digests

    def _header(self) -> bytes:
        state, genesis = self.state, self.genesis
        peers = sorted(state.channels)
        parent = self.header_hashes[-1] if self.header_hashes else bytes(32)
        counts = (len(state.block.leaves), len(state.block.outgoing), len(state.accounts))
        fixed = struct.pack(
            "<4sHHII6QIHH3Q",
            b"CSBH", 1, genesis.suite, self.shard, self.epoch, self.height + 1, self.block_first[0], self.number,
            state.last_time, state.relay_height, state.relay_time, SLOT_MAP_VERSION, len(peers), len(genesis.ledgers),
            *counts,
        )  # fmt: skip
        roots = (
            genesis.genesis_hash, parent, self.block_first[1], self.record_hash, self.decisions_root(),
            self.state_root(), self.outgoing_root(), tree_root(genesis.suite, self.header_hashes),
        )  # fmt: skip
        channels = [struct.pack("<I4xQQ", p, state.channels[p].sent, state.channels[p].received) for p in peers]
        return b"".join([fixed, *roots, bytes(64), *channels, *map(self._ledger_entry, state.totals)])

    def _ledger_entry(self, ledger: int) -> bytes:
        totals = self.state.totals[ledger]
        mine = [a for a in self.state.accounts.values() if a.ledger == ledger and a.flags & CHANNEL]
        sums = (
            totals.debits_pending,
            totals.debits_posted,
            sum(a.credits_pending + a.credits_posted for a in mine),
            sum(a.debits_pending + a.debits_posted for a in mine),
        )
        return struct.pack("<I4x", ledger) + b"".join(map(r.u128, sums)) + bytes(8)
