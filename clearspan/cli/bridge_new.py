# ruff: noqa: PLC0415 - a command imports what it needs, so that help and version start at once
"""`clearspan bridge new`: the folder of a participant's bridge in a development network, ready to run.

It promises to use what the folder of the network knows: the participant's accounts and the keys that sign for them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from clearspan.cli.options import json_option, network_option
from clearspan.cli.output import Output, money

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.bridging.settings.offers import OfferedAccount, OfferedPair
    from clearspan.cli.session import Session

__all__ = ["new"]

_PAIR: Final = re.compile(r"([A-Za-z0-9]+):([A-Za-z0-9]+)=([0-9]{1,20})/([0-9]{1,20})")
_HELD: Final = re.compile(r"([A-Za-z0-9]+)=([0-9.]{1,40})")


@click.command("new")
@click.argument("participant", type=click.IntRange(1, 2**32 - 2))
@click.option("--pair", "pairs", multiple=True, help="Rate to quote, such as CNY:HKD=27/25 minor units; repeatable.")
@click.option("--inventory", "held", multiple=True, help="What quotes may promise, such as HKD=1000.00; repeatable.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Port of its service [default: any].")
@network_option
@json_option
def new(
    *,
    participant: int,
    pairs: tuple[str, ...],
    held: tuple[str, ...],
    port: int,
    network_path: Path | None,
    as_json: bool,
) -> int:
    """Make the folder of PARTICIPANT's bridge: a payer's, or with --pair one that provides liquidity.

    Its accounts are those that `clearspan account open` has opened from this folder. Made again it keeps its journal.
    """
    from clearspan.bridging.settings.offers import Offers
    from clearspan.bridging.staging.folder import found_bridge
    from clearspan.cli.session import Session
    from clearspan.iso20022.accounts import format_account

    session = Session.open(network_path)
    inventory = dict(_held(session, text) for text in held)
    accounts = _accounts(session, participant, inventory)
    offered = tuple(_pair(session, text) for text in pairs)
    _check(session, accounts, offered)
    path = found_bridge(session.network, participant, Offers(accounts, offered), port=port)
    shown = [
        {
            "ledger": (ledger := session.ledger_of(each.ledger)).currency,
            "account": format_account(each.account),
            "inventory": money(each.inventory, ledger.currency, ledger.scale),
        }
        for each in accounts
    ]
    output = Output(as_json=as_json)
    side = "provider" if offered else "payer"
    output.document({"participant": participant, "side": side, "config": str(path), "accounts": shown})
    output.table(
        ("ledger", "account", "inventory>"),
        [(each["ledger"], each["account"], each["inventory"]["text"]) for each in shown],  # type: ignore[index]
    )
    output.line(f"start it: clearspan bridge run --config {path}")
    return 0


def _accounts(session: Session, participant: int, inventory: dict[int, int]) -> tuple[OfferedAccount, ...]:
    """Return the participant's first account on each ledger, as the folder knows them. Raises ConfigError for none."""
    from clearspan.bridging.settings.offers import OfferedAccount
    from clearspan.errors import ConfigError

    found = []
    for domain in session.network.genesis.domains:
        known = session.network.participant(domain.domain, participant)
        if known is not None and known.accounts:
            ledger = domain.ledgers[0].ledger
            account = min(known.accounts)
            found.append(OfferedAccount(ledger, account, known.accounts[account], inventory.get(ledger, 0)))
    if found and not any(
        session.network.key_folder(each.domain, participant).is_dir() for each in session.network.nodes
    ):
        reason = f"the folder holds no keys of participant {participant}"
        raise ConfigError("PARTICIPANT", reason, "use the folder that the participant was added from")
    if not found:
        reason = f"the folder knows no account of participant {participant}"
        raise ConfigError("PARTICIPANT", reason, "open one: clearspan account open --participant …")
    return tuple(found)


def _pair(session: Session, text: str) -> OfferedPair:
    from bridge.desk_book import Tier
    from bridge.rates import Rate
    from clearspan.bridging.settings.offers import OfferedPair
    from clearspan.errors import ConfigError

    match = _PAIR.fullmatch(text)
    if match is None or int(match[3]) == 0 or int(match[4]) == 0:
        raise ConfigError("--pair", f"{text[:60]!r} is no pair with a rate", "write it as CNY:HKD=27/25")
    source, target = (session.ledger(match[place])[1].ledger for place in (1, 2))
    rate = Rate.of(int(match[3]), int(match[4]))
    return OfferedPair(source, target, (Tier(1, rate.numerator, rate.denominator),))


def _held(session: Session, text: str) -> tuple[int, int]:
    from clearspan.currencies import to_minor
    from clearspan.errors import ConfigError

    match = _HELD.fullmatch(text)
    if match is None:
        raise ConfigError("--inventory", f"{text[:60]!r} is no amount on a ledger", "write it as HKD=1000.00")
    ledger = session.ledger(match[1])[1]
    return ledger.ledger, to_minor(match[2], ledger.currency)


def _check(session: Session, accounts: tuple[OfferedAccount, ...], pairs: tuple[OfferedPair, ...]) -> None:
    """Demand an account on both sides of each pair, and something to give on its target."""
    from clearspan.errors import ConfigError

    by_ledger = {each.ledger: each for each in accounts}
    for pair in pairs:
        for ledger in (pair.source, pair.target):
            if ledger not in by_ledger:
                name = session.ledger_of(ledger).currency
                raise ConfigError("--pair", f"there is no account on {name}", "open one: clearspan account open")
        if not by_ledger[pair.target].inventory:
            name = session.ledger_of(pair.target).currency
            raise ConfigError("--inventory", f"nothing may be promised of {name}", f"say how much: {name}=1000.00")
