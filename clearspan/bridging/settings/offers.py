"""What a participant's bridge works with: its accounts, and a provider's pairs, rates and inventory, from one file.

Read again when it changes; a broken file leaves what was known in force. Amounts are minor units as text, a rate is a
fraction of minor units as text, since a TOML number would not survive every editor.

    format = 1
    [[account]]
    ledger = 156
    account = "00001389-0000-…"     32 hexadecimal digits, dashes allowed; on a chain 0x and 40, with key_id = 0
    key_id = 17                     the key that signs for it
    inventory = "100000000"         what a provider's desk may promise of it; "0" where it promises nothing

    [[pair]]
    source = 156
    target = 344
    valid_s = 3600                  how long the rates stand after they were read
    tiers = ["1 27/25"]             least source amount and rate, ascending
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.desk_book import Tier
from bridge.foreign_asset import account_handle
from bridge.rates import Rate
from clearspan.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["OFFERS_FILE", "OfferedAccount", "OfferedPair", "Offers", "read_offers", "render_offers"]

OFFERS_FILE: Final = "offers.toml"
_FORMAT: Final = 1
_FILE_BYTES_MAX: Final = 1 << 20
_ACCOUNT_KEYS: Final = {"ledger": int, "account": str, "key_id": int, "inventory": str}
_PAIR_KEYS: Final = {"source": int, "target": int, "valid_s": int, "tiers": list}


@dataclass(frozen=True, slots=True)
class OfferedAccount:
    """One account of the participant and the key that signs for it; ``inventory`` in minor units."""

    ledger: int
    account: int
    key_id: int
    inventory: int = 0


@dataclass(frozen=True, slots=True)
class OfferedPair:
    """Rates from one ledger to another, by least source amount."""

    source: int
    target: int
    tiers: tuple[Tier, ...]
    valid_s: int = 3_600


@dataclass(frozen=True, slots=True)
class Offers:
    """The whole file."""

    accounts: tuple[OfferedAccount, ...] = ()
    pairs: tuple[OfferedPair, ...] = ()

    def key_of(self, ledger: int, account: int) -> int:
        """Return the id of the key that signs for an account on a ledger, 0 where the file does not name it."""
        return next((each.key_id for each in self.accounts if (each.ledger, each.account) == (ledger, account)), 0)


def read_offers(path: Path) -> Offers:
    """Read the file; one that does not exist offers nothing. Raises ConfigError, naming what is wrong."""
    if not path.exists():
        return Offers()
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
        document: dict[str, Any] = tomllib.loads(content[:_FILE_BYTES_MAX].decode("utf-8"))
    except OSError as error:
        raise ConfigError(str(path), error.strerror or "cannot be read", "name the file of offers") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), str(error), "mend the line; the format is TOML 1.0 in UTF-8") from error
    if not set(document) <= {"format", "account", "pair"} or document.get("format") != _FORMAT:
        reason = f"format {_FORMAT} and lists [[account]] and [[pair]] are asked for"
        raise ConfigError(str(path), reason, "mend the file")
    accounts = _rows(f"{path}: account", document.get("account", []), _ACCOUNT_KEYS)
    pairs = _rows(f"{path}: pair", document.get("pair", []), _PAIR_KEYS)
    return Offers(
        tuple(_account(f"{path}: account[{at}]", row) for at, row in enumerate(accounts)),
        tuple(_pair(f"{path}: pair[{at}]", row) for at, row in enumerate(pairs)),
    )


def render_offers(offers: Offers) -> str:
    """Return the file's text."""
    lines = [f"format = {_FORMAT}"]
    for account in offers.accounts:
        lines += [
            "",
            "[[account]]",
            f"ledger = {account.ledger}",
            f'account = "{account.account:032x}"',
            f"key_id = {account.key_id}",
            f'inventory = "{account.inventory}"',
        ]
    for pair in offers.pairs:
        tiers = ", ".join(f'"{tier.amount_least} {tier.numerator}/{tier.denominator}"' for tier in pair.tiers)
        lines += [
            "",
            "[[pair]]",
            f"source = {pair.source}",
            f"target = {pair.target}",
            f"valid_s = {pair.valid_s}",
            f"tiers = [{tiers}]",
        ]
    return "\n".join([*lines, ""])


def _rows(place: str, rows: Any, keys: dict[str, type]) -> Iterable[dict[str, Any]]:
    if not isinstance(rows, list):
        raise ConfigError(place, "a list of tables is asked for", "mend the file")
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(keys):
            raise ConfigError(f"{place}[{index}]", f"the keys {', '.join(keys)} are asked for", "mend the file")
        for key, kind in keys.items():
            if type(row[key]) is not kind:
                reason = f"a value of type {kind.__name__} is asked for"
                raise ConfigError(f"{place}[{index}].{key}", reason, "mend the file")
    return rows


def _account(place: str, row: dict[str, Any]) -> OfferedAccount:
    try:
        account, inventory = _account_number(row["account"]), int(row["inventory"])
    except ValueError as error:
        raise ConfigError(place, str(error), "write the account in hexadecimal and the inventory in digits") from error
    if inventory < 0:
        raise ConfigError(f"{place}.inventory", "is negative", "write minor units, 0 for none")
    return OfferedAccount(row["ledger"], account, row["key_id"], inventory)


def _account_number(text: str) -> int:
    """Return an account of ours, or the handle of one on a chain."""
    return account_handle(text) if text.startswith("0x") else int(text.replace("-", ""), 16)


def _pair(place: str, row: dict[str, Any]) -> OfferedPair:
    try:
        tiers = tuple(_tier(str(text)) for text in row["tiers"])
    except ValueError as error:
        raise ConfigError(f"{place}.tiers", str(error), 'write tiers such as "1 27/25"') from error
    return OfferedPair(row["source"], row["target"], tiers, row["valid_s"])


def _tier(text: str) -> Tier:
    least, _, fraction = text.partition(" ")
    numerator, _, denominator = fraction.partition("/")
    rate = Rate.of(int(numerator), int(denominator or 1))
    return Tier(int(least), rate.numerator, rate.denominator)
