"""The registry of keys and what a batch may be given beside its items: tables, hints and threads change no verdict."""

from __future__ import annotations

import hashlib
import mmap
import random
import struct
import threading
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from native import kernel, signatures
from native.errors import KeyRejected, ShapeError, UnknownKey, UnknownSuite
from native.signatures import SUITE_ED25519, SUITE_P256, SUITE_SM2, KeyRegistry, SigningKeys
from native.twins import ed25519 as twin

SUITES: Final = (SUITE_ED25519, SUITE_SM2, SUITE_P256)
TABLE_SUITES: Final = tuple(suite for suite in SUITES if KeyRegistry.table_bytes_per_key(suite) > 0)
NAMES: Final = {SUITE_ED25519: "ed25519", SUITE_SM2: "sm2", SUITE_P256: "p256"}
STRIDE: Final = 48
USES: Final = 40  # items after which a key has its table
HINT: Final = signatures.HINT_BYTES

needs_tables = pytest.mark.skipif(not TABLE_SUITES, reason="this variant makes no tables")
each_suite = pytest.mark.parametrize("suite", SUITES, ids=NAMES.__getitem__)


def _secret(label: object) -> bytes:
    return hashlib.sha256(f"registry {label}".encode()).digest()


def _indexes(values: list[int]) -> bytes:
    return struct.pack(f"={len(values)}I", *values)


class Batch:
    """Honest items under keys of the given suites in turn, and a registry that knows the keys."""

    def __init__(
        self, suites: tuple[int, ...], count: int, key_count: int = 3, registry: KeyRegistry | None = None
    ) -> None:
        """Register the keys and sign everything."""
        self.count = count
        self.keys = SigningKeys()
        self.registry = KeyRegistry() if registry is None else registry
        registered: list[int] = []
        for i in range(key_count):
            index = self.keys.register(suites[i % len(suites)], _secret(i))
            registered.append(self.registry.register(suites[i % len(suites)], self.keys.public_key(index)))
        self.key_indexes = _indexes([registered[i % key_count] for i in range(count)])
        self.messages = bytearray(hashlib.shake_256(b"registry").digest(count * STRIDE))
        self.signatures = bytearray(64 * count)
        signatures.sign_batch(
            self.keys, _indexes([i % key_count for i in range(count)]), self.messages, self.signatures
        )

    def bend(self, *items: int) -> None:
        """Make signatures bad: another S, still small."""
        for item in items:
            self.signatures[64 * item + 40] ^= 1

    def bad(
        self, hints: bytes | bytearray | None = None, hints_out: bytearray | None = None, threads: int = 1
    ) -> list[int]:
        """Verify the batch and return the items that failed."""
        out = bytearray(b"\xff" * self.count)
        failed = signatures.verify_batch(
            self.registry, self.key_indexes, self.signatures, self.messages, out,
            hints=hints, hints_out=hints_out, threads=threads,
        )  # fmt: skip
        assert set(out) <= {0, 1}
        bad = [i for i in range(self.count) if out[i] == 0]
        assert failed == len(bad)
        return bad

    def hints(self) -> bytearray:
        """Verify the batch and return the hints of its items."""
        out = bytearray(b"\xff" * HINT * self.count)
        self.bad(hints_out=out)
        return out


# --- Keys. ---


@each_suite
def test_a_rotated_key_is_revoked_and_both_still_verify(suite: int) -> None:
    """Whether a key is in force is decided elsewhere: old signatures must verify for ever."""
    batch = Batch((suite,), 4, 1)
    successor = signatures.public_key(suite, _secret("successor"))
    assert not batch.registry.revoked(1)
    assert batch.registry.rotate(1, suite, successor) == 2
    assert (batch.registry.revoked(1), batch.registry.revoked(2)) == (True, False)
    assert batch.registry.public_key(2) == successor
    assert batch.registry.public_key(1) == signatures.public_key(suite, _secret(0))
    assert batch.bad() == []
    batch.registry.revoke(2)
    assert batch.registry.revoked(2)
    batch.key_indexes = _indexes([2, 1, 1, 1])
    assert batch.bad() == [0]


