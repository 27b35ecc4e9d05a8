"""The secrets that the relay has revealed, on the disk: a provider on a chain must know them before it accepts.

Whoever knows a secret that the relay revealed earlier takes the provider's lock on a chain, while the relay never
reveals it again for the leg that pays him (SWAP-12). It promises that what it holds is every secret of the relay's
blocks from where it began up to ``height``, of more than the relay itself refuses again the newest; a file that was
torn at its end, or is lost, only means that more of the relay is read again.
"""

from __future__ import annotations

import os
import struct
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final

import structlog

from bridge.watcher import REVEALS_KEPT_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["HEARD_FILE", "REVEALS_FILE", "RevealHistory"]

REVEALS_FILE: Final = "reveals"
HEARD_FILE: Final = "reveals-heard"
"""Of a bridge that did not read the relay from its beginning."""
_HEAD: Final = b"CSREVEAL\x02" + bytes(7)
_ROW: Final = struct.Struct("<Q32s")
_NO_PREIMAGE: Final = bytes(32)
# Set in the height of a row that is a mark: any 32 bytes are a secret that somebody may have revealed, zeros too.
_MARK: Final = 1 << 63
_MARK_EVERY: Final = 1_024
_log = structlog.get_logger("clearspan.bridging")


class RevealHistory:
    """One append-only file of rows (height, secret), and of marks, which say how far the relay was read.

    A row counts once a later one, or a mark, is behind it, so a torn end is read from the relay again.
    """

    def __init__(self, path: Path, *, keep: int = REVEALS_KEPT_MAX) -> None:
        """Read what is there, drop a torn end and what is too old; a file of another kind begins anew."""
        self._path, self._keep = path, keep
        self._kept: OrderedDict[bytes, int] = OrderedDict()
        self.height = 0
        """All that blocks up to here revealed is known."""
        self._marked = 0
        self._torn = False
        self._read()
        self._rows = 0
        self._file = self._rewrite()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def preimages(self) -> Sequence[bytes]:
        """The secrets, oldest first."""
        return tuple(self._kept)

    def take(self, height: int, preimages: Iterable[bytes]) -> None:
        """Take the next block of the relay; one that is known changes nothing.

        Raises OSError where the disk takes no more; the block is not known then and may be given again.
        """
        if height <= self.height:
            return
        if self._torn:
            # A part of a row may stand at the end: behind it nothing could be read.
            self._begin_file()
        rows = bytearray()
        for preimage in preimages:
            if len(preimage) == len(_NO_PREIMAGE):
                self._keep_one(preimage, height)
                rows += _ROW.pack(height, preimage)
        if rows or height >= self._marked + _MARK_EVERY:
            rows += _ROW.pack(height | _MARK, _NO_PREIMAGE)
            self._write(rows)
            self._marked = height
        self.height = height
        if self._rows > 4 * self._keep:
            self._begin_file()

    def close(self) -> None:
        """Mark how far the relay was read, and close; without the mark more is read again. Safe to call twice."""
        if not self._file.closed and not self._torn:
            with suppress(OSError):
                self._write(_ROW.pack(self.height | _MARK, _NO_PREIMAGE))
                os.fsync(self._file.fileno())
        with suppress(OSError):
            self._file.close()

    def _begin_file(self) -> None:
        # Until the new file stands there is none to go on with: what comes next tries this again.
        self._torn = True
        self._file.close()
        self._file, self._torn = self._rewrite(), False

    def _write(self, rows: bytes | bytearray) -> None:
        try:
            self._file.write(rows)
            self._file.flush()
        except OSError:
            self._torn = True
            raise
        self._rows += len(rows) // _ROW.size

    def _keep_one(self, preimage: bytes, height: int) -> None:
        self._kept[preimage] = height
        self._kept.move_to_end(preimage)
        while len(self._kept) > self._keep:
            self._kept.popitem(last=False)

    def _read(self) -> None:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        if content[: len(_HEAD)] != _HEAD:
            _log.warning("reveals_begin_anew", path=str(self._path))
            return
        pending: list[bytes] = []
        whole = len(_HEAD) + (len(content) - len(_HEAD)) // _ROW.size * _ROW.size
        for place, preimage in _ROW.iter_unpack(content[len(_HEAD) : whole]):
            height = place & ~_MARK
            if height < self.height:
                return  # not what this class writes: what follows is not believed
            if not place & _MARK:
                pending.append(preimage)
                continue
            for each in pending:
                self._keep_one(each, height)
            pending.clear()
            self.height = self._marked = height

    def _rewrite(self) -> BinaryIO:
        """Write what is kept as a new file that takes the old one's name, and go on behind it."""
        beside = self._path.with_name(f".{self._path.name}.new")
        with beside.open("wb") as file:
            file.write(_HEAD)
            for preimage, height in self._kept.items():
                file.write(_ROW.pack(height, preimage))
            file.write(_ROW.pack(self.height | _MARK, _NO_PREIMAGE))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        self._rows = len(self._kept) + 1
        return self._path.open("ab")
