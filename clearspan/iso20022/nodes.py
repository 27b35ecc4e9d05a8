"""Elements to values, strictly: each helper returns a checked value or refuses, naming the element and its line."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, NoReturn

from clearspan.iso20022.document import local_name, shown
from clearspan.iso20022.errors import IsoCode, IsoError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxml.etree import _Element

__all__ = [
    "Sequence",
    "bic",
    "code",
    "date_of",
    "datetime_of",
    "identifier",
    "leaf",
    "refuse",
    "uetr_of",
    "where",
]

IDENTIFIER_MAX = 35
NAME_MAX = 140

_BIC = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
_UETR = re.compile(r"[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[89ab][a-f0-9]{3}-[a-f0-9]{12}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})?"
)


class Sequence:
    """An element's children in the order its schema gives them, each at most once unless named as repeatable."""

    __slots__ = ("_ranks", "_reason_iso", "_repeatable", "_required")

    def __init__(
        self,
        namespace: str,
        names: str,
        *,
        required: Iterable[str] = (),
        repeatable: Iterable[str] = (),
        reason_iso: str = "",
    ) -> None:
        """`names` are the children's local names in order, separated by spaces; reason_iso answers a missing one."""
        self._ranks = {f"{{{namespace}}}{name}": (rank, name) for rank, name in enumerate(names.split())}
        self._required = tuple(required)
        self._repeatable = frozenset(repeatable)
        self._reason_iso = reason_iso

    def read(self, parent: _Element) -> dict[str, _Element]:
        """Return the children by local name, the first of a repeated one.

        Raises IsoError for a child that is unknown, out of order, repeated or missing, and for text between children.
        """
        found: dict[str, _Element] = {}
        ranks = self._ranks
        last = -1
        between = parent.text
        for child in parent:
            entry = ranks.get(child.tag)
            if entry is None:
                refuse(IsoCode.ELEMENT_INVALID, child, "the schema has no such element here", reason_iso="CH17")
            rank, name = entry
            if rank <= last:
                if rank < last or name not in self._repeatable:
                    refuse(IsoCode.ELEMENT_INVALID, child, "the element is repeated or out of order", reason_iso="CH17")
            else:
                found[name] = child
                last = rank
            if between is not None and not between.isspace():
                break
            between = child.tail
        if between is not None and not between.isspace():
            refuse(IsoCode.ELEMENT_INVALID, parent, f"stray text {shown(between.strip())!r} between elements")
        for name in self._required:
            if name not in found:
                refuse(IsoCode.ELEMENT_MISSING, parent, f"{name} is missing", reason_iso=self._reason_iso)
        return found


def leaf(element: _Element, length_max: int, *, reason_iso: str = "") -> str:
    """Return the element's text, 1 to length_max characters, as written."""
    text = element.text
    if len(element):
        refuse(IsoCode.ELEMENT_INVALID, element, "text is expected here, not elements", reason_iso=reason_iso)
    if not text:
        refuse(IsoCode.ELEMENT_INVALID, element, "the element is empty", reason_iso=reason_iso)
    if len(text) > length_max:
        refuse(IsoCode.ELEMENT_INVALID, element, f"more than {length_max} characters", reason_iso=reason_iso)
    return text


def identifier(element: _Element | None, length_max: int = IDENTIFIER_MAX, *, reason_iso: str = "") -> str:
    """Return an identifier: printable, without space at either end; "" for None."""
    if element is None:
        return ""
    text = leaf(element, length_max, reason_iso=reason_iso)
    if not text.isprintable() or text != text.strip():
        message = f"{shown(text)!r} has a control character, or a space at an end"
        refuse(IsoCode.ELEMENT_INVALID, element, message, reason_iso=reason_iso)
    return text


def code(element: _Element | None, allowed: frozenset[str]) -> str:
    """Return a code of a closed list; "" for None."""
    if element is None:
        return ""
    text = leaf(element, IDENTIFIER_MAX)
    if text not in allowed:
        refuse(IsoCode.ELEMENT_INVALID, element, f"{shown(text)!r} is none of {', '.join(sorted(allowed))}")
    return text


def bic(element: _Element | None) -> str:
    """Return a BIC of 8 or 11 characters; "" for None."""
    if element is None:
        return ""
    text = leaf(element, IDENTIFIER_MAX, reason_iso="RC01")
    if _BIC.fullmatch(text) is None:
        refuse(IsoCode.ELEMENT_INVALID, element, f"{shown(text)!r} is no BIC", reason_iso="RC01")
    return text


def uetr_of(element: _Element | None) -> int | None:
    """Return a UETR as its 128-bit integer; None for None. Raises IsoError uetr_invalid."""
    if element is None:
        return None
    text = element.text or ""
    if _UETR.fullmatch(text) is None or len(element):
        refuse(IsoCode.UETR_INVALID, element, f"{shown(text)!r} is no lower-case UUID of version 4")
    return int(text.replace("-", ""), 16)


def date_of(element: _Element) -> date:
    """Return a calendar date written YYYY-MM-DD."""
    text = leaf(element, IDENTIFIER_MAX, reason_iso="DT01")
    try:
        found = date.fromisoformat(text) if _DATE.fullmatch(text) is not None else None
    except ValueError:
        found = None
    if found is None:
        refuse(IsoCode.ELEMENT_INVALID, element, f"{shown(text)!r} is no date YYYY-MM-DD", reason_iso="DT01")
    return found


def datetime_of(element: _Element) -> datetime:
    """Return an instant written YYYY-MM-DDThh:mm:ss with optional fraction (kept to microseconds) and offset."""
    text = leaf(element, IDENTIFIER_MAX, reason_iso="DT01")
    try:
        found = datetime.fromisoformat(text) if _DATETIME.fullmatch(text) is not None else None
    except ValueError:
        found = None
    if found is None:
        refuse(IsoCode.ELEMENT_INVALID, element, f"{shown(text)!r} is no date and time", reason_iso="DT01")
    return found


def where(element: _Element) -> str:
    """Return the element's path by local names, with a position (from 1) among siblings of its name, and its line."""
    steps: list[str] = []
    at: _Element | None = element
    while at is not None:
        before = sum(1 for _ in at.itersiblings(at.tag, preceding=True))
        more = before or next(at.itersiblings(at.tag), None) is not None
        steps.append(f"/{shown(local_name(at))}[{before + 1}]" if more else f"/{shown(local_name(at))}")
        at = at.getparent()
    return f"{''.join(reversed(steps))} line {element.sourceline}"


def refuse(refusal: IsoCode, element: _Element, message: str, *, reason_iso: str = "", next_step: str = "") -> NoReturn:
    """Raise IsoError at an element."""
    raise IsoError(refusal, message, where=where(element), reason_iso=reason_iso, next_step=next_step)
