"""The log's port: every implementation appends behind a fence and reads back a verified chain (LOG-1, LOG-4)."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from engine.errors import (
    AppendInvalid,
    DiskFull,
    Fenced,
    LogCorrupt,
    LogFailed,
    LogGap,
    RecordMalformed,
    StoreClosed,
    TornTail,
)
from engine.hashing import digest
from engine.log import EMPTY_TIP, LogRecord, MemoryStore, RecordKind, decode_record, encode_record
from engine.log_record import BODY_BYTES_MAX, RECORD_HEADER_BYTES
from native.errors import UnknownSuite
from tests.crash.logs import GENESIS, SHARDS, append, check_whole, open_store, record_of, records_after

SHARD, OTHER = SHARDS
IMPLEMENTATIONS = ("memory", "lmdb")


@pytest.fixture(params=IMPLEMENTATIONS)
def store(request, tmp_path):
    one = MemoryStore(suite=1, genesis_hash=GENESIS) if request.param == "memory" else open_store(tmp_path / "log")
    yield one
    one.close()


def test_an_empty_log_ends_at_zero(store):
    log = store.log(SHARD)
    assert log.last() == (0, bytes(32))
    assert list(log.read(1)) == []
    assert (store.shards(), store.epoch()) == ((), 0)


def test_what_was_appended_is_read_back(store):
    log = store.log(SHARD)
    records = records_after(log, SHARD, 13)
    assert log.append(records[:5], 1, 1) == 5
    assert log.append(records[5:], 6, 1) == 13
    assert log.last() == (13, records[-1].hash)
    assert [(r.number, r.hash, r.kind, r.time, bytes(r.body)) for r in log.read(1)] == [
        (r.number, r.hash, r.kind, r.time, bytes(r.body)) for r in records
    ]
    assert [r.number for r in log.read(9)] == [9, 10, 11, 12, 13]
    assert list(log.read(14)) == []
    assert check_whole(log, SHARD) == 13


def test_a_reader_sees_the_log_as_it_was_when_it_began(store):
    log = store.log(SHARD)
    append(log, SHARD, 5)
    reader = log.read(1)
    assert next(reader).number == 1
    append(log, SHARD, 5)
    assert [r.number for r in reader] == [2, 3, 4, 5]


def test_appending_nothing_changes_nothing_but_the_fence(store):
    log = store.log(SHARD)
    append(log, SHARD, 2)
    assert log.append([], 3, 4) == 2
    with pytest.raises(Fenced):
        append(log, SHARD, epoch=3)


def test_an_old_number_is_fenced(store):
    """Two writers that saw the same end: the second one's append is refused and changes nothing."""
    log = store.log(SHARD)
    append(log, SHARD, 2)
    first, second = (records_after(log, SHARD, 1, size=size) for size in (10, 20))
    log.append(first, 3, 1)
    with pytest.raises(Fenced) as caught:
        log.append(second, 3, 1)
    assert (caught.value.shard, caught.value.what, caught.value.offered, caught.value.current) == (
        SHARD,
        "number",
        3,
        4,
    )
    assert log.last() == (3, first[0].hash)


def test_an_old_epoch_is_fenced(store):
    log = store.log(SHARD)
    append(log, SHARD, 2)
    mine = records_after(log, SHARD, 1)
    log.fence(2)
    with pytest.raises(Fenced) as caught:
        log.append(mine, 3, 1)
    assert (caught.value.what, caught.value.offered, caught.value.current) == ("epoch", 1, 2)
    with pytest.raises(Fenced):
        log.fence(1)
    log.fence(2)
    assert append(log, SHARD, epoch=2) == 3
    assert store.epoch() == 2


def test_a_later_epoch_fences_by_appending(store):
    log = store.log(SHARD)
    append(log, SHARD, epoch=3)
    with pytest.raises(Fenced):
        append(log, SHARD, epoch=2)


def test_a_fence_stands_before_the_first_record(store):
    store.log(SHARD).fence(5)
    with pytest.raises(Fenced):
        append(store.log(SHARD), SHARD, epoch=4)
    assert append(store.log(SHARD), SHARD, epoch=5) == 1


