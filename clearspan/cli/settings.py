"""Every key of a settings file as a long flag of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clearspan.settings import Flag

__all__ = ["config_flags"]


def config_flags(flags: Sequence[Flag]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds these keys as long flags."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for flag in reversed(flags):
            function = _config_flag(flag)(function)
        return function

    return add


def _config_flag(flag: Flag) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    text = flag.help[:1].upper() + flag.help[1:] + "."
    if flag.type is bool:
        return click.option(f"{flag.name}/--no-{flag.name[2:]}", flag.parameter, default=None, help=text)
    if flag.choices:
        return click.option(flag.name, flag.parameter, type=click.Choice(flag.choices), default=None, help=text)
    if flag.type is int:
        return click.option(flag.name, flag.parameter, type=int, default=None, help=text)
    return click.option(flag.name, flag.parameter, type=str, multiple=flag.type not in {int, str}, help=text)
