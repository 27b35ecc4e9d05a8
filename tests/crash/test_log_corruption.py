"""A damaged log is named with its place and its kind, and never ends the process that opens it."""

from __future__ import annotations

import os
import random
import shutil
import stat
import sys
from pathlib import Path

import lmdb
import pytest

from engine.errors import LogCorrupt, LogDamaged, LogFailed, LogGap, LogRolledBack, TornTail
from engine.lmdb_examine import examine
from engine.lmdb_layout import LAST_FILE, TIPS_NAME, encode_tip, number_key, shard_key, shard_name
from engine.log import Tip, encode_record
from engine.log_check import Anchor, check_log
from tests.crash.logs import GENESIS, SHARDS, append, check_whole, open_store, record_of, records_after

SHARD, OTHER = SHARDS
PAGE = os.sysconf("SC_PAGE_SIZE")
WHOLE = {str(SHARD): 12, str(OTHER): 7}


@pytest.fixture
def stored(written):
    """The bytes of every record of the first shard, by number, as they stand in the file."""
    store = open_store(written)
    values = {record.number: encode_record(record) for record in store.log(SHARD).read(1)}
    store.close()
    return values


def places(data: bytes, value: bytes) -> list[int]:
    """Every place of a record in the file: a small one may also stand on pages that are no longer in use."""
    found, at = [], data.find(value)
    while at >= 0:
        found.append(at)
        at = data.find(value, at + 1)
    assert found
    return found


class Changed:
    """The data file with bytes changed at places, put back at the end."""

    def __init__(self, path: Path, changes: dict[int, bytes]) -> None:
        self._path, self._changes, self._saved = path / "data.mdb", changes, {}

    def __enter__(self) -> None:
        with self._path.open("r+b") as file:
            for at, new in self._changes.items():
                file.seek(at)
                self._saved[at] = file.read(len(new))
                file.seek(at)
                file.write(new)

    def __exit__(self, *_: object) -> None:
        with self._path.open("r+b") as file:
            for at, old in self._saved.items():
                file.seek(at)
                file.write(old)


