"""The requests that supervisors, issuers and providers send are ones that the ledger takes, signed by whom they name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clearspan import supervision as s
from clearspan.supervision import Supervision
from engine.admin import AdminRequest
from engine.types import AdminType, BreakerGrade, BreakerSubject, RuleType, TierAction
from native.codes import ResultCode as Code
from tests.model import admin_request as a
from tests.model.adapter import make_subject
from tests.model.genesis import SECOND_NS
from tests.model.hashes import sha256
from tests.model.stage import ALICE, CNY, Stage, genesis_document

SECRET = b"s" * 32


class StageDesk:
    """A desk whose ledger is a stage: signers are named as the stage names keys."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.codes: list[Code] = []

    def request(self, kind: AdminType, **fields: Any) -> AdminRequest:
        self.stage.next_id += 1
        return AdminRequest(
            id=self.stage.next_id, type=kind, expires_at=self.stage.now + SECOND_NS, valid_for_s=60, **fields
        )

    async def send(self, requests: list[AdminRequest], first: list[str], second: list[str] | None = None) -> list[int]:
        for row, request in enumerate(requests):
            signers = [first[row], *([second[row]] if second else [])]
            asked = a.AdminRequest.unpack(request.encode())
            common = asked.type in {a.LEDGER_RULES, a.BREAKER_SET, a.BREAKER_CLEAR, a.LEDGER_TIER}
            answer = self.stage.everywhere(asked, *signers) if common else self.stage.administer(asked, *signers)
            self.codes.append(answer.code)
        return [0] * len(requests)


@pytest.fixture
def desk() -> StageDesk:
    stage = Stage(lambda document, shard: make_subject("machine", document, shard), genesis_document())
    return StageDesk(stage.furnish())


@pytest.fixture
def watch(desk: StageDesk) -> Supervision:
    return Supervision(desk, ["supervisor", "supervisor_2"], ["operator"])  # type: ignore[arg-type]


def machine(desk: StageDesk) -> Any:
    return desk.stage.shards[0].machine  # type: ignore[attr-defined]


def test_a_hold_is_released_by_both_supervisors(desk: StageDesk, watch: Supervision) -> None:
    asyncio.run(watch.set_threshold(CNY, 50, hold_ns=9 * SECOND_NS, owner=3))
    one, other = desk.stage.plain(amount=60), desk.stage.lock(sha256(SECRET), amount=70)
    assert desk.stage.codes(one, other) == [Code.HELD, Code.HELD]
    holds = machine(desk).holds()
    assert [(hold.transfer, hold.amount, hold.owner, hold.reason.name) for hold in holds] == [
        (one.id, 60, 3, "THRESHOLD"),
        (other.id, 70, 3, "THRESHOLD"),
    ]
    assert holds[0].deadline == desk.stage.now + 9 * SECOND_NS
    asyncio.run(watch.release(ALICE, one.id, ledger=CNY, reason=4))
    asyncio.run(watch.reject(ALICE, other.id, ledger=CNY, reason=5))
    assert desk.codes == [Code.CREATED] * 3
    assert machine(desk).holds() == []
    assert [machine(desk).find_hold(ALICE, each.id).state.name for each in (one, other)] == ["RELEASED", "REJECTED"]
    assert machine(desk).find_hold(ALICE, 1) is None


def test_breakers_are_set_and_cleared(desk: StageDesk, watch: Supervision) -> None:
    until = desk.stage.now + 60 * SECOND_NS
    asyncio.run(watch.set_breaker(BreakerSubject.ACCOUNT, ALICE, BreakerGrade.STOP, until_ns=until, reason=1))
    assert desk.stage.code(desk.stage.plain()) == Code.BREAKER_OPEN
    asyncio.run(watch.clear_breaker(BreakerSubject.ACCOUNT, ALICE, reason=2))
    slow = {"until_ns": until, "reason": 1, "per_second": 1}
    asyncio.run(watch.set_breaker(BreakerSubject.LEDGER, CNY, BreakerGrade.SLOW, **slow))
    assert desk.stage.codes(desk.stage.plain(), desk.stage.plain()) == [Code.CREATED, Code.BREAKER_SLOW]
    assert [(rule.type, rule.subject, rule.limit_a) for rule in machine(desk).rules()] == [(RuleType.BREAKER, CNY, 1)]


def test_a_tier_is_set_and_worn(desk: StageDesk, watch: Supervision) -> None:
    asyncio.run(watch.set_tier(CNY, 2, TierAction.REFUSE, day_count_max=1))
    asyncio.run(desk.send([s.account_tier(desk, account=ALICE, ledger=CNY, tier=2)], ["issuer_a"]))
    assert desk.codes == [Code.CREATED] * 2
    assert desk.stage.codes(desk.stage.plain(), desk.stage.plain()) == [Code.CREATED, Code.VELOCITY_EXCEEDED]


def test_a_quote_has_the_id_that_its_provider_gave_it(desk: StageDesk) -> None:
    until = desk.stage.now + 60 * SECOND_NS
    opened = s.quote_open(desk, quote=0xABCD, account=ALICE, ledger=CNY, total=100, until_ns=until)
    asyncio.run(desk.send([opened], ["bank"]))
    lock = desk.stage.lock(sha256(SECRET), amount=60, user_data=0xABCD)
    assert desk.stage.code(lock) == Code.CREATED
    quote = machine(desk).find_rule(RuleType.QUOTE, ALICE, 0xABCD)
    assert (quote.left, quote.until) == (40, until)
    asyncio.run(desk.send([s.quote_close(desk, quote=0xABCD, account=ALICE, ledger=CNY)], ["bank"]))
    assert desk.codes == [Code.CREATED] * 2
    assert machine(desk).find_rule(RuleType.QUOTE, ALICE, 0xABCD) is None


def test_a_look_is_recorded(desk: StageDesk, watch: Supervision) -> None:
    asyncio.run(watch.look(ALICE, b"\x11" * 32, reason=9))
    assert desk.codes == [Code.CREATED]
