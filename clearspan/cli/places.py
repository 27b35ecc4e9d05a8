# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""Where a swap begins and ends, for commands: a ledger of the network, or an asset on a chain that corridors name.

It promises that an amount becomes minor units by moving the decimal point and never by rounding, and that an account is
shown as its own ledger or chain writes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from clearspan.cli.options import ACCOUNT
from clearspan.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.foreign_asset import ForeignAsset
    from clearspan.cli.session import Session
    from clearspan.v1 import bridge_pb2

__all__ = ["END", "Place", "account_bytes", "ledger_place", "leg_place", "named_place"]

_AMOUNT: Final = re.compile(r"([0-9]{1,40})(?:\.([0-9]{1,40}))?")
_CHAIN_ACCOUNT: Final = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Place:
    """What an amount is of; ``chain`` is empty for a ledger of the network."""

    ledger: int
    currency: str
    scale: int
    chain: str = ""

    def minor(self, text: str) -> int:
        """Return the minor units of an amount in major units. Raises CurrencyError, ConfigError."""
        from clearspan.currencies import to_minor

        if not self.chain:
            return to_minor(text, self.currency)
        match = _AMOUNT.fullmatch(text)
        if match is None or len(match[2] or "") > self.scale:
            reason = f"{text[:60]!r} is no amount of {self.currency}, which has {self.scale} digits behind the point"
            raise ConfigError("amount", reason, "write digits and at most one point, such as 0.25")
        return int(match[1] + (match[2] or "").ljust(self.scale, "0"))

    def account(self, data: bytes, name: str = "") -> str:
        """Return an account as a person is shown it."""
        from clearspan.iso20022.accounts import format_account

        if self.chain:
            return name or f"on chain {self.chain}"
        return format_account(int.from_bytes(data, "little"))


def named_place(session: Session, name: str) -> Place:
    """Return a ledger by its currency or number, or an asset by its code. Raises ConfigError for neither."""
    for asset in _assets(session):
        if name in (asset.code, str(asset.ledger)):
            return _place(asset)
    _, ledger = session.ledger(name)
    return Place(ledger.ledger, ledger.currency, ledger.scale)


def ledger_place(session: Session, number: int) -> Place:
    """Return what a number in a corridor, quote or plan stands for."""
    return named_place(session, str(number))


def leg_place(session: Session, leg: bridge_pb2.LegView) -> Place:
    """Return where a leg stands; an asset that no corridor of the folder names is shown in its smallest unit."""
    if not leg.chain:
        return ledger_place(session, leg.ledger)
    for asset in _assets(session):
        if (asset.chain, asset.asset.lower()) == (leg.chain, leg.asset.lower()):
            return _place(asset)
    return Place(0, f"units of {leg.asset or 'coin'}", 0, leg.chain)


def _place(asset: ForeignAsset) -> Place:
    return Place(asset.ledger, asset.code, asset.scale, asset.chain)


def _assets(session: Session) -> Iterator[ForeignAsset]:
    from clearspan.bridging.market.corridors import read_folder
    from clearspan.bridging.staging.folder import CORRIDORS_FOLDER

    for _, document in read_folder(session.network.path / CORRIDORS_FOLDER):
        if document.asset is not None:
            yield document.asset


class _End(click.ParamType[int | str]):
    """An account of ours, or one on a chain as the chain writes it."""

    name = "account"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Read it, or fail as usage."""
        if isinstance(value, str) and value.startswith("0x"):
            if _CHAIN_ACCOUNT.fullmatch(value) is None:
                self.fail(f"{value[:60]!r} is no account of a chain: 0x and 40 hexadecimal digits", param, ctx)
            return value
        return ACCOUNT.convert(value, param, ctx)


END = _End()


def account_bytes(end: int | str | None) -> bytes:
    """Return an end of a swap as a bridge takes it: 16 bytes of ours, none of an end on a chain."""
    return end.to_bytes(16, "little") if isinstance(end, int) else b""
