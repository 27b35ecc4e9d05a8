"""``python -m engine.probe``: read a log from its end to its start, and say in one JSON object what is wrong with it.

It runs in a process of its own and loads little. Each shard is walked backwards: the stored tip authenticates the last
header, each header the one before it, so that a finding names the very record and not its neighbour. Nothing is
written and no lock is taken; the caller holds the data directory. Exit code 0: sound, 4: a finding.

With ``--requests`` it answers one JSON request a line, ``{"path", "suite", "genesis", "anchors", "full"}``, until its
input ends.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import lmdb

from engine.errors import LogCorrupt, LogDamaged, LogGap, LogRolledBack, RecordMalformed, TornTail
from engine.hashing import digest
from engine.lmdb_examine import DATA_FILE, LMDB_ENGINE, examine
from engine.lmdb_layout import LAST_FILE, TIPS_NAME, decode_last, decode_tip, number_key, shard_of_name
from engine.log import EMPTY_TIP, Tip
from engine.log_record import RECORD_HEADER_BYTES, decode_record
from engine.types import HASH_BYTES, ZERO_HASH

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "probe"]

_FOUND_EXIT_CODE: Final = 4
_NAMED_MAX: Final = 260
_FIELDS: Final = struct.Struct("<12xIQQQ32x32s32s16x")  # epoch, number, time, body length, previous and body hash
assert _FIELDS.size == RECORD_HEADER_BYTES
# The walk of the page trees reads a page for each large value: beyond this size only a full check does it.
_WALK_BYTES_MAX: Final = 16 << 30


def probe(
    folder: Path, *, suite: int, genesis_hash: bytes, anchors: Sequence[tuple[int, int, bytes]] = (), full: bool = False
) -> dict[str, Any]:
    """Return the report on a log: ``finding`` (None when it is sound), ``numbers``, ``records``, ``bytes``, ``pages``.

    ``anchors`` are (shard, number, hash) of records known from elsewhere; each shard is checked from its anchor on,
    one without an anchor, or with ``full`` every one, from record 1.
    """
    check = _Check(folder, suite, genesis_hash, anchors, full=full)
    finding = None
    try:
        check.run()
    except LogDamaged as error:
        finding = {
            "kind": error.kind,
            "what": error.what,
            "shard": error.shard,
            "number": error.number,
            "offset": error.offset,
            "found": error.found,
            "expected": error.expected,
        }
    return {
        "finding": finding,
        "numbers": check.numbers,
        "records": check.records,
        "bytes": check.bytes,
        "pages": check.pages,
    }


class _Check:
    """One check of one folder; raises the first finding."""

    def __init__(
        self, folder: Path, suite: int, genesis_hash: bytes, anchors: Sequence[tuple[int, int, bytes]], *, full: bool
    ) -> None:
        self.folder = folder
        self.path = str(folder)
        self.suite = suite
        self.genesis_hash = genesis_hash
        self.full = full
        self.anchors: dict[int, dict[int, bytes]] = {}
        for shard, number, hash_ in anchors:
            self.anchors.setdefault(shard, {})[number] = hash_
        self.numbers: dict[int, int] = {}
        self.records = self.bytes = self.pages = 0

    def run(self) -> None:
        """Check the file, then the tips, then each shard's chain."""
        data = self.folder / DATA_FILE
        size = data.stat().st_size if data.exists() else 0
        examined = examine(self.folder, walk=self.full or size <= _WALK_BYTES_MAX)
        if examined.torn:
            raise TornTail(self.path, examined.finding)
        if examined.finding:
            raise LogCorrupt(self.path, examined.finding)
        self.pages = examined.pages
        last = self._read_last()
        if examined.empty:
            if any(number for number, _ in last.values()):
                raise TornTail(self.path, "the data file is missing or empty, and LAST says that there were records")
            self._demand_known({}, last)
            return
        try:
            with lmdb.open(
                self.path,
                map_size=size,
                max_dbs=_NAMED_MAX,
                readonly=True,
                lock=False,
                create=False,
                lib_version=LMDB_ENGINE,
            ) as environment:
                self._check_shards(environment, last)
        except lmdb.Error as error:
            raise LogCorrupt(self.path, f"page structure: {error}") from error

    def _check_shards(self, environment: lmdb.Environment, last: dict[int, tuple[int, bytes]]) -> None:
        names = environment.dbs()
        shards = {shard: name for name in names if (shard := shard_of_name(name)) is not None}
        # Opened before the transaction that uses them: a handle is known only to those that begin after it.
        databases = {shard: environment.open_db(name, create=False) for shard, name in shards.items()}
        tips_database = environment.open_db(TIPS_NAME, create=False) if TIPS_NAME in names else None
        tips: dict[int, Tip] = {}
        with environment.begin(buffers=True) as txn:
            if tips_database is not None:
                with txn.cursor(tips_database) as cursor:
                    for key, value in cursor:
                        shard = int.from_bytes(key, "big")
                        tips[shard] = decode_tip(bytes(value), self.suite, shard, self.path)
            self._demand_known(tips, last)
            for shard in sorted(set(tips) | set(databases)):
                tip = tips.get(shard, EMPTY_TIP)
                self.numbers[shard] = tip.number
                if shard in databases:
                    self._check_chain(txn, databases[shard], shard, tip)
                elif tip.number:
                    raise LogGap(self.path, "missing, and all records before it", shard=shard, number=tip.number)

    def _demand_known(self, tips: dict[int, Tip], last: dict[int, tuple[int, bytes]]) -> None:
        """Demand that every record known from elsewhere, by an anchor or by LAST, is not after the log's end."""
        for shard, anchors in self.anchors.items():
            end = tips.get(shard, EMPTY_TIP).number
            if max(anchors) > end:
                raise LogRolledBack(self.path, f"the log ends at {end}", shard=shard, number=max(anchors))
        for shard, (number, hash_) in last.items():
            tip = tips.get(shard, EMPTY_TIP)
            if tip.number < number:
                raise LogRolledBack(self.path, f"the log ends at {tip.number}", shard=shard, number=number)
            if tip.number == number and tip.hash != hash_:
                raise LogCorrupt(self.path, "it is not the record that LAST names", shard=shard, number=number)

    def _check_chain(self, txn: lmdb.Transaction[memoryview], database: lmdb._Database, shard: int, tip: Tip) -> None:
        """Walk one shard's records from its tip down to its earliest anchor or record 1."""
        anchors = self.anchors.get(shard, {})
        start = 1 if self.full or not anchors else min(anchors)
        with txn.cursor(database) as cursor:
            found = cursor.last()
            end = int.from_bytes(cursor.key(), "big") if found else 0
            if end > tip.number:
                raise LogCorrupt(self.path, f"it stands after the log's end at {tip.number}", shard=shard, number=end)
            newer = _Newer(tip.number, tip.hash, tip.epoch, tip.time)
            for number in range(tip.number, start - 1, -1):
                if not found or bytes(cursor.key()) != number_key(number):
                    raise LogGap(self.path, "missing", shard=shard, number=number)
                if anchors.get(number, newer.previous_hash) != newer.previous_hash:
                    raise LogCorrupt(
                        self.path,
                        "it is not the record that is known from elsewhere",
                        shard=shard,
                        number=number,
                        found=newer.previous_hash.hex(),
                        expected=anchors[number].hex(),
                    )
                value = cursor.value()
                newer = self._check_record(value, shard, number, newer)
                self.records += 1
                self.bytes += len(value)
                found = cursor.prev()
        if start == 1 and newer.previous_hash != ZERO_HASH:
            raise LogCorrupt(self.path, "the first record names one before it", shard=shard, number=1)
        stored = txn.stat(database)["entries"]
        if stored != tip.number:
            raise LogGap(self.path, f"{tip.number - stored} records before it are missing", shard=shard, number=start)

    def _check_record(self, value: memoryview, shard: int, number: int, newer: _Newer) -> _Newer:
        """Check one record whose header must have the hash that the one after it names."""
        path = self.path
        torn = TornTail if number == newer.end else LogCorrupt
        header, body = value[:RECORD_HEADER_BYTES], value[RECORD_HEADER_BYTES:]
        if len(header) < RECORD_HEADER_BYTES:
            size = f"{len(header)} bytes"
            raise torn(path, "header cut short", shard=shard, number=number, found=size, expected="152 bytes")
        found, wanted = digest(self.suite, header), newer.previous_hash
        if found != wanted:
            what, offset = self._damaged_field(value, shard, number)
            raise LogCorrupt(
                path, what, shard=shard, number=number, offset=offset, found=found.hex(), expected=wanted.hex()
            )
        # From here on every byte of the header is what was written: whatever differs is the body's fault.
        epoch, _, time, body_bytes, previous_hash, body_hash = _FIELDS.unpack_from(header)
        if len(body) != body_bytes:
            kind = torn if len(body) < body_bytes else LogCorrupt
            size = f"{len(body)} bytes"
            raise kind(path, "body length", shard=shard, number=number, found=size, expected=f"{body_bytes} bytes")
        found = digest(self.suite, body)
        if found != body_hash:
            raise LogCorrupt(path, "body", shard=shard, number=number, found=found.hex(), expected=body_hash.hex())
        if epoch > newer.epoch or time > newer.time:
            raise LogCorrupt(path, "epoch or time runs backwards after it", shard=shard, number=number)
        self._decode(value, shard, number)
        return _Newer(newer.end, previous_hash, epoch, time)

    def _decode(self, value: memoryview, shard: int, number: int) -> None:
        """Ask of bytes that are what was written whether they are a record of this log at all."""
        try:
            decode_record(
                value,
                suite=self.suite,
                genesis_hash=self.genesis_hash,
                shard=shard,
                number=number,
                hash_body=False,
            )
        except RecordMalformed as error:
            raise LogCorrupt(self.path, f"not of this log: {error}", shard=shard, number=number) from error

    def _damaged_field(self, value: memoryview, shard: int, number: int) -> tuple[str, int | None]:
        """Name the field of a damaged header where it can be told: one that contradicts where the record stands."""
        try:
            decode_record(value, suite=self.suite, genesis_hash=self.genesis_hash, shard=shard, number=number)
        except RecordMalformed as error:
            return f"header: {error.what}", error.offset
        return "header: kind, epoch, time or previous hash", None

    def _read_last(self) -> dict[int, tuple[int, bytes]]:
        path = self.folder / LAST_FILE
        return (decode_last(path.read_bytes(), self.suite) if path.exists() else None) or {}


