"""Terms of swaps between ledgers of ours, read as rows of fixed places: what ``SwapTerms.decode`` says, for less.

It promises the same terms and the same refusals as ``SwapTerms.decode`` for every input: bytes whose places are not
those of such terms are that function's to read. Who accepts swaps reads thousands of them in a second.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from bridge.leg import HashFunction
from bridge.leg_terms import CorridorRef, LegTerms
from bridge.refusals import BridgeRefused
from bridge.terms import LEGS_MAX, SwapTerms

__all__ = ["read_terms"]

_HEAD_BYTES: Final = 128
_CORRIDOR_BYTES: Final = 20
_LEG_BYTES: Final = 44 + 68
_LEG_VALUES: Final = 8
_LEGS_AT: Final = 3
_CORRIDORS_AT: Final = 4
_ACCOUNT_BYTES: Final = 32
_TIMELOCK_END: Final = 2**63
_PADDING: Final = bytes(3)
_NO_CHAIN: Final = b"\0\0\x20"
"""No chain, no asset, and an account of 32 digits."""
_PLAIN: Final = {b"\x01\x00" + bytes((function,)): function for function in (HashFunction.SHA256, HashFunction.SM3)}
"""Version 1 of terms, and the functions that they may name."""
_REFS_KEPT_MAX: Final = 256
_NAMES_KEPT_MAX: Final = 4_096
_int_of: Final = int.from_bytes


@lru_cache(maxsize=LEGS_MAX * LEGS_MAX)
def _places(legs: int, corridors: int) -> struct.Struct:
    """Return the places of terms of so many legs: head, corridors, then of each leg its values and its accounts."""
    return struct.Struct("<3s2x3s16s32s32s32sQ" + "20s" * corridors + "IQ16s16s3s32sB32s" * legs)


@lru_cache(maxsize=_REFS_KEPT_MAX)
def _corridor(data: bytes) -> CorridorRef:
    return CorridorRef(data[:16], _int_of(data[16:], "little"))


@lru_cache(maxsize=_NAMES_KEPT_MAX)
def _names(ledger: int, debit: bytes, credit: bytes) -> tuple[str, str] | None:
    """Return the accounts of a leg as terms carry them, None where a leg cannot say this."""
    texts = debit.decode("latin-1"), credit.decode("latin-1")
    try:
        LegTerms(ledger, *texts, amount=1, timelock_ns=1).check(0)
    except BridgeRefused:
        return None
    return texts


def read_terms(data: bytes) -> SwapTerms:
    """Read terms and check them; raises BridgeRefused as ``SwapTerms.decode`` does."""
    terms = _read(data) if len(data) >= _HEAD_BYTES else None
    return terms if terms is not None else SwapTerms.decode(data)


def _read(data: bytes) -> SwapTerms | None:
    """Read terms that can be said of our ledgers; None for bytes that say anything else, or nothing."""
    legs, corridors = data[_LEGS_AT], data[_CORRIDORS_AT]
    if len(data) != _HEAD_BYTES + corridors * _CORRIDOR_BYTES + legs * _LEG_BYTES:
        return None
    if not 2 <= legs <= LEGS_MAX or corridors not in (0, legs - 1):
        return None
    first, zeros, uetr, network, hashlock, travel_rule, created_at, *rest = _places(legs, corridors).unpack(data)
    function = _PLAIN.get(first)
    if function is None or zeros != _PADDING or not created_at:
        return None
    found: list[LegTerms] = []
    for at in range(corridors, len(rest), _LEG_VALUES):
        ledger, timelock, amount, user_data, chain, debit, middle, credit = rest[at : at + _LEG_VALUES]
        names = _names(ledger, debit, credit)
        if names is None or chain != _NO_CHAIN or middle != _ACCOUNT_BYTES:
            return None
        value = _int_of(amount, "little")
        if not value or not 0 < timelock < _TIMELOCK_END:
            return None
        found.append(LegTerms(ledger, names[0], names[1], value, timelock, _int_of(user_data, "little")))
    if len({leg.ledger for leg in found}) != legs:
        return None
    refs = tuple(map(_corridor, rest[:corridors]))
    terms = SwapTerms(uetr, network, tuple(found), function, hashlock, created_at, travel_rule, refs)
    # All that ``check`` asks was asked, and every byte was compared or read: these are the terms' own bytes.
    made = terms._made  # noqa: SLF001 - what these terms would come to by themselves
    made["checked"], made["bytes"] = b"", data
    return terms
