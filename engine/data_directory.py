"""A node's data directory: its folders, the FORMAT that says whose it is, and the LOCK that one process holds.

It promises that two processes never work in one directory and that a directory of another kind, version or network is
refused before anything in it is read. It knows nothing of what the folders hold.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from engine.errors import DirectoryInUse, FormatMismatch

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["FORMAT_VERSION", "DataDirectory", "sync_folder"]

FORMAT_VERSION: Final = 1
_FORMAT_BYTES_MAX: Final = 4096
# Keys are for the owner alone; everything else may be read by the group that takes copies.
_FOLDERS: Final = {
    "keys": 0o700,
    "tls": 0o700,
    "log": 0o750,
    "checkpoint": 0o750,
    "chain": 0o750,
    "votes": 0o750,
    "bridge": 0o700,  # the secrets of swaps that are not revealed yet
    "index": 0o750,
}


class DataDirectory:
    """An open, locked data directory; ``kind`` is what serves it (node, validator), ``genesis_hash`` its network."""

    def __init__(self, path: Path | str, *, kind: str, genesis_hash: bytes) -> None:
        """Take the directory, creating what is missing of it.

        Raises DirectoryInUse when another process holds it, FormatMismatch when it belongs to somebody else, OSError
        when it cannot be made or written.
        """
        self.path = Path(path)
        self.path.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._lock = _locked(self.path / "LOCK")
        try:
            self._identify(kind, genesis_hash)
            for name, mode in _FOLDERS.items():
                (self.path / name).mkdir(mode=mode, exist_ok=True)
            sync_folder(self.path)
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> Path:
        """Folder of the log."""
        return self.path / "log"

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoint"

    @property
    def chain(self) -> Path:
        """Folder of the signed headers; rebuildable from the log."""
        return self.path / "chain"

    @property
    def keys(self) -> Path:
        """Folder of the signing keys, for its owner alone."""
        return self.path / "keys"

    @property
    def tls(self) -> Path:
        """Folder of the transport's certificates and keys."""
        return self.path / "tls"

    @property
    def votes(self) -> Path:
        """Folder of a validator's own notes."""
        return self.path / "votes"

    @property
    def bridge(self) -> Path:
        """Folder of the bridge's own notes."""
        return self.path / "bridge"

    @property
    def index(self) -> Path:
        """Folder of the indexes; rebuildable from the log."""
        return self.path / "index"

    def close(self) -> None:
        """Let the directory go. Safe to call twice."""
        if self._lock >= 0:
            # The file stays: removing it would let two processes lock two files of one name.
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _identify(self, kind: str, genesis_hash: bytes) -> None:
        wanted = {"format": FORMAT_VERSION, "kind": kind, "network": genesis_hash.hex()}
        path = self.path / "FORMAT"
        if not path.exists():
            strangers = sorted(entry.name for entry in self.path.iterdir() if entry.name in _FOLDERS and _holds(entry))
            if any(name in {"log", "votes"} for name in strangers):
                raise FormatMismatch(str(path), "FORMAT", "missing beside a log", "present")
            _write_durably(path, (json.dumps(wanted, sort_keys=True) + "\n").encode())
            return
        found = _read_format(path)
        for field in ("format", "kind", "network"):
            if found.get(field) != wanted[field]:
                raise FormatMismatch(str(path), field, found.get(field), wanted[field])


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: a file is only as safe as the entry that leads to it."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).strip()
        os.close(lock)
        raise DirectoryInUse(str(path.parent), int(holder) if holder.isdigit() else 0) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _holds(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _read_format(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        data = file.read(_FORMAT_BYTES_MAX)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatMismatch(str(path), "FORMAT", "unreadable", "one JSON object") from error
    if not isinstance(found, dict):
        raise FormatMismatch(str(path), "FORMAT", type(found).__name__, "one JSON object")
    return found


def _write_durably(path: Path, data: bytes) -> None:
    """Write a small file so that after a crash there is all of it or none."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)
