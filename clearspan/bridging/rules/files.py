"""Breakers of corridors and the list of names, from files that are read again when they change.

It promises that a file of a breaker is believed as little as any other messenger (``breaker_desk``),
is looked at again until its ledger's decision is final, and that a broken file leaves what was known in force.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Final

import structlog

from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import Screen, decode_list
from clearspan.errors import ConfigError
from clearspan.kept_file import file_stamp
from engine.types import ADMIN_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clearspan.bridging.rules.breaker_desk import BreakerDesk

__all__ = ["BREAKERS_FOLDER", "BREAKER_FILE_BYTES", "RuleFiles", "breaker_file", "read_screen"]

BREAKERS_FOLDER: Final = "breakers"
"""Where a bridge's data directory takes files of breakers, under any name."""
_HEAD: Final = struct.Struct("<IIQ")  # domain, zero, height
BREAKER_FILE_BYTES: Final = _HEAD.size + ADMIN_BYTES
LIST_BYTES_MAX: Final = 256 << 20
FILES_MAX: Final = 10_000
_PAUSE_S: Final = 0.5
_AGAIN_S: Final = 5.0
"""A decision that is not final yet, or of a corridor that is not known, is asked for again after this."""
_LATER: Final = (BridgeCode.CORRIDOR_UNKNOWN, BridgeCode.CORRIDOR_NOT_IN_EFFECT, BridgeCode.BREAKER_UNPROVED)
_log = structlog.get_logger("clearspan.bridging")


def breaker_file(domain: int, height: int, body: bytes) -> bytes:
    """Return the bytes of a file that carries a request which a domain decided in a block of its first shard."""
    return _HEAD.pack(domain, 0, height) + body


def read_screen(path: Path, suite: int) -> Screen:
    """Read a list of names. Raises ConfigError, naming what is wrong: without its list a bridge does not start."""
    try:
        with path.open("rb") as file:
            content = file.read(LIST_BYTES_MAX + 1)
        if len(content) > LIST_BYTES_MAX:
            raise ConfigError("screening.list", f"{path}: more than {LIST_BYTES_MAX} bytes", "name a shorter list")
        return Screen(decode_list(content), suite)
    except OSError as error:
        raise ConfigError("screening.list", f"{path}: {error.strerror}", "name the list, or none") from error
    except BridgeRefused as error:
        raise ConfigError("screening.list", f"{path}: {error.text}", "mend the list") from error


class RuleFiles:
    """One bridge's folder of breakers and its list; ``look`` once before calls are taken, then ``follow``."""

    def __init__(
        self, desk: BreakerDesk, use: Callable[[Screen], None], *, folder: Path, names: Path | None, suite: int
    ) -> None:
        """Take who is given breakers, who a newer list (None: there is none), and the network's hash suite."""
        self._desk, self._use, self._suite = desk, use, suite
        self._folder, self._names = folder, names
        self._stamps: dict[str, tuple[int, int]] = {}
        self._later: dict[str, float] = {}
        self._list_stamp = file_stamp(names) if names is not None else (0, 0)

    async def follow(self) -> None:
        """Look at the folder again and again."""
        while True:
            await asyncio.sleep(_PAUSE_S)
            await self.look()

    async def follow_names(self) -> None:
        """Look at the list again and again: apart, so that a node which does not answer keeps no list back."""
        while True:
            await asyncio.sleep(_PAUSE_S)
            await self.follow_list()

    async def look(self) -> int:
        """Take the files that are new, changed or left for later; return how many breakers count now that did not."""
        count = 0
        for name, stamp, data in await asyncio.to_thread(self._changed):
            reason, later = "another length than 176 bytes", False
            if len(data) == BREAKER_FILE_BYTES:
                domain, _, height = _HEAD.unpack(data[: _HEAD.size])
                try:
                    _, fresh = await self._desk.take(domain, height, data[_HEAD.size :], wait_s=0.0)
                except BridgeRefused as error:
                    reason, later = str(error), error.code in _LATER
                else:
                    count += fresh
                    reason = ""
            if reason and name not in self._later:
                _log.warning("breaker_left_out", file=name, reason=reason)
            if later:
                self._later[name] = time.monotonic() + _AGAIN_S
            else:
                self._later.pop(name, None)
                self._stamps[name] = stamp
        return count

    def _changed(self) -> list[tuple[str, tuple[int, int], bytes]]:
        found = []
        paths = sorted(self._folder.iterdir())[:FILES_MAX] if self._folder.is_dir() else []
        now = time.monotonic()
        for path in paths:
            stamp = file_stamp(path)
            if path.is_file() and self._stamps.get(path.name) != stamp and self._later.get(path.name, 0.0) <= now:
                try:
                    with path.open("rb") as file:
                        found.append((path.name, stamp, file.read(BREAKER_FILE_BYTES + 1)))
                except OSError as error:
                    _log.warning("breaker_left_out", file=path.name, reason=error.strerror)
        return found

    async def follow_list(self) -> None:
        """Take the list again where its file has changed; a broken one leaves what is in force."""
        if self._names is None:
            return
        stamp = await asyncio.to_thread(file_stamp, self._names)
        if stamp == self._list_stamp:
            return
        self._list_stamp = stamp
        try:
            screen = await asyncio.to_thread(read_screen, self._names, self._suite)
        except ConfigError as error:
            _log.warning("list_left_out", reason=str(error))
            return
        self._use(screen)
        _log.info("list_taken", version=screen.version)
