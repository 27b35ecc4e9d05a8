"""What was acknowledged is there after the writer died, the disk was full, or a call of the kernel failed (LOG-4)."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from engine.data_directory import DataDirectory
from engine.errors import DirectoryInUse, DiskFull, FormatMismatch
from tests.crash.logs import GENESIS, ROOT, SHARDS, append, check_whole, open_store, records_after

SHARD, OTHER = SHARDS
WRITER = [sys.executable, "-m", "tests.crash.log_writer"]


def check_recovered(path: Path, acked: int, size: int) -> int:
    """Open after a crash: all that was acknowledged is there, at most one round more, and both shards agree."""
    store = open_store(path)
    held = [check_whole(store.log(shard), shard, size) for shard in SHARDS]
    assert held[0] == held[1], "a round became durable on one shard only"
    assert acked <= held[0] <= acked + 1
    assert append(store.log(SHARD), SHARD, size=size) == held[0] + 1
    store.close()
    return held[0]


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path, nightly):
    """Goal: the acknowledged records are a prefix of the log. Method: SIGKILL after a random number of acknowledgements,
    so that the kill falls anywhere into the rounds that follow; the same log goes on after every kill."""
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    for case in range(200 if nightly else 5):
        path, size = tmp_path / f"log-{case}", chance.choice((100, 3_000, 60_000, 400_000))
        child = subprocess.Popen([*WRITER, str(path), "100000", str(size)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        acked, wanted = 0, chance.randrange(1, 40)
        for line in child.stdout:
            acked = int(line.split()[1])
            if acked >= wanted:
                break
        child.kill()
        # What stands in the pipe was acknowledged before the kill.
        for line in child.stdout:
            if line.endswith("\n"):
                acked = int(line.split()[1])
        child.wait(10)
        child.stdout.close()
        print(f"seed {seed}, case {case}: {size} bytes, acknowledged {acked}")
        check_recovered(path, acked, size)
        for file in path.iterdir():
            file.unlink()


def inject(need_tool, path: Path, rule: str, *, count: int = 8, size: int = 30_000) -> tuple[int, list[list[str]]]:
    """Run a writer whose n-th call of one kind fails as told; return its exit code and what it said."""
    strace = need_tool("strace", "strace")
    call = rule.split(":", maxsplit=1)[0]
    done = subprocess.run(
        [strace, "-f", "-qq", "-o", str(path.with_suffix(".trace")), "-e", f"trace={call}", "-e", f"inject={rule}",
         "-P", str(path / "data.mdb"), *WRITER, str(path), str(count), str(size)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, [line.split() for line in done.stdout.splitlines()]


def fresh(tmp_path: Path, name: str) -> Path:
    """A folder with an empty log, so that the calls of the creation are not among those that fail."""
    path = tmp_path / name
    store = open_store(path)
    for shard in SHARDS:
        append(store.log(shard), shard, size=30_000)
    store.close()
    return path


def last_acked(said: list[list[str]]) -> int:
    return max((int(number) for word, number, *_ in said if word in {"open", "acked"}), default=1)


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync"])
def test_death_at_any_call_loses_nothing_that_was_acknowledged(tmp_path, need_tool, call, nightly):
    """Goal: no moment of a commit is a bad one to die at. Method: SIGKILL at the n-th write or sync of the data file."""
    points = range(1, 60) if nightly else (1, 2, 4, 7, 11)
    for point in points:
        path = fresh(tmp_path, f"{call}-{point}")
        code, said = inject(need_tool, path, f"{call}:signal=SIGKILL:when={point}")
        check_recovered(path, last_acked(said), 30_000)
        if code == 0:
            assert point > 8, "the writer ended before the point was reached"
            break


@pytest.mark.parametrize(
    "rule",
    [
        "fdatasync:error=EIO:when={}",
        "pwrite64:error=EIO:when={}",
        "fdatasync:error=ENOSPC:when={}",
        "pwrite64:error=ENOSPC:when={}",
    ],
)
def test_a_failed_write_is_never_an_acknowledgement(tmp_path, need_tool, rule, nightly):
    """Goal: an error of the disk ends the store, and a full disk is refused; neither is ever acknowledged, and what the
    log holds afterwards is what was acknowledged, or one round more that nobody was told of."""
    for point in range(1, 40) if nightly else (2, 3, 6):
        path = fresh(tmp_path, rule.split(":")[0] + rule.split("=")[1][:3] + str(point))
        code, said = inject(need_tool, path, rule.format(point))
        assert code == 0
        failed = [words for words in said if words[0] in {"failed", "full"}]
        if not failed:
            assert point > 8, "the writer ended before the point was reached"
            break
        if "EIO" in rule:
            assert [words[0] for words in said[-2:]] == ["failed", "still"], "a failed store was used again"
        elif failed[0][0] == "full":
            assert sorted({words[0] for words in said}) == ["acked", "full", "open"], "a full disk was not the end"
        check_recovered(path, last_acked(said), 30_000)


def test_room_is_taken_before_anything_is_written(tmp_path, need_tool):
    """A disk that is full when the file must grow: refused, and the next try of the same records succeeds."""
    path = fresh(tmp_path, "allocate")
    code, said = inject(need_tool, path, "fallocate:error=ENOSPC:when=1", count=6, size=600_000)
    assert code == 0
    words = [line[0] for line in said]
    assert words.count("full") == 1 and words[-1] == "acked"


def test_a_full_disk_refuses_and_space_heals(small_disk):
    """Goal: nothing half applied on a full disk, reads go on, and appends too once there is room. Method: a disk of
    16 MiB, filled by the log itself and then by a stranger's file, which is removed again."""
    path = small_disk / "log"
    store = open_store(path)
    append(store.log(SHARD), SHARD, size=150_000)
    stranger = small_disk / "stranger"
    stranger.write_bytes(bytes(6 << 20))
    done = 0
    with pytest.raises(DiskFull) as caught:
        while True:
            appends = {
                shard: (records_after(store.log(shard), shard, 1, size=150_000), store.log(shard).last()[0] + 1)
                for shard in SHARDS
            }
            store.append_many(appends, 1)
            done += 1
    assert caught.value.path == str(path) and caught.value.free_bytes < 2 << 20
    assert done > 10
    held = [check_whole(store.log(shard), shard, 150_000) for shard in SHARDS]
    assert held == [done + 1, done]
    for _ in range(3):
        with pytest.raises(DiskFull):
            append(store.log(SHARD), SHARD, size=1_500_000)
    stranger.unlink()
    assert append(store.log(SHARD), SHARD, size=150_000) == held[0] + 1
    store.close()
    store = open_store(path)
    assert check_whole(store.log(SHARD), SHARD, 150_000) == held[0] + 1
    store.close()


