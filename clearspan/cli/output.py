"""What a command prints: one JSON document for programs, or lines and tables for people. Never both."""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Output", "money"]

# Where no terminal says how wide it is: wide enough that no digest is cut.
_WIDTH: Final = 200


class Output:
    """Collects what a command has to say and prints it in the form that was asked for."""

    def __init__(self, *, as_json: bool) -> None:
        """Choose the form."""
        self.as_json = as_json

    def document(self, document: object) -> None:
        """Print the JSON document, in JSON only."""
        if self.as_json:
            click.echo(json.dumps(document, ensure_ascii=False))

    def line(self, text: str) -> None:
        """Print a line, for people only."""
        if not self.as_json:
            click.echo(text)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "", empty: str = "") -> None:
        """Print a table, for people only; a column whose name ends in ">" is aligned to the right.

        ``empty`` is said instead where there are no rows.
        """
        if self.as_json:
            return
        if not rows and empty:
            self.line(empty)
            return
        # rich takes as long to import as a small command takes to run.
        table_of = importlib.import_module("rich.table").Table
        console_of = importlib.import_module("rich.console").Console
        box = importlib.import_module("rich.box").SIMPLE_HEAD
        table = table_of(title=title or None, box=box, title_justify="left", pad_edge=False)
        for column in columns:
            right = column.endswith(">")
            table.add_column(column.rstrip(">"), justify="right" if right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        terminal = sys.stdout.isatty()
        console_of(file=sys.stdout, width=None if terminal else _WIDTH, highlight=False, markup=False).print(table)

    def note(self, text: str) -> None:
        """Print a remark to standard error, for people only."""
        if not self.as_json:
            click.echo(text, err=True)


def money(minor: int, currency: str, scale: int) -> dict[str, str]:
    """Return an amount as JSON documents carry it: minor units as a string, and a text for people."""
    whole, fraction = divmod(abs(minor), 10**scale)
    point = f".{fraction:0{scale}d}" if scale else ""
    text = f"{'-' if minor < 0 else ''}{whole:,}{point} {currency}"
    return {"minor": str(minor), "currency": currency, "text": text}
