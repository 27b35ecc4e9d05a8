"""Names against lists: an integer score from 0 to 10,000 with the tokens that made it, so that a person can review it.

It promises the same score for the same name and list on every machine: distances are whole numbers, nothing is a
float. What a score means is the corridor's to say (``Screening.hold_score``); who decides on a hold is a person's case
(``bridge.cases``). The outcome as it is signed stands in ``bridge.screening_record``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Indel

from bridge.names import NormalName, normalise
from bridge.refusals import BridgeCode, BridgeRefused
from engine.hashing import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ListEntry", "Match", "Screen", "WatchList", "decode_list"]

ENTRIES_MAX: Final = 200_000
NAMES_MAX: Final = 64
MATCHES_MAX: Final = 5
"""Findings that a person is shown; the best come first."""
PERFECT: Final = 10_000
TOKEN_LEAST: Final = 7_500
"""Two words below this are two words: 'silver' and 'golden' share letters and mean nothing to each other."""
EXACT_CHARACTERS: Final = 3
"""Words so short are equal or different: one letter changes too much of them."""
COMPACT_LEAST: Final = 9_000
"""Words joined must be nearly equal before their spacing is blamed."""
CONTAINED_WORDS_LEAST: Final = 2
EXTRA_WORD_PENALTY: Final = 300
"""A whole listed name of at least two words with words added to it is found; each added word costs this."""
CANDIDATE_LEAST: Final = 7_000
"""Names further than this from the query as a whole, and without a rare word in common, are not aligned by words."""
RARE_NAMES_MAX: Final = 64
RARE_SHARE: Final = 200
"""A word is rare that stands in at most so many names, or in at most one of so many."""

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class ListEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One listed party: a stable id of the list's issuer and every spelling of its name."""

    id: _Text
    names: Annotated[tuple[_Text, ...], msgspec.Meta(min_length=1, max_length=NAMES_MAX)]


class WatchList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A list with its version; entries ascend by id, each once. Raises BridgeRefused (terms_malformed)."""

    name: _Text
    version: Annotated[int, msgspec.Meta(ge=1, le=2**32 - 1)]
    entries: Annotated[tuple[ListEntry, ...], msgspec.Meta(max_length=ENTRIES_MAX)]

    def __post_init__(self) -> None:
        """Check the order, so that one list has one hash."""
        ids = [entry.id for entry in self.entries]
        if ids != sorted(set(ids)):
            raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"list {self.name}: entries ascend by id, each once")

    def encode(self) -> bytes:
        """Return the canonical JSON."""
        return msgspec.json.encode(self, order="sorted")

    def hash(self, suite: int) -> bytes:
        """Return the list's 32-byte name: what a screening record says was looked at."""
        return digest(suite, self.encode())


_DECODER: Final = msgspec.json.Decoder(WatchList)


def decode_list(data: bytes) -> WatchList:
    """Read a list from its JSON; raises BridgeRefused (terms_malformed)."""
    try:
        found: WatchList = _DECODER.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"list: {error}") from error
    return found


@dataclass(frozen=True, slots=True)
class Match:
    """A finding: ``score`` of 10,000, how it came about, and the words that do not fit, for the person who decides.

    ``method`` is "words" (aligned word by word, rare words weigh more), "joined" (compared without spaces) or
    "contained" (every listed word is there, among others).
    ``pairs`` are (word of the name, word of the list, similarity).
    """

    entry_id: str
    listed: str
    score: int
    method: str
    pairs: tuple[tuple[str, str, int], ...]
    only_in_name: tuple[str, ...]
    only_in_list: tuple[str, ...]

    def explain(self) -> str:
        """Say in one line why this was found."""
        words = ", ".join(f"{a}~{b} {similarity}" if a != b else a for a, b, similarity in self.pairs)
        alone = ", ".join((*self.only_in_name, *self.only_in_list)) or "nothing"
        return f"{self.score} of {PERFECT} by {self.method} against {self.listed!r} ({words}; left over: {alone})"


