"""The index of lookups: candidates in order, each once, whatever was flushed, merged, lost or torn."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

import shards.index
from engine.errors import DiskFull
from shards.index import ENTRY, SegmentIndex, entries


def one(key: int, number: int, row: int = 0, shard: int = 1) -> np.ndarray:
    return entries(np.array([key], dtype=np.uint64), shard, number, np.array([row], dtype=np.uint32))


def places(index: SegmentIndex, key: int, shard: int | None = None) -> list[tuple[int, int, int]]:
    return [(int(hit["shard"]), int(hit["number"]), int(hit["row"])) for hit in index.find(key, shard)]


def test_it_finds_what_was_added_however_it_was_stored(tmp_path: Path, monkeypatch) -> None:
    """Goal: memory, segments and merged tiers answer alike. Method: random entries against a dictionary, with restarts."""
    monkeypatch.setattr(shards.index, "_TABLE_ENTRIES_MAX", 64)
    chance = random.Random(5)
    wanted: dict[int, set[tuple[int, int, int]]] = {}
    index = SegmentIndex(tmp_path, "i")
    for number in range(1, 600):
        shard, count = chance.choice((1, 2)), chance.randrange(0, 8)
        keys = [chance.choice((0, 1, 2**64 - 1, chance.randrange(50))) for _ in range(count)]
        index.append(
            entries(np.array(keys, dtype=np.uint64), shard, number, np.arange(count, dtype=np.uint32)), shard, number
        )
        for row, key in enumerate(keys):
            wanted.setdefault(key, set()).add((shard, number, row))
        if number % 150 == 0:
            index.close()
            index = SegmentIndex(tmp_path, "i")
    assert len(index._segments) < 30
    for key, hits in wanted.items():
        assert places(index, key) == sorted(hits)
        assert places(index, key, 2) == sorted(hit for hit in hits if hit[0] == 2)
    assert places(index, 77) == []
    index.close()


def test_what_is_added_twice_is_found_once(tmp_path: Path) -> None:
    index = SegmentIndex(tmp_path, "i")
    for _ in range(2):
        index.append(one(7, 1), 1, 1)
        index.flush()
        index.append(one(7, 1), 1, 1)
    assert places(index, 7) == [(1, 1, 0)]
    index.close()


def test_records_of_one_entry_do_not_slow_a_search(tmp_path: Path) -> None:
    """Tens of thousands of tiny records before the first flush: a search looks at a few tables, not at each."""
    index = SegmentIndex(tmp_path, "i")
    for number in range(1, 30_001):
        index.append(one(number, number), 1, number)
    assert len(index._tables) < 40
    started = time.perf_counter()
    for number in range(1, 1_001):
        assert len(index.find(number)) == 1
    assert time.perf_counter() - started < 5
    index.close()


def test_a_key_with_many_entries_is_found_in_bounded_time(tmp_path: Path) -> None:
    index = SegmentIndex(tmp_path, "i")
    for number in range(1, 41):
        index.append(
            entries(np.full(8_192, 9, dtype=np.uint64), 1, number, np.arange(8_192, dtype=np.uint32)), 1, number
        )
    started = time.perf_counter()
    hits = index.find(9, 1)
    assert time.perf_counter() - started < 2
    assert len(hits) == 40 * 8_192
    assert (np.diff(hits["number"].astype(np.int64) * 8_192 + hits["row"]) == 1).all()
    index.close()


def test_segments_have_a_largest_size(tmp_path: Path, monkeypatch) -> None:
    """One value of LMDB ends at 4 GiB: tiers that would be larger stay side by side and are found all the same."""
    monkeypatch.setattr(shards.index, "_TABLE_ENTRIES_MAX", 8)
    monkeypatch.setattr(shards.index, "_SEGMENT_ENTRIES_MAX", 64)
    index = SegmentIndex(tmp_path, "i")
    for number in range(1, 801):
        index.append(one(3, number), 1, number)
    assert max(len(segment) for segment in index._segments.values()) <= 64
    assert [number for _, number, _ in places(index, 3)] == list(range(1, 801))
    index.close()


def test_without_room_nothing_is_forgotten(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shards.index, "_TABLE_ENTRIES_MAX", 64)
    index = SegmentIndex(tmp_path, "i", map_bytes_max=1 << 16)
    refused = 0
    for number in range(1, 401):
        try:
            index.append(
                entries(np.full(16, number, dtype=np.uint64), 1, number, np.arange(16, dtype=np.uint32)), 1, number
            )
        except DiskFull:
            refused += 1
    assert 0 < refused < 20  # it is not tried again for every record
    assert all(len(index.find(number)) == 16 for number in range(1, 401))
    assert index.reached(1) == 400
    index.close()
    index = SegmentIndex(tmp_path, "i")
    assert index.reached(1) < 400  # and a restart adds again what was not stored
    assert all(len(index.find(number)) == 16 for number in range(1, index.reached(1) + 1))
    index.close()


@pytest.mark.parametrize("harm", ["torn", "garbage", "another boot", "no mark", "empty mark"])
def test_what_cannot_be_trusted_begins_anew(tmp_path: Path, harm: str) -> None:
    """A torn file, or one that was not synced before the machine went down, is thrown away: the log has it all."""
    index = SegmentIndex(tmp_path, "i")
    index.append(one(7, 1), 1, 1)
    if harm == "another boot":
        index.flush()
        index._shut()  # as a power cut leaves it: nothing was synced
        (tmp_path / "i" / "WRITER").write_bytes(b"00000000-0000-0000-0000-000000000000\n")
    else:
        index.close()
    data = tmp_path / "i" / "data.mdb"
    if harm == "torn":
        data.write_bytes(data.read_bytes()[:9_000])
    elif harm == "garbage":
        data.write_bytes(b"\xff" * 40_000)
    elif harm == "no mark":
        (tmp_path / "i" / "WRITER").unlink()
    elif harm == "empty mark":
        (tmp_path / "i" / "WRITER").write_bytes(b"")
    index = SegmentIndex(tmp_path, "i")
    assert (index.reached(1), places(index, 7)) == (0, [])
    index.append(one(7, 1), 1, 1)
    index.close()
    index = SegmentIndex(tmp_path, "i")
    assert (index.reached(1), places(index, 7)) == (1, [(1, 1, 0)])
    index.close()


def test_a_process_that_was_killed_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    index = SegmentIndex(tmp_path, "i")
    index.append(one(7, 1), 1, 1)
    index.flush()
    index.append(one(8, 2), 1, 2)
    index._shut()  # as SIGKILL leaves it: the kernel has the pages
    index = SegmentIndex(tmp_path, "i")
    assert (index.reached(1), places(index, 7), places(index, 8)) == (1, [(1, 1, 0)], [])
    index.reset()
    assert (index.reached(1), places(index, 7)) == (0, [])
    index.close()


def test_an_entry_has_the_layout_that_is_stored() -> None:
    assert ENTRY.itemsize == 24
