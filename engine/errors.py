"""What the engine's stores raise: faults of disks, files and writers, each with the fields that a report needs.

Refusals of bytes, proofs and rules stand in ``engine.refusals``; these are about where the log is kept.

    StorageError
    ├── DirectoryInUse        another process holds the data directory
    ├── FormatMismatch        the directory belongs to another kind, version or network
    ├── Fenced                a writer whose number or epoch is old: somebody else has written
    ├── AppendInvalid         records that do not continue the log: the caller's mistake, nothing was written
    ├── DiskFull              no room; nothing was written, and the same call succeeds once there is room
    ├── StoreFailed           a write whose outcome is unknown: the handle is dead, the disk has the truth
    │   └── LogFailed         the same of the log: the process stops and starts again from the disk
    ├── StoreClosed           the store was closed before
    ├── RecordMalformed       bytes that are no log record of this network
    └── StoreDamaged          what was stored is not what is read; names file, place, finding and next step
        ├── LogDamaged
        │   ├── LogGap        a number is missing
        │   ├── LogCorrupt    bytes differ from what was written
        │   ├── TornTail      the file or a record ends before its end
        │   └── LogRolledBack the log ends before records that are known to have been durable
        ├── CheckpointInvalid    one checkpoint, skipped for an older one
        ├── CheckpointsUnusable  the file of all of them
        └── ChainDamaged
            └── HeaderConflict   a second header for a height
"""

from __future__ import annotations

__all__ = [
    "AppendInvalid",
    "ChainDamaged",
    "CheckpointInvalid",
    "CheckpointsUnusable",
    "DirectoryInUse",
    "DiskFull",
    "Fenced",
    "FormatMismatch",
    "HeaderConflict",
    "LogCorrupt",
    "LogDamaged",
    "LogFailed",
    "LogGap",
    "LogRolledBack",
    "RecordMalformed",
    "StorageError",
    "StoreClosed",
    "StoreDamaged",
    "StoreFailed",
    "TornTail",
]


class StorageError(Exception):
    """Root of everything the engine's stores raise on their own account."""


class DirectoryInUse(StorageError):  # noqa: N818 - named as what it is, like the other refusals
    """Process ``pid`` (0 when it left no number) holds the data directory at ``path``."""

    def __init__(self, path: str, pid: int) -> None:
        super().__init__(f"{path} is in use by process {pid or 'unknown'}: one node serves one directory")
        self.path = path
        self.pid = pid


class FormatMismatch(StorageError):  # noqa: N818
    """The directory at ``path`` says ``found`` for ``field`` where this program needs ``expected``."""

    def __init__(self, path: str, field: str, found: object, expected: object) -> None:
        super().__init__(f"{path}: {field} is {found!r}, this program needs {expected!r}")
        self.path = path
        self.field = field
        self.found = found
        self.expected = expected


class Fenced(StorageError):  # noqa: N818
    """A writer came with ``offered`` for ``what`` ('number' or 'epoch') where ``shard``'s log is at ``current``."""

    def __init__(self, shard: int, what: str, offered: int, current: int) -> None:
        super().__init__(f"shard {shard}: {what} {offered} is old, the log is at {current}: another writer was here")
        self.shard = shard
        self.what = what
        self.offered = offered
        self.current = current


class AppendInvalid(StorageError):  # noqa: N818
    """Record ``number`` of ``shard`` does not continue the log: ``what`` was ``found``, not ``expected``."""

    def __init__(self, shard: int, number: int, what: str, found: object, expected: object) -> None:
        super().__init__(f"shard {shard}, record {number}: {what} is {found!r}, the log needs {expected!r}")
        self.shard = shard
        self.number = number
        self.what = what
        self.found = found
        self.expected = expected


class DiskFull(StorageError):  # noqa: N818
    """No room under ``path``, where ``free_bytes`` are left; ``limit`` names what is full when it is not the disk.

    Nothing of the call was written, and the same call succeeds as soon as there is room.
    """

    def __init__(self, path: str, free_bytes: int, limit: str = "") -> None:
        super().__init__(f"{path}: no room ({limit or 'the disk is full'}, {free_bytes} bytes free); nothing was lost")
        self.path = path
        self.free_bytes = free_bytes
        self.limit = limit


class StoreFailed(StorageError):  # noqa: N818
    """A write under ``path`` failed with ``reason``, and nobody knows what reached the disk.

    The store answers nothing from then on; whoever opens it anew reads what is durable. Trying to sync the same handle
    again could report success for pages that the kernel has already dropped.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}: stop, and start again from what is on the disk")
        self.path = path
        self.reason = reason


class LogFailed(StoreFailed):
    """A write of the log failed: the process must stop, since its memory may be ahead of what is durable."""


class StoreClosed(StorageError):  # noqa: N818
    """The store at ``path`` was closed before this call."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is closed")
        self.path = path


