"""Child processes that end with the one that started them: begun, waited for until ready, signalled, begun again.

Each is a command of ours that prints one JSON line when it is ready (host, port, metrics_port, pid) and writes its log
to standard error. It promises that nothing outlives the process that started it, not even one that was killed.
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
from typing import TYPE_CHECKING, Final

from clearspan.errors import ClearspanError, PortInUse
from clearspan.network import NodeAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

__all__ = ["ChildFailed", "Children"]

_READY_S: Final = 60.0
_STOP_S: Final = 20.0
_PORT_S: Final = 10.0
_PORT_PAUSE_S: Final = 0.5
_TAIL_BYTES: Final = 4_096
_LINE_BYTES_MAX: Final = 1 << 16


class ChildFailed(ClearspanError):  # noqa: N818 - named as what it is, like the other refusals
    """A child did not start, or ended by itself; ``log`` holds what it said."""

    def __init__(self, name: str, reason: str, log: Path, exit_code: int = 5) -> None:
        """Name the child, the reason and the log; exit_code is the child's own where it ended."""
        super().__init__(f"{name}: {reason}", f"read {log}")
        self.child = name
        self.log = log
        self.node_exit_code = exit_code


@dataclass(slots=True)
class _Child:
    """One that runs: its process, what it said when it was ready, and its log."""

    process: subprocess.Popen[bytes]
    address: NodeAddress
    log: Path


class Children:
    """Children by number. Use it from one thread, which must live as long as they do.

    Linux ends a child when the *thread* that made it ends, and that is what is asked for here; so they are started from
    the main thread, or from one that stays.
    """

    def __init__(
        self, command: Callable[[int], Sequence[str]], log: Callable[[int], Path], failure: Callable[..., ChildFailed]
    ) -> None:
        """Prepare; ``command`` is what follows `clearspan` for a number, ``failure`` makes the exception."""
        self._command, self._log, self._failure = command, log, failure
        self.prefix: Callable[[int], Sequence[str]] = lambda _: ()
        """Words before the command, such as those that run it in a network namespace; they end by becoming it."""
        self._running: dict[int, _Child] = {}

    def start(self, numbers: Iterable[int]) -> None:
        """Start all side by side and wait until each is ready. Raises ChildFailed; then none of these runs."""
        begun: list[tuple[int, subprocess.Popen[bytes], Path]] = []
        try:
            for number in numbers:
                begun.append((number, *self._spawn(number)))  # noqa: PERF401 - one that was started is known at once
            for number, process, log in begun:
                self._running[number] = _Child(process, self._await_ready(number, process, log), log)
        except BaseException:
            for number, process, _ in begun:
                _end(process)
                self._running.pop(number, None)
            raise

    def address(self, number: int) -> NodeAddress:
        """Return where one listens. Raises KeyError for one that does not run."""
        return self._running[number].address

    def is_running(self, number: int) -> bool:
        """Say whether a process lives."""
        found = self._running.get(number)
        return found is not None and found.process.poll() is None

    def send_signal(self, number: int, which: signal.Signals) -> None:
        """Send a signal that does not end it, such as SIGSTOP."""
        os.killpg(self._running[number].process.pid, which)

    def kill(self, number: int, which: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal that ends it and wait for its end; return its exit code (negative: by a signal)."""
        found = self._running.pop(number)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(found.process.pid, which)
        code = found.process.wait(_STOP_S if which is not signal.SIGKILL else None)
        _close(found.process)
        return code

    def restart(self, number: int) -> NodeAddress:
        """Start one again. Raises ChildFailed.

        While it was away the system may have lent its port to somebody's connection, which ends soon.
        """
        if self.is_running(number):
            self.kill(number, signal.SIGTERM)
        deadline = time.monotonic() + _PORT_S
        while True:
            try:
                self.start([number])
            except ChildFailed as failure:
                if not _port_was_taken(failure) or time.monotonic() > deadline:
                    raise
                time.sleep(_PORT_PAUSE_S)
            else:
                return self.address(number)

    def stop(self) -> None:
        """End all: asked first, and killed where that takes too long. Safe to call twice."""
        running, self._running = self._running, {}
        for found in running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(found.process.pid, signal.SIGCONT)
                os.killpg(found.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for found in running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                found.process.wait(max(0.0, deadline - time.monotonic()))
            _end(found.process)

    def _spawn(self, number: int) -> tuple[subprocess.Popen[bytes], Path]:
        """Start one in a process group of its own; it asks the kernel to end with this thread."""
        log = self._log(number)
        program = [*self.prefix(number), sys.executable, "-m", "clearspan"]
        command = [*program, *self._command(number), "--parent-pid", str(os.getpid())]
        with log.open("ab") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own program with checked arguments
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, process_group=0
            )
        return process, log

    def _await_ready(self, number: int, process: subprocess.Popen[bytes], log: Path) -> NodeAddress:
        """Read the ready line, which names the ports."""
        assert process.stdout is not None
        deadline = time.monotonic() + _READY_S
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n") and len(line) < _LINE_BYTES_MAX:
                if not selector.select(deadline - time.monotonic()):
                    raise self._failure(number, f"not ready after {_READY_S:.0f} s", log)
                read = os.read(process.stdout.fileno(), _LINE_BYTES_MAX)
                if not read:
                    code = process.wait()
                    raise self._failure(number, f"ended with exit code {code} before it was ready", log, code)
                line += read
        found = json.loads(line)
        return NodeAddress(found["host"], found["port"], found["metrics_port"], found["pid"])


def _port_was_taken(failure: ChildFailed) -> bool:
    """Say whether the last that a child's log tells is that its address is in use."""
    if failure.node_exit_code != PortInUse.exit_code:
        return False
    with contextlib.suppress(OSError):
        return b"is in use" in failure.log.read_bytes()[-_TAIL_BYTES:]
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdout is not None:
        process.stdout.close()
