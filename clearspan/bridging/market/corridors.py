"""The corridors that a bridge goes by: those of its folder, and those that final relay blocks announce.

What the relay announced is kept in the folder under `<id>.<version>.<effect height>.json`, so that a restart knows it;
a file that an operator puts there is taken as his word. What is in effect is a function of the relay height. It
promises that what was announced is in effect although its file cannot be written yet, and says so until it is.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from bridge.corridor import CorridorBook, decode_document
from bridge.margins import Margins, SideMargins
from bridge.refusals import BridgeCode, BridgeRefused
from engine.data_directory import sync_folder
from engine.governance import Corridor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from bridge.corridor import CorridorDocument
    from bridge.terms import SwapTerms

__all__ = ["Corridors", "corridor_file", "read_folder"]

_NAME: Final = re.compile(r"([0-9a-f]{32})\.([0-9]{1,10})\.([0-9]{1,19})\.json")
_log = structlog.get_logger("clearspan.bridging")


class Corridors:
    """The book, and the relay height that decides what of it is in effect."""

    def __init__(self, folder: Path) -> None:
        """Read the folder; a file that is none of ours is left alone, a broken one is logged and left out."""
        self._folder = folder
        self.book = CorridorBook()
        self.height = 0
        self._unsaved: list[Corridor] = []
        self._read: dict[str, tuple[CorridorDocument, Margins]] = {}
        for record in _records(folder):
            self._add(record, "folder")

    def take(self, corridors: Iterable[Corridor], height: int) -> None:
        """Take what a final relay block announces, and its height."""
        self.height = max(self.height, height)
        self._unsaved += [each for each in corridors if self._add(each, "relay")]
        while self._unsaved:
            corridor = self._unsaved[0]
            try:
                self._save(corridor)
            except OSError as error:
                _log.error("corridor_not_saved", id=corridor.id.hex(), version=corridor.version, reason=str(error))
                break
            del self._unsaved[0]
            _log.info("corridor_announced", id=corridor.id.hex(), version=corridor.version)

    @property
    def is_saved(self) -> bool:
        """Whether all that was announced is on the disk: until then a restart must read those blocks again."""
        return not self._unsaved

    def _save(self, corridor: Corridor) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / corridor_file(corridor)
        beside = path.with_suffix(".new")
        with beside.open("wb") as file:
            file.write(corridor.document)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(self._folder)

    def _add(self, corridor: Corridor, source: str) -> bool:
        try:
            self.book.add(corridor)
        except BridgeRefused as error:
            _log.warning("corridor_left_out", source=source, reason=str(error))
            return False
        return True

    def between(self, source: int, target: int) -> CorridorDocument:
        """Return the document in effect for a pair of ledgers, of several the first by id.

        Raises BridgeRefused (corridor_unknown).
        """
        found = self.book.between(source, target, self.height)
        if not found:
            raise BridgeRefused(BridgeCode.CORRIDOR_UNKNOWN, f"from ledger {source} to ledger {target}")
        return found[0]

    def margins_of(self, terms: SwapTerms) -> Margins:
        """Return the margins that hold for a swap: of each part the longest that its corridors ask for.

        Raises BridgeRefused (corridor_unknown, corridor_not_in_effect).
        """
        if len(terms.corridors) == 1:
            return self._margins(self.book.in_effect(terms.corridors[0].id, self.height))
        parts = [self._margins(self.book.in_effect(each.id, self.height)) for each in terms.corridors]
        if not parts:
            raise BridgeRefused(BridgeCode.CORRIDOR_UNKNOWN, "the terms name no corridor")
        chains = sorted({chain for each in parts for chain in each.foreign})
        return Margins(
            _longest([each.home for each in parts]),
            {chain: _longest([each.foreign[chain] for each in parts if chain in each.foreign]) for chain in chains},
            max(each.skew_ns for each in parts),
            max(each.failover_ns for each in parts),
            max(each.stall_ns for each in parts),
        )

    def _margins(self, document: CorridorDocument) -> Margins:
        """Return a document's margins; every swap asks, so what was read of it last is remembered."""
        known = self._read.get(document.id)
        if known is None or known[0] is not document:
            known = self._read[document.id] = document, document.margins_of()
        return known[1]


def read_folder(folder: Path) -> Iterator[tuple[Corridor, CorridorDocument]]:
    """Yield the corridors of a folder that can be read, each id's versions in order."""
    for record in _records(folder):
        with suppress(BridgeRefused):
            yield record, decode_document(record.document)


def _records(folder: Path) -> Iterator[Corridor]:
    found = sorted(folder.glob("*.json"), key=lambda path: _order(path.name)) if folder.is_dir() else []
    for path in found:
        match = _NAME.fullmatch(path.name)
        if match is not None:
            identity, version, effect = bytes.fromhex(match[1]), int(match[2]), int(match[3])
            yield Corridor(identity, version, effect, path.read_bytes().rstrip(b"\n"))


def corridor_file(corridor: Corridor) -> str:
    """Return the name of the file that keeps a corridor."""
    return f"{corridor.id.hex()}.{corridor.version}.{corridor.effect_height}.json"


def _order(name: str) -> tuple[str, int]:
    identity, _, rest = name.partition(".")
    version = rest.partition(".")[0]
    return identity, int(version) if version.isdigit() else 0


def _longest(sides: list[SideMargins]) -> SideMargins:
    return SideMargins(
        max(each.finality_ns for each in sides),
        max(each.watching_ns for each in sides),
        max(each.submission_ns for each in sides),
    )
