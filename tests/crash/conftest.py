"""What the crash tests share: a small written log, a prober, and a small disk."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.crash.logs import SHARDS, Prober, append, open_store


@pytest.fixture
def prober():
    one = Prober()
    yield one
    one.close()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The folder of a closed log: twelve records on the first shard, seven on the second, of all sizes."""
    path = tmp_path / "log"
    store = open_store(path)
    for shard, count in zip(SHARDS, (12, 7), strict=True):
        for _ in range(count):
            append(store.log(shard), shard)
    store.close()
    return path


@pytest.fixture
def small_disk(tmp_path: Path, need_root: None):
    """A file system of 16 MiB in memory."""
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(path)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)
