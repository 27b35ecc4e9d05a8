"""The calls of a bridge's service by which people decide and look: cases, breakers of corridors, alarms.

It promises that whoever acts is named by the key of his certificate, that what he did is durable before it is answered,
and that a supervisor sees cases of his own ledgers only, each look being on that ledger's record first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import numpy as np

from bridge.cases import Step
from bridge.refusals import BridgeCode, BridgeRefused
from clearspan.bridging.journal.views import refusal_message
from clearspan.bridging.rules.outcomes import outcomes_of
from clearspan.bridging.serving.people_views import alarm_view, breaker_view, case_view, outcome_view
from clearspan.errors import ClientError
from clearspan.inspection import InspectKind, query_digest, query_of
from clearspan.roles import BridgeRpc, PeerRole
from clearspan.service.calls import parse
from clearspan.service.requests import check_version
from clearspan.status import refuse
from clearspan.v1 import bridge_pb2
from engine.admin import AdminColumns, AdminRequest
from engine.refusals import EncodingError
from engine.types import ADMIN_BYTES, SIGNATURE_BYTES, AdminType
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.cases import Case
    from clearspan.bridging.serving.running import RunningBridge
    from clearspan.service.calls import Call

__all__ = ["PeopleCalls"]

_PAGE_MAX: Final = 1_000
_REASON_MAX: Final = 2_000
_WATCHERS: Final = frozenset({PeerRole.OPERATOR, PeerRole.SUPERVISOR})


class PeopleCalls:
    """Answers for one running bridge; the role of a caller was asked before (``clearspan.roles``)."""

    def __init__(self, bridge: RunningBridge) -> None:
        """Take the bridge."""
        self._bridge = bridge

    def calls(self) -> dict[BridgeRpc, Callable[[Call, bytes], Awaitable[bytes]]]:
        """Return the handlers by call."""
        return {
            BridgeRpc.LIST_CASES: self.list_cases,
            BridgeRpc.GET_CASE: self.get_case,
            BridgeRpc.STEP_CASE: self.step_case,
            BridgeRpc.TAKE_BREAKER: self.take_breaker,
            BridgeRpc.LIST_BREAKERS: self.list_breakers,
            BridgeRpc.ACKNOWLEDGE_ALARM: self.acknowledge_alarm,
        }

    async def list_cases(self, call: Call, content: bytes) -> bytes:
        """Answer with the cases that nobody has decided, those first that end first; or with all, the newest first."""
        request = parse(bridge_pb2.ListCasesRequest, content)
        check_version(request.version)
        # What the digest of a look covers: the whole question, so that one look is one list.
        query = request.limit.to_bytes(4, "little") + bytes([request.ended])
        looked_at, ledger = await self._may_see(call, request.look, InspectKind.CASES, query)
        if not 1 <= request.limit <= _PAGE_MAX:
            raise refuse(ResultCode.BATCH_TOO_LARGE, f"limit is 1 to {_PAGE_MAX}")
        book = self._bridge.engine.compliance.cases
        found = [each for each in (book.all_cases() if request.ended else book.open_cases()) if _is_of(each, ledger)]
        views = [case_view(each) for each in found[: request.limit]]
        count = sum(not each.is_ended for each in found)
        return bridge_pb2.ListCasesReply(cases=views, open=count, looked_at=looked_at).SerializeToString()

    async def get_case(self, call: Call, content: bytes) -> bytes:
        """Answer with one case, its steps, and what screening said of its payment."""
        request = parse(bridge_pb2.GetCaseRequest, content)
        check_version(request.version)
        looked_at, ledger = await self._may_see(call, request.look, InspectKind.CASE, request.case_id)
        case = self._bridge.engine.compliance.cases.find(request.case_id.hex())
        if case is None or not _is_of(case, ledger):
            raise refuse(ResultCode.NOT_FOUND, "no such case is known here")
        store, keys = self._bridge.engine.store, self._bridge.engine.keys
        outcomes = await asyncio.to_thread(outcomes_of, store, bytes.fromhex(case.opened.message_hash))
        views = [outcome_view(self._bridge.genesis, keys, each) for each in outcomes]
        return bridge_pb2.GetCaseReply(case=case_view(case), outcomes=views, looked_at=looked_at).SerializeToString()

    async def step_case(self, call: Call, content: bytes) -> bytes:
        """Let an officer act; two officers are two keys and two names, so that one person alone releases nothing."""
        request = parse(bridge_pb2.StepCaseRequest, content)
        check_version(request.version)
        self._demand_own(call)
        engine = self._bridge.engine
        try:
            step = Step(request.step)
            case = engine.compliance.step(
                request.case_id.hex(),
                step,
                call.peer.spki.hex(),
                engine.now(),
                request.text[:_REASON_MAX],
                names=call.peer.names,
            )
        except BridgeRefused as error:
            return bridge_pb2.StepCaseReply(refusal=refusal_message(error)).SerializeToString()
        except ValueError as error:
            refusal = refusal_message(BridgeRefused(BridgeCode.TERMS_MALFORMED, str(error)))
            return bridge_pb2.StepCaseReply(refusal=refusal).SerializeToString()
        await engine.committed()
        call.notes["case"] = request.case_id.hex()
        return bridge_pb2.StepCaseReply(case=case_view(case)).SerializeToString()

    async def take_breaker(self, call: Call, content: bytes) -> bytes:
        """Take a breaker that a ledger decided, from whoever carries it."""
        request = parse(bridge_pb2.TakeBreakerRequest, content)
        check_version(request.version)
        self._demand_own_or_watcher(call)
        if self._bridge.rules is None:
            raise refuse(ResultCode.SHUTTING_DOWN, "this bridge takes no breakers yet")
        try:
            notice, fresh = await self._bridge.rules.breakers.take(request.domain, request.height, request.request)
        except BridgeRefused as error:
            return bridge_pb2.TakeBreakerReply(refusal=refusal_message(error)).SerializeToString()
        call.notes["breaker"] = notice.text
        return bridge_pb2.TakeBreakerReply(breaker=breaker_view(notice), fresh=fresh).SerializeToString()

    async def list_breakers(self, call: Call, content: bytes) -> bytes:
        """Answer with the breakers that stand."""
        check_version(parse(bridge_pb2.ListBreakersRequest, content).version)
        self._demand_own_or_watcher(call)
        engine = self._bridge.engine
        found = engine.compliance.breakers.all_standing(engine.now())
        return bridge_pb2.ListBreakersReply(breakers=[breaker_view(each) for each in found]).SerializeToString()

    async def acknowledge_alarm(self, call: Call, content: bytes) -> bytes:
        """Let a person of the participant acknowledge an alarm."""
        request = parse(bridge_pb2.AcknowledgeAlarmRequest, content)
        check_version(request.version)
        self._demand_own(call)
        engine = self._bridge.engine
        try:
            found = engine.telling.alarms.acknowledge(request.number, call.peer.spki.hex(), request.text[:_REASON_MAX])
        except BridgeRefused as error:
            return bridge_pb2.AcknowledgeAlarmReply(refusal=refusal_message(error)).SerializeToString()
        await engine.committed()
        return bridge_pb2.AcknowledgeAlarmReply(alarm=alarm_view(found)).SerializeToString()

    # Who may see what.

    async def _may_see(
        self, call: Call, look: bridge_pb2.Look, kind: InspectKind, query: bytes
    ) -> tuple[int, int | None]:
        """Return when a supervisor's look was recorded and of which ledger he sees cases; (0, None): all, as their own.

        Raises the refusal of whoever is neither the bridge's own participant nor a supervisor.
        """
        if call.peer.identity.role is not PeerRole.SUPERVISOR:
            self._demand_own(call)
            return 0, None
        try:
            looked_at, request = await self._record(look, kind, query)
        except BridgeRefused as error:
            raise refuse(ResultCode.ROLE_REFUSED, str(error)) from error
        call.notes["look"] = f"{request.id:032x}"
        return looked_at, request.ledger

    async def _record(self, look: bridge_pb2.Look, kind: InspectKind, query: bytes) -> tuple[int, AdminRequest]:
        """Have a look decided by its ledger; return its time once it is durable there. Raises BridgeRefused."""
        bridge = self._bridge
        if len(look.request) != ADMIN_BYTES or len(look.signature) != SIGNATURE_BYTES:
            raise _no_look("a supervisor's question comes with its signed look")
        try:
            request = AdminRequest.decode(look.request)
            domains = {each.ledger: domain.domain for domain in bridge.genesis.domains for each in domain.ledgers}
            port = next(each for each in bridge.ledgers if each.domain == domains.get(request.ledger))
        except (EncodingError, StopIteration) as error:
            raise _no_look("the look names no ledger that this bridge has a line to") from error
        asked = query_digest(bridge.genesis.hash_suite, kind, query)
        of_this = request.type == AdminType.LOOK and request.participant == bridge.participant
        if not of_this or query_of(request) != asked:
            raise _no_look("the look is of another question or another bridge")
        signatures = np.zeros((1, 2, SIGNATURE_BYTES), dtype=np.uint8)
        signatures[0, 0] = np.frombuffer(look.signature, dtype=np.uint8)
        columns = AdminColumns.from_buffers(
            look.request, np.array([look.key_id, 0], dtype="<u4").tobytes(), signatures.tobytes()
        )
        try:
            answer = await port.client.administer(columns)
        except ClientError as error:
            raise _no_look(f"its ledger does not record it now: {error}") from error
        # Once recorded, once shown: a look that is known already shows nothing more.
        if int(answer.codes[0]) != ResultCode.CREATED:
            raise _no_look(f"its ledger did not record it: code {int(answer.codes[0])}")
        return int(answer.times[0]), request

    def _demand_own(self, call: Call) -> None:
        if call.peer.identity.participant != self._bridge.participant:
            raise refuse(ResultCode.ROLE_REFUSED, "this call is for the bridge's own participant")

    def _demand_own_or_watcher(self, call: Call) -> None:
        if call.peer.identity.role not in _WATCHERS:
            self._demand_own(call)


def _is_of(case: Case, ledger: int | None) -> bool:
    return ledger is None or not case.opened.ledgers or ledger in case.opened.ledgers


def _no_look(text: str) -> BridgeRefused:
    return BridgeRefused(BridgeCode.LOOK_REFUSED, text)
