"""What a person must look at: alarms with time, swap and next step, kept until long after somebody acknowledged them.

It promises that an alarm outlives a restart, that the same alarm raised again is counted and not listed twice, and that
an acknowledgement names who gave it and when. An alarm changes nothing of a swap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from bridge.ports import AlarmKind
from bridge.refusals import BridgeCode, BridgeRefused
from engine.refusals import EncodingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["ALARM_ROWS", "BESIDE", "CASE", "OUTCOME", "Alarm", "Alarms"]

ALARM_ROWS: Final = b"a"
"""How the keys of the rows begin under which alarms are kept."""
CASE: Final = "case"
"""The kind of alarms about cases that nobody decides."""
BESIDE: Final = "beside"
"""The kind of alarms about transfers beside locks that a ledger refused."""
OUTCOME: Final = "outcome"
"""The kind of alarms about outcomes of screening that a ledger refused."""
KEPT_MAX: Final = 10_000
NEWEST: Final = 16
_NUMBER_BYTES: Final = 8
_log = structlog.get_logger("clearspan.bridging")

_LOOK: Final = "Look at the swap: clearspan swap show."
_NEXT_STEPS: Final[dict[str, str]] = {
    AlarmKind.HALF_MARGIN: "See that this bridge, the node and the validators run; it goes on by itself when they do.",
    AlarmKind.LEG_DIFFERS: "Do not reveal by hand; ask the provider. What is locked comes back at the timelock.",
    AlarmKind.TOO_LATE_TO_REVEAL: "Nothing: all legs are refunded at the timelock. Begin the swap again.",
    AlarmKind.LEG_STALLED: "Ask the operator of that ledger why blocks do not come; the leg ends when they do.",
    AlarmKind.LEG_UNDONE: "Tell the operator of that chain; nothing is revealed until the leg stands again.",
    AlarmKind.LOSS: "Call the provider and your supervisor; keep the receipts of both legs.",
    CASE: "Decide it: clearspan bridge cases show, then release or reject; its clock ends the payment.",
    OUTCOME: "See that the screening key is registered and in force there: clearspan key new --role screening.",
    BESIDE: "Pay it by a transfer of its own, or settle it with the receiver.",
}


class Alarm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One alarm; instants in ns. ``swap`` is 64 hexadecimal digits or empty, ``by`` who acknowledged it or empty."""

    number: int
    kind: str
    swap: str
    text: str
    first_at: int
    last_at: int
    count: int = 1
    by: str = ""
    acknowledged_at: int = 0
    note: str = ""

    @property
    def is_open(self) -> bool:
        """Whether nobody has acknowledged it."""
        return not self.acknowledged_at

    @property
    def next_step(self) -> str:
        """What a person should do."""
        return _NEXT_STEPS.get(self.kind, _LOOK)

    @property
    def line(self) -> str:
        """One line: the swap, the kind, what happened."""
        head = f"{self.swap[:16]} " if self.swap else ""
        return f"{head}{self.kind}: {self.text}"

    @property
    def key(self) -> bytes:
        """What it is kept under."""
        return ALARM_ROWS + self.number.to_bytes(_NUMBER_BYTES, "big")


_DECODER: Final = msgspec.json.Decoder(Alarm)


class Alarms:
    """The alarms of one bridge, oldest first. Use from one event loop; what ``take_kept`` returns is to be written."""

    def __init__(self, now: Callable[[], int], wake: Callable[[], None] = lambda: None) -> None:
        """Take our clock (ns) and who is told that something is to be written."""
        self._now, self._wake = now, wake
        self._alarms: dict[int, Alarm] = {}
        self._same: dict[tuple[str, str, str], int] = {}
        self._next = 1
        self._written: dict[bytes, bytes | None] = {}
        self.dropped = 0

    def __len__(self) -> int:
        """Return how many nobody has acknowledged."""
        return len(self._same)

    def sound(self, kind: str, text: str, swap: bytes = b"") -> Alarm:
        """Raise an alarm; one that is open already is counted."""
        now, name = self._now(), (kind, swap.hex(), text)
        number = self._same.get(name)
        if number is not None:
            known = self._alarms[number]
            made = msgspec.structs.replace(known, last_at=now, count=known.count + 1)
        else:
            made = Alarm(self._next, kind, swap.hex(), text, now, now)
            self._next += 1
            self._same[name] = made.number
        self._put(made)
        self._bound()
        _log.warning("alarm", kind=kind, swap=swap.hex(), reason=text, number=made.number)
        return made

    def acknowledge(self, number: int, by: str, note: str = "") -> Alarm:
        """Let a person acknowledge an alarm; durable with the next commit. Raises BridgeRefused (alarm_unknown)."""
        known = self._alarms.get(number)
        if known is None or not known.is_open:
            raise BridgeRefused(BridgeCode.ALARM_UNKNOWN, f"alarm {number} is not open")
        made = msgspec.structs.replace(known, by=by, acknowledged_at=self._now(), note=note)
        self._same.pop((known.kind, known.swap, known.text), None)
        self._put(made)
        return made

    def open(self) -> tuple[Alarm, ...]:
        """Return those that nobody has acknowledged, oldest first."""
        return tuple(self._alarms[number] for number in sorted(self._same.values()))

    def newest(self, limit: int = NEWEST, *, whole: bool = False) -> tuple[Alarm, ...]:
        """Return the newest that are open, or of all with ``whole``, oldest first."""
        found = tuple(self._alarms.values()) if whole else self.open()
        return found[-limit:]

    def take_kept(self) -> list[tuple[bytes, bytes | None]]:
        """Return what is to be written now."""
        found, self._written = self._written, {}
        return list(found.items())

    def restore(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back what was kept, in the order of the keys. Raises EncodingError for a broken row."""
        for _, data in rows:
            try:
                alarm: Alarm = _DECODER.decode(data)
            except msgspec.MsgspecError as error:
                raise EncodingError("alarm", data[:80], str(error)) from error
            self._alarms[alarm.number] = alarm
            self._next = max(self._next, alarm.number + 1)
            if alarm.is_open:
                self._same[alarm.kind, alarm.swap, alarm.text] = alarm.number

    def _put(self, alarm: Alarm) -> None:
        self._alarms[alarm.number] = alarm
        self._written[alarm.key] = msgspec.json.encode(alarm)
        self._wake()

    def _bound(self) -> None:
        """Let go of the oldest, of those first that somebody acknowledged."""
        while len(self._alarms) > KEPT_MAX:
            ended = next((each for each in self._alarms.values() if not each.is_open), None)
            gone = ended or next(iter(self._alarms.values()))
            self._same.pop((gone.kind, gone.swap, gone.text), None)
            del self._alarms[gone.number]
            self._written[gone.key] = None
            self.dropped += 1
