"""Breakers of corridors (BREAK-1 to -5): two keys, an order, a grade, an end; nothing that has begun is asked."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.corridor_breakers import NOTICE_BYTES, SIGNED_NOTICE_BYTES, BreakerNotice, CorridorBreakers, SignedNotice
from bridge.refusals import BridgeCode, BridgeRefused
from engine.parties import Key
from engine.refusals import EncodingError
from engine.types import BreakerGrade, Role
from native.signatures import SUITE_ED25519, public_key, sign
from tests.behaviour.bridge_papers import NOW, S

GENESIS = hashlib.sha256(b"net").digest()
CORRIDOR = bytes(range(1, 17))
STOP = BreakerNotice(CORRIDOR, BreakerGrade.STOP, 4, 0, 1, NOW, NOW + 100 * S)
SLOW = replace(STOP, grade=BreakerGrade.SLOW, rate=2)


def secret(key_id: int) -> bytes:
    return hashlib.sha256(bytes([key_id])).digest()


def key(key_id: int, role: Role = Role.SUPERVISOR, **changes: int) -> Key:
    public = public_key(SUITE_ED25519, secret(key_id)).ljust(64, b"\0")
    return replace(Key(key_id, 100 + key_id, role, SUITE_ED25519, key_id, 0, public), **changes)


KEYS = {1: key(1), 2: key(2, Role.OPERATOR), 3: key(3, Role.ACCOUNT), 4: key(4, retired_at=NOW)}


def signed(notice: BreakerNotice = STOP, first: int = 1, second: int = 2, genesis: bytes = GENESIS) -> SignedNotice:
    message = notice.message(1, genesis)
    one, other = ((key_id, sign(SUITE_ED25519, secret(key_id), message)) for key_id in (first, second))
    return SignedNotice(notice, (one, other))


def refused(code: BridgeCode, call, *arguments) -> None:
    with pytest.raises(BridgeRefused) as caught:
        call(*arguments)
    assert caught.value.code is code, caught.value


def test_a_notice_is_64_bytes_and_survives_them() -> None:
    """Every changed byte is another notice or none; a signed one is 208 bytes with its keys in order."""
    for notice in (STOP, SLOW, replace(STOP, grade=BreakerGrade.HOLD), replace(STOP, grade=None, sequence=2)):
        assert len(notice.encode()) == NOTICE_BYTES and BreakerNotice.decode(notice.encode()) == notice
    assert len(signed().encode()) == SIGNED_NOTICE_BYTES and SignedNotice.decode(signed().encode()) == signed()
    for at in range(NOTICE_BYTES):
        changed = bytearray(SLOW.encode())
        changed[at] ^= 0x55
        try:
            assert BreakerNotice.decode(bytes(changed)).encode() == bytes(changed)
        except EncodingError:
            pass
    for data in (b"", signed().encode()[:-1], signed(first=2, second=1).encode()):
        with pytest.raises(EncodingError):
            SignedNotice.decode(data)


@pytest.mark.parametrize(
    "change",
    [{"corridor_id": bytes(16)}, {"reason": 0}, {"sequence": 0}, {"expires_at": NOW}, {"rate": 1}, {"set_at": 0},
     {"grade": BreakerGrade.SLOW}, {"corridor_id": b"x"}],
)  # fmt: skip
def test_a_notice_without_reason_end_or_order_cannot_be_made(change: dict[str, object]) -> None:
    """A breaker says why, until when and in which order, and a rate only where it slows."""
    with pytest.raises(EncodingError):
        replace(STOP, **change)


@pytest.mark.parametrize(
    ("notice", "why"),
    [
        (signed(second=3), "a key of another role"), (signed(second=4), "a retired key"), (signed(second=9), "no key"),
        (signed(second=1), "one key twice"), (signed(genesis=bytes(32)), "another network"),
        (SignedNotice(SLOW, signed().signatures), "another notice"),
        (SignedNotice(STOP, (signed().signatures[0], (2, bytes(64)))), "one signature"),
        (SignedNotice(STOP, (signed().signatures[0], (2, b""))), "no signature"),
    ],
)  # fmt: skip
def test_a_breaker_needs_two_keys_that_may(notice: SignedNotice, why: str) -> None:
    """Two different keys of supervisors or operators, in force, over these bytes in this network."""
    signed().verify(1, GENESIS, KEYS.get, NOW)
    with pytest.raises(BridgeRefused) as caught:
        notice.verify(1, GENESIS, KEYS.get, NOW)
    assert caught.value.code is BridgeCode.APPROVAL_REQUIRED, why


def test_each_grade_does_what_it_says_until_its_end() -> None:
    """Stop refuses, hold holds, slow lets so many begin each second; before the beginning and at the end nothing stands."""
    for grade in (BreakerGrade.STOP, BreakerGrade.HOLD):
        breakers = CorridorBreakers()
        assert breakers.apply(replace(STOP, grade=grade))
        for now, stands in ((NOW - 1, False), (NOW, True), (NOW + 100 * S - 1, True), (NOW + 100 * S, False)):
            if grade is BreakerGrade.STOP and stands:
                refused(BridgeCode.CORRIDOR_CLOSED, breakers.begin, CORRIDOR, now)
            else:
                assert breakers.begin(CORRIDOR, now) is (stands and grade is BreakerGrade.HOLD)
            assert len(breakers.all_standing(now)) == stands
    slow = CorridorBreakers()
    slow.apply(SLOW)
    for now in (NOW, NOW + 5 * S):
        assert [slow.begin(CORRIDOR, now) for _ in range(2)] == [False, False]
        refused(BridgeCode.LIMITS_EXCEEDED, slow.begin, CORRIDOR, now)
    refused(BridgeCode.LIMITS_EXCEEDED, slow.begin, CORRIDOR, NOW)
    assert slow.begin(bytes(15) + b"\1", NOW) is False, "another corridor is not slowed"


def test_notices_count_once_and_in_order() -> None:
    """A later one replaces, an older or repeated one changes nothing; a clearing one cannot be undone by replaying."""
    breakers = CorridorBreakers()
    assert breakers.apply(STOP) and not breakers.apply(STOP)
    assert breakers.apply(replace(STOP, grade=None, sequence=3))
    assert not breakers.apply(replace(STOP, sequence=2)) and breakers.begin(CORRIDOR, NOW) is False
    assert breakers.standing(CORRIDOR, NOW) is None
    many = CorridorBreakers()
    for number in range(1, 257):
        many.apply(replace(STOP, corridor_id=number.to_bytes(16, "big")))
    refused(BridgeCode.LIMITS_EXCEEDED, many.apply, replace(STOP, corridor_id=b"\xff" * 16))


def test_what_drives_claims_and_refunds_asks_no_breaker(repository_root: Path) -> None:
    """No module that runs a swap once it has begun knows breakers, hours, limits, screening or cases."""
    edge = {"corridor_breakers", "calendar", "usage", "screening", "edge", "cases", "patterns", "corridor"}
    for name in ("swap", "party", "acceptance", "watcher", "terms", "journal", "margins", "ports"):
        tree = ast.parse((repository_root / "bridge" / f"{name}.py").read_text())
        found = {
            node.module.removeprefix("bridge.")
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bridge.")
        }
        assert not found & edge, name
