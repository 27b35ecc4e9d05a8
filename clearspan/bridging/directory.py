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

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clearspan.errors import ConfigError
from clearspan.network import read_address
from engine.genesis import padded_key
from engine.parties import Key
from engine.types import Role, SigningSuite

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BRIDGES_FILE", "BRIDGES_FOLDER", "BridgeDirectory", "BridgeEntry", "BridgeKey", "render_bridges"]

BRIDGES_FILE: Final = "bridges.toml"
BRIDGES_FOLDER: Final = "bridges"
_FORMAT: Final = 1
_FILE_BYTES_MAX: Final = 4 << 20
_PORT_MAX: Final = 65_535
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


class BridgeDirectory:
    """The file, kept as it was last good."""

    def __init__(self, path: Path) -> None:
        """Read it; one that does not exist has no entries. Raises ConfigError, naming what is wrong."""
        self.path = path
        self._stamp = _stamp(path)
        self._entries = {entry.participant: entry for entry in _read(path)}

    def refresh(self) -> bool:
        """Read the file again where it changed; True when it did. A broken one leaves what was known in force."""
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return False
        try:
            entries = {entry.participant: entry for entry in _read(self.path)}
        except ConfigError:
            return False
        self._stamp, self._entries = stamp, entries
        return True

    @property
    def entries(self) -> tuple[BridgeEntry, ...]:
        """All entries, in the file's order."""
        return tuple(self._entries.values())

    def entry(self, participant: int) -> BridgeEntry | None:
        """Return the entry of a participant, or None."""
        return self._entries.get(participant)

    def target(self, participant: int) -> str | None:
        """Return where to call a participant's bridge now, host:port; None where nobody knows."""
        entry = self._entries.get(participant)
        if entry is None:
            return None
        if entry.port:
            return f"{entry.host}:{entry.port}"
        found = read_address(self.path.parent / BRIDGES_FOLDER / entry.name / "data")
        return None if found is None else found.target


def render_bridges(entries: Iterable[BridgeEntry]) -> str:
    """Return the file's text."""
    lines = [f"format = {_FORMAT}"]
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


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _read(path: Path) -> Iterator[BridgeEntry]:
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
        document: dict[str, Any] = tomllib.loads(content[:_FILE_BYTES_MAX].decode("utf-8"))
    except OSError as error:
        raise ConfigError(str(path), error.strerror or "cannot be read", "name the file of the bridges") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), str(error), "mend the line; the format is TOML 1.0 in UTF-8") from error
    rows = document.get("bridge", [])
    if not set(document) <= {"format", "bridge"} or document.get("format") != _FORMAT or not isinstance(rows, list):
        raise ConfigError(str(path), f"format {_FORMAT} and a list [[bridge]] are asked for", "mend the file")
    for index, row in enumerate(rows):
        yield _entry(f"{path}: bridge[{index}]", row)


def _entry(place: str, row: Any) -> BridgeEntry:
    if not isinstance(row, dict) or set(row) != set(_KEYS):
        raise ConfigError(place, f"the keys {', '.join(_KEYS)} are asked for, and no other", "mend the file")
    for key, kind in _KEYS.items():
        if type(row[key]) is not kind:
            raise ConfigError(f"{place}.{key}", f"a value of type {kind.__name__} is asked for", "mend the file")
    if not 0 <= row["port"] <= _PORT_MAX:
        raise ConfigError(f"{place}.port", f"{row['port']} is no port", "mend the file")
    if Path(row["name"]).name != row["name"]:
        raise ConfigError(f"{place}.name", "is no plain name", "mend the file")
    keys = tuple(_key(f"{place}.keys", text) for text in row["keys"])
    return BridgeEntry(row["participant"], row["name"], row["host"], row["port"], row["provides"], keys)


def _key(place: str, text: Any) -> BridgeKey:
    try:
        domain, key_id, suite, public_key = str(text).split("/")
        return BridgeKey(int(domain), int(key_id), int(SigningSuite(int(suite))), bytes.fromhex(public_key))
    except ValueError as error:
        next_step = "write domain/key id/suite/public key in hexadecimal"
        raise ConfigError(place, f"{str(text)[:60]!r} is no key", next_step) from error
