"""The calls of the service: shape, access to single accounts, the node, the reply. What they mean is the node's.

Handlers get a peer that may make the call and raw bytes. A batch that reached the node is decided even if its caller
goes away: the caller's wait is given up, the work is not, and it counts against the peer's limit until it is done.
"""

from __future__ import annotations

import asyncio
import struct
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from clearspan.roles import Rpc
from clearspan.service.calls import parse
from clearspan.service.channels import ChannelHandlers
from clearspan.service.finality import FinalityHandlers, durability_now, relay_standing
from clearspan.service.inspection import Inspection
from clearspan.service.requests import (
    ACCOUNT_ID_BYTES,
    ADMIN_COUNT_MAX,
    account_columns,
    account_participants,
    admin_participants,
    batch_columns,
    batch_participants,
    check_domain,
    check_version,
    column,
    count_of,
    transfer_columns,
)
from clearspan.status import refuse
from clearspan.v1 import clearspan_pb2
from engine.admin import AdminColumns
from engine.record import participant_of_account
from engine.types import HASH_BYTES
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from clearspan.config import LimitsSection
    from clearspan.ports import AdminReply, BatchReply, SettlementNode, TransferEntry
    from clearspan.service.calls import Call
    from clearspan.service.peers import PeerTable

__all__ = ["SettlementHandlers"]

_CURSOR_BYTES_MAX: Final = 64
_BATCH_ID_BYTES: Final = 16
_NS_PER_MS: Final = 1_000_000

Result = TypeVar("Result")


