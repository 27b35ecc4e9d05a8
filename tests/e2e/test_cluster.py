"""A cluster starts, survives what is done to it, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import psutil
import pytest

from clearspan.audit import audit
from clearspan.cluster import Cluster, ClusterFailed, create_network, temporary_network
from clearspan.errors import ConfigError, Refused
from engine.types import Role
from tests.e2e.support import FUNDS, ROOT, client_of, digests_of, fund, payments, small_network

PARENT = """
import sys, time
from clearspan.cluster import Cluster, temporary_network
with temporary_network(("CNY",)) as network, Cluster(network) as cluster:
    print(network.path, cluster.address(1).pid, flush=True)
    time.sleep(60)
"""


def begin_parent() -> tuple[subprocess.Popen, str, psutil.Process]:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    path, pid = parent.stdout.readline().rsplit(" ", 1)
    return parent, path, psutil.Process(int(pid))


def end_parent(parent: subprocess.Popen) -> None:
    parent.kill()
    parent.wait()
    parent.stdout.close()


def test_a_network_is_made_whole_or_not_at_all(tmp_path):
    """What stands is never overwritten, and a mistake leaves no folder behind."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        create_network(tmp_path / "used")
    with pytest.raises(Exception, match="QQQ"):
        create_network(tmp_path / "wrong", ("QQQ",))
    with pytest.raises(ConfigError, match="name"):
        create_network(tmp_path / "wrong", name="Not A Name")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["used"]


def test_a_network_has_its_domains_keys_and_validators(tmp_path):
    """Three domains of two shards, two operator and two supervisor keys and a block key each, four validators."""
    network = create_network(tmp_path / "network", hash_suite=2)
    genesis = network.genesis
    assert genesis.hash_suite == 2
    assert [(d.domain, d.name, d.shards, d.ledgers[0].ledger, d.ledgers[0].scale) for d in genesis.domains] == [
        (1, "cny", 2, 156, 2), (2, "hkd", 2, 344, 2), (3, "thb", 2, 764, 2),
    ]  # fmt: skip
    roles = [Role.OPERATOR, Role.OPERATOR, Role.SUPERVISOR, Role.SUPERVISOR, Role.BLOCK]
    assert all([key.role for key in domain.keys] == roles for domain in genesis.domains)
    assert len({validator.public_key for validator in genesis.validators}) == 4
    assert [network.node(number).port for number in (1, 2, 3)] == [7400, 7401, 7402]
    for folder in (network.path / "keys", network.node_folder(1) / "keys", network.path / "tls"):
        assert folder.stat().st_mode & 0o077 == 0, folder
    assert all(path.stat().st_mode & 0o077 == 0 for path in network.path.rglob("*.key"))


def test_nothing_outlives_a_killed_parent():
    """A parent that is killed outright takes its node with it: the kernel sees to that, no handler could."""
    parent, path, node = begin_parent()
    try:
        parent.kill()
        node.wait(timeout=10)
        assert not node.is_running()
    finally:
        end_parent(parent)
        subprocess.run(["rm", "-rf", path.rpartition("/")[0]], check=True)


def test_an_interrupted_parent_leaves_no_process_and_no_folder():
    """Ctrl-C unwinds the cluster and the folder that it stood in."""
    parent, path, node = begin_parent()
    try:
        parent.send_signal(signal.SIGINT)
        assert parent.wait(timeout=30) != 0
        node.wait(timeout=10)
        assert not subprocess.run(["ls", path], capture_output=True, check=False).stdout
    finally:
        end_parent(parent)


def test_a_node_that_cannot_start_is_named(tmp_path):
    """The failure carries the node's own exit code and where it said why."""
    network = small_network(tmp_path / "network")
    config = network.node_config(1)
    config.write_text(config.read_text().replace("[limits]", "[limits]\nrpc_max = 3"))
    with pytest.raises(ClusterFailed, match="exit code 2") as caught:
        Cluster(network).start()
    assert "limits.rpc_max" in caught.value.log.read_text()


