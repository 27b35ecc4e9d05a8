"""The corridors that a bridge goes by: those of its folder, and those that final relay blocks announce.

What the relay announced is kept in the folder under `<id>.<version>.<effect height>.json`, so that a restart knows it;
a file that an operator puts there is taken as his word. What is in effect is a function of the relay height.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from bridge.corridor import CorridorBook, decode_document
from bridge.margins import Margins, SideMargins
from bridge.refusals import BridgeCode, BridgeRefused
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
        for record in _records(folder):
            self._add(record, "folder")

    def take(self, corridors: Iterable[Corridor], height: int) -> None:
        """Take what a final relay block announces, and its height."""
        self.height = max(self.height, height)
        for corridor in corridors:
            if self._add(corridor, "relay"):
                self._folder.mkdir(parents=True, exist_ok=True)
                path = self._folder / corridor_file(corridor)
                beside = path.with_suffix(".new")
                beside.write_bytes(corridor.document)
                beside.replace(path)
                _log.info("corridor_announced", id=corridor.id.hex(), version=corridor.version)

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
        parts = [self.book.in_effect(each.id, self.height).margins_of() for each in terms.corridors]
        if not parts:
            raise BridgeRefused(BridgeCode.CORRIDOR_UNKNOWN, "the terms name no corridor")
        if len(parts) == 1:
            return parts[0]
        chains = sorted({chain for each in parts for chain in each.foreign})
        return Margins(
            _longest([each.home for each in parts]),
            {chain: _longest([each.foreign[chain] for each in parts if chain in each.foreign]) for chain in chains},
            max(each.skew_ns for each in parts),
            max(each.failover_ns for each in parts),
            max(each.stall_ns for each in parts),
        )


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
