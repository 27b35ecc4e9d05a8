"""The calls about what is final: receipts, whole blocks, balances with proof, changes of the validator set.

A receipt proves itself to whoever holds it, so nothing here has to be believed; what is decided here is who may have
one (a digest is known to who held the record, a balance is its holder's) and how long the call waits for finality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from clearspan.roles import Rpc
from clearspan.service.calls import parse
from clearspan.service.requests import ACCOUNT_ID_BYTES, check_domain, check_version
from clearspan.status import refuse
from clearspan.v1 import clearspan_pb2
from engine.receipt import ReceiptForm
from engine.record import participant_of_account
from engine.refusals import ProofRefused
from engine.types import HASH_BYTES
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clearspan.config import LimitsSection
    from clearspan.ports import Finality, FinalityStanding, SettlementNode, TransferEntry
    from clearspan.service.calls import Call

__all__ = ["FinalityHandlers", "durability_now", "relay_standing"]

_SET_CHANGES_MAX: Final = 64
_MS_PER_S: Final = 1_000
_HEIGHT_MAX: Final = 2**63
# What a call keeps of its time for the answer itself.
_MARGIN_S: Final = 0.05
_FORMS: Final[dict[int, ReceiptForm]] = {
    clearspan_pb2.RECEIPT_FORM_UNSPECIFIED: ReceiptForm.PAYER,
    clearspan_pb2.RECEIPT_FORM_PAYER: ReceiptForm.PAYER,
    clearspan_pb2.RECEIPT_FORM_PAYEE: ReceiptForm.PAYEE,
}
_LEAST: Final[dict[int, bool]] = {
    clearspan_pb2.DURABILITY_UNSPECIFIED: False,
    clearspan_pb2.DURABILITY_FINAL: False,
    clearspan_pb2.DURABILITY_VERIFIED: True,
}


@dataclass(frozen=True, slots=True)
class FinalityHandlers:
    """Each call answers one message with one, both as bytes."""

    node: SettlementNode
    limits: LimitsSection

    def unary(self) -> dict[Rpc, Callable[[Call, bytes], Awaitable[bytes]]]:
        """Return the calls by their names."""
        return {
            Rpc.GET_RECEIPT: self.get_receipt,
            Rpc.GET_BLOCK_RECEIPT: self.get_block_receipt,
            Rpc.GET_BALANCE_RECEIPT: self.get_balance_receipt,
            Rpc.GET_SET_CHANGES: self.get_set_changes,
        }

    async def get_receipt(self, call: Call, content: bytes) -> bytes:
        """Return the receipt of a decided record, once it is final."""
        request = parse(clearspan_pb2.GetReceiptRequest, content)
        check_version(request.version)
        check_domain(request.domain, self.node.domain)
        if len(request.digest) != HASH_BYTES:
            raise refuse(ResultCode.BATCH_MALFORMED, f"digest has {len(request.digest)} bytes, not 32")
        if request.form not in _FORMS:
            raise refuse(ResultCode.BATCH_MALFORMED, f"form {request.form} is not known here")
        form = _FORMS[request.form]
        call.notes.update(digest=request.digest.hex(), form=form.name.lower())
        try:
            found = await self._finality().receipt(
                request.digest, form, wait_s=self._wait_s(call, request.wait_ms), verified=_verified(request.least)
            )
        except ProofRefused as error:
            raise refuse(ResultCode.NOT_FOUND, f"the decision proves no such thing: {error}") from error
        if found is None:
            raise refuse(ResultCode.NOT_FOUND, "no decision of this record is final yet")
        return clearspan_pb2.GetReceiptReply(receipt=found).SerializeToString()

    async def get_block_receipt(self, call: Call, content: bytes) -> bytes:
        """Return the receipts of a shard's blocks from a height on, once the first of them is final."""
        request = parse(clearspan_pb2.GetBlockReceiptRequest, content)
        check_version(request.version)
        check_domain(request.domain, self.node.domain)
        finality = self._finality()
        if request.shard not in finality.standing.shards:
            raise refuse(ResultCode.NOT_FOUND, f"this node has no shard {request.shard}")
        if request.from_height > _HEIGHT_MAX:
            raise refuse(ResultCode.BATCH_MALFORMED, "from_height is above every height")
        call.notes.update(shard=request.shard, from_height=request.from_height)
        height, found = await finality.blocks(
            request.shard,
            request.from_height,
            wait_s=self._wait_s(call, request.wait_ms),
            verified=_verified(request.least),
        )
        call.notes["count"] = len(found)
        return clearspan_pb2.GetBlockReceiptReply(receipts=found, next_height=height + len(found)).SerializeToString()

    async def get_balance_receipt(self, call: Call, content: bytes) -> bytes:
        """Return the receipt of an account as the next block leaves it, once that is final."""
        request = parse(clearspan_pb2.GetBalanceReceiptRequest, content)
        check_version(request.version)
        check_domain(request.domain, self.node.domain)
        if len(request.account) != ACCOUNT_ID_BYTES:
            raise refuse(ResultCode.BATCH_MALFORMED, f"account has {len(request.account)} bytes, not 16")
        account = int.from_bytes(request.account, "little")
        if not call.peer.identity.may_read_statement(participant_of_account(account)):
            raise refuse(ResultCode.ROLE_REFUSED, "the account is of another participant")
        found = await self._finality().balance(
            account, wait_s=self._wait_s(call, request.wait_ms), verified=_verified(request.least)
        )
        if found is None:
            raise refuse(ResultCode.NOT_FOUND, "the account is unknown, or the block that shows it is not final yet")
        return clearspan_pb2.GetReceiptReply(receipt=found).SerializeToString()

    async def get_set_changes(self, call: Call, content: bytes) -> bytes:
        """Return the changes of the validator set after one."""
        request = parse(clearspan_pb2.GetSetChangesRequest, content)
        check_version(request.version)
        proofs = self._finality().set_changes(request.after_set_id)[:_SET_CHANGES_MAX]
        call.notes["count"] = len(proofs)
        return clearspan_pb2.GetSetChangesReply(proofs=proofs).SerializeToString()

    def _finality(self) -> Finality:
        finality = self.node.finality
        if finality is None:
            raise refuse(ResultCode.NOT_FOUND, "this node has no line to validators, so nothing becomes final here")
        return finality

    def _wait_s(self, call: Call, wait_ms: int) -> float:
        """Return how long to wait: as asked, and so that the answer still reaches the caller."""
        limit = self.limits.rpc_deadline_ms / _MS_PER_S
        remaining = call.context.time_remaining()
        return max(0.0, min(wait_ms / _MS_PER_S, limit - _MARGIN_S, (remaining or limit) - _MARGIN_S))


def durability_now(base: int, standing: FinalityStanding | None) -> Callable[[TransferEntry], int]:
    """Return the Durability of a decision by the log record that holds it; ``base`` is what any reply rests on."""
    if standing is None:
        return lambda _: base

    def of(entry: TransferEntry) -> int:
        shard = standing.shards.get(entry.shard)
        if shard is None or entry.number > shard.final.last_number:
            return base
        if entry.number > shard.verified.last_number:
            return clearspan_pb2.DURABILITY_FINAL
        return clearspan_pb2.DURABILITY_VERIFIED

    return of


def relay_standing(standing: FinalityStanding) -> clearspan_pb2.RelayStanding:
    """Return the message of a status."""
    return clearspan_pb2.RelayStanding(
        height=standing.height,
        time=standing.time,
        consumed_height=standing.consumed,
        set_id=standing.set_id,
        following=standing.following,
    )


def _verified(least: int) -> bool:
    if least not in _LEAST:
        raise refuse(ResultCode.BATCH_MALFORMED, "least is final or verified")
    return _LEAST[least]