def test_a_log_fills_its_disk_to_the_end_and_opens_again(small_disk):
    path = small_disk / "log"
    store = open_store(path)
    with pytest.raises(DiskFull):
        while True:
            append(store.log(SHARD), SHARD, size=200_000)
    held = check_whole(store.log(SHARD), SHARD, 200_000)
    assert held * 200_000 > 14 << 20, "room was refused that was there"
    store.close()
    store = open_store(path)
    assert check_whole(store.log(SHARD), SHARD, 200_000) == held
    with pytest.raises(DiskFull):
        append(store.log(SHARD), SHARD, size=200_000)
    store.close()


# The data directory.


def test_a_directory_serves_one_process(tmp_path):
    path = tmp_path / "node"
    with DataDirectory(path, kind="node", genesis_hash=GENESIS):
        with pytest.raises(DirectoryInUse) as caught:
            DataDirectory(path, kind="node", genesis_hash=GENESIS)
        assert caught.value.pid == os.getpid()
        script = f"""
from engine.data_directory import DataDirectory
from engine.errors import DirectoryInUse
try:
    DataDirectory({str(path)!r}, kind="node", genesis_hash=bytes.fromhex({GENESIS.hex()!r}))
except DirectoryInUse as error:
    print(error.pid)
"""
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        assert int(done.stdout) == os.getpid()
    with DataDirectory(path, kind="node", genesis_hash=GENESIS) as directory:
        assert directory.log.is_dir() and directory.keys.stat().st_mode & 0o777 == 0o700


def test_a_lock_dies_with_its_process(tmp_path):
    path = tmp_path / "node"
    script = f"""
import os, signal
from engine.data_directory import DataDirectory
held = DataDirectory({str(path)!r}, kind="node", genesis_hash=bytes.fromhex({GENESIS.hex()!r}))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == -9
    DataDirectory(path, kind="node", genesis_hash=GENESIS).close()


def test_a_directory_of_somebody_else_is_refused(tmp_path):
    path = tmp_path / "node"
    DataDirectory(path, kind="node", genesis_hash=GENESIS).close()
    with pytest.raises(FormatMismatch) as caught:
        DataDirectory(path, kind="validator", genesis_hash=GENESIS)
    assert caught.value.field == "kind"
    with pytest.raises(FormatMismatch) as caught:
        DataDirectory(path, kind="node", genesis_hash=bytes(32))
    assert (caught.value.field, caught.value.found) == ("network", GENESIS.hex())
    text = (path / "FORMAT").read_text()
    for broken in ("", "{", "[]", text.replace('"format": 1', '"format": 2')):
        (path / "FORMAT").write_text(broken)
        with pytest.raises(FormatMismatch):
            DataDirectory(path, kind="node", genesis_hash=GENESIS)
    (path / "FORMAT").unlink()
    (path / "log" / "data.mdb").write_bytes(b"something")
    with pytest.raises(FormatMismatch) as caught:
        DataDirectory(path, kind="node", genesis_hash=GENESIS)
    assert caught.value.found == "missing beside a log"
