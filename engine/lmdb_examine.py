"""What can be said about an LMDB file before any of its pages is mapped: whole, torn, or not what it was.

A mapped file that is too short, or whose pages lead nowhere, ends the process that reads it; so the file is examined
first with plain reads, which cannot. It promises to find every damage of the two meta pages' pairing, of the trees of
pages and of the list of free pages; what the values hold is for their readers to check.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lmdb.verify import VerifyError, verify

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DATA_FILE", "LMDB_ENGINE", "Examination", "examine"]

DATA_FILE: Final = "data.mdb"
# One engine version is named at every opening, so that no default or environment variable chooses another format.
LMDB_ENGINE: Final = 0
_PAGE_HEADER_BYTES: Final = 16
_META: Final = struct.Struct("=IIQQ96xQQ")
_META_MAGIC: Final = 0xBEEFC0DE
_PAGE_BYTES_AT: Final = 24  # within a meta: the free tree's first word holds the page size
# Whatever a walk over damaged bytes may stumble over; each is a finding about the file and not a fault of the walk.
_STUMBLES: Final = (struct.error, IndexError, ValueError, OverflowError, MemoryError, RecursionError)


@dataclass(frozen=True, slots=True)
class Examination:
    """``finding`` is empty for a sound file. ``torn``: the file ends before pages that are in use.

    ``empty`` says that there is no file, or one of no bytes, which LMDB takes for a new one.
    """

    finding: str = ""
    torn: bool = False
    empty: bool = False
    pages: int = 0
    commits: int = 0


def examine(folder: Path, *, walk: bool = True) -> Examination:
    """Examine ``folder``/data.mdb with plain reads; without ``walk`` only the size and the meta pages.

    Raises OSError when the file cannot be read. The walk reads each page of the trees and the first page of each large
    value once.
    """
    path = folder / DATA_FILE
    size = path.stat().st_size if path.exists() else 0
    if size == 0:
        return Examination(empty=True)
    with path.open("rb") as file:
        head = file.read(os.sysconf("SC_PAGE_SIZE") * 2)
    found = _metas(head, size)
    if found.finding or not walk:
        return found
    try:
        problems: list[str] = verify(str(folder))  # type: ignore[no-untyped-call]
    except VerifyError as error:
        problems = [str(error)]
    except _STUMBLES as error:
        problems = [f"{type(error).__name__}: {error}"]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Examination(found.finding or f"page structure: {problems[0]}{more}", found.torn, pages=found.pages)
    return Examination(pages=found.pages, commits=found.commits)


def _metas(head: bytes, size: int) -> Examination:
    """Read both meta pages: they name the page size, the pages in use and the two newest commits."""
    page_bytes = int.from_bytes(head[_PAGE_HEADER_BYTES + _PAGE_BYTES_AT :][:4], "little")
    if len(head) < _PAGE_HEADER_BYTES + _META.size:
        return Examination(f"the file holds {size} bytes, less than a meta page", torn=True)
    commits, last_page = [], 0
    if page_bytes != os.sysconf("SC_PAGE_SIZE"):
        return Examination(f"meta page 0: page size {page_bytes}")
    if size < 2 * page_bytes:
        return Examination(f"the file holds {size} bytes, less than its two meta pages", torn=True)
    for index in (0, 1):
        magic, version, _, _, last, commit = _META.unpack_from(head, index * page_bytes + _PAGE_HEADER_BYTES)
        if magic != _META_MAGIC or version != 1:
            return Examination(f"meta page {index}: magic {magic:08x}, version {version}")
        commits.append(commit)
        if commit >= max(commits):
            last_page = last
    # Each commit writes the meta page of its parity, so the two are neighbours; both are 0 in a new file.
    if abs(commits[0] - commits[1]) != 1 and commits != [0, 0]:
        return Examination(f"meta pages: commits {commits[0]} and {commits[1]} are no neighbours")
    pages = last_page + 1
    if size >= pages * page_bytes:
        return Examination(pages=pages, commits=max(commits))
    return Examination(
        f"the file holds {size} bytes where its newest meta page names {pages} pages, {pages * page_bytes} bytes",
        torn=True,
        pages=pages,
        commits=max(commits),
    )
