"""Checkpoints are whole or skipped by name (CHECK-1, CHECK-2); the chain of signed headers keeps the first it got."""

from __future__ import annotations

import os
import struct

import pytest

from engine.chain import ChainStore
from engine.checkpoint import MANIFEST_BYTES, CheckpointStore, Manifest
from engine.errors import (
    AppendInvalid,
    ChainDamaged,
    CheckpointInvalid,
    CheckpointsUnusable,
    DiskFull,
    HeaderConflict,
    StoreClosed,
)
from engine.hashing import digest

SHARD, OTHER = 257, 258


def state_of(height: int, size: int = 2_500_000) -> bytes:
    return struct.pack("<Q", height) * (size // 8) + bytes(size % 8)


def manifest_of(shard: int, height: int, state: bytes) -> Manifest:
    plain = Manifest(
        shard=shard, epoch=1, height=height, log_number=10 * height, log_record_hash=b"r" * 32, header_hash=b"h" * 32,
        state_root=b"s" * 32, state_hash=digest(1, state), state_bytes=len(state),
    )  # fmt: skip
    return plain.signed(7, b"g" * 64)


def write(store: CheckpointStore, height: int, shard: int = SHARD, size: int = 2_500_000) -> Manifest:
    state = state_of(height, size)
    manifest = manifest_of(shard, height, state)
    store.write(manifest, state)
    return manifest


def trusting(_: Manifest) -> None:
    """A caller that finds nothing wrong with any manifest."""


@pytest.fixture
def store(tmp_path):
    one = CheckpointStore(tmp_path / "checkpoint", suite=1)
    yield one
    one.close()


def test_a_manifests_bytes_are_those_of_the_specification():
    manifest = manifest_of(SHARD, 3, b"abc")
    expected = (
        b"CSCP"
        b"\x01\x00"
        b"\x00\x00"
        + (257).to_bytes(4, "little")
        + (1).to_bytes(4, "little")
        + (3).to_bytes(8, "little")
        + (30).to_bytes(8, "little")
        + b"r" * 32
        + b"h" * 32
        + b"s" * 32
        + digest(1, b"abc")
        + (3).to_bytes(8, "little")
    )
    assert manifest.encode_body() == expected
    assert manifest.encode() == expected + (7).to_bytes(4, "little") + b"g" * 64
    assert len(manifest.encode()) == MANIFEST_BYTES
    assert manifest.hash(1) == digest(1, expected)
    assert Manifest.decode(manifest.encode()) == manifest
    for broken in (manifest.encode()[:-1], manifest.encode() + b"x", b"X" + manifest.encode()[1:], b""):
        with pytest.raises(CheckpointInvalid):
            Manifest.decode(broken)


@pytest.mark.parametrize("size", [0, 8, (1 << 20) - 16, (1 << 20) - 15, 17 * (1 << 20)])
def test_a_checkpoint_is_read_back_whole(store, size):
    manifest = write(store, 1, size=size)
    assert store.load_newest(SHARD, trusting) == (manifest, state_of(1, size))
    assert store.skipped == ()


def test_the_two_newest_of_each_shard_are_kept_and_their_room_is_used_again(store, tmp_path):
    for height in range(1, 4):
        write(store, height)
    used = (tmp_path / "checkpoint" / "data.mdb").stat().st_size
    for height in range(4, 12):
        write(store, height)
        write(store, height, OTHER, 100)
    assert store.heights(SHARD) == [11, 10]
    assert store.heights(OTHER) == [11, 10]
    assert store.load_newest(SHARD, trusting)[0].height == 11
    assert (tmp_path / "checkpoint" / "data.mdb").stat().st_size <= used + 8 * 2_600_000
    assert sorted((anchor.shard, anchor.number) for anchor in store.log_positions()) == [
        (SHARD, 100),
        (SHARD, 110),
        (OTHER, 100),
        (OTHER, 110),
    ]


def test_no_checkpoint_is_none(store):
    write(store, 1, OTHER)
    assert store.load_newest(SHARD, trusting) is None
    assert store.log_positions() != []


def test_checkpoints_are_there_after_a_restart(store, tmp_path):
    manifest = write(store, 5)
    store.close()
    with pytest.raises(StoreClosed):
        store.heights(SHARD)
    again = CheckpointStore(tmp_path / "checkpoint", suite=1)
    assert again.load_newest(SHARD, trusting) == (manifest, state_of(5))
    again.close()


def test_one_that_does_not_verify_is_named_and_skipped(store):
    """CHECK-2: manifest, signature and root are the caller's to judge; each refusal leads to the older one."""
    write(store, 1)
    write(store, 2)

    def verify(manifest: Manifest) -> None:
        if manifest.height == 2:
            raise CheckpointInvalid(SHARD, 2, "its signature is not the operator's")

    assert store.load_newest(SHARD, verify)[0].height == 1
    assert [(error.height, error.what) for error in store.skipped] == [(2, "its signature is not the operator's")]

    def accept(manifest: Manifest, state: bytes) -> None:
        if manifest.height == 2:
            raise ValueError(f"{len(state)} bytes give another root")

    assert store.load_newest(SHARD, trusting, accept)[0].height == 1
    assert "another root" in store.skipped[0].what

    def refuse(manifest: Manifest) -> None:
        raise CheckpointInvalid(SHARD, manifest.height, "no")

    assert store.load_newest(SHARD, refuse) is None
    assert [error.height for error in store.skipped] == [2, 1]


def test_a_state_that_is_not_the_manifests_is_not_written(store):
    state = state_of(1)
    with pytest.raises(CheckpointInvalid):
        store.write(manifest_of(SHARD, 1, state), state[:-1])
    with pytest.raises(CheckpointInvalid):
        store.write(manifest_of(SHARD, 1, state), b"x" + state[1:])
    assert store.heights(SHARD) == []


def test_a_damaged_state_is_skipped_for_the_older_one(store, tmp_path):
    older = write(store, 1)
    write(store, 2)
    store.close()
    path = tmp_path / "checkpoint" / "data.mdb"
    data = path.read_bytes()
    at = data.find(struct.pack("<Q", 2) * 600) + 3_000
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([data[at] ^ 16]))
    again = CheckpointStore(tmp_path / "checkpoint", suite=1)
    assert again.load_newest(SHARD, trusting) == (older, state_of(1))
    assert [(error.height, error.what) for error in again.skipped] == [(2, "its state is damaged")]
    again.close()


