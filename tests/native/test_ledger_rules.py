"""Rules in the ledger kernel alone: rows and their tree, counters, holds, and bytes that nobody made."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from typing import Final

import pytest

from native.codes import ResultCode as Code
from native.errors import InvariantBroken, ShapeError, StateBytesInvalid
from native.hashing import leaf_hash, merkle_root
from native.ledger import RULE_BYTES, LedgerState
from tests.native.test_ledger_kernel import (
    A0,
    A1,
    B0,
    LEDGER,
    SECOND,
    START,
    Shard,
    Transfer,
    lock,
    new_shard,
    pend,
    u128,
)

ROW: Final = struct.Struct("<16s16s16s16s16sQQQQIIHHHH")
QUOTE, OF_LEDGER, BREAKER, TIER, COUNTER = range(1, 6)
SLOW, HOLD, STOP = range(1, 4)
PREIMAGE: Final = b"p" * 32


def row(type_: int, subject: int, **fields: int) -> bytes:
    names = ("name", "limit_a", "limit_b", "used", "until", "period", "count", "set_at", "ledger", "bound")
    wide = [fields.get(name, 0).to_bytes(16, "little") for name in names[:4]]
    return ROW.pack(
        u128(subject), *wide, *(fields.get(name, 0) for name in names[4:]), type_, fields.get("kind", 0),
        fields.get("action", 0), fields.get("reason", 0),
    )  # fmt: skip


def quote(name: int, total: int, account: int = A0) -> bytes:
    return row(QUOTE, account, name=name, limit_a=total, until=START + 3600 * SECOND)


def threshold(amount: int, hold_ns: int = 0) -> bytes:
    return row(OF_LEDGER, LEDGER, limit_a=amount, until=hold_ns)


@pytest.fixture
def shard() -> Shard:
    made = new_shard()
    made.fund(A0, 1000, 0)
    made.state.reset_block()
    return made


def ended(shard: Shard, transfer: Transfer, *, releases: bool) -> Code:
    shard.state.begin_record(shard.now)
    code = shard.state.end_hold(u128(transfer.debit), u128(transfer.id), releases, shard.now)
    shard.state.end_record()
    assert shard.state.check_invariants() == []
    return Code(code)


def used(shard: Shard, name: int) -> int:
    found = shard.state.find_rule(QUOTE, 0, u128(A0), u128(name))
    assert found is not None
    return int.from_bytes(found[64:80], "little")


def test_the_tree_of_rules_is_that_of_its_places(shard: Shard) -> None:
    """LEDGER-100: a free place is zeros, and the next row takes the lowest."""
    suite = shard.given["suite"]
    rows = [quote(1, 10), quote(2, 20), threshold(5), quote(3, 30)]
    assert shard.state.rule_count == 0
    assert [shard.state.set_rule(each) for each in rows] == [True] * 4
    for place in (2, 0):
        key = ROW.unpack(rows[place])
        assert shard.state.remove_rule(key[11], 0, key[0], key[1])
        rows[place] = bytes(RULE_BYTES)
        assert shard.state.rules() == b"".join(rows)
        assert shard.state.rules_root() == merkle_root(suite, b"".join(leaf_hash(suite, each) for each in rows))
    for place, made in ((0, quote(4, 40)), (2, quote(5, 50))):
        rows[place] = made
        shard.state.set_rule(made)
        assert shard.state.rules() == b"".join(rows)
    shard.state.set_rule(quote(6, 60))
    assert shard.state.rule_count == 5
    assert shard.state.check_invariants() == []
    assert shard.reload().rules_root() == shard.state.rules_root()


def test_a_state_without_rules_keeps_its_version(shard: Shard) -> None:
    """CHECK-1: the version of the bytes says whether rules follow."""
    assert shard.state.export()[4:6] == b"\x01\x00"
    shard.state.set_rule(quote(1, 10))
    assert shard.state.export()[4:6] == b"\x02\x00"
    shard.state.remove_rule(QUOTE, 0, u128(A0), u128(1))
    assert shard.state.export()[4:6] == b"\x02\x00"
    assert shard.reload().rule_count == 1


@pytest.mark.parametrize(
    "bad",
    [
        row(0, A0), row(6, A0), row(QUOTE, A0, limit_a=1), row(QUOTE, A0, name=1, limit_a=1, used=2),
        row(QUOTE, A0, name=1, limit_b=1), row(QUOTE, A0, name=1, kind=1), row(OF_LEDGER, LEDGER, until=1 << 62),
        row(OF_LEDGER, LEDGER, name=1), row(BREAKER, A0, kind=6, action=STOP), row(BREAKER, A0, kind=0, action=STOP),
        row(BREAKER, A0, kind=1, action=4), row(BREAKER, A0, kind=1, action=STOP, limit_a=1),
        row(BREAKER, A0, kind=1, action=SLOW, limit_a=1, count=2), row(TIER, 1, kind=0, action=1),
        row(TIER, 1, kind=1, action=3), row(COUNTER, A0, limit_a=1), row(COUNTER, A0, action=1),
    ],
)  # fmt: skip
def test_a_row_that_no_rule_has_is_refused(shard: Shard, bad: bytes) -> None:
    """LEDGER-100."""
    with pytest.raises(ShapeError):
        shard.state.set_rule(bad)
    assert shard.state.rule_count == 0


def test_the_bounds_of_the_table(shard: Shard) -> None:
    """LEDGER-100: what every shard has alike is bounded apart from a shard's own."""
    for number in range(4096):
        assert shard.state.set_rule(row(BREAKER, number + 1, kind=4, action=STOP, until=1))
    assert not shard.state.set_rule(threshold(5))
    assert shard.state.set_rule(row(BREAKER, 1, kind=4, action=HOLD, until=2))
    for number in range(61_440):
        assert shard.state.set_rule(quote(number + 1, 1))
    assert not shard.state.set_rule(quote(61_441, 1))
    assert not shard.state.set_rule(row(COUNTER, A0))
    shard.state.remove_rule(QUOTE, 0, u128(A0), u128(7))
    assert shard.state.set_rule(row(COUNTER, A1))
    shard.state.remove_rule(COUNTER, 0, u128(A1), u128(0))
    assert shard.state.check_invariants() == []


