"""The signature binding: batches, registries and their refusals; verdicts of a batch are those of single items."""

from __future__ import annotations

import copy
import hashlib
import pickle
import struct
import threading
from typing import Final

import numpy as np
import pytest

from native import kernel, signatures
from native.errors import KernelUnavailable, KeyRejected, NativeError, ShapeError, UnknownKey, UnknownSuite
from native.signatures import SUITE_ED25519, SUITE_SM2, KeyRegistry, SigningKeys

SUITES: Final = (SUITE_ED25519, SUITE_SM2)
STRIDE: Final = 192
COUNT: Final = 64


def _secret(label: object) -> bytes:
    return hashlib.sha256(f"clearspan {label}".encode()).digest()


def _indexes(*values: int) -> bytes:
    return struct.pack(f"={len(values)}I", *values)


class Batch:
    """COUNT honest items under eight keys of the given suites in turn, with room for the verdicts."""

    def __init__(self, suites: tuple[int, ...] = SUITES, count: int = COUNT) -> None:
        """Register the keys and sign everything through the batch signer."""
        self.registry, self.keys = KeyRegistry(), SigningKeys()
        for i in range(8):
            suite = suites[i % len(suites)]
            index = self.keys.register(suite, _secret(i))
            assert self.registry.register(suite, self.keys.public_key(index)) == index + 1
        self.key_indexes = _indexes(*(i % 8 + 1 for i in range(count)))
        self.messages = bytearray(hashlib.shake_256(b"messages").digest(count * STRIDE))
        self.signatures = bytearray(64 * count)
        signatures.sign_batch(self.keys, _indexes(*(i % 8 for i in range(count))), self.messages, self.signatures)
        self.out = bytearray(b"\xff" * count)

    def verify(self) -> int:
        """Check the batch as it stands now."""
        return signatures.verify_batch(self.registry, self.key_indexes, self.signatures, self.messages, self.out)


@pytest.fixture(params=[(SUITE_ED25519,), (SUITE_SM2,), SUITES], ids=["ed25519", "sm2", "both"])
def batch(request: pytest.FixtureRequest) -> Batch:
    """Return a batch of one suite, of the other, and of both mixed."""
    return Batch(request.param)


def test_an_honest_batch_passes_whole(batch: Batch) -> None:
    """Sign and verify 64 items; every byte of out is written."""
    assert batch.verify() == 0
    assert batch.out == b"\x01" * COUNT


def test_one_bad_signature_costs_only_itself(batch: Batch) -> None:
    """Spoil each index in turn: exactly that one fails."""
    for bad in range(COUNT):
        batch.signatures[64 * bad + 40] ^= 1
        assert batch.verify() == 1
        assert [i for i in range(COUNT) if batch.out[i] == 0] == [bad]
        batch.signatures[64 * bad + 40] ^= 1
    assert batch.verify() == 0


def test_a_changed_message_and_a_swapped_pair_fail_where_they_stand(batch: Batch) -> None:
    """Change one message and swap two signatures: three items fail."""
    batch.messages[STRIDE * 5 + 191] ^= 128
    batch.signatures[64 * 8 : 64 * 9], batch.signatures[64 * 16 : 64 * 17] = (
        batch.signatures[64 * 16 : 64 * 17],
        batch.signatures[64 * 8 : 64 * 9],
    )
    assert batch.verify() == 3
    assert [i for i in range(COUNT) if batch.out[i] == 0] == [5, 8, 16]


def test_batch_and_single_verdicts_agree(batch: Batch) -> None:
    """Spoil every third item, then ask for each alone."""
    for i in range(0, COUNT, 3):
        batch.signatures[64 * i + i % 64] ^= 1 << i % 8
    batch.verify()
    for i in range(COUNT):
        index = i % 8 + 1
        single = signatures.verify(
            batch.registry.suite(index),
            batch.registry.public_key(index),
            batch.signatures[64 * i : 64 * i + 64],
            batch.messages[STRIDE * i : STRIDE * i + STRIDE],
        )
        assert single is bool(batch.out[i])


