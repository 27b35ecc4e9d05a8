"""Names in the form in which they are compared: letters without marks, tokens in order, legal forms set apart.

It promises that spelling, case, width, accents, punctuation and the legal form of a company do not hide a name, and
that the form is the same on every machine. Scripts are not transliterated: a list carries each script's own spelling,
and Han characters stay as given.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

from bridge.refusals import BridgeCode, BridgeRefused

__all__ = ["NAME_CHARACTERS_MAX", "TOKENS_MAX", "NormalName", "normalise"]

NAME_CHARACTERS_MAX: Final = 512
"""Longer than any field of a payment message that holds a name."""
TOKENS_MAX: Final = 24
"""Of longer names the first tokens are compared, the rest is joined to the last: alignment costs their product."""

# Written forms of what a company is in law: they tell apart no two companies of a list.
_LEGAL_FORMS: Final = frozenset(
    {
        *("ab", "ag", "as", "asa", "bhd", "bv", "co", "company", "corp", "corporation", "eood", "fze", "fzco", "gmbh"),
        *("inc", "incorporated", "jsc", "kft", "kg", "kk", "limited", "llc", "llp", "lp", "ltd", "ltda", "nv", "oao"),
        *(
            "ooo",
            "oy",
            "oyj",
            "pcl",
            "pjsc",
            "plc",
            "private",
            "pt",
            "pte",
            "pty",
            "public",
            "pvt",
            "sa",
            "sarl",
            "sas",
        ),
        *("sdn", "sl", "spa", "srl", "tbk", "zao"),
    }
)
_HAN_FORMS: Final = (
    *("股份有限公司", "有限责任公司", "有限責任公司", "有限公司", "株式会社", "株式會社", "合同会社"),
    *("公司", "集团", "集團"),
)
# Single letters that NFKD leaves alone although readers take them for plain ones.
_FOLDED: Final = str.maketrans(
    {"ø": "o", "đ": "d", "ł": "l", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d", "ħ": "h", "ŧ": "t"}
)
# Cyrillic and Greek letters that look Latin. They are folded only in a word that also has Latin letters, where they
# can only be there to deceive; a word wholly in its own script stays as it is.
_LOOKALIKES: Final = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u043a\u043c\u0442\u03bf\u03b1\u03b9\u03bd\u03c1\u03ba",
    "aeopcyxijskmtoaivpk",
)
# An ampersand is read as a word; these signs stand inside words and fall away.
_INSIDE: Final = "'’ʼ`´.·"  # noqa: RUF001 - the signs people type for an apostrophe


@dataclass(frozen=True, slots=True)
class NormalName:
    """A name to compare: ``tokens`` without legal forms in order, ``forms`` those set apart, ``given`` as it came."""

    given: str
    tokens: tuple[str, ...]
    forms: tuple[str, ...]

    @property
    def compact(self) -> str:
        """All tokens joined: what is left when spaces are set differently."""
        return "".join(self.tokens)

    @property
    def ordered(self) -> str:
        """The tokens in alphabetical order: what is left when words are turned round."""
        return " ".join(sorted(self.tokens))


def normalise(name: str) -> NormalName:
    """Return a name's form; raises BridgeRefused (terms_malformed) for one without letters or beyond the bound."""
    if len(name) > NAME_CHARACTERS_MAX:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"a name of {len(name)} characters")
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold()).translate(_FOLDED)
    letters = []
    for character in decomposed:
        category = unicodedata.category(character)
        if category.startswith(("L", "N")):
            letters.append(character)
        elif character == "&":
            letters.append(" and ")
        elif character not in _INSIDE and not category.startswith("M") and category != "Cf":
            letters.append(" ")
    words = _bounded([_unmasked(word) for word in "".join(letters).split()])
    if not words:
        raise BridgeRefused(BridgeCode.TERMS_MALFORMED, "a name without letters")
    tokens, forms = _apart(words)
    return NormalName(name, tokens, forms)


def _unmasked(word: str) -> str:
    if word.isascii() or not any(character.isascii() and character.isalpha() for character in word):
        return word
    return word.translate(_LOOKALIKES)


def _bounded(words: list[str]) -> list[str]:
    if len(words) <= TOKENS_MAX:
        return words
    return [*words[: TOKENS_MAX - 1], "".join(words[TOKENS_MAX - 1 :])]


def _apart(words: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Set legal forms apart; a name of nothing but forms keeps them."""
    tokens: list[str] = []
    forms: list[str] = []
    for word in words:
        if word in _LEGAL_FORMS:
            forms.append(word)
            continue
        core, form = _without_han_form(word)
        if core:
            tokens.append(core)
        if form:
            forms.append(form)
    return (tuple(tokens), tuple(forms)) if tokens else (tuple(words), ())


def _without_han_form(word: str) -> tuple[str, str]:
    for form in _HAN_FORMS:
        if word.endswith(form):
            return word[: -len(form)], form
    return word, ""
