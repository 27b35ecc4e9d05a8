"""Opening hours in local time: weekly hours, holidays and special days of one IANA time zone, as instants in ns.

It promises the same answer for the same instant and zone data, across every change of clocks: an hour that does not
exist begins at the change, and an hour that comes twice counts from its first coming, so nothing opens or closes
twice. It reads no clock. Zone data come from the ``tzdata`` package, which releases pin, before the system's own.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from bridge.refusals import BridgeCode, BridgeRefused
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Calendar", "Hours", "SpecialDay", "Window", "day_of", "opens_at", "window_of", "zone_of"]

HOURS_MAX: Final = 28  # four intervals on each day of the week
DAYS_MAX: Final = 400  # holidays and special days: more than a year's
SEARCH_DAYS_MAX: Final = 400
"""How far ahead an opening is looked for; a calendar without one in so long is closed."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)
_ZONE_KEY: Final = re.compile(r"[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}")
_MINUTE_NS: Final = 60 * NS_PER_S
_MINUTE_OF_DAY: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")

MinuteText = Annotated[str, msgspec.Meta(pattern=r"^(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]
DateText = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]


class Hours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One interval of a weekday (1 Monday to 7 Sunday): from ``opens`` until before ``closes``, as HH:MM or 24:00."""

    day: Annotated[int, msgspec.Meta(ge=1, le=7)]
    opens: MinuteText
    closes: MinuteText


class SpecialDay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A date that has one interval of its own in place of its weekday's, whether or not it is a holiday."""

    date: DateText
    opens: MinuteText
    closes: MinuteText


class Calendar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When one side of a corridor works, in the local time of ``zone``; lists are in ascending order without twins.

    Raises BridgeRefused (corridor_malformed) when made with a zone that is unknown, a date that does not exist, an
    interval that is empty, overlaps or goes over midnight (write two), or a list out of order.
    """

    zone: str
    week: tuple[Hours, ...]
    holidays: tuple[DateText, ...] = ()
    special: tuple[SpecialDay, ...] = ()

    def __post_init__(self) -> None:
        """Check what the schema cannot say."""
        zone_of(self.zone)
        if len(self.week) > HOURS_MAX or len(self.holidays) + len(self.special) > DAYS_MAX:
            raise _malformed("a calendar has at most 28 intervals and 400 days")
        spans = [(each.day, _minutes(each.opens), _minutes(each.closes)) for each in self.week]
        spans += [(0, _minutes(each.opens), _minutes(each.closes)) for each in self.special]
        if any(opens >= closes for _, opens, closes in spans):
            raise _malformed("an interval opens before it closes; one over midnight is written as two")
        week = spans[: len(self.week)]
        if any(a[0] == b[0] and b[1] < a[2] for a, b in pairwise(week)) or week != sorted(set(week)):
            raise _malformed("intervals of the week are ascending and do not overlap")
        for days in (self.holidays, [each.date for each in self.special]):
            if list(days) != sorted(set(days)):
                raise _malformed("days are ascending, each once")
            for each in days:
                _date(each)

    def intervals(self, day: date) -> list[tuple[int, int]]:
        """Return the intervals of a local date as instants in ns, ascending; none when it is closed that day."""
        text = day.isoformat()
        spans = [(each.opens, each.closes) for each in self.special if each.date == text]
        if not spans and text not in self.holidays:
            spans = [(each.opens, each.closes) for each in self.week if each.day == day.isoweekday()]
        zone = zone_of(self.zone)
        found = [
            (_instant(day, _minutes(opens), zone), _instant(day, _minutes(closes), zone)) for opens, closes in spans
        ]
        # A change of clocks may swallow a whole interval.
        return [(opens, closes) for opens, closes in found if opens < closes]


class Window(msgspec.Struct, frozen=True):
    """Whether it is open, and until which instant in ns this holds for certain (the change itself, or midnight)."""

    is_open: bool
    until_ns: int


@lru_cache(maxsize=1024)
def zone_of(key: str) -> ZoneInfo:
    """Return a zone by its IANA name; raises BridgeRefused (corridor_malformed) for a name that is none."""
    if _ZONE_KEY.fullmatch(key) is None:
        raise _malformed(f"{key!r} is no name of a time zone")
    try:
        with resources.files("tzdata.zoneinfo").joinpath(*key.split("/")).open("rb") as data:
            return ZoneInfo.from_file(data, key=key)
    except ModuleNotFoundError:
        pass  # zone data of the system serve as well, as long as both sides of a corridor have the same edition
    except (OSError, ValueError) as error:
        raise _malformed(f"{key!r} is no time zone of the zone data") from error
    try:
        return ZoneInfo(key)
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        raise _malformed(f"{key!r} is no time zone of the zone data") from error


def day_of(now_ns: int, zone: str) -> int:
    """Return the local date of an instant as a count of days (1 is 0001-01-01): the key of daily limits."""
    return _day_of_minute(now_ns // _MINUTE_NS, zone)


@lru_cache(maxsize=256)
def _day_of_minute(minute: int, zone: str) -> int:
    """Return the date of a minute: days begin with one in every zone, and every swap of a minute asks."""
    return _local(minute * _MINUTE_NS, zone_of(zone)).toordinal()


def window_of(calendars: Sequence[Calendar], now_ns: int) -> Window:
    """Say whether all calendars are open at an instant, and how long that answer holds; no calendar is always open."""
    until = now_ns + SEARCH_DAYS_MAX * 24 * 3600 * NS_PER_S
    is_open = True
    for calendar in calendars:
        opens, closes = _next_interval(calendar, now_ns) or (until, until)
        is_open = is_open and opens <= now_ns
        until = min(until, closes if opens <= now_ns else opens)
    return Window(is_open, until)


def opens_at(calendars: Sequence[Calendar], now_ns: int) -> int | None:
    """Return the first instant from ``now_ns`` on at which all calendars are open; None when none is found."""
    limit = now_ns + SEARCH_DAYS_MAX * 24 * 3600 * NS_PER_S
    instant = now_ns
    while instant < limit:
        latest = instant
        for calendar in calendars:
            found = _next_interval(calendar, instant)
            if found is None:
                return None
            latest = max(latest, found[0])
        if latest == instant:
            return instant
        instant = latest
    return None


def _next_interval(calendar: Calendar, now_ns: int) -> tuple[int, int] | None:
    """Return the interval that holds an instant, or the next one after it."""
    for day in _days_from(_local(now_ns, zone_of(calendar.zone)) - _DAY):
        for opens, closes in calendar.intervals(day):
            if now_ns < closes:
                return opens, closes
    return None


def _days_from(day: date) -> Iterator[date]:
    for offset in range(SEARCH_DAYS_MAX):
        yield day + offset * _DAY


def _local(now_ns: int, zone: ZoneInfo) -> date:
    return (_EPOCH + timedelta(seconds=now_ns // NS_PER_S)).astimezone(zone).date()


def _minutes(text: str) -> int:
    if _MINUTE_OF_DAY.fullmatch(text) is None:
        raise _malformed(f"{text!r} is no time of day")
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise _malformed(f"{text!r} is no date") from error


def _instant(day: date, minute: int, zone: ZoneInfo) -> int:
    """Return the first instant, in ns, at which local clocks show at least this minute of this day."""
    if minute == 24 * 60:
        day, minute = day + _DAY, 0
    wall = datetime.combine(day, time(minute // 60, minute % 60), tzinfo=zone)
    first, second = _seconds(wall), _seconds(wall.replace(fold=1))
    if first <= second:
        return first * NS_PER_S
    # The wall time is skipped: `fold` then names the two sides of the change, which lies between them.
    low, high = second, first
    offset = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == offset:
            low = middle
        else:
            high = middle
    return high * NS_PER_S


def _seconds(wall: datetime) -> int:
    return (wall.astimezone(UTC) - _EPOCH) // _SECOND


def _offset(seconds: int, zone: ZoneInfo) -> timedelta | None:
    return (_EPOCH + timedelta(seconds=seconds)).astimezone(zone).utcoffset()


def _malformed(text: str) -> BridgeRefused:
    return BridgeRefused(BridgeCode.CORRIDOR_MALFORMED, text)
