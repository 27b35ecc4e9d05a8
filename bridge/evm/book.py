"""The transactions that are out: written down before they are sent, so that a restart repeats them and no others.

A transaction once sent may be included at any later time; whoever forgets it cannot use its nonce with a clear mind.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from bridge.evm.fees import Offer  # noqa: TC001 - the decoder reads the field types

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Attempt", "BookDamaged", "FileBook", "Kind", "MemoryBook", "Outgoing", "OutgoingBook"]

Kind: TypeAlias = Literal["lock", "claim", "refund", "approve"]
_FORMAT = 1
_FILE_BYTES_MAX = 64 << 20


class BookDamaged(ValueError):  # noqa: N818 - named as what it is
    """The file of transactions that are out cannot be read; sending on would risk using a nonce twice."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One signed form of a transaction: its bytes and hash, what it offers, the height when it was sent."""

    raw: bytes
    hash: bytes
    offer: Offer
    sent_at: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A transaction that is out under one nonce, in one or more forms (newest last), for one lock."""

    kind: Kind
    lock: bytes
    nonce: int
    to: bytes
    value: int
    data: bytes
    gas: int
    dynamic: bool
    attempts: tuple[Attempt, ...]

    def tried(self, attempt: Attempt) -> Outgoing:
        """Return it with one more form."""
        return replace(self, attempts=(*self.attempts, attempt))


class OutgoingBook(Protocol):
    """Where transactions that are out are kept; ``write`` is durable when it returns."""

    def read(self) -> tuple[Outgoing, ...]:
        """Return all, in any order."""
        ...

    def write(self, outgoing: tuple[Outgoing, ...]) -> None:
        """Replace all."""
        ...


class MemoryBook:
    """A book that dies with its process: for tests, and for adapters that only read."""

    def __init__(self) -> None:
        """Begin empty."""
        self._outgoing: tuple[Outgoing, ...] = ()

    def read(self) -> tuple[Outgoing, ...]:
        """Return all."""
        return self._outgoing

    def write(self, outgoing: tuple[Outgoing, ...]) -> None:
        """Replace all."""
        self._outgoing = outgoing


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    outgoing: tuple[Outgoing, ...]


class FileBook:
    """A book in one JSON file, replaced whole and synced: few transactions are ever out at once."""

    def __init__(self, path: Path) -> None:
        """Use this path; its folder must exist."""
        self._path = path

    def read(self) -> tuple[Outgoing, ...]:
        """Return all; raises BookDamaged."""
        try:
            if self._path.stat().st_size > _FILE_BYTES_MAX:
                raise BookDamaged(f"{self._path.name} is larger than {_FILE_BYTES_MAX} bytes")
            found = msgspec.json.decode(self._path.read_bytes(), type=_File)
        except FileNotFoundError:
            return ()
        except msgspec.MsgspecError as error:
            raise BookDamaged(f"{self._path.name}: {error}") from error
        if found.format != _FORMAT:
            raise BookDamaged(f"{self._path.name} has format {found.format}, not {_FORMAT}")
        return found.outgoing

    def write(self, outgoing: tuple[Outgoing, ...]) -> None:
        """Replace all: a new file is synced and then takes the old one's name."""
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            content = memoryview(msgspec.json.encode(_File(_FORMAT, outgoing)))
            while content:
                content = content[os.write(descriptor, content) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
