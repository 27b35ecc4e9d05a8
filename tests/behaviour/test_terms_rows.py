"""Terms read as rows of fixed places are those that ``SwapTerms.decode`` reads, and refused where that refuses."""

from __future__ import annotations

import pytest
from msgspec import structs

from bridge.leg import HashFunction
from bridge.leg_terms import CorridorRef, LegTerms, account_text
from bridge.refusals import BridgeRefused
from bridge.terms import SwapTerms
from bridge.terms_rows import read_terms

ACCOUNTS = tuple(account_text(each << 96) for each in (5, 6, 7, 8, 9, 10))
CORRIDORS = (CorridorRef(b"c" * 16, 3), CorridorRef(b"d" * 16, 7))


def leg(ledger: int, payer: int, **changes) -> LegTerms:
    return structs.replace(
        LegTerms(ledger, ACCOUNTS[payer], ACCOUNTS[payer + 1], 10**30 + ledger, 10**18, 2**90), **changes
    )


def terms(**changes) -> SwapTerms:
    legs = leg(156, 0), leg(344, 2)
    plain = SwapTerms(b"u" * 16, b"n" * 32, legs, HashFunction.SHA256, b"h" * 32, 10**18, b"t" * 32, CORRIDORS[:1])
    return structs.replace(plain, **changes)


def outcome(read, data: bytes) -> object:
    try:
        found = read(data)
    except BridgeRefused as error:
        return error.code, error.text
    return found, found.encode(), found.digest(1), found.digest(2), found.orders(1)


GOOD = {
    "two legs": terms(),
    "SM3": terms(hash_function=HashFunction.SM3),
    "no corridor": terms(corridors=()),
    "three legs": terms(legs=(leg(156, 0), leg(344, 2), leg(764, 4)), corridors=CORRIDORS),
    "a chain first": terms(legs=(LegTerms(0, "0xab", "0xcd", 5, 10**18, 0, "evm", "0xef"), leg(344, 2))),
    "a chain last": terms(legs=(leg(156, 0), LegTerms(0, "0xab", "0xcd", 5, 10**18, 0, "evm"))),
}
BAD = {
    "no amount": terms(legs=(leg(156, 0, amount=0), leg(344, 2))),
    "no timelock": terms(legs=(leg(156, 0), leg(344, 2, timelock_ns=0))),
    "a timelock beyond": terms(legs=(leg(156, 0), leg(344, 2, timelock_ns=2**63))),
    "one ledger twice": terms(legs=(leg(156, 0), leg(156, 2))),
    "no ledger": terms(legs=(leg(0, 0), leg(344, 2))),
    "pays itself": terms(legs=(leg(156, 0, credit_account=ACCOUNTS[0]), leg(344, 2))),
    "no account": terms(legs=(leg(156, 0, credit_account="G" * 32), leg(344, 2))),
    "a large digit": terms(legs=(leg(156, 0, credit_account="A" * 32), leg(344, 2))),
    "no instant": terms(created_at=0),
    "one leg": terms(legs=(leg(156, 0),), corridors=()),
    "too few corridors": terms(legs=(leg(156, 0), leg(344, 2), leg(764, 4)), corridors=CORRIDORS[:1]),
}


@pytest.mark.parametrize("name", GOOD)
def test_rows_are_the_terms(name: str) -> None:
    """Equal terms, bytes, digests and lock orders; they pass their own check again."""
    data = GOOD[name].encode()
    assert outcome(read_terms, data) == outcome(SwapTerms.decode, data)
    assert read_terms(data) == GOOD[name]
    structs.replace(read_terms(data)).check()


@pytest.mark.parametrize("name", BAD)
def test_what_terms_cannot_say_is_refused_alike(name: str) -> None:
    """Each thing that makes terms malformed, with the code and the words of the one reader."""
    data = BAD[name].encode()
    with pytest.raises(BridgeRefused):
        read_terms(data)
    assert outcome(read_terms, data) == outcome(SwapTerms.decode, data)


@pytest.mark.parametrize("name", ["two legs", "three legs", "a chain last"])
def test_every_changed_byte_is_read_alike(name: str) -> None:
    """Each byte turned into others, bytes cut off at every length, and one byte more: never another answer."""
    data = GOOD[name].encode()
    for at in range(len(data)):
        for value in {0, 1, 0x20, 0x30, 0x80, 0xFF, data[at] ^ 1, data[at] ^ 0x20}:
            changed = data[:at] + bytes((value,)) + data[at + 1 :]
            assert outcome(read_terms, changed) == outcome(SwapTerms.decode, changed), (at, value)
        assert outcome(read_terms, data[:at]) == outcome(SwapTerms.decode, data[:at]), at
    assert outcome(read_terms, data + b"\0") == outcome(SwapTerms.decode, data + b"\0")
