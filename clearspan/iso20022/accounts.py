"""Account texts in messages and the ledger's 128-bit account ids.

An account id is written as 32 hexadecimal digits: 8 of the participant's number, 8 zeros, 16 of a serial. Dashes may
group the digits; the form written here is 8-8-16, which is the longest that Id/Othr/Id (34 characters) holds.
Anything else, an IBAN or a BIC for instance, names an account only through a directory of aliases.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from clearspan.iso20022.document import shown
from clearspan.iso20022.errors import IsoCode, IsoError
from clearspan.iso20022.types import AccountScheme

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["account_id", "format_account", "parse_account", "resolve_account"]

_ID_DIGITS = 32
_ID_BITS = 128
_PARTICIPANT_SHIFT = 96
# Participant numbers that the ledger keeps for itself: no message may name their accounts.
_PARTICIPANTS_RESERVED = frozenset({0, 0xFFFFFFFF})
_GROUPED = re.compile(r"[0-9a-fA-F]+(?:-[0-9a-fA-F]+)*")
_NEXT_STEP = "write the account as the 32 hexadecimal digits of its id, or have its alias added to the directory"


def parse_account(text: str) -> int:
    """Return the account id that 32 hexadecimal digits write, dashes between them ignored.

    Raises IsoError element_invalid with reason AC01 for any other text and for ids of reserved participants.
    """
    digits = text.replace("-", "")
    if len(digits) != _ID_DIGITS or _GROUPED.fullmatch(text) is None:
        raise _invalid(f"{shown(text)!r} is no account id of {_ID_DIGITS} hexadecimal digits")
    account = int(digits, 16)
    if account >> _PARTICIPANT_SHIFT in _PARTICIPANTS_RESERVED:
        raise _invalid(f"{shown(text)!r} names an account of the ledger itself")
    return account


def format_account(account: int) -> str:
    """Return an account id as messages write it: 8-8-16 hexadecimal digits. Raises ValueError outside 128 bits."""
    if not 0 <= account < 1 << _ID_BITS:
        message = f"{account} is no 128-bit account id"
        raise ValueError(message)
    digits = f"{account:032x}"
    return f"{digits[:8]}-{digits[8:16]}-{digits[16:]}"


def account_id(participant: int, serial: int) -> int:
    """Return the id of a participant's account: participant number (32 bits), 32 zero bits, serial (64 bits)."""
    if not 0 < participant < 0xFFFFFFFF or not 0 <= serial < 1 << 64:
        message = f"participant {participant} and serial {serial} give no account id"
        raise ValueError(message)
    return participant << _PARTICIPANT_SHIFT | serial


def resolve_account(text: str, scheme: AccountScheme, aliases: Mapping[str, int]) -> int:
    """Return the account id of a message's account text: by alias, else by its own digits if it stood in Othr/Id.

    An IBAN or BIC is never read as digits, whatever it looks like. Raises IsoError: element_missing for no account at
    all, element_invalid for one that nothing resolves; both with reason AC01.
    """
    if scheme is AccountScheme.NONE or not text:
        raise IsoError(
            IsoCode.ELEMENT_MISSING,
            "the payment names no account on this side",
            reason_iso="AC01",
            next_step=_NEXT_STEP,
        )
    alias = aliases.get(text)
    if alias is not None:
        return alias
    if scheme is AccountScheme.OTHER:
        return parse_account(text)
    raise _invalid(f"no alias for the {scheme.value.upper()} {shown(text)!r}")


def _invalid(message: str) -> IsoError:
    return IsoError(IsoCode.ELEMENT_INVALID, message, reason_iso="AC01", next_step=_NEXT_STEP)