class RecordMalformed(StorageError):  # noqa: N818
    """``what`` of a log record, at byte ``offset`` of it, is ``found`` where its layout asks for ``expected``."""

    def __init__(self, what: str, offset: int, found: object, expected: object) -> None:
        super().__init__(f"{what} at byte {offset}: found {_shown(found)}, expected {_shown(expected)}")
        self.what = what
        self.offset = offset
        self.found = found
        self.expected = expected


class StoreDamaged(StorageError):  # noqa: N818
    """What stands in the file at ``path`` is not what was stored there; nothing was changed and nothing is guessed.

    ``what`` names the finding, ``found`` and ``expected`` the two sides where there are two, ``next_step`` what an
    operator can do.
    """

    next_step = "keep the file for analysis and restore the directory from a copy"

    def __init__(self, path: str, what: str, *, found: str = "", expected: str = "") -> None:
        super().__init__(path, what)
        self.path = path
        self.what = what
        self.found = found
        self.expected = expected

    @property
    def place(self) -> str:
        """Where in the file, in words; empty when it concerns the file as a whole."""
        return ""

    def __str__(self) -> str:
        place = f" {self.place}:" if self.place else ""
        sides = f": found {self.found}, expected {self.expected}" if self.expected else ""
        return f"{self.path}:{place} {self.what}{sides}. Next: {self.next_step}."


class LogDamaged(StoreDamaged):
    """The log of ``shard`` is damaged at record ``number``, at byte ``offset`` of it where that is known."""

    kind = "log damaged"
    next_step = (
        "keep the file for analysis, then put a copy of the log in its place; a replica's or a supervisor's copy of "
        "the same chain will do, and a checkpoint shortens what must be replayed"
    )

    def __init__(
        self,
        path: str,
        what: str,
        *,
        shard: int | None = None,
        number: int | None = None,
        offset: int | None = None,
        found: str = "",
        expected: str = "",
    ) -> None:
        super().__init__(path, what, found=found, expected=expected)
        self.shard = shard
        self.number = number
        self.offset = offset

    @property
    def place(self) -> str:
        """Shard, record and byte as far as they are known."""
        named = (("shard", self.shard), ("record", self.number), ("byte", self.offset))
        return ", ".join(f"{name} {value}" for name, value in named if value is not None)


class LogGap(LogDamaged):
    """Record ``number`` is missing where records after it, or the log's own count, say that it was written."""

    kind = "gap"


class LogCorrupt(LogDamaged):
    """Bytes of the log differ from those that were written."""

    kind = "corrupt"


class TornTail(LogDamaged):
    """The file, or a record in it, ends before its end.

    A power cut cannot do this to what was committed: the file was cut by something else, or the disk lied about a sync.
    """

    kind = "torn tail"


class LogRolledBack(LogDamaged):
    """The log is whole but ends before record ``number``, which is known to have been durable: it is an old copy."""

    kind = "rolled back"
    next_step = (
        "find the newer copy and put it back; going on from this one would forget records that were acknowledged, "
        "and only an operator who accepts that may remove the file LAST beside it"
    )


class CheckpointInvalid(StoreDamaged):
    """The checkpoint of ``shard`` at ``height`` is not usable; an older one, or the log from its start, replaces it."""

    next_step = "none is needed: the start goes on with the older checkpoint or the whole log"

    def __init__(
        self, shard: int, height: int, what: str, *, path: str = "checkpoint", found: str = "", expected: str = ""
    ) -> None:
        super().__init__(path, what, found=found, expected=expected)
        self.shard = shard
        self.height = height

    @property
    def place(self) -> str:
        """Shard and height."""
        return f"shard {self.shard}, height {self.height}"


class CheckpointsUnusable(StoreDamaged):
    """The file of the checkpoints as a whole cannot be read."""

    next_step = "remove the folder: the start replays the whole log, and new checkpoints follow"


class ChainDamaged(StoreDamaged):
    """The stored header of ``shard`` at ``height`` is not the one that was stored, or is missing in the middle."""

    next_step = "remove the folder: the chain is built anew from the log"

    def __init__(
        self,
        path: str,
        what: str,
        *,
        shard: int | None = None,
        height: int | None = None,
        found: str = "",
        expected: str = "",
    ) -> None:
        super().__init__(path, what, found=found, expected=expected)
        self.shard = shard
        self.height = height

    @property
    def place(self) -> str:
        """Shard and height as far as they are known."""
        named = (("shard", self.shard), ("height", self.height))
        return ", ".join(f"{name} {value}" for name, value in named if value is not None)


class HeaderConflict(ChainDamaged):
    """A header differs from the one that stands at its height: to keep both would be to show two histories."""

    next_step = "stop: the same log must give the same headers; compare both with the log before anything is signed"


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
