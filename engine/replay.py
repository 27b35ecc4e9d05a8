"""Folding a log: the same records give the same answers, headers and state anywhere, or the difference is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import RecordMalformed
from engine.refusals import EncodingError, ReplayDiverged
from native.errors import NativeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from engine.log_record import LogRecord
    from engine.machine import Sealed, ShardMachine

__all__ = ["ReplayReport", "replay"]


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a fold went through, and where it ended."""

    records: int
    blocks: int
    last_number: int
    last_hash: bytes
    height: int
    header_hash: bytes


def replay(
    machine: ShardMachine,
    records: Iterable[LogRecord],
    *,
    audit: bool = False,
    on_sealed: Callable[[Sealed], None] | None = None,
) -> ReplayReport:
    """Apply records in order and compare every answer with the recorded one; ``on_sealed`` hears each block.

    With ``audit`` every signature is verified again, else it is believed where a code says that it held (LOG-3).
    Raises ReplayDiverged at the first record that is not what this machine makes of it.
    """
    count = blocks = 0
    for record in records:
        try:
            sealed = machine.apply(record, audit=audit)
        except (EncodingError, NativeError, RecordMalformed) as error:
            raise ReplayDiverged(record.number, "record", record.kind.name.lower(), str(error)) from error
        count += 1
        if sealed is not None:
            blocks += 1
            if on_sealed is not None:
                on_sealed(sealed)
    number, last_hash = machine.log_position
    return ReplayReport(count, blocks, number, last_hash, machine.height, machine.header_hash)