def test_figures_count_what_was_answered(cluster, banks):
    """The metrics endpoint serves counters by code and gauges by shard."""

    async def work() -> None:
        async with client_of(cluster, "clearing-house") as client:
            result = await client.submit(payments(cluster.network, *banks, 64))
            assert result.settled.all()

    asyncio.run(work())
    url = f"http://127.0.0.1:{cluster.address(1).metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as reply:
        figures = dict(line.rsplit(" ", 1) for line in reply.read().decode().splitlines() if not line.startswith("#"))
    settled = sum(
        float(figures.get(f'clearspan_transfers_total{{code="{code}"}}', 0))
        for code in ("created", "created_in_transit")
    )
    assert settled >= 64
    assert float(figures["clearspan_rounds_total"]) >= 1
    assert float(figures["clearspan_commit_seconds_count"]) == float(figures["clearspan_rounds_total"])
    assert float(figures['clearspan_log_number{shard="256"}']) >= 1
    assert float(figures["clearspan_accepting"]) == 1


def test_a_killed_node_comes_back_where_it_was(cluster, banks):
    """SIGKILL, restart at the same port: what was acknowledged is there, the same bytes are answered again."""
    batch = payments(cluster.network, *banks, 32)
    digests = digests_of(cluster.network, batch)

    async def send() -> list[int]:
        async with client_of(cluster, "clearing-house") as client:
            result = await client.submit(batch)
            found = await client.transfers(digests)
        assert all(view is not None for view in found)
        assert [view.code for view in found] == result.codes.tolist()
        return result.times.tolist()

    first = asyncio.run(send())
    port = cluster.address(1).port
    assert cluster.kill(1) == -signal.SIGKILL
    assert not cluster.is_running(1)
    assert cluster.restart(1).port == port
    assert asyncio.run(send()) == first, "the second sending is answered with the first decisions"


def test_a_node_whose_port_was_lent_meanwhile_comes_back(cluster):
    """Somebody else has its port for a moment: it is started until it has it again."""
    port = cluster.address(1).port
    assert cluster.kill(1) == -signal.SIGKILL
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        lent = threading.Timer(2.0, other.close)
        lent.start()
        assert cluster.restart(1).port == port
        lent.join()


def test_a_graceful_stop_leaves_a_checkpoint(tmp_path):
    """A node that is asked to stop writes a checkpoint, and the next start replays nothing before it."""
    network = small_network(tmp_path / "network")
    with Cluster(network) as cluster:
        banks = fund(cluster)

        async def work() -> None:
            async with client_of(cluster, "clearing-house") as client:
                assert (await client.submit(payments(network, *banks, 16))).settled.all()

        asyncio.run(work())
        assert cluster.kill(1, signal.SIGTERM) == 0
        cluster.restart(1)
        recovered = [json.loads(line) for line in cluster.log(1).read_text().splitlines() if "shard_recovered" in line]
        assert [event["height"] > 0 for event in recovered] == [False, False, True, True]

        async def read() -> int:
            async with client_of(cluster, "operator-cny") as client:
                return sum(view.balance for view in await client.accounts([a for b in banks for a in b.accounts]))

        assert asyncio.run(read()) == 8 * FUNDS


def test_headers_and_index_are_built_anew(tmp_path):
    """The folders chain and index may be removed: the next start makes the same headers and finds the same transfers."""
    network = small_network(tmp_path / "network")
    with Cluster(network) as cluster:
        banks = fund(cluster)
        batch = payments(network, *banks, 16)
        digests = digests_of(network, batch)

        async def send() -> None:
            async with client_of(cluster, "clearing-house") as client:
                assert (await client.submit(batch)).settled.all()

        async def read() -> tuple[list, list]:
            async with client_of(cluster, "clearing-house") as client:
                headers = [signed.header async for signed in client.blocks(257)]
                return headers, [view.code for view in await client.transfers(digests)]

        asyncio.run(send())
        before, codes = asyncio.run(read())
        assert cluster.kill(1, signal.SIGTERM) == 0
        for name in ("chain", "index"):
            shutil.rmtree(cluster.data(1) / name)
        cluster.restart(1)
        after, again = asyncio.run(read())
        assert after[: len(before)] == before
        assert again == codes


