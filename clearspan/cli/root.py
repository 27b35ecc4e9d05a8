"""The table of commands. It imports nothing but click, so that help and a mistyped word are answered at once."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.cli.failures import Failure

__all__ = ["root", "run"]

INTERRUPTED: Final = 130
USAGE: Final = 2

# Name, where the command is, and its line in the list: the modules are not imported to print the list.
_COMMANDS: Final = {
    "init": ("clearspan.cli.init:command", "Make the folder of a development network."),
    "node": ("clearspan.cli.node:command", "Run a node, or ask how nodes stand."),
    "validator": ("clearspan.cli.validator:command", "Run a validator, or ask how validators stand."),
    "bridge": ("clearspan.cli.bridge:command", "Run a participant's bridge, or ask how bridges stand."),
    "chain": ("clearspan.cli.chain:command", "Prepare and check chains that are not ours."),
    "participant": ("clearspan.cli.participant:command", "Add institutions and list them."),
    "key": ("clearspan.cli.key:command", "Register new keys and replace old ones."),
    "account": ("clearspan.cli.account:command", "Open, show, freeze and close accounts."),
    "ledger": ("clearspan.cli.ledger:command", "Issue, redeem, and show what is in circulation."),
    "sign": ("clearspan.cli.sign:command", "Turn ISO 20022 payments into a signed batch file (offline)."),
    "submit": ("clearspan.cli.submit:command", "Submit batch files and report what became of them."),
    "transfer": ("clearspan.cli.transfer:command", "Make one transfer."),
    "swap": ("clearspan.cli.swap:command", "Exchange between ledgers: quote, run, show, list."),
    "corridor": ("clearspan.cli.corridor:command", "Propose and show the rules of exchange between two ledgers."),
    "hold": ("clearspan.cli.hold:command", "Show, release and reject what waits for a compliance decision."),
    "breaker": ("clearspan.cli.breaker:command", "Set and clear circuit breakers, and list them."),
    "receipt": ("clearspan.cli.receipt:command", "Fetch the proof of a decision, or check one offline."),
    "audit": ("clearspan.cli.audit:command", "Re-execute a stopped node's log and compare everything."),
    "evidence": ("clearspan.cli.evidence:command", "Compare validators' chains; name who lied if they differ."),
    "load": ("clearspan.load:command", "Generate load and measure it."),
    "demo": ("clearspan.demo:command", "Run a cluster, settle, kill a node, audit."),
    "simulate": ("clearspan.simulation.command:command", "Simulate domains under faults, from seeds."),
    "version": ("clearspan.cli.version:command", "Say which version this is, and of what it is made."),
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands that are part of this installation, in the order of the table."""
        del ctx
        return [name for name, (place, _) in _COMMANDS.items() if _is_there(place)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        found = getattr(importlib.import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the list without importing what is on it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def root() -> None:
    """Clearspan: signed payments settled durably in one step, provable offline.

    Most commands work on a network folder: --network, or CLEARSPAN_CONFIG, or ./clearspan-network. With --json they
    print one JSON document, and errors as one too.
    """


def run(arguments: Sequence[str]) -> int:
    """Run one command; return its exit code. Errors are printed to standard error."""
    as_json = "--json" in arguments
    try:
        outcome = root.main(args=list(arguments), prog_name="clearspan", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.ClickException as error:
        return _usage(error, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone: nothing is left to say, and no one to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the one place where whatever a command raises becomes an exit code
        # Imported here, as the commands are: a run that works never needs it.
        failures = importlib.import_module("clearspan.cli.failures")
        return _report(failures.failure_of(error), error, as_json=as_json)
    return outcome if isinstance(outcome, int) else 0


def _usage(error: click.ClickException, *, as_json: bool) -> int:
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"see {context.command_path} --help" if context is not None else "see clearspan --help"
    if as_json:
        _print_json("usage", error.format_message(), hint, USAGE)
    else:
        click.echo(f"error: {error.format_message()}\nnext: {hint}", err=True)
    return USAGE


def _report(failure: Failure, error: Exception, *, as_json: bool) -> int:
    if as_json:
        _print_json(failure.code, failure.message, failure.next_step, failure.exit_code, failure.number)
    else:
        if failure.internal:
            traceback.print_exception(error)
        next_step = f"\nnext: {failure.next_step}" if failure.next_step else ""
        # What the ledger or a bridge refuses names its code already.
        named = failure.message.startswith(f"{failure.code}:")
        click.echo(f"error: {'' if named else f'{failure.code}: '}{failure.message}{next_step}", err=True)
    return failure.exit_code


def _print_json(code: str, message: str, next_step: str, exit_code: int, number: int = 0) -> None:
    error = {"code": code, "number": number, "message": message, "next_step": next_step, "exit_code": exit_code}
    click.echo(json.dumps({"error": error}, ensure_ascii=False), err=True)


def _is_there(place: str) -> bool:
    return importlib.util.find_spec(place.partition(":")[0]) is not None
