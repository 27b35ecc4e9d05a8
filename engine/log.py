"""The log as a port: append durably behind a fence, read back as a verified chain; and its in-memory implementation.

Records of one shard are numbered from 1 without gaps, each names the hash of the one before it (LOG-1). A writer says
which number it believes to come next and in which epoch it writes: whoever is behind gets Fenced. Several shards
of one node share a store, whose one call makes the records of all of them durable together or none (LOG-4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

from engine.errors import AppendInvalid, Fenced, LogCorrupt, LogGap, RecordMalformed, StoreClosed, TornTail
from engine.log_record import PREVIOUS_HASH_OFFSET, LogRecord, RecordKind, decode_record, encode_record
from engine.types import ZERO_HASH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = [
    "EMPTY_TIP",
    "Log",
    "LogPlace",
    "LogRecord",
    "LogStore",
    "MemoryStore",
    "RecordKind",
    "Tip",
    "chained",
    "decode_record",
    "encode_record",
    "fenced_tip",
    "next_tip",
    "stored_record",
]


@dataclass(frozen=True, slots=True)
class Tip:
    """Where a shard's log ends: its last record's number, time, epoch and hash; below ``fence`` no epoch may write."""

    number: int
    time: int
    epoch: int
    fence: int
    hash: bytes


EMPTY_TIP: Final = Tip(number=0, time=0, epoch=0, fence=0, hash=ZERO_HASH)


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Whose log is read and from where: what every record of it must say, and the path that errors name."""

    suite: int
    genesis_hash: bytes
    shard: int
    path: str


class Log(Protocol):
    """One shard's log."""

    def append(self, records: Sequence[LogRecord], expected_number: int, epoch: int) -> int:
        """Make records durable, the first of them as number ``expected_number`` (1: the log is empty).

        Returns the last one's number. Raises Fenced when the log has gone on past that number or is fenced at a later
        epoch, AppendInvalid when the records do not continue it, DiskFull when there is no room (nothing was written),
        LogFailed when the outcome is unknown. A later epoch than any before fences the earlier ones.
        """
        ...

    def read(self, from_number: int) -> Iterator[LogRecord]:
        """Yield the records from a number up to the last one there is now, each checked against the one before it.

        Raises LogGap or LogCorrupt at the first record that does not follow, and never skips one. A number past the
        end yields nothing.
        """
        ...

    def last(self) -> tuple[int, bytes]:
        """Return number and hash of the last record; (0, 32 zero bytes) when there is none."""
        ...

    def fence(self, epoch: int) -> None:
        """Refuse every writer of an earlier epoch from now on, durably. Raises Fenced when a later one was here."""
        ...


class LogStore(Protocol):
    """The logs of all shards of one node, which become durable together."""

    def log(self, shard: int) -> Log:
        """Return one shard's log; a shard without records has an empty one."""
        ...

    def append_many(self, appends: Mapping[int, tuple[Sequence[LogRecord], int]], epoch: int) -> None:
        """Append to several shards at once, (records, expected number) for each: all become durable or none.

        Raises as Log.append does.
        """
        ...

    def fence(self, epoch: int) -> None:
        """Fence the logs of all shards that have one here, durably; raises Fenced as Log.fence does."""
        ...

    def epoch(self) -> int:
        """Return the highest epoch that any shard's log is fenced at; 0 when nobody has written."""
        ...

    def shards(self) -> tuple[int, ...]:
        """Return the shards that have a log here, ascending."""
        ...

    def close(self) -> None:
        """Let go of the files. Safe to call twice."""
        ...


def next_tip(tip: Tip, place: LogPlace, records: Sequence[LogRecord], expected_number: int, epoch: int) -> Tip:
    """Check records against the end of a log and return the end they lead to; raises Fenced and AppendInvalid."""
    shard = place.shard
    if epoch < tip.fence:
        raise Fenced(shard, "epoch", epoch, tip.fence)
    if expected_number <= tip.number:
        raise Fenced(shard, "number", expected_number, tip.number + 1)
    if expected_number > tip.number + 1:
        raise AppendInvalid(shard, expected_number, "expected number", expected_number, tip.number + 1)
    for record in records:
        for what, found, expected in (
            ("shard", record.shard, shard),
            ("number", record.number, tip.number + 1),
            ("hash suite", record.suite, place.suite),
            ("genesis hash", record.genesis_hash.hex(), place.genesis_hash.hex()),
            ("previous hash", record.previous_hash.hex(), tip.hash.hex()),
        ):
            if found != expected:
                raise AppendInvalid(shard, record.number, what, found, expected)
        if not tip.epoch <= record.epoch <= epoch:
            raise AppendInvalid(shard, record.number, "epoch", record.epoch, f"{tip.epoch} to {epoch}")
        if record.time < tip.time:
            raise AppendInvalid(shard, record.number, "time", record.time, f"at least {tip.time}")
        tip = Tip(record.number, record.time, record.epoch, tip.fence, record.hash)
    return replace(tip, fence=max(tip.fence, epoch))


def fenced_tip(tip: Tip, shard: int, epoch: int) -> Tip:
    """Return the end of a log with its fence raised to an epoch; raises Fenced when it stands higher."""
    if epoch < tip.fence:
        raise Fenced(shard, "epoch", epoch, tip.fence)
    return replace(tip, fence=epoch)


