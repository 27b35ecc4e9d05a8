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

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clearspan.errors import ConfigError
from clearspan.network import read_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["AddressBook", "ValidatorEntry", "render_addresses", "validator_data"]

_FORMAT: Final = 1
_FILE_BYTES_MAX: Final = 4 << 20
_PORT_MAX: Final = 65_535
_KEYS: Final = {"participant": int, "name": str, "host": str, "port": int, "public_key": str}
_PUBLIC_KEY_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class ValidatorEntry:
    """One validator of the file; ``public_key`` fills 64 bytes."""

    participant: int
    name: str
    host: str
    port: int
    public_key: bytes


class AddressBook:
    """The file, kept as it was last good."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises ConfigError, naming what is wrong."""
        self.path = path
        self._stamp = _stamp(path)
        self._entries = {entry.public_key: entry for entry in _read(path)}

    def refresh(self) -> bool:
        """Read the file again where it changed; True when it did. A broken one leaves what was known in force."""
        stamp = _stamp(self.path)
        if stamp == self._stamp:
            return False
        try:
            entries = {entry.public_key: entry for entry in _read(self.path)}
        except ConfigError:
            return False
        self._stamp, self._entries = stamp, entries
        return True

    @property
    def entries(self) -> tuple[ValidatorEntry, ...]:
        """All entries, in the file's order."""
        return tuple(self._entries.values())

    def entry(self, public_key: bytes) -> ValidatorEntry | None:
        """Return the entry of a key, or None."""
        return self._entries.get(public_key)

    def target(self, public_key: bytes) -> str | None:
        """Return where to call a validator now, host:port; None where nobody knows."""
        entry = self._entries.get(public_key)
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
    lines = [f"format = {_FORMAT}"]
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


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _read(path: Path) -> Iterator[ValidatorEntry]:
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
        document: dict[str, Any] = tomllib.loads(content[:_FILE_BYTES_MAX].decode("utf-8"))
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise ConfigError(str(path), reason, "name the file of the validators' addresses: peers.addresses") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), str(error), "mend the line; the format is TOML 1.0 in UTF-8") from error
    rows = document.get("validator")
    if set(document) != {"format", "validator"} or document["format"] != _FORMAT or not isinstance(rows, list):
        raise ConfigError(str(path), f"format {_FORMAT} and a list [[validator]] are asked for", "mend the file")
    for index, row in enumerate(rows):
        yield _entry(f"{path}: validator[{index}]", row)


def _entry(place: str, row: Any) -> ValidatorEntry:
    if not isinstance(row, dict) or set(row) != set(_KEYS):
        raise ConfigError(place, f"the keys {', '.join(_KEYS)} are asked for, and no other", "mend the file")
    for key, kind in _KEYS.items():
        if type(row[key]) is not kind:
            raise ConfigError(f"{place}.{key}", f"a value of type {kind.__name__} is asked for", "mend the file")
    if not 0 <= row["port"] <= _PORT_MAX:
        raise ConfigError(f"{place}.port", f"{row['port']} is no port", "mend the file")
    if Path(row["name"]).name != row["name"]:
        raise ConfigError(f"{place}.name", "is no plain name", "mend the file")
    try:
        public_key = bytes.fromhex(row["public_key"])
    except ValueError:
        public_key = b""
    if len(public_key) != _PUBLIC_KEY_BYTES:
        raise ConfigError(f"{place}.public_key", "64 bytes as hexadecimal are asked for", "copy it from the set")
    return ValidatorEntry(row["participant"], row["name"], row["host"], row["port"], public_key)
