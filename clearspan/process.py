"""What every long-running process of ours does alike: signals, its log, its parent, and the note of its address."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

import structlog

from clearspan.network import ADDRESS_FILE, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.network import NodeAddress

__all__ = ["calm_collector", "configure_log", "end_with_parent", "note_address", "stop_signals"]

_PR_SET_PDEATHSIG: Final = 1
# So many objects more than before, some tens of megabytes, until cycles are looked for among them.
_COLLECT_AFTER: Final = 300_000
_log = structlog.get_logger("clearspan.process")


def calm_collector() -> None:
    """Have cycles looked for seldom, and not among what lives as long as the process.

    A load makes many objects and no cycles: by its own measure the collector would go through all of them all the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


def note_address(path: Path, address: NodeAddress) -> None:
    """Note what this process listens at; on a full disk it is left out, for it only spares typing."""
    with contextlib.suppress(OSError):
        write_json(
            path / ADDRESS_FILE,
            {
                "host": address.host,
                "port": address.port,
                "metrics_port": address.metrics_port,
                "pid": address.pid,
            },
        )


def stop_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; a second one ends the process where it stands."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        if stopping.is_set():
            os._exit(130)
        _log.info("signal", name=number.name)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopping


def end_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent ends; end now when it has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        os._exit(130)


def configure_log(level: str) -> None:
    """Write events as JSON lines to standard error; standard output belongs to the ready line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