def flip(data: bytes, places_: list[int], bit: int) -> dict[int, bytes]:
    return {at + bit // 8: bytes([data[at + bit // 8] ^ (1 << bit % 8)]) for at in places_}


def test_a_whole_log_is_whole(written, prober):
    report = prober.probe(written)
    assert report["finding"] is None
    assert report["numbers"] == WHOLE
    assert report["records"] == 19


@pytest.mark.parametrize("number", [4, 12])
def test_each_bit_of_a_header_is_covered(written, stored, prober, number):
    """Goal: no bit of a header may change unseen, the last record's included. Method: flip all 1,216 of each, one by one."""
    data = (written / "data.mdb").read_bytes()
    at = places(data, stored[number])
    for bit in range(152 * 8):
        with Changed(written, flip(data, at, bit)):
            finding = prober.probe(written)["finding"]
        assert finding is not None, bit
        assert (finding["kind"], finding["shard"], finding["number"]) == ("corrupt", SHARD, number), (bit, finding)
        assert finding["found"] and finding["expected"]
    assert prober.probe(written)["finding"] is None
    assert prober.deaths == 0


@pytest.mark.parametrize(
    ("offset", "name"),
    [(0, "magic"), (4, "version"), (8, "shard"), (16, "number"), (40, "genesis hash"), (136, "zero")],
)
def test_a_damaged_field_is_named_with_its_offset(written, stored, prober, offset, name):
    data = (written / "data.mdb").read_bytes()
    with Changed(written, flip(data, places(data, stored[4]), offset * 8 + 3)):
        finding = prober.probe(written)["finding"]
    assert (finding["what"], finding["offset"]) == (f"header: {name}", offset)


def test_a_sample_of_body_bits_is_covered(written, stored, prober, nightly):
    data = (written / "data.mdb").read_bytes()
    chance = random.Random(4)
    for number, value in stored.items():
        bits = (len(value) - 152) * 8
        for bit in {chance.randrange(bits) for _ in range(2_000 if nightly else 60)} if bits else ():
            with Changed(written, flip(data, places(data, value), 152 * 8 + bit)):
                finding = prober.probe(written)["finding"]
            assert (finding["kind"], finding["what"], finding["shard"], finding["number"]) == (
                "corrupt",
                "body",
                SHARD,
                number,
            )


def test_a_file_cut_at_any_length_is_a_torn_tail(written, prober, nightly):
    """Goal: a cut file is told from a flipped bit before a page is touched. Method: cut at page borders, beside them, anywhere."""
    path = written / "data.mdb"
    data = path.read_bytes()
    used = examine(written).pages * PAGE
    chance = random.Random(5)
    lengths = {used - 1, used - PAGE, 0, 1, 100, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE - 1, 2 * PAGE, 2 * PAGE + 1}
    lengths |= {chance.randrange(used) for _ in range(2_000 if nightly else 200)} | {
        page * PAGE for page in range(0, used // PAGE, 3)
    }
    for length in sorted(lengths, reverse=True):
        os.truncate(path, length)
        finding = prober.probe(written)["finding"]
        assert finding is not None, length
        assert finding["kind"] == "torn tail", (length, finding)
    path.write_bytes(data)
    os.truncate(path, used)
    assert prober.probe(written)["numbers"] == WHOLE, "space taken ahead holds nothing"
    assert prober.deaths == 0


def test_a_zeroed_page_is_found_or_was_free(written, stored, prober):
    data = (written / "data.mdb").read_bytes()
    found = set()
    for page in range(examine(written).pages):
        with Changed(written, {page * PAGE: bytes(PAGE)}):
            report = prober.probe(written)
        if report["finding"] is not None:
            found.add(page)
        else:
            assert report["numbers"] == WHOLE
            assert report["records"] == 19
    assert {0, 1} <= found
    for number in (4, 10):
        first, last = (
            at // PAGE
            for at in (places(data, stored[number])[0], places(data, stored[number])[0] + len(stored[number]) - 1)
        )
        assert set(range(first, last + 1)) <= found


def test_random_damage_anywhere_is_found_or_harmless(written, prober, nightly):
    """Goal: no damage of the file ends the caller or passes for another log. Method: random bits, bytes and runs, all pages."""
    path = written / "data.mdb"
    used = examine(written).pages * PAGE
    seed = random.SystemRandom().randrange(1 << 32) if nightly else 6
    chance = random.Random(seed)
    found = 0
    cases = 50_000 if nightly else 3_000
    for case in range(cases):
        size = chance.choice((1, 1, 2, 8, 64, 600))
        # Every other case goes for the pages that lead to the others: the metas and the trees' headers.
        at = (
            chance.randrange(used - size) if case % 2 else chance.randrange(used // PAGE) * PAGE + chance.randrange(200)
        )
        with Changed(written, {at: chance.randbytes(size)}):
            report = prober.probe(written)
        if report["finding"] is None:
            assert report["numbers"] == WHOLE, f"seed {seed}, case {case}, at {at}"
            assert report["records"] == 19
        else:
            found += 1
    assert found > cases // 5
    assert prober.probe(written)["numbers"] == WHOLE
    assert path.stat().st_size >= used


def test_swapped_bodies_are_found(written, prober, tmp_path):
    """Two records of one size change places, byte for byte."""
    store = open_store(tmp_path / "swap")
    append(store.log(SHARD), SHARD, 6, size=20_000)
    values = [encode_record(record) for record in store.log(SHARD).read(1)]
    store.close()
    data = (tmp_path / "swap" / "data.mdb").read_bytes()
    second, fifth = (places(data, values[index]) for index in (1, 4))
    with Changed(tmp_path / "swap", {second[0]: values[4], fifth[0]: values[1]}):
        finding = prober.probe(tmp_path / "swap")["finding"]
    assert (finding["kind"], finding["number"], finding["what"]) == ("corrupt", 5, "header: number")


# What somebody with the right tool could do: the pages are sound, the records are not.


class Edit:
    """The log's environment, open for changes that no writer of ours makes."""

    def __init__(self, path: Path) -> None:
        self.environment = lmdb.open(str(path), map_size=1 << 30, max_dbs=8, lib_version=0)
        self.records = {shard: self.environment.open_db(shard_name(shard), create=False) for shard in SHARDS}
        self.tips = self.environment.open_db(TIPS_NAME, create=False)

    def __enter__(self):
        self._txn = self.environment.begin(write=True)
        return self

    def __exit__(self, *_):
        self._txn.commit()
        self.environment.close()

    def get(self, shard, number):
        return self._txn.get(number_key(number), db=self.records[shard])

    def put(self, shard, number, value):
        self._txn.put(number_key(number), value, db=self.records[shard])

    def delete(self, shard, number):
        assert self._txn.delete(number_key(number), db=self.records[shard])

    def tip(self, shard, tip):
        self._txn.put(shard_key(shard), encode_tip(tip, 1, shard), db=self.tips)


def finding_of(prober, path, **request):
    finding = prober.probe(path, **request)["finding"]
    return finding and (finding["kind"], finding["shard"], finding["number"])


def test_records_in_wrong_places_are_found(written, prober, tmp_path):
    changes = {
        "of another shard": lambda edit: edit.put(SHARD, 3, edit.get(OTHER, 3)),
        "of another number": lambda edit: edit.put(SHARD, 3, edit.get(SHARD, 5)),
        "of another epoch": lambda edit: edit.put(
            SHARD, 3, encode_record(record_of(SHARD, 3, bytes(edit.get(SHARD, 3)[72:104]), epoch=2))
        ),
        "cut short": lambda edit: edit.put(SHARD, 3, edit.get(SHARD, 3)[:-1]),
        "too long": lambda edit: edit.put(SHARD, 3, edit.get(SHARD, 3) + b"x"),
        "with other content, well formed": lambda edit: edit.put(
            SHARD, 3, encode_record(record_of(SHARD, 3, bytes(edit.get(SHARD, 3)[72:104]), size=99))
        ),
        "empty": lambda edit: edit.put(SHARD, 3, b""),
    }
    for name, change in changes.items():
        path = tmp_path / name.replace(" ", "-")
        shutil.copytree(written, path)
        with Edit(path) as edit:
            change(edit)
        assert finding_of(prober, path) == ("corrupt", SHARD, 3), name


def test_missing_and_added_records_are_found(written, prober, tmp_path):
    cases = {
        "middle": (lambda edit: edit.delete(SHARD, 5), ("gap", SHARD, 5)),
        "first": (lambda edit: edit.delete(SHARD, 1), ("gap", SHARD, 1)),
        "last": (lambda edit: edit.delete(SHARD, 12), ("gap", SHARD, 12)),
        "short last": (lambda edit: edit.put(SHARD, 10, edit.get(SHARD, 10)[:-1]), ("corrupt", SHARD, 10)),
        "torn last": (lambda edit: edit.put(OTHER, 7, edit.get(OTHER, 7)[:-1]), ("torn tail", OTHER, 7)),
        "torn header": (lambda edit: edit.put(OTHER, 7, edit.get(OTHER, 7)[:151]), ("torn tail", OTHER, 7)),
        "added": (lambda edit: edit.put(SHARD, 13, edit.get(SHARD, 12)), ("corrupt", SHARD, 13)),
    }
    for name, (change, expected) in cases.items():
        path = tmp_path / name.replace(" ", "-")
        shutil.copytree(written, path)
        with Edit(path) as edit:
            change(edit)
        assert finding_of(prober, path) == expected, name


def test_a_gap_before_the_anchor_is_found_without_reading_there(written, prober, tmp_path):
    """The count of records says that one is missing, though the check begins after it."""
    store = open_store(written)
    hash_ = list(store.log(SHARD).read(8))[0].hash
    store.close()
    with Edit(written) as edit:
        edit.delete(SHARD, 3)
    assert finding_of(prober, written, full=False, anchors=[f"{SHARD}:8:{hash_.hex()}"]) == ("gap", SHARD, 8)
    assert finding_of(prober, written) == ("gap", SHARD, 3)


def test_an_old_copy_is_rolled_back(written, prober, tmp_path):
    """Goal: a sound but old file is not the log. Method: put back a copy taken before the last appends; LAST and a checkpoint know better."""
    store = open_store(written)
    anchor = store.log(SHARD).last()
    store.close()
    old = (written / "data.mdb").read_bytes()
    store = open_store(written)
    append(store.log(SHARD), SHARD, 2)
    newer = store.log(SHARD).last()
    store.close()
    (written / "data.mdb").write_bytes(old)
    assert finding_of(prober, written) == ("rolled back", SHARD, 14)
    (written / LAST_FILE).unlink()
    assert finding_of(prober, written, anchors=[f"{SHARD}:14:{newer[1].hex()}"]) == ("rolled back", SHARD, 14)
    assert finding_of(prober, written, anchors=[f"{SHARD}:12:{anchor[1].hex()}"]) is None
    (written / "data.mdb").unlink()
    assert finding_of(prober, written, anchors=[f"{SHARD}:12:{anchor[1].hex()}"]) == ("rolled back", SHARD, 12)


def test_a_tip_wound_back_with_its_record_is_rolled_back(written, prober):
    with Edit(written) as edit:
        last = edit.get(SHARD, 12)
        edit.delete(SHARD, 12)
        edit.tip(SHARD, Tip(11, 11_000, 1, 1, bytes(last[72:104])))
    assert finding_of(prober, written) == ("rolled back", SHARD, 12)


def test_another_record_at_an_anchor_is_found(written, prober):
    assert finding_of(prober, written, anchors=[f"{SHARD}:9:{'ab' * 32}"]) == ("corrupt", SHARD, 9)


def test_another_networks_log_is_not_ours(written):
    with pytest.raises(LogCorrupt) as caught:
        check_log(written, suite=1, genesis_hash=bytes(32), full=True)
    assert "genesis hash" in caught.value.what


def test_an_unreadable_last_is_no_fault(written, prober):
    """After a power cut it may hold anything: it witnesses or it is silent."""
    for content in (b"", b"CSLL", bytes(200), (written / LAST_FILE).read_bytes()[:-1]):
        (written / LAST_FILE).write_bytes(content)
        assert prober.probe(written)["finding"] is None


# The opening itself.


def test_opening_a_damaged_log_raises_what_it_is(written, stored):
    data = (written / "data.mdb").read_bytes()
    for number, expected in ((10, LogCorrupt), (4, LogCorrupt)):
        with Changed(written, flip(data, places(data, stored[number]), 200 * 8)), pytest.raises(expected) as caught:
            open_store(written)
        error = caught.value
        assert (error.shard, error.number, error.what) == (SHARD, number, "body")
        assert str(written) in str(error) and "Next:" in str(error) and f"record {number}" in str(error)
    os.truncate(written / "data.mdb", 8 * PAGE)
    with pytest.raises(TornTail):
        open_store(written)
    (written / "data.mdb").write_bytes(b"")
    with pytest.raises(TornTail):
        open_store(written)
    (written / "data.mdb").write_bytes(data)
    store = open_store(written)
    assert check_whole(store.log(SHARD), SHARD) == 12
    store.close()


def test_gap_and_rollback_are_raised_too(written):
    with pytest.raises(LogRolledBack) as caught:
        open_store(written, anchors=[Anchor(SHARD, 99, bytes(32))])
    assert caught.value.number == 99
    with Edit(written) as edit:
        edit.delete(SHARD, 6)
    with pytest.raises(LogGap) as gap:
        open_store(written)
    assert gap.value.number == 6


def test_a_check_from_an_anchor_reads_only_what_follows(written):
    store = open_store(written)
    hash_ = next(iter(store.log(SHARD).read(10))).hash
    store.close()
    report = check_log(written, suite=1, genesis_hash=GENESIS, anchors=[Anchor(SHARD, 10, hash_)])
    assert report.records == 3 + 7
    assert report.numbers == {SHARD: 12, OTHER: 7}


def stand_in(tmp_path: Path, script: str) -> str:
    """A program in the interpreter's place, which does to itself what a damaged page would."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize("signal", ["BUS", "SEGV", "ABRT"])
def test_a_reader_that_dies_of_the_file_is_a_finding(written, tmp_path, monkeypatch, signal):
    monkeypatch.setattr(sys, "executable", stand_in(tmp_path, f"kill -{signal} $$"))
    with pytest.raises(LogCorrupt) as caught:
        open_store(written)
    assert caught.value.what == f"page structure: its reader was ended by SIG{signal}"


def test_a_check_that_cannot_run_is_no_verdict(written, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", stand_in(tmp_path, "echo no interpreter >&2; exit 1"))
    with pytest.raises(LogFailed) as caught:
        open_store(written)
    assert not isinstance(caught.value, LogDamaged)
    assert "no interpreter" in caught.value.reason


def test_a_check_changes_nothing(written):
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in written.iterdir()}
    check_log(written, suite=1, genesis_hash=GENESIS, full=True)
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in written.iterdir()} == before


def test_an_append_after_a_reopened_log_goes_on(written):
    store = open_store(written)
    records = records_after(store.log(SHARD), SHARD, 1)
    assert store.log(SHARD).append(records, 13, 1) == 13
    assert check_whole(store.log(SHARD), SHARD) == 13
    store.close()
