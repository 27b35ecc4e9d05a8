"""The rules of a bridge (EDGE, BREAK, CORRIDOR-9, QUOTE-21): asked before a lock, kept over a restart."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest
from msgspec import structs

from bridge.cases import CaseState, Step
from bridge.corridor import Limits
from bridge.corridor_breakers import BreakerNotice
from bridge.fees import FeeRule
from bridge.ports import Outcome
from bridge.quotes import SignedQuote
from bridge.refusals import BridgeCode
from bridge.screening import ListEntry, Screen, WatchList
from clearspan.bridging.lines.ledgers import lock_columns
from clearspan.bridging.rules.compliance import Compliance
from clearspan.bridging.rules.files import RuleFiles, read_screen
from clearspan.bridging.rules.held import Screening
from clearspan.bridging.serving.people import PeopleCalls
from clearspan.errors import ConfigError
from clearspan.roles import PeerRole
from clearspan.status import CallRefused
from clearspan.v1 import bridge_pb2
from engine.record import Transfer
from engine.types import BreakerGrade, TransferKind
from tests.behaviour.bridge_papers import (
    CNY,
    FIRST,
    HKD,
    NOW,
    PAYER,
    THB,
    S,
    account,
    document,
)
from tests.behaviour.bridging_world import (
    PAYEE,
    World,
    hops,
    play,
    refused,
)

OFFICERS = ("officer-a", "officer-b")
FEES = (FeeRule("clearing", f"{account(91, CNY):032x}", "7", 1_000, "0", "1000000"),)
LISTED = WatchList("invented", 7, (ListEntry("L01", ("Quillon Harbour Trading",)),))
CLEAN_NAMES = ("Novamar Cement Industries", "Lanjiao Shipping")
LISTED_NAMES = ("Novamar Cement Industries", "Quilon Harbor Trading")


# Limits of the day.

TIGHT = Limits("1", "12000", "30000", "15000", "Asia/Shanghai")


def test_a_day_is_drawn_before_a_lock_and_given_back_by_a_refund(tmp_path) -> None:
    """A payer's day ends before anything is locked; what is refunded is there again, what settles is not."""

    async def body(world) -> None:
        bridge = world.bridge()
        bridge.begin(world.order(10_000))
        error = refused(BridgeCode.CORRIDOR_LIMIT_EXCEEDED, bridge.begin, world.order(10_000, uetr=b"b" * 16))
        assert "participant 11's day has 5000 of 15000 left" in error.text
        await world.run()
        assert [len(world.engines[each].book) for each in (PAYER, FIRST)] == [0, 0]
        assert [world.engines[each].compliance.usage.used(world.documents[0].id_bytes, PAYER)[1] for each in (11, 21)]
        for each in (PAYER, FIRST):
            assert world.engines[each].book.counts[Outcome.SETTLED] == 1
            assert world.engines[each].compliance.usage.used(world.documents[0].id_bytes, PAYER) == (10_000, 10_000)
        swap = bridge.begin(world.order(5_000, uetr=b"c" * 16))
        await world.run(hold_back=True)
        world.reveals.clear()
        assert world.engines[FIRST].compliance.usage.used(world.documents[0].id_bytes, PAYER) == (15_000, 15_000)
        world.end_locks(None)
        world.time_passes(90)
        await world.run()
        assert swap.outcome is Outcome.REFUNDED
        for each in (PAYER, FIRST):
            assert world.engines[each].compliance.usage.used(world.documents[0].id_bytes, PAYER) == (10_000, 10_000)

    play(tmp_path, body, hops(limits=TIGHT))


