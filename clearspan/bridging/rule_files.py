"""Breakers of corridors and the list of names, from files that are read again when they change.

It promises that a notice counts only under two keys that the genesis of one of its corridor's domains names, that one
which counted once stays known for the life of the process, and that a broken file leaves what was known in force.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from bridge.corridor_breakers import SIGNED_NOTICE_BYTES, SignedNotice
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.screening import Screen, decode_list
from clearspan.errors import ConfigError
from engine.genesis import padded_key
from engine.parties import Key
from engine.refusals import EncodingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clearspan.bridging.compliance import Compliance
    from clearspan.bridging.corridors import Corridors
    from engine.genesis import Genesis

__all__ = ["BREAKERS_FOLDER", "RuleFiles", "read_screen"]

BREAKERS_FOLDER: Final = "breakers"
"""Where a bridge's data directory keeps signed notices, 208 bytes each, under any name."""
LIST_BYTES_MAX: Final = 256 << 20
NOTICES_MAX: Final = 10_000
_PAUSE_S: Final = 0.5
_log = structlog.get_logger("clearspan.bridging")


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
    """One bridge's folder of notices and its list; ``look`` once before anything begins, then ``follow``."""

    def __init__(
        self,
        genesis: Genesis,
        corridors: Corridors,
        compliance: Compliance,
        *,
        notices: Path,
        names: Path | None,
        now: Callable[[], int],
    ) -> None:
        """Take the files; the list was read before (``read_screen``)."""
        self._genesis, self._corridors, self._compliance = genesis, corridors, compliance
        self._notices, self._names, self._now = notices, names, now
        self._stamps: dict[str, tuple[int, int]] = {}
        self._list_stamp = _stamp(names) if names is not None else (0, 0)

    async def follow(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(_PAUSE_S)
            changed = await asyncio.to_thread(self._changed_notices)
            self._take(changed)
            await self._follow_list()

    def look(self) -> int:
        """Take the notices that are new or changed; return how many count now that did not."""
        return self._take(self._changed_notices())

    def _changed_notices(self) -> list[tuple[str, tuple[int, int], bytes]]:
        found = []
        paths = sorted(self._notices.iterdir())[:NOTICES_MAX] if self._notices.is_dir() else []
        for path in paths:
            stamp = _stamp(path)
            if path.is_file() and self._stamps.get(path.name) != stamp:
                try:
                    with path.open("rb") as file:
                        found.append((path.name, stamp, file.read(SIGNED_NOTICE_BYTES + 1)))
                except OSError as error:
                    _log.warning("breaker_left_out", file=path.name, reason=error.strerror)
        return found

    def _take(self, notices: list[tuple[str, tuple[int, int], bytes]]) -> int:
        count = 0
        for name, stamp, data in notices:
            try:
                signed = SignedNotice.decode(data)
                self._verify(signed)
                taken = self._compliance.breakers.apply(signed.notice)
            except BridgeRefused as error:
                _log.warning("breaker_left_out", file=name, reason=str(error))
                # A corridor may become known later: such a notice is looked at again.
                if error.code is not BridgeCode.CORRIDOR_UNKNOWN:
                    self._stamps[name] = stamp
                continue
            except EncodingError as error:
                _log.warning("breaker_left_out", file=name, reason=str(error))
                self._stamps[name] = stamp
                continue
            self._stamps[name] = stamp
            if taken:
                count += 1
                grade = signed.notice.grade.name.lower() if signed.notice.grade is not None else "clear"
                _log.warning("breaker_taken", corridor=signed.notice.corridor_id.hex(), grade=grade)
        return count

    def _verify(self, signed: SignedNotice) -> None:
        """Demand both keys in one registry: of the domain that is paid on, or the one that is paid out on."""
        known = self._corridors.book.in_effect(signed.notice.corridor_id, _ANY_HEIGHT)
        refused: BridgeRefused | None = None
        for ledger in (known.source_ledger, known.target_ledger):
            try:
                signed.verify(
                    self._genesis.hash_suite, self._genesis.hash, partial(_key_of, self._genesis, ledger), self._now()
                )
            except BridgeRefused as error:
                refused = error
            else:
                return
        assert refused is not None
        raise refused

    async def _follow_list(self) -> None:
        if self._names is None:
            return
        stamp = await asyncio.to_thread(_stamp, self._names)
        if stamp == self._list_stamp:
            return
        self._list_stamp = stamp
        try:
            screen = await asyncio.to_thread(read_screen, self._names, self._genesis.hash_suite)
        except ConfigError as error:
            _log.warning("list_left_out", reason=str(error))
            return
        self._compliance.use(screen)
        _log.info("list_taken", version=screen.version)


_ANY_HEIGHT: Final = 2**63


def _key_of(genesis: Genesis, ledger: int, key_id: int) -> Key | None:
    """Return a key of the genesis: the keys of a domain have the ids 1, 2, … in their order."""
    for domain in genesis.domains:
        if any(each.ledger == ledger for each in domain.ledgers) and 1 <= key_id <= len(domain.keys):
            key = domain.keys[key_id - 1]
            return Key(key_id, key.participant, key.role, key.suite, key_id, 0, padded_key(key.public_key))
    return None


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
