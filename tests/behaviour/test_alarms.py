"""Alarms: kept over a restart, counted and not repeated, acknowledged by a person, bounded."""

from __future__ import annotations

import pytest

from bridge.ports import Alarm as Raised
from bridge.ports import AlarmKind, Outcome
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import Screen
from clearspan.bridging.journal import alarms as module
from clearspan.bridging.journal.alarms import ALARM_ROWS, BESIDE, CASE, Alarms
from clearspan.bridging.rules.held import Screening
from clearspan.bridging.serving.people import PeopleCalls
from clearspan.v1 import bridge_pb2
from engine.refusals import EncodingError
from tests.behaviour.bridge_papers import NOW, PAYER, S
from tests.behaviour.bridging_world import play
from tests.behaviour.test_bridging_rules import LISTED, LISTED_NAMES, Officer

SWAP = b"s" * 32


class Clock:
    """Our clock, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def kept(book: Alarms, rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    for key, data in book.take_kept():
        if data is None:
            rows.pop(key, None)
        else:
            rows[key] = data
    return rows


def again(rows: dict[bytes, bytes], clock: Clock) -> Alarms:
    made = Alarms(clock)
    made.restore(sorted(rows.items()))
    return made


def test_an_alarm_outlives_a_restart_and_is_counted_when_it_comes_again() -> None:
    """One line with its first and its last time; after an acknowledgement it is a new one."""
    clock, rows = Clock(), {}
    book = Alarms(clock)
    book.sound(AlarmKind.HALF_MARGIN, "half is gone", SWAP)
    clock.now += S
    book = again(kept(book, rows), clock)
    book.sound(AlarmKind.HALF_MARGIN, "half is gone", SWAP)
    book.sound(AlarmKind.HALF_MARGIN, "half is gone", b"t" * 32)
    (first, second) = book.open()
    assert (first.count, first.first_at, first.last_at, second.count) == (2, NOW, NOW + S, 1)
    assert first.line.startswith(SWAP.hex()[:16]) and "goes on by itself" in first.next_step
    done = book.acknowledge(first.number, "officer-a", "node was down")
    assert (done.by, done.acknowledged_at, done.note) == ("officer-a", NOW + S, "node was down")
    book = again(kept(book, rows), clock)
    assert [each.number for each in book.open()] == [second.number]
    assert [each.by for each in book.newest(9, whole=True)] == ["officer-a", ""]
    assert book.sound(AlarmKind.HALF_MARGIN, "half is gone", SWAP).number == 3


def test_who_acknowledges_twice_or_what_is_unknown_is_refused() -> None:
    """There is nothing to acknowledge then."""
    book = Alarms(Clock())
    number = book.sound(CASE, "case 1 is undecided").number
    book.acknowledge(number, "a")
    for each in (number, 9):
        with pytest.raises(BridgeRefused) as caught:
            book.acknowledge(each, "b")
        assert caught.value.code is BridgeCode.ALARM_UNKNOWN


def test_the_oldest_go_first_and_of_those_the_acknowledged(monkeypatch) -> None:
    """What nobody has seen is kept as long as there is room."""
    monkeypatch.setattr(module, "KEPT_MAX", 3)
    clock, rows = Clock(), {}
    book = Alarms(clock)
    for number in range(3):
        book.sound(BESIDE, f"transfer {number}")
    book.acknowledge(2, "a")
    book.sound(BESIDE, "transfer 3")
    assert [each.number for each in book.open()] == [1, 3, 4] and book.dropped == 1
    book.sound(BESIDE, "transfer 4")
    assert [each.number for each in again(kept(book, rows), clock).open()] == [3, 4, 5]
    assert all(key.startswith(ALARM_ROWS) for key in rows)


def test_a_row_that_is_none_is_refused() -> None:
    """A journal that cannot be read does not start a bridge."""
    with pytest.raises(EncodingError):
        Alarms(Clock()).restore([(ALARM_ROWS, b"{}")])


def test_every_kind_says_what_to_do() -> None:
    """No alarm leaves a person without a next step."""
    book = Alarms(Clock())
    for kind in (*AlarmKind, CASE, BESIDE, "new kind"):
        assert book.sound(kind, "text").next_step.endswith(".")


def test_a_bridge_lists_its_alarms_until_they_are_acknowledged(tmp_path) -> None:
    """Of a swap and of a case, after a restart too; only its own people acknowledge."""

    async def body(world) -> None:
        swap = world.bridge().begin(world.order(uetr=b"r" * 16), names=("Novamar", "Lanjiao"))
        with pytest.raises(BridgeRefused):
            world.bridge().begin(world.order(), names=LISTED_NAMES)
        await world.run(hold_back=True)
        engine = world.engines[PAYER]
        engine.telling.alarm(swap, Raised(AlarmKind.HALF_MARGIN, "half of it is gone"))
        engine.telling.call_out(engine.compliance.tick(world.now + 5 * S))
        await engine.committed()
        await world.close(PAYER)
        engine = world.open(PAYER)
        assert [(each.kind, each.swap) for each in engine.telling.alarms.open()] == [
            ("half_margin", swap.swap.hex()), ("case", ""),
        ]  # fmt: skip
        world.time, world.following = 0, ""
        status = world.bridge().status("test")
        assert (status.alarms_open, len(status.open_alarms), status.cases_open) == (2, 2, 1)
        people = PeopleCalls(world.bridge())
        asked = bridge_pb2.AcknowledgeAlarmRequest(version=1, number=1, text="seen").SerializeToString()
        with pytest.raises(Exception, match="own participant"):
            await people.acknowledge_alarm(Officer(3, 21), asked)
        reply = bridge_pb2.AcknowledgeAlarmReply.FromString(await people.acknowledge_alarm(Officer(1), asked))
        assert (reply.alarm.acknowledged_by, reply.alarm.note) == ((b"\1" * 32).hex(), "seen")
        again_ = bridge_pb2.AcknowledgeAlarmReply.FromString(await people.acknowledge_alarm(Officer(1), asked))
        assert again_.refusal.name == "alarm_unknown"
        await world.close(PAYER)
        assert [each.kind for each in world.open(PAYER).telling.alarms.open()] == ["case"]
        await world.run()
        assert [each.outcome for each in (swap,)] and world.engines[PAYER].book.counts[Outcome.SETTLED] == 1

    play(tmp_path, body, screening=Screening(Screen(LISTED, 1), 3, hold_ns=10 * S))