def test_a_day_is_counted_again_after_a_restart(tmp_path) -> None:
    """What settled and what runs counts as before; the next day begins at nothing."""

    async def body(world) -> None:
        world.bridge().begin(world.order(9_000))
        await world.run()
        world.silent = True
        world.bridge().begin(world.order(2_000, uetr=b"b" * 16))
        await world.run()
        corridor = world.documents[0].id_bytes
        for _ in range(2):
            await world.close(PAYER, FIRST)
            world.open(PAYER), world.open(FIRST)
            assert world.engines[PAYER].compliance.usage.used(corridor, PAYER) == (11_000, 11_000)
            assert world.engines[FIRST].compliance.usage.used(corridor, PAYER) == (9_000, 9_000)
        world.now += 24 * 3_600 * S
        await world.close(PAYER)
        assert world.open(PAYER).compliance.usage.used(corridor, PAYER) == (0, 0)

    play(tmp_path, body, hops(limits=TIGHT))


def test_a_provider_counts_for_itself(tmp_path) -> None:
    """A payer's bridge that does not count is refused by the provider's, before the provider locks."""

    async def body(world) -> None:
        blind = world.engines[PAYER].compliance
        blind.usage.take = lambda *_: None
        blind.give_back = lambda _: None
        world.bridge().begin(world.order(10_000))
        await world.run()
        locked = world.balances[HKD, account(FIRST, HKD)]
        second = world.bridge().begin(world.order(10_000, uetr=b"b" * 16))
        await world.run()
        assert world.balances[HKD, account(FIRST, HKD)] == locked
        assert any("participant 11's day" in moment.text for moment in second.timeline)

    play(tmp_path, body, hops(limits=TIGHT))


# Breakers.


def notice(grade, later=0, rate=0, domain=CNY) -> BreakerNotice:
    ends = 0 if grade is None else NOW + 1_000 * S
    return BreakerNotice(document().id_bytes, domain, grade, 4, rate, NOW + later, ends)


@pytest.mark.parametrize("grade", [BreakerGrade.STOP, BreakerGrade.HOLD, BreakerGrade.SLOW])
def test_a_breaker_meets_what_would_begin_and_nothing_that_has(tmp_path, grade) -> None:
    """A swap that was revealed is claimed under each grade, on both sides; what would begin meets it until it is over."""

    async def body(world) -> None:
        bridge = world.bridge()
        running = bridge.begin(world.order(1_000))
        await world.run(hold_back=True)
        for participant in (PAYER, FIRST):
            rows = world.engines[participant].compliance.breaker_rows
            assert rows.apply(notice(grade, rate=1 if grade is BreakerGrade.SLOW else 0))
        if grade is BreakerGrade.SLOW:
            bridge.begin(world.order(1_000, uetr=b"s" * 16))
        wanted = {
            BreakerGrade.STOP: BridgeCode.CORRIDOR_CLOSED,
            BreakerGrade.HOLD: BridgeCode.SCREENING_HOLD,
            BreakerGrade.SLOW: BridgeCode.LIMITS_EXCEEDED,
        }[grade]
        refused(wanted, bridge.begin, world.order(1_000, uetr=b"b" * 16))
        assert running.outcome is None
        await world.run()
        assert running.outcome is Outcome.SETTLED
        for participant in (PAYER, FIRST):
            world.engines[participant].compliance.breaker_rows.apply(notice(None, later=1))
        assert bridge.begin(world.order(1_000, uetr=b"c" * 16)).outcome is None

    play(tmp_path, body)


def test_a_stop_is_asked_for_before_all_else(tmp_path) -> None:
    """What would be refused for its papers is told of the stop: they are looked at when swaps may begin again."""

    async def body(world) -> None:
        bridge, papers = world.bridge(), b"t" * 32
        without = structs.replace(world.order(1_000), travel_rule_hash=papers)
        refused(BridgeCode.TRAVEL_RULE_MISSING, bridge.begin, without)
        world.engines[PAYER].compliance.breaker_rows.apply(notice(BreakerGrade.STOP))
        refused(BridgeCode.CORRIDOR_CLOSED, bridge.begin, without)

    play(tmp_path, body)


def test_a_breaker_is_known_after_a_restart(tmp_path) -> None:
    """It was durable before it was answered; one that was cleared stays so."""

    async def body(world) -> None:
        for clears in (False, True):
            engine = world.engines[PAYER]
            engine.compliance.breaker_rows.apply(notice(None if clears else BreakerGrade.STOP, later=clears))
            await engine.committed()
            await world.close(PAYER)
            world.open(PAYER)
            if clears:
                assert world.bridge().begin(world.order(1_000)).outcome is None
            else:
                refused(BridgeCode.CORRIDOR_CLOSED, world.bridge().begin, world.order(1_000))

    play(tmp_path, body)