def test_a_key_may_rotate_to_another_suite_and_be_revoked_twice() -> None:
    """A successor is a key like any other."""
    registry = KeyRegistry()
    registry.register(SUITE_ED25519, signatures.public_key(SUITE_ED25519, _secret(1)))
    assert registry.rotate(1, SUITE_P256, signatures.public_key(SUITE_P256, _secret(2))) == 2
    assert (registry.suite(1), registry.suite(2)) == (SUITE_ED25519, SUITE_P256)
    registry.revoke(1)
    registry.revoke(1)
    assert (registry.revoked(1), registry.revoked(2), len(registry)) == (True, False, 2)


def test_a_rotation_that_fails_changes_nothing() -> None:
    """The successor is checked before the old key is touched, and the old key before a successor is registered."""
    registry = KeyRegistry()
    good = signatures.public_key(SUITE_SM2, _secret(1))
    registry.register(SUITE_SM2, good)
    with pytest.raises(KeyRejected, match="not_on_curve"):
        registry.rotate(1, SUITE_SM2, bytes(64))
    with pytest.raises(ShapeError):
        registry.rotate(1, SUITE_SM2, bytes(63))
    with pytest.raises(UnknownSuite):
        registry.rotate(1, 4, good)
    for index in (0, 2, -1, 2**40):
        with pytest.raises(UnknownKey):
            registry.rotate(index, SUITE_SM2, good)
    assert (len(registry), registry.revoked(1)) == (1, False)


@pytest.mark.parametrize("index", [0, 1, -1, 2**32, 2**70])
def test_an_unknown_key_is_neither_revoked_nor_told_of(index: int) -> None:
    """An empty registry knows no index."""
    registry = KeyRegistry()
    with pytest.raises(UnknownKey):
        registry.revoke(index)
    with pytest.raises(UnknownKey):
        registry.revoked(index)


@each_suite
def test_the_memory_of_keys_and_tables_is_told(suite: int) -> None:
    """What a million keys would take can be worked out beforehand."""
    assert signatures.PUBLIC_KEY_BYTES[suite] < KeyRegistry.bytes_per_key(suite) < 4_000
    assert KeyRegistry.table_bytes_per_key(suite) % 64 == 0
    assert KeyRegistry.table_bytes_per_key(SUITE_ED25519) == 0
    with pytest.raises(UnknownSuite):
        KeyRegistry.table_bytes_per_key(4)
    assert KeyRegistry().table_bytes_max == signatures.TABLE_BYTES_MAX


@pytest.mark.parametrize("limit", [-1, 2**63, 2**100])
def test_a_limit_that_is_none_is_refused(limit: int) -> None:
    """A limit counts bytes."""
    with pytest.raises(ShapeError, match="table_bytes_max"):
        KeyRegistry(table_bytes_max=limit)


# --- Tables. ---


@needs_tables
@pytest.mark.parametrize("suite", TABLE_SUITES, ids=NAMES.__getitem__)
def test_tables_come_with_use_and_go_with_revocation(suite: int) -> None:
    """A key that is hardly used gets none, one that is used gets one, a revoked one none any more."""
    batch = Batch((suite,), 3 * USES)
    size = KeyRegistry.table_bytes_per_key(suite)
    once = Batch((suite,), 3)
    assert once.bad() == []
    assert once.registry.tables() == 0
    batch.bend(7)
    assert batch.bad() == [7]
    assert (batch.registry.tables(), batch.registry.table_bytes()) == (3, 3 * size)
    assert batch.bad() == [7]
    batch.registry.revoke(2)
    assert (batch.registry.tables(), batch.registry.table_bytes()) == (2, 2 * size)
    assert batch.bad() == [7]
    assert batch.bad() == [7]
    assert batch.registry.tables() == 2


@needs_tables
@pytest.mark.parametrize("suite", TABLE_SUITES, ids=NAMES.__getitem__)
def test_tables_stay_under_their_limit_and_the_one_unused_for_longest_goes(suite: int) -> None:
    """Room for two: keys are used in turn, one batch each, and verdicts never change."""
    size = KeyRegistry.table_bytes_per_key(suite)
    registry = KeyRegistry(table_bytes_max=3 * size - 1)
    batches = [Batch((suite,), USES, 1, registry) for _ in range(4)]
    for batch in batches:
        batch.bend(3)
    for turn in (0, 1, 2, 1, 3, 0, 0, 2, 1, 3):
        assert batches[turn].bad() == [3]
        assert registry.tables() <= 2
        assert registry.table_bytes() == size * registry.tables() <= registry.table_bytes_max
    assert registry.tables() == 2