def test_a_store_fences_all_its_logs(store):
    for shard in SHARDS:
        append(store.log(shard), shard)
    store.fence(7)
    for shard in SHARDS:
        with pytest.raises(Fenced):
            append(store.log(shard), shard, epoch=6)
    assert store.epoch() == 7


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("shard", {"shard": OTHER}),
        ("number", {"number": 4}),
        ("genesis hash", {"genesis_hash": bytes(32)}),
        ("previous hash", {"previous_hash": bytes(range(32))}),
        ("hash suite", {"suite": 2}),
        ("epoch", {"epoch": 3}),
        ("epoch", {"epoch": 1}),
        ("time", {"time": 1_999}),
    ],
)
def test_records_that_do_not_continue_the_log_are_refused(store, what, fields):
    """LOG-1: number + 1, the chain, the shard, an epoch and a time that never decrease; refused before anything is written."""
    log = store.log(SHARD)
    append(log, SHARD, 2, epoch=2)
    end = log.last()
    record = replace(record_of(SHARD, 3, end[1], epoch=2), **fields)
    with pytest.raises(AppendInvalid) as caught:
        log.append([record], 3, 2)
    assert caught.value.what == what
    assert log.last() == end
    assert check_whole(log, SHARD) == 2


def test_a_number_ahead_of_the_log_is_the_callers_mistake(store):
    with pytest.raises(AppendInvalid):
        store.log(SHARD).append([record_of(SHARD, 5, bytes(32))], 5, 1)


def test_shards_become_durable_together_or_not_at_all(store):
    """LOG-4: one call, all shards; a mistake on one of them leaves all of them alone."""
    one, other = (records_after(store.log(shard), shard, 3) for shard in SHARDS)
    store.append_many({SHARD: (one, 1), OTHER: (other, 1)}, 1)
    assert [store.log(shard).last()[0] for shard in SHARDS] == [3, 3]
    more = records_after(store.log(SHARD), SHARD, 1)
    with pytest.raises(Fenced):
        store.append_many({SHARD: (more, 4), OTHER: (other, 1)}, 1)
    assert [check_whole(store.log(shard), shard) for shard in SHARDS] == [3, 3]
    assert store.shards() == SHARDS


def test_a_closed_store_says_so(store):
    append(store.log(SHARD), SHARD)
    store.close()
    store.close()
    with pytest.raises(StoreClosed):
        append(store.log(SHARD), SHARD)
    with pytest.raises(StoreClosed):
        list(store.log(SHARD).read(1))


def test_an_lmdb_log_is_there_after_it_was_closed(tmp_path):
    store = open_store(tmp_path / "log")
    for shard in SHARDS:
        append(store.log(shard), shard, 8)
    store.fence(3)
    ends = [store.log(shard).last() for shard in SHARDS]
    store.close()
    store = open_store(tmp_path / "log")
    assert [store.log(shard).last() for shard in SHARDS] == ends
    assert [check_whole(store.log(shard), shard) for shard in SHARDS] == [8, 8]
    assert store.epoch() == 3
    store.close()


def test_writers_in_two_threads_never_share_a_number(tmp_path):
    """Whoever loses the race is fenced; what both were told is what the log holds."""
    store = open_store(tmp_path / "log")
    log = store.log(SHARD)
    won: list[int] = []
    fenced: list[int] = []

    def write() -> None:
        for _ in range(25):
            records = records_after(log, SHARD, 1)
            try:
                won.append(log.append(records, records[0].number, 1))
            except Fenced as error:
                fenced.append(error.offered)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(1, len(won) + 1))
    assert len(won) + len(fenced) == 75
    assert check_whole(log, SHARD) == len(won)
    store.close()


def test_readers_go_on_while_a_writer_appends(tmp_path):
    store = open_store(tmp_path / "log")
    log = store.log(SHARD)
    append(log, SHARD, 3)
    counts: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            counts.append(sum(1 for _ in log.read(1)))

    thread = threading.Thread(target=read)
    thread.start()
    for _ in range(40):
        append(log, SHARD)
    stop.set()
    thread.join()
    assert counts == sorted(counts)
    assert check_whole(log, SHARD) == 43
    store.close()