def test_batch_and_single_signing_verify_alike(batch: Batch) -> None:
    """A single signature passes where the batch's did; Ed25519's are the same bytes."""
    for i in range(8):
        suite = batch.keys.suite(i)
        message = bytes(batch.messages[STRIDE * i : STRIDE * i + STRIDE])
        single = signatures.sign(suite, _secret(i), message)
        assert signatures.verify(suite, batch.keys.public_key(i), single, message)
        if suite == SUITE_ED25519:
            assert single == batch.signatures[64 * i : 64 * i + 64]


def test_key_index_zero_is_no_key_and_fails() -> None:
    """Put index 0 among good ones: it counts as failed, whatever its signature."""
    batch = Batch((SUITE_ED25519,), 3)
    batch.key_indexes = _indexes(1, 0, 3)
    assert batch.verify() == 1
    assert batch.out == b"\x01\x00\x01"


def test_an_unknown_key_refuses_the_batch_before_any_verdict() -> None:
    """An index past the registry leaves out as it was."""
    batch = Batch((SUITE_ED25519,), 3)
    batch.key_indexes = _indexes(1, 9, 2**32 - 1)
    with pytest.raises(UnknownKey) as caught:
        batch.verify()
    assert (caught.value.index, caught.value.count) == (9, 8)
    assert batch.out == b"\xff" * 3
    with pytest.raises(UnknownKey):
        signatures.sign_batch(batch.keys, _indexes(8), bytes(STRIDE), bytearray(64))


def test_an_empty_batch_is_fine() -> None:
    """No items, no failures; bytes without items are a wrong shape."""
    assert signatures.verify_batch(KeyRegistry(), b"", b"", b"", bytearray()) == 0
    signatures.sign_batch(SigningKeys(), b"", b"", bytearray())
    with pytest.raises(ShapeError):
        signatures.verify_batch(KeyRegistry(), b"", b"", b"x", bytearray())


def test_empty_messages_are_messages() -> None:
    """A stride of 0 signs and verifies the empty message."""
    keys, registry, out, made = SigningKeys(), KeyRegistry(), bytearray(2), bytearray(128)
    keys.register(SUITE_ED25519, _secret(0))
    registry.register(SUITE_ED25519, keys.public_key(0))
    signatures.sign_batch(keys, _indexes(0, 0), b"", made)
    assert signatures.verify_batch(registry, _indexes(1, 1), made, b"", out) == 0


@pytest.mark.parametrize(
    ("key_indexes", "given", "messages", "out"),
    [
        (_indexes(1) + b"\0", bytes(64), bytes(STRIDE), 1),
        (_indexes(1), bytes(63), bytes(STRIDE), 1),
        (_indexes(1, 1), bytes(64), bytes(2 * STRIDE), 2),
        (_indexes(1, 1), bytes(128), bytes(2 * STRIDE + 1), 2),
        (_indexes(1, 1), bytes(128), bytes(2 * STRIDE), 1),
        (_indexes(1, 1), bytes(128), bytes(2 * STRIDE), 3),
        (np.ones(1, np.uint64), bytes(128), bytes(2 * STRIDE), 2),
    ],
    ids=["torn index", "short signature", "missing signature", "uneven", "short out", "long out", "wide index"],
)
def test_lengths_that_disagree_are_refused(key_indexes: bytes, given: bytes, messages: bytes, out: int) -> None:
    """Each length is wrong once; nothing is written."""
    verdicts = bytearray(b"\xff" * out)
    registry = KeyRegistry()
    registry.register(SUITE_ED25519, signatures.public_key(SUITE_ED25519, _secret(0)))
    with pytest.raises(ShapeError):
        signatures.verify_batch(registry, key_indexes, given, messages, verdicts)
    assert verdicts == b"\xff" * out


