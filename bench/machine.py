"""What a figure was measured on, and what a process used: read from Linux's own files, or said to be unknown."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clearspan import __version__
from native.signatures import kernel_variant

__all__ = ["ProcessUse", "commit", "disk_bytes", "machine"]

_ROOT: Final = Path(__file__).resolve().parent.parent
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_BLOCK: Final = 512


def commit() -> str:
    """Return the commit of the working tree, with a + when files differ from it; `unknown` outside a repository."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    try:
        head, changes = (
            subprocess.run([git, *words], cwd=_ROOT, capture_output=True, check=True, text=True).stdout.strip()  # noqa: S603
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changes else "")


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, kernel, Python, and the variant of the signature kernels."""
    return {
        "processor": _line("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "cores": os.cpu_count(),
        "memory_mib": _kib("/proc/meminfo", "MemTotal") // 1024,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "clearspan": __version__,
        "kernel": kernel_variant(),
        "load_average": [round(each, 2) for each in os.getloadavg()],
    }


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What a process has used: CPU in ns, whole and by thread, resident memory, and the part of it that is its own."""

    cpu_ns: int
    threads_ns: dict[int, int]
    rss_mib: int
    anonymous_mib: int

    @classmethod
    def of(cls, pid: int) -> ProcessUse:
        """Read a process that runs; threads by their number."""
        status = f"/proc/{pid}/status"
        return cls(
            _cpu_ns(Path(f"/proc/{pid}/stat")),
            {int(each.name): _cpu_ns(each / "stat") for each in Path(f"/proc/{pid}/task").iterdir()},
            _kib(status, "VmRSS") // 1024,
            _kib(status, "RssAnon") // 1024,
        )

    def threads_since(self, before: ProcessUse) -> list[int]:
        """Return what each thread has used since, in ns, the busiest first."""
        spent = (used - before.threads_ns.get(thread, 0) for thread, used in self.threads_ns.items())
        return sorted(spent, reverse=True)


def disk_bytes(path: Path) -> int:
    """Return the bytes that a folder takes on the disk, holes not counted."""
    return sum(each.stat().st_blocks * _BLOCK for each in path.rglob("*") if each.is_file())


def _cpu_ns(path: Path) -> int:
    try:
        # The name in parentheses may hold anything, so count from its end.
        fields = path.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // _TICKS_PER_S


def _line(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _kib(path: str, name: str) -> int:
    words = _line(path, name).split()
    return int(words[0]) if words else 0
