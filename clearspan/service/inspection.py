"""The call by which supervisors see their jurisdiction: the look goes into the log first, and then the view is served.

What the view shows is what the same question shows to an operator. A look that the ledger refuses, or that is of
another question, shows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from clearspan.inspection import InspectKind, query_digest, query_of
from clearspan.roles import PeerRole
from clearspan.service.calls import parse
from clearspan.service.requests import check_domain, check_version
from clearspan.status import refuse
from clearspan.v1 import clearspan_pb2
from engine.admin import AdminColumns, AdminRequest
from engine.codes import MEANINGS
from engine.types import ADMIN_BYTES, SIGNATURE_BYTES, AdminType
from native.codes import ResultCode

if TYPE_CHECKING:
    from clearspan.ports import AdminReply, SettlementNode
    from clearspan.service.calls import Call

__all__ = ["Inspection"]

_OF_BRIDGES: Final = frozenset({InspectKind.CASES, InspectKind.CASE})
_RECORDED: Final = frozenset({ResultCode.CREATED, ResultCode.EXISTS})


class Questions(Protocol):
    """The plain questions, which a look opens, and the way into the log."""

    @property
    def node(self) -> SettlementNode:
        """The node behind the service."""

    async def administer_own(self, call: Call, columns: AdminColumns) -> AdminReply:
        """Decide requests; resolves when the decisions are durable."""

    async def lookup_accounts(self, call: Call, content: bytes) -> bytes:
        """Accounts by id."""

    async def lookup_transfers(self, call: Call, content: bytes) -> bytes:
        """Decided transfers by digest."""

    async def statement(self, call: Call, content: bytes) -> bytes:
        """One page of an account's transfers."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Answers looks with the handlers of the plain questions."""

    handlers: Questions

    async def inspect(self, call: Call, content: bytes) -> bytes:
        """Record a look, then serve what was asked."""
        request = parse(clearspan_pb2.InspectRequest, content)
        check_version(request.version)
        check_domain(request.domain, self.handlers.node.domain)
        try:
            kind = InspectKind(request.kind)
        except ValueError as error:
            raise refuse(ResultCode.BATCH_MALFORMED, f"there is no view of kind {request.kind}") from error
        if kind in _OF_BRIDGES:
            raise refuse(ResultCode.BATCH_MALFORMED, f"the view of {kind.name.lower()} is a bridge's")
        call.notes["kind"] = kind.name.lower()
        looked_at = 0
        if request.look or call.peer.identity.role is not PeerRole.OPERATOR:
            looked_at = await self._record(call, request, kind)
        view = await self._view(call, kind, request.query)
        return clearspan_pb2.InspectReply(view=view, looked_at=looked_at).SerializeToString()

    async def _record(self, call: Call, request: clearspan_pb2.InspectRequest, kind: InspectKind) -> int:
        """Have the look decided; return its time once it is durable."""
        if len(request.look) != ADMIN_BYTES or len(request.signature) != SIGNATURE_BYTES:
            raise refuse(ResultCode.BATCH_MALFORMED, "a supervisor's question comes with its signed look")
        look = AdminRequest.decode(request.look)
        suite = self.handlers.node.genesis.hash_suite
        if look.type != AdminType.LOOK or query_of(look) != query_digest(suite, kind, request.query):
            raise refuse(ResultCode.BATCH_MALFORMED, "the look is of another question")
        signatures = np.zeros((1, 2, SIGNATURE_BYTES), dtype=np.uint8)
        signatures[0, 0] = np.frombuffer(request.signature, dtype=np.uint8)
        columns = AdminColumns.from_buffers(
            request.look, np.array([request.key_id, 0], dtype="<u4").tobytes(), signatures.tobytes()
        )
        call.notes["look"] = f"{look.id:032x}"
        answer = await self.handlers.administer_own(call, columns)
        code, first = (int(np.frombuffer(column, dtype="<u2")[0]) for column in (answer.codes, answer.first_codes))
        if code not in _RECORDED or (code == ResultCode.EXISTS and first != ResultCode.CREATED):
            meaning = MEANINGS[ResultCode(code)]
            raise refuse(ResultCode.ROLE_REFUSED, f"the look was not recorded: {meaning.name}; {meaning.next_step}")
        return int(np.frombuffer(answer.times, dtype="<u8")[0])

    async def _view(self, call: Call, kind: InspectKind, query: bytes) -> bytes:
        handlers = self.handlers
        if kind is InspectKind.ACCOUNTS:
            return await handlers.lookup_accounts(call, query)
        if kind is InspectKind.TRANSFERS:
            return await handlers.lookup_transfers(call, query)
        if kind is InspectKind.STATEMENT:
            return await handlers.statement(call, query)
        if query:
            raise refuse(ResultCode.BATCH_MALFORMED, "the view of the rules has no question of its own")
        rules, holds = await handlers.node.rules(), await handlers.node.holds()
        return clearspan_pb2.RulesView(rules=rules, holds=holds).SerializeToString()