@needs_tables
@pytest.mark.parametrize("suite", TABLE_SUITES, ids=NAMES.__getitem__)
@pytest.mark.parametrize("limit", [0, 1, 64])
def test_without_room_for_tables_all_verifies_the_same(suite: int, limit: int) -> None:
    """A limit below one table is a registry without tables."""
    batch = Batch((suite,), 2 * USES, 2, KeyRegistry(table_bytes_max=limit))
    batch.bend(0, 50)
    assert batch.bad() == [0, 50]
    assert (batch.registry.tables(), batch.registry.table_bytes()) == (0, 0)


@needs_tables
def test_one_batch_with_more_keys_than_tables_have_room_uses_those_that_fit() -> None:
    """Keys of one batch do not push each other out."""
    suite = TABLE_SUITES[0]
    limit = 3 * KeyRegistry.table_bytes_per_key(suite)
    batch = Batch((suite,), 6 * USES, 6, KeyRegistry(table_bytes_max=limit))
    for _ in range(3):
        assert batch.bad() == []
        assert batch.registry.tables() == 3


@needs_tables
def test_items_with_hints_make_no_tables() -> None:
    """Who verifies again needs no tables, until what he is given has none."""
    suite = TABLE_SUITES[0]
    batch = Batch((suite,), 2 * USES, 1, KeyRegistry(table_bytes_max=0))
    batch.bend(11)
    hints = batch.hints()
    batch.registry = KeyRegistry()
    batch.registry.register(suite, batch.keys.public_key(0))
    for _ in range(3):
        assert batch.bad(hints=hints) == [11]
        assert batch.registry.tables() == 0
    assert batch.bad(hints=bytes(len(hints))) == [11]
    assert batch.registry.tables() == 1
    assert batch.bad(hints=hints) == [11]


