"""The kernels as contenders, a process for each variant, because a process chooses its variant once, at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from bench.timing import Contender, Timing
from native.kernel import VARIABLE, VARIANTS
from native.signatures import kernel_variant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

__all__ = ["VARIANTS", "KernelProcess", "Kernels"]

_ROOT: Final = Path(__file__).resolve().parent.parent


class KernelProcess:
    """A process with one variant; raises RuntimeError with its last words when it ends early."""

    def __init__(self, variant: str) -> None:
        """Start it; ``variant`` is what it then says, None when it refused."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.work"],
            cwd=_ROOT,
            env={**os.environ, VARIABLE: variant},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        self.variant: str | None = json.loads(first)["variant"] if first else None

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Hand over one line and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            _, last_words = self._process.communicate(timeout=30)
            raise RuntimeError(last_words.strip().rpartition("\n")[2])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def contender(self, name: str, task: Mapping[str, Any], items: int) -> Contender:
        """Return a task of this process as a contender; its items are always worked through in one call."""
        return Contender(name, items, partial(self._run, task))

    def outcome(self, task: Mapping[str, Any], items: int) -> bytes:
        """Return what came of a task."""
        return bytes.fromhex(self.ask({**task, "items": items, "passes": 0})["outcome"])

    def _run(self, task: Mapping[str, Any], items: int, passes: int) -> Timing:
        answer = self.ask({**task, "items": items, "passes": passes})
        return Timing(items * passes, answer["cpu_ns"], answer["wall_ns"])


class Kernels:
    """A process for each variant that this build and CPU have; a context manager that ends them."""

    def __init__(self, variants: Iterable[str] = VARIANTS) -> None:
        """Start them; the variant in use is always among them."""
        self.used = kernel_variant()
        self.processes: dict[str, KernelProcess] = {}
        self._stack = ExitStack()
        for variant in dict.fromkeys((*variants, self.used)):
            process = KernelProcess(variant)
            self._stack.callback(process.close)
            if process.variant is not None:
                self.processes[variant] = process

    @property
    def best(self) -> KernelProcess:
        """The process with the variant that this process itself would use."""
        return self.processes[self.used]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
