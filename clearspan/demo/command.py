"""`clearspan demo`: the demonstration from the command line. Exit code 0 only when everything is as it must be."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click
from rich.console import Console

from clearspan.demo.children import end_children
from clearspan.demo.conductor import run_demo, workspace
from clearspan.demo.keeping import leave_running, next_commands
from clearspan.demo.plan import TRANSFERS_DEFAULT, TRANSFERS_MIN, DemoPlan
from clearspan.demo.progress import DemoProgress
from clearspan.demo.verifying import write_page
from clearspan.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["command"]

# Where no terminal says how wide it is: wide enough that no amount is cut.
_WIDTH: Final = 120


@click.command(short_help="Run a cluster, settle, kill a node, audit.")
@click.option(
    "--transfers",
    type=click.IntRange(TRANSFERS_MIN, 2_000_000),
    default=TRANSFERS_DEFAULT,
    show_default=True,
    help="Signed transfers of the load, all ledgers together.",
)
@click.option("--keep", is_flag=True, help="Leave the folder and the nodes running, and print what to try next.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Work in this new or empty folder [default: a temporary one].",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, transfers: int, keep: bool, directory: Path | None, quiet: bool, as_json: bool) -> int:
    """Run three domains (CNY, HKD, THB) on this machine, settle real files and a load, kill a node, audit.

    Every figure of the report was read back by a second process or comes from an audit of the stopped logs. Exit code
    4 when anything is not as it must be.
    """
    plan = DemoPlan(transfers=transfers)
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDTH)
    with _one_interruption(), workspace(directory, keep=keep) as path:
        try:
            with DemoProgress(quiet=quiet) as progress:
                report = run_demo(plan, path, progress)
            network = Network.load(path / "network") if keep else None
            page = write_page(network, path / "client", path) if network is not None else None
            processes = leave_running(network) if network is not None else []
        except BaseException:
            end_children()
            raise
    commands = next_commands(network, processes, page)
    if as_json:
        kept = {}
        if network is not None:
            kept = {"network": str(network.path), "processes": processes, "page": str(page)}
        click.echo(json.dumps({**report.encode(), **kept}))
    else:
        report.print(console)
        console.print("\nTry next:")
        for line in commands:
            console.print(f"  {line}", markup=False, soft_wrap=True)
    return report.exit_code


@contextmanager
def _one_interruption() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into KeyboardInterrupt and ignore later ones, so that the end is orderly."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def interrupt(number: int, frame: object) -> NoReturn:
        del number, frame
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
