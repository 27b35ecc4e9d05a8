"""Where the validators of a network's folder are: its validators.toml, and for each a folder of its own.

validators.toml                     keys and addresses (``clearspan.validator.addresses``)
validators/<participant>/           validator.toml, keys/, data/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clearspan.errors import ConfigError
from clearspan.validator.addresses import AddressBook, ValidatorEntry

if TYPE_CHECKING:
    from pathlib import Path

    from clearspan.network import Network

__all__ = ["ADDRESSES_FILE", "validator_config", "validator_entries", "validator_folder", "validator_target"]

ADDRESSES_FILE: Final = "validators.toml"


def validator_entries(network: Network) -> tuple[ValidatorEntry, ...]:
    """Return the validators of a folder, none where it has no file of them. Raises ConfigError for a broken one."""
    path = network.path / ADDRESSES_FILE
    return AddressBook(path).entries if path.exists() else ()


def validator_folder(network: Network, participant: int) -> Path:
    """Return the folder of a validator of a development network."""
    return network.path / "validators" / str(participant)


def validator_config(network: Network, participant: int) -> Path:
    """Return the settings file of a validator of a development network."""
    return validator_folder(network, participant) / "validator.toml"


def validator_target(network: Network, entry: ValidatorEntry) -> str:
    """Return where to call a validator now, host:port. Raises ConfigError when nobody knows."""
    found = AddressBook(network.path / ADDRESSES_FILE).target(entry.public_key)
    if found is None:
        next_step = f"start it: clearspan validator run --config {validator_config(network, entry.participant)}"
        name = f"validator {entry.participant}"
        raise ConfigError(name, "its port is chosen at its start, and it does not run", next_step)
    return found