def test_a_slow_corridor_begins_so_many_in_a_second(tmp_path) -> None:
    """What is refused by it draws no limit."""

    async def body(world) -> None:
        bridge = world.bridge()
        world.engines[PAYER].compliance.breakers.apply(notice(BreakerGrade.SLOW, rate=2))
        for uetr in (b"a", b"b"):
            bridge.begin(world.order(100, uetr=uetr * 16))
        refused(BridgeCode.LIMITS_EXCEEDED, bridge.begin, world.order(100, uetr=b"c" * 16))
        assert world.engines[PAYER].compliance.usage.used(world.documents[0].id_bytes, PAYER) == (200, 200)
        world.now += S
        bridge.begin(world.order(100, uetr=b"c" * 16))

    play(tmp_path, body)


def test_a_held_corridor_makes_a_case_and_a_released_one_runs_once(tmp_path) -> None:
    """The provider accepts nothing under a hold; the payer's people decide, and one release is one swap."""

    async def body(world) -> None:
        bridge, compliance = world.bridge(), world.engines[PAYER].compliance
        compliance.breakers.apply(notice(BreakerGrade.HOLD))
        case_id = refused(BridgeCode.SCREENING_HOLD, bridge.begin, world.order(100)).text.split()[-1]
        assert refused(BridgeCode.SCREENING_HOLD, bridge.begin, world.order(100)).text.endswith(case_id)
        assert len(world.engines[PAYER].book) == 0
        decide(compliance, case_id, world.now)
        swap = bridge.begin(world.order(100))
        await world.run()
        assert swap.outcome is Outcome.SETTLED
        refused(BridgeCode.DUPLICATE_SWAP, bridge.begin, world.order(100))
        world.engines[FIRST].compliance.breakers.apply(notice(BreakerGrade.HOLD))
        compliance.breakers.apply(notice(None, later=2))
        second = bridge.begin(world.order(100, uetr=b"b" * 16))
        await world.run()
        assert second.outcome is None and len(world.engines[FIRST].book) == 0
        assert world.engines[FIRST].book.counts[Outcome.SETTLED] == 1

    play(tmp_path, body)


def decide(compliance: Compliance, case_id: str, now: int, proposal: Step = Step.PROPOSE_RELEASE) -> None:
    compliance.step(case_id, Step.TAKE, OFFICERS[0], now)
    compliance.step(case_id, proposal, OFFICERS[0], now, "looked at the register")
    refused(BridgeCode.APPROVAL_REQUIRED, compliance.step, case_id, Step.CONFIRM, OFFICERS[0], now)
    compliance.step(case_id, Step.CONFIRM, OFFICERS[1], now)


# Names and patterns.


def test_a_listed_name_is_a_case_that_outlives_a_restart(tmp_path) -> None:
    """Held before anything is locked; released, the same order runs with newer quotes, once; another name is asked."""

    async def body(world) -> None:
        bridge = world.bridge()
        error = refused(BridgeCode.SCREENING_HOLD, bridge.begin, world.order(), names=LISTED_NAMES)
        case_id = error.text.split()[-1]
        refused(BridgeCode.TRAVEL_RULE_MISSING, bridge.begin, world.order())
        assert bridge.begin(world.order(uetr=b"b" * 16), names=CLEAN_NAMES).outcome is None
        await world.run()
        for state in (CaseState.OPEN, CaseState.RELEASED):
            await world.close(PAYER)
            compliance = world.open(PAYER).compliance
            assert compliance.cases.case(case_id).state is state
            if state is CaseState.OPEN:
                decide(compliance, case_id, world.now)
                await world.run()
        world.now += 2 * S
        swap = world.bridge().begin(world.order(), names=LISTED_NAMES)
        await world.run()
        assert swap.outcome is Outcome.SETTLED
        refused(BridgeCode.DUPLICATE_SWAP, world.bridge().begin, world.order(), names=LISTED_NAMES)
        await world.close(PAYER)
        world.open(PAYER)
        refused(BridgeCode.DUPLICATE_SWAP, world.bridge().begin, world.order(), names=LISTED_NAMES)
        other = (LISTED_NAMES[1], LISTED_NAMES[0])
        refused(BridgeCode.SCREENING_HOLD, world.bridge().begin, world.order(uetr=b"o" * 16), names=other)

    play(tmp_path, body, screening=Screening(Screen(LISTED, 1), 3))


