"""The page that checks a receipt in a browser: one file without a network, built from verify.js and page.html."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.codes import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["build_page", "code_table"]

_HERE: Final = Path(__file__).parent
_SCRIPT_MARK: Final = "/*{verify.js}*/"
_DATA_MARK: Final = "/*{data}*/"


def code_table() -> dict[str, tuple[str, str, str]]:
    """Return what the page knows of result codes: number -> (name, class, next step)."""
    return {str(int(code)): (each.name, each.code_class.value, each.next_step) for code, each in MEANINGS.items()}


def build_page(
    *, receipt: bytes | None = None, trust: str | None = None, vectors: Sequence[Mapping[str, str]] | None = None
) -> str:
    """Return the page as one HTML file.

    With ``receipt`` and ``trust`` (a genesis or trust document) it shows that receipt when it opens; with ``vectors``
    (each name, receipt in hex, trust) it checks them all and writes the results into an element of id ``results``.
    """
    data: dict[str, object] = {"codes": code_table()}
    if receipt is not None and trust is not None:
        data |= {"receipt": receipt.hex(), "trust": trust}
    if vectors is not None:
        data["vectors"] = list(vectors)
    # Twice JSON: the text of a string literal. Nothing in it may end the script element or the literal.
    literal = json.dumps(json.dumps(data, separators=(",", ":")))[1:-1].replace("<", "\\u003c")
    page = (_HERE / "page.html").read_text(encoding="utf-8")
    return page.replace(_SCRIPT_MARK, (_HERE / "verify.js").read_text(encoding="utf-8")).replace(_DATA_MARK, literal)
