"""The machine as a subject: real columns, real admin signatures, and the log that its steps would leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.admin import AdminColumns
from engine.batch import BatchColumns
from engine.bodies import encode_admin_body, encode_batch_body, encode_credits_body
from engine.conservation import check_invariants
from engine.genesis import Genesis
from engine.linked_run import RunDecision, contradiction, recorded_decision
from engine.log_record import LogRecord, RecordKind, encode_record
from engine.machine import ShardMachine
from engine.relay_block import RelayBlock, reveal_record, run_decision_record
from engine.run_decision import RunDecisionRecord
from native.codes import ResultCode as Code
from tests.model.admin import AdminAnswer
from tests.model.admin_request import NEW_KEY
from tests.model.hashes import prefix
from tests.model.keyring import sign_with
from tests.model.over_shards import Decision, Held
from tests.model.transfers import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MachineSubject"]

EPOCH = 1


class MachineSubject:
    """``engine.machine.ShardMachine`` behind the interface of scenarios; ``log`` holds its raw records."""

    def __init__(self, document: bytes, shard: int) -> None:
        self.genesis = Genesis.decode(document)
        self.number = shard
        self.machine = ShardMachine(self.genesis, shard)
        self.log: list[bytes] = []
        self.headers: list[bytes] = []
        self._outgoing: list[tuple[int, bytes]] = []
        self._relay_parent = bytes(32)
        self._account_prefix = prefix(self.genesis.hash_suite, self.genesis.hash, "account")

    def apply_batch(
        self, heads: bytes, binding_index: Sequence[int], bindings: bytes, verdicts: Sequence[int], now: int
    ) -> list[Answer]:
        batch = self._columns(heads, binding_index, bindings)
        outcome = self.machine.apply_batch(batch, bytes(verdicts), now)
        self._record(RecordKind.BATCH, encode_batch_body(batch, submitter=0, codes=outcome.codes), now)
        rows = zip(outcome.codes.tolist(), outcome.first_codes.tolist(), outcome.times.tolist(), strict=True)
        return [Answer(Code(code), first, time) for code, first, time in rows]

    def apply_admin(
        self, bodies: bytes, signers: Sequence[tuple[int, int]], verdicts: Sequence[tuple[int, int]], now: int
    ) -> list[AdminAnswer]:
        parts = [bodies[start : start + 160] for start in range(0, len(bodies), 160)]
        signatures = b"".join(
            self._sign(part, signer, verdict)
            for part, pair, said in zip(parts, signers, verdicts, strict=True)
            for signer, verdict in zip(pair, said, strict=True)
        )
        key_ids = np.array(signers, dtype="<u4").tobytes()
        columns = AdminColumns.from_buffers(bodies, key_ids, signatures)
        outcome = self.machine.apply_admin(columns, now)
        self._record(RecordKind.ADMIN, encode_admin_body(columns, codes=outcome.codes), now)
        fields = (outcome.codes, outcome.first_codes, outcome.times, outcome.assigned)
        rows = zip(*(field.tolist() for field in fields), strict=True)
        return [AdminAnswer(Code(code), first, time, key) for code, first, time, key in rows]

    def apply_credits(self, peer: int, messages: bytes, now: int) -> list[Code]:
        codes = self.machine.apply_credits(peer, messages, now)
        self._record(RecordKind.CREDITS, encode_credits_body(peer, messages), now)
        return [Code(code) for code in codes.tolist()]

    def hold_run(
        self, heads: bytes, binding_index: Sequence[int], bindings: bytes, verdicts: Sequence[int], now: int
    ) -> Held:
        self._run = self._columns(heads, binding_index, bindings)
        view = self.machine.hold_run(self._run, bytes(verdicts), now)
        self.view = view
        rows = zip(view.codes.tolist(), view.first_codes.tolist(), view.times.tolist(), strict=True)
        return Held(view.status, view.member, view.code, tuple(rows))

    def decide_run(self, decision: Decision, codes: Sequence[int], now: int) -> None:
        recorded = np.array(codes, dtype=np.uint16)
        assert recorded_decision(recorded) == RunDecision(*decision), "the log says what was decided"
        assert not contradiction(self.view, recorded), "what was decided follows from what was found"
        self.machine.decide_run(RunDecision(*decision))
        self._record(RecordKind.RUN, encode_batch_body(self._run, submitter=0, codes=recorded), now)

    def _columns(self, heads: bytes, binding_index: Sequence[int], bindings: bytes) -> BatchColumns:
        count = len(heads) // 128
        index = np.array(binding_index, dtype="<u4").tobytes()
        return BatchColumns.from_buffers(
            self.machine.domain.domain, bytes(16), heads, bytes(64 * count), index, bindings
        )

    def apply_relay(
        self, height: int, time: int, preimages: Sequence[bytes], now: int, runs: Sequence[Sequence[bytes]] = ()
    ) -> None:
        now = max(now, self.machine.last_time)
        block = RelayBlock.build(
            self.genesis.hash_suite,
            genesis_hash=self.genesis.hash,
            height=height,
            view=0,
            time=time,
            parent_hash=self._relay_parent,
            set_id=1,
            records=[
                *(reveal_record(preimage) for preimage in preimages),
                *(run_decision_record(RunDecisionRecord(tuple(records), ())) for records in runs),
            ],
        )
        self._relay_parent = block.hash(self.genesis.hash_suite)
        self.machine.apply_relay_block(block.encode(), now)
        self._record(RecordKind.RELAY_BLOCK, block.encode(), now)

    def seal(self, now: int) -> bytes:
        record = self._make(RecordKind.SEAL, b"", now)
        header = self.machine.seal(record).header.encode()
        self.log.append(encode_record(record))
        self.headers.append(header)
        return header

    def state_root(self) -> bytes:
        return self.machine.state_root()

    def subtree_roots(self) -> dict[str, bytes]:
        return self.machine.subtree_roots()

    def accounts(self) -> dict[int, bytes]:
        return {account.id: account.encode() for account in self.machine.accounts()}

    def take_outgoing(self) -> list[tuple[int, bytes]]:
        self._collect()
        messages, self._outgoing = self._outgoing, []
        return sorted(messages, key=lambda each: (each[0], each[1][:8][::-1]))

    def check_invariants(self) -> list[str]:
        return check_invariants(self.machine)

    def round_trip(self) -> None:
        """Right after a seal: leave through a checkpoint and come back; the bytes are canonical."""
        self._collect()
        data = self.machine.export()
        self.machine = ShardMachine.load(self.genesis, self.number, data)
        assert self.machine.export() == data, "the same state gives the same bytes"

    def _collect(self) -> None:
        for peer, messages in self.machine.take_outgoing():
            data = bytes(messages)
            self._outgoing += [(peer, data[start : start + 128]) for start in range(0, len(data), 128)]

    def _sign(self, body: bytes, signer: int, verdict: int) -> bytes:
        if not verdict or not signer:
            return bytes(64)
        if signer == NEW_KEY:
            return sign_with(body[96:160], self._account_prefix + body)
        key = self.machine.parties.key(signer)
        return sign_with(key.public_key, self._account_prefix + body) if key else bytes(64)

    def _make(self, kind: RecordKind, body: bytes, now: int) -> LogRecord:
        number, previous = self.machine.log_position
        return LogRecord.make(
            suite=self.genesis.hash_suite,
            genesis_hash=self.genesis.hash,
            shard=self.number,
            epoch=EPOCH,
            number=number + 1,
            time=now,
            kind=kind,
            previous_hash=previous,
            body=body,
        )

    def _record(self, kind: RecordKind, body: bytes, now: int) -> None:
        record = self._make(kind, body, now)
        self.machine.record_applied(record)
        self.log.append(encode_record(record))