@needs_tables
def test_tables_that_a_failure_left_unfilled_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has no randomness just then: the batch is refused, and the next one makes its tables anew."""
    batch = Batch((TABLE_SUITES[0],), 2 * USES, 2)
    batch.bend(9)

    def broken(_: int) -> bytes:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(signatures, "urandom", broken)
        with pytest.raises(OSError):  # noqa: PT011 - it is the one that was raised above
            batch.bad()
    assert (batch.registry.tables(), batch.registry.table_bytes()) == (0, 0)
    assert batch.bad() == [9]
    assert batch.bad() == [9]
    assert batch.registry.tables() == 2


@pytest.mark.timeout(120)
def test_verdicts_stand_while_keys_come_and_go_and_tables_are_evicted() -> None:
    """Three threads verify, with tables for few of their keys, while this one registers, rotates and revokes."""
    limit = 2 * max(KeyRegistry.table_bytes_per_key(suite) for suite in SUITES)
    batch = Batch(SUITES, 4 * USES, 9, KeyRegistry(table_bytes_max=limit))
    others = [Batch((suite,), 2 * USES, 1, batch.registry) for suite in SUITES]
    batch.bend(5, 77)
    hints = batch.hints()
    key = batch.registry.public_key(1)
    found: set[tuple[int, ...]] = set()
    least: list[int] = []
    ready = threading.Barrier(4)
    enough = threading.Event()

    def work(number: int) -> None:
        ready.wait()
        turns = 0
        while not enough.is_set() or turns < 3:
            found.add(tuple(batch.bad(hints=hints if turns % 2 else None, threads=1 + number % 2)))
            found.add((5, 77, *others[turns % 3].bad()))
            turns += 1
        least.append(turns)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    ready.wait()
    for turn in range(300):
        index = batch.registry.register(SUITE_ED25519, key)
        if turn % 10 == 0:
            batch.registry.rotate(index, SUITE_ED25519, key)
        if turn % 20 == 0:
            batch.registry.revoke(turn // 20 % 12 + 1)
        assert batch.registry.table_bytes() <= limit
    enough.set()
    for worker in workers:
        worker.join()
    assert found == {(5, 77)}
    assert min(least) >= 3
    for index in range(1, 13):
        batch.registry.revoke(index)
    assert (batch.registry.tables(), batch.registry.table_bytes()) == (0, 0)


# --- Hints. ---


@each_suite
def test_hints_of_a_batch_verify_it_again(suite: int) -> None:
    """What one verifier writes another one reads; bad items and items without a key have no hint."""
    batch = Batch((suite,), 70)
    batch.bend(3, 40)
    batch.key_indexes = _indexes([0 if i == 20 else i % 3 + 1 for i in range(70)])
    hints = batch.hints()
    for item in (3, 20, 40):
        assert hints[HINT * item : HINT * item + HINT] == bytes(HINT)
    again = bytearray(HINT * 70)
    assert batch.bad(hints=bytes(hints), hints_out=again) == [3, 20, 40]
    assert again == hints


@pytest.mark.parametrize("count", [1, 5, 70])
def test_the_hint_of_ed25519_is_x_of_the_point_in_the_signature(count: int) -> None:
    """Against plain big integers; every variant makes it."""
    batch = Batch((SUITE_ED25519,), count)
    hints = batch.hints()
    for item in range(count):
        x, y, z, _ = twin.decode(bytes(batch.signatures[64 * item : 64 * item + 32]))
        assert z == 1
        assert int.from_bytes(hints[HINT * item : HINT * item + HINT], "little") == x % twin.P
        assert y % twin.P == int.from_bytes(batch.signatures[64 * item : 64 * item + 32], "little") % 2**255


@each_suite
@pytest.mark.parametrize("count", [3, 33])
def test_a_wrong_hint_changes_no_verdict_wherever_it_stands(suite: int, count: int) -> None:
    """One hint bent at each position in turn, of good and of bad items, each in another byte and bit."""
    batch = Batch((suite,), count)
    batch.bend(count // 2)
    hints = batch.hints()
    for item in range(count):
        bent = bytearray(hints)
        bent[HINT * item + item % HINT] ^= 1 << item % 8
        assert batch.bad(hints=bent) == [count // 2]


@each_suite
def test_every_byte_of_a_hint_may_be_wrong(suite: int) -> None:
    """One item of a few, each bit of the first and last byte and one of every other."""
    batch = Batch((suite,), 24)
    batch.bend(9)
    hints = batch.hints()
    bits = [*range(8), *range(248, 256), *(8 * byte + byte % 8 for byte in range(1, 31))]
    for item in (8, 9):
        for bit in bits:
            bent = bytearray(hints)
            bent[HINT * item + bit // 8] ^= 1 << bit % 8
            assert batch.bad(hints=bent) == [9]


@each_suite
def test_hints_of_nonsense_change_no_verdict(suite: int) -> None:
    """All ones, one, random bytes, those of the neighbours, none for every other item."""
    batch = Batch((suite,), 40)
    batch.bend(0, 39)
    hints = bytes(batch.hints())
    generator = random.Random(suite)  # noqa: S311 - test data
    for nonsense in (
        b"\xff" * HINT * 40,
        (b"\x01" + bytes(HINT - 1)) * 40,
        (bytes(HINT - 1) + b"\x01") * 40,
        generator.randbytes(HINT * 40),
        hints[HINT:] + hints[:HINT],
        b"".join(hints[HINT * i : HINT * i + HINT] if i % 2 else bytes(HINT) for i in range(40)),
        bytes(HINT * 40),
    ):
        out = bytearray(b"\xff" * HINT * 40)
        assert batch.bad(hints=nonsense, hints_out=out) == [0, 39]
        assert out == hints


def test_the_other_root_and_what_is_not_canonical_are_no_hints() -> None:
    """p - x is the point with the other sign, x + p and a top bit another spelling: R stays what its bytes say."""
    batch = Batch((SUITE_ED25519,), 30)
    batch.bend(4)
    hints = batch.hints()
    for item in (3, 4):
        at = slice(HINT * item, HINT * item + HINT)
        x = int.from_bytes(hints[at], "little")
        for wrong in (twin.P - x, x + 2**255, x + twin.P, (twin.P - x) % twin.P + twin.P):
            bent = bytearray(hints)
            bent[at] = (wrong % 2**256).to_bytes(32, "little")
            assert batch.bad(hints=bent) == [4]


def test_r_of_small_order_is_hinted_as_it_is() -> None:
    """x = 0 has no sign: its hint is that of none, and R = (0, -1) with a sign bit stays no point."""
    batch = Batch((SUITE_ED25519,), 26)
    for item, encoded in enumerate((1, twin.P - 1, 1 | 1 << 255, (twin.P - 1) | 1 << 255)):
        batch.signatures[64 * item : 64 * item + 32] = encoded.to_bytes(32, "little")
    expected = batch.bad()
    assert expected == [
        i
        for i in range(26)
        if not signatures.verify(
            SUITE_ED25519,
            batch.keys.public_key(i % 3),
            batch.signatures[64 * i : 64 * i + 64],
            batch.messages[STRIDE * i : STRIDE * i + STRIDE],
        )
    ]
    for hint in (bytes(32), twin.P.to_bytes(32, "little"), b"\x01" + bytes(31)):
        assert batch.bad(hints=hint * 26) == expected


# --- Threads. ---


@pytest.mark.parametrize("threads", [2, 3, 64, 2**40])
@pytest.mark.parametrize("count", [0, 1, 255, 511, 512, 513, 1400])
def test_threads_change_nothing(count: int, threads: int) -> None:
    """Suites mixed, bad items on both sides of every cut: verdicts and hints of one thread."""
    batch = Batch(SUITES, count, 7)
    batch.bend(*(i for i in (0, 127, 255, 256, 350, 467, 511, 700, 1399) if i < count))
    alone, together = bytearray(HINT * count), bytearray(HINT * count)
    expected = batch.bad(hints_out=alone)
    assert batch.bad(hints_out=together, threads=threads) == expected
    assert together == alone
    assert batch.bad(hints=alone, threads=threads) == expected


def test_large_batches_are_cut_and_put_together() -> None:
    """More than one run of a kernel for each suite and thread."""
    batch = Batch((SUITE_ED25519,), 9_000, 5)
    bad = [0, 2_249, 2_250, 4_095, 4_096, 4_499, 4_500, 8_999]
    batch.bend(*bad)
    for threads in (1, 2, 3):
        assert batch.bad(threads=threads) == bad


@pytest.mark.parametrize("threads", [0, -1, -(2**70)])
def test_no_threads_are_refused(threads: int) -> None:
    """Somebody has to do the work."""
    with pytest.raises(ShapeError, match="threads"):
        Batch(SUITES, 3).bad(threads=threads)


# --- What is refused before anything is computed. ---


class Columns:
    """The columns of two items, to be replaced one at a time; out and hints_out show whether anything was written."""

    def __init__(self) -> None:
        """Take an honest batch."""
        batch = Batch((SUITE_ED25519,), 2)
        self.registry = batch.registry
        self.columns: dict[str, object] = {
            "key_indexes": batch.key_indexes,
            "signatures": bytes(batch.signatures),
            "messages": bytes(batch.messages),
            "out": bytearray(b"\xee" * 2),
            "hints": bytes(2 * HINT),
            "hints_out": bytearray(b"\xee" * 2 * HINT),
        }

    def refused(self, error: type[Exception] | tuple[type[Exception], ...], **replaced: object) -> None:
        """Replace columns and expect a refusal that leaves both outputs alone."""
        columns = {**self.columns, **replaced}
        outputs = [column for name, column in self.columns.items() if name in {"out", "hints_out"}]
        before = [bytes(output) for output in outputs]  # type: ignore[call-overload]
        with pytest.raises(error):
            signatures.verify_batch(self.registry, **columns)  # type: ignore[arg-type]
        assert [bytes(output) for output in outputs] == before  # type: ignore[call-overload]


def test_lengths_that_disagree_are_refused() -> None:
    """Each column one byte and one item too short and too long."""
    columns = Columns()
    for name, unit in {"signatures": 64, "out": 1, "hints": HINT, "hints_out": HINT}.items():
        for size in {2 * unit - 1, 2 * unit + 1, unit, 3 * unit, 0}:
            columns.refused(ShapeError, **{name: bytearray(size)})
    columns.refused(ShapeError, messages=bytes(2 * STRIDE + 1))
    for size in (1, 7, 9, 4, 12, 0):
        columns.refused(ShapeError, key_indexes=b"\x01" * size)


def test_what_is_not_writable_contiguous_or_bytes_is_refused() -> None:
    """Python's own refusals, before anything is written."""
    columns = Columns()
    for name, size in {"out": 2, "hints_out": 2 * HINT}.items():
        columns.refused(BufferError, **{name: bytes(size)})
        columns.refused((BufferError, ValueError), **{name: np.zeros(2 * size, np.uint8)[::2]})
        locked = np.zeros(size, np.uint8)
        locked.flags.writeable = False
        columns.refused((BufferError, ValueError), **{name: locked})
        columns.refused(TypeError, **{name: 7})
    columns.refused((BufferError, ValueError), hints=np.zeros(4 * HINT, np.uint8)[::2])
    columns.refused(TypeError, hints="x" * 2 * HINT)
    columns.refused(TypeError, threads="2")
    columns.refused(ShapeError, key_indexes=np.array([1, 2], np.uint64))


