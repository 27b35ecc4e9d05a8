"""Supervisors look at a bridge's cases: the look is on a ledger's record first, of their own ledger, and for this question."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import Screen
from clearspan.bridging.rules.held import Screening
from clearspan.bridging.serving.people import PeopleCalls
from clearspan.errors import Unreachable
from clearspan.inspection import InspectKind, query_digest
from clearspan.roles import PeerRole
from clearspan.status import CallRefused
from clearspan.v1 import bridge_pb2
from engine.admin import AdminRequest
from engine.types import AdminType
from native.codes import ResultCode
from tests.behaviour.bridge_papers import CNY, NOW, PAYER, THB
from tests.behaviour.bridging_world import play
from tests.behaviour.test_bridging_rules import LISTED, LISTED_NAMES, Officer

LIST_QUERY = (10).to_bytes(4, "little") + b"\0"


class Ledger:
    """A node that records looks, or refuses them."""

    def __init__(self, domain: int, code: int | None = ResultCode.CREATED) -> None:
        self.domain, self.code, self.client, self.looks = domain, code, self, []

    async def administer(self, columns) -> object:
        if self.code is None:
            raise Unreachable("a ledger of the test", "does not answer")
        self.looks.append(columns.request(0))
        return SimpleNamespace(codes=np.array([self.code]), times=np.array([NOW + 7]))


class Supervisor(Officer):
    """A call over a supervisor's certificate."""

    def __init__(self, participant: int = 901) -> None:
        super().__init__(9, participant)
        self.peer.identity.role = PeerRole.SUPERVISOR


def look(kind: InspectKind, query: bytes, **changes) -> bridge_pb2.Look:
    basis = AdminRequest(
        77, AdminType.LOOK, NOW, 60, participant=PAYER, ledger=CNY, reason=1,
        public_key=query_digest(1, kind, query).ljust(64, b"\0"),
    )  # fmt: skip
    return bridge_pb2.Look(request=replace(basis, **changes).encode(), key_id=4, signature=bytes(64))


def listing(found: bridge_pb2.Look | None = None) -> bytes:
    return bridge_pb2.ListCasesRequest(version=1, limit=10, look=found).SerializeToString()


def staged(tmp_path, body) -> None:
    """Play a bridge with one case of a payment from the first ledger to the second."""

    async def work(world) -> None:
        with pytest.raises(BridgeRefused) as caught:
            world.bridge().begin(world.order(), names=LISTED_NAMES)
        bridge = world.bridge()
        bridge.ledgers = [Ledger(CNY), Ledger(THB)]
        await body(bridge, PeopleCalls(bridge), caught.value.text.split()[-1])

    play(tmp_path, work, screening=Screening(Screen(LISTED, 1), 3))


def test_a_supervisor_sees_cases_once_his_look_is_recorded(tmp_path) -> None:
    """The list and the case; each look names the bridge, and its time is answered."""

    async def body(bridge, people, case_id) -> None:
        answer = await people.list_cases(Supervisor(), listing(look(InspectKind.CASES, LIST_QUERY)))
        reply = bridge_pb2.ListCasesReply.FromString(answer)
        assert ([each.case_id.hex() for each in reply.cases], reply.looked_at) == ([case_id], NOW + 7)
        name = bytes.fromhex(case_id)
        asked = bridge_pb2.GetCaseRequest(version=1, case_id=name, look=look(InspectKind.CASE, name))
        found = bridge_pb2.GetCaseReply.FromString(await people.get_case(Supervisor(), asked.SerializeToString()))
        assert found.case.score >= 9_000 and found.looked_at == NOW + 7
        assert [each.participant for each in bridge.ledgers[0].looks] == [PAYER, PAYER]
        own = bridge_pb2.ListCasesReply.FromString(await people.list_cases(Officer(1), listing()))
        assert (len(own.cases), own.looked_at, len(bridge.ledgers[0].looks)) == (1, 0, 2)

    staged(tmp_path, body)


def test_a_supervisor_of_another_ledger_sees_nothing_of_it(tmp_path) -> None:
    """His look is recorded on his ledger, and the case is not of it."""

    async def body(bridge, people, case_id) -> None:
        other = look(InspectKind.CASES, LIST_QUERY, ledger=THB)
        reply = bridge_pb2.ListCasesReply.FromString(await people.list_cases(Supervisor(), listing(other)))
        assert (len(reply.cases), reply.open, len(bridge.ledgers[1].looks)) == (0, 0, 1)
        name = bytes.fromhex(case_id)
        asked = bridge_pb2.GetCaseRequest(version=1, case_id=name, look=look(InspectKind.CASE, name, ledger=THB))
        with pytest.raises(CallRefused, match="no such case"):
            await people.get_case(Supervisor(), asked.SerializeToString())

    staged(tmp_path, body)


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (None, ResultCode.CREATED),
        (look(InspectKind.CASE, LIST_QUERY), ResultCode.CREATED),
        (look(InspectKind.CASES, LIST_QUERY[:4] + b"\1"), ResultCode.CREATED),
        (look(InspectKind.CASES, LIST_QUERY, participant=12), ResultCode.CREATED),
        (look(InspectKind.CASES, LIST_QUERY, ledger=99), ResultCode.CREATED),
        (look(InspectKind.CASES, LIST_QUERY, type=AdminType.SCREENING), ResultCode.CREATED),
        (look(InspectKind.CASES, LIST_QUERY), ResultCode.SIGNER_ROLE_NOT_ALLOWED),
        (look(InspectKind.CASES, LIST_QUERY), ResultCode.EXISTS),
        (look(InspectKind.CASES, LIST_QUERY), None),
    ],
)
def test_without_a_recorded_look_nothing_is_shown(tmp_path, found, code) -> None:
    """Not for another question, another bridge, an unknown ledger, a look that was used, refused or not recorded."""

    async def body(bridge, people, _) -> None:
        bridge.ledgers[0].code = code
        with pytest.raises(CallRefused) as caught:
            await people.list_cases(Supervisor(), listing(found))
        assert BridgeCode.LOOK_REFUSED.name.lower() in str(caught.value)

    staged(tmp_path, body)


def test_a_supervisor_decides_nothing(tmp_path) -> None:
    """Stepping a case and acknowledging an alarm are for the bridge's own people, whatever the role."""

    async def body(_, people, case_id) -> None:
        step = bridge_pb2.StepCaseRequest(version=1, case_id=bytes.fromhex(case_id), step="take").SerializeToString()
        with pytest.raises(CallRefused, match="own participant"):
            await people.step_case(Supervisor(), step)

    staged(tmp_path, body)


def test_only_named_officers_decide_where_officers_are_named(tmp_path) -> None:
    """A certificate of the participant that is no officer's is refused with its own code; an officer is not."""
    officers = frozenset({(b"\1" * 32).hex()})

    async def work(world) -> None:
        with pytest.raises(BridgeRefused) as caught:
            world.bridge().begin(world.order(), names=LISTED_NAMES)
        people = PeopleCalls(world.bridge())
        case_id = bytes.fromhex(caught.value.text.split()[-1])
        step = bridge_pb2.StepCaseRequest(version=1, case_id=case_id, step="take").SerializeToString()
        refusal = bridge_pb2.StepCaseReply.FromString(await people.step_case(Officer(2), step)).refusal
        assert refusal.name == "officer_refused"
        assert bridge_pb2.StepCaseReply.FromString(await people.step_case(Officer(1), step)).case.state == "owned"

    play(tmp_path, work, screening=Screening(Screen(LISTED, 1), 3, officers=officers))