def test_a_damaged_manifest_is_skipped(store, tmp_path):
    write(store, 1)
    manifest = write(store, 2)
    store.close()
    path = tmp_path / "checkpoint" / "data.mdb"
    data = bytearray(path.read_bytes())
    at = data.find(manifest.encode())
    while at >= 0:
        data[at + 20] ^= 1
        at = data.find(manifest.encode(), at)
    path.write_bytes(data)
    again = CheckpointStore(tmp_path / "checkpoint", suite=1)
    assert again.load_newest(SHARD, trusting)[0].height == 1
    assert again.skipped[0].what == "its manifest is damaged"
    assert [anchor.number for anchor in again.log_positions()] == [10]
    again.close()


def test_a_damaged_file_is_named(store, tmp_path):
    write(store, 1)
    store.close()
    path = tmp_path / "checkpoint" / "data.mdb"
    os.truncate(path, 20 * 4096)
    with pytest.raises(CheckpointsUnusable) as caught:
        CheckpointStore(tmp_path / "checkpoint", suite=1)
    assert "names" in caught.value.what


def test_an_unfinished_checkpoint_is_nothing_and_is_cleared_away(store, tmp_path, monkeypatch):
    """Goal: a death between the chunks and the manifest leaves the older ones. Method: stop at that point."""
    write(store, 1)

    def dies(_: Manifest) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_write_manifest", dies)
    with pytest.raises(KeyboardInterrupt):
        write(store, 2)
    store.close()
    again = CheckpointStore(tmp_path / "checkpoint", suite=1)
    assert again.heights(SHARD) == [1]
    write(again, 3, size=100)
    with again._file.begin() as txn:
        kept = {key[:12] for key in txn.cursor(again._chunks).iternext(keys=True, values=False)}
    assert kept == {struct.pack(">IQ", SHARD, height) for height in (1, 3)}
    again.close()


def test_a_checkpoint_that_does_not_fit_leaves_those_that_stand(tmp_path):
    store = CheckpointStore(tmp_path / "checkpoint", suite=1, map_bytes_max=6 << 20)
    write(store, 1, size=1_000_000)
    with pytest.raises(DiskFull):
        write(store, 2, size=12_000_000)
    assert store.load_newest(SHARD, trusting)[0].height == 1
    store.close()


def test_a_full_disk_leaves_the_checkpoints_that_stand(small_disk):
    store = CheckpointStore(small_disk / "checkpoint", suite=1)
    write(store, 1, size=100_000)
    (small_disk / "stranger").write_bytes(bytes(8 << 20))
    with pytest.raises(DiskFull):
        write(store, 2, size=9_000_000)
    assert store.load_newest(SHARD, trusting)[0].height == 1
    (small_disk / "stranger").unlink()
    write(store, 3, size=100_000)
    assert store.heights(SHARD) == [3, 1]
    store.close()