def test_an_index_past_the_registry_is_refused() -> None:
    """The first one past the end, and the largest there is."""
    columns = Columns()
    for index in (4, 2**31, 2**32 - 1):
        columns.refused(UnknownKey, key_indexes=_indexes([1, index]))


def test_buffers_that_overlap_are_refused() -> None:
    """An output that is an input, or reaches into one, or into the other output."""
    columns = Columns()
    shared = bytearray(b"\x00" * 1024)
    view = memoryview(shared)
    columns.refused(ShapeError, signatures=view[:128], out=view[127:129])
    columns.refused(ShapeError, hints=view[:64], hints_out=view[:64])
    columns.refused(ShapeError, hints=view[:64], hints_out=view[63:127])
    columns.refused(ShapeError, out=view[10:12], hints_out=view[:64])
    columns.refused(ShapeError, messages=view[: 2 * STRIDE], hints_out=view[:64])
    columns.refused(ShapeError, key_indexes=view[:8], out=view[6:8])
    assert bytes(shared) == bytes(1024)


def test_a_count_of_two_to_the_32_is_refused_by_the_other_columns(tmp_path: Path) -> None:
    """Sixteen sparse gibibytes of indexes: every other column disagrees before one of them is read."""
    path = tmp_path / "indexes"
    with path.open("w+b") as file:
        file.truncate(4 << 32)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as claimed:
            columns = Columns()
            columns.refused(ShapeError, key_indexes=claimed)
            columns.refused(ShapeError, key_indexes=claimed, signatures=claimed)
            columns.refused(ShapeError, key_indexes=claimed, signatures=claimed, hints=claimed)


