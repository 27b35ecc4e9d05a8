"""Corridors (CORRIDOR-1 to -14): canonical documents, versions by relay height, hours across changes of clocks, limits."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.calendar import Calendar, Hours, SpecialDay, day_of, opens_at, window_of, zone_of
from bridge.corridor import CorridorBook, CorridorDocument, Limits, SupervisorKey, decode_document
from bridge.fees import FeeRule, fee_total, fees_of
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.usage import CorridorUsage
from engine.governance import CORRIDOR_BYTES_MAX, Corridor
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, NOW, PAYER, THB, account, calendar, document

HOUR, MINUTE = 3600 * 10**9, 60 * 10**9


def at(text: str) -> int:
    """An instant in ns from an ISO text with its offset."""
    return int(datetime.fromisoformat(text).timestamp()) * 10**9


def refused(code: BridgeCode, call, *arguments) -> str:
    with pytest.raises(BridgeRefused) as caught:
        call(*arguments)
    assert caught.value.code is code, caught.value
    return caught.value.text


# Documents.


def test_a_document_has_one_encoding() -> None:
    """Canonical JSON: sorted keys, no spaces, amounts as text; what decodes encodes to the same bytes."""
    made = document(calendars=(calendar(),), fees=(FeeRule("scheme", f"{5:032x}", "10", 50, "20", "1000"),))
    data = made.encode()
    assert decode_document(data) == made
    assert list(json.loads(data)) == sorted(json.loads(data)) and b": " not in data
    assert isinstance(json.loads(data)["limits"]["payment_most"], str)
    for other in (data + b" ", data.replace(b'"format":1', b'"format": 1'), data[:-1], b"", b"[" * 100_000):
        refused(BridgeCode.CORRIDOR_MALFORMED, decode_document, other)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 0), ("source_ledger", HKD), ("lock_s", 0), ("lock_s", 86_401), ("providers", [22, 21]),
        ("providers", [21, 21]), ("hash_functions", ["md5"]), ("hash_functions", []), ("roundings", [4]),
        ("remainder_source_account", "0" * 32), ("remainder_target_account", "5"), ("id", "0" * 32), ("format", 2),
        ("limits.payment_least", "0"), ("limits.payment_most", "9" * 39), ("limits.payment_most", 5),
        ("limits.payment_most", "007"), ("limits.day_zone", "Nowhere/Land"), ("limits.day_zone", "../../etc/passwd"),
        ("limits.day_most", "1"), ("screening.hold_score", 10_001), ("screening.supervisors", []),
        ("margins.stall.ns", -1), ("margins.stall.basis", ""), ("approval_note", ""), ("unknown", 1),
    ],
)  # fmt: skip
def test_a_document_that_contradicts_itself_is_refused(path: str, value: object) -> None:
    """Each wrong field is refused with its own words, and nothing that is unknown is skipped."""
    tree = json.loads(document().encode())
    place = tree
    *parents, last = path.split(".")
    for each in parents:
        place = place[each]
    place[last] = value
    refused(BridgeCode.CORRIDOR_MALFORMED, decode_document, msgspec.json.encode(tree, order="sorted"))


def test_supervisors_are_two_and_their_keys_have_the_length_of_their_scheme() -> None:
    """Travel-rule data for one supervisor twice, or for a key that is none, would be read by nobody."""
    twice = (SupervisorKey(101, 1, "x25519", "09" + "0" * 62), SupervisorKey(101, 2, "x25519", "09" + "0" * 62))
    wrong = (SupervisorKey(101, 1, "p256", "09" + "0" * 62), SupervisorKey(102, 2, "x25519", "09" + "0" * 62))
    for pair in (twice, wrong):
        screening = msgspec.structs.replace(document().screening, supervisors=pair)
        refused(BridgeCode.CORRIDOR_MALFORMED, lambda: document(screening=screening))


def test_a_document_fits_the_relays_record_or_is_refused() -> None:
    """The relay's bound on bytes is the document's."""
    fits = document(rules=("r" * 480,) * 30)
    assert fits.record(5).encode()[-10:] == fits.encode()[-10:]
    big = document(rules=("r" * 500,) * 32)
    assert len(msgspec.json.encode(big)) > CORRIDOR_BYTES_MAX
    refused(BridgeCode.CORRIDOR_MALFORMED, big.encode)


def test_margins_come_with_their_basis_and_leave_as_numbers() -> None:
    """What the document states is what the margins add up."""
    rules = document().margins
    foreign = msgspec.structs.replace(rules, foreign={"besu": rules.home})
    margins = document(margins=foreign).margins_of()
    assert margins.needed("", "besu") == 6 * 2 * 10**9 + 2 * 2 * 10**9 + 2 * 2 * 10**9
    assert margins.needed("", "") == 0


# Versions and relay heights.


def test_the_newest_version_whose_height_is_reached_is_in_effect() -> None:
    """A version announced for later changes nothing before its height, and everything from it on."""
    first, second = document(), document(version=2, lock_s=20)
    book = CorridorBook.of([first.record(100), second.record(200)])
    key = first.id_bytes
    refused(BridgeCode.CORRIDOR_NOT_IN_EFFECT, book.in_effect, key, 99)
    refused(BridgeCode.CORRIDOR_UNKNOWN, book.in_effect, bytes(16), 100)
    assert [book.in_effect(key, height).version for height in (100, 199, 200, 10**9)] == [1, 1, 2, 2]
    assert book.between(CNY, HKD, 150) == (first,)
    assert book.between(HKD, CNY, 150) == ()
    assert book.demand_version(key, 2, 200) == second
    refused(BridgeCode.CORRIDOR_NOT_IN_EFFECT, book.demand_version, key, 1, 200)
    assert book.add(second.record(200)) == second, "a record seen again changes nothing"
    refused(BridgeCode.CORRIDOR_MALFORMED, book.add, document(version=1, lock_s=9, id="9" * 32).record(1).__class__(
        first.id_bytes, 3, 1, first.encode()
    ))  # fmt: skip


def test_a_record_whose_document_is_not_its_own_keeps_what_was_in_effect() -> None:
    """Number and id in the record are those of the document; a document that cannot be read replaces nothing."""
    first = document()
    book = CorridorBook.of([first.record(1)])
    for record in (Corridor(first.id_bytes, 2, 1, first.encode()), Corridor(first.id_bytes, 2, 1, b"{}")):
        refused(BridgeCode.CORRIDOR_MALFORMED, book.add, record)
    assert book.in_effect(first.id_bytes, 1) == first


# Hours and holidays.

ZONES = {
    "America/New_York": ("2026-03-06", "2026-10-30"),
    "Europe/London": ("2026-03-27", "2026-10-23"),
    "Australia/Lord_Howe": ("2026-04-03", "2026-10-02"),  # half an hour
    "America/Havana": ("2024-03-08", "2024-11-01"),  # changes at midnight
    "Asia/Shanghai": ("2026-03-06",),  # never changes
    "Pacific/Apia": ("2011-12-28",),  # a day that does not exist
    "Africa/Casablanca": ("2026-02-13", "2026-03-20"),
}
SPANS = (("00:00", "01:30"), ("01:15", "02:15"), ("02:30", "03:00"), ("00:00", "24:00"), ("23:00", "24:00"))


def slow_opening(zone: str, opens: str, closes: str, start: int, minutes: int) -> list[bool]:
    """Minute by minute: a day's interval begins when clocks first show its beginning, and ends when they first show its end."""
    local = [(datetime.fromtimestamp(0, UTC) + timedelta(seconds=start // 10**9 + 60 * step)).astimezone(zone_of(zone))
             for step in range(minutes)]  # fmt: skip
    shown = [(each.date(), f"{each.hour:02}:{each.minute:02}") for each in local]
    days = sorted({day for day, _ in shown})
    found = [False] * minutes
    for day in days:
        begun = ended = False
        for step, now in enumerate(shown):
            begun = begun or now >= (day, opens)
            ended = ended or now >= (day, closes) or now >= (day + timedelta(days=1), "00:00")
            found[step] = found[step] or (begun and not ended)
    return found


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("span", SPANS, ids="-".join)
def test_hours_are_local_across_every_change_of_clocks(zone: str, span: tuple[str, str]) -> None:
    """Four days around each change, minute by minute, against a slow reading of the clocks."""
    opens, closes = span
    made = Calendar(zone, tuple(Hours(day, opens, closes) for day in range(1, 8)))
    for first in ZONES[zone]:
        start = int(datetime.combine(date.fromisoformat(first), datetime.min.time(), UTC).timestamp()) * 10**9
        # The first day is left to the slow reader to get into step.
        expected = slow_opening(zone, opens, closes, start - 36 * HOUR, 60 * 24 * 6)[60 * 36 :]
        for step in range(0, len(expected), 7):
            assert window_of((made,), start + step * MINUTE).is_open == expected[step], (zone, first, span, step)


def test_a_missing_hour_opens_at_the_change_and_a_doubled_one_closes_once() -> None:
    """The two borders by hand, in New York."""
    night = Calendar("America/New_York", (Hours(7, "02:30", "05:00"),))
    assert opens_at((night,), at("2026-03-08T00:00:00-05:00")) == at("2026-03-08T03:00:00-04:00")
    early = Calendar("America/New_York", (Hours(7, "00:00", "01:30"),))
    assert window_of((early,), at("2026-11-01T00:00:00-04:00")).until_ns == at("2026-11-01T01:30:00-04:00")
    assert not window_of((early,), at("2026-11-01T01:15:00-05:00")).is_open, "the second 01:15 is after the close"


@given(st.integers(at("2026-01-01T00:00:00+00:00"), at("2027-12-31T00:00:00+00:00")))
@settings(max_examples=150, deadline=None)
def test_an_answer_holds_until_the_instant_it_names(now: int) -> None:
    """From asking until ``until_ns`` the answer is the same; an opening is the first instant that is open."""
    sides = (calendar("Asia/Shanghai"), calendar("America/New_York", "00:00", "12:00", holidays=("2026-12-25",)))
    window = window_of(sides, now)
    assert window.until_ns > now
    for instant in (now + (window.until_ns - now) // 2, window.until_ns - 1):
        assert window_of(sides, instant).is_open == window.is_open
    opening = opens_at(sides, now)
    assert opening is not None and opening >= now and window_of(sides, opening).is_open
    assert opening == now or not window_of(sides, opening - 1).is_open
    assert window.is_open == (opening == now)


def test_holidays_close_special_days_open_and_both_sides_must_be_open() -> None:
    """A holiday closes one side and with it the corridor; a special day has hours of its own even on a holiday."""
    side = calendar(holidays=("2026-10-01", "2026-10-02"), special=(SpecialDay("2026-10-02", "10:00", "12:00"),))
    other = calendar("Europe/London", "08:00", "16:00")
    for text, open_one, open_both in (
        ("2026-09-30T16:30:00+08:00", True, True),
        ("2026-09-30T10:00:00+08:00", True, False),
        ("2026-10-01T16:30:00+08:00", False, False),
        ("2026-10-02T11:00:00+08:00", True, False),
        ("2026-10-02T12:00:00+08:00", False, False),
        ("2026-10-03T11:00:00+08:00", False, False),
    ):
        assert (window_of((side,), at(text)).is_open, window_of((side, other), at(text)).is_open) == (
            open_one,
            open_both,
        ), text
    made = document(calendars=(side, other))
    made.demand_open(at("2026-09-30T16:30:00+08:00"))
    assert "opens at" in refused(BridgeCode.CORRIDOR_CLOSED, made.demand_open, at("2026-10-01T16:30:00+08:00"))
    never = document(calendars=(Calendar("Asia/Shanghai", ()),))
    assert "not within a year" in refused(BridgeCode.CORRIDOR_CLOSED, never.demand_open, NOW)
    refused(BridgeCode.CORRIDOR_CLOSED, document(suspended=True).demand_open, NOW)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Calendar("Asia/Shanghai", (Hours(1, "09:00", "09:00"),)),
        lambda: Calendar("Asia/Shanghai", (Hours(1, "22:00", "06:00"),)),
        lambda: Calendar("Asia/Shanghai", (Hours(1, "09:00", "12:00"), Hours(1, "11:00", "13:00"))),
        lambda: Calendar("Asia/Shanghai", (Hours(2, "09:00", "12:00"), Hours(1, "09:00", "12:00"))),
        lambda: Calendar("Asia/Shanghai", (Hours(1, "9:00", "12:00"),)),
        lambda: Calendar("Asia/Shanghai", (), ("2026-02-30",)),
        lambda: Calendar("Asia/Shanghai", (), ("2026-02-02", "2026-02-01")),
        lambda: Calendar("Asia/Shanghai", (), (), (SpecialDay("2026-01-01", "12:00", "11:00"),)),
        lambda: Calendar("Mars/Base", ()),
    ],
)
def test_hours_that_make_no_sense_are_refused(make) -> None:
    """Empty, backward, overlapping and unordered hours; dates and zones that do not exist."""
    refused(BridgeCode.CORRIDOR_MALFORMED, make)


def test_a_day_begins_at_local_midnight() -> None:
    """Daily limits count by the date of the document's zone."""
    assert day_of(at("2026-05-04T23:59:59+08:00"), "Asia/Shanghai") + 1 == day_of(
        at("2026-05-05T00:00:00+08:00"), "Asia/Shanghai"
    )
    assert day_of(at("2026-05-05T00:00:00+08:00"), "UTC") + 1 == day_of(
        at("2026-05-05T00:00:00+08:00"), "Asia/Shanghai"
    )


# Limits, fees, providers.

LIMITED = document(limits=Limits("10", "1000", "2500", "1500", "Asia/Shanghai"))


def test_limits_of_payment_participant_and_day_hold_to_the_unit() -> None:
    """Each border from both sides; what is refused counts nothing; what did not settle is given back."""
    usage = CorridorUsage()
    for amount in (9, 1001):
        refused(BridgeCode.CORRIDOR_LIMIT_EXCEEDED, usage.take, LIMITED, PAYER, amount, NOW)
    usage.take(LIMITED, PAYER, 1000, NOW)
    taken = usage.take(LIMITED, PAYER, 500, NOW)
    refused(BridgeCode.CORRIDOR_LIMIT_EXCEEDED, usage.take, LIMITED, PAYER, 10, NOW)
    usage.take(LIMITED, 12, 1000, NOW)
    refused(BridgeCode.CORRIDOR_LIMIT_EXCEEDED, usage.take, LIMITED, 12, 10, NOW)
    assert usage.used(LIMITED.id_bytes, PAYER) == (2500, 1500)
    usage.give_back(taken)
    assert usage.used(LIMITED.id_bytes, PAYER) == (2000, 1000)
    usage.take(LIMITED, 12, 500, NOW)
    # The next local day begins anew, and what was taken yesterday has nothing to give back.
    usage.take(LIMITED, PAYER, 1000, NOW + 24 * HOUR)
    usage.give_back(taken)
    assert usage.used(LIMITED.id_bytes, PAYER) == (1000, 1000)
    # A clock that goes back opens no old day.
    usage.take(LIMITED, PAYER, 500, NOW)
    assert usage.used(LIMITED.id_bytes, PAYER) == (1500, 1500)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(10, 1000), st.booleans()), max_size=30))