# The chain.


def signed_of(height: int, content: bytes = b"", signature: bytes = b"g" * 64) -> bytes:
    header = struct.pack("<Q", height) * 52 + content
    return struct.pack("<I", len(header)) + header + struct.pack("<I", 7) + signature


@pytest.fixture
def chain(tmp_path):
    one = ChainStore(tmp_path / "chain", suite=1)
    yield one
    one.close()


def fill(chain: ChainStore, shard: int, heights: range) -> None:
    for height in heights:
        chain.append(shard, height, signed_of(height), bytes([height]) * 48)


def test_headers_are_kept_by_height(chain, tmp_path):
    assert chain.last(SHARD) is None
    assert list(chain.range(SHARD, 1)) == []
    fill(chain, SHARD, range(1, 41))
    fill(chain, OTHER, range(1, 4))
    assert (chain.last(SHARD), chain.last(OTHER), chain.last(259), chain.last(1)) == (40, 3, None, None)
    block = chain.get(SHARD, 7)
    assert (block.shard, block.height, block.signed_header, block.decision_leaves) == (
        SHARD,
        7,
        signed_of(7),
        bytes([7]) * 48,
    )
    assert chain.get(SHARD, 41) is None
    assert [one.height for one in chain.range(SHARD, 1)] == list(range(1, 41))
    assert [one.height for one in chain.range(SHARD, 38, 99)] == [38, 39, 40]
    assert [one.height for one in chain.range(OTHER, 2, 2)] == [2]
    chain.close()
    again = ChainStore(tmp_path / "chain", suite=1)
    assert [one.signed_header for one in again.range(OTHER, 1)] == [signed_of(height) for height in (1, 2, 3)]
    again.close()


def test_a_chain_may_begin_at_a_checkpoint_and_has_no_gaps(chain):
    fill(chain, SHARD, range(20, 23))
    for height in (24, 0, 2**64):
        with pytest.raises(AppendInvalid):
            chain.append(SHARD, height or 30, signed_of(23))
    with pytest.raises(AppendInvalid):
        chain.append(SHARD, 23, signed_of(23)[:-1])
    assert [one.height for one in chain.range(SHARD, 1)] == [20, 21, 22]


def test_a_height_keeps_its_first_header(chain):
    fill(chain, SHARD, range(1, 4))
    chain.append(SHARD, 2, signed_of(2))
    chain.append(SHARD, 2, signed_of(2, signature=b"another valid signature of it".ljust(64)))
    assert chain.get(SHARD, 2).signed_header == signed_of(2)
    with pytest.raises(HeaderConflict) as caught:
        chain.append(SHARD, 2, signed_of(2, b"another history"))
    assert (caught.value.shard, caught.value.height) == (SHARD, 2)
    assert chain.last(SHARD) == 3


def test_a_damaged_header_is_named(chain, tmp_path):
    fill(chain, SHARD, range(1, 12))
    chain.close()
    path = tmp_path / "chain" / "data.mdb"
    data = bytearray(path.read_bytes())
    at = data.find(signed_of(5))
    while at >= 0:
        data[at + 200] ^= 4
        at = data.find(signed_of(5), at)
    path.write_bytes(data)
    again = ChainStore(tmp_path / "chain", suite=1)
    assert again.get(SHARD, 4).height == 4
    with pytest.raises(ChainDamaged) as caught:
        again.get(SHARD, 5)
    assert (caught.value.shard, caught.value.height) == (SHARD, 5)
    with pytest.raises(ChainDamaged):
        list(again.range(SHARD, 1))
    again.close()


def test_a_gap_in_the_middle_is_named(chain):
    fill(chain, SHARD, range(1, 9))
    chain._file.write(lambda txn: txn.delete(struct.pack(">IQ", SHARD, 4), db=chain._blocks), pages=1)
    read = []
    with pytest.raises(ChainDamaged) as caught:
        read.extend(block.height for block in chain.range(SHARD, 1))
    assert (read, caught.value.height) == ([1, 2, 3], 4)


def test_a_damaged_chain_file_is_refused_at_the_opening(chain, tmp_path):
    fill(chain, SHARD, range(1, 9))
    chain.close()
    os.truncate(tmp_path / "chain" / "data.mdb", 3 * 4096)
    with pytest.raises(ChainDamaged) as caught:
        ChainStore(tmp_path / "chain", suite=1)
    assert "built anew from the log" in str(caught.value)