class Screen:
    """A list prepared for many looks. Looking changes nothing, so threads may share it."""

    def __init__(self, watch_list: WatchList, suite: int) -> None:
        """Prepare every name; raises BridgeRefused for a name without letters."""
        self.version = watch_list.version
        self.hash = watch_list.hash(suite)
        self._names: list[tuple[str, NormalName]] = [
            (entry.id, normalise(name)) for entry in watch_list.entries for name in entry.names
        ]
        self._ordered = [name.ordered for _, name in self._names]
        self._compact = [name.compact for _, name in self._names]
        self._ordered_sizes = np.array([len(each) for each in self._ordered], dtype=np.int64)
        self._compact_sizes = np.array([len(each) for each in self._compact], dtype=np.int64)
        self._with_token: dict[str, list[int]] = {}
        for index, (_, name) in enumerate(self._names):
            for token in dict.fromkeys(name.tokens):
                self._with_token.setdefault(token, []).append(index)

    def look(self, name: str, least: int) -> tuple[Match, ...]:
        """Return at most MATCHES_MAX entries whose score is ``least`` or more, best first, then by id.

        Raises BridgeRefused (terms_malformed) for a name without letters: what cannot be read cannot be cleared.
        """
        query = normalise(name)
        best: dict[str, Match] = {}
        for index in self._candidates(query):
            entry_id, listed = self._names[index]
            match = self._match(query, entry_id, listed)
            if match.score >= least and (entry_id not in best or match.score > best[entry_id].score):
                best[entry_id] = match
        return tuple(sorted(best.values(), key=lambda match: (-match.score, match.entry_id))[:MATCHES_MAX])

    def _candidates(self, query: NormalName) -> list[int]:
        if not self._names:
            return []
        near = _near(query.ordered, self._ordered, self._ordered_sizes)
        near |= _near(query.compact, self._compact, self._compact_sizes)
        rare_max = max(RARE_NAMES_MAX, len(self._names) // RARE_SHARE)
        for token in query.tokens:
            with_token = self._with_token.get(token, [])
            if len(with_token) <= rare_max:
                near[with_token] = True
        return [int(index) for index in np.flatnonzero(near)]

    def _weight(self, token: str) -> int:
        """Return how much a word tells: 1 for one that stands in most names, more for each halving of its share."""
        return (len(self._names) // len(self._with_token.get(token, [0]))).bit_length() or 1

    def _match(self, query: NormalName, entry_id: str, listed: NormalName) -> Match:
        pairs = _aligned(query.tokens, listed.tokens)
        mine = [self._weight(token) for token in query.tokens]
        theirs = [self._weight(token) for token in listed.tokens]
        earned = sum((mine[a] + theirs[b]) * similarity for a, b, similarity in pairs)
        score, method = earned // (sum(mine) + sum(theirs)), "words"
        if len(query.tokens) != len(listed.tokens):
            joined = _similarity(query.compact, listed.compact)
            if joined >= COMPACT_LEAST and joined > score:
                score, method = joined, "joined"
        extra = len(query.tokens) - len(pairs)
        if len(listed.tokens) >= CONTAINED_WORDS_LEAST and len(pairs) == len(listed.tokens):
            contained = sum(similarity for _, _, similarity in pairs) // len(pairs) - EXTRA_WORD_PENALTY * extra
            if contained > score:
                score, method = contained, "contained"
        used_mine, used_theirs = {a for a, _, _ in pairs}, {b for _, b, _ in pairs}
        return Match(
            entry_id=entry_id,
            listed=listed.given,
            score=score,
            method=method,
            pairs=tuple((query.tokens[a], listed.tokens[b], similarity) for a, b, similarity in pairs),
            only_in_name=tuple(token for index, token in enumerate(query.tokens) if index not in used_mine),
            only_in_list=tuple(token for index, token in enumerate(listed.tokens) if index not in used_theirs),
        )


def _similarity(one: str, other: str) -> int:
    """Return how alike two texts are: 10,000 less the share of characters to insert or delete."""
    length = len(one) + len(other)
    return PERFECT * (length - Indel.distance(one, other)) // length


def _token_similarity(one: str, other: str) -> int:
    if one == other:
        return PERFECT
    if min(len(one), len(other)) <= EXACT_CHARACTERS:
        return 0
    similarity = _similarity(one, other)
    return similarity if similarity >= TOKEN_LEAST else 0


def _aligned(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int, int]]:
    """Pair words, the most alike first, each once; return (index, index, similarity) in order of the first."""
    found = [
        (similarity, a, b)
        for a, left in enumerate(one)
        for b, right in enumerate(other)
        if (similarity := _token_similarity(left, right))
    ]
    found.sort(key=lambda each: (-each[0], each[1], each[2]))
    left_used: set[int] = set()
    right_used: set[int] = set()
    pairs = []
    for similarity, a, b in found:
        if a not in left_used and b not in right_used:
            left_used.add(a)
            right_used.add(b)
            pairs.append((a, b, similarity))
    return sorted(pairs)


def _near(
    query: str, names: list[str], sizes: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which names are near enough as a whole to be aligned."""
    distances = process.cdist([query], names, scorer=Indel.distance, dtype=np.int64)[0]
    lengths = sizes + len(query)
    near: np.ndarray[tuple[int], np.dtype[np.bool_]] = PERFECT * (lengths - distances) >= CANDIDATE_LEAST * lengths
    return near
