"""A file of rows that is read again when it changes, and kept as it was last good.

It promises that a new row needs no restart, and that a broken file leaves what was known in force. The files are TOML
with `format = 1` and one table of rows, each row with exactly the keys that its kind asks for.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from clearspan.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["ROWS_FORMAT", "KeptFile", "address_rows", "file_stamp"]

ROWS_FORMAT: Final = 1
_FILE_BYTES_MAX: Final = 4 << 20
_PORT_MAX: Final = 65_535

Name = TypeVar("Name")
Row = TypeVar("Row")


def file_stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file does: its time of change in ns and its size; zeros where there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


class KeptFile(Generic[Name, Row]):
    """Rows by name, as the file was last good."""

    def __init__(self, path: Path, read: Callable[[Path], Mapping[Name, Row]]) -> None:
        """Read it with ``read``, which raises ConfigError, naming what is wrong; here that is raised."""
        self.path = path
        self._read = read
        self._stamp = file_stamp(path)
        self._rows = dict(read(path))

    def refresh(self) -> bool:
        """Read the file again where it changed; True when it did. A broken one leaves what was known in force."""
        stamp = file_stamp(self.path)
        if stamp == self._stamp:
            return False
        try:
            rows = dict(self._read(self.path))
        except ConfigError:
            return False
        self._stamp, self._rows = stamp, rows
        return True

    @property
    def entries(self) -> tuple[Row, ...]:
        """All rows, in the file's order."""
        return tuple(self._rows.values())

    def entry(self, name: Name) -> Row | None:
        """Return the row of a name, or None."""
        return self._rows.get(name)


def address_rows(
    path: Path, table: str, keys: Mapping[str, type], *, missing: str = ""
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a table and where each stands, for a message: its keys and their types, port and name checked.

    ``missing`` says what to do where there is no file; empty: such a file has no rows. Raises ConfigError.
    """
    if not missing and not path.exists():
        return
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
        document: dict[str, Any] = tomllib.loads(content[:_FILE_BYTES_MAX].decode("utf-8"))
    except OSError as error:
        next_step = missing or "let this user read it"
        raise ConfigError(str(path), error.strerror or "cannot be read", next_step) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), str(error), "mend the line; the format is TOML 1.0 in UTF-8") from error
    rows = document.get(table, None if missing else [])
    known = set(document) <= {"format", table} and document.get("format") == ROWS_FORMAT
    if not known or not isinstance(rows, list):
        raise ConfigError(str(path), f"format {ROWS_FORMAT} and a list [[{table}]] are asked for", "mend the file")
    for index, row in enumerate(rows):
        place = f"{path}: {table}[{index}]"
        if not isinstance(row, dict) or set(row) != set(keys):
            raise ConfigError(place, f"the keys {', '.join(keys)} are asked for, and no other", "mend the file")
        for key, kind in keys.items():
            if type(row[key]) is not kind:
                raise ConfigError(f"{place}.{key}", f"a value of type {kind.__name__} is asked for", "mend the file")
        if not 0 <= row["port"] <= _PORT_MAX:
            raise ConfigError(f"{place}.port", f"{row['port']} is no port", "mend the file")
        if Path(row["name"]).name != row["name"]:
            raise ConfigError(f"{place}.name", "is no plain name", "mend the file")
        yield place, row
