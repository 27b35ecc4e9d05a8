"""Names of who pays and who is paid in a seed, and the list that a payer's bridge holds them against."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from bridge.screening import ListEntry, Screen, WatchList

__all__ = ["names_of", "score_on_list", "screen_of"]

_NAMES: Final = {"payer": "Novamar Cement Industries", "payee": "Lanjiao Shipping"}
_LISTED: Final = "Quillon Harbour Trading"
_NEAR_IT: Final = "Quilon Harbor Trading"
_FIRST_VERSION: Final = 7


def names_of(listed: str) -> tuple[str, str]:
    """Return payer's and payee's name; the one that is listed ("payer" or "payee") is written a little otherwise."""
    first, second = (_NEAR_IT if who == listed else name for who, name in _NAMES.items())
    return first, second


@lru_cache(maxsize=4)
def screen_of(suite: int, *, is_grown: bool) -> Screen:
    """Return the list as it is screened with; the grown one is its next version and has every name of a seed."""
    texts = (_LISTED, *_NAMES.values()) if is_grown else (_LISTED,)
    entries = tuple(ListEntry(f"L{index:02}", (text,)) for index, text in enumerate(texts, 1))
    return Screen(WatchList("simulated", _FIRST_VERSION + is_grown, entries), suite)


@lru_cache(maxsize=1)
def score_on_list() -> int:
    """Return how like the one on the list a listed name is, of 10,000."""
    return screen_of(1, is_grown=False).look(_NEAR_IT, 1)[0].score
