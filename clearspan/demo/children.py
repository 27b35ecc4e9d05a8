"""Child processes of the demonstration that speak in lines of JSON, and end when it ends, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

import uvloop

from clearspan.errors import ClearspanError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence
    from types import TracebackType

__all__ = ["Child", "ChildFailed", "end_children", "end_with_parent", "run_to_end", "say"]

_PR_SET_PDEATHSIG: Final = 1
_LAST_WORDS: Final = 1_500


class ChildFailed(ClearspanError):  # noqa: N818 - named as what it is, like the other refusals
    """A process of the demonstration ended before its work was done."""

    def __init__(self, name: str, code: int, said: str) -> None:
        """Name the process, its exit code and the end of what it said."""
        super().__init__(f"the {name} ended with {code}: {said.strip()[-_LAST_WORDS:]}", "read what it says; run again")
        self.name = name
        self.code = code


def say(event: str, **fields: object) -> None:
    """Tell the parent what happened, as one line of JSON on standard output."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def end_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent ends; end now when it has ended already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(130)


def end_children() -> None:
    """Kill every child that this process still has, and wait for it.

    An interruption may fall between the birth of a process and the moment at which whoever made it knows of it.
    """
    for listing in Path("/proc/self/task").glob("*/children"):
        for word in listing.read_text(encoding="ascii").split():
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(int(word), signal.SIGKILL)
                os.waitpid(int(word), 0)


def run_to_end(work: Coroutine[Any, Any, None]) -> None:
    """Run a process's work; what it fails with is printed whole to standard error and ends the process."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        traceback.print_exception(error)
        sys.exit(getattr(error, "exit_code", 5))


class Child:
    """One process in a group of its own; use it in a ``with`` block, after which the whole group is gone."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path, *, before: Sequence[str] = ()) -> None:
        """Start this Python with the arguments, run by the command ``before`` if there is one; errors go to the log."""
        self.name = name
        self._log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [*before, sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                process_group=0,
            )

    def __enter__(self) -> Self:
        """Use it in a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process and whatever it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._out.close()

    @property
    def _out(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what the process tells until it ends. Raises ChildFailed unless it ends with 0."""
        for line in self._out:
            yield json.loads(line)
        code = self.process.wait()
        if code:
            raise ChildFailed(self.name, code, self._log.read_text(errors="replace"))

    def output(self) -> tuple[int, bytes]:
        """Wait for the end; return the exit code and all of standard output."""
        said = self._out.read()
        return self.process.wait(), said

    def last_words(self) -> str:
        """Return the end of what it wrote to standard error."""
        return self._log.read_text(errors="replace").strip()[-_LAST_WORDS:]
