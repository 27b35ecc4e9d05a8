"""Outcomes of screening (SCREEN-9 to -12): signed, kept before the payment goes on, put on a ledger's record once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bridge.cases import Step
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import Screen
from bridge.screening_record import ScreeningOutcome, ScreeningRecord, SignedScreening
from clearspan.bridging.journal.store import JournalStore, Written
from clearspan.bridging.rules.compliance import Compliance
from clearspan.bridging.rules.held import HeldPayments, Screening
from clearspan.bridging.rules.outcome_log import OutcomeLog
from clearspan.bridging.rules.outcomes import Outcome, OutcomeBook, newest_outcomes, outcomes_of
from clearspan.errors import Unreachable
from clearspan.keys import KeyRing
from engine.prefix import PrefixType, signing_prefix
from engine.types import AdminType, KeyId, ParticipantId, Role, SigningSuite
from native.codes import ResultCode
from native.signatures import verify
from tests.behaviour.bridge_papers import CNY, HKD, NOW, PAYER, S, account, document
from tests.behaviour.bridging_world import Keys, genesis, play
from tests.behaviour.swap_stage import leg, terms
from tests.behaviour.test_bridging_rules import CLEAN_NAMES, LISTED, LISTED_NAMES

GENESIS = genesis()
RECORD = ScreeningRecord(
    ScreeningOutcome.HOLD, 9_700, PAYER, 5, 7, NOW, b"c" * 16, b"l" * 32, b"m" * 32, b"e" * 32
)  # fmt: skip


class Ring(Keys):
    """A participant's keys, one of them of role screening with id 5."""

    def __init__(self, *, screens: bool = True) -> None:
        self.keys = KeyRing()
        index = self.keys.create(SigningSuite.ED25519, ParticipantId(PAYER), Role.SCREENING)
        self.keys.set_key_id(index, KeyId(5))
        self.screens = screens

    def role_key(self, domain: int, role: Role) -> int:
        return 5 if self.screens and role is Role.SCREENING else 0

    def ring(self, domain: int) -> KeyRing:
        return self.keys

    def sign(self, domain: int, key_id: int, message: bytes) -> bytes:
        return self.keys.sign(self.keys.index_of(key_id), message)


class Ledger:
    """A node that keeps what it is asked and answers as it is told, one answer for each call."""

    def __init__(self, *answers: ResultCode | None) -> None:
        self.answers, self.asked, self.client, self.domain = list(answers), [], self, CNY
        self.on_asked = lambda: None

    async def administer(self, columns) -> object:
        self.on_asked()
        self.asked.append([columns.request(row) for row in range(columns.count)])
        code = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if code is None:
            raise Unreachable("a ledger of the test", "does not answer")
        count = columns.count
        return SimpleNamespace(codes=np.full(count, code), times=np.full(count, NOW + 9))


class Bench:
    """A book, its store and its log over one ledger."""

    def __init__(self, folder, *answers: ResultCode | None) -> None:
        self.store = JournalStore(folder / "journal", 1 << 24)
        self.keys, self.ledger, self.now = Ring(), Ledger(*answers), NOW
        self.book, self.called = OutcomeBook(GENESIS, self.keys), []
        self.log = OutcomeLog(
            GENESIS,
            self.book,
            self.keys,
            {CNY: self.ledger},
            committed=self.commit,
            now=lambda: self.now,
            call_out=self.called.extend,
        )

    async def commit(self) -> None:
        await self.store.append(Written(kept=self.book.take()))

    def standing(self) -> list[tuple[str, int]]:
        return [(each.state.name, each.at) for each in outcomes_of(self.store, RECORD.message_hash)]


def run(folder, body, *answers) -> None:
    async def work() -> None:
        bench = Bench(folder, *answers)
        bench.book.note(RECORD, CNY, account(PAYER, CNY))
        await body(bench)
        bench.store.close()

    asyncio.run(work())