def test_old_quotes_of_an_account_are_forgotten(shard: Shard) -> None:
    """ADMIN-9."""
    for number in range(1, 6):
        shard.state.set_rule(row(QUOTE, A0, name=number, limit_a=1, until=number))
        shard.state.set_rule(row(QUOTE, A1, name=number, limit_a=1, until=number))
    assert shard.state.trim_quotes(u128(A0), 4) == 2
    assert shard.state.trim_quotes(u128(A1), 0) == 5
    assert shard.state.check_invariants() == []


def test_a_quote_is_drawn_on_and_given_back_to(shard: Shard) -> None:
    """LEDGER-101."""
    shard.state.set_rule(quote(9, 100))
    kept = lock(PREIMAGE, id=1, amount=30, user_data=9)
    refunded = lock(b"q" * 32, id=2, amount=50, user_data=9)
    assert shard.apply(kept, refunded, lock(PREIMAGE, id=3, amount=21, user_data=9)) == [
        Code.CREATED, Code.CREATED, Code.QUOTE_EXHAUSTED,
    ]  # fmt: skip
    assert used(shard, 9) == 80
    shard.state.apply_relay(1, START, PREIMAGE, shard.now)
    assert used(shard, 9) == 80
    shard.state.apply_relay(2, refunded.until, b"", shard.now)
    assert used(shard, 9) == 30


def test_a_run_gives_rows_back_as_they_were(shard: Shard) -> None:
    """LEDGER-20 f: the bytes of the state too."""
    for each in (
        quote(9, 100), row(BREAKER, ROW.size, kind=4, action=STOP, until=1 << 62), row(COUNTER, A0),
        row(BREAKER, LEDGER, kind=3, action=SLOW, limit_a=9, until=1 << 62),
        row(TIER, LEDGER << 32 | 1, kind=1, action=1, limit_b=500),
    ):  # fmt: skip
        shard.state.set_rule(each)
    shard.state.update_account(shard.state.find_account(u128(A0)), tier=1)
    rules, root = shard.state.rules(), shard.state.rules_root()
    members = [
        replace(lock(PREIMAGE, id=1, amount=30, user_data=9), flags=lock(PREIMAGE).flags | 0x10),
        Transfer(id=2, amount=40, flags=0x10),
        Transfer(id=3, amount=600),
    ]
    assert shard.apply(*members)[2] == Code.VELOCITY_EXCEEDED
    assert shard.state.rules() == rules
    assert shard.state.rules_root() == root
    assert (
        shard.apply(*(replace(each, amount=min(each.amount, 40), id=each.id + 10) for each in members))[0]
        == Code.CREATED
    )
    assert shard.state.rules() != rules


def test_an_open_record_lets_nothing_else_happen(shard: Shard) -> None:
    """ADMIN-10."""
    shard.state.set_rule(threshold(50))
    held = Transfer(id=5, amount=60)
    assert shard.one(held) == Code.HELD
    with pytest.raises(InvariantBroken, match="a_record_is_ended"):
        shard.state.end_hold(u128(A0), u128(5), True, shard.now)
    with pytest.raises(InvariantBroken, match="a_record_is_ended"):
        shard.state.end_record()
    shard.state.begin_record(shard.now)
    ready, heads = shard.prepared([Transfer(id=6)])
    for step in (
        lambda: shard.state.apply_batch(ready, heads, b"\x01", shard.now),
        lambda: shard.state.sweep(shard.now),
        lambda: shard.state.begin_record(shard.now),
        lambda: shard.state.apply_relay(1, START, b"", shard.now),
        lambda: shard.state.end_hold(u128(A0), u128(5), True, shard.now + 1),
    ):
        with pytest.raises(InvariantBroken, match="a_record_is_ended"):
            step()
    assert shard.state.end_hold(u128(A0), u128(5), True, shard.now) == Code.CREATED
    shard.state.end_record()
    assert shard.balance(B0) == (0, 0, 0, 60)
    assert shard.state.check_invariants() == []