def test_nobody_decided_is_no(tmp_path) -> None:
    """A rejected case and one whose time is over refuse their payment for good; at half of it somebody is called."""

    async def body(world) -> None:
        bridge, compliance = world.bridge(), world.engines[PAYER].compliance
        case_id = refused(BridgeCode.SCREENING_HOLD, bridge.begin, world.order(), names=LISTED_NAMES).text.split()[-1]
        decide(compliance, case_id, world.now, Step.PROPOSE_REJECT)
        refused(BridgeCode.PROVIDER_REFUSED, bridge.begin, world.order(), names=LISTED_NAMES)
        order = world.order(uetr=b"b" * 16)
        refused(BridgeCode.SCREENING_HOLD, bridge.begin, order, names=LISTED_NAMES)
        assert compliance.tick(world.now + 4 * S) == []
        assert len(compliance.tick(world.now + 5 * S)) == 1
        compliance.tick(world.now + 10 * S)
        refused(BridgeCode.PROVIDER_REFUSED, bridge.begin, order, names=LISTED_NAMES)
        assert len(world.engines[PAYER].book) == 0

    play(tmp_path, body, screening=Screening(Screen(LISTED, 1), 3, hold_ns=10 * S))


def test_amounts_just_below_a_threshold_are_held(tmp_path) -> None:
    """The third in the band is a case, also when the first two were paid before a restart."""

    async def body(world) -> None:
        for uetr in (b"a", b"b"):
            world.bridge().begin(world.order(9_500, uetr=uetr * 16))
        await world.run()
        await world.close(PAYER)
        compliance = world.open(PAYER).compliance
        error = refused(BridgeCode.SCREENING_HOLD, world.bridge().begin, world.order(9_500))
        assert "structuring" in compliance.cases.case(error.text.split()[-1]).opened.explanation[0]

    play(tmp_path, body, screening=Screening(None, 3, pattern_threshold=10_000))


def test_a_list_is_read_again_and_a_broken_one_is_left(tmp_path) -> None:
    """A bridge does not start without the list that it names; later a file that cannot be read changes nothing."""
    path = tmp_path / "list.json"
    with pytest.raises(ConfigError):
        read_screen(path, 1)
    path.write_bytes(LISTED.encode())

    async def body(world) -> None:
        engine, bridge = world.engines[PAYER], world.bridge()
        files = RuleFiles(None, engine.compliance.use, folder=tmp_path / "none", names=path, suite=1)
        newer = msgspec.structs.replace(LISTED, version=8, entries=(ListEntry("L02", (CLEAN_NAMES[1],)),))
        path.write_bytes(newer.encode() + b"{")
        await files.follow_list()
        bridge.begin(world.order(), names=CLEAN_NAMES)
        path.write_bytes(newer.encode())
        await files.follow_list()
        order = world.order(uetr=b"b" * 16)
        case_id = refused(BridgeCode.SCREENING_HOLD, bridge.begin, order, names=CLEAN_NAMES).text.split()[-1]
        assert engine.compliance.cases.case(case_id).opened.list_version == 8

    play(tmp_path, body, screening=Screening(read_screen(path, 1), 3))


class Officer:
    """A call over a certificate of the bridge's participant, or of another one."""

    def __init__(self, number: int, participant: int = PAYER) -> None:
        self.peer = SimpleNamespace(
            spki=bytes([number]) * 32,
            identity=SimpleNamespace(participant=participant, role=PeerRole.BANK),
            names=(f"cn=officer {number % 10}",),
        )
        self.notes: dict[str, object] = {}


