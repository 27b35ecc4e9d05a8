"""The kernels at their door: hostile shapes, sizes, memory layouts and exports. Typed refusals, and never a crash."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable

import numpy as np
import pytest

from clearspan.simulation.world import START, World
from engine.machine import ShardMachine
from engine.types import NS_PER_S
from native.errors import InvariantBroken, NativeError, ShapeError, StateBytesInvalid, UnknownKey, UnknownSuite
from native.hashing import (
    Frontier,
    MerkleTree,
    digest,
    digest_rows,
    leaf_hash_rows,
    merkle_path,
    merkle_root,
    node_hash,
    root_from_path,
)
from native.ledger import LedgerState, prepare, slots
from native.signatures import KeyRegistry, SigningKeys, public_key, sign, sign_batch, verify, verify_batch
from tests.fuzz.mutants import bent, seed_of

ROUNDS, ROUNDS_NIGHTLY = 300, 40_000
# What a buffer or a number may be refused with: our own types, and what the buffer's owner or Python itself raises.
REFUSALS = (NativeError, ValueError, TypeError, BufferError, OverflowError, IndexError)
HASH = bytes(32)
SECRET = bytes(range(1, 33))


def registry() -> KeyRegistry:
    found = KeyRegistry()
    for suite in (1, 2):
        found.register(suite, public_key(suite, SECRET))
    return found


def signing_keys() -> SigningKeys:
    found = SigningKeys()
    for suite in (1, 2):
        found.register(suite, SECRET)
    return found


def hostile_buffers(size: int) -> list[object]:
    """Things of about so many bytes that are handed in where a buffer is asked for."""
    data = np.arange(4 * size + 64, dtype=np.uint32).view(np.uint8)
    shaped = data[: 2 * size].reshape(2, -1) if size else data[:0]
    return [
        b"",
        bytes(size),
        bytes(max(0, size - 1)),
        bytes(size + 1),
        bytearray(size),
        memoryview(bytes(size)),
        memoryview(bytes(size + 9))[9:],  # not aligned
        data[1 : size + 1],  # not aligned
        data[: 2 * size : 2],  # not contiguous
        data[:size][::-1],  # backwards
        shaped.T,  # not in order
        array("I", [0xFFFFFFFF] * (size // 4)),
        array("d", [float("nan")] * (size // 8)),
        np.zeros(size // 16 + 1, dtype="<c16"),
        np.full(size // 8 + 1, np.nan),
        None,
        "text",
        7,
        [1, 2, 3],
    ]


NUMBERS = (
    -(2**63),
    -1,
    0,
    1,
    2,
    3,
    31,
    32,
    33,
    128,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    "1",
    None,
    1.5,
)


def writable(chance: random.Random, size: int) -> object:
    return chance.choice([bytearray(size), bytearray(max(0, size - 1)), bytearray(size + 1), bytes(size), np.zeros(size, np.uint8), np.zeros(2 * size, np.uint8)[::2], None])  # fmt: skip


def calls(chance: random.Random) -> dict[str, Callable[[], object]]:
    """One call of every entry, with arguments drawn at random from what is hostile and what is plain."""
    count = chance.choice((0, 1, 2, 3, 64))
    number = lambda: chance.choice(NUMBERS)  # noqa: E731
    small = lambda: chance.choice((0, 1, 2, 3, 9))  # noqa: E731

    def buffer(size: int) -> object:
        return bytes(size) if chance.random() < 0.6 else chance.choice(hostile_buffers(size))

    indexes = chance.choice(
        [array("I", [small() for _ in range(count)]), np.full(count, 2**32 - 1, "<u4"), buffer(4 * count)]
    )
    stride = chance.choice((0, 1, 191, 192, 193))
    return {
        "digest": lambda: digest(small(), buffer(77)),
        "digest_rows": lambda: digest_rows(small(), buffer(64 * count), number()),
        "leaf_hash_rows": lambda: leaf_hash_rows(small(), buffer(48 * count), number()),
        "node_hash": lambda: node_hash(small(), buffer(32), buffer(32)),
        "merkle_root": lambda: merkle_root(small(), buffer(32 * count)),
        "merkle_path": lambda: merkle_path(small(), buffer(32 * count), number()),
        "root_from_path": lambda: root_from_path(
            small(), buffer(32), number(), number(), [buffer(32) for _ in range(chance.choice((0, 1, 3, 64, 200)))]
        ),
        "tree": lambda: hostile_tree(chance, buffer, number),
        "frontier": lambda: Frontier.from_peaks(small(), number(), [buffer(32) for _ in range(small())]).root(),
        "register": lambda: KeyRegistry().register(small(), buffer(chance.choice((0, 31, 32, 33, 63, 64, 65)))),
        "registry": lambda: (registry().suite(number()), registry().public_key(number())),
        "signing keys": lambda: (SigningKeys().register(small(), buffer(32)), signing_keys().public_key(number())),
        "verify": lambda: verify(small(), buffer(chance.choice((32, 64))), buffer(64), buffer(chance.choice((0, 192)))),
        "verify_batch": lambda: verify_batch(
            registry(), indexes, buffer(64 * count), buffer(stride * count), writable(chance, count)
        ),
        "sign": lambda: sign(small(), buffer(32), buffer(192)),
        "sign_batch": lambda: sign_batch(signing_keys(), indexes, buffer(stride * count), writable(chance, 64 * count)),
        "public_key": lambda: public_key(small(), buffer(32)),
        "slots": lambda: slots(buffer(128 * count), number(), number(), writable(chance, 2 * count)),
        "prepare": lambda: prepare(small(), buffer(32), buffer(128 * count), buffer(4 * small()), buffer(32 * small())),
    }


def hostile_tree(chance: random.Random, buffer, number) -> None:
    tree = MerkleTree(1)
    tree.extend(bytes(32 * 5))
    for _ in range(4):
        try:
            chance.choice(
                (
                    lambda: tree.append(buffer(32)),
                    lambda: tree.extend(buffer(96)),
                    lambda: tree.set(number(), buffer(32)),
                    lambda: tree.path(number()),
                )
            )()
        except REFUSALS:
            continue
    assert len(tree.root()) == 32


@pytest.mark.timeout(900)
def test_hostile_arguments_are_refused_by_type(request, nightly: bool) -> None:
    chance = random.Random(seed_of(request))
    refused = passed = 0
    for _ in range(ROUNDS_NIGHTLY if nightly else ROUNDS):
        for name, call in calls(chance).items():
            try:
                call()
                passed += 1
            except REFUSALS:
                refused += 1
            except BaseException:
                print(name)
                raise
    assert refused and passed


def test_an_output_that_is_part_of_an_input_does_no_harm() -> None:
    """The bindings say that it must not be; whoever does it all the same gets bytes of no meaning, and no crash."""
    shared = bytearray(64 * 4)
    keys = signing_keys()
    try:
        sign_batch(keys, array("I", [0, 1, 0, 1]), memoryview(shared), shared)
    except REFUSALS:
        return
    assert len(shared) == 256


def test_counts_that_would_wrap_are_refused() -> None:
    for stride in (2**31, 2**32, 2**62, 2**63 - 1):
        with pytest.raises(REFUSALS):
            digest_rows(1, bytes(64), stride)
        with pytest.raises(REFUSALS):
            slots(bytes(256), stride, 0, bytearray(2))
    with pytest.raises(ShapeError):
        slots(bytes(256), 128, 120, bytearray(4))  # the id would reach past its row
    with pytest.raises(ShapeError):
        root_from_path(1, HASH, 0, 0, [])
    with pytest.raises(UnknownSuite):
        digest(3, b"")
    with pytest.raises(UnknownKey):
        verify_batch(registry(), array("I", [3]), bytes(64), bytes(192), bytearray(1))


def machine() -> tuple[World, ShardMachine]:
    """A shard with parties, accounts, money, pendings and burnt ids."""
    world = World.make(29, banks=2, accounts=2, shards=1)
    found = ShardMachine(world.genesis, 0x100)
    now = START + NS_PER_S
    for columns in world.setup:
        found.apply_admin(columns, now)
    batches = [batch for account, _ in world.accounts for batch in world.issue(account, 1_000, now)]
    ring = world.accounts
    batches.append(
        world.signed(
            [world.transfer(ring[i % 4][0], ring[(i + 1) % 4][0], 300, ring[i % 4][1], now) for i in range(12)]
        )
    )
    pending = [
        world.transfer(ring[i][0], ring[i - 1][0], 3, ring[i][1], now, flags=1, until=NS_PER_S) for i in range(3)
    ]
    batches.append(world.signed(pending))
    for batch in batches:
        prepared = found.prepare(batch)
        found.apply_batch(batch, np.ones(batch.count, dtype=np.uint8), now, prepared)
    return world, found


def parameters(world: World) -> dict[str, object]:
    """The parameters under which the shard of `machine` was made."""
    captured: dict[str, object] = {}
    import engine.ledger_accounts as module

    class Spy:
        def __new__(cls, **given: object):
            captured.update(given)
            return LedgerState(**given)

    original = module.LedgerState
    module.LedgerState = Spy
    try:
        ShardMachine(world.genesis, 0x100)
    finally:
        module.LedgerState = original
    return captured


@pytest.mark.timeout(900)
def test_bent_exports_are_refused_or_are_a_state(request, nightly: bool) -> None:
    """What loads is sound by its own rules, gives its roots, takes a step, and exports to the bytes that it came from."""
    chance = random.Random(seed_of(request))
    world, found = machine()
    given = parameters(world)
    original = found.ledger.export()
    assert LedgerState.load(original, **given).export() == original
    loaded = 0
    for _ in range(ROUNDS_NIGHTLY // 4 if nightly else ROUNDS):
        data = bent(original, chance)
        try:
            state = LedgerState.load(data, **given)
        except (StateBytesInvalid, ShapeError, MemoryError):
            continue
        loaded += 1
        assert state.export() == data
        broken = state.check_invariants()
        for root in (state.accounts_root, state.ids_root, state.pendings_root, state.channels_root, state.ledgers_root):
            assert len(root()) == 32
        try:
            state.sweep(2**62)
        except (InvariantBroken, MemoryError):
            assert broken or data != original
    print(f"{loaded} of the mutants were states")


@pytest.mark.timeout(900)
def test_steps_with_hostile_arguments_leave_the_state_as_it_was(request, nightly: bool) -> None:
    chance = random.Random(seed_of(request))
    world, found = machine()
    state = LedgerState.load(found.ledger.export(), **parameters(world))
    ring, now = world.accounts, START + 2 * NS_PER_S
    batch = world.signed([world.transfer(ring[0][0], ring[1][0], 1, ring[0][1], now)])
    prepared = found.prepare(batch)
    heads = batch.heads.tobytes()
    for _ in range(ROUNDS_NIGHTLY // 4 if nightly else ROUNDS):
        before = state.export()
        number = chance.choice(NUMBERS)
        buffer = chance.choice(hostile_buffers(chance.choice((0, 16, 32, 128, 256))))
        step = chance.choice(
            (
                lambda: state.apply_batch(prepared, buffer, bytes(1), now),
                lambda: state.apply_batch(prepared, heads, buffer, now),
                lambda: state.apply_batch(prepared, heads, bytes(1), number),
                lambda: state.apply_credits(number, buffer, now),
                lambda: state.apply_relay(number, number, buffer, now),
                lambda: state.lookup_accounts(buffer),
                lambda: state.find_account(buffer),
                lambda: state.account(number),
                lambda: state.account_path(number),
                lambda: state.account_has_pendings(number),
                lambda: state.channel(number),
                lambda: state.totals(number),
                lambda: state.find_id(buffer, buffer, buffer),
                lambda: state.find_pending(buffer, buffer),
                lambda: state.set_key(number, number, number, number, number),
                lambda: state.update_account(number, flags=number),
                lambda: state.open_account(buffer, number, 0, number, 0, number, number, number, number),
            )
        )
        try:
            step()
        except (*REFUSALS, InvariantBroken, MemoryError):
            try:
                assert state.export() == before
            except InvariantBroken:
                state = LedgerState.load(before, **parameters(world))
            continue
        if state.check_invariants():
            state = LedgerState.load(before, **parameters(world))