@pytest.mark.parametrize("shift", range(1, 8))
def test_buffers_need_neither_alignment_nor_write_access(shift: int) -> None:
    """Every input at an odd address and read-only; the answer is the same."""
    batch = Batch(SUITES, 16)

    def moved(data: bytes | bytearray) -> memoryview:
        return memoryview(bytes(shift) + bytes(data))[shift:]

    out = memoryview(bytearray(shift + 16))[shift:]
    failed = signatures.verify_batch(
        batch.registry, moved(batch.key_indexes), moved(batch.signatures), moved(batch.messages), out
    )
    assert failed == 0
    assert bytes(out) == b"\x01" * 16


def test_numpy_arrays_are_buffers() -> None:
    """Columns as arrays, one of them frozen; a strided view is refused by its owner."""
    batch = Batch((SUITE_ED25519,), 16)
    indexes = np.frombuffer(batch.key_indexes, np.uint32).copy()
    rows = np.frombuffer(batch.messages, np.uint8).reshape(16, STRIDE).copy()
    given = np.frombuffer(batch.signatures, np.uint8).reshape(16, 64).copy()
    given.flags.writeable = False
    out = np.zeros(16, np.uint8)
    assert signatures.verify_batch(batch.registry, indexes, given, rows, out) == 0
    assert out.all()
    with pytest.raises((BufferError, ValueError)):
        signatures.verify_batch(batch.registry, indexes[::2], given[:8], rows[:8], out[:8])
    with pytest.raises((BufferError, ValueError)):
        signatures.verify_batch(batch.registry, indexes, given, rows, bytes(16))


def test_a_registry_keeps_what_was_registered(batch: Batch) -> None:
    """Indexes start at 1, in order, and name suite and bytes for ever."""
    assert len(batch.registry) == 8
    for index in range(1, 9):
        assert batch.registry.public_key(index) == batch.keys.public_key(index - 1)
        assert batch.registry.suite(index) == batch.keys.suite(index - 1)
    for index in (0, -1, 9, 2**70):
        with pytest.raises(UnknownKey):
            batch.registry.public_key(index)
        with pytest.raises(UnknownKey):
            batch.registry.suite(index)


def test_a_refused_key_leaves_the_registry_as_it_was() -> None:
    """Rejected, unknown and misshapen keys take no index."""
    registry = KeyRegistry()
    with pytest.raises(KeyRejected) as caught:
        registry.register(SUITE_ED25519, (1).to_bytes(32, "little"))
    assert (caught.value.reason, caught.value.suite) == ("small_order", SUITE_ED25519)
    with pytest.raises(KeyRejected) as caught:
        registry.register(SUITE_SM2, bytes(64))
    assert (caught.value.reason, caught.value.suite) == ("not_on_curve", SUITE_SM2)
    with pytest.raises(KeyRejected, match="not_canonical"):
        registry.register(SUITE_SM2, b"\xff" * 64)
    for suite in (0, 4, -1, 2**40):
        with pytest.raises(UnknownSuite):
            registry.register(suite, bytes(32))
    with pytest.raises(ShapeError):
        registry.register(SUITE_ED25519, bytes(33))
    with pytest.raises(ShapeError):
        registry.register(SUITE_SM2, bytes(32))
    assert len(registry) == 0
    assert registry.register(SUITE_ED25519, signatures.public_key(SUITE_ED25519, _secret(0))) == 1


def test_a_key_of_one_suite_is_no_key_of_another() -> None:
    """Each verdict is asked under the suite that the registry holds, so a signature does not change suites."""
    batch = Batch(SUITES, 2)
    batch.key_indexes = _indexes(2, 1)
    assert batch.verify() == 2


@pytest.mark.parametrize("suite", SUITES)
def test_memory_per_key_is_told(suite: int) -> None:
    """A loaded key costs at least its bytes and stays small enough to hold a million."""
    assert signatures.PUBLIC_KEY_BYTES[suite] < KeyRegistry.bytes_per_key(suite) < 20_000