def test_what_goes_on_the_record_is_the_outcome_and_no_name() -> None:
    """The law's fields are in the request; the signature is of T(screening) and of nothing else."""
    book = OutcomeBook(GENESIS, Ring())
    book.note(RECORD, CNY, account(PAYER, CNY))
    (outcome,) = book.waiting(9)
    request = outcome.request
    assert (request.type, request.role, request.reason, request.key_id) == (AdminType.SCREENING, 2, 9_700, 7)
    assert (request.participant, request.ledger, request.subject) == (PAYER, CNY, account(PAYER, CNY))
    assert request.limit_a == int.from_bytes(b"c" * 16, "big")
    assert request.public_key == b"m" * 32 + RECORD.digest(1, GENESIS.hash)
    assert Outcome.decode(outcome.encode()) == outcome
    message = signing_prefix(1, PrefixType.SCREENING, GENESIS.hash) + RECORD.encode()
    key = book._keys.keys[0].public_key
    assert verify(SigningSuite.ED25519, key, outcome.signed.signature, message)
    assert not verify(SigningSuite.ED25519, key, outcome.signed.signature, RECORD.encode())
    changed = replace(RECORD, score=9_701).message(1, GENESIS.hash)
    assert not verify(SigningSuite.ED25519, key, outcome.signed.signature, changed)


def test_an_outcome_is_durable_before_it_leaves_and_goes_again_as_the_same_bytes(tmp_path) -> None:
    """A ledger that does not answer, and one that is busy, is asked again; once it answered it is not."""

    async def body(bench: Bench) -> None:
        assert bench.standing() == []
        found: list[list[tuple[str, int]]] = []
        bench.ledger.on_asked = lambda: found.append(bench.standing())
        for _ in range(2):
            assert not await bench.log.send()
            assert bench.standing() == [("WAITING", 0)] and len(bench.book) == 1
        assert await bench.log.send() and await bench.log.send()
        assert bench.standing() == [("ON_RECORD", NOW + 9)]
        assert len({asked[0].encode() for asked in bench.ledger.asked}) == 1 and len(bench.ledger.asked) == 3
        assert found == [[("WAITING", 0)]] * 3, "whatever leaves is on the disk"
        assert not bench.book.came.is_set()
        assert [each.signed.record for each in newest_outcomes(bench.store, 5)] == [RECORD]

    run(tmp_path, body, None, ResultCode.ACCOUNTS_FULL, ResultCode.CREATED)


def test_what_no_ledger_answered_is_known_after_a_restart(tmp_path) -> None:
    """The same bytes go again; what was answered does not."""

    async def body(bench: Bench) -> None:
        await bench.log.send()
        first = bench.ledger.asked[0][0]
        again = OutcomeBook(GENESIS, bench.keys)
        again.restore(bench.store)
        assert [each.request for each in again.waiting(9)] == [first] and again.came.is_set()
        log = OutcomeLog(GENESIS, again, bench.keys, {CNY: bench.ledger}, committed=bench.commit, now=lambda: NOW)
        bench.book = again
        assert await log.send()
        assert bench.standing() == [("ON_RECORD", NOW + 9)]
        third = OutcomeBook(GENESIS, bench.keys)
        third.restore(bench.store)
        assert len(third) == 0

    run(tmp_path, body, None, ResultCode.EXISTS)


def test_a_request_whose_time_is_over_is_renewed_under_its_id(tmp_path) -> None:
    """However long a ledger is away, there is one outcome on its record; one that it refuses for good is kept as that."""

    async def body(bench: Bench) -> None:
        await bench.log.send()
        bench.now += 601 * S
        await bench.log.send()
        first, second = (each[0] for each in bench.ledger.asked)
        assert second.expires_at > bench.now and (second.id, second.public_key) == (first.id, first.public_key)
        assert await bench.log.send()
        assert bench.standing() == [("REFUSED", NOW + 9)]
        assert bench.called == ["ledger 1 refuses an outcome of screening: key_not_in_force"]

    run(tmp_path, body, None, ResultCode.EXPIRED, ResultCode.KEY_NOT_IN_FORCE)


def test_a_ledger_that_is_away_keeps_no_other_one_back(tmp_path) -> None:
    """However many wait for it: each ledger is offered its own oldest."""

    async def body(bench: Bench) -> None:
        other = Ledger(ResultCode.CREATED)
        bench.log._ledgers = {CNY: bench.ledger, HKD: other}
        bench.book.note(replace(RECORD, message_hash=b"n" * 32, screened_at=NOW + S), HKD, account(PAYER, HKD))
        assert len(bench.book.waiting(1)) == 2 and not await bench.log.send()
        assert [each.ledger for each in bench.book.waiting(9)] == [CNY] and len(other.asked) == 1

    run(tmp_path, body, None)


