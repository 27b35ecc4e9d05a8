"""An embedded development cluster: the nodes of a network's folder as child processes.

It promises that nothing of a cluster outlives the process that started it, not even one that was killed.

    network = create_network(Path("clearspan-network"), ("CNY", "HKD", "THB"))
    with Cluster(network) as cluster:
        cluster.kill(1)
        cluster.restart(1)
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from clearspan.errors import ClearspanError
from clearspan.founding import (
    DEFAULT_CURRENCIES,
    create_network,
    issuer_of,
    operator_of,
    supervisor_of,
    temporary_network,
)
from clearspan.network import NodeAddress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from clearspan.network import Network

__all__ = [
    "DEFAULT_CURRENCIES",
    "Cluster",
    "ClusterFailed",
    "create_network",
    "issuer_of",
    "operator_of",
    "supervisor_of",
    "temporary_network",
]

_READY_S: Final = 60.0
_STOP_S: Final = 20.0
_LINE_BYTES_MAX: Final = 1 << 16


class ClusterFailed(ClearspanError):  # noqa: N818 - named as what it is, like the other refusals
    """A node of the cluster did not start, or ended by itself; ``log`` holds what it said."""

    def __init__(self, domain: int, reason: str, log: Path, exit_code: int = 5) -> None:
        """Name the domain, the reason and the log; exit_code is the node's own where it ended."""
        super().__init__(f"node of domain {domain}: {reason}", f"read {log}")
        self.domain = domain
        self.log = log
        self.node_exit_code = exit_code


@dataclass(slots=True)
class _Process:
    """A node that runs: its process, what it said when it was ready, and its log."""

    process: subprocess.Popen[bytes]
    address: NodeAddress
    log: Path


class Cluster:
    """The nodes of a network as child processes. Use it from one thread, which must live as long as the nodes.

    Linux ends a child when the *thread* that made it ends, and that is what is asked for here; so a cluster is started
    from the main thread, or from one that stays.
    """

    def __init__(self, network: Network, domains: Sequence[int] | None = None, flags: Sequence[str] = ()) -> None:
        """Prepare to run the nodes of some or all domains; flags are further flags of `clearspan node run`."""
        self.network = network
        self._domains = tuple(domains or (domain.domain for domain in network.genesis.domains))
        self._flags = tuple(flags)
        self._running: dict[int, _Process] = {}
        self._ports: dict[int, int] = {}

    def __enter__(self) -> Self:
        """Start all nodes."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all nodes, whatever happened."""
        self.stop()

    def start(self) -> None:
        """Start all nodes side by side and wait until each is ready. Raises ClusterFailed; then none runs."""
        begun: list[tuple[int, subprocess.Popen[bytes], Path]] = []
        try:
            for domain in self._domains:
                begun.append((domain, *self._spawn(domain)))  # noqa: PERF401 - one that was started is known at once
            for domain, process, log in begun:
                self._running[domain] = _Process(process, _await_ready(domain, process, log), log)
                self._ports[domain] = self._running[domain].address.port
        except BaseException:
            for _, process, _ in begun:
                _end(process)
            self._running.clear()
            raise

    def address(self, domain: int) -> NodeAddress:
        """Return where a running node listens. Raises KeyError for one that does not run."""
        return self._running[domain].address

    def log(self, domain: int) -> Path:
        """Return the file of a node's standard error."""
        return self.network.node_folder(domain) / "node.log"

    def data(self, domain: int) -> Path:
        """Return a node's data directory."""
        return self.network.node_folder(domain) / "data"

    def is_running(self, domain: int) -> bool:
        """Say whether a node's process lives."""
        found = self._running.get(domain)
        return found is not None and found.process.poll() is None

    def kill(self, domain: int, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a node a signal that ends it and wait for its end; return its exit code (negative: by a signal)."""
        found = self._running.pop(domain)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(found.process.pid, number)
        code = found.process.wait(_STOP_S if number is not signal.SIGKILL else None)
        _close(found.process)
        return code

    def restart(self, domain: int) -> NodeAddress:
        """Start a node again, at the port it had, so that clients find it. Raises ClusterFailed."""
        if self.is_running(domain):
            self.kill(domain, signal.SIGTERM)
        process, log = self._spawn(domain)
        try:
            found = _Process(process, _await_ready(domain, process, log), log)
        except BaseException:
            _end(process)
            raise
        self._running[domain] = found
        self._ports[domain] = found.address.port
        return found.address

    def stop(self) -> None:
        """End all nodes: asked first, and killed where that takes too long. Safe to call twice."""
        running, self._running = self._running, {}
        for found in running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(found.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for found in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                found.process.wait(max(0.0, deadline - time.monotonic()))
            _end(found.process)

    def _spawn(self, domain: int) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a node in a process group of its own; it asks the kernel to end with this thread."""
        log = self.log(domain)
        command = [sys.executable, "-m", "clearspan", "node", "run", "--config", str(self.network.node_config(domain))]
        command += ["--parent-pid", str(os.getpid()), *self._flags]
        if domain in self._ports:
            command += ["--node-port", str(self._ports[domain])]
        with log.open("ab") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own program with checked arguments
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, process_group=0
            )
        return process, log


def _await_ready(domain: int, process: subprocess.Popen[bytes], log: Path) -> NodeAddress:
    """Read the ready line, which names the ports."""
    assert process.stdout is not None
    deadline = time.monotonic() + _READY_S
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n") and len(line) < _LINE_BYTES_MAX:
            if not selector.select(deadline - time.monotonic()):
                raise ClusterFailed(domain, f"not ready after {_READY_S:.0f} s", log)
            read = os.read(process.stdout.fileno(), _LINE_BYTES_MAX)
            if not read:
                code = process.wait()
                raise ClusterFailed(domain, f"ended with exit code {code} before it was ready", log, code)
            line += read
    found = json.loads(line)
    return NodeAddress(found["host"], found["port"], found["metrics_port"], found["pid"])


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdout is not None:
        process.stdout.close()
