"""One LMDB environment whose writes end in one of three ways: durable, refused with nothing done, or failed for good.

Room for a commit is taken on the disk before the commit begins, so that a full disk is met where nothing has been
touched; a synced commit then only fills what it already has. That is also why no reserve file is needed: what an
append could not get it did not start. An input or output error ends the store (StoreFailed), since a second sync of
the same handle proves nothing.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Final

import lmdb

from engine.data_directory import sync_folder
from engine.errors import DiskFull, StoreClosed, StoreFailed
from engine.lmdb_examine import DATA_FILE, LMDB_ENGINE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["LmdbFile", "value_pages"]

# The file grows by its own size within these bounds: few extensions for a big log, little waste for a small one.
_GROWTH_BYTES_MIN: Final = 1024 * 1024
_GROWTH_BYTES_MAX: Final = 64 * 1024 * 1024
# Pages of trees and of the free list that a commit rewrites beside its values; a tree of 2^40 pages has depth 6.
_TREE_PAGES: Final = 64
_PAGE_HEADER_BYTES: Final = 16
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# File systems that cannot promise room: the commit itself then finds out.
_CANNOT_ALLOCATE: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})


class LmdbFile:
    """An environment in ``folder`` with synced commits; one writer at a time, readers in any thread.

    The map has its largest size from the start: it is address space, not memory, and enlarging it later would pull it
    away under readers.
    """

    def __init__(
        self,
        folder: Path,
        *,
        map_bytes_max: int,
        named_max: int,
        failure: type[StoreFailed] = StoreFailed,
        sync: bool = True,
    ) -> None:
        """Open or create; a file that may be damaged was examined before. Raises OSError, StoreFailed, DiskFull."""
        self.folder = folder
        self._map_bytes_max = map_bytes_max
        self._failure = failure
        self._failed = ""
        self._closed = False
        self._lock = threading.Lock()
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        fresh = not (folder / DATA_FILE).exists()
        try:
            self._environment = lmdb.open(
                str(folder), map_size=map_bytes_max, max_dbs=named_max, mode=0o640, sync=sync, lib_version=LMDB_ENGINE
            )
        except lmdb.Error as error:
            raise self._error(error) from error
        if fresh:
            sync_folder(folder)
            sync_folder(folder.parent)
        self._file = os.open(folder / DATA_FILE, os.O_RDWR | os.O_CLOEXEC)
        self._allocated = os.fstat(self._file).st_size
        # Slots of readers that died with their process would keep old pages from being used again.
        self._environment.reader_check()

    def named(self, name: bytes) -> lmdb._Database:
        """Return a named database, created if it is new (an empty one means nothing to any reader)."""
        try:
            return self._environment.open_db(name, create=False)
        except lmdb.NotFoundError:
            pass
        except lmdb.Error as error:
            raise self._failing(error) from error
        self.write(lambda txn: self._environment.open_db(name, txn=txn), pages=2)
        return self._environment.open_db(name, create=False)

    def names(self) -> list[bytes]:
        """Return the names of all databases."""
        return self._environment.dbs()

    def begin(self) -> lmdb.Transaction[bytes]:
        """Begin a read, which sees one commit until it ends; the values it gives are copies."""
        self.check_usable()
        return self._environment.begin()

    def write(self, action: Callable[[lmdb.Transaction[bytes]], object], *, pages: int) -> None:
        """Run an action in one transaction and make it durable; ``pages`` is what its values take at most.

        Raises DiskFull with nothing written, StoreFailed when the outcome is unknown, and what the action raises, also
        with nothing written.
        """
        with self._lock:
            self.check_usable()
            self._make_room(pages)
            try:
                txn = self._environment.begin(write=True)
            except lmdb.Error as error:
                raise self._failing(error) from error
            try:
                action(txn)
                txn.commit()
            except lmdb.MapFullError as error:
                txn.abort()
                raise DiskFull(str(self.folder), self.free_bytes(), self._map_limit()) from error
            except lmdb.Error as error:
                txn.abort()
                raise self._failing(error) from error
            except BaseException:
                txn.abort()
                raise
            # A commit may have made the file longer than the room that was taken for it.
            self._allocated = max(self._allocated, os.fstat(self._file).st_size)

    def check_usable(self) -> None:
        """Raise StoreClosed after close and StoreFailed after a failed write."""
        if self._failed:
            raise self._failure(str(self.folder), self._failed)
        if self._closed:
            raise StoreClosed(str(self.folder))

    def free_bytes(self) -> int:
        """Return what the disk has left for this user."""
        state = os.fstatvfs(self._file)
        return state.f_bavail * state.f_frsize

    def room_bytes(self) -> int:
        """Return what may still be written: what the disk has left, or less where the map ends before it."""
        return min(self.free_bytes(), self._map_bytes_max - self.used_bytes())

    def used_bytes(self) -> int:
        """Return the bytes of pages that were ever in use."""
        return (self._environment.info()["last_pgno"] + 1) * self._page_bytes

    def close(self) -> None:
        """Close the environment; every read must have ended. Safe to call twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._environment.close()
                os.close(self._file)

    def _make_room(self, pages: int) -> None:
        """Take disk space up to the last page that a commit can reach; raises DiskFull with nothing written."""
        end = self.used_bytes() + (pages + _TREE_PAGES) * self._page_bytes
        if end > self._map_bytes_max:
            raise DiskFull(str(self.folder), self.free_bytes(), self._map_limit())
        if end <= self._allocated:
            return
        ahead = min(max(self._allocated, _GROWTH_BYTES_MIN), _GROWTH_BYTES_MAX)
        wanted = min(max(end, self._allocated + ahead), self._map_bytes_max)
        # Near the end of the disk only what is needed is taken: the rest may be what a checkpoint needs.
        if self.free_bytes() < 4 * (wanted - self._allocated):
            wanted = end
        try:
            os.posix_fallocate(self._file, self._allocated, wanted - self._allocated)
        except OSError as error:
            if error.errno in _CANNOT_ALLOCATE:
                # The file still covers every page that a commit may count, so that a shorter one is known to be cut.
                os.ftruncate(self._file, wanted)
                self._allocated = wanted
                return
            if error.errno in _FULL:
                raise DiskFull(str(self.folder), self.free_bytes()) from error
            raise self._failing(error) from error
        self._allocated = wanted

    def _failing(self, error: lmdb.Error | OSError) -> DiskFull | StoreFailed:
        """Turn an error of a write into what it means, and close the door if the environment is not to be trusted."""
        full = (error.errno if isinstance(error, OSError) else error.code) in _FULL
        if full and self._takes_writes():
            return DiskFull(str(self.folder), self.free_bytes())
        self._failed = str(error)
        return self._failure(str(self.folder), self._failed)

    def _takes_writes(self) -> bool:
        """Whether the environment survived: after a failure at the meta page LMDB itself refuses every transaction."""
        try:
            self._environment.begin(write=True).abort()
        except lmdb.Error:
            return False
        return True

    def _error(self, error: lmdb.Error) -> DiskFull | StoreFailed:
        if error.code in _FULL:
            state = os.statvfs(self.folder)
            return DiskFull(str(self.folder), state.f_bavail * state.f_frsize)
        return self._failure(str(self.folder), str(error))

    def _map_limit(self) -> str:
        return f"its limit of {self._map_bytes_max} bytes is reached"


def value_pages(value_bytes: int) -> int:
    """Return how many pages a value takes at most: its own run of pages, or a share of a leaf that may split."""
    return (_PAGE_HEADER_BYTES + value_bytes) // os.sysconf("SC_PAGE_SIZE") + 2