def test_an_officer_is_a_certificate(tmp_path) -> None:
    """Who proposed cannot confirm, whatever he calls himself; a stranger sees nothing; a step is durable when answered."""

    async def body(world) -> None:
        people = PeopleCalls(world.bridge())
        error = refused(BridgeCode.SCREENING_HOLD, world.bridge().begin, world.order(), names=LISTED_NAMES)
        case_id = error.text.split()[-1]
        one, other, stranger = Officer(1), Officer(2), Officer(3, FIRST)

        async def step(officer: Officer, name: str, text: str = "") -> bridge_pb2.StepCaseReply:
            asked = bridge_pb2.StepCaseRequest(version=1, case_id=bytes.fromhex(case_id), step=name, text=text)
            reply = await people.step_case(officer, asked.SerializeToString())
            return bridge_pb2.StepCaseReply.FromString(reply)

        async def listed(officer: Officer) -> bridge_pb2.ListCasesReply:
            asked = bridge_pb2.ListCasesRequest(version=1, limit=10)
            return bridge_pb2.ListCasesReply.FromString(await people.list_cases(officer, asked.SerializeToString()))

        found = (await listed(one)).cases
        assert [each.case_id.hex() for each in found] == [case_id] and "quilon~quillon" in found[0].explanation[0]
        for call in (listed(stranger), step(stranger, "take")):
            with pytest.raises(CallRefused):
                await call
        await step(one, "take")
        assert (await step(one, "propose_release")).refusal.name == "terms_malformed"
        assert (await step(one, "propose_release", "not the listed one")).case.state == "release_proposed"
        # Neither with the same certificate nor with a second one of the same person.
        assert (await step(one, "confirm")).refusal.name == "approval_required"
        assert (await step(Officer(11), "confirm")).refusal.name == "approval_required"
        assert (await step(one, "wave through")).refusal.name == "terms_malformed"
        assert (await step(other, "confirm")).case.state == "released"
        assert len(list(world.engines[PAYER].store.case_entries())) == 4
        assert (await listed(one)).open == 0

    play(tmp_path, body, screening=Screening(Screen(LISTED, 1), 3))


# Transfers beside the locks.


def test_a_batch_names_bindings_of_locks_alone() -> None:
    """A transfer beside a lock has none, and a row of zeros would refuse the whole batch."""
    plain = Transfer(1, 2, 3, 4, CNY, 7, NOW, 60)
    records = [each.encode() for each in (plain, replace(plain, id=5, binding=b"h" * 32), replace(plain, id=6))]
    columns = lock_columns(1, records)
    assert columns.binding_index.tolist() == [1] and columns.bindings.tobytes() == b"h" * 32
    assert columns.records().tobytes() == b"".join(records)


def priced() -> tuple:
    first, second = hops(premium_volatility_ppb=9_000_000)
    back = (FeeRule("clearing", f"{account(91, HKD):032x}", "3", 0, "0", "100"),)
    return msgspec.structs.replace(first, fees=FEES), msgspec.structs.replace(second, fees=back)


def made(world: World) -> set[tuple[int, int, int, int]]:
    return {(each.ledger, each.debit_account, each.credit_account, each.amount) for each in world.plain}