@dataclass(slots=True)
class SettlementHandlers:
    """Every call but the batch stream and the block stream answers one message with one message, both as bytes."""

    node: SettlementNode
    peers: PeerTable
    limits: LimitsSection
    software: str
    draining: bool = False
    _durability: clearspan_pb2.Durability = field(init=False)
    _shards: frozenset[int] = field(init=False)
    _started_ns: int = field(init=False, default_factory=time.monotonic_ns)
    _running: set[asyncio.Task[Any]] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """Ask the node for what does not change while it runs."""
        status = self.node.status()
        number = clearspan_pb2.Durability.Value(f"DURABILITY_{status.durability.upper()}")
        self._durability = cast("clearspan_pb2.Durability", number)
        self._shards = frozenset(shard.shard for shard in status.shards)

    def unary(self) -> dict[Rpc, Callable[[Call, bytes], Awaitable[bytes]]]:
        """Return the calls that answer one message with one."""
        return {
            Rpc.SUBMIT: self.submit,
            Rpc.ADMINISTER: self.administer,
            Rpc.LOOKUP_ACCOUNTS: self.lookup_accounts,
            Rpc.LOOKUP_TRANSFERS: self.lookup_transfers,
            Rpc.STATEMENT: self.statement,
            Rpc.GET_DECISION_PROOF: self.get_decision_proof,
            Rpc.GET_STATUS: self.get_status,
            Rpc.GET_GENESIS: self.get_genesis,
            **FinalityHandlers(self.node, self.limits).unary(),
            **ChannelHandlers(self.node).unary(),
            Rpc.INSPECT: Inspection(self).inspect,
        }

    async def drain(self) -> None:
        """Take no more batches and wait until those that were taken are decided."""
        self.draining = True
        while self._running:
            await asyncio.wait(set(self._running))

    # What the node decides.

    async def submit(self, call: Call, content: bytes) -> bytes:
        """Settle one batch."""
        request = parse(clearspan_pb2.SubmitRequest, content)
        reply = await self.settle(call, request)
        return reply.SerializeToString()

    async def settle(self, call: Call, request: clearspan_pb2.SubmitRequest) -> clearspan_pb2.SubmitReply:
        """Check a batch and have it decided. Up to the hand-over to the node nothing is awaited, so order is kept."""
        check_version(request.version)
        check_domain(request.domain, self.node.domain)
        batch = batch_columns(request)
        if not call.peer.identity.may_submit(*batch_participants(batch)):
            raise refuse(ResultCode.ROLE_REFUSED, "a record of the batch is not of the caller's own accounts")
        call.notes.update(batch=batch.batch_id.hex(), count=batch.count)
        answer = await self._hand_over(call, lambda: self.node.submit(batch, submitter=call.peer.identity.participant))
        codes, first_codes, times = _decisions(answer)
        return clearspan_pb2.SubmitReply(
            batch_id=batch.batch_id,
            codes=codes,
            first_codes=first_codes,
            times=times,
            durability=self._durability,
            sequence=request.sequence,
        )

    async def administer(self, call: Call, content: bytes) -> bytes:
        """Decide admin requests."""
        request = parse(clearspan_pb2.AdministerRequest, content)
        self._check(request)
        if request.batch_id and len(request.batch_id) != _BATCH_ID_BYTES:
            raise refuse(ResultCode.BATCH_MALFORMED, f"batch_id has {len(request.batch_id)} bytes, not 16")
        columns = AdminColumns.from_buffers(request.bodies, request.signer_key_ids, request.signatures)
        if columns.count > ADMIN_COUNT_MAX:
            raise refuse(ResultCode.BATCH_TOO_LARGE, f"{columns.count} requests, at most {ADMIN_COUNT_MAX} are taken")
        if not call.peer.identity.may_administer(*admin_participants(columns)):
            raise refuse(ResultCode.ROLE_REFUSED, "a request is not of the caller's own participant")
        call.notes.update(batch=request.batch_id.hex(), count=columns.count)
        answer = await self._hand_over(
            call, lambda: self.node.administer(columns, submitter=call.peer.identity.participant)
        )
        codes, first_codes, times = _decisions(answer)
        return clearspan_pb2.AdministerReply(
            batch_id=request.batch_id,
            codes=codes,
            first_codes=first_codes,
            times=times,
            assigned=column(answer.assigned, "<u4"),
            durability=self._durability,
        ).SerializeToString()

    async def administer_own(self, call: Call, columns: AdminColumns) -> AdminReply:
        """Decide requests that a call of another kind brought along, as ``administer`` does."""
        if not call.peer.identity.may_administer(*admin_participants(columns)):
            raise refuse(ResultCode.ROLE_REFUSED, "a request is not of the caller's own participant")
        submitter = call.peer.identity.participant
        return await self._hand_over(call, lambda: self.node.administer(columns, submitter=submitter))

    # What is read back.

    async def lookup_accounts(self, call: Call, content: bytes) -> bytes:
        """Accounts by id."""
        request = parse(clearspan_pb2.LookupAccountsRequest, content)
        self._check(request)
        call.notes["count"] = count_of(request.ids, ACCOUNT_ID_BYTES, "ids", self.limits.lookup_count_max)
        participants = account_participants(request.ids)
        if not call.peer.identity.may_read_accounts(participants):
            raise refuse(ResultCode.ROLE_REFUSED, "an account is of another participant")
        accounts = await self.node.lookup_accounts(request.ids)
        leaves, views = account_columns(accounts, call.peer.identity.sees_totals(participants))
        return clearspan_pb2.LookupAccountsReply(accounts=leaves, views=views).SerializeToString()

    async def lookup_transfers(self, call: Call, content: bytes) -> bytes:
        """Decided transfers by digest; those the caller has no part in are answered as unknown."""
        request = parse(clearspan_pb2.LookupTransfersRequest, content)
        self._check(request)
        call.notes["count"] = count_of(request.digests, HASH_BYTES, "digests", self.limits.lookup_count_max)
        entries = await self.node.lookup_transfers(request.digests)
        visible = [entry if entry is not None and _sees(call, entry) else None for entry in entries]
        return clearspan_pb2.LookupTransfersReply(
            transfers=transfer_columns(visible, self._rests_on()),
            found=bytes(entry is not None for entry in visible),
        ).SerializeToString()

    async def statement(self, call: Call, content: bytes) -> bytes:
        """One page of an account's transfers."""
        request = parse(clearspan_pb2.StatementRequest, content)
        self._check(request)
        if len(request.account) != ACCOUNT_ID_BYTES:
            raise refuse(ResultCode.BATCH_MALFORMED, f"account has {len(request.account)} bytes, not 16")
        if len(request.after) > _CURSOR_BYTES_MAX:
            raise refuse(ResultCode.BATCH_MALFORMED, f"after has {len(request.after)} bytes, at most 64 are taken")
        if not 1 <= request.limit <= self.limits.statement_count_max:
            raise refuse(ResultCode.BATCH_TOO_LARGE, f"limit is 1 to {self.limits.statement_count_max}")
        owner = participant_of_account(int.from_bytes(request.account, "little"))
        if not call.peer.identity.may_read_statement(owner):
            raise refuse(ResultCode.ROLE_REFUSED, "the account is of another participant")
        try:
            entries, following = await self.node.statement(
                request.account, after=request.after, limit=request.limit, newest_first=request.newest_first
            )
        except (ValueError, struct.error) as error:
            raise refuse(ResultCode.BATCH_MALFORMED, "after is no cursor of this statement") from error
        call.notes["count"] = len(entries)
        reply = clearspan_pb2.StatementReply(transfers=transfer_columns(entries, self._rests_on()), next=following)
        return reply.SerializeToString()

    async def get_decision_proof(self, call: Call, content: bytes) -> bytes:
        """Return the proof of one decision."""
        request = parse(clearspan_pb2.GetDecisionProofRequest, content)
        self._check(request)
        if len(request.digest) != HASH_BYTES:
            raise refuse(ResultCode.BATCH_MALFORMED, f"digest has {len(request.digest)} bytes, not 32")
        call.notes["digest"] = request.digest.hex()
        proof = await self.node.decision_proof(request.digest)
        if proof is None:
            raise refuse(ResultCode.NOT_FOUND, "no sealed block holds a decision of this record")
        return clearspan_pb2.GetDecisionProofReply(proof=proof).SerializeToString()

    async def get_status(self, call: Call, content: bytes) -> bytes:  # noqa: ARG002 - the table's shape
        """How the node stands."""
        check_version(parse(clearspan_pb2.GetStatusRequest, content).version)
        status, finality = self.node.status(), self.node.finality
        standing = finality.standing if finality is not None else None
        return clearspan_pb2.GetStatusReply(
            domain=status.domain,
            network=self.node.genesis.network,
            genesis_hash=self.node.genesis.hash,
            durability=self._durability,
            shards=[
                clearspan_pb2.ShardStatus(
                    shard=shard.shard,
                    height=shard.height,
                    log_number=shard.log_number,
                    accounts=shard.accounts,
                    last_time=shard.last_time,
                    final_height=standing.shards[shard.shard].final.height if standing is not None else 0,
                    verified_height=standing.shards[shard.shard].verified.height if standing is not None else 0,
                )
                for shard in status.shards
            ],
            software=self.software,
            epoch=status.epoch,
            queued_bytes=status.queued_bytes,
            refusing=status.refusing,
            uptime_ms=(time.monotonic_ns() - self._started_ns) // _NS_PER_MS,
            relay=relay_standing(standing) if standing is not None else None,
        ).SerializeToString()

    async def get_genesis(self, call: Call, content: bytes) -> bytes:  # noqa: ARG002 - the table's shape
        """Return the genesis document."""
        check_version(parse(clearspan_pb2.GetGenesisRequest, content).version)
        return clearspan_pb2.GetGenesisReply(document=self.node.genesis.document).SerializeToString()

    async def stream_blocks(self, call: Call, content: bytes) -> None:
        """Signed headers of a shard, one message each."""
        request = parse(clearspan_pb2.StreamBlocksRequest, content)
        self._check(request)
        if request.shard not in self._shards:
            raise refuse(ResultCode.NOT_FOUND, f"this node has no shard {request.shard}")
        if request.from_height < 1:
            raise refuse(ResultCode.BATCH_MALFORMED, "from_height is at least 1")
        call.notes.update(shard=request.shard, from_height=request.from_height)
        sent = 0
        async for header in self.node.blocks(request.shard, request.from_height, follow=request.follow):
            reply = clearspan_pb2.StreamBlocksReply(signed_header=header).SerializeToString()
            async with asyncio.timeout(self.limits.stream_write_ms / 1000):
                await call.context.write(reply)
            sent += 1
            call.notes["count"] = sent

    async def follow_log(self, call: Call, content: bytes) -> None:
        """Write durable log records of a shard, read in a thread, at the reader's pace."""
        request = parse(clearspan_pb2.FollowLogRequest, content)
        self._check(request)
        if request.shard not in self._shards:
            raise refuse(ResultCode.NOT_FOUND, f"this node has no shard {request.shard}")
        if request.from_number < 1:
            raise refuse(ResultCode.BATCH_MALFORMED, "from_number is at least 1")
        call.notes.update(shard=request.shard, from_number=request.from_number)
        sent = 0
        async for part in self.node.log_parts(request.shard, request.from_number, follow=request.follow):
            reply = clearspan_pb2.FollowLogReply(records=part.data, continued=part.continued).SerializeToString()
            async with asyncio.timeout(self.limits.stream_write_ms / 1000):
                await call.context.write(reply)
            sent += len(part.data)
            call.notes["bytes"] = sent

    def _check(
        self,
        request: clearspan_pb2.AdministerRequest
        | clearspan_pb2.LookupAccountsRequest
        | clearspan_pb2.LookupTransfersRequest
        | clearspan_pb2.StatementRequest
        | clearspan_pb2.GetDecisionProofRequest
        | clearspan_pb2.StreamBlocksRequest
        | clearspan_pb2.FollowLogRequest,
    ) -> None:
        check_version(request.version)
        check_domain(request.domain, self.node.domain)

    def _rests_on(self) -> Callable[[TransferEntry], int]:
        """Return what says how durable a decision is: synced by this node, final, or verified."""
        finality = self.node.finality
        return durability_now(self._durability, finality.standing if finality is not None else None)

    async def _hand_over(self, call: Call, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run the node's work as a task of its own, which no cancelled call takes down."""
        if self.draining:
            wait = self.limits.retry_after_ms
            raise refuse(ResultCode.SHUTTING_DOWN, "the node takes no more batches", retry_after_ms=wait)
        self.peers.enter_batch(call.peer)
        task = asyncio.create_task(work())
        self._running.add(task)

        def finish(done: asyncio.Task[Result]) -> None:
            self._running.discard(done)
            self.peers.leave_batch(call.peer)
            if not done.cancelled():
                done.exception()  # looked at, so that a caller who left leaves no warning behind

        task.add_done_callback(finish)
        return await asyncio.shield(task)


def _decisions(answer: BatchReply) -> tuple[bytes, bytes, bytes]:
    return column(answer.codes, "<u2"), column(answer.first_codes, "<u2"), column(answer.times, "<u8")


def _sees(call: Call, entry: TransferEntry) -> bool:
    debit, credit = (
        int.from_bytes(entry.record[end - 4 : end], "little") for end in (32, 48)
    )  # the same in both kinds
    return call.peer.identity.sees_transfer(debit, credit)