def test_no_sum_of_a_day_ever_exceeds_its_limit(payments: list[tuple[int, int, bool]]) -> None:
    """Random takes and returns: the sums are those of what stands, and restoring them gives them again."""
    usage, standing = CorridorUsage(), []
    for participant, amount, returns in payments:
        try:
            standing.append(usage.take(LIMITED, participant, amount, NOW))
        except BridgeRefused:
            continue
        if returns:
            usage.give_back(standing.pop())
    again = CorridorUsage()
    for each in standing:
        again.restore(each)
    for participant in (1, 2, 3):
        own = sum(each.amount for each in standing if each.participant == participant)
        total = sum(each.amount for each in standing)
        assert usage.used(LIMITED.id_bytes, participant) == again.used(LIMITED.id_bytes, participant) == (total, own)
        assert own <= 1500 and total <= 2500


def test_fees_are_rounded_up_once_and_stay_within_their_bounds() -> None:
    """Flat plus share, least and most, and one fee for each rule that asks for anything."""
    rules = (
        FeeRule("scheme", f"{account(90, CNY):032x}", "0", 100, "5", "1000"),
        FeeRule("levy", f"{account(91, CNY):032x}", "3", 0, "0", "3"),
        FeeRule("waived", f"{account(92, CNY):032x}", "0", 0, "0", "0"),
    )
    assert [(fee.name, fee.amount) for fee in fees_of(rules, 1)] == [("scheme", 5), ("levy", 3)]
    assert [fee.amount for fee in fees_of(rules, 100_001)] == [11, 3]
    assert fee_total(rules, 10**12) == 1003
    sums = [fee_total(rules, amount) for amount in range(0, 200_000, 997)]
    assert all(a <= b for a, b in pairwise(sums))
    refused(BridgeCode.CORRIDOR_MALFORMED, lambda: FeeRule("x", f"{5:032x}", "0", 0, "2", "1"))
    refused(BridgeCode.CORRIDOR_MALFORMED, lambda: FeeRule("x", "0" * 32, "0", 0, "0", "1"))


def test_only_listed_providers_and_payments_within_bounds() -> None:
    """The document names who may quote and how much one payment may be; travel-rule data from its own threshold."""
    document().demand_provider(FIRST)
    refused(BridgeCode.CORRIDOR_PROVIDER_NOT_LISTED, document().demand_provider, 77)
    refused(BridgeCode.CORRIDOR_LIMIT_EXCEEDED, LIMITED.demand_payment, 1001)
    assert [document().needs_travel_rule(amount) for amount in (99_999_999, 100_000_000)] == [False, True]
    assert [each.participant for each in document().recipients()] == [101, 102]
    assert isinstance(document(HKD, THB), CorridorDocument)
