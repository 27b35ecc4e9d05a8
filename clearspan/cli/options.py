"""Options that many commands take, each declared once, and the kinds of values that they have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ACCOUNT",
    "FOLDER",
    "IN_FILE",
    "OUT_FILE",
    "TRANSFER_ID",
    "as_option",
    "domain_option",
    "json_option",
    "ledger_option",
    "network_option",
    "suite_option",
    "timeout_option",
]

Function = TypeVar("Function", bound="Callable[..., Any]")

IN_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
OUT_FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


class _Account(click.ParamType[int]):
    """An account id: 32 hexadecimal digits, which dashes may group."""

    name = "account"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the id, or fail as usage."""
        if isinstance(value, int):
            return value
        digits = str(value).replace("-", "")
        try:
            account = int(digits, 16) if len(digits) == 32 and digits.isalnum() else -1
        except ValueError:
            account = -1
        if account < 0:
            self.fail(
                f"{str(value)[:60]!r} is no account id of 32 hexadecimal digits, such as 000003e9-00000000-…",
                param,
                ctx,
            )
        return account


class _TransferId(click.ParamType[int]):
    """A transfer's id: a UUID, or 32 hexadecimal digits."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the id, or fail as usage."""
        if isinstance(value, int):
            return value
        try:
            return UUID(str(value)).int
        except ValueError:
            self.fail(f"{str(value)[:60]!r} is no UUID and no 32 hexadecimal digits", param, ctx)


ACCOUNT = _Account()
TRANSFER_ID = _TransferId()


def json_option(function: Function) -> Function:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document; errors too.")(function)


def network_option(function: Function) -> Function:
    """Add --network."""
    text = "Folder of the network [default: CLEARSPAN_CONFIG, or ./clearspan-network]."
    return click.option("--network", "network_path", type=FOLDER, help=text)(function)


def timeout_option(function: Function) -> Function:
    """Add --timeout-s."""
    kind = click.FloatRange(min=0.1, max=3600)
    text = "Give up after this many seconds without an answer."
    return click.option("--timeout-s", type=kind, default=10.0, show_default=True, help=text)(function)


def suite_option(text: str) -> Callable[[Function], Function]:
    """Add --suite, how a key signs."""
    suites = click.Choice(["ed25519", "sm2", "p256"])
    return click.option("--suite", type=suites, default="ed25519", show_default=True, help=text)


def as_option(default: str) -> Callable[[Function], Function]:
    """Add --as, the certificate to speak with."""
    text = "Certificate to speak with: operator, supervisor, issuer, clearing-house, reader, bank-<number>."
    return click.option("--as", "speaker", default=default, show_default=True, help=text)


def domain_option(function: Function) -> Function:
    """Add --domain."""
    text = "Domain by name or number [default: the only one]."
    return click.option("--domain", "domain_name", help=text)(function)


def ledger_option(*, required: bool = True) -> Callable[[Function], Function]:
    """Add --ledger."""
    return click.option("--ledger", "ledger_name", required=required, help="Ledger by currency or number, such as CNY.")
