"""Records whose content follows from their number, so that any reader can tell what a log must hold; and a prober."""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
from pathlib import Path

from engine.lmdb_log import LmdbStore
from engine.log import LogRecord, RecordKind

ROOT = Path(__file__).resolve().parent.parent.parent
GENESIS = hashlib.sha256(b"a network for tests").digest()
SHARDS = (257, 258)
KINDS = (RecordKind.BATCH, RecordKind.CREDITS, RecordKind.RELAY_BLOCK, RecordKind.ADMIN)


def body_of(shard: int, number: int, size: int | None = None) -> bytes:
    """The body of a record: sizes from nothing to several pages in turn, unless one is asked for."""
    if size is None:
        size = (0, 9, 700, 5_000, 70_000, 33)[number % 6]
    return hashlib.shake_128(f"{shard}/{number}".encode()).digest(size)


def record_of(
    shard: int, number: int, previous_hash: bytes, *, epoch: int = 1, size: int | None = None, **fields
) -> LogRecord:
    body = body_of(shard, number, size)
    values = {
        "suite": 1, "genesis_hash": GENESIS, "shard": shard, "epoch": epoch, "number": number, "time": 1_000 * number,
        "kind": RecordKind.SEAL if not body else KINDS[number % 4], "previous_hash": previous_hash, "body": body,
    }  # fmt: skip
    return LogRecord.make(**{**values, **fields})


def records_after(log, shard: int, count: int, *, epoch: int = 1, size: int | None = None) -> list[LogRecord]:
    """The next records of a log, chained to its end."""
    number, previous_hash = log.last()
    records = []
    for _ in range(count):
        number += 1
        records.append(record_of(shard, number, previous_hash, epoch=epoch, size=size))
        previous_hash = records[-1].hash
    return records


def append(log, shard: int, count: int = 1, *, epoch: int = 1, size: int | None = None) -> int:
    records = records_after(log, shard, count, epoch=epoch, size=size)
    return log.append(records, records[0].number, epoch)


def open_store(path: Path, **options) -> LmdbStore:
    return LmdbStore(path, suite=1, genesis_hash=GENESIS, **options)


def check_whole(log, shard: int, size: int | None = None) -> int:
    """Read a log from its start, demand that every record is the one its number says, and return how many there are."""
    count = 0
    for count, record in enumerate(log.read(1), 1):
        assert (record.shard, record.number) == (shard, count)
        assert bytes(record.body) == body_of(shard, count, size)
    assert log.last()[0] == count
    return count


class Prober:
    """A child that answers probe after probe, and is started again when a damaged file ends it."""

    def __init__(self) -> None:
        self.deaths = 0
        self._child: subprocess.Popen[bytes] | None = None

    def probe(self, path: Path, **request) -> dict:
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "engine.probe", "--requests"], cwd=ROOT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        child = self._child
        line = json.dumps({"path": str(path), "suite": 1, "genesis": GENESIS.hex(), "full": True, **request}) + "\n"
        os.write(child.stdin.fileno(), line.encode())
        ready, _, _ = select.select([child.stdout], [], [], 20)
        assert ready, "the probe hangs"
        answer = child.stdout.readline()
        if answer:
            return json.loads(answer)
        child.wait(5)
        error = child.stderr.read().decode()
        self.close()
        assert child.returncode < 0, f"the probe failed: {error}"
        self.deaths += 1
        return {"finding": {"kind": "corrupt", "what": f"signal {-child.returncode}", "shard": None, "number": None}}

    def close(self) -> None:
        if self._child is not None:
            for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
                pipe.close()
            self._child.wait(5)
            self._child = None