def chained(
    place: LogPlace, values: Iterable[tuple[int, bytes]], *, from_number: int, before: bytes | None, tip: Tip
) -> Iterator[LogRecord]:
    """Turn stored (number, bytes) from a number on into records, each checked by itself and against its predecessor.

    ``before`` holds the bytes of record from_number - 1, None at the start of the log. ``tip`` is the log's own account
    of its end, which the last record must meet. Raises LogGap, LogCorrupt or TornTail.
    """
    shard, path, number = place.shard, place.path, from_number
    previous_hash, epoch, time = ZERO_HASH, 0, 0
    if from_number > 1:
        if before is None:
            raise LogGap(path, "missing", shard=shard, number=from_number - 1)
        previous = stored_record(place, before, from_number - 1, tip)
        previous_hash, epoch, time = previous.hash, previous.epoch, previous.time
    for found_number, data in values:
        if found_number != number:
            raise LogGap(path, f"missing, the next one is {found_number}", shard=shard, number=number)
        record = stored_record(place, data, number, tip)
        if record.previous_hash != previous_hash:
            raise LogCorrupt(
                path,
                "it does not follow the record before it",
                shard=shard,
                number=number,
                offset=PREVIOUS_HASH_OFFSET,
                found=record.previous_hash.hex(),
                expected=previous_hash.hex(),
            )
        if record.epoch < epoch or record.time < time:
            raise LogCorrupt(path, "epoch or time runs backwards", shard=shard, number=number)
        previous_hash, epoch, time = record.hash, record.epoch, record.time
        if number == tip.number and previous_hash != tip.hash:
            raise LogCorrupt(
                path,
                "its header is not the one that was last written",
                shard=shard,
                number=number,
                found=previous_hash.hex(),
                expected=tip.hash.hex(),
            )
        yield record
        number += 1
    if number <= tip.number:
        raise LogGap(path, f"missing, the log ends at {tip.number}", shard=shard, number=number)


def stored_record(place: LogPlace, data: bytes, number: int, tip: Tip) -> LogRecord:
    """Read one stored record; what does not fit is raised as TornTail or LogCorrupt with its place.

    Only the last record can be torn: a short one in the middle was whole when the next was written.
    """
    try:
        return decode_record(data, suite=place.suite, genesis_hash=place.genesis_hash, shard=place.shard, number=number)
    except RecordMalformed as error:
        last = number == tip.number
        kind = TornTail if last and error.what in {"header", "body length"} else LogCorrupt
        raise kind(
            place.path,
            error.what,
            shard=place.shard,
            number=number,
            offset=error.offset,
            found=_shown(error.found),
            expected=_shown(error.expected),
        ) from error


class MemoryStore:
    """All shards' logs in memory, byte for byte as a disk would hold them; for tests and simulation.

    ``fault`` is called with the count of appends so far (from 1) before one takes effect; what it raises (DiskFull,
    LogFailed) is raised to the writer with nothing applied. ``stored`` may be changed by a test that plays the disk.
    """

    def __init__(
        self, *, suite: int, genesis_hash: bytes, fault: Callable[[int], None] | None = None, path: str = "memory"
    ) -> None:
        self.suite = suite
        self.genesis_hash = genesis_hash
        self.fault = fault
        self.path = path
        self.stored: dict[int, dict[int, bytes]] = {}
        self.tips: dict[int, Tip] = {}
        self._appends = 0
        self._closed = False

    def log(self, shard: int) -> Log:
        """Return one shard's log."""
        return _MemoryLog(self, shard)

    def append_many(self, appends: Mapping[int, tuple[Sequence[LogRecord], int]], epoch: int) -> None:
        """Append to several shards at once."""
        self.check_open()
        tips = {
            shard: next_tip(self.tips.get(shard, EMPTY_TIP), self.place(shard), records, expected, epoch)
            for shard, (records, expected) in appends.items()
        }
        self._appends += 1
        if self.fault is not None:
            self.fault(self._appends)
        for shard, (records, _) in appends.items():
            stored = self.stored.setdefault(shard, {})
            stored.update((record.number, encode_record(record)) for record in records)
        self.tips.update(tips)

    def fence(self, epoch: int) -> None:
        """Fence all logs."""
        self.check_open()
        self.tips.update({shard: fenced_tip(tip, shard, epoch) for shard, tip in self.tips.items()})

    def epoch(self) -> int:
        """Return the highest epoch that any log is fenced at."""
        return max((tip.fence for tip in self.tips.values()), default=0)

    def shards(self) -> tuple[int, ...]:
        """Return the shards that have a log here, ascending."""
        return tuple(sorted(self.tips))

    def close(self) -> None:
        """Answer nothing from now on."""
        self._closed = True

    def place(self, shard: int) -> LogPlace:
        """Say whose log a shard's is."""
        return LogPlace(self.suite, self.genesis_hash, shard, self.path)

    def check_open(self) -> None:
        """Raise StoreClosed after close."""
        if self._closed:
            raise StoreClosed(self.path)


class _MemoryLog:
    """One shard of a MemoryStore."""

    def __init__(self, store: MemoryStore, shard: int) -> None:
        self._store = store
        self._shard = shard

    def append(self, records: Sequence[LogRecord], expected_number: int, epoch: int) -> int:
        self._store.append_many({self._shard: (records, expected_number)}, epoch)
        return self.last()[0]

    def read(self, from_number: int) -> Iterator[LogRecord]:
        self._store.check_open()
        start = max(1, from_number)
        tip = self._tip()
        if start > tip.number:
            return iter(())
        stored = self._store.stored.get(self._shard, {})
        values = [(number, stored[number]) for number in sorted(stored) if start <= number <= tip.number]
        place = self._store.place(self._shard)
        return chained(place, values, from_number=start, before=stored.get(start - 1), tip=tip)

    def last(self) -> tuple[int, bytes]:
        self._store.check_open()
        tip = self._tip()
        return tip.number, tip.hash

    def fence(self, epoch: int) -> None:
        self._store.check_open()
        self._store.tips[self._shard] = fenced_tip(self._tip(), self._shard, epoch)

    def _tip(self) -> Tip:
        return self._store.tips.get(self._shard, EMPTY_TIP)


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
