"""Keys of locks and reveals, made for whole records at once, are those that come out row by row (RECORD-6)."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest

from engine.prefix import claim_id, record_digest, refund_id
from engine.relay_block import RelayBlock, reveal_record
from engine.types import HashSuite, TransferFlag, TransferKind
from native.codes import ResultCode
from native.hashing import digest
from shards.index import ENTRY, SegmentIndex, entries
from shards.lock_keys import LockKeys

PREFIX = bytes(range(32))
SHARD = 256
LOCK, POST, TRANSFER = int(TransferKind.LOCK), int(TransferKind.POST), 0


class Batch:
    """Records of one log record with everything a lock may differ in; ``digests`` are theirs."""

    def __init__(self, chance: random.Random, preimages: list[bytes], suite: int, count: int = 40) -> None:
        self.records = np.frombuffer(chance.randbytes(160 * count), dtype=np.uint8).reshape(count, 160).copy()
        self.codes = np.zeros(count, dtype=np.uint16)
        for row in range(count):
            sm3 = chance.random() < 0.5
            kind = chance.choice((LOCK, LOCK, LOCK, POST, TRANSFER))
            # One in four says the other hash function than it was made with.
            said = sm3 if chance.random() < 0.75 else not sm3
            self.records[row, 126:128] = np.frombuffer(
                (kind | (TransferFlag.HASH_IS_SM3 if said else 0) | TransferFlag.ATTACHMENT).to_bytes(2, "little"),
                np.uint8,
            )
            hashlock = digest(HashSuite.SM3 if sm3 else HashSuite.SHA256, chance.choice(preimages))
            self.records[row, 128:160] = np.frombuffer(hashlock, np.uint8)
            self.codes[row] = chance.choice(
                (ResultCode.CREATED, ResultCode.CREATED, ResultCode.HELD, ResultCode.EXPIRED)
            )
        digests = [record_digest(suite, PREFIX, each.tobytes()) for each in self.records]
        self.digests = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(count, 32)

    @property
    def columns(self) -> SimpleNamespace:
        return SimpleNamespace(
            heads=np.ascontiguousarray(self.records[:, :128]),
            binding_index=np.arange(len(self.records), dtype=np.uint32),
            bindings=np.ascontiguousarray(self.records[:, 128:]),
        )


def key(data: bytes) -> int:
    return int.from_bytes(data[:8], "little")


def derived(lock: bytes, identity: int, flags: int, binding: bytes) -> bytes:
    """RECORD-6, spelled out field by field."""
    head = identity.to_bytes(16, "little") + lock[16:64] + lock[0:16] + lock[80:96] + bytes(16)
    return head + lock[112:116] + bytes(8) + lock[124:126] + flags.to_bytes(2, "little") + binding


def keys_of_lock(suite: int, batch: Batch, row: int) -> set[tuple[int, int]]:
    lock = batch.records[row].tobytes()
    refund = derived(lock, refund_id(suite, batch.digests[row].tobytes()), int(TransferKind.REFUND), bytes(32))
    return {(key(record_digest(suite, PREFIX, refund)), row), (key(lock[128:]), row)}


def keys_of_claim(suite: int, batch: Batch, preimage: bytes, at: int) -> set[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for row in range(len(batch.records)):
        lock = batch.records[row].tobytes()
        flags = int.from_bytes(lock[126:128], "little")
        sm3 = flags & TransferFlag.HASH_IS_SM3
        hashlock = digest(HashSuite.SM3 if sm3 else HashSuite.SHA256, preimage)
        opened = batch.codes[row] in (ResultCode.CREATED, ResultCode.HELD)
        if flags & 0x0F == LOCK and opened and lock[128:] == hashlock:
            claim = derived(lock, claim_id(suite, batch.digests[row].tobytes()), TransferKind.CLAIM | sm3, preimage)
            found |= {(key(record_digest(suite, PREFIX, claim)), at), (key(hashlock), at)}
    return found


def reveals(suite: int, preimages: list[bytes]) -> bytes:
    block = RelayBlock.build(
        suite, genesis_hash=bytes(32), height=2, view=0, time=1, parent_hash=bytes(32), set_id=1,
        records=[reveal_record(each) for each in preimages],
    )  # fmt: skip
    return block.encode()


@pytest.mark.parametrize("suite", [HashSuite.SHA256, HashSuite.SM3])
def test_all_at_once_is_row_by_row(tmp_path, suite: int) -> None:
    """Goal: no lock is missed and none is made up. Method: random batches, several locks of one hash, a slow twin."""
    chance = random.Random(int(suite))
    preimages = [chance.randbytes(32) for _ in range(12)]
    batches = {number: Batch(chance, preimages, suite) for number in (3, 4, 5, 7)}
    index = SegmentIndex(tmp_path, "i")

    def rows(shard: int, number: int) -> tuple[np.ndarray, np.ndarray] | None:
        found = batches.get(number)
        return None if found is None or shard != SHARD else (found.records, found.digests)

    keys = LockKeys(suite, PREFIX, index.find_many, rows)
    for number, batch in batches.items():
        made, at = keys.of_locks(batch.columns, batch.digests, batch.codes)
        expected = set()
        for row in range(len(batch.records)):
            opened = batch.codes[row] in (ResultCode.CREATED, ResultCode.HELD)
            if batch.records[row, 126] & 0x0F == LOCK and opened:
                expected |= keys_of_lock(suite, batch, row)
        assert set(zip(made.tolist(), at.tolist(), strict=True)) == expected
        # Indexed twice, as a restart may: it is found once all the same. Record 5 is another shard's alone.
        for _ in range(2):
            index.append(entries(made, SHARD + (number == 5), number, at), SHARD, number)
    # What the index names wrongly is only a hint: a record that is gone, a row beyond the end, locks of other hashes.
    hints = np.zeros(42, dtype=ENTRY)
    hints["key"] = key(digest(HashSuite.SHA256, preimages[0]))
    hints["shard"], hints["number"], hints["row"] = SHARD, (2, *[3] * 41), (0, 4000, *range(40))
    index.append(hints, SHARD, 7)
    revealed = [*preimages[:7], chance.randbytes(32)]
    # Locks of record 7 come after the reveal and are not claimed by it.
    record = SimpleNamespace(body=reveals(suite, revealed), shard=SHARD, number=6)
    made, at = keys.of_reveals(record)
    expected = set()
    for number in (3, 4):
        for place, preimage in enumerate(revealed):
            expected |= keys_of_claim(suite, batches[number], preimage, place)
    pairs = list(zip(made.tolist(), at.tolist(), strict=True))
    assert set(pairs) == expected
    assert expected
    index.close()


def test_a_block_without_reveals_and_a_batch_without_locks_have_no_keys(tmp_path) -> None:
    index = SegmentIndex(tmp_path, "i")
    keys = LockKeys(1, PREFIX, index.find_many, lambda *_: None)
    assert not len(keys.of_reveals(SimpleNamespace(body=reveals(1, []), shard=SHARD, number=6))[0])
    assert not len(keys.of_reveals(SimpleNamespace(body=reveals(1, [bytes(32)]), shard=SHARD, number=6))[0])
    batch = Batch(random.Random(1), [bytes(32)], 1)
    batch.codes[:] = ResultCode.EXPIRED
    assert not len(keys.of_locks(batch.columns, batch.digests, batch.codes)[0])
    index.close()