def test_the_map_has_a_limit_and_the_log_lives_on_at_it(tmp_path):
    """A full map is a full disk: refused with nothing half applied, reads go on, and a larger limit takes more."""
    store = open_store(tmp_path / "log", map_bytes_max=2 << 20)
    log = store.log(SHARD)
    with pytest.raises(DiskFull) as caught:
        for _ in range(100):
            append(log, SHARD, size=100_000)
    assert "limit of 2097152 bytes" in caught.value.limit
    held = check_whole(log, SHARD, 100_000)
    assert held >= 8
    with pytest.raises(DiskFull):
        append(log, SHARD, size=1_000_000)
    store.close()
    store = open_store(tmp_path / "log", map_bytes_max=8 << 20)
    assert append(store.log(SHARD), SHARD, size=100_000) == held + 1
    assert check_whole(store.log(SHARD), SHARD, 100_000) == held + 1
    store.close()


# The in-memory implementation plays a failing disk.


def test_a_fault_of_the_memory_log_leaves_it_as_it_was():
    def fault(count: int) -> None:
        if count == 3:
            raise DiskFull("memory", 0)
        if count == 5:
            raise LogFailed("memory", "input/output error")

    store = MemoryStore(suite=1, genesis_hash=GENESIS, fault=fault)
    log = store.log(SHARD)
    append(log, SHARD)
    append(log, SHARD)
    with pytest.raises(DiskFull):
        append(log, SHARD)
    assert append(log, SHARD) == 3
    with pytest.raises(LogFailed):
        append(log, SHARD)
    assert check_whole(log, SHARD) == 3


def damaged(number: int, change) -> MemoryStore:
    """A log of eight records of which one was changed behind its back."""
    store = MemoryStore(suite=1, genesis_hash=GENESIS)
    append(store.log(SHARD), SHARD, 8)
    store.stored[SHARD][number] = change(store.stored[SHARD][number])
    return store


def flipped(offset: int):
    def change(data: bytes) -> bytes:
        return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]

    return change


@pytest.mark.parametrize("offset", [0, 4, 6, 8, 12, 16, 24, 32, 40, 72, 104, 136, 151, 152, 300])
@pytest.mark.parametrize("number", [2, 8])
def test_a_reader_stops_at_a_flipped_bit_and_never_skips(number, offset):
    log = damaged(number, flipped(offset)).log(SHARD)
    read = []
    with pytest.raises((LogCorrupt, TornTail)) as caught:
        read.extend(record.number for record in log.read(1))
    # A field of the header that only the next record vouches for is met there.
    assert caught.value.number in {number, number + 1}
    assert read in ([*range(1, number)], [*range(1, number + 1)])


def test_a_reader_stops_at_a_gap():
    store = MemoryStore(suite=1, genesis_hash=GENESIS)
    log = store.log(SHARD)
    append(log, SHARD, 8)
    del store.stored[SHARD][5]
    with pytest.raises(LogGap) as caught:
        list(log.read(1))
    assert caught.value.number == 5
    with pytest.raises(LogGap) as caught:
        list(log.read(6))
    assert caught.value.number == 5
    del store.stored[SHARD][8]
    with pytest.raises(LogGap) as caught:
        list(log.read(7))
    assert caught.value.number == 8


def test_a_short_last_record_is_torn_and_a_short_middle_one_is_corrupt():
    with pytest.raises(TornTail):
        list(damaged(8, lambda data: data[:-1]).log(SHARD).read(1))
    with pytest.raises(LogCorrupt):
        list(damaged(4, lambda data: data[:-1]).log(SHARD).read(1))
    with pytest.raises(TornTail):
        list(damaged(8, lambda data: data[:100]).log(SHARD).read(1))