def test_every_unit_of_a_plan_is_made(tmp_path) -> None:
    """Over two hops: legs, premiums, fees and remainders are those of the plan, each once, and each ledger's sum stands."""

    async def body(world) -> None:
        bridge, given = world.bridge(), world.order(hops=2)
        for amount in range(10_000, 10_100):
            order = structs.replace(given, amount=amount)
            plan = bridge.planner.seal(order, world.now).plan
            if {each.purpose.value for each in plan.transfers} == {"premium", "fee", "remainder"}:
                break
        purposes = [each.purpose.value for each in plan.transfers]
        assert {*purposes} == {"premium", "fee", "remainder"} and len({each.ledger for each in plan.transfers}) >= 2
        before = world.balances[CNY, account(PAYER, CNY)]
        swap = bridge.begin(order)
        await world.run()
        assert swap.outcome is Outcome.SETTLED
        await world.run()
        planned = {(each.ledger, each.debit_account, each.credit_account, each.amount) for each in plan.transfers}
        assert made(world) == planned and len(world.plain) == len(plan.transfers)
        assert before - world.balances[CNY, account(PAYER, CNY)] == plan.sent == amount
        assert world.balances[THB, account(PAYEE, THB)] == plan.received
        for ledger, total in world.total.items():
            assert sum(value for (its, _), value in world.balances.items() if its == ledger) == total
        assert [len(each.beside) for each in world.engines.values()] == [0, 0, 0]
        assert all(not each.store.beside() for each in world.engines.values())

    play(tmp_path, body, priced())


def test_a_premium_is_kept_and_nothing_else_is_owed_where_the_payer_walks_away(tmp_path) -> None:
    """The option was taken: its premium is paid when the swap is refunded, fees and remainders are not."""

    async def body(world) -> None:
        bridge, order = world.bridge(), world.order(10_007, hops=2)
        plan = bridge.planner.seal(order, world.now).plan
        swap = bridge.begin(order)
        await world.run(hold_back=True)
        world.reveals.clear()
        world.end_locks(None)
        world.time_passes(90)
        await world.run()
        assert swap.outcome is Outcome.REFUNDED
        premiums = {each.amount for each in plan.transfers if each.purpose.value == "premium"}
        assert {each.amount for each in world.plain} == premiums and len(world.plain) == 2
        assert [len(each.beside) for each in world.engines.values()] == [0, 0, 0]

    play(tmp_path, body, priced())


def test_no_provider_locks_for_a_premium_that_is_not_final(tmp_path) -> None:
    """A promise is no premium: he accepts nothing, and another amount than is owed is refused."""

    async def body(world) -> None:
        def submit(line, digest, record):
            if Transfer.decode(record).kind == TransferKind.LOCK:
                World.submit(world, line, digest, record)

        world.submit = submit
        world.bridge().begin(world.order(10_007))
        await world.run()
        assert len(world.engines[PAYER].beside) and not world.engines[FIRST].book
        assert world.balances[HKD, account(FIRST, HKD)] == 10**12
        (swap,) = world.engines[PAYER].book
        (quote,) = (SignedQuote.decode(each).quote for each in swap.quotes)
        less = replace(Transfer.decode(swap.premium), amount=1).encode()
        shown = world.engines[FIRST].premiums.shown
        refused(BridgeCode.LEGS_DO_NOT_MATCH, shown, swap.terms, 1, (quote,), less, swap.party)

    play(tmp_path, body, priced())


def test_an_unanswered_transfer_is_sent_again_as_the_same_bytes(tmp_path) -> None:
    """After a restart too: the ledger sees one record however often it is sent."""

    async def body(world) -> None:
        sent: list[tuple[int, bytes]] = []
        bridge = world.bridge()
        swap = bridge.begin(world.order(10_007))
        plain_submit = World.submit

        def submit(line, digest, record):
            if Transfer.decode(record).kind == TransferKind.LOCK:
                plain_submit(world, line, digest, record)
            else:
                sent.append((line.domain, record))

        world.submit = submit
        await world.run()
        assert swap.outcome is Outcome.SETTLED
        lost = set(sent)
        assert lost and not world.plain
        sent.clear()
        world.now += 6 * S
        await world.close(PAYER)
        world.open(PAYER)
        await world.run()
        assert {each for each in lost if each[0] == CNY} == {each for each in sent if each[0] == CNY}
        del world.submit
        await world.close(PAYER)
        world.open(PAYER)
        await world.run()
        count = len(world.plain)
        assert count and not world.engines[PAYER].store.beside()
        await world.close(PAYER)
        world.open(PAYER)
        await world.run()
        assert len(world.plain) == count

    play(tmp_path, body, tuple(msgspec.structs.replace(each, premium_volatility_ppb=0) for each in priced()))
