"""Which keys of certificates are let in beyond the authority's word: a text file, read again when it changes.

One entry a line: `allow` or `deny`, then SHA-256 of the subject public key info in hex, then anything as a comment.
`#` begins a comment line. A denied key is never let in. Where the file has at least one `allow`, only those are. A file
that turns bad while the node runs leaves the list before in force and is logged; at the start it stops the node.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import structlog

from clearspan.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["AccessList"]

_LINE = re.compile(r"(allow|deny)\s+([0-9a-f]{64})(?:\s.*)?")
_FILE_BYTES_MAX: Final = 8 << 20
_log = structlog.get_logger("clearspan.access")


class AccessList:
    """Decides on a key's digest. Looks at the file's times on every question, which costs one system call."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file; none lets everybody in whom the authority vouches for. Raises ConfigError for a bad one."""
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._allowed: frozenset[bytes] = frozenset()
        self._denied: frozenset[bytes] = frozenset()
        if path is not None:
            try:
                self._read(path)
            except (OSError, ValueError) as error:
                raise ConfigError("tls.access", f"{path}: {error}", "mend the file, or leave the key empty") from error

    def admits(self, spki: bytes) -> bool:
        """Say whether a peer with this digest of its key (32 bytes) is let in now."""
        if self._path is not None:
            self._refresh(self._path)
        return spki not in self._denied and (not self._allowed or spki in self._allowed)

    def _refresh(self, path: Path) -> None:
        try:
            status = path.stat()
            if (status.st_mtime_ns, status.st_size, status.st_ino) == self._stamp:
                return
            self._read(path)
            _log.info("access_list_read", allowed=len(self._allowed), denied=len(self._denied))
        except (OSError, ValueError) as error:
            # Once for each state of the file, and never an open door because of a typing mistake.
            stamp = self._stamp_of(path)
            if stamp != self._stamp:
                self._stamp = stamp
                _log.error("access_list_kept", reason=str(error)[:200])

    def _stamp_of(self, path: Path) -> tuple[int, int, int]:
        try:
            status = path.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def _read(self, path: Path) -> None:
        stamp = self._stamp_of(path)
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
        if len(content) > _FILE_BYTES_MAX:
            message = "larger than 8 MiB"
            raise ValueError(message)
        found: dict[str, set[bytes]] = {"allow": set(), "deny": set()}
        for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            match = _LINE.fullmatch(text)
            if match is None:
                message = f"line {number} is not `allow|deny <64 hex digits>`"
                raise ValueError(message)
            found[match[1]].add(bytes.fromhex(match[2]))
        self._allowed, self._denied, self._stamp = frozenset(found["allow"]), frozenset(found["deny"]), stamp