def test_the_same_outcome_is_kept_once(tmp_path) -> None:
    """A payment that is sent again while it is held is no second outcome; under a newer list it is."""

    async def body(bench: Bench) -> None:
        bench.book.note(replace(RECORD, screened_at=NOW + S), CNY, account(PAYER, CNY))
        assert len(bench.book) == 1
        bench.book.note(replace(RECORD, screened_at=NOW + S, list_version=8), CNY, account(PAYER, CNY))
        assert len(bench.book) == 2
        await bench.log.send()
        assert len(bench.standing()) == 2

    run(tmp_path, body, ResultCode.CREATED)


def test_a_bridge_keeps_a_pass_a_hold_and_what_was_released(tmp_path) -> None:
    """Each outcome is written with the case, before it is answered; without a screening key none is made."""

    async def body(world) -> None:
        engine, bridge = world.engines[PAYER], world.bridge()
        for screens in (False, True):
            book = OutcomeBook(world.genesis, Ring(screens=screens))
            engine.compliance = Compliance(world.genesis, PAYER, engine.corridors, world.screening, book)
            engine.acting._compliance = engine.compliance
            with pytest.raises(BridgeRefused) as caught:
                bridge.begin(world.order(), names=LISTED_NAMES)
            case_id = caught.value.text.split()[-1]
            await engine.committed()
            case = engine.compliance.cases.case(case_id)
            message = bytes.fromhex(case.opened.message_hash)
            assert case.opened.ledgers == (1, 2)
            kept = outcomes_of(engine.store, message)
            assert len(kept) == screens
        (held,) = kept
        assert (held.signed.record.case_id.hex(), held.ledger) == (case_id, CNY)
        assert bridge.begin(world.order(uetr=b"p" * 16), names=CLEAN_NAMES).outcome is None
        for step, officer in (("take", "a"), ("propose_release", "a"), ("confirm", "b")):
            engine.compliance.step(case_id, Step(step), officer, world.now, "looked")
        world.now += S
        bridge.begin(world.order(), names=LISTED_NAMES)
        await engine.committed()
        assert [each.signed.record.outcome.name for each in outcomes_of(engine.store, message)] == ["HOLD", "PASS"]
        assert len(newest_outcomes(engine.store, 9)) == 3

    play(tmp_path, body, screening=Screening(Screen(LISTED, 1), 3))


def test_a_payment_from_a_chain_stands_on_the_record_of_the_ledger_that_pays_out() -> None:
    """There is no ledger of ours on the payer's side: the payee's account and ledger are named, under its key."""
    legs = leg(chain="evm"), leg(HKD, payer=21, payee=31)
    made, _ = terms(*legs)
    book = OutcomeBook(GENESIS, Ring())
    held = HeldPayments(GENESIS, PAYER, Screening(Screen(LISTED, 1), 3), book)
    for names, message in ((LISTED_NAMES, b"h" * 32), (CLEAN_NAMES, b"c" * 32)):
        with suppress(BridgeRefused):
            held.demand(message, made, (document(),), names=names, holding=(), now=NOW)
    found = book.waiting(9)
    assert [(each.ledger, each.account, each.signed.record.key_id) for each in found] == [
        (HKD, legs[1].credit_id, 5)
    ] * 2
    assert [each.signed.record.outcome.name for each in found] == ["HOLD", "PASS"]


def test_a_signed_record_speaks_of_its_message_under_a_screening_key() -> None:
    """Whoever is shown one asks for the key's role, its holder and the message."""
    book = OutcomeBook(GENESIS, Ring())
    book.note(RECORD, CNY, account(PAYER, CNY))
    signed = SignedScreening.decode(book.waiting(1)[0].signed.encode())
    info = book._keys.keys[0]
    key = SimpleNamespace(
        participant=PAYER, role=Role.SCREENING, suite=1, public_key=info.public_key.ljust(64, b"\0"),
        in_force=lambda _: True,
    )  # fmt: skip
    signed.verify(1, GENESIS.hash, {5: key}.get, RECORD.message_hash, NOW)
    for keys, message in (({}, b"m" * 32), ({5: key}, b"n" * 32)):
        with pytest.raises(BridgeRefused) as caught:
            signed.verify(1, GENESIS.hash, keys.get, message, NOW)
        assert caught.value.code is BridgeCode.SCREENING_HOLD