def test_a_temporary_network_is_gone_afterwards():
    """The folder exists as long as the block."""
    with temporary_network(("JPY",), shards=1) as network:
        assert (network.path / "genesis.json").is_file()
        assert network.genesis.domains[0].ledgers[0].scale == 0
    assert not network.path.exists()


@pytest.fixture
def small_disk(tmp_path, need_root):
    """A disk of 96 MiB that is taken away again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.root
@pytest.mark.parametrize("reserve", [8 << 20, 0], ids=["kept in reserve", "met in the commit"])
def test_a_full_disk_refuses_keeps_reading_and_resumes(tmp_path, small_disk, reserve):
    """With no room a batch is answered disk_full, accounts can still be read, and work goes on once there is room."""
    network = small_network(tmp_path / "network")
    (small_disk / "data").mkdir()
    (network.node_folder(1) / "data").symlink_to(small_disk / "data")
    with Cluster(network, flags=("--data-reserve-bytes", str(reserve))) as cluster:
        banks = fund(cluster)
        accounts = [account for bank in banks for account in bank.accounts]
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass

        async def refused(client, batch) -> str:
            with pytest.raises(Refused) as caught:
                await client.submit(batch)
            return caught.value.name

        async def total() -> int:
            async with client_of(cluster, "operator-cny") as operator:
                return sum(view.balance for view in await operator.accounts(accounts))

        async def work() -> None:
            # Several at once, so that rounds are in flight on top of the one that finds no room.
            batches = [payments(network, *banks, 8192) for _ in range(3)]
            async with client_of(cluster, "clearing-house", patient=False) as client:
                assert set(await asyncio.gather(*(refused(client, batch) for batch in batches))) == {"disk_full"}
            assert await total() == len(accounts) * FUNDS
            filler.unlink()
            async with client_of(cluster, "clearing-house") as client:
                for batch in batches:
                    assert (await client.submit(batch)).settled.all()
            assert await total() == len(accounts) * FUNDS

        asyncio.run(work())
        assert cluster.kill(1, signal.SIGTERM) == 0
    assert audit(network.node_folder(1) / "data").transfers >= 3 * 8192


def test_a_failed_sync_stops_the_node_and_loses_nothing(tmp_path, need_tool):
    """One EIO from the disk: the node ends with exit 5 and says why, and what it acknowledged is there afterwards."""
    strace = need_tool("strace", "strace")
    network = small_network(tmp_path / "network")
    with Cluster(network) as cluster:
        banks = fund(cluster)
        node = cluster.address(1).pid
        command = [
            strace,
            "-f",
            "-qq",
            "-e",
            "trace=fdatasync,fsync,msync",
            "-e",
            "inject=fdatasync,fsync,msync:error=EIO",
        ]
        with (tmp_path / "strace").open("wb") as notes:
            tracer = subprocess.Popen([*command, "-p", str(node)], stderr=notes, stdout=subprocess.DEVNULL)
        try:
            assert psutil.Process(node).wait(timeout=30) == 5
        finally:
            tracer.terminate()
            tracer.wait()
        assert not cluster.is_running(1)
        assert "node_failed" in cluster.log(1).read_text()
        cluster.restart(1)

        async def work() -> int:
            async with client_of(cluster, "operator-cny") as client:
                return sum(view.balance for view in await client.accounts([a for bank in banks for a in bank.accounts]))

        assert asyncio.run(work()) == 8 * FUNDS
