"""The directory file: which participants there are, which accounts they hold, and which texts stand for an account.

TOML, `format = 1`; keys and values are checked, unknown keys are refused with their place. A participant's first
account is also what its BIC stands for, so that an institution's transfer without account elements finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from clearspan.currencies import CurrencyUnknownError, currency_of_number
from clearspan.iso20022.accounts import format_account, parse_account
from clearspan.iso20022.errors import IsoError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Directory", "DirectoryError", "Participant", "read_directory", "write_directory"]

_FORMAT = 1
_PARTICIPANT_SHIFT = 96


class DirectoryError(ValueError):
    """The directory file cannot be used; the text names the place."""


@dataclass(frozen=True, slots=True)
class Participant:
    """An institution: its 32-bit number, BIC, name, ledger (ISO 4217 number) and 128-bit account ids in order."""

    number: int
    bic: str
    name: str
    ledger: int
    accounts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Directory:
    """All participants, the minor units each account is funded with at the start, and further aliases."""

    participants: tuple[Participant, ...]
    opening_balance: int
    aliases: Mapping[str, int]

    def account_aliases(self) -> dict[str, int]:
        """Return every text that stands for an account: the named aliases, and each BIC for its first account."""
        return {participant.bic: participant.accounts[0] for participant in self.participants} | dict(self.aliases)


class _Entry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    number: int
    bic: str
    name: str
    ledger: int
    accounts: list[str]


class _File(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    format: int
    opening_balance: str
    participant: list[_Entry]
    aliases: dict[str, str] = {}


def read_directory(data: bytes) -> Directory:
    """Return the directory in a TOML file. Raises DirectoryError."""
    try:
        file = msgspec.toml.decode(data, type=_File)
    except msgspec.MsgspecError as error:
        raise DirectoryError(str(error)) from None
    if file.format != _FORMAT:
        message = f"format {file.format} is unknown, {_FORMAT} is read"
        raise DirectoryError(message)
    if not (file.opening_balance.isascii() and file.opening_balance.isdigit()):
        message = "opening_balance is a string of digits, in minor units"
        raise DirectoryError(message)
    participants = tuple(_participant(entry) for entry in file.participant)
    if len({participant.number for participant in participants}) != len(participants):
        message = "a participant's number appears twice"
        raise DirectoryError(message)
    aliases = {alias: _account(account, f"aliases.{alias}") for alias, account in file.aliases.items()}
    return Directory(participants, int(file.opening_balance), aliases)


def write_directory(directory: Directory, comment: str) -> bytes:
    """Return the TOML file of a directory, below the lines of a comment; the same directory gives the same bytes."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += [f"format = {_FORMAT}", f'opening_balance = "{directory.opening_balance}"', "", "[aliases]"]
    lines += [f'"{alias}" = "{format_account(account)}"' for alias, account in directory.aliases.items()]
    for participant in directory.participants:
        lines += [
            "",
            "[[participant]]",
            f"number = {participant.number}",
            f'bic = "{participant.bic}"',
            f'name = "{participant.name}"',
            f"ledger = {participant.ledger}",
            "accounts = [",
            *(f'    "{format_account(account)}",' for account in participant.accounts),
            "]",
        ]
    return ("\n".join(lines) + "\n").encode()


def _participant(entry: _Entry) -> Participant:
    place = f"participant {entry.number}"
    try:
        currency_of_number(entry.ledger)
    except CurrencyUnknownError as error:
        message = f"{place}: ledger: {error}"
        raise DirectoryError(message) from None
    accounts = tuple(_account(text, place) for text in entry.accounts)
    if not accounts or any(account >> _PARTICIPANT_SHIFT != entry.number for account in accounts):
        message = f"{place}: needs accounts, each beginning with the participant's number"
        raise DirectoryError(message)
    return Participant(entry.number, entry.bic, entry.name, entry.ledger, accounts)


def _account(text: str, place: str) -> int:
    try:
        return parse_account(text)
    except IsoError as error:
        message = f"{place}: {error.message}"
        raise DirectoryError(message) from None
