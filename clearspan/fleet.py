"""Processes of one kind and one network as children, by number: begun, killed, and begun again at the port they had.

It promises what ``clearspan.children`` promises, and that whoever knew a process finds it again after its restart.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Self

from clearspan.children import Children

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from clearspan.children import ChildFailed
    from clearspan.network import NodeAddress

__all__ = ["Fleet"]


class Fleet:
    """Children that ``clearspan <kind> run --config …`` makes. Use it from one thread that lives as long as they do."""

    def __init__(
        self,
        kind: str,
        numbers: Sequence[int],
        folder: Callable[[int], Path],
        *,
        failure: Callable[..., ChildFailed],
        flags: Sequence[str] = (),
    ) -> None:
        """Prepare; ``folder`` holds one's ``<kind>.toml`` and gets its log, ``failure`` makes the exception."""
        self.kind, self.numbers = kind, tuple(numbers)
        self.extra: dict[int, Sequence[str]] = {}
        """Further flags of one's next start."""
        self._folder, self._flags = folder, tuple(flags)
        self._ports: dict[int, int] = {}
        self._children = Children(self._command, self.log, failure)

    def __enter__(self) -> Self:
        """Start all."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all, whatever happened."""
        self.stop()

    def run_in(self, prefix: Callable[[int], Sequence[str]]) -> None:
        """Run each from now on behind these words, such as those that put it into a network namespace."""
        self._children.prefix = prefix

    def start(self, numbers: Sequence[int] | None = None) -> None:
        """Start all, or these, side by side and wait until each answers. Raises the failure; then none runs."""
        chosen = self.numbers if numbers is None else tuple(numbers)
        self._children.start(chosen)
        for number in chosen:
            self._ports[number] = self.address(number).port

    def address(self, number: int) -> NodeAddress:
        """Return where a running one listens. Raises KeyError for one that does not run."""
        return self._children.address(number)

    def log(self, number: int) -> Path:
        """Return the file of one's standard error."""
        return self._folder(number) / f"{self.kind}.log"

    def data(self, number: int) -> Path:
        """Return one's data directory."""
        return self._folder(number) / "data"

    def is_running(self, number: int) -> bool:
        """Say whether one's process lives."""
        return self._children.is_running(number)

    def send_signal(self, number: int, which: signal.Signals) -> None:
        """Send a signal that does not end it, such as SIGSTOP."""
        self._children.send_signal(number, which)

    def kill(self, number: int, which: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal that ends it and wait for its end; return its exit code (negative: by a signal)."""
        return self._children.kill(number, which)

    def restart(self, number: int) -> NodeAddress:
        """Start one again, at the port it had. Raises the failure."""
        found = self._children.restart(number)
        self._ports[number] = found.port
        return found

    def stop(self) -> None:
        """End all: asked first, killed where that takes too long. Safe to call twice."""
        self._children.stop()

    def _command(self, number: int) -> list[str]:
        config = self._folder(number) / f"{self.kind}.toml"
        command = [self.kind, "run", "--config", str(config), *self._flags]
        if number in self._ports:
            command += [f"--{self.kind}-port", str(self._ports[number])]
        return [*command, *self.extra.get(number, ())]