class _Newer(NamedTuple):
    """What the record after (at first: the tip) says of the one now looked at; ``end`` is the tip's number."""

    end: int
    previous_hash: bytes
    epoch: int
    time: int


def _anchor(text: str) -> tuple[int, int, bytes]:
    shard, number, hash_ = text.split(":")
    if len(bytes.fromhex(hash_)) != HASH_BYTES:
        raise argparse.ArgumentTypeError(f"{text}: a hash has 32 bytes")
    return int(shard), int(number), bytes.fromhex(hash_)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    return probe(
        Path(request["path"]),
        suite=request["suite"],
        genesis_hash=bytes.fromhex(request["genesis"]),
        anchors=[_anchor(one) for one in request.get("anchors", ())],
        full=request.get("full", False),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one log, or answer requests; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m engine.probe", description="Check a log and report as JSON.")
    parser.add_argument("path", type=Path, nargs="?", help="folder of the log")
    parser.add_argument("--suite", type=int, default=1, help="hash suite of the network")
    parser.add_argument("--genesis", default="", help="genesis hash, hex")
    parser.add_argument(
        "--anchor", type=_anchor, action="append", default=[], help="shard:number:hash of a known record"
    )
    parser.add_argument("--full", action="store_true", help="check every record, not only those after the anchors")
    parser.add_argument("--requests", action="store_true", help="answer one JSON request a line")
    options = parser.parse_args(arguments)
    if options.requests:
        for line in sys.stdin:
            sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
            sys.stdout.flush()
        return 0
    if options.path is None or len(options.genesis) != 2 * HASH_BYTES:
        parser.error("a folder and --genesis with 64 hex digits are needed")
    report = probe(
        options.path,
        suite=options.suite,
        genesis_hash=bytes.fromhex(options.genesis),
        anchors=options.anchor,
        full=options.full,
    )
    sys.stdout.write(json.dumps(report) + "\n")
    return _FOUND_EXIT_CODE if report["finding"] else 0


if __name__ == "__main__":
    sys.exit(main())
