"""Where the other validators listen: a file of keys and addresses, read again when it changes.

It promises that a new peer needs no restart: an entry is looked up when a connection is made. A port of 0 stands for
one that the system chose: the validator's data directory beside the file says which.

    format = 1
    [[validator]]
    participant = 91
    name = "91"
    host = "127.0.0.1"
    port = 7410
    public_key = "…"        64 bytes, hexadecimal, as in the validator set
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from clearspan.errors import ConfigError
from clearspan.kept_file import ROWS_FORMAT, KeptFile, address_rows
from clearspan.network import read_address

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["AddressBook", "ValidatorEntry", "render_addresses", "validator_data"]

_KEYS: Final = {"participant": int, "name": str, "host": str, "port": int, "public_key": str}
_PUBLIC_KEY_BYTES: Final = 64
_NEXT_STEP: Final = "name the file of the validators' addresses: peers.addresses"


@dataclass(frozen=True, slots=True)
class ValidatorEntry:
    """One validator of the file; ``public_key`` fills 64 bytes."""

    participant: int
    name: str
    host: str
    port: int
    public_key: bytes


class AddressBook(KeptFile[bytes, ValidatorEntry]):
    """The file by public key, kept as it was last good."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises ConfigError, naming what is wrong."""
        super().__init__(path, _read)

    def target(self, public_key: bytes) -> str | None:
        """Return where to call a validator now, host:port; None where nobody knows."""
        entry = self.entry(public_key)
        if entry is None:
            return None
        if entry.port:
            return f"{entry.host}:{entry.port}"
        found = read_address(validator_data(self.path.parent, entry.name))
        return None if found is None else f"{entry.host}:{found.port}"


def validator_data(folder: Path, name: str) -> Path:
    """Return the data directory of a validator of a development network's folder."""
    return folder / "validators" / name / "data"


def render_addresses(entries: Iterable[ValidatorEntry]) -> str:
    """Return the file's text."""
    lines = [f"format = {ROWS_FORMAT}"]
    for entry in entries:
        lines += [
            "",
            "[[validator]]",
            f"participant = {entry.participant}",
            f'name = "{entry.name}"',
            f'host = "{entry.host}"',
            f"port = {entry.port}",
            f'public_key = "{entry.public_key.hex()}"',
        ]
    return "\n".join([*lines, ""])


def _read(path: Path) -> dict[bytes, ValidatorEntry]:
    rows = address_rows(path, "validator", _KEYS, missing=_NEXT_STEP)
    return {entry.public_key: entry for entry in (_entry(place, row) for place, row in rows)}


def _entry(place: str, row: dict[str, Any]) -> ValidatorEntry:
    try:
        public_key = bytes.fromhex(row["public_key"])
    except ValueError:
        public_key = b""
    if len(public_key) != _PUBLIC_KEY_BYTES:
        raise ConfigError(f"{place}.public_key", "64 bytes as hexadecimal are asked for", "copy it from the set")
    return ValidatorEntry(row["participant"], row["name"], row["host"], row["port"], public_key)