@pytest.mark.timeout(60)
def test_keys_may_be_registered_while_other_threads_verify() -> None:
    """Two threads verify one batch over and over while this one grows the registry through several chunks."""
    batch = Batch((SUITE_ED25519,), 64)
    key = batch.keys.public_key(0)
    failures: list[int] = []
    stop = threading.Event()

    def work() -> None:
        out = bytearray(64)
        while not stop.is_set():
            failures.append(
                signatures.verify_batch(batch.registry, batch.key_indexes, batch.signatures, batch.messages, out)
            )

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(1500):
        batch.registry.register(SUITE_ED25519, key)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(batch.registry) == 1508
    assert set(failures) == {0}
    batch.key_indexes = _indexes(*(8 * i + 9 for i in range(64)))
    for i in range(64):
        message = batch.messages[STRIDE * i : STRIDE * i + STRIDE]
        batch.signatures[64 * i : 64 * i + 64] = signatures.sign(SUITE_ED25519, _secret(0), message)
    assert batch.verify() == 0


@pytest.mark.parametrize("holder", [KeyRegistry, SigningKeys])
def test_registries_are_neither_pickled_nor_copied(holder: type[KeyRegistry | SigningKeys]) -> None:
    """Secrets stay in the process, and loaded keys are no data."""
    with pytest.raises(TypeError):
        pickle.dumps(holder())
    with pytest.raises(TypeError):
        copy.deepcopy(holder())


@pytest.mark.parametrize("suite", SUITES)
def test_secrets_are_never_shown(suite: int) -> None:
    """The text of a signer and of its refusals holds no part of a secret."""
    keys = SigningKeys()
    keys.register(suite, _secret(1))
    assert repr(keys) == str(keys) == "<SigningKeys of 1 secrets>"
    with pytest.raises(ShapeError) as caught:
        keys.register(suite, _secret(1) + b"\0")
    assert _secret(1).hex()[:8] not in str(caught.value)
    with pytest.raises(KeyRejected, match="secret_out_of_range"):
        keys.register(SUITE_SM2, bytes(32))
    assert len(keys) == 1


@pytest.mark.parametrize("index", [-1, 0, 2**70])
def test_an_unknown_secret_is_refused(index: int) -> None:
    """An empty signer knows no index."""
    with pytest.raises(UnknownKey):
        SigningKeys().public_key(index)
    with pytest.raises(UnknownKey):
        SigningKeys().suite(index)


def test_singles_check_suite_and_lengths() -> None:
    """A wrong suite or length is the caller's mistake; a key outside the rule verifies nothing."""
    for suite in (0, 4):
        with pytest.raises(UnknownSuite):
            signatures.verify(suite, bytes(32), bytes(64), b"")
        with pytest.raises(UnknownSuite):
            signatures.sign(suite, bytes(32), b"")
        with pytest.raises(UnknownSuite):
            signatures.public_key(suite, bytes(32))
    with pytest.raises(ShapeError):
        signatures.verify(SUITE_ED25519, bytes(31), bytes(64), b"")
    with pytest.raises(ShapeError):
        signatures.verify(SUITE_ED25519, bytes(32), bytes(63), b"")
    with pytest.raises(ShapeError):
        signatures.sign(SUITE_ED25519, bytes(31), b"")
    with pytest.raises(ShapeError):
        signatures.public_key(SUITE_ED25519, bytes(33))
    assert signatures.verify(SUITE_ED25519, bytes(32), bytes(64), b"") is False


def test_a_variant_that_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable forces a variant, and a name that is not built says which are."""
    assert signatures.kernel_variant() in kernel.VARIANTS
    monkeypatch.delenv(kernel.VARIABLE, raising=False)
    assert kernel.choose_variant(("scalar", "avx2")) == "avx2"
    monkeypatch.setenv(kernel.VARIABLE, "scalar")
    assert kernel.choose_variant(("scalar", "avx2")) == "scalar"
    monkeypatch.setenv(kernel.VARIABLE, "avx512ifma")
    with pytest.raises(KernelUnavailable, match="built: scalar") as caught:
        kernel.choose_variant(("scalar",))
    assert (caught.value.requested, caught.value.available) == ("avx512ifma", ("scalar",))
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value, NativeError)
