"""Where the bridges of others listen and with which keys they sign quotes: a file, read again when it changes.

It promises that a new bridge needs no restart, and that a broken file leaves what was known in force. Port 0 stands
for one that the system chose: the bridge's data directory beside the file says which.

    format = 1
    [[bridge]]
    participant = 5001
    name = "5001"
    host = "127.0.0.1"
    port = 7431
    provides = true
    keys = ["2/17/1/…"]        domain / key id / suite / public key, hexadecimal: keys of role account that sign quotes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from clearspan.errors import ConfigError
from clearspan.kept_file import ROWS_FORMAT, KeptFile, address_rows
from clearspan.network import read_address
from engine.genesis import padded_key
from engine.parties import Key
from engine.types import Role, SigningSuite

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["BRIDGES_FILE", "BRIDGES_FOLDER", "BridgeDirectory", "BridgeEntry", "BridgeKey", "render_bridges"]

BRIDGES_FILE: Final = "bridges.toml"
BRIDGES_FOLDER: Final = "bridges"
_KEYS: Final = {"participant": int, "name": str, "host": str, "port": int, "provides": bool, "keys": list}


@dataclass(frozen=True, slots=True)
class BridgeKey:
    """A key that signs quotes: its id in a domain's registry, its suite, and its public bytes."""

    domain: int
    key_id: int
    suite: int
    public_key: bytes

    @property
    def text(self) -> str:
        """The key as the file has it."""
        return f"{self.domain}/{self.key_id}/{self.suite}/{self.public_key.hex()}"


@dataclass(frozen=True, slots=True)
class BridgeEntry:
    """One bridge of the file; ``provides`` where it quotes and accepts."""

    participant: int
    name: str
    host: str
    port: int
    provides: bool
    keys: tuple[BridgeKey, ...] = ()

    def signing_key(self, key_id: int) -> Key | None:
        """Return the key that signs its quotes as a registry has it, None for one that is not named."""
        for key in self.keys:
            if key.key_id == key_id:
                public_key = padded_key(key.public_key)
                return Key(key_id, self.participant, int(Role.ACCOUNT), key.suite, key_id, 0, public_key)
        return None


class BridgeDirectory(KeptFile[int, BridgeEntry]):
    """The file by participant, kept as it was last good."""

    def __init__(self, path: Path) -> None:
        """Read it; one that does not exist has no entries. Raises ConfigError, naming what is wrong."""
        super().__init__(path, _read)

    def target(self, participant: int) -> str | None:
        """Return where to call a participant's bridge now, host:port; None where nobody knows."""
        entry = self.entry(participant)
        if entry is None:
            return None
        if entry.port:
            return f"{entry.host}:{entry.port}"
        found = read_address(self.path.parent / BRIDGES_FOLDER / entry.name / "data")
        return None if found is None else found.target


def render_bridges(entries: Iterable[BridgeEntry]) -> str:
    """Return the file's text."""
    lines = [f"format = {ROWS_FORMAT}"]
    for entry in entries:
        keys = ", ".join(f'"{key.text}"' for key in entry.keys)
        lines += [
            "",
            "[[bridge]]",
            f"participant = {entry.participant}",
            f'name = "{entry.name}"',
            f'host = "{entry.host}"',
            f"port = {entry.port}",
            f"provides = {str(entry.provides).lower()}",
            f"keys = [{keys}]",
        ]
    return "\n".join([*lines, ""])


def _read(path: Path) -> dict[int, BridgeEntry]:
    found = {}
    for place, row in address_rows(path, "bridge", _KEYS):
        keys = tuple(_key(f"{place}.keys", text) for text in row["keys"])
        number = row["participant"]
        found[number] = BridgeEntry(number, row["name"], row["host"], row["port"], row["provides"], keys)
    return found


def _key(place: str, text: Any) -> BridgeKey:
    try:
        domain, key_id, suite, public_key = str(text).split("/")
        return BridgeKey(int(domain), int(key_id), int(SigningSuite(int(suite))), bytes.fromhex(public_key))
    except ValueError as error:
        next_step = "write domain/key id/suite/public key in hexadecimal"
        raise ConfigError(place, f"{str(text)[:60]!r} is no key", next_step) from error