def test_misaligned_buffers_are_read_and_written_as_they_lie() -> None:
    """Every column starts at an odd address."""
    batch = Batch(SUITES, 60, 6)
    batch.bend(31)
    hints = batch.hints()

    def odd(content: bytes | bytearray) -> memoryview:
        return memoryview(bytearray(b"\0" + content))[1:]

    out, hints_out = odd(b"\xff" * 60), odd(b"\xff" * 60 * HINT)
    failed = signatures.verify_batch(
        batch.registry, odd(batch.key_indexes), odd(batch.signatures), odd(batch.messages), out,
        hints=odd(hints), hints_out=hints_out,
    )  # fmt: skip
    assert failed == 1
    assert [i for i in range(60) if out[i] == 0] == [31]
    assert hints_out == hints


def test_nothing_is_verified_in_no_time() -> None:
    """Zero items with every column given."""
    empty = bytearray()
    assert (
        signatures.verify_batch(KeyRegistry(), b"", b"", b"", empty, hints=b"", hints_out=bytearray(), threads=4) == 0
    )


def test_variants_and_features_are_told() -> None:
    """The variant in use is one that was built; what the CPU offers is named."""
    assert signatures.kernel_variant() in signatures.kernel_variants()
    assert signatures.kernel_variants() == kernel.VARIANTS[: len(signatures.kernel_variants())]
    features = signatures.cpu_features()
    assert len(set(features)) == len(features)
    if signatures.kernel_variant() == "avx512ifma":
        assert {"avx2", "avx512f", "avx512ifma"} <= set(features)
