"""What a person sees while a demonstration works: the step at hand and how far each ledger's load is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import TaskID

__all__ = ["DemoProgress"]


class DemoProgress:
    """Shows steps on standard error: bars on a terminal, a line for each step elsewhere, nothing when quiet.

    It also keeps the clock of the steps: ``phases_ms`` says how long each took.
    """

    def __init__(self, *, quiet: bool) -> None:
        """Choose the form."""
        self.phases_ms: dict[str, int] = {}
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._bars: Progress | None = None
        if self._console.is_terminal and not quiet:
            self._bars = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
        self._loads: dict[str, TaskID] = {}
        self._step: TaskID | None = None
        self._title = ""
        self._began = time.monotonic_ns()

    def __enter__(self) -> Self:
        """Begin to show."""
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bars away."""
        self._end_step()
        if self._bars is not None:
            self._bars.stop()

    def step(self, title: str) -> None:
        """Say what is done now."""
        self._end_step()
        self._title, self._began = title, time.monotonic_ns()
        # The bars of a load stand under its own step and no other.
        while self._bars is not None and self._loads:
            self._bars.remove_task(self._loads.popitem()[1])
        if self._bars is None:
            self._console.print(f"  {title}")
            return
        self._step = self._bars.add_task(title, total=None)

    def note(self, text: str) -> None:
        """Say that something happened."""
        self._console.print(f"  [bold]{text}[/bold]")

    def load(self, name: str, answered: int, of: int) -> None:
        """Move the bar of a ledger's load."""
        if self._bars is None:
            return
        if name not in self._loads:
            self._loads[name] = self._bars.add_task(f"  {name}", total=of)
        self._bars.update(self._loads[name], completed=answered)

    def _end_step(self) -> None:
        if not self._title:
            return
        spent = (time.monotonic_ns() - self._began) // 1_000_000
        self.phases_ms[self._title] = self.phases_ms.get(self._title, 0) + spent
        if self._bars is not None and self._step is not None:
            self._bars.remove_task(self._step)
            self._console.print(f"  {self._title} [dim]({spent / 1000:.1f} s)[/dim]")
            self._step = None
        self._title = ""