def test_holds_are_listed_until_they_end(shard: Shard) -> None:
    """LEDGER-105."""
    shard.state.set_rule(threshold(50, 7 * SECOND))
    waiting = [Transfer(id=1, amount=60), pend(id=2, amount=61), lock(PREIMAGE, id=3, amount=62)]
    assert shard.apply(*waiting) == [Code.HELD] * 3
    rows = shard.state.holds()
    assert [int.from_bytes(rows[at + 16 : at + 32], "little") for at in range(0, len(rows), 200)] == [1, 2, 3]
    assert int.from_bytes(rows[160:168], "little") == shard.now + 7 * SECOND
    assert (rows[196], rows[197], rows[198]) == (12, 0, 1)
    assert [ended(shard, each, releases=each.id != 2) for each in waiting] == [Code.CREATED] * 3
    assert shard.state.holds() == b""
    assert [shard.state.find_pending(u128(A0), u128(number))[196] for number in (1, 2, 3)] == [2, 14, 1]  # type: ignore[index]


@pytest.mark.parametrize("kind", ["plain", "pending", "lock"])
@pytest.mark.parametrize("end", ["released", "rejected", "expired", "waiting"])
def test_holds_survive_their_checkpoint(shard: Shard, kind: str, end: str) -> None:
    """CHECK-1: the loaded state decides as the one that was saved."""
    shard.state.set_rule(threshold(50, 7 * SECOND))
    shard.state.set_rule(quote(9, 100))
    made = {
        "plain": Transfer(id=1, amount=60), "pending": pend(id=1, amount=60, until=3 * SECOND),
        "lock": lock(PREIMAGE, id=1, amount=60, user_data=9),
    }[kind]  # fmt: skip
    assert shard.one(made) == Code.HELD
    if end in {"released", "rejected"}:
        assert ended(shard, made, releases=end == "released") == Code.CREATED
    if end == "expired":
        shard.now += 7 * SECOND
        shard.state.sweep(shard.now)
    again = shard.reload()
    assert again.export() == shard.state.export()
    for state in (again, shard.state):
        state.apply_relay(1, START, PREIMAGE, shard.now)
        state.sweep(shard.now + 8 * SECOND)
        assert state.check_invariants() == []
    assert again.export() == shard.state.export()
    assert again.rules_root() == shard.state.rules_root()
    total = sum(shard.balance(A0)[:2]) + sum(shard.balance(B0)[2:])
    assert total in {0, 120}


def test_hostile_bytes_of_rules_are_refused_or_sound(shard: Shard) -> None:
    """As for all bytes of a checkpoint: what is taken is a state that goes on."""
    for each in (
        quote(9, 100),
        threshold(50),
        row(COUNTER, A0),
        row(TIER, LEDGER << 32 | 1, kind=1, action=2, limit_b=70),
    ):
        shard.state.set_rule(each)
    shard.state.set_rule(row(BREAKER, LEDGER, kind=3, action=SLOW, limit_a=9, until=1 << 62))
    shard.state.remove_rule(OF_LEDGER, 0, u128(LEDGER), u128(0))
    shard.state.set_rule(threshold(50))
    shard.state.update_account(shard.state.find_account(u128(A0)), tier=1)
    assert shard.apply(Transfer(id=1, amount=60), lock(PREIMAGE, id=2, amount=40, user_data=9)) == [
        Code.HELD,
        Code.HELD,
    ]
    data, rng, taken = shard.state.export(), random.Random(5), 0
    start = data.index(u128(A0) + u128(1)) - 300
    probes = [Transfer(id=7, amount=3), lock(PREIMAGE, id=8, amount=2, user_data=9)]
    for _ in range(4000):
        changed = bytearray(data)
        at, width = rng.randrange(start, len(data)), rng.choice((1, 1, 2, 8, 16))
        changed[at : at + width] = rng.choice((rng.randbytes(width), bytes(width), b"\xff" * width))[: len(data) - at]
        try:
            loaded = LedgerState.load(bytes(changed), **shard.given)  # type: ignore[arg-type]
        except StateBytesInvalid:
            continue
        taken += 1
        assert loaded.export() == changed
        ready, heads = shard.prepared(probes)
        loaded.apply_batch(ready, heads, b"\x01\x01", shard.now + SECOND)
        loaded.begin_record(shard.now + SECOND)
        loaded.end_hold(u128(A0), u128(1), rng.random() < 0.5, shard.now + SECOND)
        loaded.end_record()
        loaded.apply_relay(1, START + 100 * SECOND, PREIMAGE, shard.now + SECOND)
        assert loaded.check_invariants() == []
    assert 200 < taken < 3800


@pytest.mark.parametrize("cut", [1, 8, RULE_BYTES, RULE_BYTES + 8, -1, -RULE_BYTES])
def test_rules_of_another_length_are_refused(shard: Shard, cut: int) -> None:
    """CHECK-1."""
    shard.state.set_rule(quote(9, 100))
    data = shard.state.export()
    bent = data[:-cut] if cut > 0 else data + bytes(-cut)
    with pytest.raises(StateBytesInvalid):
        LedgerState.load(bent, **shard.given)  # type: ignore[arg-type]