def test_a_record_in_anothers_place_is_corrupt():
    store = MemoryStore(suite=1, genesis_hash=GENESIS)
    for shard in SHARDS:
        append(store.log(shard), shard, 4)
    mine, other = store.stored[SHARD], store.stored[OTHER]
    for foreign in (mine[2], other[3], encode_record(record_of(SHARD, 3, bytes(32)))):
        mine[3] = foreign
        with pytest.raises(LogCorrupt) as caught:
            list(store.log(SHARD).read(1))
        assert caught.value.number == 3


# The bytes of a record.


def test_a_records_bytes_are_those_of_the_specification():
    """Golden bytes of LOG: offsets, little-endian, and hashes computed here by hand from the layout."""
    body = b"seven b"
    record = LogRecord.make(
        suite=1, genesis_hash=GENESIS, shard=0x101, epoch=2, number=3, time=4, kind=RecordKind.ADMIN,
        previous_hash=b"p" * 32, body=body,
    )  # fmt: skip
    expected = (
        b"CSLR"
        b"\x01\x00"
        b"\x04\x00"
        b"\x01\x01\x00\x00"
        b"\x02\x00\x00\x00"
        + (3).to_bytes(8, "little")
        + (4).to_bytes(8, "little")
        + (7).to_bytes(8, "little")
        + GENESIS
        + b"p" * 32
        + digest(1, body)
        + bytes(16)
    )
    assert len(expected) == RECORD_HEADER_BYTES
    assert record.encode_header() == expected
    assert record.hash == digest(1, expected)
    assert encode_record(record) == expected + body
    assert decode_record(memoryview(expected + body), suite=1, genesis_hash=GENESIS) == record


@pytest.mark.parametrize("cut", [0, 1, 151])
def test_a_cut_header_is_no_record(cut):
    data = encode_record(record_of(SHARD, 1, bytes(32)))
    with pytest.raises(RecordMalformed) as caught:
        decode_record(data[:cut], suite=1, genesis_hash=GENESIS)
    assert caught.value.what == "header"


def test_every_byte_of_a_first_records_fixed_fields_is_checked():
    record = record_of(SHARD, 1, bytes(32), size=40)
    data = encode_record(record)
    for offset in range(len(data)):
        if 12 <= offset < 16 or 24 <= offset < 32:
            # Epoch and time are free; the chain vouches for them.
            continue
        for bit in range(8):
            bad = bytearray(data)
            bad[offset] ^= 1 << bit
            if offset == 6 and bad[6] in list(RecordKind) and bad[7] == 0:
                continue
            with pytest.raises(RecordMalformed):
                decode_record(bytes(bad), suite=1, genesis_hash=GENESIS, shard=SHARD, number=1)


def test_a_record_refuses_fields_out_of_range():
    for fields in ({"epoch": 0}, {"epoch": 2**32}, {"number": 0}, {"time": -1}, {"body": bytes(BODY_BYTES_MAX + 1)}):
        with pytest.raises(RecordMalformed):
            record_of(SHARD, fields.pop("number", 1), bytes(32), **fields)


def test_both_suites_hash():
    assert digest(1, b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    pytest.importorskip("native.hashing", reason="the extension native.hashing is not built")
    assert digest(2, b"abc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    with pytest.raises(UnknownSuite):
        digest(3, b"abc")


def test_a_log_of_the_other_suite_lives_in_lmdb(tmp_path):
    pytest.importorskip("native.hashing", reason="the extension native.hashing is not built")
    from engine.lmdb_log import LmdbStore

    previous, records = bytes(32), []
    for number in range(1, 5):
        records.append(record_of(SHARD, number, previous, suite=2))
        previous = records[-1].hash
    for _ in range(2):
        store = LmdbStore(tmp_path / "log", suite=2, genesis_hash=GENESIS)
        log = store.log(SHARD)
        if log.last()[0] == 0:
            log.append(records, 1, 1)
        assert [record.hash for record in log.read(1)] == [record.hash for record in records]
        store.close()


def test_the_tip_of_nothing_is_zero():
    assert (EMPTY_TIP.number, EMPTY_TIP.fence, EMPTY_TIP.hash) == (0, 0, bytes(32))
