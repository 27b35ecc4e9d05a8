"""The page docs/cli.md, written from the commands themselves: `python -m clearspan.cli.reference`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from clearspan.cli.root import root

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["reference_page"]

_HEAD: Final = """# The command line

Written by `python -m clearspan.cli.reference`; do not edit it by hand.

`clearspan <noun> <verb>`, also `python -m clearspan`. Results go to standard output; errors and remarks to standard
error. With `--json` a command prints exactly one JSON document, and an error is one JSON object on standard error:
`{"error": {"code", "number", "message", "next_step", "exit_code"}}`. Amounts are objects: `minor` (a string of minor
units), `currency`, and `text` for people. Account ids are 32 hexadecimal digits, grouped 8-8-16.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | refused by the ledger: the code and the next step are printed |
| 2 | usage or configuration |
| 3 | unreachable, or timed out |
| 4 | verification or audit failed |
| 5 | internal |
| 130 | interrupted |

Commands that talk to a node take `--network`, the folder that `clearspan init` made: genesis, addresses, certificates
and keys. Without it `CLEARSPAN_CONFIG` names it (the folder, or a `node.toml` in it), else it is `./clearspan-network`.
`--as` chooses the certificate to speak with; signatures come from the keys in the folder.
"""
_OURS: Final = "clearspan.cli."


def reference_page() -> str:
    """Return the page: every command of this package with its arguments and options."""
    context = click.Context(root, info_name="clearspan")
    lines = [_HEAD]
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        if command is not None and command.callback is not None and _module(command).startswith(_OURS):
            lines += _command(command, f"clearspan {name}")
    return "\n".join(lines).rstrip() + "\n"


def _module(command: click.Command) -> str:
    return getattr(command.callback, "__module__", "")


def _command(command: click.Command, path: str) -> Iterator[str]:
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            verb = command.get_command(context, name)
            assert verb is not None
            yield from _command(verb, f"{path} {name}")
        return
    context = click.Context(command, info_name=path)
    yield f"## {path}"
    yield ""
    yield f"`{' '.join([path, *command.collect_usage_pieces(context)])}`"
    yield ""
    for paragraph in (command.help or "").split("\n\n"):
        yield " ".join(paragraph.split())
        yield ""
    rows = [record for each in command.get_params(context) if (record := each.get_help_record(context)) is not None]
    if rows:
        yield "| option | |"
        yield "|---|---|"
        for option, text in rows:
            yield f"| `{_cell(option)}` | {_cell(text)} |"
        yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference_page())
